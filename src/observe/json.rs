//! Events as JSON, one object a line. The names of events and fields are a contract with other
//! programs: see `docs/events.md`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Event, EventKind, last_cause};
use dishrack_core::ledger::Exit;

/// Returns the event's object. Items are dishes, which are washed and dried, or are run.
pub(crate) fn object(event: &Event, are_dishes: bool) -> Value {
    let kind = &event.kind;
    let object = of_item(kind, are_dishes).or_else(|| of_worker(kind));
    let mut object = object.unwrap_or_else(|| of_run(kind));
    object["t_us"] = micros(event.at).into();
    object
}

fn of_item(kind: &EventKind, are_dishes: bool) -> Option<Value> {
    Some(match kind {
        EventKind::Producing { item, pid } => json!({"event": "washing", "item": item, "pid": pid}),
        EventKind::Produced { item, pid } => json!({"event": "washed", "item": item, "pid": pid}),
        EventKind::NotProduced { item, pid } => {
            json!({"event": "not_washed", "item": item, "pid": pid})
        }
        EventKind::ItemStarted {
            id,
            item,
            worker,
            pid,
            attempt,
        } => match are_dishes {
            true => json!({
                "event": "drying", "item": item, "worker": &**worker, "pid": pid,
                "attempt": attempt,
            }),
            false => json!({
                "event": "running", "item": item, "number": id.0, "worker": &**worker, "pid": pid,
                "attempt": attempt,
            }),
        },
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
        EventKind::TimeLimit { item, worker, pid } => json!({
            "event": "time_limit", "item": item, "worker": &**worker, "pid": pid,
        }),
        _ => return None,
    })
}

fn of_worker(kind: &EventKind) -> Option<Value> {
    Some(match kind {
        EventKind::WorkerStarted { worker, pid } => {
            json!({"event": "worker_started", "worker": &**worker, "pid": pid})
        }
        EventKind::WorkerExited {
            worker,
            pid,
            exit,
            holding,
            ..
        } => exited(worker, *pid, *exit, holding.as_deref()),
        EventKind::WorkerFailedToStart { worker, pid, why } => json!({
            "event": "worker_failed_to_start", "worker": &**worker, "pid": pid, "why": why,
        }),
        EventKind::WorkerFailed { worker, why } => {
            json!({"event": "worker_failed", "worker": &**worker, "why": why})
        }
        EventKind::WorkerGivenUp { worker, why } => {
            json!({"event": "worker_given_up", "worker": &**worker, "why": why})
        }
        EventKind::WorkerReplaced { worker, pid, why } => json!({
            "event": "worker_replaced", "worker": &**worker, "pid": pid, "why": why,
        }),
        _ => return None,
    })
}

/// Returns all other events, named one by one so that a new kind is not forgotten.
fn of_run(kind: &EventKind) -> Value {
    match kind {
        EventKind::Started { pid, mode, workers } => {
            json!({"event": "started", "pid": pid, "mode": mode, "workers": workers})
        }
        EventKind::NoWorkersLeft { why } => json!({"event": "no_workers_left", "why": why}),
        EventKind::JournalFailed { why } => json!({"event": "journal_failed", "why": why}),
        EventKind::Notice { why } => json!({"event": "notice", "why": why}),
        EventKind::Inconsistent { why } => json!({"event": "inconsistent", "why": why}),
        EventKind::Summary {
            counts,
            restarts,
            elapsed,
        } => json!({
            "event": "summary", "accepted": counts.accepted, "done": counts.done,
            "dead": counts.dead, "retries": counts.retries, "restarts": restarts,
            "elapsed_us": micros(*elapsed),
        }),
        EventKind::Producing { .. }
        | EventKind::Produced { .. }
        | EventKind::NotProduced { .. }
        | EventKind::ItemStarted { .. }
        | EventKind::ItemDone { .. }
        | EventKind::Retry { .. }
        | EventKind::Dead { .. }
        | EventKind::TimeLimit { .. }
        | EventKind::WorkerStarted { .. }
        | EventKind::WorkerExited { .. }
        | EventKind::WorkerFailedToStart { .. }
        | EventKind::WorkerFailed { .. }
        | EventKind::WorkerGivenUp { .. }
        | EventKind::WorkerReplaced { .. } => json!({}),
    }
}

/// Makes the object of an exit. An exit code and a signal never share a field.
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
