//! The prints of items' keys, by which items are known in a later run: content and occurrence, or the
//! one item that was put with a key.

use std::collections::HashMap;

use siphasher::sip128::SipHasher13;

use crate::store::NotedPut;
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
    /// The last put with it.
    put: NotedPut,
}

impl Prints {
    pub(super) fn new(key: [u8; 16], prints: Vec<(ItemId, Print)>) -> Self {
        let mut known = HashMap::with_capacity(prints.len());
        for (item, print) in prints {
            let put = NotedPut::Item(item);
            let one = known.entry(print).or_insert(KnownPrint { left: 0, put });
            one.left += 1;
            one.put = put;
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

    /// Returns what became of the last put with this print, in this run only if that was noted.
    pub(super) fn put_with(&self, print: Print) -> Option<NotedPut> {
        self.known.get(&print).map(|known| known.put)
    }

    /// Notes what became of a put with this print.
    pub(super) fn note(&mut self, print: Print, put: NotedPut) {
        let known = self.known.entry(print);
        known.or_insert(KnownPrint { left: 0, put }).put = put;
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
        prints.note(9, NotedPut::Item(ItemId(6)));
        assert_eq!(
            [7, 7, 7, 8, 9].map(|print| prints.take(print)),
            [true, true, false, true, false]
        );
        let puts = [7, 8, 9, 10].map(|print| prints.put_with(print));
        let items = [Some(5), Some(2), Some(6), None];
        let items = items.map(|item| item.map(|item| NotedPut::Item(ItemId(item))));
        assert_eq!(puts, items);
    }
}
