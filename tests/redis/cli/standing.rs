//! `supervisor status` and `supervisor join`: a stream's counts, and the wait for its end.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{GATE, Run, STREAM, Stage, said, supervisor};
use crate::deadline::until;
use crate::redis_server::Options;

crate::timely_trials!(
    status_shows_what_redis_cli_shows,
    the_page_says_what_the_object_says,
    rates_are_what_has_happened_between_two_looks,
    a_stream_that_is_not_there_is_not_made,
    join_waits_for_the_end,
    join_says_that_nobody_works,
    join_counts_dead_letters,
    join_is_stopped_by_a_signal,
    a_supervisor_that_was_killed_is_marked_as_lost,
    whoever_works_until_the_end_of_an_unknown_stream_is_told,
    whoever_works_until_the_end_of_a_lost_stream_is_told,
    trimmed_items_are_told_by_whoever_works_until_the_end,
    trimmed_items_are_told_by_whoever_waits,
    deleted_items_are_forgotten_when_new_ones_are_put,
    what_comes_back_or_is_tried_again_is_not_gone,
    a_replica_says_how_a_stream_stands,
);

const WAIT: [&str; 7] = ["-w", "2", "--", "flock", "-s", GATE, "true"];

/// Starts two supervisors that hold two items each, of which there are five.
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
    // XPENDING: the number, the first, the last, and the number of each consumer.
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
    stage.say("join", &[]).ends(0);
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["pending"]),
        (&5.into(), &0.into())
    );
    assert_eq!(stage.redis_cli(&["xlen", STREAM]), "0");
    // A supervisor that leaves is no longer counted.
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
    page.ends(0);
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
    // Three seconds or more have passed since all that was done.
    let done_per_s = rate("done_per_s");
    assert!(done_per_s > 0.0 && done_per_s < 1.7, "{status}");
    assert_eq!((rate("put_per_s"), rate("dead_per_s")), (0.0, 0.0));
}

fn a_stream_that_is_not_there_is_not_made() {
    let stage = Stage::new();
    for subcommand in ["status", "join", "dead list"] {
        let said = stage.say(subcommand, &[]);
        assert_eq!(said.code, Some(2), "{subcommand}: {said:?}");
        said.tells("there is no stream jobs");
    }
    assert_eq!(stage.redis_cli(&["dbsize"]), "0");
}

