//! Carries out what is ordered of all supervisors of a stream: the same as what this one's own socket
//! takes. It does not know how orders come.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::item::{failure_line, holders, line, since_1970};
use super::status::RunStatus;
use super::target::ControlTarget;
use super::timeline::{self, TimelineQuery};
use crate::ItemInfo;
use crate::broker::stream::{ObeyOrder, OrderOutcome};
use crate::error::Error;
use crate::observe::item::ItemState;
use dishrack_core::ledger::{ItemId, WaitsFor};

/// The time between two looks whether the supervisor is still there.
const LOOK: Duration = Duration::from_millis(500);

/// The greatest number of items that are told of at once.
const HELD_MAX: usize = 1000;

/// The greatest number of items that rest of which a look tells more than their numbers.
const RESTING_MAX: usize = 50;

/// A wanted number of workers: so many, or so many more or fewer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleOrder {
    count: Option<usize>,
    change: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopOrder {
    now: bool,
}

/// The worker that an order is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedWorkerOrder {
    worker: String,
}

/// Returns what carries out orders on this target, as long as it is there.
pub(super) fn obey(name: &str, target: &Arc<dyn ControlTarget>) -> ObeyOrder {
    let (name, target) = (name.to_owned(), Arc::downgrade(target));
    Arc::new(move |verb, body| match verb {
        "stop" => stop(&target, body),
        verb => OrderOutcome {
            answer: carry_out(&name, &target, verb, body).map(|answer| answer.to_string()),
            then: None,
        },
    })
}

fn there(target: &Weak<dyn ControlTarget>) -> Result<Arc<dyn ControlTarget>, String> {
    target.upgrade().ok_or_else(|| "it comes to its end".into())
}

fn carry_out(
    name: &str,
    target: &Weak<dyn ControlTarget>,
    verb: &str,
    body: &str,
) -> Result<Value, String> {
    let words = |error: Error| error.to_string();
    match verb {
        "status" => {
            let facts = there(target)?.facts().map_err(words)?;
            let facts = facts.ok_or("it comes to its end")?;
            serde_json::to_value(RunStatus::new(name, facts)).map_err(|why| why.to_string())
        }
        "held" => held(&*there(target)?).map_err(words),
        "timeline" => timeline(&*there(target)?, body),
        "look" => look(name, &*there(target)?).map_err(words),
        "scale" => scale(target, body),
        "reload" => {
            there(target)?.reload().map_err(words)?;
            Ok(json!({"reloaded": true}))
        }
        "end-worker" => {
            let NamedWorkerOrder { worker } = worker_of(body)?;
            there(target)?.end_worker(&worker).map_err(words)?;
            Ok(json!({"worker": worker, "ended": true}))
        }
        "replace-worker" => {
            let NamedWorkerOrder { worker } = worker_of(body)?;
            there(target)?.replace_worker(&worker).map_err(words)?;
            Ok(json!({"worker": worker, "replaced": true}))
        }
        verb => Err(format!(
            "it does not know the order {verb:?}: it is of another version"
        )),
    }
}

fn worker_of(body: &str) -> Result<NamedWorkerOrder, String> {
    let order = serde_json::from_str(body);
    order.map_err(|why| format!("the order about a worker is not understood: {why}"))
}

/// Returns the items that are here, as far as the stream does not know them.
fn held(target: &dyn ControlTarget) -> Result<Value, Error> {
    let mut held = Vec::new();
    for state in [ItemState::Running, ItemState::Resting, ItemState::Waiting] {
        held.extend(target.items(Some(state), ItemId(0), HELD_MAX)?);
    }
    Ok(held.iter().map(held_item).collect())
}

/// Tells how it stands, which items its workers have, and which rest.
fn look(name: &str, target: &dyn ControlTarget) -> Result<Value, Error> {
    let facts = target.facts()?;
    let running = target.items(Some(ItemState::Running), ItemId(0), HELD_MAX)?;
    let resting = target.items(Some(ItemState::Resting), ItemId(0), HELD_MAX)?;
    let numbers = |items: &[ItemInfo]| items.iter().map(|item| item.number.0).collect::<Value>();
    let (running, rest) = (numbers(&running), numbers(&resting));
    let resting = &resting[..resting.len().min(RESTING_MAX)];
    let failed = resting.iter().filter(|item| !item.history.is_empty());
    Ok(json!({
        "status": facts.map(|facts| RunStatus::new(name, facts)),
        "running": running,
        "rest": rest,
        "resting": resting.iter().map(|item| line(item, None)).collect::<Value>(),
        "failures": failed.map(failure_line).collect::<Value>(),
    }))
}

fn held_item(item: &ItemInfo) -> Value {
    json!({
        "number": item.number.0,
        "state": item.state,
        "attempts": item.attempts,
        "holders": holders(item),
        "due_us": item.due.map(since_1970),
        "waits_for": item.waits_for.map(WaitsFor::word),
    })
}

/// Tells of the attempts of a time, as the bars of a chart.
fn timeline(target: &dyn ControlTarget, body: &str) -> Result<Value, String> {
    let query: TimelineQuery = serde_json::from_str(body)
        .map_err(|why| format!("the order of a chart is not understood: {why}"))?;
    let view = query.check().map_err(|failure| failure.message)?;
    let rows = timeline::rows(target, &view).map_err(|error| error.to_string())?;
    rows.ok_or_else(|| "it comes to its end".into())
}

fn scale(target: &Weak<dyn ControlTarget>, body: &str) -> Result<Value, String> {
    let bad = |why: &dyn std::fmt::Display| format!("the order to scale is not understood: {why}");
    let order: ScaleOrder = serde_json::from_str(body).map_err(|why| bad(&why))?;
    let count = match (order.count, order.change) {
        (Some(count), None) => count,
        (None, Some(change)) => {
            let facts = there(target)?.facts().map_err(|error| error.to_string())?;
            let wanted = facts.ok_or("it comes to its end")?.pool.wanted as i64;
            usize::try_from(wanted.saturating_add(change)).unwrap_or(0)
        }
        _ => return Err(bad(&"it names no number")),
    };
    loop {
        match there(target)?.scale(count, LOOK) {
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error.to_string()),
            Ok(()) => return Ok(json!({"workers": count})),
        }
    }
}

/// Ends the run after the answer, because nothing can be told after the end.
fn stop(target: &Weak<dyn ControlTarget>, body: &str) -> OrderOutcome {
    let order = serde_json::from_str::<StopOrder>(body);
    let order = order.map_err(|why| format!("the order to stop is not understood: {why}"));
    let found = order.and_then(|order| Ok((order, there(target)?)));
    match found {
        Err(why) => OrderOutcome {
            answer: Err(why),
            then: None,
        },
        Ok((order, target)) => OrderOutcome {
            answer: Ok(json!({"stopped": true}).to_string()),
            then: Some(Box::new(move || target.stop(order.now))),
        },
    }
}
