//! Worker processes with a loop of their own, which are handed items ahead of their gets.

use std::path::Path;
use std::time::Duration;

use dishrack::{JoinableQueue, Supervisor};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, send, until};

crate::trials!(
    what_a_loop_has_in_advance_goes_to_an_idle_one,
    what_a_loop_has_in_advance_is_found_by_a_get_that_does_not_wait,
    what_a_loop_has_in_advance_is_counted_until_it_takes_it,
    what_a_killed_loop_had_only_in_advance_is_not_charged,
    what_a_loop_that_ends_had_in_advance_is_not_charged,
    a_pause_takes_back_what_a_loop_has_in_advance,
    a_stopped_loop_keeps_nobody_from_a_get_that_does_not_wait,
    several_items_are_settled_in_any_order_and_thread,
    a_handler_may_get_items_and_settle_them_later,
);

type Queue = JoinableQueue<Work>;

/// Starts loops that have done so many items that they are handed some in advance.
fn seasoned(queue: &Queue, workers: usize) -> Supervisor<Work, ()> {
    let pool = Supervisor::builder().processes(workers);
    let pool = pool.worker(queue, roles::chapters_loop).unwrap();
    until("the workers are ready", || pool.workers().len() == workers);
    for _ in 0..64 {
        queue.put(&Work::Nothing).unwrap();
    }
    join(queue, 64);
    pool
}

fn join(queue: &Queue, done: u64) {
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (done, 0));
}

/// Lets a loop begin an item that lasts until the file is there, and hands it so many in advance.
fn occupy(queue: &Queue, file: &Path, behind: usize) {
    let work = Work::AwaitFile(file.to_str().unwrap().into());
    let items = std::iter::once(work).chain((0..behind).map(|_| Work::Nothing));
    let items: Vec<Work> = items.collect();
    put_together(queue, &items);
    let started = file.with_extension("started");
    until("it is begun", || started.exists());
}

/// Puts items that are handed out in one go.
fn put_together(queue: &Queue, items: &[Work]) {
    queue.pause().unwrap();
    queue.put_many(items).into_result().unwrap();
    queue.unpause().unwrap();
}

fn what_a_loop_has_in_advance_goes_to_an_idle_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let queue = Queue::unbounded();
    let _pool = seasoned(&queue, 2);
    occupy(&queue, &file, 20);
    until("the other one has done the rest", || {
        queue.counts().unwrap().done == 64 + 20
    });
    std::fs::write(&file, "").unwrap();
    join(&queue, 64 + 21);
    assert_eq!(queue.counts().unwrap().retries, 0);
}

fn what_a_loop_has_in_advance_is_found_by_a_get_that_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let queue = Queue::unbounded();
    let _pool = seasoned(&queue, 1);
    occupy(&queue, &file, 5);
    for left in (0..5).rev() {
        let delivery = queue.try_get().unwrap();
        assert_eq!((delivery.attempt(), queue.len()), (1, left));
        delivery.task_done().unwrap();
    }
    assert!(queue.try_get().unwrap_err().is_empty());
    std::fs::write(&file, "").unwrap();
    join(&queue, 64 + 6);
}

fn what_a_loop_has_in_advance_is_counted_until_it_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let queue = Queue::bounded(70);
    let _pool = seasoned(&queue, 1);
    occupy(&queue, &file, 69);
    assert_eq!(queue.len(), 69);
    queue.try_put(&Work::Nothing).unwrap();
    assert!(queue.try_put(&Work::Nothing).unwrap_err().is_full());
    std::fs::write(&file, "").unwrap();
    queue.put_timeout(&Work::Nothing, DEADLINE).unwrap();
    join(&queue, 64 + 72);
    assert!(queue.is_empty());
}

