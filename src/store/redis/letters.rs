//! Dead letters: read, taken, tried again.

use std::cell::Cell;
use std::time::Duration;

use redis::{RedisResult, cmd};

use super::connection::OpenConnection;
use super::scripts::Name;
use super::trouble::RedisTrouble;
use super::{RedisStore, read};
use crate::store::StoredLetter;
use dishrack_core::ledger::ItemId;
use dishrack_core::stream::entry::{Entry, EntryId, Fields, history_in};

const PAGE: usize = 500;

/// The number of fields of a letter before those of its entry: see `settle.lua`.
const OURS: usize = 5;

impl RedisStore {
    /// Returns all dead letters, oldest first, each with its entry.
    pub(super) fn letters(&self) -> Result<Vec<(EntryId, StoredLetter)>, RedisTrouble> {
        let mut letters: Vec<(EntryId, StoredLetter)> = Vec::new();
        loop {
            let after = letters.last().map(|(entry, _)| *entry);
            let page = self.letters_after(after)?;
            if page.is_empty() {
                return Ok(letters);
            }
            letters.extend(page);
        }
    }

    /// Returns the first dead letters after this one.
    pub(super) fn letters_after(
        &self,
        after: Option<EntryId>,
    ) -> Result<Vec<(EntryId, StoredLetter)>, RedisTrouble> {
        let from = after.map_or("-".to_owned(), |entry| format!("({entry}"));
        let page = self.server.call(&self.dispatcher, Duration::ZERO, |open| {
            let mut range = cmd("XRANGE");
            range.arg(&self.keys.dead).arg(&from).arg("+");
            range.arg("COUNT").arg(PAGE);
            read::plain_entries(range.query(&mut open.connection)?)
        })?;
        Ok(page.into_iter().map(|entry| self.letter(entry)).collect())
    }

    /// Returns the last dead letters, newest first.
    pub(super) fn letters_from_last(
        &self,
        count: usize,
    ) -> Result<Vec<StoredLetter>, RedisTrouble> {
        let latest = self.server.call(&self.dispatcher, Duration::ZERO, |open| {
            let mut range = cmd("XREVRANGE");
            range.arg(&self.keys.dead).arg("+").arg("-");
            range.arg("COUNT").arg(count);
            read::plain_entries(range.query(&mut open.connection)?)
        })?;
        let letters = latest.into_iter().map(|entry| self.letter(entry));
        Ok(letters.map(|(_, letter)| letter).collect())
    }

    fn letter(&self, entry: Entry) -> (EntryId, StoredLetter) {
        let id = ItemId(entry.fields.number("n").unwrap_or(0));
        let history = entry.fields.text("history").unwrap_or_default();
        let history = history_in(history);
        let original = Fields(entry.fields.0.into_iter().skip(OURS).collect());
        let body = self.layout.body(&original).unwrap_or_default();
        let payload = read::stored(&original, &body);
        let letter = StoredLetter::new(id, payload, history);
        (entry.id, letter)
    }

    pub(super) fn take_letters(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, RedisTrouble> {
        let mut letters = self.letters()?;
        letters.retain(|(_, letter)| is_wanted(letter));
        let mut taken = Vec::with_capacity(letters.len());
        for (entry, letter) in letters {
            // The client that deletes it has it.
            match self.delete_letter(entry) {
                Ok(true) => taken.push(letter),
                Ok(false) => {}
                // The letters taken so far are nowhere else any more.
                Err(_) if !taken.is_empty() => break,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(taken)
    }

    fn delete_letter(&self, entry: EntryId) -> Result<bool, RedisTrouble> {
        self.claim_letter(|open| {
            let mut script = self.script(open, Name::Drop);
            script.arg(entry.to_string());
            script.query(&mut open.connection)
        })
    }

    /// Takes a letter away, by an act that returns the number found. A call that has to be made
    /// again cannot know if its first try took the letter. Then the letter counts as taken, because
    /// it is better taken twice than lost.
    fn claim_letter(
        &self,
        act: impl Fn(&mut OpenConnection) -> RedisResult<u64>,
    ) -> Result<bool, RedisTrouble> {
        let tries = Cell::new(0);
        self.server.call(&self.dispatcher, Duration::ZERO, |open| {
            tries.set(tries.get() + 1);
            Ok(act(open)? > 0 || tries.get() > 1)
        })
    }

    /// Deletes the letter of this item.
    pub(super) fn drop_letter(&self, id: ItemId) -> Result<bool, RedisTrouble> {
        match self.letter_of(id)? {
            Some((entry, _)) => self.delete_letter(entry),
            None => Ok(false),
        }
    }

    /// Returns `true` if the letter of this item was taken or dropped.
    pub(super) fn was_dropped(&self, id: ItemId) -> Result<bool, RedisTrouble> {
        self.server.call(&self.dispatcher, Duration::ZERO, |open| {
            let mut ask = cmd("HGET");
            ask.arg(&self.keys.dropped).arg(id.0);
            let found: Option<String> = ask.query(&mut open.connection)?;
            Ok(found.is_some())
        })
    }

    /// Makes the letter of this item an entry again.
    pub(super) fn revive_letter(&self, id: ItemId) -> Result<Option<StoredLetter>, RedisTrouble> {
        let found = self.letter_of(id)?;
        let Some((entry, letter)) = found else {
            return Ok(None);
        };
        let is_revived = self.revive_entry(entry)?;
        Ok(is_revived.then_some(letter))
    }

    /// Makes these letters entries again. Returns the number, without those that another client
    /// took first.
    pub(super) fn revive_letters(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<usize, RedisTrouble> {
        let mut revived = 0;
        for (entry, letter) in self.letters()? {
            if is_wanted(&letter) {
                revived += usize::from(self.revive_entry(entry)?);
            }
        }
        Ok(revived)
    }

    fn revive_entry(&self, entry: EntryId) -> Result<bool, RedisTrouble> {
        self.claim_letter(|open| {
            let mut script = self.script(open, Name::Revive);
            script.arg(entry.to_string());
            script.query(&mut open.connection)
        })
    }
}
