//! Several supervisors on one stream: results go to their callers, once, and the items that one
//! leaves are there for others at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{
    Copies, Error, ItemError, ItemId, JoinableQueue, Options, PutOptions, RedisOptions, Supervisor,
};

use super::puppet::Part;
use super::stage::{
    LONG_LEASE, SHORT_LEASE, STREAM, check_books, ends, held, join, only_entry, place, pool,
    put_items, queue, willing,
};
use crate::deadline::{DEADLINE, until};
use crate::redis_server::Server;

crate::timely_trials! {
    a_map_over_two_supervisors_has_each_result_once_in_its_place,
    a_death_elsewhere_is_a_maps_answer_too,
    a_map_goes_on_when_the_supervisor_that_worked_for_it_is_killed,
    a_dropped_queue_gives_back_what_it_holds_at_once,
    a_stopped_pool_gives_back_what_it_has_not_begun,
    results_are_kept_up_to_some_number,
    a_map_whose_items_somebody_deletes_ends,
    a_map_goes_on_with_the_workers_of_others,
    an_observer_is_told_of_what_is_put_here_and_of_nothing_else,
    a_lease_is_the_streams,
    a_lease_is_not_shortened_under_who_renews_seldom,
    inline_work_makes_room_for_what_is_put_in_advance,
    copies_are_refused_wherever_they_are_asked_for,
    orders_and_relations_are_refused_wherever_they_are_asked_for,
}

fn a_map_over_two_supervisors_has_each_result_once_in_its_place() {
    let server = Server::plain();
    let [near, far] = [(); 2].map(|()| queue(server.url(), LONG_LEASE));
    let (mapper, gate) = held(&near);
    let helper = willing(&far, 1);
    let items: Vec<String> = (0..500).map(|n| format!("item {n}")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Both take part in it.
            helper.await_begun(5);
            gate.open();
        });
        let results = mapper.supervisor().map(items.clone());
        let results: Vec<String> = results.map(Result::unwrap).collect();
        assert_eq!(results, items);
    });
    assert_eq!(join(&near).done, 500);
    check_books(&server, 500, 0);
    // The results are not read any more.
    drop((mapper, near));
    let replies = server.cli(&["--scan", "--pattern", "*replies*"]);
    for key in replies.lines() {
        let ttl: i64 = server.cli(&["ttl", key]).parse().unwrap();
        assert!(ttl > 0, "{key} is kept for ever");
    }
}

fn a_death_elsewhere_is_a_maps_answer_too() {
    let server = Server::plain();
    let [near, far] = [(); 2].map(|()| queue(server.url(), LONG_LEASE));
    let (mapper, gate) = held(&near);
    // An item that the mapper takes stays there until the other one has met its own.
    let helper = pool(&far, 1, |item| Err(format!("{item} has a crack")));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("one is dead", || {
                far.counts().is_ok_and(|counts| counts.dead > 0)
            });
            gate.open();
        });
        let items = ["one", "two", "three", "four"].map(str::to_owned);
        let results = mapper.supervisor().map(items.clone());
        let mut dead = 0;
        for (item, result) in items.iter().zip(results) {
            match result {
                Ok(result) => assert_eq!(result, *item),
                Err(ItemError::Dead { history, .. }) => {
                    dead += 1;
                    assert_eq!(history.len(), 3);
                    assert_eq!(history[2].cause.to_string(), format!("{item} has a crack"));
                }
                Err(error) => panic!("{item}: {error}"),
            }
        }
        assert!(dead > 0 && helper.began().len() >= 3 * dead);
    });
}

