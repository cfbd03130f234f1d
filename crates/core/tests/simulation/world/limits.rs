//! Checks of what may run at the same time: no two of a slot, no more of a key than may, and a key's
//! items in their order where one runs at a time.

use std::time::Duration;

use dishrack_core::ledger::{Handed, ItemId, Ledger, OrderRules, Rank, Rate, WaitsFor};

use super::World;
use super::relations::{after_of, deadline_of, not_before_of, unique_of};
use crate::disk::Disk;
use crate::envelope::Envelope;
use crate::life::Consumer;
use crate::plan::Plan;
use crate::planted::Plant;
use crate::process::Job;

/// Returns the rank of an item: some have a key, all a priority, and some times, where there are times.
pub(crate) fn rank_of(number: u64) -> Rank {
    let key = Some(number % 4).filter(|key| *key > 0);
    let priority = i8::try_from(number / 4 % 3).expect("small") - 1;
    Rank::of_key(key).priority(priority)
}

/// Returns the rules of this plan's order, if there is one.
fn order_of(plan: &Plan) -> Option<OrderRules<Envelope>> {
    let limits = plan.limits;
    if limits.per_key.is_none() && !limits.has_times && !limits.has_dependencies {
        return None;
    }
    let rules = OrderRules::new(move |one: &Envelope| match limits.has_times {
        true => rank_of(one.number)
            .not_before(not_before_of(one.number))
            .deadline(deadline_of(one.number)),
        false => rank_of(one.number),
    });
    let mut rules = rules.per_key(limits.per_key.unwrap_or(u32::MAX));
    if limits.has_times {
        rules = rules.with_deadlines();
    }
    Some(match limits.has_dependencies {
        true => rules.after(|one| after_of(one.number)),
        false => rules,
    })
}

/// Has a ledger keep to the limits of this plan, but for those that a planted bug forgets.
pub(crate) fn limit(
    ledger: &mut Ledger<Envelope, u64>,
    plan: &Plan,
    plant: Option<Plant>,
    (disk, now): (&Disk, Duration),
) {
    if plant != Some(Plant::DeadLettersForgotten) {
        ledger.handle_known_dead(disk.dead_ids(), now);
    }
    if let Some(rules) = order_of(plan).filter(|_| plant != Some(Plant::KeysForgotten)) {
        ledger.handle_order(rules);
    }
    if plan.limits.has_unique_keys && plant != Some(Plant::UniqueKeysForgotten) {
        ledger.handle_unique(|one: &Envelope| unique_of(one.number), now);
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
        self.check_relations(handed.id, number);
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
        // Those that rest until their time, or that of others, are passed by.
        let is_ready = |other: &ItemId| {
            let waits_for = dispatcher.ledger.waits_for(*other);
            !matches!(waits_for, Some(WaitsFor::Time | WaitsFor::Items))
        };
        let unfinished = unfinished.into_iter().filter(is_ready);
        let mut before = unfinished.filter(|other| *other < id);
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
