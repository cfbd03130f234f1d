//! The only place that waits for child processes.
//!
//! Each child has a pidfd, which becomes readable when it ends: no signal handler, no polling, and
//! no other child is touched. Before a child's pid is given back to the kernel, its process group
//! is killed, so that the child's own children do not stay behind.

mod orphans;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill};
use nix::unistd;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid,
};

use self::orphans::Orphans;
pub(crate) use self::orphans::are_adopted;
use super::keeper::Keeper;
use crate::sys::groups::await_end;
use crate::sys::program::Image;
use crate::sys::tokens::TokenPipe;
use dishrack_core::ledger::Exit;

/// The mark of the event that wakes the reaper.
const WAKE: u64 = u64::MAX;

/// The time that a killed group may take to end.
const TIME_TO_END: Duration = Duration::from_secs(1);

/// The keeper's key.
const KEEPER: u64 = u64::MAX - 2;

/// The children of this process that some reaper waits for, so that no other one takes them for
/// orphans. Beside each is its pidfd, because a pid that was waited for may be another child's at once.
static WATCHED: Mutex<BTreeSet<(u32, RawFd)>> = Mutex::new(BTreeSet::new());

/// Returns `true` if some reaper waits for this child.
fn is_watched(pid: u32) -> bool {
    let watched = WATCHED.lock();
    watched
        .range((pid, RawFd::MIN)..=(pid, RawFd::MAX))
        .next()
        .is_some()
}

#[derive(Debug)]
struct WatchedChild {
    pid: u32,
    pidfd: OwnedFd,
    /// True if its process group is killed with it.
    leads_group: bool,
}

impl Drop for WatchedChild {
    fn drop(&mut self) {
        WATCHED.lock().remove(&(self.pid, self.pidfd.as_raw_fd()));
    }
}

impl WatchedChild {
    fn kill_group(&self) {
        self.signal_group(Signal::SIGKILL);
    }

    /// Waits until nothing of its group runs, which was killed.
    fn await_group(&self) {
        if let Ok(pid) = i32::try_from(self.pid) {
            await_end(pid, TIME_TO_END);
        }
    }

