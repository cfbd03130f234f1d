//! `supervisor dead`: reading, retrying and dropping a journal's dead letters.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Place;
use crate::said::Said;

crate::trials!(
    dead_letters_are_listed_and_shown,
    a_retried_dish_is_dried_by_the_next_run,
    a_dropped_letter_is_forgotten_and_counted,
    an_unknown_number_is_an_error_and_changes_nothing,
    letters_can_be_read_and_not_changed_while_the_journal_is_used,
    what_is_asked_wrongly_is_named,
    dead_letters_are_added_to_a_file,
    an_unusable_file_for_dead_letters_is_named_before_anything_is_started,
    dead_letters_do_not_go_where_something_else_is,
    half_a_line_of_a_killed_run_is_ended,
    a_file_that_is_no_journal_is_told_as_a_run_tells_it,
    an_empty_file_has_nothing_in_it_yet,
    a_damaged_journal_is_to_be_saved,
);

fn supervisor(arguments: &[&str], journal: &Path) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(arguments).arg("--journal").arg(journal);
    command.output().unwrap().into()
}

fn succeeds(arguments: &[&str], place: &Place) -> String {
    let output = supervisor(arguments, &place.path);
    output.ends(0);
    output.out
}

const SLOW: [&str; 12] = [
    "--mode",
    "tasks",
    "--workers",
    "2",
    "--wash",
    "0",
    "--dry",
    "60s",
    "--timeout",
    "50ms",
    "--max-attempts",
    "2",
];

/// Makes a journal with two dead letters.
fn with_letters() -> Place {
    let place = Place::new();
    let arguments = [&SLOW[..], &["--dishes", "2"]].concat();
    supervisor(&arguments, &place.path).ends(1);
    place
}

fn dead_letters_are_listed_and_shown() {
    let place = with_letters();
    let list = succeeds(&["dead", "list"], &place);
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert_eq!(lines[1][..3], ["2", "dish-2", "2 attempts"]);
    assert!(lines[1][3].contains("time limit"), "{list}");
    assert!(lines[1][4].ends_with('Z'), "{list}");

    let shown = succeeds(&["dead", "show", "2"], &place);
    for part in [
        "2 dish-2",
        "attempt 1: ",
        "attempt 2: ",
        "worker:  dryer-",
        "started: 20",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("dish-1"), "{shown}");

    let json = succeeds(&["dead", "show", "--all", "--format", "json"], &place);
    let letters: Vec<Value> = json
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(letters[0]["id"], 1);
    assert_eq!(letters[1]["item"], "dish-2");
    assert_eq!(letters[1]["history"].as_array().unwrap().len(), 2);
    assert_eq!(letters[1]["history"][1]["attempt"], 2);
}

fn a_retried_dish_is_dried_by_the_next_run() {
    let place = with_letters();
    succeeds(&["dead", "retry", "2"], &place);
    let list = succeeds(&["dead", "list"], &place);
    assert_eq!(list.lines().count(), 1, "{list}");
    // The dish keeps its own time to dry, so it dies again, with its whole history.
    let arguments = [&SLOW[..], &["--dishes", "2"]].concat();
    let output = supervisor(&arguments, &place.path);
    output.ends(1).tells("0 of 2 dishes done, 1 dead");
    output.tells("dish-2: given up on after 4 attempts");
}

fn a_dropped_letter_is_forgotten_and_counted() {
    let place = with_letters();
    succeeds(&["dead", "drop", "1"], &place);
    let list = succeeds(&["dead", "list"], &place);
    assert!(
        list.starts_with("2\t") && list.lines().count() == 1,
        "{list}"
    );
    succeeds(&["dead", "drop", "--all"], &place);
    assert_eq!(succeeds(&["dead", "list"], &place), "");
    let output = supervisor(&["--dishes", "2"], &place.path);
    // Dropped letters do not count.
    output.ends(0).tells("0 of 2 dishes done, 2 dead");
}

fn an_unknown_number_is_an_error_and_changes_nothing() {
    let place = with_letters();
    for what in ["show", "retry", "drop"] {
        let output = supervisor(&["dead", what, "1", "3"], &place.path);
        output
            .ends(2)
            .tells("no dead letter 3; nothing was done")
            .prints("");
        let list = succeeds(&["dead", "list"], &place);
        assert_eq!(list.lines().count(), 2, "{list}");
    }
}

