//! The options about what of the input is an item, and how many of them one COMMAND is given, as they
//! are typed. They are those of xargs and GNU parallel.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{groups, size};
use crate::cli::gathering::LotSize;
use crate::jobs::arguments::{ArgumentForm, ColumnSeparator, ItemsOfCommand};
use crate::jobs::template::Places;

#[derive(Debug, Args)]
#[command(
    next_help_heading = "Options for a COMMAND",
    group = ArgGroup::new(groups::LOTS).multiple(true)
)]
pub(in crate::cli) struct ArgumentArgs {
    /// Take the items from this file, as with --input; given more than once, each line of one with
    /// each of the others
    #[arg(short = 'a', long, value_name = "FILE")]
    pub(in crate::cli) arg_file: Vec<PathBuf>,

    /// Items end with this byte rather than a newline: a character, \t, \n, \0, \x2c or \054
    #[arg(short, long, value_name = "BYTE", value_parser = delimiter, conflicts_with = "null")]
    pub(in crate::cli) delimiter: Option<u8>,

    /// Split each item at this regular expression; {1} is the first part, {2} the second, {-1} the
    /// last, {1.} {1/} {1//} {1/.} are parts of it, and {} is all of them, each an argument
    #[arg(short = 'C', long, value_name = "REGEXP", value_parser = columns, conflicts_with = "json")]
    pub(in crate::cli) colsep: Option<ColumnSeparator>,

    /// Give each COMMAND up to so many items, as {1}, {2} and so on, or all as {}; 0 runs it for
    /// each item and tells it none
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        visible_short_aliases = ['N', 'L'],
        visible_aliases = ["max-replace-args", "max-lines"],
        group = groups::LOTS,
        conflicts_with_all = ["json", "stdin"]
    )]
    pub(in crate::cli) max_args: Option<usize>,

    /// Give each COMMAND as many items as the system allows, and all workers a share of the last of
    /// them; a word with {} in it is repeated for each
    #[arg(short = 'X', long, group = groups::LOTS, conflicts_with_all = ["json", "stdin"])]
    pub(in crate::cli) context: bool,

    /// The same, and a word with {} in it is not repeated: what stands before {} goes with the first
    /// item, and what stands behind it with the last
    #[arg(short = 'm', long, group = groups::LOTS, conflicts_with_all = ["json", "stdin", "context"])]
    pub(in crate::cli) many: bool,

    /// The same as -m, without sharing: one COMMAND may get all items
    #[arg(long, group = groups::LOTS, conflicts_with_all = ["json", "stdin", "context", "many"])]
    pub(in crate::cli) xargs: bool,

    /// With -n, -X, -m or --xargs: no COMMAND is longer than so many bytes, its name and a byte for
    /// each word's end included [default: what the system allows]
    #[arg(short = 's', long, value_name = "SIZE", value_parser = size, requires = groups::LOTS)]
    pub(in crate::cli) max_chars: Option<u64>,

    /// This stands for the item in place of {}
    #[arg(short = 'I', long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(in crate::cli) replace: Option<OsString>,

    /// With several lists of items, take one of each at a time; the shorter ones begin again
    #[arg(long, visible_alias = "xapply")]
    pub(in crate::cli) link: bool,
}

impl ArgumentArgs {
    /// Returns the byte that ends an item.
    pub(in crate::cli) fn separator(&self, is_null: bool) -> u8 {
        self.delimiter.unwrap_or(if is_null { 0 } else { b'\n' })
    }

    /// Returns the places that a COMMAND may have. `are_words` says that each item is a line of words,
    /// because it comes from several lists.
    pub(in crate::cli) fn places(&self, is_json: bool, are_words: bool) -> Places {
        let items = match self.max_args {
            Some(0) => ItemsOfCommand::None,
            _ if are_words || self.lot_size().is_some() => ItemsOfCommand::Words,
            _ => ItemsOfCommand::One,
        };
        let braces = |sign: &&OsString| sign.as_bytes() != b"{}";
        let item = self.replace.as_ref().filter(braces);
        Places {
            is_json,
            item: item.map(|sign| sign.as_bytes().to_vec()),
            form: ArgumentForm {
                items,
                columns: self.colsep.clone(),
                repeats_words: self.context,
            },
        }
    }

    /// Returns the number of items for one COMMAND, if it may be more than one.
    pub(in crate::cli) fn lot_size(&self) -> Option<LotSize> {
        let fills = self.context || self.many || self.xargs;
        let is_several = fills || self.max_args.is_some_and(|most| most > 1);
        let bytes_max = self
            .max_chars
            .map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        is_several.then_some(LotSize {
            items_max: self.max_args.filter(|most| *most > 0),
            bytes_max,
            is_spread: self.context || self.many,
        })
    }

    /// Returns an option that is about items that are put here, if one was typed.
    pub(in crate::cli) fn of_items_put(&self) -> Option<&'static str> {
        let typed = [
            (!self.arg_file.is_empty(), "--arg-file"),
            (self.delimiter.is_some(), "--delimiter"),
            (self.max_args.is_some(), "--max-args"),
            (self.context, "-X"),
            (self.many, "-m"),
            (self.xargs, "--xargs"),
            (self.link, "--link"),
        ];
        typed
            .into_iter()
            .find_map(|(is_typed, option)| is_typed.then_some(option))
    }
}

/// Reads one byte, as it is or in the way of C.
fn delimiter(text: &str) -> Result<u8, String> {
    const EXPECTED: &str = "expected one byte: a character, \\t, \\n, \\0, \\x2c or \\054";
    let number = |digits: &str, radix| {
        let is_number = !digits.starts_with('+');
        u8::from_str_radix(digits, radix).ok().filter(|_| is_number)
    };
    let read = match text.as_bytes() {
        [byte] => Some(*byte),
        [b'\\', escaped] if !escaped.is_ascii_digit() => Some(match escaped {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'\\' => b'\\',
            _ => return Err(EXPECTED.into()),
        }),
        [b'\\', b'x', ..] => number(&text[2..], 16),
        [b'\\', ..] => number(&text[1..], 8),
        _ => None,
    };
    read.ok_or_else(|| EXPECTED.into())
}

fn columns(text: &str) -> Result<ColumnSeparator, String> {
    ColumnSeparator::read(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_one_byte() {
        for (text, byte) in [
            (",", b','),
            ("\\", b'\\'),
            ("\n", b'\n'),
            ("\\n", b'\n'),
            ("\\t", b'\t'),
            ("\\0", 0),
            ("\\x2c", b','),
            ("\\054", b','),
            ("\\\\", b'\\'),
        ] {
            assert_eq!(delimiter(text), Ok(byte), "{text}");
        }
        for text in ["", "ab", "ä", "\\q", "\\x", "\\xyz", "\\999", "\\+7"] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }
}
