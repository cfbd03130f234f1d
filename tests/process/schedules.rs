//! The chapter's schedules: the times of washing and drying, by one person and by several.
//!
//! These are the only tests about time, because the schedule is the chapter's subject. They run at
//! its own pace: a second to wash and two to dry, to within 0.2 s.

use serde_json::Value;

use crate::support::{Run, named};

crate::trials! {
    one_person_does_everything_in_turn,
    one_dryer_process_works_beside_the_washer =>
        check(&["--workers", "1"], ONE_A_SECOND, [1.0, 3.0, 5.0, 7.0], 9.0),
    two_dryer_processes_keep_up =>
        check(&["--workers", "2"], ONE_A_SECOND, [1.0, 2.0, 3.0, 4.0], 6.0),
    two_forked_dryers_keep_up,
    two_dryer_threads_keep_up,
    two_dryer_tasks_keep_up,
    direct_handing_over_makes_the_washer_wait,
}

const TOLERANCE_S: f64 = 0.2;

fn seconds(event: &Value) -> f64 {
    Value::as_f64(&event["t_us"]).unwrap() / 1e6
}

/// Runs the chapter's four dishes, and compares the beginnings of washing and drying, and the end.
fn check(arguments: &[&str], washes: [f64; 4], dries: [f64; 4], end: f64) {
    let mut run = Run::supervisor(arguments);
    let events = run.ends(0);
    for (name, expected) in [("washing", washes), ("drying", dries)] {
        let times: Vec<f64> = named(&events, name).iter().map(|e| seconds(e)).collect();
        let is_so = times
            .iter()
            .zip(expected)
            .all(|(t, e)| (t - e).abs() <= TOLERANCE_S);
        assert!(
            times.len() == 4 && is_so,
            "{name}: {times:?}, not {expected:?}"
        );
    }
    let ended = named(&events, "summary")[0]["elapsed_us"].as_f64().unwrap() / 1e6;
    assert!(
        (ended - end).abs() <= TOLERANCE_S,
        "ended at {ended}, not {end}"
    );
}

const ONE_A_SECOND: [f64; 4] = [0.0, 1.0, 2.0, 3.0];

fn one_person_does_everything_in_turn() {
    let (washes, dries) = ([0.0, 3.0, 6.0, 9.0], [1.0, 4.0, 7.0, 10.0]);
    check(&["--mode", "sequential"], washes, dries, 12.0);
}

fn two_forked_dryers_keep_up() {
    let arguments = ["--workers", "2", "--start-method", "fork"];
    check(&arguments, ONE_A_SECOND, [1.0, 2.0, 3.0, 4.0], 6.0);
}

fn two_dryer_threads_keep_up() {
    let arguments = ["--workers", "2", "--mode", "threads"];
    check(&arguments, ONE_A_SECOND, [1.0, 2.0, 3.0, 4.0], 6.0);
}

fn two_dryer_tasks_keep_up() {
    let arguments = ["--workers", "2", "--mode", "tasks"];
    check(&arguments, ONE_A_SECOND, [1.0, 2.0, 3.0, 4.0], 6.0);
}

/// With one dryer the washer waits with dish-2 in hand until dish-1 is dry.
fn direct_handing_over_makes_the_washer_wait() {
    let arguments = ["--workers", "1", "--direct"];
    check(&arguments, [0.0, 1.0, 3.0, 5.0], [1.0, 3.0, 5.0, 7.0], 9.0);
}
