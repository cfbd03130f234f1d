//! What earlier runs with a journal have not shown, told as the events that they would have shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::ledger::{self, Attempt, ItemId};
use crate::observe::{Event, What};
use crate::queue::JoinableQueue;
use crate::store::book::Unshown;

/// The events, oldest items first. From now on the journal keeps what is not shown in this run.
pub(super) fn events<T>(
    queue: &JoinableQueue<T>,
    name_of: impl Fn(&[u8]) -> String,
) -> Result<Vec<Event>, Failure>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let unshown = queue.keep_attempts();
    if unshown.is_empty() {
        return Ok(Vec::new());
    }
    let letters = queue.raw_dead_letters()?.into_iter();
    let mut histories: HashMap<ItemId, Vec<ledger::Failure>> =
        letters.map(|letter| (letter.id, letter.history)).collect();
    let events = unshown.into_iter().map(|one| {
        let name = name_of(&one.item);
        event(one, name, &mut histories)
    });
    Ok(events.collect())
}

fn event(
    unshown: Unshown,
    item: String,
    histories: &mut HashMap<ItemId, Vec<ledger::Failure>>,
) -> Event {
    let Unshown { id, attempt, .. } = unshown;
    let Attempt {
        number,
        cause,
        is_last,
        scene,
    } = attempt;
    let failure = |cause| ledger::Failure {
        attempt: number,
        cause,
        scene: scene.clone(),
    };
    let what = match cause {
        None => What::ItemDone {
            id,
            item,
            worker: scene.worker.as_str().into(),
            pid: scene.pid,
            attempt: number,
            duration: scene.ended.saturating_sub(scene.started),
            ended: scene.ended,
        },
        Some(cause) if is_last => {
            // Where the letter is gone by now, its last failure must do.
            let history = histories.remove(&id);
            What::Dead {
                id,
                item,
                history: history.unwrap_or_else(|| vec![failure(cause)]).into(),
            }
        }
        Some(cause) => What::Retry {
            id,
            item,
            failure: Arc::new(failure(cause)),
        },
    };
    // It was before this run began.
    let at = Duration::ZERO;
    Event { at, what }
}
