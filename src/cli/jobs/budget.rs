//! How many bytes of items may be on the queue at once: the queue counts items, and a line can be
//! long.
//!
//! Only large items are counted, so that small ones cost nothing; the queue's own bound keeps those
//! in check.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::cli::stop::Stop;
use crate::cli::view::View;
use crate::ledger::ItemId;
use crate::observe::{Event, What};

/// An item with fewer bytes is small.
const LARGE_BYTES: usize = 2048;

/// Large items may have so many bytes together. A single one may have more.
const BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Debug, Default)]
struct Spent {
    bytes: usize,
    by_item: HashMap<ItemId, usize>,
}

/// The producer's end.
#[derive(Debug)]
pub(super) struct Budget {
    spent: Arc<Mutex<Spent>>,
    room: Receiver<()>,
    made: Sender<()>,
}

/// The end of it that sees items go.
struct Returns {
    spent: Arc<Mutex<Spent>>,
    made: Sender<()>,
}

fn lock(spent: &Mutex<Spent>) -> MutexGuard<'_, Spent> {
    spent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budget {
    pub(super) fn new() -> Self {
        let (made, room) = bounded(1);
        Budget {
            spent: Arc::default(),
            room,
            made,
        }
    }

    pub(super) fn view(&self) -> impl View + use<> {
        Returns {
            spent: Arc::clone(&self.spent),
            made: self.made.clone(),
        }
    }

    /// Takes room for the item that is put next, and waits for it unless the run is stopped.
    pub(super) fn take(&self, id: ItemId, bytes: usize, stop: &Stop) {
        if bytes < LARGE_BYTES {
            return;
        }
        loop {
            let mut spent = lock(&self.spent);
            if spent.bytes == 0 || spent.bytes + bytes <= BYTES_MAX {
                spent.bytes += bytes;
                spent.by_item.insert(id, bytes);
                return;
            }
            drop(spent);
            select! {
                recv(self.room) -> _ => {}
                recv(stop.stopped()) -> _ => return,
            }
        }
    }
}

impl View for Returns {
    fn see(&mut self, event: &Event) -> io::Result<()> {
        if let What::ItemDone { id, .. } | What::Dead { id, .. } = &event.what {
            let mut spent = lock(&self.spent);
            if let Some(bytes) = spent.by_item.remove(id) {
                spent.bytes -= bytes;
                // Full when the producer will look anyway.
                let _ = self.made.try_send(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn dead(id: ItemId) -> Event {
        Event {
            at: Duration::ZERO,
            what: What::Dead {
                id,
                item: String::new(),
                history: [].into(),
            },
        }
    }

    #[test]
    fn a_large_item_waits_until_another_one_has_ended() {
        let (budget, stop) = (Budget::new(), Stop::new());
        let mut view = budget.view();
        budget.take(ItemId(1), BYTES_MAX + 1, &stop);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| budget.take(ItemId(2), LARGE_BYTES, &stop));
            view.see(&dead(ItemId(1))).unwrap();
            second.join().unwrap();
        });
        assert_eq!(lock(&budget.spent).bytes, LARGE_BYTES);
        view.see(&dead(ItemId(2))).unwrap();
        assert_eq!(lock(&budget.spent).bytes, 0);
    }

    #[test]
    fn small_items_are_not_counted() {
        let (budget, stop) = (Budget::new(), Stop::new());
        budget.take(ItemId(1), LARGE_BYTES - 1, &stop);
        assert_eq!(lock(&budget.spent).bytes, 0);
    }
}
