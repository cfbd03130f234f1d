//! `BaseSimpleQueueTest` of `test_queue.py`: many threads at one queue. As in CPython, one `None`
//! for each consumer ends the items.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dishrack::{Error, JoinableQueue};

use super::{DEADLINE, end_of, take};

crate::timely_trials! {
    test_basic,
    test_order,
    test_many_threads => expect_all(10_000, Queue::get),
    test_many_threads_nonblock => expect_all(10_000, Queue::try_get),
    test_many_threads_timeout =>
        expect_all(1000, |queue| queue.get_timeout(Duration::from_micros(10))),
}

type Queue = JoinableQueue<Option<u32>>;
type Delivery = dishrack::Delivery<Option<u32>>;

fn test_basic() {
    let queue = JoinableQueue::<u64>::unbounded();
    assert!(queue.is_empty() && queue.qsize() == 0);
    queue.put(&1).unwrap();
    assert!(!queue.is_empty() && queue.qsize() == 1);
    queue.put(&2).unwrap();
    queue.try_put(&3).unwrap();
    queue.put(&4).unwrap();
    assert_eq!(queue.qsize(), 4);
    assert_eq!(take(&queue), 1);
    assert_eq!(queue.qsize(), 3);
    for n in 2..=3 {
        let delivery = queue.try_get().unwrap();
        assert_eq!(*delivery, n);
        delivery.task_done().unwrap();
    }
    assert!(!queue.is_empty() && queue.qsize() == 1);
    assert_eq!(take(&queue), 4);
    assert!(queue.is_empty() && queue.qsize() == 0);
    assert!(queue.try_get().unwrap_err().is_empty());
    let short = Duration::from_millis(1);
    assert!(queue.get_timeout(short).unwrap_err().is_empty());
    assert!(queue.is_empty() && queue.qsize() == 0);
}

fn test_order() {
    let results = run(1, 100, Queue::get);
    assert_eq!(results, (0..100).collect::<Vec<u32>>());
}

fn expect_all(items: u32, get: fn(&Queue) -> Result<Delivery, Error>) {
    let mut results = run(50, items, get);
    results.sort_unstable();
    assert_eq!(results, (0..items).collect::<Vec<u32>>());
}

/// Returns the items in the order of their arrival, with as many consumers as producers.
fn run(threads: usize, items: u32, get: fn(&Queue) -> Result<Delivery, Error>) -> Vec<u32> {
    let queue = Queue::unbounded();
    let inputs = Arc::new(Mutex::new(0..items));
    let results = Arc::new(Mutex::new(Vec::new()));
    let mut all = Vec::new();
    for _ in 0..threads {
        let (same, inputs) = (queue.clone(), Arc::clone(&inputs));
        all.push(std::thread::spawn(move || feed(&same, &inputs)));
        let (same, results) = (queue.clone(), Arc::clone(&results));
        all.push(std::thread::spawn(move || consume(&same, &results, get)));
    }
    all.into_iter().for_each(end_of);
    assert!(queue.is_empty() && queue.qsize() == 0);
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().dead, 0);
    std::mem::take(&mut *results.lock().unwrap())
}

fn feed(queue: &Queue, inputs: &Mutex<std::ops::Range<u32>>) {
    loop {
        // This is a statement of its own, so that other threads may go on during the put.
        let input = inputs.lock().unwrap().next();
        queue.put(&input).unwrap();
        if input.is_none() {
            return;
        }
    }
}

fn consume(queue: &Queue, results: &Mutex<Vec<u32>>, get: fn(&Queue) -> Result<Delivery, Error>) {
    loop {
        match get(queue) {
            Ok(delivery) => {
                let item = *delivery;
                delivery.task_done().unwrap();
                match item {
                    Some(n) => results.lock().unwrap().push(n),
                    None => return,
                }
            }
            Err(error) => assert!(error.is_empty(), "{error}"),
        }
    }
}
