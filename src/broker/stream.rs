//! A queue whose items are in a stream that several supervisors share: the calls that wait for it,
//! and the threads that speak with it.
//!
//! There are four threads, each with its own connection. The *publisher* reports ends and puts
//! items. The *fetcher* takes items that are wanted here and renews the lease on them. The
//! *listener* waits for the stream's doorbell while a caller here waits for room or for the end. Once
//! the fetcher has begun, the thread of `orders` waits for what is ordered of this supervisor.
//! Callers only leave a request with the core, and sleep.

mod fetcher;
mod listener;
mod many;
mod orders;
mod publisher;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub(crate) use self::orders::ObeyOrder;
use self::orders::OrderHandler;
#[cfg(feature = "control")]
pub(crate) use self::orders::OrderOutcome;
use super::core::Core;
use super::doorbells::WriterDoorbell;
use super::monitor::{CoreGuard, Monitor, ThreadGuard, sleep, with_guard};
use super::{Broker, Deadline, Envelope};
use crate::broker::current;
use crate::error::Kind;
use crate::observe::EventKind;
use crate::payload::Payload;
use crate::store::Storage;
use crate::store::stream::{Stream, StreamNotice};
use crate::sys::signals;
use dishrack_core::ledger::{Counts, ItemId, Ledger, Options, Refusal, Token};
use dishrack_core::shared::{Putter, Shared};

/// The greatest number of items on their way; a caller that puts without waiting waits at this
/// bound.
const ON_THE_WAY_MAX: usize = 4096;

/// The pause between two attempts to end a thread's wait.
const LEAVE_PAUSE: Duration = Duration::from_millis(2);

/// The stream, and the threads that speak with it.
#[derive(Debug)]
pub(super) struct Channel {
    stream: Arc<dyn Stream>,
    orders: Arc<OrderHandler>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The tools of each thread.
#[derive(Debug, Clone)]
struct StreamContext {
    monitor: Arc<Monitor>,
    stream: Arc<dyn Stream>,
}

impl StreamContext {
    /// Takes the lock, runs `act`, and carries out what follows.
    fn with<R>(&self, act: impl FnOnce(&mut Core) -> R) -> R {
        self.monitor.with_or_end(|core| with_guard(core, act))
    }

    /// Notes that the stream has failed for good.
    fn break_off(&self, why: impl ToString) {
        let why = why.to_string();
        self.monitor.with(|core| core.break_off_stream(why));
    }
}

impl Broker {
    pub(crate) fn over_stream(
        options: Options,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<Self>, Kind> {
        let (writer, calls) = WriterDoorbell::channel();
        let storage = Storage::Shared(Arc::clone(&stream));
        let broker = Self::with_storage(Ledger::share(options), storage, writer);
        {
            let mut core = broker.lock();
            core.dispatcher.shared = Some(Shared::default());
            core.traffic.wants_results = stream.wants_results();
        }
        let monitor = Arc::downgrade(&broker.monitor);
        stream.set_listener(Box::new(move |notice| {
            if let Some(monitor) = monitor.upgrade() {
                monitor.with(|core| core.notice(notice));
            }
        }));
        let post = StreamContext {
            monitor: Arc::clone(&broker.monitor),
            stream: Arc::clone(&stream),
        };
        let (begun, has_begun) = crossbeam_channel::bounded(1);
        let orders = Arc::new(OrderHandler::new(&broker));
        let handler = Arc::clone(&orders);
        let publish = move |post: &StreamContext| publisher::run(post, &calls);
        let fetch = move |post: &StreamContext| fetcher::run(post, &begun);
        let obey = move |post: &StreamContext| orders::run(post, &handler, &has_begun);
        let threads = vec![
            start("dishrack-tell", post.clone(), publish)?,
            start("dishrack-fetch", post.clone(), fetch)?,
            start("dishrack-listen", post.clone(), listener::run)?,
            start("dishrack-orders", post, obey)?,
        ];
        let channel = Channel {
            stream,
            orders,
            threads: Mutex::new(threads),
        };
        // The broker was just made, so it has none.
        let _ = broker.stream.set(channel);
        Ok(broker)
    }

    /// Sets who carries out what is ordered of this supervisor, beside pauses and cancelled items.
    pub(crate) fn obey_by(&self, obey: ObeyOrder) {
        if let Some(channel) = self.stream.get() {
            channel.orders.obey_by(obey);
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
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
        core.check_size(envelope.body.len())?;
        core.check_open()?;
        let is_beyond_bound = is_holding && !is_impatient;
        let ticket = core.push(envelope, Putter::Local, is_beyond_bound, is_impatient);
        core.pump();
        // A put that does not wait for room is told once, and the caller waits for that.
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
        core.check_size(envelope.body.len())?;
        if !is_holding {
            core = self.await_way(core);
        }
        core.check_open()?;
        core.check_lost()?;
        core.push(envelope, Putter::Nobody, is_holding, false);
        core.pump();
        Ok(())
    }

    /// Does inline work, unless the caller works on an item just now; if there is none, sleeps
    /// until the publisher has news.
    fn work_or_await<'a>(
        &'a self,
        core: CoreGuard<'a>,
        deadline: Deadline,
        is_holding: bool,
    ) -> CoreGuard<'a> {
        if is_holding || !self.has_inline_work(&core) {
            return self.await_stream(core, deadline);
        }
        drop(core);
        self.drive_inline();
        self.lock()
    }

