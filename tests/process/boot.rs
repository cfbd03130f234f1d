//! Workers that die or hang before they are ready, and supervisors that run out of workers.

use nix::sys::signal::Signal;

use crate::said::words;
use crate::support::{Run, named, pid_of, send};

crate::trials!(
    a_worker_that_hangs_in_boot_is_killed_at_the_deadline,
    a_worker_that_dies_in_boot_is_given_up_with_its_exit_code,
    dryers_killed_while_idle_use_up_their_restarts,
    a_temporary_worker_is_not_started_again,
    dryers_lost_while_no_dish_comes_are_told,
    nobody_waits_for_workers_that_cannot_come,
);

fn no_workers_left(play: &str) -> String {
    let mut run = Run::play(play);
    let mut last = String::new();
    while let Some(line) = run.line() {
        last = line;
    }
    assert_eq!(run.exit().code(), Some(0), "{last}");
    assert!(last.starts_with("no workers left"), "{last}");
    last
}

fn a_worker_that_hangs_in_boot_is_killed_at_the_deadline() {
    let why = no_workers_left("hangs in boot");
    assert!(
        why.contains("died again after 2 restarts (allowed within 100s)"),
        "{why}"
    );
}

fn a_worker_that_dies_in_boot_is_given_up_with_its_exit_code() {
    let why = no_workers_left("dies in boot");
    assert!(why.contains("exited with code 7"), "{why}");
}

fn a_temporary_worker_is_not_started_again() {
    let why = no_workers_left("temporary");
    assert!(why.contains("they ended by themselves"), "{why}");
}

fn dryers_killed_while_idle_use_up_their_restarts() {
    let mut run = Run::supervisor(&["-w", "1", "--wash", "1000s", "--max-restarts", "2"]);
    for _ in 0..3 {
        send(pid_of(&run.await_event("worker_started")), Signal::SIGKILL);
    }
    let events = run.ends(3);
    assert_eq!(named(&events, "summary")[0]["restarts"], 2);
}

fn dryers_lost_while_no_dish_comes_are_told() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(words("--input - --format json -w 1 --max-restarts 0"));
    command.stdin(std::process::Stdio::piped());
    let mut run = Run::of(command);
    send(pid_of(&run.await_event("worker_started")), Signal::SIGKILL);
    assert_eq!(run.finish().1.code(), Some(3));
}

/// The program has one thread, or another one that ends, or another one that starts a worker.
fn nobody_waits_for_workers_that_cannot_come() {
    let mut run = Run::play("joins alone");
    let lines: Vec<String> = std::iter::from_fn(|| run.line()).collect();
    assert_eq!(run.exit().code(), Some(0), "{lines:?}");
    let (last, errors) = lines.split_last().unwrap();
    assert_eq!(last, "1 done");
    assert_eq!(errors.len(), 4, "{lines:?}");
    for error in errors {
        assert!(
            error.starts_with("nobody ever worked on this queue"),
            "{error}"
        );
        assert!(error.contains("start a Supervisor"), "{error}");
    }
}
