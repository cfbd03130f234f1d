//! Clients: processes that reach a queue by a connection of their own, a worker of this process that
//! uses another queue than its own, or a program that is nobody's child.
//!
//! Each has a thread here that reads it, and a place in the ledger, which lives as long as the
//! connection. When that has been read to its end, what the client held goes back. The thread knows
//! nothing of how the connection came to be.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::PollFlags;

use super::Broker;
use super::attachment::Attachment;
use super::core::Core;
use crate::fail;
use crate::link::stream::{Outgoing, PutListener, StreamLink};
use crate::payload::Payload;
use crate::protocol::address::{Home, QueueAddress};
use crate::protocol::frame::{self, Ask, Body, Up, Wait};
use crate::protocol::peer_error::PeerError;
use crate::protocol::stream::{Came, FrameReader, Hello, OutFrame, Welcome};
use crate::sys::{signals, stream, threads};
use crate::worker::current;
use crate::worker::session::Session;
use dishrack_core::dispatcher::{Departure, Request};
use dishrack_core::ledger::{HolderId, Outcome, Refusal, Scene, Token};

/// Enough for decoding, as for the readers of workers.
const STACK_BYTES: usize = 256 * 1024;

/// The longest time that a client may stop within a frame, or before its first one.
const STALL: Duration = Duration::from_secs(10);

