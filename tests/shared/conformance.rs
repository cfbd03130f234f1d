//! One suite of the queue's semantics, for every kind of workers: processes (spawned and forked),
//! threads, async tasks, and inline in the caller; and for every place of a queue (`place`).

/// A suite: each test, by its name, for each link.
macro_rules! suite {
    ($($test:ident),+ $(,)?) => {
        pub(super) fn suite() -> Vec<libtest_mimic::Trial> {
            $crate::conformance::on_each_link(&[$((stringify!($test), $test)),+])
        }
    };
}

#[path = "conformance/choices.rs"]
mod choices;
#[path = "conformance/many.rs"]
mod many;
#[path = "conformance/remote.rs"]
mod remote;
#[path = "conformance/steering.rs"]
mod steering;
#[path = "conformance/submit.rs"]
mod submit;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dishrack::{Backoff, Capacity, Cause, JoinableQueue, Joined, Options, StartMethod, Supervisor};
use libtest_mimic::Trial;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::place;
use crate::timely::in_time;

/// The time after which a hanging test is ended.
const DEADLINE: Duration = Duration::from_secs(60);

/// The kind of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Process,
    Forked,
    Thread,
    Task,
    Inline,
}

/// A test of the suite, and its name.
type Named = (&'static str, fn(Link));

fn on_each_link(tests: &[Named]) -> Vec<Trial> {
    let links = [
        Link::Process,
        Link::Forked,
        Link::Thread,
        Link::Task,
        Link::Inline,
    ];
    let of_link = |link| {
        tests.iter().map(move |&(name, test)| {
            let name = format!("conformance::{link:?}::{name}");
            Trial::test(name, move || {
                in_time(move || test(link));
                Ok(())
            })
        })
    };
    links.into_iter().flat_map(of_link).collect()
}

pub(crate) fn trials() -> Vec<Trial> {
    [
        remote::trials(),
        choices::suite(),
        many::suite(),
        steering::suite(),
        submit::suite(),
        suite(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

suite!(
    every_item_is_done_and_join_says_so,
    join_of_an_empty_queue_returns_at_once,
    results_come_in_the_order_of_the_items,
    results_come_in_any_order_if_asked_so,
    map_reads_its_items_lazily,
    a_refused_item_is_tried_again_and_then_a_dead_letter,
    a_refused_item_rests_before_it_is_tried_again,
    a_resting_item_comes_back_to_a_map,
    a_resting_item_comes_back_to_a_loop,
    an_item_taken_out_by_a_loop_that_panics_is_not_acknowledged_by_the_next,
    a_panic_fails_the_attempt_and_nothing_else,
    an_item_that_does_not_decode_is_a_dead_letter,
    a_result_that_does_not_serialize_is_a_dead_letter,
    an_item_that_does_not_serialize_is_refused_by_put,
    a_handler_may_put_on_its_own_queue,
    a_handler_that_puts_does_not_wait_for_room,
    a_join_that_waits_for_itself_is_refused,
    large_items_and_results_come_through,
    a_closed_queue_takes_nothing_more_and_finishes_the_rest,
    a_rendezvous_takes_an_item_only_when_somebody_is_there,
    the_chapters_loop_gets_and_acknowledges,
    a_loop_that_panics_is_run_again_even_after_close,
    an_inline_loop_that_takes_nothing_is_given_up,
    a_loop_that_waits_in_get_ends_when_it_is_stopped,
    items_left_after_a_stop_are_told,
    a_second_pool_takes_over,
);

/// Returns options for a queue with so much room.
fn bounded(room: usize) -> Options {
    Options::default().capacity(Capacity::Bounded(room))
}

fn start_workers<T, R, E, F>(link: Link, queue: &JoinableQueue<T>, handler: F) -> Supervisor<T, R>
where
    F: Fn(T) -> Result<R, E> + Send + Sync + Copy + 'static,
    T: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    E: Display + 'static,
{
    let builder = Supervisor::builder();
    let forked = builder.clone().start_method(StartMethod::Fork);
    let pool = match link {
        Link::Process => builder.processes(2).handler(queue, handler),
        Link::Forked => forked.processes(2).handler(queue, handler),
        Link::Thread => builder.threads(2).handler(queue, handler),
        Link::Inline => builder.inline().handler(queue, handler),
        Link::Task => builder
            .tasks(2)
            .handler_async(queue, move |item| async move { handler(item) }),
    };
    pool.unwrap()
}

fn join<T: Serialize + DeserializeOwned>(queue: &JoinableQueue<T>) -> (u64, u64) {
    let Joined { done, dead, .. } = queue.join_timeout(DEADLINE).unwrap();
    let counts = queue.counts().unwrap();
    assert!(
        counts.is_balanced() && counts.unfinished() == 0,
        "{counts:?}"
    );
    (done, dead)
}

fn double(n: u64) -> Result<u64, String> {
    Ok(n * 2)
}

fn refuse_threes(n: u64) -> Result<u64, String> {
    match n {
        3 => Err(format!("{n} is a three")),
        _ => Ok(n),
    }
}

fn panic_at_three(n: u64) -> Result<u64, String> {
    assert!(n != 3, "it is a three");
    Ok(n)
}

/// Puts two halves of a number on its own queue.
fn split(n: u64) -> Result<u64, String> {
    if n > 1 {
        let queue = JoinableQueue::<u64>::current().ok_or("no queue")?;
        queue.put(&(n / 2)).map_err(|e| e.to_string())?;
        queue.put(&(n - n / 2)).map_err(|e| e.to_string())?;
    }
    Ok(n)
}

fn join_own_queue(_: u64) -> Result<String, String> {
    let queue = JoinableQueue::<u64>::current().ok_or("no queue")?;
    Ok(queue.join().unwrap_err().to_string())
}

/// A number that does not decode when it is three.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Sour(u64);

impl<'de> Deserialize<'de> for Sour {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u64::deserialize(from)? {
            3 => Err(serde::de::Error::custom("a sour one")),
            n => Ok(Sour(n)),
        }
    }
}

/// A number that does not serialize when it is three.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Shy(u64);

impl Serialize for Shy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            3 => Err(serde::ser::Error::custom("a shy one")),
            n => n.serialize(to),
        }
    }
}

