//! The output of commands, as it is shown and kept.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::{Place, sh};
use crate::support::named;

crate::trials!(
    output_comes_item_by_item,
    output_comes_in_order_when_asked_for,
    output_of_a_failed_attempt_is_shown_once_with_a_mark,
    output_of_the_last_attempt_is_the_items_own,
    lines_are_tagged_with_their_item,
    lines_are_shown_while_their_command_runs,
    output_is_part_of_json_events,
    results_are_kept_for_each_item,
    the_joblog_has_the_columns_of_gnu_parallel,
    a_dry_run_runs_nothing,
    a_command_that_removes_its_own_output_loses_none_of_it,
    a_closed_stdout_ends_the_run,
);

/// Each command waits for the other one in the middle of its output.
fn output_comes_item_by_item() {
    let place = Place::new();
    place.gate("gate");
    let script =
        r#"echo "$1 1"; if test $1 = a; then read x < gate; else echo go > gate; fi; echo "$1 2""#;
    let output = place.run(&["-w", "2", "--", "sh", "-c", script, "_"], b"a\nb\n");
    let text = &output.out;
    assert!(
        ["a 1\na 2\nb 1\nb 2\n", "b 1\nb 2\na 1\na 2\n"].contains(&text.as_str()),
        "{text}"
    );
}

/// The first one ends last.
fn output_comes_in_order_when_asked_for() {
    let place = Place::new();
    place.gate("gate");
    let script = r#"if test $1 = 1; then read x < gate; fi; if test $1 = 3; then echo go > gate; fi; echo $1"#;
    let arguments = ["-w", "2", "-k", "--", "sh", "-c", script, "_"];
    place
        .run(&arguments, b"1\n2\n3\n4\n")
        .prints("1\n2\n3\n4\n");
}

fn output_of_a_failed_attempt_is_shown_once_with_a_mark() {
    let place = Place::new();
    let script = "echo out; echo err >&2; test $SUPERVISOR_ATTEMPT = 2";
    let output = place.run(
        &["-w", "1", "--max-attempts", "2", "--", "sh", "-c", script],
        b"a\n",
    );
    output.ends(0).prints("out\n");
    let text = &output.err;
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        "a: attempt 1 failed (exited with code 1); it will be run again",
        "[a, attempt 1] out",
        "[a, attempt 1] err",
        "err",
    ];
    assert_eq!(lines[..4], expected, "{text}");
}

fn output_of_the_last_attempt_is_the_items_own() {
    let place = Place::new();
    let script = "echo out; echo err >&2; exit 7";
    let arguments = sh("--max-attempts 1 --dead-letters dead", script, "");
    let output = place.run(&arguments, b"a\n");
    output.ends(1).prints("out\n");
    let text = &output.err;
    assert!(
        text.starts_with("a: given up on after 1 attempt (exited with code 7)\nerr\n"),
        "{text}"
    );
    let letter: Value = serde_json::from_str(&place.text("dead")).unwrap();
    assert_eq!(letter["cause"], "exited with code 7");
    assert_eq!(letter["history"][0]["stderr"], "err\n");
}

fn lines_are_tagged_with_their_item() {
    let place = Place::new();
    let script = r#"printf '1\n\n2'; echo e >&2"#;
    let output = place.run(&["--tag", "--", "sh", "-c", script], b"a b\n");
    output.prints("a b\t1\na b\t\na b\t2");
    assert!(output.err.starts_with("a b\te\n"));
}

fn lines_are_shown_while_their_command_runs() {
    let place = Place::new();
    place.gate("gate");
    let script = "printf 'one\ntw'; read x < gate; echo o";
    let arguments = sh("--line-buffer --tag", script, "_ {} ::: a");
    let mut command = place.supervisor(&arguments);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a\tone");
    place.open_gate("gate");
    assert_eq!(lines.next().unwrap().unwrap(), "a\ttwo");
    assert!(lines.next().is_none());
    assert!(child.wait().unwrap().success());
}

