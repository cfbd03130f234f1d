//! The one public error: opaque, with a predicate for each case that a caller may want to tell
//! apart.
//!
//! Messages name the thing and say what to do about it. Failures of single items are not errors of
//! a call; they are a [`Cause`](crate::Cause) in an item's history.

use std::fmt;
use std::io;
use std::sync::Arc;

use dishrack_core::ledger::{Failure, ItemId, Refusal};

/// The error of a call; the `is_*` predicates tell its cases apart.
///
/// `Debug` gives the same sentence as `Display`, because a program shows that if its `main` returns
/// the error.
///
/// # Example
///
/// ```
/// let queue = dishrack::JoinableQueue::<u32>::bounded(1);
/// assert!(queue.try_get().is_err_and(|error| error.is_empty()));
/// queue.try_put(&1)?;
/// let error = queue.try_put(&2).unwrap_err();
/// assert!(error.is_full() && !error.is_closed());
/// // So a `main` that returns it shows it.
/// assert_eq!(format!("Error: {error:?}"), "Error: the queue is full");
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] pub(crate) Kind);

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Kind {
    /// The queue has refused it.
    #[error("{}", in_words(*refusal, why))]
    Refused {
        refusal: Refusal,
        /// The reason of the failure that it reports, if it reports one.
        why: String,
    },
    #[error("task_done was called more often than this thread got items that were not cancelled")]
    TaskDoneTooOften,
    #[error("the queue was resumed while its pause was waited for")]
    Resumed,
    #[error(
        "the queue is paused, and after the time given there are workers that have not said what \
         they have begun: {workers}; it stays paused"
    )]
    StillBeginning { workers: String },
    #[error("{what} could not be changed as asked: {why}")]
    NotChanged { what: &'static str, why: String },
    #[error("the time given is over, and {what} are being changed still; that goes on")]
    ChangeTimedOut { what: &'static str },
    #[error("the time given is over, and item {id} has no end yet")]
    ItemTimedOut { id: ItemId },
    #[error("this delivery was settled before, or its item was handed to another worker")]
    Stale,
    #[error(
        "nobody ever worked on this queue, and nobody can: this program has no other thread that \
         could start a worker or get; {unfinished} items are unfinished; start a Supervisor before \
         waiting"
    )]
    NeverServed { unfinished: u64 },
    #[error("a {type_name} does not serialize, so it was not put: {why}")]
    NotSerializable {
        type_name: &'static str,
        why: String,
    },
    #[error("an item was not put: {0}")]
    NoSharedMemory(NoSharedMemory),
    #[error("{0}")]
    SharedUnusable(String),
    #[error("control socket {0}")]
    ControlUnusable(String),
    #[error("cannot attach to {path}: {why}")]
    NotAttached {
        path: String,
        is_busy: bool,
        why: String,
    },
    #[error("{0}")]
    JournalAccess(String),
    #[error("the supervisor of this worker is gone")]
    SupervisorGone,
    #[error("the process that has this queue cannot be reached any more: {why}")]
    OwnerGone { why: String },
    #[error(
        "dishrack::serve was not called: call it first thing in main, so that worker processes \
         can be started from this program"
    )]
    NotServed,
    #[error("{role} is not served: name it in dishrack::serve, first thing in main")]
    UnknownRole { role: &'static str },
    #[error(
        "{role} captures variables, which cannot reach another process: use a plain function, \
         and put what it needs into the items"
    )]
    Captures { role: &'static str },
    #[error("{option}: {why}")]
    Invalid { option: &'static str, why: String },
    #[error(
        "{workers} workers need {needed} file descriptors and only {limit} are allowed: {fit} \
         workers would fit; ask for fewer, or raise the limit (ulimit -n)"
    )]
    TooFewFiles {
        workers: usize,
        needed: u64,
        limit: u64,
        fit: u64,
    },
    #[error("worker processes need {what}: {why}")]
    Lacking { what: &'static str, why: String },
    #[error("journal {path}: {why}")]
    JournalUnusable { path: String, why: String },
    #[error("{doing} failed: {source}")]
    Io {
        doing: &'static str,
        source: Arc<io::Error>,
    },
}

/// There is no shared memory for a payload; the words say what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoSharedMemory(pub(crate) String);

impl Kind {
    /// Makes the error for a refusal; `why` is the reason of the failure that it reports.
    pub(crate) fn of(refusal: Refusal, why: impl Into<String>) -> Kind {
        let why = why.into();
        Kind::Refused { refusal, why }
    }

