//! PURE: what looks like a place and is none, so that it would be passed on as it is: a place of GNU
//! parallel's that there is not here, or one for another argument where an item has only one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{Places, Template};

/// Returns the words about the first sign in the words of a command that is no place and looks like one.
pub(crate) fn advice(words: &[impl AsRef<OsStr>], places: &Places) -> Option<String> {
    let mut words = words.iter();
    words.find_map(|word| {
        let sign = unknown_place(word.as_ref().as_bytes(), places)?;
        let sign = sign.escape_ascii();
        let advice = match () {
            () if is_number(&sign.to_string()) => {
                "{} stands for the item; --colsep, -n and several lists after ::: make more of them"
            }
            () if places.is_json => "{NAME} stands for a member",
            () => {
                "places are {} {.} {/} {//} {/.} {1} {#} {%}, and {slot:NAME} with --slot NAME=..."
            }
        };
        Some(format!("{sign} is passed on as it is: {advice}"))
    })
}

fn is_number(sign: &str) -> bool {
    sign.bytes()
        .all(|byte| matches!(byte, b'{' | b'}' | b'0'..=b'9'))
}

/// Returns the first such sign in a word.
fn unknown_place<'a>(word: &'a [u8], places: &Places) -> Option<&'a [u8]> {
    let starts = (0..word.len()).filter(|at| word[*at] == b'{');
    // A shell's `${1}` is one of its own.
    let mut starts = starts.filter(|at| *at == 0 || word[at - 1] != b'$');
    starts.find_map(|at| {
        let sign = sign(&word[at..])?;
        // Within words regular expressions have it.
        let is_whole = sign.len() == word.len();
        let is_meant = is_whole || !sign[1..sign.len() - 1].iter().all(u8::is_ascii_digit);
        let own = [OsStr::from_bytes(sign).to_owned()];
        (is_meant && !Template::parse_places(&own, places).has_place()).then_some(sign)
    })
}

/// Returns the sign at the front that looks like a place.
fn sign(text: &[u8]) -> Option<&[u8]> {
    if text.starts_with(b"{=") {
        let end = text.windows(2).skip(2).position(|pair| pair == b"=}")?;
        return Some(&text[..end + 4]);
    }
    let end = text.iter().position(|byte| *byte == b'}')?;
    let inner = &text[1..end];
    let digits = inner.strip_prefix(b"-").unwrap_or(inner);
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, part) = digits.split_at(count);
    let is_part = part.iter().all(|byte| b"+./".contains(byte));
    let is_of_path = is_part && part.iter().any(|byte| b"./".contains(byte));
    let is_nth = part.is_empty() && !number.is_empty();
    (is_of_path || is_nth || inner == b"slot").then_some(&text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(word: &str) -> Option<String> {
        let found = unknown_place(word.as_bytes(), &Places::default());
        found.map(|sign| String::from_utf8_lossy(sign).into_owned())
    }

    #[test]
    fn what_parallel_has_and_we_have_not_is_found() {
        for (word, sign) in [
            ("{..}.tgz", "{..}"),
            ("a/{+/}", "{+/}"),
            ("{} {/..}", "{/..}"),
            ("{= s/a/b/ =}", "{= s/a/b/ =}"),
            ("{slot}", "{slot}"),
            ("{2}", "{2}"),
            ("out-{2.}", "{2.}"),
            ("{-2/}", "{-2/}"),
        ] {
            assert_eq!(found(word).as_deref(), Some(sign), "{word}");
        }
        for word in [
            "{}",
            "{.}",
            "{//}",
            "{1}",
            "{1.}",
            "{#}",
            "{%}",
            "{slot:gpu}",
            "a{2}",
            "[0-9]{2}",
            "${1}",
            "${2}",
            "{a,b}",
            "{1..3}",
            "{ print $1 }",
            "{=",
            "{1.5}",
            "{+}",
            "{",
            "{x",
        ] {
            assert_eq!(found(word), None, "{word}");
        }
    }
}
