//! The workers of a pool as a whole: scaled, replaced and lost in any order.

use std::collections::{BTreeMap, BTreeSet};

use dishrack_core::pool::crew::{Crew, CrewEffect, Shortfall};
use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

crate::trials! {
    going_up_starts_workers_and_says_so_when_they_are_ready,
    going_down_lets_idle_workers_go_first,
    nobody_at_all_may_be_wanted,
    a_worker_that_was_not_started_yet_is_not_started,
    a_seat_is_used_again,
    a_later_wish_takes_the_place_of_the_first,
    workers_that_are_given_up_meanwhile_are_told,
    a_new_worker_is_ready_before_an_old_one_goes,
    a_new_worker_that_is_given_up_ends_the_reload_and_no_other,
    a_worker_that_is_started_again_need_not_be_replaced,
    a_second_reload_begins_anew,
    a_stop_ends_what_is_under_way,
    a_crew_is_over_when_all_have_gone_by_themselves,
    any_order_of_wishes_and_accidents_comes_to_what_was_asked_for,
}

fn busy(_: usize) -> bool {
    false
}

fn effects(crew: &mut Crew) -> Vec<CrewEffect> {
    std::iter::from_fn(|| crew.poll()).collect()
}

fn ready(crew: &mut Crew, seats: impl IntoIterator<Item = usize>) {
    for seat in seats {
        crew.handle_ready(seat, busy);
    }
}

/// Makes a crew whose workers are ready.
fn crew_of(workers: usize) -> Crew {
    let mut crew = Crew::new(workers);
    ready(&mut crew, 0..workers);
    assert_eq!(effects(&mut crew), []);
    crew
}

fn leave(seat: usize) -> CrewEffect {
    let is_replaced = false;
    CrewEffect::Leave { seat, is_replaced }
}

fn replaced(seat: usize) -> CrewEffect {
    let is_replaced = true;
    CrewEffect::Leave { seat, is_replaced }
}

fn going_up_starts_workers_and_says_so_when_they_are_ready() {
    let mut crew = crew_of(1);
    crew.handle_scale(3, busy);
    assert_eq!(
        effects(&mut crew),
        [CrewEffect::Start(1), CrewEffect::Start(2)]
    );
    ready(&mut crew, [2]);
    assert_eq!(effects(&mut crew), []);
    ready(&mut crew, [1]);
    assert_eq!(effects(&mut crew), [CrewEffect::Scaled(Ok(3))]);
    crew.handle_scale(3, busy);
    assert_eq!(
        effects(&mut crew),
        [CrewEffect::Scaled(Ok(3))],
        "there they are"
    );
}

fn going_down_lets_idle_workers_go_first() {
    let mut crew = crew_of(4);
    crew.handle_scale(1, |seat| seat == 0 || seat == 2);
    assert_eq!(effects(&mut crew), [leave(2), leave(0), leave(3)]);
    crew.handle_over(2, "", busy);
    crew.handle_over(0, "", busy);
    assert_eq!(effects(&mut crew), [], "one is still at its item");
    crew.handle_over(3, "", busy);
    assert_eq!(effects(&mut crew), [CrewEffect::Scaled(Ok(1))]);
}

fn nobody_at_all_may_be_wanted() {
    let mut crew = crew_of(1);
    crew.handle_scale(0, busy);
    assert_eq!(effects(&mut crew), [leave(0)]);
    crew.handle_over(0, "", busy);
    assert!(!crew.is_over(), "more may be asked for");
    assert_eq!(effects(&mut crew), [CrewEffect::Scaled(Ok(0))]);
    assert!(!crew.is_over());
    crew.handle_reload(busy);
    assert_eq!(effects(&mut crew), [CrewEffect::Reloaded(Ok(()))]);
    crew.handle_scale(1, busy);
    assert_eq!(effects(&mut crew), [CrewEffect::Start(0)]);
}

fn a_worker_that_was_not_started_yet_is_not_started() {
    let mut crew = crew_of(1);
    crew.handle_scale(4, busy);
    crew.handle_scale(1, busy);
    let superseded = CrewEffect::Scaled(Err(Shortfall::Superseded));
    assert_eq!(effects(&mut crew), [superseded, CrewEffect::Scaled(Ok(1))]);
}