    fn refusal(&self) -> Option<Refusal> {
        match self {
            Kind::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.refusal() == Some(Refusal::Full)
    }

    /// Returns `true` if it is about one item alone, so the next one may still be put.
    pub(crate) fn is_of_one_item(&self) -> bool {
        let is_refused_alone = matches!(
            self.refusal(),
            Some(
                Refusal::TooLarge { .. }
                    | Refusal::UnknownItem(_)
                    | Refusal::DeadItem(_)
                    | Refusal::Duplicate { .. }
            )
        );
        is_refused_alone || matches!(self, Kind::NotSerializable { .. } | Kind::NoSharedMemory(_))
    }

    /// Returns the item that has the unique key of the one that was refused for that.
    pub(crate) fn duplicate_of(&self) -> Option<ItemId> {
        match self.refusal() {
            Some(Refusal::Duplicate { of }) => Some(of),
            _ => None,
        }
    }

    pub(crate) fn invalid(option: &'static str, why: impl Into<String>) -> Kind {
        let why = why.into();
        Kind::Invalid { option, why }
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Kind {
        move |source| Kind::Io {
            doing,
            source: Arc::new(source),
        }
    }
}

impl From<Refusal> for Kind {
    /// Makes the error for a refusal that reports no failure.
    fn from(refusal: Refusal) -> Kind {
        Kind::of(refusal, "")
    }
}

/// Says what is wrong with a queue's own books.
pub(crate) fn contradiction(why: &str) -> String {
    format!("internal error: {why}; nothing more is done; please report this")
}

fn in_words(refusal: Refusal, why: &str) -> String {
    match refusal {
        Refusal::Full => "the queue is full".into(),
        Refusal::Empty => "the queue is empty".into(),
        Refusal::Closed => "the queue is closed".into(),
        Refusal::TimedOut { unfinished } => {
            format!("the time given for join is over and {unfinished} items are unfinished")
        }
        Refusal::NoWorkersLeft { unfinished } => {
            format!("no workers left ({why}); {unfinished} items are unfinished")
        }
        Refusal::WaitsForItself => {
            "join would wait for ever: this worker holds an item of the queue it joins".into()
        }
        Refusal::TooLarge { bytes, bytes_max } => format!(
            "an item of {bytes} bytes was not put: its queue, or the way there, takes {bytes_max} at most"
        ),
        Refusal::JournalFailed => {
            format!("the journal failed, so nothing more is accepted or told: {why}")
        }
        Refusal::StreamFailed | Refusal::NotTaken => why.to_owned(),
        Refusal::Inconsistent => contradiction(why),
        Refusal::UnknownItem(id) => {
            format!("there is no item {id}, so nothing can begin after it")
        }
        Refusal::DeadItem(id) => {
            format!("item {id} was given up, so what is to begin after it never would")
        }
        Refusal::Duplicate { of } => {
            format!("it is a duplicate of item {of}, which has its unique key")
        }
    }
}

impl Error {
    /// Returns `true` if a put found no room, at once or in the time given.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Returns `true` if an item was not put because what it is to begin
    /// [after](crate::Builder::after) is a dead letter, or was never put.
    #[must_use]
    pub fn is_dependency(&self) -> bool {
        let refusal = self.0.refusal();
        matches!(
            refusal,
            Some(Refusal::UnknownItem(_) | Refusal::DeadItem(_))
        )
    }

    /// Returns the item that stands for one that was not put, because it has its
    /// [unique key](crate::Builder::unique).
    #[must_use]
    pub fn duplicate_of(&self) -> Option<ItemId> {
        self.0.duplicate_of()
    }

    /// Returns `true` if a get found no item, at once or in the time given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.refusal() == Some(Refusal::Empty)
    }

    /// Returns `true` if the queue was closed; or, in a worker's own loop, if its supervisor is
    /// stopping that worker.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.refusal() == Some(Refusal::Closed)
    }

