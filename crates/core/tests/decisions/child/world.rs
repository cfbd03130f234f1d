//! A world of one process and one channel that carries out the state machine's effects, like the
//! watching thread, and checks them. It knows no real process.

use std::time::Duration;

use dishrack_core::ledger::Exit;
use dishrack_core::pool::child::{Child, ChildEffect, ChildEvent, Phase};
use proptest::prelude::*;

use super::{any_spec, config, exit, ms};

/// The next event of the world.
#[derive(Debug, Clone, Copy)]
enum Event {
    GetReady,
    EndProcess,
    CloseLink,
    Pass(u64),
    ReachDeadline,
    AskToStop,
    AskToDrain,
    AskToKill,
}

/// The world's answers to what it is told meanwhile.
#[derive(Debug, Clone, Copy)]
struct Fate {
    start_fails: bool,
    exit: Exit,
    charged: usize,
}

struct World {
    child: Child,
    now: Duration,
    fate: Fate,
    has_process: bool,
    has_link: bool,
    ended_at: Duration,
    is_concluded: bool,
    is_doomed: bool,
    is_stop_asked: bool,
}

impl World {
    fn tell(&mut self, event: ChildEvent) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let was_over = self.child.phase() == Phase::Over;
            let effect = self.child.handle(event, self.now);
            assert!(!was_over || effect.is_none(), "{effect:?} after the end");
            next = effect.and_then(|effect| self.carry_out(effect));
        }
    }

    fn carry_out(&mut self, effect: ChildEffect) -> Option<ChildEvent> {
        match effect {
            ChildEffect::Start => self.start(),
            ChildEffect::AskToStop => {
                assert!(self.has_process && self.has_link, "nobody hears it");
                None
            }
            ChildEffect::Kill => {
                assert!(self.has_process, "nobody is there to kill");
                self.is_doomed = true;
                None
            }
            ChildEffect::Conclude => Some(self.conclude()),
            ChildEffect::Finish | ChildEffect::GiveUp => {
                assert!(!self.has_process, "a process is left behind");
                assert_eq!(self.child.phase(), Phase::Over);
                None
            }
        }
    }

    fn start(&mut self) -> Option<ChildEvent> {
        assert!(!self.has_process, "the one before still runs");
        assert!(self.is_concluded, "the one before was not concluded");
        assert!(!self.is_stop_asked, "it was asked to stop");
        self.is_doomed = false;
        let fails = self.fate.start_fails;
        (self.has_process, self.has_link, self.is_concluded) = (!fails, !fails, fails);
        fails.then_some(ChildEvent::StartFailed)
    }

    fn conclude(&mut self) -> ChildEvent {
        assert!(!self.is_concluded, "concluded twice");
        assert!(!self.has_process, "concluded while it lives");
        let lingered = self.now.saturating_sub(self.ended_at);
        assert!(!self.has_link || lingered >= ms(1_000), "{lingered:?}");
        self.is_concluded = true;
        ChildEvent::Concluded {
            exit: self.fate.exit,
            charged: self.fate.charged,
        }
    }

    fn end_process(&mut self) {
        if self.has_process {
            self.has_process = false;
            self.ended_at = self.now;
            self.tell(ChildEvent::Ended);
        }
    }

    fn close_link(&mut self) {
        if self.has_link {
            self.has_link = false;
            self.tell(ChildEvent::LinkClosed);
        }
    }

    fn reach_deadline(&mut self) {
        if let Some(deadline) = self.child.poll_timeout() {
            self.now = self.now.max(deadline);
            self.tell(ChildEvent::DeadlinePassed);
        }
    }

    fn live(&mut self, event: Event) {
        match event {
            Event::GetReady if self.has_process && self.has_link => self.tell(ChildEvent::Ready),
            Event::GetReady => {}
            Event::EndProcess => self.end_process(),
            Event::CloseLink => self.close_link(),
            Event::Pass(pause) => {
                self.now += ms(pause);
                if self.child.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.tell(ChildEvent::DeadlinePassed);
                }
            }
            Event::ReachDeadline => self.reach_deadline(),
            Event::AskToStop => self.ask(ChildEvent::StopAsked),
            Event::AskToDrain => self.ask(ChildEvent::DrainAsked),
            Event::AskToKill => self.ask(ChildEvent::KillAsked),
        }
    }

    fn ask(&mut self, event: ChildEvent) {
        self.is_stop_asked = true;
        self.tell(event);
    }

    /// Stops the worker in the rudest world: it ends only when it is killed, and its channel stays
    /// open. Four deadlines are more than any life has left.
    fn stop(&mut self) {
        self.ask(ChildEvent::StopAsked);
        for _ in 0..4 {
            if self.is_doomed {
                self.end_process();
            }
            self.reach_deadline();
        }
        assert_eq!(self.child.phase(), Phase::Over, "{:?}", self.child);
        assert_eq!(self.child.poll_timeout(), None);
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::GetReady),
        6 => Just(Event::EndProcess),
        6 => Just(Event::CloseLink),
        4 => (0..3_000_u64).prop_map(Event::Pass),
        8 => Just(Event::ReachDeadline),
        1 => Just(Event::AskToStop),
        1 => Just(Event::AskToDrain),
        1 => Just(Event::AskToKill),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    (prop::bool::weighted(0.1), exit(), 0..3_usize).prop_map(|(start_fails, exit, charged)| Fate {
        start_fails,
        exit,
        charged,
    })
}

pub(super) fn every_life_in_a_faithful_world_keeps_the_rules() {
    let lives = prop::collection::vec((event(), fate()), 1..80);
    proptest!(config(2_000), |(spec in any_spec(), seed: u64, first in fate(), life in lives)| {
        let mut world = World {
            child: Child::new(spec, seed),
            now: Duration::ZERO,
            fate: first,
            has_process: false,
            has_link: false,
            ended_at: Duration::ZERO,
            is_concluded: true,
            is_doomed: false,
            is_stop_asked: false,
        };
        world.tell(ChildEvent::Begin);
        for (event, fate) in life {
            world.fate = fate;
            world.live(event);
        }
        world.stop();
    });
}
