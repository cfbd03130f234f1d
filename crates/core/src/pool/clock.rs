//! PURE: the time of a pool of processes. It stands still while they are suspended, so that no
//! limit expires because of a suspension.

use alloc::vec::Vec;
use core::time::Duration;

/// Converts moments of a running clock into those of one that stands still at times. All of them
/// are times since the pool's beginning.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// The suspensions that are over: the beginning and the length of each.
    over: Vec<(Duration, Duration)>,
    /// The beginning of the present suspension, if there is one.
    stands_since: Option<Duration>,
}

impl Clock {
    /// Stops the clock.
    pub fn suspend(&mut self, now: Duration) {
        self.stands_since.get_or_insert(now);
    }

    /// Lets the clock go on.
    pub fn resume(&mut self, now: Duration) {
        if let Some(since) = self.stands_since.take() {
            self.over.push((since, now.saturating_sub(since)));
        }
    }

    /// Returns what it shows, or showed, at a moment of the running clock.
    #[must_use]
    pub fn at(&self, moment: Duration) -> Duration {
        let moment = self.stands_since.map_or(moment, |since| moment.min(since));
        let before = self.over.iter().map(|(since, time)| {
            let elapsed = moment.saturating_sub(*since);
            elapsed.min(*time)
        });
        moment.saturating_sub(before.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_while_it_is_suspended() {
        let at = Duration::from_secs;
        let mut clock = Clock::default();
        assert_eq!(clock.at(at(7)), at(7));
        clock.suspend(at(10));
        assert_eq!(
            [9, 10, 500].map(|moment| clock.at(at(moment))),
            [9, 10, 10].map(at)
        );
        clock.resume(at(110));
        assert_eq!(
            [9, 60, 110, 115].map(|moment| clock.at(at(moment))),
            [9, 10, 10, 15].map(at)
        );
        clock.suspend(at(120));
        clock.suspend(at(130));
        clock.resume(at(140));
        clock.resume(at(150));
        assert_eq!(
            [115, 130, 150].map(|moment| clock.at(at(moment))),
            [15, 20, 30].map(at)
        );
    }
}
