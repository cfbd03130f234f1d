//! Decodes Redis' answers: entries, the state of the stream, lists of ids. An answer of another
//! form is an error, because answers come over a network.

use std::sync::Arc;

use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Value};

use crate::store::stream::{Steering, StreamState};
use dishrack_core::stream::entry::{Entry, EntryId, Fields};

/// Makes the error for an unexpected answer.
pub(super) fn strange(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, what))
}

pub(super) fn array(value: Value) -> RedisResult<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(strange("a list was expected")),
    }
}

/// Returns a list of exactly this many values.
pub(super) fn row<const N: usize>(value: Value) -> RedisResult<[Value; N]> {
    array(value)?
        .try_into()
        .map_err(|_| strange("a list has another length"))
}

pub(super) fn number(value: Value) -> RedisResult<u64> {
    Ok(u64::from_redis_value(value)?)
}

pub(super) fn text(value: Value) -> RedisResult<String> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::SimpleString(text) => Ok(text),
        _ => Err(strange("a text was expected")),
    }
}

fn bytes(value: Value) -> RedisResult<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        _ => Err(strange("a value was expected")),
    }
}

fn id(value: Value) -> RedisResult<EntryId> {
    text(value)?
        .parse()
        .map_err(|()| strange("the name of an entry was expected"))
}

pub(super) fn ids(value: Value) -> RedisResult<Vec<EntryId>> {
    array(value)?.into_iter().map(id).collect()
}

fn fields(value: Value) -> RedisResult<Fields> {
    let mut values = array(value)?.into_iter();
    let mut fields = Vec::with_capacity(values.len() / 2);
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        fields.push((bytes(name)?, bytes(value)?));
    }
    Ok(Fields(fields))
}

/// The state of the stream, and the number of its changes.
pub(super) type StateVersion = (StreamState, u64);

/// Decodes the state of the stream, as `stream_state` in the prelude gives it.
pub(super) fn stream_state(value: Value) -> RedisResult<StateVersion> {
    let [
        length,
        pending,
        done,
        dead,
        retries,
        refused,
        changes,
        ring,
        gone,
    ] = row(value)?;
    let (unfinished, pending) = (number(length)?, number(pending)?);
    let stream_state = StreamState {
        unfinished,
        // Some of the pending entries may have been deleted.
        untaken: unfinished.saturating_sub(pending),
        taken: pending,
        done: number(done)?,
        dead: number(dead)?,
        retries: number(retries)?,
        refused: number(refused)?,
        ring: text(ring)?,
        gone: number(gone)?,
    };
    Ok((stream_state, number(changes)?))
}

/// Decodes what is ordered of supervisors: the number of the order, and 1 in a pause.
pub(super) fn steering(text: &str, is_of_all: bool) -> Steering {
    let (number, is_paused) = text.split_once(':').unwrap_or_default();
    Steering {
        number: number.parse().unwrap_or(0),
        is_paused: is_paused == "1",
        is_of_all,
    }
}

/// Decodes entries as XRANGE gives them.
pub(super) fn plain_entries(value: Value) -> RedisResult<Vec<Entry>> {
    let entry = |value| {
        let [name, values] = row(value)?;
        Ok(Entry {
            id: id(name)?,
            fields: fields(values)?,
            deliveries: 1,
            ..Entry::default()
        })
    };
    array(value)?.into_iter().map(entry).collect()
}

/// Decodes entries of streams as XREAD and XREADGROUP give them; none if there are none.
pub(super) fn read_entries(value: Value) -> RedisResult<Vec<(String, Vec<Entry>)>> {
    let stream = |value| {
        let [name, entries] = row(value)?;
        Ok((text(name)?, plain_entries(entries)?))
    };
    array(value)?.into_iter().map(stream).collect()
}

/// Decodes entries as the scripts give them: with their deliveries, number and history.
pub(super) fn known_entries(value: Value) -> RedisResult<Vec<Entry>> {
    array(value)?.into_iter().map(known_entry).collect()
}

pub(super) fn known_entry(value: Value) -> RedisResult<Entry> {
    let [name, values, deliveries, given, history] = row(value)?;
    Ok(Entry {
        id: id(name)?,
        fields: fields(values)?,
        deliveries: number(deliveries)?,
        number: text(given)?.parse().ok(),
        history: text(history)?,
    })
}

/// Returns the bytes of a field, to be kept.
pub(super) fn stored(fields: &Fields, body: &[u8]) -> Arc<[u8]> {
    // A letter whose item cannot be read is shown by the field itself.
    match (body.is_empty(), fields.get("item")) {
        (true, Some(item)) => item.into(),
        _ => body.into(),
    }
}
