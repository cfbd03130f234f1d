//! Unique keys: an item is not accepted while another one has its key. Times are since any fixed start.
//!
//! An item has its key until it ends; or, where there is a time, for so long after it was accepted, done or
//! not. A dead letter has none, so what has failed can be put again at once.
//!
//! What is kept is one entry for each key that an item has. A ledger that goes on after another one
//! knows the keys of the items without an end, which have them as if they were accepted just then; those
//! of items that were done before are forgotten.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use hashbrown::HashMap;

use super::{Ballot, ItemId, Ledger, Refusal, Weight};

/// The key that no other item may have at the same time.
///
/// ```
/// # use dishrack_core::ledger::UniqueKey;
/// # use core::time::Duration;
/// let running = UniqueKey::until_end(7);
/// let hourly = UniqueKey::within(7, Duration::from_secs(3600));
/// assert_eq!((running.key, running.time), (7, None));
/// assert_eq!(hourly.time, Some(Duration::from_secs(3600)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueKey {
    /// The key, as a number that no two keys share by chance.
    pub key: u128,
    /// The time after the item was accepted for which it has the key; `None`: until its end.
    pub time: Option<Duration>,
}

impl UniqueKey {
    /// Makes a key that an item has until its end.
    #[must_use]
    pub fn until_end(key: u128) -> Self {
        UniqueKey { key, time: None }
    }

    /// Makes a key that an item has for so long after it was accepted.
    #[must_use]
    pub fn within(key: u128, time: Duration) -> Self {
        let time = Some(time);
        UniqueKey { key, time }
    }
}

/// A function that says which key an item has, if it has one.
type KeyOf<P> = Arc<dyn Fn(&P) -> Option<UniqueKey> + Send + Sync>;

/// The item that has a key, and until when; `None`: until its end.
#[derive(Debug, Clone, Copy)]
struct KeyOwner {
    id: ItemId,
    until: Option<Duration>,
}

/// The keys that items have.
pub(super) struct UniqueKeys<P> {
    key_of: KeyOf<P>,
    /// The time, as far as it was told.
    now: Duration,
    owners: HashMap<u128, KeyOwner>,
    /// The keys of items without an end.
    keys: BTreeMap<ItemId, u128>,
    /// The keys that items have for a time.
    ends: BTreeSet<(Duration, u128)>,
}

impl<P> fmt::Debug for UniqueKeys<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UniqueKeys")
            .field("owners", &self.owners)
            .finish_non_exhaustive()
    }
}

impl<P> UniqueKeys<P> {
    /// Returns the item that has this key.
    fn owner(&self, key: u128) -> Option<ItemId> {
        let owner = self.owners.get(&key)?;
        let is_over = owner.until.is_some_and(|until| until <= self.now);
        (!is_over).then_some(owner.id)
    }

    /// Gives an item this key, unless another one has it.
    fn take(&mut self, id: ItemId, UniqueKey { key, time }: UniqueKey) {
        self.forget_over();
        if self.owners.contains_key(&key) {
            return;
        }
        let until = time.map(|time| self.now.saturating_add(time));
        self.owners.insert(key, KeyOwner { id, until });
        self.keys.insert(id, key);
        self.ends.extend(until.map(|until| (until, key)));
    }

    /// Forgets the keys whose time is over.
    fn forget_over(&mut self) {
        while let Some((until, key)) = self.ends.first().copied()
            && until <= self.now
        {
            self.ends.pop_first();
            if let Some(owner) = self.owners.remove(&key) {
                self.keys.remove(&owner.id);
            }
        }
    }

