//! Runs of many seeds: on all cores, in constant memory, and with one line that replays a failure.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::coverage::Coverage;
use crate::planted::Plant;
use crate::world::World;

/// With `SEED`, that world alone.
pub(crate) fn chosen() -> Vec<libtest_mimic::Trial> {
    let mut trials = trials();
    if number("SEED").is_some() {
        trials.truncate(1);
    }
    trials
}

crate::trials! {
    every_promise_holds_in_every_world,
    a_seed_replays_exactly,
    an_acknowledgement_sent_before_it_is_persisted_is_caught,
    an_end_told_before_it_is_persisted_is_caught,
    a_prefetched_item_counted_as_an_attempt_is_caught,
    a_lost_requeue_is_caught,
    an_item_lost_at_recovery_is_caught,
    a_done_told_twice_is_caught,
    a_join_that_returns_early_is_caught,
    a_recovery_that_forgets_histories_is_caught,
    a_batch_that_is_not_dropped_is_caught,
    half_a_transaction_is_caught,
    a_full_commit_that_is_not_synced_is_caught,
    an_items_fault_charged_to_its_slot_is_caught,
    a_late_word_that_is_believed_is_caught,
}

/// How many seeds are tried unless `SEEDS` says otherwise.
const SEEDS: u64 = 10_000;
/// How many lines of a failed world are shown.
const TRACE_LINES: usize = 80;

thread_local! {
    /// Whether a panic is caught, and what it said.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A world that breaks a promise panics. That is kept for whoever runs it, and not printed.
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

/// Lives through one world. What went wrong in it, if something did.
fn try_world(world: &mut World) -> Result<(), String> {
    IS_WATCHED.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    IS_WATCHED.set(false);
    result.map_err(|_| LAST.take())
}

/// What somebody who runs this asked to see.
#[allow(clippy::print_stdout)]
fn show(text: &str) {
    println!("{text}");
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text}: a number is wanted")))
}

/// The trace of one world, and what went wrong in it.
fn replay(seed: u64, plant: Option<Plant>) -> (Vec<String>, Result<(), String>) {
    let mut world = World::new(seed, plant, true);
    let result = try_world(&mut world);
    (world.trace.take().unwrap_or_default(), result)
}

fn every_promise_holds_in_every_world() {
    if let Some(seed) = number("SEED") {
        let (trace, result) = replay(seed, None);
        show(&trace.join("\n"));
        result.unwrap_or_else(|why| panic!("a promise is broken: {why}"));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let coverage = match try_seeds(seeds, None) {
        Ok(coverage) => coverage,
        Err((seed, why)) => {
            let (trace, _) = replay(seed, None);
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
    if seeds >= SEEDS {
        let all = coverage.all().into_iter();
        let missing: Vec<_> = all.filter(|(_, count)| *count == 0).collect();
        assert!(missing.is_empty(), "this never happened: {missing:?}");
    }
}

/// Tries seeds from 1 on. The lowest of those that failed, of which others may not have been tried.
fn try_seeds(seeds: u64, plant: Option<Plant>) -> Result<Coverage, (u64, String)> {
    let next = AtomicU64::new(1);
    let sum = Mutex::new(Coverage::default());
    let failure: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let work = || {
        let mut coverage = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds || failure.lock().expect("no panic here").is_some() {
                break;
            }
            let mut world = World::new(seed, plant, false);
            if let Err(why) = try_world(&mut world) {
                let mut failure = failure.lock().expect("no panic here");
                if failure.as_ref().is_none_or(|(other, _)| seed < *other) {
                    *failure = Some((seed, why));
                }
            }
            coverage.add(&world.coverage);
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
        assert_eq!(replay(seed, None).0, replay(seed, None).0, "seed {seed}");
    }
}

fn expect_caught(plant: Plant) {
    match try_seeds(SEEDS, Some(plant)) {
        Ok(_) => panic!("{plant:?} was not caught"),
        // For whoever asks with how many seeds a bug is found, and by which promise.
        Err((seed, why)) if number("SEEDS").is_some() => {
            show(&format!("{plant:?} is caught by seed {seed}: {why}"));
        }
        Err(_) => {}
    }
}

fn an_acknowledgement_sent_before_it_is_persisted_is_caught() {
    expect_caught(Plant::EarlyAcceptance);
}

fn an_end_told_before_it_is_persisted_is_caught() {
    expect_caught(Plant::EarlyEnd);
}

fn a_prefetched_item_counted_as_an_attempt_is_caught() {
    expect_caught(Plant::PrefetchedCharged);
}

fn a_lost_requeue_is_caught() {
    expect_caught(Plant::LostRequeue);
}

fn an_item_lost_at_recovery_is_caught() {
    expect_caught(Plant::LostAtRecovery);
}

fn a_done_told_twice_is_caught() {
    expect_caught(Plant::DoneTwice);
}

fn a_join_that_returns_early_is_caught() {
    expect_caught(Plant::EarlyJoin);
}

fn a_recovery_that_forgets_histories_is_caught() {
    expect_caught(Plant::ForgottenHistories);
}

fn a_batch_that_is_not_dropped_is_caught() {
    expect_caught(Plant::WrongMerge);
}

fn half_a_transaction_is_caught() {
    expect_caught(Plant::HalfATransaction);
}

fn a_full_commit_that_is_not_synced_is_caught() {
    expect_caught(Plant::UnsyncedCommit);
}

fn an_items_fault_charged_to_its_slot_is_caught() {
    expect_caught(Plant::ItemsFaultOnSlot);
}

fn a_late_word_that_is_believed_is_caught() {
    expect_caught(Plant::LateWordBelieved);
}
