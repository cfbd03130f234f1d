//! Single items, as far as they can be seen: their state, who has them, and what has happened to them so far.
//! Plain data. It does not know where that comes from.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::payload::Payload;
use dishrack_core::ledger::{Failure, ItemId, WaitsFor};

/// The state of an item.
///
/// # Example
///
/// ```
/// use dishrack::{ItemState, JoinableQueue, Options};
///
/// let queue = JoinableQueue::<String>::with(Options::default().max_attempts(1));
/// let cup = queue.put("cup")?;
/// let state = || queue.item(cup).map(|item| item.unwrap().state);
/// assert_eq!(state()?, ItemState::Waiting);
/// let delivery = queue.get()?;
/// assert_eq!(state()?, ItemState::Running);
/// delivery.nack("it has a crack")?;
/// assert_eq!(state()?, ItemState::Dead);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ItemState {
    /// It waits for a worker.
    Waiting,
    /// A worker has it.
    Running,
    /// It rests: after a failed attempt, or until it may begin.
    Resting,
    /// It was given up on: it is a dead letter; or it was one, and somebody took or dropped that, so that
    /// nothing but its number is known.
    Dead,
    /// It is done.
    Done,
}

impl ItemState {
    /// Returns the word for it, by which it is also asked for.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ItemState::Waiting => "waiting",
            ItemState::Running => "running",
            ItemState::Resting => "resting",
            ItemState::Dead => "dead",
            ItemState::Done => "done",
        }
    }
}

impl fmt::Display for ItemState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An item, as [`JoinableQueue::item`](crate::JoinableQueue::item) finds it. Of one that is done,
/// or was a dead letter that was dropped, nothing but its number is kept.
///
/// # Example
///
/// ```
/// use dishrack::JoinableQueue;
///
/// let queue = JoinableQueue::<String>::unbounded();
/// let id = queue.put("cup")?;
/// queue.get()?.nack("no towel is dry")?;
/// let cup = queue.item(id)?.expect("it was put");
/// assert_eq!((cup.state.to_string(), cup.attempts), ("waiting".into(), 1));
/// assert_eq!(cup.history[0].cause.to_string(), "no towel is dry");
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ItemInfo {
    /// Its number.
    pub number: ItemId,
    /// Its state.
    pub state: ItemState,
    /// Its name, as events have it; `None` if nothing but its number is kept.
    pub name: Option<String>,
    /// The number of attempts that were begun, with the one that is under way.
    pub attempts: u32,
    /// The workers that have it, if it is running: several if copies of it run.
    pub holders: Vec<ItemHolder>,
    /// The time at which its rest is over, if it rests.
    pub due: Option<SystemTime>,
    /// The thing that it waits for, if it has not begun and is not simply behind others.
    pub waits_for: Option<WaitsFor>,
    /// The items that are to be done before it begins, and are not.
    pub after: Vec<ItemId>,
    /// Its failed attempts, oldest first.
    pub history: Vec<Failure>,
    pub(crate) body: ItemBody,
}

/// A worker that has an item.
///
/// # Example
///
/// ```
/// use std::sync::{Arc, Barrier};
/// use dishrack::{JoinableQueue, Supervisor};
///
/// let (rack, meeting) = (JoinableQueue::unbounded(), Arc::new(Barrier::new(2)));
/// let dryer = Arc::clone(&meeting);
/// let pool = Supervisor::builder().threads(1).name("dryer").handler(&rack, move |_: String| {
///     dryer.wait();
///     Ok::<bool, String>(dryer.wait().is_leader())
/// })?;
/// let id = rack.put("cup")?;
/// meeting.wait(); // It has begun.
/// let holder = &rack.item(id)?.unwrap().holders[0];
/// assert_eq!((&*holder.worker, holder.pid), ("dryer-1", std::process::id()));
/// meeting.wait(); // It goes on.
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemHolder {
    /// The worker's name.
    pub worker: Arc<str>,
    /// The worker's process.
    pub pid: u32,
    /// The time at which it began. `None` if it has the item only in advance; or that is not known,
    /// as of an item that a thread has got, or of all but the oldest that a loop has got.
    pub since: Option<SystemTime>,
}

/// The bytes of an item, where they lie.
#[derive(Debug, Clone)]
pub(crate) enum ItemBody {
    /// It is done, and they are gone.
    Gone,
    Queued(Payload),
    Stored(Arc<[u8]>),
}

impl ItemInfo {
    /// Makes the entry of an item in this state of which nothing else is known.
    pub(crate) fn new(number: ItemId, state: ItemState) -> Self {
        ItemInfo {
            number,
            state,
            name: None,
            attempts: 0,
            holders: Vec::new(),
            due: None,
            waits_for: None,
            after: Vec::new(),
            history: Vec::new(),
            body: ItemBody::Gone,
        }
    }

    /// Returns the item as serialized by `put`; `None` if it is done.
    #[must_use]
    pub fn raw(&self) -> Option<&[u8]> {
        match &self.body {
            ItemBody::Gone => None,
            ItemBody::Queued(payload) => Some(payload),
            ItemBody::Stored(bytes) => Some(bytes),
        }
    }
}
