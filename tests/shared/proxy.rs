//! A proxy on the loopback interface before a Redis server, for a test to affect a connection like
//! a network: cut it, refuse it, hold or delay its messages, or cut it between a request and its
//! reply.
//!
//! A suite that uses this declares the modules `port`, `redis_server` and `resp` of this folder
//! beside it, with what those need.
#![allow(dead_code, reason = "each suite uses what it needs")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown as Both, shutdown};

use crate::deadline::until;
use crate::port::Port;
use crate::redis_server::Server;
use crate::resp::Frame;

/// A proxy. When it is dropped, its port, its connections and its threads are gone.
pub(crate) struct Proxy {
    url: String,
    port: Port,
    shared: Arc<Shared>,
    /// `None` while connections are refused.
    door: Mutex<Option<Door>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse();
        let threads = std::mem::take(&mut self.shared.state().threads);
        for thread in threads {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Proxy {
    /// Passes everything on to the server, and back.
    pub(crate) fn before(server: &Server) -> Proxy {
        let port = Port::reserve();
        let proxy = Proxy {
            url: server.url_by(port.number()),
            shared: Arc::new(Shared {
                name: format!("proxy-{}", port.number()),
                target: Mutex::new(address_of(server)),
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
            door: Mutex::new(None),
            port,
        };
        proxy.restore();
        proxy
    }

    /// Turns it to this server, as after a failover. Connections to the former one stay.
    pub(crate) fn turn_to(&self, server: &Server) {
        let mut target = self.shared.target.lock();
        *target.as_deref_mut().expect("nobody panics with it") = address_of(server);
    }

    /// Returns the server's address for clients that come by this proxy.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the number of connections.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections.len()
    }

    /// Ends all connections. New ones are served.
    pub(crate) fn cut(&self) {
        self.shared.cut_all();
    }

    /// Ends all connections, and refuses new ones.
    pub(crate) fn refuse(&self) {
        let door = self.door().take();
        // No client is let in after this.
        drop(door);
        self.shared.cut_all();
    }

    /// Ends all connections, and new ones as soon as they are accepted.
    pub(crate) fn hang_up(&self) {
        self.shared.state().is_hanging_up = true;
        self.shared.cut_all();
    }

    /// Takes the messages of both sides and passes nothing on, not even the end of a connection.
    /// `restore` passes the held messages on, like TCP's repetition; a `cut` before that loses
    /// them.
    pub(crate) fn black_hole(&self) {
        self.shared.change(|state| state.is_holding = true);
    }

    /// Passes everything again, also replies that were to be lost. Delays stay.
    pub(crate) fn restore(&self) {
        self.shared.change(|state| {
            state.is_hanging_up = false;
            state.is_holding = false;
            state.loss = None;
        });
        let mut door = self.door();
        if door.is_none() {
            *door = Some(Door::open(self.port(), Arc::clone(&self.shared)));
        }
    }

    /// Makes requests and replies take this time longer, without changing their rate.
    pub(crate) fn delay(&self, requests: Duration, replies: Duration) {
        self.shared
            .change(|state| state.delays = [requests, replies]);
    }

    /// Cuts the connection in place of the reply to the next command with this word, in any case.
    /// The server carries the command out. Replies to earlier commands pass.
    ///
    /// It reads the traffic, and so is not for TLS, nor for MONITOR and subscriptions.
    pub(crate) fn lose_reply_to(&self, word: &str) {
        self.lose(Loss::Reply, word);
    }

    /// Cuts the connection before the next command with this word in it gets to the server.
    pub(crate) fn lose_request_of(&self, word: &str) {
        self.lose(Loss::Request, word);
    }

    fn lose(&self, what: Loss, word: &str) {
        self.shared
            .change(|state| state.loss = Some((what, word.to_owned())));
    }

    /// Returns the number of lost requests and replies so far.
    pub(crate) fn losses(&self) -> usize {
        self.shared.state().losses
    }

    /// Waits until so many were lost.
    pub(crate) fn await_losses(&self, count: usize) {
        let what = format!("{count} requests and replies are lost");
        until(&what, || self.losses() >= count);
    }

    fn door(&self) -> MutexGuard<'_, Option<Door>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
enum Loss {
    Request,
    Reply,
}

/// The listening socket, with the thread that accepts.
struct Door {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    fn open(port: u16, shared: Arc<Shared>) -> Door {
        let listener = Arc::new(TcpListener::bind(("127.0.0.1", port)).unwrap());
        let entrance = Arc::clone(&listener);
        let name = shared.name.clone();
        let accept = move || {
            for client in entrance.incoming().map_while(Result::ok) {
                shared.admit(client);
            }
        };
        Door {
            listener,
            thread: Some(start(&name, accept)),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // On Linux this ends an accept with an error.
        let _ = shutdown(self.listener.as_raw_fd(), Both::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn address_of(server: &Server) -> SocketAddr {
    let address = format!("{}:{}", server.address(), server.port());
    address.parse().expect("servers listen at addresses")
}

/// Starts a thread, whose name shows whether one is left behind.
fn start(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).unwrap()
}

/// The state that the proxy's threads share.
struct Shared {
    name: String,
    /// The destination of new connections.
    target: Mutex<SocketAddr>,
    state: Mutex<State>,
    /// Told of a change of the state, or a cut of a connection.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_hanging_up: bool,
    is_holding: bool,
    /// For requests and replies.
    delays: [Duration; 2],
    loss: Option<(Loss, String)>,
    losses: usize,
    connections: Vec<Arc<Connection>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn admit(self: &Arc<Self>, client: TcpStream) {
        // The client sees its connection end if there is no server.
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(server) = TcpStream::connect(target) else {
            return;
        };
        let connection = Arc::new(Connection::of(client, server));
        let mut state = self.state();
        state.threads.retain(|thread| !thread.is_finished());
        if state.is_hanging_up {
            return;
        }
        state.connections.push(Arc::clone(&connection));
        for way in [Way::Requests, Way::Replies] {
            let (sender, envelopes) = channel();
            let (shared, own) = (Arc::clone(self), Arc::clone(&connection));
            let take = move || own.take(way, &sender, &shared);
            state.threads.push(start(&self.name, take));
            let (shared, own) = (Arc::clone(self), Arc::clone(&connection));
            let pass = move || own.pass(way, &envelopes, &shared);
            state.threads.push(start(&self.name, pass));
        }
    }

    fn cut_all(&self) {
        self.change(|state| {
            for connection in state.connections.drain(..) {
                connection.end();
            }
        });
    }

    fn cut(&self, connection: &Arc<Connection>) {
        self.change(|state| {
            connection.end();
            state
                .connections
                .retain(|one| !Arc::ptr_eq(one, connection));
        });
    }

    /// Waits until the message taken at `taken` may pass, and returns `false` after a cut.
    fn may_pass(&self, way: Way, taken: Instant, connection: &Connection) -> bool {
        let mut state = self.state();
        loop {
            if connection.is_cut.load(Ordering::Relaxed) {
                return false;
            }
            let due = taken + state.delays[way as usize];
            let left = due.saturating_duration_since(Instant::now());
            let woken = match (state.is_holding, left.is_zero()) {
                (true, _) => self.changed.wait(state).map_err(PoisonError::into_inner),
                (false, true) => return true,
                (false, false) => {
                    let woken = self.changed.wait_timeout(state, left);
                    woken
                        .map(|(state, _)| state)
                        .map_err(|error| error.into_inner().0)
                }
            };
            state = woken.unwrap_or_else(|state| state);
        }
    }

    /// Returns the loss if a command is the next one whose request or reply is to be lost.
    fn loses(&self, command: &Frame) -> Option<Loss> {
        let is_it = |(_, word): &mut (Loss, String)| command.names(word);
        self.state().loss.take_if(is_it).map(|(loss, _)| loss)
    }
}

#[derive(Clone, Copy)]
enum Way {
    Requests,
    Replies,
}

/// A message from one side with its time, for the other side.
struct Envelope {
    taken: Instant,
    what: EventKind,
}

enum EventKind {
    Bytes(Vec<u8>),
    End,
    /// The place of a loss, at which the connection is cut.
    Loss,
}

/// A client's connection, with its own to the server. Each direction has a thread that takes and
/// one that passes on, so that messages are taken even while nothing passes.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    is_cut: AtomicBool,
    /// The number of the command whose reply is to be lost, counted from 1; 0 if none.
    lost_reply: AtomicUsize,
    /// The number of directions that have ended.
    ended: AtomicUsize,
}

impl Connection {
    fn of(client: TcpStream, server: TcpStream) -> Connection {
        for stream in [&client, &server] {
            // The other side may be gone already, which the next read shows.
            let _ = stream.set_nodelay(true);
        }
        Connection {
            client,
            server,
            is_cut: AtomicBool::new(false),
            lost_reply: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        }
    }

    /// It is under the state's lock, so that no waiting thread misses it.
    fn end(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        for stream in [&self.client, &self.server] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn ends(&self, way: Way) -> (&TcpStream, &TcpStream) {
        match way {
            Way::Requests => (&self.client, &self.server),
            Way::Replies => (&self.server, &self.client),
        }
    }

    /// Reads one side to its end.
    fn take(&self, way: Way, envelopes: &Sender<Envelope>, shared: &Shared) {
        let mut frames = Frames::default();
        let mut chunk = [0; 64 * 1024];
        loop {
            let length = self.ends(way).0.read(&mut chunk).unwrap_or(0);
            let mut bytes = chunk[..length].to_vec();
            let loss = self.loss_in(way, &mut frames, &bytes, shared);
            bytes.truncate(loss.unwrap_or(length));
            let send = |what| {
                let taken = Instant::now();
                // The passing thread is gone if the connection was cut.
                let _ = envelopes.send(Envelope { taken, what });
            };
            send(if length == 0 {
                EventKind::End
            } else {
                EventKind::Bytes(bytes)
            });
            if loss.is_some() {
                send(EventKind::Loss);
            }
            if length == 0 || loss.is_some() {
                return;
            }
        }
    }

    /// Returns the place in these bytes at which the loss begins.
    fn loss_in(
        &self,
        way: Way,
        frames: &mut Frames,
        bytes: &[u8],
        shared: &Shared,
    ) -> Option<usize> {
        for (number, start, frame) in frames.read(bytes) {
            let is_lost = match way {
                Way::Requests => match shared.loses(&frame) {
                    Some(Loss::Request) => true,
                    Some(Loss::Reply) => {
                        self.lost_reply.store(number, Ordering::SeqCst);
                        false
                    }
                    None => false,
                },
                Way::Replies => self.lost_reply.load(Ordering::SeqCst) == number,
            };
            if is_lost {
                return Some(start);
            }
        }
        None
    }

    /// Passes the taken messages on, when they may pass.
    fn pass(self: &Arc<Self>, way: Way, envelopes: &Receiver<Envelope>, shared: &Shared) {
        let mut to = self.ends(way).1;
        for envelope in envelopes {
            if !shared.may_pass(way, envelope.taken, self) {
                return;
            }
            match envelope.what {
                EventKind::Bytes(bytes) => {
                    if to.write_all(&bytes).is_err() {
                        return shared.cut(self);
                    }
                }
                EventKind::End => {
                    let _ = to.shutdown(Shutdown::Write);
                    if self.ended.fetch_add(1, Ordering::SeqCst) == 1 {
                        shared.cut(self);
                    }
                    return;
                }
                EventKind::Loss => {
                    shared.cut(self);
                    return shared.change(|state| state.losses += 1);
                }
            }
        }
    }
}

/// Counts the frames that pass.
#[derive(Default)]
struct Frames {
    unread: Vec<u8>,
    count: usize,
    /// True if this is not RESP: TLS, say.
    is_foreign: bool,
}

impl Frames {
    /// Returns the frames that end in these bytes: their number counted from 1, and their beginning
    /// in the bytes, or 0 if it was before them.
    fn read(&mut self, bytes: &[u8]) -> Vec<(usize, usize, Frame)> {
        let mut read = Vec::new();
        if self.is_foreign {
            return read;
        }
        let before = self.unread.len();
        self.unread.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            match Frame::parse(&self.unread[at..]) {
                Ok(Some((frame, length))) => {
                    // A push has no request.
                    if !matches!(frame, Frame::Push(_)) {
                        self.count += 1;
                        read.push((self.count, at.saturating_sub(before), frame));
                    }
                    at += length;
                }
                Ok(None) => break,
                Err(_) => {
                    self.is_foreign = true;
                    break;
                }
            }
        }
        self.unread.drain(..at);
        read
    }
}
