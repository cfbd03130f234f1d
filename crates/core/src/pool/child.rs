//! The life of one worker process: a pure state machine of phases and events.
//!
//! A worker's end is certain once its process has ended and its channel has been read to the end.
//! Only then is its life concluded: what it held goes back or is charged. The charge decides what
//! the death means. A death that an item caused restarts the worker at once. A death in boot or
//! while idle counts against the worker's own restarts, and the next start waits. It names no
//! clock, process or thread: events come in, effects go out.

use core::time::Duration;

use super::restart::Window;
use super::spec::{ChildSpec, Restart};
use crate::ledger::Exit;

/// The longest time that a channel may outlive its process, and a process its kill.
const LINGER: Duration = Duration::from_secs(1);

/// A phase of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting between death and restart, or before the first start.
    Resting,
    /// Started, not ready.
    Booting,
    /// Ready.
    Working,
    /// Asked to stop.
    Stopping,
    /// Killed, or ended by itself, and not concluded yet.
    Dying,
    /// Ended for good.
    Over,
}

/// An event in a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildEvent {
    /// The worker is to be started.
    Begin,
    /// It could not be started: there is neither a process nor a channel.
    StartFailed,
    /// It said that it is ready.
    Ready,
    /// Its channel has been read to the end.
    LinkClosed,
    /// Its process has ended.
    Ended,
    /// Its deliveries were given back, and this many items were charged with its death.
    Concluded {
        /// The end of its process.
        exit: Exit,
        /// The number of items charged.
        charged: usize,
    },
    /// It is to finish what it has started, and end.
    StopAsked,
    /// It is to finish what it has started, however long that takes, and end.
    DrainAsked,
    /// It is to be replaced: it finishes what it has started and is started again, uncounted.
    RecycleAsked,
    /// Its supervisor ends it for its own reasons, so the end does not count against it.
    Excused,
    /// It is to end at once.
    KillAsked,
    /// The time that [`Child::poll_timeout`] named has come.
    DeadlinePassed,
}

/// An effect that is to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildEffect {
    /// Start the process.
    Start,
    /// Ask it to stop.
    AskToStop,
    /// Kill its process group.
    Kill,
    /// Give back its deliveries, and report [`ChildEvent::Concluded`].
    Conclude,
    /// Note that it ended for good, as it should.
    Finish,
    /// Give it up: it died too often and is not started again.
    GiveUp,
}

/// One worker of a supervisor.
#[derive(Debug, Clone)]
pub struct Child {
    spec: ChildSpec,
    phase: Phase,
    has_process: bool,
    has_link: bool,
    is_stopping: bool,
    /// True if its supervisor ended it, and it is to be started again.
    is_recycled: bool,
    /// True if its end does not count against it.
    is_excused: bool,
    deadline: Option<Duration>,
    window: Window,
    /// The number of deaths in a row before it was ready.
    failed_boots: u32,
    /// The seed of the jitter of its rests.
    seed: u64,
}

impl Child {
    /// Makes a worker that has not been started yet.
    #[must_use]
    pub fn new(spec: ChildSpec, seed: u64) -> Self {
        Child {
            spec,
            phase: Phase::Resting,
            has_process: false,
            has_link: false,
            is_stopping: false,
            is_recycled: false,
            is_excused: false,
            deadline: None,
            window: Window::default(),
            failed_boots: 0,
            seed,
        }
    }

