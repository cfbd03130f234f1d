//! The view of a queue that stays: it keeps the ends of the latest items with their output, and shows
//! none. What it keeps outlives the run: the ends in the journal, as those of attempts that were not
//! shown, and the output in its files. It does not know who asks for it.
//!
//! A command has its files before it is begun. So files of an attempt of which the journal has no
//! end say, after a kill, that the attempt was begun.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::ended::AttemptEnd;
use super::kept::{HandedOutput, OutputKeeper};
use crate::ItemId;
use crate::cli::scratch;
use crate::cli::view::View;
use crate::cli::work::{OnShown, Origin};
use crate::jobs::spool::{CommandRun, OutputStream, Spool};
use crate::observe::Event;

/// Keeps what has ended.
#[derive(Clone)]
pub(super) struct History {
    spool: Spool,
    keeper: OutputKeeper,
    /// Has the journal forget an end.
    forget: OnShown,
}

impl History {
    /// Goes on with what earlier runs have kept. Returns also the items that were begun by a run that
    /// was killed.
    pub(super) fn resume(
        spool: Spool,
        keeper: OutputKeeper,
        origin: &Origin,
    ) -> (Self, Vec<ItemId>) {
        let mut ends: Vec<AttemptEnd> = origin.unshown.iter().filter_map(AttemptEnd::of).collect();
        ends.sort_by_key(|end| end.started + end.took);
        let over = ends.iter().map(|end| (end.id, end.attempt)).collect();
        let begun = match origin.was_left {
            true => begun(spool.attempts(), &over, &origin.unfinished),
            false => BTreeSet::new(),
        };
        let of_begun = begun.iter().map(|&(id, attempt)| CommandRun {
            id,
            attempt,
            pid: 0,
        });
        let wanted = ends.iter().map(AttemptEnd::run).chain(of_begun).collect();
        spool.keep_only(&wanted);
        let history = History {
            spool,
            keeper,
            forget: Arc::clone(&origin.shown),
        };
        ends.iter().for_each(|end| history.keep(end));
        (history, begun.into_iter().map(|(id, _)| id).collect())
    }

    fn keep(&self, ended: &AttemptEnd) {
        let length = |stream| match self.spool.open_measured(ended.run(), stream) {
            Ok(Some((_, length))) => length,
            // What cannot be read is told where it is asked for.
            Ok(None) | Err(_) => 0,
        };
        let bytes = OutputStream::BOTH.map(length).iter().sum();
        let gone = self.keeper.keep(ended, HandedOutput::Files(bytes));
        if gone.is_empty() {
            return;
        }
        for run in &gone {
            for stream in OutputStream::BOTH {
                self.spool.remove(*run, stream);
            }
        }
        let gone: Vec<(ItemId, u32)> = gone.iter().map(|run| (run.id, run.attempt)).collect();
        (self.forget)(&gone);
    }
}

/// Returns the attempts that have files and no end, of items that have none.
fn begun(
    mut attempts: BTreeSet<(ItemId, u32)>,
    over: &BTreeSet<(ItemId, u32)>,
    unfinished: &BTreeSet<ItemId>,
) -> BTreeSet<(ItemId, u32)> {
    attempts.retain(|attempt| unfinished.contains(&attempt.0) && !over.contains(attempt));
    // An item is at one attempt at a time: the last.
    let last = |one: &(ItemId, u32)| {
        let later = (one.0, one.1.saturating_add(1))..=(one.0, u32::MAX);
        attempts.range(later).next().is_none()
    };
    attempts.iter().copied().filter(last).collect()
}

impl View for History {
    fn see(&mut self, event: &Event) -> io::Result<()> {
        if let Some(ended) = AttemptEnd::of(event) {
            scratch::look_after();
            self.keep(&ended);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_files_and_no_end_was_begun() {
        let set = |all: &[(u64, u32)]| all.iter().map(|(id, n)| (ItemId(*id), *n)).collect();
        let files = set(&[(1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (5, 1), (5, 2)]);
        let over = set(&[(1, 1), (2, 1), (4, 1)]);
        let unfinished = [2, 4, 5, 6].map(ItemId).into();
        // Item 1 and 3 have ended, 4 rests, 6 was never begun.
        let found: Vec<(u64, u32)> = begun(files, &over, &unfinished)
            .into_iter()
            .map(|(id, attempt)| (id.0, attempt))
            .collect();
        assert_eq!(found, [(2, 2), (5, 2)]);
    }
}
