//! Outside changes of the stream: entries that are no items, removed entries, a removed stream.

use std::time::Duration;

use dishrack::Error;

use super::stage::{
    LONG_LEASE, SHORT_LEASE, STREAM, check_books, ends, held, join, number, only_entry, put_items,
    queue, serialized, willing,
};
use crate::deadline::until;
use crate::redis_server::Server;

crate::timely_trials! {
    an_entry_of_another_client_is_worked_on,
    what_is_no_item_is_a_dead_letter_and_others_go_on,
    garbage_in_our_fields_is_no_obstacle,
    a_stream_that_is_deleted_in_mid_run_is_told,
    a_group_that_is_destroyed_in_mid_run_is_told,
    a_stream_that_becomes_something_else_is_told,
    a_held_entry_that_is_deleted_is_over,
    a_held_entry_that_is_deleted_and_fails_is_over,
    a_stream_that_is_trimmed_goes_on,
    an_entry_that_somebody_else_claims_is_his,
    a_stream_with_a_group_of_others_goes_on,
    two_items_of_the_same_number_are_two,
    a_place_for_the_result_that_is_none_is_no_obstacle,
    an_entry_of_very_many_fields_ends,
    a_stream_that_is_made_again_is_told_to_those_of_the_old_one,
    items_from_before_the_group_are_worked_on,
    an_item_that_somebody_acknowledges_by_hand_is_worked_on,
    the_items_of_a_consumer_that_somebody_deletes_are_worked_on,
}

fn an_entry_of_another_client_is_worked_on() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let pool = willing(&queue, 1);
    server.cli(&["xadd", STREAM, "*", "item", &serialized("cup")]);
    pool.await_begun(1);
    assert_eq!(join(&queue).done, 1);
    assert_eq!(pool.began(), ["cup"]);
    check_books(&server, 1, 0);
}

fn what_is_no_item_is_a_dead_letter_and_others_go_on() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let add = |fields: &[&str]| server.cli(&[&["xadd", STREAM, "*"], fields].concat());
    add(&["colour", "red"]);
    queue.put("one").unwrap();
    add(&["item", "\u{7f}too short for what it says"]);
    add(&["item", ""]);
    queue.put("two").unwrap();
    let pool = willing(&queue, 1);
    assert_eq!(ends(&queue), (2, 3));
    assert_eq!(pool.began(), ["one", "two"]);
    let letters = queue.raw_dead_letters().unwrap();
    let mut causes: Vec<String> = letters
        .iter()
        .map(|letter| letter.history.last().unwrap().cause.to_string())
        .collect();
    causes.sort();
    assert!(
        causes
            .iter()
            .all(|cause| cause.starts_with("does not decode: ")),
        "{causes:?}"
    );
    assert!(
        causes.iter().any(|cause| cause.contains("no field `item`")),
        "{causes:?}"
    );
    // Its fields are kept with the letter.
    let kept = server.cli(&["xrange", "{items}:dead", "-", "+"]);
    assert!(kept.contains("colour"), "{kept}");
    check_books(&server, 2, 3);
}

fn garbage_in_our_fields_is_no_obstacle() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let cup = serialized("cup");
    let garbage: [&[&str]; 5] = [
        &["n", "-7"],
        &["n", "many"],
        &["again", "no", "forgiven", "99999999999999999999"],
        &["reply", "", "index", "x"],
        &["item", "twice"],
    ];
    for fields in garbage {
        server.cli(&[&["xadd", STREAM, "*", "item", &cup], fields].concat());
    }
    let pool = willing(&queue, 1);
    assert_eq!(ends(&queue), (5, 0));
    assert_eq!(pool.began(), ["cup"; 5]);
    check_books(&server, 5, 0);
}