    /// Returns its phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the time at which [`ChildEvent::DeadlinePassed`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadline
    }

    /// Handles an event that happened at `now`, and returns what is to be done.
    pub fn handle(&mut self, event: ChildEvent, now: Duration) -> Option<ChildEffect> {
        if self.phase == Phase::Over {
            return None;
        }
        match event {
            // The late report of an end that was assumed when it lingered.
            ChildEvent::LinkClosed if !self.has_link => None,
            ChildEvent::Ended if !self.has_process => None,
            ChildEvent::Begin => self.begin(now),
            ChildEvent::StartFailed => {
                self.has_process = false;
                self.has_link = false;
                self.start_again(now, Exit::Unknown, 0)
            }
            ChildEvent::Ready => self.ready(),
            ChildEvent::LinkClosed => {
                self.has_link = false;
                self.deadline = None;
                // A process that is ending by itself keeps its exit status.
                if self.has_process {
                    self.kill(now)
                } else {
                    Some(ChildEffect::Conclude)
                }
            }
            ChildEvent::Ended => {
                self.has_process = false;
                self.ended(now)
            }
            ChildEvent::Concluded { exit, charged } => self.start_again(now, exit, charged),
            ChildEvent::StopAsked => self.stop(now),
            ChildEvent::DrainAsked => self.drain(now),
            ChildEvent::RecycleAsked => self.recycle(),
            ChildEvent::Excused => {
                self.is_excused = true;
                None
            }
            ChildEvent::KillAsked => {
                self.is_stopping = true;
                match self.phase {
                    Phase::Resting => self.finish(),
                    Phase::Dying | Phase::Over => None,
                    Phase::Booting | Phase::Working | Phase::Stopping => self.kill(now),
                }
            }
            ChildEvent::DeadlinePassed => self.deadline_passed(now),
        }
    }

    fn begin(&mut self, now: Duration) -> Option<ChildEffect> {
        self.phase = Phase::Booting;
        self.is_recycled = false;
        self.is_excused = false;
        // A boot counts as failed until the worker is ready.
        self.failed_boots = self.failed_boots.saturating_add(1);
        self.has_process = true;
        self.has_link = true;
        self.deadline = now.checked_add(self.spec.boot_deadline);
        Some(ChildEffect::Start)
    }

    fn ready(&mut self) -> Option<ChildEffect> {
        if self.phase == Phase::Booting {
            self.phase = Phase::Working;
            self.deadline = None;
            self.failed_boots = 0;
        }
        None
    }

    fn ended(&mut self, now: Duration) -> Option<ChildEffect> {
        if self.has_link {
            self.phase = Phase::Dying;
            self.deadline = now.checked_add(LINGER);
            return None;
        }
        self.deadline = None;
        Some(ChildEffect::Conclude)
    }

    fn stop(&mut self, now: Duration) -> Option<ChildEffect> {
        self.is_stopping = true;
        match self.phase {
            Phase::Resting => self.finish(),
            // It has nothing to finish yet.
            Phase::Booting => self.kill(now),
            Phase::Working => {
                self.phase = Phase::Stopping;
                self.deadline = now.checked_add(self.spec.shutdown);
                Some(ChildEffect::AskToStop)
            }
            // It was only being replaced so far, and had unlimited time.
            Phase::Stopping if self.deadline.is_none() => {
                self.deadline = now.checked_add(self.spec.shutdown);
                None
            }
            Phase::Stopping | Phase::Dying | Phase::Over => None,
        }
    }

    /// Stops it as [`stop`](Self::stop) does, but without a limit of time. A stop ends that.
    fn drain(&mut self, now: Duration) -> Option<ChildEffect> {
        let effect = match self.phase {
            Phase::Working => self.recycle(),
            Phase::Resting | Phase::Booting => self.stop(now),
            Phase::Stopping | Phase::Dying | Phase::Over => None,
        };
        self.is_stopping = true;
        effect
    }

    fn recycle(&mut self) -> Option<ChildEffect> {
        match self.phase {
            Phase::Working => {
                self.is_recycled = true;
                self.phase = Phase::Stopping;
                // Items that it has begun may take any time; a time limit is the item's.
                self.deadline = None;
                Some(ChildEffect::AskToStop)
            }
            Phase::Dying => {
                self.is_recycled = true;
                None
            }
            Phase::Resting | Phase::Booting | Phase::Stopping | Phase::Over => None,
        }
    }

    /// Kills it, again and again until it has ended, because it may not exist yet.
    fn kill(&mut self, now: Duration) -> Option<ChildEffect> {
        self.phase = Phase::Dying;
        self.deadline = now.checked_add(LINGER);
        Some(ChildEffect::Kill)
    }

    fn finish(&mut self) -> Option<ChildEffect> {
        self.end_with(ChildEffect::Finish)
    }

    fn end_with(&mut self, effect: ChildEffect) -> Option<ChildEffect> {
        self.phase = Phase::Over;
        self.deadline = None;
        Some(effect)
    }

    fn deadline_passed(&mut self, now: Duration) -> Option<ChildEffect> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.deadline = None;
        match self.phase {
            Phase::Resting => self.begin(now),
            Phase::Booting | Phase::Stopping => self.kill(now),
            Phase::Dying if self.has_process => self.kill(now),
            // A process that the worker started outside its group keeps its channel open.
            Phase::Dying => {
                self.has_link = false;
                Some(ChildEffect::Conclude)
            }
            Phase::Working | Phase::Over => None,
        }
    }

    fn start_again(&mut self, now: Duration, exit: Exit, charged: usize) -> Option<ChildEffect> {
        let is_wanted = match self.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_success(),
            Restart::Temporary => false,
        };
        if self.is_stopping || !(is_wanted || self.is_recycled) {
            return self.finish();
        }
        if charged > 0 || self.is_recycled || self.is_excused {
            return self.begin(now);
        }
        let ChildSpec {
            intensity,
            period,
            backoff,
            ..
        } = self.spec;
        // Boots that hang until their deadline may be too far apart for the period.
        let is_bootless = self.failed_boots > intensity;
        match self.window.note(now, intensity, period) {
            Some(recent) if !is_bootless => {
                self.phase = Phase::Resting;
                self.deadline = now.checked_add(backoff.delay(recent, self.seed));
                None
            }
            _ => self.end_with(ChildEffect::GiveUp),
        }
    }
}
