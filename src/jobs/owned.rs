//! Folders that this program can prove to have made. It uses and removes only its own files there.
//!
//! The proof is a marker in the folder, a regular file of this user that says whose folder it is. A
//! run holds a lock on its folder, which ends with the run however that ends. So a folder with a
//! marker and no lock was left behind by a killed run. Nothing is removed without its lock, even if
//! files in it are old or missing. The module does not know the content.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::fs::{linkat, open, renameat_with};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::sys::descriptors::path_of;
use crate::sys::lock::{AFTERLIFE, take_in_time, try_lock};

/// The sticky bit, which folders of ours have from the call on that makes them: so one that is
/// empty because its maker was killed can be told from one that a user has made. Among files of one
/// user it means nothing.
const OWN_MARK: u32 = 0o1000;

/// The marker's name.
pub(crate) const MARKER: &str = ".dishrack";

/// The greatest length of a marker in bytes.
const MARK_BYTES_MAX: u64 = 200;

/// The number of attempts to empty a folder into which a dying process still writes.
const TRIES: usize = 10;

/// The beginning of the names of folders that last no longer than their run.
const PREFIX: &str = ".dishrack-output-";

/// Returns the content of a folder's marker, if both are this user's and neither is a link.
pub(crate) fn mark_of(folder: &Path) -> io::Result<Option<String>> {
    let meta = fs::symlink_metadata(folder)?;
    if !meta.is_dir() || !is_ours(&meta) {
        return Ok(None);
    }
    // Opening a named pipe in its place must not wait.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let marker = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(folder.join(MARKER));
    let file = match marker {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        // It is a link, or missing.
        Err(_) => return Ok(None),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || !is_ours(&meta) {
        return Ok(None);
    }
    let mut mark = String::new();
    let read = file.take(MARK_BYTES_MAX).read_to_string(&mut mark);
    Ok(read.is_ok().then_some(mark))
}

/// Returns `true` if a folder is this user's.
pub(crate) fn is_own(folder: &Path) -> io::Result<bool> {
    Ok(is_ours(&fs::symlink_metadata(folder)?))
}

fn is_ours(meta: &fs::Metadata) -> bool {
    meta.uid() == geteuid().as_raw()
}

/// Puts the marker into a folder, whole at once where files can lack a name; closed to others.
pub(crate) fn put_mark(folder: &Path, mark: &str) -> io::Result<()> {
    let marker = folder.join(MARKER);
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(nameless) => {
            let mut nameless = File::from(nameless);
            nameless.write_all(mark.as_bytes())?;
            let by_number = path_of(&nameless);
            Ok(linkat(
                CWD,
                by_number,
                CWD,
                &marker,
                AtFlags::SYMLINK_FOLLOW,
            )?)
        }
        // A process that is killed between the two leaves an empty marker.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let mut options = File::options();
            let options = options.write(true).create_new(true).mode(0o600);
            options.open(&marker)?.write_all(mark.as_bytes())
        }
        // ext4 says so of a folder that was removed since its name was looked up.
        Err(Errno::PERM) if is_removed(folder) => Err(io::ErrorKind::NotFound.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn is_removed(folder: &Path) -> bool {
    fs::metadata(folder).map_or(true, |meta| meta.nlink() == 0)
}

/// Takes the exclusive lock on a folder. Returns `None` while another process has it. On a file
/// system without locks it never succeeds.
pub(crate) fn lock(folder: &Path) -> io::Result<Option<File>> {
    lock_by(folder, FlockOperation::NonBlockingLockExclusive)
}

/// Takes a shared lock on a folder, so that it is not removed.
pub(crate) fn hold(folder: &Path) -> io::Result<Option<File>> {
    lock_by(folder, FlockOperation::NonBlockingLockShared)
}

fn lock_by(folder: &Path, operation: FlockOperation) -> io::Result<Option<File>> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(folder)?;
    Ok(try_lock(&file, operation)?.then_some(file))
}

/// Takes the exclusive lock on a folder whose last run may just have been killed.
pub(crate) fn lock_in_time(folder: &Path) -> io::Result<Option<File>> {
    take_in_time(|| AFTERLIFE, || lock(folder))
}

/// Makes a new folder, closed to other users, under a name of its own. Returns it with a share of
/// the lock on it, if there are locks.
pub(crate) fn make_nameless(parent: &Path, mark: &str) -> io::Result<(PathBuf, Option<File>)> {
    let folder = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(0o700 | OWN_MARK))
        .tempdir_in(parent)?;
    // Before the marker: so a folder with a marker and without a lock is always a leftover.
    let lock = hold(folder.path()).unwrap_or(None);
    put_mark(folder.path(), mark)?;
    Ok((folder.keep(), lock))
}

