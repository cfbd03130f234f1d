//! `--dry-run`: the commands, printed instead of run.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use super::options::JobConfig;
use crate::cli::config::Config;
use crate::cli::exit_codes::{RunError, code};
use crate::cli::gathering::Feed;
use crate::cli::input;
use crate::cli::screen::{self, StandardStream};
use crate::cli::stop::Stop;
use crate::jobs::persistent::request_line;
use crate::jobs::template::{UnfitItem, Values};
use crate::jobs::{Setup, slots};
use crate::observe::text::harmless;

/// Returns the command for one item, as a line for a shell.
fn command_line(setup: &Setup, values: Values<'_>) -> Result<Vec<u8>, String> {
    let unfit = |why: UnfitItem| why.to_string();
    if setup.server.is_some() {
        let words = setup.words(values).map_err(unfit)?;
        let line = request_line(&words).map_err(|why| why.to_string())?;
        return Ok(line.into());
    }
    let mut line = setup.line(values).map_err(unfit)?;
    line.push(b'\n');
    Ok(line)
}

/// Returns the line without control characters if it goes to a terminal.
fn shown(line: &[u8]) -> Cow<'_, [u8]> {
    let mut shown = Vec::new();
    let mut is_same = true;
    for chunk in line.utf8_chunks() {
        let valid = harmless(chunk.valid());
        is_same &= matches!(valid, Cow::Borrowed(_));
        shown.extend_from_slice(valid.as_bytes());
        shown.extend_from_slice(chunk.invalid());
    }
    match is_same {
        true => Cow::Borrowed(line),
        false => Cow::Owned(shown),
    }
}

/// Prints the commands instead of running them and returns the exit code.
pub(in crate::cli) fn dry_run(config: &Config, jobs: &JobConfig) -> Result<u8, RunError> {
    let stop = Stop::new();
    let feed =
        input::LineSource::open(&config.source, config.separator).map_err(RunError::of_thread)?;
    let mut feed = Feed::of(feed, config.gathering.as_ref());
    let mut out = BufWriter::new(StandardStream::Out);
    let mut is_exact = true;
    let check = jobs.check();
    let slots = &jobs.setup.slots;
    // They are given in turn, as if each command took as long.
    let in_turn = |number: u64, of: u64| (number - 1) % of + 1;
    let slot_of = |number| {
        let slot = slots::at_once(slots).map(|count| in_turn(number, count.into()));
        slot.and_then(|slot| u16::try_from(slot).ok()).unwrap_or(0)
    };
    while let Some(line) = feed.next(&stop) {
        let line = line.map_err(RunError::Usage)?;
        check.line(&line, &config.source).map_err(RunError::Usage)?;
        if jobs.setup.numbering.leaves_out(line.number) {
            continue;
        }
        let values = Values {
            item: &line.bytes,
            number: line.number,
            place: in_turn(line.number, config.workers as u64),
            slots: (slots, slot_of(line.number)),
        };
        let command = command_line(&jobs.setup, values).map_err(RunError::Usage)?;
        let shown = shown(&command);
        is_exact &= matches!(shown, Cow::Borrowed(_));
        if let Err(error) = out.write_all(&shown) {
            return ended_by(&error);
        }
    }
    if !is_exact {
        screen::say(
            "supervisor: --dry-run: control characters are shown as \\u{..}: these lines are not for \
             a shell",
        );
    }
    match out.flush() {
        Ok(()) => Ok(code::DONE),
        Err(error) => ended_by(&error),
    }
}

/// Judges a failed write to stdout.
fn ended_by(error: &io::Error) -> Result<u8, RunError> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(code::CLOSED_STDOUT),
        _ => Err(RunError::of_stdout(error)),
    }
}
