//! Several copies of an item, in worker processes that hang, die, stand still or are wrong.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{
    Builder, Cause, Copies, CopyEnd, Durability, Hedge, JoinableQueue, Joined, Options, PutOptions,
    Roles, Supervisor,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::support::{DEADLINE, is_alive, send, until};

crate::timely_trials! {
    the_first_copy_that_is_done_counts_and_one_that_hangs_is_ended,
    a_copy_whose_worker_is_killed_fails_nothing,
    a_worker_that_stands_still_holds_nothing_up,
    an_attempt_has_failed_when_all_copies_have,
    a_wrong_answer_is_outvoted_and_told,
    no_agreement_is_a_failed_attempt_that_says_who_said_what,
    results_agree_as_the_program_says,
    a_cancelled_item_has_all_its_copies_ended,
    a_time_limit_is_for_each_copy,
    workers_with_copies_are_replaced_after_their_number_of_tasks,
    a_map_yields_each_result_once_and_in_order,
    a_backup_is_made_for_one_that_hangs_and_for_no_other,
    an_item_chooses_its_own_copies,
    a_journal_knows_one_end_of_each_item,
    a_stop_leaves_no_copy_and_charges_nobody,
    no_kill_loses_or_repeats_anything_of_ten_thousand,
    no_wrong_answer_counts_however_many_workers_are_killed,
}

/// The work of a copy. Paths name folders in which copies of one item find each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Note the run, and return this number.
    Return(PathBuf, u64),
    /// The first copy never returns, and all others return 7.
    OneHangs(PathBuf),
    /// Each copy waits until the test lets it go on.
    Wait(PathBuf),
    /// Never return.
    Hang(PathBuf),
    /// The n-th copy returns the n-th of these.
    Answers(PathBuf, Vec<u64>),
    /// The same, and fail.
    Refuse(PathBuf),
    /// Double the number; one in a hundred answers is wrong.
    Double(u64),
}

pub(crate) fn register(roles: &mut Roles) {
    roles.handler(run);
}

/// Takes the next free number among all copies that come to this folder, from 1, and leaves its pid.
fn number_in(folder: &Path) -> usize {
    for number in 1.. {
        if File::create_new(folder.join(format!("taken-{number}"))).is_ok() {
            let path = folder.join(format!("copy-{number}"));
            let new = path.with_extension("new");
            fs::write(&new, std::process::id().to_string()).unwrap();
            // It is there as a whole or not at all.
            fs::rename(new, path).unwrap();
            return number;
        }
    }
    unreachable!("there are numbers enough");
}

