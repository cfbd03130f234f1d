//! Queues in Redis: this project's beside a bare stream, each on a server of its own. Also their
//! cost while there is nothing to do, for `idle_cpu.py`.

use std::io::Read;
use std::process;
use std::time::{Duration, Instant};

use dishrack::{JoinableQueue, Options, RedisOptions, Supervisor};

use crate::item::{Item, Maker};
use crate::order::{Measured, Order};
use crate::pool::Warm;
use crate::raw_streams;
use crate::redis_server::Server;

pub(crate) fn throughput(order: &Order) -> Measured {
    let maker = Maker::new(order.bytes);
    let elapsed = match order.contender.as_str() {
        "dishrack" => dishrack(order, &maker),
        "raw" | "raw-socket" => raw_streams::throughput(order, &maker),
        _ => order.unknown(),
    };
    Measured::new("items/s", order.items as f64 / elapsed.as_secs_f64())
}

fn dishrack(order: &Order, maker: &Maker) -> Duration {
    let server = Server::start();
    let mut warm = warm(order, &server, maker);
    let began = Instant::now();
    warm.work(maker, order.items);
    began.elapsed()
}

/// Returns workers over a queue on this server, which end with it.
fn warm(order: &Order, server: &Server, maker: &Maker) -> Warm {
    let place = RedisOptions::new(server.url(), "items");
    let queue = JoinableQueue::<Item>::shared(&place, Options::default());
    let how = Supervisor::builder().processes(order.workers);
    Warm::on(
        queue.expect("the server is there"),
        how,
        order.workers,
        maker,
    )
}

/// Serves some items, reports the waiting processes and their servers in a line, and then does
/// nothing until stdin ends. `alone` is a server without any connection.
pub(crate) fn idle(order: &Order, say: impl Fn(&str)) -> Measured {
    let server = Server::start();
    let wait = |pids: &[u32]| {
        say(&format!(
            "{{\"idle\":{pids:?},\"server\":{}}}",
            server.pid()
        ));
        let mut rest = Vec::new();
        std::io::stdin()
            .read_to_end(&mut rest)
            .expect("stdin can be read");
    };
    match order.contender.as_str() {
        "alone" => wait(&[process::id()]),
        "dishrack" => {
            let warm = warm(order, &server, &Maker::new(order.bytes));
            let mut pids = warm.pids();
            pids.push(process::id());
            wait(&pids);
        }
        "raw" => raw_streams::idle(order, &server, wait),
        _ => order.unknown(),
    }
    Measured::new("servers", 1.0)
}
