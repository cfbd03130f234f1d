//! One attempt at one item: decode, run, encode. The same code for every link.

use std::any::{Any, type_name};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::broker::Ending;
use crate::ledger::Cause;

/// Runs a handler on a serialized item. A panic of the handler fails the attempt and no more.
pub(crate) fn attempt<T, R, E, F>(handler: &F, body: &[u8]) -> Ending
where
    F: Fn(T) -> Result<R, E>,
    T: DeserializeOwned,
    R: Serialize,
    E: Display,
{
    let item = match decode(body) {
        Ok(item) => item,
        Err(cause) => return Ending::Failed(cause),
    };
    match catch_unwind(AssertUnwindSafe(|| encode(handler(item)))) {
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

pub(crate) fn encode<R: Serialize, E: Display>(result: Result<R, E>) -> Ending {
    match result {
        Ok(result) => match postcard::to_stdvec(&result) {
            Ok(bytes) => Ending::Done(bytes.into_boxed_slice()),
            Err(error) => Ending::Failed(Cause::Unserializable(error.to_string())),
        },
        Err(error) => Ending::Failed(Cause::Nack(error.to_string())),
    }
}

/// What a panic said, if it said it in text.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
