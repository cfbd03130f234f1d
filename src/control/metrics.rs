//! The numbers of a run for Prometheus: as OpenMetrics, or in Prometheus' own text format. The names are a
//! contract with other programs: see `docs/metrics.md`. No label has values that grow with items.

use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::failure::RequestFailure;
use super::status::Facts;
use crate::supervision::WorkerState;
use dishrack_core::ledger::{BOUNDS, Counts, Histogram};
use dishrack_core::pool::restart::RestartCause;

/// The kind of a text as OpenMetrics (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The kind of a text as Prometheus' own
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) const WORKER_STATES: [(WorkerState, &str); 4] = [
    (WorkerState::Starting, "starting"),
    (WorkerState::Idle, "idle"),
    (WorkerState::Busy, "busy"),
    (WorkerState::Stopping, "stopping"),
];

/// Answers with the numbers of a run, in the form that is accepted.
pub(super) fn of_run(headers: &HeaderMap, facts: Facts) -> Result<Response, RequestFailure> {
    exposition(headers, Box::new(RunNumbers(facts)))
}

pub(super) fn exposition(
    headers: &HeaderMap,
    numbers: Box<dyn Collector>,
) -> Result<Response, RequestFailure> {
    let mut registry = Registry::with_prefix("dishrack");
    registry.register_collector(numbers);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|why| RequestFailure::internal(&why))?;
    let accepts = headers
        .get(ACCEPT)
        .and_then(|accepts| accepts.to_str().ok());
    let is_open = accepts.is_some_and(|accepts| accepts.contains("application/openmetrics-text"));
    let (kind, text) = match is_open {
        true => (OPEN_METRICS, text),
        false => (PROMETHEUS, of_prometheus(&text)),
    };
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// Turns OpenMetrics into Prometheus' older format, in which a counter is declared by the name of its
/// samples, and there are neither units nor an end.
fn of_prometheus(text: &str) -> String {
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let declared = ["# HELP ", "# TYPE "].iter().find_map(|kind| {
            let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
            counters
                .contains(&name)
                .then(|| format!("{kind}{name}_total {rest}"))
        });
        out.push_str(declared.as_deref().unwrap_or(line));
        out.push('\n');
    }
    out
}

/// The numbers of a run at one moment.
#[derive(Debug)]
struct RunNumbers(Facts);

impl Collector for RunNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let RunNumbers(facts) = self;
        encode_counts(&mut encoder, &facts.counts)?;
        let oldest = facts.waits.as_ref().and_then(|waits| waits.oldest);
        encode_oldest(&mut encoder, oldest)?;
        let pool = &facts.pool;
        let states = WORKER_STATES.map(|(state, word)| {
            let of_state = pool.workers.iter().filter(|worker| worker.state == state);
            (word, of_state.count() as u64)
        });
        encode_workers(&mut encoder, &states, pool.wanted as u64)?;
        self.encode_restarts(&mut encoder)?;
        self.encode_waits(&mut encoder)?;
        self.encode_durations(&mut encoder)
    }
}

pub(super) fn encode_counts(encoder: &mut DescriptorEncoder<'_>, counts: &Counts) -> fmt::Result {
    let totals = [
        ("items_accepted", "Items that were put", counts.accepted),
        ("items_done", "Items that were done", counts.done),
        ("items_dead", "Items that were given up on", counts.dead),
        (
            "items_retried",
            "Failed attempts that were followed by another one",
            counts.retries,
        ),
    ];
    for (name, help, total) in totals {
        counter(
            encoder.encode_descriptor(name, help, None, MetricType::Counter)?,
            total,
        )?;
    }
    let states = [
        ("waiting", counts.waiting),
        ("leased", counts.leased),
        ("delayed", counts.delayed),
    ];
    let help = "Items that have not ended, by what they wait for: a worker, its end, a new attempt";
    let items = encoder.encode_descriptor("items", help, None, MetricType::Gauge)?;
    gauges(items, "state", &states)
}

