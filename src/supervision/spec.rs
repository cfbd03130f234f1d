//! What a supervisor keeps to for each of its workers. The words are those of Erlang/OTP's
//! `supervisor`; the module knows no process.

use std::time::Duration;

use crate::ledger::Backoff;

/// When an ended worker is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only when it ended other than by itself with exit code 0.
    Transient,
    /// Never.
    Temporary,
}

/// How worker processes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartMethod {
    /// Each is a fresh process: the running executable, executed again.
    #[default]
    Spawn,
    /// Each is forked from a fork server, a process with a single thread that was itself spawned.
    /// Faster, and what the program did before [`serve`](crate::serve) is done once for all.
    Fork,
}

/// The rules for one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildSpec {
    /// When it is started again.
    pub restart: Restart,
    /// How many restarts are allowed within `period`: with 10, the eleventh death gives the worker
    /// up. Deaths that an item caused are charged to that item instead. As many boots that fail in a
    /// row give it up too, however long they take.
    pub intensity: u32,
    /// The period of `intensity`.
    pub period: Duration,
    /// How long a worker may take to finish what it has started when it is asked to stop.
    pub shutdown: Duration,
    /// How long a worker may take until it is ready.
    pub boot_deadline: Duration,
    /// How long a worker rests between death and restart.
    pub backoff: Backoff,
}

impl Default for ChildSpec {
    fn default() -> Self {
        ChildSpec {
            restart: Restart::Permanent,
            intensity: 10,
            period: Duration::from_secs(10),
            shutdown: Duration::from_secs(10),
            boot_deadline: Duration::from_secs(30),
            backoff: Backoff::exponential(Duration::from_millis(10), Duration::from_secs(1)),
        }
    }
}
