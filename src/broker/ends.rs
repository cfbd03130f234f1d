//! The ends of deliveries: done, refused, returned, cancelled, or with their worker.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::core::Core;
use super::product::Product;
use super::{Broker, current};
use crate::error::{Kind, NoSharedMemory};
use crate::handler::copies;
use crate::handler::held::Acknowledger;
use crate::payload::Payload;
use dishrack_core::ledger::{
    Blame, Cancelled, Cause, Handed, HolderId, ItemId, Outcome, Scene, Stale, Started, Token,
};

impl Acknowledger for Broker {
    fn acknowledge(
        &self,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Kind> {
        if current::holds(self) {
            // A forked loop goes on with what its parent got.
            copies::end_copy();
        }
        self.settle(token, service, outcome)
    }
}

impl Broker {
    /// Cancels an item, and returns when that is durable; `false` if there was nothing to cancel.
    pub(crate) fn cancel(&self, id: ItemId) -> Result<bool, Kind> {
        Ok(self.cancel_each(&[id])? > 0)
    }

    /// Does so with each of these, and returns the number of those that were cancelled.
    pub(crate) fn cancel_each(&self, ids: &[ItemId]) -> Result<u64, Kind> {
        self.end_each(ids, Core::cancel)
    }

    /// Cancels those of these that nobody has been given, and returns their number.
    pub(crate) fn withdraw_each(&self, ids: &[ItemId]) -> Result<u64, Kind> {
        self.end_each(ids, Core::withdraw)
    }

    fn end_each(
        &self,
        ids: &[ItemId],
        end: impl Fn(&mut Core, ItemId) -> bool,
    ) -> Result<u64, Kind> {
        // An item that is being written down can be ended only after that.
        self.sync_accepted()?;
        let ended = self.with(|core| ids.iter().filter(|id| end(core, **id)).count());
        self.sync_all()?;
        Ok(ended as u64)
    }
}

impl Core {
    /// Cancels an item. Returns `false` if there was nothing to cancel.
    pub(crate) fn cancel(&mut self, id: ItemId) -> bool {
        // What a worker of this process has done is done.
        self.drain_locals();
        let scene = Scene::ended_at(self.emitter.now_unix());
        match self.dispatcher.ledger.handle_cancel(id, scene) {
            Cancelled::Not => return false,
            Cancelled::Waiting => {}
            Cancelled::Leased(handed) => self.revoke(&handed, false),
        }
        true
    }

    /// Cancels an item that nobody has been given. Returns `false` if somebody has, or it has its end.
    pub(crate) fn withdraw(&mut self, id: ItemId) -> bool {
        // What a worker of this process has done is done.
        self.drain_locals();
        let scene = Scene::ended_at(self.emitter.now_unix());
        self.dispatcher.ledger.handle_withdraw(id, scene)
    }

    /// Replaces a worker that has had all its deliveries.
    pub(super) fn worn(&self, holder: HolderId) {
        let attachment = self.attachments.get(holder);
        if let Some(overseer) = attachment.and_then(|attachment| attachment.overseer.as_ref()) {
            overseer.worn();
        }
    }

    pub(super) fn take_back(&mut self, holder: HolderId) {
        if let Some(attachment) = self.attachments.get_mut(holder) {
            attachment.link.take_back();
            self.unsent.push_back(holder);
        }
        self.recall(holder);
    }

    /// Takes back at once what a worker of this process has not begun.
    pub(super) fn recall(&mut self, holder: HolderId) {
        let attachment = self.attachments.get_mut(holder);
        let tokens = attachment.map_or_else(Vec::new, |attachment| attachment.link.recall());
        for token in tokens {
            // It was not begun, so nobody has settled it.
            let _ = self.settle(token, Duration::ZERO, Outcome::Returned);
        }
    }

    /// Lets a worker stop its work on a delivery that is no longer its own.
    pub(super) fn revoke(&mut self, handed: &Handed, is_spare: bool) {
        if let Some(attachment) = self.attachments.get_mut(handed.holder) {
            if attachment.link.revoke(handed) {
                self.dispatcher.ledger.handle_late_return(handed.token);
                return;
            }
            self.unsent.push_back(handed.holder);
        }
        self.revoked(handed.holder, handed.ordinal, is_spare);
    }

