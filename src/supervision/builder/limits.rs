//! Rules about what runs when: keys, priorities, times, slots and a rate. The ledger decides.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use crate::broker::Broker;
use crate::error::Kind;
use crate::handler::attempt::decode;
use crate::observe::Mode;
use crate::payload::envelope::Envelope;
use dishrack_core::ledger::{ItemId, OrderRules, Rank, Rate};

use super::Builder;

/// A function that says something of a serialized item, if there is something.
type Saying<S> = Arc<dyn Fn(&[u8]) -> Option<S> + Send + Sync>;

/// The rules of a pool.
#[derive(Clone, Default)]
pub(super) struct RunRules {
    slots: Option<u32>,
    rate: Option<Rate>,
    /// The number of items of a key that may run.
    per_key: Option<u32>,
    /// The key of an item, as a number.
    key: Option<Saying<u64>>,
    priority: Option<Saying<i8>>,
    /// Times since 1970.
    not_before: Option<Saying<Duration>>,
    deadline: Option<Saying<Duration>>,
    after: Option<Saying<Vec<ItemId>>>,
}

/// The greatest number of slots: more than there can be workers.
const SLOTS_MAX: u32 = 65_535;

impl Builder {
    /// Lends each item that runs one of so many slots, numbered from 1, of which no other item has the
    /// same meanwhile: [`slot`](crate::slot) says which. So no more items run at a time than there are
    /// slots, and workers get none in advance. A slot is free again when its item is settled, or its
    /// worker is dead. What [`get`](crate::JoinableQueue::get) takes in this process has none.
    #[must_use]
    pub fn slots(mut self, count: u32) -> Self {
        self.rules.slots = Some(count);
        self
    }

