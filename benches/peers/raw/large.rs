//! Large items, one to a message: inline in the socket, or each in shared memory of its own.

use std::time::{Duration, Instant};

use ipc_channel::ipc::IpcSharedMemory;
use serde::{Deserialize, Serialize};

use super::{OwnEnds, Worker, receive};
use crate::item::{Item, Maker, touch};
use crate::order::Order;

pub(crate) fn inline(order: &Order, maker: &Maker) -> Duration {
    work("inline", order, || maker.make())
}

/// Makes the item in the memory that carries it, which saves a copy.
pub(crate) fn shared(order: &Order, maker: &Maker) -> Duration {
    work("shared", order, || IpcSharedMemory::from_bytes(&maker.0))
}

fn work<T>(work: &str, order: &Order, make: impl Fn() -> T) -> Duration
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    let mut workers: Vec<Worker<T>> = (0..order.workers).map(|_| Worker::start(work)).collect();
    let warming = 2 * workers.len();
    send_all(&mut workers, order.bound, warming, &make);
    let began = Instant::now();
    let done = send_all(&mut workers, order.bound, order.items, &make);
    let elapsed = began.elapsed();
    assert_eq!(done, order.items + warming);
    workers.into_iter().for_each(Worker::stop);
    elapsed
}

/// Sends items in turns, at most `bound` under way among all workers. Returns the number done.
fn send_all<T>(workers: &mut [Worker<T>], bound: usize, items: usize, make: impl Fn() -> T) -> usize
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    let bound = bound / workers.len();
    for number in 0..items {
        let turn = number % workers.len();
        let worker = &mut workers[turn];
        if worker.outstanding == bound {
            worker.take_ack();
        }
        worker.send(make());
    }
    workers.iter_mut().map(Worker::join).sum()
}

pub(super) fn serve_inline((items, acks): OwnEnds<Item>) {
    while let Some(item) = receive(&items, false) {
        touch(&item.0);
        if acks.send(1).is_err() {
            return;
        }
    }
}

pub(super) fn serve_shared((items, acks): OwnEnds<IpcSharedMemory>) {
    while let Some(item) = receive(&items, false) {
        touch(&item);
        if acks.send(1).is_err() {
            return;
        }
    }
}
