//! Several copies of an item's command: whose output is shown, and what is told of the others.

use std::io::Write;

use nix::sys::signal::Signal;

use super::{Place, words};
use crate::support::{Run, named, pid_of, send, until};

crate::trials!(
    the_output_of_the_copy_that_counts_is_shown_alone,
    large_output_of_another_copy_is_not_shown_either,
    each_copy_has_a_row_in_the_job_log_that_says_what_became_of_it,
    a_job_log_with_copies_goes_on_where_a_kill_left_it,
    what_no_copies_agreed_on_is_run_again_by_the_job_log,
    copies_agree_on_a_failed_command_and_its_output,
    the_same_exit_code_with_another_output_is_no_agreement,
    a_command_that_fails_at_once_does_not_fail_the_item_before_the_other_copy,
    an_ended_copy_is_no_restart,
    too_few_workers_end_the_run_and_charge_nobody,
    later_copies_are_made_while_others_wait_if_that_is_asked_for,
    without_agreement_no_output_is_taken_for_a_result,
    a_copy_that_fails_fails_nothing_while_another_one_runs,
    a_late_copy_is_made_of_the_one_that_hangs,
    a_journal_has_each_item_once,
    a_command_is_told_which_copy_it_is,
    options_that_do_not_go_together_are_refused,
);

/// Two copies are made at once, and a third one when these have ended and do not agree.
const VOTE: &[&str] = &[
    "-w",
    "3",
    "--copies",
    "3",
    "--agree",
    "2",
    "--hedge-after",
    "1h",
];

/// The first copy of each item waits for ever.
const FIRST_HANGS: &str = "test $SUPERVISOR_COPY != 1 || read x < never; echo $1 $SUPERVISOR_COPY";

fn the_output_of_the_copy_that_counts_is_shown_alone() {
    for with in [
        &[][..],
        &["-k"],
        &["--joblog", "log"],
        &["--results", "results"],
    ] {
        let place = Place::new();
        place.gate("never");
        let mut arguments = vec!["-w", "2", "--copies", "2"];
        arguments.extend(with);
        arguments.extend(["--", "sh", "-c", FIRST_HANGS, "_"]);
        let output = place.run(&arguments, b"a\nb\n");
        output.ends(0);
        let shown = &output.out;
        let mut lines: Vec<&str> = shown.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["a 2", "b 2"], "{with:?}");
        // Workers that were ended for a copy that is not needed are no news.
        let told = &output.err;
        assert_eq!(told.lines().count(), 1, "{told}");
        if with == ["--results", "results"] {
            assert_eq!(place.text("results/1/stdout"), "a 2\n");
        }
    }
}

fn large_output_of_another_copy_is_not_shown_either() {
    let place = Place::new();
    place.gate("never");
    let script = "
        yes $SUPERVISOR_COPY | head -c 100000
        test $SUPERVISOR_COPY != 1 || read x < never";
    let arguments = ["-w", "2", "--copies", "2", "--", "sh", "-c", script, "_"];
    place
        .run(&arguments, b"a\nb\nc\n")
        .prints("2\n".repeat(50_000).repeat(3));
}

/// Waits for an event of this item, before which nothing may be given up on.
fn await_item(run: &Run, name: &str, item: &str) {
    loop {
        let event = run.event().expect("it runs");
        assert_ne!(event["event"], "dead", "{event}");
        if event["event"] == name && event["item"] == item {
            return;
        }
    }
}

