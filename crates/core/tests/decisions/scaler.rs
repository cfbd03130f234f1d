//! The workers of a pool as a whole: scaled, replaced and lost in any order.

use std::collections::{BTreeMap, BTreeSet};

use dishrack_core::pool::scaler::{Scaler, ScalerEffect, Shortfall};
use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

crate::trials! {
    going_up_starts_workers_and_says_so_when_they_are_ready,
    going_down_lets_idle_workers_go_first,
    nobody_at_all_may_be_wanted,
    a_worker_that_was_not_started_yet_is_not_started,
    a_slot_is_used_again,
    a_later_wish_takes_the_place_of_the_first,
    workers_that_are_given_up_meanwhile_are_told,
    a_new_worker_is_ready_before_an_old_one_goes,
    a_new_worker_that_is_given_up_ends_the_reload_and_no_other,
    a_worker_that_is_started_again_need_not_be_replaced,
    a_second_reload_begins_anew,
    one_worker_is_replaced_and_no_other,
    several_are_replaced_and_each_wish_is_answered,
    one_that_is_not_there_is_not_replaced,
    a_stop_ends_what_is_under_way,
    a_pool_is_over_when_all_have_gone_by_themselves,
    any_order_of_wishes_and_accidents_comes_to_what_was_asked_for,
}

fn busy(_: usize) -> bool {
    false
}

fn effects(scaler: &mut Scaler) -> Vec<ScalerEffect> {
    std::iter::from_fn(|| scaler.poll()).collect()
}

fn ready(scaler: &mut Scaler, slots: impl IntoIterator<Item = usize>) {
    for slot in slots {
        scaler.handle_ready(slot, busy);
    }
}

/// Makes a pool whose workers are ready.
fn scaler_of(workers: usize) -> Scaler {
    let mut scaler = Scaler::new(workers);
    ready(&mut scaler, 0..workers);
    assert_eq!(effects(&mut scaler), []);
    scaler
}

fn leave(slot: usize) -> ScalerEffect {
    let is_replaced = false;
    ScalerEffect::Leave { slot, is_replaced }
}

fn replaced(slot: usize) -> ScalerEffect {
    let is_replaced = true;
    ScalerEffect::Leave { slot, is_replaced }
}

fn going_up_starts_workers_and_says_so_when_they_are_ready() {
    let mut scaler = scaler_of(1);
    scaler.handle_scale(3, busy);
    assert_eq!(
        effects(&mut scaler),
        [ScalerEffect::Start(1), ScalerEffect::Start(2)]
    );
    ready(&mut scaler, [2]);
    assert_eq!(effects(&mut scaler), []);
    ready(&mut scaler, [1]);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Scaled(Ok(3))]);
    scaler.handle_scale(3, busy);
    assert_eq!(
        effects(&mut scaler),
        [ScalerEffect::Scaled(Ok(3))],
        "there they are"
    );
}

fn going_down_lets_idle_workers_go_first() {
    let mut scaler = scaler_of(4);
    scaler.handle_scale(1, |slot| slot == 0 || slot == 2);
    assert_eq!(effects(&mut scaler), [leave(2), leave(0), leave(3)]);
    scaler.handle_over(2, "", busy);
    scaler.handle_over(0, "", busy);
    assert_eq!(effects(&mut scaler), [], "one is still at its item");
    scaler.handle_over(3, "", busy);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Scaled(Ok(1))]);
}

fn nobody_at_all_may_be_wanted() {
    let mut scaler = scaler_of(1);
    scaler.handle_scale(0, busy);
    assert_eq!(effects(&mut scaler), [leave(0)]);
    scaler.handle_over(0, "", busy);
    assert!(!scaler.is_over(), "more may be asked for");
    assert_eq!(effects(&mut scaler), [ScalerEffect::Scaled(Ok(0))]);
    assert!(!scaler.is_over());
    scaler.handle_reload(busy);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Reloaded(Ok(()))]);
    scaler.handle_scale(1, busy);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Start(0)]);
}

