//! PURE: the words of a command with places for the item, and filling them in.
//!
//! The places are those of GNU parallel, and `{name}` for a member of an item that is a JSON
//! object. All text is bytes, like the arguments of a Unix process. Nothing is run here.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::slots::SlotKind;

/// The words of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    words: Vec<Vec<Piece>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Piece {
    Text(Vec<u8>),
    Placeholder(Placeholder),
}

/// A place to be filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Placeholder {
    /// `{}`: the item.
    Item,
    /// `{.}`: the item without its extension.
    Stem,
    /// `{/}`: the part after the last slash.
    Base,
    /// `{//}`: the folder.
    Folder,
    /// `{/.}`: the part after the last slash, without its extension.
    BaseStem,
    /// `{#}`: the item's number.
    Number,
    /// `{%}`: the worker's place in its pool.
    Place,
    /// `{slot:name}`: what the item has for itself of this kind.
    Slot(String),
    /// `{name}`: a member of a JSON object.
    Member(String),
}

const PLACES: [(&[u8], Placeholder); 7] = [
    (b"{}", Placeholder::Item),
    (b"{.}", Placeholder::Stem),
    (b"{/}", Placeholder::Base),
    (b"{//}", Placeholder::Folder),
    (b"{/.}", Placeholder::BaseStem),
    (b"{#}", Placeholder::Number),
    (b"{%}", Placeholder::Place),
];

/// The values for one item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) item: &'a [u8],
    pub(crate) number: u64,
    /// The place of its worker.
    pub(crate) place: u64,
    /// The kinds of slots, and the number of what it has of each; 0 where that is not known.
    pub(crate) slots: (&'a [SlotKind], u16),
}

/// The reason why an item does not have what is to be filled in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitItem {
    #[error("it is no JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("it is no JSON object, so it has no members")]
    NotObject,
    #[error("it has no member {0:?} for {{{0}}}")]
    Lacks(String),
}

impl Template {
    /// Reads the places in the words. `{name}` is a place only if items are JSON.
    pub(crate) fn parse(words: &[OsString], is_json: bool) -> Self {
        let words = words.iter().map(|word| pieces(word.as_bytes(), is_json));
        Template {
            words: words.collect(),
        }
    }

    /// Appends the item as the last word, if it has no place yet.
    pub(crate) fn with_item(mut self) -> Self {
        if !self.has_place() {
            self.words.push(vec![Piece::Placeholder(Placeholder::Item)]);
        }
        self
    }

    pub(crate) fn has_place(&self) -> bool {
        self.places().any(|_| true)
    }

    fn places(&self) -> impl Iterator<Item = &Placeholder> {
        self.words.iter().flatten().filter_map(|piece| match piece {
            Piece::Placeholder(place) => Some(place),
            Piece::Text(_) => None,
        })
    }

    /// Returns the first word, if it is the same for every item.
    pub(crate) fn program(&self) -> Option<OsString> {
        let mut program = Vec::new();
        for piece in self.words.first()? {
            match piece {
                Piece::Text(text) => program.extend_from_slice(text),
                Piece::Placeholder(_) => return None,
            }
        }
        Some(OsString::from_vec(program))
    }

    /// Returns the kinds of slots that it has places for.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &str> {
        self.places().filter_map(|place| match place {
            Placeholder::Slot(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Returns `true` if what is filled in follows from the item alone.
    pub(crate) fn is_of_item(&self) -> bool {
        let mut places = self.places();
        places.all(|place| !place.is_number() && !matches!(place, Placeholder::Slot(_)))
    }

    /// Returns the words of both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let words = [&self.words[..], &other.words[..]].concat();
        Template { words }
    }

    /// Returns the pieces of each word.
    pub(super) fn words(&self) -> &[Vec<Piece>] {
        &self.words
    }

    /// Returns the words for one item.
    ///
    /// # Errors
    /// The item is no JSON object with these members.
    pub(crate) fn fill(&self, values: Values<'_>) -> Result<Vec<OsString>, UnfitItem> {
        let object = object_for(self.places(), values.item)?;
        let fill = |pieces: &Vec<Piece>| {
            let mut word = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => word.extend_from_slice(text),
                    Piece::Placeholder(place) => {
                        word.extend_from_slice(&place.text(values, object.as_ref())?);
                    }
                }
            }
            Ok(OsString::from_vec(word))
        };
        self.words.iter().map(fill).collect()
    }

