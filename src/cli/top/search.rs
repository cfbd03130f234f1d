//! PURE: the search of `supervisor top` for items, among all that wait. An answer is a part of it, and
//! so is a look, so that a queue of a million items keeps nobody waiting.

use std::mem;

use serde_json::{Value, json};

/// The greatest number of lines that are found.
const FOUND_MAX: usize = 1000;

/// A search through items from the first to the last, again and again. `P` is a place among them.
#[derive(Debug)]
pub(super) struct TopSearch<P> {
    /// The last item that was looked at, its number, and what was found until there.
    after: Option<P>,
    number: u64,
    found: Vec<Value>,
    /// The items that were found when all were looked through for the last time.
    whole: Option<Vec<Value>>,
}

impl<P: Copy> TopSearch<P> {
    pub(super) fn new() -> Self {
        TopSearch {
            after: None,
            number: 0,
            found: Vec::new(),
            whole: None,
        }
    }

    /// Returns the place after which it goes on.
    pub(super) fn after(&self) -> Option<P> {
        self.after
    }

    /// Returns the number of lines for which there is room.
    pub(super) fn room(&self) -> usize {
        FOUND_MAX - self.found.len()
    }

    /// Takes the next part of what was found, and the place and number of the last item that was looked
    /// at, unless that was the last of all. Returns `true` if there is no more to be looked through, or to
    /// be shown: it begins anew.
    pub(super) fn take(&mut self, found: Vec<Value>, last: Option<(P, u64)>) -> bool {
        let room = self.room();
        self.found.extend(found.into_iter().take(room));
        match last {
            Some((after, number)) if self.room() > 0 => {
                (self.after, self.number) = (Some(after), number);
                false
            }
            _ => {
                self.after = None;
                self.whole = Some(mem::take(&mut self.found));
                true
            }
        }
    }

    /// Returns what is to be shown, in the form of an answer. `searched` is the number up to which was
    /// looked, as long as that was not done once to the end.
    pub(super) fn shown(&self) -> Value {
        match &self.whole {
            Some(whole) => json!({"items": whole, "searched": null}),
            None => json!({"items": self.found, "searched": self.number}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(numbers: std::ops::Range<u64>) -> Vec<Value> {
        numbers.map(|number| json!({"number": number})).collect()
    }

    fn count(search: &TopSearch<u64>) -> usize {
        search.shown()["items"].as_array().unwrap().len()
    }

    fn at(place: u64) -> Option<(u64, u64)> {
        Some((place, place))
    }

    #[test]
    fn it_goes_on_where_the_last_answer_stopped() {
        let mut search = TopSearch::new();
        assert_eq!(search.after(), None);
        assert!(!search.take(items(0..0), at(10_000)));
        assert!(!search.take(items(1..4), at(20_000)));
        assert_eq!((search.room(), search.after()), (997, Some(20_000)));
        assert_eq!(
            (count(&search), &search.shown()["searched"]),
            (3, &json!(20_000))
        );
        assert!(search.take(items(4..5), None));
        assert_eq!(
            (count(&search), &search.shown()["searched"]),
            (4, &Value::Null)
        );
        // What was found is shown until all was looked through again.
        assert_eq!(search.after(), None);
        assert!(!search.take(items(0..0), at(10_000)));
        assert_eq!(count(&search), 4);
        assert!(search.take(items(0..0), None));
        assert_eq!(count(&search), 0);
    }

    #[test]
    fn no_more_is_found_than_can_be_shown() {
        let mut search = TopSearch::new();
        assert!(search.take(items(0..1001), at(1001)));
        assert_eq!(count(&search), 1000);
    }
}
