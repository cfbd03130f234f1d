//! The state of a pool and its workers, as far as it can be seen. A pool keeps a roster of what it knows by itself;
//! what each worker is at comes from the queue, in one look for all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};
use serde::Serialize;

use crate::broker::{Broker, CurrentItem, Deadline};
use dishrack_core::ledger::{Cause, Exit, HolderId, ItemId};
use dishrack_core::pool::restart::RestartCounts;

/// The state of a worker.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, Supervisor, WorkerState};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(3).handler(&queue, |_: u32| Ok::<_, String>(()))?;
/// queue.put(&7)?;
/// queue.join()?;
/// let workers = pool.workers();
/// let idle = workers.iter().filter(|one| one.state == WorkerState::Idle);
/// assert_eq!(idle.count(), 3);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// It is not ready: it is being started, or rests before it is started again.
    Starting,
    /// It is ready and has no item.
    Idle,
    /// It has an item. A loop of its own in a thread or task counts as busy, because the items that
    /// it has got are not known by worker.
    Busy,
    /// It is to end, or has just ended.
    Stopping,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkerState::Starting => "starting",
            WorkerState::Idle => "idle",
            WorkerState::Busy => "busy",
            WorkerState::Stopping => "stopping",
        })
    }
}

/// The state of a pool.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, RunState, Supervisor};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(2).handler(&queue, |_: u32| Ok::<_, String>(()))?;
/// assert_eq!(pool.status().state, RunState::Running);
/// pool.stop();
/// assert_eq!(pool.status().state.to_string(), "over");
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// Its workers work, or are started to.
    #[default]
    Running,
    /// It is being stopped, with unlimited time for what is begun.
    Draining,
    /// It is being stopped.
    Stopping,
    /// It has no workers any more.
    Over,
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RunState::Running => "running",
            RunState::Draining => "draining",
            RunState::Stopping => "stopping",
            RunState::Over => "over",
        })
    }
}

/// One worker.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, Supervisor};
///
/// let rack = JoinableQueue::unbounded();
/// let builder = Supervisor::builder().threads(2).name("dryer");
/// let pool = builder.handler(&rack, |_: String| Ok::<_, String>(()))?;
/// let first = &pool.workers()[0];
/// assert_eq!((&*first.name, first.pid), ("dryer-1", std::process::id()));
/// assert!(first.restarts == 0 && first.last_death.is_none());
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its name, such as `worker-1`.
    pub name: String,
    /// Its process; for threads and tasks, this process. 0 if there is none now.
    pub pid: u32,
    /// Its state.
    pub state: WorkerState,
    /// The item that it is at.
    pub item: Option<ItemId>,
    /// That item's name, as events have it.
    pub item_name: Option<String>,
    /// The time that it has been at this item, starting or stopping; `None` if that is not known.
    pub elapsed: Option<Duration>,
    /// The number of times that it was started again.
    pub restarts: u64,
    /// The last death of a process in its place, if there was one.
    pub last_death: Option<WorkerDeath>,
}

/// The death of a worker that was not asked to end.
///
/// # Example
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use dishrack::{JoinableQueue, Supervisor, WorkerDeath};
///
/// let has_panicked = AtomicBool::new(false);
/// let queue = JoinableQueue::<u32>::unbounded();
/// let pool = Supervisor::builder().threads(1).worker(&queue, move |queue| {
///     assert!(has_panicked.swap(true, Ordering::Relaxed), "the first time it fails");
///     while queue.get().is_ok_and(|item| item.task_done().is_ok()) {}
/// })?;
/// queue.put(&7)?;
/// queue.join()?;
/// let death: WorkerDeath = pool.workers()[0].last_death.clone().unwrap();
/// assert!(death.cause.to_string() == "its loop panicked" && death.at.elapsed().is_ok());
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerDeath {
    /// Its time.
    pub at: SystemTime,
    /// Its cause.
    pub cause: DeathCause,
}