/// Changes the stream while an item is worked on and one waits, and expects a report.
fn told(act: impl FnOnce(&Server), words: &str) {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("one").unwrap();
    queue.put("two").unwrap();
    pool.await_begun(1);
    act(&server);
    gate.open();
    let said = |error: Error| {
        assert!(error.is_shared(), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    };
    said(queue.join().unwrap_err());
    said(queue.put("three").unwrap_err());
    pool.notices.await_one("failed: redis at");
}

fn a_stream_that_is_deleted_in_mid_run_is_told() {
    told(
        |server| assert_eq!(server.cli(&["del", STREAM]), "1"),
        "the stream was deleted",
    );
}

fn a_group_that_is_destroyed_in_mid_run_is_told() {
    told(
        |server| assert_eq!(server.cli(&["xgroup", "destroy", STREAM, "dishrack"]), "1"),
        "has forgotten stream items",
    );
}

fn a_stream_that_becomes_something_else_is_told() {
    told(
        |server| assert_eq!(server.cli(&["set", STREAM, "a string"]), "OK"),
        "is no stream",
    );
}

fn a_held_entry_that_is_deleted_is_over() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("one").unwrap();
    pool.await_begun(1);
    assert_eq!(server.cli(&["xdel", STREAM, &only_entry(&server)]), "1");
    queue.put("two").unwrap();
    gate.open();
    join(&queue);
    until("both are begun", || pool.began() == ["one", "two"]);
    join(&queue);
    assert!(!pool.notices.has("BUG"), "{:?}", pool.notices.all());
    assert_nothing_is_left(&server);
}

fn assert_nothing_is_left(server: &Server) {
    let pending = || server.cli(&["xpending", STREAM, "dishrack"]);
    until("nothing is pending", || pending().starts_with("0"));
    assert_eq!(number(server, &["xlen", STREAM]), 0);
    assert_eq!(
        number(server, &["hlen", "{items}:past"]),
        0,
        "no attempts are left"
    );
}

fn a_held_entry_that_is_deleted_and_fails_is_over() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    queue.put("one").unwrap();
    let delivery = queue.get().unwrap();
    assert_eq!(server.cli(&["xdel", STREAM, &only_entry(&server)]), "1");
    if let Err(error) = delivery.nack("it has a crack") {
        // Its maintenance has run in between.
        assert!(error.is_stale(), "{error}");
    }
    queue.put("two").unwrap();
    let pool = super::stage::pool(&queue, 1, |_| Err("it has a crack".into()));
    until("the other one is dead", || join(&queue).dead >= 1);
    assert!(!pool.notices.has("BUG"), "{:?}", pool.notices.all());
    assert_nothing_is_left(&server);
}

fn a_stream_that_is_trimmed_goes_on() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    let (pool, gate) = held(&queue);
    put_items(&queue, 10);
    pool.await_begun(1);
    server.cli(&["xtrim", STREAM, "maxlen", "=", "2"]);
    gate.open();
    join(&queue);
    queue.put("after").unwrap();
    until("the last one is begun", || {
        pool.began().iter().any(|item| item == "after")
    });
    join(&queue);
    assert!(!pool.notices.has("BUG"), "{:?}", pool.notices.all());
    assert_nothing_is_left(&server);
}

fn an_entry_that_somebody_else_claims_is_his() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("one").unwrap();
    pool.await_begun(1);
    let entry = only_entry(&server);
    server.cli(&["xclaim", STREAM, "dishrack", "ghost", "0", &entry]);
    gate.open();
    until("the word of who had it is refused", || {
        number(&server, &["hget", "{items}:meta", "refused"]) == 1
    });
    assert_eq!(only_entry(&server), entry, "it is there still");
    // The entry is acknowledged from outside, like by a supervisor, and deleted.
    server.cli(&["xack", STREAM, "dishrack", &entry]);
    server.cli(&["xdel", STREAM, &entry]);
    assert_eq!(queue.counts().unwrap().unfinished(), 0);
    queue.put("two").unwrap();
    assert_eq!(join(&queue).done, 1);
    check_books(&server, 1, 0);
}

fn a_stream_with_a_group_of_others_goes_on() {
    let server = Server::plain();
    // The stream existed before, with entries and readers of its own.
    server.cli(&["xadd", STREAM, "*", "item", &serialized("old")]);
    server.cli(&["xgroup", "create", STREAM, "others", "0"]);
    server.cli(&[
        "xreadgroup",
        "group",
        "others",
        "one",
        "streams",
        STREAM,
        ">",
    ]);
    let queue = queue(server.url(), LONG_LEASE);
    queue.put("new").unwrap();
    let pool = willing(&queue, 1);
    assert_eq!(join(&queue).done, 2);
    assert_eq!(pool.began(), ["old", "new"]);
    check_books(&server, 2, 0);
}

