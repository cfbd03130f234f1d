//! `--otlp`: a view that sends a span for each attempt and each put to an OpenTelemetry collector.
//!
//! Names and attributes are those of the semantic conventions for messaging
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>). An attempt is a trace of its
//! own with a link to its put, because many attempts may come of one put; `ids` says how it knows that. Batching,
//! encoding and sending are the work of the `opentelemetry` crates. A collector that does not answer holds up
//! nothing.

#[cfg(feature = "otlp")]
mod ids;
#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod on;

#[cfg(not(feature = "otlp"))]
use off::view_of;
#[cfg(feature = "otlp")]
use on::view_of;

use super::exit_codes::RunError;
use super::view::View;
use crate::JoinableQueue;
use crate::observe::spans::Labels;

#[cfg(not(feature = "otlp"))]
pub(super) use off::endpoint;
#[cfg(feature = "otlp")]
pub(super) use on::endpoint;

/// Returns the view of what happens to this queue, if it is asked for by an address. The queue has the name
/// that the labels have for its items.
///
/// # Errors
/// The exporter cannot be made.
pub(super) fn view<T>(
    endpoint: Option<&str>,
    labels: &Labels,
    queue: &JoinableQueue<T>,
) -> Result<Option<Box<dyn View>>, RunError> {
    let Some(endpoint) = endpoint else {
        return Ok(None);
    };
    let of_journal = || Some(format!("{:032x}", queue.journal_identity()?));
    let mark = queue.stream_mark().or_else(of_journal);
    view_of(endpoint, labels, mark, queue.elapsed()?)
}
