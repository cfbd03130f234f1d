//! Attempts that earlier runs with a journal have not shown, as the events of those runs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::exit_codes::RunError;
use crate::jobs::ending;
use crate::observe::{Event, EventKind};
use crate::{Failure, ItemId, JoinableQueue};
use dishrack_core::book::Unshown;
use dishrack_core::ledger::Attempt;

/// Returns the events, oldest items first. From now on the journal keeps what this run does not
/// show.
pub(super) fn events<T>(
    queue: &JoinableQueue<T>,
    name_of: impl Fn(&[u8]) -> String,
) -> Result<Vec<Event>, RunError> {
    let unshown = queue.keep_attempts();
    if unshown.is_empty() {
        return Ok(Vec::new());
    }
    let letters = queue.raw_dead_letters()?.into_iter();
    let histories: HashMap<ItemId, Vec<Failure>> =
        letters.map(|letter| (letter.id, letter.history)).collect();
    let events = unshown.into_iter().map(|one| {
        let name = name_of(&one.item);
        let history = histories.get(&one.id);
        event(one, name, history.map_or(&[], Vec::as_slice))
    });
    Ok(events.collect())
}

/// Leaves out the ends of dead letters that somebody has dropped, and has the journal forget them.
pub(super) fn without_dropped<T>(
    queue: &JoinableQueue<T>,
    mut events: Vec<Event>,
    unfinished: &BTreeSet<ItemId>,
) -> Result<Vec<Event>, RunError> {
    let letters = queue.raw_dead_letters()?.into_iter();
    let letters: BTreeSet<ItemId> = letters.map(|letter| letter.id).collect();
    let mut dropped = Vec::new();
    events.retain(|event| match &event.kind {
        EventKind::Dead { id, history, .. } => {
            let is_there = letters.contains(id) || unfinished.contains(id);
            let attempt = history.last().map_or(0, |failure| failure.attempt);
            dropped.extend((!is_there).then_some((*id, attempt)));
            is_there
        }
        _ => true,
    });
    queue.shown(&dropped);
    Ok(events)
}

/// Makes the event. `history` is the item's present one, which may be longer than it was then, and
/// is empty if its letter is gone.
fn event(unshown: Unshown, item: String, history: &[Failure]) -> Event {
    let Unshown { id, attempt, .. } = unshown;
    let Attempt {
        number,
        cause,
        is_last,
        scene,
    } = attempt;
    let cause = cause.map(ending::of_older_build);
    let failure = |cause| Failure::new(number, cause, scene.clone());
    let kind = match cause {
        None => EventKind::ItemDone {
            id,
            item,
            worker: scene.worker.as_str().into(),
            pid: scene.pid,
            attempt: number,
            duration: scene.ended.saturating_sub(scene.started),
            ended: scene.ended,
        },
        Some(cause) if is_last => EventKind::Dead {
            id,
            item,
            history: history_up_to(failure(cause), history).into(),
        },
        Some(cause) => EventKind::Retry {
            id,
            item,
            failure: Arc::new(failure(cause)),
        },
    };
    // It happened before this run began.
    let at = Duration::ZERO;
    Event { at, kind }
}

/// Returns the history of an item up to this failure, which made it a dead letter. It may have
/// failed again since, after a retry.
fn history_up_to(last: Failure, history: &[Failure]) -> Vec<Failure> {
    let number = last.attempt;
    let earlier = history.iter().filter(|one| one.attempt < number);
    // The history's own entry has the process's stderr; where it is gone, `last` has to do.
    let own = history.iter().find(|one| one.attempt == number);
    let own = own.map_or(last, |own| {
        let cause = ending::of_older_build(own.cause.clone());
        Failure::new(own.attempt, cause, own.scene.clone())
    });
    earlier.cloned().chain([own]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, Scene};

    fn failure(attempt: u32, why: &str) -> Failure {
        let (started, ended) = (Duration::ZERO, Duration::from_secs(1));
        let scene = Scene::of_worker("worker-1".into(), 7, started, ended);
        Failure::new(attempt, Cause::Nack(why.into()), scene)
    }

    #[test]
    fn each_of_two_ends_has_the_history_that_it_had() {
        let now = [failure(1, "a"), failure(2, "b"), failure(3, "c")];
        let causes = |last, history: &[Failure]| {
            let history = history_up_to(last, history).into_iter();
            let causes = history.map(|one| one.cause.to_string());
            causes.collect::<Vec<_>>()
        };
        assert_eq!(causes(failure(1, "x"), &now), ["a"]);
        assert_eq!(causes(failure(3, "x"), &now), ["a", "b", "c"]);
        // The letter was dropped, or has begun anew.
        assert_eq!(causes(failure(1, "x"), &[]), ["x"]);
        assert_eq!(causes(failure(1, "x"), &now[1..]), ["x"]);
    }
}
