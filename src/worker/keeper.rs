//! Runs as the keeper: a small process that ends what workers have started when their supervisor
//! cannot, and gives back the tokens that it had taken. Its start and its orders are on the
//! supervisor's side, in `supervision::keeper`.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{Pid, getsid};
use rustix::fs::{FileType, fstat};

use crate::sys::groups::await_end;
use crate::sys::title;
use crate::sys::tokens::give_all_back;

/// The variable that makes a process of this program a keeper.
pub(crate) const KEEPER_VARIABLE: &str = "DISHRACK_KEEPER";

/// The variable that says that stderr is a pipe with tokens in hand, and stdout the one from which
/// they were taken.
pub(crate) const TOKENS_VARIABLE: &str = "DISHRACK_KEEPER_TOKENS";

/// The time that a killed group may take to end.
const TIME_TO_END: Duration = Duration::from_secs(5);

/// Runs as a keeper, if this process was started to be one. Returns the exit code.
pub(super) fn serve() -> Option<i32> {
    std::env::var_os(KEEPER_VARIABLE)?;
    // A program that a user has started with the variable set is none.
    let leads_session = getsid(None) == Ok(Pid::this());
    let is_told =
        fstat(io::stdin()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_fifo());
    if !leads_session || !is_told {
        return None;
    }
    title::set_comm("keeper");
    for asked in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        // SAFETY: ignoring a signal installs no handler. The keeper ends with its supervisor.
        let _ = unsafe { signal(asked, SigHandler::SigIgn) };
    }
    let groups = groups_left(io::stdin().lock());
    for group in &groups {
        let _ = kill(Pid::from_raw(-group), Signal::SIGKILL);
    }
    if std::env::var_os(TOKENS_VARIABLE).is_some() {
        // Others may begin something as soon as they have them.
        for group in &groups {
            await_end(*group, TIME_TO_END);
        }
        // SAFETY: this process was started with both, and closes neither.
        let (hand, shared) = unsafe { (BorrowedFd::borrow_raw(2), BorrowedFd::borrow_raw(1)) };
        give_all_back(hand, shared);
    }
    Some(libc::EXIT_SUCCESS)
}

/// Returns the groups that were named and not taken back when the input ends.
fn groups_left(mut told: impl Read) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    let mut number = [0; 4];
    while told.read_exact(&mut number).is_ok() {
        match i32::from_le_bytes(number) {
            // Groups 0 and 1 would be this process's own and every process.
            group @ 2.. => drop(groups.insert(group)),
            group => drop(groups.remove(&group.saturating_neg())),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_left_are_those_not_taken_back() {
        let told = |numbers: &[i32]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            Vec::from_iter(groups_left(&bytes[..]))
        };
        assert!(told(&[]).is_empty());
        assert_eq!(told(&[7, 9, -7, 8]), [8, 9]);
        assert_eq!(told(&[7, -7, 7, 7]), [7]);
        assert!(told(&[0, 1, -1, -5, i32::MIN]).is_empty());
        assert_eq!(Vec::from_iter(groups_left(&[7, 0, 0, 0, 9][..])), [7]);
    }
}
