//! The end of a world: without faults, everything must come to rest within bounded time, with
//! everything settled and reported, and no caller waiting.

use std::time::Duration;

use super::{Crash, World, note};
use crate::disk::End;
use crate::plan::Rates;

/// The greatest number of rounds; no world needs nearly as many.
const ROUNDS_MAX: u32 = 4_000;

impl World {
    pub(super) fn come_to_rest(&mut self) {
        note!(self, "faults stop");
        self.is_calm = true;
        self.unpause();
        self.scale(self.plan.handlers + self.plan.loops);
        self.follow_scaler();
        self.rates = Rates {
            // No caller may wait for ever for room that only itself can make.
            cancelled_request: 200,
            ..Rates::default()
        };
        for _ in 0..ROUNDS_MAX {
            if self.life.dispatcher.ledger.is_broken() && self.life.write.is_none() {
                assert!(
                    self.life.dispatcher.join_state(0).is_some(),
                    "a join that hangs"
                );
                self.crash(Crash::Process);
            }
            // What has ended is written first, for which a join waits.
            let is_written = self.life.dispatcher.is_written();
            let is_stuck = self.life.dispatcher.lack().is_some();
            let is_over = self.life.is_pool_over() || is_stuck;
            let are_clients_gone = self.life.clients.is_empty();
            if is_over && is_written && are_clients_gone && self.is_served_by_nobody() {
                assert!(
                    self.life.dispatcher.join_state(0).is_some(),
                    "a join that hangs"
                );
                if !self.plan.is_journaled {
                    return;
                }
                self.crash(Crash::Process);
            }
            self.round();
            if self.life.is_joined
                && self.is_produced()
                && self.life.clients.is_empty()
                && self.life.dispatcher.ledger.is_finished()
            {
                return self.check_end();
            }
        }
        let counts = self.life.dispatcher.ledger.counts();
        panic!("it does not come to rest: {counts:?}");
    }

    fn is_served_by_nobody(&self) -> bool {
        !self.plan.has_consumer || self.life.dispatcher.ledger.is_finished() || {
            // A consumer takes what is there; producers were told that no worker is left.
            self.life.dispatcher.join_state(0).is_some()
        }
    }

    /// Gives each part a turn. Time passes in small steps, and to the next deadline now and then.
    fn round(&mut self) {
        self.step += 1;
        self.produce_plain();
        self.produce_keyed();
        self.write();
        self.check();
        for index in 0..self.life.slots.len() {
            self.slot_turn(index);
            self.check();
        }
        self.consume();
        self.check();
        for index in (0..self.life.clients.len()).rev() {
            self.client_turn(index);
            self.check();
        }
        self.join();
        let pause = match (self.step % 8, self.next_wake()) {
            (0, Some(wake)) => wake.saturating_sub(self.now),
            _ => Duration::from_millis(1),
        };
        self.pass(pause);
        self.check();
    }

    /// Checks that each change that was asked for was told once.
    fn check_wishes(&self) {
        if !self.life.is_stopping && !self.life.is_pool_over() {
            let left = (self.life.scales, self.life.reloads);
            assert!(left <= (1, 1), "too many wishes are open: {left:?}");
        }
    }

    fn check_end(&mut self) {
        self.join();
        self.truth.check_end();
        self.check_wishes();
        let counts = self.life.dispatcher.ledger.counts();
        assert_eq!(counts.unfinished(), 0, "{counts:?}");
        if !self.plan.is_journaled {
            return;
        }
        let (_, found) = self.disk.recover();
        assert_eq!(found.recovered.unfinished, [], "the journal knows more");
        let lines = self.disk.lines();
        let dead = lines.values().filter(|line| line.end == Some(End::Dead));
        assert_eq!(counts.dead, dead.count() as u64);
        let prints = found.prints.into_iter();
        let mut prints: Vec<u128> = prints.map(|(_, print)| print).collect();
        let mut keys: Vec<u128> = self.plan.keys.iter().copied().map(u128::from).collect();
        prints.sort_unstable();
        keys.sort_unstable();
        assert_eq!(
            prints, keys,
            "each key was put as often as it was asked for"
        );
    }
}
