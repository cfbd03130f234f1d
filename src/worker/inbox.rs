//! The deliveries and answers that came to a worker process and were not taken yet.
//!
//! Deliveries stay in the ring until a handler takes them one by one. A search beyond them, for an
//! answer or an urgent record, lays them aside in order. The inbox wakes nothing and sends nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::fail;
use crate::handler::lending::Lender;
use crate::protocol::frame::{self, Answer, CompletionHeader, Down};
use crate::protocol::ring::RingReader;
use crate::protocol::ring_pair::RingPair;
use crate::protocol::segments::{ReceivedSegments, SegmentView};
use crate::sys::descriptors::DescriptorSocket;
use dishrack_core::ledger::ItemId;

/// A delivery that was taken out of the ring, with the record that it came in.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) ordinal: u64,
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    /// The number of this copy of the attempt.
    pub(super) copy: u16,
    /// The slot that it was lent; 0 if none.
    pub(super) slot: u16,
    pub(super) is_awaited: bool,
    record: Vec<u8>,
    place: BodyPlace,
    /// The one that lends the payload, once a `get` has taken the delivery.
    lender: Option<Lender>,
}

#[derive(Debug)]
enum BodyPlace {
    /// In the record.
    Inline {
        start: usize,
        end: usize,
    },
    Shared(SegmentView),
}

impl BodyPlace {
    const NONE: Self = BodyPlace::Inline { start: 0, end: 0 };
}

impl Received {
    /// Makes room for a delivery that is to come.
    pub(super) fn none() -> Self {
        Received {
            ordinal: 0,
            id: ItemId(0),
            attempt: 0,
            copy: 1,
            slot: 0,
            is_awaited: false,
            record: Vec::new(),
            place: BodyPlace::NONE,
            lender: None,
        }
    }

    /// Becomes another delivery, whose record was read just now.
    fn become_next(&mut self, header: CompletionHeader, place: BodyPlace) {
        self.ordinal = header.ordinal;
        self.id = header.id;
        self.attempt = header.attempt;
        self.copy = header.copy;
        self.slot = header.slot;
        self.is_awaited = header.is_awaited;
        self.place = place;
        self.lender = None;
    }

    /// Notes who lends the payload.
    pub(super) fn lend(&mut self, lender: Option<Lender>) {
        self.lender = lender;
    }

    /// Lets go of the body. The record's memory is used again for the next delivery.
    pub(super) fn let_go(&mut self) {
        self.place = BodyPlace::NONE;
    }

    pub(crate) fn body(&self) -> &[u8] {
        match &self.place {
            BodyPlace::Inline { start, end } => &self.record[*start..*end],
            BodyPlace::Shared(view) => view,
        }
    }

    /// Returns the one that lends the payload to its item, if that is in shared memory.
    pub(crate) fn lender(&self) -> Option<&Lender> {
        self.lender.as_ref()
    }

    /// Returns the body if it is in shared memory.
    pub(super) fn view(&self) -> Option<&SegmentView> {
        match &self.place {
            BodyPlace::Inline { .. } => None,
            BodyPlace::Shared(view) => Some(view),
        }
    }
}

/// The result of a look into the ring.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A delivery, which is where the caller wanted it.
    Delivery,
    Revoked(u64),
    /// Deliveries that were not begun must be given back.
    GiveBack,
    /// The inbox has dealt with the record.
    Other,
    Nothing,
    /// The record makes no sense.
    Broken,
}

/// A delivery that a `get` took and that is not settled.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) ordinal: u64,
    /// Nanoseconds of the monotonic clock.
    pub(super) since_ns: u64,
    /// True if its end must be told by a record.
    pub(super) is_awaited: bool,
    pub(super) lender: Option<Lender>,
}

/// The deliveries of this process that were begun, and not settled.
#[derive(Debug, Default)]
pub(super) struct BegunWork {
    /// Those that `get` took, in their order.
    got: VecDeque<Unsettled>,
    /// The one that the handler is at; 0 if there is none.
    pub(super) handled: u64,
    /// The last one that was begun.
    pub(super) last: u64,
    /// The one that the scoreboard shows; 0 if none.
    pub(super) shown: u64,
    /// The time at which a `get`'s was settled last, in nanoseconds of the monotonic clock.
    settled_ns: u64,
}

impl BegunWork {
    pub(super) fn handle(&mut self, ordinal: u64) {
        self.handled = ordinal;
        self.last = ordinal;
    }

    pub(super) fn take(&mut self, one: Unsettled) {
        self.last = one.ordinal;
        self.got.push_back(one);
    }

