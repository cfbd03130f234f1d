//! The turns about the queue and its journal: putting, joining, consuming, writing, cancelling.

use std::time::Duration;

use dishrack_core::book::{Change, Table};
use dishrack_core::ledger::Cause;
use dishrack_core::ledger::{Cancelled, Capacity, Handed, ItemId, Notice, Record, Refusal, Report};

use super::{World, note};
use crate::disk::{Commit, numbers_in};
use crate::dispatcher::{Effect, Outcome, Reply};
use crate::envelope::Envelope;
use crate::life::{Batch, Consumer, InFlight, Producer};
use crate::planted::Plant;
use crate::process::{Down, Job, Up};

impl World {
    pub(super) fn produce_plain(&mut self) {
        if self.life.plain == Producer::Ready && self.plain_left > 1 && self.plan.puts_many {
            let most = self.plain_left.min(12) - 1;
            let all = 2 + self.chance.below(most);
            self.life.plain = self.begin_batch(all);
        } else if self.life.plain == Producer::Ready && self.plain_left > 0 {
            self.plain_left -= 1;
            let number = self.truth.new_number();
            self.life.plain = Producer::WaitsForRoom(Envelope::new(number, None));
        }
        self.life.plain = self.produce(self.life.plain);
    }

    fn begin_batch(&mut self, all: u64) -> Producer {
        self.plain_left -= all;
        let first = self.truth.new_number();
        for _ in 1..all {
            self.truth.new_number();
        }
        Producer::BatchWaitsForRoom(Batch {
            first,
            accepted: 0,
            all,
        })
    }

    /// Goes through its keys anew in every life, and passes over as many of each as were put
    /// before.
    pub(super) fn produce_keyed(&mut self) {
        if self.life.keyed == Producer::Ready
            && let Some(key) = self.plan.keys.get(self.life.keys_passed).copied()
        {
            self.life.keys_passed += 1;
            let before = self.life.prints.entry(u128::from(key)).or_default();
            if *before > 0 {
                *before -= 1;
                self.coverage.keys_passed_over += 1;
                return;
            }
            let number = self.truth.new_number();
            self.life.keyed = Producer::WaitsForRoom(Envelope::new(number, Some(key)));
        }
        self.life.keyed = self.produce(self.life.keyed);
    }

    fn produce(&mut self, producer: Producer) -> Producer {
        match producer {
            Producer::Ready | Producer::Refused => producer,
            Producer::WaitsForRoom(envelope) => match self.life.dispatcher.try_put(envelope) {
                Ok(id) => {
                    note!(self, "put {} as item {id}", envelope.number);
                    Producer::WaitsForDurability(envelope, id)
                }
                Err(Refusal::Full) => {
                    self.coverage.puts_refused_full += 1;
                    producer
                }
                Err(
                    refusal @ (Refusal::UnknownItem(_)
                    | Refusal::DeadItem(_)
                    | Refusal::Duplicate { .. }),
                ) => {
                    note!(self, "put {} is refused: {refusal:?}", envelope.number);
                    self.check_refusal(envelope.number, refusal);
                    Producer::Ready
                }
                // It tries again, because a consumer may still end what is left.
                Err(Refusal::NoWorkersLeft { .. }) if !self.life.is_pool_over() => producer,
                Err(_) => Producer::Refused,
            },
            Producer::BatchWaitsForRoom(batch) => self.put_batch(batch),
            Producer::BatchWaitsForDurability(batch, last) => self.end_batch(batch, last),
            Producer::WaitsForDurability(envelope, id) => {
                let ledger = &self.life.dispatcher.ledger;
                if ledger.is_durable(id) || self.is_planted(Plant::EarlyAcceptance) {
                    note!(self, "put {} is told accepted", envelope.number);
                    self.coverage.puts_told += 1;
                    self.truth.put_told(envelope.number, self.step);
                    Producer::Ready
                } else if ledger.is_broken() {
                    self.coverage.puts_refused_broken += 1;
                    Producer::Refused
                } else {
                    producer
                }
            }
        }
    }

