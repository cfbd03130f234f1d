//! Puts the items of an iterator in batches that share one lock and one wake-up.
//!
//! Items are serialized before the lock is taken. How a batch reaches the queue is not known here
//! (see `batch`).

use std::borrow::Borrow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::{Batch, Pace};
use super::side::Side;
use super::{JoinableQueue, serialized_for};
use crate::broker::{Accepted, Broker, Envelope, PutAnswer};
use crate::error::{Error, Kind};
use dishrack_core::ledger::ItemId;

/// The outcome of a [`put_many`](JoinableQueue::put_many): each item that the iterator gave was
/// accepted, or is given back in [`refused`](Self::refused), or was [`lost`](Self::lost) with the
/// journal.
///
/// # Example
///
/// ```
/// let queue = dishrack::JoinableQueue::<u64>::bounded(2);
/// let put = queue.put_many([7, 8]);
/// assert_eq!((put.accepted, put.refused.len()), (2, 0));
/// queue.close();
/// let put = queue.put_many([9]);
/// assert!(put.is_cut_short && put.refused[0].item == 9);
/// assert!(put.into_result().is_err_and(|error| error.is_closed()));
/// ```
#[derive(Debug)]
#[must_use = "items may have been refused"]
#[non_exhaustive]
pub struct PutMany<Item> {
    /// The number of items that were accepted: each will be done or a dead letter, whatever process
    /// dies.
    pub accepted: u64,
    /// The items that were refused, in their order.
    pub refused: Vec<RefusedItem<Item>>,
    /// True if the iterator was not read to its end, because no further item would have been
    /// accepted. The last of [`refused`](Self::refused) say why.
    pub is_cut_short: bool,
    /// The failure of the journal, if it failed before all items were durable. Those that were not
    /// are not accepted; they were not kept in memory, so they cannot be given back.
    pub lost: Option<Error>,
}

/// An item that a [`put_many`](JoinableQueue::put_many) gives back.
///
/// # Example
///
/// ```
/// use std::ffi::OsStr;
/// use std::os::unix::ffi::OsStrExt;
/// use std::path::PathBuf;
///
/// let files = dishrack::JoinableQueue::<PathBuf>::unbounded();
/// let latin = PathBuf::from(OsStr::from_bytes(b"caf\xe9.txt"));
/// let put = files.put_many(["tea.txt".into(), latin.clone(), "water.txt".into()]);
/// assert_eq!((put.accepted, put.is_cut_short), (2, false));
/// let refused = &put.refused[0];
/// assert_eq!((refused.index, &refused.item), (1, &latin));
/// assert!(refused.error.is_not_serializable());
/// println!("{}: {}", refused.item.display(), refused.error);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct RefusedItem<Item> {
    /// Its place among all items that the iterator gave, from 0.
    pub index: u64,
    /// The item itself.
    pub item: Item,
    /// The reason, as of [`put`](JoinableQueue::put).
    pub error: Error,
}

impl<Item> PutMany<Item> {
    pub(crate) fn new() -> Self {
        PutMany {
            accepted: 0,
            refused: Vec::new(),
            is_cut_short: false,
            lost: None,
        }
    }

    /// Returns the number of items, if all were accepted.
    ///
    /// # Errors
    /// The reason for which the first one was refused.
    pub fn into_result(self) -> Result<u64, Error> {
        match (self.refused.into_iter().next(), self.lost) {
            (Some(refused), _) => Err(refused.error),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(self.accepted),
        }
    }

    fn note(&mut self, answer: PutAnswer<(u64, Item)>, undurable: Option<&mut IdRanges>) {
        match answer {
            PutAnswer::Accepted(accepted) => {
                self.accepted += accepted.count();
                if let Some(numbers) = undurable {
                    numbers.add(accepted);
                }
            }
            PutAnswer::Sent(count) => self.accepted += count,
            PutAnswer::Refused(item, kind) => self.refuse(item, kind),
        }
    }

    /// Waits until the items with these numbers are durable. If the journal fails, only those that
    /// were durable before are accepted.
    fn await_journal(&mut self, broker: &Broker, numbers: &IdRanges) {
        if let Some(last) = numbers.last()
            && let Err(kind) = broker.sync_and_drive(last)
        {
            let durable = broker.read(|core| core.dispatcher.ledger.last_durable().0);
            self.accepted = numbers.count_up_to(durable);
            self.lost = Some(Error(kind));
        }
    }

