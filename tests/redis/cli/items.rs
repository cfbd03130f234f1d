//! `supervisor list`, `show`, `wait`, `cancel`, `retry` and `logs` on a stream: as of a run, and also
//! while supervisors come and go.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{GATE, Run, STREAM, Stage, said, send, supervisor};
use crate::deadline::until;
use crate::said::Said;

crate::timely_trials!(
    a_stream_is_asked_in_the_words_of_a_run,
    items_are_listed_by_their_states,
    an_item_is_found_wherever_it_has_moved,
    items_of_other_programs_get_numbers_when_they_are_taken,
    what_has_ended_is_told_apart_from_what_never_was,
    whoever_waits_is_told_by_the_end,
    a_wait_has_a_bound,
    what_nobody_has_is_cancelled_at_once,
    a_cancelled_item_is_ended_where_it_runs,
    a_cancelled_item_of_a_killed_supervisor_is_not_begun_again,
    whoever_takes_over_a_cancelled_item_ends_it,
    a_stopping_supervisor_ends_a_cancelled_item,
    an_item_says_what_it_waits_for_at_its_holder,
    output_is_where_the_item_runs,
    output_of_this_machine_is_shown_and_followed,
    output_is_that_of_the_supervisor_that_has_worked_on_it,
    a_wait_keeps_its_bound_while_redis_is_away,
);

/// Waits until so many items are held.
fn work(stage: &Stage, arguments: &[&str], pending: u64) -> Run {
    let run = stage.start("work", arguments);
    stage.await_status("pending", pending);
    run
}

const WAIT: [&str; 7] = ["-w", "1", "--", "flock", "-s", GATE, "true"];

fn objects(said: &Said) -> Vec<Value> {
    said.ends(0);
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn list(stage: &Stage, arguments: &[&str]) -> Vec<(Option<u64>, String, String)> {
    let said = stage.say("list", &[arguments, &["--format", "json"]].concat());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |one: Value| {
        (
            one["number"].as_u64(),
            text(&one["state"]),
            text(&one["item"]),
        )
    };
    objects(&said).into_iter().map(row).collect()
}

fn row(number: u64, state: &str, item: &str) -> (Option<u64>, String, String) {
    (Some(number), state.to_owned(), item.to_owned())
}

/// A place at which the same items are, and subcommands that are about it.
struct Place<'a> {
    name: &'static str,
    words: Vec<&'a str>,
}

impl Place<'_> {
    fn say(&self, words: &[&str]) -> Said {
        let mut command = supervisor();
        command.args(words).args(&self.words);
        said(command)
    }
}

/// Subcommands, their exit codes, and what they print.
const VERBS: [(&[&str], i32, &str); 14] = [
    (
        &["list", "--state", "waiting"],
        0,
        "3\twaiting\tnext\t0 attempts\n4\twaiting\tlast\t0 attempts\n",
    ),
    (
        &["list", "--state", "waiting", "--limit", "1"],
        0,
        "3\twaiting\tnext\t0 attempts\n",
    ),
    (
        &["list", "--after", "3", "--state", "waiting"],
        0,
        "4\twaiting\tlast\t0 attempts\n",
    ),
    (
        &["list", "--state", "dead"],
        0,
        "1\tdead\tbad\t1 attempt\texited with code 3\n",
    ),
    (
        &["show", "3"],
        0,
        "3 next\n  state:    waiting\n  attempts: 0\n",
    ),
    (&["show", "99"], 2, ""),
    (&["wait", "1"], 1, "1 dead: exited with code 3\n"),
    (&["wait", "3", "--timeout", "10ms"], 2, ""),
    (&["wait", "--all", "--timeout", "10ms"], 2, ""),
    (&["cancel", "3"], 0, "3 cancelled\n"),
    (&["cancel", "3"], 2, ""),
    (
        &["cancel", "4", "--format", "json"],
        0,
        "{\"number\":4,\"cancelled\":true}\n",
    ),
    (&["retry", "1"], 0, "1 waits again\n"),
    (&["retry", "1", "--format", "json"], 2, ""),
];

