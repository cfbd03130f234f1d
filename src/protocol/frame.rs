//! The records that a supervisor and a worker process exchange, and their bytes.
//!
//! A record is encoded by postcard and lies in a ring (see `ring_pair`). A payload that is too
//! large for that lies in shared memory, and its record says where. A delivery is named by its
//! ordinal; the ring pair tells whose it is. Decoding checks every bound and never panics: whatever
//! a worker sends, the worst result is that this worker is replaced. The module knows no channel.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::address::Home;
use super::peer_error::PeerError;
use dishrack_core::ledger::{ItemId, Outcome, Refusal};

/// Raised whenever a record changes, so that two builds never misread each other.
pub(crate) const PROTOCOL: u32 = 15;

/// The greatest number of items that one request brings, and of deliveries that one record
/// acknowledges.
pub(crate) const RUN_ITEMS: u32 = 256;

/// Returns the ordinals of a run that was acknowledged.
///
/// # Errors
/// It ends before it begins, or is too long.
pub(crate) fn acknowledged_run(first: u64, last: u64) -> Result<RangeInclusive<u64>, PeerError> {
    if last < first || last - first >= u64::from(RUN_ITEMS) {
        return Err(PeerError::NoRun);
    }
    Ok(first..=last)
}

/// The message over ipc-channel that says: look into the ring pair.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Nudge;

/// A payload: its bytes, or their place in a segment of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body<'a> {
    Inline(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    Shared {
        segment: u32,
        start: usize,
        length: usize,
    },
}

impl Body<'_> {
    fn inline_bytes(&self) -> usize {
        match self {
            Body::Inline(bytes) => bytes.len(),
            Body::Shared { .. } => 0,
        }
    }
}

/// The way in which a `put`, `get` or `join` of a worker waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    No,
    UntilCancelled,
}

/// A worker's request to its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask<'a> {
    Put {
        wait: Wait,
        #[serde(borrow)]
        body: Body<'a>,
    },
    /// The next item, and those behind it, up to `at_most` in all.
    Get {
        wait: Wait,
        at_most: u32,
    },
    Join {
        wait: Wait,
    },
    State,
    Close,
}

/// From a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Up<'a> {
    /// The first record: the worker is ready.
    Ready {
        protocol: u32,
        pid: u32,
        item_type: &'a str,
    },
    /// Work on a delivery began at this time of the monotonic clock.
    Started { ordinal: u64, at_ns: u64 },
    /// A delivery has ended; where it is done and its result is small, that is a [`Completion`].
    Settled {
        ordinal: u64,
        service_ns: u64,
        /// Its text is [clipped](clipped).
        #[serde(borrow)]
        outcome: Outcome<Body<'a>>,
    },
    /// Deliveries that the worker has asked for are done, from this ordinal to that one: at most
    /// [`RUN_ITEMS`].
    SettledRun {
        first: u64,
        last: u64,
        /// The mean time of one.
        service_ns: u64,
    },
    Ask {
        request: u64,
        #[serde(borrow)]
        ask: Ask<'a>,
    },
    /// The worker no longer waits for this request; the answer says whether that came too late.
    Cancel { request: u64 },
    /// A revoked delivery had been begun, or is over.
    HasBegun { ordinal: u64 },
    /// The handler waits for its next delivery, though this process holds some that `get` took. This
    /// is the last one that was begun.
    Idle { begun: u64 },
    /// The worker has more memory than it should.
    Worn,
    /// The payload of this delivery in shared memory is still read, though the delivery is settled.
    Keeps { ordinal: u64 },
    /// That payload is not read any more.
    Released { ordinal: u64 },
    /// No record will name the worker's segment with this number again.
    Forget { segment: u32 },
    /// The socket that was sent with this number is a connection to a queue of this process: the
    /// supervisor's, or one that it can pass the connection on to.
    Connect {
        number: u32,
        home: Home,
        /// The worker and its pid, if another supervisor has passed it on.
        from: Option<(&'a str, u32)>,
    },
    /// This process is asked to end, and gets nothing more by its connection.
    Stopping,
}

/// An item that answers a request: the place of its payload in a record, or the payload's form at
/// the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given<'a> {
    pub(crate) ordinal: u64,
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    #[serde(borrow)]
    pub(crate) body: Body<'a>,
}

/// The answer to an [`Ask`]; `I` is the form of an item at this place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer<I> {
    Accepted(ItemId),
    /// An item, on a connection.
    Item(I),
    /// The items are deliveries that come before this, in a ring.
    Delivered,
    Joined {
        done: u64,
        dead: u64,
    },
    State {
        len: u64,
        is_full: bool,
        is_closed: bool,
    },
    /// The queue is closed, as was asked.
    Closed,
    Refused {
        refusal: Refusal,
        /// The reason why the pool, the journal or the stream has failed, if one has.
        why: String,
    },
}

