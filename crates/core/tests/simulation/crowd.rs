//! A crowd: many items that wait in an order by keys and priorities, more than a world has. Whatever is
//! put, ends, fails, comes back or is cancelled meanwhile, each item that is handed out is the one that
//! a look at all of them finds, and no priority waits for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dishrack_core::ledger::{
    Cancelled, Cause, Credit, Handed, HolderId, ItemId, Ledger, Options, OrderRules, Rank, Scene,
    Weight,
};

use crate::chance::Chance;
use crate::coverage::CrowdCoverage;
use crate::planted::CrowdPlant;
use crate::runs::{Seeded, expect_caught, expect_promises_kept};

crate::trials! {
    nothing_starves_in_any_crowd => expect_promises_kept::<Crowd>(SEEDS),
    room_of_a_key_that_is_not_seen_is_caught =>
        expect_caught::<Crowd>(CrowdPlant::FewerPerKey, SEEDS),
    a_priority_that_is_forgotten_is_caught =>
        expect_caught::<Crowd>(CrowdPlant::PriorityForgotten, SEEDS),
    an_item_that_starves_is_caught => expect_caught::<Crowd>(CrowdPlant::LowestGivenBack, SEEDS),
}

/// The number of seeds, unless `SEEDS` gives another.
const SEEDS: u64 = 10_000;
/// The number of times in a row for which a priority is passed over by higher ones.
const PATIENCE: u64 = 32;
const MAX_ATTEMPTS: u32 = 3;
/// The greatest number of keys in most crowds.
const FEW_KEYS: u64 = 12;

/// An item: its key and its priority.
#[derive(Debug, Clone, Copy)]
struct Crowded {
    key: Option<u64>,
    priority: i8,
}

impl Weight for Crowded {
    fn weight(&self) -> usize {
        1
    }
}

/// The waiting items of a priority, and what has gone before them.
#[derive(Debug, Default)]
struct Waiting {
    items: BTreeSet<ItemId>,
    /// The hand-outs since the last one of it while some of it waited, and while one was ready.
    others: u64,
    passed_over: u64,
}

/// A world with nothing but a ledger, a holder that takes items as threads do, and in some worlds a worker, which
/// gets them in turns.
pub(crate) struct Crowd {
    ledger: Ledger<Crowded, u64>,
    holder: HolderId,
    has_worker: bool,
    chance: Chance,
    plant: Option<CrowdPlant>,
    per_key: u32,
    keys: u64,
    priorities: u64,
    steps: u64,
    items: BTreeMap<ItemId, Crowded>,
    waiting: BTreeMap<i8, Waiting>,
    held: Vec<Handed>,
    running: BTreeMap<u64, u32>,
    /// The items that are tried again and keep their keys' turns.
    turns: BTreeMap<u64, ItemId>,
    coverage: CrowdCoverage,
    trace: Option<Vec<String>>,
}

