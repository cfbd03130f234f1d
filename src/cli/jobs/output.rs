//! Shows the commands' output on this program's stdout and stderr: item by item, or line by line.
//!
//! It lies in files until then, so a large output is copied piece by piece and never lies in
//! memory. The output of an attempt that failed and is followed by another one goes to stderr, with
//! a mark, so that stdout holds the final output once.
//!
//! Output is shown when the system has taken all of it: a pipe in its buffer, a file in the
//! kernel's pages, a terminal in its line. After that its files are removed, and then the journal
//! forgets the attempt. So after a kill in between it is shown again rather than not at all. What
//! its reader does with it is not known.

mod live;
mod turns;
mod writer;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::live::{Live, whole_lines};
use self::turns::Turns;
use self::writer::{AttemptLabel, FilePiece, LineMark, OutputWriter};
use super::budget::Returns;
use super::ended::{AttemptEnd, CopyEnded};
use super::kept::{HandedOutput, OutputKeeper};
use super::results::{Results, WhichRun};
use crate::cli::args::Format;
use crate::cli::dead_letter_log::DeadLetterLog;
use crate::cli::scratch;
use crate::cli::unwritten::Unwritten;
use crate::cli::view::{Out, View};
use crate::cli::work::OnShown;
use crate::cli::work::Origin;
use crate::fail;
use crate::jobs::output_log::{Kept, Logs};
use crate::jobs::spool::{CommandRun, OutputStream, Spool};
use crate::observe::text::printable;
use crate::observe::{Event, EventKind};
use crate::{Counts, ItemId};

/// The form of the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) keeps_order: bool,
    pub(super) is_line_buffered: bool,
    pub(super) is_tagged: bool,
    pub(super) format: Format,
    /// True if the commands left files with their stdout.
    pub(super) has_stdout_files: bool,
}

/// The thing that a command's output is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputScope {
    /// An attempt without copies.
    Whole,
    /// The copy that an attempt is blamed on, of several that have failed or do not agree.
    Blamed,
    /// One of the other copies.
    Other,
}

/// An attempt whose output is written, though not all may have arrived.
#[derive(Debug, Clone, Copy)]
struct Written {
    run: CommandRun,
    is_last: bool,
    part: OutputScope,
    /// True for each of its streams that had a file when it was written.
    has_file: [bool; 2],
}

pub(super) struct Outputs {
    spool: Spool,
    /// Where output is kept for those who ask.
    keeper: Option<OutputKeeper>,
    /// Attempts whose output is not kept any more, and may not have arrived.
    unkept: Vec<CommandRun>,
    /// The logs in which workers keep small output.
    logs: Option<Logs>,
    shape: Shape,
    writer: OutputWriter,
    turns: Option<Turns<AttemptEnd>>,
    live: Vec<Live>,
    /// Copies that have ended, of which it is not known yet what became of their attempts.
    copies: Vec<CopyEnded>,
    /// Items that ended because their copies failed or did not agree: none of them has the output.
    undecided: HashSet<ItemId>,
    /// Runs whose output nobody wants, and that may still write, by process.
    unwanted: HashMap<u32, Vec<CommandRun>>,
    written: Vec<Written>,
    results: Option<Results>,
    /// The run of the seen events.
    run: WhichRun,
    returns: Returns,
    shown: OnShown,
    unwritten: Unwritten,
    letters: Option<Arc<DeadLetterLog>>,
    /// Ends that earlier runs have left to be shown. Those already shown have no files any more.
    earlier: BTreeSet<(ItemId, u32)>,
    is_any_lost: bool,
}

/// The number of written attempts after which their arrival is waited for.
const WRITTEN_MAX: usize = 64;

/// The room on its file system without which no output is kept in files, in bytes.
const ROOM_MIN: u64 = 64 * 1024 * 1024;

/// The pause between two searches for new lines of running commands.
const LOOK: Duration = Duration::from_millis(50);

