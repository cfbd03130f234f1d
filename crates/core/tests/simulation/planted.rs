//! Bugs that are planted between the real parts, to show that the world notices them. Each is a way
//! in which whoever connects ledger, journal, links and rules might get it wrong; the parts
//! themselves are untouched.

use crate::stream::Flaw;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A put is answered when the ledger took it, not when it is durable.
    EarlyAcceptance,
    /// An end is told when the ledger knows it, not when it is durable.
    EarlyEnd,
    /// What a dead worker had only been sent counts as begun.
    PrefetchedCharged,
    /// What a dead worker held is not given back.
    LostRequeue,
    /// A returned item is dropped when the journal is read again.
    LostAtRecovery,
    /// An end is told twice.
    DoneTwice,
    /// A join looks at the counts, and not at what is durable.
    EarlyJoin,
    /// The failed attempts of items are not read again.
    ForgottenHistories,
    /// Of the rows that say who has left, the last one is dropped when they are merged.
    WrongMerge,
    /// Half of a transaction is there after a crash.
    HalfATransaction,
    /// A commit is said to be synced, and is not.
    UnsyncedCommit,
    /// A death that an item caused is counted against the worker.
    ItemsFaultOnSlot,
    /// A late word about a lost delivery settles the item's next one.
    LateWordBelieved,
}

/// The same for a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FleetPlant {
    /// In what the scripts do.
    Script(Flaw),
    /// A look answers also those who asked after it was begun.
    LookForAll,
    /// More is taken than is wanted.
    NoAppetite,
}