fn letters_can_be_read_and_not_changed_while_the_journal_is_used() {
    let place = with_letters();
    let mut running = Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(["--input", "-", "--format", "json", "--journal"])
        .arg(&place.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(r#""event":"started""#), "{first}");
    assert_eq!(succeeds(&["dead", "list"], &place).lines().count(), 2);
    for what in ["retry", "drop"] {
        supervisor(&["dead", what, "--all"], &place.path)
            .ends(2)
            .tells("is using it");
    }
    // It goes on until its input ends.
    drop(running.stdin.take());
    lines.for_each(drop);
    running.wait().unwrap();
    assert_eq!(succeeds(&["dead", "list"], &place).lines().count(), 2);
}

fn what_is_asked_wrongly_is_named() {
    let place = Place::new();
    for what in ["list", "retry"] {
        let arguments = match what {
            "list" => vec!["dead", what],
            _ => vec!["dead", what, "--all"],
        };
        supervisor(&arguments, &place.path)
            .ends(2)
            .tells("there is no such file");
        assert!(!place.path.exists());
    }
    for arguments in [
        &["dead", "show"][..],
        &["dead", "show", "1", "--all"],
        &["dead", "list", "x"],
    ] {
        let output = supervisor(arguments, &place.path);
        assert_eq!(output.code, Some(2), "{arguments:?}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(["--durability", "normal"])
        .output()
        .map(Said::from)
        .unwrap();
    output.ends(2).tells("--journal");
}

fn dead_letters_are_added_to_a_file() {
    let place = Place::new();
    let file = place.folder.path().join("letters");
    for round in 1..=2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command
            .args(SLOW)
            .args(["--dishes", "2", "--dead-letters"])
            .arg(&file);
        Said::from(command.output().unwrap()).ends(1);
        let lines = std::fs::read_to_string(&file).unwrap();
        let letters: Vec<Value> = lines
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(letters.len(), 2 * round, "{lines}");
        let last = &letters[2 * round - 1];
        assert!(last["item"].as_str().unwrap().starts_with("dish-"));
        assert_eq!(last["attempts"], 2);
        assert!(
            last["history"][0]["ended"]
                .as_str()
                .unwrap()
                .starts_with("20")
        );
    }
}

fn an_unusable_file_for_dead_letters_is_named_before_anything_is_started() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    let output = command
        .arg("--dead-letters")
        .arg(place.folder.path())
        .output()
        .map(Said::from)
        .unwrap();
    output.ends(2).prints("").tells("--dead-letters");
}

fn dead_letters_do_not_go_where_something_else_is() {
    let place = with_letters();
    let input = place.folder.path().join("names");
    std::fs::write(&input, "a\n").unwrap();
    let pipe = place.folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let before = std::fs::read(&place.path).unwrap();
    for (file, why) in [
        (&place.path, "an SQLite file"),
        (&input, "name another file"),
        (&pipe, "nobody reads"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command
            .args(["--wash", "0", "--dry", "0", "--input"])
            .arg(&input);
        let output = command.arg("--dead-letters").arg(file).output();
        Said::from(output.unwrap()).ends(2).tells(why);
    }
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
}

fn half_a_line_of_a_killed_run_is_ended() {
    let place = Place::new();
    let file = place.folder.path().join("letters");
    std::fs::write(&file, "{\"item\":\"to").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(SLOW).args(["--dishes", "1", "--dead-letters"]);
    Said::from(command.arg(&file).output().unwrap()).ends(1);
    let lines = std::fs::read_to_string(&file).unwrap();
    let last: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(last["item"], "dish-1");
}

/// Returns the message of a call that ends with 2.
fn refusal(arguments: &[&str], place: &Place) -> String {
    let output = supervisor(arguments, &place.path);
    output.ends(2).tells(&place.path.display().to_string());
    output.err
}

fn a_file_that_is_no_journal_is_told_as_a_run_tells_it() {
    let place = Place::new();
    std::fs::write(&place.path, "cup-1\n".repeat(1000)).unwrap();
    let new = place.folder.path().join("new");
    let salvage = ["salvage", "--into", new.to_str().unwrap()];
    for arguments in [
        &["dead", "list"][..],
        &["dead", "drop", "--all"],
        &salvage,
        &[],
    ] {
        let error = refusal(arguments, &place);
        assert!(error.contains("not even an SQLite file"), "{error}");
    }
}

fn an_empty_file_has_nothing_in_it_yet() {
    let place = Place::new();
    std::fs::write(&place.path, "").unwrap();
    let error = refusal(&["dead", "list"], &place);
    assert!(error.contains("there is nothing in it yet"), "{error}");
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 1);
}

fn a_damaged_journal_is_to_be_saved() {
    let place = with_letters();
    let mut bytes = std::fs::read(&place.path).unwrap();
    let needle = b"dryer-";
    let found = bytes
        .windows(needle.len())
        .position(|window| window == needle);
    bytes[found.unwrap()] ^= 1;
    std::fs::write(&place.path, &bytes).unwrap();
    let error = refusal(&["dead", "list"], &place);
    assert!(error.contains("supervisor salvage --journal"), "{error}");
}
