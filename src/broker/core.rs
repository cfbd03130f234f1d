//! What the broker's lock protects, and the pump that carries the ledger's decisions out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use slotmap::{SecondaryMap, SlotMap};

use super::requests::Requests;
use super::results::{Mailbox, MailboxKey, Outcome, ReplyTo};
use super::timer::Timer;
use super::{Bells, Ending};
use crate::error::Kind;
use crate::ledger::{
    Cause, Credit, Handed, HolderId, ItemId, Ledger, Options, Refusal, Stale, Started, Token,
    Weight,
};
use crate::link::{Job, Link};
use crate::observe::{Emitter, What};
use crate::store::Store;
use crate::store::memory::MemoryStore;

slotmap::new_key_type! {
    /// One async task in a `get`.
    pub(crate) struct WakerKey;
}

/// An item as the broker carries it: serialized, and where its result goes.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) body: Arc<[u8]>,
    pub(crate) reply: Option<ReplyTo>,
}

impl Weight for Parcel {
    fn weight(&self) -> usize {
        self.body.len()
    }
}

/// One worker as the broker sees it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) link: Box<dyn Link>,
    pub(crate) worker: Arc<str>,
    pub(crate) pid: u32,
}

/// What makes a name of an item's bytes, for events.
pub(crate) type NameItems = Arc<dyn Fn(&[u8]) -> String + Send + Sync>;

/// Whether there are workers, as far as supervisors told.
#[derive(Debug, Default)]
struct Crews {
    active: usize,
    /// Why there are none left, once there were some.
    loss: Option<String>,
    /// They were given up on, rather than stopped in order.
    is_spent: bool,
}

pub(crate) struct Core {
    pub(crate) ledger: Ledger<Parcel>,
    pub(crate) emitter: Emitter,
    pub(crate) store: Box<dyn Store>,
    pub(crate) restarts: u64,
    /// Threads asleep in `put`.
    pub(super) putters: usize,
    /// Tasks asleep in an async `get`.
    pub(super) wakers: SlotMap<WakerKey, Waker>,
    /// Whoever puts or joins does the work.
    pub(super) has_inline: bool,
    pub(super) seats: SecondaryMap<HolderId, Seat>,
    pub(super) requests: Requests,
    pub(super) mailboxes: SlotMap<MailboxKey, Mailbox>,
    /// Links with something to send.
    unsent: VecDeque<HolderId>,
    /// Holds what threads of this process got.
    local: HolderId,
    local_getters: usize,
    name_items: Option<NameItems>,
    crews: Crews,
    bells: Arc<Bells>,
    timer: Timer,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("counts", &self.ledger.counts())
            .field("crews", &self.crews)
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(options: Options, bells: Arc<Bells>, timer: Timer) -> Self {
        let mut ledger = Ledger::new(options);
        let local = ledger.handle_join_as_getter();
        Core {
            ledger,
            emitter: Emitter::new(),
            store: Box::new(MemoryStore::default()),
            restarts: 0,
            putters: 0,
            wakers: SlotMap::with_key(),
            has_inline: false,
            seats: SecondaryMap::new(),
            requests: Requests::default(),
            mailboxes: SlotMap::with_key(),
            unsent: VecDeque::new(),
            local,
            local_getters: 0,
            name_items: None,
            crews: Crews::default(),
            bells,
            timer,
        }
    }

    pub(super) fn try_put(
        &mut self,
        parcel: &Parcel,
        is_beyond_bound: bool,
    ) -> Result<ItemId, Kind> {
        if self.crews.is_spent && self.crews.active == 0 {
            return Err(self.no_workers_left());
        }
        let result = if is_beyond_bound {
            self.ledger.handle_put_beyond_bound(parcel.clone())
        } else {
            self.ledger.handle_put(parcel.clone())
        };
        result.map_err(|refusal| match refusal {
            Refusal::Closed => Kind::Closed,
            Refusal::Full if self.loss().is_some() => self.no_workers_left(),
            Refusal::Full => Kind::Full,
        })
    }

    fn no_workers_left(&self) -> Kind {
        Kind::NoWorkersLeft {
            why: self.crews.loss.clone().unwrap_or_default(),
            unfinished: self.ledger.counts().unfinished(),
        }
    }

