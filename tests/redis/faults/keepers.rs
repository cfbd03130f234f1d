//! An administrator makes Redis forget its scripts, limits its clients, sets an eviction policy.

use std::net::TcpStream;

use dishrack::Options as QueueOptions;

use super::stage::{
    LONG_LEASE, Queue, STREAM, check_books, join, open, place, queue, serialized, willing,
};
use crate::deadline::until;
use crate::redis_server::{Options, Server};

crate::timely_trials! {
    what_is_taken_while_scripts_are_forgotten_is_worked_on_at_once,
    forgotten_scripts_are_loaded_again_in_silence,
    a_limit_of_clients_is_told_in_its_words,
    a_policy_that_evicts_is_warned_of,
    a_policy_that_evicts_nothing_as_memory_is_not_limited_is_fine,
}

/// Returns `true` if a fetcher waits in Redis for an item.
fn is_waited(server: &Server) -> bool {
    server.cli(&["client", "list"]).contains("cmd=xreadgroup ")
}

fn what_is_taken_while_scripts_are_forgotten_is_worked_on_at_once() {
    let server = Server::plain();
    // Maintenance would not find it: a third of this lease is longer than the test.
    let queue = queue(server.url(), LONG_LEASE);
    let pool = willing(&queue, 1);
    until("somebody waits", || is_waited(&server));
    server.cli(&["script", "flush"]);
    server.cli(&["xadd", STREAM, "*", "item", &serialized("item"), "n", "1"]);
    pool.await_begun(1);
    assert_eq!(join(&queue).done, 1);
    assert_eq!(pool.notices.all(), [""; 0], "it was never away");
    check_books(&server, 1, 0);
}

fn forgotten_scripts_are_loaded_again_in_silence() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let pool = willing(&queue, 2);
    for n in 1..=20 {
        server.cli(&["script", "flush"]);
        queue.put(&format!("item {n}")).unwrap();
    }
    assert_eq!(join(&queue).done, 20);
    assert_eq!(pool.notices.all(), [""; 0], "it was never away");
    check_books(&server, 20, 0);
}

fn a_limit_of_clients_is_told_in_its_words() {
    let server = Server::plain();
    let holder = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    until("it is let in", || {
        server.cli(&["client", "list"]).lines().count() == 2
    });
    server.cli(&["config", "set", "maxclients", "1"]);
    // Of many tries each may end before its answer is read.
    for _ in 0..20 {
        let refused = Queue::shared(&place(server.url()), QueueOptions::default());
        let words = refused.expect_err("nobody else is let in").to_string();
        assert!(words.contains("maxclients"), "{words}");
    }
    drop(holder);
}

fn a_policy_that_evicts_is_warned_of() {
    let limit = Options::default().line("maxmemory 100mb");
    let server = limit.line("maxmemory-policy allkeys-lru").start();
    let queue = open(&place(server.url()));
    let pool = willing(&queue, 1);
    pool.notices
        .await_one("maxmemory-policy is allkeys-lru, which deletes items");
}

fn a_policy_that_evicts_nothing_as_memory_is_not_limited_is_fine() {
    let server = Options::default()
        .line("maxmemory-policy allkeys-lru")
        .start();
    let queue = open(&place(server.url()));
    let pool = willing(&queue, 1);
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 1);
    assert_eq!(pool.notices.all(), [""; 0]);
}