fn join_waits_for_the_end() {
    let stage = Stage::new();
    let gate = stage.gate();
    let _works = held(&stage);
    let mut join = stage.start("join", &[]);
    // It must be there before the end comes: it waits for the doorbell then, as two supervisors wait for
    // orders.
    until("it waits", || {
        let clients = stage.redis_cli(&["client", "list"]);
        clients.matches("cmd=xread ").count() == 3
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
    stage.say("work", &["--until-done", "--", "true"]).ends(0);
    assert_eq!(join.end().0, Some(0));
}

fn join_counts_dead_letters() {
    let stage = Stage::new();
    stage.put(&["a", "b"]);
    let three = ["--max-attempts", "3", "--until-done"];
    let fails = ["--", "sh", "-c", "test {} = a"];
    let fails = [&three[..], &fails].concat();
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
    // The item is unchanged.
    assert_eq!(stage.status()["untaken"], 1);
}

fn a_supervisor_that_was_killed_is_marked_as_lost() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a"]);
    let wait = [
        "-w", "1", "--lease", "500ms", "--", "flock", "-s", GATE, "true",
    ];
    let work = stage.start("work", &wait);
    stage.await_status("pending", 1);
    let is_lost = || stage.status()["supervisors"][0]["lost"].clone();
    // It renews its lease, so it is heard of again soon if it is late on a busy machine.
    until("it is heard of", || is_lost() == false);
    work.kill();
    until("it is marked", || is_lost() == true);
    let page = stage.say("status", &["--interval", "0"]);
    assert!(
        page.out.contains("s ago: lost, longer than the lease"),
        "{page:?}"
    );
}

fn whoever_works_until_the_end_of_an_unknown_stream_is_told() {
    let stage = Stage::new();
    stage
        .say("work", &["--until-done", "--", "true"])
        .ends(2)
        .tells("there is no stream jobs");
    assert_eq!(stage.redis_cli(&["dbsize"]), "0");
}

fn whoever_works_until_the_end_of_a_lost_stream_is_told() {
    let stage = Stage::new();
    stage.put(&["a"]);
    stage.redis_cli(&["del", STREAM]);
    stage
        .say("work", &["--until-done", "--", "true"])
        .ends(2)
        .tells("there is no stream jobs");
}

/// Returns `true` if Redis counts added entries, as it does from 7.0 on.
#[allow(clippy::print_stderr, reason = "whoever runs the tests is to know")]
fn counts_added(stage: &Stage) -> bool {
    stage.put(&["a"]);
    let counts = stage
        .redis_cli(&["xinfo", "stream", STREAM])
        .contains("entries-added");
    stage.redis_cli(&["flushall"]);
    if !counts {
        eprintln!("not tried: this Redis does not count what is added");
    }
    counts
}

/// Puts forty items, of which 23 are then gone.
fn trimmed(stage: &Stage) {
    let items: Vec<String> = (1..=40).map(|n| n.to_string()).collect();
    stage.put(&items.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(stage.redis_cli(&["xtrim", STREAM, "maxlen", "17"]), "23");
}

const GONE: &str = "23 items of stream jobs are gone without an end";

fn trimmed_items_are_told_by_whoever_works_until_the_end() {
    let stage = Stage::new();
    if !counts_added(&stage) {
        return;
    }
    trimmed(&stage);
    let worked = stage.say("work", &["--until-done", "--", "true"]);
    worked.ends(2).tells(GONE).tells("17 of 17 jobs done");
    let status = stage.status();
    assert_eq!((&status["done"], &status["gone"]), (&17.into(), &23.into()));
}

fn trimmed_items_are_told_by_whoever_waits() {
    let stage = Stage::new();
    if !counts_added(&stage) {
        return;
    }
    trimmed(&stage);
    let mut join = stage.start("join", &[]);
    join.await_err(GONE);
    // A held item that is deleted is still done, if its work is not over yet.
    let gate = stage.gate();
    let wait = ["-w", "1", "--", "flock", "-s", GATE, "true"];
    let _work = stage.start("work", &wait);
    stage.await_status("pending", 1);
    gate.open();
    let (code, err) = join.end();
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.contains("gone from the stream without an end: 23"),
        "{err}"
    );
}

fn deleted_items_are_forgotten_when_new_ones_are_put() {
    let stage = Stage::new();
    if !counts_added(&stage) {
        return;
    }
    stage.put(&["a", "b"]);
    let range = stage.redis_cli(&["xrange", STREAM, "-", "+"]);
    let entry = range.lines().next().unwrap();
    assert_eq!(stage.redis_cli(&["xdel", STREAM, entry]), "1");
    let work = ["--until-done", "--", "true"];
    let told = stage.say("work", &work);
    let words = "1 item of stream jobs is gone without an end";
    assert!(told.code == Some(2) && told.err.contains(words), "{told:?}");
    // Every caller is told, until the stream is begun anew.
    assert_eq!(stage.say("join", &[]).code, Some(2));
    stage.put(&["c"]);
    stage.say("work", &work).ends(0);
    assert_eq!(stage.say("join", &[]).code, Some(0));
}

fn what_comes_back_or_is_tried_again_is_not_gone() {
    let stage = Stage::new();
    let gate = stage.gate();
    // This also holds if others have put some, and removed some before the new beginning.
    for item in ["x", "y", "z"] {
        stage.redis_cli(&["xadd", STREAM, "*", "item", item]);
    }
    stage.redis_cli(&["xtrim", STREAM, "maxlen", "2"]);
    stage.put(&["a", "b"]);
    let wait = [
        "-w",
        "2",
        "--shutdown",
        "0",
        "--",
        "flock",
        "-s",
        GATE,
        "true",
    ];
    let mut work = stage.start("work", &wait);
    stage.await_status("pending", 2);
    work.signal(Signal::SIGTERM);
    work.end();
    assert_eq!(stage.status()["untaken"], 4);
    gate.open();
    let fails = [
        "--until-done",
        "--max-attempts",
        "1",
        "--",
        "test",
        "{}",
        "=",
        "a",
    ];
    stage.say("work", &fails).ends(1);
    stage.say("dead retry", &["--all"]).ends(0);
    stage.say("work", &["--until-done", "--", "true"]).ends(0);
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["gone"]),
        (&4.into(), &0.into()),
        "{status}"
    );
}

fn a_replica_says_how_a_stream_stands() {
    let stage = Stage::new();
    let _gate = stage.gate();
    let _works = held(&stage);
    let replica = Options::default().replica_of(&stage.server).start();
    let ask = |subcommand: &str, more: &[&str]| {
        let mut command = supervisor();
        command.args([subcommand, "--redis", &replica.url(), "--stream", STREAM]);
        command.args(more);
        said(command)
    };
    let status = || {
        let said = ask("status", &["--format", "json", "--interval", "0"]);
        said.ends(0);
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    until("it has all that its master has", || {
        status()["pending"] == 4
    });
    let (there, here) = (status(), stage.status());
    for name in [
        "unfinished",
        "untaken",
        "pending",
        "done",
        "lease_ms",
        "paused",
        "gone",
    ] {
        assert_eq!(there[name], here[name], "{name}");
    }
    assert_eq!(there["supervisors"].as_array().unwrap().len(), 2);
    // A waiting join writes, and is told so.
    ask("join", &[]).ends(2).tells("is a replica");
}
