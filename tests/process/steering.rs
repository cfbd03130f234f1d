//! A run that is looked at and steered while it works: pauses, single items, the state of all.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use dishrack::{
    Backoff, Cause, DeathCause, Durability, Exit, ItemId, ItemState, JoinableQueue, Options,
    StartMethod, Supervisor, WorkerState,
};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, send, state, until};

crate::timely_trials! {
    nothing_is_begun_once_a_pause_has_returned,
    a_worker_that_stands_still_is_named_by_a_pause_with_a_limit,
    a_pause_that_is_ended_by_another_thread_says_so,
    a_stop_ends_a_paused_pool,
    an_item_is_seen_in_each_of_its_states,
    the_end_of_one_item_is_waited_for,
    a_worker_is_seen_with_its_item_and_its_last_death,
    one_worker_is_ended_with_its_item_and_started_again,
    one_worker_is_replaced_when_its_item_is_done,
    a_million_items_and_a_thousand_workers_are_seen_at_once,
}

fn noted(path: &Path) -> usize {
    std::fs::metadata(path).map_or(0, |file| usize::try_from(file.len()).unwrap())
}

/// Each item leaves a byte in a file when its work begins.
fn nothing_is_begun_once_a_pause_has_returned() {
    const WORKERS: usize = 3;
    const ROUNDS: usize = 15;
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let work = Work::Note(path.to_str().unwrap().to_owned());
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder()
            .processes(WORKERS)
            .start_method(method);
        let _pool = builder.handler(&queue, roles::work).unwrap();
        for round in 1..=ROUNDS {
            // Workers have many of them in advance, because they are so short.
            queue
                .put_many((0..2000).map(|_| work.clone()))
                .into_result()
                .unwrap();
            until("many are begun", || noted(&path) > 2000 * (round - 1) + 500);
            queue.pause().unwrap();
            let before = noted(&path);
            until("what is begun is done", || {
                queue.counts().unwrap().leased == 0
            });
            // One that had begun its item may not have come to the file yet.
            let more = noted(&path) - before;
            assert!(more <= WORKERS, "{more} were begun in a pause");
            queue.unpause().unwrap();
            queue.join_timeout(DEADLINE).unwrap();
        }
        assert_eq!(noted(&path), ROUNDS * 2000, "each once");
    }
}

/// Makes a pool with one worker that stands still, with an item that it cannot have begun.
fn pool_that_stands_still() -> (JoinableQueue<Work>, Supervisor<Work, u64>, u32) {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(1).name("dryer");
    let pool = builder.handler(&queue, roles::work).unwrap();
    until("it is ready", || pool.workers().len() == 1);
    let pid = pool.workers()[0].pid;
    send(pid, Signal::SIGSTOP);
    until("it stands still", || state(pid) == Some('T'));
    queue.put(&Work::Nothing).unwrap();
    (queue, pool, pid)
}

fn a_worker_that_stands_still_is_named_by_a_pause_with_a_limit() {
    let (queue, _pool, pid) = pool_that_stands_still();
    let error = queue.pause_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(
        error.is_timeout() && error.to_string().contains("dryer-1"),
        "{error}"
    );
    assert!(queue.is_paused().unwrap());
    send(pid, Signal::SIGCONT);
    queue.pause_timeout(DEADLINE).unwrap();
    queue.unpause().unwrap();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
}

fn a_pause_that_is_ended_by_another_thread_says_so() {
    let (queue, _pool, pid) = pool_that_stands_still();
    let pausing = std::thread::spawn({
        let queue = queue.clone();
        move || queue.pause()
    });
    until("it is paused", || queue.is_paused().unwrap());
    queue.unpause().unwrap();
    assert!(pausing.join().unwrap().unwrap_err().is_resumed());
    send(pid, Signal::SIGCONT);
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
}

fn a_stop_ends_a_paused_pool() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(2);
    let pool = pool.handler(&queue, roles::work).unwrap();
    queue.pause().unwrap();
    queue.put(&Work::Nothing).unwrap();
    pool.stop();
    assert_eq!(queue.counts().unwrap().waiting, 1);
}

fn states(queue: &JoinableQueue<Work>) -> Vec<ItemState> {
    let all = queue.items(None, ItemId(0), 100).unwrap();
    assert!(
        all.iter()
            .map(|item| item.number.0)
            .eq(1..=all.len() as u64)
    );
    all.iter().map(|item| item.state).collect()
}

const EACH_STATE: [ItemState; 6] = [
    ItemState::Done,
    ItemState::Resting,
    ItemState::Running,
    ItemState::Waiting,
    ItemState::Dead,
    ItemState::Waiting,
];

