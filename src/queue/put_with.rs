//! Puts of items that choose for themselves what others have from their queue, and which of their
//! copies disagreed.

use std::borrow::Borrow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::side::Side;
use super::{JoinableQueue, serialized_for};
use crate::broker::{Deadline, Disagreement, Envelope, NONE_ON_A_STREAM, current};
use crate::error::{Error, Kind};
use dishrack_core::ledger::{Copies, ItemId, Ledger};

/// The choices of a single item. There may be more of them one day, so they are made from the
/// defaults, which are the queue's.
///
/// # Example
///
/// ```
/// use dishrack::{Copies, JoinableQueue, PutOptions, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(3).handler(&queue, |_: u32| Ok::<(), String>(()))?;
/// let checked = PutOptions::default().copies(Copies::agree(2, 3));
/// queue.put_with(&7, checked)?;
/// queue.put_with(&8, PutOptions::default())?;
/// assert_eq!(queue.join()?.done, 2);
/// // Three workers cannot agree four times.
/// let refused = queue.put_with(&9, checked.copies(Copies::agree(4, 4)));
/// assert!(refused.is_err_and(|error| error.is_setup()));
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// The copies of this item; `None`: those that the queue has for all.
    pub copies: Option<Copies>,
}

impl PutOptions {
    /// Sets the copies of this item; `Copies::first(1)` for none beside itself.
    #[must_use]
    pub fn copies(mut self, copies: Copies) -> Self {
        self.copies = Some(copies);
        self
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
    /// Puts an item as [`put`](Self::put) does, with choices of its own: see
    /// [`Builder::copies`](crate::Builder::copies).
    ///
    /// # Errors
    /// As [`put`](Self::put), and `is_setup` where the choice cannot be kept: a queue on Redis has
    /// no copies, a journal does not keep those of single items, which must not be forgotten by the
    /// next run, in a worker process an item has what its queue has for all, and more copies cannot
    /// agree than there are workers. A queue that has no workers yet takes it, and waits for them.
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
        let PutOptions { copies } = options;
        if copies.is_none() {
            return self.put(item);
        }
        let broker = match &self.side {
            Side::Local(broker) => broker,
            Side::Remote(_) => return Err(refused(IN_A_WORKER)),
        };
        if broker.storage.shared().is_some() {
            return Err(refused(NONE_ON_A_STREAM));
        }
        if broker.storage.local().is_some() {
            return Err(refused(IN_A_JOURNAL));
        }
        let has_limits = |ledger: &Ledger<_, _>| ledger.has_order() || ledger.has_slots();
        if broker.read(|core| has_limits(&core.dispatcher.ledger)) {
            return Err(refused(RUNS_ONCE));
        }
        let cannot = |copies| broker.read(|core| core.cannot_agree(copies));
        if let Some(why) = copies.and_then(cannot) {
            return Err(refused(&why));
        }
        let body = serialized_for(item, broker).map_err(Error)?;
        let envelope = Envelope::with_copies(body, copies);
        let put = broker.put(envelope, Deadline::Forever, current::holds(broker));
        put.map_err(Error)
    }
}

const IN_A_WORKER: &str =
    "are chosen for single items only where the queue is: here an item has what the queue has";

const RUNS_ONCE: &str = "are not made of items that have keys or slots, each of which runs once";

const IN_A_JOURNAL: &str = "of single items are not kept by a journal, and the next run would \
                            forget them: choose them for the queue, by Options::copies";

fn refused(why: &str) -> Error {
    Error(Kind::invalid("copies", why))
}
