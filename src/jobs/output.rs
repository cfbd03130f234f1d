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
        let [stdout, stderr] = self.files.each_ref().map(State::of);
        for (stream, state) in Stream::BOTH.into_iter().zip([stdout, stderr]) {
            if let Err(why) = self.see_to_it(stream, state, is_failed) {
                self.discard();
                return Err(Setback::Failed(Cause::NoRoom(why)));
            }
        }
        // Only a missing stdout is noticed.
        if stderr.is_empty {
            self.remove(Stream::Stderr);
        }
        Ok(())
    }

    fn see_to_it(&self, stream: Stream, state: State, is_failed: bool) -> Result<(), String> {
        let file = self.file(stream);
        // A failed command may have found no room for its first byte.
        let is_suspect = is_failed || !state.is_empty;
        // Another command may have made room since this one found none.
        let was_full = || self.was_full(file);
        if is_suspect && (spool::is_full(file) || was_full()) {
            self.spool.note_if_full();
            let folder = self.spool.folder().display();
            return Err(format!("its output may be cut off: {folder} was full"));
        }
        if state.is_removed {
            match self.restore(file, stream) {
                // Its folder is gone, which the command did not cause; its reader will miss it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                restored => {
                    restored.map_err(|error| format!("its {}", self.spool.complaint(&error)))?;
                }
            }
        }
        Ok(())
    }

    fn file(&self, stream: Stream) -> &File {
        let [stdout, stderr] = &self.files;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    /// Returns `true` if a lack of room was noted since the attempt began.
    fn was_full(&self, file: &File) -> bool {
        let times = self.spool.last_full().zip(self.last_full);
        let is_noted = times.is_some_and(|(now, before)| now != before);
        // Checked last: while the file exists, the folder is the same, and so is the marker with
        // the note. A folder that was made again has a new one.
        is_noted && !State::of(file).is_removed
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

/// What is known of a file when its command has ended. Of one that does not tell, neither.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    is_empty: bool,
    is_removed: bool,
}

impl State {
    fn of(file: &File) -> Self {
        file.metadata().map_or(State::default(), |meta| State {
            is_empty: meta.len() == 0,
            is_removed: meta.nlink() == 0,
        })
    }
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
