//! Several producers of one queue, and callers that get items and acknowledge them: one by one, or
//! many at a time. The callers are threads of this process, or loops in worker processes.

use std::time::{Duration, Instant};

use dishrack::{Error, JoinableQueue, Supervisor};

use crate::item::{Item, Maker, touch};
use crate::order::{Measured, Order};
use crate::pool::{Warm, await_ready};

/// The number of items that are taken at a time.
const TAKEN: usize = 256;

/// The number of items that loops have done before a measurement begins.
const WARMING: usize = 1000;

/// Puts by several threads, each its part, from the first `put` until all are done.
pub(crate) fn producers(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let how = Supervisor::builder().processes(order.workers);
    let mut warm = Warm::start(how, order.workers, order.bound, &maker);
    let began = Instant::now();
    match order.contender.as_str() {
        "dishrack" => warm.work_of(order.producers, &maker, order.items),
        "dishrack-many" => warm.work_at_once_of(order.producers, &maker, order.items),
        _ => order.unknown(),
    }
    rate(order, began.elapsed())
}

/// Gets and acknowledges items: in this thread, where all are there when it begins, or in loops of
/// worker processes that are there and warm, from the first `put`.
pub(crate) fn getters(order: &Order) -> Measured {
    match order.contender.as_str() {
        "dishrack" => take_all(order, one),
        "dishrack-many" => take_all(order, many),
        "dishrack-loop" => have_taken(order, loop_of_one),
        "dishrack-loop-many" => have_taken(order, loop_of_many),
        _ => order.unknown(),
    }
}

fn rate(order: &Order, elapsed: Duration) -> Measured {
    Measured::new("items/s", order.items as f64 / elapsed.as_secs_f64())
}

fn take_all(order: &Order, take: impl Fn(&JoinableQueue<Item>) -> Result<(), Error>) -> Measured {
    let queue = JoinableQueue::unbounded();
    put_all(&queue, &Maker::new(order.bytes), order.items);
    let began = Instant::now();
    while !queue.is_empty() {
        take(&queue).expect("it is open");
    }
    let elapsed = began.elapsed();
    join(&queue, order.items);
    rate(order, elapsed)
}

fn have_taken(
    order: &Order,
    worker: impl Fn(JoinableQueue<Item>) + Send + Sync + 'static,
) -> Measured {
    let (queue, maker) = (JoinableQueue::unbounded(), Maker::new(order.bytes));
    let how = Supervisor::builder().processes(order.workers);
    let pool = how.worker(&queue, worker).expect("workers start");
    await_ready(&pool, order.workers);
    put_all(&queue, &maker, WARMING);
    join(&queue, WARMING);
    let began = Instant::now();
    put_all(&queue, &maker, order.items);
    join(&queue, WARMING + order.items);
    rate(order, began.elapsed())
}

fn put_all(queue: &JoinableQueue<Item>, maker: &Maker, items: usize) {
    let put = queue.put_many((0..items).map(|_| maker.make()));
    put.into_result().expect("it is open");
}

fn join(queue: &JoinableQueue<Item>, items: usize) {
    let joined = queue.join().expect("nobody is given up");
    assert_eq!((joined.done, joined.dead), (items as u64, 0));
}

fn one(queue: &JoinableQueue<Item>) -> Result<(), Error> {
    let delivery = queue.get()?;
    touch(&delivery.0);
    delivery.task_done()
}

fn many(queue: &JoinableQueue<Item>) -> Result<(), Error> {
    let deliveries = queue.get_many(TAKEN)?;
    deliveries.iter().for_each(|delivery| touch(&delivery.0));
    let outcome = queue.task_done_many(deliveries);
    assert!(outcome.stale.is_empty());
    Ok(())
}

/// The loop of a worker process.
pub(crate) fn loop_of_one(queue: JoinableQueue<Item>) {
    while one(&queue).is_ok() {}
}

/// The same with many items at a time.
pub(crate) fn loop_of_many(queue: JoinableQueue<Item>) {
    while many(&queue).is_ok() {}
}
