//! The titles in `ps`: the supervisor's with its counts, each worker's with its state.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Run, args_of as args, pid_of, until};

crate::trials! {
    ps_shows_what_everybody_is_doing => look(&[]),
    forked_workers_have_titles_too => look(&["--start-method", "fork"]),
    a_run_is_found_by_the_words_of_its_command_line,
    a_password_on_the_command_line_is_not_shown,
    a_run_without_room_for_a_title_is_found_all_the_same,
}

fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap()
        .trim_end()
        .to_owned()
}

fn look(more: &[&str]) {
    see_idle_worker(more);
    see_busy_workers(more);
}

fn start(arguments: &[&str], more: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command
        .args(["--format", "json"])
        .args(arguments)
        .args(more);
    command.stdin(Stdio::piped());
    Run::of(command)
}

/// One dish is dried, and no other one comes.
fn see_idle_worker(more: &[&str]) {
    let mut run = start(
        &["-w", "1", "--input", "-", "--wash", "0", "--dry", "0"],
        more,
    );
    let dryer = pid_of(&run.await_event("worker_started"));
    assert_eq!(comm(dryer), "dryer-1");
    until("the supervisor shows its counts", || {
        let title = "supervisor 0 of 0 done, 0 dead, 0 waiting; 1 processes: ";
        args(run.pid()).starts_with(title)
    });
    assert_eq!(comm(run.pid()), "supervisor");
    let mut stdin = run.child.stdin.take().unwrap();
    stdin.write_all(b"cup\n").unwrap();
    run.await_event("done");
    until("the worker is idle again", || args(dryer) == "dryer-1 idle");
    until("the supervisor counts it", || {
        args(run.pid()).starts_with("supervisor 1 of 1 done, 0 dead, ")
    });
    drop(stdin);
    assert_eq!(run.finish().1.code(), Some(0));
}

/// Two dishes are being dried for longer than the test takes.
fn see_busy_workers(more: &[&str]) {
    let run = start(
        &["-w", "2", "--dishes", "2", "--wash", "0", "--dry", "1000s"],
        more,
    );
    for _ in 0..2 {
        let drying = run.await_event("drying");
        let (pid, worker) = (pid_of(&drying), drying["worker"].as_str().unwrap());
        let expected = format!("{worker} drying {}", drying["item"].as_str().unwrap());
        until("the worker shows its dish", || args(pid) == expected);
        assert_eq!(comm(pid), worker);
    }
}

fn a_run_is_found_by_the_words_of_its_command_line() {
    let mut run = start(&["-w", "1", "--input", "-", "--wash", "0"], &[]);
    run.await_event("worker_started");
    let words = " --format json -w 1 --input - --wash 0";
    until("the title is there", || {
        args(run.pid()).starts_with("supervisor 0 of 0 done")
    });
    assert!(args(run.pid()).ends_with(words), "{}", args(run.pid()));
    drop(run.child.stdin.take());
    assert_eq!(run.finish().1.code(), Some(0));
}

fn a_password_on_the_command_line_is_not_shown() {
    let mut run = start(
        &[
            "-w",
            "1",
            "--input",
            "-",
            "--",
            "true",
            "redis://me:sec/ret@db/0",
            "https://me:secret@db/a@b",
        ],
        &[],
    );
    run.await_event("worker_started");
    until("the title is there", || {
        args(run.pid()).starts_with("supervisor 0 of 0 done")
    });
    assert!(
        args(run.pid()).ends_with(" -- true redis://db/0 https://db/a@b"),
        "{}",
        args(run.pid())
    );
    drop(run.child.stdin.take());
    assert_eq!(run.finish().1.code(), Some(0));
}

/// Without an environment there is only the room of the arguments.
fn a_run_without_room_for_a_title_is_found_all_the_same() {
    let mut command = Command::new("env");
    command.args(["-i", env!("CARGO_BIN_EXE_supervisor"), "--format", "json"]);
    command.args(["-w", "1", "--input", "-", "--wash", "0"]);
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut run = Run::of(command);
    run.await_event("worker_started");
    until("the title is there", || comm(run.pid()) == "supervisor");
    let title = args(run.pid());
    assert!(title.contains("-w 1 --input - --wash"), "{title}");
    drop(run.child.stdin.take());
    assert_eq!(run.finish().1.code(), Some(0));
}
