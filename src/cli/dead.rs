//! `supervisor dead`: lists, shows, retries and drops the dead letters of a journal or a stream.
//!
//! They can be read while a supervisor uses the journal, but changed only by the process that uses
//! it. On a stream both are possible at any time.

use std::any::type_name;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::args::{Format, StreamArgs, URL, options};
use super::exit_codes::{RunError, code, written};
use super::kitchen;
use super::layout::{Anything, ITEM_TYPE};
use super::letter::Letter;
use super::screen::{self, StandardStream as Output};
use crate::jobs::{self, Job};
use crate::queue::backed::open_journal;
use crate::store::journal::{Journal, read_letters};
use crate::store::stream::{Opening, Stream};
use crate::store::{Backend, StoredLetter};
use crate::{Capacity, Durability, Error, ItemId};

pub(super) const EXAMPLES: &str = "\
Examples:
  supervisor dead list --journal jobs.journal
      what was given up on: number, item, attempts, last cause, time
  supervisor dead show 3 --journal jobs.journal
      each attempt at one of them, with the end of what it wrote to stderr
  supervisor dead retry --all --journal jobs.journal
      has the next run with this journal try them again
  supervisor dead drop 3 7 --redis redis://db1
      forgets two of those on a stream";

/// Returns the types of the items that the command line journals.
fn item_types() -> [&'static str; 2] {
    [kitchen::item_type(), type_name::<Job>()]
}

#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// Name them: number, item, attempts, last cause, time; one a line
    List {
        #[command(flatten)]
        place: BackendArgs,
        /// The form of the output: lines, or one JSON object a line
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show every failed attempt of these
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: BackendArgs,
        /// The form of the output: text, or one JSON object a line
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Have them tried again, by the next run with this journal, or by a supervisor on this stream
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: BackendArgs,
    },
    /// Delete them; they stay counted
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: BackendArgs,
    },
}

/// The journal or the stream.
#[derive(Debug, Args)]
pub(super) struct BackendArgs {
    /// The journal
    #[arg(long, value_name = "FILE", conflicts_with_all = [URL, "stream"])]
    journal: Option<PathBuf>,

    #[command(flatten)]
    stream: StreamArgs,
}

impl BackendArgs {
    /// Returns the place of the letters.
    fn source(&self) -> Result<LetterSource, RunError> {
        match (&self.journal, self.stream.url()) {
            (Some(path), _) => Ok(LetterSource::Journal(path.clone())),
            (None, Some(_)) => {
                let place = self
                    .stream
                    .place("dead")
                    .map_err(RunError::Usage)?
                    .opening(Opening::Existing);
                let stream = place.open(Box::new(Anything), Capacity::Unbounded)?;
                Ok(LetterSource::Stream(place.stream, stream))
            }
            (None, None) => Err(RunError::Usage(format!(
                "--journal FILE or {} is needed: where are the dead letters?",
                options()
            ))),
        }
    }
}

/// The place of the dead letters.
enum LetterSource {
    Journal(PathBuf),
    Stream(String, Arc<dyn Stream>),
}

/// Writes the place's name.
impl fmt::Display for LetterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LetterSource::Journal(path) => write!(f, "journal {}", path.display()),
            LetterSource::Stream(stream, _) => write!(f, "stream {stream}"),
        }
    }
}

impl LetterSource {
    fn letters(&self) -> Result<Vec<Letter>, RunError> {
        match self {
            LetterSource::Journal(path) => {
                let (item_type, letters) = read_letters(path, &item_types()).map_err(Error)?;
                Ok(named(item_type, letters))
            }
            LetterSource::Stream(_, stream) => letters_of(&**stream),
        }
    }

    /// Gives these items another attempt. Returns their number, which on a stream may be smaller
    /// because another process was faster.
    fn retry(self, which: &Which) -> Result<usize, RunError> {
        let name = self.to_string();
        match self {
            LetterSource::Journal(path) => {
                let (journal, letters) = claim_journal(&path)?;
                let letters = which.of(letters, &name)?;
                for letter in &letters {
                    journal.revive(letter.id).map_err(RunError::usage)?;
                }
                Ok(letters.len())
            }
            LetterSource::Stream(_, stream) => {
                let ids = ids(&which.of(letters_of(&*stream)?, &name)?);
                let is_one = |letter: &StoredLetter| ids.contains(&letter.id);
                stream.revive_all(&is_one).map_err(RunError::usage)
            }
        }
    }

    /// Forgets these letters and returns their number.
    fn drop(self, which: &Which) -> Result<usize, RunError> {
        let name = self.to_string();
        let (backend, letters): (Arc<dyn Backend>, _) = match self {
            LetterSource::Journal(path) => {
                let (journal, letters) = claim_journal(&path)?;
                (Arc::new(journal), letters)
            }
            LetterSource::Stream(_, stream) => {
                let letters = letters_of(&*stream)?;
                (stream, letters)
            }
        };
        let ids = ids(&which.of(letters, &name)?);
        let is_one = |letter: &StoredLetter| ids.contains(&letter.id);
        let dropped = backend.take_dead(&is_one).map_err(RunError::usage)?;
        Ok(dropped.len())
    }

