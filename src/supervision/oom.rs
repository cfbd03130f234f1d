//! Whether the kernel killed a process for lack of memory, where that can be told.
//!
//! It kills by SIGKILL, and its own counter is all that tells this death from another one: the
//! counter of our control group, which our workers are in, or else that of the whole system. So
//! this is a likely cause rather than a certain one.

use std::fs;
use std::path::{Path, PathBuf};

/// The counter, and what it showed when it was last read.
#[derive(Debug)]
pub(super) struct OomCounter {
    source: Option<(PathBuf, &'static str)>,
    seen: u64,
}

impl OomCounter {
    pub(super) fn new() -> Self {
        let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let events = path_of_group(&group).map(|path| path.join("memory.events"));
        let sources = [
            events.map(|path| (path, "oom_kill")),
            Some((PathBuf::from("/proc/vmstat"), "oom_kill")),
        ];
        let mut sources = sources.into_iter().flatten();
        let source = sources.find(|(path, name)| read(path, name).is_some());
        let mut counter = OomCounter { source, seen: 0 };
        counter.has_risen();
        counter
    }

    /// Whether it has risen since the last call.
    pub(super) fn has_risen(&mut self) -> bool {
        let source = self.source.as_ref();
        let now = source.and_then(|(path, name)| read(path, name));
        let has_risen = now.is_some_and(|now| now > self.seen);
        self.seen = now.unwrap_or(self.seen);
        has_risen
    }
}

fn read(path: &Path, name: &str) -> Option<u64> {
    value_of(&fs::read_to_string(path).ok()?, name)
}

/// The folder of a process's control group (version 2), by its `/proc/<pid>/cgroup`.
fn path_of_group(text: &str) -> Option<PathBuf> {
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(group))
}

/// The number after a name, in a file of names and numbers.
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
    fn the_control_group_of_version_2_is_found_among_others() {
        let text = "12:memory:/old\n0::/user.slice/app\n";
        let path = path_of_group(text).unwrap();
        assert_eq!(path, Path::new("/sys/fs/cgroup/user.slice/app"));
        assert_eq!(path_of_group("12:memory:/old\n"), None);
    }

    #[test]
    fn a_counter_that_rises_is_told_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "oom_kill 1\n").unwrap();
        let mut counter = OomCounter {
            source: Some((file.path().to_owned(), "oom_kill")),
            seen: 1,
        };
        assert!(!counter.has_risen());
        fs::write(file.path(), "oom_kill 2\n").unwrap();
        assert!(counter.has_risen());
        assert!(!counter.has_risen());
    }
}