    /// Puts as many more of a batch as there is room for.
    fn put_batch(&mut self, mut batch: Batch) -> Producer {
        let left = batch.first + batch.accepted..batch.first + batch.all;
        let mut envelopes = left.map(|number| Envelope::new(number, None)).collect();
        let before = self.life.dispatcher.ledger.len();
        let (accepted, last) = match self.life.dispatcher.try_put_many(&mut envelopes) {
            Ok(accepted) => accepted,
            Err(Refusal::Full) => {
                self.coverage.puts_refused_full += 1;
                return Producer::BatchWaitsForRoom(batch);
            }
            // As for a single item.
            Err(Refusal::NoWorkersLeft { .. }) if !self.life.is_pool_over() => {
                return Producer::BatchWaitsForRoom(batch);
            }
            Err(_) => return Producer::Refused,
        };
        note!(
            self,
            "put {accepted} of {batch:?}, the last one as item {last}"
        );
        assert!(accepted > 0, "it said that there is room");
        if let Capacity::Bounded(bound) = self.plan.options.capacity {
            let waiting = self.life.dispatcher.ledger.len();
            assert!(waiting <= bound.max(before), "no more wait than may");
        }
        self.coverage.puts_together += accepted;
        batch.accepted += accepted;
        let is_told_whole = self.is_planted(Plant::BatchToldWhole);
        if batch.accepted < batch.all && !is_told_whole {
            self.coverage.batches_in_parts += 1;
            return Producer::BatchWaitsForRoom(batch);
        }
        Producer::BatchWaitsForDurability(batch, last)
    }

    /// Tells that a batch is accepted, once its last item is durable, and so all others are.
    fn end_batch(&mut self, batch: Batch, last: ItemId) -> Producer {
        let ledger = &self.life.dispatcher.ledger;
        if ledger.is_durable(last) {
            note!(self, "{batch:?} is told accepted");
            for number in batch.first..batch.first + batch.all {
                self.coverage.puts_told += 1;
                self.truth.put_told(number, self.step);
            }
            Producer::Ready
        } else if ledger.is_broken() {
            self.coverage.puts_refused_broken += 1;
            Producer::Refused
        } else {
            Producer::BatchWaitsForDurability(batch, last)
        }
    }

    pub(super) fn join(&mut self) {
        let mut state = self.life.dispatcher.join_state(0);
        if self.is_planted(Plant::EarlyJoin) {
            let counts = self.life.dispatcher.ledger.counts();
            let is_settled = counts.unfinished() == 0;
            state = is_settled.then_some(Ok((counts.done, counts.dead)));
        }
        match state {
            Some(Ok((done, dead))) => {
                note!(self, "join returns: {done} done, {dead} dead");
                self.coverage.joins_told += 1;
                self.truth.joined();
                let counts = self.life.dispatcher.ledger.counts();
                assert_eq!(done + dead, counts.accepted);
                self.life.is_joined = true;
            }
            Some(Err(Refusal::NoWorkersLeft { .. })) => self.coverage.joins_without_workers += 1,
            Some(Err(_)) => self.coverage.joins_without_journal += 1,
            None => {}
        }
    }

    pub(super) fn consume(&mut self) {
        if !self.plan.has_consumer {
            return;
        }
        self.tell_time();
        let dispatcher = &mut self.life.dispatcher;
        match self.life.consumer {
            Consumer::Holds(handed) => {
                let number = dispatcher
                    .ledger
                    .payload(handed.token)
                    .map(|one| one.number);
                // It may have been cancelled meanwhile.
                let number = number.unwrap_or_default();
                let outcome = match self.chance.permille(self.rates.nack) {
                    true => Outcome::failed(Cause::Dropped),
                    false => Outcome::Done(number),
                };
                let is_failure = outcome != Outcome::Done(number);
                if dispatcher.end(handed.token, outcome, self.now).is_err() {
                    self.coverage.late_words += 1;
                } else if self.policy().is_some() {
                    match is_failure {
                        true => self.copy_failed(number, handed.token, Some(&Cause::Dropped)),
                        false => self.copy_said(number, handed.token, Some(number)),
                    }
                } else if is_failure {
                    self.truth.failed(number);
                }
                self.life.consumer = Consumer::Ready;
            }
            waiting => {
                if waiting == Consumer::Waits {
                    dispatcher.local_waits(false);
                }
                self.life.consumer = match dispatcher.get() {
                    Some(handed) => {
                        self.coverage.deliveries_to_consumers += 1;
                        self.life.threads = Some(handed.holder);
                        self.note_handed(&handed);
                        Consumer::Holds(handed)
                    }
                    None => {
                        dispatcher.local_waits(true);
                        Consumer::Waits
                    }
                };
            }
        }
    }

