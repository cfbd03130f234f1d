//! `_TestQueue` and `TestSimpleQueue` of `_test_multiprocessing.py`, and its tests of a manager's
//! `JoinableQueue`: one queue, and other processes that use it.

use std::time::{Duration, Instant};

use dishrack::{Exit, JoinableQueue, Restart, Supervisor};

use super::{METHODS, Witness, roles, take};
use crate::roles::{Work, chapters_loop};
use crate::support::{DEADLINE, until};

crate::timely_trials!(
    test_put,
    test_get,
    test_fork,
    test_qsize,
    test_task_done,
    test_timeout,
    test_queue_feeder_donot_stop_onexc,
    test_queue_feeder_on_queue_feeder_error,
    test_closed_queue_empty_exceptions,
    test_closed_queue_put_get_exceptions,
    test_empty,
    test_empty_exceptions,
    test_close,
    test_closed,
    test_joinable_queue,
);

/// A fourth of the times that CPython's tests wait for.
const TIMES: [Duration; 2] = [Duration::from_millis(205), Duration::from_millis(350)];

fn one() -> dishrack::Builder {
    Supervisor::builder()
        .processes(1)
        .restart(Restart::Temporary)
}

/// There are six ways to put, and none works once the queue is full.
fn test_put() {
    for method in METHODS {
        let queue = JoinableQueue::<u64>::bounded(6);
        assert!(queue.is_empty() && !queue.is_full());
        queue.put(&1).unwrap();
        queue.put(&2).unwrap();
        queue.put_timeout(&3, DEADLINE).unwrap();
        queue.put_timeout(&4, Duration::ZERO).unwrap();
        queue.try_put(&5).unwrap();
        queue.try_put(&6).unwrap();
        assert!(!queue.is_empty() && queue.is_full());

        assert!(queue.try_put(&7).unwrap_err().is_full());
        let at_once = queue.put_timeout(&7, Duration::ZERO);
        assert!(at_once.unwrap_err().is_full());
        for time in TIMES {
            let began = Instant::now();
            assert!(queue.put_timeout(&7, time).unwrap_err().is_full());
            assert!(began.elapsed() >= time);
        }
        // The child starts only now, instead of waiting for a sign.
        let builder = one().start_method(method);
        let _child = builder.worker(&queue, roles::take_six).unwrap();
        let joined = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((joined.done, joined.dead), (6, 0));
        assert!(queue.is_empty() && !queue.is_full());
    }
}

/// There are four ways to get, and none works once the queue is empty.
fn test_get() {
    for method in METHODS {
        let queue = JoinableQueue::<u64>::unbounded();
        assert!(queue.is_empty());
        let builder = one().start_method(method);
        let _child = builder.worker(&queue, roles::put_two_to_five).unwrap();
        until("the child has put its items", || queue.len() == 4);
        assert!(!queue.is_empty());
        let deliveries = [
            queue.get().unwrap(),
            queue.get_timeout(DEADLINE).unwrap(),
            queue.get_timeout(Duration::ZERO).unwrap(),
            queue.try_get().unwrap(),
        ];
        let items = deliveries.map(|delivery| {
            let item = *delivery;
            delivery.task_done().unwrap();
            item
        });
        assert_eq!(items, [2, 3, 4, 5]);
        assert!(queue.is_empty());

        assert!(queue.try_get().unwrap_err().is_empty());
        let at_once = queue.get_timeout(Duration::ZERO);
        assert!(at_once.unwrap_err().is_empty());
        for time in TIMES {
            let began = Instant::now();
            assert!(queue.get_timeout(time).unwrap_err().is_empty());
            assert!(began.elapsed() >= time);
        }
    }
}

fn test_fork() {
    for method in METHODS {
        let queue = JoinableQueue::<u64>::unbounded();
        for n in 0..10 {
            queue.put(&n).unwrap();
        }
        let builder = one().start_method(method);
        let _child = builder.worker(&queue, roles::put_ten_to_nineteen).unwrap();
        for n in 0..20 {
            assert_eq!(take(&queue), n);
        }
        assert!(queue.try_get().unwrap_err().is_empty());
    }
}

fn test_qsize() {
    let queue = JoinableQueue::<u64>::unbounded();
    assert_eq!(queue.qsize(), 0);
    queue.put(&1).unwrap();
    assert_eq!(queue.qsize(), 1);
    queue.put(&5).unwrap();
    assert_eq!(queue.qsize(), 2);
    take(&queue);
    assert_eq!(queue.qsize(), 1);
    take(&queue);
    assert_eq!(queue.qsize(), 0);
}