    pub(super) fn try_get(&mut self) -> Option<Job> {
        let handed = self.ledger.handle_get(self.local)?;
        if self.emitter.wants_items() {
            self.report_started(handed.token, None);
        }
        let parcel = self.ledger.payload(handed.token)?;
        Some(Job::new(&handed, &parcel.body))
    }

    /// Whether no `get` can be served any more.
    pub(super) fn is_exhausted(&self) -> bool {
        let counts = self.ledger.counts();
        self.ledger.is_closed() && counts.waiting + counts.delayed == 0
    }

    /// Waiting getters are takers in a rendezvous, so a putter may go on.
    pub(super) fn getter_waits(&mut self, is_waiting: bool) {
        self.ledger.handle_getter_waiting(is_waiting);
        if is_waiting {
            self.local_getters += 1;
            if self.putters > 0 && self.ledger.has_room() {
                self.bells.room.notify_all();
            }
        } else {
            self.local_getters -= 1;
        }
    }

    pub(super) fn keep_waker(&mut self, waker: Waker) -> WakerKey {
        self.getter_waits(true);
        self.wakers.insert(waker)
    }

    pub(super) fn forget_waker(&mut self, key: Option<WakerKey>) {
        if let Some(key) = key
            && self.wakers.remove(key).is_some()
        {
            self.getter_waits(false);
        }
    }

    /// How a `join` ends, if it does now.
    pub(super) fn join_state(&self) -> Option<Result<(u64, u64), Kind>> {
        if self.ledger.is_finished() {
            let counts = self.ledger.counts();
            return Some(Ok((counts.done, counts.dead)));
        }
        let is_served_here = self.local_getters > 0 || self.ledger.held_by(self.local) > 0;
        if self.loss().is_some() && !is_served_here {
            return Some(Err(self.no_workers_left()));
        }
        None
    }

    /// Why there are no workers any more, if there were some.
    pub(super) fn loss(&self) -> Option<String> {
        if self.crews.active > 0 {
            return None;
        }
        self.crews.loss.clone()
    }

    /// A supervisor began to work on this queue.
    pub(crate) fn crew_began(&mut self) {
        self.crews.active += 1;
        self.crews.is_spent = false;
    }

    /// A supervisor has no workers left, and why. `is_spent`: they were given up on.
    pub(crate) fn crew_ended(&mut self, why: &str, is_spent: bool) {
        self.crews.active = self.crews.active.saturating_sub(1);
        self.crews.loss = Some(why.to_owned());
        self.crews.is_spent |= is_spent;
        if is_spent && self.crews.active == 0 {
            let why = why.to_owned();
            self.emitter.emit(What::NoWorkersLeft { why });
        }
        self.wake_all();
    }

    /// Takes no more items.
    pub(crate) fn close(&mut self) {
        self.ledger.handle_close();
        self.wake_all();
    }

    /// Has everybody who sleeps look again.
    pub(crate) fn wake_all(&mut self) {
        self.bells.room.notify_all();
        self.bells.items.notify_all();
        self.bells.settled.notify_all();
        for mailbox in self.mailboxes.values() {
            mailbox.arrived.notify_all();
        }
        self.wakers.values().for_each(Waker::wake_by_ref);
    }

    pub(crate) fn set_name_items(&mut self, name_items: NameItems) {
        self.name_items = Some(name_items);
    }

    pub(super) fn name(&self, id: ItemId, parcel: &Parcel) -> String {
        match &self.name_items {
            Some(name_items) => name_items(&parcel.body),
            None => format!("item-{id}"),
        }
    }

    pub(super) fn attach(&mut self, seat: Seat, credit: Option<Credit>) -> HolderId {
        let holder = match credit {
            Some(credit) => self.ledger.handle_join(credit),
            None => self.ledger.handle_join_as_getter(),
        };
        self.emitter.emit(What::WorkerStarted {
            worker: Arc::clone(&seat.worker),
            pid: seat.pid,
        });
        self.seats.insert(holder, seat);
        holder
    }

    pub(super) fn ask_to_stop(&mut self, holder: HolderId) {
        self.ledger.handle_stop(holder);
        self.refuse_requests_of(holder);
        if let Some(seat) = self.seats.get_mut(holder) {
            seat.link.ask_to_stop();
            self.unsent.push_back(holder);
        }
    }

