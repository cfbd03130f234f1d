//! Hears what workers of this process have done: threads and async tasks, which store it on a board
//! as worker processes do. It does not know how they run.

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::Broker;
use super::attachment::Attachment;
use super::core::Core;
use crate::error::Kind;
use crate::fail;
use crate::link::local::LocalReader;
use crate::payload::Payload;
use dishrack_core::ledger::{HolderId, Outcome, Token};

impl Core {
    /// Takes what a worker of this process has done since it was last looked at. Returns `true` if
    /// there was anything.
    pub(super) fn drain_local(&mut self, holder: HolderId) -> bool {
        let attachment = self.attachments.get_mut(holder);
        let Some(local) = attachment.and_then(|attachment| attachment.local.as_mut()) else {
            return false;
        };
        let Some((through, served)) = local.advance() else {
            return false;
        };
        local.queue.end_asking();
        self.awaits_locals = true;
        fail::point("done by a thread's store: received");
        let ledger = &mut self.dispatcher.ledger;
        ledger.handle_done_through(holder, through, served);
        fail::point("done by a thread's store: settled");
        true
    }

    /// Returns what is shared with this worker, if it is one of this process.
    fn local(&self, holder: HolderId) -> Option<&LocalReader> {
        self.attachments.get(holder)?.local.as_ref()
    }

    /// Takes what all workers of this process have done by now, and hears soon what they do next.
    /// Returns `true` if there was anything, and then the caller lets the core carry out what
    /// follows.
    pub(super) fn drain_locals(&mut self) -> bool {
        if self.locals == 0 {
            return false;
        }
        let attachments = self.attachments.values();
        for local in attachments.filter_map(|one| one.local.as_ref()) {
            local.queue.set_late(false);
        }
        // As in `LocalQueue::ask_at_once`: the boards are looked at after this.
        fence(Ordering::SeqCst);
        let has_news = |(holder, attachment): (HolderId, &Attachment)| {
            let local = attachment.local.as_ref();
            local
                .is_some_and(|local| local.has_news())
                .then_some(holder)
        };
        let holders: Vec<HolderId> = self.attachments.iter().filter_map(has_news).collect();
        for holder in &holders {
            self.drain_local(*holder);
        }
        !holders.is_empty()
    }

    /// Says that a caller comes by again soon, so that this worker of this process need not tell
    /// what it does until then; unless somebody sleeps who waits for it.
    pub(super) fn hear_late(&mut self, holder: HolderId) {
        if self.joiners == 0
            && self.putters == 0
            && let Some(local) = self.local(holder)
        {
            local.queue.set_late(true);
        }
    }

    /// Lets a worker of this process tell what it does next, because it has told nothing for a
    /// while and nobody will look again before it does.
    pub(super) fn ask_local(&mut self, holder: HolderId) {
        if let Some(local) = self.local(holder) {
            local.queue.ask_at_once();
            if local.has_news() {
                self.drain_local(holder);
            }
        }
    }
}

impl Broker {
    /// Returns `true` if a worker of this process must ask before it begins a delivery, and settle
    /// each by itself: each is reported, or may be another supervisor's by now.
    pub(crate) fn is_asked(&self) -> bool {
        self.reports_items.load(Ordering::Relaxed) || self.is_shared()
    }

    /// Takes what a worker of this process has done, which calls this itself. `is_alone` says that
    /// no caller came by when it had nothing to do any more.
    pub(crate) fn hear(&self, holder: HolderId, is_alone: bool) {
        self.with(|core| {
            core.drain_local(holder);
            if let Some(local) = core.local(holder) {
                local.queue.end_asking();
                if is_alone {
                    local.queue.set_late(false);
                }
            }
        });
    }

    /// Ends a delivery of a worker of this process, after those that it stored on its board.
    pub(crate) fn settle_local(
        &self,
        holder: HolderId,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Kind> {
        let settled = self.with(|core| {
            core.drain_local(holder);
            fail::point("ended by a thread: received");
            let settled = core.settle(token, service, outcome);
            fail::point("ended by a thread: settled");
            settled
        });
        settled.map_err(|_| Kind::Stale)
    }
}
