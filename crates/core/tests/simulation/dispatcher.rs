//! The broker's decisions in this world: the real
//! [`Dispatcher`](dishrack_core::dispatcher::Dispatcher) over the real ledger, with the put of each
//! item. The world does the broker's other work, which is to wait, to wake and to send.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use dishrack_core::dispatcher;
pub(crate) use dishrack_core::dispatcher::{Reply, Request};
use dishrack_core::ledger::{
    self, Cancelled, Credit, HolderId, ItemId, Ledger, Refusal, Scene, Stale, Token,
};

use crate::envelope::Envelope;

pub(crate) type Effect = dispatcher::Effect<Envelope, u64>;

pub(crate) type Outcome = ledger::Outcome<u64>;

#[derive(Debug)]
pub(crate) struct Dispatcher {
    real: dispatcher::Dispatcher<Envelope, u64>,
    /// The number of each item's put.
    pub(crate) numbers: BTreeMap<ItemId, u64>,
    /// The workers' puts that are not answered yet.
    asked: BTreeMap<(HolderId, u64), u64>,
}

impl Deref for Dispatcher {
    type Target = dispatcher::Dispatcher<Envelope, u64>;

    fn deref(&self) -> &Self::Target {
        &self.real
    }
}

impl DerefMut for Dispatcher {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.real
    }
}

impl Dispatcher {
    /// Returns `true` if no put of a worker that is here waits for its answer.
    pub(crate) fn are_puts_answered(&self) -> bool {
        let mut holders = self.asked.keys().map(|(holder, _)| *holder);
        holders.all(|holder| !self.real.ledger.is_worker(holder))
    }

    pub(crate) fn new(ledger: Ledger<Envelope, u64>, numbers: BTreeMap<ItemId, u64>) -> Self {
        let mut real = dispatcher::Dispatcher::new(ledger);
        real.pool_began();
        Dispatcher {
            real,
            numbers,
            asked: BTreeMap::new(),
        }
    }

    pub(crate) fn try_put(&mut self, envelope: Envelope) -> Result<ItemId, Refusal> {
        let id = self.real.put(envelope, false)?;
        self.numbers.insert(id, envelope.number);
        Ok(id)
    }

    /// Accepts as many items from the front as there is room for. Returns their number, and the last
    /// one's. MIRRORED from `try_put_many` in `src/broker/core.rs`.
    pub(crate) fn try_put_many(
        &mut self,
        batch: &mut VecDeque<Envelope>,
    ) -> Result<(u64, ItemId), Refusal> {
        if let Some(refusal) = self.real.refusal(false) {
            return Err(refusal);
        }
        let numbers: Vec<u64> = batch.iter().map(|one| one.number).collect();
        let last = self.real.accept_many(batch, numbers.len(), false);
        let accepted = (numbers.len() - batch.len()) as u64;
        let ids = (last.0 + 1 - accepted..=last.0).map(ItemId);
        self.numbers.extend(ids.zip(numbers));
        Ok((accepted, last))
    }

    /// Handles a worker's or a client's put, and whether it waits.
    pub(crate) fn ask(&mut self, request: Request, envelope: Envelope, waits: bool) {
        self.asked
            .insert((request.holder, request.number), envelope.number);
        self.real.ask_put(request, envelope, waits);
    }

    pub(crate) fn attach(&mut self, credit: Option<Credit>, quota: u64) -> HolderId {
        self.real.ledger.handle_join(credit, quota)
    }

    /// Handles a worker's word on a delivery. Returns `true` if the delivery was still its own.
    pub(crate) fn receive_outcome(
        &mut self,
        token: Token,
        outcome: Outcome,
        now: Duration,
    ) -> bool {
        if !self.real.is_heard(token, outcome.is_return()) {
            return false;
        }
        let settled = self.end(token, outcome, now);
        assert_eq!(settled, Ok(()), "a delivery that was there a moment ago");
        true
    }

    pub(crate) fn end(
        &mut self,
        token: Token,
        outcome: Outcome,
        now: Duration,
    ) -> Result<(), Stale> {
        let (service, ended) = match outcome {
            Outcome::Done(result) => (
                Duration::from_micros(result % 50 * (result % 41)),
                Duration::ZERO,
            ),
            Outcome::Failed { .. } | Outcome::Returned | Outcome::Short(_) => (Duration::ZERO, now),
        };
        let scene = Scene::ended_at(ended);
        self.real
            .settle(token, service, outcome.map(Some), scene, now)
    }

    pub(crate) fn cancel_item(&mut self, id: ItemId, now: Duration) -> Cancelled {
        let scene = Scene::ended_at(now);
        self.real.ledger.handle_cancel(id, scene)
    }

    /// Returns the next effect.
    pub(crate) fn next(&mut self) -> Option<Effect> {
        let said = self.real.poll()?;
        if let dispatcher::Effect::Answer(request, reply) = &said {
            let number = self.asked.remove(&(request.holder, request.number));
            if let (Reply::Accepted(id), Some(number)) = (reply, number) {
                self.numbers.insert(*id, number);
            }
        }
        Some(said)
    }
}
