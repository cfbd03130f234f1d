//! One attempt at one item: decode, run, encode. The same code for every link.

use std::any::{Any, type_name};
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::copies;
use crate::payload::{self, Payload};
use dishrack_core::ledger::Cause;

/// The end of a worker's attempt.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With this serialized result.
    Done(Payload),
    Failed(Cause),
    /// It failed and must not be tried again before this rest is over.
    Deferred(Cause, Duration),
    /// It never started.
    Returned,
    /// It could not start, because the machine lacks this, in words.
    Short(String),
}

/// An error of this crate's own handlers, which carries more than text. Displayed, it is that text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "only commands need it")
)]
pub(crate) enum Setback {
    /// The attempt failed.
    Failed(Cause),
    /// It could not begin, because the machine lacks this.
    Short(String),
}

impl Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setback::Failed(cause) => cause.fmt(f),
            Setback::Short(why) => f.write_str(why),
        }
    }
}

/// Runs a handler on a serialized item. A panic of the handler fails the attempt and no more.
pub(crate) fn attempt<T, R, E, F>(handler: &F, body: &[u8], wanted: Wanted) -> Ending
where
    F: Fn(T) -> Result<R, E>,
    T: DeserializeOwned,
    R: Serialize,
    E: Display + 'static,
{
    let item = match decode(body) {
        Ok(item) => item,
        Err(cause) => return Ending::Failed(cause),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| encode(handler(item), wanted)));
    copies::end_copy();
    match outcome {
        Ok(ending) => ending,
        Err(payload) => Ending::Failed(Cause::Panicked(message_of(&*payload))),
    }
}

pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Cause> {
    // A type's own Deserialize is the user's code, so it may panic too.
    match catch_unwind(|| postcard::from_bytes(body)) {
        Ok(Ok(item)) => Ok(item),
        Ok(Err(error)) => Err(Cause::Undecodable(format!("{}: {error}", type_name::<T>()))),
        Err(payload) => Err(Cause::Undecodable(message_of(&*payload))),
    }
}

/// The use of a handler's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None: encoding it is only checked.
    Not,
    Here,
    /// In another process.
    Elsewhere,
}

pub(crate) fn encode<R, E>(result: Result<R, E>, wanted: Wanted) -> Ending
where
    R: Serialize,
    E: Display + 'static,
{
    match result {
        Ok(result) => {
            let serialized = match wanted {
                Wanted::Not => payload::check(&result).map(|()| Payload::default()),
                Wanted::Here => payload::serialize(&result, false),
                Wanted::Elsewhere => payload::serialize(&result, true),
            };
            match serialized {
                Ok(result) => Ending::Done(result),
                Err(error) => Ending::Failed(Cause::Unserializable(error.why())),
            }
        }
        Err(error) => ending_of(&error),
    }
}

fn ending_of<E: Display + 'static>(error: &E) -> Ending {
    let setback: Option<&Setback> = (error as &dyn Any).downcast_ref();
    match setback {
        Some(Setback::Failed(cause)) => Ending::Failed(cause.clone()),
        Some(Setback::Short(why)) => Ending::Short(why.clone()),
        None => Ending::Failed(Cause::Nack(error.to_string())),
    }
}

/// Returns the text of a panic, if it has one.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
