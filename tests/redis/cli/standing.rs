//! `supervisor status` and `supervisor join`: how a stream stands, and waiting for its end.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{GATE, Run, STREAM, Stage, said};
use crate::patience::until;

crate::timely_trials!(
    status_shows_what_redis_cli_shows,
    the_page_says_what_the_object_says,
    rates_are_what_has_happened_between_two_looks,
    a_stream_that_is_not_there_is_not_made,
    join_waits_for_the_end,
    join_says_that_nobody_works,
    join_counts_dead_letters,
    join_is_stopped_by_a_signal,
);

const WAIT: [&str; 7] = ["-w", "2", "--", "flock", "-s", GATE, "true"];

/// Two supervisors that hold two items each, of which there are five.
fn held(stage: &Stage) -> [Run; 2] {
    stage.put(&["a", "b", "c", "d", "e"]);
    let works = [stage.start("work", &WAIT), stage.start("work", &WAIT)];
    stage.await_status("pending", 4);
    works
}

fn status_shows_what_redis_cli_shows() {
    let stage = Stage::new();
    let gate = stage.gate();
    let mut works = held(&stage);
    let status = stage.status();
    let count = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(
        ["unfinished", "pending", "untaken", "done"].map(count),
        [5, 4, 1, 0]
    );
    assert_eq!(
        stage.redis_cli(&["xlen", STREAM]),
        count("unfinished").to_string()
    );
    // XPENDING: how many, the first, the last, and how many each consumer has.
    let pending = stage.redis_cli(&["xpending", STREAM, "dishrack"]);
    let pending: Vec<&str> = pending.lines().collect();
    assert_eq!(pending[0], count("pending").to_string());
    let of_each: BTreeMap<&str, &str> = pending[3..]
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect();
    let supervisors = status["supervisors"].as_array().unwrap();
    let shown: Vec<(String, String)> = supervisors
        .iter()
        .map(|one| {
            let name = one["name"].as_str().unwrap().to_owned();
            (name, one["pending"].to_string())
        })
        .collect();
    let shown: BTreeMap<&str, &str> = shown.iter().map(|(n, c)| (&**n, &**c)).collect();
    assert_eq!(shown, of_each);
    let groups = stage.redis_cli(&["xinfo", "groups", STREAM]);
    let groups: Vec<&str> = groups.lines().collect();
    let of_group = |name: &str| groups[groups.iter().position(|line| *line == name).unwrap() + 1];
    assert_eq!(of_group("name"), "dishrack");
    assert_eq!(of_group("pending"), count("pending").to_string());
    assert_eq!(of_group("consumers"), supervisors.len().to_string());
    gate.open();
    let joined = stage.say("join", &[]);
    assert_eq!(joined.code, Some(0), "{joined:?}");
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["pending"]),
        (&5.into(), &0.into())
    );
    assert_eq!(stage.redis_cli(&["xlen", STREAM]), "0");
    // Whoever goes is no longer among the supervisors.
    for work in &mut works {
        work.signal(Signal::SIGTERM);
        work.end();
    }
    assert_eq!(stage.status()["supervisors"], Value::Array(Vec::new()));
}

fn the_page_says_what_the_object_says() {
    let stage = Stage::new();
    let _gate = stage.gate();
    let _works = held(&stage);
    let page = stage.say("status", &["--interval", "0"]);
    assert_eq!(page.code, Some(0), "{page:?}");
    let words: Vec<Vec<&str>> = page
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for row in [
        ["unfinished", "5"],
        ["untaken", "1"],
        ["pending", "4"],
        ["done", "0"],
        ["dead", "0"],
        ["retries", "0"],
        ["refused", "0"],
        ["supervisors:", "2"],
    ] {
        assert!(
            words.iter().any(|line| *line == row),
            "{row:?}: {}",
            page.out
        );
    }
    assert!(page.out.contains("lease 30s"), "{}", page.out);
    let mut piped = stage.supervisor("status", &["--interval", "0"]);
    piped.args(["--format", "text"]);
    assert_eq!(said(piped).code, Some(0));
}

fn rates_are_what_has_happened_between_two_looks() {
    let stage = Stage::new();
    let gate = stage.gate();
    let _works = held(&stage);
    stage.redis_cli(&["config", "resetstat"]);
    let mut look = stage.start("status", &["--format", "json", "--interval", "3s"]);
    until("it has looked once", || {
        stage
            .redis_cli(&["info", "commandstats"])
            .contains("cmdstat_time:")
    });
    gate.open();
    let status: Value = serde_json::from_str(&look.line().unwrap()).unwrap();
    assert_eq!(look.end().0, Some(0));
    let rate = |name: &str| status[name].as_f64().unwrap();
    let done = status["done"].as_u64().unwrap();
    assert!(done > 0, "{status}");
    // In three seconds or more, all that is done.
    let done_per_s = rate("done_per_s");
    assert!(done_per_s > 0.0 && done_per_s < 1.7, "{status}");
    assert_eq!((rate("put_per_s"), rate("dead_per_s")), (0.0, 0.0));
}

fn a_stream_that_is_not_there_is_not_made() {
    let stage = Stage::new();
    for subcommand in ["status", "join", "dead list"] {
        let said = stage.say(subcommand, &[]);
        assert_eq!(said.code, Some(2), "{subcommand}: {said:?}");
        assert!(said.err.contains("there is no stream jobs"), "{said:?}");
    }
    assert_eq!(stage.redis_cli(&["dbsize"]), "0");
}

fn join_waits_for_the_end() {
    let stage = Stage::new();
    let gate = stage.gate();
    let _works = held(&stage);
    let mut join = stage.start("join", &[]);
    // It has to be there before the end comes: it waits for the bell then.
    until("it waits", || {
        let clients = stage.redis_cli(&["client", "list"]);
        clients.contains("cmd=xread ")
    });
    assert!(!join.has_ended());
    gate.open();
    assert_eq!(
        join.line().as_deref(),
        Some("5 done, 0 dead; 0 retries, 0 dead letters")
    );
    assert_eq!(join.end().0, Some(0));
}

fn join_says_that_nobody_works() {
    let stage = Stage::new();
    stage.put(&["a", "b"]);
    let mut join = stage.start("join", &[]);
    join.await_err("nobody works on stream jobs just now; 2 unfinished items wait");
    let worked = stage.say("work", &["--until-done", "--", "true"]);
    assert_eq!(worked.code, Some(0), "{worked:?}");
    assert_eq!(join.end().0, Some(0));
}

fn join_counts_dead_letters() {
    let stage = Stage::new();
    stage.put(&["a", "b"]);
    let fails = ["--until-done", "--", "sh", "-c", "test {} = a"];
    assert_eq!(stage.say("work", &fails).code, Some(1));
    let joined = stage.say("join", &[]);
    let expected = "1 done, 1 dead; 2 retries, 1 dead letters\n";
    assert_eq!((joined.code, &*joined.out), (Some(1), expected));
}

fn join_is_stopped_by_a_signal() {
    let stage = Stage::new();
    stage.put(&["a"]);
    let mut join = stage.start("join", &[]);
    join.await_err("nobody works");
    join.signal(Signal::SIGINT);
    assert_eq!(join.end().0, Some(128 + 2));
    // Nothing has become of the item.
    assert_eq!(stage.status()["untaken"], 1);
}
