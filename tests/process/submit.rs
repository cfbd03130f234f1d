//! Single items that are submitted to worker processes: each has one end, whatever dies.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dishrack::{
    Cause, Exit, ItemEnded, ItemError, ItemId, JoinableQueue, Options, Restart, StartMethod,
    Submitter, Supervisor,
};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, is_alive, send, until};

crate::timely_trials! {
    a_killed_worker_costs_no_end,
    a_killed_idle_worker_costs_no_end,
    an_item_that_kills_its_workers_fails_alone,
    an_item_over_its_time_limit_fails_alone,
    an_item_is_cancelled_while_it_runs,
    all_are_cancelled_at_once,
    what_no_worker_has_is_withdrawn,
    those_without_workers_are_told_so,
    each_worker_is_given_the_files_also_one_that_is_started_again,
    more_files_than_a_message_holds_are_refused,
    a_dead_letter_that_was_told_is_not_kept,
    a_worker_begins_before_its_items_and_ends_after_them,
    a_worker_that_begins_slowly_is_within_its_items_time,
}

/// The items of this worker, and one more since it began.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Longer than one that begins no item may take.
const SLOWLY: Duration = Duration::from_millis(1500);

pub(crate) fn begin() {
    if dishrack::context::<String>().is_some_and(|path| path.is_empty()) {
        std::thread::sleep(SLOWLY);
    }
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Returns how many there were before.
pub(crate) fn count(_path: String) -> Result<u64, String> {
    Ok(COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn end() {
    let path = dishrack::context::<String>();
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        std::fs::write(path, COUNT.load(Ordering::Relaxed).to_string()).unwrap();
    }
}

type Ended = ItemEnded<u64, usize>;

/// Takes this many ends, in the order of their tags.
fn take(submitter: &Submitter<Work, u64, usize>, count: usize) -> Vec<Ended> {
    let mut all = Vec::new();
    while all.len() < count {
        let ends = submitter.ends(Some(DEADLINE)).unwrap();
        assert!(!ends.is_empty(), "{} of {count} came", all.len());
        all.extend(ends);
    }
    all.sort_by_key(|end| end.tag);
    assert!(all.iter().map(|end| end.tag).eq(0..count), "each once");
    all
}

fn cause_of(end: &Ended) -> Cause {
    match &end.result {
        Err(ItemError::Dead { history, .. }) => history.last().unwrap().cause.clone(),
        other => panic!("{other:?}"),
    }
}

/// Kills workers while they work, one after the other.
fn a_killed_worker_costs_no_end() {
    const ITEMS: usize = 20_000;
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        // Whichever item a kill meets, it is tried again.
        let queue = JoinableQueue::with(Options::default().max_attempts(100));
        let builder = Supervisor::builder().processes(2).start_method(method);
        let builder = builder.intensity(1000, Duration::from_secs(1));
        let pool = builder.handler(&queue, roles::work).unwrap();
        let submitter = pool.submitter();
        let put = submitter.submit_many((0..ITEMS).map(|n| (Work::Pid, n)));
        assert_eq!(put.into_result().unwrap(), ITEMS as u64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut killed = 0;
                while submitter.pending() > 0 && killed < 20 {
                    for worker in pool.workers() {
                        send(worker.pid, Signal::SIGKILL);
                        until("it is dead", || !is_alive(worker.pid));
                        killed += 1;
                    }
                }
            });
            let ends = take(&submitter, ITEMS);
            assert!(ends.iter().all(|end| end.result.is_ok()));
        });
    }
}

fn a_killed_idle_worker_costs_no_end() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(2);
    let pool = pool.handler(&queue, roles::work).unwrap();
    let submitter = pool.submitter();
    for _ in 0..3 {
        until("all are there", || pool.workers().len() == 2);
        for worker in pool.workers() {
            send(worker.pid, Signal::SIGKILL);
        }
        submitter.submit(&Work::Nothing, 0).unwrap();
        assert_eq!(*take(&submitter, 1)[0].result.as_ref().unwrap(), 0);
    }
}

