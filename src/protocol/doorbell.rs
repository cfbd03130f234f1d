//! A word in shared memory that says whether the other side must be woken.
//!
//! A side that waits wants the doorbell rung, looks once more, and sleeps. A side that has written
//! something takes the doorbell, and wakes the sleeper if the doorbell was wanted. The ring pair
//! decides how: a worker sleeps on the word itself (`futex`), a supervisor's reader on its channel.
//! A side that dies leaves nothing behind: a doorbell that was taken and not rung belongs to a dead
//! process, whose death is noticed elsewhere.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::Timespec;

/// The state of the waiting side in the low bits. The high bits count how often the doorbell was
/// taken, so that a side which is slow to fall asleep does not take a later wish for its own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Doorbell(AtomicU32);

/// The other side need not be woken.
const SILENT: u32 = 0;

/// The other side sleeps, or is about to, and must be woken at once.
const WANTED: u32 = 1;

/// The other side looks often, and must be woken only if it has not looked for a while.
const PATIENT: u32 = 2;

const STATE: u32 = 3;

/// The increment of the count for one taking.
const TAKING: u32 = 4;

/// The doorbell's word at the moment when it was wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u32);

impl Doorbell {
    /// Sets the state and counts takings. Returns the word before and after.
    fn set(&self, state: u32, takings: u32) -> (u32, u32) {
        let next = |word: u32| Some((word & !STATE).wrapping_add(takings) | state);
        let update = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        // `next` always returns a word.
        let before = update.unwrap_or_default();
        (before, next(before).unwrap_or_default())
    }

    /// Asks to be woken. The caller must look once more after this.
    pub(crate) fn want(&self) -> Ticket {
        let (_, ticket) = self.set(WANTED, 0);
        // Either this side sees what the other one wrote before that looked at the doorbell, or the
        // other one sees the wish. Paired with `take`.
        fence(Ordering::SeqCst);
        Ticket(ticket)
    }

    /// Asks to be woken only after a while, because this side looks often.
    pub(crate) fn want_at_last(&self) {
        self.set(PATIENT, 0);
        // As in `want`.
        fence(Ordering::SeqCst);
    }

    /// Wants the doorbell for the other side. Returns `true` if it must be rung now.
    pub(crate) fn raise(&self) -> bool {
        let (before, _) = self.set(WANTED, 0);
        fence(Ordering::SeqCst);
        before & STATE == SILENT
    }

    /// Takes the doorbell. Returns `true` if the caller must wake the other side now.
    pub(crate) fn take(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) & STATE == WANTED && self.take_any()
    }

    /// Takes the doorbell after the caller has waited for a while, so a patient sleeper counts too.
    pub(crate) fn take_at_last(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) & STATE != SILENT && self.take_any()
    }

    fn take_any(&self) -> bool {
        let (before, _) = self.set(SILENT, TAKING);
        before & STATE != SILENT
    }

    /// Returns `true` if the other side looks often.
    pub(crate) fn is_patient(&self) -> bool {
        self.0.load(Ordering::Relaxed) & STATE == PATIENT
    }

    /// Withdraws the wish: this side is awake and looks by itself.
    pub(crate) fn silence(&self) {
        self.set(SILENT, 0);
    }

    /// Sleeps until the doorbell is taken and [`wake`](Self::wake) called, or the time is over, or
    /// less. The ticket is from the call that wanted the doorbell.
    pub(crate) fn sleep(&self, ticket: Ticket, time: Option<Duration>) {
        let timeout = time.and_then(|time| {
            Some(Timespec {
                tv_sec: time.as_secs().try_into().ok()?,
                tv_nsec: time.subsec_nanos().into(),
            })
        });
        // The caller looks again in any case.
        let _ = futex::wait(&self.0, futex::Flags::empty(), ticket.0, timeout.as_ref());
    }

    /// Wakes all sleepers on this word. The caller has taken the doorbell.
    pub(crate) fn wake(&self) {
        // It fails only for an invalid address.
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
        // It would sleep for ever if it took the later wish for its own.
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
