//! The prints of items' keys, by which items of an earlier run are known: content and occurrence.

use std::collections::HashMap;

use siphasher::sip128::SipHasher13;

use dishrack_core::book::Print;

/// A multiset of prints, and the key that makes them. The key is random and the journal's own, so
/// two items with the same print cannot be made on purpose.
#[derive(Debug)]
pub(super) struct Prints {
    key: [u8; 16],
    /// The number of times that each was put in earlier runs, less those asked for since.
    left: HashMap<Print, u32>,
}

impl Prints {
    pub(super) fn new(key: [u8; 16], prints: Vec<Print>) -> Self {
        let mut left = HashMap::with_capacity(prints.len());
        for print in prints {
            *left.entry(print).or_insert(0) += 1;
        }
        Prints { key, left }
    }

    pub(super) fn of(&self, key: &[u8]) -> Print {
        SipHasher13::new_with_key(&self.key).hash(key).as_u128()
    }

    /// Takes one of this print. Returns `false` if none is left.
    pub(super) fn take(&mut self, print: Print) -> bool {
        let Some(left) = self.left.get_mut(&print) else {
            return false;
        };
        *left -= 1;
        if *left == 0 {
            self.left.remove(&print);
        }
        true
    }
}
