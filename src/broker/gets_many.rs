//! Takes and acknowledges many items in a thread of this process, under one lock. It does not know
//! their types.

use std::time::Duration;

use super::{Broker, Deadline, current};
use crate::error::Kind;
use crate::fail;
use crate::handler::copies;
use crate::link::LocalDelivery;
use crate::payload::Payload;
use dishrack_core::ledger::{Outcome, Token};

impl Broker {
    /// Waits for the next item, and takes with it those that are there, up to this many in all.
    pub(crate) fn get_many(
        &self,
        deadline: Deadline,
        at_most: usize,
        jobs: &mut Vec<LocalDelivery>,
    ) -> Result<(), Kind> {
        let (mut core, first) = self.await_item(deadline)?;
        jobs.push(first);
        while jobs.len() < at_most
            && let Some(job) = core.try_get()
        {
            jobs.push(job);
        }
        fail::point("get many: taken");
        core.pump();
        Ok(())
    }

    /// Settles these deliveries as done, each after its service time. Returns for each `false` if
    /// it was stale.
    pub(crate) fn settle_many(&self, done: &[(Token, Duration)]) -> Vec<bool> {
        if current::holds(self) {
            // A loop that was forked goes on with what its parent got.
            copies::end_copy();
        }
        self.with(|core| {
            let settle = |&(token, service)| {
                let outcome = Outcome::Done(Payload::default());
                core.settle(token, service, outcome).is_ok()
            };
            fail::point("settle many: begin");
            let settled = done.iter().map(settle).collect();
            fail::point("settle many: settled");
            settled
        })
    }
}
