//! The ledger: a pure state machine of the acknowledged queue.
//!
//! It decides which holder gets which item, what an acknowledgement, a refusal or a death means,
//! and when an item is given up on. Events go in by `handle_*`, decisions come out by `poll_*`, and
//! time is a parameter (a [`Duration`] since any fixed start). It knows no clock, no randomness, no
//! thread, no process and no I/O, and neither links nor stores, so it is tested with a fake clock
//! and replayed from a seed. The broker carries its decisions out.
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
//! With a journal ([`Ledger::resume`]) every change leaves a record, which
//! [`poll_write`](Ledger::poll_write) returns. Deliveries, refusals and the rests of failed items
//! do not wait for it. Handing out an accepted item and making a report do: they wait for
//! [`handle_written`](Ledger::handle_written).
//!
//! # Example
//!
//! ```
//! use dishrack_core::ledger::{Credit, Ledger, Options, Scene};
//! use core::time::Duration;
//!
//! let mut ledger: Ledger<Vec<u8>> = Ledger::new(Options::default());
//! let worker = ledger.handle_join(Some(Credit::adaptive()), u64::MAX);
//! assert_eq!(ledger.refusal(false), None);
//! ledger.accept(b"dish-1".to_vec());
//!
//! let handed = ledger.poll_delivery().expect("the worker is idle");
//! assert_eq!(handed.holder, worker);
//! let service = Duration::from_millis(2);
//! ledger.handle_done(handed.token, service, None, Scene::default()).unwrap();
//! assert!(ledger.counts().is_balanced());
//! assert_eq!(ledger.counts().done, 1);
//! ```

mod backoff;
mod cause;
mod consumers;
mod credit;
mod delivery;
mod failing;
mod leases;
mod outbox;
mod outcome;
mod record;
mod refusal;
mod report;
mod shared;
mod shortage;
mod stopping;
mod turn;
mod view;
mod waiting;
mod withdrawn;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use hashbrown::HashMap;

pub use backoff::Backoff;
pub use backoff::mix;
pub use cause::{Blame, Cause, Exit, Failure, Scene};
use consumers::Consumers;
pub use credit::Credit;
pub use delivery::{Finding, Handed, LastWords, Started, Token};
use leases::{Lease, Leases};
use outbox::Outbox;
pub use outcome::Outcome;
pub use record::{Attempt, Record, Recovered, Unfinished, Write};
pub use refusal::Refusal;
pub use report::{Cancelled, Counts, DeadLetter, Report, Stale};
pub use shortage::Notice;
use shortage::Shortage;
use waiting::{Entry, Waiting};
pub use withdrawn::Fate;

slotmap::new_key_type! {
    /// The number of a holder of deliveries: a worker, or a thread that called `get`.
    pub struct HolderId;
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

/// The number of items that may wait before a put is refused.
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

/// The rules that one ledger, and so one queue, keeps to. There may be more of them one day, so
/// they are made from the defaults.
///
/// ```
/// use dishrack_core::ledger::{Capacity, Options};
///
/// let options = Options::default().capacity(Capacity::Bounded(100)).max_attempts(5);
/// assert_eq!(options.max_attempts, 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The number of items that may wait.
    pub capacity: Capacity,
    /// The number of failed attempts that make the item a dead letter; 0 is taken as 1.
    pub max_attempts: u32,
    /// The number of lost attempts ([`Cause::is_loss`]) that make it a dead letter, counted apart
    /// from those that failed; 0 is taken as 1. `None`: a lost attempt counts as a failed one.
    pub max_lost_attempts: Option<u32>,
    /// The rest of a failed item before its next attempt.
    pub backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            capacity: Capacity::Unbounded,
            max_attempts: 3,
            max_lost_attempts: None,
            backoff: Backoff::none(),
        }
    }
}

impl Options {
    /// Bounds the number of items that may wait.
    #[must_use]
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Gives an item up after so many failed attempts; 0 is taken as 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Counts lost attempts apart from failed ones, and gives an item up after so many of them.
    #[must_use]
    pub fn max_lost_attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.max_lost_attempts = attempts.into();
        self
    }

    /// Lets a failed item rest before its next attempt.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }
}

/// The size of what a ledger carries, for credits.
pub trait Weight {
    /// Returns the payload's size in bytes.
    fn weight(&self) -> usize;
}

