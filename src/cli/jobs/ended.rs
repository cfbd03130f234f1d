//! PURE: an attempt that is over, as an event tells of it.

use std::sync::Arc;
use std::time::Duration;

use crate::jobs::ending;
use crate::ledger::{Exit, Failure, ItemId};
use crate::observe::{Event, What};

/// An attempt that is over.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) id: ItemId,
    pub(super) item: Arc<str>,
    pub(super) attempt: u32,
    /// Empty where the item was given up on before any attempt, or nothing is known of it.
    pub(super) worker: Arc<str>,
    /// Since 1970.
    pub(super) started: Duration,
    pub(super) took: Duration,
    pub(super) exit: Option<Exit>,
    /// Why it failed, if it did.
    pub(super) cause: Option<String>,
    /// When it was known, since the run began.
    pub(super) at: Duration,
}

impl Ended {
    /// The attempt whose end this event is, if it is one. `origin`: when the run began, since 1970.
    pub(super) fn of(event: &Event, origin: Duration) -> Option<Self> {
        match &event.what {
            What::ItemDone {
                id,
                item,
                worker,
                attempt,
                duration,
                ..
            } => Some(Ended {
                id: *id,
                item: item.as_str().into(),
                attempt: *attempt,
                worker: Arc::clone(worker),
                started: (origin + event.at).saturating_sub(*duration),
                took: *duration,
                exit: Some(Exit::Exited(0)),
                cause: None,
                at: event.at,
            }),
            What::Retry { id, item, failure } => Some(Ended::failed(*id, item, failure, event.at)),
            What::Dead { id, item, history } => {
                Some(Ended::failed(*id, item, history.last()?, event.at))
            }
            _ => None,
        }
    }

    fn failed(id: ItemId, item: &str, failure: &Failure, at: Duration) -> Self {
        let scene = &failure.scene;
        Ended {
            id,
            item: item.into(),
            attempt: failure.attempt,
            worker: scene.worker.as_str().into(),
            started: scene.started,
            took: scene.ended.saturating_sub(scene.started),
            exit: ending::of_cause(&failure.cause),
            cause: Some(failure.cause.to_string()),
            at,
        }
    }

    /// One of which there is nothing but its output: its run was killed before it was shown.
    pub(super) fn of_earlier_run((id, attempt): (ItemId, u32)) -> Self {
        Ended {
            id,
            item: format!("item-{id}").into(),
            attempt,
            worker: "".into(),
            started: Duration::ZERO,
            took: Duration::ZERO,
            exit: None,
            cause: None,
            at: Duration::ZERO,
        }
    }
}
