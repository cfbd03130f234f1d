//! The workers: turns of their processes and links, the effects of their rules, and their
//! conclusions. The rules (`Child`) are the real ones. MIRRORED from `src/supervision/watch/`: the
//! charges for a death, time limits, and the ends of workers that are at a cancelled item.

use std::time::Duration;

use dishrack_core::ledger::{Blame, Cause, Exit, HolderId, Refusal, Scene, Started};
use dishrack_core::pool::child::{ChildEffect, ChildEvent, Phase};

use super::{World, note};
use crate::dispatcher::{Effect, Outcome, Reply, Request};
use crate::life::Life;
use crate::planted::Plant;
use crate::process::{Down, Job, Up};

impl World {
    pub(super) fn begin_pool(&mut self) {
        self.count_workers();
        for index in 0..self.life.slots.len() {
            self.happen(index, ChildEvent::Begin);
        }
    }

    pub(super) fn slot_turn(&mut self, index: usize) {
        let slot = &mut self.life.slots[index];
        // The reader of a channel that outlives its process may be slow, so that it is given up.
        let is_slow = slot.lingers && self.chance.below(16) > 0;
        let is_left_over = slot.process.is_none() && !slot.up.is_empty();
        if !is_slow && (is_left_over || self.chance.below(2) == 0) {
            return self.read_link(index);
        }
        let slot = &mut self.life.slots[index];
        if slot.process.is_some() {
            return self.process_turn(index);
        }
        if let Some(exit) = slot.untold_exit
            && self.chance.below(2) == 0
        {
            slot.untold_exit = None;
            slot.exit = exit;
            self.happen(index, ChildEvent::Ended);
        } else if slot.is_link_open && slot.up.is_empty() && !slot.lingers {
            slot.is_link_open = false;
            self.happen(index, ChildEvent::LinkClosed);
        }
    }

    fn process_turn(&mut self, index: usize) {
        if self.chance.permille(self.rates.kill) {
            note!(self, "worker {index} is killed by somebody");
            return self.die(index, Exit::Signaled(9));
        }
        if self.exceeds_memory(index) {
            return;
        }
        let (mut around, life) = self.around();
        let slot = &mut life.slots[index];
        let process = slot.process.as_mut().expect("it was just looked at");
        let exit = process.step(&mut around, &mut slot.down, &mut slot.up);
        if let Some(exit) = exit {
            note!(self, "worker {index} {exit}");
            self.die(index, exit);
        }
    }

    /// Kills a worker now and then because of the memory of its item. Returns `true` if it does.
    fn exceeds_memory(&mut self, index: usize) -> bool {
        // The dice of worlds without such kills are as they were.
        let rate = self.rates.memory_kill / 8;
        let slot = &self.life.slots[index];
        let process = slot.process.as_ref().expect("it was just looked at");
        let is_at_item = process.at_work().is_some() && slot.killed_for.is_none();
        if rate == 0 || !is_at_item || !self.chance.permille(rate) {
            return false;
        }
        note!(self, "worker {index} has too much memory");
        self.coverage.memory_limits += 1;
        let slot = &mut self.life.slots[index];
        slot.killed_for = Some(Some(Cause::MemoryLimit(1)));
        slot.excuse();
        self.happen(index, ChildEvent::Excused);
        self.kill(index);
        true
    }

    /// Checks that an item that was killed for memory has no other worker at anything beside it.
    pub(super) fn check_alone(&self) {
        let ledger = &self.life.dispatcher.ledger;
        let processes = self
            .life
            .slots
            .iter()
            .filter_map(|slot| slot.process.as_ref());
        let at_work = processes.filter_map(|process| process.at_work());
        let at_work: Vec<Job> = at_work
            .filter(|job| ledger.handed(job.token).is_some())
            .collect();
        let alone = at_work
            .iter()
            .find(|job| self.truth.must_be_alone(job.token));
        assert!(
            alone.is_none() || at_work.len() == 1,
            "{alone:?} was to run alone: {at_work:?}"
        );
    }

