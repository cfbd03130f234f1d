//! The causes of a failed attempt: plain data with words for people. Nothing here asks the system
//! anything.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::ItemId;
use super::exit::{Exit, SIGHUP, SIGINT, SIGKILL, SIGTERM};

/// The cause of a failed attempt at an item. Journals keep it, so new cases go to the end.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::{Cause, Exit};
/// let killed = Cause::WorkerDied(Exit::Signaled(9));
/// assert!(killed.is_loss() && killed.to_string() == "killed by SIGKILL");
/// let refused = Cause::Nack("it has a crack".into());
/// assert!(!refused.is_loss() && !refused.is_final());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// The worker process ended while it held the item.
    WorkerDied(Exit),
    /// The worker refused the item, or its handler returned this error.
    Nack(String),
    /// The handler panicked with this message.
    Panicked(String),
    /// The delivery was dropped without `task_done` or `nack`.
    Dropped,
    /// The item's bytes did not decode to the worker's type.
    Undecodable(String),
    /// The handler's result could not be serialized.
    Unserializable(String),
    /// The item could not be brought to a worker.
    Undeliverable(String),
    /// It took longer than this, so it was ended.
    TimedOut(Duration),
    /// The kernel killed the worker process for lack of memory.
    OutOfMemory,
    /// It was cancelled.
    Cancelled,
    /// The supervisors that held it were lost with it this many times, so it may be their killer.
    LostTooOften(u64),
    /// Another process killed what the worker ran for it, by this signal.
    Killed {
        /// The signal's number.
        signal: i32,
        /// The event, in words.
        what: String,
    },
    /// It was begun, and the machine had no room for its output.
    NoRoom(String),
    /// It cannot be run, now or later.
    Unrunnable(String),
    /// The program that the worker ran for it ended with 128 and this signal's number: the exit
    /// code by which programs say that the signal has asked them to end.
    AskedToEnd {
        /// The signal's number.
        signal: i32,
        /// The event, in words.
        what: String,
    },
    /// The command that was run for it ended in this way by its own doing, or could not be run this
    /// time; then `exit` is what a shell says of that.
    CommandFailed {
        /// The command's end.
        exit: Exit,
        /// The command's own message, or an empty text.
        complaint: String,
    },
    /// The command cannot be run for this item, now or later.
    CommandUnrunnable {
        /// The end that a shell reports in this case.
        exit: Exit,
        /// The reason.
        complaint: String,
    },
    /// The process that was to serve the item ended without an answer, by its own doing.
    Unanswered {
        /// The process's end.
        exit: Exit,
        /// True if it had answered before.
        has_answered: bool,
    },
    /// Several copies were made, and no result came of them that counts.
    Copies {
        /// The number of copies that had to agree.
        needed: u32,
        /// The word of each of them, in the order of their ends.
        copies: Vec<CopySaid>,
    },
    /// The process that got it from elsewhere is gone: its connection ended while it held the item.
    Disconnected,
    /// It used more memory than this many bytes, so it was ended.
    MemoryLimit(u64),
    /// It was killed for memory, also when nothing ran beside it: by the kernel, or because it used
    /// more than this many bytes.
    OutOfMemoryAlone(Option<u64>),
    /// Its deadline came before it was begun, or begun again.
    DeadlinePassed,
    /// It was to begin after this item, which is a dead letter.
    DependencyFailed(ItemId),
}

/// The word of one of several copies of an item.
///
/// ```
/// # let copies = r#"[{"copy": 1, "worker": "adder-1", "pid": 41, "said": {"Ok": "4"}},
/// #     {"copy": 2, "worker": "adder-2", "pid": 42, "said": {"Err": "Dropped"}}]"#;
/// # let copies: Vec<dishrack_core::ledger::CopySaid> = serde_json::from_str(copies).unwrap();
/// let answered = copies.iter().filter(|copy| copy.said.is_ok()).map(|copy| &*copy.worker);
/// assert_eq!(answered.collect::<Vec<_>>(), ["adder-1"]);
/// assert_eq!(copies[0].to_string(), "adder-1 (pid 41) says 4");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CopySaid {
    /// Its number, from 1.
    pub copy: u32,
    /// Its worker's name.
    pub worker: String,
    /// Its worker's process; 0 if it is not known.
    pub pid: u32,
    /// Its result in a few words, or the cause of its failure.
    pub said: Result<String, Cause>,
}

