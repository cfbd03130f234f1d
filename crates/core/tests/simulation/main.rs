//! A deterministic simulator: thousands of small worlds with every possible fault, each from a
//! seed, and promises that must hold in all of them.
//!
//! The ledger (`ledger`), the dispatcher (`dispatcher`), the rules of a worker's life (`pool`), and
//! the rows of the journal and their meaning (`book`) are real. The charges for a death
//! (`world/pool`) and a worker's side of its link (`process`) are mirrored, because the real ones
//! are full of threads and processes, and so are clients (`client`, `world/clients`). The clock, the
//! scheduler, the links, the disk, and all callers that put, join, cancel and kill are made up.
//!
//! A second kind of world is a fleet (`fleet`): several supervisors over one stream (`stream`, a
//! model of the one in Redis), with calls that may not reach it. A third kind is a crowd (`crowd`): many items
//! that wait for their turn.
//!
//! `SEEDS=n` tries so many seeds; `SEED=n` shows one world, one fleet and one crowd, step by step.

#[path = "../shared/tables.rs"]
mod tables;
#[path = "../../../../tests/shared/trials.rs"]
mod trials;

mod chance;
mod client;
mod coverage;
mod crowd;
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
mod votes;
mod world;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    runs::quiet_expected_panics();
    libtest_mimic::run(&arguments, runs::chosen()).exit();
}
