//! A set of numbers as ranges that neither touch nor overlap. It knows nothing of items.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::ledger::{put_varint, take_varint};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// The last number of each range, by the first.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl Ranges {
    /// Makes ranges of sorted ones, which may touch. The error is a number that occurs twice.
    pub(super) fn of_sorted(sorted: &[(u64, u64)]) -> Result<Self, u64> {
        let mut ranges = BTreeMap::new();
        let mut open: Option<(u64, u64)> = None;
        let mut count = 0;
        for &(start, end) in sorted {
            count += end - start + 1;
            open = Some(match open {
                Some((_, last)) if start <= last => return Err(start),
                Some((first, last)) if start == last + 1 => (first, end),
                Some((first, last)) => {
                    ranges.insert(first, last);
                    (start, end)
                }
                None => (start, end),
            });
        }
        ranges.extend(open);
        Ok(Ranges { ranges, count })
    }

    /// Adds all of these. The error is a number that was there already; then only some were added.
    pub(super) fn insert_all(&mut self, others: &Ranges) -> Result<(), u64> {
        others
            .iter()
            .try_for_each(|(first, last)| self.insert(first, last))
    }

    fn insert(&mut self, mut first: u64, mut last: u64) -> Result<(), u64> {
        let added = last - first + 1;
        if let Some((&start, &end)) = self.ranges.range(..=last).next_back() {
            if end >= first {
                return Err(start.max(first));
            }
            if end + 1 == first {
                first = start;
            }
        }
        if let Some(next) = last.checked_add(1)
            && let Some(end) = self.ranges.remove(&next)
        {
            last = end;
        }
        self.ranges.insert(first, last);
        self.count += added;
        Ok(())
    }

    /// Adds those of these numbers that are missing.
    pub(super) fn add(&mut self, first: u64, last: u64) {
        for (first, last) in self.gaps(first, last) {
            // A gap has none of them.
            let _ = self.insert(first, last);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let below = self.ranges.range(..=number).next_back();
        below.is_some_and(|(_, last)| *last >= number)
    }

    /// Adds a number, if it is missing. Returns the first of the range in which it is then.
    pub(super) fn add_one(&mut self, number: u64) -> u64 {
        self.add(number, number);
        let below = self.ranges.range(..=number).next_back();
        below.map_or(number, |(first, _)| *first)
    }

    /// Returns the ranges that begin with one of these numbers.
    pub(super) fn beginning_in(&self, numbers: RangeInclusive<u64>) -> Ranges {
        let ranges: BTreeMap<u64, u64> = (self.ranges.range(numbers))
            .map(|(first, last)| (*first, *last))
            .collect();
        let count = ranges.iter().map(|(first, last)| last - first + 1).sum();
        Ranges { ranges, count }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the greatest number, if there is one.
    pub(super) fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, last)| *last)
    }

    /// Returns the parts of `first..=last` that are not in the set.
    pub(super) fn gaps(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        if first > last {
            return gaps;
        }
        let mut next = first;
        let before = self.ranges.range(..first).next_back();
        for (&start, &end) in before.into_iter().chain(self.ranges.range(first..=last)) {
            if start > next {
                gaps.push((next, start - 1));
            }
            next = next.max(end.saturating_add(1));
        }
        if next <= last {
            gaps.push((next, last));
        }
        gaps
    }

    /// Encodes each range as its distance from the one before and its length.
    pub(super) fn into_body(self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut next = 0;
        for (first, last) in self.ranges {
            put_varint(&mut body, first - next);
            put_varint(&mut body, last - first);
            next = last + 1;
        }
        body
    }

    /// Decodes ranges; `None` if the bytes are none.
    pub(super) fn of_body(mut body: &[u8]) -> Option<Self> {
        let mut ranges = BTreeMap::new();
        let (mut next, mut count) = (0_u64, 0);
        while !body.is_empty() {
            let first = next.checked_add(take_varint(&mut body)?)?;
            let last = first.checked_add(take_varint(&mut body)?)?;
            if first == 0 || (first == next && next > 0) {
                return None;
            }
            ranges.insert(first, last);
            next = last.checked_add(1)?;
            count += next - first;
        }
        Some(Ranges { ranges, count })
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set(rows in prop::collection::vec(prop::collection::vec(1..60_u64, 0..8), 0..8)) {
            let (mut model, mut ranges) = (BTreeSet::new(), Ranges::default());
            for mut row in rows {
                row.sort_unstable();
                row.dedup();
                let is_new = row.iter().all(|n| !model.contains(n));
                let single: Vec<_> = row.iter().map(|n| (*n, *n)).collect();
                let others = Ranges::of_sorted(&single).unwrap();
                let mut next = ranges.clone();
                prop_assert_eq!(next.insert_all(&others).is_ok(), is_new);
                if is_new {
                    ranges = next;
                    model.extend(row);
                }
                prop_assert_eq!(ranges.count(), model.len() as u64);
                prop_assert_eq!(ranges.last(), model.last().copied());
                for n in 0..62 {
                    prop_assert_eq!(ranges.contains(n), model.contains(&n));
                }
                let missing: Vec<u64> = ranges.gaps(5, 50).iter().flat_map(|(a, b)| *a..=*b).collect();
                let expected: Vec<u64> = (5..=50).filter(|n| !model.contains(n)).collect();
                prop_assert_eq!(missing, expected);
                let body = ranges.clone().into_body();
                prop_assert_eq!(Ranges::of_body(&body), Some(ranges.clone()));
            }
        }

        #[test]
        fn any_bytes_are_ranges_or_none(body in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(ranges) = Ranges::of_body(&body) {
                let _ = (ranges.count(), ranges.last());
            }
        }
    }
}