fn two_items_of_the_same_number_are_two() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let (pool, gate) = held(&queue);
    for name in ["one", "two", "three"] {
        server.cli(&["xadd", STREAM, "*", "item", &serialized(name), "n", "7"]);
    }
    pool.await_begun(1);
    gate.open();
    assert_eq!(ends(&queue), (3, 0));
    let mut began = pool.began();
    began.sort();
    assert_eq!(began, ["one", "three", "two"]);
    assert!(!pool.notices.has("BUG"), "{:?}", pool.notices.all());
}

fn a_place_for_the_result_that_is_none_is_no_obstacle() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    server.cli(&["set", "{items}:replies:somebody", "no stream"]);
    for place in [
        STREAM,
        "{items}:meta",
        "{items}:replies:somebody",
        "elsewhere",
    ] {
        let item = serialized("item");
        server.cli(&[
            "xadd", STREAM, "*", "item", &item, "reply", place, "index", "1",
        ]);
        server.cli(&["xadd", STREAM, "*", "reply", place, "index", "1"]);
    }
    let _pool = willing(&queue, 1);
    assert_eq!(ends(&queue), (4, 4));
    assert_eq!(server.cli(&["exists", "elsewhere"]), "0");
    assert_eq!(queue.raw_dead_letters().unwrap().len(), 4);
    check_books(&server, 4, 4);
}

fn an_entry_of_very_many_fields_ends() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let fields: Vec<String> = (0..5_000)
        .flat_map(|n| [format!("f{n}"), "v".into()])
        .collect();
    let mut add = vec!["xadd", STREAM, "*"];
    add.extend(fields.iter().map(String::as_str));
    server.cli(&add);
    // It is an item for nobody, but ends where somebody asks for one, and others go on.
    until("it has ended", || {
        let given = queue.get_timeout(Duration::from_millis(20));
        assert!(given.unwrap_err().is_empty());
        queue.counts().unwrap().dead == 1
    });
    let _pool = willing(&queue, 1);
    queue.put("one").unwrap();
    assert_eq!(ends(&queue), (1, 1));
    let id = queue.raw_dead_letters().unwrap()[0].id;
    assert!(queue.retry_dead_letter(id).unwrap());
    assert_eq!(ends(&queue), (1, 1));
}

fn a_stream_that_is_made_again_is_told_to_those_of_the_old_one() {
    let server = Server::plain();
    let old = queue(server.url(), LONG_LEASE);
    let (pool, gate) = held(&old);
    old.put("item").unwrap();
    pool.await_begun(1);
    assert_eq!(server.cli(&["del", STREAM]), "1");
    let new = queue(server.url(), LONG_LEASE);
    gate.open();
    let error = old.join().unwrap_err();
    assert!(
        error.is_shared() && error.to_string().contains("forgotten"),
        "{error}"
    );
    assert_eq!(join(&new).done, 0);
}

fn items_from_before_the_group_are_worked_on() {
    let server = Server::plain();
    for item in ["one", "two"] {
        server.cli(&["xadd", STREAM, "*", "item", &serialized(item)]);
    }
    server.cli(&["xgroup", "create", STREAM, "dishrack", "$"]);
    server.cli(&["xadd", STREAM, "*", "item", &serialized("three")]);
    let queue = queue(server.url(), SHORT_LEASE);
    let pool = willing(&queue, 1);
    assert_eq!(ends(&queue), (3, 0));
    let mut began = pool.began();
    began.sort();
    assert_eq!(began, ["one", "three", "two"]);
    check_books(&server, 3, 0);
}

fn an_item_that_somebody_acknowledges_by_hand_is_worked_on() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    let entry = only_entry(&server);
    assert_eq!(server.cli(&["xack", STREAM, "dishrack", &entry]), "1");
    gate.open();
    assert_eq!(ends(&queue), (1, 0));
    check_books(&server, 1, 0);
}

fn the_items_of_a_consumer_that_somebody_deletes_are_worked_on() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    put_items(&queue, 20);
    let (pool, gate) = held(&queue);
    pool.await_begun(1);
    let told = server.cli(&["xinfo", "consumers", STREAM, "dishrack"]);
    let consumer = told.lines().nth(1).unwrap();
    server.cli(&["xgroup", "delconsumer", STREAM, "dishrack", consumer]);
    gate.open();
    assert_eq!(ends(&queue), (20, 0));
    check_books(&server, 20, 0);
}
