//! A replica takes over: items that were accepted with `replicas` are there, and the work goes on.

use std::time::Duration;

use super::stage::{
    LONG_LEASE, Queue, SHORT_LEASE, check_books, ends, held, join, let_pass, number, open, place,
    put_items, queue, willing,
};
use crate::deadline::until;
use crate::proxy::Proxy;
use crate::redis_server::{Options, Server};

crate::timely_trials! {
    what_a_replica_has_is_not_lost_by_a_failover,
    a_put_waits_for_a_replica_that_is_away,
    a_replica_that_stays_away_is_given_up,
    a_put_that_is_made_again_waits_for_the_replica_too,
    an_end_counts_only_when_a_replica_has_it,
    a_replica_in_place_of_its_master_is_waited_for,
    a_failover_that_lost_something_is_told,
    a_failover_that_lost_something_of_ours_is_told_among_many_changes,
    a_put_that_no_replica_got_is_made_again_where_it_is_missing,
    a_master_that_becomes_a_replica_is_waited_for,
}

fn replica_of(master: &Server) -> Server {
    Options::default().replica_of(master).start()
}

/// Makes a queue that waits for one replica.
fn replicated(url: String, lease: Duration) -> Queue {
    open(&place(url).lease(lease).replicas(1))
}

/// Kills the master, and turns the proxy to the replica, which takes over.
fn fail_over(master: &Server, replica: &Server, proxy: &Proxy) {
    master.kill();
    assert_eq!(replica.cli(&["replicaof", "no", "one"]), "OK");
    proxy.turn_to(replica);
    proxy.cut();
}

fn what_a_replica_has_is_not_lost_by_a_failover() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let proxy = Proxy::before(&master);
    let queue = replicated(proxy.url(), SHORT_LEASE);
    let (pool, gate) = held(&queue);
    put_items(&queue, 50);
    pool.await_begun(1);
    fail_over(&master, &replica, &proxy);
    // It needs a replica of its own, because everything from now on must be on two servers.
    let second = replica_of(&replica);
    gate.open();
    queue.put("after").unwrap();
    assert_eq!(ends(&queue), (51, 0));
    assert!(!pool.notices.has("older"), "{:?}", pool.notices.all());
    check_books(&replica, 51, 0);
    until("the second one has it too", || {
        number(&second, &["hget", "{items}:meta", "done"]) == 51
    });
}

fn a_put_waits_for_a_replica_that_is_away() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let queue = replicated(master.url(), LONG_LEASE);
    let pool = willing(&queue, 1);
    replica.kill();
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put("item"));
        pool.notices
            .await_one("has 0 replicas that keep up, and 1 are to have what is told");
        assert!(!putter.is_finished(), "no replica has it");
        replica.restart();
        putter.join().unwrap().unwrap();
    });
    pool.notices
        .await_one("has enough replicas that keep up again");
    assert_eq!(join(&queue).done, 1);
    check_books(&master, 1, 0);
}

fn a_replica_that_stays_away_is_given_up() {
    let master = Server::plain();
    let place = place(master.url()).lease(LONG_LEASE).replicas(2);
    let queue = open(&place.timeout(Duration::from_millis(300)));
    let error = queue.put("item").unwrap_err();
    let words = error.to_string();
    assert!(error.is_shared(), "{error:?}");
    assert!(
        words.contains("has 0 replicas that keep up, and 2 are to have what is told"),
        "{words}"
    );
}

fn a_put_that_is_made_again_waits_for_the_replica_too() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let proxy = Proxy::before(&master);
    let queue = replicated(proxy.url(), LONG_LEASE);
    queue.put("before").unwrap();
    // It is connected, and gets nothing from now on.
    replica.stop();
    proxy.lose_reply_to("item");
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put("item"));
        proxy.await_losses(1);
        // The call is repeated on another connection, and changes nothing.
        until("the put waits for the replica", || {
            master.cli(&["client", "list"]).contains("cmd=wait ")
        });
        let_pass(Duration::from_millis(300));
        assert!(!putter.is_finished(), "the replica cannot have it");
        replica.cont();
        putter.join().unwrap().unwrap();
    });
    assert_eq!(replica.cli(&["xlen", "items"]), "2");
}

fn an_end_counts_only_when_a_replica_has_it() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let queue = replicated(master.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    replica.stop();
    gate.open();
    until("the end is told", || {
        number(&master, &["hget", "{items}:meta", "done"]) == 1
    });
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| join(&queue));
        pool.notices.await_one("has 0 replicas that keep up");
        assert!(!joiner.is_finished(), "no replica has it");
        replica.cont();
        assert_eq!(joiner.join().unwrap().done, 1);
    });
    assert_eq!(number(&replica, &["hget", "{items}:meta", "done"]), 1);
}

