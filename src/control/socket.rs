//! The socket file of one run: made with its lock, and removed with it. Whoever holds the lock lives,
//! so a socket of a dead run is replaced and that of a living one never is. It does not know what is
//! said on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::{Pid, geteuid, test_kill_process};
use sha2::{Digest, Sha256};

use super::folder::{ENDING, SocketFolder, is_our_socket, is_same, name_of};
use super::unusable::{PATH_BYTES_MAX, Unusable};
use crate::sys::descriptors::path_of;
use crate::sys::lock::{AFTERLIFE, take_in_time, try_lock};

/// The number of clients that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The number of times that a folder is made again which another run has removed.
const TRIES: usize = 10;

/// The ending of the name of a socket that does not listen yet.
pub(super) const EARLY: &str = ".new";

/// The longest part of its own name that is in that one, so that this is no longer where it could be
/// too long. The whole name of each run that has one is.
const EARLY_BYTES_MAX: usize = NAME_BYTES_MAX + ENDING.len();

/// The longest name of a run, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A socket that clients can reach by its path, until it is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) path: PathBuf,
    file_name: String,
    folder: SocketFolder,
    made: Stat,
    lock: Lock,
    /// Dropped last.
    _leaving: Leaving,
}

/// Removes the folder, if it is one that was made in the temporary folder and is empty.
#[derive(Debug)]
struct Leaving(Option<PathBuf>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Others' sockets may be in it.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// A file whose lock is held by the run that serves the socket beside it.
#[derive(Debug)]
pub(super) struct Lock {
    folder: Arc<OwnedFd>,
    name: String,
    file: File,
}

impl Socket {
    /// Makes the socket of the run of this name in the user's folder.
    pub(super) fn of_name(name: &str) -> Result<(Self, UnixListener), Unusable> {
        check_name(name)?;
        let file_name = format!("{name}{ENDING}");
        // Before a folder is made for it.
        check_length(SocketFolder::place().join(&file_name))?;
        let make = || Socket::make(SocketFolder::of_user()?, file_name.clone());
        for _ in 0..TRIES {
            match make() {
                // A run that has ended has removed the folder, before there was something in it.
                Err(Unusable::System {
                    errno: Errno::NOENT,
                    ..
                }) => {}
                made => return made,
            }
        }
        make()
    }

    /// Makes a socket of this path.
    pub(super) fn of_path(path: &Path) -> Result<(Self, UnixListener), Unusable> {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else {
            return Err(Unusable::NoName { path: path.into() });
        };
        Socket::make(SocketFolder::of(path)?, name.to_owned())
    }

    fn make(folder: SocketFolder, file_name: String) -> Result<(Self, UnixListener), Unusable> {
        let path = check_length(folder.path.join(&file_name))?;
        let mut lock = Lock::take(&folder, &file_name)?;
        lock.sign();
        make_way(&folder, &file_name)?;
        let at = |errno| Unusable::at(path.clone(), errno);
        let (listener, made) = listen_at(&folder, &file_name).map_err(at)?;
        let socket = Socket {
            path,
            file_name,
            _leaving: Leaving(folder.is_temporary.then(|| folder.path.clone())),
            folder,
            made,
            lock,
        };
        Ok((socket, listener))
    }

    /// Returns the name of the run, by which others find it in the user's folder.
    pub(super) fn name(&self) -> &str {
        name_of(OsStr::new(&self.file_name)).unwrap_or(&self.file_name)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let folder = &self.folder.open;
        // What somebody has put in its place is theirs.
        let found = statat(folder, &self.file_name, AtFlags::SYMLINK_NOFOLLOW);
        if self.lock.is_held() && found.is_ok_and(|found| is_same(&found, &self.made)) {
            // The process ends anyway, and the next run replaces what is left.
            let _ = unlinkat(folder, &self.file_name, AtFlags::empty());
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let there = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if let (true, Ok(there), Ok(ours)) = (self.is_held(), there, fstat(&self.file))
            && is_same(&there, &ours)
        {
            let _ = unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// Checks that a socket can have this path.
fn check_length(path: PathBuf) -> Result<PathBuf, Unusable> {
    match path.as_os_str().len() {
        0..=PATH_BYTES_MAX => Ok(path),
        _ => Err(Unusable::TooLong { path }),
    }
}

/// Checks that this can be the name of a run.
pub(super) fn check_name(name: &str) -> Result<(), Unusable> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(is_part);
    match is_name {
        true => Ok(()),
        false => Err(Unusable::BadName { name: name.into() }),
    }
}

impl Lock {
    /// Takes the lock beside a socket, for as long as it is kept.
    pub(super) fn take(folder: &SocketFolder, file_name: &str) -> Result<Self, Unusable> {
        let name = format!("{file_name}.lock");
        let path = folder.path.join(&name);
        let at = |errno| Unusable::at(path.clone(), errno);
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = openat(&folder.open, &name, flags, Mode::RUSR | Mode::WUSR);
            let open = open.map_err(at)?;
            let found = fstat(&open).map_err(at)?;
            // A second name of it may be that of something else, put there by somebody else.
            if found.st_uid != geteuid().as_raw() || found.st_nlink > 1 {
                return Err(Unusable::Occupied { path });
            }
            let mut file = File::from(open);
            if !is_taken(&mut file, &path)? {
                return Err(Unusable::InUse {
                    path: folder.path.join(file_name),
                    pid: pid_in(&mut file),
                });
            }
            // A run that ended meanwhile has removed it, and then it is not what others would lock.
            let there = statat(&folder.open, &name, AtFlags::SYMLINK_NOFOLLOW);
            if there.is_ok_and(|there| is_same(&there, &found)) {
                let folder = Arc::clone(&folder.open);
                return Ok(Lock { folder, name, file });
            }
        }
    }

    /// Returns `true` if nobody else has it.
    fn is_held(&self) -> bool {
        try_lock(&self.file, FlockOperation::NonBlockingLockExclusive).unwrap_or(false)
    }

    /// Notes this process in it, as the one that serves the socket. Where no file may be written, it
    /// is not known by its process.
    fn sign(&mut self) {
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(self.file, "{}", std::process::id()));
        drop(written);
    }
}

/// Tries to lock the file. The lock of a killed process lives on for a moment, which is waited for.
fn is_taken(file: &mut File, path: &Path) -> Result<bool, Unusable> {
    let pid = pid_in(file);
    let time = || match pid {
        Some(pid) if !is_there(pid) => AFTERLIFE,
        _ => std::time::Duration::ZERO,
    };
    let take = || Ok(try_lock(file, FlockOperation::NonBlockingLockExclusive)?.then_some(()));
    let taken = take_in_time(time, take);
    taken
        .map(|taken| taken.is_some())
        .map_err(|error| Unusable::at(path.into(), errno_of(&error)))
}

fn is_there(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Returns the process that is noted in a lock.
fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Removes the socket of a dead run, also one that has not had its name. The lock is held, so no run that
/// keeps to it lives.
pub(super) fn make_way(folder: &SocketFolder, file_name: &str) -> Result<(), Unusable> {
    remove_dead(folder, &early_name_of(file_name))?;
    remove_dead(folder, file_name)
}

fn remove_dead(folder: &SocketFolder, file_name: &str) -> Result<(), Unusable> {
    let path = folder.path.join(file_name);
    let found = match statat(&folder.open, file_name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(Unusable::at(path, errno)),
    };
    if !is_our_socket(&found) {
        return Err(Unusable::Occupied { path });
    }
    // It may be that of another program, which keeps no lock; or that of a dead run, as long as a
    // child that it had just forked has a copy of it.
    let unserved = || Ok((!is_served(folder, file_name)?).then_some(()));
    match take_in_time(|| AFTERLIFE, unserved) {
        Ok(None) => Err(Unusable::InUse { path, pid: None }),
        Ok(Some(())) => unlinkat(&folder.open, file_name, AtFlags::empty())
            .map_err(|errno| Unusable::at(path, errno)),
        Err(error) => Err(Unusable::at(path, errno_of(&error))),
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Returns `true` if somebody listens on the socket, without waiting until it is accepted there.
fn is_served(folder: &SocketFolder, file_name: &str) -> Result<bool, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path_in(folder, file_name))?) {
        // The kernel says so when too many wait.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Makes the socket. Its mode is set before it has a path, so that it is never open to others, and it
/// listens before it has its name, so that whoever finds that is not refused.
fn listen_at(folder: &SocketFolder, file_name: &str) -> Result<(UnixListener, Stat), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let early = early_name_of(file_name);
    bind(&socket, &SocketAddrUnix::new(path_in(folder, &early))?)?;
    let named = listen(&socket, BACKLOG)
        .and_then(|()| statat(&folder.open, &early, AtFlags::SYMLINK_NOFOLLOW))
        .and_then(|made| rename(folder, &early, file_name).map(|()| made));
    if named.is_err() {
        // The error says more.
        let _ = unlinkat(&folder.open, &early, AtFlags::empty());
    }
    Ok((socket.into(), named?))
}

/// Returns the name that a socket has until it listens. Only the holder of the lock gives it.
pub(super) fn early_name_of(file_name: &str) -> String {
    if file_name.len() <= EARLY_BYTES_MAX {
        return format!(".{file_name}{EARLY}");
    }
    // Others may begin alike.
    let beginning = &file_name[..file_name.floor_char_boundary(EARLY_BYTES_MAX - 8)];
    let digest = Sha256::digest(file_name);
    let [a, b, c, d] = [0, 1, 2, 3].map(|place| digest[place]);
    format!(".{beginning}{a:02x}{b:02x}{c:02x}{d:02x}{EARLY}")
}

/// Gives a file its name, which nothing else may have.
fn rename(folder: &SocketFolder, early: &str, file_name: &str) -> Result<(), Errno> {
    let folder = &folder.open;
    match renameat_with(folder, early, folder, file_name, RenameFlags::NOREPLACE) {
        // Not every file system can look at both names at once.
        Err(Errno::INVAL | Errno::NOSYS) => renameat(folder, early, folder, file_name),
        renamed => renamed,
    }
}

/// A path to a file in this very folder, whatever has the folder's name by now.
fn path_in(folder: &SocketFolder, file_name: &str) -> PathBuf {
    Path::new(&path_of(&folder.open)).join(file_name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn at(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("run.sock")
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_gone_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, _listener) = Socket::of_path(&at(&folder)).unwrap();
        let mode = fs::metadata(at(&folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(socket.name(), "run");
        drop(UnixStream::connect(at(&folder)).unwrap());
        drop(socket);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_living_one_is_not_replaced_and_a_dead_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let (first, listener) = Socket::of_path(&at(&folder)).unwrap();
        let refused = Socket::of_path(&at(&folder)).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(refused, Unusable::InUse { pid: Some(by), .. } if by == pid));
        drop(UnixStream::connect(at(&folder)).unwrap());
        // As if it had been killed: both files stay, and nobody has the lock.
        rustix::fs::flock(&first.lock.file, FlockOperation::Unlock).unwrap();
        drop(listener);
        assert!(at(&folder).exists());
        let (second, _listener) = Socket::of_path(&at(&folder)).unwrap();
        drop(UnixStream::connect(at(&folder)).unwrap());
        // The end of the first one does not take the second one's socket.
        drop(first);
        assert!(at(&folder).exists());
        drop(second);
    }

    #[test]
    fn whoever_finds_its_name_can_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(&folder);
        for _ in 0..500 {
            let (done, is_done) = crossbeam_channel::bounded::<()>(0);
            std::thread::scope(|scope| {
                let make = scope.spawn(|| {
                    let made = Socket::of_path(&path).unwrap();
                    // The end of the channel.
                    let _ = is_done.recv();
                    drop(made);
                });
                while fs::symlink_metadata(&path).is_err() {
                    assert!(!make.is_finished(), "it is not made");
                    std::thread::yield_now();
                }
                drop(UnixStream::connect(&path).unwrap());
                drop(done);
            });
        }
    }

    #[test]
    fn what_one_that_was_killed_before_it_had_its_name_has_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let early = folder.path().join(early_name_of("run.sock"));
        drop(UnixListener::bind(&early).unwrap());
        let (socket, _listener) = Socket::of_path(&at(&folder)).unwrap();
        drop(UnixStream::connect(at(&folder)).unwrap());
        assert!(!early.exists());
        drop(socket);
        // What is somebody's stays.
        fs::write(&early, "mine").unwrap();
        let refused = Socket::of_path(&at(&folder)).unwrap_err().to_string();
        assert!(refused.contains(".run.sock.new"), "{refused}");
        assert_eq!(fs::read(&early).unwrap(), b"mine");
    }

    #[test]
    fn what_has_come_in_its_place_is_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        let folder = SocketFolder::of(&at(&place)).unwrap();
        fs::write(at(&place), "mine").unwrap();
        let refused = listen_at(&folder, "run.sock").unwrap_err();
        assert_eq!(refused, Errno::EXIST);
        assert_eq!(fs::read(at(&place)).unwrap(), b"mine");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_long_name_is_no_longer_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let open = SocketFolder::of(&at(&folder)).unwrap();
        let name = "ü".repeat(44);
        let (listener, _) = listen_at(&open, &name).unwrap();
        drop(listener);
        assert!(early_name_of(&name).len() < name.len());
        assert!(fs::symlink_metadata(folder.path().join(&name)).is_ok());
        // Nor is it that of another one.
        let [one, other] = ["1", "2"].map(|end| early_name_of(&format!("{name}{end}")));
        assert_ne!(one, other);
        let longest = format!("{}{ENDING}", "x".repeat(NAME_BYTES_MAX));
        assert_eq!(early_name_of(&longest), format!(".{longest}{EARLY}"));
    }

    #[test]
    fn the_socket_of_a_program_that_keeps_no_lock_is_not_replaced_while_it_listens() {
        let folder = tempfile::tempdir().unwrap();
        let other = UnixListener::bind(at(&folder)).unwrap();
        let refused = Socket::of_path(&at(&folder)).unwrap_err();
        assert!(matches!(refused, Unusable::InUse { pid: None, .. }));
        drop(other);
        Socket::of_path(&at(&folder)).unwrap();
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(&folder);
        let refused = || match Socket::of_path(&path) {
            Err(refused) => refused.to_string(),
            Ok(_) => panic!("it was replaced"),
        };
        fs::write(&path, "mine").unwrap();
        assert!(refused().contains("is no socket of this user"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        symlink(&elsewhere, &path).unwrap();
        assert!(refused().contains("is no socket of this user"));
        fs::remove_file(&path).unwrap();
        // A lock that leads elsewhere is not followed.
        symlink(&elsewhere, folder.path().join("run.sock.lock")).unwrap();
        assert!(refused().contains("run.sock.lock"));
        assert!(!elsewhere.exists());
        fs::remove_file(folder.path().join("run.sock.lock")).unwrap();
        fs::write(&elsewhere, "mine").unwrap();
        fs::hard_link(&elsewhere, folder.path().join("run.sock.lock")).unwrap();
        assert!(refused().contains("run.sock.lock"));
        assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
    }

    #[test]
    fn names_and_paths_that_cannot_be_are_told() {
        for name in ["", ".hidden", "a/b", "a b", "ä", "-x", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["a", "run-1", "kitchen.2_b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        let refused = Socket::of_path(&long).unwrap_err().to_string();
        assert!(refused.contains("can have 107"), "{refused}");
        let missing = folder.path().join("no/run.sock");
        let refused = Socket::of_path(&missing).unwrap_err().to_string();
        assert!(refused.contains("no: No such file"), "{refused}");
        assert!(Socket::of_path(Path::new("/")).is_err());
    }

    #[test]
    fn many_that_race_for_one_path_have_it_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(&folder);
        let serving = std::sync::atomic::AtomicU32::new(0);
        let served = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let Ok((socket, listener)) = Socket::of_path(&path) else {
                            continue;
                        };
                        use std::sync::atomic::Ordering::SeqCst;
                        assert_eq!(serving.fetch_add(1, SeqCst), 0);
                        assert!(UnixStream::connect(&path).is_ok());
                        served.fetch_add(1, SeqCst);
                        serving.fetch_sub(1, SeqCst);
                        drop(listener);
                        drop(socket);
                    }
                });
            }
        });
        assert!(served.into_inner() > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
