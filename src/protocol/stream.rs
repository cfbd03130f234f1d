//! Records on a stream socket, between two processes that share no memory: who reaches a queue by a
//! connection of its own, and the process that has the queue.
//!
//! A frame is the length of a record in four bytes, and the record, encoded as in a ring (see
//! `frame`). A payload is the last field of its record, so that it is sent from where it lies. Of a
//! frame nothing is taken before all of it has come, so what its sender could not finish never was.
//! The module knows neither side.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::address::QueueAddress;
use super::frame::{self, RingRecord};
use super::peer_error::PeerError;
use crate::payload::Payload;
use crate::sys::stream;

/// The largest item that is sent by a connection, in bytes.
pub(crate) const ITEM_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The longest record: the largest item, and what else its record holds.
const RECORD_BYTES_MAX: usize = ITEM_BYTES_MAX + 4096;

/// The bytes of a frame before its record.
const LENGTH_BYTES: usize = 4;

/// The bytes that are received at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The first frame of a connection, from the process that wants to reach a queue.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello<'a> {
    /// `None`: the one that is served at this place.
    pub(crate) queue: Option<QueueAddress>,
    pub(crate) item_type: &'a str,
}

/// The answer to it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Welcome<'a> {
    Accepted {
        address: QueueAddress,
        /// True if items outlive the process that has the queue.
        keeps_items: bool,
    },
    Refused {
        why: &'a str,
    },
}

/// A frame on its way out.
#[derive(Debug)]
pub(crate) struct OutFrame {
    /// The length, and the record as far as the payload.
    head: Vec<u8>,
    body: Payload,
    sent: usize,
}

impl OutFrame {
    /// Makes the frame of a record that holds no payload, or an empty one.
    pub(crate) fn of(record: &impl RingRecord) -> Self {
        let mut bytes = vec![0; record.bytes_max()];
        let length = frame::encode(record, &mut bytes);
        bytes.truncate(length);
        OutFrame::new(&bytes, Payload::Empty)
    }

    /// Makes the frame of a record whose last field is a payload, and empty: the payload takes its
    /// place.
    pub(crate) fn with_body(record: &impl RingRecord, body: Payload) -> Self {
        let mut bytes = vec![0; record.bytes_max()];
        let length = frame::encode(record, &mut bytes);
        // The length of the empty one is its last byte.
        bytes.truncate(length - 1);
        let mut left = body.len();
        while left >= 0x80 {
            bytes.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        bytes.push(left.to_le_bytes()[0]);
        OutFrame::new(&bytes, body)
    }

    /// Makes the frame of a word that is said once.
    pub(crate) fn of_greeting(greeting: &impl Serialize) -> Self {
        let bytes = postcard::to_allocvec(greeting).expect("a greeting holds numbers and text");
        OutFrame::new(&bytes, Payload::Empty)
    }

    fn new(record: &[u8], body: Payload) -> Self {
        let length = u32::try_from(record.len() + body.len())
            .expect("an item was checked to be no larger than ITEM_BYTES_MAX");
        let mut head = length.to_le_bytes().to_vec();
        head.extend(record);
        OutFrame {
            head,
            body,
            sent: 0,
        }
    }

    /// Returns `true` if a part of it was sent.
    pub(crate) fn is_begun(&self) -> bool {
        self.sent > 0
    }

    /// Sends what is left of it, as far as there is room. Returns `true` if that was all.
    pub(crate) fn send(&mut self, socket: &impl AsFd, may_wait: bool) -> io::Result<bool> {
        loop {
            let from = self.sent.min(self.head.len());
            let (head, body) = (&self.head[from..], &self.body[self.sent - from..]);
            if head.is_empty() && body.is_empty() {
                return Ok(true);
            }
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            match stream::send(socket, &parts, may_wait) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The result of a look for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Bytes,
    Nothing,
    /// The other side has ended. `leaving_unread`: before it had read all that was sent to it.
    End {
        leaving_unread: bool,
    },
}

/// The bytes that came and were not taken yet.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Makes one that begins with these bytes.
    pub(crate) fn with(bytes: Vec<u8>) -> Self {
        FrameReader { bytes, start: 0 }
    }

    /// Receives what is there, without waiting.
    pub(crate) fn receive(&mut self, socket: &impl AsFd) -> io::Result<Came> {
        self.make_room();
        match stream::receive(socket, &mut self.bytes) {
            Ok(0) => Ok(Came::End {
                leaving_unread: false,
            }),
            Ok(_) => Ok(Came::Bytes),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => Ok(Came::Nothing),
                ErrorKind::ConnectionReset => Ok(Came::End {
                    leaving_unread: true,
                }),
                _ => Err(error),
            },
        }
    }

    /// Makes room for a chunk. The memory of a large frame is let go after it, and grows with what
    /// has come rather than with the length that a frame claims.
    fn make_room(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            self.bytes.shrink_to(CHUNK_BYTES);
        } else if self.start > CHUNK_BYTES {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.reserve(CHUNK_BYTES);
    }

    /// Takes the next record, if all of it is there.
    ///
    /// # Errors
    /// It is longer than a record may be.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, PeerError> {
        let left = &self.bytes[self.start..];
        let Some((length, left)) = left.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > RECORD_BYTES_MAX {
            return Err(PeerError::TooLong(length));
        }
        if left.len() < length {
            return Ok(None);
        }
        let start = self.start + LENGTH_BYTES;
        self.start = start + length;
        Ok(Some(&self.bytes[start..self.start]))
    }