impl Weight for Vec<u8> {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// The state machine; `P` is the payload of an item, `R` its result. See the [module](self) for the
/// rules.
#[derive(Debug)]
pub struct Ledger<P, R = ()> {
    options: Options,
    waiting: Waiting<P>,
    leases: Leases<P>,
    /// Deliveries of cancelled items. Their holders count as busy with them and may read them until
    /// they settle them.
    revoked: HashMap<Token, Lease<P>>,
    consumers: Consumers,
    /// Threads and requests that wait in a `get`; a rendezvous counts them as takers.
    getters: usize,
    outbox: Outbox<P, R>,
    done: u64,
    dead: u64,
    retries: u64,
    refused: u64,
    is_closed: bool,
    /// True if nothing more is handed out.
    is_held: bool,
    /// True if the ends of attempts are kept until they are shown.
    keeps_attempts: bool,
    shortage: Option<Shortage>,
    notices: VecDeque<Notice>,
    /// The number of supervisors of this queue that are being stopped.
    stopping: usize,
}

impl<P: Weight + Clone, R> Ledger<P, R> {
    /// Makes an empty, open ledger without a journal.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::begin(options, Recovered::default(), false)
    }

    /// Makes a ledger with a journal, which goes on from this state.
    #[must_use]
    pub fn resume(options: Options, recovered: Recovered<P>) -> Self {
        Self::begin(options, recovered, true)
    }

    fn begin(options: Options, recovered: Recovered<P>, is_journaled: bool) -> Self {
        let unfinished = recovered.unfinished.len() as u64;
        let mut waiting = Waiting::after(recovered.accepted);
        for item in recovered.unfinished {
            waiting.put_back(item.into());
        }
        Ledger {
            options,
            waiting,
            leases: Leases::new(),
            revoked: HashMap::new(),
            consumers: Consumers::default(),
            getters: 0,
            outbox: Outbox::new(is_journaled),
            done: recovered.accepted - recovered.dead - unfinished,
            dead: recovered.dead,
            retries: 0,
            refused: 0,
            is_held: false,
            is_closed: false,
            keeps_attempts: false,
            shortage: None,
            notices: VecDeque::new(),
            stopping: 0,
        }
    }

    /// Accepts an item at the end of the queue, after [`refusal`](Self::refusal) said that it is
    /// not refused. With a journal it is accepted when [`is_durable`](Self::is_durable) says so.
    pub fn accept(&mut self, payload: P) -> ItemId {
        if !self.outbox.is_journaled() {
            return self.waiting.accept(payload);
        }
        let id = self.waiting.stage(payload.clone());
        self.outbox.record(|| Record::Accepted { id, payload });
        id
    }

    /// Accepts this many items from the front of `payloads`, in their order, after
    /// [`room`](Self::room) said that there is room for so many. Returns the last one's number.
    pub fn accept_many(&mut self, payloads: &mut VecDeque<P>, count: usize) -> ItemId {
        if !self.outbox.is_journaled() {
            return self.waiting.accept_many(payloads, count);
        }
        for payload in payloads.drain(..count.min(payloads.len())) {
            let id = self.waiting.stage(payload.clone());
            self.outbox.record(|| Record::Accepted { id, payload });
        }
        ItemId(self.waiting.accepted())
    }

    /// Tries a dead letter again: it waits in its old place, and its failed attempts no longer
    /// count.
    pub fn handle_revive(&mut self, letter: DeadLetter<P>) {
        self.dead = self.dead.saturating_sub(1);
        let forgiven = u32::try_from(letter.history.len()).unwrap_or(u32::MAX);
        let entry = Entry::after(letter.id, letter.payload, letter.history, forgiven);
        self.waiting.put_back(entry);
    }

    /// Keeps the ends of attempts in the journal from now on, each in the write that reports it,
    /// until [`handle_shown`](Self::handle_shown). Does nothing without a journal.
    pub fn handle_keep_attempts(&mut self) {
        self.keeps_attempts = true;
    }

    /// Notes that the end of this attempt was shown and need not be kept any more.
    pub fn handle_shown(&mut self, id: ItemId, attempt: u32) {
        if self.keeps_attempts {
            self.outbox.record(|| Record::Shown { id, attempt });
        }
    }

    /// Takes no more items; those accepted are still handed out.
    pub fn handle_close(&mut self) {
        self.is_closed = true;
    }

    /// Adds a holder that may get this many deliveries and no more. With a credit it is a worker,
    /// which is handed items by [`poll_delivery`](Self::poll_delivery); without one it asks by
    /// [`handle_get`](Self::handle_get). When it has settled all of them,
    /// [`poll_worn`](Self::poll_worn) names it.
    pub fn handle_join(&mut self, credit: Option<Credit>, deliveries: u64) -> HolderId {
        self.consumers.join(credit, deliveries)
    }

