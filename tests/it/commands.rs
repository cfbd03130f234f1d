//! The command line with a COMMAND: a faulty one is named, with exit code 2, before anything runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::said::{Said, words};

crate::trials!(
    a_command_that_cannot_be_run_is_told_once_before_anything_runs,
    options_that_do_not_go_together_are_named,
    values_and_options_that_the_parser_refuses_are_named,
    json_that_is_none_or_lacks_a_member_is_named_with_its_line,
    files_that_cannot_be_written_are_named,
    a_file_that_the_run_uses_is_not_written_over,
    spans_are_refused_where_they_are_not_built_in,
    the_last_of_two_options_counts,
    a_place_that_is_none_is_told,
);

/// Runs in this folder, with nothing on stdin.
fn run(folder: &Path, arguments: &[&str]) -> Said {
    Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .into()
}

/// Checks for exit code 2, nothing on stdout, and one line on stderr with this text.
fn is_refused(folder: &Path, arguments: &[&str], expected: &str) {
    let said = run(folder, arguments);
    said.is_refused(expected);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
}

fn a_command_that_cannot_be_run_is_told_once_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("plain"), "").unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let with_items = |words: &[&'static str]| [words, &[":::"], &many].concat();
    let not_found = "nosuch: command not found (127 in a shell)";
    is_refused(folder, &with_items(&["--", "nosuch"]), not_found);
    is_refused(
        folder,
        &with_items(&["--", "./nosuch"]),
        "./nosuch: command not found",
    );
    is_refused(
        folder,
        &with_items(&["--", ""]),
        "an empty name is no command",
    );
    is_refused(folder, &["--"], "--: there is no COMMAND after it");
    let not_executable = "plain: not executable (126 in a shell)";
    is_refused(folder, &with_items(&["--", "./plain"]), not_executable);
    is_refused(folder, &with_items(&["--", "./sub"]), "sub: not executable");
    let elsewhere = ["--env", "PATH=/nowhere", "--", "true"];
    is_refused(folder, &with_items(&elsewhere), "true: command not found");
    is_refused(folder, &["--worker", "nosuch x"], not_found);
    // A path is looked up where the command will run.
    fs::write(folder.join("sub/script"), "#!/bin/sh\necho \"$1\"\n").unwrap();
    fs::set_permissions(folder.join("sub/script"), fs::Permissions::from_mode(0o755)).unwrap();
    is_refused(
        folder,
        &with_items(&["--", "./script"]),
        "./script: command not found",
    );
    let output = run(folder, &["--workdir", "sub", "--", "./script", ":::", "x"]);
    assert_eq!(output.stdout, b"x\n");
}

fn options_that_do_not_go_together_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("--tag", "--tag: needs a COMMAND, after --"),
        ("--keep-order", "--keep-order: needs a COMMAND"),
        ("--results x", "--results: needs a COMMAND"),
        ("--dishes 3 -- true", "--dishes: is for dishes"),
        ("--wash 1s -- true", "--wash: is for dishes"),
        (
            "--mode threads -- true",
            "--mode threads: a COMMAND is run by processes",
        ),
        (
            "--input x -- true ::: a",
            "--input: the items follow ::: already",
        ),
        (
            "-- true :::+ a",
            ":::+: there is no list before it that it could go along with",
        ),
        ("-- true ::::", "::::: no file follows it"),
        (
            "--resume --joblog x --journal y -- true",
            "--resume: a --journal goes on by itself",
        ),
        (
            "--resume-failed --joblog x --unique {} -- true",
            "--resume-failed: it goes by the places of items, which --unique shifts",
        ),
        (
            "--shell -- echo ::: a ::: b",
            "--shell: {} stands for several arguments",
        ),
        (
            "--colsep , --shell -- echo {} ::: a",
            "--shell: {} stands for several",
        ),
        ("--arg-file x", "--arg-file: needs a COMMAND"),
        ("-- ::: a", "there is no COMMAND before :::"),
        ("-- echo :::: list", "--input list: cannot be read"),
        ("-- echo ::: a :::: list", "--input list: cannot be read"),
        ("--env X -- true", "--env X: expected NAME=VALUE"),
        ("--env =1 -- true", "--env =1: expected NAME=VALUE"),
        ("--workdir nosuch -- true", "--workdir nosuch: "),
        (
            "--workdir /dev/null -- true",
            "--workdir /dev/null: it is no folder",
        ),
        ("--halt now -- true", "--halt now: expected now or soon"),
        (
            "--worker cat --stdin",
            "--stdin: a --worker gets its items as requests",
        ),
        ("--worker cat --line-buffer", "--line-buffer: "),
        ("--line-buffer --format json -- cat", "--line-buffer: "),
        ("--input nosuch -- true", "--input nosuch: cannot be read"),
        ("--input / -- true", "--input /: it is a folder"),
    ];
    for (arguments, expected) in cases {
        is_refused(folder.path(), &words(arguments), expected);
    }
    let unended = ["--worker", "sh 'x"];
    is_refused(folder.path(), &unended, "a quote that does not end");
    is_refused(folder.path(), &["--worker", ""], "no command");
}

