//! The subject of the control API: a queue and its workers, whatever the items are. It does not know
//! how requests come.

use std::any::type_name;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::output::{FoundEnd, ItemOutputs};
use super::status::{Facts, RunStatus};
use crate::broker::Broker;
use crate::broker::bars::{BarTime, KeptBars};
use crate::broker::clients::{OpenDoor, ServedQueue};
use crate::broker::stream::ObeyOrder;
use crate::error::{Error, Kind};
use crate::link::stream::PutListener;
use crate::observe::progress::Progress;
use crate::observe::{Event, Observer};
use crate::queue::put_while::{Bundle, BundleAnswer};
use crate::queue::{JoinableQueue, Joined};
use crate::supervision::{PoolStatus, Supervisor};
use crate::{ItemInfo, ItemState};
use dishrack_core::ledger::{Counts, ItemId, Refusal};

/// Makes an item of a line of JSON.
type Read<T> = Arc<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// Makes the object of an event.
type ToObject = Arc<dyn Fn(&Event) -> Value + Send + Sync>;

/// Ends the run, at once if it is told so, and waits until its workers are gone.
type EndRun = Arc<dyn Fn(bool) + Send + Sync>;

/// A queue and its workers, for [`Control`](crate::Control) to serve.
///
/// # Example
///
/// ```no_run
/// use std::sync::Arc;
/// use dishrack::{Control, Controlled, JoinableQueue, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(2).handler(&queue, |n: u32| Ok::<_, String>(n + 1))?;
/// let pool = Arc::new(pool);
/// let _control = Control::serve_as("numbers", Controlled::new(&queue, &pool))?;
/// // From now on: curl --unix-socket $XDG_RUNTIME_DIR/dishrack/numbers.sock http://run/v1/items -d 7
/// # Ok::<(), dishrack::Error>(())
/// ```
pub struct Controlled<T, R> {
    queue: JoinableQueue<T>,
    /// `None` where there are only clients.
    pool: Option<Weak<Supervisor<T, R>>>,
    read: Read<T>,
    /// Writes an item out whole.
    write: fn(T) -> Vec<u8>,
    end_run: Option<EndRun>,
    is_process_ended: bool,
    object: ToObject,
    on_put: PutListener,
    /// The number of items that there will be. Without it they are those that there are.
    expected: Option<Arc<dyn Fn() -> Option<u64> + Send + Sync>>,
    pace: Mutex<Progress>,
    /// The output of its items, if it is kept.
    outputs: Option<Arc<dyn ItemOutputs>>,
    takes_commands: bool,
    /// The reason for which nobody else puts items.
    refuses_puts: Option<&'static str>,
}

