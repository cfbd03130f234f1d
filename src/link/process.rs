//! The link to a worker process: records in a ring of shared memory, urgent messages over
//! ipc-channel, and a socket for shared memory itself.
//!
//! Records that do not fit the ring wait here until the worker has made room. A worker is woken
//! only when it wants to be. A message is sent only when the one before it was received, and shared
//! memory is sent without waiting, so sending never blocks, however long the worker is stopped. The
//! holder of the broker's lock reads what the worker sends (see `UplinkReader`).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ipc_channel::IpcError;
use ipc_channel::ipc::IpcSender;

use super::{Link, Sleeper};
use crate::payload::Payload;
use crate::protocol::frame::{
    self, Answer, Body, CompletionHeader, Down, Given, Nudge, RingRecord,
};
use crate::protocol::peer_error::PeerError;
use crate::protocol::ring::{Corrupt, RingReader, RingWriter};
use crate::protocol::ring_pair::RingPair;
use crate::protocol::segments::{self, ReceivedSegments, SegmentView, SentSegments};
use crate::sys::descriptors::DescriptorSocket;
use dishrack_core::ledger::Handed;

pub(crate) struct ProcessLink {
    ring_pair: Arc<RingPair>,
    writer: RingWriter,
    sender: IpcSender<Nudge>,
    socket: Arc<DescriptorSocket>,
    segments: SentSegments,
    /// Encoded records for which the ring has no room.
    overflow: VecDeque<Vec<u8>>,
    /// The ordinal of the last delivery that was written.
    handed: u64,
    is_urgent: bool,
    /// Payloads that the worker still reads, though their deliveries are settled.
    kept: HashMap<u64, Payload>,
}

impl fmt::Debug for ProcessLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessLink")
            .field("handed", &self.handed)
            .field("overflow", &self.overflow.len())
            .finish_non_exhaustive()
    }
}

impl ProcessLink {
    pub(crate) fn new(
        ring_pair: Arc<RingPair>,
        sender: IpcSender<Nudge>,
        socket: Arc<DescriptorSocket>,
    ) -> Self {
        ProcessLink {
            writer: ring_pair.down_writer(),
            ring_pair,
            sender,
            socket,
            segments: SentSegments::default(),
            overflow: VecDeque::new(),
            handed: 0,
            is_urgent: false,
            kept: HashMap::new(),
        }
    }

    fn push(&mut self, record: &Down<'_>) {
        self.write(record.bytes_max(), |space| frame::encode(record, space));
    }

    /// Writes a record of at most that many bytes, into the ring if it has room.
    fn write(&mut self, bytes_max: usize, encode: impl Fn(&mut [u8]) -> usize) {
        if self.overflow.is_empty() && self.writer.write(bytes_max, &encode) {
            return;
        }
        let mut bytes = vec![0; bytes_max];
        let length = encode(&mut bytes);
        bytes.truncate(length);
        self.overflow.push_back(bytes);
    }

    /// Moves records that had no room into the ring, as far as there is some now.
    fn drain_overflow(&mut self) {
        while let Some(bytes) = self.overflow.front() {
            let write = |space: &mut [u8]| {
                space.copy_from_slice(bytes);
                bytes.len()
            };
            if !self.writer.write(bytes.len(), write) {
                return;
            }
            self.overflow.pop_front();
        }
    }

    /// Nudges the worker for urgent records, once until it has taken the doorbell.
    fn nudge_for_urgent(&self) -> Result<(), PeerError> {
        match self.ring_pair.urgent().raise() {
            true => send(&self.sender),
            false => Ok(()),
        }
    }
}

impl Sleeper for RingPair {
    fn wake(&self) {
        self.down_doorbell().wake();
    }
}

