//! The end of a fleet: without faults, everything must come to rest within bounded time.

use std::time::Duration;

use super::member::{Phase, Putter};
use super::plan::Rates;
use super::{Fleet, note};
use crate::disk::End;

/// The greatest number of rounds; no fleet needs nearly as many.
const ROUNDS_MAX: u32 = 6_000;

/// The number of rounds in which every supervisor renews its lease several times.
const PAUSE_ROUNDS: u32 = 400;

impl Fleet {
    pub(super) fn come_to_rest(&mut self) {
        note!(self, "faults stop");
        self.is_calm = true;
        self.rates = Rates::default();
        self.strays.clear();
        if self.is_steered() {
            self.rest_in_a_pause();
        }
        for at in 0..self.members.len() {
            self.members[at].dispatcher.ledger.handle_unpause();
            self.pump(at);
        }
        let before = self.coverage.joins;
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            self.round();
            let is_over = self.is_at_rest() && self.coverage.joins >= before + 3;
            quiet = if is_over { quiet + 1 } else { 0 };
            if quiet > 3 {
                return self.check_end();
            }
        }
        let left: Vec<_> = self.stream.entries.keys().collect();
        panic!("it does not come to rest; left: {left:?}");
    }

    /// Pauses all, of which they hear only when they renew their leases and when they begin. From then on
    /// nothing is handed out until they go on.
    fn rest_in_a_pause(&mut self) {
        // So that who stood still goes on.
        self.pass(4 * self.plan.lease);
        for _ in 0..PAUSE_ROUNDS {
            self.round();
        }
        self.check_pauses();
        self.give_order(true);
        for _ in 0..PAUSE_ROUNDS {
            self.round();
        }
        self.check_pauses();
        let before = self.coverage.deliveries;
        note!(self, "all have heard of the pause");
        self.lose_calls(0);
        self.replace(0);
        for _ in 0..PAUSE_ROUNDS {
            self.round();
        }
        let since = self.coverage.deliveries - before;
        assert_eq!(since, 0, "items were handed out in a pause of all");
        self.coverage.rests_in_pauses += u64::from(!self.stream.entries.is_empty());
        self.give_order(false);
        for at in 0..self.members.len() {
            self.hear_of_orders(at);
        }
    }

    /// Checks that all who renew their leases know of the same pause as the stream.
    fn check_pauses(&self) {
        let (_, is_paused) = self.stream.steered();
        for member in &self.members {
            let ledger = &member.dispatcher.ledger;
            let renews = !member.is_fetcher_asleep || member.wakes_when_due;
            let renews = renews && member.phase == Phase::Working;
            assert!(
                !renews || ledger.is_paused() == is_paused,
                "{}: a pause of which the stream does not know, or the other way round",
                member.name
            );
        }
    }

    /// Gives each member a turn. Time passes in small steps, and in a large one now and then.
    fn round(&mut self) {
        self.step += 1;
        for at in 0..self.members.len() {
            if self.is_paused(at) {
                continue;
            }
            self.put_turn(at);
            self.publisher_turn(at);
            self.fetcher_turn(at);
            self.listener_turn(at);
            self.worker_turn(at);
            self.hear_turn(at);
            self.join_turn(at);
            self.quit_turn(at);
            self.check();
        }
        let pause = if self.step.is_multiple_of(8) { 20 } else { 1 };
        self.pass(Duration::from_millis(pause));
    }

    fn is_at_rest(&self) -> bool {
        let is_idle = |one: &super::Member| {
            let shared = one.dispatcher.shared.as_ref();
            let is_told = shared.is_some_and(|shared| shared.on_the_way() == 0);
            one.phase == Phase::Working
                && one.putter == Putter::Ready
                && one.dispatcher.ledger.is_finished()
                && is_told
        };
        self.puts_left == 0 && self.stream.entries.is_empty() && self.members.iter().all(is_idle)
    }

    fn check_end(&mut self) {
        self.record.check(&self.stream.entries);
        self.record.check_end();
        let (told, _) = self.stream.refresh("", 0);
        assert_eq!(told.done, self.record.count(End::Done), "done");
        assert_eq!(told.dead, self.record.count(End::Dead), "dead");
        assert_eq!(told.pending, 0, "claims without an entry");
    }
}
