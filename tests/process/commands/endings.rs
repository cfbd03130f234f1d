//! Runs of commands that end early: halted, stopped, or after too many failures.

use std::fs::File;

use nix::sys::signal::Signal;

use super::{Place, feed, read_pid, sh, words};
use crate::support::{Run, is_alive, named, until};

crate::trials!(
    an_own_directory_that_was_removed_is_named,
    an_interpreter_that_was_removed_is_named,
    commands_have_the_users_limit_on_open_files,
    halting_soon_lets_what_runs_finish,
    one_worker_fails_no_more_than_it_may,
    halting_now_kills_what_runs,
    halting_at_a_share_counts_all_items,
    a_stop_finishes_what_runs,
    starts_are_a_delay_apart,
    a_failed_item_rests_before_its_next_attempt,
);

fn halting_soon_lets_what_runs_finish() {
    let place = Place::new();
    place.gate("gate");
    let script = "if test $1 = a; then echo $$ > a; read x < gate; echo end; exit; fi; exit 1";
    let arguments = sh(
        "-w 2 --halt soon,fail=1 --max-attempts 1",
        script,
        "_ {} ::: a b c d e f g h",
    );
    let mut run = place.watch(&arguments);
    read_pid(&place.path("a"));
    run.await_event("dead");
    place.open_gate("gate");
    let events = run.ends(1);
    assert_eq!(named(&events, "output")[0]["text"], "end\n");
    let summary = named(&events, "summary")[0];
    assert_eq!(summary["done"], 1);
    assert!(summary["dead"].as_u64().unwrap() < 7, "{summary}");
}

fn one_worker_fails_no_more_than_it_may() {
    let place = Place::new();
    for manner in ["now", "soon"] {
        let halt = format!("{manner},fail=3");
        let arguments = [
            "-w",
            "1",
            "--halt",
            &halt,
            "--max-attempts",
            "1",
            "--",
            "false",
        ];
        let output = place.run(&arguments, b"1\n2\n3\n4\n5\n");
        output.ends(1);
        let summary = "0 of 5 jobs done, 3 dead, 2 left undone;";
        output.tells(summary);
    }
}

fn halting_now_kills_what_runs() {
    let place = Place::new();
    place.gate("never");
    let script =
        "if test $1 = a; then echo $$ > a; read x < never; fi; until test -s a; do :; done; exit 1";
    let arguments = sh(
        "-w 2 --halt now,fail=1 --max-attempts 1",
        script,
        "_ {} ::: a b c",
    );
    let mut run = place.watch(&arguments);
    let command = read_pid(&place.path("a"));
    let events = run.ends(1);
    assert_eq!(named(&events, "summary")[0]["done"], 0);
    until("what ran has ended", || !is_alive(command));
}

fn halting_at_a_share_counts_all_items() {
    let place = Place::new();
    let arguments = words("-w 1 --halt soon,fail=50% --max-attempts 1 -- test x =");
    place
        .run(&arguments, b"y\nx\nx\nx\n")
        .tells("3 of 4 jobs done, 1 dead;");
    place.write("lines", b"y\ny\nx\nx\n");
    let output = place.run(&[&["--input", "lines"], &arguments[..]].concat(), b"");
    output.ends(1).tells("halted, as --halt soon,fail=50% says");
}

fn a_stop_finishes_what_runs() {
    let place = Place::new();
    place.gate("gate");
    let script = "echo $$ > a; read x < gate; echo end";
    let mut command = place.supervisor(&words("--format json -w 1 -- sh -c"));
    command.args([script, "{}", ":::", "a", "b"]);
    command.stderr(File::create(place.path("stderr")).unwrap());
    let mut run = Run::of(command);
    let command = read_pid(&place.path("a"));
    run.signal(Signal::SIGINT);
    until("the stop begins", || {
        place.text("stderr").contains("SIGINT: finishing")
    });
    assert!(is_alive(command));
    place.open_gate("gate");
    let events = run.ends(130);
    assert_eq!(named(&events, "output")[0]["text"], "end\n");
    assert_eq!(named(&events, "summary")[0]["done"], 1);
}

