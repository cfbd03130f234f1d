//! Collects items that go to a queue together, and decides how many those are.
//!
//! Items are kept until the queue has answered, so that a refused one can be given back. How the
//! queue takes a batch is not known here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Envelope, PutAnswer, PutTicket, current};
use dishrack_core::ledger::WORTH_WAKING;

/// The greatest number of items in a batch.
pub(crate) const BATCH_ITEMS: usize = 256;

/// The greatest number of items that are put together because they come quickly. With what is left of
/// the batch before they do not wake another worker while one is fast: a second one takes a processor
/// from who puts, where there are two.
const QUICK_ITEMS: usize = WORTH_WAKING / 2;

/// The greatest number of bytes in a batch, without its last item. They come on top of the queue's
/// bound.
const BATCH_BYTES: usize = 64 * 1024;

/// The time in which a batch must be collected. Otherwise the items come slowly, and the next one
/// does not wait for others.
pub(super) const QUICK: Duration = Duration::from_millis(1);

/// The size of the next batch: one item at first, and twice as many from batch to batch while they
/// come quickly.
#[derive(Debug)]
pub(crate) struct Pace {
    size: usize,
    began: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Pace {
            size: 1,
            began: Instant::now(),
        }
    }

    /// Begins a batch, and returns the greatest number of its items.
    pub(crate) fn begin(&mut self) -> usize {
        self.began = Instant::now();
        self.size
    }

    /// Notes that all items of the batch have come.
    pub(crate) fn end(&mut self) {
        self.size = match self.began.elapsed() <= QUICK {
            true => (self.size * 2).min(QUICK_ITEMS),
            false => 1,
        };
    }
}

/// Items that go to a queue together. Each is kept in the form its owner wants back.
#[derive(Debug)]
pub(crate) struct Batch<Item> {
    envelopes: VecDeque<Envelope>,
    items: VecDeque<Item>,
    bytes: usize,
    /// The tickets of those that a stream has not answered yet; `items` begins with them.
    unanswered: VecDeque<PutTicket>,
    answers: Vec<PutAnswer>,
}

impl<Item> Batch<Item> {
    pub(crate) fn new() -> Self {
        Batch {
            envelopes: VecDeque::new(),
            items: VecDeque::new(),
            bytes: 0,
            unanswered: VecDeque::new(),
            answers: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, envelope: Envelope, item: Item) {
        self.bytes += envelope.body.len();
        self.envelopes.push_back(envelope);
        self.items.push_back(item);
    }

    /// Returns `true` if it must be put before more is added, with this many items at most.
    pub(crate) fn is_full(&self, items_max: usize) -> bool {
        self.envelopes.len() >= items_max || self.bytes >= BATCH_BYTES
    }

    /// Returns the number of items that were added since it was put.
    pub(crate) fn len(&self) -> usize {
        self.envelopes.len()
    }

    /// Returns `true` if nothing was added since it was put.
    pub(crate) fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// Puts all items without waiting for the answers of a stream, and tells the answers in order.
    pub(crate) fn put_unsynced(&mut self, broker: &Broker, tell: impl FnMut(PutAnswer<Item>)) {
        let is_holding = current::holds(broker);
        broker.put_many_unsynced(&mut self.envelopes, is_holding, &mut self.answers);
        self.tell(tell);
    }

    /// Puts all items, and tells the answers that are known, in order. A stream may answer the last
    /// of them while the next batch is collected, so [`finish`](Self::finish) must come last.
    pub(crate) fn put(&mut self, broker: &Broker, tell: impl FnMut(PutAnswer<Item>)) {
        let is_holding = current::holds(broker);
        broker.put_many(
            &mut self.envelopes,
            is_holding,
            &mut self.answers,
            &mut self.unanswered,
        );
        let but = match self.unanswered.back() {
            // If nothing is accepted any more, all must be known before more is read.
            Some(Err(_)) => 0,
            Some(Ok(_)) | None => BATCH_ITEMS,
        };
        broker.await_answers(&mut self.unanswered, but, is_holding, &mut self.answers);
        self.tell(tell);
    }

    /// Waits for the answers to all items that were put, and tells the answers.
    pub(crate) fn finish(&mut self, broker: &Broker, tell: impl FnMut(PutAnswer<Item>)) {
        let is_holding = current::holds(broker);
        broker.await_answers(&mut self.unanswered, 0, is_holding, &mut self.answers);
        self.tell(tell);
    }

    fn tell(&mut self, mut tell: impl FnMut(PutAnswer<Item>)) {
        self.bytes = 0;
        // The queue's lock is not held here: items are dropped, and their `drop` may use the queue.
        for answer in self.answers.drain(..) {
            let (count, answer) = match answer {
                PutAnswer::Accepted(accepted) => (accepted.count(), PutAnswer::Accepted(accepted)),
                PutAnswer::Sent(count) => (count, PutAnswer::Sent(count)),
                PutAnswer::Refused((), kind) => {
                    if let Some(item) = self.items.pop_front() {
                        tell(PutAnswer::Refused(item, kind));
                    }
                    continue;
                }
            };
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            self.items.drain(..count.min(self.items.len()));
            tell(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    #[test]
    fn a_batch_is_full_by_its_items_or_their_bytes() {
        let mut batch = Batch::new();
        batch.push(Envelope::of(Payload::copy_of(&[0; 10])), ());
        assert!(batch.is_full(1) && !batch.is_full(2));
        batch.push(Envelope::of(Payload::copy_of(&[0; BATCH_BYTES])), ());
        assert!(batch.is_full(3));
    }

    #[test]
    fn batches_grow_while_items_come_quickly_and_begin_anew_when_they_come_slowly() {
        let mut pace = Pace::new();
        let mut sizes = Vec::new();
        for _ in 0..10 {
            sizes.push(pace.begin());
            pace.began = Instant::now();
            pace.end();
        }
        // If this thread was held up, a batch was slow, and the sizes begin anew.
        assert_eq!(sizes[0], 1);
        assert!(
            sizes
                .windows(2)
                .all(|two| two[1] == 1 || two[1] == (2 * two[0]).min(128))
        );
        pace.began = Instant::now().checked_sub(2 * QUICK).unwrap();
        pace.end();
        assert_eq!(pace.begin(), 1);
    }
}
