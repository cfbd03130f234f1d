//! What ends a worker process when its supervisor is gone.
//!
//! The kernel signals the end of a parent to each thread that has asked for it, by the signal that
//! this thread has asked for. From its first moment on a worker has asked for SIGKILL, which serves
//! in every state, and leaves behind what the worker has started. When there is a handler that takes
//! that along, and a thread that is sent SIGCONT, should this process be stopped by then, the first
//! thread asks for SIGHUP instead. So there is no moment in which a stopped worker outlives its
//! supervisor.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::getppid;

use crate::sys::{exit, signals};

/// What the thread that wakes a stopped worker does besides.
type Task = Box<dyn FnOnce() + Send>;

/// The thread that wakes this process, should it be stopped when its supervisor dies. It needs no
/// processor time, so it reads the channel as well, when there is one.
#[derive(Debug)]
pub(super) struct Waker(Sender<Task>);

impl Waker {
    /// Has that thread do this for the rest of its life.
    pub(super) fn run(self, task: impl FnOnce() + Send + 'static) {
        // It waits for nothing else.
        let _ = self.0.send(Box::new(task));
    }
}

/// Asks for SIGKILL, by the first thing that a forked worker does; a spawned one has done so before
/// it was executed.
pub(super) fn die_with(supervisor: u32) {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    end_without(supervisor);
}

/// Has this process take along what it has started, when the supervisor is gone. To be called in its
/// first thread.
///
/// # Errors
/// There can be no thread.
pub(super) fn watch(supervisor: u32) -> io::Result<Waker> {
    SUPERVISOR.store(supervisor, Ordering::Relaxed);
    let handler = SigHandler::Handler(on_hangup);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler calls only functions that are safe in a signal handler.
    let is_set = unsafe { sigaction(Signal::SIGHUP, &action) }.is_ok();
    let (waker, is_armed) = start_waker()?;
    // Without either of them SIGKILL it stays.
    if is_set && is_armed {
        let _ = prctl::set_pdeathsig(Signal::SIGHUP);
    }
    end_without(supervisor);
    Ok(waker)
}

/// Starts the thread; whether the kernel will wake it.
fn start_waker() -> io::Result<(Waker, bool)> {
    let (tasks, task) = channel::<Task>();
    let (told, armed) = channel();
    std::thread::Builder::new()
        .name("dishrack-read".into())
        .stack_size(256 * 1024)
        .spawn(move || {
            signals::block_all();
            let _ = told.send(prctl::set_pdeathsig(Signal::SIGCONT).is_ok());
            if let Ok(task) = task.recv() {
                task();
            }
        })?;
    Ok((Waker(tasks), armed.recv() == Ok(true)))
}

/// The supervisor may have died before it was asked what to do then.
fn end_without(supervisor: u32) {
    if u32::try_from(getppid().as_raw()) != Ok(supervisor) {
        exit::as_orphan();
    }
}

static SUPERVISOR: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_hangup(_: libc::c_int) {
    let supervisor = SUPERVISOR.load(Ordering::Relaxed);
    if u32::try_from(getppid().as_raw()) != Ok(supervisor) {
        // Only calls that a signal handler may make follow.
        exit::as_orphan_in_handler();
    }
}
