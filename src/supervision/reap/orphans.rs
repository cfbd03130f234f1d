//! Children that nobody here has started: what workers have started, when its own parents have ended
//! and this process is PID 1 of its container, or a subreaper.
//!
//! The kernel gives them to us and keeps each that has ended until it is asked for, so somebody must
//! ask. Which are ours to ask for depends on whose process this is. The command line's has no other
//! children than its workers, so whatever else has ended is waited for. A program may have children of
//! its own, whose ends are for it to see: there, only what is in a worker's process group is ours.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl::get_child_subreaper;
use nix::unistd::getpid;

use super::Reaper;
use crate::sys::signals;

/// Whose children are waited for besides the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Everybody's.
    Process,
    /// Those in workers' process groups.
    Groups,
}

/// What has been left to this process.
#[derive(Debug)]
pub(super) struct Orphans {
    scope: Scope,
    /// Groups whose leaders, our workers, have been waited for, and in which somebody is left.
    leaderless: BTreeSet<u32>,
}

/// Whether the kernel gives this process children that it has not started.
pub(crate) fn are_adopted() -> bool {
    getpid().as_raw() == 1 || get_child_subreaper().unwrap_or(false)
}

impl Orphans {
    /// What there is to be waited for, if there can be anything.
    pub(super) fn new(owns_process: bool) -> Option<Self> {
        let scope = match owns_process {
            true => Scope::Process,
            false => Scope::Groups,
        };
        are_adopted().then_some(Orphans {
            scope,
            leaderless: BTreeSet::new(),
        })
    }
}

impl Reaper {
    /// From now on children that are left to this process are waited for, too, if there can be any.
    pub(crate) fn adopt(&mut self, owns_process: bool) {
        self.orphans = Orphans::new(owns_process);
    }

    /// A group's leader has been waited for. Its number is the group's for as long as anybody is in it.
    pub(super) fn orphan(&mut self, group: u32) {
        if let Some(orphans) = &mut self.orphans
            && orphans.scope == Scope::Groups
        {
            orphans.leaderless.insert(group);
        }
    }

    /// Waits for those who have been left to this process and have ended. Nobody may be about to be
    /// watched: an unknown child would be taken for an orphan.
    pub(crate) fn reap_orphans(&mut self) {
        let Some(mut orphans) = self.orphans.take() else {
            return;
        };
        match orphans.scope {
            Scope::Process => drop(self.reap_all(Whom::Anybody)),
            Scope::Groups => {
                let leaders = self.children.values().filter(|child| child.leads_group);
                for leader in leaders {
                    self.reap_all(Whom::Group(leader.pid));
                }
                let is_somebody_left =
                    |group: &u32| self.reap_all(Whom::Group(*group)) == Left::Somebody;
                orphans.leaderless.retain(is_somebody_left);
            }
        }
        self.orphans = Some(orphans);
    }

    /// Waits for all of these who have ended and are not watched. One who is watched comes by its pidfd;
    /// whoever stands behind it is waited for after that.
    fn reap_all(&self, whom: Whom) -> Left {
        loop {
            match wait_for(whom, libc::WNOHANG | libc::WNOWAIT) {
                Ok(Some(pid)) if self.children.values().any(|child| child.pid == pid) => {
                    return Left::Somebody;
                }
                Ok(Some(pid)) if wait_for(Whom::One(pid), libc::WNOHANG).is_ok() => {}
                Ok(_) => return Left::Somebody,
                Err(_) => return Left::Nobody,
            }
        }
    }

    /// The workers are over, and whatever was in their groups is ending: that is waited for by a thread
    /// that nobody waits for.
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
        // Where there can be no thread, they stay until this process ends.
        let thread = std::thread::Builder::new().name("dishrack-orphans".into());
        let _ = thread.stack_size(64 * 1024).spawn(wait);
    }
}

/// Who is left when those who have ended are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Some live, or are watched.
    Somebody,
    Nobody,
}

/// Which children are meant.
#[derive(Debug, Clone, Copy)]
enum Whom {
    Anybody,
    Group(u32),
    One(u32),
}

/// Waits for one who ends; who that is. `None` where nobody has ended and that was not to be waited
/// for. Unlike the libraries' calls, this one tells the pid whatever signal has ended it.
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
        // SAFETY: all zeros are a valid value, and the call only writes to it; where it succeeds it has
        // set the pid, to zero for nobody.
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

/// Whether this is a child of this process that nobody has waited for.
pub(super) fn is_child(pid: u32) -> bool {
    wait_for(Whom::One(pid), libc::WNOHANG | libc::WNOWAIT).is_ok()
}
