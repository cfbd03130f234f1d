//! Single items: what can be seen of them, and waiting for the end of one.
//!
//! An item that the ledger does not have has its end. If that is a dead letter, the backend has it
//! as soon as it is durable. So the ledger is asked first, then what has happened becomes durable,
//! and then the backend is asked; and no dead letter is tried again meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::alone::Recheck;
use super::core::{Core, EndWait, NameItems};
use super::monitor::sleep;
use super::{Broker, Deadline, Envelope};
use crate::error::Kind;
use crate::observe::item::{ItemBody, ItemHolder, ItemInfo, ItemState};
use crate::store::StoredLetter;
use dishrack_core::ledger::{FoundItem, ItemId, Place, PlaceKind, Token};

/// The greatest number of items that are looked for in one go.
const PAGE_MAX: usize = 1000;

/// The greatest number of items that are looked at with the lock held to find some that are done.
const SPAN: u64 = 4096;

impl Broker {
    /// Returns what can be seen of an item; `None` if it was not accepted here.
    pub(crate) fn item(&self, id: ItemId) -> Result<Option<ItemInfo>, Kind> {
        let _letters = self.letters.lock();
        let core = self.lock_seeing();
        let name_items = core.name_items();
        let found = core.dispatcher.ledger.find(id);
        let found = found.map(|found| core.info_of(found));
        let is_known = id.0 > 0 && id <= core.dispatcher.ledger.last_durable();
        drop(core);
        if let Some(info) = found {
            return Ok(Some(named(info, name_items.as_ref())));
        }
        if !is_known && !self.is_shared() {
            return Ok(None);
        }
        let letter = self.dead_after(ItemId(id.0.saturating_sub(1)), 1)?.pop();
        Ok(match letter.filter(|letter| letter.id == id) {
            Some(letter) => Some(named(info_of_letter(letter), name_items.as_ref())),
            // What others have of a stream is not seen here.
            None if self.is_shared() => None,
            None => self.ended_infos(vec![id])?.pop(),
        })
    }

    /// Returns the first items after this one that are in this state, or in any.
    pub(crate) fn items(
        &self,
        state: Option<ItemState>,
        after: ItemId,
        limit: usize,
    ) -> Result<Vec<ItemInfo>, Kind> {
        let limit = limit.min(PAGE_MAX);
        let Some(first) = after.0.checked_add(1).filter(|_| limit > 0) else {
            return Ok(Vec::new());
        };
        let (first, last) = (ItemId(first), ItemId(u64::MAX));
        let _letters = self.letters.lock();
        let items = match state {
            Some(ItemState::Waiting) => self.unfinished(first, last, PlaceKind::Waiting, limit),
            Some(ItemState::Running) => self.unfinished(first, last, PlaceKind::Held, limit),
            Some(ItemState::Resting) => self.unfinished(first, last, PlaceKind::Resting, limit),
            Some(ItemState::Dead) => self.dead_infos(after, limit)?,
            Some(ItemState::Done) => self.done_infos(after, limit)?,
            None => self.all_infos(after, limit)?,
        };
        let name_items = self.read(Core::name_items);
        let items = items.into_iter();
        Ok(items.map(|one| named(one, name_items.as_ref())).collect())
    }

    fn unfinished(
        &self,
        first: ItemId,
        last: ItemId,
        kind: impl Into<Option<PlaceKind>>,
        limit: usize,
    ) -> Vec<ItemInfo> {
        let core = self.lock_seeing();
        let ledger = &core.dispatcher.ledger;
        let found = ledger.find_all(first..=last, kind.into(), limit);
        found.into_iter().map(|one| core.info_of(one)).collect()
    }

    /// Returns the first dead letters after this number, with all that has happened by now.
    fn dead_after(&self, after: ItemId, limit: usize) -> Result<Vec<StoredLetter>, Kind> {
        if !self.is_shared() {
            self.sync_all()?;
        }
        let letters = self.storage.backend().dead_page(after, limit);
        letters.map_err(|failure| self.inaccessible(&failure))
    }