    /// Converts the items that are given back; those without a new form are not.
    pub(crate) fn map_refused<To>(
        self,
        convert: impl FnMut(RefusedItem<Item>) -> Option<RefusedItem<To>>,
    ) -> PutMany<To> {
        let refused = self.refused.into_iter().filter_map(convert).collect();
        PutMany {
            accepted: self.accepted,
            refused,
            is_cut_short: self.is_cut_short,
            lost: self.lost,
        }
    }

    pub(crate) fn refuse(&mut self, (index, item): (u64, Item), kind: Kind) {
        self.is_cut_short |= !kind.is_of_one_item();
        let error = Error(kind);
        self.refused.push(RefusedItem { index, item, error });
    }
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Puts all items of an iterator, in their order; waits for room if the queue is full. It does
    /// for each item what [`put`](Self::put) does, but a batch of up to 128 items takes the queue's
    /// lock once and wakes workers once, and a journal or a Redis is waited for together. After it
    /// returns, an accepted item will be done or a dead letter, whatever process dies.
    ///
    /// The iterator gives items or references to them.
    ///
    /// An item that cannot be put is refused alone, and the others are put. If no further item
    /// would be accepted, because the queue is closed or its workers are gone, the iterator is not
    /// read further: pass it by `by_ref()` to keep the rest.
    ///
    /// Of items that come quickly up to 128 are read before they are put; items that come slowly
    /// are put one by one. So an iterator must not wait for the end of its own items: use
    /// [`put`](Self::put) there. If the iterator or an item's `Serialize` panics, items that were
    /// read and not yet put are not put.
    ///
    /// In a worker process items are put one by one. A handler that puts on the queue it works for
    /// does not wait for room.
    ///
    /// # Errors
    /// It has none of its own: [`PutMany`] has the refused items with their reasons, and
    /// [`PutMany::into_result`] makes an error of the first.
    ///
    /// # Example
    ///
    /// ```
    /// let queue = dishrack::JoinableQueue::<u64>::unbounded();
    /// assert_eq!(queue.put_many(0..1000).into_result()?, 1000);
    /// assert_eq!(queue.len(), 1000);
    ///
    /// queue.close();
    /// let mut more = [7, 8, 9].into_iter();
    /// let put = queue.put_many(more.by_ref());
    /// assert_eq!((put.accepted, put.is_cut_short), (0, true));
    /// assert_eq!((put.refused[0].index, put.refused[0].item), (0, 7));
    /// assert!(put.refused[0].error.is_closed());
    /// assert_eq!(more.as_slice(), [8, 9]);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn put_many<I>(&self, items: I) -> PutMany<I::Item>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        let items = (0..).zip(items);
        match &self.side {
            Side::Local(broker) => {
                let enclose = |item: &I::Item| {
                    let body = serialized_for::<T>(item.borrow(), broker)?;
                    Ok(Envelope::of(body))
                };
                put_batches(broker, items, enclose, |_| {})
            }
            Side::Remote(_) => self.put_each(items),
        }
    }

    fn put_each<Item: Borrow<T>>(&self, items: impl Iterator<Item = (u64, Item)>) -> PutMany<Item> {
        let mut outcome = PutMany::new();
        for numbered in items {
            match self.put::<T>(numbered.1.borrow()) {
                Ok(_) => outcome.accepted += 1,
                Err(Error(kind)) => outcome.refuse(numbered, kind),
            }
            if outcome.is_cut_short {
                break;
            }
        }
        outcome
    }
}

/// Puts items in batches. `hear` is told what becomes of them, in their order; but not of those for
/// which there is no envelope.
pub(crate) fn put_batches<Item>(
    broker: &Broker,
    mut items: impl Iterator<Item = (u64, Item)>,
    enclose: impl Fn(&Item) -> Result<Envelope, Kind>,
    mut hear: impl FnMut(&PutAnswer<(u64, Item)>),
) -> PutMany<Item> {
    let mut outcome = PutMany::new();
    let mut batch = Batch::new();
    let mut pace = Pace::new();
    // The numbers of items that a journal has to keep before they count.
    let mut undurable = broker.storage.local().map(|_| IdRanges::default());
    let mut is_over = false;
    while !is_over && !outcome.is_cut_short {
        let items_max = pace.begin();
        while !is_over && !batch.is_full(items_max) {
            match items.next() {
                None => is_over = true,
                Some((index, item)) => match enclose(&item) {
                    Ok(envelope) => batch.push(envelope, (index, item)),
                    Err(kind) => outcome.refuse((index, item), kind),
                },
            }
        }
        pace.end();
        batch.put(broker, |answer| {
            hear(&answer);
            outcome.note(answer, undurable.as_mut());
        });
    }
    batch.finish(broker, |answer| {
        hear(&answer);
        outcome.note(answer, undurable.as_mut());
    });
    // Items that did not serialize were noted before the others of their batch.
    outcome.refused.sort_by_key(|refused| refused.index);
    if let Some(numbers) = undurable {
        outcome.await_journal(broker, &numbers);
    }
    outcome
}

