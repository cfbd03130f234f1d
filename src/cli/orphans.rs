//! The end of processes that were left to this one because it is PID 1 of a container or a
//! subreaper: tells the supervisor as soon as one ends.

use std::io;
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use signal_hook::iterator::Signals;

use crate::Supervisor;
use crate::sys::threads::spawn;

/// Makes the supervisor wait for orphans when they end, if there can be any.
///
/// # Errors
/// The thread or the handler cannot be installed.
pub(super) fn reap<T: 'static, R: 'static>(pool: &Arc<Supervisor<T, R>>) -> io::Result<()> {
    if !Supervisor::adopts_orphans() {
        return Ok(());
    }
    let ended = Signal::SIGCHLD;
    let mut signals = Signals::new([ended as i32])?;
    // The thread must not keep the pool alive.
    let pool = Arc::downgrade(pool);
    let listen = move || {
        let _ = SigSet::from_iter([ended]).thread_unblock();
        // Some may have ended before the handler was there.
        let times = std::iter::once(()).chain(signals.forever().map(drop));
        for pool in times.map_while(|()| pool.upgrade()) {
            pool.reap_orphans();
        }
    };
    spawn("orphans", listen)
}
