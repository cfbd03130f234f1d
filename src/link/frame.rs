//! The bytes of one packet between a supervisor and a worker process.
//!
//! A packet is a row of records, each encoded by postcard, and the shared memory of those whose
//! payload is too large for a packet. It always fits into one message of the kernel's: ipc-channel
//! sends larger ones in pieces, and a peer that dies between two pieces blocks the sender for ever.
//! Decoding checks every bound and never panics: whatever a worker sends, the worst that happens is
//! that this worker is replaced. It knows no channel.

use ipc_channel::ipc::IpcSharedMemory;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::ledger::{ItemId, Token};

/// Raised whenever a record changes, so that two builds never misread each other.
pub(crate) const PROTOCOL: u32 = 2;

/// A packet is closed when its records reach this size. Four packets of 64 KiB fit into a socket
/// before `send` blocks.
pub(crate) const FRAME_BYTES: usize = 40 * 1024;

/// A larger payload travels in shared memory. A record at this size still leaves a packet well
/// below what the kernel takes in one message.
pub(crate) const INLINE_BYTES_MAX: usize = 16 * 1024;

/// Shared regions in one packet; ipc-channel panics above 64 descriptors.
pub(crate) const REGIONS_MAX: usize = 8;

/// What goes over the channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Packet {
    records: ByteBuf,
    regions: Vec<IpcSharedMemory>,
}

/// A payload inside a record: its bytes, or the index of the packet's region that holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body<'a> {
    Inline(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    Region(u32),
}

/// How a `put`, `get` or `join` of a worker waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    No,
    UntilCancelled,
}

/// What a worker asks of its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask<'a> {
    Put {
        wait: Wait,
        #[serde(borrow)]
        body: Body<'a>,
    },
    Get {
        wait: Wait,
    },
    Join {
        wait: Wait,
    },
    State,
    Close,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict<'a> {
    /// The handler returned; its result, serialized.
    Done(#[serde(borrow)] Body<'a>),
    Nack {
        reason: &'a str,
        /// How long to rest before the next attempt, if the worker says so.
        rest_ns: Option<u64>,
    },
    Panicked(&'a str),
    Dropped,
    Undecodable(&'a str),
    Unserializable(&'a str),
    /// Never started: goes back uncounted.
    Returned,
}

/// From a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Up<'a> {
    /// The first record: ready for work.
    Ready {
        protocol: u32,
        pid: u32,
        item_type: &'a str,
    },
    /// Work on a delivery began at this time of the monotonic clock.
    Started { token: Token, at_ns: u64 },
    Settled {
        token: Token,
        service_ns: u64,
        #[serde(borrow)]
        verdict: Verdict<'a>,
    },
    Ask {
        request: u64,
        #[serde(borrow)]
        ask: Ask<'a>,
    },
    /// No longer waits for this request; its answer says how that went.
    Cancel { request: u64 },
    /// A delivery that was revoked had been begun, or is over.
    HasBegun { ordinal: u64 },
    /// It has more memory than it should.
    Worn,
    /// How many packets it has read since it began.
    Read { frames: u64 },
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer<'a> {
    Accepted(ItemId),
    Full,
    Empty,
    Closed,
    Item {
        token: Token,
        ordinal: u64,
        id: ItemId,
        attempt: u32,
        #[serde(borrow)]
        body: Body<'a>,
    },
    Joined {
        done: u64,
        dead: u64,
    },
    TimedOut {
        unfinished: u64,
    },
    NoWorkersLeft {
        why: String,
        unfinished: u64,
    },
    JoinWaitsForItself,
    JournalFailed {
        why: String,
    },
    TooLarge {
        bytes: u64,
        bytes_max: u64,
    },
    State {
        len: u64,
        is_full: bool,
        is_closed: bool,
    },
}

/// To a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Down<'a> {
    Deliver {
        token: Token,
        ordinal: u64,
        id: ItemId,
        attempt: u32,
        #[serde(borrow)]
        body: Body<'a>,
    },
    Answer {
        request: u64,
        #[serde(borrow)]
        answer: Answer<'a>,
    },
    /// This delivery was cancelled: if it was not begun it should not be.
    Revoke { token: Token, ordinal: u64 },
    /// Finish what is started, give the rest back, end.
    Stop,
}

/// A payload's place in its packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Span {
    Inline(usize, usize),
    Region(usize),
}

/// The longest reason or message that travels; the rest is cut off.
const TEXT_BYTES_MAX: usize = 4096;

/// The beginning of a text, at most as long as may travel.
pub(crate) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// Collects records into a packet.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    records: Vec<u8>,
    regions: Vec<IpcSharedMemory>,
}

