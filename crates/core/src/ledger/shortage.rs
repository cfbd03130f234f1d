//! A shortage of the machine: items that cannot be begun for lack of processes, files, memory or
//! room wait until there is some, and none of them is charged.
//!
//! The machine does not say when there is room again, so items are tried: one after a pause that
//! doubles with each failed try, and two for each attempt that ends, because its end makes room for
//! at least one. It does not know what is lacking or who reports it. Times are since any fixed
//! start.

use alloc::string::String;
use core::time::Duration;

use super::{Ballot, Ledger, Stale, Token, Weight};

/// The first pause; it doubles with each failed try.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The time without a lack after which the shortage is over, if something was begun. It is longer
/// than the longest pause, so that it stays one shortage where some items always find room and
/// others never do.
const QUIET: Duration = Duration::from_secs(2);

/// A report that is made at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The machine lacks something, in words: nothing is begun until it has it.
    Shortage(String),
    /// It has it again.
    ShortageOver,
    /// Nothing more is handed out, because somebody said so.
    Paused,
    /// That is over.
    Resumed,
    /// So many copies must agree, and there are fewer workers: items wait for more of them.
    TooFewWorkers {
        /// The number of copies that must agree.
        needed: u32,
        /// The number of workers.
        workers: usize,
    },
}

#[derive(Debug)]
pub(super) struct Shortage {
    /// The number of items that may be begun now.
    allowance: u64,
    pause: Duration,
    /// The time at which one more may be tried.
    until: Duration,
    last: Duration,
    has_begun: bool,
    /// True if the last item was begun as a try, and has not found that something is lacking.
    is_trying: bool,
}

impl Shortage {
    fn begin(now: Duration) -> Self {
        Shortage {
            allowance: 0,
            pause: PAUSE,
            until: now.saturating_add(PAUSE),
            last: now,
            has_begun: false,
            is_trying: false,
        }
    }

    fn goes_on(&mut self, now: Duration) {
        // Several that were begun together find the same lack, which is one try.
        if core::mem::take(&mut self.is_trying) {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        self.allowance = 0;
        self.until = now.saturating_add(self.pause);
        self.last = now;
        self.has_begun = false;
    }

    fn is_over(&self, now: Duration) -> bool {
        self.has_begun && now >= self.last.saturating_add(QUIET)
    }

    /// Tries with one more, if it is time to.
    fn retry(&mut self, now: Duration) {
        if self.allowance > 0 || now < self.until {
            return;
        }
        if self.is_trying {
            // The last try has found what it needed.
            self.pause = (self.pause / 2).max(PAUSE);
        }
        self.is_trying = true;
        self.allowance = 1;
        self.until = now.saturating_add(self.pause);
    }

    /// Returns the time of the next step; `None` while items may be begun and none was.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let retry = (self.allowance == 0).then_some(self.until);
        let end = self.has_begun.then(|| self.last.saturating_add(QUIET));
        retry.into_iter().chain(end).min()
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Takes back an item that could not be begun because the machine lacks something: it goes to
    /// its old place, nothing is counted, and nothing is handed out until there may be room again.
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_shortage(
        &mut self,
        token: Token,
        why: String,
        now: Duration,
    ) -> Result<(), Stale> {
        self.handle_return(token)?;
        self.begin_shortage(why, now);
        Ok(())
    }

    pub(super) fn begin_shortage(&mut self, why: String, now: Duration) {
        match &mut self.shortage {
            Some(shortage) => shortage.goes_on(now),
            None => {
                self.shortage = Some(Shortage::begin(now));
                self.notices.push_back(Notice::Shortage(why));
            }
        }
    }

    /// Returns `true` if nothing is begun for now.
    pub(super) fn waits_for_room(&self) -> bool {
        let shortage = self.shortage.as_ref();
        shortage.is_some_and(|shortage| shortage.allowance == 0)
    }

    /// Counts a delivery against what limits them.
    pub(super) fn note_begun(&mut self, token: Token) {
        if self.limits.is_some() && self.consumers.is_worker(token.holder) {
            self.count_by_rate();
            self.note_admitted(token);
            self.note_token();
        }
        if let Some(shortage) = &mut self.shortage {
            shortage.allowance = shortage.allowance.saturating_sub(1);
            shortage.has_begun = true;
        }
    }

    /// Notes that this many attempts have ended by themselves and left room.
    pub(super) fn note_over(&mut self, count: u64) {
        let Some(shortage) = &mut self.shortage else {
            return;
        };
        shortage.allowance = shortage.allowance.saturating_add(2 * count);
        shortage.pause = PAUSE;
        if self.waiting.is_empty() && self.leases.is_empty() {
            self.end_shortage();
        }
    }

    pub(super) fn retry_after_shortage(&mut self, now: Duration) {
        match &mut self.shortage {
            Some(shortage) if shortage.is_over(now) => self.end_shortage(),
            Some(shortage) => shortage.retry(now),
            None => {}
        }
    }

    fn end_shortage(&mut self) {
        self.shortage = None;
        self.notices.push_back(Notice::ShortageOver);
    }

    /// Returns the next report that is made at once.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}
