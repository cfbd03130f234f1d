//! The place where a started process awaits its order: a socket without a name.
//!
//! ipc-channel takes a channel into another process only by a socket with a name in the temporary
//! folder. This process makes it rather than its supervisor, because this process still has one
//! thread and can set its umask, so that other users can never enter the folder. The name is
//! removed at once; the supervisor is sent a file that still leads to the socket. So no stranger
//! can connect in the supervisor's place or delay the meeting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::catch_unwind;
use std::path::Path;

use ipc_channel::ipc::IpcOneShotServer;
use nix::sys::stat::{Mode, umask};
use rustix::fs::{AtFlags, FlockOperation, OFlags, flock, fstat, openat, unlinkat};

use crate::handler::attempt::message_of;
use crate::protocol::frame::PROTOCOL;
use crate::protocol::leftovers::{MARK, SOCKET, is_private, open_folder};
use crate::protocol::orders::{Hello, Order};
use crate::sys::descriptors::DescriptorSocket;

/// The socket, and what leads to it.
struct MeetingPlace {
    server: IpcOneShotServer<Order>,
    path: OwnedFd,
    /// Held until the folder is removed: see `protocol::leftovers`.
    lock: OwnedFd,
}

/// Says hello to the supervisor, and waits for its order. Returns `None` if there will be none. If
/// the supervisor dies meanwhile, the kernel kills this process.
pub(super) fn await_order(socket: &DescriptorSocket) -> Option<Order> {
    let mut hello = Hello {
        protocol: PROTOCOL,
        refusal: None,
    };
    let place = match MeetingPlace::open() {
        Ok(place) => place,
        Err(error) => {
            let folder = std::env::temp_dir();
            let why = format!("no socket in {}: {error}", folder.display());
            // A message always holds that much.
            hello.refusal = Some(why.chars().take(200).collect());
            let _ = socket.send(&hello, &[]);
            return None;
        }
    };
    socket.send(&hello, &[place.path.as_fd()]).ok()?;
    let (_, order) = place.server.accept().ok()?;
    drop(place.lock);
    Some(order)
}

impl MeetingPlace {
    fn open() -> io::Result<Self> {
        let (server, name) = {
            let _private = Private::begin();
            // It panics if the temporary folder is missing.
            catch_unwind(IpcOneShotServer::new)
                .unwrap_or_else(|panic| Err(io::Error::other(message_of(&*panic))))?
        };
        let folder = Path::new(&name).parent().ok_or(io::ErrorKind::NotFound)?;
        let folder = open_folder(folder)?;
        if !is_private(&fstat(&folder)?) {
            // A default ACL beats the umask. No stranger got in: connections end with the server.
            return Err(io::Error::other(
                "others may enter folders that are made there: it has a default ACL",
            ));
        }
        flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
        let mark = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&folder, MARK, mark, rustix::fs::Mode::RUSR)?;
        let to_the_inode = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = openat(&folder, SOCKET, to_the_inode, rustix::fs::Mode::empty())?;
        unlinkat(&folder, SOCKET, AtFlags::empty())?;
        Ok(MeetingPlace {
            server,
            path,
            lock: folder,
        })
    }
}

/// Keeps other users out of all files that this process makes, until it is dropped.
struct Private(Mode);

impl Private {
    fn begin() -> Self {
        Private(umask(Mode::from_bits_truncate(0o077)))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        umask(self.0);
    }
}
