//! Items of which one in fifty hangs on its first copy, with and without a second copy for those
//! that take long: the time of an item from its put to its end, and the work that was done for it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{Copies, Hedge, ItemId, JoinableQueue, Supervisor};
use serde::{Deserialize, Serialize};

use crate::busy::even;
use crate::order::{Measured, Order};
use crate::pool::await_ready;

/// The middle one of so many items hangs.
const HANGS_ONE_OF: usize = 50;
/// The delay of a second copy that does not follow what others took: twice the longest item.
const DELAY: Duration = Duration::from_millis(30);
/// The name of the file that has a byte for each run.
const RUNS: &str = "runs";

/// An item: sleeps for `rest`, but its first copy for `hang`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    number: usize,
    rest: Duration,
    hang: Option<Duration>,
    /// The folder in which runs leave their marks; the copies of an item find each other there.
    folder: PathBuf,
}

impl Job {
    /// Returns `true` for the first run of this item that asks. A run does not know its copy's
    /// number, so the first one to make the file is the first copy.
    fn is_first(&self) -> bool {
        File::create_new(self.folder.join(format!("begun-{}", self.number))).is_ok()
    }
}

/// Works on an item, and counts the run.
pub(crate) fn work(job: Job) -> Result<(), Infallible> {
    let runs = OpenOptions::new().append(true).open(job.folder.join(RUNS));
    let mut runs = runs.expect("the folder is there until all workers are stopped");
    runs.write_all(b".").expect("a byte finds room");
    match job.hang {
        Some(hang) if job.is_first() => sleep(hang),
        _ => sleep(job.rest),
    }
    Ok(())
}

/// When items ended, and for how long workers were at them.
#[derive(Debug, Default)]
struct Ends(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    done: HashMap<ItemId, Instant>,
    /// The runs that have begun and not ended, by item and copy.
    running: HashMap<(ItemId, u32), Duration>,
    busy: Duration,
    replaced: u32,
}

impl Seen {
    fn end(&mut self, id: ItemId, copy: u32, at: Duration) {
        if let Some(begin) = self.running.remove(&(id, copy)) {
            self.busy += at.saturating_sub(begin);
        }
    }
}

impl Ends {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Ends {
    fn observe(&self, Event { kind, at, .. }: Event) {
        let mut seen = self.seen();
        match kind {
            EventKind::ItemStarted { id, copy, .. } => {
                seen.running.insert((id, copy.unwrap_or(1)), at);
            }
            EventKind::CopyEnded { id, copy, .. } => seen.end(id, copy, at),
            EventKind::ItemDone { id, .. } => {
                // An item without copies has no other end.
                seen.end(id, 1, at);
                seen.done.insert(id, Instant::now());
            }
            EventKind::WorkerExited { .. } => seen.replaced += 1,
            _ => {}
        }
    }
}

/// Puts an item every `gap_us`, whatever became of those before; all at once if that is 0.
pub(crate) fn measure(order: &Order) -> Measured {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    File::create(folder.path().join(RUNS)).expect("it is ours");
    let ends = Arc::new(Ends::default());
    let mut how = Supervisor::builder().processes(order.workers);
    if let Some(copies) = copies(order) {
        how = how.copies(copies);
    }
    let queue = JoinableQueue::unbounded();
    let pool = how.observer(ends.clone()).handler(&queue, work);
    let pool = pool.expect("workers start");
    await_ready(&pool, order.workers);
    let began = Instant::now();
    let mut puts = Vec::new();
    for (job, nth) in jobs(order, folder.path()).iter().zip(0..) {
        sleep(
            (began + Duration::from_micros(order.gap_us) * nth)
                .saturating_duration_since(Instant::now()),
        );
        let at = Instant::now();
        puts.push((at, queue.put(job).expect("it is open")));
    }
    let joined = queue.join().expect("workers are there");
    let elapsed_s = began.elapsed().as_secs_f64();
    assert_eq!((joined.done, joined.dead), (order.items as u64, 0));
    let (busy, replaced) = {
        let seen = ends.seen();
        (seen.busy, seen.replaced)
    };
    pool.stop();
    let seen = ends.seen();
    let time = |(at, id): &(Instant, ItemId)| (seen.done[id] - *at).as_secs_f64() * 1000.0;
    let mut times_ms: Vec<f64> = puts.iter().map(time).collect();
    times_ms.sort_by(f64::total_cmp);
    let runs = fs::metadata(folder.path().join(RUNS)).expect("it is still there");
    Measured::new("ms", quantile(&times_ms, 99))
        .with("median_ms", quantile(&times_ms, 50))
        .with("runs", runs.len() as f64 / order.items as f64)
        .with("busy_s", busy.as_secs_f64())
        .with("replaced", replaced)
        .with("elapsed_s", elapsed_s)
}

fn copies(order: &Order) -> Option<Copies> {
    let usual = Copies::first(2).hedge_after(Hedge::quantile(0.95));
    match order.contender.as_str() {
        "dishrack-single" => None,
        "dishrack-p95" => Some(usual),
        "dishrack-delay" => Some(Copies::first(2).hedge_after(DELAY)),
        "dishrack-pressing" => Some(usual.pressing()),
        _ => order.unknown(),
    }
}

/// Items of 5 to 15 ms, spread evenly, the same in every run.
fn jobs(order: &Order, folder: &Path) -> Vec<Job> {
    let hang = Duration::from_millis(order.hang_ms);
    let job = |(number, part): (usize, f64)| Job {
        number,
        rest: Duration::from_secs_f64(0.005 + 0.01 * part),
        hang: (number % HANGS_ONE_OF == HANGS_ONE_OF / 2 - 1).then_some(hang),
        folder: folder.to_owned(),
    };
    (0..order.items).zip(even()).map(job).collect()
}

/// Returns the time that this many of a hundred do not exceed, by the nearest rank.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}
