//! The meaning of an attempt's end for its item: the command failed by its own doing, was ended by
//! another process, could not begin because the machine lacks something, or never can.

use std::fs;
use std::io;

use nix::libc;
use parking_lot::{Mutex, MutexGuard};

use super::command::{CommandWords, Surroundings};
use super::ending;
use crate::handler::attempt::Setback;
use crate::supervision::oom::OomCounter;
use dishrack_core::ledger::{Cause, Exit};

/// The signals that a process gets by its own doing: from a fault, a limit or a timer of its own, a
/// closed pipe, or `abort`. All others are taken to come from another process.
const OWN_SIGNALS: [i32; 13] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGSYS,
];

/// The signals that ask a program to end. One that cleans up first exits with 128 and the number.
const ASKING_SIGNALS: [i32; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// The exit code by which a shell says that SIGKILL has ended what it has run.
const KILLED_BELOW: i32 = 128 + libc::SIGKILL;

/// The errors by which the kernel says that it lacks something.
const LACKS: [i32; 6] = [
    libc::EAGAIN,
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOMEM,
    libc::ENOSPC,
    libc::EDQUOT,
];

pub(super) fn failed(why: impl ToString) -> Setback {
    Setback::Failed(Cause::Nack(why.to_string()))
}

/// Makes the setback of a failure that every attempt would repeat.
pub(super) fn final_(why: impl ToString) -> Setback {
    Setback::Failed(Cause::Unrunnable(why.to_string()))
}

/// Makes the setback for something that could not be done for a command.
pub(super) fn of_machine(what: &str, error: &io::Error) -> Setback {
    let why = format!("{what}: {error}");
    match is_lack(error) {
        true => Setback::Short(why),
        false => failed(why),
    }
}

fn is_lack(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|errno| LACKS.contains(&errno))
}

/// Makes the setback for a command that could not be started.
pub(super) fn of_start(
    words: &CommandWords<'_>,
    surroundings: &Surroundings<'_>,
    error: &io::Error,
) -> Setback {
    let name = words.name().display();
    // The folder of all items existed when the run began.
    let shared = surroundings
        .workdir
        .filter(|_| !surroundings.is_own_workdir);
    let is_folder_gone = shared.is_some_and(|folder| fs::read_dir(folder).is_err());
    if is_lack(error) || is_folder_gone {
        return Setback::Short(format!("{name} cannot be started: {error}"));
    }
    let (exit, complaint) = ending::not_run(words.name(), error);
    Setback::Failed(match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => {
            Cause::CommandUnrunnable { exit, complaint }
        }
        _ => Cause::CommandFailed { exit, complaint },
    })
}

/// Makes the result of a command that has ended.
pub(super) fn of_exit(exit: Exit, memory: &MemoryWatch) -> Result<(), Setback> {
    match exit.is_success() {
        true => Ok(()),
        false => {
            let complaint = String::new();
            let own = Cause::CommandFailed { exit, complaint };
            Err(of_end(exit, own, memory))
        }
    }
}

/// Makes the setback for a process that ended too early; `own` is the cause if it was its own
/// doing.
pub(super) fn of_end(exit: Exit, own: Cause, memory: &MemoryWatch) -> Setback {
    Setback::Failed(match exit {
        // A shell says so of what it has run.
        Exit::Signaled(libc::SIGKILL) | Exit::Exited(KILLED_BELOW) if memory.was_short() => {
            Cause::OutOfMemory
        }
        Exit::Signaled(signal) if !OWN_SIGNALS.contains(&signal) => Cause::Killed {
            signal,
            what: own.to_string(),
        },
        Exit::Exited(code) if ASKING_SIGNALS.contains(&(code - 128)) => Cause::AskedToEnd {
            signal: code - 128,
            what: own.to_string(),
        },
        Exit::Exited(_) | Exit::Signaled(_) | Exit::Unknown => own,
    })
}