/// Returns number, exit code and what became of the copy, of each row.
fn copies_in(rows: &[Vec<String>]) -> Vec<(String, String, String)> {
    let ends = rows.iter().map(|row| {
        assert_eq!(row.len(), 9, "{row:?}");
        let (worker, end) = row[1].split_once(':').unwrap();
        assert!(worker.starts_with("worker-"), "{row:?}");
        (row[0].clone(), row[6].clone(), end.to_owned())
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable();
    ends
}

fn row(number: &str, code: &str, end: &str) -> (String, String, String) {
    (number.to_owned(), code.to_owned(), end.to_owned())
}

fn each_copy_has_a_row_in_the_job_log_that_says_what_became_of_it() {
    let place = Place::new();
    place.gate("never");
    let arguments = ["-w", "2", "--copies", "2", "--joblog", "log"];
    let arguments = [&arguments[..], &["--", "sh", "-c", FIRST_HANGS, "_"]].concat();
    place.run(&arguments, b"a\n");
    let ends = copies_in(&place.joblog("log"));
    assert_eq!(
        ends,
        [row("1", "-1", "cancelled"), row("1", "0", "counted")]
    );
    // The second one is wrong, and a third one is made when both have ended.
    let place = Place::new();
    let script = "test $SUPERVISOR_COPY = 2 && echo wrong || echo right";
    let arguments = [VOTE, &["--joblog", "log", "--", "sh", "-c", script, "_"]].concat();
    let output = place.run(&arguments, b"a\n");
    assert_eq!(output.out, "right\n");
    let ends = copies_in(&place.joblog("log"));
    let expected = ["agreed", "counted", "disagreed"].map(|end| row("1", "0", end));
    assert_eq!(ends, expected);
    let told = &output.err;
    let differs = r#"says "wrong\n", and others agree on "right\n""#;
    assert!(told.contains(differs), "{told}");
    // An attempt without copies has the Host that it always had.
    let place = Place::new();
    place.run(&["-w", "1", "--joblog", "log", "--", "true"], b"a\n");
    assert_eq!(place.joblog("log")[0][1], ":");
}

/// Though each copy of it has exited with 0.
fn what_no_copies_agreed_on_is_run_again_by_the_job_log() {
    let place = Place::new();
    let script = "test $1 = agreed && echo same || echo $SUPERVISOR_COPY";
    let options = ["--max-attempts", "1", "--joblog", "log"];
    let command = ["--", "sh", "-c", script, "_"];
    let first = [VOTE, &options, &command].concat();
    place.run(&first, b"agreed\nnot\n").ends(1);
    let again = [
        "-w",
        "1",
        "--joblog",
        "log",
        "--resume-failed",
        "--",
        "echo",
    ];
    let said = place.run(&again, b"agreed\nnot\n");
    said.ends(0).prints("not\n");
}

/// The supervisor is killed while the second item runs; the next run goes on with the same log.
fn a_job_log_with_copies_goes_on_where_a_kill_left_it() {
    let place = Place::new();
    place.gate("never");
    let script = "test $1 != b || test -e free || read x < never; echo $1";
    let arguments = [
        "-w", "2", "--copies", "2", "--agree", "2", "--joblog", "log",
    ];
    let journal = ["--journal", "journal", ":::", "a", "b"];
    let (command, items) = journal.split_at(2);
    let arguments = [
        &arguments[..],
        command,
        &["--", "sh", "-c", script, "_"],
        items,
    ]
    .concat();
    let mut first = place.watch(&arguments);
    for _ in 0..2 {
        await_item(&first, "running", "b");
    }
    // A row is written once the end is in the journal, which b does not wait for.
    until("the copies of a are in the job log", || {
        place.joblog("log").len() == 2
    });
    first.signal(Signal::SIGKILL);
    first.exit();
    let before = place.joblog("log");
    assert_eq!(
        copies_in(&before),
        [row("1", "0", "agreed"), row("1", "0", "counted")]
    );
    place.write("free", b"");
    let output = place.run(&arguments, b"");
    assert_eq!(output.code, Some(0), "{}", &output.err);
    let rows = place.joblog("log");
    let expected = [
        row("1", "0", "agreed"),
        row("1", "0", "counted"),
        row("2", "0", "agreed"),
        row("2", "0", "counted"),
    ];
    assert_eq!(copies_in(&rows), expected);
    assert_eq!(rows[..2], before);
}

fn copies_agree_on_a_failed_command_and_its_output() {
    let place = Place::new();
    let script = "echo x; echo why >&2; exit 3";
    let arguments = [
        "-w", "2", "--copies", "2", "--agree", "2", "--joblog", "log",
    ];
    let arguments = [&arguments[..], &["--", "sh", "-c", script, "_"]].concat();
    let output = place.run(&arguments, b"a\n");
    assert_eq!(output.code, Some(1));
    let told = &output.err;
    let given_up = "a: given up on after 1 attempt (exited with code 3)";
    assert!(told.contains(given_up), "{told}");
    // The output of one of them is the item's, as of any command that fails.
    assert_eq!(output.out, "x\n");
    assert_eq!(told.matches("why\n").count(), 1, "{told}");
    let ends = copies_in(&place.joblog("log"));
    assert_eq!(ends, [row("1", "3", "agreed"), row("1", "3", "counted")]);
}

fn the_same_exit_code_with_another_output_is_no_agreement() {
    let place = Place::new();
    let script = "echo $SUPERVISOR_COPY; exit 3";
    let arguments = [
        "-w", "2", "--copies", "2", "--agree", "2", "--joblog", "log",
    ];
    let arguments = [&arguments[..], &["--", "sh", "-c", script, "_"]].concat();
    let output = place.run(&arguments, b"a\n");
    let told = &output.err;
    assert!(told.contains("no 2 of 2 copies agree"), "{told}");
    assert!(
        told.contains(r#"says "1\n" and exited with code 3"#),
        "{told}"
    );
    let ends = copies_in(&place.joblog("log"));
    assert_eq!(ends, [row("1", "3", "void"), row("1", "3", "void")]);
    // One that fails differs from those that do not, and is told of.
    let script = "echo x; test $SUPERVISOR_COPY != 2 || exit 3";
    let arguments = [VOTE, &["--", "sh", "-c", script, "_"]].concat();
    let output = place.run(&arguments, b"a\n");
    assert_eq!(output.code, Some(0));
    let told = &output.err;
    let differs = r#"says "x\n" and exited with code 3, and others agree on "x\n""#;
    assert!(told.contains(differs), "{told}");
}

/// Both other workers are busy with another item when the first copy fails.
fn a_command_that_fails_at_once_does_not_fail_the_item_before_the_other_copy() {
    let place = Place::new();
    place.gate("go");
    place.gate("never");
    let script = "
        case $1$SUPERVISOR_COPY in
        a1) read x < go;;
        a2) read x < never;;
        b1) exit 3;;
        esac
        echo $1";
    let arguments = ["-w", "3", "--copies", "2", "--", "sh", "-c", script, "_"];
    let mut run = place.watch(&[&arguments[..], &[":::", "a", "b", "c"]].concat());
    // The worker that has failed goes on with another item.
    await_item(&run, "running", "c");
    place.open_gate("go");
    await_item(&run, "done", "b");
    assert_eq!(run.exit().code(), Some(0));
}