fn an_item_that_kills_its_workers_fails_alone() {
    let queue = JoinableQueue::with(Options::default().max_attempts(2));
    let pool = Supervisor::builder().processes(2);
    let pool = pool.handler(&queue, roles::work).unwrap();
    let submitter = pool.submitter();
    let bad = Work::Signal(Signal::SIGKILL as i32);
    let items = (0..50).map(|n| (if n == 7 { bad.clone() } else { Work::Nothing }, n));
    submitter.submit_many(items).into_result().unwrap();
    for end in take(&submitter, 50) {
        match end.tag {
            7 => {
                let cause = cause_of(&end);
                let killed = Cause::WorkerDied(Exit::Signaled(Signal::SIGKILL as i32));
                assert_eq!(cause, killed);
            }
            _ => assert_eq!(end.result.unwrap(), 0),
        }
    }
}

fn an_item_over_its_time_limit_fails_alone() {
    let queue = JoinableQueue::with(Options::default().max_attempts(1));
    let limit = Duration::from_millis(100);
    let pool = Supervisor::builder().processes(2).time_limit(limit);
    let pool = pool.handler(&queue, roles::work).unwrap();
    let submitter = pool.submitter();
    submitter.submit(&Work::Hang, 0).unwrap();
    for n in 1..20 {
        submitter.submit(&Work::Nothing, n).unwrap();
    }
    let ends = take(&submitter, 20);
    assert!(
        matches!(cause_of(&ends[0]), Cause::TimedOut { .. }),
        "{:?}",
        ends[0]
    );
    assert!(ends[1..].iter().all(|end| end.result.is_ok()));
}

fn an_item_is_cancelled_while_it_runs() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(1);
    let pool = pool.handler(&queue, roles::work).unwrap();
    let submitter = pool.submitter();
    let running = submitter.submit(&Work::Hang, 0).unwrap();
    let waiting = submitter.submit(&Work::Nothing, 1).unwrap();
    submitter.submit(&Work::Nothing, 2).unwrap();
    until("it runs", || {
        let item = queue.item(running).unwrap().unwrap();
        item.attempts == 1
    });
    assert!(submitter.cancel(waiting).unwrap());
    assert!(submitter.cancel(running).unwrap());
    assert!(!submitter.cancel(running).unwrap());
    let ends = take(&submitter, 3);
    assert!(matches!(cause_of(&ends[0]), Cause::Cancelled));
    assert!(matches!(cause_of(&ends[1]), Cause::Cancelled));
    assert!(ends[2].result.is_ok());
    assert!(!submitter.cancel(ItemId(3)).unwrap());
}

fn all_are_cancelled_at_once() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(2);
    let pool = pool.handler(&queue, roles::work).unwrap();
    let (submitter, other) = (pool.submitter(), pool.submitter());
    let put = submitter.submit_many((0..1000).map(|n| (Work::Hang, n)));
    put.into_result().unwrap();
    other.submit(&Work::Nothing, 0).unwrap();
    assert_eq!(submitter.cancel_all().unwrap(), 1000);
    let ends = take(&submitter, 1000);
    assert!(
        ends.iter()
            .all(|end| matches!(cause_of(end), Cause::Cancelled))
    );
    assert!(take(&other, 1)[0].result.is_ok());
    assert_eq!(submitter.cancel_all().unwrap(), 0);
}

fn what_no_worker_has_is_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("go");
    let await_go = Work::AwaitFile(path.to_str().unwrap().to_owned());
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(1).without_prefetch();
    let pool = pool.handler(&queue, roles::work).unwrap();
    let submitter = pool.submitter();
    let running = submitter.submit(&await_go, 0).unwrap();
    until("it runs", || folder.path().join("go.started").exists());
    let waiting = submitter.submit(&Work::Nothing, 1).unwrap();
    let more = (2..100).map(|n| (Work::Nothing, n));
    submitter.submit_many(more).into_result().unwrap();
    assert!(!submitter.withdraw(running).unwrap());
    assert!(submitter.withdraw(waiting).unwrap());
    assert!(!submitter.withdraw(waiting).unwrap());
    assert_eq!(submitter.withdraw_all().unwrap(), 98);
    std::fs::write(&path, "").unwrap();
    let ends = take(&submitter, 100);
    assert!(ends[0].result.is_ok());
    assert!(
        ends[1..]
            .iter()
            .all(|end| cause_of(end) == Cause::Cancelled)
    );
    assert!(!submitter.withdraw(running).unwrap());
}

