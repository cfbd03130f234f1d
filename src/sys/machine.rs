//! Reads how much room the machine has: free memory, load and pressure (proc(5), PSI). It does not know
//! what is decided by that.

use std::fs;

use super::cgroup::{self, MemoryGroup};
use super::usage::bytes_of;

/// The places where the free memory is read.
#[derive(Debug)]
pub(crate) struct FreeMemory {
    groups: Vec<MemoryGroup>,
}

impl FreeMemory {
    /// Finds the groups that bound this process now.
    pub(crate) fn new() -> Self {
        let own = cgroup::own();
        let all = own.iter().flat_map(MemoryGroup::with_outer);
        let groups = all.filter(|group| group.room().is_some()).collect();
        FreeMemory { groups }
    }

    /// Returns the bytes that can be had without swapping: on the machine, and in each group.
    pub(crate) fn read(&self) -> Option<u64> {
        let machine = read("/proc/meminfo").and_then(|text| available(&text));
        let groups = self.groups.iter().filter_map(MemoryGroup::room);
        machine.into_iter().chain(groups).min()
    }
}

/// Returns the number of threads on the machine that run or are ready to, without this one.
pub(crate) fn load() -> Option<u32> {
    running(&read("/proc/loadavg")?).map(|running| running.saturating_sub(1))
}

/// The files of pressure, each of which says for how much of the last ten seconds something waited.
const PRESSURES: [&str; 3] = [
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
    "/proc/pressure/io",
];

/// Returns the greatest pressure in percent, if the kernel tells it.
pub(crate) fn pressure() -> Option<u32> {
    let pressures = PRESSURES.iter().map(|path| waiting(&read(path)?));
    pressures.flatten().max()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Returns the available memory in bytes that `/proc/meminfo` says.
fn available(text: &str) -> Option<u64> {
    bytes_of(text, "MemAvailable:")
}

/// Returns the number of running threads that `/proc/loadavg` says.
fn running(text: &str) -> Option<u32> {
    let field = text.split_ascii_whitespace().nth(3)?;
    field.split_once('/')?.0.parse().ok()
}

/// Returns the part of the last ten seconds for which something waited, in percent, rounded down.
fn waiting(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let words = line.split_ascii_whitespace();
    let value = words
        .filter_map(|word| word.strip_prefix("avg10="))
        .next()?;
    value.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let text = "MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   24 kB\n";
        assert_eq!(available(text), Some(24 * 1024));
        assert_eq!(available("MemFree: 1 kB\n"), None);
        assert_eq!(running("0.20 0.18 0.12 3/80 11206\n"), Some(3));
        assert_eq!(running("0.20 0.18 0.12\n"), None);
        let text = "some avg10=12.99 avg60=0.00 avg300=0.00 total=7\nfull avg10=1.00\n";
        assert_eq!(waiting(text), Some(12));
        assert_eq!(waiting("full avg10=1.00\n"), None);
    }

    #[test]
    fn this_machine_says_something() {
        let free = FreeMemory::new().read().unwrap();
        assert!(free > 0 && free < 1 << 60, "{free}");
        assert!(load().is_some());
        assert!(pressure().is_none_or(|percent| percent <= 100));
    }
}
