//! Lines of items: one for each rank, and how many wait, rest and are with holders. It knows numbers of items,
//! and nothing of what they are; which one is next, `search` finds.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::front::{Front, FrontPlace};
use super::key::KeyState;
use super::level::Level;
use super::rank::{LineId, Rank};
use super::row::{ItemRow, RowList};
use crate::ledger::ItemId;

/// The line of the items of one rank: what is asked for each of them. It is small, so that thousands are in a
/// processor's nearest cache.
#[derive(Debug, Default)]
pub(super) struct RankLine {
    pub(super) key: u32,
    /// The number of its items: those that wait, that rest, that are not durable yet and that holders have.
    items: u32,
    pub(super) level: u16,
    /// True if it is offered again only when its key has room.
    pub(super) is_parked: bool,
    /// True if it is among those that had nothing left when it was last looked.
    is_noted: bool,
}

/// The items of a line that wait and are not new.
#[derive(Debug, Default)]
pub(super) struct LineItems {
    /// Those in the row whose turn had come when their key was full.
    pub(super) passed_by: RowList,
    /// Those that wait elsewhere: they have come back.
    returned: BTreeSet<ItemId>,
    /// The item that is offered; 0 if none is.
    pub(super) offered: u64,
}

impl LineItems {
    /// Returns the number of the first item that it may offer; 0 if there is none.
    #[inline]
    pub(super) fn first(&self) -> u64 {
        match (self.returned.first(), self.passed_by.head) {
            (None, head) => head,
            (Some(one), 0) => one.0,
            (Some(one), head) => one.0.min(head),
        }
    }
}

#[derive(Debug)]
pub(super) struct RankLines {
    per_key: u32,
    /// The lines; the first one is no line.
    pub(super) lines: Vec<RankLine>,
    /// Their items, at the same places.
    pub(super) items: Vec<LineItems>,
    line_of: HashMap<(i8, Option<u64>), LineId>,
    free_lines: Vec<LineId>,
    /// Lines that had nothing left when it was last looked.
    spent: Vec<LineId>,
    /// The keys; the first one is that of items without a key, which is not bounded.
    pub(super) keys: Vec<KeyState>,
    key_of: HashMap<u64, u32>,
    free_keys: Vec<u32>,
    pub(super) levels: Vec<Level>,
    /// The levels, highest priority first.
    pub(super) by_priority: Vec<u16>,
    /// The number of items that may be handed out.
    pub(super) ready: usize,
    /// The number of items that were handed out.
    pub(super) served: u64,
    /// No level is overdue before so many items were handed out.
    pub(super) patient_until: u64,
    /// Keys that have room, and lines that are not offered although.
    pub(super) open_keys: Vec<u32>,
    /// The highest priority of those lines, or a higher one.
    pub(super) unoffered: Option<i8>,
    pub(super) front: Option<Front>,
    /// The highest level of which an item could be handed out when it was last looked, if nothing but
    /// hand-outs came since: there is none above it now.
    pub(super) top: Option<u16>,
}

