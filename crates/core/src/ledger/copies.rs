//! Several runs of one attempt at an item: copies for different holders, of which one result
//! counts.
//!
//! An item with copies is handed out to idle workers only, so that they begin at the same time. Its
//! attempt is over when a result counts or none can any more; until then it is one leased item, in
//! a group, however many holders run it. Copies that are not needed any more are revoked: their
//! holders are to be stopped, and their late words are refused.
//!
//! The rule is that of MapReduce's backup tasks (Dean and Ghemawat, OSDI 2004, section 3.6), and for
//! agreement that of redundant computing as BOINC does it. It knows no clock, no worker's name and
//! no content of a result.

mod group;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::leases::Lease;
use super::policy::{Ballot, Copies, Hedge};
use super::quantiles::Quantiles;
use super::report::{CopyEnd, CopyReport};
use super::unfinished::UnfinishedItem;
use super::{Blame, Handed, HolderId, ItemId, Ledger, Notice, Report, Scene, Token, Weight};
use group::{Decision, Ended, Group};

/// The number of ends from which on their times tell what is usual.
const USUAL_FROM: u64 = 20;

/// All groups of copies.
#[derive(Debug)]
pub(super) struct Groups<P, R> {
    /// True once an item may have copies. While it is false nothing here costs anything.
    is_used: bool,
    groups: BTreeMap<ItemId, Group<P, R>>,
    /// Revoked copies that run.
    stopped: VecDeque<Handed>,
    /// The times of done items.
    times: Quantiles,
    /// The time, as far as it was told.
    now: Duration,
    /// The number of workers that may be there at once.
    workers: usize,
    /// True if it was told that they are too few.
    is_lack_told: bool,
}

impl<P, R> Groups<P, R> {
    pub(super) fn new(is_used: bool) -> Self {
        Groups {
            is_used,
            groups: BTreeMap::new(),
            stopped: VecDeque::new(),
            times: Quantiles::default(),
            now: Duration::ZERO,
            workers: usize::MAX,
            is_lack_told: false,
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    pub(super) fn has(&self, id: ItemId) -> bool {
        !self.groups.is_empty() && self.groups.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Returns the items that have copies now.
    pub(super) fn ids(&self) -> impl Iterator<Item = ItemId> {
        self.groups.keys().copied()
    }

    /// Returns the copies of this item that run.
    pub(super) fn running(&self, id: ItemId) -> impl Iterator<Item = Token> {
        let group = self.groups.get(&id).into_iter();
        group.flat_map(|group| group.running.iter().map(|one| one.token))
    }

    /// Returns an item that has copies now.
    pub(super) fn entry(&self, id: ItemId) -> Option<&UnfinishedItem<P>> {
        Some(&self.groups.get(&id)?.entry)
    }

    /// Returns the number of deliveries that are not items of their own.
    pub(super) fn surplus(&self) -> isize {
        let running = self.groups.values().map(|group| group.running.len());
        running.map(|running| running.cast_signed() - 1).sum()
    }

    pub(super) fn observe(&mut self, service: Duration) {
        if self.is_used {
            self.times.observe(service);
        }
    }

    /// Returns the time after which this policy asks for more copies, if it is known.
    fn delay(&self, policy: &Copies) -> Option<Duration> {
        match policy.hedging()? {
            Hedge::After(delay) => Some(delay),
            Hedge::Quantile(permille) => {
                let is_known = self.times.total() >= USUAL_FROM;
                self.times.at(permille).filter(|_| is_known)
            }
        }
    }

    /// Returns the time at which more copies are due.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let due = |group: &Group<P, R>| {
            let delay = group.is_hedging().then(|| self.delay(&group.policy))??;
            Some(group.since.saturating_add(delay))
        };
        self.groups.values().filter_map(due).min()
    }

    /// Lets the later copies of an item wait no longer, if the others have come to nothing.
    fn hurry(&mut self, id: ItemId) {
        let group = self.groups.get_mut(&id);
        if let Some(group) = group.filter(|group| group.is_waiting_for_later_copies()) {
            group.release();
        }
    }

    fn release_hedges(&mut self) {
        let mut groups = core::mem::take(&mut self.groups);
        for group in groups.values_mut().filter(|group| group.is_hedging()) {
            let delay = self.delay(&group.policy);
            if delay.is_some_and(|delay| self.now >= group.since.saturating_add(delay)) {
                group.release();
            }
        }
        self.groups = groups;
    }
}

/// Handing out.
impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Notes that items may have copies of their own choice.
    pub(super) fn note_policy(&mut self, payload: &P) {
        self.copies.is_used |= payload.copies().is_some();
    }

