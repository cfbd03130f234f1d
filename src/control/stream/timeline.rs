//! PURE: the time charts of the supervisors of a stream, as one. It does not know how they are asked.

use serde_json::{Value, json};

use crate::control::answers::{number, text, values};

/// Puts the charts of supervisors with these names together, and returns so many of their rows after the first ones.
pub(super) fn together(charts: &[(String, Value)], after: usize, limit: usize) -> Value {
    let rows = charts.iter().flat_map(|(name, chart)| {
        values(&chart["rows"]).iter().map(move |row| {
            let worker = format!("{name} {}", text(&row["worker"]));
            json!({"worker": worker, "bars": row["bars"]})
        })
    });
    let shown: Vec<Value> = rows.skip(after).take(limit).collect();
    let numbers = |field: &'static str| charts.iter().map(move |(_, chart)| number(&chart[field]));
    let workers: u64 = numbers("workers").sum();
    let next = (after + shown.len()) as u64;
    json!({
        "now_us": numbers("now_us").max(),
        "since_us": numbers("since_us").min(),
        "until_us": numbers("until_us").max(),
        "known_since_us": numbers("known_since_us").max(),
        "workers": workers,
        "rows": shown,
        "after": (next < workers && !shown.is_empty()).then_some(next),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(name: &str, workers: u64, now_us: u64) -> (String, Value) {
        let rows = (1..=workers)
            .map(|worker| json!({"worker": format!("worker-{worker}"), "bars": [worker]}));
        let chart = json!({"now_us": now_us, "since_us": now_us - 10, "until_us": now_us, "known_since_us": 1,
            "workers": workers, "rows": rows.collect::<Value>(), "after": null});
        (name.to_owned(), chart)
    }

    #[test]
    fn rows_are_named_after_their_supervisors_and_come_page_by_page() {
        let charts = [chart("a-1", 2, 100), chart("b-2", 3, 105)];
        let names = |told: &Value| -> Vec<String> {
            let rows = values(&told["rows"]).iter();
            rows.map(|row| text(&row["worker"]).to_owned()).collect()
        };
        let told = together(&charts, 0, 3);
        assert_eq!(
            names(&told),
            ["a-1 worker-1", "a-1 worker-2", "b-2 worker-1"]
        );
        assert_eq!((&told["workers"], &told["after"]), (&json!(5), &json!(3)));
        assert_eq!(
            (&told["since_us"], &told["until_us"]),
            (&json!(90), &json!(105))
        );
        let told = together(&charts, 3, 3);
        assert_eq!(names(&told), ["b-2 worker-2", "b-2 worker-3"]);
        assert_eq!(told["after"], Value::Null);
        assert_eq!(together(&[], 0, 3)["workers"], 0);
    }
}
