//! A worker process's connection to its supervisor: deliveries in, acknowledgements out, and
//! requests in between.
//!
//! One thread reads the channel and sorts what comes; the others sleep until something is there
//! for them. When the channel ends without a stop, the supervisor is dead, and this process ends
//! with all it has started.

use std::any::type_name;
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_channel::ipc::IpcReceiver;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attempt::attempt;
use super::current::{self, Side};
use super::uplink::Uplink;
use super::{exit, memory, title};
use crate::broker::{Ending, Patience};
use crate::fail;
use crate::ledger::{Cause, ItemId, Token};
use crate::link::frame::{Answer, Ask, Down, PROTOCOL, Packet, Span, Up, Verdict, clip};
use crate::link::scoreboard::Scoreboard;
use crate::observe::monotonic_ns;
use crate::supervision::orders::Appointment;
use crate::supervision::signals;

/// Acknowledgements are sent early only from this many on; below, waiting costs less than sending.
const EARLY_FLUSH: usize = 16;

/// A delivery that arrived; its payload stays in the packet it came in.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) token: Token,
    ordinal: u64,
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    packet: Arc<Packet>,
    span: Span,
}

impl Arrival {
    pub(crate) fn body(&self) -> &[u8] {
        self.packet.slice(self.span)
    }
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Item(Arrival),
    Other(Answer<'static>),
}

#[derive(Debug, Default)]
struct Inbox {
    arrivals: VecDeque<Arrival>,
    replies: HashMap<u64, Reply>,
    /// What `get` took and nobody settled: its ordinal, and since when.
    held: HashMap<Token, (u64, u64)>,
    is_stopping: bool,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) item_type: String,
    announces_starts: bool,
    /// More resident memory than this, in bytes, is to be told, once.
    memory_max: Option<u64>,
    is_worn: AtomicBool,
    /// A handler works on one item at a time; a loop on what it got and did not settle.
    is_handler: AtomicBool,
    board: Scoreboard,
    uplink: Arc<Uplink>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    next_request: AtomicU64,
}

impl Session {
    /// Takes up the appointment and says that this worker is ready.
    pub(super) fn open(appointment: Appointment) -> Option<Arc<Self>> {
        fail::set_role(&appointment.name);
        fail::point("worker: appointed");
        let session = Arc::new(Session {
            announces_starts: appointment.announces_starts,
            memory_max: appointment.memory_max,
            is_worn: AtomicBool::new(false),
            is_handler: AtomicBool::new(false),
            board: Scoreboard::of(appointment.page)?,
            uplink: Uplink::open(appointment.uplink)?,
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            next_request: AtomicU64::new(1),
            item_type: appointment.item_type,
        });
        let reading = Arc::clone(&session);
        std::thread::Builder::new()
            .name("dishrack-read".into())
            .stack_size(256 * 1024)
            .spawn(move || {
                signals::block_all();
                wake_when_orphaned();
                reading.read(&appointment.downlink);
            })
            .ok()?;
        session.uplink.push(&Up::Ready {
            protocol: PROTOCOL,
            pid: std::process::id(),
            item_type: &session.item_type,
        });
        session.uplink.flush();
        fail::point("worker: ready");
        Some(session)
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn flush(&self) {
        self.uplink.flush();
    }

    fn read(&self, downlink: &IpcReceiver<Packet>) {
        while let Ok(packet) = downlink.recv() {
            fail::point("worker: packet read");
            if !self.sort(&Arc::new(packet)) {
                break;
            }
            self.arrived.notify_all();
            self.uplink.has_read();
        }
        exit::as_orphan();
    }

    /// Puts what came where it is waited for. False when it cannot be understood.
    fn sort(&self, packet: &Arc<Packet>) -> bool {
        let mut inbox = self.lock();
        for record in packet.records::<Down<'_>>() {
            match record {
                Ok(Down::Deliver {
                    token,
                    ordinal,
                    id,
                    attempt,
                    body,
                }) => {
                    let Some(span) = packet.locate(body) else {
                        return false;
                    };
                    inbox.arrivals.push_back(Arrival {
                        token,
                        ordinal,
                        id,
                        attempt,
                        packet: Arc::clone(packet),
                        span,
                    });
                }
                Ok(Down::Answer { request, answer }) => {
                    let Some(reply) = reply_of(packet, answer) else {
                        return false;
                    };
                    inbox.replies.insert(request, reply);
                }
                Ok(Down::Revoke { token, ordinal }) => self.revoke(&mut inbox, token, ordinal),
                Ok(Down::Stop) => inbox.is_stopping = true,
                Err(_) => return false,
            }
        }
        true
    }

