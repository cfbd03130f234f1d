//! What items may run at the same time, which go first, and how fast: keys, slots, priorities and a rate.
//! The ledger decides.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::broker::Broker;
use crate::error::Kind;
use crate::handler::attempt::decode;
use crate::observe::Mode;
use crate::payload::envelope::Envelope;
use dishrack_core::ledger::{OrderRules, Rank, Rate};

use super::Builder;

/// The number of items of a key that may run, and what makes an item's key, as a number.
pub(super) type Keys = (u32, Arc<dyn Fn(&[u8]) -> Option<u64> + Send + Sync>);

/// What says an item's priority.
pub(super) type Priorities = Arc<dyn Fn(&[u8]) -> Option<i8> + Send + Sync>;

/// The greatest number of slots: more than there can be workers.
const SLOTS_MAX: u32 = 65_535;

impl Builder {
    /// Lends each item that runs one of so many slots, numbered from 1, of which no other item has the
    /// same meanwhile: [`slot`](crate::slot) says which. So no more items run at a time than there are
    /// slots, and workers get none in advance. A slot is free again when its item is settled, or its
    /// worker is dead. What [`get`](crate::JoinableQueue::get) takes in this process has none.
    #[must_use]
    pub fn slots(mut self, count: u32) -> Self {
        self.slots = Some(count);
        self
    }

    /// Has at most `most` items of one key be with workers at the same time; others pass them by. With
    /// 1, a key's items are run in their order, and one that failed keeps its turn until it is tried
    /// again. The keys stay with the queue when the supervisor is gone.
    ///
    /// `key` is called with the queue's lock held: it must be quick, and must not use the queue. Items
    /// for which it panics have no key.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let rack = JoinableQueue::<(String, u32)>::unbounded();
    /// let pool = Supervisor::builder()
    ///     .threads(4)
    ///     .per_key(1, |(user, _): &(String, u32)| user.clone())
    ///     .handler(&rack, |_dish: (String, u32)| Ok::<(), String>(()))?;
    /// for n in 0..10 {
    ///     rack.put(&(format!("user-{}", n % 3), n))?;
    /// }
    /// assert_eq!(rack.join()?.done, 10);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn per_key<T, K>(self, most: u32, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self
    where
        T: DeserializeOwned,
        K: Hash,
    {
        self.per_raw_key(most, move |body| Some(key(&decode::<T>(body).ok()?)))
    }

    /// The same for keys of serialized items, of which some have none.
    pub(crate) fn per_raw_key<K: Hash>(
        mut self,
        most: u32,
        key: impl Fn(&[u8]) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        let key = move |body: &[u8]| {
            let key = catch_unwind(AssertUnwindSafe(|| key(body))).ok()??;
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            Some(hasher.finish())
        };
        self.keys = Some((most, Arc::new(key)));
        self
    }

