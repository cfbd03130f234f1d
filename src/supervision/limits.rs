//! What the system must allow before anything is started; checked first, with clear errors.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipc_channel::ipc::IpcOneShotServer;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::orders::Hello;
use crate::error::Kind;
use crate::worker::attempt::message_of;

/// Open files for one worker process: two channel ends, a pidfd, the lane and its stderr stay; the rest comes and goes while it boots and while large items travel.
const FILES_PER_WORKER: u64 = 9;

/// Open files that a supervisor needs for itself, and for segments of shared memory.
const FILES_RESERVED: u64 = 32;

/// More workers than this are a typing error.
const WORKERS_MAX: usize = 16_384;

/// A socket's path, with its final zero.
const SOCKET_PATH_MAX: usize = 108;

/// What ipc-channel adds to the temporary folder: `/.tmpXXXXXX/socket`.
const SOCKET_NAME_BYTES: usize = 18;

/// The kernel's default buffer of a socket, which small messages must not fill.
const SOCKET_BUFFER: u64 = 212_992;

/// Whether this many workers are a sensible number.
pub(crate) fn check_count(workers: usize) -> Result<(), Kind> {
    let why = match workers {
        0 => "at least 1 is needed".to_owned(),
        1..=WORKERS_MAX => return Ok(()),
        _ => format!("{workers} are more than {WORKERS_MAX}"),
    };
    Err(Kind::Invalid {
        option: "workers",
        why,
    })
}

/// Makes room for the open files of this many worker processes, up to the hard limit.
pub(crate) fn provide_files(workers: usize) -> Result<(), Kind> {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let reserved = open + FILES_RESERVED;
    let needed = reserved + workers as u64 * FILES_PER_WORKER;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| Kind::io("reading the limit on open files")(errno.into()))?;
    if needed <= soft {
        return Ok(());
    }
    if needed <= hard && setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_ok() {
        return Ok(());
    }
    Err(Kind::TooFewFiles {
        workers,
        needed,
        limit: hard,
        fit: hard.saturating_sub(reserved) / FILES_PER_WORKER,
    })
}

/// Whether worker processes can meet their supervisor in the temporary folder.
pub(crate) fn check_meeting_place() -> Result<(), Kind> {
    let folder = std::env::temp_dir();
    let path = folder.display().to_string();
    let unusable = |why: String| Kind::TempDir {
        path: path.clone(),
        why,
    };
    let length = folder.as_os_str().len();
    if length + SOCKET_NAME_BYTES >= SOCKET_PATH_MAX {
        let most = SOCKET_PATH_MAX - SOCKET_NAME_BYTES - 1;
        return Err(unusable(format!(
            "its name has {length} bytes, {most} are possible"
        )));
    }
    if folder.to_str().is_none() {
        return Err(unusable("its name is not UTF-8".into()));
    }
    remove_leftovers(&folder);
    open_meeting_place().map_or_else(|error| Err(unusable(error.to_string())), |_| Ok(()))
}

/// Makes a socket where a process can be met, and its name. ipc-channel panics where the temporary
/// folder is missing, so that is found out first.
pub(super) fn open_meeting_place() -> io::Result<(IpcOneShotServer<Hello>, String)> {
    let trial = std::env::temp_dir().join(format!(".dishrack-{}", std::process::id()));
    match fs::create_dir(&trial) {
        Ok(()) => fs::remove_dir(&trial)?,
        // Another thread of this process tries the same, and is able to.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    catch_unwind(IpcOneShotServer::new)
        .unwrap_or_else(|panic| Err(io::Error::other(message_of(&*panic))))
}

/// Whether small messages can be sent without waiting, as the link assumes.
pub(crate) fn check_socket_buffer() -> Result<(), Kind> {
    let text = fs::read_to_string("/proc/sys/net/core/wmem_default").unwrap_or_default();
    match text.trim().parse::<u64>() {
        Ok(bytes) if bytes < SOCKET_BUFFER => Err(Kind::Invalid {
            option: "net.core.wmem_default",
            why: format!(
                "{bytes} bytes are too few for worker processes; {SOCKET_BUFFER} is usual"
            ),
        }),
        _ => Ok(()),
    }
}

/// A meeting place is used for as long as one worker boots; older than this it is a leftover.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Removes the folders of meeting places whose supervisor was killed while a worker booted. Only
/// those are touched that are named like one, are old, hold nothing but a socket, and whose socket
/// nobody has open.
fn remove_leftovers(folder: &Path) {
    let leftovers: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_old_meeting_place(path))
        .collect();
    // Read after the folder, so that a socket opened in between is not taken for a leftover.
    let Ok(open) = fs::read_to_string("/proc/net/unix") else {
        return;
    };
    for path in leftovers {
        let socket = path.join("socket");
        if socket.to_str().is_some_and(|name| !open.contains(name)) {
            // Another supervisor may be faster.
            let _ = fs::remove_file(&socket).and_then(|()| fs::remove_dir(&path));
        }
    }
}

fn is_old_meeting_place(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.starts_with(".tmp") || name.len() != ".tmpXXXXXX".len() {
        return false;
    }
    let is_old = fs::symlink_metadata(path)
        .and_then(|meta| meta.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFTOVER_AGE));
    let is_socket =
        fs::symlink_metadata(path.join("socket")).is_ok_and(|meta| meta.file_type().is_socket());
    is_old && is_socket && fs::read_dir(path).is_ok_and(|files| files.count() == 1)
}
