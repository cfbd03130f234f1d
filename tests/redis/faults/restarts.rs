//! Redis is killed and started again: with its data, without, and with older data.

use super::stage::{
    LONG_LEASE, Queue, SHORT_LEASE, check_books, ends, entries, held, join, number, pool,
    put_items, queue, willing,
};
use crate::harness::backup::Backup;
use crate::redis_server::{Options, Server};

crate::timely_trials! {
    a_durable_redis_that_is_killed_again_and_again_loses_nothing,
    what_ended_while_redis_was_away_is_told_when_it_is_back,
    a_redis_that_forgot_is_told_to_whoever_puts,
    a_redis_that_forgot_is_told_to_whoever_joins,
    a_redis_that_forgot_is_told_to_whoever_waits_for_items,
    a_redis_that_forgot_does_not_begin_anew_by_itself,
    a_redis_with_an_older_state_is_told_and_goes_on,
}

fn a_durable_redis_that_is_killed_again_and_again_loses_nothing() {
    const KILLS: usize = 3;
    const ITEMS: usize = 50 * KILLS;
    let server = Options::default().durable().start();
    let queues = [(); 2].map(|()| queue(server.url(), SHORT_LEASE));
    let pools = queues.each_ref().map(|queue| willing(queue, 2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            put_items(&queues[0], ITEMS as u64);
        });
        for kill in 0..KILLS {
            crate::deadline::until("some more are begun", || {
                let begun: usize = pools.iter().map(|pool| pool.began().len()).sum();
                begun > kill * ITEMS / KILLS
            });
            server.restart();
        }
    });
    assert_eq!(queues.each_ref().map(ends), [(ITEMS as u64, 0); 2]);
    for pool in &pools {
        pool.notices.await_one("is away");
        pool.notices.await_one("is back");
        let notices = pool.notices.all();
        assert!(
            !notices.iter().any(|one| one.contains("older")),
            "{notices:?}"
        );
    }
    check_books(&server, ITEMS as u64, 0);
}

fn what_ended_while_redis_was_away_is_told_when_it_is_back() {
    let server = Options::default().durable().start();
    let queue = queue(server.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    server.kill();
    gate.open();
    pool.notices.await_one("is away");
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put("another"));
        server.restart();
        putter.join().unwrap().unwrap();
    });
    assert_eq!(join(&queue).done, 2);
    assert_eq!(pool.began(), ["item", "another"]);
    check_books(&server, 2, 0);
}

/// Puts an item that is worked on, and restarts the server without its data before `then`.
fn forget(then: impl FnOnce(&Server, &Queue)) {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    queue.put("waiting").unwrap();
    pool.await_begun(1);
    server.restart();
    then(&server, &queue);
    pool.notices.await_one("failed: redis at");
    pool.notices.await_one("has forgotten stream items");
    gate.open();
}

#[track_caller]
fn assert_forgotten<R: std::fmt::Debug>(result: Result<R, dishrack::Error>) {
    let error = result.expect_err("it is lost");
    let words = error.to_string();
    assert!(error.is_shared(), "{error:?}");
    for word in [
        "redis at 127.0.0.1",
        "has forgotten stream items",
        "put again",
    ] {
        assert!(words.contains(word), "{word:?} is not in: {words}");
    }
}

fn a_redis_that_forgot_is_told_to_whoever_puts() {
    forget(|_, queue| {
        assert_forgotten(queue.put("more"));
        // Other calls get the same answer.
        assert_forgotten(queue.try_put("more"));
        assert_forgotten(queue.counts());
        assert_forgotten(queue.join());
    });
}

fn a_redis_that_forgot_is_told_to_whoever_joins() {
    forget(|_, queue| assert_forgotten(queue.join()));
}

fn a_redis_that_forgot_is_told_to_whoever_waits_for_items() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    std::thread::scope(|scope| {
        let getter = scope.spawn(|| queue.get());
        crate::deadline::until("it waits", || {
            server.cli(&["client", "list"]).contains("cmd=xreadgroup")
        });
        server.restart();
        assert_forgotten(getter.join().unwrap());
    });
}

fn a_redis_that_forgot_does_not_begin_anew_by_itself() {
    forget(|server, queue| {
        assert_forgotten(queue.join());
        assert_eq!(server.cli(&["keys", "*"]), "", "nobody has put anything");
    });
    // A queue that is opened anew begins anew.
    let server = Server::plain();
    let old = queue(server.url(), LONG_LEASE);
    old.put("old").unwrap();
    server.restart();
    let new = queue(server.url(), LONG_LEASE);
    new.put("new").unwrap();
    // The stream is there, but it is another one.
    assert_forgotten(old.put("more"));
    let pool = willing(&new, 1);
    assert_eq!(join(&new).done, 1);
    assert_eq!(pool.began(), ["new"]);
    check_books(&server, 1, 0);
}

fn a_redis_with_an_older_state_is_told_and_goes_on() {
    let server = Options::default().durable().start();
    let queue = queue(server.url(), SHORT_LEASE);
    let pool = pool(&queue, 1, |_| Ok(()));
    let put = |name: &str| queue.put(&name.to_owned()).unwrap();
    put("kept");
    join(&queue);
    let backup = Backup::of(&server);
    for name in ["lost 1", "lost 2", "lost 3"] {
        put(name);
    }
    assert_eq!(ends(&queue), (4, 0));
    backup.comes_back_on(&server);
    pool.notices
        .await_one("has come back with an older state of items");
    // The work goes on, from there.
    put("after");
    assert_eq!(ends(&queue), (2, 0));
    assert_eq!(entries(&server), [""; 0]);
    assert!(!pool.notices.has("failed"), "{:?}", pool.notices.all());
    assert_eq!(number(&server, &["hget", "{items}:meta", "done"]), 2);
}
