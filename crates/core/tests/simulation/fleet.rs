//! A fleet: several supervisors share one stream, over calls that may be lost, be answered late or
//! never, and arrive after they were given up. Supervisors are killed, paused beyond their lease
//! and replaced; the stream's server restarts, now and then with an older state.
//!
//! Each supervisor's ledger, dispatcher, thread decisions (`src/broker/shared`) and account of
//! entries (`src/store/redis/{account,entry}.rs`) are real. The stream is the model.

mod line;
mod member;
mod people;
mod plan;
mod pool;
mod record;
mod rest;
mod threads;

use std::time::Duration;

use dishrack_core::shared::Steering;
use dishrack_core::stream::entry::LOSSES_MAX;

use self::line::{Answer, Call, Line, State};
use self::member::Member;
use self::plan::{Plan, Rates};
use self::record::{Facts, Record};
use crate::chance::Chance;
use crate::coverage::FleetCoverage;
use crate::planted::FleetPlant;
use crate::stream::{Stream, fields};
use crate::world::note;

/// The number of older states to which the stream may return.
const SNAPSHOTS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Fleet {
    plan: Plan,
    rates: Rates,
    chance: Chance,
    /// The whims of whoever steers a member, drawn apart.
    whims: Chance,
    now: Duration,
    step: u64,
    stream: Stream,
    down_until: Duration,
    snapshots: Vec<(Stream, Facts)>,
    /// Requests on their way that were given up.
    strays: Vec<(String, Call)>,
    /// The last order to all, which those read who have not yet.
    order: Option<Steering>,
    /// The last order that was ever given, also if the stream has lost it.
    newest_order: Steering,
    members: Vec<Member>,
    born: u64,
    record: Record,
    puts_left: u64,
    /// The last step at which nothing was unfinished.
    empty_at: u64,
    /// The last step at which a member should have been woken.
    woken_at: u64,
    is_calm: bool,
    plant: Option<FleetPlant>,
    pub(crate) coverage: FleetCoverage,
    pub(crate) trace: Option<Vec<String>>,
}

impl Fleet {
    pub(crate) fn new(seed: u64, plant: Option<FleetPlant>, is_traced: bool) -> Self {
        let mut chance = Chance::of_seed(seed);
        let plan = Plan::draw(&mut chance, &mut Chance::of_seed(seed.rotate_left(32)));
        let lease = u64::try_from(plan.lease.as_millis()).expect("short");
        let mut fleet = Fleet {
            rates: plan.rates,
            chance,
            whims: Chance::of_seed(!seed),
            now: Duration::from_millis(1),
            step: 0,
            stream: Stream::with(match plant {
                Some(FleetPlant::Script(flaw)) => Some(flaw),
                _ => None,
            }),
            down_until: Duration::ZERO,
            snapshots: Vec::new(),
            strays: Vec::new(),
            order: None,
            newest_order: Steering::default(),
            members: Vec::new(),
            born: 0,
            record: Record::new(plan.options.max_attempts, lease),
            puts_left: plan.puts,
            empty_at: 0,
            woken_at: 0,
            is_calm: false,
            plant,
            coverage: FleetCoverage::default(),
            trace: is_traced.then(Vec::new),
            plan,
        };
        for at in 0..fleet.plan.members {
            let member = fleet.new_member(at);
            fleet.members.push(member);
        }
        fleet
    }

    /// Runs the fleet to its end. Panics when a promise is broken.
    pub(crate) fn run(&mut self) {
        note!(self, "{:?}", self.plan);
        for at in 0..self.members.len() {
            self.pump(at);
        }
        for _ in 0..self.plan.steps {
            self.turn();
        }
        self.come_to_rest();
    }

    /// Makes a member. Every life has a name of its own. The first member always has workers.
    fn new_member(&mut self, at: usize) -> Member {
        self.born += 1;
        let name = format!("m{at}.{}", self.born);
        let mut member = Member::begin(name, &self.plan, self.now);
        let lease = self.record.lease();
        let (mark, _, kept, _) = self.stream.open(&member.name, "T", lease);
        assert_eq!((&*mark, kept), ("m0.1", lease), "another stream");
        // It is told of a pause when it begins.
        if self.plant != Some(FleetPlant::BeginsUntold) {
            let steering = line::steering_of(self.stream.steered());
            member.dispatcher.handle_steering(steering);
        }
        let workers = match at {
            0 => 1 + self.chance.index(2),
            _ => self.chance.index(3),
        };
        for index in 0..workers {
            let is_loop = (at, index) != (0, 0) && self.chance.below(3) == 0;
            member.add_worker(is_loop, self.plan.is_single_credit);
        }
        if workers > 0 {
            member.dispatcher.pool_began();
        }
        member
    }

    fn turn(&mut self) {
        self.step += 1;
        self.coverage.steps += 1;
        let at = self.chance.index(self.members.len());
        match self.chance.below(100) {
            0..78 => self.member_turn(at),
            78..90 => {
                let pause = match self.chance.below(8) {
                    0 => self.chance.below(200),
                    _ => self.chance.below(20),
                };
                self.pass(Duration::from_millis(pause));
            }
            90..92 => self.stray_turn(),
            92..94 => self.take_snapshot(),
            94..96 => self.revive(),
            96..97 => self.strange_turn(),
            _ => self.fail(at),
        }
        self.steer();
        self.steer_all();
        self.check();
    }

