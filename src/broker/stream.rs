//! A queue whose items are in a stream that others share: the calls that wait for it, and the threads
//! that speak with it.
//!
//! Three threads do so, each with its own connection: the *publisher* tells what happened here and puts
//! what is to be put, the *fetcher* takes what is wanted here and renews the lease on it, the *listener*
//! waits for the stream's doorbell while somebody here waits for room or for the end. Callers only leave
//! word with the core, and sleep.

mod fetcher;
mod listener;
mod publisher;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::committer::Committer;
use super::core::Core;
use super::{Broker, Deadline, Envelope, ReplyTo, sleep};
use crate::broker::current;
use crate::error::Kind;
use crate::handler::attempt::message_of;
use crate::observe::EventKind;
use crate::payload::Payload;
use crate::store::Storage;
use crate::store::stream::{Notice, Sent, Stream};
use crate::sys::signals;
use dishrack_core::ledger::{Counts, ItemId, Ledger, Options, Refusal, Token};
use dishrack_core::shared::{Putter, Shared};

/// What is on its way takes so many items at most, and whoever puts without waiting waits for
/// that.
const ON_THE_WAY_MAX: usize = 4096;

/// So often a thread that waits is told that it is over.
const LEAVE_PAUSE: Duration = Duration::from_millis(2);

/// The stream, and who speaks with it.
#[derive(Debug)]
pub(super) struct Channel {
    stream: Arc<dyn Stream>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads of a stream tell each other, under the core's lock.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// The queue is no longer used: all threads end.
    is_leaving: bool,
    /// What came of items, for the next write.
    sent: Vec<Sent>,
    /// What came of every item is told.
    wants_results: bool,
    /// Who waits for what comes of our items, by the number that their entries carry.
    replies: HashMap<u64, ReplyTo>,
    next_reply: u64,
    /// Warnings that nobody has heard yet.
    unheard: Vec<String>,
}

/// So many warnings are kept for whoever begins to listen.
const UNHEARD_MAX: usize = 16;

/// What each thread has.
#[derive(Debug, Clone)]
struct Post {
    core: Arc<Mutex<Core>>,
    stream: Arc<dyn Stream>,
}

impl Post {
    /// Takes the lock, does something, and carries out what follows.
    fn with<R>(&self, act: impl FnOnce(&mut Core) -> R) -> R {
        super::with_or_break_off(&self.core, act, Core::break_off_stream)
    }

    /// The stream has failed for good.
    fn break_off(&self, why: String) {
        super::with(&self.core, |core| core.break_off_stream(why));
    }
}

