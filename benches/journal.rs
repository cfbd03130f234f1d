//! The cost of a journal: small items from `put` to `join`, without one, with `Durability::Normal`
//! and with `Durability::Full`, in turns within one run, so that the figures compare. Prints a
//! table of the medians of five rounds (`--rounds N`) of a million items (`--items N`), and of the
//! ratios within each round.
//!
//! Then come items each of which is waited for by its `put`, a thousandth as many, without workers:
//! what a commit takes by itself.
//!
//! `--only MODE` runs one of `none`, `normal` and `full` with processes alone, for perf, and `--singly`
//! the last table alone. With `--test` it runs a few items and only checks that all are done.

#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::time::Instant;

use dishrack::{Capacity, Durability, JoinableQueue, Options, Supervisor};
use tempfile::TempDir;

const ITEMS: u32 = 1_000_000;
const ROUNDS: usize = 5;
const MODES: [(&str, Option<Durability>); 3] = [
    ("none", None),
    ("normal", Some(Durability::Normal)),
    ("full", Some(Durability::Full)),
];

fn nothing(_item: u32) -> Result<(), String> {
    Ok(())
}

/// Returns the items in a second.
fn rate(durability: Option<Durability>, in_processes: bool, items: u32) -> f64 {
    let folder = folder();
    let options = Options::default().capacity(Capacity::Bounded(10_000));
    let queue = queue(&folder, durability, options);
    let builder = Supervisor::builder();
    let builder = match in_processes {
        true => builder.processes(2),
        false => builder.threads(2),
    };
    let pool = builder.handler(&queue, nothing).expect("workers start");
    queue.put(&0).expect("open");
    queue.join().expect("the workers are there by now");
    let began = Instant::now();
    for item in 1..items {
        queue.put_unsynced(&item).expect("open");
    }
    queue.sync().expect("the journal can be written");
    let joined = queue.join().expect("workers are there");
    let elapsed = began.elapsed();
    assert_eq!((joined.done, joined.dead), (u64::from(items), 0));
    drop(pool);
    f64::from(items) / elapsed.as_secs_f64()
}

/// Returns the items in a second, each of which is durable before the next one is put.
fn singly(durability: Option<Durability>, items: u32) -> f64 {
    let folder = folder();
    let queue = queue(&folder, durability, Options::default());
    queue.put(&0).expect("open");
    let began = Instant::now();
    for item in 1..=items {
        queue.put(&item).expect("open");
    }
    f64::from(items) / began.elapsed().as_secs_f64()
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable")
}

fn queue(folder: &TempDir, durability: Option<Durability>, options: Options) -> JoinableQueue<u32> {
    let path = folder.path().join("journal");
    let queue = match durability {
        Some(durability) => JoinableQueue::journaled(&path, durability, options),
        None => Ok(JoinableQueue::with(options)),
    };
    queue.expect("a new journal can be made")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the word behind this option.
fn value_of(option: &str) -> Option<String> {
    let mut words = std::env::args().skip_while(|word| word != option);
    words.nth(1)
}

/// Measures all modes in turns, and prints a line for each.
fn compare(what: &str, rounds: usize, rate: impl Fn(Option<Durability>) -> f64) {
    let rates: Vec<[f64; MODES.len()]> = (0..rounds)
        .map(|_| MODES.map(|(_, durability)| rate(durability)))
        .collect();
    for (at, (name, _)) in MODES.into_iter().enumerate() {
        let rate = median(rates.iter().map(|rates| rates[at]));
        let ratio = median(rates.iter().map(|rates| rates[at] / rates[0]));
        println!("{what:<12}{name:<10}{rate:>12.0}{ratio:>12.2}");
    }
}

fn main() {
    dishrack::serve(|roles| roles.handler(nothing));
    let is_test = std::env::args().any(|argument| argument == "--test");
    let rounds = value_of("--rounds").map_or(ROUNDS, |word| word.parse().expect("a number"));
    let items = value_of("--items").map_or(ITEMS, |word| word.parse().expect("a number"));
    let (items, rounds) = if is_test { (2000, 1) } else { (items, rounds) };
    if let Some(only) = value_of("--only") {
        let mode = MODES.into_iter().find(|(name, _)| *name == only);
        let (_, durability) = mode.expect("none, normal or full");
        let rate = median((0..rounds).map(|_| rate(durability, true, items)));
        println!("{only} {rate:.0}");
        return;
    }
    println!("{items} items, medians of {rounds} rounds");
    println!(
        "{:<12}{:<10}{:>12}{:>12}",
        "", "journal", "items/s", "to none"
    );
    let are_all_wanted = !std::env::args().any(|argument| argument == "--singly");
    if are_all_wanted {
        compare("2 processes", rounds, |mode| rate(mode, true, items));
        compare("2 threads", rounds, |mode| rate(mode, false, items));
    }
    compare("one by one", rounds, |mode| singly(mode, items / 1000));
}
