//! A control group (version 2) that was delegated to this process, and groups in it with a bound of memory:
//! the kernel kills all that is in one that would have more, and nothing else.
//!
//! A manager of groups, as systemd is, marks what it delegates (`Delegate=`, systemd.resource-control(5)),
//! and a container has a group of its own as its root. Where there is none of both, groups are somebody
//! else's business and left alone. Groups with members cannot have bounded groups beside these
//! (cgroups(7), "no internal processes"), so this process moves to one of its own. It does not know what
//! is bounded, nor by how much.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::Mutex;

use super::cgroup::{self, value_of};

/// The beginning of the names of our groups, by which those of a run that was killed are known.
const PREFIX: &str = "dishrack-";

/// The marks of a delegated group, as systemd sets them.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// A delegated group, whose own groups may have bounds.
#[derive(Debug)]
pub(crate) struct DelegatedGroup {
    folder: PathBuf,
    /// The number of groups that were made; it is held while one is, so that nobody removes it empty.
    made: Mutex<u64>,
}

impl DelegatedGroup {
    /// Returns the group that was delegated to this process, if one was and it can be used. The first call
    /// moves this process.
    pub(crate) fn get() -> Option<&'static DelegatedGroup> {
        static GROUP: OnceLock<Option<DelegatedGroup>> = OnceLock::new();
        GROUP.get_or_init(DelegatedGroup::find).as_ref()
    }

    fn find() -> Option<Self> {
        let own = cgroup::own().into_iter().find(|group| group.is_unified)?;
        let mut places = own.folder.ancestors().take(2);
        let found = places.find(|folder| is_delegated(folder))?;
        Self::open(found, &own.folder)
    }

    /// Uses this group, while this process is in `own`.
    fn open(folder: &Path, own: &Path) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(folder.join(name));
        let controllers = read("cgroup.controllers").ok()?;
        if !controllers.split_whitespace().any(|name| name == "memory") {
            return None;
        }
        remove_empty(folder);
        if own == folder {
            let leaf = folder.join(format!("{PREFIX}{}", std::process::id()));
            fs::create_dir(&leaf).ok()?;
            if move_all(folder, &leaf).is_err() {
                let _ = fs::remove_dir(&leaf);
                return None;
            }
        }
        fs::write(folder.join("cgroup.subtree_control"), "+memory").ok()?;
        Some(DelegatedGroup {
            folder: folder.to_owned(),
            made: Mutex::new(0),
        })
    }

    /// Makes a group that may have so many bytes, and puts this process there with all that it will start.
    pub(crate) fn bound(&self, pid: u32, bytes: u64) -> io::Result<BoundedGroup> {
        let mut made = self.made.lock();
        remove_empty(&self.folder);
        *made += 1;
        let name = format!("{PREFIX}{}-{made}", std::process::id());
        let group = BoundedGroup(self.folder.join(name));
        fs::create_dir(&group.0)?;
        group.write("memory.max", &bytes.to_string())?;
        // What is moved to the disk counts as well: otherwise an item over its limit is slow for ever.
        if group.0.join("memory.swap.max").exists() {
            group.write("memory.swap.max", "0")?;
        }
        group.write("memory.oom.group", "1")?;
        group.write("cgroup.procs", &pid.to_string())?;
        Ok(group)
    }
}

/// A group with a bound. It is removed when this is dropped, if nothing is in it any more.
#[derive(Debug)]
pub(crate) struct BoundedGroup(PathBuf);

impl BoundedGroup {
    /// Returns `true` if the kernel has killed it because it would have had more than its bound.
    pub(crate) fn was_killed(&self) -> bool {
        let events = fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        value_of(&events, "oom_kill").is_some_and(|count| count > 0)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.0.join(name), text)
    }
}

impl Drop for BoundedGroup {
    fn drop(&mut self) {
        // One that something is left in is removed later.
        let _ = fs::remove_dir(&self.0);
    }
}

fn is_delegated(folder: &Path) -> bool {
    let mut mark = [0; 8];
    let is_marked = |name: &&str| {
        let length = rustix::fs::getxattr(folder, *name, &mut mark);
        length.is_ok_and(|length| mark.starts_with(b"1") && length == 1)
    };
    MARKS.iter().any(is_marked) || is_root_of_container(folder)
}

/// Returns `true` if this is the root of the groups that are seen here, and not that of the machine, which
/// has no type.
fn is_root_of_container(folder: &Path) -> bool {
    folder == Path::new("/sys/fs/cgroup") && folder.join("cgroup.type").exists()
}

/// Moves all that is in a group to another one.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    // Some may have started others meanwhile.
    for _ in 0..10 {
        let members = fs::read_to_string(from.join("cgroup.procs"))?;
        if members.trim().is_empty() {
            return Ok(());
        }
        for pid in members.lines() {
            match fs::write(to.join("cgroup.procs"), pid) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                moved => moved?,
            }
        }
    }
    Err(io::Error::other("new processes come again and again"))
}

/// Removes groups that nothing is in any more: what was killed may have ended later than its worker.
fn remove_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            // It stays if something is in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a folder that looks like a group with these controllers.
    fn group(controllers: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(folder.path().join("cgroup.procs"), "").unwrap();
        folder
    }

    #[test]
    fn a_group_that_nobody_marked_is_left_alone() {
        assert!(!is_delegated(group("memory").path()));
    }

    #[test]
    fn a_marked_group_is_known() {
        let folder = group("memory");
        let flags = rustix::fs::XattrFlags::empty();
        // Not each file system has such marks.
        if rustix::fs::setxattr(folder.path(), MARKS[0], b"1", flags).is_ok() {
            assert!(is_delegated(folder.path()));
        }
    }

    #[test]
    fn a_group_without_the_controller_bounds_nothing() {
        let folder = group("cpu pids");
        assert!(DelegatedGroup::open(folder.path(), &folder.path().join("own")).is_none());
    }

    #[test]
    fn a_bound_is_set_before_the_process_is_in_the_group() {
        let folder = group("cpu memory");
        let all = DelegatedGroup::open(folder.path(), &folder.path().join("own")).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(
            read(&folder.path().join("cgroup.subtree_control")),
            "+memory"
        );
        let group = all.bound(7, 4096).unwrap();
        assert_eq!(read(&group.0.join("memory.max")), "4096");
        assert_eq!(read(&group.0.join("memory.oom.group")), "1");
        assert_eq!(read(&group.0.join("cgroup.procs")), "7");
        assert!(!group.was_killed());
        fs::write(group.0.join("memory.events"), "oom 1\noom_kill 2\n").unwrap();
        assert!(group.was_killed());
        assert_ne!(all.bound(8, 1).unwrap().0, group.0);
    }
}
