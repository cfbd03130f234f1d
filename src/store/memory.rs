//! Dead letters of a queue that ends with its process, and the numbers of those that were taken away. It
//! knows nothing of other items.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use super::{Backend, StoreError, StoredLetter};
use dishrack_core::ledger::ItemId;

#[derive(Debug, Default)]
pub(crate) struct Letters(Mutex<GivenUp>);

#[derive(Debug, Default)]
struct GivenUp {
    dead: BTreeMap<ItemId, StoredLetter>,
    dropped: BTreeSet<ItemId>,
}

impl GivenUp {
    fn contains(&self, id: ItemId) -> bool {
        self.dead.contains_key(&id) || self.dropped.contains(&id)
    }
}

impl Letters {
    fn dead(&self) -> MappedMutexGuard<'_, BTreeMap<ItemId, StoredLetter>> {
        MutexGuard::map(self.0.lock(), |all| &mut all.dead)
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

    fn given_up_among(&self, mut ids: Vec<ItemId>) -> Result<Vec<ItemId>, StoreError> {
        let all = self.0.lock();
        ids.retain(|id| all.contains(*id));
        Ok(ids)
    }

    fn given_up(&self) -> Vec<ItemId> {
        let all = self.0.lock();
        all.dead.keys().chain(&all.dropped).copied().collect()
    }

    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, StoreError> {
        let mut all = self.0.lock();
        let taken = all.dead.extract_if(.., |_, letter| is_wanted(letter));
        let taken: Vec<StoredLetter> = taken.map(|(_, letter)| letter).collect();
        all.dropped.extend(taken.iter().map(|letter| letter.id));
        Ok(taken)
    }

    fn drop_dead(&self, id: ItemId) -> Result<bool, StoreError> {
        let mut all = self.0.lock();
        let is_dead = all.dead.remove(&id).is_some();
        if is_dead {
            all.dropped.insert(id);
        }
        Ok(is_dead)
    }

    fn revive(&self, id: ItemId) -> Result<Option<StoredLetter>, StoreError> {
        Ok(self.dead().remove(&id))
    }
}
