//! The progress of a run: counts, the item of each worker, a rate, and the time left.
//!
//! It is a pure fold over events and counts; time is a parameter. It does not know the display.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Event, EventKind};
use dishrack_core::ledger::{Counts, ItemId};

/// The shortest time over which the rate is taken.
const WINDOW: Duration = Duration::from_secs(10);

/// The smallest number of ended items over which it is taken, or it would jump with each slow one.
const WINDOW_ENDS: u64 = 30;

/// The shortest time between two samples.
const SAMPLE_PAUSE: Duration = Duration::from_millis(100);

/// The visible state of a run.
#[derive(Debug)]
pub(crate) struct Progress {
    counts: Counts,
    /// The number of items there will be, if it is known.
    total: Option<u64>,
    workers: BTreeMap<Arc<str>, Activity>,
    pace: EndRate,
    /// True once the summary was seen, so later counts are ignored.
    is_over: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Activity {
    pub(crate) pid: u32,
    /// The beginning of its present item, or of its idling.
    pub(crate) since: Duration,
    id: Option<ItemId>,
    /// The item's name. When there is none, only its memory is kept.
    name: String,
}

impl Progress {
    /// Begins a run with these counts: those of its journal, if it goes on with one.
    pub(crate) fn new(at: Duration, counts: Counts) -> Self {
        Progress {
            counts,
            total: None,
            workers: BTreeMap::new(),
            pace: EndRate::new(at, ended(&counts)),
            is_over: false,
        }
    }

    pub(crate) fn see(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::WorkerStarted { worker, pid } => self.hand(worker).begin(*pid, None, at),
            EventKind::ItemStarted {
                id,
                item,
                worker,
                pid,
                ..
            } => self.hand(worker).begin(*pid, Some((*id, item)), at),
            EventKind::ItemDone { id, worker, .. } | EventKind::CopyEnded { id, worker, .. } => {
                if let Some(hand) = self.workers.get_mut(worker) {
                    hand.let_go(*id, at);
                }
            }
            EventKind::Retry { id, .. } | EventKind::Dead { id, .. } => {
                let hands = self.workers.values_mut();
                hands.for_each(|hand| hand.let_go(*id, at));
            }
            EventKind::WorkerExited { worker, .. } => {
                self.workers.remove(worker);
            }
            EventKind::Summary { counts, .. } => {
                self.count(at, counts);
                self.is_over = true;
            }
            _ => {}
        }
    }

    fn hand(&mut self, worker: &Arc<str>) -> &mut Activity {
        self.workers.entry(Arc::clone(worker)).or_default()
    }

    pub(crate) fn count(&mut self, at: Duration, counts: &Counts) {
        if !self.is_over {
            self.counts = *counts;
            self.pace.sample(at, ended(counts));
        }
    }

    /// Sets the number of items there will be, as far as it is known.
    pub(crate) fn expect(&mut self, total: Option<u64>) {
        self.total = total;
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    /// Returns the living workers, in the order of their numbers.
    pub(crate) fn workers(&self) -> Vec<(&str, &Activity)> {
        let workers = self.workers.iter().map(|(name, hand)| (&**name, hand));
        let mut workers: Vec<(&str, &Activity)> = workers.collect();
        // Shorter names come first, so that 10 follows 9.
        workers.sort_by_key(|(name, _)| name.len());
        workers
    }

    pub(crate) fn rate(&self, at: Duration) -> f64 {
        self.pace.rate(at, ended(&self.counts))
    }

    /// Returns the time until all items have ended, at this rate.
    pub(crate) fn time_left(&self, at: Duration) -> Option<Duration> {
        let left = self.total?.saturating_sub(ended(&self.counts));
        if left == 0 {
            return Some(Duration::ZERO);
        }
        // Nothing has ended yet, or the time is too long to express.
        Duration::try_from_secs_f64(in_float(left) / self.rate(at)).ok()
    }
}

impl Activity {
    pub(crate) fn item(&self) -> Option<&str> {
        self.id.map(|_| &*self.name)
    }

    fn begin(&mut self, pid: u32, item: Option<(ItemId, &String)>, at: Duration) {
        (self.pid, self.since) = (pid, at);
        self.id = item.map(|(id, _)| id);
        if let Some((_, name)) = item {
            // Reuse the memory of the last name, because there may be millions.
            self.name.clone_from(name);
        }
    }

    fn let_go(&mut self, id: ItemId, at: Duration) {
        if self.id == Some(id) {
            self.id = None;
            self.since = at;
        }
    }
}

/// Returns the number of items that have their terminal state.
fn ended(counts: &Counts) -> u64 {
    counts.done + counts.dead
}

/// Converts a count; beyond 2^53 items it is not exact.
#[allow(clippy::cast_precision_loss, reason = "a rate is not exact anyway")]
fn in_float(count: u64) -> f64 {
    count as f64
}

/// The number of ended items at several times, back to the beginning of the window.
#[derive(Debug)]
struct EndRate {
    /// Never empty; oldest first.
    samples: VecDeque<(Duration, u64)>,
}

impl EndRate {
    fn new(at: Duration, ended: u64) -> Self {
        EndRate {
            samples: VecDeque::from([(at, ended)]),
        }
    }

    fn sample(&mut self, at: Duration, ended: u64) {
        let is_news = self
            .samples
            .back()
            .is_none_or(|(last, count)| ended > *count && at.saturating_sub(*last) >= SAMPLE_PAUSE);
        if is_news {
            self.samples.push_back((at, ended));
        }
        // The window begins at the last sample that is far enough back in both ways.
        while let Some((begin, count)) = self.samples.get(1) {
            if at.saturating_sub(*begin) < WINDOW || ended.saturating_sub(*count) < WINDOW_ENDS {
                break;
            }
            self.samples.pop_front();
        }
    }

