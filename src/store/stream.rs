//! The contract of a stream, which a shared backend fulfils: a queue outside of this process that
//! several supervisors share.
//!
//! Items are put there and taken from there. A taken item belongs to its supervisor until that
//! reports the item's end, or is not heard of for the time of a lease. The broker's threads call a
//! stream without any lock of the broker's, and a call may take as long as the other side is away.
//! The contract says what is exchanged, and not how.

use std::sync::Arc;
use std::time::Duration;

use super::{Backend, StoreError, StoredLetter};
use crate::payload::Payload;
use crate::payload::envelope::Envelope;
use dishrack_core::dispatcher::inflight;
pub(crate) use dishrack_core::dispatcher::inflight::Answered;
use dishrack_core::ledger::{Failure, ItemId, Record};
use dishrack_core::shared::OutgoingPut;
pub(crate) use dishrack_core::shared::{Admission, Steering, StreamState};
pub(crate) use dishrack_core::stream::entry::EntryId;

/// An item on its way to the stream. If a `map` waits for its result, that comes under its ticket.
pub(crate) type StreamPut = OutgoingPut<Envelope>;

/// An item that is done, and its result.
pub(crate) type Sent = (ItemId, Payload);

/// The ends of items that were taken, told in one go.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) records: Vec<Record<Envelope>>,
    /// The results of those that are done, where they are wanted.
    pub(crate) sent: Vec<Sent>,
    /// Failed attempts that are followed by another one.
    pub(crate) retries: u64,
}

/// An item that is this supervisor's from now on.
pub(crate) type Arrival = inflight::Arrival<Payload>;

/// The result of renewing the lease.
pub(crate) type Maintained = inflight::Maintained<Payload>;

/// The end of an item that a `map` of this process has put: its place there, and the result or its
/// failed attempts.
pub(crate) type MapEnd = (u64, Result<Payload, (ItemId, Vec<Failure>)>);

/// A notice about the connection to the stream, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamNotice {
    /// It cannot be reached, and is tried again.
    Away(String),
    Back(String),
    /// Fewer replicas than wanted have what was told; the stream waits for them.
    Lagging(String),
    /// Enough of them have it again.
    CaughtUp(String),
    /// Something about it is wrong.
    Warning(String),
    /// It is reachable, but has lost some of what was told to it.
    Older(String),
}

impl StreamNotice {
    /// Returns it in words.
    pub(crate) fn words(self) -> String {
        match self {
            StreamNotice::Away(why) => format!("{why}; it is tried again"),
            StreamNotice::Older(why)
            | StreamNotice::Back(why)
            | StreamNotice::Lagging(why)
            | StreamNotice::CaughtUp(why)
            | StreamNotice::Warning(why) => why,
        }
    }
}

/// The receiver of notices.
pub(crate) type Listener = Box<dyn Fn(StreamNotice) + Send + Sync>;

/// The condition on which a stream is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is made if it does not exist.
    Create,
    /// It must exist, and supervisors must have begun with it.
    Existing,
    /// It must exist, but may hold only items that other programs have put.
    ExistingOrUnbegun,
    /// As `Existing`, and nothing is written to it.
    ReadOnly,
}

/// A place at which several supervisors share a queue, for
/// [`JoinableQueue::shared`](crate::JoinableQueue::shared): the options of a server.
///
/// # Example
///
/// ```
/// use dishrack::{Error, JoinableQueue, Options, RedisOptions, SharedPlace};
///
/// /// Puts a dish on a rack that others share, wherever that is.
/// fn put_on(rack: &impl SharedPlace, dish: &str) -> Result<(), Error> {
///     JoinableQueue::<String>::shared(rack, Options::default())?.put(dish).map(drop)
/// }
/// let nowhere = RedisOptions::new("redis+unix:///nowhere/redis.sock", "dishes");
/// assert!(put_on(&nowhere, "cup").is_err_and(|error| error.is_shared()));
/// ```
pub trait SharedPlace: sealed::OpenPlace {}

/// The part of a place that only this crate can fulfil.
pub(crate) mod sealed {
    use std::sync::Arc;

    use super::Stream;
    use crate::error::Error;
    use dishrack_core::ledger::Capacity;
    use dishrack_core::stream::entry::Layout;

    #[derive(Debug)]
    pub struct OpenedStream(pub(crate) Arc<dyn Stream>);

    pub trait OpenPlace {
        /// Opens the stream, whose entries have this layout. The error says why it cannot be used.
        fn open(&self, layout: Box<dyn Layout>, capacity: Capacity) -> Result<OpenedStream, Error>;
    }
}

/// A stream at an address, and the promises asked for there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamPlace<'a> {
    pub(crate) url: &'a str,
    pub(crate) stream: &'a str,
    /// `None` for the stream's own.
    pub(crate) lease: Option<Duration>,
    pub(crate) replicas: u32,
    pub(crate) opening: Opening,
}

