//! `supervisor work`, and a whole run on a stream.

use nix::sys::signal::Signal;

use super::{GATE, Run, STREAM, Said, Stage, said, send, supervisor};
use crate::redis_server::Options;

crate::timely_trials!(
    what_is_put_is_worked_on_by_commands,
    dishes_are_put_and_dried,
    whoever_can_say_xadd_can_put_an_item,
    whoever_can_say_xadd_can_put_a_dish,
    what_is_no_item_becomes_a_dead_letter,
    what_a_rate_keeps_back_is_taken_in_its_time,
    slots_leave_the_rest_to_others,
    two_supervisors_share_the_items,
    dishes_are_dried_in_each_way,
    a_whole_run_washes_dries_and_joins,
    a_whole_run_works_on_what_it_finds,
    a_whole_run_has_a_command,
    the_address_may_be_in_a_variable,
    a_variable_alone_is_no_reason_to_share,
    a_user_with_what_the_docs_name_can_do_it_all,
    a_killed_worker_costs_an_attempt,
    whoever_has_no_workers_left_is_gone,
    a_command_that_cannot_be_run_costs_no_item,
);

/// The page that names the permissions of a user.
const DOCS: &str = include_str!("../../../docs/redis.md");

/// Returns the permissions that the docs name, for this stream.
fn documented_rules() -> String {
    let (_, rules) = DOCS.split_once(">SECRET ").unwrap();
    let (rules, _) = rules.split_once("```").unwrap();
    rules.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn a_user_with_what_the_docs_name_can_do_it_all() {
    let rules = documented_rules();
    let stage = Stage::with(Options::default().user("crew", "secret", &rules));
    let url = stage.server.url_of("crew", "secret");
    let say = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let (subcommand, more) = words.split_at(if words[0] == "dead" { 2 } else { 1 });
        let mut command = supervisor();
        command.args(subcommand);
        command.args(["--redis", &url, "--stream", STREAM]);
        command.args(more);
        said(command)
    };
    let work = "work -w 2 --max-attempts 2 --until-done -- test ok = {}";
    say("put ::: ok bad worse worst").ends(0);
    say(work).ends(1);
    let letters = say("dead list").out;
    let numbers: Vec<&str> = letters
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    let [one, other, third] = numbers[..] else {
        panic!("{letters}");
    };
    say(&format!("dead show {one}")).ends(0);
    say(&format!("dead drop {one}")).ends(0);
    say(&format!("show {one}")).ends(0);
    say(&format!("wait {one}")).ends(1).prints(format!(
        "{one} dead: it was given up, and its dead letter was taken or dropped\n"
    ));
    say(&format!("dead retry {other}")).ends(0);
    say(&format!("retry {third}")).ends(0);
    say(&format!("cancel {third}")).ends(0);
    say("list").ends(0);
    say("status --interval 0").ends(0);
    say("pause").ends(0);
    say("resume").ends(0);
    say("ps").ends(0);
    say(work).ends(1);
    say("join").ends(1);
}

const DONE_5: &str = "5 done, 0 dead; 0 retries, 0 dead letters\n";

fn what_is_put_is_worked_on_by_commands() {
    let stage = Stage::new();
    stage.put(&["1", "2", "3", "4", "5"]);
    let said = stage.say(
        "work",
        &["-w", "2", "--until-done", "--", "echo", "got", "{}"],
    );
    said.ends(0);
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["got 1", "got 2", "got 3", "got 4", "got 5"]);
    said.tells("5 of 5 jobs done, 0 dead");
    let joined = stage.say("join", &[]);
    assert_eq!((joined.code, &*joined.out), (Some(0), DONE_5));
    // Ended items leave nothing behind.
    assert_eq!(stage.redis_cli(&["xlen", STREAM]), "0");
}

/// Nothing else wakes a supervisor within its lease.
fn what_a_rate_keeps_back_is_taken_in_its_time() {
    let stage = Stage::new();
    stage.put(&["1", "2", "3", "4", "5"]);
    let options = ["-w", "2", "--rate", "5/s", "--lease", "10m", "--until-done"];
    let said = stage.say("work", &[&options[..], &["--", "true"]].concat());
    said.ends(0).tells("5 of 5 jobs done, 0 dead");
}

/// One with a single slot has four workers, and holds one item.
fn slots_leave_the_rest_to_others() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["1", "2", "3", "4", "5"]);
    let options = ["-w", "4", "--slot", "board=a", "--lease", "10m", "--"];
    let command = ["flock", "-s", GATE, "true"];
    let _first = stage.start("work", &[&options[..], &command].concat());
    stage.await_status("pending", 1);
    let _second = stage.start("work", &["-w", "1", "--lease", "10m", "--", "true"]);
    stage.await_status("done", 4);
    gate.open();
    stage.await_status("done", 5);
}

