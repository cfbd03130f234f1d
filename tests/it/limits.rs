//! Time limits, cancelled items, rests, late words and retried letters with threads and async
//! tasks.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use dishrack::{AdmissionRules, Cause, Copies, JoinableQueue, Joined, Options, Rate, Supervisor};

crate::trials! {
    an_async_task_over_its_limit_is_dropped_where_it_waits,
    a_cancelled_async_task_is_dropped_where_it_waits,
    a_cancelled_thread_goes_on_and_nobody_listens,
    a_late_task_done_is_refused_and_counted,
    a_refusal_can_ask_for_a_rest,
    a_dead_letter_is_tried_again_with_all_its_attempts,
    rules_are_functions_of_the_queues_items,
    copies_are_not_for_a_queue_with_an_order,
    loops_of_this_process_have_no_rate,
    the_same_builder_may_be_started_again,
}

const DEADLINE: Duration = Duration::from_secs(60);

fn queue(max_attempts: u32) -> JoinableQueue<u32> {
    JoinableQueue::with(Options::default().max_attempts(max_attempts))
}

fn join(queue: &JoinableQueue<u32>) -> (u64, u64) {
    let Joined { done, dead, .. } = queue.join_timeout(DEADLINE).unwrap();
    (done, dead)
}

/// Reports when it is dropped.
struct Guard(crossbeam_channel::Sender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}

fn an_async_task_over_its_limit_is_dropped_where_it_waits() {
    let limit = Duration::from_millis(50);
    let queue = queue(2);
    let (dropped, drops) = bounded(10);
    let _pool = Supervisor::builder()
        .tasks(1)
        .time_limit(limit)
        .handler_async(&queue, move |n: u32| {
            let guard = (n == 7).then(|| Guard(dropped.clone()));
            async move {
                if guard.is_some() {
                    std::future::pending::<()>().await;
                }
                Ok::<(), Infallible>(())
            }
        })
        .unwrap();
    for n in 5..10 {
        queue.put(&n).unwrap();
    }
    assert_eq!(join(&queue), (4, 1));
    let letters = queue.take_dead_letters().unwrap();
    assert_eq!(letters[0].payload, 7);
    assert_eq!(letters[0].history[1].cause, Cause::TimedOut(limit));
    assert_eq!(drops.try_iter().count(), 2);
}

fn a_cancelled_async_task_is_dropped_where_it_waits() {
    let queue = queue(3);
    let (begun, begins) = bounded(1);
    let (dropped, drops) = bounded(1);
    let _pool = Supervisor::builder()
        .tasks(1)
        .handler_async(&queue, move |n: u32| {
            let guard = (n == 1).then(|| Guard(dropped.clone()));
            let begun = begun.clone();
            async move {
                if guard.is_some() {
                    begun.send(()).unwrap();
                    std::future::pending::<()>().await;
                }
                Ok::<(), Infallible>(())
            }
        })
        .unwrap();
    let id = queue.put(&1).unwrap();
    queue.put(&2).unwrap();
    begins.recv_timeout(DEADLINE).unwrap();
    assert!(queue.cancel(id).unwrap());
    assert_eq!(join(&queue), (1, 1));
    drops.recv_timeout(DEADLINE).unwrap();
    let letters = queue.dead_letters().unwrap();
    assert_eq!(letters[0].history[0].cause, Cause::Cancelled);
}

fn a_cancelled_thread_goes_on_and_nobody_listens() {
    let queue = queue(3);
    let (begun, begins) = bounded(1);
    let (go, gate) = bounded::<()>(0);
    let pool = Supervisor::builder()
        .threads(1)
        .handler(&queue, move |n: u32| {
            if n == 1 {
                begun.send(()).unwrap();
                let _ = gate.recv_timeout(DEADLINE);
            }
            Ok::<(), Infallible>(())
        })
        .unwrap();
    let id = queue.put(&1).unwrap();
    begins.recv_timeout(DEADLINE).unwrap();
    assert!(queue.cancel(id).unwrap());
    assert_eq!(join(&queue), (0, 1));
    go.send(()).unwrap();
    queue.put(&2).unwrap();
    assert_eq!(join(&queue), (1, 1));
    pool.stop();
    let counts = queue.counts().unwrap();
    assert_eq!((counts.done, counts.dead, counts.refused), (1, 1, 1));
}