fn a_map_goes_on_when_the_supervisor_that_worked_for_it_is_killed() {
    let server = Server::plain();
    let near = queue(server.url(), SHORT_LEASE);
    let (mapper, gate) = held(&near);
    let mut helper = Part::new("helper", server.url(), SHORT_LEASE)
        .workers(2)
        .start();
    helper.await_line("ready");
    let items = vec!["take 5".to_owned(); 200];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..10 {
                helper.await_line("began take");
            }
            helper.kill();
            gate.open();
        });
        let results = mapper.supervisor().map(items.clone());
        let results: Vec<String> = results.map(Result::unwrap).collect();
        assert_eq!(results, items);
    });
    assert_eq!(ends(&near), (200, 0));
    check_books(&server, 200, 0);
}

fn a_dropped_queue_gives_back_what_it_holds_at_once() {
    let server = Server::plain();
    // Only a returned item can be had before the test is over.
    let [near, far] = [(); 2].map(|()| queue(server.url(), LONG_LEASE));
    put_items(&near, 3);
    let delivery = near.get_timeout(DEADLINE).unwrap();
    delivery.nack("not here").unwrap();
    drop(near);
    let pool = willing(&far, 1);
    assert_eq!(ends(&far), (3, 0));
    let began: BTreeSet<String> = pool.began().into_iter().collect();
    assert_eq!(began.len(), 3);
    assert_eq!(far.counts().unwrap().retries, 1);
    let consumers = server.cli(&["xinfo", "consumers", STREAM, "dishrack"]);
    assert_eq!(
        consumers.matches("name").count(),
        1,
        "who has left is forgotten: {consumers}"
    );
    check_books(&server, 3, 0);
}

fn a_stopped_pool_gives_back_what_it_has_not_begun() {
    let server = Server::plain();
    let [near, far] = [(); 2].map(|()| queue(server.url(), Duration::from_secs(6)));
    let (pool, gate) = held(&near);
    put_items(&near, 20);
    pool.await_begun(1);
    let helper = willing(&far, 1);
    std::thread::scope(|scope| {
        // It finishes its current item, and no more.
        scope.spawn(|| pool.supervisor().stop());
        scope.spawn(|| {
            helper.await_begun(1);
            gate.open();
        });
    });
    assert_eq!(ends(&far), (20, 0));
    assert_eq!(ends(&near), (20, 0));
    assert_eq!(
        far.counts().unwrap().retries,
        0,
        "none of them was an attempt"
    );
    check_books(&server, 20, 0);
}

fn results_are_kept_up_to_some_number() {
    let server = Server::plain();
    let place = place(server.url()).results(10);
    let queue = super::stage::open(&place);
    let _pool = willing(&queue, 1);
    for n in 0..1000 {
        queue.put_unsynced(&format!("item {n}")).unwrap();
    }
    queue.sync().unwrap();
    assert_eq!(join(&queue).done, 1000);
    // Redis drops them by whole nodes, of a hundred entries each.
    let kept = super::stage::number(&server, &["xlen", "{items}:results"]);
    assert!((10..=210).contains(&kept), "{kept}");
}

/// The numbers of the items that were told of as put.
#[derive(Debug, Default)]
struct Puts(Mutex<Vec<u64>>);

impl Observer for Puts {
    fn wants_puts(&self) -> bool {
        true
    }

    fn observe(&self, event: Event) {
        if let EventKind::Put { id, .. } = event.kind {
            self.0.lock().unwrap().push(id.0);
        }
    }
}

fn an_observer_is_told_of_what_is_put_here_and_of_nothing_else() {
    let server = Server::plain();
    let [near, far] = [(); 2].map(|()| queue(server.url(), LONG_LEASE));
    let puts = Arc::<Puts>::default();
    near.set_observer(puts.clone()).unwrap();
    let put = |queue: &JoinableQueue<String>| queue.put(&"a".to_owned()).unwrap();
    put(&near);
    put(&far);
    near.put_unsynced(&"b".to_owned()).unwrap();
    near.put_unsynced(&"c".to_owned()).unwrap();
    near.sync().unwrap();
    put(&far);
    // What is taken, tried again and given up on is not put again.
    let worker = Supervisor::builder()
        .threads(1)
        .observer(puts.clone())
        .handler(&near, |item: String| -> Result<String, String> {
            Err(format!("{item} has a crack"))
        });
    let worker = worker.unwrap();
    assert_eq!(join(&near).dead, 5);
    assert!(near.retry_dead_letter(ItemId(1)).unwrap());
    assert_eq!(join(&near).dead, 5);
    drop(worker);
    assert_eq!(*puts.0.lock().unwrap(), [1, 3, 4]);
}