fn an_ended_copy_is_no_restart() {
    let place = Place::new();
    place.gate("never");
    let arguments = [
        "-w",
        "2",
        "--copies",
        "2",
        "--",
        "sh",
        "-c",
        FIRST_HANGS,
        "_",
    ];
    let output = place.run(&arguments, b"a\nb\nc\n");
    let told = &output.err;
    assert!(told.contains("0 retries, 0 restarts"), "{told}");
}

/// One of two workers is given up on before the first item comes.
fn too_few_workers_end_the_run_and_charge_nobody() {
    let place = Place::new();
    let (items, mut input) = std::io::pipe().unwrap();
    let arguments = [
        "-w",
        "2",
        "--copies",
        "2",
        "--agree",
        "2",
        "--max-restarts",
        "0",
    ];
    let arguments = [&arguments[..], &["--format", "json", "--", "echo"]].concat();
    let mut command = place.supervisor(&arguments);
    command.stdin(items);
    let mut run = Run::of(command);
    let workers = [(); 2].map(|()| run.await_event("worker_started"));
    send(pid_of(&workers[0]), Signal::SIGKILL);
    run.await_event("worker_given_up");
    input.write_all(b"a\n").unwrap();
    drop(input);
    let (events, status) = run.finish();
    assert_eq!(status.code(), Some(3));
    let why = "2 copies must agree, and there is 1 worker";
    assert_eq!(named(&events, "no_workers_left")[0]["why"], why);
    let summary = named(&events, "summary")[0];
    let counts = [&summary["accepted"], &summary["dead"], &summary["retries"]];
    assert_eq!(counts, [1, 0, 0]);
}

fn later_copies_are_made_while_others_wait_if_that_is_asked_for() {
    let place = Place::new();
    place.gate("never");
    // Each of the others takes longer than that of b may, so the second worker comes to be idle
    // when a copy of b is due and others wait.
    let script =
        "test $1$SUPERVISOR_COPY != b1 || read x < never; test $1 = b || sleep 0.05; echo $1";
    let arguments = ["-w", "2", "--hedge-after", "50ms", "--hedge-pressing", "--"];
    let arguments = [&arguments[..], &["sh", "-c", script, "_"]].concat();
    let others = "c\n".repeat(10);
    let output = place.run(&arguments, format!("b\n{others}").as_bytes());
    let shown = &output.out;
    let place_of_b = shown.lines().position(|line| line == "b");
    assert!(place_of_b.is_some_and(|place| place <= 3), "{shown}");
    assert_eq!(shown.lines().count(), 11, "{shown}");
}

