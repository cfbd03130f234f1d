//! The control groups that this process is in, as far as they bound its memory: cgroups(7), of
//! version 2, or the memory controller of version 1.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryGroup {
    pub(crate) folder: PathBuf,
    /// True for version 2.
    pub(crate) is_unified: bool,
}

/// Returns this process's own groups.
pub(crate) fn own() -> Vec<MemoryGroup> {
    of(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
}

/// Returns the groups that a process's `/proc/<pid>/cgroup` names.
pub(crate) fn of(text: &str) -> Vec<MemoryGroup> {
    let root = Path::new("/sys/fs/cgroup");
    let groups = text.lines().filter_map(|line| {
        let (folder, is_unified) = match line.strip_prefix("0::/") {
            Some(group) => (root.join(group), true),
            None => {
                let (_, rest) = line.split_once(':')?;
                let group = rest.strip_prefix("memory:/")?;
                (root.join("memory").join(group), false)
            }
        };
        Some(MemoryGroup { folder, is_unified })
    });
    groups.collect()
}

impl MemoryGroup {
    /// Returns this group and those that it is in, whose bounds hold for it too.
    pub(crate) fn with_outer(&self) -> impl Iterator<Item = MemoryGroup> {
        let root = match self.is_unified {
            true => Path::new("/sys/fs/cgroup"),
            false => Path::new("/sys/fs/cgroup/memory"),
        };
        let folders = self.folder.ancestors();
        let folders = folders.take_while(move |folder| folder.starts_with(root));
        folders.map(|folder| MemoryGroup {
            folder: folder.to_owned(),
            is_unified: self.is_unified,
        })
    }

    /// Returns the bytes that it may have beyond those that it has, if it is bounded. What it keeps
    /// of files without need counts as free.
    pub(crate) fn room(&self) -> Option<u64> {
        let (bound, used, kept) = match self.is_unified {
            true => ("memory.max", "memory.current", "inactive_file"),
            false => (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
        };
        let number = |name| self.read(name)?.trim().parse::<u64>().ok();
        // Without a bound it says `max`, or a number that no machine has.
        let bound = number(bound).filter(|bytes| *bytes < 1 << 60)?;
        let kept = self
            .read("memory.stat")
            .and_then(|text| value_of(&text, kept));
        let used = number(used)?.saturating_sub(kept.unwrap_or(0));
        Some(bound.saturating_sub(used))
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }
}

/// Returns the number after a name, in a file of names and numbers.
pub(crate) fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == name).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(folder: &Path, is_unified: bool) -> MemoryGroup {
        let folder = folder.to_owned();
        MemoryGroup { folder, is_unified }
    }

    #[test]
    fn the_groups_of_both_versions_are_found_among_others() {
        let text = "12:memory:/old\n3:cpu:/x\n0::/user.slice/app\n";
        let old = group(Path::new("/sys/fs/cgroup/memory/old"), false);
        let new = group(Path::new("/sys/fs/cgroup/user.slice/app"), true);
        let outer: Vec<_> = new.with_outer().map(|one| one.folder).collect();
        assert_eq!(of(text), [old, new]);
        let slice = "/sys/fs/cgroup/user.slice";
        let expected = ["/sys/fs/cgroup/user.slice/app", slice, "/sys/fs/cgroup"];
        assert_eq!(outer, expected.map(PathBuf::from));
        assert!(of("3:cpu:/x\n").is_empty());
    }

    #[test]
    fn the_room_of_a_group_is_what_it_may_have_and_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name, text| fs::write(folder.path().join(name), text).unwrap();
        let unified = group(folder.path(), true);
        assert_eq!(unified.room(), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(unified.room(), None);
        write("memory.max", "1000\n");
        assert_eq!(unified.room(), Some(300));
        write("memory.stat", "anon 600\ninactive_file 50\n");
        assert_eq!(unified.room(), Some(350));
        let older = group(folder.path(), false);
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.usage_in_bytes", "100\n");
        assert_eq!(older.room(), None);
        write("memory.limit_in_bytes", "60\n");
        assert_eq!(older.room(), Some(0));
    }

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 5\n";
        assert_eq!(value_of(events, "oom_kill"), Some(2));
        assert_eq!(value_of(events, "max"), None);
        assert_eq!(value_of("oom_kill many\n", "oom_kill"), None);
    }
}
