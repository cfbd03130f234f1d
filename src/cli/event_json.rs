//! Events as the JSON objects that the command prints: those of the library, with the run's own
//! words for the steps of an item.

use serde_json::Value;

use crate::observe::Event;
use crate::observe::text::Steps;

/// Returns the event's object.
pub(super) fn object(event: &Event, steps: Option<&Steps>) -> Value {
    // Names are text, and numbers are numbers: there is nothing that JSON has no form for.
    let mut object = serde_json::to_value(event).unwrap_or_default();
    if let Some(name) = steps.and_then(|steps| steps.name_of(&event.kind))
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert("event".into(), name.into());
        // The name of such an item says which one it is.
        fields.shift_remove("number");
    }
    object
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::Exit;
    use crate::observe::EventKind;

    #[test]
    fn a_killed_worker_is_told_with_the_signals_name_and_what_it_held() {
        let event = Event {
            at: Duration::from_millis(5),
            kind: EventKind::WorkerExited {
                worker: "worker-1".into(),
                pid: 7,
                exit: Exit::Signaled(9),
                holding: Some("item-3".into()),
                is_asked: false,
            },
        };
        let expected = json!({
            "event": "worker_exited", "t_us": 5000, "worker": "worker-1", "pid": 7,
            "signal": "SIGKILL", "holding": "item-3",
        });
        assert_eq!(object(&event, None), expected);
    }
}
