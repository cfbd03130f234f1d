//! Processes that are known by their environment, each held by a handle, so that no other one that
//! gets its number is taken for it. It ends none.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, geteuid, getpid, pidfd_open};
use rustix::time::Timespec;

/// Returns handles of the processes of this user, without this one, of whose number and environment
/// `is_one` says yes. A process that has ended has no environment.
pub(crate) fn hold_all(is_one: &dyn Fn(Pid, &[u8]) -> bool) -> Vec<(Pid, OwnedFd)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| pid_of(&entry.file_name()))
        .filter(|pid| *pid != getpid())
        .filter_map(|pid| hold(pid, is_one))
        .collect()
}

/// The environment is read once more after the handle is open, so that a new process with the same
/// number is not taken for it.
fn hold(pid: Pid, is_one: &dyn Fn(Pid, &[u8]) -> bool) -> Option<(Pid, OwnedFd)> {
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    let check = || {
        let owner = fs::metadata(&folder).ok()?.uid();
        let environment = fs::read(format!("{folder}/environ")).ok()?;
        (owner == geteuid().as_raw() && is_one(pid, &environment)).then_some(())
    };
    check()?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    check()?;
    Some((pid, pidfd))
}

/// Waits until a process has ended, but no longer than this. Returns `true` if it has.
pub(crate) fn has_ended(pidfd: &OwnedFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).ok();
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    retry_on_intr(|| poll(&mut fds, time.as_ref())).is_ok_and(|count| count > 0)
}

/// Returns the number that stands in the name of a folder of `/proc`.
pub(crate) fn pid_of(name: &OsStr) -> Option<Pid> {
    let number = str::from_utf8(name.as_bytes()).ok()?.parse().ok()?;
    Pid::from_raw(number)
}

/// Returns the entries of an environment.
pub(crate) fn entries(environment: &[u8]) -> impl Iterator<Item = &[u8]> {
    environment.split(|byte| *byte == 0)
}
