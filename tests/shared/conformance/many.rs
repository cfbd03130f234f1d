//! Many items at once: what holds of one `put` holds of each item of a `put_many`, on every link.

use dishrack::{Delivery, JoinableQueue, Options, Roles, StartMethod, Supervisor};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DEADLINE, Link, Shy, Sour, bounded, double, join, start_workers, unwrap_shy};
use crate::deadline::until;
use crate::place;

/// Enough for several full batches, and one that is not.
const MANY: u64 = 2000;

suite!(
    many_items_at_once_are_each_accepted_and_done,
    many_items_at_once_are_seen_at_once_and_in_their_order,
    many_items_at_once_wait_for_room,
    one_of_many_that_does_not_serialize_is_refused_alone,
    many_for_a_closed_queue_are_given_back_and_read_no_further,
    many_for_a_rendezvous_are_each_handed_over,
    a_handler_may_put_many_on_its_own_queue,
    a_handler_that_puts_many_does_not_wait_for_room,
    an_item_that_was_refused_is_not_missed_by_a_map,
    an_iterator_of_a_map_may_wait_for_the_items_before,
    a_loop_may_take_and_acknowledge_many,
    a_loop_may_take_many_large_items,
    one_of_many_that_a_loop_has_settled_before_is_refused_alone,
    one_of_many_that_is_stale_or_sour_is_refused_alone,
);

pub(super) fn serve(roles: &mut Roles) {
    roles.handler(split_many);
    roles.worker(loop_of_many);
    roles.worker(loop_of_many_large);
    roles.worker(loop_that_settles_one_twice);
}

/// Puts two halves of a number on its own queue, together.
fn split_many(n: u64) -> Result<u64, String> {
    if n > 1 {
        let queue = JoinableQueue::<u64>::current().ok_or("no queue")?;
        let put = queue.put_many([n / 2, n - n / 2]);
        let accepted = put.into_result().map_err(|error| error.to_string())?;
        assert_eq!(accepted, 2);
    }
    Ok(n)
}

/// Takes many at once, refuses one, and acknowledges the others together.
fn loop_of_many(queue: JoinableQueue<u64>) {
    while let Ok(deliveries) = queue.get_many(16) {
        assert!((1..=16).contains(&deliveries.len()));
        let is_three = |delivery: &Delivery<u64>| **delivery == 3;
        let (threes, others): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(is_three);
        for three in threes {
            three.nack("a three").unwrap();
        }
        let count = others.len() as u64;
        let outcome = queue.task_done_many(others);
        assert_eq!((outcome.done, outcome.stale.len()), (count, 0));
    }
}

/// Takes many texts at once, some of which are in shared memory, and looks at each.
fn loop_of_many_large(queue: JoinableQueue<String>) {
    while let Ok(deliveries) = queue.get_many(7) {
        for delivery in &deliveries {
            assert_eq!(**delivery, text(delivery.len()));
        }
        let count = deliveries.len() as u64;
        let outcome = queue.task_done_many(deliveries);
        assert_eq!((outcome.done, outcome.stale.len()), (count, 0));
    }
}

fn text(length: usize) -> String {
    "wash".chars().cycle().take(length).collect()
}

/// Takes all that is there, settles the first by itself, and then all together.
fn loop_that_settles_one_twice(queue: JoinableQueue<u64>) {
    while let Ok(mut deliveries) = queue.get_many(1000) {
        while deliveries.len() < 600 {
            deliveries.extend(queue.get_many(1000).unwrap());
        }
        let all: Vec<u64> = deliveries.iter().map(|delivery| **delivery).collect();
        assert_eq!(all, (0..600).collect::<Vec<u64>>());
        let first = deliveries[0].id();
        queue.task_done().unwrap();
        let outcome = queue.task_done_many(deliveries);
        assert_eq!((outcome.done, outcome.stale), (599, vec![first]));
    }
}

fn many_items_at_once_are_each_accepted_and_done(link: Link) {
    let queue = place::queue(bounded(100));
    let _pool = start_workers(link, &queue, double);
    assert_eq!(queue.put_many(0..MANY).into_result().unwrap(), MANY);
    assert_eq!(join(&queue), (MANY, 0));
    let none: [u64; 0] = [];
    assert_eq!(queue.put_many(none).into_result().unwrap(), 0);
    // Also references.
    assert_eq!(queue.put_many(&[1, 2, 3]).into_result().unwrap(), 3);
    assert_eq!(join(&queue), (MANY + 3, 0));
}

