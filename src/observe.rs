//! The visible side of a run: one event type, and one point where events are emitted.
//!
//! An observer gets every event in the order in which it became known. Each display of a run (text,
//! JSON, a status line) is a fold over these events in a file of its own, and changes nothing.

mod emitter;
pub(crate) mod item;
mod json;
mod mode;
#[cfg(any(feature = "cli", feature = "control"))]
pub(crate) mod progress;
#[cfg(feature = "cli")]
pub(crate) mod spans;
#[cfg(feature = "cli")]
pub(crate) mod text;
#[cfg(feature = "cli")]
pub(crate) mod timeline;
#[cfg(feature = "cli")]
pub(crate) mod trace;
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) mod words;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub(crate) use self::emitter::Emitter;
pub use self::mode::Mode;
use dishrack_core::ledger::{Cause, CopyEnd, Counts, Exit, Failure, ItemId};

/// An event and its time. As JSON it is what the command prints, but for the chapter's words of
/// dishes; `docs/events.md` has the names and fields.
///
/// ```
/// # use dishrack::{JoinableQueue, observe::{Event, Observer}};
/// # #[derive(Debug)] struct Passing(std::sync::mpsc::Sender<Event>);
/// # impl Observer for Passing { fn observe(&self, event: Event) { drop(self.0.send(event)); } }
/// # let (sender, events) = std::sync::mpsc::channel();
/// # let queue = JoinableQueue::<u32>::unbounded();
/// # queue.set_observer(std::sync::Arc::new(Passing(sender))).and_then(|()| queue.pause()).unwrap();
/// let event: Event = events.recv().unwrap(); // An observer has passed it on.
/// assert!(serde_json::to_string(&event).unwrap().starts_with(r#"{"event":"paused","t_us":"#));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// The event.
    #[serde(flatten)]
    pub kind: EventKind,
    /// The time since the queue was made.
    #[serde(rename = "t_us", serialize_with = "json::micros_of")]
    pub at: Duration,
}

