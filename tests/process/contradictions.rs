//! Runs whose books do not agree: they say so once, end their workers and themselves with 70, and
//! leave what is durable to the next run. The fault is planted before the first item, while items are in
//! hand, or when some are done. It needs the feature `failpoints`.

pub(crate) mod panics;
mod waiting;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::control::Started;
use crate::place::Place;
use crate::support::{Run, send, until};

crate::trials! {
    every_kind_of_run_ends_with_70,
    the_next_run_goes_on_with_the_journal,
    a_served_queue_lets_everybody_go_and_leaves_its_socket,
    a_queue_that_stays_ends_also_if_it_is_found_before_anybody_hears_of_it,
}

/// Returns those of all that is found wrong.
pub(crate) fn all() -> Vec<Trial> {
    let all = [trials(), panics::trials(), waiting::trials()];
    all.into_iter().flatten().collect()
}

/// The moments at which the fault is planted.
const BEFORE: &str = "one too many";
const IN_HAND: &str = "one too many while items are in hand";
const SOME_DONE: &str = "one too many when some are done";

fn supervisor(place: &Place, arguments: &[&str], fault: &str) -> Command {
    let mut command = place.command(arguments);
    command
        .env("DISHRACK_FAULT", fault)
        .env("XDG_STATE_HOME", place.path("state"))
        .current_dir(place.path(""))
        .stderr(File::create(place.path("stderr")).unwrap());
    command
}

fn quiet(command: &mut Command) -> &mut Command {
    let null = Stdio::null;
    command.stdin(null()).stdout(null()).stderr(null())
}

fn is_ready(place: &Place) -> bool {
    place.try_ask(&["status", "--at", "serve"]).status.success()
}

/// Checks that a run ends for this reason, after all that have its stdout: its workers and theirs.
#[track_caller]
fn ends_with_70(place: &Place, mut run: Run, what: &str) -> Vec<String> {
    let lines = std::iter::from_fn(|| run.line()).collect();
    let said = fs::read_to_string(place.path("stderr")).unwrap();
    assert_eq!(run.exit().code(), Some(70), "{what}: {said}");
    assert_eq!(said.matches("internal error").count(), 1, "{what}: {said}");
    let left = fs::read_dir(place.path("dishrack")).into_iter().flatten();
    assert_eq!(left.count(), 0, "{what}: a socket is left");
    lines
}

fn every_kind_of_run_ends_with_70() {
    let dishes: [&[&str]; 5] = [
        &["--mode", "sequential"],
        &["--mode", "threads"],
        &["--mode", "tasks"],
        &["--mode", "processes"],
        &["--start-method", "fork"],
    ];
    let commands: [&[&str]; 4] = [
        &["--", "sleep", "1000"],
        &["--start-method", "fork", "--", "sleep", "1000"],
        &["--copies", "2", "--", "sleep", "1000"],
        &["--worker", "sleep 1000"],
    ];
    for fault in [BEFORE, IN_HAND] {
        for kind in dishes {
            let place = Place::new();
            let begin: &[&str] = &["-w", "2", "--wash", "0", "--dry", "1000s"];
            let command = supervisor(&place, &[begin, kind].concat(), fault);
            ends_with_70(&place, Run::of(command), &format!("{fault}: {kind:?}"));
        }
        for kind in commands {
            let place = Place::new();
            fs::write(place.path("items"), "1\n2\n3\n4\n").unwrap();
            let begin: &[&str] = &["-w", "2", "--input", "items"];
            let command = supervisor(&place, &[begin, kind].concat(), fault);
            ends_with_70(&place, Run::of(command), &format!("{fault}: {kind:?}"));
        }
    }
}

/// A run with a journal, and with [`items`] in a file.
const JOURNALED: [&str; 10] = [
    "-w",
    "2",
    "--input",
    "items",
    "--journal",
    "journal",
    "--",
    "sh",
    "-c",
    "echo done {}",
];

fn items() -> String {
    (1..=40).map(|n| format!("{n}\n")).collect()
}

