//! The kinds of workers, and the words for them. It does not know how any of them runs.

use std::fmt;

use serde::{Serialize, Serializer};

/// The kind of a supervisor's workers. Its word is the same in events, messages and options.
///
/// # Example
///
/// ```
/// assert_eq!(dishrack::observe::Mode::Threads.to_string(), "threads");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Processes.
    Processes,
    /// Threads of this process.
    Threads,
    /// Async tasks.
    Tasks,
    /// Whoever puts and joins does the work.
    Sequential,
}

impl Mode {
    /// Returns its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Processes => "processes",
            Mode::Threads => "threads",
            Mode::Tasks => "tasks",
            Mode::Sequential => "sequential",
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
