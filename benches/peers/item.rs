//! The items that all contenders work on, and the functions that work on them. `tasks.py` has the
//! same in Python. It does not know how items travel.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The distance between two reads of a payload.
const PAGE: usize = 4096;

/// An item in an allocation of its own, as its producer makes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Item(pub(crate) ByteBuf);

/// A maker of items with the same content.
#[derive(Debug)]
pub(crate) struct Maker(pub(crate) Vec<u8>);

impl Maker {
    pub(crate) fn new(bytes: usize) -> Self {
        let byte = |at: usize| u8::try_from(at % 251).expect("it is below 251");
        Maker((0..bytes).map(byte).collect())
    }

    pub(crate) fn make(&self) -> Item {
        Item(ByteBuf::from(self.0.clone()))
    }
}

/// Reads a byte of each page.
pub(crate) fn touch(payload: &[u8]) {
    let sum: u64 = payload
        .iter()
        .step_by(PAGE)
        .map(|byte| u64::from(*byte))
        .sum();
    black_box(sum);
}

/// Looks at an item, without a result.
pub(crate) fn look(item: Item) -> Result<(), Infallible> {
    touch(&item.0);
    Ok(())
}

/// Looks at an item, and returns its length.
pub(crate) fn weigh(item: Item) -> Result<u32, Infallible> {
    touch(&item.0);
    Ok(u32::try_from(item.0.len()).expect("items are small"))
}

/// Sleeps, and returns its process's pid.
pub(crate) fn rest(time_us: u32) -> Result<u32, Infallible> {
    std::thread::sleep(Duration::from_micros(time_us.into()));
    Ok(std::process::id())
}

/// The worker of an item and the times, by the clock that all processes share.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) worker: u64,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
}

/// Computes until this thread has had that much time on a CPU, so other threads prolong the span.
pub(crate) fn spin(time_us: u32) -> Result<Span, Infallible> {
    let begin_ns = now_ns();
    let end = clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID) + u64::from(time_us) * 1000;
    while clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID) < end {}
    Ok(Span {
        worker: nix::unistd::gettid().as_raw().unsigned_abs().into(),
        begin_ns,
        end_ns: now_ns(),
    })
}

pub(crate) fn now_ns() -> u64 {
    clock_ns(ClockId::CLOCK_MONOTONIC)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    u64::try_from(Duration::from(time).as_nanos()).expect("it is less than 500 years")
}
