//! An item on its way through a queue: its payload, and what few items have besides. It is what the
//! ledger orders and what a store keeps; neither looks into it.

use dishrack_core::book::{Print, Stored};
use dishrack_core::ledger::Weight;

use super::{INLINE_BYTES_MAX, Payload};

slotmap::new_key_type! {
    /// Where one running `map` has its outcomes put.
    pub(crate) struct MailboxKey;
}

/// Which mailbox an item's outcome goes to, and the item's place in its `map`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyTo {
    pub(crate) mailbox: MailboxKey,
    pub(crate) index: u64,
}

/// What a payload in shared memory weighs: so that a worker has some fifty of them at most, and as
/// many messages that introduce their segments fit its channel many times over.
const SHARED_WEIGHT: usize = 2048;

/// An item as a queue carries it: serialized, and what few items have besides.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) body: Payload,
    label: Option<Box<Label>>,
}

#[derive(Debug, Clone, Copy)]
struct Label {
    reply: Option<ReplyTo>,
    print: Option<Print>,
    /// What comes of it is told to the stream that it came from.
    is_sent: bool,
}

impl Envelope {
    pub(crate) fn of(body: Payload) -> Self {
        Envelope { body, label: None }
    }

    /// The outcome goes there.
    pub(crate) fn with_reply(body: Payload, reply: ReplyTo) -> Self {
        let label = Label {
            reply: Some(reply),
            print: None,
            is_sent: false,
        };
        let label = Some(Box::new(label));
        Envelope { body, label }
    }

    /// It came from a stream, and what comes of it may have to be told there.
    pub(crate) fn of_stream(body: Payload, is_sent: bool) -> Self {
        let label = is_sent.then(|| {
            Box::new(Label {
                reply: None,
                print: None,
                is_sent,
            })
        });
        Envelope { body, label }
    }

    /// The journal keeps this print of its key, if there is one.
    pub(crate) fn with_print(body: Payload, print: Option<Print>) -> Self {
        let label = print.map(|_| {
            Box::new(Label {
                reply: None,
                print,
                is_sent: false,
            })
        });
        Envelope { body, label }
    }

    /// Whether somebody elsewhere waits for what comes of it.
    pub(crate) fn is_sent(&self) -> bool {
        self.label.as_ref().is_some_and(|label| label.is_sent)
    }

    /// Where its outcome goes, if anywhere.
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
    /// What is in shared memory takes little room on the way, but each may have to be introduced.
    fn weight(&self) -> usize {
        match &self.body {
            Payload::Heap(bytes) if bytes.len() <= INLINE_BYTES_MAX => bytes.len(),
            Payload::Empty => 0,
            Payload::Heap(_) | Payload::Shared(_) => SHARED_WEIGHT,
        }
    }
}
