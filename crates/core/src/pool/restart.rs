//! Decides whether one more restart is allowed, by past restarts and the time alone.

use alloc::vec::Vec;
use core::time::Duration;

/// The restarts within the last period, oldest first.
///
/// # Example
///
/// ```
/// use dishrack_core::pool::restart::Window;
/// use core::time::Duration;
///
/// let mut window = Window::default();
/// let (intensity, period) = (1, Duration::from_secs(5));
/// assert_eq!(window.note(Duration::from_secs(1), intensity, period), Some(1));
/// assert_eq!(window.note(Duration::from_secs(2), intensity, period), None);
/// assert_eq!(window.note(Duration::from_secs(9), intensity, period), Some(1));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    stamps: Vec<Duration>,
}

impl Window {
    /// Notes a restart at `now`. Returns their number within `period`; `None` beyond `intensity`.
    pub fn note(&mut self, now: Duration, intensity: u32, period: Duration) -> Option<u32> {
        self.stamps
            .retain(|stamp| now.saturating_sub(*stamp) <= period);
        self.stamps.push(now);
        let recent = u32::try_from(self.stamps.len()).unwrap_or(u32::MAX);
        (recent <= intensity).then_some(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intensity_restarts_within_the_period_are_allowed_and_one_more_is_not() {
        let mut window = Window::default();
        let period = Duration::from_secs(10);
        for n in 1..=10 {
            assert_eq!(
                window.note(Duration::from_millis(n), 10, period),
                Some(u32::try_from(n).unwrap())
            );
        }
        assert_eq!(window.note(Duration::from_millis(11), 10, period), None);
    }

    #[test]
    fn old_restarts_are_forgotten() {
        let mut window = Window::default();
        for second in 0..100 {
            let now = Duration::from_secs(second * 6);
            assert!(window.note(now, 2, Duration::from_secs(10)).is_some());
        }
    }

    #[test]
    fn no_restart_is_allowed_with_intensity_zero() {
        assert_eq!(
            Window::default().note(Duration::ZERO, 0, Duration::from_secs(1)),
            None
        );
    }
}