    /// Notes the time, for what [`poll_delivery`](Self::poll_delivery) hands out next.
    pub(super) fn note_time(&mut self, now: Duration) {
        self.copies.now = self.copies.now.max(now);
        self.copies.release_hedges();
    }

    /// Returns `true` if [`handle_timeout`](Self::handle_timeout) must be called before
    /// [`poll_delivery`](Self::poll_delivery), because the time of a delivery matters.
    #[must_use]
    pub fn needs_time(&self) -> bool {
        self.copies.is_used
    }

    /// Sets the copies of each item that does not choose for itself, for those that are handed out
    /// from now on.
    pub fn handle_policy(&mut self, copies: Option<Copies>) {
        self.options.copies = copies;
        self.copies.is_used |= copies.is_some();
    }

    /// Returns the copies of each item that does not choose for itself.
    #[must_use]
    pub fn policy(&self) -> Option<Copies> {
        self.options.copies
    }

    /// Notes how many workers there may be at once: those that work, and those that are about to
    /// start. A worker that is being replaced counts once.
    pub fn handle_workers(&mut self, workers: usize, now: Duration) {
        self.note_time(now);
        // Fewer of them is the same lack.
        self.copies.is_lack_told &= workers <= self.copies.workers;
        self.copies.workers = workers;
        for id in self.copies.ids().collect::<Vec<_>>() {
            self.decide(id);
        }
    }

    /// Returns the choice for the first item that waits, if it gets several copies.
    pub(super) fn front_policy(&mut self) -> Option<Copies> {
        if !self.copies.is_used {
            return None;
        }
        self.waiting.front_weight();
        self.policy_of(self.waiting.peek()?)
    }

    /// Returns `true` if items that have no end have copies, or would get some. It may look at all that wait.
    #[must_use]
    pub fn has_copies(&self) -> bool {
        let wants_some = |id| {
            let payload = self.unleased_payload(id);
            payload.is_some_and(|payload| self.policy_of(payload).is_some())
        };
        let would_get_some =
            || self.allows_copies() && self.waiting.ids().into_iter().any(wants_some);
        let by_policy = self.policy().is_some_and(|policy| policy.count() > 1);
        self.copies.is_used && (by_policy || !self.copies.is_empty() || would_get_some())
    }

    pub(super) fn policy_of(&self, payload: &P) -> Option<Copies> {
        let policy = payload.copies().or(self.options.copies);
        policy.filter(|policy| policy.count() > 1 && self.allows_copies())
    }

    /// Hands out the next copy that is due to a worker that is idle.
    pub(super) fn poll_copy(&mut self) -> Option<Handed> {
        let is_waiting = self.waiting.ready() > 0;
        let wanting = self.copies.groups.iter();
        let wanting = wanting.filter(|(_, group)| group.wants_copy(is_waiting));
        let consumers = &mut self.consumers;
        let (id, holder) = wanting
            .filter_map(|(id, group)| Some((*id, consumers.next_idle_but(&group.used)?)))
            .next()?;
        // No more follows for this worker, nor for the one before it.
        self.consumers.end_turn();
        Some(self.lease_copy(holder, id, false))
    }

    /// Hands out the first item, which has copies, to a worker that is idle.
    pub(super) fn poll_first_copy(&mut self, policy: Copies) -> Option<Handed> {
        self.consumers.end_turn();
        if self.lacks_workers_for(policy) {
            self.tell_lack(policy);
            return None;
        }
        let holder = self.consumers.next_idle_but(&[])?;
        let entry = self.waiting.pop()?;
        Some(self.begin_copies(holder, entry, policy, false))
    }

    /// Hands a copy, or an item that has copies, to a holder that asks.
    pub(super) fn get_copy(&mut self, holder: HolderId) -> Option<Handed> {
        let is_waiting = self.waiting.ready() > 0;
        let is_many = self.consumers.is_many(holder);
        let mut groups = self.copies.groups.iter();
        let wanting = groups.find(|(_, group)| {
            let is_other = is_many || !group.used.contains(&holder);
            is_other && group.wants_copy(is_waiting)
        });
        if let Some((id, _)) = wanting {
            return Some(self.lease_copy(holder, *id, true));
        }
        let policy = self.front_policy()?;
        let entry = self.waiting.pop()?;
        Some(self.begin_copies(holder, entry, policy, true))
    }

    /// Returns `true` if so many copies can never agree with the workers that there are.
    fn lacks_workers_for(&self, policy: Copies) -> bool {
        policy.needed() > 1 && policy.needed() as usize > self.copies.workers
    }

