//! The public face: a joinable queue and the deliveries that come from it.
//!
//! Items are serialized by the caller of `put`, so an item that cannot be serialized is an error
//! there and counts nowhere. A handle may be cloned among threads, and a worker process gets the
//! same type for the queue it works for. The ledger decides and the broker acts; here are only
//! types and waiting.

#[cfg(feature = "control")]
mod attach;
pub(crate) mod backed;
pub(crate) mod batch;
mod connection;
mod delivery;
pub(crate) mod destination;
mod far;
mod get_many;
mod handle;
mod items;
mod join_all;
mod letters;
mod observer;
pub(crate) mod put_many;
#[cfg(feature = "control")]
pub(crate) mod put_while;
mod put_with;
mod remote;
mod roles;
#[cfg(feature = "cli")]
mod run;
mod side;
#[cfg(feature = "journal")]
mod survivors;
#[cfg(feature = "control")]
mod upgrade;
mod waiting_task;

use std::any::type_name;
use std::borrow::Borrow;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use delivery::Delivery;
pub use get_many::DoneMany;
pub use join_all::{AnyQueue, join_all, join_all_timeout};
pub use put_many::{PutMany, RefusedItem};
pub use put_with::PutOptions;

use self::destination::{Destination, going};
use self::far::{kind_of, wait_of};
use self::side::{Side, destination_of};
use self::waiting_task::WaitingTask;
use crate::broker::{Broker, Deadline, Envelope, consumers, current};
use crate::error::{Error, Kind};
use crate::handler::held;
use crate::payload::{self, NotSerialized, Payload};
use crate::protocol::frame::{Answer, Ask};
use crate::worker::session::Session;
use dishrack_core::ledger::{Capacity, Counts, ItemId, Options, Outcome, Refusal};

/// A queue whose items are acknowledged, and which can be joined: `join` returns when every item
/// that was put is done or a dead letter.
///
/// # Example
///
/// The chapter's washer and dryer, as two threads:
///
/// ```
/// use dishrack::JoinableQueue;
///
/// let rack = JoinableQueue::unbounded();
/// let dryer = std::thread::spawn({
///     let rack: JoinableQueue<String> = rack.clone();
///     move || {
///         while let Ok(dish) = rack.get() {
///             assert!(dish.starts_with("dish-"));
///             rack.task_done().unwrap();
///         }
///     }
/// });
/// for n in 1..=4 {
///     rack.put(&format!("dish-{n}"))?;
/// }
/// assert_eq!(rack.join()?.done, 4);
/// rack.close();
/// dryer.join().unwrap();
/// # Ok::<(), dishrack::Error>(())
/// ```
pub struct JoinableQueue<T> {
    side: Side,
    items: PhantomData<fn(T) -> T>,
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        JoinableQueue {
            side: self.side.clone(),
            items: PhantomData,
        }
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue")
            .field("items", &type_name::<T>())
            .finish_non_exhaustive()
    }
}