fn without_agreement_no_output_is_taken_for_a_result() {
    let place = Place::new();
    let arguments = ["-w", "2", "--copies", "2", "--agree", "2", "--"];
    let arguments = [
        &arguments[..],
        &["sh", "-c", "echo copy $SUPERVISOR_COPY", "_"],
    ]
    .concat();
    let output = place.run(&arguments, b"a\n");
    output.ends(1).prints("").tells("no 2 of 2 copies agree");
    for number in [1, 2] {
        output.tells(&format!("says \"copy {number}\\n\""));
        output.tells(&format!("] copy {number}\n"));
    }
}

fn a_copy_that_fails_fails_nothing_while_another_one_runs() {
    let place = Place::new();
    place.gate("go");
    let script = "
        if test $SUPERVISOR_COPY = 1; then echo no; echo go > go; exit 3; fi
        read x < go; echo yes";
    let arguments = ["-w", "2", "--copies", "2", "--", "sh", "-c", script, "_"];
    place
        .run(&arguments, b"a\n")
        .ends(0)
        .prints("yes\n")
        .hides("no\n");
}

fn a_late_copy_is_made_of_the_one_that_hangs() {
    let place = Place::new();
    place.gate("never");
    let script = "test $1$SUPERVISOR_COPY != b1 || read x < never; echo $1 $SUPERVISOR_COPY";
    for after in ["100ms", "p50"] {
        let arguments = ["-w", "2", "-k", "--hedge-after", after, "--"];
        let arguments = [&arguments[..], &["sh", "-c", script, "_"]].concat();
        // p50 is known after twenty items.
        let others: String = (1..=40).map(|number| format!("{number}\n")).collect();
        let output = place.run(&arguments, format!("b\n{others}").as_bytes());
        let shown = &output.out;
        assert!(shown.starts_with("b 2\n"), "{shown}");
        assert_eq!(shown.lines().count(), 41, "{shown}");
    }
}

fn a_journal_has_each_item_once() {
    let place = Place::new();
    place.gate("never");
    let arguments = ["-w", "2", "--copies", "2", "--journal", "journal"];
    let arguments = [&arguments[..], &["--", "sh", "-c", FIRST_HANGS, "_"]].concat();
    let output = place.run(&arguments, b"a\nb\nc\n");
    assert_eq!(output.out.lines().count(), 3);
    place
        .run(&arguments, b"a\nb\nc\n")
        .prints("")
        .tells("3 of 3 jobs done");
}

fn a_command_is_told_which_copy_it_is() {
    let place = Place::new();
    let script = "echo $SUPERVISOR_COPY";
    place
        .run(&["-w", "2", "--", "sh", "-c", script, "_"], b"a\n")
        .prints("1\n");
}

fn options_that_do_not_go_together_are_refused() {
    let place = Place::new();
    let cases = [
        (
            "--copies 2 --agree 3",
            "--agree 3: there are no more than 2 copies",
        ),
        (
            "-w 2 --copies 4 --agree 3",
            "no more than 2 workers can agree",
        ),
        (
            "-w 1 --copies 2 --agree 2",
            "no more than 1 worker can agree",
        ),
        ("--hedge-pressing", "--hedge-after"),
        ("--hedge-after -1s", "a time such as 2s or 100ms"),
        ("--hedge-after P95", "or p95 for as long as"),
        ("--hedge-after p0.01", "from 0.1 to 99.9, as in p95"),
        (
            "--copies 1 --hedge-after 1s",
            "--hedge-after: with --copies 1",
        ),
        ("--copies 2 --line-buffer", "--line-buffer: "),
        (
            "--copies 2 --redis redis://localhost/1",
            "--copies: with --redis",
        ),
        (
            "--hedge-after p95 --redis redis://localhost/1",
            "--hedge-after: with --redis",
        ),
        ("--hedge-after p100", "as in p95"),
    ];
    for (given, why) in cases {
        let output = place.run(&[&words(given)[..], &["--", "true"]].concat(), b"a\n");
        assert_eq!(output.code, Some(2), "{given:?}");
        output.tells(why);
    }
}