/// The text in a cause, to read or to change.
macro_rules! text_in {
    ($cause:expr) => {
        match $cause {
            Cause::Nack(text)
            | Cause::Panicked(text)
            | Cause::Undecodable(text)
            | Cause::Unserializable(text)
            | Cause::Undeliverable(text)
            | Cause::NoRoom(text)
            | Cause::Unrunnable(text)
            | Cause::Killed { what: text, .. }
            | Cause::AskedToEnd { what: text, .. }
            | Cause::CommandFailed {
                complaint: text, ..
            }
            | Cause::CommandUnrunnable {
                complaint: text, ..
            } => Some(text),
            Cause::WorkerDied(_)
            | Cause::Dropped
            | Cause::TimedOut(_)
            | Cause::OutOfMemory
            | Cause::Cancelled
            | Cause::LostTooOften(_)
            | Cause::Unanswered { .. }
            | Cause::Copies { .. }
            | Cause::Disconnected
            | Cause::MemoryLimit(_)
            | Cause::OutOfMemoryAlone(_)
            | Cause::DeadlinePassed
            | Cause::DependencyFailed(_) => None,
        }
    };
}

impl Cause {
    /// Returns `true` if the attempt was lost rather than failed: something from outside ended it,
    /// its worker died, or the machine had no room for it. Where
    /// [`max_lost_attempts`](super::Options::max_lost_attempts) says so, these are counted apart.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            Cause::Copies { copies, .. } => copies.iter().all(|copy| copy.failed(Cause::is_loss)),
            Cause::WorkerDied(_)
            | Cause::OutOfMemory
            | Cause::Killed { .. }
            | Cause::NoRoom(_)
            | Cause::LostTooOften(_)
            | Cause::Disconnected
            | Cause::MemoryLimit(_)
            | Cause::OutOfMemoryAlone(_) => true,
            Cause::Nack(_)
            | Cause::Panicked(_)
            | Cause::Dropped
            | Cause::Undecodable(_)
            | Cause::Unserializable(_)
            | Cause::Undeliverable(_)
            | Cause::TimedOut(_)
            | Cause::Cancelled
            | Cause::Unrunnable(_)
            | Cause::AskedToEnd { .. }
            | Cause::CommandFailed { .. }
            | Cause::CommandUnrunnable { .. }
            | Cause::DeadlinePassed
            | Cause::DependencyFailed(_)
            | Cause::Unanswered { .. } => false,
        }
    }

    /// Returns `true` if another attempt would end in the same way, so that none is made.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Cause::Copies { copies, .. } => copies.iter().any(|copy| copy.failed(Cause::is_final)),
            Cause::Unrunnable(_)
            | Cause::CommandUnrunnable { .. }
            | Cause::Cancelled
            | Cause::LostTooOften(_)
            | Cause::DeadlinePassed
            | Cause::DependencyFailed(_)
            | Cause::OutOfMemoryAlone(_) => true,
            Cause::WorkerDied(_)
            | Cause::Nack(_)
            | Cause::Panicked(_)
            | Cause::Dropped
            | Cause::Undecodable(_)
            | Cause::Unserializable(_)
            | Cause::Undeliverable(_)
            | Cause::TimedOut(_)
            | Cause::OutOfMemory
            | Cause::Killed { .. }
            | Cause::NoRoom(_)
            | Cause::AskedToEnd { .. }
            | Cause::CommandFailed { .. }
            | Cause::Unanswered { .. }
            | Cause::Disconnected
            | Cause::MemoryLimit(_) => false,
        }
    }

    /// Returns the end of the command or the process that worked on the item, if the cause tells. A
    /// process that overran its time was sent `SIGTERM`.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self {
            Cause::Copies { copies, .. } => {
                let causes = copies.iter().filter_map(|copy| copy.said.as_ref().err());
                causes.filter_map(Cause::exit).next()
            }
            Cause::WorkerDied(exit)
            | Cause::CommandFailed { exit, .. }
            | Cause::CommandUnrunnable { exit, .. } => Some(*exit),
            Cause::OutOfMemory | Cause::MemoryLimit(_) | Cause::OutOfMemoryAlone(_) => {
                Some(Exit::Signaled(SIGKILL))
            }
            Cause::TimedOut(_) => Some(Exit::Signaled(SIGTERM)),
            Cause::Killed { signal, .. } => Some(Exit::Signaled(*signal)),
            Cause::AskedToEnd { signal, .. } => Some(Exit::Exited(signal.saturating_add(128))),
            // A process that serves many items may exit with 0 while it works on one, which must
            // not be taken for the item's success.
            Cause::Unanswered { .. }
            | Cause::Nack(_)
            | Cause::Panicked(_)
            | Cause::Dropped
            | Cause::Undecodable(_)
            | Cause::Unserializable(_)
            | Cause::Undeliverable(_)
            | Cause::Cancelled
            | Cause::LostTooOften(_)
            | Cause::NoRoom(_)
            | Cause::Unrunnable(_)
            | Cause::DeadlinePassed
            | Cause::DependencyFailed(_)
            | Cause::Disconnected => None,
        }
    }

    /// Returns `true` if a worker can know this cause of an attempt that it made. The supervisor
    /// determines all other causes.
    #[doc(hidden)]
    #[must_use]
    pub fn is_a_workers_word(&self) -> bool {
        match self {
            Cause::Nack(_)
            | Cause::Panicked(_)
            | Cause::Dropped
            | Cause::Undecodable(_)
            | Cause::Unserializable(_)
            | Cause::OutOfMemory
            | Cause::Killed { .. }
            | Cause::NoRoom(_)
            | Cause::Unrunnable(_)
            | Cause::AskedToEnd { .. }
            | Cause::CommandFailed { .. }
            | Cause::CommandUnrunnable { .. }
            | Cause::Unanswered { .. } => true,
            Cause::WorkerDied(_)
            | Cause::Undeliverable(_)
            | Cause::TimedOut(_)
            | Cause::Cancelled
            | Cause::LostTooOften(_)
            | Cause::Copies { .. }
            | Cause::Disconnected
            | Cause::MemoryLimit(_)
            | Cause::DeadlinePassed
            | Cause::DependencyFailed(_)
            | Cause::OutOfMemoryAlone(_) => false,
        }
    }

    /// Returns `true` if a command came to its end and failed by its own doing, so that what it
    /// printed is its answer.
    #[doc(hidden)]
    #[must_use]
    pub fn is_of_a_command(&self) -> bool {
        matches!(self, Cause::CommandFailed { .. } | Cause::AskedToEnd { .. })
    }

    /// Returns `true` if it is the item's own failure, in which copies can agree: a worker's word,
    /// and no accident from outside.
    pub(super) fn is_a_vote(&self) -> bool {
        self.is_a_workers_word() && !self.is_loss()
    }

    /// Returns the text in it, if it has one.
    #[doc(hidden)]
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        text_in!(self).map(String::as_str)
    }

    /// Returns the text in it, to be changed.
    #[doc(hidden)]
    pub fn text_mut(&mut self) -> Option<&mut String> {
        text_in!(self)
    }

    /// Returns the signal that ended the attempt, if one did that may have come from outside.
    fn signal(&self) -> Option<i32> {
        match self {
            Cause::WorkerDied(Exit::Signaled(signal))
            | Cause::Killed { signal, .. }
            | Cause::AskedToEnd { signal, .. } => Some(*signal),
            Cause::WorkerDied(Exit::Exited(_) | Exit::Unknown)
            | Cause::Nack(_)
            | Cause::Panicked(_)
            | Cause::Dropped
            | Cause::Undecodable(_)
            | Cause::Unserializable(_)
            | Cause::Undeliverable(_)
            | Cause::TimedOut(_)
            | Cause::OutOfMemory
            | Cause::DeadlinePassed
            | Cause::DependencyFailed(_)
            | Cause::Cancelled
            | Cause::LostTooOften(_)
            | Cause::NoRoom(_)
            | Cause::Unrunnable(_)
            | Cause::CommandFailed { .. }
            | Cause::CommandUnrunnable { .. }
            | Cause::Unanswered { .. }
            | Cause::Copies { .. }
            | Cause::Disconnected
            | Cause::MemoryLimit(_)
            | Cause::OutOfMemoryAlone(_) => None,
        }
    }

    /// Returns `true` if a stop of a whole run may have ended it: a signal that asks to end.
    pub(super) fn may_be_of_a_stop(&self) -> bool {
        if let Cause::Copies { copies, .. } = self {
            return copies
                .iter()
                .all(|copy| copy.failed(Cause::may_be_of_a_stop));
        }
        let asking = [SIGTERM, SIGINT, SIGHUP];
        self.signal().is_some_and(|signal| asking.contains(&signal))
    }

    /// Returns `true` if this is the end of an attempt in a run that is being stopped, where a
    /// caller that waits no longer may kill all of it.
    pub(super) fn is_of_a_stop(&self) -> bool {
        if let Cause::Copies { copies, .. } = self {
            return copies.iter().all(|copy| copy.failed(Cause::is_of_a_stop));
        }
        self.may_be_of_a_stop() || self.signal() == Some(SIGKILL)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::WorkerDied(exit) => exit.fmt(f),
            Cause::Nack(reason) => f.write_str(reason),
            Cause::Panicked(message) => write!(f, "panicked: {message}"),
            Cause::Dropped => f.write_str("dropped without task_done"),
            Cause::Undecodable(why) => write!(f, "does not decode: {why}"),
            Cause::Undeliverable(why) => write!(f, "cannot be brought to a worker: {why}"),
            Cause::Unserializable(why) => write!(f, "its result does not serialize: {why}"),
            Cause::TimedOut(limit) => write!(f, "took longer than its time limit of {limit:?}"),
            Cause::OutOfMemory => f.write_str("killed by the kernel, which was out of memory"),
            Cause::MemoryLimit(limit) => {
                write!(
                    f,
                    "used more memory than its limit of {}",
                    WholeSize(*limit)
                )
            }
            Cause::OutOfMemoryAlone(limit) => {
                f.write_str("killed for memory, also when it ran alone")?;
                limit.map_or(Ok(()), |limit| {
                    let limit = WholeSize(limit);
                    write!(f, ": it used more than its limit of {limit}")
                })
            }
            Cause::Cancelled => f.write_str("cancelled"),
            Cause::DeadlinePassed => f.write_str("its deadline came before it was begun"),
            Cause::DependencyFailed(on) => {
                write!(
                    f,
                    "dependency failed: item {on}, after which it was to begin, is a dead letter"
                )
            }
            Cause::Disconnected => f.write_str("the process that got it is gone"),
            Cause::LostTooOften(losses) => write!(f, "was lost with its supervisor {losses} times"),
            Cause::Killed { what, .. } | Cause::AskedToEnd { what, .. } => f.write_str(what),
            Cause::NoRoom(why) | Cause::Unrunnable(why) => f.write_str(why),
            Cause::CommandFailed { exit, complaint }
            | Cause::CommandUnrunnable { exit, complaint } => match complaint.is_empty() {
                true => exit.fmt(f),
                false => write!(f, "{exit}: {complaint}"),
            },
            Cause::Copies { needed, copies } => {
                match (*needed, copies.len()) {
                    (1, count) => write!(f, "all {count} copies failed")?,
                    (needed, count) if count < needed as usize => {
                        write!(f, "no {needed} copies can agree any more")?;
                    }
                    (needed, count) => write!(f, "no {needed} of {count} copies agree")?,
                }
                let mut mark = ": ";
                for copy in copies {
                    write!(f, "{mark}{copy}")?;
                    mark = "; ";
                }
                Ok(())
            }
            Cause::Unanswered {
                exit,
                has_answered: true,
            } => write!(f, "its process ended without an answer: {exit}"),
            Cause::Unanswered {
                exit,
                has_answered: false,
            } => write!(f, "its process ended before it ever answered: {exit}"),
        }
    }
}

