//! Workers that come, go and are replaced while the work goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{JoinableQueue, RunState, StartMethod, Supervisor, WorkerState};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, is_alive, send, until};

crate::timely_trials! {
    a_worker_that_leaves_finishes_what_it_holds,
    idle_workers_leave_before_a_busy_one,
    a_worker_that_is_killed_while_it_leaves_is_not_started_again,
    a_stop_ends_a_worker_that_leaves,
    a_later_number_takes_the_place_of_the_first,
    a_new_worker_is_ready_before_an_old_one_goes,
    more_workers_than_there_are_files_for_are_refused,
    any_changes_of_processes_lose_nothing,
    any_changes_of_forked_processes_lose_nothing,
    any_changes_of_threads_lose_nothing,
    any_changes_of_tasks_lose_nothing,
    tasks_that_always_find_an_item_let_others_begin_and_end,
}

/// Keeps the events of workers and of their number.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<EventKind>>);

impl Observer for Seen {
    fn wants_items(&self) -> bool {
        false
    }

    fn observe(&self, event: Event) {
        self.0.lock().unwrap().push(event.kind);
    }
}

fn pool_of(
    workers: usize,
    method: StartMethod,
) -> (JoinableQueue<Work>, Supervisor<Work, u64>, Arc<Seen>) {
    let (queue, seen) = (JoinableQueue::unbounded(), Arc::new(Seen::default()));
    let builder = Supervisor::builder()
        .processes(workers)
        .start_method(method)
        .observer(Arc::clone(&seen) as _);
    let pool = builder.handler(&queue, roles::work).unwrap();
    until("all are ready", || pool.workers().len() == workers);
    (queue, pool, seen)
}

fn file_in(folder: &Path) -> (String, PathBuf) {
    let go = folder.join("go").to_str().unwrap().to_owned();
    let started = PathBuf::from(format!("{go}.started"));
    (go, started)
}

fn is_stopping(pool: &Supervisor<Work, u64>) -> bool {
    let workers = pool.status().workers;
    workers.iter().any(|one| one.state == WorkerState::Stopping)
}

fn a_worker_that_leaves_finishes_what_it_holds() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let folder = tempfile::tempdir().unwrap();
        let (go, started) = file_in(folder.path());
        let (queue, pool, seen) = pool_of(1, method);
        queue.put(&Work::AwaitFile(go.clone())).unwrap();
        until("it works", || started.exists());
        let error = pool
            .scale_timeout(0, Duration::from_millis(10))
            .unwrap_err();
        assert!(error.is_timeout(), "{error}");
        // The supervising thread may hear of it later than that.
        until("it is to leave", || is_stopping(&pool));
        std::fs::write(&go, "").unwrap();
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
        until("it has left", || pool.status().workers.is_empty());
        // With nobody there the pool is not over.
        queue.put(&Work::Nothing).unwrap();
        assert_eq!(pool.status().state, RunState::Running);
        pool.scale(2).unwrap();
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 2);
        assert_eq!((pool.workers().len(), pool.restarts()), (2, 0));
        assert_eq!(queue.counts().unwrap().retries, 0);
        let events = seen.0.lock().unwrap();
        let scaled = events.iter().filter_map(|event| match event {
            EventKind::Scaled { workers, .. } => Some(*workers),
            _ => None,
        });
        assert!(scaled.eq([0, 2]), "{events:?}");
    }
}

fn idle_workers_leave_before_a_busy_one() {
    let folder = tempfile::tempdir().unwrap();
    let (go, started) = file_in(folder.path());
    let (queue, pool, _) = pool_of(4, StartMethod::Spawn);
    queue.put(&Work::AwaitFile(go.clone())).unwrap();
    until("one works", || started.exists());
    pool.scale(1).unwrap();
    let left = pool.status().workers;
    assert_eq!((left.len(), left[0].state), (1, WorkerState::Busy));
    std::fs::write(&go, "").unwrap();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
}

