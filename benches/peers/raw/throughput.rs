//! Items in batches of a fixed size, in turns to each worker, each batch acknowledged by one
//! message.

use std::mem;
use std::time::{Duration, Instant};

use super::{OwnEnds, Worker, receive};
use crate::item::{Item, Maker, touch};
use crate::order::Order;

/// Bytes and messages that may be under way to one worker. `send` sleeps if the socket is full, and
/// a worker that has one batch to work on and one to come never waits. Of 2 to 200 batches these
/// were among the fastest for each size.
const BYTES_MAX: usize = 256 * 1024;
const BATCHES_MIN: usize = 2;
const BATCHES_MAX: usize = 16;

pub(crate) fn ipc_channel(order: &Order, maker: &Maker) -> Duration {
    let mut workers: Vec<Worker<Vec<Item>>> = (0..order.workers)
        .map(|_| Worker::start("batches"))
        .collect();
    work(&mut workers, order, maker, 1000);
    let began = Instant::now();
    let done = work(&mut workers, order, maker, order.items);
    let elapsed = began.elapsed();
    assert_eq!(done, order.items + 1000);
    workers.into_iter().for_each(Worker::stop);
    elapsed
}

/// Makes and sends items, and waits for all acknowledgements. Returns the number done.
fn work(workers: &mut [Worker<Vec<Item>>], order: &Order, maker: &Maker, items: usize) -> usize {
    let batch = order.batch;
    let fitting = BYTES_MAX / (batch * maker.0.len());
    let bound = match order.bound {
        0 => fitting.clamp(BATCHES_MIN, BATCHES_MAX),
        bound => bound,
    };
    let mut turn = 0;
    let mut next = Vec::with_capacity(batch);
    for number in 1..=items {
        next.push(maker.make());
        if next.len() < batch && number < items {
            continue;
        }
        let worker = &mut workers[turn];
        if worker.outstanding == bound {
            worker.take_ack();
        }
        worker.send(mem::replace(&mut next, Vec::with_capacity(batch)));
        turn = (turn + 1) % workers.len();
    }
    workers.iter_mut().map(Worker::join).sum()
}

pub(super) fn serve((batches, acks): OwnEnds<Vec<Item>>) {
    while let Some(batch) = receive(&batches, false) {
        for item in &batch {
            touch(&item.0);
        }
        let items = u32::try_from(batch.len()).expect("batches are small");
        if acks.send(items).is_err() {
            return;
        }
    }
}
