//! A stream socket of the machine: bytes go out and come in as far as they can, and a caller waits
//! for either. It does not know what they mean.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType,
    recv, sendmsg, shutdown, socketpair, sockopt::socket_peercred,
};

/// Returns the process that has made a connection, as the kernel knows it; 0 if it does not.
pub(crate) fn peer_pid(socket: &OwnedFd) -> u32 {
    let peer = socket_peercred(socket).map_or(0, |peer| peer.pid.as_raw_pid());
    u32::try_from(peer).unwrap_or(0)
}

/// Makes both ends, which no child inherits.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    Ok(socketpair(family, kind, SocketFlags::CLOEXEC, None)?)
}

/// Sends as many of these bytes as there is room for, and returns their number. `may_wait`: waits
/// for room for the first.
///
/// # Errors
/// `WouldBlock`, or that the other side is gone.
pub(crate) fn send(socket: &impl AsFd, parts: &[IoSlice<'_>], may_wait: bool) -> io::Result<usize> {
    let flags = match may_wait {
        true => SendFlags::NOSIGNAL,
        false => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    loop {
        match sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), flags) {
            Err(Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}

/// Appends bytes that have come, up to the vector's capacity, and returns their number: 0 where the
/// other side has ended.
///
/// # Errors
/// `WouldBlock`, or `ConnectionReset` where the other side ended and left something unread.
pub(crate) fn receive(socket: &impl AsFd, into: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match recv(socket, spare_capacity(into), RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            received => return Ok(received?.1),
        }
    }
}

/// Ends both directions, for this side and the other.
pub(crate) fn end(socket: &impl AsFd) {
    // It fails only where the other side has ended.
    let _ = shutdown(socket, Shutdown::Both);
}

/// Waits until there is something to receive, or the end; at most until then. Returns `false` when
/// the time is over.
pub(crate) fn wait_to_receive(socket: &impl AsFd, until: Option<Instant>) -> io::Result<bool> {
    let mut files = [PollFd::new(socket, PollFlags::IN)];
    wait(&mut files, until)
}

/// Waits until one of these is ready; at most until then. Returns `false` when the time is over.
pub(crate) fn wait(files: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A time that is too long for the kernel is for ever.
        let time = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(files, time.as_ref()) {
            Err(Errno::INTR) => {}
            Ok(0) if left.is_some_and(|left| left > Duration::ZERO) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

/// A file on which one thread sleeps, beside its socket, until another one rings.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Bell(eventfd(0, flags)?))
    }

    pub(crate) fn ring(&self) {
        // This fails only if the counter is full, and then the thread is being woken anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes what was rung so far.
    pub(crate) fn take(&self) {
        // This fails if nobody has rung.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    pub(crate) fn polled(&self) -> PollFd<'_> {
        PollFd::new(&self.0, PollFlags::IN)
    }
}
