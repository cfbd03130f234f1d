//! What a new process and its supervisor say to each other before work begins.
//!
//! A started process inherits a socket (see `sys::descriptors`), on which it says [`Hello`] with a
//! file that leads to where it awaits its [`Order`] over ipc-channel: to be a worker, or to be the
//! fork server that makes workers out of itself. Both ends are the same executable, but the
//! protocol's number is checked all the same.

use std::fmt;

use ipc_channel::ipc::{IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

use super::frame::Nudge;

/// Names the supervisor's pid and the number of the socket that was inherited from it.
pub(crate) const BOOT_VARIABLE: &str = "DISHRACK_BOOT";

/// Names the journal for whose items a process works.
pub(crate) const JOURNAL_VARIABLE: &str = "SUPERVISOR_JOURNAL";

/// How the mark of a journal's file stands there.
pub(crate) fn mark_of(mark: u128) -> String {
    format!("{mark:032x}")
}

/// The first message of a started process, with the file that leads to where it is to be met.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    /// Why it cannot be met.
    pub(crate) refusal: Option<String>,
}

/// What a started process is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Be this worker.
    Work(Assignment),
    /// Make a worker for each assignment that comes, and answer with their pids.
    ServeForks {
        orders: IpcReceiver<Assignment>,
        replies: IpcSender<ForkReply>,
    },
}

/// What makes a process a certain worker, together with its endpoints, which is sent before.
#[derive(Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The endpoints.
    pub(crate) number: u64,
    /// Its name, such as `dryer-1`.
    pub(crate) name: String,
    /// Which of the served functions it runs.
    pub(crate) role: String,
    /// The type of its items.
    pub(crate) item_type: String,
    pub(crate) supervisor: u32,
    /// Whether to say when work on an item begins.
    pub(crate) announces_starts: bool,
    /// More memory than this, in bytes, and the worker is to be replaced.
    pub(crate) memory_max: Option<u64>,
    pub(crate) downlink: IpcReceiver<Nudge>,
    pub(crate) uplink: IpcSender<Nudge>,
}

/// A fork server's answer to an assignment: the pid, or why there is none. In the order of the requests.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ForkReply(pub(crate) Result<u32, String>);

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assignment")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