impl Outputs {
    pub(super) fn new(
        (spool, keeper): (Spool, Option<OutputKeeper>),
        shape: Shape,
        results: Option<Results>,
        origin: &Origin,
        (out, returns): (Out, Returns),
    ) -> Self {
        let unshown = || origin.unshown.iter().filter_map(AttemptEnd::of);
        // Files of attempts that are not to be shown will come again, or were shown.
        spool.keep_only(&unshown().map(|one| one.run()).collect());
        let attempts = unshown().map(|one| (one.id, one.attempt)).collect();
        let ends = unshown().filter(|one| one.is_last).map(|one| one.id);
        // A dead letter that was sent back ends once more.
        let old = origin.unfinished.iter().copied().chain(ends);
        let turns = Turns::new(old, origin.accepted);
        Outputs {
            logs: spool.is_logged().then(|| Logs::new(spool.clone())),
            spool,
            keeper,
            unkept: Vec::new(),
            shape,
            writer: OutputWriter::new(out, shape.format),
            turns: shape.keeps_order.then_some(turns),
            live: Vec::new(),
            copies: Vec::new(),
            undecided: HashSet::new(),
            unwanted: HashMap::new(),
            written: Vec::new(),
            results,
            run: WhichRun::Present,
            returns,
            shown: Arc::clone(&origin.shown),
            unwritten: origin.unwritten.clone(),
            letters: origin.letters.clone(),
            earlier: attempts,
            is_any_lost: false,
        }
    }

    fn begin(&mut self, run: CommandRun, item: &str) {
        if self.shape.is_line_buffered {
            // An attempt that did not count may have been shown in part.
            self.end_live(run.id);
            self.live.push(Live {
                run,
                item: item.into(),
                shown: [0; 2],
                searched: [0; 2],
            });
        }
    }

