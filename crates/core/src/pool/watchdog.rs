//! Holds items to their time limits: a pure state machine over samples of one worker process.
//!
//! There is no heartbeat, because slow is not dead. A worker is sampled only when something could
//! be wrong: when its item would be over the limit, or, if it is idle, when an item begun just now
//! would be. A worker whose item is over its limit or cancelled is asked to end (SIGTERM) and,
//! after a grace, killed. A worker that was given items and begins none of them for as long as one
//! may take, and a second at least, is stopped or mute, and is killed too. It names no clock and no
//! process: samples come in, orders go out.

use alloc::vec::Vec;
use core::time::Duration;

/// The visible state of a worker at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// The ordinal of the delivery that it works on; 0 for none.
    pub current: u64,
    /// The time at which that began.
    pub since: Duration,
    /// The ordinal of the last delivery that it began.
    pub begun: u64,
    /// The number of deliveries that it should be at.
    pub held: usize,
}

/// An order about the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchdogEffect {
    /// Ask it to end (SIGTERM).
    Terminate,
    /// End it (SIGKILL).
    Kill,
}

/// The reason for which a worker was ordered to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This delivery took too long.
    Overran(u64),
    /// This delivery was cancelled while the worker was at it.
    Revoked(u64),
    /// It begins nothing.
    Stalled,
    /// Somebody wants it to end.
    Ordered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchState {
    Fine,
    /// It has deliveries and works on none: the last one begun by then, and the time since.
    Quiet {
        begun: u64,
        since: Duration,
    },
    /// It was asked to end, and is killed at this time.
    Asked {
        fault: Fault,
        until: Duration,
    },
    /// The last order was given.
    Killed(Fault),
}

/// The shortest time before a worker counts as stalled: handing over takes time on a busy machine.
const STALLED: Duration = Duration::from_secs(1);

/// The time after which the watchdog looks again whether a cancelled delivery was begun.
const REVOKED_LOOK: Duration = Duration::from_millis(10);

/// The time that a worker has to finish a copy of an item that is not needed any more, because
/// another one was done first. A new process would cost more than most copies that take longer.
const SPARED: Duration = Duration::from_millis(20);

/// The watchdog of one life of one worker.
#[derive(Debug, Clone)]
pub struct Watchdog {
    limit: Option<Duration>,
    grace: Duration,
    state: WatchState,
    /// Cancelled deliveries that the worker may still come to, and when it is to end for each.
    revoked: Vec<(u64, Duration)>,
    /// The time of the next look, if there is one.
    next: Option<Duration>,
}

impl Watchdog {
    /// Begins at `now`. Without a limit only cancelled deliveries are watched.
    #[must_use]
    pub fn new(limit: Option<Duration>, grace: Duration, now: Duration) -> Self {
        Watchdog {
            limit,
            grace,
            state: WatchState::Fine,
            revoked: Vec::new(),
            next: limit.and_then(|limit| now.checked_add(limit)),
        }
    }

