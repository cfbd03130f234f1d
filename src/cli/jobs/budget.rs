//! The bound on work under way: the items that are not shown yet, and the bytes on the queue.
//!
//! The queue counts items, but a line can be long, and unread output lies on the disk. So the
//! producer waits for both. Only large items are counted by their bytes, so that small ones cost
//! nothing.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use crate::ItemId;
use crate::cli::stop::Stop;
use crate::cli::view::View;
use crate::observe::{Event, EventKind};

/// The size from which an item is large.
const LARGE_BYTES: usize = 2048;

/// The bytes that all large items may have together. A single one may have more.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// Returns `true` if an item of this size counts by its bytes.
pub(super) fn is_large(bytes: usize) -> bool {
    bytes >= LARGE_BYTES
}

#[derive(Debug, Default)]
struct Spent {
    bytes: usize,
    by_item: HashMap<ItemId, usize>,
    /// The number of items that were put and are not shown.
    items: usize,
}

/// The producer's end.
#[derive(Debug)]
pub(super) struct Budget {
    spent: Arc<Mutex<Spent>>,
    items_max: usize,
    room: Receiver<()>,
    made: Sender<()>,
}

/// The end that gives room back.
#[derive(Debug, Clone)]
pub(super) struct Returns {
    spent: Arc<Mutex<Spent>>,
    made: Sender<()>,
}

impl Budget {
    /// Makes a budget for so many items at once.
    pub(super) fn new(items_max: usize) -> Self {
        let (made, room) = bounded(1);
        Budget {
            spent: Arc::default(),
            items_max,
            room,
            made,
        }
    }

    pub(super) fn returns(&self) -> Returns {
        Returns {
            spent: Arc::clone(&self.spent),
            made: self.made.clone(),
        }
    }

    /// Takes room for the next item, and waits for it unless the run is stopped.
    pub(super) fn take(&self, id: ItemId, bytes: usize, stop: &Stop) {
        while !self.try_take(id, bytes) {
            select! {
                recv(self.room) -> _ => {}
                recv(stop.stopped()) -> _ => return,
            }
        }
    }

    /// Gives back the room of an item that was not put.
    pub(super) fn give_back(&self, id: ItemId) {
        let mut spent = self.spent.lock();
        spent.items = spent.items.saturating_sub(1);
        let bytes = spent.by_item.remove(&id);
        spent.bytes -= bytes.unwrap_or_default();
    }

    /// Takes room for the next item, and returns `true`, if there is some.
    pub(super) fn try_take(&self, id: ItemId, bytes: usize) -> bool {
        let bytes = if is_large(bytes) { bytes } else { 0 };
        let mut spent = self.spent.lock();
        let is_light = bytes == 0 || spent.bytes == 0 || spent.bytes + bytes <= BYTES_MAX;
        if !is_light || spent.items >= self.items_max {
            return false;
        }
        spent.items += 1;
        if bytes > 0 {
            spent.bytes += bytes;
            spent.by_item.insert(id, bytes);
        }
        true
    }
}

impl Returns {
    /// Gives back the room of an item that is shown.
    pub(super) fn shown(&self) {
        let mut spent = self.spent.lock();
        // No room was taken for items of an earlier run.
        spent.items = spent.items.saturating_sub(1);
        // If it is full, the producer looks anyway.
        let _ = self.made.try_send(());
    }
}

impl View for Returns {
    fn see(&mut self, event: &Event) -> io::Result<()> {
        if let EventKind::ItemDone { id, .. } | EventKind::Dead { id, .. } = &event.kind {
            let mut spent = self.spent.lock();
            if let Some(bytes) = spent.by_item.remove(id) {
                spent.bytes -= bytes;
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
            kind: EventKind::Dead {
                id,
                item: String::new(),
                history: [].into(),
            },
        }
    }

    #[test]
    fn a_large_item_waits_until_another_one_has_ended() {
        let (budget, stop) = (Budget::new(10), Stop::new());
        let mut view = budget.returns();
        budget.take(ItemId(1), BYTES_MAX + 1, &stop);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| budget.take(ItemId(2), LARGE_BYTES, &stop));
            view.see(&dead(ItemId(1))).unwrap();
            second.join().unwrap();
        });
        assert_eq!(budget.spent.lock().bytes, LARGE_BYTES);
        view.see(&dead(ItemId(2))).unwrap();
        assert_eq!(budget.spent.lock().bytes, 0);
    }

    #[test]
    fn small_items_are_not_counted() {
        let (budget, stop) = (Budget::new(10), Stop::new());
        budget.take(ItemId(1), LARGE_BYTES - 1, &stop);
        assert_eq!(budget.spent.lock().bytes, 0);
    }

    #[test]
    fn an_item_waits_until_another_one_is_shown() {
        let (budget, stop) = (Budget::new(1), Stop::new());
        budget.take(ItemId(1), 1, &stop);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| budget.take(ItemId(2), 1, &stop));
            budget.returns().shown();
            second.join().unwrap();
        });
        assert_eq!(budget.spent.lock().items, 1);
    }
}