impl Link for ProcessLink {
    fn deliver(&mut self, handed: &Handed, payload: &Payload, is_awaited: bool) {
        let header = CompletionHeader {
            ordinal: handed.ordinal,
            id: handed.id,
            attempt: handed.attempt,
            copy: u16::try_from(handed.copy).unwrap_or(u16::MAX),
            slot: u16::try_from(handed.slot).unwrap_or(u16::MAX),
            is_awaited,
        };
        let Payload::Shared(part) = payload else {
            let length = CompletionHeader::record_bytes(payload);
            self.write(length, |space| header.encode(payload, space));
            self.handed = handed.ordinal;
            return;
        };
        let segment = self.segments.share(&part.segment);
        self.handed = handed.ordinal;
        self.push(&Down::Deliver {
            ordinal: header.ordinal,
            id: header.id,
            attempt: header.attempt,
            copy: header.copy,
            slot: header.slot,
            is_awaited,
            segment,
            start: part.start(),
            length: part.len(),
        });
    }

    fn answer(&mut self, request: u64, answer: Answer<Given<'_>>) {
        self.push(&Down::Answer { request, answer });
    }

    fn revoke(&mut self, handed: &Handed) -> bool {
        self.is_urgent = true;
        self.push(&Down::Revoke {
            ordinal: handed.ordinal,
        });
        false
    }

    fn take_back(&mut self) {
        self.is_urgent = true;
        self.push(&Down::GiveBack);
    }

    fn ask_to_stop(&mut self) {
        self.is_urgent = true;
        self.push(&Down::Stop);
    }

    fn flush(&mut self, may_poll: bool) -> Result<Option<Arc<dyn Sleeper>>, PeerError> {
        for segment in self.segments.take_gone() {
            self.push(&Down::Forget { segment });
        }
        for segment in self.segments.take_unsent() {
            let sent = segments::send(&self.socket, &segment);
            heard_elsewhere(sent)?;
        }
        self.drain_overflow();
        if !self.overflow.is_empty() {
            self.ring_pair.down_room().want();
            self.drain_overflow();
        }
        self.ring_pair.set_handed(self.handed, may_poll);
        let is_asleep = self.writer.publish() && self.ring_pair.down_doorbell().take();
        if self.is_urgent {
            self.is_urgent = !self.overflow.is_empty();
            self.nudge_for_urgent()?;
        }
        Ok(is_asleep.then(|| Arc::clone(&self.ring_pair) as Arc<dyn Sleeper>))
    }

    fn has_made_room(&mut self) {
        if self.ring_pair.up_room().take() {
            self.ring_pair.up_room().wake();
        }
    }

    fn keep(&mut self, ordinal: u64, payload: Payload) {
        self.kept.insert(ordinal, payload);
    }

    fn release(&mut self, ordinal: u64) {
        self.kept.remove(&ordinal);
    }

    fn handed(&self) -> u64 {
        self.handed
    }
}

/// Sends a nudge. ipc-channel panics where it cannot.
fn send(sender: &IpcSender<Nudge>) -> Result<(), PeerError> {
    match catch_unwind(AssertUnwindSafe(|| sender.send(Nudge))) {
        Ok(Err(IpcError::Io(error))) => heard_elsewhere(Err(error)),
        Ok(_) => Ok(()),
        Err(_) => Err(PeerError::Unwakeable),
    }
}

/// Ignores that the other end is gone, because that is noticed elsewhere.
fn heard_elsewhere(sent: io::Result<()>) -> Result<(), PeerError> {
    match sent {
        Ok(()) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Ok(()),
            _ => Err(PeerError::Unreachable(error)),
        },
    }
}

/// The records that the worker wrote and that were not read yet.
#[derive(Debug)]
pub(crate) struct UplinkReader {
    pub(crate) ring_pair: Arc<RingPair>,
    reader: RingReader,
    segments: ReceivedSegments,
    /// The worker's working time when it was last read.
    served_ns: u64,
    through: u64,
    /// The last delivery whose end was read from a record.
    seen: u64,
}

