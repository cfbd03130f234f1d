//! `--dead-letters FILE`: a thread that writes each dead letter at once, as a line of JSON.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;

use super::bug;
use super::letter;
use super::output;
use super::screen;
use super::unwritten::Unwritten;
use crate::observe::{Event, EventKind};
use crate::sys::threads::watch;
use crate::{Failure, ItemId};

/// A message to the thread.
#[derive(Debug)]
enum Told {
    /// An item with its name and history.
    Death(ItemId, String, Vec<Failure>),
    /// Disconnects when all earlier messages are written, or cannot be.
    Sync(Sender<()>),
}

#[derive(Debug)]
pub(super) struct DeadLetterLog {
    /// `None` after the end.
    deaths: Mutex<Option<Sender<Told>>>,
    /// Disconnected when all messages are written, or cannot be.
    over: Receiver<()>,
    is_written: Arc<AtomicBool>,
}

/// The beginning of each line.
const BEGINNING: &str = "{\"item\":";

/// Opens the file for appending. It must differ from `others`, the run's own files.
pub(super) fn open(path: &Path, others: &[PathBuf]) -> Result<File, String> {
    let mut how = OpenOptions::new();
    how.create(true).append(true);
    let file = output::open("--dead-letters", path, others, &mut how)?;
    output::check_ours("--dead-letters", (path, &file), BEGINNING, "dead letters")?;
    output::end_torn_line(&file).map_err(|error| {
        let path = path.display();
        format!("--dead-letters {path}: cannot be written: {error}")
    })?;
    Ok(file)
}

impl DeadLetterLog {
    /// Starts the thread. `earlier` are the events that runs with the same journal have not shown;
    /// deaths among them are written unless the file has them. Unwritten letters go to `unwritten`.
    pub(super) fn start(
        file: File,
        path: PathBuf,
        earlier: &[Event],
        unwritten: Unwritten,
    ) -> io::Result<Self> {
        let earlier = earlier
            .iter()
            .filter_map(DeadLetterLine::of_event)
            .collect();
        let (deaths, inbox) = unbounded();
        let (writing, over) = bounded::<()>(0);
        let is_written = Arc::new(AtomicBool::new(false));
        let is_fine = Arc::clone(&is_written);
        std::thread::Builder::new()
            .name("dead-letters".into())
            .spawn(move || {
                watch(|| {
                    let is_written = write(&file, earlier, &inbox, (&path, &unwritten));
                    is_fine.store(is_written, Ordering::Release);
                });
                // Whoever waits for its letters is not to take them for written.
                bug::wait_if_found();
                drop((inbox, writing));
            })?;
        Ok(DeadLetterLog {
            deaths: Mutex::new(Some(deaths)),
            over,
            is_written,
        })
    }

    pub(super) fn tell(&self, id: ItemId, name: &str, history: &[Failure]) {
        let deaths = self.deaths.lock();
        if let Some(deaths) = &*deaths {
            // This cannot fail: the thread listens while the sender exists.
            let _ = deaths.send(Told::Death(id, name.to_owned(), history.to_vec()));
        }
    }

    /// Waits until all letters are written, or cannot be.
    pub(super) fn sync(&self) {
        let (sync, is_written) = bounded::<()>(0);
        let deaths = self.deaths.lock();
        if let Some(deaths) = &*deaths {
            let _ = deaths.send(Told::Sync(sync));
        } else {
            drop(sync);
        }
        drop(deaths);
        // Nothing is ever sent; the wait ends with the disconnection.
        let _ = is_written.recv();
    }

    /// Ends the thread. The receiver is disconnected when all letters are written, or cannot be.
    pub(super) fn end(&self) -> &Receiver<()> {
        let mut deaths = self.deaths.lock();
        deaths.take();
        &self.over
    }

    /// Returns `true` if all letters are written.
    pub(super) fn are_written(&self) -> bool {
        self.is_written.load(Ordering::Acquire)
    }
}

/// A line of the file.
#[derive(Debug)]
struct DeadLetterLine {
    id: ItemId,
    attempt: u32,
    line: String,
}

impl DeadLetterLine {
    fn new(id: ItemId, name: &str, history: &[Failure]) -> Self {
        DeadLetterLine {
            id,
            attempt: history.last().map_or(0, |last| last.attempt),
            line: letter::dead_letter_line(name, history).to_string(),
        }
    }

    fn of_event(event: &Event) -> Option<Self> {
        match &event.kind {
            EventKind::Dead { id, item, history } => Some(DeadLetterLine::new(*id, item, history)),
            _ => None,
        }
    }
}

/// Writes each line with one write, so that a kill leaves whole lines. Returns `true` if all were
/// written; the first failure is reported at once.
fn write(
    file: &File,
    mut earlier: Vec<DeadLetterLine>,
    inbox: &Receiver<Told>,
    (path, unwritten): (&Path, &Unwritten),
) -> bool {
    let mut is_fine = true;
    let mut put = |dead_letter_line: &DeadLetterLine| {
        let Err(error) = output::append(file, &format!("{}\n", dead_letter_line.line)) else {
            return;
        };
        unwritten.add(dead_letter_line.id, dead_letter_line.attempt);
        if std::mem::replace(&mut is_fine, false) {
            let path = path.display();
            screen::complain(&format_args!(
                "--dead-letters {path}: cannot be written: {error}"
            ));
        }
    };
    let lines = earlier.iter().map(|one| one.line.clone()).collect();
    // A file that cannot be read back gets all lines again.
    if let Ok(missing) = output::missing_lines(file, lines, <[u8]>::to_vec) {
        earlier.retain(|one| missing.contains(&one.line));
    }
    earlier.iter().for_each(&mut put);
    for told in inbox {
        match told {
            Told::Death(id, name, history) => put(&DeadLetterLine::new(id, &name, &history)),
            Told::Sync(waiting) => drop(waiting),
        }
    }
    is_fine
}
