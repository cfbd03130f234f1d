//! One entry of a stream: its id, its fields, and their meaning for an item. It makes no calls.
//!
//! | field | value |
//! | --- | --- |
//! | `item` | the item, as the queue's `Layout` has it |
//! | `n` | its number, if one of us has put it |
//! | `again` | it has been here before: failed attempts may be known of it |
//! | `forgiven` | the number of its failed attempts that do not count, as it was a dead letter |
//! | `reply`, `index` | where a caller waits for its result |
//!
//! Only `item` is required, so any client that can call `XADD` can put an item.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use crate::dispatcher::inflight::Arrival;
use crate::ledger::{Cause, Failure, ItemId, Unfinished};

/// The id of an entry: the millisecond in which it was added, and its place in that millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId(
    /// The time in milliseconds.
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

/// The form of a queue's items in the fields of entries.
pub trait Layout: Send + Sync + fmt::Debug {
    /// Returns the name of the item type that is kept with the stream, so that its items are not
    /// taken for others; empty where any will do.
    fn item_type(&self) -> &str;

    /// Returns the fields for a serialized item. The first is `item`.
    fn fields(&self, body: &[u8]) -> Vec<(&'static str, Vec<u8>)>;

    /// Returns the serialized item in an entry's fields.
    ///
    /// # Errors
    /// The fault in the fields.
    fn body(&self, fields: &Fields) -> Result<Vec<u8>, String>;
}

/// A layout for serialized items of any kind.
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
    /// Returns the value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.0.iter();
        let found = fields.find(|(field, _)| field == name.as_bytes());
        found.map(|(_, value)| &**value)
    }

    /// Returns the value of a field if it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        core::str::from_utf8(self.get(name)?).ok()
    }

    /// Returns the value of a field if it is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

/// An entry as it was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// Its fields.
    pub fields: Fields,
    /// The number of times that it was handed to a supervisor, this one included.
    pub deliveries: u64,
    /// The number that it was given here.
    pub number: Option<u64>,
    /// Its failed attempts, one line of JSON each.
    pub history: String,
}

/// The place to which the result of an item goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyKey {
    /// The stream that it is added to.
    pub stream: String,
    /// Its index there.
    pub index: u64,
}

/// The number of times that an entry may be lost with its supervisor. Then it becomes a dead
/// letter, because it may be the cause.
pub const LOSSES_MAX: u64 = 16;

impl Entry {
    /// Returns the item's number, if it has one.
    #[must_use]
    pub fn number(&self) -> Option<ItemId> {
        let number = self.number.or_else(|| self.fields.number("n"));
        number.map(ItemId)
    }

    /// Returns `true` if more may be known of it than its fields say.
    #[must_use]
    pub fn was_here(&self) -> bool {
        self.fields.get("again").is_some()
    }

    /// Returns the place of its result, if a caller waits for it.
    #[must_use]
    pub fn reply(&self) -> Option<ReplyKey> {
        Some(ReplyKey {
            stream: self.fields.text("reply")?.to_owned(),
            index: self.fields.number("index")?,
        })
    }

    /// Makes the arrival of this item under this number in the queue. `keep` gives the item the
    /// form that it has in the queue.
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
        let history = history_in(&self.history);
        let ended = history.iter().map(|failure| failure.scene.ended).max();
        Arrival {
            item: Unfinished {
                id,
                payload: keep(&body),
                history,
                forgiven: u32::try_from(forgiven).unwrap_or(u32::MAX),
            },
            bytes: body.len(),
            fault,
            is_awaited: self.reply().is_some(),
            since: Duration::from_millis(self.id.0).max(ended.unwrap_or_default()),
        }
    }
}

/// Encodes a failed attempt as a line of JSON.
#[must_use]
pub fn line_of(failure: &Failure) -> String {
    // Numbers and texts always have a form in JSON.
    serde_json::to_string(failure).unwrap_or_default()
}

/// Decodes the failed attempts in such lines. A line that does not decode is passed over, because
/// it is no reason not to try the item.
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
    fn it_waits_since_its_put_or_its_last_attempt() {
        let mut one = entry(&[("item", "x")]);
        one.id = EntryId(7_000, 3);
        assert_eq!(arrival(&one).since, Duration::from_secs(7));
        let scene = crate::ledger::Scene::ended_at(Duration::from_secs(9));
        one.history = line_of(&Failure::new(1, Cause::Nack("no".into()), scene));
        assert_eq!(arrival(&one).since, Duration::from_secs(9));
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
