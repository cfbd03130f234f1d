//! PURE: the numbers of items in a run that leaves some of them out.
//!
//! A queue numbers its items from 1 on, and people number them by their place in the input. The two
//! differ where a run goes on from a job log.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use dishrack_core::ledger::ItemId;

/// The places in the input that are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbering {
    /// The first and the last of each row of such places, in their order, with others between.
    left_out: Vec<(u64, u64)>,
}

impl Numbering {
    /// Makes the numbering without these places.
    pub(crate) fn without(places: &BTreeSet<u64>) -> Self {
        let mut left_out: Vec<(u64, u64)> = Vec::new();
        for place in places.iter().copied().filter(|place| *place > 0) {
            match left_out.last_mut() {
                Some((_, last)) if *last + 1 == place => *last = place,
                _ => left_out.push((place, place)),
            }
        }
        Numbering { left_out }
    }

    /// Returns `true` if what stands at this place in the input is left out.
    pub(crate) fn leaves_out(&self, place: u64) -> bool {
        let after = self.left_out.partition_point(|(first, _)| *first <= place);
        after > 0 && self.left_out[after - 1].1 >= place
    }

    /// Returns the place in the input of an item.
    pub(crate) fn place_of(&self, id: ItemId) -> u64 {
        let mut place = id.0;
        for (first, last) in &self.left_out {
            if *first > place {
                break;
            }
            place += last - first + 1;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn items_are_what_is_left_in_its_order(places in proptest::collection::btree_set(1..40_u64, 0..40)) {
            let numbering = Numbering::without(&places);
            let left: Vec<u64> = (1..60).filter(|place| !places.contains(place)).collect();
            for (place, id) in left.iter().zip(1..) {
                prop_assert_eq!(numbering.place_of(ItemId(id)), *place);
            }
            for place in 1..60 {
                prop_assert_eq!(numbering.leaves_out(place), places.contains(&place));
            }
        }
    }
}