impl RankLines {
    pub(super) fn new(per_key: u32) -> Self {
        RankLines {
            per_key,
            lines: alloc::vec![RankLine::default()],
            items: alloc::vec![LineItems::default()],
            line_of: HashMap::new(),
            free_lines: Vec::new(),
            spent: Vec::new(),
            keys: alloc::vec![KeyState::new(u32::MAX, None)],
            key_of: HashMap::new(),
            free_keys: Vec::new(),
            levels: Vec::new(),
            by_priority: Vec::new(),
            ready: 0,
            served: 0,
            patient_until: 0,
            open_keys: Vec::new(),
            unoffered: None,
            front: None,
            top: None,
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Notes that a line has one item more, which does not wait yet.
    #[inline]
    pub(super) fn enter(&mut self, line: LineId) {
        self.lines[line as usize].items += 1;
    }

    /// Notes that a line has one item less, which does not wait.
    #[inline]
    pub(super) fn leave(&mut self, line: LineId) {
        let one = &mut self.lines[line as usize];
        one.items -= 1;
        if one.items == 0 && !core::mem::replace(&mut one.is_noted, true) {
            self.spent.push(line);
        }
    }

    /// Notes that holders have one item of this line less.
    #[inline]
    pub(super) fn release(&mut self, line: LineId) {
        self.leave(line);
        let key = self.lines[line as usize].key;
        let state = &mut self.keys[key as usize];
        self.ready += usize::from(state.release());
        if !state.parked.is_empty() {
            self.unpark(key);
        }
        self.forget_front();
    }

    /// Adds an item of the row, which waits from now on.
    pub(super) fn add<P>(&mut self, row: &mut ItemRow<P>, id: u64, line: LineId) {
        let level = usize::from(self.lines[line as usize].level);
        row.append(&mut self.levels[level].new, id);
        self.wait(line);
    }

    /// Notes that an item of this line, which came back, waits.
    pub(super) fn add_returned(&mut self, id: ItemId, line: LineId) {
        self.enter(line);
        self.items[line as usize].returned.insert(id);
        self.wait(line);
        self.offer(line);
    }

    /// Notes that an item of this line, which came back, is taken out.
    pub(super) fn remove_returned(&mut self, id: ItemId, line: LineId) {
        self.items[line as usize].returned.remove(&id);
        self.wait_no_more(id, line);
        self.offer(line);
    }

    /// Takes an item out of the row, though it is not next.
    pub(super) fn remove<P>(&mut self, row: &mut ItemRow<P>, id: ItemId) -> Option<(P, LineId)> {
        let line = row.line(id.0);
        self.pass(row, id.0, line);
        let taken = row.take(id.0)?;
        self.wait_no_more(id, line);
        self.offer(line);
        Some(taken)
    }

    /// Lets the first item of the row wait among those that came back.
    pub(super) fn lay_aside<P>(&mut self, row: &mut ItemRow<P>) -> Option<(ItemId, P, LineId)> {
        let (id, line) = row.front()?;
        self.pass(row, id, line);
        let (payload, _) = row.take(id)?;
        self.items[line as usize].returned.insert(ItemId(id));
        self.forget_front();
        self.offer(line);
        Some((ItemId(id), payload, line))
    }

    /// Lets the list that begins with this item of the row begin with its next one.
    fn pass<P>(&mut self, row: &ItemRow<P>, id: u64, line: LineId) {
        let level = self.lines[line as usize].level;
        let new = &mut self.levels[usize::from(level)].new;
        let passed_by = &mut self.items[line as usize].passed_by;
        for list in [new, passed_by] {
            if list.head == id {
                row.pass(list);
            }
        }
    }

    /// Takes the next item, which is in the row, and notes whom it has passed over.
    #[inline]
    pub(super) fn take<P>(&mut self, row: &mut ItemRow<P>, front: Front) -> Option<(P, LineId)> {
        let level = &mut self.levels[usize::from(front.level)];
        if front.place == FrontPlace::New {
            let taken = row.take_first(&mut level.new, |_, _| true);
            self.serve(front);
            return taken;
        }
        let items = &mut self.items[front.line as usize];
        let taken = row.take_first(&mut items.passed_by, |_, _| true);
        self.end_offer(front);
        taken
    }

    /// Takes the next item, if it is like the one before: new, of the same priority, and accepted. Most are,
    /// where keys are seldom full.
    #[inline]
    pub(super) fn take_alike<P>(
        &mut self,
        row: &mut ItemRow<P>,
        will_do: impl FnOnce(&P) -> bool,
    ) -> Option<(ItemId, P, LineId)> {
        let top = self.top.filter(|_| self.served < self.patient_until)?;
        let level = &mut self.levels[usize::from(top)];
        if !level.offers.is_empty() || self.front.is_some() {
            return None;
        }
        let id = level.new.head;
        let (payload, line) = row.take_first(&mut level.new, |payload, line| {
            let key = self.lines[line as usize].key;
            self.keys[key as usize].has_room(line) && will_do(payload)
        })?;
        self.serve(Front::new(top, (id, line)));
        Some((ItemId(id), payload, line))
    }

    /// Takes the next item, which is among those that came back.
    pub(super) fn take_returned(&mut self, front: Front) {
        let items = &mut self.items[front.line as usize];
        items.returned.remove(&front.id());
        self.end_offer(front);
    }

    /// Notes that what was offered of a line is handed out.
    fn end_offer(&mut self, front: Front) {
        self.levels[usize::from(front.level)].offers.pop();
        self.items[front.line as usize].offered = 0;
        self.serve(front);
        self.offer(front.line);
    }

    /// Notes that the next item is handed out.
    #[inline]
    fn serve(&mut self, front: Front) {
        self.served += 1;
        self.levels[usize::from(front.level)].serve(self.served);
        // It was one of those that may be, and no other one may be because of it.
        self.ready -= 1;
        let key = self.lines[front.line as usize].key;
        let key = &mut self.keys[key as usize];
        key.leave(front.id());
        key.hand_out();
        self.front = None;
    }

    /// Returns `true` if items of this line that wait are kept back because of its key.
    pub(super) fn is_kept_back(&self, line: LineId) -> bool {
        line != 0 && !self.has_room(line)
    }

    /// Returns the line of this rank, which may be new.
    pub(super) fn line(&mut self, rank: Rank) -> LineId {
        let of_line = rank.of_line();
        if let Some(line) = self.line_of.get(&of_line) {
            return *line;
        }
        self.drop_spent();
        let new = RankLine {
            key: self.key(rank.key),
            level: self.level(rank.priority),
            ..RankLine::default()
        };
        self.keys[new.key as usize].lines += 1;
        let line = self.free_lines.pop().unwrap_or_else(|| {
            self.lines.push(RankLine::default());
            self.items.push(LineItems::default());
            LineId::try_from(self.lines.len() - 1).unwrap_or(LineId::MAX)
        });
        self.lines[line as usize] = new;
        self.line_of.insert(of_line, line);
        line
    }

    fn key(&mut self, number: Option<u64>) -> u32 {
        let Some(key) = number else {
            return 0;
        };
        if let Some(place) = self.key_of.get(&key) {
            return *place;
        }
        let new = KeyState::new(self.per_key, number);
        let place = match self.free_keys.pop() {
            Some(place) => {
                self.keys[place as usize] = new;
                place
            }
            None => {
                self.keys.push(new);
                u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.key_of.insert(key, place);
        place
    }

    fn level(&mut self, priority: i8) -> u16 {
        let known = (0..).zip(&self.levels);
        let mut known = known.filter(|(_, one)| one.priority == priority);
        if let Some((level, _)) = known.next() {
            return level;
        }
        let before = |one: &u16| self.levels[usize::from(*one)].priority > priority;
        let place = self.by_priority.partition_point(before);
        // There are as many as an `i8` has values.
        let level = u16::try_from(self.levels.len()).unwrap_or(u16::MAX);
        self.by_priority.insert(place, level);
        self.levels.push(Level::new(priority));
        level
    }

    /// Drops the lines and keys that no item has any more.
    fn drop_spent(&mut self) {
        while let Some(line) = self.spent.pop() {
            let one = &mut self.lines[line as usize];
            one.is_noted = false;
            if one.items > 0 {
                continue;
            }
            let RankLine { level, key, .. } = core::mem::take(one);
            self.items[line as usize] = LineItems::default();
            let priority = self.levels[usize::from(level)].priority;
            let state = &mut self.keys[key as usize];
            self.line_of.remove(&(priority, state.number));
            self.free_lines.push(line);
            state.parked.retain(|one| *one != line);
            state.lines -= 1;
            if state.lines == 0
                && let Some(number) = state.number
            {
                *state = KeyState::new(self.per_key, None);
                self.key_of.remove(&number);
                self.free_keys.push(key);
            }
        }
    }

    /// Returns `true` if an item of this line may be handed out.
    #[inline]
    pub(super) fn has_room(&self, line: LineId) -> bool {
        let key = self.lines[line as usize].key;
        self.keys[key as usize].has_room(line)
    }

    /// Notes that one item more of a line waits.
    fn wait(&mut self, line: LineId) {
        let RankLine { key, level, .. } = self.lines[line as usize];
        self.ready += usize::from(self.keys[key as usize].enter());
        self.forget_front();
        let level = &mut self.levels[usize::from(level)];
        if level.enter(self.served) {
            let until = level.patient_until().unwrap_or(u64::MAX);
            self.patient_until = self.patient_until.min(until);
        }
    }

    /// Notes that an item of a line waits no more, and belongs to it no more.
    fn wait_no_more(&mut self, id: ItemId, line: LineId) {
        self.leave(line);
        let key = self.change_key(line, |key| key.leave(id));
        let level = self.lines[line as usize].level;
        self.levels[usize::from(level)].leave(self.served);
        self.unpark(key);
    }

    /// Changes the key of a line, which it returns.
    #[inline]
    fn change_key(&mut self, line: LineId, change: impl FnOnce(&mut KeyState)) -> u32 {
        let key = self.lines[line as usize].key;
        let state = &mut self.keys[key as usize];
        let before = state.ready();
        change(state);
        self.ready = self.ready + state.ready() as usize - before as usize;
        self.forget_front();
        key
    }

    #[inline]
    fn forget_front(&mut self) {
        self.front = None;
        self.top = None;
    }

    /// Notes that an item of this line does not rest any more. `waits`: it waits again, with its
    /// key's turn if it had that.
    pub(super) fn end_rest(&mut self, id: ItemId, line: LineId, waits: bool) {
        self.leave(line);
        let key = self.change_key(line, |key| key.end_rest(id, waits));
        self.unpark(key);
    }

    /// Notes that an item whose attempt failed keeps its key's turn, if only one of them may run.
    pub(super) fn keep_turn(&mut self, id: ItemId, line: LineId, is_resting: bool) {
        if self.per_key == 1 && self.lines[line as usize].key != 0 {
            self.change_key(line, |key| key.keep_turn(id, line, is_resting));
        }
    }
}
