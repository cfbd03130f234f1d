//! `supervisor pause`, `resume`, `scale`, `reload`, `stop` and `ps` on a stream: they are about all
//! supervisors that work on it, also where one of them is killed before it does what was ordered.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{GATE, Run, STREAM, Stage, send};
use crate::deadline::until;
use crate::harness::backup::Backup;
use crate::redis_server::Options;

crate::timely_trials!(
    a_pause_is_that_of_all_and_of_those_who_come_later,
    what_was_begun_goes_on_in_a_pause,
    each_supervisor_gets_so_many_workers,
    all_workers_are_replaced,
    all_supervisors_stop_and_give_back_what_waits,
    a_stop_now_ends_what_has_begun,
    a_supervisor_without_a_socket_obeys_too,
    one_that_is_killed_before_it_obeys_is_not_waited_for,
    one_that_is_killed_before_it_stops_is_not_waited_for,
    one_that_lives_and_does_not_answer_is_named,
    where_nobody_works_a_pause_is_kept_and_nobody_is_scaled,
    supervisors_are_listed_as_runs_are,
    one_supervisor_is_scaled_paused_shown_and_stopped,
    one_that_cannot_be_meant_is_told_with_those_that_there_are,
    one_that_is_lost_takes_no_orders,
    a_pause_counts_after_redis_has_come_back_with_an_older_state,
    whether_there_is_a_pause_is_what_redis_has_come_back_with,
);

const WAIT: [&str; 7] = ["-w", "1", "--", "flock", "-s", GATE, "true"];
const TRUE: [&str; 4] = ["-w", "1", "--", "true"];

/// Returns the rows of `supervisor ps`.
fn supervisors(stage: &Stage) -> Vec<Value> {
    let said = stage.say("ps", &["--format", "json"]);
    let lines = said.ends(0).out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn states(stage: &Stage) -> Vec<String> {
    let state = |row: &Value| row["state"].as_str().unwrap().to_owned();
    supervisors(stage).iter().map(state).collect()
}

/// Starts supervisors, and returns when each of them answers.
fn work<const N: usize>(stage: &Stage, arguments: &[&str]) -> [Run; N] {
    if stage.redis_cli(&["exists", "{jobs}:meta"]) == "0" {
        stage.put(&["first"]);
    }
    let before = supervisors(stage).len();
    let runs = [(); N].map(|()| stage.start("work", arguments));
    let are_there = || {
        let rows = supervisors(stage);
        rows.len() == before + N && rows.iter().all(|row| row["workers"].is_u64())
    };
    until("all are there", are_there);
    runs
}

fn a_pause_is_that_of_all_and_of_those_who_come_later() {
    let stage = Stage::new();
    let _works: [Run; 2] = work(&stage, &TRUE);
    stage.await_status("unfinished", 0);
    let paused = stage.say("pause", &[]);
    paused.ends(0).prints("paused: nothing more is begun\n");
    assert_eq!(states(&stage), ["paused"; 2]);
    let _third: [Run; 1] = work(&stage, &TRUE);
    assert_eq!(states(&stage), ["paused"; 3]);
    stage.put(&["a", "b", "c"]);
    stage.say("wait", &["--all", "--timeout", "300ms"]).ends(2);
    let status = stage.status();
    assert_eq!(
        (&status["untaken"], &status["pending"]),
        (&3.into(), &0.into())
    );
    // As that of a run.
    let counts = &status["counts"];
    assert_eq!(
        (&status["state"], &counts["accepted"], &counts["done"]),
        (&"paused".into(), &4.into(), &1.into())
    );
    let resumed = stage.say("resume", &["--format", "json"]);
    let resumed: Value = serde_json::from_str(&resumed.ends(0).out).unwrap();
    assert_eq!(resumed["resumed"], true);
    assert_eq!(resumed["supervisors"].as_array().unwrap().len(), 3);
    stage.say("join", &[]).ends(0);
    assert_eq!(states(&stage), ["running"; 3]);
}

fn what_was_begun_goes_on_in_a_pause() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b", "c"]);
    let _work: [Run; 1] = work(&stage, &WAIT);
    stage.await_status("pending", 1);
    stage.say("pause", &[]).ends(0);
    gate.open();
    stage.say("wait", &["1"]).ends(0).prints("1 done\n");
    assert_eq!(stage.status()["untaken"], 2);
    stage.say("resume", &[]).ends(0).prints("resumed\n");
    stage.say("join", &[]).ends(0);
}

fn workers(stage: &Stage) -> Vec<u64> {
    let rows = supervisors(stage);
    rows.iter()
        .map(|row| row["workers"].as_u64().unwrap())
        .collect()
}

