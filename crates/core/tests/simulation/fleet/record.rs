//! The truth about every item, independent of its worker, the reports about it, and the promises.

use std::collections::BTreeMap;

use dishrack_core::ledger::{Cause, ItemId, Report};
use dishrack_core::stream::entry::{EntryId, Fields, history_in};

use crate::disk::End;
use crate::envelope::Envelope;
use crate::stream::{Event, Letter};

/// The facts that the stream was told of an item.
#[derive(Debug, Clone, Default)]
struct Fact {
    is_put: bool,
    /// The number that the stream gave it.
    id: Option<ItemId>,
    end: Option<End>,
    failures: Vec<String>,
    forgiven: u32,
    /// True since nobody is to work on it any more.
    is_cancelled: bool,
}

/// The reports about an item.
#[derive(Debug, Clone, Default)]
struct Word {
    is_accepted: bool,
    is_refused: bool,
    end: Option<End>,
    /// True if the stream came back without it.
    is_lost: bool,
    /// Set if the stream came back without its end.
    end_lost: Option<End>,
    /// True if a join was told that it has its end, or never will.
    is_joined: bool,
    /// The number of times it was tried again before its supervisor reported its death.
    deaths_untold: u32,
}

/// The facts of a stream, to be brought back with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    items: Vec<Fact>,
    entries: BTreeMap<EntryId, u64>,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) facts: Facts,
    words: Vec<Word>,
    max_attempts: u32,
    lease: u64,
    /// True if it came back with an older state.
    has_come_back: bool,
}

fn number_in(fields: &Fields) -> u64 {
    fields.number("item").expect("every item is a number")
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("few items")
}

impl Record {
    pub(super) fn new(max_attempts: u32, lease: u64) -> Self {
        Record {
            max_attempts,
            lease,
            ..Record::default()
        }
    }

    /// Returns a new number for a put.
    pub(super) fn new_number(&mut self) -> u64 {
        self.words.push(Word::default());
        self.facts.items.push(Fact::default());
        self.words.len() as u64 - 1
    }

    fn fact(&mut self, number: u64) -> &mut Fact {
        &mut self.facts.items[index(number)]
    }

    fn of_entry(&self, entry: EntryId) -> u64 {
        let number = self.facts.entries.get(&entry);
        *number.unwrap_or_else(|| panic!("entry {entry} has ended, or never was"))
    }

    /// Notes an event in the stream.
    pub(super) fn happened(&mut self, event: Event) {
        match event {
            Event::Put(entry, fields, untaken, bound) => {
                let number = number_in(&fields);
                assert!(bound.is_none_or(|bound| untaken < bound), "beyond bound");
                let is_refused = self.words[index(number)].is_refused;
                assert!(!is_refused, "put {number} was refused, and is there");
                let is_joined = self.words[index(number)].is_joined;
                assert!(!is_joined, "a join returned before put {number} was put");
                let is_again = std::mem::replace(&mut self.fact(number).is_put, true);
                assert!(!is_again, "put {number} is there twice");
                let id = fields.number("n").map(ItemId);
                let has_it = |fact: &Fact| id.is_some() && fact.id == id;
                let is_taken = self.facts.items.iter().any(has_it);
                assert!(!is_taken, "put {number} has a number that another one has");
                self.fact(number).id = id;
                self.facts.entries.insert(entry, number);
            }
            Event::Moved(from, to) => {
                let number = self.of_entry(from);
                let is_cancelled = self.fact(number).is_cancelled;
                assert!(!is_cancelled, "put {number} is cancelled, and given back");
                self.facts.entries.remove(&from);
                self.facts.entries.insert(to, number);
            }
            Event::Marked(entry) => {
                let number = self.of_entry(entry);
                self.fact(number).is_cancelled = true;
            }
            Event::Cancelled(entry, idle) => {
                let (number, lease) = (self.of_entry(entry), self.lease);
                let is_left = idle.is_none_or(|idle| idle > lease);
                assert!(is_left, "put {number} is ended while somebody is at it");
                self.fact(number).is_cancelled = true;
            }
            Event::Claimed(entry, idle) => {
                let number = self.of_entry(entry);
                let is_cancelled = self.fact(number).is_cancelled;
                assert!(!is_cancelled, "put {number} is cancelled, and taken over");
                let lease = self.lease;
                assert!(idle >= lease, "taken from one that was heard of {idle} ago");
            }
            Event::Failed(entry, line) => self.failed(entry, line),
            Event::Done(entry) => self.ended(entry, End::Done),
            Event::Dead(entry, letter) => {
                self.concluded(self.of_entry(entry), &letter);
                self.ended(entry, End::Dead);
            }
            Event::Revived(letter, entry) => self.revived(&letter, entry),
        }
    }

