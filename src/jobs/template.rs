//! PURE: the words of a command with places for the item, and filling them in.
//!
//! The places are those of GNU parallel, and `{name}` for a member of an item that is a JSON
//! object. An item may stand for several arguments: `{1}` is the first of them, `{-1}` the last, and
//! `{}` all. All text is bytes, like the arguments of a Unix process. Nothing is run here.

mod lacking;
mod paths;
pub(crate) mod unknown;

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::paths::{base, folder, stem};
use super::arguments::{ArgumentForm, ItemsOfCommand, NoWords};
use super::room::WordSizes;
use super::slots::SlotKind;

/// The words of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    words: Vec<Vec<Piece>>,
    form: ArgumentForm,
}

/// The places that there are in words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// True if items are JSON, and so have members.
    pub(crate) is_json: bool,
    /// The sign for the item, if not `{}`.
    pub(crate) item: Option<Vec<u8>>,
    pub(crate) form: ArgumentForm,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Piece {
    Text(Vec<u8>),
    Placeholder(Placeholder),
}

/// A place to be filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Placeholder {
    /// `{}`, `{1}` and so on: arguments, or parts of them.
    Argument(WhichArguments, ArgumentPart),
    /// `{#}`: the item's number.
    Number,
    /// `{%}`: the worker's place in its pool.
    Place,
    /// `{slot:name}`: what the item has for itself of this kind.
    Slot(String),
    /// `{name}`: a member of a JSON object.
    Member(String),
}

/// The arguments of an item that a place stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WhichArguments {
    All,
    /// The first is 1, and the last is -1.
    Nth(i32),
}

/// The part of an argument that is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ArgumentPart {
    /// All of it.
    Whole,
    /// `{.}`: without its extension.
    Stem,
    /// `{/}`: what follows the last slash.
    Base,
    /// `{//}`: the folder.
    Folder,
    /// `{/.}`: what follows the last slash, without its extension.
    BaseStem,
}

/// The signs of parts; the longer ones come before those that they begin with.
const PARTS: [(&str, ArgumentPart); 5] = [
    ("//", ArgumentPart::Folder),
    ("/.", ArgumentPart::BaseStem),
    ("/", ArgumentPart::Base),
    (".", ArgumentPart::Stem),
    ("", ArgumentPart::Whole),
];

/// The digits of the longest number.
const NUMBER_DIGITS: usize = 20;

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
    #[error(transparent)]
    NoWords(#[from] NoWords),
}

impl Template {
    /// Reads the places in the words. `{name}` is a place only if items are JSON.
    pub(crate) fn parse(words: &[OsString], is_json: bool) -> Self {
        let places = Places {
            is_json,
            ..Places::default()
        };
        Template::parse_places(words, &places)
    }

    /// Reads these places in the words.
    pub(crate) fn parse_places(words: &[OsString], places: &Places) -> Self {
        let words = words.iter().map(|word| pieces(word.as_bytes(), places));
        Template {
            words: words.collect(),
            form: places.form.clone(),
        }
    }