fn taste(sour: Sour) -> Result<u64, String> {
    Ok(sour.0)
}

fn make_shy(n: u64) -> Result<Shy, String> {
    Ok(Shy(n))
}

fn unwrap_shy(shy: Shy) -> Result<u64, String> {
    Ok(shy.0)
}

fn reverse(mut bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    bytes.reverse();
    Ok(bytes)
}

/// The chapter's dryer.
fn chapters_loop(queue: JoinableQueue<u64>) {
    while let Ok(delivery) = queue.get() {
        if *delivery == 3 {
            delivery.nack("a three").unwrap();
        } else {
            queue.task_done().unwrap();
        }
    }
}

async fn chapters_loop_async(queue: JoinableQueue<u64>) {
    while let Ok(delivery) = queue.get_async().await {
        if *delivery == 3 {
            delivery.nack("a three").unwrap();
        } else {
            delivery.task_done().unwrap();
        }
    }
}

/// A loop that panics with a three in its hands.
fn panicking_loop(queue: JoinableQueue<u64>) {
    while let Ok(delivery) = queue.get() {
        assert!(*delivery != 3, "it is a three");
        delivery.task_done().unwrap();
    }
}

async fn panicking_loop_async(queue: JoinableQueue<u64>) {
    while let Ok(delivery) = queue.get_async().await {
        assert!(*delivery != 3, "it is a three");
        delivery.task_done().unwrap();
    }
}

/// Takes items out of their deliveries before it works on them.
fn careless_loop(queue: JoinableQueue<u64>) {
    while let Ok(delivery) = queue.get() {
        let item = delivery.into_item();
        assert!(item != 3, "it is a three");
        queue.task_done().unwrap();
    }
}

/// Serves the functions of these tests' worker processes.
pub(crate) fn serve() {
    dishrack::serve(|roles| {
        roles.handler(double);
        roles.handler(choices::add);
        roles.handler(choices::choose_here);
        roles.handler(refuse_threes);
        roles.handler(panic_at_three);
        roles.handler(split);
        roles.handler(join_own_queue);
        roles.handler(taste);
        roles.handler(make_shy);
        roles.handler(unwrap_shy);
        roles.handler(reverse);
        roles.worker(chapters_loop);
        roles.worker(panicking_loop);
        roles.worker(careless_loop);
        many::serve(roles);
        remote::serve(roles);
    });
}

fn every_item_is_done_and_join_says_so(link: Link) {
    let queue = place::queue(bounded(100));
    let _pool = start_workers(link, &queue, double);
    for n in 0..2000 {
        let id = queue.put(&n).unwrap();
        assert_eq!(id.0, n + 1);
    }
    assert_eq!(join(&queue), (2000, 0));
    queue.put(&7).unwrap();
    assert_eq!(join(&queue), (2001, 0));
}

