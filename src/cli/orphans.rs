//! The end of processes that were left to this one, because it is PID 1 of a container or a subreaper:
//! the supervisor is told of it as soon as it happens.

use std::io;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use signal_hook::iterator::Signals;

use crate::supervision::{Supervisor, are_orphans_adopted};
use crate::sys::threads::spawn;

/// Has orphans waited for when they end, where there can be any.
///
/// # Errors
/// There can be no thread, or no handler.
pub(super) fn reap<T: 'static>(pool: &Arc<Supervisor<T, ()>>) -> io::Result<()> {
    if !are_orphans_adopted() {
        return Ok(());
    }
    let ended = Signal::SIGCHLD;
    let mut signals = Signals::new([ended as i32])?;
    // The pool is not to live for this.
    let pool = Arc::downgrade(pool);
    let listen = move || {
        let _ = SigSet::from_iter([ended]).thread_unblock();
        // Some may have ended before they could be heard of.
        let times = std::iter::once(()).chain(signals.forever().map(drop));
        for pool in times.map_while(|()| pool.upgrade()) {
            pool.reap_orphans();
        }
    };
    spawn("orphans", listen)
}