    /// Removes the delivery with this ordinal, if `get` took it and it is not settled.
    pub(super) fn settle(&mut self, ordinal: u64) -> Option<Unsettled> {
        let place = self.got.binary_search_by_key(&ordinal, |one| one.ordinal);
        self.got.remove(place.ok()?)
    }

    /// Returns the oldest delivery that `get` took and that is not settled.
    pub(super) fn oldest(&self) -> Option<&Unsettled> {
        self.got.front()
    }

    /// Returns the delivery up to which all are settled.
    pub(super) fn through(&self) -> u64 {
        let got = self.oldest().map(|one| one.ordinal);
        let handled = Some(self.handled).filter(|handled| *handled > 0);
        match got.into_iter().chain(handled).min() {
            Some(unsettled) => unsettled - 1,
            None => self.last,
        }
    }

    /// Returns the time for which this process was at a delivery that it settles now, in nanoseconds:
    /// where it is at several, since it settled another one.
    pub(super) fn service_ns(&mut self, since_ns: u64, now_ns: u64) -> u64 {
        let since_ns = since_ns.max(self.settled_ns);
        self.settled_ns = now_ns;
        now_ns.saturating_sub(since_ns)
    }
}

#[derive(Debug)]
pub(super) struct Inbox {
    reader: RingReader,
    segments: ReceivedSegments,
    /// Deliveries that were taken out of the ring and not begun.
    pub(super) arrivals: VecDeque<Received>,
    pub(super) answers: HashMap<u64, Answer<()>>,
    pub(super) begun: BegunWork,
    pub(super) is_stopping: bool,
}

impl Inbox {
    pub(super) fn new(ring_pair: &Arc<RingPair>, socket: Arc<DescriptorSocket>) -> Self {
        Inbox {
            reader: ring_pair.down_reader(),
            segments: ReceivedSegments::with_files_by(socket),
            arrivals: VecDeque::new(),
            answers: HashMap::new(),
            begun: BegunWork::default(),
            is_stopping: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    /// Returns the position up to which the ring was read.
    pub(super) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Reads one record. If it is a delivery, `arrival` becomes that.
    pub(super) fn read(&mut self, arrival: &mut Received) -> Incoming {
        match self.reader.copy_next(&mut arrival.record) {
            Ok(true) => {}
            Ok(false) => return Incoming::Nothing,
            Err(_) => return Incoming::Broken,
        }
        fail::point("worker: packet read");
        let length = arrival.record.len();
        if let Some((header, start)) = CompletionHeader::decode(&arrival.record) {
            self.consume(length);
            arrival.become_next(header, BodyPlace::Inline { start, end: length });
            return Incoming::Delivery;
        }
        let record = std::mem::take(&mut arrival.record);
        let look = self.sort(&record, arrival);
        arrival.record = record;
        look
    }

    /// Sorts a record that is not a delivery with its payload in it.
    fn sort(&mut self, record: &[u8], arrival: &mut Received) -> Incoming {
        let look = match frame::decode::<Down<'_>>(record) {
            Err(_) => return Incoming::Broken,
            Ok(Down::Deliver {
                ordinal,
                id,
                attempt,
                copy,
                slot,
                is_awaited,
                segment,
                start,
                length,
            }) => {
                let view = match self.view(segment, start, length) {
                    Ok(view) => view,
                    Err(look) => return look,
                };
                let header = CompletionHeader {
                    ordinal,
                    id,
                    attempt,
                    copy,
                    slot,
                    is_awaited,
                };
                arrival.become_next(header, BodyPlace::Shared(view));
                Incoming::Delivery
            }
            Ok(Down::Answer { request, answer }) => match answer.try_map(|_| Err(Incoming::Broken))
            {
                Ok(answer) => {
                    self.answers.insert(request, answer);
                    Incoming::Other
                }
                Err(look) => return look,
            },
            // What belongs on a connection.
            Ok(Down::Item { .. }) => return Incoming::Broken,
            Ok(Down::Revoke { ordinal }) => Incoming::Revoked(ordinal),
            Ok(Down::GiveBack) => Incoming::GiveBack,
            Ok(Down::Stop) => {
                self.is_stopping = true;
                Incoming::Other
            }
            Ok(Down::Forget { segment }) => {
                self.segments.forget(segment);
                Incoming::Other
            }
        };
        self.consume(record.len());
        look
    }

    fn consume(&mut self, length: usize) {
        self.reader.consume(length);
        self.reader.release();
    }

    fn view(&mut self, segment: u32, start: usize, length: usize) -> Result<SegmentView, Incoming> {
        let view = self.segments.find(segment, start, length);
        view.map_err(|_| Incoming::Broken)
    }
}