fn output_is_part_of_json_events() {
    let place = Place::new();
    let script = r#"printf 'ä\377'; echo err >&2; test $1 = a"#;
    let arguments = sh("-w 1 --max-attempts 1", script, "_ ::: a b");
    let events = place.watch(&arguments).ends(1);
    let outputs = named(&events, "output");
    assert_eq!(outputs.len(), 4);
    assert_eq!(outputs[0]["item"], "a");
    assert_eq!(
        (&outputs[0]["number"], &outputs[0]["attempt"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&outputs[0]["stream"], &outputs[0]["base64"]),
        (&"stdout".into(), &"w6T/".into())
    );
    assert_eq!(
        (&outputs[1]["stream"], &outputs[1]["text"]),
        (&"stderr".into(), &"err\n".into())
    );
    assert_eq!(outputs[3]["item"], "b");
    assert_eq!(named(&events, "done").len(), 1);
    assert_eq!(named(&events, "dead")[0]["cause"], "exited with code 1");
}

fn results_are_kept_for_each_item() {
    let place = Place::new();
    let script = "echo out $1; test $1 = a || { echo err $1 >&2; kill -KILL $$; }";
    let arguments = ["-w", "1", "--results", "r", "--", "sh", "-c", script, "_"];
    place.run(&arguments, b"a\nb\n").ends(1);
    assert_eq!(place.text("r/1/stdout"), "out a\n");
    assert!(place.path("r/1/stderr").exists());
    assert_eq!(place.text("r/2/stderr"), "err b\n");
    let of = |name: &str| serde_json::from_str::<Value>(&place.text(name)).unwrap();
    let (first, second) = (of("r/1/result.json"), of("r/2/result.json"));
    assert_eq!(
        (&first["exit_code"], &first["attempts"]),
        (&0.into(), &1.into())
    );
    assert_eq!(
        (&second["signal"], &second["attempts"]),
        (&"SIGKILL".into(), &3.into())
    );
    assert_eq!(second["item"], "b");
    assert!(first["seconds"].as_f64().unwrap() > 0.0);
    let rest = std::fs::read_dir(place.path("r")).unwrap().flatten();
    let mut rest: Vec<_> = rest.map(|entry| entry.file_name()).collect();
    rest.sort();
    assert_eq!(rest, [".dishrack", "1", "2"], "nothing else is left there");
}

fn the_joblog_has_the_columns_of_gnu_parallel() {
    let place = Place::new();
    let script = "printf 12345; exit $1";
    let arguments = sh("-w 1 --max-attempts 2 --joblog log", script, "_");
    place.run(&arguments, b"0\n3\n");
    let header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";
    assert_eq!(place.text("log").lines().next(), Some(header));
    let rows = place.joblog("log");
    let column = |at: usize| rows.iter().map(|row| row[at].as_str()).collect::<Vec<_>>();
    assert_eq!(column(0), ["1", "2", "2"]);
    assert_eq!(column(5), ["5", "5", "5"]);
    assert_eq!(column(6), ["0", "3", "3"]);
    assert_eq!(column(7), ["0", "0", "0"]);
    assert_eq!(column(8)[0], "sh -c 'printf 12345; exit $1' _ 0");
    for row in &rows {
        let started: f64 = row[2].parse().unwrap();
        let runtime: f64 = row[3].trim().parse().unwrap();
        assert!(started > 1.7e9 && runtime >= 0.0, "{row:?}");
    }
}

fn a_dry_run_runs_nothing() {
    let place = Place::new();
    let arguments = ["--dry-run", "--", "touch", "{}", "{#}.{/.}"];
    place
        .run(&arguments, b"a b/c.d\nx\n")
        .prints("touch 'a b/c.d' 1.c\ntouch x 2.x\n");
    assert!(!place.path("x").exists());
    let output = place.run(&["--dry-run", "--worker", "cat"], b"a\n");
    output.prints("{\"arguments\":[\"a\"],\"inputs\":[]}\n");
}

fn a_command_that_removes_its_own_output_loses_none_of_it() {
    let place = Place::new();
    let script = "echo out; echo err >&2; rm -r .dishrack-output-*; echo more";
    let output = place.run(&["--", "sh", "-c", script], b"a\n");
    let text = &output.err;
    output.ends(0).prints("out\nmore\n");
    assert!(text.lines().any(|line| line == "err"), "{text}");
    output.tells("it is made again");
}

fn a_closed_stdout_ends_the_run() {
    let place = Place::new();
    let mut command = place.supervisor(&["--input", "lines", "--", "echo"]);
    place.write("lines", "x\n".repeat(100_000).as_bytes());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "x");
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(141));
}