fn each_supervisor_gets_so_many_workers() {
    let stage = Stage::new();
    let _works: [Run; 2] = work(&stage, &TRUE);
    stage.say("scale", &["3"]).ends(0).prints("6 workers\n");
    assert_eq!(workers(&stage), [3, 3]);
    stage.say("scale", &["-2"]).ends(0).prints("2 workers\n");
    assert_eq!(workers(&stage), [1, 1]);
    let more = stage.say("scale", &["+1", "--format", "json"]);
    let more: Value = serde_json::from_str(&more.ends(0).out).unwrap();
    assert_eq!((&more["workers"], workers(&stage)), (&4.into(), vec![2, 2]));
}

fn all_workers_are_replaced() {
    let stage = Stage::new();
    let [work]: [Run; 1] = work(&stage, &["-w", "1", "--", "sh", "-c", "echo $PPID >>pids"]);
    until("one was at work", || stage.lines("pids").len() == 1);
    let reloaded = stage.say("reload", &[]);
    reloaded.ends(0).prints("reloaded: all workers are new\n");
    stage.put(&["second"]);
    until("another is", || stage.lines("pids").len() == 2);
    let pids = stage.lines("pids");
    assert_ne!(pids[0], pids[1]);
    drop(work);
}

fn all_supervisors_stop_and_give_back_what_waits() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b", "c"]);
    let mut works: [Run; 2] = work(&stage, &WAIT);
    stage.await_status("pending", 2);
    let mut stop = stage.start("stop", &[]);
    until("they have heard of it", || {
        states(&stage).iter().all(|state| state != "running")
    });
    gate.open();
    assert_eq!(stop.line().unwrap(), "stopped");
    assert_eq!(stop.end().0, Some(0));
    for work in &mut works {
        let (code, said) = work.end();
        assert_eq!(
            code,
            Some(128 + Signal::SIGTERM as i32),
            "as by the signal: {said}"
        );
        let order = "asked to stop, by `supervisor stop`, the page or the API: finishing";
        assert!(said.contains(order) && !said.contains("SIGTERM"), "{said}");
    }
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["untaken"]),
        (&2.into(), &1.into())
    );
    assert_eq!(status["supervisors"], Value::Array(Vec::new()));
}

fn a_stop_now_ends_what_has_begun() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a"]);
    let [mut work]: [Run; 1] = work(&stage, &WAIT);
    stage.await_status("pending", 1);
    stage.say("stop", &["--now"]).ends(0).prints("stopped\n");
    work.end();
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["untaken"]),
        (&0.into(), &1.into())
    );
}

fn a_supervisor_without_a_socket_obeys_too() {
    let stage = Stage::new();
    let words = ["-w", "1", "--no-control", "--", "true"];
    let [mut work]: [Run; 1] = work(&stage, &words);
    stage.say("scale", &["2"]).ends(0).prints("2 workers\n");
    stage.say("stop", &[]).ends(0).prints("stopped\n");
    work.end();
}

/// Two supervisors whose items are taken over after a second. The second one stands still.
fn one_that_stands_still(stage: &Stage) -> [Run; 2] {
    let works = work(stage, &["--lease", "2s", "-w", "1", "--", "true"]);
    let [_, still] = &works;
    send(still.pid(), Signal::SIGSTOP);
    works
}

fn one_that_is_killed_before_it_obeys_is_not_waited_for() {
    let stage = Stage::new();
    let [_there, still] = one_that_stands_still(&stage);
    let mut pause = stage.start("pause", &[]);
    until("it is ordered", || {
        stage.redis_cli(&["xlen", "{jobs}:orders"]) != "0" && stage.status()["paused"] == true
    });
    still.kill();
    assert_eq!(pause.line().unwrap(), "paused: nothing more is begun");
    let (code, err) = pause.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("it is not heard of any more, and not waited for"),
        "{err}"
    );
    stage.put(&["a"]);
    stage.say("wait", &["--all", "--timeout", "300ms"]).ends(2);
}

fn one_that_is_killed_before_it_stops_is_not_waited_for() {
    let stage = Stage::new();
    let [mut there, still] = one_that_stands_still(&stage);
    let mut stop = stage.start("stop", &[]);
    there.end();
    still.kill();
    assert_eq!(stop.line().unwrap(), "stopped");
    let (code, err) = stop.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("it is not heard of any more"), "{err}");
}

