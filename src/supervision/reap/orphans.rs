//! Children that this program did not start: processes that workers started, when their own parents
//! have ended and this process is PID 1 of its container, or a subreaper.
//!
//! The kernel gives them to this process and keeps each that has ended until it is waited for. The
//! command line has no children besides its workers, so it waits for every other child. A program
//! may have children of its own and needs their ends itself: there, only the processes in a
//! worker's process group are waited for.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl::get_child_subreaper;
use nix::unistd::getpid;

use super::{Reaper, is_watched};
use crate::sys::signals;

/// The children that are waited for besides the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OrphanScope {
    /// All children.
    Process,
    /// Those in workers' process groups.
    Groups,
}

/// The processes that were left to this one.
#[derive(Debug)]
pub(super) struct Orphans {
    scope: OrphanScope,
    /// Groups that have members left, after their leaders, the workers, have been waited for.
    leaderless: BTreeSet<u32>,
}

/// Returns `true` if the kernel gives this process children that it has not started.
pub(crate) fn are_adopted() -> bool {
    getpid().as_raw() == 1 || get_child_subreaper().unwrap_or(false)
}

impl Orphans {
    /// Makes the account of orphans, if there can be any.
    pub(super) fn new(owns_process: bool) -> Option<Self> {
        let scope = match owns_process {
            true => OrphanScope::Process,
            false => OrphanScope::Groups,
        };
        are_adopted().then_some(Orphans {
            scope,
            leaderless: BTreeSet::new(),
        })
    }
}

impl Reaper {
    /// Begins to wait for children that are left to this process, too, if there can be any.
    pub(crate) fn adopt(&mut self, owns_process: bool) {
        self.orphans = Orphans::new(owns_process);
    }

    /// Notes that a group's leader has been waited for. The group keeps its number while it has
    /// members.
    pub(super) fn orphan(&mut self, group: u32) {
        if let Some(orphans) = &mut self.orphans
            && orphans.scope == OrphanScope::Groups
        {
            orphans.leaderless.insert(group);
        }
    }

    /// Waits for orphans that have ended. Call it only when no child is about to be watched,
    /// because an unknown child would be taken for an orphan.
    pub(crate) fn reap_orphans(&mut self) {
        let Some(mut orphans) = self.orphans.take() else {
            return;
        };
        match orphans.scope {
            OrphanScope::Process => drop(Self::reap_all(Whom::Anybody)),
            OrphanScope::Groups => {
                let leaders = self.children.values().filter(|child| child.leads_group);
                for leader in leaders {
                    Self::reap_all(Whom::Group(leader.pid));
                }
                let is_somebody_left =
                    |group: &u32| Self::reap_all(Whom::Group(*group)) == Left::Somebody;
                orphans.leaderless.retain(is_somebody_left);
            }
        }
        self.orphans = Some(orphans);
    }

    /// Waits for all of these that have ended and are not watched, here or by another reaper. A watched
    /// one is reported by its pidfd, and the children behind it are waited for after that.
    fn reap_all(whom: Whom) -> Left {
        loop {
            match wait_for(whom, libc::WNOHANG | libc::WNOWAIT) {
                Ok(Some(pid)) if is_watched(pid) => return Left::Somebody,
                Ok(Some(pid)) if wait_for(Whom::One(pid), libc::WNOHANG).is_ok() => {}
                Ok(_) => return Left::Somebody,
                Err(_) => return Left::Nobody,
            }
        }
    }

    /// Waits for the rest of the workers' groups, which is ending, in a thread that is never
    /// joined.
    pub(crate) fn leave_orphans(mut self) {
        self.reap_orphans();
        let Some(orphans) = self.orphans.take() else {
            return;
        };
        if orphans.leaderless.is_empty() {
            return;
        }
        let wait = move || {
            signals::block_all();
            for group in orphans.leaderless {
                while wait_for(Whom::Group(group), 0).is_ok() {}
            }
        };
        // Without the thread, they stay until this process ends.
        let thread = std::thread::Builder::new().name("dishrack-orphans".into());
        let _ = thread.stack_size(64 * 1024).spawn(wait);
    }
}

/// The children that are left after the ended ones have been waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Some live, or are watched.
    Somebody,
    Nobody,
}

/// The children to wait for.
#[derive(Debug, Clone, Copy)]
enum Whom {
    Anybody,
    Group(u32),
    One(u32),
}

/// Waits for a child that ends, and returns its pid. Returns `None` if none has ended and `options`
/// forbid to wait. Unlike the libraries' calls, this one returns the pid for every signal.
///
/// # Errors
/// There is no such child.
fn wait_for(whom: Whom, options: libc::c_int) -> Result<Option<u32>, Errno> {
    let (kind, number) = match whom {
        Whom::Anybody => (libc::P_ALL, 0),
        Whom::Group(number) => (libc::P_PGID, number),
        Whom::One(number) => (libc::P_PID, number),
    };
    loop {
        // SAFETY: all zeros are a valid value, and the call only writes to it. On success it has
        // set the pid, to zero if no child has ended.
        let (waited, pid) = unsafe {
            let mut ended = std::mem::zeroed::<libc::siginfo_t>();
            let waited = libc::waitid(kind, number, &raw mut ended, options | libc::WEXITED);
            (Errno::result(waited), ended.si_pid())
        };
        match waited {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(u32::try_from(pid).ok().filter(|pid| *pid != 0)),
        }
    }
}

/// Returns `true` if this is a child of this process that has not been waited for.
pub(super) fn is_child(pid: u32) -> bool {
    wait_for(Whom::One(pid), libc::WNOHANG | libc::WNOWAIT).is_ok()
}
