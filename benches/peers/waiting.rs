//! The cost of waiting items: memory beyond their payload, and the time for ten times as many.

use std::fs;
use std::time::Instant;

use dishrack::JoinableQueue;

use crate::item::{Maker, look};
use crate::order::{Measured, Order};
use crate::pool::how;

/// Measures the memory of the process with the queue, while no worker takes the items.
pub(crate) fn memory(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let queue = JoinableQueue::<crate::item::Item>::unbounded();
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

/// Returns a size of this process in bytes; the kernel gives it in KiB.
pub(crate) fn status_bytes(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    1024.0 * kib.and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}
