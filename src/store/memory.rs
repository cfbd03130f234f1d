//! Dead letters of a queue that ends with its process. It knows nothing of other items.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use parking_lot::{Mutex, MutexGuard};

use super::{Backend, StoreError, StoredLetter};
use dishrack_core::ledger::ItemId;

#[derive(Debug, Default)]
pub(crate) struct Letters {
    dead: Mutex<BTreeMap<ItemId, StoredLetter>>,
}

impl Letters {
    fn dead(&self) -> MutexGuard<'_, BTreeMap<ItemId, StoredLetter>> {
        self.dead.lock()
    }

    /// Keeps the dead letter. It is called with the broker's lock held.
    pub(crate) fn keep(&self, letter: StoredLetter) {
        self.dead().insert(letter.id, letter);
    }
}

impl Backend for Letters {
    fn dead_letters(&self) -> Result<Vec<StoredLetter>, StoreError> {
        Ok(self.dead().values().cloned().collect())
    }

    fn dead_page(&self, after: ItemId, limit: usize) -> Result<Vec<StoredLetter>, StoreError> {
        let dead = self.dead();
        let page = dead.range((Excluded(after), Unbounded)).take(limit);
        Ok(page.map(|(_, letter)| letter.clone()).collect())
    }

    fn dead_among(&self, mut ids: Vec<ItemId>) -> Result<Vec<ItemId>, StoreError> {
        let dead = self.dead();
        ids.retain(|id| dead.contains_key(id));
        Ok(ids)
    }

    fn dead_ids(&self) -> Vec<ItemId> {
        self.dead().keys().copied().collect()
    }

    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, StoreError> {
        let mut dead = self.dead();
        let taken = dead.extract_if(.., |_, letter| is_wanted(letter));
        Ok(taken.map(|(_, letter)| letter).collect())
    }

    fn drop_dead(&self, id: ItemId) -> Result<bool, StoreError> {
        Ok(self.dead().remove(&id).is_some())
    }

    fn revive(&self, id: ItemId) -> Result<Option<StoredLetter>, StoreError> {
        Ok(self.dead().remove(&id))
    }
}
