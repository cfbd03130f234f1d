//! An item that is lost with its supervisor again and again: it may be the cause of their deaths.

use dishrack::Cause;

use super::puppet::Part;
use super::stage::{
    SHORT_LEASE, STREAM, check_books, ends, only_entry, queue, serialized, willing,
};
use crate::redis_server::Server;

crate::timely_trials! {
    an_item_that_was_lost_too_often_is_a_dead_letter,
    an_item_that_was_lost_once_less_is_worked_on,
    an_item_that_kills_its_supervisors_comes_to_an_end,
    being_tried_again_forgives_the_losses,
}

/// Makes a lost supervisor have had this entry so often.
fn had_by_a_ghost(server: &Server, entry: &str, deliveries: u64) {
    let read = [
        "xreadgroup",
        "group",
        "dishrack",
        "ghost",
        "count",
        "1",
        "streams",
        STREAM,
        ">",
    ];
    server.cli(&read);
    let claim = ["xclaim", STREAM, "dishrack", "ghost", "0", entry];
    let count = deliveries.to_string();
    let past = ["idle", "3600000", "retrycount", &count, "justid"];
    assert_eq!(server.cli(&[&claim[..], &past].concat()), entry);
}

fn an_item_that_was_lost_too_often_is_a_dead_letter() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    queue.put("deadly").unwrap();
    queue.put("harmless").unwrap();
    let entry = super::stage::entries(&server).remove(0);
    had_by_a_ghost(&server, &entry, 16);
    let pool = willing(&queue, 1);
    assert_eq!(ends(&queue), (1, 1));
    assert_eq!(pool.began(), ["harmless"]);
    let letters = queue.dead_letters().unwrap();
    assert_eq!(letters[0].payload, "deadly");
    let causes: Vec<&Cause> = letters[0].history.iter().map(|one| &one.cause).collect();
    assert_eq!(causes, [&Cause::LostTooOften(16)]);
    check_books(&server, 1, 1);
}

fn an_item_that_was_lost_once_less_is_worked_on() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    queue.put("item").unwrap();
    had_by_a_ghost(&server, &only_entry(&server), 15);
    let pool = willing(&queue, 1);
    assert_eq!(ends(&queue), (1, 0));
    assert_eq!(pool.began(), ["item"]);
    check_books(&server, 1, 0);
}

fn an_item_that_kills_its_supervisors_comes_to_an_end() {
    let server = Server::plain();
    let near = queue(server.url(), SHORT_LEASE);
    near.put("kill them").unwrap();
    let entry = only_entry(&server);
    let deliveries = || {
        let pending = server.cli(&["--json", "xpending", STREAM, "dishrack", "-", "+", "1"]);
        let rows: Vec<(String, String, u64, u64)> = serde_json::from_str(&pending).unwrap();
        rows[0].3
    };
    for death in 1..=2 {
        let mut puppet = Part::new("one", server.url(), SHORT_LEASE).start();
        puppet.await_end();
        assert_eq!(deliveries(), death, "each is a delivery");
    }
    // The state after many more of them.
    had_by_a_ghost(&server, &entry, 16);
    let last = Part::new("last", server.url(), SHORT_LEASE).start();
    assert_eq!(ends(&near), (0, 1));
    last.tell("put another");
    last.await_line("did another");
    let said = last.said();
    assert!(!last.has_said("began kill"), "{said:?}");
    assert_eq!(ends(&near), (1, 1));
    check_books(&server, 1, 1);
}

fn being_tried_again_forgives_the_losses() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    server.cli(&["xadd", STREAM, "*", "item", &serialized("item")]);
    had_by_a_ghost(&server, &only_entry(&server), 16);
    let pool = willing(&queue, 1);
    assert_eq!(ends(&queue), (0, 1));
    let id = queue.dead_letters().unwrap()[0].id;
    assert!(queue.retry_dead_letter(id).unwrap());
    pool.await_begun(1);
    assert_eq!(ends(&queue), (1, 0));
}