    fn await_stream<'a>(&'a self, mut core: CoreGuard<'a>, deadline: Deadline) -> CoreGuard<'a> {
        core.syncers += 1;
        let (mut core, _) = sleep(&self.monitor.doorbells.durable, core, deadline);
        core.syncers -= 1;
        core
    }

    /// Waits until all puts so far have ended.
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

    pub(super) fn refresh(&self) -> Result<(), Kind> {
        let mut core = self.lock();
        let question = core.dispatcher.ask_refresh();
        core.pump();
        while core.is_to_refresh(question) {
            core = self.await_stream(core, Deadline::Forever);
        }
        core.check_kept()
    }

    pub(super) fn counts_of_stream(&self) -> Result<Counts, Kind> {
        self.refresh()?;
        Ok(self.counts_known())
    }

    /// Returns the places of all items, here and elsewhere, as far as they are known.
    pub(crate) fn counts_known(&self) -> Counts {
        let core = self.lock();
        let Some(shared) = &core.dispatcher.shared else {
            return core.dispatcher.ledger.counts();
        };
        let stream_state = &shared.stream_state;
        let mut counts = Counts::default();
        counts.accepted = stream_state.unfinished + stream_state.done + stream_state.dead;
        counts.waiting = stream_state.untaken;
        counts.leased = stream_state.unfinished - stream_state.untaken;
        counts.done = stream_state.done;
        counts.dead = stream_state.dead;
        counts.retries = stream_state.retries;
        // It includes ends that were not even told, because the item was known to be another's by
        // then.
        counts.refused = stream_state.refused + core.dispatcher.ledger.counts().refused;
        counts
    }