    /// Says once that items wait for more workers.
    fn tell_lack(&mut self, policy: Copies) {
        // In a stop, workers go because they are to go.
        if self.stopping == 0 && !core::mem::replace(&mut self.copies.is_lack_told, true) {
            self.notices.push_back(Notice::TooFewWorkers {
                needed: policy.needed(),
                workers: self.copies.workers,
            });
        }
    }

    /// Returns the number of copies that must agree and of the workers that there are, if these are
    /// too few for all that is left, so that nothing goes on.
    #[must_use]
    pub fn lack_of_workers(&self) -> Option<(u32, usize)> {
        let is_at_rest = self.leases.is_empty() && self.waiting.delayed() == 0;
        if !self.copies.is_used || !is_at_rest || self.stopping > 0 {
            return None;
        }
        let first = match self.waiting.ready() {
            0 => None,
            // One without copies is handed out.
            _ => Some(self.policy_of(self.waiting.peek()?)?),
        };
        let mut groups = self.copies.groups.values();
        let is_short = first.is_none_or(|policy| self.lacks_workers_for(policy))
            && groups.all(|group| self.decision(group) == Decision::Short);
        let group = self.copies.groups.values().next();
        let policy = first.or_else(|| group.map(|group| group.policy))?;
        is_short.then_some((policy.needed(), self.copies.workers))
    }

    fn begin_copies(
        &mut self,
        holder: HolderId,
        entry: UnfinishedItem<P>,
        policy: Copies,
        is_asked_for: bool,
    ) -> Handed {
        let id = entry.id;
        let group = Group::new(entry, policy, self.copies.now);
        self.copies.groups.insert(id, group);
        self.lease_copy(holder, id, is_asked_for)
    }

    fn lease_copy(&mut self, holder: HolderId, id: ItemId, is_asked_for: bool) -> Handed {
        let group = self.copies.groups.get_mut(&id);
        let group = group.expect("the caller has found or made it");
        let mark = group.next_mark();
        let payload = group.entry.payload.clone();
        let ordinal = self.consumers.take(holder, payload.weight(), is_asked_for);
        let token = Token::of(holder, ordinal);
        let lease = Lease {
            entry: UnfinishedItem::new(id, payload),
            copy: Some(Box::new(mark)),
        };
        let handed = token.handed(&lease);
        group.begin(handed);
        self.leases.insert(token, lease);
        self.note_begun(token);
        handed
    }
}

