//! Checks of what may run at the same time: no two of a slot, no more of a key than may, and a key's
//! items in their order where one runs at a time.

use std::time::Duration;

use dishrack_core::ledger::{Handed, ItemId, Ledger, OrderRules, Rank, Rate};

use super::World;
use crate::envelope::Envelope;
use crate::life::Consumer;
use crate::plan::Plan;
use crate::planted::Plant;
use crate::process::Job;

/// Returns the rank of an item: some have a key, and all a priority.
pub(crate) fn rank_of(number: u64) -> Rank {
    let key = Some(number % 4).filter(|key| *key > 0);
    let priority = i8::try_from(number / 4 % 3).expect("small") - 1;
    Rank::of_key(key).priority(priority)
}

/// Returns the rules of this plan's order, if there is one.
fn order_of(plan: &Plan) -> Option<OrderRules<Envelope>> {
    let per_key = plan.limits.per_key?;
    let rank = |one: &Envelope| rank_of(one.number);
    Some(OrderRules::new(rank).per_key(per_key))
}

/// Has a ledger keep to the limits of this plan.
pub(crate) fn limit(
    ledger: &mut Ledger<Envelope, u64>,
    plan: &Plan,
    knows_keys: bool,
    now: Duration,
) {
    if let Some(rules) = order_of(plan).filter(|_| knows_keys) {
        ledger.handle_order(rules);
    }
    if let Some((rate, _)) = plan.limits.rate {
        ledger.handle_rate(rate, now);
    }
    if plan.limits.slots > 0 {
        ledger.handle_slots(plan.limits.slots);
    }
}

impl World {
    /// Checks what may run beside this delivery, which is handed out just now.
    pub(super) fn check_limits(&mut self, handed: &Handed, number: u64) {
        let consumed = match self.life.consumer {
            Consumer::Holds(handed) => Some(handed.token),
            _ => None,
        };
        let ledger = &self.life.dispatcher.ledger;
        let consumed = consumed.filter(|token| *token != handed.token);
        let consumed = consumed.and_then(|token| Some(ledger.payload(token)?.number));
        let others = self.life.jobs().filter(|job| job.token != handed.token);
        let others: Vec<Job> = others.collect();
        if let Some(per_key) = self.plan.limits.per_key {
            let key = rank_of(number).key;
            let numbers = others.iter().map(|job| job.number).chain(consumed);
            let same = numbers.filter(|other| rank_of(*other).key == key);
            let same: Vec<u64> = same.collect();
            let is_bounded = key.is_none() || same.len() < per_key as usize;
            assert!(
                is_bounded,
                "put {number} has the key of {same:?}, which run"
            );
            self.coverage.keyed_deliveries += u64::from(key.is_some());
            if per_key == 1 && key.is_some() {
                self.check_order(handed.id, number);
            }
        }
        if let Some((rate, burst)) = self.plan.limits.rate
            && self.life.slot_of(handed.holder).is_some()
        {
            self.check_rate(rate, burst);
        }
        if self.plan.limits.slots > 0 && self.life.slot_of(handed.holder).is_some() {
            assert!(handed.slot > 0, "put {number} has no slot");
            assert!(
                handed.slot <= self.plan.limits.slots,
                "there is no such slot"
            );
            let other = others.iter().find(|job| job.slot == handed.slot);
            assert_eq!(other, None, "put {number} has the same slot");
            self.coverage.slotted_deliveries += 1;
        }
    }

    /// Checks that no time has had more deliveries to workers than its rate and a burst.
    fn check_rate(&mut self, rate: Rate, burst: u32) {
        self.life.begun.push(self.now);
        let begun = &self.life.begun;
        for (count, from) in (1..).zip(begun.iter().rev()) {
            let least = rate.interval() * u32::saturating_sub(count, burst);
            let time = self.now - *from;
            assert!(time >= least, "{count} deliveries within {time:?}");
        }
        self.coverage.rated_deliveries += 1;
    }

    /// Checks that no item of the same rank is left that came before this one.
    fn check_order(&self, id: ItemId, number: u64) {
        let dispatcher = &self.life.dispatcher;
        let unfinished = dispatcher.ledger.unfinished_ids();
        let mut before = unfinished.into_iter().filter(|other| *other < id);
        let is_same = |other: &ItemId| {
            let other = dispatcher.numbers.get(other);
            other.is_some_and(|other| rank_of(*other) == rank_of(number))
        };
        assert_eq!(before.find(is_same), None, "item {id} has passed one by");
    }

    /// Returns the slot of which a worker is told.
    pub(super) fn told_slot(&self, slot: u32) -> u32 {
        match self.is_planted(Plant::SlotMistold) {
            true => slot.min(1),
            false => slot,
        }
    }
}
