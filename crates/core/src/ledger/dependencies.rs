//! Dependencies: an item that is to begin after others rests until all of them are done. If one of them
//! is given up, so is the item, in the same write, and whatever is to begin after that one.
//!
//! An item can only depend on items that were accepted before it, so there are no circles. One that is
//! tried again after it was given up for a dependency does not wait for that any more, unless it is
//! tried again too.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::{Ballot, Cause, Failure, ItemId, Ledger, Refusal, Scene, Weight};

/// The number of dead letters that are kept in mind before items depend on others: what was lost with an
/// earlier supervisor is given up before.
const FEW: usize = 1024;

/// The dead letters that are known.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    ids: BTreeSet<ItemId>,
    /// The time at which those of before were told.
    told: Duration,
}

/// A function that says after which others an item is to begin.
pub(super) type After<P> = Arc<dyn Fn(&P) -> Vec<ItemId> + Send + Sync>;

/// The state of dependencies.
pub(super) struct Dependencies<P> {
    after: After<P>,
    /// Items that wait for others, and for which.
    left: BTreeMap<ItemId, Vec<ItemId>>,
    /// Items for which others wait, and which.
    dependents: BTreeMap<ItemId, Vec<ItemId>>,
    /// Items that are to be given up.
    doomed: VecDeque<Doom>,
}

/// An item that is to be given up because another one was, and when that was, since 1970.
#[derive(Debug, Clone, Copy)]
struct Doom {
    id: ItemId,
    failed: ItemId,
    at: Duration,
}

/// The items that one depends on and that are not done.
#[derive(Debug, Default)]
pub(super) struct Unmet {
    left: Vec<ItemId>,
    failed: Option<ItemId>,
}

impl<P> fmt::Debug for Dependencies<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dependencies")
            .field("left", &self.left)
            .field("doomed", &self.doomed)
            .finish_non_exhaustive()
    }
}

impl<P> Dependencies<P> {
    pub(super) fn new(after: After<P>) -> Self {
        Dependencies {
            after,
            left: BTreeMap::new(),
            dependents: BTreeMap::new(),
            doomed: VecDeque::new(),
        }
    }

    /// Notes that an item waits for these.
    fn add(&mut self, id: ItemId, left: Vec<ItemId>) {
        for one in &left {
            self.dependents.entry(*one).or_default().push(id);
        }
        self.left.insert(id, left);
    }

    /// Notes that an item is done. Returns those that wait for nothing else.
    fn end(&mut self, done: ItemId) -> Vec<ItemId> {
        let mut dependents = self.dependents.remove(&done).unwrap_or_default();
        dependents.retain(|id| {
            let Some(left) = self.left.get_mut(id) else {
                return false;
            };
            left.retain(|one| *one != done);
            left.is_empty() && self.left.remove(id).is_some()
        });
        dependents
    }