/// Makes a queue with items in these states; the third one runs until that file is there.
fn queue_in_each_state(
    journal: Option<&Path>,
    go: &str,
) -> (JoinableQueue<Work>, Supervisor<Work, u64>) {
    let hour = Duration::from_secs(3600);
    let options = Options::default()
        .max_attempts(2)
        .backoff(Backoff::exponential(hour, hour));
    let queue = match journal {
        Some(path) => JoinableQueue::journaled(path, Durability::Normal, options).unwrap(),
        None => JoinableQueue::with(options),
    };
    let builder = Supervisor::builder().processes(1).name("dryer");
    let builder = builder
        .without_prefetch()
        .name_items(|work: &Work| format!("{work:?}"));
    let pool = builder.handler(&queue, roles::work).unwrap();
    queue.put(&Work::Nothing).unwrap();
    queue.put(&Work::Refuse("no".into())).unwrap();
    queue.put(&Work::AwaitFile(go.to_owned())).unwrap();
    for _ in 0..3 {
        queue.put(&Work::Nothing).unwrap();
    }
    let started = format!("{go}.started");
    until("the third runs", || Path::new(&started).exists());
    until("it is known to be ready", || pool.workers().len() == 1);
    assert!(queue.cancel(ItemId(5)).unwrap());
    (queue, pool)
}

fn an_item_is_seen_in_each_of_its_states() {
    let folder = tempfile::tempdir().unwrap();
    for journal in [None, Some(folder.path().join("journal"))] {
        let files = tempfile::tempdir().unwrap();
        let go = files.path().join("go").to_str().unwrap().to_owned();
        let (queue, pool) = queue_in_each_state(journal.as_deref(), &go);
        assert_eq!(states(&queue), EACH_STATE);
        for (number, state) in (1..).zip(EACH_STATE) {
            let item = queue.item(ItemId(number)).unwrap().unwrap();
            assert_eq!(item.state, state, "item {number}");
            let page = queue.items(Some(state), ItemId(number - 1), 1).unwrap();
            assert_eq!(page[0].number, ItemId(number), "{state}");
            assert_eq!(item.raw().is_none(), state == ItemState::Done);
        }
        check_details(&queue, pool.workers()[0].pid);
        assert!(queue.item(ItemId(7)).unwrap().is_none());
        assert!(queue.item(ItemId(0)).unwrap().is_none());
        assert!(queue.retry_dead_letter(ItemId(5)).unwrap());
        let again = queue.item(ItemId(5)).unwrap().unwrap();
        assert_eq!(again.state, ItemState::Waiting);
        std::fs::write(&go, "").unwrap();
        assert!(queue.cancel(ItemId(2)).unwrap(), "a resting one");
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 5);
        let done = queue.items(Some(ItemState::Done), ItemId(0), 100).unwrap();
        assert_eq!(done.len(), 5);
    }
}

fn check_details(queue: &JoinableQueue<Work>, pid: u32) {
    let item = |number| queue.item(ItemId(number)).unwrap().unwrap();
    let resting = item(2);
    assert!(resting.due.unwrap() > SystemTime::now());
    assert_eq!(resting.history[0].cause, Cause::Nack("refused".into()));
    let name = resting.name.unwrap();
    assert_eq!((resting.attempts, name.as_str()), (1, "Refuse(\"no\")"));
    let running = item(3);
    let holder = &running.holders[0];
    assert_eq!((&*holder.worker, holder.pid), ("dryer-1", pid));
    assert!(holder.since.unwrap() <= SystemTime::now());
    assert_eq!(running.attempts, 1);
    assert_eq!(item(5).history[0].cause, Cause::Cancelled);
}

fn the_end_of_one_item_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go").to_str().unwrap().to_owned();
    let queue = JoinableQueue::with(Options::default().max_attempts(1));
    let pool = Supervisor::builder()
        .processes(2)
        .handler(&queue, roles::work)
        .unwrap();
    let slow = queue.put(&Work::AwaitFile(go.clone())).unwrap();
    let quick = queue.put(&Work::Nothing).unwrap();
    let bad = queue.put(&Work::Refuse("no".into())).unwrap();
    let end = |id| queue.wait_item(id, Some(DEADLINE)).unwrap().unwrap();
    assert_eq!(end(quick).state, ItemState::Done);
    let dead = end(bad);
    assert_eq!((dead.state, dead.history.len()), (ItemState::Dead, 1));
    let error = queue
        .wait_item(slow, Some(Duration::from_millis(1)))
        .unwrap_err();
    assert!(
        error.is_timeout() && error.to_string().contains("item 1 "),
        "{error}"
    );
    assert!(queue.wait_item(ItemId(99), None).unwrap().is_none());
    let waiting = std::thread::spawn({
        let queue = queue.clone();
        move || queue.wait_item(slow, None)
    });
    std::fs::write(&go, "").unwrap();
    assert_eq!(
        waiting.join().unwrap().unwrap().unwrap().state,
        ItemState::Done
    );
    pool.stop();
    let left = queue.put(&Work::Nothing).unwrap();
    let error = queue.wait_item(left, Some(DEADLINE)).unwrap_err();
    assert!(error.is_no_workers_left(), "{error}");
}

