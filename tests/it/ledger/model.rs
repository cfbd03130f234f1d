//! What the ledger should do, said again in the plainest way: a map from item to place. Every
//! call goes to both, and their answers are compared. It knows nothing of how turns are taken,
//! only who may be handed an item and which item comes next.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use dishrack::ledger::{
    Capacity, Cause, Credit, Failure, Handed, HolderId, ItemId, Ledger, Options, Refusal, Report,
    Stale, Started, Token, Weight,
};

/// An item that knows its own number, so that a mix-up shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) number: u64,
    pub(super) weight: usize,
}

impl Weight for Load {
    fn weight(&self) -> usize {
        self.weight
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    Resting(Duration),
    Leased,
    Done,
    Dead,
}

#[derive(Debug)]
struct Item {
    place: Place,
    history: Vec<Failure>,
}

#[derive(Debug)]
struct Holder {
    is_worker: bool,
    is_single: bool,
    is_open: bool,
    taken: u64,
}

pub(super) struct Model {
    pub(super) ledger: Ledger<Load>,
    options: Options,
    now: Duration,
    items: BTreeMap<ItemId, Item>,
    holders: BTreeMap<HolderId, Holder>,
    /// Deliveries that are not settled, oldest first.
    pub(super) leases: Vec<Handed>,
    tokens: HashSet<Token>,
    /// Those handed out to a `get`.
    asked_for: HashSet<Token>,
    /// Tokens of settled and lost deliveries.
    pub(super) stale: Vec<Token>,
    /// Holders that left are still named now and then.
    pub(super) known: Vec<HolderId>,
    /// Items that failed since the last check.
    failed: Vec<ItemId>,
    getters: usize,
    retries: u64,
    is_closed: bool,
}

impl Model {
    pub(super) fn new(options: Options) -> Self {
        Model {
            ledger: Ledger::new(options),
            options,
            now: Duration::ZERO,
            items: BTreeMap::new(),
            holders: BTreeMap::new(),
            leases: Vec::new(),
            tokens: HashSet::new(),
            asked_for: HashSet::new(),
            stale: Vec::new(),
            known: Vec::new(),
            failed: Vec::new(),
            getters: 0,
            retries: 0,
            is_closed: false,
        }
    }

    fn count(&self, is_there: impl Fn(Place) -> bool) -> usize {
        let there = self.items.values().filter(|item| is_there(item.place));
        there.count()
    }

    fn held_by(&self, holder: HolderId) -> usize {
        let held = self.leases.iter().filter(|lease| lease.holder == holder);
        held.count()
    }

    fn idle_workers(&self) -> usize {
        let idle = |(id, holder): &(&HolderId, &Holder)| {
            holder.is_worker && holder.is_open && self.held_by(**id) == 0
        };
        self.holders.iter().filter(idle).count()
    }

    /// Items that no handler and no `get` has taken: of what a worker holds, all but one.
    fn len(&self) -> usize {
        let workers = self.holders.iter().filter(|(_, holder)| holder.is_worker);
        let prefetched: usize = workers
            .map(|(id, _)| self.held_by(*id).saturating_sub(1))
            .sum();
        self.count(|place| matches!(place, Place::Waiting | Place::Resting(_))) + prefetched
    }

    fn has_room(&self) -> bool {
        match self.options.capacity {
            Capacity::Unbounded => true,
            Capacity::Bounded(bound) => self.len() < bound,
            Capacity::Rendezvous => {
                let waiting = self.count(|place| place == Place::Waiting);
                waiting < self.idle_workers() + self.getters
            }
        }
    }

    pub(super) fn put(&mut self, weight: usize, beyond_bound: bool) {
        let number = self.items.len() as u64 + 1;
        let load = Load { number, weight };
        let expected = match (self.is_closed, beyond_bound || self.has_room()) {
            (true, _) => Err(Refusal::Closed),
            (false, false) => Err(Refusal::Full),
            (false, true) => Ok(ItemId(number)),
        };
        let answer = match beyond_bound {
            true => self.ledger.handle_put_beyond_bound(load),
            false => self.ledger.handle_put(load),
        };
        assert_eq!(answer, expected);
        if let Ok(id) = answer {
            let (place, history) = (Place::Waiting, Vec::new());
            self.items.insert(id, Item { place, history });
        }
    }

    pub(super) fn join(&mut self, credit: Option<Credit>, is_single: bool) {
        let is_worker = credit.is_some();
        let id = match credit {
            Some(credit) => self.ledger.handle_join(credit),
            None => self.ledger.handle_join_as_getter(),
        };
        let holder = Holder {
            is_worker,
            is_single,
            is_open: true,
            taken: 0,
        };
        assert!(self.holders.insert(id, holder).is_none(), "a name reused");
        self.known.push(id);
    }

