//! The journal's file as the file system sees it: its permission to be used, its present user, and
//! its completeness. It knows nothing of the tables.
//!
//! One supervisor at a time: an exclusive `flock` on the file, which SQLite's own locks know
//! nothing of, and which ends with the process that holds it, however that ends. Closing any
//! descriptor of a file ends all of SQLite's locks on it in that process, so a file that this
//! process has open is refused before it is opened again, and the claim ends after the connection.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::time::SystemTime;

use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, access};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::FlockOperation;

use super::neighbours::{self, beside, folder_of, own_path};
use super::schema::{APPLICATION_ID, IN_USE};
use super::trouble::{FileTrouble, JournalTrouble};
use crate::sys::lock::{AFTERLIFE, take_in_time, try_lock};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;

/// The time to wait for a process that may have been killed, because its end is not seen at once.
const TIMEOUT: Duration = Duration::from_millis(100);

/// Device and inode of the journals that this process has open.
static CLAIMED: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

fn claimed() -> MutexGuard<'static, BTreeSet<(u64, u64)>> {
    CLAIMED.lock()
}

/// The right to use a file, for as long as it is kept.
#[derive(Debug)]
pub(super) struct Claim {
    file: File,
    /// The file's own path, without links.
    pub(super) path: PathBuf,
    /// Device and inode.
    pub(super) id: (u64, u64),
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Explicitly, because a child that was just forked has a descriptor, too.
        let _ = self.file.unlock();
        claimed().remove(&self.id);
    }
}

impl Claim {
    /// Claims a file, and makes it if it does not exist.
    pub(super) fn take(path: &Path) -> Result<Self, FileTrouble> {
        check_place(path)?;
        // Check before anything is made, so that a refusal leaves no file.
        if is_missing(path) && let Err(why) = neighbours::check_none(path)
            // Another process may have made it just now, with its neighbours.
            && is_missing(path)
        {
            return Err(why);
        }
        let folder = folder_of(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // Only the owner may read items and their ends; SQLite gives its log the same mode.
        options.mode(0o600);
        let claim = Self::lock(path, &options)?;
        let meta = claim.file.metadata().map_err(FileTrouble::unopened)?;
        if meta.nlink() > 1 {
            return Err(FileTrouble::HardLink);
        }
        access(&folder, AccessFlags::W_OK)
            .map_err(|why| FileTrouble::FolderReadOnly { folder, why })?;
        Ok(claim)
    }

    /// Claims an existing file only for reading.
    pub(super) fn take_to_read(path: &Path) -> Result<Self, FileTrouble> {
        check_there(path)?;
        Self::lock(path, OpenOptions::new().read(true))
    }

    fn lock(path: &Path, options: &OpenOptions) -> Result<Self, FileTrouble> {
        let mut claimed = claimed();
        if let Ok(meta) = fs::metadata(path)
            && claimed.contains(&(meta.dev(), meta.ino()))
        {
            return Err(FileTrouble::InUse(Some(std::process::id())));
        }
        let file = options.open(path).map_err(FileTrouble::unopened)?;
        lock(&file)?;
        let meta = file.metadata().map_err(FileTrouble::unopened)?;
        let path = fs::canonicalize(path).map_err(FileTrouble::unopened)?;
        let id = (meta.dev(), meta.ino());
        claimed.insert(id);
        Ok(Claim { file, path, id })
    }

    /// Returns `true` if nothing was ever written to it.
    pub(super) fn is_new(&self) -> Result<bool, FileTrouble> {
        let is_empty = self.length()? == 0;
        if is_empty && has_bytes(&self.path, "-wal") {
            return Err(FileTrouble::Truncated(beside(&self.path, "-wal")));
        }
        Ok(is_empty && !has_bytes(&self.path, "-journal"))
    }

    /// Checks that the files beside it under the names of SQLite's files are SQLite's.
    pub(super) fn check_neighbours(&self) -> Result<(), FileTrouble> {
        check_neighbours(&self.file, &self.path)
    }

    /// Checks the header without SQLite, which would change a file of another program.
    pub(super) fn check_header(&self) -> Result<(), JournalTrouble> {
        let Some(header) = check_kind(&self.file, &self.path)? else {
            return Ok(());
        };
        // While there is a write-ahead log, the file may be behind its header.
        match has_bytes(&self.path, "-wal") {
            true => Ok(()),
            false => check_length(&header, self.length()?),
        }
    }

    /// Checks that it is an SQLite file, or may become one again with its log.
    pub(super) fn check_magic(&self) -> Result<(), JournalTrouble> {
        check_kind(&self.file, &self.path)
            .map(drop)
            .or_else(|trouble| match trouble {
                JournalTrouble::Damaged(_) => Ok(()),
                other => Err(other),
            })
    }

    /// Returns `true` if this path names it too.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id)
    }

