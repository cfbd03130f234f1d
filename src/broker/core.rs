//! The state that the broker's lock protects, and what can be asked of it or noted in it. It knows
//! neither the lock nor the threads that take it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crossbeam_channel::Sender;
use nix::sys::eventfd::EventFd;
use slotmap::{SecondaryMap, SlotMap};

use super::answer::Accepted;
use super::attachment::{Attachment, Reliance};
use super::doorbells::{Doorbells, WriterDoorbell};
use super::limits::ItemRules;
use super::mailboxes::Mailboxes;
use super::product::{Comparison, Disagreement, Product};
use super::timer::Timer;
use super::times::RunTimes;
use super::traffic::Traffic;
use crate::error::Kind;
use crate::link::{LocalDelivery, Sleeper};
use crate::observe::{Emitter, EventKind};
use crate::payload::envelope::{Envelope, MailboxKey};
use crate::store::{Storage, StoreError};
use dishrack_core::dispatcher::Dispatcher;
use dishrack_core::ledger::{Credit, HolderId, ItemId, Ledger, Refusal, Token, Write};
use dishrack_core::pool::restart::RestartCounts;
use dishrack_core::shared::Shared;

slotmap::new_key_type! {
    /// The key of an async task in a `get`.
    pub(crate) struct WakerKey;

    /// The key of a caller that waits for an item's end.
    pub(super) struct EndWaitKey;
}

/// The wait for an item's end.
#[derive(Debug)]
pub(super) struct EndWait {
    pub(super) id: ItemId,
    /// The item's delivery, as far as it is known.
    pub(super) token: Option<Token>,
}

/// Makes a name of an item's bytes, for events.
pub(crate) type NameItems = Arc<dyn Fn(&[u8]) -> String + Send + Sync>;

pub(crate) struct Core {
    pub(crate) dispatcher: Dispatcher<Envelope, Product>,
    pub(crate) emitter: Emitter,
    pub(super) storage: Storage,
    pub(crate) restarts: RestartCounts,
    /// Threads asleep in `put`.
    pub(super) putters: usize,
    /// Threads asleep until loops have given back what they have in advance.
    pub(super) recallers: usize,
    /// Threads asleep in `join`.
    pub(super) joiners: usize,
    /// Threads that wait until their puts are durable.
    pub(super) syncers: usize,
    /// The reason why the store or stream has failed, or the bug that was found.
    pub(super) failure: Option<String>,
    /// Dropped when a bug is found, for those who wait for something else.
    pub(super) soundness: Option<Sender<()>>,
    /// Tasks asleep in an async `get`.
    pub(super) wakers: SlotMap<WakerKey, Waker>,
    /// Threads asleep until an item has its end.
    pub(super) end_waits: SlotMap<EndWaitKey, EndWait>,
    /// True if callers of `put` and `join` do the work.
    pub(super) has_inline: bool,
    pub(super) attachments: SecondaryMap<HolderId, Attachment>,
    pub(super) mailboxes: Mailboxes,
    /// The number of processors; 0 where polling is forbidden.
    pub(super) processors: usize,
    /// True if the thread that reads workers just now will soon do so again.
    pub(super) comes_by: bool,
    /// The number of puts that had no effect at once, since the workers were last looked at.
    pub(super) puts_quiet: usize,
    /// The number of items that observers know to be put.
    pub(super) puts_told: u64,
    /// Workers that items wait for, and their progress when that was noted.
    pub(super) relied_on: Vec<Reliance>,
    /// The number of workers of this process that have a board.
    pub(super) locals: usize,
    /// True if one of them may have stored what nobody has been asked to look at.
    pub(super) awaits_locals: bool,
    /// Workers that wrote more than was read in one go.
    pub(super) unread: Vec<HolderId>,
    pub(super) record: Vec<u8>,
    /// Links with something to send.
    pub(super) unsent: VecDeque<HolderId>,
    /// The first rules by which items are in an order.
    pub(crate) order_rules: Option<ItemRules>,
    /// The doorbell of the thread that reads the machine's room, where items wait for that.
    pub(super) room_reader: Option<Sender<()>>,
    /// The call for the thread that carries tokens, if items need them.
    pub(super) token_carrier: Option<Arc<EventFd>>,
    /// The number of times that workers began to need tokens.
    pub(super) token_needs: u64,
    /// Workers that have nothing, and whose overseers are to be told when they are given something.
    pub(super) without_work: SecondaryMap<HolderId, ()>,
    /// Workers that have something to do and sleep; who releases the lock wakes them.
    pub(super) sleepers: Vec<Arc<dyn Sleeper>>,
    /// True if there was a sleeping worker since a caller last polled.
    pub(super) has_woken: bool,
    name_items: Option<NameItems>,
    pub(super) comparison: Option<Arc<Comparison>>,
    /// The workers that are there or will be, of all pools.
    pub(super) workers: usize,
    /// Copies that came to another result than the one that counts, oldest first.
    pub(super) disagreements: VecDeque<Disagreement>,
    /// The reason why nothing that is left can end with these workers, if that is so.
    pub(super) lack: Option<String>,
    pub(super) doorbells: Arc<Doorbells>,
    pub(super) timer: Timer,
    pub(super) writer: WriterDoorbell,
    writer_state: WriterState,
    /// True while a caller that puts is to carry out what follows from a write.
    pub(super) has_unfollowed_write: bool,
    pub(super) traffic: Traffic,
    /// The times of attempts and puts, while somebody may ask for them.
    pub(super) times: Option<RunTimes>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("counts", &self.dispatcher.ledger.counts())
            .finish_non_exhaustive()
    }
}

