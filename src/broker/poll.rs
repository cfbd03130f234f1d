//! Looks for a while at what workers write, before a caller sleeps.
//!
//! A caller that waits for the end of short items reads the workers' acknowledgements itself, from
//! shared memory, so no worker has to wake a thread and no thread is switched. One caller at a time
//! does so, and only while there is a processor for it; the others sleep on their doorbells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Broker;
use super::attachment::{Attachment, Reliance};
use super::core::Core;
use super::monitor::{CoreGuard, with_guard};
use crate::fail;
use crate::link::local::LocalQueue;
use crate::protocol::ring_pair::RingPair;
use crate::sys::poll::{give_way, poll_until};
use dishrack_core::ledger::HolderId;

/// A worker that holds deliveries.
struct PolledWorker {
    holder: HolderId,
    written: WorkerMemory,
    /// The place up to which it was read.
    seen: (u64, u64),
}

/// The memory in which a worker writes what it has done.
enum WorkerMemory {
    /// A worker process's.
    Elsewhere(Arc<RingPair>),
    /// That of a worker of this process.
    Here(Arc<LocalQueue>),
}

impl PolledWorker {
    fn of(holder: HolderId, attachment: &Attachment) -> Option<Self> {
        if let Some(local) = &attachment.local {
            return Some(PolledWorker {
                holder,
                written: WorkerMemory::Here(Arc::clone(&local.queue)),
                seen: local.position(),
            });
        }
        let uplink = attachment.uplink.as_ref()?;
        Some(PolledWorker {
            holder,
            written: WorkerMemory::Elsewhere(Arc::clone(&uplink.ring_pair)),
            seen: uplink.position(),
        })
    }

    fn sees_news(&self) -> bool {
        let position = match &self.written {
            WorkerMemory::Elsewhere(ring_pair) => {
                (ring_pair.up_published(), ring_pair.board().through().0)
            }
            WorkerMemory::Here(queue) => queue.position(),
        };
        position != self.seen
    }

    /// Lets the worker wake nobody for what it writes from now on.
    fn silence(&self) {
        match &self.written {
            WorkerMemory::Elsewhere(ring_pair) => ring_pair.up_doorbell().silence(),
            WorkerMemory::Here(queue) => queue.set_late(true),
        }
    }
}

/// The number of puts between two looks at what workers have written: with fewer, looking costs
/// more than it finds; with more, a fast worker runs dry.
const QUERY: usize = 64;

/// The time without progress after which a worker is not relied on any more.
const RELIANCE: Duration = Duration::from_millis(2);

impl Core {
    /// Sets a time to check the workers that are relied on while items wait for them and another
    /// one is idle, because a worker that is at a long item, or is suspended, does not say so.
    /// Workers of this process that have items in advance are looked at in any case, because what
    /// they have done before a long item is only on their boards.
    pub(super) fn see_to_reliance(&mut self) {
        if !self.relied_on.is_empty() {
            return;
        }
        let is_relying = self.dispatcher.ledger.is_relying();
        if is_relying || (self.awaits_locals && self.dispatcher.ledger.has_prefetched()) {
            self.awaits_locals = false;
            self.relied_on = self.workers_relied_on(is_relying);
            self.timer.set(RELIANCE);
        }
    }

    /// Returns the workers that are relied on; all of them, or those of this process.
    fn workers_relied_on(&self, all: bool) -> Vec<Reliance> {
        let attachments = self.attachments.iter();
        let relied_on = attachments.filter(|(holder, attachment)| {
            let ledger = &self.dispatcher.ledger;
            match attachment.local.is_some() {
                true => ledger.held_by(*holder) > 1 || ledger.is_relied_on(*holder),
                false => all && ledger.is_relied_on(*holder),
            }
        });
        relied_on
            .filter_map(|(holder, attachment)| {
                let board = attachment.board()?;
                Some(Reliance {
                    holder,
                    progress: (board.progress().1, board.through().0),
                    is_local: attachment.local.is_some(),
                })
            })
            .collect()
    }