impl UplinkReader {
    pub(crate) fn new(ring_pair: Arc<RingPair>, socket: Arc<DescriptorSocket>) -> Self {
        UplinkReader {
            reader: ring_pair.up_reader(),
            ring_pair,
            segments: ReceivedSegments::by(socket),
            served_ns: 0,
            through: 0,
            seen: 0,
        }
    }

    /// Forgets a segment that the worker does not name any more.
    pub(crate) fn forget(&mut self, segment: u32) {
        self.segments.forget(segment);
    }

    /// Takes the socket that the worker has sent with this number.
    pub(crate) fn take_socket(&mut self, number: u32) -> Result<OwnedFd, PeerError> {
        self.segments.take_socket(number)
    }

    pub(crate) fn next(&mut self, record: &mut Vec<u8>) -> Result<bool, Corrupt> {
        self.reader.copy_next(record)
    }

    /// Passes the record of this length, which was understood.
    pub(crate) fn consume(&mut self, length: usize) {
        self.reader.consume(length);
    }

    pub(crate) fn release(&mut self) {
        self.reader.release();
        self.ring_pair.set_seen(self.seen.max(self.through));
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.reader.is_empty() || self.ring_pair.board().through().0 != self.through
    }

    /// Returns `true` if the worker has done a quarter or more of what it had at the last reading.
    pub(crate) fn is_worth_reading(&self, handed: u64) -> bool {
        let done = self
            .ring_pair
            .board()
            .through()
            .0
            .wrapping_sub(self.through);
        done > 0 && done >= handed.wrapping_sub(self.through) / 4 || !self.reader.is_empty()
    }

    pub(crate) fn saw(&mut self, ordinal: u64) {
        self.seen = self.seen.max(ordinal);
    }

    /// Returns the position up to which it was read; anything beyond it is news.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.reader.position(), self.through)
    }

    /// Returns the delivery up to which the worker is through by now.
    pub(crate) fn peek_through(&self) -> Through {
        let board = self.ring_pair.board();
        let (ordinal, served_ns) = board.through();
        Through {
            ordinal,
            served_ns,
            begun: board.begun(),
        }
    }

    /// Stores what [`peek_through`](Self::peek_through) returned. If it is news, returns the
    /// ordinal and the time, in nanoseconds, of the deliveries that were not settled otherwise.
    ///
    /// # Errors
    /// The value is impossible for a worker that was handed deliveries up to this one.
    pub(crate) fn advance(
        &mut self,
        through: Through,
        handed: u64,
    ) -> Result<Option<(u64, u64)>, PeerError> {
        if through.ordinal == self.through {
            return Ok(None);
        }
        if through.ordinal > handed {
            return Err(PeerError::NotGiven);
        }
        if through.ordinal > through.begun || through.ordinal < self.through {
            return Err(PeerError::NotBegun);
        }
        let new_ns = through.served_ns.wrapping_sub(self.served_ns);
        (self.through, self.served_ns) = (through.ordinal, through.served_ns);
        Ok(Some((through.ordinal, new_ns)))
    }

    /// Returns the bytes of a payload, in the record or in shared memory.
    pub(crate) fn find<'a>(&mut self, body: Body<'a>) -> Result<Bytes<'a>, PeerError> {
        match body {
            Body::Inline(bytes) => Ok(Bytes::Inline(bytes)),
            Body::Shared {
                segment,
                start,
                length,
            } => self
                .segments
                .find(segment, start, length)
                .map(Bytes::Shared),
        }
    }
}

/// The scoreboard's content at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Through {
    ordinal: u64,
    served_ns: u64,
    begun: u64,
}

/// The bytes of a payload, wherever they are.
#[derive(Debug)]
pub(crate) enum Bytes<'a> {
    Inline(&'a [u8]),
    Shared(SegmentView),
}

impl std::ops::Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Inline(bytes) => bytes,
            Bytes::Shared(view) => view,
        }
    }
}
