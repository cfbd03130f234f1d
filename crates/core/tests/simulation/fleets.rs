//! Runs of many fleets, and the bugs that are planted in them.

use crate::coverage::FleetCoverage;
use crate::fleet::Fleet;
use crate::planted::FleetPlant;
use crate::runs::{Seeded, expect_caught, expect_promises_kept, replay};
use crate::stream::Flaw;

crate::trials! {
    every_promise_holds_in_every_fleet,
    a_fleet_replays_exactly,
    an_end_said_by_somebody_else_that_is_believed_is_caught,
    a_put_that_is_repeated_and_adds_again_is_caught,
    a_put_that_is_repeated_and_told_other_numbers_is_caught,
    an_end_that_is_repeated_and_counts_again_is_caught,
    a_late_call_that_is_done_again_is_caught,
    items_taken_from_the_living_are_caught,
    a_dead_letter_in_two_steps_is_caught,
    a_doorbell_that_is_not_rung_is_caught,
    a_history_that_stays_behind_is_caught,
    a_bound_that_nobody_looks_at_is_caught,
    a_look_that_answers_later_questions_is_caught,
    more_that_is_taken_than_is_wanted_is_caught,
}

/// The number of seeds, unless `SEEDS` gives another.
const SEEDS: u64 = 3_000;

impl Seeded for Fleet {
    type Plant = FleetPlant;
    type Coverage = FleetCoverage;

    fn begin(seed: u64, plant: Option<FleetPlant>, is_traced: bool) -> Self {
        Fleet::new(seed, plant, is_traced)
    }

    fn live(&mut self) {
        self.run();
    }

    fn coverage(&self) -> FleetCoverage {
        self.coverage
    }

    fn trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}

fn every_promise_holds_in_every_fleet() {
    expect_promises_kept::<Fleet>(SEEDS);
}

fn a_fleet_replays_exactly() {
    for seed in 1..=50 {
        let again = replay::<Fleet>(seed, None).0;
        assert_eq!(replay::<Fleet>(seed, None).0, again, "seed {seed}");
    }
}

fn expect_flaw_caught(flaw: Flaw) {
    expect_caught::<Fleet>(FleetPlant::Script(flaw), SEEDS);
}

fn an_end_said_by_somebody_else_that_is_believed_is_caught() {
    expect_flaw_caught(Flaw::AnyoneSettles);
}

fn a_put_that_is_repeated_and_adds_again_is_caught() {
    expect_flaw_caught(Flaw::PutsWithoutMemo);
}

fn a_put_that_is_repeated_and_told_other_numbers_is_caught() {
    expect_flaw_caught(Flaw::NumbersAnew);
}

fn an_end_that_is_repeated_and_counts_again_is_caught() {
    expect_flaw_caught(Flaw::SettlesWithoutMemo);
}

fn a_late_call_that_is_done_again_is_caught() {
    expect_flaw_caught(Flaw::LateCallsAnew);
}

fn items_taken_from_the_living_are_caught() {
    expect_flaw_caught(Flaw::TakesFromTheLiving);
}

fn a_dead_letter_in_two_steps_is_caught() {
    expect_flaw_caught(Flaw::LetterLater);
}

fn a_doorbell_that_is_not_rung_is_caught() {
    expect_flaw_caught(Flaw::NoRing);
}

fn a_history_that_stays_behind_is_caught() {
    expect_flaw_caught(Flaw::NoPast);
}

fn a_bound_that_nobody_looks_at_is_caught() {
    expect_flaw_caught(Flaw::Unbounded);
}

fn a_look_that_answers_later_questions_is_caught() {
    expect_caught::<Fleet>(FleetPlant::FindAll, SEEDS);
}

fn more_that_is_taken_than_is_wanted_is_caught() {
    expect_caught::<Fleet>(FleetPlant::NoAppetite, SEEDS);
}
