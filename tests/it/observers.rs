//! Observers: how items and workers are named in what they are told, with a supervisor and without.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use dishrack::observe::{Event, EventKind, Mode, Observer};
use dishrack::{JoinableQueue, Supervisor};

use crate::deadline::DEADLINE;

crate::trials! {
    a_start_tells_the_kind_of_workers,
    items_are_named_by_their_bytes,
    a_queue_without_workers_has_an_observer,
}

/// Passes every event on.
#[derive(Debug)]
struct Told(Sender<Event>);

impl Observer for Told {
    fn observe(&self, event: Event) {
        // The test may be over already.
        let _ = self.0.send(event);
    }
}

fn told() -> (Arc<Told>, Receiver<Event>) {
    let (sender, events) = unbounded();
    (Arc::new(Told(sender)), events)
}

/// Waits for the name of the next item that is done.
fn name_of_done(events: &Receiver<Event>) -> String {
    loop {
        let event = events.recv_timeout(DEADLINE).expect("an item is done");
        if let EventKind::ItemDone { item, .. } = event.kind {
            return item;
        }
    }
}

fn a_start_tells_the_kind_of_workers() {
    let (observer, events) = told();
    let queue = JoinableQueue::<u8>::unbounded();
    let builder = Supervisor::builder().threads(3).observer(observer);
    let _pool = builder.handler(&queue, |_| Ok::<(), String>(())).unwrap();
    let event = events.recv_timeout(DEADLINE).unwrap();
    let EventKind::Started { mode, workers, .. } = event.kind else {
        panic!("{event:?}");
    };
    assert_eq!((mode, workers), (Mode::Threads, 3));
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!(json["mode"], mode.to_string());
}

fn items_are_named_by_their_bytes() {
    let (observer, events) = told();
    let queue = JoinableQueue::<u8>::unbounded();
    let builder = Supervisor::builder().threads(1).observer(observer);
    let builder = builder.name_raw_items(|bytes| format!("{bytes:?}"));
    let _pool = builder.handler(&queue, |_| Ok::<(), String>(())).unwrap();
    queue.put(&7).unwrap();
    assert_eq!(name_of_done(&events), "[7]");
}

fn a_queue_without_workers_has_an_observer() {
    let (observer, events) = told();
    let queue = JoinableQueue::<u8>::unbounded();
    queue.set_observer(observer).unwrap();
    queue.put(&7).unwrap();
    queue.get().unwrap().task_done().unwrap();
    assert_eq!(name_of_done(&events), "item-1");
}