    fn rate(&self, at: Duration, ended: u64) -> f64 {
        let Some((begin, count)) = self.samples.front() else {
            return 0.0;
        };
        let time = at.saturating_sub(*begin);
        match time.is_zero() {
            true => 0.0,
            false => in_float(ended.saturating_sub(*count)) / time.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::spans::story::{self, KILLED, began, born, dead, exited, retry, summary};

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn done(done: u64) -> Counts {
        let mut counts = Counts::default();
        (counts.accepted, counts.done) = (1_000, done);
        counts
    }

    /// Begins a run in which these events happen.
    fn after(events: &[Event]) -> Progress {
        let mut progress = Progress::new(secs(0), done(0));
        events.iter().for_each(|event| progress.see(event));
        progress
    }

    /// Returns each worker with its item and the beginning of its work.
    fn held(progress: &Progress) -> Vec<(String, Option<u64>, u64)> {
        let hands = progress.workers().into_iter();
        hands
            .map(|(name, hand)| {
                let item = hand.item().and_then(|item| item.strip_prefix("item-"));
                let item = item.map(|number| number.parse().unwrap());
                (name.to_owned(), item, hand.since.as_secs())
            })
            .collect()
    }

    #[test]
    fn workers_stand_in_the_order_of_their_numbers() {
        let progress = after(&["w-10", "w-2", "w-1", "w-9"].map(|worker| born(0, worker, 7)));
        let names = progress.workers().into_iter().map(|(name, _)| name);
        let names: Vec<&str> = names.collect();
        assert_eq!(names, ["w-1", "w-2", "w-9", "w-10"]);
    }

    #[test]
    fn a_worker_holds_an_item_from_its_start_to_its_end() {
        let steps = [
            (born(1000, "w-1", 7), None, 1),
            (began(2000, 5, "w-1", 7, 1), Some(5), 2),
            // The acknowledgement of an earlier item comes late.
            (story::done(3000, 4, "w-1", 1000), Some(5), 2),
            (story::done(4000, 5, "w-1", 1000), None, 4),
        ];
        let mut progress = after(&[]);
        for (event, item, since) in steps {
            progress.see(&event);
            assert_eq!(held(&progress), [("w-1".to_owned(), item, since)]);
        }
    }

    #[test]
    fn a_failed_attempt_leaves_the_worker_with_nothing() {
        for end in [retry(3000, 5, "w-1", 1), dead(3000, 5, "w-1", 1)] {
            let progress = after(&[began(2000, 5, "w-1", 7, 1), end]);
            assert_eq!(held(&progress), [("w-1".to_owned(), None, 3)]);
        }
    }

    #[test]
    fn a_worker_that_ended_is_gone_until_it_is_there_again() {
        let exit = exited(3000, "w-1", 7, KILLED);
        let mut progress = after(&[began(2000, 5, "w-1", 7, 1), exit]);
        assert_eq!(held(&progress), []);
        progress.see(&born(4000, "w-1", 7));
        assert_eq!(held(&progress), [("w-1".to_owned(), None, 4)]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut progress = Progress::new(secs(0), done(0));
        progress.expect(Some(1_000));
        assert_eq!(progress.rate(secs(0)), 0.0);
        assert_eq!(progress.time_left(secs(0)), None);
        // Ten a second, and later forty.
        for at in 1..=20 {
            progress.count(secs(at), &done(10 * at));
        }
        assert_eq!(progress.rate(secs(20)), 10.0);
        assert_eq!(progress.time_left(secs(20)), Some(secs(80)));
        for at in 21..=31 {
            progress.count(secs(at), &done(200 + 40 * (at - 20)));
        }
        assert_eq!(progress.rate(secs(31)), 40.0);
        assert_eq!(progress.time_left(secs(31)), Some(secs(9)));
        // Nothing more ends, so the rate falls.
        progress.count(secs(51), &done(640));
        assert!(progress.rate(secs(51)) < 20.0);
    }

    #[test]
    fn slow_items_have_a_steady_rate_as_well() {
        let mut progress = Progress::new(secs(0), done(0));
        for at in 1..=60 {
            progress.count(secs(at * 60), &done(at));
        }
        assert!((progress.rate(secs(3600)) - 1.0 / 60.0).abs() < 1e-9);
        // One sample for each ended item, back to the thirtieth.
        assert_eq!(progress.pace.samples.len(), 31);
    }

    #[test]
    fn few_samples_are_kept_of_fast_items() {
        let mut progress = Progress::new(secs(0), done(0));
        for millis in 1..=100_000 {
            progress.count(Duration::from_millis(millis), &done(millis * 1_000));
        }
        assert!(progress.pace.samples.len() <= 102);
        assert!((progress.rate(secs(100)) - 1e6).abs() < 1.0);
    }

    #[test]
    fn what_an_earlier_run_did_is_no_part_of_the_rate() {
        let mut progress = Progress::new(secs(0), done(600));
        progress.expect(Some(1_000));
        progress.count(secs(4), &done(640));
        assert_eq!(progress.rate(secs(4)), 10.0);
        assert_eq!(progress.time_left(secs(4)), Some(secs(36)));
    }

    #[test]
    fn the_summary_has_the_last_word_on_counts() {
        let mut progress = Progress::new(secs(0), done(0));
        progress.expect(Some(3));
        progress.see(&summary(1000, done(3)));
        progress.count(secs(2), &done(2));
        assert_eq!(progress.counts().done, 3);
        assert_eq!(progress.time_left(secs(2)), Some(secs(0)));
    }
}
