//! The command line: a wrong argument is named on stderr, with exit code 2, before anything starts.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::said::{Said, words};

crate::trials!(
    wrong_options_are_named,
    a_missing_or_unreadable_input_is_named,
    an_input_line_that_is_not_text_is_named_before_anything_is_started,
    a_pipe_line_that_is_not_text_is_named_when_it_comes,
    dishes_come_from_a_file_and_from_a_pipe,
    dishes_come_from_a_named_pipe,
    workers_need_no_temporary_folder,
    the_temporary_folder_is_left_alone,
    help_shows_examples_and_every_option,
    quiet_leaves_the_summary,
    json_events_carry_the_fields_of_the_contract,
    every_mode_does_the_chapters_dishes,
    no_dishes_are_no_work,
    a_program_with_threads_runs_under_valgrind,
);

fn supervisor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.env("RUST_BACKTRACE", "0");
    command
}

fn run(arguments: &[&str]) -> Said {
    said(supervisor().args(arguments))
}

fn said(command: &mut Command) -> Said {
    command.output().unwrap().into()
}

fn wrong_options_are_named() {
    let cases = [
        ("--workers 0", "--workers 0"),
        ("--workers abc", "abc"),
        ("--workers -x", "-x"),
        ("--workers 1000000000", "1000000000 are more than"),
        (
            "--workers 1000000000 --mode threads",
            "1000000000 are more than",
        ),
        (
            "--workers 1000000000 --mode tasks",
            "1000000000 are more than",
        ),
        ("--workers 99999999999999999999999", "--workers"),
        ("--mode fibers", "fibers"),
        ("--start-method clone", "clone"),
        ("--format xml", "xml"),
        ("--dry -1s", "cannot be negative"),
        ("--wash -0.5", "cannot be negative"),
        ("--dry 1e99", "more than a year"),
        ("--dry 99999h", "more than a year"),
        ("--wash nan", "nan"),
        ("--wash soon", "soon"),
        ("--max-attempts 0", "--max-attempts"),
        ("--dishes -3", "-3"),
        ("--dishes 3 --input x", "--input"),
        ("--direct --capacity 3", "--capacity"),
        ("--payload 99999999999", "--payload 99999999999"),
        ("--wrokers 2", "--workers"),
        ("extra", "extra"),
    ];
    for (arguments, expected) in cases {
        run(&words(arguments)).is_refused(expected);
    }
}

fn a_missing_or_unreadable_input_is_named() {
    run(&["--input", "/no/such/file"]).is_refused("/no/such/file: cannot be read");
    run(&["--input", "/"]).is_refused("/: it is a folder");
    run(&["--input", ""]).is_refused("--input");
}

fn an_input_line_that_is_not_text_is_named_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names");
    fs::write(&path, b"one\ntwo\n\xff\xfe\nfour\n").unwrap();
    let output = run(&[
        "--input",
        path.to_str().unwrap(),
        "--wash",
        "0",
        "--dry",
        "0",
    ]);
    output.is_refused("names: line 3 is not UTF-8");
}