fn values_and_options_that_the_parser_refuses_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("-n 2 --json -- true", "cannot be used with"),
        ("--max-chars 9 -- true", "--max-args"),
        (
            "--colsep x* -- true",
            "it matches even where there is nothing",
        ),
        ("-d ab -- true", "expected one byte"),
        ("-j procfile -- true", "a percentage of the processors"),
        ("--resume -- true", "--joblog"),
        ("-X -m -- true", "cannot be used with"),
        ("--colsep , --json -- true", "cannot be used with"),
        ("-0 -d , -- true", "cannot be used with"),
    ];
    for (arguments, expected) in cases {
        run(folder.path(), &words(arguments)).is_refused(expected);
    }
}

fn json_that_is_none_or_lacks_a_member_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let refused = |lines: &str, expected: &str| {
        fs::write(folder.join("lines"), lines).unwrap();
        let arguments = ["--json", "--input", "lines", "--", "echo", "{name}"];
        is_refused(folder, &arguments, expected);
    };
    refused(
        "{\"name\":1}\n{name:2}\n",
        "--input lines: line 2: it is no JSON: key must be a string, byte 2",
    );
    refused("{\"name\":1}\n\n", "--input lines: line 2: it is no JSON");
    refused(
        "{\"name\":1}\n[]\n",
        "line 2: it is no JSON object, so it has no members",
    );
    refused(
        "{\"Name\":1}\n",
        "line 1: it has no member \"name\" for {name}",
    );
    let arguments = [
        "--json",
        "--",
        "echo",
        "{name}",
        ":::",
        "{\"name\":1}",
        "{}",
    ];
    is_refused(folder, &arguments, "item 2 (after :::): it has no member");
}

fn files_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("file"), "").unwrap();
    let cases = [
        (
            ["--results", "file/x"],
            "--results file/x: cannot be written",
        ),
        (
            ["--results", "/proc/x"],
            "--results /proc/x: cannot be written",
        ),
        (["--joblog", "no/log"], "--joblog no/log: cannot be written"),
        (
            ["--timeline", "no/x.svg"],
            "--timeline no/x.svg: cannot be written",
        ),
    ];
    for (option, expected) in cases {
        let arguments = [&option[..], &["--", "true", ":::", "a"]].concat();
        is_refused(folder, &arguments, expected);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(["--", "true", ":::", "a"])
        .env("TMPDIR", folder.join("nosuch"))
        .output()
        .unwrap();
    Said::from(output).ends(2).tells("output cannot be kept in");
}

fn a_file_that_the_run_uses_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("lines"), "a\n").unwrap();
    for option in ["--joblog", "--timeline", "--trace", "--dead-letters"] {
        let arguments = [option, "./lines", "--input", "lines", "--", "true"];
        is_refused(
            folder,
            &arguments,
            "the run itself uses this file, as lines: name another file",
        );
    }
    assert_eq!(fs::read_to_string(folder.join("lines")).unwrap(), "a\n");
    let arguments = words("--joblog x --dead-letters x -- true ::: a");
    is_refused(folder, &arguments, "the run itself uses this file, as x");
}

#[cfg(not(feature = "otlp"))]
fn spans_are_refused_where_they_are_not_built_in() {
    let folder = tempfile::tempdir().unwrap();
    for call in [
        "--otlp http://127.0.0.1:4318 -- true ::: a",
        "put --redis redis://127.0.0.1:1 --otlp http://127.0.0.1:4318 ::: a",
    ] {
        let how = "cargo build --release --features otlp";
        is_refused(folder.path(), &words(call), how);
    }
}

#[cfg(feature = "otlp")]
fn spans_are_refused_where_they_are_not_built_in() {
    let folder = tempfile::tempdir().unwrap();
    for call in [
        "--otlp https://127.0.0.1:4318 -- true ::: a",
        "put --redis redis://127.0.0.1:1 --otlp https://127.0.0.1:4318 ::: a",
    ] {
        is_refused(folder.path(), &words(call), "without TLS");
    }
}

/// This is so in xargs and GNU parallel, too: an alias can be corrected.
fn the_last_of_two_options_counts() {
    let folder = tempfile::tempdir().unwrap();
    let again = ["-w", "1", "-w", "2", "-k", "-k"];
    let given = ["--env", "A=1", "--env", "B=2", "--", "sh", "-c"];
    let script = ["echo $A $B", "_", ":::", "a"];
    run(folder.path(), &[&again[..], &given, &script].concat())
        .prints("1 2\n")
        .ends(0);
}

fn a_place_that_is_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["-q", "--", "echo", "{2}", ":::", "a"]);
    output
        .tells("{2} is passed on as it is: {} stands")
        .prints("{2} a\n");
    let output = run(folder.path(), &["-q", "--", "echo", "{1}", ":::", "a"]);
    output.hides("passed on").prints("a\n");
}