/// The kinds of events. An `item` is named by the supervisor's `name_items`, or `item-` and number.
///
/// ```
/// # use dishrack::observe::EventKind;
/// fn log_line(kind: &EventKind) -> Option<String> {
///     match kind {
///         EventKind::ItemDone { item, worker, .. } => Some(format!("{worker} has done {item}")),
///         EventKind::Dead { item, history, .. } => Some(format!("{item}: {} failures", history.len())),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A run began.
    #[non_exhaustive]
    Started {
        /// The supervisor's process.
        pid: u32,
        /// The kind of its workers.
        mode: Mode,
        /// The number of workers.
        workers: usize,
    },
    /// A worker is ready.
    #[non_exhaustive]
    WorkerStarted {
        /// Its name.
        worker: Arc<str>,
        /// Its process.
        pid: u32,
    },
    /// A producer began to make an item.
    #[non_exhaustive]
    Producing {
        /// The item's name.
        item: String,
        /// The producer's process.
        pid: u32,
    },
    /// A producer made an item, and puts it on the queue next.
    #[non_exhaustive]
    Produced {
        /// The item's name.
        item: String,
        /// The producer's process.
        pid: u32,
    },
    /// A producer was stopped before an item was made.
    #[non_exhaustive]
    NotProduced {
        /// The item's name.
        item: String,
        /// The producer's process.
        pid: u32,
    },
    /// An item was put on this queue: of a stream, by this process or by what is attached to it. What others
    /// put there is told in their processes. An item of a stream may be begun before this is told.
    #[non_exhaustive]
    Put {
        /// The item.
        #[serde(rename = "number")]
        id: ItemId,
    },
    /// A worker began to work on an item.
    #[serde(rename = "running")]
    #[non_exhaustive]
    ItemStarted {
        /// The item's name.
        item: String,
        /// The item.
        #[serde(rename = "number")]
        id: ItemId,
        /// The worker's name.
        worker: Arc<str>,
        /// The worker's process.
        pid: u32,
        /// The number of this attempt.
        attempt: u32,
        /// The number of this copy, if others may run the same attempt.
        #[serde(skip_serializing_if = "Option::is_none")]
        copy: Option<u32>,
    },
    /// One of several copies of an item has ended. What follows from that comes next.
    #[serde(rename = "copy")]
    #[non_exhaustive]
    CopyEnded {
        /// The item's name.
        item: String,
        /// The item.
        #[serde(rename = "number")]
        id: ItemId,
        /// The number of this attempt.
        attempt: u32,
        /// The number of this copy: 1 for the first.
        copy: u32,
        /// The greatest number of copies.
        of: u32,
        /// The worker's name.
        worker: Arc<str>,
        /// The worker's process.
        pid: u32,
        /// Its end.
        #[serde(flatten, serialize_with = "json::copy_end")]
        end: Arc<CopyEnd>,
        /// The cause, if it failed.
        #[serde(
            serialize_with = "json::cause_if",
            skip_serializing_if = "Option::is_none"
        )]
        cause: Option<Arc<Cause>>,
        /// The time that the worker took; `None` if it did not come to an end.
        #[serde(
            rename = "duration_us",
            serialize_with = "json::micros_if",
            skip_serializing_if = "Option::is_none"
        )]
        duration: Option<Duration>,
        /// The time at which that was heard, since 1970 (UTC).
        #[serde(skip)]
        ended: Duration,
    },
    /// A worker acknowledged an item.
    #[serde(rename = "done")]
    #[non_exhaustive]
    ItemDone {
        /// The item.
        #[serde(skip)]
        id: ItemId,
        /// The item's name.
        item: String,
        /// The worker's name.
        worker: Arc<str>,
        /// The worker's process.
        pid: u32,
        /// The number of this attempt.
        attempt: u32,
        /// The time that the worker took.
        #[serde(rename = "duration_us", serialize_with = "json::micros_of")]
        duration: Duration,
        /// The time at which that was heard, since 1970 (UTC).
        #[serde(skip)]
        ended: Duration,
    },
    /// An attempt failed and another one follows.
    #[non_exhaustive]
    Retry {
        /// The item.
        #[serde(skip)]
        id: ItemId,
        /// The item's name.
        item: String,
        /// The failed attempt with its cause, worker and time.
        #[serde(flatten, serialize_with = "json::failure")]
        failure: Arc<Failure>,
    },
    /// The last attempt failed: the item is a dead letter.
    #[non_exhaustive]
    Dead {
        /// The item.
        #[serde(skip)]
        id: ItemId,
        /// The item's name.
        item: String,
        /// Every failed attempt, oldest first.
        #[serde(flatten, serialize_with = "json::history")]
        history: Arc<[Failure]>,
    },
    /// A worker process ended.
    #[non_exhaustive]
    WorkerExited {
        /// Its name.
        worker: Arc<str>,
        /// Its process.
        pid: u32,
        /// The item that it had started and not settled.
        holding: Option<String>,
        /// The end of its process.
        #[serde(flatten, serialize_with = "json::exit")]
        exit: Exit,
        /// True if it had to end: its supervisor was stopping, or its item was cancelled.
        #[serde(skip)]
        is_asked: bool,
    },
    /// A worker could not be started, or ended before it was ready to work.
    #[non_exhaustive]
    WorkerFailedToStart {
        /// Its name.
        worker: Arc<str>,
        /// Its process, if there was one.
        pid: Option<u32>,
        /// The reason.
        why: String,
    },
    /// A worker was ended because its supervisor could not understand or reach it any more.
    #[non_exhaustive]
    WorkerFailed {
        /// Its name.
        worker: Arc<str>,
        /// The reason.
        why: String,
    },
    /// A worker is not started again: it has failed too often.
    #[non_exhaustive]
    WorkerGivenUp {
        /// Its name.
        worker: Arc<str>,
        /// The reason.
        why: String,
    },
    /// Another one takes a worker's place: it has reached a bound, or all are being replaced.
    #[non_exhaustive]
    WorkerReplaced {
        /// Its name.
        worker: Arc<str>,
        /// Its process.
        pid: u32,
        /// The reason.
        why: String,
    },
    /// An item takes longer than its time limit, and its worker is asked to end.
    #[non_exhaustive]
    TimeLimit {
        /// The item's name.
        item: String,
        /// The worker's name.
        worker: Arc<str>,
        /// The worker's process.
        pid: u32,
    },
    /// An item uses more memory than its limit, and its worker is killed.
    #[non_exhaustive]
    MemoryLimit {
        /// The item's name.
        item: String,
        /// The worker's name.
        worker: Arc<str>,
        /// The worker's process.
        pid: u32,
        /// The memory that it was seen to use, in bytes.
        bytes: u64,
    },
    /// All workers were given up, or those that are left are too few for copies to agree: nothing
    /// more will be done.
    #[non_exhaustive]
    NoWorkersLeft {
        /// The reason.
        why: String,
    },
    /// There are as many workers now as were asked for.
    #[non_exhaustive]
    Scaled {
        /// The number of workers.
        workers: usize,
    },
    /// The queue is paused: nothing more is handed out, and what is begun goes on.
    #[non_exhaustive]
    Paused,
    /// A pause is over.
    #[non_exhaustive]
    Resumed,
    /// The journal failed: nothing more is accepted or told.
    #[non_exhaustive]
    JournalFailed {
        /// The reason.
        why: String,
    },
    /// News of the store, the stream or the machine's resources, in words. The work goes on.
    #[non_exhaustive]
    Notice {
        /// The notice.
        why: String,
    },
    /// The queue's own books do not agree, or one of its threads has panicked: a bug in this library, or in an
    /// observer. Nothing more is accepted, handed out or told
    /// ([`Error::is_inconsistent`](crate::Error::is_inconsistent)).
    #[non_exhaustive]
    Inconsistent {
        /// The contradiction, or the thread and its panic, in words.
        why: String,
    },
    /// A run is over.
    #[non_exhaustive]
    Summary {
        /// The final counts.
        #[serde(flatten, serialize_with = "json::counts")]
        counts: Counts,
        /// The number of times that workers were started again.
        restarts: u64,
        /// The time that the run took.
        #[serde(rename = "elapsed_us", serialize_with = "json::micros_of")]
        elapsed: Duration,
    },
}