impl<I> Answer<I> {
    pub(crate) fn try_map<J, E>(
        self,
        form: impl FnOnce(I) -> Result<J, E>,
    ) -> Result<Answer<J>, E> {
        Ok(match self {
            Answer::Accepted(id) => Answer::Accepted(id),
            Answer::Item(item) => Answer::Item(form(item)?),
            Answer::Delivered => Answer::Delivered,
            Answer::Joined { done, dead } => Answer::Joined { done, dead },
            Answer::State {
                len,
                is_full,
                is_closed,
            } => Answer::State {
                len,
                is_full,
                is_closed,
            },
            Answer::Closed => Answer::Closed,
            Answer::Refused { refusal, why } => Answer::Refused { refusal, why },
        })
    }
}

/// A record to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Down<'a> {
    /// A delivery whose payload is in shared memory; any other is a [`CompletionHeader`] and the payload.
    Deliver {
        ordinal: u64,
        id: ItemId,
        attempt: u32,
        copy: u16,
        slot: u16,
        is_awaited: bool,
        segment: u32,
        start: usize,
        length: usize,
    },
    /// An item for this request. Others follow, and the last one is the answer.
    Item {
        request: u64,
        #[serde(borrow)]
        item: Given<'a>,
    },
    Answer {
        request: u64,
        #[serde(borrow)]
        answer: Answer<Given<'a>>,
    },
    /// This delivery was cancelled, and should not be begun.
    Revoke { ordinal: u64 },
    /// Finish what is started, give the rest back, end.
    Stop,
    /// Give back the deliveries that were not begun, because the present item takes long.
    GiveBack,
    /// No record will name the segment with this number again.
    Forget { segment: u32 },
}

/// The greatest size in bytes of a reason or message that travels; the rest is cut off.
const TEXT_BYTES_MAX: usize = 4096;

/// Cuts the text of an outcome to the greatest size that may travel.
pub(crate) fn clipped<R>(mut outcome: Outcome<R>) -> Outcome<R> {
    if let Some(text) = outcome.text_mut() {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    }
    outcome
}

/// The greatest encoded size of a record of fixed fields.
const FIXED_BYTES_MAX: usize = 96;

/// A record that can be written into a ring.
pub(crate) trait RingRecord: Serialize {
    /// Returns an upper bound of its encoded size in bytes.
    fn bytes_max(&self) -> usize;
}

impl RingRecord for Up<'_> {
    fn bytes_max(&self) -> usize {
        let text = match self {
            Up::Ready { item_type, .. } => item_type.len(),
            Up::Settled { outcome, .. } => match outcome {
                Outcome::Done(body) => body.inline_bytes(),
                failed => failed.text().map_or(0, str::len),
            },
            Up::Ask {
                ask: Ask::Put { body, .. },
                ..
            } => body.inline_bytes(),
            Up::Ask {
                ask: Ask::Get { .. } | Ask::Join { .. } | Ask::State | Ask::Close,
                ..
            }
            | Up::Started { .. }
            | Up::SettledRun { .. }
            | Up::Cancel { .. }
            | Up::HasBegun { .. }
            | Up::Idle { .. }
            | Up::Worn
            | Up::Keeps { .. }
            | Up::Released { .. }
            | Up::Forget { .. }
            | Up::Stopping => 0,
            Up::Connect { from, .. } => from.map_or(0, |(worker, _)| worker.len()),
        };
        FIXED_BYTES_MAX + text
    }
}

impl RingRecord for Down<'_> {
    fn bytes_max(&self) -> usize {
        let text = match self {
            Down::Item { item, .. } => item.body.inline_bytes(),
            Down::Answer { answer, .. } => match answer {
                Answer::Item(given) => given.body.inline_bytes(),
                Answer::Refused { why, .. } => why.len(),
                Answer::Accepted(_)
                | Answer::Delivered
                | Answer::Joined { .. }
                | Answer::State { .. }
                | Answer::Closed => 0,
            },
            Down::Deliver { .. }
            | Down::Revoke { .. }
            | Down::Stop
            | Down::GiveBack
            | Down::Forget { .. } => 0,
        };
        FIXED_BYTES_MAX + text
    }
}

/// Writes a record into a space of at least [`RingRecord::bytes_max`] bytes. Returns the number used.
pub(crate) fn encode(record: &impl RingRecord, space: &mut [u8]) -> usize {
    postcard::to_slice(record, space)
        .expect("records hold bytes, text and numbers, and `bytes_max` counts them all")
        .len()
}

/// The first byte of a delivery with its payload in the record, and of the result of one. Nearly
/// every record is one, so they have a form of their own that costs a few instructions. No other
/// record begins with this byte.
const PLAIN: u8 = 0xff;

