//! Events as JSON, one object a line. Each kind has its name and its fields where it is declared;
//! here is how single fields are written. The names are a contract with other programs: see
//! `docs/events.md`.

use std::sync::Arc;
use std::time::Duration;

use serde::Serializer;
use serde::ser::SerializeMap;

use super::{last_cause, micros};
use dishrack_core::ledger::{Cause, CopyEnd, Counts, Exit, Failure};

pub(super) fn micros_of<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(micros(*time))
}

pub(super) fn failure<S: Serializer>(failed: &Arc<Failure>, to: S) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_map(Some(2))?;
    fields.serialize_entry("attempt", &failed.attempt)?;
    fields.serialize_entry("cause", &failed.cause.to_string())?;
    fields.end()
}

pub(super) fn history<S: Serializer>(history: &Arc<[Failure]>, to: S) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_map(Some(2))?;
    fields.serialize_entry("attempts", &Failure::begun(history))?;
    fields.serialize_entry("cause", &last_cause(history))?;
    fields.end()
}

pub(super) fn micros_if<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => micros_of(time, to),
        None => to.serialize_none(),
    }
}

pub(super) fn cause_if<S: Serializer>(
    cause: &Option<Arc<Cause>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match cause {
        Some(cause) => to.collect_str(cause),
        None => to.serialize_none(),
    }
}

/// The end of a copy, by one word, and what belongs to it.
pub(super) fn copy_end<S: Serializer>(end: &Arc<CopyEnd>, to: S) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_map(Some(3))?;
    fields.serialize_entry("end", end.word())?;
    if let CopyEnd::Disagreed { said, counted } = &**end {
        fields.serialize_entry("said", said)?;
        fields.serialize_entry("counted", counted)?;
    }
    fields.end()
}

/// An exit code and a signal never stand in the same field.
pub(super) fn exit<S: Serializer>(exit: &Exit, to: S) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_map(Some(1))?;
    match exit {
        Exit::Exited(code) => fields.serialize_entry("code", code)?,
        Exit::Signaled(_) => fields.serialize_entry("signal", &exit.signal_name())?,
        Exit::Unknown => fields.serialize_entry("code", &None::<i32>)?,
    }
    fields.end()
}

pub(super) fn counts<S: Serializer>(counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_map(Some(4))?;
    fields.serialize_entry("accepted", &counts.accepted)?;
    fields.serialize_entry("done", &counts.done)?;
    fields.serialize_entry("dead", &counts.dead)?;
    fields.serialize_entry("retries", &counts.retries)?;
    fields.end()
}