impl FrameWriter {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether the packet should be sent before anything is added.
    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= FRAME_BYTES || self.regions.len() >= REGIONS_MAX
    }

    /// Places a payload: small ones stay where they are, large ones move to a shared region.
    pub(crate) fn place<'a>(&mut self, payload: &'a [u8]) -> Result<Body<'a>, String> {
        if payload.len() <= INLINE_BYTES_MAX {
            return Ok(Body::Inline(payload));
        }
        let region = share(payload)?;
        self.regions.push(region);
        let index = u32::try_from(self.regions.len() - 1).unwrap_or(u32::MAX);
        Ok(Body::Region(index))
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, record: &impl Serialize) {
        let records = std::mem::take(&mut self.records);
        self.records = postcard::to_extend(record, records)
            .expect("records hold bytes, text and numbers, and a Vec takes them all");
    }

    /// The packet, leaving the writer empty.
    pub(crate) fn take(&mut self) -> Packet {
        let capacity = self.records.capacity();
        Packet {
            records: ByteBuf::from(std::mem::replace(
                &mut self.records,
                Vec::with_capacity(capacity),
            )),
            regions: std::mem::take(&mut self.regions),
        }
    }
}

/// Copies a payload into shared memory. ipc-channel panics where the system gives none; that is
/// turned into an error here.
fn share(payload: &[u8]) -> Result<IpcSharedMemory, String> {
    std::panic::catch_unwind(|| IpcSharedMemory::from_bytes(payload)).map_err(|_| {
        let length = payload.len();
        format!("no shared memory for {length} bytes: raise the limit on open files or on memory")
    })
}

impl Packet {
    /// Its records, decoded one by one; after an error there are no more.
    pub(crate) fn records<'a, R: Deserialize<'a>>(
        &'a self,
    ) -> impl Iterator<Item = Result<R, postcard::Error>> {
        let mut rest: &'a [u8] = &self.records;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            match postcard::take_from_bytes::<R>(rest) {
                Ok((record, tail)) => {
                    rest = tail;
                    Some(Ok(record))
                }
                Err(error) => {
                    rest = &[];
                    Some(Err(error))
                }
            }
        })
    }

    /// Where a record's payload is, so that it can be found again without its record.
    pub(crate) fn locate(&self, body: Body<'_>) -> Option<Span> {
        match body {
            Body::Region(index) => {
                let index = usize::try_from(index).ok()?;
                self.regions.get(index).map(|_| Span::Region(index))
            }
            Body::Inline(bytes) => {
                let start = bytes.as_ptr().addr() - self.records.as_ptr().addr();
                Some(Span::Inline(start, start + bytes.len()))
            }
        }
    }

    /// The bytes that [`locate`](Self::locate) found.
    pub(crate) fn slice(&self, span: Span) -> &[u8] {
        match span {
            Span::Inline(start, end) => &self.records[start..end],
            Span::Region(index) => &self.regions[index],
        }
    }

    /// The payload's bytes, or `None` when it names a region that did not come.
    pub(crate) fn bytes<'a>(&'a self, body: Body<'a>) -> Option<&'a [u8]> {
        match body {
            Body::Inline(bytes) => Some(bytes),
            Body::Region(index) => self.regions.get(usize::try_from(index).ok()?).map(|r| &**r),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_order() {
        let mut writer = FrameWriter::default();
        let body = writer.place(b"item-1").unwrap();
        let ask = Up::Ask {
            request: 7,
            ask: Ask::Put {
                wait: Wait::No,
                body,
            },
        };
        writer.push(&Up::Read { frames: 300 });
        writer.push(&ask);
        let packet = writer.take();
        let records: Vec<Up<'_>> = packet.records().map(Result::unwrap).collect();
        assert_eq!(records, [Up::Read { frames: 300 }, ask]);
        assert!(writer.is_empty());
    }

    #[test]
    fn a_large_payload_moves_to_a_region() {
        let payload = vec![7; INLINE_BYTES_MAX + 1];
        let mut writer = FrameWriter::default();
        let body = writer.place(&payload).unwrap();
        assert_eq!(body, Body::Region(0));
        let packet = writer.take();
        assert_eq!(packet.bytes(body).unwrap(), payload);
        assert_eq!(packet.bytes(Body::Region(1)), None);
    }

    #[test]
    fn any_bytes_decode_to_records_or_to_one_error() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let packet = Packet { records: ByteBuf::from(bytes), regions: Vec::new() };
            let errors = packet.records::<Up<'_>>().filter(Result::is_err).count();
            proptest::prop_assert!(errors <= 1);
        });
    }
}