    /// Ends the threads, tells what is left to tell, and gives back items that were not worked on.
    /// A second caller waits for the first. Returns `false` if there is no stream.
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
            core.end_writer();
            core.wake_all();
        }
        channel.stream.abandon();
        // The signal that ends a wait may come before the wait begins, so it is repeated until it
        // is heard.
        while threads
            .iter()
            .any(|thread| !thread.is_finished() && !is_this(thread))
        {
            channel.stream.interrupt();
            channel.stream.hush();
            channel.stream.unlisten();
            std::thread::park_timeout(LEAVE_PAUSE);
        }
        for thread in threads {
            // An observer that has the last handle may be called by such a thread.
            if !is_this(&thread) {
                // A panic there was a bug of this crate, and was reported.
                let _ = thread.join();
            }
        }
        let post = StreamContext {
            monitor: Arc::clone(&self.monitor),
            stream: Arc::clone(&channel.stream),
        };
        publisher::tell_all(&post);
        let left: Vec<ItemId> = self.lock().dispatcher.ledger.unfinished_ids();
        // After a failure to tell, the answer to this is not waited for either.
        if !self.lock().dispatcher.ledger.is_broken() {
            // Items that cannot be given back are taken over when their lease ends.
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

/// Starts one of the threads. A panic in it, also in the program's own code that its reports call, ends
/// the queue, so that no caller waits for ever.
fn start(
    name: &str,
    post: StreamContext,
    run: impl FnOnce(&StreamContext) + Send + 'static,
) -> Result<JoinHandle<()>, Kind> {
    let run = move || {
        signals::block_all();
        ThreadGuard::of(Arc::downgrade(&post.monitor)).run(|| run(&post));
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

    /// Lets this put wait for room no longer.
    fn hurry(&mut self, ticket: u64) {
        if let Some(shared) = self.shared() {
            // The putter is a thread of this process, which asks for the outcome itself.
            let _ = shared.hurry(|one| one.ticket == ticket);
        }
    }

    fn check_open(&self) -> Result<(), Kind> {
        match self.dispatcher.refusal(true) {
            Some(refused) => Err(self.kind_of(refused)),
            None => Ok(()),
        }
    }

    /// Checks that the stream is still there, and that this process has not left it.
    fn check_kept(&self) -> Result<(), Kind> {
        let shared = self.dispatcher.shared.as_ref();
        if self.dispatcher.ledger.is_broken() {
            return Err(self.failed());
        }
        match shared.is_some_and(|shared| shared.is_left) {
            true => Err(Refusal::Closed.into()),
            false => Ok(()),
        }
    }

    /// Checks if a put that no caller waited for was refused since the last check.
    fn check_refusals(&mut self) -> Result<(), Kind> {
        match self
            .shared()
            .map(|shared| std::mem::take(&mut shared.are_lost))
        {
            Some(true) => Err(self.kind_of(Refusal::NotTaken)),
            _ => Ok(()),
        }
    }

    /// Checks that no such put was refused. After one was, those after it are refused too until a
    /// caller has asked, so the accepted items are all that were put up to some point.
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

    /// Reports what happens between this process and the stream.
    fn notice(&mut self, notice: StreamNotice) {
        let is_older = matches!(notice, StreamNotice::Older(_));
        if let Some(shared) = self.shared() {
            shared.is_older |= is_older;
            match &notice {
                StreamNotice::Away(why) => {
                    shared.is_away = true;
                    shared.lack = Some(why.clone());
                }
                StreamNotice::Lagging(why) => shared.lack = Some(why.clone()),
                StreamNotice::Back(_) => {
                    shared.is_away = false;
                    shared.lack = None;
                }
                StreamNotice::CaughtUp(_) => shared.lack = None,
                StreamNotice::Older(_) | StreamNotice::Warning(_) => {}
            }
        }
        if let StreamNotice::Warning(why) = &notice
            && !self.emitter.is_observed()
        {
            self.traffic.keep_unheard(why.clone());
        }
        // Callers whose time is over wait no longer for an answer.
        self.wake_all();
        let why = notice.words();
        self.emitter.emit(EventKind::Notice { why });
    }

    /// Reports earlier warnings to an observer that has just been set.
    pub(super) fn tell_unheard(&mut self) {
        for why in std::mem::take(&mut self.traffic.unheard) {
            self.emitter.emit(EventKind::Notice { why });
        }
    }

    /// Puts, takes and tells nothing more.
    pub(super) fn break_off_stream(&mut self, why: String) {
        if self.dispatcher.ledger.is_broken() {
            return;
        }
        self.dispatcher.break_off_shared();
        self.break_off(why);
    }

    /// Keeps the result of a delivery that is done, if a receiver elsewhere waits for it.
    pub(super) fn send_result(&mut self, token: Token, result: &Payload) {
        let ledger = &self.dispatcher.ledger;
        let is_sent = ledger.payload(token).is_some_and(Envelope::is_sent);
        if let (true, Some(handed)) = (is_sent, ledger.handed(token)) {
            let (id, result) = (handed.id, result.clone());
            self.traffic.sent.push((id, result));
        }
    }
}
