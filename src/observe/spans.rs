//! A run as rows of spans, which show each worker's items and times, and of marks for faults.
//!
//! It is a pure fold over events, for code that draws or lists them. It keeps a beginning until the
//! end comes, so it needs memory for the workers and their present items, and none for what is
//! over. It does not know the use of its rows.

#[cfg(test)]
pub(crate) mod story;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Event, EventKind, clipped};
use dishrack_core::ledger::{Cause, CopyEnd, Exit, Failure, ItemId};

/// The length in characters beyond which names and causes are cut, to bound the memory.
const CHARS_MAX: usize = 200;

/// The names to be shown; the fold itself knows only items and workers.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    pub(crate) title: String,
    /// The producer of the items, if it is to be shown.
    pub(crate) producer: Option<ProducerRow>,
    /// The word for a worker's activity: "Grinding", "Running".
    pub(crate) working: String,
    /// The word for several items.
    pub(crate) items: String,
}

#[derive(Debug, Clone)]
pub(crate) struct ProducerRow {
    /// The name of its row. A worker of the same name shares it.
    pub(crate) name: String,
    /// The word for its activity: "Mixing".
    pub(crate) doing: String,
}

/// The output of the fold, in the order in which it became known. Rows are numbered from 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SpanOutput {
    Row(Arc<str>),
    /// A life of the row's worker began.
    Born {
        row: usize,
        pid: u32,
        at: Duration,
    },
    /// A life of the row's worker is over.
    Gone {
        row: usize,
        at: Duration,
    },
    /// Work on an item is over.
    Span(Span),
    Mark(Mark),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) row: usize,
    pub(crate) pid: u32,
    pub(crate) doing: Doing,
    pub(crate) item: String,
    /// `None` for producing, because it has no number yet.
    pub(crate) id: Option<ItemId>,
    /// 0 for producing.
    pub(crate) attempt: u32,
    /// The number of this copy, if there may be others.
    pub(crate) copy: Option<u32>,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
    pub(crate) outcome: SpanEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Producing,
    Working,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SpanEnd {
    Done,
    /// It is one of several copies of an item, and another one counts.
    Spare(Spare),
    /// The attempt failed, for this reason.
    Failed(String),
    /// It was neither done nor charged, because the run or the worker was stopped.
    BrokenOff,
}

/// The reason for which a copy does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spare {
    /// It came to the result that counts, too.
    Agreed,
    /// It was ended, because it was not needed any more.
    Ended,
    /// It is done, and the attempt came to nothing.
    Void,
}

/// Something that went wrong at a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    /// `None` if no worker had the item.
    pub(crate) row: Option<usize>,
    pub(crate) at: Duration,
    pub(crate) kind: MarkKind,
    /// `None` for a worker without an item.
    pub(crate) item: Option<String>,
    /// The number of attempts that had been made; 0 for a worker.
    pub(crate) attempt: u32,
    pub(crate) why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MarkKind {
    /// An attempt failed, and another one follows.
    Retry,
    /// The last attempt failed.
    DeadLetter,
    /// A worker died, could not be started, or was given up.
    Death,
}

#[derive(Debug)]
struct OpenSpan {
    row: usize,
    pid: u32,
    item: String,
    id: Option<ItemId>,
    attempt: u32,
    copy: Option<u32>,
    start: Duration,
    /// The end of its worker, if the item's fate is still to come.
    orphaned: Option<Duration>,
}

#[derive(Debug, Default)]
pub(crate) struct Spans {
    rows: HashMap<Arc<str>, usize>,
    producer: Option<Arc<str>>,
    producing: Option<OpenSpan>,
    /// By item and copy; 0 for one that is alone.
    open: HashMap<(ItemId, u32), OpenSpan>,
    /// The last worker of each row that has ended, and the time.
    graves: HashMap<usize, (u32, Duration)>,
    last: Duration,
}

impl Spans {
    pub(crate) fn new(labels: &Labels) -> Self {
        Spans {
            producer: labels.producer.as_ref().map(|one| one.name.as_str().into()),
            ..Spans::default()
        }
    }

