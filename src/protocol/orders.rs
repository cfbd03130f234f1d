//! The messages between a new process and its supervisor before work begins.
//!
//! A started process inherits a socket (see `sys::descriptors`). On it the process says [`Hello`]
//! with a file that leads to the place where it awaits its [`Order`] over ipc-channel: to be a
//! worker, or to be the fork server that makes workers out of itself. Both ends are the same
//! executable, but the protocol's number is checked all the same.

use std::fmt;

use ipc_channel::ipc::{IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

use super::frame::Nudge;

/// The variable with the supervisor's pid and the number of the inherited socket.
pub(crate) const BOOT_VARIABLE: &str = "DISHRACK_BOOT";

/// The variable with the journal that a process works for.
pub(crate) const JOURNAL_VARIABLE: &str = "SUPERVISOR_JOURNAL";

/// Returns the form of a journal file's mark in that variable.
pub(crate) fn mark_of(mark: u128) -> String {
    format!("{mark:032x}")
}

/// The first message of a started process, with the file that leads to its meeting place.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    /// The reason for which it cannot be met.
    pub(crate) refusal: Option<String>,
}

/// The order to a started process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Be this worker.
    Work(Assignment),
    /// Make a worker for each assignment that comes, and answer with its pid.
    ServeForks {
        orders: IpcReceiver<Assignment>,
        replies: IpcSender<ForkReply>,
    },
}

/// The assignment that makes a process a certain worker. Its endpoints are sent before it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The number of its endpoints.
    pub(crate) number: u64,
    /// Its name, such as `dryer-1`.
    pub(crate) name: String,
    /// The served function that it runs.
    pub(crate) role: String,
    pub(crate) item_type: String,
    pub(crate) supervisor: u32,
    /// True if it must say when work on an item begins.
    pub(crate) announces_starts: bool,
    /// The resident memory, in bytes, above which the worker is replaced.
    pub(crate) memory_max: Option<u64>,
    pub(crate) downlink: IpcReceiver<Nudge>,
    pub(crate) uplink: IpcSender<Nudge>,
}

/// The pid of an assignment's worker, or why there is none. The fork server answers in order.
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
