//! The data of one row: its bars while they can be told apart, and its bins.

use std::time::Duration;

use super::bins::Bins;
use crate::observe::spans::{Doing, Mark, MarkKind, Span, SpanEnd};

/// The greatest number of bars; more would be narrower than a few pixels, so bins replace them.
const BARS_MAX: usize = 300;

/// The number of marks that keep their words. Further ones are only counted.
const MARKS_MAX: usize = 200;

/// The number of lives that are told apart. A worker that is always replaced is taken to live on.
const LIVES_MAX: usize = 100;

/// The beginning of a worker's life, and its end, if it ended.
pub(super) type LifeSpan = (Duration, Option<Duration>);

#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    is_crowded: bool,
    bars: Vec<Span>,
    bins: Bins,
    marks: Vec<Mark>,
    has_wordless_marks: bool,
    lives: Vec<LifeSpan>,
    life_count: u64,
    pids: Option<(u32, u32)>,
    done: u64,
    made: u64,
}

impl Row {
    /// Makes an empty row. A crowded one has no bars.
    pub(super) fn new(name: String, is_crowded: bool) -> Self {
        Row {
            name,
            is_crowded,
            ..Row::default()
        }
    }

    pub(super) fn begin_life(&mut self, pid: u32, at: Duration) {
        self.life_count += 1;
        self.pids = Some((self.pids.map_or(pid, |(first, _)| first), pid));
        if self.lives.len() < LIVES_MAX {
            self.lives.push((at, None));
        } else if let Some(last) = self.lives.last_mut() {
            last.1 = None;
        }
    }

    pub(super) fn end_life(&mut self, at: Duration) {
        if let Some((_, end)) = self.lives.last_mut() {
            *end = Some(at);
        }
    }

    pub(super) fn add(&mut self, span: Span) {
        self.bins.add(span.doing, span.start, span.end);
        match (span.doing, &span.outcome) {
            (Doing::Producing, SpanEnd::Done) => self.made += 1,
            (Doing::Working, SpanEnd::Done) => self.done += 1,
            _ => {}
        }
        if self.pids.is_none() {
            self.pids = Some((span.pid, span.pid));
        }
        if self.is_crowded {
            return;
        }
        self.bars.push(span);
        if self.bars.len() > BARS_MAX {
            self.drop_bars();
        }
    }

    /// Drops the bars: from now on this row is shown by its bins.
    pub(super) fn drop_bars(&mut self) {
        self.is_crowded = true;
        self.bars = Vec::new();
    }

    /// Adds a mark. Returns `true` if its words are kept.
    pub(super) fn mark(&mut self, mark: Mark, keeps_words: bool) -> bool {
        self.bins.mark(mark.kind, mark.at);
        let is_kept = keeps_words && self.marks.len() < MARKS_MAX;
        if is_kept {
            self.marks.push(mark);
        } else {
            self.has_wordless_marks = true;
        }
        is_kept
    }

    /// Returns the bars; none if they cannot be told apart.
    pub(super) fn bars(&self) -> &[Span] {
        &self.bars
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    pub(super) fn bins(&self) -> &Bins {
        &self.bins
    }

    pub(super) fn lives(&self) -> &[LifeSpan] {
        &self.lives
    }

    pub(super) fn items(&self) -> u64 {
        // If one row makes and does items, they are the same ones.
        self.made.max(self.done)
    }

    /// Returns the processes of the row, in few words.
    pub(super) fn processes(&self) -> String {
        match self.pids {
            None => String::new(),
            Some((first, last)) if first == last => format!("pid {last}"),
            Some((first, last)) if self.life_count == 2 => format!("pid {first}, then {last}"),
            Some((_, last)) => format!("pid {last}, life {}", self.life_count),
        }
    }

    /// Returns the marks of this kind in the order of time, with words where they are kept.
    pub(super) fn marks(&self, kind: MarkKind) -> Vec<Notch<'_>> {
        let mut notches: Vec<Notch<'_>> = if self.has_wordless_marks {
            let counted = self.bins.marks(kind);
            counted
                .map(|(at, count)| Notch {
                    at,
                    count,
                    mark: None,
                })
                .collect()
        } else {
            let kept = self.marks.iter().filter(|mark| mark.kind == kind);
            kept.map(|mark| Notch {
                at: mark.at,
                count: 1,
                mark: Some(mark),
            })
            .collect()
        };
        notches.sort_by_key(|notch| notch.at);
        notches
    }
}

/// A mark, or several of which only the number is known.
#[derive(Debug, Clone)]
pub(super) struct Notch<'a> {
    pub(super) at: Duration,
    pub(super) count: u32,
    pub(super) mark: Option<&'a Mark>,
}
