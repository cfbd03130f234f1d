//! The keywords that queues, pools and processes share, as the library takes them.

use std::time::Duration;

use dishrack::{Backoff, Options};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Returns a time of at least 0.
pub(crate) fn time_of(option: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{option} must be a time in seconds")))
}

/// Returns the options of a queue. `backoff`: the seconds of the first rest, and of the longest.
pub(crate) fn options_of(
    max_attempts: Option<u32>,
    backoff: Option<(f64, f64)>,
) -> PyResult<Options> {
    let mut options = Options::default();
    if let Some(attempts) = max_attempts {
        if attempts == 0 {
            return Err(PyValueError::new_err("max_attempts must be at least 1"));
        }
        options = options.max_attempts(attempts);
    }
    if let Some((base, cap)) = backoff {
        let (base, cap) = (time_of("backoff", base)?, time_of("backoff", cap)?);
        options = options.backoff(Backoff::exponential(base, cap));
    }
    Ok(options)
}
