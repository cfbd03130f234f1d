//! The nature of one world: sizes, rules, and the rates of its faults. Each seed draws its own
//! selection of faults (Groce et al.: "Swarm Testing", ISSTA 2012), because a world with all of
//! them at once never gets far.

use std::time::Duration;

use dishrack_core::ledger::{Backoff, Capacity, Copies, Hedge, Options, Rate};
use dishrack_core::pool::spec::ChildSpec;

use crate::chance::Chance;

/// The rates of faults, in a thousand chances.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    pub(crate) nack: u64,
    pub(crate) deferred_nack: u64,
    pub(crate) shortage: u64,
    pub(crate) panic: u64,
    pub(crate) hang: u64,
    pub(crate) crash_in_item: u64,
    pub(crate) crash_in_idle: u64,
    pub(crate) crash_in_boot: u64,
    pub(crate) hang_in_boot: u64,
    pub(crate) start_fails: u64,
    pub(crate) kill: u64,
    pub(crate) lingering_link: u64,
    pub(crate) undeliverable: u64,
    pub(crate) cancel: u64,
    pub(crate) revive: u64,
    pub(crate) recycle: u64,
    pub(crate) stop: u64,
    pub(crate) worker_put: u64,
    pub(crate) cancelled_request: u64,
    pub(crate) supervisor_crash: u64,
    pub(crate) power_failure: u64,
    pub(crate) write_failure: u64,
    pub(crate) client_kill: u64,
    pub(crate) client_crash: u64,
    /// A command is killed by the kernel, and a worker by its supervisor, for memory.
    pub(crate) memory_kill: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) spec: ChildSpec,
    pub(crate) is_journaled: bool,
    /// True if ended attempts are kept until they are shown.
    pub(crate) keeps_attempts: bool,
    /// True if each commit is synced to the disk; otherwise only now and then.
    pub(crate) is_full: bool,
    pub(crate) handlers: usize,
    /// The number of workers that ask for items, rather than being handed them.
    pub(crate) loops: usize,
    pub(crate) has_consumer: bool,
    /// The greatest number of clients at the same time.
    pub(crate) clients: usize,
    pub(crate) is_single_credit: bool,
    pub(crate) quota: u64,
    pub(crate) time_limit: Option<Duration>,
    /// Keys of a producer that goes on where it stopped, and may hold a key twice.
    pub(crate) keys: Vec<u64>,
    /// The number of items that the producer without keys puts.
    pub(crate) plain_puts: u64,
    pub(crate) steps: u64,
    /// True if somebody steers the run.
    pub(crate) is_steered: bool,
    pub(crate) rates: Rates,
    /// True if that producer puts several at once.
    pub(crate) puts_many: bool,
    /// True if a worker's turn is handed out in one go.
    pub(crate) takes_turns: bool,
    /// True if nobody looks at single items, so that results are told at once where no journal is.
    pub(crate) tells_at_once: bool,
    pub(crate) limits: Limits,
}

