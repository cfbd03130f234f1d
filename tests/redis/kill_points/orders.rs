//! A kill of whoever gives an order to the supervisors of a stream, and of one that carries it out, at every
//! step between the two. Nothing is lost, nothing happens twice, the caller hears of it, and whoever takes the
//! dead one's place is not left with its order.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::{GATE, Run, Stage};
use crate::deadline::until;
use crate::points;

crate::timely_trials!(
    every_point_of_an_order_is_one_at_which_somebody_is_killed,
    a_supervisor_that_is_killed_with_a_pause_leaves_it_to_nobody => kill_with_order(&["pause"]),
    a_supervisor_that_is_killed_with_a_scale_leaves_it_to_nobody =>
        kill_with_order(&["scale", "+2"]),
    a_supervisor_that_is_killed_with_a_reload_leaves_it_to_nobody => kill_with_order(&["reload"]),
    a_supervisor_that_is_killed_with_a_stop_leaves_it_to_nobody => kill_with_order(&["stop"]),
    a_supervisor_that_is_killed_with_a_stop_now_leaves_it_to_nobody =>
        kill_with_order(&["stop", "--now"]),
    a_supervisor_that_is_killed_as_it_hears_of_a_cancel_leaves_a_dead_letter,
    a_client_that_is_killed_has_given_its_order_once,
    a_client_that_is_killed_has_cancelled,
);

/// Where a supervisor is killed, each with true if it has answered by then.
const OF_SUPERVISOR: [(&str, bool); 4] = [
    ("orders: taken", false),
    ("orders: heard", false),
    ("orders: carried out", false),
    ("orders: answered", true),
];

const OF_CLIENT: [&str; 2] = ["orders: given", "orders: cancel given"];

const WAIT: [&str; 9] = [
    "--lease", "2s", "-w", "1", "--", "flock", "-s", GATE, "true",
];

const ITEMS: [&str; 4] = ["a", "b", "c", "d"];

fn every_point_of_an_order_is_one_at_which_somebody_is_killed() {
    let mut all = points::in_source();
    all.retain(|point| point.starts_with(points::OF_ORDERS));
    let of_supervisor = OF_SUPERVISOR.map(|(point, _)| point);
    let tried = of_supervisor.into_iter().chain(OF_CLIENT);
    assert_eq!(all, tried.map(str::to_owned).collect());
}

/// Starts a command that is killed when it passes this point for the first time, and returns the file that
/// is there then.
fn start_victim(stage: &Stage, point: &str, subcommand: &str, words: &[&str]) -> (Run, PathBuf) {
    let mark = stage.path(&format!("killed-{subcommand}"));
    let mut command = stage.supervisor(subcommand, words);
    let kill = format!("supervisor|{point}|1|{}", mark.display());
    command.env("DISHRACK_KILL_POINT", kill);
    (Run::of(command), mark)
}

/// Expects that it was killed, which the mark says.
fn is_killed(mut victim: Run, mark: &Path, of: &str) {
    until(&format!("{of}: it is killed"), || mark.exists());
    assert_eq!(victim.end().0, None, "{of}");
}

/// Returns the row of a supervisor in `ps`.
fn row_of(stage: &Stage, run: &Run) -> Value {
    let said = stage.say("ps", &["--format", "json"]);
    let rows = said.ends(0).out.lines();
    let mut rows = rows.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let row = rows.find(|row| row["pid"] == run.pid() && row["workers"].is_u64());
    row.unwrap_or_default()
}

/// Waits until a supervisor answers.
fn await_answer(stage: &Stage, run: &Run) {
    until("it answers", || row_of(stage, run)["workers"].is_u64());
}

/// Expects that all items but these have been done, once.
fn check_books(stage: &Stage, dead: u64, of: &str) {
    stage.say("wait", &["--all"]);
    let status = stage.status();
    let count = |name: &str| status[name].as_u64().unwrap();
    let counts = ["unfinished", "done", "dead", "gone"].map(count);
    assert_eq!(counts, [0, ITEMS.len() as u64 - dead, dead, 0], "{of}");
}

fn kill_with_order(words: &[&str]) {
    for (point, has_answered) in OF_SUPERVISOR {
        kill_at(point, has_answered, words);
    }
}