    fn is_paused(&self, at: usize) -> bool {
        self.now < self.members[at].paused_until
    }

    fn member_turn(&mut self, at: usize) {
        let roll = self.chance.below(100);
        if self.is_paused(at) {
            // Its workers are other processes.
            return self.worker_turn(at);
        }
        match roll {
            0..25 => self.publisher_turn(at),
            25..45 => self.fetcher_turn(at),
            45..55 => self.listener_turn(at),
            55..70 => self.worker_turn(at),
            70..85 => self.hear_turn(at),
            85..93 => self.put_turn(at),
            93..97 => self.join_turn(at),
            _ => self.quit_turn(at),
        }
    }

    fn pass(&mut self, pause: Duration) {
        self.now += pause;
        for at in 0..self.members.len() {
            if self.is_paused(at) {
                continue;
            }
            let member = &mut self.members[at];
            if member.wakes_when_due && self.now >= member.due {
                member.is_fetcher_asleep = false;
            }
            // MIRRORED from `src/broker/timer.rs`: it rings then, and nobody relies on the time that is told
            // when something else happens.
            let ledger = &mut member.dispatcher.ledger;
            if ledger.poll_timeout().is_some_and(|alarm| alarm <= self.now) {
                ledger.handle_timeout(self.now);
                self.pump(at);
            }
        }
    }

    /// Advances a call by one step. Returns the answer, if it has come.
    fn advance(&mut self, at: usize, line: &mut Line) -> Option<Answer> {
        match std::mem::replace(&mut line.state, State::Going) {
            State::Answered(answer) => {
                if !self.chance.permille(self.rates.lose_answer) {
                    return Some(answer);
                }
                self.coverage.answers_lost += 1;
            }
            State::Going if self.now < self.down_until => {}
            State::Going if self.chance.permille(self.rates.lose_request) => {
                self.coverage.requests_lost += 1;
                if self.chance.permille(self.rates.stray) {
                    let name = self.members[at].name.clone();
                    self.strays.push((name, line.call.clone()));
                }
            }
            State::Going => {
                line.is_interrupted = false;
                self.serve(at, line, self.step);
            }
            State::Waits(since) => self.serve(at, line, since),
        }
        None
    }

    fn serve(&mut self, at: usize, line: &mut Line, since: u64) {
        let (Call::Read(_, until) | Call::Listen(_, _, until)) = &line.call else {
            let name = self.members[at].name.clone();
            let answer = self.ask(&name, &line.call, true);
            line.state = State::Answered(answer.expect("it waits for nothing"));
            return;
        };
        let is_late = until.is_some_and(|until| self.now >= until);
        let name = self.members[at].name.clone();
        let answer = self.ask(&name, &line.call, is_late || line.is_interrupted);
        if let (Some(Answer::Heard(replies)), Call::Listen(ring, ..)) = (&answer, &line.call)
            && replies.is_empty()
            && self.stream.rung() <= *ring
        {
            let is_forgotten = self.woken_at > since;
            assert!(
                !is_forgotten,
                "somebody who waits for the bell was not woken"
            );
        }
        line.state = answer.map_or(State::Waits(since), State::Answered);
    }

    /// Asks the stream in one step, and notes the events there.
    fn ask(&mut self, name: &str, call: &Call, is_over: bool) -> Option<Answer> {
        self.stream.clock = u64::try_from(self.now.as_millis()).expect("soon");
        let (was_empty, was_crowded) = (self.stream.entries.is_empty(), self.stream.is_crowded());
        let answer = line::answer(&mut self.stream, &self.plan, name, call, is_over);
        if let Some(answer) = &answer {
            note!(self, "{name}: {call:?} -> {answer:?}");
        }
        self.note_events();
        let is_settled = matches!(call, Call::Settle(..));
        let has_emptied = is_settled && !was_empty && self.stream.entries.is_empty();
        if has_emptied || (was_crowded && !self.stream.is_crowded()) {
            self.woken_at = self.step;
        }
        answer
    }

    fn note_events(&mut self) {
        for event in std::mem::take(&mut self.stream.log) {
            self.record.happened(event);
        }
        if self.stream.entries.is_empty() {
            self.empty_at = self.step;
        }
    }

    /// Delivers a request that was given up.
    fn stray_turn(&mut self) {
        if self.strays.is_empty() || self.now < self.down_until {
            return;
        }
        let (name, call) = self.strays.remove(self.chance.index(self.strays.len()));
        self.coverage.strays += 1;
        note!(self, "a stray request arrives");
        self.ask(&name, &call, true);
    }

