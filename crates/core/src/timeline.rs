//! The latest attempts of a run, as the bars of a time chart.
//!
//! So many are kept, and of older ones nothing. Attempts of less than a millisecond are joined with their
//! neighbours as they come, and bars of one worker are joined further for whoever wants no more than so many,
//! so neither memory nor an answer grows with the items. It knows neither a clock nor who looks.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashMap;
use slotmap::SecondaryMap;

use crate::ledger::{HolderId, ItemId};

/// The number of bars that are kept.
pub const BARS_MAX: usize = 10_000;

/// The length below which attempts that are done are joined, and the gap that may be between them.
const SHORT: Duration = Duration::from_millis(1);

/// The length that a bar of joined attempts may have.
const JOINED_MAX: Duration = Duration::from_millis(10);

/// The number of steps into which a time is divided at first, to join what begins in the same one.
const STEPS: u32 = 4096;

/// An attempt of a worker, or several that follow each other. Times are since 1970 (UTC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptBar {
    /// The worker's name.
    pub worker: Arc<str>,
    /// The worker's process.
    pub pid: u32,
    /// The item with the lowest number.
    pub first: ItemId,
    /// The item with the highest number.
    pub last: ItemId,
    /// The number of attempts.
    pub attempts: u64,
    /// The number of those that failed.
    pub failed: u64,
    /// The number of the first attempt of its item.
    pub attempt: u32,
    /// The cause of the last failure.
    pub cause: Option<Arc<str>>,
    /// The beginning of the first attempt.
    pub started: Duration,
    /// The end of the last one.
    pub ended: Duration,
}

impl AttemptBar {
    /// Returns the length.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.ended.saturating_sub(self.started)
    }

    /// Returns `true` if both are short, and no more than a short time is between them.
    fn is_followed_closely_by(&self, next: &AttemptBar) -> bool {
        let mean = |bar: &AttemptBar| {
            let attempts = u32::try_from(bar.attempts).unwrap_or(u32::MAX);
            bar.length() / attempts.max(1)
        };
        self.failed + next.failed == 0
            && mean(self) < SHORT
            && mean(next) < SHORT
            && next.started.saturating_sub(self.ended) < SHORT
            && next.ended.saturating_sub(self.started) <= JOINED_MAX
    }

    fn join(&mut self, next: AttemptBar) {
        self.first = self.first.min(next.first);
        self.last = self.last.max(next.last);
        self.attempts += next.attempts;
        self.failed += next.failed;
        self.cause = next.cause.or(self.cause.take());
        self.started = self.started.min(next.started);
        self.ended = self.ended.max(next.ended);
        self.pid = next.pid;
    }
}

/// The latest bars, in the order in which they were told of.
#[derive(Debug)]
pub struct LatestBars {
    bars: VecDeque<AttemptBar>,
    /// The number of bars that were forgotten.
    forgotten: u64,
    /// The last bar of each holder, by its number from the beginning.
    last: SecondaryMap<HolderId, u64>,
    known_since: Duration,
}

impl LatestBars {
    /// Begins to keep bars at this time.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        LatestBars {
            bars: VecDeque::new(),
            forgotten: 0,
            last: SecondaryMap::new(),
            known_since: now,
        }
    }

    /// Returns the time since when all bars that have ended are kept.
    #[must_use]
    pub fn known_since(&self) -> Duration {
        self.known_since
    }

    /// Keeps a bar of this holder.
    pub fn handle_ended(&mut self, holder: HolderId, bar: AttemptBar) {
        let before = self
            .last
            .get(holder)
            .and_then(|number| number.checked_sub(self.forgotten))
            .and_then(|place| self.bars.get_mut(usize::try_from(place).ok()?));
        if let Some(before) = before
            && before.is_followed_closely_by(&bar)
        {
            before.join(bar);
            return;
        }
        if self.bars.len() == BARS_MAX
            && let Some(oldest) = self.bars.pop_front()
        {
            self.forgotten += 1;
            self.known_since = self.known_since.max(oldest.ended);
        }
        let number = self.forgotten + self.bars.len() as u64;
        self.last.insert(holder, number);
        self.bars.push_back(bar);
    }

    /// Returns the bars of a time.
    #[must_use]
    pub fn between(&self, since: Duration, until: Duration) -> Vec<AttemptBar> {
        let is_in = |bar: &&AttemptBar| bar.ended >= since && bar.started <= until;
        self.bars.iter().filter(is_in).cloned().collect()
    }
}

/// Joins bars of one worker that begin at about the same time, of a chart that is this long, until there are
/// no more than so many. Of those that are too many even then, the latest are left.
#[must_use]
pub fn joined(mut bars: Vec<AttemptBar>, length: Duration, at_most: usize) -> Vec<AttemptBar> {
    let mut step = (length / STEPS).max(Duration::from_micros(1));
    while bars.len() > at_most && step <= length {
        bars = joined_by(bars, step);
        step *= 2;
    }
    let surplus = bars.len().saturating_sub(at_most);
    bars.split_off(surplus)
}

