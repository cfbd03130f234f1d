//! PURE: the search of `supervisor top` for the items with a text, among all that wait. An answer of a run
//! is a part of it, and so is a look, so that a queue of a million items keeps nobody waiting.

use std::mem;

use serde_json::{Value, json};

use crate::cli::asking::values;

/// The greatest number of lines that are found.
const FOUND_MAX: usize = 1000;

/// A search through the items in one state, from the first to the last, again and again.
#[derive(Debug)]
pub(super) struct TopSearch {
    state: &'static str,
    text: String,
    /// The number of the last item that was looked at, and what was found until there.
    after: u64,
    found: Vec<Value>,
    /// The items that were found when all were looked through for the last time.
    whole: Option<Vec<Value>>,
}

impl TopSearch {
    pub(super) fn new(state: &'static str, text: &str) -> Self {
        TopSearch {
            state,
            text: text.to_owned(),
            after: 0,
            found: Vec::new(),
            whole: None,
        }
    }

    /// Returns the next request.
    pub(super) fn target(&self) -> String {
        let text: String = form_urlencoded::byte_serialize(self.text.as_bytes()).collect();
        let limit = FOUND_MAX - self.found.len();
        let (state, after) = (self.state, self.after);
        format!("/v1/items?state={state}&text={text}&limit={limit}&after={after}")
    }

    /// Takes its answer. Returns `true` if there is no more to be looked through, or to be shown: the
    /// next request begins anew.
    pub(super) fn take(&mut self, answer: &Value) -> bool {
        let items = values(&answer["items"]);
        self.found.extend_from_slice(items);
        match answer["after"].as_u64() {
            Some(after) if self.found.len() < FOUND_MAX => {
                self.after = after;
                false
            }
            _ => {
                self.after = 0;
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
            None => json!({"items": self.found, "searched": self.after}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(numbers: std::ops::Range<u64>, after: Option<u64>) -> Value {
        let items: Vec<Value> = numbers.map(|number| json!({"number": number})).collect();
        json!({"items": items, "after": after})
    }

    fn count(search: &TopSearch) -> usize {
        search.shown()["items"].as_array().unwrap().len()
    }

    #[test]
    fn it_goes_on_where_the_last_answer_stopped() {
        let mut search = TopSearch::new("waiting", "a&b ü");
        let first = "/v1/items?state=waiting&text=a%26b+%C3%BC&limit=1000&after=0";
        assert_eq!(search.target(), first);
        assert!(!search.take(&answer(0..0, Some(10_000))));
        assert!(!search.take(&answer(1..4, Some(20_000))));
        assert!(search.target().ends_with("&limit=997&after=20000"));
        assert_eq!(
            (count(&search), &search.shown()["searched"]),
            (3, &json!(20_000))
        );
        assert!(search.take(&answer(4..5, None)));
        assert_eq!(
            (count(&search), &search.shown()["searched"]),
            (4, &Value::Null)
        );
        // What was found is shown until all was looked through again.
        assert_eq!(search.target(), first);
        assert!(!search.take(&answer(0..0, Some(10_000))));
        assert_eq!(count(&search), 4);
        assert!(search.take(&answer(0..0, None)));
        assert_eq!(count(&search), 0);
    }

    #[test]
    fn no_more_is_found_than_can_be_shown() {
        let mut search = TopSearch::new("waiting", "a");
        assert!(search.take(&answer(0..1000, Some(1000))));
        assert_eq!(count(&search), 1000);
    }
}
