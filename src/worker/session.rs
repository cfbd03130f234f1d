//! A worker process's connection to its supervisor: deliveries, acknowledgements and requests.
//!
//! A handler takes deliveries out of the ring itself, and polls a little before it sleeps. A thread
//! that reads the channel wakes sleepers, sorts urgent records, and notices the end: if the channel
//! ends without a stop, the supervisor is dead, and this process ends with all it has started.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_channel::ipc::IpcReceiver;
use parking_lot::{Mutex, MutexGuard};

use super::descriptor_check::DescriptorCheck;
pub(crate) use super::inbox::Received;
use super::inbox::{Inbox, Incoming, Unsettled};
use super::memory;
use super::orphan::Waker;
use super::uplink::Uplink;
use super::{context, stopping};
use crate::error::{Kind, NoSharedMemory};
use crate::fail;
use crate::handler::copies;
use crate::handler::held::Acknowledger;
use crate::handler::lending::{Lender, lending};
use crate::handler::stopwatch::StopWatch;
use crate::payload::Payload;
use crate::protocol::doorbell::Ticket;
use crate::protocol::endpoints::Endpoints;
use crate::protocol::frame::{
    Answer, Ask, Body, Completion, Nudge, PROTOCOL, RUN_ITEMS, Up, Wait, clipped,
};
use crate::protocol::orders::Assignment;
use crate::protocol::ring_pair::RingPair;
use crate::protocol::stream::QueueAddress;
use crate::sys::clock::Deadline;
use crate::sys::clock::monotonic_ns;
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::poll::{give_way, poll_until};
use crate::sys::{exit, stderr, title};
use dishrack_core::ledger::{Cause, DoneRun, Outcome, Token};

/// The number of acknowledgements that wake the supervisor early; below, waiting costs less.
const EARLY_RING: usize = 16;

/// The time of an item, in nanoseconds, below which its handler cannot have closed our files.
const COULD_CLOSE_NS: u64 = 1000;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) item_type: String,
    /// The queue that it works for.
    pub(crate) queue: QueueAddress,
    /// True if items of that queue outlive the supervisor's process.
    pub(crate) keeps_items: bool,
    announces_starts: bool,
    /// The resident memory, in bytes, above which the supervisor is told, once.
    memory_max: Option<u64>,
    is_worn: AtomicBool,
    /// True for a handler, which works on one item at a time; a loop works on those that it got and
    /// did not settle.
    pub(super) is_handler: AtomicBool,
    /// True if the handler was woken for what it has done since it last rested.
    was_woken: AtomicBool,
    /// The number of its slot, from 1.
    pub(super) slot: u64,
    ring_pair: Arc<RingPair>,
    /// Notices when code of this process has closed all files.
    descriptor_check: DescriptorCheck,
    pub(crate) uplink: Arc<Uplink>,
    inbox: Mutex<Inbox>,
    next_request: AtomicU64,
}

impl Session {
    /// Accepts the assignment and says that this worker is ready.
    pub(super) fn open(
        assignment: Assignment,
        endpoints: Endpoints,
        socket: DescriptorSocket,
        waker: Waker,
    ) -> Option<Arc<Self>> {
        copies::mark();
        fail::point("worker: appointed");
        let ring_pair = RingPair::of(&endpoints.ring_pair).ok()?;
        context::set(endpoints.map_context().ok()?);
        // The mapping needs no file.
        drop(endpoints);
        let socket = Arc::new(socket);
        let session = Arc::new(Session {
            queue: assignment.queue,
            keeps_items: assignment.keeps_items,
            announces_starts: assignment.announces_starts,
            memory_max: assignment.memory_max,
            is_worn: AtomicBool::new(false),
            is_handler: AtomicBool::new(false),
            was_woken: AtomicBool::new(false),
            slot: assignment.slot,
            descriptor_check: DescriptorCheck::new(),
            uplink: Uplink::open(
                Arc::clone(&ring_pair),
                assignment.uplink,
                Arc::clone(&socket),
            )?,
            inbox: Mutex::new(Inbox::new(&ring_pair, socket)),
            ring_pair,
            next_request: AtomicU64::new(1),
            item_type: assignment.item_type,
        });
        let reading = Arc::clone(&session);
        waker.run(move || {
            // A worker that cannot read is deaf. ipc-channel may panic for lack of files, too.
            let read = || reading.read(&assignment.downlink);
            let _ = catch_unwind(AssertUnwindSafe(read));
            exit::as_orphan();
        });
        Some(session)
    }