fn many_items_at_once_are_seen_at_once_and_in_their_order(link: Link) {
    let queue = place::queue(Options::default());
    queue.put(&0).unwrap();
    assert_eq!(queue.put_many(1..MANY).into_result().unwrap(), MANY - 1);
    queue.put(&MANY).unwrap();
    assert_eq!((queue.len() as u64, queue.is_empty()), (MANY + 1, false));
    for n in 0..MANY / 2 {
        let delivery = queue.get().unwrap();
        assert_eq!((*delivery, delivery.id().0), (n, n + 1));
        delivery.task_done().unwrap();
    }
    let _pool = start_workers(link, &queue, double);
    assert_eq!(join(&queue), (MANY + 1, 0));
}

fn many_items_at_once_wait_for_room(link: Link) {
    let queue = place::queue(bounded(3));
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put_many(0..MANY));
        until("there is no room left", || queue.is_full());
        assert!(!putter.is_finished() && queue.len() == 3);
        assert!(queue.try_put(&0).unwrap_err().is_full());
        let _pool = start_workers(link, &queue, double);
        // Inline it is whoever joins that does the work; the putter may be asleep.
        while link == Link::Inline && !putter.is_finished() {
            queue.join_timeout(DEADLINE).unwrap();
        }
        assert_eq!(putter.join().unwrap().into_result().unwrap(), MANY);
        assert_eq!(join(&queue), (MANY, 0));
    });
}

fn one_of_many_that_does_not_serialize_is_refused_alone(link: Link) {
    let queue = place::queue(bounded(100));
    let _pool = start_workers(link, &queue, unwrap_shy);
    let put = queue.put_many((0..MANY).map(Shy));
    assert_eq!((put.accepted, put.is_cut_short), (MANY - 1, false));
    let [refused] = &put.refused[..] else {
        panic!("{:?}", put.refused);
    };
    assert_eq!((refused.index, &refused.item), (3, &Shy(3)));
    assert!(refused.error.is_not_serializable(), "{}", refused.error);
    assert!(put.into_result().unwrap_err().is_not_serializable());
    assert_eq!(join(&queue), (MANY - 1, 0));
}

fn many_for_a_closed_queue_are_given_back_and_read_no_further(link: Link) {
    let queue = place::queue(Options::default());
    assert_eq!(queue.put_many(0..10).into_result().unwrap(), 10);
    queue.close();
    let mut items = 10..MANY;
    let put = queue.put_many(items.by_ref());
    assert_eq!((put.accepted, put.is_cut_short), (0, true));
    assert!(!put.refused.is_empty() && items.start == 10 + put.refused.len() as u64);
    for (index, refused) in (0..).zip(&put.refused) {
        assert_eq!((refused.index, refused.item), (index, 10 + index));
        assert!(refused.error.is_closed(), "{}", refused.error);
    }
    let _pool = start_workers(link, &queue, double);
    assert_eq!(join(&queue), (10, 0));
}

fn many_for_a_rendezvous_are_each_handed_over(link: Link) {
    let Some(queue) = place::rendezvous() else {
        return;
    };
    let _pool = start_workers(link, &queue, double);
    assert_eq!(queue.put_many(0..300).into_result().unwrap(), 300);
    assert!(queue.is_empty(), "an accepted item is in somebody's hands");
    assert_eq!(join(&queue), (300, 0));
}

fn a_handler_may_put_many_on_its_own_queue(link: Link) {
    let queue = place::queue(Options::default());
    let _pool = start_workers(link, &queue, split_many);
    queue.put(&100).unwrap();
    assert_eq!(join(&queue), (199, 0));
}

fn a_handler_that_puts_many_does_not_wait_for_room(link: Link) {
    let queue = place::queue(bounded(1));
    let _pool = start_workers(link, &queue, split_many);
    queue.put(&100).unwrap();
    assert_eq!(join(&queue), (199, 0));
}

/// Items are put in batches and results are taken in between; still, a refused item keeps its
/// place.
fn an_item_that_was_refused_is_not_missed_by_a_map(link: Link) {
    // More than may be under way at once.
    let items = || (0..10_000).map(|n| Shy(if n % 1000 == 7 { 3 } else { n + 10 }));
    for is_ordered in [true, false] {
        let queue = place::queue(bounded(500));
        let pool = start_workers(link, &queue, unwrap_shy);
        let results = match is_ordered {
            true => pool.map(items()),
            false => pool.map_unordered(items()),
        };
        let results: Vec<Option<u64>> = results.map(Result::ok).collect();
        let expected = items().map(|Shy(n)| (n != 3).then_some(n));
        let expected: Vec<Option<u64>> = expected.collect();
        if is_ordered {
            assert!(results == expected, "results are not in the order of items");
        } else {
            let sorted = |mut all: Vec<Option<u64>>| {
                all.sort_unstable();
                all
            };
            assert!(sorted(results) == sorted(expected), "results are missing");
        }
        assert_eq!(join(&queue), (9990, 0));
    }
}

