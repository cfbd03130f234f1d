//! What a worker process sends: records collected into packets, sent in good time.
//!
//! Acknowledgements of short items travel together. They are sent when the worker runs out of
//! work, when half of what it has is done, and in any case within a millisecond, which a thread
//! sees to that sleeps unless something is waiting. A crash repeats at most that much finished
//! work.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ipc_channel::ipc::IpcSender;
use serde::Serialize;

use super::exit;
use crate::fail;
use crate::link::frame::{Body, FrameWriter, Packet, Up};
use crate::supervision::signals;

/// The longest time a record waits while a handler runs.
const DELAY: Duration = Duration::from_millis(1);

/// Packets read before the supervisor is told, if nothing else is sent: half of its window.
const READ_STEP: u64 = 2;

#[derive(Debug)]
struct State {
    sender: IpcSender<Packet>,
    writer: FrameWriter,
    records: usize,
    read: u64,
    read_told: u64,
    is_watched: bool,
}

#[derive(Debug)]
pub(super) struct Uplink {
    state: Mutex<State>,
    watch: Condvar,
}

impl Uplink {
    /// Starts the thread that sends what waits too long. `None` if there can be no thread.
    pub(super) fn open(sender: IpcSender<Packet>) -> Option<Arc<Self>> {
        let uplink = Arc::new(Uplink {
            state: Mutex::new(State {
                sender,
                writer: FrameWriter::default(),
                records: 0,
                read: 0,
                read_told: 0,
                is_watched: false,
            }),
            watch: Condvar::new(),
        });
        let watched = Arc::clone(&uplink);
        std::thread::Builder::new()
            .name("dishrack-flush".into())
            .stack_size(256 * 1024)
            .spawn(move || {
                signals::block_all();
                watched.flush_what_waits();
            })
            .ok()?;
        Some(uplink)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record. How many wait now.
    pub(super) fn push(&self, record: &impl Serialize) -> usize {
        let mut state = self.lock();
        state.make_room();
        state.add(record);
        state.records
    }

    /// Adds a record with a payload, which may move to shared memory.
    pub(super) fn push_with<'a>(
        &self,
        payload: &'a [u8],
        record: impl FnOnce(Body<'a>) -> Up<'a>,
    ) -> Result<usize, String> {
        let mut state = self.lock();
        state.make_room();
        let body = state.writer.place(payload)?;
        let record = record(body);
        state.add(&record);
        Ok(state.records)
    }

    /// Sends what waits.
    pub(super) fn flush(&self) {
        self.lock().flush();
    }

    /// A handler goes on working: what waits is sent within [`DELAY`].
    pub(super) fn watch(&self) {
        let mut state = self.lock();
        if state.records > 0 && !state.is_watched {
            state.is_watched = true;
            self.watch.notify_one();
        }
    }

    /// Counts a packet that was read, and tells the supervisor in time.
    pub(super) fn has_read(&self) {
        let mut state = self.lock();
        state.read += 1;
        if state.read - state.read_told >= READ_STEP {
            state.tell_read();
            state.flush();
        }
    }

    fn flush_what_waits(&self) {
        let mut state = self.lock();
        loop {
            while !state.is_watched {
                state = self
                    .watch
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            std::thread::sleep(DELAY);
            state = self.lock();
            state.is_watched = state.records > 0;
            state.flush();
        }
    }
}

impl State {
    fn add(&mut self, record: &impl Serialize) {
        self.writer.push(record);
        self.records += 1;
    }

    fn make_room(&mut self) {
        if self.writer.is_full() {
            self.flush();
        }
    }

    fn tell_read(&mut self) {
        self.read_told = self.read;
        self.writer.push(&Up::Read { frames: self.read });
    }

    fn flush(&mut self) {
        if self.writer.is_empty() {
            return;
        }
        if self.read > self.read_told {
            self.tell_read();
        }
        self.records = 0;
        let packet = self.writer.take();
        fail::point("worker: to be sent");
        if signals::with_all_blocked(|| self.sender.send(packet)).is_err() {
            // The supervisor is gone, or something here has closed what is not its own.
            exit::as_orphan();
        }
    }
}