fn an_item_says_what_it_waits_for_at_its_holder() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a", "b"]);
    let options = ["-w", "2", "--memory-free", "1000T", "--"];
    let command = ["flock", "-s", GATE, "true"];
    let _work = work(&stage, &[&options[..], &command].concat(), 2);
    until("one has begun", || {
        let listed = list(&stage, &["--state", "running"]);
        !listed.is_empty()
    });
    let listed = stage.say("list", &[]);
    let listed = listed
        .ends(0)
        .out
        .lines()
        .filter(|line| line.contains("waits for room"));
    assert_eq!(listed.count(), 1);
}

/// Each has the same output and the same end for a run and for a stream.
fn a_stream_is_asked_in_the_words_of_a_run() {
    let stage = Stage::new();
    let _gate = stage.gate();
    let script = "case $1 in bad) exit 3;; *) flock -s gate true;; esac";
    let command = [
        "-w",
        "1",
        "--max-attempts",
        "1",
        "--",
        "sh",
        "-c",
        script,
        "_",
    ];
    let socket = stage.path("run.sock");
    let socket = socket.to_str().unwrap();
    let mut run = supervisor();
    run.args(["--control", socket]).args(command).arg("{}");
    let items = ["bad", "held", "next", "last"];
    run.args([":::"]).args(items).current_dir(&stage.folder);
    let _run = Run::of(run);
    stage.put(&items);
    let _work = stage.start("work", &[&command[..], &["{}"]].concat());
    let url = stage.server.url();
    let places = [
        Place {
            name: "a run",
            words: vec!["--at", socket],
        },
        Place {
            name: "a stream",
            words: vec!["--redis", &url, "--stream", STREAM],
        },
    ];
    for place in &places {
        until(&format!("{} has begun", place.name), || {
            let said = place.say(&["show", "2", "--format", "json"]);
            said.code == Some(0) && said.out.contains("\"running\"")
        });
    }
    for (words, code, out) in VERBS {
        let said = places.each_ref().map(|place| place.say(words));
        for (place, said) in places.iter().zip(&said) {
            assert_eq!(said.out, out, "{words:?} of {}: {}", place.name, said.err);
            said.ends(code);
        }
        assert_eq!(said[0].err, said[1].err, "{words:?}");
    }
    are_shown_alike(&places);
    // What runs is ended, with its worker's process.
    for place in &places {
        place.say(&["cancel", "2"]).ends(0).prints("2 cancelled\n");
        let said = place.say(&["wait", "2"]);
        said.ends(1).prints("2 dead: cancelled\n");
    }
}

/// A cancelled item has the same history in both places.
fn are_shown_alike(places: &[Place<'_>; 2]) {
    let shown = places.each_ref().map(|place| {
        let shown = place.say(&["show", "3", "--format", "json"]);
        let mut shown: Value = serde_json::from_str(&shown.ends(0).out).unwrap();
        // The moments differ.
        for end in ["/history/0/ended_us", "/ended/ended_us"] {
            let end = shown.pointer_mut(end).unwrap();
            assert!(end.is_u64(), "{end}");
            *end = Value::Null;
        }
        shown
    });
    assert_eq!(shown[0], shown[1]);
}

fn items_are_listed_by_their_states() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a", "b", "c"]);
    let _work = work(&stage, &WAIT, 1);
    let all = [
        row(1, "running", "a"),
        row(2, "waiting", "b"),
        row(3, "waiting", "c"),
    ];
    assert_eq!(list(&stage, &[]), all);
    assert_eq!(list(&stage, &["--state", "running"]), all[..1]);
    assert_eq!(
        list(&stage, &["--state", "waiting", "--limit", "1"]),
        all[1..2]
    );
    assert!(list(&stage, &["--state", "dead"]).is_empty());
    let done = stage.say("list", &["--state", "done"]);
    done.ends(2)
        .tells("a stream does not keep items that are done");
    stage.say("cancel", &["2"]).ends(0);
    assert_eq!(
        list(&stage, &[]),
        [all[0].clone(), all[2].clone(), row(2, "dead", "b")]
    );
}