/// A number of bytes, in the largest unit in which it is a whole number.
struct WholeSize(u64);

impl fmt::Display for WholeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let is_whole = |(bits, _): &(u32, &str)| self.0 > 0 && self.0.trailing_zeros() >= *bits;
        match units.into_iter().find(is_whole) {
            Some((bits, unit)) => write!(f, "{} {unit}", self.0 >> bits),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl CopySaid {
    fn failed(&self, is_so: impl Fn(&Cause) -> bool) -> bool {
        self.said.as_ref().is_err_and(is_so)
    }
}

impl fmt::Display for CopySaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CopySaid {
            copy,
            worker,
            pid,
            said,
        } = self;
        match (worker.is_empty(), pid) {
            (true, _) => write!(f, "copy {copy}")?,
            (false, 0) => write!(f, "{worker}")?,
            (false, pid) => write!(f, "{worker} (pid {pid})")?,
        }
        match said {
            Ok(result) => write!(f, " says {result}"),
            Err(cause) => write!(f, " failed, {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::format;
    use alloc::string::ToString;

    /// Causes in journals of the builds up to November 2026 are read as they were written, byte by
    /// byte.
    #[test]
    fn causes_in_older_journals_are_what_they_were() {
        let words = || "x".to_owned();
        let (signal, what) = (9, words());
        let killed = Cause::Killed { signal, what };
        let (signal, what) = (15, words());
        let asked = Cause::AskedToEnd { signal, what };
        let kept: [(&[u8], Cause); 20] = [
            (&[0, 0, 6], Cause::WorkerDied(Exit::Exited(3))),
            (&[0, 1, 18], Cause::WorkerDied(Exit::Signaled(9))),
            (&[0, 2], Cause::WorkerDied(Exit::Unknown)),
            (&[1, 1, b'x'], Cause::Nack(words())),
            (&[2, 1, b'x'], Cause::Panicked(words())),
            (&[3], Cause::Dropped),
            (&[4, 1, b'x'], Cause::Undecodable(words())),
            (&[5, 1, b'x'], Cause::Unserializable(words())),
            (&[6, 1, b'x'], Cause::Undeliverable(words())),
            (&[7, 1, 5], Cause::TimedOut(Duration::new(1, 5))),
            (&[8], Cause::OutOfMemory),
            (&[9], Cause::Cancelled),
            (&[10, 16], Cause::LostTooOften(16)),
            (&[11, 18, 1, b'x'], killed),
            (&[12, 1, b'x'], Cause::NoRoom(words())),
            (&[13, 1, b'x'], Cause::Unrunnable(words())),
            (&[14, 30, 1, b'x'], asked),
            (&[20, 7], Cause::MemoryLimit(7)),
            (&[21, 0], Cause::OutOfMemoryAlone(None)),
            (&[21, 1, 7], Cause::OutOfMemoryAlone(Some(7))),
        ];
        for (bytes, cause) in kept {
            assert_eq!(postcard::from_bytes(bytes), Ok(cause.clone()));
            assert_eq!(postcard::to_allocvec(&cause).unwrap(), bytes);
        }
    }

    #[test]
    fn a_commands_exit_is_told_as_it_always_was() {
        let exit = Exit::Exited(3);
        let failed = |complaint: &str| Cause::CommandFailed {
            exit,
            complaint: complaint.to_owned(),
        };
        assert_eq!(failed("").to_string(), "exited with code 3");
        assert_eq!(
            failed("no words").to_string(),
            "exited with code 3: no words"
        );
        assert_eq!(failed("no words").exit(), Some(exit));
        let signal = i32::MAX;
        let what = String::new();
        // A worker's message may hold anything and must not cause a panic.
        let exit = Cause::AskedToEnd { signal, what }.exit();
        assert_eq!(exit, Some(Exit::Exited(i32::MAX)));
    }

    #[test]
    fn a_limit_of_memory_is_told_in_whole_units() {
        let told = |bytes| Cause::MemoryLimit(bytes).to_string();
        let words = "used more memory than its limit of ";
        for (bytes, size) in [
            (0, "0 bytes"),
            (1000, "1000 bytes"),
            (3 << 10, "3 KiB"),
            (400 << 20, "400 MiB"),
            (1 << 40, "1024 GiB"),
        ] {
            assert_eq!(told(bytes), format!("{words}{size}"));
        }
    }
}
