//! One signal is enough while Redis is away, does not answer, or has too few replicas: no command
//! waits longer for it than it may take to stop. Certain and uncertain results are reported.

use std::process::Stdio;

use nix::sys::signal::Signal;

use super::{GATE, Run, STREAM, Stage};
use crate::deadline::until;

crate::timely_trials!(
    one_signal_ends_a_work_while_redis_is_away,
    one_signal_ends_a_work_whose_redis_does_not_answer,
    one_signal_ends_a_run_while_redis_is_away,
    one_signal_ends_a_join_while_redis_is_away,
    one_signal_ends_a_put_while_redis_is_away,
    a_put_that_waits_for_replicas_says_what_may_be_there,
    a_stopped_work_tells_what_it_did_though_its_time_is_over,
);

/// Waits until a supervisor is on the stream.
fn await_supervisor(stage: &Stage) {
    until("a supervisor is there", || {
        let told = stage.redis_cli(&["xinfo", "consumers", STREAM, "dishrack"]);
        told.contains("pending")
    });
}

/// Sends one SIGTERM, and waits for the end. Returns stderr. Redis' timeout of five minutes is
/// longer than these tests wait.
#[track_caller]
fn ended_by_one_signal(run: &mut Run) -> String {
    run.signal(Signal::SIGTERM);
    let (code, err) = run.end();
    assert_eq!(code, Some(128 + 15), "{err}");
    err
}

const GIVEN_UP: &str = "it is not waited for any longer, because of the signal";

fn one_signal_ends_a_work_while_redis_is_away() {
    let stage = Stage::new();
    let mut work = stage.start("work", &["--shutdown", "1s", "--", "true"]);
    await_supervisor(&stage);
    stage.server.kill();
    work.await_err("is away");
    let err = ended_by_one_signal(&mut work);
    assert!(err.contains(GIVEN_UP), "{err}");
    assert!(err.contains("redis at 127.0.0.1"), "{err}");
}

fn one_signal_ends_a_work_whose_redis_does_not_answer() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a"]);
    let options = ["-w", "1", "--shutdown", "1s", "--"];
    let command = ["sh", "-c", "touch begun; flock -s gate true; echo {}"];
    let mut work = stage.start("work", &[&options[..], &command].concat());
    until("it has begun", || stage.path("begun").exists());
    stage.server.stop();
    gate.open();
    let err = ended_by_one_signal(&mut work);
    assert!(
        err.contains("does not answer") && err.contains(GIVEN_UP),
        "{err}"
    );
    assert!(err.contains("done again by others"), "{err}");
    stage.server.cont();
}

fn one_signal_ends_a_run_while_redis_is_away() {
    let stage = Stage::new();
    let _gate = stage.gate();
    let options = ["-w", "1", "--shutdown", "1s", "--", "flock", "-s", GATE];
    let items = ["true", ":::", "a", "b"];
    let mut run = stage.start("", &[&options[..], &items].concat());
    stage.await_status("pending", 1);
    stage.server.kill();
    run.await_err("is away");
    let err = ended_by_one_signal(&mut run);
    assert!(err.contains(GIVEN_UP), "{err}");
}

fn one_signal_ends_a_join_while_redis_is_away() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let mut join = stage.start("join", &[]);
    join.await_err("nobody works");
    stage.server.kill();
    join.await_err("is away");
    ended_by_one_signal(&mut join);
}

fn one_signal_ends_a_put_while_redis_is_away() {
    let stage = Stage::new();
    let mut command = stage.supervisor("put", &[]);
    command.stdin(Stdio::piped());
    let mut put = Run::of(command);
    put.tell("one\n");
    until("the first one is there", || {
        stage.redis_cli(&["xlen", STREAM]) == "1"
    });
    stage.server.kill();
    put.tell("two\n");
    put.await_err("is away");
    let err = ended_by_one_signal(&mut put);
    assert!(err.contains("1 item put on stream jobs"), "{err}");
}

fn a_put_that_waits_for_replicas_says_what_may_be_there() {
    let stage = Stage::new();
    let words = "0 items put on stream jobs for certain; 1 more may be there";
    let put = ["--replicas", "1", ":::", "a"];
    let start = || {
        let put = stage.start("put", &put);
        put.await_err("has 0 replicas that keep up");
        put
    };
    let err = ended_by_one_signal(&mut start());
    assert!(err.contains(words) && err.contains(GIVEN_UP), "{err}");
    assert_eq!(stage.redis_cli(&["xlen", STREAM]), "1");
    // A second signal does not wait even so long, and has the same report.
    let mut put = start();
    put.signal(Signal::SIGINT);
    put.signal(Signal::SIGTERM);
    let (code, err) = put.end();
    assert!(
        code == Some(128 + 15) || code == Some(128 + 2),
        "{code:?} {err}"
    );
    assert!(err.contains(words), "{err}");
}

fn a_stopped_work_tells_what_it_did_though_its_time_is_over() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a"]);
    let options = ["-w", "1", "--lease", "1h", "--shutdown", "0"];
    let command = ["--", "flock", "-s", GATE, "true"];
    let mut work = stage.start("work", &[&options[..], &command].concat());
    stage.await_status("pending", 1);
    let err = ended_by_one_signal(&mut work);
    assert!(!err.contains(GIVEN_UP), "{err}");
    assert_eq!(stage.status()["pending"], 0);
}