fn one_that_lives_and_does_not_answer_is_named() {
    let stage = Stage::new();
    let _work: [Run; 1] = work(&stage, &TRUE);
    // It is of no version that knows orders.
    let words = ["xgroup", "createconsumer", STREAM, "dishrack", "old-1-ab"];
    assert_eq!(stage.redis_cli(&words), "1");
    let scale = stage.say("scale", &["2"]);
    scale.ends(2).prints("2 workers\n");
    scale.tells("old-1-ab: it lives, and has not answered for 10 s");
}

fn where_nobody_works_a_pause_is_kept_and_nobody_is_scaled() {
    let stage = Stage::new();
    stage.put(&["a"]);
    stage
        .say("pause", &[])
        .ends(0)
        .prints("paused: nothing more is begun\n");
    for words in [&["scale", "2"][..], &["reload"], &["stop"]] {
        let said = stage.say(words[0], &words[1..]);
        said.ends(2).tells("nobody works on the stream");
    }
    let _work: [Run; 1] = work(&stage, &TRUE);
    assert_eq!(states(&stage), ["paused"]);
    stage.say("resume", &[]).ends(0);
    stage.say("join", &[]).ends(0);
}

fn supervisors_are_listed_as_runs_are() {
    let stage = Stage::new();
    let [work]: [Run; 1] = work(&stage, &["-w", "2", "--name", "washing-up", "--", "true"]);
    stage.await_status("unfinished", 0);
    let rows = supervisors(&stage);
    let row = &rows[0];
    assert_eq!(
        (&row["pid"], &row["run"]),
        (&work.pid().into(), &"washing-up".into())
    );
    let page = stage.say("ps", &[]);
    let lines: Vec<&str> = page.ends(0).out.lines().collect();
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["NAME", "PID", "STATE", "DONE", "WORKERS", "UP"]);
    let pid = work.pid().to_string();
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(
        words[1..7],
        [&*pid, "running", "1", "of", "1", "2"],
        "{}",
        page.out
    );
    // It is not heard of any more.
    send(work.pid(), Signal::SIGSTOP);
    assert_eq!(states(&stage), ["silent"]);
    send(work.pid(), Signal::SIGCONT);
}

/// Returns the state and the number of workers of the supervisor of a process.
fn standing(stage: &Stage, pid: u32) -> (String, u64) {
    let rows = supervisors(stage);
    let row = rows.iter().find(|row| row["pid"] == pid).unwrap();
    let state = row["state"].as_str().unwrap().to_owned();
    (state, row["workers"].as_u64().unwrap())
}

fn one_supervisor_is_scaled_paused_shown_and_stopped() {
    let stage = Stage::new();
    let [one]: [Run; 1] = work(&stage, &["-w", "1", "--name", "one", "--", "true"]);
    let [mut other]: [Run; 1] = work(&stage, &["-w", "1", "--name", "other", "--", "true"]);
    stage.await_status("unfinished", 0);
    let pid = other.pid().to_string();
    let full_name = supervisors(&stage)
        .iter()
        .find(|row| row["run"] == "other")
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .unwrap();
    let scaled = stage.say("scale", &["3", "--at", "other"]);
    scaled.ends(0).prints("3 workers\n");
    let standings = || [one.pid(), other.pid()].map(|pid| standing(&stage, pid));
    let running = |count| ("running".to_owned(), count);
    assert_eq!(standings(), [running(1), running(3)]);
    stage
        .say("scale", &["-1", "--at", &pid])
        .ends(0)
        .prints("2 workers\n");
    stage.say("pause", &["--at", &full_name]).ends(0);
    assert_eq!(standings(), [running(1), ("paused".to_owned(), 2)]);
    // It is a pause of this one alone: the stream has none, and the other one works.
    assert_eq!(stage.status()["paused"], false);
    stage.put(&["a"]);
    stage.say("join", &[]).ends(0);
    assert_eq!(standings()[1].0, "paused");
    let shown = stage.say("status", &["--at", &full_name, "--format", "json"]);
    let shown: Value = serde_json::from_str(&shown.ends(0).out).unwrap();
    assert_eq!(
        (&shown["pid"], &shown["state"], &shown["workers_wanted"]),
        (&other.pid().into(), &"paused".into(), &2.into())
    );
    let page = stage.say("status", &["--at", "other"]);
    assert!(
        page.ends(0).out.starts_with("run other (process "),
        "{}",
        page.out
    );
    stage.say("resume", &["--at", "other"]).ends(0);
    assert_eq!(standings(), [running(1), running(2)]);
    stage
        .say("reload", &["--at", "other"])
        .ends(0)
        .prints("reloaded: all workers are new\n");
    stage.say("pause", &["--at", "other"]).ends(0);
    // The end of a pause of all is that of this one, too.
    stage.say("resume", &[]).ends(0);
    assert_eq!(standings(), [running(1), running(2)]);
    stage
        .say("stop", &["--at", "other"])
        .ends(0)
        .prints("stopped\n");
    other.end();
    assert_eq!(supervisors(&stage).len(), 1);
    assert_eq!(standing(&stage, one.pid()), running(1));
}