impl<T, R> fmt::Debug for Controlled<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controlled")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned + 'static, R: 'static> Controlled<T, R> {
    /// Describes this queue and its workers. They end when the program drops the supervisor, whether
    /// they are served or not.
    #[must_use]
    pub fn new(queue: &JoinableQueue<T>, pool: &Arc<Supervisor<T, R>>) -> Self {
        Self::of(queue, Some(Arc::downgrade(pool)))
    }

    fn of(queue: &JoinableQueue<T>, pool: Option<Weak<Supervisor<T, R>>>) -> Self {
        Controlled {
            queue: queue.clone(),
            pool,
            read: Arc::new(|line| serde_json::from_slice(line).map_err(|why| why.to_string())),
            write: |item| serde_json::to_vec(&item).unwrap_or_default(),
            end_run: None,
            is_process_ended: false,
            object: Arc::new(|event| serde_json::to_value(event).unwrap_or_default()),
            on_put: Arc::new(|_| {}),
            expected: None,
            pace: Mutex::new(Progress::new(Duration::ZERO, Counts::default())),
            outputs: None,
            takes_commands: false,
            refuses_puts: None,
        }
    }

    /// Sets how a line of JSON becomes an item. Default: as serde reads it. The error says what is
    /// wrong with the line.
    #[must_use]
    pub fn read_items(
        mut self,
        read: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        self.read = Arc::new(read);
        self
    }

    /// Sets how an item is written out whole. Default: as JSON.
    #[must_use]
    pub(crate) fn write_items(mut self, write: fn(T) -> Vec<u8>) -> Self {
        self.write = write;
        self
    }

    /// Sets what a client's order to stop does: it is called with `true` if that is to be at once,
    /// and returns when the workers are gone. Default: the queue is closed, and the workers are
    /// stopped or killed; the program goes on.
    #[must_use]
    pub fn on_stop(mut self, end: impl Fn(bool) + Send + Sync + 'static) -> Self {
        self.end_run = Some(Arc::new(end));
        self
    }

    /// Says that the process ends after a stop, so that a client may wait for that.
    #[must_use]
    pub(crate) fn ending_process(mut self) -> Self {
        self.is_process_ended = true;
        self
    }

    /// Sets the form of events.
    #[must_use]
    pub(crate) fn events_as(
        mut self,
        object: impl Fn(&Event) -> Value + Send + Sync + 'static,
    ) -> Self {
        self.object = Arc::new(object);
        self
    }

    /// Sets where the number of all items is found, and those that were there before.
    #[must_use]
    pub(crate) fn expecting(
        mut self,
        before: Counts,
        expected: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.pace = Mutex::new(Progress::new(Duration::ZERO, before));
        self.expected = Some(Arc::new(expected));
        self
    }

    /// Sets where the output of items is kept.
    #[must_use]
    pub(crate) fn with_outputs(mut self, outputs: Option<Arc<dyn ItemOutputs>>) -> Self {
        self.outputs = outputs;
        self
    }

    /// Says that each item is a command of its own.
    #[must_use]
    pub(crate) fn of_commands(mut self, takes_commands: bool) -> Self {
        self.takes_commands = takes_commands;
        self
    }

    /// Has puts of others be refused, if there is a reason.
    #[must_use]
    pub(crate) fn refuse_puts(mut self, why: Option<&'static str>) -> Self {
        self.refuses_puts = why;
        self
    }

    /// Returns how it stands, as the API tells it; `None` if the supervisor is gone.
    pub(crate) fn status(&self, name: &str) -> Result<Option<Value>, Error> {
        let status = self.facts()?.map(|facts| RunStatus::new(name, facts));
        Ok(status.map(|status| serde_json::to_value(status).unwrap_or_default()))
    }

    /// Tells the number of items after each put, also of programs that are attached. It must return at once.
    #[must_use]
    pub(crate) fn on_put(mut self, tell: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.on_put = Arc::new(tell);
        self
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Controlled<T, ()> {
    /// Describes a queue without workers of its own: other programs attach to it, and take its items.
    #[must_use]
    pub fn of_queue(queue: &JoinableQueue<T>) -> Self {
        Self::of(queue, None)
    }
}

impl<T, R> Controlled<T, R> {
    /// Returns the supervisor, unless there is none any more.
    fn pool(&self) -> Result<Arc<Supervisor<T, R>>, Error> {
        let Some(pool) = &self.pool else {
            let why = "this queue has no workers of its own: other programs take its items";
            return Err(Error(Kind::invalid("workers", why)));
        };
        let closed = || Error(Refusal::Closed.into());
        pool.upgrade().ok_or_else(closed)
    }
}

/// Returns the key of one item of a put with this key. No line of a text that a run puts has such a
/// one, which begins with a zero byte.
fn key_of_line(key: &str, place: u64) -> Vec<u8> {
    [b"\0put\0", key.as_bytes(), b"\0", &place.to_le_bytes()].concat()
}

/// The requests of the API to a queue and its workers. All of it may block but the last six.
pub(super) trait ControlTarget: Send + Sync + fmt::Debug {
    /// Sees how it stands. The supervisor may be gone.
    fn facts(&self) -> Result<Option<Facts>, Error>;

    /// Returns the bars of a time, which is asked for with the present one, if they are kept.
    fn bars(&self, time: &dyn Fn(Duration) -> BarTime) -> Result<Option<KeptBars>, Error>;

    fn items(
        &self,
        state: Option<ItemState>,
        after: ItemId,
        limit: usize,
    ) -> Result<Vec<ItemInfo>, Error>;

    fn item(&self, id: ItemId) -> Result<Option<ItemInfo>, Error>;

    /// Writes out all of an item, unless it is not kept any more.
    fn text(&self, item: &ItemInfo) -> Option<Vec<u8>>;

    /// Waits for the end of an item, for this time.
    fn wait_item(&self, id: ItemId, time: Duration) -> Result<Option<ItemInfo>, Error>;

    /// Pauses, and waits for this time until nothing more is begun.
    fn pause(&self, time: Duration) -> Result<(), Error>;

    fn unpause(&self) -> Result<(), Error>;

    /// Changes the number of workers, and waits for this time until it is so.
    fn scale(&self, workers: usize, time: Duration) -> Result<(), Error>;

    /// Replaces all workers, and waits until that is over.
    fn reload(&self) -> Result<(), Error>;

    /// Ends the worker of this name, which is started again, and waits for its end.
    fn end_worker(&self, name: &str) -> Result<(), Error>;

    /// Replaces the worker of this name, and waits until that is over.
    fn replace_worker(&self, name: &str) -> Result<(), Error>;

    /// Makes an item of each line. With a key, a journal knows each of them again.
    ///
    /// # Errors
    /// The number of the first line that is none, and the reason.
    fn read(&self, body: &[u8], key: Option<&str>) -> Result<Bundle, (usize, String)>;

    /// Finds the items that were put before with the same key, so that they are not put again. Returns
    /// `false` if that was used for others.
    fn find_earlier(&self, bundle: &mut Bundle) -> Result<bool, Error>;

    /// Puts items, and notes the answers in their order. What is not put stays in the bundle.
    fn put(
        &self,
        bundle: &mut Bundle,
        is_wanted: &dyn Fn() -> bool,
        note: &mut dyn FnMut(BundleAnswer),
    ) -> Result<(), Error>;

    /// Returns `true` if items are put elsewhere, where several supervisors share them.
    fn is_on_a_stream(&self) -> bool;

    /// Sets who carries out what is ordered of all supervisors of a stream.
    fn obey_by(&self, obey: ObeyOrder);

    fn cancel(&self, id: ItemId) -> Result<bool, Error>;

    fn retry(&self, id: ItemId) -> Result<bool, Error>;

    /// Forgets a dead letter.
    fn drop_dead(&self, id: ItemId) -> Result<bool, Error>;

    /// Waits for the end of all items, for this time. Returns also the number of retries.
    fn join(&self, time: Duration) -> Result<(Joined, u64), Error>;

    /// Returns `true` if a stop ends the process.
    fn is_process_ended(&self) -> bool;

    /// Ends the work, at once or when what is begun is finished.
    fn stop(&self, is_at_once: bool);

    fn wake_putters(&self);

    /// Returns the queue, for clients that attach; `None` where it is another process's.
    fn served(&self) -> Option<ServedQueue>;

    /// Returns what is to be told of the puts of clients that attach.
    fn put_listener(&self) -> PutListener;

    /// Lets clients attach; `None` where the queue is another process's.
    fn open_door(&self) -> Option<OpenDoor>;

    fn listen(&self, listener: Arc<dyn Observer>) -> Result<(), Error>;

    fn unlisten(&self, listener: &Arc<dyn Observer>);

    fn object(&self, event: &Event) -> Value;

    /// Returns the output of its items, if it is kept.
    fn outputs(&self) -> Option<Arc<dyn ItemOutputs>>;

    /// Returns `true` if each item is a command of its own.
    fn takes_commands(&self) -> bool;

    /// Returns the reason for which nobody else puts items, if there is one.
    fn refuses_puts(&self) -> Option<&'static str>;
}

impl<T: Serialize + DeserializeOwned + 'static, R: 'static> Controlled<T, R> {
    /// Returns an item of a stream that this run has done, as long as its end is kept.
    fn done_here(&self, id: ItemId) -> Option<ItemInfo> {
        match self.outputs.as_ref()?.ended(id) {
            FoundEnd::Kept(ending)
                if self.is_on_a_stream() && ending.is_last && ending.cause.is_none() =>
            {
                Some(ItemInfo::new(id, ItemState::Done))
            }
            FoundEnd::Kept(_) | FoundEnd::Gone | FoundEnd::Unseen => None,
        }
    }
}

impl<T: Serialize + DeserializeOwned + 'static, R: 'static> ControlTarget for Controlled<T, R> {
    fn facts(&self) -> Result<Option<Facts>, Error> {
        let (mode, status) = match &self.pool {
            None => (None, PoolStatus::none()),
            Some(pool) => match pool.upgrade() {
                None => return Ok(None),
                Some(pool) => (Some(pool.mode()), pool.status()),
            },
        };
        let (counts, uptime) = (self.queue.counts()?, self.queue.age()?);
        let waiting = self.queue.items(Some(ItemState::Waiting), ItemId(0), 1)?;
        let oldest = waiting.first().map(|item| item.number);
        let waits = self.queue.waits(oldest)?;
        let mut pace = self.pace.lock();
        pace.count(uptime, &counts);
        pace.expect(match &self.expected {
            None => Some(counts.accepted),
            Some(expected) => expected(),
        });
        Ok(Some(Facts {
            mode,
            is_paused: self.queue.is_paused()?,
            is_closed: self.queue.is_closed(),
            uptime,
            counts,
            waits,
            durations: self.queue.durations()?,
            rate: pace.rate(uptime),
            left: pace.time_left(uptime),
            pool: status,
        }))
    }

    fn items(
        &self,
        state: Option<ItemState>,
        after: ItemId,
        limit: usize,
    ) -> Result<Vec<ItemInfo>, Error> {
        self.queue.items(state, after, limit)
    }

    fn bars(&self, time: &dyn Fn(Duration) -> BarTime) -> Result<Option<KeptBars>, Error> {
        self.queue.bars(time)
    }

    fn item(&self, id: ItemId) -> Result<Option<ItemInfo>, Error> {
        let found = self.queue.item(id)?;
        Ok(found.or_else(|| self.done_here(id)))
    }

    fn text(&self, item: &ItemInfo) -> Option<Vec<u8>> {
        postcard::from_bytes(item.raw()?).ok().map(self.write)
    }

    fn wait_item(&self, id: ItemId, time: Duration) -> Result<Option<ItemInfo>, Error> {
        self.queue.wait_item(id, Some(time))
    }

    fn pause(&self, time: Duration) -> Result<(), Error> {
        self.queue.pause_timeout(time)
    }

    fn unpause(&self) -> Result<(), Error> {
        self.queue.unpause()
    }

    fn scale(&self, workers: usize, time: Duration) -> Result<(), Error> {
        self.pool()?.scale_timeout(workers, time)
    }

    fn reload(&self) -> Result<(), Error> {
        self.pool()?.reload()
    }

    fn end_worker(&self, name: &str) -> Result<(), Error> {
        self.pool()?.end_worker(name)
    }

    fn replace_worker(&self, name: &str) -> Result<(), Error> {
        self.pool()?.replace_worker(name)
    }

    fn read(&self, body: &[u8], key: Option<&str>) -> Result<Bundle, (usize, String)> {
        let mut bundle = Bundle::default();
        let mut place = 0_u64;
        for (line, number) in body.split(|byte| *byte == b'\n').zip(1..) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let item = (self.read)(line).map_err(|why| (number, why))?;
            let key = key.map(|key| key_of_line(key, place));
            let added = self.queue.add_to_bundle(&mut bundle, &item, key.as_deref());
            added.map_err(|error| (number, error.to_string()))?;
            place += 1;
        }
        Ok(bundle)
    }

    fn find_earlier(&self, bundle: &mut Bundle) -> Result<bool, Error> {
        self.queue.find_earlier(bundle)
    }

    fn put(
        &self,
        bundle: &mut Bundle,
        is_wanted: &dyn Fn() -> bool,
        note: &mut dyn FnMut(BundleAnswer),
    ) -> Result<(), Error> {
        let note = |answer: BundleAnswer| {
            if let BundleAnswer::Accepted(run) = answer {
                (self.on_put)(run.count());
            }
            note(answer);
        };
        self.queue.put_bundle(bundle, is_wanted, note)
    }

    fn is_on_a_stream(&self) -> bool {
        self.queue.is_on_a_stream()
    }

    fn obey_by(&self, obey: ObeyOrder) {
        if let Ok(broker) = self.queue.broker() {
            broker.obey_by(obey);
        }
    }

    fn cancel(&self, id: ItemId) -> Result<bool, Error> {
        self.queue.cancel(id)
    }

    fn retry(&self, id: ItemId) -> Result<bool, Error> {
        self.queue.retry_dead_letter(id)
    }

    fn drop_dead(&self, id: ItemId) -> Result<bool, Error> {
        self.queue.drop_dead_letter(id)
    }

    fn join(&self, time: Duration) -> Result<(Joined, u64), Error> {
        let joined = self.queue.join_timeout(time)?;
        Ok((joined, self.queue.counts()?.retries))
    }

    fn is_process_ended(&self) -> bool {
        self.is_process_ended
    }

    fn stop(&self, is_at_once: bool) {
        if let Some(end_run) = &self.end_run {
            return end_run(is_at_once);
        }
        self.queue.close();
        match (self.pool(), is_at_once) {
            (Err(_), _) => {}
            (Ok(pool), true) => pool.kill(),
            (Ok(pool), false) => pool.stop(),
        }
    }

    fn wake_putters(&self) {
        self.queue.wake_putters();
    }

    fn served(&self) -> Option<ServedQueue> {
        let broker = self.queue.broker().ok()?;
        Some((Arc::clone(broker), type_name::<T>()))
    }

    fn put_listener(&self) -> PutListener {
        Arc::clone(&self.on_put)
    }

    fn open_door(&self) -> Option<OpenDoor> {
        self.queue.broker().ok().map(Broker::open_door)
    }

    fn listen(&self, listener: Arc<dyn Observer>) -> Result<(), Error> {
        self.queue.add_listener(listener)
    }

    fn unlisten(&self, listener: &Arc<dyn Observer>) {
        self.queue.remove_listener(listener);
    }

    fn object(&self, event: &Event) -> Value {
        (self.object)(event)
    }

    fn outputs(&self) -> Option<Arc<dyn ItemOutputs>> {
        self.outputs.clone()
    }

    fn takes_commands(&self) -> bool {
        self.takes_commands
    }

    fn refuses_puts(&self) -> Option<&'static str> {
        self.refuses_puts
    }
}
