//! The waits of items, until an attempt began: from their put, or from the end of the attempt before and the
//! rest after it.
//!
//! No item has a time of its own that was put here and not yet begun. What is noted is which number was the first to be put at a moment, for
//! moments that are a short time apart; those in between count as put at the earlier one. So many moments are
//! kept, and of more those are forgotten that are missed least: a wait is told too long by a small part of
//! itself at most. Those that are tried again, and those of a stream, do have one, as many as are kept. It knows
//! neither a clock nor who looks.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use crate::ledger::{BegunItems, Histogram, ItemId};

/// The number of moments that are kept.
const MOMENTS_MAX: usize = 256;

/// The number of times that are kept of single items. Those of the oldest items are forgotten first.
const TIMES_MAX: usize = 100_000;

/// A moment at which items were put, up to the next one.
#[derive(Debug, Clone, Copy)]
struct PutMoment {
    first: u64,
    at: Duration,
}

/// The moments at which items were put, and the waits of those that were begun.
#[derive(Debug, Default)]
pub struct Waits {
    moments: VecDeque<PutMoment>,
    /// The times since when single items wait.
    singly: BTreeMap<ItemId, Duration>,
    histogram: Histogram,
}

impl Waits {
    /// Notes that the items from this one on were put at this moment, until another one is told of.
    pub fn handle_put(&mut self, first: ItemId, now: Duration) {
        self.moments.push_back(PutMoment {
            first: first.0,
            at: now,
        });
        if self.moments.len() > MOMENTS_MAX {
            self.forget_one(now);
        }
    }

    /// Counts the waits of items of which the first was begun at the one time and the last at the other: each
    /// with the mean of those two. Does nothing where it is not known when they were put.
    pub fn handle_begun(&mut self, items: &BegunItems, first_at: Duration, last_at: Duration) {
        let wait = |id: ItemId, begun: Duration| Some(begun.saturating_sub(self.put_at(id)?));
        if let (Some(first), Some(last)) = (wait(items.first, first_at), wait(items.last, last_at))
        {
            self.histogram.observe((first + last) / 2, items.count);
        }
    }

    /// Notes that this item waits since a time of its own: it was put on a stream then, or may be tried again.
    pub fn handle_waiting(&mut self, id: ItemId, since: Duration) {
        self.singly.insert(id, since);
        if self.singly.len() > TIMES_MAX {
            self.singly.pop_first();
        }
    }

    /// Counts the waits of such items, of which the first was begun at the one time and the last at the other.
    pub fn handle_begun_singly(&mut self, ids: &[ItemId], first_at: Duration, last_at: Duration) {
        let begun = (first_at + last_at) / 2;
        for id in ids {
            if let Some(since) = self.singly.remove(id) {
                self.histogram.observe(begun.saturating_sub(since), 1);
            }
        }
    }

    /// Forgets an item that waits no more, and was not begun.
    pub fn handle_gone(&mut self, id: ItemId) {
        self.singly.remove(&id);
    }

    /// Returns when this item was put; `None` if that was before anything was noted.
    #[must_use]
    pub fn put_at(&self, id: ItemId) -> Option<Duration> {
        let after = self.moments.partition_point(|moment| moment.first <= id.0);
        Some(self.moments.get(after.checked_sub(1)?)?.at)
    }

