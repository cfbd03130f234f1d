//! The end of an attempt's command. A command that could not be run has the codes that a shell
//! gives it: 127 if it does not exist, 126 if it cannot be executed.
//!
//! A cause says it by its type. Only journals of older builds have it in words, which are read
//! once, when such a journal is opened.

use std::ffi::OsStr;
use std::io;

use nix::libc;
use nix::sys::signal::Signal;

use dishrack_core::ledger::{Cause, Exit};

const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Returns the exit that a shell reports for a command that could not be run, and the reason.
pub(super) fn not_run(program: &OsStr, error: &io::Error) -> (Exit, String) {
    let program = program.display();
    let (code, why) = match error.raw_os_error() {
        Some(libc::ENOENT) => (NOT_FOUND, "command not found".to_owned()),
        Some(libc::E2BIG) => (
            NOT_EXECUTABLE,
            "too long for an argument: --stdin has no limit".to_owned(),
        ),
        _ => (NOT_EXECUTABLE, error.to_string()),
    };
    (Exit::Exited(code), format!("{program}: {why}"))
}

/// The greatest length of a complaint that is told with the exit code.
const COMPLAINT_CHARS: usize = 200;

/// Makes the cause of a failure by the command's own doing, with the first line of its message.
pub(super) fn with_complaint(exit: Exit, said: &str) -> Cause {
    let line = said.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or_default().trim();
    Cause::CommandFailed {
        exit,
        complaint: line.chars().take(COMPLAINT_CHARS).collect(),
    }
}

/// Converts a cause from a journal of a build before December 2026 into its present form, which
/// reads the same.
pub(crate) fn of_older_build(cause: Cause) -> Cause {
    match cause {
        Cause::Nack(words) => match exit_in(&words) {
            Some((exit, complaint)) => Cause::CommandFailed { exit, complaint },
            None => Cause::Nack(words),
        },
        Cause::Unrunnable(words) => match exit_in(&words) {
            Some((exit, complaint)) => Cause::CommandUnrunnable { exit, complaint },
            None => Cause::Unrunnable(words),
        },
        cause => cause,
    }
}

/// Returns the exit that such words begin with, and the complaint after it; `None` for other words.
fn exit_in(words: &str) -> Option<(Exit, String)> {
    let (told, complaint) = words.split_once(": ").unwrap_or((words, ""));
    let exit = match told.strip_prefix("exited with code ") {
        Some(code) => Exit::Exited(code.parse().ok()?),
        None => {
            let name = told.strip_prefix("killed by ")?;
            Exit::Signaled(match name.strip_prefix("signal ") {
                Some(number) => number.parse().ok()?,
                None => name.parse::<Signal>().ok()? as i32,
            })
        }
    };
    Some((exit, complaint.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_older_builds_are_read_and_stay_as_they_are() {
        let exits = (0..256).map(Exit::Exited);
        for exit in exits.chain((1..65).map(Exit::Signaled)) {
            for complaint in ["", "no: words", "x: command not found"] {
                let complaint = complaint.to_owned();
                let typed = Cause::CommandFailed { exit, complaint };
                let read = of_older_build(Cause::Nack(typed.to_string()));
                assert_eq!((read.to_string(), &read), (typed.to_string(), &typed));
                assert_eq!(read.exit(), Some(exit));
            }
        }
        let words = "exited with code 126: x: too long for an argument";
        let read = of_older_build(Cause::Unrunnable(words.into()));
        assert!(read.is_final() && read.to_string() == words);
        assert_eq!(read.exit(), Some(Exit::Exited(126)));
    }

    #[test]
    fn other_words_of_older_builds_tell_nothing() {
        for words in [
            "",
            "killed by SIGNOBODY",
            "exited with code",
            "exited with code 3, it seems",
            "it has a crack",
        ] {
            let cause = of_older_build(Cause::Nack(words.into()));
            assert_eq!(cause, Cause::Nack(words.into()));
            assert_eq!(cause.exit(), None, "{words}");
        }
    }

    #[test]
    fn a_command_that_could_not_be_run_has_a_shells_code() {
        let why = |errno| not_run(OsStr::new("x"), &io::Error::from_raw_os_error(errno));
        let not_found = (Exit::Exited(127), "x: command not found".into());
        assert_eq!(why(libc::ENOENT), not_found);
        assert_eq!(why(libc::EACCES).0, Exit::Exited(126));
        assert!(why(libc::E2BIG).1.contains("--stdin"));
    }

    #[test]
    fn a_complaint_is_told_by_its_first_line() {
        let told = with_complaint(Exit::Exited(4), "\n  no words \nin it\n");
        assert_eq!(told.to_string(), "exited with code 4: no words");
        assert_eq!(told.exit(), Some(Exit::Exited(4)));
        let told = with_complaint(Exit::Exited(4), "\n");
        assert_eq!(told.to_string(), "exited with code 4");
    }
}
