//! The threads that put and join at a member, whoever pauses its work, and a member's orderly end.

use dishrack_core::ledger::{Failure, Refusal};
use dishrack_core::shared;
use dishrack_core::stream::entry::line_of;

use super::line::steering_of;
use super::member::{Joiner, Phase, Putter};
use super::{Fleet, note};
use crate::envelope::Envelope;

/// The number of puts under way at a time that are not waited for.
const ON_THE_WAY_MAX: usize = 6;

impl Fleet {
    /// Pauses the work of a member now and then, or lets it go on, in one fleet of four. Others go on
    /// in any case.
    pub(super) fn steer(&mut self) {
        if !self.plan.steps.is_multiple_of(4) {
            return;
        }
        let at = self.whims.index(self.members.len());
        match self.whims.below(120) {
            0 => {
                note!(self, "{}: is to be paused", self.members[at].name);
                self.coverage.steered_pauses += 1;
                self.members[at].dispatcher.ledger.handle_pause();
            }
            1 | 2 => self.members[at].dispatcher.ledger.handle_unpause(),
            _ => return,
        }
        self.pump(at);
    }

    /// Pauses the work of all now and then, or lets it go on, and cancels items, in another fleet of
    /// four; and has somebody hear of it.
    pub(super) fn steer_all(&mut self) {
        if !self.is_steered() {
            return;
        }
        match self.whims.below(100) {
            0 => {
                note!(self, "all are to be paused");
                self.coverage.pauses_of_all += 1;
                self.give_order(true);
            }
            1..4 => self.give_order(false),
            4..8 => self.cancel_one(),
            _ => {}
        }
        let at = self.whims.index(self.members.len());
        if self.whims.below(4) == 0 {
            self.hear_of_orders(at);
        }
    }

    /// Returns `true` if somebody gives orders to all.
    pub(super) fn is_steered(&self) -> bool {
        self.plan.steps % 4 == 2
    }

    /// Orders all to pause, or to go on.
    pub(super) fn give_order(&mut self, is_paused: bool) {
        self.stream.clock = u64::try_from(self.now.as_millis()).expect("soon");
        let order = steering_of(self.stream.steer(is_paused));
        (self.order, self.newest_order) = (Some(order), order);
    }

    fn cancel_one(&mut self) {
        let entries: Vec<_> = self.stream.entries.keys().copied().collect();
        if entries.is_empty() || self.now < self.down_until {
            return;
        }
        let id = self.whims.pick(&entries);
        note!(self, "{id} is to be cancelled");
        self.coverage.cancels += 1;
        let failure = line_of(&Failure::cancelled_at(self.now));
        self.stream.cancel(id, self.record.lease(), &failure);
        self.note_events();
    }

    /// Has a member read what is ordered of it.
    pub(super) fn hear_of_orders(&mut self, at: usize) {
        if self.is_paused(at) || self.now < self.down_until {
            return;
        }
        let member = &mut self.members[at];
        if let Some(order) = self.order {
            member.dispatcher.handle_steering(order);
            let is_paused = member.dispatcher.ledger.is_paused();
            assert_eq!(is_paused, order.is_paused, "the last order is followed");
        }
        if !self.stream.unwanted(&member.name).is_empty() {
            member.dispatcher.call_fetcher();
        }
        self.pump(at);
    }

    pub(super) fn put_turn(&mut self, at: usize) {
        match self.members[at].putter {
            Putter::Ready => self.begin_put(at),
            Putter::Waits(ticket, number) => self.await_put(at, ticket, number),
        }
        self.pump(at);
    }

