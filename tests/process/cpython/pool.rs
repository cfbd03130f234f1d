//! `_TestPool`, `_TestPoolWorkerErrors`, `_TestPoolWorkerLifetime` and `test_large_pool` of
//! `_test_multiprocessing.py`. A supervisor with a handler is the pool.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use dishrack::{Exit, ItemError, JoinableQueue, Supervisor};
use nix::sys::signal::Signal;

use super::traps::{ChildEffect, Item, Place, walk};
use super::{Gate, METHODS, Witness, ready_pids, roles};
use crate::roles::{Work, work};
use crate::support::{DEADLINE, Run, is_alive};

crate::timely_trials!(
    test_map,
    test_map_unplicklable,
    test_map_chunksize,
    test_map_handle_iterable_exception,
    test_async_timeout,
    test_imap,
    test_imap_unordered,
    test_make_pool,
    test_terminate,
    test_empty_iterable,
    test_traceback,
    test_map_no_failfast,
    test_unpickleable_result,
    test_pool_worker_lifetime,
    test_pool_worker_lifetime_early_close,
    test_pool_maxtasksperchild_invalid,
    test_large_pool,
);

/// Makes a pool of four.
fn squares(queue: &JoinableQueue<u64>) -> Supervisor<u64, u64> {
    let builder = Supervisor::builder().processes(4);
    builder.handler(queue, roles::square).unwrap()
}

fn expected(items: u64) -> Vec<u64> {
    (0..items).map(|n| n * n).collect()
}

fn test_map() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(4).start_method(method);
        let pool = builder.handler(&queue, roles::square).unwrap();
        for items in [10, 100] {
            let results = pool.map(0..items).map(Result::unwrap);
            assert_eq!(results.collect::<Vec<u64>>(), expected(items));
        }
    }
}

/// Ten items do not serialize: each is refused, and no call waits for them.
fn test_map_unplicklable() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(4).handler(&queue, work);
    let pool = pool.unwrap();
    let results: Vec<_> = pool
        .map([(); 10].map(|()| Work::Unserializable(1)))
        .collect();
    assert_eq!(results.len(), 10);
    let is_refused = |result: &Result<_, _>| matches!(result, Err(ItemError::NotAccepted { .. }));
    assert!(results.iter().all(is_refused), "{results:?}");
    assert!(pool.map([Work::Nothing]).all(|result| result.is_ok()));
}

/// There are no chunks here; batches grow by themselves. An empty map ends at once.
fn test_map_chunksize() {
    let queue = JoinableQueue::unbounded();
    assert_eq!(squares(&queue).map([]).count(), 0);
}

/// The items panic while they are made: at the first one, twice, and later.
fn test_map_handle_iterable_exception() {
    let queue = JoinableQueue::unbounded();
    let pool = squares(&queue);
    for (items, last) in [(1, 0), (1, 0), (10, 3)] {
        let source = (0..items).inspect(|n| assert!(*n < last, "no more of it"));
        let results = AssertUnwindSafe(|| pool.map(source).count());
        assert!(catch_unwind(results).is_err());
    }
    let results = pool.map(0..10).map(Result::unwrap);
    assert_eq!(results.collect::<Vec<u64>>(), expected(10));
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 3 + 10);
}

fn test_async_timeout() {
    let gate = Gate::new();
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(3);
    let _pool = builder.handler(&queue, work).unwrap();
    queue.put(&gate.item()).unwrap();
    let (began, time) = (Instant::now(), Duration::from_millis(200));
    assert!(queue.join_timeout(time).unwrap_err().is_timeout());
    assert!(began.elapsed() >= time);
    gate.open();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
}

fn test_imap() {
    let queue = JoinableQueue::unbounded();
    let pool = squares(&queue);
    for items in [10, 1000] {
        let mut results = pool.map(0..items);
        for n in 0..items {
            assert_eq!(results.next().unwrap().unwrap(), n * n);
        }
        assert!(results.next().is_none());
    }
}

fn test_imap_unordered() {
    let queue = JoinableQueue::unbounded();
    let pool = squares(&queue);
    for items in [10, 1000] {
        let results = pool.map_unordered(0..items).map(Result::unwrap);
        let mut results: Vec<u64> = results.collect();
        results.sort_unstable();
        assert_eq!(results, expected(items));
    }
}

fn test_make_pool() {
    let queue = JoinableQueue::unbounded();
    let none = Supervisor::builder().processes(0);
    let error = none.handler(&queue, roles::square).unwrap_err();
    assert!(error.is_setup(), "{error}");
    let three = Supervisor::builder().processes(3);
    let pool = three.handler(&queue, roles::square).unwrap();
    assert_eq!(ready_pids(&pool, 3).len(), 3);
}

