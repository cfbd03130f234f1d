//! A million dishes through two worker processes, in bounded memory.

use std::fs;

use crate::said::words;
use crate::support::{Run, named};

crate::trials!(a_million_dishes_are_done_in_bounded_memory);

/// Far less than a million dishes would take, and several times the use.
const PEAK_KIB_MAX: u64 = 64 * 1024;

fn a_million_dishes_are_done_in_bounded_memory() {
    let mut run = Run::supervisor(&words(
        "--wash 0s --dry 0s --quiet --workers 2 --dishes 1000000",
    ));
    let mut peak = 0;
    let mut events = Vec::new();
    while let Some(event) = run.event() {
        // The supervisor waits for its workers after the last dish: its peak is behind it.
        if event["event"] == "worker_exited" || event["event"] == "summary" {
            peak = peak.max(peak_kib(run.pid()));
        }
        events.push(event);
    }
    assert_eq!(run.exit().code(), Some(0));
    assert_eq!(named(&events, "summary")[0]["done"], 1_000_000);
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB at the peak");
}

/// Returns the most memory that a process ever had; 0 when it is gone.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
