//! The folder in which the sockets of a user's runs are, and where it is: in `$XDG_RUNTIME_DIR`, or
//! else in the temporary folder. It is used only if nobody else can write to it, and only by an open
//! descriptor, so that nothing that others put in its place makes us write elsewhere. It does not
//! know what the sockets are for.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::unusable::Unusable;

/// The name of the folder of sockets in `$XDG_RUNTIME_DIR`.
const NAME: &str = "dishrack";

/// An open folder for sockets.
#[derive(Debug)]
pub(super) struct SocketFolder {
    pub(super) path: PathBuf,
    pub(super) open: Arc<OwnedFd>,
    /// True if it was made in the temporary folder, where nothing is to be left.
    pub(super) is_temporary: bool,
}

impl SocketFolder {
    /// Returns the place of this user's folder, whether it is there or not.
    pub(super) fn place() -> PathBuf {
        match env::var_os("XDG_RUNTIME_DIR") {
            Some(base) if is_ours(Path::new(&base)) => Path::new(&base).join(NAME),
            _ => {
                let base = env::temp_dir();
                let base = match base.is_absolute() {
                    true => base,
                    false => PathBuf::from("/tmp"),
                };
                base.join(format!("{NAME}-{}", geteuid().as_raw()))
            }
        }
    }

    /// Opens the user's folder, and makes it if it is not there.
    pub(super) fn of_user() -> Result<Self, Unusable> {
        let path = SocketFolder::place();
        match mkdirat(CWD, &path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => SocketFolder::private(path),
            Err(errno) => Err(Unusable::at(path, errno)),
        }
    }

    /// Opens the user's folder, if it is there.
    pub(super) fn of_user_if_there() -> Result<Option<Self>, Unusable> {
        let path = SocketFolder::place();
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => SocketFolder::private(path).map(Some),
        }
    }

    /// Opens a folder that must be this user's alone.
    fn private(path: PathBuf) -> Result<Self, Unusable> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let open = match openat(CWD, &path, flags, Mode::empty()) {
            Ok(open) => open,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(Unusable::NoFolder { path }),
            // It may be somebody else's, and that says more.
            Err(errno) => match fs::symlink_metadata(&path) {
                Ok(found) if found.uid() != geteuid().as_raw() => {
                    let uid = found.uid();
                    return Err(Unusable::Foreign { path, uid });
                }
                _ => return Err(Unusable::at(path, errno)),
            },
        };
        let found = match fstat(&open) {
            Ok(found) => found,
            Err(errno) => return Err(Unusable::at(path, errno)),
        };
        match (found.st_uid, Mode::from_raw_mode(found.st_mode)) {
            (uid, _) if uid != geteuid().as_raw() => Err(Unusable::Foreign { path, uid }),
            (_, mode) if mode.intersects(Mode::RWXG | Mode::RWXO) => {
                let mode = mode.as_raw_mode();
                Err(Unusable::TooOpen { path, mode })
            }
            _ => Ok(SocketFolder {
                is_temporary: !path.ends_with(NAME),
                path,
                open: Arc::new(open),
            }),
        }
    }

    /// Opens the folder that a socket of this path is to be in. It may be any that is this user's,
    /// root's, or one like `/tmp`, in which nobody can replace the files of others.
    pub(super) fn of(socket: &Path) -> Result<Self, Unusable> {
        let path = match socket.parent() {
            None => {
                return Err(Unusable::NoName {
                    path: socket.into(),
                });
            }
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
        };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let open = openat(CWD, &path, flags, Mode::empty());
        let open = open.map_err(|errno| Unusable::at(path.clone(), errno))?;
        let found = fstat(&open).map_err(|errno| Unusable::at(path.clone(), errno))?;
        let is_ours = found.st_uid == geteuid().as_raw() || found.st_uid == 0;
        match is_ours {
            true => Ok(SocketFolder {
                path,
                open: Arc::new(open),
                is_temporary: false,
            }),
            false => Err(Unusable::Foreign {
                path,
                uid: found.st_uid,
            }),
        }
    }
}

/// Returns `true` for the path of a folder of this user. The variable may be another user's, as
/// after `su`.
fn is_ours(base: &Path) -> bool {
    let found = fs::metadata(base);
    base.is_absolute()
        && found.is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
}

/// Returns `true` if these are one file.
pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Returns `true` if it is a socket of this user.
pub(super) fn is_our_socket(found: &Stat) -> bool {
    let kind = FileType::from_raw_mode(found.st_mode);
    kind == FileType::Socket && found.st_uid == geteuid().as_raw()
}

/// The ending of a socket's file name in the user's folder.
pub(super) const ENDING: &str = ".sock";

/// Returns the name of the run whose socket has this file name.
pub(super) fn name_of(file: &OsStr) -> Option<&str> {
    file.to_str()?.strip_suffix(ENDING)
}
