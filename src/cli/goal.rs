//! What a run is to do in all, as far as that is known, and how to go on where it did less.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::config::{Config, Purpose};
use super::exit_codes::Failure;
use super::expected::Expected;
use super::{progress, screen};
use crate::queue::JoinableQueue;
use dishrack_core::ledger::Counts;

/// What is to be done in all, and what was done before.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// What the journal had at the beginning.
    pub(super) before: Counts,
    pub(super) expected: Expected,
    scope: Scope,
    /// What is said if something is left undone; taken by whoever says it.
    advice: Arc<Mutex<Option<String>>>,
}

/// Which items a run is about.
#[derive(Debug, Clone, Copy)]
enum Scope {
    /// Those of its queue, which nobody else has.
    Own,
    /// All on a stream, whoever works on them; it stood like this at the beginning.
    Stream(Counts),
    /// Those that it gets from a stream.
    Part,
}

impl Goal {
    /// The goal of a run that begins with this queue. `advice`: how to go on where some items are
    /// left undone, if that is to be said.
    pub(super) fn of<T>(
        queue: &JoinableQueue<T>,
        config: &Config,
        advice: Option<String>,
    ) -> Result<Self, Failure> {
        let scope = match (config.is_shared(), config.purpose) {
            (false, _) => Scope::Own,
            (true, Purpose::All) => Scope::Stream(queue.counts()?),
            (true, Purpose::Work | Purpose::WorkUntilDone) => Scope::Part,
        };
        let before = match scope {
            Scope::Own => queue.counts()?,
            // What is counted here begins with nothing.
            Scope::Stream(_) | Scope::Part => Counts::default(),
        };
        let expected = match scope {
            Scope::Own => Expected::default(),
            Scope::Stream(_) | Scope::Part => Expected::never(),
        };
        if let Some(in_source) = config.total {
            expected.set(in_source);
        }
        Ok(Goal {
            before,
            expected,
            scope,
            advice: Arc::new(Mutex::new(advice)),
        })
    }

    /// Items that were unfinished on the stream when the run began.
    pub(super) fn found(&self) -> u64 {
        match self.scope {
            Scope::Stream(before) => before.unfinished(),
            Scope::Own | Scope::Part => 0,
        }
    }

    /// What came of the items that the run is about, as far as is known.
    pub(super) fn sum<T>(&self, queue: &JoinableQueue<T>) -> Result<Counts, Failure> {
        let here = queue.counts_here()?;
        Ok(match self.scope {
            Scope::Own => here,
            Scope::Stream(before) => since(&before, &queue.counts_known()),
            // What was not begun went back.
            Scope::Part => Counts {
                accepted: here.done + here.dead,
                done: here.done,
                dead: here.dead,
                retries: here.retries,
                ..Counts::default()
            },
        })
    }

    /// What the run's progress is made of. `wants_items`: whether events of single items are
    /// wanted, which cost time for every item.
    pub(super) fn run<T>(
        &self,
        queue: &JoinableQueue<T>,
        wants_items: bool,
    ) -> Result<progress::Run, Failure> {
        Ok(progress::Run {
            began: Instant::now() - queue.elapsed()?,
            counts: self.before,
            expected: self.expected.clone(),
            wants_items,
        })
    }

    /// A signal ended the run: says how to go on, once, if there is something left to do.
    pub(super) fn tell_left_undone<T>(&self, queue: &JoinableQueue<T>) {
        let total = self.expected.total(self.before.accepted);
        let counts = queue.counts_known();
        let is_left = total.is_none_or(|total| counts.done + counts.dead < total);
        let mut advice = self.advice.lock();
        if !queue.is_store_broken()
            && is_left
            && let Some(advice) = advice.take()
        {
            screen::say_in_time(format!("supervisor: {advice}"));
        }
    }
}

/// What became of a stream's items between two moments: those that were there at the first, and
/// those that were put since.
fn since(before: &Counts, now: &Counts) -> Counts {
    let since = |now: u64, before: u64| now.saturating_sub(before);
    // A letter that is tried again is unfinished again, and the stream may be an older one.
    let (done, dead) = (since(now.done, before.done), since(now.dead, before.dead));
    Counts {
        accepted: now.unfinished() + done + dead,
        waiting: now.waiting,
        leased: now.leased,
        delayed: now.delayed,
        done,
        dead,
        retries: since(now.retries, before.retries),
        refused: since(now.refused, before.refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_on_a_stream_counts_what_it_found_and_what_was_put_since() {
        let before = Counts {
            accepted: 13,
            waiting: 2,
            leased: 1,
            done: 9,
            dead: 1,
            ..Counts::default()
        };
        let now = Counts {
            accepted: 20,
            waiting: 1,
            done: 17,
            dead: 2,
            ..Counts::default()
        };
        let sum = since(&before, &now);
        assert_eq!((sum.accepted, sum.done, sum.dead), (10, 8, 1));
        assert_eq!(sum.unfinished(), 1);
    }
}
