//! Runs of many seeds: on all cores, in constant memory, and with one line that replays a failure.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::coverage::{Counted, Coverage};
use crate::crowd;
use crate::fleets;
use crate::planted::Plant;
use crate::world::World;

/// A world that is made from a seed.
pub(crate) trait Seeded {
    type Plant: Copy + Debug + Sync;
    type Coverage: Counted;

    fn begin(seed: u64, plant: Option<Self::Plant>, is_traced: bool) -> Self;

    /// Runs the world. Panics when a promise is broken.
    fn live(&mut self);

    fn coverage(&self) -> Self::Coverage;

    fn trace(&mut self) -> Vec<String>;
}

impl Seeded for World {
    type Plant = Plant;
    type Coverage = Coverage;

    fn begin(seed: u64, plant: Option<Plant>, is_traced: bool) -> Self {
        World::new(seed, plant, is_traced)
    }

    fn live(&mut self) {
        self.run();
    }

    fn coverage(&self) -> Coverage {
        self.coverage
    }

    fn trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}

/// Returns all trials; with `SEED` the first one of each kind, which is about that seed.
pub(crate) fn chosen() -> Vec<libtest_mimic::Trial> {
    let most = number("SEED").map_or(usize::MAX, |_| 1);
    let kinds = [trials(), fleets::trials(), crowd::trials()];
    let chosen = kinds
        .into_iter()
        .flat_map(|kind| kind.into_iter().take(most));
    chosen.collect()
}

crate::trials! {
    every_promise_holds_in_every_world => expect_promises_kept::<World>(SEEDS),
    a_seed_replays_exactly,
    an_acknowledgement_sent_before_it_is_persisted_is_caught =>
        expect_caught_in_a_world(Plant::EarlyAcceptance),
    an_end_told_before_it_is_persisted_is_caught => expect_caught_in_a_world(Plant::EarlyEnd),
    a_prefetched_item_counted_as_an_attempt_is_caught =>
        expect_caught_in_a_world(Plant::PrefetchedCharged),
    a_lost_requeue_is_caught => expect_caught_in_a_world(Plant::LostRequeue),
    an_item_lost_at_recovery_is_caught => expect_caught_in_a_world(Plant::LostAtRecovery),
    a_done_told_twice_is_caught => expect_caught_in_a_world(Plant::DoneTwice),
    a_join_that_returns_early_is_caught => expect_caught_in_a_world(Plant::EarlyJoin),
    a_recovery_that_forgets_histories_is_caught =>
        expect_caught_in_a_world(Plant::ForgottenHistories),
    a_batch_that_is_not_dropped_is_caught => expect_caught_in_a_world(Plant::WrongMerge),
    half_a_transaction_is_caught => expect_caught_in_a_world(Plant::HalfATransaction),
    a_full_commit_that_is_not_synced_is_caught => expect_caught_in_a_world(Plant::UnsyncedCommit),
    an_items_fault_charged_to_its_slot_is_caught =>
        expect_caught_in_a_world(Plant::ItemsFaultOnSlot),
    a_late_word_that_is_believed_is_caught => expect_caught_in_a_world(Plant::LateWordBelieved),
    a_late_copy_that_counts_is_caught => expect_caught_in_a_world(Plant::LateCopyCounts),
    a_copy_that_fails_its_item_is_caught => expect_caught_in_a_world(Plant::CopyFailsItem),
    two_copies_for_one_worker_are_caught => expect_caught_in_a_world(Plant::CopiesTogether),
    the_output_of_a_loser_is_caught => expect_caught_in_a_world(Plant::LosersShown),
    a_batch_told_whole_is_caught => expect_caught_in_a_world(Plant::BatchToldWhole),
    a_late_result_that_is_told_is_caught => expect_caught_in_a_world(Plant::LateResultTold),
    a_turn_that_is_cut_short_is_caught => expect_caught_in_a_world(Plant::TurnCutShort),
    a_pause_that_is_told_too_early_is_caught => expect_caught_in_a_world(Plant::EarlyPause),
    a_begun_item_that_is_given_back_is_caught => expect_caught_in_a_world(Plant::BegunGivenBack),
    a_request_that_is_left_unanswered_is_caught =>
        expect_caught_in_a_world(Plant::AheadUnanswered),
    a_client_that_is_not_missed_is_caught => expect_caught_in_a_world(Plant::ClientNotMissed),
    a_client_that_is_not_charged_is_caught => expect_caught_in_a_world(Plant::ClientUncharged),
    an_item_charged_before_it_was_sent_is_caught => expect_caught_in_a_world(Plant::UnsentCharged),
    a_part_of_a_frame_that_is_not_noted_is_caught => expect_caught_in_a_world(Plant::PartUnnoticed),
    last_words_that_are_not_heard_are_caught => expect_caught_in_a_world(Plant::LastWordsUnheard),
    a_kill_for_memory_that_is_told_as_another_is_caught =>
        expect_caught_in_a_world(Plant::MemoryKillMistold),
    an_item_that_runs_alone_and_is_settled_early_is_caught =>
        expect_caught_in_a_world(Plant::AloneSettledEarly),
    a_slot_that_is_mistold_is_caught => expect_caught_in_a_world(Plant::SlotMistold),
    keys_that_are_forgotten_are_caught => expect_caught_in_a_world(Plant::KeysForgotten),
    unique_keys_that_are_forgotten_are_caught =>
        expect_caught_in_a_world(Plant::UniqueKeysForgotten),
    dead_letters_that_are_forgotten_are_caught =>
        expect_caught_in_a_world(Plant::DeadLettersForgotten),
    an_overdue_item_that_is_kept_is_caught => expect_caught_in_a_world(Plant::OverdueKept),
}