    pub(crate) fn last(&self) -> Duration {
        self.last
    }

    pub(crate) fn see(&mut self, event: &Event, out: &mut Vec<SpanOutput>) {
        let at = event.at;
        self.last = self.last.max(at);
        if let Some(producer) = self.producer.clone().filter(|_| self.rows.is_empty()) {
            // It comes first, however many workers there are.
            self.row(&producer, out);
        }
        match &event.kind {
            EventKind::WorkerStarted { worker, pid } => self.begin_life(worker, *pid, at, out),
            EventKind::Producing { item, pid } => self.begin_producing(item, *pid, at, out),
            EventKind::Produced { .. } => self.end_producing(at, SpanEnd::Done, out),
            EventKind::NotProduced { .. } => self.end_producing(at, SpanEnd::BrokenOff, out),
            EventKind::ItemStarted {
                id,
                item,
                worker,
                pid,
                attempt,
                copy,
            } => {
                let (row, item) = (self.row(worker, out), cut(item));
                let open = OpenSpan::new(row, *pid, item, (*attempt, *copy), at);
                self.begin(*id, open, out);
            }
            EventKind::ItemDone { id, duration, .. } => {
                self.finish((*id, 0), *duration, SpanEnd::Done, at, out);
            }
            EventKind::CopyEnded {
                id,
                copy,
                end,
                cause,
                duration,
                ..
            } => self.end_copy((*id, *copy), *duration, (end, cause.as_deref()), at, out),
            EventKind::Retry { id, item, failure } => {
                self.fail(*id, item, Some(failure), MarkKind::Retry, at, out);
            }
            EventKind::Dead { id, item, history } => {
                self.fail(*id, item, history.last(), MarkKind::DeadLetter, at, out);
            }
            EventKind::WorkerExited {
                worker,
                pid,
                exit,
                holding,
                is_asked,
            } => {
                let row = self.row(worker, out);
                self.orphan(row, *pid, at);
                out.push(SpanOutput::Gone { row, at });
                if *exit != Exit::Exited(0) && (holding.is_some() || !is_asked) {
                    out.push(death(row, at, holding.as_deref(), &exit.to_string()));
                }
            }
            EventKind::WorkerFailedToStart { worker, why, .. }
            | EventKind::WorkerFailed { worker, why }
            | EventKind::WorkerGivenUp { worker, why } => {
                let row = self.row(worker, out);
                out.push(death(row, at, None, why));
            }
            // All others are not drawn.
            _ => {}
        }
    }

    fn begin_life(&mut self, worker: &Arc<str>, pid: u32, at: Duration, out: &mut Vec<SpanOutput>) {
        let row = self.row(worker, out);
        self.drop_orphans(row, out);
        self.graves.remove(&row);
        out.push(SpanOutput::Born { row, pid, at });
    }

    /// Ends the fold: work that is still open is broken off at the latest time of any event.
    pub(crate) fn end(&mut self, out: &mut Vec<SpanOutput>) {
        let last = self.last;
        self.end_producing(last, SpanEnd::BrokenOff, out);
        let mut rest: Vec<OpenSpan> = self.open.drain().map(|(_, open)| open).collect();
        rest.sort_by_key(|open| (open.row, open.start));
        out.extend(rest.into_iter().map(|open| open.break_off(last)));
    }

    fn row(&mut self, name: &Arc<str>, out: &mut Vec<SpanOutput>) -> usize {
        if let Some(row) = self.rows.get(name) {
            return *row;
        }
        let row = self.rows.len();
        self.rows.insert(Arc::clone(name), row);
        out.push(SpanOutput::Row(cut(name).into()));
        row
    }

    fn begin_producing(
        &mut self,
        item: &str,
        pid: u32,
        start: Duration,
        out: &mut Vec<SpanOutput>,
    ) {
        let Some(producer) = self.producer.clone() else {
            return;
        };
        let open = OpenSpan {
            row: self.row(&producer, out),
            pid,
            item: cut(item),
            id: None,
            attempt: 0,
            copy: None,
            start,
            orphaned: None,
        };
        self.end_producing(start, SpanEnd::BrokenOff, out);
        self.producing = Some(open);
    }

