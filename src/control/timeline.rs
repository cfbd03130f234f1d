//! The time chart of a run as JSON has it: a row for each worker, with its attempts as bars. The fields are a
//! contract with other programs: see `docs/api.md`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::RequestFailure;
use super::item::clipped;
use super::target::ControlTarget;
use crate::broker::bars::{BarTime, KeptBars};
use crate::error::Error;
use crate::observe::micros;
use crate::supervision::WorkerInfo;
use dishrack_core::timeline::{AttemptBar, BARS_MAX, joined};

/// The time that is shown where none is named.
const USUAL: Duration = Duration::from_secs(60);

/// The numbers of rows and bars in one answer, where none are named, and the greatest.
const ROWS: (usize, usize) = (100, 1000);
const BARS: (usize, usize) = (2000, BARS_MAX);

/// The time and the rows that are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineQuery {
    since_us: Option<u64>,
    until_us: Option<u64>,
    after: Option<usize>,
    limit: Option<usize>,
    bars: Option<usize>,
}

/// The same, checked.
#[derive(Debug)]
pub(super) struct TimelineView {
    since: Option<Duration>,
    until: Option<Duration>,
    after: usize,
    rows: usize,
    bars: usize,
}

impl TimelineQuery {
    pub(super) fn check(&self) -> Result<TimelineView, RequestFailure> {
        let bound = |name: &str, value: Option<usize>, (usual, most): (usize, usize)| {
            let value = value.unwrap_or(usual);
            match (1..=most).contains(&value) {
                true => Ok(value),
                false => Err(bad(format!("{name}: {value} is not between 1 and {most}"))),
            }
        };
        let (since, until) = (self.since_us, self.until_us);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            let message = format!("since_us: {since} is not before until_us, which is {until}");
            return Err(bad(message));
        }
        Ok(TimelineView {
            since: since.map(Duration::from_micros),
            until: until.map(Duration::from_micros),
            after: self.after.unwrap_or(0),
            rows: bound("limit", self.limit, ROWS)?,
            bars: bound("bars", self.bars, BARS)?,
        })
    }
}

fn bad(message: String) -> RequestFailure {
    RequestFailure::bad("bad_query", message)
}

/// Returns the rows of a time; `None` if the supervisor is gone.
pub(super) fn rows(
    target: &dyn ControlTarget,
    view: &TimelineView,
) -> Result<Option<Value>, Error> {
    let Some(facts) = target.facts()? else {
        return Ok(None);
    };
    let kept = target.bars(&|now| {
        let until = view.until.unwrap_or(now);
        let since = view.since.unwrap_or(until.saturating_sub(USUAL));
        BarTime { since, until }
    })?;
    Ok(kept.map(|kept| chart(view, &facts.pool.workers, kept)))
}

fn chart(view: &TimelineView, workers: &[WorkerInfo], kept: KeptBars) -> Value {
    let BarTime { since, until } = kept.time;
    let mut bars = kept.bars;
    let names = names(workers, &bars);
    let after = view.after.min(names.len());
    let shown: Vec<&Arc<str>> = names.iter().skip(after).take(view.rows).collect();
    let places: HashMap<&str, usize> = shown.iter().map(|name| &***name).zip(0..).collect();
    bars.retain(|bar| places.contains_key(&*bar.worker));
    let mut rows: Vec<Vec<Value>> = vec![Vec::new(); shown.len()];
    for bar in joined(bars, until.saturating_sub(since), view.bars) {
        rows[places[&*bar.worker]].push(object(&bar));
    }
    for worker in workers {
        let begun = worker
            .elapsed
            .map(|elapsed| kept.now.saturating_sub(elapsed));
        if let Some(place) = places.get(&*worker.name)
            && let Some(bar) = under_way(worker, begun.filter(|begun| *begun <= until))
        {
            rows[*place].push(bar);
        }
    }
    let rows = shown.iter().zip(rows);
    let next = after + shown.len();
    json!({
        "now_us": micros(kept.now),
        "since_us": micros(since),
        "until_us": micros(until),
        "known_since_us": micros(kept.known_since),
        "workers": names.len(),
        "rows": rows.map(|(worker, bars)| json!({"worker": worker, "bars": bars})).collect::<Value>(),
        "after": (next < names.len()).then_some(next),
    })
}

/// Returns the names of the workers that there are, in their order, and of others that have bars.
fn names(workers: &[WorkerInfo], bars: &[AttemptBar]) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = workers.iter().map(|one| one.name.as_str().into()).collect();
    let there: BTreeSet<&str> = workers.iter().map(|one| &*one.name).collect();
    let others = bars.iter().map(|bar| &bar.worker);
    let others: BTreeSet<&Arc<str>> = others.filter(|name| !there.contains(&***name)).collect();
    names.extend(others.into_iter().cloned());
    names
}

fn object(bar: &AttemptBar) -> Value {
    json!({
        "first": bar.first.0,
        "last": bar.last.0,
        "attempts": bar.attempts,
        "failed": bar.failed,
        "attempt": bar.attempt,
        "cause": bar.cause.as_deref().map(clipped),
        "pid": bar.pid,
        "started_us": micros(bar.started),
        "ended_us": micros(bar.ended),
    })
}

/// Returns the bar of the item that a worker has begun, if that is known.
fn under_way(worker: &WorkerInfo, begun: Option<Duration>) -> Option<Value> {
    let (item, begun) = (worker.item?, begun?);
    Some(json!({
        "first": item.0,
        "last": item.0,
        "attempts": 1,
        "failed": 0,
        "attempt": null,
        "cause": null,
        "pid": worker.pid,
        "started_us": micros(begun),
        "ended_us": null,
    }))
}