    fn failed(&mut self, entry: EntryId, line: String) {
        let number = self.of_entry(entry);
        let (max_attempts, has_come_back) = (self.max_attempts, self.has_come_back);
        let fact = self.fact(number);
        let before = fact.failures.len();
        let failure = history_in(&line).pop().expect("it was just written");
        let is_condemned = matches!(failure.cause, Cause::LostTooOften(_) | Cause::Cancelled);
        // Its holder may know of attempts that the stream has lost.
        let is_next = match has_come_back {
            false => failure.attempt as usize == before + 1,
            true => failure.attempt as usize > before,
        };
        assert!(
            is_condemned || is_next,
            "put {number}: attempt {} fails after {before}",
            failure.attempt
        );
        fact.failures.push(line);
        let counted = fact.failures.len() - fact.forgiven as usize;
        assert!(
            is_condemned || counted <= max_attempts as usize,
            "put {number}: {counted} attempts"
        );
    }

    fn ended(&mut self, entry: EntryId, end: End) {
        let number = self.of_entry(entry);
        self.facts.entries.remove(&entry);
        let before = self.fact(number).end.replace(end);
        assert_eq!(before, None, "put {number} has its end already");
    }

    fn concluded(&self, number: u64, letter: &Letter) {
        let fact = &self.facts.items[index(number)];
        let history: Vec<&str> = letter.history.lines().collect();
        assert_eq!(history, fact.failures, "the history of put {number}");
        let last = history_in(&letter.history).pop();
        let cause = last.expect("nothing dies without a cause").cause;
        assert_eq!(letter.cause, cause.to_string());
        let counted = fact.failures.len() - fact.forgiven as usize;
        let is_cancelled = cause == Cause::Cancelled;
        assert!(
            !is_cancelled || fact.is_cancelled || self.has_come_back,
            "put {number} was not cancelled"
        );
        let is_condemned = is_cancelled || matches!(cause, Cause::LostTooOften(_));
        assert!(
            is_condemned || self.has_come_back || counted == self.max_attempts as usize,
            "put {number} is given up after {counted} attempts"
        );
    }

    fn revived(&mut self, letter: &Letter, entry: EntryId) {
        let number = number_in(&letter.fields);
        self.facts.entries.insert(entry, number);
        let word = &mut self.words[index(number)];
        if word.end.take().is_none() {
            word.deaths_untold += 1;
        }
        let fact = self.fact(number);
        assert_eq!(fact.end.take(), Some(End::Dead));
        fact.is_cancelled = false;
        fact.forgiven = u32::try_from(fact.failures.len()).expect("few");
    }

    /// Restores the facts of a stream that has come back.
    pub(super) fn came_back(&mut self, older: Facts) {
        self.has_come_back = true;
        let before = std::mem::replace(&mut self.facts, older);
        let all = &mut self.facts.items;
        all.resize_with(self.words.len(), Fact::default);
        for ((word, fact), before) in self.words.iter_mut().zip(all).zip(&before.items) {
            word.is_lost |= before.is_put && !fact.is_put;
            if before.end != fact.end {
                word.end_lost = before.end.or(word.end_lost);
            }
            word.is_accepted &= fact.is_put;
            word.is_refused = false;
            word.end = word.end.filter(|end| fact.end == Some(*end));
        }
    }