    /// Hands items with a greater priority out first, of the same one in their order. So that none waits
    /// for ever, a priority that was passed over 32 times in a row by higher ones is served once. The
    /// priorities stay with the queue when the supervisor is gone.
    ///
    /// `priority` is called with the queue's lock held, as the key of [`per_key`](Self::per_key) is. Items
    /// for which it panics have priority 0.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let rack = JoinableQueue::<(i8, String)>::unbounded();
    /// let pool = Supervisor::builder()
    ///     .threads(1)
    ///     .priority(|(priority, _): &(i8, String)| *priority)
    ///     .handler(&rack, |_dish: (i8, String)| Ok::<(), String>(()))?;
    /// rack.put(&(-5, "pan".into()))?;
    /// rack.put(&(10, "baby bottle".into()))?;
    /// assert_eq!(rack.join()?.done, 2);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn priority<T: DeserializeOwned>(
        self,
        priority: impl Fn(&T) -> i8 + Send + Sync + 'static,
    ) -> Self {
        self.raw_priority(move |body| Some(priority(&decode::<T>(body).ok()?)))
    }

    /// The same for serialized items, of which some have priority 0.
    pub(crate) fn raw_priority(
        mut self,
        priority: impl Fn(&[u8]) -> Option<i8> + Send + Sync + 'static,
    ) -> Self {
        let priority = move |body: &[u8]| catch_unwind(AssertUnwindSafe(|| priority(body))).ok()?;
        self.priority = Some(Arc::new(priority));
        self
    }

    /// Begins no more items than this rate allows, each attempt one of them: see [`Rate`]. Workers get no
    /// item in advance then. Where several supervisors share a queue, each has its own. Threads that
    /// take items by themselves are not held back.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use dishrack::{Rate, Supervisor};
    ///
    /// let polite = Rate::new(10, Duration::from_secs(1)).burst(5);
    /// let builder = Supervisor::builder().processes(8).rate(polite);
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Checks that the queue and these workers can keep to it. `is_loop`: they take items themselves.
    pub(super) fn check_limits(&self, broker: &Broker, is_loop: bool) -> Result<(), Kind> {
        let (has_order, copies) = broker.read(|core| {
            let ledger = &core.dispatcher.ledger;
            (ledger.has_order(), ledger.policy())
        });
        let copies = self.copies.or(copies);
        let has_copies = copies.is_some_and(|copies| copies.count() > 1);
        let mode = self.mode;
        let faults = [
            ("slots", self.slots == Some(0), "0: nothing could run"),
            (
                "slots",
                self.slots.is_some_and(|count| count > SLOTS_MAX),
                "there cannot be more than 65,535",
            ),
            (
                "slots",
                self.slots.is_some() && (is_loop || mode != Mode::Processes),
                "are lent to a handler in a worker process: use processes and a handler",
            ),
            (
                "slots",
                self.slots.is_some() && has_copies,
                "an item that has a slot runs once: copies are not for it",
            ),
            (
                "per_key",
                self.keys.as_ref().is_some_and(|(most, _)| *most == 0),
                "0: nothing could run",
            ),
            (
                "priority",
                self.priority.is_some() && has_copies,
                "an item that has a priority runs once: copies are not for it",
            ),
            (
                "priority",
                self.priority.is_some() && broker.storage.shared().is_some(),
                "a queue on Redis hands items out in its own order: use a local queue, or a journal",
            ),
            (
                "priority",
                self.priority.is_some() && has_order,
                "this queue's items have keys or priorities already",
            ),
            (
                "rate",
                self.rate.is_some() && mode == Mode::Sequential,
                "whoever puts and joins does the work, and is not held back: use threads",
            ),
            (
                "per_key",
                self.keys.is_some() && has_copies,
                "an item that has a key runs once: copies are not for it",
            ),
            (
                "per_key",
                self.keys.is_some() && broker.storage.shared().is_some(),
                "nobody knows which keys of a queue on Redis run elsewhere: use a local queue, or a \
                 journal",
            ),
            (
                "per_key",
                self.keys.is_some() && has_order,
                "this queue's items have keys or priorities already",
            ),
        ];
        match faults.into_iter().find(|(_, is_fault, _)| *is_fault) {
            Some((option, _, why)) => Err(Kind::invalid(option, why)),
            None => Ok(()),
        }
    }

    /// Tells the queue of keys, priorities, slots and the rate.
    pub(super) fn choose_limits(&self, broker: &Broker) {
        if self.keys.is_some() || self.priority.is_some() {
            let (keys, priority) = (self.keys.clone(), self.priority.clone());
            let most = keys.as_ref().map_or(u32::MAX, |(most, _)| *most);
            let rank = move |envelope: &Envelope| {
                let key = keys.as_ref().and_then(|(_, key)| key(&envelope.body));
                let priority = priority.as_ref().and_then(|of| of(&envelope.body));
                Rank::of_key(key).priority(priority.unwrap_or(0))
            };
            let rules = OrderRules::new(rank).per_key(most);
            broker.with(|core| core.dispatcher.ledger.handle_order(rules));
        }
        if let Some(rate) = self.rate {
            broker.with(|core| {
                let now = core.emitter.now();
                core.dispatcher.ledger.handle_rate(rate, now);
            });
        }
        if let Some(count) = self.slots {
            broker.with(|core| core.dispatcher.ledger.handle_slots(count));
        }
    }
}
