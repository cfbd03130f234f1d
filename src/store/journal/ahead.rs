//! Syncs the log ahead of its checkpoint, in a thread of its own.
//!
//! Before SQLite writes the log into the file it syncs the log, and the journal's thread would wait
//! for the disk just when more gathers. Where commits are not synced themselves, this thread has the
//! disk take the log while it grows, so the checkpoint finds most of it done. It changes nothing in
//! any file: SQLite still syncs all itself. It knows neither commits nor rows.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use crate::fail;
use crate::sys::signals;

/// The name of the thread.
const THREAD: &str = "dishrack-sync";

/// The number of new pages in the log that are worth a sync.
const WORTH_PAGES: u32 = 500;

/// The thread, from the first sync on; and the length of the log at the last one.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    syncer: Option<Syncer>,
    pages: u32,
}

impl Ahead {
    /// Has the log synced if it has grown enough. Most journals never come so far, and have no
    /// thread for it; nor have those for which the thread cannot be made.
    pub(super) fn note(&mut self, log: &Path, pages: u32) {
        if pages < self.pages {
            // It was written into the file, and began anew.
            self.pages = 0;
        }
        if pages - self.pages < WORTH_PAGES {
            return;
        }
        self.pages = pages;
        if self.syncer.is_none() {
            self.syncer = Syncer::start(log).ok();
        }
        if let Some(syncer) = &self.syncer {
            syncer.call();
        }
    }
}

#[derive(Debug)]
struct Syncer {
    /// `None` when it is to end.
    calls: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread. The log is not replaced while its journal is in use, and SQLite has no
    /// locks on it which would end when this descriptor is closed.
    fn start(log: &Path) -> io::Result<Self> {
        let log = File::open(log)?;
        let (calls, called) = bounded(1);
        let thread = std::thread::Builder::new().name(THREAD.into());
        let thread = thread.spawn(move || {
            signals::block_all();
            for () in called {
                // A failure is told to each descriptor of the file, so SQLite's own sync hears of it.
                let _ = log.sync_data();
                fail::point("journal: its log synced ahead");
            }
        })?;
        Ok(Syncer {
            calls: Some(calls),
            thread: Some(thread),
        })
    }

    /// Asks for a sync. One that is asked for already will do.
    fn call(&self) {
        if let Some(calls) = &self.calls {
            let _ = calls.try_send(());
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}
