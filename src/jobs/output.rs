//! The files that one attempt's command writes to, and the check at its end that they are complete.
//!
//! A file that was removed while the command ran is written again from the one that is still open
//! here. If there was no room for all output, the attempt is lost and the machine short of room.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use super::spool::{self, Spool, Stream};
use super::{Attempt, stderr};
use crate::handler::attempt::Setback;
use dishrack_core::ledger::Cause;

/// The number of bytes of a failed command's stderr that go into the item's history.
const TAIL_BYTES: u64 = 4096;

/// The files that a command writes to.
pub(super) struct Output<'a> {
    spool: &'a Spool,
    attempt: Attempt,
    pub(super) files: [File; 2],
    /// The time noted when there was last no room.
    last_full: Option<SystemTime>,
}

impl<'a> Output<'a> {
    /// Makes the files. If that fails, no command can be blamed.
    pub(super) fn create(spool: &'a Spool, attempt: Attempt) -> Result<Self, Setback> {
        let create = |stream| spool.create(attempt.id, attempt.attempt, stream);
        let files = create(Stream::Stdout).and_then(|out| Ok([out, create(Stream::Stderr)?]));
        let output = Output {
            spool,
            attempt,
            last_full: spool.last_full(),
            files: files.map_err(|error| Setback::Short(spool.complaint(&error)))?,
        };
        // A first attempt may be the one that makes room.
        if attempt.attempt > 1 && spool::is_full(&output.files[0]) {
            spool.note_if_full();
            output.discard();
            let folder = spool.folder().display();
            return Err(Setback::Short(format!("{folder} has no room for output")));
        }
        Ok(output)
    }

    /// Removes the files of a command that was not begun.
    pub(super) fn discard(&self) {
        for stream in Stream::BOTH {
            self.remove(stream);
        }
    }

    /// Ends the attempt. If it failed, the end of its stderr goes to ours, and from there into the
    /// history. The error says that not all of the output can be there.
    pub(super) fn close(&self, is_failed: bool) -> Result<(), Setback> {
        let [_, stderr] = &self.files;
        if is_failed && let Ok(tail) = spool::tail(stderr, TAIL_BYTES) {
            stderr::write(&tail);
        }
        if let Err(why) = self.see_to_it(is_failed) {
            self.discard();
            return Err(Setback::Failed(Cause::NoRoom(why)));
        }
        // Only a missing stdout is noticed.
        if is_empty(stderr) {
            self.remove(Stream::Stderr);
        }
        Ok(())
    }

    fn see_to_it(&self, is_failed: bool) -> Result<(), String> {
        for (file, stream) in self.files.iter().zip(Stream::BOTH) {
            // A failed command may have found no room for its first byte.
            let is_suspect = is_failed || !is_empty(file);
            // Another command may have made room since this one found none.
            let was_full = || self.was_full(file);
            if is_suspect && (spool::is_full(file) || was_full()) {
                self.spool.note_if_full();
                let folder = self.spool.folder().display();
                return Err(format!("its output may be cut off: {folder} was full"));
            }
            if is_removed(file) {
                match self.restore(file, stream) {
                    // Its folder is gone, which the command did not cause; its reader will miss it.
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

    /// Returns `true` if a lack of room was noted since the attempt began.
    fn was_full(&self, file: &File) -> bool {
        let times = self.spool.last_full().zip(self.last_full);
        let is_noted = times.is_some_and(|(now, before)| now != before);
        // Checked last: while the file exists, the folder is the same, and so is the marker with
        // the note. A folder that was made again has a new one.
        is_noted && !is_removed(file)
    }

    /// Writes the content of a removed file again.
    fn restore(&self, file: &File, stream: Stream) -> io::Result<()> {
        let Attempt { id, attempt, .. } = self.attempt;
        let mut new = self.spool.create(id, attempt, stream)?;
        let mut old = file.try_clone()?;
        // Other writers of the file append to its end.
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

/// Keeps a process's answer. The request cannot be undone: without a place the attempt is lost.
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