/// A queue of this process, and the type of its items.
pub(crate) type ServedQueue = (Arc<Broker>, &'static str);

/// The queues that others may have the addresses of.
static QUEUES: LazyLock<Mutex<HashMap<u64, NamedQueue>>> = LazyLock::new(Mutex::default);

/// A door to a queue, until it is dropped: programs may attach, which may get items and ask for times, or will
/// be able to. Who opens one before the first item is begun is told of all.
#[derive(Debug)]
pub(crate) struct OpenDoor(Arc<Broker>);

impl Drop for OpenDoor {
    fn drop(&mut self) {
        self.0.doors.fetch_sub(1, Ordering::Relaxed);
        self.0.see_to_bars();
    }
}

type NamedQueue = (Weak<Broker>, &'static str);

/// Returns the address of this process.
pub(crate) fn home() -> Home {
    static NONCE: OnceLock<u64> = OnceLock::new();
    let nonce = *NONCE.get_or_init(|| RandomState::new().build_hasher().finish());
    // A process that was forked has the same number, and another pid.
    let pid = std::process::id();
    Home { pid, nonce }
}

impl Broker {
    /// Returns the address at which other processes find this queue from now on.
    pub(crate) fn address(self: &Arc<Self>, item_type: &'static str) -> QueueAddress {
        let entry = || (Arc::downgrade(self), item_type);
        QUEUES.lock().entry(self.id).or_insert_with(entry);
        QueueAddress {
            home: home(),
            queue: self.id,
        }
    }

    /// Opens a door, or says that one will be opened.
    pub(crate) fn open_door(self: &Arc<Self>) -> OpenDoor {
        self.doors.fetch_add(1, Ordering::Relaxed);
        self.see_to_bars();
        OpenDoor(Arc::clone(self))
    }

    /// Returns `true` if its items outlive this process.
    pub(crate) fn keeps_items(&self) -> bool {
        self.storage.local().is_some() || self.is_shared()
    }

    pub(super) fn forget_address(&self) {
        QUEUES.lock().remove(&self.id);
    }
}

/// Returns the queue of this process at an address, if it is there.
pub(crate) fn find(address: QueueAddress) -> Option<ServedQueue> {
    if address.home != home() {
        return None;
    }
    let queues = QUEUES.lock();
    let (broker, item_type) = queues.get(&address.queue)?;
    Some((broker.upgrade()?, item_type))
}

/// Lets puts pass, one by one; `false` if nothing is to be put any more, and then it has not.
pub(crate) type Admit = Arc<dyn Fn(&mut dyn FnMut()) -> bool + Send + Sync>;

/// The treatment of the puts of a program that is attached.
#[derive(Clone)]
pub(crate) struct ClientPuts {
    pub(crate) admit: Admit,
    pub(crate) listener: PutListener,
}

/// A connection, before its client has said anything by it.
pub(crate) struct Caller {
    pub(crate) socket: OwnedFd,
    /// The bytes that have come by it already.
    pub(crate) received: Vec<u8>,
    /// The queue that is served where it has connected, if it connected to one.
    pub(crate) served: Option<ServedQueue>,
    /// The name that is shown, and the process, by the kernel's word.
    pub(crate) worker: Arc<str>,
    pub(crate) pid: u32,
    pub(crate) puts: Option<ClientPuts>,
}

/// Serves a connection that a worker has made, to any queue of this process, or passes it on towards
/// the one that it is for. The thread that does so takes no lock of a queue before a caller's is free.
/// Where there can be none, the worker sees the connection's end.
pub(crate) fn connect_worker(socket: OwnedFd, home: Home, (worker, pid): (Arc<str>, u32)) {
    if let Some(session) = session_towards(home) {
        let _ = pass_on(session, socket, home, (worker, pid));
        return;
    }
    let caller = Caller {
        socket,
        received: Vec::new(),
        served: None,
        worker,
        pid,
        puts: None,
    };
    let _ = serve(caller, || {});
}

/// Serves a connection in a thread of its own, which calls `end` when that is over. What goes wrong
/// is the client's loss. Returns the way to end it.
pub(crate) fn serve(
    caller: Caller,
    end: impl FnOnce() + Send + 'static,
) -> io::Result<Arc<Outgoing>> {
    let Caller {
        socket,
        received,
        served,
        worker,
        pid,
        puts,
    } = caller;
    let outgoing = Outgoing::new(socket)?;
    let kept = Arc::clone(&outgoing);
    let thread = std::thread::Builder::new()
        .name(format!("client {pid}"))
        .stack_size(STACK_BYTES);
    thread.spawn(move || {
        signals::block_all();
        let serve = || {
            let mut reader = FrameReader::with(received);
            let greeted = greet(&outgoing, &mut reader, served);
            if let Some(broker) = greeted {
                Reading::begin(broker, outgoing, reader, (worker, pid), puts).run();
            }
        };
        // A panic ends the connection, and is told by itself.
        threads::catch(serve, drop);
        end();
    })?;
    Ok(kept)
}

/// Hears which queue the client wants, and says whether it may have it. Returns that queue.
fn greet(
    outgoing: &Outgoing,
    reader: &mut FrameReader,
    served: Option<ServedQueue>,
) -> Option<Arc<Broker>> {
    let socket = outgoing.socket();
    let until = Instant::now() + STALL;
    let record = reader.await_record(socket, until).ok()?;
    let answer = answer_to(&record, served);
    let welcome = match &answer {
        Ok((broker, address)) => Welcome::Accepted {
            address: *address,
            keeps_items: broker.keeps_items(),
        },
        Err(why) => Welcome::Refused { why },
    };
    // It is the first that is sent, so there is room for it.
    let sent = OutFrame::of_greeting(&welcome).send(socket, false);
    sent.ok()?;
    answer.ok().map(|(broker, _)| broker)
}

fn answer_to(
    record: &[u8],
    served: Option<ServedQueue>,
) -> Result<(Arc<Broker>, QueueAddress), String> {
    let hello: Hello<'_> = postcard::from_bytes(record).map_err(|error| {
        format!("the first frame of a connection says which queue is wanted: {error}")
    })?;
    let (broker, item_type) = match hello.queue {
        Some(address) => find(address).ok_or("that queue is not there any more")?,
        None => served.ok_or("no queue is served here, so say which one is wanted")?,
    };
    if hello.item_type != item_type {
        let theirs = hello.item_type;
        return Err(format!(
            "the items of this queue are of the type {item_type}, not {theirs}"
        ));
    }
    let address = broker.address(item_type);
    Ok((broker, address))
}

/// Returns the session of this process, if it is a worker and that is not its own home. One that is no
/// worker refuses the connection, when that says which queue it wants.
fn session_towards(home: Home) -> Option<&'static Arc<Session>> {
    current::session().filter(|_| home != self::home())
}