    pub(super) fn get(&mut self, holder: HolderId) {
        let next = self.next_item();
        let is_open = self.holders.get(&holder).is_some_and(|one| one.is_open);
        let handed = self.ledger.handle_get(holder);
        assert_eq!(handed.is_some(), is_open && next.is_some());
        if let Some(handed) = handed {
            assert_eq!(handed.holder, holder);
            self.asked_for.insert(handed.token);
            self.hand_over(handed);
        }
    }

    /// Whether something was handed out.
    pub(super) fn poll(&mut self) -> bool {
        let Some(handed) = self.ledger.poll_delivery() else {
            let starves = self.next_item().is_some() && self.idle_workers() > 0;
            assert!(!starves, "an item waits and a worker is idle");
            return false;
        };
        let holder = &self.holders[&handed.holder];
        assert!(holder.is_worker && holder.is_open, "{holder:?}");
        assert!(!holder.is_single || self.held_by(handed.holder) == 0);
        self.hand_over(handed);
        true
    }

    fn next_item(&self) -> Option<ItemId> {
        let mut waiting = self.items.iter();
        let first = waiting.find(|(_, item)| item.place == Place::Waiting)?;
        Some(*first.0)
    }

    /// Checks one delivery: the first item that waits, as its next attempt, under a new token.
    fn hand_over(&mut self, handed: Handed) {
        assert_eq!(Some(handed.id), self.next_item());
        let item = self.items.get_mut(&handed.id).expect("it waits");
        item.place = Place::Leased;
        assert_eq!(handed.attempt as usize, item.history.len() + 1);
        assert!(handed.attempt <= self.options.max_attempts);
        let holder = self.holders.get_mut(&handed.holder).expect("it is there");
        holder.taken += 1;
        assert_eq!(handed.ordinal, holder.taken);
        assert!(self.tokens.insert(handed.token), "a token used before");
        assert_eq!(self.ledger.handed(handed.token), Some(handed));
        let by_ordinal = self.ledger.handed_as(handed.holder, handed.ordinal);
        assert_eq!(by_ordinal, Some(handed));
        let payload = self.ledger.payload(handed.token).expect("not settled");
        assert_eq!(payload.number, handed.id.0);
        self.leases.push(handed);
    }

    fn end_lease(&mut self, index: usize, place: Place) -> Handed {
        let lease = self.leases.remove(index);
        self.stale.push(lease.token);
        let item = self.items.get_mut(&lease.id).expect("it is leased");
        assert_eq!(item.place, Place::Leased);
        item.place = place;
        lease
    }

    pub(super) fn done(&mut self, index: usize, service: Duration) {
        let lease = self.end_lease(index, Place::Done);
        let payload = self.ledger.handle_done(lease.token, service);
        assert_eq!(payload.map(|load| load.number), Ok(lease.id.0));
    }

    pub(super) fn give_back(&mut self, index: usize) {
        let lease = self.end_lease(index, Place::Waiting);
        assert_eq!(self.ledger.handle_return(lease.token), Ok(()));
    }

    pub(super) fn nack(&mut self, index: usize) {
        let lease = self.end_lease(index, Place::Waiting);
        let cause = Cause::Nack(format!("at {:?}", self.now));
        let answer = self
            .ledger
            .handle_nack(lease.token, cause.clone(), self.now);
        assert_eq!(answer, Ok(()));
        self.fail(lease.id, cause);
    }

    fn fail(&mut self, id: ItemId, cause: Cause) {
        let item = self.items.get_mut(&id).expect("it was leased");
        let attempt = u32::try_from(item.history.len()).expect("few") + 1;
        let at = self.now;
        item.history.push(Failure { attempt, cause, at });
        let rest = self.options.backoff.delay(attempt, id.0);
        item.place = match attempt == self.options.max_attempts {
            true => Place::Dead,
            false if rest.is_zero() => Place::Waiting,
            false => Place::Resting(self.now + rest),
        };
        self.retries += u64::from(item.place != Place::Dead);
        self.failed.push(id);
    }

    /// Nothing that is said with this token is heard.
    pub(super) fn show_stale(&mut self, token: Token) {
        let before = self.ledger.counts();
        let ledger = &mut self.ledger;
        assert_eq!(ledger.handle_done(token, Duration::ZERO), Err(Stale));
        assert_eq!(
            ledger.handle_nack(token, Cause::Dropped, self.now),
            Err(Stale)
        );
        assert_eq!(ledger.handle_return(token), Err(Stale));
        assert_eq!((ledger.handed(token), ledger.payload(token)), (None, None));
        assert_eq!(ledger.counts(), before);
    }