/// The state of a journal's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriterState {
    /// It writes, or sleeps until it is called.
    Idle,
    /// It was called, and has not come yet.
    Called,
    /// It lets more gather for the next write.
    Resting,
}

/// The next step of a journal's thread.
#[derive(Debug)]
pub(super) enum NextWrite {
    /// It makes this durable.
    Now(Write<Envelope>),
    /// It comes again a moment later.
    Later,
    /// It waits until it is called.
    Nothing,
}

impl Core {
    pub(super) fn new(
        ledger: Ledger<Envelope, Product>,
        storage: Storage,
        timer: Timer,
        (writer, soundness): (WriterDoorbell, Sender<()>),
    ) -> Self {
        Core {
            puts_told: ledger.accepted(),
            dispatcher: Dispatcher::new(ledger),
            emitter: Emitter::new(),
            storage,
            restarts: RestartCounts::default(),
            putters: 0,
            recallers: 0,
            joiners: 0,
            syncers: 0,
            failure: None,
            soundness: Some(soundness),
            wakers: SlotMap::with_key(),
            end_waits: SlotMap::with_key(),
            has_inline: false,
            attachments: SecondaryMap::new(),
            mailboxes: Mailboxes::default(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            comes_by: false,
            order_rules: None,
            puts_quiet: 0,
            relied_on: Vec::new(),
            locals: 0,
            awaits_locals: false,
            unread: Vec::new(),
            record: Vec::new(),
            unsent: VecDeque::new(),
            room_reader: None,
            token_carrier: None,
            token_needs: 0,
            without_work: SecondaryMap::new(),
            sleepers: Vec::new(),
            has_woken: false,
            name_items: None,
            comparison: None,
            workers: 0,
            disagreements: VecDeque::new(),
            lack: None,
            doorbells: Arc::default(),
            timer,
            writer,
            writer_state: WriterState::Idle,
            has_unfollowed_write: false,
            traffic: Traffic::default(),
            times: None,
        }
    }

    /// Accepts items from the front until one is refused or none is left. Returns those that were
    /// accepted, and the reason for which the next one was not.
    pub(super) fn try_put_many(
        &mut self,
        batch: &mut VecDeque<Envelope>,
        is_beyond_bound: bool,
    ) -> (Option<Accepted>, Result<(), Kind>) {
        let mut accepted: Option<Accepted> = None;
        while let Some(first) = batch.front() {
            if let Err(kind) = self.check_put(first, is_beyond_bound) {
                return (accepted, Err(kind));
            }
            let is_small_enough = |one: &&Envelope| self.storage.limit_size(one.body.len()).is_ok();
            let fitting = match self.dispatcher.ledger.has_relations() {
                true => 1,
                false => batch.iter().take_while(is_small_enough).count(),
            };
            let before = batch.len();
            let last = self.dispatcher.accept_many(batch, fitting, is_beyond_bound);
            // No other caller can put meanwhile, so the numbers follow each other.
            let count = (before - batch.len()) as u64;
            let first = accepted.map_or(ItemId(last.0 + 1 - count), |accepted| accepted.first);
            accepted = Some(Accepted { first, last });
        }
        (accepted, Ok(()))
    }

    /// Checks that an item is accepted now.
    pub(super) fn check_put(
        &mut self,
        envelope: &Envelope,
        is_beyond_bound: bool,
    ) -> Result<(), Kind> {
        self.check_size(envelope.body.len())?;
        self.look_for_room();
        if let Some(refusal) = self.dispatcher.refusal(is_beyond_bound) {
            return Err(self.kind_of(refusal));
        }
        match self.dispatcher.ledger.has_relations() {
            true => self.check_relations(envelope),
            false => Ok(()),
        }
    }

    #[cold]
    fn check_relations(&mut self, envelope: &Envelope) -> Result<(), Kind> {
        // Keys that others had may be free by now.
        self.note_time();
        let checked = self.dispatcher.ledger.check_relations(envelope);
        checked.map_err(|refusal| self.kind_of(refusal))
    }

    /// Looks whether there is room by now, if there seems to be none: what a loop takes of the items
    /// that it has in advance it says only on its scoreboard.
    pub(super) fn look_for_room(&mut self) {
        if !self.dispatcher.ledger.has_room() {
            self.note_begun_by_all();
        }
    }

    /// Notes what all loops have begun by now.
    pub(super) fn note_begun_by_all(&mut self) {
        if !self.dispatcher.ledger.has_prefetched() {
            return;
        }
        for (holder, attachment) in &self.attachments {
            if let Some(uplink) = &attachment.uplink {
                let begun = uplink.ring_pair.board().begun();
                self.dispatcher.ledger.handle_begun(holder, begun);
            }
        }
    }

    /// Checks that the store can keep an item of this size.
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), Kind> {
        self.storage
            .limit_size(bytes)
            .map_err(|refusal| self.kind_of(refusal))
    }

