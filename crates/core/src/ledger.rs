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

mod accepting;
mod admission;
mod alone;
mod backoff;
mod cause;
mod consumers;
mod copies;
mod credit;
mod deadlines;
mod delivery;
mod dependencies;
mod durations;
mod ended;
mod exit;
mod failing;
mod failure;
mod handing;
mod item_run;
mod leases;
mod limits;
mod options;
mod order;
mod outbox;
mod outcome;
mod pace;
mod pausing;
mod places;
mod policy;
mod quantiles;
mod rate;
mod record;
mod refusal;
mod relations;
mod report;
mod rests;
mod run;
mod shared;
mod shortage;
mod slots;
mod stopping;
mod timing;
mod tokens;
mod turn;
mod unfinished;
mod unique;
mod view;
mod waiting;
mod withdrawn;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use hashbrown::HashMap;

pub use admission::{AdmissionRules, Readings};
use alone::Alone;
pub use backoff::Backoff;
pub use backoff::mix;
pub use cause::{Cause, CopySaid};
use consumers::Consumers;
pub use consumers::WORTH_WAKING;
use copies::Groups;
pub use credit::Credit;
pub use delivery::{Finding, Handed, LastWords, Started, Token};
use dependencies::DeadLetters;
pub use durations::{BOUNDS, Durations, Histogram};
use ended::EndNotes;
pub use ended::{BegunItems, BegunNaming, EndNote, EndedAttempts};
pub use exit::Exit;
pub use failure::{Blame, Failure, Scene};
pub use item_run::{ItemRun, Items};
pub(crate) use item_run::{put_varint, take_bytes, take_varint};
use leases::{Lease, Leases};
use limits::Limits;
pub use options::{Capacity, Options, Weight};
pub use order::{OrderRules, Rank, WaitsFor};
use outbox::Outbox;
pub use outcome::Outcome;
pub use places::{FoundItem, Place, PlaceKind};
pub use policy::{Ballot, Copies, Hedge};
pub use rate::Rate;
pub use record::{Attempt, Record, Recovered, Unfinished, Write};
pub use refusal::Refusal;
use relations::Relations;
pub use report::{Cancelled, CopyEnd, CopyReport, Counts, DeadLetter, Report, Stale};
pub use run::DoneRun;
pub use shortage::Notice;
use shortage::Shortage;
use unfinished::UnfinishedItem;
pub use unique::UniqueKey;
use waiting::Waiting;
pub use withdrawn::Fate;

slotmap::new_key_type! {
    /// The number of a holder of deliveries: a worker, or a thread that called `get`.
    pub struct HolderId;
}