/// The cause of a worker's death.
///
/// # Example
///
/// ```
/// use dishrack::{DeathCause, JoinableQueue, Restart, Supervisor};
///
/// let queue = JoinableQueue::<u32>::unbounded();
/// // Its loop returns after each item, and is run again.
/// let builder = Supervisor::builder().threads(1).restart(Restart::Permanent);
/// let pool = builder.worker(&queue, |queue| drop(queue.get().map(|item| item.task_done())))?;
/// queue.put_many([7, 8]).into_result()?;
/// queue.join()?;
/// let death = pool.workers()[0].last_death.clone().unwrap();
/// assert_eq!(death.cause, DeathCause::LoopReturned);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeathCause {
    /// Its process ended.
    #[non_exhaustive]
    Process {
        /// The cause with which its item was charged, or would have been.
        cause: Cause,
        /// More that is known: its last words, or the reason for which it was killed.
        complaint: Option<String>,
    },
    /// Its loop returned, in a thread of this process.
    LoopReturned,
    /// Its loop panicked.
    LoopPanicked,
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeathCause::Process {
                cause,
                complaint: Some(complaint),
            } => write!(f, "{cause} ({complaint})"),
            DeathCause::Process {
                cause,
                complaint: None,
            } => cause.fmt(f),
            DeathCause::LoopReturned => f.write_str("its loop returned"),
            DeathCause::LoopPanicked => f.write_str("its loop panicked"),
        }
    }
}

/// A pool, as [`Supervisor::status`](crate::Supervisor::status) sees it.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, PoolStatus, Supervisor, WorkerState};
///
/// /// Says how a pool is, in a line for a log.
/// fn line(status: &PoolStatus) -> String {
///     let PoolStatus { state, wanted, restarts, .. } = status;
///     let busy = status.workers.iter().filter(|one| one.state == WorkerState::Busy);
///     format!("{state}, {} of {wanted} busy, {restarts} restarts", busy.count())
/// }
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(4).handler(&queue, |_: u32| Ok::<_, String>(()))?;
/// assert_eq!(line(&pool.status()), "running, 0 of 4 busy, 0 restarts");
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Its state.
    pub state: RunState,
    /// The number of workers that it should have.
    pub wanted: usize,
    /// The number of times that workers were started again.
    pub restarts: u64,
    /// The same by their causes, with workers that were replaced because they had reached a bound.
    pub restarts_by: RestartCounts,
    /// All its workers, also those that are not ready.
    pub workers: Vec<WorkerInfo>,
    /// The ends of worker processes whose places are not filled again, the last one for each place.
    pub ended: Vec<EndedWorker>,
}

/// The end of a worker process that is not started again.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use dishrack::{Exit, JoinableQueue, Restart, Supervisor};
///
/// fn leave(_: JoinableQueue<u32>) {
///     std::process::exit(3);
/// }
///
/// dishrack::serve(|roles| roles.worker(leave));
/// let queue = JoinableQueue::unbounded();
/// let builder = Supervisor::builder().processes(1).restart(Restart::Temporary);
/// let pool = builder.worker(&queue, leave)?;
/// assert!(pool.wait_timeout(Duration::from_secs(60)));
/// let ended = &pool.status().ended[0];
/// assert_eq!((&*ended.name, ended.exit), ("worker-1", Exit::Exited(3)));
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedWorker {
    /// Its name.
    pub name: String,
    /// Its process; 0 if there was none.
    pub pid: u32,
    /// The end of its process.
    pub exit: Exit,
    /// More that is known: why it could not be started, or was killed.
    pub complaint: Option<String>,
}

impl PoolStatus {
    /// Returns the state of no pool at all.
    pub(crate) fn none() -> Self {
        PoolStatus {
            state: RunState::Running,
            wanted: 0,
            restarts: 0,
            restarts_by: RestartCounts::default(),
            workers: Vec::new(),
            ended: Vec::new(),
        }
    }
}

/// One of a pool's workers, as the pool knows it.
#[derive(Debug, Clone)]
pub(super) struct RosterEntry {
    pub(super) name: Arc<str>,
    pub(super) pid: u32,
    pub(super) stage: Stage,
    pub(super) since: Instant,
    /// Its place at the queue. A loop in this process has none.
    pub(super) holder: Option<HolderId>,
    pub(super) restarts: u64,
    pub(super) last_death: Option<WorkerDeath>,
}

