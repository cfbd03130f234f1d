//! Whether this process is a copy of one that works: what a handler forked, and let return from the
//! handler, would take deliveries and speak for them as if it were the process that was started.
//!
//! A page of memory tells, at the cost of reading it: the kernel wipes it in whatever is forked
//! (`MADV_WIPEONFORK`), by whichever call. It knows nothing of deliveries.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

use crate::sys::exit;

/// A page at least, of any machine.
const PAGE_BYTES: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();

/// What the page says here.
enum Sign {
    /// Not 0, unless this is a copy.
    Page(NonNull<AtomicU32>),
    /// Where the kernel cannot wipe pages (before 4.14), the process that works is known by its pid.
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
        // SAFETY: it is this mapping, which nobody else knows of.
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

/// This process works, and what is forked from now on is its copy.
pub(crate) fn mark() {
    let word = SIGN.get_or_init(Sign::new).word();
    word.store(std::process::id(), Ordering::Relaxed);
}

/// Whether this process is a copy of one that works.
pub(crate) fn is_copy() -> bool {
    match SIGN.get() {
        None => false,
        Some(sign @ Sign::Page(_)) => sign.word().load(Ordering::Relaxed) == 0,
        Some(Sign::Pid(word)) => word.load(Ordering::Relaxed) != std::process::id(),
    }
}

/// Ends this process if it is a copy: only the one that was started may go on with its items.
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
