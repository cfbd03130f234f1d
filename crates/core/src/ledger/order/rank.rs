//! The rank of an item, and the rules of the order. It does not know the items.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::ledger::ItemId;
use crate::ledger::dependencies::After;

/// The number of a line of items of one rank, from 1; 0 for an item that is in none.
pub(in crate::ledger) type LineId = u32;

/// The properties of an item from which its place in the order follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Rank {
    /// Its key, as a number; `None`: it has none, and is not bounded.
    pub key: Option<u64>,
    /// Its priority: greater ones go first.
    pub priority: i8,
    /// The time before which it is not handed out, since the ledger's start.
    pub not_before: Option<Duration>,
    /// The time from which on it is not handed out any more, but given up.
    pub deadline: Option<Duration>,
}

impl Rank {
    /// Makes the rank of an item with this key, if it has one.
    #[must_use]
    pub fn of_key(key: Option<u64>) -> Self {
        Rank {
            key,
            ..Rank::default()
        }
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the time before which it is not handed out.
    #[must_use]
    pub fn not_before(mut self, time: Option<Duration>) -> Self {
        self.not_before = time;
        self
    }

    /// Sets the time from which on it is not handed out any more.
    #[must_use]
    pub fn deadline(mut self, time: Option<Duration>) -> Self {
        self.deadline = time;
        self
    }

    pub(super) fn of_line(self) -> (i8, Option<u64>) {
        (self.priority, self.key)
    }
}

/// The rules of the order: the rank of each item, and how many of one key may be with holders.
pub struct OrderRules<P> {
    pub(super) rank: Arc<dyn Fn(&P) -> Rank + Send + Sync>,
    pub(super) per_key: u32,
    pub(super) has_deadlines: bool,
    pub(in crate::ledger) after: Option<After<P>>,
}

impl<P> OrderRules<P> {
    /// Makes rules by which this function says an item's rank, always the same of the same item. Keys
    /// bound nothing.
    pub fn new(rank: impl Fn(&P) -> Rank + Send + Sync + 'static) -> Self {
        OrderRules {
            rank: Arc::new(rank),
            per_key: u32::MAX,
            has_deadlines: false,
            after: None,
        }
    }

    /// Has at most so many items of one key be with holders; 0 is taken as 1.
    #[must_use]
    pub fn per_key(mut self, most: u32) -> Self {
        self.per_key = most.max(1);
        self
    }

    /// Says that items may have deadlines, so that the time matters also before one is known that has.
    #[must_use]
    pub fn with_deadlines(mut self) -> Self {
        self.has_deadlines = true;
        self
    }

    /// Has items begin only when others are done: this function says which, always the same of the same
    /// item.
    #[must_use]
    pub fn after(mut self, after: impl Fn(&P) -> Vec<ItemId> + Send + Sync + 'static) -> Self {
        self.after = Some(Arc::new(after));
        self
    }
}

impl<P> fmt::Debug for OrderRules<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderRules")
            .field("per_key", &self.per_key)
            .finish_non_exhaustive()
    }
}

/// The cause for which an item is not handed out, though it could be.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::WaitsFor;
///
/// /// Says for people why an item has not begun.
/// fn reason(waits_for: Option<WaitsFor>) -> String {
///     match waits_for {
///         Some(cause) => format!("waits for its {}", cause.word()),
///         None => "waits its turn".into(),
///     }
/// }
/// assert_eq!(reason(Some(WaitsFor::Key)), "waits for its key");
/// assert_eq!(reason(None), "waits its turn");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Others of its key run, or are tried again before it.
    Key,
    /// All slots are taken.
    Slot,
    /// It is too soon after others.
    Rate,
    /// The time has not come before which it does not begin.
    Time,
    /// Others, after which it is to begin, are not done.
    Items,
    /// The machine has too little memory for it, or too much to do, or lacks something else.
    Room,
    /// Each item but one needs a token, and there is none.
    Token,
    /// One that runs alone is not over, or it is to be that one and others are not over.
    Alone,
}

impl WaitsFor {
    /// Returns it in one word, for people and programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            WaitsFor::Key => "key",
            WaitsFor::Slot => "slot",
            WaitsFor::Rate => "rate",
            WaitsFor::Time => "time",
            WaitsFor::Items => "items",
            WaitsFor::Room => "room",
            WaitsFor::Token => "token",
            WaitsFor::Alone => "alone",
        }
    }

    /// Returns the one that has this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        let all = [
            WaitsFor::Key,
            WaitsFor::Slot,
            WaitsFor::Rate,
            WaitsFor::Time,
            WaitsFor::Items,
            WaitsFor::Room,
            WaitsFor::Token,
            WaitsFor::Alone,
        ];
        all.into_iter().find(|one| one.word() == word)
    }
}
