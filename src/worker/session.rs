//! A worker process's connection to its supervisor: deliveries, acknowledgements and requests.
//!
//! A handler takes deliveries out of the ring itself, and so does a `get`; both poll a little before
//! they sleep. A `get` that finds nothing there asks for an item. A thread that reads the channel
//! wakes sleepers, sorts urgent records, gives back what nobody has begun, and notices the end: if
//! the channel ends without a stop, the supervisor is dead, and this process ends with all it has
//! started.

mod got;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_channel::ipc::IpcReceiver;
use parking_lot::{Mutex, MutexGuard};

use super::descriptor_check::DescriptorCheck;
pub(crate) use super::inbox::Received;
use super::inbox::{Inbox, Incoming};
use super::orphan::Waker;
use super::uplink::Uplink;
use super::{context, stopping};
use crate::error::NoSharedMemory;
use crate::fail;
use crate::handler::copies;
use crate::handler::lending::Lender;
use crate::handler::stopwatch::StopWatch;
use crate::payload::Payload;
use crate::protocol::address::QueueAddress;
use crate::protocol::doorbell::Ticket;
use crate::protocol::endpoints::Endpoints;
use crate::protocol::frame::{Answer, Ask, Body, Completion, Nudge, PROTOCOL, Up, Wait, clipped};
use crate::protocol::orders::Assignment;
use crate::protocol::ring_pair::RingPair;
use crate::sys::clock::Deadline;
use crate::sys::clock::monotonic_ns;
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::poll::{give_way, poll_until};
use crate::sys::{exit, stderr, title, usage};
use dishrack_core::ledger::{Cause, Outcome};

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
    /// True once a `get` was called, so that a handler may not be alone with what was begun.
    has_got: AtomicBool,
    /// True if the worker was woken for what it has done since it last rested.
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
        mut endpoints: Endpoints,
        socket: DescriptorSocket,
        waker: Waker,
    ) -> Option<Arc<Self>> {
        copies::mark();
        fail::point("worker: appointed");
        let ring_pair = RingPair::of(&endpoints.ring_pair).ok()?;
        let files = std::mem::take(&mut endpoints.files);
        context::set(endpoints.map_context().ok()?, files);
        // The mapping needs no file.
        drop(endpoints);
        let socket = Arc::new(socket);
        let session = Arc::new(Session {
            queue: assignment.queue,
            keeps_items: assignment.keeps_items,
            announces_starts: assignment.announces_starts,
            memory_max: assignment.memory_max,
            is_worn: AtomicBool::new(false),
            has_got: AtomicBool::new(false),
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
            if is_stopping {
                self.give_all_back(&mut inbox);
            }
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

    /// Begins the next delivery for a handler, which `arrival` becomes. Returns `false` when the
    /// handler must end, after this has given back what was not started.
    pub(super) fn begin_next(&self, arrival: &mut Received, watch: &mut StopWatch) -> bool {
        let mut is_idle = false;
        loop {
            let mut inbox = self.inbox.lock();
            inbox.begun.handled = 0;
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
                    self.begin(&mut inbox, arrival, watch);
                    drop(inbox);
                    if is_idle {
                        title::set_activity(&"busy");
                    }
                    return true;
                }
                _ if !is_idle => {
                    self.show_oldest(&mut inbox);
                    if inbox.begun.oldest().is_some() {
                        let begun = inbox.begun.last;
                        self.uplink.push(&Up::Idle { begun });
                    }
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

    /// Rests: tells the supervisor, polls for more a little while, and then says in its title that it
    /// is idle.
    fn rest(&self, position: u64) {
        self.uplink.ring();
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
                // The deliveries before this record have been begun, which may be waited for.
                Incoming::GiveBack => self.uplink.ring_now(),
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

    fn begin(&self, inbox: &mut Inbox, arrival: &Received, watch: &mut StopWatch) {
        let at_ns = watch.begin();
        inbox.begun.handle(arrival.ordinal);
        match inbox.begun.oldest() {
            None => {
                inbox.begun.shown = arrival.ordinal;
                self.ring_pair.board().begin(arrival.ordinal, at_ns);
            }
            Some(_) => {
                self.ring_pair.board().raise_begun(arrival.ordinal);
                self.show_oldest(inbox);
            }
        }
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
        // Whoever got something holds the lock while it changes what is begun.
        let inbox = self
            .has_got
            .load(Ordering::Relaxed)
            .then(|| self.inbox.lock());
        let ordinal = arrival.ordinal;
        let (shown, last, is_oldest) = match &inbox {
            None => (ordinal, ordinal, true),
            Some(inbox) => {
                let begun = &inbox.begun;
                (begun.shown, begun.last, begun.through() + 1 == ordinal)
            }
        };
        self.check_memory(shown, last);
        let waiting = match outcome {
            // No caller waits for it, so a store is enough.
            Outcome::Done(_) if !arrival.is_awaited && is_oldest => {
                let board = self.ring_pair.board();
                board.set_through(arrival.ordinal, nanos(service));
                self.uplink.note()
            }
            outcome => self.report(arrival.ordinal, service, outcome),
        };
        drop(inbox);
        if self.uplink.take_waited() {
            watch.stop();
        }
        self.watch_memory();
        let unseen = arrival.ordinal.saturating_sub(self.ring_pair.seen());
        if waiting >= EARLY_RING && unseen >= left {
            self.uplink.ring();
        }
    }

    /// Ends this process if code of an item has written over the memory that is shared with the
    /// supervisor, which should show this delivery.
    fn check_memory(&self, shown: u64, last: u64) {
        let board = self.ring_pair.board();
        if board.is_at(shown) {
            return;
        }
        // It cannot be trusted any more. Restore what this side knows by itself.
        board.restore(shown, last);
        self.uplink.restore();
        stderr::write_all(
            b"supervisor: an item has written over the memory that its worker shares with the supervisor\n",
        );
        exit::as_orphan();
    }

    /// Tells the supervisor, once, that this process has more memory than it should.
    fn watch_memory(&self) {
        let Some(most) = self.memory_max else {
            return;
        };
        if self.is_worn.load(Ordering::Relaxed) {
            return;
        }
        let resident = usage::resident(std::process::id());
        if resident.is_some_and(|bytes| bytes > most) {
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

    /// Shows that this process works on the oldest item that it has begun and not settled.
    fn show_oldest(&self, inbox: &mut Inbox) {
        let board = self.ring_pair.board();
        let (got, handled) = (inbox.begun.oldest(), inbox.begun.handled);
        let shown = match got.map(|one| (one.ordinal, one.since_ns)) {
            Some((ordinal, since_ns)) if handled == 0 || ordinal < handled => {
                board.show(ordinal, since_ns);
                ordinal
            }
            _ if handled == 0 => {
                board.rest();
                0
            }
            _ => {
                if inbox.begun.shown != handled {
                    board.show(handled, monotonic_ns());
                }
                handled
            }
        };
        inbox.begun.shown = shown;
    }

    /// Lends the payload, if it is in shared memory.
    pub(super) fn lender_of(&self, arrival: &Received) -> Option<Lender> {
        let view = arrival.view()?.clone();
        Some(Lender::new(view, &self.uplink, arrival.ordinal))
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
    ) -> Result<Answer<()>, NoSharedMemory> {
        copies::end_copy();
        let request = self.next_request();
        self.uplink.push_with(body, |body: Body<'_>| Up::Ask {
            request,
            ask: Ask::Put { wait, body },
        })?;
        Ok(self.wait_for(request, deadline, false))
    }

    /// Asks the supervisor, and waits for the answer until the deadline.
    pub(crate) fn ask(&self, ask: Ask<'_>, deadline: Deadline) -> Answer<()> {
        copies::end_copy();
        let request = self.next_request();
        self.uplink.push(&Up::Ask { request, ask });
        self.wait_for(request, deadline, false)
    }

    fn next_request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for the answer. Every request is answered exactly once: at the deadline it is
    /// cancelled, and the answer tells if that came too late. `is_patient`: a supervisor that looks
    /// often need not be woken.
    fn wait_for(&self, request: u64, deadline: Deadline, is_patient: bool) -> Answer<()> {
        fail::point("worker: request made");
        match is_patient {
            true => self.uplink.ring(),
            false => self.uplink.ring_now(),
        }
        fail::point("worker: request sent");
        if self.was_woken.swap(false, Ordering::Relaxed) {
            give_way();
        }
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
                self.was_woken.store(true, Ordering::Relaxed);
            }
            inbox = self.inbox.lock();
        }
    }
}

fn nanos(service: Duration) -> u64 {
    u64::try_from(service.as_nanos()).unwrap_or(u64::MAX)
}