/// Joins bars of one worker that are shorter than a step and begin in the same one.
fn joined_by(bars: Vec<AttemptBar>, step: Duration) -> Vec<AttemptBar> {
    let place = |bar: &AttemptBar| bar.started.as_nanos() / step.as_nanos().max(1);
    let mut joined: Vec<AttemptBar> = Vec::new();
    let mut last: HashMap<Arc<str>, usize> = HashMap::new();
    for bar in bars {
        let before = last.get(&bar.worker).and_then(|at| joined.get_mut(*at));
        match before {
            Some(before)
                if place(before) == place(&bar)
                    && before.length() < step
                    && bar.length() < step =>
            {
                before.join(bar);
            }
            _ => {
                last.insert(Arc::clone(&bar.worker), joined.len());
                joined.push(bar);
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use slotmap::SlotMap;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn bar(worker: u64, item: u64, started: Duration, ended: Duration) -> AttemptBar {
        AttemptBar {
            worker: format!("worker-{worker}").into(),
            pid: 1,
            first: ItemId(item),
            last: ItemId(item),
            attempts: 1,
            failed: 0,
            attempt: 1,
            cause: None,
            started,
            ended,
        }
    }

    fn failed(bar: AttemptBar) -> AttemptBar {
        AttemptBar {
            failed: 1,
            cause: Some("it failed".into()),
            ..bar
        }
    }

    fn holders() -> [HolderId; 2] {
        let mut holders: SlotMap<HolderId, ()> = SlotMap::with_key();
        [holders.insert(()), holders.insert(())]
    }

    fn spans(bars: &[AttemptBar]) -> Vec<(u64, u64, u64)> {
        let span = |bar: &AttemptBar| (bar.first.0, bar.last.0, bar.attempts);
        bars.iter().map(span).collect()
    }

    #[test]
    fn short_attempts_of_a_worker_are_one_bar_until_it_is_long() {
        let [one, other] = holders();
        let mut latest = LatestBars::new(Duration::ZERO);
        for item in 0..40 {
            let (from, to) = (us(item * 500), us(item * 500 + 400));
            latest.handle_ended(one, bar(1, item + 1, from, to));
            latest.handle_ended(other, bar(2, item + 101, from, to));
        }
        let bars = latest.between(Duration::ZERO, ms(100));
        let expected = [(1, 20, 20), (101, 120, 20), (21, 40, 20), (121, 140, 20)];
        assert_eq!(spans(&bars), expected);
        assert_eq!((bars[0].started, bars[0].ended), (us(0), us(9_900)));
    }

    #[test]
    fn what_is_long_or_far_or_failed_has_a_bar_of_its_own() {
        let [one, _] = holders();
        let mut latest = LatestBars::new(Duration::ZERO);
        latest.handle_ended(one, bar(1, 1, us(0), us(500)));
        latest.handle_ended(one, bar(1, 2, us(500), us(1_600)));
        latest.handle_ended(one, bar(1, 3, us(1_600), us(1_700)));
        latest.handle_ended(one, bar(1, 4, us(2_800), us(2_900)));
        latest.handle_ended(one, failed(bar(1, 5, us(2_900), us(3_000))));
        latest.handle_ended(one, bar(1, 6, us(3_000), us(3_100)));
        assert_eq!(latest.between(Duration::ZERO, ms(10)).len(), 6);
        // Those of another time are not asked for.
        let later = latest.between(us(2_000), us(2_950));
        assert_eq!(spans(&later), [(4, 4, 1), (5, 5, 1)]);
    }

    #[test]
    fn the_oldest_are_forgotten_and_that_is_known() {
        let [one, _] = holders();
        let mut latest = LatestBars::new(ms(5));
        let all = BARS_MAX as u64 + 10;
        for item in 0..all {
            latest.handle_ended(one, bar(1, item, ms(item * 10), ms(item * 10 + 5)));
        }
        let bars = latest.between(Duration::ZERO, Duration::MAX);
        assert_eq!((bars.len(), bars[0].first), (BARS_MAX, ItemId(10)));
        assert_eq!(latest.known_since(), ms(95));
    }

    #[test]
    fn many_bars_are_joined_until_they_are_few_and_none_is_lost() {
        let bars: Vec<AttemptBar> = (0..10_000)
            .map(|item| {
                let one = bar(item % 2, item, us(item * 100), us(item * 100 + 90));
                if item == 77 { failed(one) } else { one }
            })
            .collect();
        let few = joined(bars.clone(), Duration::from_secs(1), 500);
        assert!((100..=500).contains(&few.len()), "{}", few.len());
        assert_eq!(few.iter().map(|bar| bar.attempts).sum::<u64>(), 10_000);
        let failed: Vec<_> = few.iter().filter(|bar| bar.failed > 0).collect();
        assert_eq!((failed.len(), failed[0].failed), (1, 1));
        assert_eq!(failed[0].cause.as_deref(), Some("it failed"));
        assert!((failed[0].first..=failed[0].last).contains(&ItemId(77)));
        // Where there are few enough, they are as they were.
        assert_eq!(joined(bars.clone(), Duration::from_secs(1), 10_000), bars);
    }

    #[test]
    fn of_those_that_lie_apart_the_latest_are_left() {
        let bars: Vec<AttemptBar> = (0..100)
            .map(|worker| bar(worker, worker, ms(worker), ms(worker + 50)))
            .collect();
        let few = joined(bars, ms(150), 10);
        assert_eq!((few.len(), few[0].first), (10, ItemId(90)));
    }
}
