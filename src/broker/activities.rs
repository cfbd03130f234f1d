//! The items that workers are at, in one look for all of them; and whether a worker has any.

use std::time::Duration;

use super::Broker;
use super::core::Core;
use crate::payload::Payload;
use crate::sys::clock::monotonic_ns;
use dishrack_core::ledger::{HolderId, ItemId};

/// The item that a worker is at.
#[derive(Debug, Clone)]
pub(crate) struct CurrentItem {
    pub(crate) id: ItemId,
    pub(crate) name: String,
    /// The time that it has been at it; `None` if it has not begun it.
    pub(crate) elapsed: Option<Duration>,
}

impl Broker {
    /// Returns the item that each of these workers is at; `None` if it has none.
    pub(crate) fn activities(&self, holders: &[Option<HolderId>]) -> Vec<Option<CurrentItem>> {
        let core = self.lock_seeing();
        let seen = holders.iter().map(|holder| core.seen_at((*holder)?));
        let seen: Vec<_> = seen.collect();
        let name_items = core.name_items();
        drop(core);
        // The program's own code gives the names, so no lock is held.
        let named = |(id, body, elapsed): (ItemId, Payload, Option<Duration>)| CurrentItem {
            id,
            name: match &name_items {
                Some(name_items) => name_items(&body),
                None => format!("item-{id}"),
            },
            elapsed,
        };
        seen.into_iter().map(|one| one.map(named)).collect()
    }

    /// Returns `true` if this worker has something. If not, its overseer is told when it is given
    /// something.
    pub(crate) fn has_work(&self, holder: HolderId) -> bool {
        let mut core = self.lock();
        let has_work = core.dispatcher.ledger.held_by(holder) > 0;
        if !has_work && core.attachments.contains_key(holder) {
            core.without_work.insert(holder, ());
        }
        has_work
    }
}

impl Core {
    /// Tells the overseer of this worker, if it waits for that, that it was given something.
    pub(super) fn tell_of_work(&mut self, holder: HolderId) {
        if self.dispatcher.ledger.held_by(holder) == 0 || self.without_work.remove(holder).is_none()
        {
            return;
        }
        let attachment = self.attachments.get(holder);
        if let Some(overseer) = attachment.and_then(|attachment| attachment.overseer.as_ref()) {
            overseer.given();
        }
    }

    fn seen_at(&self, holder: HolderId) -> Option<(ItemId, Payload, Option<Duration>)> {
        let ledger = &self.dispatcher.ledger;
        let board = self.attachments.get(holder)?.board();
        let current = board.map_or(0, |board| board.read().current);
        let begun = ledger.handed_as(holder, current);
        let handed = begun.or_else(|| ledger.first_held(holder))?;
        let payload = ledger.payload(handed.token)?.body.clone();
        let elapsed = board.filter(|_| begun.is_some());
        let elapsed = elapsed.map(|board| elapsed_since(board.progress().0));
        Some((handed.id, payload, elapsed))
    }
}

fn elapsed_since(since_ns: u64) -> Duration {
    Duration::from_nanos(monotonic_ns().saturating_sub(since_ns))
}
