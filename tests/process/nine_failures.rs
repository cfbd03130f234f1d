//! The nine ways in which `multiprocessing.JoinableQueue` loses items or hangs, r1 to r9, tried
//! here.

use std::time::Duration;

use dishrack::{Cause, Exit, JoinableQueue, Options, Restart, Supervisor};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, is_alive, send, until};

crate::trials!(
    r1_a_worker_killed_between_get_and_task_done,
    r2_an_idle_worker_killed_inside_a_blocking_get,
    r3_a_process_killed_while_waiting_in_join,
    r4_an_item_that_does_not_serialize,
    r5_a_producer_that_exits_right_after_put,
    r6_a_producer_killed_in_the_middle_of_sending,
    r7_task_done_without_a_get,
    r8_what_was_put_is_visible_at_once,
    r9_joining_before_draining_a_large_item,
);

type Queue = JoinableQueue<Work>;

/// Joins, and returns the numbers of items that are done and dead.
fn join(queue: &Queue) -> (u64, u64) {
    let joined = queue.join_timeout(DEADLINE).unwrap();
    (joined.done, joined.dead)
}

fn only_worker<R>(pool: &Supervisor<Work, R>) -> u32 {
    until("the worker is ready", || pool.workers().len() == 1);
    pool.workers()[0].pid
}

fn one() -> dishrack::Builder {
    Supervisor::builder().processes(1)
}

fn r1_a_worker_killed_between_get_and_task_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let queue = Queue::unbounded();
    let pool = one().worker(&queue, roles::chapters_loop).unwrap();
    let work = Work::AwaitFile(file.to_str().unwrap().into());
    queue.put(&work).unwrap();
    let pid = only_worker(&pool);
    until("the worker has it", || {
        folder.path().join("go.started").exists()
    });
    send(pid, Signal::SIGKILL);
    until("another worker is there", || {
        pool.workers()
            .first()
            .is_some_and(|worker| worker.pid != pid)
    });
    std::fs::write(&file, "").unwrap();
    assert_eq!(join(&queue), (1, 0));
    assert_eq!(queue.counts().unwrap().retries, 1);
}

fn r2_an_idle_worker_killed_inside_a_blocking_get() {
    let queue = Queue::unbounded();
    let idle = one().worker(&queue, roles::wait_in_get).unwrap();
    let pid = only_worker(&idle);
    send(pid, Signal::SIGKILL);
    until("it is gone", || !is_alive(pid));
    idle.stop();
    let _pool = one().worker(&queue, roles::chapters_loop).unwrap();
    for _ in 0..10 {
        queue.put(&Work::Nothing).unwrap();
    }
    assert_eq!(join(&queue).0, 10);
}

fn r3_a_process_killed_while_waiting_in_join() {
    let queue = Queue::unbounded();
    queue.put(&Work::Nothing).unwrap();
    let builder = one().restart(Restart::Temporary);
    let joiner = builder.worker(&queue, roles::wait_in_join).unwrap();
    let pid = only_worker(&joiner);
    send(pid, Signal::SIGKILL);
    until("it is gone", || !is_alive(pid));
    let delivery = queue.get_timeout(DEADLINE).unwrap();
    delivery.task_done().unwrap();
    queue.put(&Work::Nothing).unwrap();
    queue.get_timeout(DEADLINE).unwrap().task_done().unwrap();
    assert_eq!(join(&queue).0, 2);
}

fn r4_an_item_that_does_not_serialize() {
    let queue = Queue::bounded(1);
    let error = queue.put(&Work::Unserializable(1)).unwrap_err();
    assert!(error.is_not_serializable());
    assert!(error.to_string().contains("Work"), "{error}");
    assert_eq!(queue.len(), 0);
    // The item left no trace: the queue's one place is free, and join has nothing to wait for.
    assert_eq!(join(&queue), (0, 0));
    let _pool = roles::start(&queue, 1).unwrap();
    queue.put(&Work::Nothing).unwrap();
    assert_eq!(join(&queue).0, 1);
}

fn r5_a_producer_that_exits_right_after_put() {
    let queue = Queue::unbounded();
    let builder = one().restart(Restart::Temporary);
    let _producer = builder.worker(&queue, roles::put_and_exit).unwrap();
    for _ in 0..2 {
        queue.get_timeout(DEADLINE).unwrap().task_done().unwrap();
    }
    assert_eq!(join(&queue).0, 2);
}

fn r6_a_producer_killed_in_the_middle_of_sending() {
    let queue = Queue::unbounded();
    let builder = one().restart(Restart::Temporary);
    let producer = builder.worker(&queue, roles::put_for_ever).unwrap();
    let pid = only_worker(&producer);
    until("it is putting", || queue.len() >= 3);
    send(pid, Signal::SIGKILL);
    producer.stop();
    // There are only whole items, others can put, and a get keeps its time.
    let received = queue.len();
    queue.put(&Work::Nothing).unwrap();
    for _ in 0..received {
        let delivery = queue.get_timeout(DEADLINE).unwrap();
        assert_eq!(*delivery, Work::Carry(vec![7; 1 << 20]));
        delivery.task_done().unwrap();
    }
    let delivery = queue.get_timeout(DEADLINE).unwrap();
    assert_eq!(*delivery, Work::Nothing);
    delivery.task_done().unwrap();
    let nothing = queue.get_timeout(Duration::from_millis(10));
    assert!(nothing.unwrap_err().is_empty());
    assert_eq!(join(&queue).1, 0);
}

fn r7_task_done_without_a_get() {
    let queue = Queue::unbounded();
    queue.put(&Work::Nothing).unwrap();
    assert!(queue.task_done().unwrap_err().is_task_done_too_often());
    assert!(queue.join_timeout(Duration::ZERO).unwrap_err().is_timeout());
    queue.get().unwrap().task_done().unwrap();
    assert!(queue.task_done().unwrap_err().is_task_done_too_often());
    assert_eq!(join(&queue).0, 1);
}

fn r8_what_was_put_is_visible_at_once() {
    let queue = Queue::unbounded();
    for n in 1..=1000 {
        queue.put(&Work::Nothing).unwrap();
        assert!(!queue.is_empty());
        assert_eq!(queue.qsize(), n);
    }
    for _ in 0..1000 {
        queue.try_get().unwrap().task_done().unwrap();
    }
    assert!(queue.is_empty());
    assert!(queue.try_get().unwrap_err().is_empty());
}

fn r9_joining_before_draining_a_large_item() {
    let queue = Queue::unbounded();
    queue.put(&Work::Carry(vec![1; 1 << 20])).unwrap();
    let pool = roles::start(&queue, 1).unwrap();
    assert_eq!(join(&queue).0, 1);
    // Its result is as large as the item, and is not taken.
    queue.put(&Work::Carry(vec![2; 1 << 20])).unwrap();
    pool.stop();
    assert!(pool.workers().is_empty());
}

/// Returns the history of a dead letter, which sums up the nine.
pub(crate) fn history_of_a_crash() -> Vec<Cause> {
    let queue = Queue::with(Options::default());
    let _pool = roles::start(&queue, 1).unwrap();
    queue.put(&Work::Signal(Signal::SIGABRT as i32)).unwrap();
    assert_eq!(join(&queue), (0, 1));
    let letters = queue.take_dead_letters().unwrap();
    let history = letters[0]
        .history
        .iter()
        .map(|failure| failure.cause.clone());
    let causes: Vec<Cause> = history.collect();
    assert!(causes.contains(&Cause::WorkerDied(Exit::Signaled(Signal::SIGABRT as i32))));
    causes
}
