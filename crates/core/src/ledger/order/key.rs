//! Keys: how many more of a key's items may be with holders, and whose turn it is. They know no priorities, and of
//! items only the one that is tried again.
//!
//! The numbers that change with each item lie apart from the rest and are small: two processors change them by
//! turns, and each line of their caches that has some goes back and forth.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::rank::LineId;
use crate::ledger::ItemId;

/// The place of a key; 0 is that of items without a key, which is not bounded.
pub(super) type KeyId = u32;

/// An item that keeps its key's turn, because it is tried again.
#[derive(Debug, Clone, Copy)]
struct KeyTurn {
    id: ItemId,
    line: LineId,
    is_resting: bool,
}

/// The numbers of a key that change with each item.
#[derive(Debug, Clone, Copy)]
struct KeyCounts {
    /// The number of its items that holders may have besides those that they have.
    room: u32,
    waiting: u32,
}

const _: () = assert!(size_of::<KeyCounts>() == 8);

impl KeyCounts {
    fn new(room: u32) -> Self {
        KeyCounts { room, waiting: 0 }
    }
}

/// The flags of a key, which are asked for each item and change seldom.
#[derive(Debug, Clone, Copy, Default)]
struct KeyFlags {
    /// True if an item that is tried again keeps its turn.
    has_turn: bool,
    /// True if some of its lines are parked.
    has_parked: bool,
    /// True if it is listed as one that has room, and parked lines.
    is_listed: bool,
    /// True if it is among those that may be dropped.
    is_noted: bool,
}

/// The rest of a key, which changes seldom.
#[derive(Debug, Default)]
struct KeyDetails {
    turn: Option<Box<KeyTurn>>,
    /// Those of its lines that are offered again when it has room, by rising priority.
    parked: Vec<(i8, LineId)>,
    /// The number of its items that rest or are not durable yet.
    elsewhere: u32,
    /// The last one of its lines; each names the one before it.
    last_line: LineId,
    /// The key itself.
    number: Option<u64>,
}

#[derive(Debug)]
pub(super) struct RankKeys {
    per_key: u32,
    counts: Vec<KeyCounts>,
    /// The rest of them, at the same places.
    flags: Vec<KeyFlags>,
    details: Vec<KeyDetails>,
    place_of: HashMap<u64, KeyId>,
    free: Vec<KeyId>,
    /// Keys that had no item left, and may be dropped if they still have none.
    spent: Vec<KeyId>,
}