fn a_seat_is_used_again() {
    let mut crew = crew_of(3);
    crew.handle_scale(2, |seat| seat == 1);
    crew.handle_over(1, "", busy);
    crew.handle_scale(3, busy);
    let expected = [leave(1), CrewEffect::Scaled(Ok(2)), CrewEffect::Start(1)];
    assert_eq!(effects(&mut crew), expected);
}

fn a_later_wish_takes_the_place_of_the_first() {
    let mut crew = crew_of(2);
    crew.handle_scale(1, busy);
    crew.handle_scale(2, busy);
    let superseded = CrewEffect::Scaled(Err(Shortfall::Superseded));
    // The one that leaves finishes what it has; another one is there meanwhile.
    assert_eq!(
        effects(&mut crew),
        [leave(1), superseded, CrewEffect::Start(2)]
    );
    ready(&mut crew, [2]);
    crew.handle_over(1, "", busy);
    assert_eq!(effects(&mut crew), [CrewEffect::Scaled(Ok(2))]);
}

fn workers_that_are_given_up_meanwhile_are_told() {
    let mut crew = crew_of(1);
    crew.handle_scale(3, busy);
    effects(&mut crew);
    crew.handle_over(1, "it died", busy);
    ready(&mut crew, [2]);
    let lost = Shortfall::Lost("it died".into());
    assert_eq!(effects(&mut crew), [CrewEffect::Scaled(Err(lost))]);
    crew.handle_scale(3, busy);
    assert_eq!(
        effects(&mut crew),
        [CrewEffect::Start(1)],
        "it is tried again"
    );
}

fn a_new_worker_is_ready_before_an_old_one_goes() {
    let mut crew = crew_of(2);
    crew.handle_reload(|seat| seat == 0);
    assert_eq!(effects(&mut crew), [CrewEffect::Start(2)]);
    crew.handle_ready(2, |seat| seat == 0);
    assert_eq!(effects(&mut crew), [replaced(0), CrewEffect::Start(3)]);
    crew.handle_over(0, "", busy);
    assert_eq!(effects(&mut crew), []);
    crew.handle_ready(3, busy);
    assert_eq!(effects(&mut crew), [replaced(1)]);
    crew.handle_over(1, "", busy);
    assert_eq!(effects(&mut crew), [CrewEffect::Reloaded(Ok(()))]);
}

fn a_new_worker_that_is_given_up_ends_the_reload_and_no_other() {
    let mut crew = crew_of(2);
    crew.handle_reload(busy);
    effects(&mut crew);
    crew.handle_over(2, "no such file", busy);
    let lost = Shortfall::Lost("no such file".into());
    assert_eq!(effects(&mut crew), [CrewEffect::Reloaded(Err(lost))]);
    assert!(!crew.is_over() && !crew.is_leaving(0) && !crew.is_leaving(1));
}

fn a_worker_that_is_started_again_need_not_be_replaced() {
    let mut crew = crew_of(2);
    crew.handle_reload(busy);
    assert_eq!(effects(&mut crew), [CrewEffect::Start(2)]);
    crew.handle_restart(0);
    ready(&mut crew, [0]);
    crew.handle_ready(2, busy);
    assert_eq!(effects(&mut crew), [replaced(1)]);
    crew.handle_over(1, "", busy);
    assert_eq!(effects(&mut crew), [CrewEffect::Reloaded(Ok(()))]);
}

fn a_second_reload_begins_anew() {
    let mut crew = crew_of(2);
    crew.handle_reload(busy);
    crew.handle_ready(2, busy);
    let expected = [CrewEffect::Start(2), replaced(1), CrewEffect::Start(3)];
    assert_eq!(effects(&mut crew), expected);
    crew.handle_reload(busy);
    let superseded = CrewEffect::Reloaded(Err(Shortfall::Superseded));
    // What was started for the first one is older than the second one.
    assert_eq!(
        effects(&mut crew),
        [superseded, leave(3), CrewEffect::Start(4)]
    );
    crew.handle_ready(4, busy);
    assert_eq!(effects(&mut crew), [replaced(2), CrewEffect::Start(5)]);
}

