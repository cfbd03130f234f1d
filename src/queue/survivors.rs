//! Ends the processes that a killed run has left behind, when its journal is opened again and
//! before any of its items is begun, so that no item is worked on twice at the same time.
//!
//! Worker processes of a queue with a journal have a mark of the journal's file in their
//! environment, and so have the processes that they start. The mark finds processes that have left
//! their process group or were taken over by init, and needs nothing written down before an item
//! begins. It does not find a program that clears its environment, or one with the rights of
//! another user; `keeper` and the workers end those in their own ways.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::protocol::orders::{JOURNAL_VARIABLE, mark_of};
use crate::sys::marked::{entries, has_ended, hold_all, is_own, pid_of};
use crate::sys::stat::fields_behind_name;
use dishrack_core::ledger::ItemId;

/// The variable that names the item that a command was started for.
const ITEM_VARIABLE: &str = "SUPERVISOR_ITEM";

/// The time within which a killed process must be gone. It is gone at once unless the kernel is
/// busy.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The process with this number could not be ended.
#[derive(Debug, thiserror::Error)]
#[error("process {0} of the run before still works for it, and cannot be ended: end it first")]
pub(crate) struct Unendable(i32);

/// Ends the processes that an earlier run with this journal has left, and waits for that. A process
/// that was started for an item that has ended, and was left running on purpose, stays. A process
/// that was started for no item, such as a worker, is ended only if the run was killed.
///
/// # Errors
/// A process does not end.
pub(crate) fn end(
    mark: u128,
    was_killed: bool,
    is_unfinished: &dyn Fn(ItemId) -> bool,
) -> Result<(), Unendable> {
    let mark = mark_of(mark);
    let began = Instant::now();
    let ancestors = ancestors();
    let is_candidate = |pid| !ancestors.contains(&pid) && is_own(pid);
    let is_one = |environment: &[u8]| is_survivor(environment, &mark, was_killed, is_unfinished);
    // The processes found may have started others meanwhile.
    loop {
        let found = hold_all(&is_candidate, &is_one);
        if found.is_empty() {
            return Ok(());
        }
        for (pid, pidfd) in &found {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
            let left = TIMEOUT.saturating_sub(began.elapsed());
            if !has_ended(pidfd, left) {
                return Err(Unendable(pid.as_raw_nonzero().get()));
            }
        }
    }
}

/// Returns `true` if a process with this environment works for an item of this journal that has no
/// end.
fn is_survivor(
    environment: &[u8],
    mark: &str,
    was_killed: bool,
    is_unfinished: &dyn Fn(ItemId) -> bool,
) -> bool {
    let value_of = |name: &str| {
        entries(environment)
            .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let item = value_of(ITEM_VARIABLE).and_then(|item| str::from_utf8(item).ok()?.parse().ok());
    value_of(JOURNAL_VARIABLE) == Some(mark.as_bytes())
        && item.map_or(was_killed, |item| is_unfinished(ItemId(item)))
}

/// Returns this process, its parent, and so on: one of them may have been started by that run and
/// have started this one.
fn ancestors() -> HashSet<Pid> {
    let mut ancestors = HashSet::new();
    let mut next = Some(rustix::process::getpid());
    while let Some(pid) = next.filter(|pid| ancestors.insert(*pid)) {
        next = parent_of(pid).ok().flatten();
    }
    ancestors
}

fn parent_of(pid: Pid) -> io::Result<Option<Pid>> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let parent = fields_behind_name(&stat).nth(1).map(OsStr::new);
    Ok(parent.and_then(pid_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_works_for_an_unfinished_item_of_the_journal_is_one() {
        let is_after = |was_killed: bool, environment: &str| {
            let environment = environment.replace(' ', "\0");
            is_survivor(environment.as_bytes(), "0a", was_killed, &|id| id.0 == 3)
        };
        let is = |environment: &str| is_after(true, environment);
        assert!(!is_after(false, "PATH=/bin SUPERVISOR_JOURNAL=0a "));
        assert!(is_after(false, "SUPERVISOR_JOURNAL=0a SUPERVISOR_ITEM=3"));
        assert!(is("PATH=/bin SUPERVISOR_JOURNAL=0a "));
        assert!(is("SUPERVISOR_JOURNAL=0a SUPERVISOR_ITEM=3"));
        assert!(!is("SUPERVISOR_JOURNAL=0a SUPERVISOR_ITEM=4"));
        assert!(!is("SUPERVISOR_JOURNAL=0ab"));
        assert!(!is("MY_SUPERVISOR_JOURNAL=0a"));
        assert!(!is(""));
    }

    #[test]
    fn who_has_started_us_is_known() {
        let ancestors = ancestors();
        assert!(ancestors.contains(&rustix::process::getpid()));
        assert!(ancestors.contains(&rustix::process::getppid().unwrap()));
    }
}