    fn die(&mut self, index: usize, exit: Exit) {
        let lingers = self.chance.permille(self.rates.lingering_link);
        let slot = &mut self.life.slots[index];
        slot.die(exit);
        slot.lingers = lingers;
        self.coverage.lingering_links += u64::from(lingers);
    }

    /// Ends a worker, for its supervisor's reasons.
    fn kill(&mut self, index: usize) {
        if self.life.slots[index].process.is_some() {
            self.die(index, Exit::Signaled(9));
        }
    }

    /// Reads one word of a worker, or of one that was concluded too early.
    fn read_link(&mut self, index: usize) {
        if self.chance.below(8) == 0 && !self.life.late.is_empty() {
            let (_, up) = self.life.late.remove(0);
            return self.hear_late(up);
        }
        let slot = &mut self.life.slots[index];
        let Some(up) = slot.up.pop_front() else {
            return self.hear_board(index);
        };
        match (up, slot.holder) {
            (Up::Ready, _) => {
                let credit = Life::credit(&self.plan, slot.is_loop);
                let holder = self.life.dispatcher.attach(Some(credit), self.plan.quota);
                slot.holder = Some(holder);
                // A boot that is heard of only after its deadline has failed all the same.
                slot.ready(slot.child.phase() == Phase::Booting);
                self.happen(index, ChildEvent::Ready);
                if self.life.slots[index].child.phase() == Phase::Working {
                    self.change_workers(|scaler, is_idle| scaler.handle_ready(index, is_idle));
                    self.follow_scaler();
                }
            }
            (up, Some(holder)) => self.hear_worker(index, holder, up),
            (_, None) => panic!("a word of nobody"),
        }
    }

    /// Notes what a worker has begun, by its scoreboard.
    fn note_begun(&mut self, index: usize, holder: HolderId) {
        let slot = &self.life.slots[index];
        let alive = slot.process.as_ref().map(|process| process.board);
        let begun = alive.unwrap_or(slot.board).begun;
        self.life.dispatcher.ledger.handle_begun(holder, begun);
    }

    /// Counts the scoreboard's words, after all messages of a worker were heard.
    fn hear_board(&mut self, index: usize) {
        let slot = &mut self.life.slots[index];
        let alive = slot.process.as_ref().map(|process| process.through);
        let through = alive.unwrap_or(slot.through);
        let (Some(holder), true) = (slot.holder, through > slot.through_heard) else {
            return;
        };
        for ordinal in slot.through_heard + 1..=through {
            let handed = self.life.dispatcher.ledger.handed_as(holder, ordinal);
            let Some(handed) = handed else {
                continue;
            };
            let number = self.life.dispatcher.numbers.get(&handed.id).copied();
            let number = number.expect("it was put");
            self.coverage.done_by_store += 1;
            match self.policy() {
                Some(_) => self.copy_said(number, handed.token, None),
                None => self.truth.ended_quietly(number),
            }
        }
        self.life.slots[index].through_heard = through;
        let ledger = &mut self.life.dispatcher.ledger;
        ledger.handle_done_through(holder, through, Duration::from_micros(through % 700));
    }

    fn hear_worker(&mut self, index: usize, holder: HolderId, up: Up) {
        match up {
            Up::Ready => panic!("ready twice"),
            Up::Settled(job, outcome) => {
                let is_its_own = self.settle(job, outcome);
                let is_revoked = self.truth.is_revoked(job.token);
                assert!(is_its_own || is_revoked, "refused, and was never lost");
            }
            Up::HasBegun(token) => {
                let slot = &mut self.life.slots[index];
                let running = slot.process.as_ref().and_then(|process| process.begun);
                // Unless it has gone on meanwhile, it is ended, which is charged to no item.
                if running.is_some_and(|job| job.token == token) {
                    self.coverage.revoked_and_killed += 1;
                    slot.excuse();
                    slot.killed_for = Some(None);
                    self.happen(index, ChildEvent::Excused);
                    self.kill(index);
                }
            }
            Up::Get(number) => {
                let request = Request { holder, number };
                self.note_begun(index, holder);
                self.tell_time();
                self.life.dispatcher.ask_get(request, 1, true);
            }
            Up::Cancel(number) => {
                let request = Request { holder, number };
                let life = &mut self.life;
                life.dispatcher.cancel(request);
                match life.dispatcher.next() {
                    None => {}
                    Some(said) => {
                        match said {
                            Effect::Answer(_, Reply::Refused(Refusal::Empty)) => {
                                self.coverage.cancelled_gets += 1
                            }
                            _ => self.coverage.cancelled_puts += 1,
                        }
                        self.carry_out(said);
                    }
                }
            }
            Up::Put(number, envelope) => {
                let request = Request { holder, number };
                let life = &mut self.life;
                life.dispatcher.ask(request, envelope, true);
            }
        }
    }

