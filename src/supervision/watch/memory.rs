//! Holds workers to the limit of memory that items have, if they have one: by a control group each where one
//! was delegated, and the kernel kills. Else it measures the memory of those that have an item, and kills
//! those that are over it. When to look and who is over it is for the core.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Watch, key_of};
use crate::observe::EventKind;
use crate::sys::delegated::BoundedGroup;
use crate::sys::usage;
use dishrack_core::ledger::Started;
use dishrack_core::pool::child::ChildEvent;
use dishrack_core::pool::memory::{MemoryEffect, MemoryLimiter, MemorySample};

impl Watch {
    /// Begins to hold a ready worker's items to their limit of memory, if they have one. `group` does so already.
    pub(super) fn begin_memory_watch(&mut self, index: usize, group: Option<BoundedGroup>) {
        let Some(limit) = self.plan.bounds.memory_limit else {
            return;
        };
        let now = self.now();
        let slot = &mut self.slots[index];
        slot.group = group;
        slot.memory = Some(match slot.group {
            Some(_) => MemoryLimiter::held(limit),
            None => MemoryLimiter::new(limit, now),
        });
    }

    /// Notes whether the kernel has killed a worker because of its limit, and what that worker was at.
    pub(super) fn note_group_kill(
        &mut self,
        index: usize,
        pid: Option<u32>,
        current: u64,
        item: Option<&str>,
    ) {
        let slot = &mut self.slots[index];
        if !slot.group.as_ref().is_some_and(BoundedGroup::was_killed) {
            return;
        }
        let Some(memory) = &mut slot.memory else {
            return;
        };
        memory.handle_killed(current);
        let bytes = memory.limit();
        self.happen(index, ChildEvent::Excused);
        if let Some(item) = item {
            self.tell_memory_limit(index, item.to_owned(), pid, bytes);
        }
    }

    /// Notes that a worker that had nothing was given something.
    pub(super) fn given(&mut self, index: usize) {
        let now = self.now();
        if let Some(memory) = &mut self.slots[index].memory {
            memory.handle_given(now);
        }
    }

    /// Returns the time of the next measurement.
    pub(super) fn next_measurement(&self) -> Option<Duration> {
        let slots = self.slots.iter();
        let watches = slots.filter_map(|slot| slot.memory.as_ref());
        watches.filter_map(MemoryLimiter::poll_timeout).min()
    }

    /// Measures all workers whose time has come.
    pub(super) fn measure(&mut self) {
        if self.plan.bounds.memory_limit.is_none() {
            return;
        }
        let now = self.now();
        for index in 0..self.slots.len() {
            let due = self.slots[index].memory.as_ref();
            if due
                .and_then(MemoryLimiter::poll_timeout)
                .is_some_and(|at| at <= now)
            {
                self.measure_worker(index);
            }
        }
    }

    fn measure_worker(&mut self, index: usize) {
        let sample = self.memory_sample(index);
        let now = self.now();
        let slot = &mut self.slots[index];
        let order = slot
            .memory
            .as_mut()
            .and_then(|memory| memory.observe(sample, now));
        if let Some(MemoryEffect::Kill) = order {
            self.slots[index].is_killed = true;
            self.report_memory_limit(index, sample);
            self.happen(index, ChildEvent::Excused);
            let life = self.slots[index].life(index);
            self.reaper.kill(key_of(life));
        }
    }

    fn memory_sample(&self, index: usize) -> MemorySample {
        let slot = &self.slots[index];
        let limit = slot.memory.as_ref().map_or(0, MemoryLimiter::limit);
        let holder = slot.registration.holder();
        let (Some(holder), Some(pid), Some(ring_pair)) = (holder, slot.pid, &slot.ring_pair) else {
            return MemorySample::default();
        };
        if !self.broker.has_work(holder) {
            return MemorySample::default();
        }
        let begin = Instant::now();
        let before = ring_pair.board().read().current;
        let bytes = usage::of_tree(pid, limit);
        let after = ring_pair.board().read().current;
        let watched = self.slots.iter().filter(|slot| slot.memory.is_some());
        let count = u32::try_from(watched.count()).unwrap_or(u32::MAX);
        MemorySample {
            current: if before == after { after } else { 0 },
            is_busy: true,
            bytes,
            cost: begin.elapsed().saturating_mul(count),
        }
    }

    fn report_memory_limit(&self, index: usize, sample: MemorySample) {
        let slot = &self.slots[index];
        let started = Started::at(sample.current);
        let holder = slot.registration.holder();
        let item = holder.and_then(|holder| self.broker.name_of_started(holder, started));
        if let Some(item) = item {
            self.tell_memory_limit(index, item, slot.pid, sample.bytes);
        }
    }

    fn tell_memory_limit(&self, index: usize, item: String, pid: Option<u32>, bytes: u64) {
        self.report(EventKind::MemoryLimit {
            item,
            worker: Arc::clone(&self.slots[index].name),
            pid: pid.unwrap_or(0),
            bytes,
        });
    }
}
