//! Workers of this process have items in advance and acknowledge them by a store: what is seen of
//! that, and when.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use dishrack::observe::{Event, Observer};
use dishrack::{Builder, Cause, Counts, JoinableQueue, Joined, Options, Supervisor};

use crate::deadline::{DEADLINE, until};

crate::timely_trials! {
    what_was_done_before_a_long_item_is_heard_of,
    what_a_busy_thread_has_not_begun_goes_to_an_idle_one,
    what_a_busy_task_has_not_begun_goes_to_an_idle_one,
    an_item_that_is_cancelled_before_it_is_begun_is_never_begun,
    what_was_not_begun_goes_back_at_once_when_its_thread_is_stopped,
    joins_return_whatever_the_pace,
    results_arrive_whatever_the_pace,
    a_join_waits_for_a_thread_between_two_gets_and_no_longer,
}

/// An item; those above 0 wait at a gate.
const TINY: u64 = 0;

/// The number of tiny items after which a worker may have many in advance.
const WARMING: u64 = 200;

/// Handlers say which gated item they are at, and wait until the gate is opened for one.
struct Gate {
    begun: Receiver<u64>,
    open: Sender<()>,
}

impl Gate {
    fn new() -> (Self, impl Fn(u64) -> Result<(), Infallible> + Clone) {
        let (told, begun) = unbounded();
        let (open, opened) = unbounded::<()>();
        let pass = move |item: u64| {
            if item != TINY {
                // The test may be over already.
                let _ = told.send(item);
                let _ = opened.recv();
            }
            Ok(())
        };
        (Gate { begun, open }, pass)
    }

    fn await_begun(&self, item: u64) {
        assert_eq!(self.begun.recv_timeout(DEADLINE), Ok(item));
    }

    fn open(&self) {
        self.open.send(()).unwrap();
    }
}

fn put(queue: &JoinableQueue<u64>, items: impl IntoIterator<Item = u64>) {
    for item in items {
        queue.put(&item).unwrap();
    }
}

fn join(queue: &JoinableQueue<u64>) -> (u64, u64) {
    let Joined { done, dead, .. } = queue.join_timeout(DEADLINE).unwrap();
    (done, dead)
}

/// Lets workers do tiny items, so that they get others in advance.
fn warm(queue: &JoinableQueue<u64>) {
    put(queue, (0..WARMING).map(|_| TINY));
    join(queue);
}

/// Has a worker that is at item 1 with these behind it: they wait until it is given all of them.
fn give_in_advance(queue: &JoinableQueue<u64>, gate: &Gate, items: &[u64]) {
    put(queue, [1]);
    gate.await_begun(1);
    put(queue, items.iter().copied());
    gate.open();
}

/// Sees the counts that the queue tells by itself.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Observer for Counting {
    fn wants_items(&self) -> bool {
        false
    }

    fn observe(&self, _: Event) {}

    fn progress(&self, counts: &Counts) {
        self.0.store(counts.done, Ordering::Release);
    }
}

/// The tiny item between two long ones is stored as done, and nobody asks the queue.
fn what_was_done_before_a_long_item_is_heard_of() {
    for _ in 0..30 {
        let queue = JoinableQueue::unbounded();
        let (gate, pass) = Gate::new();
        let seen = Arc::new(Counting::default());
        let builder = Supervisor::builder().threads(1).observer(seen.clone());
        let pool = builder.handler(&queue, pass).unwrap();
        warm(&queue);
        give_in_advance(&queue, &gate, &[2, TINY, 3]);
        gate.await_begun(2);
        gate.open();
        gate.await_begun(3);
        until("the tiny one is counted", || {
            seen.0.load(Ordering::Acquire) == WARMING + 3
        });
        gate.open();
        assert_eq!(join(&queue), (WARMING + 4, 0));
        drop(pool);
    }
}

fn pass_others_while_one_is_busy(
    pool: Supervisor<u64, ()>,
    queue: &JoinableQueue<u64>,
    gate: &Gate,
) {
    warm(queue);
    give_in_advance(queue, gate, &[2, TINY, TINY, TINY]);
    gate.await_begun(2);
    put(queue, [TINY; 20]);
    let done = WARMING + 1 + 3 + 20;
    until("the others are done", || {
        queue.counts().unwrap().done == done
    });
    let counts = queue.counts().unwrap();
    assert_eq!((counts.leased, counts.waiting, counts.refused), (1, 0, 0));
    gate.open();
    assert_eq!(join(queue), (done + 1, 0));
    drop(pool);
}

fn what_a_busy_thread_has_not_begun_goes_to_an_idle_one() {
    let queue = JoinableQueue::unbounded();
    let (gate, pass) = Gate::new();
    let pool = Supervisor::builder()
        .threads(2)
        .handler(&queue, pass)
        .unwrap();
    pass_others_while_one_is_busy(pool, &queue, &gate);
}

