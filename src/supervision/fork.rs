//! A fork server: the process, a thread that starts it and waits for it, and the orders to it.
//!
//! What is decided about them is in `dishrack_core::pool::forks`. An order is sent by whoever gives
//! it, and its end is posted to its supervisor by the thread that reads the answers, so the thread
//! here has nothing to do while workers are forked. It lives as long as their supervisors: the kernel
//! takes the end of the thread that started the fork server for the death of the parent of all that
//! was forked from it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use nix::sys::eventfd::EventFd;
use parking_lot::Mutex;

use super::notes::{Life, Note, NoteSender, OrderEnd};
use super::reap::Reaper;
use super::spawn::{self, Launch, Leads, StartMessage};
use super::uplink;
use crate::protocol::orders::{Assignment, ForkReply, Order};
use crate::sys::descriptors::DescriptorSocket;
use crate::sys::program::{Handover, Image};
use crate::sys::{signals, threads};
use dishrack_core::ledger::Exit;
use dishrack_core::pool::forks::{ForkEffect, ForkOrders, ForkRefusal};
use dishrack_core::pool::spec::ChildSpec;

/// A process from which worker processes are forked, for all supervisors that are given it by
/// [`Builder::fork_server`](crate::Builder::fork_server).
///
/// A supervisor whose workers are forked has a fork server of its own otherwise. With one for all of
/// them the next supervisor's first worker is there at once, and what
/// [`Roles::preload`](crate::Roles::preload) loads is in memory once.
///
/// The process is started for the first worker, and ends with its last user: this value, its clones,
/// and the supervisors that have it. It has the environment, the standard output and the limits that
/// this process had at its start, and no files of any worker. If it dies, workers that were forked
/// from it go on, and the next start has a new one.
///
/// # Example
///
/// ```no_run
/// use dishrack::{ForkServer, JoinableQueue, Supervisor};
///
/// fn dry(dish: String) -> Result<(), String> {
///     Ok(())
/// }
///
/// dishrack::serve(|roles| roles.handler(dry));
/// let server = ForkServer::new();
/// let (cups, plates) = (JoinableQueue::unbounded(), JoinableQueue::unbounded());
/// let builder = Supervisor::builder().processes(2).fork_server(&server);
/// let one = builder.clone().handler(&cups, dry)?;
/// let other = builder.handler(&plates, dry)?;
/// # drop((one, other));
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Clone)]
pub struct ForkServer(Arc<ForkServerOwner>);

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForkServer")
            .field(&self.0.shared.title)
            .finish()
    }
}

impl Default for ForkServer {
    fn default() -> Self {
        ForkServer::new()
    }
}

impl ForkServer {
    /// Describes one that is this program again.
    #[must_use]
    pub fn new() -> Self {
        ForkServer::of_launch(&Launch::default())
    }

    /// Describes one that is another program; see [`Builder::program`](crate::Builder::program).
    #[must_use]
    pub fn of_program(
        path: impl Into<OsString>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        ForkServer::of_launch(&Launch {
            image: Some(Arc::new(Image::new(path.into(), arguments))),
            ..Launch::default()
        })
    }

    fn of_launch(launch: &Launch) -> Self {
        let title = format!("fork-server of supervisor {}", std::process::id());
        ForkServer::with(title, launch, &ChildSpec::default())
    }

    /// Returns the program that it is, if it is not this one again.
    pub(super) fn image(&self) -> Option<Arc<Image>> {
        self.0.shared.launch.image.clone()
    }

    /// Describes the one of a single pool.
    pub(super) fn of_pool(name: &str, launch: &Launch, spec: &ChildSpec) -> Self {
        ForkServer::with(format!("fork-server of {name}"), launch, spec)
    }

    fn with(title: String, launch: &Launch, spec: &ChildSpec) -> Self {
        let book = OrderBook {
            orders: ForkOrders::new(spec.intensity, spec.period),
            given: HashMap::new(),
            last: 0,
            link: None,
            why: String::new(),
            waker: None,
            task: ForkTask::default(),
            is_broken: false,
        };
        ForkServer(Arc::new(ForkServerOwner {
            parent: std::process::id(),
            shared: Arc::new(SharedForks {
                title,
                launch: launch.clone(),
                origin: Instant::now(),
                book: Mutex::new(book),
            }),
            thread: Mutex::new(None),
        }))
    }
}

/// Ends the thread, and with it the process, when nobody has a fork server any more.
struct ForkServerOwner {
    /// The process that this is in. A copy of it has no such thread.
    parent: u32,
    shared: Arc<SharedForks>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for ForkServerOwner {
    fn drop(&mut self) {
        if self.parent != std::process::id() {
            return;
        }
        let mut book = self.shared.book.lock();
        book.task.is_over = true;
        book.wake();
        drop(book);
        if let Some(thread) = self.thread.lock().take() {
            // A panic there was told to whoever had an order.
            let _ = thread.join();
        }
    }
}

impl ForkServerOwner {
    /// Takes an order, whose end will be posted. Returns its number.
    fn order(&self, life: Life, notes: &NoteSender, message: StartMessage) -> io::Result<u64> {
        if self.parent != std::process::id() {
            let words = "it belongs to the process that this one was forked from: make another one";
            return Err(io::Error::other(words));
        }
        self.start_thread()?;
        let mut book = self.shared.book.lock();
        book.last += 1;
        let order = book.last;
        let given = GivenOrder {
            life,
            notes: notes.clone(),
            message: Some(message),
        };
        book.given.insert(order, given);
        book.orders.order(order);
        book.follow();
        Ok(order)
    }

