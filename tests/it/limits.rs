//! Time limits, cancelled items, rests, late words and retried letters with threads and async
//! tasks.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use dishrack::{Cause, JoinableQueue, Joined, Options, Supervisor};

crate::trials! {
    an_async_task_over_its_limit_is_dropped_where_it_waits,
    a_cancelled_async_task_is_dropped_where_it_waits,
    a_cancelled_thread_goes_on_and_nobody_listens,
    a_late_task_done_is_refused_and_counted,
    a_refusal_can_ask_for_a_rest,
    a_dead_letter_is_tried_again_with_all_its_attempts,
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
