//! Puts of items that choose for themselves what others have from their queue, and which of their
//! copies disagreed.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::side::Side;
use super::{JoinableQueue, serialized_for};
use crate::broker::{Broker, Deadline, Disagreement, Envelope, ItemRules, current};
use crate::error::{Error, Kind};
use crate::payload::envelope::{ItemTerms, number_of, since_1970, wide_number_of};
use dishrack_core::ledger::{Copies, ItemId, Ledger, UniqueKey};

/// The choices of a single item, each in the place of what its queue has for all. There may be more of
/// them one day, so they are made from the defaults, which are the queue's.
///
/// # Example
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use dishrack::{Copies, JoinableQueue, PutOptions, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(3).handler(&queue, |_: u32| Ok::<(), String>(()))?;
/// let checked = PutOptions::default().copies(Copies::agree(2, 3));
/// queue.put_with(&7, checked.clone())?;
/// queue.put_with(&8, PutOptions::default())?;
/// assert_eq!(queue.join()?.done, 2);
/// // Three workers cannot agree four times.
/// let refused = queue.put_with(&9, checked.copies(Copies::agree(4, 4)));
/// assert!(refused.is_err_and(|error| error.is_setup()));
///
/// let soon = SystemTime::now() + Duration::from_millis(10);
/// let first = queue.put_with(&10, PutOptions::default().not_before(soon).key("user-7"))?;
/// let next = PutOptions::default().after([first]).key("user-7");
/// let next = queue.put_with(&11, next.unique("report of user-7"))?;
/// let again = queue.put_with(&11, PutOptions::default().unique("report of user-7"));
/// assert_eq!(again.unwrap_err().duplicate_of(), Some(next));
/// assert_eq!(queue.join()?.done, 4);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// The copies of this item; `None`: those that the queue has for all.
    pub copies: Option<Copies>,
    /// Its priority; `None`: what the queue says.
    pub priority: Option<i8>,
    /// Its key, as a number.
    key: Option<u64>,
    /// The time before which it does not begin.
    pub not_before: Option<SystemTime>,
    /// The time from which on it does not begin any more, but is a dead letter.
    pub deadline: Option<SystemTime>,
    /// The items that are to be done before it begins; none: what the queue says.
    pub after: Vec<ItemId>,
    unique: Option<UniqueKey>,
}

impl PutOptions {
    /// Sets the copies of this item; `Copies::first(1)` for none beside itself.
    #[must_use]
    pub fn copies(mut self, copies: Copies) -> Self {
        self.copies = Some(copies);
        self
    }