fn pipe(input: &[u8], arguments: &[&str]) -> Said {
    let mut child = supervisor()
        .args(["--input", "-", "--wash", "0", "--dry", "0"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}

fn a_pipe_line_that_is_not_text_is_named_when_it_comes() {
    let output = pipe(b"one\n\xff\ntwo\n", &[]);
    output.ends(2).tells("stdin: line 2 is not UTF-8");
    // Accepted items are done.
    output.tells("1 of 1 dishes done");
}

fn dishes_come_from_a_file_and_from_a_pipe() {
    let names = "cup\nplate with a long name\n\nschüssel";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names");
    fs::write(&path, names).unwrap();
    let file = [
        "--input",
        path.to_str().unwrap(),
        "--wash",
        "0",
        "--dry",
        "0",
    ];
    for output in [pipe(names.as_bytes(), &[]), run(&file)] {
        output.ends(0);
        let lines = &output.out;
        for name in ["cup", "plate with a long name", "", "schüssel"] {
            assert!(
                lines.contains(&format!("Washing {name} , time: ")),
                "{lines}"
            );
            assert!(
                lines.contains(&format!("Drying  {name} , time: ")),
                "{lines}"
            );
        }
    }
}

fn workers_need_no_temporary_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let long = folder.path().join("x".repeat(100));
    fs::create_dir(&long).unwrap();
    let paths = [
        Path::new("/no/such/folder"),
        Path::new("/proc"),
        &file,
        &long,
        Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff")),
        Path::new(""),
    ];
    for path in paths {
        for mode in ["processes", "threads"] {
            let mut command = supervisor();
            command
                .env("TMPDIR", path)
                .args(["--mode", mode, "--wash", "0", "--dry", "0"]);
            let output = said(&mut command);
            assert_eq!(output.code, Some(0), "{path:?}, {mode}: {output:?}");
        }
    }
    assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
}

/// Whatever lies there is somebody's, also where it is called as ipc-channel calls its own.
fn the_temporary_folder_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join(".tmpABC123");
    fs::DirBuilder::new().mode(0o700).create(&place).unwrap();
    drop(std::os::unix::net::UnixListener::bind(place.join("socket")).unwrap());
    let runtime = tempfile::tempdir().unwrap();
    for method in ["spawn", "fork"] {
        let mut command = supervisor();
        command
            .env("XDG_RUNTIME_DIR", runtime.path())
            .env("TMPDIR", folder.path())
            .args(words(&format!("--start-method {method} --wash 0 --dry 0")));
        said(&mut command).ends(0);
    }
    assert!(place.join("socket").exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn help_shows_examples_and_every_option() {
    let output = run(&["--help"]);
    output.ends(0);
    let help = &output.out;
    let options = [
        "-w, --workers",
        "--mode",
        "--dishes",
        "--input",
        "--wash",
        "--dry",
        "--payload",
        "-q, --quiet",
        "--start-method",
        "--capacity",
        "--direct",
        "--max-attempts",
        "--shutdown",
        "--max-restarts",
        "--max-seconds",
        "--format",
    ];
    for option in options {
        assert!(help.contains(option), "{option}");
    }
    assert!(help.contains("supervisor --workers 2"), "an example");
    assert!(run(&["--version"]).out.starts_with("supervisor 0."));
}

fn quiet_leaves_the_summary() {
    let output = run(&["-q", "--wash", "0", "--dry", "0", "--dishes", "7"]);
    output.prints("");
    assert!(output.err.starts_with("7 of 7 dishes done, 0 dead; "));
}

fn json_events_carry_the_fields_of_the_contract() {
    let output = run(&[
        "--format", "json", "--wash", "0", "--dry", "0", "-w", "1", "--dishes", "2",
    ]);
    assert_eq!(output.err, "");
    let events: Vec<Value> = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let fields: &[(&str, &[&str])] = &[
        ("started", &["pid", "mode", "workers"]),
        ("worker_started", &["worker", "pid"]),
        ("washing", &["item", "pid"]),
        ("drying", &["item", "worker", "pid", "attempt"]),
        ("done", &["item", "worker", "pid", "attempt", "duration_us"]),
        ("worker_exited", &["worker", "pid", "code", "holding"]),
        (
            "summary",
            &[
                "accepted",
                "done",
                "dead",
                "retries",
                "restarts",
                "elapsed_us",
            ],
        ),
    ];
    for (name, fields) in fields {
        let event = events.iter().find(|event| event["event"] == *name);
        let event = event
            .unwrap_or_else(|| panic!("no {name}"))
            .as_object()
            .unwrap();
        let mut expected: Vec<&str> = fields.iter().copied().chain(["event", "t_us"]).collect();
        let mut found: Vec<&str> = event.keys().map(String::as_str).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(events[0]["event"], "started");
    assert_eq!(events.last().unwrap()["event"], "summary");
    assert_eq!(
        events
            .iter()
            .filter(|event| event["event"] == "done")
            .count(),
        2
    );
}

fn every_mode_does_the_chapters_dishes() {
    let modes: [&[&str]; 5] = [
        &["--mode", "sequential"],
        &["--mode", "threads"],
        &["--mode", "tasks"],
        &["--mode", "processes"],
        &["--mode", "processes", "--start-method", "fork"],
    ];
    for mode in modes {
        for way in [
            &["--direct"][..],
            &["--capacity", "1"],
            &["--capacity", "0"],
        ] {
            let times = ["--wash", "1ms", "--dry", "1ms", "-w", "2"];
            let output = said(supervisor().args(mode).args(way).args(times));
            let lines = &output.out;
            assert_eq!(output.code, Some(0), "{mode:?} {way:?}");
            assert_eq!(lines.lines().count(), 8, "{mode:?} {way:?}: {lines}");
            for n in 1..=4 {
                assert!(lines.contains(&format!("Washing dish-{n} , time: 0:00:0")));
                assert!(lines.contains(&format!("Drying  dish-{n} , time: 0:00:0")));
            }
        }
    }
}

fn no_dishes_are_no_work() {
    let output = run(&["--dishes", "0"]);
    output.ends(0);
    assert!(output.err.starts_with("0 of 0 dishes done"));
}

fn dishes_come_from_a_named_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let child = supervisor()
        .args([
            "--wash",
            "0",
            "--dry",
            "0",
            "--input",
            path.to_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    fs::write(&path, "cup\nplate\n").unwrap();
    let output = Said::from(child.wait_with_output().unwrap());
    output.ends(0);
    assert_eq!(output.out.lines().count(), 4);
}

/// Memory checkers start a program with an auxiliary vector of their own.
#[allow(
    clippy::print_stderr,
    reason = "whoever reads the tests is told that one is skipped"
)]
fn a_program_with_threads_runs_under_valgrind() {
    let mut command = Command::new("valgrind");
    command.args(["--tool=none", "-q", env!("CARGO_BIN_EXE_supervisor")]);
    let output = match command
        .args(["--mode", "threads", "-w", "2", "--dishes", "1"])
        .output()
    {
        Ok(output) => Said::from(output),
        Err(error) => {
            eprintln!(
                "skipped: a_program_with_threads_runs_under_valgrind, as valgrind does not start: {error}"
            );
            return;
        }
    };
    output.ends(0).tells("1 of 1 dishes done");
}