fn a_worker_that_was_not_started_yet_is_not_started() {
    let mut scaler = scaler_of(1);
    scaler.handle_scale(4, busy);
    scaler.handle_scale(1, busy);
    let superseded = ScalerEffect::Scaled(Err(Shortfall::Superseded));
    assert_eq!(
        effects(&mut scaler),
        [superseded, ScalerEffect::Scaled(Ok(1))]
    );
}

fn a_slot_is_used_again() {
    let mut scaler = scaler_of(3);
    scaler.handle_scale(2, |slot| slot == 1);
    scaler.handle_over(1, "", busy);
    scaler.handle_scale(3, busy);
    let expected = [
        leave(1),
        ScalerEffect::Scaled(Ok(2)),
        ScalerEffect::Start(1),
    ];
    assert_eq!(effects(&mut scaler), expected);
}

fn a_later_wish_takes_the_place_of_the_first() {
    let mut scaler = scaler_of(2);
    scaler.handle_scale(1, busy);
    scaler.handle_scale(2, busy);
    let superseded = ScalerEffect::Scaled(Err(Shortfall::Superseded));
    // The one that leaves finishes what it has; another one is there meanwhile.
    assert_eq!(
        effects(&mut scaler),
        [leave(1), superseded, ScalerEffect::Start(2)]
    );
    ready(&mut scaler, [2]);
    scaler.handle_over(1, "", busy);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Scaled(Ok(2))]);
}

fn workers_that_are_given_up_meanwhile_are_told() {
    let mut scaler = scaler_of(1);
    scaler.handle_scale(3, busy);
    effects(&mut scaler);
    scaler.handle_over(1, "it died", busy);
    ready(&mut scaler, [2]);
    let lost = Shortfall::Lost("it died".into());
    assert_eq!(effects(&mut scaler), [ScalerEffect::Scaled(Err(lost))]);
    scaler.handle_scale(3, busy);
    assert_eq!(
        effects(&mut scaler),
        [ScalerEffect::Start(1)],
        "it is tried again"
    );
}

fn a_new_worker_is_ready_before_an_old_one_goes() {
    let mut scaler = scaler_of(2);
    scaler.handle_reload(|slot| slot == 0);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Start(2)]);
    scaler.handle_ready(2, |slot| slot == 0);
    assert_eq!(effects(&mut scaler), [replaced(0), ScalerEffect::Start(3)]);
    scaler.handle_over(0, "", busy);
    assert_eq!(effects(&mut scaler), []);
    scaler.handle_ready(3, busy);
    assert_eq!(effects(&mut scaler), [replaced(1)]);
    scaler.handle_over(1, "", busy);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Reloaded(Ok(()))]);
}

fn a_new_worker_that_is_given_up_ends_the_reload_and_no_other() {
    let mut scaler = scaler_of(2);
    scaler.handle_reload(busy);
    effects(&mut scaler);
    scaler.handle_over(2, "no such file", busy);
    let lost = Shortfall::Lost("no such file".into());
    assert_eq!(effects(&mut scaler), [ScalerEffect::Reloaded(Err(lost))]);
    assert!(!scaler.is_over() && !scaler.is_leaving(0) && !scaler.is_leaving(1));
}

fn a_worker_that_is_started_again_need_not_be_replaced() {
    let mut scaler = scaler_of(2);
    scaler.handle_reload(busy);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Start(2)]);
    scaler.handle_restart(0);
    ready(&mut scaler, [0]);
    scaler.handle_ready(2, busy);
    assert_eq!(effects(&mut scaler), [replaced(1)]);
    scaler.handle_over(1, "", busy);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Reloaded(Ok(()))]);
}

fn a_second_reload_begins_anew() {
    let mut scaler = scaler_of(2);
    scaler.handle_reload(busy);
    scaler.handle_ready(2, busy);
    let expected = [ScalerEffect::Start(2), replaced(1), ScalerEffect::Start(3)];
    assert_eq!(effects(&mut scaler), expected);
    scaler.handle_reload(busy);
    let superseded = ScalerEffect::Reloaded(Err(Shortfall::Superseded));
    // What was started for the first one is older than the second one.
    assert_eq!(
        effects(&mut scaler),
        [superseded, leave(3), ScalerEffect::Start(4)]
    );
    scaler.handle_ready(4, busy);
    assert_eq!(effects(&mut scaler), [replaced(2), ScalerEffect::Start(5)]);
}

