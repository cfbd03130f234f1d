//! `--progress`: shows the progress of the run, as bars below all other lines or as JSON on stderr.
//!
//! Both are made from one fold over events, as often as a person, or a script, looks. The counts
//! cost nothing for each item. The workers' items are shown if single items' events are wanted
//! anyway.

mod layout;

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::Show;
use super::expected::Expected;
use super::screen;
use super::view::View;
use crate::Counts;
use crate::observe::progress::Progress;
use crate::observe::{Event, micros};

/// The time between two drawings of the bars, about.
const BARS_PAUSE: Duration = Duration::from_millis(100);

/// The time between two lines of JSON, about.
const JSON_PAUSE: Duration = Duration::from_secs(1);

/// The facts of a run that its progress needs.
#[derive(Debug)]
pub(super) struct RunFacts {
    /// The time at which its queue was made, the zero of its events' times.
    pub(super) began: Instant,
    /// The journal's counts at the beginning.
    pub(super) counts: Counts,
    pub(super) expected: Expected,
    /// True if events of single items are wanted. They cost time for every item.
    pub(super) wants_items: bool,
}

/// The run's output on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StdoutUse {
    Nothing,
    /// Occasional lines, or the output of jobs.
    Output,
    /// A line for each item, which is display enough on a terminal.
    Lines,
}

/// Returns the view of the progress, if one is wanted.
pub(super) fn view(show: Show, printed: StdoutUse, run: RunFacts) -> Option<Box<dyn View>> {
    let is_shown = match show {
        Show::None => false,
        Show::Json => return Some(Box::new(ProgressView::new(run, ProgressForm::Json))),
        Show::Auto => printed != StdoutUse::Lines || !screen::is_stdout_terminal(),
        Show::Bar => true,
    };
    if !is_shown || !screen::is_able() {
        return None;
    }
    screen::open();
    let is_polite = show == Show::Auto && printed != StdoutUse::Nothing;
    Some(Box::new(ProgressView::new(
        run,
        ProgressForm::Bars { is_polite },
    )))
}

#[derive(Debug)]
enum ProgressForm {
    Json,
    Bars {
        /// True if the first tick has to check whether another program prints on the terminal. A
        /// shell may not have started it before.
        is_polite: bool,
    },
}

/// The fold, with the facts that events do not bring.
#[derive(Debug)]
struct ProgressView {
    run: RunFacts,
    progress: Progress,
    /// The beginning of the run itself, after its preparations.
    from: Duration,
    form: ProgressForm,
}

impl ProgressView {
    fn new(run: RunFacts, form: ProgressForm) -> Self {
        let from = run.began.elapsed();
        ProgressView {
            progress: Progress::new(from, run.counts),
            run,
            from,
            form,
        }
    }

    fn frame(&self, now: Duration) -> Vec<String> {
        let progress = &self.progress;
        let (elapsed, size) = (now.saturating_sub(self.from), screen::size());
        let mut frame = vec![layout::head(progress, now, elapsed, size).line(progress, size)];
        if self.run.wants_items {
            frame.extend(layout::hands(progress, now, size));
        }
        frame
    }
}

impl View for ProgressView {
    fn wants_items(&self) -> bool {
        self.run.wants_items
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        self.progress.see(event);
        Ok(())
    }

    fn pause(&self) -> Option<Duration> {
        Some(match self.form {
            ProgressForm::Json => JSON_PAUSE,
            ProgressForm::Bars { .. } => BARS_PAUSE,
        })
    }

    fn tick(&mut self, counts: &Counts) -> io::Result<()> {
        if let ProgressForm::Bars { is_polite } = &mut self.form
            && mem::take(is_polite)
            && screen::has_neighbours()
        {
            screen::close();
        }
        let now = self.run.began.elapsed();
        self.progress.count(now, counts);
        let total = self.run.expected.total(self.run.counts.accepted);
        self.progress.expect(total);
        match self.form {
            ProgressForm::Json => {
                let line = object(&self.progress, now, self.run.wants_items);
                screen::say(&line.to_string());
            }
            ProgressForm::Bars { .. } => screen::show(self.frame(now)),
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        // It does nothing where no bars are.
        screen::close();
        Ok(true)
    }
}

/// Makes the object. Without the events of items, the workers' items and times are left out.
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