    /// Takes one step of the journal's thread: take, commit, report.
    pub(super) fn write(&mut self) {
        let Some(mut write) = self.life.write.take() else {
            self.begin_write();
            return;
        };
        if write.is_on_disk {
            note!(self, "write {} is durable", write.number);
            self.life.dispatcher.ledger.handle_written(write.number);
        } else if self.chance.permille(self.rates.write_failure) {
            note!(self, "write {} fails", write.number);
            self.coverage.write_failures += 1;
            // After an error the caller cannot know whether the commit lasted all the same.
            if self.chance.below(4) == 0 {
                self.coverage.failed_writes_that_lasted += 1;
                self.commit(write.records, self.plan.is_full);
            }
            self.life.dispatcher.ledger.handle_write_failed();
        } else {
            let is_synced = self.plan.is_full && !self.is_planted(Plant::UnsyncedCommit);
            let records = std::mem::take(&mut write.records);
            self.commit(records, is_synced);
            write.is_on_disk = true;
            self.life.write = Some(write);
        }
    }

    pub(super) fn begin_write(&mut self) {
        let Some(write) = self.life.dispatcher.ledger.poll_write() else {
            return;
        };
        for record in &write.records {
            for (id, number) in numbers_in(record) {
                self.life.dispatcher.numbers.insert(id, number);
            }
        }
        self.coverage.writes += 1;
        note!(
            self,
            "write {}: {} records",
            write.number,
            write.records.len()
        );
        self.life.write = Some(InFlight {
            number: write.number,
            records: write.records,
            is_on_disk: false,
        });
    }

    /// Changes the journal's rows as its book says.
    pub(super) fn commit(&mut self, records: Vec<Record<Envelope>>, is_synced: bool) {
        let changes = self.life.book.changes(records.clone());
        let mut changes = changes.unwrap_or_else(|why| panic!("the journal refuses: {why:?}"));
        if self.is_planted(Plant::WrongMerge) {
            let is_batch = |table: Table| table == Table::Batch;
            changes.retain(|one| !matches!(one, Change::Drop { table, .. } if is_batch(*table)));
        }
        let commit = Commit {
            changes,
            records,
            revived: None,
        };
        self.disk.commit(commit, is_synced);
    }

    /// Cancels an item, or gives a dead letter another attempt, as an operator.
    pub(super) fn operate(&mut self) {
        if self.chance.permille(self.rates.cancel * 10) {
            self.cancel();
        } else if self.chance.permille(self.rates.revive * 10) && !self.life.letters.is_empty() {
            self.revive();
        } else if self.chance.permille(self.rates.recycle * 10) {
            let index = self.chance.index(self.life.slots.len());
            self.replace(index);
        } else if self.chance.permille(self.rates.stop * 10) && !self.life.is_stopping {
            self.stop_pool();
        } else if self.life.is_stopping && self.life.is_pool_over() && self.plan.is_journaled {
            self.end_in_order();
        }
    }

    fn cancel(&mut self) {
        let id = self.truth.some_id(self.chance.next());
        let ledger = &self.life.dispatcher.ledger;
        let number = self.life.dispatcher.numbers.get(&id).copied();
        let before = ledger.counts();
        let answer = self.life.dispatcher.cancel_item(id, self.now);
        note!(self, "cancel item {id}: {answer:?}");
        match answer {
            Cancelled::Not => {
                self.coverage.cancelled_nothing += 1;
                assert_eq!(self.life.dispatcher.ledger.counts(), before);
                return;
            }
            Cancelled::Waiting => self.coverage.cancelled_waiting += 1,
            Cancelled::Leased(handed) => {
                self.coverage.cancelled_leased += 1;
                self.truth.revoke(handed.token);
                if let Some(index) = self.life.slot_of(handed.holder) {
                    let slot = &mut self.life.slots[index];
                    if slot.process.is_some() {
                        slot.down.push_back(Down::Revoke(handed.token));
                    }
                }
            }
        }
        let number = number.expect("it was accepted");
        for token in self.truth.votes.end(number) {
            self.truth.revoke(token);
        }
        self.truth.failed(number);
    }

