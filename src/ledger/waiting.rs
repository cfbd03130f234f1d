//! The items that nobody holds, in their order.
//!
//! An item that comes back goes to its old place. That is cheap because everything that was ever
//! handed out came from the front: all returned items precede all fresh ones. So fresh items need
//! no number of their own, only their payload in a row, and a million of them cost a million
//! payloads. It knows nothing of holders or of why an item came back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Failure, ItemId, Weight};

/// One accepted item that has no terminal state.
#[derive(Debug)]
pub(super) struct Entry<P> {
    pub(super) id: ItemId,
    pub(super) payload: P,
    /// Failed attempts; empty, and then without an allocation, for almost every item.
    pub(super) history: Vec<Failure>,
}

impl<P> Entry<P> {
    /// The number of the attempt that is under way or comes next.
    pub(super) fn attempt(&self) -> u32 {
        u32::try_from(self.history.len()).unwrap_or(u32::MAX - 1) + 1
    }
}

#[derive(Debug)]
pub(super) struct Waiting<P> {
    /// Never handed out; the last one has the number `accepted`.
    fresh: VecDeque<P>,
    accepted: u64,
    returned: BTreeMap<ItemId, Entry<P>>,
    delayed: BTreeMap<(Duration, ItemId), Entry<P>>,
}

impl<P: Weight> Waiting<P> {
    pub(super) fn new() -> Self {
        Waiting {
            fresh: VecDeque::new(),
            accepted: 0,
            returned: BTreeMap::new(),
            delayed: BTreeMap::new(),
        }
    }

    pub(super) fn accept(&mut self, payload: P) -> ItemId {
        self.fresh.push_back(payload);
        self.accepted += 1;
        ItemId(self.accepted)
    }

    pub(super) fn pop(&mut self) -> Option<Entry<P>> {
        if let Some((_, entry)) = self.returned.pop_first() {
            return Some(entry);
        }
        let id = ItemId(self.accepted - self.fresh.len() as u64 + 1);
        let payload = self.fresh.pop_front()?;
        Some(Entry {
            id,
            payload,
            history: Vec::new(),
        })
    }

    /// What the next item weighs, if one waits.
    pub(super) fn front_weight(&self) -> Option<usize> {
        match self.returned.first_key_value() {
            Some((_, entry)) => Some(entry.payload.weight()),
            None => self.fresh.front().map(Weight::weight),
        }
    }

    pub(super) fn put_back(&mut self, entry: Entry<P>) {
        self.returned.insert(entry.id, entry);
    }

    pub(super) fn put_back_after(&mut self, entry: Entry<P>, now: Duration, rest: Duration) {
        if rest.is_zero() {
            self.put_back(entry);
        } else {
            self.delayed
                .insert((now.saturating_add(rest), entry.id), entry);
        }
    }

    pub(super) fn wake(&mut self, now: Duration) {
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= now
        {
            let entry = first.remove();
            self.put_back(entry);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.delayed.first_key_value().map(|((at, _), _)| *at)
    }

    /// Items that may be handed out now.
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.returned.len()
    }

    /// Whether nothing waits and nothing rests.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.delayed.is_empty()
    }

    pub(super) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }
}