    /// Hands no more to this holder; its deliveries stay with it until they are settled.
    pub fn handle_stop(&mut self, holder: HolderId) {
        self.consumers.stop(holder);
    }

    /// Notes that a caller began (`true`) or ended (`false`) waiting in a `get`.
    pub fn handle_getter_waiting(&mut self, is_waiting: bool) {
        if is_waiting {
            self.getters += 1;
        } else {
            self.getters = self.getters.saturating_sub(1);
        }
    }

    /// Hands the next item to a holder that asks for it.
    pub fn handle_get(&mut self, holder: HolderId) -> Option<Handed> {
        if !self.consumers.is_open(holder) || self.gives_nothing() {
            return None;
        }
        let entry = self.waiting.pop()?;
        Some(self.lease(holder, entry, true))
    }

    /// Hands the next item to a worker that should have one, idle workers first. Deliveries to
    /// one holder follow each other, so that a caller can batch them.
    pub fn poll_delivery(&mut self) -> Option<Handed> {
        if self.gives_nothing() {
            return None;
        }
        let Some(weight) = self.waiting.front_weight() else {
            self.consumers.end_turn();
            return None;
        };
        let holder = self.consumers.next_taker(self.waiting.ready(), weight)?;
        let entry = self.waiting.pop()?;
        Some(self.lease(holder, entry, false))
    }

    fn lease(&mut self, holder: HolderId, entry: Entry<P>, is_asked_for: bool) -> Handed {
        let ordinal = self.consumers.take(holder, entry.payload.weight());
        let token = Token::of(holder, ordinal);
        let lease = Lease {
            is_asked_for,
            entry,
        };
        let handed = token.handed(&lease);
        self.leases.insert(token, lease);
        self.note_begun();
        handed
    }

    fn end_lease(
        &mut self,
        token: Token,
        service: Option<Duration>,
    ) -> Result<(Entry<P>, Handed), Stale> {
        let lease = self.leases.remove(token).ok_or(Stale)?;
        let handed = token.handed(&lease);
        let weight = lease.entry.payload.weight();
        self.consumers.release(token.holder, weight, service);
        Ok((lease.entry, handed))
    }

    /// Settles the item as done; `service` is the time that it took. `result` is kept for those who
    /// are to be told; `scene` says where and when it was done.
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_done(
        &mut self,
        token: Token,
        service: Duration,
        result: Option<R>,
        scene: Scene,
    ) -> Result<(), Stale> {
        let ended = self.end_lease(token, Some(service));
        let (entry, handed) = ended.inspect_err(|_| self.handle_late(token))?;
        self.done += 1;
        self.note_over(1);
        self.outbox.record(|| Record::Done { id: handed.id });
        let attempt = Attempt {
            number: handed.attempt,
            cause: None,
            is_last: true,
            scene,
        };
        self.keep_attempt(handed.id, &entry.payload, attempt);
        if let Some(result) = result {
            self.outbox.report(Report::Done {
                handed,
                payload: entry.payload,
                service,
                result,
            });
        }
        Ok(())
    }

    /// Settles the item as done where nothing waits for a journal, and makes no report: the caller
    /// tells of the end at once, by what it saw of the payload. With a journal use
    /// [`handle_done`](Self::handle_done).
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_done_now<T>(
        &mut self,
        token: Token,
        service: Duration,
        look: impl FnOnce(&P) -> T,
    ) -> Result<T, Stale> {
        let look = |lease: &Lease<P>| {
            let Entry { id, payload, .. } = &lease.entry;
            (*id, payload.weight(), look(payload))
        };
        let Some((id, weight, seen)) = self.leases.end(token, look) else {
            self.handle_late(token);
            return Err(Stale);
        };
        self.consumers.release(token.holder, weight, Some(service));
        self.done += 1;
        self.note_over(1);
        // None is made without a journal.
        self.outbox.record(|| Record::Done { id });
        Ok(seen)
    }

    /// Handles a worker's report that it is through with all deliveries up to this ordinal: those
    /// that it did not settle otherwise are done. `service` is the mean time of one. This
    /// acknowledges many items at once, whose ends no caller waits for singly.
    pub fn handle_done_through(&mut self, holder: HolderId, through: u64, service: Duration) {
        let Some(run) = self.consumers.settle_through(holder, through) else {
            return;
        };
        let (mut count, mut weight) = (0, 0);
        let mut late = Vec::new();
        self.leases.remove_run(holder, run, |ordinal, lease| {
            if let Some(Lease { entry, .. }) = lease {
                count += 1;
                weight += entry.payload.weight();
                self.outbox.record(|| Record::Done { id: entry.id });
            } else if !self.revoked.is_empty() {
                late.push(Token { holder, ordinal });
            }
        });
        for token in late {
            let revoked = self.revoked.get(&token);
            if revoked.is_some_and(|lease| !lease.is_asked_for) {
                self.handle_late(token);
            }
        }
        self.done += count;
        self.note_over(count);
        self.consumers
            .release_many(holder, count, weight, Some(service));
    }

