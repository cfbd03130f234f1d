//! Orders to the fork server, as a pool sees them: who was born, and whose order has to be given again.

use super::Watch;
use crate::supervision::notes::{Life, OrderEnd};
use dishrack_core::ledger::Exit;
use dishrack_core::pool::child::Phase;

impl Watch {
    /// This became of an order.
    pub(super) fn order_ended(&mut self, life: Life, end: OrderEnd) {
        self.forks.heard(life);
        match end {
            OrderEnd::Born(pid) => self.born(life, pid),
            OrderEnd::Refused(why) => self.report_lost_order(life, &why),
            OrderEnd::Lost(exit) if self.is_wanted_still(life) => self.order_again(life, exit),
            OrderEnd::Lost(exit) => {
                self.report_lost_order(life, &format!("the fork server {exit}"))
            }
        }
        if let Some(why) = self.early_ends.remove(&life)
            && self.is_current(life)
        {
            self.close_link(life.slot, why);
        }
    }

    fn is_wanted_still(&self, life: Life) -> bool {
        let slot = &self.slots[life.slot];
        let is_booting = slot.child.phase() == Phase::Booting;
        self.is_current(life) && is_booting && !slot.is_kill_due && !self.is_stopping
    }

    /// Orders a worker once more whose order was lost with the fork server, which is no fault of the
    /// worker's. It may have been born before that; then it has its place at the queue, or finds that
    /// taken away when it asks for it, and is ended.
    fn order_again(&mut self, life: Life, exit: Exit) {
        let index = life.slot;
        let slot = &mut self.slots[index];
        if slot.pid.is_some() || !slot.registration.end_if_free() {
            return;
        }
        self.unborn.insert(life);
        slot.life += 1;
        if let Some(stderr) = slot.stderr.take() {
            stderr.end();
        }
        let next = slot.life(index);
        if let Err(error) = self.fork(index) {
            self.report_lost_order(next, &format!("the fork server {exit}, and then: {error}"));
        }
    }

    /// The worker of an order never comes to be.
    pub(super) fn report_lost_order(&mut self, life: Life, why: &str) {
        if self.is_current(life) && self.slots[life.slot].pid.is_none() {
            self.slots[life.slot].complaint = Some(why.to_owned());
            self.report_failed_start(life.slot, None, Exit::Unknown);
            self.lose_unborn(life.slot);
        }
    }
}
