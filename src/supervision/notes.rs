//! What reaches the supervising thread, and how: a channel and a wake-up.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use ipc_channel::ipc::IpcSender;
use nix::sys::eventfd::EventFd;

use super::orders::Order;
use crate::ledger::HolderId;

/// One worker's slot, and which of its lives is meant: news of an earlier one is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub(super) slot: usize,
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) enum Note {
    /// A worker is ready and was given its place at the queue.
    Ready {
        life: Life,
        holder: HolderId,
        pid: u32,
    },
    /// A worker's channel was read to the end, or was given up for this reason.
    LinkClosed {
        life: Life,
        why: Option<String>,
    },
    /// The fork server with this number is ready.
    ForkServerReady {
        server: u64,
        orders: IpcSender<Order>,
    },
    /// It made the worker that was ordered longest ago, or could not.
    Forked {
        server: u64,
        reply: Result<u32, String>,
    },
    Stop,
    Kill,
}

#[derive(Debug, Clone)]
pub(super) struct NoteSender {
    sender: Sender<Note>,
    waker: Arc<EventFd>,
}

impl NoteSender {
    pub(super) fn channel(waker: Arc<EventFd>) -> (Self, Receiver<Note>) {
        let (sender, receiver) = unbounded();
        (NoteSender { sender, waker }, receiver)
    }

    /// Hands the note over; after the supervising thread's end it is dropped.
    pub(super) fn post(&self, note: Note) {
        if self.sender.send(note).is_ok() {
            // Fails only when the counter is full, and then the thread is being woken anyway.
            let _ = self.waker.write(1);
        }
    }
}
