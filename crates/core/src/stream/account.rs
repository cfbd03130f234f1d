//! The account of the entries that this supervisor holds. It turns the records of a write into
//! statements about entries, and knows no connection and no clock.

use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use hashbrown::{HashMap, HashSet};

use super::entry::{Entry, EntryId, ReplyKey, line_of};
use crate::ledger::{Failure, ItemId, Record};

/// The known facts of a held item.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HeldEntry {
    entry: EntryId,
    reply: Option<ReplyKey>,
    /// The number of the admission by which it is held.
    admission: u64,
}

/// The items that this supervisor holds.
#[derive(Debug, Default)]
pub struct Account {
    held: HashMap<ItemId, HeldEntry>,
    /// The same the other way round.
    items: HashMap<EntryId, ItemId>,
    /// The number of admissions so far.
    admissions: u64,
}

/// The statements about entries that follow from one write.
#[derive(Debug, Default)]
pub struct Statement {
    /// Entries that are done.
    pub done: Vec<EntryId>,
    /// Entries of which an attempt has failed, each with its failure.
    pub failed: Vec<(EntryId, String)>,
    /// Entries that are dead letters.
    pub dead: Vec<Death>,
    /// The item of each entry.
    pub items: HashMap<EntryId, ItemId>,
    /// Items that are not held, so nothing can be said of them.
    pub unknown: Vec<ItemId>,
    /// The number of the last admission before it. What was admitted later it does not concern.
    last_admission: u64,
}

/// Entries of one time whose places follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The time.
    pub time: u64,
    /// The first place.
    pub first: u64,
    /// The last place.
    pub last: u64,
}

/// The greatest place that is exact where numbers are floating point, as in the stream's scripts.
const EXACT_MAX: u64 = 1 << 53;

/// An entry that becomes a dead letter.
#[derive(Debug, PartialEq, Eq)]
pub struct Death {
    /// The entry.
    pub entry: EntryId,
    /// The item's number.
    pub id: ItemId,
    /// The cause, for people.
    pub cause: String,
}

/// The result of an entry, on its way to its receiver.
#[derive(Debug)]
pub struct OutgoingResult<R> {
    /// The entry.
    pub entry: EntryId,
    /// The item's number.
    pub id: ItemId,
    /// The receiver, if there is one.
    pub reply: Option<ReplyKey>,
    /// The result.
    pub result: R,
}

/// Entries that were taken, sorted.
#[derive(Debug, Default)]
pub struct Sorted {
    /// Entries that are held from now on.
    pub held: Vec<(ItemId, Entry)>,
    /// Entries of which the stream must be asked for more first. Some need a number of their own
    /// that is not this one; 0 if any will do.
    pub asked: Vec<(EntryId, Option<u64>)>,
}

impl Statement {
    /// Returns `true` if nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the first and the last entry that are spoken of.
    #[must_use]
    pub fn range(&self) -> (EntryId, EntryId) {
        let entries = || self.items.keys().copied();
        (
            entries().min().unwrap_or_default(),
            entries().max().unwrap_or_default(),
        )
    }

    /// Returns `true` if nothing is said but that entries are done.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.failed.is_empty() && self.dead.is_empty()
    }

    /// Returns the entries that are done as runs, in the order of the stream. A run of more than
    /// one entry has places up to 2^53 only.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for EntryId(time, place) in self.done.iter().copied() {
            match runs.last_mut() {
                Some(run) if run.time == time && place <= EXACT_MAX && run.last + 1 == place => {
                    run.last = place;
                }
                _ => runs.push(Run {
                    time,
                    first: place,
                    last: place,
                }),
            }
        }
        runs
    }

    /// Returns the items of these entries.
    #[must_use]
    pub fn items_of(&self, entries: &[EntryId]) -> Vec<ItemId> {
        let items = entries.iter().filter_map(|one| self.items.get(one));
        items.copied().collect()
    }

    /// Returns the entries that have ended, or are said to have.
    fn ends(&self) -> impl Iterator<Item = EntryId> {
        let dead = self.dead.iter().map(|one| one.entry);
        self.done.iter().copied().chain(dead)
    }
}

