//! Which entries this supervisor holds, and what of a write of the ledger is said of which entry.
//! It knows no connection and no clock.

use std::collections::{HashMap, HashSet};

use super::entry::{EntryId, ReplyKey, line_of};
use crate::broker::Parcel;
use crate::ledger::{Failure, ItemId, Record};
use crate::payload::Payload;
use crate::store::stream::Sent;

/// What is known of a held item.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    entry: EntryId,
    reply: Option<ReplyKey>,
}

/// The items that this supervisor holds.
#[derive(Debug, Default)]
pub(super) struct Account {
    held: HashMap<ItemId, Held>,
}

/// What is said of the entries of one write.
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub(super) done: Vec<EntryId>,
    pub(super) failed: Vec<(EntryId, String)>,
    pub(super) dead: Vec<Death>,
    pub(super) results: Vec<Outgoing>,
    /// Which item is which entry.
    pub(super) items: HashMap<EntryId, ItemId>,
    /// Items of which nothing can be said, as they are not held.
    pub(super) unknown: Vec<ItemId>,
}

/// An entry that becomes a dead letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) entry: EntryId,
    pub(super) id: ItemId,
    pub(super) cause: String,
}

/// What came of an entry, on its way to whoever wants it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) entry: EntryId,
    pub(super) id: ItemId,
    pub(super) reply: Option<ReplyKey>,
    pub(super) result: Payload,
}

impl Statement {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The first entry that is spoken of, and the last.
    pub(super) fn range(&self) -> (EntryId, EntryId) {
        let entries = || self.items.keys().copied();
        (
            entries().min().unwrap_or_default(),
            entries().max().unwrap_or_default(),
        )
    }
}

impl Account {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether an item with this number is held that is another entry.
    pub(super) fn is_taken(&self, id: ItemId, entry: EntryId) -> bool {
        self.held.get(&id).is_some_and(|held| held.entry != entry)
    }

    /// An entry was taken. False if it is held already.
    pub(super) fn admit(&mut self, id: ItemId, entry: EntryId, reply: Option<ReplyKey>) -> bool {
        let held = Held { entry, reply };
        self.held.insert(id, held).is_none()
    }

    /// Which entries these items are; those that are not held are left out.
    pub(super) fn entries(&self, ids: &[ItemId]) -> Vec<EntryId> {
        let held = ids.iter().filter_map(|id| self.held.get(id));
        held.map(|held| held.entry).collect()
    }

    /// These items have ended, or are somebody else's.
    pub(super) fn forget<'a>(&mut self, ids: impl IntoIterator<Item = &'a ItemId>) {
        for id in ids {
            self.held.remove(id);
        }
    }

    /// Compares what is held with what Redis says that it is. Whatever is ours no longer is
    /// forgotten and named, and so is what is ours and unknown here.
    pub(super) fn compare(&mut self, ours: &[EntryId]) -> (Vec<ItemId>, Vec<EntryId>) {
        let mut unknown: HashSet<EntryId> = ours.iter().copied().collect();
        let lost = self.held.extract_if(|_, held| !unknown.remove(&held.entry));
        let mut lost: Vec<ItemId> = lost.map(|(id, _)| id).collect();
        lost.sort_unstable();
        let mut unknown: Vec<EntryId> = unknown.into_iter().collect();
        unknown.sort_unstable();
        (lost, unknown)
    }

    /// What is to be said of these records. Of items that are not held nothing can be said.
    pub(super) fn statement(&self, records: &[Record<Parcel>], sent: &[Sent]) -> Statement {
        let mut statement = Statement::default();
        let mut failures: HashMap<ItemId, &Failure> = HashMap::new();
        for record in records {
            let (Record::Accepted { id, .. }
            | Record::Failed { id, .. }
            | Record::Done { id }
            | Record::Dead { id, .. }) = record;
            let Some(held) = self.held.get(id) else {
                statement.unknown.push(*id);
                continue;
            };
            let (id, entry) = (*id, held.entry);
            match record {
                Record::Accepted { .. } => continue,
                Record::Failed { failure, .. } => {
                    failures.insert(id, failure);
                    statement.failed.push((entry, line_of(failure)));
                }
                Record::Done { .. } => statement.done.push(entry),
                Record::Dead { .. } => {
                    let last = failures.get(&id);
                    let cause = last.map(|last| last.cause.to_string());
                    let cause = cause.unwrap_or_default();
                    statement.dead.push(Death { entry, id, cause });
                }
            }
            statement.items.insert(entry, id);
        }
        statement.done.sort_unstable();
        statement.results = self.results(sent);
        statement
    }

    fn results(&self, sent: &[Sent]) -> Vec<Outgoing> {
        let held = sent
            .iter()
            .filter_map(|sent| Some((sent, self.held.get(&sent.id)?)));
        let outgoing = held.map(|(sent, held)| Outgoing {
            entry: held.entry,
            id: sent.id,
            reply: held.reply.clone(),
            result: sent.result.clone(),
        });
        outgoing.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Cause, Scene};

    fn account() -> Account {
        let mut account = Account::default();
        for n in 1..=3 {
            assert!(account.admit(ItemId(n), EntryId(n, 0), None));
        }
        account
    }

    #[test]
    fn what_ended_is_said_of_its_entry() {
        let failure = Failure {
            attempt: 3,
            cause: Cause::Nack("no".into()),
            scene: Scene::default(),
        };
        let id = ItemId(2);
        let payload = Parcel::of(Payload::default());
        let records = [
            Record::Done { id: ItemId(3) },
            Record::Done { id: ItemId(1) },
            Record::Failed { id, failure },
            Record::Dead { id, payload },
            Record::Done { id: ItemId(9) },
        ];
        let statement = account().statement(&records, &[]);
        assert_eq!(statement.done, [EntryId(1, 0), EntryId(3, 0)]);
        assert_eq!(
            (statement.failed.len(), &*statement.dead[0].cause),
            (1, "no")
        );
        assert_eq!(statement.range(), (EntryId(1, 0), EntryId(3, 0)));
        assert_eq!(statement.unknown, [ItemId(9)]);
    }

    #[test]
    fn what_is_ours_no_longer_is_forgotten_and_what_is_unknown_is_named() {
        let mut account = account();
        let (lost, unknown) = account.compare(&[EntryId(2, 0), EntryId(7, 0)]);
        assert_eq!(
            (lost, unknown),
            (vec![ItemId(1), ItemId(3)], vec![EntryId(7, 0)])
        );
        assert_eq!(account.len(), 1);
    }

    #[test]
    fn a_number_that_somebody_else_used_is_noticed() {
        let account = account();
        assert!(account.is_taken(ItemId(1), EntryId(8, 0)));
        assert!(
            !account.is_taken(ItemId(1), EntryId(1, 0))
                && !account.is_taken(ItemId(4), EntryId(1, 0))
        );
    }
}
