//! PURE: the addresses of pages, and what is asked of them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ItemState;

/// A page, by its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum WebPlace {
    Overview,
    Timeline(ChartView),
    Workers(WorkerSearch),
    Items(ItemSearch),
    Item(u64),
    Dead(LetterSearch),
}

/// The dead letters that are looked for, and those of their causes that are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct LetterSearch {
    pub(super) items: ItemSearch,
    /// The number of causes before the first one that is shown.
    pub(super) causes: usize,
}

/// The workers that are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct WorkerSearch {
    pub(super) text: String,
    /// The number of those before the first one that is shown.
    pub(super) after: usize,
}

/// The items that are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct ItemSearch {
    pub(super) state: Option<ItemState>,
    pub(super) text: String,
    /// The end of the page before, as the one who is asked has named it; empty for the first page.
    pub(super) after: String,
}

/// The greatest length of that in bytes.
const AFTER_MAX: usize = 64;

/// The time and the workers of a time chart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ChartView {
    /// The place of its length in [`LENGTHS_S`].
    pub(super) length: usize,
    /// Its end, in milliseconds since 1970; `None` for the present time, as that goes on.
    pub(super) until_ms: Option<u64>,
    /// The number of workers before the first one.
    pub(super) after: u64,
}

/// The lengths of time charts, in seconds.
pub(super) const LENGTHS_S: [u64; 9] = [1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400];

/// The length that is shown first.
const LENGTH_S: u64 = 60;

impl ChartView {
    fn of(query: &str) -> Option<Self> {
        let mut fields: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
        let mut number = |name: &str| fields.remove(name).map(|value| value.parse::<u64>());
        let length_s = number("seconds").transpose().ok()?.unwrap_or(LENGTH_S);
        Some(ChartView {
            length: LENGTHS_S.iter().position(|length| *length == length_s)?,
            until_ms: number("until").transpose().ok()?,
            after: number("after").transpose().ok()?.unwrap_or(0),
        })
    }

    /// Returns the length in seconds.
    pub(super) fn length_s(&self) -> u64 {
        LENGTHS_S[self.length]
    }

    /// Returns its address, within those of its queue.
    pub(super) fn address(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("seconds", &self.length_s().to_string());
        if let Some(until_ms) = self.until_ms {
            query.append_pair("until", &until_ms.to_string());
        }
        if self.after > 0 {
            query.append_pair("after", &self.after.to_string());
        }
        format!("timeline?{}", query.finish())
    }
}

impl WebPlace {
    /// Reads an address: a path, and what is asked of it.
    pub(super) fn of(address: &str) -> Option<Self> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let search = || ItemSearch::of(query);
        Some(match path {
            "/" => WebPlace::Overview,
            "/timeline" => WebPlace::Timeline(ChartView::of(query)?),
            "/workers" => WebPlace::Workers(WorkerSearch::of(query)?),
            "/items" => WebPlace::Items(search()?),
            "/dead" => WebPlace::Dead(LetterSearch::of(query)?),
            path => WebPlace::Item(path.strip_prefix("/items/")?.parse().ok()?),
        })
    }
}

impl WorkerSearch {
    fn of(query: &str) -> Option<Self> {
        let mut fields: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
        let after = fields.remove("after").map(|after| after.parse());
        Some(WorkerSearch {
            text: fields.remove("text").unwrap_or_default().into_owned(),
            after: after.transpose().ok()?.unwrap_or(0),
        })
    }

    /// Returns the address of the page that begins after so many of these, within those of their queue.
    pub(super) fn address(&self, after: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.text.is_empty() {
            query.append_pair("text", &self.text);
        }
        query.append_pair("after", &after.to_string());
        format!("workers?{}", query.finish())
    }
}

impl LetterSearch {
    fn of(query: &str) -> Option<Self> {
        let mut fields = form_urlencoded::parse(query.as_bytes());
        let causes = fields.find(|(name, _)| name == "causes");
        let causes = causes.map(|(_, causes)| causes.parse());
        Some(LetterSearch {
            items: ItemSearch::of(query)?,
            causes: causes.transpose().ok()?.unwrap_or(0),
        })
    }

    /// Returns the address of the page that begins after so many causes of the same letters, within those of
    /// their queue.
    pub(super) fn address(&self, causes: usize) -> String {
        let letters = self.items.address("dead");
        let and = if letters.ends_with('?') { "" } else { "&" };
        format!("{letters}{and}causes={causes}")
    }
}