fn what_a_busy_task_has_not_begun_goes_to_an_idle_one() {
    let queue = JoinableQueue::unbounded();
    let (told, begun) = unbounded();
    let (open, opened) = unbounded::<()>();
    let pass = move |item: u64| {
        let (told, opened) = (told.clone(), opened.clone());
        async move {
            if item != TINY {
                let _ = told.send(item);
                while opened.try_recv().is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
            Ok::<(), Infallible>(())
        }
    };
    let pool = Supervisor::builder()
        .tasks(2)
        .handler_async(&queue, pass)
        .unwrap();
    pass_others_while_one_is_busy(pool, &queue, &Gate { begun, open });
}

fn an_item_that_is_cancelled_before_it_is_begun_is_never_begun() {
    let queue = JoinableQueue::unbounded();
    let (gate, pass) = Gate::new();
    let _pool = Supervisor::builder()
        .threads(1)
        .handler(&queue, pass)
        .unwrap();
    warm(&queue);
    give_in_advance(&queue, &gate, &[2, 3, 4]);
    gate.await_begun(2);
    // The numbers of items follow each other: 1 is the first after those that warmed.
    assert!(queue.cancel(dishrack::ItemId(WARMING + 3)).unwrap());
    gate.open();
    gate.await_begun(4);
    gate.open();
    assert_eq!(join(&queue), (WARMING + 3, 1));
    let letters = queue.dead_letters().unwrap();
    assert_eq!((letters.len(), letters[0].payload), (1, 3));
    assert_eq!(letters[0].history[0].cause, Cause::Cancelled);
    assert_eq!(queue.counts().unwrap().refused, 0);
}

fn what_was_not_begun_goes_back_at_once_when_its_thread_is_stopped() {
    let queue = JoinableQueue::unbounded();
    let (gate, pass) = Gate::new();
    let pool = Supervisor::builder()
        .threads(1)
        .handler(&queue, pass)
        .unwrap();
    // A busy machine may leave the worker too little credit for all three; then they are done.
    let mut before = 0;
    loop {
        warm(&queue);
        give_in_advance(&queue, &gate, &[2, 3, 4]);
        gate.await_begun(2);
        before += WARMING + 1;
        if queue.counts().unwrap().leased == 3 {
            break;
        }
        (0..3).for_each(|_| gate.open());
        join(&queue);
        gate.await_begun(3);
        gate.await_begun(4);
        before += 3;
    }
    let stop = std::thread::spawn(move || pool.stop());
    until("two go back", || queue.counts().unwrap().waiting == 2);
    assert_eq!(queue.counts().unwrap().leased, 1, "it is finished");
    gate.open();
    stop.join().unwrap();
    let counts = queue.counts().unwrap();
    assert_eq!((counts.done, counts.waiting), (before + 1, 2));
    assert!(gate.begun.is_empty());
}

/// Joins after batches of all sizes, by one or two callers, with and without polling. A wake-up
/// that is lost is a hang.
fn joins_return_whatever_the_pace() {
    let builders: [fn() -> Builder; 4] = [
        || Supervisor::builder().threads(1),
        || Supervisor::builder().threads(3),
        || Supervisor::builder().threads(2).without_polling(),
        || Supervisor::builder().threads(2).without_prefetch(),
    ];
    for builder in builders {
        let queue = JoinableQueue::bounded(64);
        let seen = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&seen);
        let pool = builder().handler(&queue, move |item: u64| {
            let spins = if item.is_multiple_of(97) {
                3000
            } else {
                item % 50
            };
            (0..spins).for_each(|_| std::hint::spin_loop());
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<(), Infallible>(())
        });
        let pool = pool.unwrap();
        let mut items = 0;
        for round in 0..400_u64 {
            let size = 1 + round * round % 150;
            std::thread::scope(|scope| {
                let other = (round % 3 == 0).then(|| {
                    let queue = queue.clone();
                    scope.spawn(move || {
                        put(&queue, 0..size);
                        join(&queue);
                    })
                });
                put(&queue, 0..size);
                join(&queue);
                items += if other.is_some() { 2 * size } else { size };
            });
            assert_eq!(join(&queue), (items, 0));
            assert_eq!(seen.load(Ordering::Relaxed), items);
        }
        drop(pool);
    }
}

/// The same for results, which a caller awaits one by one. Every fifth attempt fails, and one in a
/// hundred panics.
fn results_arrive_whatever_the_pace() {
    let queue = JoinableQueue::with(Options::default().max_attempts(1));
    let pool = Supervisor::builder()
        .threads(2)
        .handler(&queue, |item: u64| match item {
            _ if item % 100 == 7 => panic!("a bad item"),
            _ if item.is_multiple_of(5) => Err("a fifth"),
            _ => Ok(item),
        });
    let pool: Supervisor<u64, u64> = pool.unwrap();
    for size in [1, 2, 10, 300, 3000] {
        let results: Vec<bool> = pool.map(0..size).map(|result| result.is_ok()).collect();
        let expected = (0..size).map(|item| item % 100 != 7 && !item.is_multiple_of(5));
        assert!(results.into_iter().eq(expected));
    }
    let counts = queue.counts().unwrap();
    assert!(counts.is_balanced() && counts.unfinished() == 0);
}

/// The pool has ended, and a thread that has taken an item does something else before the next one.
fn a_join_waits_for_a_thread_between_two_gets_and_no_longer() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().threads(1);
    let pool = pool.handler(&queue, |_: u64| Ok::<(), Infallible>(()));
    pool.unwrap().stop();
    put(&queue, [1, 2, 3, 4]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Whoever joins does not count, also if it has taken an item itself.
            queue.get().unwrap().task_done().unwrap();
            let lost = queue.join_timeout(DEADLINE).unwrap_err();
            assert!(lost.is_no_workers_left(), "{lost}");
        });
    });
    let (told, asked) = unbounded::<()>();
    let taker = queue.clone();
    let consumer = std::thread::spawn(move || {
        while asked.recv().is_ok() {
            taker.get().unwrap().task_done().unwrap();
        }
    });
    told.send(()).unwrap();
    until("it has taken one", || queue.counts().unwrap().done == 2);
    let early = queue.join_timeout(Duration::from_millis(50)).unwrap_err();
    assert!(early.is_timeout(), "{early}");
    let joiner = queue.clone();
    let join = std::thread::spawn(move || joiner.join_timeout(DEADLINE));
    told.send(()).unwrap();
    until("it has taken another", || queue.counts().unwrap().done == 3);
    drop(told);
    consumer.join().unwrap();
    let lost = join.join().unwrap().unwrap_err();
    assert!(lost.is_no_workers_left(), "{lost}");
}
