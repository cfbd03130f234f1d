//! Random commands for a ledger and its model, compared after every step. At the end the queue is
//! drained, which must leave nothing behind.

use std::time::Duration;

use dishrack_core::ledger::{
    Backoff, Blame, Capacity, Cause, Credit, Exit, Failure, ItemId, Options, Recovered, Scene,
    Started, Unfinished,
};
use proptest::prelude::*;

use super::model::{Load, Model};

/// One call of the ledger. Its numbers choose among what exists at that moment.
#[derive(Debug, Clone)]
enum Command {
    Put {
        weight: usize,
        beyond_bound: bool,
    },
    JoinWorker {
        is_single: bool,
        quota: Option<u64>,
    },
    JoinGetter {
        quota: Option<u64>,
    },
    Get(usize),
    Poll,
    PollAll,
    Done {
        which: usize,
        service_us: u64,
    },
    Nack {
        which: usize,
        rest_ms: Option<u64>,
    },
    Return(usize),
    ShowStale(usize),
    ReturnStale(usize),
    Cancel(usize),
    Revive(usize),
    BeginWrite,
    FinishWrite,
    FailWrite,
    Leave {
        who: usize,
        current: u64,
        begun: u64,
        is_crash: bool,
    },
    Stop(usize),
    Close,
    Pass(u64),
    PassToTimeout,
    GetterWaits(bool),
}

fn put() -> impl Strategy<Value = Command> {
    // Light ones, and some so heavy that a worker may hold only two or three.
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
    let begun = prop_oneof![3 => Just(0), 1 => 0..20_u64];
    (any::<usize>(), 0..20_u64, begun, prop::bool::weighted(0.7)).prop_map(
        |(who, current, begun, is_crash)| Command::Leave {
            who,
            current,
            begun,
            is_crash,
        },
    )
}

fn nack() -> impl Strategy<Value = Command> {
    let rest_ms = prop::option::weighted(0.3, 0..400_u64);
    (any::<usize>(), rest_ms).prop_map(|(which, rest_ms)| Command::Nack { which, rest_ms })
}

fn quota() -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.2, 0..12_u64)
}

fn join() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => (any::<bool>(), quota())
            .prop_map(|(is_single, quota)| Command::JoinWorker { is_single, quota }),
        1 => quota().prop_map(|quota| Command::JoinGetter { quota }),
    ]
}