/// The number of seeds, unless `SEEDS` gives another.
const SEEDS: u64 = 10_000;
/// The number of lines that are shown of a failed world.
const TRACE_LINES: usize = 80;

thread_local! {
    /// True if a panic is caught, with its message.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the panics of broken promises for their catcher, rather than printing them.
pub(crate) fn quiet_expected_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if IS_WATCHED.get() {
            LAST.set(panic.to_string());
        } else {
            usual(panic);
        }
    }));
}

/// Runs one world. Returns the fault, if there was one.
fn try_world(world: &mut impl Seeded) -> Result<(), String> {
    IS_WATCHED.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| world.live()));
    IS_WATCHED.set(false);
    result.map_err(|_| LAST.take())
}

/// Shows what the user asked to see.
#[allow(clippy::print_stdout)]
fn show(text: &str) {
    println!("{text}");
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text}: a number is wanted")))
}

/// Returns the trace of one world, and its fault.
pub(crate) fn replay<W: Seeded>(
    seed: u64,
    plant: Option<W::Plant>,
) -> (Vec<String>, Result<(), String>) {
    let mut world = W::begin(seed, plant, true);
    let result = try_world(&mut world);
    (world.trace(), result)
}

/// Tries so many seeds, or those of `SEED` and `SEEDS`.
pub(crate) fn expect_promises_kept<W: Seeded>(usual: u64) {
    if let Some(seed) = number("SEED") {
        let (trace, result) = replay::<W>(seed, None);
        show(&trace.join("\n"));
        result.unwrap_or_else(|why| panic!("a promise is broken: {why}"));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(usual);
    let began = Instant::now();
    let coverage = match try_seeds::<W>(seeds, None) {
        Ok(coverage) => coverage,
        Err((seed, why)) => {
            let (trace, _) = replay::<W>(seed, None);
            let first = trace.len().saturating_sub(TRACE_LINES);
            let trace = trace[first..].join("\n");
            show(&format!(
                "\nSEED={seed} cargo test --test simulation\n{trace}"
            ));
            panic!("a promise is broken: {why}");
        }
    };
    let per_second = seeds as f64 / began.elapsed().as_secs_f64();
    if number("SEEDS").is_some() {
        show(&format!("\n{seeds} seeds, {per_second:.0} a second"));
        for (name, count) in coverage.all() {
            show(&format!("{name:>28} {count}"));
        }
    }
    if seeds >= usual {
        let all = coverage.all().into_iter();
        let missing: Vec<_> = all.filter(|(_, count)| *count == 0).collect();
        assert!(missing.is_empty(), "this never happened: {missing:?}");
    }
}

/// Tries seeds from 1 on. Returns the lowest failed one; others may not have been tried.
fn try_seeds<W: Seeded>(seeds: u64, plant: Option<W::Plant>) -> Result<W::Coverage, (u64, String)> {
    let next = AtomicU64::new(1);
    let sum = Mutex::new(W::Coverage::default());
    let failure: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let work = || {
        let mut coverage = W::Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds || failure.lock().expect("no panic here").is_some() {
                break;
            }
            let mut world = W::begin(seed, plant, false);
            if let Err(why) = try_world(&mut world) {
                let mut failure = failure.lock().expect("no panic here");
                if failure.as_ref().is_none_or(|(other, _)| seed < *other) {
                    *failure = Some((seed, why));
                }
            }
            coverage.add(&world.coverage());
        }
        sum.lock().expect("no panic here").add(&coverage);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    match failure.into_inner().expect("no panic there") {
        Some(failure) => Err(failure),
        None => Ok(sum.into_inner().expect("no panic there")),
    }
}

fn a_seed_replays_exactly() {
    for seed in 1..=50 {
        let again = replay::<World>(seed, None).0;
        assert_eq!(replay::<World>(seed, None).0, again, "seed {seed}");
    }
}

pub(crate) fn expect_caught<W: Seeded>(plant: W::Plant, usual: u64) {
    match try_seeds::<W>(usual, Some(plant)) {
        Ok(_) => panic!("{plant:?} was not caught"),
        // `SEEDS` asks for the number of seeds after which a bug is found, and for the promise.
        Err((seed, why)) if number("SEEDS").is_some() => {
            show(&format!("{plant:?} is caught by seed {seed}: {why}"));
        }
        Err(_) => {}
    }
}

fn expect_caught_in_a_world(plant: Plant) {
    expect_caught::<World>(plant, SEEDS);
}
