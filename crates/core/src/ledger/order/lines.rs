//! Lines of items: one for each rank, and what is offered of them. It knows numbers of items, and nothing
//! of what they are.
//!
//! A new item is in the list of its priority, and costs nothing until it comes to the front of that.
//! Then it is handed out if its key has room, and else it waits in its line. A line's first item is offered
//! when its key has room again. So an item is looked at once, and once more if its key was full.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::level::{Level, Offer};
use super::rank::{LineId, Rank};
use super::row::{ItemRow, RowList};
use crate::ledger::ItemId;

/// The items of one rank. It fills a cache line.
#[derive(Debug, Default)]
pub(super) struct RankLine {
    level: u16,
    /// True if it is offered again only when its key has room.
    is_parked: bool,
    /// True if it is among those that had nothing left when it was last looked.
    is_noted: bool,
    key: u32,
    /// The number of its items that wait, and of all of it: those that rest, that are not durable yet
    /// and that holders have, too.
    pub(super) waiting: u32,
    pub(super) items: u32,
    /// Those in the row whose turn had come when their key was full.
    passed_by: RowList,
    /// Those that wait elsewhere: they have come back.
    pub(super) returned: BTreeSet<ItemId>,
    /// The item that is offered; 0 if none is.
    offered: u64,
}

const _: () = assert!(size_of::<RankLine>() <= 64);

impl RankLine {
    /// Returns the number of the first item that it may offer; 0 if there is none.
    #[inline]
    fn first(&self) -> u64 {
        match (self.returned.first(), self.passed_by.head) {
            (None, head) => head,
            (Some(one), 0) => one.0,
            (Some(one), head) => one.0.min(head),
        }
    }
}

/// An item that keeps its key's turn, because it is tried again.
#[derive(Debug, Clone, Copy)]
struct KeyTurn {
    id: ItemId,
    line: LineId,
    is_resting: bool,
}

/// The state of a key.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) waiting: u32,
    pub(super) running: u32,
    /// The item that is tried again, where that keeps the key's turn.
    turn: Option<Box<KeyTurn>>,
    /// Those of its lines that are offered again when it has room.
    parked: Vec<LineId>,
    /// The number of its lines.
    lines: u32,
    /// The key itself.
    number: Option<u64>,
}

const _: () = assert!(size_of::<KeyState>() <= 64);

/// The next item, and where it is.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct Front {
    pub(super) id: u64,
    pub(super) line: LineId,
    level: u16,
    place: FrontPlace,
}

/// The place of the next item: in the list of its priority, in its line in the row, or among those that
/// came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrontPlace {
    New,
    PassedBy,
    Returned,
}

impl Front {
    /// Makes that of a new item.
    fn new(level: u16, (id, line): Offer) -> Self {
        Front {
            id,
            line,
            level,
            place: FrontPlace::New,
        }
    }

    pub(in crate::ledger) fn id(self) -> ItemId {
        ItemId(self.id)
    }

    /// Returns `true` if it is among the items that came back.
    pub(super) fn is_returned(self) -> bool {
        self.place == FrontPlace::Returned
    }
}

#[derive(Debug)]
pub(super) struct RankLines {
    per_key: u32,
    /// The lines; the first one is no line.
    lines: Vec<RankLine>,
    line_of: HashMap<(i8, Option<u64>), LineId>,
    free_lines: Vec<LineId>,
    /// Lines that had nothing left when it was last looked.
    spent: Vec<LineId>,
    /// The keys; the first one is that of items without a key, which is not bounded.
    keys: Vec<KeyState>,
    key_of: HashMap<u64, u32>,
    free_keys: Vec<u32>,
    levels: Vec<Level>,
    /// The levels, highest priority first.
    by_priority: Vec<u16>,
    /// The number of items that may be handed out.
    ready: usize,
    /// The number of items that were handed out.
    served: u64,
    /// No level is overdue before so many items were handed out.
    patient_until: u64,
    front: Option<Front>,
}