fn join_of_an_empty_queue_returns_at_once(link: Link) {
    let queue = place::queue(Options::default());
    let _pool = start_workers(link, &queue, double);
    assert_eq!(join(&queue), (0, 0));
    assert!(queue.is_empty() && !queue.is_full());
}

fn results_come_in_the_order_of_the_items(link: Link) {
    let queue = place::queue(bounded(10));
    let pool = start_workers(link, &queue, double);
    let results: Vec<u64> = pool.map(0..500).map(Result::unwrap).collect();
    let expected: Vec<u64> = (0..500).map(|n| n * 2).collect();
    assert_eq!(results, expected);
}

fn results_come_in_any_order_if_asked_so(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, refuse_threes);
    let mut results: Vec<Result<u64, String>> = pool
        .map_unordered(0..500)
        .map(|result| result.map_err(|error| error.to_string()))
        .collect();
    results.sort();
    assert_eq!(results.len(), 500);
    let error = "item 4 failed 3 times, at last: 3 is a three";
    assert_eq!(results[499], Err(error.to_owned()));
    assert_eq!(results[498], Ok(499));
}

fn map_reads_its_items_lazily(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    let items = (0..).inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let results: Vec<u64> = pool.map(items).take(10).map(Result::unwrap).collect();
    assert_eq!(results, (0..10).map(|n| n * 2).collect::<Vec<u64>>());
    assert!(read.load(Ordering::Relaxed) < 10_000);
}

fn a_refused_item_is_tried_again_and_then_a_dead_letter(link: Link) {
    let queue = place::queue(Options::default());
    let _pool = start_workers(link, &queue, refuse_threes);
    for n in 0..10 {
        queue.put(&n).unwrap();
    }
    assert_eq!(join(&queue), (9, 1));
    assert_eq!(queue.counts().unwrap().retries, 2);
    let letters = queue.take_dead_letters().unwrap();
    assert_eq!(
        (letters.len(), letters[0].payload, letters[0].id.0),
        (1, 3, 4)
    );
    let attempts: Vec<u32> = letters[0].history.iter().map(|f| f.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(
        letters[0].history[0].cause,
        Cause::Nack("3 is a three".into())
    );
    assert_eq!(queue.take_dead_letters().unwrap(), []);
}

fn a_refused_item_rests_before_it_is_tried_again(link: Link) {
    let rest = Duration::from_millis(20);
    let queue = place::queue(
        Options::default()
            .max_attempts(2)
            .backoff(Backoff::exponential(rest, rest)),
    );
    let _pool = start_workers(link, &queue, refuse_threes);
    queue.put(&3).unwrap();
    assert_eq!(join(&queue), (0, 1));
    let history = &queue.take_dead_letters().unwrap()[0].history;
    assert!(
        history[1].scene.ended - history[0].scene.ended >= rest / 2,
        "{history:?}"
    );
}

fn resting() -> JoinableQueue<u64> {
    let rest = Duration::from_millis(20);
    place::queue(
        Options::default()
            .max_attempts(2)
            .backoff(Backoff::exponential(rest, rest)),
    )
}

fn a_resting_item_comes_back_to_a_map(link: Link) {
    let queue = resting();
    let pool = start_workers(link, &queue, refuse_threes);
    let results: Vec<_> = pool.map([3, 4]).collect();
    let error = results[0].as_ref().unwrap_err().to_string();
    assert_eq!(error, "item 1 failed 2 times, at last: 3 is a three");
    assert_eq!(results[1].as_ref().unwrap(), &4);
}

fn a_resting_item_comes_back_to_a_loop(link: Link) {
    let queue = resting();
    let _pool = hire_loops(link, &queue);
    for n in 2..5 {
        queue.put(&n).unwrap();
    }
    assert_eq!(join(&queue), (2, 1));
}

/// Tasks share a thread, so there an item is acknowledged by its delivery only.
fn an_item_taken_out_by_a_loop_that_panics_is_not_acknowledged_by_the_next(link: Link) {
    let queue = place::queue(Options::default());
    for n in 0..10 {
        queue.put(&n).unwrap();
    }
    let builder = Supervisor::builder();
    let forked = builder.clone().start_method(StartMethod::Fork);
    let pool = match link {
        Link::Process => builder.processes(1).worker(&queue, careless_loop),
        Link::Forked => forked.processes(1).worker(&queue, careless_loop),
        Link::Thread => builder.threads(1).worker(&queue, careless_loop),
        Link::Inline => builder.inline().worker(&queue, careless_loop),
        Link::Task => return,
    };
    let _pool = pool.unwrap();
    assert_eq!(join(&queue), (9, 1));
    let letters = queue.take_dead_letters().unwrap();
    assert_eq!(letters[0].payload, 3);
}

fn a_panic_fails_the_attempt_and_nothing_else(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, panic_at_three);
    for n in 0..10 {
        queue.put(&n).unwrap();
    }
    assert_eq!(join(&queue), (9, 1));
    assert_eq!(pool.restarts(), 0);
    let letters = queue.take_dead_letters().unwrap();
    let cause = letters[0].history[2].cause.to_string();
    assert!(cause.starts_with("panicked: it is a three"), "{cause}");
}

