//! PURE: the end of an attempt, or of a copy of it, as an event describes it.

use std::sync::Arc;
use std::time::Duration;

use crate::jobs::spool::CommandRun;
use crate::observe::{Event, EventKind};
use crate::{Cause, CopyEnd, Exit, Failure, ItemId};
use dishrack_core::pool::spec::slot_of;

/// The end of an attempt.
#[derive(Debug, Clone)]
pub(super) struct AttemptEnd {
    pub(super) id: ItemId,
    pub(super) item: Arc<str>,
    pub(super) attempt: u32,
    /// Empty if the item became a dead letter before any attempt.
    pub(super) worker: Arc<str>,
    /// The worker's process; 0 if there was none.
    pub(super) pid: u32,
    /// True if the attempt ended because that process did.
    pub(super) has_worker_died: bool,
    /// The time since 1970.
    pub(super) started: Duration,
    pub(super) took: Duration,
    pub(super) exit: Option<Exit>,
    /// The cause of its failure, if it failed.
    pub(super) cause: Option<String>,
    /// True if the item ended with it.
    pub(super) is_last: bool,
    /// The time of the report, since the run began.
    pub(super) at: Duration,
}

/// The end of one of several copies of an attempt.
#[derive(Debug, Clone)]
pub(super) struct CopyEnded {
    pub(super) ended: AttemptEnd,
    /// Its end, by one word.
    pub(super) word: &'static str,
    /// True if its command came to an end of its own.
    pub(super) is_over: bool,
    /// True if its end is that of its attempt.
    pub(super) counts: bool,
}

impl CopyEnded {
    /// Returns the copy whose end this event reports. What becomes of its item comes next.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let EventKind::CopyEnded {
            item,
            id,
            attempt,
            worker,
            pid,
            end,
            cause,
            duration,
            ended,
            ..
        } = &event.kind
        else {
            return None;
        };
        let is_over = **end != CopyEnd::Cancelled;
        let took = duration.unwrap_or_default();
        let ended = AttemptEnd {
            id: *id,
            item: item.as_str().into(),
            attempt: *attempt,
            worker: Arc::clone(worker),
            pid: *pid,
            has_worker_died: cause.as_deref().is_some_and(is_death),
            started: ended.saturating_sub(took),
            took,
            exit: match cause {
                Some(cause) => cause.exit(),
                None => is_over.then_some(Exit::Exited(0)),
            },
            cause: cause.as_ref().map(ToString::to_string),
            is_last: false,
            at: event.at,
        };
        Some(CopyEnded {
            ended,
            word: end.word(),
            is_over,
            counts: **end == CopyEnd::Counted,
        })
    }
}

fn is_death(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::WorkerDied(_)
            | Cause::TimedOut(_)
            | Cause::OutOfMemory
            | Cause::MemoryLimit(_)
            | Cause::OutOfMemoryAlone(_)
    )
}

impl AttemptEnd {
    /// Returns the run of the command that its output is of.
    pub(super) fn run(&self) -> CommandRun {
        CommandRun {
            id: self.id,
            attempt: self.attempt,
            pid: self.pid,
        }
    }

    /// Returns the slot of its worker, which the name says that events and journals keep; 0 if there was
    /// none.
    pub(super) fn slot(&self) -> u64 {
        slot_of(&self.worker).unwrap_or(0)
    }

    /// Returns the attempt whose end this event reports.
    pub(super) fn of(event: &Event) -> Option<Self> {
        match &event.kind {
            EventKind::ItemDone {
                id,
                item,
                worker,
                pid,
                attempt,
                duration,
                ended,
            } => Some(AttemptEnd {
                id: *id,
                item: item.as_str().into(),
                attempt: *attempt,
                worker: Arc::clone(worker),
                pid: *pid,
                has_worker_died: false,
                started: ended.saturating_sub(*duration),
                took: *duration,
                exit: Some(Exit::Exited(0)),
                cause: None,
                is_last: true,
                at: event.at,
            }),
            EventKind::Retry { id, item, failure } => {
                Some(AttemptEnd::failed(*id, item, (failure, false), event.at))
            }
            EventKind::Dead { id, item, history } => Some(AttemptEnd::failed(
                *id,
                item,
                (history.last()?, true),
                event.at,
            )),
            _ => None,
        }
    }

    fn failed(id: ItemId, item: &str, (failure, is_last): (&Failure, bool), at: Duration) -> Self {
        let scene = &failure.scene;
        AttemptEnd {
            id,
            item: item.into(),
            attempt: failure.attempt,
            worker: scene.worker.as_str().into(),
            pid: scene.pid,
            has_worker_died: is_death(&failure.cause),
            started: scene.started,
            took: scene.ended.saturating_sub(scene.started),
            exit: failure.cause.exit(),
            cause: Some(failure.cause.to_string()),
            is_last,
            at,
        }
    }
}
