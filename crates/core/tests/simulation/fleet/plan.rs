//! The nature of one fleet, and the rates of its faults.

use std::time::Duration;

use dishrack_core::ledger::{Backoff, Capacity, Options, Rate};

use crate::chance::Chance;

/// The rates of faults, in a thousand chances.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    pub(crate) lose_request: u64,
    pub(crate) lose_answer: u64,
    /// The share of lost requests that arrive after they were given up.
    pub(crate) stray: u64,
    pub(crate) kill: u64,
    pub(crate) pause: u64,
    pub(crate) leave: u64,
    pub(crate) break_off: u64,
    pub(crate) restart: u64,
    pub(crate) older: u64,
    pub(crate) nack: u64,
    pub(crate) crash_in_item: u64,
    pub(crate) hang: u64,
    pub(crate) kill_worker: u64,
    pub(crate) worker_put: u64,
    pub(crate) cancel: u64,
    pub(crate) revive: u64,
    pub(crate) stranger: u64,
    pub(crate) cursed: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) members: usize,
    pub(crate) options: Options,
    pub(crate) bound: Option<u64>,
    pub(crate) lease: Duration,
    /// The number of puts in one call.
    pub(crate) chunk: usize,
    pub(crate) is_single_credit: bool,
    pub(crate) puts: u64,
    pub(crate) steps: u64,
    pub(crate) rates: Rates,
    /// The rate at which each member begins items, if there is one.
    pub(crate) rate: Option<Rate>,
    /// The number of slots of each member, if there are some.
    pub(crate) slots: Option<u32>,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Plan {
    /// Draws the plan; its limits are drawn apart.
    pub(crate) fn draw(chance: &mut Chance, limits: &mut Chance) -> Self {
        let bound = (chance.below(3) == 0).then(|| 1 + chance.below(5));
        let capacity = bound.map_or(Capacity::Unbounded, |bound| {
            Capacity::Bounded(usize::try_from(bound).expect("small"))
        });
        let mut plan = Plan {
            members: 1 + chance.index(3),
            options: Options::default()
                .capacity(capacity)
                .max_attempts(1 + u32::try_from(chance.below(4)).expect("small"))
                .backoff(match chance.below(2) {
                    0 => Backoff::none(),
                    _ => Backoff::exponential(ms(20), ms(200)),
                }),
            bound,
            lease: ms(chance.pick(&[150, 300])),
            chunk: chance.pick(&[1, 3, 100]),
            is_single_credit: chance.below(2) == 0,
            puts: match chance.below(4) {
                0 => chance.below(40),
                _ => chance.below(12),
            },
            steps: 150 + chance.below(450),
            rates: Rates::draw(chance),
            rate: None,
            slots: (limits.below(4) == 0).then(|| 1 + u32::from(limits.below(2) == 0)),
        };
        plan.rate = (limits.below(4) == 0).then(|| {
            // So slow that nothing is wanted for a while, where that takes not too long.
            let interval = match plan.puts {
                0..12 => limits.pick(&[20, 150]),
                _ => limits.pick(&[5, 20]),
            };
            let burst = 1 + u32::try_from(limits.below(3)).expect("small");
            Rate::new(1, ms(interval)).burst(burst)
        });
        plan
    }
}

impl Rates {
    fn draw(chance: &mut Chance) -> Self {
        let mut rate = |high: u64| match chance.below(3) {
            0 => high,
            1 => high / 4,
            _ => 0,
        };
        Rates {
            lose_request: rate(200),
            lose_answer: rate(200),
            stray: rate(500),
            kill: rate(120),
            pause: rate(200),
            leave: rate(60),
            break_off: rate(20),
            restart: rate(100),
            older: rate(60),
            nack: rate(300),
            crash_in_item: rate(200),
            hang: rate(100),
            kill_worker: rate(30),
            worker_put: rate(150),
            cancel: rate(100),
            revive: rate(150),
            stranger: rate(700),
            cursed: rate(300),
        }
    }
}
