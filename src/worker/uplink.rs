//! What a worker process sends: records in the ring to its supervisor, and a wake-up when one is
//! wanted.
//!
//! A record is there for the supervisor as soon as it is written, however this process ends.
//! Waking the supervisor is what costs, so that is done when the worker runs out of work, when half
//! of what it has is done, and in any case within four milliseconds, which a thread sees to
//! that sleeps unless something is waiting.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ipc_channel::ipc::IpcSender;
use nix::libc;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::fail;
use crate::handler::loan::Owner;
use crate::payload::Payload;
use crate::payload::segment::{Part, Segment};
use crate::protocol::frame::{self, Body, Nudge, Record, Up};
use crate::protocol::ring::Writer;
use crate::protocol::ring_pair::RingPair;
use crate::protocol::segments::{self, SentSegments};
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::{exit, signals, stderr};

/// The longest time in which the supervisor does not see a record while a handler runs. An item of a
/// millisecond should not pay for a wake-up of its own.
const DELAY: Duration = Duration::from_millis(4);

#[derive(Debug)]
struct State {
    writer: Writer,
    segments: SentSegments,
    /// Shared memory that the supervisor reads until it has read this far in the ring.
    lent: VecDeque<(u64, Part)>,
    is_watched: bool,
}

#[derive(Debug)]
pub(super) struct Uplink {
    ring_pair: Arc<RingPair>,
    sender: IpcSender<Nudge>,
    socket: Arc<DescriptorSocket>,
    state: Mutex<State>,
    watch: Condvar,
    /// The same as in the state, for a look without the lock.
    is_watched: AtomicBool,
    /// Somebody had to wait for room.
    has_waited: AtomicBool,
    /// What was done or written since the supervisor was last woken.
    unrung: AtomicUsize,
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
    /// Starts the thread that sees to what waits too long. `None` if there can be no thread.
    pub(super) fn open(
        ring_pair: Arc<RingPair>,
        sender: IpcSender<Nudge>,
        socket: Arc<DescriptorSocket>,
    ) -> Option<Arc<Self>> {
        let uplink = Arc::new(Uplink {
            state: Mutex::new(State {
                writer: ring_pair.up_writer(),
                segments: SentSegments::default(),
                lent: VecDeque::new(),
                is_watched: false,
            }),
            ring_pair,
            sender,
            socket,
            watch: Condvar::new(),
            is_watched: AtomicBool::new(false),
            has_waited: AtomicBool::new(false),
            unrung: AtomicUsize::new(0),
        });
        let watched = Arc::clone(&uplink);
        std::thread::Builder::new()
            .name("dishrack-flush".into())
            .stack_size(256 * 1024)
            .spawn(move || {
                signals::block_all();
                watched.ring_for_what_waits();
            })
            // While the channel is there: who ends it is killed at once.
            .inspect_err(stderr::say_no_thread)
            .ok()?;
        Some(uplink)
    }

    /// Writes a record; waits while there is no room for it. How much the supervisor was not woken
    /// for by now.
    pub(super) fn push(&self, record: &Up<'_>) -> usize {
        drop(self.write(self.state.lock(), record));
        self.note()
    }

    /// Writes a record with a payload, which is put into shared memory if it is large.
    ///
    /// # Errors
    /// Why there is no shared memory.
    pub(super) fn push_with(
        &self,
        mut payload: Payload,
        record: impl for<'a> FnOnce(Body<'a>) -> Up<'a>,
    ) -> Result<usize, String> {
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
                    if let Err(why) = self.share(&segment) {
                        state.segments.withdraw(&segment);
                        return Err(why);
                    }
                }
                let mut state = self.write(state, &record(body));
                let position = state.writer.position();
                state.lent.push_back((position, part.clone()));
            }
        }
        Ok(self.note())
    }

    /// Sends a segment, before a record speaks of it. Where the supervisor has not taken those before
    /// it yet, it will when it reads the records that spoke of them.
    fn share(&self, segment: &Segment) -> Result<(), String> {
        let sent = segments::send(&self.socket, segment).or_else(|error| {
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error);
            }
            self.ring_now();
            segments::send_in_time(&self.socket, segment)
        });
        match sent {
            Ok(()) => Ok(()),
            // The kernel's bound on files that are on their way: the item may be tried again.
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                Err(format!("shared memory cannot be sent: {error}"))
            }
            // As in `nudge`.
            Err(_) => exit::as_orphan(),
        }
    }

    fn write<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        record: &Up<'_>,
    ) -> MutexGuard<'a, State> {
        state.take_back();
        let bytes_max = record.bytes_max();
        let encode = |space: &mut [u8]| frame::encode(record, space);
        while !state.writer.write(bytes_max, encode) {
            let ticket = self.ring_pair.up_room().want();
            // There may have been room made just before that was said.
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

    /// Something else has written over the ring's ends: records that were written are there again.
    pub(super) fn restore(&self) {
        self.state.lock().writer.restore();
    }

    /// Whether somebody had to wait for room since this was last asked.
    pub(super) fn take_waited(&self) -> bool {
        self.has_waited.load(Ordering::Relaxed) && self.has_waited.swap(false, Ordering::Relaxed)
    }

    /// Something is done or written that the supervisor was not woken for. How much that is by now.
    pub(super) fn note(&self) -> usize {
        self.unrung.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Wakes the supervisor, if it sleeps. If it comes by often, it is woken when it has not come
    /// within [`DELAY`].
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

    /// Wakes the supervisor, also if it comes by often: somebody waits for its answer.
    pub(super) fn ring_now(&self) {
        self.unrung.store(0, Ordering::Relaxed);
        if self.ring_pair.up_doorbell().take_at_last() {
            self.nudge();
        }
    }

    /// Fails also where ipc-channel panics because it cannot copy a handle.
    fn try_to_send(&self) -> Result<(), ()> {
        let sent = catch_unwind(AssertUnwindSafe(|| self.sender.send(Nudge)));
        sent.map_err(drop)?.map_err(drop)
    }

    fn nudge(&self) {
        fail::point("worker: to be sent");
        if signals::with_all_blocked(|| self.try_to_send()).is_err() {
            // The supervisor is gone, or something here has closed what is not its own.
            exit::as_orphan();
        }
    }

    /// A handler goes on working: the supervisor is woken for what waits within [`DELAY`].
    pub(super) fn watch(&self) {
        if self.unrung.load(Ordering::Relaxed) == 0 || self.is_watched.load(Ordering::SeqCst) {
            return;
        }
        let mut state = self.state.lock();
        state.is_watched = true;
        self.is_watched.store(true, Ordering::SeqCst);
        self.watch.notify_one();
    }

    fn ring_for_what_waits(&self) {
        let mut state = self.state.lock();
        loop {
            while !state.is_watched {
                self.watch.wait(&mut state);
            }
            drop(state);
            std::thread::sleep(DELAY);
            state = self.state.lock();
            self.ring_now();
            // Whoever notes something afterwards sees that nobody watches; what was noted before
            // is seen here.
            self.is_watched.store(false, Ordering::SeqCst);
            state.is_watched = self.unrung.load(Ordering::SeqCst) > 0;
            self.is_watched.store(state.is_watched, Ordering::SeqCst);
        }
    }
}

impl State {
    /// What the supervisor has read by now can be used again.
    fn take_back(&mut self) {
        let read = self.writer.reader_position();
        while self.lent.front().is_some_and(|(until, _)| *until <= read) {
            self.lent.pop_front();
        }
    }
}
