//! A kill at every step of a putting, working or supervising process: one run for each point until
//! no point is left. Afterwards the same program is run again, like by its user, and nothing may be
//! lost, done after it was reported done, or reported twice.
//!
//! The points need the feature `failpoints`; without it there is nothing to run.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{Copies, Durability, JoinableQueue, Options, Restart, Roles, Supervisor};

use crate::support::{self, DEADLINE, Run};

crate::trials!(
    a_kill_at_any_step_of_the_supervisor_loses_nothing,
    a_kill_at_any_step_of_a_worker_loses_nothing,
    a_kill_at_any_step_of_a_producer_loses_nothing,
    a_kill_at_any_step_of_copies_loses_nothing_and_tells_nothing_twice,
    a_kill_at_any_step_of_a_change_loses_nothing,
    a_queue_whose_books_do_not_agree_ends_the_run_with_70,
    a_supervisor_killed_in_the_middle_of_a_start_leaves_nobody,
);

/// The number of items put by the program itself, and by its producer.
const OWN: u64 = 6;
const PRODUCED: u64 = 4;

/// The items that are put together, in two batches.
const TOGETHER: std::ops::Range<u64> = 200..203;

/// The variable with the folder of the job, which its workers inherit.
const FOLDER: &str = "DISHRACK_TEST_FOLDER";

/// The variable that is set where each item has two copies.
const COPIES: &str = "DISHRACK_TEST_COPIES";

/// The variable that is set where the run is paused, scaled and reloaded.
const STEERED: &str = "DISHRACK_TEST_STEERED";

/// The time that a copy takes that is not needed: longer than all that is done until it is stopped.
const HANGS: Duration = Duration::from_secs(2);

pub(crate) const PLAY: &str = "journalled job";

fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os(FOLDER).expect("the test names a folder"))
}

/// Registers the functions of its workers.
pub(crate) fn register(roles: &mut Roles) {
    roles.handler(clerk);
    roles.worker(producer);
}

/// Adds a line to the job's diary, in one write, so that all processes can.
fn note(line: &str) {
    let path = folder().join("diary");
    let mut diary = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    diary.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The workers' handler.
pub(crate) fn clerk(n: u64) -> Result<u64, String> {
    let is_first = || fs::File::create_new(folder().join(format!("first {n}"))).is_ok();
    if std::env::var_os(COPIES).is_some() && n % 4 == 1 && is_first() {
        std::thread::sleep(HANGS);
    }
    note(&format!("did {n}"));
    Ok(n)
}

/// A producer in a worker process.
pub(crate) fn producer(queue: JoinableQueue<u64>) {
    for n in 100..100 + PRODUCED {
        queue.put(&n).unwrap();
        note(&format!("accepted {n}"));
    }
}

/// True once the producer's process has ended.
static HAS_PRODUCED: AtomicBool = AtomicBool::new(false);

/// An observer that writes the reports down.
#[derive(Debug)]
struct Diarist;

impl Observer for Diarist {
    fn observe(&self, event: Event) {
        match event.kind {
            EventKind::ItemDone { item, .. } => note(&format!("done {item}")),
            EventKind::Dead { item, .. } => note(&format!("dead {item}")),
            EventKind::WorkerExited { worker, .. }
            | EventKind::WorkerFailedToStart { worker, .. }
                if worker.starts_with("producer") =>
            {
                HAS_PRODUCED.store(true, Ordering::Release);
            }
            _ => {}
        }
    }
}

/// Runs the program: puts the items that were not put before, and joins.
pub(crate) fn play() {
    let path = folder().join("journal");
    let copies = std::env::var_os(COPIES).map(|_| Copies::first(2));
    let options = Options::default().copies(copies);
    let queue = JoinableQueue::journaled(path, Durability::Full, options).unwrap();
    let clerks = Supervisor::builder()
        .processes(2)
        .name("clerk")
        .name_items(|n: &u64| n.to_string())
        .observer(Arc::new(Diarist));
    let clerks = clerks.handler(&queue, clerk).unwrap();
    // It puts at most once, even if it dies.
    if fs::File::create_new(folder().join("produced")).is_ok() {
        let producers = Supervisor::builder().processes(1).name("producer");
        let producers = producers.restart(Restart::Temporary);
        let _pool = producers.worker(&queue, producer).unwrap();
        support::until("the producer has ended", || {
            HAS_PRODUCED.load(Ordering::Acquire)
        });
    }
    // These are put at most once, too.
    if fs::File::create_new(folder().join("put together")).is_ok() {
        queue.put_many(TOGETHER).into_result().unwrap();
        TOGETHER.for_each(|n| note(&format!("accepted {n}")));
    }
    for n in 0..OWN {
        if queue.put_resumable(&n, &n.to_le_bytes()).unwrap().is_some() {
            note(&format!("accepted {n}"));
        }
    }
    if std::env::var_os(STEERED).is_some() {
        steer(&queue, &clerks);
    }
    let joined = queue.join().unwrap();
    note(&format!("joined {} {}", joined.done, joined.dead));
}

fn steer(queue: &JoinableQueue<u64>, clerks: &Supervisor<u64, u64>) {
    queue.pause().unwrap();
    clerks.scale(1).unwrap();
    queue.unpause().unwrap();
    clerks.scale(2).unwrap();
    clerks.reload().unwrap();
}

/// The kind of a run: each item once at a time, or in two copies; or the run is steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Copied,
    Steered,
}

