//! CPython's own tests of `multiprocessing` and of the deadlocks of `concurrent.futures`, under
//! their names, for comparison. `docs/cpython.md` tells the mirrored tests and the deviations.
//! Tests that need threads only are in `tests/it/cpython`.

mod deadlock;
mod pool;
mod process;
mod queue;
pub(crate) mod roles;
mod traps;
mod waiting;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{Exit, JoinableQueue, StartMethod, Supervisor};
use libtest_mimic::Trial;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::roles::Work;
use crate::support::{DEADLINE, until};

/// CPython runs its tests for each of its start methods.
const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::Fork];

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        deadlock::trials(),
        pool::trials(),
        process::trials(),
        queue::trials(),
        waiting::trials(),
    ];
    trials.into_iter().flatten().collect()
}

/// Gets the next item and acknowledges it.
fn take<T: Clone + Serialize + DeserializeOwned>(queue: &JoinableQueue<T>) -> T {
    let delivery = queue.get_timeout(DEADLINE).unwrap();
    let item = delivery.clone();
    delivery.task_done().unwrap();
    item
}

/// Returns the pids of a pool when all of it is ready.
fn ready_pids<T, R>(pool: &Supervisor<T, R>, workers: usize) -> Vec<u32> {
    until("all workers are ready", || pool.workers().len() == workers);
    pool.workers().iter().map(|worker| worker.pid).collect()
}

/// An item that keeps its worker until the file is there.
struct Gate {
    folder: tempfile::TempDir,
}

impl Gate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Gate { folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("gate").to_str().unwrap().into()
    }

    fn item(&self) -> Work {
        Work::AwaitFile(self.path())
    }

    /// Waits until a worker has begun the item.
    fn await_visitor(&self) {
        let started = self.folder.path().join("gate.started");
        until("a worker is at the gate", || started.exists());
    }

    fn open(&self) {
        std::fs::write(self.path(), "").unwrap();
    }
}

/// Observes the ends of worker processes.
struct Witness {
    events: Receiver<EventKind>,
}

#[derive(Debug)]
struct Telling(Sender<EventKind>);

impl Observer for Telling {
    fn wants_items(&self) -> bool {
        false
    }

    fn observe(&self, event: Event) {
        // The test may have seen enough.
        let _ = self.0.send(event.kind);
    }
}

impl Witness {
    fn new() -> (Arc<dyn Observer>, Witness) {
        let (sender, events) = channel();
        (Arc::new(Telling(sender)), Witness { events })
    }

    /// Waits for the end of one more worker process. Returns its pid and its exit.
    fn await_exit(&self) -> (u32, Exit) {
        let began = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let what = self.events.recv_timeout(left).expect("a worker ends");
            if let EventKind::WorkerExited { pid, exit, .. } = what {
                return (pid, exit);
            }
        }
    }

    /// Returns the ends of worker processes so far that were not waited for.
    fn exits(&self) -> Vec<(u32, Exit)> {
        let exits = self.events.try_iter().filter_map(|what| match what {
            EventKind::WorkerExited { pid, exit, .. } => Some((pid, exit)),
            _ => None,
        });
        exits.collect()
    }
}