    /// Returns in words who will try a letter again.
    fn next(&self) -> &'static str {
        match self {
            LetterSource::Journal(_) => "for another attempt",
            LetterSource::Stream(..) => "for another attempt, by whoever works on it",
        }
    }

    /// Returns the words in front of the report.
    fn label(&self) -> String {
        match self {
            LetterSource::Journal(path) => path.display().to_string(),
            LetterSource::Stream(..) => self.to_string(),
        }
    }
}

/// The chosen dead letters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Their numbers, as `dead list` shows them
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
    /// All of them
    #[arg(long)]
    all: bool,
}

impl Which {
    /// Returns the chosen letters. A number that is not among `letters` is an error.
    fn of(&self, letters: Vec<Letter>, place: &str) -> Result<Vec<Letter>, RunError> {
        if self.all {
            return Ok(letters);
        }
        let there: BTreeSet<u64> = letters.iter().map(|letter| letter.id.0).collect();
        if let Some(id) = self.ids.iter().find(|id| !there.contains(id)) {
            return Err(RunError::Usage(format!(
                "{place}: there is no dead letter {id}; nothing was done"
            )));
        }
        let is_meant = |letter: &Letter| self.ids.contains(&letter.id.0);
        Ok(letters.into_iter().filter(is_meant).collect())
    }
}

/// Carries the subcommand out and returns the exit code.
pub(super) fn run(command: &Dead) -> Result<u8, RunError> {
    match command {
        Dead::List { place, format } => {
            let letters = place.source()?.letters()?;
            print(&letters, *format, |letter| format!("{}\n", letter.line()))?;
        }
        Dead::Show {
            which,
            place,
            format,
        } => {
            let source = place.source()?;
            let letters = which.of(source.letters()?, &source.to_string())?;
            print(&letters, *format, Letter::to_string)?;
        }
        Dead::Retry { which, place } => {
            let source = place.source()?;
            let (label, next) = (source.label(), source.next());
            say(&label, source.retry(which)?, next);
        }
        Dead::Drop { which, place } => {
            let source = place.source()?;
            let label = source.label();
            say(&label, source.drop(which)?, "dropped");
        }
    }
    Ok(code::DONE)
}

fn ids(letters: &[Letter]) -> BTreeSet<ItemId> {
    letters.iter().map(|letter| letter.id).collect()
}

/// Returns the letters of a stream. Items of the command line are text; others have only a number.
fn letters_of(stream: &dyn Stream) -> Result<Vec<Letter>, RunError> {
    let status = stream.status().map_err(RunError::usage)?;
    let is_text = status.item_type == ITEM_TYPE;
    let letters = stream.dead_letters().map_err(RunError::usage)?;
    let named = letters.into_iter().map(|letter| Letter {
        id: letter.id,
        name: match is_text {
            true => jobs::name_of_text(&letter.payload),
            false => format!("item-{}", letter.id),
        },
        history: letter.history,
    });
    Ok(named.collect())
}

fn named(item_type: &str, letters: Vec<StoredLetter>) -> Vec<Letter> {
    let is_job = item_type == type_name::<Job>();
    letters
        .into_iter()
        .map(|letter| name(is_job, letter))
        .collect()
}

fn name(is_job: bool, letter: StoredLetter) -> Letter {
    let name = match is_job {
        true => jobs::name_of(&letter.payload),
        false => kitchen::name_of(&letter.payload).unwrap_or_else(|| format!("item-{}", letter.id)),
    };
    Letter {
        id: letter.id,
        name,
        history: letter.history,
    }
}

/// Takes the journal over and returns its letters.
fn claim_journal(path: &Path) -> Result<(Journal, Vec<Letter>), RunError> {
    let (item_type, _) = read_letters(path, &item_types()).map_err(Error)?;
    // An earlier run may have left a process that is at one of these.
    let (journal, _) = open_journal(path, item_type, Durability::Full).map_err(Error)?;
    let letters = journal.dead_letters().map_err(RunError::usage)?;
    Ok((journal, named(item_type, letters)))
}

fn print(
    letters: &[Letter],
    format: Format,
    text: impl Fn(&Letter) -> String,
) -> Result<(), RunError> {
    let mut out = BufWriter::new(Output::Out);
    let mut print = |text: &dyn fmt::Display| write!(out, "{text}");
    let printed = letters.iter().try_for_each(|letter| match format {
        Format::Text => print(&text(letter)),
        Format::Json => print(&format_args!("{}\n", letter.object())),
    });
    written(printed.and_then(|()| out.flush()))
}

fn say(label: &str, count: usize, what: &str) {
    screen::complain(&format_args!("{label}: {count} dead letters {what}"));
}