    fn start_thread(&self) -> io::Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return Ok(());
        }
        let reaper = Reaper::new()?;
        self.shared.book.lock().waker = Some(reaper.waker());
        let shared = Arc::clone(&self.shared);
        let name = std::thread::Builder::new().name("dishrack-forks".into());
        let started = name.spawn(move || {
            signals::block_all();
            let fail = |why: String| {
                if threads::tell(why.clone()) {
                    return;
                }
                // Our bug: say so, rather than leave everybody waiting.
                let mut book = shared.book.lock();
                book.why = format!("internal error: {why}");
                book.is_broken = true;
                book.orders.not_started();
                book.follow();
            };
            threads::catch(|| shared.run(reaper), fail);
        })?;
        *thread = Some(started);
        Ok(())
    }
}

/// The part that the thread, those who give orders and the reader of answers have together.
struct SharedForks {
    title: String,
    launch: Launch,
    origin: Instant,
    book: Mutex<OrderBook>,
}

/// The orders, and what leads to the process.
struct OrderBook {
    orders: ForkOrders,
    given: HashMap<u64, GivenOrder>,
    /// The number of the last order.
    last: u64,
    link: Option<OrderLink>,
    /// The reason why it could not be started.
    why: String,
    waker: Option<Arc<EventFd>>,
    task: ForkTask,
    /// True if there is no thread any more.
    is_broken: bool,
}

/// An order, and who has given it.
struct GivenOrder {
    life: Life,
    notes: NoteSender,
    message: Option<StartMessage>,
}

/// The next work of the thread.
#[derive(Debug, Clone, Copy, Default)]
struct ForkTask {
    start: bool,
    kill: bool,
    is_over: bool,
}

/// Our ends of what leads to a fork server.
struct OrderLink {
    orders: IpcSender<Assignment>,
    /// The other end of the socket that it has inherited.
    socket: DescriptorSocket,
}

impl OrderBook {
    /// Carries out what is decided; what only the thread can do it is woken for.
    fn follow(&mut self) {
        while let Some(effect) = self.orders.poll_effect() {
            match effect {
                ForkEffect::Start if self.is_broken => self.orders.not_started(),
                ForkEffect::Start => {
                    self.task.start = true;
                    self.wake();
                }
                ForkEffect::Kill => {
                    self.task.kill = true;
                    self.wake();
                }
                ForkEffect::Send(order) => self.send(order),
                ForkEffect::Lost(order, exit) => self.tell(order, OrderEnd::Lost(exit)),
                ForkEffect::Refused(order, ForkRefusal::NotStarted) => {
                    let why = format!("no fork server: {}", self.why);
                    self.tell(order, OrderEnd::Refused(why));
                }
                ForkEffect::Refused(order, ForkRefusal::DiedTooOften(exit)) => {
                    let why = format!("the fork server died too often, at last: {exit}");
                    self.tell(order, OrderEnd::Refused(why));
                }
            }
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            // This fails only if the counter is full, and then the thread is being woken anyway.
            let _ = waker.write(1);
        }
    }

    fn send(&mut self, order: u64) {
        let message = self
            .given
            .get_mut(&order)
            .and_then(|one| one.message.take());
        let (Some(mut message), Some(link)) = (message, &self.link) else {
            return;
        };
        message.assignment.number = order;
        message.endpoints.number = order;
        // Before the order, so that they are there when that is read.
        match message.endpoints.send(&link.socket) {
            Ok(()) => {}
            // It is dying, and its end tells of all lost orders.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => {
                self.orders.not_sent(order);
                let why = format!("cannot be given its files: {error}");
                self.tell(order, OrderEnd::Refused(why));
                return;
            }
        }
        let _ = link.orders.send(message.assignment);
    }

    fn tell(&mut self, order: u64, end: OrderEnd) {
        if let Some(GivenOrder { life, notes, .. }) = self.given.remove(&order) {
            notes.post(Note::Forked { life, end });
        }
    }
}

impl SharedForks {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Starts the process and waits for it, again and again, until nobody needs it.
    fn run(self: &Arc<Self>, mut reaper: Reaper) {
        let mut handover = None;
        let mut alive = None;
        loop {
            let (task, timeout) = {
                let mut book = self.book.lock();
                let until = book.orders.poll_timeout();
                let task = mem::take(&mut book.task);
                (task, until.map(|at| at.saturating_sub(self.now())))
            };
            if task.is_over {
                break;
            }
            if let Some(number) = alive.filter(|_| task.kill) {
                reaper.kill(number);
            }
            if task.start {
                alive = self.start(&mut reaper, &mut handover);
                continue;
            }
            for (number, exit) in reaper.wait(timeout) {
                alive = alive.filter(|other| *other != number);
                self.ended(number, exit);
            }
            let mut book = self.book.lock();
            book.orders.deadline_passed(self.now());
            book.follow();
        }
        if let Some(number) = alive {
            reaper.kill(number);
            while !reaper.wait(None).iter().any(|(other, _)| *other == number) {}
        }
    }