/// Makes commands for the journal, which do nothing without one.
fn writing() -> impl Strategy<Value = Command> {
    prop_oneof![
        100 => Just(Command::BeginWrite),
        100 => Just(Command::FinishWrite),
        1 => Just(Command::FailWrite),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    use Command::{
        Cancel, Close, Get, GetterWaits, Pass, PassToTimeout, Poll, PollAll, Return, ReturnStale,
        Revive, ShowStale, Stop,
    };
    prop_oneof![
        60 => put(),
        16 => join(),
        12 => any::<usize>().prop_map(Get),
        10 => Just(Poll),
        25 => Just(PollAll),
        50 => done(),
        15 => nack(),
        8 => any::<usize>().prop_map(Return),
        6 => any::<usize>().prop_map(ShowStale),
        4 => any::<usize>().prop_map(ReturnStale),
        10 => any::<usize>().prop_map(Cancel),
        5 => any::<usize>().prop_map(Revive),
        8 => leave(),
        3 => any::<usize>().prop_map(Stop),
        1 => Just(Close),
        6 => (0..300_u64).prop_map(Pass),
        6 => Just(PassToTimeout),
        6 => any::<bool>().prop_map(GetterWaits),
        60 => writing(),
    ]
}

/// Returns one of `all`, if there are any.
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
            Command::JoinWorker { is_single, quota } => {
                let credit = match is_single {
                    true => Credit::single(),
                    false => Credit::adaptive(),
                };
                self.join(Some(credit), is_single, quota);
            }
            Command::JoinGetter { quota } => self.join(None, false, quota),
            Command::Poll => drop(self.poll()),
            Command::PollAll => while self.poll() {},
            Command::Close => self.close(),
            Command::Pass(ms) => self.pass(Duration::from_millis(ms)),
            Command::PassToTimeout => self.pass_to_timeout(),
            Command::GetterWaits(is_waiting) => self.set_getter_waiting(is_waiting),
            Command::Cancel(which) => self.cancel(which),
            Command::Revive(which) => self.revive(which),
            Command::BeginWrite => self.begin_write(),
            Command::FinishWrite => self.finish_write(),
            Command::FailWrite => self.fail_write(),
            _ => {
                self.settle(command);
                self.trouble(command);
            }
        }
    }

    /// Runs the commands that name a delivery.
    fn settle(&mut self, command: &Command) {
        let indices: Vec<usize> = (0..self.leases.len()).collect();
        let pick = |which: usize| choose(&indices, which);
        match *command {
            Command::Done { which, service_us } => {
                if let Some(index) = pick(which) {
                    self.done(index, Duration::from_micros(service_us));
                }
            }
            Command::Nack { which, rest_ms } => {
                let rest = rest_ms.map(Duration::from_millis);
                let _ = pick(which).map(|index| self.nack(index, rest));
            }
            Command::Return(which) => drop(pick(which).map(|index| self.give_back(index))),
            Command::ShowStale(which) => {
                let _ = choose(&self.stale, which).map(|token| self.show_stale(token));
            }
            Command::ReturnStale(which) => {
                let _ = choose(&self.stale, which).map(|token| self.return_stale(token));
            }
            _ => {}
        }
    }

    /// Runs the commands that name a holder, which may have left before.
    fn trouble(&mut self, command: &Command) {
        let known = self.known.clone();
        let pick = |who: usize| choose(&known, who);
        match *command {
            Command::Get(who) => drop(pick(who).map(|holder| self.get(holder))),
            Command::Stop(who) => drop(pick(who).map(|holder| self.stop(holder))),
            Command::Leave {
                who,
                current,
                begun,
                is_crash,
            } => {
                let blame = Blame::from(Cause::WorkerDied(Exit::Signaled(6)));
                if let Some(holder) = pick(who) {
                    let started = Started { current, begun };
                    self.leave(holder, started, is_crash.then_some(&blame));
                }
            }
            _ => {}
        }
    }

    /// Drains the queue by a willing worker. Nothing may be left, unless the journal failed.
    fn drain(&mut self) {
        self.join(Some(Credit::adaptive()), false, None);
        let rounds_max = 2 * self.ledger.counts().unfinished() + 2;
        for _ in 0..rounds_max {
            self.begin_write();
            self.finish_write();
            self.pass_to_timeout();
            while self.poll() {}
            while !self.leases.is_empty() {
                self.done(0, Duration::from_micros(1));
            }
            self.check();
        }
        assert_eq!(self.ledger.is_finished(), !self.is_broken(), "it is stuck");
        let counts = self.ledger.counts();
        if !self.is_broken() {
            assert_eq!(counts.done + counts.dead, counts.accepted);
            assert_eq!(self.ledger.poll_timeout(), None);
        }
    }
}

fn run(options: Options, recovered: Option<Recovered<Load>>, commands: &[Command]) {
    let mut model = Model::new(options, recovered);
    model.check();
    for command in commands {
        model.obey(command);
        model.check();
    }
    model.drain();
}

/// Makes an earlier run's rest, by the states of its items: each unfinished with so many failed
/// attempts, of which so many are forgiven; or finished.
fn recovered(max_attempts: u32) -> impl Strategy<Value = Recovered<Load>> {
    let history = (0..max_attempts, 0..3_u32);
    let items = prop::collection::vec(prop::option::of(history), 0..12);
    (items, any::<usize>()).prop_map(|(items, dead)| {
        let accepted = items.len() as u64;
        let unfinished: Vec<_> = (1..)
            .zip(&items)
            .filter_map(|(number, item)| Some(left_over(number, (*item)?)))
            .collect();
        let finished = items.len() - unfinished.len();
        Recovered {
            accepted,
            dead: (dead % (finished + 1)) as u64,
            unfinished,
        }
    })
}

fn left_over(number: u64, (failures, forgiven): (u32, u32)) -> Unfinished<Load> {
    let failure = |attempt| Failure::new(attempt, Cause::Dropped, Scene::default());
    Unfinished {
        id: ItemId(number),
        payload: Load::new(number, 1),
        history: (1..=failures + forgiven).map(failure).collect(),
        forgiven,
    }
}

fn check_all(capacity: impl Strategy<Value = Capacity>) {
    let second = Duration::from_secs(1);
    let backoffs = [
        Backoff::none(),
        Backoff::exponential(Duration::from_millis(100), second),
    ];
    let options = (capacity, 1..=4_u32, prop::sample::select(backoffs.to_vec()));
    let options = options.prop_map(|(capacity, max_attempts, backoff)| {
        Options::default()
            .capacity(capacity)
            .max_attempts(max_attempts)
            .backoff(backoff)
    });
    let config = ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let start = options.prop_flat_map(|options| {
        let recovered = prop::option::weighted(0.7, recovered(options.max_attempts));
        (Just(options), recovered)
    });
    let commands = prop::collection::vec(command(), 1..200);
    proptest!(config, |((options, recovered) in start, commands in commands)| {
        run(options, recovered, &commands);
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