    /// Returns the waits of the items that were begun.
    #[must_use]
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// Forgets the moment without which waits change least, as a part of themselves: its items count as put
    /// at the one before it then.
    fn forget_one(&mut self, now: Duration) {
        let loss = |place: usize| {
            let age = |place: usize| now.saturating_sub(self.moments[place].at).as_secs_f64();
            (age(place - 1) - age(place)) / age(place).max(f64::MIN_POSITIVE)
        };
        // The last one is of the items that are being put.
        let inner = 1..self.moments.len() - 1;
        let least = inner.min_by(|one, other| loss(*one).total_cmp(&loss(*other)));
        if let Some(place) = least {
            self.moments.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn begun(first: u64, last: u64) -> BegunItems {
        BegunItems {
            first: ItemId(first),
            last: ItemId(last),
            count: last - first + 1,
        }
    }

    #[test]
    fn an_item_was_put_at_the_last_moment_before_the_next_ones() {
        let mut waits = Waits::default();
        assert_eq!(waits.put_at(ItemId(1)), None);
        waits.handle_put(ItemId(4), ms(10));
        waits.handle_put(ItemId(7), ms(30));
        let put_at = |id| waits.put_at(ItemId(id));
        assert_eq!([3, 4, 6].map(put_at), [None, Some(ms(10)), Some(ms(10))]);
        assert_eq!([7, 1_000_000].map(put_at), [Some(ms(30)); 2]);
    }

    #[test]
    fn a_wait_lasts_until_an_item_is_begun() {
        let mut waits = Waits::default();
        waits.handle_put(ItemId(4), ms(10));
        waits.handle_put(ItemId(7), ms(30));
        waits.handle_begun(&begun(4, 4), ms(13), ms(13));
        // The one has waited for 10 ms, and the other for 100 ms.
        waits.handle_begun(&begun(5, 8), ms(20), ms(130));
        // Of these nothing is known.
        waits.handle_begun(&begun(1, 8), ms(500), ms(500));
        let histogram = waits.histogram();
        assert_eq!((histogram.total(), histogram.sum), (5, ms(3 + 4 * 55)));
        assert_eq!(histogram.counts[..5], [1, 0, 0, 0, 4]);
    }

    #[test]
    fn one_that_seems_begun_before_its_put_has_not_waited() {
        let mut waits = Waits::default();
        waits.handle_put(ItemId(1), ms(10));
        waits.handle_begun(&begun(1, 1), ms(9), ms(9));
        assert_eq!(waits.histogram().sum, Duration::ZERO);
        assert_eq!(waits.histogram().total(), 1);
    }

    #[test]
    fn what_is_tried_again_waits_anew() {
        let mut waits = Waits::default();
        waits.handle_put(ItemId(1), ms(10));
        waits.handle_begun(&begun(1, 2), ms(20), ms(20));
        waits.handle_waiting(ItemId(2), ms(120));
        // Of the other one nothing is known.
        waits.handle_begun_singly(&[ItemId(1), ItemId(2)], ms(130), ms(170));
        assert_eq!(waits.histogram().sum, ms(2 * 10 + 30));
        assert_eq!(waits.histogram().total(), 3);
        // It has begun, and waits no more.
        waits.handle_begun_singly(&[ItemId(2)], ms(500), ms(500));
        waits.handle_waiting(ItemId(1), ms(600));
        waits.handle_gone(ItemId(1));
        waits.handle_begun_singly(&[ItemId(1)], ms(700), ms(700));
        assert_eq!(waits.histogram().total(), 3);
        // By another clock it may seem begun before it was put.
        waits.handle_waiting(ItemId(3), ms(900));
        waits.handle_begun_singly(&[ItemId(3)], ms(800), ms(800));
        assert_eq!(
            (waits.histogram().total(), waits.histogram().sum),
            (4, ms(50))
        );
    }

    #[test]
    fn so_many_times_are_kept_and_those_of_the_oldest_items_forgotten() {
        let mut waits = Waits::default();
        let all = TIMES_MAX as u64 + 10;
        for number in 1..=all {
            waits.handle_waiting(ItemId(number), ms(0));
        }
        let ids = |numbers: core::ops::RangeInclusive<u64>| -> alloc::vec::Vec<ItemId> {
            numbers.map(ItemId).collect()
        };
        waits.handle_begun_singly(&ids(1..=10), ms(1), ms(1));
        assert_eq!(waits.histogram().total(), 0);
        waits.handle_begun_singly(&ids(11..=all), ms(1), ms(1));
        assert_eq!(waits.histogram().total(), TIMES_MAX as u64);
    }

    #[test]
    fn waits_stay_nearly_exact_however_many_moments_there_were() {
        let mut waits = Waits::default();
        let all = 100_000;
        for number in 0..all {
            waits.handle_put(ItemId(number + 1), ms(4 * number));
        }
        assert!(waits.moments.len() <= MOMENTS_MAX);
        let now = ms(4 * all);
        for number in [1, 2, 77, 5_000, 60_000, 99_000, 99_900, 99_990, all] {
            let put = ms(4 * (number - 1));
            let (wait, told) = (now - put, now - waits.put_at(ItemId(number)).unwrap());
            assert!(
                told >= wait && told <= wait * 11 / 10 + ms(4),
                "{number}: {told:?} for {wait:?}"
            );
        }
    }
}
