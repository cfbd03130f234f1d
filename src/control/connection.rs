//! One client's connection: whose it is, whether it is still there, and for how long it may keep us
//! waiting. It does not know what is asked on it.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep};

/// The longest time that a client may leave what we write unread.
const UNREAD_TIME: Duration = Duration::from_secs(30);

/// The other side of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    stream: Arc<UnixStream>,
}

impl Peer {
    /// Returns the process that has connected, by the kernel's word.
    pub(super) fn pid(&self) -> Option<u32> {
        let peer = self.stream.peer_cred().ok()?;
        u32::try_from(peer.pid()?).ok()
    }

    /// Returns `true` if the client has ended or closed its side, by the kernel's word of this
    /// moment.
    pub(super) fn is_gone(&self) -> bool {
        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        // Without an answer it is not known to be gone.
        state_of(&*self.stream, PollFlags::RDHUP).intersects(ends)
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Returns what the kernel says of a file at this moment, of what is wanted and of its end; nothing without
/// an answer.
pub(super) fn state_of(file: &impl AsFd, wanted: PollFlags) -> PollFlags {
    let mut file = [PollFd::new(file, wanted)];
    match poll(&mut file, Some(&Timespec::default())) {
        Ok(_) => file[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// The number of times that something was written to a client, of all clients of a server.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteCount(Arc<AtomicU64>);

impl WriteCount {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream whose reader must go on reading.
#[derive(Debug)]
pub(super) struct ClientStream {
    stream: Arc<UnixStream>,
    /// Runs while the client leaves something unread.
    unread: Option<Pin<Box<Sleep>>>,
    writes: WriteCount,
}

impl ClientStream {
    pub(super) fn new(stream: UnixStream, writes: WriteCount) -> Self {
        ClientStream {
            stream: Arc::new(stream),
            unread: None,
            writes,
        }
    }

    pub(super) fn peer(&self) -> Peer {
        Peer {
            stream: Arc::clone(&self.stream),
        }
    }

    fn poll_unread(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let unread = self
            .unread
            .get_or_insert_with(|| Box::pin(sleep(UNREAD_TIME)));
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.poll_write_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return self.poll_unread(context),
            }
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.unread = None;
                    self.writes.0.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The client may be gone, and then there is nothing to say.
        let _ = rustix::net::shutdown(&*self.stream, rustix::net::Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}