impl Account {
    /// Sorts new entries, as they are read from the stream.
    pub fn sort_taken(&mut self, entries: Vec<Entry>) -> Sorted {
        let (known, unknown): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            // An older state of the stream has lost this entry's owner, and perhaps its number.
            .filter(|entry| !self.items.contains_key(&entry.id))
            .partition(|entry| entry.number().is_some() && !entry.was_here());
        let mut sorted = self.sort_known(known);
        let unknown = unknown
            .iter()
            .map(|one| (one.id, one.number().is_none().then_some(0)));
        sorted.asked.extend(unknown);
        sorted
    }

    /// Sorts entries of which all is known. An entry whose number is another's needs a new one;
    /// entries that are held already are passed over.
    pub fn sort_known(&mut self, entries: Vec<Entry>) -> Sorted {
        let mut sorted = Sorted::default();
        for entry in entries {
            if self.items.contains_key(&entry.id) {
                continue;
            }
            let number = entry.number();
            match number.filter(|id| !self.is_taken(*id, entry.id)) {
                None => {
                    let unwanted = number.map_or(0, |id| id.0);
                    sorted.asked.push((entry.id, Some(unwanted)));
                }
                Some(id) => {
                    self.admit(id, entry.id, entry.reply());
                    sorted.held.push((id, entry));
                }
            }
        }
        sorted
    }

    /// Returns `true` if another entry is held under this number.
    fn is_taken(&self, id: ItemId, entry: EntryId) -> bool {
        self.held.get(&id).is_some_and(|held| held.entry != entry)
    }

    /// Adds a taken entry that is not held.
    fn admit(&mut self, id: ItemId, entry: EntryId, reply: Option<ReplyKey>) {
        self.admissions += 1;
        let held = HeldEntry {
            entry,
            reply,
            admission: self.admissions,
        };
        self.held.insert(id, held);
        self.items.insert(entry, id);
    }

    /// Returns the entries of these items; items that are not held are left out.
    #[must_use]
    pub fn entries(&self, ids: &[ItemId]) -> Vec<EntryId> {
        let held = ids.iter().filter_map(|id| self.held.get(id));
        held.map(|held| held.entry).collect()
    }

    /// Returns the items of these entries; entries that are not held are left out.
    #[must_use]
    pub fn items_of(&self, entries: &[EntryId]) -> Vec<ItemId> {
        let held = entries.iter().filter_map(|entry| self.items.get(entry));
        held.copied().collect()
    }

    /// Forgets items that were given back.
    pub fn forget(&mut self, ids: &[ItemId]) {
        for id in ids {
            if let Some(held) = self.held.remove(id) {
                self.items.remove(&held.entry);
            }
        }
    }

    /// Forgets entries that ended or were lost, except those that have come again since the
    /// statement was made.
    pub fn forget_ended(&mut self, statement: &Statement, lost: &[EntryId]) {
        for entry in statement.ends().chain(lost.iter().copied()) {
            let id = self.items.get(&entry).copied();
            let held = id.and_then(|id| Some((id, self.held.get(&id)?)));
            if let Some((id, held)) = held
                && held.admission <= statement.last_admission
            {
                self.items.remove(&entry);
                self.held.remove(&id);
            }
        }
    }

    /// Compares what is held with what Redis says is ours. Forgets and returns the items that are
    /// no longer ours, and returns the entries that are ours but unknown here.
    pub fn compare(&mut self, ours: &[EntryId]) -> (Vec<ItemId>, Vec<EntryId>) {
        let mut unknown: HashSet<EntryId> = ours.iter().copied().collect();
        let lost = self.items.extract_if(|entry, _| !unknown.remove(entry));
        let mut lost: Vec<ItemId> = lost.map(|(_, id)| id).collect();
        for id in &lost {
            self.held.remove(id);
        }
        lost.sort_unstable();
        let mut unknown: Vec<EntryId> = unknown.into_iter().collect();
        unknown.sort_unstable();
        (lost, unknown)
    }

