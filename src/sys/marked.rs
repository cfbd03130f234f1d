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

/// Returns handles of the processes, without this one, that are candidates by their number and of whose
/// environment `is_one` says yes. A process that has ended has no environment.
pub(crate) fn hold_all(
    is_candidate: &dyn Fn(Pid) -> bool,
    is_one: &dyn Fn(&[u8]) -> bool,
) -> Vec<(Pid, OwnedFd)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| pid_of(&entry.file_name()))
        .filter(|pid| *pid != getpid())
        .filter_map(|pid| hold(pid, is_candidate, is_one))
        .collect()
}

/// All is looked at once more after the handle is open, so that a new process with the same number is
/// not taken for it.
fn hold(
    pid: Pid,
    is_candidate: &dyn Fn(Pid) -> bool,
    is_one: &dyn Fn(&[u8]) -> bool,
) -> Option<(Pid, OwnedFd)> {
    let check = || is_candidate(pid) && environment_of(pid).is_some_and(|found| is_one(&found));
    if !check() {
        return None;
    }
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    check().then_some((pid, pidfd))
}

/// Returns `true` if a process is this user's.
pub(crate) fn is_own(pid: Pid) -> bool {
    let owner = fs::metadata(folder(pid)).map(|folder| folder.uid());
    owner.is_ok_and(|owner| owner == geteuid().as_raw())
}

fn folder(pid: Pid) -> String {
    format!("/proc/{}", pid.as_raw_nonzero())
}

/// Returns the environment of a process. One that is executing a program just now has none for a moment,
/// or none that can be read.
fn environment_of(pid: Pid) -> Option<Vec<u8>> {
    let folder = folder(pid);
    for _ in 0..LOOKS {
        let environment = read_at_once(&format!("{folder}/environ"));
        let environment = environment.ok().filter(|found| !found.is_empty());
        if environment.is_some() || !may_be_executing(&folder) {
            return environment;
        }
        std::thread::sleep(PAUSE);
    }
    None
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

/// The number of looks at a process without an environment, and the time between two of them: it gets one
/// within microseconds, unless it is not run meanwhile.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Returns `false` if a process has ended, or is one of the kernel's own: those are children of the second.
fn may_be_executing(folder: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("{folder}/stat")) else {
        return false;
    };
    // The name may hold anything; state and parent follow its last bracket (proc_pid_stat(5)).
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let mut fields = after.split(' ');
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
