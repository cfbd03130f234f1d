//! Events as JSON, one object a line. The names of events and fields are a contract with other
//! programs: see `docs/events.md`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Event, EventKind, last_cause};
use dishrack_core::ledger::{Counts, Exit, ItemId};

/// The event's object. Items are dishes, which are washed and dried, or others, which are run.
pub(crate) fn object(event: &Event, are_dishes: bool) -> Value {
    let mut object = match &event.kind {
        EventKind::Started { pid, mode, workers } => {
            json!({"event": "started", "pid": pid, "mode": mode, "workers": workers})
        }
        EventKind::WorkerStarted { worker, pid } => {
            json!({"event": "worker_started", "worker": &**worker, "pid": pid})
        }
        EventKind::Producing { item, pid } => json!({"event": "washing", "item": item, "pid": pid}),
        EventKind::ItemStarted {
            id,
            item,
            worker,
            pid,
            attempt,
        } => started(are_dishes, *id, item, (&**worker, *pid, *attempt)),
        EventKind::ItemDone {
            item,
            worker,
            pid,
            attempt,
            duration,
            ..
        } => json!({
            "event": "done", "item": item, "worker": &**worker, "pid": pid, "attempt": attempt,
            "duration_us": micros(*duration),
        }),
        EventKind::Retry { item, failure, .. } => json!({
            "event": "retry", "item": item, "attempt": failure.attempt,
            "cause": failure.cause.to_string(),
        }),
        EventKind::Dead { item, history, .. } => json!({
            "event": "dead", "item": item, "attempts": history.len(),
            "cause": last_cause(history),
        }),
        EventKind::WorkerExited {
            worker,
            pid,
            exit,
            holding,
            ..
        } => exited(worker, *pid, *exit, holding.as_deref()),
        EventKind::Summary {
            counts,
            restarts,
            elapsed,
        } => summary(counts, *restarts, *elapsed),
        EventKind::Produced { item, pid } => json!({"event": "washed", "item": item, "pid": pid}),
        EventKind::NotProduced { item, pid } => {
            json!({"event": "not_washed", "item": item, "pid": pid})
        }
        EventKind::WorkerFailedToStart { worker, pid, why } => json!({
            "event": "worker_failed_to_start", "worker": &**worker, "pid": pid, "why": why,
        }),
        EventKind::WorkerFailed { worker, why } => without_worker("worker_failed", worker, why),
        EventKind::WorkerGivenUp { worker, why } => without_worker("worker_given_up", worker, why),
        EventKind::WorkerReplaced { worker, pid, why } => json!({
            "event": "worker_replaced", "worker": &**worker, "pid": pid, "why": why,
        }),
        EventKind::TimeLimit { item, worker, pid } => json!({
            "event": "time_limit", "item": item, "worker": &**worker, "pid": pid,
        }),
        EventKind::NoWorkersLeft { why } => json!({"event": "no_workers_left", "why": why}),
        EventKind::JournalFailed { why } => json!({"event": "journal_failed", "why": why}),
        EventKind::Notice { why } => json!({"event": "notice", "why": why}),
        EventKind::Inconsistent { why } => json!({"event": "inconsistent", "why": why}),
    };
    object["t_us"] = micros(event.at).into();
    object
}

/// A dish is dried and has no number.
fn started(
    are_dishes: bool,
    id: ItemId,
    item: &str,
    (worker, pid, attempt): (&str, u32, u32),
) -> Value {
    match are_dishes {
        true => json!({
            "event": "drying", "item": item, "worker": worker, "pid": pid, "attempt": attempt,
        }),
        false => json!({
            "event": "running", "item": item, "number": id.0, "worker": worker, "pid": pid,
            "attempt": attempt,
        }),
    }
}

/// A place has no worker for now, or for good.
fn without_worker(event: &str, worker: &str, why: &str) -> Value {
    json!({"event": event, "worker": worker, "why": why})
}

fn summary(counts: &Counts, restarts: u64, elapsed: Duration) -> Value {
    json!({
        "event": "summary", "accepted": counts.accepted, "done": counts.done,
        "dead": counts.dead, "retries": counts.retries, "restarts": restarts,
        "elapsed_us": micros(elapsed),
    })
}

/// An exit code and a signal never stand in the same field.
fn exited(worker: &str, pid: u32, exit: Exit, holding: Option<&str>) -> Value {
    let mut object = json!({
        "event": "worker_exited", "worker": worker, "pid": pid, "holding": holding,
    });
    match exit {
        Exit::Exited(code) => object["code"] = code.into(),
        Exit::Signaled(_) => object["signal"] = exit.signal_name().into(),
        Exit::Unknown => object["code"] = Value::Null,
    }
    object
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_worker_is_told_with_the_signals_name_and_what_it_held() {
        let event = Event {
            at: Duration::from_millis(5),
            kind: EventKind::WorkerExited {
                worker: "dryer-1".into(),
                pid: 7,
                exit: Exit::Signaled(9),
                holding: Some("dish-3".into()),
                is_asked: false,
            },
        };
        let expected = json!({
            "event": "worker_exited", "t_us": 5000, "worker": "dryer-1", "pid": 7,
            "signal": "SIGKILL", "holding": "dish-3",
        });
        assert_eq!(object(&event, true), expected);
    }
}
