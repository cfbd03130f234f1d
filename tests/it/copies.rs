//! Several copies of an item, for threads, tasks and whoever gets: and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::unbounded;
use dishrack::{Copies, Hedge, JoinableQueue, Joined, Options, PutOptions, Supervisor};

use crate::deadline::DEADLINE;

crate::timely_trials! {
    the_first_thread_that_is_done_counts,
    threads_agree_on_a_result,
    a_task_that_is_not_needed_is_dropped_where_it_waits,
    a_caller_does_what_there_is_one_worker_for,
    a_loop_takes_a_copy_too,
    a_stop_in_the_middle_of_a_vote_charges_nobody,
    a_panic_in_a_comparison_is_no_agreement,
    what_cannot_be_is_refused_with_its_reason,
    an_item_that_more_must_agree_on_than_there_are_is_refused,
    gets_agree_that_an_item_is_done,
    too_few_workers_of_a_queue_charge_nobody_and_end_a_join,
    who_disagreed_is_kept,
    a_queue_without_copies_is_as_it_was,
}

fn join<T: serde::Serialize + serde::de::DeserializeOwned>(queue: &JoinableQueue<T>) -> (u64, u64) {
    let Joined { done, dead, .. } = queue.join_timeout(DEADLINE).unwrap();
    (done, dead)
}

/// The first copy of each item waits until the test is over; a thread cannot be ended.
fn the_first_thread_that_is_done_counts() {
    let queue = JoinableQueue::with(Options::default().copies(Copies::first(2)));
    let (open, opened) = unbounded::<()>();
    let begun = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&begun);
    let pool = Supervisor::builder()
        .threads(2)
        .handler(&queue, move |n: u64| {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                // The test may be over already.
                let _ = opened.recv();
            }
            Ok::<u64, String>(n + 1)
        })
        .unwrap();
    let results = pool.map([1_u64]).map(Result::unwrap);
    assert_eq!(results.collect::<Vec<_>>(), [2]);
    assert_eq!(join(&queue), (1, 0));
    // The other thread goes on with what it has.
    for n in 0..10 {
        queue.put(&n).unwrap();
    }
    assert_eq!(join(&queue), (11, 0));
    drop(open);
}

fn threads_agree_on_a_result() {
    const ITEMS: u64 = 500;
    let queue = JoinableQueue::unbounded();
    let runs: Vec<AtomicU64> = (0..ITEMS).map(AtomicU64::new).collect();
    let pool = Supervisor::builder()
        .threads(3)
        .copies(Copies::agree(2, 3))
        .handler(&queue, move |n: u64| {
            // One copy of each item is wrong: the first, the second or the third one.
            let at = usize::try_from(n).unwrap();
            let is_wrong = runs[at].fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
            Ok::<u64, String>(if is_wrong { 1_000_000 } else { 2 * n })
        })
        .unwrap();
    let results: Vec<u64> = pool.map(0..ITEMS).map(Result::unwrap).collect();
    assert!(results.into_iter().eq((0..ITEMS).map(|n| 2 * n)));
    assert_eq!(join(&queue), (ITEMS, 0));
}

fn a_task_that_is_not_needed_is_dropped_where_it_waits() {
    struct Told(crossbeam_channel::Sender<()>);
    impl Drop for Told {
        fn drop(&mut self) {
            // The test may be over already.
            let _ = self.0.send(());
        }
    }
    let queue = JoinableQueue::unbounded();
    let (told, dropped) = unbounded();
    let begun = Arc::new(AtomicU64::new(0));
    let pool = Supervisor::builder()
        .tasks(2)
        .copies(Copies::first(2))
        .handler_async(&queue, move |n: u64| {
            let (told, begun) = (told.clone(), Arc::clone(&begun));
            async move {
                if begun.fetch_add(1, Ordering::SeqCst) == 0 {
                    let _told = Told(told);
                    std::future::pending::<()>().await;
                }
                Ok::<u64, String>(n)
            }
        })
        .unwrap();
    let results = pool.map([5_u64]).map(Result::unwrap);
    assert_eq!(results.collect::<Vec<_>>(), [5]);
    dropped.recv_timeout(DEADLINE).unwrap();
    assert_eq!(join(&queue), (1, 0));
}