/// Four workers, ten items, and one `Leave` for each worker.
fn test_task_done() {
    for method in METHODS {
        let queue = JoinableQueue::<Work>::unbounded();
        let (observer, witness) = Witness::new();
        let builder = Supervisor::builder().processes(4).start_method(method);
        let builder = builder.observer(observer);
        let pool = builder.worker(&queue, chapters_loop).unwrap();
        for _ in 0..10 {
            queue.put(&Work::Nothing).unwrap();
        }
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 10);
        assert_eq!(witness.exits(), []);
        for _ in 0..4 {
            queue.put(&Work::Leave).unwrap();
        }
        for _ in 0..4 {
            assert_eq!(witness.await_exit().1, Exit::Exited(0));
        }
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 14);
        until("nobody is a worker any more", || pool.workers().is_empty());
    }
}

fn test_timeout() {
    let queue = JoinableQueue::<u64>::unbounded();
    let began = Instant::now();
    let got = queue.get_timeout(Duration::from_millis(200));
    assert!(got.unwrap_err().is_empty());
    assert!(began.elapsed() >= Duration::from_millis(200));
}

/// A bad item stops no later one, and takes no place in a queue of one, in this process and
/// another.
fn test_queue_feeder_donot_stop_onexc() {
    for capacity in [0, 1] {
        let queue = JoinableQueue::bounded(capacity);
        assert!(queue.put(&Work::Unserializable(1)).is_err());
        queue.put(&Work::Nothing).unwrap();
        assert_eq!(queue.qsize(), 1);
        assert_eq!(take(&queue), Work::Nothing);
        assert!(queue.is_empty());

        let child = one().worker(&queue, roles::put_bad_ones_and_good_ones);
        for _ in 0..3 {
            assert_eq!(take(&queue), Work::Nothing);
        }
        child.unwrap().stop();
        assert!(queue.is_empty());
        let joined = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((joined.done, joined.dead), (4, 0));
    }
}

/// The hook is not needed, because the caller of put gets the error.
fn test_queue_feeder_on_queue_feeder_error() {
    let queue = JoinableQueue::<Work>::unbounded();
    let error = queue.put(&Work::Unserializable(1)).unwrap_err();
    assert!(error.is_not_serializable());
    let said = error.to_string();
    assert!(said.contains("Work does not serialize"), "{said}");
    queue.put(&Work::Nothing).unwrap();
    assert_eq!(take(&queue), Work::Nothing);
}

fn test_closed_queue_empty_exceptions() {
    let unused = JoinableQueue::<u64>::unbounded();
    unused.close();
    assert!(unused.is_empty());
    let used = JoinableQueue::<u64>::unbounded();
    used.put(&1).unwrap();
    used.close();
    // CPython has an OSError here.
    assert!(!used.is_empty());
    assert_eq!(take(&used), 1);
    assert!(used.is_empty());
}

fn test_closed_queue_put_get_exceptions() {
    let queue = JoinableQueue::<u64>::unbounded();
    queue.close();
    let error = queue.put(&1).unwrap_err();
    assert!(error.is_closed() && error.to_string().contains("is closed"));
    let error = queue.get().unwrap_err();
    assert!(error.is_closed() && error.to_string().contains("is closed"));
}

fn test_empty() {
    for method in METHODS {
        let queue = JoinableQueue::<bool>::unbounded();
        assert!(queue.is_empty());
        let builder = one().start_method(method);
        let child = builder.worker(&queue, roles::put_whether_it_is_empty);
        until("the child has put both", || queue.len() == 2);
        assert!(!queue.is_empty());
        assert!(take(&queue));
        assert!(!take(&queue));
        assert!(queue.is_empty());
        child.unwrap().stop();
    }
}

/// In CPython, a closed queue cannot be asked.
fn test_empty_exceptions() {
    let queue = JoinableQueue::<u64>::unbounded();
    queue.close();
    assert!(queue.is_empty());
}

fn test_close() {
    let queue = JoinableQueue::<u64>::unbounded();
    queue.close();
    queue.close();
    assert!(queue.is_closed());
}

/// In CPython both ends of the pipe are closed; here, every handle of the queue is.
fn test_closed() {
    let queue = JoinableQueue::<u64>::unbounded();
    let other = queue.clone();
    queue.close();
    assert!(queue.is_closed() && other.is_closed());
    assert!(other.put(&1).unwrap_err().is_closed());
    assert!(other.try_get().unwrap_err().is_closed());
}

fn test_joinable_queue() {
    for method in METHODS {
        let queue = JoinableQueue::<u64>::bounded(2);
        queue.put(&5).unwrap();
        queue.put(&6).unwrap();
        let builder = one().start_method(method);
        let _worker = builder.worker(&queue, roles::take_two).unwrap();
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 2);
        assert!(queue.is_empty() && !queue.is_full());
    }
}
