//! A call is lost on its way to Redis, or its answer on the way back. It is repeated, without harm:
//! nothing is there twice, nothing counts twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dishrack::RedisOptions;

use super::stage::{
    LONG_LEASE, Queue, SHORT_LEASE, STREAM, check_books, ends, entries, held, join, number,
    numbers, only_entry, open, place, pool, queue, serialized, willing,
};
use crate::deadline::{DEADLINE, until};
use crate::proxy::Proxy;
use crate::redis_server::{Options, Server};
use crate::resp::{Client, Frame};

crate::timely_trials! {
    a_put_whose_reply_is_lost_adds_one_entry,
    a_put_whose_request_is_lost_adds_one_entry,
    a_put_whose_reply_is_lost_keeps_its_number,
    an_end_whose_reply_is_lost_counts_once,
    an_end_whose_request_is_lost_counts_once,
    a_failed_attempt_whose_reply_is_lost_is_one_attempt,
    a_death_whose_reply_is_lost_is_one_letter,
    a_letter_whose_taking_has_no_reply_is_handed_out,
    a_letter_whose_second_try_has_no_reply_is_said_to_have_one,
    a_result_whose_reply_is_lost_comes_once,
    items_whose_delivery_is_lost_are_found,
    items_given_back_whose_reply_is_lost_are_there_once,
    what_was_taken_over_and_lost_is_found,
    a_look_whose_reply_is_lost_is_made_again,
    calls_that_arrive_once_more_long_after_change_nothing,
}

/// Makes a proxy before the server, and a queue by it.
fn stage(server: &Server) -> (Proxy, Queue) {
    let proxy = Proxy::before(server);
    let queue = queue(proxy.url(), LONG_LEASE);
    (proxy, queue)
}

fn put_with_a_loss(lose: fn(&Proxy, &str)) {
    let server = Server::plain();
    let (proxy, queue) = stage(&server);
    queue.put("before").unwrap();
    // Only a put has this word, the name of the field.
    lose(&proxy, "item");
    queue.put("lost").unwrap();
    proxy.await_losses(1);
    queue.put("after").unwrap();
    assert_eq!(entries(&server).len(), 3);
    let pool = willing(&queue, 1);
    assert_eq!(ends(&queue), (3, 0));
    assert_eq!(pool.began(), ["before", "lost", "after"]);
    check_books(&server, 3, 0);
}

fn a_put_whose_reply_is_lost_adds_one_entry() {
    put_with_a_loss(Proxy::lose_reply_to);
}

fn a_put_whose_request_is_lost_adds_one_entry() {
    put_with_a_loss(Proxy::lose_request_of);
}

fn a_put_whose_reply_is_lost_keeps_its_number() {
    let server = Server::plain();
    let (proxy, queue) = stage(&server);
    let first = queue.put("one").unwrap();
    proxy.lose_reply_to("item");
    let lost = queue.put("two").unwrap();
    proxy.await_losses(1);
    let last = queue.put("three").unwrap();
    assert_eq!([lost.0, last.0], [first.0 + 1, first.0 + 2]);
    let told = [first, lost, last].map(|id| id.to_string());
    assert_eq!(numbers(&server), told);
    let _pool = willing(&queue, 1);
    assert_eq!(join(&queue).done, 3);
    check_books(&server, 3, 0);
}

fn end_with_a_loss(lose: fn(&Proxy, &str)) {
    let server = Server::plain();
    let (proxy, queue) = stage(&server);
    let (pool, gate) = held(&queue);
    queue.put("item").unwrap();
    pool.await_begun(1);
    // Only the word about its end has its name.
    lose(&proxy, &only_entry(&server));
    gate.open();
    proxy.await_losses(1);
    assert_eq!(ends(&queue), (1, 0));
    assert_eq!(queue.counts().unwrap().refused, 0);
    check_books(&server, 1, 0);
}

fn an_end_whose_reply_is_lost_counts_once() {
    end_with_a_loss(Proxy::lose_reply_to);
}

fn an_end_whose_request_is_lost_counts_once() {
    end_with_a_loss(Proxy::lose_request_of);
}

fn a_failed_attempt_whose_reply_is_lost_is_one_attempt() {
    let server = Server::plain();
    let (proxy, queue) = stage(&server);
    queue.put("item").unwrap();
    let delivery = queue.get_timeout(DEADLINE).unwrap();
    proxy.lose_reply_to(&only_entry(&server));
    delivery.nack("not yet").unwrap();
    proxy.await_losses(1);
    let past = || server.cli(&["hvals", "{items}:past"]);
    until("the attempt is known", || !past().is_empty());
    let again = queue.get_timeout(DEADLINE).unwrap();
    assert_eq!(again.attempt(), 2);
    // Another call was answered after it, so it was not only on its way.
    assert_eq!(queue.counts().unwrap().retries, 1);
    assert_eq!(past().lines().count(), 1, "{}", past());
    again.task_done().unwrap();
    assert_eq!(join(&queue).done, 1);
    check_books_without_results(&server);
}

