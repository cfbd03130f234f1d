//! The tests of `queue.Queue.shutdown` in `test_queue.py`. `close` is the shutdown that lets the
//! remaining items be taken. The immediate shutdown throws items away, which this queue never does
//! by itself: it is `close`, followed by taking the rest.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use dishrack::{Error, JoinableQueue, Joined};

use super::{DEADLINE, end_of, waiting};

crate::timely_trials! {
    test_shutdown_empty,
    test_shutdown_nonempty,
    test_shutdown_immediate,
    test_shutdown_allowed_transitions,
    test_shutdown_all_methods_in_one_thread,
    test_shutdown_immediate_all_methods_in_one_thread,
    test_shutdown_all_methods_in_many_threads => shut_down_among_many_threads(false),
    test_shutdown_immediate_all_methods_in_many_threads => shut_down_among_many_threads(true),
    test_shutdown_get,
    test_shutdown_immediate_get,
    test_shutdown_put => refuse_pending_puts(false),
    test_shutdown_immediate_put => refuse_pending_puts(true),
    test_shutdown_join,
    test_shutdown_immediate_join,
    test_shutdown_put_join => put_and_join_across_a_shutdown(false),
    test_shutdown_immediate_put_join => put_and_join_across_a_shutdown(true),
    test_shutdown_get_task_done_join,
    test_shutdown_pending_get,
}

type Queue = JoinableQueue<String>;

fn queue_of(items: &[&str]) -> Queue {
    let queue = Queue::bounded(2);
    for item in items {
        queue.put(*item).unwrap();
    }
    queue
}

fn shut_down(queue: &Queue, is_immediate: bool) {
    queue.close();
    if is_immediate {
        while get_task_done(queue.try_get()).is_ok() {}
    }
}

/// Returns the item, acknowledged.
fn get_task_done(got: Result<dishrack::Delivery<String>, Error>) -> Result<String, Error> {
    let delivery = got?;
    let item = delivery.clone();
    delivery.task_done().unwrap();
    Ok(item)
}

/// Checks that nothing can be put any more.
fn expect_put_refused(queue: &Queue) {
    let item = "E".to_owned();
    assert!(queue.put(&item).unwrap_err().is_closed());
    assert!(queue.try_put(&item).unwrap_err().is_closed());
    assert!(queue.put_timeout(&item, DEADLINE).unwrap_err().is_closed());
}

/// Checks that nothing can be got any more.
fn expect_get_refused(queue: &Queue) {
    assert!(queue.get().unwrap_err().is_closed());
    assert!(queue.try_get().unwrap_err().is_closed());
    assert!(queue.get_timeout(DEADLINE).unwrap_err().is_closed());
}

fn expect_joined(joined: Result<Joined, Error>, done: u64) {
    let joined = joined.unwrap();
    assert_eq!((joined.done, joined.dead), (done, 0));
}

fn test_shutdown_empty() {
    let queue = queue_of(&[]);
    queue.close();
    expect_put_refused(&queue);
    expect_get_refused(&queue);
}

fn test_shutdown_nonempty() {
    let queue = queue_of(&["data"]);
    queue.close();
    assert_eq!(get_task_done(queue.get()).unwrap(), "data");
    expect_get_refused(&queue);
}

fn test_shutdown_immediate() {
    let queue = queue_of(&["data"]);
    shut_down(&queue, true);
    expect_get_refused(&queue);
}

fn test_shutdown_allowed_transitions() {
    let queue = queue_of(&["data"]);
    assert!(!queue.is_closed());
    for (is_immediate, left) in [(false, 1), (true, 0), (false, 0)] {
        shut_down(&queue, is_immediate);
        assert_eq!((queue.is_closed(), queue.len()), (true, left));
    }
    expect_put_refused(&queue);
    expect_get_refused(&queue);
}

fn test_shutdown_all_methods_in_one_thread() {
    let queue = queue_of(&["L", "O"]);
    shut_down(&queue, false);
    expect_put_refused(&queue);
    for item in ["L", "O"] {
        assert_eq!(get_task_done(queue.get()).unwrap(), item);
    }
    expect_joined(queue.join(), 2);
    expect_get_refused(&queue);
}

fn test_shutdown_immediate_all_methods_in_one_thread() {
    let queue = queue_of(&["L", "O"]);
    shut_down(&queue, true);
    expect_put_refused(&queue);
    expect_get_refused(&queue);
    assert!(queue.task_done().unwrap_err().is_task_done_too_often());
    expect_joined(queue.join(), 2);
}

const WRITERS: usize = 4;
const READERS: usize = 6;
const JOINERS: usize = 2;

/// The account of many threads that used a queue.
#[derive(Default)]
struct Traffic {
    put: AtomicUsize,
    got: AtomicUsize,
    refused_writers: AtomicUsize,
    is_time_to_shut_down: AtomicBool,
}

