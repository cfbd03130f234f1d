//! What can be seen of a run: one event type and one point where events are emitted.
//!
//! An observer gets every event in the order in which it became known. Whatever shows a run (text,
//! JSON, a status line) is a fold over these events in a file of its own, and changes nothing.

#[cfg(feature = "cli")]
pub(crate) mod json;
#[cfg(feature = "cli")]
pub(crate) mod progress;
#[cfg(feature = "cli")]
pub(crate) mod spans;
#[cfg(feature = "cli")]
pub(crate) mod text;
#[cfg(feature = "cli")]
pub(crate) mod timeline;
#[cfg(feature = "cli")]
pub(crate) mod trace;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::sys::clock::monotonic_ns;
use dishrack_core::ledger::{Counts, Exit, Failure, ItemId};

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Time since the queue was made.
    pub at: Duration,
    /// What happened.
    pub kind: EventKind,
}

/// What happened. `item` is the item's name: what the supervisor's `name_items` makes of it, or
/// `item-` and its number.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// A run began.
    Started {
        /// The supervisor's process.
        pid: u32,
        /// How the workers run: `processes`, `threads`, `tasks` or `sequential`.
        mode: &'static str,
        /// How many there are.
        workers: usize,
    },
    /// A worker is ready.
    WorkerStarted {
        /// Its name.
        worker: Arc<str>,
        /// Its process.
        pid: u32,
    },
    /// A producer began to make an item.
    Producing {
        /// The item's name.
        item: String,
        /// The producer's process.
        pid: u32,
    },
    /// A producer made an item, and puts it on the queue next.
    Produced {
        /// The item's name.
        item: String,
        /// The producer's process.
        pid: u32,
    },
    /// A producer was stopped before an item was made.
    NotProduced {
        /// The item's name.
        item: String,
        /// The producer's process.
        pid: u32,
    },
    /// A worker began to work on an item.
    ItemStarted {
        /// Which item.
        id: ItemId,
        /// The item's name.
        item: String,
        /// The worker's name.
        worker: Arc<str>,
        /// The worker's process.
        pid: u32,
        /// Which attempt this is.
        attempt: u32,
    },
    /// A worker acknowledged an item.
    ItemDone {
        /// Which item.
        id: ItemId,
        /// The item's name.
        item: String,
        /// The worker's name.
        worker: Arc<str>,
        /// The worker's process.
        pid: u32,
        /// Which attempt this was.
        attempt: u32,
        /// How long the worker took.
        duration: Duration,
        /// When that was heard, in time since 1970 (UTC).
        ended: Duration,
    },
    /// An attempt failed and another one follows.
    Retry {
        /// Which item.
        id: ItemId,
        /// The item's name.
        item: String,
        /// The attempt that failed: why, where and when.
        failure: Arc<Failure>,
    },
    /// The last attempt failed: the item is a dead letter.
    Dead {
        /// Which item.
        id: ItemId,
        /// The item's name.
        item: String,
        /// Every failed attempt, oldest first.
        history: Arc<[Failure]>,
    },
    /// A worker process ended.
    WorkerExited {
        /// Its name.
        worker: Arc<str>,
        /// Its process.
        pid: u32,
        /// How it ended.
        exit: Exit,
        /// The item that it had started and not settled.
        holding: Option<String>,
        /// Its supervisor was stopping, so that it had to end.
        is_asked: bool,
    },
    /// A worker could not be started, or ended before it was ready to work.
    WorkerFailedToStart {
        /// Its name.
        worker: Arc<str>,
        /// Its process, if there was one.
        pid: Option<u32>,
        /// Why.
        why: String,
    },
    /// A worker was ended because its supervisor could not deal with it any more.
    WorkerFailed {
        /// Its name.
        worker: Arc<str>,
        /// Why.
        why: String,
    },
    /// A worker is not started again: it has failed too often.
    WorkerGivenUp {
        /// Its name.
        worker: Arc<str>,
        /// Why.
        why: String,
    },
    /// A worker has done as much as one should, and another one takes its place.
    WorkerReplaced {
        /// Its name.
        worker: Arc<str>,
        /// Its process.
        pid: u32,
        /// Which bound it has reached.
        why: String,
    },
    /// An item takes longer than its time limit, and its worker is asked to end.
    TimeLimit {
        /// The item's name.
        item: String,
        /// The worker's name.
        worker: Arc<str>,
        /// The worker's process.
        pid: u32,
    },
    /// All workers were given up on, and why: nothing more will be done.
    NoWorkersLeft {
        /// Why.
        why: String,
    },
    /// The journal failed, and why: nothing more is accepted or told.
    JournalFailed {
        /// Why.
        why: String,
    },
    /// Something happens to what keeps the items, or the machine lacks something or has it again: what
    /// people may want to know, in words. The work goes on.
    Notice {
        /// What it is.
        why: String,
    },
    /// The queue's own books do not agree, in words: a bug in this library.
    Inconsistent {
        /// What does not agree.
        why: String,
    },
    /// A run is over.
    Summary {
        /// Where the items are.
        counts: Counts,
        /// How many workers were started again.
        restarts: u64,
        /// How long the run took.
        elapsed: Duration,
    },
}