/// Passes a connection on to this process's supervisor, in a thread, because it may have to wait.
fn pass_on(
    session: &'static Arc<Session>,
    socket: OwnedFd,
    home: Home,
    (worker, pid): (Arc<str>, u32),
) -> io::Result<()> {
    let thread = std::thread::Builder::new()
        .name(format!("client {pid}"))
        .stack_size(STACK_BYTES);
    let pass = move || {
        signals::block_all();
        let _ = session.uplink.pass_on(&socket, home, Some((&worker, pid)));
    };
    thread.spawn(pass).map(drop)
}

/// The thread's view of a connection to one queue.
struct Reading {
    broker: Arc<Broker>,
    holder: HolderId,
    outgoing: Arc<Outgoing>,
    reader: FrameReader,
    puts: Option<ClientPuts>,
}

impl Reading {
    fn begin(
        broker: Arc<Broker>,
        outgoing: Arc<Outgoing>,
        reader: FrameReader,
        (worker, pid): (Arc<str>, u32),
        puts: Option<ClientPuts>,
    ) -> Self {
        let listener = puts.as_ref().map(|puts| Arc::clone(&puts.listener));
        let attachment = Attachment {
            link: Box::new(StreamLink::new(Arc::clone(&outgoing), listener)),
            uplink: None,
            local: None,
            worker,
            pid,
            stderr: None,
            overseer: None,
        };
        let holder = broker.with(|core| core.client_came(attachment));
        Reading {
            broker,
            holder,
            outgoing,
            reader,
            puts,
        }
    }

    fn run(mut self) {
        // What it has goes back also after a panic, as if what it said had made no sense.
        let read = catch_unwind(AssertUnwindSafe(|| self.read()));
        let departure = match read {
            _ if self.outgoing.is_asked_to_end() => Departure::Asked,
            Ok(Ok(leaving_unread)) => Departure::Gone {
                taken: self.outgoing.taken(leaving_unread),
            },
            // What it said made no sense, or it stopped saying it.
            Ok(Err(_)) | Err(_) => Departure::Gone {
                taken: self.outgoing.taken(false),
            },
        };
        stream::end(self.outgoing.socket());
        let holder = self.holder;
        fail::point("client: gone");
        let untold = self.broker.with(|core| core.client_left(holder, departure));
        if let Some(puts) = self.puts.filter(|_| untold > 0) {
            (puts.listener)(untold);
        }
        fail::point("client: given back");
    }

    /// Reads to the end. Returns `true` if the client has left something unread.
    fn read(&mut self) -> Result<bool, PeerError> {
        let mut heard = Instant::now();
        loop {
            self.hear_all()?;
            let listens = !self.outgoing.is_backed_up();
            let mut files = self.outgoing.polled(listens);
            let until = (listens && self.reader.is_within()).then(|| heard + STALL);
            let is_any = stream::wait(&mut files, until).map_err(PeerError::Unheard)?;
            if !is_any {
                return Err(PeerError::Stalled);
            }
            let [socket, _] = files.map(|file| file.revents());
            self.outgoing.take_bell();
            // That the other side is gone is noticed where it is read.
            let _ = self.outgoing.flush();
            if socket.intersection(!PollFlags::OUT).is_empty() {
                continue;
            }
            let came = self.reader.receive(self.outgoing.socket());
            match came.map_err(PeerError::Unheard)? {
                Came::Bytes => heard = Instant::now(),
                Came::Nothing => {}
                Came::End { leaving_unread } => return Ok(leaving_unread),
            }
        }
    }

    /// Handles all records that have come.
    fn hear_all(&mut self) -> Result<(), PeerError> {
        while let Some(record) = self.reader.next()? {
            let record = frame::decode::<Up<'_>>(record)?;
            fail::point("client: heard");
            let admit = self.puts.as_ref().map(|puts| &puts.admit);
            hear(&self.broker, self.holder, &self.outgoing, admit, record)?;
            fail::point("client: served");
            if self.broker.has_inline() {
                self.broker.drive_inline();
            }
        }
        Ok(())
    }
}

