//! All at once: supervisors are killed in turn while Redis is restarted, and a join waits for the
//! end.

use super::puppet::{Part, Puppet};
use super::stage::{SHORT_LEASE, check_books, number, queue};
use crate::deadline::until;
use crate::redis_server::{Options, Server};

crate::timely_trials! {
    thousands_of_items_survive_kills_of_everybody,
}

const ITEMS: u64 = 6_000;
const KILLS: usize = 6;

fn start(server: &Server, name: usize) -> Puppet {
    let part = Part::new(&format!("crew-{name}"), server.url(), SHORT_LEASE);
    part.workers(2).quiet().start()
}

fn thousands_of_items_survive_kills_of_everybody() {
    let server = Options::default().durable().start();
    let near = queue(server.url(), SHORT_LEASE);
    let mut pools = [0, 1, 2].map(|name| start(&server, name));
    let joiner = Part::new("joiner", server.url(), SHORT_LEASE)
        .workers(0)
        .start();
    joiner.await_line("ready");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ITEMS {
                near.put_unsynced("take 1").unwrap();
            }
            near.sync().unwrap();
            // Before that it may see a stream that is empty for a moment.
            joiner.tell("join");
        });
        for kill in 0..KILLS {
            let enough = kill as u64 * ITEMS / (KILLS as u64 + 1);
            until("some more are done", || done(&server) > enough);
            let victim = kill % pools.len();
            pools[victim].kill();
            pools[victim] = start(&server, victim);
            if kill == KILLS / 2 {
                server.restart();
            }
        }
    });
    assert_eq!(joiner.await_line("joined"), format!("{ITEMS} 0"));
    assert_eq!(near.join().unwrap().done, ITEMS);
    check_books(&server, ITEMS, 0);
}

/// Returns the number of done items. It is zero while Redis is away.
fn done(server: &Server) -> u64 {
    match server.try_cli(&["ping"]) {
        Ok(_) => number(server, &["hget", "{items}:meta", "done"]),
        Err(_) => 0,
    }
}
