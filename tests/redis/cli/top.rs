//! `supervisor top` of a stream on a terminal: the workers of all supervisors, and what keys do to them.

use nix::sys::signal::Signal;

use super::{GATE, Run, STREAM, Stage, send};
use crate::cells::{Cells, is_over, sees};
use crate::deadline::until;
use crate::pty::Terminal;

crate::timely_trials!(
    a_stream_is_seen_and_steered_by_keys,
    items_are_cancelled_shown_and_tried_again_by_keys,
    one_that_stands_still_or_is_lost_is_seen,
    where_nobody_works_that_is_said,
    a_filter_finds_what_waits_behind_thousands,
    redis_may_go_away_and_come_back,
);

const WAIT: [&str; 7] = ["-w", "1", "--", "flock", "-s", GATE, "true"];

fn top(stage: &Stage) -> Terminal {
    let url = stage.server.url();
    Terminal::of(&["top", "--redis", &url, "--stream", STREAM], |command| {
        command.env_remove("REDIS_URL");
    })
}

/// Starts a supervisor, and returns when it has taken something, beside this much.
fn work(stage: &Stage, arguments: &[&str], taken: u64) -> Run {
    let run = stage.start("work", arguments);
    until("it has taken something", || {
        stage.status()["pending"].as_u64() > Some(taken)
    });
    run
}

fn worker_of(run: &Run) -> String {
    format!("-{}", run.pid())
}

fn a_stream_is_seen_and_steered_by_keys() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b", "c", "d"]);
    let works = [work(&stage, &WAIT, 0), work(&stage, &WAIT, 1)];
    let top = top(&stage);
    sees(&top, "jobs running  2 supervisors, at redis://");
    sees(&top, "2 waiting, 2 running");
    sees(&top, "workers: 2");
    sees(&top, "waiting: 2");
    for (run, item) in works.iter().zip(["1 a", "2 b"]) {
        let is_so = |line: &String| line.contains(&worker_of(run)) && line.contains(item);
        top.await_output(item, |bytes| Cells::of(bytes).lines().iter().any(is_so));
    }
    top.type_in(b"p");
    sees(&top, "jobs paused");
    assert_eq!(stage.status()["paused"], true);
    top.type_in(b"p");
    sees(&top, "jobs running");
    // Each has one more.
    top.type_in(b"+");
    sees(&top, "4 workers");
    sees(&top, "workers: 4");
    sees(&top, "0 waiting, 4 running");
    top.type_in(b"-");
    sees(&top, "...");
    gate.open();
    sees(&top, "2 workers");
    sees(&top, "4 of 4 done (100%), 0 dead");
    top.type_in(b"q");
    is_over(top, 0);
    assert_eq!(stage.status()["done"], 4);
}

fn items_are_cancelled_shown_and_tried_again_by_keys() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a", "b"]);
    let _work = work(&stage, &WAIT, 0);
    let top = top(&stage);
    sees(&top, "busy     1 a");
    top.type_in(b"\r");
    sees(&top, "state:    running");
    top.type_in(b"x");
    // What a worker has.
    top.type_in(b"c");
    sees(&top, "cancel 1 a? It becomes a dead letter. y or n");
    top.type_in(b"y");
    sees(&top, "1 cancelled");
    sees(&top, "1       a  dead at attempt 1: cancelled");
    sees(&top, "busy     2 b");
    top.type_in(b"\t\tr");
    sees(&top, "1 waits again");
    sees(&top, "waiting: 1");
    // What nobody has.
    top.type_in(b"\t\tcy");
    sees(&top, "1 cancelled");
    sees(&top, "1 dead");
    top.type_in(b"q");
    is_over(top, 0);
    let shown = stage.say("show", &["1"]);
    assert!(
        shown.ends(0).out.contains("state:    dead"),
        "{}",
        shown.out
    );
}

fn one_that_stands_still_or_is_lost_is_seen() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a"]);
    let run = work(&stage, &[&["--lease", "3s"][..], &WAIT].concat(), 0);
    let top = top(&stage);
    sees(&top, "busy     1 a");
    send(run.pid(), Signal::SIGSTOP);
    sees(&top, "1 supervisor, 1 silent");
    sees(&top, "silent   has taken 1");
    run.kill();
    sees(&top, "jobs unattended  1 supervisor, 1 lost");
    sees(&top, "lost     has taken 1");
    top.signal(Signal::SIGTERM);
    is_over(top, 143);
}

fn where_nobody_works_that_is_said() {
    let stage = Stage::new();
    stage.put(&["a", "b"]);
    let top = top(&stage);
    sees(&top, "jobs unattended  0 supervisors");
    sees(&top, "waiting: 2");
    top.type_in(b"-");
    sees(&top, "there are no workers");
    top.type_in(b"+");
    sees(&top, "not done: nobody works on the stream");
    top.type_in(b"\tc");
    sees(&top, "cancel 1 a? It becomes a dead letter. y or n");
    top.type_in(b"y");
    sees(&top, "1 waiting, 0 running");
    top.type_in(b"p");
    sees(&top, "jobs paused");
    top.type_in(b"q");
    is_over(top, 0);
}

fn a_filter_finds_what_waits_behind_thousands() {
    const ITEMS: usize = 5_000;
    let stage = Stage::new();
    let items: Vec<String> = (1..ITEMS).map(|n| format!("hay {n}")).collect();
    let mut items: Vec<&str> = items.iter().map(String::as_str).collect();
    items.push("a Needle");
    stage.put(&items);
    let top = top(&stage);
    sees(&top, "waiting: 5000");
    top.type_in(b"/needle\r\t");
    sees(&top, "waiting with \"needle\": 1 ");
    sees(&top, "5000    a Needle");
    top.type_in(b"q");
    is_over(top, 0);
}

fn redis_may_go_away_and_come_back() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let top = top(&stage);
    sees(&top, "1 waiting");
    stage.server.stop();
    sees(&top, "no answer for");
    stage.server.cont();
    sees(&top, "jobs unattended");
    top.type_in(b"q");
    is_over(top, 0);
}