/// Shuts the queue down while threads write, read and join without end. All threads end, and every
/// accepted item is accounted for.
fn shut_down_among_many_threads(is_immediate: bool) {
    let queue = Queue::unbounded();
    let traffic = Traffic::default();
    let start = Barrier::new(WRITERS + READERS + JOINERS);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| write_until_refused(&queue, &traffic, &start));
        }
        for _ in 0..READERS {
            scope.spawn(|| read_until_refused(&queue, &traffic, &start));
        }
        for _ in 0..JOINERS {
            scope.spawn(|| {
                start.wait();
                queue.join_timeout(DEADLINE).unwrap();
            });
        }
        while !traffic.is_time_to_shut_down.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        queue.close();
        if is_immediate {
            while get_task_done(queue.try_get()).is_ok() {
                traffic.got.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    assert_eq!(traffic.refused_writers.load(Ordering::SeqCst), WRITERS);
    let put = traffic.put.load(Ordering::SeqCst);
    assert!(put >= WRITERS * 1000, "{put}");
    assert_eq!(traffic.got.load(Ordering::SeqCst), put);
    assert!(queue.is_empty());
    expect_joined(queue.join(), put as u64);
}

fn write_until_refused(queue: &Queue, traffic: &Traffic, start: &Barrier) {
    start.wait();
    for n in 1.. {
        match queue.put(&n.to_string()) {
            Ok(_) => traffic.put.fetch_add(1, Ordering::SeqCst),
            Err(error) => {
                assert!(error.is_closed(), "{error}");
                traffic.refused_writers.fetch_add(1, Ordering::SeqCst);
                return;
            }
        };
        // The last one to get this far permits the shutdown.
        if n == 1000 && traffic.put.load(Ordering::SeqCst) >= WRITERS * 1000 {
            traffic.is_time_to_shut_down.store(true, Ordering::SeqCst);
        }
    }
}

fn read_until_refused(queue: &Queue, traffic: &Traffic, start: &Barrier) {
    start.wait();
    loop {
        match get_task_done(queue.try_get()) {
            Ok(_) => {
                traffic.got.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if error.is_closed() => return,
            Err(error) => assert!(error.is_empty(), "{error}"),
        }
    }
}

/// Three threads want one of two items. In CPython they begin after the shutdown; here, at any
/// time.
fn test_shutdown_get() {
    let queue = queue_of(&["Y", "D"]);
    let gets = [(); 3].map(|()| {
        let queue = queue.clone();
        std::thread::spawn(move || get_task_done(queue.get()))
    });
    queue.close();
    let (got, refused): (Vec<_>, Vec<_>) = gets.into_iter().map(end_of).partition(Result::is_ok);
    assert_eq!((got.len(), refused.len()), (2, 1));
    assert!(refused[0].as_ref().unwrap_err().is_closed());
}

fn waiting_get(queue: &Queue) -> JoinHandle<Result<String, Error>> {
    let queue = queue.clone();
    waiting(move || get_task_done(queue.get()))
}

fn waiting_put(queue: &Queue) -> JoinHandle<Result<dishrack::ItemId, Error>> {
    let queue = queue.clone();
    waiting(move || queue.put("E"))
}

fn waiting_join(queue: &Queue) -> JoinHandle<Result<Joined, Error>> {
    let queue = queue.clone();
    waiting(move || queue.join())
}

fn test_shutdown_immediate_get() {
    let queue = queue_of(&["Y", "D"]);
    shut_down(&queue, true);
    for _ in 0..2 {
        assert!(queue.get().unwrap_err().is_closed());
    }
}

/// Both threads wait for room when it comes, and room made by taking items is not for them.
fn refuse_pending_puts(is_immediate: bool) {
    let queue = queue_of(&["Y", "D"]);
    let puts = [(); 2].map(|()| waiting_put(&queue));
    shut_down(&queue, is_immediate);
    for put in puts {
        assert!(end_of(put).unwrap_err().is_closed());
    }
    assert_eq!(queue.len(), if is_immediate { 0 } else { 2 });
}

fn test_shutdown_join() {
    let queue = queue_of(&["Y"]);
    let joins = [(); 2].map(|()| waiting_join(&queue));
    queue.close();
    assert!(joins.iter().all(|join| !join.is_finished()));
    assert_eq!(get_task_done(queue.get()).unwrap(), "Y");
    for join in joins {
        expect_joined(end_of(join), 1);
    }
}

fn test_shutdown_immediate_join() {
    let queue = queue_of(&["Y"]);
    let joins = [(); 2].map(|()| waiting_join(&queue));
    shut_down(&queue, true);
    for join in joins {
        expect_joined(end_of(join), 1);
    }
}

fn put_and_join_across_a_shutdown(is_immediate: bool) {
    let queue = queue_of(&["Y"]);
    let join = waiting_join(&queue);
    assert_eq!(queue.counts().unwrap().unfinished(), 1);
    shut_down(&queue, is_immediate);
    assert!(queue.put("E").unwrap_err().is_closed());
    if is_immediate {
        assert!(queue.try_get().unwrap_err().is_closed());
    } else {
        assert_eq!(get_task_done(queue.get()).unwrap(), "Y");
    }
    expect_joined(end_of(join), 1);
}

fn test_shutdown_get_task_done_join() {
    let queue = queue_of(&["Y", "D"]);
    let counts = queue.counts().unwrap();
    assert_eq!(counts.unfinished(), queue.qsize() as u64);
    let joins = [(); 2].map(|()| waiting_join(&queue));
    queue.close();
    let gets = [(); 2].map(|()| {
        let queue = queue.clone();
        std::thread::spawn(move || get_task_done(queue.get()))
    });
    let mut items = gets.map(|get| end_of(get).unwrap());
    items.sort();
    assert_eq!(items, ["D", "Y"]);
    for join in joins {
        expect_joined(end_of(join), 2);
    }
}

fn test_shutdown_pending_get() {
    let queue = queue_of(&[]);
    let pending = waiting_get(&queue);
    queue.close();
    assert!(end_of(pending).unwrap_err().is_closed());
}