fn one_that_cannot_be_meant_is_told_with_those_that_there_are() {
    let stage = Stage::new();
    stage.put(&["first"]);
    let nobody = stage.say("scale", &["2", "--at", "me"]);
    nobody
        .ends(2)
        .tells("no such supervisor on the stream, nor any other");
    let _works: [Run; 2] = [
        work::<1>(&stage, &["-w", "1", "--name", "same", "--", "true"]),
        work::<1>(&stage, &["-w", "1", "--name", "else", "--", "true"]),
    ]
    .map(|[run]| run);
    let wrong = stage.say("pause", &["--at", "me"]);
    wrong
        .ends(2)
        .tells("--at me: there is no such supervisor on the stream; there are: ");
    wrong.tells("(run same)");
    wrong.tells("(run else)");
    assert_eq!(states(&stage), ["running"; 2]);
    for words in [
        &["cancel", "1"][..],
        &["retry", "1"],
        &["list"],
        &["show", "1"],
        &["wait", "1"],
        &["join"],
        &["logs", "1"],
        &["top"],
    ] {
        let said = stage.say(words[0], &[&words[1..], &["--at", "same"]].concat());
        said.ends(2).tells("is about all of a stream");
    }
}

fn one_that_is_lost_takes_no_orders() {
    let stage = Stage::new();
    let words = ["--lease", "2s", "-w", "1", "--", "true"];
    let [lost]: [Run; 1] = work(&stage, &words);
    let pid = lost.pid().to_string();
    lost.kill();
    until("it is lost", || states(&stage) == ["lost"]);
    let said = stage.say("stop", &["--at", &pid]);
    said.ends(2).tells("not heard of for longer than the lease");
}

/// Waits until two supervisors say that they are in this state.
fn await_states(stage: &Stage, wanted: &str) {
    until(wanted, || states(stage) == [wanted; 2]);
}

fn a_pause_counts_after_redis_has_come_back_with_an_older_state() {
    let stage = Stage::with(Options::default().durable());
    let words = ["--lease", "3s", "-w", "1", "--", "true"];
    let works: [Run; 2] = work(&stage, &words);
    stage.await_status("unfinished", 0);
    let backup = Backup::of(&stage.server);
    for _ in 0..3 {
        stage.say("pause", &[]).ends(0);
        stage.say("resume", &[]).ends(0);
    }
    let one = works[0].pid().to_string();
    stage.say("pause", &["--at", &one]).ends(0);
    stage.say("resume", &["--at", &one]).ends(0);
    backup.comes_back_on(&stage.server);
    until("both are known again", || states(&stage).len() == 2);
    // The first order that this state of Redis knows of.
    let paused = stage.say("pause", &[]);
    paused.ends(0).prints("paused: nothing more is begun\n");
    assert_eq!(states(&stage), ["paused"; 2]);
    stage.say("resume", &["--at", &one]).ends(0);
    assert_eq!(standing(&stage, works[0].pid()).0, "running");
    assert_eq!(standing(&stage, works[1].pid()).0, "paused");
    stage.put(&["a"]);
    stage.say("join", &[]).ends(0);
    stage.say("resume", &[]).ends(0);
    assert_eq!(states(&stage), ["running"; 2]);
}

fn whether_there_is_a_pause_is_what_redis_has_come_back_with() {
    let stage = Stage::with(Options::default().durable());
    let words = ["--lease", "3s", "-w", "1", "--", "true"];
    let _works: [Run; 2] = work(&stage, &words);
    stage.await_status("unfinished", 0);
    let without = Backup::of(&stage.server);
    stage.say("pause", &[]).ends(0);
    let with = Backup::of(&stage.server);
    without.comes_back_on(&stage.server);
    // A pause of which nobody knows would keep everything waiting for ever.
    await_states(&stage, "running");
    assert_eq!(stage.status()["paused"], false);
    stage.put(&["a"]);
    stage.say("join", &[]).ends(0);
    stage.say("pause", &[]).ends(0);
    stage.say("resume", &[]).ends(0);
    with.comes_back_on(&stage.server);
    await_states(&stage, "paused");
    assert_eq!(stage.status()["paused"], true);
    stage.say("resume", &[]).ends(0);
    assert_eq!(states(&stage), ["running"; 2]);
}