    fn ended(&self, number: u64, exit: Exit) {
        let mut book = self.book.lock();
        book.link = None;
        book.orders.ended(number, exit, self.now());
        book.follow();
    }

    /// Starts the process. Returns its number, if it is there.
    fn start(
        self: &Arc<Self>,
        reaper: &mut Reaper,
        handover: &mut Option<Handover>,
    ) -> Option<u64> {
        let launched = self.launch(handover);
        let mut book = self.book.lock();
        let alive = match launched {
            Ok((pid, link, answers)) => {
                book.link = Some(link);
                let number = book.orders.started();
                self.watch(&mut book, reaper, (number, pid), answers)
            }
            Err(error) => {
                book.why = error.to_string();
                book.orders.not_started();
                None
            }
        };
        book.follow();
        alive
    }

    fn launch(
        &self,
        handover: &mut Option<Handover>,
    ) -> io::Result<(u32, OrderLink, IpcReceiver<ForkReply>)> {
        let (sender, orders) = ipc::channel()?;
        let (replies, answers) = ipc::channel()?;
        let (socket, theirs) = DescriptorSocket::pair()?;
        Order::ServeForks { orders, replies }.send(&socket)?;
        let by = Handover::made(handover)?;
        let pid = spawn::start(by, theirs, &self.title, Leads::Group, None, &self.launch)?;
        let link = OrderLink {
            orders: sender,
            socket,
        };
        Ok((pid, link, answers))
    }

    /// Watches a process that was started, and reads what it says. If that is not possible, it is
    /// taken for one that has died.
    fn watch(
        self: &Arc<Self>,
        book: &mut OrderBook,
        reaper: &mut Reaper,
        (number, pid): (u64, u32),
        answers: IpcReceiver<ForkReply>,
    ) -> Option<u64> {
        let shared = Arc::clone(self);
        let hear = move |reply| shared.hear(number, reply);
        let is_watched = reaper.watch_alone(number, pid).is_ok();
        if !is_watched {
            book.orders.ended(number, Exit::Unknown, self.now());
        }
        if uplink::receive_fork_server(answers, hear).is_err() {
            book.orders.closed(number, self.now());
            reaper.kill(number);
        }
        is_watched.then_some(number)
    }

    fn hear(&self, number: u64, reply: Option<ForkReply>) {
        let mut book = self.book.lock();
        match reply {
            Some(ForkReply::Serving) => book.orders.serves(number),
            Some(ForkReply::Forked(reply)) => {
                let end = match reply {
                    Ok(pid) => OrderEnd::Born(pid),
                    Err(why) => OrderEnd::Refused(why),
                };
                if let Some(order) = book.orders.answered(number) {
                    book.tell(order, end);
                }
            }
            None => book.orders.closed(number, self.now()),
        }
        book.follow();
    }
}

/// One supervisor's orders to a fork server.
pub(super) struct Forks {
    server: ForkServer,
    notes: NoteSender,
    /// The orders whose end has not been heard.
    awaited: HashMap<Life, u64>,
}

impl Forks {
    pub(super) fn new(server: ForkServer, notes: NoteSender) -> Self {
        Forks {
            server,
            notes,
            awaited: HashMap::new(),
        }
    }

    /// Orders a worker. What becomes of it is posted.
    pub(super) fn order(&mut self, life: Life, message: StartMessage) -> io::Result<()> {
        let order = self.server.0.order(life, &self.notes, message)?;
        self.awaited.insert(life, order);
        Ok(())
    }

    /// The end of an order was heard.
    pub(super) fn heard(&mut self, life: Life) {
        self.awaited.remove(&life);
    }

    /// Returns `true` if the end of this order has not been heard.
    pub(super) fn is_awaited(&self, life: Life) -> bool {
        self.awaited.contains_key(&life)
    }

    /// Returns `true` if a worker may have been forked whose pid was not heard.
    pub(super) fn has_unheard(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Takes an order back, if it was not sent: its worker never comes to be.
    pub(super) fn cancel(&mut self, life: Life) -> bool {
        let Some(order) = self.awaited.get(&life) else {
            return false;
        };
        let mut book = self.server.0.shared.book.lock();
        let is_cancelled = book.orders.cancel(*order);
        if is_cancelled {
            book.given.remove(order);
            drop(book);
            self.awaited.remove(&life);
        }
        is_cancelled
    }

    /// Kills a fork server that was sent this order and has not answered for long.
    pub(super) fn condemn(&self, life: Life) {
        if let Some(order) = self.awaited.get(&life) {
            let mut book = self.server.0.shared.book.lock();
            book.orders.condemn(*order);
            book.follow();
        }
    }
}
