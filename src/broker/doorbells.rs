//! Wakes the threads that wait for what has changed.

use std::task::Waker;

use parking_lot::Condvar;

use super::core::Core;
use crate::fail;
use crate::observe::EventKind;

/// The doorbells of all sleepers. Each is rung when there is something for its sleepers.
#[derive(Debug, Default)]
pub(super) struct Doorbells {
    pub(super) room: Condvar,
    pub(super) items: Condvar,
    pub(super) settled: Condvar,
    pub(super) durable: Condvar,
    /// For the fetcher and the listener of a stream.
    pub(super) fetcher: Condvar,
    pub(super) listener: Condvar,
}

impl Doorbells {
    pub(super) fn notify_stream(&self) {
        self.fetcher.notify_all();
        self.listener.notify_all();
    }
}

impl Core {
    /// Wakes the threads that have something to do now.
    pub(super) fn ring(&mut self) {
        self.ring_for_putters();
        self.ring_for_getters();
        self.ring_for_joiners();
        if self.dispatcher.ledger.has_write() {
            self.committer.call();
        }
        self.ring_for_stream();
        if let Some(at) = self.dispatcher.ledger.poll_timeout() {
            self.timer.set(at.saturating_sub(self.emitter.now()));
        }
        self.see_to_reliance();
        let mut counts = self.dispatcher.ledger.counts();
        if fail::is_planted("one too many") {
            counts.done += 1;
        }
        if !counts.is_balanced() && !std::mem::replace(&mut self.is_inconsistent, true) {
            let why = format!("items are lost or counted twice: {counts:?}");
            self.emitter.emit(EventKind::Inconsistent { why });
        }
        self.emitter.progress(&counts);
    }

    fn ring_for_putters(&self) {
        if self.putters > 0 && self.dispatcher.ledger.has_room() {
            self.doorbells.room.notify_all();
        }
    }

    fn ring_for_getters(&self) {
        if self.dispatcher.local_getters() == 0 {
            return;
        }
        let waiting = self.dispatcher.ledger.ready();
        if waiting == 1 && self.wakers.is_empty() {
            self.doorbells.items.notify_one();
        } else if waiting > 0 || self.end_of_gets().is_some() {
            self.doorbells.items.notify_all();
            self.wakers.values().for_each(Waker::wake_by_ref);
        }
    }

    fn ring_for_joiners(&self) {
        if self.joiners > 0 && self.dispatcher.join_state(0).is_some() {
            self.doorbells.settled.notify_all();
        }
        // Inline, the callers that wait for the end or for room do the work.
        if self.has_inline && !self.dispatcher.ledger.is_finished() {
            self.doorbells.room.notify_all();
            self.doorbells.durable.notify_all();
            self.doorbells.settled.notify_all();
            for mailbox in self.mailboxes.values() {
                mailbox.arrived.notify_all();
            }
        }
    }
}
