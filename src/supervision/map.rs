//! `map`: items in, results out, lazily and with bounded memory.

use std::any::type_name;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Supervisor;
use crate::broker::{Broker, Deadline, Envelope, ItemEnd, MailboxKey, PutAnswer, ReplyTo};
use crate::error::{Error, ItemError, Kind};
use crate::handler::lending::{Lender, lending};
use crate::queue::batch::{BATCH_ITEMS, Batch, Pace};
use crate::queue::serialized_for;

/// The number of items under way in one `map`, enough to keep workers with full credit busy.
const WINDOW: u64 = 4096;

impl<T, R> Supervisor<T, R>
where
    T: Serialize,
    R: DeserializeOwned,
{
    /// Puts each item on the queue and yields the results in the order of the items.
    ///
    /// The iterator is read only as far ahead as keeps the workers busy (4096 items at most), and a
    /// slow item holds back the results behind it. Each result is the handler's, or the item's
    /// error.
    ///
    /// Items that come quickly are put up to 128 at a time. An item waits only for others that the
    /// iterator promises by its `size_hint`, so an iterator that promises none, like that of a
    /// channel, may wait for what workers do with the items before.
    pub fn map<I: IntoIterator<Item = T>>(&self, items: I) -> Map<'_, I::IntoIter, R> {
        Map::new(&self.broker, items, true)
    }

    /// Does the same as [`map`](Self::map), in the order in which the results come.
    pub fn map_unordered<I: IntoIterator<Item = T>>(&self, items: I) -> Map<'_, I::IntoIter, R> {
        Map::new(&self.broker, items, false)
    }
}

/// The results of a [`map`](Supervisor::map). If it is dropped early, it puts no more items, but
/// those already put are still worked on.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, Supervisor};
///
/// let queue = JoinableQueue::bounded(10);
/// let pool = Supervisor::builder().threads(2).handler(&queue, |n: u64| Ok::<_, String>(n * n))?;
/// // There is no end of items, and no more are read than workers are kept busy by.
/// let squares = pool.map(1..).map(Result::unwrap);
/// let sum: u64 = squares.take_while(|square| *square < 100).sum();
/// assert_eq!(sum, 285);
/// # Ok::<(), dishrack::Error>(())
/// ```
pub struct Map<'a, I: Iterator, R> {
    broker: &'a Arc<Broker>,
    items: I,
    /// True once the iterator has ended.
    is_read: bool,
    is_ordered: bool,
    mailbox: MailboxKey,
    /// The number of the next item to put, of those put and not answered, and of the next to yield.
    next_put: u64,
    pending: u64,
    next_yield: u64,
    /// Results that have come and not been looked at, in the order of their arrival.
    outcomes: VecDeque<(u32, ItemEnd)>,
    /// Results that came before their turn, or never will come.
    arrived: BTreeMap<u64, Result<R, ItemError<I::Item>>>,
    /// The items that are put next, and how many those are.
    batch: Batch<(u64, I::Item)>,
    pace: Pace,
    results: PhantomData<R>,
}

impl<I: Iterator, R> fmt::Debug for Map<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("next_put", &self.next_put)
            .field("pending", &self.pending)
            .field("next_yield", &self.next_yield)
            .finish_non_exhaustive()
    }
}

impl<'a, I: Iterator, R: DeserializeOwned> Map<'a, I, R> {
    fn new<It>(broker: &'a Arc<Broker>, items: It, is_ordered: bool) -> Self
    where
        It: IntoIterator<IntoIter = I, Item = I::Item>,
    {
        Map {
            broker,
            items: items.into_iter(),
            is_read: false,
            is_ordered,
            mailbox: broker.open_mailbox(),
            next_put: 0,
            pending: 0,
            next_yield: 0,
            outcomes: VecDeque::new(),
            arrived: BTreeMap::new(),
            batch: Batch::new(),
            pace: Pace::new(),
            results: PhantomData,
        }
    }

    /// Puts items while there is room in the window, many at once. Waits for room on the queue,
    /// which the workers make even if no results are taken.
    fn put_ahead(&mut self)
    where
        I::Item: Serialize,
    {
        while !self.is_read && self.room() > 0 {
            let items_max = self.pace.begin();
            self.read_batch(items_max);
            self.pace.end();
            self.put_batch();
        }
    }

    /// Reads this many items at most. None waits for one that the iterator does not promise: that
    /// one may come only after a worker has done it.
    fn read_batch(&mut self, items_max: usize)
    where
        I::Item: Serialize,
    {
        while !self.is_read && self.room() > 0 && !self.batch.is_full(items_max) {
            match self.items.next() {
                Some(item) => self.add(item),
                None => self.is_read = true,
            }
            if self.items.size_hint().0 == 0 {
                return;
            }
        }
    }

    /// Returns the number of further items that may be under way.
    fn room(&self) -> u64 {
        WINDOW - (self.next_put - self.next_yield)
    }

    fn add(&mut self, item: I::Item)
    where
        I::Item: Serialize,
    {
        let index = self.next_put;
        self.next_put += 1;
        match serialized_for(&item, self.broker) {
            Ok(body) => {
                let reply = ReplyTo {
                    mailbox: self.mailbox,
                    index: low_half(index),
                };
                let envelope = Envelope::with_reply(body, reply);
                self.batch.push(envelope, (index, item));
            }
            Err(kind) => self.arrived.extend([refused(index, item, kind)]),
        }
    }

    fn put_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let (pending, arrived) = (&mut self.pending, &mut self.arrived);
        self.batch.put_unsynced(self.broker, |answer| match answer {
            PutAnswer::Accepted(accepted) => *pending += accepted.count(),
            PutAnswer::Sent(count) => *pending += count,
            PutAnswer::Refused((index, item), kind) => arrived.extend([refused(index, item, kind)]),
        });
    }