    /// Stops relying on workers that have made no progress since then.
    pub(super) fn check_relied_on(&mut self) {
        self.drain_locals();
        let is_relying = self.dispatcher.ledger.is_relying();
        let now = self.workers_relied_on(true);
        for before in std::mem::take(&mut self.relied_on) {
            let is_same =
                |one: &Reliance| one.holder == before.holder && one.progress == before.progress;
            if !now.iter().any(is_same) {
                // It may have begun an item that it soon ends, and then come to a long one.
                self.awaits_locals |= before.is_local;
                continue;
            }
            if before.is_local {
                self.ask_local(before.holder);
            }
            // Where no other worker is idle, items are nowhere better off.
            let is_in_the_way = is_relying || !before.is_local;
            if is_in_the_way && self.dispatcher.ledger.handle_slow(before.holder, RELIANCE) {
                self.take_back(before.holder);
            }
        }
    }

    /// Carries out what follows from this many puts, or from the refusal of one. While all workers
    /// are busy nothing follows at once, so items wait together and go out together. A caller that
    /// puts item after item looks now and then if they are ready for more, so that they need not
    /// wake a thread.
    pub(super) fn follow_puts(&mut self, count: usize) {
        if !self.dispatcher.is_quiet() || self.is_writer_wanted() {
            self.pump();
            return;
        }
        self.note_puts();
        self.heed_observers();
        self.see_to_reliance();
        self.puts_quiet += count;
        if self.puts_quiet < QUERY {
            return;
        }
        self.puts_quiet %= QUERY;
        let is_worth_reading = self.has_news_worth_reading();
        if is_worth_reading {
            let watched = self.watched();
            self.comes_by = true;
            for one in &watched {
                self.drain_or_end(one.holder);
                self.hear_late(one.holder);
            }
            self.comes_by = false;
        }
        let is_behind = self.has_unfollowed_write || self.dispatcher.ledger.has_takers();
        if is_worth_reading || is_behind {
            self.pump();
        }
    }

    /// Carries out what follows from a write. Where a caller puts item after item it does that
    /// itself: then no thread takes the lock from it while it hands out a thousand items. What it
    /// leaves is done when the journal's thread comes again, so this is only if it will soon.
    pub(super) fn follow_write(&mut self, comes_again: bool) {
        let puts_go_on = self.putters == 0 && self.joiners == 0 && !self.has_inline;
        if comes_again && puts_go_on && self.dispatcher.is_quiet_after_write() {
            self.has_unfollowed_write = true;
            fail::point("commit: left to who puts");
        } else {
            self.pump();
        }
    }

    /// Carries out what follows from a write, if that was left to a caller that puts.
    pub(super) fn catch_up(&mut self) {
        if self.has_unfollowed_write {
            self.pump();
        }
    }

    /// Returns `true` if a worker has done a good part of its deliveries.
    fn has_news_worth_reading(&self) -> bool {
        let mut attachments = self.attachments.values();
        attachments.any(Attachment::is_worth_reading)
    }

    /// Returns the workers that hold deliveries and write what they have done.
    fn watched(&self) -> Vec<PolledWorker> {
        let attachments = self.attachments.iter();
        let busy = attachments.filter(|(holder, _)| self.dispatcher.ledger.held_by(*holder) > 0);
        busy.filter_map(|(holder, attachment)| PolledWorker::of(holder, attachment))
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
    pub(super) fn poll<'a>(&'a self, core: CoreGuard<'a>) -> CoreGuard<'a> {
        let mut core = core;
        if core.drain_locals() {
            core.pump();
            return core;
        }
        if !core.may_poll() {
            return core;
        }
        let watched = core.watched();
        if watched.is_empty() || self.is_polling.swap(true, Ordering::Acquire) {
            return core;
        }
        // No worker needs to wake a reader meanwhile.
        watched.iter().for_each(PolledWorker::silence);
        let has_woken = std::mem::take(&mut core.has_woken);
        drop(core);
        if has_woken {
            give_way();
        }
        poll_until(|| watched.iter().any(PolledWorker::sees_news));
        let mut core = self.lock();
        with_guard(&mut core, |core| {
            // Each is to wake its reader again, and is looked at once more after that.
            core.drain_locals();
            watched.iter().for_each(|one| core.drain_or_end(one.holder));
        });
        self.is_polling.store(false, Ordering::Release);
        core
    }
}