    /// Handles a word of a worker that was concluded because its channel stayed open too long.
    fn hear_late(&mut self, up: Up) {
        if let Up::Settled(job, outcome) = up {
            self.coverage.words_of_the_concluded += 1;
            self.settle(job, outcome);
        }
    }

    /// Settles a delivery. Returns `true` if it was still the worker's own.
    fn settle(&mut self, job: Job, outcome: Outcome) -> bool {
        if let Outcome::Done(result) = outcome
            && self.plan.tells_at_once
            && self.policy().is_none()
        {
            return self.tell_at_once(job, result);
        }
        self.settle_alone(job, outcome)
    }

    /// Settles a delivery, whose end is told once it is durable.
    pub(super) fn settle_alone(&mut self, job: Job, outcome: Outcome) -> bool {
        let cause = match &outcome {
            Outcome::Failed { cause, .. } => Some(cause.clone()),
            _ => None,
        };
        let is_failure = cause.is_some();
        let result = match outcome {
            Outcome::Done(result) => Some(result),
            _ => None,
        };
        let mut outcome = outcome;
        let is_memory_kill = cause == Some(Cause::OutOfMemory);
        if is_memory_kill && self.is_planted(Plant::MemoryKillMistold) {
            let what = "killed by SIGKILL".into();
            outcome = Outcome::failed(Cause::Killed { signal: 9, what });
        }
        let (is_return, is_done) = (outcome.is_return(), matches!(outcome, Outcome::Done(_)));
        note!(self, "put {}: {outcome:?}", job.number);
        let dispatcher = &mut self.life.dispatcher;
        if dispatcher.receive_outcome(job.token, outcome, self.now) {
            self.coverage.returned += u64::from(is_return);
            if self.policy().is_some() {
                match (result, &cause) {
                    (Some(result), _) => self.copy_said(job.number, job.token, Some(result)),
                    (None, Some(_)) => self.copy_failed(job.number, job.token, cause.as_ref()),
                    (None, None) => self.copy_returned(job.number, job.token),
                }
                if is_failure && self.is_planted(Plant::CopyFailsItem) {
                    self.fail_other_copies(job);
                }
            } else if is_failure {
                self.truth.failed(job.number);
                if is_memory_kill {
                    self.truth.killed(job.number);
                }
            }
            if is_done && self.is_planted(Plant::EarlyEnd) {
                self.truth.done_told(job.number, job.number, self.step);
            }
            return true;
        }
        if !is_return {
            self.coverage.late_words += 1;
            if self.is_planted(Plant::LateWordBelieved) {
                self.believe(job);
            }
            if let (Some(result), true) = (result, self.is_planted(Plant::LateCopyCounts)) {
                self.truth.done_told(job.number, result, self.step);
            }
        }
        false
    }

    /// Settles a delivery as done, and tells its result at once. MIRRORED from `receive_completion`
    /// in `src/broker/requests.rs`.
    fn tell_at_once(&mut self, job: Job, result: u64) -> bool {
        note!(self, "put {}: done, and told", job.number);
        let service = Duration::from_micros(result % 50 * (result % 41));
        let ledger = &mut self.life.dispatcher.ledger;
        let told = ledger.handle_done_now(job.token, service, |payload| payload.number);
        match told {
            Ok(number) => {
                self.coverage.done_at_once += 1;
                self.truth.done_told(number, result, self.step);
            }
            Err(_) => {
                self.coverage.late_words += 1;
                if self.is_planted(Plant::LateResultTold) {
                    self.truth.done_told(job.number, result, self.step);
                }
            }
        }
        told.is_ok()
    }