impl Broker {
    /// A queue over a stream.
    pub(crate) fn over_stream(
        options: Options,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<Self>, Kind> {
        let (committer, calls) = Committer::channel();
        let storage = Storage::Shared(Arc::clone(&stream));
        let broker = Self::with_storage(Ledger::share(options), storage, committer);
        {
            let mut core = broker.lock();
            core.dispatcher.shared = Some(Shared::default());
            core.traffic.wants_results = stream.wants_results();
        }
        let core = Arc::downgrade(&broker.core);
        stream.set_listener(Box::new(move |notice| {
            if let Some(core) = core.upgrade() {
                super::with(&core, |core| core.notice(notice));
            }
        }));
        let post = Post {
            core: Arc::clone(&broker.core),
            stream: Arc::clone(&stream),
        };
        let (taker, hearer, doorbells) =
            (post.clone(), post.clone(), Arc::clone(&broker.doorbells));
        let listeners = Arc::clone(&doorbells);
        let threads = vec![
            start("dishrack-tell", post.clone(), move || {
                publisher::run(&post, &calls)
            })?,
            start("dishrack-fetch", taker.clone(), move || {
                fetcher::run(&taker, &doorbells)
            })?,
            start("dishrack-listen", hearer.clone(), move || {
                listener::run(&hearer, &listeners)
            })?,
        ];
        let threads = Mutex::new(threads);
        // It was just made, so it has none.
        let _ = broker.stream.set(Channel { stream, threads });
        Ok(broker)
    }

    pub(super) fn is_shared(&self) -> bool {
        matches!(self.storage, Storage::Shared(_))
    }

    /// Puts an item on the stream, and waits until that has accepted it.
    pub(super) fn send(
        &self,
        envelope: Envelope,
        deadline: Deadline,
        is_holding: bool,
    ) -> Result<ItemId, Kind> {
        let is_impatient = matches!(deadline, Deadline::None);
        let mut core = self.lock();
        let checked = core.check_size(envelope.body.len());
        checked.map_err(|refusal| core.kind_of(refusal))?;
        core.check_open()?;
        let is_beyond_bound = is_holding && !is_impatient;
        let ticket = core.push(envelope, Putter::Local, is_beyond_bound, is_impatient);
        core.pump();
        // What does not wait for room is told once, and that is waited for.
        let mut deadline = match deadline {
            Deadline::None => Deadline::Forever,
            deadline => deadline,
        };
        loop {
            if let Some(end) = core.end_of_put(ticket) {
                return end;
            }
            if is_late(deadline) {
                // If it is being told just now, or will be, there is an answer.
                core.hurry(ticket);
                core.pump();
                deadline = Deadline::Forever;
                continue;
            }
            core = self.work_or_await(core, deadline, is_holding);
        }
    }

    /// Puts an item on its way to the stream. Waits while too much is on its way.
    pub(super) fn send_unsynced(&self, envelope: Envelope, is_holding: bool) -> Result<(), Kind> {
        let mut core = self.lock();
        let checked = core.check_size(envelope.body.len());
        checked.map_err(|refusal| core.kind_of(refusal))?;
        while core.on_the_way() >= ON_THE_WAY_MAX && !is_holding {
            core.check_open()?;
            core = self.work_or_await(core, Deadline::Forever, is_holding);
        }
        core.check_open()?;
        core.check_lost()?;
        core.push(envelope, Putter::Nobody, is_holding, false);
        core.pump();
        Ok(())
    }

    /// Does what there is to do for whoever works inline, unless he works on an item just now; if
    /// nothing is, sleeps until the publisher has news.
    fn work_or_await<'a>(
        &'a self,
        core: MutexGuard<'a, Core>,
        deadline: Deadline,
        is_holding: bool,
    ) -> MutexGuard<'a, Core> {
        if is_holding || !self.has_inline_work(&core) {
            return self.await_stream(core, deadline);
        }
        drop(core);
        self.drive_inline();
        self.lock()
    }

    /// Sleeps until the publisher has news.
    fn await_stream<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Core> {
        core.syncers += 1;
        let (mut core, _) = sleep(&self.doorbells.durable, core, deadline);
        core.syncers -= 1;
        core
    }

    /// Waits until all that was put so far came to an end.
    pub(super) fn sync_stream(&self) -> Result<(), Kind> {
        let mut core = self.lock();
        let last = core.last_ticket();
        let is_holding = current::holds(self);
        while !core.is_through(last) {
            core.check_kept()?;
            core = self.work_or_await(core, Deadline::Forever, is_holding);
        }
        core.check_kept()?;
        core.check_refusals()
    }

    /// Has it looked how the stream stands now.
    pub(super) fn look(&self) -> Result<(), Kind> {
        let mut core = self.lock();
        let look = core.dispatcher.ask_look();
        core.pump();
        while core.is_to_look(look) {
            core = self.await_stream(core, Deadline::Forever);
        }
        core.check_kept()
    }

    pub(super) fn counts_of_stream(&self) -> Result<Counts, Kind> {
        self.look()?;
        Ok(self.counts_known())
    }

    /// Where all items are, here and elsewhere, as far as is known.
    pub(crate) fn counts_known(&self) -> Counts {
        let core = self.lock();
        let Some(shared) = &core.dispatcher.shared else {
            return core.dispatcher.ledger.counts();
        };
        let stream_state = &shared.stream_state;
        Counts {
            accepted: stream_state.unfinished + stream_state.done + stream_state.dead,
            waiting: stream_state.untaken,
            leased: stream_state.unfinished - stream_state.untaken,
            delayed: 0,
            done: stream_state.done,
            dead: stream_state.dead,
            retries: stream_state.retries,
            // Also what was not even told, as it was known by then whose the item is.
            refused: stream_state.refused + core.dispatcher.ledger.counts().refused,
        }
    }

    /// Ends the threads, tells what is left to tell, and gives back what was not worked on. Whoever
    /// calls this while somebody else does waits for him. Whether there is a stream.
    pub(crate) fn leave_stream(&self) -> bool {
        let Some(channel) = self.stream.get() else {
            return false;
        };
        let mut there = channel.threads.lock();
        let threads = std::mem::take(&mut *there);
        if threads.is_empty() {
            return true;
        }
        {
            let mut core = self.lock();
            core.traffic.is_leaving = true;
            core.end_committer();
            core.wake_all();
        }
        channel.stream.abandon();
        // The word that ends a wait may come before that has begun, so it is said until it is heard.
        while threads
            .iter()
            .any(|thread| !thread.is_finished() && !is_this(thread))
        {
            channel.stream.interrupt();
            channel.stream.hush();
            std::thread::park_timeout(LEAVE_PAUSE);
        }
        for thread in threads {
            // An observer that has the last handle may be called by such a thread.
            if !is_this(&thread) {
                // A panic there was our bug, and was told.
                let _ = thread.join();
            }
        }
        let post = Post {
            core: Arc::clone(&self.core),
            stream: Arc::clone(&channel.stream),
        };
        publisher::tell_all(&post);
        let left: Vec<ItemId> = self.lock().dispatcher.ledger.unfinished_ids();
        // Who has failed to tell does not wait for an answer to his good-bye either.
        if !self.lock().dispatcher.ledger.is_broken() {
            // What cannot be given back is taken over when its lease is over.
            let _ = channel.stream.release(&left);
            let _ = channel.stream.close();
        }
        self.with(|core| {
            if let Some(shared) = core.shared() {
                shared.is_left = true;
            }
            core.wake_all();
        });
        true
    }
}

