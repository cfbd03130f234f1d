//! What the broker's lock protects, and the pump that carries the ledger's decisions out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use slotmap::{SecondaryMap, SlotMap};

use super::Bells;
use super::requests::Requests;
use super::results::{Mailbox, MailboxKey, ReplyTo};
use super::scribe::Scribe;
use super::timer::Timer;
use crate::error::Kind;
use crate::fail;
use crate::ledger::{Credit, Handed, HolderId, ItemId, Ledger, Refusal, Weight, Write};
use crate::link::{Job, Link};
use crate::observe::{Emitter, What};
use crate::store::{Print, Store, Stored};
use crate::supervision::stderr::Stderr;

slotmap::new_key_type! {
    /// One async task in a `get`.
    pub(crate) struct WakerKey;
}

/// An item as the broker carries it: serialized, and where its result goes.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) body: Arc<[u8]>,
    pub(crate) reply: Option<ReplyTo>,
    /// The print of its key, for the journal.
    pub(crate) print: Option<Print>,
}

impl Parcel {
    pub(crate) fn of(body: &[u8]) -> Self {
        Parcel {
            body: Arc::from(body),
            reply: None,
            print: None,
        }
    }
}

impl Stored for Parcel {
    fn body(&self) -> &[u8] {
        &self.body
    }

    fn print(&self) -> Option<Print> {
        self.print
    }
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
    /// The end of what it wrote to stderr, if that goes through us.
    pub(crate) stderr: Option<Arc<Stderr>>,
    /// Who can end it, if anybody can.
    pub(crate) overseer: Option<Box<dyn Overseer>>,
}

/// Whoever watches over one worker process. Its methods are called with the lock held and do not
/// wait.
pub(crate) trait Overseer: Send + fmt::Debug {
    /// The worker has done as much as it should: it is to be replaced.
    fn worn(&self);

    /// The delivery with this ordinal was cancelled.
    fn revoked(&self, ordinal: u64);
}

/// What came of an item, and where.
#[derive(Debug)]
pub(crate) struct Product {
    pub(super) result: Box<[u8]>,
    /// The worker's name and process, if events of single items are wanted.
    pub(super) place: Option<(Arc<str>, u32)>,
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
    pub(crate) ledger: Ledger<Parcel, Product>,
    pub(crate) emitter: Emitter,
    pub(super) store: Arc<dyn Store>,
    pub(crate) restarts: u64,
    /// Threads asleep in `put`.
    pub(super) putters: usize,
    /// Threads that wait until what they put is durable.
    pub(super) syncers: usize,
    /// Why the journal failed.
    pub(super) journal_failure: Option<String>,
    /// The ledger contradicted itself, and that was told.
    pub(super) is_inconsistent: bool,
    /// Tasks asleep in an async `get`.
    pub(super) wakers: SlotMap<WakerKey, Waker>,
    /// Whoever puts or joins does the work.
    pub(super) has_inline: bool,
    pub(super) seats: SecondaryMap<HolderId, Seat>,
    pub(super) requests: Requests,
    pub(super) mailboxes: SlotMap<MailboxKey, Mailbox>,
    /// Links with something to send.
    pub(super) unsent: VecDeque<HolderId>,
    /// Holds what threads of this process got.
    local: HolderId,
    pub(super) local_getters: usize,
    name_items: Option<NameItems>,
    crews: Crews,
    pub(super) bells: Arc<Bells>,
    pub(super) timer: Timer,
    pub(super) scribe: Scribe,
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
    pub(super) fn new(
        mut ledger: Ledger<Parcel, Product>,
        store: Arc<dyn Store>,
        bells: Arc<Bells>,
        timer: Timer,
        scribe: Scribe,
    ) -> Self {
        let local = ledger.handle_join_as_getter();
        Core {
            ledger,
            emitter: Emitter::new(),
            store,
            restarts: 0,
            putters: 0,
            syncers: 0,
            journal_failure: None,
            is_inconsistent: false,
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
            scribe,
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
            Refusal::Broken => self.journal_failed(),
        })
    }

    pub(super) fn journal_failed(&self) -> Kind {
        Kind::Journal(self.journal_failure.clone().unwrap_or_default())
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

    /// Why no `get` can be served any more, if none can.
    pub(super) fn end_of_gets(&self) -> Option<Kind> {
        if self.ledger.is_broken() {
            return Some(self.journal_failed());
        }
        let counts = self.ledger.counts();
        let is_exhausted = self.ledger.is_closed() && counts.waiting + counts.delayed == 0;
        is_exhausted.then_some(Kind::Closed)
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
        if self.ledger.is_broken() {
            return Some(Err(self.journal_failed()));
        }
        let is_served_here = self.local_getters > 0 || self.ledger.held_by(self.local) > 0;
        if self.loss().is_some() && !is_served_here {
            return Some(Err(self.no_workers_left()));
        }
        None
    }

    /// Why nothing more will come of what was put: the workers are gone, if there were some, or the
    /// journal is.
    pub(super) fn loss(&self) -> Option<String> {
        if self.ledger.is_broken() {
            return Some(self.journal_failed().to_string());
        }
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
        self.bells.durable.notify_all();
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

    pub(super) fn attach(&mut self, seat: Seat, credit: Option<Credit>, quota: u64) -> HolderId {
        let holder = self.ledger.handle_join_for(credit, quota);
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

    /// A write was made durable, or cannot be. The next one, if there is one.
    pub(super) fn written(
        &mut self,
        number: u64,
        result: Result<(), String>,
    ) -> Option<Write<Parcel>> {
        match result {
            Ok(()) => self.ledger.handle_written(number),
            Err(why) => {
                self.journal_failure = Some(why.clone());
                self.ledger.handle_write_failed();
                self.emitter.emit(What::JournalFailed { why });
                self.wake_all();
            }
        }
        self.ledger.poll_write()
    }

    /// Nobody needs the journal's thread any more.
    pub(super) fn end_scribe(&mut self) {
        self.scribe = Scribe::channel().0;
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
        while let Some(holder) = self.ledger.poll_worn() {
            self.worn(holder);
        }
        self.publish_reports();
        self.answer_staged();
        self.answer_joins();
        while let Some(holder) = self.unsent.pop_front() {
            if let Some(seat) = self.seats.get_mut(holder) {
                fail::point("deliver: to be sent");
                seat.link.flush();
                fail::point("deliver: sent");
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
        fail::point("deliver: chosen");
        if let Err(why) = seat.link.deliver(handed, &parcel.body) {
            self.fail_undeliverable(handed.token, why);
        }
    }

    /// Puts a link on the list of those to flush.
    pub(super) fn send_to(&mut self, holder: HolderId) {
        self.unsent.push_back(holder);
    }
}