/// Returns the items of the events of this name, sorted.
fn items_of(said: &Said, event: &str) -> Vec<String> {
    let events = said.out.lines().map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event
    });
    let items = events.filter(|one| one["event"] == event);
    let mut items: Vec<String> = items
        .map(|one| one["item"].as_str().unwrap().to_owned())
        .collect();
    items.sort_unstable();
    items
}

const DRY: [&str; 6] = ["-w", "2", "--dry", "0", "--format", "json"];

fn dishes_are_put_and_dried() {
    let stage = Stage::new();
    stage
        .say("put", &["--dishes", "3"])
        .ends(0)
        .tells("3 items put on stream jobs");
    let said = stage.say("work", &[&DRY[..], &["--until-done"]].concat());
    said.ends(0);
    assert_eq!(items_of(&said, "done"), ["dish-1", "dish-2", "dish-3"]);
    let last: serde_json::Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["accepted"], &last["done"]),
        (&"summary".into(), &3.into(), &3.into())
    );
}

fn whoever_can_say_xadd_can_put_an_item() {
    let stage = Stage::new();
    // It comes before any supervisor.
    stage.redis_cli(&["xadd", STREAM, "*", "item", "early"]);
    let mut work = stage.start("work", &["-w", "1", "--", "echo", "got", "{}"]);
    assert_eq!(work.line().as_deref(), Some("got early"));
    // It comes while one waits.
    stage.await_status("unfinished", 0);
    stage.redis_cli(&["xadd", STREAM, "*", "colour", "red", "item", "late one"]);
    assert_eq!(work.line().as_deref(), Some("got late one"));
    stage.say("join", &[]).ends(0);
    work.signal(Signal::SIGTERM);
    let (code, err) = work.end();
    assert_eq!(code, Some(128 + 15));
    assert!(err.contains("2 of 2 jobs done"), "{err}");
}

fn whoever_can_say_xadd_can_put_a_dish() {
    let stage = Stage::new();
    stage.redis_cli(&["xadd", STREAM, "*", "item", "cup", "dry", "0"]);
    let said = stage.say("work", &["-w", "1", "--format", "json", "--until-done"]);
    said.ends(0);
    assert_eq!(items_of(&said, "done"), ["cup"]);
}

fn what_is_no_item_becomes_a_dead_letter() {
    let stage = Stage::new();
    stage.redis_cli(&["xadd", STREAM, "*", "colour", "red"]);
    stage.redis_cli(&["xadd", STREAM, "*", "item", "fine"]);
    let said = stage.say("work", &["-w", "1", "--until-done", "--", "echo"]);
    assert_eq!((said.code, &*said.out), (Some(1), "fine\n"), "{said:?}");
    let listed = stage.say("dead list", &[]);
    assert!(listed.out.contains("it has no field `item`"), "{listed:?}");
    stage.say("join", &[]).ends(1);
}

fn two_supervisors_share_the_items() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a", "b", "c", "d"]);
    let wait = [
        "-w",
        "2",
        "--until-done",
        "--",
        "flock",
        "-s",
        GATE,
        "echo",
        "{}",
    ];
    let mut works = [stage.start("work", &wait), stage.start("work", &wait)];
    // Each holds its workers' items, and no more.
    stage.await_status("pending", 4);
    let status = stage.status();
    let held: Vec<&serde_json::Value> = status["supervisors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["pending"])
        .collect();
    assert_eq!(held, [2, 2]);
    gate.open();
    let mut done: Vec<String> = works.iter().flat_map(Run::rest).collect();
    done.sort_unstable();
    assert_eq!(done, ["a", "b", "c", "d"]);
    assert_eq!(works.each_mut().map(|work| work.end().0), [Some(0); 2]);
}

fn dishes_are_dried_in_each_way() {
    let stage = Stage::new();
    for mode in ["processes", "threads", "tasks", "sequential"] {
        stage.put(&["cup", "jug"]);
        let said = stage.say(
            "work",
            &[&DRY[..], &["--mode", mode, "--until-done"]].concat(),
        );
        assert_eq!(said.code, Some(0), "{mode}: {said:?}");
        assert_eq!(items_of(&said, "done"), ["cup", "jug"], "{mode}");
    }
}

const WASH: [&str; 6] = ["--workers", "2", "--wash", "0", "--dry", "0"];