/// Each item is made only when all before are done, so none of them may wait for the next one.
fn an_iterator_of_a_map_may_wait_for_the_items_before(link: Link) {
    // Inline nothing is done while the caller makes an item.
    if link == Link::Inline {
        return;
    }
    let queue = place::queue(bounded(100));
    let pool = start_workers(link, &queue, double);
    for is_ordered in [true, false] {
        let before = queue.counts().unwrap().done;
        let mut made = 0;
        let items = std::iter::from_fn(|| {
            until("all items before are done", || {
                queue.counts().unwrap().done == before + made
            });
            made += 1;
            (made <= 20).then_some(made)
        });
        let results = match is_ordered {
            true => pool.map(items),
            false => pool.map_unordered(items),
        };
        let results: Vec<u64> = results.map(Result::unwrap).collect();
        assert_eq!(results, (1..=20).map(|n| 2 * n).collect::<Vec<u64>>());
    }
}

/// Makes so many loops; `None` where `get_many` would block the thread of all of them.
fn start_loops<T: Serialize + DeserializeOwned + 'static>(
    link: Link,
    loops: usize,
    queue: &JoinableQueue<T>,
    body: impl Fn(JoinableQueue<T>) + Send + Sync + 'static,
) -> Option<Supervisor<T, ()>> {
    let builder = Supervisor::builder();
    let builder = match link {
        Link::Process => builder.processes(loops),
        Link::Forked => builder.start_method(StartMethod::Fork).processes(loops),
        Link::Thread => builder.threads(loops),
        Link::Inline => builder.inline(),
        Link::Task => return None,
    };
    Some(builder.worker(queue, body).unwrap())
}

fn a_loop_may_take_many_large_items(link: Link) {
    let queue = place::queue(bounded(20));
    let Some(pool) = start_loops(link, 2, &queue, loop_of_many_large) else {
        return;
    };
    let texts = (0..100).map(|n| text(if n % 3 == 0 { 40_000 + n } else { n }));
    assert_eq!(queue.put_many(texts).into_result().unwrap(), 100);
    assert_eq!(join(&queue), (100, 0));
    queue.close();
    pool.stop();
}

/// A run of what follows it is settled all the same.
fn one_of_many_that_a_loop_has_settled_before_is_refused_alone(link: Link) {
    let queue = place::queue(Options::default());
    assert_eq!(queue.put_many(0..600).into_result().unwrap(), 600);
    let Some(pool) = start_loops(link, 1, &queue, loop_that_settles_one_twice) else {
        return;
    };
    assert_eq!(join(&queue), (600, 0));
    queue.close();
    pool.stop();
}

fn a_loop_may_take_and_acknowledge_many(link: Link) {
    let queue = place::queue(bounded(100));
    let Some(pool) = start_loops(link, 2, &queue, loop_of_many) else {
        return;
    };
    assert_eq!(queue.put_many(0..MANY).into_result().unwrap(), MANY);
    assert_eq!(join(&queue), (MANY - 1, 1));
    let letters = queue.take_dead_letters().unwrap();
    assert_eq!((letters[0].payload, letters[0].history.len()), (3, 3));
    queue.close();
    pool.stop();
}

fn one_of_many_that_is_stale_or_sour_is_refused_alone(link: Link) {
    // Only this thread works.
    if link != Link::Inline {
        return;
    }
    let queue = place::queue(Options::default().max_attempts(1));
    assert_eq!(queue.put_many((0..6).map(Sour)).into_result().unwrap(), 6);
    let mut deliveries = Vec::new();
    while deliveries.len() < 5 {
        deliveries.extend(queue.get_many(16).unwrap());
    }
    let items: Vec<u64> = deliveries.iter().map(|delivery| delivery.0).collect();
    assert_eq!(items, [0, 1, 2, 4, 5], "the three does not decode");
    let cancelled = deliveries[1].id();
    assert!(queue.cancel(cancelled).unwrap());
    // This thread holds the first one the longest.
    queue.task_done().unwrap();
    let outcome = queue.task_done_many(deliveries);
    let first = dishrack::ItemId(1);
    assert_eq!((outcome.done, outcome.stale), (3, vec![first, cancelled]));
    assert_eq!(join(&queue), (4, 2));
}
