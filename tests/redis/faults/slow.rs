//! Nothing gets through for a while, or everything takes long: shorter than the lease, and longer.

use std::time::Duration;

use super::stage::{
    LONG_LEASE, SHORT_LEASE, check_books, ends, held, join, let_pass, pool, put_items, queue,
    willing,
};
use crate::deadline::{DEADLINE, until};
use crate::proxy::Proxy;
use crate::redis_server::Server;

crate::timely_trials! {
    timeouts_hold_while_redis_is_away,
    a_black_hole_within_the_lease_is_not_noticed,
    a_black_hole_that_never_gives_back_is_noticed,
    a_server_that_stands_still_within_the_lease_is_not_noticed,
    a_server_that_stands_still_beyond_the_lease_loses_nothing,
    a_queue_may_be_dropped_while_nobody_answers,
    a_queue_may_be_dropped_while_nobody_listens,
    a_slow_network_loses_nothing,
    a_network_slower_than_the_lease_loses_nothing,
}

/// Stops the traffic for a while, as one item is worked on, one waits, and one is put.
fn not_noticed(stop: impl FnOnce(&Server, &Proxy), cont: impl FnOnce(&Server, &Proxy)) {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("one").unwrap();
    queue.put("two").unwrap();
    pool.await_begun(1);
    stop(&server, &proxy);
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put("three"));
        gate.open();
        let_pass(Duration::from_millis(300));
        assert!(!putter.is_finished(), "nobody can have accepted it");
        cont(&server, &proxy);
        putter.join().unwrap().unwrap();
    });
    assert_eq!(join(&queue).done, 3);
    assert_eq!(pool.began(), ["one", "two", "three"]);
    assert_eq!(queue.counts().unwrap().refused, 0);
    check_books(&server, 3, 0);
}

fn a_black_hole_within_the_lease_is_not_noticed() {
    not_noticed(|_, proxy| proxy.black_hole(), |_, proxy| proxy.restore());
}

fn a_server_that_stands_still_within_the_lease_is_not_noticed() {
    not_noticed(|server, _| server.stop(), |server, _| server.cont());
}

fn a_black_hole_that_never_gives_back_is_noticed() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), SHORT_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    proxy.black_hole();
    gate.open();
    // Only the timeout shows that no answer comes.
    pool.notices.await_one("is away");
    // Calls in the network are gone for good.
    proxy.cut();
    proxy.restore();
    pool.notices.await_one("is back");
    assert_eq!(ends(&queue), (1, 0));
    check_books(&server, 1, 0);
}

fn a_server_that_stands_still_beyond_the_lease_loses_nothing() {
    const ITEMS: u64 = 60;
    let server = Server::plain();
    let queues = [(); 2].map(|()| queue(server.url(), SHORT_LEASE));
    let pools = queues.each_ref().map(|queue| {
        pool(queue, 2, |_| {
            let_pass(Duration::from_millis(20));
            Ok(())
        })
    });
    put_items(&queues[0], ITEMS);
    let begun = || pools.iter().map(|pool| pool.began().len()).sum::<usize>();
    until("they are at it", || begun() > 10);
    server.stop();
    let_pass(2 * SHORT_LEASE);
    server.cont();
    assert_eq!(queues.each_ref().map(ends), [(ITEMS, 0); 2]);
    check_books(&server, ITEMS, 0);
}

/// Drops a queue with an item while Redis is away; others get the item.
fn dropped_while(away: fn(&Proxy)) {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let far = queue(proxy.url(), SHORT_LEASE);
    far.put("item").unwrap();
    let delivery = far.get_timeout(DEADLINE).unwrap();
    away(&proxy);
    // The report cannot arrive any more.
    delivery.task_done().unwrap();
    drop(far);
    let near = queue(server.url(), SHORT_LEASE);
    let pool = willing(&near, 1);
    assert_eq!(ends(&near), (1, 0));
    assert_eq!(pool.began(), ["item"]);
    check_books(&server, 1, 0);
}

fn a_queue_may_be_dropped_while_nobody_answers() {
    dropped_while(Proxy::black_hole);
}

fn a_queue_may_be_dropped_while_nobody_listens() {
    dropped_while(Proxy::refuse);
}

/// Puts one supervisor behind a slow network.
fn with_delay(delay: Duration, lease: Duration) {
    const ITEMS: u64 = 40;
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    proxy.delay(delay, delay);
    let far = queue(proxy.url(), lease);
    let near = queue(server.url(), lease);
    let slow = willing(&far, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..ITEMS / 2 {
                near.put(&format!("near {n}")).unwrap();
            }
        });
        for n in 0..ITEMS / 2 {
            far.put_unsynced(&format!("far {n}")).unwrap();
        }
        far.sync().unwrap();
    });
    slow.await_begun(1);
    let quick = willing(&near, 1);
    assert_eq!([ends(&far), ends(&near)], [(ITEMS, 0); 2]);
    for pool in [&slow, &quick] {
        assert!(!pool.notices.has("BUG"), "{:?}", pool.notices.all());
    }
    check_books(&server, ITEMS, 0);
}

fn a_slow_network_loses_nothing() {
    with_delay(Duration::from_millis(20), LONG_LEASE);
}

fn a_network_slower_than_the_lease_loses_nothing() {
    with_delay(Duration::from_millis(250), Duration::from_millis(200));
}

/// Its timeout is longer than this test may last.
fn timeouts_hold_while_redis_is_away() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), LONG_LEASE);
    queue.put("item").unwrap();
    let short = Duration::from_millis(20);
    let delivery = queue.get_timeout(crate::deadline::DEADLINE).unwrap();
    proxy.refuse();
    proxy.cut();
    assert!(queue.get_timeout(short).unwrap_err().is_empty());
    assert!(queue.try_get().unwrap_err().is_empty());
    assert!(queue.join_timeout(short).unwrap_err().is_timeout());
    proxy.restore();
    delivery.task_done().unwrap();
    assert_eq!(join(&queue).done, 1);
}
