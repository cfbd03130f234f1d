//! Ends of many deliveries at once, which their holder names one by one.
//!
//! What a worker settles in its order has its ends by
//! [`handle_done_through`](super::Ledger::handle_done_through). Both make no reports: the caller sees to
//! it that nobody waits for a single one.

use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::leases::Lease;
use super::{Ballot, HolderId, Ledger, Scene, Token, Weight};

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Settles a run of a holder's deliveries as done; `service` is the mean time of one. Returns the
    /// ordinals of those that were settled or lost before, for which nothing is changed.
    pub fn handle_done_run(
        &mut self,
        holder: HolderId,
        run: RangeInclusive<u64>,
        service: Duration,
    ) -> Vec<u64> {
        self.note_settled(Token::of(holder, *run.end()));
        let known = self.consumers.begun(holder);
        let (mut count, mut begun, mut weight) = (0, 0, 0);
        let (mut copies, mut late) = (Vec::new(), Vec::new());
        for ordinal in run {
            let token = Token { holder, ordinal };
            let look = |lease: &Lease<P>| {
                let id = lease.entry.id;
                count += 1;
                begun += u64::from(token.ordinal <= known);
                weight += lease.entry.payload.weight();
                match lease.copy {
                    Some(_) => copies.push(token.handed(lease)),
                    None => self.outbox.done(id),
                }
            };
            if self.leases.end(token, look).is_none() {
                late.push(ordinal);
            }
        }
        for ordinal in &late {
            self.handle_late(Token::of(holder, *ordinal));
        }
        let items = count - copies.len() as u64;
        self.done += items;
        self.note_over(items);
        self.consumers
            .release_many(holder, (count, begun), weight, Some(service));
        for handed in copies {
            self.copy_done(handed, service, None, Scene::default());
        }
        late
    }
}

/// Deliveries to one holder that follow each other, and are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoneRun {
    /// The ordinal of the first one.
    pub first: u64,
    /// The ordinal of the last one.
    pub last: u64,
    /// The mean time of one.
    pub service: Duration,
}

impl DoneRun {
    /// Joins deliveries, given by ordinal and time, into runs of at most this many. A delivery that
    /// does not follow the one before it begins another run.
    #[must_use]
    pub fn join(done: impl IntoIterator<Item = (u64, Duration)>, at_most: u32) -> Vec<DoneRun> {
        let mut runs: Vec<DoneRun> = Vec::new();
        let mut count = 0;
        for (ordinal, service) in done {
            match runs.last_mut() {
                Some(run) if run.last.checked_add(1) == Some(ordinal) && count < at_most => {
                    count += 1;
                    run.last = ordinal;
                    run.service += service;
                }
                _ => {
                    runs.last_mut().into_iter().for_each(|run| run.share(count));
                    count = 1;
                    let (first, last) = (ordinal, ordinal);
                    runs.push(DoneRun {
                        first,
                        last,
                        service,
                    });
                }
            }
        }
        runs.last_mut().into_iter().for_each(|run| run.share(count));
        runs
    }

    /// Makes a mean of the sum of so many.
    fn share(&mut self, count: u32) {
        self.service /= count.max(1);
    }

    /// Returns the ordinals.
    #[must_use]
    pub fn ordinals(&self) -> RangeInclusive<u64> {
        self.first..=self.last
    }
}