/// Makes a folder as [`make_nameless`] does, under a name that does not exist yet.
///
/// # Errors
/// `AlreadyExists`, or another reason.
pub(crate) fn make(path: &Path, mark: &str) -> io::Result<Option<File>> {
    // Most runs use a folder that exists.
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let (nameless, lock) = make_nameless(parent, mark)?;
    match rename_to_new(&nameless, path) {
        Ok(()) => Ok(lock),
        Err(error) => {
            remove(&nameless, |_| false);
            Err(error)
        }
    }
}

/// Returns `true` if an opened folder still has this name.
pub(crate) fn is_there(opened: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (opened.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (opened.dev(), opened.ino()) == (named.dev(), named.ino())
}

/// Renames without replacing anything, not even an empty folder.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can; then there is a moment in which another process may make it.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            match fs::symlink_metadata(to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(from, to),
            }
        }
        result => Ok(result?),
    }
}

/// Removes a folder with our marker: the files that `is_own` knows by their names, the marker, and
/// the folder if it is empty then. Returns `true` if it is gone.
pub(crate) fn remove(folder: &Path, is_own: impl Fn(&str) -> bool) -> bool {
    let has_others = || {
        let mut names = names_in(folder);
        names.any(|name| name != MARKER && !is_own(&name))
    };
    let mut place = folder.to_owned();
    if !has_others() {
        // Rename it first, so that workers that still run put nothing more into it.
        let parent = folder.parent().unwrap_or(Path::new(""));
        let number = std::process::id();
        let elsewhere = parent.join(format!("{PREFIX}{number}-over"));
        if rename_to_new(folder, &elsewhere).is_ok() {
            place = elsewhere;
        }
    }
    (0..TRIES).any(|_| {
        for name in names_in(&place).filter(|name| is_own(name)) {
            let _ = fs::remove_file(place.join(name));
        }
        let mut left = names_in(&place);
        if left.any(|name| name != MARKER) {
            return false;
        }
        let _ = fs::remove_file(place.join(MARKER));
        fs::remove_dir(&place).is_ok()
    })
}

