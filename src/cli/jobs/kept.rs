//! The output of the latest items, kept for whoever asks for it later. It does not know who asks, nor
//! how output is shown.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::ended::AttemptEnd;
use crate::ItemId;
use crate::control::{AttemptEnding, EndBell, FoundEnd, ItemOutputs, OutputPlace, RunOfItem};
use crate::jobs::spool::{CommandRun, OutputStream, Spool};
use dishrack_core::kept::{KeepBounds, KeptEnd, KeptEnds};

/// The bounds for a run that shows the output of its items, too.
pub(super) const BOUNDS_OF_RUN: KeepBounds = KeepBounds {
    items: 1000,
    bytes: 16 * 1024 * 1024,
};

/// The bounds for a queue that stays, whose items' output is shown nowhere else.
pub(super) const BOUNDS_OF_SERVED: KeepBounds = KeepBounds {
    items: 10_000,
    bytes: 1024 * 1024 * 1024,
};

/// The kept ends of items, for those who keep and those who ask.
#[derive(Debug, Clone)]
pub(in crate::cli) struct OutputKeeper(Arc<KeptOutputs>);

#[derive(Debug)]
struct KeptOutputs {
    spool: Spool,
    bounds: KeepBounds,
    ends: Mutex<KeptEnds<AttemptEnding>>,
    bells: Mutex<HashMap<ItemId, Vec<Weak<EndBell>>>>,
}

/// The output of an attempt, when it is handed over.
#[derive(Debug)]
pub(super) enum HandedOutput {
    /// The bytes of stdout and stderr that a log had.
    Bytes([Vec<u8>; 2]),
    /// It stays in its files, which have so many bytes.
    Files(u64),
}

impl OutputKeeper {
    /// Keeps nothing yet. All items up to the last accepted one but the unfinished have ended before.
    pub(super) fn new(
        spool: Spool,
        bounds: KeepBounds,
        accepted: u64,
        unfinished: &BTreeSet<ItemId>,
    ) -> Self {
        let mut ends = KeptEnds::new(bounds);
        ends.handle_earlier(ItemId(accepted), unfinished);
        OutputKeeper(Arc::new(KeptOutputs {
            spool,
            bounds,
            ends: Mutex::new(ends),
            bells: Mutex::default(),
        }))
    }

    /// Keeps an attempt's end and its output. Returns the attempts that are not kept any more and may
    /// have files.
    pub(super) fn keep(&self, ended: &AttemptEnd, output: HandedOutput) -> Vec<CommandRun> {
        let (output, bytes) = match output {
            HandedOutput::Bytes(bytes) => {
                let length = bytes.iter().map(Vec::len).sum::<usize>() as u64;
                (OutputPlace::Memory(Arc::new(bytes)), length)
            }
            HandedOutput::Files(length) => (OutputPlace::Files, length),
        };
        let ending = AttemptEnding {
            item: Arc::clone(&ended.item),
            attempt: ended.attempt,
            worker: Arc::clone(&ended.worker),
            pid: ended.pid,
            started: ended.started,
            ended: ended.started + ended.took,
            exit: ended.exit,
            cause: ended.cause.clone(),
            is_last: ended.is_last,
            output,
            bytes,
        };
        let weight = bytes + ended.item.len() as u64;
        let gone = self
            .0
            .ends
            .lock()
            .handle_end(ended.id, weight, ending.clone());
        // Whoever follows it has it before another end makes it go.
        self.0.ring(ended.id, ending);
        let same = ended.run();
        with_files(gone).filter(|run| *run != same).collect()
    }

    /// Keeps no output in files any more, because there is no room for new ones. Returns the attempts
    /// that have some.
    pub(super) fn make_room(&self) -> Vec<CommandRun> {
        let is_in_files = |ending: &AttemptEnding| matches!(ending.output, OutputPlace::Files);
        with_files(self.0.ends.lock().handle_lack(is_in_files)).collect()
    }

    /// Returns it for those who ask.
    pub(in crate::cli) fn for_clients(&self) -> Arc<dyn ItemOutputs> {
        Arc::clone(&self.0) as _
    }
}

/// Returns the attempts that may have files.
fn with_files(gone: Vec<(ItemId, AttemptEnding)>) -> impl Iterator<Item = CommandRun> {
    gone.into_iter()
        .filter_map(|(id, ending)| match ending.output {
            OutputPlace::Memory(_) => None,
            OutputPlace::Files => Some(CommandRun {
                id,
                attempt: ending.attempt,
                pid: ending.pid,
            }),
        })
}

impl KeptOutputs {
    fn ring(&self, id: ItemId, ending: AttemptEnding) {
        let mut bells = self.bells.lock();
        if bells.is_empty() {
            return;
        }
        let Some(of_item) = bells.get_mut(&id) else {
            return;
        };
        of_item.retain(|bell| bell.strong_count() > 0);
        for bell in of_item.iter().filter_map(Weak::upgrade) {
            bell.ring(ending.clone());
        }
    }

