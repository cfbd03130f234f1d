//! The cost of waiting items: memory beyond their payload, and the time for ten times as many.

use std::fs;
use std::time::Instant;

use dishrack::{JoinableQueue, Supervisor};

use crate::item::{Item, Maker, look};
use crate::order::{Measured, Order};
use crate::pool::{await_ready, how};

/// Measures the memory of the process with the queue, while no worker takes the items.
pub(crate) fn memory(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let queue = JoinableQueue::<Item>::unbounded();
    queue.put(&maker.make()).expect("it is open");
    let before = status_bytes("RssAnon");
    for _ in 1..order.items {
        queue.put(&maker.make()).expect("it is open");
    }
    assert_eq!(queue.len(), order.items);
    let beyond = |bytes: f64| (bytes - before) / order.items as f64 - order.bytes as f64;
    // The peak includes the temporary memory of growing.
    let peak = status_bytes("VmHWM") - status_bytes("RssFile");
    Measured::new("B/item", beyond(status_bytes("RssAnon"))).with("peak", beyond(peak))
}

/// Puts all items first, and starts the workers then. Measures the time until all are done.
pub(crate) fn drain(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let how = how(&order.contender, order.workers).unwrap_or_else(|| order.unknown());
    let queue = JoinableQueue::unbounded();
    let began = Instant::now();
    for _ in 0..order.items {
        queue.put(&maker.make()).expect("it is open");
    }
    let put_s = began.elapsed().as_secs_f64();
    let _pool = how.handler(&queue, look).expect("workers start");
    let joined = queue.join().expect("workers are there");
    let elapsed_s = began.elapsed().as_secs_f64();
    assert_eq!((joined.done, joined.dead), (order.items as u64, 0));
    Measured::new("s", elapsed_s).with("put_s", put_s)
}

/// The number of keys, and of priorities.
const KEYS: u64 = 1000;
const PRIORITIES: u64 = 5;

/// Puts all items and starts the workers, while the queue is paused, and measures the time from then on
/// until all are done. With keys one item of each of a thousand runs at a time, or eight, and there are five
/// priorities; so much more memory the items have.
pub(crate) fn keys(order: &Order) -> Measured {
    let mut maker = Maker::new(order.bytes.max(8));
    let mut how = Supervisor::builder().processes(order.workers);
    let per_key = match order.contender.as_str() {
        "plain" => 0,
        "keys" => 1,
        "keys-8" => 8,
        _ => order.unknown(),
    };
    if per_key > 0 {
        how = how
            .per_key(per_key, |item: &Item| Some(number_of(item) % KEYS))
            .priority(|item: &Item| i8::try_from(number_of(item) / KEYS % PRIORITIES).unwrap_or(0));
    }
    let queue = JoinableQueue::unbounded();
    queue.pause().expect("it is here");
    for number in 0..order.items as u64 {
        maker.0[..8].copy_from_slice(&number.to_le_bytes());
        queue.put(&maker.make()).expect("it is open");
    }
    let before = status_bytes("RssAnon");
    let pool = how.handler(&queue, look).expect("workers start");
    await_ready(&pool, order.workers);
    let more = (status_bytes("RssAnon") - before) / order.items as f64;
    let began = Instant::now();
    queue.unpause().expect("it is here");
    let joined = queue.join().expect("workers are there");
    let elapsed_s = began.elapsed().as_secs_f64();
    assert_eq!((joined.done, joined.dead), (order.items as u64, 0));
    Measured::new("items/s", order.items as f64 / elapsed_s).with("bytes", more)
}

/// Returns the number at the beginning of an item.
fn number_of(item: &Item) -> u64 {
    let number = item.0.first_chunk().copied();
    u64::from_le_bytes(number.unwrap_or_default())
}

/// Returns a size of this process in bytes; the kernel gives it in KiB.
pub(crate) fn status_bytes(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    1024.0 * kib.and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}
