//! Lines of items: one for each rank, and what is offered of them. It knows numbers of items, and nothing
//! of what they are or where they lie.

use alloc::collections::{BTreeSet, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Reverse;

use hashbrown::HashMap;

use super::rank::Rank;
use crate::ledger::ItemId;

/// The number of times in a row for which a priority is passed over by higher ones.
const PATIENCE: u32 = 32;

/// The number of a line, from 1; 0 for an item that is in none.
pub(in crate::ledger) type LineId = u32;

/// The items of one rank.
#[derive(Debug, Default)]
pub(super) struct RankLine {
    level: usize,
    key: usize,
    /// The priority and the key.
    rank: (i8, Option<u64>),
    /// The first and the last of its items in the row; 0 if there is none.
    pub(super) head: u64,
    pub(super) tail: u64,
    /// Those that wait elsewhere: they have come back.
    pub(super) returned: BTreeSet<ItemId>,
    /// The number of its items that wait, that rest or are not durable yet, and that holders have.
    pub(super) waiting: usize,
    pub(super) aside: usize,
    pub(super) running: usize,
    /// The item that is offered; 0 if none is.
    offered: u64,
    /// True if it is offered again only when its key has room.
    is_parked: bool,
    /// True if it is among those that had nothing left when it was last looked.
    is_noted: bool,
}

impl RankLine {
    /// Returns the number of its first item; 0 if none waits.
    fn first(&self) -> u64 {
        match (self.returned.first(), self.head) {
            (None, head) => head,
            (Some(one), 0) => one.0,
            (Some(one), head) => one.0.min(head),
        }
    }

    fn is_spent(&self) -> bool {
        self.waiting + self.aside + self.running == 0
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
    lines: Vec<LineId>,
    /// Those of its lines that are offered again when it has room.
    parked: Vec<LineId>,
    pub(super) waiting: usize,
    pub(super) running: usize,
    turn: Option<KeyTurn>,
}

/// One priority: the first items of its lines, as far as their keys have room. Some are out of date, and
/// dropped when they come to the front.
#[derive(Debug)]
struct Level {
    priority: i8,
    offers: BinaryHeap<Reverse<(u64, LineId)>>,
    waiting: usize,
    /// The number of items of other priorities that were handed out since the last of this one, while
    /// some of it waited.
    passed_over: u32,
}

/// The next item, and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    pub(super) id: u64,
    pub(super) line: LineId,
    level: usize,
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
    key_of: HashMap<u64, usize>,
    free_keys: Vec<usize>,
    levels: Vec<Level>,
    /// The levels, highest priority first.
    by_priority: Vec<usize>,
    /// The number of items that may be handed out.
    ready: usize,
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
            front: None,
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Returns the first and the last item of a line in the row; 0 if there is none.
    pub(super) fn ends(&self, line: LineId) -> (u64, u64) {
        let line = &self.lines[line as usize];
        (line.head, line.tail)
    }

    /// Notes that a line begins with this item in the row; 0 for none.
    pub(super) fn begin_with(&mut self, line: LineId, head: u64) {
        self.lines[line as usize].head = head;
    }

    /// Notes that the first item of a line in the row is laid aside, among those that came back.
    pub(super) fn lay_aside(&mut self, line: LineId, id: ItemId, head: u64) {
        let line = &mut self.lines[line as usize];
        line.head = head;
        line.returned.insert(id);
    }

    /// Takes the next item out of what is offered, and notes whom it has passed over. Returns `true` if
    /// it is among those that came back.
    pub(super) fn take(&mut self, front: Front) -> bool {
        let Front { id, line, level } = front;
        self.levels[level].offers.pop();
        for other in &mut self.levels {
            other.passed_over = other
                .passed_over
                .saturating_add(u32::from(other.waiting > 0));
        }
        self.levels[level].passed_over = 0;
        let line = &mut self.lines[line as usize];
        line.offered = 0;
        line.returned.remove(&ItemId(id))
    }

    /// Returns `true` if an item of this line that waits is kept back because of its key.
    pub(super) fn is_kept_back(&self, id: ItemId, line: LineId) -> bool {
        let key = self.lines[line as usize].key;
        let is_first = || {
            let lines = self.keys[key].lines.iter();
            let first = lines.map(|line| self.lines[*line as usize].first());
            first.filter(|first| *first > 0).min() == Some(id.0)
        };
        // One that is behind others of its key waits for them, too.
        key != 0 && (!self.has_room(line) || (self.per_key == 1 && !is_first()))
    }

    /// Returns the line of this rank, which may be new.
    pub(super) fn line(&mut self, rank: Rank) -> LineId {
        let of_line = rank.of_line();
        if let Some(line) = self.line_of.get(&of_line) {
            return *line;
        }
        self.drop_spent();
        let key = self.key(rank.key);
        let level = self.level(rank.priority);
        let fresh = RankLine {
            level,
            key,
            rank: of_line,
            ..RankLine::default()
        };
        let line = match self.free_lines.pop() {
            Some(line) => {
                self.lines[line as usize] = fresh;
                line
            }
            None => {
                self.lines.push(fresh);
                LineId::try_from(self.lines.len() - 1).unwrap_or(LineId::MAX)
            }
        };
        self.keys[key].lines.push(line);
        self.line_of.insert(of_line, line);
        line
    }

    fn key(&mut self, key: Option<u64>) -> usize {
        let Some(key) = key else {
            return 0;
        };
        if let Some(place) = self.key_of.get(&key) {
            return *place;
        }
        let place = self.free_keys.pop().unwrap_or_else(|| {
            self.keys.push(KeyState::default());
            self.keys.len() - 1
        });
        self.key_of.insert(key, place);
        place
    }

    fn level(&mut self, priority: i8) -> usize {
        let known = self.levels.iter().position(|one| one.priority == priority);
        known.unwrap_or_else(|| {
            let level = self.levels.len();
            self.levels.push(Level {
                priority,
                offers: BinaryHeap::new(),
                waiting: 0,
                passed_over: 0,
            });
            let before = |one: &usize| self.levels[*one].priority > priority;
            let place = self.by_priority.partition_point(before);
            self.by_priority.insert(place, level);
            level
        })
    }

    /// Drops the lines and keys that no item has any more.
    fn drop_spent(&mut self) {
        while let Some(line) = self.spent.pop() {
            let at = line as usize;
            let (rank, key) = (self.lines[at].rank, self.lines[at].key);
            self.lines[at].is_noted = false;
            if !self.lines[at].is_spent() {
                continue;
            }
            self.line_of.remove(&rank);
            self.lines[at] = RankLine::default();
            self.free_lines.push(line);
            let state = &mut self.keys[key];
            state.lines.retain(|one| *one != line);
            state.parked.retain(|one| *one != line);
            if let Some(print) = rank.1.filter(|_| state.lines.is_empty()) {
                *state = KeyState::default();
                self.key_of.remove(&print);
                self.free_keys.push(key);
            }
        }
    }

    /// Returns the number of items of a key that may be handed out.
    fn ready_of(&self, key: usize) -> usize {
        let state = &self.keys[key];
        if key == 0 {
            return state.waiting;
        }
        let room = (self.per_key as usize).saturating_sub(state.running);
        let waiting = match state.turn {
            None => state.waiting,
            Some(turn) if turn.is_resting => 0,
            Some(turn) => self.lines[turn.line as usize].waiting,
        };
        room.min(waiting)
    }

    /// Returns `true` if the first item of this line may be handed out, if there is one.
    pub(super) fn has_room(&self, line: LineId) -> bool {
        let key = self.lines[line as usize].key;
        let state = &self.keys[key];
        let is_its_turn = |turn: KeyTurn| turn.line == line && !turn.is_resting;
        key == 0 || (state.running < self.per_key as usize && state.turn.is_none_or(is_its_turn))
    }

    /// Changes a line and its key, and offers what may be handed out then.
    pub(super) fn change(
        &mut self,
        line: LineId,
        change: impl FnOnce(&mut RankLine, &mut KeyState),
    ) {
        let at = line as usize;
        let (key, level) = (self.lines[at].key, self.lines[at].level);
        let before = (self.ready_of(key), self.lines[at].waiting);
        change(&mut self.lines[at], &mut self.keys[key]);
        let after = (self.ready_of(key), self.lines[at].waiting);
        self.ready = self.ready + after.0 - before.0;
        let waiting = &mut self.levels[level].waiting;
        *waiting = *waiting + after.1 - before.1;
        self.front = None;
        if self.lines[at].is_spent() && !core::mem::replace(&mut self.lines[at].is_noted, true) {
            self.spent.push(line);
        }
        self.offer(line);
        self.unpark(key);
    }

    /// Offers the first item of a line, if it is not offered yet: now, or when its key has room.
    fn offer(&mut self, line: LineId) {
        let has_room = self.has_room(line);
        let one = &mut self.lines[line as usize];
        let first = one.first();
        if first == 0 || first == one.offered {
            return;
        }
        if has_room {
            one.offered = first;
            let offers = &mut self.levels[one.level].offers;
            offers.push(Reverse((first, line)));
        } else if !core::mem::replace(&mut one.is_parked, true) {
            self.keys[one.key].parked.push(line);
        }
    }

    /// Offers the lines that have waited for room of this key, if it has some.
    fn unpark(&mut self, key: usize) {
        let state = &self.keys[key];
        let is_resting = state.turn.is_some_and(|turn| turn.is_resting);
        if state.parked.is_empty() || state.running >= self.per_key as usize || is_resting {
            return;
        }
        // Where it is another line's turn, some of them are parked again.
        for place in (0..state.parked.len()).rev() {
            let line = self.keys[key].parked.swap_remove(place);
            self.lines[line as usize].is_parked = false;
            self.offer(line);
        }
    }

    /// Returns `true` if this is still the first item of this line, and may be handed out.
    fn is_good(&self, (id, line): (u64, LineId)) -> bool {
        self.lines[line as usize].first() == id && self.has_room(line)
    }

    /// Returns what is offered first at this level, after it has dropped what is out of date.
    fn top(&mut self, level: usize) -> Option<(u64, LineId)> {
        while let Some(Reverse((id, line))) = self.levels[level].offers.peek().copied() {
            if self.is_good((id, line)) {
                return Some((id, line));
            }
            self.levels[level].offers.pop();
            if self.lines[line as usize].offered == id {
                self.lines[line as usize].offered = 0;
                self.offer(line);
            }
        }
        None
    }

    /// Returns `true` if a level is looked at although one of a higher priority has an item ready, of
    /// which it may take the turn.
    fn is_overdue(&self, level: usize, ready: Front) -> bool {
        let passed_over = self.levels[level].passed_over;
        passed_over >= PATIENCE && passed_over > self.levels[ready.level].passed_over
    }

    /// Finds the next item.
    pub(super) fn settle(&mut self) -> Option<Front> {
        if self.front.is_none() && self.ready > 0 {
            for place in 0..self.by_priority.len() {
                let level = self.by_priority[place];
                if self
                    .front
                    .is_some_and(|ready| !self.is_overdue(level, ready))
                {
                    continue;
                }
                if let Some((id, line)) = self.top(level) {
                    self.front = Some(Front { id, line, level });
                }
            }
        }
        self.front
    }

    /// Finds the next item without a change, which may take longer.
    pub(super) fn find(&self) -> Option<Front> {
        if self.front.is_some() || self.ready == 0 {
            return self.front;
        }
        let mut front = None;
        for level in self.by_priority.iter().copied() {
            if front.is_some_and(|ready| !self.is_overdue(level, ready)) {
                continue;
            }
            let offers = self.levels[level].offers.iter();
            let offers = offers.map(|Reverse(offer)| *offer);
            if let Some((id, line)) = offers.filter(|offer| self.is_good(*offer)).min() {
                front = Some(Front { id, line, level });
            }
        }
        front
    }

    /// Notes that holders have one item of this line less.
    pub(super) fn release(&mut self, line: LineId) {
        self.change(line, |line, key| {
            line.running -= 1;
            key.running -= 1;
        });
    }

    /// Notes that an item of this line does not rest any more. `keeps_turn`: it waits again, with its
    /// key's turn if it had that.
    pub(super) fn end_rest(&mut self, id: ItemId, line: LineId, keeps_turn: bool) {
        self.change(line, |line, key| {
            line.aside -= 1;
            let turn = key.turn.filter(|turn| turn.id == id);
            if let Some(turn) = turn {
                let is_resting = false;
                key.turn = keeps_turn.then_some(KeyTurn { is_resting, ..turn });
            }
        });
    }

    /// Notes that an item of this line, which came back, is taken out.
    pub(super) fn remove_returned(&mut self, id: ItemId, line: LineId) {
        self.change(line, |line, key| {
            line.returned.remove(&id);
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
                if key.turn.is_none_or(|other| id <= other.id) {
                    key.turn = Some(turn);
                }
            });
        }
    }
}

/// Notes that an item of this line does not wait any more.
pub(super) fn leave(id: ItemId, line: &mut RankLine, key: &mut KeyState) {
    line.waiting -= 1;
    key.waiting -= 1;
    if key.turn.is_some_and(|turn| turn.id == id) {
        key.turn = None;
    }
}