fn a_lease_is_the_streams() {
    let server = Server::plain();
    let first = queue(server.url(), Duration::from_secs(60));
    first.put("item").unwrap();
    let _held = first.get_timeout(DEADLINE).unwrap();
    // A supervisor with another lease would take over early the items that are renewed seldom.
    let other = place(server.url()).lease(SHORT_LEASE);
    let refused = dishrack::JoinableQueue::<String>::shared(&other, dishrack::Options::default());
    let error = refused.unwrap_err();
    assert!(error.is_shared() && error.is_setup(), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("another lease by 1 supervisors"), "{words}");
    assert_eq!(server.cli(&["hget", "{items}:meta", "lease"]), "60000");
    only_entry(&server);
}

/// The supervisor was silent for longer than the new lease, and is at work all the same.
fn a_lease_is_not_shortened_under_who_renews_seldom() {
    let server = Server::plain();
    let first = queue(server.url(), Duration::from_secs(60));
    first.put("item").unwrap();
    let _held = first.get_timeout(DEADLINE).unwrap();
    let shorter = Duration::from_millis(100);
    until("it is quiet for longer than that", || {
        let all = server.cli(&["--json", "xinfo", "consumers", "items", "dishrack"]);
        let all: serde_json::Value = serde_json::from_str(&all).unwrap();
        all[0]["idle"].as_u64().unwrap() > 200
    });
    let other = place(server.url()).lease(shorter);
    let refused = dishrack::JoinableQueue::<String>::shared(&other, dishrack::Options::default());
    let words = refused.unwrap_err().to_string();
    assert!(words.contains("another lease by 1 supervisors"), "{words}");
    assert_eq!(server.cli(&["hget", "{items}:meta", "lease"]), "60000");
}

/// There is room for two, and only the caller of put makes more.
fn inline_work_makes_room_for_what_is_put_in_advance() {
    let server = Server::plain();
    let options = dishrack::Options::default().capacity(dishrack::Capacity::Bounded(2));
    let queue = super::stage::Queue::shared(&place(server.url()), options).unwrap();
    let inline = dishrack::Supervisor::builder().inline();
    let _pool = inline.handler(&queue, Ok::<String, String>).unwrap();
    for n in 0..20 {
        queue.put_unsynced(&format!("item {n}")).unwrap();
    }
    queue.sync().unwrap();
    assert_eq!(join(&queue).done, 20);
}

fn a_map_whose_items_somebody_deletes_ends() {
    let server = Server::plain();
    let queue = queue(server.url(), SHORT_LEASE);
    let (pool, gate) = held(&queue);
    let items: Vec<String> = (0..50).map(|n| format!("item {n}")).collect();
    let results: Vec<Result<String, ItemError<String>>> = std::thread::scope(|scope| {
        let map = scope.spawn(|| pool.supervisor().map(items.clone()).collect());
        pool.await_begun(1);
        until("all are put", || server.cli(&["xlen", STREAM]) == "50");
        assert_eq!(server.cli(&["xtrim", STREAM, "maxlen", "0"]), "50");
        gate.open();
        map.join().unwrap()
    });
    assert_eq!(results.len(), 50);
    assert_eq!(results[0].as_ref().unwrap(), "item 0");
    let words = results[49].as_ref().unwrap_err().to_string();
    assert!(words.contains("nothing of it any more"), "{words}");
}

