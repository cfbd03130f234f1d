//! Takes and acknowledges many items in a thread of this process, under one lock. It does not know
//! their types.

use std::time::Duration;

use super::core::Core;
use super::{Broker, Deadline, current};
use crate::error::Kind;
use crate::fail;
use crate::handler::copies;
use crate::link::LocalDelivery;
use dishrack_core::ledger::{DoneRun, Token};

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

    /// Settles these deliveries as done, each after its service time, in runs of those that follow
    /// each other. Returns for each `false` if it was stale.
    pub(crate) fn settle_many(&self, done: &[(Token, Duration)]) -> Vec<bool> {
        if current::holds(self) {
            // A loop that was forked goes on with what its parent got.
            copies::end_copy();
        }
        let of_one = done.chunk_by(|(one, _), (next, _)| one.holder() == next.holder());
        self.with(|core| {
            fail::point("settle many: begin");
            let settled = of_one.flat_map(|of_one| settle_all(core, of_one)).collect();
            fail::point("settle many: settled");
            settled
        })
    }
}

/// Settles deliveries of one holder.
fn settle_all(core: &mut Core, done: &[(Token, Duration)]) -> Vec<bool> {
    let Some((first, _)) = done.first() else {
        return Vec::new();
    };
    let ordinals = done
        .iter()
        .map(|(token, service)| (token.ordinal(), *service));
    let mut are_done = Vec::with_capacity(done.len());
    for run in DoneRun::join(ordinals, u32::MAX) {
        let stale = core.settle_run(first.holder(), run.ordinals(), run.service);
        // Both are in order.
        let mut stale = stale.into_iter().peekable();
        are_done.extend(run.ordinals().map(|one| stale.next_if_eq(&one).is_none()));
    }
    are_done
}