/// The length of such a record before its payload.
const HEADER_BYTES: usize = 24;

/// The fields of a delivery's record besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompletionHeader {
    pub(crate) ordinal: u64,
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    /// The number of this copy of the attempt, as far as it can be told.
    pub(crate) copy: u16,
    /// The slot that it was lent; 0 if none. Where there are slots, items have no copies.
    pub(crate) slot: u16,
    /// True if its end must be told by a record of its own, with the result.
    pub(crate) is_awaited: bool,
}

/// The bits of the second byte of a delivery: its end must be told; it has a slot, in the place of the
/// number of its copy.
const AWAITED: u8 = 1;
const SLOTTED: u8 = 2;

impl CompletionHeader {
    /// Returns the length of the record of a delivery with this payload.
    pub(crate) fn record_bytes(payload: &[u8]) -> usize {
        HEADER_BYTES + payload.len()
    }

    /// Writes the record into a space of that length.
    pub(crate) fn encode(&self, payload: &[u8], space: &mut [u8]) -> usize {
        let (header, body) = space.split_at_mut(HEADER_BYTES);
        header[0] = PLAIN;
        let (slotted, number) = match self.slot {
            0 => (0, self.copy),
            slot => (SLOTTED, slot),
        };
        header[1] = u8::from(self.is_awaited) | slotted;
        header[2..4].copy_from_slice(&number.to_ne_bytes());
        header[4..8].copy_from_slice(&self.attempt.to_ne_bytes());
        header[8..16].copy_from_slice(&self.ordinal.to_ne_bytes());
        header[16..24].copy_from_slice(&self.id.0.to_ne_bytes());
        body.copy_from_slice(payload);
        HEADER_BYTES + payload.len()
    }

    /// Reads a header, and returns it with the payload's offset; `None` for another record.
    pub(crate) fn decode(record: &[u8]) -> Option<(Self, usize)> {
        let header = record.first_chunk::<HEADER_BYTES>()?;
        let [PLAIN, bits, rest @ ..] = header else {
            return None;
        };
        let (number, rest) = rest.split_first_chunk()?;
        let number = u16::from_ne_bytes(*number);
        let (copy, slot) = match bits & SLOTTED {
            0 => (number, 0),
            _ => (1, number),
        };
        let (attempt, rest) = rest.split_first_chunk()?;
        let (ordinal, rest) = rest.split_first_chunk()?;
        let (id, _) = rest.split_first_chunk()?;
        let header = CompletionHeader {
            ordinal: u64::from_ne_bytes(*ordinal),
            id: ItemId(u64::from_ne_bytes(*id)),
            attempt: u32::from_ne_bytes(*attempt),
            copy,
            slot,
            is_awaited: bits & AWAITED != 0,
        };
        Some((header, HEADER_BYTES))
    }
}

/// The fields of the record that a delivery is done, besides the result, which follows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) ordinal: u64,
    pub(crate) service_ns: u64,
}

impl Completion {
    /// Returns the length of the record of this result.
    pub(crate) fn record_bytes(result: &[u8]) -> usize {
        HEADER_BYTES + result.len()
    }

    /// Writes the record into a space of that length.
    pub(crate) fn encode(&self, result: &[u8], space: &mut [u8]) -> usize {
        let (header, body) = space.split_at_mut(HEADER_BYTES);
        header[..8].copy_from_slice(&u64::from(PLAIN).to_le_bytes());
        header[8..16].copy_from_slice(&self.ordinal.to_ne_bytes());
        header[16..24].copy_from_slice(&self.service_ns.to_ne_bytes());
        body.copy_from_slice(result);
        HEADER_BYTES + result.len()
    }

    /// Reads the fields, and returns them with the result; `None` for another record.
    pub(crate) fn decode(record: &[u8]) -> Option<(Self, &[u8])> {
        let (header, result) = record.split_first_chunk::<HEADER_BYTES>()?;
        let [PLAIN, _, _, _, _, _, _, _, rest @ ..] = header else {
            return None;
        };
        let (ordinal, rest) = rest.split_first_chunk()?;
        let (service_ns, _) = rest.split_first_chunk()?;
        let done = Completion {
            ordinal: u64::from_ne_bytes(*ordinal),
            service_ns: u64::from_ne_bytes(*service_ns),
        };
        Some((done, result))
    }
}