fn what_a_killed_loop_had_only_in_advance_is_not_charged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let queue = Queue::unbounded();
    let pool = seasoned(&queue, 1);
    occupy(&queue, &file, 6);
    send(pool.workers()[0].pid, Signal::SIGKILL);
    std::fs::write(&file, "").unwrap();
    join(&queue, 64 + 7);
    assert_eq!(queue.counts().unwrap().retries, 1, "the one that it was at");
}

fn what_a_loop_that_ends_had_in_advance_is_not_charged() {
    let queue = Queue::unbounded();
    let pool = seasoned(&queue, 1);
    let items = [Work::Nothing, Work::Leave, Work::Nothing, Work::Nothing];
    put_together(&queue, &items);
    until("the loop has ended", || pool.workers().is_empty());
    until("what it had is back", || {
        queue.counts().unwrap().leased == 0
    });
    let counts = queue.counts().unwrap();
    assert_eq!((counts.waiting, counts.done, counts.retries), (2, 66, 0));
}

fn a_pause_takes_back_what_a_loop_has_in_advance() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let queue = Queue::unbounded();
    let _pool = seasoned(&queue, 1);
    occupy(&queue, &file, 6);
    queue.pause_timeout(DEADLINE).unwrap();
    let counts = queue.counts().unwrap();
    assert_eq!((counts.waiting, counts.leased), (6, 1));
    std::fs::write(&file, "").unwrap();
    until("it is done", || queue.counts().unwrap().done == 65);
    assert_eq!(queue.counts().unwrap().waiting, 6, "nothing is begun");
    queue.unpause().unwrap();
    join(&queue, 64 + 7);
}

/// Returns `true` if all threads of a process are stopped.
fn is_stopped(pid: u32) -> bool {
    let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.all(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (_, state) = stat.rsplit_once(") ").unwrap();
        state.starts_with('T')
    })
}

fn a_stopped_loop_keeps_nobody_from_a_get_that_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let queue = Queue::unbounded();
    let pool = seasoned(&queue, 1);
    occupy(&queue, &file, 3);
    let pid = pool.workers()[0].pid;
    send(pid, Signal::SIGSTOP);
    until("all of it stands still", || is_stopped(pid));
    assert!(queue.try_get().unwrap_err().is_empty());
    let asked = queue.get_timeout(Duration::from_millis(50));
    assert!(asked.unwrap_err().is_empty());
    send(pid, Signal::SIGCONT);
    std::fs::write(&file, "").unwrap();
    join(&queue, 64 + 4);
}

fn several_items_are_settled_in_any_order_and_thread() {
    let queue = Queue::unbounded();
    let pool = Supervisor::builder().processes(2);
    let _pool = pool.worker(&queue, roles::settle_in_reverse).unwrap();
    let items: Vec<Work> = (0..3000).map(|_| Work::Nothing).collect();
    queue.put_many(&items).into_result().unwrap();
    // What is left in the hands of one waits for more.
    until("nearly all are done", || {
        let counts = queue.counts().unwrap();
        counts.done >= 2996 && counts.waiting == 0
    });
    queue
        .put_many(&vec![Work::Nothing; 6])
        .into_result()
        .unwrap();
    until("no more than two are left to each", || {
        queue.counts().unwrap().done >= 3002
    });
    assert_eq!(queue.counts().unwrap().retries, 0);
}

fn a_handler_may_get_items_and_settle_them_later() {
    // Workers whose items take long have none in advance.
    for (work, count, rounds) in [(Work::Nothing, 100, 20), (Work::Nap(5), 6, 5)] {
        let queue = Queue::unbounded();
        let pool = Supervisor::builder().processes(2);
        let _pool = pool.handler(&queue, roles::get_within).unwrap();
        for round in 1..=rounds {
            queue
                .put_many(&vec![work.clone(); count])
                .into_result()
                .unwrap();
            // Each may keep one until its next item comes.
            until("all but two are done", || {
                queue.counts().unwrap().done >= count as u64 * round - 2
            });
        }
        assert_eq!(queue.counts().unwrap().retries, 0);
    }
}
