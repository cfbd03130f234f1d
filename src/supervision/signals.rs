//! Signal masks of our own threads.
//!
//! ipc-channel does not try again after an interrupted call, and a signal handler of the program
//! should run in the program's threads: so every thread that this crate starts blocks all signals
//! that can be blocked. Catching signals is the program's business; the command line does it.

use nix::sys::signal::SigSet;

/// Blocks every signal in the calling thread.
pub(crate) fn block_all() {
    // Fails only for an invalid argument.
    let _ = SigSet::all().thread_block();
}
