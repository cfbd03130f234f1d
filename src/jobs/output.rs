//! Where one attempt's command writes to, and what is seen to when it is over: that all it wrote is
//! there to be shown.
//!
//! What was removed while the command ran is written once more, out of the files that are still open
//! here. Where there was no room for all of it the attempt is lost, and the machine short of room.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use super::spool::{self, Spool, Stream};
use super::{Attempt, stderr};
use crate::handler::attempt::Setback;
use dishrack_core::ledger::Cause;

/// How much of a failed command's stderr goes into the item's history.
const TAIL_BYTES: u64 = 4096;

/// Where a command writes to.
pub(super) struct Output<'a> {
    spool: &'a Spool,
    attempt: Attempt,
    pub(super) files: [File; 2],
    /// When there was no room the last time before.
    last_full: Option<SystemTime>,
}

impl<'a> Output<'a> {
    /// Makes the files. Where that cannot be done no command can be blamed.
    pub(super) fn create(spool: &'a Spool, attempt: Attempt) -> Result<Self, Setback> {
        let create = |stream| spool.create(attempt.id, attempt.attempt, stream);
        let files = create(Stream::Stdout).and_then(|out| Ok([out, create(Stream::Stderr)?]));
        let output = Output {
            spool,
            attempt,
            last_full: spool.last_full(),
            files: files.map_err(|error| Setback::Short(spool.complaint(&error)))?,
        };
        // A first attempt may be what makes room.
        if attempt.attempt > 1 && spool::is_full(&output.files[0]) {
            spool.note_if_full();
            output.discard();
            let folder = spool.folder().display();
            return Err(Setback::Short(format!("{folder} has no room for output")));
        }
        Ok(output)
    }

    /// Nothing was begun.
    pub(super) fn discard(&self) {
        for stream in Stream::BOTH {
            self.remove(stream);
        }
    }

    /// The attempt is over: if it failed the end of stderr goes to ours, from where it gets into the
    /// history. An error says that not all of the output can be there.
    pub(super) fn close(&self, is_failed: bool) -> Result<(), Setback> {
        let [_, stderr] = &self.files;
        if is_failed && let Ok(tail) = spool::tail(stderr, TAIL_BYTES) {
            stderr::write(&tail);
        }
        if let Err(why) = self.see_to_it(is_failed) {
            self.discard();
            return Err(Setback::Failed(Cause::NoRoom(why)));
        }
        // Only one of them is missed if it is not there.
        if is_empty(stderr) {
            self.remove(Stream::Stderr);
        }
        Ok(())
    }

    fn see_to_it(&self, is_failed: bool) -> Result<(), String> {
        for (file, stream) in self.files.iter().zip(Stream::BOTH) {
            // One that failed may have found no room for its first byte.
            let is_suspect = is_failed || !is_empty(file);
            // One that had none may find that another one has made room since.
            let was_full = || self.was_full(file);
            if is_suspect && (spool::is_full(file) || was_full()) {
                self.spool.note_if_full();
                let folder = self.spool.folder().display();
                return Err(format!("its output may be cut off: {folder} was full"));
            }
            if is_removed(file) {
                match self.restore(file, stream) {
                    // There is no place for it any more, which the command did not do: whoever shows
                    // its output will miss it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    restored => {
                        restored
                            .map_err(|error| format!("its {}", self.spool.complaint(&error)))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether there was no room at some time since it began, as far as that was noted.
    fn was_full(&self, file: &File) -> bool {
        let times = self.spool.last_full().zip(self.last_full);
        let is_noted = times.is_some_and(|(now, before)| now != before);
        // Asked afterwards: while the file is there the folder is the same, and so is the marker that
        // has the note. A folder that was made again has a new one.
        is_noted && !is_removed(file)
    }

    /// Writes once more what a file has that was removed.
    fn restore(&self, file: &File, stream: Stream) -> io::Result<()> {
        let Attempt { id, attempt, .. } = self.attempt;
        let mut new = self.spool.create(id, attempt, stream)?;
        let mut old = file.try_clone()?;
        // Whoever still writes to it does so at its end.
        old.seek(SeekFrom::Start(0))?;
        io::copy(&mut old, &mut new).map(drop)
    }

    fn remove(&self, stream: Stream) {
        let Attempt { id, attempt, .. } = self.attempt;
        self.spool.remove(id, attempt, stream);
    }
}

fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.nlink() == 0)
}

fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.len() == 0)
}

/// Keeps what a process has answered. That it was asked for cannot be undone, so without a place for
/// its answer the attempt is lost.
pub(super) fn keep(
    spool: &Spool,
    attempt: Attempt,
    stream: Stream,
    bytes: &[u8],
) -> Result<(), Setback> {
    let Attempt { id, attempt, .. } = attempt;
    let file = spool.create(id, attempt, stream);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| {
        spool.remove(id, attempt, stream);
        Setback::Failed(Cause::NoRoom(format!("its {}", spool.complaint(&error))))
    })
}
