//! `map`: items in, results out, lazily and with bounded memory.

use std::any::type_name;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter::Fuse;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Supervisor;
use crate::broker::current;
use crate::broker::{Broker, Envelope, ItemEnd, MailboxKey, ReplyTo};
use crate::error::{ItemError, Kind};
use crate::queue::serialized;

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
pub struct Map<'a, I: Iterator, R> {
    broker: &'a Arc<Broker>,
    items: Fuse<I>,
    is_ordered: bool,
    mailbox: MailboxKey,
    /// The number of the next item to put, of those put and not answered, and of the next to yield.
    next_put: u64,
    pending: u64,
    next_yield: u64,
    /// Results that have come and not been looked at, in the order of their arrival.
    outcomes: VecDeque<(u64, ItemEnd)>,
    /// Results that came before their turn, or never will come.
    arrived: BTreeMap<u64, Result<R, ItemError<I::Item>>>,
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
            items: items.into_iter().fuse(),
            is_ordered,
            mailbox: broker.open_mailbox(),
            next_put: 0,
            pending: 0,
            next_yield: 0,
            outcomes: VecDeque::new(),
            arrived: BTreeMap::new(),
            results: PhantomData,
        }
    }

    /// Puts items while there is room in the window. Waits for room on the queue, which the workers
    /// make even if no results are taken.
    fn put_ahead(&mut self)
    where
        I::Item: Serialize,
    {
        while self.next_put - self.next_yield < WINDOW {
            let Some(item) = self.items.next() else {
                return;
            };
            let index = self.next_put;
            self.next_put += 1;
            match self.put(index, &item) {
                Ok(()) => self.pending += 1,
                Err(kind) => {
                    let why = kind.to_string();
                    let error = ItemError::NotAccepted { item, why };
                    self.arrived.insert(index, Err(error));
                }
            }
        }
    }

    fn put(&self, index: u64, item: &I::Item) -> Result<(), Kind>
    where
        I::Item: Serialize,
    {
        let body = serialized(item, self.broker.shares_memory())?;
        let mailbox = self.mailbox;
        let envelope = Envelope::with_reply(body, ReplyTo { mailbox, index });
        let is_holding = current::holds(self.broker);
        self.broker.put_unsynced(envelope, is_holding).map(drop)
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
            if index == self.next_yield {
                return Some(result);
            }
            self.arrived.insert(index, result);
        }
        self.arrived.remove(&self.next_yield)
    }

    fn wait(&mut self) {
        match self.broker.take_outcomes(self.mailbox) {
            Some(Ok(outcomes)) => {
                self.pending -= outcomes.len() as u64;
                self.outcomes = outcomes;
            }
            Some(Err(why)) => self.give_up(&why),
            None => self.give_up("the map's mailbox is gone"),
        }
    }

    /// Gives this error to every item under way, because no more outcomes will come.
    fn give_up(&mut self, why: &str) {
        let first = if self.is_ordered { self.next_yield } else { 0 };
        let missing = (first..self.next_put).filter(|index| !self.arrived.contains_key(index));
        let wanted = usize::try_from(self.pending).unwrap_or(usize::MAX);
        let missing: Vec<u64> = missing.take(wanted).collect();
        for index in missing {
            let error = ItemError::NoWorkersLeft(why.to_owned());
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
            self.put_ahead();
            if let Some(result) = self.take_arrived() {
                return Some(result);
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

fn result_of<T, R: DeserializeOwned>(outcome: ItemEnd) -> Result<R, ItemError<T>> {
    match outcome {
        ItemEnd::Done(bytes) => postcard::from_bytes(&bytes)
            .map_err(|error| ItemError::NotDecodable(format!("{}: {error}", type_name::<R>()))),
        ItemEnd::Dead(id, history) => Err(ItemError::Dead { id, history }),
    }
}
