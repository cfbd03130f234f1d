//! Waits for a condition by looking again and again, with a deadline that only ends a hanging test.

use std::time::{Duration, Instant};

/// A time that no sound test waits.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until it is so, by looking again and again.
pub(crate) fn until(what: &str, is_so: impl FnMut() -> bool) {
    until_within(DEADLINE, what, is_so);
}

pub(crate) fn until_within(time: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < time, "{what}: not within {time:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
