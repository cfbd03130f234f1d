//! Displays of a run on a stream: progress, pictures, files. They do not fail, and do not lie.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{GATE, Run, Stage};

crate::timely_trials!(
    progress_counts_what_is_done_here,
    the_title_says_what_goes_on,
    pictures_are_drawn_of_work_and_of_a_run,
    files_have_what_was_done_here,
    a_halt_stops_the_work_and_leaves_the_rest,
);

/// Returns the JSON objects on stderr.
fn progress(err: &str) -> Vec<Value> {
    let lines = err.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn progress_counts_what_is_done_here() {
    let stage = Stage::new();
    stage.put(&["a", "b", "c"]);
    let options = [
        "-w",
        "2",
        "--progress",
        "json",
        "--until-done",
        "--",
        "true",
    ];
    let said = stage.say("work", &options);
    said.ends(0);
    let shown = progress(&said.err);
    let last = shown.last().unwrap();
    assert_eq!(last["done"], 3, "{last}");
    for one in &shown {
        // Others may put more at any time.
        assert!(one["total"].is_null(), "{one}");
    }
}

fn the_title_says_what_goes_on() {
    let stage = Stage::new();
    let gate = stage.gate();
    stage.put(&["a"]);
    let mut work = stage.start(
        "work",
        &["-w", "1", "--", "flock", "-s", GATE, "echo", "{}"],
    );
    stage.await_status("pending", 1);
    gate.open();
    assert_eq!(work.line().as_deref(), Some("a"));
    crate::deadline::until("the title counts it", || {
        title(&work).contains("1 done, 0 dead")
    });
    work.signal(Signal::SIGTERM);
    work.end();
}

fn title(run: &Run) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", run.pid())).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pictures_are_drawn_of_work_and_of_a_run() {
    let stage = Stage::new();
    stage.put(&["cup", "jug"]);
    let draw = ["--timeline", "run.svg", "--trace", "run.json", "--dry", "0"];
    let ways = [("work", &["--until-done"][..]), ("", &["--wash", "0"])];
    for (subcommand, more) in ways {
        stage
            .say(subcommand, &[&draw[..], more].concat())
            .ends(0)
            .hides("panicked");
        let picture = fs::read_to_string(stage.path("run.svg")).unwrap();
        roxmltree::Document::parse(&picture).unwrap();
        let name = if subcommand == "work" {
            "jug"
        } else {
            "dish-4"
        };
        assert!(picture.contains(name), "{picture}");
        let trace: Value =
            serde_json::from_slice(&fs::read(stage.path("run.json")).unwrap()).unwrap();
        assert!(!trace.is_null());
    }
}

fn files_have_what_was_done_here() {
    let stage = Stage::new();
    stage.put(&["a", "b"]);
    let options = [
        "-w",
        "1",
        "--max-attempts",
        "3",
        "--joblog",
        "log",
        "--results",
        "out",
        "--dead-letters",
        "dead",
        "--tag",
    ];
    let command = ["--until-done", "--", "sh", "-c", "echo {}; test {} = a"];
    let said = stage.say("work", &[&options[..], &command].concat());
    assert_eq!(
        (said.code, &*said.out),
        (Some(1), "a\ta\nb\tb\n"),
        "{said:?}"
    );
    // A heading, and a line for each attempt.
    assert_eq!(stage.lines("log").len(), 1 + 1 + 3);
    let dead: Value = serde_json::from_str(&stage.lines("dead")[0]).unwrap();
    assert_eq!((&dead["item"], &dead["attempts"]), (&"b".into(), &3.into()));
    let results = fs::read_dir(stage.path("out")).unwrap().flatten();
    let mut results: Vec<_> = results.map(|entry| entry.file_name()).collect();
    results.sort();
    assert_eq!(results, [".dishrack", "1", "2"]);
}

fn a_halt_stops_the_work_and_leaves_the_rest() {
    let stage = Stage::new();
    let _gate = stage.gate();
    stage.put(&["a", "b", "c"]);
    let options = ["-w", "1", "--max-attempts", "1", "--lease", "1h"];
    // Another one may have begun before the first one's death is heard of.
    let script = "test {} != a && exec flock -s gate true";
    let halt = ["--halt", "now,fail=1", "--", "sh", "-c", script];
    stage.say("work", &[&options[..], &halt].concat()).ends(1);
    let status = stage.status();
    assert_eq!(
        (
            &status["dead_letters"],
            &status["untaken"],
            &status["pending"]
        ),
        (&1.into(), &2.into(), &0.into()),
        "{status}"
    );
}
