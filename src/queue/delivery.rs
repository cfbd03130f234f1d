//! One item in the hands of a caller.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::far::{ArrivedItem, FarEnd};
use super::side::Side;
use crate::error::Error;
use crate::handler::attempt::decode;
use crate::handler::held;
use crate::handler::lending::{Lender, lending};
use crate::link::LocalDelivery;
use crate::payload::Payload;
use dishrack_core::ledger::{Cause, HolderId, ItemId, Outcome, Token};

/// An item that was got and is not acknowledged. It derefs to the item.
///
/// If it is dropped without `task_done` or `nack`, the item goes back, and that counts as a failed
/// attempt; otherwise a consumer that always drops it would get it for ever.
///
/// # Example
///
/// ```
/// let queue = dishrack::JoinableQueue::<u64>::unbounded();
/// queue.put(&7)?;
/// let delivery = queue.get()?;
/// assert_eq!((*delivery, delivery.id().0, delivery.attempt()), (7, 1, 1));
/// delivery.nack("not now")?;
/// assert_eq!(queue.get()?.attempt(), 2);
/// # Ok::<(), dishrack::Error>(())
/// ```
pub struct Delivery<T> {
    /// `None` only while it is being taken apart.
    item: Option<T>,
    side: Side,
    token: Token,
    id: ItemId,
    attempt: u32,
    since: Instant,
}

impl<T: fmt::Debug> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .field("item", &self.item)
            .finish_non_exhaustive()
    }
}

impl<T> Deref for Delivery<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item
            .as_ref()
            .expect("the item is taken only by methods that consume the delivery")
    }
}

impl<T> Delivery<T> {
    /// Returns the item's number.
    #[must_use]
    pub fn id(&self) -> ItemId {
        self.id
    }

    /// Returns the number of this attempt: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Acknowledges the item as done.
    ///
    /// # Errors
    /// `is_stale` when the delivery was acknowledged before, by `task_done` of the queue.
    pub fn task_done(mut self) -> Result<(), Error> {
        self.settle(Outcome::Done(Payload::default()))
    }

    /// Refuses the item: this attempt failed for this reason.
    ///
    /// # Errors
    /// As [`task_done`](Self::task_done).
    pub fn nack(mut self, reason: impl Into<String>) -> Result<(), Error> {
        self.settle(Outcome::failed(Cause::Nack(reason.into())))
    }

    /// Refuses the item, and lets it rest this long before it is tried again.
    ///
    /// # Errors
    /// As [`task_done`](Self::task_done).
    pub fn nack_after(mut self, reason: impl Into<String>, rest: Duration) -> Result<(), Error> {
        self.settle(Outcome::Failed {
            cause: Cause::Nack(reason.into()),
            rest: Some(rest),
        })
    }

    /// Takes the delivery out of the hands of the thread that got it: `task_done` of the queue does
    /// not acknowledge it, and it outlives the thread. It stays unfinished until its own
    /// [`task_done`](Self::task_done) or [`nack`](Self::nack), in any thread.
    #[must_use]
    pub fn unbound(self) -> Self {
        held::forget(self.side.acknowledger(), self.token);
        self
    }

    /// Takes the item out. It stays unfinished until `task_done` of the queue acknowledges it in
    /// this thread.
    #[must_use]
    pub fn into_item(mut self) -> T {
        self.item
            .take()
            .expect("the item is taken only by methods that consume the delivery")
    }

    /// Hands the duty to acknowledge the item as done over to the caller. Returns its queue, its
    /// token and its service time.
    pub(super) fn into_done(mut self) -> (Side, Token, Duration) {
        self.item = None;
        held::forget(self.side.acknowledger(), self.token);
        (self.side.clone(), self.token, self.since.elapsed())
    }

    fn settle(&mut self, outcome: Outcome<Payload>) -> Result<(), Error> {
        self.item = None;
        held::forget(self.side.acknowledger(), self.token);
        let service = self.since.elapsed();
        let from = self.side.acknowledger();
        from.acknowledge(self.token, service, outcome)
            .map_err(Error)
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        if self.item.is_some() {
            let cause = match std::thread::panicking() {
                true => Cause::Panicked("the thread that held the item".into()),
                false => Cause::Dropped,
            };
            // It is stale if the queue's `task_done` acknowledged it.
            let settled = self.settle(Outcome::failed(cause));
            if settled.is_ok() && std::thread::panicking() {
                held::note_panic();
            }
        }
    }
}

impl<T: DeserializeOwned> Delivery<T> {
    /// Makes a delivery; `None` if the item does not decode, and then it is refused.
    pub(super) fn of_job(side: Side, job: &LocalDelivery) -> Option<Self> {
        let make = || Self::new(side, job.token, job.id, job.attempt, &job.body);
        lending(Lender::of(&job.body).as_ref(), make)
    }

    /// The same for an item that has come from another process.
    pub(super) fn of_arrival(side: &Side, far: &dyn FarEnd, arrival: &ArrivedItem) -> Option<Self> {
        // The other process knows the holder.
        let token = Token::of(HolderId::default(), arrival.ordinal);
        let (id, attempt) = (arrival.id, arrival.attempt);
        let mut made = None;
        far.take(arrival, &mut || {
            made = Self::new(side.clone(), token, id, attempt, arrival.body());
        });
        made
    }

    fn new(side: Side, token: Token, id: ItemId, attempt: u32, body: &[u8]) -> Option<Self> {
        match decode(body) {
            Ok(item) => {
                held::note(side.to_acknowledger(), token);
                Some(Delivery {
                    item: Some(item),
                    side,
                    token,
                    id,
                    attempt,
                    since: Instant::now(),
                })
            }
            Err(cause) => {
                let from = side.acknowledger();
                // It is stale if it was cancelled meanwhile.
                let _ = from.acknowledge(token, Duration::ZERO, Outcome::failed(cause));
                None
            }
        }
    }
}