    /// Has at most `most` items of one key be with workers at the same time; others pass them by. An
    /// item without a key is not bounded. With 1, a key's items are run in their order, and one that
    /// failed keeps its turn until it is tried again. The keys stay with the queue when the supervisor is
    /// gone.
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
    ///     .per_key(1, |(user, _): &(String, u32)| Some(user.clone()))
    ///     .handler(&rack, |_dish: (String, u32)| Ok::<(), String>(()))?;
    /// for n in 0..10 {
    ///     rack.put(&(format!("user-{}", n % 3), n))?;
    /// }
    /// assert_eq!(rack.join()?.done, 10);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn per_key<T, K>(
        mut self,
        most: u32,
        key: impl Fn(&T) -> Option<K> + Send + Sync + 'static,
    ) -> Self
    where
        T: DeserializeOwned,
        K: Hash,
    {
        self.rules.per_key = Some(most);
        self.rules.key = Some(saying(move |item| {
            let mut hasher = DefaultHasher::new();
            key(item)?.hash(&mut hasher);
            Some(hasher.finish())
        }));
        self
    }

    /// Hands items with a greater priority out first, of the same one in their order. So that none waits
    /// for ever, a priority that was passed over 32 times in a row, while an item of it waited, is served once. The
    /// priorities stay with the queue when the supervisor is gone.
    ///
    /// `priority` is called as the key of [`per_key`](Self::per_key) is. Items for which it panics have
    /// priority 0.
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
        mut self,
        priority: impl Fn(&T) -> i8 + Send + Sync + 'static,
    ) -> Self {
        self.rules.priority = Some(saying(move |item| Some(priority(item))));
        self
    }

    /// Begins no item before this time; `None`: at once. Until then it rests, whatever is before or
    /// behind it, and then it goes to its place. `time` is called as the key of
    /// [`per_key`](Self::per_key) is.
    #[must_use]
    pub fn not_before<T: DeserializeOwned>(
        mut self,
        time: impl Fn(&T) -> Option<SystemTime> + Send + Sync + 'static,
    ) -> Self {
        self.rules.not_before = Some(saying(move |item| Some(since_1970(time(item)?))));
        self
    }

    /// Begins no item at this time or later: one that no worker has then is a dead letter
    /// ([`Cause::DeadlinePassed`](crate::Cause::DeadlinePassed)). One that a worker has goes on, and is given
    /// up if it comes back. `time` is called as the key of [`per_key`](Self::per_key) is.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let rack = JoinableQueue::<(String, SystemTime)>::unbounded();
    /// let pool = Supervisor::builder()
    ///     .threads(1)
    ///     .deadline(|(_, time): &(String, SystemTime)| Some(*time))
    ///     .handler(&rack, |_dish: (String, SystemTime)| Ok::<(), String>(()))?;
    /// rack.put(&("cold soup".into(), SystemTime::now() - Duration::from_secs(1)))?;
    /// rack.put(&("cake".into(), SystemTime::now() + Duration::from_secs(3600)))?;
    /// let joined = rack.join()?;
    /// assert_eq!((joined.done, joined.dead), (1, 1));
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn deadline<T: DeserializeOwned>(
        mut self,
        time: impl Fn(&T) -> Option<SystemTime> + Send + Sync + 'static,
    ) -> Self {
        self.rules.deadline = Some(saying(move |item| Some(since_1970(time(item)?))));
        self
    }

    /// Begins an item only when these others are done, which were put before it. If one of them is given
    /// up, cancelled ones too, so is the item
    /// ([`Cause::DependencyFailed`](crate::Cause::DependencyFailed)), and what is to begin after that; a put
    /// after a dead letter, or after an item that there never was, is refused
    /// ([`is_dependency`](crate::Error::is_dependency)). What was done counts as done, however long ago. A dead letter that was dropped
    /// counts as dead in the process that had it, and as done in later ones. `after` is called as the key
    /// of [`per_key`](Self::per_key) is.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{ItemId, JoinableQueue, Supervisor};
    ///
    /// let rack = JoinableQueue::<(String, Vec<ItemId>)>::unbounded();
    /// let pool = Supervisor::builder()
    ///     .threads(2)
    ///     .after(|(_, after): &(String, Vec<ItemId>)| after.clone())
    ///     .handler(&rack, |(dish, _): (String, Vec<ItemId>)| match dish.as_str() {
    ///         "broken cup" => Err("it is broken".to_owned()),
    ///         _ => Ok(()),
    ///     })?;
    /// let plate = rack.put(&("plate".into(), Vec::new()))?;
    /// let cup = rack.put(&("broken cup".into(), vec![plate]))?;
    /// rack.join()?;
    /// let refused = rack.put(&("saucer".into(), vec![plate, cup])).unwrap_err();
    /// assert!(refused.is_dependency());
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn after<T: DeserializeOwned>(
        mut self,
        after: impl Fn(&T) -> Vec<ItemId> + Send + Sync + 'static,
    ) -> Self {
        self.rules.after = Some(saying(move |item| Some(after(item))));
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
        self.rules.rate = Some(rate);
        self
    }

    /// Checks that the queue and these workers can keep to the rules. `is_loop`: they take items
    /// themselves.
    pub(super) fn check_limits(&self, broker: &Broker, is_loop: bool) -> Result<(), Kind> {
        let rules = &self.rules;
        let is_elsewhere = is_loop || self.mode != Mode::Processes;
        let faults = [
            ("slots", rules.slots == Some(0), "0: nothing could run"),
            (
                "slots",
                rules.slots.is_some_and(|count| count > SLOTS_MAX),
                "there cannot be more than 65,535",
            ),
            (
                "slots",
                rules.slots.is_some() && is_elsewhere,
                "are lent to a handler in a worker process: use processes and a handler",
            ),
            ("per_key", rules.per_key == Some(0), "0: nothing could run"),
            (
                "rate",
                rules.rate.is_some() && self.mode == Mode::Sequential,
                "whoever puts and joins does the work, and is not held back: use threads",
            ),
        ];
        refuse(faults)?;
        self.check_order(broker)
    }

    fn check_order(&self, broker: &Broker) -> Result<(), Kind> {
        let (has_order, copies) = broker.read(|core| {
            let ledger = &core.dispatcher.ledger;
            (ledger.has_order(), ledger.policy())
        });
        let copies = self.copies.or(copies);
        let has_copies = copies.is_some_and(|copies| copies.count() > 1);
        let is_shared = broker.storage.shared().is_some();
        let ordering = self.rules.ordering();
        let option = ordering.or(self.rules.slots.map(|_| "slots"));
        refuse([
            (
                option.unwrap_or_default(),
                option.is_some() && has_copies,
                "an item that has a slot, a key, a priority or a time runs once: copies are not for it",
            ),
            (
                ordering.unwrap_or_default(),
                ordering.is_some() && is_shared,
                "a queue on Redis hands items out in its own order: use a local queue, or a journal",
            ),
            (
                ordering.unwrap_or_default(),
                ordering.is_some() && has_order,
                "this queue's items have keys, priorities, times or dependencies already",
            ),
        ])
    }

    /// Returns `true` if each item that is handed out counts, so that none is handed out in advance.
    pub(super) fn counts_starts(&self) -> bool {
        self.rules.slots.is_some() || self.rules.rate.is_some()
    }

    /// Tells the queue of the rules.
    pub(super) fn choose_limits(&self, broker: &Broker) {
        let rules = &self.rules;
        if rules.ordering().is_some() {
            let start = broker.read(|core| core.emitter.unix_at(Duration::ZERO));
            let (per_key, after) = (rules.per_key, rules.after.clone());
            let rules = rules.clone();
            let order = OrderRules::new(move |item: &Envelope| rules.rank(&item.body, start));
            let mut order = order.per_key(per_key.unwrap_or(u32::MAX));
            if let Some(after) = after {
                order = order.after(move |item| after(&item.body).unwrap_or_default());
            }
            broker.order_by(order);
        }
        if let Some(rate) = rules.rate {
            broker.keep_to(rate);
        }
        if let Some(count) = rules.slots {
            broker.lend_slots(count);
        }
    }
}

