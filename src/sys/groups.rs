//! Process groups: whether anything in one still runs. It kills nothing.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::stat::fields_behind_name;

/// The time between two looks at processes that were killed.
const PAUSE: Duration = Duration::from_micros(200);

/// Waits until nothing of a process group runs, but no longer than this. What was killed ends within
/// a moment, though not at once: it may be in the middle of a system call.
pub(crate) fn await_end(group: i32, time: Duration) {
    let began = Instant::now();
    while is_alive(group) && began.elapsed() < time {
        std::thread::sleep(PAUSE);
    }
}

/// Returns `true` if a process of the group runs. One that has ended and was not waited for does not.
fn is_alive(group: i32) -> bool {
    // Most often there is nobody, and nothing has to be read.
    if kill(Pid::from_raw(-group), None) == Err(Errno::ESRCH) {
        return false;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut processes = entries.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    });
    processes.any(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat"));
        stat.is_ok_and(|stat| runs_in(&stat, group))
    })
}

/// Reads from a line of proc(5) whether the process runs and is in this group.
fn runs_in(stat: &str, group: i32) -> bool {
    let mut fields = fields_behind_name(stat);
    let (state, of) = (fields.next(), fields.nth(1));
    let runs = !matches!(state, Some("Z" | "X") | None);
    runs && of.and_then(|of| of.parse().ok()) == Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_tells_state_and_group() {
        assert!(runs_in("7 (a) b) c) S 1 42 42 0", 42));
        assert!(!runs_in("7 (a) S 1 42 42 0", 1));
        assert!(!runs_in("7 (a) Z 1 42 42 0", 42));
        assert!(!runs_in("", 42));
    }

    #[test]
    fn a_group_is_alive_while_a_process_is_in_it() {
        let own = nix::unistd::getpgrp().as_raw();
        assert!(is_alive(own));
        let began = Instant::now();
        await_end(own, Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
        // No process has such a number (proc(5), pid_max).
        assert!(!is_alive(i32::MAX));
        await_end(i32::MAX, Duration::MAX);
    }
}