    fn dead_infos(&self, after: ItemId, limit: usize) -> Result<Vec<ItemInfo>, Kind> {
        let letters = self.dead_after(after, limit)?.into_iter();
        Ok(letters.map(info_of_letter).collect())
    }

    /// Returns what is known of these items, in ascending order, which are neither here nor shown as dead
    /// letters: all were given up, or are done. No stream has the items.
    fn ended_infos(&self, ended: Vec<ItemId>) -> Result<Vec<ItemInfo>, Kind> {
        let given_up = self.storage.backend().given_up_among(ended.clone());
        let given_up = given_up.map_err(|failure| self.inaccessible(&failure))?;
        let info = |id| match given_up.binary_search(&id) {
            Ok(_) => ItemInfo::new(id, ItemState::Dead),
            Err(_) => ItemInfo::new(id, ItemState::Done),
        };
        Ok(ended.into_iter().map(info).collect())
    }

    fn done_infos(&self, after: ItemId, limit: usize) -> Result<Vec<ItemInfo>, Kind> {
        let mut done = Vec::new();
        let (mut after, is_shared) = (after, self.is_shared());
        while done.len() < limit && !is_shared {
            let (ended, last) = self
                .lock_seeing()
                .dispatcher
                .ledger
                .ended_after(after, SPAN);
            if last <= after {
                break;
            }
            self.sync_all()?;
            let ended = self.ended_infos(ended)?.into_iter();
            done.extend(ended.filter(|info| info.state == ItemState::Done));
            after = last;
        }
        done.truncate(limit);
        Ok(done)
    }

    /// Returns the next items, whatever their state. Every number up to the last accepted one is
    /// that of an item, but for a stream, of which others have some.
    fn all_infos(&self, after: ItemId, limit: usize) -> Result<Vec<ItemInfo>, Kind> {
        let last = match self.is_shared() {
            true => ItemId(u64::MAX),
            false => {
                let last = after.0.saturating_add(limit as u64);
                self.read(|core| core.dispatcher.ledger.last_durable())
                    .min(ItemId(last))
            }
        };
        let unfinished = self.unfinished(ItemId(after.0 + 1), last, None, limit);
        let unfinished = unfinished.into_iter().map(|one| (one.number, one));
        let mut all: BTreeMap<ItemId, ItemInfo> = unfinished.collect();
        for info in self.dead_infos(after, limit)? {
            if info.number <= last {
                all.entry(info.number).or_insert(info);
            }
        }
        if !self.is_shared() {
            let numbers = (after.0 + 1..=last.0).map(ItemId);
            let ended = numbers.filter(|id| !all.contains_key(id)).collect();
            let ended = self.ended_infos(ended)?.into_iter();
            all.extend(ended.map(|info| (info.number, info)));
        }
        Ok(all.into_values().take(limit).collect())
    }

    /// Waits until an item has its end. Returns `None` if it was not accepted here.
    pub(crate) fn wait_item(
        &self,
        id: ItemId,
        deadline: Deadline,
    ) -> Result<Option<ItemInfo>, Kind> {
        if self.is_shared() {
            let why = "an item of a stream may be with another supervisor, so its end cannot be \
                       waited for alone: join the queue";
            return Err(Kind::invalid("item", why));
        }
        let mut recheck = Recheck::begin();
        loop {
            self.drive_inline();
            let mut core = self.lock_seeing();
            let mut wait = EndWait { id, token: None };
            if !core.is_open(&mut wait) {
                drop(core);
                return self.item(id);
            }
            if let Some(kind) = core.loss() {
                return Err(kind);
            }
            if let Deadline::Until(deadline) = deadline
                && Instant::now() >= deadline
            {
                return Err(Kind::ItemTimedOut { id });
            }
            if self.has_inline_work(&core) {
                continue;
            }
            let deadline = self.limit_of_wait(&core, deadline, &mut recheck)?;
            core.joiner_waits();
            let key = core.end_waits.insert(wait);
            let mut core = sleep(&self.monitor.doorbells.ends, core, deadline).0;
            core.end_waits.remove(key);
            core.joiners -= 1;
        }
    }
}