fn run(kind: Kind, folder: &Path, kill: Option<&str>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env("DISHRACK_TEST_PLAY", PLAY)
        .env(FOLDER, folder)
        .env_remove("DISHRACK_KILL_POINT");
    match kind {
        Kind::Plain => {}
        Kind::Copied => drop(command.env(COPIES, "2")),
        Kind::Steered => drop(command.env(STEERED, "1")),
    }
    if let Some(kill) = kill {
        command.env("DISHRACK_KILL_POINT", kill);
    }
    Run::of(command).exit().success()
}

/// Kills a run where a role passes a point for the `n`-th time, and adds the user's later runs.
/// Returns `false` if the point is not passed so often.
fn is_killed_at(kind: Kind, role: &str, point: &str, n: u64) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("killed");
    let kill = format!("{role}|{point}|{n}|{}", mark.display());
    let of = format!("{role}, {point}, {n}");
    let is_fine = run(kind, folder.path(), Some(&kill));
    let is_killed = mark.exists();
    if !is_fine {
        assert!(is_killed && role == "supervisor", "{of}");
        assert!(run(kind, folder.path(), None), "after {of}");
    }
    // The next run has nothing left to do.
    let diary = fs::read_to_string(folder.path().join("diary")).unwrap();
    assert!(run(kind, folder.path(), None), "after {of}");
    let again = fs::read_to_string(folder.path().join("diary")).unwrap();
    check(kind, &diary, &of);
    let more = &again[diary.len()..];
    assert!(
        !more.contains("did") && !more.contains("done"),
        "{of}: {more}"
    );
    is_killed
}

/// Checks the promises in a diary.
fn check(kind: Kind, diary: &str, of: &str) {
    let (mut accepted, mut did) = (BTreeSet::new(), BTreeSet::new());
    let mut done = BTreeSet::new();
    for line in diary.lines() {
        let (word, item) = line.split_once(' ').unwrap();
        match word {
            "accepted" => assert!(accepted.insert(item), "{of}: {diary}"),
            "did" => {
                // Another copy may have come to its end before it was stopped.
                let may_be = kind == Kind::Copied || !done.contains(item);
                assert!(may_be, "{of}: done again: {diary}");
                did.insert(item);
            }
            "done" => assert!(done.insert(item), "{of}: told twice: {diary}"),
            "dead" => panic!("{of}: nothing dies of one kill: {diary}"),
            _ => {}
        }
    }
    let lost: Vec<_> = accepted.difference(&did).collect();
    assert!(lost.is_empty(), "{of}: lost {lost:?}: {diary}");
    let own = (0..OWN).map(|n| n.to_string());
    assert!(
        own.into_iter().all(|n| did.contains(n.as_str())),
        "{of}: {diary}"
    );
    // Each has one terminal record, even if a kill came between a commit and its event.
    let joined = diary.lines().last().unwrap();
    let expected = format!("joined {} 0", did.len());
    assert_eq!(joined, expected, "{of}: {diary}");
    assert!(done.is_subset(&did), "{of}: {diary}");
}

fn a_kill_at_any_step_of_a_change_loses_nothing() {
    let own = [
        "pause: begin",
        "pause: asked",
        "pause: end",
        "scale: asked",
        "scale: end",
        "leave: asked",
        "reload: asked",
        "reload: end",
    ];
    points_of(Kind::Steered, "supervisor", &own);
    for point in own {
        kill_each_time(Kind::Steered, "supervisor", point);
    }
}

