//! The keywords that queues, pools and processes share, as the library takes them.

use std::path::PathBuf;
use std::time::Duration;

use dishrack::{Backoff, Durability, Error, JoinableQueue, Options, RedisOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::item::PyItem;

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

/// The place where the items of a queue are.
#[derive(Debug)]
pub(crate) enum Place {
    /// The memory of this process.
    Memory,
    /// A file that they survive this process in.
    Journal(PathBuf),
    /// A stream that several supervisors share: the address of a Redis, and its name there.
    Redis(String, String),
}

impl Place {
    pub(crate) fn of(journal: Option<PathBuf>, redis: Option<(String, String)>) -> PyResult<Self> {
        match (journal, redis) {
            (None, None) => Ok(Place::Memory),
            (Some(path), None) => Ok(Place::Journal(path)),
            (None, Some((url, name))) => Ok(Place::Redis(url, name)),
            (Some(_), Some(_)) => {
                let words = "a queue has a journal or is on Redis, but not both";
                Err(PyValueError::new_err(words))
            }
        }
    }

    /// Opens a queue whose items are there.
    pub(crate) fn open(self, options: Options) -> Result<JoinableQueue<PyItem>, Error> {
        match self {
            Place::Memory => Ok(JoinableQueue::with(options)),
            Place::Journal(path) => JoinableQueue::journaled(path, Durability::default(), options),
            Place::Redis(url, name) => {
                JoinableQueue::shared(&RedisOptions::new(url, name), options)
            }
        }
    }
}
