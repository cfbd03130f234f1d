//! Asks a run over its control socket, for the subcommands: finds the run that is meant, and turns what
//! goes wrong into the command's own errors.

use std::io::Write;

use serde_json::Value;

use super::args::{AtArgs, Format};
use super::exit_codes::{RunError, written};
use super::screen::StandardStream;
use crate::control::client::{Client, NoAnswer};
use crate::control::runs;

/// Connects to the run that is meant.
pub(super) fn connect(at: &AtArgs) -> Result<Client, RunError> {
    let path = runs::find(at.at.as_deref()).map_err(RunError::Usage)?;
    Ok(Client::connect(&path)?)
}

impl From<NoAnswer> for RunError {
    fn from(unanswered: NoAnswer) -> Self {
        let why = unanswered.to_string();
        match unanswered {
            _ if unanswered.is("no_workers_left") => RunError::NoWorkersLeft(why),
            _ if unanswered.is("internal") => RunError::Internal(why),
            _ => RunError::Usage(why),
        }
    }
}

/// Prints an answer: as it is, or in these words.
pub(super) fn print(
    format: Format,
    answer: &Value,
    words: impl FnOnce(&Value) -> String,
) -> Result<(), RunError> {
    let text = match format {
        Format::Json => format!("{answer}\n"),
        Format::Text => words(answer),
    };
    written(StandardStream::Out.write_all(text.as_bytes()))
}

/// Returns a number of an answer, or 0.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Returns a text of an answer, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns a time of an answer, in microseconds, for people.
pub(super) fn time(value: &Value) -> String {
    let seconds = number(value) / 1_000_000;
    match seconds {
        0..100 => format!("{:.1} s", number(value) as f64 / 1e6),
        100..6000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
