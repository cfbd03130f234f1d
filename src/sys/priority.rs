//! The priorities with which a process gets processors and disks: `setpriority(2)` and `ioprio_set(2)`.

use std::io;
use std::thread;

use nix::libc;

/// A priority for a disk, as `ionice(1)` has them. A level is 0 for the first to be served, to 7 for
/// the last.
///
/// # Example
///
/// ```
/// use dishrack::{IoPriority, JoinableQueue, Supervisor};
///
/// fn shrink(picture: String) -> Result<usize, String> {
///     Ok(picture.len())
/// }
///
/// dishrack::serve(|roles| roles.handler(shrink));
/// let queue = JoinableQueue::unbounded();
/// // Whoever works on this machine has the disk first.
/// let builder = Supervisor::builder().processes(2).nice(10).io_priority(IoPriority::Idle);
/// let pool = builder.handler(&queue, shrink)?;
/// assert_eq!(pool.map(["cat.png".to_owned()]).next().unwrap().unwrap(), 7);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoPriority {
    /// Before all others; it needs the right to do that.
    Realtime(u8),
    /// As usual.
    BestEffort(u8),
    /// Only while nobody else wants the disk.
    Idle,
}

impl IoPriority {
    /// The last level.
    pub(crate) const LEVEL_MAX: u8 = 7;

    /// Returns it as the kernel has it.
    fn number(self) -> libc::c_int {
        let (class, level) = match self {
            IoPriority::Realtime(level) => (1, level),
            IoPriority::BestEffort(level) => (2, level),
            IoPriority::Idle => (3, 0),
        };
        class << 13 | libc::c_int::from(level.min(Self::LEVEL_MAX))
    }
}

/// The priorities that a process is to have; those that are not given stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Priorities {
    pub(crate) nice: Option<i32>,
    pub(crate) io: Option<IoPriority>,
}

impl Priorities {
    pub(crate) fn is_any(self) -> bool {
        self != Priorities::default()
    }

    /// Gives them to the calling thread, and so to what it starts. It only makes system calls.
    pub(crate) fn set(self) -> io::Result<()> {
        const WHO_PROCESS: libc::c_int = 1;
        if let Some(nice) = self.nice {
            // SAFETY: it takes numbers only.
            let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
            if set != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        if let Some(io) = self.io {
            // SAFETY: as above.
            let set = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, io.number()) };
            if set != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Tries whether this process may give them, on a thread that ends with that.
    pub(crate) fn try_out(self) -> io::Result<()> {
        let tried = thread::Builder::new().spawn(move || self.set())?.join();
        // It cannot panic.
        tried.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_the_kernels_number() {
        assert_eq!(IoPriority::Realtime(0).number(), 0x2000);
        assert_eq!(IoPriority::BestEffort(7).number(), 0x4007);
        assert_eq!(IoPriority::BestEffort(99).number(), 0x4007);
        assert_eq!(IoPriority::Idle.number(), 0x6000);
    }

    #[test]
    fn a_trial_changes_nothing_here() {
        // SAFETY: it takes numbers only.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let priorities = Priorities {
            nice: Some(19),
            io: Some(IoPriority::Idle),
        };
        assert!(priorities.is_any() && !Priorities::default().is_any());
        assert_eq!(priorities.try_out().ok(), Some(()));
        assert_eq!(nice(), before);
    }
}
