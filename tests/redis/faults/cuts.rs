//! The connection to Redis is lost and comes back: every accepted item is done, once.

use std::time::Duration;

use super::stage::{
    Gate, LONG_LEASE, SHORT_LEASE, check_books, held, join, open, place, pool, put_items, queue,
    willing,
};
use crate::deadline::until;
use crate::proxy::Proxy;
use crate::redis_server::{Options, Server};
use crate::resp::{Client, Frame};

crate::timely_trials! {
    connections_that_are_cut_again_and_again_lose_nothing,
    a_redis_that_refuses_is_waited_for,
    a_redis_that_hangs_up_is_waited_for,
    a_redis_that_is_away_when_work_begins_is_waited_for,
    a_redis_that_stays_away_is_given_up,
    a_join_waits_out_a_cut,
    a_redis_with_too_many_clients_is_waited_for,
    a_password_that_is_changed_in_mid_run_is_told,
}

fn connections_that_are_cut_again_and_again_lose_nothing() {
    const CUTS: usize = 15;
    const ITEMS: usize = 20 * CUTS;
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), SHORT_LEASE);
    let pool = willing(&queue, 2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            put_items(&queue, ITEMS as u64);
        });
        for cut in 0..CUTS {
            pool.await_begun(cut * ITEMS / CUTS + 1);
            proxy.cut();
        }
    });
    let joined = join(&queue);
    assert_eq!((joined.done, joined.dead), (ITEMS as u64, 0));
    check_books(&server, ITEMS as u64, 0);
}

/// Changes the proxy while an item is worked on, others wait and one is put.
fn while_away(away: fn(&Proxy)) {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), Duration::from_secs(5));
    let (pool, gate) = held(&queue);
    for n in 1..=3 {
        queue.put(&format!("item {n}")).unwrap();
    }
    pool.await_begun(1);
    away(&proxy);
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put("item 4"));
        pool.notices.await_one("is away");
        // An item that is done now cannot be reported yet.
        gate.open();
        assert!(!pool.notices.has("is back"), "{:?}", pool.notices.all());
        proxy.restore();
        putter.join().unwrap().unwrap();
    });
    pool.notices.await_one("is back");
    assert_eq!(join(&queue).done, 4);
    check_books(&server, 4, 0);
}

fn a_redis_that_refuses_is_waited_for() {
    while_away(Proxy::refuse);
}

fn a_redis_that_hangs_up_is_waited_for() {
    while_away(Proxy::hang_up);
}

fn a_redis_that_is_away_when_work_begins_is_waited_for() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), LONG_LEASE);
    queue.put("item").unwrap();
    proxy.refuse();
    let pool = willing(&queue, 1);
    pool.notices.await_one("is away");
    proxy.restore();
    assert_eq!(join(&queue).done, 1);
    assert_eq!(pool.began(), ["item"]);
    check_books(&server, 1, 0);
}

fn a_redis_that_stays_away_is_given_up() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let place = place(proxy.url()).lease(SHORT_LEASE);
    let queue = open(&place.timeout(Duration::from_millis(300)));
    let gate = Gate::default();
    let own = gate.clone();
    let pool = pool(&queue, 1, move |_| {
        own.pass();
        Ok(())
    });
    queue.put("item").unwrap();
    pool.await_begun(1);
    proxy.refuse();
    let address = format!("127.0.0.1:{}", proxy.port());
    let refused = queue.put("another").unwrap_err();
    for error in [&refused, &queue.join().unwrap_err()] {
        let words = error.to_string();
        assert!(error.is_shared(), "{error:?}");
        assert!(words.contains("cannot be reached"), "{words}");
        assert!(words.contains(&address), "{words}");
    }
    pool.notices.await_one("failed: redis at");
    gate.open();
    drop((pool, queue));
    // Nothing was forgotten: a later supervisor gets it.
    let later = super::stage::queue(server.url(), SHORT_LEASE);
    let _pool = willing(&later, 1);
    assert_eq!(join(&later).done, 1);
    check_books(&server, 1, 0);
}

fn a_join_waits_out_a_cut() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let away = queue(proxy.url(), LONG_LEASE);
    let near = queue(server.url(), LONG_LEASE);
    let (pool, gate) = held(&near);
    away.put("item").unwrap();
    pool.await_begun(1);
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| join(&away));
        // It listens to the doorbell, on a connection of its own; the supervisor near by waits for orders
        // in the same way.
        until("the joiner listens", || {
            let clients = server.cli(&["client", "list"]);
            clients.matches("cmd=xread ").count() == 2
        });
        proxy.refuse();
        gate.open();
        join(&near);
        proxy.restore();
        assert_eq!(joiner.join().unwrap().done, 1);
    });
    check_books(&server, 1, 0);
}

fn a_redis_with_too_many_clients_is_waited_for() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    // Existing connections stay.
    let mut admin = Client::connect(server.port()).unwrap();
    limit_clients(&mut admin, "1");
    proxy.cut();
    gate.open();
    pool.notices.await_one("is away");
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put("another"));
        until("it is not let in several times", || {
            rejected(&mut admin) > 5
        });
        limit_clients(&mut admin, "1000");
        putter.join().unwrap().unwrap();
    });
    assert_eq!(join(&queue).done, 2);
    check_books(&server, 2, 0);
}

fn limit_clients(admin: &mut Client, clients: &str) {
    let set = ["config", "set", "maxclients", clients];
    assert_eq!(admin.call(&set).unwrap(), Frame::Text("OK".into()));
}

/// Returns the number of connections that were refused, because there were too many.
fn rejected(admin: &mut Client) -> u64 {
    let Frame::Text(told) = admin.call(&["info", "stats"]).unwrap() else {
        panic!("it says how it is");
    };
    let mut lines = told.lines();
    let count = lines.find_map(|line| line.strip_prefix("rejected_connections:"));
    count.unwrap().trim().parse().unwrap()
}

fn a_password_that_is_changed_in_mid_run_is_told() {
    let server = Options::default().password("secret").start();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    assert_eq!(server.cli(&["config", "set", "requirepass", "other"]), "OK");
    proxy.cut();
    gate.open();
    let error = queue.join().unwrap_err();
    let words = error.to_string();
    assert!(error.is_shared(), "{error:?}");
    assert!(words.contains("the password in the URL"), "{words}");
    assert!(!words.contains("secret"), "{words}");
    pool.notices.await_one("failed: redis at");
}