/// Notices that the kernel kills for lack of memory while a command runs.
#[derive(Debug)]
pub(super) struct MemoryWatch;

static COUNTER: Mutex<Option<OomCounter>> = Mutex::new(None);

fn counter() -> MutexGuard<'static, Option<OomCounter>> {
    COUNTER.lock()
}

impl MemoryWatch {
    pub(super) fn begin() -> Self {
        counter().get_or_insert_with(OomCounter::new).has_risen();
        MemoryWatch
    }

    fn was_short(&self) -> bool {
        counter().as_mut().is_some_and(OomCounter::has_risen)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::path::Path;

    use super::*;

    fn of_errno(errno: i32) -> Setback {
        let name: [OsString; 1] = ["x".into()];
        let words = CommandWords {
            program: None,
            words: &name,
        };
        let surroundings = Surroundings {
            environment: Vec::new(),
            workdir: None,
            is_own_workdir: false,
        };
        of_start(&words, &surroundings, &io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn what_the_machine_lacks_is_no_failure() {
        for errno in LACKS {
            let Setback::Short(why) = of_errno(errno) else {
                panic!("{errno} is a failure");
            };
            assert!(why.starts_with("x cannot be started: "), "{why}");
        }
    }

    #[test]
    fn what_cannot_change_is_final_and_what_may_is_not() {
        let is_final = |errno| match of_errno(errno) {
            Setback::Failed(cause) => cause.is_final(),
            Setback::Short(_) => false,
        };
        assert!(is_final(libc::E2BIG));
        assert!(!is_final(libc::ENOENT) && !is_final(libc::EACCES));
    }

    #[test]
    fn a_folder_that_is_gone_is_no_failure_of_the_command() {
        let name: [OsString; 1] = ["x".into()];
        let words = CommandWords {
            program: Some(OsStr::new("/bin/true")),
            words: &name,
        };
        let surroundings = Surroundings {
            environment: Vec::new(),
            workdir: Some(Path::new("/nowhere/at/all")),
            is_own_workdir: false,
        };
        let error = io::Error::other("no working directory /nowhere/at/all");
        let Setback::Short(why) = of_start(&words, &surroundings, &error) else {
            panic!("it is a failure");
        };
        assert!(why.contains("/nowhere/at/all"), "{why}");
        // One that only this item needs stops no other one.
        let own = Surroundings {
            is_own_workdir: true,
            ..surroundings
        };
        let failed = of_start(&words, &own, &error);
        assert!(
            matches!(failed, Setback::Failed(cause) if cause.exit() == Some(Exit::Exited(126)))
        );
    }

    #[test]
    fn the_exit_code_of_one_that_was_asked_to_end_says_so_and_is_kept() {
        for (code, signal) in [
            (129, libc::SIGHUP),
            (130, libc::SIGINT),
            (143, libc::SIGTERM),
        ] {
            let exit = Exit::Exited(code);
            let Err(Setback::Failed(cause)) = of_exit(exit, &MemoryWatch) else {
                panic!("{code} is no failure");
            };
            assert!(matches!(cause, Cause::AskedToEnd { signal: found, .. } if found == signal));
            assert_eq!(cause.exit(), Some(exit));
        }
    }

    #[test]
    fn a_command_fails_by_its_own_doing_or_is_lost_by_somebody_elses() {
        let is_loss = |exit| match of_exit(exit, &MemoryWatch) {
            Err(Setback::Failed(cause)) => cause.is_loss(),
            other => panic!("{other:?}"),
        };
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            assert!(is_loss(Exit::Signaled(signal)), "{signal}");
        }
        for signal in OWN_SIGNALS {
            assert!(!is_loss(Exit::Signaled(signal)), "{signal}");
        }
        for code in [1, 129, 130, 137, 143] {
            assert!(!is_loss(Exit::Exited(code)), "{code}");
        }
        assert_eq!(of_exit(Exit::Exited(0), &MemoryWatch), Ok(()));
    }
}