    /// Returns the time of the next look.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.next
    }

    /// Returns the reason for which the worker was ordered to end, if it was.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self.state {
            WatchState::Fine | WatchState::Quiet { .. } => None,
            WatchState::Asked { fault, .. } | WatchState::Killed(fault) => Some(fault),
        }
    }

    /// Examines a sample, and returns what is to be done about the worker.
    pub fn observe(&mut self, sample: Sample, now: Duration) -> Option<WatchdogEffect> {
        match self.state {
            WatchState::Killed(_) => None,
            WatchState::Asked { fault, until } => self.look_again(fault, until, sample, now),
            WatchState::Fine | WatchState::Quiet { .. } => self
                .look_for_revoked(sample, now)
                .or_else(|| self.look_for_faults(sample, now)),
        }
    }

    /// Notes that the worker is to end, whatever it is at.
    pub fn end(&mut self, now: Duration) -> Option<WatchdogEffect> {
        match self.state {
            WatchState::Killed(_) => None,
            WatchState::Fine | WatchState::Quiet { .. } | WatchState::Asked { .. } => {
                self.terminate(Fault::Ordered, now)
            }
        }
    }

    /// Notes that this delivery was cancelled.
    pub fn revoke(
        &mut self,
        ordinal: u64,
        sample: Sample,
        now: Duration,
    ) -> Option<WatchdogEffect> {
        self.revoke_at(ordinal, now, sample, now)
    }

    /// Notes that this delivery is not needed any more: a worker that is still at it then has to
    /// end for it. One that is nearly through need not be replaced.
    pub fn revoke_spare(
        &mut self,
        ordinal: u64,
        sample: Sample,
        now: Duration,
    ) -> Option<WatchdogEffect> {
        self.revoke_at(ordinal, now.saturating_add(SPARED), sample, now)
    }

    fn revoke_at(
        &mut self,
        ordinal: u64,
        at: Duration,
        sample: Sample,
        now: Duration,
    ) -> Option<WatchdogEffect> {
        // Its worker may say of one that is known already that it has begun it.
        if !self.revoked.iter().any(|(known, _)| *known == ordinal) {
            self.revoked.push((ordinal, at));
        }
        self.observe(sample, now)
    }

    /// Looks again soon, because a cancelled delivery may be the next one that the worker comes to.
    fn look_for_revoked(&mut self, sample: Sample, now: Duration) -> Option<WatchdogEffect> {
        let current = sample.current;
        let is_due = |(ordinal, at): &(u64, Duration)| *ordinal == current && *at <= now;
        if current != 0 && self.revoked.iter().any(is_due) {
            return self.terminate(Fault::Revoked(current), now);
        }
        self.revoked
            .retain(|(ordinal, _)| sample.held > 0 && *ordinal >= current.max(1));
        None
    }

    fn look_again(
        &mut self,
        fault: Fault,
        until: Duration,
        sample: Sample,
        now: Duration,
    ) -> Option<WatchdogEffect> {
        let is_at_it = match fault {
            Fault::Overran(ordinal) | Fault::Revoked(ordinal) => sample.current == ordinal,
            Fault::Stalled | Fault::Ordered => true,
        };
        // The signal may be on its way to one that has finished that delivery meanwhile.
        if now < until {
            return None;
        }
        if !is_at_it {
            // It goes on, so it is not ending.
            self.state = WatchState::Fine;
            return self
                .look_for_revoked(sample, now)
                .or_else(|| self.look_for_faults(sample, now));
        }
        self.kill(fault)
    }

    fn look_for_faults(&mut self, sample: Sample, now: Duration) -> Option<WatchdogEffect> {
        let order = self.look_at_time(sample, now);
        if order.is_none() && !self.revoked.is_empty() {
            let soon = now.saturating_add(REVOKED_LOOK);
            self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
        }
        order
    }

    fn look_at_time(&mut self, sample: Sample, now: Duration) -> Option<WatchdogEffect> {
        let Some(limit) = self.limit else {
            self.next = None;
            return None;
        };
        if sample.current != 0 {
            self.state = WatchState::Fine;
            let deadline = sample.since.saturating_add(limit);
            if now >= deadline {
                return self.terminate(Fault::Overran(sample.current), now);
            }
            self.next = Some(deadline);
            return None;
        }
        if sample.held == 0 {
            self.state = WatchState::Fine;
            self.next = now.checked_add(limit);
            return None;
        }
        let since = match self.state {
            WatchState::Quiet { begun, since } if begun == sample.begun => since,
            _ => now,
        };
        let begun = sample.begun;
        self.state = WatchState::Quiet { begun, since };
        let deadline = since.saturating_add(limit.max(STALLED));
        if now >= deadline {
            return self.kill(Fault::Stalled);
        }
        self.next = Some(deadline);
        None
    }

    fn terminate(&mut self, fault: Fault, now: Duration) -> Option<WatchdogEffect> {
        let until = now.saturating_add(self.grace);
        self.state = WatchState::Asked { fault, until };
        self.next = Some(until);
        Some(WatchdogEffect::Terminate)
    }

    fn kill(&mut self, fault: Fault) -> Option<WatchdogEffect> {
        self.state = WatchState::Killed(fault);
        self.next = None;
        Some(WatchdogEffect::Kill)
    }
}
