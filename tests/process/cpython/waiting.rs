//! `TestWait` of `_test_multiprocessing.py`. In CPython, several pipes and sentinels are waited for
//! together; here, one queue serves all workers, and one observer sees all their ends.

use std::time::{Duration, Instant};

use dishrack::{Exit, JoinableQueue, Restart, Supervisor};
use nix::sys::signal::Signal;

use super::{METHODS, Witness, ready_pids, roles, take};
use crate::roles::wait_in_get;
use crate::support::{DEADLINE, send};

crate::timely_trials!(
    test_wait,
    test_wait_timeout,
    test_wait_integer,
    test_neg_timeout,
);

/// Four processes with ten messages each: all arrive, and those of each in their order.
fn test_wait() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let (observer, witness) = Witness::new();
        let builder = Supervisor::builder().processes(4).start_method(method);
        let builder = builder.restart(Restart::Temporary).observer(observer);
        let _pool = builder.worker(&queue, roles::ten_messages).unwrap();
        let messages: Vec<roles::Message> = (0..40).map(|_| take(&queue)).collect();
        let mut senders: Vec<u32> = messages.iter().map(|(_, pid)| *pid).collect();
        senders.sort_unstable();
        senders.dedup();
        assert_eq!(senders.len(), 4);
        for sender in &senders {
            let of_sender = messages.iter().filter(|(_, pid)| pid == sender);
            let numbers: Vec<u32> = of_sender.map(|(n, _)| *n).collect();
            assert_eq!(numbers, (0..10).collect::<Vec<u32>>());
        }
        let mut ended = [(); 4].map(|()| witness.await_exit());
        ended.sort_unstable_by_key(|(pid, _)| *pid);
        let expected: Vec<_> = senders.iter().map(|pid| (*pid, Exit::Exited(0))).collect();
        assert_eq!(ended.as_slice(), expected);
        assert!(queue.is_empty());
    }
}

/// Every waiting call waits its time, and returns at once if there is something.
fn test_wait_timeout() {
    let time = Duration::from_millis(500);
    let queue = JoinableQueue::<u64>::bounded(1);
    let began = Instant::now();
    assert!(queue.get_timeout(time).unwrap_err().is_empty());
    assert!(began.elapsed() >= time);
    queue.put(&1).unwrap();
    let began = Instant::now();
    assert!(queue.put_timeout(&2, time).unwrap_err().is_full());
    assert!(began.elapsed() >= time);
    let began = Instant::now();
    assert!(queue.join_timeout(time).unwrap_err().is_timeout());
    assert!(began.elapsed() >= time);

    assert_eq!(queue.get_timeout(DEADLINE).unwrap().into_item(), 1);
    queue.task_done().unwrap();
    queue.join_timeout(DEADLINE).unwrap();
    queue.put_timeout(&2, DEADLINE).unwrap();
}

/// The end of a worker and an item come in either order: one does not hide the other.
fn test_wait_integer() {
    for method in METHODS {
        let queue = JoinableQueue::<u64>::unbounded();
        let (observer, witness) = Witness::new();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let builder = builder.restart(Restart::Temporary).observer(observer);
        let other = JoinableQueue::<crate::roles::Work>::unbounded();
        let pool = builder.worker(&other, wait_in_get).unwrap();
        let pids = ready_pids(&pool, 2);
        assert_eq!(witness.exits(), []);
        assert!(queue.try_get().unwrap_err().is_empty());

        let killed = Exit::Signaled(Signal::SIGKILL as i32);
        send(pids[0], Signal::SIGKILL);
        assert_eq!(witness.await_exit(), (pids[0], killed));
        assert!(queue.try_get().unwrap_err().is_empty());

        queue.put(&1).unwrap();
        send(pids[1], Signal::SIGKILL);
        assert_eq!(take(&queue), 1);
        assert_eq!(witness.await_exit(), (pids[1], killed));
    }
}

/// A time is never negative here. CPython takes a negative one for zero.
fn test_neg_timeout() {
    let queue = JoinableQueue::<u64>::bounded(1);
    let none = Duration::ZERO;
    assert!(queue.get_timeout(none).unwrap_err().is_empty());
    queue.put_timeout(&1, none).unwrap();
    assert!(queue.put_timeout(&2, none).unwrap_err().is_full());
    assert!(queue.join_timeout(none).unwrap_err().is_timeout());
    queue.get_timeout(none).unwrap().task_done().unwrap();
    queue.join_timeout(none).unwrap();
}