    /// A delivery was cancelled: one that was not begun goes back.
    fn revoke(&self, inbox: &mut Inbox, token: Token, ordinal: u64) {
        let place = inbox.arrivals.iter().position(|one| one.token == token);
        match place.and_then(|place| inbox.arrivals.remove(place)) {
            Some(_) => self.settle(token, Duration::ZERO, Verdict::Returned),
            None => self.uplink.push(&Up::HasBegun { ordinal }),
        };
        // Sent by the thread for what waits: this one must go on reading.
        self.uplink.watch();
    }

    /// The next delivery for a handler; `None` when it is time to end. What was not started goes
    /// back.
    fn next_arrival(&self) -> Option<Arrival> {
        let mut is_idle = false;
        loop {
            let mut inbox = self.lock();
            if inbox.is_stopping {
                for arrival in inbox.arrivals.drain(..) {
                    self.settle(arrival.token, Duration::ZERO, Verdict::Returned);
                }
                return None;
            }
            if let Some(arrival) = inbox.arrivals.pop_front() {
                if is_idle {
                    title::set_activity(&"busy");
                }
                return Some(arrival);
            }
            if is_idle {
                drop(
                    self.arrived
                        .wait(inbox)
                        .unwrap_or_else(PoisonError::into_inner),
                );
            } else {
                // Sending may wait for the supervisor, so the inbox is let go meanwhile.
                drop(inbox);
                self.uplink.flush();
                self.board.rest();
                title::set_activity(&"idle");
                is_idle = true;
            }
        }
    }

    fn begin(&self, arrival: &Arrival, at_ns: u64) {
        self.board.begin(arrival.ordinal, at_ns);
        if self.announces_starts {
            self.announce(arrival.token, at_ns);
        }
        self.uplink.watch();
    }

    fn announce(&self, token: Token, at_ns: u64) {
        self.uplink.push(&Up::Started { token, at_ns });
    }

    fn end(&self, arrival: &Arrival, service: Duration, ending: Ending) {
        // The board names this delivery until its acknowledgement is sent or the next one begins:
        // a death in between is most likely its doing.
        let waiting = self.report(arrival.token, service, ending);
        self.watch_memory();
        if waiting >= EARLY_FLUSH && waiting >= self.lock().arrivals.len() {
            self.uplink.flush();
        }
    }

    /// Tells, once, that this process has more memory than it should. It is told what to do.
    fn watch_memory(&self) {
        let Some(most) = self.memory_max else {
            return;
        };
        if !self.is_worn.load(Ordering::Relaxed) && memory::resident() > most {
            self.is_worn.store(true, Ordering::Relaxed);
            self.uplink.push(&Up::Worn);
        }
    }

    /// Adds an acknowledgement to what is sent next. How many records wait now.
    fn report(&self, token: Token, service: Duration, ending: Ending) -> usize {
        match ending {
            Ending::Done(result) => {
                let record = |body| Up::Settled {
                    token,
                    service_ns: nanos(service),
                    verdict: Verdict::Done(body),
                };
                match self.uplink.push_with(&result, record) {
                    Ok(waiting) => waiting,
                    Err(why) => self.settle(token, service, Verdict::Unserializable(clip(&why))),
                }
            }
            Ending::Returned => self.settle(token, service, Verdict::Returned),
            Ending::Failed(cause) => self.report_failure(token, service, &cause, None),
            Ending::Deferred(cause, rest) => {
                self.report_failure(token, service, &cause, Some(nanos(rest)))
            }
        }
    }

    fn report_failure(
        &self,
        token: Token,
        service: Duration,
        cause: &Cause,
        rest_ns: Option<u64>,
    ) -> usize {
        let text = cause_text(cause);
        let reason = clip(&text);
        let verdict = match cause {
            Cause::Panicked(_) => Verdict::Panicked(reason),
            Cause::Undecodable(_) => Verdict::Undecodable(reason),
            Cause::Unserializable(_) => Verdict::Unserializable(reason),
            Cause::Dropped => Verdict::Dropped,
            _ => Verdict::Nack { reason, rest_ns },
        };
        self.settle(token, service, verdict)
    }

    fn settle(&self, token: Token, service: Duration, verdict: Verdict<'_>) -> usize {
        self.uplink.push(&Up::Settled {
            token,
            service_ns: nanos(service),
            verdict,
        })
    }

    /// Ends a delivery that was got, and sends that at once. False if it was ended before.
    pub(crate) fn settle_now(&self, token: Token, service: Duration, ending: Ending) -> bool {
        let mut inbox = self.lock();
        if inbox.held.remove(&token).is_none() {
            return false;
        }
        self.show_oldest(&inbox);
        drop(inbox);
        self.report(token, service, ending);
        self.watch_memory();
        self.uplink.flush();
        true
    }

    /// A loop works on the oldest item that it got and did not settle.
    fn show_oldest(&self, inbox: &Inbox) {
        if self.is_handler.load(Ordering::Relaxed) {
            return;
        }
        match inbox.held.values().min() {
            Some((ordinal, since_ns)) => self.board.begin(*ordinal, *since_ns),
            None => self.board.rest(),
        }
    }

