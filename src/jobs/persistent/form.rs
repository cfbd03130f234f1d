//! The lines that pass between a run and a process that serves items: the request, and the reading
//! of a line from that process's stdout. It reads and writes no pipe, and knows no process.
//!
//! Requests have the form in which Bazel asks its singleplex workers, one at a time and without a
//! number. So the number in an answer, which is optional, means nothing.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The number of characters of a wrong answer that are shown.
const QUOTE_CHARS: usize = 100;

/// The advice about a line that is no answer.
const ADVICE: &str =
    "stdout is for answers, one JSON object a line; whatever else it says belongs on stderr";

#[derive(Debug, Serialize)]
struct RequestLine<'a> {
    arguments: &'a [String],
    inputs: [(); 0],
}

/// An answer. Members with their default value may be missing or null; unknown ones are ignored.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResponseLine {
    pub(super) exit_code: i32,
    pub(super) output: String,
    /// True if the process did not do what it was asked.
    pub(super) was_cancelled: bool,
}

/// Members of records in logs, which a process may print before it takes its first request.
const OF_LOGS: [&str; 9] = [
    "level",
    "severity",
    "message",
    "msg",
    "event",
    "time",
    "timestamp",
    "@timestamp",
    "ts",
];

/// The members of which an answer with any content has at least one. A line of a JSON log has none.
const MEMBERS: [&str; 4] = ["requestId", "exitCode", "output", "wasCancelled"];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum OutputLine {
    Answer(ResponseLine),
    /// Text that may precede all answers, such as a banner, and why it is no answer.
    Words(NoResponse),
}

/// The reason why a line is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoResponse {
    #[error("its process answered {line:?}: {why}: {ADVICE}")]
    NoJson { line: String, why: String },
    #[error("its process answered {0:?}, which has no member of an answer: {ADVICE}")]
    NoMember(String),
    #[error("its process answered {line:?}: {why}")]
    BadMember { line: String, why: String },
}

/// The reason why a request cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRequest {
    #[error("{} is not UTF-8, as JSON must be", .0.display())]
    NotUtf8(OsString),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Returns the line that is sent for one request.
///
/// # Errors
/// An argument is no text, which JSON needs.
pub(crate) fn request_line(arguments: &[OsString]) -> Result<String, NoRequest> {
    let text = |argument: &OsString| match argument.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(NoRequest::NotUtf8(argument.clone())),
    };
    let arguments: Vec<String> = arguments.iter().map(text).collect::<Result<_, _>>()?;
    let request = RequestLine {
        arguments: &arguments,
        inputs: [],
    };
    let mut line = serde_json::to_string(&request)?;
    line.push('\n');
    Ok(line)
}

/// Reads a line of a process.
///
/// # Errors
/// It was meant for an answer, and is none.
pub(super) fn read(line: &[u8]) -> Result<OutputLine, NoResponse> {
    // A struct would be read from a list as well.
    let mut object: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(object) => object,
        Err(error) => {
            let why = NoResponse::NoJson {
                line: quoted(line),
                why: error.to_string(),
            };
            return match is_meant_as_answer(line) {
                true => Err(why),
                false => Ok(OutputLine::Words(why)),
            };
        }
    };
    let has = |member: &&str| object.contains_key(*member);
    if !object.is_empty() && !MEMBERS.iter().any(has) {
        let why = NoResponse::NoMember(quoted(line));
        return match OF_LOGS.iter().any(has) {
            true => Ok(OutputLine::Words(why)),
            false => Err(why),
        };
    }
    object.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(object))
        .map(OutputLine::Answer)
        .map_err(|error| NoResponse::BadMember {
            line: quoted(line),
            why: error.to_string(),
        })
}

/// Returns `true` if a line that is no JSON contains an answer, in pieces or behind other text.
/// That answer is lost, and no other will come for its request.
fn is_meant_as_answer(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    let has = |member: &&str| text.contains(&format!("\"{member}\""));
    let is_list = text.starts_with('[') && text.ends_with(']') || text == "null";
    is_list || text.starts_with('{') || text.ends_with("{}") || MEMBERS.iter().any(has)
}

/// Returns as much of a line as is shown.
fn quoted(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end().chars().take(QUOTE_CHARS).collect()
}

/// Returns the advice for text that was passed on to stderr.
pub(super) fn advice(line: &[u8]) -> String {
    let line = quoted(line);
    format!("a process that serves items said {line:?}, which is no answer: {ADVICE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_of(line: &[u8]) -> ResponseLine {
        match read(line) {
            Ok(OutputLine::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_one_line_of_bazels_form() {
        let line = request_line(&["a b".into(), "\n".into()]).unwrap();
        assert_eq!(line, "{\"arguments\":[\"a b\",\"\\n\"],\"inputs\":[]}\n");
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
    fn an_answer_may_have_any_number_or_none() {
        for line in [
            &b"{}"[..],
            b"{\"exitCode\":0}",
            b"{\"requestId\":0}",
            b"{\"requestId\":null,\"exitCode\":null,\"output\":null}",
            b"{\"requestId\":99}",
            b"{\"output\":\"\",\"more\":1}",
        ] {
            assert_eq!(answer_of(line), ResponseLine::default());
        }
    }

    #[test]
    fn words_are_told_from_answers() {
        let words = |line: &[u8]| match read(line) {
            Ok(OutputLine::Words(why)) => why.to_string(),
            other => panic!("{other:?}"),
        };
        let why = words(b"hello\n");
        assert!(why.starts_with("its process answered \"hello\""), "{why}");
        assert!(why.ends_with("belongs on stderr"), "{why}");
        assert!(words(b"7").starts_with("its process answered \"7\""));
        assert!(words(b"\xff\n").contains('\u{fffd}'));
        words(b"{\"level\":\"info\",\"message\":\"ready\"}");
        words(b"Started with {threads: 4}");
        for line in [
            &b"> {\"requestId\":7}"[..],
            b"> {}",
            b"{\"exitCode\":0,",
            b"{\"exitCode\":\"none\"}",
            b"{\"stdout\":\"x\"}",
            b"{\"arguments\":[\"a\"],\"inputs\":[]}",
            b"[7]",
            b"null",
        ] {
            let why = read(line).unwrap_err().to_string();
            assert!(why.starts_with("its process answered"), "{why}");
        }
    }
}
