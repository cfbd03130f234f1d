//! `--dead-letters FILE`: a JSON object a line for each dish that was given up on, written in a
//! thread of its own as soon as it is known.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::letter;
use super::printer;
use crate::ledger::Failure;

/// A name and a history.
type Death = (String, Vec<Failure>);

#[derive(Debug)]
pub(super) struct Obituaries {
    /// `None` once they are told to end.
    deaths: Mutex<Option<Sender<Death>>>,
    /// Whether all were written.
    writing: Mutex<Option<JoinHandle<bool>>>,
}

/// Opens the file, to add to it.
pub(super) fn open(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| {
        format!(
            "--dead-letters {}: cannot be written: {error}",
            path.display()
        )
    })
}

impl Obituaries {
    pub(super) fn start(file: File, path: PathBuf) -> io::Result<Self> {
        let (deaths, inbox) = unbounded();
        let writing = std::thread::Builder::new()
            .name("dead-letters".into())
            .spawn(move || write(file, &inbox, &path))?;
        Ok(Obituaries {
            deaths: Mutex::new(Some(deaths)),
            writing: Mutex::new(Some(writing)),
        })
    }

    pub(super) fn tell(&self, name: &str, history: &[Failure]) {
        let deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deaths) = &*deaths {
            // The thread listens as long as the sender is here.
            let _ = deaths.send((name.to_owned(), history.to_vec()));
        }
    }

    /// Whether all that were told are written.
    pub(super) fn finish(&self) -> bool {
        let mut deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        deaths.take();
        drop(deaths);
        let writing = self
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        writing.is_none_or(|thread| thread.join().unwrap_or(false))
    }
}

/// One write for each line, so that a kill leaves whole lines. Whether all of them were written; the
/// first failure is told at once.
fn write(mut file: File, inbox: &Receiver<Death>, path: &Path) -> bool {
    let mut is_fine = true;
    for (name, history) in inbox {
        let line = format!("{}\n", letter::obituary(&name, &history));
        if let Err(error) = file.write_all(line.as_bytes())
            && std::mem::replace(&mut is_fine, false)
        {
            let path = path.display();
            printer::complain(&format_args!(
                "--dead-letters {path}: cannot be written: {error}"
            ));
        }
    }
    is_fine
}