    fn revive(&mut self) {
        let index = self.chance.index(self.life.letters.len());
        let letter = self.life.letters.remove(index);
        note!(self, "revive item {}", letter.id);
        if self.plan.is_journaled {
            if self.life.dispatcher.ledger.is_broken() {
                return;
            }
            let body = letter.payload.number.to_le_bytes();
            let changes = self.life.book.revive(letter.id, &body);
            let commit = Commit {
                changes: changes.expect("the letter was told, so the journal has it"),
                records: Vec::new(),
                revived: Some(letter.id),
            };
            self.disk.commit(commit, self.plan.is_full);
        }
        self.coverage.revived += 1;
        self.life.is_joined = false;
        self.truth.revived(letter.payload.number);
        self.life.dispatcher.ledger.handle_revive(letter);
    }

    pub(super) fn note_handed(&mut self, handed: &Handed) -> Job {
        let payload = self.life.dispatcher.ledger.payload(handed.token);
        let number = payload.expect("it was just handed out").number;
        note!(
            self,
            "item {} (put {number}), attempt {}",
            handed.id,
            handed.attempt
        );
        self.coverage.deliveries += 1;
        let held = self.life.dispatcher.ledger.held_by(handed.holder);
        self.coverage.deliveries_in_advance += u64::from(held > 1);
        let line = self.disk.lines().get(&handed.id.0);
        let is_on_disk = line.is_some_and(|line| line.number == number);
        assert!(is_on_disk || !self.plan.is_journaled, "it is not durable");
        let max_attempts = self.plan.options.max_attempts;
        self.truth.handed(handed, number, max_attempts);
        if self.policy().is_none() && self.life.slot_of(handed.holder).is_some() {
            self.truth.handed_to_worker(number, handed.token);
        }
        if let Some(policy) = self.policy() {
            self.copy_begun(handed, number, policy);
        } else {
            let mut living = self.life.jobs();
            let other =
                living.find(|job| job.number == number && !self.truth.is_revoked(job.token));
            assert_eq!(other, None, "put {number} has two living holders");
        }
        self.check_limits(handed, number);
        let slot = self.told_slot(handed.slot);
        Job {
            slot,
            ..Job::new(handed, number)
        }
    }

    /// Carries out all effects.
    pub(super) fn pump(&mut self) {
        self.tell_time();
        while let Some(said) = self.life.dispatcher.next() {
            self.carry_out(said);
        }
    }

    pub(super) fn carry_out(&mut self, said: Effect) {
        match said {
            Effect::Deliver(handed) => self.deliver_turn(handed),
            Effect::Answer(request, answer) => {
                if let Some(index) = self.life.client_of(request.holder) {
                    return self.answer_client(index, request, answer);
                }
                let job = match &answer {
                    Reply::Items(items) => {
                        assert_eq!(items.len(), 1, "no more were asked for");
                        self.coverage.deliveries_to_loops += 1;
                        Some(self.note_handed(&items[0]))
                    }
                    _ => None,
                };
                let slot = self.life.slot_of(request.holder);
                let is_lost = answer == Reply::Ahead && self.is_planted(Plant::AheadUnanswered);
                if let Some(index) = slot.filter(|_| !is_lost)
                    && self.life.slots[index].process.is_some()
                {
                    let down = &mut self.life.slots[index].down;
                    down.push_back(Down::Answer(answer, job));
                }
            }
            Effect::Worn(holder) => self.recycle(holder),
            Effect::TakeBack(holder) => {
                if let Some(index) = self.life.slot_of(holder) {
                    let is_planted = self.is_planted(Plant::BegunGivenBack);
                    let slot = &mut self.life.slots[index];
                    let begun = slot.process.as_ref().and_then(|process| process.begun);
                    if let Some(job) = begun.filter(|_| is_planted && slot.is_loop) {
                        slot.up.push_back(Up::Settled(job, Outcome::Returned));
                    }
                    self.coverage.taken_back_from_loops += u64::from(slot.is_loop);
                    slot.down.push_back(Down::GiveBack);
                }
            }
            Effect::Stop(handed) => self.stop_copy(handed),
            Effect::Notice(notice) => match notice {
                Notice::Shortage(_) => self.coverage.shortages += 1,
                Notice::ShortageOver => self.coverage.shortages_over += 1,
                Notice::Paused | Notice::Resumed => {}
                Notice::TooFewWorkers { .. } => self.coverage.lacks_of_workers += 1,
            },
            Effect::Report(report) => {
                if self.is_planted(Plant::DoneTwice) {
                    self.hear(report.clone());
                }
                self.hear(report);
            }
        }
    }

