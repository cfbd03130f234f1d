//! The dead letters of a queue: shown, taken, tried again and dropped. Where they are kept is the
//! store's business.

use serde::de::DeserializeOwned;

use super::JoinableQueue;
use crate::error::Error;
use crate::handler::attempt::decode;
use crate::store::StoredLetter;
use dishrack_core::ledger::{DeadLetter, ItemId};

impl<T> JoinableQueue<T> {
    /// Returns all dead letters, oldest first, with their items as serialized by `put`. They stay
    /// where they are.
    ///
    /// # Errors
    /// `is_journal` when the journal cannot be read, `is_shared` when Redis cannot; and in a worker
    /// process.
    pub fn raw_dead_letters(&self) -> Result<Vec<DeadLetter<Vec<u8>>>, Error> {
        Ok(self.stored_dead()?.into_iter().map(raw).collect())
    }

    fn stored_dead(&self) -> Result<Vec<StoredLetter>, Error> {
        let broker = self.broker()?;
        let letters = broker.storage.backend().dead_letters();
        letters.map_err(|failure| Error(broker.inaccessible(&failure)))
    }

    /// Takes all dead letters, oldest first, with their items as serialized by `put`. Their numbers stay known, so
    /// that [`item`](Self::item) does not take them for done: about 16 bytes each, or a few in a journal.
    ///
    /// # Errors
    /// As [`raw_dead_letters`](Self::raw_dead_letters).
    pub fn take_raw_dead_letters(&self) -> Result<Vec<DeadLetter<Vec<u8>>>, Error> {
        Ok(self.take_dead(&|_| true)?.into_iter().map(raw).collect())
    }

    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, Error> {
        let broker = self.broker()?;
        let taken = broker.storage.backend().take_dead(is_wanted);
        taken.map_err(|failure| Error(broker.inaccessible(&failure)))
    }

    /// Tries a dead letter again: its item waits in its old place, with as many attempts before it
    /// as a new one, and keeps its history. Returns `false` if there is no such letter.
    ///
    /// # Errors
    /// `is_journal` when the journal cannot be written, `is_shared` when Redis cannot; and in a
    /// worker process.
    pub fn retry_dead_letter(&self, id: ItemId) -> Result<bool, Error> {
        self.broker()?.revive(id).map_err(Error)
    }

    /// Drops a dead letter for good, but for its number. Returns `false` if there is no such letter.
    ///
    /// # Errors
    /// As [`raw_dead_letters`](Self::raw_dead_letters).
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{JoinableQueue, Options};
    ///
    /// let queue = JoinableQueue::<String>::with(Options::default().max_attempts(1));
    /// queue.put("cup")?;
    /// queue.get()?.nack("it is broken")?;
    /// let letters = queue.dead_letters()?;
    /// assert!(queue.drop_dead_letter(letters[0].id)?);
    /// assert!(!queue.drop_dead_letter(letters[0].id)?);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn drop_dead_letter(&self, id: ItemId) -> Result<bool, Error> {
        self.broker()?.drop_dead(id).map_err(Error)
    }
}

impl<T: DeserializeOwned> JoinableQueue<T> {
    /// Returns all dead letters whose items decode, oldest first. They stay where they are.
    ///
    /// # Errors
    /// As [`raw_dead_letters`](Self::raw_dead_letters).
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter<T>>, Error> {
        Ok(self
            .stored_dead()?
            .into_iter()
            .filter_map(decoded)
            .collect())
    }

    /// Takes all dead letters, oldest first, but for their numbers. A letter whose item does not decode stays;
    /// [`take_raw_dead_letters`](Self::take_raw_dead_letters) takes it.
    ///
    /// # Errors
    /// As [`raw_dead_letters`](Self::raw_dead_letters).
    pub fn take_dead_letters(&self) -> Result<Vec<DeadLetter<T>>, Error> {
        let decodes = |letter: &StoredLetter| decode::<T>(&letter.payload).is_ok();
        let letters = self.take_dead(&decodes)?;
        Ok(letters.into_iter().filter_map(decoded).collect())
    }
}

/// Converts a letter into one with its item as `put` serialized it.
fn raw(letter: StoredLetter) -> DeadLetter<Vec<u8>> {
    let bytes = letter.payload.to_vec();
    letter.with_payload(bytes)
}

/// Converts a letter into one with its item, if that decodes.
fn decoded<T: DeserializeOwned>(letter: StoredLetter) -> Option<DeadLetter<T>> {
    let item = decode::<T>(&letter.payload).ok()?;
    Some(letter.with_payload(item))
}
