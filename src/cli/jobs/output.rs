//! What commands write, shown on our own stdout and stderr: item by item, or line by line.
//!
//! It lies in files until then, so a large output is copied piece by piece and never lies in
//! memory. An attempt that failed and is followed by another one has its output shown on stderr,
//! with a mark, so that stdout holds what counts, once.
//!
//! Output is shown when the system has taken all of it: a pipe has it in its buffer, a file in the
//! kernel's pages, a terminal in its line. First that, then its files are removed, then the journal
//! forgets the attempt. So whatever is killed in between, it is shown again rather than not at all;
//! what a reader does with what it was given, nobody here can know.

mod paper;
mod turns;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use self::paper::{Label, Mark, Paper, Piece};
use self::turns::Turns;
use super::budget::Returns;
use super::ended::Ended;
use super::results::Results;
use super::scratch;
use crate::cli::args::Format;
use crate::cli::view::{Out, View};
use crate::cli::work::Origin;
use crate::cli::work::Shown;
use crate::jobs::spool::{Spool, Stream};
use crate::ledger::{Counts, ItemId};
use crate::observe::text::printable;
use crate::observe::{Event, What};

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) keeps_order: bool,
    pub(super) is_line_buffered: bool,
    pub(super) is_tagged: bool,
    pub(super) format: Format,
    /// Whether whatever was run has left a file for its stdout.
    pub(super) has_stdout_files: bool,
}

/// An attempt whose output is shown while it runs.
#[derive(Debug)]
struct Live {
    id: ItemId,
    item: Arc<str>,
    attempt: u32,
    /// How much of each stream is shown.
    shown: [u64; 2],
}

/// An attempt whose output is written, perhaps not all the way.
#[derive(Debug, Clone, Copy)]
struct Written {
    id: ItemId,
    attempt: u32,
    is_last: bool,
}

pub(super) struct Outputs {
    spool: Spool,
    shape: Shape,
    paper: Paper,
    turns: Option<Turns<Ended>>,
    live: Vec<Live>,
    written: Vec<Written>,
    results: Option<Results>,
    returns: Returns,
    shown: Shown,
    /// What earlier runs have left to be shown. They may have shown some of it, and have removed that.
    earlier: BTreeSet<(ItemId, u32)>,
    is_any_lost: bool,
}

/// So many attempts are written before it is seen to that all of that arrives.
const WRITTEN_MAX: usize = 64;

/// How often it is looked for new lines of commands that run.
const LOOK: Duration = Duration::from_millis(50);

/// So much of a stream is looked through at once.
const LOOK_BYTES: usize = 256 * 1024;

impl Outputs {
    pub(super) fn new(
        spool: Spool,
        shape: Shape,
        results: Option<Results>,
        origin: &Origin,
        (out, returns): (Out, Returns),
    ) -> Self {
        let unshown = origin.unshown.iter().filter_map(Ended::of);
        let unshown: BTreeSet<_> = unshown.map(|one| (one.id, one.attempt)).collect();
        scratch::remove_shown(&spool, &unshown);
        let mut old = origin.unfinished.clone();
        old.extend(unshown.iter().map(|(id, _)| *id));
        let turns = Turns::new(old, origin.accepted);
        Outputs {
            spool,
            shape,
            paper: Paper::new(out, shape.format),
            turns: shape.keeps_order.then_some(turns),
            live: Vec::new(),
            written: Vec::new(),
            results,
            returns,
            shown: Arc::clone(&origin.shown),
            earlier: unshown,
            is_any_lost: false,
        }
    }

    fn begin(&mut self, id: ItemId, item: &str, attempt: u32) {
        if self.shape.is_line_buffered {
            // An attempt that did not count may have been shown in part.
            self.end_live(id);
            self.live.push(Live {
                id,
                item: item.into(),
                attempt,
                shown: [0; 2],
            });
        }
    }

    /// An item has its last attempt behind it. It is kept at once, and shown when its turn has come.
    fn end_item(&mut self, ended: Ended) -> io::Result<()> {
        if let Some(results) = &mut self.results {
            results.keep(&ended, &self.spool);
        }
        let Some(turns) = &mut self.turns else {
            return self.show(&ended);
        };
        turns.add(ended.id, ended);
        while let Some(next) = self.turns.as_mut().and_then(Turns::next) {
            self.show(&next)?;
        }
        Ok(())
    }

    fn show(&mut self, ended: &Ended) -> io::Result<()> {
        let mark = self.mark(&ended.item);
        let shown = self.end_live(ended.id);
        let label = ended.label();
        for (stream, shown) in Stream::BOTH.into_iter().zip(shown) {
            let is_there = self.copy(&label, stream, shown, &mark)?;
            if !is_there && stream == Stream::Stdout {
                self.miss(ended);
            }
        }
        self.note_written(ended)
    }

    /// An item's output is not there: tells it, if somebody must have removed it.
    fn miss(&mut self, ended: &Ended) {
        let was_run = ended.cause.is_none() && self.shape.has_stdout_files;
        if !was_run || self.earlier.contains(&(ended.id, ended.attempt)) {
            return;
        }
        self.is_any_lost = true;
        let error = io::Error::from(io::ErrorKind::NotFound);
        paper::complain(&ended.item, Stream::Stdout, &error);
    }

    /// The attempt's output is on its way.
    fn note_written(&mut self, ended: &Ended) -> io::Result<()> {
        self.written.push(Written {
            id: ended.id,
            attempt: ended.attempt,
            is_last: ended.is_last,
        });
        match self.written.len() < WRITTEN_MAX {
            true => Ok(()),
            false => self.arrive(),
        }
    }