fn a_worker_that_is_killed_while_it_leaves_is_not_started_again() {
    let (queue, pool, _) = pool_of(2, StartMethod::Spawn);
    let folder = tempfile::tempdir().unwrap();
    let (go, started) = file_in(folder.path());
    queue.put(&Work::AwaitFile(go.clone())).unwrap();
    until("one works", || started.exists());
    let busy = pool.status().workers;
    let busy = busy.iter().find(|one| one.item.is_some()).unwrap().pid;
    std::fs::remove_file(&started).unwrap();
    assert!(pool.scale_timeout(0, Duration::from_millis(10)).is_err());
    send(busy, Signal::SIGKILL);
    until("all have left", || pool.status().workers.is_empty());
    // The item that it had begun is another one's now.
    pool.scale(1).unwrap();
    until("another one works", || started.exists());
    std::fs::write(&go, "").unwrap();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
    assert_eq!((queue.counts().unwrap().retries, pool.restarts()), (1, 0));
}

fn a_stop_ends_a_worker_that_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (go, started) = file_in(folder.path());
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(1);
    let builder = builder.shutdown(Duration::from_millis(50));
    let pool = Arc::new(builder.handler(&queue, roles::work).unwrap());
    queue.put(&Work::AwaitFile(go)).unwrap();
    until("it works", || started.exists());
    until("it is known to be ready", || pool.workers().len() == 1);
    let pid = pool.workers()[0].pid;
    let scaling = std::thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.scale(0)
    });
    until("it is to leave", || is_stopping(&pool));
    pool.stop();
    assert!(!is_alive(pid));
    assert!(scaling.join().unwrap().unwrap_err().is_not_changed());
    assert!(pool.scale(3).unwrap_err().is_not_changed());
    assert!(pool.reload().unwrap_err().is_not_changed());
    // The stop is charged to nobody.
    let counts = queue.counts().unwrap();
    assert_eq!((counts.waiting, counts.retries), (1, 0));
}

fn a_later_number_takes_the_place_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (go, started) = file_in(folder.path());
    let (queue, pool, _) = pool_of(1, StartMethod::Spawn);
    let pool = Arc::new(pool);
    queue.put(&Work::AwaitFile(go.clone())).unwrap();
    until("it works", || started.exists());
    let first = std::thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.scale(0)
    });
    until("it is to leave", || is_stopping(&pool));
    let second = std::thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.scale(2)
    });
    let error = first.join().unwrap().unwrap_err();
    assert!(error.is_not_changed(), "{error}");
    std::fs::write(&go, "").unwrap();
    second.join().unwrap().unwrap();
    assert_eq!(pool.workers().len(), 2);
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
}

fn a_new_worker_is_ready_before_an_old_one_goes() {
    const WORKERS: usize = 3;
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let (queue, pool, seen) = pool_of(WORKERS, method);
        let pids = || -> BTreeSet<u32> { pool.workers().iter().map(|one| one.pid).collect() };
        let before = pids();
        queue
            .put_many((0..500).map(|_| Work::Nothing))
            .into_result()
            .unwrap();
        pool.reload().unwrap();
        let after = pids();
        assert_eq!(
            (after.len(), before.intersection(&after).count()),
            (WORKERS, 0)
        );
        let (mut ready, mut least) = (0, usize::MAX);
        let events = seen.0.lock().unwrap();
        for event in &*events {
            match event {
                EventKind::WorkerStarted { .. } => ready += 1,
                EventKind::WorkerReplaced { .. } => {
                    ready -= 1;
                    least = least.min(ready);
                }
                _ => {}
            }
        }
        assert_eq!(least, WORKERS, "{events:?}");
        drop(events);
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 500);
        assert_eq!((queue.counts().unwrap().retries, pool.restarts()), (0, 0));
    }
}

fn more_workers_than_there_are_files_for_are_refused() {
    let (_queue, pool, _) = pool_of(1, StartMethod::Spawn);
    let error = pool.scale(1_000_000).unwrap_err();
    assert!(error.is_setup(), "{error}");
    assert_eq!(pool.workers().len(), 1);
}

/// Numbers that are the same for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn number(name: &str, usual: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(usual, |text| text.parse().expect("a number"))
}

