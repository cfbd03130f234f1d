//! Threads of this process that take items by `get` and belong to no pool.
//!
//! Each serves the queue from its first item until it ends, also between two gets, so that a `join`
//! does not say then that nobody is there. While it joins itself it serves nobody.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use super::{Broker, current};

/// A queue that the calling thread takes items from.
struct Consumed {
    id: u64,
    broker: Weak<Broker>,
}

impl Drop for Consumed {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.upgrade() {
            broker.with(|core| core.dispatcher.consumer_left());
        }
    }
}

thread_local! {
    /// It is dropped when the thread ends.
    static CONSUMED: RefCell<Vec<Consumed>> = const { RefCell::new(Vec::new()) };
}

fn consumes(broker: &Broker) -> bool {
    CONSUMED.with_borrow(|all| all.iter().any(|one| one.id == broker.id))
}

/// Notes that this thread has taken an item. A pool's own threads are counted with the pool.
pub(crate) fn note(broker: &Arc<Broker>) {
    if consumes(broker) || current::holds(broker) {
        return;
    }
    broker.with(|core| core.dispatcher.consumer_came());
    CONSUMED.with_borrow_mut(|all| {
        all.retain(|one| one.broker.strong_count() > 0);
        all.push(Consumed {
            id: broker.id,
            broker: Arc::downgrade(broker),
        });
    });
}

/// A thread that joins, and so takes nothing meanwhile.
pub(super) struct Joining<'a>(Option<&'a Broker>);

impl<'a> Joining<'a> {
    pub(super) fn begin(broker: &'a Broker) -> Self {
        let consumed = Some(broker).filter(|broker| consumes(broker));
        if let Some(broker) = consumed {
            broker.with(|core| core.dispatcher.consumer_left());
        }
        Joining(consumed)
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if let Some(broker) = self.0 {
            broker.with(|core| core.dispatcher.consumer_came());
        }
    }
}