    /// Makes the statement for these records. Items that are not held go to `unknown`.
    #[must_use]
    pub fn statement<P>(&self, records: &[Record<P>]) -> Statement {
        let mut statement = Statement {
            last_admission: self.admissions,
            ..Statement::default()
        };
        let mut failures: HashMap<ItemId, &Failure> = HashMap::new();
        for record in records {
            for id in record.ids() {
                let Some(held) = self.held.get(&id) else {
                    statement.unknown.push(id);
                    continue;
                };
                let entry = held.entry;
                match record {
                    Record::Accepted { .. } | Record::AcceptedRun { .. } => continue,
                    Record::Failed { failure, .. } => {
                        failures.insert(id, failure);
                        statement.failed.push((entry, line_of(failure)));
                    }
                    Record::Done { .. } => statement.done.push(entry),
                    // Only journals keep these.
                    Record::Over { .. } | Record::Shown { .. } => {}
                    Record::Dead { .. } => {
                        let last = failures.get(&id);
                        let cause = last.map(|last| last.cause.to_string());
                        let cause = cause.unwrap_or_default();
                        statement.dead.push(Death { entry, id, cause });
                    }
                }
                statement.items.insert(entry, id);
            }
        }
        statement.done.sort_unstable();
        statement.done.dedup();
        statement.unknown.sort_unstable();
        statement.unknown.dedup();
        statement
    }

    /// Returns these results with their receivers, without those of items that are not held.
    pub fn outgoing<R>(
        &self,
        sent: impl IntoIterator<Item = (ItemId, R)>,
    ) -> Vec<OutgoingResult<R>> {
        let outgoing = sent.into_iter().filter_map(|(id, result)| {
            let held = self.held.get(&id)?;
            Some(OutgoingResult {
                entry: held.entry,
                id,
                reply: held.reply.clone(),
                result,
            })
        });
        outgoing.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Cause, Scene};
    use alloc::vec;

