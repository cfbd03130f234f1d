//! Small items, put by one producer and each acknowledged: from the first put until all are done,
//! with workers that are there and warm. Unless the contender says otherwise they are put one by
//! one. The maps have a result for each item as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use dishrack::{JoinableQueue, Supervisor};

use crate::channels;
use crate::item::{Item, Maker, look, weigh};
use crate::order::{Measured, Order};
use crate::pool::{Warm, await_ready, how};
use crate::raw::throughput::ipc_channel;

/// Items that may wait in the channel between threads.
const CHANNEL: usize = 1024;

pub(crate) fn measure(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let elapsed = match order.contender.as_str() {
        "dishrack-map" => map(order, &maker),
        "dishrack-many" => put_many_and_join(order, &maker),
        "ipc-channel" => ipc_channel(order, &maker),
        "crossbeam" => crossbeam(order, &maker),
        "crossbeam-acks" => channels::throughput(order, &maker),
        _ => put_and_join(order, &maker),
    };
    Measured::new("items/s", order.items as f64 / elapsed.as_secs_f64())
}

fn put_and_join(order: &Order, maker: &Maker) -> Duration {
    let how = how(&order.contender, order.workers).unwrap_or_else(|| order.unknown());
    let mut warm = Warm::start(how, order.workers, order.bound, maker);
    let began = Instant::now();
    warm.work(maker, order.items);
    began.elapsed()
}

/// Does the same with all items of one iterator.
fn put_many_and_join(order: &Order, maker: &Maker) -> Duration {
    let how = Supervisor::builder().processes(order.workers);
    let mut warm = Warm::start(how, order.workers, order.bound, maker);
    let began = Instant::now();
    warm.work_at_once(maker, order.items);
    began.elapsed()
}

fn map(order: &Order, maker: &Maker) -> Duration {
    let queue = JoinableQueue::bounded(order.bound);
    let builder = Supervisor::builder().processes(order.workers);
    let pool = builder.handler(&queue, weigh).expect("workers start");
    await_ready(&pool, order.workers);
    weigh_all(&pool, maker, 1000);
    let began = Instant::now();
    weigh_all(&pool, maker, order.items);
    began.elapsed()
}

fn weigh_all(pool: &Supervisor<Item, u32>, maker: &Maker, items: usize) {
    let results = pool.map_unordered((0..items).map(|_| maker.make()));
    let bytes: usize = results
        .map(|result| result.expect("weighing cannot fail") as usize)
        .sum();
    assert_eq!(bytes, items * maker.0.len());
}

/// Measures the bare channel between threads, without any supervision.
fn crossbeam(order: &Order, maker: &Maker) -> Duration {
    let (put, get) = bounded(CHANNEL);
    let done = Arc::new(AtomicUsize::new(0));
    let (told, join) = bounded(1);
    let all = order.items + 1000;
    let start = |_| {
        let (get, told, done) = (get.clone(), told.clone(), Arc::clone(&done));
        std::thread::spawn(move || take_all(&get, &done, &told, all))
    };
    let threads: Vec<_> = (0..order.workers).map(start).collect();
    for _ in 0..1000 {
        put.send(maker.make()).expect("threads are there");
    }
    join.recv().expect("threads are there");
    let began = Instant::now();
    for _ in 0..order.items {
        put.send(maker.make()).expect("threads are there");
    }
    join.recv().expect("threads are there");
    let elapsed = began.elapsed();
    drop(put);
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    assert_eq!(done.load(Ordering::Acquire), all);
    elapsed
}

/// Takes items, and tells when those for warming are done, and when all are.
fn take_all(get: &Receiver<Item>, done: &AtomicUsize, told: &Sender<()>, all: usize) {
    for item in get {
        let Ok(()) = look(item);
        let done = done.fetch_add(1, Ordering::AcqRel) + 1;
        if done == 1000 || done == all {
            told.send(()).expect("the producer waits for it");
        }
    }
}
