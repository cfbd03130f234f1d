//! The cost of a journal: small items from `put` to `join`, without one, with `Durability::Normal`
//! and with `Durability::Full`, in turns within one run, so that the figures compare. Prints a
//! table of the best of three rounds, because other load only makes a round slower.
//!
//! With `--test` it runs a few items and only checks that all are done.

#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::time::Instant;

use dishrack::{Capacity, Durability, JoinableQueue, Options, Supervisor};

const ITEMS: u32 = 1_000_000;
const ROUNDS: usize = 3;
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
    let folder =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    let path = folder.path().join("journal");
    let options = Options::default().capacity(Capacity::Bounded(10_000));
    let queue = match durability {
        Some(durability) => JoinableQueue::journaled(&path, durability, options),
        None => Ok(JoinableQueue::with(options)),
    };
    let queue = queue.expect("a new journal can be made");
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

fn main() {
    dishrack::serve(|roles| roles.handler(nothing));
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (items, rounds) = if is_test { (2000, 1) } else { (ITEMS, ROUNDS) };
    println!("{items} items, best of {rounds} rounds");
    println!(
        "{:<12}{:<10}{:>12}{:>12}",
        "workers", "journal", "items/s", "to none"
    );
    for (workers, in_processes) in [("2 processes", true), ("2 threads", false)] {
        let mut best = [0.0_f64; MODES.len()];
        for _ in 0..rounds {
            for (best, (_, durability)) in best.iter_mut().zip(MODES) {
                *best = best.max(rate(durability, in_processes, items));
            }
        }
        for (rate, (name, _)) in best.iter().zip(MODES) {
            let ratio = rate / best[0];
            println!("{workers:<12}{name:<10}{rate:>12.0}{ratio:>12.2}");
        }
    }
}
