//! PURE: texts and numbers as the command line and the page say them. It does not know where they are said.

use std::borrow::Cow;

/// Returns a number of attempts, in words.
pub(crate) fn attempts_in_words(attempts: u64) -> String {
    counted(attempts, "attempt", "attempts")
}

/// Returns a number of things, in words: of one, or of many.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Returns what an item waits for, of which this is the word, in words.
pub(crate) fn waited_for(word: &str) -> &str {
    match word {
        "key" => "its key",
        "slot" => "a slot",
        "rate" => "the rate",
        "time" => "its time",
        "items" => "other items",
        "room" => "room on the machine",
        "token" => "a token of make's",
        "alone" => "the end of others, as one is to run alone",
        other => other,
    }
}

/// All that is known of an item whose dead letter was taken or dropped.
pub(crate) const DROPPED: &str = "it was given up, and its dead letter was taken or dropped";

/// Escapes characters that would end a line or control a terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control)
}

/// Writes the characters that are meant as Rust writes them in a literal.
pub(super) fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_escaped(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    escaped.into()
}

/// Returns a number with this letter between thousands.
pub(crate) fn grouped_by(number: u64, between: char) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(between);
        }
        grouped.push(digit);
    }
    grouped
}
