//! Observers: how items and workers are named in what they are told, with a supervisor and without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use dishrack::observe::{Event, EventKind, Mode, Observer};
use dishrack::{JoinableQueue, Supervisor};

use crate::deadline::DEADLINE;

crate::trials! {
    a_start_tells_the_kind_of_workers,
    items_are_named_by_their_bytes,
    a_queue_without_workers_has_an_observer,
    a_panic_in_any_thread_that_tells_an_observer_ends_the_queue,
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

/// Panics when an item is put, and at all that it is told after that, as with a lock that is poisoned.
#[derive(Debug, Default)]
struct Poisoned(AtomicBool);

impl Observer for Poisoned {
    fn wants_puts(&self) -> bool {
        true
    }

    fn observe(&self, event: Event) {
        let is_put = matches!(event.kind, EventKind::Put { .. });
        assert!(!self.0.fetch_or(is_put, Ordering::SeqCst), "a bad observer");
        assert!(!is_put, "a bad observer");
    }
}

/// The thread is one of the program, which puts an item while another one waits for the end of all.
fn a_panic_in_any_thread_that_tells_an_observer_ends_the_queue() {
    let queue = JoinableQueue::<u8>::unbounded();
    let (begin, begun) = bounded(1);
    let (end, ended) = bounded::<()>(0);
    queue.put(&1).unwrap();
    queue.set_observer(Arc::new(Poisoned::default())).unwrap();
    let worker = Supervisor::builder().threads(1);
    let handler = move |_| {
        let _ = begin.send(());
        let _ = ended.recv();
        Ok::<(), String>(())
    };
    let _pool = worker.handler(&queue, handler).unwrap();
    begun.recv_timeout(DEADLINE).expect("it begins");
    std::thread::scope(|scope| {
        let join = scope.spawn(|| queue.join_timeout(DEADLINE));
        // It is accepted before anybody is told.
        queue.put(&2).unwrap();
        let error = join.join().unwrap().unwrap_err();
        assert!(error.is_inconsistent(), "{error}");
        assert!(
            error.to_string().contains("panicked: a bad observer"),
            "{error}"
        );
    });
    assert!(queue.put(&3).unwrap_err().is_inconsistent());
    drop(end);
}
