//! The reasons for which a socket of the control API cannot be made, in words that say what to do.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::error::Kind;

/// The longest path that a Unix socket can have, in bytes.
pub(super) const PATH_BYTES_MAX: usize = 107;

/// The reason for which there is no control socket.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(
        "{}: this path has {} bytes, and that of a socket can have {PATH_BYTES_MAX}: name a \
         shorter one",
        path.display(),
        path.as_os_str().len()
    )]
    TooLong { path: PathBuf },
    #[error("{}: this folder belongs to user {uid}: name a socket in another one", path.display())]
    Foreign { path: PathBuf, uid: u32 },
    #[error("{}: its mode is {mode:o}, and only its owner may use it: chmod 700", path.display())]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("{}: it is no folder; remove it, or name a socket elsewhere", path.display())]
    NoFolder { path: PathBuf },
    #[error("{}: it has no file name", path.display())]
    NoName { path: PathBuf },
    #[error(
        "{name:?} is no name for a run: it may have up to 64 letters, digits, and any of . _ -, and begins with a letter or digit"
    )]
    BadName { name: String },
    #[error("{}: it is there and is no socket of this user; name another path, or remove it", path.display())]
    Occupied { path: PathBuf },
    #[error(
        "{}: another run serves it{}; name another one, or stop that",
        path.display(),
        pid.map_or(String::new(), |pid| format!(", process {pid}"))
    )]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error("{}: {errno}", path.display())]
    System { path: PathBuf, errno: Errno },
}

impl Unusable {
    pub(super) fn at(path: PathBuf, errno: Errno) -> Self {
        Unusable::System { path, errno }
    }
}

impl From<Unusable> for Kind {
    fn from(unusable: Unusable) -> Kind {
        Kind::ControlUnusable(unusable.to_string())
    }
}
