//! Supervisors on a stream that are stopped, and that die.

use std::process::Stdio;

use nix::sys::signal::Signal;

use super::{GATE, Run, Stage, said};
use crate::deadline::until;

crate::timely_trials!(
    a_first_signal_lets_what_has_begun_be_finished,
    a_second_signal_gives_back_at_once_what_has_begun,
    what_outlasts_the_grace_is_given_back_at_once,
    what_a_killed_supervisor_held_is_taken_over_after_the_lease,
    whoever_slept_longer_than_the_lease_is_refused,
    a_stopped_run_says_who_goes_on_with_the_rest,
    whoever_has_no_reader_any_more_gives_back_what_he_has,
);

/// A lease so long that it never ends in a test.
const NEVER: &str = "1h";

/// Starts commands that wait at the gate, with this lease.
fn wait(stage: &Stage, lease: &str) -> Run {
    let options = ["-w", "2", "--lease", lease, "--shutdown", "1h"];
    let script = format!("touch begun-{{}}; exec flock -s {GATE} echo {{}}");
    let command = ["--", "sh", "-c", &script];
    stage.start("work", &[&options[..], &command].concat())
}

/// Starts a supervisor with the others' lease, which does all items in one go.
fn work_all(stage: &Stage) -> Vec<String> {
    let said = stage.say("work", &["-w", "2", "--until-done", "--", "echo", "{}"]);
    said.ends(0);
    let mut lines: Vec<String> = said.out.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn a_first_signal_lets_what_has_begun_be_finished() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b", "c", "d"]);
    let mut work = wait(&stage, NEVER);
    until("two have begun", || {
        ["begun-a", "begun-b"].map(|name| stage.path(name).exists()) == [true; 2]
    });
    work.signal(Signal::SIGINT);
    work.await_err("SIGINT: finishing what is being run; once more to stop at once");
    gate.open();
    let done = work.rest();
    assert_eq!(done, ["a", "b"]);
    let (code, err) = work.end();
    assert_eq!(code, Some(128 + 2), "{err}");
    assert!(err.contains("2 of 2 jobs done"), "{err}");
    assert_eq!(work_all(&stage), ["c", "d"]);
    assert_eq!(stage.say("join", &[]).code, Some(0));
}

fn a_second_signal_gives_back_at_once_what_has_begun() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a", "b", "c"]);
    let (int, term) = (Signal::SIGINT, Signal::SIGTERM);
    for (first, second) in [(int, term), (term, int)] {
        let mut work = wait(&stage, NEVER);
        stage.await_status("pending", 2);
        work.signal(first);
        work.await_err("once more to stop at once");
        work.signal(second);
        let (code, err) = work.end();
        assert_eq!(code, Some(128 + second as i32), "{err}");
        let status = stage.status();
        assert_eq!(
            (&status["pending"], &status["untaken"], &status["retries"]),
            (&0.into(), &3.into(), &0.into()),
            "{status}"
        );
    }
    assert_eq!(work_all(&stage), ["a", "b", "c"]);
}

fn what_outlasts_the_grace_is_given_back_at_once() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a", "b"]);
    let options = ["-w", "2", "--lease", NEVER, "--shutdown", "0"];
    let command = ["--", "flock", "-s", GATE, "echo", "{}"];
    let mut work = stage.start("work", &[&options[..], &command].concat());
    stage.await_status("pending", 2);
    work.signal(Signal::SIGTERM);
    let (code, err) = work.end();
    assert_eq!(code, Some(128 + 15), "{err}");
    assert_eq!(work_all(&stage), ["a", "b"]);
}

fn what_a_killed_supervisor_held_is_taken_over_after_the_lease() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b", "c"]);
    let killed = wait(&stage, "1s");
    stage.await_status("pending", 2);
    let mut join = stage.start("join", &[]);
    killed.kill();
    // It still holds them, and its end is not known yet.
    assert_eq!(stage.status()["pending"], 2);
    gate.open();
    let work = wait(&stage, "1s");
    let mut done = [work.line(), work.line(), work.line()].map(Option::unwrap);
    done.sort_unstable();
    assert_eq!(done, ["a", "b", "c"]);
    let (code, err) = join.end();
    assert_eq!(code, Some(0), "{err}");
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["dead"], &status["refused"]),
        (&3.into(), &0.into(), &0.into()),
        "{status}"
    );
}

/// Returns the state of its process, as a letter of proc(5).
fn state(run: &Run) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", run.pid())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn whoever_slept_longer_than_the_lease_is_refused() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b"]);
    let mut sleeper = wait(&stage, "1s");
    stage.await_status("pending", 2);
    sleeper.signal(Signal::SIGSTOP);
    until("it sleeps", || state(&sleeper) == Some('T'));
    // They are finished there, without a report.
    gate.open();
    assert_eq!(work_all(&stage), ["a", "b"]);
    sleeper.signal(Signal::SIGCONT);
    sleeper.signal(Signal::SIGTERM);
    let (code, err) = sleeper.end();
    assert_eq!(code, Some(128 + 15), "{err}");
    assert!(err.contains("0 of 0 jobs done"), "{err}");
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["dead"], &status["unfinished"]),
        (&2.into(), &0.into(), &0.into()),
        "{status}"
    );
}

fn a_stopped_run_says_who_goes_on_with_the_rest() {
    let stage = Stage::new();
    let dishes = ["--dishes", "3", "--wash", "0", "--dry", "1h"];
    let mut run = stage.start("", &[&["-w", "1", "--lease", NEVER], &dishes[..]].concat());
    stage.await_status("unfinished", 3);
    stage.await_status("pending", 1);
    run.signal(Signal::SIGINT);
    run.await_err("once more to stop at once");
    run.signal(Signal::SIGTERM);
    let (code, err) = run.end();
    assert_eq!(code, Some(128 + 15), "{err}");
    let advice =
        "what was put and is not done stays on stream jobs, where `supervisor work` goes on";
    assert!(err.contains(advice), "{err}");
    assert_eq!(work_all(&stage), ["dish-1", "dish-2", "dish-3"]);
}

fn whoever_has_no_reader_any_more_gives_back_what_he_has() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["first", "held"]);
    // The second item is held for ever, while the first one writes output.
    let script = "case {} in first) until test -e ready; do sleep 0.01; done; seq 100000;; \
                  *) touch ready; exec flock -s gate true;; esac";
    let options = ["-w", "2", "--lease", NEVER, "--", "sh", "-c", script];
    let supervisor = stage.supervisor("work", &options);
    // `head` reads a line and ends.
    let mut shell = std::process::Command::new("bash");
    shell
        .arg("-c")
        .arg("\"$@\" | head -n 1; exit ${PIPESTATUS[0]}")
        .arg("_");
    shell
        .arg(supervisor.get_program())
        .args(supervisor.get_args());
    shell.current_dir(&stage.folder).stdin(Stdio::null());
    let said = said(shell);
    assert_eq!((said.code, &*said.out), (Some(141), "1\n"), "{said:?}");
    assert_eq!(stage.status()["pending"], 0);
}
