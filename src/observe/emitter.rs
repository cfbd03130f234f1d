//! The one point where a run's events are emitted, and the clock that stamps them. It does not know what they are
//! shown as.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::{Event, EventKind, Observer};
use crate::sys::clock::monotonic_ns;
use crate::sys::threads;
use dishrack_core::ledger::{Counts, ItemId};

/// The point where events are emitted, and the clock that stamps them.
#[derive(Clone)]
pub(crate) struct Emitter {
    observer: Option<Arc<dyn Observer>>,
    /// Those that listen for a while, beside the observer.
    listeners: Vec<Arc<dyn Observer>>,
    /// The panic of an observer, in words. It is the last thing that is heard of any.
    failure: Arc<OnceLock<String>>,
    origin: Instant,
    origin_ns: u64,
    /// The time of the origin since 1970.
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
            listeners: Vec::new(),
            failure: Arc::default(),
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

    /// Tells this one too, until it is removed.
    pub(crate) fn add_listener(&mut self, listener: Arc<dyn Observer>) {
        self.listeners.push(listener);
    }

    pub(crate) fn remove_listener(&mut self, listener: &Arc<dyn Observer>) {
        self.listeners.retain(|one| !Arc::ptr_eq(one, listener));
    }

    fn all(&self) -> impl Iterator<Item = &Arc<dyn Observer>> {
        self.observer.iter().chain(&self.listeners)
    }

    /// Returns the time since the queue was made.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Returns the present time since 1970. It never goes back.
    pub(crate) fn now_unix(&self) -> Duration {
        self.origin_unix + self.now()
    }

    /// Converts a time since the queue was made to the time since 1970.
    pub(crate) fn unix_at(&self, at: Duration) -> Duration {
        self.origin_unix.saturating_add(at)
    }

    /// Converts a time of the machine's monotonic clock to the time since 1970.
    pub(crate) fn unix_of_ns(&self, at_ns: u64) -> Duration {
        (self.origin_unix + Duration::from_nanos(at_ns))
            .saturating_sub(Duration::from_nanos(self.origin_ns))
    }

    pub(crate) fn wants_items(&self) -> bool {
        self.all().any(|observer| observer.wants_items())
    }

    pub(crate) fn is_enough(&self) -> bool {
        self.observer.as_ref().is_some_and(|o| o.is_enough())
    }

    pub(crate) fn is_observed(&self) -> bool {
        self.all().next().is_some()
    }

    /// Returns what is known of an observer that has panicked.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Calls observers. A panic of one does not come out of here, because whoever tells of something would
    /// be left half done.
    fn call(&self, call: impl FnOnce()) {
        if let Err(why) = threads::attempt(call) {
            // The first one is the cause of others.
            let _ = self.failure.set(why);
        }
    }

    pub(crate) fn emit(&self, kind: EventKind) {
        self.emit_at(self.now(), kind);
    }

    fn emit_at(&self, at: Duration, kind: EventKind) {
        let is_last = matches!(kind, EventKind::Inconsistent { .. });
        if !self.is_observed() || (self.failure().is_some() && !is_last) {
            return;
        }
        let event = Event { at, kind };
        let is_of_item = event.kind.is_of_item();
        let wants = |listener: &&Arc<dyn Observer>| !is_of_item || listener.wants_items();
        self.call(|| {
            for listener in self.listeners.iter().filter(wants) {
                listener.observe(event.clone());
            }
        });
        if let Some(observer) = &self.observer {
            self.call(|| observer.observe(event));
        }
    }

    /// Tells those who want to know of it that items were put at that time.
    pub(crate) fn emit_puts(&self, at: Duration, ids: impl Iterator<Item = ItemId>) {
        let wanting: Vec<_> = self.all().filter(|one| one.wants_puts()).collect();
        if wanting.is_empty() || self.failure().is_some() {
            return;
        }
        self.call(|| {
            for id in ids {
                for observer in &wanting {
                    let kind = EventKind::Put { id };
                    observer.observe(Event { at, kind });
                }
            }
        });
    }

    /// Emits an event of another process, with its time of the machine's monotonic clock.
    pub(crate) fn emit_at_ns(&self, at_ns: u64, kind: EventKind) {
        let at = Duration::from_nanos(at_ns.saturating_sub(self.origin_ns));
        self.emit_at(at.min(self.now()), kind);
    }

    pub(crate) fn progress(&self, counts: impl FnOnce() -> Counts) {
        if let Some(observer) = &self.observer
            && self.failure().is_none()
        {
            let counts = counts();
            self.call(|| observer.progress(&counts));
        }
    }
}