/// A kind of server that keeps streams: how one is named by people, and how a stream is opened.
#[derive(Debug)]
pub(crate) struct StreamKind {
    pub(crate) server: &'static str,
    /// The option that has its address, without the dashes.
    pub(crate) option: &'static str,
    /// The variable for an address, so that a password need not be on the command line.
    pub(crate) variable: &'static str,
    /// The forms of an address.
    pub(crate) addresses: &'static str,
    pub(crate) at: fn(StreamPlace<'_>) -> Box<dyn sealed::OpenPlace>,
}

/// The state of a stream, for people: at one moment, so that the numbers belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// The moment, by the clock of the stream, since 1970.
    pub(crate) at: Duration,
    pub(crate) unfinished: u64,
    /// Those of them that supervisors have taken.
    pub(crate) pending: u64,
    pub(crate) supervisors: Vec<Member>,
    /// Dead letters that still exist.
    pub(crate) letters: u64,
    pub(crate) done: u64,
    pub(crate) dead: u64,
    pub(crate) retries: u64,
    pub(crate) refused: u64,
    pub(crate) gone: u64,
    /// True if no supervisor is to begin anything.
    pub(crate) is_paused: bool,
    pub(crate) item_type: String,
    pub(crate) lease: Duration,
}

/// Returns the name of this machine, as it stands in the names of its supervisors.
pub(crate) fn machine_name() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let host = host.to_string_lossy();
    host.chars().filter(|c| !c.is_whitespace()).collect()
}

/// A supervisor, as a stream knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) pending: u64,
    /// The time since it was last heard of.
    pub(crate) idle: Duration,
}

impl Status {
    /// Returns the number of unfinished items that no supervisor has taken.
    pub(crate) fn untaken(&self) -> u64 {
        self.unfinished.saturating_sub(self.pending)
    }

    /// Returns `true` if a supervisor was not heard of for longer than the lease: it is dead or cut
    /// off, and others take over its items.
    pub(crate) fn is_lost(&self, one: &Member) -> bool {
        one.idle > self.lease
    }

    /// Returns its state in a word.
    pub(crate) fn state(&self) -> &'static str {
        match () {
            () if self.is_paused => "paused",
            () if self.supervisors.iter().all(|one| self.is_lost(one)) => "unattended",
            () => "running",
        }
    }

    /// Returns the number of all items that were ever put, without letters that were tried again.
    pub(crate) fn put(&self) -> u64 {
        self.unfinished + self.done + self.dead
    }
}

/// An unfinished item, as a stream has it.
#[derive(Debug, Clone)]
pub(crate) struct StreamItem {
    /// Its place on the stream.
    pub(crate) entry: EntryId,
    /// `None` if it was put by another program, and no supervisor has taken it.
    pub(crate) number: Option<ItemId>,
    /// The serialized item, or the beginning of it.
    pub(crate) payload: Arc<[u8]>,
    pub(crate) history: Vec<Failure>,
    /// The supervisor that has taken it.
    pub(crate) holder: Option<StreamHolder>,
}

/// The supervisor that has an item of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamHolder {
    pub(crate) name: String,
    /// The time since it was last heard of.
    pub(crate) idle: Duration,
}

/// An item of a stream that was looked for by its number.
#[derive(Debug, Clone)]
pub(crate) enum FoundOnStream {
    Unfinished(StreamItem),
    Dead(StoredLetter),
    /// It was a dead letter, and somebody took or dropped that.
    Dropped,
    Done,
    /// There was none with this number.
    Unknown,
    /// It is not there, as are so many others that are gone without an end.
    Lost(u64),
}

/// The answer to an order that nobody works on an item any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CancelAnswer {
    /// It is a dead letter by now.
    Ended,
    /// Its holder is told. It will end the item, or whoever takes the item over from it.
    Ordered(StreamHolder),
    /// It is not unfinished.
    NotThere,
}

/// An order to supervisors of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamOrder {
    pub(crate) entry: EntryId,
    /// The client that is answered.
    pub(crate) from: String,
    pub(crate) verb: String,
    pub(crate) body: String,
    /// The order of a pause, or of its end, if it is one.
    pub(crate) steering: Steering,
}

/// An order as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// `None` if there was nobody to be told.
    pub(crate) entry: Option<EntryId>,
    /// The names of the supervisors that are told.
    pub(crate) told: Vec<String>,
    pub(crate) moment: Moment,
}

/// The stage that a supervisor has reached with an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OrderStage {
    /// It has it, and is at it.
    Heard,
    /// It has done it, and says this of it.
    Done(String),
    /// It will not do it, for this reason.
    Refused(String),
}

/// The answer of a supervisor to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderAnswer {
    /// The order.
    pub(crate) entry: EntryId,
    /// The supervisor.
    pub(crate) by: String,
    pub(crate) stage: OrderStage,
}

/// A moment of a stream: its doorbell is rung when something may have ended since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) String);

