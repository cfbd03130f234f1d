//! Looks at a run or at a stream, one after the other, for `supervisor top`. It does not know the display.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use super::model::Look;
use super::search::TopSearch;
use crate::cli::address::Address;
use crate::cli::args::Choice;
use crate::cli::asking;
use crate::cli::exit_codes::RunError;
use crate::control::client::{Client, NoAnswer};
use crate::control::stream::watch::StreamWatch;
use crate::store::stream::EntryId;

/// The longest time of a look that is spent on a search. The next one goes on with it.
const SEARCH_TIME: Duration = Duration::from_millis(200);

/// The number of failures that are asked for, and of items in each list.
const FAILURES: usize = 50;
const WAITING: usize = 50;

/// A run or a stream that is looked at.
pub(super) enum Looks {
    Run(Box<RunLooks>),
    Stream(Box<StreamLooks>),
}

impl Looks {
    /// Connects to what is meant.
    pub(super) fn at(choice: &Choice) -> Result<Self, RunError> {
        Ok(match choice {
            Choice::Run(at) => Looks::Run(Box::new(RunLooks::new(asking::connect(at)?))),
            Choice::Stream(place) => Looks::Stream(Box::new(StreamLooks::new(place)?)),
        })
    }

    /// Looks for items with this text from now on.
    pub(super) fn seek(&mut self, text: String) {
        match self {
            Looks::Run(run) => run.seek(text),
            Looks::Stream(stream) => stream.seek(text),
        }
    }

    pub(super) fn look(&mut self) -> Result<Look, NoAnswer> {
        match self {
            Looks::Run(run) => run.look(),
            Looks::Stream(stream) => stream.look(),
        }
    }
}

/// Looks at a run.
pub(super) struct RunLooks {
    client: Client,
    text: String,
    /// Those for items that rest and for items that wait, where there is a text.
    searches: [(&'static str, TopSearch<u64>); 2],
}

impl RunLooks {
    fn new(client: Client) -> Self {
        RunLooks {
            client,
            text: String::new(),
            searches: Self::searches(),
        }
    }

    fn searches() -> [(&'static str, TopSearch<u64>); 2] {
        ["resting", "waiting"].map(|state| (state, TopSearch::new()))
    }

    fn seek(&mut self, text: String) {
        if text != self.text {
            (self.text, self.searches) = (text, Self::searches());
        }
    }

    fn look(&mut self) -> Result<Look, NoAnswer> {
        let client = &mut self.client;
        let mut ask = |target: &str| client.ask(Method::GET, target, None, "");
        let status = ask("/v1/status")?;
        let [resting, waiting] = match self.text.is_empty() {
            true => [
                ask(&format!("/v1/items?state=resting&limit={WAITING}"))?,
                ask(&format!("/v1/items?state=waiting&limit={WAITING}"))?,
            ],
            false => {
                let began = Instant::now();
                for (state, search) in &mut self.searches {
                    loop {
                        let mut answer = ask(&sought(state, &self.text, search))?;
                        let last = answer["after"].as_u64().map(|after| (after, after));
                        let is_through = search.take(list(answer["items"].take()), last);
                        if is_through || began.elapsed() >= SEARCH_TIME {
                            break;
                        }
                    }
                }
                self.searches.each_ref().map(|(_, search)| search.shown())
            }
        };
        Ok(Look {
            resting,
            waiting,
            failures: ask(&format!("/v1/failures?limit={FAILURES}"))?,
            status,
        })
    }
}

/// Returns the next request of a search.
fn sought(state: &str, text: &str, search: &TopSearch<u64>) -> String {
    let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let (limit, after) = (search.room(), search.after().unwrap_or(0));
    format!("/v1/items?state={state}&text={text}&limit={limit}&after={after}")
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// Looks at a stream.
pub(super) struct StreamLooks {
    watch: StreamWatch,
    /// Its name and its server.
    name: String,
    at: String,
    text: String,
    search: TopSearch<EntryId>,
}

impl StreamLooks {
    fn new(place: &Address) -> Result<Self, RunError> {
        Ok(StreamLooks {
            watch: StreamWatch::new(asking::stream(place)?),
            name: place.stream.clone(),
            at: place.shown_url(),
            text: String::new(),
            search: TopSearch::new(),
        })
    }

    fn seek(&mut self, text: String) {
        if text != self.text {
            (self.text, self.search) = (text, TopSearch::new());
        }
    }

    fn look(&mut self) -> Result<Look, NoAnswer> {
        let mut look = self.watch.look()?;
        look.status["name"] = self.name.as_str().into();
        look.status["at"] = self.at.as_str().into();
        let began = Instant::now();
        let waiting = if self.text.is_empty() {
            let (mut found, mut after) = (Vec::new(), None);
            while found.len() < WAITING && began.elapsed() < SEARCH_TIME {
                let page = self.watch.waiting(&look, after, "")?;
                found.extend(page.items);
                let Some((last, _)) = page.last else {
                    break;
                };
                after = Some(last);
            }
            found.truncate(WAITING);
            json!({"items": found})
        } else {
            loop {
                let page = self.watch.waiting(&look, self.search.after(), &self.text)?;
                let is_through = self.search.take(page.items, page.last);
                if is_through || began.elapsed() >= SEARCH_TIME {
                    break;
                }
            }
            self.search.shown()
        };
        Ok(Look {
            status: look.status,
            resting: json!({"items": look.resting}),
            waiting,
            failures: json!({"failures": look.failures}),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_of_a_run_is_its_request() {
        let mut search = TopSearch::new();
        let first = "/v1/items?state=waiting&text=a%26b+%C3%BC&limit=1000&after=0";
        assert_eq!(sought("waiting", "a&b ü", &search), first);
        search.take(vec![Value::Null; 3], Some((20_000, 20_000)));
        let next = sought("waiting", "a&b ü", &search);
        assert!(next.ends_with("&limit=997&after=20000"), "{next}");
    }
}
