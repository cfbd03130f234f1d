//! Takes many items at once, and acknowledges many deliveries at once. How the queue carries that
//! out is not known here.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::BATCH_ITEMS;
use super::far::FarEnd;
use super::side::Side;
use super::{Delivery, JoinableQueue};
use crate::broker::{Deadline, consumers};
use crate::error::Error;
use crate::payload::Payload;
use crate::protocol::frame::Wait;
use dishrack_core::ledger::{ItemId, Outcome, Token};

/// The outcome of a [`task_done_many`](JoinableQueue::task_done_many).
///
/// # Example
///
/// ```
/// let queue = dishrack::JoinableQueue::<u64>::unbounded();
/// queue.put_many(0..3).into_result()?;
/// let deliveries = queue.get_many(3)?;
/// let cancelled = deliveries[1].id();
/// queue.cancel(cancelled)?;
/// let outcome = queue.task_done_many(deliveries);
/// assert_eq!((outcome.done, outcome.stale), (2, vec![cancelled]));
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "deliveries may have been stale"]
#[non_exhaustive]
pub struct DoneMany {
    /// The number of items that are done now.
    pub done: u64,
    /// The items whose deliveries were acknowledged before, or cancelled: for them nothing was
    /// changed.
    pub stale: Vec<ItemId>,
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Waits for the next item, and takes with it those that are there, up to `at_most` in all,
    /// under one lock. Each is a delivery of its own; see [`get`](Self::get). `at_most` 0 counts as
    /// 1.
    ///
    /// Others cannot get these items meanwhile, so take no more than will be done soon. A worker
    /// process asks for up to 256 in one request. If it dies, all that it has got and not settled count
    /// as begun.
    ///
    /// # Errors
    /// As [`get`](Self::get). An item that does not decode is refused alone.
    ///
    /// # Example
    ///
    /// ```
    /// let queue = dishrack::JoinableQueue::<u64>::unbounded();
    /// queue.put_many(0..100).into_result()?;
    /// let deliveries = queue.get_many(64)?;
    /// assert!(deliveries.iter().map(|delivery| **delivery).eq(0..64));
    /// let outcome = queue.task_done_many(deliveries);
    /// assert_eq!((outcome.done, outcome.stale.len(), queue.len()), (64, 0, 36));
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn get_many(&self, at_most: usize) -> Result<Vec<Delivery<T>>, Error> {
        let broker = match &self.side {
            Side::Local(broker) => broker,
            Side::Remote(far) => return self.get_many_of(&**far, at_most),
        };
        let mut jobs = Vec::new();
        loop {
            let got = broker.get_many(Deadline::Forever, at_most, &mut jobs);
            got.map_err(Error)?;
            consumers::note(broker);
            let decoded = jobs.drain(..);
            let decoded = decoded.filter_map(|job| Delivery::of_job(self.side.clone(), &job));
            let deliveries: Vec<_> = decoded.collect();
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    /// Does the same from a worker process, by requests for as many as one answer brings.
    fn get_many_of(&self, far: &dyn FarEnd, at_most: usize) -> Result<Vec<Delivery<T>>, Error> {
        let mut deliveries = Vec::new();
        loop {
            let left = at_most.saturating_sub(deliveries.len()).max(1);
            let asked = left.min(BATCH_ITEMS);
            let (wait, deadline) = match deliveries.is_empty() {
                true => (Wait::UntilCancelled, Deadline::Forever),
                false => (Wait::No, Deadline::None),
            };
            let number = u32::try_from(asked).unwrap_or(u32::MAX);
            let arrivals = match far.ask_items(wait, number, deadline) {
                Ok(arrivals) => arrivals,
                Err(_) if !deliveries.is_empty() => return Ok(deliveries),
                Err(kind) => return Err(Error(kind)),
            };
            let is_less = arrivals.len() < asked;
            let arrivals = arrivals.iter();
            let made = arrivals.filter_map(|item| Delivery::of_arrival(&self.side, far, item));
            deliveries.extend(made);
            // Items that do not decode were refused, and others may be there.
            if (is_less && !deliveries.is_empty()) || deliveries.len() >= at_most.max(1) {
                return Ok(deliveries);
            }
        }
    }

    /// Acknowledges many deliveries as done, under one lock, or from a worker process in one go.
    /// Those that follow each other are settled as a run. A stale one is refused alone, and the items of
    /// the others are done.
    ///
    /// See [`get_many`](Self::get_many) for an example.
    pub fn task_done_many(&self, deliveries: impl IntoIterator<Item = Delivery<T>>) -> DoneMany {
        let mut outcome = DoneMany {
            done: 0,
            stale: Vec::new(),
        };
        // All are taken from the iterator first: if it panics, they are dropped, and so refused.
        let deliveries: Vec<Delivery<T>> = deliveries.into_iter().collect();
        let mut ids = Vec::with_capacity(deliveries.len());
        let mut ours = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let id = delivery.id();
            let (side, token, service) = delivery.into_done();
            if self.side.is(&side) {
                ids.push(id);
                ours.push((token, service));
            } else {
                let done = Outcome::Done(Payload::default());
                let settled = side.acknowledger().acknowledge(token, service, done);
                outcome.add(id, settled.is_ok());
            }
        }
        if ours.is_empty() {
            return outcome;
        }
        let settled = match &self.side {
            Side::Local(broker) => broker.settle_many(&ours),
            Side::Remote(far) => {
                let ordinal = |(token, service): &(Token, Duration)| (token.ordinal(), *service);
                far.settle_many(&ours.iter().map(ordinal).collect::<Vec<_>>())
            }
        };
        ids.into_iter()
            .zip(settled)
            .for_each(|(id, is_done)| outcome.add(id, is_done));
        outcome
    }
}

impl DoneMany {
    fn add(&mut self, id: ItemId, is_done: bool) {
        match is_done {
            true => self.done += 1,
            false => self.stale.push(id),
        }
    }
}
