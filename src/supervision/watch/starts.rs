//! Starting workers, and telling who was born and who never will be.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Watch, key_of};
use crate::fail;
use crate::supervision::notes::{Life, Registration};
use crate::supervision::spawn::{self, ChannelEnds, Leads, StartMessage, StartMethod};
use crate::supervision::uplink::{self, Reception};
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::program::Handover;
use dishrack_core::pool::child::{ChildEvent, Phase};
use dishrack_core::pool::spec::Bounds;

impl Watch {
    pub(super) fn start(&mut self, index: usize) -> io::Result<()> {
        if let Some(cause) = self.slots[index].begin() {
            self.broker.with(|core| core.restarts.note(cause));
        }
        match self.plan.method {
            StartMethod::Spawn => self.spawn(index),
            StartMethod::Fork => self.fork(index),
        }
    }

    /// A pipe for a worker's stderr, unless it writes to ours itself.
    fn open_stderr(&mut self, index: usize) -> io::Result<Option<OwnedFd>> {
        let Some(relay) = &self.relay else {
            return Ok(None);
        };
        let (theirs, ours) = relay.open()?;
        self.slots[index].stderr = Some(ours);
        Ok(Some(theirs))
    }

    /// The bound on the memory of one life.
    fn memory_max(&self, index: usize) -> Option<u64> {
        let bound = self.plan.bounds.memory_max;
        bound.map(|bound| Bounds::jittered(bound, self.seed_of(index)))
    }

    /// Decides the jitter of one life.
    fn seed_of(&self, index: usize) -> u64 {
        let process = u64::from(std::process::id()) << 32;
        process ^ (self.slots[index].life << 16) ^ index as u64
    }

    fn spawn(&mut self, index: usize) -> io::Result<()> {
        let stderr = self.open_stderr(index)?;
        let (ends, start_message) = self.assign(index)?;
        let (socket, theirs) = DescriptorSocket::pair()?;
        // It lies there when the process comes to look for it: nobody waits for anybody.
        start_message.send(&socket)?;
        let by = Handover::made(&mut self.handover)?;
        let slot = &mut self.slots[index];
        let pid = spawn::start(
            by,
            theirs,
            &slot.name,
            Leads::Session,
            stderr,
            &self.plan.launch,
        )?;
        fail::point("start: process made");
        let life = slot.life(index);
        self.reaper.watch(key_of(life), pid)?;
        slot.pid = Some(pid);
        let reception = self.reception(index, ends, Arc::new(socket));
        uplink::receive(reception).or_else(|error| {
            // The process is there without a channel: its life is concluded when it has ended.
            self.close_link(index, Some(error.to_string()));
            Ok(())
        })
    }

    pub(super) fn fork(&mut self, index: usize) -> io::Result<()> {
        let stderr = self.open_stderr(index)?;
        let (ends, mut start_message) = self.assign(index)?;
        let (socket, theirs) = DescriptorSocket::pair()?;
        start_message.endpoints.socket = Some(theirs);
        start_message.endpoints.stderr = stderr;
        let life = self.slots[index].life(index);
        uplink::receive(self.reception(index, ends, Arc::new(socket)))?;
        self.forks.order(life, start_message)
    }

    fn assign(&self, index: usize) -> io::Result<(ChannelEnds, StartMessage)> {
        let slot = &self.slots[index];
        let number = key_of(slot.life(index));
        let memory_max = self.memory_max(index);
        spawn::assign(
            (&slot.name, index + 1),
            number,
            &self.plan.position,
            memory_max,
        )
    }

    fn reception(
        &mut self,
        index: usize,
        ends: ChannelEnds,
        socket: Arc<DescriptorSocket>,
    ) -> Reception {
        let seed = self.seed_of(index);
        let tasks_max = self.plan.bounds.tasks_max;
        let slot = &mut self.slots[index];
        slot.ring_pair = Some(Arc::clone(&ends.ring_pair));
        slot.registration = Registration::default();
        Reception {
            life: slot.life(index),
            registration: slot.registration.clone(),
            notes: self.sender.clone(),
            broker: Arc::clone(&self.broker),
            worker: Arc::clone(&slot.name),
            credit: self.plan.credit,
            downlink: ends.downlink,
            uplink: ends.uplink,
            ring_pair: ends.ring_pair,
            socket,
            item_type: self.plan.position.item_type,
            quota: tasks_max.map_or(u64::MAX, |bound| Bounds::jittered(bound, seed)),
            memory_limit: self.plan.bounds.memory_limit,
            stderr: slot.stderr.clone(),
        }
    }

    /// The pid of a forked worker is known, by the fork server or by the worker itself.
    pub(super) fn born(&mut self, life: Life, pid: u32) {
        let slot = &self.slots[life.slot];
        let is_concluded = matches!(slot.child.phase(), Phase::Resting | Phase::Over);
        if !self.is_current(life) || is_concluded {
            self.end_late_born(life, pid);
            return;
        }
        if slot.pid.is_some() {
            return;
        }
        self.slots[life.slot].pid = Some(pid);
        self.unborn.remove(&life);
        let is_dying = self.slots[life.slot].child.phase() == Phase::Dying;
        if let Err(error) = self.reaper.watch(key_of(life), pid) {
            self.slots[life.slot].complaint = Some(error.to_string());
            self.lose_unborn(life.slot);
        } else {
            if is_dying {
                self.reaper.kill(key_of(life));
            }
            self.enter_in_roster(life.slot);
        }
    }

    /// A worker that was taken for never born is there after all: its fork server died before it
    /// could say so. It was never watched, so it was never waited for, and the pid is still its
    /// own.
    pub(super) fn end_late_born(&mut self, life: Life, pid: u32) {
        // One that has ended may have been taken for an orphan; then it is not watched.
        if self.unborn.remove(&life) && self.reaper.watch(key_of(life), pid).is_ok() {
            self.reaper.kill(key_of(life));
        }
    }

    /// A worker that was ordered will not come.
    pub(super) fn lose_unborn(&mut self, index: usize) {
        // The channel's end is noticed by its reader; no process was there to end.
        self.slots[index].is_lost = true;
        self.unborn.insert(self.slots[index].life(index));
        self.happen(index, ChildEvent::Ended);
    }
}