    pub(super) fn detach(
        &mut self,
        holder: HolderId,
        started: Started,
        cause: Option<&Cause>,
    ) -> usize {
        self.seats.remove(holder);
        self.forget_requests_of(holder);
        let now = self.emitter.now();
        self.ledger.handle_leave(holder, started, cause, now)
    }

    pub(super) fn settle(
        &mut self,
        token: Token,
        service: Duration,
        ending: Ending,
    ) -> Result<(), Stale> {
        match ending {
            Ending::Done(result) => {
                let handed = self.ledger.handed(token).ok_or(Stale)?;
                let parcel = self.ledger.handle_done(token, service)?;
                if self.emitter.wants_items() {
                    self.report_done(&handed, &parcel, service);
                }
                self.deliver_outcome(parcel.reply, || Outcome::Done(result));
                Ok(())
            }
            Ending::Failed(cause) => {
                let now = self.emitter.now();
                self.ledger.handle_nack(token, cause, now)
            }
            Ending::Returned => self.ledger.handle_return(token),
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        let now = self.emitter.now();
        self.ledger.handle_timeout(now);
    }

    /// Carries out what the ledger decided, until it has nothing more to say.
    pub(super) fn pump(&mut self) {
        loop {
            self.hand_out();
            if !self.admit_waiting_puts() {
                break;
            }
        }
        self.publish_reports();
        self.answer_joins();
        while let Some(holder) = self.unsent.pop_front() {
            if let Some(seat) = self.seats.get_mut(holder) {
                seat.link.flush();
            }
        }
        self.ring();
    }

    fn hand_out(&mut self) {
        self.serve_waiting_gets();
        let mut last = None;
        while let Some(handed) = self.ledger.poll_delivery() {
            self.deliver(&handed);
            if last != Some(handed.holder) {
                self.unsent.push_back(handed.holder);
                last = Some(handed.holder);
            }
        }
    }

    fn deliver(&mut self, handed: &Handed) {
        let (Some(seat), Some(parcel)) = (
            self.seats.get_mut(handed.holder),
            self.ledger.payload(handed.token),
        ) else {
            return;
        };
        if let Err(why) = seat.link.deliver(handed, &parcel.body) {
            self.fail_undeliverable(handed.token, why);
        }
    }

    pub(super) fn fail_undeliverable(&mut self, token: Token, why: String) {
        let ending = Ending::Failed(Cause::Undeliverable(why));
        // The token was handed out a moment ago, so it is not stale.
        let _ = self.settle(token, Duration::ZERO, ending);
    }

    /// Puts a link on the list of those to flush.
    pub(super) fn send_to(&mut self, holder: HolderId) {
        self.unsent.push_back(holder);
    }

    /// Wakes whoever has something to do now.
    fn ring(&mut self) {
        self.ring_for_putters();
        self.ring_for_getters();
        self.ring_for_joiners();
        if let Some(at) = self.ledger.poll_timeout() {
            self.timer.set(at.saturating_sub(self.emitter.now()));
        }
        if self.emitter.is_observed() {
            self.emitter.progress(&self.ledger.counts());
        }
    }

    fn ring_for_putters(&self) {
        if self.putters > 0 && self.ledger.has_room() {
            self.bells.room.notify_all();
        }
    }

    fn ring_for_getters(&self) {
        if self.local_getters == 0 {
            return;
        }
        let waiting = self.ledger.counts().waiting;
        if waiting == 1 && self.wakers.is_empty() {
            self.bells.items.notify_one();
        } else if waiting > 0 || self.is_exhausted() {
            self.bells.items.notify_all();
            self.wakers.values().for_each(Waker::wake_by_ref);
        }
    }

    fn ring_for_joiners(&self) {
        if self.join_state().is_some() {
            self.bells.settled.notify_all();
        }
        // Inline, those who wait for the end are those who do the work.
        if self.has_inline && !self.ledger.is_finished() {
            self.bells.settled.notify_all();
            for mailbox in self.mailboxes.values() {
                mailbox.arrived.notify_all();
            }
        }
    }
}
