//! The end of a command in the words in which a worker tells it, and their reading.
//!
//! A refusal carries only words for people, so the words are the form. A command that could not be
//! run has the codes that a shell gives it: 127 if it does not exist, 126 if it cannot be executed.

use std::ffi::OsStr;
use std::io;

use nix::libc;
use nix::sys::signal::Signal;

use dishrack_core::ledger::{Cause, Exit};

const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Returns the words for a command that could not be run.
pub(super) fn not_run(program: &OsStr, error: &io::Error) -> String {
    let program = program.display();
    let (code, why) = match error.raw_os_error() {
        Some(libc::ENOENT) => (NOT_FOUND, "command not found".to_owned()),
        Some(libc::E2BIG) => (
            NOT_EXECUTABLE,
            "too long for an argument: --stdin has no limit".to_owned(),
        ),
        _ => (NOT_EXECUTABLE, error.to_string()),
    };
    format!("{}: {program}: {why}", Exit::Exited(code))
}

/// The greatest length of a complaint that is told with the exit code.
const COMPLAINT_CHARS: usize = 200;

/// Returns the words for an exit, with the first line of the complaint.
pub(super) fn with_complaint(exit: Exit, complaint: &str) -> String {
    let line = complaint.lines().find(|line| !line.trim().is_empty());
    match line {
        Some(line) => {
            let line: String = line.trim().chars().take(COMPLAINT_CHARS).collect();
            format!("{exit}: {line}")
        }
        None => exit.to_string(),
    }
}

/// Returns the end of a failed attempt's command, as far as its cause tells.
pub(crate) fn of_cause(cause: &Cause) -> Option<Exit> {
    match cause {
        Cause::WorkerDied(exit) => Some(*exit),
        Cause::OutOfMemory => Some(Exit::Signaled(libc::SIGKILL)),
        Cause::TimedOut(_) => Some(Exit::Signaled(libc::SIGTERM)),
        Cause::Killed { signal, .. } => Some(Exit::Signaled(*signal)),
        Cause::Nack(words) | Cause::Unrunnable(words) | Cause::AskedToEnd { what: words, .. } => {
            parse(words)
        }
        _ => None,
    }
}

fn parse(words: &str) -> Option<Exit> {
    if let Some(rest) = words.strip_prefix("exited with code ") {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        return digits.parse().ok().map(Exit::Exited);
    }
    let name = words.strip_prefix("killed by ")?;
    match name.strip_prefix("signal ") {
        Some(number) => number.parse().ok().map(Exit::Signaled),
        None => {
            let signal: Signal = name.parse().ok()?;
            Some(Exit::Signaled(signal as i32))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        let exits = (0..256).map(Exit::Exited);
        for exit in exits.chain((1..65).map(Exit::Signaled)) {
            assert_eq!(parse(&exit.to_string()), Some(exit));
        }
    }

    #[test]
    fn a_command_that_could_not_be_run_has_a_shells_code() {
        let why = |errno| not_run(OsStr::new("x"), &io::Error::from_raw_os_error(errno));
        assert_eq!(
            why(libc::ENOENT),
            "exited with code 127: x: command not found"
        );
        assert_eq!(parse(&why(libc::ENOENT)), Some(Exit::Exited(127)));
        assert_eq!(parse(&why(libc::EACCES)), Some(Exit::Exited(126)));
        assert!(why(libc::E2BIG).contains("--stdin"));
    }

    #[test]
    fn a_complaint_is_told_by_its_first_line() {
        let told = with_complaint(Exit::Exited(4), "\n  no words \nin it\n");
        assert_eq!(told, "exited with code 4: no words");
        assert_eq!(parse(&told), Some(Exit::Exited(4)));
        assert_eq!(with_complaint(Exit::Exited(4), "\n"), "exited with code 4");
    }

    #[test]
    fn other_words_tell_nothing() {
        for words in [
            "",
            "killed by SIGNOBODY",
            "exited with code",
            "it has a crack",
        ] {
            assert_eq!(parse(words), None, "{words}");
        }
    }
}
