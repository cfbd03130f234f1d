//! A nameless socket between a supervisor and a process that it made, which carries open files.
//!
//! It is a pair of sockets, of which the new process inherits one or is sent it. So strangers can
//! never speak on it, whatever the mode of a folder, and the end of a process is the end of its
//! socket. ipc-channel carries only channels and memory of its own, which cannot be sealed. A
//! message is small, and is one packet. The module does not know the purpose of the files.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::sockopt::{socket_domain, socket_peercred, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A path to the very file that is open, whatever has its name by now.
pub(crate) fn path_of(file: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// A message's bytes, at most.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The greatest number of files in a message: the kernel takes no more (`SCM_MAX_FD`).
pub(crate) const FILES_MAX: usize = 253;

/// A message, and the files that came with it.
#[derive(Debug)]
pub(crate) struct Datagram<M> {
    pub(crate) message: M,
    pub(crate) files: Vec<OwnedFd>,
}

/// One end.
#[derive(Debug)]
pub(crate) struct DescriptorSocket(OwnedFd);

impl DescriptorSocket {
    /// Makes both ends, which no child inherits.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        Ok((DescriptorSocket(ours), DescriptorSocket(theirs)))
    }

    /// Wraps an end that came from elsewhere.
    pub(crate) fn of(end: OwnedFd) -> Self {
        DescriptorSocket(end)
    }

    /// The end that this process has inherited from its parent under a number. `None` if what has
    /// this number is no such socket, or was not made by that process. It is nobody's own yet: this
    /// is asked once, before anything else has run.
    pub(crate) fn inherited(number: RawFd, parent: i32) -> Option<Self> {
        if number < 3 {
            return None;
        }
        // SAFETY: it is only examined; if no file has this number, the first call says so.
        let file = unsafe { BorrowedFd::borrow_raw(number) };
        let flags = fcntl_getfd(file).ok()?;
        let is_ours = socket_domain(file) == Ok(AddressFamily::UNIX)
            && socket_type(file) == Ok(SocketType::SEQPACKET)
            && socket_peercred(file).is_ok_and(|peer| peer.pid.as_raw_pid() == parent);
        if !is_ours {
            return None;
        }
        fcntl_setfd(file, flags | FdFlags::CLOEXEC).ok()?;
        // SAFETY: it was made for this process to own, and no other code here knows of it.
        Some(DescriptorSocket(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Sends a message and files along with it, at once or not at all.
    ///
    /// # Errors
    /// The other end is gone, or has not taken what was sent before (`WouldBlock`).
    pub(crate) fn send<M: Serialize>(
        &self,
        message: &M,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send_with(message, files, SendFlags::DONTWAIT)
    }

    /// Sends as [`send`](Self::send) does, and waits until there is room.
    pub(crate) fn send_in_time<M: Serialize>(
        &self,
        message: &M,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send_with(message, files, SendFlags::empty())
    }

    fn send_with<M: Serialize>(
        &self,
        message: &M,
        files: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> io::Result<()> {
        let mut space = [0; MESSAGE_BYTES_MAX];
        let bytes = postcard::to_slice(message, &mut space).map_err(io::Error::other)?;
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        loop {
            let mut control = SendAncillaryBuffer::new(&mut room);
            if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
                return Err(io::Error::other("too many files for one message"));
            }
            let packet = [IoSlice::new(bytes)];
            match sendmsg(&self.0, &packet, &mut control, flags | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message, if it is here already. `None` when the other end is gone.
    ///
    /// # Errors
    /// Nothing is here (`WouldBlock`), or what is here is no such message with its files.
    pub(crate) fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<Datagram<M>>> {
        let mut space = [0; MESSAGE_BYTES_MAX];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let received = loop {
            let mut packet = [IoSliceMut::new(&mut space)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.0, &mut packet, &mut control, flags) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        // Take the files first, so that they are closed if the message is invalid.
        let files = control.drain().flat_map(|part| match part {
            RecvAncillaryMessage::ScmRights(files) => files.collect(),
            _ => Vec::new(),
        });
        let files: Vec<OwnedFd> = files.collect();
        if received.bytes == 0 {
            return Ok(None);
        }
        let cut = rustix::net::ReturnFlags::CTRUNC | rustix::net::ReturnFlags::TRUNC;
        if received.flags.intersects(cut) {
            // The kernel leaves out the files for which this process has no number to spare.
            return Err(io::Error::other("there are too many open files"));
        }
        let message = postcard::from_bytes(&space[..received.bytes]).map_err(io::Error::other)?;
        Ok(Some(Datagram { message, files }))
    }
}

impl From<DescriptorSocket> for OwnedFd {
    fn from(socket: DescriptorSocket) -> Self {
        socket.0
    }
}

impl AsFd for DescriptorSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for DescriptorSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::IntoRawFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::fcntl_dupfd_cloexec;

    use super::*;

    /// Waits for the end of a socket whose other end was dropped. A process that another test is
    /// just starting has a copy of that end until it executes its program.
    fn await_end(socket: &DescriptorSocket) {
        let mut polled = [PollFd::new(socket, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut polled, Some(&limit)).unwrap(), 1, "no end");
        assert!(socket.receive::<u32>().unwrap().is_none());
    }

    #[test]
    fn files_travel_with_their_message() {
        let (ours, theirs) = DescriptorSocket::pair().unwrap();
        let nothing = theirs.receive::<u32>().unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let file = File::open("/proc/self/comm").unwrap();
        ours.send(&7_u32, &[file.as_fd()]).unwrap();
        let datagram = theirs.receive::<u32>().unwrap().unwrap();
        assert_eq!(datagram.message, 7);
        let mut text = String::new();
        let mut files = datagram.files.into_iter().map(File::from);
        files.next().unwrap().read_to_string(&mut text).unwrap();
        assert!(!text.is_empty() && files.next().is_none());
        drop(ours);
        await_end(&theirs);
    }

    #[test]
    fn sending_never_waits_and_an_end_is_told() {
        let (ours, theirs) = DescriptorSocket::pair().unwrap();
        let full = loop {
            if let Err(error) = ours.send(&0_u32, &[ours.as_fd()]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(ours);
        while let Ok(Some(_)) = theirs.receive::<u32>() {}
        await_end(&theirs);
    }

    #[test]
    fn only_a_socket_of_the_parents_is_inherited() {
        let me = i32::try_from(std::process::id()).unwrap();
        let (ours, theirs) = DescriptorSocket::pair().unwrap();
        let number = fcntl_dupfd_cloexec(&theirs.0, 3).unwrap().into_raw_fd();
        assert!(DescriptorSocket::inherited(number, me + 1).is_none());
        let file = File::open("/proc/self/comm").unwrap();
        assert!(DescriptorSocket::inherited(file.as_raw_fd(), me).is_none());
        assert!(DescriptorSocket::inherited(1, me).is_none());
        assert!(DescriptorSocket::inherited(1_000_000, me).is_none());
        let theirs = DescriptorSocket::inherited(number, me).unwrap();
        theirs.send(&1_u32, &[]).unwrap();
        assert_eq!(ours.receive::<u32>().unwrap().unwrap().message, 1);
    }
}
