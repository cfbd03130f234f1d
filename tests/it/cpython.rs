//! CPython's own tests of `queue.Queue` under their names, for comparison. `docs/cpython.md` lists
//! them and the deviations. These need threads only; those with processes are in
//! `tests/process/cpython`.

mod queue;
mod shutdown;
mod simple_queue;
mod table;

use std::fs;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dishrack::JoinableQueue;
use libtest_mimic::Trial;
use nix::unistd::gettid;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The time after which a hanging test is ended.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        queue::trials(),
        shutdown::trials(),
        simple_queue::trials(),
        table::trials(),
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

/// Starts a thread that does something which has to wait. Returns when it waits.
fn waiting<R: Send + 'static>(act: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || {
        sender.send(gettid()).unwrap();
        act()
    });
    let stat = format!("/proc/self/task/{}/stat", receiver.recv().unwrap());
    let began = Instant::now();
    let is_asleep = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
    while !is_asleep() {
        assert!(!thread.is_finished(), "it did not wait");
        assert!(began.elapsed() < DEADLINE, "it neither waits nor ends");
        std::thread::yield_now();
    }
    thread
}

/// Returns the result of a waiting thread that may go on now.
fn end_of<R>(thread: JoinHandle<R>) -> R {
    let began = Instant::now();
    while !thread.is_finished() {
        assert!(began.elapsed() < DEADLINE, "it still waits");
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap()
}
