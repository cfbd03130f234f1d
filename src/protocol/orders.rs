//! The messages between a new process and its supervisor before work begins.
//!
//! A started process inherits a socket (see `sys::descriptors`), in which its [`Order`] lies
//! already: to be a worker, or to be the fork server that makes workers out of itself. It is a
//! message of ipc-channel, because channels are in it (see `channel`). Both ends are the same
//! executable, but a worker tells the protocol's number all the same when it is ready.

use std::fmt;
use std::io;

use ipc_channel::ipc::{IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

use super::address::QueueAddress;
use super::channel;
use super::frame::Nudge;
use crate::sys::descriptors::DescriptorSocket;

/// The variable with the supervisor's pid and the number of the inherited socket.
pub(crate) const BOOT_VARIABLE: &str = "DISHRACK_BOOT";

/// The variable with the journal that a process works for.
pub(crate) const JOURNAL_VARIABLE: &str = "SUPERVISOR_JOURNAL";

/// Returns the form of a journal file's mark in that variable.
pub(crate) fn mark_of(mark: u128) -> String {
    format!("{mark:032x}")
}

/// The first message to a started process: the role that it is to take.
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

impl Order {
    /// Sends it to the process that has the other end, or will have. It is the first message there,
    /// so that there is room for it.
    pub(crate) fn send(self, by: &DescriptorSocket) -> io::Result<()> {
        channel::sender_on(by)?.send(self).map_err(io::Error::other)
    }

    /// Takes the one that was sent.
    pub(crate) fn receive(by: &DescriptorSocket) -> io::Result<Self> {
        channel::receiver_on(by)?.recv().map_err(io::Error::other)
    }
}

/// The data that makes a process a certain worker, together with its endpoints, which are sent
/// after an order, and to a fork server before it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The number of its endpoints.
    pub(crate) number: u64,
    /// Its name, such as `worker-1`.
    pub(crate) name: String,
    /// The number of its slot, from 1.
    pub(crate) slot: u64,
    /// The served function that it runs.
    pub(crate) role: String,
    pub(crate) item_type: String,
    /// The queue that it works for.
    pub(crate) queue: QueueAddress,
    /// True if items of that queue outlive the supervisor's process.
    pub(crate) keeps_items: bool,
    pub(crate) supervisor: u32,
    /// True if it must say when work on an item begins.
    pub(crate) announces_starts: bool,
    /// The resident memory, in bytes, above which the worker is replaced.
    pub(crate) memory_max: Option<u64>,
    pub(crate) downlink: IpcReceiver<Nudge>,
    pub(crate) uplink: IpcSender<Nudge>,
}

/// A word of a fork server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ForkReply {
    /// It has preloaded, and takes orders. It says so once, and first.
    Serving,
    /// The pid of an assignment's worker, or why there is none. It answers in order.
    Forked(Result<u32, String>),
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assignment")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