fn an_item_is_found_wherever_it_has_moved() {
    let stage = Stage::new();
    let gate = stage.gate();
    // Several times of entries, and several places in each of them.
    for _ in 0..3 {
        let items: Vec<String> = (0..700).map(|n| format!("item {n}")).collect();
        stage.put(&items.iter().map(String::as_str).collect::<Vec<_>>());
    }
    // Some are taken, and given back behind all others.
    let mut work = work(&stage, &["-w", "3", "--", "flock", "-s", GATE, "true"], 3);
    work.signal(Signal::SIGTERM);
    work.signal(Signal::SIGTERM);
    work.end();
    stage.await_status("pending", 0);
    // Some are gone, at the ends and in between.
    for number in ["4", "700", "701", "1300", "2100"] {
        stage.say("cancel", &[number]).ends(0);
    }
    stage.say("retry", &["701"]).ends(0);
    for (number, item) in [
        (1, "item 0"),
        (2, "item 1"),
        (5, "item 4"),
        (701, "item 0"),
        (1299, "item 598"),
        (2099, "item 698"),
    ] {
        let said = stage.say("show", &[&number.to_string(), "--format", "json"]);
        let found = objects(&said).remove(0);
        assert_eq!(
            (&found["number"], &found["state"], &found["item"]),
            (&number.into(), &"waiting".into(), &item.into())
        );
    }
    assert_eq!(
        objects(&stage.say("show", &["1300", "--format", "json"]))[0]["state"],
        "dead"
    );
    stage
        .say("show", &["2101"])
        .ends(2)
        .tells("there is no item 2101");
    drop(gate);
}

fn items_of_other_programs_get_numbers_when_they_are_taken() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["ours"]);
    for name in ["one", "two"] {
        stage.redis_cli(&["xadd", STREAM, "*", "item", name]);
    }
    let theirs = |name: &str| (None, "waiting".to_owned(), name.to_owned());
    assert_eq!(
        list(&stage, &[]),
        [row(1, "waiting", "ours"), theirs("one"), theirs("two")]
    );
    let _work = work(&stage, &["-w", "2", "--", "flock", "-s", GATE, "true"], 2);
    until("it has a number", || {
        list(&stage, &[])[1] == row(2, "running", "one")
    });
    stage.say("cancel", &["2"]).ends(0).prints("2 cancelled\n");
    assert_eq!(
        objects(&stage.say("show", &["2", "--format", "json"]))[0]["state"],
        "dead"
    );
}

fn what_has_ended_is_told_apart_from_what_never_was() {
    let stage = Stage::new();
    stage.put(&["a"]);
    stage.say("work", &["--until-done", "--", "true"]).ends(0);
    stage
        .say("show", &["1"])
        .ends(0)
        .prints("1\n  state:    done\n");
    stage.say("wait", &["1"]).ends(0).prints("1 done\n");
    stage
        .say("cancel", &["1"])
        .ends(2)
        .tells("item 1 has ended");
    for verb in ["show", "wait"] {
        stage.say(verb, &["2"]).ends(2).tells("there is no item 2");
    }
    // Where entries are gone without an end, nobody can say which.
    stage.put(&["b", "c"]);
    stage.redis_cli(&["xtrim", STREAM, "maxlen", "0"]);
    stage.status();
    stage
        .say("show", &["2"])
        .ends(2)
        .tells("gone from the stream without an end: 2");
}

fn whoever_waits_is_told_by_the_end() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b"]);
    let _work = work(&stage, &["-w", "2", "--", "flock", "-s", GATE, "true"], 2);
    let mut waits = ["1", "2"].map(|number| stage.start("wait", &[number]));
    let marked = || stage.redis_cli(&["hlen", "{jobs}:marked"]) == "2";
    until("they wait", marked);
    stage.say("cancel", &["2"]).ends(0);
    assert_eq!(waits[1].line().unwrap(), "2 dead: cancelled");
    gate.open();
    assert_eq!(waits[0].line().unwrap(), "1 done");
    assert_eq!((waits[0].end().0, waits[1].end().0), (Some(0), Some(1)));
    assert_eq!(
        stage.redis_cli(&["exists", "{jobs}:marked"]),
        "0",
        "nothing is left of it"
    );
}

fn a_wait_has_a_bound() {
    let stage = Stage::new();
    stage.put(&["a"]);
    stage.say("wait", &["1", "--timeout", "50ms"]).ends(2);
    stage.say("wait", &["--all", "--timeout", "50ms"]).ends(2);
}

