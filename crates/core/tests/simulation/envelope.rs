//! The items of this world's queue: each has a number of its own, and some the print of a key.

use dishrack_core::book::Stored;
use dishrack_core::ledger::Weight;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) number: u64,
    body: [u8; 8],
    pub(crate) print: Option<u128>,
}

impl Envelope {
    pub(crate) fn new(number: u64, key: Option<u64>) -> Self {
        Envelope {
            number,
            body: number.to_le_bytes(),
            print: key.map(u128::from),
        }
    }

    pub(crate) fn of_body(body: &[u8]) -> Self {
        let body = body.try_into().expect("the disk keeps whole numbers");
        Envelope {
            number: u64::from_le_bytes(body),
            body,
            print: None,
        }
    }
}

impl Weight for Envelope {
    /// Returns the weight; some are so heavy that a worker may hold only two.
    fn weight(&self) -> usize {
        match self.number % 7 {
            0 => 60_000,
            _ => 8,
        }
    }

    /// Returns its bytes, except where it has a print, or is one of some that are kept whole.
    fn small_body(&self) -> Option<&[u8]> {
        let is_small = self.print.is_none() && !self.number.is_multiple_of(5);
        is_small.then_some(&self.body)
    }
}

impl Stored for Envelope {
    fn body(&self) -> &[u8] {
        &self.body
    }

    fn print(&self) -> Option<u128> {
        self.print
    }
}