    /// Keeps the end of an item at once, and shows it in its turn.
    fn end_item(&mut self, ended: AttemptEnd) -> io::Result<()> {
        if let Some(results) = &mut self.results
            && !results.keep(&ended, self.run, &self.spool)
        {
            self.unwritten.add(ended.id, ended.attempt);
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

    fn show(&mut self, ended: &AttemptEnd) -> io::Result<()> {
        if self.undecided.remove(&ended.id) {
            return self.show_failed(ended, OutputScope::Blamed);
        }
        let mark = self.mark(&ended.item);
        let shown = self.end_live(ended.id);
        self.show_rest(ended, shown, &mark, OutputScope::Whole)
    }

    /// Shows what was not shown while the command ran.
    fn show_rest(
        &mut self,
        ended: &AttemptEnd,
        [stdout, stderr]: [u64; 2],
        mark: &LineMark,
        part: OutputScope,
    ) -> io::Result<()> {
        let logs = self.logs.as_mut();
        let kept = logs.and_then(|logs| logs.take(ended.pid, ended.id, ended.attempt));
        if let Some(kept) = kept {
            return self.show_logged(ended, &kept, mark, part);
        }
        let label = &ended.label();
        let stdout = self.copy(label, ended.pid, (OutputStream::Stdout, stdout), mark)?;
        if stdout.is_none() && ended.is_last && part == OutputScope::Whole {
            self.miss(ended);
        }
        let stderr = self.copy(label, ended.pid, (OutputStream::Stderr, stderr), mark)?;
        let bytes = stdout.unwrap_or(0).saturating_add(stderr.unwrap_or(0));
        self.keep(ended, HandedOutput::Files(bytes), part);
        self.note_written(ended, [stdout.is_some(), stderr.is_some()], part)
    }

    /// Keeps the output of an attempt for those who may ask for it.
    fn keep(&mut self, ended: &AttemptEnd, output: HandedOutput, part: OutputScope) {
        if let Some(keeper) = self.keeper.as_ref().filter(|_| part != OutputScope::Other) {
            self.unkept.extend(keeper.keep(ended, output));
        }
    }

    /// Shows output that is in a log.
    fn show_logged(
        &mut self,
        ended: &AttemptEnd,
        kept: &Kept,
        mark: &LineMark,
        part: OutputScope,
    ) -> io::Result<()> {
        let label = &ended.label();
        let outputs = kept.read().unwrap_or_else(|error| {
            writer::complain(label.item, OutputStream::Stdout, &error);
            Default::default()
        });
        for (stream, bytes) in OutputStream::BOTH.into_iter().zip(&outputs) {
            let from = (&bytes[..], bytes.len() as u64);
            if !bytes.is_empty() && !self.writer.print_from(label, stream, mark, from)? {
                self.unwritten.add(label.id, label.attempt);
            }
        }
        self.keep(ended, HandedOutput::Bytes(outputs), part);
        self.note_written(ended, [false; 2], part)
    }

    /// Lets an attempt whose worker has died have what its command wrote until then.
    fn adopt(&mut self, ended: &AttemptEnd) {
        let Some(logs) = self.logs.as_mut().filter(|_| ended.has_worker_died) else {
            return;
        };
        if !logs.has(ended.pid, ended.id, ended.attempt)
            && let Err(error) = self.spool.adopt(ended.run())
        {
            writer::complain(&ended.item, OutputStream::Stdout, &error);
        }
    }

    /// Reports the missing output of an item if it must have been removed from outside.
    fn miss(&mut self, ended: &AttemptEnd) {
        let was_run = ended.cause.is_none() && self.shape.has_stdout_files;
        if !was_run || self.earlier.contains(&(ended.id, ended.attempt)) {
            return;
        }
        self.is_any_lost = true;
        let error = io::Error::from(io::ErrorKind::NotFound);
        writer::complain(&ended.item, OutputStream::Stdout, &error);
    }

    /// Notes that the attempt's output is written.
    fn note_written(
        &mut self,
        ended: &AttemptEnd,
        has_file: [bool; 2],
        part: OutputScope,
    ) -> io::Result<()> {
        self.written.push(Written {
            run: ended.run(),
            is_last: ended.is_last,
            part,
            has_file,
        });
        match self.written.len() < WRITTEN_MAX {
            true => Ok(()),
            false => self.arrive(),
        }
    }

    /// Makes sure that the written output has arrived, after which its files are not needed any
    /// more.
    fn arrive(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        if self.written.is_empty() {
            return Ok(());
        }
        fail::point("output: shown");
        // The journal may forget a dead letter only when it is in its file.
        if let Some(letters) = &self.letters {
            letters.sync();
        }
        let room = self.spool.note_if_full();
        let mut shown = Vec::new();
        for Written {
            run,
            is_last,
            part,
            has_file,
        } in self.written.drain(..)
        {
            if is_last {
                self.returns.shown();
            }
            // The next run writes what is missing, and needs these files for it.
            if self.unwritten.has(run.id, run.attempt) {
                continue;
            }
            // The attempt is over: what had no file then has none now. What is kept goes later.
            let is_kept = self.keeper.is_some() && part != OutputScope::Other;
            let streams = OutputStream::BOTH.into_iter().zip(has_file);
            for (stream, _) in streams.filter(|(_, has_file)| *has_file && !is_kept) {
                self.spool.remove(run, stream);
            }
            if part != OutputScope::Other {
                shown.push((run.id, run.attempt));
            }
        }
        if let Some(keeper) = &self.keeper
            && room.is_some_and(|room| room < ROOM_MIN)
        {
            // What was shown makes room for what is to come.
            self.unkept.extend(keeper.make_room());
        }
        for run in std::mem::take(&mut self.unkept) {
            if !self.unwritten.has(run.id, run.attempt) {
                for stream in OutputStream::BOTH {
                    self.spool.remove(run, stream);
                }
            }
        }
        fail::point("output: its files removed");
        (self.shown)(&shown);
        fail::point("output: to be forgotten");
        Ok(())
    }

    fn mark(&self, item: &str) -> LineMark {
        match self.shape.is_tagged {
            true => LineMark::Tag(format!("{}\t", printable(item)).into_bytes()),
            false => LineMark::None,
        }
    }

    /// Shows the output of an attempt that is followed by another one, or of a copy of one that has
    /// failed.
    fn show_failed(&mut self, ended: &AttemptEnd, part: OutputScope) -> io::Result<()> {
        let label = &ended.label();
        let shown = self.end_live(label.id);
        let mark = match shown {
            [0, 0] => {
                let item = printable(label.item);
                let copy = match part {
                    OutputScope::Whole => String::new(),
                    OutputScope::Blamed | OutputScope::Other => format!(", {}", ended.worker),
                };
                let mark = format!("[{item}, attempt {}{copy}] ", label.attempt);
                LineMark::Failed(mark.into_bytes())
            }
            // Its lines were shown as they came, so the rest goes to the same place.
            _ => self.mark(label.item),
        };
        self.show_rest(ended, shown, &mark, part)
    }

    /// Deals with the output of all other copies of an attempt that is over, and returns what its
    /// own is: that of the copy that counts, or of the one that it is blamed on.
    fn settle_copies(&mut self, attempt: &AttemptEnd) -> io::Result<OutputScope> {
        if self.copies.is_empty() {
            return Ok(OutputScope::Whole);
        }
        let is_its = |copy: &mut CopyEnded| copy.ended.id == attempt.id;
        let others: Vec<CopyEnded> = self.copies.extract_if(.., is_its).collect();
        // Copies may have agreed on a failure, and then its output is that of the one that counts.
        let is_decided = attempt.cause.is_none() || others.iter().any(|copy| copy.counts);
        let part = match others.is_empty() || is_decided {
            true => OutputScope::Whole,
            false => OutputScope::Blamed,
        };
        for CopyEnded { ended, is_over, .. } in others {
            match is_decided || !is_over {
                _ if ended.pid == attempt.pid => {}
                true => self.discard(ended.run()),
                false => self.show_failed(&ended, OutputScope::Other)?,
            }
        }
        Ok(part)
    }

    /// Removes what a command wrote that is not wanted. It may still write.
    fn discard(&mut self, run: CommandRun) {
        self.remove_unwanted(run);
        self.unwanted.entry(run.pid).or_default().push(run);
    }

    fn remove_unwanted(&mut self, run: CommandRun) {
        if let Some(logs) = &mut self.logs {
            drop(logs.take(run.pid, run.id, run.attempt));
        }
        for stream in OutputStream::BOTH {
            self.spool.remove(run, stream);
        }
    }

    /// Removes the rest of what a worker's process wrote and nobody wants, because that has ended
    /// the command, or has ended itself.
    fn end_unwanted(&mut self, pid: u32, has_ended: bool) {
        let Some(runs) = self.unwanted.remove(&pid) else {
            return;
        };
        runs.into_iter().for_each(|run| self.remove_unwanted(run));
        if has_ended {
            self.spool.disown(pid);
        }
    }

    /// Shows the rest of a stream. Returns the length of all of it; `None` if there is no file.
    fn copy(
        &mut self,
        label: &AttemptLabel<'_>,
        pid: u32,
        (stream, shown): (OutputStream, u64),
        mark: &LineMark,
    ) -> io::Result<Option<u64>> {
        let (id, attempt) = (label.id, label.attempt);
        let run = CommandRun { id, attempt, pid };
        match self.spool.open_measured(run, stream) {
            Ok(Some(opened)) => {
                let length = opened.1;
                let piece = FilePiece::rest(opened, shown);
                if !piece.is_empty() && !self.writer.print(label, stream, mark, piece)? {
                    self.unwritten.add(label.id, label.attempt);
                }
                Ok(Some(length))
            }
            Ok(None) => Ok(None),
            // A file that cannot be read is reported.
            Err(error) => {
                writer::complain(label.item, stream, &error);
                Ok(Some(0))
            }
        }
    }

    /// Returns the bytes of an attempt's output that were shown while it ran.
    fn end_live(&mut self, id: ItemId) -> [u64; 2] {
        match self.live.iter().position(|live| live.run.id == id) {
            Some(at) => self.live.swap_remove(at).shown,
            None => [0; 2],
        }
    }

    /// Shows whole lines of running commands.
    fn look(&mut self) -> io::Result<()> {
        let mut all = std::mem::take(&mut self.live);
        for live in &mut all {
            let has_turn = self
                .turns
                .as_ref()
                .is_none_or(|turns| turns.is_at(live.run.id));
            if has_turn {
                self.show_lines(live)?;
            }
        }
        self.live = all;
        self.arrive()
    }

    fn show_lines(&mut self, live: &mut Live) -> io::Result<()> {
        let mark = self.mark(&live.item);
        let label = AttemptLabel {
            id: live.run.id,
            item: &live.item,
            attempt: live.run.attempt,
            at: Duration::ZERO,
        };
        let places = live.shown.iter_mut().zip(&mut live.searched);
        for (stream, (shown, searched)) in OutputStream::BOTH.into_iter().zip(places) {
            // A file that cannot be read now is reported when the attempt is over.
            let Ok(Some(file)) = self.spool.open(live.run, stream) else {
                continue;
            };
            let length = whole_lines(&file, *shown, searched).unwrap_or(0);
            if length > 0 {
                let piece = FilePiece::of(file, *shown, length);
                // Output that stderr does not take now is written again when the attempt is over.
                if self.writer.print(&label, stream, &mark, piece)? {
                    *shown += length;
                }
            }
        }
        Ok(())
    }
}

impl AttemptEnd {
    fn label(&self) -> AttemptLabel<'_> {
        AttemptLabel {
            id: self.id,
            item: &self.item,
            attempt: self.attempt,
            at: self.at,
        }
    }
}

impl View for Outputs {
    fn see_earlier(&mut self, events: &[Event]) -> io::Result<()> {
        self.run = WhichRun::Earlier;
        let seen = events.iter().try_for_each(|event| self.see(event));
        self.run = WhichRun::Present;
        seen
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        match &event.kind {
            EventKind::ItemStarted {
                id,
                item,
                attempt,
                pid,
                ..
            } => {
                let (id, attempt, pid) = (*id, *attempt, *pid);
                self.end_unwanted(pid, false);
                self.begin(CommandRun { id, attempt, pid }, item);
            }
            EventKind::WorkerExited { pid, .. } => {
                if let Some(logs) = &mut self.logs {
                    logs.end(*pid);
                }
                self.end_unwanted(*pid, true);
            }
            _ => {}
        }
        if let Some(copy) = CopyEnded::of(event) {
            self.adopt(&copy.ended);
            self.copies.push(copy);
        }
        let Some(ended) = AttemptEnd::of(event) else {
            return Ok(());
        };
        scratch::look_after();
        self.adopt(&ended);
        let part = self.settle_copies(&ended)?;
        if !ended.is_last {
            return self.show_failed(&ended, part);
        }
        if part == OutputScope::Blamed {
            self.undecided.insert(ended.id);
        }
        self.end_item(ended)
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
        // In a stopped run some turns never come.
        let rest = self.turns.as_mut().map(Turns::rest);
        for ended in rest.into_iter().flatten() {
            self.show(&ended)?;
        }
        self.arrive()?;
        if self.unwritten.is_empty() {
            scratch::note_all_shown();
        }
        Ok(self.unwritten.is_empty() && !self.is_any_lost)
    }
}
