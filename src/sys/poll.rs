//! Looking for news a little while before sleeping.
//!
//! Being woken costs some fifty microseconds, and a short item takes less, so a side that expects an
//! answer looks for it about as long as a wake-up would cost its processor: whatever comes in that
//! time comes without one, and what does not come has cost at most twice. It is for whoever has a
//! processor to spare; that is asked elsewhere.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

/// How long to look. On the reference machine a sleeper is back at work some 25 us after it was
/// woken, of which the two processors spend 10 to 15 us.
pub(crate) const POLL: Duration = Duration::from_micros(20);

/// Looks between two looks at the clock.
const LOOKS: u32 = 32;

/// So many of those the processor is kept for. Afterwards it is offered to others each time: both
/// sides may have come to the same one, and then neither sees anything as long as the other looks.
const KEPT: u32 = 2;

/// Looks until it is there, or until the time is over. Whether it is there.
pub(crate) fn poll_until(is_there: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    for round in 1.. {
        for _ in 0..LOOKS {
            if is_there() {
                return true;
            }
            spin_loop();
        }
        if began.elapsed() >= POLL {
            break;
        }
        if round > KEPT {
            std::thread::yield_now();
        }
    }
    false
}
