//! Activity over time: a fixed number of bins whose width doubles as time goes on.

use std::time::Duration;

use crate::observe::spans::{Doing, MarkKind};

/// The greatest number of bins, as many as a picture has columns; doubling the width halves it.
const BINS_MAX: usize = 1024;

/// The first width. A run of a minute has doubled it sixteen times.
const WIDTH_NS_MIN: u64 = 1024;

/// The events in one bin's time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bin {
    producing_ns: u64,
    working_ns: u64,
    marks: [u32; 3],
}

impl Bin {
    fn plus(self, other: Bin) -> Bin {
        let [one, two] = [self.marks, other.marks];
        Bin {
            producing_ns: self.producing_ns + other.producing_ns,
            working_ns: self.working_ns + other.working_ns,
            marks: std::array::from_fn(|kind| one[kind].saturating_add(two[kind])),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Bins {
    width_ns: u64,
    /// The bins from the beginning up to the last one that is not empty.
    bins: Vec<Bin>,
}

impl Default for Bins {
    fn default() -> Self {
        Bins {
            width_ns: WIDTH_NS_MIN,
            bins: Vec::new(),
        }
    }
}

impl Bins {
    pub(super) fn add(&mut self, doing: Doing, start: Duration, end: Duration) {
        let (mut at_ns, end_ns) = (nanos(start), nanos(end));
        self.reach(end_ns);
        while at_ns < end_ns {
            let index = self.index(at_ns);
            let next_ns = (at_ns / self.width_ns + 1) * self.width_ns;
            let share_ns = next_ns.min(end_ns) - at_ns;
            match doing {
                Doing::Producing => self.bins[index].producing_ns += share_ns,
                Doing::Working => self.bins[index].working_ns += share_ns,
            }
            at_ns = next_ns;
        }
    }

    pub(super) fn mark(&mut self, kind: MarkKind, at: Duration) {
        let at_ns = nanos(at);
        self.reach(at_ns);
        let index = self.index(at_ns);
        let count = &mut self.bins[index].marks[place(kind)];
        *count = count.saturating_add(1);
    }

    /// Returns the time of producing and working in this span, taking each bin as even.
    pub(super) fn busy(&self, from: Duration, to: Duration) -> (Duration, Duration) {
        let (mut at_ns, to_ns) = (nanos(from), nanos(to));
        let (mut producing, mut working) = (0.0, 0.0);
        while at_ns < to_ns {
            let next_ns = (at_ns / self.width_ns + 1) * self.width_ns;
            let Some(bin) = self.bins.get(self.index(at_ns)) else {
                break;
            };
            let share_ns = next_ns.min(to_ns) - at_ns;
            let share = Duration::from_nanos(share_ns).as_secs_f64()
                / Duration::from_nanos(self.width_ns).as_secs_f64();
            producing += share * Duration::from_nanos(bin.producing_ns).as_secs_f64();
            working += share * Duration::from_nanos(bin.working_ns).as_secs_f64();
            at_ns = next_ns;
        }
        let [producing, working] = [producing, working].map(Duration::try_from_secs_f64);
        (producing.unwrap_or_default(), working.unwrap_or_default())
    }

    /// Returns the times and numbers of these marks, by the middles of the bins.
    pub(super) fn marks(&self, kind: MarkKind) -> impl Iterator<Item = (Duration, u32)> {
        let width = Duration::from_nanos(self.width_ns);
        let counted = self.bins.iter().zip(0_u32..);
        counted
            .map(move |(bin, index)| (width * index + width / 2, bin.marks[place(kind)]))
            .filter(|(_, count)| *count > 0)
    }

    /// Makes room up to this time.
    fn reach(&mut self, at_ns: u64) {
        while self.index(at_ns) >= BINS_MAX {
            self.width_ns *= 2;
            let pairs = self.bins.chunks(2);
            self.bins = pairs
                .map(|pair| pair.iter().fold(Bin::default(), |sum, bin| sum.plus(*bin)))
                .collect();
        }
        let count = self.index(at_ns) + 1;
        if self.bins.len() < count {
            self.bins.resize(count, Bin::default());
        }
    }

    fn index(&self, at_ns: u64) -> usize {
        usize::try_from(at_ns / self.width_ns).unwrap_or(usize::MAX)
    }
}

fn place(kind: MarkKind) -> usize {
    match kind {
        MarkKind::Retry => 0,
        MarkKind::DeadLetter => 1,
        MarkKind::Death => 2,
    }
}

/// Converts a time, to 292 years at most, so that doubling a width never overflows.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).map_or(u64::MAX / 2, |ns| ns.min(u64::MAX / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_added_is_found_again_whatever_the_width() {
        let mut bins = Bins::default();
        for n in 0..10_000_u32 {
            let start = SECOND * n;
            bins.add(Doing::Working, start, start + SECOND / 4);
            bins.add(Doing::Producing, start + SECOND / 4, start + SECOND / 2);
        }
        assert!(bins.bins.len() <= BINS_MAX);
        let (producing, working) = bins.busy(Duration::ZERO, SECOND * 20_000);
        for time in [producing, working] {
            assert!(time.abs_diff(SECOND * 2500) < SECOND / 100, "{time:?}");
        }
        let (_, half) = bins.busy(Duration::ZERO, SECOND * 5000);
        assert!(half.abs_diff(SECOND * 1250) < SECOND * 10, "{half:?}");
    }

    #[test]
    fn marks_stay_where_they_were_to_the_width_of_a_bin() {
        let mut bins = Bins::default();
        bins.mark(MarkKind::Death, SECOND * 3);
        bins.mark(MarkKind::Death, SECOND * 3);
        bins.add(Doing::Working, Duration::ZERO, SECOND * 1000);
        let marks: Vec<_> = bins.marks(MarkKind::Death).collect();
        assert_eq!(marks.len(), 1);
        let (at, count) = marks[0];
        assert_eq!(count, 2);
        assert!(at.abs_diff(SECOND * 3) < SECOND * 2, "{at:?}");
        assert_eq!(bins.marks(MarkKind::Retry).count(), 0);
    }

    #[test]
    fn no_time_is_too_long() {
        let mut bins = Bins::default();
        bins.add(Doing::Working, Duration::ZERO, Duration::MAX);
        bins.mark(MarkKind::Retry, Duration::MAX);
        assert!(bins.bins.len() <= BINS_MAX);
        assert_eq!(bins.busy(Duration::MAX, Duration::MAX), Default::default());
    }
}