    fn end_producing(&mut self, at: Duration, outcome: SpanEnd, out: &mut Vec<SpanOutput>) {
        if let Some(open) = self.producing.take() {
            out.push(open.close(Doing::Producing, at, outcome));
        }
    }

    fn begin(&mut self, id: ItemId, mut open: OpenSpan, out: &mut Vec<SpanOutput>) {
        // An event that a worker wrote before its end may be read after it.
        let grave = self.graves.get(&open.row);
        let grave = grave.filter(|(dead, _)| *dead == open.pid);
        open.orphaned = grave.map(|(_, at)| *at);
        open.id = Some(id);
        let start = open.start;
        // It went back uncounted, without an event.
        let key = (id, open.copy.unwrap_or(0));
        if let Some(stale) = self.open.insert(key, open) {
            out.push(stale.break_off(start));
        }
    }

    /// Ends work on an item that is done.
    fn finish(
        &mut self,
        key: (ItemId, u32),
        duration: Duration,
        outcome: SpanEnd,
        at: Duration,
        out: &mut Vec<SpanOutput>,
    ) {
        if let Some(open) = self.open.remove(&key) {
            // Several may be acknowledged at once, later than they were done.
            let end = (open.start + duration).min(at);
            out.push(open.close(Doing::Working, end, outcome));
        }
    }

    /// Ends work on one of several copies. What became of the item is told next.
    fn end_copy(
        &mut self,
        key: (ItemId, u32),
        duration: Option<Duration>,
        (end, cause): (&CopyEnd, Option<&Cause>),
        at: Duration,
        out: &mut Vec<SpanOutput>,
    ) {
        let outcome = match end {
            CopyEnd::Counted if cause.is_none() => SpanEnd::Done,
            CopyEnd::Agreed => SpanEnd::Spare(Spare::Agreed),
            CopyEnd::Void => SpanEnd::Spare(Spare::Void),
            CopyEnd::Cancelled => SpanEnd::Spare(Spare::Ended),
            CopyEnd::Counted | CopyEnd::Failed => {
                let cause = cause.map(ToString::to_string);
                SpanEnd::Failed(cut(&cause.unwrap_or_default()))
            }
            CopyEnd::Disagreed { said, counted } => {
                SpanEnd::Failed(cut(&format!("says {said}, and {counted} counts")))
            }
        };
        if let Some(duration) = duration {
            return self.finish(key, duration, outcome, at, out);
        }
        if let Some(open) = self.open.remove(&key) {
            let at = open.orphaned.unwrap_or(at);
            out.push(open.close(Doing::Working, at, outcome));
        }
    }

    /// Ends a failed attempt, if its work had begun.
    fn fail(
        &mut self,
        id: ItemId,
        item: &str,
        failure: Option<&Failure>,
        kind: MarkKind,
        at: Duration,
        out: &mut Vec<SpanOutput>,
    ) {
        let why = failure.map_or(String::new(), |failure| cut(&failure.cause.to_string()));
        let open = self.open.remove(&(id, 0));
        let scene = failure.map(|failure| failure.scene.worker.as_str());
        let row = match (&open, scene) {
            (Some(open), _) => Some(open.row),
            (None, Some(worker)) => self.rows.get(worker).copied(),
            (None, None) => None,
        };
        let at = open.as_ref().and_then(|open| open.orphaned).unwrap_or(at);
        if let Some(open) = open {
            out.push(open.close(Doing::Working, at, SpanEnd::Failed(why.clone())));
        }
        out.push(SpanOutput::Mark(Mark {
            row,
            at,
            kind,
            item: Some(cut(item)),
            attempt: failure.map_or(0, |failure| failure.attempt),
            why,
        }));
    }

    /// Notes that a worker has ended. Later events say if its items failed, are done, or go back.
    fn orphan(&mut self, row: usize, pid: u32, at: Duration) {
        self.graves.insert(row, (pid, at));
        let is_its = |open: &&mut OpenSpan| open.row == row && open.pid == pid;
        for open in self.open.values_mut().filter(is_its) {
            open.orphaned = Some(at);
        }
    }

