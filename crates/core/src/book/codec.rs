//! The bytes of a row: a checksum, then the row's body.
//!
//! The checksum covers the table and the key as well, so a row in another's place is noticed.
//! Numbers are varints, as in a [`ItemRun`](crate::ledger::ItemRun), whose bytes are the body of a row of
//! items. Decoding trusts no byte.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::tables::{Key, Table};
use crate::book::Print;
use crate::ledger::{Attempt, Failure, put_varint, take_bytes, take_varint};

const CHECKSUM_BYTES: usize = 4;
const PRINT_BYTES: usize = 16;

fn checksum(table: Table, key: Key, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(table.name().as_bytes());
    hasher.update(&key.0.to_le_bytes());
    hasher.update(&key.1.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Makes the row that holds this body.
pub(super) fn seal(table: Table, key: Key, mut body: Vec<u8>) -> Vec<u8> {
    let sum = checksum(table, key, &body);
    body.extend_from_slice(&sum.to_le_bytes());
    body
}

/// Returns the body of a row; `None` if its checksum is wrong.
pub(super) fn open(table: Table, key: Key, row: &[u8]) -> Option<&[u8]> {
    let (body, sum) = row.split_at_checked(row.len().checked_sub(CHECKSUM_BYTES)?)?;
    (checksum(table, key, body).to_le_bytes() == sum).then_some(body)
}

/// The prints of a batch while it is filled: runs of items with keys, and the gaps between them.
#[derive(Default)]
pub(super) struct PrintRow {
    pub(super) count: u64,
    body: Vec<u8>,
    run: Vec<u8>,
    /// The number of items without a key before the run.
    skipped: u64,
    /// The place behind the last print.
    next: u64,
}

impl PrintRow {
    /// Adds the print of the item in this place of its batch.
    pub(super) fn push(&mut self, place: u64, print: Print) {
        if place != self.next {
            self.end_run();
            self.skipped = place - self.next;
        }
        self.run.extend_from_slice(&print.to_le_bytes());
        self.next = place + 1;
        self.count += 1;
    }

    fn end_run(&mut self) {
        if !self.run.is_empty() {
            put_varint(&mut self.body, self.skipped);
            put_varint(&mut self.body, (self.run.len() / PRINT_BYTES) as u64);
            self.body.append(&mut self.run);
            self.skipped = 0;
        }
    }

    pub(super) fn into_body(mut self) -> Vec<u8> {
        self.end_run();
        self.body
    }
}

/// Decodes the prints of a row, each with its item; `None` if the bytes are no prints.
pub(super) fn prints(first: u64, mut body: &[u8]) -> Option<Vec<(u64, Print)>> {
    let mut prints = Vec::with_capacity(body.len() / PRINT_BYTES);
    let mut item = first;
    while !body.is_empty() {
        item = item.checked_add(take_varint(&mut body)?)?;
        let run = take_varint(&mut body)?;
        let length = usize::try_from(run).ok()?.checked_mul(PRINT_BYTES)?;
        let (run, rest) = body.split_at_checked(length)?;
        body = rest;
        for print in run.chunks_exact(PRINT_BYTES) {
            prints.push((item, Print::from_le_bytes(print.try_into().ok()?)));
            item = item.checked_add(1)?;
        }
    }
    (!prints.is_empty()).then_some(prints)
}

/// Encodes a loose item: the number of its failures that do not count, and its bytes.
pub(super) fn loose(forgiven: u64, item: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(item.len() + 5);
    put_varint(&mut body, forgiven);
    body.extend_from_slice(item);
    body
}

pub(super) fn loose_of(mut body: &[u8]) -> Option<(u64, Arc<[u8]>)> {
    let forgiven = take_varint(&mut body)?;
    Some((forgiven, body.into()))
}

pub(super) fn encode(failure: &Failure) -> Vec<u8> {
    // Numbers, strings and enums always serialize, and an empty row would be noticed on reading.
    postcard::to_allocvec(failure).unwrap_or_default()
}

pub(super) fn failure_of(body: &[u8]) -> Option<Failure> {
    postcard::from_bytes(body).ok()
}

/// The number of an item's bytes that are kept with an ended attempt, enough to name the item.
const NAMED_BYTES: usize = 5000;

/// Encodes an ended attempt: the length of its own part, that part, and the beginning of its item.
pub(super) fn unshown(attempt: &Attempt, item: &[u8]) -> Vec<u8> {
    // As for failures.
    let attempt = postcard::to_allocvec(attempt).unwrap_or_default();
    let item = &item[..item.len().min(NAMED_BYTES)];
    let mut body = Vec::with_capacity(attempt.len() + item.len() + 3);
    put_varint(&mut body, attempt.len() as u64);
    body.extend_from_slice(&attempt);
    body.extend_from_slice(item);
    body
}

pub(super) fn unshown_of(mut body: &[u8]) -> Option<(Attempt, Arc<[u8]>)> {
    let attempt = postcard::from_bytes(take_bytes(&mut body)?).ok()?;
    Some((attempt, body.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes(
            keyed in prop::collection::vec(prop::option::of(any::<u128>()), 1..40),
        ) {
            let mut row = PrintRow::default();
            let expected: Vec<(u64, u128)> = (7..).zip(&keyed).filter_map(|(id, p)| Some((id, (*p)?))).collect();
            expected.iter().for_each(|(id, print)| row.push(id - 7, *print));
            let decoded = prints(7, &row.into_body());
            prop_assert_eq!(decoded.unwrap_or_default(), expected);
        }

        #[test]
        fn any_bytes_decode_or_do_not(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (prints(1, &body), loose_of(&body), failure_of(&body), unshown_of(&body));
        }

        #[test]
        fn a_changed_row_is_noticed(body in prop::collection::vec(any::<u8>(), 0..60), at: usize, bit in 0..8) {
            let key = (5, 0);
            let mut row = seal(Table::Batch, key, body.clone());
            prop_assert_eq!(open(Table::Batch, key, &row), Some(&body[..]));
            prop_assert_eq!(open(Table::Batch, (6, 0), &row), None);
            prop_assert_eq!(open(Table::Dead, key, &row), None);
            let at = at % row.len();
            row[at] ^= 1_u8 << bit;
            prop_assert_eq!(open(Table::Batch, key, &row), None);
        }
    }
}