/// The number of an item: 1 for the first that was accepted, then counting up without gaps.
///
/// ```
/// # use dishrack_core::ledger::ItemId;
/// let (first, second) = (ItemId(1), ItemId(2));
/// assert!(first < second);
/// assert_eq!(format!("item {second}"), "item 2");
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct ItemId(pub u64);

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
    /// True if its books were found not to agree.
    is_inconsistent: bool,
    /// True if nothing more is handed out.
    is_held: bool,
    /// The same, until somebody ends that.
    is_paused: bool,
    /// True if the ends of attempts are kept until they are shown.
    keeps_attempts: bool,
    shortage: Option<Shortage>,
    notices: VecDeque<Notice>,
    /// The number of supervisors of this queue that are being stopped.
    stopping: usize,
    copies: Groups<P, R>,
    durations: Durations,
    ends: EndNotes,
    alone: Alone,
    limits: Option<Box<Limits>>,
    relations: Option<Box<Relations<P>>>,
    dead_letters: DeadLetters,
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
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
        let has_policy = |item: &Unfinished<P>| item.payload.copies().is_some();
        let has_copies = options.copies.is_some() || recovered.unfinished.iter().any(has_policy);
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
            is_inconsistent: false,
            is_held: false,
            is_paused: false,
            is_closed: false,
            keeps_attempts: false,
            shortage: None,
            notices: VecDeque::new(),
            stopping: 0,
            copies: Groups::new(has_copies),
            durations: Durations::default(),
            ends: EndNotes::default(),
            alone: Alone::default(),
            limits: None,
            relations: None,
            dead_letters: DeadLetters::default(),
        }
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
    /// which is handed items by [`poll_delivery`](Self::poll_delivery), a loop as soon as it asks
    /// ([`handle_asking`](Self::handle_asking)); without one it takes them by
    /// [`handle_get`](Self::handle_get). When it has settled all of them,
    /// [`poll_worn`](Self::poll_worn) names it.
    pub fn handle_join(&mut self, credit: Option<Credit>, deliveries: u64) -> HolderId {
        self.consumers.join(credit, deliveries)
    }

    /// Notes that a worker began (`true`) or ended (`false`) waiting for an item in a `get`.
    pub fn handle_asking(&mut self, holder: HolderId, is_asking: bool) {
        self.consumers.set_asking(holder, is_asking);
    }

    /// Notes that a worker has begun its deliveries up to this one, by its own word.
    pub fn handle_begun(&mut self, holder: HolderId, last: u64) {
        let begun = self.consumers.begun(holder);
        let last = last.min(self.consumers.last_ordinal(holder));
        if last > begun {
            let held = (begun + 1..=last).filter(|ordinal| self.holds(holder, *ordinal));
            let held = held.count() as u64;
            self.consumers.begin(holder, last, held);
        }
    }

    /// Notes that a loop has begun what it settles, and all before it. What a handler begins follows from
    /// its credit well enough.
    fn note_settled(&mut self, token: Token) {
        if self.consumers.is_loop(token.holder) {
            self.handle_begun(token.holder, token.ordinal);
        }
    }

    /// Asks all loops for what they have in advance ([`poll_recalled`](Self::poll_recalled)), because
    /// a caller that does not wait finds nothing else. Returns `true` if there is something, as far
    /// as is known.
    pub fn handle_nothing_left(&mut self) -> bool {
        self.consumers.recall_loops();
        self.is_any_loop_ahead()
    }

    /// Asks a loop for what it has in advance, because it waits for something else than an item, and
    /// hands it nothing more before it gets something again.
    pub fn handle_waiting_elsewhere(&mut self, holder: HolderId) {
        self.consumers.leave_alone(holder);
    }

    /// Notes that a handler waits for its next delivery, though it holds others, of which this is the last
    /// one that was begun. What it holds is settled when it gets another, perhaps, so it is handed the
    /// next one like a worker that holds nothing; unless one is on its way.
    pub fn handle_idle(&mut self, holder: HolderId, begun: u64) {
        if self.consumers.last_ordinal(holder) == begun {
            self.consumers.set_asking(holder, true);
        }
    }

    /// Returns `true` if a holder has not settled this delivery, cancelled or not.
    fn holds(&self, holder: HolderId, ordinal: u64) -> bool {
        let token = Token { holder, ordinal };
        self.leases.get(token).is_some() || self.revoked.contains_key(&token)
    }

    /// Adds a holder that stands for any number of threads, which ask one by one. So several copies
    /// of an item may be for it.
    pub fn handle_join_threads(&mut self) -> HolderId {
        self.consumers.join_threads()
    }

    /// Hands no more to this holder; its deliveries stay with it until they are settled.
    pub fn handle_stop(&mut self, holder: HolderId) {
        self.consumers.stop(holder);
    }

    /// Notes that a caller that is no worker began (`true`) or ended (`false`) waiting in a `get`.
    pub fn handle_getter_waiting(&mut self, is_waiting: bool) {
        if is_waiting {
            self.getters += 1;
        } else {
            self.getters = self.getters.saturating_sub(1);
        }
    }

    fn end_lease(
        &mut self,
        token: Token,
        service: Option<Duration>,
    ) -> Result<(UnfinishedItem<P>, Handed), Stale> {
        let lease = self.leases.remove(token).ok_or(Stale)?;
        let handed = token.handed(&lease);
        let weight = lease.entry.payload.weight();
        self.consumers.release(token, weight, service);
        self.end_running(token, lease.entry.line);
        if let Some(service) = service {
            self.durations.done.observe(service, 1);
            self.ends.done(|| handed, service);
        }
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
        self.note_settled(token);
        let ended = self.end_lease(token, Some(service));
        let (entry, handed) = ended.inspect_err(|_| self.handle_late(token))?;
        if self.copies.has(handed.id) {
            self.copy_done(handed, service, result, scene);
        } else {
            self.finish(entry, handed, service, result, scene);
        }
        Ok(())
    }

    fn finish(
        &mut self,
        entry: UnfinishedItem<P>,
        handed: Handed,
        service: Duration,
        result: Option<R>,
        scene: Scene,
    ) {
        self.copies.observe(service);
        self.done += 1;
        self.note_over(1);
        self.outbox.done(handed.id);
        self.note_done(handed.id);
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
    }

    /// Settles the item as done where nothing waits for a journal, and makes no report: the caller
    /// tells of the end at once, by what it saw of the payload. With a journal, and where items may
    /// have copies ([`needs_time`](Self::needs_time)), use [`handle_done`](Self::handle_done).
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_done_now<T>(
        &mut self,
        token: Token,
        service: Duration,
        look: impl FnOnce(&P) -> T,
    ) -> Result<T, Stale> {
        self.note_settled(token);
        let ends = &mut self.ends;
        let look = |lease: &Lease<P>| {
            ends.done(|| token.handed(lease), service);
            let payload = &lease.entry.payload;
            let entry = &lease.entry;
            (payload.weight(), (entry.id, entry.line), look(payload))
        };
        let Some((weight, (id, line), seen)) = self.leases.end(token, look) else {
            self.handle_late(token);
            return Err(Stale);
        };
        self.consumers.release(token, weight, Some(service));
        self.end_running(token, line);
        self.durations.done.observe(service, 1);
        self.done += 1;
        self.note_over(1);
        self.note_done(id);
        Ok(seen)
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
        self.note_settled(token);
        let ended = self.end_lease(token, None);
        let (entry, handed) = ended.inspect_err(|_| self.handle_late(token))?;
        self.ends.failed(&handed, &blame);
        if self.copies.has(handed.id) {
            self.copy_failed(handed, blame, rest, now);
        } else {
            let blame = self.of_attempt(token, blame);
            self.charge(entry, blame, rest, now);
        }
        Ok(())
    }

    /// Takes back a delivery that never started: the item goes to its old place, uncounted.
    ///
    /// # Errors
    /// [`Stale`] when the token's delivery was settled or lost before.
    pub fn handle_return(&mut self, token: Token) -> Result<(), Stale> {
        let ended = self.end_lease(token, None);
        let (entry, handed) = ended.inspect_err(|_| self.end_revoked(token))?;
        if self.copies.has(handed.id) {
            self.copy_returned(handed);
        } else {
            self.waiting.put_back(entry);
        }
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
        let revoked = self.revoked.extract_if(|token, _| token.holder == holder);
        for (token, lease) in revoked.collect::<Vec<_>>() {
            self.end_running(token, lease.entry.line);
        }
        self.consumers.leave(holder);
        let mut charged = 0;
        for (ordinal, lease) in held {
            let handed = Token { holder, ordinal }.handed(&lease);
            self.end_running(handed.token, lease.entry.line);
            let is_copy = self.copies.has(handed.id);
            let blame = blame.filter(|_| started.includes(ordinal));
            if let Some(blame) = blame {
                charged += 1;
                self.ends.failed(&handed, blame);
            }
            match (blame, is_copy) {
                (Some(blame), true) => self.copy_failed(handed, blame.clone(), None, now),
                (Some(blame), false) => {
                    let blame = self.of_attempt(handed.token, blame.clone());
                    self.charge(lease.entry, blame, None, now);
                }
                (None, true) => self.copy_returned(handed),
                (None, false) => self.waiting.put_back(lease.entry),
            }
        }
        charged
    }

    /// Returns the next report that may be made and was not made yet.
    pub fn poll_report(&mut self) -> Option<Report<P, R>> {
        match self.is_inconsistent {
            true => None,
            false => self.outbox.poll_report(),
        }
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
        self.give_up_doomed();
    }

    /// Notes that the write under way cannot be made durable. Nothing more is accepted, handed out
    /// or told: the journal's contents are for the next run. Items that were not durable were never
    /// accepted.
    pub fn handle_write_failed(&mut self) {
        self.outbox.break_off();
        self.waiting.discard_staged();
    }

    /// Notes that its own books do not agree: an item is lost or counted twice, or may be after a panic that
    /// has left something half done. Nothing more is accepted, handed out, written or told, because all of it
    /// could be wrong: what is durable is for the next run.
    pub fn handle_inconsistent(&mut self) {
        self.is_inconsistent = true;
        self.handle_write_failed();
    }

    /// Returns a worker that should give back what it has not begun, because another one is idle.
    pub fn poll_overloaded(&mut self) -> Option<HolderId> {
        match self.waiting.ready() {
            0 => self.consumers.poll_overloaded(self.getters),
            _ => None,
        }
    }
}
