//! `supervisor put`.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::{GATE, Run, STREAM, Stage, said, supervisor};
use crate::deadline::until;
use crate::redis_server::Options;
use crate::said::words;

crate::timely_trials!(
    items_come_from_a_file_from_stdin_and_from_the_command_line,
    items_stand_on_the_stream_as_it_is_documented,
    a_missing_file_is_told_before_anything_happens,
    put_waits_for_room_and_goes_on_as_it_comes,
    a_put_that_waits_for_room_is_stopped,
    a_put_that_waits_for_stdin_is_stopped,
    a_redis_without_memory_is_told,
    a_command_of_its_own_is_refused_whatever_it_waits_for,
    what_is_about_a_stream_is_refused_where_items_are_for_a_run,
);

/// Returns the items on the stream, oldest first.
fn items(stage: &Stage) -> Vec<String> {
    let range = stage.redis_cli(&["xrange", STREAM, "-", "+"]);
    let lines: Vec<&str> = range.lines().collect();
    let items = lines.windows(2).filter(|pair| pair[0] == "item");
    items.map(|pair| pair[1].to_owned()).collect()
}

fn items_come_from_a_file_from_stdin_and_from_the_command_line() {
    let stage = Stage::new();
    fs::write(stage.path("in.txt"), "one\ntwo words\nthree").unwrap();
    stage
        .say("put", &["--input", "in.txt"])
        .ends(0)
        .tells("3 items put on stream jobs");
    let mut command = stage.supervisor("put", &["-0"]);
    command.stdin(Stdio::piped());
    let mut piped = Run::of(command);
    piped.tell("four\0five");
    piped.end_input();
    assert_eq!(piped.end().0, Some(0));
    stage.put(&["--six"]);
    stage.say("put", &["--dishes", "2"]);
    let expected = [
        "one",
        "two words",
        "three",
        "four",
        "five",
        "--six",
        "dish-1",
        "dish-2",
    ];
    assert_eq!(items(&stage), expected);
}

fn items_stand_on_the_stream_as_it_is_documented() {
    let stage = Stage::new();
    stage.put(&["hello"]);
    let range = stage.redis_cli(&["xrange", STREAM, "-", "+"]);
    let fields: Vec<&str> = range.lines().skip(1).collect();
    assert_eq!(fields, ["item", "hello", "n", "1"]);
}

fn a_missing_file_is_told_before_anything_happens() {
    let stage = Stage::new();
    stage
        .say("put", &["--input", "nowhere.txt"])
        .ends(2)
        .tells("nowhere.txt");
    assert_eq!(stage.redis_cli(&["dbsize"]), "0");
}

const FULL: [&str; 8] = ["--capacity", "2", ":::", "a", "b", "c", "d", "e"];

fn put_waits_for_room_and_goes_on_as_it_comes() {
    let stage = Stage::new();
    let mut put = stage.start("put", &FULL);
    until("the stream is full", || items(&stage) == ["a", "b"]);
    let gate = stage.gate();
    let wait = ["-w", "1", "--", "flock", "-s", GATE, "echo", "{}"];
    let _work = stage.start("work", &wait);
    // One is taken, and one comes after it.
    until("there was room for one", || {
        items(&stage) == ["a", "b", "c"]
    });
    stage.await_status("untaken", 2);
    assert!(!put.has_ended());
    gate.open();
    let (code, err) = put.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("5 items put"), "{err}");
    assert_eq!(stage.say("join", &[]).code, Some(0));
    assert_eq!(stage.status()["done"], 5);
}

fn a_put_that_waits_for_room_is_stopped() {
    let stage = Stage::new();
    let mut put = stage.start("put", &FULL);
    until("the stream is full", || items(&stage) == ["a", "b"]);
    put.signal(Signal::SIGINT);
    let (code, err) = put.end();
    assert_eq!(code, Some(128 + 2), "{err}");
    assert!(err.contains("2 items put on stream jobs"), "{err}");
    assert_eq!(items(&stage), ["a", "b"]);
}