/// The counts that a [`join`](JoinableQueue::join) saw: all items that were ever put are one of
/// these.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, Supervisor};
///
/// let rack = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(2).handler(&rack, |dish: String| {
///     if dish == "cup" { Err("it has a crack") } else { Ok(()) }
/// })?;
/// rack.put_many(["cup", "plate", "bowl"].map(String::from)).into_result()?;
/// let joined = rack.join()?;
/// assert_eq!((joined.done, joined.dead), (2, 1));
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// Items that are done.
    pub done: u64,
    /// Items given up on, after as many attempts as the queue allows.
    pub dead: u64,
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Makes a queue that takes any number of items.
    #[must_use]
    pub fn unbounded() -> Self {
        JoinableQueue::with(Options::default())
    }

    /// Makes a queue in which at most `capacity` items wait for a `get` or a handler; `put` waits
    /// for room. As in Python, 0 means no bound.
    #[must_use]
    pub fn bounded(capacity: usize) -> Self {
        JoinableQueue::with(Options::default().capacity(match capacity {
            0 => Capacity::Unbounded,
            bound => Capacity::Bounded(bound),
        }))
    }

    /// Makes a queue without room: `put` waits until a worker is idle, and hands the item over.
    #[must_use]
    pub fn rendezvous() -> Self {
        JoinableQueue::with(Options::default().capacity(Capacity::Rendezvous))
    }

    /// Makes a queue with these options.
    #[must_use]
    pub fn with(options: Options) -> Self {
        JoinableQueue {
            side: Side::Local(Broker::new(options)),
            items: PhantomData,
        }
    }

    pub(crate) fn of_broker(broker: Arc<Broker>) -> Self {
        JoinableQueue {
            side: Side::Local(broker),
            items: PhantomData,
        }
    }

    pub(crate) fn of_session(session: Arc<Session>) -> Self {
        JoinableQueue {
            side: Side::Remote(session),
            items: PhantomData,
        }
    }

    /// Returns the queue that the calling handler works for, if its items are of this type. A
    /// handler may put new items on it.
    #[must_use]
    pub fn current() -> Option<Self> {
        let side = Side::current(type_name::<T>())?;
        Some(JoinableQueue {
            side,
            items: PhantomData,
        })
    }
}

impl<T> JoinableQueue<T> {
    fn of_side(side: Side) -> Self {
        let items = PhantomData;
        JoinableQueue { side, items }
    }

    /// Returns the broker, if this is not a worker process's handle.
    pub(crate) fn broker(&self) -> Result<&Arc<Broker>, Kind> {
        match &self.side {
            Side::Local(broker) => Ok(broker),
            Side::Remote(_) => Err(Kind::invalid(
                "queue",
                "it is another process's: only that one can start workers for it, and steer it",
            )),
        }
    }
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Puts an item on the queue; waits for room if it is full. After it returns, the item is
    /// accepted: it will be done or a dead letter, whatever process dies.
    ///
    /// It also takes the types that the item's type borrows as: a `&str` on a queue of strings, a
    /// slice on one of vectors. Both must serialize alike, as those of the standard library do.
    ///
    /// A handler that puts on the queue it works for does not wait for room, because that could be
    /// a wait for itself.
    ///
    /// # Errors
    /// `is_not_serializable` and `is_no_shared_memory`, and nothing was put; `is_closed`;
    /// `is_no_workers_left` when its workers are gone for good.
    pub fn put<Q>(&self, item: &Q) -> Result<ItemId, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.put_by(item, Deadline::Forever)
    }

    /// Puts an item if there is room now.
    ///
    /// # Errors
    /// As [`put`](Self::put), and `is_full`.
    pub fn try_put<Q>(&self, item: &Q) -> Result<ItemId, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.put_by(item, Deadline::None)
    }

    /// Puts an item; waits for room at most this long.
    ///
    /// # Errors
    /// As [`put`](Self::put), and `is_full` when the time is over.
    pub fn put_timeout<Q>(&self, item: &Q, time: Duration) -> Result<ItemId, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.put_by(item, Deadline::lasting(time))
    }

    fn put_by<Q>(&self, item: &Q, deadline: Deadline) -> Result<ItemId, Error>
    where
        Q: Serialize + ?Sized,
    {
        match &self.side {
            Side::Local(broker) => {
                let body = serialized_for(item, broker)?;
                broker.put(Envelope::of(body), deadline, current::holds(broker))
            }
            Side::Remote(far) => {
                let body = serialized(item, true, self.side.destination()?)?;
                match far.ask_put(wait_of(deadline), body, deadline)? {
                    Answer::Accepted(id) => Ok(id),
                    answer => Err(kind_of(answer)),
                }
            }
        }
        .map_err(Error)
    }

    /// Takes the next item; waits for one if there is none. The item stays unfinished until
    /// [`Delivery::task_done`] or [`task_done`](Self::task_done).
    ///
    /// # Errors
    /// `is_closed` when the queue was closed and nothing is left; an item that does not decode is
    /// refused, and the next one is taken.
    pub fn get(&self) -> Result<Delivery<T>, Error> {
        self.get_with(Deadline::Forever)
    }

    /// Takes the next item if there is one now.
    ///
    /// # Errors
    /// As [`get`](Self::get), and `is_empty`.
    pub fn try_get(&self) -> Result<Delivery<T>, Error> {
        self.get_with(Deadline::None)
    }

    /// Takes the next item; waits for one at most this long.
    ///
    /// # Errors
    /// As [`get`](Self::get), and `is_empty` when the time is over.
    pub fn get_timeout(&self, time: Duration) -> Result<Delivery<T>, Error> {
        self.get_with(Deadline::lasting(time))
    }

    fn get_with(&self, deadline: Deadline) -> Result<Delivery<T>, Error> {
        loop {
            let got = match &self.side {
                Side::Local(broker) => {
                    let job = broker.get(deadline).map_err(Error)?;
                    consumers::note(broker);
                    Delivery::of_job(self.side.clone(), &job)
                }
                Side::Remote(far) => {
                    let items = far.ask_items(wait_of(deadline), 1, deadline)?;
                    let item = items.first();
                    item.and_then(|item| Delivery::of_arrival(&self.side, &**far, item))
                }
            };
            // An item that does not decode was refused, and counts as a failed attempt.
            if let Some(delivery) = got {
                return Ok(delivery);
            }
        }
    }

    /// Takes the next item for an async task, as [`get`](Self::get) does. In a worker process it
    /// blocks its thread.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_async(&self) -> Result<Delivery<T>, Error> {
        let Side::Local(broker) = &self.side else {
            return self.get();
        };
        loop {
            let mut waiting = WaitingTask::new(broker);
            let job = poll_fn(|context| match waiting.poll(context.waker()) {
                Some(got) => Poll::Ready(got),
                None => Poll::Pending,
            })
            .await
            .map_err(Error)?;
            if let Some(delivery) = Delivery::of_job(self.side.clone(), &job) {
                return Ok(delivery);
            }
        }
    }
}

