//! A run as a time chart: the pure fold that keeps the data, and the drawing of it.
//!
//! It keeps the bars of a row while they are few enough to be told apart, and always the row's
//! activity in a fixed number of bins, so a long run needs no more memory than a short one. It does
//! not know where the picture goes.

mod axis;
mod bins;
mod canvas;
mod chart;
mod row;
mod shapes;
pub(crate) mod svg;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use super::spans::{Labels, Mark, Span, SpanOutput, Spans};
use super::{Event, EventKind, text};
pub(crate) use canvas::{BEGINNING, grouped};
use dishrack_core::ledger::Counts;
use row::Row;

/// The number of workers with rows of their own; the others share one row.
const ROWS_MAX: usize = 240;

/// The greatest number of bars in all rows together.
const BARS_MAX: usize = 4000;

/// The greatest number of marks in all rows together that keep their words.
const MARKS_MAX: usize = 2000;

#[derive(Debug)]
pub(crate) struct Timeline {
    labels: Labels,
    spans: Spans,
    seen: Vec<SpanOutput>,
    rows: Vec<Row>,
    /// The common row of all workers beyond [`ROWS_MAX`].
    others: Row,
    others_count: u32,
    is_crowded: bool,
    bars_kept: usize,
    marks_kept: usize,
    summary: Option<(Counts, u64, Duration)>,
    loss: Option<String>,
}

impl Timeline {
    pub(crate) fn new(labels: Labels) -> Self {
        Timeline {
            spans: Spans::new(&labels),
            labels,
            seen: Vec::new(),
            rows: Vec::new(),
            others: Row::new(String::new(), true),
            others_count: 0,
            is_crowded: false,
            bars_kept: 0,
            marks_kept: 0,
            summary: None,
            loss: None,
        }
    }

    pub(crate) fn see(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Summary {
                counts,
                restarts,
                elapsed,
            } => self.summary = Some((*counts, *restarts, *elapsed)),
            EventKind::NoWorkersLeft { why } | EventKind::JournalFailed { why } => {
                self.loss = Some(why.clone());
            }
            _ => {}
        }
        self.spans.see(event, &mut self.seen);
        self.keep_seen();
    }

    /// Ends the fold: work that is still open is broken off.
    pub(crate) fn end(&mut self) {
        self.spans.end(&mut self.seen);
        self.keep_seen();
    }

    /// Returns the end of the run, or the time of the last event.
    pub(crate) fn length(&self) -> Duration {
        match self.summary {
            Some((.., elapsed)) => elapsed,
            None => self.spans.last(),
        }
    }

    /// Returns the outcome of all items in words.
    fn outcome(&self) -> String {
        let outcome = match &self.summary {
            None => "broken off before it could be summed up".into(),
            Some((counts, restarts, elapsed)) => {
                text::summary(&self.labels.items, counts, *restarts, *elapsed)
            }
        };
        match &self.loss {
            None => outcome,
            Some(why) => format!("{outcome}; {why}"),
        }
    }

    fn keep_seen(&mut self) {
        let mut seen = std::mem::take(&mut self.seen);
        for shown in seen.drain(..) {
            self.keep(shown);
        }
        // Its memory serves for the next event.
        self.seen = seen;
    }

    fn keep(&mut self, shown: SpanOutput) {
        match shown {
            SpanOutput::Row(name) if self.rows.len() < ROWS_MAX => {
                self.rows.push(Row::new(name.to_string(), self.is_crowded));
            }
            SpanOutput::Row(_) => self.others_count += 1,
            SpanOutput::Born { row, pid, at } => self.row(row).begin_life(pid, at),
            SpanOutput::Gone { row, at } => self.row(row).end_life(at),
            SpanOutput::Span(span) => self.keep_span(span),
            SpanOutput::Mark(mark) => self.keep_mark(mark),
        }
    }

    fn row(&mut self, row: usize) -> &mut Row {
        self.rows.get_mut(row).unwrap_or(&mut self.others)
    }

    fn keep_span(&mut self, span: Span) {
        let row = self.row(span.row);
        let before = row.bars().len();
        row.add(span);
        let after = row.bars().len();
        self.bars_kept = self.bars_kept + after - before;
        if self.bars_kept > BARS_MAX {
            // All rows at once, so that they look alike.
            self.is_crowded = true;
            self.rows.iter_mut().for_each(Row::drop_bars);
            self.bars_kept = 0;
        }
    }

    fn keep_mark(&mut self, mark: Mark) {
        let keeps_words = self.marks_kept < MARKS_MAX;
        // A mark without a worker goes to the first row.
        let row = self.row(mark.row.unwrap_or(0));
        self.marks_kept += usize::from(row.mark(mark, keeps_words));
    }
}
