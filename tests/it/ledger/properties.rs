//! Random commands for a ledger and its model, checked after every step; and after the last one
//! the queue is drained, which must leave nothing behind.

use std::time::Duration;

use dishrack::ledger::{Backoff, Capacity, Cause, Credit, Exit, Options, Started};
use proptest::prelude::*;

use super::model::Model;

/// One call of the ledger. Numbers choose among what is there at that moment.
#[derive(Debug, Clone)]
enum Command {
    Put {
        weight: usize,
        beyond_bound: bool,
    },
    JoinWorker {
        is_single: bool,
    },
    JoinGetter,
    Get(usize),
    Poll,
    PollAll,
    Done {
        which: usize,
        service_us: u64,
    },
    Nack(usize),
    Return(usize),
    ShowStale(usize),
    Leave {
        who: usize,
        current: u64,
        taken: u64,
        is_crash: bool,
    },
    Stop(usize),
    Close,
    Pass(u64),
    PassToTimeout,
    GetterWaits(bool),
}

fn put() -> impl Strategy<Value = Command> {
    // Light ones, and some of which two or three are all that a worker may hold.
    let weight = prop_oneof![4 => 0..100_usize, 1 => 30_000..150_000_usize];
    (weight, prop::bool::weighted(0.1)).prop_map(|(weight, beyond_bound)| Command::Put {
        weight,
        beyond_bound,
    })
}

fn done() -> impl Strategy<Value = Command> {
    let service_us = prop_oneof![3 => 0..5_u64, 1 => 0..5_000_u64];
    (any::<usize>(), service_us).prop_map(|(which, service_us)| Command::Done { which, service_us })
}

fn leave() -> impl Strategy<Value = Command> {
    let taken = prop_oneof![3 => Just(0), 1 => 0..20_u64];
    (any::<usize>(), 0..20_u64, taken, prop::bool::weighted(0.7)).prop_map(
        |(who, current, taken, is_crash)| Command::Leave {
            who,
            current,
            taken,
            is_crash,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    use Command::{
        Close, Get, GetterWaits, JoinGetter, JoinWorker, Nack, Pass, PassToTimeout, Poll, PollAll,
        Return, ShowStale, Stop,
    };
    prop_oneof![
        60 => put(),
        12 => any::<bool>().prop_map(|is_single| JoinWorker { is_single }),
        4 => Just(JoinGetter),
        12 => any::<usize>().prop_map(Get),
        10 => Just(Poll),
        25 => Just(PollAll),
        50 => done(),
        15 => any::<usize>().prop_map(Nack),
        8 => any::<usize>().prop_map(Return),
        6 => any::<usize>().prop_map(ShowStale),
        8 => leave(),
        3 => any::<usize>().prop_map(Stop),
        1 => Just(Close),
        6 => (0..300_u64).prop_map(Pass),
        6 => Just(PassToTimeout),
        6 => any::<bool>().prop_map(GetterWaits),
    ]
}

/// One of `all`, if there are any.
fn choose<T: Copy>(all: &[T], number: usize) -> Option<T> {
    all.get(number.checked_rem(all.len())?).copied()
}

impl Model {
    fn obey(&mut self, command: &Command) {
        match *command {
            Command::Put {
                weight,
                beyond_bound,
            } => self.put(weight, beyond_bound),
            Command::JoinWorker { is_single: true } => self.join(Some(Credit::single()), true),
            Command::JoinWorker { is_single: false } => self.join(Some(Credit::adaptive()), false),
            Command::JoinGetter => self.join(None, false),
            Command::Poll => drop(self.poll()),
            Command::PollAll => while self.poll() {},
            Command::Close => self.close(),
            Command::Pass(ms) => self.pass(Duration::from_millis(ms)),
            Command::PassToTimeout => self.pass_to_timeout(),
            Command::GetterWaits(is_waiting) => self.set_getter_waiting(is_waiting),
            Command::ShowStale(which) => {
                if let Some(token) = choose(&self.stale, which) {
                    self.show_stale(token);
                }
            }
            _ => {
                self.settle(command);
                self.trouble(command);
            }
        }
    }

    /// Commands that name a delivery.
    fn settle(&mut self, command: &Command) {
        let indices: Vec<usize> = (0..self.leases.len()).collect();
        let pick = |which: usize| choose(&indices, which);
        match *command {
            Command::Done { which, service_us } => {
                if let Some(index) = pick(which) {
                    self.done(index, Duration::from_micros(service_us));
                }
            }
            Command::Nack(which) => drop(pick(which).map(|index| self.nack(index))),
            Command::Return(which) => drop(pick(which).map(|index| self.give_back(index))),
            _ => {}
        }
    }

    /// Commands that name a holder, which may have left before.
    fn trouble(&mut self, command: &Command) {
        let known = self.known.clone();
        let pick = |who: usize| choose(&known, who);
        match *command {
            Command::Get(who) => drop(pick(who).map(|holder| self.get(holder))),
            Command::Stop(who) => drop(pick(who).map(|holder| self.stop(holder))),
            Command::Leave {
                who,
                current,
                taken,
                is_crash,
            } => {
                let cause = Cause::WorkerDied(Exit::Signaled(6));
                if let Some(holder) = pick(who) {
                    let started = Started { current, taken };
                    self.leave(holder, started, is_crash.then_some(&cause));
                }
            }
            _ => {}
        }
    }

    /// A willing worker, time, and an acknowledgement for everything: nothing may be left.
    fn drain(&mut self) {
        self.join(Some(Credit::adaptive()), false);
        while !self.ledger.is_finished() {
            let before = self.ledger.counts().unfinished();
            self.pass_to_timeout();
            while self.poll() {}
            while !self.leases.is_empty() {
                self.done(0, Duration::from_micros(1));
            }
            self.check();
            assert!(self.ledger.counts().unfinished() < before, "it is stuck");
        }
        let counts = self.ledger.counts();
        assert_eq!(counts.done + counts.dead, counts.accepted);
        assert_eq!(self.ledger.poll_timeout(), None);
    }
}

fn run(options: Options, commands: &[Command]) {
    let mut model = Model::new(options);
    for command in commands {
        model.obey(command);
        model.check();
    }
    model.drain();
}

fn check_all(capacity: impl Strategy<Value = Capacity>) {
    let second = Duration::from_secs(1);
    let backoffs = [
        Backoff::none(),
        Backoff::exponential(Duration::from_millis(100), second),
    ];
    let options = (capacity, 1..=4_u32, prop::sample::select(backoffs.to_vec()));
    let options = options.prop_map(|(capacity, max_attempts, backoff)| Options {
        capacity,
        max_attempts,
        backoff,
    });
    let config = ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let commands = prop::collection::vec(command(), 1..200);
    proptest!(config, |(options in options, commands in commands)| {
        run(options, &commands);
    });
}

pub(super) fn unbounded_queues_keep_every_item() {
    check_all(Just(Capacity::Unbounded));
}

pub(super) fn bounded_queues_keep_every_item() {
    check_all((0..20_usize).prop_map(Capacity::Bounded));
}

pub(super) fn rendezvous_queues_keep_every_item() {
    check_all(Just(Capacity::Rendezvous));
}
