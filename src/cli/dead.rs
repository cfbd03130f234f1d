//! `supervisor dead`: the dead letters of a journal, and what is to become of them.
//!
//! They can be read while a supervisor uses the journal. To change them is to be the one who uses
//! it.

use std::any::type_name;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::args::Format;
use super::letter::Letter;
use super::{Failure, code, printer};
use crate::error::{Error, Kind};
use crate::jobs::{self, Job};
use crate::kitchen::Dish;
use crate::ledger::ItemId;
use crate::store::journal::{Durability, Journal, read_letters};
use crate::store::{Store, StoredLetter};

/// The types of the items that the command line journals.
fn item_types() -> [&'static str; 2] {
    [type_name::<Dish>(), type_name::<Job>()]
}

#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// Name them: number, item, attempts, last cause, time; one a line
    List {
        #[command(flatten)]
        place: Place,
        /// What is printed: lines, or one JSON object a line
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show every failed attempt of these
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
        /// What is printed: text, or one JSON object a line
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Have the next run with this journal try them again
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
    },
    /// Forget what they were; they stay counted
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
    },
}

/// Which journal.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The journal
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,
}

/// Which dead letters.
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
    /// Those that are meant. One that is not there is an error.
    fn of(&self, letters: Vec<Letter>, path: &Path) -> Result<Vec<Letter>, Failure> {
        if self.all {
            return Ok(letters);
        }
        let there: BTreeSet<u64> = letters.iter().map(|letter| letter.id.0).collect();
        if let Some(id) = self.ids.iter().find(|id| !there.contains(id)) {
            return Err(Failure::Usage(format!(
                "journal {}: there is no dead letter {id}; nothing was done",
                path.display()
            )));
        }
        let is_meant = |letter: &Letter| self.ids.contains(&letter.id.0);
        Ok(letters.into_iter().filter(is_meant).collect())
    }
}

/// Does what is asked for. The exit code.
pub(super) fn run(command: &Dead) -> Result<u8, Failure> {
    match command {
        Dead::List { place, format } => {
            let letters = letters(&place.journal)?;
            print(&letters, *format, |letter| format!("{}\n", letter.line()))?;
        }
        Dead::Show {
            which,
            place,
            format,
        } => {
            let letters = which.of(letters(&place.journal)?, &place.journal)?;
            print(&letters, *format, Letter::to_string)?;
        }
        Dead::Retry { which, place } => {
            let (journal, letters) = claim(which, place)?;
            for letter in &letters {
                journal.revive(letter.id).map_err(Failure::Usage)?;
            }
            say(place, letters.len(), "for another attempt");
        }
        Dead::Drop { which, place } => {
            let (journal, letters) = claim(which, place)?;
            let ids: Vec<ItemId> = letters.iter().map(|letter| letter.id).collect();
            let is_one = |letter: &StoredLetter| ids.contains(&letter.id);
            journal.take_dead(&is_one).map_err(Failure::Usage)?;
            say(place, letters.len(), "dropped");
        }
    }
    Ok(code::DONE)
}

fn letters(path: &Path) -> Result<Vec<Letter>, Failure> {
    let (item_type, letters) = read_letters(path, &item_types()).map_err(Error)?;
    Ok(named(item_type, letters))
}

fn named(item_type: &str, letters: Vec<StoredLetter>) -> Vec<Letter> {
    let is_job = item_type == type_name::<Job>();
    letters
        .into_iter()
        .map(|letter| name(is_job, letter))
        .collect()
}

fn name(is_job: bool, letter: StoredLetter) -> Letter {
    let dish = || crate::worker::attempt::decode::<Dish>(&letter.payload);
    let name = match is_job {
        true => jobs::name_of(&letter.payload),
        false => dish().map_or_else(|_| format!("item-{}", letter.id), |dish| dish.name),
    };
    Letter {
        id: letter.id,
        name,
        history: letter.history,
    }
}

/// Takes the journal over, and says which letters are meant.
fn claim(which: &Which, place: &Place) -> Result<(Journal, Vec<Letter>), Failure> {
    let path = &place.journal;
    if !path.exists() {
        let (path, why) = (path.display().to_string(), "there is no such file".into());
        return Err(Error(Kind::JournalUnusable { path, why }).into());
    }
    let (item_type, _) = read_letters(path, &item_types()).map_err(Error)?;
    let (journal, _) = Journal::open(path, item_type, Durability::Full).map_err(Error)?;
    let letters = journal.dead_letters().map_err(Failure::Usage)?;
    let letters = which.of(named(item_type, letters), path)?;
    Ok((journal, letters))
}

fn print(
    letters: &[Letter],
    format: Format,
    text: impl Fn(&Letter) -> String,
) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut print = |text: &dyn fmt::Display| write!(out, "{text}");
    let printed = letters.iter().try_for_each(|letter| match format {
        Format::Text => print(&text(letter)),
        Format::Json => print(&format_args!("{}\n", letter.object())),
    });
    match printed.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Usage(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

fn say(place: &Place, count: usize, what: &str) {
    let path = place.journal.display();
    printer::complain(&format_args!("{path}: {count} dead letters {what}"));
}