fn hear(
    broker: &Broker,
    holder: HolderId,
    outgoing: &Outgoing,
    admit: Option<&Admit>,
    record: Up<'_>,
) -> Result<(), PeerError> {
    match record {
        Up::Ask {
            request: number,
            ask: Ask::Put { wait, body },
        } => {
            let Body::Inline(bytes) = body else {
                return Err(PeerError::NoBytes);
            };
            outgoing.note_request(number, bytes.len())?;
            put(broker, Request { holder, number }, bytes, wait, admit);
        }
        Up::Ask {
            request: number,
            ask,
        } => {
            outgoing.note_request(number, 0)?;
            let request = Request { holder, number };
            broker.with(|core| core.receive_question(request, ask));
        }
        Up::Cancel { request: number } => {
            broker.with(|core| core.dispatcher.cancel(Request { holder, number }));
        }
        Up::Settled {
            ordinal,
            service_ns,
            outcome,
        } => {
            let token = Token::of(holder, ordinal);
            let service = Duration::from_nanos(service_ns);
            let outcome = outcome.try_map(|body| match body {
                Body::Inline(bytes) => Ok(Payload::received(bytes, false)),
                Body::Shared { .. } => Err(PeerError::NoBytes),
            })?;
            broker.with(|core| core.hear_outcome(token, service, outcome))?;
        }
        Up::SettledRun {
            first,
            last,
            service_ns,
        } => {
            let run = frame::acknowledged_run(first, last)?;
            let service = Duration::from_nanos(service_ns);
            broker.with(|core| core.settle_run(holder, run, service));
        }
        Up::Stopping => {
            outgoing.ask_to_end();
            broker.with(|core| core.dispatcher.stop(holder));
        }
        Up::Ready { .. }
        | Up::Started { .. }
        | Up::HasBegun { .. }
        | Up::Idle { .. }
        | Up::Worn
        | Up::Keeps { .. }
        | Up::Released { .. }
        | Up::Forget { .. }
        | Up::Connect { .. } => return Err(PeerError::Misplaced("a worker says by its ring")),
    }
    Ok(())
}

/// Puts an item, unless nothing is to be put any more.
fn put(broker: &Broker, request: Request, bytes: &[u8], wait: Wait, admit: Option<&Admit>) {
    // Copied without the lock.
    let mut body = Some(Payload::received(bytes, broker.shares_memory()));
    let mut put = || {
        let body = body.take().unwrap_or_default();
        broker.with(|core| core.receive_put(request, body, wait));
    };
    let is_admitted = match admit {
        Some(admit) => admit(&mut put),
        None => {
            put();
            true
        }
    };
    if !is_admitted {
        broker.with(|core| core.refuse(request, Refusal::Closed));
    }
}

impl Core {
    /// Serves a connection that a worker asks for, or passes it on: another's, or its own.
    pub(super) fn connect(
        &self,
        holder: HolderId,
        socket: OwnedFd,
        home: Home,
        from: Option<(&str, u32)>,
    ) {
        let attachment = self.attachments.get(holder);
        let own = || attachment.map(|one| (Arc::clone(&one.worker), one.pid));
        let from = from.map(|(worker, pid)| (Arc::from(worker), pid));
        let (worker, pid) = from.or_else(own).unwrap_or_else(|| ("worker".into(), 0));
        connect_worker(socket, home, (worker, pid));
    }

    fn client_came(&mut self, attachment: Attachment) -> HolderId {
        // Its items may rest, and there may be no pool.
        self.timer.start();
        let holder = self.dispatcher.client_came();
        self.attachments.insert(holder, attachment);
        holder
    }

    /// Returns the number of its items that were accepted and that it was not told of.
    fn client_left(&mut self, holder: HolderId, departure: Departure) -> u64 {
        let untold = self.dispatcher.untold_puts(holder);
        let attachment = self.attachments.remove(holder);
        let (worker, pid) = attachment.map_or_else(Default::default, |attachment| {
            (attachment.worker.to_string(), attachment.pid)
        });
        let scene = Scene::of_worker(worker, pid, Duration::ZERO, self.emitter.now_unix());
        let now = self.emitter.now();
        if self.dispatcher.client_left(holder, departure, scene, now) {
            self.dispatcher.ledger.handle_unstoppable(now);
            self.wake_all();
        }
        untold
    }

    /// Ends a client's delivery as it says, if it is its own still.
    fn hear_outcome(
        &mut self,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), PeerError> {
        Core::check_word(&outcome)?;
        if self.dispatcher.is_heard(token, outcome.is_return()) {
            // The token is not stale, as was just checked.
            let _ = self.settle(token, service, outcome);
        }
        Ok(())
    }
}