    /// Converts a refusal into the error for callers in this process.
    pub(super) fn kind_of(&self, refusal: Refusal) -> Kind {
        Kind::of(refusal, self.why(refusal))
    }

    /// Returns the reason of a failure that a refusal reports.
    pub(super) fn why(&self, refusal: Refusal) -> &str {
        match refusal {
            Refusal::NoWorkersLeft { .. } => match &self.lack {
                Some(lack) => lack,
                None => self.dispatcher.loss_of_pools(),
            },
            Refusal::JournalFailed | Refusal::StreamFailed | Refusal::Inconsistent => {
                self.failure.as_deref().unwrap_or_default()
            }
            Refusal::NotTaken => {
                let shared = self.dispatcher.shared.as_ref();
                shared.map_or("", |shared| &shared.refusal)
            }
            Refusal::Full
            | Refusal::Empty
            | Refusal::Closed
            | Refusal::TimedOut { .. }
            | Refusal::WaitsForItself
            | Refusal::UnknownItem(_)
            | Refusal::DeadItem(_)
            | Refusal::Duplicate { .. }
            | Refusal::TooLarge { .. } => "",
        }
    }

    pub(super) fn try_get(&mut self) -> Option<LocalDelivery> {
        self.note_time();
        let handed = self.dispatcher.get()?;
        if self.emitter.wants_items() {
            self.report_started(handed.token, None);
        }
        let envelope = self.dispatcher.ledger.payload(handed.token)?;
        Some(LocalDelivery::new(&handed, &envelope.body, true))
    }

    /// Asks loops for what they have in advance, for a `get` that does not wait and finds nothing.
    /// Returns `true` if there may be something.
    pub(super) fn recall_ahead(&mut self) -> bool {
        self.note_begun_by_all();
        if self.dispatcher.shared.is_some() || !self.dispatcher.ledger.handle_nothing_left() {
            return false;
        }
        self.pump();
        true
    }

    pub(super) fn end_of_gets(&self) -> Option<Kind> {
        let end = self.dispatcher.end_of_gets()?;
        Some(self.kind_of(end))
    }

