//! This project's workers, started and warmed, for all rows.

use std::time::Duration;

use dishrack::{Builder, JoinableQueue, Supervisor};

use crate::callers::loop_of_one;
use crate::item::{Item, Maker, look};
use crate::order::Order;

/// The number of items that are done before a measurement begins.
const WARMING: usize = 1000;

/// Waits until all workers are ready.
pub(crate) fn await_ready<T, R>(pool: &Supervisor<T, R>, workers: usize) {
    while pool.workers().len() < workers {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A queue, workers that look at its items, and the number of items so far.
#[derive(Debug)]
pub(crate) struct Warm {
    queue: JoinableQueue<Item>,
    /// Stops its workers when it is dropped.
    pool: Supervisor<Item, ()>,
    done: u64,
}

impl Warm {
    pub(crate) fn start(how: Builder, workers: usize, bound: usize, maker: &Maker) -> Self {
        Warm::on(JoinableQueue::bounded(bound), how, workers, maker)
    }

    /// Does the same with workers that get and acknowledge by themselves.
    pub(crate) fn of_loops(order: &Order, maker: &Maker) -> Self {
        let queue = JoinableQueue::bounded(order.bound);
        let how = Supervisor::builder().processes(order.workers);
        let pool = how.worker(&queue, loop_of_one).expect("workers start");
        Warm::begin(queue, pool, order.workers, maker)
    }

    /// Does the same with a queue that exists already, and has had no items.
    pub(crate) fn on(
        queue: JoinableQueue<Item>,
        how: Builder,
        workers: usize,
        maker: &Maker,
    ) -> Self {
        let pool = how.handler(&queue, look).expect("workers start");
        Warm::begin(queue, pool, workers, maker)
    }

    fn begin(
        queue: JoinableQueue<Item>,
        pool: Supervisor<Item, ()>,
        workers: usize,
        maker: &Maker,
    ) -> Self {
        await_ready(&pool, workers);
        let mut warm = Warm {
            queue,
            pool,
            done: 0,
        };
        warm.work(maker, WARMING.min((16 << 20) / maker.0.len()));
        warm
    }

    /// Returns the pids of its worker processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let workers = self.pool.workers();
        workers.into_iter().map(|worker| worker.pid).collect()
    }

    /// Puts items one by one, and joins. If puts must be stored, it waits once for all of them.
    pub(crate) fn work(&mut self, maker: &Maker, items: usize) {
        for _ in 0..items {
            self.queue.put_unsynced(&maker.make()).expect("it is open");
        }
        self.queue.sync().expect("all are accepted");
        self.join(items);
    }

    /// Does the same with all items of one iterator.
    pub(crate) fn work_at_once(&mut self, maker: &Maker, items: usize) {
        let put = self.queue.put_many((0..items).map(|_| maker.make()));
        put.into_result().expect("all are accepted");
        self.join(items);
    }

    /// Puts items by several threads, each its part one by one, and joins.
    pub(crate) fn work_of(&mut self, producers: usize, maker: &Maker, items: usize) {
        let put = |items: usize| {
            for _ in 0..items {
                self.queue.put(&maker.make()).expect("it is open");
            }
        };
        in_threads(producers, items, put);
        self.join(items);
    }

    /// Does the same with an iterator for each thread.
    pub(crate) fn work_at_once_of(&mut self, producers: usize, maker: &Maker, items: usize) {
        let put = |items: usize| {
            let put = self.queue.put_many((0..items).map(|_| maker.make()));
            put.into_result().expect("all are accepted");
        };
        in_threads(producers, items, put);
        self.join(items);
    }

    fn join(&mut self, items: usize) {
        self.done += items as u64;
        let joined = self.queue.join().expect("workers are there");
        assert_eq!((joined.done, joined.dead), (self.done, 0));
    }
}

/// Lets each of these threads do its part of so many items; the first one does what is left over.
fn in_threads(threads: usize, items: usize, work: impl Fn(usize) + Sync) {
    let (part, rest) = (items / threads, items % threads);
    std::thread::scope(|scope| {
        let work = &work;
        for thread in 0..threads {
            let left_over = if thread == 0 { rest } else { 0 };
            scope.spawn(move || work(part + left_over));
        }
    });
}

/// Returns a builder of `processes` or `threads`, by the contender's name.
pub(crate) fn how(contender: &str, workers: usize) -> Option<Builder> {
    match contender {
        "dishrack" => Some(Supervisor::builder().processes(workers)),
        "dishrack-threads" => Some(Supervisor::builder().threads(workers)),
        _ => None,
    }
}