    /// Sees to it that what was written arrives. What is shown then needs its files no more.
    fn arrive(&mut self) -> io::Result<()> {
        self.paper.flush()?;
        if self.written.is_empty() {
            return Ok(());
        }
        self.spool.note_if_full();
        for Written {
            id,
            attempt,
            is_last,
        } in &self.written
        {
            for stream in Stream::BOTH {
                self.spool.remove(*id, *attempt, stream);
            }
            if *is_last {
                self.returns.shown();
            }
        }
        let shown: Vec<_> = self
            .written
            .drain(..)
            .map(|one| (one.id, one.attempt))
            .collect();
        (self.shown)(&shown);
        Ok(())
    }

    fn mark(&self, item: &str) -> Mark {
        match self.shape.is_tagged {
            true => Mark::Tag(format!("{}\t", printable(item)).into_bytes()),
            false => Mark::None,
        }
    }

    /// Shows what an attempt gave that is followed by another one.
    fn show_failed(&mut self, ended: &Ended) -> io::Result<()> {
        let label = &ended.label();
        let shown = self.end_live(label.id);
        let mark = match shown {
            [0, 0] => {
                let item = printable(label.item);
                let mark = format!("[{item}, attempt {}] ", label.attempt);
                Mark::Failed(mark.into_bytes())
            }
            // Its lines were shown as they came, so the rest of them goes where they went.
            _ => self.mark(label.item),
        };
        for (stream, shown) in Stream::BOTH.into_iter().zip(shown) {
            self.copy(label, stream, shown, &mark)?;
        }
        self.note_written(ended)
    }

    /// Shows what a stream has from here on. False where there is none.
    fn copy(
        &mut self,
        label: &Label<'_>,
        stream: Stream,
        shown: u64,
        mark: &Mark,
    ) -> io::Result<bool> {
        let file = self.spool.open(label.id, label.attempt, stream);
        match file.and_then(|file| file.map(|file| Piece::rest(file, shown)).transpose()) {
            Ok(Some(piece)) if !piece.is_empty() => {
                self.paper.print(label, stream, mark, piece)?;
                Ok(true)
            }
            Ok(piece) => Ok(piece.is_some()),
            // What cannot be read is told.
            Err(error) => {
                paper::complain(label.item, stream, &error);
                Ok(true)
            }
        }
    }

    /// How much of an attempt's output was shown while it ran.
    fn end_live(&mut self, id: ItemId) -> [u64; 2] {
        match self.live.iter().position(|live| live.id == id) {
            Some(at) => self.live.swap_remove(at).shown,
            None => [0; 2],
        }
    }

    /// Shows whole lines of commands that run.
    fn look(&mut self) -> io::Result<()> {
        let mut all = std::mem::take(&mut self.live);
        for live in &mut all {
            let has_turn = self.turns.as_ref().is_none_or(|turns| turns.is_at(live.id));
            if has_turn {
                self.show_lines(live)?;
            }
        }
        self.live = all;
        self.arrive()
    }

    fn show_lines(&mut self, live: &mut Live) -> io::Result<()> {
        let mark = self.mark(&live.item);
        let label = Label {
            id: live.id,
            item: &live.item,
            attempt: live.attempt,
            at: Duration::ZERO,
        };
        for (stream, shown) in Stream::BOTH.into_iter().zip(&mut live.shown) {
            // What cannot be read now is told when the attempt is over.
            let Ok(Some(file)) = self.spool.open(live.id, live.attempt, stream) else {
                continue;
            };
            let length = whole_lines(&file, *shown).unwrap_or(0);
            if length > 0 {
                let piece = Piece::of(file, *shown, length);
                self.paper.print(&label, stream, &mark, piece)?;
                *shown += length;
            }
        }
        Ok(())
    }
}

/// How many bytes of whole lines there are from here on. A very long line is taken piece by piece.
fn whole_lines(file: &File, from: u64) -> io::Result<u64> {
    let new = file.metadata()?.len().saturating_sub(from);
    let wanted = usize::try_from(new).unwrap_or(LOOK_BYTES).min(LOOK_BYTES);
    let mut text = vec![0; wanted];
    let count = file.read_at(&mut text, from)?;
    let end = text[..count].iter().rposition(|byte| *byte == b'\n');
    let length = match end {
        Some(end) => end + 1,
        None if count == LOOK_BYTES => count,
        None => 0,
    };
    Ok(length as u64)
}

impl Ended {
    fn label(&self) -> Label<'_> {
        Label {
            id: self.id,
            item: &self.item,
            attempt: self.attempt,
            at: self.at,
        }
    }
}

impl View for Outputs {
    fn see_earlier(&mut self, events: &[Event]) -> io::Result<()> {
        events.iter().try_for_each(|event| self.see(event))
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        if let What::ItemStarted {
            id, item, attempt, ..
        } = &event.what
        {
            self.begin(*id, item, *attempt);
        }
        let ended = Ended::of(event);
        if ended.is_some() {
            scratch::look_after();
        }
        match ended {
            Some(ended) if ended.is_last => self.end_item(ended),
            Some(ended) => self.show_failed(&ended),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.arrive()
    }

    fn pause(&self) -> Option<Duration> {
        self.shape.is_line_buffered.then_some(LOOK)
    }

    fn tick(&mut self, _: &Counts) -> io::Result<()> {
        self.look()
    }

    fn end(&mut self) -> io::Result<bool> {
        // In a run that was stopped the turn of some never comes.
        let rest = self.turns.as_mut().map(Turns::rest);
        for ended in rest.into_iter().flatten() {
            self.show(&ended)?;
        }
        self.arrive()?;
        scratch::note_all_shown();
        let are_results_written = self.results.as_ref().is_none_or(Results::are_written);
        Ok(are_results_written && !self.is_any_lost)
    }
}
