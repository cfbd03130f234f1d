//! The store of a queue that lives and dies with its process: a list of dead letters.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};

use super::{Store, StoredLetter};
use crate::payload::envelope::Envelope;
use dishrack_core::ledger::{ItemId, Write};

#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    dead: Mutex<BTreeMap<ItemId, StoredLetter>>,
}

impl MemoryStore {
    fn dead(&self) -> MutexGuard<'_, BTreeMap<ItemId, StoredLetter>> {
        self.dead.lock()
    }
}

impl Store for MemoryStore {
    fn commit(&self, _write: &Write<Envelope>) -> Result<(), String> {
        Err("a store in memory makes nothing durable".into())
    }

    fn keep_dead(&self, letter: StoredLetter) {
        self.dead().insert(letter.id, letter);
    }

    fn dead_letters(&self) -> Result<Vec<StoredLetter>, String> {
        Ok(self.dead().values().cloned().collect())
    }

    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, String> {
        let mut dead = self.dead();
        let taken = dead.extract_if(.., |_, letter| is_wanted(letter));
        Ok(taken.map(|(_, letter)| letter).collect())
    }

    fn revive(&self, id: ItemId) -> Result<Option<StoredLetter>, String> {
        Ok(self.dead().remove(&id))
    }
}