fn a_map_goes_on_with_the_workers_of_others() {
    let server = Server::plain();
    let queue = queue(server.url(), LONG_LEASE);
    let pool = willing(&queue, 1);
    let items: Vec<String> = (0..5).map(|n| format!("take {n}")).collect();
    queue.put("item").unwrap();
    assert_eq!(join(&queue).done, 1);
    pool.supervisor().stop();
    let other = Part::new("other", server.url(), LONG_LEASE).start();
    other.await_line("ready");
    until("it is heard of", || {
        let all = server.cli(&["xinfo", "consumers", STREAM, "dishrack"]);
        all.lines().filter(|line| *line == "name").count() == 2
    });
    // This call looks for other supervisors.
    queue.counts().unwrap();
    let results: Vec<_> = pool
        .supervisor()
        .map(items.clone())
        .map(Result::unwrap)
        .collect();
    assert_eq!(results, items);
}

/// An entry has one holder at a time.
fn copies_are_refused_wherever_they_are_asked_for() {
    let server = Server::plain();
    let place = RedisOptions::new(server.url(), STREAM);
    let open = |options| JoinableQueue::<String>::shared(&place, options);
    let both = Copies::first(2);
    let of_queue = open(Options::default().copies(both)).unwrap_err();
    let queue = open(Options::default()).unwrap();
    let builder = Supervisor::builder().threads(2).copies(both);
    let of_pool = builder.handler(&queue, |_: String| Ok::<(), String>(()));
    let of_item = queue.put_with("cup", PutOptions::default().copies(both));
    for error in [of_queue, of_pool.unwrap_err(), of_item.unwrap_err()] {
        assert!(error.is_setup(), "{error}");
        let why = error.to_string();
        assert!(why.contains("copies") && why.contains("Redis"), "{why}");
    }
    // Nothing was begun or put.
    assert_eq!(queue.counts().unwrap().accepted, 0);
    let put = queue.put_with("cup", PutOptions::default());
    put.unwrap();
    assert_eq!(queue.counts().unwrap().accepted, 1);
}

/// The stream has its own order, and nobody knows what others put.
fn orders_and_relations_are_refused_wherever_they_are_asked_for() {
    let server = Server::plain();
    let place = RedisOptions::new(server.url(), STREAM);
    let queue = JoinableQueue::<String>::shared(&place, Options::default()).unwrap();
    let soon = SystemTime::now() + Duration::from_secs(1);
    let (pool, item) = (|| Supervisor::builder().threads(1), PutOptions::default);
    let pools = [
        ("after", pool().after(|_: &String| vec![ItemId(1)])),
        ("per_key", pool().per_key(1, |_: &String| Some(1))),
        ("priority", pool().priority(|_: &String| 1)),
        ("not_before", pool().not_before(|_: &String| None)),
        ("deadline", pool().deadline(|_: &String| None)),
        ("unique", pool().unique(None, |_: &String| Some(1))),
    ];
    for (option, builder) in pools {
        let refused = builder.handler(&queue, |_: String| Ok::<(), String>(()));
        expect_refused(&refused.unwrap_err(), option);
    }
    let items = [
        ("after", item().after([ItemId(1)])),
        ("key", item().key(1)),
        ("priority", item().priority(1)),
        ("not_before", item().not_before(soon)),
        ("deadline", item().deadline(soon)),
        ("unique", item().unique(1)),
        ("unique", item().unique_for(Duration::from_secs(1), 1)),
    ];
    for (option, options) in items {
        let refused = queue.put_with("cup", options);
        expect_refused(&refused.unwrap_err(), option);
    }
    // Nothing was begun or put.
    assert_eq!(queue.counts().unwrap().accepted, 0);
}

fn expect_refused(error: &Error, option: &str) {
    assert!(error.is_setup(), "{error}");
    let why = error.to_string();
    let begins = why.starts_with(&format!("{option}: "));
    assert!(begins && why.contains("Redis"), "{option}: {why}");
}