    /// Waits for a record, at most until then.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) fn await_record(
        &mut self,
        socket: &impl AsFd,
        until: Instant,
    ) -> Result<Vec<u8>, PeerError> {
        loop {
            if let Some(record) = self.next()? {
                return Ok(record.to_vec());
            }
            let is_there = stream::wait_to_receive(socket, Some(until));
            if !is_there.map_err(PeerError::Unheard)? {
                return Err(PeerError::Silent);
            }
            let came = self.receive(socket);
            if let Came::End { .. } = came.map_err(PeerError::Unheard)? {
                return Err(PeerError::Ended);
            }
        }
    }

    /// Returns `true` if a part of a frame is there.
    pub(crate) fn is_within(&self) -> bool {
        self.start < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Answer, Ask, Body, Down, Given, Up, Wait};
    use super::*;
    use crate::sys::stream::pair;
    use dishrack_core::ledger::ItemId;

    fn put(body: &[u8]) -> Up<'_> {
        let (wait, body) = (Wait::No, Body::Inline(body));
        Up::Ask {
            request: 7,
            ask: Ask::Put { wait, body },
        }
    }

    fn item(body: &[u8]) -> Given<'_> {
        Given {
            ordinal: 1,
            id: ItemId(1),
            attempt: 1,
            body: Body::Inline(body),
        }
    }

    /// Receives until a record is whole, while the other thread sends.
    fn next(reader: &mut FrameReader, socket: &impl AsFd) -> Vec<u8> {
        loop {
            if let Some(record) = reader.next().unwrap() {
                return record.to_vec();
            }
            assert!(stream::wait_to_receive(socket, None).unwrap());
            reader.receive(socket).unwrap();
        }
    }

    #[test]
    fn a_payload_that_is_sent_from_its_place_arrives_as_a_part_of_its_record() {
        let sizes = [0, 1, 127, 128, 16_383, 16_384, 3_000_000];
        let (ours, theirs) = pair().unwrap();
        let mut reader = FrameReader::default();
        for size in sizes {
            let bytes = vec![7; size];
            let request = 9;
            let answer = Answer::Item(item(&[]));
            let empty = Answer::Item(item(&bytes));
            let mut frames = [
                OutFrame::with_body(&put(&[]), Payload::copy_of(&bytes)),
                OutFrame::with_body(&Down::Answer { request, answer }, Payload::copy_of(&bytes)),
            ];
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    frames
                        .iter_mut()
                        .for_each(|one| drop(one.send(&ours, true)))
                });
                let record = next(&mut reader, &theirs);
                assert_eq!(frame::decode(&record), Ok(put(&bytes)));
                let record = next(&mut reader, &theirs);
                let answer = empty;
                assert_eq!(frame::decode(&record), Ok(Down::Answer { request, answer }));
            });
            assert!(!reader.is_within());
        }
        assert!(reader.bytes.capacity() < 8_000_000);
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_has_come() {
        let mut reader = FrameReader::with(u32::MAX.to_le_bytes().to_vec());
        assert!(reader.next().is_err());
        let length = u32::try_from(RECORD_BYTES_MAX).unwrap();
        let mut reader = FrameReader::with(length.to_le_bytes().to_vec());
        assert_eq!(reader.next().unwrap(), None);
        assert!(reader.is_within());
    }

    #[test]
    fn a_sender_that_ends_within_a_frame_has_sent_none() {
        let (ours, theirs) = pair().unwrap();
        let mut frame = OutFrame::with_body(&put(&[]), Payload::copy_of(&[7; 100_000_000 / 8]));
        assert!(!frame.send(&ours, false).unwrap(), "there is no room");
        drop(ours);
        let mut reader = FrameReader::default();
        let end = loop {
            // A process that another test is just starting has a copy of that end for a moment.
            assert!(stream::wait_to_receive(&theirs, None).unwrap());
            match reader.receive(&theirs).unwrap() {
                Came::Bytes => assert_eq!(reader.next().unwrap(), None),
                end => break end,
            }
        };
        let leaving_unread = false;
        assert_eq!(end, Came::End { leaving_unread });
    }

    #[test]
    fn it_is_told_whether_the_other_side_has_left_something_unread() {
        for leaving_unread in [false, true] {
            let (ours, theirs) = pair().unwrap();
            let sent = OutFrame::of(&Up::Worn).send(&ours, false);
            assert!(sent.unwrap());
            let mut reader = FrameReader::default();
            if !leaving_unread {
                assert_eq!(reader.receive(&theirs).unwrap(), Came::Bytes);
            }
            drop(theirs);
            assert!(stream::wait_to_receive(&ours, None).unwrap());
            let end = FrameReader::default().receive(&ours).unwrap();
            assert_eq!(end, Came::End { leaving_unread });
        }
    }

    #[test]
    fn any_bytes_are_frames_or_an_error() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let mut reader = FrameReader::with(bytes);
            while let Ok(Some(record)) = reader.next() {
                let _ = frame::decode::<Up<'_>>(record);
                let _ = postcard::from_bytes::<Hello<'_>>(record);
            }
        });
    }
}