fn one_worker_is_replaced_and_no_other() {
    let mut scaler = scaler_of(3);
    // It is the one that is at work.
    let idle = |slot: usize| slot != 1;
    assert_eq!(scaler.handle_replace(1, idle), Ok(()));
    assert_eq!(effects(&mut scaler), [ScalerEffect::Start(3)]);
    scaler.handle_ready(3, idle);
    assert_eq!(effects(&mut scaler), [replaced(1)]);
    scaler.handle_over(1, "", idle);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Reloaded(Ok(()))]);
}

fn several_are_replaced_and_each_wish_is_answered() {
    let mut scaler = scaler_of(2);
    scaler.handle_replace(0, busy).unwrap();
    scaler.handle_replace(1, busy).unwrap();
    // The new one need not be replaced itself.
    scaler.handle_replace(2, busy).unwrap();
    assert_eq!(effects(&mut scaler), [ScalerEffect::Start(2)]);
    ready(&mut scaler, [2]);
    assert_eq!(effects(&mut scaler), [replaced(1), ScalerEffect::Start(3)]);
    ready(&mut scaler, [3]);
    assert_eq!(effects(&mut scaler), [replaced(0)]);
    scaler.handle_over(1, "", busy);
    assert_eq!(effects(&mut scaler), []);
    scaler.handle_over(0, "", busy);
    let answer = ScalerEffect::Reloaded(Ok(()));
    assert_eq!(
        effects(&mut scaler),
        [answer.clone(), answer.clone(), answer]
    );
    // A reload takes the place of both wishes, and each is told.
    scaler.handle_replace(2, busy).unwrap();
    scaler.handle_replace(3, busy).unwrap();
    effects(&mut scaler);
    scaler.handle_reload(busy);
    let superseded = ScalerEffect::Reloaded(Err(Shortfall::Superseded));
    assert_eq!(effects(&mut scaler)[..2], [superseded.clone(), superseded]);
}

fn one_that_is_not_there_is_not_replaced() {
    let mut scaler = scaler_of(2);
    scaler.handle_scale(1, busy);
    effects(&mut scaler);
    for slot in [1, 2] {
        let told = scaler.handle_replace(slot, busy);
        assert_eq!(told, Err(Shortfall::NotThere), "{slot}");
    }
    scaler.handle_stop();
    effects(&mut scaler);
    assert_eq!(scaler.handle_replace(0, busy), Err(Shortfall::Stopped));
    assert_eq!(effects(&mut scaler), []);
}

fn a_stop_ends_what_is_under_way() {
    let mut scaler = scaler_of(2);
    scaler.handle_scale(3, busy);
    scaler.handle_reload(busy);
    scaler.handle_stop();
    let stopped = || Err(Shortfall::Stopped);
    let expected = [
        ScalerEffect::Scaled(stopped()),
        ScalerEffect::Reloaded(Err(Shortfall::Stopped)),
    ];
    assert_eq!(effects(&mut scaler), expected);
    scaler.handle_scale(7, busy);
    assert_eq!(effects(&mut scaler), [ScalerEffect::Scaled(stopped())]);
}

fn a_pool_is_over_when_all_have_gone_by_themselves() {
    let mut scaler = scaler_of(2);
    scaler.handle_over(0, "it died", busy);
    assert!(!scaler.is_over());
    scaler.handle_over(1, "it died", busy);
    assert!(scaler.is_over());
}

/// A step of a random run.
#[derive(Debug, Clone, Copy)]
enum Step {
    Scale(usize),
    Reload,
    Replace(u8),
    /// Somewhere a worker gets on by one step.
    GetOn(u8),
    /// One is started again by its own rules.
    Restart(u8),
    /// One is given up.
    GiveUp(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..6_usize).prop_map(Step::Scale),
        1 => Just(Step::Reload),
        1 => any::<u8>().prop_map(Step::Replace),
        8 => any::<u8>().prop_map(Step::GetOn),
        1 => any::<u8>().prop_map(Step::Restart),
        1 => any::<u8>().prop_map(Step::GiveUp),
    ];
    proptest::collection::vec(step, 0..60)
}