    /// Returns the words as they were given.
    pub(crate) fn source(&self) -> Vec<OsString> {
        let words = self.words.iter().map(|pieces| {
            let mut word = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => word.extend_from_slice(text),
                    Piece::Placeholder(place) => word.extend_from_slice(&place.sign()),
                }
            }
            OsString::from_vec(word)
        });
        words.collect()
    }

    /// Checks that the item has all that is to be filled in.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub(crate) fn check(&self, item: &[u8]) -> Result<(), UnfitItem> {
        let Some(object) = object_for(self.places(), item)? else {
            return Ok(());
        };
        self.places().try_for_each(|place| match place {
            Placeholder::Member(name) => member(&object, name).map(drop),
            _ => Ok(()),
        })
    }
}

impl Placeholder {
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Placeholder::Number | Placeholder::Place)
    }

    /// Returns its written form.
    pub(super) fn sign(&self) -> Vec<u8> {
        let known = PLACES.iter().find(|(_, place)| place == self);
        match (known, self) {
            (Some((sign, _)), _) => sign.to_vec(),
            (None, Placeholder::Member(name)) => format!("{{{name}}}").into_bytes(),
            (None, Placeholder::Slot(name)) => format!("{{slot:{name}}}").into_bytes(),
            (None, _) => Vec::new(),
        }
    }

    fn text<'a>(
        &self,
        values: Values<'a>,
        object: Option<&Map<String, Value>>,
    ) -> Result<Cow<'a, [u8]>, UnfitItem> {
        let item = values.item;
        Ok(match self {
            Placeholder::Item => item.into(),
            Placeholder::Stem => stem(item).into(),
            Placeholder::Base => base(item).into(),
            Placeholder::Folder => folder(item).into(),
            Placeholder::BaseStem => stem(base(item)).into(),
            Placeholder::Number => values.number.to_string().into_bytes().into(),
            Placeholder::Place => values.place.to_string().into_bytes().into(),
            Placeholder::Slot(name) => {
                let (kinds, number) = values.slots;
                let kind = kinds.iter().find(|kind| kind.name == *name);
                match kind.filter(|_| number > 0) {
                    Some(kind) => kind.value(number).as_bytes().into(),
                    None => self.sign().into(),
                }
            }
            Placeholder::Member(name) => {
                let value = object.map(|object| member(object, name)).transpose()?;
                value.map(text_of).unwrap_or_default().into()
            }
        })
    }
}

/// Returns the values of these places for an item.
///
/// # Errors
/// As [`Template::fill`].
pub(super) fn texts<'a>(
    places: &[Placeholder],
    values: Values<'a>,
) -> Result<Vec<Cow<'a, [u8]>>, UnfitItem> {
    let object = object_for(places, values.item)?;
    let texts = places.iter();
    texts
        .map(|place| place.text(values, object.as_ref()))
        .collect()
}

/// Parses the item as an object, if a place needs one.
fn object_for<'a>(
    places: impl IntoIterator<Item = &'a Placeholder>,
    item: &[u8],
) -> Result<Option<Map<String, Value>>, UnfitItem> {
    let mut places = places.into_iter();
    let needs_members = places.any(|place| matches!(place, Placeholder::Member(_)));
    needs_members.then(|| object(item)).transpose()
}

fn pieces(mut word: &[u8], is_json: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    while let Some(first) = word.first() {
        match place_at(word, is_json) {
            Some((place, length)) => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Placeholder(place));
                word = &word[length..];
            }
            None => {
                text.push(*first);
                word = &word[1..];
            }
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    pieces
}

