//! What is kept of one row: its bars while they can be told apart, bins for ever.

use std::time::Duration;

use super::bins::Bins;
use crate::observe::spans::{Doing, Mark, MarkKind, Span, SpanEnd};

/// More bars than this are narrower than a few pixels each, and are shown by how many there are.
const BARS_MAX: usize = 300;

/// Marks that keep their words. Further ones are counted.
const MARKS_MAX: usize = 200;

/// Lives that are told apart. A worker that is replaced all the time is taken to live on.
const LIVES_MAX: usize = 100;

/// From when to when a worker lived, if it ended.
pub(super) type Life = (Duration, Option<Duration>);

#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    is_crowded: bool,
    bars: Vec<Span>,
    bins: Bins,
    marks: Vec<Mark>,
    has_wordless_marks: bool,
    lives: Vec<Life>,
    life_count: u64,
    pids: Option<(u32, u32)>,
    done: u64,
    made: u64,
}

impl Row {
    /// A crowded one has no bars.
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

    /// Somebody was busy.
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

    /// From now on this row is shown by its bins.
    pub(super) fn drop_bars(&mut self) {
        self.is_crowded = true;
        self.bars = Vec::new();
    }

    /// Something went wrong. Whether its words are kept.
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

    /// None if they cannot be told apart.
    pub(super) fn bars(&self) -> &[Span] {
        &self.bars
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    pub(super) fn bins(&self) -> &Bins {
        &self.bins
    }

    pub(super) fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// How many items were made and done here.
    pub(super) fn items(&self) -> u64 {
        // Where one makes and does them, they are the same ones.
        self.made.max(self.done)
    }

    /// Whose row it is, in few words.
    pub(super) fn processes(&self) -> String {
        match self.pids {
            None => String::new(),
            Some((first, last)) if first == last => format!("pid {last}"),
            Some((first, last)) if self.life_count == 2 => format!("pid {first}, then {last}"),
            Some((_, last)) => format!("pid {last}, life {}", self.life_count),
        }
    }

    /// When and how often this went wrong, with words where they are kept. In the order of time.
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
