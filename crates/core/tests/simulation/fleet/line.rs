//! The calls to the stream, and the line of each thread of a supervisor: one call at a time,
//! repeated until it is answered. MIRRORED from `src/store/redis/connection.rs`.

use std::time::Duration;

use dishrack_core::ledger::ItemId;
use dishrack_core::shared::{Admission, Steering};
use dishrack_core::stream::entry::{Entry, EntryId, Fields};

use super::member::stream_state;
use super::plan::Plan;
use crate::stream::{Said, Stream, Told};

/// The calls to the stream that take one step.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Settle(u64, Said),
    Put(u64, Vec<(bool, Fields)>),
    Refresh,
    /// Takes so many, and waits until then.
    Read(usize, Option<Duration>),
    Adopt(Vec<(EntryId, Option<u64>)>),
    Maintain(usize),
    Release(Vec<EntryId>),
    /// Waits for the doorbell and for replies since these, until then.
    Listen(EntryId, EntryId, Option<Duration>),
}

/// The orders to a supervisor, as it is told of them when it renews its lease.
#[derive(Debug)]
pub(super) struct SteeringTold {
    /// Its entries on which nobody is to work any more.
    pub(super) unwanted: Vec<EntryId>,
    pub(super) steering: Steering,
}

/// Converts the number of an order to all, and whether it is one to pause.
pub(super) fn steering_of((number, is_paused): (u64, bool)) -> Steering {
    Steering {
        number,
        is_paused,
        is_of_all: true,
    }
}

#[derive(Debug)]
pub(super) enum Answer {
    Settled(Vec<EntryId>, Told),
    Put(Admission),
    Refreshed(Told, u64),
    Read(Vec<Entry>),
    Known(Vec<Entry>),
    Maintained(Vec<EntryId>, Vec<Entry>, u64, SteeringTold),
    Released,
    Heard(Vec<(EntryId, Fields)>),
}

#[derive(Debug)]
pub(super) enum State {
    /// It is on its way, or was lost.
    Going,
    /// The stream has it, and has had nothing for it since this step.
    Waits(u64),
    Answered(Answer),
}

/// A call that was not answered yet.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) call: Call,
    pub(super) state: State,
    /// True if its wait was interrupted.
    pub(super) is_interrupted: bool,
}

impl Line {
    pub(super) fn of(call: Call) -> Self {
        Line {
            call,
            state: State::Going,
            is_interrupted: false,
        }
    }
}

/// Returns the place for results of this supervisor.
pub(super) fn place_of(name: &str) -> String {
    format!("replies:{name}")
}

/// Returns the stream's answer, or `None` if it has nothing yet and is to wait for it.
pub(super) fn answer(
    stream: &mut Stream,
    plan: &Plan,
    by: &str,
    call: &Call,
    is_over: bool,
) -> Option<Answer> {
    let lease = u64::try_from(plan.lease.as_millis()).expect("short");
    Some(match call {
        Call::Settle(number, said) => {
            let (lost, told) = stream.settle(by, *number, by, said);
            Answer::Settled(lost, told)
        }
        Call::Put(number, puts) => {
            let ((admitted, first), told) = stream.put(by, *number, plan.bound, puts);
            Answer::Put(Admission {
                looked_at: puts.len(),
                admitted: usize::try_from(admitted).expect("few"),
                first: ItemId(first),
                refusal: None,
                stream_state: stream_state(&told),
            })
        }
        Call::Refresh => {
            let (told, others) = stream.refresh(by, lease);
            Answer::Refreshed(told, others)
        }
        Call::Read(count, until) => {
            let entries = stream.read(by, *count);
            if entries.is_empty() && until.is_some() && !is_over {
                return None;
            }
            stream.tick();
            Answer::Read(entries)
        }
        Call::Adopt(ids) => Answer::Known(stream.adopt(by, ids)),
        Call::Maintain(wanted) => {
            let (mine, taken, _, others) = stream.maintain(by, lease, *wanted);
            let told = SteeringTold {
                unwanted: stream.unwanted(by),
                steering: steering_of(stream.steered_told()),
            };
            Answer::Maintained(mine, taken, others, told)
        }
        Call::Release(ids) => {
            stream.release(by, ids);
            Answer::Released
        }
        Call::Listen(ring, heard, _) => {
            let replies = stream.replies(&place_of(by), *heard);
            if stream.rung() <= *ring && replies.is_empty() && !is_over {
                return None;
            }
            Answer::Heard(replies)
        }
    })
}
