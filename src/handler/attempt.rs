//! One attempt at one item: decode, run, encode. The same code for every link.

use std::any::{Any, type_name};
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::copies;
use crate::payload::{self, Payload, reason};
use crate::sys::threads::message_of;
use dishrack_core::ledger::{Cause, Outcome};

/// An error of this crate's own handlers, which carries more than text. Displayed, it is that text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setback {
    /// The attempt failed.
    Failed(Cause),
    /// It could not begin, because the machine lacks this.
    Short(String),
}

impl<R> From<Setback> for Outcome<R> {
    fn from(setback: Setback) -> Self {
        match setback {
            Setback::Failed(cause) => Outcome::failed(cause),
            Setback::Short(why) => Outcome::Short(why),
        }
    }
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
pub(crate) fn attempt<T, R, E, F>(handler: &F, body: &[u8], wanted: Wanted) -> Outcome<Payload>
where
    F: Fn(T) -> Result<R, E>,
    T: DeserializeOwned,
    R: Serialize,
    E: Display + 'static,
{
    let item = match decode(body) {
        Ok(item) => item,
        Err(cause) => return Outcome::failed(cause),
    };
    let caught = catch_unwind(AssertUnwindSafe(|| encode(handler(item), wanted)));
    copies::end_copy();
    match caught {
        Ok(outcome) => outcome,
        Err(payload) => Outcome::failed(Cause::Panicked(message_of(&*payload))),
    }
}

pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Cause> {
    // A type's own Deserialize is the user's code, so it may panic too.
    match catch_unwind(|| postcard::from_bytes(body)) {
        Ok(Ok(item)) => Ok(item),
        Ok(Err(error)) => {
            let why = reason::take().unwrap_or_else(|| error.to_string());
            Err(Cause::Undecodable(format!("{}: {why}", type_name::<T>())))
        }
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

pub(crate) fn encode<R, E>(result: Result<R, E>, wanted: Wanted) -> Outcome<Payload>
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
                Ok(result) => Outcome::Done(result),
                Err(error) => Outcome::failed(Cause::Unserializable(error.why())),
            }
        }
        Err(error) => outcome_of(&error),
    }
}

fn outcome_of<E: Display + 'static>(error: &E) -> Outcome<Payload> {
    let setback: Option<&Setback> = (error as &dyn Any).downcast_ref();
    match setback {
        Some(setback) => setback.clone().into(),
        None => Outcome::failed(Cause::Nack(error.to_string())),
    }
}
