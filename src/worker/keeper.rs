//! Runs as the keeper: a small process that ends what workers have started when their supervisor
//! cannot. Its start and its orders are on the supervisor's side, in `supervision::keeper`.

use std::collections::BTreeSet;
use std::io::{self, Read};

use nix::libc;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{Pid, getsid};
use rustix::fs::{FileType, fstat};

use crate::sys::title;

/// The variable that makes a process of this program a keeper.
pub(crate) const KEEPER_VARIABLE: &str = "DISHRACK_KEEPER";

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
    for group in groups_left(io::stdin().lock()) {
        let _ = kill(Pid::from_raw(-group), Signal::SIGKILL);
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
