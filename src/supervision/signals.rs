//! Signal masks of our own threads.
//!
//! ipc-channel does not try again after an interrupted call, and a signal handler of the program
//! should run in the program's threads: so every thread that this crate starts blocks all signals
//! that can be blocked. Catching signals is the program's business; the command line does it.

use nix::sys::signal::{SigSet, SigmaskHow};

/// Does something with all signals blocked: a program's thread sends, and must not be interrupted
/// with half a message gone.
pub(crate) fn with_all_blocked<R>(act: impl FnOnce() -> R) -> R {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let result = act();
    if let Ok(before) = before {
        // Fails only for an invalid argument.
        let _ = before.thread_set_mask();
    }
    result
}

/// Blocks every signal in the calling thread.
pub(crate) fn block_all() {
    // Fails only for an invalid argument.
    let _ = SigSet::all().thread_block();
}