impl EventKind {
    /// Whether it is one of the events of single items that [`Observer::wants_items`] asks for.
    #[must_use]
    pub fn is_of_item(&self) -> bool {
        matches!(
            self,
            EventKind::Producing { .. }
                | EventKind::Produced { .. }
                | EventKind::NotProduced { .. }
                | EventKind::ItemStarted { .. }
                | EventKind::ItemDone { .. }
        )
    }
}

/// Gets every event. Called with the queue's lock held: hand the event on and return.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Whether the events of single items are wanted: `Producing`, `Produced`,
    /// `NotProduced`, `ItemStarted` and `ItemDone`.
    /// They cost time for every item.
    fn wants_items(&self) -> bool {
        true
    }

    /// Something happened.
    fn observe(&self, event: Event);

    /// Whether enough was seen: asked after an item was given up on. From then on nothing more is
    /// handed out, and what is in hand may be finished.
    fn is_enough(&self) -> bool {
        false
    }

    /// The counts changed. Called after every batch.
    fn progress(&self, _counts: &Counts) {}
}

/// The point where events are emitted, and the clock that stamps them.
#[derive(Clone)]
pub(crate) struct Emitter {
    observer: Option<Arc<dyn Observer>>,
    origin: Instant,
    origin_ns: u64,
    /// The same moment as time since 1970.
    origin_unix: Duration,
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter")
            .field("observer", &self.observer)
            .finish_non_exhaustive()
    }
}

impl Emitter {
    pub(crate) fn new() -> Self {
        Emitter {
            observer: None,
            origin: Instant::now(),
            origin_ns: monotonic_ns(),
            origin_unix: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    pub(crate) fn set_observer(&mut self, observer: Arc<dyn Observer>) {
        self.observer = Some(observer);
    }

    /// Time since the queue was made.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Now, as time since 1970. It never goes back.
    pub(crate) fn now_unix(&self) -> Duration {
        self.origin_unix + self.now()
    }

    /// A time of the machine's monotonic clock, as time since 1970.
    pub(crate) fn unix_of_ns(&self, at_ns: u64) -> Duration {
        (self.origin_unix + Duration::from_nanos(at_ns))
            .saturating_sub(Duration::from_nanos(self.origin_ns))
    }

    pub(crate) fn wants_items(&self) -> bool {
        self.observer.as_ref().is_some_and(|o| o.wants_items())
    }

    pub(crate) fn is_enough(&self) -> bool {
        self.observer.as_ref().is_some_and(|o| o.is_enough())
    }

    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    pub(crate) fn emit(&self, kind: EventKind) {
        self.emit_at(self.now(), kind);
    }

    fn emit_at(&self, at: Duration, kind: EventKind) {
        if let Some(observer) = &self.observer {
            observer.observe(Event { at, kind });
        }
    }

    /// Emits what another process saw at this time of the monotonic clock, which all processes of
    /// a machine share.
    pub(crate) fn emit_at_ns(&self, at_ns: u64, kind: EventKind) {
        let at = Duration::from_nanos(at_ns.saturating_sub(self.origin_ns));
        self.emit_at(at.min(self.now()), kind);
    }

    pub(crate) fn progress(&self, counts: &Counts) {
        if let Some(observer) = &self.observer {
            observer.progress(counts);
        }
    }
}

/// A time as JSON has it.
#[cfg(feature = "cli")]
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Why an item was given up on, in words.
#[cfg(feature = "cli")]
pub(crate) fn last_cause(history: &[Failure]) -> String {
    let last = history.last().map(|failure| failure.cause.to_string());
    last.unwrap_or_default()
}
