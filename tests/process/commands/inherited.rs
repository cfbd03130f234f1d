//! A supervisor's inheritance: ignored and blocked signals, a make's job server.

#![allow(clippy::print_stderr, reason = "a test that cannot be done says so")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

use super::{Place, feed, has_program};

crate::trials!(
    an_ignored_sigchld_takes_no_exit_status,
    commands_ignore_what_the_supervisor_was_started_with,
    commands_block_no_signal,
    a_command_ended_by_a_signal_without_a_name_is_told_so,
    commands_are_not_told_of_a_job_server_that_they_cannot_reach,
    a_make_in_a_make_does_not_warn,
    a_termination_before_a_command_is_there_is_passed_on,
);

const METHODS: [&str; 2] = ["spawn", "fork"];

/// Makes the command start with these ignored.
fn ignoring(command: &mut Command, ignored: &'static [Signal]) {
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            for one in ignored {
                signal(*one, SigHandler::SigIgn)?;
            }
            Ok(())
        });
    }
}

fn an_ignored_sigchld_takes_no_exit_status() {
    for method in METHODS {
        let place = Place::new();
        let mut command = place.supervisor(&["-w", "1", "--start-method", method]);
        let script = "echo x >> ran; exit $1";
        command.args(["--joblog", "log", "--", "sh", "-c", script, "_", "{}"]);
        command.args([":::", "0", "5"]);
        ignoring(&mut command, &[Signal::SIGCHLD]);
        feed(&mut command, b"").ends(1);
        let codes: Vec<String> = place
            .joblog("log")
            .iter()
            .map(|row| row[6].clone())
            .collect();
        assert_eq!(codes[0], "0", "{codes:?}");
        assert!(codes[1..].iter().all(|code| code == "5"), "{codes:?}");
        assert_eq!(place.text("ran").lines().count(), codes.len());
    }
}

/// Returns a line of a command's `/proc/self/status`, as bits.
fn of_status(command: &mut Command, line: &str) -> u64 {
    let script = format!("exec grep {line}: /proc/self/status");
    command.args(["--", "sh", "-c", &script, "{}", ":::", "a"]);
    let output = feed(command, b"");
    let shown = &output.out;
    let bits = shown.trim_end().rsplit('\t').next().unwrap();
    u64::from_str_radix(bits, 16).unwrap_or_else(|_| panic!("{shown:?} {}", output.err))
}

fn bits(signals: &[Signal]) -> u64 {
    signals
        .iter()
        .fold(0, |bits, one| bits | 1 << (*one as i32 - 1))
}

fn commands_ignore_what_the_supervisor_was_started_with() {
    const IGNORED: &[Signal] = &[
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGTSTP,
        Signal::SIGXFSZ,
        Signal::SIGPIPE,
        Signal::SIGCHLD,
    ];
    // These tests may have been started with others.
    let asked = bits(IGNORED);
    for method in METHODS {
        let place = Place::new();
        let start = || place.supervisor(&["-w", "1", "--start-method", method]);
        let mut command = start();
        assert_eq!(of_status(&mut command, "SigIgn") & asked, 0, "{method}");
        let mut command = start();
        ignoring(&mut command, IGNORED);
        // Programs expect neither of the last two to be ignored.
        let expected = bits(&IGNORED[..5]);
        assert_eq!(
            of_status(&mut command, "SigIgn") & asked,
            expected,
            "{method}"
        );
    }
}

fn commands_block_no_signal() {
    for method in METHODS {
        let place = Place::new();
        let mut command = place.supervisor(&["-w", "1", "--start-method", method]);
        // SAFETY: between fork and exec only a system call is made.
        unsafe {
            command.pre_exec(|| Ok(SigSet::all().thread_set_mask()?));
        }
        assert_eq!(of_status(&mut command, "SigBlk"), 0, "{method}");
    }
}

fn a_command_ended_by_a_signal_without_a_name_is_told_so() {
    let place = Place::new();
    let run = ["-w", "1", "--max-attempts", "1", "--joblog", "log", "--"];
    let output = place.run(&[&run[..], &["sh", "-c", "kill -40 $$"]].concat(), b"a\n");
    output.ends(1);
    assert_eq!(place.joblog("log")[0][7], "40", "{}", output.err);
}

fn commands_are_not_told_of_a_job_server_that_they_cannot_reach() {
    let flags = "ks -j4 --jobserver-auth=3,4 -- A=b";
    let pipe = " -j4 --jobserver-auth=fifo:/tmp/GMfifo1";
    for (flags, expected) in [(flags, "ks -- A=b"), (pipe, pipe)] {
        for method in METHODS {
            let place = Place::new();
            let mut command = place.supervisor(&["-w", "1", "--start-method", method, "--"]);
            command.args([
                "sh",
                "-c",
                "echo \"$MAKEFLAGS|$CARGO_MAKEFLAGS\"",
                "{}",
                ":::",
                "a",
            ]);
            command
                .env("MAKEFLAGS", flags)
                .env("CARGO_MAKEFLAGS", flags);
            feed(&mut command, b"").prints(format!("{expected}|{expected}\n"));
        }
    }
    // The requested server is passed on.
    let place = Place::new();
    let given = ["--env", "MAKEFLAGS=-j4 --jobserver-auth=3,4"];
    let command = ["--", "sh", "-c", "echo $MAKEFLAGS", "{}", ":::", "a"];
    place
        .run(&[&given[..], &command].concat(), b"")
        .prints("-j4 --jobserver-auth=3,4\n");
}

/// Without make there is nothing to test.
fn a_make_in_a_make_does_not_warn() {
    if !has_program("make") {
        eprintln!("skipped: there is no make");
        return;
    }
    let place = Place::new();
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let makefile = format!(
        "all:\n\t+@{supervisor} -w 1 -- make -s -f inner {{}} ::: one two\n\
         plain:\n\t@{supervisor} -w 1 -- make -s -f inner {{}} ::: one two\n"
    );
    place.write("outer", makefile.as_bytes());
    place.write("inner", b"one:\n\t@echo one\ntwo:\n\t@echo two\n");
    for target in ["all", "plain"] {
        let mut command = Command::new("make");
        command.args(["-s", "-j2", "-f", "outer", target]);
        command
            .current_dir(place.folder.path())
            .env_remove("MAKEFLAGS");
        feed(&mut command, b"")
            .prints("one\ntwo\n")
            .hides("jobserver");
    }
}

/// The worker is stopped just before, so that the test does not depend on luck.
#[cfg(feature = "failpoints")]
fn a_termination_before_a_command_is_there_is_passed_on() {
    use crate::support::{Run, named, send, state, until};

    let place = Place::new();
    place.gate("never");
    let mark = place.path("stopped");
    let script = "test $SUPERVISOR_ATTEMPT != 1 || read x < never";
    let mut command = place.supervisor(&["--format", "json", "-w", "1", "--"]);
    command.args(["sh", "-c", script, "{}", ":::", "a"]);
    let point = format!("worker|command: about to start|1|{}", mark.display());
    command.env("DISHRACK_STOP_POINT", point);
    let mut run = Run::of(command);
    let mut worker = 0;
    until("the worker is stopped", || {
        let pid = std::fs::read_to_string(&mark).unwrap_or_default();
        worker = pid.parse().unwrap_or(0);
        worker != 0 && state(worker) == Some('T')
    });
    send(worker, Signal::SIGTERM);
    send(worker, Signal::SIGCONT);
    let events = run.ends(0);
    assert_eq!(named(&events, "retry")[0]["cause"], "killed by SIGTERM");
}

/// The point needs the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
fn a_termination_before_a_command_is_there_is_passed_on() {}