impl Crowd {
    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(text());
        }
    }

    fn step(&mut self) {
        self.coverage.steps += 1;
        match self.chance.below(10) {
            0 => self.put(),
            1..=3 if self.has_worker => self.get_in_turns(),
            1..=5 => self.get(),
            6..=8 => self.end(),
            _ => self.cancel(),
        }
        assert_eq!(self.ledger.check(), Ok(()));
    }

    /// Returns how many are put, taken or ended together: fewer than `most`. Where there are many keys these
    /// are many, now and then, so that most keys are full, or have room, at a time.
    fn count(&mut self, most: u64) -> u64 {
        match self.keys > FEW_KEYS && self.chance.below(8) == 0 {
            true => 6 * self.keys,
            false => self.chance.below(most),
        }
    }

    /// Puts some items, most of which have the highest priority.
    fn put(&mut self) {
        for _ in 0..self.count(24) {
            let key = Some(self.chance.below(self.keys)).filter(|key| *key > 0);
            let below = match self.chance.below(3) {
                0 => self.chance.below(self.priorities),
                _ => 0,
            };
            let priority = 2 - i8::try_from(below).expect("small");
            let one = Crowded { key, priority };
            let id = self.ledger.accept(one);
            self.note(|| format!("item {id}: {one:?}"));
            self.items.insert(id, one);
            self.waiting.entry(priority).or_default().items.insert(id);
        }
    }

    fn is_ready(&self, id: ItemId) -> bool {
        self.items[&id].key.is_none_or(|key| {
            let has_room = self.running.get(&key).is_none_or(|n| *n < self.per_key);
            has_room && self.turns.get(&key).is_none_or(|turn| *turn == id)
        })
    }

    fn first_ready(&self, waiting: &Waiting) -> Option<ItemId> {
        let mut items = waiting.items.iter().copied();
        items.find(|id| self.is_ready(*id))
    }

    /// Returns the first item of each priority that may be handed out.
    fn ready(&self) -> BTreeMap<i8, ItemId> {
        let priorities = self.waiting.iter();
        priorities
            .filter_map(|(priority, one)| Some((*priority, self.first_ready(one)?)))
            .collect()
    }

    /// Hands out to the worker as long as it takes more.
    fn get_in_turns(&mut self) {
        while let Some(first) = self.ledger.poll_delivery() {
            let mut turn = vec![first];
            self.ledger.poll_turn(|handed, _| turn.push(*handed));
            self.coverage.in_turns += turn.len() as u64 - 1;
            for handed in turn {
                self.note(|| format!("item {} is handed to the worker", handed.id));
                self.check_choice(handed.id, &self.ready());
                self.take(handed);
            }
        }
    }

    fn get(&mut self) {
        for _ in 0..self.count(12) {
            let ready = self.ready();
            let Some(handed) = self.ledger.handle_get(self.holder) else {
                assert!(ready.is_empty(), "{ready:?} could be handed out");
                return;
            };
            self.note(|| format!("item {} is handed out", handed.id));
            self.check_choice(handed.id, &ready);
            if self.plant == Some(CrowdPlant::LowestGivenBack)
                && self.items[&handed.id].priority < 1
            {
                self.ledger.handle_return(handed.token).expect("held");
                continue;
            }
            self.take(handed);
        }
    }

    /// Checks that this item is the one to be handed out, of those that are the first ones of their priorities.
    fn check_choice(&mut self, id: ItemId, ready: &BTreeMap<i8, ItemId>) {
        let priority = self.items[&id].priority;
        assert_eq!(
            ready.get(&priority),
            Some(&id),
            "the first one of its priority"
        );
        let is_highest = ready
            .last_key_value()
            .is_some_and(|(highest, _)| *highest == priority);
        if !is_highest {
            let others = self.waiting[&priority].others;
            assert!(
                others >= PATIENCE,
                "priority {priority} went first after {others} others"
            );
            self.coverage.overdue_deliveries += 1;
        }
        let before = self.waiting[&priority].items.first();
        self.coverage.passed_by += u64::from(before != Some(&id));
        self.coverage.deliveries += 1;
        let most = PATIENCE + self.priorities;
        for (one, waiting) in &mut self.waiting {
            if *one == priority {
                waiting.others = 0;
                continue;
            }
            waiting.others += u64::from(!waiting.items.is_empty());
            waiting.passed_over += u64::from(ready.contains_key(one));
            let is_patient = *one >= priority || waiting.passed_over <= most;
            assert!(
                is_patient,
                "priority {one} was passed over {} times",
                waiting.passed_over
            );
        }
    }

    fn take(&mut self, handed: Handed) {
        let one = self.items[&handed.id];
        let waiting = self.waiting.entry(one.priority).or_default();
        waiting.items.remove(&handed.id);
        // It has got its turn, which one that comes back at once has not.
        waiting.passed_over = 0;
        if let Some(key) = one.key {
            *self.running.entry(key).or_default() += 1;
            self.turns.remove(&key);
        }
        self.held.push(handed);
    }

    /// Ends an attempt: most often it is done.
    fn end(&mut self) {
        for _ in 0..self.count(12) {
            if self.held.is_empty() {
                return;
            }
            let handed = self.held.swap_remove(self.chance.index(self.held.len()));
            let one = self.items[&handed.id];
            if let Some(key) = one.key {
                *self.running.entry(key).or_default() -= 1;
            }
            let what = self.chance.below(10);
            self.note(|| format!("item {} ends: {what}", handed.id));
            let goes_on = match what {
                0 => {
                    self.coverage.given_back += 1;
                    self.ledger.handle_return(handed.token).expect("held");
                    true
                }
                1 | 2 => {
                    let (now, blame) = (Duration::ZERO, Cause::Dropped.into());
                    let failed = self.ledger.handle_nack(handed.token, blame, None, now);
                    failed.expect("held");
                    let is_retried = handed.attempt < MAX_ATTEMPTS;
                    if let (true, 1, Some(key)) = (is_retried, self.per_key, one.key) {
                        self.turns.insert(key, handed.id);
                        self.coverage.turns_kept += 1;
                    }
                    is_retried
                }
                _ => {
                    // So short that a worker is given many in advance.
                    let time = Duration::from_micros(1);
                    let done = self
                        .ledger
                        .handle_done(handed.token, time, None, Scene::default());
                    done.expect("held");
                    false
                }
            };
            while self.ledger.poll_report().is_some() {}
            if goes_on {
                self.waiting
                    .entry(one.priority)
                    .or_default()
                    .items
                    .insert(handed.id);
            }
        }
    }

    /// Cancels an item that waits.
    fn cancel(&mut self) {
        let all: Vec<ItemId> = self
            .waiting
            .values()
            .flat_map(|one| &one.items)
            .copied()
            .collect();
        if all.is_empty() {
            return;
        }
        let id = self.chance.pick(&all);
        self.note(|| format!("item {id} is cancelled"));
        let cancelled = self.ledger.handle_cancel(id, Scene::default());
        assert_eq!(cancelled, Cancelled::Waiting);
        while self.ledger.poll_report().is_some() {}
        let one = self.items[&id];
        self.waiting
            .entry(one.priority)
            .or_default()
            .items
            .remove(&id);
        self.turns.retain(|_, turn| *turn != id);
        self.coverage.cancelled += 1;
    }
}

