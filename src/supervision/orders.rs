//! What a new process and its supervisor say to each other before work begins.
//!
//! A started process connects to the socket named in its environment, says [`Hello`], and gets an
//! [`Order`]: to be a worker, or to be the fork server that makes workers out of itself. Both ends
//! are the same executable, but the protocol's number is checked all the same.

use std::fmt;

use ipc_channel::ipc::{IpcReceiver, IpcSender, IpcSharedMemory};
use serde::{Deserialize, Serialize};

use crate::link::frame::Nudge;

/// Names the supervisor's pid and the socket to connect to.
pub(crate) const BOOT_VARIABLE: &str = "DISHRACK_BOOT";

/// Names the journal for whose items a process works.
pub(super) const JOURNAL_VARIABLE: &str = "SUPERVISOR_JOURNAL";

/// How a journal's identity stands in the environment.
pub(super) fn mark_of(identity: u128) -> String {
    format!("{identity:032x}")
}

/// The first message of a started process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    pub(crate) pid: u32,
    pub(crate) orders: IpcSender<Order>,
}

/// What a process is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Be this worker.
    Work(Appointment),
    /// Make workers, one for each `Fork` that follows, and answer with their pids.
    ServeForks { replies: IpcSender<ForkReply> },
    /// Only to a fork server: make this worker.
    Fork(Appointment),
}

/// All that makes a process a certain worker.
#[derive(Serialize, Deserialize)]
pub(crate) struct Appointment {
    /// Its name, such as `dryer-1`.
    pub(crate) name: String,
    /// Which of the served functions it runs.
    pub(crate) role: String,
    /// The type of its items.
    pub(crate) item_type: String,
    pub(crate) supervisor: u32,
    /// Whether to say when work on an item begins.
    pub(crate) announces_starts: bool,
    /// What the program gives all its workers.
    pub(crate) context: Option<IpcSharedMemory>,
    /// More memory than this, in bytes, and the worker is to be replaced.
    pub(crate) memory_max: Option<u64>,
    /// Where a forked worker's stderr goes, and the pipe's inode; a spawned one has it from the
    /// start.
    pub(crate) stderr: Option<(String, u64)>,
    pub(crate) downlink: IpcReceiver<Nudge>,
    pub(crate) uplink: IpcSender<Nudge>,
    pub(crate) lane: IpcSharedMemory,
}

/// A fork server's answer to `Fork`: the pid, or why there is none. In the order of the requests.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ForkReply(pub(crate) Result<u32, String>);

impl fmt::Debug for Appointment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appointment")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