    /// Brings a delivery to its worker, and all others that the worker gets in this turn. MIRRORED
    /// from `deliver` in `src/broker/pump.rs`.
    fn deliver_turn(&mut self, first: Handed) {
        let mut turn = Vec::new();
        if self.plan.takes_turns {
            let ledger = &mut self.life.dispatcher.ledger;
            ledger.poll_turn(|handed, _| turn.push(*handed));
        }
        self.coverage.deliveries_in_turns += turn.len() as u64;
        let unsent = self.is_planted(Plant::TurnCutShort).then(|| turn.pop());
        self.deliver(first);
        turn.into_iter().for_each(|handed| self.deliver(handed));
        if let Some(handed) = unsent.flatten() {
            self.note_handed(&handed);
        }
    }

    fn deliver(&mut self, handed: Handed) {
        let job = self.note_handed(&handed);
        if self.chance.permille(self.rates.undeliverable) {
            self.coverage.undeliverable += 1;
            let outcome = Outcome::failed(Cause::Undeliverable("too large".into()));
            let settled = self.life.dispatcher.end(handed.token, outcome, self.now);
            assert_eq!(settled, Ok(()));
            match self.policy() {
                Some(_) => self.copy_failed(job.number, job.token, None),
                None => self.truth.failed(job.number),
            }
            return;
        }
        self.coverage.begun_alone += u64::from(self.truth.must_be_alone(job.token));
        let index = self.life.slot_of(handed.holder).expect("it is attached");
        if self.is_planted(Plant::AloneSettledEarly) && self.truth.must_be_alone(job.token) {
            let slot = &mut self.life.slots[index];
            slot.up.push_back(Up::Settled(job, Outcome::Returned));
        }
        let index = match self.is_planted(Plant::CopiesTogether) {
            true => self.slot_of_another_copy(&handed).unwrap_or(index),
            false => index,
        };
        let is_loop = self.life.slots[index].is_loop;
        self.coverage.deliveries_to_loops_in_advance += u64::from(is_loop);
        // Messages to the dead are in no worker's hands.
        if self.life.slots[index].process.is_some() {
            self.life.slots[index].down.push_back(Down::Deliver(job));
        }
    }

    fn hear(&mut self, report: Report<Envelope, u64>) {
        // Some are shown at once, and others never are.
        if self.step.is_multiple_of(3) {
            let attempt = match &report {
                Report::Done { handed, .. } => Some(handed.attempt),
                Report::Retry { failure, .. } => Some(failure.attempt),
                Report::Dead(letter) => letter.history.last().map(|last| last.attempt),
                Report::Copy(_) => None,
            };
            if let Some(attempt) = attempt {
                self.life
                    .dispatcher
                    .ledger
                    .handle_shown(report.id(), attempt);
            }
        }
        match report {
            Report::Done {
                payload, result, ..
            } => {
                note!(self, "put {} is told done", payload.number);
                self.coverage.done_told += 1;
                let number = payload.number;
                if !self.is_planted(Plant::EarlyEnd) || !self.truth.is_end_told(number) {
                    self.truth.done_told(payload.number, result, self.step);
                }
            }
            Report::Retry {
                failure, payload, ..
            } => {
                self.coverage.retries_told += 1;
                self.truth
                    .retry_told(payload.number, failure.attempt, self.step);
            }
            Report::Copy(copy) => self.copy_told(&copy),
            Report::Dead(letter) => {
                note!(self, "put {} is told dead", letter.payload.number);
                self.coverage.dead_told += 1;
                let last = letter.history.last().map(|last| &last.cause);
                let is_alone = matches!(last, Some(Cause::OutOfMemoryAlone(_)));
                self.coverage.dead_alone += u64::from(is_alone);
                match last {
                    Some(Cause::DeadlinePassed) => self.coverage.overdue += 1,
                    Some(Cause::DependencyFailed(_)) => self.coverage.failed_with_others += 1,
                    _ => {}
                }
                if matches!(
                    last,
                    Some(Cause::DeadlinePassed | Cause::DependencyFailed(_))
                ) {
                    self.truth.failed(letter.payload.number);
                }
                let max_attempts = self.plan.options.max_attempts;
                self.truth.dead_told(&letter, self.step, max_attempts);
                self.life.letters.push(letter);
            }
        }
    }

    /// Returns the shortest rest of an item, for which a thread waits.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        let slots = self.life.slots.iter();
        let deadlines = slots.filter_map(|slot| slot.child.poll_timeout());
        deadlines
            .chain(self.life.dispatcher.ledger.poll_timeout())
            .min()
    }
}