impl ItemSearch {
    fn of(query: &str) -> Option<Self> {
        let mut fields: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
        let state = fields.remove("state").filter(|state| !state.is_empty());
        let state = state.map(|state| serde_json::from_value(Value::from(&*state)));
        let after = fields.remove("after").unwrap_or_default();
        let is_place = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-';
        let is_fit = after.len() <= AFTER_MAX && after.bytes().all(is_place);
        is_fit.then_some(ItemSearch {
            state: state.transpose().ok()?,
            text: fields.remove("text").unwrap_or_default().into_owned(),
            after: after.into_owned(),
        })
    }

    /// Returns the next page, if a list says that there is one.
    pub(super) fn next(&self, after: &Value) -> Option<Self> {
        let after = match after {
            Value::Number(number) => number.to_string(),
            Value::String(place) => place.clone(),
            _ => return None,
        };
        Some(ItemSearch {
            after,
            ..self.clone()
        })
    }

    /// Returns the address of the list of these.
    pub(super) fn address(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(state) = self.state {
            query.append_pair("state", &state.to_string());
        }
        if !self.text.is_empty() {
            query.append_pair("text", &self.text);
        }
        if !self.after.is_empty() {
            query.append_pair("after", &self.after);
        }
        format!("{path}?{}", query.finish())
    }
}

/// Writes a name as a part of a path.
pub(super) fn in_path(name: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    // A plus is a space in forms alone, and a star has a meaning in routes.
    name.replace('+', "%20").replace('*', "%2A")
}

/// Returns an address of ours to which a form leads back, and the overview for any other.
pub(super) fn way_back(address: &str) -> &str {
    match WebPlace::of(address) {
        Some(_) => address,
        None => "/",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_a_page_or_none() {
        assert_eq!(WebPlace::of("/"), Some(WebPlace::Overview));
        assert_eq!(WebPlace::of("/items/7"), Some(WebPlace::Item(7)));
        let search = ItemSearch {
            state: Some(ItemState::Resting),
            text: "a b".into(),
            after: "7".into(),
        };
        let address = search.address("/items");
        assert_eq!(address, "/items?state=resting&text=a+b&after=7");
        assert_eq!(WebPlace::of(&address), Some(WebPlace::Items(search)));
        let view = ChartView {
            length: 2,
            until_ms: Some(1_000),
            after: 50,
        };
        let address = format!("/{}", view.address());
        assert_eq!(address, "/timeline?seconds=15&until=1000&after=50");
        assert_eq!(WebPlace::of(&address), Some(WebPlace::Timeline(view)));
        let search = WorkerSearch {
            text: "a b".into(),
            after: 100,
        };
        let address = format!("/{}", search.address(100));
        assert_eq!(address, "/workers?text=a+b&after=100");
        assert_eq!(WebPlace::of(&address), Some(WebPlace::Workers(search)));
        let mut search = LetterSearch {
            causes: 50,
            ..LetterSearch::default()
        };
        for (text, address) in [("", "/dead?causes=50"), ("a", "/dead?text=a&causes=50")] {
            search.items.text = text.into();
            assert_eq!(format!("/{}", search.address(50)), address);
            let place = WebPlace::Dead(search.clone());
            assert_eq!(WebPlace::of(address), Some(place));
        }
        for address in [
            "",
            "/workers?after=-1",
            "/timeline?seconds=7",
            "/timeline?until=-1",
            "/dead?causes=-1",
            "/items/x",
            "/items/7/8",
            "/items?state=odd",
            "/../etc",
            "//evil",
            "/dead?after=%2F",
            "/dead?after=%C3%BC",
        ] {
            assert_eq!(WebPlace::of(address), None, "{address}");
        }
    }

    #[test]
    fn a_list_goes_on_where_it_says() {
        let search = ItemSearch::default();
        let next = |after: Value| Some(search.next(&after)?.address("/items"));
        assert_eq!(next(json!(7)).as_deref(), Some("/items?after=7"));
        assert_eq!(next(json!("u12-3")).as_deref(), Some("/items?after=u12-3"));
        assert_eq!(next(Value::Null), None);
    }

    #[test]
    fn no_form_leads_elsewhere() {
        assert_eq!(way_back("/items?text=x"), "/items?text=x");
        for address in [
            "https://evil.example/",
            "//evil.example",
            "/\\evil",
            "javascript:1",
        ] {
            assert_eq!(way_back(address), "/", "{address}");
        }
    }
}
