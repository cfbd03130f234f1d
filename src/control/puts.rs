//! Puts of clients: all lines of a body are read before the first is put, and a put with a key puts
//! nothing twice, also not after the run was killed if the queue has a journal. It knows no request.

use hyper::StatusCode;
use hyper::header::HeaderMap;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::failure::RequestFailure;
use super::keys::{Begun, KeyedPut, PutKeys};
use super::target::ControlTarget;
use crate::queue::put_while::{Bundle, BundleAnswer};
use crate::store::NotedPut;

/// The longest key of a put, in bytes.
const KEY_BYTES_MAX: usize = 255;

pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<String>, RequestFailure> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let message = format!("Idempotency-Key: 1 to {KEY_BYTES_MAX} letters of ASCII");
            Err(RequestFailure::bad("bad_key", message))
        }
    }
}

/// Puts the items of a body, from where an earlier put with its key has ended.
pub(super) fn put_whole(
    target: &dyn ControlTarget,
    keys: &Mutex<PutKeys>,
    key: Option<&str>,
    body: &[u8],
    is_wanted: &dyn Fn() -> bool,
) -> Result<KeyedPut, RequestFailure> {
    if target.is_on_a_stream() {
        let message = "this run shares its items by a stream: put them there, as with \
                       `supervisor put --redis URL`";
        return Err(RequestFailure::conflict("on_a_stream", message));
    }
    if let Some(why) = target.refuses_puts() {
        return Err(RequestFailure::conflict("not_possible", why));
    }
    let advice = match target.takes_commands() {
        true => "; items of this queue are commands, which `supervisor add -- COMMAND` adds",
        false => "",
    };
    let mut bundle = target.read(body, key).map_err(|(line, why)| {
        let message = format!("line {line}: {why}; nothing was put{advice}");
        RequestFailure::bad("bad_item", message)
    })?;
    let mut put = match key {
        None => KeyedPut::default(),
        Some(key) => match keys.lock().begin(key, Sha256::digest(body).into()) {
            Begun::From(put) => put,
            Begun::UnderWay => {
                let message = "a put with this key (Idempotency-Key, --key) is under way";
                return Err(RequestFailure::conflict("under_way", message));
            }
            Begun::Reused => return Err(reused()),
        },
    };
    if put.is_whole {
        return Ok(put);
    }
    let end = put_rest(target, &mut bundle, &mut put, is_wanted);
    put.is_whole = end.is_ok();
    if let Some(key) = key {
        keys.lock().end(key, put.clone());
    }
    end.map(|()| put)
}

/// Puts what is not put yet, and notes it.
fn put_rest(
    target: &dyn ControlTarget,
    bundle: &mut Bundle,
    put: &mut KeyedPut,
    is_wanted: &dyn Fn() -> bool,
) -> Result<(), RequestFailure> {
    // This process may have forgotten it, or an earlier one has put it.
    let is_same = target.find_earlier(bundle)?;
    if put.handled() == 0 && !is_same {
        return Err(reused());
    }
    bundle.skip(usize::try_from(put.handled()).unwrap_or(usize::MAX));
    let mut note = |answer| match answer {
        BundleAnswer::Accepted(run) => put.add(run.first.0, run.last.0),
        BundleAnswer::Noted(NotedPut::Item(item)) => put.add(item.0, item.0),
        BundleAnswer::Noted(NotedPut::Duplicate { of }) => put.add_duplicate(of.0),
    };
    target.put(bundle, is_wanted, &mut note).map_err(|error| {
        let mut failure = match error.is_full() {
            // Its client is gone, or the run ends.
            true => RequestFailure::closed(),
            false => RequestFailure::from(error),
        };
        let (count, left) = (put.count(), bundle.len());
        if count > 0 || left > 1 {
            failure.message += &format!("; {count} items were put, and {left} were not");
        }
        failure
    })
}

fn reused() -> RequestFailure {
    let message = "this key (Idempotency-Key, --key) was used for other items";
    RequestFailure::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", message)
}
