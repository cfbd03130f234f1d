//! Items that were accepted one after the other, as bytes: the length of each, and the item.
//!
//! Lengths are varints: seven bits a byte, the lowest first. A journal's row of items holds the same
//! bytes, so what was copied once when an item was accepted is written as it is. It knows no row.

use alloc::vec::Vec;

use super::ItemId;

/// A run of items. It can be added to until it is full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemRun {
    count: usize,
    bytes: Vec<u8>,
}

impl ItemRun {
    /// The greatest size in bytes; a run holds one item at least.
    pub const BYTES_MAX: usize = 1 << 20;
    /// The greatest number of items, so that a slow item keeps few others in a journal's file.
    pub const ITEMS_MAX: usize = 4096;

    /// Makes a run of this item.
    pub(super) fn of(item: &[u8]) -> Self {
        let mut run = ItemRun::default();
        run.push(item);
        run
    }

    /// Reads a run's bytes; `None` if they do not hold at least one item.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<(u64, Items<'_>)> {
        let (mut rest, mut count) = (bytes, 0);
        while !rest.is_empty() {
            take_bytes(&mut rest)?;
            count += 1;
        }
        (count > 0).then_some((count, Items(bytes)))
    }

    /// Returns `true` if a run that is not empty has no room for an item of this size.
    #[must_use]
    pub fn is_full_with(&self, bytes: usize) -> bool {
        self.count > 0
            && (self.count >= Self::ITEMS_MAX || self.bytes.len() + bytes > Self::BYTES_MAX)
    }

    /// Adds an item.
    #[inline]
    pub fn push(&mut self, item: &[u8]) {
        self.count += 1;
        put_varint(&mut self.bytes, item.len() as u64);
        self.bytes.extend_from_slice(item);
    }

    /// Adds the items of another run, if all of them find room.
    ///
    /// # Errors
    /// They do not: the other run.
    pub fn append(&mut self, other: ItemRun) -> Result<(), ItemRun> {
        if self.count == 0 {
            *self = other;
            return Ok(());
        }
        let is_full = self.count + other.count > Self::ITEMS_MAX
            || self.bytes.len() + other.bytes.len() > Self::BYTES_MAX;
        if is_full {
            return Err(other);
        }
        self.count += other.count;
        self.bytes.extend_from_slice(&other.bytes);
        Ok(())
    }

    /// Returns the number of its items.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count as u64
    }

    /// Returns its items.
    #[must_use]
    pub fn items(&self) -> Items<'_> {
        Items(&self.bytes)
    }

    /// Returns the last of its items, if the first has this number.
    #[must_use]
    pub fn last(&self, first: ItemId) -> ItemId {
        ItemId(first.0 + self.count().saturating_sub(1))
    }

    /// Returns its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The items of a run.
#[derive(Debug, Clone)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        take_bytes(&mut self.0)
    }
}

/// Takes a length and so many bytes from the front.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run_of(items: &[Vec<u8>]) -> ItemRun {
        let mut run = ItemRun::default();
        items.iter().for_each(|item| run.push(item));
        run
    }

    proptest! {
        #[test]
        fn what_is_added_is_there(
            items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            at: prop::sample::Index,
            number: u64,
        ) {
            let (front, back) = items.split_at(at.index(items.len()));
            let mut run = run_of(front);
            prop_assert_eq!(run.append(run_of(back)), Ok(()));
            prop_assert_eq!(&run, &run_of(&items));
            prop_assert!(run.items().eq(items.iter().map(Vec::as_slice)));
            let bytes = run.into_bytes();
            let (count, decoded) = ItemRun::of_bytes(&bytes).unwrap();
            prop_assert_eq!(count, items.len() as u64);
            prop_assert!(decoded.eq(items.iter().map(Vec::as_slice)));

            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            prop_assert_eq!(take_varint(&mut &bytes[..]), Some(number));
        }

        #[test]
        fn any_bytes_are_a_run_or_are_not(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let read = ItemRun::of_bytes(&bytes).map(|(count, items)| (count, items.count() as u64));
            prop_assert!(read.is_none_or(|(count, there)| count == there));
        }
    }

    #[test]
    fn a_run_is_full_at_its_number_and_at_its_size() {
        let mut run = ItemRun::default();
        assert!(
            !run.is_full_with(ItemRun::BYTES_MAX + 1),
            "one has room in any case"
        );
        for _ in 0..ItemRun::ITEMS_MAX {
            assert!(!run.is_full_with(0));
            run.push(&[]);
        }
        assert!(run.is_full_with(0));
        let more = ItemRun::of(&[]);
        assert_eq!(run.append(more.clone()), Err(more));
        let mut run = ItemRun::of(&[7; ItemRun::BYTES_MAX / 2]);
        assert!(!run.is_full_with(9) && run.is_full_with(ItemRun::BYTES_MAX / 2));
        let more = ItemRun::of(&[7; ItemRun::BYTES_MAX / 2]);
        assert_eq!(run.append(more.clone()), Err(more));
        assert_eq!(run.append(ItemRun::of(&[7; 9])), Ok(()));
    }
}
