//! Passes what worker processes write to stderr on to ours, and keeps its end for histories.
//!
//! Each worker has a pipe of its own, and one thread reads them all. If our stderr takes nothing,
//! that thread waits, the pipes fill, and in the end only the workers wait, as they would without
//! it. The end of a stream is read without waiting, so it can be asked for at any time.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd;
use parking_lot::{Mutex, MutexGuard};
use rustix::event::PollFlags;

use super::blocking::Blocking;
use super::{signals, threads};

/// The number of bytes kept from a stream's end.
const TAIL_BYTES: usize = 4096;

/// The number of bytes read at once, which is as much as a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// Marks the event that wakes the thread.
const WAKE: u64 = u64::MAX;

/// The function that passes bytes on.
pub(crate) type Outlet = fn(&[u8]);

/// One worker's stream.
#[derive(Debug)]
pub(crate) struct Stderr {
    stream: Mutex<StderrState>,
    waker: Arc<EventFd>,
}

#[derive(Debug)]
struct StderrState {
    pipe: OwnedFd,
    tail: VecDeque<u8>,
    /// Bytes that were read and not passed on.
    unsent: Vec<u8>,
    /// True if all writers are gone, or the relay has ended.
    is_over: bool,
}

/// The rest of a stream after a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// There may be more.
    More,
    /// It is empty now.
    Empty,
    /// It has ended.
    Ended,
}

impl StderrState {
    /// Reads what is there, up to a bound.
    fn read(&mut self) -> Rest {
        let mut chunk = [0; 4096];
        while self.unsent.len() < CHUNK_BYTES {
            match unistd::read(&self.pipe, &mut chunk) {
                Ok(0) => return Rest::Ended,
                Ok(count) => self.take(&chunk[..count]),
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return Rest::Empty,
                Err(_) => return Rest::Ended,
            }
        }
        Rest::More
    }

    fn take(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
    }
}

impl Stderr {
    fn lock(&self) -> MutexGuard<'_, StderrState> {
        self.stream.lock()
    }

    /// Returns the end of what was written since the last call, without waiting.
    pub(crate) fn take_tail(&self) -> String {
        let mut stream = self.lock();
        stream.read();
        if !stream.unsent.is_empty() {
            let _ = self.waker.write(1);
        }
        let tail: Vec<u8> = stream.tail.drain(..).collect();
        String::from_utf8_lossy(&tail).into_owned()
    }

    /// Passes on what a dead worker wrote, and closes its stream.
    pub(crate) fn end(&self) {
        let mut stream = self.lock();
        stream.read();
        stream.is_over = true;
        let _ = self.waker.write(1);
    }
}

#[derive(Debug)]
struct Multiplexer {
    epoll: Epoll,
    waker: Arc<EventFd>,
    streams: Mutex<Streams>,
    out: Outlet,
}

#[derive(Debug, Default)]
struct Streams {
    by_key: HashMap<u64, Arc<Stderr>>,
    next_key: u64,
    is_over: bool,
}

impl Multiplexer {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock()
    }
}

/// Passes on the streams of all workers of one supervisor.
#[derive(Debug)]
pub(crate) struct Relay {
    shared: Arc<Multiplexer>,
    /// Disconnected when the thread has ended.
    over: Receiver<()>,
    /// The time that passing on the last bytes may take.
    grace: Duration,
}

impl Relay {
    /// Starts the thread. After a panic in it `end` is called, because whoever writes would wait for ever.
    pub(crate) fn start(
        grace: Duration,
        out: Outlet,
        end: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let waker = Arc::new(EventFd::from_flags(flags)?);
        epoll.add(&*waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let shared = Arc::new(Multiplexer {
            epoll,
            waker,
            streams: Mutex::default(),
            out,
        });
        let (alive, over) = bounded::<()>(0);
        let passing = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("dishrack-stderr".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                signals::block_all();
                threads::catch(|| passing.pass_on(), end);
                drop(alive);
            })?;
        Ok(Relay {
            shared,
            over,
            grace,
        })
    }