/// Without a handler there are no results.
fn check_books_without_results(server: &Server) {
    assert_eq!(number(server, &["hget", "{items}:meta", "done"]), 1);
    assert_eq!(number(server, &["xlen", STREAM]), 0);
    assert_eq!(number(server, &["hlen", "{items}:past"]), 0);
}

fn a_death_whose_reply_is_lost_is_one_letter() {
    let server = Server::plain();
    let (proxy, queue) = stage(&server);
    // Only the last word on it has the cause as a word of its own.
    proxy.lose_reply_to("it has a crack");
    let pool = pool(&queue, 1, |_| Err("it has a crack".into()));
    queue.put("item").unwrap();
    proxy.await_losses(1);
    assert_eq!(ends(&queue), (0, 1));
    assert_eq!(pool.began().len(), 3);
    let letters = queue.dead_letters().unwrap();
    assert_eq!((letters.len(), letters[0].history.len()), (1, 3));
    check_books(&server, 0, 1);
}

/// Makes a queue by a proxy, with one dead letter.
fn with_a_letter(server: &Server) -> (Proxy, Queue) {
    let (proxy, queue) = stage(server);
    let pool = pool(&queue, 1, |_| Err("it has a crack".into()));
    queue.put("item").unwrap();
    assert_eq!(ends(&queue), (0, 1));
    pool.supervisor().stop();
    (proxy, queue)
}

/// Returns the name of the only letter, which only the call that takes it away has as a word of its own.
fn name_of_letter(server: &Server) -> String {
    let letter = server.cli(&["--raw", "xrange", "{items}:dead", "-", "+"]);
    letter.lines().next().unwrap().to_owned()
}

fn a_letter_whose_taking_has_no_reply_is_handed_out() {
    let server = Server::plain();
    let (proxy, queue) = with_a_letter(&server);
    proxy.lose_reply_to(&name_of_letter(&server));
    let letters = queue.take_dead_letters().unwrap();
    proxy.await_losses(1);
    assert_eq!(letters.len(), 1, "nobody else has it");
    assert_eq!(queue.take_dead_letters().unwrap().len(), 0);
}

fn a_letter_whose_second_try_has_no_reply_is_said_to_have_one() {
    let server = Server::plain();
    let (proxy, queue) = with_a_letter(&server);
    let id = queue.dead_letters().unwrap()[0].id;
    proxy.lose_reply_to(&name_of_letter(&server));
    assert!(queue.retry_dead_letter(id).unwrap());
    proxy.await_losses(1);
    assert_eq!(entries(&server).len(), 1);
    assert!(!queue.retry_dead_letter(id).unwrap());
}

fn a_result_whose_reply_is_lost_comes_once() {
    let server = Server::plain();
    let (proxy, near) = stage(&server);
    let far = queue(server.url(), LONG_LEASE);
    // Results of other supervisors come by a stream as well.
    let helper = willing(&far, 1);
    let (pool, gate) = held(&near);
    proxy.lose_reply_to(&serialized("item 3"));
    let items = (0..20).map(|n| format!("item {n}"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            helper.await_begun(1);
            gate.open();
        });
        let results = pool.supervisor().map(items.clone());
        let results: Vec<String> = results.map(Result::unwrap).collect();
        assert_eq!(results, items.clone().collect::<Vec<_>>());
    });
    proxy.await_losses(1);
    check_books(&server, 20, 0);
}

fn items_whose_delivery_is_lost_are_found() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = queue(proxy.url(), SHORT_LEASE);
    let pool = willing(&queue, 1);
    for n in 0..5 {
        // The wait that is under way may still be answered; the next one is not.
        proxy.lose_reply_to("xreadgroup");
        queue.put(&format!("item {n}")).unwrap();
        queue.put(&format!("item {n} too")).unwrap();
        proxy.await_losses(n + 1);
    }
    assert_eq!(join(&queue).done, 10);
    assert!(!pool.notices.has("BUG"), "{:?}", pool.notices.all());
    check_books(&server, 10, 0);
}

