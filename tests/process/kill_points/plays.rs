//! The programs whose processes are killed. Each can be run again after that, and goes on.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{
    Builder, Capacity, Copies, Durability, JoinableQueue, Options, Restart, Roles, StartMethod,
    Supervisor,
};
use serde::{Deserialize, Serialize, Serializer};

use super::diary::Diary;
use crate::support;

pub(crate) const PLAY: &str = "killed job";

/// The variable with the folder of the job, which its workers inherit.
pub(super) const FOLDER: &str = "DISHRACK_TEST_FOLDER";

/// The variable with the name of the kind.
pub(super) const KIND: &str = "DISHRACK_TEST_KIND";

/// The number of items put by the program itself, and by its producer.
pub(super) const OWN: u64 = 6;
const PRODUCED: u64 = 4;

/// The items that are put together, in two batches.
const PUT_TOGETHER: std::ops::Range<u64> = 200..203;

/// The items of the kind that puts many, whose batches are larger than its queue.
pub(super) const MANY: std::ops::Range<u64> = 1000..1600;
const BOUND: usize = 48;

/// The items that are put one after the other.
const STREAMED: std::ops::Range<u64> = 2000..5000;

/// The one in their midst that cannot be put.
pub(super) const REFUSED: u64 = 1333;

/// The items that one caller takes.
const TAKEN: u64 = 200;

/// The items that a client puts, in so many calls.
const CALLS: u64 = 3;
const PUT_BY_CALL: u64 = 4;

/// The items of a map.
pub(super) const MAPPED: u64 = 40;

/// The bytes of an item that makes the journal's log long enough to be taken in.
const LONG_BYTES: usize = 20 << 20;

/// The time that a copy takes that is not needed: longer than all that is done until it is stopped.
const HANGS: Duration = Duration::from_secs(2);

/// The kind of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// With processes, a producer, and an observer of each item.
    Plain,
    /// The same, and each item has two copies.
    Copied,
    /// The same as plain, and the run is paused, scaled and reloaded.
    Steered,
    /// With forked processes, and nobody who looks at single items.
    Unwatched,
    /// The same with threads.
    Threads,
    /// Many items are put at once.
    Together,
    /// Many items are put one after the other, with one wait for all of them.
    Streamed,
    /// The caller takes and settles many items at once.
    Taken,
    /// Loops in worker processes take and settle many items at once.
    Loops,
    /// A worker process that has another queue puts, takes and settles.
    Called,
    /// The journal's log gets long.
    Long,
    /// A map without a journal.
    Mapped,
}

impl Kind {
    const ALL: [Kind; 12] = [
        Kind::Plain,
        Kind::Copied,
        Kind::Steered,
        Kind::Unwatched,
        Kind::Threads,
        Kind::Together,
        Kind::Streamed,
        Kind::Taken,
        Kind::Loops,
        Kind::Called,
        Kind::Long,
        Kind::Mapped,
    ];

    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    fn of_this_process() -> Self {
        let name = std::env::var(KIND).unwrap();
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.expect("the test names a kind")
    }

    fn fails_at_first(self) -> bool {
        matches!(self, Kind::Unwatched | Kind::Threads | Kind::Taken)
    }
}

/// An item. One of them cannot be put into bytes.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Order {
    n: u64,
    filler: String,
}

impl Order {
    fn new(n: u64) -> Self {
        Order {
            n,
            filler: String::new(),
        }
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.n == REFUSED {
            return Err(serde::ser::Error::custom("it cannot be put into bytes"));
        }
        (self.n, &self.filler).serialize(serializer)
    }
}

type Queue = JoinableQueue<Order>;

fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os(FOLDER).expect("the test names a folder"))
}

/// Returns `true` the first time that this is asked in the folder, whatever process dies.
fn is_first(name: &str) -> bool {
    fs::File::create_new(folder().join(name)).is_ok()
}

fn note(line: &str) {
    Diary::of(&folder()).note(line);
}

/// Registers the functions of its workers.
pub(crate) fn register(roles: &mut Roles) {
    roles.handler(clerk);
    roles.worker(producer);
    roles.worker(taker);
    roles.handler(caller);
}

/// The workers' handler.
fn clerk(order: Order) -> Result<u64, String> {
    let (n, kind) = (order.n, Kind::of_this_process());
    if kind == Kind::Copied && n % 4 == 1 && is_first(&format!("first {n}")) {
        std::thread::sleep(HANGS);
    }
    if kind.fails_at_first() && n % 5 == 3 && is_first(&format!("failed {n}")) {
        return Err("not yet".into());
    }
    note(&format!("did {n}"));
    Ok(n)
}