fn what_nobody_has_is_cancelled_at_once() {
    let stage = Stage::new();
    stage.put(&["a", "b"]);
    let mut join = stage.start("join", &[]);
    stage
        .say("cancel", &["1", "2"])
        .ends(0)
        .prints("1 cancelled\n2 cancelled\n");
    assert_eq!(
        join.line().unwrap(),
        "0 done, 2 dead; 0 retries, 2 dead letters"
    );
    assert_eq!(join.end().0, Some(1));
    let status = stage.status();
    assert_eq!(
        (&status["unfinished"], &status["dead"], &status["gone"]),
        (&0.into(), &2.into(), &0.into())
    );
    let letters = stage.say("dead list", &[]);
    assert!(
        letters.ends(0).out.contains("1\ta\tnot begun\tcancelled"),
        "{}",
        letters.out
    );
    // It is tried again as any other.
    stage.say("retry", &["1"]).ends(0);
    stage.say("work", &["--until-done", "--", "true"]).ends(0);
}

/// A command whose child writes its number, and that waits for it.
const TREE: [&str; 6] = [
    "-w",
    "1",
    "--",
    "sh",
    "-c",
    "sh -c 'echo $$ >>pids; exec sleep 1000' & wait",
];

fn is_alive(pid: &str) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn a_cancelled_item_is_ended_where_it_runs() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let _work = stage.start("work", &TREE);
    until("it runs", || stage.lines("pids").len() == 1);
    stage.say("cancel", &["1"]).ends(0).prints("1 cancelled\n");
    let pid = stage.lines("pids").remove(0);
    until("its whole tree is gone", || !is_alive(&pid));
    let shown = objects(&stage.say("show", &["1", "--format", "json"])).remove(0);
    assert_eq!(
        (&shown["state"], &shown["attempts"]),
        (&"dead".into(), &1.into()),
        "the attempt counts"
    );
    // The worker goes on with others.
    stage.put(&["b"]);
    until("it works", || stage.lines("pids").len() == 2);
    stage.say("cancel", &["2"]).ends(0);
    assert_eq!(stage.status()["refused"], 0);
}

/// Supervisors take over after this time.
const LEASE: [&str; 2] = ["--lease", "1s"];

fn a_cancelled_item_of_a_killed_supervisor_is_not_begun_again() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let killed = stage.start("work", &[&LEASE[..], &TREE[..]].concat());
    until("it runs", || stage.lines("pids").len() == 1);
    // It is not heard of from here on, and hears nothing.
    send(killed.pid(), Signal::SIGSTOP);
    let mut cancel = stage.start("cancel", &["1"]);
    until("it is recorded", || {
        stage.redis_cli(&["hlen", "{jobs}:marked"]) == "1"
    });
    killed.kill();
    assert_eq!(cancel.line().unwrap(), "1 cancelled");
    assert_eq!(cancel.end().0, Some(0));
    stage
        .say(
            "work",
            &["--until-done", "--", "sh", "-c", "echo again >>pids"],
        )
        .ends(0);
    assert_eq!(stage.lines("pids").len(), 1, "nobody has begun it again");
    assert_eq!(stage.redis_cli(&["exists", "{jobs}:marked"]), "0");
}

fn whoever_takes_over_a_cancelled_item_ends_it() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let killed = stage.start("work", &[&LEASE[..], &TREE[..]].concat());
    until("it runs", || stage.lines("pids").len() == 1);
    send(killed.pid(), Signal::SIGSTOP);
    let cancel = stage.start("cancel", &["1"]);
    until("it is recorded", || {
        stage.redis_cli(&["hlen", "{jobs}:marked"]) == "1"
    });
    // Nobody is left who knows of it.
    cancel.kill();
    killed.kill();
    let _other = stage.start("work", &["--", "sh", "-c", "echo again >>pids"]);
    stage.await_status("dead", 1);
    let shown = objects(&stage.say("show", &["1", "--format", "json"])).remove(0);
    assert_eq!(shown["history"][0]["cause"], "cancelled");
    assert_eq!(stage.lines("pids").len(), 1);
    assert_eq!(stage.redis_cli(&["exists", "{jobs}:marked"]), "0");
}

