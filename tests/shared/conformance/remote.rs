//! A queue's handle in a worker process, in a thread, and in a program that is attached: the same
//! calls, the same answers.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use dishrack::{Backoff, Control, Controlled, JoinableQueue, Options, Restart, Roles, Supervisor};
use tempfile::TempDir;

use super::{DEADLINE, bounded};
use crate::deadline::until;
use crate::place;

crate::timely_trials!(
    a_handle_in_a_worker_process_behaves_as_one_in_a_thread,
    an_attached_handle_behaves_as_one_in_a_thread,
    a_worker_process_waits_for_room_until_there_is_some,
    a_dropped_delivery_goes_back_and_counts,
    an_item_taken_out_of_its_delivery_is_acknowledged_by_the_queue,
    one_threads_task_done_does_not_acknowledge_anothers_item,
    items_of_an_ended_thread_go_back,
    get_keeps_its_time_and_put_its_bound,
    an_idle_async_get_is_polled_only_when_something_is_there,
    a_closed_queue_lets_every_getter_go_when_its_last_item_is_taken,
);

type Queue = JoinableQueue<String>;

pub(super) fn serve(roles: &mut Roles) {
    roles.worker(probe);
    roles.worker(put_three);
}

/// A handle, and what it needs to be one.
struct Handle {
    queue: Queue,
    /// The queue's control socket, its folder and the queue itself, for one that is attached.
    _served: Option<(Control, TempDir, Queue)>,
}

