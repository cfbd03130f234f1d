//! `supervisor dead` on a stream, and the failures before it.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{STREAM, Stage};

crate::timely_trials!(
    a_dead_letter_has_its_whole_history,
    a_letter_that_is_tried_again_is_worked_on,
    somebody_who_waits_gets_what_is_tried_again,
    a_dropped_letter_stays_counted,
    a_letter_that_is_not_there_is_an_error,
    attempts_count_wherever_they_were,
);

/// A command that fails with a message.
const FAIL: [&str; 5] = ["--until-done", "--", "sh", "-c", "echo no {} >&2; exit 3"];

/// Makes a stream with two dead letters.
fn with_letters() -> Stage {
    let stage = Stage::new();
    stage.put(&["a", "b"]);
    let three = ["-w", "1", "--max-attempts", "3"];
    stage.say("work", &[&three[..], &FAIL[..]].concat()).ends(1);
    stage
}

/// Returns the dead letters, by `dead list`.
fn letters(stage: &Stage) -> Vec<Value> {
    let said = stage.say("dead list", &["--format", "json"]);
    said.ends(0);
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn a_dead_letter_has_its_whole_history() {
    let stage = with_letters();
    let status = stage.status();
    let count = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(
        ["unfinished", "done", "dead", "dead_letters", "retries"].map(count),
        [0, 0, 2, 2, 4]
    );
    // It was moved in one step.
    assert_eq!(stage.redis_cli(&["xlen", STREAM]), "0");
    assert_eq!(stage.redis_cli(&["xlen", "{jobs}:dead"]), "2");
    let letters = letters(&stage);
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        let item = letter["item"].as_str().unwrap();
        assert_eq!(letter["attempts"], 3);
        assert_eq!(letter["cause"], "exited with code 3");
        for attempt in 0..3 {
            let failure = &letter["history"][attempt];
            assert_eq!(failure["attempt"], attempt + 1);
            assert_eq!(failure["stderr"], format!("no {item}\n"));
        }
    }
    let id = letters[0]["id"].to_string();
    let shown = stage.say("dead show", &[&id]);
    for words in ["attempt 3: exited with code 3", "stderr:  no a", "worker-1"] {
        assert!(shown.out.contains(words), "{words}: {shown:?}");
    }
    let listed = stage.say("dead list", &[]);
    assert_eq!(listed.out.lines().count(), 2, "{listed:?}");
    assert!(
        listed
            .out
            .starts_with(&format!("{id}\ta\t3 attempts\texited with code 3\t")),
        "{listed:?}"
    );
}

fn a_letter_that_is_tried_again_is_worked_on() {
    let stage = with_letters();
    let id = letters(&stage)[1]["id"].to_string();
    stage
        .say("dead retry", &[&id])
        .ends(0)
        .tells("stream jobs: 1 dead letters");
    let status = stage.status();
    assert_eq!(
        (&status["unfinished"], &status["dead"]),
        (&1.into(), &1.into()),
        "{status}"
    );
    let worked = stage.say("work", &["--until-done", "--", "echo"]);
    assert_eq!((worked.code, &*worked.out), (Some(0), "b\n"), "{worked:?}");
    // The other one is still dead.
    assert_eq!(stage.say("join", &[]).code, Some(1));
    assert_eq!(stage.say("dead retry", &["--all"]).code, Some(0));
    let worked = stage.say("work", &["--until-done", "--", "echo"]);
    assert_eq!((worked.code, &*worked.out), (Some(0), "a\n"), "{worked:?}");
    assert_eq!(stage.say("join", &[]).code, Some(0));
}

fn somebody_who_waits_gets_what_is_tried_again() {
    let stage = with_letters();
    let work = stage.start("work", &["-w", "1", "--", "echo"]);
    stage.say("dead retry", &["--all"]);
    let mut lines = [work.line(), work.line()].map(Option::unwrap);
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b"]);
}

fn a_dropped_letter_stays_counted() {
    let stage = with_letters();
    stage.put(&["c"]);
    stage.say("work", &["--until-done", "--", "true"]).ends(0);
    let id = letters(&stage)[0]["id"].to_string();
    stage
        .say("dead drop", &["--all"])
        .tells("stream jobs: 2 dead letters dropped");
    let status = stage.status();
    assert_eq!(
        (&status["dead_letters"], &status["dead"]),
        (&0.into(), &2.into())
    );
    // Its item was not done all the same.
    let said = stage.say("wait", &[&id]);
    let why = "it was given up, and its dead letter was taken or dropped";
    assert_eq!(
        (said.code, said.out),
        (Some(1), format!("{id} dead: {why}\n"))
    );
    let said = stage.say("show", &[&id]);
    assert_eq!(
        (said.code, said.out),
        (Some(0), format!("{id}\n  state:    dead: {why}\n"))
    );
    assert_eq!(stage.say("wait", &["3"]).out, "3 done\n");
    // Dropped letters are not reported any more.
    assert_eq!(stage.say("join", &[]).code, Some(0));
}

fn a_letter_that_is_not_there_is_an_error() {
    let stage = with_letters();
    let there = letters(&stage)[0]["id"].to_string();
    for subcommand in ["dead show", "dead retry", "dead drop"] {
        let said = stage.say(subcommand, &[&there, "4711"]);
        assert_eq!(said.code, Some(2), "{subcommand}: {said:?}");
        said.tells("there is no dead letter 4711");
        let without = stage.say(subcommand, &[]);
        assert_eq!(without.code, Some(2), "{subcommand}: {without:?}");
    }
    assert_eq!(letters(&stage).len(), 2);
}

fn attempts_count_wherever_they_were() {
    let stage = Stage::new();
    stage.put(&["a"]);
    // It fails once, and rests until it is stopped.
    let three = ["-w", "1", "--max-attempts", "3"];
    let rest = ["--backoff", "1h", "--lease", "1h", "--", "false"];
    let rest = [&three[..], &rest].concat();
    let mut first = stage.start("work", &rest);
    stage.await_status("retries", 1);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.end().0, Some(128 + 15));
    let again = [&three[..], &["--until-done", "--", "false"]].concat();
    stage.say("work", &again).ends(1);
    let letters = letters(&stage);
    assert_eq!(letters[0]["attempts"], 3, "{letters:?}");
    let pid = |attempt: usize| letters[0]["history"][attempt]["pid"].clone();
    assert_ne!(pid(0), pid(1));
    assert_eq!(pid(1), pid(2));
}