/// Decodes a record that takes all of these bytes.
pub(crate) fn decode<'a, R: Deserialize<'a>>(bytes: &'a [u8]) -> Result<R, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (record, []) => Ok(record),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dishrack_core::ledger::{Cause, Exit};

    use super::*;

    fn encoded(record: &impl RingRecord) -> Vec<u8> {
        let mut space = vec![0; record.bytes_max()];
        let length = encode(record, &mut space);
        space.truncate(length);
        space
    }

    #[test]
    fn records_come_back_as_they_were() {
        let ask = Up::Ask {
            request: 7,
            ask: Ask::Put {
                wait: Wait::No,
                body: Body::Inline(b"item-1"),
            },
        };
        assert_eq!(decode(&encoded(&ask)), Ok(ask));
        let delivery = Down::Deliver {
            ordinal: u64::MAX,
            id: ItemId(u64::MAX),
            attempt: u32::MAX,
            copy: u16::MAX,
            slot: u16::MAX,
            is_awaited: true,
            segment: u32::MAX,
            start: usize::MAX,
            length: usize::MAX,
        };
        let bytes = encoded(&delivery);
        assert_eq!(decode(&bytes), Ok(delivery));
        assert_eq!(CompletionHeader::decode(&bytes), None);
    }

    #[test]
    fn the_longest_fixed_fields_fit() {
        let body = Body::Shared {
            segment: u32::MAX,
            start: usize::MAX,
            length: usize::MAX,
        };
        let item = Answer::Item(Given {
            ordinal: u64::MAX,
            id: ItemId(u64::MAX),
            attempt: u32::MAX,
            body,
        });
        let refused = Answer::Refused {
            refusal: Refusal::TooLarge {
                bytes: u64::MAX,
                bytes_max: u64::MAX,
            },
            why: String::new(),
        };
        for answer in [item, refused] {
            let answer = Down::Answer {
                request: u64::MAX,
                answer,
            };
            assert_eq!(decode(&encoded(&answer)), Ok(answer));
        }
        let causes = [
            Cause::Nack(String::new()),
            Cause::TimedOut(Duration::MAX),
            Cause::CommandFailed {
                exit: Exit::Signaled(i32::MIN),
                complaint: String::new(),
            },
        ];
        for cause in causes {
            let rest = Some(Duration::MAX);
            let settled = Up::Settled {
                ordinal: u64::MAX,
                service_ns: u64::MAX,
                outcome: Outcome::Failed { cause, rest },
            };
            assert_eq!(decode(&encoded(&settled)), Ok(settled));
        }
    }

    #[test]
    fn the_longest_text_is_cut_where_a_character_ends() {
        let text = "ä".repeat(TEXT_BYTES_MAX);
        let cause = Cause::CommandFailed {
            exit: Exit::Exited(255),
            complaint: text.clone(),
        };
        for outcome in [Outcome::failed(cause), Outcome::Short(text)] {
            let outcome = clipped::<Body<'_>>(outcome);
            assert_eq!(outcome.text().unwrap().len(), TEXT_BYTES_MAX);
            let settled = Up::Settled {
                ordinal: 1,
                service_ns: 1,
                outcome,
            };
            assert_eq!(decode(&encoded(&settled)), Ok(settled));
        }
    }

    #[test]
    fn a_delivery_comes_back_as_it_was() {
        let mut record = vec![0; CompletionHeader::record_bytes(b"item-1")];
        for (copy, slot, is_awaited) in [(2, 0, true), (1, u16::MAX, true), (1, 3, false)] {
            let header = CompletionHeader {
                ordinal: 7,
                id: ItemId(70),
                attempt: 3,
                copy,
                slot,
                is_awaited,
            };
            assert_eq!(header.encode(b"item-1", &mut record), record.len());
            let (back, start) = CompletionHeader::decode(&record).unwrap();
            assert_eq!((back, &record[start..]), (header, &b"item-1"[..]));
        }
        assert!(decode::<Down<'_>>(&record).is_err());
        assert_eq!(CompletionHeader::decode(&record[..HEADER_BYTES - 1]), None);
    }

    #[test]
    fn a_completion_comes_back_as_it_was() {
        let done = Completion {
            ordinal: 7,
            service_ns: u64::MAX,
        };
        for result in [&b"done"[..], b""] {
            let mut record = vec![0; Completion::record_bytes(result)];
            assert_eq!(done.encode(result, &mut record), record.len());
            assert_eq!(Completion::decode(&record), Some((done, result)));
            assert!(decode::<Up<'_>>(&record).is_err());
        }
        assert_eq!(Completion::decode(&[PLAIN; HEADER_BYTES - 1]), None);
        assert_eq!(Completion::decode(&encoded(&Up::Worn)), None);
    }

    #[test]
    fn more_bytes_than_a_record_are_an_error() {
        let mut bytes = encoded(&Up::Worn);
        bytes.push(0);
        assert!(decode::<Up<'_>>(&bytes).is_err());
    }

    #[test]
    fn any_bytes_decode_to_a_record_or_to_an_error() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let _ = decode::<Up<'_>>(&bytes);
            let _ = Completion::decode(&bytes);
        });
    }
}