    /// Settles the delivery that its item has now.
    fn believe(&mut self, job: Job) {
        let found = self.life.jobs().find(|other| other.number == job.number);
        if let Some(other) = found {
            let outcome = Outcome::Done(job.number);
            let _ = self.life.dispatcher.end(other.token, outcome, self.now);
        }
    }

    pub(super) fn recycle(&mut self, holder: HolderId) {
        if let Some(index) = self.life.slot_of(holder)
            && self.life.slots[index].child.phase() == Phase::Working
        {
            note!(self, "worker {index} is worn");
            self.coverage.worn += 1;
            self.replace(index);
        }
    }

    /// Replaces a worker that is worn, or takes too much memory.
    pub(super) fn replace(&mut self, index: usize) {
        if self.life.slots[index].child.phase() == Phase::Working {
            self.coverage.recycled += 1;
            self.life.slots[index].excuse();
            self.happen(index, ChildEvent::RecycleAsked);
        }
    }

    pub(super) fn meet_deadline(&mut self, index: usize) {
        if let Some(limit) = self.plan.time_limit
            && let Some(process) = &self.life.slots[index].process
            && process.overrun(self.now) >= limit
            && self.life.slots[index].killed_for.is_none()
        {
            note!(self, "worker {index} takes too long");
            self.coverage.time_limits += 1;
            let slot = &mut self.life.slots[index];
            slot.killed_for = Some(Some(Cause::TimedOut(limit)));
            slot.excuse();
            self.happen(index, ChildEvent::Excused);
            self.kill(index);
        }
        let slot = &self.life.slots[index];
        if slot.child.poll_timeout().is_some_and(|at| at <= self.now) {
            self.happen(index, ChildEvent::DeadlinePassed);
        }
    }