/// The workers as they are: true for those that are ready.
#[derive(Debug, Default)]
struct Workers {
    here: BTreeMap<usize, bool>,
    leaving: BTreeSet<usize>,
    /// Wishes that were not answered.
    scales: usize,
    reloads: usize,
}

impl Workers {
    fn carry_out(&mut self, scaler: &mut Scaler) {
        while let Some(effect) = scaler.poll() {
            match effect {
                ScalerEffect::Start(slot) => {
                    assert_eq!(self.here.insert(slot, false), None, "slot {slot} is taken");
                }
                ScalerEffect::Leave { slot, .. } => {
                    assert!(self.here.contains_key(&slot) && self.leaving.insert(slot));
                }
                ScalerEffect::Scaled(_) => self.scales -= 1,
                ScalerEffect::Reloaded(_) => self.reloads -= 1,
            }
        }
        let staying = self.here.len() - self.leaving.len();
        assert!(
            staying <= scaler.wanted() + 1,
            "{staying} of {}",
            scaler.wanted()
        );
    }

    fn pick(&self, pick: u8) -> Option<usize> {
        let place = usize::from(pick) % self.here.len().max(1);
        self.here.keys().nth(place).copied()
    }

    fn get_on(&mut self, scaler: &mut Scaler, slot: usize) {
        let idle = |slot: usize| slot.is_multiple_of(2);
        if self.leaving.remove(&slot) {
            self.here.remove(&slot);
            scaler.handle_over(slot, "", idle);
        } else if self.here.insert(slot, true) == Some(false) {
            scaler.handle_ready(slot, idle);
        }
        self.carry_out(scaler);
    }
}

fn any_order_of_wishes_and_accidents_comes_to_what_was_asked_for() {
    proptest!(|(steps in steps())| {
        let mut scaler = Scaler::new(2);
        let mut workers = Workers::default();
        workers.here.extend([(0, false), (1, false)]);
        for step in steps {
            match step {
                Step::Scale(number) => {
                    workers.scales += 1;
                    scaler.handle_scale(number, |slot| slot.is_multiple_of(3));
                }
                Step::Reload => {
                    workers.reloads += 1;
                    scaler.handle_reload(|slot| slot.is_multiple_of(3));
                }
                Step::Replace(pick) => {
                    let slot = workers.pick(pick).unwrap_or(0);
                    let is_there = workers.here.contains_key(&slot) && !workers.leaving.contains(&slot);
                    let told = scaler.handle_replace(slot, |slot| slot.is_multiple_of(3));
                    assert_eq!(told.is_ok(), is_there, "slot {slot}");
                    workers.reloads += usize::from(is_there);
                }
                Step::GetOn(pick) => {
                    if let Some(slot) = workers.pick(pick) {
                        workers.get_on(&mut scaler, slot);
                    }
                }
                Step::Restart(pick) => {
                    if let Some(slot) = workers.pick(pick) && !workers.leaving.contains(&slot) {
                        workers.here.insert(slot, false);
                        scaler.handle_restart(slot);
                    }
                }
                Step::GiveUp(pick) => {
                    if let Some(slot) = workers.pick(pick) {
                        workers.here.remove(&slot);
                        workers.leaving.remove(&slot);
                        scaler.handle_over(slot, "it died", |_| true);
                    }
                }
            }
            workers.carry_out(&mut scaler);
        }
        workers.scales += 1;
        scaler.handle_scale(4, |_| true);
        workers.carry_out(&mut scaler);
        for _ in 0..100 {
            let slots: Vec<usize> = workers.here.keys().copied().collect();
            for slot in slots {
                workers.get_on(&mut scaler, slot);
            }
        }
        assert_eq!((workers.here.len(), workers.leaving.len()), (4, 0));
        assert!(workers.here.values().all(|is_ready| *is_ready));
        assert_eq!((workers.scales, workers.reloads), (0, 0), "each is answered once");
    });
}
