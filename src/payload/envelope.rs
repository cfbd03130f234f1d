//! An item on its way through a queue: its payload and a few rare additions. The ledger orders
//! envelopes and a store keeps them; neither looks inside.

use dishrack_core::book::{Print, Stored};
use dishrack_core::ledger::{Copies, Weight};

use super::{INLINE_BYTES_MAX, Payload};

slotmap::new_key_type! {
    /// The mailbox for the outcomes of one running `map`.
    pub(crate) struct MailboxKey;
}

/// The mailbox for an item's outcome, and the item's place in its `map`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyTo {
    pub(crate) mailbox: MailboxKey,
    pub(crate) index: u64,
}

/// The weight of a payload in shared memory in bytes. A worker has some fifty of them at most, and
/// the messages with their segments fit its channel many times over.
const SHARED_WEIGHT: usize = 2048;

/// An item as a queue carries it: its serialized bytes and a few rare additions.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) body: Payload,
    label: Option<Box<Label>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Label {
    reply: Option<ReplyTo>,
    print: Option<Print>,
    /// True if its result must be told to the stream that it came from.
    is_sent: bool,
    /// The copies that it is to have, if it chooses for itself.
    copies: Option<Copies>,
}

impl Envelope {
    pub(crate) fn of(body: Payload) -> Self {
        Envelope { body, label: None }
    }

    fn labelled(body: Payload, label: Label) -> Self {
        let label = Some(Box::new(label));
        Envelope { body, label }
    }

    /// Makes an envelope whose outcome goes to a mailbox.
    pub(crate) fn with_reply(body: Payload, reply: ReplyTo) -> Self {
        let reply = Some(reply);
        Self::labelled(
            body,
            Label {
                reply,
                ..Label::default()
            },
        )
    }

    /// Makes an envelope for an item of a stream, to which its result may have to be told.
    pub(crate) fn of_stream(body: Payload, is_sent: bool) -> Self {
        if !is_sent {
            return Self::of(body);
        }
        Self::labelled(
            body,
            Label {
                is_sent,
                ..Label::default()
            },
        )
    }

    /// Makes an envelope with the print of its key, which the journal keeps, if there is one.
    pub(crate) fn with_print(body: Payload, print: Option<Print>) -> Self {
        if print.is_none() {
            return Self::of(body);
        }
        Self::labelled(
            body,
            Label {
                print,
                ..Label::default()
            },
        )
    }

    /// Makes an envelope for an item that chooses its copies itself, if it does.
    pub(crate) fn with_copies(body: Payload, copies: Option<Copies>) -> Self {
        if copies.is_none() {
            return Self::of(body);
        }
        Self::labelled(
            body,
            Label {
                copies,
                ..Label::default()
            },
        )
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.label.as_ref().is_some_and(|label| label.is_sent)
    }

    pub(crate) fn reply(&self) -> Option<ReplyTo> {
        self.label.as_ref()?.reply
    }
}

impl Stored for Envelope {
    fn body(&self) -> &[u8] {
        &self.body
    }

    fn print(&self) -> Option<Print> {
        self.label.as_ref()?.print
    }
}

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
        self.label.as_ref()?.copies
    }
}
