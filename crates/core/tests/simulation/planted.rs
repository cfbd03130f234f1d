//! Bugs that are planted between the real parts, to show that the world notices them. Each is a
//! possible mistake in their connection; the parts themselves are untouched.

use crate::stream::Flaw;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A put is answered when the ledger took it, not when it is durable.
    EarlyAcceptance,
    /// An end is reported when the ledger knows it, not when it is durable.
    EarlyEnd,
    /// An item that a dead worker had only been sent counts as begun.
    PrefetchedCharged,
    /// The items that a dead worker held are not given back.
    LostRequeue,
    /// A returned item is dropped when the journal is read again.
    LostAtRecovery,
    /// An end is reported twice.
    DoneTwice,
    /// A join looks at the counts, and not at the durable ends.
    EarlyJoin,
    /// The failed attempts of items are not read again.
    ForgottenHistories,
    /// The rows of ended batches are not dropped.
    WrongMerge,
    /// Half of a transaction is there after a crash.
    HalfATransaction,
    /// A commit is reported as synced, and is not.
    UnsyncedCommit,
    /// A death that an item caused is counted against the worker.
    ItemsFaultOnSlot,
    /// A late word about a lost delivery settles the item's next one.
    LateWordBelieved,
    /// A late word of a copy that is not needed any more counts as its item's end.
    LateCopyCounts,
    /// A copy's failure is its item's, though another copy runs.
    CopyFailsItem,
    /// Two copies are brought to one worker.
    CopiesTogether,
    /// The output of each copy that is done is shown.
    LosersShown,
    /// All items of a batch are told accepted, though there was room for some of them only.
    BatchToldWhole,
    /// A late result counts as its item's end, where ends are told at once.
    LateResultTold,
    /// Of the items that a worker gets in one turn, the last one is not sent.
    TurnCutShort,
    /// A pause is told at once, and not when nothing is begun any more.
    EarlyPause,
    /// A loop that is asked for what it has in advance gives back the item that it is at, too.
    BegunGivenBack,
    /// A loop is not told that what it asks for is on its way.
    AheadUnanswered,
    /// The end of a client's connection gives nothing back.
    ClientNotMissed,
    /// Nobody is charged for what a client had begun.
    ClientUncharged,
    /// An item that a client was handed counts as begun, though it was not sent.
    UnsentCharged,
    /// That a part of a frame was sent is not noted, so what came before it counts as unread.
    PartUnnoticed,
    /// The words of a client before its end are not heard after it.
    LastWordsUnheard,
    /// That a command was killed for memory is told as a kill by anybody.
    MemoryKillMistold,
    /// A worker's word about an item that runs alone is heard when it begins it.
    AloneSettledEarly,
    /// A worker is told another slot than it was lent.
    SlotMistold,
    /// A supervisor that begins again does not know the keys of items.
    KeysForgotten,
    /// It does not know which item has which unique key.
    UniqueKeysForgotten,
    /// It does not know which items are dead letters.
    DeadLettersForgotten,
    /// An overdue item is not given up.
    OverdueKept,
}

/// The bugs for a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FleetPlant {
    /// In the scripts.
    Script(Flaw),
    /// A look also answers callers that asked after it was begun.
    FindAll,
    /// The fetcher takes more than is wanted.
    NoAppetite,
    /// A supervisor that begins is not told of a pause.
    BeginsUntold,
    /// A supervisor goes on with an order that the stream has lost.
    OlderIgnored,
}

/// The bugs for a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrowdPlant {
    /// The order lets fewer of a key run than may.
    FewerPerKey,
    /// The order knows no priorities.
    PriorityForgotten,
    /// Items of low priorities are handed out, but come back at once.
    LowestGivenBack,
}
