//! Many items in one command: as many as the kernel takes, and no more.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Place, feed};
use crate::support::{Run, until};

crate::trials!(
    a_command_gets_as_many_items_as_the_kernel_takes,
    an_item_that_no_command_can_have_is_given_up_on_and_no_other,
    a_lot_is_one_job,
    a_lot_begins_though_no_more_lines_come,
    a_journal_knows_a_lot_by_its_items,
    what_another_run_would_make_otherwise_has_no_journal,
);

/// Counts the items of each command.
const COUNT: [&str; 5] = ["--", "sh", "-c", "echo $#", "_"];

/// Runs with this limit on the stack, a quarter of which is for words and variables.
fn counts(place: &Place, stack: u64, options: &[&str], input: &str) -> Vec<usize> {
    let mut command = place.supervisor(&["-q", "--no-summary", "-k"]);
    command.args(options).args(COUNT);
    let (_, hard) = getrlimit(Resource::RLIMIT_STACK).unwrap();
    // SAFETY: between fork and exec only a system call is made.
    unsafe {
        command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_STACK, stack, hard)?));
    }
    let said = feed(&mut command, input.as_bytes());
    said.ends(0);
    let counts = said.out.lines().map(|line| line.parse().unwrap());
    counts.collect()
}

fn a_command_gets_as_many_items_as_the_kernel_takes() {
    let items: Vec<String> = (100_000..400_000).map(|item| item.to_string()).collect();
    let input = items.join("\n");
    let large = format!("LARGE={}", "x".repeat(100_000));
    // Each takes 7 bytes and a pointer of 8.
    for (stack, options, room) in [
        (8 << 20, &["--xargs"][..], 2 << 20),
        (1 << 20, &["--xargs"], 256 << 10),
        (4 << 20, &["--xargs", "--env", &large], (1 << 20) - 100_000),
    ] {
        let place = Place::new();
        let counts = counts(&place, stack, options, &input);
        assert_eq!(counts.iter().sum::<usize>(), 300_000);
        let (last, others) = counts.split_last().unwrap();
        let most = room / 15;
        assert!(others.iter().all(|count| *count < most), "{counts:?}");
        // The environment of the test takes some.
        let is_full = |count: &usize| *count + 3_000 > most;
        assert!(
            others.iter().all(is_full) && last <= &most,
            "{most}: {counts:?}"
        );
    }
}

fn an_item_that_no_command_can_have_is_given_up_on_and_no_other() {
    let place = Place::new();
    let input = format!("a\nb\n{}\nc\nd\n", "x".repeat(200_000));
    let output = place.run(&["-w", "1", "-n", "2", "--", "echo"], input.as_bytes());
    output.ends(1).prints("a b\nc d\n");
    output.tells("2 of 3 jobs done, 1 dead");
    let output = place.run(
        &["-q", "-w", "1", "--xargs", "-s", "20", "--", "echo"],
        b"1\n2222222\n333333\n4\n",
    );
    output.ends(0).prints("1 2222222\n333333 4\n");
}

fn a_lot_is_one_job() {
    let place = Place::new();
    let script = r#"echo "$SUPERVISOR_ITEM:$*"; test "$1" != c"#;
    // The second attempt may come before the last lot or after it.
    let arguments = [
        "-w",
        "1",
        "-k",
        "-n",
        "2",
        "--retries",
        "2",
        "--joblog",
        "log",
    ];
    let command = ["--", "sh", "-c", script, "_"];
    let output = place.run(&[&arguments[..], &command].concat(), b"a\nb\nc\nd d\ne\n");
    output.ends(1).prints("1:a b\n2:c d d\n3:e\n");
    output.tells("c 'd d': given up on after 2 attempts");
    let mut rows = place.joblog("log");
    rows.sort();
    let numbers: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(numbers, ["1", "2", "2", "3"]);
    assert!(rows[1][8].ends_with("_ c 'd d'"), "{rows:?}");
}

fn what_another_run_would_make_otherwise_has_no_journal() {
    let place = Place::new();
    for option in ["-X", "-m", "--xargs"] {
        for known in [&["--journal", "j"][..], &["--joblog", "log", "--resume"]] {
            let words = [&[option], known, &["--", "echo"]].concat();
            place.run(&words, b"a\n").is_refused("use -n N");
        }
        // A log alone harms nobody.
        let words = [option, "--joblog", "log", "--", "echo"];
        place.run(&words, b"a\n").ends(0);
    }
}

fn a_journal_knows_a_lot_by_its_items() {
    let place = Place::new();
    let arguments = [
        "-q",
        "--no-summary",
        "-w",
        "1",
        "-n",
        "2",
        "--journal",
        "j",
        "--",
        "echo",
    ];
    place
        .run(&arguments, b"a\nb\nc\n")
        .ends(0)
        .prints("a b\nc\n");
    place
        .run(&arguments, b"a\nb\nc\nd\n")
        .ends(0)
        .prints("c d\n");
}

fn a_lot_begins_though_no_more_lines_come() {
    let place = Place::new();
    let mut command = place.supervisor(&["-q", "-n", "2", "--", "sh", "-c", "echo $@ >>seen", "_"]);
    command.stdin(Stdio::piped());
    let mut run = Run::of(command);
    let mut stdin = run.child.stdin.take().unwrap();
    stdin.write_all(b"a\nb\nc\n").unwrap();
    until("the first lot is run", || place.text("seen") == "a b\n");
    drop(stdin);
    assert!(run.child.wait().unwrap().success());
    assert_eq!(place.text("seen"), "a b\nc\n");
}
