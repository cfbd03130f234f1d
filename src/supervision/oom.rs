//! Tells whether the kernel killed a process for lack of memory, if it can be told.
//!
//! The kernel kills by SIGKILL, so only its counter tells this death from another one: that of this
//! process's control group, which contains the workers and their commands, or else that of the
//! whole system. So this is a likely cause rather than a certain one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The counter, with its last value.
#[derive(Debug)]
pub(crate) struct OomCounter {
    source: Option<File>,
    seen: u64,
}

/// Its name in every file.
const NAME: &str = "oom_kill";

impl OomCounter {
    pub(crate) fn new() -> Self {
        let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let whole_system = PathBuf::from("/proc/vmstat");
        let places = places_of_group(&group).into_iter().chain([whole_system]);
        let mut files = places.filter_map(|path| File::open(path).ok());
        let source = files.find(|file| read(file).is_some());
        let mut counter = OomCounter { source, seen: 0 };
        counter.has_risen();
        counter
    }

    /// Returns `true` if it has risen since the last call.
    pub(crate) fn has_risen(&mut self) -> bool {
        let now = self.source.as_ref().and_then(read);
        let has_risen = now.is_some_and(|now| now > self.seen);
        self.seen = now.unwrap_or(self.seen);
        has_risen
    }
}

/// The greatest length of such a file; the longest is that of the whole system.
const BYTES_MAX: usize = 16 * 1024;

/// Reads the counter. The kernel makes the file's content anew for each read from its beginning.
fn read(file: &File) -> Option<u64> {
    let mut bytes = vec![0; BYTES_MAX];
    let count = file.read_at(&mut bytes, 0).ok()?;
    value_of(&String::from_utf8_lossy(&bytes[..count]), NAME)
}

/// Returns the places of the counter of a process's control group, from its `/proc/<pid>/cgroup`:
/// of version 2, or of the memory controller of version 1.
fn places_of_group(text: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let places = text.lines().filter_map(|line| {
        if let Some(group) = line.strip_prefix("0::/") {
            return Some(root.join(group).join("memory.events"));
        }
        let (_, rest) = line.split_once(':')?;
        let group = rest.strip_prefix("memory:/")?;
        Some(root.join("memory").join(group).join("memory.oom_control"))
    });
    places.collect()
}

/// Returns the number after a name, in a file of names and numbers.
fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == name).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_by_its_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 5\n";
        assert_eq!(value_of(events, "oom_kill"), Some(2));
        assert_eq!(value_of(events, "max"), None);
        assert_eq!(value_of("oom_kill many\n", "oom_kill"), None);
    }

    #[test]
    fn the_counters_of_both_versions_are_found_among_others() {
        let text = "12:memory:/old\n3:cpu:/x\n0::/user.slice/app\n";
        let places = [
            "/sys/fs/cgroup/memory/old/memory.oom_control",
            "/sys/fs/cgroup/user.slice/app/memory.events",
        ];
        assert_eq!(places_of_group(text), places.map(PathBuf::from));
        assert!(places_of_group("3:cpu:/x\n").is_empty());
    }

    #[test]
    fn a_counter_that_rises_is_told_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "oom_kill 1\n").unwrap();
        let mut counter = OomCounter {
            source: Some(file.reopen().unwrap()),
            seen: 1,
        };
        assert!(!counter.has_risen());
        fs::write(file.path(), "oom_kill 2\n").unwrap();
        assert!(counter.has_risen());
        assert!(!counter.has_risen());
    }
}
