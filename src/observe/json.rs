//! Events as JSON, one object a line. The names of events and fields are a contract with other
//! programs: see `docs/events.md`.

use serde_json::{Value, json};

use super::{Event, EventKind, last_cause, micros};
use dishrack_core::ledger::Exit;

/// Returns the event's object. Items are dishes, which are washed and dried, or are run.
pub(crate) fn object(event: &Event, are_dishes: bool) -> Value {
    let mut object = with_fields(name(&event.kind, are_dishes), &event.kind, are_dishes);
    object["t_us"] = micros(event.at).into();
    object
}

fn name(kind: &EventKind, are_dishes: bool) -> &'static str {
    match kind {
        EventKind::Started { .. } => "started",
        EventKind::Producing { .. } => "washing",
        EventKind::Produced { .. } => "washed",
        EventKind::NotProduced { .. } => "not_washed",
        EventKind::ItemStarted { .. } if are_dishes => "drying",
        EventKind::ItemStarted { .. } => "running",
        EventKind::ItemDone { .. } => "done",
        EventKind::Retry { .. } => "retry",
        EventKind::Dead { .. } => "dead",
        EventKind::TimeLimit { .. } => "time_limit",
        EventKind::WorkerStarted { .. } => "worker_started",
        EventKind::WorkerExited { .. } => "worker_exited",
        EventKind::WorkerFailedToStart { .. } => "worker_failed_to_start",
        EventKind::WorkerFailed { .. } => "worker_failed",
        EventKind::WorkerGivenUp { .. } => "worker_given_up",
        EventKind::WorkerReplaced { .. } => "worker_replaced",
        EventKind::NoWorkersLeft { .. } => "no_workers_left",
        EventKind::JournalFailed { .. } => "journal_failed",
        EventKind::Notice { .. } => "notice",
        EventKind::Inconsistent { .. } => "inconsistent",
        EventKind::Summary { .. } => "summary",
    }
}

fn with_fields(event: &str, kind: &EventKind, are_dishes: bool) -> Value {
    match kind {
        EventKind::Started { pid, mode, workers } => {
            json!({"event": event, "pid": pid, "mode": mode, "workers": workers})
        }
        EventKind::Producing { item, pid }
        | EventKind::Produced { item, pid }
        | EventKind::NotProduced { item, pid } => {
            json!({"event": event, "item": item, "pid": pid})
        }
        #[rustfmt::skip]
        EventKind::ItemStarted { id, item, worker, pid, attempt } => match are_dishes {
            true => json!({
                "event": event, "item": item, "worker": &**worker, "pid": pid, "attempt": attempt,
            }),
            false => json!({
                "event": event, "item": item, "number": id.0, "worker": &**worker, "pid": pid,
                "attempt": attempt,
            }),
        },
        #[rustfmt::skip]
        EventKind::ItemDone { item, worker, pid, attempt, duration, .. } => json!({
            "event": event, "item": item, "worker": &**worker, "pid": pid, "attempt": attempt,
            "duration_us": micros(*duration),
        }),
        EventKind::Retry { item, failure, .. } => json!({
            "event": event, "item": item, "attempt": failure.attempt,
            "cause": failure.cause.to_string(),
        }),
        EventKind::Dead { item, history, .. } => json!({
            "event": event, "item": item, "attempts": history.len(), "cause": last_cause(history),
        }),
        EventKind::TimeLimit { item, worker, pid } => {
            json!({"event": event, "item": item, "worker": &**worker, "pid": pid})
        }
        EventKind::WorkerStarted { worker, pid } => {
            json!({"event": event, "worker": &**worker, "pid": pid})
        }
        #[rustfmt::skip]
        EventKind::WorkerExited { worker, pid, exit, holding, .. } => {
            exited(json!({"event": event, "worker": &**worker, "pid": pid, "holding": holding}), *exit)
        },
        EventKind::WorkerFailedToStart { worker, pid, why } => {
            json!({"event": event, "worker": &**worker, "pid": pid, "why": why})
        }
        EventKind::WorkerReplaced { worker, pid, why } => {
            json!({"event": event, "worker": &**worker, "pid": pid, "why": why})
        }
        EventKind::WorkerFailed { worker, why } | EventKind::WorkerGivenUp { worker, why } => {
            json!({"event": event, "worker": &**worker, "why": why})
        }
        EventKind::NoWorkersLeft { why }
        | EventKind::JournalFailed { why }
        | EventKind::Notice { why }
        | EventKind::Inconsistent { why } => json!({"event": event, "why": why}),
        EventKind::Summary {
            counts,
            restarts,
            elapsed,
        } => json!({
            "event": event, "accepted": counts.accepted, "done": counts.done, "dead": counts.dead,
            "retries": counts.retries, "restarts": restarts, "elapsed_us": micros(*elapsed),
        }),
    }
}

/// Adds a process's end: an exit code and a signal never stand in the same field.
fn exited(mut object: Value, exit: Exit) -> Value {
    match exit {
        Exit::Exited(code) => object["code"] = code.into(),
        Exit::Signaled(_) => object["signal"] = exit.signal_name().into(),
        Exit::Unknown => object["code"] = Value::Null,
    }
    object
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