fn a_stop_ends_what_is_under_way() {
    let mut crew = crew_of(2);
    crew.handle_scale(3, busy);
    crew.handle_reload(busy);
    crew.handle_stop();
    let stopped = || Err(Shortfall::Stopped);
    let expected = [
        CrewEffect::Scaled(stopped()),
        CrewEffect::Reloaded(Err(Shortfall::Stopped)),
    ];
    assert_eq!(effects(&mut crew), expected);
    crew.handle_scale(7, busy);
    assert_eq!(effects(&mut crew), [CrewEffect::Scaled(stopped())]);
}

fn a_crew_is_over_when_all_have_gone_by_themselves() {
    let mut crew = crew_of(2);
    crew.handle_over(0, "it died", busy);
    assert!(!crew.is_over());
    crew.handle_over(1, "it died", busy);
    assert!(crew.is_over());
}

/// A step of a random run.
#[derive(Debug, Clone, Copy)]
enum Step {
    Scale(usize),
    Reload,
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
    fn carry_out(&mut self, crew: &mut Crew) {
        while let Some(effect) = crew.poll() {
            match effect {
                CrewEffect::Start(seat) => {
                    assert_eq!(self.here.insert(seat, false), None, "seat {seat} is taken");
                }
                CrewEffect::Leave { seat, .. } => {
                    assert!(self.here.contains_key(&seat) && self.leaving.insert(seat));
                }
                CrewEffect::Scaled(_) => self.scales -= 1,
                CrewEffect::Reloaded(_) => self.reloads -= 1,
            }
        }
        let staying = self.here.len() - self.leaving.len();
        assert!(
            staying <= crew.wanted() + 1,
            "{staying} of {}",
            crew.wanted()
        );
    }

    fn pick(&self, pick: u8) -> Option<usize> {
        let place = usize::from(pick) % self.here.len().max(1);
        self.here.keys().nth(place).copied()
    }

    fn get_on(&mut self, crew: &mut Crew, seat: usize) {
        let idle = |seat: usize| seat.is_multiple_of(2);
        if self.leaving.remove(&seat) {
            self.here.remove(&seat);
            crew.handle_over(seat, "", idle);
        } else if self.here.insert(seat, true) == Some(false) {
            crew.handle_ready(seat, idle);
        }
        self.carry_out(crew);
    }
}

fn any_order_of_wishes_and_accidents_comes_to_what_was_asked_for() {
    proptest!(|(steps in steps())| {
        let mut crew = Crew::new(2);
        let mut workers = Workers::default();
        workers.here.extend([(0, false), (1, false)]);
        for step in steps {
            match step {
                Step::Scale(number) => {
                    workers.scales += 1;
                    crew.handle_scale(number, |seat| seat.is_multiple_of(3));
                }
                Step::Reload => {
                    workers.reloads += 1;
                    crew.handle_reload(|seat| seat.is_multiple_of(3));
                }
                Step::GetOn(pick) => {
                    if let Some(seat) = workers.pick(pick) {
                        workers.get_on(&mut crew, seat);
                    }
                }
                Step::Restart(pick) => {
                    if let Some(seat) = workers.pick(pick) && !workers.leaving.contains(&seat) {
                        workers.here.insert(seat, false);
                        crew.handle_restart(seat);
                    }
                }
                Step::GiveUp(pick) => {
                    if let Some(seat) = workers.pick(pick) {
                        workers.here.remove(&seat);
                        workers.leaving.remove(&seat);
                        crew.handle_over(seat, "it died", |_| true);
                    }
                }
            }
            workers.carry_out(&mut crew);
        }
        workers.scales += 1;
        crew.handle_scale(4, |_| true);
        workers.carry_out(&mut crew);
        for _ in 0..100 {
            let seats: Vec<usize> = workers.here.keys().copied().collect();
            for seat in seats {
                workers.get_on(&mut crew, seat);
            }
        }
        assert_eq!((workers.here.len(), workers.leaving.len()), (4, 0));
        assert!(workers.here.values().all(|is_ready| *is_ready));
        assert_eq!((workers.scales, workers.reloads), (0, 0), "each is answered once");
    });
}
