//! Sends the spans of a run to a collector.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::http::Uri;
use opentelemetry::trace::{Link, Span as _, SpanKind, Status, Tracer as _, TracerProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};

use super::ids::{GivenIds, PutIds};
use crate::ItemId;
use crate::cli::exit_codes::RunError;
use crate::cli::screen::say;
use crate::cli::view::View;
use crate::observe::spans::{Doing, Labels, Span, SpanEnd, SpanOutput, Spans, words_of};
use crate::observe::{Event, EventKind};

/// The number of spans that may wait to be sent. Further ones are counted as lost.
const WAITING_MAX: usize = 65_536;

/// The longest time that the end of a run waits for the collector.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// An operation's name, and its type in the conventions.
type Operation = (&'static str, &'static str);

const PUT: Operation = ("put", "send");
const PROCESS: Operation = ("process", "process");

/// Returns the address to which spans are sent: that of the collector, with the path of OTLP if it has none.
///
/// # Errors
/// In words: it is no address that this program can send to.
pub(in crate::cli) fn endpoint(url: &str) -> Result<String, String> {
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("--otlp {url}: this is no address: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(_)) => {}
        (Some("https"), _) => {
            return Err(format!(
                "--otlp {url}: spans are sent without TLS; name a collector on this machine, such as \
                 http://127.0.0.1:4318, and have it send them on"
            ));
        }
        _ => {
            return Err(format!(
                "--otlp {url}: give the collector's address with http://, such as http://127.0.0.1:4318"
            ));
        }
    }
    Ok(match uri.path() {
        "" | "/" => format!("{}/v1/traces", url.trim_end_matches('/')),
        _ => url.to_owned(),
    })
}

/// Returns the view of a queue that is so old, and known to all who put there by this mark.
///
/// # Errors
/// The exporter cannot be made.
pub(super) fn view_of(
    endpoint: &str,
    labels: &Labels,
    mark: Option<String>,
    elapsed: Duration,
) -> Result<Option<Box<dyn View>>, RunError> {
    let exporter = OtlpExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| RunError::usage(format!("--otlp {endpoint}: {error}")))?;
    let sent = Arc::<AtomicU64>::default();
    let exporter = CountingExporter {
        inner: exporter,
        endpoint: endpoint.to_owned(),
        sent: Arc::clone(&sent),
        failed: AtomicU64::new(0),
    };
    let given_ids = GivenIds::default();
    let provider = provider(exporter, given_ids.clone());
    let scope = InstrumentationScope::builder("dishrack")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    Ok(Some(Box::new(OtlpView {
        tracer: provider.tracer_with_scope(scope),
        provider,
        endpoint: endpoint.to_owned(),
        destination: labels.items.clone(),
        spans: Spans::new(labels),
        seen: Vec::new(),
        workers: Vec::new(),
        put_ids: PutIds::of(mark),
        given_ids,
        origin: SystemTime::now() - elapsed,
        made: 0,
        sent,
    })))
}

/// Counts what the collector has taken, and says once why it does not.
#[derive(Debug)]
struct CountingExporter<E> {
    inner: E,
    endpoint: String,
    sent: Arc<AtomicU64>,
    failed: AtomicU64,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let result = self.inner.export(batch).await;
        match &result {
            Ok(()) => {
                self.sent.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => {
                if self.failed.fetch_add(count, Ordering::Relaxed) == 0 {
                    say(&format!(
                        "supervisor: --otlp: cannot send spans to {}: {error}; the work goes on",
                        self.endpoint
                    ));
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Makes what batches spans and passes them on.
fn provider(exporter: impl SpanExporter + 'static, given_ids: GivenIds) -> SdkTracerProvider {
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING_MAX)
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batches)
        .build();
    let mut resource = Resource::builder();
    // Else what the variable says.
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("dishrack");
    }
    let resource =
        resource.with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())));
    SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_span_processor(processor)
        .with_id_generator(given_ids)
        .build()
}

struct OtlpView {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    endpoint: String,
    /// The word for the queue of this run.
    destination: String,
    spans: Spans,
    seen: Vec<SpanOutput>,
    workers: Vec<Arc<str>>,
    put_ids: PutIds,
    given_ids: GivenIds,
    /// The time of the queue's making.
    origin: SystemTime,
    made: u64,
    sent: Arc<AtomicU64>,
}

impl OtlpView {
    fn time(&self, at: Duration) -> SystemTime {
        self.origin + at
    }

