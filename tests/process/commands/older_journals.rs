//! Journals of older builds, with all that one can contain: dead letters, items without an end,
//! lost attempts, output that was not shown. They open, and their run goes on.
//!
//! `tests/data` has them, each with the script that made it.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Place, Said};

crate::trials!(
    a_run_of_commands_goes_on_where_an_older_build_was_killed,
    what_an_older_build_kept_of_an_attempt_is_a_result,
    dishes_of_an_older_build_are_dried,
);

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Makes a copy, like its owner.
fn copy(from: &Path, to: &Path) {
    fs::write(to, fs::read(from).unwrap()).unwrap();
}

/// The items of the runs of `tests/data/commands`; all but the last five have ended.
const ITEMS: [&str; 13] = [
    "ok",
    "code",
    "crash",
    "killed",
    "asked",
    "slow",
    "absent",
    "plain-file",
    "hold",
    "quick",
    "bad",
    "hold-too",
    "later",
];

/// Copies that journal and the output beside it. Now its commands report their runs.
fn commands() -> Place {
    let place = Place::new();
    copy(&data("commands/journal"), &place.path("journal"));
    let folder = place.path("journal-output");
    fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    for entry in fs::read_dir(data("commands/journal-output")).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &folder.join(entry.file_name()));
    }
    place.write("job", b"echo ran $1; test $1 != later || exit 9\n");
    place
}

fn go_on(place: &Place, more: &[&str]) -> Said {
    let arguments = ["-w", "1", "-k", "--journal", "journal"];
    let command = ["--", "sh", "job", "{}", ":::"];
    place.run(&[&arguments, more, &command, &ITEMS].concat(), b"")
}

/// Returns every letter: number, item, and the cause of each of its attempts.
fn letters(place: &Place) -> Vec<(u64, String, Vec<String>)> {
    let arguments = ["dead", "show", "--all", "--format", "json"];
    let output = place.run(&[&arguments[..], &["--journal", "journal"]].concat(), b"");
    output.ends(0);
    let text = &output.out;
    let letters = text.lines().map(|line| {
        let letter: Value = serde_json::from_str(line).unwrap();
        let history = letter["history"].as_array().unwrap().iter();
        let causes = history.map(|one| one["cause"].as_str().unwrap().to_owned());
        let item = letter["item"].as_str().unwrap().to_owned();
        (letter["id"].as_u64().unwrap(), item, causes.collect())
    });
    letters.collect()
}

fn letter(id: u64, item: &str, causes: &[&str]) -> (u64, String, Vec<String>) {
    let causes = causes.iter().map(|cause| (*cause).to_owned());
    (id, item.to_owned(), causes.collect())
}

fn a_run_of_commands_goes_on_where_an_older_build_was_killed() {
    let place = commands();
    let killed = "killed by SIGKILL";
    let mut expected = vec![
        letter(2, "code", &["exited with code 3"]),
        letter(3, "crash", &["killed by SIGSEGV"]),
        letter(4, "killed", &[killed, killed, killed]),
        letter(5, "asked", &["exited with code 143"]),
        letter(6, "slow", &["took longer than its time limit of 1s"]),
        letter(
            7,
            "absent",
            &["exited with code 127: ./absent: command not found"],
        ),
        letter(11, "bad", &["exited with code 4"]),
    ];
    assert_eq!(letters(&place), expected);

    let output = go_on(&place, &["--joblog", "log"]);
    let said = &output.err;
    output.ends(1);
    for words in [
        "resuming journal: 2 of 13 jobs done, 7 dead",
        "bad: given up on after 1 attempt (exited with code 4)",
        "5 of 13 jobs done, 8 dead",
    ] {
        output.tells(words);
    }
    // The output that the killed run held back, and that of unbegun items; `plain-file` was
    // retried.
    output.prints("ran plain-file\nran hold\nsaid in time\nsaid too\nran hold-too\nran later\n");
    let rows = place.joblog("log");
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| [&*row[0], &row[6], &row[7]])
        .collect();
    rows.sort_unstable_by_key(|row| row[0].parse::<u64>().unwrap());
    assert_eq!(
        rows,
        [
            ["8", "0", "0"],
            ["9", "0", "0"],
            ["10", "0", "0"],
            ["11", "4", "0"],
            ["12", "0", "0"],
            ["13", "9", "0"],
        ]
    );
    expected.push(letter(13, "later", &["exited with code 9"]));
    assert_eq!(letters(&place), expected);
    assert!(!place.path("journal-output").exists(), "{said}");
}

fn what_an_older_build_kept_of_an_attempt_is_a_result() {
    let place = commands();
    go_on(&place, &["--results", "r"]).ends(1);
    let result: Value = serde_json::from_str(&place.text("r/11/result.json")).unwrap();
    let of = [&result["item"], &result["exit_code"], &result["attempts"]];
    assert_eq!(of, [&Value::from("bad"), &4.into(), &1.into()]);
    assert_eq!(place.text("r/11/stdout"), "said too\n");
    assert_eq!(place.text("r/11/stderr"), "why not\n");
    assert_eq!(place.text("r/10/stdout"), "said in time\n");
}

fn dishes_of_an_older_build_are_dried() {
    let place = Place::new();
    copy(&data("dishes/journal"), &place.path("journal"));
    let expected = [letter(
        1,
        "dish-1",
        &["killed by SIGKILL", "killed by SIGABRT"],
    )];
    assert_eq!(letters(&place), expected);
    let run = "-w 3 --dishes 4 --wash 0 --max-attempts 2 --format json --journal journal";
    let output = place.run(&run.split(' ').collect::<Vec<_>>(), b"");
    output.ends(1);
    let text = &output.out;
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let done = crate::support::named(&events, "done");
    let mut done: Vec<_> = done
        .iter()
        .map(|event| (event["item"].as_str().unwrap(), event["attempt"].as_u64()))
        .collect();
    done.sort_unstable();
    // Attempts are counted on, also over a retry.
    let attempts = [
        ("dish-2", Some(3)),
        ("dish-3", Some(2)),
        ("dish-4", Some(1)),
    ];
    assert_eq!(done, attempts);
    let summary = crate::support::named(&events, "summary")[0];
    let counts = ["accepted", "done", "dead"].map(|name| summary[name].as_u64());
    assert_eq!(counts, [Some(4), Some(3), Some(1)]);
    assert_eq!(letters(&place), expected);
}
