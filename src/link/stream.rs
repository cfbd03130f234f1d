//! The link to a client: a process that reached the queue by a connection of its own, and asks for
//! each item.
//!
//! What is said to it waits here until its socket has room, so that a client which does not read stops
//! nobody. How much that may be is bounded by the thread that reads the connection, which takes
//! nothing more of a client that leaves too much unread or asks for too much at once.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};

use super::{Link, Sleeper};
use crate::payload::Payload;
use crate::protocol::frame::{Answer, Body, Down, Given};
use crate::protocol::peer_error::PeerError;
use crate::protocol::stream::{ITEM_BYTES_MAX, OutFrame};
use crate::sys::stream::{self, Bell};
use dishrack_core::dispatcher::SentDeliveries;
use dishrack_core::ledger::Handed;

/// The number of frames that a client may leave unread before nothing more is taken from it.
const FRAMES_MAX: usize = 4096;

/// The number of requests that a client may have unanswered.
const REQUESTS_MAX: usize = 4096;

/// The bytes of items that a client may have put and that were not accepted yet.
const PUT_BYTES_MAX: usize = 2 * ITEM_BYTES_MAX;

/// The frames that go out by a connection, shared by its link and the thread that reads it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    socket: OwnedFd,
    /// Rung when frames are left for the thread to send.
    bell: Bell,
    state: Mutex<OutgoingState>,
    is_asked_to_end: AtomicBool,
}

#[derive(Debug, Default)]
struct OutgoingState {
    /// Each with the ordinal of its delivery, if it is one.
    frames: VecDeque<(OutFrame, Option<u64>)>,
    sent: SentDeliveries,
    /// The requests that are not answered, with the bytes of their items.
    unanswered: HashMap<u64, usize>,
    put_bytes: usize,
}

impl Outgoing {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Outgoing {
            socket,
            bell: Bell::new()?,
            state: Mutex::default(),
            is_asked_to_end: AtomicBool::new(false),
        }))
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Ends the connection. What its client has begun is not charged.
    pub(crate) fn end(&self) {
        self.ask_to_end();
        stream::end(&self.socket);
    }

    /// Notes that its client is asked to end.
    pub(crate) fn ask_to_end(&self) {
        self.is_asked_to_end.store(true, Ordering::Release);
    }

    pub(crate) fn is_asked_to_end(&self) -> bool {
        self.is_asked_to_end.load(Ordering::Acquire)
    }

    /// Notes a request with an item of so many bytes, or with none.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn note_request(&self, request: u64, bytes: usize) -> Result<(), PeerError> {
        let mut state = self.state.lock();
        if state.unanswered.len() >= REQUESTS_MAX || state.put_bytes > PUT_BYTES_MAX {
            return Err(PeerError::TooMuch);
        }
        if state.unanswered.insert(request, bytes).is_some() {
            return Err(PeerError::NumberUsedAgain);
        }
        state.put_bytes += bytes;
        Ok(())
    }

    fn push(&self, frame: OutFrame, answers: Option<u64>, ordinal: Option<u64>) {
        let mut state = self.state.lock();
        let answered = answers.and_then(|request| state.unanswered.remove(&request));
        state.put_bytes -= answered.unwrap_or(0);
        state.frames.push_back((frame, ordinal));
    }

    /// Sends what there is room for. Returns `true` if that was all.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        let mut state = self.state.lock();
        while let Some((mut frame, ordinal)) = state.frames.pop_front() {
            let is_all = frame.send(&self.socket, false);
            if !matches!(is_all, Ok(true)) && frame.is_begun() {
                state.sent.sent_a_part();
            }
            if !is_all? {
                state.frames.push_front((frame, ordinal));
                return Ok(false);
            }
            state.sent.sent(ordinal);
        }
        Ok(true)
    }

    /// Returns `true` if nothing more should be taken from this client before it has read something.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.state.lock().frames.len() >= FRAMES_MAX
    }

    /// Returns the last delivery that the client can have seen, if its end was told so.
    pub(crate) fn taken(&self, leaving_unread: bool) -> u64 {
        self.state.lock().sent.begun_up_to(leaving_unread)
    }

    /// Returns what the thread waits for: the socket, and the bell. `listens`: for something to read.
    pub(crate) fn polled(&self, listens: bool) -> [PollFd<'_>; 2] {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, listens);
        wanted.set(PollFlags::OUT, !self.state.lock().frames.is_empty());
        [PollFd::new(&self.socket, wanted), self.bell.polled()]
    }

    /// Takes what was rung, before the thread looks again.
    pub(crate) fn take_bell(&self) {
        self.bell.take();
    }
}

/// Told the number of a client's items that were accepted. It must return at once.
pub(crate) type PutListener = Arc<dyn Fn(u64) + Send + Sync>;

/// The broker's end.
pub(crate) struct StreamLink {
    outgoing: Arc<Outgoing>,
    listener: Option<PutListener>,
}

impl fmt::Debug for StreamLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLink").finish_non_exhaustive()
    }
}

impl StreamLink {
    pub(crate) fn new(outgoing: Arc<Outgoing>, listener: Option<PutListener>) -> Self {
        StreamLink { outgoing, listener }
    }
}

impl Link for StreamLink {
    /// Does nothing: a client has no credit, so it is handed only what it asks for.
    fn deliver(&mut self, _: &Handed, _: &Payload, _: bool) {}

    fn answer(&mut self, request: u64, answer: Answer<Given<'_>>) {
        if let (Answer::Accepted(_), Some(listener)) = (&answer, &self.listener) {
            listener(1);
        }
        let frame = OutFrame::of(&Down::Answer { request, answer });
        self.outgoing.push(frame, Some(request), None);
    }

    fn answer_item(&mut self, request: u64, handed: &Handed, payload: &Payload, is_last: bool) {
        let item = Given {
            ordinal: handed.ordinal,
            id: handed.id,
            attempt: handed.attempt,
            body: Body::Inline(&[]),
        };
        let record = match is_last {
            true => Down::Answer {
                request,
                answer: Answer::Item(item),
            },
            false => Down::Item { request, item },
        };
        let frame = OutFrame::with_body(&record, payload.clone());
        let answers = is_last.then_some(request);
        self.outgoing.push(frame, answers, Some(handed.ordinal));
    }

    /// Does nothing: the dispatcher answers its requests, and its end is its own.
    fn ask_to_stop(&mut self) {}

    fn flush(&mut self, _: bool) -> Result<Option<Arc<dyn Sleeper>>, PeerError> {
        // That the other side is gone is noticed where it is read.
        if !self.outgoing.flush().unwrap_or(true) {
            self.outgoing.bell.ring();
        }
        Ok(None)
    }

    fn body_bytes_max(&self) -> usize {
        ITEM_BYTES_MAX
    }
}
