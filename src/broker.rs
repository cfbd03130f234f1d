//! The broker: owns the ledger, and alone carries its decisions out.
//!
//! There is no broker thread. A thread that has news (a caller of `put`, a reader thread with a
//! worker's acknowledgements) takes the lock, tells the ledger, carries out the decisions and
//! releases the lock, so an item reaches an idle worker within the call that put it. Nothing that
//! is done with the lock held may block; links promise that. Threads sleep on doorbells, and look
//! for a while at what workers write before they do.

mod activities;
mod admission;
mod alone;
mod answer;
mod attachment;
pub(crate) mod bars;
pub(crate) mod clients;
mod committer;
pub(crate) mod consumers;
mod copies;
mod core;
pub(crate) mod current;
mod doorbells;
mod ends;
mod gets_many;
mod items;
mod limits;
mod locals;
mod mailboxes;
mod monitor;
mod outcomes;
mod pauses;
mod poll;
mod product;
mod pump;
mod puts;
mod puts_many;
mod reports;
mod requests;
#[cfg(feature = "cli")]
mod runs;
pub(crate) mod stream;
mod timer;
mod times;
mod tokens;
mod traffic;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;

pub(crate) use self::activities::CurrentItem;
use self::alone::Recheck;
pub(crate) use self::answer::{Accepted, PutAnswer, PutTicket};
pub(crate) use self::attachment::{Attachment, Overseer};
use self::consumers::Joining;
pub(crate) use self::copies::NONE_ON_A_STREAM;
pub(crate) use self::core::{Core, NameItems, WakerKey};
use self::doorbells::WriterDoorbell;
pub(crate) use self::limits::{ItemRules, Saying};
pub(crate) use self::mailboxes::ItemEnd;
pub(crate) use self::monitor::ThreadGuard;
use self::monitor::{CoreGuard, Monitor, sleep, with_guard};
pub use self::product::Disagreement;
pub(crate) use self::product::{Comparison, Product};
use self::timer::Timer;
pub(crate) use self::tokens::TokenNeed;
use crate::error::Kind;
use crate::fail;
use crate::link::LocalDelivery;
use crate::observe::Observer;
use crate::payload::Payload;
pub(crate) use crate::payload::envelope::{Envelope, MailboxKey, ReplyTo};
use crate::protocol::peer_error::PeerError;
use crate::protocol::scoreboard::Scoreboard;
use crate::store::{Storage, Store, StoreError};
pub(crate) use crate::sys::clock::Deadline;
use crate::sys::clock::RECALL;
use dishrack_core::ledger::{
    Blame, Counts, Credit, Finding, Handed, HolderId, ItemId, LastWords, Ledger, Options, Outcome,
    Recovered, Refusal, Started, Token,
};

/// The work done in the thread that puts or joins, where there are no workers.
pub(crate) struct Inline {
    pub(crate) drive: Box<dyn Fn() + Send + Sync>,
    pub(crate) has_work: Box<dyn Fn(&Core) -> bool + Send + Sync>,
}

pub(crate) struct Broker {
    /// The number of this queue within its process.
    pub(crate) id: u64,
    monitor: Arc<Monitor>,
    /// Disconnected when a bug is found.
    bugs: Receiver<()>,
    inline: OnceLock<Inline>,
    pub(crate) storage: Storage,
    committer: OnceLock<JoinHandle<()>>,
    /// True if there are worker processes, or will be: large items are put where they can read
    /// them.
    shares_memory: AtomicBool,
    /// True if an observer wants the events of single items.
    reports_items: AtomicBool,
    /// True while a thread polls; one at a time does.
    is_polling: AtomicBool,
    /// Held while dead letters are tried again, or looked for: meanwhile an item is neither with the
    /// backend nor in the ledger.
    letters: Mutex<()>,
    /// The need of workers for tokens, if there is one.
    token_need: Mutex<Weak<TokenNeed>>,
    /// The number of sockets at which programs may attach, and take items.
    doors: AtomicUsize,
    /// The stream that has the items, if several supervisors share them.
    stream: OnceLock<stream::Channel>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Makes a queue that ends with this process.
    pub(crate) fn new(options: Options) -> Arc<Self> {
        let (writer, _) = WriterDoorbell::channel();
        let storage = Storage::Memory(Arc::default());
        Self::with_storage(Ledger::new(options), storage, writer)
    }