    /// Tells the rules the event, and does what they say.
    pub(super) fn happen(&mut self, index: usize, event: ChildEvent) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let slot = &mut self.life.slots[index];
            let effect = slot.child.handle(event, self.now);
            if let ChildEvent::Concluded { .. } | ChildEvent::StartFailed = event {
                let is_stopping = self.life.is_stopping || slot.is_leaving;
                slot.judge(effect, is_stopping, &self.plan.spec, self.now);
            }
            next = effect.and_then(|effect| self.carry_out_effect(index, effect));
        }
    }

    fn carry_out_effect(&mut self, index: usize, effect: ChildEffect) -> Option<ChildEvent> {
        note!(self, "worker {index}: {effect:?}");
        match effect {
            ChildEffect::Start => {
                self.life.slots[index].begin();
                self.life.scaler.handle_restart(index);
                if self.chance.permille(self.rates.start_fails) {
                    self.coverage.failed_starts += 1;
                    return Some(ChildEvent::StartFailed);
                }
                self.life.slots[index].start(self.step);
                None
            }
            ChildEffect::AskToStop => {
                let slot = &mut self.life.slots[index];
                let holder = slot.holder.expect("it is ready");
                slot.down.push_back(Down::Stop);
                let life = &mut self.life;
                life.dispatcher.stop(holder);
                None
            }
            ChildEffect::Kill => {
                if self.life.slots[index].process.is_some() {
                    self.life.slots[index].killed_for.get_or_insert(None);
                }
                self.kill(index);
                None
            }
            ChildEffect::Conclude => Some(self.conclude(index)),
            ChildEffect::Finish => {
                let is_asked = self.life.is_stopping || self.life.slots[index].is_leaving;
                assert!(is_asked, "nobody asked it to end");
                self.end_slot(index, "it left");
                None
            }
            ChildEffect::GiveUp => {
                self.coverage.slots_given_up += 1;
                self.life.is_spent = true;
                self.end_slot(index, "it was given up");
                None
            }
        }
    }

    fn end_slot(&mut self, index: usize, why: &str) {
        self.life.slots[index].is_over = true;
        self.count_workers();
        self.change_workers(|scaler, is_idle| scaler.handle_over(index, why, is_idle));
        self.follow_scaler();
        if self.life.is_pool_over() {
            let is_spent = self.life.is_spent && !self.life.is_stopping;
            self.life.dispatcher.pool_ended("they are over", is_spent);
        }
    }

    pub(super) fn stop_pool(&mut self) {
        note!(self, "the operator stops the pool");
        self.coverage.stops += 1;
        let is_unmanned = !self.life.is_pool_over() && self.life.workers() == 0;
        self.life.is_stopping = true;
        self.life.scaler.handle_stop();
        if is_unmanned {
            self.life.dispatcher.pool_ended("nobody was wanted", false);
        }
        for index in 0..self.life.slots.len() {
            self.happen(index, ChildEvent::StopAsked);
        }
    }

    /// Gives the worker's items back, or charges them.
    fn conclude(&mut self, index: usize) -> ChildEvent {
        if self.life.slots[index].up.is_empty() {
            self.hear_board(index);
        }
        let slot = &mut self.life.slots[index];
        assert!(slot.process.is_none(), "concluded while it lives");
        let exit = slot.exit;
        let is_boot_death = !slot.was_ready();
        let (left, begun, mut started) = (std::mem::take(&mut slot.up), slot.begun, slot.board);
        let killed_for = slot.killed_for.take();
        let is_taken_back = std::mem::take(&mut slot.is_link_open);
        let Some(holder) = slot.holder.take() else {
            self.coverage.boot_deaths += 1;
            return ChildEvent::Concluded { exit, charged: 0 };
        };
        if is_taken_back {
            self.life
                .late
                .extend(left.into_iter().map(|up| (holder, up)));
        }
        let cause = killed_for.unwrap_or(Some(Cause::WorkerDied(exit)));
        let is_memory_kill = matches!(cause, Some(Cause::MemoryLimit(_)));
        let blame = cause.map(|cause| Blame {
            cause,
            scene: Scene::default(),
        });
        if self.is_planted(Plant::LostRequeue) {
            self.life.dispatcher.ledger.handle_stop(holder);
            return ChildEvent::Concluded { exit, charged: 0 };
        }
        let guilty = begun.filter(|job| {
            let handed = self.life.dispatcher.ledger.handed(job.token);
            blame.is_some() && handed.is_some_and(|handed| handed.holder == holder)
        });
        self.life.slots[index].was_guilty = guilty.is_some();
        let copies = self.copies_of(holder);
        if let (Some(job), None) = (guilty, self.policy()) {
            self.truth.failed(job.number);
            if is_memory_kill {
                self.truth.killed(job.number);
            }
        }
        if self.is_planted(Plant::PrefetchedCharged) {
            started = self.all_of(holder);
        }
        let dispatcher = &mut self.life.dispatcher;
        let charged = dispatcher.detach(holder, started, blame.as_ref(), self.now);
        self.copies_left(copies, guilty.map(|job| job.token));
        if !self.is_planted(Plant::PrefetchedCharged) {
            assert_eq!(charged, usize::from(guilty.is_some()), "charged items");
        }
        assert!(!is_boot_death, "it had a slot");
        match charged {
            0 if blame.is_none() || exit.is_success() => {}
            0 => self.coverage.idle_deaths += 1,
            _ => self.coverage.charged_deaths += 1,
        }
        let charged = match self.is_planted(Plant::ItemsFaultOnSlot) {
            true => 0,
            false => charged,
        };
        ChildEvent::Concluded { exit, charged }
    }

    /// Takes the last delivery to this holder for the one that it had begun.
    pub(super) fn all_of(&self, holder: HolderId) -> Started {
        let ledger = &self.life.dispatcher.ledger;
        let mut latest = (1..=200).rev();
        let last = latest.find(|ordinal| ledger.handed_as(holder, *ordinal).is_some());
        let last = last.unwrap_or_default();
        Started::at(last)
    }
}
