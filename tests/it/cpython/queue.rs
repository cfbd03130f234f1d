//! `QueueTest` of `test_queue.py`, except the tests of its shutdown: one process, several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use dishrack::JoinableQueue;

use super::{DEADLINE, end_of, take, waiting};

crate::timely_trials!(
    test_basic,
    test_queue_task_done,
    test_queue_join,
    test_nowait,
);

const QUEUE_SIZE: usize = 5;

type Queue = JoinableQueue<i64>;

/// Runs on the same queue twice, as in CPython.
fn test_basic() {
    let queue = Queue::bounded(QUEUE_SIZE);
    for _ in 0..2 {
        assert!(queue.is_empty() && !queue.is_full());
        keep_the_order(&queue);
        fill(&queue);
        wait_for_room(&queue);
        for _ in 0..QUEUE_SIZE {
            take(&queue);
        }
        wait_for_an_item(&queue);
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().dead, 0);
    }
}

fn keep_the_order(queue: &Queue) {
    for n in [111, 333, 222] {
        queue.put(&n).unwrap();
    }
    assert_eq!([(); 3].map(|()| take(queue)), [111, 333, 222]);
}

fn fill(queue: &Queue) {
    for n in 1..QUEUE_SIZE {
        queue.put(&0).unwrap();
        assert_eq!(queue.qsize(), n);
        assert!(!queue.is_full());
    }
    queue.put(&0).unwrap();
    assert!(queue.is_full() && !queue.is_empty());
}

/// The queue is full before and after.
fn wait_for_room(queue: &Queue) {
    assert!(queue.try_put(&1).unwrap_err().is_full());
    let time = Duration::from_millis(10);
    let began = Instant::now();
    assert!(queue.put_timeout(&1, time).unwrap_err().is_full());
    assert!(began.elapsed() >= time);
    for timeout in [None, Some(DEADLINE)] {
        let same = queue.clone();
        let put = waiting(move || match timeout {
            None => same.put(&1),
            Some(time) => same.put_timeout(&1, time),
        });
        take(queue);
        end_of(put).unwrap();
        assert!(queue.is_full());
    }
}

/// The queue is empty before and after.
fn wait_for_an_item(queue: &Queue) {
    assert!(queue.try_get().unwrap_err().is_empty());
    let time = Duration::from_millis(10);
    let began = Instant::now();
    assert!(queue.get_timeout(time).unwrap_err().is_empty());
    assert!(began.elapsed() >= time);
    for timeout in [None, Some(DEADLINE)] {
        let same = queue.clone();
        let got = waiting(move || {
            let delivery = match timeout {
                None => same.get(),
                Some(time) => same.get_timeout(time),
            };
            let item = **delivery.as_ref().unwrap();
            delivery.unwrap().task_done().unwrap();
            item
        });
        queue.put(&2).unwrap();
        assert_eq!(end_of(got), 2);
        assert!(queue.is_empty());
    }
}

fn test_queue_task_done() {
    let queue = Queue::unbounded();
    assert!(queue.task_done().unwrap_err().is_task_done_too_often());
}

/// Joins twice by the same threads, and all that twice, as in CPython.
fn test_queue_join() {
    let queue = Queue::unbounded();
    for _ in 0..2 {
        let sum = Arc::new(AtomicI64::new(0));
        let adders = [(); 2].map(|()| {
            let (queue, sum) = (queue.clone(), Arc::clone(&sum));
            std::thread::spawn(move || add_up(&queue, &sum))
        });
        for n in 0..100 {
            queue.put(&n).unwrap();
        }
        queue.join_timeout(DEADLINE).unwrap();
        assert_eq!(sum.load(Ordering::SeqCst), (0..100).sum::<i64>());
        for _ in &adders {
            queue.put(&-1).unwrap();
        }
        queue.join_timeout(DEADLINE).unwrap();
        adders.into_iter().for_each(end_of);
    }
    assert!(queue.task_done().unwrap_err().is_task_done_too_often());
}

/// Adds the items up, until a negative number comes.
fn add_up(queue: &Queue, sum: &AtomicI64) {
    loop {
        let n = queue.get().unwrap().into_item();
        if n >= 0 {
            sum.fetch_add(n, Ordering::SeqCst);
        }
        queue.task_done().unwrap();
        if n < 0 {
            return;
        }
    }
}

fn test_nowait() {
    let queue = Queue::bounded(QUEUE_SIZE);
    for _ in 0..QUEUE_SIZE {
        queue.try_put(&1).unwrap();
    }
    assert!(queue.try_put(&1).unwrap_err().is_full());
    for _ in 0..QUEUE_SIZE {
        queue.try_get().unwrap().task_done().unwrap();
    }
    assert!(queue.try_get().unwrap_err().is_empty());
}