fn a_stopping_supervisor_ends_a_cancelled_item() {
    let stage = Stage::new();
    stage.put(&["a"]);
    // Its command stays for a while, however it is asked to end.
    let stays = "trap '' TERM; echo $$ >>pids; while :; do sleep 0.1; done";
    let mut work = stage.start("work", &["-w", "1", "--", "sh", "-c", stays]);
    until("it runs", || stage.lines("pids").len() == 1);
    let mut cancel = stage.start("cancel", &["1"]);
    work.signal(Signal::SIGTERM);
    work.signal(Signal::SIGTERM);
    let line = cancel.line();
    let (code, err) = cancel.end();
    assert_eq!(
        (line.as_deref(), code),
        (Some("1 cancelled"), Some(0)),
        "{err}"
    );
    work.end();
    assert_eq!(
        (&stage.status()["dead"], &stage.status()["unfinished"]),
        (&1.into(), &0.into())
    );
}

fn output_is_where_the_item_runs() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a", "b"]);
    // Another machine's supervisor cannot be asked either.
    let words = [&["--no-control"][..], &WAIT].concat();
    let work = work(&stage, &words, 1);
    let there = format!("`supervisor logs 1 --at {}`", work.pid());
    stage.say("logs", &["1"]).ends(2).tells(&there);
    stage
        .say("logs", &["2"])
        .ends(2)
        .tells("nobody works on item 2 just now");
    stage
        .say("logs", &["9"])
        .ends(2)
        .tells("there is no item 9");
}

/// Waits until this much is there of the output of an item.
fn await_output(stage: &Stage, number: &str, output: &str) {
    until(output, || {
        stage.say("logs", &[number]).ends(0).out == output
    });
}

fn output_of_this_machine_is_shown_and_followed() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b"]);
    let script = format!("echo begun $1; flock -s {GATE} true; echo over $1");
    let words = ["-w", "1", "--", "sh", "-c", &script, "sh", "{}"];
    let mut work = work(&stage, &words, 1);
    await_output(&stage, "1", "begun a\n");
    let mut follower = stage.start("logs", &["-f", "1"]);
    assert_eq!(follower.line().as_deref(), Some("begun a"));
    gate.open();
    assert_eq!(follower.line().as_deref(), Some("over a"));
    assert_eq!(follower.end(), (Some(0), String::new()));
    stage.say("join", &[]).ends(0);
    await_output(&stage, "2", "begun b\nover b\n");
    let lines = objects(&stage.say("logs", &["1", "--format", "json"]));
    assert_eq!(lines.last().unwrap()["end"]["state"], "done");
    // The socket of its supervisor knows the same.
    let pid = work.pid().to_string();
    let mut shown = supervisor();
    shown.args(["show", "1", "--at", &pid]);
    let shown = said(shown);
    assert!(
        shown.ends(0).out.starts_with("1 a\n  state:    done\n"),
        "{}",
        shown.out
    );
    work.signal(Signal::SIGTERM);
    work.end();
    let gone = stage.say("logs", &["1"]);
    gone.ends(2).tells("on the machine that has worked on it");
}

fn output_is_that_of_the_supervisor_that_has_worked_on_it() {
    let stage = Stage::new();
    let script = "echo $PPID; echo broken >&2; exit 3";
    let words = ["-w", "1", "--", "sh", "-c", script];
    stage.put(&["a"]);
    let works = [stage.start("work", &words), stage.start("work", &words)];
    stage.await_status("dead", 1);
    let mut all = std::collections::BTreeSet::new();
    for number in 1..30 {
        let number = number.to_string();
        stage.say("wait", &[&number]).ends(1);
        let shown = stage.say("show", &[&number, "--format", "json"]);
        let worker = objects(&shown)[0]["history"][0]["pid"].to_string();
        await_output(&stage, &number, &format!("{worker}\n"));
        assert_eq!(stage.say("logs", &[&number]).err, "broken\n");
        all.insert(worker);
        if all.len() == works.len() {
            return;
        }
        stage.put(&["more"]);
    }
    panic!("one of them has got nothing: {all:?}");
}

fn a_wait_keeps_its_bound_while_redis_is_away() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let mut wait = stage.start("wait", &["1", "--timeout", "2s"]);
    until("it waits", || {
        stage.redis_cli(&["hlen", "{jobs}:marked"]) == "1"
    });
    stage.server.kill();
    let (code, err) = wait.end();
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("; it is tried again\n"), "{err}");
    assert!(err.lines().last().unwrap().contains(" is away: "), "{err}");
}
