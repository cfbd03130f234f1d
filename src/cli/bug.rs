//! The end of the process after a bug was found in it: it says so, once. It does not know how a bug is found, nor
//! what runs.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Sender, bounded};

use super::exit_codes::{code, end};
use super::{scratch, screen};
use crate::error::contradiction;
use crate::sys::threads::{self, spawn};

/// True once a bug was found: then the process is being ended.
static IS_FOUND: AtomicBool = AtomicBool::new(false);

/// Tells the thread that ends the process.
static FOUND: OnceLock<Sender<String>> = OnceLock::new();

/// Ends the process once a bug is found, after these last words: in a thread of its own, because it may
/// be found with the queue's lock held, which the end of the control socket takes, or in a thread that this
/// end waits for.
pub(super) fn end_run_at(last_words: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (sender, found) = bounded::<String>(1);
    // A process has one run.
    let _ = FOUND.set(sender);
    spawn("bug", move || {
        if let Ok(why) = found.recv() {
            // They may end by another bug.
            threads::catch(last_words, drop);
            end_process(&why);
        }
    })
}

/// Notes a bug.
pub(super) fn found(why: String) {
    if IS_FOUND.swap(true, Ordering::AcqRel) {
        return;
    }
    match FOUND.get() {
        // It is the only one, so there is room.
        Some(sender) => drop(sender.try_send(why)),
        None => end_process(&why),
    }
}

/// Does not return if a bug was found. Whoever would end the process otherwise, or do what is not to be
/// done any more, waits here.
pub(super) fn wait_if_found() {
    while IS_FOUND.load(Ordering::Acquire) {
        std::thread::park();
    }
}

/// Ends the process, because nothing that it could still say is reliable. What was not shown stays for the
/// next run, as all that is not done.
fn end_process(why: &str) -> ! {
    scratch::keep();
    screen::complain(&contradiction(why));
    end(code::INTERNAL);
}
