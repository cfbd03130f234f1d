//! The state of a run as JSON has it: its state, counts, pace and workers. The fields are a contract
//! with other programs: see `docs/api.md`.

use std::time::Duration;

use serde::Serialize;

use super::item::since_1970;
use crate::broker::bars::KeptWaits;
use crate::observe::{Mode, micros};
use crate::supervision::{PoolStatus, RunState, WorkerDeath, WorkerInfo, WorkerState};
use crate::sys::usage;
use dishrack_core::ledger::{Counts, Durations};

/// The state of a run.
#[derive(Debug, Serialize)]
pub(super) struct RunStatus {
    pub(super) name: String,
    pub(super) pid: u32,
    /// `None` for a queue that is served without workers.
    pub(super) mode: Option<Mode>,
    pub(super) state: &'static str,
    pub(super) uptime_us: u64,
    pub(super) counts: AllCounts,
    /// Items that end in a second.
    pub(super) rate_per_s: f64,
    /// The time until all have ended, if it can be known.
    pub(super) eta_s: Option<f64>,
    /// The time for which the first of the items that wait has done so.
    pub(super) oldest_waiting_us: Option<u64>,
    /// The number of workers that there are to be.
    pub(super) workers_wanted: usize,
    pub(super) worker_states: WorkerStates,
    /// `None` if they are not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<Vec<WorkerStatus>>,
}

/// The number of workers in each state.
#[derive(Debug, Default, Serialize)]
pub(super) struct WorkerStates {
    starting: u64,
    idle: u64,
    busy: u64,
    stopping: u64,
}

impl WorkerStates {
    fn of(workers: &[WorkerInfo]) -> Self {
        let mut states = WorkerStates::default();
        for worker in workers {
            *match worker.state {
                WorkerState::Starting => &mut states.starting,
                WorkerState::Idle => &mut states.idle,
                WorkerState::Busy => &mut states.busy,
                WorkerState::Stopping => &mut states.stopping,
            } += 1;
        }
        states
    }
}

/// The places of all items.
#[derive(Debug, Serialize)]
pub(super) struct AllCounts {
    accepted: u64,
    waiting: u64,
    leased: u64,
    delayed: u64,
    done: u64,
    dead: u64,
    retries: u64,
    restarts: u64,
}

/// One worker.
#[derive(Debug, Serialize)]
pub(super) struct WorkerStatus {
    worker: String,
    pid: Option<u32>,
    state: WorkerState,
    number: Option<u64>,
    item: Option<String>,
    for_us: Option<u64>,
    rss_bytes: Option<u64>,
    restarts: u64,
    last_death: Option<LastDeath>,
}

/// The death of the last process that had a worker's place.
#[derive(Debug, Serialize)]
struct LastDeath {
    /// Since 1970.
    at_us: u64,
    cause: String,
}

impl From<WorkerDeath> for LastDeath {
    fn from(death: WorkerDeath) -> Self {
        LastDeath {
            at_us: since_1970(death.at),
            cause: death.cause.to_string(),
        }
    }
}

/// The facts about a run, beside its name.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) mode: Option<Mode>,
    pub(super) is_paused: bool,
    pub(super) is_closed: bool,
    pub(super) uptime: Duration,
    pub(super) counts: Counts,
    /// The waits of items, if they are kept.
    pub(super) waits: Option<KeptWaits>,
    pub(super) durations: Durations,
    pub(super) rate: f64,
    pub(super) left: Option<Duration>,
    pub(super) pool: PoolStatus,
}

impl RunStatus {
    /// Tells of all workers, whose memory is asked of the kernel one by one.
    pub(super) fn new(name: &str, facts: Facts) -> Self {
        let status = RunStatus::without_workers(name, &facts);
        let workers = facts.pool.workers.into_iter();
        let workers = workers.map(|one| WorkerStatus::new(one, status.pid));
        RunStatus {
            workers: Some(workers.collect()),
            ..status
        }
    }

    /// Tells of workers only how many are in which state.
    pub(super) fn without_workers(name: &str, facts: &Facts) -> Self {
        let counts = facts.counts;
        let thousandth = |value: f64| (value * 1_000.0).round() / 1_000.0;
        RunStatus {
            name: name.to_owned(),
            pid: std::process::id(),
            mode: facts.mode,
            state: state(facts),
            uptime_us: micros(facts.uptime),
            counts: AllCounts {
                accepted: counts.accepted,
                waiting: counts.waiting,
                leased: counts.leased,
                delayed: counts.delayed,
                done: counts.done,
                dead: counts.dead,
                retries: counts.retries,
                restarts: facts.pool.restarts,
            },
            rate_per_s: thousandth(facts.rate),
            eta_s: facts.left.map(|left| thousandth(left.as_secs_f64())),
            oldest_waiting_us: facts
                .waits
                .as_ref()
                .and_then(|waits| waits.oldest)
                .map(micros),
            workers_wanted: facts.pool.wanted,
            worker_states: WorkerStates::of(&facts.pool.workers),
            workers: None,
        }
    }
}

fn state(facts: &Facts) -> &'static str {
    match facts.pool.state {
        RunState::Stopping | RunState::Over => "stopping",
        RunState::Draining => "draining",
        RunState::Running if facts.is_paused => "paused",
        RunState::Running if facts.is_closed => "draining",
        RunState::Running => "running",
    }
}

impl WorkerStatus {
    fn new(worker: WorkerInfo, own: u32) -> Self {
        let pid = (worker.pid != 0).then_some(worker.pid);
        WorkerStatus {
            worker: worker.name,
            pid,
            state: worker.state,
            number: worker.item.map(|id| id.0),
            item: worker.item_name,
            for_us: worker.elapsed.map(micros),
            // A thread has no memory of its own.
            rss_bytes: pid.filter(|pid| *pid != own).and_then(usage::resident),
            restarts: worker.restarts,
            last_death: worker.last_death.map(LastDeath::from),
        }
    }
}
