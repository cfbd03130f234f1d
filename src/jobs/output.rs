//! The files that one attempt's command writes to, and the check at its end that they are complete.
//!
//! A file that was removed while the command ran is written again from the one that is still open
//! here. If there was no room for all output, the attempt is lost and the machine short of room.
//! Where there are logs, the files are those of the worker's pair (`capture`) until the attempt
//! needs them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use super::capture::{self, Capture};
use super::spool::{self, OutputStream, Spool};
use super::{CurrentAttempt, stderr};
use crate::fail;
use crate::handler::attempt::Setback;
use dishrack_core::ledger::Cause;

/// The number of bytes of a failed command's stderr that go into the item's history.
const TAIL_BYTES: u64 = 4096;

/// The files that a command writes to.
pub(super) struct CommandOutput<'a> {
    spool: &'a Spool,
    attempt: CurrentAttempt,
    pub(super) files: [File; 2],
    /// The pair that the files are of, if they are not the attempt's own.
    capture: Option<Capture>,
    /// The time noted when there was last no room.
    last_full: Option<SystemTime>,
}

impl<'a> CommandOutput<'a> {
    /// Makes the files. If that fails, no command can be blamed.
    pub(super) fn create(spool: &'a Spool, attempt: CurrentAttempt) -> Result<Self, Setback> {
        let opened = match spool.is_logged() {
            true => Capture::take(spool),
            false => Ok(None),
        };
        let opened = opened.and_then(|capture| match &capture {
            Some(pair) => Ok((pair.open(spool)?, capture)),
            None => {
                let create = |stream| spool.create(attempt.run(), stream);
                let files = [create(OutputStream::Stdout)?, create(OutputStream::Stderr)?];
                Ok((files, None))
            }
        });
        let (files, capture) = opened.map_err(|error| Setback::Short(spool.complaint(&error)))?;
        let output = CommandOutput {
            spool,
            attempt,
            last_full: spool.last_full(),
            files,
            capture,
        };
        // A first attempt may be the one that makes room.
        if attempt.attempt > 1 && spool::is_full(&output.files[0]) {
            let _ = spool.note_if_full();
            output.discard();
            let folder = spool.folder().display();
            return Err(Setback::Short(format!("{folder} has no room for output")));
        }
        Ok(output)
    }

    /// Removes the files of a command that was not begun.
    pub(super) fn discard(&self) {
        match &self.capture {
            Some(capture) => capture.remove(self.spool),
            None => OutputStream::BOTH
                .iter()
                .for_each(|stream| self.remove(*stream)),
        }
    }

    /// Ends the attempt. If it failed, the end of its stderr goes to ours, and from there into the
    /// history. The error says that not all of the output can be there.
    pub(super) fn close(mut self, is_failed: bool) -> Result<(), Setback> {
        let [_, stderr] = &self.files;
        if is_failed && let Ok(tail) = spool::tail(stderr, TAIL_BYTES) {
            stderr::write(&tail);
        }
        let states = self.files.each_ref().map(FileState::of);
        for (stream, state) in OutputStream::BOTH.into_iter().zip(states) {
            if let Err(why) = self.see_to_it(stream, state, is_failed) {
                self.discard();
                return Err(Setback::Failed(Cause::NoRoom(why)));
            }
        }
        let [_, stderr] = states;
        match self.capture.take() {
            Some(capture) => return self.log(capture, states),
            // Only a missing stdout is noticed.
            None if stderr.length == 0 => self.remove(OutputStream::Stderr),
            None => {}
        }
        fail::point("output: in its files");
        Ok(())
    }

