//! The waits for outcomes of items, by whoever has put them and is told of each. What becomes of the
//! outcomes is not known here.

use std::collections::VecDeque;

use super::alone::Recheck;
use super::mailboxes::ItemEnd;
use super::monitor::sleep;
use super::{Broker, Deadline, MailboxKey};
use crate::error::Kind;
use dishrack_core::ledger::Refusal;

impl Broker {
    pub(crate) fn open_mailbox(&self) -> MailboxKey {
        self.lock().mailboxes.open()
    }

    pub(crate) fn close_mailbox(&self, key: MailboxKey) {
        self.lock().mailboxes.close(key);
    }

    /// Has dead letters that are told to this mailbox not be kept as well, where no store keeps them.
    pub(crate) fn keep_no_letters(&self, key: MailboxKey) {
        self.lock().mailboxes.keep_no_letters(key);
    }

    /// Has those who wait for outcomes ask whether they are still wanted.
    pub(crate) fn wake_takers(&self, key: MailboxKey) {
        // With the lock held none is between its question and its sleep.
        self.lock().mailboxes.notify(key);
    }

    /// Waits for outcomes, as long as they are wanted, which is asked with the lock held; and moves
    /// all that are there into an empty queue, which stays empty if the time is over.
    ///
    /// # Errors
    /// No more outcomes will come.
    pub(crate) fn take_outcomes(
        &self,
        mailbox: MailboxKey,
        deadline: Deadline,
        is_wanted: &dyn Fn() -> bool,
        into: &mut VecDeque<(u32, ItemEnd)>,
    ) -> Result<(), Kind> {
        let (mut has_polled, mut recheck) = (false, Recheck::begin());
        loop {
            self.drive_inline();
            let mut core = self.lock_seeing();
            let arrived = core.mailboxes.doorbell(mailbox).ok_or(Refusal::Closed)?;
            core.mailboxes.take_outcomes(mailbox, into);
            if !into.is_empty() {
                return Ok(());
            }
            if let Some(kind) = core.loss_of(mailbox) {
                return Err(kind);
            }
            if self.has_inline_work(&core) {
                continue;
            }
            if deadline.is_over() || !is_wanted() {
                return Ok(());
            }
            if !std::mem::replace(&mut has_polled, true) {
                drop(self.poll(core));
            } else {
                has_polled = false;
                let deadline = self.limit_of_wait(&core, deadline, &mut recheck)?;
                core.mailboxes.await_outcome(mailbox, true);
                core = sleep(&arrived, core, deadline).0;
                core.mailboxes.await_outcome(mailbox, false);
            }
        }
    }
}
