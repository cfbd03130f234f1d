//! Every contender of this program once, with few items: each checks by itself that all are done.

use nix::unistd::alarm;

use crate::measure;
use crate::order::Order;
use crate::redis_server;

/// Row, contender, workers, items, bytes of an item.
const ALL: &[(&str, &str, usize, usize, usize)] = &[
    ("throughput", "dishrack", 2, 500, 100),
    ("throughput", "dishrack-map", 2, 500, 100),
    ("throughput", "dishrack-many", 2, 500, 100),
    ("throughput", "dishrack-threads", 2, 500, 100),
    ("throughput", "ipc-channel", 2, 500, 100),
    ("throughput", "crossbeam", 2, 500, 100),
    ("throughput", "crossbeam-acks", 2, 500, 100),
    ("producers", "dishrack", 2, 501, 100),
    ("producers", "dishrack-many", 2, 501, 100),
    ("getters", "dishrack", 1, 500, 100),
    ("getters", "dishrack-many", 1, 500, 100),
    ("getters", "dishrack-loop", 2, 500, 100),
    ("getters", "dishrack-loop-many", 2, 500, 100),
    ("round-trip", "crossbeam", 1, 50, 100),
    ("round-trip", "dishrack", 1, 50, 100),
    ("round-trip", "dishrack-loop", 1, 50, 100),
    ("round-trip", "dishrack-threads", 1, 50, 100),
    ("round-trip", "ipc-channel", 1, 50, 100),
    ("round-trip", "ipc-channel-polling", 1, 50, 100),
    ("large", "dishrack", 2, 8, 1 << 20),
    ("large", "dishrack-loop", 2, 8, 1 << 20),
    ("large", "dishrack-threads", 2, 8, 1 << 20),
    ("large", "ipc-channel", 2, 8, 1 << 20),
    ("large", "ipc-channel-shared", 2, 8, 1 << 20),
    ("large", "memcpy", 1, 8, 1 << 20),
    ("journal", "dishrack-none", 2, 500, 100),
    ("journal", "dishrack-normal", 2, 500, 100),
    ("journal", "dishrack-full", 2, 500, 100),
    ("start", "dishrack-spawn", 4, 4, 0),
    ("start", "dishrack-fork", 4, 4, 0),
    ("start-many", "dishrack-spawn", 4, 4, 0),
    ("start-many", "dishrack-fork", 4, 4, 0),
    ("start-many", "posix-spawn", 4, 4, 0),
    ("commands", "posix-spawn", 2, 5, 0),
    ("busy", "dishrack", 2, 20, 0),
    ("busy", "dishrack-threads", 2, 20, 0),
    ("mixed", "dishrack", 2, 5, 0),
    ("hedging", "dishrack-single", 2, 30, 0),
    ("hedging", "dishrack-p95", 2, 30, 0),
    ("hedging", "dishrack-delay", 2, 30, 0),
    ("hedging", "dishrack-pressing", 2, 30, 0),
    ("waiting", "dishrack", 1, 500, 100),
    ("drain", "dishrack", 2, 500, 8),
    ("drain", "dishrack-threads", 2, 500, 8),
    ("keys", "plain", 2, 500, 8),
    ("keys", "keys", 2, 500, 8),
    ("keys", "keys-8", 2, 500, 8),
    ("scale", "dishrack-spawn", 8, 80, 100),
    ("scale", "dishrack-fork", 8, 80, 100),
    ("redis", "dishrack", 2, 500, 100),
    ("redis", "raw", 2, 500, 100),
    ("redis", "raw-socket", 2, 500, 100),
];

pub(crate) fn run() -> Result<(), String> {
    let is_served = redis_server::is_installed();
    let has_journal = cfg!(feature = "journal");
    let chosen = ALL.iter().filter(|one| match one.0 {
        "redis" => is_served,
        "journal" => has_journal,
        _ => true,
    });
    let mut count = 0;
    for &(row, contender, workers, items, bytes) in chosen {
        let mut order = Order::new(row, contender);
        (order.workers, order.items, order.bytes) = (workers, items, bytes);
        (order.batch, order.hang_ms, order.producers) = (16, 100, 4);
        order.bound = if row == "large" { 4 } else { 0 };
        alarm::set(order.limit_s);
        let measured = measure(&order);
        if !measured.value.is_finite() {
            return Err(format!("{row} {contender}: {measured:?}"));
        }
        count += 1;
    }
    if !is_served {
        println!("there is no redis-server: without those who need one");
    }
    println!("{count} contenders have done their items");
    Ok(())
}
