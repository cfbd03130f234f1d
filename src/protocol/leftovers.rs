//! Removes from the temporary folder what killed processes have provably left there.
//!
//! A worker is met in a folder made by ipc-channel, which exists for some milliseconds (see
//! `worker::meeting`). Its user holds a lock on it, and has put a file into it that marks it as
//! this crate's. So a marked folder without a held lock belongs to a dead process, in any
//! namespace. Files of other users are never touched.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::fs::{flock, fstat, open, statat, unlinkat};
use rustix::process::geteuid;

/// The file in a meeting place that marks it as this crate's.
pub(crate) const MARK: &str = "dishrack";

/// The name that ipc-channel gives to the socket in it.
pub(crate) const SOCKET: &str = "socket";

/// The beginning of the name of a folder that is made as a trial.
const TRIAL: &str = ".dishrack-";

/// The sticky bit, which our folders have from the call that makes them. It tells an empty one
/// whose maker was killed from a user's. Among the files of one user it has no other meaning.
pub(crate) const BIRTHMARK: u32 = 0o1000;

/// Makes a folder and removes it, to try whether this process can.
pub(crate) fn try_out(folder: &Path, pid: u32) -> io::Result<()> {
    let trial = folder.join(format!("{TRIAL}{pid}"));
    match fs::DirBuilder::new().mode(0o700 | BIRTHMARK).create(&trial) {
        Ok(()) => {}
        // Another thread of this process runs the same trial, and succeeded.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    match fs::remove_dir(&trial) {
        // A process that cannot see this one took it for dead and removed the folder.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes from the temporary folder what is proven to be this user's and unused. A folder that
/// cannot be removed stays, and another supervisor may be faster.
pub(crate) fn remove_from(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if is_meeting_places(&name) {
            let _ = remove_meeting_place(&entry.path());
        } else if is_of_a_dead_trial(&name) {
            let _ = remove_trial(&entry.path());
        }
    }
}

/// Returns `true` if ipc-channel gives such names to its folders.
fn is_meeting_places(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    let rest = bytes.strip_prefix(b".tmp");
    rest.is_some_and(|rest| rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric))
}

/// Returns `true` if this is the name of a trial whose process has ended.
fn is_of_a_dead_trial(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(TRIAL));
    let is_pid = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let pid = digits.filter(|digits| is_pid(digits));
    pid.is_some_and(|pid| pid.parse::<i32>().is_ok() && !Path::new("/proc").join(pid).exists())
}

/// Returns `true` if only this user may enter it.
pub(crate) fn is_private(folder: &Stat) -> bool {
    folder.st_uid == geteuid().as_raw() && folder.st_mode & 0o077 == 0
}

/// Opens a folder, but not a link to one.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

fn remove_meeting_place(path: &Path) -> io::Result<()> {
    let folder = open_folder(path)?;
    let opened = fstat(&folder)?;
    // The mark is made under the lock, so locking a folder without one could only disturb others.
    if !is_private(&opened) || kind_of(&folder, MARK) != Some(FileType::RegularFile) {
        return Ok(());
    }
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    if kind_of(&folder, SOCKET) == Some(FileType::Socket) {
        unlinkat(&folder, SOCKET, AtFlags::empty())?;
    }
    unlinkat(&folder, MARK, AtFlags::empty())?;
    // The name may be another folder's by now; a folder with something in it stays in any case.
    let named = rustix::fs::lstat(path)?;
    match (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino) {
        true => fs::remove_dir(path),
        false => Ok(()),
    }
}

/// Returns the kind of the file with this name, if there is one and it is this user's.
fn kind_of(folder: &OwnedFd, name: &str) -> Option<FileType> {
    let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_own = found.st_uid == geteuid().as_raw();
    is_own.then(|| FileType::from_raw_mode(found.st_mode))
}

fn remove_trial(path: &Path) -> io::Result<()> {
    let found = rustix::fs::lstat(path)?;
    let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    let is_born_here = found.st_mode & BIRTHMARK != 0;
    if !is_folder || !is_born_here || found.st_uid != geteuid().as_raw() {
        return Ok(());
    }
    // This removes only an empty folder.
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// A temporary folder that is removed at the end of its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("dishrack-test-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        /// Makes a folder in it with these files.
        fn with(&self, name: &str, mode: u32, files: &[&str]) -> PathBuf {
            let path = self.0.join(name);
            fs::DirBuilder::new().mode(mode).create(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            for file in files {
                match *file {
                    SOCKET => drop(UnixListener::bind(path.join(SOCKET)).unwrap()),
                    file => fs::write(path.join(file), "").unwrap(),
                }
            }
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_dead_process_has_left_goes() {
        let folder = Folder::new("dead");
        let left = [
            folder.with(".tmpAbc123", 0o700, &[MARK]),
            folder.with(".tmpAbc124", 0o700, &[MARK, SOCKET]),
            folder.with(".dishrack-2147483646", 0o1700, &[]),
        ];
        remove_from(&folder.0);
        assert!(left.iter().all(|path| !path.exists()), "{left:?}");
    }

    #[test]
    fn what_is_not_proven_dead_and_ours_stays() {
        let folder = Folder::new("living");
        let me = std::process::id();
        let held = folder.with(".tmpAbc123", 0o700, &[MARK]);
        let lock = open_folder(&held).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let stay = [
            held,
            folder.with(".tmpAbc124", 0o700, &[SOCKET]),
            folder.with(".tmpAbc125", 0o700, &[]),
            folder.with(".tmpAbc126", 0o755, &[MARK]),
            folder.with(".tmpAbc12", 0o700, &[MARK]),
            folder.with(".tmpAbc127", 0o700, &[MARK, "letter"]),
            folder.with(&format!(".dishrack-{me}"), 0o700, &[]),
            folder.with(".dishrack-2147483646", 0o1700, &["letter"]),
            folder.with(".dishrack-mine", 0o700, &[]),
            folder.with("mine", 0o700, &[MARK]),
            folder.with(".dishrack-2147483645", 0o700, &[]),
        ];
        let link = folder.0.join(".tmpAbc128");
        symlink(&stay[9], &link).unwrap();
        remove_from(&folder.0);
        assert!(stay.iter().all(|path| path.exists()), "{stay:?}");
        assert!(stay[9].join(MARK).exists() && link.is_symlink());
        assert!(stay[5].join("letter").exists());
    }
}