/// Returns the place at the beginning of a text, and its length.
fn place_at(text: &[u8], is_json: bool) -> Option<(Placeholder, usize)> {
    let known = PLACES.iter().find(|(sign, _)| text.starts_with(sign));
    if let Some((sign, place)) = known {
        return Some((place.clone(), sign.len()));
    }
    if let Some(inside) = text.strip_prefix(b"{slot:") {
        let length = inside.iter().position(|byte| *byte == b'}')?;
        let name = str::from_utf8(&inside[..length]).ok()?;
        return Some((Placeholder::Slot(name.to_owned()), length + 7));
    }
    let inside = text.strip_prefix(b"{").filter(|_| is_json)?;
    let length = inside.iter().position(|byte| *byte == b'}')?;
    let name = str::from_utf8(&inside[..length]).ok()?;
    // Braces without a name in them, such as a program for awk, stay as they are.
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "_-.".contains(c));
    is_name.then(|| (Placeholder::Member(name.to_owned()), length + 2))
}

fn object(item: &[u8]) -> Result<Map<String, Value>, UnfitItem> {
    match serde_json::from_slice(item) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(UnfitItem::NotObject),
        Err(error) => Err(UnfitItem::NotJson(error)),
    }
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a Value, UnfitItem> {
    let found = object.get(name);
    found.ok_or_else(|| UnfitItem::Lacks(name.to_owned()))
}

/// Returns a value as text: strings without quotes, nothing for null, others as JSON.
fn text_of(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Null => Vec::new(),
        other => other.to_string().into_bytes(),
    }
}

fn base(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => &path[slash + 1..],
        None => path,
    }
}

/// Returns a path without the last dot after its last slash, and without the part behind that dot.
fn stem(path: &[u8]) -> &[u8] {
    let begin = path.len() - base(path).len();
    match path[begin..].iter().rposition(|byte| *byte == b'.') {
        Some(dot) => &path[..begin + dot],
        None => path,
    }
}

fn folder(path: &[u8]) -> &[u8] {
    let named = without_slashes(path);
    let above = without_slashes(&named[..named.len() - base(named).len()]);
    match (path.first(), above.is_empty()) {
        (_, false) => above,
        (Some(b'/'), true) => b"/",
        (_, true) => b".",
    }
}

fn without_slashes(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    path
}

