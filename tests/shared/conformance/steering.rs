//! Pauses, and workers that come and go: the same on every link, and for every place of a queue.

use std::time::Duration;

use dishrack::{JoinableQueue, Options};

use super::{Link, double, hire_loops, join, start_workers};
use crate::place;

suite!(
    a_pause_holds_back_all_that_is_not_begun,
    a_pause_holds_back_loops,
    a_pause_under_load_loses_nothing,
    workers_come_and_go_while_they_work,
    items_wait_where_nobody_is_wanted,
    loops_come_and_go_too,
);

fn expect_nothing_done(queue: &JoinableQueue<u64>) {
    let error = queue.join_timeout(Duration::ZERO).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(queue.try_get().unwrap_err().is_empty());
    assert!(queue.is_paused().unwrap());
}

fn a_pause_holds_back_all_that_is_not_begun(link: Link) {
    let queue = place::queue(Options::default());
    let _pool = start_workers(link, &queue, double);
    queue.put(&1).unwrap();
    join(&queue);
    queue.pause().unwrap();
    for n in 0..50 {
        queue.put(&n).unwrap();
    }
    expect_nothing_done(&queue);
    queue.pause().unwrap();
    queue.unpause().unwrap();
    assert!(!queue.is_paused().unwrap());
    assert_eq!(join(&queue), (51, 0));
}

fn a_pause_holds_back_loops(link: Link) {
    let queue = place::queue(Options::default());
    queue.pause().unwrap();
    let pool = hire_loops(link, &queue);
    for n in 10..20 {
        queue.put(&n).unwrap();
    }
    expect_nothing_done(&queue);
    queue.unpause().unwrap();
    assert_eq!(join(&queue), (10, 0));
    // A stop in a pause is a stop.
    queue.pause().unwrap();
    pool.stop();
}

fn a_pause_under_load_loses_nothing(link: Link) {
    let queue = place::queue(Options::default());
    let _pool = start_workers(link, &queue, double);
    for round in 0..20 {
        for n in 0..100 {
            queue.put(&(100 * round + n)).unwrap();
        }
        queue.pause().unwrap();
        queue.unpause().unwrap();
    }
    assert_eq!(join(&queue), (2000, 0));
    let counts = queue.counts().unwrap();
    assert_eq!((counts.retries, counts.refused), (0, 0), "{counts:?}");
}

fn workers_come_and_go_while_they_work(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    if link == Link::Inline {
        assert!(pool.scale(2).unwrap_err().is_setup());
        assert!(pool.reload().unwrap_err().is_setup());
        return;
    }
    let mut count = 0;
    for workers in [4, 1, 3] {
        for n in 0..100 {
            queue.put(&n).unwrap();
        }
        count += 100;
        pool.scale(workers).unwrap();
        assert_eq!(pool.workers().len(), workers);
        pool.reload().unwrap();
        assert_eq!(pool.workers().len(), workers);
    }
    assert_eq!(join(&queue), (count, 0));
    let counts = queue.counts().unwrap();
    assert_eq!((counts.retries, pool.restarts()), (0, 0), "{counts:?}");
    pool.stop();
    assert!(pool.scale(1).unwrap_err().is_not_changed());
}

fn items_wait_where_nobody_is_wanted(link: Link) {
    if link == Link::Inline {
        return;
    }
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    pool.scale(0).unwrap();
    queue.put(&1).unwrap();
    let error = queue.join_timeout(Duration::ZERO).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    pool.scale(1).unwrap();
    assert_eq!(join(&queue), (1, 0));
    pool.scale(0).unwrap();
    pool.stop();
    queue.put(&2).unwrap();
    let error = queue.join().unwrap_err();
    assert!(error.is_no_workers_left(), "{error}");
}

fn loops_come_and_go_too(link: Link) {
    if link == Link::Inline {
        return;
    }
    let queue = place::queue(Options::default());
    let pool = hire_loops(link, &queue);
    for workers in [3, 1, 2] {
        for n in 10..40 {
            queue.put(&n).unwrap();
        }
        pool.scale(workers).unwrap();
        assert_eq!(pool.workers().len(), workers);
        pool.reload().unwrap();
    }
    assert_eq!(join(&queue), (90, 0));
    pool.stop();
}
