//! From nothing until every worker has served an item, or of very many, until each holds one;
//! stopping is not counted.
//!
//! To make each worker serve one, it waits until all are ready, and then puts, one at a time, items
//! that sleep for 1 ms and return the pid, so that the next item finds another worker idle. If a
//! worker gets two all the same, more rounds follow, on the clock, until every pid was seen.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use dishrack::{JoinableQueue, StartMethod, Supervisor};

use crate::bare_commands::start_all;
use crate::item::rest;
use crate::order::{Measured, Order};
use crate::pool::await_ready;

const REST_US: u32 = 1000;

/// No worker is through with its item before it is stopped.
const HOLD_US: u32 = u32::MAX;

/// Processes that are started at the same time where nothing else is to be done.
const STARTERS: usize = 2;

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

/// Very many workers until each holds an item; or as many times the same program started by itself,
/// which says its version and ends: that is what no worker can be cheaper than.
pub(crate) fn many(order: &Order) -> Measured {
    let began = Instant::now();
    if order.contender == "posix-spawn" {
        start_all(order.workers, STARTERS, |_| {
            let mut command = Command::new("/proc/self/exe");
            command.arg("--version");
            command
        });
        return Measured::new("s", began.elapsed().as_secs_f64());
    }
    let queue = JoinableQueue::unbounded();
    for _ in 0..order.workers {
        queue.put(&HOLD_US).expect("it is open");
    }
    let builder = Supervisor::builder().processes(order.workers);
    let builder = builder.start_method(method(order)).without_prefetch();
    let pool = builder.handler(&queue, rest).expect("workers start");
    while queue.counts().expect("it is in memory").leased < order.workers as u64 {
        thread::sleep(Duration::from_millis(1));
    }
    let elapsed = began.elapsed();
    pool.kill();
    Measured::new("s", elapsed.as_secs_f64())
}

pub(crate) fn method(order: &Order) -> StartMethod {
    match order.contender.as_str() {
        "dishrack-spawn" => StartMethod::Spawn,
        "dishrack-fork" => StartMethod::Fork,
        _ => order.unknown(),
    }
}
