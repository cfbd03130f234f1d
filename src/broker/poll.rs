//! Looks for a while at what worker processes write, before a caller sleeps.
//!
//! A caller that waits for the end of short items reads the workers' acknowledgements itself, from
//! shared memory, so no worker has to wake a thread and no thread is switched. One caller at a time
//! does so, and only while there is a processor for it; the others sleep on their doorbells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::core::Core;
use super::{Broker, with_guard};
use crate::protocol::ring_pair::RingPair;
use crate::sys::poll::poll_until;
use dishrack_core::ledger::HolderId;

/// A worker that holds deliveries.
struct Eye {
    holder: HolderId,
    ring_pair: Arc<RingPair>,
    /// The place up to which it was read.
    seen: (u64, u64),
}

impl Eye {
    fn sees_news(&self) -> bool {
        let written = self.ring_pair.up_published();
        (written, self.ring_pair.board().through().0) != self.seen
    }
}

/// The number of puts between two looks at what workers have written: with fewer, looking costs
/// more than it finds; with more, a fast worker runs dry.
const QUERY: usize = 64;

/// The time without progress after which a worker is not relied on any more.
const RELIANCE: Duration = Duration::from_millis(2);

/// A worker that is relied on, and its progress: the last delivery begun and the last one finished.
#[derive(Debug)]
pub(super) struct Reliance {
    holder: HolderId,
    progress: (u64, u64),
}

impl Core {
    /// Sets a time to check the workers that are relied on while items wait for them and another
    /// one is idle, because a worker that is at a long item, or is suspended, does not say so.
    pub(super) fn see_to_reliance(&mut self) {
        if self.relied_on.is_empty() && self.dispatcher.ledger.is_relying() {
            self.relied_on = self.workers_relied_on();
            self.timer.set(RELIANCE);
        }
    }

    fn workers_relied_on(&self) -> Vec<Reliance> {
        let attachments = self.attachments.iter();
        let relied_on =
            attachments.filter(|(holder, _)| self.dispatcher.ledger.is_relied_on(*holder));
        relied_on
            .filter_map(|(holder, attachment)| {
                let board = attachment.uplink.as_ref()?.ring_pair.board();
                let progress = (board.progress().1, board.through().0);
                Some(Reliance { holder, progress })
            })
            .collect()
    }

    /// Stops relying on workers that have made no progress since then.
    pub(super) fn check_relied_on(&mut self) {
        let now = self.workers_relied_on();
        for before in std::mem::take(&mut self.relied_on) {
            let is_same =
                |one: &Reliance| one.holder == before.holder && one.progress == before.progress;
            if now.iter().any(is_same)
                && self.dispatcher.ledger.handle_slow(before.holder, RELIANCE)
            {
                self.take_back(before.holder);
            }
        }
    }

    /// Carries out what follows from this many puts, or from the refusal of one. While all workers
    /// are busy nothing follows at once, so items wait together and go out together. A caller that
    /// puts item after item looks now and then if they are ready for more, so that they need not
    /// wake a thread.
    pub(super) fn follow_puts(&mut self, count: usize) {
        if !self.dispatcher.is_quiet() {
            self.pump();
            return;
        }
        self.see_to_reliance();
        self.puts_quiet += count;
        if self.puts_quiet < QUERY {
            return;
        }
        self.puts_quiet %= QUERY;
        let is_worth_reading = self.has_news_worth_reading();
        if is_worth_reading {
            let eyes = self.eyes();
            self.comes_by = true;
            eyes.iter().for_each(|eye| self.drain_or_end(eye.holder));
            self.comes_by = false;
        }
        if is_worth_reading || self.dispatcher.ledger.has_takers() {
            self.pump();
        }
    }

    /// Returns `true` if a worker has done a good part of its deliveries.
    fn has_news_worth_reading(&self) -> bool {
        let mut attachments = self.attachments.values();
        attachments.any(|attachment| {
            let handed = attachment.link.handed();
            let uplink = attachment.uplink.as_ref();
            uplink.is_some_and(|uplink| uplink.is_worth_reading(handed))
        })
    }

    /// Returns the worker processes that hold deliveries.
    fn eyes(&self) -> Vec<Eye> {
        let attachments = self.attachments.iter();
        let busy = attachments.filter(|(holder, _)| self.dispatcher.ledger.held_by(*holder) > 0);
        busy.filter_map(|(holder, attachment)| {
            let uplink = attachment.uplink.as_ref()?;
            Some(Eye {
                holder,
                ring_pair: Arc::clone(&uplink.ring_pair),
                seen: uplink.position(),
            })
        })
        .collect()
    }

    /// Reads what a worker wrote; if that makes no sense, the worker is ended.
    pub(super) fn drain_or_end(&mut self, holder: HolderId) {
        if let Err(why) = self.drain(holder) {
            let attachment = self.attachments.get(holder);
            if let Some(overseer) = attachment.and_then(|attachment| attachment.overseer.as_ref()) {
                overseer.faulty(why);
            }
        }
    }
}

impl Broker {
    /// Looks for news of workers before the caller sleeps. News is carried out, and the caller
    /// checks if it was what it waits for.
    pub(super) fn poll<'a>(&'a self, core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
        if !core.may_poll() {
            return core;
        }
        let eyes = core.eyes();
        if eyes.is_empty() || self.is_polling.swap(true, Ordering::Acquire) {
            return core;
        }
        // No worker needs to wake a reader meanwhile.
        eyes.iter()
            .for_each(|eye| eye.ring_pair.up_doorbell().silence());
        drop(core);
        poll_until(|| eyes.iter().any(Eye::sees_news));
        let mut core = self.lock();
        with_guard(&mut core, |core| {
            // Each is to wake its reader again, and is looked at once more after that.
            eyes.iter().for_each(|eye| core.drain_or_end(eye.holder));
        });
        self.is_polling.store(false, Ordering::Release);
        core
    }
}