impl RunRules {
    /// Returns the first option by which items have ranks.
    fn ordering(&self) -> Option<&'static str> {
        let options = [
            ("per_key", self.key.is_some()),
            ("priority", self.priority.is_some()),
            ("not_before", self.not_before.is_some()),
            ("deadline", self.deadline.is_some()),
            ("after", self.after.is_some()),
        ];
        let (option, _) = options.into_iter().find(|(_, is_there)| *is_there)?;
        Some(option)
    }

    /// Returns the rank of an item in a queue that began at this time.
    fn rank(&self, item: &[u8], start: Duration) -> Rank {
        let time = |of: &Option<Saying<Duration>>| {
            let time = of.as_ref().and_then(|of| of(item))?;
            Some(time.saturating_sub(start))
        };
        let key = self.key.as_ref().and_then(|of| of(item));
        let priority = self.priority.as_ref().and_then(|of| of(item));
        Rank::of_key(key)
            .priority(priority.unwrap_or(0))
            .not_before(time(&self.not_before))
            .deadline(time(&self.deadline))
    }
}

/// Makes a function of serialized items of one of items, which says nothing where that panics.
fn saying<T: DeserializeOwned, S: 'static>(
    say: impl Fn(&T) -> Option<S> + Send + Sync + 'static,
) -> Saying<S> {
    Arc::new(move |item: &[u8]| {
        let item = decode::<T>(item).ok()?;
        catch_unwind(AssertUnwindSafe(|| say(&item))).ok()?
    })
}

/// Returns the first fault as an error: the option, and the reason.
fn refuse<const N: usize>(faults: [(&'static str, bool, &str); N]) -> Result<(), Kind> {
    match faults.into_iter().find(|(_, is_fault, _)| *is_fault) {
        Some((option, _, why)) => Err(Kind::invalid(option, why)),
        None => Ok(()),
    }
}

/// Returns the time since 1970; one before that is long past.
fn since_1970(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}