/// Ends of copies.
impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    pub(super) fn copy_done(
        &mut self,
        handed: Handed,
        service: Duration,
        result: Option<R>,
        scene: Scene,
    ) {
        self.end_copy(Ended {
            handed,
            said: Ok(result),
            service,
            rest: None,
            scene,
        });
    }

    pub(super) fn copy_failed(
        &mut self,
        handed: Handed,
        blame: Blame,
        rest: Option<Duration>,
        now: Duration,
    ) {
        self.note_time(now);
        self.end_copy(Ended {
            handed,
            said: Err(blame.cause),
            service: Duration::ZERO,
            rest,
            scene: blame.scene,
        });
    }

    fn end_copy(&mut self, mut ended: Ended<R>) {
        let id = ended.handed.id;
        if let Some(group) = self.copies.groups.get_mut(&id) {
            // Where nothing is compared, a failure is one like any other.
            if group.policy.needed() == 1
                && let Some(cause) = ended.cause()
            {
                ended.said = Err(cause);
            }
            group.end(ended);
            self.decide(id);
        }
    }

    /// Handles a copy that was given back, so it never was one. If there is no other one, that runs
    /// or has ended, there was no attempt: the item goes back uncounted.
    pub(super) fn copy_returned(&mut self, handed: Handed) {
        let Some(group) = self.copies.groups.get_mut(&handed.id) else {
            return;
        };
        group.forget(handed.token);
        if !group.running.is_empty() {
            return;
        }
        if !group.ended.is_empty() {
            // What they came to counts, so the attempt is not made anew.
            return self.decide(handed.id);
        }
        if let Some(entry) = self.take_group(handed.id) {
            self.waiting.put_back(entry);
        }
    }

    /// Returns the consequence of the ends of these copies.
    fn decision(&self, group: &Group<P, R>) -> Decision {
        let workers = self.copies.workers;
        let consumers = &self.consumers;
        let is_many = group.used.iter().any(|holder| consumers.is_many(*holder));
        let alive = group.used.iter().filter(|one| consumers.is_open(**one));
        // Threads that ask one by one count once they have taken a copy.
        let further = match is_many {
            true => usize::MAX,
            false => workers.saturating_sub(alive.count()),
        };
        group.decide(further)
    }

    fn decide(&mut self, id: ItemId) {
        let Some(group) = self.copies.groups.get(&id) else {
            return;
        };
        match self.decision(group) {
            Decision::Open => self.copies.hurry(id),
            Decision::Won(place) => self.win(id, place),
            // Others will come after a stop of the whole run.
            Decision::Short if self.stopping > 0 => {
                let entry = self.take_group(id);
                entry.into_iter().for_each(|one| self.waiting.put_back(one));
            }
            Decision::Short => self.run_short(id),
            Decision::Over => self.lose_attempt(id),
        }
    }

    /// Handles the copies of an item that nobody is left to run the others of. There are as many of
    /// them as there are workers, so they have failed, or do not agree. Where fewer workers are left
    /// than must agree, they wait, because that is not the item's fault.
    fn run_short(&mut self, id: ItemId) {
        let policy = self.copies.groups.get(&id).map(|group| group.policy);
        match policy.filter(|policy| self.lacks_workers_for(*policy)) {
            Some(policy) => {
                self.copies.hurry(id);
                self.tell_lack(policy);
            }
            None => self.lose_attempt(id),
        }
    }

    /// Takes a group out of its place, and revokes what still runs.
    fn end_group(&mut self, id: ItemId) -> Option<Group<P, R>> {
        let mut group = self.copies.groups.remove(&id)?;
        for handed in core::mem::take(&mut group.running) {
            if let Some(lease) = self.leases.remove(handed.token) {
                self.revoked.insert(handed.token, lease);
            }
            self.copies.stopped.push_back(handed);
            self.outbox.report_with_next(Report::Copy(CopyReport {
                handed,
                payload: group.entry.payload.clone(),
                end: CopyEnd::Cancelled,
                scene: Scene::default(),
                service: None,
                cause: None,
            }));
        }
        Some(group)
    }

    fn win(&mut self, id: ItemId, place: usize) {
        let Some(mut group) = self.end_group(id) else {
            return;
        };
        self.report_copies(&group, |one| group.end_of(one, place));
        let won = group.ended.swap_remove(place);
        let (cause, scene) = (won.cause(), won.scene);
        match (cause, won.said) {
            (Some(cause), _) | (None, Err(cause)) => {
                let blame = Blame { cause, scene };
                self.charge(group.entry, blame, won.rest, self.copies.now);
            }
            (None, Ok(result)) => {
                self.finish(group.entry, won.handed, won.service, result, scene);
            }
        }
        self.outbox.report_ahead();
    }

    fn lose_attempt(&mut self, id: ItemId) {
        let Some(group) = self.end_group(id) else {
            return;
        };
        self.report_copies(&group, |one| match &one.said {
            Ok(_) => CopyEnd::Void,
            Err(_) => CopyEnd::Failed,
        });
        let (entry, blame, rest) = group.into_blame();
        self.charge(entry, blame, rest, self.copies.now);
        self.outbox.report_ahead();
    }

    fn report_copies(&mut self, group: &Group<P, R>, end: impl Fn(&Ended<R>) -> CopyEnd) {
        for one in &group.ended {
            self.outbox.report_with_next(Report::Copy(CopyReport {
                handed: one.handed,
                payload: group.entry.payload.clone(),
                end: end(one),
                scene: one.scene.clone(),
                service: one.said.is_ok().then_some(one.service),
                cause: one.cause(),
            }));
        }
    }

    /// Takes an item with copies from its holders; what copies said is void.
    pub(super) fn take_group(&mut self, id: ItemId) -> Option<UnfinishedItem<P>> {
        let group = self.end_group(id)?;
        self.report_copies(&group, |_| CopyEnd::Void);
        // The item goes back without a record.
        self.outbox.report_ahead();
        Some(group.entry)
    }

    /// Takes an item with copies from its holders, to give it up. Returns its entry, and the
    /// delivery of the first copy that ran.
    pub(super) fn condemn_group(
        &mut self,
        id: ItemId,
    ) -> Option<(UnfinishedItem<P>, Option<Handed>)> {
        let first = self.copies.groups.get(&id)?.running.first().copied();
        let entry = self.take_group(id)?;
        // The caller stops this one.
        self.copies.stopped.retain(|one| Some(*one) != first);
        Some((entry, first))
    }

    /// Returns `true` if the result of this delivery is compared with that of others.
    #[must_use]
    pub fn is_compared(&self, token: Token) -> bool {
        let lease = self.leases.get(token).filter(|one| one.copy.is_some());
        let group = lease.and_then(|one| self.copies.groups.get(&one.entry.id));
        group.is_some_and(|group| group.policy.needed() > 1)
    }

    /// Returns the next copy that is not needed any more, and runs. The caller must stop it, as if
    /// its item were cancelled.
    pub fn poll_stopped(&mut self) -> Option<Handed> {
        self.copies.stopped.pop_front()
    }
}