fn an_item_that_does_not_decode_is_a_dead_letter(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, taste);
    let results = pool
        .map((0..5).map(Sour))
        .map(|r| r.map_err(|e| e.to_string()));
    let results: Vec<Result<u64, String>> = results.collect();
    assert_eq!((&results[2], &results[4]), (&Ok(2), &Ok(4)));
    let error = results[3].as_ref().unwrap_err();
    assert!(
        error.contains("does not decode") && error.contains("Sour"),
        "{error}"
    );
    assert_eq!(join(&queue), (4, 1));
}

fn a_result_that_does_not_serialize_is_a_dead_letter(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, make_shy);
    let results: Vec<_> = pool.map(0..5).collect();
    assert_eq!(results[4].as_ref().unwrap(), &Shy(4));
    let error = results[3].as_ref().unwrap_err().to_string();
    assert!(error.contains("its result does not serialize"), "{error}");
    assert_eq!(join(&queue), (4, 1));
}

/// CPython's `test_queue_feeder_donot_stop_onexc`: a bad item stops no later one, and takes no
/// place in a queue of one place.
fn an_item_that_does_not_serialize_is_refused_by_put(link: Link) {
    let queue = place::queue(bounded(1));
    assert!(queue.put(&Shy(3)).unwrap_err().is_not_serializable());
    assert!(queue.try_put(&Shy(3)).unwrap_err().is_not_serializable());
    assert_eq!((queue.len(), queue.is_full()), (0, false));
    let pool = start_workers(link, &queue, unwrap_shy);
    let results: Vec<_> = pool.map([Shy(1), Shy(3), Shy(2)]).collect();
    assert_eq!(results[0].as_ref().unwrap(), &1);
    assert!(
        results[1]
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("not accepted")
    );
    assert_eq!(results[2].as_ref().unwrap(), &2);
    assert_eq!(join(&queue), (2, 0));
}

fn a_handler_may_put_on_its_own_queue(link: Link) {
    let queue = place::queue(Options::default());
    let _pool = start_workers(link, &queue, split);
    queue.put(&100).unwrap();
    // A hundred ones, and a number split in two for each but one of them.
    assert_eq!(join(&queue), (199, 0));
}

fn a_handler_that_puts_does_not_wait_for_room(link: Link) {
    let queue = place::queue(bounded(1));
    let _pool = start_workers(link, &queue, split);
    queue.put(&100).unwrap();
    assert_eq!(join(&queue), (199, 0));
}

fn a_join_that_waits_for_itself_is_refused(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, join_own_queue);
    let results: Vec<String> = pool.map([1]).map(Result::unwrap).collect();
    assert!(results[0].contains("for ever"), "{results:?}");
}

fn large_items_and_results_come_through(link: Link) {
    let queue = place::queue(bounded(3));
    let pool = start_workers(link, &queue, reverse);
    let sizes = [0, 1, 16 * 1024, 16 * 1024 + 1, 300_000, 5_000_000];
    let item = |size: usize| -> Vec<u8> { (0..=255).cycle().take(size).collect() };
    let results: Vec<_> = pool.map(sizes.map(item)).map(Result::unwrap).collect();
    for (size, result) in sizes.into_iter().zip(results) {
        let expected: Vec<u8> = item(size).into_iter().rev().collect();
        assert!(result == expected, "{size} bytes came back wrong");
    }
}

fn a_closed_queue_takes_nothing_more_and_finishes_the_rest(link: Link) {
    let queue = place::queue(Options::default());
    for n in 0..10 {
        queue.put(&n).unwrap();
    }
    queue.close();
    queue.close();
    assert!(queue.put(&1).unwrap_err().is_closed());
    assert!(queue.try_put(&1).unwrap_err().is_closed());
    assert_eq!((queue.len(), queue.is_closed()), (10, true));
    let _pool = start_workers(link, &queue, double);
    assert_eq!(join(&queue), (10, 0));
    assert!(queue.get().unwrap_err().is_closed());
}

