//! Makes the ledger's writes durable: one thread, one write at a time.
//!
//! Changes that come while a write is under way go into the next one, so many puts and
//! acknowledgements share one commit. The thread sleeps while there is nothing to write, and ends
//! with its queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::core::Core;
use crate::error::Kind;
use crate::fail;
use crate::handler::attempt::message_of;
use crate::store::Store;
use crate::sys::signals;

/// The name of the thread that writes a journal.
pub(super) const THREAD: &str = "dishrack-journal";

/// The way to the thread. When it is dropped, the thread ends.
#[derive(Debug)]
pub(super) struct Committer(Sender<()>);

impl Committer {
    pub(super) fn channel() -> (Self, Receiver<()>) {
        let (sender, calls) = bounded(1);
        (Committer(sender), calls)
    }

    pub(super) fn call(&self) {
        // It is full if the thread was called already, and disconnected where there is no journal.
        let _ = self.0.try_send(());
    }
}

pub(super) fn start(
    core: Arc<Mutex<Core>>,
    store: Arc<dyn Store>,
    calls: Receiver<()>,
) -> Result<JoinHandle<()>, Kind> {
    std::thread::Builder::new()
        .name(THREAD.into())
        .spawn(move || {
            signals::block_all();
            for () in &calls {
                write_all(&core, &*store);
            }
        })
        .map_err(Kind::io("starting the journal's thread"))
}

/// Writes until there is nothing left to write. Reports made meanwhile call the program's own code;
/// a panic in it breaks the queue off, so that no caller waits for ever.
pub(super) fn write_all(core: &Mutex<Core>, store: &dyn Store) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| write(core, store))) {
        let why = format!("internal error: {}", message_of(&*panic));
        super::with(core, |core| core.break_off(why));
    }
}

fn write(core: &Mutex<Core>, store: &dyn Store) {
    let mut next = super::with(core, |core| core.dispatcher.ledger.poll_write());
    while let Some(write) = next {
        fail::point("commit: begin");
        let result = store.commit(&write);
        fail::point("commit: durable, not told");
        next = super::with_or_break_off(
            core,
            |core| core.written(write.number, result),
            Core::break_off,
        );
        fail::point("commit: told");
    }
}