    fn account() -> Account {
        let mut account = Account::default();
        for n in 1..=3 {
            account.admit(ItemId(n), EntryId(n, 0), None);
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
        let payload = ();
        let records = [
            Record::done(ItemId(3)),
            Record::done(ItemId(1)),
            Record::Failed { id, failure },
            Record::Dead { id, payload },
            Record::done(ItemId(9)),
        ];
        let statement = account().statement(&records);
        assert_eq!(statement.done, [EntryId(1, 0), EntryId(3, 0)]);
        assert_eq!(
            (statement.failed.len(), &*statement.dead[0].cause),
            (1, "no")
        );
        assert_eq!(statement.range(), (EntryId(1, 0), EntryId(3, 0)));
        assert_eq!(statement.unknown, [ItemId(9)]);
    }

    #[test]
    fn what_is_done_is_said_in_runs() {
        let runs = |done: &[(u64, u64)]| {
            let done = done.iter().map(|(time, place)| EntryId(*time, *place));
            let statement = Statement {
                done: done.collect(),
                ..Statement::default()
            };
            let runs = statement.runs().into_iter();
            runs.map(|run| (run.time, run.first, run.last))
                .collect::<Vec<_>>()
        };
        assert_eq!(runs(&[]), []);
        assert_eq!(
            runs(&[(1, 0), (1, 1), (1, 3), (2, 4), (2, 5)]),
            [(1, 0, 1), (1, 3, 3), (2, 4, 5)]
        );
        // A script could not count from one to the next.
        let great = 1 << 53;
        assert_eq!(
            runs(&[(1, great - 1), (1, great), (1, great + 1), (1, u64::MAX)]),
            [
                (1, great - 1, great),
                (1, great + 1, great + 1),
                (1, u64::MAX, u64::MAX)
            ]
        );
    }

    #[test]
    fn what_is_ours_no_longer_is_forgotten_and_what_is_unknown_is_named() {
        let mut account = account();
        let (lost, unknown) = account.compare(&[EntryId(2, 0), EntryId(7, 0)]);
        assert_eq!(
            (lost, unknown),
            (vec![ItemId(1), ItemId(3)], vec![EntryId(7, 0)])
        );
        assert_eq!(account.held.len(), 1);
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

    fn entry(place: u64, fields: &[(&str, &str)]) -> Entry {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let fields = fields
            .iter()
            .map(|(name, value)| (bytes(name), bytes(value)));
        Entry {
            id: EntryId(place, 0),
            fields: super::super::entry::Fields(fields.collect()),
            deliveries: 1,
            ..Entry::default()
        }
    }

    #[test]
    fn of_what_is_not_known_well_more_is_asked() {
        let entries = vec![
            entry(10, &[("n", "4")]),
            entry(11, &[]),
            entry(12, &[("n", "5"), ("again", "1")]),
            entry(13, &[("n", "1")]),
        ];
        let sorted = account().sort_taken(entries);
        assert_eq!(sorted.held[0].0, ItemId(4));
        let mut asked = sorted.asked;
        asked.sort_unstable();
        let ids = [11, 12, 13].map(|place| EntryId(place, 0));
        // The last one's number is another entry's, so any other will do.
        let expected = [(ids[0], Some(0)), (ids[1], None), (ids[2], Some(1))];
        assert_eq!(asked, expected);
    }

    #[test]
    fn an_entry_is_held_under_one_number() {
        let mut account = account();
        let again = vec![entry(2, &[("n", "2")]), entry(3, &[])];
        let sorted = account.sort_taken(again);
        assert!(sorted.held.is_empty() && sorted.asked.is_empty());
        let sorted = account.sort_known(vec![entry(3, &[("n", "8")])]);
        assert!(sorted.held.is_empty() && sorted.asked.is_empty());
        assert_eq!(account.held.len(), 3);
    }

    #[test]
    fn an_entry_that_was_lost_and_has_come_again_before_the_answer_is_held() {
        let mut account = account();
        let records: [Record<()>; 1] = [Record::done(ItemId(1))];
        let statement = account.statement(&records);
        let (lost, _) = account.compare(&[EntryId(2, 0), EntryId(3, 0)]);
        assert_eq!(lost, [ItemId(1)]);
        let again = account.sort_known(vec![entry(1, &[("n", "1")])]);
        assert_eq!(again.held[0].0, ItemId(1));
        account.forget_ended(&statement, &[EntryId(1, 0)]);
        assert_eq!(account.entries(&[ItemId(1)]), [EntryId(1, 0)]);
    }

    #[test]
    fn an_entry_that_comes_again_as_if_it_were_new_is_unknown_after_its_loss() {
        let mut account = account();
        let records: [Record<()>; 1] = [Record::done(ItemId(1))];
        let statement = account.statement(&records);
        // By an older state of the stream, in which nobody has it: it was lost then, and is held again.
        let again = account.sort_taken(vec![entry(1, &[("n", "1")])]);
        assert!(again.held.is_empty() && again.asked.is_empty());
        account.forget_ended(&statement, &[EntryId(1, 0)]);
        let ours = [1, 2, 3].map(|n| EntryId(n, 0));
        assert_eq!(account.compare(&ours), (vec![], vec![EntryId(1, 0)]));
    }

    #[test]
    fn who_has_come_again_meanwhile_is_held() {
        let mut account = account();
        let records: [Record<()>; 2] = [1, 2].map(|n| Record::done(ItemId(n)));
        let statement = account.statement(&records);
        account.forget(&[ItemId(1)]);
        account.admit(ItemId(1), EntryId(9, 0), None);
        account.forget_ended(&statement, &[EntryId(1, 0)]);
        assert_eq!(account.entries(&[ItemId(1)]), [EntryId(9, 0)]);
        assert_eq!(account.entries(&[ItemId(2)]), []);
    }
}