    /// Returns `true` if SQLite keeps a part of it under this name.
    pub(super) fn is_neighbour(&self, path: &Path) -> bool {
        let own = own_path(path);
        neighbours::names(&self.path).contains(&own)
    }

    /// Returns `true` if none of SQLite's files is beside it.
    pub(super) fn is_alone(&self) -> bool {
        !has_log(&self.path) && !has_bytes(&self.path, "-journal")
    }

    /// Returns `true` if it was separated from its log.
    pub(super) fn has_lost_log(&self) -> bool {
        let mut header = [0; HEADER_BYTES];
        let is_read = self.file.read_exact_at(&mut header, 0).is_ok();
        is_read && has_lost_log(&header, &self.path)
    }

    /// Checks that the file is as long as its header says. Its log must have been written into it.
    pub(super) fn check_length(&self) -> Result<(), JournalTrouble> {
        let mut header = [0; HEADER_BYTES];
        let read = self.file.read_exact_at(&mut header, 0);
        read.map_err(|error| JournalTrouble::Damaged(FileTrouble::unopened(error).to_string()))?;
        check_length(&header, self.length()?)
    }

    /// Returns `true` if the file itself says, without its log, that it needs its log.
    pub(super) fn is_marked(&self) -> bool {
        let mut header = [0; HEADER_BYTES];
        let is_read = self.file.read_exact_at(&mut header, 0).is_ok();
        is_read && number(&header, 60) & IN_USE != 0
    }

    fn length(&self) -> Result<u64, FileTrouble> {
        let meta = self.file.metadata().map_err(FileTrouble::unopened)?;
        Ok(meta.len())
    }

    /// Makes the file's name durable.
    pub(super) fn sync_folder(&self) -> Result<(), FileTrouble> {
        let folder = folder_of(&self.path);
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| FileTrouble::FolderUnsynced {
            folder,
            why: error.to_string(),
        })
    }
}

/// Checks that this is a journal and that its log is there, without SQLite, which would make one.
/// Returns the header, unless SQLite must first finish or undo a write.
pub(super) fn check_kind(
    file: &File,
    path: &Path,
) -> Result<Option<[u8; HEADER_BYTES]>, JournalTrouble> {
    let length = file.metadata().map_err(FileTrouble::unopened)?.len();
    if length == 0 {
        // Its supervisor was killed while making it.
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    let read = file.read_exact_at(&mut header, 0);
    if !header.starts_with(MAGIC) {
        return Err(FileTrouble::NotSqlite.into());
    }
    read.map_err(|_| JournalTrouble::Damaged("it ends within its header".into()))?;
    if has_bytes(path, "-journal") {
        // It was being made.
        return Ok(None);
    }
    if number(&header, 68) != APPLICATION_ID {
        return Err(JournalTrouble::Foreign);
    }
    if has_lost_log(&header, path) {
        let log = beside(path, "-wal");
        return Err(JournalTrouble::Damaged(format!(
            "its log {} is missing: it was moved or copied without it; put it back next to it, or \
             save what the file itself holds",
            log.display()
        )));
    }
    Ok(Some(header))
}

fn has_lost_log(header: &[u8; HEADER_BYTES], path: &Path) -> bool {
    is_marked(header) && !has_log(path)
}

/// Returns `true` if the header says that the journal is in use.
fn is_marked(header: &[u8; HEADER_BYTES]) -> bool {
    header.starts_with(MAGIC) && number(header, 60) & IN_USE != 0
}

fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Returns `true` if its log, perhaps an empty one, is beside it.
fn has_log(path: &Path) -> bool {
    beside(path, "-wal").exists()
}

/// Locks the file, if it is not locked, or only by a process that was killed.
fn lock(file: &File) -> Result<(), FileTrouble> {
    let time = || match holder_of(file) {
        Some(pid) if is_running(pid) => TIMEOUT,
        _ => AFTERLIFE,
    };
    let alone = FlockOperation::NonBlockingLockExclusive;
    let locked = take_in_time(time, || Ok(try_lock(file, alone)?.then_some(())));
    match locked {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err(FileTrouble::InUse(holder_of(file))),
        Err(error) => Err(FileTrouble::Unlockable(error.to_string())),
    }
}

/// Returns `true` if a process exists, has not ended, and was not killed (proc_pid_status(5)).
fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let state = value("State:").and_then(|state| state.trim().chars().next());
    let is_killed = ["SigPnd:", "ShdPnd:"].map(value).into_iter().any(|set| {
        let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        // Signals are counted from one.
        set.unwrap_or(0) >> (Signal::SIGKILL as u32 - 1) & 1 == 1
    });
    state.is_some_and(|state| state != 'Z' && state != 'X') && !is_killed
}

