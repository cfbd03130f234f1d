//! The numbers of a stream for Prometheus: its items, and the workers of all its supervisors.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::header::HeaderMap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use serde_json::Value;

use crate::control::answers::{number, text, values};
use crate::control::metrics::{
    WORKER_STATES, encode_counts, encode_oldest, encode_workers, exposition, gauges,
};
use dishrack_core::ledger::Counts;

/// Answers with the numbers that are in the status of a stream, in the form that is accepted.
pub(crate) fn of_stream(headers: &HeaderMap, status: Value) -> Response {
    let answer = exposition(headers, Box::new(StreamNumbers(status)));
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// The numbers of a stream, as its status has them.
#[derive(Debug)]
struct StreamNumbers(Value);

impl Collector for StreamNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let StreamNumbers(status) = self;
        encode_counts(&mut encoder, &counts(&status["counts"]))?;
        let oldest = status["oldest_waiting_us"].as_u64();
        encode_oldest(&mut encoder, oldest.map(Duration::from_micros))?;
        let states = WORKER_STATES.map(|(_, word)| {
            let workers = values(&status["workers"]).iter();
            let of_state = workers.filter(|worker| worker["state"] == word);
            (word, of_state.count() as u64)
        });
        encode_workers(&mut encoder, &states, number(&status["workers_wanted"]))?;
        let mut supervisors: BTreeMap<&str, u64> = BTreeMap::new();
        for one in values(&status["supervisors"]) {
            *supervisors.entry(text(&one["state"])).or_default() += 1;
        }
        let supervisors: Vec<_> = supervisors.into_iter().collect();
        let help = "Supervisors that work on the stream";
        let metric = encoder.encode_descriptor("supervisors", help, None, MetricType::Gauge)?;
        gauges(metric, "state", &supervisors)
    }
}

fn counts(told: &Value) -> Counts {
    let mut counts = Counts::default();
    counts.accepted = number(&told["accepted"]);
    counts.waiting = number(&told["waiting"]);
    counts.leased = number(&told["leased"]);
    counts.delayed = number(&told["delayed"]);
    counts.done = number(&told["done"]);
    counts.dead = number(&told["dead"]);
    counts.retries = number(&told["retries"]);
    counts
}
