//! Single items of a queue, and its pauses, for a program that shows a run or steers it.

use std::time::Duration;

use super::JoinableQueue;
use crate::broker::Deadline;
use crate::error::Error;
use crate::observe::item::{ItemInfo, ItemState};
use dishrack_core::ledger::ItemId;

impl<T> JoinableQueue<T> {
    /// Hands out nothing more until [`unpause`](Self::unpause), and returns when no item is begun
    /// any more. What is begun goes on; what a worker only had in advance goes back to its place,
    /// uncounted. `put` and `join` go on, and `get` waits. Pausing again does nothing but wait.
    ///
    /// A journal does not keep it: the next run with it is not paused. On Redis it is a pause of
    /// this supervisor alone, which takes nothing more and gives back what nobody here has begun;
    /// others go on.
    ///
    /// # Errors
    /// `is_resumed` if somebody ends the pause while this waits; and in a worker process.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let queue = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder().threads(2).handler(&queue, |_: u32| Ok::<_, String>(()))?;
    /// queue.pause()?;
    /// queue.put(&1)?;
    /// assert_eq!(queue.counts()?.waiting, 1);
    /// queue.unpause()?;
    /// assert_eq!(queue.join()?.done, 1);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn pause(&self) -> Result<(), Error> {
        self.pause_by(Deadline::Forever)
    }

    /// Pauses as [`pause`](Self::pause) does, and waits at most this long.
    ///
    /// # Errors
    /// As [`pause`](Self::pause), and `is_timeout`: the queue is paused all the same, but a worker
    /// has not said yet what it has begun. It may stand still, or have no processor.
    pub fn pause_timeout(&self, time: Duration) -> Result<(), Error> {
        self.pause_by(Deadline::lasting(time))
    }

    fn pause_by(&self, deadline: Deadline) -> Result<(), Error> {
        self.broker()?.pause(deadline).map_err(Error)
    }

    /// Ends a pause. Without one it does nothing.
    ///
    /// # Errors
    /// In a worker process.
    pub fn unpause(&self) -> Result<(), Error> {
        self.broker()?.unpause();
        Ok(())
    }

    /// Returns `true` in a pause, also while [`pause`](Self::pause) still waits.
    ///
    /// # Errors
    /// In a worker process.
    pub fn is_paused(&self) -> Result<bool, Error> {
        Ok(self.broker()?.is_paused())
    }

    /// Returns what can be seen of an item; `None` if there is none with this number, or, on Redis,
    /// if it is neither here nor a dead letter.
    ///
    /// # Errors
    /// `is_journal` or `is_shared` when the journal or Redis cannot be read; and in a worker
    /// process.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{ItemState, JoinableQueue};
    ///
    /// let queue = JoinableQueue::<String>::unbounded();
    /// let number = queue.put("cup")?;
    /// let cup = queue.item(number)?.expect("it was put");
    /// assert_eq!((cup.state, cup.attempts), (ItemState::Waiting, 0));
    /// queue.get()?.task_done()?;
    /// assert_eq!(queue.item(number)?.unwrap().state, ItemState::Done);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn item(&self, number: ItemId) -> Result<Option<ItemInfo>, Error> {
        self.broker()?.item(number).map_err(Error)
    }

    /// Returns the items in this state, or in any, with numbers after this one, in their order: at
    /// most `limit` of them, and at most 1000. The number of the last one leads to the next page; 0
    /// begins.
    ///
    /// On Redis they are those that are here, and all dead letters; nothing is known there of items
    /// that are done.
    ///
    /// # Errors
    /// As [`item`](Self::item).
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{ItemId, ItemState, JoinableQueue};
    ///
    /// let queue = JoinableQueue::<u32>::unbounded();
    /// for n in 0..5 {
    ///     queue.put(&n)?;
    /// }
    /// let page = queue.items(Some(ItemState::Waiting), ItemId(0), 2)?;
    /// let next = queue.items(None, page[1].number, 100)?;
    /// assert_eq!((page.len(), next.len()), (2, 3));
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn items(
        &self,
        state: Option<ItemState>,
        after: ItemId,
        limit: usize,
    ) -> Result<Vec<ItemInfo>, Error> {
        self.broker()?.items(state, after, limit).map_err(Error)
    }

    /// Waits until an item is done or a dead letter, and returns what can be seen of it then; with a
    /// journal, once that is durable. Without a time it waits as long as it takes. `None`: there is
    /// no item with this number.
    ///
    /// # Errors
    /// `is_timeout` when the time is over; `is_no_workers_left` when the workers are gone for good;
    /// `is_journal`; `is_setup` on Redis, where another supervisor may have the item; and in a
    /// worker process.
    pub fn wait_item(
        &self,
        number: ItemId,
        time: Option<Duration>,
    ) -> Result<Option<ItemInfo>, Error> {
        let deadline = time.map_or(Deadline::Forever, Deadline::lasting);
        self.broker()?.wait_item(number, deadline).map_err(Error)
    }
}