    /// Returns `true` if the stream has been searched in vain for this `get`, since this was first
    /// asked. Without a stream, items are nowhere else.
    pub(super) fn was_searched_for(&mut self, query: &mut Option<u64>) -> bool {
        let Some(shared) = &mut self.dispatcher.shared else {
            return true;
        };
        let is_new = query.is_none();
        let query = *query.get_or_insert_with(|| shared.queries.ask());
        let is_over = shared.queries.is_answered(query) || shared.is_away;
        if is_new {
            self.pump();
        }
        is_over || self.dispatcher.ledger.is_broken()
    }

    /// Returns `true` if the state of the stream for this question is not known yet.
    pub(super) fn is_to_refresh(&self, question: u64) -> bool {
        let shared = self.dispatcher.shared.as_ref();
        let is_asked =
            |shared: &Shared<Envelope>| !shared.is_left && !shared.refreshes.is_answered(question);
        let is_open = shared.is_some_and(is_asked);
        is_open && !self.dispatcher.ledger.is_broken()
    }

    /// Returns the number of items that no holder has taken, `true` if there is no room, and `true`
    /// if the queue is closed.
    pub(super) fn state(&mut self) -> (usize, bool, bool) {
        self.note_begun_by_all();
        let ledger = &self.dispatcher.ledger;
        let (elsewhere, is_full) = match &self.dispatcher.shared {
            None => (0, !ledger.has_room()),
            Some(shared) => {
                let untaken = usize::try_from(shared.stream_state.untaken).unwrap_or(usize::MAX);
                (
                    untaken,
                    ledger.bound().is_some_and(|bound| untaken >= bound),
                )
            }
        };
        (ledger.len() + elsewhere, is_full, ledger.is_closed())
    }

    /// Notes a getter, which is a taker in a rendezvous, so a putter may go on.
    pub(super) fn getter_waits(&mut self, is_waiting: bool) {
        self.dispatcher.local_waits(is_waiting);
        if is_waiting && self.putters > 0 && self.dispatcher.ledger.has_room() {
            self.doorbells.room.notify_all();
        }
        if is_waiting {
            self.ring_for_stream();
        }
    }

