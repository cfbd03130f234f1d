//! Rules about what runs when: keys, priorities, times, slots and a rate; and about what is accepted. The
//! ledger decides.

use std::any::type_name;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use crate::broker::{Broker, ItemRules, Saying};
use crate::error::Kind;
use crate::handler::attempt::decode;
use crate::observe::Mode;
use crate::payload::envelope::{number_of, since_1970, wide_number_of};
use dishrack_core::ledger::{ItemId, Rate, UniqueKey};

use super::Builder;

/// The rules of a pool.
#[derive(Clone, Default)]
pub(super) struct RunRules {
    slots: Option<u32>,
    rate: Option<Rate>,
    items: ItemRules,
    /// The options that are functions of items, each with the type of these.
    of_items: Vec<(&'static str, &'static str)>,
}

/// The greatest number of slots: more than there can be workers.
const SLOTS_MAX: u32 = 65_535;

/// The reason for which some items have no copies.
pub(super) const RUNS_ONCE: &str =
    "an item that has a slot, a key, a priority or a time runs once: copies are not for it";

/// The reason for which loops in this process have no bound.
const NOT_HELD_BACK: &str = "loops in this process take items themselves, and are not held back: use a handler, or processes";

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
        self.of_items::<T>("per_key");
        self.rules.items.per_key = Some(most);
        self.rules.items.key = Some(saying(move |item| Some(number_of(&key(item)?))));
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
        self.of_items::<T>("priority");
        self.rules.items.priority = Some(saying(move |item| Some(priority(item))));
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
        self.of_items::<T>("not_before");
        self.rules.items.not_before = Some(saying(move |item| Some(since_1970(time(item)?))));
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
        self.of_items::<T>("deadline");
        self.rules.items.deadline = Some(saying(move |item| Some(since_1970(time(item)?))));
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
        self.of_items::<T>("after");
        self.rules.items.after = Some(saying(move |item| Some(after(item))));
        self
    }

    /// Accepts no item whose key another one has: until that one ends, or, with a time, for so long after
    /// it was accepted, done or not. The put is refused then, and says which item stands for it
    /// ([`duplicate_of`](crate::Error::duplicate_of)). A dead letter has no key, so what has failed or was
    /// cancelled can be put again at once; if it is tried again, it takes its key if that is free.
    ///
    /// What is known of keys is in memory: a program that goes on with a journal knows those of the items
    /// without an end, as if they were accepted just then, and not those of items that were done. Of
    /// items that are there already the first of each key has it. `key` is called as that of
    /// [`per_key`](Self::per_key) is. A queue on Redis refuses it.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let rack = JoinableQueue::<String>::unbounded();
    /// let pool = Supervisor::builder()
    ///     .inline()
    ///     .unique(None, |dish: &String| Some(dish.clone()))
    ///     .handler(&rack, |_dish: String| Ok::<(), String>(()))?;
    /// rack.pause()?;
    /// let cup = rack.put("cup")?;
    /// let refused = rack.put("cup").unwrap_err();
    /// assert_eq!(refused.duplicate_of(), Some(cup));
    /// rack.unpause()?;
    /// rack.join()?;
    /// assert_ne!(rack.put("cup")?, cup);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn unique<T, K>(
        self,
        time: impl Into<Option<Duration>>,
        key: impl Fn(&T) -> Option<K> + Send + Sync + 'static,
    ) -> Self
    where
        T: DeserializeOwned,
        K: Hash,
    {
        let time = time.into();
        self.unique_by(move |item| Some((key(item)?, time)))
    }

    /// The same, where each item says for how long it has its key: `None` until its end.
    #[must_use]
    pub fn unique_by<T, K>(
        mut self,
        key: impl Fn(&T) -> Option<(K, Option<Duration>)> + Send + Sync + 'static,
    ) -> Self
    where
        T: DeserializeOwned,
        K: Hash,
    {
        self.of_items::<T>("unique");
        self.rules.items.unique = Some(saying(move |item| {
            let (key, time) = key(item)?;
            let key = wide_number_of(&key);
            Some(UniqueKey { key, time })
        }));
        self
    }

    /// Begins no more items than this rate allows, each attempt one of them: see [`Rate`]. Workers get no
    /// item in advance then. Where several supervisors share a queue, each has its own. Loops of threads or
    /// tasks, which take items themselves, are refused, and a thread that calls `get` is not held back.
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

    /// Notes the type of the items of an option's function.
    fn of_items<T>(&mut self, option: &'static str) {
        let of_items = &mut self.rules.of_items;
        of_items.retain(|(other, _)| *other != option);
        of_items.push((option, type_name::<T>()));
    }

    /// Checks that the queue, whose items have this type, and these workers can keep to the rules.
    /// `is_loop`: they take items themselves.
    pub(super) fn check_limits(
        &self,
        broker: &Broker,
        item: &'static str,
        is_loop: bool,
    ) -> Result<(), Kind> {
        let rules = &self.rules;
        let mut of_items = rules.of_items.iter();
        if let Some((option, of)) = of_items.find(|(_, of)| *of != item) {
            let why = format!(
                "is a function of {of}, and the queue's items are {item}: it has to take a reference \
                 to that very type"
            );
            return Err(Kind::invalid(option, why));
        }
        let is_elsewhere = is_loop || self.mode != Mode::Processes;
        let is_own_loop = is_loop && matches!(self.mode, Mode::Threads | Mode::Tasks);
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
            (
                "per_key",
                rules.items.per_key == Some(0),
                "0: nothing could run",
            ),
            ("rate", rules.rate.is_some() && is_own_loop, NOT_HELD_BACK),
            (
                "admission",
                self.admission.is_some() && is_own_loop,
                NOT_HELD_BACK,
            ),
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
            let rules = core.order_rules.as_ref();
            // A start of the same builder may have failed since.
            let is_same = rules.is_some_and(|rules| rules.order_as(&self.rules.items));
            (ledger.has_order() && !is_same, ledger.policy())
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
                RUNS_ONCE,
            ),
            (
                ordering.unwrap_or_default(),
                ordering.is_some() && is_shared,
                "a queue on Redis hands items out in its own order: use a local queue, or a journal",
            ),
            (
                "unique",
                self.rules.items.unique.is_some() && is_shared,
                "nobody knows which items others have put on a queue on Redis: use a local queue, or a journal",
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
            broker.order_by(&rules.items);
        }
        if rules.items.unique.is_some() {
            broker.refuse_duplicates(&rules.items);
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
        let rules = &self.items;
        let options = [
            ("per_key", rules.key.is_some()),
            ("priority", rules.priority.is_some()),
            ("not_before", rules.not_before.is_some()),
            ("deadline", rules.deadline.is_some()),
            ("after", rules.after.is_some()),
        ];
        let (option, _) = options.into_iter().find(|(_, is_there)| *is_there)?;
        Some(option)
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
