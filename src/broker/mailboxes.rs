//! The mailboxes in which outcomes arrive, one for each running `map` and each `Submitter`.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Condvar;
use slotmap::SlotMap;

use crate::payload::Payload;
use crate::payload::envelope::{MailboxKey, ReplyTo};
use dishrack_core::ledger::{Failure, ItemId};

#[derive(Debug)]
pub(crate) enum ItemEnd {
    Done(Payload),
    Dead(ItemId, Vec<Failure>),
}

#[derive(Debug, Default)]
struct Mailbox {
    outcomes: VecDeque<(u32, ItemEnd)>,
    arrived: Arc<Condvar>,
    sleepers: usize,
    is_cut_off: bool,
    /// True if a dead letter that was told here is kept nowhere else.
    has_letters: bool,
}

#[derive(Debug, Default)]
pub(super) struct Mailboxes(SlotMap<MailboxKey, Mailbox>);

impl Mailboxes {
    /// Returns `true` if nobody is told of outcomes.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn open(&mut self) -> MailboxKey {
        self.0.insert(Mailbox::default())
    }

    pub(super) fn close(&mut self, key: MailboxKey) {
        self.0.remove(key);
    }

    pub(super) fn keep_no_letters(&mut self, key: MailboxKey) {
        if let Some(mailbox) = self.0.get_mut(key) {
            mailbox.has_letters = true;
        }
    }

    /// Returns `true` if a dead letter that is told there is to be kept nowhere else.
    pub(super) fn has_letters(&self, reply: Option<ReplyTo>) -> bool {
        let mailbox = reply.and_then(|reply| self.0.get(reply.mailbox));
        mailbox.is_some_and(|mailbox| mailbox.has_letters)
    }

    pub(super) fn notify(&self, key: MailboxKey) {
        if let Some(mailbox) = self.0.get(key) {
            mailbox.arrived.notify_all();
        }
    }

    pub(super) fn deliver(&mut self, reply: Option<ReplyTo>, outcome: impl FnOnce() -> ItemEnd) {
        if let Some(ReplyTo { mailbox, index }) = reply
            && let Some(mailbox) = self.0.get_mut(mailbox)
        {
            mailbox.outcomes.push_back((index, outcome()));
            if mailbox.sleepers > 0 {
                mailbox.arrived.notify_one();
            }
        }
    }

    /// Cuts these mailboxes off: the stream has nothing more of what they wait for.
    pub(super) fn cut_off(&mut self, replies: impl IntoIterator<Item = ReplyTo>) {
        for reply in replies {
            if let Some(mailbox) = self.0.get_mut(reply.mailbox) {
                mailbox.is_cut_off = true;
                mailbox.arrived.notify_all();
            }
        }
    }

    pub(super) fn is_cut_off(&self, key: MailboxKey) -> bool {
        self.0.get(key).is_some_and(|one| one.is_cut_off)
    }

    /// Notes that a caller begins or ends waiting for outcomes.
    pub(super) fn await_outcome(&mut self, key: MailboxKey, is_waiting: bool) {
        if let Some(mailbox) = self.0.get_mut(key) {
            match is_waiting {
                true => mailbox.sleepers += 1,
                false => mailbox.sleepers -= 1,
            }
        }
    }

    pub(super) fn doorbell(&self, key: MailboxKey) -> Option<Arc<Condvar>> {
        Some(Arc::clone(&self.0.get(key)?.arrived))
    }

    /// Moves all outcomes that came into an empty queue, whose memory then serves for the next
    /// ones.
    pub(super) fn take_outcomes(&mut self, key: MailboxKey, into: &mut VecDeque<(u32, ItemEnd)>) {
        if let Some(mailbox) = self.0.get_mut(key) {
            std::mem::swap(&mut mailbox.outcomes, into);
        }
    }

    pub(super) fn notify_all(&self) {
        for mailbox in self.0.values() {
            mailbox.arrived.notify_all();
        }
    }
}
