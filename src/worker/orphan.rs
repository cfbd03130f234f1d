//! Ends a worker process when its supervisor is gone.
//!
//! At a parent's end the kernel signals each thread that has asked for it, by the signal that the
//! thread has chosen. A worker first chooses SIGKILL, which works in every state but leaves behind
//! what the worker has started. Once there is a handler that ends those processes too, and a thread
//! that gets SIGCONT in case this process is stopped by then, the first thread chooses SIGHUP
//! instead. So at no moment can a stopped worker outlive its supervisor.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::getppid;

use crate::sys::{exit, signals};

/// The other work of the thread that wakes a stopped worker.
type Task = Box<dyn FnOnce() + Send>;

/// The thread whose SIGCONT wakes this process if it is stopped when its supervisor dies. That
/// needs no processor time, so the thread reads the channel as well, once there is one.
#[derive(Debug)]
pub(super) struct Waker(Sender<Task>);

impl Waker {
    /// Gives that thread this work for the rest of its life.
    pub(super) fn run(self, task: impl FnOnce() + Send + 'static) {
        // The thread waits for this message, so it is there.
        let _ = self.0.send(Box::new(task));
    }
}

/// Asks for SIGKILL at the parent's death, first of all. A spawned worker did so before its exec.
pub(super) fn die_with(supervisor: u32) {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    end_without(supervisor);
}

/// Lets this process end what it has started at its supervisor's end. The first thread calls this.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn watch(supervisor: u32) -> io::Result<Waker> {
    SUPERVISOR.store(supervisor, Ordering::Relaxed);
    let handler = SigHandler::Handler(on_hangup);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler calls only functions that are safe in a signal handler.
    let is_set = unsafe { sigaction(Signal::SIGHUP, &action) }.is_ok();
    let (waker, is_armed) = start_waker()?;
    // Unless both succeed, SIGKILL stays.
    if is_set && is_armed {
        let _ = prctl::set_pdeathsig(Signal::SIGHUP);
    }
    end_without(supervisor);
    Ok(waker)
}

/// Starts the thread. Returns `true` with it if the kernel will wake it.
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

/// Ends this process if the supervisor died before the signal was asked for.
fn end_without(supervisor: u32) {
    if u32::try_from(getppid().as_raw()) != Ok(supervisor) {
        exit::as_orphan();
    }
}

static SUPERVISOR: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_hangup(_: libc::c_int) {
    let supervisor = SUPERVISOR.load(Ordering::Relaxed);
    if u32::try_from(getppid().as_raw()) != Ok(supervisor) {
        // It makes only calls that a signal handler may make.
        exit::as_orphan_in_handler();
    }
}