    /// Notes a cancelled delivery that its worker may be working on.
    pub(super) fn revoked(&self, holder: HolderId, ordinal: u64, is_spare: bool) {
        let attachment = self.attachments.get(holder);
        if let Some(overseer) = attachment.and_then(|attachment| attachment.overseer.as_ref()) {
            overseer.revoked(ordinal, is_spare);
        }
    }

    pub(super) fn settle(
        &mut self,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Stale> {
        let needs_time = outcome.needs_time();
        let (outcome, scene) = match outcome {
            Outcome::Done(result) => {
                self.send_result(token, &result);
                let product = self.product_of(token, service, result);
                let scene = product.as_ref().and_then(|product| product.scene.clone());
                (Outcome::Done(product), scene.unwrap_or_default())
            }
            Outcome::Failed { cause, rest } => {
                let scene = self.scene_of(token, service);
                (Outcome::Failed { cause, rest }, scene)
            }
            Outcome::Returned => (Outcome::Returned, Scene::default()),
            Outcome::Short(why) => (Outcome::Short(why), Scene::default()),
        };
        // A done item needs no time, and reading the clock would cost as much as all the rest. It is read
        // after the scene has its own, so that no item rests for less than the two scenes tell.
        let now = match needs_time {
            true => self.emitter.now(),
            false => Duration::ZERO,
        };
        self.dispatcher
            .settle(token, service, outcome, scene, now)?;
        // At once, so that reports keep the order of the events.
        while let Some(report) = self.dispatcher.ledger.poll_report() {
            self.publish(report);
        }
        Ok(())
    }

    /// Settles a run of deliveries that a holder asked for as done; each by itself if somebody is told
    /// of it. Returns the ordinals of those that were stale.
    pub(super) fn settle_run(
        &mut self,
        holder: HolderId,
        run: RangeInclusive<u64>,
        service: Duration,
    ) -> Vec<u64> {
        let ledger = &mut self.dispatcher.ledger;
        let is_told = self.emitter.wants_items() || !self.mailboxes.is_empty();
        if !is_told && !ledger.needs_time() && self.dispatcher.shared.is_none() {
            return ledger.handle_done_run(holder, run, service);
        }
        let is_stale = |ordinal: &u64| {
            let done = Outcome::Done(Payload::default());
            let settled = self.settle(Token::of(holder, *ordinal), service, done);
            settled.is_err()
        };
        run.filter(is_stale).collect()
    }

    /// Makes the product of a delivery that is done, if a caller waits for it or an observer wants
    /// it.
    fn product_of(&self, token: Token, service: Duration, result: Payload) -> Option<Product> {
        let wants_event = self.emitter.wants_items();
        let ledger = &self.dispatcher.ledger;
        let reply = ledger.payload(token)?.reply();
        let is_compared = ledger.needs_time() && ledger.is_compared(token);
        (wants_event || reply.is_some() || is_compared).then(|| Product {
            result,
            // Who said what belongs into the history, where they do not agree.
            scene: (wants_event || is_compared).then(|| self.scene_of_done(token, service)),
            comparison: is_compared.then(|| self.comparison.clone()).flatten(),
        })
    }

    /// Notes that a supervisor of this queue is asked to stop, so ends by the same stop are not
    /// charged.
    pub(crate) fn stop_begins(&mut self) {
        self.dispatcher.ledger.handle_stopping();
    }

    pub(crate) fn stop_is_over(&mut self) {
        self.dispatcher.ledger.handle_stopped();
    }

    pub(super) fn detach(
        &mut self,
        holder: HolderId,
        started: Started,
        blame: Option<&Blame>,
    ) -> usize {
        // Records from before its end count, even if its channel was given up.
        let _ = self.drain(holder);
        // Its name goes with it.
        self.draw_ended();
        let gone = self.attachments.remove(holder);
        self.without_work.remove(holder);
        self.locals -= usize::from(gone.is_some_and(|gone| gone.local.is_some()));
        let now = self.emitter.now();
        self.dispatcher.detach(holder, started, blame, now)
    }

    pub(super) fn fail_undeliverable(&mut self, token: Token, lack: NoSharedMemory) {
        let NoSharedMemory(why) = lack;
        let outcome = Outcome::failed(Cause::Undeliverable(why));
        // The token was handed out a moment ago, so it is not stale.
        let _ = self.settle(token, Duration::ZERO, outcome);
    }
}