fn is_this(thread: &JoinHandle<()>) -> bool {
    thread.thread().id() == std::thread::current().id()
}

fn is_late(deadline: Deadline) -> bool {
    matches!(deadline, Deadline::Until(deadline) if Instant::now() >= deadline)
}

/// Starts one of the threads. What they tell calls the program's own code: a panic in there breaks
/// the queue off, rather than leave everybody waiting.
fn start(
    name: &str,
    post: Post,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Kind> {
    let run = move || {
        signals::block_all();
        let run = std::panic::AssertUnwindSafe(run);
        if let Err(panic) = std::panic::catch_unwind(run) {
            post.break_off(format!("internal error: {}", message_of(&*panic)));
        }
    };
    let thread = std::thread::Builder::new().name(name.into());
    thread
        .spawn(run)
        .map_err(Kind::io("starting a thread for a stream"))
}

impl Core {
    pub(super) fn shared(&mut self) -> Option<&mut Shared<Envelope>> {
        self.dispatcher.shared.as_mut()
    }

    fn on_the_way(&self) -> usize {
        let shared = self.dispatcher.shared.as_ref();
        shared.map_or(0, Shared::on_the_way)
    }

    fn last_ticket(&self) -> u64 {
        let shared = self.dispatcher.shared.as_ref();
        shared.map_or(0, Shared::last_ticket)
    }

    fn is_through(&self, ticket: u64) -> bool {
        let shared = self.dispatcher.shared.as_ref();
        shared.is_none_or(|shared| shared.is_through(ticket))
    }

    fn push(
        &mut self,
        envelope: Envelope,
        putter: Putter,
        is_beyond_bound: bool,
        is_impatient: bool,
    ) -> u64 {
        let push = |shared: &mut Shared<Envelope>| {
            shared.push(envelope, putter, is_beyond_bound, is_impatient)
        };
        self.shared().map_or(0, push)
    }

    /// Whoever waits for this put waits for no room any longer.
    fn hurry(&mut self, ticket: u64) {
        if let Some(shared) = self.shared() {
            // He is of this process, and asks himself.
            let _ = shared.hurry(|one| one.ticket == ticket);
        }
    }

    /// Whether something may be put.
    fn check_open(&self) -> Result<(), Kind> {
        match self.dispatcher.refusal(true) {
            Some(refused) => Err(self.kind_of(refused)),
            None => Ok(()),
        }
    }

    /// Whether the stream is still there, and we are.
    fn check_kept(&self) -> Result<(), Kind> {
        let shared = self.dispatcher.shared.as_ref();
        if self.dispatcher.ledger.is_broken() {
            return Err(self.store_failed());
        }
        match shared.is_some_and(|shared| shared.is_left) {
            true => Err(Kind::Closed),
            false => Ok(()),
        }
    }

    /// Whether one of the puts that nobody waited for was refused, since this was last asked.
    fn check_refusals(&mut self) -> Result<(), Kind> {
        match self
            .shared()
            .map(|shared| std::mem::take(&mut shared.are_lost))
        {
            Some(true) => Err(self.kind_of(Refusal::NotTaken)),
            _ => Ok(()),
        }
    }

    /// Once one of the puts that nobody waits for was refused, those after it are as well, until
    /// somebody has asked: so what was accepted is all that was put up to some point.
    fn check_lost(&self) -> Result<(), Kind> {
        let shared = self.dispatcher.shared.as_ref();
        match shared.is_some_and(|shared| shared.are_lost) {
            true => Err(self.kind_of(Refusal::NotTaken)),
            false => Ok(()),
        }
    }

    fn end_of_put(&mut self, ticket: u64) -> Option<Result<ItemId, Kind>> {
        if let Err(kind) = self.check_kept() {
            return Some(Err(kind));
        }
        let end = self.shared()?.take_outcome(ticket)?;
        Some(end.map_err(|refused| self.kind_of(refused)))
    }

    /// What happens between here and the stream is told.
    fn notice(&mut self, notice: Notice) {
        let is_older = matches!(notice, Notice::Older(_));
        if let Some(shared) = self.shared() {
            shared.is_older |= is_older;
            match &notice {
                Notice::Away(why) => {
                    shared.is_away = true;
                    shared.lack = Some(why.clone());
                }
                Notice::Lagging(why) => shared.lack = Some(why.clone()),
                Notice::Back(_) => {
                    shared.is_away = false;
                    shared.lack = None;
                }
                Notice::CaughtUp(_) => shared.lack = None,
                Notice::Older(_) | Notice::Warning(_) => {}
            }
        }
        if let Notice::Warning(why) = &notice
            && !self.emitter.is_observed()
        {
            self.traffic.unheard.push(why.clone());
            self.traffic.unheard.truncate(UNHEARD_MAX);
        }
        // Whoever's time is over waits no longer for an answer.
        self.wake_all();
        let why = match notice {
            Notice::Away(why) => format!("{why}; it is tried again"),
            Notice::Older(why)
            | Notice::Back(why)
            | Notice::Lagging(why)
            | Notice::CaughtUp(why)
            | Notice::Warning(why) => why,
        };
        self.emitter.emit(EventKind::Notice { why });
    }

    /// Somebody has begun to listen: what there was to be warned of before is told.
    pub(super) fn tell_unheard(&mut self) {
        for why in std::mem::take(&mut self.traffic.unheard) {
            self.emitter.emit(EventKind::Notice { why });
        }
    }

    /// Nothing more is put, taken or told.
    pub(super) fn break_off_stream(&mut self, why: String) {
        if self.dispatcher.ledger.is_broken() {
            return;
        }
        self.dispatcher.break_off_shared();
        self.break_off(why);
    }

    /// Has the threads of a stream look whether there is something for them.
    pub(super) fn ring_for_stream(&mut self) {
        let calls = self.dispatcher.calls(self.is_awaited());
        if calls.publisher {
            self.committer.call();
        }
        if calls.fetcher {
            self.doorbells.fetcher.notify_one();
        }
        if calls.listener {
            self.doorbells.listener.notify_one();
        }
    }

    /// Whether threads of this process wait for what others do.
    fn is_awaited(&self) -> bool {
        self.joiners > 0 || !self.traffic.replies.is_empty()
    }

    /// The number under which the stream is told who waits.
    fn ticket_of(&mut self, reply: Option<ReplyTo>) -> Option<u64> {
        let reply = reply?;
        self.traffic.next_reply += 1;
        self.traffic.replies.insert(self.traffic.next_reply, reply);
        Some(self.traffic.next_reply)
    }

    /// A delivery is done, and somebody elsewhere waits for what came of it.
    pub(super) fn send_result(&mut self, token: Token, result: &Payload) {
        let ledger = &self.dispatcher.ledger;
        let is_sent = ledger.payload(token).is_some_and(Envelope::is_sent);
        if let (true, Some(handed)) = (is_sent, ledger.handed(token)) {
            let (id, result) = (handed.id, result.clone());
            self.traffic.sent.push(Sent { id, result });
        }
    }
}
