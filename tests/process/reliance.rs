//! Tiny items make batches and keep other workers asleep: that must not delay anything when an item
//! turns out to be long, or a worker is suspended.

use dishrack::{JoinableQueue, StartMethod, Supervisor};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, send, until};

crate::trials!(
    items_behind_a_long_one_are_done_by_others,
    few_items_do_not_wait_for_a_stopped_worker,
    a_producer_that_pauses_leaves_nothing_behind,
    tiny_items_before_a_crash_are_not_done_again,
);

/// Makes two workers that have had nothing but tiny items.
fn warm_pool(method: StartMethod) -> (JoinableQueue<Work>, Supervisor<Work, u64>) {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(2).start_method(method);
    let pool = builder.handler(&queue, roles::work).unwrap();
    until("both are ready", || pool.workers().len() == 2);
    put(&queue, 20_000);
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 20_000);
    (queue, pool)
}

fn put(queue: &JoinableQueue<Work>, items: u64) {
    for _ in 0..items {
        queue.put(&Work::Nothing).unwrap();
    }
}

fn items_behind_a_long_one_are_done_by_others() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let (queue, _pool) = warm_pool(method);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("go").to_str().unwrap().to_owned();
        for round in 1..=10 {
            put(&queue, 50);
            queue.put(&Work::AwaitFile(path.clone())).unwrap();
            put(&queue, 500);
            until("all but the long one are done", || {
                let counts = queue.counts().unwrap();
                counts.leased == 1 && counts.waiting == 0
            });
            std::fs::write(&path, "").unwrap();
            let joined = queue.join_timeout(DEADLINE).unwrap();
            assert_eq!((joined.done, joined.dead), (20_000 + 551 * round, 0));
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(queue.counts().unwrap().retries, 0);
    }
}

fn few_items_do_not_wait_for_a_stopped_worker() {
    let (queue, pool) = warm_pool(StartMethod::Spawn);
    let stopped = pool.workers()[0].pid;
    for round in 1..=10 {
        send(stopped, Signal::SIGSTOP);
        put(&queue, 100);
        // The items that the suspended worker was given stay its own: slow is not dead.
        until("nothing waits", || queue.counts().unwrap().waiting == 0);
        send(stopped, Signal::SIGCONT);
        let joined = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!(joined.done, 20_000 + 100 * round);
    }
}

/// In a batch of any size, the last items are done without another put or join.
fn a_producer_that_pauses_leaves_nothing_behind() {
    let (queue, _pool) = warm_pool(StartMethod::Spawn);
    let mut expected = 20_000;
    for items in 1..300 {
        put(&queue, items);
        expected += items;
        until("all are done", || queue.counts().unwrap().done == expected);
    }
}

/// Finished items are acknowledged even if the words were not read before the worker is killed.
fn tiny_items_before_a_crash_are_not_done_again() {
    let (queue, _pool) = warm_pool(StartMethod::Spawn);
    for _ in 0..50 {
        put(&queue, 20);
        queue.put(&Work::Signal(9)).unwrap();
        put(&queue, 20);
    }
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (22_000, 50));
    assert_eq!(
        queue.counts().unwrap().retries,
        100,
        "two for each of the fifty"
    );
}
