//! A word in shared memory that says whether somebody is to be woken.
//!
//! Whoever waits for the other side wants the doorbell rung, looks for the last time, and sleeps.
//! Whoever has written something takes the doorbell, and wakes the sleeper if he was told to. How, is
//! the ring pair's business: a worker sleeps on the word itself (`futex`), a supervisor's reader on its
//! channel. It cannot be left behind by one who dies: a doorbell that was taken and not rung belongs to
//! somebody dead, and death is noticed elsewhere.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::Timespec;

/// Whether somebody sleeps, or is about to, and is to be woken. The low bits say so; the others
/// count how often the doorbell was taken, so that one who was slow to fall asleep does not take
/// another's wish for his own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Doorbell(AtomicU32);

/// Nobody need be woken.
const SILENT: u32 = 0;

/// Somebody sleeps and is to be woken at once.
const WANTED: u32 = 1;

/// Somebody comes by often, and is to be woken if he has not come for a while.
const PATIENT: u32 = 2;

const STATE: u32 = 3;

/// One taking.
const TAKING: u32 = 4;

/// The doorbell as it was when somebody wanted it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u32);

impl Doorbell {
    /// Sets the state, and counts takings. The word before, and the one now.
    fn set(&self, state: u32, takings: u32) -> (u32, u32) {
        let next = |word: u32| Some((word & !STATE).wrapping_add(takings) | state);
        let update = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        // It always has a next one.
        let before = update.unwrap_or_default();
        (before, next(before).unwrap_or_default())
    }

    /// Wake me. What is looked for must be looked for once more after this.
    pub(crate) fn want(&self) -> Ticket {
        let (_, ticket) = self.set(WANTED, 0);
        // Either this side sees what the other one wrote before it looked at the doorbell, or that one
        // sees that it is to be woken. Paired with `take`.
        fence(Ordering::SeqCst);
        Ticket(ticket)
    }

    /// Wake me, but only after a while: I come by often.
    pub(crate) fn want_at_last(&self) {
        self.set(PATIENT, 0);
        // As in `want`.
        fence(Ordering::SeqCst);
    }

    /// Wants the doorbell. Whether nobody did before: then it is to be rung now.
    pub(crate) fn raise(&self) -> bool {
        let (before, _) = self.set(WANTED, 0);
        fence(Ordering::SeqCst);
        before & STATE == SILENT
    }

    /// Whether somebody is to be woken; whoever is told so does it.
    pub(crate) fn take(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) & STATE == WANTED && self.take_any()
    }

    /// The same, for one who has waited for a while: a patient sleeper counts too.
    pub(crate) fn take_at_last(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) & STATE != SILENT && self.take_any()
    }

    fn take_any(&self) -> bool {
        let (before, _) = self.set(SILENT, TAKING);
        before & STATE != SILENT
    }

    /// Whether somebody comes by often.
    pub(crate) fn is_patient(&self) -> bool {
        self.0.load(Ordering::Relaxed) & STATE == PATIENT
    }

    /// Nobody need be woken: this side is awake and looks by itself.
    pub(crate) fn silence(&self) {
        self.set(SILENT, 0);
    }

    /// Sleeps until the doorbell is taken and [`wake`](Self::wake) called, or the time is over; perhaps
    /// less. It was wanted before.
    pub(crate) fn sleep(&self, ticket: Ticket, time: Option<Duration>) {
        let timeout = time.and_then(|time| {
            Some(Timespec {
                tv_sec: time.as_secs().try_into().ok()?,
                tv_nsec: time.subsec_nanos().into(),
            })
        });
        // Whatever ends it, the caller looks again.
        let _ = futex::wait(&self.0, futex::Flags::empty(), ticket.0, timeout.as_ref());
    }

    /// Wakes all who sleep on this word. The doorbell was taken before.
    pub(crate) fn wake(&self) {
        // It fails only for a word that is none.
        let _ = futex::wake(&self.0, futex::Flags::empty(), u32::MAX >> 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doorbell_is_taken_once_for_each_time_that_it_is_wanted() {
        let doorbell = Doorbell::default();
        assert!(!doorbell.take());
        doorbell.want();
        assert!(doorbell.take());
        assert!(!doorbell.take());
        doorbell.want();
        doorbell.silence();
        assert!(!doorbell.take());
    }

    #[test]
    fn a_patient_sleeper_is_woken_at_last() {
        let doorbell = Doorbell::default();
        doorbell.want_at_last();
        assert!(!doorbell.take() && doorbell.is_patient());
        assert!(doorbell.take_at_last());
        assert!(!doorbell.take_at_last());
    }

    #[test]
    fn a_ticket_is_good_for_one_taking() {
        let doorbell = Doorbell::default();
        let slow = doorbell.want();
        assert!(doorbell.take());
        doorbell.want();
        // It would sleep for ever if the later wish were taken for its own.
        doorbell.sleep(slow, None);
    }

    #[test]
    fn a_raised_doorbell_is_rung_once() {
        let doorbell = Doorbell::default();
        assert!(doorbell.raise() && !doorbell.raise());
        assert!(doorbell.take() && doorbell.raise());
    }

    #[test]
    fn no_wake_up_is_lost() {
        let (doorbell, word) = (Doorbell::default(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=10_000 {
                    word.store(number, Ordering::Release);
                    if doorbell.take() {
                        doorbell.wake();
                    }
                    while word.load(Ordering::Acquire) != 0 {
                        std::hint::spin_loop();
                    }
                }
            });
            for number in 1..=10_000 {
                while word.load(Ordering::Acquire) != number {
                    let ticket = doorbell.want();
                    if word.load(Ordering::Acquire) != number {
                        doorbell.sleep(ticket, None);
                    }
                }
                word.store(0, Ordering::Release);
            }
        });
    }
}