fn a_put_that_waits_for_stdin_is_stopped() {
    let stage = Stage::new();
    let mut command = stage.supervisor("put", &[]);
    command.stdin(Stdio::piped());
    let mut put = Run::of(command);
    put.tell("a\n");
    // Read items are put while more is waited for.
    until("the item is there", || items(&stage) == ["a"]);
    put.signal(Signal::SIGTERM);
    let (code, err) = put.end();
    assert_eq!(code, Some(128 + 15), "{err}");
    assert!(err.contains("1 item put on stream jobs"), "{err}");
}

fn a_redis_without_memory_is_told() {
    let stage = Stage::with(Options::default());
    stage.put(&["a"]);
    stage.server.limit_memory(1);
    stage
        .say("put", &[":::", "b", "c"])
        .ends(2)
        .tells("out of memory (maxmemory)");
    stage.server.limit_memory(0);
    assert_eq!(items(&stage), ["a"]);
    stage.put(&["b"]);
    assert_eq!(items(&stage), ["a", "b"]);
}

/// Items of a stream are given to the COMMAND of whoever takes them, so `add` has no place there, nor
/// have its options. Each that was typed is named, with what to do instead.
fn a_command_of_its_own_is_refused_whatever_it_waits_for() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let work = stage.start("work", &["-w", "1", "--", "true"]);
    stage.await_status("done", 1);
    let pid = work.pid().to_string();
    let cases = [
        ("", "add: "),
        ("--name n", "--name: "),
        ("--env A=b", "--env: "),
        ("--workdir .", "--workdir: "),
        ("--priority 0", "--priority: "),
        ("--not-before 2h", "--not-before: "),
        ("--deadline 2h", "--deadline: "),
        ("--after 1", "--after: "),
        ("--unique a", "--unique: "),
        ("--unique a --unique-for 1h", "--unique, --unique-for: "),
        ("--key k", "--key: "),
        ("--after 1 --key k", "--after, --key: "),
    ];
    for (options, named) in cases {
        let options = words(options);
        let mut add = supervisor();
        add.args(["add", "--at", &pid]).args(&options);
        add.args(["--", "true"])
            .env("REDIS_URL", stage.server.url());
        let refused = said(add);
        assert_eq!((refused.code, &*refused.out), (Some(2), ""), "{refused:?}");
        let why =
            "the items of this run are no commands of their own: they are given to its COMMAND";
        refused.tells(&format!(
            "supervisor: {named}{why}. `supervisor put ::: ITEM`"
        ));
        let on_stream = stage.say("add", &[&options[..], &["--", "true"]].concat());
        assert_eq!(on_stream.code, Some(2), "{on_stream:?}");
        on_stream
            .tells("unexpected argument '--redis'")
            .tells("`supervisor put` puts items on a stream in Redis");
        let Some(option) = options.first() else {
            continue;
        };
        for stream in [true, false] {
            let items = [&options[..], &[":::", "b"]].concat();
            let put = match stream {
                true => stage.say("put", &items),
                false => {
                    let mut put = supervisor();
                    put.args(["put", "--at", &pid]).args(items);
                    said(put)
                }
            };
            assert_eq!((put.code, &*put.out), (Some(2), ""), "{put:?}");
            put.tells(&format!("supervisor: {option}: put has no such option"))
                .tells(&format!("supervisor add {option} ... -- COMMAND"));
        }
    }
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["unfinished"]),
        (&1.into(), &0.into())
    );
}

fn what_is_about_a_stream_is_refused_where_items_are_for_a_run() {
    let stage = Stage::new();
    for (options, named) in [
        ("--capacity 0", "--capacity"),
        ("--lease 3s", "--lease"),
        ("--replicas 1", "--replicas"),
    ] {
        let mut put = supervisor();
        put.args(["put", "--at", "run"]).args(words(options));
        put.args([":::", "b"]).env("REDIS_URL", stage.server.url());
        let refused = said(put);
        assert_eq!((refused.code, &*refused.out), (Some(2), ""), "{refused:?}");
        refused.tells(&format!("supervisor: {named}: it is about a stream"));
    }
}
