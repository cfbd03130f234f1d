//! Single items and the end of each, for a program that stands on futures, callbacks or channels: no
//! thread waits for one item, and one call tells many ends.
//!
//! How a batch reaches the queue, and when a worker is told, is not known here.

mod slots;

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::slots::{Slots, TagPlace};
use super::Supervisor;
use super::map::result_of;
use crate::broker::{Broker, Deadline, Envelope, ItemEnd, MailboxKey, PutAnswer, ReplyTo, current};
use crate::error::{Error, ItemError, Kind};
use crate::queue::put_many::put_batches;
use crate::queue::{PutMany, RefusedItem, serialized_for};
use dishrack_core::ledger::{ItemId, Refusal};

impl<T, R> Supervisor<T, R> {
    /// Makes a way to submit single items and to learn the end of each, by a tag that the caller
    /// gives with it. There may be several at once; none sees another's items.
    pub fn submitter<C>(&self) -> Submitter<T, R, C> {
        let mailbox = self.broker.open_mailbox();
        self.broker.keep_no_letters(mailbox);
        Submitter {
            broker: Arc::clone(&self.broker),
            mailbox,
            state: Mutex::default(),
            types: PhantomData,
        }
    }
}

/// Submits items to the workers of a [`Supervisor`] and tells the end of each, in the order in which
/// they end: what an executor with futures stands on. Any thread may submit, cancel, and take ends.
///
/// It keeps the tags of those items that were submitted and whose ends were not taken, and nothing
/// more; bound the queue to bound them. A dead letter is told here, and is not kept in the queue
/// besides, unless the queue has a store that keeps it.
///
/// If it is dropped, what was submitted is still worked on, and nobody is told.
///
/// # Example
///
/// ```
/// use std::collections::HashMap;
/// use dishrack::{JoinableQueue, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(2).handler(&queue, |n: u32| match n {
///     0 => Err("nothing to double"),
///     n => Ok(2 * n),
/// })?;
/// let submitter = pool.submitter();
/// submitter.submit(&4, "four")?;
/// submitter.submit(&0, "zero")?;
/// submitter.close();
///
/// let mut ends = HashMap::new();
/// // Until it is closed and has told all.
/// while let Ok(some) = submitter.ends(None) {
///     ends.extend(some.into_iter().map(|end| (end.tag, end.result)));
/// }
/// assert_eq!(*ends["four"].as_ref().unwrap(), 8);
/// let failed = ends["zero"].as_ref().unwrap_err();
/// assert_eq!(failed.to_string(), "item 2 failed 3 times, at last: nothing to double");
/// # Ok::<(), dishrack::Error>(())
/// ```
pub struct Submitter<T, R, C> {
    broker: Arc<Broker>,
    mailbox: MailboxKey,
    state: Mutex<Submissions<C>>,
    types: PhantomData<fn(T) -> R>,
}

/// The end of an item that was submitted.
///
/// # Example
///
/// ```
/// use dishrack::{ItemEnded, JoinableQueue, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(2).handler(&queue, |n: u32| Ok::<_, String>(2 * n))?;
/// let submitter = pool.submitter();
/// submitter.submit(&21, "the answer")?;
/// for ItemEnded { tag, result, .. } in submitter.ends(None)? {
///     assert_eq!((tag, result.unwrap()), ("the answer", 42));
/// }
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ItemEnded<R, C> {
    /// The tag that came with the item.
    pub tag: C,
    /// The handler's result, or the reason why there is none.
    pub result: Result<R, ItemError<Infallible>>,
}

struct Submissions<C> {
    /// The items that have no end yet, or whose end was not taken.
    pending: Slots<C>,
    is_closed: bool,
    is_interrupted: bool,
    /// The reason why no more ends will come, if one was found.
    loss: Option<Error>,
    /// Memory for the next ends.
    spare: VecDeque<(u32, ItemEnd)>,
}

impl<C> Default for Submissions<C> {
    fn default() -> Self {
        Submissions {
            pending: Slots::default(),
            is_closed: false,
            is_interrupted: false,
            loss: None,
            spare: VecDeque::new(),
        }
    }
}

impl<T, R, C> fmt::Debug for Submitter<T, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitter")
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// An item of a batch, whose tag is kept already: its end may come before the answer to its put.
struct Tagged<Q> {
    item: Q,
    place: TagPlace,
}

