//! Ends of many deliveries at once, to one holder. There are no reports of them: the caller sees to it that
//! nobody waits for a single one.

use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::ended::BegunNames;
use super::leases::Lease;
use super::outbox::Outbox;
use super::{
    Ballot, BegunNaming, EndedAttempts, Handed, HolderId, ItemId, Ledger, Scene, Token, Weight,
};

/// The deliveries of a run that are done, as their leases end one by one.
struct EndedRun {
    count: u64,
    /// The last delivery that was known to be begun before, and the number of those up to it.
    known: u64,
    begun: u64,
    weight: usize,
    /// Those of copies, whose ends depend on each other.
    copies: Vec<Handed>,
    /// Those whose slots are free now, or for which others may wait, with their items; no copies.
    running: Option<Vec<(Token, ItemId)>>,
    /// The items that were begun, if somebody wants to know them, and what follows.
    begun_names: Option<BegunNames>,
    /// The items with the lowest and the highest number.
    ids: (ItemId, ItemId),
    /// The last delivery, and the number of its attempt.
    last: (u64, u32),
}

impl EndedRun {
    fn after(known: u64, noted: Option<BegunNaming>, is_counted: bool) -> Self {
        EndedRun {
            count: 0,
            known,
            begun: 0,
            weight: 0,
            copies: Vec::new(),
            running: is_counted.then(Vec::new),
            begun_names: noted.map(BegunNames::new),
            ids: (ItemId(u64::MAX), ItemId(0)),
            last: (0, 0),
        }
    }

    fn add<P: Weight + Clone, R>(
        &mut self,
        token: Token,
        lease: &Lease<P>,
        outbox: &mut Outbox<P, R>,
    ) {
        self.count += 1;
        if let Some(running) = &mut self.running
            && lease.copy.is_none()
        {
            running.push((token, lease.entry.id));
        }
        self.begun += u64::from(token.ordinal <= self.known);
        self.weight += lease.entry.payload.weight();
        if let Some(names) = &mut self.begun_names {
            let handed = token.handed(lease);
            self.ids = (self.ids.0.min(handed.id), self.ids.1.max(handed.id));
            self.last = (token.ordinal, handed.attempt);
            names.add(&handed);
        }
        match lease.copy {
            Some(_) => self.copies.push(token.handed(lease)),
            None => outbox.done(lease.entry.id),
        }
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Settles a run of deliveries as done that their holder names; `service` is the mean time of one.
    /// Returns the ordinals of those that were settled or lost before, for which nothing is changed.
    pub fn handle_done_run(
        &mut self,
        holder: HolderId,
        run: RangeInclusive<u64>,
        service: Duration,
    ) -> Vec<u64> {
        self.note_settled(Token::of(holder, *run.end()));
        let mut ended = self.begin_run(holder);
        let mut late = Vec::new();
        for ordinal in run {
            let token = Token { holder, ordinal };
            let look = |lease: &Lease<P>| {
                self.waiting.release(lease.entry.line);
                ended.add(token, lease, &mut self.outbox);
            };
            if self.leases.end(token, look).is_none() {
                late.push(ordinal);
            }
        }
        for ordinal in &late {
            self.handle_late(Token::of(holder, *ordinal));
        }
        self.end_run(holder, ended, service);
        late
    }

    /// Handles a worker's report that it is through with all deliveries up to this ordinal: those
    /// that it did not settle otherwise are done. `served` is the time that those took together.
    pub fn handle_done_through(&mut self, holder: HolderId, through: u64, served: Duration) {
        let Some(run) = self.consumers.settle_through(holder, through) else {
            return;
        };
        let mut ended = self.begin_run(holder);
        let mut late = Vec::new();
        self.consumers.begin(holder, through, 0);
        // All together: each misses a processor's cache, and so they miss it at the same time.
        let held = self.leases.held(holder, &run);
        self.waiting.release_all(held.map(|lease| lease.entry.line));
        self.leases.remove_run(holder, run, |ordinal, lease| {
            let token = Token { holder, ordinal };
            if let Some(lease) = lease {
                ended.add(token, lease, &mut self.outbox);
            } else if !self.revoked.is_empty() {
                late.push(token);
            }
        });
        for token in late {
            if self.revoked.contains_key(&token) {
                self.handle_late(token);
            }
        }
        let count = u32::try_from(ended.count).unwrap_or(u32::MAX);
        self.end_run(holder, ended, served / count.max(1));
    }

    fn begin_run(&self, holder: HolderId) -> EndedRun {
        let known = self.consumers.begun(holder);
        let is_counted = self.has_slots() || self.has_relations();
        EndedRun::after(known, self.ends.wanted(), is_counted)
    }

    fn end_run(&mut self, holder: HolderId, ended: EndedRun, service: Duration) {
        let EndedRun {
            count,
            begun,
            weight,
            copies,
            running,
            known: _,
            begun_names,
            ids: (first, last),
            last: (ordinal, attempt),
        } = ended;
        for (token, id) in running.into_iter().flatten() {
            self.give_slot_back(token);
            self.note_done(id);
        }
        let items = count - copies.len() as u64;
        self.done += items;
        self.note_over(items);
        self.consumers
            .release_many(holder, (count, begun), weight, Some(service));
        self.durations.done.observe(service, count);
        if let Some(names) = begun_names.filter(|_| count > 0) {
            self.ends.note(|_| EndedAttempts {
                holder,
                ordinal,
                first,
                last,
                count,
                attempt,
                begun: names.together,
                begun_singly: names.singly,
                service,
                failure: None,
            });
        }
        for handed in copies {
            self.copy_done(handed, service, None, Scene::default());
        }
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
