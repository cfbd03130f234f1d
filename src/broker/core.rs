//! What the broker's lock protects, and the pump that carries the ledger's decisions out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use slotmap::{SecondaryMap, SlotMap};

use super::Bells;
use super::desk::{Desk, Refused, Said};
use super::results::{Mailbox, MailboxKey, ReplyTo};
use super::scribe::Scribe;
use super::timer::Timer;
use crate::error::Kind;
use crate::fail;
use crate::ledger::{Credit, Handed, HolderId, ItemId, Ledger, Weight, Write};
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
    pub(crate) fn of(body: impl Into<Arc<[u8]>>) -> Self {
        Parcel {
            body: body.into(),
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

pub(crate) struct Core {
    /// The ledger, and who waits for what.
    pub(crate) desk: Desk<Parcel, Product>,
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
    pub(super) mailboxes: SlotMap<MailboxKey, Mailbox>,
    /// Links with something to send.
    pub(super) unsent: VecDeque<HolderId>,
    name_items: Option<NameItems>,
    pub(super) bells: Arc<Bells>,
    pub(super) timer: Timer,
    pub(super) scribe: Scribe,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("counts", &self.desk.ledger.counts())
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(
        ledger: Ledger<Parcel, Product>,
        store: Arc<dyn Store>,
        bells: Arc<Bells>,
        timer: Timer,
        scribe: Scribe,
    ) -> Self {
        Core {
            desk: Desk::new(ledger),
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
            mailboxes: SlotMap::with_key(),
            unsent: VecDeque::new(),
            name_items: None,
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
        self.check_size(parcel)?;
        let result = self.desk.put(parcel.clone(), is_beyond_bound);
        result.map_err(|refused| self.kind_of(refused))
    }

    /// Whether the store can keep an item of this size.
    pub(super) fn check_size(&self, parcel: &Parcel) -> Result<(), Kind> {
        let (bytes, bytes_max) = (parcel.body.len(), self.store.item_bytes_max());
        match bytes > bytes_max {
            false => Ok(()),
            true => Err(Kind::TooLarge { bytes, bytes_max }),
        }
    }

    /// What a refusal is for callers in this process.
    pub(super) fn kind_of(&self, refused: Refused) -> Kind {
        match refused {
            Refused::Full => Kind::Full,
            Refused::Closed => Kind::Closed,
            Refused::NoWorkersLeft => Kind::NoWorkersLeft {
                why: self.desk.loss_of_crews().to_owned(),
                unfinished: self.desk.ledger.counts().unfinished(),
            },
            Refused::JournalFailed => {
                Kind::Journal(self.journal_failure.clone().unwrap_or_default())
            }
        }
    }

    pub(super) fn try_get(&mut self) -> Option<Job> {
        let handed = self.desk.get()?;
        if self.emitter.wants_items() {
            self.report_started(handed.token, None);
        }
        let parcel = self.desk.ledger.payload(handed.token)?;
        Some(Job::new(&handed, &parcel.body))
    }

    /// Why no `get` can be served any more, if none can.
    pub(super) fn end_of_gets(&self) -> Option<Kind> {
        let end = self.desk.end_of_gets()?;
        Some(self.kind_of(end))
    }

    /// Waiting getters are takers in a rendezvous, so a putter may go on.
    pub(super) fn getter_waits(&mut self, is_waiting: bool) {
        self.desk.local_waits(is_waiting);
        if is_waiting && self.putters > 0 && self.desk.ledger.has_room() {
            self.bells.room.notify_all();
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
        let end = self.desk.join_state()?;
        Some(end.map_err(|refused| self.kind_of(refused)))
    }

    /// Why nothing more will come of what was put, in words: the workers are gone, if there were
    /// some, or the journal is.
    pub(super) fn loss(&self) -> Option<String> {
        if self.desk.ledger.is_broken() {
            return Some(self.kind_of(Refused::JournalFailed).to_string());
        }
        let is_lost = self.desk.are_workers_lost();
        is_lost.then(|| self.desk.loss_of_crews().to_owned())
    }

    /// A supervisor began to work on this queue.
    pub(crate) fn crew_began(&mut self) {
        self.desk.crew_began();
    }

    /// A supervisor has no workers left, and why. `is_spent`: they were given up on.
    pub(crate) fn crew_ended(&mut self, why: &str, is_spent: bool) {
        if self.desk.crew_ended(why, is_spent) {
            let why = why.to_owned();
            self.emitter.emit(What::NoWorkersLeft { why });
        }
        self.wake_all();
    }

    /// Takes no more items.
    pub(crate) fn close(&mut self) {
        self.desk.ledger.handle_close();
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
        let holder = self.desk.ledger.handle_join_for(credit, quota);
        self.emitter.emit(What::WorkerStarted {
            worker: Arc::clone(&seat.worker),
            pid: seat.pid,
        });
        self.seats.insert(holder, seat);
        holder
    }

    pub(super) fn ask_to_stop(&mut self, holder: HolderId) {
        self.desk.stop(holder);
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
        if self.syncers > 0 {
            self.bells.durable.notify_all();
        }
        match result {
            Ok(()) => self.desk.ledger.handle_written(number),
            Err(why) => self.break_off(why),
        }
        self.desk.ledger.poll_write()
    }

    /// Nothing more is accepted or told.
    pub(super) fn break_off(&mut self, why: String) {
        self.journal_failure = Some(why.clone());
        self.desk.ledger.handle_write_failed();
        self.wake_all();
        self.emitter.emit(What::JournalFailed { why });
    }

    /// Nobody needs the journal's thread any more.
    pub(super) fn end_scribe(&mut self) {
        self.scribe = Scribe::channel().0;
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        let now = self.emitter.now();
        self.desk.ledger.handle_timeout(now);
    }

    /// Carries out what was decided, until there is nothing more.
    pub(super) fn pump(&mut self) {
        let mut last = None;
        while let Some(said) = self.desk.poll() {
            match said {
                Said::Deliver(handed) => {
                    self.deliver(&handed);
                    if last.replace(handed.holder) != Some(handed.holder) {
                        self.unsent.push_back(handed.holder);
                    }
                }
                Said::Answer(request, reply) => self.reply(request, reply),
                Said::Worn(holder) => self.worn(holder),
                Said::Report(report) => self.publish(report),
            }
        }
        while let Some(holder) = self.unsent.pop_front() {
            if let Some(seat) = self.seats.get_mut(holder) {
                fail::point("deliver: to be sent");
                seat.link.flush();
                fail::point("deliver: sent");
            }
        }
        self.ring();
    }

    fn deliver(&mut self, handed: &Handed) {
        let (Some(seat), Some(parcel)) = (
            self.seats.get_mut(handed.holder),
            self.desk.ledger.payload(handed.token),
        ) else {
            return;
        };
        fail::point("deliver: chosen");
        if let Err(why) = seat.link.deliver(handed, &parcel.body) {
            self.fail_undeliverable(handed.token, why);
        }
    }
}