    /// Takes an item that a `get` was answered with.
    pub(crate) fn take(&self, arrival: &Arrival) {
        let now_ns = monotonic_ns();
        self.board.set_taken(arrival.ordinal);
        let mut inbox = self.lock();
        inbox.held.insert(arrival.token, (arrival.ordinal, now_ns));
        self.show_oldest(&inbox);
        drop(inbox);
        if self.announces_starts {
            self.announce(arrival.token, now_ns);
            self.uplink.watch();
        }
    }

    /// Asks the supervisor, and waits for the answer as long as patience lasts.
    pub(crate) fn ask(
        &self,
        ask: Ask<'_>,
        payload: &[u8],
        patience: Patience,
    ) -> Result<Reply, String> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        match ask {
            Ask::Put { wait, .. } => self.uplink.push_with(payload, |body| Up::Ask {
                request,
                ask: Ask::Put { wait, body },
            })?,
            ask => self.uplink.push(&Up::Ask { request, ask }),
        };
        fail::point("worker: request made");
        self.uplink.flush();
        fail::point("worker: request sent");
        let reply = self.wait_for(request, patience);
        fail::point("worker: request answered");
        Ok(reply)
    }

    /// Every request is answered exactly once: when patience ends it is cancelled, and the answer
    /// tells whether that came too late.
    fn wait_for(&self, request: u64, patience: Patience) -> Reply {
        let mut deadline = match patience {
            Patience::Until(deadline) => Some(deadline),
            Patience::None | Patience::Forever => None,
        };
        let mut inbox = self.lock();
        loop {
            if let Some(reply) = inbox.replies.remove(&request) {
                return reply;
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            inbox = match left {
                None => self
                    .arrived
                    .wait(inbox)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    drop(inbox);
                    deadline = None;
                    self.uplink.push(&Up::Cancel { request });
                    self.uplink.flush();
                    self.lock()
                }
                Some(left) => {
                    let woken = self.arrived.wait_timeout(inbox, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A signal of the parent's death is a setting of each thread. The first thread's is the one that
/// ends this process; this thread's wakes it, should it be stopped.
fn wake_when_orphaned() {
    // Without it, an orphan that is stopped ends when it is continued.
    let _ = prctl::set_pdeathsig(Signal::SIGCONT);
}

fn reply_of(packet: &Arc<Packet>, answer: Answer<'_>) -> Option<Reply> {
    let other = match answer {
        Answer::Item {
            token,
            ordinal,
            id,
            attempt,
            body,
        } => {
            return Some(Reply::Item(Arrival {
                token,
                ordinal,
                id,
                attempt,
                packet: Arc::clone(packet),
                span: packet.locate(body)?,
            }));
        }
        Answer::Accepted(id) => Answer::Accepted(id),
        Answer::Full => Answer::Full,
        Answer::Empty => Answer::Empty,
        Answer::Closed => Answer::Closed,
        Answer::Joined { done, dead } => Answer::Joined { done, dead },
        Answer::TimedOut { unfinished } => Answer::TimedOut { unfinished },
        Answer::NoWorkersLeft { why, unfinished } => Answer::NoWorkersLeft { why, unfinished },
        Answer::JoinWaitsForItself => Answer::JoinWaitsForItself,
        Answer::JournalFailed { why } => Answer::JournalFailed { why },
        Answer::TooLarge { bytes, bytes_max } => Answer::TooLarge { bytes, bytes_max },
        Answer::State {
            len,
            is_full,
            is_closed,
        } => Answer::State {
            len,
            is_full,
            is_closed,
        },
    };
    Some(Reply::Other(other))
}

/// A cause's own words, without what the verdict adds again.
fn cause_text(cause: &Cause) -> String {
    match cause {
        Cause::Nack(text)
        | Cause::Panicked(text)
        | Cause::Undecodable(text)
        | Cause::Unserializable(text) => text.clone(),
        other => other.to_string(),
    }
}

fn nanos(service: Duration) -> u64 {
    u64::try_from(service.as_nanos()).unwrap_or(u64::MAX)
}

/// A handler's life in a worker process.
pub(super) fn run_handler<T, R, E, F>(session: &Arc<Session>, handler: &F)
where
    F: Fn(T) -> Result<R, E>,
    T: DeserializeOwned + 'static,
    R: Serialize,
    E: Display,
{
    current::set(Side::Remote(Arc::clone(session)), type_name::<T>());
    session.is_handler.store(true, Ordering::Relaxed);
    while let Some(arrival) = session.next_arrival() {
        let began_ns = monotonic_ns();
        session.begin(&arrival, began_ns);
        fail::point("worker: started");
        let ending = attempt(handler, arrival.body());
        fail::point("worker: finished");
        let service_ns = monotonic_ns().saturating_sub(began_ns);
        session.end(&arrival, Duration::from_nanos(service_ns), ending);
        fail::point("worker: acknowledged");
    }
}