    pub(super) fn leave(&mut self, holder: HolderId, started: Started, cause: Option<&Cause>) {
        let answer = self.ledger.handle_leave(holder, started, cause, self.now);
        let mut charged = 0;
        while let Some(index) = self.leases.iter().position(|one| one.holder == holder) {
            let lease = self.end_lease(index, Place::Waiting);
            let is_started = match self.asked_for.contains(&lease.token) {
                true => lease.ordinal <= started.taken,
                false => lease.ordinal == started.current,
            };
            if let Some(cause) = cause.filter(|_| is_started) {
                self.fail(lease.id, cause.clone());
                charged += 1;
            }
        }
        assert_eq!(answer, charged);
        self.holders.remove(&holder);
    }

    pub(super) fn stop(&mut self, holder: HolderId) {
        self.ledger.handle_stop(holder);
        if let Some(holder) = self.holders.get_mut(&holder) {
            holder.is_open = false;
        }
    }

    pub(super) fn close(&mut self) {
        self.ledger.handle_close();
        self.is_closed = true;
    }

    pub(super) fn set_getter_waiting(&mut self, is_waiting: bool) {
        self.ledger.handle_getter_waiting(is_waiting);
        self.getters = match is_waiting {
            true => self.getters + 1,
            false => self.getters.saturating_sub(1),
        };
    }

    pub(super) fn pass(&mut self, pause: Duration) {
        self.now += pause;
        self.ledger.handle_timeout(self.now);
        for item in self.items.values_mut() {
            if matches!(item.place, Place::Resting(until) if until <= self.now) {
                item.place = Place::Waiting;
            }
        }
    }

    /// Lets the time come when the next item has rested, if one rests.
    pub(super) fn pass_to_timeout(&mut self) {
        if let Some(wake) = self.ledger.poll_timeout() {
            self.pass(wake.saturating_sub(self.now));
        }
    }

    /// Compares everything that can be seen of the ledger with the model.
    pub(super) fn check(&mut self) {
        self.check_reports();
        self.check_counts();
        let ledger = &self.ledger;
        assert_eq!(ledger.len(), self.len());
        assert_eq!(ledger.is_empty(), self.len() == 0);
        assert_eq!(ledger.has_room(), self.has_room());
        assert_eq!(ledger.is_closed(), self.is_closed);
        assert_eq!(ledger.is_finished(), ledger.counts().unfinished() == 0);
        let rests = self.items.values().filter_map(|item| match item.place {
            Place::Resting(until) => Some(until),
            _ => None,
        });
        assert_eq!(ledger.poll_timeout(), rests.min());
        for holder in &self.known {
            let known = self.holders.get(holder);
            assert_eq!(
                ledger.is_open(*holder),
                known.is_some_and(|one| one.is_open)
            );
            assert_eq!(
                ledger.is_worker(*holder),
                known.is_some_and(|one| one.is_worker)
            );
            assert_eq!(ledger.held_by(*holder), self.held_by(*holder));
        }
    }

    fn check_counts(&self) {
        let counts = self.ledger.counts();
        assert!(counts.is_balanced(), "{counts:?}");
        let count = |is_there: fn(Place) -> bool| self.count(is_there) as u64;
        assert_eq!(counts.accepted, self.items.len() as u64);
        assert_eq!(counts.waiting, count(|place| place == Place::Waiting));
        assert_eq!(counts.leased, self.leases.len() as u64);
        assert_eq!(
            counts.delayed,
            count(|place| matches!(place, Place::Resting(_)))
        );
        assert_eq!(counts.done, count(|place| place == Place::Done));
        assert_eq!(counts.dead, count(|place| place == Place::Dead));
        assert_eq!(counts.retries, self.retries);
    }

    /// Each failure since the last check was reported, once and in full.
    fn check_reports(&mut self) {
        let mut reports: Vec<_> = std::iter::from_fn(|| self.ledger.poll_report()).collect();
        reports.sort_by_key(id_of);
        self.failed.sort();
        assert!(reports.iter().map(id_of).eq(self.failed.drain(..)));
        for report in reports {
            let item = &self.items[&id_of(&report)];
            let last = item.history.last().expect("it failed");
            match report {
                Report::Retry {
                    id,
                    attempt,
                    cause,
                    payload,
                } => {
                    assert_ne!(item.place, Place::Dead);
                    assert_eq!((attempt, &cause), (last.attempt, &last.cause));
                    assert_eq!(payload.number, id.0);
                }
                Report::Dead(letter) => {
                    assert_eq!(item.place, Place::Dead);
                    assert_eq!(letter.history, item.history);
                    assert_eq!(letter.payload.number, letter.id.0);
                }
            }
        }
    }
}

fn id_of(report: &Report<Load>) -> ItemId {
    match report {
        Report::Retry { id, .. } => *id,
        Report::Dead(letter) => letter.id,
    }
}