pub(super) fn encode_oldest(
    encoder: &mut DescriptorEncoder<'_>,
    oldest: Option<Duration>,
) -> fmt::Result {
    let Some(oldest) = oldest else {
        return Ok(());
    };
    let help = "The time for which the first of the items that wait has done so";
    let unit = Some(&Unit::Seconds);
    let age = encoder.encode_descriptor("queue_latency", help, unit, MetricType::Gauge)?;
    ConstGauge::new(oldest.as_secs_f64()).encode(age)
}

pub(super) fn encode_workers(
    encoder: &mut DescriptorEncoder<'_>,
    states: &[(&str, u64)],
    wanted: u64,
) -> fmt::Result {
    let workers = encoder.encode_descriptor("workers", "Workers", None, MetricType::Gauge)?;
    gauges(workers, "state", states)?;
    let help = "The number of workers that there are to be";
    let metric = encoder.encode_descriptor("workers_wanted", help, None, MetricType::Gauge)?;
    gauge(metric, wanted)
}

impl RunNumbers {
    fn encode_restarts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Workers that were started again, by the reason";
        let mut restarts =
            encoder.encode_descriptor("worker_restarts", help, None, MetricType::Counter)?;
        for cause in RestartCause::ALL {
            counter(
                restarts.encode_family(&[("cause", cause.word())])?,
                self.0.pool.restarts_by.of(cause),
            )?;
        }
        Ok(())
    }

    fn encode_waits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(waits) = &self.0.waits else {
            return Ok(());
        };
        let help = "The time for which items have waited until an attempt began";
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        histogram(
            encoder.encode_descriptor("item_wait", help, unit, kind)?,
            &waits.begun,
        )
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "The time that attempts have taken, by their outcomes";
        let unit = Some(&Unit::Seconds);
        let kind = MetricType::Histogram;
        let mut durations = encoder.encode_descriptor("item_duration", help, unit, kind)?;
        let outcomes = [
            ("done", &self.0.durations.done),
            ("failed", &self.0.durations.failed),
        ];
        for (outcome, durations_of) in outcomes {
            let label = [("outcome", outcome)];
            histogram(durations.encode_family(&label)?, durations_of)?;
        }
        Ok(())
    }
}

/// Returns the buckets, each by its upper bound in seconds.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let bounds = BOUNDS.iter().map(Duration::as_secs_f64);
    bounds.chain([f64::MAX]).zip(histogram.counts).collect()
}

fn histogram(mut metric: MetricEncoder<'_>, of: &Histogram) -> fmt::Result {
    let (sum, total) = (of.sum.as_secs_f64(), of.total());
    metric.encode_histogram::<NoLabelSet>(sum, total, &buckets(of), None)
}

fn counter(metric: MetricEncoder<'_>, total: u64) -> fmt::Result {
    ConstCounter::new(total).encode(metric)
}

fn gauge(metric: MetricEncoder<'_>, number: u64) -> fmt::Result {
    ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX)).encode(metric)
}

pub(super) fn gauges(
    mut metric: MetricEncoder<'_>,
    label: &str,
    values: &[(&str, u64)],
) -> fmt::Result
where
    for<'a> [(&'a str, &'a str); 1]: EncodeLabelSet,
{
    for (value, number) in values {
        gauge(metric.encode_family(&[(label, *value)])?, *number)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_declares_a_counter_by_its_samples() {
        let open = "# HELP dishrack_items_done Items.\n# TYPE dishrack_items_done counter\n\
                    dishrack_items_done_total 3\n# HELP dishrack_item_duration_seconds Time.\n\
                    # TYPE dishrack_item_duration_seconds histogram\n\
                    # UNIT dishrack_item_duration_seconds seconds\n# EOF\n";
        assert_eq!(
            of_prometheus(open),
            "# HELP dishrack_items_done_total Items.\n# TYPE dishrack_items_done_total counter\n\
             dishrack_items_done_total 3\n# HELP dishrack_item_duration_seconds Time.\n\
             # TYPE dishrack_item_duration_seconds histogram\n"
        );
    }

    #[test]
    fn each_bucket_has_its_own_number() {
        let mut histogram = Histogram::default();
        histogram.counts[0] = 3;
        histogram.counts[BOUNDS.len()] = 1;
        let buckets = buckets(&histogram);
        assert_eq!(
            (buckets[0], buckets[BOUNDS.len()]),
            ((0.005, 3), (f64::MAX, 1))
        );
    }
}
