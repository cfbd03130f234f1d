//! The disk, which outlives a supervisor. The rows and their changes are the real journal's; this
//! file only decides when a change reaches the disk. Next to the rows stands the plainest reading
//! of the same records, a map from item to state, with which every recovery is compared.

use std::collections::{BTreeMap, BTreeSet};

use dishrack_core::book::{Book, Change, Found};
use dishrack_core::ledger::{Failure, ItemId, Record, Unfinished};

use crate::envelope::Envelope;
use crate::tables::Tables;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Dead,
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) end: Option<End>,
    history: Vec<Failure>,
    forgiven: u32,
}

impl Line {
    /// Returns the failed attempts, and the number of them that do not count.
    pub(crate) fn attempts(&self) -> (u32, u32) {
        let failures = u32::try_from(self.history.len()).expect("few");
        (failures, self.forgiven)
    }
}

/// The meaning of the records, item by item.
pub(crate) type Lines = BTreeMap<u64, Line>;

/// One commit: its changes of the rows, and its meaning.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) changes: Vec<Change>,
    pub(crate) records: Vec<Record<Envelope>>,
    pub(crate) revived: Option<ItemId>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    tables: Tables,
    lines: Lines,
    /// Ended attempts that have not been shown.
    unshown: BTreeSet<(u64, u32)>,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// The content that a reader sees.
    current: Content,
    /// The content that certainly survives a power failure.
    synced: Content,
    /// Commits since then, in their order.
    unsynced: Vec<Commit>,
}

impl Disk {
    /// Makes a whole commit. A transaction is there as a whole or not at all.
    pub(crate) fn commit(&mut self, commit: Commit, is_synced: bool) {
        self.current.apply(&commit);
        match is_synced {
            true => self.synced.apply(&commit),
            false => self.unsynced.push(commit),
        }
    }

    pub(crate) fn sync(&mut self) {
        for commit in self.unsynced.drain(..) {
            self.synced.apply(&commit);
        }
    }

    /// Drops the unsynced commits after the first `kept`. Returns the number of lost ones.
    pub(crate) fn lose_power(&mut self, kept: usize) -> usize {
        let lost = self.unsynced.len() - kept;
        self.unsynced.truncate(kept);
        self.sync();
        self.current = self.synced.clone();
        lost
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    pub(crate) fn lines(&self) -> &Lines {
        &self.current.lines
    }

    /// Returns the dead letters.
    pub(crate) fn dead_ids(&self) -> impl Iterator<Item = ItemId> {
        let lines = self.current.lines.iter();
        let dead = lines.filter(|(_, line)| line.end == Some(End::Dead));
        dead.map(|(id, _)| ItemId(*id))
    }

    /// Returns what a supervisor finds when it begins.
    pub(crate) fn recover(&self) -> (Book, Found) {
        let recovered = self.current.tables.recover();
        let (book, found) = recovered.unwrap_or_else(|damage| panic!("unreadable: {damage:?}"));
        let lines = &self.current.lines;
        assert_eq!(found.recovered.accepted, lines.len() as u64, "accepted");
        let dead = lines.values().filter(|line| line.end == Some(End::Dead));
        assert_eq!(found.recovered.dead, dead.count() as u64, "dead letters");
        let unfinished = lines.iter().filter(|(_, line)| line.end.is_none());
        let unfinished = unfinished.map(|(id, line)| Unfinished {
            id: ItemId(*id),
            payload: line.number.to_le_bytes().into(),
            history: line.history.clone(),
            forgiven: line.forgiven,
        });
        let unfinished: Vec<_> = unfinished.collect();
        assert_eq!(found.recovered.unfinished, unfinished, "what is left");
        let unshown = found
            .unshown
            .iter()
            .map(|one| (one.id.0, one.attempt.number));
        assert!(
            unshown.eq(self.current.unshown.iter().copied()),
            "what is not shown"
        );
        (book, found)
    }
}

impl Content {
    fn apply(&mut self, commit: &Commit) {
        for change in &commit.changes {
            self.tables.apply(change);
        }
        for record in &commit.records {
            self.note(record);
        }
        if let Some(line) = commit.revived.and_then(|id| self.lines.get_mut(&id.0)) {
            line.end = None;
            line.forgiven = u32::try_from(line.history.len()).expect("few");
        }
    }

    fn note(&mut self, record: &Record<Envelope>) {
        match record {
            Record::Accepted { .. } | Record::AcceptedRun { .. } => {
                for (id, number) in numbers_in(record) {
                    let line = Line {
                        number,
                        end: None,
                        history: Vec::new(),
                        forgiven: 0,
                    };
                    assert!(self.lines.insert(id.0, line).is_none(), "{id} twice");
                }
            }
            Record::Over { id, attempt, .. } => {
                self.unshown.insert((id.0, attempt.number));
            }
            Record::Shown { id, attempt } => {
                self.unshown.remove(&(id.0, *attempt));
            }
            Record::Failed { id, failure } => {
                let line = self.line(*id);
                line.history.push(failure.clone());
            }
            Record::Done { .. } => {
                for id in record.ids() {
                    self.line(id).end = Some(End::Done);
                }
            }
            Record::Dead { id, .. } => self.line(*id).end = Some(End::Dead),
        }
    }

    /// Returns the line of an unfinished item.
    fn line(&mut self, id: ItemId) -> &mut Line {
        let line = self.lines.get_mut(&id.0);
        let line = line.unwrap_or_else(|| panic!("a record of {id}, which was never accepted"));
        assert_eq!(line.end, None, "a record of {id}, which is finished");
        line
    }
}

/// Returns the items that are accepted by this record, each with its own number.
pub(crate) fn numbers_in(record: &Record<Envelope>) -> Vec<(ItemId, u64)> {
    match record {
        Record::Accepted { id, payload } => vec![(*id, payload.number)],
        Record::AcceptedRun { run, .. } => {
            let numbers = run.items().map(|body| Envelope::of_body(body).number);
            record.ids().zip(numbers).collect()
        }
        Record::Failed { .. }
        | Record::Done { .. }
        | Record::Dead { .. }
        | Record::Over { .. }
        | Record::Shown { .. } => Vec::new(),
    }
}
