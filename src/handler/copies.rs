//! Tells whether this process is a copy of a worker. A child that a handler forked and let return
//! from the handler would take deliveries and acknowledge them as if it were the worker itself.
//!
//! The check costs one read of a page of memory, which the kernel wipes in every forked child
//! (`MADV_WIPEONFORK`), whichever call made it. The module knows nothing of deliveries.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

use crate::sys::exit;

/// The size of the mapping: at least a page on any machine.
const PAGE_BYTES: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();

/// The sign that tells an original from a copy.
enum Sign {
    /// A word that is 0 only in a copy.
    Page(NonNull<AtomicU32>),
    /// The original's pid, where the kernel cannot wipe pages (before 4.14).
    Pid(AtomicU32),
}

// SAFETY: the page is never unmapped, and all access to it is atomic.
unsafe impl Send for Sign {}
// SAFETY: as above.
unsafe impl Sync for Sign {}

static SIGN: OnceLock<Sign> = OnceLock::new();

impl Sign {
    fn new() -> Self {
        let unknown = || Sign::Pid(AtomicU32::new(0));
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let page = unsafe { mmap_anonymous(None, PAGE_BYTES, access, MapFlags::MAP_PRIVATE) };
        let Ok(page) = page else {
            return unknown();
        };
        // SAFETY: it is this mapping, which no other code knows of.
        match unsafe { madvise(page, PAGE_BYTES.get(), MmapAdvise::MADV_WIPEONFORK) } {
            Ok(()) => Sign::Page(page.cast()),
            Err(_) => unknown(),
        }
    }

    fn word(&self) -> &AtomicU32 {
        match self {
            // SAFETY: mapped for ever, aligned as a page is, and only used as this.
            Sign::Page(page) => unsafe { page.as_ref() },
            Sign::Pid(word) => word,
        }
    }
}

/// Marks this process as the original of those that are forked from now on.
pub(crate) fn mark() {
    let word = SIGN.get_or_init(Sign::new).word();
    word.store(std::process::id(), Ordering::Relaxed);
}

/// Returns `true` if this process is a copy of a marked one.
pub(crate) fn is_copy() -> bool {
    match SIGN.get() {
        None => false,
        Some(sign @ Sign::Page(_)) => sign.word().load(Ordering::Relaxed) == 0,
        Some(Sign::Pid(word)) => word.load(Ordering::Relaxed) != std::process::id(),
    }
}

/// Ends this process if it is a copy, because only the original may go on with its items.
pub(crate) fn end_copy() {
    if is_copy() {
        exit::as_copy();
    }
}

#[cfg(test)]
mod tests {
    use nix::libc;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    #[test]
    fn what_is_forked_is_a_copy() {
        mark();
        assert!(!is_copy());
        // SAFETY: the child makes system calls only.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = i32::from(is_copy());
                // SAFETY: it may be called anywhere.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 1)));
            }
        }
        assert!(!is_copy());
    }
}