fn a_replica_in_place_of_its_master_is_waited_for() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let proxy = Proxy::before(&master);
    let queue = queue(proxy.url(), SHORT_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    until("the replica knows who has it", || {
        replica
            .cli(&["xpending", "items", "dishrack"])
            .starts_with("1")
    });
    // It is reached before it was told to take over: it takes no writes.
    proxy.turn_to(&replica);
    proxy.cut();
    gate.open();
    pool.notices.await_one("is away");
    until("it refuses what it is told", || {
        let told = replica.cli(&["info", "commandstats"]);
        let scripts = told
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha:"));
        scripts.is_some_and(|line| !line.contains("rejected_calls=0,failed_calls=0"))
    });
    assert_eq!(replica.cli(&["xlen", "items"]), "1");
    master.kill();
    assert_eq!(replica.cli(&["replicaof", "no", "one"]), "OK");
    queue.put("another").unwrap();
    assert_eq!(join(&queue).done, 2);
    assert!(!pool.notices.has("older"), "{:?}", pool.notices.all());
    check_books(&replica, 2, 0);
}

fn a_failover_that_lost_something_is_told() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let proxy = Proxy::before(&master);
    // This queue does not wait for the replica.
    let queue = queue(proxy.url(), SHORT_LEASE);
    let pool = willing(&queue, 1);
    queue.put("copied").unwrap();
    assert_eq!(join(&queue).done, 1);
    until("the replica knows that it is done", || {
        number(&replica, &["hget", "{items}:meta", "done"]) == 1
    });
    // The replica does not hear of items done now.
    assert_eq!(replica.cli(&["replicaof", "no", "one"]), "OK");
    queue.put("not copied").unwrap();
    assert_eq!(join(&queue).done, 2);
    fail_over(&master, &replica, &proxy);
    pool.notices
        .await_one("has come back with an older state of items");
    queue.put("after").unwrap();
    assert_eq!(ends(&queue), (2, 0));
    check_books(&replica, 2, 0);
}

/// Others have been faster, so that nothing seems to be missing.
fn a_failover_that_lost_something_of_ours_is_told_among_many_changes() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let proxy = Proxy::before(&master);
    let near = queue(proxy.url(), LONG_LEASE);
    near.put("copied").unwrap();
    until("the replica has it", || {
        replica.cli(&["xlen", "items"]) == "1"
    });
    assert_eq!(replica.cli(&["replicaof", "no", "one"]), "OK");
    near.put("not copied").unwrap();
    let others = queue(replica.url(), LONG_LEASE);
    put_items(&others, 20);
    let pool = willing(&near, 1);
    pool.await_begun(1);
    master.kill();
    proxy.turn_to(&replica);
    proxy.cut();
    pool.notices.await_one("it was told last is not there");
    assert_eq!(ends(&near), (21, 0));
}

/// The put is on the master alone when that dies, and its caller has no answer yet.
fn a_put_that_no_replica_got_is_made_again_where_it_is_missing() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let proxy = Proxy::before(&master);
    let queue = replicated(proxy.url(), LONG_LEASE);
    let pool = held(&queue);
    queue.put("before").unwrap();
    assert_eq!(replica.cli(&["replicaof", "no", "one"]), "OK");
    let second = replica_of(&replica);
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put("item"));
        pool.0.notices.await_one("has 0 replicas that keep up");
        assert_eq!(master.cli(&["xlen", "items"]), "2");
        master.kill();
        proxy.turn_to(&replica);
        proxy.cut();
        putter.join().unwrap().unwrap();
    });
    assert_eq!(replica.cli(&["xlen", "items"]), "2");
    assert_eq!(second.cli(&["xlen", "items"]), "2");
    pool.1.open();
    assert_eq!(join(&queue).done, 2);
}

/// Waiting calls are thrown out, and nothing is forgotten.
fn a_master_that_becomes_a_replica_is_waited_for() {
    let master = Server::plain();
    let replica = replica_of(&master);
    let proxy = Proxy::before(&master);
    let queue = queue(proxy.url(), LONG_LEASE);
    let pool = willing(&queue, 1);
    queue.put("one").unwrap();
    assert_eq!(join(&queue).done, 1);
    until("the fetcher waits", || {
        master.cli(&["client", "list"]).contains("cmd=xreadgroup")
    });
    until("the replica knows that it is done", || {
        number(&replica, &["hget", "{items}:meta", "done"]) == 1
    });
    assert_eq!(replica.cli(&["replicaof", "no", "one"]), "OK");
    let port = replica.port().to_string();
    assert_eq!(master.cli(&["replicaof", "127.0.0.1", &port]), "OK");
    pool.notices.await_one("is away");
    proxy.turn_to(&replica);
    proxy.cut();
    queue.put("two").unwrap();
    assert_eq!(ends(&queue), (2, 0));
}
