//! One entry of a stream: its id, its fields, and what they say of an item. It asks nobody.
//!
//! | field | value |
//! | --- | --- |
//! | `item` | the item, as the queue's `Layout` has it |
//! | `n` | its number, if one of us has put it |
//! | `again` | it has been here before: failed attempts may be known of it |
//! | `forgiven` | so many of its failed attempts do not count, as it was a dead letter |
//! | `reply`, `index` | where somebody waits for what comes of it |
//!
//! Only `item` is needed, so that whoever can say `XADD` can put an item.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::ledger::{Cause, Failure, ItemId, Unfinished};
use crate::shared::inflight::Arrival;

/// The name of an entry: the time of its birth in milliseconds, and its place among those of the
/// same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId(
    /// The time.
    pub u64,
    /// The place.
    pub u64,
);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl FromStr for EntryId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (time, place) = text.split_once('-').ok_or(())?;
        let number = |digits: &str| digits.parse().map_err(|_| ());
        Ok(EntryId(number(time)?, number(place)?))
    }
}

/// How the items of a queue stand in the fields of entries.
pub trait Layout: Send + Sync + fmt::Debug {
    /// What is kept with the stream, so that nobody takes its items for others; empty where it does
    /// not matter what they are.
    fn item_type(&self) -> &str;

    /// The fields for a serialized item. The first is `item`.
    fn fields(&self, body: &[u8]) -> Vec<(&'static str, Vec<u8>)>;

    /// The serialized item in an entry's fields.
    ///
    /// # Errors
    /// What is wrong with them.
    fn body(&self, fields: &Fields) -> Result<Vec<u8>, String>;
}

/// Items as they are serialized, whatever they are.
#[derive(Debug)]
pub struct Plain(pub &'static str);

impl Layout for Plain {
    fn item_type(&self) -> &str {
        self.0
    }

    fn fields(&self, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        vec![("item", body.to_vec())]
    }

    fn body(&self, fields: &Fields) -> Result<Vec<u8>, String> {
        let item = fields.get("item").ok_or("it has no field `item`")?;
        Ok(item.to_vec())
    }
}

/// The fields of an entry and their values, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.0.iter();
        let found = fields.find(|(field, _)| field == name.as_bytes());
        found.map(|(_, value)| &**value)
    }

    /// The same as a text, if it is one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        core::str::from_utf8(self.get(name)?).ok()
    }

    /// The same as a number, if it is one.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

/// An entry as it was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// What was put.
    pub fields: Fields,
    /// How often it was handed to a supervisor, this time included.
    pub deliveries: u64,
    /// A number that was given to it here.
    pub number: Option<u64>,
    /// Its failed attempts, one line of JSON each.
    pub history: String,
}

/// Where what comes of an item goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyKey {
    /// The stream that it is added to.
    pub stream: String,
    /// Its place there.
    pub index: u64,
}

/// An entry that was lost with its supervisor so often becomes a dead letter: it may be what kills
/// them.
pub const LOSSES_MAX: u64 = 16;

impl Entry {
    /// The item's number, if it has one.
    #[must_use]
    pub fn number(&self) -> Option<ItemId> {
        let number = self.number.or_else(|| self.fields.number("n"));
        number.map(ItemId)
    }

    /// Whether more may be known of it than its fields say.
    #[must_use]
    pub fn was_here(&self) -> bool {
        self.fields.get("again").is_some()
    }

    /// Where what comes of it goes, if somebody waits.
    #[must_use]
    pub fn reply(&self) -> Option<ReplyKey> {
        Some(ReplyKey {
            stream: self.fields.text("reply")?.to_owned(),
            index: self.fields.number("index")?,
        })
    }

    /// What it means for the queue, under this number, with what was found to be its item. `keep`
    /// gives that the form that it has in the queue.
    #[must_use]
    pub fn arrival<P>(
        &self,
        id: ItemId,
        body: Result<Vec<u8>, String>,
        keep: impl FnOnce(&[u8]) -> P,
    ) -> Arrival<P> {
        let losses = self.deliveries.saturating_sub(1);
        let fault = match &body {
            Err(why) => Some(Cause::Undecodable(why.clone())),
            Ok(_) if losses >= LOSSES_MAX => Some(Cause::LostTooOften(losses)),
            Ok(_) => None,
        };
        let forgiven = self.fields.number("forgiven").unwrap_or(0);
        let body = body.unwrap_or_default();
        Arrival {
            item: Unfinished {
                id,
                payload: keep(&body),
                history: history_in(&self.history),
                forgiven: u32::try_from(forgiven).unwrap_or(u32::MAX),
            },
            bytes: body.len(),
            fault,
            is_awaited: self.reply().is_some(),
        }
    }
}

/// A failed attempt as it is kept.
#[must_use]
pub fn line_of(failure: &Failure) -> String {
    // Its parts are numbers and texts, which JSON has.
    serde_json::to_string(failure).unwrap_or_default()
}

/// The failed attempts in what is kept of them. What is none is passed over: it is no reason not to
/// try the item.
#[must_use]
pub fn history_in(lines: &str) -> Vec<Failure> {
    let failures = lines.lines().map(serde_json::from_str);
    failures.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn entry(fields: &[(&str, &str)]) -> Entry {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let fields = fields
            .iter()
            .map(|(name, value)| (bytes(name), bytes(value)));
        Entry {
            fields: Fields(fields.collect()),
            deliveries: 1,
            ..Entry::default()
        }
    }

    #[test]
    fn entries_are_named_as_in_redis() {
        let id: EntryId = "1764000000000-7".parse().unwrap();
        assert_eq!(
            (id, &*id.to_string()),
            (EntryId(1_764_000_000_000, 7), "1764000000000-7")
        );
        assert!("7".parse::<EntryId>().is_err() && "a-b".parse::<EntryId>().is_err());
    }

    fn arrival(entry: &Entry) -> Arrival<Vec<u8>> {
        let body = Plain("T").body(&entry.fields);
        entry.arrival(ItemId(5), body, <[u8]>::to_vec)
    }

    #[test]
    fn what_has_no_item_is_not_worked_on() {
        let strange = arrival(&entry(&[("colour", "red")]));
        let fault = strange.fault.unwrap().to_string();
        assert_eq!(fault, "does not decode: it has no field `item`");
    }

    #[test]
    fn what_was_lost_too_often_is_not_worked_on() {
        let mut one = entry(&[("item", "x"), ("n", "5")]);
        assert_eq!(one.number(), Some(ItemId(5)));
        one.deliveries = LOSSES_MAX;
        assert!(arrival(&one).fault.is_none());
        one.deliveries = LOSSES_MAX + 1;
        assert_eq!(arrival(&one).fault, Some(Cause::LostTooOften(LOSSES_MAX)));
    }

    #[test]
    fn failures_come_back_as_they_were() {
        let failure = Failure {
            attempt: 2,
            cause: Cause::Nack("torn\nin two".into()),
            scene: crate::ledger::Scene::default(),
        };
        let line = line_of(&failure);
        assert!(!line.contains('\n'));
        assert_eq!(
            history_in(&format!("{line}\nrubbish\n{line}")),
            [failure.clone(), failure]
        );
    }
}