/// Returns an address without the part that may be a password.
pub(crate) fn shown_url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    // The path of a socket may be followed by a password.
    let place = place.split_once('?').map_or(place, |(place, _)| place);
    format!("{scheme}{place}")
}

/// The requests of the broker to a stream. An error is final: nothing more is accepted or told.
pub(crate) trait Stream: Backend {
    /// Returns the kind of server that keeps it, for people.
    fn kind(&self) -> &'static str;

    /// Returns what no other stream has, and all who use this one know.
    fn mark(&self) -> Option<String>;

    /// Joins the stream, after checks that items can be taken. Returns whether there is a pause.
    fn begin(&self) -> Result<Steering, StoreError>;

    /// Puts these, oldest first: as many as fit one step and find room. Accepted items get their
    /// numbers there.
    fn put(&self, puts: &[StreamPut]) -> Result<Admission, StoreError>;

    /// Tells the ends of items that were taken, all or nothing.
    fn settle(&self, ends: &Ends) -> Result<Answered, StoreError>;

    /// Returns the state of the stream, and the number of other supervisors.
    fn refresh(&self) -> Result<(StreamState, u64), StoreError>;

    /// Takes at most this many items; waits for the first of them at most this long.
    fn take(&self, count: usize, wait: Duration) -> Result<Vec<Arrival>, StoreError>;

    /// Ends a wait in [`take`](Self::take).
    fn interrupt(&self);

    /// Ends a wait in [`listen`](Self::listen).
    fn hush(&self);

    /// Renews the lease on taken items, and takes over at most this many that others left behind.
    fn maintain(&self, count: usize) -> Result<Maintained, StoreError>;

    /// Returns the longest time between two calls of that.
    fn maintain_every(&self) -> Duration;

    /// Gives back items that will not be worked on.
    fn release(&self, ids: &[ItemId]) -> Result<(), StoreError>;

    /// Waits until the stream's doorbell has been rung since this state, or outcomes have come for
    /// a `map` of this process; at most this long.
    fn listen(&self, since: &StreamState, wait: Duration) -> Result<Vec<MapEnd>, StoreError>;

    /// Returns `true` if the result of each item is to be told, even if no caller waits for it.
    fn wants_results(&self) -> bool;

    /// Sets the receiver of notices from now on.
    fn set_listener(&self, listener: Listener);

    /// Lets all waiting calls return soon, with an error.
    fn abandon(&self);

    /// Returns the state of the stream, for people.
    fn status(&self) -> Result<Status, StoreError>;

    /// Returns the first unfinished items after this entry, in the order of the stream. Long items are
    /// cut.
    fn page(&self, after: Option<EntryId>) -> Result<Vec<StreamItem>, StoreError>;

    /// Returns the first dead letters after this one, oldest first.
    fn letter_page(
        &self,
        after: Option<EntryId>,
    ) -> Result<Vec<(EntryId, StoredLetter)>, StoreError>;

    /// Returns the latest dead letters, newest first, at most this many.
    fn latest_letters(&self, count: usize) -> Result<Vec<StoredLetter>, StoreError>;

    /// Finds an item. `is_awaited`: its end will ring the doorbell.
    fn find(&self, id: ItemId, is_awaited: bool) -> Result<(FoundOnStream, Moment), StoreError>;

    /// Lets nobody work on an item any more; its end rings the doorbell. `failure` is what its history
    /// says of that.
    fn cancel(&self, id: ItemId, failure: &Failure) -> Result<(CancelAnswer, Moment), StoreError>;

    /// Returns the moment that it is.
    fn moment(&self) -> Result<Moment, StoreError>;

    /// Waits until the doorbell has been rung since then, at most this long.
    fn await_ring(&self, since: &Moment, wait: Duration) -> Result<(), StoreError>;

    /// Orders something of all supervisors that were heard of in time, or of this one of them.
    fn order(&self, verb: &str, body: &str, only: Option<&str>) -> Result<Ordered, StoreError>;

    /// Waits for answers to the orders of this client after this one, or until the doorbell has been
    /// rung since then; at most this long. Returns the answers with the last place of one.
    fn answers(
        &self,
        after: EntryId,
        since: &Moment,
        wait: Duration,
    ) -> Result<(Vec<OrderAnswer>, EntryId), StoreError>;

    /// Waits for orders to this supervisor after this one, at most this long. Returns them with the
    /// last place of one.
    fn orders(
        &self,
        after: EntryId,
        wait: Duration,
    ) -> Result<(Vec<StreamOrder>, EntryId), StoreError>;

    /// Answers an order.
    fn answer(&self, order: &StreamOrder, stage: &OrderStage) -> Result<(), StoreError>;

    /// Ends a wait in [`orders`](Self::orders).
    fn unlisten(&self);

    /// Makes these dead letters unfinished items again. Returns the number, without those that
    /// another client was faster to take.
    fn revive_all(&self, is_wanted: &dyn Fn(&StoredLetter) -> bool) -> Result<usize, StoreError>;
}
