//! Single items of a stream: listed, found by their numbers, cancelled.

use std::time::Duration;

use redis::{RedisResult, Value};

use super::connection::OpenConnection;
use super::scripts::Name;
use super::trouble::RedisTrouble;
use super::{RedisStore, read};
use crate::store::StoredLetter;
use crate::store::stream::{CancelAnswer, FoundOnStream, Moment, StreamHolder, StreamItem};
use dishrack_core::ledger::{Failure, ItemId};
use dishrack_core::stream::entry::{Entry, EntryId, history_in, line_of};

/// The number of items in one page.
const PAGE: usize = 200;

/// The bytes of an item that a page shows.
const SHOWN_BYTES: usize = 4096;

/// The answer of a script that looks for an item by its number.
enum Sought {
    Found(StreamItem),
    NotThere {
        numbers: u64,
        gone: u64,
    },
    /// It was not where it was found before.
    Moved,
}

impl RedisStore {
    pub(super) fn unfinished_page(
        &self,
        after: Option<EntryId>,
    ) -> Result<Vec<StreamItem>, RedisTrouble> {
        let from = after.map_or("-".to_owned(), |entry| format!("({entry}"));
        self.server.call(&self.dispatcher, Duration::ZERO, |open| {
            let mut script = self.script(open, Name::Page);
            script.arg(&from).arg(PAGE).arg(SHOWN_BYTES);
            let rows = read::array(script.query(&mut open.connection)?)?;
            rows.into_iter().map(|row| self.stream_item(row)).collect()
        })
    }

    fn stream_item(&self, row: Value) -> RedisResult<StreamItem> {
        let [id, fields, deliveries, given, history, holder, idle] = read::row(row)?;
        let known = Value::Array(vec![id, fields, deliveries, given, history]);
        let entry: Entry = read::known_entry(known)?;
        let holder = StreamHolder {
            name: read::text(holder)?,
            idle: Duration::from_millis(read::number(idle)?),
        };
        let body = self.layout.body(&entry.fields).unwrap_or_default();
        Ok(StreamItem {
            entry: entry.id,
            number: entry.number(),
            payload: read::stored(&entry.fields, &body),
            history: history_in(&entry.history),
            holder: Some(holder).filter(|holder| !holder.name.is_empty()),
        })
    }

    /// Returns the entry of an unfinished item, by a look at all of them.
    fn entry_of(&self, id: ItemId) -> Result<Option<EntryId>, RedisTrouble> {
        let mut after = None;
        loop {
            let page = self.unfinished_page(after)?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            after = Some(last.entry);
            if let Some(one) = page.iter().find(|one| one.number == Some(id)) {
                return Ok(Some(one.entry));
            }
        }
    }

    /// Runs a script that looks for an item, with its entry if it cannot be found without.
    fn with_entry<R>(
        &self,
        id: ItemId,
        name: Name,
        more: &[String],
        answer: impl Fn(Value) -> RedisResult<Option<R>>,
    ) -> Result<Option<R>, RedisTrouble> {
        let ask = |open: &mut OpenConnection, entry: &str| {
            let mut script = self.script(open, name);
            script.arg(id.0).arg(entry);
            script.arg(more);
            answer(script.query(&mut open.connection)?)
        };
        let call = |entry: &str| {
            let ask = |open: &mut OpenConnection| ask(open, entry);
            self.server.call(&self.dispatcher, Duration::ZERO, ask)
        };
        if let Some(answered) = call("")? {
            return Ok(Some(answered));
        }
        match self.entry_of(id)? {
            Some(entry) => call(&entry.to_string()),
            None => Ok(None),
        }
    }

    fn sought(&self, id: ItemId, is_awaited: bool) -> Result<(Sought, Moment), RedisTrouble> {
        let found = self.with_entry(
            id,
            Name::Find,
            &[u8::from(is_awaited).to_string()],
            |answer| {
                let [clear, found, ring, numbers, gone] = read::row(answer)?;
                let sought = match read::array(found)?.into_iter().next() {
                    Some(row) => Sought::Found(self.stream_item(row)?),
                    None if read::text(clear)? == "unclear" => return Ok(None),
                    None => Sought::NotThere {
                        numbers: read::number(numbers)?,
                        gone: read::number(gone)?,
                    },
                };
                Ok(Some((sought, Moment(read::text(ring)?))))
            },
        )?;
        Ok(found.unwrap_or((Sought::Moved, Moment("0-0".into()))))
    }

    pub(super) fn found(
        &self,
        id: ItemId,
        is_awaited: bool,
    ) -> Result<(FoundOnStream, Moment), RedisTrouble> {
        // A dead letter may be tried again between two looks.
        let mut is_sure = false;
        loop {
            let (sought, moment) = self.sought(id, is_awaited)?;
            let (numbers, gone) = match sought {
                Sought::Found(item) => return Ok((FoundOnStream::Unfinished(item), moment)),
                Sought::NotThere { numbers, gone } => (numbers, gone),
                Sought::Moved => (u64::MAX, 0),
            };
            if let Some((_, letter)) = self.letter_of(id)? {
                return Ok((FoundOnStream::Dead(letter), moment));
            }
            if std::mem::replace(&mut is_sure, true) {
                let found = match () {
                    () if id.0 == 0 || id.0 > numbers => FoundOnStream::Unknown,
                    () if self.was_dropped(id)? => FoundOnStream::Dropped,
                    () if gone > 0 => FoundOnStream::Lost(gone),
                    () => FoundOnStream::Done,
                };
                return Ok((found, moment));
            }
        }
    }

    /// Returns the dead letter of an item, and its entry.
    pub(super) fn letter_of(
        &self,
        id: ItemId,
    ) -> Result<Option<(EntryId, StoredLetter)>, RedisTrouble> {
        let mut after = None;
        loop {
            let page = self.letters_after(after)?;
            let Some((last, _)) = page.last() else {
                return Ok(None);
            };
            after = Some(*last);
            if let Some(found) = page.into_iter().find(|(_, letter)| letter.id == id) {
                return Ok(Some(found));
            }
        }
    }

    pub(super) fn cancel_item(
        &self,
        id: ItemId,
        failure: &Failure,
    ) -> Result<(CancelAnswer, Moment), RedisTrouble> {
        let (cause, line) = (failure.cause.to_string(), line_of(failure));
        let answered = self.with_entry(
            id,
            Name::Cancel,
            &[self.lease_ms().to_string(), cause, line],
            |answer| {
                let [said, ring, name, idle] = read::row(answer)?;
                let moment = Moment(read::text(ring)?);
                let holder = StreamHolder {
                    name: read::text(name)?,
                    idle: Duration::from_millis(read::number(idle)?),
                };
                Ok(match &*read::text(said)? {
                    "ended" => Some((CancelAnswer::Ended, moment)),
                    "ordered" => Some((CancelAnswer::Ordered(holder), moment)),
                    "unclear" => None,
                    _ => Some((CancelAnswer::NotThere, moment)),
                })
            },
        )?;
        let not_there = (CancelAnswer::NotThere, Moment("0-0".into()));
        Ok(answered.unwrap_or(not_there))
    }
}
