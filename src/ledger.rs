//! The ledger: a pure state machine of the acknowledged queue.
//!
//! It decides who gets which item, what an acknowledgement, a refusal or a death means, and when
//! an item is given up on. Events go in by `handle_*`, decisions come out by `poll_*`, and time is
//! a parameter (a [`Duration`] since any fixed start). It knows no clock, no randomness, no
//! thread, no process and no I/O, and neither links nor stores: so it is tested with a fake clock
//! and replayed from a seed. Executing what it decides is the broker's work.
//!
//! An item is in exactly one place at a time:
//!
//! ```text
//!             put            poll_delivery / handle_get          task_done
//! (refused) <----- waiting ------------------------------> leased ----------> done
//!                    ^  ^                                    |
//!                    |  +---- returned, not counted ---------+
//!                    |  +---- delayed (back-off) <-- failed -+--> dead letter
//!                    +-----------+
//! ```
//!
//! and `accepted = waiting + leased + delayed + done + dead` holds after every call
//! ([`Counts::is_balanced`]).
//!
//! # Example
//!
//! ```
//! use dishrack::ledger::{Credit, Ledger, Options};
//! use std::time::Duration;
//!
//! let mut ledger: Ledger<Vec<u8>> = Ledger::new(Options::default());
//! let worker = ledger.handle_join(Credit::adaptive());
//! ledger.handle_put(b"dish-1".to_vec()).unwrap();
//!
//! let handed = ledger.poll_delivery().expect("the worker is idle");
//! assert_eq!(handed.holder, worker);
//! ledger.handle_done(handed.token, Duration::from_millis(2)).unwrap();
//! assert!(ledger.counts().is_balanced());
//! assert_eq!(ledger.counts().done, 1);
//! ```

mod backoff;
mod cause;
mod credit;
mod crew;
mod report;
mod waiting;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use slotmap::{Key, KeyData, SlotMap};

pub use backoff::Backoff;
pub use cause::{Cause, Exit, Failure};
pub use credit::Credit;
use crew::Crew;
pub use report::{Counts, DeadLetter, Refusal, Report, Stale};
use waiting::{Entry, Waiting};

slotmap::new_key_type! {
    /// Who holds deliveries: one worker, or one thread that called `get`.
    pub struct HolderId;
    struct LeaseKey;
}

/// The number of an item: 1 for the first that was accepted, then counting up without gaps.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct ItemId(pub u64);

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Proof of one delivery. A settled or lost delivery's token is stale and is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Token(u64);

/// How many items may wait before a put is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capacity {
    /// No bound.
    #[default]
    Unbounded,
    /// At most this many items that no handler and no `get` has taken yet.
    Bounded(usize),
    /// None may wait: an item is accepted only when an idle worker or a `get` is there to take it.
    Rendezvous,
}

/// The rules one ledger keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many items may wait.
    pub capacity: Capacity,
    /// How many attempts may fail before the item is a dead letter; 0 is taken as 1.
    pub max_attempts: u32,
    /// How long a failed item rests before its next attempt.
    pub backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            capacity: Capacity::Unbounded,
            max_attempts: 3,
            backoff: Backoff::none(),
        }
    }
}

/// What an item weighs in bytes, for credits. Implemented by what a ledger carries.
pub trait Weight {
    /// The payload's size in bytes.
    fn weight(&self) -> usize;
}

impl Weight for Vec<u8> {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// One item handed to one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// Who got it.
    pub holder: HolderId,
    /// What an acknowledgement must show.
    pub token: Token,
    /// Its place among all deliveries to this holder: 1, 2, 3 and so on.
    pub ordinal: u64,
    /// Which item.
    pub id: ItemId,
    /// Which attempt this is: 1 plus the number of failed ones.
    pub attempt: u32,
}

/// Which of its deliveries a holder had started when it went.
///
/// A handler runs one delivery at a time, so it names that one; a loop of `get` and `task_done`
/// may hold several, so it names the last one taken. Zero names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Started {
    /// The ordinal that a handler was running.
    pub current: u64,
    /// All ordinals up to this one had been taken by `get`.
    pub taken: u64,
}

#[derive(Debug)]
struct Lease<P> {
    holder: HolderId,
    ordinal: u64,
    /// Handed out to a `get`, rather than by `poll_delivery`.
    is_asked_for: bool,
    entry: Entry<P>,
}

impl<P> Lease<P> {
    fn has_started(&self, started: Started) -> bool {
        match self.is_asked_for {
            true => self.ordinal <= started.taken,
            false => self.ordinal == started.current,
        }
    }
}

/// The state machine; `P` is what an item carries. See the [module](self) for the rules.
#[derive(Debug)]
pub struct Ledger<P> {
    options: Options,
    waiting: Waiting<P>,
    leases: SlotMap<LeaseKey, Lease<P>>,
    crew: Crew,
    /// Threads and requests that wait in a `get`: a rendezvous counts them as takers.
    getters: usize,
    reports: VecDeque<Report<P>>,
    done: u64,
    dead: u64,
    retries: u64,
    is_closed: bool,
}

