//! PURE: what a service manager is to be told next, and when. Nothing is due while nothing has
//! changed, but for the signs of life that it has asked for.

use std::time::{Duration, Instant};

/// The shortest time between two words of how the run stands.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// The time for which the manager is asked to wait for the end of a run.
pub(super) const EXTENSION: Duration = Duration::from_secs(30);

/// The time between two such requests.
const EXTENSION_PAUSE: Duration = Duration::from_secs(10);

/// A word to the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announcement {
    /// The run is ready.
    Ready,
    /// The way in which it stands.
    Status,
    /// It lives.
    Alive,
    /// It comes to its end.
    Stopping,
    /// It is still on the way there.
    Extension,
}

/// The due times of a word that is said again and again.
#[derive(Debug, Clone, Copy)]
struct Repeated {
    pause: Duration,
    due: Instant,
}

impl Repeated {
    fn beats(&mut self, now: Instant) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.due = now + self.pause;
        }
        is_due
    }
}

/// The words that were said, and those that are due.
#[derive(Debug)]
pub(super) struct Announcements {
    is_ready: bool,
    is_stopping: bool,
    has_news: bool,
    /// The time before which the manager is not told again how the run stands.
    quiet_until: Option<Instant>,
    life: Option<Repeated>,
    extension: Option<Repeated>,
    /// The time after which the manager need not wait any more.
    patience: Option<Instant>,
    immediate: Vec<Announcement>,
}

impl Announcements {
    /// Begins with a run that is not ready. `watchdog` is the time within which the manager wants a
    /// sign of life.
    pub(super) fn new(watchdog: Option<Duration>, now: Instant) -> Self {
        Announcements {
            is_ready: false,
            is_stopping: false,
            has_news: true,
            quiet_until: None,
            life: watchdog.map(|time| Repeated {
                pause: time / 2,
                due: now,
            }),
            extension: None,
            patience: None,
            immediate: Vec::new(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Notes that the run can do its work.
    pub(super) fn handle_ready(&mut self) {
        if !self.is_ready {
            self.is_ready = true;
            self.immediate.push(Announcement::Ready);
        }
    }

    /// Notes that it may stand otherwise.
    pub(super) fn handle_change(&mut self) {
        self.has_news = true;
    }

    /// Notes that it comes to its end, which takes no longer than that moment, if that is known.
    pub(super) fn handle_stop(&mut self, now: Instant, by: Option<Instant>) {
        if !self.is_stopping {
            self.is_stopping = true;
            self.patience = by;
            self.immediate.push(Announcement::Stopping);
            self.extension = Some(Repeated {
                pause: EXTENSION_PAUSE,
                due: now,
            });
        }
    }

    /// Returns what is to be told now.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Announcement> {
        let mut due = std::mem::take(&mut self.immediate);
        if self.has_news && self.quiet_until.is_none_or(|time| time <= now) {
            self.has_news = false;
            self.quiet_until = Some(now + STATUS_PAUSE);
            due.push(Announcement::Status);
        }
        if self.life.as_mut().is_some_and(|life| life.beats(now)) {
            due.push(Announcement::Alive);
        }
        if self.patience.is_some_and(|by| by <= now) {
            self.extension = None;
        }
        if self.extension.as_mut().is_some_and(|one| one.beats(now)) {
            due.push(Announcement::Extension);
        }
        due
    }

    /// Returns the time at which something is due if nothing happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        let status = self.quiet_until.filter(|_| self.has_news);
        let pulses = [self.life, self.extension].into_iter().flatten();
        status.into_iter().chain(pulses.map(|one| one.due)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::Announcement::{Alive, Extension, Ready, Status, Stopping};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_idle_run_says_nothing() {
        let now = Instant::now();
        let mut announcements = Announcements::new(None, now);
        announcements.handle_ready();
        assert_eq!(announcements.poll(now), [Ready, Status]);
        assert_eq!(announcements.next(), None);
        assert_eq!(announcements.poll(now + 1000 * SECOND), []);
    }

    #[test]
    fn many_changes_are_one_word_a_second_and_the_last_is_told() {
        let now = Instant::now();
        let mut announcements = Announcements::new(None, now);
        assert_eq!(announcements.poll(now), [Status]);
        for _ in 0..1000 {
            announcements.handle_change();
            assert_eq!(announcements.poll(now), []);
        }
        assert_eq!(announcements.next(), Some(now + SECOND));
        assert_eq!(announcements.poll(now + SECOND), [Status]);
        assert_eq!(announcements.next(), None);
        announcements.handle_change();
        assert_eq!(announcements.poll(now + 5 * SECOND), [Status]);
    }

    #[test]
    fn signs_of_life_come_twice_as_often_as_asked_for() {
        let now = Instant::now();
        let mut announcements = Announcements::new(Some(4 * SECOND), now);
        assert_eq!(announcements.poll(now), [Status, Alive]);
        assert_eq!(announcements.next(), Some(now + 2 * SECOND));
        assert_eq!(announcements.poll(now + SECOND), []);
        assert_eq!(announcements.poll(now + 2 * SECOND), [Alive]);
        // After a time in which the process stood still there is one, and not many.
        assert_eq!(announcements.poll(now + 100 * SECOND), [Alive]);
        assert_eq!(announcements.next(), Some(now + 102 * SECOND));
    }

    #[test]
    fn a_run_that_stops_asks_for_time_until_it_must_be_over() {
        let now = Instant::now();
        let mut announcements = Announcements::new(None, now);
        announcements.handle_ready();
        assert_eq!(announcements.poll(now), [Ready, Status]);
        announcements.handle_stop(now, Some(now + 25 * SECOND));
        announcements.handle_stop(now, None);
        assert_eq!(announcements.poll(now), [Stopping, Extension]);
        assert_eq!(announcements.poll(now + 9 * SECOND), []);
        assert_eq!(announcements.poll(now + 10 * SECOND), [Extension]);
        assert_eq!(announcements.poll(now + 20 * SECOND), [Extension]);
        assert_eq!(announcements.poll(now + 30 * SECOND), []);
        assert_eq!(announcements.next(), None);
    }

    #[test]
    fn ready_is_said_once() {
        let now = Instant::now();
        let mut announcements = Announcements::new(None, now);
        assert!(!announcements.is_ready());
        announcements.handle_ready();
        announcements.handle_ready();
        assert_eq!(announcements.poll(now), [Ready, Status]);
        assert!(announcements.is_ready());
    }
}
