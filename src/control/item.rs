//! Single items as JSON has them. The fields are a contract with other programs: see `docs/api.md`.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::output::{AttemptEnding, exit_of};
use crate::observe::{self, last_cause, micros};
use crate::{ItemInfo, ItemState};
use dishrack_core::ledger::{Exit, Failure, WaitsFor};

/// The longest name in a list, in letters.
const NAME_MAX: usize = 200;

/// Returns an item as one of many. `ending` is what is kept of its end.
pub(super) fn line(item: &ItemInfo, ending: Option<&AttemptEnding>) -> Value {
    let cause = (!item.history.is_empty()).then(|| last_cause(&item.history));
    let workers: Value = item.holders.iter().map(|one| &*one.worker).collect();
    json!({
        "number": item.number.0,
        "state": item.state,
        "item": name(item, ending).map(clipped),
        "attempts": attempts(item, ending),
        "workers": workers,
        "waits_for": item.waits_for.map(WaitsFor::word),
        "after": item.after.iter().map(|one| one.0).collect::<Value>(),
        "cause": cause.as_deref().map(clipped),
    })
}

/// Returns the name: of an item that is done only the end has it.
fn name<'a>(item: &'a ItemInfo, ending: Option<&'a AttemptEnding>) -> Option<&'a str> {
    item.name.as_deref().or(ending.map(|ending| &*ending.item))
}

/// A text that is looked for in items: in any case, in their names and last causes; or a number.
#[derive(Debug)]
pub(super) struct SoughtText(String);

impl SoughtText {
    pub(super) fn new(text: &str) -> Self {
        SoughtText(text.to_lowercase())
    }

    /// Returns `true` if an item has it. `ending` returns what is kept of its end.
    pub(super) fn is_in(
        &self,
        item: &ItemInfo,
        ending: impl FnOnce() -> Option<AttemptEnding>,
    ) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.0);
        let is_named = match &item.name {
            Some(name) => has(name),
            // Of one that is done only the end has the name.
            None => ending().is_some_and(|ending| has(&ending.item)),
        };
        let is_caused = || !item.history.is_empty() && has(&last_cause(&item.history));
        is_named || self.0.parse() == Ok(item.number.0) || is_caused()
    }
}

fn attempts(item: &ItemInfo, ending: Option<&AttemptEnding>) -> u32 {
    ending.map_or(item.attempts, |ending| item.attempts.max(ending.attempt))
}

/// Returns who has an item, since when.
pub(super) fn holders(item: &ItemInfo) -> Value {
    let holders = item.holders.iter().map(|one| {
        let since = one.since.map(since_1970);
        json!({"worker": &*one.worker, "pid": one.pid, "since_us": since})
    });
    holders.collect()
}

/// Returns all that is known of an item. `ending` is what is kept of its end. The end of an item that is
/// a command of its own is that of the command.
pub(super) fn page(item: &ItemInfo, ending: Option<&AttemptEnding>, is_command: bool) -> Value {
    json!({
        "number": item.number.0,
        "state": item.state,
        "item": name(item, ending),
        "attempts": attempts(item, ending),
        "holders": holders(item),
        "due_us": item.due.map(since_1970),
        "waits_for": item.waits_for.map(WaitsFor::word),
        "after": item.after.iter().map(|one| one.0).collect::<Value>(),
        "history": item.history.iter().map(entry).collect::<Value>(),
        "ended": ending.map(AttemptEnding::object),
        "exit": is_command.then(|| exit(item)).flatten(),
    })
}

/// Returns how the command that an item is has ended. It is done only if it has exited with 0.
fn exit(item: &ItemInfo) -> Option<Value> {
    match item.state {
        ItemState::Done => exit_of(Exit::Exited(0)),
        ItemState::Dead => exit_of(item.history.last()?.cause.exit()?),
        ItemState::Waiting | ItemState::Running | ItemState::Resting => None,
    }
}

fn entry(failure: &Failure) -> Value {
    let time = |at| micros(at).into();
    let mut entry = failed_attempt(failure, ["started_us", "ended_us"], time);
    if let Value::Object(fields) = &mut entry {
        let exit = failure.cause.exit().and_then(exit_of);
        fields.shift_insert(2, "exit".into(), exit.into());
    }
    entry
}

/// Returns a failed attempt, with its times under these names, in the form that `time` gives them.
pub(crate) fn failed_attempt(
    failure: &Failure,
    [started, ended]: [&str; 2],
    time: impl Fn(Duration) -> Value,
) -> Value {
    let scene = &failure.scene;
    let has_begun = !scene.worker.is_empty();
    json!({
        "attempt": failure.attempt,
        "cause": failure.cause.to_string(),
        "worker": has_begun.then_some(&scene.worker),
        "pid": has_begun.then_some(scene.pid),
        (started): has_begun.then(|| time(scene.started)),
        (ended): time(scene.ended),
        "stderr": scene.stderr,
    })
}

/// Returns the last failure of an item, which has one.
pub(super) fn failure_line(item: &ItemInfo) -> Value {
    let last = item.history.last();
    json!({
        "number": item.number.0,
        "item": item.name.as_deref().map(clipped),
        "attempt": last.map_or(0, |last| last.attempt),
        "cause": clipped(&last_cause(&item.history)),
        "ended_us": last.map(|last| micros(last.scene.ended)),
        "dead": false,
    })
}

pub(super) fn since_1970(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    micros(since.unwrap_or(Duration::ZERO))
}

pub(super) fn clipped(text: &str) -> String {
    observe::clipped(text, NAME_MAX)
}
