//! All at once, for longer: supervisors that are killed every second while Redis is restarted.

use std::time::{Duration, Instant};

use super::puppet::{Part, Puppet};
use super::stage::{SHORT_LEASE, check_books, number, queue};
use crate::patience::until;
use crate::redis_server::{Options, Server};

crate::timely_trials! {
    twenty_thousand_items_survive_kills_every_second_and_a_restart,
}

const ITEMS: u64 = 20_000;

fn start(server: &Server, name: usize) -> Puppet {
    let part = Part::new(&format!("crew-{name}"), server.url(), SHORT_LEASE);
    part.workers(2).quiet().start()
}

fn twenty_thousand_items_survive_kills_every_second_and_a_restart() {
    let server = Options::default().durable().start();
    let near = queue(server.url(), SHORT_LEASE);
    let mut crews = [0, 1, 2].map(|name| start(&server, name));
    let joiner = Part::new("joiner", server.url(), SHORT_LEASE)
        .workers(0)
        .start();
    joiner.await_line("ready");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ITEMS {
                // So long that there is something to kill for some seconds.
                near.put_unsynced(&"take 1".to_owned()).unwrap();
            }
            near.sync().unwrap();
        });
        until("some are done", || done(&server) > 100);
        joiner.tell("join");
        let mut kills = 0;
        while done(&server) < ITEMS - 1000 {
            let began = Instant::now();
            let victim = kills % crews.len();
            crews[victim].kill();
            kills += 1;
            crews[victim] = start(&server, victim);
            if kills == 3 {
                server.restart();
            }
            // The pace of the kills, and no more.
            std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
        }
        assert!(kills >= 3, "{kills} kills");
    });
    assert_eq!(joiner.await_line("joined"), format!("{ITEMS} 0"));
    assert_eq!(near.join().unwrap().done, ITEMS);
    check_books(&server, ITEMS, 0);
}

/// How many are done. None are known while Redis is away.
fn done(server: &Server) -> u64 {
    match server.try_cli(&["hget", "{items}:meta", "done"]) {
        Ok(_) => number(server, &["hget", "{items}:meta", "done"]),
        Err(_) => 0,
    }
}
