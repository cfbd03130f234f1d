//! The world: the order of turns, and the turns of producers, joiners, the journal and the
//! operator. Time passes only when the world says so.

mod clients;
mod copies;
pub(crate) mod limits;
mod pool;
mod queue;
pub(crate) mod relations;
mod rest;
mod steering;

use std::time::Duration;

use crate::chance::Chance;
use crate::coverage::Coverage;
use dishrack_core::ledger::{Record, Refusal};

use crate::disk::{Commit, Disk};
use crate::envelope::Envelope;
use crate::life::{Life, Producer};
use crate::plan::{Plan, Rates};
use crate::planted::Plant;
use crate::process::Surroundings;
use crate::truth::Truth;

#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    plan: Plan,
    rates: Rates,
    chance: Chance,
    /// The whims of whoever steers the run. They are drawn apart, so that older seeds still give
    /// the same worlds but for them.
    whims: Chance,
    /// The fates of clients, drawn apart for the same reason.
    fates: Chance,
    /// The moments at which the books are found not to agree, drawn apart for the same reason.
    bugs: Chance,
    now: Duration,
    step: u64,
    disk: Disk,
    truth: Truth,
    life: Life,
    plain_left: u64,
    is_calm: bool,
    plant: Option<Plant>,
    pub(crate) coverage: Coverage,
    /// The events, if they are wanted.
    pub(crate) trace: Option<Vec<String>>,
}

/// The ways in which a supervisor ends unexpectedly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    /// It is killed, and the system keeps its writes.
    Process,
    Power,
}

/// Notes an event, if they are wanted.
macro_rules! note {
    ($world:expr, $($what:tt)+) => {
        if let Some(trace) = &mut $world.trace {
            let at = format!("{:>5} {:>8.3}s  ", $world.step, $world.now.as_secs_f64());
            trace.push(at + &format!($($what)+));
        }
    };
}
pub(crate) use note;

impl World {
    pub(crate) fn new(seed: u64, plant: Option<Plant>, is_traced: bool) -> Self {
        let mut chance = Chance::of_seed(seed);
        let plan = Plan::draw(&mut chance);
        let disk = Disk::default();
        let (life, _) = Life::begin((&plan, Duration::ZERO), &disk, seed, plant);
        World {
            seed,
            rates: plan.rates,
            plain_left: plan.plain_puts,
            plan,
            chance,
            whims: Chance::of_seed(!seed),
            fates: Chance::of_seed(seed.rotate_left(32)),
            bugs: Chance::of_seed(seed.rotate_left(16)),
            now: Duration::ZERO,
            step: 0,
            disk,
            truth: Truth::default(),
            life,
            is_calm: false,
            plant,
            coverage: Coverage::default(),
            trace: is_traced.then(Vec::new),
        }
    }

    /// Runs the world to its end. Panics when a promise is broken.
    pub(crate) fn run(&mut self) {
        note!(self, "{:?}", self.plan);
        self.begin_pool();
        for _ in 0..self.plan.steps {
            self.turn();
        }
        self.come_to_rest();
    }