impl Core {
    /// Returns `true` if the item of this wait has no end yet.
    fn is_open(&self, wait: &mut EndWait) -> bool {
        let ledger = &self.dispatcher.ledger;
        ledger.is_unfinished(wait.id, &mut wait.token)
    }

    /// Wakes those that wait for the end of an item which has it by now.
    pub(super) fn ring_for_ends(&mut self) {
        let mut waits = std::mem::take(&mut self.end_waits);
        // All of them look where their items are, so that the next look is short.
        let open = waits.values_mut().map(|wait| self.is_open(wait));
        if open.filter(|is_open| !is_open).count() > 0 {
            self.doorbells.ends.notify_all();
        }
        self.end_waits = waits;
    }

    fn info_of(&self, found: FoundItem<Envelope>) -> ItemInfo {
        let failed = u32::try_from(found.history.len()).unwrap_or(u32::MAX);
        let mut info = ItemInfo {
            attempts: failed,
            history: found.history,
            body: ItemBody::Queued(found.payload.body),
            ..ItemInfo::new(found.id, ItemState::Waiting)
        };
        match found.place {
            Place::Waiting => info.waits_for = self.dispatcher.ledger.waits_for(info.number),
            Place::Resting(until) => {
                let ledger = &self.dispatcher.ledger;
                info.state = ItemState::Resting;
                info.waits_for = ledger.waits_for(info.number);
                info.after = ledger.dependencies_of(info.number).to_vec();
                // One that is to begin after others has no time.
                if info.after.is_empty() {
                    info.due = moment(self.emitter.unix_at(until));
                }
            }
            Place::Held(held) => {
                info.state = ItemState::Running;
                let is_begun = |one: &Token| {
                    let begun = self.begun_by(one.holder());
                    begun.is_none_or(|begun| one.ordinal() <= begun)
                };
                info.attempts = failed.saturating_add(u32::from(held.iter().any(is_begun)));
                info.holders = held.iter().map(|one| self.holder_of(*one)).collect();
            }
        }
        info
    }

    fn holder_of(&self, held: Token) -> ItemHolder {
        let holder = held.holder();
        let attachment = self.attachments.get(holder);
        let board = attachment.and_then(|attachment| attachment.board());
        let board = board.filter(|board| board.read().current == held.ordinal());
        let since = board.and_then(|board| moment(self.emitter.unix_of_ns(board.progress().0)));
        match attachment {
            Some(attachment) => ItemHolder {
                worker: Arc::clone(&attachment.worker),
                pid: attachment.pid,
                since,
            },
            // A thread that called `get` itself; which one is not noted.
            None => ItemHolder {
                worker: "thread".into(),
                pid: std::process::id(),
                since: None,
            },
        }
    }
}

/// Converts a time since 1970; one that is too far away is none.
fn moment(unix: Duration) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(unix)
}

fn info_of_letter(letter: StoredLetter) -> ItemInfo {
    let begun = letter.history.iter().map(|failure| failure.attempt).max();
    ItemInfo {
        attempts: begun.unwrap_or(0),
        history: letter.history,
        body: ItemBody::Stored(letter.payload),
        ..ItemInfo::new(letter.id, ItemState::Dead)
    }
}

/// Adds the item's name. That calls the program's own code, so no lock of the queue is held.
fn named(mut info: ItemInfo, name_items: Option<&NameItems>) -> ItemInfo {
    info.name = info.raw().map(|bytes| match name_items {
        Some(name_items) => name_items(bytes),
        None => format!("item-{}", info.number),
    });
    info
}
