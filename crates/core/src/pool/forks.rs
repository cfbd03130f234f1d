//! A fork server's lives and the orders that it is sent: when its process is started, how many orders
//! are under way, and what becomes of them when it dies. It names no clock, process or channel:
//! events come in, effects are polled.
//!
//! A fork server says first that it serves, and then answers in order, so an answer belongs to the
//! oldest order that was sent. Few are sent at a time, because a stopped fork server must not make
//! the sender wait. It is over when its process has ended and what it said has been read to the end:
//! only then is it known which orders were lost with it. Nothing is started for its own sake: the
//! next order starts the next one.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::restart::Window;
use crate::ledger::Exit;

/// The number of orders that may be sent and not answered. They are small, and a socket holds many
/// more.
const UNANSWERED_MAX: usize = 8;

/// The longest time for which its answers may outlive its process: processes that it has forked may
/// keep them open.
const LINGER: Duration = Duration::from_secs(1);

/// An effect that is to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForkEffect {
    /// Start its process, and report [`started`](ForkOrders::started) or
    /// [`not_started`](ForkOrders::not_started).
    Start,
    /// Kill its process.
    Kill,
    /// Send it this order.
    Send(u64),
    /// Say that this order was lost: it was sent to a fork server that has died without an answer. It
    /// may be given again.
    Lost(u64, Exit),
    /// Say that this order is not carried out.
    Refused(u64, ForkRefusal),
}

/// The reason why an order is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForkRefusal {
    /// The fork server could not be started.
    NotStarted,
    /// It died again and again before it had carried out any order, at last like this.
    DiedTooOften(Exit),
}

/// The orders to a fork server, and its present life.
#[derive(Debug)]
pub struct ForkOrders {
    intensity: u32,
    period: Duration,
    /// The number of its lives so far. What an earlier one still says is not this one's.
    number: u64,
    life: ServerLife,
    unsent: VecDeque<u64>,
    unanswered: VecDeque<u64>,
    effects: VecDeque<ForkEffect>,
    /// Deaths before the first answer to an order.
    window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerLife {
    /// There is none: the next order starts it.
    Absent,
    /// Its process is being started.
    Starting,
    /// Its process is there.
    There {
        /// It has said so.
        is_serving: bool,
        has_answered: bool,
        exit: Option<Exit>,
        /// True when all that it said has been read.
        is_closed: bool,
        /// Set when its process has ended: the time until which it may be read.
        lingers_until: Option<Duration>,
    },
}

impl ForkOrders {
    /// Makes the account of a fork server that may die `intensity` times within `period` before it has
    /// carried out an order.
    #[must_use]
    pub fn new(intensity: u32, period: Duration) -> Self {
        ForkOrders {
            intensity,
            period,
            number: 0,
            life: ServerLife::Absent,
            unsent: VecDeque::new(),
            unanswered: VecDeque::new(),
            effects: VecDeque::new(),
            window: Window::default(),
        }
    }

    /// Takes the next effect.
    pub fn poll_effect(&mut self) -> Option<ForkEffect> {
        self.effects.pop_front()
    }

    /// Returns the time at which [`deadline_passed`](Self::deadline_passed) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.life {
            ServerLife::There { lingers_until, .. } => lingers_until,
            ServerLife::Absent | ServerLife::Starting => None,
        }
    }

    /// Takes an order.
    pub fn order(&mut self, order: u64) {
        self.unsent.push_back(order);
        self.go_on();
    }

    /// Takes an order back. Returns `false` if it was sent.
    pub fn cancel(&mut self, order: u64) -> bool {
        let unsent = self.unsent.len();
        self.unsent.retain(|other| *other != order);
        self.unsent.len() < unsent
    }

    /// This order could not be sent: it is none.
    pub fn not_sent(&mut self, order: u64) {
        self.unanswered.retain(|other| *other != order);
    }

    /// Ends a fork server that was sent this order and has not answered in time.
    pub fn condemn(&mut self, order: u64) {
        if self.unanswered.contains(&order) {
            self.effects.push_back(ForkEffect::Kill);
        }
    }

    /// Its process was started. Returns the number of this life.
    pub fn started(&mut self) -> u64 {
        self.number += 1;
        self.life = ServerLife::There {
            is_serving: false,
            has_answered: false,
            exit: None,
            is_closed: false,
            lingers_until: None,
        };
        self.number
    }

    /// Its process could not be started.
    pub fn not_started(&mut self) {
        self.life = ServerLife::Absent;
        self.refuse_all(ForkRefusal::NotStarted);
    }

    /// The fork server of this life says that it takes orders.
    pub fn serves(&mut self, number: u64) {
        if number == self.number
            && let ServerLife::There { is_serving, .. } = &mut self.life
        {
            *is_serving = true;
        }
        self.go_on();
    }

    /// The fork server of this life has carried out the oldest order, or said why not. Returns which
    /// that is.
    pub fn answered(&mut self, number: u64) -> Option<u64> {
        if number != self.number {
            return None;
        }
        if let ServerLife::There { has_answered, .. } = &mut self.life {
            *has_answered = true;
        }
        let order = self.unanswered.pop_front();
        self.go_on();
        order
    }

    /// The process of this life has ended. What it said before is still to be read.
    pub fn ended(&mut self, number: u64, how: Exit, now: Duration) {
        if number == self.number
            && let ServerLife::There {
                exit,
                lingers_until,
                ..
            } = &mut self.life
        {
            *exit = Some(how);
            *lingers_until = now.checked_add(LINGER);
            self.conclude(now);
        }
    }

    /// All that the fork server of this life said has been read.
    pub fn closed(&mut self, number: u64, now: Duration) {
        if number == self.number
            && let ServerLife::There { is_closed, .. } = &mut self.life
        {
            *is_closed = true;
            self.conclude(now);
        }
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come: what it says is given up.
    pub fn deadline_passed(&mut self, now: Duration) {
        if self.poll_timeout().is_some_and(|until| until <= now) {
            self.closed(self.number, now);
        }
    }

    /// Ends a life whose process and answers have both ended.
    fn conclude(&mut self, now: Duration) {
        let ServerLife::There {
            exit: Some(exit),
            is_closed: true,
            has_answered,
            ..
        } = self.life
        else {
            return;
        };
        self.life = ServerLife::Absent;
        // One that has carried out an order can do so: its death is an accident.
        let is_allowed =
            has_answered || self.window.note(now, self.intensity, self.period).is_some();
        if !is_allowed {
            self.refuse_all(ForkRefusal::DiedTooOften(exit));
            return;
        }
        let lost = self.unanswered.drain(..);
        self.effects
            .extend(lost.map(|order| ForkEffect::Lost(order, exit)));
        self.go_on();
    }

    fn refuse_all(&mut self, why: ForkRefusal) {
        let orders = self.unanswered.drain(..).chain(self.unsent.drain(..));
        self.effects
            .extend(orders.map(|order| ForkEffect::Refused(order, why)));
    }

    /// Starts it, or sends it what it can take.
    fn go_on(&mut self) {
        match self.life {
            ServerLife::Absent if !self.unsent.is_empty() => {
                self.life = ServerLife::Starting;
                self.effects.push_back(ForkEffect::Start);
            }
            ServerLife::There {
                is_serving: true,
                exit: None,
                ..
            } => {
                while self.unanswered.len() < UNANSWERED_MAX
                    && let Some(order) = self.unsent.pop_front()
                {
                    self.unanswered.push_back(order);
                    self.effects.push_back(ForkEffect::Send(order));
                }
            }
            ServerLife::Absent | ServerLife::Starting | ServerLife::There { .. } => {}
        }
    }
}