    /// Appends all arguments of the item as the last words, if nothing has a place yet.
    pub(crate) fn with_item(mut self) -> Self {
        if !self.has_place() && self.form.items != ItemsOfCommand::None {
            let all = Placeholder::Argument(WhichArguments::All, ArgumentPart::Whole);
            self.words.push(vec![Piece::Placeholder(all)]);
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

    /// Returns the first place for all arguments, if they may be several.
    pub(super) fn place_of_several(&self) -> Option<&Placeholder> {
        let is_all =
            |place: &&Placeholder| matches!(place, Placeholder::Argument(WhichArguments::All, _));
        let mut places = self.places().filter(|_| self.form.is_several());
        places.find(is_all)
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

    /// Returns the words of both, of which this one says how items are taken apart.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let words = [&self.words[..], &other.words[..]].concat();
        Template {
            words,
            form: self.form.clone(),
        }
    }

    /// Returns the pieces of each word.
    pub(super) fn words(&self) -> &[Vec<Piece>] {
        &self.words
    }

    /// Returns the way in which items are taken apart.
    pub(crate) fn form(&self) -> &ArgumentForm {
        &self.form
    }

    /// Returns the words for one item.
    ///
    /// # Errors
    /// The item is no JSON object with these members, or no line of words where it should be one.
    pub(crate) fn fill(&self, values: Values<'_>) -> Result<Vec<OsString>, UnfitItem> {
        let filling = Filling::of(self.places(), &self.form, values)?;
        let mut words = Vec::new();
        for pieces in &self.words {
            match self.form.repeats_words && has_all(pieces) {
                true => {
                    for at in 0..filling.arguments.len() {
                        words.extend(filling.words(pieces, &filling.arguments[at..=at])?);
                    }
                }
                false => words.extend(filling.words(pieces, &filling.arguments)?),
            }
        }
        Ok(words.into_iter().map(OsString::from_vec).collect())
    }

    /// Returns what the words take without the arguments of an item.
    pub(crate) fn sizes_without_arguments(&self) -> WordSizes {
        let of_piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Placeholder(place) if place.is_number() => NUMBER_DIGITS,
            Piece::Placeholder(_) => 0,
        };
        let words = self.words.iter();
        let words = words.map(|pieces| WordSizes::of_word(pieces.iter().map(of_piece).sum()));
        words.fold(WordSizes::default(), WordSizes::and)
    }

    /// Returns what one argument more makes the words take at most, if it is the one at this place,
    /// from 0 on.
    pub(crate) fn sizes_of_argument(&self, argument: &[u8], at: usize) -> WordSizes {
        // It is not known which is the last.
        let is_nth = |nth: i32| nth < 0 || usize::try_from(nth).is_ok_and(|nth| nth == at + 1);
        let mut sizes = WordSizes::default();
        for pieces in &self.words {
            let is_repeated = self.form.repeats_words && has_all(pieces);
            for piece in pieces {
                match piece {
                    Piece::Text(text) if is_repeated => sizes.texts += text.len(),
                    Piece::Placeholder(Placeholder::Argument(WhichArguments::All, part)) => {
                        sizes = sizes.and(WordSizes::of_word(part.of(argument).len()));
                    }
                    Piece::Placeholder(Placeholder::Argument(WhichArguments::Nth(nth), part))
                        if is_nth(*nth) =>
                    {
                        sizes.texts += part.of(argument).len();
                    }
                    Piece::Placeholder(_) | Piece::Text(_) => {}
                }
            }
        }
        sizes
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
            Placeholder::Argument(..)
            | Placeholder::Number
            | Placeholder::Place
            | Placeholder::Slot(_) => Ok(()),
        })
    }
}

/// Returns `true` if a word has a place for all arguments.
fn has_all(pieces: &[Piece]) -> bool {
    let is_all = |piece: &Piece| {
        let all =
            |place: &Placeholder| matches!(place, Placeholder::Argument(WhichArguments::All, _));
        matches!(piece, Piece::Placeholder(place) if all(place))
    };
    pieces.iter().any(is_all)
}

/// All that is filled in for one item.
struct Filling<'a> {
    values: Values<'a>,
    arguments: Vec<Cow<'a, [u8]>>,
    object: Option<Map<String, Value>>,
}

