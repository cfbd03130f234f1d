//! The store of a queue that lives and dies with its process: a list of dead letters.

use super::{Store, StoredLetter};

#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    dead: Vec<StoredLetter>,
}

impl Store for MemoryStore {
    fn keep_dead(&mut self, letter: StoredLetter) {
        self.dead.push(letter);
    }

    fn take_dead(&mut self) -> Vec<StoredLetter> {
        std::mem::take(&mut self.dead)
    }
}
