//! The output of single items, which other processes ask a run for and follow.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::control::{Started, finish, turns_of};
use crate::http::{ask, connect, head};
use crate::place::Place;
use crate::support::until;

crate::trials! {
    output_is_told_while_an_item_runs_and_after_it => {
        output_is_told(&[]);
        output_is_told(&["--journal", "run.journal"]);
        output_is_told(&["--keep-order"]);
    },
    each_attempt_is_followed => {
        each_attempt_is_followed_with(&[]);
        each_attempt_is_followed_with(&["--journal", "run.journal"]);
    },
    large_output_is_told_whole => {
        large_output_is_told(&[]);
        large_output_is_told(&["--journal", "run.journal"]);
    },
    the_files_of_one_item_are_not_taken_for_those_of_the_next,
    the_output_of_the_latest_items_is_kept,
    whoever_follows_a_silent_item_wakes_nobody,
    what_an_item_has_written_is_told_though_its_worker_is_killed,
}

/// Waits for a file of the name of its item, between two lines; `bad` fails then.
const SCRIPT: &str = "echo \"first $1\"; echo \"complaint $1\" >&2
    while [ ! -e \"go-$1\" ]; do sleep 0.01; done
    printf 'half\\377\\n'; [ \"$1\" != bad ]";

/// Starts a run of a script with these options, and waits until it has all items.
fn start(place: &Place, options: &[&str], script: &str, items: &[&str]) -> Started {
    let words = ["--name", "run", "-w", "1"];
    let command = ["--", "sh", "-c", script, "_", "{}", ":::"];
    let mut command = place.command(&[&words, options, &command, items].concat());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let run = Started(command.spawn().unwrap());
    until("the run can be asked of its last item", || {
        let last = format!("/v1/items/{}", items.len());
        UnixStream::connect(place.socket("run")).is_ok()
            && ask(&place.socket("run"), "GET", &last, b"").status == 200
    });
    run
}

/// A `logs -f` that is under way.
struct Following {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Following {
    fn begin(place: &Place, item: &str) -> Self {
        let mut command = place.command(&["logs", "-f", item]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Following { child, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Returns what is left of stdout, all of stderr, and the exit code.
    fn end(mut self) -> (Vec<u8>, String, Option<i32>) {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).unwrap();
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (rest, said, output.status.code())
    }
}

fn output_is_told(options: &[&str]) {
    let place = Place::new();
    let run = start(&place, options, SCRIPT, &["a", "bad", "c"]);
    let mut following = Following::begin(&place, "1");
    assert_eq!(following.line(), "first a\n");
    let lines = place.ask(&["logs", "1", "--format", "json"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["attempt"], 1);
    assert_eq!(lines[1], json!({"stream": "stdout", "text": "first a\n"}));
    assert_eq!(lines.last().unwrap()["end"]["state"], "running");
    // One that is not begun has written nothing.
    assert_eq!(place.ask(&["logs", "3"]), "");
    place.let_go("a");
    let whole = b"half\xff\n".to_vec();
    assert_eq!(
        following.end(),
        (whole, "complaint a\n".to_owned(), Some(0))
    );
    let after = place.try_ask(&["logs", "1"]);
    assert_eq!(after.stdout, b"first a\nhalf\xff\n");
    assert_eq!(after.stderr, b"complaint a\n");
    let shown = place.ask_json(&["show", "1"]);
    assert_eq!(
        (&shown["item"], &shown["state"]),
        (&json!("a"), &json!("done"))
    );
    assert_eq!(shown["ended"]["exit"], json!({"code": 0, "signal": null}));
    place.let_go("bad");
    assert_eq!(place.try_ask(&["wait", "2"]).status.code(), Some(1));
    assert_eq!(
        place.try_ask(&["logs", "2"]).stdout,
        b"first bad\nhalf\xff\n"
    );
    let dead = place.ask_json(&["show", "2"]);
    let exit = json!({"code": 1, "signal": null});
    assert_eq!(
        (&dead["ended"]["exit"], &dead["history"][0]["exit"]),
        (&exit, &exit)
    );
    let unknown = place.try_ask(&["logs", "77"]);
    assert_eq!(unknown.status.code(), Some(2));
    // The last one is told to its end, though the run ends with it.
    let mut last = Following::begin(&place, "3");
    assert_eq!(last.line(), "first c\n");
    place.let_go("c");
    assert_eq!(last.end().2, Some(0));
    assert_eq!(finish(run).0, Some(1));
}

fn each_attempt_is_followed_with(options: &[&str]) {
    let place = Place::new();
    let script = "echo \"attempt $SUPERVISOR_ATTEMPT\"
        while [ ! -e \"go-$SUPERVISOR_ATTEMPT\" ]; do sleep 0.01; done
        echo over; [ \"$SUPERVISOR_ATTEMPT\" = 3 ]";
    let options = [&["--max-attempts", "3"], options].concat();
    let run = start(&place, &options, script, &["a"]);
    let mut following = Following::begin(&place, "1");
    for attempt in ["1", "2", "3"] {
        assert_eq!(following.line(), format!("attempt {attempt}\n"));
        place.let_go(attempt);
        assert_eq!(following.line(), "over\n");
    }
    let (rest, said, code) = following.end();
    assert_eq!((rest, code), (Vec::new(), Some(0)));
    let expected = "supervisor: item 1, attempt 2:\nsupervisor: item 1, attempt 3:\n";
    assert_eq!(said, expected);
    assert_eq!(finish(run).0, Some(0));
}

fn large_output_is_told(options: &[&str]) {
    let place = Place::new();
    let script = "if [ \"$1\" = hold ]; then while [ ! -e go-hold ]; do sleep 0.01; done; exit; fi
        seq 1000000; echo ready >&2; while [ ! -e go-1 ]; do sleep 0.01; done; seq 1000000";
    let run = start(&place, options, script, &["a", "hold"]);
    let expected: String = (1..=1_000_000).map(|n| format!("{n}\n")).collect();
    let following = Following::begin(&place, "1");
    until("half of it is there", || {
        place.try_ask(&["logs", "1"]).stderr == b"ready\n"
    });
    assert!(place.ask(&["logs", "1"]) == expected);
    place.let_go("1");
    let (told, said, code) = following.end();
    assert_eq!(
        (told.len(), said.as_str(), code),
        (2 * expected.len(), "ready\n", Some(0))
    );
    assert!(told == [expected.as_bytes(), expected.as_bytes()].concat());
    place.let_go("hold");
    assert_eq!(finish(run).0, Some(0));
}

/// Small outputs lie in the same files one after the other.
fn the_files_of_one_item_are_not_taken_for_those_of_the_next() {
    let place = Place::new();
    let items: Vec<String> = (1..=300).map(|n| format!("item-{n}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).chain(["hold"]).collect();
    let script = "if [ \"$1\" = hold ]; then while [ ! -e go-hold ]; do sleep 0.01; done; fi
        echo \"out $1\"; echo \"err $1\" >&2";
    let run = start(&place, &[], script, &items);
    let following = (1..=300).step_by(7).map(|number| {
        let target = format!("/v1/items/{number}/output?follow=true");
        let mut stream = connect(&place.socket("run"));
        stream
            .write_all(head("GET", &target, "", 0).as_bytes())
            .unwrap();
        (number, stream)
    });
    for (number, stream) in following.collect::<Vec<_>>() {
        let answer = crate::http::read_answer(stream);
        assert_eq!(answer.status, 200);
        let body = String::from_utf8(answer.body).unwrap();
        let told = |name: &str| -> String {
            let lines = body.lines().filter_map(|line| {
                // The chunks' own lengths stand between them.
                serde_json::from_str::<Value>(line).ok()
            });
            let pieces = lines.filter(|line| line["stream"] == name);
            pieces
                .map(|line| line["text"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(told("stdout"), format!("out item-{number}\n"), "{body}");
        assert_eq!(told("stderr"), format!("err item-{number}\n"), "{body}");
    }
    place.let_go("hold");
    assert_eq!(finish(run).0, Some(0));
}

fn the_output_of_the_latest_items_is_kept() {
    let place = Place::new();
    let script = "if [ \"$1\" = hold ]; then while [ ! -e go-hold ]; do sleep 0.01; done; fi
        echo \"out $1\"";
    let items: Vec<String> = (1..=1010).map(|n| n.to_string()).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).chain(["hold"]).collect();
    let run = start(&place, &["--journal", "run.journal"], script, &items);
    until("all but the last are done", || {
        place.ask_json(&["status"])["counts"]["done"] == 1010
    });
    assert_eq!(place.ask(&["logs", "11"]), "out 11\n");
    let gone = place.try_ask(&["logs", "10"]);
    let said = String::from_utf8(gone.stderr).unwrap();
    assert_eq!(gone.status.code(), Some(2));
    assert!(said.contains("of the latest 1000 items"), "{said}");
    let answer = ask(&place.socket("run"), "GET", "/v1/items/10/output", b"");
    assert_eq!((answer.status, &*answer.code()), (410, "output_gone"));
    // What is kept takes one file for each, and both of the item that runs.
    until("the files of the others are gone", || {
        fs::read_dir(place.path("run.journal-output"))
            .unwrap()
            .count()
            <= 1003
    });
    place.let_go("hold");
    assert_eq!(finish(run).0, Some(0));
    assert!(!place.path("run.journal-output").exists());
}

fn whoever_follows_a_silent_item_wakes_nobody() {
    let place = Place::new();
    // It writes nothing, and waits without waking up.
    nix::unistd::mkfifo(&place.path("end"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let run = start(&place, &[], "echo begun; read -r line < end", &["a"]);
    let mut following = Following::begin(&place, "1");
    assert_eq!(following.line(), "begun\n");
    // A thread that looked ends a second later.
    let mut before = turns_of(run.0.id());
    until("the run sleeps for three seconds", || {
        std::thread::sleep(std::time::Duration::from_secs(3));
        let now = turns_of(run.0.id());
        std::mem::replace(&mut before, now) == now
    });
    fs::write(place.path("end"), "over\n").unwrap();
    assert_eq!(following.end().2, Some(0));
    assert_eq!(finish(run).0, Some(0));
}

fn what_an_item_has_written_is_told_though_its_worker_is_killed() {
    let place = Place::new();
    nix::unistd::mkfifo(&place.path("seen"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = "echo \"attempt $SUPERVISOR_ATTEMPT\"; \
        [ \"$SUPERVISOR_ATTEMPT\" = 2 ] || { read -r line < seen; kill -9 $PPID; }; sleep 60";
    let run = start(&place, &[], script, &["a"]);
    let mut following = Following::begin(&place, "1");
    assert_eq!(following.line(), "attempt 1\n");
    // Whoever begins to follow later is shown only what was written since the last attempt began.
    fs::write(place.path("seen"), "over\n").unwrap();
    assert_eq!(following.line(), "attempt 2\n");
    drop(run);
    let (_, said, code) = following.end();
    assert!(said.contains("the run has ended"), "{said}");
    assert_eq!(code, Some(2));
}
