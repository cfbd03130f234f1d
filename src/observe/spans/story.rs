//! Events of made-up runs, for the tests of what folds them. Times are in milliseconds.

use std::sync::Arc;
use std::time::Duration;

use super::{Labels, ProducerRow};
use crate::observe::{Event, EventKind};
use dishrack_core::ledger::{Cause, Counts, Exit, Failure, ItemId, Scene};

pub(crate) const KILLED: Exit = Exit::Signaled(9);

pub(crate) fn labels() -> Labels {
    Labels {
        title: "A made-up run".into(),
        producer: Some(ProducerRow {
            name: "mixer".into(),
            doing: "Mixing".into(),
        }),
        working: "Grinding".into(),
        items: "items".into(),
    }
}

pub(crate) fn no_producer() -> Labels {
    Labels {
        producer: None,
        ..labels()
    }
}

pub(crate) fn event(at_ms: u64, kind: EventKind) -> Event {
    let at = Duration::from_millis(at_ms);
    Event { at, kind }
}

pub(crate) fn born(at_ms: u64, worker: &str, pid: u32) -> Event {
    let worker = worker.into();
    event(at_ms, EventKind::WorkerStarted { worker, pid })
}

pub(crate) fn producing(at_ms: u64, item: &str) -> Event {
    let item = item.into();
    event(at_ms, EventKind::Producing { item, pid: 1 })
}

pub(crate) fn produced(at_ms: u64, item: &str) -> Event {
    let item = item.into();
    event(at_ms, EventKind::Produced { item, pid: 1 })
}

pub(crate) fn began(at_ms: u64, id: u64, worker: &str, pid: u32, attempt: u32) -> Event {
    let what = EventKind::ItemStarted {
        id: ItemId(id),
        item: format!("item-{id}"),
        worker: worker.into(),
        pid,
        attempt,
        copy: None,
    };
    event(at_ms, what)
}

pub(crate) fn done(at_ms: u64, id: u64, worker: &str, took_ms: u64) -> Event {
    let what = EventKind::ItemDone {
        id: ItemId(id),
        item: format!("item-{id}"),
        worker: worker.into(),
        pid: 0,
        attempt: 1,
        duration: Duration::from_millis(took_ms),
        ended: Duration::from_millis(at_ms),
    };
    event(at_ms, what)
}

fn failure(worker: &str, attempt: u32) -> Failure {
    let scene = Scene::of_worker(worker.into(), 0, Duration::ZERO, Duration::ZERO);
    Failure::new(attempt, Cause::WorkerDied(KILLED), scene)
}

pub(crate) fn retry(at_ms: u64, id: u64, worker: &str, attempt: u32) -> Event {
    let what = EventKind::Retry {
        id: ItemId(id),
        item: format!("item-{id}"),
        failure: Arc::new(failure(worker, attempt)),
    };
    event(at_ms, what)
}

pub(crate) fn dead(at_ms: u64, id: u64, worker: &str, attempts: u32) -> Event {
    let history: Vec<Failure> = (1..=attempts).map(|n| failure(worker, n)).collect();
    let what = EventKind::Dead {
        id: ItemId(id),
        item: format!("item-{id}"),
        history: history.into(),
    };
    event(at_ms, what)
}

pub(crate) fn exited(at_ms: u64, worker: &str, pid: u32, exit: Exit) -> Event {
    let what = EventKind::WorkerExited {
        worker: worker.into(),
        pid,
        exit,
        holding: None,
        is_asked: exit != KILLED,
    };
    event(at_ms, what)
}

pub(crate) fn summary(at_ms: u64, counts: Counts) -> Event {
    let what = EventKind::Summary {
        counts,
        restarts: 0,
        elapsed: Duration::from_millis(at_ms),
    };
    event(at_ms, what)
}

/// Returns the events of two items and two workers; the first worker is killed with the first item.
pub(crate) fn of_a_kill() -> Vec<Event> {
    vec![
        born(1, "worker-1", 11),
        born(2, "worker-2", 12),
        producing(3, "item-1"),
        produced(100, "item-1"),
        began(101, 1, "worker-1", 11, 1),
        producing(102, "item-2"),
        produced(200, "item-2"),
        began(201, 2, "worker-2", 12, 1),
        exited(250, "worker-1", 11, KILLED),
        retry(251, 1, "worker-1", 1),
        born(260, "worker-1", 13),
        began(261, 1, "worker-1", 13, 2),
        done(402, 2, "worker-2", 200),
        done(462, 1, "worker-1", 200),
        summary(470, Counts::default()),
    ]
}