/// Returns a word in a form that a shell takes for one word, plain if possible.
pub(crate) fn quoted(word: &[u8]) -> Vec<u8> {
    shlex::bytes::Quoter::new()
        .allow_nul(true)
        .quote(word)
        // Only a zero byte could be refused.
        .map_or_else(|_| word.to_vec(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(words: &[&str], item: &str, is_json: bool) -> Result<Vec<String>, UnfitItem> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let values = Values {
            item: item.as_bytes(),
            number: 7,
            place: 2,
            slots: (&[], 0),
        };
        let filled = Template::parse(&words, is_json).with_item().fill(values)?;
        Ok(filled
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect())
    }

    /// Compares with values written down by hand from GNU parallel 20221122.
    #[test]
    fn paths_are_taken_apart_as_gnu_parallel_does() {
        let cases = [
            ("a.", "a", "a.", ".", "a"),
            ("a.b.", "a.b", "a.b.", ".", "a.b"),
            (".a", "", ".a", ".", ""),
            ("a/.b/c", "a/.b/c", "c", "a/.b", "c"),
            ("a/b.c/d", "a/b.c/d", "d", "a/b.c", "d"),
            (
                "a/b.c/d.tar.gz",
                "a/b.c/d.tar",
                "d.tar.gz",
                "a/b.c",
                "d.tar",
            ),
            ("/", "/", "", "/", ""),
            ("///", "///", "", "/", ""),
            ("/a", "/a", "a", "/", "a"),
            ("//a", "//a", "a", "/", "a"),
            ("a/", "a/", "", ".", ""),
            ("a//b", "a//b", "b", "a", "b"),
            ("a/b//", "a/b//", "", "a", ""),
            ("/a/", "/a/", "", "/", ""),
            ("./a", "./a", "a", ".", "a"),
            (".", "", ".", ".", ""),
            ("..", ".", "..", ".", "."),
            ("", "", "", ".", ""),
            ("a..b", "a.", "a..b", ".", "a."),
        ];
        for (item, stem, base, folder, base_stem) in cases {
            let filled = fill(&["{}", "{.}", "{/}", "{//}", "{/.}"], item, false);
            let expected = [item, stem, base, folder, base_stem].map(String::from);
            assert_eq!(filled.unwrap(), expected, "{item:?}");
        }
    }

    #[test]
    fn the_item_is_the_last_word_where_nothing_else_is_filled_in() {
        assert_eq!(fill(&["echo"], "a b", false).unwrap(), ["echo", "a b"]);
        assert_eq!(
            fill(&["echo", "{#}:{%}"], "a", false).unwrap(),
            ["echo", "7:2"]
        );
        let filled = fill(&["cp", "{}", "x/{/}.bak"], "d/a", false);
        assert_eq!(filled.unwrap(), ["cp", "d/a", "x/a.bak"]);
    }

    #[test]
    fn braces_that_mean_nothing_stay() {
        let words = ["{", "}", "{x}", "{ }", "{print $1}", "{}{}"];
        let filled = fill(&words, "i", false).unwrap();
        assert_eq!(filled, ["{", "}", "{x}", "{ }", "{print $1}", "ii"]);
        let filled = fill(&["{print $1}", "{#}"], "{}", true).unwrap();
        assert_eq!(filled, ["{print $1}", "7"]);
    }

    #[test]
    fn what_an_item_has_for_itself_is_filled_in_where_it_is_known() {
        let kinds = [SlotKind::parse("gpu=a,b").unwrap()];
        let words = ["{slot:gpu}", "x{slot:gpu}{}", "{slot:"].map(OsString::from);
        let template = Template::parse(&words, true);
        assert!(template.slots().eq(["gpu", "gpu"]) && !template.is_of_item());
        let fill = |slot| {
            let values = Values {
                item: b"i",
                number: 1,
                place: 1,
                slots: (&kinds, slot),
            };
            template.fill(values).unwrap()
        };
        assert_eq!(fill(2), ["b", "xbi", "{slot:"]);
        assert_eq!(fill(0), ["{slot:gpu}", "x{slot:gpu}i", "{slot:"]);
    }

    #[test]
    fn members_of_json_are_filled_in_as_text() {
        let item = r#"{"s":"a \"b\"","n":1.50,"t":true,"z":null,"l":[1,"x"],"a-b":2}"#;
        let words = ["{s}", "{n}", "{t}", "{z}", "{l}", "{a-b}"];
        let filled = fill(&words, item, true).unwrap();
        assert_eq!(filled, ["a \"b\"", "1.50", "true", "", "[1,\"x\"]", "2"]);
    }

    #[test]
    fn a_missing_member_is_named() {
        let why = |item| fill(&["{name}"], item, true).unwrap_err().to_string();
        assert_eq!(why(r#"{"nam":1}"#), "it has no member \"name\" for {name}");
        assert!(why("[1]").contains("no JSON object"));
        assert!(why("{").contains("no JSON"));
    }

    #[test]
    fn words_are_bytes() {
        let words = [OsString::from_vec(b"\xff{}\xfe".to_vec())];
        let values = Values {
            item: b"\xfd",
            number: 1,
            place: 1,
            slots: (&[], 0),
        };
        let template = Template::parse(&words, false);
        let filled = template.fill(values).unwrap();
        assert_eq!(filled, [OsString::from_vec(b"\xff\xfd\xfe".to_vec())]);
        assert_eq!(template.source(), words);
    }
}
