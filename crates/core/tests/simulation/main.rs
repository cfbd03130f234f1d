//! A deterministic simulator: thousands of small worlds in which everything goes wrong that can,
//! each from a seed, and promises that must hold in all of them.
//!
//! Real are the ledger (`ledger`), who is answered (`dispatcher`), the rules of
//! a worker's life (`pool`), and what the journal's rows are and
//! mean (`book`). Mirrored, because the real ones are full of threads and processes, are
//! who is charged with a death (`world/pool`), and a worker's side of its link (`process`). Made up
//! are the clock, the scheduler, the ways of the link, the disk, and everybody who puts, joins,
//! cancels and kills.
//!
//! A second kind of world is a fleet (`fleet`): several supervisors over one stream (`stream`, a model
//! of the one in Redis), which their calls reach or do not.
//!
//! `SEEDS=n` tries so many seeds; `SEED=n` shows one world and one fleet, step by step.

#[path = "../shared/tables.rs"]
mod tables;
#[path = "../../../../tests/shared/trials.rs"]
mod trials;

mod chance;
mod coverage;
mod disk;
mod dispatcher;
mod envelope;
mod fleet;
mod fleets;
mod life;
mod plan;
mod planted;
mod process;
mod runs;
mod slot;
mod stream;
mod truth;
mod world;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    runs::quiet_expected_panics();
    libtest_mimic::run(&arguments, runs::chosen()).exit();
}
