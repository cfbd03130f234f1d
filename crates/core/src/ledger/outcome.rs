//! The outcome of an attempt, in one type: for the handler's side, on its way between two
//! processes, and for the ledger.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Cause;

/// The outcome of an attempt. `R` is the form of its result at this place: bytes in a record or in
/// memory, or what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<R> {
    /// It is done, with this result.
    Done(R),
    /// It failed.
    Failed {
        /// The cause.
        cause: Cause,
        /// The rest of the item before its next attempt; `None`: as its queue's options say.
        rest: Option<Duration>,
    },
    /// It never began: the item goes back uncounted.
    Returned,
    /// It could not begin, because the machine lacks this, in words.
    Short(String),
}

impl<R> Outcome<R> {
    /// Makes a failure that is tried again as the queue's options say.
    #[must_use]
    pub fn failed(cause: Cause) -> Self {
        Outcome::Failed { cause, rest: None }
    }

    /// Returns `true` if it never began.
    #[must_use]
    pub fn is_return(&self) -> bool {
        match self {
            Outcome::Returned | Outcome::Short(_) => true,
            Outcome::Done(_) | Outcome::Failed { .. } => false,
        }
    }

    /// Returns `true` if its consequences depend on the time.
    #[must_use]
    pub fn needs_time(&self) -> bool {
        match self {
            Outcome::Failed { .. } | Outcome::Short(_) => true,
            Outcome::Done(_) | Outcome::Returned => false,
        }
    }

    /// Converts the result.
    #[must_use]
    pub fn map<S>(self, form: impl FnOnce(R) -> S) -> Outcome<S> {
        match self {
            Outcome::Done(result) => Outcome::Done(form(result)),
            Outcome::Failed { cause, rest } => Outcome::Failed { cause, rest },
            Outcome::Returned => Outcome::Returned,
            Outcome::Short(why) => Outcome::Short(why),
        }
    }

    /// Converts the result, where that may fail.
    ///
    /// # Errors
    /// That of `form`.
    pub fn try_map<S, E>(self, form: impl FnOnce(R) -> Result<S, E>) -> Result<Outcome<S>, E> {
        match self.map(form) {
            Outcome::Done(result) => result.map(Outcome::Done),
            Outcome::Failed { cause, rest } => Ok(Outcome::Failed { cause, rest }),
            Outcome::Returned => Ok(Outcome::Returned),
            Outcome::Short(why) => Ok(Outcome::Short(why)),
        }
    }

    /// Returns the longest text that it carries, to be cut where it is too long for a record.
    pub fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Outcome::Failed { cause, .. } => cause.text_mut(),
            Outcome::Short(why) => Some(why),
            Outcome::Done(_) | Outcome::Returned => None,
        }
    }

    /// Returns the longest text that it carries.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Outcome::Failed { cause, .. } => cause.text(),
            Outcome::Short(why) => Some(why),
            Outcome::Done(_) | Outcome::Returned => None,
        }
    }
}
