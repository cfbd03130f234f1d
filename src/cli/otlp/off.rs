//! In builds without OpenTelemetry: the option is an error that says so.

use crate::JoinableQueue;
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

/// Returns none, because no configuration has an address.
///
/// # Errors
/// As [`endpoint`], if one has.
pub(in crate::cli) fn view<T>(
    endpoint: Option<&str>,
    _: &Labels,
    _: &JoinableQueue<T>,
) -> Result<Option<Box<dyn View>>, RunError> {
    match endpoint {
        None => Ok(None),
        Some(url) => self::endpoint(url).map(|_| None).map_err(RunError::usage),
    }
}