fn those_without_workers_are_told_so() {
    let queue = JoinableQueue::with(Options::default().max_attempts(1));
    let pool = Supervisor::builder()
        .processes(1)
        .restart(Restart::Temporary);
    let pool = pool.handler(&queue, roles::work).unwrap();
    let submitter = pool.submitter();
    let items = [Work::Exit(3), Work::Nothing, Work::Nothing];
    let put = submitter.submit_many(items.into_iter().zip(0..));
    put.into_result().unwrap();
    let ends = take(&submitter, 3);
    for end in &ends[1..] {
        match &end.result {
            Err(ItemError::NoResult(error)) => assert!(error.is_no_workers_left(), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(submitter.ends(None).unwrap_err().is_no_workers_left());
    assert!(
        submitter
            .submit(&Work::Nothing, 9)
            .unwrap_err()
            .is_no_workers_left()
    );
    assert_eq!(submitter.pending(), 0);
}

fn a_worker_begins_before_its_items_and_ends_after_them() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ended").to_str().unwrap().to_owned();
        let queue = JoinableQueue::unbounded();
        let pool = Supervisor::builder().processes(1).start_method(method);
        let pool = pool.context(&path).unwrap().handler(&queue, count).unwrap();
        let counts: Result<Vec<u64>, _> = pool.map(vec![String::new(); 3]).collect();
        assert_eq!(counts.unwrap(), [1, 2, 3]);
        pool.stop();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "4");
    }
}

fn a_worker_that_begins_slowly_is_within_its_items_time() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(1).time_limit(SLOWLY / 3);
    let pool = pool
        .context(&String::new())
        .unwrap()
        .handler(&queue, count)
        .unwrap();
    assert_eq!(pool.map([String::new()]).next().unwrap().unwrap(), 1);
    assert_eq!(pool.restarts(), 0);
}

/// Returns this process's pid, after writing a line to the second of the files that this worker was given.
pub(crate) fn write_to_file(line: String) -> Result<u64, String> {
    thread_local! {
        static FILE: Option<File> = dishrack::take_context_file(1).map(File::from);
    }
    FILE.with(|file| {
        let mut file = file.as_ref().ok_or("no file")?;
        writeln!(file, "{line}").map_err(|error| error.to_string())
    })?;
    assert!(dishrack::take_context_file(1).is_none(), "it was taken");
    assert!(dishrack::take_context_file(2).is_none(), "there is none");
    Ok(u64::from(std::process::id()))
}

fn each_worker_is_given_the_files_also_one_that_is_started_again() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let (reader, writer) = std::io::pipe().unwrap();
        let (_, other) = std::io::pipe().unwrap();
        let queue = JoinableQueue::unbounded();
        let pool = Supervisor::builder()
            .processes(2)
            .start_method(method)
            .context_files([other.into(), writer.into()]);
        let pool = pool.handler(&queue, write_to_file).unwrap();
        let mut pids = HashSet::new();
        let mut lines = BufReader::new(reader).lines();
        // There are two, so the third one at the latest has the place of another.
        for _ in 0..3 {
            let pid = pool.map(["cup".to_owned()]).next().unwrap().unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "cup");
            assert!(pids.insert(pid), "it was killed");
            send(u32::try_from(pid).unwrap(), Signal::SIGKILL);
        }
        pool.close_context_files();
        pool.stop();
        assert!(lines.next().is_none(), "nobody has it any more");
    }
}

fn more_files_than_a_message_holds_are_refused() {
    let queue = JoinableQueue::unbounded();
    let files: Vec<OwnedFd> = (0..250)
        .map(|_| std::io::pipe().unwrap().0.into())
        .collect();
    let builder = Supervisor::builder().processes(1).context_files(files);
    let refused = builder.handler(&queue, write_to_file).unwrap_err();
    assert!(refused.is_setup(), "{refused}");
    assert!(
        refused.to_string().contains("250 are more than 249"),
        "{refused}"
    );
}

fn a_dead_letter_that_was_told_is_not_kept() {
    let queue = JoinableQueue::with(Options::default().max_attempts(1));
    let pool = Supervisor::builder().processes(1);
    let pool = pool.handler(&queue, roles::work).unwrap();
    let submitter = pool.submitter();
    submitter.submit(&Work::Refuse(String::new()), 0).unwrap();
    assert!(matches!(cause_of(&take(&submitter, 1)[0]), Cause::Nack(_)));
    assert_eq!(queue.dead_letters().unwrap().len(), 0);
    queue.put(&Work::Refuse(String::new())).unwrap();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().dead, 2);
    assert_eq!(queue.dead_letters().unwrap().len(), 1);
}