impl<'a> Filling<'a> {
    fn of<'p>(
        places: impl IntoIterator<Item = &'p Placeholder>,
        form: &ArgumentForm,
        values: Values<'a>,
    ) -> Result<Self, UnfitItem> {
        Ok(Filling {
            values,
            arguments: form.arguments(values.item)?,
            object: object_for(places, values.item)?,
        })
    }

    /// Returns the words that one word becomes. Where `all` are several, the first of them ends the
    /// word before it, and the last begins the rest. A word of nothing but arguments that are not there is
    /// left out.
    fn words(&self, pieces: &[Piece], all: &[Cow<'a, [u8]>]) -> Result<Vec<Vec<u8>>, UnfitItem> {
        let mut words = vec![Vec::new()];
        let mut is_there = pieces.is_empty();
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    is_there = true;
                    push(&mut words, text);
                }
                Piece::Placeholder(Placeholder::Argument(WhichArguments::All, part)) => {
                    is_there |= !all.is_empty();
                    for (at, argument) in all.iter().enumerate() {
                        if at > 0 {
                            words.push(Vec::new());
                        }
                        push(&mut words, part.of(argument));
                    }
                }
                Piece::Placeholder(place) => {
                    is_there |= self.has(place);
                    push(&mut words, &self.text(place)?);
                }
            }
        }
        Ok(if is_there { words } else { Vec::new() })
    }

    /// Returns `false` for the place of an argument that is not there.
    fn has(&self, place: &Placeholder) -> bool {
        match place {
            Placeholder::Argument(WhichArguments::Nth(number), _) => {
                nth(&self.arguments, *number).is_some()
            }
            Placeholder::Argument(WhichArguments::All, _)
            | Placeholder::Number
            | Placeholder::Place
            | Placeholder::Slot(_)
            | Placeholder::Member(_) => true,
        }
    }

    /// Returns the text for a place that is a part of a word. Several arguments stand side by side.
    fn text(&self, place: &Placeholder) -> Result<Cow<'_, [u8]>, UnfitItem> {
        Ok(match place {
            Placeholder::Argument(WhichArguments::All, part) => match &self.arguments[..] {
                [argument] => part.of(argument).into(),
                several => {
                    let parts: Vec<&[u8]> = several.iter().map(|one| part.of(one)).collect();
                    parts.join(&b' ').into()
                }
            },
            Placeholder::Argument(WhichArguments::Nth(number), part) => {
                let argument = nth(&self.arguments, *number);
                part.of(argument.map_or(b"", |argument| argument)).into()
            }
            Placeholder::Number => self.values.number.to_string().into_bytes().into(),
            Placeholder::Place => self.values.place.to_string().into_bytes().into(),
            Placeholder::Slot(name) => {
                let (kinds, number) = self.values.slots;
                let kind = kinds.iter().find(|kind| kind.name == *name);
                match kind.filter(|_| number > 0) {
                    Some(kind) => kind.value(number).as_bytes().into(),
                    None => place.sign().into(),
                }
            }
            Placeholder::Member(name) => {
                let object = self.object.as_ref();
                let value = object.map(|object| member(object, name)).transpose()?;
                value.map(text_of).unwrap_or_default().into()
            }
        })
    }
}

/// Adds to the last word.
fn push(words: &mut [Vec<u8>], text: &[u8]) {
    if let Some(last) = words.last_mut() {
        last.extend_from_slice(text);
    }
}

/// Returns the argument of this number, if there is one.
fn nth<T>(arguments: &[T], number: i32) -> Option<&T> {
    let distance = usize::try_from(number.unsigned_abs()).ok()?;
    let at = match number < 0 {
        true => arguments.len().checked_sub(distance)?,
        false => distance.checked_sub(1)?,
    };
    arguments.get(at)
}

impl ArgumentPart {
    fn of(self, argument: &[u8]) -> &[u8] {
        match self {
            ArgumentPart::Whole => argument,
            ArgumentPart::Stem => stem(argument),
            ArgumentPart::Base => base(argument),
            ArgumentPart::Folder => folder(argument),
            ArgumentPart::BaseStem => stem(base(argument)),
        }
    }

    fn sign(self) -> &'static str {
        let of_this = PARTS.iter().find(|(_, part)| *part == self);
        of_this.map_or("", |(sign, _)| sign)
    }
}

impl Placeholder {
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Placeholder::Number | Placeholder::Place)
    }

    /// Returns its written form.
    pub(super) fn sign(&self) -> Vec<u8> {
        let sign = match self {
            Placeholder::Argument(WhichArguments::All, part) => format!("{{{}}}", part.sign()),
            Placeholder::Argument(WhichArguments::Nth(number), part) => {
                format!("{{{number}{}}}", part.sign())
            }
            Placeholder::Number => "{#}".to_owned(),
            Placeholder::Place => "{%}".to_owned(),
            Placeholder::Slot(name) => format!("{{slot:{name}}}"),
            Placeholder::Member(name) => format!("{{{name}}}"),
        };
        sign.into_bytes()
    }
}