    fn attributes(&self, operation: Operation, id: Option<ItemId>) -> Vec<KeyValue> {
        let (name, kind) = operation;
        let mut attributes = vec![
            KeyValue::new("messaging.system", "dishrack"),
            KeyValue::new("messaging.operation.name", name),
            KeyValue::new("messaging.operation.type", kind),
            KeyValue::new("messaging.destination.name", self.destination.clone()),
        ];
        if let Some(id) = id {
            attributes.push(KeyValue::new("messaging.message.id", id.0.to_string()));
        }
        attributes
    }

    fn put(&mut self, id: ItemId, at: Duration) {
        let at = self.time(at);
        let put = self
            .tracer
            .span_builder(format!("put {}", self.destination))
            .with_kind(SpanKind::Producer)
            .with_start_time(at)
            .with_attributes(self.attributes(PUT, Some(id)));
        let ids = self.put_ids.context(id);
        let mut span = self.given_ids.give(&ids, || put.start(&self.tracer));
        self.made += u64::from(span.is_recording());
        span.end_with_timestamp(at);
    }

    fn attempt(&mut self, one: Span) {
        let put = one.id.map(|id| self.put_ids.context(id));
        let links = put.map(Link::with_context);
        let mut attributes = self.attributes(PROCESS, one.id);
        attributes.extend([
            KeyValue::new("dishrack.item", one.item),
            KeyValue::new("dishrack.attempt", i64::from(one.attempt)),
            KeyValue::new("dishrack.worker.pid", i64::from(one.pid)),
        ]);
        if let Some(worker) = self.workers.get(one.row) {
            attributes.push(KeyValue::new("dishrack.worker.name", Arc::clone(worker)));
        }
        if let Some(copy) = one.copy {
            attributes.push(KeyValue::new("dishrack.copy", i64::from(copy)));
        }
        let (outcome, failure) = match one.outcome {
            SpanEnd::Done => ("done", None),
            SpanEnd::Spare(spare) => (words_of(spare), None),
            SpanEnd::BrokenOff => ("broken off", None),
            SpanEnd::Failed(cause) => ("failed", Some(cause)),
        };
        attributes.push(KeyValue::new("dishrack.outcome", outcome));
        if failure.is_some() {
            // What is written of a cause has no bound, so it is the description.
            attributes.push(KeyValue::new("error.type", "failed"));
        }
        let mut span = self
            .tracer
            .span_builder(format!("process {}", self.destination))
            .with_kind(SpanKind::Consumer)
            .with_start_time(self.time(one.start))
            .with_attributes(attributes)
            .with_links(links.into_iter().collect())
            .start(&self.tracer);
        if let Some(cause) = failure {
            span.set_status(Status::error(cause));
        }
        self.made += u64::from(span.is_recording());
        span.end_with_timestamp(self.time(one.end));
    }

    fn write_seen(&mut self) {
        for seen in std::mem::take(&mut self.seen) {
            match seen {
                SpanOutput::Row(name) => self.workers.push(name),
                SpanOutput::Span(span) if span.doing == Doing::Working => self.attempt(span),
                SpanOutput::Span(_)
                | SpanOutput::Born { .. }
                | SpanOutput::Gone { .. }
                | SpanOutput::Mark(_) => {}
            }
        }
    }
}

impl View for OtlpView {
    fn wants_puts(&self) -> bool {
        true
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        if let EventKind::Put { id } = event.kind {
            self.put(id, event.at);
            return Ok(());
        }
        self.spans.see(event, &mut self.seen);
        self.write_seen();
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        self.spans.end(&mut self.seen);
        self.write_seen();
        let ended = self.provider.shutdown_with_timeout(LAST_WORDS);
        let lost = self.made.saturating_sub(self.sent.load(Ordering::Relaxed));
        if lost > 0 {
            let why = ended.err().map_or(String::new(), |why| format!(" ({why})"));
            let (made, endpoint) = (self.made, &self.endpoint);
            say(&format!(
                "supervisor: --otlp: {lost} of {made} spans did not reach {endpoint}{why}"
            ));
        }
        // Work that was done is no failure because nobody could be told of it.
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn a_collector_gets_the_path_of_otlp_unless_it_has_one() {
        let of = |url: &str| endpoint(url).unwrap();
        assert_eq!(
            of("http://127.0.0.1:4318"),
            "http://127.0.0.1:4318/v1/traces"
        );
        assert_eq!(of("http://[::1]:4318/"), "http://[::1]:4318/v1/traces");
        assert_eq!(of("http://host/api/traces"), "http://host/api/traces");
    }

    #[test]
    fn an_address_without_http_is_refused_with_advice() {
        let why = |url: &str| endpoint(url).unwrap_err();
        assert!(why("https://host:4318").contains("without TLS"));
        assert!(why("127.0.0.1:4318").contains("http://"));
        assert!(why("no address").contains("no address"));
    }
}
