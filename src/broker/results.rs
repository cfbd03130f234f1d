//! The mailboxes in which outcomes of a `map` arrive, one for each running `map`.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Condvar;

use super::Broker;
use super::core::Core;
use crate::error::Kind;
use crate::payload::Payload;
use crate::payload::envelope::{MailboxKey, ReplyTo};
use dishrack_core::ledger::{Failure, ItemId, Refusal};

#[derive(Debug)]
pub(crate) enum ItemEnd {
    Done(Payload),
    Dead(ItemId, Vec<Failure>),
}

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    outcomes: VecDeque<(u32, ItemEnd)>,
    pub(super) arrived: Arc<Condvar>,
    sleepers: usize,
    is_cut_off: bool,
}

impl Core {
    pub(super) fn deliver_outcome(
        &mut self,
        reply: Option<ReplyTo>,
        outcome: impl FnOnce() -> ItemEnd,
    ) {
        if let Some(ReplyTo { mailbox, index }) = reply
            && let Some(mailbox) = self.mailboxes.get_mut(mailbox)
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
            if let Some(mailbox) = self.mailboxes.get_mut(reply.mailbox) {
                mailbox.is_cut_off = true;
                mailbox.arrived.notify_all();
            }
        }
    }

    /// Returns the reason why nothing more comes into this mailbox, if that is so.
    pub(super) fn loss_of(&self, key: MailboxKey) -> Option<Kind> {
        let is_cut_off = self.mailboxes.get(key).is_some_and(|one| one.is_cut_off);
        let words = "the stream has nothing of it any more: it was deleted there, or is lost";
        let cut_off = || is_cut_off.then(|| Kind::of(Refusal::StreamFailed, words));
        self.loss().or_else(cut_off)
    }

    /// Notes that a caller begins or ends waiting for outcomes.
    pub(super) fn await_outcome(&mut self, key: MailboxKey, is_waiting: bool) {
        if let Some(mailbox) = self.mailboxes.get_mut(key) {
            match is_waiting {
                true => mailbox.sleepers += 1,
                false => mailbox.sleepers -= 1,
            }
        }
    }

    pub(super) fn mailbox(&self, key: MailboxKey) -> Option<Arc<Condvar>> {
        Some(Arc::clone(&self.mailboxes.get(key)?.arrived))
    }

    /// Moves all outcomes that came into an empty queue, whose memory then serves for the next
    /// ones.
    pub(super) fn take_outcomes(&mut self, key: MailboxKey, into: &mut VecDeque<(u32, ItemEnd)>) {
        if let Some(mailbox) = self.mailboxes.get_mut(key) {
            std::mem::swap(&mut mailbox.outcomes, into);
        }
    }
}

impl Broker {
    pub(crate) fn open_mailbox(&self) -> MailboxKey {
        self.lock().mailboxes.insert(Mailbox::default())
    }

    pub(crate) fn close_mailbox(&self, key: MailboxKey) {
        self.lock().mailboxes.remove(key);
    }
}
