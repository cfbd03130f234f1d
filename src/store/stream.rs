//! The contract of a stream, which is what a shared backend offers: a queue outside of this process that several supervisors share.
//!
//! Items are put there and taken from there; what a supervisor has taken is its own until it says
//! how it ended, or is not heard of for the time of a lease. The broker's threads call a stream
//! without any lock of the broker's, and a call may take as long as the other side is away. Here is
//! what is said, and nothing of how.

use std::time::Duration;

use super::{Backend, StoredLetter};
use crate::payload::Payload;
use crate::payload::envelope::Envelope;
use dishrack_core::ledger::{Failure, ItemId, Record};
use dishrack_core::shared::inflight;
pub(crate) use dishrack_core::shared::inflight::Answered;
pub(crate) use dishrack_core::shared::{Admission, StreamState};

/// An item on its way to the stream.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) body: Payload,
    /// Its place in a `map` of this process, whoever works on it.
    pub(crate) reply: Option<u64>,
    /// It is put by who works on an item, and does not wait for room.
    pub(crate) is_beyond_bound: bool,
}

/// What came of an item that is done.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: ItemId,
    /// The serialized result.
    pub(crate) result: Payload,
}

/// What became of items that were taken, told in one go.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) records: Vec<Record<Envelope>>,
    /// Of those that are done, what came of them, where somebody wants it.
    pub(crate) sent: Vec<Sent>,
    /// Failed attempts that are followed by another one.
    pub(crate) retries: u64,
}

/// An item that is this supervisor's from now on.
pub(crate) type Arrival = inflight::Arrival<Payload>;

/// What came of looking after what was taken.
pub(crate) type Maintained = inflight::Maintained<Payload>;

/// What became of an item that a `map` of this process has put: its place there, and the result, or
/// how its attempts failed.
pub(crate) type Outcome = (u64, Result<Payload, (ItemId, Vec<Failure>)>);

/// What happens between here and there, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It cannot be reached, and is tried again.
    Away(String),
    /// It can be reached again.
    Back(String),
    /// Fewer replicas than wanted have what was told; it is waited for them.
    Lagging(String),
    /// Enough of them have it again.
    CaughtUp(String),
    /// Something about it is not as it should be.
    Warning(String),
    /// It is there, and what was told to it is not all there.
    Older(String),
}

/// Who listens to notices.
pub(crate) type Listener = Box<dyn Fn(Notice) + Send + Sync>;

/// How a stream is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is made where it is not there.
    Create,
    /// It must be there, and supervisors must have begun with it.
    Existing,
    /// It must be there, if only with items that others have put.
    ExistingOrUnbegun,
    /// As `Existing`, and nothing is written there.
    ReadOnly,
}

/// How a stream stands, for people: at one moment, so that the numbers belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// When, by the clock of the stream, since 1970.
    pub(crate) at: Duration,
    /// Items without an end.
    pub(crate) unfinished: u64,
    /// Of these, what supervisors have taken.
    pub(crate) pending: u64,
    pub(crate) supervisors: Vec<Member>,
    /// Dead letters that are there.
    pub(crate) letters: u64,
    pub(crate) done: u64,
    pub(crate) dead: u64,
    pub(crate) retries: u64,
    pub(crate) refused: u64,
    /// Items that are gone without an end.
    pub(crate) gone: u64,
    pub(crate) item_type: String,
    pub(crate) lease: Duration,
}

/// A supervisor, as a stream knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// How many items it holds.
    pub(crate) pending: u64,
    /// Since when nothing was heard of it.
    pub(crate) idle: Duration,
}

impl Status {
    /// Of the unfinished items, what nobody has taken.
    pub(crate) fn untaken(&self) -> u64 {
        self.unfinished.saturating_sub(self.pending)
    }

    /// Whether a supervisor was not heard of for longer than the lease: it is dead or cut off, and
    /// others take over what it holds.
    pub(crate) fn is_lost(&self, one: &Member) -> bool {
        one.idle > self.lease
    }

    /// All items that were ever put, but for letters that were tried again.
    pub(crate) fn put(&self) -> u64 {
        self.unfinished + self.done + self.dead
    }
}

/// An address without what may be a password.
pub(crate) fn shown_url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    // The path of a socket may be followed by one.
    let place = place.split_once('?').map_or(place, |(place, _)| place);
    format!("{scheme}{place}")
}

/// What the broker asks of a stream. An error is final: nothing more is accepted or told after it.
pub(crate) trait Stream: Backend {
    /// What kind of server keeps it, for people.
    fn kind(&self) -> &'static str;

    /// Takes part: what is needed for taking items is checked.
    fn begin(&self) -> Result<(), String>;

    /// Puts these, oldest first: as many as fit one step, and as there is room for. What is accepted gets
    /// its number there.
    fn put(&self, puts: &[Put]) -> Result<Admission, String>;

    /// Tells how items ended that were taken, all or nothing.
    fn settle(&self, ends: &Ends) -> Result<Answered, String>;

    /// How the stream stands, and how many other supervisors there are.
    fn look(&self) -> Result<(StreamState, u64), String>;

    /// Takes so many items at most; waits for the first of them at most this long.
    fn take(&self, count: usize, wait: Duration) -> Result<Vec<Arrival>, String>;

    /// Ends a wait in [`take`](Self::take).
    fn interrupt(&self);

    /// Ends a wait in [`listen`](Self::listen).
    fn hush(&self);

    /// Renews the lease on what was taken, and takes over so many at most of what others left
    /// behind.
    fn maintain(&self, count: usize) -> Result<Maintained, String>;

    /// How often that is to be done at least.
    fn maintain_every(&self) -> Duration;

    /// Gives back what will not be worked on.
    fn release(&self, ids: &[ItemId]) -> Result<(), String>;

    /// Waits until the stream's doorbell has been rung since it stood like this, or something has come for a
    /// `map` of this process; at most this long.
    fn listen(&self, since: &StreamState, wait: Duration) -> Result<Vec<Outcome>, String>;

    /// Whether what came of each item is to be told, and not only where somebody waits for it.
    fn wants_results(&self) -> bool;

    /// From here on: who is told what happens in between.
    fn set_listener(&self, listener: Listener);

    /// Whoever waits in a call is let go with an error, soon.
    fn abandon(&self);

    /// How the stream stands, for people.
    fn status(&self) -> Result<Status, String>;

    /// Makes these dead letters unfinished items again. How many: somebody else may have been faster.
    fn revive_all(&self, is_wanted: &dyn Fn(&StoredLetter) -> bool) -> Result<usize, String>;
}