    /// Tells the supervisor that this worker takes items from now on.
    pub(super) fn say_ready(&self) {
        self.uplink.push(&Up::Ready {
            protocol: PROTOCOL,
            pid: std::process::id(),
            item_type: &self.item_type,
        });
        self.uplink.ring_now();
        fail::point("worker: ready");
    }

    /// Sleeps until something has come since the doorbell was wanted; at most this long.
    fn sleep(&self, inbox: MutexGuard<'_, Inbox>, ticket: Ticket, time: Option<Duration>) {
        drop(inbox);
        self.ring_pair.down_doorbell().sleep(ticket, time);
    }

    /// Lets all sleeping threads look again.
    fn wake_sleepers(&self) {
        if self.ring_pair.down_doorbell().take() {
            self.ring_pair.down_doorbell().wake();
        }
    }

    pub(super) fn flush(&self) {
        self.uplink.ring_now();
    }

    fn read(&self, downlink: &IpcReceiver<Nudge>) {
        while let Ok(Nudge) = downlink.recv() {
            let mut inbox = self.inbox.lock();
            if self.ring_pair.urgent().take() {
                self.sort_all(&mut inbox);
            }
            let is_stopping = inbox.is_stopping;
            drop(inbox);
            self.wake_sleepers();
            if is_stopping {
                stopping::begin();
            }
        }
    }

    /// Takes everything out of the ring, deliveries too. Returns `true` if there was anything.
    fn sort_all(&self, inbox: &mut Inbox) -> bool {
        let mut is_any = false;
        loop {
            let mut arrival = Received::none();
            match inbox.read(&mut arrival) {
                Incoming::Delivery => inbox.arrivals.push_back(arrival),
                Incoming::Revoked(ordinal) => self.revoke(inbox, ordinal),
                Incoming::GiveBack => {
                    self.give_back(inbox);
                    self.uplink.ring_now();
                }
                Incoming::Other => {}
                Incoming::Nothing => break,
                Incoming::Broken => exit::as_orphan(),
            }
            is_any = true;
        }
        self.tell_of_room();
        is_any
    }

    /// Wakes the supervisor if it waits for room in the ring.
    fn tell_of_room(&self) {
        if self.ring_pair.down_room().take() {
            self.uplink.ring_now();
        }
    }

    /// Gives a cancelled delivery back, if it was not begun.
    fn revoke(&self, inbox: &mut Inbox, ordinal: u64) {
        let mut arrivals = inbox.arrivals.iter();
        let place = arrivals.position(|one| one.ordinal == ordinal);
        match place.and_then(|place| inbox.arrivals.remove(place)) {
            Some(_) => self.settle(ordinal, Duration::ZERO, Outcome::Returned),
            None => self.uplink.push(&Up::HasBegun { ordinal }),
        };
        self.uplink.ring_now();
    }

