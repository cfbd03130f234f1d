//! Processes that a command leaves in its worker's group when a signal has ended it: a shell was
//! killed, say, and the program that it had started was not. They are ended before the attempt is
//! over, because from then on its slot, its key and its files are another attempt's.
//!
//! They are known by what the command alone had in its environment, or a process that serves items, of which a
//! worker has one at a time. What is left by a command that
//! ends by itself was left on purpose, and what has left the group or cleared its environment is not
//! found.

use std::time::{Duration, Instant};

use nix::unistd::{self, getpgrp};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::sys::marked::{entries, has_ended, hold_all};

/// The time in which each signal has its effect: that between the two of an item that is cancelled.
const TIME: Duration = Duration::from_secs(1);

/// Ends what has all of these in its environment, and is in this process's group. It is asked first.
pub(super) fn end(marks: &[&[u8]]) {
    // The last ones are for what was started in the meantime.
    for signal in [Signal::TERM, Signal::KILL, Signal::KILL, Signal::KILL] {
        let left = hold_all(&is_in_our_group, &|environment| has_all(environment, marks));
        if left.is_empty() {
            return;
        }
        for (_, pidfd) in &left {
            let _ = pidfd_send_signal(pidfd, signal);
            // One that was stopped is asked as well.
            let _ = pidfd_send_signal(pidfd, Signal::CONT);
        }
        let until = Instant::now() + TIME;
        for (_, pidfd) in &left {
            has_ended(pidfd, until.saturating_duration_since(Instant::now()));
        }
    }
}

fn is_in_our_group(pid: Pid) -> bool {
    let pid = unistd::Pid::from_raw(pid.as_raw_nonzero().get());
    unistd::getpgid(Some(pid)).is_ok_and(|group| group == getpgrp())
}

fn has_all(environment: &[u8], marks: &[&[u8]]) -> bool {
    marks
        .iter()
        .all(|mark| entries(environment).any(|entry| entry == *mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn start(script: &str, item: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("OF_THIS_TEST", item);
        command.spawn().unwrap()
    }

    #[test]
    fn what_has_the_marks_is_ended_and_nothing_else() {
        let mark = format!("OF_THIS_TEST={}", std::process::id());
        let own = std::process::id().to_string();
        let mut others = start("exec sleep 600", "another");
        let mut asked = start("exec sleep 600", &own);
        let (ready, told) = (tempfile::tempdir().unwrap(), "deaf");
        let deaf = format!(
            "trap '' TERM; : >{}/{told}; sleep 600; sleep 600",
            ready.path().display()
        );
        let mut deaf = start(&deaf, &own);
        while !ready.path().join(told).exists() {
            std::thread::yield_now();
        }
        end(&[mark.as_bytes()]);
        for child in [&mut asked, &mut deaf] {
            assert!(child.try_wait().unwrap().is_some_and(|end| !end.success()));
        }
        assert!(others.try_wait().unwrap().is_none());
        others.kill().unwrap();
        // There is nobody to wait for.
        end(&[mark.as_bytes()]);
    }

    #[test]
    fn a_mark_is_a_whole_entry() {
        let environment = b"A=1\0SUPERVISOR_ITEM=12\0SUPERVISOR_ATTEMPT=1\0";
        assert!(has_all(
            environment,
            &[b"SUPERVISOR_ITEM=12", b"SUPERVISOR_ATTEMPT=1"]
        ));
        assert!(!has_all(
            environment,
            &[b"SUPERVISOR_ITEM=1", b"SUPERVISOR_ATTEMPT=1"]
        ));
        assert!(!has_all(
            environment,
            &[b"SUPERVISOR_ITEM=12", b"SUPERVISOR_ATTEMPT=2"]
        ));
    }
}
