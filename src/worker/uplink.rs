//! The records that a worker process sends to its supervisor through the ring, and the wake-ups.
//!
//! A record is there for the supervisor as soon as it is written, however this process ends. Waking
//! the supervisor is costly: the worker does so when it runs out of work and when half of what it
//! has is done. A thread, which sleeps unless a record waits, does so within four milliseconds. It goes
//! on looking for a while after the last record, because waking it costs an item that comes soon
//! afterwards more than all else that this module does.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use ipc_channel::ipc::IpcSender;
use nix::libc;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::NoSharedMemory;
use crate::fail;
use crate::handler::lending::Owner;
use crate::payload::Payload;
use crate::payload::segment::{Segment, SegmentPart};
use crate::protocol::address::Home;
use crate::protocol::frame::{self, Body, Completion, Nudge, RingRecord, Up};
use crate::protocol::ring::RingWriter;
use crate::protocol::ring_pair::RingPair;
use crate::protocol::segments::{self, SentSegments};
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::{exit, signals, stderr, stream, threads};

/// The longest time in which the supervisor does not see a record while a handler runs. An item of
/// a millisecond should not pay for a wake-up of its own.
const DELAY: Duration = Duration::from_millis(4);

/// The number of looks in vain, [`DELAY`] apart, after which the thread sleeps until it is woken.
const LOOKS_IN_VAIN: u32 = 8;

#[derive(Debug)]
struct UplinkState {
    writer: RingWriter,
    segments: SentSegments,
    /// Shared memory that is lent until the supervisor has read the ring up to this position.
    lent: VecDeque<(u64, SegmentPart)>,
    is_watched: bool,
    /// True if the thread has to be woken to look.
    is_asleep: bool,
}

#[derive(Debug)]
pub(crate) struct Uplink {
    ring_pair: Arc<RingPair>,
    sender: IpcSender<Nudge>,
    socket: Arc<DescriptorSocket>,
    state: Mutex<UplinkState>,
    watch: Condvar,
    /// A copy of the flag in the state, to be read without the lock.
    is_watched: AtomicBool,
    /// True if a writer had to wait for room.
    has_waited: AtomicBool,
    /// The number of records and stores since the supervisor was last woken.
    unrung: AtomicUsize,
    next_socket: AtomicU32,
}

impl Owner for Uplink {
    fn keep(&self, ordinal: u64) {
        self.push(&Up::Keeps { ordinal });
    }

    fn release(&self, ordinal: u64) {
        self.push(&Up::Released { ordinal });
        self.watch();
    }
}

impl Uplink {
    /// Starts the thread that wakes the supervisor in time. Returns `None` if it cannot be started.
    pub(super) fn open(
        ring_pair: Arc<RingPair>,
        sender: IpcSender<Nudge>,
        socket: Arc<DescriptorSocket>,
    ) -> Option<Arc<Self>> {
        let uplink = Arc::new(Uplink {
            state: Mutex::new(UplinkState {
                writer: ring_pair.up_writer(),
                segments: SentSegments::default(),
                lent: VecDeque::new(),
                is_watched: false,
                is_asleep: false,
            }),
            ring_pair,
            sender,
            socket,
            watch: Condvar::new(),
            is_watched: AtomicBool::new(false),
            has_waited: AtomicBool::new(false),
            unrung: AtomicUsize::new(0),
            next_socket: AtomicU32::new(0),
        });
        let watched = Arc::clone(&uplink);
        std::thread::Builder::new()
            .name("dishrack-flush".into())
            .stack_size(256 * 1024)
            .spawn(move || {
                signals::block_all();
                // Whoever waits for what was not told would wait for ever.
                let end = |_| exit::with(exit::PANICKED);
                threads::catch(|| watched.ring_for_what_waits(), end);
            })
            // Said while the channel exists, because a worker that closes it is killed at once.
            .inspect_err(stderr::say_no_thread)
            .ok()?;
        Some(uplink)
    }

