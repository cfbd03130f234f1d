//! Looking after workers that live: time limits, cancelled items, replacement.

use std::time::Duration;

use super::{Watch, key_of};
use crate::supervision::notes::Life;
use dishrack_core::pool::child::{Happening, Phase};
use dishrack_core::pool::patrol::{Fault, Glance, Order, Patrol};

impl Watch {
    /// A worker is ready: from now on its items have their time.
    pub(super) fn begin_patrol(&mut self, index: usize) {
        let bounds = self.plan.bounds;
        let patrol = Patrol::new(bounds.time_limit, bounds.time_limit_grace, self.now());
        self.slots[index].patrol = Some(patrol);
    }

    /// When somebody must be looked at again.
    pub(super) fn next_round(&self) -> Option<Duration> {
        let slots = self.slots.iter();
        let patrols = slots.filter_map(|slot| slot.patrol.as_ref());
        patrols.filter_map(Patrol::poll_timeout).min()
    }

    /// Looks at all whose time has come.
    pub(super) fn make_round(&mut self) {
        let now = self.now();
        for index in 0..self.slots.len() {
            let patrol = self.slots[index].patrol.as_ref();
            let is_due = patrol
                .and_then(Patrol::poll_timeout)
                .is_some_and(|at| at <= now);
            if is_due {
                self.patrol(index, |patrol, glance| patrol.look(glance, now));
            }
        }
    }

    /// A delivery was cancelled that this worker may be at.
    pub(super) fn revoke(&mut self, life: Life, ordinal: u64) {
        let now = self.now();
        self.patrol(life.slot, |patrol, glance| {
            patrol.revoke(ordinal, glance, now)
        });
    }

    /// A worker has done as much as it should.
    pub(super) fn recycle(&mut self, index: usize) {
        // A loop may have ended by itself when it was given nothing more.
        if matches!(
            self.slots[index].child.phase(),
            Phase::Working | Phase::Dying
        ) {
            self.slots[index].is_recycled = true;
            self.happen(index, Happening::RecycleAsked);
        }
    }

    fn patrol(&mut self, index: usize, look: impl FnOnce(&mut Patrol, Glance) -> Option<Order>) {
        let glance = self.glance(index);
        let slot = &mut self.slots[index];
        let key = key_of(slot.life(index));
        let Some(patrol) = slot.patrol.as_mut() else {
            return;
        };
        match look(patrol, glance) {
            None => {}
            Some(Order::Terminate) => {
                self.excuse(index);
                self.reaper.terminate(key);
            }
            Some(Order::Kill) => {
                slot.is_killed = true;
                if patrol.fault() == Some(Fault::Stalled) {
                    let limit = self.plan.bounds.time_limit.unwrap_or_default();
                    slot.complaint = Some(format!("began none of its items within {limit:?}"));
                } else {
                    self.excuse(index);
                }
                self.reaper.kill(key);
            }
        }
    }

    /// It ends because of an item, or of somebody's wish: its slot is not charged.
    fn excuse(&mut self, index: usize) {
        self.happen(index, Happening::Excused);
    }

    fn glance(&self, index: usize) -> Glance {
        let slot = &self.slots[index];
        let Some(lane) = &slot.lane else {
            return Glance::default();
        };
        let board = lane.board();
        // In this order: a newer delivery's time is never taken for an older one's.
        let current = board.read().current;
        let (since_ns, begun) = board.progress();
        let held = slot.berth.holder();
        Glance {
            current,
            since: self.clock.at(Duration::from_nanos(
                since_ns.saturating_sub(self.origin_ns),
            )),
            begun,
            held: held.map_or(0, |holder| {
                self.broker
                    .read(|core| core.dispatcher.ledger.held_by(holder))
            }),
        }
    }
}
