//! The prints of items' keys, by which items are known in a later run: content and occurrence, or the
//! one item that was put with a key.

use std::collections::HashMap;

use siphasher::sip128::SipHasher13;

use dishrack_core::book::Print;
use dishrack_core::ledger::ItemId;

/// A multiset of prints, and the key that makes them. The key is random and the journal's own, so
/// two items with the same print cannot be made on purpose.
#[derive(Debug)]
pub(super) struct Prints {
    key: [u8; 16],
    known: HashMap<Print, KnownPrint>,
}

#[derive(Debug)]
struct KnownPrint {
    /// The number of times that it was put in earlier runs, less those asked for since.
    left: u32,
    /// The item that was put with it last.
    item: ItemId,
}

impl Prints {
    pub(super) fn new(key: [u8; 16], prints: Vec<(ItemId, Print)>) -> Self {
        let mut known = HashMap::with_capacity(prints.len());
        for (item, print) in prints {
            let one = known.entry(print).or_insert(KnownPrint { left: 0, item });
            one.left += 1;
            one.item = item;
        }
        Prints { key, known }
    }

    pub(super) fn of(&self, key: &[u8]) -> Print {
        SipHasher13::new_with_key(&self.key).hash(key).as_u128()
    }

    /// Takes one of this print. Returns `false` if none is left.
    pub(super) fn take(&mut self, print: Print) -> bool {
        match self.known.get_mut(&print) {
            Some(KnownPrint { left, .. }) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Returns the item that was put with this print, in this run only if that was noted.
    pub(super) fn item(&self, print: Print) -> Option<ItemId> {
        self.known.get(&print).map(|known| known.item)
    }

    /// Notes the item that was put with this print.
    pub(super) fn note(&mut self, print: Print, item: ItemId) {
        let known = self.known.entry(print);
        known.or_insert(KnownPrint { left: 0, item }).item = item;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_is_taken_as_often_as_it_was_put_and_names_the_last_item() {
        let earlier = [(1, 7), (2, 8), (5, 7)];
        let earlier = earlier.map(|(item, print)| (ItemId(item), print)).to_vec();
        let mut prints = Prints::new([0; 16], earlier);
        prints.note(9, ItemId(6));
        assert_eq!(
            [7, 7, 7, 8, 9].map(|print| prints.take(print)),
            [true, true, false, true, false]
        );
        let items = [7, 8, 9, 10].map(|print| prints.item(print).map(|item| item.0));
        assert_eq!(items, [Some(5), Some(2), Some(6), None]);
    }
}
