//! A handle of a queue as an item, a part of one, or the context: what of it travels, and what becomes
//! of that.
//!
//! Its address travels: the process that has the queue, and the queue's number there. So it can be put
//! on queues of that process and of its workers, which pass their own workers' connections on, and on
//! none that outlives it; anywhere else it would name nothing.

use std::any::type_name;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::JoinableQueue;
use super::destination::{self, Destination};
use super::remote::{self, RemoteQueue};
use super::side::Side;
use crate::broker::clients;
use crate::error::Kind;
use crate::payload::reason;
use crate::protocol::address::{Home, QueueAddress};
use crate::worker;

const NOWHERE: &str = "a queue can only be an item of a queue, a part of one, or the context of \
                       worker processes: elsewhere it names nothing";

const KEPT: &str = "a queue cannot be an item of a queue with a journal or on Redis, nor a part of \
                    one: it ends with its process, and the item does not";

const NOT_ITS_OWN: &str = "a queue can be an item of queues of its own process alone, which this \
                           one is not: others cannot reach it";

/// Returns `true` if this process passes its own workers' connections to that one on: it is a worker of
/// it, or of one that does so.
fn is_passed_on(home: Home) -> bool {
    worker::current::session().is_some() && remote::route_to(home).is_none()
}

fn check(address: QueueAddress) -> Result<(), &'static str> {
    let home = match destination::present() {
        Destination::Elsewhere => return Err(NOWHERE),
        Destination::Kept => return Err(KEPT),
        Destination::Here if is_passed_on(address.home) => return Ok(()),
        Destination::Here => clients::home(),
        Destination::Home(home) => home,
    };
    match home == address.home {
        true => Ok(()),
        false => Err(NOT_ITS_OWN),
    }
}

impl<T> JoinableQueue<T> {
    /// Returns `true` if both are handles of one queue, by the same way to it.
    ///
    /// # Example
    ///
    /// ```
    /// let rack = dishrack::JoinableQueue::<u64>::unbounded();
    /// assert!(rack.is_same(&rack.clone()));
    /// assert!(!rack.is_same(&dishrack::JoinableQueue::unbounded()));
    /// ```
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.side.is(&other.side)
    }

    fn address(&self) -> Result<QueueAddress, Kind> {
        match &self.side {
            Side::Local(broker) => Ok(broker.address(type_name::<T>())),
            Side::Remote(far) => far.address(),
        }
    }
}

/// A handle can be an item, a part of an item, or the [context](crate::Builder::context), and is a
/// handle of the same queue where that arrives: in a worker process, in a program that is
/// [attached](JoinableQueue), or in this process. The queue must be of the process that has the queue
/// on which it is put, or of one that this process is a worker of; and the queue on which it is put
/// must end with its process, without a journal or Redis.
///
/// Anywhere else it is an error to serialize one.
///
/// # Example
///
/// ```
/// use dishrack::JoinableQueue;
///
/// let replies = JoinableQueue::<u64>::unbounded();
/// let questions = JoinableQueue::<(u64, JoinableQueue<u64>)>::unbounded();
/// questions.put(&(7, replies.clone()))?;
/// let (question, reply_to) = questions.get()?.into_item();
/// reply_to.put(&(question * 2))?;
/// assert_eq!(*replies.get()?, 14);
/// # Ok::<(), dishrack::Error>(())
/// ```
impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let refuse = |why: String| {
            reason::note(why.clone());
            S::Error::custom(why)
        };
        let address = self.address().map_err(|kind| refuse(kind.to_string()))?;
        check(address).map_err(|why| refuse(why.into()))?;
        address.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refuse = |why: &str| {
            reason::note(why.into());
            D::Error::custom(why)
        };
        if deserializer.is_human_readable() {
            return Err(refuse("a queue cannot be written down as text"));
        }
        let address = QueueAddress::deserialize(deserializer)?;
        let side = resolve(address, type_name::<T>()).map_err(refuse)?;
        Ok(JoinableQueue::of_side(side))
    }
}

const OTHER_TYPE: &str = "the items of this queue are of another type";

/// Returns the near end of the queue of this address.
fn resolve(address: QueueAddress, item_type: &'static str) -> Result<Side, &'static str> {
    if address.home == clients::home() {
        let (broker, own_type) =
            clients::find(address).ok_or("this queue is not there any more")?;
        return match own_type == item_type {
            true => Ok(Side::Local(broker)),
            false => Err(OTHER_TYPE),
        };
    }
    if let Some(session) = worker::current::session()
        && session.queue.home == address.home
    {
        if session.queue != address {
            let queue = RemoteQueue::of(address, item_type, remote::route_of_worker());
            return Ok(Side::Remote(queue));
        }
        return match session.item_type == item_type {
            true => Ok(Side::Remote(Arc::clone(session) as _)),
            false => Err(OTHER_TYPE),
        };
    }
    if let Some(route) = remote::route_to(address.home) {
        return Ok(Side::Remote(RemoteQueue::of(address, item_type, route)));
    }
    if worker::current::session().is_some() {
        // It came by the supervisor, which may be a worker of that process.
        let queue = RemoteQueue::of(address, item_type, remote::route_of_worker());
        return Ok(Side::Remote(queue));
    }
    Err("this process is neither that of the queue, nor a worker of it, nor attached to it")
}
