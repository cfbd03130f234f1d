//! Very many worker processes: started, at work, and stopped; and an idle supervisor for `idle.py`.

use std::fs;
use std::io::Read;
use std::time::Instant;

use dishrack::{JoinableQueue, Supervisor};

use crate::item::{Maker, look};
use crate::order::{Measured, Order};
use crate::pool::{Warm, await_ready};
use crate::start::method;
use crate::waiting::status_bytes;

pub(crate) fn measure(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let builder = Supervisor::builder().processes(order.workers);
    let builder = builder.start_method(method(order));
    let queue = JoinableQueue::unbounded();
    let began = Instant::now();
    let pool = builder.handler(&queue, look).expect("workers start");
    await_ready(&pool, order.workers);
    let start_s = began.elapsed().as_secs_f64();
    let began = Instant::now();
    for _ in 0..order.items {
        queue.put(&maker.make()).expect("it is open");
    }
    let joined = queue.join().expect("workers are there");
    assert_eq!((joined.done, joined.dead), (order.items as u64, 0));
    let serve_s = began.elapsed().as_secs_f64();
    // The time to look at a thousand processes is not counted.
    let pids = pool.workers().into_iter().map(|worker| worker.pid);
    let workers_bytes: f64 = pids.map(proportional_bytes).sum();
    let own_bytes = status_bytes("VmRSS");
    let began = Instant::now();
    pool.stop();
    let stop_s = began.elapsed().as_secs_f64();
    assert_eq!(pool.workers(), []);
    Measured::new("s", start_s + serve_s + stop_s)
        .with("start_s", start_s)
        .with("serve_s", serve_s)
        .with("stop_s", stop_s)
        .with("supervisor_mib", own_bytes / f64::from(1 << 20))
        .with("worker_kib", workers_bytes / order.workers as f64 / 1024.0)
}

/// Returns the memory of a process; of a page that n processes share it counts an nth.
fn proportional_bytes(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find(|line| line.starts_with("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    1024.0 * kib.and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}

/// Serves some items, prints its pid in a line, and then does nothing until stdin ends.
pub(crate) fn idle(order: &Order, say: impl Fn(&str)) -> Measured {
    let maker = Maker::new(order.bytes);
    let builder = Supervisor::builder().processes(order.workers);
    let _warm = Warm::start(builder, order.workers, 0, &maker);
    say(&format!("{{\"idle\":{}}}", std::process::id()));
    let mut rest = Vec::new();
    std::io::stdin()
        .read_to_end(&mut rest)
        .expect("stdin can be read");
    Measured::new("bytes", rest.len() as f64)
}