fn a_caller_does_what_there_is_one_worker_for() {
    let queue = JoinableQueue::with(Options::default().copies(Copies::first(3)));
    let pool = Supervisor::builder()
        .inline()
        .handler(&queue, |n: u64| Ok::<u64, String>(n))
        .unwrap();
    let results = pool.map([1_u64, 2]).map(Result::unwrap);
    assert_eq!(results.collect::<Vec<_>>(), [1, 2]);
}

fn a_loop_takes_a_copy_too() {
    let queue = JoinableQueue::<u64>::with(Options::default().copies(Copies::first(2)));
    queue.put(&7).unwrap();
    let (first, second) = (queue.try_get().unwrap(), queue.try_get().unwrap());
    assert!(queue.try_get().is_err(), "there are two copies");
    assert_eq!((*first, *second, first.id()), (7, 7, second.id()));
    first.task_done().unwrap();
    assert!(second.task_done().is_err(), "another one was first");
    assert_eq!(join(&queue), (1, 0));
}

/// Two threads have voted, and the third one is stopped before it can.
fn a_stop_in_the_middle_of_a_vote_charges_nobody() {
    const BUSY: u64 = 0;
    let queue = JoinableQueue::with(Options::default().max_attempts(1));
    let (open, opened) = unbounded::<()>();
    let (told, begun) = unbounded();
    let pool = Supervisor::builder()
        .threads(3)
        .copies(Copies::agree(3, 3))
        .handler(&queue, move |n: u64| {
            told.send(n).unwrap();
            if n == BUSY {
                opened.recv().unwrap();
            }
            Ok::<u64, String>(n)
        })
        .unwrap();
    let alone = PutOptions::default().copies(Copies::first(1));
    queue.put_with(&BUSY, alone).unwrap();
    assert_eq!(begun.recv_timeout(DEADLINE), Ok(BUSY));
    queue.put(&1).unwrap();
    for _ in 0..2 {
        assert_eq!(begun.recv_timeout(DEADLINE), Ok(1));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| pool.stop());
        open.send(()).unwrap();
    });
    let counts = queue.counts().unwrap();
    assert!(counts.done >= 1 && counts.is_balanced(), "{counts:?}");
    assert_eq!((counts.leased, counts.dead), (0, 0), "{counts:?}");
}

fn a_panic_in_a_comparison_is_no_agreement() {
    let queue = JoinableQueue::with(Options::default().max_attempts(1));
    let _pool = Supervisor::builder()
        .threads(2)
        .copies(Copies::agree(2, 2))
        .compare(|_: &u64, _: &u64| panic!("on purpose"))
        .handler(&queue, |n: u64| Ok::<u64, String>(n))
        .unwrap();
    queue.put(&1).unwrap();
    assert_eq!(join(&queue), (0, 1));
    let cause = queue.take_dead_letters().unwrap()[0].history[0].to_owned();
    let cause = cause.cause.to_string();
    assert!(cause.starts_with("no 2 of 2 copies agree: "), "{cause}");
}

fn what_cannot_be_is_refused_with_its_reason() {
    let queue = JoinableQueue::<u64>::unbounded();
    let why = |refused: Result<Supervisor<u64, u64>, dishrack::Error>| {
        let error = refused.unwrap_err();
        assert!(error.is_setup());
        error.to_string()
    };
    let handler = |n: u64| Ok::<u64, String>(n);
    let few = Supervisor::builder().threads(2).copies(Copies::agree(3, 4));
    let few = why(few.handler(&queue, handler));
    assert!(few.contains("3 of them must agree"), "{few}");
    let other = Supervisor::builder().threads(2);
    let other = other.compare(|one: &String, other: &String| one == other);
    let other = why(other.handler(&queue, handler));
    assert!(
        other.contains("compares") && other.contains("u64"),
        "{other}"
    );
    let looping = Supervisor::builder().threads(2).copies(Copies::agree(2, 2));
    let looping = looping
        .worker(&queue, |_: JoinableQueue<u64>| {})
        .unwrap_err();
    assert!(looping.to_string().contains("use a handler"), "{looping}");
}