impl<T, R, C> Submitter<T, R, C> {
    /// Returns the number of items that were submitted and whose ends were not taken.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.state.lock().pending.len()
    }

    /// Takes no more items. [`ends`](Self::ends) tells those that are still to come, and is an error
    /// after the last one. Closing again does nothing.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
        self.broker.wake_takers(self.mailbox);
    }

    /// Has one call of [`ends`](Self::ends) that would wait return without ends: one that waits now,
    /// or the next one.
    pub fn interrupt(&self) {
        self.state.lock().is_interrupted = true;
        self.broker.wake_takers(self.mailbox);
    }

    /// Cancels an item, whether it waits or is worked on: see
    /// [`JoinableQueue::cancel`](crate::JoinableQueue::cancel). Its end is told like all others, as a
    /// dead letter with [`Cause::Cancelled`](crate::Cause::Cancelled).
    ///
    /// Returns `false` if there is nothing to cancel.
    ///
    /// # Errors
    /// `is_journal` or `is_shared` when the journal or Redis has failed.
    pub fn cancel(&self, id: ItemId) -> Result<bool, Error> {
        self.broker.cancel(id).map_err(Error)
    }

    /// Cancels all items that were submitted here and have no end yet; on Redis, those of
    /// [`submit`](Self::submit) alone. Returns their number. Of those that are submitted in the
    /// meantime it may miss some: close it first.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub fn cancel_all(&self) -> Result<u64, Error> {
        self.broker.cancel_each(&self.ids()).map_err(Error)
    }

    /// Cancels an item if no worker has been given it yet: what runs is left alone. One that a worker
    /// has in advance is left too.
    ///
    /// Returns `false` if a worker has it, or there is nothing to cancel.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub fn withdraw(&self, id: ItemId) -> Result<bool, Error> {
        let withdrawn = self.broker.withdraw_each(&[id]).map_err(Error)?;
        Ok(withdrawn > 0)
    }

    /// Withdraws all items that were submitted here, as [`withdraw`](Self::withdraw) does each, and
    /// [`cancel_all`](Self::cancel_all) finds them. Returns their number.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub fn withdraw_all(&self) -> Result<u64, Error> {
        self.broker.withdraw_each(&self.ids()).map_err(Error)
    }

    fn ids(&self) -> Vec<ItemId> {
        self.state.lock().pending.ids().collect()
    }

    fn check_open(&self) -> Result<(), Kind> {
        let state = self.state.lock();
        match &state.loss {
            Some(Error(kind)) => Err(kind.clone()),
            None if state.is_closed => Err(Refusal::Closed.into()),
            None => Ok(()),
        }
    }

    fn keep(&self, tag: C) -> TagPlace {
        self.state.lock().pending.insert(tag)
    }

    /// Takes back the tag of an item that was not accepted; `None` if its end was told.
    fn take_back(&self, place: TagPlace) -> Option<C> {
        self.state.lock().pending.remove_at(place)
    }

    fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.is_closed && state.pending.is_empty()
    }

    fn is_interrupted(&self) -> bool {
        self.state.lock().is_interrupted
    }

    fn enclose<Q: Serialize + ?Sized>(&self, item: &Q, place: TagPlace) -> Result<Envelope, Kind> {
        let body = serialized_for(item, &self.broker)?;
        let reply = ReplyTo {
            mailbox: self.mailbox,
            index: place.slot,
        };
        Ok(Envelope::with_reply(body, reply))
    }
}

impl<T: Serialize, R, C> Submitter<T, R, C> {
    /// Submits an item as [`put`](crate::JoinableQueue::put) does; waits for room if the queue is
    /// full. Its end is told with this tag. It may be told before this returns.
    ///
    /// # Errors
    /// As [`put`](crate::JoinableQueue::put), and `is_closed` after [`close`](Self::close). The tag
    /// is dropped, and no end is told.
    pub fn submit<Q>(&self, item: &Q, tag: C) -> Result<ItemId, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.check_open()?;
        let place = self.keep(tag);
        let put = self.enclose(item, place).and_then(|envelope| {
            let is_holding = current::holds(&self.broker);
            self.broker.put(envelope, Deadline::Forever, is_holding)
        });
        match put {
            Ok(id) => {
                self.state.lock().pending.name(place, id);
                Ok(id)
            }
            Err(kind) => {
                self.take_back(place);
                Err(Error(kind))
            }
        }
    }

    /// Submits all items of an iterator, each with its tag, as
    /// [`put_many`](crate::JoinableQueue::put_many) puts them: in batches, and each that is refused is
    /// given back alone. No end is told of those; of those that were lost with a journal, one is told.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Supervisor};
    ///
    /// let queue = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder().threads(2).handler(&queue, |n: u32| Ok::<_, String>(n * n))?;
    /// let submitter = pool.submitter();
    /// let put = submitter.submit_many((1..=100).map(|n| (n, n)));
    /// assert_eq!(put.into_result()?, 100);
    /// submitter.close();
    /// let mut count = 0;
    /// while let Ok(ends) = submitter.ends(None) {
    ///     for end in ends {
    ///         assert_eq!(end.result.unwrap(), end.tag * end.tag);
    ///         count += 1;
    ///     }
    /// }
    /// assert_eq!(count, 100);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn submit_many<Q>(&self, items: impl IntoIterator<Item = (Q, C)>) -> PutMany<(Q, C)>
    where
        Q: Borrow<T>,
    {
        let mut items = items.into_iter();
        if let Err(kind) = self.check_open() {
            let mut outcome = PutMany::new();
            // The first one is given back with the reason, and the rest is not read.
            if let Some(first) = items.next() {
                outcome.refuse((0, first), kind);
            }
            return outcome;
        }
        // In the order of the puts, without those that did not serialize.
        let under_way = Mutex::new(VecDeque::new());
        let tagged = items.map(|(item, tag)| Tagged {
            item,
            place: self.keep(tag),
        });
        let enclose = |tagged: &Tagged<Q>| {
            let envelope = self.enclose::<T>(tagged.item.borrow(), tagged.place)?;
            under_way.lock().push_back(tagged.place);
            Ok(envelope)
        };
        let hear = |answer: &PutAnswer<(u64, Tagged<Q>)>| {
            self.note_answer(answer, &mut under_way.lock());
        };
        let put = put_batches(&self.broker, (0..).zip(tagged), enclose, hear);
        put.map_refused(|refused| {
            let Tagged { item, place } = refused.item;
            let item = (item, self.take_back(place)?);
            let RefusedItem { index, error, .. } = refused;
            Some(RefusedItem { index, item, error })
        })
    }

    /// Notes the numbers of the next items that were put.
    fn note_answer<Q>(&self, answer: &PutAnswer<Q>, under_way: &mut VecDeque<TagPlace>) {
        match answer {
            PutAnswer::Accepted(accepted) => {
                let mut state = self.state.lock();
                for id in accepted.first.0..=accepted.last.0 {
                    if let Some(place) = under_way.pop_front() {
                        state.pending.name(place, ItemId(id));
                    }
                }
            }
            PutAnswer::Sent(count) => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                under_way.drain(..count.min(under_way.len()));
            }
            PutAnswer::Refused(..) => drop(under_way.pop_front()),
        }
    }
}