/// Returns the names in a folder. A name that is no text is not ours.
fn names_in(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// The age at which our folder without a marker is a leftover; a new one lacks it for a moment.
const AGE: Duration = Duration::from_secs(3600);

/// Removes the folders of killed runs: those with a marker that begins with `mark`, and no lock.
pub(crate) fn remove_leftovers(parent: &Path, mark: &str, is_own: impl Fn(&str) -> bool) {
    for name in names_in(parent).filter(|name| name.starts_with(PREFIX)) {
        let folder = parent.join(name);
        let is_old = fs::symlink_metadata(&folder).is_ok_and(|meta| {
            let age = meta.modified().ok().and_then(|at| at.elapsed().ok());
            let is_born_here = meta.is_dir() && meta.mode() & OWN_MARK != 0;
            is_born_here && is_ours(&meta) && age.is_some_and(|age| age > AGE)
        });
        let is_marked =
            mark_of(&folder).is_ok_and(|found| found.is_some_and(|found| found.starts_with(mark)));
        // On a file system without locks that cannot be told, and leftovers stay.
        if !(is_old || is_marked) {
            continue;
        }
        let Ok(Some(_lock)) = lock(&folder) else {
            continue;
        };
        if is_marked {
            remove(&folder, &is_own);
        } else {
            if mark_of(&folder).is_ok_and(|mark| mark.is_some_and(|mark| mark.is_empty())) {
                let _ = fs::remove_file(folder.join(MARKER));
            }
            // This removes only an empty folder.
            let _ = fs::remove_dir(&folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Instant, SystemTime};

    use super::*;

    const MARK: &str = "somebody's\n";

    fn is_own(name: &str) -> bool {
        name == "ours"
    }

    /// Removes leftovers until this folder is gone. A process that another test is about to
    /// execute has a copy of every lock until then.
    fn remove_until_gone(parent: &Path, folder: &Path) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while folder.exists() {
            assert!(Instant::now() < deadline, "{} stays", folder.display());
            remove_leftovers(parent, MARK, is_own);
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_folders_with_our_marker_and_without_a_lock_are_leftovers() {
        let parent = tempfile::tempdir().unwrap();
        let (left, lock_on_left) = make_nameless(parent.path(), MARK).unwrap();
        let (used, _lock) = make_nameless(parent.path(), MARK).unwrap();
        let (marked_otherwise, other_lock) = make_nameless(parent.path(), "else\n").unwrap();
        drop((lock_on_left, other_lock));
        fs::write(left.join("ours"), "").unwrap();
        let user_made = parent.path().join(format!("{PREFIX}mine"));
        fs::create_dir(&user_made).unwrap();
        let linked = parent.path().join(format!("{PREFIX}link"));
        symlink(&left, &linked).unwrap();
        remove_until_gone(parent.path(), &left);
        assert!(used.exists() && marked_otherwise.exists() && user_made.exists());
        assert!(linked.symlink_metadata().is_ok());
    }

    #[test]
    fn a_folder_that_is_removed_while_it_is_marked_is_told_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let opened = File::open(folder.path()).unwrap();
        folder.close().unwrap();
        let marked = put_mark(Path::new(&path_of(&opened)), MARK);
        assert_eq!(marked.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// Cleaners of temporary folders remove old files one by one and leave such a folder.
    #[test]
    fn a_folder_in_use_stays_however_old_and_empty_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let (used, lock) = make_nameless(parent.path(), MARK).unwrap();
        fs::remove_file(used.join(MARKER)).unwrap();
        let age = SystemTime::now() - 10 * AGE;
        File::open(&used).unwrap().set_modified(age).unwrap();
        remove_leftovers(parent.path(), MARK, is_own);
        assert!(used.exists());
        drop(lock);
        remove_until_gone(parent.path(), &used);
    }

    #[test]
    fn several_may_hold_a_folder_and_nobody_locks_it_meanwhile() {
        let parent = tempfile::tempdir().unwrap();
        let (used, first) = make_nameless(parent.path(), MARK).unwrap();
        let second = hold(&used).unwrap().unwrap();
        assert!(is_there(&second, &used));
        drop(first);
        assert!(lock(&used).unwrap().is_none());
        remove_leftovers(parent.path(), MARK, is_own);
        assert!(used.exists());
        fs::remove_dir_all(&used).unwrap();
        assert!(!is_there(&second, &used));
        let _third = make(&used, MARK).unwrap();
        assert!(used.exists() && !is_there(&second, &used));
    }

    #[test]
    fn of_old_folders_without_a_marker_only_those_that_were_born_here_go() {
        let parent = tempfile::tempdir().unwrap();
        let made = |name: &str, mode: u32, marker: Option<&str>| {
            let folder = parent.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            if let Some(text) = marker {
                fs::write(folder.join(MARKER), text).unwrap();
            }
            let before = std::time::SystemTime::now() - 2 * AGE;
            File::open(&folder).unwrap().set_modified(before).unwrap();
            folder
        };
        let left = [
            made("Abc123", 0o1700, None),
            made("Abc124", 0o1700, Some("")),
        ];
        let users = [
            made("mine", 0o755, None),
            made("Abc125", 0o700, Some("")),
            made("Abc126", 0o1700, Some("text")),
        ];
        let held = made("Abc127", 0o1700, None);
        let _lock = lock(&held).unwrap().unwrap();
        let (young, _) = make_nameless(parent.path(), "").unwrap();
        assert!(fs::metadata(&young).unwrap().mode() & OWN_MARK != 0);
        remove_leftovers(parent.path(), MARK, is_own);
        assert!(left.iter().all(|folder| !folder.exists()), "{left:?}");
        assert!(users.iter().all(|folder| folder.exists()), "{users:?}");
        assert!(held.exists() && young.exists());
    }

    #[test]
    fn files_that_are_not_ours_stay_and_so_does_their_folder() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        make(&folder, MARK).unwrap();
        for name in ["ours", "notes.txt"] {
            fs::write(folder.join(name), name).unwrap();
        }
        assert!(!remove(&folder, is_own));
        assert_eq!(fs::read(folder.join("notes.txt")).unwrap(), b"notes.txt");
        assert!(!folder.join("ours").exists());
        assert_eq!(mark_of(&folder).unwrap().as_deref(), Some(MARK));
        fs::remove_file(folder.join("notes.txt")).unwrap();
        assert!(remove(&folder, is_own));
        assert_eq!(names_in(parent.path()).count(), 0);
    }

    #[test]
    fn nothing_that_is_there_is_taken_over() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("x");
        let refused = |path: &Path| {
            let error = make(path, MARK).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(names_in(path.parent().unwrap()).count(), 1);
        };
        fs::create_dir(&path).unwrap();
        refused(&path);
        assert_eq!(mark_of(&path).unwrap(), None);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "text").unwrap();
        refused(&path);
        fs::remove_file(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        refused(&path);
    }

    #[test]
    fn a_marker_is_put_as_a_whole_and_replaces_none() {
        let parent = tempfile::tempdir().unwrap();
        put_mark(parent.path(), MARK).unwrap();
        let error = put_mark(parent.path(), "else\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(mark_of(parent.path()).unwrap().as_deref(), Some(MARK));
        assert_eq!(names_in(parent.path()).count(), 1);
    }

    #[test]
    fn a_marker_that_is_a_link_proves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        make(&folder, MARK).unwrap();
        fs::rename(folder.join(MARKER), folder.join("elsewhere")).unwrap();
        symlink("elsewhere", folder.join(MARKER)).unwrap();
        assert_eq!(mark_of(&folder).unwrap(), None);
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