/// The numbers of accepted items, as runs of consecutive ones.
#[derive(Debug, Default)]
struct IdRanges(Vec<Accepted>);

impl IdRanges {
    /// Adds numbers that are greater than all before.
    fn add(&mut self, run: Accepted) {
        match self.0.last_mut() {
            Some(before) if before.last.0 + 1 == run.first.0 => before.last = run.last,
            _ => self.0.push(run),
        }
    }

    fn last(&self) -> Option<ItemId> {
        self.0.last().map(|run| run.last)
    }

    /// Returns how many of them are at most this one.
    fn count_up_to(&self, greatest: u64) -> u64 {
        let count = |run: &Accepted| (greatest.min(run.last.0) + 1).saturating_sub(run.first.0);
        self.0.iter().map(count).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::super::batch::QUICK;
    use super::*;

    type Queue = JoinableQueue<u64>;

    /// Waits until this holds. A test that hangs here is ended by its runner.
    fn until(holds: impl Fn() -> bool) {
        while !holds() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_waits_for_room_when_the_queue_is_closed_is_given_back() {
        let queue = Queue::bounded(3);
        let mut items = 0..1000;
        let put = std::thread::scope(|scope| {
            let putter = scope.spawn(|| queue.put_many(items.by_ref()));
            until(|| queue.is_full());
            queue.close();
            putter.join().unwrap()
        });
        assert_eq!((put.accepted, put.is_cut_short), (3, true));
        assert!(put.refused.iter().all(|refused| refused.error.is_closed()));
        let given_back: Vec<u64> = put.refused.iter().map(|refused| refused.item).collect();
        assert_eq!(given_back, (3..items.start).collect::<Vec<u64>>());
        let indices = put.refused.iter().map(|refused| refused.index);
        assert_eq!(indices.collect::<Vec<u64>>(), given_back);
    }

    #[test]
    fn no_more_wait_than_may() {
        let queue = Queue::bounded(7);
        std::thread::scope(|scope| {
            let putter = scope.spawn(|| queue.put_many(0..5000).into_result());
            for n in 0..5000 {
                let delivery = queue.get().unwrap();
                assert_eq!(*delivery, n);
                assert!(queue.len() <= 7);
                delivery.task_done().unwrap();
            }
            assert_eq!(putter.join().unwrap().unwrap(), 5000);
        });
        assert_eq!(queue.join().unwrap().done, 5000);
    }

    #[test]
    fn an_item_that_comes_slowly_is_put_before_the_next_one() {
        let queue = Queue::unbounded();
        let (sender, receiver) = mpsc::channel();
        let slowly = std::iter::from_fn(move || {
            let slow = Instant::now() + 2 * QUICK;
            until(|| Instant::now() > slow);
            receiver.recv().ok()
        });
        std::thread::scope(|scope| {
            let putter = scope.spawn(|| queue.put_many(slowly).into_result());
            for n in 0..5 {
                sender.send(n).unwrap();
                until(|| queue.len() as u64 == n + 1);
            }
            drop(sender);
            assert_eq!(putter.join().unwrap().unwrap(), 5);
        });
    }

    #[test]
    fn an_item_may_use_its_queue_when_it_is_dropped() {
        #[derive(Debug)]
        struct Looking(Queue, u64);
        impl Borrow<u64> for Looking {
            fn borrow(&self) -> &u64 {
                &self.1
            }
        }
        impl Drop for Looking {
            fn drop(&mut self) {
                assert!(self.0.len() as u64 > self.1);
            }
        }
        let queue = Queue::unbounded();
        let items = (0..1000).map(|n| Looking(queue.clone(), n));
        assert_eq!(queue.put_many(items).into_result().unwrap(), 1000);
    }

    #[test]
    fn numbers_are_counted_up_to_the_last_that_is_durable() {
        let mut numbers = IdRanges::default();
        let run = |first, last| Accepted {
            first: ItemId(first),
            last: ItemId(last),
        };
        for (first, last) in [(1, 3), (4, 4), (7, 9)] {
            numbers.add(run(first, last));
        }
        assert_eq!(numbers.0, [run(1, 4), run(7, 9)]);
        let counts = [0, 3, 4, 6, 7, 9, 20].map(|greatest| numbers.count_up_to(greatest));
        assert_eq!(counts, [0, 3, 4, 4, 5, 7, 7]);
    }
}