fn a_late_task_done_is_refused_and_counted() {
    let queue = queue(3);
    let id = queue.put(&1).unwrap();
    let delivery = queue.get().unwrap();
    assert!(queue.cancel(id).unwrap());
    assert!(delivery.task_done().unwrap_err().is_stale());
    let counts = queue.counts().unwrap();
    assert_eq!((counts.done, counts.dead, counts.refused), (0, 1, 1));
    assert!(!queue.cancel(id).unwrap());
}

fn a_refusal_can_ask_for_a_rest() {
    let rest = Duration::from_millis(50);
    let queue = queue(3);
    queue.put(&1).unwrap();
    queue.put(&2).unwrap();
    let first = queue.get().unwrap();
    let began = std::time::Instant::now();
    first.nack_after("too hot", rest).unwrap();
    let next = queue.get().unwrap();
    assert_eq!((*next, next.attempt()), (2, 1), "the first one rests");
    next.task_done().unwrap();
    let again = queue.get_timeout(DEADLINE).unwrap();
    assert_eq!((*again, again.attempt()), (1, 2));
    assert!(began.elapsed() >= rest);
    again.task_done().unwrap();
}

fn a_dead_letter_is_tried_again_with_all_its_attempts() {
    let queue = queue(2);
    let failures = Arc::new(AtomicU32::new(3));
    let left = Arc::clone(&failures);
    let _pool = Supervisor::builder()
        .threads(1)
        .handler(&queue, move |_: u32| {
            match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)) {
                Ok(_) => Err("not yet"),
                Err(_) => Ok(()),
            }
        })
        .unwrap();
    let id = queue.put(&1).unwrap();
    assert_eq!(join(&queue), (0, 1));
    assert_eq!(queue.dead_letters().unwrap()[0].history.len(), 2);
    assert!(queue.retry_dead_letter(id).unwrap());
    assert_eq!(join(&queue), (1, 0));
    assert_eq!(queue.dead_letters().unwrap(), []);
    assert!(!queue.retry_dead_letter(id).unwrap());
}

fn nothing(_: u32) -> Result<(), Infallible> {
    Ok(())
}

/// Returns the words of a start that is refused.
fn refusal<T, R>(started: Result<Supervisor<T, R>, dishrack::Error>) -> String {
    let refused = started.map(drop).unwrap_err();
    assert!(refused.is_setup(), "{refused}");
    refused.to_string()
}

fn rules_are_functions_of_the_queues_items() {
    let builder = || Supervisor::builder().threads(1);
    let key = |n: &u64| Some(*n);
    for builder in [
        builder().per_key(1, key),
        builder().priority(|_: &i8| 0),
        builder().after(|_: &String| Vec::new()),
        builder().unique(None, |text: &String| Some(text.clone())),
    ] {
        let refused = refusal(builder.handler(&queue(1), nothing));
        assert!(
            refused.contains("and the queue's items are u32"),
            "{refused}"
        );
    }
    // The last function counts.
    let twice = builder().per_key(1, key).per_key(1, |n: &u32| Some(*n));
    let _pool = twice.handler(&queue(1), nothing).unwrap();
}

fn copies_are_not_for_a_queue_with_an_order() {
    let queue = queue(1);
    let ordered = Supervisor::builder().threads(1).priority(|_: &u32| 0);
    let _pool = ordered.handler(&queue, nothing).unwrap();
    let voting = Supervisor::builder().threads(2).copies(Copies::first(2));
    let refused = refusal(voting.handler(&queue, nothing));
    assert!(refused.contains("runs once"), "{refused}");
    // One copy is none.
    let single = Supervisor::builder().threads(1).copies(Copies::first(1));
    let _pool = single.handler(&queue, nothing).unwrap();
}

fn loops_of_this_process_have_no_rate() {
    let rate = Rate::new(1, DEADLINE);
    let rules = AdmissionRules::default().memory_free(1);
    for builder in [
        Supervisor::builder().threads(1).rate(rate),
        Supervisor::builder().threads(1).admission(rules),
    ] {
        let refused = refusal(builder.worker(&queue(1), |_: JoinableQueue<u32>| {}));
        assert!(refused.contains("are not held back"), "{refused}");
    }
}

fn the_same_builder_may_be_started_again() {
    let queue = queue(1);
    let builder = Supervisor::builder()
        .threads(1)
        .per_key(1, |n: &u32| Some(*n));
    for _ in 0..2 {
        let pool = builder.clone().handler(&queue, nothing).unwrap();
        queue.put(&1).unwrap();
        queue.join_timeout(DEADLINE).unwrap();
        pool.stop();
    }
    let other = builder.priority(|_: &u32| 0);
    let refused = refusal(other.handler(&queue, nothing));
    assert!(refused.contains("already"), "{refused}");
}