impl std::ops::Deref for Handle {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

/// Returns a handle of a new queue of this process, and one that is attached to another new queue.
fn handles(options: Options) -> [Handle; 2] {
    let own = Handle {
        queue: place::queue(options),
        _served: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("queue.sock");
    let served: Queue = place::queue(options);
    let control = Control::serve_at(&socket, Controlled::of_queue(&served)).unwrap();
    let attached = Handle {
        queue: Queue::attach(&socket).unwrap(),
        _served: Some((control, folder, served)),
    };
    [own, attached]
}

/// Tries every call once and puts the answers on the queue.
fn probe(queue: Queue) {
    let mut log = String::new();
    let short = Duration::from_millis(5);
    let first = queue.get().unwrap();
    note(&mut log, "first", *first == "begin" && first.attempt() == 1);
    note(&mut log, "empty", queue.is_empty() && !queue.is_full());
    note(&mut log, "try_get", queue.try_get().unwrap_err().is_empty());
    note(
        &mut log,
        "get_timeout",
        queue.get_timeout(short).unwrap_err().is_empty(),
    );
    note(
        &mut log,
        "join_timeout",
        queue.join_timeout(short).unwrap_err().is_timeout(),
    );
    first.task_done().unwrap();
    let too_often = queue.task_done().unwrap_err();
    note(&mut log, "too_often", too_often.is_task_done_too_often());
    queue.put("one").unwrap();
    note(&mut log, "visible", queue.len() == 1);
    queue.put_timeout("two", short).unwrap();
    note(&mut log, "full", queue.is_full());
    note(
        &mut log,
        "try_put",
        queue.try_put("x").unwrap_err().is_full(),
    );
    let late = queue.put_timeout("x", short);
    note(&mut log, "put_timeout", late.unwrap_err().is_full());
    note(&mut log, "fifo", *queue.get().unwrap() == "one");
    let two = queue.try_get().unwrap();
    note(&mut log, "second", *two == "one" || *two == "two");
    drop(two);
    while let Ok(delivery) = queue.try_get() {
        delivery.task_done().unwrap();
    }
    note(&mut log, "large", queue.put(&"x".repeat(100_000)).is_ok());
    note(
        &mut log,
        "large back",
        queue.get().unwrap().len() == 100_000,
    );
    while let Ok(delivery) = queue.try_get() {
        delivery.task_done().unwrap();
    }
    let joined = queue.join().unwrap();
    note(&mut log, "joined", joined.dead == 0);
    queue.put(&log).unwrap();
    queue.close();
}

fn note(log: &mut String, what: &str, is_so: bool) {
    write!(log, "{what}={is_so} ").unwrap();
}

fn put_three(queue: Queue) {
    for n in 1..=3 {
        queue.put(&n.to_string()).unwrap();
    }
}

fn a_handle_in_a_worker_process_behaves_as_one_in_a_thread() {
    // Both run alone with their queue: the test looks at it only when they have closed it.
    for builder in [
        Supervisor::builder().threads(1),
        Supervisor::builder().processes(1),
    ] {
        let queue = place::queue::<String>(bounded(2));
        queue.put("begin").unwrap();
        let builder = builder.restart(Restart::Temporary);
        let pool = builder.worker(&queue, probe).unwrap();
        until("the worker has finished", || queue.is_closed());
        pool.stop();
        let log = queue.get().unwrap().into_item();
        queue.task_done().unwrap();
        assert!(!log.contains("=false"), "{log}");
        assert!(log.contains("joined=true"), "{log}");
    }
}

fn an_attached_handle_behaves_as_one_in_a_thread() {
    let [_, queue] = handles(bounded(2));
    queue.put("begin").unwrap();
    probe(queue.clone());
    let log = queue.get().unwrap().into_item();
    queue.task_done().unwrap();
    assert!(!log.contains("=false"), "{log}");
    assert!(log.contains("joined=true"), "{log}");
}

fn a_worker_process_waits_for_room_until_there_is_some() {
    let queue = place::queue::<String>(bounded(1));
    let builder = Supervisor::builder()
        .processes(1)
        .restart(Restart::Temporary);
    let _pool = builder.worker(&queue, put_three).unwrap();
    for n in 1..=3 {
        let delivery = queue.get_timeout(DEADLINE).unwrap();
        assert_eq!(*delivery, n.to_string());
        assert!(queue.len() <= 1);
        delivery.task_done().unwrap();
    }
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 3);
}

fn a_dropped_delivery_goes_back_and_counts() {
    for queue in handles(Options::default()) {
        queue.put("a").unwrap();
        queue.put("b").unwrap();
        for attempt in 1..=3 {
            let delivery = queue.get().unwrap();
            assert_eq!((delivery.as_str(), delivery.attempt()), ("a", attempt));
        }
        // Three drops made it a dead letter.
        assert_eq!(*queue.get().unwrap().into_item(), *"b");
        queue.task_done().unwrap();
        let joined = queue.join().unwrap();
        assert_eq!((joined.done, joined.dead), (1, 1));
    }
}

fn an_item_taken_out_of_its_delivery_is_acknowledged_by_the_queue() {
    for queue in handles(Options::default()) {
        queue.put("a").unwrap();
        let item = queue.get().unwrap().into_item();
        assert_eq!(item, "a");
        assert!(queue.join_timeout(Duration::ZERO).unwrap_err().is_timeout());
        queue.task_done().unwrap();
        assert_eq!(queue.join().unwrap().done, 1);
    }
}

fn one_threads_task_done_does_not_acknowledge_anothers_item() {
    for queue in handles(Options::default()) {
        queue.put("a").unwrap();
        let delivery = queue.get().unwrap();
        let other = Queue::clone(&queue);
        let error = std::thread::spawn(move || other.task_done().unwrap_err());
        assert!(error.join().unwrap().is_task_done_too_often());
        // A delivery may be settled in any thread, because it is the proof itself.
        std::thread::spawn(move || delivery.task_done().unwrap())
            .join()
            .unwrap();
        assert!(queue.task_done().unwrap_err().is_task_done_too_often());
    }
}

fn items_of_an_ended_thread_go_back() {
    for queue in handles(Options::default()) {
        queue.put("a").unwrap();
        let other = Queue::clone(&queue);
        let taken = std::thread::spawn(move || other.get().unwrap().into_item());
        assert_eq!(taken.join().unwrap(), "a");
        let again = queue.get_timeout(DEADLINE).unwrap();
        assert_eq!(again.attempt(), 2);
        again.task_done().unwrap();
    }
}

fn get_keeps_its_time_and_put_its_bound() {
    for queue in handles(bounded(2)) {
        let time = Duration::from_millis(20);
        let began = std::time::Instant::now();
        assert!(queue.get_timeout(time).unwrap_err().is_empty());
        assert!(began.elapsed() >= time);
        queue.put("a").unwrap();
        queue.put_timeout("b", Duration::MAX).unwrap();
        assert!(queue.is_full() && queue.qsize() == 2);
        let began = std::time::Instant::now();
        assert!(queue.put_timeout("c", time).unwrap_err().is_full());
        assert!(began.elapsed() >= time);
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn an_idle_async_get_is_polled_only_when_something_is_there() {
    let queue = place::queue::<String>(Options::default());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut get = Box::pin(queue.get_async());
    assert!(get.as_mut().poll(&mut context).is_pending());
    assert!(get.as_mut().poll(&mut context).is_pending());
    // Another one is dropped while it waits, and leaves nothing behind.
    drop(Box::pin(queue.get_async()).as_mut().poll(&mut context));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0, "it wakes itself");
    queue.put("a").unwrap();
    // Once, or again while the item still waits for it.
    until("it is woken", || wakes.0.load(Ordering::Relaxed) > 0);
    match get.as_mut().poll(&mut context) {
        Poll::Ready(Ok(delivery)) => delivery.task_done().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn a_closed_queue_lets_every_getter_go_when_its_last_item_is_taken() {
    let rest = Duration::from_millis(50);
    for queue in handles(Options::default().backoff(Backoff::exponential(rest, rest))) {
        queue.put("a").unwrap();
        queue.get().unwrap().nack("later").unwrap();
        let getters: Vec<_> = (0..3)
            .map(|_| {
                let queue = Queue::clone(&queue);
                std::thread::spawn(move || match queue.get_timeout(2 * DEADLINE) {
                    Ok(delivery) => delivery.task_done().is_ok(),
                    Err(error) => {
                        assert!(error.is_closed(), "{error}");
                        false
                    }
                })
            })
            .collect();
        queue.close();
        let got: Vec<bool> = getters.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(got.iter().filter(|is_it| **is_it).count(), 1);
    }
}
