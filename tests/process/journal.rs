//! Supervisors with a journal that are killed, and their successors: nothing is lost, and no item
//! that was reported done is done again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Run, named, pid_of, send, until};

crate::trials!(
    a_supervisor_killed_again_and_again_loses_nothing_and_repeats_nothing,
    a_killed_run_goes_on_with_lines_added_removed_and_reordered,
    a_finished_list_is_not_done_again_but_for_new_lines,
    the_lock_ends_with_its_process,
    a_successor_may_begin_at_once,
    a_killed_dryer_is_told_in_the_journals_history,
    a_stopped_run_leaves_one_file_and_goes_on,
);

struct Place {
    folder: TempDir,
    journal: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let journal = folder.path().join("journal");
        Place { folder, journal }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let journal = self.journal.to_str().unwrap();
        let own = ["--workers", "2", "--wash", "0", "--journal", journal];
        Run::supervisor(&[&own, arguments].concat())
    }

    fn input(&self, lines: &[String]) -> String {
        let path = self.folder.path().join("input");
        fs::write(&path, lines.join("\n")).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// The number of times that each item was reported done.
type Done = BTreeMap<String, usize>;

fn note(done: &mut Done, event: &Value) {
    if event["event"] == "done" {
        let item = event["item"].as_str().unwrap().to_owned();
        *done.entry(item).or_default() += 1;
    }
}

/// Kills the run after so many more reports of done items. Its output until then counts, and may be
/// far ahead of the read part; the run may even be over.
fn kill_after(mut run: Run, more: usize, done: &mut Done) {
    let before: usize = done.values().sum();
    while done.values().sum::<usize>() < before + more {
        match run.event() {
            Some(event) => note(done, &event),
            None => break,
        }
    }
    run.signal(Signal::SIGKILL);
    while let Some(line) = run.line() {
        // The last one may be torn.
        if let Ok(event) = serde_json::from_str(&line) {
            note(done, &event);
        }
    }
    run.exit();
}

fn a_supervisor_killed_again_and_again_loses_nothing_and_repeats_nothing() {
    const DISHES: usize = 800;
    for durability in ["full", "normal"] {
        let place = Place::new();
        let dishes = DISHES.to_string();
        let arguments = [
            "--dishes",
            &dishes,
            "--dry",
            "1ms",
            "--durability",
            durability,
        ];
        let mut done = Done::new();
        for kill in 0..12 {
            kill_after(place.run(&arguments), 1 + kill * 4, &mut done);
        }
        let (events, status) = place.run(&arguments).finish();
        assert_eq!(status.code(), Some(0));
        events.iter().for_each(|event| note(&mut done, event));
        assert!(done.values().all(|times| *times == 1), "{done:?}");
        let summary = named(&events, "summary")[0];
        assert_eq!(summary["accepted"], DISHES);
        assert_eq!(summary["done"], DISHES);
    }
}

fn a_killed_run_goes_on_with_lines_added_removed_and_reordered() {
    let place = Place::new();
    let name = |n: usize| format!("cup-{}", n % 150);
    // Fifty names are there twice.
    let mut lines: Vec<String> = (0..200).map(name).collect();
    let input = place.input(&lines);
    let arguments = ["--input", &input, "--dry", "1ms", "--capacity", "20"];
    let mut done = Done::new();
    kill_after(place.run(&arguments), 60, &mut done);
    lines.reverse();
    lines.truncate(180);
    lines.extend((0..20).map(|n| format!("plate-{n}")));
    place.input(&lines);
    kill_after(place.run(&arguments), 60, &mut done);
    let (events, status) = place.run(&arguments).finish();
    assert_eq!(status.code(), Some(0));
    events.iter().for_each(|event| note(&mut done, event));
    for (item, times) in &done {
        let wanted = match item.strip_prefix("cup-") {
            Some(n) if n.parse::<usize>().unwrap() < 50 => 2,
            _ => 1,
        };
        assert!(*times <= wanted, "{item}: {times} times");
    }
    // Every line of the last list is done, and at most the lines of both.
    let summary = named(&events, "summary")[0];
    assert_eq!(summary["done"], summary["accepted"]);
    let accepted = summary["accepted"].as_u64().unwrap();
    assert!((200..=220).contains(&accepted), "{summary}");
    let (events, _) = place.run(&arguments).finish();
    assert_eq!(named(&events, "done").len(), 0);
    assert_eq!(named(&events, "washing").len(), 0);
}

fn a_finished_list_is_not_done_again_but_for_new_lines() {
    let place = Place::new();
    let lines = |names: &[&str]| names.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let done = |names: &[&str]| {
        let input = place.input(&lines(names));
        let (events, status) = place.run(&["--input", &input, "--dry", "0"]).finish();
        assert_eq!(status.code(), Some(0));
        let mut done: Vec<String> = named(&events, "done")
            .iter()
            .map(|event| event["item"].as_str().unwrap().to_owned())
            .collect();
        done.sort();
        done.join(" ")
    };
    assert_eq!(done(&["a", "", "b", "a"]), " a a b");
    assert_eq!(done(&["a", "a", "", "b"]), "");
    assert_eq!(done(&["c", "b", "a", "b", "a", "a"]), "a b c");
}

fn the_lock_ends_with_its_process() {
    let place = Place::new();
    let mut run = place.run(&["--dishes", "2", "--dry", "60s"]);
    run.await_event("drying");
    let mut second = place.run(&["--dishes", "2"]);
    assert_eq!(second.exit().code(), Some(2));
    run.signal(Signal::SIGKILL);
    run.exit();
    // Its dryers end with it, and hold nothing.
    let mut third = place.run(&["--dishes", "2"]);
    third.await_event("drying");
    third.signal(Signal::SIGKILL);
    third.exit();
}

/// The killed supervisor is a zombie that is not waited for, or not even that yet.
fn a_successor_may_begin_at_once() {
    let place = Place::new();
    let mut runs = Vec::new();
    for _ in 0..10 {
        let run = place.run(&["--dishes", "2", "--dry", "60s"]);
        run.await_event("drying");
        run.signal(Signal::SIGKILL);
        runs.push(run);
    }
    for mut run in runs {
        run.exit();
    }
}

fn dead(place: &Place, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.arg("dead").args(arguments);
    let output = command
        .arg("--journal")
        .arg(&place.journal)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

fn a_killed_dryer_is_told_in_the_journals_history() {
    let place = Place::new();
    let arguments = ["--dishes", "1", "--dry", "60s", "--max-attempts", "2"];
    let mut run = place.run(&arguments);
    let first = pid_of(&run.await_event("drying"));
    send(first, Signal::SIGKILL);
    run.await_event("retry");
    run.signal(Signal::SIGKILL);
    run.exit();
    let mut run = place.run(&arguments);
    let again = run.await_event("drying");
    assert_eq!(again["attempt"], 2);
    let second = pid_of(&again);
    send(second, Signal::SIGTERM);
    assert_eq!(run.exit().code(), Some(1));
    let letter = dead(&place, &["show", "1", "--format", "json"]);
    let letter: Value = serde_json::from_str(&letter).unwrap();
    assert_eq!(letter["history"][0]["cause"], "killed by SIGKILL");
    assert_eq!(letter["history"][0]["pid"], first);
    assert_eq!(letter["history"][1]["cause"], "killed by SIGTERM");
    assert_eq!(letter["history"][1]["pid"], second);

    dead(&place, &["retry", "1"]);
    let mut run = place.run(&arguments);
    assert_eq!(run.await_event("drying")["attempt"], 3);
    run.signal(Signal::SIGKILL);
    run.exit();
}

fn is_alone(journal: &Path) -> bool {
    let others = ["-wal", "-shm"].map(|suffix| format!("{}{suffix}", journal.display()));
    others.iter().all(|other| !Path::new(other).exists())
}

fn a_stopped_run_leaves_one_file_and_goes_on() {
    let place = Place::new();
    let arguments = ["--dishes", "60", "--dry", "5ms"];
    let mut run = place.run(&arguments);
    run.await_event("done");
    run.signal(Signal::SIGTERM);
    let (first, status) = run.finish();
    assert_eq!(status.code(), Some(128 + 15));
    until("the journal is closed", || is_alone(&place.journal));
    let (second, status) = place.run(&arguments).finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        named(&first, "done").len() + named(&second, "done").len() + 1,
        60
    );
    assert_eq!(named(&second, "summary")[0]["done"], 60);
    assert!(is_alone(&place.journal));
}