    /// Notes that an item was given up at this time, and with it those that wait for it.
    fn fail(&mut self, failed: ItemId, at: Duration) {
        self.left.remove(&failed);
        for id in self.dependents.remove(&failed).unwrap_or_default() {
            if self.left.remove(&id).is_some() {
                self.doomed.push_back(Doom { id, failed, at });
            }
        }
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Tells the ledger of dead letters from before it began, and the time, since 1970. It knows those that
    /// it makes itself.
    pub fn handle_known_dead(&mut self, letters: impl IntoIterator<Item = ItemId>, now: Duration) {
        self.dead_letters.ids.extend(letters);
        self.dead_letters.told = now;
    }

    /// Has items, which are in an order already, begin only when others are done, unless they do so by
    /// other rules: this function says which, always the same of the same item.
    pub fn handle_after(&mut self, after: impl Fn(&P) -> Vec<ItemId> + Send + Sync + 'static) {
        if self.has_order() && !self.has_dependencies() {
            self.begin_dependencies(Arc::new(after));
        }
    }

    /// Returns `true` if items say after which others they are to begin.
    #[must_use]
    pub fn has_dependencies(&self) -> bool {
        self.dependencies().is_some()
    }

    /// Returns the items for which this one waits.
    #[must_use]
    pub fn dependencies_of(&self, id: ItemId) -> &[ItemId] {
        let left = self.dependencies().and_then(|all| all.left.get(&id));
        left.map_or(&[], Vec::as_slice)
    }

    /// Checks that what this item is to begin after was accepted, and is no dead letter.
    pub(super) fn check_dependencies(&self, payload: &P) -> Result<(), Refusal> {
        for id in self.after(payload) {
            if id.0 == 0 || id.0 > self.waiting.accepted() {
                return Err(Refusal::UnknownItem(id));
            }
            if self.dead_letters.ids.contains(&id) {
                return Err(Refusal::DeadItem(id));
            }
        }
        Ok(())
    }

    fn after(&self, payload: &P) -> Vec<ItemId> {
        let dependencies = self.dependencies();
        dependencies.map_or_else(Vec::new, |all| (all.after)(payload))
    }

    /// Has items depend on others from now on, those that wait already among them.
    pub(super) fn begin_dependencies(&mut self, after: After<P>) {
        self.relations_mut().dependencies = Some(Dependencies::new(after));
        for id in self.waiting.ids() {
            let found = self.waiting.find(id);
            let unmet = found.map(|(payload, history)| self.unmet(id, payload, history));
            self.note_dependencies(id, unmet.unwrap_or_default());
        }
        self.give_up_doomed();
    }

    /// Returns the items that this one, which has such a history, is to wait for.
    pub(super) fn unmet(&self, id: ItemId, payload: &P, history: &[Failure]) -> Unmet {
        let mut unmet = Unmet::default();
        for one in self.after(payload) {
            let is_forgiven = || {
                let mut causes = history.iter().map(|failure| &failure.cause);
                causes.any(|cause| *cause == Cause::DependencyFailed(one))
            };
            if one < id && self.is_unfinished(one, &mut None) {
                unmet.left.push(one);
            } else if self.dead_letters.ids.contains(&one) && !is_forgiven() {
                unmet.failed = Some(one);
            }
        }
        unmet
    }

    /// Has an item that was just accepted, or has come back, wait for these.
    pub(super) fn note_dependencies(&mut self, id: ItemId, unmet: Unmet) {
        let at = self.dead_letters.told;
        let Some(dependencies) = self.dependencies_mut() else {
            return;
        };
        if let Some(failed) = unmet.failed {
            dependencies.doomed.push_back(Doom { id, failed, at });
        }
        let is_blocked = unmet.failed.is_some() || !unmet.left.is_empty();
        if unmet.failed.is_none() && is_blocked {
            dependencies.add(id, unmet.left);
        }
        if is_blocked {
            self.waiting.block(id);
        }
    }

    /// Lets what waits for nothing else than an item that is done wait no longer.
    pub(super) fn end_dependency(&mut self, done: ItemId) {
        let dependencies = self.dependencies_mut();
        for id in dependencies.map_or_else(Vec::new, |all| all.end(done)) {
            self.waiting.unblock(id);
        }
    }

    /// Notes that an item is a dead letter since this time, for what depends on it.
    pub(super) fn fail_dependency(&mut self, id: ItemId, at: Duration) {
        self.dead_letters.ids.insert(id);
        if let Some(dependencies) = self.dependencies_mut() {
            dependencies.fail(id, at);
        } else if self.dead_letters.ids.len() > FEW {
            self.dead_letters.ids.pop_first();
        }
    }

    /// Notes that a dead letter is tried again, so others may depend on it.
    pub(super) fn forgive_dependency(&mut self, id: ItemId) {
        self.dead_letters.ids.remove(&id);
    }

    /// Gives up the items that depend on one that was given up, one by one, since others may depend on
    /// them. Those that are not durable yet follow when they are.
    #[inline]
    pub(super) fn give_up_doomed(&mut self) {
        if self.has_relations() {
            self.give_up_each_doomed();
        }
    }

    #[inline(never)]
    fn give_up_each_doomed(&mut self) {
        let mut staged = VecDeque::new();
        while let Some(doom) = self.next_doomed() {
            let Some(mut entry) = self.waiting.remove(doom.id) else {
                if self.waiting.is_staged(doom.id) {
                    staged.push_back(doom);
                }
                continue;
            };
            let cause = Cause::DependencyFailed(doom.failed);
            let failure = Failure::new(0, cause, Scene::ended_at(doom.at));
            self.note_failure(&mut entry, failure, true);
            self.bury(entry);
        }
        if let Some(dependencies) = self.dependencies_mut() {
            dependencies.doomed = staged;
        }
    }

    fn next_doomed(&mut self) -> Option<Doom> {
        self.dependencies_mut()?.doomed.pop_front()
    }
}
