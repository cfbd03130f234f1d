//! Reads the room of the machine while an item waits for it. What is admitted is for the core.
//!
//! The thread sleeps while nothing waits, and between two readings. It reads without the lock, which it
//! takes to tell what it has read and to have the items handed out.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Broker;
use super::core::Core;
use super::monitor::{Monitor, ThreadGuard};
use crate::error::Kind;
use crate::sys::machine::{self, FreeMemory};
use crate::sys::signals;
use dishrack_core::ledger::{AdmissionRules, Readings};

/// The name of the thread that reads.
pub(super) const THREAD: &str = "dishrack-room";

impl Broker {
    /// Hands items out only where there is room by these rules.
    pub(crate) fn admit_by(&self, rules: AdmissionRules) -> Result<(), Kind> {
        let (call, calls) = bounded(1);
        let monitor = Arc::downgrade(&self.monitor);
        std::thread::Builder::new()
            .name(THREAD.into())
            .spawn(move || {
                signals::block_all();
                ThreadGuard::of(monitor.clone()).run(|| run(&monitor, rules, &calls));
            })
            .map_err(Kind::io("starting the thread that reads the room"))?;
        self.with(|core| {
            core.dispatcher.ledger.handle_admission(rules);
            // That of an earlier pool ends.
            core.room_reader = Some(call);
        });
        Ok(())
    }
}

impl Core {
    /// Calls the thread that reads the room, if an item waits for that.
    pub(super) fn ring_for_room(&self, reader: &Sender<()>) {
        if self.dispatcher.ledger.poll_reading().is_some() {
            // It is full if the thread was called already.
            let _ = reader.try_send(());
        }
    }

    /// Returns the time until the next reading, if something waits for one.
    fn until_reading(&self) -> Option<Duration> {
        let at = self.dispatcher.ledger.poll_reading()?;
        Some(at.saturating_sub(self.emitter.now()))
    }

    fn admit(&mut self, readings: Readings) {
        let now = self.emitter.now();
        self.dispatcher.ledger.handle_readings(readings, now);
        self.pump();
        self.dispatcher.ledger.handle_admitted();
    }
}

/// Reads while something waits, until the queue is gone or has other rules.
fn run(monitor: &Weak<Monitor>, rules: AdmissionRules, calls: &Receiver<()>) {
    let memory = FreeMemory::new();
    let mut pause = None;
    loop {
        let is_called = match pause {
            None => calls.recv().is_ok(),
            Some(pause) => calls.recv_timeout(pause) != Err(RecvTimeoutError::Disconnected),
        };
        let Some(monitor) = monitor.upgrade().filter(|_| is_called) else {
            return;
        };
        pause = monitor.lock().until_reading();
        if pause == Some(Duration::ZERO) {
            let readings = read(rules, &memory);
            let mut core = monitor.lock();
            core.admit(readings);
            pause = core.until_reading();
        }
    }
}

/// Reads what the rules ask for. What cannot be read admits one item at a time.
fn read(rules: AdmissionRules, memory: &FreeMemory) -> Readings {
    let mut readings = Readings::default();
    if rules.memory_free.is_some() {
        readings.memory_free = memory.read().unwrap_or(0);
    }
    if rules.load.is_some() {
        readings.load = machine::load().unwrap_or(u32::MAX);
    }
    if rules.pressure.is_some() {
        readings.pressure = machine::pressure().unwrap_or(u32::MAX);
    }
    readings
}
