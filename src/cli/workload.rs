//! The workload of a run, as far as it is known, and advice on how to go on if the run did less.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::config::{Config, Purpose};
use super::exit_codes::RunError;
use super::expected::Expected;
use super::{progress, screen};
use crate::{Counts, JoinableQueue};

/// All that is to be done, and the part of it that was done before.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    /// The journal's counts at the beginning.
    pub(super) before: Counts,
    pub(super) expected: Expected,
    scope: Scope,
    /// The advice if something is left undone; taken when it is printed.
    advice: Arc<Mutex<Option<String>>>,
}

/// The items that a run is about.
#[derive(Debug, Clone, Copy)]
enum Scope {
    /// Those of its own queue.
    Own,
    /// All on a stream, whichever process works on them, with the stream's counts at the beginning.
    Stream(Counts),
    /// Those that it takes from a stream.
    Part,
}

impl Workload {
    /// Makes the workload of a run with this queue. `advice` says how to go on if something is left
    /// undone.
    pub(super) fn of<T>(
        queue: &JoinableQueue<T>,
        config: &Config,
        advice: Option<String>,
    ) -> Result<Self, RunError> {
        let scope = match (config.is_shared(), config.purpose) {
            (false, _) => Scope::Own,
            (true, Purpose::All) => Scope::Stream(queue.counts()?),
            (true, Purpose::Work | Purpose::WorkUntilDone | Purpose::Serve) => Scope::Part,
        };
        let before = match scope {
            Scope::Own => queue.counts()?,
            // The counts of this queue begin with nothing.
            Scope::Stream(_) | Scope::Part => Counts::default(),
        };
        let expected = match scope {
            Scope::Own => Expected::default(),
            Scope::Stream(_) | Scope::Part => Expected::never(),
        };
        if let Some(in_source) = config.total {
            expected.set(in_source);
        }
        Ok(Workload {
            before,
            expected,
            scope,
            advice: Arc::new(Mutex::new(advice)),
        })
    }

    /// Returns the number of unfinished items that were on the stream when the run began.
    pub(super) fn found(&self) -> u64 {
        match self.scope {
            Scope::Stream(before) => before.unfinished(),
            Scope::Own | Scope::Part => 0,
        }
    }

    /// Returns the counts of the items that the run is about, as far as they are known.
    pub(super) fn sum<T>(&self, queue: &JoinableQueue<T>) -> Result<Counts, RunError> {
        let here = queue.counts_here()?;
        Ok(match self.scope {
            Scope::Own => here,
            Scope::Stream(before) => since(&before, &queue.counts_known()),
            // Items that were not begun went back to the stream.
            Scope::Part => {
                let mut ended = Counts::default();
                ended.accepted = here.done + here.dead;
                (ended.done, ended.dead) = (here.done, here.dead);
                ended.retries = here.retries;
                ended
            }
        })
    }

    /// Begins the run's progress. `wants_items` asks for single items' events, which cost time for
    /// each.
    pub(super) fn run<T>(
        &self,
        queue: &JoinableQueue<T>,
        wants_items: bool,
    ) -> Result<progress::RunFacts, RunError> {
        Ok(progress::RunFacts {
            began: Instant::now() - queue.elapsed()?,
            counts: self.before,
            expected: self.expected.clone(),
            wants_items,
        })
    }

    /// Says after a signal how to go on, once, if something is left to do.
    pub(super) fn tell_left_undone<T>(&self, queue: &JoinableQueue<T>) {
        let total = self.expected.total(self.before.accepted);
        let counts = queue.counts_known();
        let is_left = total.is_none_or(|total| counts.done + counts.dead < total);
        let mut advice = self.advice.lock();
        if queue.failure().is_none()
            && is_left
            && let Some(advice) = advice.take()
        {
            screen::say_in_time(format!("supervisor: {advice}"));
        }
    }
}

/// Returns the difference of a stream's counts between two moments: what became of the items that
/// were there at the first, and of those that were put since.
fn since(before: &Counts, now: &Counts) -> Counts {
    let since = |now: u64, before: u64| now.saturating_sub(before);
    // A retried letter is unfinished again, and the stream may be an older one.
    let mut counts = *now;
    counts.done = since(now.done, before.done);
    counts.dead = since(now.dead, before.dead);
    counts.accepted = now.unfinished() + counts.done + counts.dead;
    counts.retries = since(now.retries, before.retries);
    counts.refused = since(now.refused, before.refused);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_on_a_stream_counts_what_it_found_and_what_was_put_since() {
        let mut before = Counts::default();
        (before.accepted, before.waiting, before.leased) = (13, 2, 1);
        (before.done, before.dead) = (9, 1);
        let mut now = Counts::default();
        (now.accepted, now.waiting) = (20, 1);
        (now.done, now.dead) = (17, 2);
        let sum = since(&before, &now);
        assert_eq!((sum.accepted, sum.done, sum.dead), (10, 8, 1));
        assert_eq!(sum.unfinished(), 1);
    }
}