    /// Lets `arrival` become the next delivery for a handler. Returns `false` when the handler must
    /// end, after this has given back what was not started.
    pub(super) fn next_arrival(&self, arrival: &mut Received, watch: &mut StopWatch) -> bool {
        let mut is_idle = false;
        loop {
            let mut inbox = self.inbox.lock();
            let look = self.take_next(&mut inbox, arrival);
            if inbox.is_stopping {
                if let Incoming::Delivery = look {
                    let arrival = std::mem::replace(arrival, Received::none());
                    inbox.arrivals.push_front(arrival);
                }
                self.give_all_back(&mut inbox);
                return false;
            }
            match look {
                Incoming::Delivery => {
                    if is_idle {
                        title::set_activity(&"busy");
                    }
                    return true;
                }
                _ if !is_idle => {
                    // Sending may take a moment, so the lock is released meanwhile.
                    let position = inbox.position();
                    drop(inbox);
                    watch.stop();
                    self.rest(position);
                    is_idle = true;
                }
                Incoming::Revoked(_)
                | Incoming::GiveBack
                | Incoming::Other
                | Incoming::Nothing
                | Incoming::Broken => {
                    let ticket = self.ring_pair.down_doorbell().want();
                    if inbox.is_empty() {
                        self.sleep(inbox, ticket, None);
                        self.was_woken.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Rests: tells the supervisor, polls for more a little while, and then shows that it is idle.
    fn rest(&self, position: u64) {
        self.uplink.ring();
        self.ring_pair.board().rest();
        self.tell_of_room();
        if self.was_woken.swap(false, Ordering::Relaxed) {
            give_way();
        }
        let is_more = || self.ring_pair.down_published() != position;
        if !self.ring_pair.may_poll() || !poll_until(is_more) {
            title::set_activity(&"idle");
        }
    }

    /// Takes the next delivery, of those laid aside or out of the ring.
    fn take_next(&self, inbox: &mut Inbox, arrival: &mut Received) -> Incoming {
        if let Some(first) = inbox.arrivals.pop_front() {
            *arrival = first;
            return Incoming::Delivery;
        }
        loop {
            match inbox.read(arrival) {
                Incoming::Revoked(ordinal) => self.revoke(inbox, ordinal),
                // The deliveries before this record have been begun.
                Incoming::GiveBack => {}
                Incoming::Other => self.wake_sleepers(),
                Incoming::Broken => exit::as_orphan(),
                look => return look,
            }
        }
    }

    fn give_all_back(&self, inbox: &mut Inbox) {
        self.sort_all(inbox);
        self.give_back(inbox);
    }

    /// Gives back the deliveries that were laid aside and not begun.
    fn give_back(&self, inbox: &mut Inbox) {
        for arrival in std::mem::take(&mut inbox.arrivals) {
            self.settle(arrival.ordinal, Duration::ZERO, Outcome::Returned);
        }
    }

    pub(super) fn begin(&self, arrival: &Received, watch: &mut StopWatch) {
        let at_ns = watch.begin();
        self.ring_pair.board().begin(arrival.ordinal, at_ns);
        if self.announces_starts {
            self.announce(arrival.ordinal, at_ns);
        }
        self.uplink.watch();
    }

    fn announce(&self, ordinal: u64, at_ns: u64) {
        self.uplink.push(&Up::Started { ordinal, at_ns });
    }

    pub(super) fn end(&self, arrival: &Received, watch: &mut StopWatch, outcome: Outcome<Payload>) {
        let left = self.ring_pair.handed().saturating_sub(arrival.ordinal);
        let service = watch.end(left == 0 || self.announces_starts);
        let is_suspect = left == 0 || watch.longest_ns() >= COULD_CLOSE_NS;
        if is_suspect && !self.descriptor_check.is_alive() {
            // The supervisor cannot reach this worker any more. That is charged to the item.
            exit::as_orphan();
        }
        if !self.ring_pair.board().is_at(arrival.ordinal) {
            // The shared memory cannot be trusted any more. Restore what this side knows by itself.
            self.ring_pair.board().restore(arrival.ordinal);
            self.uplink.restore();
            stderr::write_all(
                b"supervisor: an item has written over the memory that its worker shares with the supervisor\n",
            );
            exit::as_orphan();
        }
        let waiting = match outcome {
            // No caller waits for it, so a store is enough.
            Outcome::Done(_) if !arrival.is_awaited => {
                let board = self.ring_pair.board();
                board.set_through(arrival.ordinal, nanos(service));
                self.uplink.note()
            }
            outcome => self.report(arrival.ordinal, service, outcome),
        };
        if self.uplink.take_waited() {
            watch.stop();
        }
        self.watch_memory();
        let unseen = arrival.ordinal.saturating_sub(self.ring_pair.seen());
        if waiting >= EARLY_RING && unseen >= left {
            self.uplink.ring();
        }
    }

    /// Tells the supervisor, once, that this process has more memory than it should.
    fn watch_memory(&self) {
        let Some(most) = self.memory_max else {
            return;
        };
        if !self.is_worn.load(Ordering::Relaxed) && memory::resident() > most {
            self.is_worn.store(true, Ordering::Relaxed);
            self.uplink.push(&Up::Worn);
        }
    }

    /// Writes an acknowledgement. Returns the number of those that the supervisor was not woken for
    /// yet.
    fn report(&self, ordinal: u64, service: Duration, outcome: Outcome<Payload>) -> usize {
        let outcome = match outcome {
            Outcome::Done(result) if result.is_small() => {
                let service_ns = nanos(service);
                let done = Completion {
                    ordinal,
                    service_ns,
                };
                return self.uplink.push_completion(done, &result);
            }
            Outcome::Done(result) => {
                let service_ns = nanos(service);
                let written = self.uplink.push_with(result, |body| Up::Settled {
                    ordinal,
                    service_ns,
                    outcome: Outcome::Done(body),
                });
                match written {
                    Ok(waiting) => return waiting,
                    Err(NoSharedMemory(why)) => Outcome::failed(Cause::Unserializable(why)),
                }
            }
            Outcome::Failed { cause, rest } => Outcome::Failed { cause, rest },
            Outcome::Returned => Outcome::Returned,
            Outcome::Short(why) => Outcome::Short(why),
        };
        self.settle(ordinal, service, outcome)
    }

    fn settle(&self, ordinal: u64, service: Duration, outcome: Outcome<Body<'_>>) -> usize {
        self.uplink.push(&Up::Settled {
            ordinal,
            service_ns: nanos(service),
            outcome: clipped(outcome),
        })
    }

    /// Ends a delivery of a loop, and tells the supervisor at once. Returns `false` if it was ended
    /// before.
    fn settle_now(&self, ordinal: u64, service: Duration, outcome: Outcome<Payload>) -> bool {
        copies::end_copy();
        let mut inbox = self.inbox.lock();
        let Some(held) = inbox.held.remove(&ordinal) else {
            return false;
        };
        self.show_oldest(&inbox);
        drop(inbox);
        if let Some(lender) = held.lender {
            lender.settle(&*self.uplink);
        }
        self.report(ordinal, service, outcome);
        self.watch_memory();
        self.uplink.ring_now();
        true
    }

    /// Ends many deliveries of a loop as done, given by ordinal and time, and tells the supervisor at
    /// once. Returns for each `false` if it was ended before.
    pub(crate) fn settle_many(&self, done: &[(u64, Duration)]) -> Vec<bool> {
        copies::end_copy();
        let mut inbox = self.inbox.lock();
        let held = done.iter().map(|(ordinal, _)| inbox.held.remove(ordinal));
        let held: Vec<Option<Unsettled>> = held.collect();
        self.show_oldest(&inbox);
        drop(inbox);
        let were_held: Vec<bool> = held.iter().map(Option::is_some).collect();
        let lenders = held.into_iter().flatten().filter_map(|one| one.lender);
        lenders.for_each(|lender| lender.settle(&*self.uplink));
        let all = done.iter().zip(&were_held);
        let ours = all.filter_map(|(one, was_held)| was_held.then_some(*one));
        for run in DoneRun::join(ours, RUN_ITEMS) {
            self.uplink.push(&Up::SettledRun {
                first: run.first,
                last: run.last,
                service_ns: nanos(run.service),
            });
            fail::point("worker: run settled");
        }
        self.watch_memory();
        self.uplink.ring_now();
        were_held
    }

    /// Shows that a loop works on the oldest item that it got and did not settle.
    fn show_oldest(&self, inbox: &Inbox) {
        if self.is_handler.load(Ordering::Relaxed) {
            return;
        }
        let oldest = inbox.held.iter().min_by_key(|(ordinal, _)| **ordinal);
        match oldest {
            Some((ordinal, held)) => self.ring_pair.board().begin(*ordinal, held.since_ns),
            None => self.ring_pair.board().rest(),
        }
    }

    /// Takes an item that a `get` was answered with, and then decodes it.
    pub(crate) fn take<R>(&self, arrival: &Received, decode: impl FnOnce() -> R) -> R {
        let lender = self.lender_of(arrival);
        self.hold(arrival, lender.clone());
        lending(lender.as_ref(), decode)
    }

    /// Lends the payload, if it is in shared memory.
    pub(super) fn lender_of(&self, arrival: &Received) -> Option<Lender> {
        let view = arrival.view()?.clone();
        Some(Lender::new(view, &self.uplink, arrival.ordinal))
    }

    fn hold(&self, arrival: &Received, lender: Option<Lender>) {
        let now_ns = monotonic_ns();
        self.ring_pair.board().set_taken(arrival.ordinal);
        let mut inbox = self.inbox.lock();
        let held = Unsettled {
            since_ns: now_ns,
            lender,
        };
        inbox.held.insert(arrival.ordinal, held);
        self.show_oldest(&inbox);
        drop(inbox);
        if self.announces_starts {
            self.announce(arrival.ordinal, now_ns);
            self.uplink.watch();
        }
    }

    /// Asks the supervisor to accept an item, and waits for the answer until the deadline.
    ///
    /// # Errors
    /// The reason why the item cannot be sent.
    pub(crate) fn ask_put(
        &self,
        wait: Wait,
        body: Payload,
        deadline: Deadline,
    ) -> Result<Answer<Received>, NoSharedMemory> {
        copies::end_copy();
        let request = self.next_request();
        self.uplink.push_with(body, |body: Body<'_>| Up::Ask {
            request,
            ask: Ask::Put { wait, body },
        })?;
        Ok(self.wait_for(request, deadline))
    }

    /// Asks the supervisor, and waits for the answer until the deadline.
    pub(crate) fn ask(&self, ask: Ask<'_>, deadline: Deadline) -> Answer<Received> {
        copies::end_copy();
        let request = self.next_request();
        self.uplink.push(&Up::Ask { request, ask });
        self.wait_for(request, deadline)
    }

    /// Asks the supervisor for the next item and those behind it, up to `at_most` in all, and waits
    /// for the first until the deadline.
    ///
    /// # Errors
    /// The answer, if it is no item.
    pub(crate) fn ask_items(
        &self,
        wait: Wait,
        at_most: u32,
        deadline: Deadline,
    ) -> Result<Vec<Received>, Answer<Received>> {
        copies::end_copy();
        let request = self.next_request();
        let ask = Ask::Get { wait, at_most };
        self.uplink.push(&Up::Ask { request, ask });
        let last = match self.wait_for(request, deadline) {
            Answer::Item(last) => last,
            answer => return Err(answer),
        };
        let before = self.inbox.lock().items.remove(&request);
        let mut items = before.unwrap_or_default();
        items.push(last);
        Ok(items)
    }

    fn next_request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for the answer. Every request is answered exactly once: at the deadline it is
    /// cancelled, and the answer tells if that came too late.
    fn wait_for(&self, request: u64, deadline: Deadline) -> Answer<Received> {
        fail::point("worker: request made");
        self.uplink.ring_now();
        fail::point("worker: request sent");
        let mut deadline = match deadline {
            Deadline::Until(deadline) => Some(deadline),
            Deadline::None | Deadline::Forever => None,
        };
        let mut has_polled = false;
        let mut inbox = self.inbox.lock();
        loop {
            if self.sort_all(&mut inbox) {
                self.wake_sleepers();
            }
            if let Some(answer) = inbox.answers.remove(&request) {
                fail::point("worker: request answered");
                return answer;
            }
            if !std::mem::replace(&mut has_polled, true) && self.ring_pair.may_poll() {
                let position = inbox.position();
                drop(inbox);
                poll_until(|| self.ring_pair.down_published() != position);
                inbox = self.inbox.lock();
                continue;
            }
            let ticket = self.ring_pair.down_doorbell().want();
            if !inbox.is_empty() {
                continue;
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                drop(inbox);
                deadline = None;
                self.uplink.push(&Up::Cancel { request });
                self.uplink.ring_now();
            } else {
                self.sleep(inbox, ticket, left);
            }
            inbox = self.inbox.lock();
        }
    }
}

impl Acknowledger for Session {
    fn acknowledge(
        &self,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Kind> {
        match self.settle_now(token.ordinal(), service, outcome) {
            true => Ok(()),
            false => Err(Kind::Stale),
        }
    }
}

fn nanos(service: Duration) -> u64 {
    u64::try_from(service.as_nanos()).unwrap_or(u64::MAX)
}
