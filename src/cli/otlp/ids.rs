//! The ids of the spans of puts. They follow from the queue and the item's number, so that whoever puts an
//! item makes its span and whoever works on it makes the link, in whichever process and on whichever
//! machine, and nothing is kept of either.
//!
//! The queue is known by what no other one has: a stream by the mark that it was born with, whatever its
//! name and its server's address; a journal by its identity. The item is known by its number and not by its
//! entry, because an entry is another one once it was given back or was a dead letter.
//!
//! `traceparent` as a field of each entry (<https://www.w3.org/TR/trace-context/>) was the other way. It would
//! say of items that were put without spans that they have none, where such a link leads nowhere now. But it
//! takes some 70 bytes of Redis' memory for each item, and as many here for each that waits; items of a
//! journal have no fields; and two versions of this program would have to agree on more than `item` and `n`.

use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::ItemId;

/// The part of the ids that all items of a queue share.
#[derive(Debug)]
pub(super) struct PutIds {
    mark: String,
    /// True if other processes may have put items.
    is_remote: bool,
}

impl PutIds {
    /// Makes those of the queue with this mark, or of one that no other process puts on.
    pub(super) fn of(mark: Option<String>) -> Self {
        PutIds {
            is_remote: mark.is_some(),
            mark: mark.unwrap_or_else(|| RandomIdGenerator::default().new_trace_id().to_string()),
        }
    }

    /// Returns the trace and the span of an item's put, as they are written down in docs/events.md.
    pub(super) fn context(&self, id: ItemId) -> SpanContext {
        let digest = Sha256::digest(format!("{}:{}", self.mark, id.0));
        let trace: [u8; 16] = std::array::from_fn(|place| digest[place]);
        let span: [u8; 8] = std::array::from_fn(|place| digest[trace.len() + place]);
        SpanContext::new(
            TraceId::from_bytes(trace),
            SpanId::from_bytes(span),
            TraceFlags::SAMPLED,
            self.is_remote,
            TraceState::NONE,
        )
    }
}

/// Gives spans the ids that are meant for them, and all others random ones.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenIds(Arc<Mutex<Option<SpanContext>>>);

impl GivenIds {
    /// Gives the span that is started in `start` these ids.
    pub(super) fn give<R>(&self, ids: &SpanContext, start: impl FnOnce() -> R) -> R {
        *self.0.lock() = Some(ids.clone());
        let started = start();
        *self.0.lock() = None;
        started
    }
}

impl IdGenerator for GivenIds {
    fn new_trace_id(&self) -> TraceId {
        let given = self.0.lock().as_ref().map(SpanContext::trace_id);
        given.unwrap_or_else(|| RandomIdGenerator::default().new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        let given = self.0.lock().as_ref().map(SpanContext::span_id);
        given.unwrap_or_else(|| RandomIdGenerator::default().new_span_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_put_are_the_beginning_of_a_digest() {
        let put_ids = PutIds::of(Some("web7-4711-6fb6ce62".to_owned()));
        let put = put_ids.context(ItemId(7));
        // printf web7-4711-6fb6ce62:7 | sha256sum
        assert_eq!(
            put.trace_id().to_string(),
            "9799582e840bbc1492163cc58895e00b"
        );
        assert_eq!(put.span_id().to_string(), "be8cd560d129b530");
        assert!(put.is_valid() && put.is_sampled() && put.is_remote());
    }

    #[test]
    fn queues_in_memory_have_no_ids_in_common() {
        let first = |_| {
            let put_ids = PutIds::of(None);
            assert!(!put_ids.is_remote);
            put_ids.context(ItemId(1))
        };
        let [one, other] = [(), ()].map(first);
        assert_ne!(one.trace_id(), other.trace_id());
        assert_ne!(one.span_id(), other.span_id());
    }
}