fn a_whole_run_washes_dries_and_joins() {
    let stage = Stage::new();
    for mode in ["processes", "threads", "tasks", "sequential"] {
        let said = stage.say("", &[&WASH[..], &["--mode", mode]].concat());
        assert_eq!(said.code, Some(0), "{mode}: {said:?}");
        let count = |word: &str| {
            said.out
                .lines()
                .filter(|line| line.starts_with(word))
                .count()
        };
        assert_eq!(
            (count("Washing"), count("Drying")),
            (4, 4),
            "{mode}: {said:?}"
        );
        assert!(said.err.contains("4 of 4 dishes done"), "{mode}: {said:?}");
    }
}

fn a_whole_run_works_on_what_it_finds() {
    let stage = Stage::new();
    stage.put(&["old"]);
    let json = ["--format", "json", "--dishes", "1"];
    let said = stage.say("", &[&WASH[..], &json].concat());
    said.ends(0).tells("stream jobs has 1 unfinished dishes");
    assert_eq!(items_of(&said, "done"), ["dish-1", "old"]);
}

fn a_whole_run_has_a_command() {
    let stage = Stage::new();
    let said = stage.say("", &["-w", "2", "--", "echo", "{}", ":::", "a b"]);
    assert_eq!((said.code, &*said.out), (Some(0), "a b\n"), "{said:?}");
    stage.say("", &["--", "false", ":::", "c"]).ends(1);
}

fn the_address_may_be_in_a_variable() {
    let stage = Stage::new();
    let say = |words: &str| {
        let mut command = supervisor();
        command.args(words.split_whitespace());
        command.env("REDIS_URL", stage.server.url());
        said(command)
    };
    let expected = [
        ("put --stream jobs ::: a", 0),
        ("status --stream jobs --interval 0", 0),
        ("work --stream jobs --until-done -- false", 1),
        ("join --stream jobs", 1),
        ("dead list --stream jobs", 0),
        ("dead retry --stream jobs --all", 0),
        ("--stream jobs -- true ::: b", 0),
    ];
    for (words, code) in expected {
        let said = say(words);
        assert_eq!(said.code, Some(code), "{words}: {said:?}");
    }
    let status = stage.status();
    assert_eq!(
        (&status["done"], &status["dead"]),
        (&2.into(), &0.into()),
        "{status}"
    );
}

fn a_variable_alone_is_no_reason_to_share() {
    let stage = Stage::new();
    let mut command = supervisor();
    command.args(["--", "true", ":::", "a"]);
    command.env("REDIS_URL", stage.server.url());
    said(command).ends(0);
    assert_eq!(stage.redis_cli(&["dbsize"]), "0");
}

fn a_killed_worker_costs_an_attempt() {
    let stage = Stage::new();
    stage.put(&["cup"]);
    // It is dried until the supervisor is killed.
    let arguments = ["-w", "1", "--dry", "1h", "--format", "json", "--until-done"];
    let mut work = stage.start("work", &[&arguments[..], &["--max-attempts", "2"]].concat());
    for attempt in 1..=2 {
        let drying = work.await_event("drying");
        assert_eq!(drying["attempt"], attempt);
        send(
            drying["pid"].as_u64().unwrap().try_into().unwrap(),
            Signal::SIGKILL,
        );
        if attempt == 1 {
            assert_eq!(work.await_event("retry")["cause"], "killed by SIGKILL");
            stage.await_status("retries", 1);
        }
    }
    assert_eq!(work.await_event("dead")["attempts"], 2);
    assert_eq!(work.end().0, Some(1));
    let status = stage.status();
    assert_eq!(
        (&status["dead_letters"], &status["unfinished"]),
        (&1.into(), &0.into())
    );
}

fn whoever_has_no_workers_left_is_gone() {
    let stage = Stage::new();
    let options = ["-w", "1", "--max-restarts", "0", "--format", "json"];
    let mut work = stage.start("work", &options);
    let pid = work.await_event("worker_started")["pid"].as_u64().unwrap();
    send(pid.try_into().unwrap(), Signal::SIGKILL);
    let (code, err) = work.end();
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("no workers left"), "{err}");
    let status = stage.status();
    assert_eq!(status["supervisors"], serde_json::json!([]), "{status}");
}

fn a_command_that_cannot_be_run_costs_no_item() {
    let stage = Stage::new();
    stage.put(&["a", "b"]);
    for command in [&["--", "nowhere/job"][..], &["--worker", "nowhere/job"]] {
        stage
            .say("work", &[&["-w", "1"], command].concat())
            .ends(2)
            .tells("nowhere/job");
    }
    let status = stage.status();
    assert_eq!(
        (&status["untaken"], &status["dead"]),
        (&2.into(), &0.into()),
        "{status}"
    );
}
