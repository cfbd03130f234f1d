//! Tells whether the kernel killed a process for lack of memory, if it can be told.
//!
//! The kernel kills by SIGKILL, so only its counter tells this death from another one: that of this
//! process's control group, which contains the workers and their commands, or else that of the
//! whole system. So this is a likely cause rather than a certain one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::sys::cgroup::{self, MemoryGroup, value_of};

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
        let groups = cgroup::own();
        let whole_system = PathBuf::from("/proc/vmstat");
        let places = groups.iter().map(place_of).chain([whole_system]);
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

/// Returns the place of the counter of a group.
fn place_of(group: &MemoryGroup) -> PathBuf {
    group.folder.join(match group.is_unified {
        true => "memory.events",
        false => "memory.oom_control",
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_counters_of_both_versions_have_their_places() {
        let groups = cgroup::of("12:memory:/old\n3:cpu:/x\n0::/user.slice/app\n");
        let places = groups.iter().map(place_of);
        assert!(
            places.eq([
                "/sys/fs/cgroup/memory/old/memory.oom_control",
                "/sys/fs/cgroup/user.slice/app/memory.events",
            ]
            .map(PathBuf::from))
        );
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