impl Seeded for Crowd {
    type Plant = CrowdPlant;
    type Coverage = CrowdCoverage;

    fn begin(seed: u64, plant: Option<CrowdPlant>, is_traced: bool) -> Self {
        let mut chance = Chance::of_seed(seed);
        let mut ledger = Ledger::new(Options::default().max_attempts(MAX_ATTEMPTS));
        let per_key = chance.pick(&[1, 1, 2, 5]);
        let told = match plant {
            Some(CrowdPlant::FewerPerKey) => 1,
            _ => per_key,
        };
        let is_flat = plant == Some(CrowdPlant::PriorityForgotten);
        let rules = OrderRules::new(move |one: &Crowded| match is_flat {
            true => Rank::of_key(one.key),
            false => Rank::of_key(one.key).priority(one.priority),
        });
        ledger.handle_order(rules.per_key(told));
        let holder = ledger.handle_join(None, u64::MAX);
        // It would have more at a time than a look at one after the other explains.
        let has_worker = plant != Some(CrowdPlant::LowestGivenBack) && chance.below(2) == 0;
        if has_worker {
            ledger.handle_join(Some(Credit::adaptive()), u64::MAX);
        }
        Crowd {
            ledger,
            holder,
            has_worker,
            plant,
            per_key,
            keys: match chance.below(32) {
                0 => 100 + chance.below(100),
                _ => 1 + chance.below(FEW_KEYS),
            },
            priorities: 1 + chance.below(5),
            steps: 30 + chance.below(120),
            chance,
            items: BTreeMap::new(),
            waiting: BTreeMap::new(),
            held: Vec::new(),
            running: BTreeMap::new(),
            turns: BTreeMap::new(),
            coverage: CrowdCoverage::default(),
            trace: is_traced.then(Vec::new),
        }
    }

    fn live(&mut self) {
        for _ in 0..self.steps {
            self.step();
        }
    }

    fn coverage(&self) -> CrowdCoverage {
        self.coverage
    }

    fn trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}