    /// Opens a new stream: returns the worker's end, and ours.
    pub(crate) fn open(&self) -> io::Result<(OwnedFd, Arc<Stderr>)> {
        let (ours, theirs) = unistd::pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut streams = self.shared.lock();
        streams.next_key += 1;
        let key = streams.next_key;
        self.shared
            .epoll
            .add(&ours, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
        let stderr = Arc::new(Stderr {
            stream: Mutex::new(StderrState {
                pipe: ours,
                tail: VecDeque::new(),
                unsent: Vec::new(),
                is_over: false,
            }),
            waker: Arc::clone(&self.shared.waker),
        });
        streams.by_key.insert(key, Arc::clone(&stderr));
        Ok((theirs, stderr))
    }
}

impl Drop for Relay {
    /// Passes on the last bytes, if they are taken in time.
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        let _ = self.shared.waker.write(1);
        // Disconnected, as nothing is ever sent; or our stderr is full and not read.
        let _ = self.over.recv_timeout(self.grace);
    }
}

impl Multiplexer {
    fn pass_on(&self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = self
                .epoll
                .wait(&mut events, EpollTimeout::NONE)
                .unwrap_or(0);
            // Before the streams are read, so that no later wake-up is lost.
            let is_woken = self.waker.read().is_ok();
            let is_over = self.lock().is_over;
            for event in &events[..count] {
                if event.data() != WAKE {
                    let _ = self.pass_one_on(event.data());
                }
            }
            if is_woken || is_over {
                self.pass_all_on();
            }
            if is_over {
                return;
            }
        }
    }

    fn pass_all_on(&self) {
        let keys: Vec<u64> = self.lock().by_key.keys().copied().collect();
        for key in keys {
            while self.pass_one_on(key) == Rest::More {}
        }
    }

    fn pass_one_on(&self, key: u64) -> Rest {
        let Some(stderr) = self.lock().by_key.get(&key).map(Arc::clone) else {
            return Rest::Ended;
        };
        let mut stream = stderr.lock();
        let rest = stream.read();
        let bytes = std::mem::take(&mut stream.unsent);
        if rest == Rest::Ended || stream.is_over && rest == Rest::Empty {
            let _ = self.epoll.delete(stream.pipe.as_fd());
            self.lock().by_key.remove(&key);
        }
        // Our stderr may take its time, so the lock is released meanwhile.
        drop(stream);
        (self.out)(&bytes);
        rest
    }
}

/// Says why this worker ends: its exit code tells no more than that it has failed.
pub(crate) fn say_no_thread(error: &io::Error) {
    write_all(format!("cannot start a thread: {error}\n").as_bytes());
}

/// To our own stderr; where that is closed there is nobody to tell.
pub(crate) fn write_all(mut bytes: &[u8]) {
    // Without the standard library's lock, so that other threads do not wait meanwhile.
    let mut stderr = Blocking(rustix::stdio::stderr());
    while !bytes.is_empty() {
        let written = stderr.until_done(PollFlags::OUT, |stderr| {
            rustix::io::write(stderr, bytes).map_err(io::Error::from)
        });
        match written {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_stream_is_kept_and_given_once() {
        let relay = Relay::start(Duration::from_secs(60), write_all, drop).unwrap();
        let (theirs, stderr) = relay.open().unwrap();
        // It is written without a newline, to a stream that goes on, so no end is waited for.
        unistd::write(&theirs, b"\0").unwrap();
        drop(theirs);
        assert_eq!(stderr.take_tail(), "\0");
        assert_eq!(stderr.take_tail(), "");
    }

    #[test]
    fn only_the_last_4_kib_are_kept() {
        let (ours, _theirs) = unistd::pipe().unwrap();
        let mut stream = StderrState {
            pipe: ours,
            tail: VecDeque::new(),
            unsent: Vec::new(),
            is_over: false,
        };
        stream.take(&[b'a'; 3000]);
        stream.take(&[b'b'; 3000]);
        let tail: Vec<u8> = stream.tail.iter().copied().collect();
        assert_eq!(tail.len(), TAIL_BYTES);
        assert_eq!(tail.iter().filter(|byte| **byte == b'b').count(), 3000);
    }
}