    pub(super) fn lease(&self) -> u64 {
        self.lease
    }

    /// Checks the return of a join that began after this was put.
    pub(super) fn joined(&mut self, number: u64) {
        let fact = &self.facts.items[index(number)];
        let word = &mut self.words[index(number)];
        let is_open = fact.is_put && fact.end.is_none() && fact.forgiven == 0;
        let is_excused = self.has_come_back;
        assert!(
            !is_open || is_excused,
            "a join returned before {number} has ended"
        );
        word.is_joined |= !is_excused;
    }

    /// Checks the result of an item for its waiting caller.
    pub(super) fn replied(&self, number: u64, end: End) {
        let fact = &self.facts.items[index(number)];
        let is_excused = fact.forgiven > 0 || self.has_come_back;
        assert!(is_excused || fact.end == Some(end), "what came of {number}");
    }

    /// Notes that its putter was told this number.
    pub(super) fn accepted(&mut self, number: u64, id: ItemId) {
        let has_come_back = self.has_come_back;
        let fact = self.fact(number);
        let is_put = fact.is_put;
        // A stray put may have been repeated by an older state.
        let is_its = !is_put || has_come_back || fact.id == Some(id);
        assert!(is_its, "put {number} is told another number than it has");
        let word = &mut self.words[index(number)];
        let is_true = is_put || word.is_lost;
        assert!(is_true, "put {number} is told accepted, and is not there");
        word.is_accepted = is_put;
    }

    pub(super) fn refused(&mut self, number: u64) {
        let is_put = self.fact(number).is_put;
        assert!(!is_put, "put {number} is told refused, and is there");
        self.words[index(number)].is_refused = true;
    }

    pub(super) fn reported(&mut self, report: &Report<Envelope, u64>) {
        let (number, end) = match report {
            Report::Done {
                payload, result, ..
            } => {
                assert_eq!(payload.number, *result, "the result of another item");
                (payload.number, End::Done)
            }
            Report::Dead(letter) => (letter.payload.number, End::Dead),
            // An attempt failed here, counted or not.
            Report::Retry { .. } | Report::Copy(_) => return,
        };
        let word = &mut self.words[index(number)];
        if end == End::Dead && word.deaths_untold > 0 {
            word.deaths_untold -= 1;
            return;
        }
        // The report may have been true before an older state came back.
        if word.end_lost.take_if(|lost| *lost == end).is_some() {
            return;
        }
        let told = self.facts.items[index(number)].end;
        assert_eq!(told, Some(end), "the end of {number} is told too early");
        let before = self.words[index(number)].end.replace(end);
        assert_eq!(before, None, "the end of put {number} is told twice");
    }

    /// Checks that no item is lost, at any time: each put without an end is an entry, once.
    pub(super) fn check(&self, entries: &BTreeMap<EntryId, Fields>) {
        let known = &self.facts.entries;
        assert_eq!(entries.len(), known.len(), "entries were lost or added");
        let open = self.facts.items.iter();
        let open = open.filter(|fact| fact.is_put && fact.end.is_none());
        assert_eq!(open.count(), known.len(), "items were lost");
    }

    /// Checks the end of the run.
    pub(super) fn check_end(&self) {
        for (number, (word, fact)) in self.words.iter().zip(&self.facts.items).enumerate() {
            let has_end = fact.end.is_some();
            assert_eq!(fact.is_put, has_end, "put {number} has no end");
            assert!(
                has_end || !word.is_accepted,
                "put {number} was accepted, and is lost"
            );
        }
    }

    /// Returns the number of these ends.
    pub(super) fn count(&self, end: End) -> u64 {
        let all = self.facts.items.iter();
        all.filter(|fact| fact.end == Some(end)).count() as u64
    }
}
