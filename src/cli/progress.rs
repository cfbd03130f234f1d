//! `--progress`: how far the run is, as bars below all other lines or as JSON on stderr.
//!
//! Both are painted from one fold over events, about as often as a person, or a script, looks. The
//! counts cost nothing for each item; who holds what is known where the events of single items are
//! wanted anyway.

mod layout;

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::Show;
use super::expected::Expected;
use super::screen;
use super::view::View;
use crate::observe::progress::Progress;
use crate::observe::{Event, micros};
use dishrack_core::ledger::Counts;

/// Bars are drawn about so often.
const BARS_PAUSE: Duration = Duration::from_millis(100);

/// A line of JSON is written about so often.
const JSON_PAUSE: Duration = Duration::from_secs(1);

/// What a run's progress is made of.
#[derive(Debug)]
pub(super) struct Run {
    /// When its queue was made: the zero of its events' times.
    pub(super) began: Instant,
    /// What its journal had at the beginning.
    pub(super) counts: Counts,
    pub(super) expected: Expected,
    /// Whether events of single items are wanted: they cost time for every item.
    pub(super) wants_items: bool,
}

/// What the run prints on stdout, besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Printed {
    Nothing,
    /// Something now and then, or what jobs write.
    Output,
    /// A line for each item, which is display enough on a terminal.
    Lines,
}

/// What shows the progress, if anything does.
pub(super) fn view(show: Show, printed: Printed, run: Run) -> Option<Box<dyn View>> {
    let is_shown = match show {
        Show::None => false,
        Show::Json => {
            return Some(Box::new(Json {
                fold: Fold::new(run),
            }));
        }
        Show::Auto => printed != Printed::Lines || !screen::is_stdout_terminal(),
        Show::Bar => true,
    };
    if !is_shown || !screen::is_able() {
        return None;
    }
    screen::open();
    let is_polite = show == Show::Auto && printed != Printed::Nothing;
    Some(Box::new(Bars {
        fold: Fold::new(run),
        is_polite,
    }))
}

/// The fold, and what it has to be told besides events.
#[derive(Debug)]
struct Fold {
    run: Run,
    progress: Progress,
    /// When the run itself began, not counting its preparations.
    from: Duration,
}

impl Fold {
    fn new(run: Run) -> Self {
        let from = run.began.elapsed();
        Fold {
            progress: Progress::new(from, run.counts),
            run,
            from,
        }
    }

    /// Brings it up to this moment, which it returns.
    fn tick(&mut self, counts: &Counts) -> Duration {
        let now = self.run.began.elapsed();
        self.progress.count(now, counts);
        let total = self.run.expected.total(self.run.counts.accepted);
        self.progress.expect(total);
        now
    }
}

/// One object a line on stderr.
struct Json {
    fold: Fold,
}

impl View for Json {
    fn wants_items(&self) -> bool {
        self.fold.run.wants_items
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        self.fold.progress.see(event);
        Ok(())
    }

    fn pause(&self) -> Option<Duration> {
        Some(JSON_PAUSE)
    }

    fn tick(&mut self, counts: &Counts) -> io::Result<()> {
        let now = self.fold.tick(counts);
        let line = object(&self.fold.progress, now, self.fold.run.wants_items);
        screen::say(&line.to_string());
        Ok(())
    }
}

/// Where the events of items are not wanted, nobody knows what workers hold and for how long.
fn object(progress: &Progress, now: Duration, knows_items: bool) -> Value {
    let counts = progress.counts();
    let workers = progress.workers().into_iter().map(|(worker, hand)| {
        json!({
            "worker": worker,
            "pid": hand.pid,
            "item": hand.item(),
            "for_us": knows_items.then(|| micros(now.saturating_sub(hand.since))),
        })
    });
    json!({
        "event": "progress",
        "t_us": micros(now),
        "done": counts.done,
        "dead": counts.dead,
        "waiting": counts.waiting + counts.delayed,
        "total": progress.total(),
        "rate_per_s": (progress.rate(now) * 1_000.0).round() / 1_000.0,
        "eta_s": progress.time_left(now).map(|time| time.as_secs()),
        "workers": workers.collect::<Value>(),
    })
}

/// Bars on the terminal.
struct Bars {
    fold: Fold,
    /// It is to be seen, at the first tick, whether somebody else prints on the terminal: not
    /// before, because a shell may not have started them.
    is_polite: bool,
}

impl View for Bars {
    fn wants_items(&self) -> bool {
        self.fold.run.wants_items
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        self.fold.progress.see(event);
        Ok(())
    }

    fn pause(&self) -> Option<Duration> {
        Some(BARS_PAUSE)
    }

    fn tick(&mut self, counts: &Counts) -> io::Result<()> {
        if mem::take(&mut self.is_polite) && screen::has_neighbours() {
            screen::close();
        }
        let now = self.fold.tick(counts);
        let progress = &self.fold.progress;
        let (elapsed, size) = (now.saturating_sub(self.fold.from), screen::size());
        let mut frame = vec![layout::head(progress, now, elapsed, size).line(progress, size)];
        if self.fold.run.wants_items {
            frame.extend(layout::hands(progress, now, size));
        }
        screen::show(frame);
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        screen::close();
        Ok(true)
    }
}
