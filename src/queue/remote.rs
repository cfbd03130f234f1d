//! A queue of another process that is reached by a connection: opened upon first use, and shared by
//! all handles of that queue in this process.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::connection::QueueConnection;
use super::far::{ArrivedItem, FarEnd, PlainAnswer, kind_of};
use crate::broker::Deadline;
use crate::error::Kind;
use crate::handler::held::Acknowledger;
use crate::payload::Payload;
use crate::protocol::address::{Home, QueueAddress};
use crate::protocol::frame::{Answer, Ask, Wait};
use crate::protocol::stream::Hello;
use crate::sys::clock::RECALL;
use crate::worker::{current, stopping};
use dishrack_core::ledger::{Outcome, Token};

/// The way to the process that has a queue: connects to one of its queues.
pub(super) type Route = Arc<dyn Fn(&Hello<'_>) -> Result<Arc<QueueConnection>, Kind> + Send + Sync>;

/// Returns the way of a worker process to its supervisor's, and to those that this one is a worker of.
pub(super) fn route_of_worker() -> Route {
    Arc::new(|hello| {
        let session = current::session().ok_or(Kind::SupervisorGone)?;
        let home = hello.queue.map_or(session.queue.home, |queue| queue.home);
        let socket = session.uplink.connect(home);
        let socket = socket.map_err(Kind::io("connecting to a queue of the supervisor"))?;
        QueueConnection::open(socket, Vec::new(), hello)
    })
}

/// The processes that this one is attached to, and the ways there.
static ROUTES: LazyLock<Mutex<HashMap<Home, Route>>> = LazyLock::new(Mutex::default);

/// Returns the way to a process that this one is attached to.
pub(super) fn route_to(home: Home) -> Option<Route> {
    ROUTES.lock().get(&home).cloned()
}

/// Notes the way to a process.
pub(super) fn note_route(home: Home, route: Route) {
    ROUTES.lock().insert(home, route);
}

pub(super) struct RemoteQueue {
    address: QueueAddress,
    item_type: &'static str,
    route: Route,
    connection: Mutex<Option<Arc<QueueConnection>>>,
}

impl fmt::Debug for RemoteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteQueue")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The queues that this process has handles of, and the last few, which are kept for the next item
/// that names them.
#[derive(Debug, Default)]
struct KnownQueues {
    all: HashMap<(QueueAddress, &'static str), Weak<RemoteQueue>>,
    latest: VecDeque<Arc<RemoteQueue>>,
}

/// The number of queues that are kept though no handle of them is left.
const LATEST_MAX: usize = 8;

static KNOWN: LazyLock<Mutex<KnownQueues>> = LazyLock::new(Mutex::default);

impl RemoteQueue {
    /// Returns the one of this address, which is made if it is not there.
    pub(super) fn of(address: QueueAddress, item_type: &'static str, route: Route) -> Arc<Self> {
        let key = (address, item_type);
        let mut known = KNOWN.lock();
        if let Some(queue) = known.all.get(&key).and_then(Weak::upgrade) {
            return queue;
        }
        known.all.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::new(RemoteQueue {
            address,
            item_type,
            route,
            connection: Mutex::default(),
        });
        known.all.insert(key, Arc::downgrade(&queue));
        known.latest.push_back(Arc::clone(&queue));
        let left = match known.latest.len() > LATEST_MAX {
            true => known.latest.pop_front(),
            false => None,
        };
        // What is closed with it may take a moment.
        drop(known);
        drop(left);
        queue
    }

    /// Makes one that is connected already. Handles in items that come from now on use it too.
    pub(super) fn opened(
        connection: Arc<QueueConnection>,
        item_type: &'static str,
        route: Route,
    ) -> Arc<Self> {
        let address = connection.address;
        let queue = Arc::new(RemoteQueue {
            address,
            item_type,
            route,
            connection: Mutex::new(Some(connection)),
        });
        let mut known = KNOWN.lock();
        known
            .all
            .insert((address, item_type), Arc::downgrade(&queue));
        queue
    }

    fn connection(&self) -> Result<Arc<QueueConnection>, Kind> {
        let mut connection = self.connection.lock();
        if let Some(connection) = &*connection {
            return Ok(Arc::clone(connection));
        }
        let new = (self.route)(&Hello {
            queue: Some(self.address),
            item_type: self.item_type,
        })?;
        stopping::tell(&new);
        *connection = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl Acknowledger for RemoteQueue {
    fn acknowledge(
        &self,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Kind> {
        self.connection()?.settle(token.ordinal(), service, outcome)
    }
}

impl FarEnd for RemoteQueue {
    fn address(&self) -> Result<QueueAddress, Kind> {
        Ok(self.address)
    }

    fn keeps_items(&self) -> Result<bool, Kind> {
        Ok(self.connection()?.keeps_items)
    }

    fn ask_put(&self, wait: Wait, body: Payload, deadline: Deadline) -> Result<PlainAnswer, Kind> {
        let answer = self.connection()?.ask_put(wait, body, deadline)?;
        answer.try_map(no_item)
    }

    fn ask(&self, ask: Ask<'_>, deadline: Deadline) -> Result<PlainAnswer, Kind> {
        self.connection()?.ask(ask, deadline)?.try_map(no_item)
    }

    fn ask_items(
        &self,
        wait: Wait,
        at_most: u32,
        deadline: Deadline,
    ) -> Result<Vec<ArrivedItem>, Kind> {
        let deadline = match wait {
            Wait::UntilCancelled => deadline,
            Wait::No => Deadline::lasting(RECALL),
        };
        let items = self.connection()?.ask_items(wait, at_most, deadline)?;
        items.map_err(kind_of)
    }

    fn take(&self, _: &ArrivedItem, decode: &mut dyn FnMut()) {
        decode();
    }

    fn settle_many(&self, done: &[(u64, Duration)]) -> Vec<bool> {
        match self.connection() {
            Ok(connection) => connection.settle_many(done),
            Err(_) => vec![false; done.len()],
        }
    }
}

fn no_item<I>(item: I) -> Result<(), Kind> {
    Err(kind_of(Answer::Item(item)))
}
