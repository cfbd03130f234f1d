//! Several copies of an item's command: whose output is shown, and what is told of the others.

use super::{Place, words};

crate::trials!(
    the_output_of_the_copy_that_counts_is_shown_alone,
    large_output_of_another_copy_is_not_shown_either,
    each_copy_has_a_row_in_the_job_log,
    without_agreement_no_output_is_taken_for_a_result,
    a_copy_that_fails_fails_nothing_while_another_one_runs,
    a_late_copy_is_made_of_the_one_that_hangs,
    a_journal_has_each_item_once,
    a_command_is_told_which_copy_it_is,
    options_that_do_not_go_together_are_refused,
);

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

fn each_copy_has_a_row_in_the_job_log() {
    let place = Place::new();
    place.gate("never");
    let arguments = ["-w", "2", "--copies", "2", "--joblog", "log"];
    let arguments = [&arguments[..], &["--", "sh", "-c", FIRST_HANGS, "_"]].concat();
    place.run(&arguments, b"a\n");
    let rows = place.joblog("log");
    let mut ends: Vec<_> = rows.iter().map(|row| (&*row[0], &*row[6])).collect();
    ends.sort_unstable();
    assert_eq!(ends, [("1", "-1"), ("1", "0")], "{rows:?}");
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
