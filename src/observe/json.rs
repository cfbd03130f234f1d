//! Events as JSON, one object a line. The names of events and fields are a contract with other
//! programs: see `docs/events.md`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Event, EventKind, last_cause};
use dishrack_core::ledger::Exit;

/// The event's object, if it belongs to the contract.
pub(crate) fn object(event: &Event) -> Option<Value> {
    let mut object = match &event.what {
        EventKind::Started { pid, mode, workers } => {
            json!({"event": "started", "pid": pid, "mode": mode, "workers": workers})
        }
        EventKind::WorkerStarted { worker, pid } => {
            json!({"event": "worker_started", "worker": &**worker, "pid": pid})
        }
        EventKind::Producing { item, pid } => json!({"event": "washing", "item": item, "pid": pid}),
        EventKind::ItemStarted {
            item,
            worker,
            pid,
            attempt,
            ..
        } => json!({
            "event": "drying", "item": item, "worker": &**worker, "pid": pid, "attempt": attempt,
        }),
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
        } => json!({
            "event": "summary", "accepted": counts.accepted, "done": counts.done,
            "dead": counts.dead, "retries": counts.retries, "restarts": restarts,
            "elapsed_us": micros(*elapsed),
        }),
        EventKind::Produced { .. }
        | EventKind::NotProduced { .. }
        | EventKind::WorkerFailed { .. }
        | EventKind::NoWorkersLeft { .. }
        | EventKind::JournalFailed { .. }
        | EventKind::Notice { .. }
        | EventKind::Inconsistent { .. } => return None,
    };
    object["t_us"] = micros(event.at).into();
    Some(object)
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
            what: EventKind::WorkerExited {
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
        assert_eq!(object(&event), Some(expected));
    }
}