fn a_worker_is_seen_with_its_item_and_its_last_death() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go").to_str().unwrap().to_owned();
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(1).name("dryer");
    let pool = builder.handler(&queue, roles::work).unwrap();
    let seen = || pool.status().workers.remove(0);
    until("it is idle", || seen().state == WorkerState::Idle);
    assert_eq!(
        (seen().item, seen().restarts, seen().last_death),
        (None, 0, None)
    );
    send(seen().pid, Signal::SIGKILL);
    until("it was started again", || seen().restarts == 1);
    until("it is idle again", || seen().state == WorkerState::Idle);
    let death = seen().last_death.unwrap();
    let is_killed = |cause: &DeathCause| {
        let DeathCause::Process { cause, .. } = cause else {
            return false;
        };
        *cause == Cause::WorkerDied(Exit::Signaled(9))
    };
    assert!(is_killed(&death.cause), "{death:?}");
    assert!(death.cause.to_string().contains("SIGKILL"), "{death:?}");
    let id = queue.put(&Work::AwaitFile(go.clone())).unwrap();
    until("it is at its item", || seen().elapsed.is_some());
    let busy = seen();
    assert_eq!((busy.state, busy.item), (WorkerState::Busy, Some(id)));
    assert_eq!(busy.item_name.unwrap(), "item-1");
    std::fs::write(&go, "").unwrap();
    queue.join_timeout(DEADLINE).unwrap();
    pool.stop();
    assert!(pool.status().workers.is_empty());
}

/// Makes a pool of two workers of which one waits for a file, and returns its name and pid.
fn pool_that_awaits(go: &str) -> (JoinableQueue<Work>, Supervisor<Work, u64>, String, u32) {
    let queue = JoinableQueue::with(Options::default().max_attempts(2));
    let pool = Supervisor::builder()
        .processes(2)
        .handler(&queue, roles::work)
        .unwrap();
    until("both are ready", || pool.workers().len() == 2);
    queue.put(&Work::AwaitFile(go.to_owned())).unwrap();
    let busy = || {
        let mut workers = pool.workers().into_iter();
        workers.find(|one| one.state == WorkerState::Busy && one.elapsed.is_some())
    };
    until("one is at it", || busy().is_some());
    let one = busy().unwrap();
    (queue, pool, one.name, one.pid)
}

fn one_worker_is_ended_with_its_item_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go").to_str().unwrap().to_owned();
    let (queue, pool, name, pid) = pool_that_awaits(&go);
    pool.end_worker(&name).unwrap();
    assert_eq!(state(pid), None, "its process is gone");
    // It is charged when no stop of the whole run has come with the same signal.
    let history = || queue.item(ItemId(1)).unwrap().unwrap().history;
    until("it is charged", || !history().is_empty());
    let ended = Cause::WorkerDied(Exit::Signaled(Signal::SIGTERM as i32));
    assert_eq!((history().len(), &history()[0].cause), (1, &ended));
    std::fs::write(&go, "").unwrap();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
    until("it is there again", || pool.workers().len() == 2);
    let again = pool.workers().into_iter().find(|one| one.name == name);
    let again = again.unwrap();
    assert_ne!(again.pid, pid);
    // It was wanted, and is no accident.
    assert_eq!(
        (again.restarts, again.last_death, pool.restarts()),
        (0, None, 0)
    );
    let error = pool.end_worker("nobody").unwrap_err();
    assert!(error.is_not_changed(), "{error}");
}

fn one_worker_is_replaced_when_its_item_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go").to_str().unwrap().to_owned();
    let (queue, pool, name, pid) = pool_that_awaits(&go);
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| pool.replace_worker(&name));
        until("the new one is ready", || pool.workers().len() == 3);
        assert!(state(pid).is_some() && !replacing.is_finished());
        std::fs::write(&go, "").unwrap();
        replacing.join().unwrap().unwrap();
    });
    assert_eq!(state(pid), None, "it has gone");
    assert!(pool.workers().iter().all(|one| one.pid != pid));
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, queue.counts().unwrap().retries), (1, 0));
    assert!(pool.replace_worker(&name).unwrap_err().is_not_changed());
}

fn a_million_items_and_a_thousand_workers_are_seen_at_once() {
    const WORKERS: usize = 1000;
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let queue = JoinableQueue::<u64>::unbounded();
    let builder = Supervisor::builder().threads(WORKERS);
    let pool = builder.handler(&queue, move |_: u64| {
        // It ends when the test drops the other side.
        let _ = gone.lock().unwrap().recv();
        Ok::<(), String>(())
    });
    let pool = pool.unwrap();
    queue.put_many(0..1_000_000).into_result().unwrap();
    until("all are busy", || {
        queue.counts().unwrap().leased >= WORKERS as u64
    });
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let began = Instant::now();
            let counts = queue.counts().unwrap();
            let status = pool.status();
            let page = queue
                .items(Some(ItemState::Waiting), ItemId(500_000), 100)
                .unwrap();
            let time = began.elapsed();
            assert_eq!((status.workers.len(), page.len()), (WORKERS, 100));
            assert_eq!(counts.accepted, 1_000_000);
            time
        })
        .collect();
    times.sort();
    // Without optimization, on a machine that has other things to do, it is only not to be a walk.
    let limit = if cfg!(debug_assertions) { 100 } else { 10 };
    assert!(times[10] <= Duration::from_millis(limit), "{times:?}");
    queue.pause().unwrap();
    drop(go);
    pool.stop();
}
