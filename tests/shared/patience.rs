//! Waiting for what will be so: looked at again and again, with a deadline that only ends a test
//! that hangs.

use std::time::{Duration, Instant};

/// No test waits this long when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Looks again and again until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