fn an_item_that_more_must_agree_on_than_there_are_is_refused() {
    let queue = JoinableQueue::unbounded();
    let vote = PutOptions::default().copies(Copies::agree(3, 3));
    // There are no workers yet, so nobody knows.
    queue.put_with(&1, vote.clone()).unwrap();
    let pool = |threads| {
        let builder = Supervisor::builder().threads(threads);
        builder.handler(&queue, |n: u64| Ok::<u64, String>(n))
    };
    let few = pool(2).unwrap();
    let refused = queue.put_with(&2, vote.clone()).unwrap_err();
    assert!(refused.is_setup());
    let why = refused.to_string();
    assert!(
        why.contains("3 copies must agree, and there are 2 workers"),
        "{why}"
    );
    // Another pool helps.
    let more = pool(1).unwrap();
    queue.put_with(&2, vote).unwrap();
    assert_eq!(join(&queue), (2, 0));
    drop((few, more));
}

/// A `get` has no result, so it can say no more than that.
fn gets_agree_that_an_item_is_done() {
    let options = Options::default().max_attempts(1);
    let queue = JoinableQueue::<u64>::with(options.copies(Copies::agree(2, 3)));
    for nacked in [1, 2] {
        queue.put(&7).unwrap();
        let copies = [(); 3].map(|()| queue.try_get().unwrap());
        for (number, copy) in copies.into_iter().enumerate() {
            let ended = match number < nacked {
                true => copy.nack("no"),
                false => copy.task_done(),
            };
            // The third one is not needed where two have refused it.
            assert_eq!(ended.is_err(), number == 2 && nacked == 2);
        }
    }
    assert_eq!(join(&queue), (1, 1));
    let letters = queue.take_dead_letters().unwrap();
    assert_eq!(letters[0].history[0].cause.to_string(), "no");
}

fn too_few_workers_of_a_queue_charge_nobody_and_end_a_join() {
    let options = Options::default().max_attempts(1);
    let queue = JoinableQueue::with(options.copies(Copies::agree(3, 3)));
    let pool = |threads| {
        let builder = Supervisor::builder().threads(threads);
        let handler = |n: u64| Ok::<u64, String>(n);
        builder.handler(&queue, handler).unwrap()
    };
    let few = pool(2);
    queue.put(&1).unwrap();
    let error = queue.join_timeout(DEADLINE).unwrap_err();
    assert!(error.is_no_workers_left(), "{error}");
    let why = error.to_string();
    assert!(
        why.contains("3 copies must agree, and there are 2 workers"),
        "{why}"
    );
    let counts = queue.counts().unwrap();
    assert_eq!(
        (counts.dead, counts.retries, counts.unfinished()),
        (0, 0, 1)
    );
    // Another supervisor of the same queue helps.
    let more = pool(1);
    assert_eq!(join(&queue), (1, 0));
    drop((few, more));
}

fn who_disagreed_is_kept() {
    let queue = JoinableQueue::unbounded();
    let runs = AtomicU64::new(0);
    let pool = Supervisor::builder()
        .threads(3)
        .copies(Copies::agree(2, 3).hedge_after(Duration::from_secs(3600)))
        .compare(|one: &u64, other: &u64| one == other)
        .handler(&queue, move |n: u64| {
            // The second one is wrong, and the third one is made when both have ended.
            let is_second = runs.fetch_add(1, Ordering::SeqCst) == 1;
            Ok::<u64, String>(if is_second { 13 } else { n })
        })
        .unwrap();
    assert_eq!(pool.map([7]).next().unwrap().unwrap(), 7);
    let wrong = queue.take_disagreements().unwrap();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    let one = &wrong[0];
    assert_eq!((&*one.said, &*one.counted, one.attempt), ("13", "7", 1));
    assert!(one.worker.starts_with("worker"), "{one:?}");
    assert_eq!(one.pid, std::process::id());
    assert_eq!(queue.take_disagreements().unwrap(), []);
}

/// Copies of a single item make others no different, and `first(1)` is none.
fn a_queue_without_copies_is_as_it_was() {
    let queue = JoinableQueue::unbounded();
    let runs = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&runs);
    let _pool = Supervisor::builder()
        .threads(2)
        .copies(Copies::first(2).hedge_after(Hedge::quantile(0.5)))
        .handler(&queue, move |_: u64| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<(), String>(())
        })
        .unwrap();
    let alone = PutOptions::default().copies(Copies::first(1));
    for n in 0..1000 {
        queue.put_with(&n, alone.clone()).unwrap();
    }
    assert_eq!(join(&queue), (1000, 0));
    assert_eq!(runs.load(Ordering::SeqCst), 1000);
}
