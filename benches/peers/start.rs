//! From nothing until every worker has served an item; stopping is not counted.
//!
//! To make each worker serve one, it waits until all are ready, and then puts, one at a time, items
//! that sleep for 1 ms and return the pid, so that the next item finds another worker idle. If a
//! worker gets two all the same, more rounds follow, on the clock, until every pid was seen.

use std::collections::BTreeSet;
use std::time::Instant;

use dishrack::{JoinableQueue, StartMethod, Supervisor};

use crate::item::rest;
use crate::order::{Measured, Order};
use crate::pool::await_ready;

const REST_US: u32 = 1000;

pub(crate) fn measure(order: &Order) -> Measured {
    let method = method(order);
    let began = Instant::now();
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(order.workers);
    let builder = builder.start_method(method).without_prefetch();
    let pool = builder.handler(&queue, rest).expect("workers start");
    await_ready(&pool, order.workers);
    let ready_ms = began.elapsed().as_secs_f64() * 1e3;
    let mut pids = BTreeSet::new();
    let mut rounds = 0;
    while pids.len() < order.workers {
        let items = std::iter::repeat_n(REST_US, order.workers);
        pids.extend(
            pool.map_unordered(items)
                .map(|pid| pid.expect("it only sleeps")),
        );
        rounds += 1;
    }
    let elapsed = began.elapsed();
    assert_eq!(pids.len(), order.workers, "no worker was replaced");
    Measured::new("ms", elapsed.as_secs_f64() * 1e3)
        .with("ready_ms", ready_ms)
        .with("rounds", rounds)
}

pub(crate) fn method(order: &Order) -> StartMethod {
    match order.contender.as_str() {
        "dishrack-spawn" => StartMethod::Spawn,
        "dishrack-fork" => StartMethod::Fork,
        _ => order.unknown(),
    }
}
