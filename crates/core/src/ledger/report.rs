//! The ledger's reports: counts, ends of items and of attempts. Plain data.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Cause, Failure, Handed, ItemId, Scene};

/// An item given up on, with its whole history.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::DeadLetter;
///
/// /// Says what has become of a dish.
/// fn line(letter: &DeadLetter<String>) -> String {
///     let last = letter.history.last().map(|failure| failure.cause.to_string());
///     let (dish, attempts) = (&letter.payload, letter.history.len());
///     format!("{dish}, attempt {attempts}: {}", last.unwrap_or_default())
/// }
/// # use dishrack::{Cause, Failure, ItemId, Scene};
/// # let failed = |attempt| Failure::new(attempt, Cause::Nack("it has a crack".into()), Scene::default());
/// # let letter = DeadLetter::new(ItemId(7), "cup".to_owned(), (1..=3).map(failed).collect());
/// assert_eq!(line(&letter), "cup, attempt 3: it has a crack");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter<P> {
    /// The item's number.
    pub id: ItemId,
    /// The item itself.
    pub payload: P,
    /// Every failed attempt, oldest first.
    pub history: Vec<Failure>,
}

impl<P> DeadLetter<P> {
    /// Makes the letter of an item.
    pub fn new(id: ItemId, payload: P, history: Vec<Failure>) -> Self {
        DeadLetter {
            id,
            payload,
            history,
        }
    }

    /// Returns the same letter with another form of its item.
    pub fn with_payload<Q>(self, payload: Q) -> DeadLetter<Q> {
        DeadLetter::new(self.id, payload, self.history)
    }
}

/// A report of something that happened to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report<P, R> {
    /// The item was acknowledged.
    Done {
        /// The delivery that was acknowledged.
        handed: Handed,
        /// The item itself.
        payload: P,
        /// The time that it took.
        service: Duration,
        /// Its result.
        result: R,
    },
    /// An attempt failed; the item will be handed out again.
    Retry {
        /// The item's number.
        id: ItemId,
        /// The attempt that failed.
        failure: Failure,
        /// The item itself.
        payload: P,
    },
    /// The last attempt failed.
    Dead(DeadLetter<P>),
    /// One of several copies of an item has ended. It comes before what follows from that.
    Copy(CopyReport<P>),
}

/// The end of one of several copies of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport<P> {
    /// Its delivery, with its number.
    pub handed: Handed,
    /// The item itself.
    pub payload: P,
    /// Its end.
    pub end: CopyEnd,
    /// The place and the time, as far as they were told; of a copy that runs they are not.
    pub scene: Scene,
    /// The time that it took; `None` if it is not known.
    pub service: Option<Duration>,
    /// The cause, if it failed.
    pub cause: Option<Cause>,
}

/// The end of a copy, as far as its item goes. Whoever counts copies needs to know what each came to, so it
/// can be matched in full.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::CopyEnd;
///
/// /// Returns `true` if the copy's worker is one to be looked at.
/// fn is_suspect(end: &CopyEnd) -> bool {
///     match end {
///         CopyEnd::Disagreed { .. } | CopyEnd::Failed => true,
///         CopyEnd::Counted | CopyEnd::Agreed | CopyEnd::Cancelled | CopyEnd::Void => false,
///     }
/// }
/// let (said, counted) = ("41".into(), "42".into());
/// let end = CopyEnd::Disagreed { said, counted };
/// assert!(is_suspect(&end) && end.word() == "disagreed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyEnd {
    /// Its result is the item's; or it failed, and that is how the attempt has ended.
    Counted,
    /// It ended as the one that counts.
    Agreed,
    /// It ended with another result than the one that counts: one of them is wrong.
    Disagreed {
        /// Its result, in a few words.
        said: String,
        /// The result that counts.
        counted: String,
    },
    /// It failed, and that does not count.
    Failed,
    /// It was not needed any more while it ran.
    Cancelled,
    /// It is done, and the attempt ended without a result that counts.
    Void,
}

impl CopyEnd {
    /// Returns it in one word, for people and programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            CopyEnd::Counted => "counted",
            CopyEnd::Agreed => "agreed",
            CopyEnd::Disagreed { .. } => "disagreed",
            CopyEnd::Failed => "failed",
            CopyEnd::Cancelled => "cancelled",
            CopyEnd::Void => "void",
        }
    }
}

/// The token's delivery was settled before, or lost with its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

/// The state in which a cancelled item was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited.
    Waiting,
    /// It was this delivery, whose token is stale now.
    Leased(Handed),
    /// There is nothing to cancel: it has its terminal state, or never was.
    Not,
}

/// The places of all accepted items.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::Counts;
///
/// /// Says how far a run is.
/// fn line(counts: &Counts) -> String {
///     let ended = counts.done + counts.dead;
///     format!("{ended} of {} ended, {} of them dead", counts.accepted, counts.dead)
/// }
/// # let mut counts = Counts::default();
/// # (counts.accepted, counts.waiting, counts.leased) = (9, 3, 2);
/// # (counts.done, counts.dead) = (3, 1);
/// assert_eq!(line(&counts), "4 of 9 ended, 1 of them dead");
/// assert_eq!(counts.unfinished(), 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Items that were accepted; with a journal, also those that are just being written down.
    pub accepted: u64,
    /// Items that no holder has: they may be handed out, or are just being written down.
    pub waiting: u64,
    /// Items that a holder has and has not settled.
    pub leased: u64,
    /// Items that rest after a failed attempt.
    pub delayed: u64,
    /// Items acknowledged as done.
    pub done: u64,
    /// Items given up on.
    pub dead: u64,
    /// Failed attempts that were followed by another one.
    pub retries: u64,
    /// Acknowledgements that came too late: the delivery had been lost or settled before.
    pub refused: u64,
}

impl Counts {
    /// Returns `true` if every accepted item is in exactly one place.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.accepted == self.waiting + self.leased + self.delayed + self.done + self.dead
    }

    /// Returns the number of items without a terminal state.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.waiting + self.leased + self.delayed
    }
}
