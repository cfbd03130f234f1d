//! PURE: the time of a pool of processes, which stands still while they are suspended: that time is
//! nobody's, and no limit is over because of it.

use alloc::vec::Vec;
use core::time::Duration;

/// Turns moments of a clock that goes on into those of one that stands still now and then. All of them
/// are times since the pool's beginning.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// The suspensions that are over: since when, and for how long.
    over: Vec<(Duration, Duration)>,
    /// Since when it stands still, if it does.
    stands_since: Option<Duration>,
}

impl Clock {
    /// Stands still from now on.
    pub fn suspend(&mut self, now: Duration) {
        self.stands_since.get_or_insert(now);
    }

    /// Goes on.
    pub fn resume(&mut self, now: Duration) {
        if let Some(since) = self.stands_since.take() {
            self.over.push((since, now.saturating_sub(since)));
        }
    }

    /// What it shows, or showed, at a moment of the clock that goes on.
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