/// A producer in a worker process.
fn producer(queue: Queue) {
    for n in 100..100 + PRODUCED {
        queue.put(&Order::new(n)).unwrap();
        note(&format!("accepted {n}"));
    }
}

/// True once the producer's process has ended.
static HAS_PRODUCED: AtomicBool = AtomicBool::new(false);

/// An observer that writes the reports down.
#[derive(Debug)]
struct Diarist {
    wants_items: bool,
}

impl Observer for Diarist {
    fn wants_items(&self) -> bool {
        self.wants_items
    }

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

/// Runs the program.
pub(crate) fn play() {
    let kind = Kind::of_this_process();
    if kind == Kind::Mapped {
        return map();
    }
    let options = match kind {
        Kind::Copied => Options::default().copies(Copies::first(2)),
        Kind::Together => Options::default().capacity(Capacity::Bounded(BOUND)),
        _ => Options::default(),
    };
    let durability = match kind {
        // Only there the log is synced ahead.
        Kind::Long => Durability::Normal,
        _ => Durability::Full,
    };
    let path = folder().join("journal");
    let queue = Queue::journaled(path, durability, options).unwrap();
    let pool = (!matches!(kind, Kind::Taken | Kind::Loops | Kind::Called)).then(|| {
        let builder = clerks(kind).name_items(|order: &Order| order.n.to_string());
        builder.handler(&queue, clerk).unwrap()
    });
    match kind {
        Kind::Plain | Kind::Copied | Kind::Steered => {
            produce(&queue);
            put_at_most_once(&queue, PUT_TOGETHER);
            put_own(&queue);
        }
        Kind::Unwatched | Kind::Threads => {
            put_at_most_once(&queue, MANY.start..MANY.start + 50);
            put_own(&queue);
        }
        Kind::Together => put_at_most_once(&queue, MANY),
        Kind::Streamed => {
            put_streamed(&queue);
            put_own(&queue);
        }
        Kind::Taken => {
            put_at_most_once(&queue, 0..TAKEN);
            take_all(&queue);
        }
        Kind::Loops => {
            let takers = clerks(kind).name("taker");
            let _takers = takers.worker(&queue, taker).unwrap();
            put_at_most_once(&queue, 0..TAKEN);
            queue.join().unwrap();
        }
        Kind::Called => call(&queue),
        Kind::Long => {
            put_own(&queue);
            put_long(&queue);
        }
        Kind::Mapped => unreachable!("it has no journal"),
    }
    if let (Kind::Steered, Some(pool)) = (kind, &pool) {
        steer(&queue, pool);
    }
    let joined = queue.join().unwrap();
    note(&format!("joined {} {}", joined.done, joined.dead));
}

fn steer(queue: &Queue, pool: &Supervisor<Order, u64>) {
    queue.pause().unwrap();
    pool.scale(1).unwrap();
    queue.unpause().unwrap();
    pool.scale(2).unwrap();
    pool.reload().unwrap();
}

fn clerks(kind: Kind) -> Builder {
    let wants_items = matches!(
        kind,
        Kind::Plain | Kind::Copied | Kind::Steered | Kind::Together | Kind::Long
    );
    let builder = Supervisor::builder()
        .name("clerk")
        .observer(Arc::new(Diarist { wants_items }));
    match kind {
        Kind::Threads => builder.threads(2),
        Kind::Unwatched => builder.processes(2).start_method(StartMethod::Fork),
        _ => builder.processes(2),
    }
}

/// Lets a process put some. It does so at most once, even if it dies.
fn produce(queue: &Queue) {
    if !is_first("produced") {
        return;
    }
    let producers = Supervisor::builder().processes(1).name("producer");
    let producers = producers.restart(Restart::Temporary);
    let _pool = producers.worker(queue, producer).unwrap();
    support::until("the producer has ended", || {
        HAS_PRODUCED.load(Ordering::Acquire)
    });
}

/// Puts all of these together. Nobody knows after a kill which were put, so they are not put again.
fn put_at_most_once(queue: &Queue, numbers: std::ops::Range<u64>) {
    if !is_first("put together") {
        return;
    }
    let put = queue.put_many(numbers.clone().map(Order::new));
    let refused: Vec<u64> = put.refused.iter().map(|one| one.item.n).collect();
    let expected: Vec<u64> = numbers.clone().filter(|n| *n == REFUSED).collect();
    assert_eq!(refused, expected, "{put:?}");
    assert!(put.lost.is_none() && !put.is_cut_short, "{put:?}");
    let all = numbers.filter(|n| *n != REFUSED);
    assert_eq!(put.accepted, all.clone().count() as u64);
    all.for_each(|n| note(&format!("accepted {n}")));
}

/// Does the same one after the other.
fn put_streamed(queue: &Queue) {
    if !is_first("put one after the other") {
        return;
    }
    for n in STREAMED {
        queue.put_unsynced(&Order::new(n)).unwrap();
    }
    queue.sync().unwrap();
    let lines: Vec<_> = STREAMED.map(|n| format!("accepted {n}")).collect();
    note(&lines.join("\n"));
}

/// Puts those of its own that were not put before.
fn put_own(queue: &Queue) {
    for n in 0..OWN {
        let key = n.to_le_bytes();
        if queue.put_resumable(&Order::new(n), &key).unwrap().is_some() {
            note(&format!("accepted {n}"));
        }
    }
}

/// Puts an item after which the journal's log is worth a sync, and one that fills it.
fn put_long(queue: &Queue) {
    for (n, bytes) in [(OWN, LONG_BYTES / 4), (OWN + 1, LONG_BYTES)] {
        let mut order = Order::new(n);
        order.filler = "x".repeat(bytes);
        let key = n.to_le_bytes();
        if queue.put_resumable(&order, &key).unwrap().is_some() {
            note(&format!("accepted {n}"));
        }
    }
}

/// Works on all that waits, many at a time. One of them is refused at first.
fn take_all(queue: &Queue) {
    while !queue.is_empty() {
        let mut deliveries = queue.get_many(16).unwrap();
        let is_early = |n: u64| n % 50 == 3 && is_first(&format!("failed {n}"));
        if let Some(at) = deliveries.iter().position(|one| is_early(one.n)) {
            deliveries.remove(at).nack("not yet").unwrap();
        }
        for delivery in &deliveries {
            note(&format!("did {}", delivery.n));
        }
        let all = deliveries.len() as u64;
        assert_eq!(queue.task_done_many(deliveries).done, all);
    }
}

/// A loop in a worker process.
fn taker(queue: Queue) {
    while let Ok(mut deliveries) = queue.get_many(16) {
        for delivery in &deliveries {
            note(&format!("did {}", delivery.n));
        }
        // Those that come first need a record, because earlier ones are not settled.
        let later = deliveries.split_off(deliveries.len() / 2);
        let all = later.len() as u64;
        assert_eq!(queue.task_done_many(later).done, all);
        for delivery in deliveries {
            delivery.task_done().unwrap();
        }
    }
}

/// An order to use a queue that is not the worker's own.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    /// The first number that is to be put.
    first: u64,
    queue: Queue,
}

