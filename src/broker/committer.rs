//! Makes the ledger's writes durable: one thread, one write at a time.
//!
//! Changes that come while a write is under way go into the next one, so many puts and
//! acknowledgements share one commit. A commit costs about as much for one item as for a hundred, so
//! one that nobody waits for is put off for a moment. The thread sleeps while there is nothing to
//! write, and ends with its queue.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::core::{Core, NextWrite};
use super::monitor::Monitor;
use crate::error::Kind;
use crate::fail;
use crate::store::Store;
use crate::sys::{signals, threads};

/// The name of the thread that writes a journal.
pub(super) const THREAD: &str = "dishrack-journal";

/// The longest time for which a write is put off.
const REST: Duration = Duration::from_millis(1);

pub(super) fn start(
    monitor: Arc<Monitor>,
    store: Arc<dyn Store>,
    calls: Receiver<()>,
) -> Result<JoinHandle<()>, Kind> {
    std::thread::Builder::new()
        .name(THREAD.into())
        .spawn(move || {
            signals::block_all();
            for () in &calls {
                write_all(&monitor, &*store, Some(&calls));
            }
        })
        .map_err(Kind::io("starting the journal's thread"))
}

/// Writes until there is nothing left to write; what nobody waits for, a moment later, if the
/// `calls` that end the wait are given. A panic meanwhile, also in the program's own code that reports
/// call, ends the queue, so that no caller waits for ever.
pub(super) fn write_all(monitor: &Monitor, store: &dyn Store, calls: Option<&Receiver<()>>) {
    threads::catch(
        || write(monitor, store, calls),
        |why| monitor.lock().end_by_panic(why),
    );
}

fn write(monitor: &Monitor, store: &dyn Store, calls: Option<&Receiver<()>>) {
    let may_rest = calls.is_some();
    let mut next = monitor.with(|core| core.next_write(may_rest));
    loop {
        next = match (next, calls) {
            (NextWrite::Now(write), _) => {
                fail::point("commit: begin");
                let number = write.number;
                let result = store.commit(write);
                fail::point("commit: durable, not told");
                let told = |core: &mut Core| {
                    let next = core.written(number, result, may_rest);
                    core.follow_write(matches!(next, NextWrite::Later));
                    next
                };
                let next = monitor.with_or_end(told);
                fail::point("commit: told");
                next
            }
            (NextWrite::Later, Some(calls)) => {
                fail::point("commit: put off");
                // It does not matter if it was called, the time is over, or the queue ends.
                let _ = calls.recv_timeout(REST);
                monitor.with(|core| core.next_write(false))
            }
            (NextWrite::Later, None) | (NextWrite::Nothing, _) => return,
        }
    }
}
