//! Queues that keep a journal: ends the processes of an earlier run, then opens it. The store
//! decides what is kept, and how.

use std::any::type_name;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::JoinableQueue;
use super::super::survivors;
use crate::broker::{Broker, Envelope};
use crate::error::{Error, Kind};
use crate::store::journal::{Durability, Journal, Saved};
use crate::store::{self, Store};
use dishrack_core::ledger::{ItemId, Options, Recovered};

/// Opens a journal, and first ends the processes that an earlier run has left: all of them if that
/// run was killed, and otherwise those that still work for an unfinished item.
pub(crate) fn open_journal(
    path: &Path,
    item_type: &str,
    durability: Durability,
) -> Result<(Journal, Recovered<Envelope>), Kind> {
    let (journal, recovered) = Journal::open(path, item_type, durability)?;
    let Some(mark) = journal.process_mark() else {
        return Ok((journal, recovered));
    };
    let unfinished: BTreeSet<ItemId> = recovered.unfinished.iter().map(|item| item.id).collect();
    if !journal.was_left() && unfinished.is_empty() {
        return Ok((journal, recovered));
    }
    let ended = survivors::end(mark, journal.was_left(), &|id| unfinished.contains(&id));
    if let Err(unendable) = ended {
        // The next run has to end them first as well.
        let why = unendable.to_string();
        journal.leave_in_use(&why);
        let path = path.display().to_string();
        return Err(Kind::JournalUnusable { path, why });
    }
    Ok((journal, recovered))
}

/// Makes a new journal of what can be read of a damaged one, which stays as it is. It is the
/// library's `supervisor salvage`.
///
/// An item that is not known to be done is unfinished in the new journal, and is done again rather
/// than lost. An item of which nothing is left counts as dead. Processes that the damaged journal's
/// last run has left are ended, unless their item has ended.
///
/// # Errors
/// `is_journal` when the damaged file cannot be read at all, or the new one exists already or
/// cannot be written.
///
/// # Example
///
/// ```
/// use dishrack::{Durability, JoinableQueue, Options, salvage};
///
/// let folder = tempfile::tempdir()?;
/// let (old, new) = (folder.path().join("old"), folder.path().join("new"));
/// let queue = JoinableQueue::<String>::journaled(&old, Durability::Full, Options::default())?;
/// queue.put("wash")?;
/// drop(queue);
///
/// let saved = salvage(&old, &new)?;
/// assert_eq!((saved.unfinished, saved.lost), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn salvage(path: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<Saved, Error> {
    store::journal::salvage(path.as_ref(), into.as_ref(), |mark, is_unfinished| {
        survivors::end(mark, true, is_unfinished)
    })
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Makes a queue that keeps a journal: items that are not done when this process ends, in any
    /// way, are there again when the queue is next made from the same file. `put` returns when the
    /// item is durable, and an end is told when that is; many puts and ends share one commit.
    ///
    /// The file is made if it does not exist. Two more, `-wal` and `-shm`, lie next to it while it
    /// is used. It is for items of one type, known by its name, and for one process at a time.
    ///
    /// # Errors
    /// `is_journal` and `is_setup` when the file cannot be used: it is a folder, not writable, of
    /// another program, type or version, in use, or damaged. The message says which, and what to
    /// do.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{Durability, JoinableQueue, Options};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("jobs.journal");
    /// let open = || JoinableQueue::<String>::journaled(&path, Durability::Full, Options::default());
    ///
    /// let queue = open()?;
    /// queue.put("wash")?;
    /// queue.put("dry")?;
    /// queue.get()?.task_done()?;
    /// drop(queue); // Or the process is killed.
    ///
    /// let queue = open()?;
    /// assert_eq!(queue.counts()?.done, 1);
    /// assert_eq!(*queue.get()?, "dry");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn journaled(
        path: impl AsRef<Path>,
        durability: Durability,
        options: Options,
    ) -> Result<Self, Error> {
        let opened = open_journal(path.as_ref(), type_name::<T>(), durability);
        let (journal, recovered) = opened.map_err(Error)?;
        let broker = Broker::durable(options, Arc::new(journal), recovered).map_err(Error)?;
        Ok(JoinableQueue::of_broker(broker))
    }
}
