//! Puts items, and waits until they are durable.

use super::alone::Recheck;
use super::core::Core;
use super::monitor::{CoreGuard, sleep};
use super::{Broker, Deadline, Envelope};
use crate::error::Kind;
use crate::fail;
use dishrack_core::ledger::{ItemId, Refusal};

/// One caller's wait for room.
#[derive(Debug)]
pub(super) struct RoomWait {
    deadline: Deadline,
    /// True if the caller works on an item of this queue.
    is_holding: bool,
    has_polled: bool,
    recheck: Recheck,
}

impl RoomWait {
    pub(super) fn begin(deadline: Deadline, is_holding: bool) -> Self {
        RoomWait {
            deadline,
            is_holding,
            has_polled: false,
            recheck: Recheck::begin(),
        }
    }
}

impl Broker {
    /// Accepts an item, and waits until it is durable. `is_holding`: the caller works on an item of
    /// this queue, so a wait for room could be a wait for itself.
    pub(crate) fn put(
        &self,
        envelope: Envelope,
        deadline: Deadline,
        is_holding: bool,
    ) -> Result<ItemId, Kind> {
        if self.is_shared() {
            return self.send(envelope, deadline, is_holding);
        }
        let accepted = self.accept(envelope, deadline, is_holding);
        if let Err(kind) = &accepted {
            self.sync_duplicate(kind)?;
        }
        let id = accepted?;
        self.sync_and_drive(id)?;
        Ok(id)
    }

    /// Waits until the item is durable that stands for one which was refused for this reason, if it was for
    /// that: it is to outlive this process, as the refused one would have.
    pub(crate) fn sync_duplicate(&self, refused: &Kind) -> Result<(), Kind> {
        match refused.duplicate_of() {
            Some(of) => self.sync(of),
            None => Ok(()),
        }
    }

    /// Waits as [`sync`](Self::sync) does, and then does the inline work: with a journal items may
    /// be handed out only then.
    pub(crate) fn sync_and_drive(&self, id: ItemId) -> Result<(), Kind> {
        self.sync(id)?;
        self.drive_inline();
        Ok(())
    }

    /// Waits until this item, and all that were put before it, are durable.
    pub(crate) fn sync(&self, id: ItemId) -> Result<(), Kind> {
        if self.is_shared() {
            return self.sync_stream();
        }
        if self.committer.get().is_none() {
            return Ok(());
        }
        let mut core = self.lock();
        while !core.dispatcher.ledger.is_durable(id) {
            if core.dispatcher.ledger.is_broken() {
                return Err(core.failed());
            }
            core.syncers += 1;
            core.catch_up();
            core.ring_for_writer();
            core = sleep(&self.monitor.doorbells.durable, core, Deadline::Forever).0;
            core.syncers -= 1;
        }
        fail::point("put: durable");
        Ok(())
    }

    /// Waits until all items that were accepted so far are durable.
    pub(crate) fn sync_accepted(&self) -> Result<(), Kind> {
        let last = self.read(|core| match core.dispatcher.ledger.is_broken() {
            // Items that were not durable do not count any more, and none will be durable.
            true => u64::MAX,
            false => core.dispatcher.ledger.counts().accepted,
        });
        self.sync(ItemId(last))
    }

    /// Waits until all changes so far are durable and reported, whatever changes meanwhile. The
    /// error is that they never will be.
    pub(crate) fn sync_all(&self) -> Result<(), Kind> {
        let mut core = self.lock();
        let last = core.dispatcher.ledger.last_write();
        let is_open = |core: &Core| {
            let is_up_to = !self.is_shared() && core.dispatcher.ledger.is_written_up_to(last);
            !is_up_to && !core.dispatcher.is_written()
        };
        core.syncers += 1;
        while is_open(&core) {
            core.ring_for_writer();
            core = sleep(&self.monitor.doorbells.durable, core, Deadline::Forever).0;
        }
        core.syncers -= 1;
        match core.dispatcher.ledger.is_broken() {
            false => Ok(()),
            true => Err(core.failed()),
        }
    }

    /// Accepts an item without waiting until it is durable. With a journal it counts once it is
    /// durable; a stream gives it its number when it accepts it.
    pub(crate) fn put_unsynced(
        &self,
        envelope: Envelope,
        is_holding: bool,
    ) -> Result<Option<ItemId>, Kind> {
        if self.is_shared() {
            self.send_unsynced(envelope, is_holding)?;
            return Ok(None);
        }
        self.accept(envelope, Deadline::Forever, is_holding)
            .map(Some)
    }

    fn accept(
        &self,
        envelope: Envelope,
        deadline: Deadline,
        is_holding: bool,
    ) -> Result<ItemId, Kind> {
        fail::point("put: begin");
        let mut wait = RoomWait::begin(deadline, is_holding);
        let mut core = self.lock();
        loop {
            let is_beyond_bound = is_holding && !matches!(deadline, Deadline::None);
            let refused = match core.check_put(&envelope, is_beyond_bound) {
                Err(kind) if kind.is_full() && !matches!(deadline, Deadline::None) => {
                    core = self.await_room(core, &mut wait)?;
                    continue;
                }
                refused => refused,
            };
            // It is moved only now, so that a caller that waits for room still has it.
            let result = refused.map(|()| core.dispatcher.accept(envelope));
            core.follow_puts(1);
            fail::point("put: accepted, not durable");
            drop(core);
            self.drive_inline();
            return result;
        }
    }

    /// Waits for room: polls first, and then sleeps. There may still be none afterwards.
    ///
    /// # Errors
    /// The time is over, or no one can ever make room.
    pub(super) fn await_room<'a>(
        &'a self,
        core: CoreGuard<'a>,
        wait: &mut RoomWait,
    ) -> Result<CoreGuard<'a>, Kind> {
        if !wait.is_holding && self.has_inline_work(&core) {
            // The callers that put make room themselves.
            drop(core);
            self.drive_inline();
            return Ok(self.lock());
        }
        if core.has_unfollowed_write {
            let mut core = core;
            core.pump();
            return Ok(core);
        }
        if !std::mem::replace(&mut wait.has_polled, true) {
            return Ok(self.poll(core));
        }
        wait.has_polled = false;
        let at_a_time = self.limit_of_wait(&core, wait.deadline, &mut wait.recheck)?;
        let mut core = core;
        core.putters += 1;
        core = sleep(&self.monitor.doorbells.room, core, at_a_time).0;
        core.putters -= 1;
        let is_over = wait.deadline.is_over();
        if is_over && !core.dispatcher.ledger.has_room() && !core.dispatcher.ledger.is_broken() {
            return Err(Refusal::Full.into());
        }
        Ok(core)
    }
}