    /// Notes that a caller begins to wait for the end. It may have paused, and the thread that
    /// listens for it may have gone to sleep meanwhile.
    pub(super) fn joiner_waits(&mut self) {
        self.joiners += 1;
        self.ring_for_stream();
        self.catch_up();
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

    /// Returns the result of a `join` that waits for the answer to this question, if it ends now.
    pub(super) fn join_state(&self, question: u64) -> Option<Result<(u64, u64), Kind>> {
        let end = self.dispatcher.join_state(question)?;
        Some(end.map_err(|refusal| self.kind_of(refusal)))
    }

    pub(super) fn failed(&self) -> Kind {
        self.kind_of(self.dispatcher.failure())
    }

    /// Returns the reason why the items that were put will have no end: the workers are gone, if
    /// there were some, or the journal has failed.
    pub(super) fn loss(&self) -> Option<Kind> {
        if self.dispatcher.ledger.is_broken() {
            return Some(self.failed());
        }
        let is_lost = self.dispatcher.are_workers_lost() && !self.dispatcher.is_served_elsewhere();
        (is_lost || self.lack.is_some()).then(|| {
            let unfinished = self.dispatcher.unfinished();
            self.kind_of(Refusal::NoWorkersLeft { unfinished })
        })
    }

    /// Returns the reason why nothing more comes into this mailbox, if that is so.
    pub(super) fn loss_of(&self, key: MailboxKey) -> Option<Kind> {
        let words = "the stream has nothing of it any more: it was deleted there, or is lost";
        let is_cut_off = self.mailboxes.is_cut_off(key);
        let cut_off = || is_cut_off.then(|| Kind::of(Refusal::StreamFailed, words));
        self.loss().or_else(cut_off)
    }

    /// Notes that a supervisor began, with this many workers.
    pub(crate) fn pool_began(&mut self, workers: usize) {
        self.timer.start();
        self.dispatcher.pool_began();
        self.workers_change(workers, 0);
    }

    /// Notes that a supervisor has no workers left, and why; `is_spent` if they were given up on.
    pub(crate) fn pool_ended(&mut self, why: &str, is_spent: bool) {
        let is_lost = self.dispatcher.pool_ended(why, is_spent);
        if self.dispatcher.are_workers_lost() {
            let now = self.emitter.now();
            self.dispatcher.ledger.handle_unstoppable(now);
        }
        if is_lost {
            let why = why.to_owned();
            self.emitter.emit(EventKind::NoWorkersLeft { why });
        }
        self.wake_all();
    }

    pub(crate) fn close(&mut self) {
        self.dispatcher.ledger.handle_close();
        if let Some(shared) = &mut self.dispatcher.shared {
            // The fetcher takes until the stream has nothing left.
            shared.queries.ask();
        }
        self.wake_all();
    }

    pub(crate) fn wake_all(&mut self) {
        self.doorbells.notify_all();
        self.mailboxes.notify_all();
        self.wakers.values().for_each(Waker::wake_by_ref);
    }

    pub(crate) fn set_name_items(&mut self, name_items: NameItems) {
        self.name_items = Some(name_items);
    }

    pub(super) fn name_items(&self) -> Option<NameItems> {
        self.name_items.clone()
    }

    pub(super) fn name(&self, id: ItemId, envelope: &Envelope) -> String {
        match &self.name_items {
            Some(name_items) => name_items(&envelope.body),
            None => format!("item-{id}"),
        }
    }

    pub(super) fn attach(
        &mut self,
        attachment: Attachment,
        credit: Option<Credit>,
        quota: u64,
    ) -> HolderId {
        let holder = self.dispatcher.ledger.handle_join(credit, quota);
        self.emitter.emit(EventKind::WorkerStarted {
            worker: Arc::clone(&attachment.worker),
            pid: attachment.pid,
        });
        self.locals += usize::from(attachment.local.is_some());
        self.attachments.insert(holder, attachment);
        holder
    }

    pub(super) fn ask_to_stop(&mut self, holder: HolderId) {
        self.dispatcher.stop(holder);
        if let Some(attachment) = self.attachments.get_mut(holder) {
            attachment.link.ask_to_stop();
            self.unsent.push_back(holder);
        }
        self.recall(holder);
    }

    /// Returns `true` if the journal's thread has something to do now.
    pub(super) fn is_writer_wanted(&self) -> bool {
        // A stream's thread is called by `ring_for_stream`.
        let is_stream = self.dispatcher.shared.is_some();
        match self.writer_state {
            WriterState::Called => false,
            WriterState::Idle => !is_stream && self.dispatcher.ledger.has_write(),
            WriterState::Resting => self.dispatcher.is_write_due(self.syncers > 0),
        }
    }

    /// Calls the journal's thread, if it has something to do now.
    pub(super) fn ring_for_writer(&mut self) {
        if self.is_writer_wanted() {
            self.writer_state = WriterState::Called;
            self.writer.ring();
        }
    }

    /// Returns the next write. If `may_rest` is set and it is not due, the journal's thread is to
    /// come again a moment later, or when it is called.
    pub(super) fn next_write(&mut self, may_rest: bool) -> NextWrite {
        let is_due = !may_rest || self.dispatcher.is_write_due(self.syncers > 0);
        if !is_due && self.dispatcher.ledger.has_write() {
            self.writer_state = WriterState::Resting;
            return NextWrite::Later;
        }
        self.writer_state = WriterState::Idle;
        let write = self.dispatcher.ledger.poll_write();
        write.map_or(NextWrite::Nothing, NextWrite::Now)
    }

    /// Notes that a write is durable, or cannot be. Returns the next one, if there is one.
    pub(super) fn written(
        &mut self,
        number: u64,
        result: Result<(), StoreError>,
        may_rest: bool,
    ) -> NextWrite {
        if self.syncers > 0 {
            self.doorbells.durable.notify_all();
        }
        match result {
            Ok(()) => self.dispatcher.ledger.handle_written(number),
            Err(failure) => self.break_off(failure.to_string()),
        }
        self.next_write(may_rest)
    }

    /// Accepts and tells nothing more.
    pub(super) fn break_off(&mut self, why: String) {
        if self.failure.is_some() {
            return;
        }
        self.failure = Some(why.clone());
        self.dispatcher.ledger.handle_write_failed();
        self.wake_all();
        self.emitter.emit(EventKind::JournalFailed { why });
    }

    /// Ends the thread that writes, once it has heard all earlier calls.
    pub(super) fn end_writer(&mut self) {
        self.writer = WriterDoorbell::channel().0;
    }
}
