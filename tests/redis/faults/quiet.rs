//! Waiting calls are told, and do not poll: Redis counts the calls.

use std::time::Duration;

use dishrack::{Capacity, Options};

use super::puppet::Part;
use super::stage::{
    LONG_LEASE, Queue, check_books, ends, held, join, let_pass, place, queue, willing,
};
use crate::deadline::{DEADLINE, until};
use crate::redis_server::Server;

crate::timely_trials! {
    who_waits_for_room_elsewhere_asks_nobody,
    an_idle_supervisor_asks_nobody,
    who_waits_for_the_end_asks_nobody,
    a_long_item_costs_only_renewals,
    who_has_nothing_held_needs_no_renewals,
}

/// A time in which a polling caller would ask often.
const A_WHILE: Duration = Duration::from_secs(2);

/// Returns the number of commands while nothing happens, counting scripts and their calls apart.
fn calls_in_a_while(server: &Server) -> u64 {
    assert_eq!(server.cli(&["config", "resetstat"]), "OK");
    let_pass(A_WHILE);
    let told = server.cli(&["info", "commandstats"]);
    let calls = told.lines().filter_map(|line| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        // The harness's own calls.
        let is_ours = !["config|resetstat", "info", "ping", "command|docs"].contains(&name);
        let calls: u64 = numbers.split(',').next()?.parse().ok()?;
        is_ours.then_some(calls)
    });
    calls.sum()
}

#[track_caller]
fn assert_quiet(server: &Server, at_most: u64) {
    let calls = calls_in_a_while(server);
    let told = server.cli(&["info", "commandstats"]);
    assert!(
        calls <= at_most,
        "{calls} calls in {A_WHILE:?}, {at_most} would do:\n{told}"
    );
}

fn bounded(url: String, bound: usize) -> Queue {
    let options = Options::default().capacity(Capacity::Bounded(bound));
    Queue::shared(&place(url).lease(LONG_LEASE), options).unwrap()
}

fn who_waits_for_room_elsewhere_asks_nobody() {
    let server = Server::plain();
    let [here, there] = [(); 2].map(|()| bounded(server.url(), 2));
    here.put("one").unwrap();
    there.put("two").unwrap();
    assert!(here.try_put("three").unwrap_err().is_full());
    std::thread::scope(|scope| {
        let putters: Vec<_> = ["three", "four", "five"]
            .map(|name| scope.spawn(|| here.put(&name.to_owned())))
            .into();
        until("they listen", || {
            server.cli(&["client", "list"]).contains("cmd=xread ")
        });
        assert_quiet(&server, 4);
        let is_waiting = || {
            putters
                .iter()
                .filter(|putter| !putter.is_finished())
                .count()
        };
        assert_eq!(is_waiting(), 3, "there is no room");
        // Room for one wakes one putter, whatever its source.
        for left in (0..3).rev() {
            there.get_timeout(DEADLINE).unwrap().task_done().unwrap();
            until("one has room", || is_waiting() == left);
            assert_eq!(here.len(), 2);
        }
        for putter in putters {
            putter.join().unwrap().unwrap();
        }
    });
    let _pool = willing(&there, 1);
    assert_eq!(ends(&here), (5, 0));
}

fn an_idle_supervisor_asks_nobody() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let _pool = willing(&queue, 2);
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 1);
    until("it waits for more", || {
        server.cli(&["client", "list"]).contains("cmd=xreadgroup")
    });
    assert_quiet(&server, 4);
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 2);
}

fn who_waits_for_the_end_asks_nobody() {
    let server = Server::plain();
    // It has no workers, and a process of its own.
    let joiner = Part::new("joiner", server.url(), LONG_LEASE)
        .workers(0)
        .start();
    joiner.await_line("ready");
    let near = queue(server.url(), LONG_LEASE);
    let (pool, gate) = held(&near);
    joiner.tell("put item");
    joiner.await_line("put 1");
    pool.await_begun(1);
    joiner.tell("join");
    std::thread::scope(|scope| {
        let here = scope.spawn(|| join(&near));
        // The supervisor near by waits for orders in the same way.
        until("both listen", || {
            let clients = server.cli(&["client", "list"]);
            clients.matches("cmd=xread ").count() == 3
        });
        assert_quiet(&server, 4);
        assert!(!joiner.has_said("joined") && !here.is_finished());
        gate.open();
        assert_eq!(here.join().unwrap().done, 1);
    });
    assert_eq!(joiner.await_line("joined"), "1 0");
    check_books(&server, 1, 0);
}

fn a_long_item_costs_only_renewals() {
    let server = Server::plain();
    let queue = queue(server.url(), Duration::from_secs(3));
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    // From the first renewal on its connection is there, and the scripts are.
    until("the lease is renewed", || {
        server
            .cli(&["info", "commandstats"])
            .contains("cmdstat_xclaim:")
    });
    // Two or three renewals, of some ten calls each: XPENDING, XCLAIM, XINFO and so on.
    assert_quiet(&server, 60);
    gate.open();
    assert_eq!(join(&queue).done, 1);
}

fn who_has_nothing_held_needs_no_renewals() {
    let server = Server::plain();
    let queue = queue(server.url(), Duration::from_millis(300));
    queue.put("item").unwrap();
    // It only puts, and has no workers.
    assert_quiet(&server, 0);
    let _pool = willing(&queue, 1);
    assert_eq!(join(&queue).done, 1);
    check_books(&server, 1, 0);
}