/// Lets a worker put, and work on all that there is, until nothing is left.
fn call(queue: &Queue) {
    let calls = JoinableQueue::<Call>::unbounded();
    let callers = Supervisor::builder().processes(1).name("caller");
    let _callers = callers.handler(&calls, caller).unwrap();
    for n in 0..CALLS {
        let (first, queue) = (3000 + n * PUT_BY_CALL, queue.clone());
        calls.put(&Call { first, queue }).unwrap();
    }
    assert_eq!(calls.join().unwrap().dead, 0);
    // What a killed one held may have come back after the next one had looked.
    while queue.counts().unwrap().unfinished() > 0 {
        let (first, queue) = (3000, queue.clone());
        calls.put(&Call { first, queue }).unwrap();
        assert_eq!(calls.join().unwrap().dead, 0);
    }
}

/// A worker with a queue of its own, which is told of another one. Nobody knows after a kill what was
/// put, so it is not put again.
fn caller(call: Call) -> Result<(), String> {
    let Call { first, queue } = call;
    for n in first..first + PUT_BY_CALL {
        if is_first(&format!("put {n}")) {
            queue.put(&Order::new(n)).unwrap();
            note(&format!("accepted {n}"));
        }
    }
    if let Ok(delivery) = queue.try_get() {
        note(&format!("did {}", delivery.n));
        delivery.task_done().unwrap();
    }
    // Nobody else takes what waits.
    while !queue.is_empty() {
        let deliveries = queue.get_many(2).unwrap();
        for delivery in &deliveries {
            note(&format!("did {}", delivery.n));
        }
        let all = deliveries.len() as u64;
        assert_eq!(queue.task_done_many(deliveries).done, all);
    }
    Ok(())
}

/// Maps numbers, whose results are written down as they come.
fn map() {
    let queue = Queue::unbounded();
    let pool = clerks(Kind::Mapped).handler(&queue, clerk).unwrap();
    for result in pool.map_unordered((0..MAPPED).map(Order::new)) {
        note(&format!("done {}", result.unwrap()));
    }
    note(&format!("joined {MAPPED} 0"));
}
