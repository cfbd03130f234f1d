//! Processes that are known by their environment, each held by a handle, so that no other one that
//! gets its number is taken for it. It ends none.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, geteuid, getpid, pidfd_open};
use rustix::time::Timespec;

use super::stat::fields_behind_name;

/// Returns handles of the processes, without this one, that are candidates by their number and of whose
/// environment `is_one` says yes. A process that has ended has no environment.
pub(crate) fn hold_all(
    is_candidate: &dyn Fn(Pid) -> bool,
    is_one: &dyn Fn(&[u8]) -> bool,
) -> Vec<(Pid, OwnedFd)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut left: Vec<Pid> = entries
        .filter_map(|entry| pid_of(&entry.file_name()))
        .filter(|pid| *pid != getpid())
        .collect();
    let mut held = Vec::new();
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(PAUSE);
        }
        left.retain(|pid| match hold(*pid, is_candidate, is_one) {
            Ok(handle) => {
                held.extend(handle.map(|handle| (*pid, handle)));
                false
            }
            Err(Unclear) => true,
        });
        if left.is_empty() {
            break;
        }
    }
    held
}

/// A process that has no environment at the moment, or none that can be read: it may be executing a
/// program just now.
struct Unclear;

/// Returns a handle of a process, if it is one. All is looked at once more after the handle is open, so
/// that a new process with the same number is not taken for it.
fn hold(
    pid: Pid,
    is_candidate: &dyn Fn(Pid) -> bool,
    is_one: &dyn Fn(&[u8]) -> bool,
) -> Result<Option<OwnedFd>, Unclear> {
    let check = || match is_candidate(pid) {
        true => Ok(environment_of(pid)?.is_some_and(|found| is_one(&found))),
        false => Ok(false),
    };
    if !check()? {
        return Ok(None);
    }
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Ok(None);
    };
    Ok(check()?.then_some(handle))
}

/// Returns `true` if a process is this user's.
pub(crate) fn is_own(pid: Pid) -> bool {
    let owner = fs::metadata(folder(pid)).map(|folder| folder.uid());
    owner.is_ok_and(|owner| owner == geteuid().as_raw())
}

fn folder(pid: Pid) -> String {
    format!("/proc/{}", pid.as_raw_nonzero())
}

/// Returns the environment of a process, if it has one.
fn environment_of(pid: Pid) -> Result<Option<Vec<u8>>, Unclear> {
    let folder = folder(pid);
    let environment = read_at_once(&format!("{folder}/environ"));
    let environment = environment.ok().filter(|found| !found.is_empty());
    match environment.is_none() && may_be_executing(&folder) {
        true => Err(Unclear),
        false => Ok(environment),
    }
}

/// Reads a file of a process in one call: what is read in several ends in the middle if the process executes
/// a program meanwhile, because the rest is that of its memory before.
fn read_at_once(path: &str) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = file.read_at(&mut bytes, 0)?;
        if count < bytes.len() {
            bytes.truncate(count);
            return Ok(bytes);
        }
        bytes.resize(bytes.len() * 2, 0);
    }
}

/// The number of looks at processes without an environment, and the time between two of them: one that
/// executes a program gets it within microseconds, unless it is not run meanwhile.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Returns `false` if a process has ended, or is one of the kernel's own: those are children of the second.
fn may_be_executing(folder: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("{folder}/stat")) else {
        return false;
    };
    let mut fields = fields_behind_name(&stat);
    let has_ended = fields.next().is_none_or(|state| matches!(state, "Z" | "X"));
    let is_of_kernel = fields
        .next()
        .is_none_or(|parent| matches!(parent, "0" | "2"));
    !has_ended && !is_of_kernel
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