fn a_rendezvous_takes_an_item_only_when_somebody_is_there(link: Link) {
    let Some(queue) = place::rendezvous() else {
        return;
    };
    assert!(queue.is_full());
    assert!(queue.try_put(&1).unwrap_err().is_full());
    let late = queue.put_timeout(&1, Duration::from_millis(5));
    assert!(late.unwrap_err().is_full());
    let _pool = start_workers(link, &queue, double);
    for n in 0..100 {
        queue.put(&n).unwrap();
        assert!(queue.is_empty(), "an accepted item is in somebody's hands");
    }
    assert_eq!(join(&queue), (100, 0));
}

fn the_chapters_loop_gets_and_acknowledges(link: Link) {
    let queue = place::queue(bounded(10));
    let pool = hire_loops(link, &queue);
    for n in 0..100 {
        queue.put(&n).unwrap();
    }
    assert_eq!(join(&queue), (99, 1));
    queue.close();
    pool.stop();
    assert_eq!(pool.workers(), [], "none is left");
}

fn hire_loops(link: Link, queue: &JoinableQueue<u64>) -> Supervisor<u64, ()> {
    let builder = Supervisor::builder().shutdown(10 * DEADLINE);
    let forked = builder.clone().start_method(StartMethod::Fork);
    let pool = match link {
        Link::Process => builder.processes(2).worker(queue, chapters_loop),
        Link::Forked => forked.processes(2).worker(queue, chapters_loop),
        Link::Thread => builder.threads(2).worker(queue, chapters_loop),
        Link::Inline => builder.inline().worker(queue, chapters_loop),
        Link::Task => builder.tasks(2).worker_async(queue, chapters_loop_async),
    };
    pool.unwrap()
}

fn a_loop_that_panics_is_run_again_even_after_close(link: Link) {
    let queue = place::queue(Options::default());
    for n in 0..10 {
        queue.put(&n).unwrap();
    }
    queue.close();
    let builder = Supervisor::builder().intensity(0, DEADLINE);
    let forked = builder.clone().start_method(StartMethod::Fork);
    let pool = match link {
        Link::Process => builder.processes(1).worker(&queue, panicking_loop),
        Link::Forked => forked.processes(1).worker(&queue, panicking_loop),
        Link::Thread => builder.threads(1).worker(&queue, panicking_loop),
        Link::Inline => builder.inline().worker(&queue, panicking_loop),
        Link::Task => builder.tasks(1).worker_async(&queue, panicking_loop_async),
    };
    let _pool = pool.unwrap();
    assert_eq!(join(&queue), (9, 1));
}

/// Inline there is no worker that could take the waiting items.
fn an_inline_loop_that_takes_nothing_is_given_up(link: Link) {
    if link != Link::Inline {
        return;
    }
    let queue = place::queue::<u64>(Options::default());
    queue.put(&1).unwrap();
    let _pool = Supervisor::builder().inline().worker(&queue, drop).unwrap();
    let error = queue.join_timeout(DEADLINE).unwrap_err();
    assert!(error.is_no_workers_left(), "{error}");
}

/// The grace is longer than the test may last.
fn a_loop_that_waits_in_get_ends_when_it_is_stopped(link: Link) {
    let queue = place::queue(Options::default());
    let pool = hire_loops(link, &queue);
    queue.put(&1).unwrap();
    join(&queue);
    pool.stop();
    assert!(
        queue.try_get().unwrap_err().is_empty(),
        "the queue itself is open"
    );
}

fn items_left_after_a_stop_are_told(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    queue.put(&1).unwrap();
    join(&queue);
    pool.stop();
    queue.put(&2).unwrap();
    let error = queue.join_timeout(DEADLINE).unwrap_err();
    assert!(error.is_no_workers_left(), "{error}");
    let expected = "stopped); 1 items are unfinished";
    assert!(error.to_string().contains(expected), "{error}");
}

fn a_second_pool_takes_over(link: Link) {
    let queue = place::queue(Options::default());
    let first = start_workers(Link::Thread, &queue, double);
    queue.put(&1).unwrap();
    join(&queue);
    first.stop();
    queue.put(&2).unwrap();
    let _second = start_workers(link, &queue, double);
    assert_eq!(join(&queue), (2, 0));
}
