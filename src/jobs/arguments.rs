//! PURE: the arguments that the text of an item stands for: one, several columns, or several words.
//!
//! Several items of one command travel as one text, a line of words in a shell's quotes, so that
//! people can read it and every byte is kept. Nothing is filled in here.

use std::borrow::Cow;

use regex::bytes::Regex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The way in which the text of an item is taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArgumentForm {
    pub(crate) items: ItemsOfCommand,
    /// The separator of the columns of each item, if it has columns.
    pub(crate) columns: Option<ColumnSeparator>,
    /// True if a word with a place for all arguments stands once for each of them.
    pub(crate) repeats_words: bool,
}

/// The items that one text is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ItemsOfCommand {
    /// The text is an item.
    #[default]
    One,
    /// The text is a line of words, each of which is an item.
    Words,
    /// The text is an item of which the command is told nothing.
    None,
}

/// The text ends within quotes, so that it is no line of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no line of words: a quote does not end")]
pub(crate) struct NoWords;

impl ArgumentForm {
    /// Returns `true` if an item may stand for another number of arguments than one.
    pub(crate) fn is_several(&self) -> bool {
        self.items == ItemsOfCommand::Words || self.columns.is_some()
    }

    /// Returns the arguments that a text stands for.
    ///
    /// # Errors
    /// It is no line of words.
    pub(crate) fn arguments<'a>(&self, text: &'a [u8]) -> Result<Vec<Cow<'a, [u8]>>, NoWords> {
        let items = match self.items {
            ItemsOfCommand::One => vec![Cow::Borrowed(text)],
            ItemsOfCommand::Words => split(text)?.into_iter().map(Cow::Owned).collect(),
            ItemsOfCommand::None => Vec::new(),
        };
        let Some(ColumnSeparator(columns)) = &self.columns else {
            return Ok(items);
        };
        let columns = items.into_iter().flat_map(|item| match item {
            Cow::Borrowed(item) => columns.split(item).map(Cow::Borrowed).collect::<Vec<_>>(),
            Cow::Owned(item) => columns
                .split(&item)
                .map(|column| Cow::Owned(column.to_vec()))
                .collect(),
        });
        Ok(columns.collect())
    }
}

/// Splits a line of words, as [`joined`] makes one.
fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, NoWords> {
    let mut words = shlex::bytes::Shlex::new(line);
    let split = words.by_ref().collect();
    match words.had_error {
        true => Err(NoWords),
        false => Ok(split),
    }
}

/// Makes a line of these words.
pub(crate) fn joined<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let words: Vec<Vec<u8>> = words.into_iter().map(quoted).collect();
    words.join(&b' ')
}

/// Returns a word in a form that a shell takes for one word, plain if possible.
pub(crate) fn quoted(word: &[u8]) -> Vec<u8> {
    shlex::bytes::Quoter::new()
        .allow_nul(true)
        .quote(word)
        // Only a zero byte could be refused.
        .map_or_else(|_| word.to_vec(), Cow::into_owned)
}

/// The separator of an item's columns: a regular expression.
#[derive(Debug, Clone)]
pub(crate) struct ColumnSeparator(Regex);

impl ColumnSeparator {
    /// Reads it as it is typed.
    ///
    /// # Errors
    /// It is no regular expression, or one that stands for nothing; in words.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let read = Regex::new(text).map_err(|why| {
            // The first lines show the place.
            let why = why.to_string();
            why.lines().next_back().unwrap_or_default().to_owned()
        })?;
        match read.is_match(b"") {
            true => Err(
                "it matches even where there is nothing: name what stands between two columns"
                    .into(),
            ),
            false => Ok(ColumnSeparator(read)),
        }
    }
}

impl PartialEq for ColumnSeparator {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for ColumnSeparator {}

impl Serialize for ColumnSeparator {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.as_str().serialize(to)
    }
}

impl<'de> Deserialize<'de> for ColumnSeparator {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        ColumnSeparator::read(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arguments(form: &ArgumentForm, text: &str) -> Vec<String> {
        let arguments = form.arguments(text.as_bytes()).unwrap();
        let text = |argument: Cow<'_, [u8]>| String::from_utf8(argument.into_owned()).unwrap();
        arguments.into_iter().map(text).collect()
    }

    fn columns(separator: &str) -> ArgumentForm {
        ArgumentForm {
            columns: Some(ColumnSeparator::read(separator).unwrap()),
            ..ArgumentForm::default()
        }
    }

    #[test]
    fn columns_are_what_stands_between_separators() {
        let comma = columns(",");
        assert_eq!(arguments(&comma, "a,,"), ["a", "", ""]);
        assert_eq!(arguments(&comma, ",a b"), ["", "a b"]);
        assert_eq!(arguments(&comma, ""), [""]);
        assert_eq!(arguments(&columns(r"\t"), "a\tb c"), ["a", "b c"]);
        assert_eq!(arguments(&columns(" +"), "a   b c"), ["a", "b", "c"]);
        assert_eq!(arguments(&columns(r"\|"), "a|b"), ["a", "b"]);
        let words = ArgumentForm {
            items: ItemsOfCommand::Words,
            ..comma
        };
        assert_eq!(arguments(&words, "a,b 'c d,e'"), ["a", "b", "c d", "e"]);
    }

    #[test]
    fn a_separator_that_separates_nothing_is_refused() {
        for text in ["", "x*", "^", "("] {
            assert!(ColumnSeparator::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_quote_that_does_not_end_is_told() {
        let words = ArgumentForm {
            items: ItemsOfCommand::Words,
            ..ArgumentForm::default()
        };
        assert_eq!(words.arguments(b"a 'b"), Err(NoWords));
    }

    proptest! {
        #[test]
        fn any_words_are_read_as_they_were_joined(words: Vec<Vec<u8>>) {
            let line = joined(words.iter().map(Vec::as_slice));
            prop_assert_eq!(split(&line).unwrap(), words);
        }
    }
}
