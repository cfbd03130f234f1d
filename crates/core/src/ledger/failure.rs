//! A failed attempt: its cause, and when, where and by whom it was made. Plain data; the causes are `cause`'s.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Cause;

/// The place and the time of an attempt, filled in by the code that reports a failure; empty where
/// they are not known.
///
/// ```
/// # use std::time::Duration;
/// # let (started, ended) = (Duration::from_secs(100), Duration::from_secs(102));
/// # let scene = dishrack_core::ledger::Scene::of_worker("dryer-1".into(), 4711, started, ended);
/// let line = format!("{} (pid {}), {:?}", scene.worker, scene.pid, scene.ended - scene.started);
/// assert_eq!(line, "dryer-1 (pid 4711), 2s");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Scene {
    /// The worker's name.
    pub worker: String,
    /// Its process id; 0 if there was none.
    pub pid: u32,
    /// The time at which it began, since 1970 (UTC).
    pub started: Duration,
    /// The time at which it ended.
    pub ended: Duration,
    /// The end of what the worker process wrote to stderr: at most the last 4 KiB.
    pub stderr: String,
}

/// One failed attempt in an item's history.
///
/// ```
/// # use dishrack_core::ledger::{Cause, Failure};
/// # let failed = |attempt, cause| Failure::new(attempt, cause, Default::default());
/// # let history = [failed(1, Cause::OutOfMemory), failed(2, Cause::Nack("it has a crack".into()))];
/// let lines = history.iter().map(|failure| format!("{}: {}", failure.attempt, failure.cause));
/// assert_eq!(lines.last().unwrap(), "2: it has a crack");
/// let losses = history.iter().filter(|failure| failure.cause.is_loss());
/// assert_eq!(losses.count(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// Its number: 1 for the first; 0 where it was given up on before any.
    pub attempt: u32,
    /// The cause of the failure.
    pub cause: Cause,
    /// The place and the time.
    pub scene: Scene,
}

impl Scene {
    /// Makes the scene of something that no worker had in hand, which ended at this time.
    #[must_use]
    pub fn ended_at(ended: Duration) -> Self {
        Scene {
            ended,
            ..Scene::default()
        }
    }

    /// Makes the scene of an attempt by a worker from one time to another, without stderr.
    #[must_use]
    pub fn of_worker(worker: String, pid: u32, started: Duration, ended: Duration) -> Self {
        Scene {
            worker,
            pid,
            started,
            ended,
            stderr: String::new(),
        }
    }

    /// Adds the end of what the worker wrote to stderr.
    #[must_use]
    pub fn with_stderr(self, stderr: String) -> Self {
        Scene { stderr, ..self }
    }
}

impl Failure {
    /// Makes an entry of a history.
    #[must_use]
    pub fn new(attempt: u32, cause: Cause, scene: Scene) -> Self {
        Failure {
            attempt,
            cause,
            scene,
        }
    }

    /// Makes the failure of an item that was cancelled at this time, while no worker had it.
    #[must_use]
    pub fn cancelled_at(time: Duration) -> Self {
        Failure::new(0, Cause::Cancelled, Scene::ended_at(time))
    }

    /// Returns the number of these attempts that were begun: what is given up on before any has an entry of
    /// number 0.
    #[must_use]
    pub fn begun(history: &[Failure]) -> u64 {
        history.iter().filter(|one| one.attempt > 0).count() as u64
    }

    pub(super) fn of(attempt: u32, blame: Blame) -> Self {
        Failure::new(attempt, blame.cause, blame.scene)
    }
}

/// The cause and the scene of an attempt that is to be charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// The cause.
    pub cause: Cause,
    /// The place and the time.
    pub scene: Scene,
}

impl From<Cause> for Blame {
    fn from(cause: Cause) -> Self {
        let scene = Scene::default();
        Blame { cause, scene }
    }
}
