//! Network devices end connections on which nothing is sent for a while.

use super::stage::{LONG_LEASE, check_books, join, put_items, queue, willing};
use crate::deadline::until;
use crate::proxy::Proxy;
use crate::redis_server::Server;

crate::timely_trials! {
    connections_that_are_cut_while_idle_are_opened_again_in_silence,
    a_cut_that_lasts_is_told,
}

/// Returns `true` if a fetcher waits in Redis for an item, and its supervisor for orders: neither is
/// opening a connection.
fn is_waited(server: &Server) -> bool {
    let clients = server.cli(&["client", "list"]);
    clients.contains("cmd=xreadgroup ") && clients.contains("cmd=xread ")
}

fn connections_that_are_cut_while_idle_are_opened_again_in_silence() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), LONG_LEASE);
    let pool = willing(&queue, 1);
    for round in 0..3 {
        until("all wait", || is_waited(&server));
        proxy.cut();
        queue.put(&format!("item {round}")).unwrap();
        // A join would open another connection, perhaps at the moment of the next cut.
        until("it is done", || {
            queue.counts().is_ok_and(|counts| counts.done == round + 1)
        });
    }
    let told = pool.notices.all();
    assert!(told.is_empty(), "it was never away: {told:?}");
    check_books(&server, 3, 0);
}

fn a_cut_that_lasts_is_told() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), LONG_LEASE);
    let pool = willing(&queue, 1);
    until("somebody waits", || is_waited(&server));
    proxy.refuse();
    pool.notices.await_one("is away");
    proxy.restore();
    put_items(&queue, 3);
    pool.notices.await_one("is back");
    assert_eq!(join(&queue).done, 3);
}