    /// Writes a record; waits while there is no room for it. Returns the number of records that the
    /// supervisor was not woken for yet.
    pub(super) fn push(&self, record: &Up<'_>) -> usize {
        drop(self.write(self.state.lock(), record));
        self.note()
    }

    /// Writes a record with a payload, which is put into shared memory if it is large.
    ///
    /// # Errors
    /// The reason for which there is no shared memory.
    pub(super) fn push_with(
        &self,
        mut payload: Payload,
        record: impl for<'a> FnOnce(Body<'a>) -> Up<'a>,
    ) -> Result<usize, NoSharedMemory> {
        payload.share()?;
        let mut state = self.state.lock();
        match &payload {
            Payload::Empty | Payload::Heap(_) => {
                drop(self.write(state, &record(Body::Inline(&payload))));
            }
            Payload::Shared(part) => {
                let body = state.segments.body_of(part);
                for segment in state.segments.take_gone() {
                    state = self.write(state, &Up::Forget { segment });
                }
                for segment in state.segments.take_unsent() {
                    if let Err(lack) = self.share(&segment) {
                        state.segments.withdraw(&segment);
                        return Err(lack);
                    }
                }
                let mut state = self.write(state, &record(body));
                let position = state.writer.position();
                state.lent.push_back((position, part.clone()));
            }
        }
        Ok(self.note())
    }

    /// Writes that a delivery is done, with a result that is not in shared memory.
    pub(super) fn push_completion(&self, done: Completion, result: &[u8]) -> usize {
        let encode = |space: &mut [u8]| done.encode(result, space);
        drop(self.write_bytes(self.state.lock(), Completion::record_bytes(result), encode));
        self.note()
    }

    /// Sends a segment, before a record names it. A supervisor that has not taken the earlier
    /// segments yet takes them when it reads the records that name them.
    fn share(&self, segment: &Segment) -> Result<(), NoSharedMemory> {
        let sent = segments::send(&self.socket, segment).or_else(|error| {
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error);
            }
            self.ring_now();
            segments::send_in_time(&self.socket, segment)
        });
        match sent {
            Ok(()) => Ok(()),
            // The kernel bounds the number of files on their way. The item may be tried again.
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                let why = format!("shared memory cannot be sent: {error}");
                Err(NoSharedMemory(why))
            }
            // As in `nudge`.
            Err(_) => exit::as_orphan(),
        }
    }

    fn write<'a>(
        &'a self,
        state: MutexGuard<'a, UplinkState>,
        record: &Up<'_>,
    ) -> MutexGuard<'a, UplinkState> {
        let encode = |space: &mut [u8]| frame::encode(record, space);
        self.write_bytes(state, record.bytes_max(), encode)
    }

    /// Writes a record of at most that many bytes; waits while there is no room for it.
    fn write_bytes<'a>(
        &'a self,
        mut state: MutexGuard<'a, UplinkState>,
        bytes_max: usize,
        encode: impl Fn(&mut [u8]) -> usize + Copy,
    ) -> MutexGuard<'a, UplinkState> {
        state.take_back();
        while !state.writer.write(bytes_max, encode) {
            let ticket = self.ring_pair.up_room().want();
            // Room may have been made just before the doorbell was wanted.
            if state.writer.write(bytes_max, encode) {
                break;
            }
            drop(state);
            self.has_waited.store(true, Ordering::Relaxed);
            self.ring_now();
            self.ring_pair.up_room().sleep(ticket, None);
            state = self.state.lock();
        }
        state.writer.publish();
        state
    }

    /// Makes a connection to this process, which is the supervisor's or one that its connections are
    /// passed on to, apart from the one that this is.
    pub(crate) fn connect(&self, home: Home) -> io::Result<OwnedFd> {
        let (ours, theirs) = stream::pair()?;
        self.pass_on(&theirs, home, None)?;
        Ok(ours)
    }

    /// Passes on a connection: this process's own, or that of a worker of its.
    pub(crate) fn pass_on(
        &self,
        socket: &OwnedFd,
        home: Home,
        from: Option<(&str, u32)>,
    ) -> io::Result<()> {
        let number = self.next_socket.fetch_add(1, Ordering::Relaxed);
        segments::send_socket(&self.socket, number, socket)?;
        self.push(&Up::Connect { number, home, from });
        self.ring_now();
        Ok(())
    }

    /// Publishes the records again after other code has overwritten the ring's positions.
    pub(super) fn restore(&self) {
        self.state.lock().writer.restore();
    }

    /// Returns `true` if a writer had to wait for room since the last call.
    pub(super) fn take_waited(&self) -> bool {
        self.has_waited.load(Ordering::Relaxed) && self.has_waited.swap(false, Ordering::Relaxed)
    }

    /// Counts a record for which the supervisor was not woken. Returns their number.
    pub(super) fn note(&self) -> usize {
        self.unrung.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Counts one, if there is none that the supervisor was not woken for.
    pub(super) fn note_once(&self) {
        if self.unrung.load(Ordering::Relaxed) == 0 {
            self.note();
        }
    }

    /// Wakes a sleeping supervisor; one that looks often, only if it does not within [`DELAY`].
    pub(super) fn ring(&self) {
        let doorbell = self.ring_pair.up_doorbell();
        if doorbell.take() {
            self.unrung.store(0, Ordering::Relaxed);
            self.nudge();
        } else if doorbell.is_patient() {
            self.watch();
        } else {
            self.unrung.store(0, Ordering::Relaxed);
        }
    }

    /// Wakes the supervisor even if it looks often, because a caller waits for its answer.
    pub(super) fn ring_now(&self) {
        self.unrung.store(0, Ordering::Relaxed);
        if self.ring_pair.up_doorbell().take_at_last() {
            self.nudge();
        }
    }

    /// Sends a nudge. It fails also if ipc-channel panics because it cannot copy a handle.
    fn try_to_send(&self) -> Result<(), ()> {
        let sent = catch_unwind(AssertUnwindSafe(|| self.sender.send(Nudge)));
        sent.map_err(drop)?.map_err(drop)
    }

    fn nudge(&self) {
        fail::point("worker: to be sent");
        if signals::with_all_blocked(|| self.try_to_send()).is_err() {
            // The supervisor is gone, or code here has closed files that it does not own.
            exit::as_orphan();
        }
    }

    /// Lets the thread wake the supervisor within [`DELAY`], because a handler goes on working.
    pub(super) fn watch(&self) {
        if self.unrung.load(Ordering::Relaxed) == 0 || self.is_watched.load(Ordering::SeqCst) {
            return;
        }
        let mut state = self.state.lock();
        state.is_watched = true;
        self.is_watched.store(true, Ordering::SeqCst);
        if state.is_asleep {
            self.watch.notify_one();
        }
    }

    fn ring_for_what_waits(&self) {
        let mut in_vain = 0;
        let mut state = self.state.lock();
        loop {
            while !state.is_watched && in_vain == LOOKS_IN_VAIN {
                state.is_asleep = true;
                self.watch.wait(&mut state);
                state.is_asleep = false;
            }
            drop(state);
            std::thread::sleep(DELAY);
            state = self.state.lock();
            if !state.is_watched {
                in_vain = LOOKS_IN_VAIN.min(in_vain + 1);
                continue;
            }
            in_vain = 0;
            self.ring_now();
            // A record noted from here on finds the watch off; an earlier one is counted below.
            self.is_watched.store(false, Ordering::SeqCst);
            state.is_watched = self.unrung.load(Ordering::SeqCst) > 0;
            self.is_watched.store(state.is_watched, Ordering::SeqCst);
        }
    }
}

impl UplinkState {
    /// Takes back the memory that the supervisor has read by now.
    fn take_back(&mut self) {
        if self.lent.is_empty() {
            return;
        }
        let read = self.writer.reader_position();
        while self.lent.front().is_some_and(|(until, _)| *until <= read) {
            self.lent.pop_front();
        }
    }
}