    fn open_own(&self, attempt: RunOfItem) -> [Option<File>; 2] {
        let run = CommandRun {
            id: attempt.id,
            attempt: attempt.attempt,
            pid: attempt.pid,
        };
        // What cannot be opened is told as what is not there.
        OutputStream::BOTH.map(|stream| self.spool.open(run, stream).unwrap_or(None))
    }
}

impl ItemOutputs for KeptOutputs {
    fn ended(&self, id: ItemId) -> FoundEnd {
        match self.ends.lock().find(id) {
            KeptEnd::Kept(ending) => FoundEnd::Kept(ending.clone()),
            KeptEnd::Gone => FoundEnd::Gone,
            KeptEnd::Unseen => FoundEnd::Unseen,
        }
    }

    fn open_running(&self, attempt: RunOfItem) -> [Option<File>; 2] {
        if self.spool.is_copied() {
            return [None, None];
        }
        let own = self.open_own(attempt);
        match own.iter().any(Option::is_some) || !self.spool.is_logged() {
            true => own,
            false => self.spool.open_pair(attempt.pid),
        }
    }

    fn open_ended(&self, attempt: RunOfItem) -> [Option<File>; 2] {
        self.open_own(attempt)
    }

    fn folder(&self) -> &Path {
        self.spool.folder()
    }

    fn may_be_of(&self, file: &[u8], id: ItemId) -> bool {
        let number = id.to_string();
        let is_own = file
            .strip_prefix(number.as_bytes())
            .is_some_and(|rest| rest.starts_with(b"."));
        // A worker's pair is that of one item after the other.
        is_own || file.starts_with(b"w") && self.spool.is_logged()
    }

    fn on_end(&self, id: ItemId, bell: &Arc<EndBell>) {
        let mut bells = self.bells.lock();
        bells.retain(|_, of_item| of_item.iter().any(|bell| bell.strong_count() > 0));
        bells.entry(id).or_default().push(Arc::downgrade(bell));
    }

    fn bounds(&self) -> String {
        let KeepBounds { items, bytes } = self.bounds;
        let mib = bytes / (1024 * 1024);
        format!("that of the latest {items} items, and {mib} MiB")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn end(id: u64) -> AttemptEnd {
        AttemptEnd {
            id: ItemId(id),
            item: "x".into(),
            attempt: 1,
            worker: "worker-1".into(),
            pid: 7,
            has_worker_died: false,
            started: Duration::ZERO,
            took: Duration::ZERO,
            exit: None,
            cause: None,
            is_last: true,
            at: Duration::ZERO,
        }
    }

    #[test]
    fn the_files_of_what_is_not_kept_any_more_are_named_and_no_others() {
        let bounds = KeepBounds {
            items: 2,
            bytes: 1000,
        };
        let keeper = OutputKeeper::new(Spool::default(), bounds, 0, &BTreeSet::new());
        let files = || HandedOutput::Files(1);
        assert!(keeper.keep(&end(1), files()).is_empty());
        let bytes = HandedOutput::Bytes([b"out".to_vec(), Vec::new()]);
        assert!(keeper.keep(&end(2), bytes).is_empty());
        assert_eq!(keeper.keep(&end(3), files()), [end(1).run()]);
        // What was in memory has none.
        assert!(keeper.keep(&end(4), files()).is_empty());
        // Its files are those that are kept now.
        assert!(keeper.keep(&end(4), files()).is_empty());
        let later = AttemptEnd {
            attempt: 2,
            ..end(4)
        };
        assert_eq!(keeper.keep(&later, files()), [end(4).run()]);
        let asked = keeper.for_clients();
        assert!(matches!(asked.ended(ItemId(1)), FoundEnd::Gone));
        assert!(matches!(asked.ended(ItemId(5)), FoundEnd::Unseen));
        assert!(matches!(asked.ended(ItemId(4)), FoundEnd::Kept(end) if end.attempt == 2));
    }

    #[test]
    fn a_bell_rings_at_an_end_of_its_item_alone() {
        let keeper = OutputKeeper::new(Spool::default(), BOUNDS_OF_RUN, 0, &BTreeSet::new());
        let (mine, other) = (Arc::new(EndBell::default()), Arc::new(EndBell::default()));
        let asked = keeper.for_clients();
        asked.on_end(ItemId(1), &mine);
        asked.on_end(ItemId(2), &other);
        keeper.keep(&end(1), HandedOutput::Files(0));
        let has_rung = |bell: &EndBell| bell.has_rung();
        assert!(has_rung(&mine) && !has_rung(&other));
    }
}
