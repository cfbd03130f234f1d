//! Signals: the masks of our own threads, and the signals ignored by this process and at its start.
//!
//! ipc-channel does not try again after an interrupted call, and a signal handler of the program
//! should run in the program's threads. So every thread that this crate starts blocks all signals
//! that can be blocked. Catching signals is the program's business; the command line does it.
//!
//! An ignored signal stays ignored after an exec, so the process that starts this one decides about
//! it, knowingly or not. Signals that we ignore are restored in every process that we start.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Runs `act` with all signals blocked, because a program's thread that sends must not be
/// interrupted in the middle of a message.
pub(crate) fn with_all_blocked<R>(act: impl FnOnce() -> R) -> R {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let result = act();
    if let Ok(before) = before {
        // It fails only for an invalid argument.
        let _ = before.thread_set_mask();
    }
    result
}

/// Blocks every signal in the calling thread.
pub(crate) fn block_all() {
    // It fails only for an invalid argument.
    let _ = SigSet::all().thread_block();
}

/// A set of signals: signal n is bit n - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signals(pub(super) u64);

impl Signals {
    pub(crate) fn has(self, number: i32) -> bool {
        self.0 & bit(number) != 0
    }
}

/// The number of signals on Linux.
pub(crate) const NUMBER_MAX: i32 = 64;

pub(super) const fn bit(number: i32) -> u64 {
    1 << (number - 1)
}

/// Returns the signals that this process ignored when it was started. The first call notes them,
/// and must come before any of them is changed.
pub(crate) fn inherited() -> Signals {
    static INHERITED: OnceLock<Signals> = OnceLock::new();
    *INHERITED.get_or_init(|| {
        let ignored = (1..=NUMBER_MAX).filter(|number| {
            action_of(*number).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
        });
        Signals(ignored.map(bit).fold(0, |bits, bit| bits | bit))
    })
}

/// Returns this process's action on a signal; `None` for those reserved by the C library.
fn action_of(number: i32) -> Option<libc::sigaction> {
    // SAFETY: all zeros are a valid value, and the call only writes to it.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        let done = libc::sigaction(number, ptr::null(), &raw mut action);
        (done == 0).then_some(action)
    }
}

/// The signals that we ignore, and that were not ignored before.
static IGNORED_BY_US: AtomicU64 = AtomicU64::new(0);

/// Ignores a signal in this process; processes that it starts get the default back.
pub(crate) fn ignore(signal: Signal) {
    let number = signal as i32;
    let is_default = action_of(number).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL);
    if is_default && set(number, libc::SIG_IGN).is_ok() {
        IGNORED_BY_US.fetch_or(bit(number), Ordering::SeqCst);
    }
}

/// Restores the default of a signal, if we ignored it.
pub(crate) fn stop_ignoring(signal: Signal) {
    let number = signal as i32;
    let ours = Signals(IGNORED_BY_US.fetch_and(!bit(number), Ordering::SeqCst));
    if ours.has(number) {
        // It fails only for an invalid argument.
        let _ = set(number, libc::SIG_DFL);
    }
}

/// Leaves to a program that is about to be executed what this process was started with: what we
/// ignore is given back, as is SIGPIPE, which Rust's runtime ignores, no handler is left, and then
/// no signal is blocked. Only system calls are made, and not by the C library's functions: one
/// takes a lock.
///
/// # Errors
/// Only for an invalid argument.
pub(crate) fn reset_for_exec() -> Result<(), Errno> {
    let ours = Signals(IGNORED_BY_US.load(Ordering::SeqCst));
    for number in 1..=NUMBER_MAX {
        // Exec does that as well, but this process may share memory with the one that it is made
        // by, and a handler that runs before exec would run there.
        let is_handled = !matches!(kernels_handler_of(number)?, libc::SIG_DFL | libc::SIG_IGN);
        if is_handled || ours.has(number) || number == libc::SIGPIPE {
            set_in_kernel(number, libc::SIG_DFL)?;
        }
    }
    SigSet::empty().thread_set_mask()
}

/// The kernel's word for an action: longer than it is anywhere, and all zeros are the default one.
type KernelAction = [usize; 8];

/// The number of bytes in the kernel's set of signals.
const KERNEL_SET_BYTES: usize = 8;

/// The handler of a signal, which is the first word of its action.
pub(super) fn kernels_handler_of(number: i32) -> Result<libc::sighandler_t, Errno> {
    let mut action: KernelAction = [0; 8];
    let (unchanged, found) = (ptr::null::<KernelAction>(), &raw mut action);
    // SAFETY: the call only writes to the action, which is long enough.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            unchanged,
            found,
            KERNEL_SET_BYTES,
        )
    };
    Errno::result(asked).map(|_| action[0])
}

/// Sets the default action, or that a signal is ignored.
pub(super) fn set_in_kernel(number: i32, disposition: libc::sighandler_t) -> Result<(), Errno> {
    let mut action: KernelAction = [0; 8];
    action[0] = disposition;
    let (wanted, unasked) = (&raw const action, ptr::null_mut::<KernelAction>());
    // SAFETY: neither SIG_DFL nor SIG_IGN is a handler.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            wanted,
            unasked,
            KERNEL_SET_BYTES,
        )
    };
    Errno::result(done).map(drop)
}

/// Sets the action on a signal, by a system call alone.
fn set(number: i32, disposition: libc::sighandler_t) -> Result<(), Errno> {
    // SAFETY: neither SIG_DFL nor SIG_IGN is a handler, and all zeros are a valid value.
    let done = unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = disposition;
        libc::sigaction(number, &raw const action, ptr::null_mut())
    };
    Errno::result(done).map(drop)
}

/// Returns `true` if the kernel keeps the exit of a child until it is asked for. It does not where
/// SIGCHLD is ignored (`sigaction(2)`, notes).
pub(crate) fn are_exits_kept() -> bool {
    action_of(libc::SIGCHLD).is_none_or(|action| {
        action.sa_sigaction != libc::SIG_IGN && action.sa_flags & libc::SA_NOCLDWAIT == 0
    })
}

/// Makes the kernel keep the exits of this process's children, whatever it was started with.
pub(crate) fn keep_exits() {
    if !are_exits_kept() {
        // It fails only for an invalid argument.
        let _ = set(libc::SIGCHLD, libc::SIG_DFL);
    }
}
