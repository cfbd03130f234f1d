//! The lines that pass between a run and a process that serves items: one request, and what a line on
//! that process's stdout is. It reads and writes no pipe, and knows no process.
//!
//! Requests are numbered. An answer names its request's number, or none, or 0, as Bazel's singleplex
//! workers do, which are asked one request at a time.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// So much of a wrong answer is told.
const QUOTE_CHARS: usize = 100;

/// What to do about a line that is no answer.
const ADVICE: &str =
    "stdout is for answers, one JSON object a line; whatever else it says belongs on stderr";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    request_id: u64,
    arguments: &'a [String],
    inputs: [(); 0],
}

/// Members that have their default value may be left out, and others are passed over.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Answer {
    request_id: u64,
    pub(super) exit_code: i32,
    pub(super) output: String,
    /// The process did not do what it was asked.
    pub(super) was_cancelled: bool,
}

impl Answer {
    pub(super) fn is_numbered(&self) -> bool {
        self.request_id > 0
    }
}

/// One of these must be in an answer that has anything in it. A line of a JSON log has none.
const MEMBERS: [&str; 4] = ["requestId", "exitCode", "output", "wasCancelled"];

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The answer to the last request.
    Answer(Answer),
    /// One more answer to an earlier request, of this number.
    Again(u64),
    /// Words that may have been said before there was anything to answer, such as a banner, and why
    /// they are no answer.
    Words(String),
}

/// One line to send for one request.
///
/// # Errors
/// An argument is no text, which JSON needs.
pub(crate) fn request_line(number: u64, arguments: &[OsString]) -> Result<String, String> {
    let text = |argument: &OsString| match argument.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(format!(
            "{} is not UTF-8, as JSON must be",
            argument.display()
        )),
    };
    let arguments: Vec<String> = arguments.iter().map(text).collect::<Result<_, _>>()?;
    let request = Request {
        request_id: number,
        arguments: &arguments,
        inputs: [],
    };
    let mut line = serde_json::to_string(&request).map_err(|error| error.to_string())?;
    line.push('\n');
    Ok(line)
}

/// Reads a line of a process that was asked these requests, the last of which has no answer yet.
///
/// # Errors
/// It is meant for an answer, and cannot be one.
pub(super) fn read(line: &[u8], asked: &RangeInclusive<u64>) -> Result<Line, String> {
    let quote = || {
        let text = String::from_utf8_lossy(line);
        let text: String = text.trim_end().chars().take(QUOTE_CHARS).collect();
        format!("its process answered {text:?}")
    };
    // A struct would be read from a list as well.
    let object: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(object) => object,
        Err(error) => {
            let why = format!("{}: {error}: {ADVICE}", quote());
            // An answer behind other words of its line is lost, and nothing else will come for it.
            return match line.contains(&b'{') {
                true => Err(why),
                false => Ok(Line::Words(why)),
            };
        }
    };
    if !object.is_empty() && !MEMBERS.iter().any(|member| object.contains_key(*member)) {
        let why = format!("{}, which has no member of an answer: {ADVICE}", quote());
        return Ok(Line::Words(why));
    }
    let answer: Answer = serde_json::from_value(Value::Object(object))
        .map_err(|error| format!("{}: {error}", quote()))?;
    let (number, last) = (answer.request_id, *asked.end());
    if number == 0 || number == last {
        return Ok(Line::Answer(answer));
    }
    match asked.contains(&number) {
        true => Ok(Line::Again(number)),
        false => Err(format!(
            "its process answered request {number} instead of {last}"
        )),
    }
}

/// The advice for words that were passed on to stderr.
pub(super) fn advice(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text: String = text.trim_end().chars().take(QUOTE_CHARS).collect();
    format!("a process that serves items said {text:?} before its first answer: {ADVICE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_of(line: &[u8]) -> Answer {
        match read(line, &(5..=7)) {
            Ok(Line::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_one_line_of_bazels_form() {
        let line = request_line(7, &["a b".into(), "\n".into()]).unwrap();
        let expected = "{\"requestId\":7,\"arguments\":[\"a b\",\"\\n\"],\"inputs\":[]}\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn what_is_left_out_of_an_answer_has_its_default() {
        let answer = answer_of(b"{\"requestId\":7}\n");
        assert_eq!((answer.exit_code, answer.output.as_str()), (0, ""));
        let full = br#"{"requestId":7,"exitCode":3,"output":"x","wasCancelled":true}"#;
        let answer = answer_of(full);
        assert_eq!((answer.exit_code, answer.output.as_str()), (3, "x"));
        assert!(answer.was_cancelled);
    }

    #[test]
    fn an_answer_without_a_number_is_for_the_last_request() {
        for line in [
            &b"{}"[..],
            b"{\"exitCode\":0}",
            b"{\"requestId\":0}",
            b"{\"output\":\"\",\"more\":1}",
        ] {
            assert_eq!(answer_of(line), Answer::default());
        }
    }

    #[test]
    fn one_more_answer_to_an_earlier_request_is_known() {
        assert_eq!(read(b"{\"requestId\":6}", &(5..=7)), Ok(Line::Again(6)));
        let other = read(b"{\"requestId\":4}", &(5..=7)).unwrap_err();
        assert_eq!(other, "its process answered request 4 instead of 7");
        assert!(read(b"{\"requestId\":8}", &(5..=7)).is_err());
    }

    #[test]
    fn words_are_told_from_answers() {
        let words = |line: &[u8]| match read(line, &(7..=7)) {
            Ok(Line::Words(why)) => why,
            other => panic!("{other:?}"),
        };
        let why = words(b"hello\n");
        assert!(why.starts_with("its process answered \"hello\""), "{why}");
        assert!(why.ends_with("belongs on stderr"), "{why}");
        assert!(words(b"[7]").starts_with("its process answered \"[7]\""));
        assert!(words(b"\xff\n").contains('\u{fffd}'));
        words(b"{\"level\":\"info\",\"message\":\"ready\"}");
        // Behind these words is an answer, for which nothing else will come.
        assert!(read(b"> {\"requestId\":7}", &(7..=7)).is_err());
        assert!(read(b"{\"requestId\":\"7\"}", &(7..=7)).is_err());
    }
}
