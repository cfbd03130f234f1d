//! The form of the command line's items on a stream: their text, so that any program can put one
//! with `XADD`, without knowing the use of the item.
//!
//! | field | value |
//! | --- | --- |
//! | `item` | the item's text: a line, or the bytes between two separators |
//!
//! Items without a COMMAND have further fields (`kitchen/text`).

use serde::Serialize;
use serde_bytes::ByteBuf;

use crate::jobs::Job;
use dishrack_core::stream::entry::{Fields, Layout};

/// The item type of the command line, the same for all items.
pub(super) const ITEM_TYPE: &str = "text";

/// Items of a command.
#[derive(Debug)]
pub(super) struct JobText;

impl Layout for JobText {
    fn item_type(&self) -> &str {
        ITEM_TYPE
    }

    fn fields(&self, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        // It was serialized here.
        let text = postcard::from_bytes::<Job>(body)
            .map_or_else(|_| body.to_vec(), |job| job.text.into_vec());
        vec![("item", text)]
    }

    fn body(&self, fields: &Fields) -> Result<Vec<u8>, String> {
        let text = ByteBuf::from(item_of(fields)?);
        serialized(&Job { text })
    }
}

/// Any items, of which only the counts are asked.
#[derive(Debug)]
pub(super) struct Anything;

impl Layout for Anything {
    fn item_type(&self) -> &str {
        ""
    }

    fn fields(&self, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        vec![("item", body.to_vec())]
    }

    fn body(&self, fields: &Fields) -> Result<Vec<u8>, String> {
        item_of(fields)
    }
}

/// Returns a field that must be text if it is there.
pub(super) fn text_of<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a str>, String> {
    let text = fields.get(name).map(std::str::from_utf8).transpose();
    text.map_err(|_| format!("its field `{name}` is no text"))
}

pub(super) fn item_of(fields: &Fields) -> Result<Vec<u8>, String> {
    let item = fields.get("item").ok_or("it has no field `item`")?;
    Ok(item.to_vec())
}

pub(super) fn serialized(item: &impl Serialize) -> Result<Vec<u8>, String> {
    postcard::to_stdvec(item).map_err(|_| "it cannot be serialized".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_any_bytes() {
        let given = [("item", &b"\xff\n"[..]), ("dry", b"x")];
        let given = given.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
        let body = JobText.body(&Fields(given.into())).unwrap();
        assert_eq!(JobText.fields(&body), [("item", b"\xff\n".to_vec())]);
    }
}