/// Kills a role wherever it passes a point.
fn kill_everywhere(role: &str, expected: &[&str]) {
    let points = points_of(Kind::Plain, role, expected);
    for point in &points {
        kill_each_time(Kind::Plain, role, point);
    }
}

/// Returns all points that a role passes, of which these must be some.
fn points_of(kind: Kind, role: &str, expected: &[&str]) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("points");
    let all = format!("{role}||0|{}", list.display());
    assert!(run(kind, folder.path(), Some(&all)));
    let text = fs::read_to_string(list).unwrap();
    let points: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    for point in expected {
        assert!(
            points.contains(*point),
            "{role} does not pass {point}: {points:?}"
        );
    }
    points
}

/// Kills a role at the first time that it passes a point, the second time, and so on.
fn kill_each_time(kind: Kind, role: &str, point: &str) {
    let mut n = 1;
    while is_killed_at(kind, role, point, n) {
        n += 1;
    }
    assert!(n > 1, "{role} was never killed at {point}");
}

/// From the begin of copies to the end of those that are not needed. A point that is about other
/// things is tried without copies.
fn a_kill_at_any_step_of_copies_loses_nothing_and_tells_nothing_twice() {
    let of_supervisor = [
        "copy: handed out",
        "copy: counted",
        "copy: to be stopped",
        "copy: stopped",
        "commit: durable, not told",
    ];
    let of_worker = [
        "worker: started",
        "worker: finished",
        "worker: acknowledged",
    ];
    for (role, points) in [("supervisor", &of_supervisor[..]), ("clerk", &of_worker)] {
        points_of(Kind::Copied, role, points);
        for point in points {
            kill_each_time(Kind::Copied, role, point);
        }
    }
}

fn a_kill_at_any_step_of_the_supervisor_loses_nothing() {
    kill_everywhere(
        "supervisor",
        &[
            "journal: being made",
            "journal: about to be there",
            "journal: made",
            "journal: not in use",
            "journal: in use, in its log",
            "journal: in use",
            "journal: in use, and its log whole",
            "journal: about to be closed",
            "journal: closed, in its log",
            "journal: closed",
            "start: process made",
            "put many: begin",
            "put many: accepted, not durable",
            "put: begin",
            "put: accepted, not durable",
            "put: durable",
            "commit: begin",
            "commit: inside",
            "commit: durable, not told",
            "commit: told",
            "deliver: chosen",
            "deliver: to be sent",
            "deliver: sent",
            "acknowledge: received",
            "acknowledge: settled",
            "join: begin",
            "join: end",
        ],
    );
}

fn a_kill_at_any_step_of_a_worker_loses_nothing() {
    kill_everywhere(
        "clerk",
        &[
            "worker: appointed",
            "worker: ready",
            "worker: packet read",
            "worker: started",
            "worker: finished",
            "worker: acknowledged",
            "worker: to be sent",
        ],
    );
}

fn a_kill_at_any_step_of_a_producer_loses_nothing() {
    kill_everywhere(
        "producer",
        &[
            "worker: ready",
            "worker: request made",
            "worker: request sent",
            "worker: packet read",
            "worker: request answered",
        ],
    );
}

fn a_queue_whose_books_do_not_agree_ends_the_run_with_70() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command
        .args(["-w", "1", "--wash", "0", "--dry", "0", "--format", "json"])
        .env("DISHRACK_FAULT", "one too many");
    let mut run = Run::of(command);
    while run.line().is_some() {}
    assert_eq!(run.exit().code(), Some(70), "within {DEADLINE:?}");
}

/// By a process that is not executed yet, shares its supervisor's memory, and has not asked for the
/// signal of its death.
fn a_supervisor_killed_in_the_middle_of_a_start_leaves_nobody() {
    for method in ["spawn", "fork"].repeat(20) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command
            .args(["-w", "2", "--wash", "1000s", "--format", "json"])
            .args(["--start-method", method])
            .env("DISHRACK_FAULT", "killed in the middle of a start");
        let mut run = Run::of(command);
        // Whoever was started has its stdout, so that this ends when nobody is left.
        while let Some(line) = run.line() {
            assert!(!line.contains("worker_started"), "{method}: {line}");
        }
        let signal = run.exit().signal();
        assert_eq!(signal, Some(nix::libc::SIGKILL), "{method}");
    }
}
