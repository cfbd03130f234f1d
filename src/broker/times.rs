//! The times of a run's attempts and puts, as far as they are kept for whoever asks. The exact clock would cost
//! as much as a part of a put, so it is read once a tick of the kernel's. It knows neither the queue nor who asks.

use std::time::Duration;

use crate::sys::clock::coarse_ns;
use dishrack_core::ledger::ItemId;
use dishrack_core::timeline::LatestBars;
use dishrack_core::waits::Waits;

/// The times that are kept.
#[derive(Debug)]
pub(super) struct RunTimes {
    pub(super) bars: LatestBars,
    pub(super) puts: PutTimes,
}

/// The times of puts, a tick apart, and how long items have waited. By default those of a stream, where each item
/// has its own.
#[derive(Debug, Default)]
pub(super) struct PutTimes {
    pub(super) waits: Waits,
    /// The number of items whose time is noted, or is that of others.
    noted: u64,
    tick: u64,
}

impl PutTimes {
    /// Begins after so many items, which wait since now as far as is known.
    pub(super) fn after(accepted: u64, now: Duration) -> Self {
        let mut waits = Waits::default();
        waits.handle_put(ItemId(0), now);
        PutTimes {
            waits,
            noted: accepted,
            tick: 0,
        }
    }

    /// Notes when the items were put that are new since the last time. `now` reads the clock.
    pub(super) fn note(&mut self, accepted: u64, now: impl FnOnce() -> Duration) {
        if accepted <= self.noted {
            return;
        }
        let first = ItemId(self.noted + 1);
        self.noted = accepted;
        let tick = coarse_ns();
        if tick != self.tick {
            self.tick = tick;
            self.waits.handle_put(first, now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_once_a_tick() {
        let mut times = PutTimes::after(7, Duration::from_secs(1));
        let mut reads = 0_u64;
        let began = coarse_ns();
        let mut accepted = 7;
        while coarse_ns() - began < 30_000_000 {
            accepted += 1;
            times.note(accepted, || {
                reads += 1;
                Duration::from_secs(reads + 1)
            });
            times.note(accepted, || panic!("nothing is new"));
        }
        // A tick takes a millisecond at least.
        assert!(
            (1..=32).contains(&reads) && accepted > 100,
            "{reads} {accepted}"
        );
        assert_eq!(times.waits.put_at(ItemId(7)), Some(Duration::from_secs(1)));
        assert_eq!(times.waits.put_at(ItemId(8)), Some(Duration::from_secs(2)));
        let last = times.waits.put_at(ItemId(accepted));
        assert_eq!(last, Some(Duration::from_secs(reads + 1)));
    }
}
