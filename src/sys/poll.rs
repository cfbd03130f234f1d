//! Polls a little while before sleeping.
//!
//! Waking a sleeper costs some fifty microseconds, and a short item takes less. So a side that
//! expects an answer polls for about as long as a wake-up would cost its processor: an answer in
//! that time comes without a wake-up, and a later one costs at most twice. Only a caller with a
//! processor to spare should poll; that is decided elsewhere.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

/// The time to poll. On the reference machine a sleeper is back at work some 25 us after it was
/// woken, of which the two processors spend 10 to 15 us.
pub(crate) const POLL: Duration = Duration::from_micros(20);

/// The number of polls between two reads of the clock.
const LOOKS: u32 = 32;

/// The number of such rounds in which the processor is kept. Afterwards it is yielded in each: both
/// sides may be on the same one, and then neither gets on while the other polls.
const KEPT: u32 = 2;

/// Lets a thread run that was woken just now, or that woke the caller and waits for it. The kernel
/// often puts a thread that is woken on the processor of the one that woke it, where it waits until
/// that one sleeps. A caller that polled first would keep it waiting. Where nobody waits it costs a
/// system call, which is little beside a wake-up.
pub(crate) fn give_way() {
    std::thread::yield_now();
}

/// Polls until `is_there` or the time is over. Returns `true` if it is there.
pub(crate) fn poll_until(is_there: impl Fn() -> bool) -> bool {
    poll_for(POLL, is_there)
}

/// Polls for another time than the usual one.
pub(crate) fn poll_for(time: Duration, is_there: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    for round in 1.. {
        for _ in 0..LOOKS {
            if is_there() {
                return true;
            }
            spin_loop();
        }
        if began.elapsed() >= time {
            break;
        }
        if round > KEPT {
            std::thread::yield_now();
        }
    }
    false
}