    /// Breaks off items of ended workers without further events: they went back uncounted.
    fn drop_orphans(&mut self, row: usize, out: &mut Vec<SpanOutput>) {
        let is_meant = |open: &OpenSpan| open.row == row && open.orphaned.is_some();
        let dropped = self.open.extract_if(|_, open| is_meant(open));
        out.extend(dropped.map(|(_, open)| open.break_off(Duration::ZERO)));
    }
}

impl OpenSpan {
    fn new(
        row: usize,
        pid: u32,
        item: String,
        (attempt, copy): (u32, Option<u32>),
        start: Duration,
    ) -> Self {
        OpenSpan {
            row,
            pid,
            item,
            id: None,
            attempt,
            copy,
            start,
            orphaned: None,
        }
    }

    fn close(self, doing: Doing, end: Duration, outcome: SpanEnd) -> SpanOutput {
        SpanOutput::Span(Span {
            row: self.row,
            pid: self.pid,
            doing,
            item: self.item,
            id: self.id,
            attempt: self.attempt,
            copy: self.copy,
            start: self.start,
            end: end.max(self.start),
            outcome,
        })
    }

    /// Ends the work with its worker, or at this time.
    fn break_off(self, at: Duration) -> SpanOutput {
        let end = self.orphaned.unwrap_or(at);
        self.close(Doing::Working, end, SpanEnd::BrokenOff)
    }
}

/// Returns the reason in words.
pub(crate) fn words_of(spare: Spare) -> &'static str {
    match spare {
        Spare::Agreed => "agreed with the copy that counts",
        Spare::Ended => "ended, because it was not needed any more",
        Spare::Void => "done, and no copy counts",
    }
}

fn death(row: usize, at: Duration, item: Option<&str>, why: &str) -> SpanOutput {
    SpanOutput::Mark(Mark {
        row: Some(row),
        at,
        kind: MarkKind::Death,
        item: item.map(cut),
        attempt: 0,
        why: cut(why),
    })
}