impl RankLines {
    pub(super) fn new(per_key: u32) -> Self {
        RankLines {
            per_key,
            lines: alloc::vec![RankLine::default()],
            line_of: HashMap::new(),
            free_lines: Vec::new(),
            spent: Vec::new(),
            keys: alloc::vec![KeyState::default()],
            key_of: HashMap::new(),
            free_keys: Vec::new(),
            levels: Vec::new(),
            by_priority: Vec::new(),
            ready: 0,
            served: 0,
            patient_until: 0,
            front: None,
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

    /// Adds an item of the row, which waits from now on.
    pub(super) fn add<P>(&mut self, row: &mut ItemRow<P>, id: u64, line: LineId) {
        let level = usize::from(self.lines[line as usize].level);
        row.append(&mut self.levels[level].new, id);
        self.change(line, |line, key| {
            line.waiting += 1;
            key.waiting += 1;
        });
    }

    /// Lets the list that begins with this item of the row begin with its next one.
    pub(super) fn pass<P>(&mut self, row: &ItemRow<P>, id: u64, line: LineId) {
        let one = &mut self.lines[line as usize];
        let new = &mut self.levels[usize::from(one.level)].new;
        if new.head == id {
            row.pass(new);
        } else if one.passed_by.head == id {
            row.pass(&mut one.passed_by);
        }
    }

    /// Notes that the first item of the row is laid aside, among those that came back.
    pub(super) fn lay_aside<P>(&mut self, row: &ItemRow<P>, id: u64, line: LineId) {
        self.pass(row, id, line);
        self.lines[line as usize].returned.insert(ItemId(id));
        self.front = None;
        self.offer(line);
    }

    /// Takes the next item out of what is offered, and notes whom it has passed over. One that is in the row
    /// stays there.
    pub(super) fn take<P>(&mut self, row: &ItemRow<P>, front: Front) {
        self.served += 1;
        let level = &mut self.levels[usize::from(front.level)];
        level.serve(self.served);
        let line = &mut self.lines[front.line as usize];
        match front.place {
            FrontPlace::New => return row.pass(&mut level.new),
            FrontPlace::PassedBy => row.pass(&mut line.passed_by),
            FrontPlace::Returned => {
                line.returned.remove(&ItemId(front.id));
            }
        }
        level.offers.pop();
        line.offered = 0;
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
        let place = self.free_keys.pop().unwrap_or_else(|| {
            self.keys.push(KeyState::default());
            u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
        });
        self.keys[place as usize].number = number;
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
            let priority = self.levels[usize::from(level)].priority;
            let state = &mut self.keys[key as usize];
            self.line_of.remove(&(priority, state.number));
            self.free_lines.push(line);
            state.parked.retain(|one| *one != line);
            state.lines -= 1;
            if state.lines == 0
                && let Some(number) = state.number
            {
                *state = KeyState::default();
                self.key_of.remove(&number);
                self.free_keys.push(key);
            }
        }
    }

    /// Returns the number of items of a key that may be handed out.
    #[inline]
    fn ready_of(&self, key: u32) -> u32 {
        let state = &self.keys[key as usize];
        if key == 0 {
            return state.waiting;
        }
        let room = self.per_key.saturating_sub(state.running);
        let waiting = match &state.turn {
            None => state.waiting,
            Some(turn) if turn.is_resting => 0,
            Some(turn) => self.lines[turn.line as usize].waiting,
        };
        room.min(waiting)
    }

    /// Returns `true` if an item of this line may be handed out.
    #[inline]
    fn has_room(&self, line: LineId) -> bool {
        let key = self.lines[line as usize].key;
        let state = &self.keys[key as usize];
        let has_turn = |turn: &KeyTurn| turn.line == line && !turn.is_resting;
        key == 0 || (state.running < self.per_key && state.turn.as_deref().is_none_or(has_turn))
    }

    /// Changes a line and its key, and offers what may be handed out then.
    #[inline]
    pub(super) fn change(
        &mut self,
        line: LineId,
        change: impl FnOnce(&mut RankLine, &mut KeyState),
    ) {
        let one = &self.lines[line as usize];
        let (key, level) = (one.key, one.level);
        let before = (self.ready_of(key), one.waiting);
        let one = &mut self.lines[line as usize];
        change(one, &mut self.keys[key as usize]);
        let is_spent = one.items == 0 && !core::mem::replace(&mut one.is_noted, true);
        let waiting = one.waiting;
        if is_spent {
            self.spent.push(line);
        }
        self.ready = self.ready + self.ready_of(key) as usize - before.0 as usize;
        let level = &mut self.levels[usize::from(level)];
        if level.change_waiting(before.1, waiting, self.served) {
            let until = level.patient_until().unwrap_or(u64::MAX);
            self.patient_until = self.patient_until.min(until);
        }
        self.front = None;
        self.offer(line);
        self.unpark(key);
    }

    /// Offers the first item of a line, if it is not offered yet: now, or when its key has room.
    #[inline]
    fn offer(&mut self, line: LineId) {
        let one = &self.lines[line as usize];
        let first = one.first();
        if first == 0 || first == one.offered {
            return;
        }
        let has_room = self.has_room(line);
        let one = &mut self.lines[line as usize];
        if has_room {
            one.offered = first;
            let level = &mut self.levels[usize::from(one.level)];
            level.offers.push((first, line));
        } else if !core::mem::replace(&mut one.is_parked, true) {
            self.keys[one.key as usize].parked.push(line);
        }
    }

    /// Offers the lines that have waited for room of this key, if it has some.
    #[inline]
    fn unpark(&mut self, key: u32) {
        let state = &self.keys[key as usize];
        if state.parked.is_empty() || state.running >= self.per_key {
            return;
        }
        if state.turn.as_ref().is_some_and(|turn| turn.is_resting) {
            return;
        }
        // Where it is another line's turn, some of them are parked again.
        for place in (0..state.parked.len()).rev() {
            let line = self.keys[key as usize].parked.swap_remove(place);
            self.lines[line as usize].is_parked = false;
            self.offer(line);
        }
    }

    /// Returns `true` if this is still the first item of this line, and may be handed out.
    fn is_good(&self, (id, line): Offer) -> bool {
        self.lines[line as usize].first() == id && self.has_room(line)
    }

    /// Drops the first offer of a level, which is out of date.
    fn drop_offer(&mut self, level: u16, (id, line): Offer) {
        self.levels[usize::from(level)].offers.pop();
        if self.lines[line as usize].offered == id {
            self.lines[line as usize].offered = 0;
            self.offer(line);
        }
    }

    /// Returns `true` if this level may take the turn of a higher one, which has an item ready.
    fn is_overdue(&self, level: u16, ready: Front) -> bool {
        let ready = &self.levels[usize::from(ready.level)];
        self.levels[usize::from(level)].is_overdue(ready, self.served)
    }

    /// Makes a front of what a line offers.
    fn front_of_line(&self, level: u16, (id, line): Offer) -> Front {
        let is_passed_by = self.lines[line as usize].passed_by.head == id;
        let place = match is_passed_by {
            true => FrontPlace::PassedBy,
            false => FrontPlace::Returned,
        };
        Front {
            id,
            line,
            level,
            place,
        }
    }

    /// Returns the first item of a level that may be handed out. New ones before it whose keys are full wait
    /// in their lines from now on.
    #[inline]
    fn first_of_level<P>(&mut self, row: &mut ItemRow<P>, level: u16) -> Option<Front> {
        loop {
            let one = &self.levels[usize::from(level)];
            let new = one.new.head;
            match one.offers.peek() {
                Some(offer) if new == 0 || offer.0 < new => match self.is_good(offer) {
                    true => return Some(self.front_of_line(level, offer)),
                    false => self.drop_offer(level, offer),
                },
                _ if new == 0 => return None,
                _ => {
                    let line = row.line(new);
                    if self.has_room(line) {
                        return Some(Front::new(level, (new, line)));
                    }
                    row.unlink(&mut self.levels[usize::from(level)].new);
                    row.append(&mut self.lines[line as usize].passed_by, new);
                    self.offer(line);
                }
            }
        }
    }

    /// Finds the next item.
    #[inline]
    pub(super) fn settle<P>(&mut self, row: &mut ItemRow<P>) -> Option<Front> {
        if self.front.is_none() && self.ready > 0 {
            self.front = self.find_mut(row);
        }
        self.front
    }

    fn find_mut<P>(&mut self, row: &mut ItemRow<P>) -> Option<Front> {
        let mut front: Option<Front> = None;
        for place in 0..self.by_priority.len() {
            let level = self.by_priority[place];
            match front {
                _ if self.levels[usize::from(level)].is_empty() => {}
                None => front = self.first_of_level(row, level),
                Some(_) if self.served < self.patient_until => return front,
                Some(ready) if self.is_overdue(level, ready) => {
                    front = self.first_of_level(row, level).or(front);
                }
                Some(_) => {}
            }
        }
        let until = self.levels.iter().filter_map(Level::patient_until).min();
        self.patient_until = until.unwrap_or(u64::MAX);
        front
    }

    /// Finds the next item without a change, which may take longer.
    pub(super) fn find<P>(&self, row: &ItemRow<P>) -> Option<Front> {
        if self.front.is_some() || self.ready == 0 {
            return self.front;
        }
        let mut front = None;
        for level in self.by_priority.iter().copied() {
            if front.is_none_or(|ready| self.is_overdue(level, ready)) {
                front = self.find_in_level(row, level).or(front);
            }
        }
        front
    }

    fn find_in_level<P>(&self, row: &ItemRow<P>, level: u16) -> Option<Front> {
        let level_now = &self.levels[usize::from(level)];
        let offers = level_now.offers.iter();
        let offered = offers.filter(|offer| self.is_good(*offer)).min();
        let mut list = level_now.new;
        while list.head != 0 && offered.is_none_or(|(id, _)| list.head < id) {
            let line = row.line(list.head);
            if self.has_room(line) {
                return Some(Front::new(level, (list.head, line)));
            }
            row.pass(&mut list);
        }
        offered.map(|offer| self.front_of_line(level, offer))
    }

    /// Notes that holders have one item of this line less.
    pub(super) fn release(&mut self, line: LineId) {
        self.change(line, |line, key| {
            line.items -= 1;
            key.running -= 1;
        });
    }

    /// Notes that an item of this line does not rest any more. `keeps_turn`: it waits again, with its
    /// key's turn if it had that.
    pub(super) fn end_rest(&mut self, id: ItemId, line: LineId, keeps_turn: bool) {
        self.change(line, |line, key| {
            line.items -= 1;
            match &mut key.turn {
                Some(turn) if turn.id == id && keeps_turn => turn.is_resting = false,
                Some(turn) if turn.id == id => key.turn = None,
                _ => {}
            }
        });
    }

    /// Notes that an item of this line, which came back, is taken out.
    pub(super) fn remove_returned(&mut self, id: ItemId, line: LineId) {
        self.change(line, |line, key| {
            line.returned.remove(&id);
            line.items -= 1;
            leave(id, line, key);
        });
    }

    /// Notes that an item whose attempt failed keeps its key's turn, if only one of them may run.
    pub(super) fn keep_turn(&mut self, id: ItemId, line: LineId, is_resting: bool) {
        if self.per_key == 1 && self.lines[line as usize].key != 0 {
            let turn = KeyTurn {
                id,
                line,
                is_resting,
            };
            self.change(line, |_, key| {
                if key.turn.as_ref().is_none_or(|other| id <= other.id) {
                    key.turn = Some(Box::new(turn));
                }
            });
        }
    }
}

/// Notes that an item of this line does not wait any more.
pub(super) fn leave(id: ItemId, line: &mut RankLine, key: &mut KeyState) {
    line.waiting -= 1;
    key.waiting -= 1;
    if key.turn.as_ref().is_some_and(|turn| turn.id == id) {
        key.turn = None;
    }
}