fn items_given_back_whose_reply_is_lost_are_there_once() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    // It gives back at its next maintenance, which must come after the proxy is armed.
    let lease = Duration::from_secs(6);
    let near = queue(proxy.url(), lease);
    near.put("item").unwrap();
    let entry = only_entry(&server);
    // It waits here for its second attempt, which is not made here.
    near.get_timeout(DEADLINE).unwrap().nack("not me").unwrap();
    until("the attempt is known", || {
        number(&server, &["hlen", "{items}:past"]) == 1
    });
    proxy.lose_reply_to(&entry);
    proxy.await_losses(1);
    let far = queue(server.url(), lease);
    let delivery = far.get_timeout(DEADLINE).unwrap();
    assert_eq!((&**delivery, delivery.attempt()), ("item", 2));
    assert_ne!(only_entry(&server), entry, "it was given back");
    // The lost call is repeated, and has nothing left to do.
    assert_eq!(near.counts().unwrap().refused, 0);
    delivery.task_done().unwrap();
    assert_eq!(join(&near).done, 1);
    check_books_without_results(&server);
}

fn what_was_taken_over_and_lost_is_found() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    // A number that nothing else has.
    let lease = Duration::from_millis(737);
    let place: RedisOptions = place(proxy.url()).lease(lease);
    let queue = open(&place);
    queue.put("item").unwrap();
    let ghost = [
        "xreadgroup",
        "group",
        "dishrack",
        "ghost",
        "streams",
        STREAM,
        ">",
    ];
    server.cli(&ghost);
    let pool = willing(&queue, 1);
    // The first call only begins; the next one looks for items that others left behind.
    proxy.lose_reply_to("737");
    proxy.await_losses(1);
    proxy.lose_reply_to("737");
    proxy.await_losses(2);
    assert_eq!(join(&queue).done, 1);
    assert_eq!(pool.began(), ["item"]);
    check_books(&server, 1, 0);
}

fn a_look_whose_reply_is_lost_is_made_again() {
    let server = Server::plain();
    let proxy = Proxy::before(&server);
    let queue = open(&place(proxy.url()).lease(Duration::from_secs(7373)));
    let pool = willing(&queue, 1);
    let asked = AtomicUsize::new(0);
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 1);
    std::thread::scope(|scope| {
        // A look names the lease, and no other call does when that is long.
        proxy.lose_reply_to("7373000");
        scope.spawn(|| {
            assert_eq!(queue.counts().unwrap().done, 1);
            asked.fetch_add(1, Ordering::Relaxed);
        });
        proxy.await_losses(1);
    });
    assert_eq!(asked.into_inner(), 1);
    // Another connection was available at once.
    assert_eq!(pool.notices.all(), [""; 0]);
    check_books(&server, 1, 0);
}

/// Returns the last calls of scripts, newest first, as they were sent to Redis.
fn last_calls(server: &Server) -> Vec<Vec<String>> {
    let said = server.cli(&["--json", "slowlog", "get", "-1"]);
    let calls: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
    let words = calls.iter().map(|call| {
        let words = call[3].as_array().unwrap().iter();
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    });
    let is_script = |words: &Vec<String>| words[0].eq_ignore_ascii_case("evalsha");
    words.filter(is_script).collect()
}

/// A network may deliver a call to Redis long after it was repeated on another connection.
fn calls_that_arrive_once_more_long_after_change_nothing() {
    let server = Options::default()
        .line("slowlog-log-slower-than 0")
        .line("slowlog-max-len 10000")
        .start();
    let queue = queue(server.url(), LONG_LEASE);
    for name in ["one", "two"] {
        queue.put(&name.to_owned()).unwrap();
    }
    for attempt in 1..=2 {
        let delivery = queue.get_timeout(DEADLINE).unwrap();
        delivery.nack("not yet").unwrap();
        // Each in a call of its own.
        assert_eq!(queue.counts().unwrap().retries, attempt);
    }
    let calls = last_calls(&server);
    let state = || {
        let keys = ["done", "retries", "refused"];
        let past = server.cli(&["hvals", "{items}:past"]);
        let told = keys.map(|key| number(&server, &["hget", "{items}:meta", key]));
        (past, told, entries(&server))
    };
    let before = state();
    assert_eq!(before.0.lines().count(), 2, "{before:?}");
    let mut client = Client::connect(server.port()).unwrap();
    let mut repeated = 0;
    for call in &calls {
        let has = |words: &str| call.iter().any(|word| word.contains(words));
        // Puts, and ends of attempts.
        if has("item") && (call.iter().any(|word| word == "item") || has("not yet")) {
            let words: Vec<&str> = call.iter().map(String::as_str).collect();
            let answer = client.call(&words).unwrap();
            assert!(matches!(answer, Frame::List(_)), "{call:?}: {answer:?}");
            assert_eq!(state(), before, "{call:?}");
            repeated += 1;
        }
    }
    assert_eq!(repeated, 4, "two puts and two failures: {calls:?}");
}
