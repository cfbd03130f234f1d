//! The link to a worker process: packets over ipc-channel, one channel each way.
//!
//! `send` on a full socket blocks, and a stopped worker never empties its own. So at most
//! [`WINDOW`] packets are under way, the worker says how many it has read, and what does not fit
//! the window waits here. Reading what the worker sends is not done here but by a thread of its
//! own (see `supervision::uplink`), so that reading never waits for writing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use ipc_channel::ipc::IpcSender;

use super::Link;
use super::frame::{Answer, Body, Down, FrameWriter, Packet};
use crate::ledger::Handed;

/// Packets sent and not read. Four of the largest (64 KiB) fit into a socket of the kernel's
/// default size before `send` blocks.
const WINDOW: u64 = 4;

pub(crate) struct ProcessLink {
    sender: IpcSender<Packet>,
    writer: FrameWriter,
    /// Full packets that wait for the window.
    packed: VecDeque<Packet>,
    sent: u64,
    read: u64,
}

impl fmt::Debug for ProcessLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessLink")
            .field("sent", &self.sent)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl ProcessLink {
    pub(crate) fn new(sender: IpcSender<Packet>) -> Self {
        ProcessLink {
            sender,
            writer: FrameWriter::default(),
            packed: VecDeque::new(),
            sent: 0,
            read: 0,
        }
    }

    fn make_room(&mut self) {
        if self.writer.is_full() {
            let packet = self.writer.take();
            self.packed.push_back(packet);
        }
    }
}

impl Link for ProcessLink {
    fn deliver(&mut self, handed: &Handed, body: &Arc<[u8]>) -> Result<(), String> {
        self.make_room();
        let body = self.writer.place(body)?;
        self.writer.push(&Down::Deliver {
            token: handed.token,
            ordinal: handed.ordinal,
            id: handed.id,
            attempt: handed.attempt,
            body,
        });
        Ok(())
    }

    fn answer(&mut self, request: u64, mut answer: Answer<'_>) -> Result<(), String> {
        self.make_room();
        if let Answer::Item { body, .. } = &mut answer
            && let Body::Inline(bytes) = *body
        {
            *body = self.writer.place(bytes)?;
        }
        self.writer.push(&Down::Answer { request, answer });
        Ok(())
    }

    fn revoke(&mut self, handed: &Handed) {
        self.make_room();
        self.writer.push(&Down::Revoke {
            token: handed.token,
            ordinal: handed.ordinal,
        });
    }

    fn ask_to_stop(&mut self) {
        self.make_room();
        self.writer.push(&Down::Stop);
    }

    fn flush(&mut self) {
        while self.sent - self.read < WINDOW {
            let packet = match self.packed.pop_front() {
                Some(packet) => packet,
                None if self.writer.is_empty() => return,
                None => self.writer.take(),
            };
            self.sent += 1;
            // A broken channel means that the worker is dying. What it holds stays leased until
            // its death is known for certain.
            if self.sender.send(packet).is_err() {
                return;
            }
        }
    }

    fn has_read(&mut self, frames: u64) {
        self.read = frames.clamp(self.read, self.sent);
    }
}
