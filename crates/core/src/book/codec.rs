//! The bytes of a row: a checksum, then the row's body.
//!
//! The checksum covers the table and the key as well, so a row in another's place is noticed.
//! Numbers are varints: seven bits a byte, the lowest first. Decoding trusts no byte.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::tables::{Key, Table};
use crate::book::Print;
use crate::ledger::{Attempt, Failure};

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

pub(super) fn put_varint(body: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        body.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    body.push((number & 0x7f) as u8);
}

pub(super) fn take_varint(body: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = body.split_first()?;
        *body = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A batch while it is filled: the length and the bytes of each item.
#[derive(Default)]
pub(super) struct BatchRow {
    pub(super) count: u64,
    bodies: Vec<u8>,
}

impl BatchRow {
    pub(super) fn is_full_with(&self, bytes: usize) -> bool {
        self.count >= super::BATCH_ITEMS_MAX as u64
            || self.bodies.len() + bytes > super::BATCH_BYTES_MAX
    }

    pub(super) fn push(&mut self, item: &[u8]) {
        self.count += 1;
        put_varint(&mut self.bodies, item.len() as u64);
        self.bodies.extend_from_slice(item);
    }

    pub(super) fn into_body(self) -> Vec<u8> {
        self.bodies
    }
}

#[derive(Debug, Clone)]
pub(super) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// Reads a batch's body; `None` if it does not hold at least one item.
    pub(super) fn of_body(body: &'a [u8]) -> Option<(u64, Self)> {
        let (mut rest, mut count) = (body, 0);
        while !rest.is_empty() {
            take_item(&mut rest)?;
            count += 1;
        }
        (count > 0).then_some((count, Items(body)))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        take_item(&mut self.0)
    }
}

fn take_item<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(body)?).ok()?;
    let (item, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(item)
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
    let attempt = postcard::from_bytes(take_item(&mut body)?).ok()?;
    Some((attempt, body.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes(
            items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            keyed in prop::collection::vec(prop::option::of(any::<u128>()), 1..40),
            number: u64,
        ) {
            let mut batch = BatchRow::default();
            items.iter().for_each(|item| batch.push(item));
            let body = batch.into_body();
            let (count, decoded) = Items::of_body(&body).unwrap();
            prop_assert_eq!(count, items.len() as u64);
            prop_assert!(decoded.eq(items.iter().map(Vec::as_slice)));

            let mut row = PrintRow::default();
            let expected: Vec<(u64, u128)> = (7..).zip(&keyed).filter_map(|(id, p)| Some((id, (*p)?))).collect();
            expected.iter().for_each(|(id, print)| row.push(id - 7, *print));
            let decoded = prints(7, &row.into_body());
            prop_assert_eq!(decoded.unwrap_or_default(), expected);

            let mut body = Vec::new();
            put_varint(&mut body, number);
            prop_assert_eq!(take_varint(&mut &body[..]), Some(number));
        }

        #[test]
        fn any_bytes_decode_or_do_not(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Items::of_body(&body).map(|(_, items)| items.count());
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