    /// Notes that a worker has been at one item for this long: it is no longer relied on to come
    /// back soon, and gets less in advance. Returns `true`, once, if it has other items that should
    /// go back.
    pub fn handle_slow(&mut self, holder: HolderId, service: Duration) -> bool {
        self.consumers.restrain(holder, service)
    }

    /// Handles a failed attempt: the item waits again after its rest, or is a dead letter. `rest`
    /// replaces the rest that the options say.
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_nack(
        &mut self,
        token: Token,
        blame: Blame,
        rest: Option<Duration>,
        now: Duration,
    ) -> Result<(), Stale> {
        let ended = self.end_lease(token, None);
        let (entry, _) = ended.inspect_err(|_| self.handle_late(token))?;
        self.charge(entry, blame, rest, now);
        Ok(())
    }

    /// Takes back a delivery that never started: the item goes to its old place, uncounted.
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_return(&mut self, token: Token) -> Result<(), Stale> {
        let ended = self.end_lease(token, None);
        let (entry, _) = ended.inspect_err(|_| self.end_revoked(token))?;
        self.waiting.put_back(entry);
        Ok(())
    }

    /// Removes a holder. What it had started failed for the given reason, or goes back uncounted
    /// when there is none (an orderly stop); the rest goes back to its place, uncounted.
    ///
    /// Returns the number of items that were charged with an attempt: zero means that it died in
    /// boot or while idle.
    pub fn handle_leave(
        &mut self,
        holder: HolderId,
        started: Started,
        blame: Option<&Blame>,
        now: Duration,
    ) -> usize {
        let mut held = self.leases.take_all(holder);
        // In the order of the items, so that their reports do not depend on their holders.
        held.sort_by_key(|(_, lease)| lease.entry.id);
        self.revoked.retain(|token, _| token.holder != holder);
        self.consumers.leave(holder);
        let mut charged = 0;
        for (ordinal, lease) in held {
            match blame {
                Some(blame) if started.includes(ordinal, lease.is_asked_for) => {
                    charged += 1;
                    self.charge(lease.entry, blame.clone(), None, now);
                }
                _ => self.waiting.put_back(lease.entry),
            }
        }
        charged
    }

    /// Lets items whose rest is over by `now` wait again.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.waiting.wake(now);
        self.end_suspicions(now);
        self.retry_after_shortage(now);
    }

    /// Returns the time at which [`handle_timeout`](Self::handle_timeout) is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let shortage = self.shortage.as_ref();
        let of_shortage = shortage.and_then(|shortage| shortage.poll_timeout());
        let wakes = [
            self.waiting.next_wake(),
            self.waiting.next_end_of_suspicion(),
            of_shortage,
        ];
        wakes.into_iter().flatten().min()
    }

    /// Returns the next report that may be made and was not made yet.
    pub fn poll_report(&mut self) -> Option<Report<P, R>> {
        self.outbox.poll_report()
    }

    /// Returns the next records to make durable. There is one write at a time;
    /// [`handle_written`](Self::handle_written) or
    /// [`handle_write_failed`](Self::handle_write_failed) answers it.
    pub fn poll_write(&mut self) -> Option<Write<P>> {
        self.outbox.poll_write()
    }

    /// Notes that the write with this number is durable.
    pub fn handle_written(&mut self, number: u64) {
        let staged = self.outbox.written(number);
        self.waiting.unstage(staged);
    }

    /// Notes that the write under way cannot be made durable. Nothing more is accepted, handed out
    /// or told: the journal's contents are for the next run. Items that were not durable were never
    /// accepted.
    pub fn handle_write_failed(&mut self) {
        self.outbox.break_off();
        self.waiting.discard_staged();
    }

    /// Returns a worker that should give back what it has not begun, because another one is idle.
    pub fn poll_overloaded(&mut self) -> Option<HolderId> {
        match self.waiting.ready() {
            0 => self.consumers.poll_overloaded(),
            _ => None,
        }
    }

    /// Returns the next worker that has had all the deliveries it may get.
    pub fn poll_worn(&mut self) -> Option<HolderId> {
        self.consumers.poll_worn()
    }
}
