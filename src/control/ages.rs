//! PURE: how long the item that waits for longest has been seen to wait. Nothing is noted of an item when
//! it is put: only which had been put when somebody looked. So it costs nothing while nobody looks, and an
//! age is told that is too short by up to the time between two looks.

use std::collections::VecDeque;
use std::time::Duration;

use dishrack_core::ledger::ItemId;

/// The number of looks that are kept. Of more, the one is forgotten that is missed least, so that an age is
/// too short by a small part of itself at most.
const LOOKS_MAX: usize = 128;

/// A look: the last number that was given until then.
#[derive(Debug, Clone, Copy)]
struct AgeLook {
    last: u64,
    at: Duration,
}

/// The looks that may still tell the age of an item.
#[derive(Debug, Default)]
pub(super) struct Ages(VecDeque<AgeLook>);

impl Ages {
    /// Notes a look: `accepted` items were put, and `oldest` is the first of those that wait. Returns for
    /// how long that has been seen to wait.
    pub(super) fn look(
        &mut self,
        now: Duration,
        accepted: u64,
        oldest: Option<ItemId>,
    ) -> Option<Duration> {
        let Some(oldest) = oldest else {
            self.0.clear();
            return None;
        };
        // Items before the oldest one ask for no age any more.
        while self.0.front().is_some_and(|look| look.last < oldest.0) {
            self.0.pop_front();
        }
        if self.0.back().is_none_or(|look| look.last < accepted) {
            self.0.push_back(AgeLook {
                last: accepted,
                at: now,
            });
        }
        if self.0.len() > LOOKS_MAX {
            self.forget_one(now);
        }
        let first = self.0.front().map_or(now, |look| look.at);
        Some(now.saturating_sub(first))
    }

    /// Forgets the look without which the ages that are told change least, as a part of themselves: that
    /// of an item of its time is told from the next one then.
    fn forget_one(&mut self, now: Duration) {
        let loss = |place: usize| {
            let at = |place: usize| self.0[place].at;
            let age = now.saturating_sub(at(place - 1)).as_secs_f64();
            at(place + 1).saturating_sub(at(place - 1)).as_secs_f64() / age.max(f64::MIN_POSITIVE)
        };
        let inner = 1..self.0.len() - 1;
        let least = inner.min_by(|one, other| loss(*one).total_cmp(&loss(*other)));
        if let Some(place) = least {
            self.0.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_item_is_as_old_as_the_first_look_that_saw_it() {
        let mut ages = Ages::default();
        assert_eq!(ages.look(s(1), 0, None), None);
        assert_eq!(ages.look(s(10), 5, Some(ItemId(1))), Some(s(0)));
        assert_eq!(ages.look(s(15), 9, Some(ItemId(3))), Some(s(5)));
        // Number 6 was put between the first look and the second.
        assert_eq!(ages.look(s(25), 9, Some(ItemId(6))), Some(s(10)));
        assert_eq!(ages.look(s(30), 9, None), None);
        assert_eq!(ages.look(s(31), 10, Some(ItemId(10))), Some(s(0)));
    }

    #[test]
    fn many_looks_need_no_more_room() {
        let mut ages = Ages::default();
        for second in 0..10_000 {
            ages.look(s(second), second + 1, Some(ItemId(1)));
        }
        assert!(ages.0.len() <= LOOKS_MAX);
        assert_eq!(
            ages.look(s(10_000), 10_001, Some(ItemId(1))),
            Some(s(10_000))
        );
        // Number 9 000 was there after 8 999 s, and what is told of it is near.
        let age = ages.look(s(10_000), 10_001, Some(ItemId(9_000))).unwrap();
        assert!((s(850)..=s(1_001)).contains(&age), "{age:?}");
    }
}