/// Waits until the test lets this copy go on, and returns its number.
fn wait_in(folder: &Path) -> usize {
    let number = number_in(folder);
    until("the test lets it go on", || {
        folder.join(format!("go-{number}")).exists()
    });
    number
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

pub(crate) fn run(task: Task) -> Result<u64, String> {
    match task {
        Task::Return(folder, result) => {
            let path = folder.join("runs");
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.unwrap().write_all(b"1").unwrap();
            Ok(result)
        }
        Task::OneHangs(folder) => match number_in(&folder) {
            1 => hang(),
            _ => Ok(7),
        },
        Task::Wait(folder) => Ok(wait_in(&folder) as u64),
        Task::Hang(folder) => {
            number_in(&folder);
            hang()
        }
        Task::Answers(folder, answers) => Ok(answers[number_in(&folder) - 1]),
        Task::Double(number) => Ok(doubled(number)),
        Task::Refuse(folder) => Err(format!("copy {} refuses", wait_in(&folder))),
    }
}

/// Returns a number that is the same in every run, by the finalizer of SplitMix64.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Doubles a number, but for one in a hundred times. No two workers make the same mistake.
fn doubled(number: u64) -> u64 {
    let pid = u64::from(std::process::id());
    match mixed(number ^ (pid << 32)) % 100 {
        0 => 1_000_000_000 + pid,
        _ => 2 * number,
    }
}

/// Waits for the pid of the n-th copy.
fn pid_in(folder: &Path, number: usize) -> u32 {
    let path = folder.join(format!("copy-{number}"));
    until("the copy has begun", || path.exists());
    fs::read_to_string(path).unwrap().parse().unwrap()
}

fn runs_in(folder: &Path) -> usize {
    fs::read(folder.join("runs")).map_or(0, |runs| runs.len())
}

/// Keeps all events.
#[derive(Debug, Default)]
struct Events(Mutex<Vec<EventKind>>);

impl Observer for Events {
    fn observe(&self, event: Event) {
        self.0.lock().unwrap().push(event.kind);
    }
}

impl Events {
    fn ends(&self) -> Vec<CopyEnd> {
        let events = self.0.lock().unwrap();
        let ends = events.iter().filter_map(|event| match event {
            EventKind::CopyEnded { end, .. } => Some((**end).clone()),
            _ => None,
        });
        ends.collect()
    }

    /// Returns the greatest number of copies that were begun of one attempt.
    fn runs_max(&self) -> usize {
        let mut runs = BTreeMap::new();
        for event in &*self.0.lock().unwrap() {
            if let EventKind::ItemStarted { id, attempt, .. } = event {
                *runs.entry((*id, *attempt)).or_insert(0) += 1;
            }
        }
        runs.into_values().max().unwrap_or(0)
    }
}

struct Pool {
    queue: JoinableQueue<Task>,
    pool: Supervisor<Task, u64>,
    events: Arc<Events>,
    folder: tempfile::TempDir,
}

impl Pool {
    fn start(workers: usize, copies: Copies, choose: impl FnOnce(Builder) -> Builder) -> Self {
        Self::serve(
            JoinableQueue::with(Options::default().max_attempts(1)),
            workers,
            |builder| choose(builder.copies(copies)),
        )
    }

    fn serve(
        queue: JoinableQueue<Task>,
        workers: usize,
        choose: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let events = Arc::new(Events::default());
        let builder = Supervisor::builder()
            .processes(workers)
            .time_limit_grace(Duration::from_millis(100))
            .observer(events.clone());
        let pool = choose(builder).handler(&queue, run).unwrap();
        Pool {
            queue,
            pool,
            events,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn put(&self, task: Task) {
        self.queue.put(&task).unwrap();
    }

    /// Lets the n-th copy go on.
    fn go(&self, number: usize) {
        File::create(self.folder.path().join(format!("go-{number}"))).unwrap();
    }

    fn join(&self) -> (u64, u64) {
        let Joined { done, dead, .. } = self.queue.join_timeout(DEADLINE).unwrap();
        (done, dead)
    }

    fn cause(&self) -> Cause {
        let letters = self.queue.take_dead_letters().unwrap();
        assert_eq!((letters.len(), letters[0].history.len()), (1, 1));
        letters[0].history[0].cause.clone()
    }
}

fn unchanged(builder: Builder) -> Builder {
    builder
}

fn the_first_copy_that_is_done_counts_and_one_that_hangs_is_ended() {
    let pool = Pool::start(2, Copies::first(2), unchanged);
    let results = pool.pool.map([Task::OneHangs(pool.folder())]);
    assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), [7]);
    assert_eq!(pool.join(), (1, 0));
    let hanging = pid_in(pool.folder.path(), 1);
    until("it is ended", || !is_alive(hanging));
    assert_eq!(pool.events.ends(), [CopyEnd::Cancelled, CopyEnd::Counted]);
    // Its place is filled again, and nothing was charged for it.
    pool.put(Task::Return(pool.folder(), 1));
    assert_eq!(pool.join(), (2, 0));
    assert_eq!(pool.queue.counts().unwrap().retries, 0);
}

fn a_copy_whose_worker_is_killed_fails_nothing() {
    let pool = Pool::start(2, Copies::first(2), unchanged);
    pool.put(Task::Wait(pool.folder()));
    let killed = pid_in(pool.folder.path(), 1);
    pid_in(pool.folder.path(), 2);
    send(killed, Signal::SIGKILL);
    until("its end is noticed", || !is_alive(killed));
    pool.go(2);
    assert_eq!(pool.join(), (1, 0));
    assert_eq!(pool.queue.counts().unwrap().retries, 0);
    assert!(pool.events.ends().contains(&CopyEnd::Counted));
}

fn a_worker_that_stands_still_holds_nothing_up() {
    let pool = Pool::start(2, Copies::first(2), unchanged);
    pool.put(Task::Wait(pool.folder()));
    let still = pid_in(pool.folder.path(), 1);
    pid_in(pool.folder.path(), 2);
    send(still, Signal::SIGSTOP);
    pool.go(1);
    pool.go(2);
    assert_eq!(pool.join(), (1, 0));
    // A stopped process does not hear SIGTERM, so it is killed after the grace.
    until("it is ended", || !is_alive(still));
}

fn an_attempt_has_failed_when_all_copies_have() {
    let pool = Pool::start(2, Copies::first(2), unchanged);
    pool.put(Task::Refuse(pool.folder()));
    for number in [1, 2] {
        pid_in(pool.folder.path(), number);
    }
    pool.go(1);
    pool.go(2);
    assert_eq!(pool.join(), (0, 1));
    let cause = pool.cause().to_string();
    assert!(
        cause.starts_with("all 2 copies failed: ") && cause.contains("copy 2 refuses"),
        "{cause}"
    );
    assert_eq!(pool.events.runs_max(), 2);
}

fn a_wrong_answer_is_outvoted_and_told() {
    let pool = Pool::start(3, Copies::agree(2, 3), |builder| {
        builder.compare(|one: &u64, other: &u64| one == other)
    });
    let task = Task::Answers(pool.folder(), vec![4, 5, 4]);
    let results = pool.pool.map([task]).map(Result::unwrap);
    assert_eq!(results.collect::<Vec<_>>(), [4]);
    assert_eq!(pool.join(), (1, 0));
    let ends = pool.events.ends();
    let wrong = CopyEnd::Disagreed {
        said: "5".into(),
        counted: "4".into(),
    };
    // The two right ones may have agreed before the wrong one was heard.
    let is_told = ends.contains(&wrong) || ends.contains(&CopyEnd::Cancelled);
    assert!(
        ends.len() == 3 && ends.contains(&CopyEnd::Counted) && is_told,
        "{ends:?}"
    );
}

fn no_agreement_is_a_failed_attempt_that_says_who_said_what() {
    let pool = Pool::start(2, Copies::agree(2, 2), |builder| {
        builder.compare(|one: &u64, other: &u64| one == other)
    });
    pool.put(Task::Answers(pool.folder(), vec![4, 5]));
    assert_eq!(pool.join(), (0, 1));
    let Cause::Copies { needed, mut copies } = pool.cause() else {
        panic!("another cause");
    };
    assert_eq!(needed, 2);
    copies.sort_by_key(|copy| copy.said.clone().unwrap());
    let said: Vec<_> = copies.iter().map(|copy| copy.said.clone()).collect();
    assert_eq!(said, [Ok("4".into()), Ok("5".into())]);
    for (copy, number) in copies.iter().zip(1..) {
        assert!(copy.worker.starts_with("worker-"), "{copy:?}");
        assert_eq!(copy.pid, pid_in(pool.folder.path(), number));
    }
    assert_eq!(pool.events.ends(), [CopyEnd::Void, CopyEnd::Void]);
}

fn results_agree_as_the_program_says() {
    let pool = Pool::start(2, Copies::agree(2, 2), |builder| {
        builder.compare(|one: &u64, other: &u64| one.abs_diff(*other) <= 1)
    });
    pool.put(Task::Answers(pool.folder(), vec![4, 5]));
    assert_eq!(pool.join(), (1, 0));
}

fn a_cancelled_item_has_all_its_copies_ended() {
    let pool = Pool::start(2, Copies::first(2), unchanged);
    let id = pool.queue.put(&Task::Hang(pool.folder())).unwrap();
    let pids = [1, 2].map(|number| pid_in(pool.folder.path(), number));
    assert!(pool.queue.cancel(id).unwrap());
    assert_eq!(pool.join(), (0, 1));
    for pid in pids {
        until("it is ended", || !is_alive(pid));
    }
    assert_eq!(pool.cause(), Cause::Cancelled);
    pool.put(Task::Return(pool.folder(), 1));
    assert_eq!(pool.join(), (1, 1));
}

fn a_time_limit_is_for_each_copy() {
    let pool = Pool::start(2, Copies::first(2), |builder| {
        builder.time_limit(Duration::from_millis(200))
    });
    pool.put(Task::Hang(pool.folder()));
    assert_eq!(pool.join(), (0, 1));
    let Cause::Copies { copies, .. } = pool.cause() else {
        panic!("another cause");
    };
    let limit = Duration::from_millis(200);
    assert_eq!(copies.len(), 2);
    for copy in copies {
        assert_eq!(copy.said, Err(Cause::TimedOut(limit)));
    }
}

fn workers_with_copies_are_replaced_after_their_number_of_tasks() {
    const ITEMS: u64 = 60;
    let pool = Pool::start(2, Copies::first(2), |builder| {
        builder.max_tasks_per_worker(5)
    });
    for number in 0..ITEMS {
        pool.put(Task::Return(pool.folder(), number));
    }
    assert_eq!(pool.join(), (ITEMS, 0));
    let events = pool.events.0.lock().unwrap();
    let replaced = |event: &&EventKind| matches!(event, EventKind::WorkerReplaced { .. });
    assert!(events.iter().any(|event| replaced(&event)));
    drop(events);
    assert_eq!(pool.queue.counts().unwrap().retries, 0);
    let runs = runs_in(pool.folder.path()) as u64;
    assert!((ITEMS..=2 * ITEMS).contains(&runs), "{runs}");
}

fn a_map_yields_each_result_once_and_in_order() {
    const ITEMS: u64 = 300;
    for copies in [Copies::first(2), Copies::agree(2, 2), Copies::agree(2, 3)] {
        let pool = Pool::start(3, copies, unchanged);
        let tasks = (0..ITEMS).map(|number| Task::Return(pool.folder(), number));
        let results: Vec<u64> = pool.pool.map(tasks).map(Result::unwrap).collect();
        assert!(results.into_iter().eq(0..ITEMS));
        assert_eq!(pool.join(), (ITEMS, 0));
        let counted = pool.events.ends();
        let counted = counted.iter().filter(|end| **end == CopyEnd::Counted);
        assert_eq!(counted.count() as u64, ITEMS);
        assert!(pool.events.runs_max() <= copies.count() as usize);
    }
}

fn a_backup_is_made_for_one_that_hangs_and_for_no_other() {
    // An hour is never over, so there is one copy of each.
    let late = Copies::first(2).hedge_after(Duration::from_secs(3600));
    let pool = Pool::start(2, late, unchanged);
    for number in 0..50 {
        pool.put(Task::Return(pool.folder(), number));
    }
    assert_eq!(pool.join(), (50, 0));
    assert_eq!(runs_in(pool.folder.path()), 50);
    drop(pool);
    // What the others took is known, and this one takes longer.
    let usual = Copies::first(2).hedge_after(Hedge::quantile(0.95));
    let pool = Pool::start(2, usual, unchanged);
    for number in 0..50 {
        pool.put(Task::Return(pool.folder(), number));
    }
    pool.put(Task::OneHangs(pool.folder()));
    assert_eq!(pool.join(), (51, 0));
}

fn an_item_chooses_its_own_copies() {
    let options = Options::default().max_attempts(1);
    let pool = Pool::serve(JoinableQueue::with(options), 2, unchanged);
    for number in 0..20 {
        pool.put(Task::Return(pool.folder(), number));
    }
    let both = PutOptions::default().copies(Copies::first(2));
    pool.queue
        .put_with(&Task::OneHangs(pool.folder()), both)
        .unwrap();
    assert_eq!(pool.join(), (21, 0));
    assert_eq!(runs_in(pool.folder.path()), 20);
    assert_eq!(pool.events.ends().len(), 2);
}

fn a_journal_knows_one_end_of_each_item() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let options = Options::default().copies(Copies::first(2));
    let open = || JoinableQueue::<Task>::journaled(&path, Durability::Normal, options).unwrap();
    let queue = open();
    let own = PutOptions::default().copies(Copies::first(2));
    let refused = queue.put_with(&Task::Return(folder.path().to_owned(), 0), own);
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("Options::copies"), "{why}");
    let pool = Pool::serve(queue, 2, unchanged);
    for number in 0..30 {
        pool.put(Task::Return(pool.folder(), number));
    }
    pool.put(Task::OneHangs(pool.folder()));
    assert_eq!(pool.join(), (31, 0));
    drop(pool);
    let counts = open().counts().unwrap();
    assert_eq!((counts.accepted, counts.done, counts.dead), (31, 31, 0));
}

