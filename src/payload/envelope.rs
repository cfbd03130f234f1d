//! An item on its way through a queue: its payload and a few rare additions. The ledger orders
//! envelopes and a store keeps them; neither looks inside.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use dishrack_core::book::{Print, Stored};
use dishrack_core::ledger::{Copies, ItemId, UniqueKey, Weight};

use super::{INLINE_BYTES_MAX, Payload};

/// Returns a number for a key, the same in every process of a program.
pub(crate) fn number_of(key: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Returns a number for a key that no two keys have by chance.
pub(crate) fn wide_number_of(key: &(impl Hash + ?Sized)) -> u128 {
    let half = number_of(key);
    u128::from(half) << 64 | u128::from(number_of(&(half, key)))
}

/// Returns the time since 1970; one before that is long past.
pub(crate) fn since_1970(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

slotmap::new_key_type! {
    /// The mailbox for the outcomes of one running `map`, or of one `Submitter`.
    pub(crate) struct MailboxKey;
}

/// The mailbox for an item's outcome, and the item's place among those whose outcomes go there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyTo {
    pub(crate) mailbox: MailboxKey,
    /// The place, as far as it tells items that are under way from each other.
    pub(crate) index: u32,
}

/// The weight of a payload in shared memory in bytes. A worker has some fifty of them at most, and
/// the messages with their segments fit its channel many times over.
const SHARED_WEIGHT: usize = 2048;

/// An item as a queue carries it: its serialized bytes and a few rare additions.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) body: Payload,
    label: Label,
}

/// An addition to an item, if there is one. An item of a `map` needs no memory of its own for it.
#[derive(Debug, Clone)]
enum Label {
    None,
    Reply(ReplyTo),
    Print(Box<Print>),
    /// Its result must be told to the stream that it came from.
    Sent,
    /// It has terms of its own.
    Terms(Box<ItemTerms>),
}

/// The terms that a single item has, in the place of what its queue says of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct ItemTerms {
    pub(crate) copies: Option<Copies>,
    /// Its key, as a number.
    pub(crate) key: Option<u64>,
    pub(crate) priority: Option<i8>,
    /// Times since 1970.
    pub(crate) not_before: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) after: Vec<ItemId>,
    pub(crate) unique: Option<UniqueKey>,
}

// Nearly all items have none, and all have the room for one.
const _: () = assert!(size_of::<Label>() <= 16);

impl Envelope {
    pub(crate) fn of(body: Payload) -> Self {
        Envelope {
            body,
            label: Label::None,
        }
    }

    /// Makes an envelope whose outcome goes to a mailbox.
    pub(crate) fn with_reply(body: Payload, reply: ReplyTo) -> Self {
        Envelope {
            body,
            label: Label::Reply(reply),
        }
    }

    /// Makes an envelope for an item of a stream, to which its result may have to be told.
    pub(crate) fn of_stream(body: Payload, is_sent: bool) -> Self {
        let label = match is_sent {
            true => Label::Sent,
            false => Label::None,
        };
        Envelope { body, label }
    }

    /// Makes an envelope with the print of its key, which the journal keeps, if there is one.
    pub(crate) fn with_print(body: Payload, print: Option<Print>) -> Self {
        let label = print.map_or(Label::None, |print| Label::Print(Box::new(print)));
        Envelope { body, label }
    }

    /// Makes an envelope for an item that has terms of its own.
    pub(crate) fn with_terms(body: Payload, terms: ItemTerms) -> Self {
        let label = Label::Terms(Box::new(terms));
        Envelope { body, label }
    }

    /// Returns the terms that the item has of its own, if it has some.
    pub(crate) fn terms(&self) -> Option<&ItemTerms> {
        match &self.label {
            Label::Terms(terms) => Some(terms),
            Label::None | Label::Reply(_) | Label::Print(_) | Label::Sent => None,
        }
    }

    pub(crate) fn is_sent(&self) -> bool {
        matches!(self.label, Label::Sent)
    }

    pub(crate) fn reply(&self) -> Option<ReplyTo> {
        match self.label {
            Label::Reply(reply) => Some(reply),
            Label::None | Label::Print(_) | Label::Sent | Label::Terms(_) => None,
        }
    }
}

impl Stored for Envelope {
    fn body(&self) -> &[u8] {
        &self.body
    }

    fn print(&self) -> Option<Print> {
        match &self.label {
            Label::Print(print) => Some(**print),
            Label::None | Label::Reply(_) | Label::Sent | Label::Terms(_) => None,
        }
    }
}

/// The greatest size in bytes of an item that is copied when a journal is told of it, rather than
/// kept alive until it is written.
const COPIED_BYTES_MAX: usize = 1024;

impl Weight for Envelope {
    /// Returns its weight. In shared memory it is small, but a segment may have to be sent first.
    fn weight(&self) -> usize {
        match &self.body {
            Payload::Heap(bytes) if bytes.len() <= INLINE_BYTES_MAX => bytes.len(),
            Payload::Empty => 0,
            Payload::Heap(_) | Payload::Shared(_) => SHARED_WEIGHT,
        }
    }

    fn copies(&self) -> Option<Copies> {
        self.terms()?.copies
    }

    fn small_body(&self) -> Option<&[u8]> {
        match (&self.label, &self.body) {
            // The print is to be kept as well.
            (Label::Print(_), _) | (_, Payload::Shared(_)) => None,
            (_, body) => (body.len() <= COPIED_BYTES_MAX).then_some(body),
        }
    }
}