    /// Sets its priority: greater ones go first, as with [`Builder::priority`](crate::Builder::priority).
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, PutOptions};
    ///
    /// let rack = JoinableQueue::<String>::unbounded();
    /// rack.put("pan")?;
    /// rack.put_with("baby bottle", PutOptions::default().priority(10))?;
    /// assert_eq!(rack.get()?.into_item(), "baby bottle".to_owned());
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets its key: items of one key are worked on one at a time and in their order, unless
    /// [`Builder::per_key`](crate::Builder::per_key) allows more. It is the same key as an equal one
    /// that a function given to that returns.
    #[must_use]
    pub fn key(mut self, key: impl Hash) -> Self {
        self.key = Some(number_of(&key));
        self
    }

    /// Does not begin it before this time.
    #[must_use]
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Makes it a dead letter if it has not begun at this time, as with
    /// [`Builder::deadline`](crate::Builder::deadline).
    #[must_use]
    pub fn deadline(mut self, time: SystemTime) -> Self {
        self.deadline = Some(time);
        self
    }

    /// Begins it when these items are done, as with [`Builder::after`](crate::Builder::after).
    #[must_use]
    pub fn after(mut self, items: impl IntoIterator<Item = ItemId>) -> Self {
        self.after = items.into_iter().collect();
        self
    }

    /// Does not put it while another item has this unique key and no end: the put is refused, and
    /// [`duplicate_of`](Error::duplicate_of) tells which item that is. See
    /// [`Builder::unique`](crate::Builder::unique).
    #[must_use]
    pub fn unique(mut self, key: impl Hash) -> Self {
        self.unique = Some(UniqueKey::until_end(wide_number_of(&key)));
        self
    }

    /// The same, but the item has the key for so long after it was accepted, done or not.
    #[must_use]
    pub fn unique_for(mut self, time: Duration, key: impl Hash) -> Self {
        self.unique = Some(UniqueKey::within(wide_number_of(&key), time));
        self
    }

    /// Returns the first choice that is made, by its name.
    fn first(&self) -> Option<&'static str> {
        let unique = self.unique.is_some().then_some("unique");
        let copies = self.copies.is_some().then_some("copies");
        self.ordering().or(unique).or(copies)
    }

    /// Returns the first choice that is made of its place among others.
    fn ordering(&self) -> Option<&'static str> {
        let options = [
            ("priority", self.priority.is_some()),
            ("key", self.key.is_some()),
            ("not_before", self.not_before.is_some()),
            ("deadline", self.deadline.is_some()),
            ("after", !self.after.is_empty()),
        ];
        let (option, _) = options.into_iter().find(|(_, is_made)| *is_made)?;
        Some(option)
    }

    fn terms(self) -> ItemTerms {
        ItemTerms {
            copies: self.copies,
            key: self.key,
            priority: self.priority,
            not_before: self.not_before.map(since_1970),
            deadline: self.deadline.map(since_1970),
            after: self.after,
            unique: self.unique,
        }
    }
}

impl<T> JoinableQueue<T> {
    /// Takes what is known of copies that came to another result than the one that counted, oldest
    /// first: which worker said what. A wrong answer is an accident, too, and a worker that has
    /// many of them runs on a machine that should be looked at. The last 1,000 are kept, in this
    /// process; of an item that is done, nothing else is.
    ///
    /// # Errors
    /// `is_setup` in a worker process, whose supervisor knows of them.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use dishrack::{Copies, JoinableQueue, Supervisor};
    ///
    /// let calls = AtomicU32::new(0);
    /// let rack = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder()
    ///     .threads(3)
    ///     .copies(Copies::agree(2, 3))
    ///     .compare(|one: &u32, other: &u32| one == other)
    ///     .handler(&rack, move |n: u32| {
    ///         let is_wrong = calls.fetch_add(1, Ordering::Relaxed) == 0;
    ///         Ok::<u32, String>(if is_wrong { 0 } else { n })
    ///     })?;
    /// assert_eq!(pool.map([7]).next().unwrap().unwrap(), 7);
    /// for wrong in rack.take_disagreements()? {
    ///     assert_eq!((&*wrong.said, &*wrong.counted), ("0", "7"));
    /// }
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn take_disagreements(&self) -> Result<Vec<Disagreement>, Error> {
        match &self.side {
            Side::Local(broker) => Ok(broker.with(|core| core.take_disagreements())),
            Side::Remote(_) => Err(refused(
                "are told of where the queue is, and not in a worker",
            )),
        }
    }
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Puts an item as [`put`](Self::put) does, with choices of its own: see [`PutOptions`]. What it does
    /// not choose it has as all others.
    ///
    /// # Errors
    /// As [`put`](Self::put); `is_dependency` and `duplicate_of` say that it is not put because of other
    /// items; `is_setup` where a choice cannot be kept. A queue on Redis hands its items out in its own
    /// order and has no copies. A journal does not keep the choices of single items, which must not be
    /// forgotten by the next run: there the functions of [`Builder`](crate::Builder) say them of each. In a
    /// worker process an item has what its queue has for all. More copies cannot agree than there are
    /// workers (a queue that has no workers yet takes it, and waits for them), and an item whose place in the
    /// order counts, or that has a slot, has no copies.
    ///
    /// A queue whose items have choices of their place in the order is in an order from then on, and a
    /// [`Builder`](crate::Builder) that says another one must come before. A dead letter that is tried again
    /// has what its queue has for all.
    ///
    /// What a copy says is its handler's result. One that is taken by [`get`](Self::get) and ended by
    /// `task_done` says no more than that it is done, as a handler that returns `()` does; so that is
    /// all such copies can agree on.
    ///
    /// # Example
    ///
    /// Two workers dry the dish that must not break:
    ///
    /// ```
    /// use dishrack::{Copies, JoinableQueue, PutOptions, Supervisor};
    ///
    /// let rack = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder().threads(2).handler(&rack, |_dish: String| Ok::<(), String>(()))?;
    /// rack.put("cup")?;
    /// rack.put_with("grandmother's bowl", PutOptions::default().copies(Copies::first(2)))?;
    /// assert_eq!(rack.join()?.done, 2);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn put_with<Q>(&self, item: &Q, options: PutOptions) -> Result<ItemId, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let Some(option) = options.first() else {
            return self.put(item);
        };
        let refused = |why: &str| Error(Kind::invalid(option, why));
        let broker = match &self.side {
            Side::Local(broker) => broker,
            Side::Remote(_) => return Err(refused(IN_A_WORKER)),
        };
        if broker.storage.shared().is_some() {
            return Err(refused(ON_A_STREAM));
        }
        if broker.storage.local().is_some() {
            return Err(refused(IN_A_JOURNAL));
        }
        check_copies(broker, &options)?;
        let body = serialized_for(item, broker).map_err(Error)?;
        prepare(broker, &options);
        let envelope = Envelope::with_terms(body, options.terms());
        let put = broker.put(envelope, Deadline::Forever, current::holds(broker));
        put.map_err(Error)
    }
}

