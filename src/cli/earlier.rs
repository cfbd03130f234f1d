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
    let histories: HashMap<ItemId, Vec<ledger::Failure>> =
        letters.map(|letter| (letter.id, letter.history)).collect();
    let events = unshown.into_iter().map(|one| {
        let name = name_of(&one.item);
        event(one, name, &histories)
    });
    Ok(events.collect())
}

fn event(
    unshown: Unshown,
    item: String,
    histories: &HashMap<ItemId, Vec<ledger::Failure>>,
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
            // A letter that was tried again has died more than once: this is its history until then.
            // Where that is gone by now, its last failure must do.
            let known = histories.get(&id).map_or(&[][..], Vec::as_slice);
            let until = known.iter().position(|one| one.attempt == number);
            let history = match until {
                Some(at) => known[..=at].to_vec(),
                None => vec![failure(cause)],
            };
            let history = history.into();
            What::Dead { id, item, history }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Cause, Scene};

    fn nack(attempt: u32, words: &str) -> ledger::Failure {
        ledger::Failure {
            attempt,
            cause: Cause::Nack(words.into()),
            scene: Scene::default(),
        }
    }

    /// `dead retry` between two runs that were killed.
    #[test]
    fn each_death_of_one_item_is_told_with_its_own_last_attempt() {
        let id = ItemId(2);
        let history = vec![nack(1, "old"), nack(2, "middle"), nack(3, "new")];
        let histories = HashMap::from([(id, history)]);
        let told = |number, words: &str| {
            let attempt = Attempt {
                number,
                cause: Some(Cause::Nack(words.into())),
                is_last: true,
                scene: Scene::default(),
            };
            let item = Arc::from(&b""[..]);
            let unshown = Unshown { id, item, attempt };
            match event(unshown, "two".into(), &histories).what {
                What::Dead { history, .. } => history.to_vec(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(1, "old"), [nack(1, "old")]);
        assert_eq!(told(2, "middle"), [nack(1, "old"), nack(2, "middle")]);
        assert_eq!(told(3, "new").len(), 3);
        assert_eq!(told(9, "gone"), [nack(9, "gone")]);
    }
}
