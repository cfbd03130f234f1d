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
pub(super) use off::{endpoint, view};
#[cfg(feature = "otlp")]
pub(super) use on::{endpoint, view};