    fn take_arrived(&mut self) -> Option<Result<R, ItemError<I::Item>>> {
        let result = match self.is_ordered {
            true => self.take_next(),
            false => self.take_any(),
        }?;
        self.next_yield += 1;
        Some(result)
    }

    fn take_any(&mut self) -> Option<Result<R, ItemError<I::Item>>> {
        match self.outcomes.pop_front() {
            Some((_, outcome)) => Some(result_of(outcome)),
            None => self.arrived.pop_first().map(|(_, result)| result),
        }
    }

    /// Returns the result whose turn it is, and keeps those that came too early.
    fn take_next(&mut self) -> Option<Result<R, ItemError<I::Item>>> {
        while let Some((index, outcome)) = self.outcomes.pop_front() {
            let result = result_of(outcome);
            let ahead = index.wrapping_sub(low_half(self.next_yield));
            if ahead == 0 {
                return Some(result);
            }
            self.arrived
                .insert(self.next_yield + u64::from(ahead), result);
        }
        self.arrived.remove(&self.next_yield)
    }

    /// Waits for outcomes, when none is left of those that came before.
    fn wait(&mut self) {
        match self.broker.take_outcomes(
            self.mailbox,
            Deadline::Forever,
            &|| true,
            &mut self.outcomes,
        ) {
            Ok(()) => self.pending -= self.outcomes.len() as u64,
            Err(kind) => self.give_up(&Error(kind)),
        }
    }

    /// Gives this error to every item under way, because no more outcomes will come.
    fn give_up(&mut self, error: &Error) {
        let first = if self.is_ordered { self.next_yield } else { 0 };
        let missing = (first..self.next_put).filter(|index| !self.arrived.contains_key(index));
        let wanted = usize::try_from(self.pending).unwrap_or(usize::MAX);
        let missing: Vec<u64> = missing.take(wanted).collect();
        for index in missing {
            let error = ItemError::NoResult(error.clone());
            self.arrived.insert(index, Err(error));
        }
        self.pending = 0;
    }
}

impl<I, R> Iterator for Map<'_, I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = Result<R, ItemError<I::Item>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // Only when a whole batch fits: workers have enough until then.
            let has_much_room = self.room() >= BATCH_ITEMS as u64;
            if has_much_room {
                self.put_ahead();
            }
            if let Some(result) = self.take_arrived() {
                return Some(result);
            }
            if !has_much_room {
                self.put_ahead();
                // An item that was refused just now is a result too.
                if let Some(result) = self.take_arrived() {
                    return Some(result);
                }
            }
            if self.pending == 0 {
                return None;
            }
            self.wait();
        }
    }
}

impl<I: Iterator, R> Drop for Map<'_, I, R> {
    fn drop(&mut self) {
        self.broker.close_mailbox(self.mailbox);
    }
}

/// Returns the low half of an item's number, which tells it from all others in the window.
fn low_half(index: u64) -> u32 {
    let [.., a, b, c, d] = index.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Returns the result of an item that was not accepted, with its number.
fn refused<T, R>(index: u64, item: T, kind: Kind) -> (u64, Result<R, ItemError<T>>) {
    let error = Error(kind);
    (index, Err(ItemError::NotAccepted { item, error }))
}

pub(super) fn result_of<T, R: DeserializeOwned>(outcome: ItemEnd) -> Result<R, ItemError<T>> {
    match outcome {
        ItemEnd::Done(bytes) => {
            let decoded = lending(Lender::of(&bytes).as_ref(), || postcard::from_bytes(&bytes));
            decoded
                .map_err(|error| ItemError::NotDecodable(format!("{}: {error}", type_name::<R>())))
        }
        ItemEnd::Dead(id, history) => Err(ItemError::Dead { id, history }),
    }
}
