//! The keys of puts that may come again (`Idempotency-Key`): a repeated one puts nothing twice. It
//! is pure, and knows neither items nor requests.

use std::collections::{HashMap, VecDeque};

/// The digest by which a body is told from others.
pub(super) type BodyDigest = [u8; 32];

/// The number of puts that are remembered.
const KEYS_MAX: usize = 10_000;

/// The puts with a key, the latest of them.
#[derive(Debug, Default)]
pub(super) struct PutKeys {
    known: HashMap<String, Known>,
    /// In the order in which they came.
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Known {
    digest: BodyDigest,
    is_under_way: bool,
    put: KeyedPut,
}

/// The items of one body that were put so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyedPut {
    /// Runs of consecutive numbers: the first and the last of each.
    pub(super) runs: Vec<(u64, u64)>,
    /// Items that were not put because others have their unique keys: the place of each in the body, from 1,
    /// and the item that stands for it.
    pub(super) duplicates: Vec<(u64, u64)>,
    /// True if these are all.
    pub(super) is_whole: bool,
}

impl KeyedPut {
    /// Returns the number of items.
    pub(super) fn count(&self) -> u64 {
        self.runs.iter().map(|(first, last)| last + 1 - first).sum()
    }

    /// Returns the number of items that need not be put any more.
    pub(super) fn handled(&self) -> u64 {
        self.count() + self.duplicates.len() as u64
    }

    /// Adds the item that stands for the next one.
    pub(super) fn add_duplicate(&mut self, of: u64) {
        self.duplicates.push((self.handled() + 1, of));
    }

    /// Adds a run of numbers.
    pub(super) fn add(&mut self, first: u64, last: u64) {
        match self.runs.last_mut() {
            Some((_, before)) if *before + 1 == first => *before = last,
            _ => self.runs.push((first, last)),
        }
    }
}

/// The beginning of a put with a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It goes on where an earlier one has ended, which may be at the beginning.
    From(KeyedPut),
    /// The same put is under way.
    UnderWay,
    /// The key was used for another body.
    Reused,
}

impl PutKeys {
    /// Begins a put with this key.
    pub(super) fn begin(&mut self, key: &str, digest: BodyDigest) -> Begun {
        match self.known.get_mut(key) {
            Some(known) if known.digest != digest => Begun::Reused,
            Some(known) if known.is_under_way => Begun::UnderWay,
            Some(known) => {
                known.is_under_way = !known.put.is_whole;
                Begun::From(known.put.clone())
            }
            None => {
                let put = KeyedPut::default();
                self.remember(key, digest);
                Begun::From(put)
            }
        }
    }

    fn remember(&mut self, key: &str, digest: BodyDigest) {
        if self.order.len() >= KEYS_MAX {
            let is_over = |key: &String| self.known.get(key).is_none_or(|one| !one.is_under_way);
            if let Some(at) = self.order.iter().position(is_over)
                && let Some(oldest) = self.order.remove(at)
            {
                self.known.remove(&oldest);
            }
        }
        let known = Known {
            digest,
            is_under_way: true,
            put: KeyedPut::default(),
        };
        self.known.insert(key.to_owned(), known);
        self.order.push_back(key.to_owned());
    }

    /// Ends a put that was begun, with all that was put by now. A key of which nothing was put is free again.
    pub(super) fn end(&mut self, key: &str, put: KeyedPut) {
        if put == KeyedPut::default() {
            self.known.remove(key);
            self.order.retain(|one| one != key);
        } else if let Some(known) = self.known.get_mut(key) {
            known.is_under_way = false;
            known.put = put;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: BodyDigest = [1; 32];
    const OTHER: BodyDigest = [2; 32];

    fn put(runs: &[(u64, u64)], is_whole: bool) -> KeyedPut {
        let runs = runs.to_vec();
        KeyedPut {
            runs,
            is_whole,
            ..KeyedPut::default()
        }
    }

    #[test]
    fn a_repeated_put_is_answered_as_the_first() {
        let mut keys = PutKeys::default();
        assert_eq!(keys.begin("a", BODY), Begun::From(KeyedPut::default()));
        assert_eq!(keys.begin("a", BODY), Begun::UnderWay);
        let whole = put(&[(1, 3)], true);
        keys.end("a", whole.clone());
        assert_eq!(keys.begin("a", BODY), Begun::From(whole.clone()));
        assert_eq!(keys.begin("a", BODY), Begun::From(whole));
        assert_eq!(keys.begin("a", OTHER), Begun::Reused);
        assert_eq!(keys.begin("b", OTHER), Begun::From(KeyedPut::default()));
    }

    #[test]
    fn a_put_that_was_cut_short_goes_on_from_there() {
        let mut keys = PutKeys::default();
        keys.begin("a", BODY);
        let part = put(&[(1, 3), (7, 7)], false);
        keys.end("a", part.clone());
        assert_eq!(keys.begin("a", BODY), Begun::From(part.clone()));
        assert_eq!(part.count(), 4);
        assert_eq!(keys.begin("a", BODY), Begun::UnderWay);
    }

    #[test]
    fn a_key_is_free_again_if_nothing_was_put() {
        let mut keys = PutKeys::default();
        keys.begin("a", BODY);
        keys.end("a", KeyedPut::default());
        assert_eq!(keys.begin("a", OTHER), Begun::From(KeyedPut::default()));
        assert_eq!(keys.order, ["a"]);
        let nothing = put(&[], true);
        keys.end("a", nothing.clone());
        assert_eq!(keys.begin("a", OTHER), Begun::From(nothing));
        assert_eq!(keys.begin("a", BODY), Begun::Reused);
    }

    #[test]
    fn a_duplicate_has_its_place() {
        let mut put = KeyedPut::default();
        put.add(7, 8);
        put.add_duplicate(3);
        put.add(9, 9);
        put.add_duplicate(9);
        assert_eq!((put.count(), put.handled()), (3, 5));
        assert_eq!(put.duplicates, [(3, 3), (5, 9)]);
    }

    #[test]
    fn runs_that_meet_are_one() {
        let mut put = KeyedPut::default();
        for (first, last) in [(1, 3), (4, 4), (7, 9)] {
            put.add(first, last);
        }
        assert_eq!(put.runs, [(1, 4), (7, 9)]);
    }

    #[test]
    fn the_oldest_are_forgotten_but_not_one_under_way() {
        let mut keys = PutKeys::default();
        keys.begin("slow", BODY);
        for n in 0..2 * KEYS_MAX {
            let key = n.to_string();
            keys.begin(&key, BODY);
            keys.end(&key, put(&[(1, 1)], true));
        }
        assert_eq!(keys.known.len(), KEYS_MAX);
        assert_eq!(keys.begin("slow", BODY), Begun::UnderWay);
        assert_eq!(keys.begin("0", BODY), Begun::From(KeyedPut::default()));
    }
}