impl<P: Weight + Clone> Ledger<P> {
    /// An empty, open ledger.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Ledger {
            options,
            waiting: Waiting::new(),
            leases: SlotMap::with_key(),
            crew: Crew::default(),
            getters: 0,
            reports: VecDeque::new(),
            done: 0,
            dead: 0,
            retries: 0,
            is_closed: false,
        }
    }

    /// Accepts an item at the end of the queue.
    ///
    /// # Errors
    /// [`Refusal::Full`] when [`has_room`](Self::has_room) is false, [`Refusal::Closed`] after
    /// [`handle_close`](Self::handle_close).
    pub fn handle_put(&mut self, payload: P) -> Result<ItemId, Refusal> {
        if self.is_closed {
            return Err(Refusal::Closed);
        }
        if !self.has_room() {
            return Err(Refusal::Full);
        }
        Ok(self.waiting.accept(payload))
    }

    /// Accepts an item beyond the bound. For a worker that puts while it holds an item: room may
    /// come only from workers, and if all of them waited for it nothing would ever move.
    ///
    /// # Errors
    /// [`Refusal::Closed`] after [`handle_close`](Self::handle_close).
    pub fn handle_put_beyond_bound(&mut self, payload: P) -> Result<ItemId, Refusal> {
        if self.is_closed {
            return Err(Refusal::Closed);
        }
        Ok(self.waiting.accept(payload))
    }

    /// Takes no more items; those accepted are still handed out.
    pub fn handle_close(&mut self) {
        self.is_closed = true;
    }

    /// A worker is ready: it is handed items by [`poll_delivery`](Self::poll_delivery).
    pub fn handle_join(&mut self, credit: Credit) -> HolderId {
        self.crew.join(Some(credit))
    }

    /// A holder that asks by itself: it gets items by [`handle_get`](Self::handle_get) only.
    pub fn handle_join_as_getter(&mut self) -> HolderId {
        self.crew.join(None)
    }

    /// No more deliveries to this holder; what it holds stays with it until it is settled.
    pub fn handle_stop(&mut self, holder: HolderId) {
        self.crew.stop(holder);
    }

    /// Somebody began (`true`) or ended (`false`) waiting in a `get`.
    pub fn handle_getter_waiting(&mut self, is_waiting: bool) {
        if is_waiting {
            self.getters += 1;
        } else {
            self.getters = self.getters.saturating_sub(1);
        }
    }

    /// Hands the next item to a holder that asks for it.
    pub fn handle_get(&mut self, holder: HolderId) -> Option<Handed> {
        if !self.crew.is_open(holder) {
            return None;
        }
        let entry = self.waiting.pop()?;
        Some(self.lease(holder, entry, true))
    }

    /// Hands the next item to a worker that should have one, idle workers first. Deliveries to
    /// one holder follow each other, so that a caller can batch them.
    pub fn poll_delivery(&mut self) -> Option<Handed> {
        let Some(weight) = self.waiting.front_weight() else {
            self.crew.end_turn();
            return None;
        };
        let holder = self.crew.next_taker(self.waiting.len(), weight)?;
        let entry = self.waiting.pop()?;
        Some(self.lease(holder, entry, false))
    }

    fn lease(&mut self, holder: HolderId, entry: Entry<P>, is_asked_for: bool) -> Handed {
        let ordinal = self.crew.take(holder, entry.payload.weight());
        let id = entry.id;
        let attempt = entry.attempt();
        let key = self.leases.insert(Lease {
            holder,
            ordinal,
            is_asked_for,
            entry,
        });
        Handed {
            holder,
            token: Token(key.data().as_ffi()),
            ordinal,
            id,
            attempt,
        }
    }

    fn end_lease(&mut self, token: Token, service: Option<Duration>) -> Result<Entry<P>, Stale> {
        let key = LeaseKey::from(KeyData::from_ffi(token.0));
        let lease = self.leases.remove(key).ok_or(Stale)?;
        let weight = lease.entry.payload.weight();
        self.crew.release(lease.holder, weight, service);
        Ok(lease.entry)
    }

    /// The item is done; `service` is how long it was worked on. Gives its payload back.
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_done(&mut self, token: Token, service: Duration) -> Result<P, Stale> {
        let entry = self.end_lease(token, Some(service))?;
        self.done += 1;
        Ok(entry.payload)
    }

    /// The attempt failed: the item rests and waits again, or is a dead letter.
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_nack(&mut self, token: Token, cause: Cause, now: Duration) -> Result<(), Stale> {
        let entry = self.end_lease(token, None)?;
        self.fail(entry, cause, now);
        Ok(())
    }

    /// The delivery never started: the item goes back in its place and nothing is counted.
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_return(&mut self, token: Token) -> Result<(), Stale> {
        let entry = self.end_lease(token, None)?;
        self.waiting.put_back(entry);
        Ok(())
    }

    /// The holder is gone. What it had started failed for `cause`, or goes back uncounted when
    /// there is none (an orderly stop); the rest goes back in its place, uncounted.
    ///
    /// Returns how many items were charged with an attempt: zero tells a death in boot or while
    /// idle from one that an item caused.
    pub fn handle_leave(
        &mut self,
        holder: HolderId,
        started: Started,
        cause: Option<&Cause>,
        now: Duration,
    ) -> usize {
        let mut held: Vec<LeaseKey> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.holder == holder)
            .map(|(key, _)| key)
            .collect();
        // In the order of the items, so that what is told of them does not depend on slots.
        held.sort_by_key(|key| self.leases[*key].entry.id);
        self.crew.leave(holder);
        let mut charged = 0;
        for key in held {
            let Some(lease) = self.leases.remove(key) else {
                continue;
            };
            match cause {
                Some(cause) if lease.has_started(started) => {
                    charged += 1;
                    self.fail(lease.entry, cause.clone(), now);
                }
                _ => self.waiting.put_back(lease.entry),
            }
        }
        charged
    }

    fn fail(&mut self, mut entry: Entry<P>, cause: Cause, now: Duration) {
        let attempt = entry.attempt();
        entry.history.push(Failure {
            attempt,
            cause: cause.clone(),
            at: now,
        });
        if attempt >= self.options.max_attempts.max(1) {
            self.dead += 1;
            self.reports.push_back(Report::Dead(DeadLetter {
                id: entry.id,
                payload: entry.payload,
                history: entry.history,
            }));
            return;
        }
        self.retries += 1;
        self.reports.push_back(Report::Retry {
            id: entry.id,
            attempt,
            cause,
            payload: entry.payload.clone(),
        });
        let rest = self.options.backoff.delay(attempt, entry.id.0);
        self.waiting.put_back_after(entry, now, rest);
    }

    /// Time has passed: items whose rest is over wait again.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.waiting.wake(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.waiting.next_wake()
    }

    /// The next retry or dead letter that nobody was told of yet.
    pub fn poll_report(&mut self) -> Option<Report<P>> {
        self.reports.pop_front()
    }

    /// The payload of a delivery that is not settled.
    #[must_use]
    pub fn payload(&self, token: Token) -> Option<&P> {
        let lease = self.leases.get(KeyData::from_ffi(token.0).into())?;
        Some(&lease.entry.payload)
    }

    /// What a delivery that is not settled was handed out as.
    #[must_use]
    pub fn handed(&self, token: Token) -> Option<Handed> {
        let lease = self.leases.get(KeyData::from_ffi(token.0).into())?;
        Some(Handed {
            holder: lease.holder,
            token,
            ordinal: lease.ordinal,
            id: lease.entry.id,
            attempt: lease.entry.attempt(),
        })
    }

    /// The delivery of this holder with this ordinal, if it is not settled.
    #[must_use]
    pub fn handed_as(&self, holder: HolderId, ordinal: u64) -> Option<Handed> {
        let (key, _) = self
            .leases
            .iter()
            .find(|(_, lease)| lease.holder == holder && lease.ordinal == ordinal)?;
        self.handed(Token(key.data().as_ffi()))
    }

    /// How many items this holder has and has not settled.
    #[must_use]
    pub fn held_by(&self, holder: HolderId) -> usize {
        self.crew.outstanding(holder)
    }

    /// Whether this holder is there and was not stopped.
    #[must_use]
    pub fn is_open(&self, holder: HolderId) -> bool {
        self.crew.is_open(holder)
    }

    /// Whether this holder is handed items, rather than asking for them.
    #[must_use]
    pub fn is_worker(&self, holder: HolderId) -> bool {
        self.crew.is_worker(holder)
    }

    /// Whether a put would be accepted, were the queue open.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self.options.capacity {
            Capacity::Unbounded => true,
            Capacity::Bounded(bound) => self.len() < bound,
            Capacity::Rendezvous => self.waiting.len() < self.crew.idle() + self.getters,
        }
    }

    /// Whether items are handed over directly.
    #[must_use]
    pub fn is_rendezvous(&self) -> bool {
        self.options.capacity == Capacity::Rendezvous
    }

    /// Items that no handler and no `get` has taken: waiting, resting, or only prefetched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.waiting.delayed() + self.crew.prefetched()
    }

    /// Whether [`len`](Self::len) is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`handle_close`](Self::handle_close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether every accepted item has its terminal state.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.waiting.is_empty() && self.leases.is_empty()
    }

    /// Where all accepted items are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.waiting.accepted(),
            waiting: self.waiting.len() as u64,
            leased: self.leases.len() as u64,
            delayed: self.waiting.delayed() as u64,
            done: self.done,
            dead: self.dead,
            retries: self.retries,
        }
    }
}
