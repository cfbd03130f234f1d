//! In builds without OpenTelemetry: the option is an error that says so.

use std::time::Duration;

use crate::cli::exit_codes::RunError;
use crate::cli::view::View;
use crate::observe::spans::Labels;

/// Refuses.
///
/// # Errors
/// Always: how to build it otherwise.
pub(in crate::cli) fn endpoint(_: &str) -> Result<String, String> {
    let how = "cargo build --release --features otlp";
    Err(format!(
        "--otlp: this build has no OpenTelemetry; build it with `{how}`"
    ))
}

/// Refuses, too.
///
/// # Errors
/// As [`endpoint`].
pub(super) fn view_of(
    url: &str,
    _: &Labels,
    _: Option<String>,
    _: Duration,
) -> Result<Option<Box<dyn View>>, RunError> {
    endpoint(url).map(|_| None).map_err(RunError::usage)
}