fn starts_are_a_delay_apart() {
    let place = Place::new();
    let arguments = [
        "-w", "2", "-k", "--delay", "400ms", "--", "date", "+%s%N {}",
    ];
    let output = place.run(&arguments, b"a\nb\nc\n");
    let text = &output.out;
    let times: Vec<u64> = text
        .lines()
        .map(|line| line[..19].parse().unwrap())
        .collect();
    // A command may be slow to begin, so only the whole certainly takes as long.
    assert!(times[2] - times[0] >= 500_000_000, "{times:?}");
}

fn a_failed_item_rests_before_its_next_attempt() {
    let place = Place::new();
    let script = "date +%s%N; test $SUPERVISOR_ATTEMPT = 3";
    let arguments = sh("--max-attempts 3 --backoff 100ms --results r", script, "");
    let output = place.run(&arguments, b"a\n");
    output.ends(0);
    let text = &output.err;
    let marked = |mark: &str| -> u64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(mark))
            .unwrap();
        line.parse().unwrap()
    };
    let (first, second) = (marked("[a, attempt 1] "), marked("[a, attempt 2] "));
    let third: u64 = place.text("r/1/stdout").trim().parse().unwrap();
    // Half of 100 ms at least, then half of 200.
    assert!(
        second - first >= 50_000_000 && third - second >= 100_000_000,
        "{text}"
    );
}

fn executable(place: &Place, name: &str, script: &[u8]) {
    place.write(name, script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(name), mode).unwrap();
}

fn an_own_directory_that_was_removed_is_named() {
    let place = Place::new();
    std::fs::create_dir(place.path("here")).unwrap();
    executable(&place, "here/job", b"#!/bin/sh\nrm -r ../here\n");
    let mut command = place.supervisor(&["-w", "1", "--max-attempts", "1", "--", "./job"]);
    command.current_dir(place.path("here"));
    feed(&mut command, b"a\nb\n")
        .tells("the working directory is gone")
        .hides("command not found");
}

fn an_interpreter_that_was_removed_is_named() {
    let place = Place::new();
    let interpreter = place.path("interpreter");
    std::os::unix::fs::symlink("/bin/sh", &interpreter).unwrap();
    let script = format!("#!{0}\nrm {0}\n", interpreter.display());
    executable(&place, "job", script.as_bytes());
    let run = ["-w", "1", "--max-attempts", "1", "--", "./job"];
    place
        .run(&run, b"a\nb\n")
        .tells("job is there, and its interpreter is not");
}

/// 20 workers need more open files than the user has allowed at first.
fn commands_have_the_users_limit_on_open_files() {
    let place = Place::new();
    let limited = |soft: u32, hard: u32, arguments: &[&str]| {
        let supervisor = env!("CARGO_BIN_EXE_supervisor");
        let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, supervisor]).args(arguments);
        command.current_dir(place.path("."));
        let output = feed(&mut command, b"");
        output.ends(0);
        output.out
    };
    let shows = ["sh", "-c", "ulimit -Sn; ulimit -Hn", ":::", "a"];
    for method in ["spawn", "fork"] {
        let many = ["-w", "20", "--start-method", method, "--"];
        let shown = limited(100, 500, &[&many[..], &shows].concat());
        assert_eq!(shown, "100\n500\n", "{method}");
    }
    let served = r#"read -r request; echo "{\"output\":\"$(ulimit -Sn)\"}""#;
    place.write("worker.sh", served.as_bytes());
    let serve = ["-w", "20", "--worker", "sh worker.sh", "--", ":::", "a"];
    assert_eq!(limited(100, 500, &serve), "100");
    // One worker needs more than was allowed, and nearly all that can be.
    let few = limited(30, 60, &[&["-w", "1", "--"][..], &shows].concat());
    assert_eq!(few, "60\n60\n");
}