/// The bounds of what runs at the same time, and how fast.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// The number of items of a key that may run, if they have keys.
    pub(crate) per_key: Option<u32>,
    /// The number of slots; 0 for none.
    pub(crate) slots: u32,
    /// The rate of deliveries to workers, and its burst.
    pub(crate) rate: Option<(Rate, u32)>,
    /// True if some items have times.
    pub(crate) has_times: bool,
    /// True if some begin after others.
    pub(crate) has_dependencies: bool,
    /// True if some have unique keys.
    pub(crate) has_unique_keys: bool,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Plan {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let is_journaled = chance.below(5) > 0;
        let capacity = match chance.below(4) {
            0 => Capacity::Rendezvous,
            1 => Capacity::Bounded(1 + chance.index(5)),
            _ => Capacity::Unbounded,
        };
        let backoff = match chance.below(2) {
            0 => Backoff::none(),
            _ => Backoff::exponential(ms(20), ms(200)),
        };
        let max_attempts = 1 + u32::try_from(chance.below(4)).expect("small");
        let loops = chance.index(2);
        let mut plan = Plan {
            options: Options::default()
                .capacity(capacity)
                .max_attempts(max_attempts)
                .backoff(backoff),
            spec: ChildSpec {
                intensity: chance.pick(&[0, 1, 3, 10, 10, 10]),
                period: ms(chance.pick(&[500, 5_000])),
                shutdown: ms(200),
                boot_deadline: ms(300),
                ..ChildSpec::default()
            },
            is_journaled,
            is_full: chance.below(2) == 0,
            handlers: 1 + chance.index(3),
            loops,
            has_consumer: chance.below(4) == 0,
            clients: 0,
            is_single_credit: chance.below(4) == 0,
            quota: chance.pick(&[u64::MAX, u64::MAX, 1, 3]),
            time_limit: (chance.below(2) == 0).then(|| ms(100)),
            keys: (0..chance.below(6)).map(|_| chance.below(4)).collect(),
            plain_puts: match chance.below(4) {
                0 => chance.below(40),
                _ => chance.below(10),
            },
            steps: 60 + chance.below(240),
            rates: Rates::draw(chance, is_journaled),
            is_steered: false,
            keeps_attempts: false,
            puts_many: false,
            takes_turns: false,
            tells_at_once: false,
            limits: Limits::default(),
        };
        // These are not drawn, so that the same seed still gives the same plan.
        plan.is_steered = plan.steps % 8 < 4;
        plan.keeps_attempts = is_journaled && plan.steps.is_multiple_of(2);
        plan.puts_many = plan.steps % 8 < 4;
        plan.takes_turns = !plan.steps.is_multiple_of(3);
        plan.let_clients_come();
        plan.tells_at_once = !is_journaled && plan.steps % 5 > 1;
        plan.options.copies = plan.drawn_copies();
        if plan.options.copies.is_some() {
            plan.handlers += 2;
        } else {
            plan.bound_what_runs();
        }
        plan
    }

    fn drawn_copies(&self) -> Option<Copies> {
        match self.steps % 32 {
            3 => Some(Copies::first(2)),
            11 => Some(Copies::first(2).hedge_after(Hedge::After(ms(20)))),
            19 => Some(Copies::agree(2, 3)),
            27 => Some(
                Copies::agree(2, 3)
                    .hedge_after(Hedge::quantile(0.5))
                    .pressing(),
            ),
            _ => None,
        }
    }

    /// Decides about keys, slots and rates, which items with copies do not have.
    fn bound_what_runs(&mut self) {
        self.limits.per_key = match self.steps % 7 {
            0 | 1 => Some(1),
            2 => Some(2),
            _ => None,
        };
        self.limits.rate = match self.steps % 11 {
            4 => Some((Rate::new(40, ms(1000)), 1)),
            8 => Some((Rate::new(100, ms(1000)).burst(3), 3)),
            _ => None,
        };
        self.limits.slots = match self.steps % 9 {
            2 => 1,
            5 => 2,
            _ => 0,
        };
        self.limits.has_times = self.steps % 9 == 4;
        self.limits.has_dependencies = matches!(self.steps % 17, 3 | 4);
        self.limits.has_unique_keys = matches!(self.steps % 17, 4 | 5);
        if self.limits.has_dependencies || self.limits.has_unique_keys {
            // Some items are refused alone, for which these producers have no word.
            self.puts_many = false;
            self.keys.clear();
        }
    }

    /// Decides about clients, and about kills for memory. Where items have copies there are no clients.
    fn let_clients_come(&mut self) {
        self.clients = match self.steps % 8 {
            1 => 1,
            5 | 6 => 2,
            _ => 0,
        };
        self.rates.client_kill = match self.steps % 3 {
            0 => 0,
            1 => 10,
            _ => 40,
        };
        self.rates.client_crash = match self.steps % 2 {
            0 => 0,
            _ => 150,
        };
        self.rates.memory_kill = match self.steps % 6 {
            1 => 30,
            4 => 200,
            _ => 0,
        };
    }
}

impl Rates {
    fn draw(chance: &mut Chance, is_journaled: bool) -> Self {
        let mut rate = |high: u64| match chance.below(3) {
            0 => high,
            1 => high / 4,
            _ => 0,
        };
        let mut rates = Rates {
            nack: rate(300),
            deferred_nack: rate(150),

            panic: rate(200),
            hang: rate(150),
            crash_in_item: rate(250),
            crash_in_idle: rate(40),
            crash_in_boot: rate(200),
            hang_in_boot: rate(100),
            start_fails: rate(150),
            kill: rate(40),
            lingering_link: rate(300),
            undeliverable: rate(60),
            cancel: rate(40),
            revive: rate(40),
            recycle: rate(40),
            stop: rate(4),
            worker_put: rate(200),
            cancelled_request: rate(100),
            shortage: rate(100),
            ..Rates::default()
        };
        if is_journaled {
            rates.supervisor_crash = rate(20);
            rates.power_failure = rate(12);
            rates.write_failure = rate(20);
        }
        rates
    }
}