    /// Puts the output into the log, or lets the attempt keep the files of the pair.
    fn log(self, capture: Capture, states: [FileState; 2]) -> Result<(), Setback> {
        let CommandOutput {
            spool,
            attempt,
            files,
            ..
        } = self;
        // Whoever has them open for writing from here on may write to them later.
        drop(files);
        let is_any_removed = states.iter().any(|state| state.is_removed);
        let capture = match is_any_removed {
            true => capture,
            false => match capture.log(spool, attempt) {
                Ok(()) => return Ok(()),
                Err(capture) => capture,
            },
        };
        for (stream, state) in OutputStream::BOTH.into_iter().zip(states) {
            let is_needed = stream == OutputStream::Stdout || state.length > 0;
            let kept = match (is_needed, state.is_removed) {
                (true, false) => capture.rename(spool, attempt, stream),
                // It was written again.
                (true, true) => Ok(()),
                // An attempt that did not count may have left a file of this name.
                (false, _) => {
                    capture.remove_one(spool, stream);
                    spool.remove(attempt.run(), stream);
                    Ok(())
                }
            };
            let kept = match kept {
                // It was removed since its command ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    restore(spool, attempt, capture.file(stream), stream)
                }
                kept => kept,
            };
            kept.map_err(|error| no_room(spool, &error))?;
        }
        capture::note_files(spool, attempt);
        Ok(())
    }

    fn see_to_it(
        &self,
        stream: OutputStream,
        state: FileState,
        is_failed: bool,
    ) -> Result<(), String> {
        let file = self.file(stream);
        // A failed command may have found no room for its first byte.
        let is_suspect = is_failed || state.length > 0;
        // Another command may have made room since this one found none.
        let was_full = || self.was_full(file);
        if is_suspect && (spool::is_full(file) || was_full()) {
            let _ = self.spool.note_if_full();
            let folder = self.spool.folder().display();
            return Err(format!("its output may be cut off: {folder} was full"));
        }
        if state.is_removed {
            let restored = restore(self.spool, self.attempt, file, stream);
            restored.map_err(|error| format!("its {}", self.spool.complaint(&error)))?;
        }
        Ok(())
    }

    fn file(&self, stream: OutputStream) -> &File {
        stream.of(&self.files)
    }

    /// Returns `true` if a lack of room was noted since the attempt began.
    fn was_full(&self, file: &File) -> bool {
        let times = self.spool.last_full().zip(self.last_full);
        let is_noted = times.is_some_and(|(now, before)| now != before);
        // Checked last: while the file exists, the folder is the same, and so is the marker with
        // the note. A folder that was made again has a new one.
        is_noted && !FileState::of(file).is_removed
    }

    fn remove(&self, stream: OutputStream) {
        self.spool.remove(self.attempt.run(), stream);
    }
}

/// Writes the content of a removed file again, unless its folder is gone: the command did not cause
/// that, and its reader will miss the file.
fn restore(
    spool: &Spool,
    attempt: CurrentAttempt,
    file: &File,
    stream: OutputStream,
) -> io::Result<()> {
    let mut new = match spool.create(attempt.run(), stream) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        created => created?,
    };
    let mut old = file.try_clone()?;
    // Other writers of the file append to its end.
    old.seek(SeekFrom::Start(0))?;
    io::copy(&mut old, &mut new).map(drop)
}

/// Makes the setback for output that has no place. The command cannot be undone: its attempt is
/// lost.
fn no_room(spool: &Spool, error: &io::Error) -> Setback {
    Setback::Failed(Cause::NoRoom(format!("its {}", spool.complaint(error))))
}

/// The facts known of a file when its command has ended. One that does not tell counts as not
/// empty.
#[derive(Debug, Clone, Copy)]
struct FileState {
    length: u64,
    is_removed: bool,
}

impl FileState {
    fn of(file: &File) -> Self {
        let unknown = FileState {
            length: u64::MAX,
            is_removed: false,
        };
        file.metadata().map_or(unknown, |meta| FileState {
            length: meta.len(),
            is_removed: meta.nlink() == 0,
        })
    }
}

/// Keeps a process's answer. The request cannot be undone: without a place the attempt is lost.
pub(super) fn keep(
    spool: &Spool,
    attempt: CurrentAttempt,
    stream: OutputStream,
    bytes: &[u8],
) -> Result<(), Setback> {
    let file = spool.create(attempt.run(), stream);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| {
        spool.remove(attempt.run(), stream);
        no_room(spool, &error)
    })
}
