//! The tags of items under way, each at a number that fits into an item's envelope and is used again
//! after its end. It knows neither queues nor results.

use dishrack_core::ledger::ItemId;

/// The place of a tag, which no later tag has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TagPlace {
    pub(super) slot: u32,
    serial: u64,
}

#[derive(Debug)]
struct TagSlot<C> {
    serial: u64,
    /// The tag, and its item's number if that is known; `None` if the slot is free.
    used: Option<(C, Option<ItemId>)>,
}

#[derive(Debug)]
pub(super) struct Slots<C> {
    slots: Vec<TagSlot<C>>,
    free: Vec<u32>,
    /// The number of tags that there ever were.
    serial: u64,
}

impl<C> Default for Slots<C> {
    fn default() -> Self {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
            serial: 0,
        }
    }
}

impl<C> Slots<C> {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn insert(&mut self, tag: C) -> TagPlace {
        self.serial += 1;
        let new = TagSlot {
            serial: self.serial,
            used: Some((tag, None)),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = new;
                slot
            }
            None => {
                self.slots.push(new);
                // 2^32 items of 100 bytes each would not fit into memory.
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 items are under way")
            }
        };
        TagPlace {
            slot,
            serial: self.serial,
        }
    }

    /// Notes the number of an item, unless its tag was removed meanwhile.
    pub(super) fn name(&mut self, place: TagPlace, id: ItemId) {
        let slot = self.slots.get_mut(place.slot as usize);
        if let Some(slot) = slot.filter(|slot| slot.serial == place.serial)
            && let Some((_, known)) = &mut slot.used
        {
            *known = Some(id);
        }
    }

    /// Removes the tag that is in this slot now.
    pub(super) fn remove(&mut self, slot: u32) -> Option<C> {
        let (tag, _) = self.slots.get_mut(slot as usize)?.used.take()?;
        self.free.push(slot);
        Some(tag)
    }

    /// Removes the tag that was inserted at this place, if it is still there.
    pub(super) fn remove_at(&mut self, place: TagPlace) -> Option<C> {
        let slot = self.slots.get(place.slot as usize)?;
        match slot.serial == place.serial {
            true => self.remove(place.slot),
            false => None,
        }
    }

    pub(super) fn take_all(&mut self) -> Vec<C> {
        self.free.clear();
        let slots = std::mem::take(&mut self.slots);
        let used = slots.into_iter().filter_map(|slot| slot.used);
        used.map(|(tag, _)| tag).collect()
    }

    /// Returns the numbers of the items, as far as they are known.
    pub(super) fn ids(&self) -> impl Iterator<Item = ItemId> {
        let used = self.slots.iter().filter_map(|slot| slot.used.as_ref());
        used.filter_map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_its_late_name_is_not_the_new_ones() {
        let mut slots = Slots::default();
        let first = slots.insert("a");
        assert_eq!(slots.remove(first.slot), Some("a"));
        assert_eq!(slots.remove(first.slot), None);
        let second = slots.insert("b");
        assert_eq!(second.slot, first.slot);
        slots.name(first, ItemId(1));
        assert_eq!((slots.ids().count(), slots.len()), (0, 1));
        assert_eq!(slots.remove_at(first), None);
        slots.name(second, ItemId(2));
        assert!(slots.ids().eq([ItemId(2)]));
        assert_eq!(slots.remove_at(second), Some("b"));
        assert!(slots.is_empty());
    }

    #[test]
    fn all_are_taken_in_one_go() {
        let mut slots = Slots::default();
        let places = ["a", "b", "c"].map(|tag| slots.insert(tag));
        slots.remove(places[1].slot);
        assert_eq!(slots.take_all(), ["a", "c"]);
        assert!(slots.is_empty() && slots.remove(places[0].slot).is_none());
        assert_eq!(slots.insert("d").slot, 0);
    }
}