/// The subject of an event, by which it is shown or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// A step of an item on its way.
    Step,
    /// The run and its means: people are told of it where programs read the events, too.
    Run,
    /// Anything else: people read of it in the lines of items, the summary or the run's error.
    Other,
}

impl EventKind {
    /// Returns `true` for the events of single items, which [`Observer::wants_items`] asks for.
    #[must_use]
    pub fn is_of_item(&self) -> bool {
        self.subject() == Subject::Step
    }

    /// Returns `true` if people should be told as well where programs read the events: it is about
    /// the run and not about one of its items.
    #[must_use]
    pub fn is_of_run(&self) -> bool {
        self.subject() == Subject::Run
    }

    fn subject(&self) -> Subject {
        match self {
            // A wrong answer is an accident, which everybody is told of.
            EventKind::CopyEnded { end, .. } if matches!(**end, CopyEnd::Disagreed { .. }) => {
                Subject::Other
            }
            EventKind::Producing { .. }
            | EventKind::Produced { .. }
            | EventKind::NotProduced { .. }
            | EventKind::Put { .. }
            | EventKind::ItemStarted { .. }
            | EventKind::CopyEnded { .. }
            | EventKind::ItemDone { .. } => Subject::Step,
            EventKind::Retry { .. }
            | EventKind::Dead { .. }
            | EventKind::WorkerExited { .. }
            | EventKind::WorkerReplaced { .. }
            | EventKind::TimeLimit { .. }
            | EventKind::MemoryLimit { .. }
            | EventKind::WorkerStarted { .. }
            | EventKind::Started { .. }
            | EventKind::NoWorkersLeft { .. }
            | EventKind::Scaled { .. }
            | EventKind::Paused
            | EventKind::Resumed
            | EventKind::JournalFailed { .. }
            | EventKind::Inconsistent { .. }
            | EventKind::Summary { .. } => Subject::Other,
            EventKind::WorkerFailedToStart { .. }
            | EventKind::WorkerFailed { .. }
            | EventKind::WorkerGivenUp { .. }
            | EventKind::Notice { .. } => Subject::Run,
        }
    }
}

/// Gets every event. It is called with the queue's lock held: pass the event on and return.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
/// use dishrack::{JoinableQueue, observe::{Event, EventKind, Observer}};
/// #[derive(Debug, Default)]
/// struct Ended(AtomicU64);
/// impl Observer for Ended {
///     fn observe(&self, event: Event) {
///         let is_end = matches!(event.kind, EventKind::ItemDone { .. } | EventKind::Dead { .. });
///         self.0.fetch_add(is_end.into(), Relaxed);
///     }
/// }
/// let (ended, queue) = (Arc::new(Ended::default()), JoinableQueue::<u32>::unbounded());
/// queue.set_observer(ended.clone())?;
/// queue.put(&7).and_then(|_| queue.get()?.task_done())?;
/// assert_eq!(ended.0.load(Relaxed), 1);
/// # Ok::<(), dishrack::Error>(())
/// ```
pub trait Observer: Send + Sync + fmt::Debug {
    /// Returns `true` to get the events of single items: `Producing`, `Produced`, `NotProduced`,
    /// `ItemStarted`, `CopyEnded` and `ItemDone`. They cost time for every item.
    fn wants_items(&self) -> bool {
        true
    }

    /// Returns `true` to get [`EventKind::Put`] as well, which few need.
    fn wants_puts(&self) -> bool {
        false
    }

    /// Gets an event. A panic in here ends the queue
    /// ([`Error::is_inconsistent`](crate::Error::is_inconsistent)), because nobody knows then what was told.
    fn observe(&self, event: Event);

    /// Returns `true` if enough was seen; asked after an item became a dead letter. From then on
    /// nothing more is handed out, and begun work may be finished.
    fn is_enough(&self) -> bool {
        false
    }

    /// Gets the new counts, after every batch.
    fn progress(&self, _counts: &Counts) {}
}

/// Returns the first letters of a text, with an ellipsis if there were more.
pub(crate) fn clipped(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A time as JSON has it.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the reason why an item was given up on, in words.
pub(crate) fn last_cause(history: &[Failure]) -> String {
    let last = history.last().map(|failure| failure.cause.to_string());
    last.unwrap_or_default()
}