impl<T> JoinableQueue<T> {
    /// Acknowledges the oldest item that this thread got and has not acknowledged.
    ///
    /// # Errors
    /// `is_task_done_too_often` when this thread holds none, or what it held was cancelled.
    pub fn task_done(&self) -> Result<(), Error> {
        while let Some((token, since)) = held::pop_oldest(self.side.acknowledger()) {
            let outcome = Outcome::Done(Payload::default());
            // It fails if the item was cancelled, or settled in another thread; then the next one
            // is meant.
            let from = self.side.acknowledger();
            if from.acknowledge(token, since.elapsed(), outcome).is_ok() {
                return Ok(());
            }
        }
        Err(Error(Kind::TaskDoneTooOften))
    }

    /// Waits until every item is done or a dead letter, and returns the counts of both.
    ///
    /// Producers may come before workers. On a queue that has never had workers this waits for
    /// some, as long as another thread of this program may start a
    /// [`Supervisor`](crate::Supervisor) or [`get`](Self::get). If the calling thread is the only
    /// one, no worker can come, and it is an error at once. A queue on Redis may always get workers
    /// elsewhere.
    ///
    /// # Errors
    /// `is_no_workers_left` when items are unfinished and the workers are gone for good, or there
    /// never were any and none can come.
    pub fn join(&self) -> Result<Joined, Error> {
        self.join_with(Deadline::Forever)
    }

    /// Waits as [`join`](Self::join) does, at most this long.
    ///
    /// # Errors
    /// As [`join`](Self::join), and `is_timeout` when the time is over.
    pub fn join_timeout(&self, time: Duration) -> Result<Joined, Error> {
        self.join_with(Deadline::lasting(time))
    }