    /// Returns `true` if a call's time was over before what it waits for: that every item was
    /// settled, or one of them; that a pause has begun, or workers have come, gone or been replaced.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.0,
            Kind::StillBeginning { .. } | Kind::ItemTimedOut { .. } | Kind::ChangeTimedOut { .. }
        ) || matches!(self.0.refusal(), Some(Refusal::TimedOut { .. }))
    }

    /// Returns `true` if somebody ended a pause while another caller waited for its beginning.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        matches!(self.0, Kind::Resumed)
    }

    /// Returns `true` if `task_done` was called more often than items were got.
    #[must_use]
    pub fn is_task_done_too_often(&self) -> bool {
        matches!(self.0, Kind::TaskDoneTooOften)
    }

    /// Returns `true` if a delivery was settled twice, or after its item went to another holder.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self.0, Kind::Stale)
    }

    /// Returns `true` if all workers are gone for good while items are unfinished, or are too few for
    /// copies to agree; or there never were any and none can come.
    #[must_use]
    pub fn is_no_workers_left(&self) -> bool {
        matches!(self.0, Kind::NeverServed { .. })
            || matches!(self.0.refusal(), Some(Refusal::NoWorkersLeft { .. }))
    }

    /// Returns `true` if the number of workers could not be changed, or not all could be replaced:
    /// new ones were given up, another change was asked for meanwhile, or the supervisor is being
    /// stopped.
    #[must_use]
    pub fn is_not_changed(&self) -> bool {
        matches!(self.0, Kind::NotChanged { .. })
    }

    /// Returns `true` if the item does not serialize, or is too large for the journal; it was not
    /// put.
    #[must_use]
    pub fn is_not_serializable(&self) -> bool {
        matches!(self.0, Kind::NotSerializable { .. })
            || matches!(self.0.refusal(), Some(Refusal::TooLarge { .. }))
    }

    /// Returns `true` if there is no shared memory for a large item; it was not put. The message
    /// says which limit to raise.
    #[must_use]
    pub fn is_no_shared_memory(&self) -> bool {
        matches!(self.0, Kind::NoSharedMemory(_))
    }

    /// Returns `true` if the journal cannot be used or has failed. Its contents are kept; see the
    /// message.
    #[must_use]
    pub fn is_journal(&self) -> bool {
        matches!(
            self.0,
            Kind::JournalAccess(_) | Kind::JournalUnusable { .. }
        ) || self.0.refusal() == Some(Refusal::JournalFailed)
    }

    /// Returns `true` if a queue that several supervisors share cannot be used, has failed, or does
    /// not take an item. The message says what became of its items.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.0, Kind::SharedUnusable(_))
            || matches!(
                self.0.refusal(),
                Some(Refusal::StreamFailed | Refusal::NotTaken)
            )
    }

    /// Returns `true` if the queue's own books do not agree, or one of its threads has panicked, which is a bug of
    /// this library or of an observer: nothing more is accepted, handed out or told. What a journal or a stream
    /// has is for the next program.
    #[must_use]
    pub fn is_inconsistent(&self) -> bool {
        self.0.refusal() == Some(Refusal::Inconsistent)
    }

    /// Returns `true` if a worker process found that its supervisor is gone, or a client that the
    /// process which has the queue is.
    #[must_use]
    pub fn is_supervisor_gone(&self) -> bool {
        matches!(self.0, Kind::SupervisorGone | Kind::OwnerGone { .. })
    }

    /// Returns `true` if as many programs are attached as may be: try again later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.0, Kind::NotAttached { is_busy: true, .. })
    }

    /// Returns `true` if the call cannot work as it was set up: an invalid option, a function that
    /// is not served, too few file descriptors, an unusable temporary folder, a system call that is
    /// refused.
    #[must_use]
    pub fn is_setup(&self) -> bool {
        matches!(
            self.0,
            Kind::NotServed
                | Kind::UnknownRole { .. }
                | Kind::Captures { .. }
                | Kind::Invalid { .. }
                | Kind::TooFewFiles { .. }
                | Kind::Lacking { .. }
                | Kind::Io { .. }
                | Kind::JournalUnusable { .. }
                | Kind::SharedUnusable(_)
                | Kind::ControlUnusable(_)
                | Kind::NotAttached { is_busy: false, .. }
        )
    }
}

/// The reason why an item of a `map` has no result. As with [`Error`], `Debug` gives the same as
/// `Display`.
///
/// An item that the queue does not have is given back; for one that the queue has, there is its
/// number.
///
/// # Example
///
/// ```
/// use dishrack::{ItemError, JoinableQueue, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().inline().handler(&queue, |n: u32| Ok::<_, String>(n + 1))?;
/// queue.close();
/// let results: Vec<_> = pool.map([4]).collect();
/// assert!(matches!(results[0], Err(ItemError::NotAccepted { item: 4, .. })));
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum ItemError<T> {
    /// It is a dead letter: every attempt failed, and this is its history.
    Dead {
        /// The item's number; see [`retry_dead_letter`](crate::JoinableQueue::retry_dead_letter).
        id: crate::ItemId,
        /// Every failed attempt, oldest first.
        history: Vec<Failure>,
    },
    /// It was not accepted.
    NotAccepted {
        /// The item itself.
        item: T,
        /// The reason of the refusal.
        error: Error,
    },
    /// It was accepted, and no result will come: all workers are gone, or its store has failed.
    NoResult(Error),
    /// It is done, but the result's bytes do not decode.
    NotDecodable(String),
}

impl<T> fmt::Display for ItemError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ItemError::Dead { id, history } => {
                match Failure::begun(history) {
                    0 => write!(f, "item {id} was not begun")?,
                    attempts => write!(f, "item {id} failed {attempts} times")?,
                }
                match history.last() {
                    Some(failure) => write!(f, ", at last: {}", failure.cause),
                    None => Ok(()),
                }
            }
            ItemError::NotAccepted { error, .. } => {
                write!(f, "the item was not accepted: {error}")
            }
            ItemError::NoResult(error) => write!(f, "no result will come: {error}"),
            ItemError::NotDecodable(why) => write!(f, "the result does not decode: {why}"),
        }
    }
}

impl<T> std::error::Error for ItemError<T> {}

impl<T> fmt::Debug for ItemError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standard library prints the error of `main` by `Debug`.
    #[test]
    fn what_main_returns_is_a_sentence() {
        let error = Error::from(Kind::NotServed);
        assert_eq!(format!("{error:?}"), error.to_string());
        assert!(error.to_string().contains("call it first thing in main"));
        let error = ItemError::NotAccepted {
            item: "cup",
            error: Kind::from(Refusal::Closed).into(),
        };
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