fn a_stop_leaves_no_copy_and_charges_nobody() {
    let pool = Pool::start(3, Copies::agree(3, 3), |builder| {
        builder.shutdown(Duration::from_millis(100))
    });
    pool.put(Task::Hang(pool.folder()));
    let pids = [1, 2, 3].map(|number| pid_in(pool.folder.path(), number));
    pool.pool.stop();
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    let counts = pool.queue.counts().unwrap();
    assert_eq!((counts.waiting, counts.leased, counts.dead), (1, 0, 0));
}

const MANY: u64 = 10_000;

/// Doubles many numbers while workers are killed at random. Returns the results, by number, after
/// it has checked what holds of all copies.
fn double_many_under_kills(copies: Copies) -> BTreeMap<u64, u64> {
    let options = Options::default().max_attempts(1000);
    let pool = Pool::serve(JoinableQueue::with(options), 4, |builder| {
        builder
            .copies(copies)
            .intensity(u32::MAX, Duration::from_secs(1))
    });
    let is_over = AtomicBool::new(false);
    let kills = AtomicU64::new(0);
    let results = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                let workers = pool.pool.workers();
                if workers.len() > 1 {
                    let at = mixed(kills.load(Ordering::Relaxed)) % workers.len() as u64;
                    send(workers[usize::try_from(at).unwrap()].pid, Signal::SIGKILL);
                    kills.fetch_add(1, Ordering::Release);
                }
                // The pace of the kills.
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        // However fast the workers are, some are killed between any few hundred items.
        let tasks = (0..MANY).map(|n| {
            until("enough workers were killed", || {
                kills.load(Ordering::Acquire) >= n / (MANY / 25)
            });
            Task::Double(n)
        });
        let results = pool.pool.map(tasks).zip(0..MANY);
        let results: Vec<_> = results.map(|(one, n)| (n, one.unwrap())).collect();
        is_over.store(true, Ordering::Release);
        results
    });
    let kills = kills.into_inner();
    assert!(kills > 20, "{kills}");
    assert_eq!(results.len() as u64, MANY);
    assert_eq!(pool.join(), (MANY, 0));
    assert!(pool.events.runs_max() <= copies.count() as usize);
    let events = pool.events.0.lock().unwrap();
    let mut ends = BTreeMap::new();
    for event in &*events {
        if let EventKind::ItemDone { id, .. } | EventKind::Dead { id, .. } = event {
            *ends.entry(*id).or_insert(0) += 1;
        }
    }
    assert_eq!(ends.len() as u64, MANY);
    assert!(ends.values().all(|times| *times == 1));
    drop(events);
    results.into_iter().collect()
}

fn no_kill_loses_or_repeats_anything_of_ten_thousand() {
    let results = double_many_under_kills(Copies::first(2));
    // Some answers are wrong, and there is no second one to tell.
    let right = results.iter().filter(|(n, doubled)| **doubled == 2 * **n);
    assert!(right.count() as u64 >= MANY * 9 / 10);
}

fn no_wrong_answer_counts_however_many_workers_are_killed() {
    let results = double_many_under_kills(Copies::agree(2, 3));
    for (n, doubled) in results {
        assert_eq!(doubled, 2 * n);
    }
}