/// Checks that the next run does what the first one has not, which has shown these lines.
#[track_caller]
fn next_run_does_the_rest(place: &Place, mut lines: Vec<String>, of: &str) {
    let mut next = Run::of(supervisor(place, &JOURNALED, "none"));
    lines.extend(std::iter::from_fn(|| next.line()));
    let said = fs::read_to_string(place.path("stderr")).unwrap();
    assert_eq!(next.exit().code(), Some(0), "{of}: {said}");
    // What was shown at the very last is not known to be, and is shown again.
    lines.sort_unstable();
    lines.dedup();
    let mut expected: Vec<String> = (1..=40).map(|n| format!("done {n}")).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected, "{of}");
}

fn the_next_run_goes_on_with_the_journal() {
    for fault in [BEFORE, IN_HAND, SOME_DONE] {
        let place = Place::new();
        fs::write(place.path("items"), items()).unwrap();
        let first = Run::of(supervisor(&place, &JOURNALED, fault));
        let lines = ends_with_70(&place, first, fault);
        next_run_does_the_rest(&place, lines, fault);
    }
}

fn a_queue_that_stays_ends_also_if_it_is_found_before_anybody_hears_of_it() {
    let place = Place::new();
    let command = supervisor(&place, &["serve", "-w", "1"], BEFORE);
    ends_with_70(&place, Run::of(command), "serve");
}

/// One who waits for an item, one who follows the events, and one whose request is not whole, which
/// keeps the server for as long as it may; meanwhile it is told to stop, twice.
fn a_served_queue_lets_everybody_go_and_leaves_its_socket() {
    let place = Place::new();
    let mut command = supervisor(
        &place,
        &["serve", "-w", "1", "--max-attempts", "3"],
        IN_HAND,
    );
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut server = Started(command.stdout(Stdio::null()).spawn().unwrap());
    let socket = place.socket("serve");
    until("it can be asked", || {
        UnixStream::connect(&socket).is_ok_and(|_| is_ready(&place))
    });
    let mut waiting = place.command(&["wait", "1", "--at", "serve"]);
    let mut waiting = Started(quiet(&mut waiting).spawn().unwrap());
    let mut follower = UnixStream::connect(&socket).unwrap();
    let follow = "GET /v1/events HTTP/1.1\r\nHost: run\r\n\r\n";
    follower.write_all(follow.as_bytes()).unwrap();
    let mut follower = BufReader::new(follower);
    let mut head = String::new();
    follower.read_line(&mut head).unwrap();
    assert!(head.contains("200"), "{head}");
    let mut slow = UnixStream::connect(&socket).unwrap();
    slow.write_all(b"GET /v1/status HTTP/1.1\r\n").unwrap();
    let mut add = place.command(&["add", "--at", "serve", "--", "echo", "an item"]);
    // Whether it is told that it is taken is a matter of the moment.
    let _ = add.stdin(Stdio::null()).output().unwrap();
    let said = BufReader::new(server.0.stderr.take().unwrap());
    let mut said = said.lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("internal error")));
    // The process has ended, or is about to.
    for _ in 0..2 {
        if server.0.try_wait().unwrap().is_none() {
            send(server.0.id(), Signal::SIGTERM);
        }
    }
    let mut status = None;
    until("the server ends", || {
        status = server.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(70));
    assert!(!said.any(|line| line.contains("internal error")), "once");
    assert!(!socket.exists());
    until("who waits is let go", || {
        waiting.0.try_wait().unwrap().is_some()
    });
    std::io::copy(&mut follower, &mut std::io::sink()).unwrap();
    drop(slow);
    // What was begun is lost, and the next one does it again.
    let mut command = supervisor(&place, &["serve", "-w", "1", "--max-attempts", "3"], "none");
    let next = Started(quiet(&mut command).spawn().unwrap());
    until("the next one can be asked", || is_ready(&place));
    place.ask(&["join", "--at", "serve"]);
    let status = place.ask_json(&["status", "--at", "serve"]);
    let (accepted, done) = (&status["counts"]["accepted"], &status["counts"]["done"]);
    assert_eq!((accepted, done), (&json!(1), &json!(1)), "{status}");
    send(next.0.id(), Signal::SIGTERM);
}