    fn join_with(&self, deadline: Deadline) -> Result<Joined, Error> {
        match &self.side {
            Side::Local(broker) => {
                if current::holds(broker) {
                    return Err(Error(Refusal::WaitsForItself.into()));
                }
                let (done, dead) = broker.join(deadline).map_err(Error)?;
                Ok(Joined { done, dead })
            }
            Side::Remote(far) => {
                let ask = Ask::Join {
                    wait: wait_of(deadline),
                };
                match far.ask(ask, deadline)? {
                    Answer::Joined { done, dead } => Ok(Joined { done, dead }),
                    answer => Err(Error(kind_of(answer))),
                }
            }
        }
    }

    /// Returns the number of items that no handler and no `get` has taken yet. It is Python's
    /// `qsize`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().0
    }

    /// Returns the same as [`len`](Self::len), by Python's name.
    #[must_use]
    pub fn qsize(&self) -> usize {
        self.len()
    }

    /// Returns `true` if [`len`](Self::len) is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns `true` if a `put` would have to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state().1
    }

    /// Returns `true` if [`close`](Self::close) was called, here or elsewhere.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().2
    }

    fn state(&self) -> (usize, bool, bool) {
        match &self.side {
            Side::Local(broker) => broker.state(),
            Side::Remote(far) => match far.ask(Ask::State, Deadline::Forever) {
                Ok(Answer::State {
                    len,
                    is_full,
                    is_closed,
                }) => {
                    let len = usize::try_from(len).unwrap_or(usize::MAX);
                    (len, is_full, is_closed)
                }
                // This is no answer to the question, so nothing more can be had of this queue.
                Ok(_) | Err(_) => (0, false, true),
            },
        }
    }

    /// Ends the queue for all its users: `put` is an error from now on, and `get` once nothing is
    /// left. Items already accepted are still worked on. Closing again does nothing.
    pub fn close(&self) {
        match &self.side {
            Side::Local(broker) => broker.with(|core| core.close()),
            Side::Remote(far) => {
                // The answer only confirms it.
                let _ = far.ask(Ask::Close, Deadline::Forever);
            }
        }
    }

    /// Returns the places of all accepted items.
    ///
    /// # Errors
    /// In a worker process, which sees only its own part.
    pub fn counts(&self) -> Result<Counts, Error> {
        self.broker()?.counts_in_all().map_err(Error)
    }

    /// Cancels an item: it is not worked on any more and becomes a dead letter. A worker process
    /// that works on it gets SIGTERM and, a second later, SIGKILL, and is replaced; an async task
    /// is dropped where it waits; a thread goes on to the end, and its result is dropped. With a
    /// journal, and on Redis, it returns when that is durable.
    ///
    /// Returns `false` if there is nothing to cancel: the item is done, dead or not known, or, on
    /// Redis, not held by this supervisor.
    ///
    /// # Errors
    /// `is_journal` or `is_shared` when the journal or Redis has failed; and in a worker process.
    pub fn cancel(&self, id: ItemId) -> Result<bool, Error> {
        self.broker()?.cancel(id).map_err(Error)
    }
}

/// Serializes an item for a queue of this process.
pub(crate) fn serialized_for<T: Serialize + ?Sized>(
    item: &T,
    broker: &Broker,
) -> Result<Payload, Kind> {
    serialized(item, broker.shares_memory(), destination_of(broker))
}

/// Serializes an item that goes there.
fn serialized<T: Serialize + ?Sized>(
    item: &T,
    may_share: bool,
    to: Destination,
) -> Result<Payload, Kind> {
    going(to, || payload::serialize(item, may_share)).map_err(|error| match error {
        NotSerialized::Refused { type_name, why } => Kind::NotSerializable { type_name, why },
        NotSerialized::NoMemory(lack) => Kind::NoSharedMemory(lack),
    })
}