/// Puts items as long as it may, and returns their number.
fn put_on(queue: &JoinableQueue<Work>, work: &Work, is_over: &AtomicBool) -> u64 {
    let mut count = 0;
    while !is_over.load(Ordering::Acquire) {
        queue
            .put_many((0..50).map(|_| work.clone()))
            .into_result()
            .unwrap();
        count += 50;
        while queue.len() > 2000 && !is_over.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    count
}

/// Scales, reloads, pauses and resumes in a random order under load. Each item leaves a byte in a
/// file. `DISHRACK_CHANGES` is the number of changes, `DISHRACK_SEED` their seed.
fn change_at_random(start: impl FnOnce(&JoinableQueue<Work>) -> Supervisor<Work, u64>) {
    let mut dice = Dice(number("DISHRACK_SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes");
    let work = Work::Note(path.to_str().unwrap().to_owned());
    let queue = JoinableQueue::unbounded();
    let pool = start(&queue);
    let mut wanted = pool.status().wanted;
    let is_over = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let putting = scope.spawn(|| put_on(&queue, &work, &is_over));
        for change in 0..number("DISHRACK_CHANGES", 12) {
            match dice.below(6) {
                0 => wanted = 1,
                1 => wanted = 64,
                2 => pool.reload().unwrap(),
                3 => queue.pause().unwrap(),
                4 => queue.unpause().unwrap(),
                _ => wanted = usize::try_from(dice.below(8)).unwrap(),
            }
            pool.scale(wanted).unwrap();
            assert_eq!(pool.workers().len(), wanted, "after change {change}");
        }
        is_over.store(true, Ordering::Release);
        putting.join().unwrap()
    });
    queue.unpause().unwrap();
    pool.scale(3).unwrap();
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (count, 0), "nothing is lost");
    let notes = std::fs::metadata(&path).map_or(0, |file| file.len());
    assert_eq!(notes, count, "each was begun once");
    let counts = queue.counts().unwrap();
    assert_eq!((counts.retries, counts.refused, pool.restarts()), (0, 0, 0));
    let status = pool.status();
    assert_eq!((status.wanted, status.workers.len()), (3, 3));
    pool.stop();
    assert!(pool.status().workers.is_empty());
}

fn any_changes_of_processes_lose_nothing() {
    change_at_random(|queue| {
        let builder = Supervisor::builder().processes(2);
        builder.handler(queue, roles::work).unwrap()
    });
}

fn any_changes_of_forked_processes_lose_nothing() {
    change_at_random(|queue| {
        let builder = Supervisor::builder().processes(2);
        let builder = builder.start_method(StartMethod::Fork);
        builder.handler(queue, roles::work).unwrap()
    });
}

fn any_changes_of_threads_lose_nothing() {
    change_at_random(|queue| {
        let builder = Supervisor::builder().threads(2);
        builder.handler(queue, roles::work).unwrap()
    });
}

fn any_changes_of_tasks_lose_nothing() {
    change_at_random(|queue| {
        let builder = Supervisor::builder().tasks(2);
        let handler = |work| async move { roles::work(work) };
        builder.handler_async(queue, handler).unwrap()
    });
}

/// They share a thread, and wait for nothing by themselves.
fn tasks_that_always_find_an_item_let_others_begin_and_end() {
    let (queue, is_over) = (JoinableQueue::unbounded(), AtomicBool::new(false));
    let tasks = Supervisor::builder().tasks(1);
    let get_on = |queue: JoinableQueue<Work>| async move {
        while let Ok(item) = queue.get_async().await {
            item.task_done().unwrap();
        }
    };
    let pool = tasks.worker_async(&queue, get_on).unwrap();
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| put_on(&queue, &Work::Nothing, &is_over));
        let changed = [3, 1].map(|workers| pool.scale_timeout(workers, DEADLINE));
        is_over.store(true, Ordering::Release);
        let count = putting.join().unwrap();
        assert!(changed.iter().all(Result::is_ok), "{changed:?}");
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, count);
    });
    pool.stop();
}
