//! Runs of many fleets, and the bugs that are planted in them.

use crate::coverage::FleetCoverage;
use crate::fleet::Fleet;
use crate::planted::FleetPlant;
use crate::runs::{Seeded, expect_caught, expect_promises_kept, replay};
use crate::stream::Flaw;

crate::trials! {
    every_promise_holds_in_every_fleet => expect_promises_kept::<Fleet>(SEEDS),
    a_fleet_replays_exactly,
    an_end_said_by_somebody_else_that_is_believed_is_caught =>
        expect_flaw_caught(Flaw::AnyoneSettles),
    a_put_that_is_repeated_and_adds_again_is_caught => expect_flaw_caught(Flaw::PutsWithoutMemo),
    a_put_that_is_repeated_and_told_other_numbers_is_caught =>
        expect_flaw_caught(Flaw::NumbersAnew),
    an_end_that_is_repeated_and_counts_again_is_caught =>
        expect_flaw_caught(Flaw::SettlesWithoutMemo),
    a_late_call_that_is_done_again_is_caught => expect_flaw_caught(Flaw::LateCallsAnew),
    items_taken_from_the_living_are_caught => expect_flaw_caught(Flaw::TakesFromTheLiving),
    a_dead_letter_in_two_steps_is_caught => expect_flaw_caught(Flaw::LetterLater),
    a_doorbell_that_is_not_rung_is_caught => expect_flaw_caught(Flaw::NoRing),
    a_history_that_stays_behind_is_caught => expect_flaw_caught(Flaw::NoPast),
    a_bound_that_nobody_looks_at_is_caught => expect_flaw_caught(Flaw::Unbounded),
    a_cancel_that_ends_what_somebody_is_at_is_caught => expect_flaw_caught(Flaw::CancelsTheHeld),
    a_cancelled_item_that_is_taken_over_is_caught => expect_flaw_caught(Flaw::CancelledTakenOver),
    a_cancelled_item_that_is_given_back_is_caught => expect_flaw_caught(Flaw::CancelledGivenBack),
    a_pause_of_which_nobody_is_told_is_caught => expect_flaw_caught(Flaw::PauseUntold),
    an_order_that_is_numbered_as_an_older_one_is_caught =>
        expect_flaw_caught(Flaw::OrdersNumberedAnew),
    one_that_begins_in_a_pause_untold_is_caught =>
        expect_caught::<Fleet>(FleetPlant::BeginsUntold, SEEDS),
    an_order_that_is_lost_and_goes_on_is_caught =>
        expect_caught::<Fleet>(FleetPlant::OlderIgnored, SEEDS),
    a_look_that_answers_later_questions_is_caught =>
        expect_caught::<Fleet>(FleetPlant::FindAll, SEEDS),
    more_that_is_taken_than_is_wanted_is_caught =>
        expect_caught::<Fleet>(FleetPlant::NoAppetite, SEEDS),
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

fn a_fleet_replays_exactly() {
    for seed in 1..=50 {
        let again = replay::<Fleet>(seed, None).0;
        assert_eq!(replay::<Fleet>(seed, None).0, again, "seed {seed}");
    }
}

fn expect_flaw_caught(flaw: Flaw) {
    expect_caught::<Fleet>(FleetPlant::Script(flaw), SEEDS);
}