/// Cuts a text that is too long.
fn cut(text: &str) -> String {
    clipped(text, CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::story::*;
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn spans(labels: &Labels, events: &[Event]) -> (Vec<Span>, Vec<Mark>) {
        let (mut fold, mut seen) = (Spans::new(labels), Vec::new());
        events.iter().for_each(|event| fold.see(event, &mut seen));
        fold.end(&mut seen);
        let (mut spans, mut marks) = (Vec::new(), Vec::new());
        for shown in seen {
            match shown {
                SpanOutput::Span(span) => spans.push(span),
                SpanOutput::Mark(mark) => marks.push(mark),
                SpanOutput::Row(_) | SpanOutput::Born { .. } | SpanOutput::Gone { .. } => {}
            }
        }
        (spans, marks)
    }

    /// Returns the row, the end and the outcome of the only attempt at work.
    fn only(events: &[Event]) -> (usize, Duration, SpanEnd) {
        let (mut spans, _) = spans(&no_producer(), events);
        assert_eq!(spans.len(), 1, "{spans:?}");
        let span = spans.remove(0);
        (span.row, span.end, span.outcome)
    }

    #[test]
    fn a_killed_worker_ends_its_work_and_keeps_its_row() {
        let (spans, marks) = spans(&labels(), &of_a_kill());
        let working = spans.iter().filter(|span| span.doing == Doing::Working);
        let told: Vec<_> = working
            .map(|span| (span.row, &*span.item, span.start, span.end, span.pid))
            .collect();
        let expected = [
            (1, "item-1", ms(101), ms(250), 11),
            (2, "item-2", ms(201), ms(401), 12),
            (1, "item-1", ms(261), ms(461), 13),
        ];
        assert_eq!(told, expected);
        let kinds: Vec<_> = marks
            .iter()
            .map(|mark| (mark.kind, mark.row, mark.at))
            .collect();
        let expected = [
            (MarkKind::Death, Some(1), ms(250)),
            (MarkKind::Retry, Some(1), ms(250)),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(marks[1].why, "killed by SIGKILL");
    }

    #[test]
    fn an_acknowledgement_that_comes_late_does_not_lengthen_the_work() {
        let events = [began(10, 1, "a", 1, 1), done(90, 1, "a", 5)];
        assert_eq!(only(&events), (0, ms(15), SpanEnd::Done));
        // And none is longer than it can have been.
        let events = [began(10, 1, "a", 1, 1), done(20, 1, "a", 50)];
        assert_eq!(only(&events), (0, ms(20), SpanEnd::Done));
    }

    #[test]
    fn what_was_done_before_a_death_and_read_after_it_is_done() {
        let events = [
            began(10, 1, "a", 1, 1),
            exited(30, "a", 1, KILLED),
            done(31, 1, "a", 5),
        ];
        assert_eq!(only(&events), (0, ms(15), SpanEnd::Done));
    }

    #[test]
    fn what_goes_back_uncounted_is_broken_off_where_its_worker_ended() {
        let gone = [began(10, 1, "a", 1, 1), exited(30, "a", 1, Exit::Exited(0))];
        let events = [&gone[..], &[born(40, "a", 2)]].concat();
        assert_eq!(only(&events), (0, ms(30), SpanEnd::BrokenOff));
        assert_eq!(only(&gone), (0, ms(30), SpanEnd::BrokenOff));
        // Its beginning may be read after its worker's end.
        let events = [
            exited(30, "a", 1, KILLED),
            began(10, 1, "a", 1, 1),
            born(40, "b", 2),
        ];
        assert_eq!(only(&events), (0, ms(30), SpanEnd::BrokenOff));
        let events = [&gone[..], &[began(50, 1, "b", 2, 1), done(60, 1, "b", 10)]].concat();
        let (spans, marks) = spans(&no_producer(), &events);
        assert_eq!(spans[0].outcome, SpanEnd::BrokenOff);
        assert_eq!((spans[1].row, &spans[1].outcome), (1, &SpanEnd::Done));
        assert_eq!(marks, []);
    }

    #[test]
    fn what_is_in_hand_at_the_end_is_broken_off_there() {
        let events = [began(10, 1, "a", 1, 1), born(70, "b", 2)];
        assert_eq!(only(&events), (0, ms(70), SpanEnd::BrokenOff));
    }

    #[test]
    fn the_last_failure_is_a_dead_letter() {
        let events = [began(10, 1, "a", 1, 3), dead(20, 1, "a", 3)];
        let (spans, marks) = spans(&no_producer(), &events);
        assert!(matches!(spans[0].outcome, SpanEnd::Failed(_)));
        let mark = &marks[0];
        assert_eq!((mark.kind, mark.attempt), (MarkKind::DeadLetter, 3));
    }

    #[test]
    fn an_item_that_nobody_had_in_hand_has_no_row() {
        let (spans, marks) = spans(&no_producer(), &[dead(20, 1, "", 0)]);
        assert_eq!((spans.len(), marks[0].row), (0, None));
    }

    #[test]
    fn a_producer_that_is_not_to_be_shown_is_not() {
        let events = [producing(1, "x"), produced(2, "x")];
        assert_eq!(spans(&no_producer(), &events).0, []);
        assert_eq!(spans(&labels(), &events).0.len(), 1);
    }

    #[test]
    fn whoever_makes_and_works_has_one_row() {
        let mut labels = labels();
        labels.producer.as_mut().unwrap().name = "main".into();
        let events = [
            born(0, "main", 1),
            producing(1, "item-1"),
            produced(2, "item-1"),
            began(2, 1, "main", 1, 1),
            done(5, 1, "main", 3),
        ];
        let (spans, _) = spans(&labels, &events);
        assert!(spans.iter().all(|span| span.row == 0), "{spans:?}");
    }

    #[test]
    fn no_name_and_no_cause_fills_the_memory() {
        let (spans, _) = spans(&labels(), &[producing(1, &"ü".repeat(1 << 20))]);
        assert_eq!(spans[0].item.chars().count(), CHARS_MAX + 1);
    }
}
