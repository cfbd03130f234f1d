//! The near end of a queue that is in another process: what can be asked of it, whichever way leads
//! there. A worker process has its ring for the queue that it works for, and a connection for each
//! other one.

use std::time::Duration;

use crate::broker::Deadline;
use crate::error::Kind;
use crate::handler::held::Acknowledger;
use crate::handler::lending::lending;
use crate::payload::Payload;
use crate::protocol::address::QueueAddress;
use crate::protocol::frame::{Answer, Ask, Wait};
use crate::worker::session::{Received, Session};
use dishrack_core::ledger::ItemId;

/// An item that has come from another process.
#[derive(Debug)]
pub(super) struct ArrivedItem {
    pub(super) ordinal: u64,
    pub(super) id: ItemId,
    pub(super) attempt: u32,
    pub(super) body: ArrivedBody,
}

#[derive(Debug)]
pub(super) enum ArrivedBody {
    /// It came by the ring of a worker process, which has it.
    Ring(Received),
    /// It came by a connection.
    Frame(Vec<u8>),
}

impl ArrivedItem {
    fn of_ring(item: Received) -> Self {
        ArrivedItem {
            ordinal: item.ordinal,
            id: item.id,
            attempt: item.attempt,
            body: ArrivedBody::Ring(item),
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        match &self.body {
            ArrivedBody::Ring(item) => item.body(),
            ArrivedBody::Frame(bytes) => bytes,
        }
    }
}

/// An answer that is no item.
pub(super) type PlainAnswer = Answer<()>;

/// A queue in another process. Each request waits for its answer until the deadline, and is answered
/// once.
pub(super) trait FarEnd: Acknowledger {
    /// Returns where the queue is.
    fn address(&self) -> Result<QueueAddress, Kind>;

    /// Returns `true` if its items outlive the process that has it.
    fn keeps_items(&self) -> Result<bool, Kind>;

    fn ask_put(&self, wait: Wait, body: Payload, deadline: Deadline) -> Result<PlainAnswer, Kind>;

    /// Asks for what is no item.
    fn ask(&self, ask: Ask<'_>, deadline: Deadline) -> Result<PlainAnswer, Kind>;

    /// Gets the next item and those behind it, up to `at_most` in all.
    fn ask_items(
        &self,
        wait: Wait,
        at_most: u32,
        deadline: Deadline,
    ) -> Result<Vec<ArrivedItem>, Kind>;

    /// Decodes an item that came, while its payload may be lent.
    fn take(&self, arrival: &ArrivedItem, decode: &mut dyn FnMut());

    /// Ends deliveries as done, given by ordinal and time. Returns for each `false` if it was ended
    /// before.
    fn settle_many(&self, done: &[(u64, Duration)]) -> Vec<bool>;
}

impl FarEnd for Session {
    fn address(&self) -> Result<QueueAddress, Kind> {
        Ok(self.queue)
    }

    fn keeps_items(&self) -> Result<bool, Kind> {
        Ok(self.keeps_items)
    }

    fn ask_put(&self, wait: Wait, body: Payload, deadline: Deadline) -> Result<PlainAnswer, Kind> {
        let answer = Session::ask_put(self, wait, body, deadline);
        answer.map_err(Kind::NoSharedMemory)
    }

    fn ask(&self, ask: Ask<'_>, deadline: Deadline) -> Result<PlainAnswer, Kind> {
        Ok(Session::ask(self, ask, deadline))
    }

    fn ask_items(
        &self,
        wait: Wait,
        at_most: u32,
        deadline: Deadline,
    ) -> Result<Vec<ArrivedItem>, Kind> {
        let items = Session::get(self, wait, at_most, deadline).map_err(kind_of)?;
        Ok(items.into_iter().map(ArrivedItem::of_ring).collect())
    }

    fn take(&self, arrival: &ArrivedItem, decode: &mut dyn FnMut()) {
        if let ArrivedBody::Ring(item) = &arrival.body {
            lending(item.lender(), decode);
        }
    }

    fn settle_many(&self, done: &[(u64, Duration)]) -> Vec<bool> {
        Session::settle_many(self, done)
    }
}

pub(super) fn wait_of(deadline: Deadline) -> Wait {
    match deadline {
        Deadline::None => Wait::No,
        Deadline::Forever | Deadline::Until(_) => Wait::UntilCancelled,
    }
}

/// Returns the error for an answer other than the expected one. An answer to another question means
/// that the other process cannot go on.
pub(super) fn kind_of<I>(answer: Answer<I>) -> Kind {
    match answer {
        Answer::Refused { refusal, why } => Kind::of(refusal, &why),
        Answer::Accepted(_)
        | Answer::Item(_)
        | Answer::Delivered
        | Answer::Joined { .. }
        | Answer::State { .. }
        | Answer::Closed => Kind::SupervisorGone,
    }
}