impl RankKeys {
    /// Makes an empty set of keys; holders may have so many items of each at a time.
    pub(super) fn new(per_key: u32) -> Self {
        RankKeys {
            per_key,
            counts: alloc::vec![KeyCounts::new(u32::MAX)],
            flags: alloc::vec![KeyFlags::default()],
            details: alloc::vec![KeyDetails::default()],
            place_of: HashMap::new(),
            free: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Returns the place of a key, which may be new.
    pub(super) fn place(&mut self, number: Option<u64>) -> KeyId {
        let Some(number) = number else {
            return 0;
        };
        if let Some(place) = self.place_of.get(&number) {
            return *place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.counts.push(KeyCounts::new(self.per_key));
            self.flags.push(KeyFlags::default());
            self.details.push(KeyDetails::default());
            KeyId::try_from(self.counts.len() - 1).unwrap_or(KeyId::MAX)
        });
        self.details[place as usize].number = Some(number);
        self.place_of.insert(number, place);
        place
    }

    /// Makes a line the last one of a key, and returns the one before.
    pub(super) fn add_line(&mut self, key: KeyId, line: LineId) -> LineId {
        core::mem::replace(&mut self.details[key as usize].last_line, line)
    }

    /// Drops a key that no item has any more. Returns its number and the last one of its lines.
    pub(super) fn pop_spent(&mut self) -> Option<(u64, LineId)> {
        while let Some(key) = self.spent.pop() {
            self.flags[key as usize].is_noted = false;
            if self.is_unused(key)
                && let Some(number) = self.details[key as usize].number
            {
                let details = core::mem::take(&mut self.details[key as usize]);
                self.flags[key as usize] = KeyFlags::default();
                self.place_of.remove(&number);
                self.free.push(key);
                return Some((number, details.last_line));
            }
        }
        None
    }

    /// Returns `true` if there is no item of it.
    fn is_unused(&self, key: KeyId) -> bool {
        let one = self.counts[key as usize];
        let details = &self.details[key as usize];
        one.waiting == 0 && one.room == self.per_key && details.elsewhere == 0
    }

    /// Notes that an item of it rests, or is not durable yet.
    pub(super) fn enter(&mut self, key: KeyId) {
        self.details[key as usize].elsewhere += 1;
    }

    /// Notes that an item of it does not rest any more, or is durable or discarded.
    pub(super) fn leave(&mut self, key: KeyId) {
        self.details[key as usize].elsewhere -= 1;
        self.note_spent(key);
    }

    /// Notes that there may be no item of it any more.
    #[cold]
    #[inline(never)]
    pub(super) fn note_spent(&mut self, key: KeyId) {
        if self.is_unused(key) && !core::mem::replace(&mut self.flags[key as usize].is_noted, true)
        {
            self.spent.push(key);
        }
    }

    /// Returns the number of its items that may be handed out.
    pub(super) fn ready(&self, key: KeyId) -> u32 {
        let one = &self.counts[key as usize];
        match &self.details[key as usize].turn {
            None => one.room.min(one.waiting),
            Some(turn) if turn.is_resting => 0,
            Some(_) => one.room.min(1),
        }
    }

    /// Returns `true` if items of some of its lines may be handed out, were they to wait.
    pub(super) fn is_open(&self, key: KeyId) -> bool {
        let turn = || self.details[key as usize].turn.as_ref();
        let has_turn = self.flags[key as usize].has_turn;
        let is_open = || !has_turn || turn().is_some_and(|turn| !turn.is_resting);
        self.counts[key as usize].room > 0 && is_open()
    }

    /// Returns `true` if items of this line of it may be handed out.
    #[inline]
    pub(super) fn has_room(&self, key: KeyId, line: LineId) -> bool {
        let has_turn = self.flags[key as usize].has_turn;
        self.counts[key as usize].room > 0 && (!has_turn || self.is_turn_of(key, line))
    }

    fn is_turn_of(&self, key: KeyId, line: LineId) -> bool {
        let turn = self.details[key as usize].turn.as_ref();
        turn.is_some_and(|turn| turn.line == line && !turn.is_resting)
    }

    /// Notes that one item more of it waits. Returns `true` if one more may be handed out then.
    pub(super) fn wait(&mut self, key: KeyId) -> bool {
        let one = &mut self.counts[key as usize];
        one.waiting += 1;
        one.waiting <= one.room && !self.flags[key as usize].has_turn
    }

    /// Notes that an item of it does not wait any more.
    #[inline]
    pub(super) fn wait_no_more(&mut self, key: KeyId, id: ItemId) {
        let one = &mut self.counts[key as usize];
        one.waiting -= 1;
        if self.flags[key as usize].has_turn {
            self.end_turn(key, id);
        }
    }

    /// Notes that an item of it that waited is with a holder.
    #[inline]
    pub(super) fn hand_out(&mut self, key: KeyId, id: ItemId) {
        self.counts[key as usize].room -= 1;
        self.wait_no_more(key, id);
    }

    /// Notes that holders have one item of it less. Returns `true` if one more may be handed out then.
    #[inline]
    pub(super) fn release(&mut self, key: KeyId) -> bool {
        let one = &mut self.counts[key as usize];
        one.room += 1;
        let (room, waiting) = (one.room, one.waiting);
        if waiting == 0 && room == self.per_key {
            self.note_spent(key);
        }
        match self.flags[key as usize].has_turn {
            true => room == 1 && self.is_open(key),
            false => waiting >= room,
        }
    }

    /// Lets an item that is tried again keep the turn, unless one with a lower number has it.
    pub(super) fn keep_turn(&mut self, key: KeyId, id: ItemId, line: LineId, is_resting: bool) {
        let turn = &mut self.details[key as usize].turn;
        if turn.as_ref().is_none_or(|other| id <= other.id) {
            *turn = Some(Box::new(KeyTurn {
                id,
                line,
                is_resting,
            }));
            self.flags[key as usize].has_turn = true;
        }
    }

    /// Notes that an item rests no more. `waits`: it waits again, with the turn if it had that.
    pub(super) fn end_rest(&mut self, key: KeyId, id: ItemId, waits: bool) {
        match &mut self.details[key as usize].turn {
            Some(turn) if turn.id == id && waits => turn.is_resting = false,
            _ => self.end_turn(key, id),
        }
    }

    /// Takes the turn from an item, if it has it.
    fn end_turn(&mut self, key: KeyId, id: ItemId) {
        let turn = &mut self.details[key as usize].turn;
        *turn = turn.take().filter(|turn| turn.id != id);
        self.flags[key as usize].has_turn = turn.is_some();
    }
}

/// Lines that are parked: they are offered again when their key has room.
impl RankKeys {
    #[inline]
    pub(super) fn has_parked(&self, key: KeyId) -> bool {
        self.flags[key as usize].has_parked
    }

    /// Returns its parked lines with their priorities, the highest one last.
    pub(super) fn parked(&self, key: KeyId) -> &[(i8, LineId)] {
        &self.details[key as usize].parked
    }

    pub(super) fn park(&mut self, key: KeyId, priority: i8, line: LineId) {
        let parked = &mut self.details[key as usize].parked;
        let place = parked.partition_point(|one| one.0 < priority);
        parked.insert(place, (priority, line));
        self.flags[key as usize].has_parked = true;
    }

    /// Takes the line at this place out of those that are parked.
    pub(super) fn unpark(&mut self, key: KeyId, place: usize) -> LineId {
        let parked = &mut self.details[key as usize].parked;
        let (_, line) = parked.remove(place);
        self.flags[key as usize].has_parked = !parked.is_empty();
        line
    }

    /// Notes whether it is listed as one that has room and parked lines. Returns `true` if that was noted before.
    pub(super) fn list(&mut self, key: KeyId, is_listed: bool) -> bool {
        core::mem::replace(&mut self.flags[key as usize].is_listed, is_listed)
    }
}
