//! The passing of time: all that is due by a time, and the time at which something is due next. Each part
//! knows its own times; this asks all of them. Times are since any fixed start.

use core::time::Duration;

use super::{Ballot, Ledger, Weight};

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Lets items whose rest is over by `now` wait again.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.note_time(now);
        self.tell_rate(now);
        self.tell_unique(now);
        self.waiting.wake(now);
        self.end_suspicions(now);
        self.retry_after_shortage(now);
    }

    /// Returns the time at which [`handle_timeout`](Self::handle_timeout) is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let shortage = self.shortage.as_ref();
        let of_shortage = shortage.and_then(|shortage| shortage.poll_timeout());
        let wakes = [
            self.waiting.next_wake(),
            self.waiting.next_end_of_suspicion(),
            of_shortage,
            self.copies.poll_timeout(),
            self.next_by_rate(),
            self.next_deadline(),
        ];
        wakes.into_iter().flatten().min()
    }
}