    fn signal_group(&self, signal: Signal) {
        if self.leads_group
            && let Ok(pid) = i32::try_from(self.pid)
        {
            // The group is empty, most often.
            let _ = kill(unistd::Pid::from_raw(-pid), signal);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Reaper {
    epoll: Epoll,
    wake: Arc<EventFd>,
    children: HashMap<u64, WatchedChild>,
    keeper: Option<Keeper>,
    /// The program that is executed as a keeper, if it is not this one again.
    image: Option<Arc<Image>>,
    /// The tokens of a job server, if items need some.
    tokens: Option<Arc<TokenPipe>>,
    orphans: Option<Orphans>,
}

impl Reaper {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Reaper {
            epoll,
            wake: Arc::new(wake),
            children: HashMap::new(),
            keeper: None,
            image: None,
            tokens: None,
            orphans: None,
        })
    }

    /// Returns the waker. Writing to it wakes [`wait`](Self::wait).
    pub(crate) fn waker(&self) -> Arc<EventFd> {
        Arc::clone(&self.wake)
    }

    /// Starts a keeper for the groups of the watched children: this program again, or another one.
    pub(crate) fn keep(
        &mut self,
        image: Option<Arc<Image>>,
        tokens: Option<Arc<TokenPipe>>,
    ) -> io::Result<()> {
        self.image = image;
        self.tokens = tokens;
        let groups = self.children.values().filter(|child| child.leads_group);
        let groups = groups.map(|child| child.pid);
        let keeper = Keeper::start(self.image.as_deref(), groups, self.tokens.as_deref())?;
        self.watch_as(KEEPER, keeper.pid, false)?;
        self.keeper = Some(keeper);
        Ok(())
    }

    /// Ends the keeper, which is not needed any more.
    pub(crate) fn end_keeper(&mut self) {
        self.keeper = None;
        self.kill(KEEPER);
        if let Some(keeper) = self.children.remove(&KEEPER) {
            reap(&keeper);
        }
    }

    /// Tells the keeper something. One that does not take it is killed, and then replaced.
    fn tell_keeper(&mut self, tell: impl FnOnce(&mut Keeper) -> io::Result<()>) {
        if let Some(keeper) = &mut self.keeper
            && tell(keeper).is_err()
        {
            self.kill(KEEPER);
        }
    }

    /// Starts the keeper again, unless it ended by itself, because then it could not do its work.
    fn keeper_ended(&mut self, exit: Exit) {
        if self.keeper.take().is_some() && matches!(exit, Exit::Signaled(_)) {
            // Everything else works without a keeper.
            let _ = self.keep(self.image.clone(), self.tokens.clone());
        }
    }

    /// Watches a child of this process, and the process group that it leads, or else kills the
    /// child.
    pub(crate) fn watch(&mut self, key: u64, pid: u32) -> io::Result<()> {
        self.watch_as(key, pid, true)
    }

    /// Watches a child without its group: a fork server's child makes a group of its own only
    /// later.
    pub(crate) fn watch_alone(&mut self, key: u64, pid: u32) -> io::Result<()> {
        self.watch_as(key, pid, false)
    }

    fn watch_as(&mut self, key: u64, pid: u32, leads_group: bool) -> io::Result<()> {
        if !orphans::is_child(pid) {
            // The child has been waited for, so the number may be another process's.
            return Err(io::Error::other(format!(
                "process {pid} is no child of ours"
            )));
        }
        let raw = i32::try_from(pid).map_err(io::Error::other)?;
        let id = Pid::from_raw(raw).ok_or(io::ErrorKind::InvalidInput)?;
        let watched = pidfd_open(id, PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(|fd| {
                self.epoll
                    .add(&fd, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
                Ok(fd)
            });
        match watched {
            Ok(pidfd) => {
                let watched = WatchedChild {
                    pid,
                    pidfd,
                    leads_group,
                };
                WATCHED.lock().insert((pid, watched.pidfd.as_raw_fd()));
                self.children.insert(key, watched);
                if leads_group {
                    self.tell_keeper(|keeper| keeper.add(pid));
                }
                Ok(())
            }
            Err(error) => {
                let _ = kill(unistd::Pid::from_raw(raw), Signal::SIGKILL);
                let _ = waitid(WaitId::Pid(id), WaitIdOptions::EXITED);
                Err(error)
            }
        }
    }

    /// Kills a child and its process group.
    pub(crate) fn kill(&self, key: u64) {
        if let Some(child) = self.children.get(&key) {
            child.kill_group();
            // A child that does not lead its group yet is killed alone.
            let _ = pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
        }
    }

    /// Sends a signal to all watched groups.
    pub(crate) fn signal_groups(&self, signal: Signal) {
        for child in self.children.values() {
            child.signal_group(signal);
        }
    }

    /// Asks a child and its process group to end.
    pub(crate) fn terminate(&self, key: u64) {
        if let Some(child) = self.children.get(&key) {
            child.signal_group(Signal::SIGTERM);
        }
    }

    /// Sleeps until a child ends, the waker is written to, or the time is over. Returns the ended
    /// children, and how they ended.
    pub(crate) fn wait(&mut self, time: Option<Duration>) -> Vec<(u64, Exit)> {
        let mut events = [EpollEvent::empty(); 64];
        // Rounded up, so that a deadline has passed when this returns.
        let timeout = time.map_or(EpollTimeout::NONE, |time| {
            let millis = time.as_nanos().div_ceil(1_000_000);
            EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX))
                .unwrap_or(EpollTimeout::MAX)
        });
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        let mut ended = Vec::new();
        for event in &events[..count] {
            if event.data() == WAKE {
                // It is empty if its content was read with an earlier wake-up.
                let _ = self.wake.read();
            } else if let Some(child) = self.children.remove(&event.data()) {
                child.kill_group();
                if self.tokens.is_some() && child.leads_group {
                    // Its token may be another one's as soon as it is told of.
                    child.await_group();
                }
                ended.push((event.data(), reap(&child)));
                if child.leads_group {
                    self.tell_keeper(|keeper| keeper.remove(child.pid));
                    self.orphan(child.pid);
                }
            }
        }
        if let Some(at) = ended.iter().position(|(key, _)| *key == KEEPER) {
            let (_, exit) = ended.remove(at);
            self.keeper_ended(exit);
        }
        ended
    }
}

fn reap(child: &WatchedChild) -> Exit {
    child.kill_group();
    let pidfd = &child.pidfd;
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
        Ok(Some(status)) => exit_of(&status),
        Ok(None) | Err(_) => Exit::Unknown,
    }
}

/// The name of the waiting call, for messages.
pub(super) const WAIT_CALL: &str = "the system call waitid with a pidfd";

/// Checks that the kernel lets a pidfd be waited on, by a try with this process's own.
pub(super) fn try_out(own: &OwnedFd) -> Result<(), Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(own.as_fd()), options) {
        // This process is no child of its own.
        Err(Errno::CHILD) => Ok(()),
        result => result.map(drop),
    }
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    if let Some(code) = status.exit_status() {
        return Exit::Exited(code);
    }
    match status.terminating_signal() {
        Some(signal) => Exit::Signaled(signal),
        None => Exit::Unknown,
    }
}
