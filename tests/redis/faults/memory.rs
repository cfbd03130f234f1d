//! Redis is out of memory: calls that need more are refused clearly and at once, existing items can
//! be worked off, and with new memory all is as before.

use std::time::{Duration, Instant};

use dishrack::Error;

use super::stage::{
    LONG_LEASE, check_books, ends, held, join, open, place, pool, put_items, queue, willing,
};
use crate::deadline::DEADLINE;
use crate::redis_server::Server;

crate::timely_trials! {
    a_put_without_memory_fails_at_once_and_only_that,
    a_first_put_without_memory_fails_at_once_and_only_that,
    many_puts_without_memory_are_accepted_up_to_some_point,
    many_put_together_without_memory_are_each_given_back,
    what_is_there_is_worked_off_without_memory,
    a_death_is_written_down_without_memory,
    somebody_who_comes_without_memory_can_work_it_off,
}

const ALMOST_NOTHING: u64 = 1;

#[track_caller]
fn assert_no_memory(error: &Error, began: Instant) {
    let words = error.to_string();
    assert!(error.is_shared() && !error.is_full(), "{error:?}");
    for word in ["redis at 127.0.0.1", "out of memory", "maxmemory"] {
        assert!(words.contains(word), "{word:?} is not in: {words}");
    }
    // None of its timeout, five minutes, is used.
    assert!(began.elapsed() < Duration::from_secs(60), "{words}");
}

fn a_put_without_memory_fails_at_once_and_only_that() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    queue.put("before").unwrap();
    server.limit_memory(ALMOST_NOTHING);
    let began = Instant::now();
    let whole = "x".repeat(10_000);
    assert_no_memory(&queue.put(&whole).unwrap_err(), began);
    assert_no_memory(&queue.try_put(&whole).unwrap_err(), began);
    assert_no_memory(&queue.put_timeout(&whole, DEADLINE).unwrap_err(), began);
    server.limit_memory(0);
    queue.put("after").unwrap();
    let pool = willing(&queue, 1);
    assert_eq!(join(&queue).done, 2);
    assert_eq!(pool.began(), ["before", "after"]);
    assert_eq!(pool.notices.all(), [""; 0]);
    check_books(&server, 2, 0);
}

fn a_first_put_without_memory_fails_at_once_and_only_that() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    server.limit_memory(ALMOST_NOTHING);
    let began = Instant::now();
    for _ in 0..3 {
        assert_no_memory(&queue.put("item").unwrap_err(), began);
    }
    server.limit_memory(0);
    queue.put("item").unwrap();
    let _pool = willing(&queue, 1);
    assert_eq!(join(&queue).done, 1);
    check_books(&server, 1, 0);
}

fn many_puts_without_memory_are_accepted_up_to_some_point() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    queue.put("item").unwrap();
    server.limit_memory(ALMOST_NOTHING);
    let began = Instant::now();
    // One of them, or the sync after all, gets the error.
    let puts = (0..1000).try_for_each(|n| queue.put_unsynced(&format!("item {n}")).map(drop));
    let told = puts.and_then(|()| queue.sync()).unwrap_err();
    assert_no_memory(&told, began);
    server.limit_memory(0);
    // A put may have had the error, and a sync gets it once.
    let _ = queue.sync();
    queue.put_unsynced("another").unwrap();
    queue.sync().unwrap();
    let pool = willing(&queue, 1);
    assert_eq!(join(&queue).done, 2);
    assert_eq!(pool.began(), ["item", "another"]);
    check_books(&server, 2, 0);
}

fn many_put_together_without_memory_are_each_given_back() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    queue.put("before").unwrap();
    server.limit_memory(ALMOST_NOTHING);
    let began = Instant::now();
    let mut items = (0..10_000).map(|n| format!("item {n}"));
    let put = queue.put_many(items.by_ref());
    assert_eq!((put.accepted, put.is_cut_short), (0, true));
    assert!(put.lost.is_none() && items.next().is_some());
    for refused in &put.refused {
        assert_no_memory(&refused.error, began);
        assert_eq!(refused.item, format!("item {}", refused.index));
    }
    server.limit_memory(0);
    let again: Vec<String> = put.refused.into_iter().map(|one| one.item).collect();
    let count = queue.put_many(&again).into_result().unwrap();
    assert_eq!(count, again.len() as u64);
    let pool = willing(&queue, 1);
    assert_eq!(join(&queue).done, 1 + count);
    assert_eq!(pool.began()[1..], again);
    check_books(&server, 1 + count, 0);
}

fn what_is_there_is_worked_off_without_memory() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    put_items(&queue, 200);
    pool.await_begun(1);
    server.limit_memory(ALMOST_NOTHING);
    gate.open();
    assert_eq!(ends(&queue), (200, 0));
    assert_eq!(pool.notices.all(), [""; 0]);
    server.limit_memory(0);
    check_books(&server, 200, 0);
}

fn a_death_is_written_down_without_memory() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    queue.put("item").unwrap();
    server.limit_memory(ALMOST_NOTHING);
    let _pool = pool(&queue, 1, |_| Err("it has a crack".into()));
    assert_eq!(ends(&queue), (0, 1));
    assert_eq!(queue.dead_letters().unwrap()[0].history.len(), 3);
    server.limit_memory(0);
    check_books(&server, 0, 1);
}

fn somebody_who_comes_without_memory_can_work_it_off() {
    let server = Server::plain();
    let putter = queue(server.url(), LONG_LEASE);
    put_items(&putter, 10);
    server.limit_memory(ALMOST_NOTHING);
    let worker = open(&place(server.url()));
    let _pool = willing(&worker, 1);
    assert_eq!(join(&worker).done, 10);
    assert_eq!(join(&putter).done, 10);
    server.limit_memory(0);
    check_books(&server, 10, 0);
}