    /// Changes the stream from outside: puts an entry with no more than the item, or an item that
    /// has been with many lost supervisors.
    fn strange_turn(&mut self) {
        if self.chance.permille(self.rates.stranger) && self.puts_left > 0 {
            self.coverage.strangers += 1;
            self.puts_left -= 1;
            let item = self.record.new_number().to_string();
            note!(self, "somebody puts {item}");
            self.stream.clock = u64::try_from(self.now.as_millis()).expect("soon");
            self.stream.add(fields(&[("item", &item)]));
            self.note_events();
        } else if self.chance.permille(self.rates.cursed) {
            let pending: Vec<_> = self.stream.pending.keys().copied().collect();
            if !pending.is_empty() {
                let id = self.chance.pick(&pending);
                note!(self, "{id} was lost very often");
                self.stream.lose(id, LOSSES_MAX);
            }
        }
    }

    fn take_snapshot(&mut self) {
        if self.snapshots.len() == SNAPSHOTS_MAX {
            self.snapshots.remove(0);
        }
        let facts = self.record.facts.clone();
        self.snapshots.push((self.stream.clone(), facts));
    }

    fn revive(&mut self) {
        let letters: Vec<_> = self.stream.letters.keys().copied().collect();
        if letters.is_empty() || !self.chance.permille(self.rates.revive) {
            return;
        }
        self.coverage.revived += 1;
        let letter = self.chance.pick(&letters);
        note!(self, "letter {letter} is tried again");
        self.stream.clock = u64::try_from(self.now.as_millis()).expect("soon");
        self.stream.revive(letter);
        self.note_events();
    }

    fn fail(&mut self, at: usize) {
        if self.chance.permille(self.rates.kill) {
            note!(self, "{} is killed", self.members[at].name);
            self.coverage.kills += 1;
            self.lose_calls(at);
            self.replace(at);
        } else if self.chance.permille(self.rates.pause) {
            let pause = self.chance.below(3) * self.record.lease() + self.chance.below(100);
            note!(self, "{} pauses for {pause} ms", self.members[at].name);
            self.coverage.pauses += 1;
            self.members[at].paused_until = self.now + Duration::from_millis(pause);
        } else if self.chance.permille(self.rates.break_off) {
            self.break_off(at);
        } else if self.chance.permille(self.rates.restart) {
            self.restart(None);
        } else if self.chance.permille(self.rates.older) && !self.snapshots.is_empty() {
            let index = self.chance.index(self.snapshots.len());
            self.restart(Some(index));
        }
    }

    /// Decides which calls of a lost member still arrive.
    fn lose_calls(&mut self, at: usize) {
        let member = &mut self.members[at];
        let lines = [
            member.publisher.take().map(|(line, _)| line),
            member.fetcher.take().map(|(line, _)| line),
            member.listener.take(),
        ];
        for line in lines.into_iter().flatten() {
            if matches!(line.state, State::Going) && self.chance.below(2) == 0 {
                self.strays.push((member.name.clone(), line.call));
            }
        }
    }

    fn replace(&mut self, at: usize) {
        let member = self.new_member(at);
        note!(self, "{} takes its place", member.name);
        self.members[at] = member;
        self.pump(at);
    }

    /// Breaks the member's calls off, and tells all that wait there.
    fn break_off(&mut self, at: usize) {
        self.coverage.broken_off += 1;
        let is_contradiction = self.coverage.broken_off.is_multiple_of(2);
        self.coverage.contradictions += u64::from(is_contradiction);
        self.lose_calls(at);
        let member = &mut self.members[at];
        if is_contradiction {
            member.dispatcher.handle_inconsistent();
        } else {
            member.dispatcher.break_off_shared();
            member.dispatcher.ledger.handle_write_failed();
        }
        self.pump(at);
        let member = &self.members[at];
        assert!(
            member.dispatcher.join_state(0).is_some(),
            "a join that hangs"
        );
        let waits = member.workers.iter().any(|one| one.waits_for.is_some());
        assert!(!waits, "a worker that waits for ever");
        self.replace(at);
    }

    /// Restarts the server, with its content at that time.
    fn restart(&mut self, older: Option<usize>) {
        note!(self, "the stream's server restarts, with {older:?}");
        self.coverage.restarts += 1;
        let pause = 1 + self.chance.below(10);
        self.pass(Duration::from_millis(pause));
        self.down_until = self.now + Duration::from_millis(self.chance.below(200));
        self.strays.clear();
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            let publisher = member.publisher.as_mut().map(|(line, _)| line);
            let fetcher = member.fetcher.as_mut().map(|(line, _)| line);
            for line in publisher
                .into_iter()
                .chain(fetcher)
                .chain(member.listener.as_mut())
            {
                let is_answered = matches!(line.state, State::Answered(_));
                // An answer may have arrived already.
                if !is_answered || older.is_some() || self.chance.below(2) == 0 {
                    line.state = State::Going;
                }
            }
        }
        if let Some(index) = older {
            self.coverage.older_states += 1;
            self.snapshots.truncate(index + 1);
            let (stream, facts) = self.snapshots[index].clone();
            self.stream = stream;
            self.order = None;
            self.record.came_back(facts);
            self.note_events();
        }
    }

    fn check(&mut self) {
        self.record.check(&self.stream.entries);
    }
}
