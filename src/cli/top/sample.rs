//! A look at a run and one at a stream that do not exist, for the tests.

use serde_json::{Value, json};

use super::model::Look;

fn worker(name: &str, item: Option<(u64, &str)>) -> Value {
    json!({
        "worker": name,
        "pid": 100,
        "state": if item.is_some() { "busy" } else { "idle" },
        "number": item.map(|(number, _)| number),
        "item": item.map(|(_, item)| item),
        "for_us": item.map(|_| 2_500_000),
        "rss_bytes": 12 << 20,
        "restarts": 3,
        "last_death": {"at_us": 1, "cause": "killed by SIGSEGV"},
    })
}

/// Returns a look at a run at this time, when so many have ended.
pub(super) fn look(uptime_s: u64, done: u64) -> Look {
    let counts = json!({
        "accepted": 1000, "waiting": 900 - done, "leased": 2, "delayed": 1, "done": done,
        "dead": 2, "retries": 5, "restarts": 3,
    });
    let item = |number: u64, item: &str| json!({"number": number, "state": "waiting", "item": item, "attempts": 0});
    Look {
        status: json!({
            "name": "nightly", "pid": 4711, "mode": "processes", "state": "running",
            "uptime_us": uptime_s * 1_000_000, "counts": counts, "rate_per_s": 12.5,
            "eta_s": 70.0, "workers_wanted": 2,
            "workers": [worker("worker-1", Some((41, "a.mov"))), worker("worker-2", None)],
        }),
        resting: json!({"items": [{
            "number": 7, "state": "resting", "item": "tired", "attempts": 1, "cause": "exited with code 1",
        }]}),
        waiting: json!({"items": [item(43, "b.mov"), item(44, "c\u{1b}[2J.mov")]}),
        failures: json!({"failures": [
            {"number": 9, "item": "bad.mov", "attempt": 3, "cause": "exited with code 1", "worker": "worker-1", "ended_us": 5, "dead": true},
            {"number": 7, "item": "tired", "attempt": 1, "cause": "time limit", "worker": "worker-1", "ended_us": 4, "dead": false},
        ]}),
    }
}

/// Returns a look at a stream with three supervisors, of which one does not answer.
pub(super) fn stream() -> Look {
    let mut look = look(10, 100);
    let of = |supervisor: &str, mut worker: Value| {
        worker["supervisor"] = supervisor.into();
        worker
    };
    let status = &mut look.status;
    status["name"] = "jobs".into();
    status["at"] = "redis://db1:6379".into();
    status["counts"]["leased"] = 9.into();
    status["supervisors"] =
        json!([{"state": "running"}, {"state": "running"}, {"state": "silent"}]);
    status["workers"] = json!([
        of("web-1-4711", worker("worker-1", Some((41, "a.mov")))),
        of("web-1-4711", worker("worker-2", None)),
        of("web-2-99", worker("worker-1", Some((42, "z.mov")))),
        {"worker": null, "supervisor": "web-3-7", "state": "silent", "item": "has taken 7"},
    ]);
    look.waiting = json!({"items": [
        {"number": 43, "state": "waiting", "item": "b.mov", "attempts": 0},
        {"number": null, "state": "waiting", "item": "not taken", "attempts": 0},
    ]});
    look
}