    fn begin_put(&mut self, at: usize) {
        let member = &mut self.members[at];
        let is_open = member.phase == Phase::Working && member.dispatcher.refusal(true).is_none();
        if self.puts_left == 0 || !is_open || member.shared().on_the_way() >= ON_THE_WAY_MAX {
            return;
        }
        self.puts_left -= 1;
        let number = self.record.new_number();
        if self.chance.below(4) == 0 {
            member.mapped.insert(number);
        }
        let envelope = Envelope::new(number, None);
        let is_impatient = self.chance.below(4) == 0;
        if self.chance.below(2) == 0 {
            member.untold.push(number);
            let putter = shared::Putter::Nobody;
            member.shared().push(envelope, putter, false, is_impatient);
            return;
        }
        let putter = shared::Putter::Local;
        let ticket = member.shared().push(envelope, putter, false, is_impatient);
        member.putter = Putter::Waits(ticket, number);
        note!(self, "{}: put {number}", member.name);
    }

    fn await_put(&mut self, at: usize, ticket: u64, number: u64) {
        let outcome = self.members[at].shared().take_outcome(ticket);
        match outcome {
            None if self.chance.permille(self.rates.cancel) => {
                let shared = self.members[at].shared();
                let answer = shared.hurry(|one| one.ticket == ticket);
                assert_eq!(answer, None, "it is no worker's");
                self.coverage.hurried += 1;
                return;
            }
            None => return,
            Some(Ok(id)) => {
                note!(
                    self,
                    "{}: put {number} is told accepted",
                    self.members[at].name
                );
                self.coverage.puts_told += 1;
                self.record.accepted(number, id);
            }
            Some(Err(Refusal::Full)) => {
                self.coverage.puts_refused += 1;
                self.record.refused(number);
            }
            Some(Err(refused)) => panic!("put {number}: {refused:?}"),
        }
        self.members[at].putter = Putter::Ready;
    }

    pub(super) fn join_turn(&mut self, at: usize) {
        let member = &mut self.members[at];
        let Some(joiner) = &member.joiner else {
            if member.phase == Phase::Working {
                let look = member.dispatcher.ask_refresh();
                member.joiner = Some(Joiner {
                    since: self.step,
                    look,
                    before: member.untold.clone(),
                });
            }
            return self.pump(at);
        };
        match member.dispatcher.join_state(joiner.look) {
            None => {}
            Some(Ok(_)) => {
                let (since, before) = (joiner.since, joiner.before.clone());
                member.joiner = None;
                self.joined(at, since, &before);
            }
            Some(Err(refused)) => panic!("nobody stops a join, and it is {refused:?}"),
        }
        self.pump(at);
    }

    /// Tells a join from that step that nothing is unfinished.
    pub(super) fn joined(&mut self, at: usize, since: u64, before: &[u64]) {
        note!(self, "{}: a join returns", self.members[at].name);
        self.coverage.joins += 1;
        let is_true = self.empty_at >= since;
        assert!(is_true, "a join returns, and nothing was ever finished");
        for number in before {
            self.record.joined(*number);
        }
    }

    /// Ends a member in order, one step after the other.
    pub(super) fn quit_turn(&mut self, at: usize) {
        let member = &mut self.members[at];
        match member.phase {
            Phase::Working if self.chance.permille(self.rates.leave) => {
                note!(self, "{} is to end", member.name);
                member.phase = Phase::Quitting;
                member.shared().quit();
                for index in 0..member.workers.len() {
                    let worker = &mut member.workers[index];
                    worker.is_stopping = true;
                    member.dispatcher.stop(worker.holder);
                }
            }
            Phase::Quitting => {
                let is_idle = member.workers.is_empty() && member.putter == Putter::Ready;
                if is_idle && member.dispatcher.is_written() && member.fetcher_is_settled() {
                    member.phase = Phase::Leaving;
                    self.leave(at);
                }
            }
            _ => {}
        }
        self.pump(at);
    }

    /// Ends its threads, except the one that tells the stream what is left.
    fn leave(&mut self, at: usize) {
        let publisher = self.members[at].publisher.take();
        self.lose_calls(at);
        self.members[at].publisher = publisher;
        self.members[at].joiner = None;
    }
}