    /// Notes the end of an item. `is_kept`: it has its key for as long as it was to have it.
    fn end(&mut self, id: ItemId, is_kept: bool) {
        let Some(key) = self.keys.remove(&id) else {
            return;
        };
        let until = self.owners.get(&key).and_then(|owner| owner.until);
        if is_kept && until.is_some() {
            return;
        }
        self.owners.remove(&key);
        if let Some(until) = until {
            self.ends.remove(&(until, key));
        }
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Accepts no item from now on whose key another one has; those that are here already have theirs,
    /// the first one of each. `key_of` says the key of an item, always the same of the same one.
    pub fn handle_unique(
        &mut self,
        key_of: impl Fn(&P) -> Option<UniqueKey> + Send + Sync + 'static,
        now: Duration,
    ) {
        let mut unique = UniqueKeys {
            key_of: Arc::new(key_of),
            ..self.take_unique()
        };
        unique.now = unique.now.max(now);
        let mut ids = self.unfinished_ids();
        ids.sort_unstable();
        let leased = self.leases.iter().map(|(_, lease)| &lease.entry);
        let leased: BTreeMap<ItemId, &P> = leased.map(|entry| (entry.id, &entry.payload)).collect();
        for id in ids {
            let is_known = unique.keys.contains_key(&id);
            let payload = self.unleased_payload(id).or(leased.get(&id).copied());
            let payload = payload.filter(|_| !is_known);
            if let Some(key) = payload.and_then(|payload| (unique.key_of)(payload)) {
                unique.take(id, key);
            }
        }
        self.relations_mut().unique = Some(unique);
    }

    /// Takes the keys that are known by now.
    fn take_unique(&mut self) -> UniqueKeys<P> {
        let unique = self.relations.as_mut().and_then(|all| all.unique.take());
        unique.unwrap_or_else(|| UniqueKeys {
            key_of: Arc::new(|_| None),
            now: Duration::ZERO,
            owners: HashMap::new(),
            keys: BTreeMap::new(),
            ends: BTreeSet::new(),
        })
    }

    /// Returns the payload of an item that no holder has, or of which holders have copies.
    pub(super) fn unleased_payload(&self, id: ItemId) -> Option<&P> {
        let of_copies = || self.copies.entry(id).map(|entry| &entry.payload);
        let found = self.waiting.find(id).map(|(payload, _)| payload);
        found.or_else(of_copies)
    }

    /// Returns `true` if items have unique keys.
    #[must_use]
    pub fn has_unique_keys(&self) -> bool {
        self.unique().is_some()
    }

    /// Returns the number of keys that are known.
    #[must_use]
    pub fn known_keys(&self) -> usize {
        self.unique().map_or(0, |unique| unique.owners.len())
    }

    fn unique(&self) -> Option<&UniqueKeys<P>> {
        self.relations.as_ref()?.unique.as_ref()
    }

    fn unique_mut(&mut self) -> Option<&mut UniqueKeys<P>> {
        self.relations.as_mut()?.unique.as_mut()
    }

    pub(super) fn tell_unique(&mut self, now: Duration) {
        if let Some(unique) = self.unique_mut() {
            unique.now = unique.now.max(now);
            unique.forget_over();
        }
    }

    /// Checks that no other item has the key of this one.
    pub(super) fn check_key(&self, payload: &P) -> Result<(), Refusal> {
        let Some(unique) = self.unique() else {
            return Ok(());
        };
        let key = (unique.key_of)(payload);
        match key.and_then(|key| unique.owner(key.key)) {
            Some(of) => Err(Refusal::Duplicate { of }),
            None => Ok(()),
        }
    }

    /// Gives an item its key, unless another one has it.
    pub(super) fn take_key(&mut self, id: ItemId, payload: &P) {
        if let Some(unique) = self.unique_mut()
            && let Some(key) = (unique.key_of)(payload)
        {
            unique.take(id, key);
        }
    }

    /// Notes that an item is done.
    pub(super) fn end_key(&mut self, id: ItemId) {
        if let Some(unique) = self.unique_mut() {
            unique.end(id, true);
        }
    }

    /// Notes that an item is a dead letter.
    pub(super) fn drop_key(&mut self, id: ItemId) {
        if let Some(unique) = self.unique_mut() {
            unique.end(id, false);
        }
    }
}