    /// Makes a queue whose items outlive this process.
    pub(crate) fn durable(
        options: Options,
        store: Arc<dyn Store>,
        recovered: Recovered<Envelope>,
    ) -> Result<Arc<Self>, Kind> {
        let (writer, calls) = WriterDoorbell::channel();
        let ledger = Ledger::resume(options, recovered);
        let storage = Storage::Local(Arc::clone(&store));
        let broker = Self::with_storage(ledger, storage, writer);
        let thread = committer::start(Arc::clone(&broker.monitor), store, calls)?;
        // The broker was just made, so it has none.
        let _ = broker.committer.set(thread);
        Ok(broker)
    }

    fn with_storage(
        ledger: Ledger<Envelope, Product>,
        storage: Storage,
        writer: WriterDoorbell,
    ) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let (soundness, bugs) = bounded(0);
        let monitor = Arc::new_cyclic(|weak: &Weak<Monitor>| {
            let weak = weak.clone();
            let timer = Timer::new(Arc::new(move || {
                let monitor = weak.upgrade();
                monitor.is_some_and(|monitor| {
                    monitor.with_or_end(|core| with_guard(core, Core::tick));
                    true
                })
            }));
            let bells = (writer, soundness);
            Monitor::new(Core::new(ledger, storage.clone(), timer, bells))
        });
        Arc::new(Broker {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            monitor,
            bugs,
            inline: OnceLock::new(),
            storage,
            committer: OnceLock::new(),
            shares_memory: AtomicBool::new(false),
            reports_items: AtomicBool::new(false),
            is_polling: AtomicBool::new(false),
            letters: Mutex::default(),
            token_need: Mutex::default(),
            doors: AtomicUsize::new(0),
            stream: OnceLock::new(),
        })
    }

    fn lock(&self) -> CoreGuard<'_> {
        self.monitor.lock()
    }

    /// Takes the lock, and sees what workers of this process have done by now.
    fn lock_seeing(&self) -> CoreGuard<'_> {
        let mut core = self.lock();
        if core.drain_locals() {
            core.pump();
        }
        core
    }

    /// Takes the lock, runs `act`, and carries out what follows from it.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Core) -> R) -> R {
        self.monitor.with(act)
    }

    /// Takes the next item for a thread of this process.
    pub(crate) fn get(&self, deadline: Deadline) -> Result<LocalDelivery, Kind> {
        let (mut core, job) = self.await_item(deadline)?;
        core.pump();
        Ok(job)
    }

    /// Waits for the next item for a thread of this process, and takes it. A handler
    /// that runs inline does not wait, because nobody else would put anything.
    fn await_item(&self, deadline: Deadline) -> Result<(CoreGuard<'_>, LocalDelivery), Kind> {
        let is_alone = self.has_inline() && current::holds(self);
        let mut core = self.lock();
        let mut is_over = is_alone || matches!(deadline, Deadline::None);
        let (mut query, mut recall) = (None, None);
        loop {
            if current::is_to_end() {
                return Err(Refusal::Closed.into());
            }
            if let Some(job) = core.try_get() {
                return Ok((core, job));
            }
            if let Some(end) = core.end_of_gets() {
                return Err(end);
            }
            let is_recalling = is_over && !is_alone && is_recalling(&mut core, &mut recall);
            if is_over && !is_recalling && core.was_searched_for(&mut query) {
                let refusal = match is_alone {
                    true => Refusal::Closed,
                    false => Refusal::Empty,
                };
                return Err(refusal.into());
            }
            let deadline = match recall {
                Some(until) if is_recalling => Deadline::Until(until),
                _ if is_over => Deadline::Forever,
                _ => deadline,
            };
            core.getter_waits(true);
            let leaves = query.filter(|_| is_over);
            if let Some(query) = leaves {
                core.dispatcher.local_leaves(query);
            }
            core.recallers += usize::from(is_recalling);
            let (guard, is_late) = sleep(&self.monitor.doorbells.items, core, deadline);
            is_over |= is_late;
            core = guard;
            core.recallers -= usize::from(is_recalling);
            if leaves.is_none_or(|query| core.dispatcher.local_stays(query)) {
                core.getter_waits(false);
            }
        }
    }

    /// Takes the next item for an async task, as [`get`](Self::get) does, or keeps its waker.
    pub(crate) fn poll_get(
        &self,
        waiting: &mut Option<WakerKey>,
        waker: &Waker,
    ) -> Option<Result<LocalDelivery, Kind>> {
        let mut core = self.lock();
        core.forget_waker(waiting.take());
        let found = match current::is_to_end() {
            true => Some(Err(Refusal::Closed.into())),
            false => core.try_get().map(Ok),
        };
        let found = match found {
            None => core.end_of_gets().map(Err),
            found => found,
        };
        if found.is_none() {
            *waiting = Some(core.keep_waker(waker.clone()));
        }
        core.pump();
        found
    }

    pub(crate) fn forget_waker(&self, waiting: Option<WakerKey>) {
        self.with(|core| core.forget_waker(waiting));
    }

    /// Waits until every accepted item is settled. Returns the numbers of done and dead items.
    pub(crate) fn join(&self, deadline: Deadline) -> Result<(u64, u64), Kind> {
        fail::point("join: begin");
        let _joining = Joining::begin(self);
        let (mut has_polled, mut recheck) = (false, Recheck::begin());
        let question = self.begin_refresh();
        loop {
            self.drive_inline();
            let mut core = self.lock_seeing();
            if let Some(end) = core.join_state(question) {
                fail::point("join: end");
                return end;
            }
            if let Deadline::Until(deadline) = deadline
                && Instant::now() >= deadline
            {
                if core.is_to_refresh(question) && !core.dispatcher.is_away() {
                    core.joiner_waits();
                    core = sleep(&self.monitor.doorbells.settled, core, Deadline::Forever).0;
                    core.joiners -= 1;
                    continue;
                }
                let unfinished = core.dispatcher.unfinished();
                return Err(Refusal::TimedOut { unfinished }.into());
            }
            if self.has_inline_work(&core) {
                continue;
            }
            if !std::mem::replace(&mut has_polled, true) {
                drop(self.poll(core));
            } else {
                let deadline = self.limit_of_wait(&core, deadline, &mut recheck)?;
                core.joiner_waits();
                let mut core = sleep(&self.monitor.doorbells.settled, core, deadline).0;
                core.joiners -= 1;
            }
        }
    }

    /// Asks for the state of the stream, if there is one, and returns the number of the question.
    fn begin_refresh(&self) -> u64 {
        if self.is_shared() {
            return self.with(|core| core.dispatcher.ask_refresh());
        }
        0
    }

    pub(crate) fn settle(
        &self,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Kind> {
        self.with(|core| core.settle(token, service, outcome))
            .map_err(|_| Kind::Stale)
    }

    /// Begins a worker's work on a delivery, in this process. Returns `false` if it was cancelled.
    pub(crate) fn begin(&self, token: Token) -> bool {
        let core = self.lock();
        if core.dispatcher.ledger.handed(token).is_none() {
            drop(core);
            // Nothing is settled by this; it only frees the worker.
            let _ = self.settle(token, Duration::ZERO, Outcome::Returned);
            return false;
        }
        if core.emitter.wants_items() {
            core.report_started(token, None);
        }
        true
    }

    /// Makes the error that the kept items cannot be read or changed just now, for this reason.
    pub(crate) fn inaccessible(&self, failure: &StoreError) -> Kind {
        let why = failure.to_string();
        match self.lock().dispatcher.shared {
            Some(_) => Kind::of(Refusal::StreamFailed, why),
            None => Kind::JournalAccess(why),
        }
    }

    pub(crate) fn drop_dead(&self, id: ItemId) -> Result<bool, Kind> {
        let _letters = self.letters.lock();
        let dropped = self.storage.backend().drop_dead(id);
        dropped.map_err(|failure| self.inaccessible(&failure))
    }

    pub(crate) fn revive(&self, id: ItemId) -> Result<bool, Kind> {
        let _letters = self.letters.lock();
        let found = self.storage.backend().revive(id);
        let found = found.map_err(|failure| self.inaccessible(&failure));
        let Some(letter) = found? else {
            return Ok(false);
        };
        let envelope = Envelope::of(Payload::copy_of(&letter.payload));
        let letter = letter.with_payload(envelope);
        self.with(|core| {
            // An item of a stream comes from there, as all others do.
            if core.dispatcher.shared.is_none() {
                core.dispatcher.ledger.handle_revive(letter);
            }
        });
        Ok(true)
    }

    /// Returns the mark of processes that work for this journal's items, if it must outlive this
    /// process.
    pub(crate) fn process_mark(&self) -> Option<u128> {
        self.storage.local()?.process_mark()
    }

    /// Puts large items into shared memory from now on, because there will be worker processes.
    pub(crate) fn share_memory(&self) {
        self.shares_memory.store(true, Ordering::Relaxed);
    }

    pub(crate) fn forbid_polling(&self) {
        self.lock().processors = 0;
    }

    pub(crate) fn shares_memory(&self) -> bool {
        self.shares_memory.load(Ordering::Relaxed)
    }

    /// Adds a worker, which gets at most this many deliveries. Without credit it gets items only by
    /// asking.
    pub(crate) fn attach(
        &self,
        attachment: Attachment,
        credit: Option<Credit>,
        quota: u64,
    ) -> HolderId {
        self.with(|core| core.attach(attachment, credit, quota))
    }

    /// Reads what a worker process has written. An error ends that worker.
    pub(crate) fn drain(&self, holder: HolderId) -> Result<(), PeerError> {
        self.with(|core| core.drain(holder))
    }

    /// Asks a worker to finish what it has started, and hands it nothing more.
    pub(crate) fn ask_to_stop(&self, holder: HolderId) {
        self.with(|core| core.ask_to_stop(holder));
    }

    /// Removes a worker that is gone. Returns the number of items charged with its death.
    pub(crate) fn detach(
        &self,
        holder: HolderId,
        started: Started,
        blame: Option<&Blame>,
    ) -> usize {
        self.with(|core| core.detach(holder, started, blame))
    }

    /// Determines what a worker process that has ended had started, after all that it wrote is
    /// read.
    pub(crate) fn weigh(&self, holder: HolderId, board: &Scoreboard) -> Finding {
        let mut core = self.lock();
        let is_garbled = core.drain(holder).is_err();
        let words = board.last_words();
        core.dispatcher.ledger.weigh(
            holder,
            LastWords {
                is_garbled: is_garbled || words.is_garbled,
                ..words
            },
        )
    }

    pub(crate) fn name_of_started(&self, holder: HolderId, started: Started) -> Option<String> {
        let core = self.lock();
        let find = |ordinal| core.dispatcher.ledger.handed_as(holder, ordinal);
        let handed: Handed = find(started.current).or_else(|| find(started.begun))?;
        core.name_of(handed.token)
    }

    pub(crate) fn set_observer(&self, observer: Arc<dyn Observer>) {
        let mut core = self.lock();
        core.emitter.set_observer(observer);
        self.note_wishes(&core);
        core.tell_unheard();
        core.tell_contradiction();
    }

    /// Tells one more of every event, until it is removed.
    pub(crate) fn add_listener(&self, listener: Arc<dyn Observer>) {
        let mut core = self.lock();
        core.emitter.add_listener(listener);
        self.note_wishes(&core);
    }

    pub(crate) fn remove_listener(&self, listener: &Arc<dyn Observer>) {
        let mut core = self.lock();
        core.emitter.remove_listener(listener);
        self.note_wishes(&core);
    }

    fn note_wishes(&self, core: &Core) {
        let wants_items = core.emitter.wants_items();
        self.reports_items.store(wants_items, Ordering::Relaxed);
    }

    /// Sets the work that callers of `put` and `join` do from now on.
    pub(crate) fn set_inline(&self, inline: Inline) -> Result<(), Kind> {
        self.inline
            .set(inline)
            .map_err(|_| Kind::invalid("inline", "this queue has an inline worker already"))?;
        self.lock().has_inline = true;
        Ok(())
    }

    fn drive_inline(&self) {
        if let Some(inline) = self.inline.get() {
            (inline.drive)();
        }
    }

    /// Returns `true` if there is inline work. It is asked with the lock held, before a sleep,
    /// because items that came since the last drive must not wait for a sleeper.
    fn has_inline_work(&self, core: &Core) -> bool {
        self.inline
            .get()
            .is_some_and(|inline| (inline.has_work)(core))
    }

    pub(crate) fn has_inline(&self) -> bool {
        self.inline.get().is_some()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock_seeing().dispatcher.ledger.counts()
    }

    /// Returns the places of all accepted items, here and elsewhere.
    pub(crate) fn counts_in_all(&self) -> Result<Counts, Kind> {
        if self.is_shared() {
            return self.counts_of_stream();
        }
        Ok(self.counts())
    }

    /// Returns the number of items that no holder has taken, `true` if there is no room, and `true`
    /// if the queue is closed.
    pub(crate) fn state(&self) -> (usize, bool, bool) {
        if self.is_shared() {
            // If the stream cannot be asked, the known state must do.
            let _ = self.refresh();
        }
        self.lock_seeing().state()
    }

    /// Returns what ends this queue after a panic in a thread that it cannot do without.
    pub(crate) fn guard(&self) -> ThreadGuard {
        ThreadGuard::of(Arc::downgrade(&self.monitor))
    }

    /// Returns what is disconnected when a bug is found. From then on nothing is done for those who wait.
    pub(crate) fn bugs(&self) -> &Receiver<()> {
        &self.bugs
    }

    /// Returns the bug that was found.
    pub(crate) fn bug(&self) -> Kind {
        self.lock().failed()
    }

    /// Looks at the core without changing it.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Core) -> R) -> R {
        look(&self.lock())
    }

    /// Returns `true` if callers get through within this time.
    pub(crate) fn is_free_within(&self, time: Duration) -> bool {
        self.monitor.is_free_within(time)
    }
}

impl Drop for Broker {
    /// Ends the journal's thread, which writes what is left. After that the journal has no user.
    fn drop(&mut self) {
        self.forget_address();
        self.leave_stream();
        let Some(thread) = self.committer.take() else {
            return;
        };
        self.lock().end_writer();
        // An observer that has the last handle may be called by the journal's thread itself.
        if thread.thread().id() != std::thread::current().id() {
            // A panic there was a bug of this crate, and was reported.
            let _ = thread.join();
        }
        if let Some(store) = self.storage.local() {
            committer::write_all(&self.monitor, store, None);
            // There is no caller left to tell.
            let _ = store.close();
        }
    }
}

/// Returns `true` as long as a `get` that finds nothing waits for what loops give back.
fn is_recalling(core: &mut Core, until: &mut Option<Instant>) -> bool {
    let until = *until.get_or_insert_with(|| Instant::now() + RECALL);
    Instant::now() < until && core.recall_ahead()
}