/// A stage in a worker's life, as far as its pool tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Ready,
    /// It was ready, and is to end or has ended.
    Stopping,
}

/// The pool, as it knows itself.
#[derive(Debug, Default)]
pub(super) struct RosterState {
    pub(super) state: RunState,
    pub(super) wanted: usize,
    /// By slots.
    pub(super) entries: BTreeMap<usize, RosterEntry>,
    /// The ends of workers that are over, by slots.
    pub(super) ended: BTreeMap<usize, EndedWorker>,
}

/// The same, shared with the program.
#[derive(Debug, Clone, Default)]
pub(super) struct Roster(Arc<(Mutex<RosterState>, Condvar)>);

impl Roster {
    pub(super) fn with<V>(&self, act: impl FnOnce(&mut RosterState) -> V) -> V {
        let (state, changed) = &*self.0;
        let value = act(&mut state.lock());
        // It costs nothing while nobody waits.
        changed.notify_all();
        value
    }

    /// Waits until the pool has no workers any more. Returns `false` if the time is over first.
    pub(super) fn wait_until_over(&self, deadline: Deadline) -> bool {
        self.wait_until(deadline, |roster| roster.state == RunState::Over)
    }

    /// Waits until each worker has a process, or is over. Returns `false` if the time is over first.
    pub(super) fn wait_until_started(&self, deadline: Deadline) -> bool {
        let has_process = |entry: &RosterEntry| entry.pid != 0;
        self.wait_until(deadline, |roster| roster.entries.values().all(has_process))
    }

    fn wait_until(&self, deadline: Deadline, holds: impl Fn(&RosterState) -> bool) -> bool {
        let (state, changed) = &*self.0;
        let mut state = state.lock();
        while !holds(&state) {
            match deadline {
                Deadline::None => return false,
                Deadline::Forever => changed.wait(&mut state),
                Deadline::Until(until) if changed.wait_until(&mut state, until).timed_out() => {
                    return holds(&state);
                }
                Deadline::Until(_) => {}
            }
        }
        true
    }

    /// Returns the workers that are or were ready.
    pub(super) fn ready(&self, broker: &Broker) -> Vec<WorkerInfo> {
        let entries = self.with(|roster| roster.entries.clone());
        let ready = entries
            .into_values()
            .filter(|one| one.stage != Stage::Starting);
        infos(ready.collect(), broker)
    }

    pub(super) fn status(&self, broker: &Broker) -> PoolStatus {
        let (state, wanted, entries, ended) = self.with(|roster| {
            let ended = roster.ended.values().cloned().collect();
            (roster.state, roster.wanted, roster.entries.clone(), ended)
        });
        let restarts = broker.read(|core| core.restarts);
        PoolStatus {
            state,
            wanted,
            restarts: restarts.accidents(),
            restarts_by: restarts,
            workers: infos(entries.into_values().collect(), broker),
            ended,
        }
    }
}

/// Adds what the workers are at, which takes the queue's lock once.
fn infos(entries: Vec<RosterEntry>, broker: &Broker) -> Vec<WorkerInfo> {
    let holders: Vec<_> = entries.iter().map(|entry| entry.holder).collect();
    let activities = broker.activities(&holders);
    let info = |(entry, activity): (RosterEntry, Option<CurrentItem>)| {
        let since = entry.since.elapsed();
        let (state, elapsed) = match (entry.stage, &activity, entry.holder) {
            (Stage::Starting, ..) => (WorkerState::Starting, Some(since)),
            (Stage::Stopping, ..) => (WorkerState::Stopping, Some(since)),
            (Stage::Ready, Some(activity), _) => (WorkerState::Busy, activity.elapsed),
            (Stage::Ready, None, Some(_)) => (WorkerState::Idle, None),
            (Stage::Ready, None, None) => (WorkerState::Busy, None),
        };
        WorkerInfo {
            name: entry.name.to_string(),
            pid: entry.pid,
            state,
            item: activity.as_ref().map(|activity| activity.id),
            item_name: activity.map(|activity| activity.name),
            elapsed,
            restarts: entry.restarts,
            last_death: entry.last_death,
        }
    };
    entries.into_iter().zip(activities).map(info).collect()
}
