//! One key: how many more of its items may be with holders, and whose turn it is. It knows no priorities, and
//! of its items only the one that is tried again.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::rank::LineId;
use crate::ledger::ItemId;

/// An item that keeps its key's turn, because it is tried again.
#[derive(Debug, Clone, Copy)]
struct KeyTurn {
    id: ItemId,
    line: LineId,
    is_resting: bool,
}

/// The state of a key.
#[derive(Debug)]
pub(super) struct KeyState {
    /// The number of its items that holders may have besides those that they have.
    room: u32,
    waiting: u32,
    /// The item that is tried again, where that keeps the key's turn.
    turn: Option<Box<KeyTurn>>,
    /// Those of its lines that are offered again when it has room.
    pub(super) parked: Vec<LineId>,
    /// True if it is listed as one that has room, and such lines.
    pub(super) is_listed: bool,
    /// The number of its lines.
    pub(super) lines: u32,
    /// The key itself.
    pub(super) number: Option<u64>,
}

// It fills a cache line.
const _: () = assert!(size_of::<KeyState>() <= 64);

impl KeyState {
    /// Makes that of a key of which holders may have so many items at a time.
    pub(super) fn new(room: u32, number: Option<u64>) -> Self {
        KeyState {
            room,
            waiting: 0,
            turn: None,
            parked: Vec::new(),
            is_listed: false,
            lines: 0,
            number,
        }
    }

    /// Returns the number of its items that may be handed out.
    #[inline]
    pub(super) fn ready(&self) -> u32 {
        match &self.turn {
            None => self.room.min(self.waiting),
            Some(turn) if turn.is_resting => 0,
            Some(_) => self.room.min(1),
        }
    }

    /// Returns `true` if items of some of its lines may be handed out, were they to wait.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.room > 0 && self.turn.as_ref().is_none_or(|turn| !turn.is_resting)
    }

    /// Returns `true` if items of this line of it may be handed out.
    #[inline]
    pub(super) fn has_room(&self, line: LineId) -> bool {
        let is_its = |turn: &KeyTurn| turn.line == line && !turn.is_resting;
        self.room > 0 && self.turn.as_deref().is_none_or(is_its)
    }

    /// Notes that one item more waits. Returns `true` if one more may be handed out then.
    #[inline]
    pub(super) fn enter(&mut self) -> bool {
        self.waiting += 1;
        self.turn.is_none() && self.waiting <= self.room
    }

    /// Notes that an item does not wait any more.
    #[inline]
    pub(super) fn leave(&mut self, id: ItemId) {
        self.waiting -= 1;
        if self.turn.is_some() {
            self.end_turn(id);
        }
    }

    /// Notes that an item that does not wait any more is with a holder.
    #[inline]
    pub(super) fn hand_out(&mut self) {
        self.room -= 1;
    }

    /// Notes that holders have one item less. Returns `true` if one more may be handed out then.
    #[inline]
    pub(super) fn release(&mut self) -> bool {
        self.room += 1;
        match &self.turn {
            None => self.waiting >= self.room,
            Some(turn) => !turn.is_resting && self.room == 1,
        }
    }

    /// Lets an item that is tried again keep the turn, unless one with a lower number has it.
    pub(super) fn keep_turn(&mut self, id: ItemId, line: LineId, is_resting: bool) {
        if self.turn.as_ref().is_none_or(|other| id <= other.id) {
            let turn = KeyTurn {
                id,
                line,
                is_resting,
            };
            self.turn = Some(Box::new(turn));
        }
    }

    /// Notes that an item rests no more. `waits`: it waits again, with the turn if it had that.
    pub(super) fn end_rest(&mut self, id: ItemId, waits: bool) {
        match &mut self.turn {
            Some(turn) if turn.id == id && waits => turn.is_resting = false,
            _ => self.end_turn(id),
        }
    }

    /// Takes the turn from an item, if it has it.
    fn end_turn(&mut self, id: ItemId) {
        self.turn = self.turn.take().filter(|turn| turn.id != id);
    }
}