impl<T, R: DeserializeOwned, C> Submitter<T, R, C> {
    /// Waits until items have ended, and takes all ends that are there, oldest first: at most this
    /// long, or as long as it takes. There are none when the time is over, or it was
    /// [interrupted](Self::interrupt).
    ///
    /// When the workers are gone for good, all items that have no end get
    /// [`ItemError::NoResult`](crate::ItemError::NoResult), and nothing more can be submitted.
    ///
    /// # Errors
    /// `is_closed` when it was closed and all ends were taken; `is_no_workers_left`, `is_journal` or
    /// `is_shared` when no more ends can come and none is left.
    pub fn ends(&self, time: Option<Duration>) -> Result<Vec<ItemEnded<R, C>>, Error> {
        let deadline = time.map_or(Deadline::Forever, Deadline::lasting);
        let mut outcomes = std::mem::take(&mut self.state.lock().spare);
        let is_wanted = || !self.is_over() && !self.is_interrupted();
        let broker = &self.broker;
        let taken = broker.take_outcomes(self.mailbox, deadline, &is_wanted, &mut outcomes);
        if let Err(kind) = taken {
            return self.break_off(&Error(kind));
        }
        if outcomes.is_empty() {
            self.state.lock().is_interrupted = false;
            return match self.is_over() {
                true => Err(Error(Refusal::Closed.into())),
                false => Ok(Vec::new()),
            };
        }
        let ends = self.tagged(&mut outcomes);
        if self.is_over() {
            // Others that wait for the last one wait in vain.
            self.broker.wake_takers(self.mailbox);
        }
        Ok(ends)
    }

    fn tagged(&self, outcomes: &mut VecDeque<(u32, ItemEnd)>) -> Vec<ItemEnded<R, C>> {
        let mut state = self.state.lock();
        let tagged: Vec<(C, ItemEnd)> = outcomes
            .drain(..)
            .filter_map(|(slot, outcome)| Some((state.pending.remove(slot)?, outcome)))
            .collect();
        state.spare = std::mem::take(outcomes);
        drop(state);
        // A result's own Deserialize may submit more.
        let ends = tagged.into_iter().map(|(tag, outcome)| ItemEnded {
            tag,
            result: result_of(outcome),
        });
        ends.collect()
    }

    /// Gives this error to every item that has no end, because none will come.
    fn break_off(&self, error: &Error) -> Result<Vec<ItemEnded<R, C>>, Error> {
        let mut state = self.state.lock();
        let error = state.loss.get_or_insert_with(|| error.clone()).clone();
        let tags = state.pending.take_all();
        drop(state);
        if tags.is_empty() {
            return Err(error);
        }
        let ends = tags.into_iter().map(|tag| ItemEnded {
            tag,
            result: Err(ItemError::NoResult(error.clone())),
        });
        Ok(ends.collect())
    }
}

impl<T, R, C> Drop for Submitter<T, R, C> {
    fn drop(&mut self) {
        self.broker.close_mailbox(self.mailbox);
    }
}