fn kill_at(point: &str, has_answered: bool, words: &[&str]) {
    let of = format!("{words:?}, {point}");
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&ITEMS);
    let (victim, mark) = start_victim(&stage, point, "work", &WAIT);
    stage.await_status("pending", 1);
    let mut other = stage.start("work", &WAIT);
    stage.await_status("pending", 2);
    let mut order = stage.start(words[0], &words[1..]);
    until(&format!("{of}: it is ordered"), || {
        stage.redis_cli(&["xlen", "{jobs}:orders"]) != "0"
    });
    // What has begun may have to end before it is carried out.
    gate.open();
    is_killed(victim, &mark, &of);
    let said = order.line();
    let (code, err) = order.end();
    assert_eq!((said.is_some(), code), (true, Some(0)), "{of}: {err}");
    // An order to stop is carried out when a supervisor is gone.
    let is_missed = !has_answered || words[0] == "stop";
    let is_told = err.contains("it is not heard of any more, and not waited for");
    assert_eq!(is_told, is_missed, "{of}: {err}");
    let third = stage.start("work", &WAIT);
    await_answer(&stage, &third);
    match words[0] {
        "pause" => {
            assert_eq!(row_of(&stage, &third)["state"], "paused", "{of}");
            stage.say("resume", &[]).ends(0);
        }
        "scale" => assert_eq!(row_of(&stage, &other)["workers"], 3, "{of}"),
        "stop" => assert!(other.end().0.is_some(), "{of}"),
        _ => {}
    }
    check_books(&stage, 0, &of);
    let row = row_of(&stage, &third);
    assert_eq!(
        (&row["state"], &row["workers"]),
        (&"running".into(), &1.into()),
        "{of}"
    );
}

fn a_supervisor_that_is_killed_as_it_hears_of_a_cancel_leaves_a_dead_letter() {
    let of = "cancel";
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&ITEMS);
    let (victim, mark) = start_victim(&stage, "orders: taken", "work", &WAIT);
    stage.await_status("pending", 1);
    let mut cancel = stage.start("cancel", &["1"]);
    is_killed(victim, &mark, of);
    let _next = stage.start("work", &WAIT);
    assert_eq!(cancel.line().as_deref(), Some("1 cancelled"));
    assert_eq!(cancel.end().0, Some(0));
    gate.open();
    check_books(&stage, 1, of);
    let shown = stage.say("show", &["1", "--format", "json"]);
    let shown: Value = serde_json::from_str(&shown.ends(0).out).unwrap();
    assert_eq!(
        (&shown["state"], &shown["history"][0]["cause"]),
        (&"dead".into(), &"cancelled".into())
    );
    assert_eq!(shown["history"].as_array().unwrap().len(), 1);
}

fn a_client_that_is_killed_has_given_its_order_once() {
    for words in [&["pause"][..], &["scale", "+2"], &["reload"], &["stop"]] {
        let of = format!("{words:?}");
        let stage = Stage::new();
        stage.put(&ITEMS);
        let mut work = stage.start("work", &["-w", "1", "--", "true"]);
        await_answer(&stage, &work);
        stage.await_status("done", 4);
        let (victim, mark) = start_victim(&stage, OF_CLIENT[0], words[0], &words[1..]);
        is_killed(victim, &mark, &of);
        match words[0] {
            "pause" => {
                until(&of, || row_of(&stage, &work)["state"] == "paused");
                assert_eq!(stage.status()["paused"], true);
                stage.say("resume", &[]).ends(0);
            }
            "scale" => {
                until(&of, || row_of(&stage, &work)["workers"] == 3);
                // Neither it nor the next one finds it again.
                stage.say("reload", &[]).ends(0);
                let next = stage.start("work", &["-w", "1", "--", "true"]);
                await_answer(&stage, &next);
                let workers = [&work, &next].map(|one| row_of(&stage, one)["workers"].as_u64());
                assert_eq!(workers, [Some(3), Some(1)]);
            }
            "stop" => {
                work.end();
            }
            _ => await_answer(&stage, &work),
        }
        check_books(&stage, 0, &of);
    }
}

fn a_client_that_is_killed_has_cancelled() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&ITEMS);
    let _work = stage.start("work", &WAIT);
    stage.await_status("pending", 1);
    let (victim, mark) = start_victim(&stage, OF_CLIENT[1], "cancel", &["1"]);
    is_killed(victim, &mark, "cancel");
    stage.await_status("dead", 1);
    gate.open();
    check_books(&stage, 1, "cancel");
}
