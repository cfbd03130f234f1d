//! Makes the ledger's writes durable: one thread, one write at a time.
//!
//! Changes that come while a write is under way go into the next one, so many puts and
//! acknowledgements share one commit. The thread sleeps while there is nothing to write, and ends
//! with its queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;

use super::core::Core;
use super::monitor::Monitor;
use crate::error::Kind;
use crate::fail;
use crate::handler::attempt::message_of;
use crate::store::Store;
use crate::sys::signals;

/// The name of the thread that writes a journal.
pub(super) const THREAD: &str = "dishrack-journal";

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
                write_all(&monitor, &*store);
            }
        })
        .map_err(Kind::io("starting the journal's thread"))
}

/// Writes until there is nothing left to write. Reports made meanwhile call the program's own code;
/// a panic in it breaks the queue off, so that no caller waits for ever.
pub(super) fn write_all(monitor: &Monitor, store: &dyn Store) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| write(monitor, store))) {
        let why = format!("internal error: {}", message_of(&*panic));
        monitor.with(|core| core.break_off(why));
    }
}

fn write(monitor: &Monitor, store: &dyn Store) {
    let mut next = monitor.with(|core| core.dispatcher.ledger.poll_write());
    while let Some(write) = next {
        fail::point("commit: begin");
        let result = store.commit(&write);
        fail::point("commit: durable, not told");
        next =
            monitor.with_or_break_off(|core| core.written(write.number, result), Core::break_off);
        fail::point("commit: told");
    }
}