/// Checks that a missing file can be made, and that an existing one is a file.
fn check_place(path: &Path) -> Result<(), FileTrouble> {
    let folder = folder_of(path);
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !folder.is_dir() => {
            Err(FileTrouble::NoFolder(folder))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => check_there(path),
    }
}

/// Checks that it exists and is a file.
pub(super) fn check_there(path: &Path) -> Result<(), FileTrouble> {
    let meta = fs::metadata(path).map_err(FileTrouble::unopened)?;
    if meta.is_dir() {
        return Err(FileTrouble::IsFolder);
    }
    if !meta.is_file() {
        return Err(FileTrouble::NotRegular);
    }
    Ok(())
}

/// Checks that it exists and looks like a journal. Returns its own path, without links.
pub(super) fn check_to_read(path: &Path) -> Result<PathBuf, JournalTrouble> {
    check_there(path)?;
    let path = fs::canonicalize(path).map_err(FileTrouble::unopened)?;
    let file = File::open(&path).map_err(FileTrouble::unopened)?;
    let meta = file.metadata().map_err(FileTrouble::unopened)?;
    if meta.len() == 0 && !has_bytes(&path, "-wal") {
        return Err(FileTrouble::Empty.into());
    }
    // A supervisor may begin or end meanwhile; it marks the file only while there is a log.
    let had_log = has_log(&path);
    match check_kind(&file, &path) {
        Err(JournalTrouble::Damaged(_)) if had_log => {}
        checked => drop(checked?),
    }
    // SQLite opens them for a reader, too.
    check_neighbours(&file, &path)?;
    Ok(path)
}

/// Returns the length and the time of the last change of a journal that is not in use, to tell its
/// states apart. Returns `None` if it is in use, or was when its user was killed.
pub(super) fn state_at_rest(path: &Path) -> Option<(u64, SystemTime)> {
    let file = File::open(path).ok()?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0).ok()?;
    if is_marked(&header) || has_log(path) {
        return None;
    }
    let meta = file.metadata().ok()?;
    Some((meta.len(), meta.modified().ok()?))
}

/// Checks that the files beside it under the names of SQLite's files are SQLite's.
fn check_neighbours(file: &File, path: &Path) -> Result<(), FileTrouble> {
    let mut header = [0; HEADER_BYTES];
    let is_read = file.read_exact_at(&mut header, 0).is_ok();
    neighbours::check(path, is_read && is_marked(&header))
}

/// Returns the process that holds the lock on this file, if the kernel tells (proc_locks(5)).
fn holder_of(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    let (major, minor) = (
        nix::sys::stat::major(meta.dev()),
        nix::sys::stat::minor(meta.dev()),
    );
    let id = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let lock = locks.lines().find(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == "FLOCK") && words.any(|word| word == id)
    })?;
    let pid = lock.split_whitespace().nth(4)?.parse().ok()?;
    (pid > 0).then_some(pid)
}

fn has_bytes(path: &Path, suffix: &str) -> bool {
    fs::metadata(beside(path, suffix)).is_ok_and(|meta| meta.len() > 0)
}

/// Returns a number of the header: four bytes, the highest first (SQLite's file format, 1.3).
fn number(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_be_bytes(bytes)
}

fn check_length(header: &[u8; HEADER_BYTES], length: u64) -> Result<(), JournalTrouble> {
    let page_bytes = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65536,
        bytes => bytes,
    };
    let expected = page_bytes * u64::from(number(header, 28));
    if length == expected {
        return Ok(());
    }
    Err(JournalTrouble::Damaged(format!(
        "it has {length} bytes, and should have {expected}"
    )))
}
