//! Dead letters: read, taken, tried again.

use std::time::Duration;

use redis::cmd;

use super::connection::Trouble;
use super::entry::{Entry, EntryId, Fields, history_in};
use super::scripts::Name;
use super::{RedisStore, read};
use crate::ledger::ItemId;
use crate::store::StoredLetter;

/// Letters that are read at a time.
const PAGE: usize = 500;

/// What stands in a letter before the fields of its entry: see `settle.lua`.
const OURS: usize = 5;

impl RedisStore {
    /// All dead letters, oldest first, each with its entry.
    pub(super) fn letters(&self) -> Result<Vec<(EntryId, StoredLetter)>, String> {
        let mut letters = Vec::new();
        let mut from = "-".to_owned();
        loop {
            let page = self.page(&from).map_err(Trouble::words)?;
            let Some(last) = page.last() else {
                return Ok(letters);
            };
            from = format!("({}", last.id);
            letters.extend(page.into_iter().map(|entry| self.letter(entry)));
        }
    }

    fn page(&self, from: &str) -> Result<Vec<Entry>, Trouble> {
        self.server.call(&self.desk, Duration::ZERO, |open| {
            let mut range = cmd("XRANGE");
            range.arg(&self.keys.dead).arg(from).arg("+");
            range.arg("COUNT").arg(PAGE);
            read::plain_entries(range.query(&mut open.connection)?)
        })
    }

    fn letter(&self, entry: Entry) -> (EntryId, StoredLetter) {
        let id = ItemId(entry.fields.number("n").unwrap_or(0));
        let history = entry.fields.text("history").unwrap_or_default();
        let history = history_in(history);
        let original = Fields(entry.fields.0.into_iter().skip(OURS).collect());
        let body = self.layout.body(&original).unwrap_or_default();
        let payload = read::stored(&original, &body);
        let letter = StoredLetter {
            id,
            payload,
            history,
        };
        (entry.id, letter)
    }

    pub(super) fn take_letters(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, String> {
        let mut letters = self.letters()?;
        letters.retain(|(_, letter)| is_wanted(letter));
        let mut taken = Vec::with_capacity(letters.len());
        for (entry, letter) in letters {
            // Whoever deletes it has it.
            if self.delete_letter(entry).map_err(Trouble::words)? {
                taken.push(letter);
            }
        }
        Ok(taken)
    }

    fn delete_letter(&self, entry: EntryId) -> Result<bool, Trouble> {
        self.server.call(&self.desk, Duration::ZERO, |open| {
            let mut delete = cmd("XDEL");
            delete.arg(&self.keys.dead).arg(entry.to_string());
            Ok(delete.query::<u64>(&mut open.connection)? > 0)
        })
    }

    /// The letter of this item becomes an entry again.
    pub(super) fn revive_letter(&self, id: ItemId) -> Result<Option<StoredLetter>, String> {
        let mut letters = self.letters()?.into_iter();
        let Some((entry, letter)) = letters.find(|(_, letter)| letter.id == id) else {
            return Ok(None);
        };
        let is_revived = self.revive_entry(entry).map_err(Trouble::words)?;
        Ok(is_revived.then_some(letter))
    }

    /// These letters become entries again. How many: somebody else may have been faster.
    #[cfg(feature = "cli")]
    pub(crate) fn revive_letters(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<usize, String> {
        let mut revived = 0;
        for (entry, letter) in self.letters()? {
            if is_wanted(&letter) {
                revived += usize::from(self.revive_entry(entry).map_err(Trouble::words)?);
            }
        }
        Ok(revived)
    }

    fn revive_entry(&self, entry: EntryId) -> Result<bool, Trouble> {
        self.server.call(&self.desk, Duration::ZERO, |open| {
            let mut script = self.script(open, Name::Revive);
            script.arg(entry.to_string());
            Ok(script.query::<u64>(&mut open.connection)? > 0)
        })
    }
}