/// Checks that an item can have the copies that it chooses, and others theirs beside it.
fn check_copies(broker: &Broker, options: &PutOptions) -> Result<(), Error> {
    let ordering = options.ordering();
    broker.read(|core| {
        let ledger = &core.dispatcher.ledger;
        if let Some(copies) = options.copies {
            if !ledger.allows_copies() || ordering.is_some() {
                return Err(Error(Kind::invalid("copies", RUNS_ONCE)));
            }
            if let Some(why) = core.cannot_agree(copies) {
                return Err(Error(Kind::invalid("copies", why)));
            }
        }
        match ordering.filter(|_| ledger.has_copies()) {
            Some(option) => Err(Error(Kind::invalid(option, BESIDE_COPIES))),
            None => Ok(()),
        }
    })
}

/// Tells the queue that items choose for themselves, unless it knows.
fn prepare(broker: &Broker, options: &PutOptions) {
    let is_new =
        |knows: fn(&Ledger<_, _>) -> bool| broker.read(|core| !knows(&core.dispatcher.ledger));
    let own = ItemRules::default();
    if options.ordering().is_some() && is_new(Ledger::has_order) {
        broker.order_by(&own);
    }
    if !options.after.is_empty() && is_new(Ledger::has_dependencies) {
        broker.begin_after();
    }
    if options.unique.is_some() && is_new(Ledger::has_unique_keys) {
        broker.refuse_duplicates(&own);
    }
}

const IN_A_WORKER: &str =
    "is chosen for single items only where the queue is: here an item has what the queue has";

const ON_A_STREAM: &str = "a queue on Redis keeps no choices of single items, hands items out in its own \
                           order, and gives each to one holder: use a local queue";

const RUNS_ONCE: &str = "are not made of items that have slots, or a place in the order: a key, a \
                         priority, a time or others before them; each of those runs once";

const BESIDE_COPIES: &str =
    "an item whose place in the order counts runs once, and items of this queue have copies";

const IN_A_JOURNAL: &str = "a journal does not keep the choices of single items, and the next run would \
                            forget them: choose for the queue, by Options::copies or Builder";

fn refused(why: &str) -> Error {
    Error(Kind::invalid("copies", why))
}