/// Ten thousand items would take for ever: none is lost, and none is charged.
fn test_terminate() {
    let gate = Gate::new();
    let queue = JoinableQueue::unbounded();
    let (observer, witness) = Witness::new();
    let builder = Supervisor::builder().processes(3).observer(observer);
    let pool = builder.handler(&queue, work).unwrap();
    for _ in 0..10_000 {
        queue.put(&gate.item()).unwrap();
    }
    gate.await_visitor();
    let pids = ready_pids(&pool, 3);
    pool.kill();
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    for _ in 0..3 {
        let exit = Exit::Signaled(Signal::SIGKILL as i32);
        assert_eq!(witness.await_exit().1, exit);
    }
    let counts = queue.counts().unwrap();
    assert_eq!((counts.unfinished(), counts.retries), (10_000, 0));
    let error = queue.join_timeout(DEADLINE).unwrap_err();
    assert!(error.is_no_workers_left(), "{error}");
}

fn test_empty_iterable() {
    let queue = JoinableQueue::unbounded();
    let pool = squares(&queue);
    assert_eq!(pool.map([]).count(), 0);
    assert_eq!(pool.map_unordered([]).count(), 0);
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 0);
}

/// The waiting caller gets the error in the worker.
fn test_traceback() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(1).handler(&queue, walk);
    let results = pool
        .unwrap()
        .map([Item::trap(Place::Run, ChildEffect::Error)])
        .next();
    let error = results.unwrap().unwrap_err().to_string();
    assert_eq!(error, "item 1 failed 3 times, at last: it is a trap");
}

/// Both fail with an error that fills a pipe, and the pool can be stopped.
fn test_map_no_failfast() {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(2);
    let pool = builder.handler(&queue, roles::fail_at_length).unwrap();
    let results: Vec<_> = pool.map([0, 1]).collect();
    assert_eq!(results.len(), 2);
    for result in results {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("xxx"), "{error}");
    }
    pool.stop();
    assert_eq!(pool.restarts(), 0);
}

/// Twenty results that do not serialize cost no worker its life.
fn test_unpickleable_result() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(2).handler(&queue, walk);
    let pool = pool.unwrap();
    for _ in 0..20 {
        let bad = Item::trap(Place::ResultSerialize, ChildEffect::Error);
        let error = pool.map([bad]).next().unwrap().unwrap_err().to_string();
        assert!(error.contains("its result does not serialize"), "{error}");
    }
    assert_eq!(pool.restarts(), 0);
}

fn test_pool_worker_lifetime() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let (observer, witness) = Witness::new();
        let builder = Supervisor::builder().processes(3).start_method(method);
        let builder = builder.max_tasks_per_worker(10).observer(observer);
        let pool = builder.handler(&queue, roles::square).unwrap();
        let first: HashSet<u32> = ready_pids(&pool, 3).into_iter().collect();
        let results = pool.map(0..100).map(Result::unwrap);
        assert_eq!(results.collect::<Vec<u64>>(), expected(100));
        // At least ten lives of ten items are over, and at most three of them go on.
        let ended = [(); 7].map(|()| witness.await_exit());
        assert!(ended.iter().all(|(_, exit)| *exit == Exit::Exited(0)));
        let last: HashSet<u32> = ready_pids(&pool, 3).into_iter().collect();
        assert_ne!(first, last);
        assert_eq!(queue.counts().unwrap().retries, 0);
    }
}

/// The queue is closed when most of its items wait for workers that are not there yet.
fn test_pool_worker_lifetime_early_close() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(3).start_method(method);
        let builder = builder.max_tasks_per_worker(1);
        let pool = builder.handler(&queue, roles::square).unwrap();
        for n in 0..6 {
            queue.put(&n).unwrap();
        }
        queue.close();
        let joined = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((joined.done, joined.dead), (6, 0));
        pool.stop();
        assert_eq!(pool.workers(), []);
    }
}

/// It is refused before anything is started.
fn test_pool_maxtasksperchild_invalid() {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(3).max_tasks_per_worker(0);
    let error = builder.handler(&queue, roles::square).unwrap_err();
    assert!(error.is_setup(), "{error}");
}

fn test_large_pool() {
    let mut run = Run::play("large pool");
    assert_eq!(run.line().unwrap(), "332833500");
    assert_eq!(run.line(), None);
    assert_eq!(run.exit().code(), Some(0));
}