    fn is_planted(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    fn turn(&mut self) {
        self.step += 1;
        self.coverage.steps += 1;
        match self.chance.below(100) {
            0..12 => self.produce_plain(),
            12..22 => self.produce_keyed(),
            22..27 => self.join(),
            27..31 => self.consume(),
            31..45 => self.write(),
            45..87 => {
                let index = self.chance.index(self.life.slots.len());
                self.slot_turn(index);
            }
            87..95 => self.pass_time(),
            95..98 => self.operate(),
            _ => self.fail(),
        }
        self.steer();
        self.follow_scaler();
        self.clients_turn();
        self.check();
        if self.plan.is_journaled && self.bugs.below(4_000) == 0 {
            self.contradict();
        }
    }

    /// Finds that the books do not agree, which they do: nobody may wait for what does not come any
    /// more, and what is durable is for the next supervisor.
    fn contradict(&mut self) {
        note!(self, "the books are found not to agree");
        self.coverage.contradictions += 1;
        let dispatcher = &mut self.life.dispatcher;
        dispatcher.handle_inconsistent();
        self.pump();
        let dispatcher = &mut self.life.dispatcher;
        let refused = Some(Err(Refusal::Inconsistent));
        assert_eq!(dispatcher.join_state(0), refused, "a join that hangs");
        assert!(
            !dispatcher.has_joins() && dispatcher.are_puts_answered(),
            "a worker that waits for ever"
        );
        assert!(!dispatcher.ledger.has_write(), "nothing more is written");
        self.crash(Crash::Process);
    }

    /// Checks the invariants after every step.
    fn check(&mut self) {
        self.pump();
        let ledger = &self.life.dispatcher.ledger;
        assert!(ledger.counts().is_balanced(), "{:?}", ledger.counts());
        assert_eq!(ledger.check(), Ok(()));
        self.check_copies();
        self.check_pause();
        self.check_alone();
        self.check_keys();
        let ledger = &self.life.dispatcher.ledger;
        let written = self.disk.lines().len() as u64;
        let is_overstated = ledger.is_broken() && ledger.counts().accepted > written;
        assert!(!is_overstated, "what could not be written was not accepted");
    }

    fn around(&mut self) -> (Surroundings<'_>, &mut Life) {
        let is_voting = self.policy().is_some_and(|policy| policy.needed() > 1);
        let around = Surroundings {
            chance: &mut self.chance,
            rates: &self.rates,
            coverage: &mut self.coverage,
            truth: &mut self.truth,
            now: self.now,
            step: self.step,
            is_calm: self.is_calm,
            is_paused: self.life.is_pause_told,
            is_voting,
        };
        (around, &mut self.life)
    }

    fn pass_time(&mut self) {
        let pause = match self.chance.below(3) {
            0 => self.chance.below(400),
            _ => self.chance.below(30),
        };
        self.pass(Duration::from_millis(pause));
    }

    fn pass(&mut self, pause: Duration) {
        self.now += pause;
        self.life.dispatcher.ledger.handle_timeout(self.now);
        for index in 0..self.life.slots.len() {
            self.meet_deadline(index);
        }
    }

    fn fail(&mut self) {
        if self.chance.permille(self.rates.supervisor_crash * 10) {
            self.crash(Crash::Process);
        } else if self.chance.permille(self.rates.power_failure * 10) {
            self.crash(Crash::Power);
        } else if !self.plan.is_full && self.chance.below(3) == 0 {
            self.disk.sync();
            self.truth.synced = self.step;
        }
    }

    /// Loses everything in memory, with the workers. The next supervisor begins with the disk's
    /// content.
    fn crash(&mut self, crash: Crash) {
        note!(self, "supervisor ends: {crash:?}");
        self.coverage.supervisor_crashes += 1;
        if let Some(write) = self.life.write.take()
            && !write.is_on_disk
        {
            self.coverage.crashes_during_a_write += 1;
            // A transaction under way is there as a whole, or not at all.
            if self.is_planted(Plant::HalfATransaction) {
                self.tear(write.records);
            } else if self.chance.below(2) == 0 {
                self.commit(write.records, self.plan.is_full);
            }
        }
        if crash == Crash::Power {
            let kept = self.chance.index(self.disk.unsynced() + 1);
            let lost = self.disk.lose_power(kept);
            self.coverage.power_failures += 1;
            self.coverage.commits_lost += lost as u64;
            note!(self, "{lost} commits are lost");
        }
        self.begin_again(crash == Crash::Power);
    }

    /// Begins the next supervisor with the disk's content.
    fn begin_again(&mut self, has_lost_power: bool) {
        let is_excused = has_lost_power && !self.plan.is_full;
        self.truth
            .recovered(self.disk.lines(), is_excused, self.step);
        if has_lost_power {
            self.truth.synced = self.step + 1;
        }
        let (life, histories) =
            Life::begin((&self.plan, self.now), &self.disk, self.seed, self.plant);
        self.life = life;
        self.coverage.recoveries += 1;
        self.coverage.recovered_items += self.life.dispatcher.ledger.counts().unfinished();
        self.coverage.recovered_histories += histories;
        note!(
            self,
            "recovered: {:?}",
            self.life.dispatcher.ledger.counts()
        );
        self.begin_pool();
    }

    /// Ends a stopped supervisor, which writes all records first.
    fn end_in_order(&mut self) {
        note!(self, "supervisor exits");
        self.coverage.stopped_in_order += 1;
        loop {
            match self.life.write.take() {
                Some(write) if write.is_on_disk => {
                    self.life.dispatcher.ledger.handle_written(write.number);
                }
                Some(write) => {
                    self.commit(write.records, self.plan.is_full);
                    self.life.dispatcher.ledger.handle_written(write.number);
                }
                None => self.begin_write(),
            }
            self.check();
            if self.life.write.is_none() && !self.life.dispatcher.ledger.has_write() {
                break;
            }
        }
        self.begin_again(false);
    }

    /// Writes half of a transaction to the disk.
    fn tear(&mut self, records: Vec<Record<Envelope>>) {
        let mut changes = self.life.book.changes(records).expect("sound records");
        changes.truncate(changes.len() / 2);
        let commit = Commit {
            changes,
            records: Vec::new(),
            revived: None,
        };
        self.disk.commit(commit, true);
    }

    fn is_produced(&self) -> bool {
        let is_idle = |producer| matches!(producer, Producer::Ready);
        is_idle(self.life.plain)
            && self.plain_left == 0
            && is_idle(self.life.keyed)
            && self.life.keys_passed == self.plan.keys.len()
    }
}