/// Returns the values of these places for an item.
///
/// # Errors
/// As [`Template::fill`].
pub(super) fn texts(
    places: &[Placeholder],
    form: &ArgumentForm,
    values: Values<'_>,
) -> Result<Vec<Vec<u8>>, UnfitItem> {
    let filling = Filling::of(places, form, values)?;
    let texts = places.iter().map(|place| filling.text(place));
    texts.map(|text| Ok(text?.into_owned())).collect()
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

fn pieces(mut word: &[u8], places: &Places) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    while let Some(first) = word.first() {
        match places.place_at(word) {
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

impl Places {
    /// Returns the place at the beginning of a text, and its length.
    fn place_at(&self, text: &[u8]) -> Option<(Placeholder, usize)> {
        if let Some(sign) = self.item.as_ref().filter(|sign| text.starts_with(sign)) {
            let all = Placeholder::Argument(WhichArguments::All, ArgumentPart::Whole);
            return Some((all, sign.len()));
        }
        let inside = text.strip_prefix(b"{")?;
        let length = inside.iter().position(|byte| *byte == b'}')?;
        let inside = str::from_utf8(&inside[..length]).ok()?;
        let place = match inside {
            "#" => Placeholder::Number,
            "%" => Placeholder::Place,
            "" if self.item.is_some() => return None,
            _ if inside.starts_with("slot:") => Placeholder::Slot(inside[5..].to_owned()),
            _ => argument(inside)
                .filter(|(which, _)| self.has(*which))
                .map(|(which, part)| Placeholder::Argument(which, part))
                .or_else(|| self.member(inside))?,
        };
        Some((place, length + 2))
    }

    /// Returns `true` if such arguments may be there. Where an item is one argument, `{2}` is left to
    /// regular expressions, for which `{1}` and `{-1}` mean nothing.
    fn has(&self, which: WhichArguments) -> bool {
        match which {
            WhichArguments::All | WhichArguments::Nth(1 | -1) => true,
            WhichArguments::Nth(_) => self.form.is_several(),
        }
    }

    fn member(&self, name: &str) -> Option<Placeholder> {
        // Braces without a name in them, such as a program for awk, stay as they are.
        let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-.".contains(c));
        (self.is_json && is_name).then(|| Placeholder::Member(name.to_owned()))
    }
}

/// Reads what stands between the braces of a place for arguments.
fn argument(inside: &str) -> Option<(WhichArguments, ArgumentPart)> {
    let (sign, part) = PARTS.iter().find(|(sign, _)| inside.ends_with(sign))?;
    let number = inside.strip_suffix(sign)?;
    let digits = number.strip_prefix('-').unwrap_or(number);
    let which = match number {
        "" => WhichArguments::All,
        // No sign but one, and no zeros in front.
        _ if digits.starts_with(|c: char| ('1'..='9').contains(&c)) => {
            WhichArguments::Nth(number.parse().ok()?)
        }
        _ => return None,
    };
    Some((which, *part))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::arguments::quoted;

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

    fn fill_several(words: &[&str], item: &str, form: ArgumentForm) -> Vec<String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let places = Places {
            form,
            ..Places::default()
        };
        let template = Template::parse_places(&words, &places).with_item();
        let values = Values {
            item: item.as_bytes(),
            number: 7,
            place: 2,
            slots: (&[], 0),
        };
        let filled = template.fill(values).unwrap().into_iter();
        filled.map(|word| word.into_string().unwrap()).collect()
    }

    fn of_words() -> ArgumentForm {
        ArgumentForm {
            items: ItemsOfCommand::Words,
            ..ArgumentForm::default()
        }
    }

    /// As GNU parallel 20221122 does.
    #[test]
    fn several_arguments_are_filled_in_by_their_numbers_or_all() {
        let fill = |words: &[&str], item: &str| fill_several(words, item, of_words());
        assert_eq!(fill(&["echo"], "a 'b c'"), ["echo", "a", "b c"]);
        assert_eq!(
            fill(&["{2}-{1}", "{-1}", "{3}"], "x/a.b c/d.e"),
            ["c/d.e-x/a.b", "c/d.e"]
        );
        assert_eq!(fill(&["{3}", "x{3}", "{2}"], "a ''"), ["x", ""]);
        assert_eq!(
            fill(&["{1.}", "{2/}", "{1//}", "{-1/.}"], "x/a.b c/d.e"),
            ["x/a", "d.e", "x", "d"]
        );
        assert_eq!(fill(&["x{}y"], "a b c"), ["xa", "b", "cy"]);
        assert_eq!(fill(&["{.}", "{#}"], "a.b c.d"), ["a", "c", "7"]);
        for none in [
            "{0}",
            "{01}",
            "{+1}",
            "{-0}",
            "{99999999999}",
            "{1",
            "{1..}",
        ] {
            assert_eq!(fill(&[none, "{1}"], "a b"), [none, "a"]);
        }
    }

    #[test]
    fn a_word_is_repeated_for_each_argument_where_that_is_asked_for() {
        let form = ArgumentForm {
            repeats_words: true,
            ..of_words()
        };
        let filled = fill_several(&["-f{}.x", "{1}", "z"], "a b", form);
        assert_eq!(filled, ["-fa.x", "-fb.x", "a", "z"]);
    }

    #[test]
    fn an_item_that_is_told_nothing_of_leaves_no_word() {
        let form = ArgumentForm {
            items: ItemsOfCommand::None,
            ..ArgumentForm::default()
        };
        assert_eq!(fill_several(&["echo"], "a", form.clone()), ["echo"]);
        assert_eq!(
            fill_several(&["echo", "{}", "x{}", "{#}"], "a", form),
            ["echo", "x", "7"]
        );
    }

    #[test]
    fn one_argument_has_no_second_place() {
        assert_eq!(fill(&["a{2}", "{1}"], "i", false).unwrap(), ["a{2}", "i"]);
    }

    #[test]
    fn another_sign_may_stand_for_the_item() {
        let places = Places {
            item: Some(b"%".to_vec()),
            ..Places::default()
        };
        let words = ["%.old".into(), "{}".into(), "{.}".into()];
        let values = Values {
            item: b"a.b",
            number: 7,
            place: 2,
            slots: (&[], 0),
        };
        let filled = Template::parse_places(&words, &places).fill(values);
        assert_eq!(filled.unwrap(), ["a.b.old", "{}", "a"]);
    }

    #[test]
    fn words_never_take_more_than_was_reckoned() {
        let repeating = ArgumentForm {
            repeats_words: true,
            ..of_words()
        };
        for form in [of_words(), repeating] {
            let words = ["cp", "-{1}", "x{}y", "{/}{.}", "{#}", "{-1}"].map(OsString::from);
            let places = Places {
                form,
                ..Places::default()
            };
            let template = Template::parse_places(&words, &places);
            let mut reckoned = template.sizes_without_arguments();
            let mut item = Vec::new();
            for (at, argument) in ["a", "some/folder/b.c", "", "d d"].iter().enumerate() {
                let argument = argument.as_bytes();
                reckoned = reckoned.and(template.sizes_of_argument(argument, at));
                item.extend((at > 0).then_some(b' '));
                item.extend(quoted(argument));
                let values = Values {
                    item: &item,
                    number: u64::MAX,
                    place: 1,
                    slots: (&[], 0),
                };
                let filled = template.fill(values).unwrap();
                let sizes = filled.iter().map(|word| WordSizes::of_word(word.len()));
                let taken = sizes.fold(WordSizes::default(), WordSizes::and);
                assert!(taken.texts <= reckoned.texts && taken.words <= reckoned.words);
            }
        }
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
