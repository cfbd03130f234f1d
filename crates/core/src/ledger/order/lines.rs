//! Lines of items: one for each rank, and which of them wait. It knows numbers of items, and nothing of what they
//! are; which one is next, `search` finds.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::front::{Front, FrontPlace};
use super::key::{KeyId, RankKeys};
use super::level::Level;
use super::rank::{LineId, Rank};
use super::row::{ItemRow, RowList};
use crate::ledger::ItemId;

/// The line of the items of one rank. It does not change with them while its key has room.
#[derive(Debug, Default)]
pub(super) struct RankLine {
    /// Another line of its key; 0 if there is none.
    next_of_key: LineId,
    pub(super) level: u16,
    /// True if it is offered again only when its key has room.
    pub(super) is_parked: bool,
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
    /// True if one item of a key runs at a time.
    is_one_by_one: bool,
    /// The key of each line, which is asked for each item. So it lies apart, and thousands of them are in a
    /// processor's nearest cache. The first one is no line.
    key_of: Vec<KeyId>,
    /// The lines, at the same places.
    pub(super) lines: Vec<RankLine>,
    /// Their items, at the same places.
    pub(super) items: Vec<LineItems>,
    line_of: HashMap<(i8, Option<u64>), LineId>,
    free_lines: Vec<LineId>,
    pub(super) keys: RankKeys,
    pub(super) levels: Vec<Level>,
    /// The levels, highest priority first.
    pub(super) by_priority: Vec<u16>,
    /// The number of items that may be handed out.
    pub(super) ready: u64,
    /// The number of items that were handed out.
    pub(super) served: u64,
    /// No level is overdue before so many items were handed out.
    pub(super) patient_until: u64,
    /// Keys that have room, and lines that are not offered although.
    pub(super) open_keys: Vec<KeyId>,
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
            is_one_by_one: per_key == 1,
            key_of: alloc::vec![0],
            lines: alloc::vec![RankLine::default()],
            items: alloc::vec![LineItems::default()],
            line_of: HashMap::new(),
            free_lines: Vec::new(),
            keys: RankKeys::new(per_key),
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

    #[inline]
    pub(super) fn key(&self, line: LineId) -> KeyId {
        self.key_of[line as usize]
    }

    pub(super) fn ready(&self) -> usize {
        usize::try_from(self.ready).unwrap_or(usize::MAX)
    }

    /// Notes that an item of a line rests, or is not durable yet.
    pub(super) fn enter(&mut self, line: LineId) {
        self.keys.enter(self.key(line));
    }

    /// Notes that an item of a line does not rest any more, or is durable or discarded.
    pub(super) fn leave(&mut self, line: LineId) {
        self.keys.leave(self.key(line));
    }

    /// Notes that holders have one item of this line less.
    #[inline]
    pub(super) fn release(&mut self, line: LineId) {
        let key = self.key(line);
        self.ready += u64::from(self.keys.release(key));
        if self.keys.has_parked(key) {
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

    /// Notes that the next item is handed out. It is still in the row, or among those that came back.
    #[inline]
    pub(super) fn pick<P>(&mut self, row: &ItemRow<P>, front: Front) {
        let items = &mut self.items[front.line as usize];
        match front.place {
            FrontPlace::New => {
                row.pass(&mut self.levels[usize::from(front.level)].new);
                return self.serve_front(front);
            }
            FrontPlace::PassedBy => row.pass(&mut items.passed_by),
            FrontPlace::Returned => {
                items.returned.remove(&front.id());
            }
        }
        self.end_offer(front);
    }

    /// Picks the next items as long as they are new and accepted. Most are, where keys are seldom full.
    #[inline]
    pub(super) fn pick_new<P>(
        &mut self,
        row: &ItemRow<P>,
        picked: &mut Vec<u64>,
        mut will_do: impl FnMut(&P) -> bool,
    ) {
        let Some(top) = self.top.filter(|_| self.front.is_none()) else {
            return;
        };
        loop {
            let (level, most) = match self.most_overdue() {
                None => (top, self.patient_until - self.served),
                Some(level) => (level, 1),
            };
            let count = self.pick_new_of(level, most, row, picked, &mut will_do);
            if count > 0 {
                self.serve(level, count);
            }
            if count < most {
                return;
            }
        }
    }

    /// Picks new items of a level, so many at most, as long as they are next. Returns their number.
    #[inline]
    fn pick_new_of<P>(
        &mut self,
        level: u16,
        most: u64,
        row: &ItemRow<P>,
        picked: &mut Vec<u64>,
        will_do: &mut impl FnMut(&P) -> bool,
    ) -> u64 {
        let level = &mut self.levels[usize::from(level)];
        // Others of its items may be next.
        if !level.offers.is_empty() || self.unoffered >= Some(level.priority) {
            return 0;
        }
        let mut list = level.new;
        let mut count = 0;
        while count < most
            && let Some((payload, line)) = row.get(list.head)
        {
            let key = self.key_of[line as usize];
            if !self.keys.has_room(key, line) || !will_do(payload) {
                break;
            }
            self.keys.hand_out(key, ItemId(list.head));
            picked.push(list.head);
            row.pass(&mut list);
            count += 1;
        }
        level.new = list;
        count
    }

    /// Returns the level whose turn has come: of those that were passed over for too long the one for which that
    /// was longest.
    #[inline]
    fn most_overdue(&mut self) -> Option<u16> {
        if self.served < self.patient_until {
            return None;
        }
        self.note_patience();
        if self.served < self.patient_until {
            return None;
        }
        // Of those that are alike the first one, which is the highest.
        let mut levels = self.by_priority.iter().copied();
        let until = Some(self.patient_until);
        levels.find(|level| self.levels[usize::from(*level)].patient_until() == until)
    }

    /// Notes that what was offered of a line is handed out.
    fn end_offer(&mut self, front: Front) {
        self.levels[usize::from(front.level)].offers.pop();
        self.items[front.line as usize].offered = 0;
        self.serve_front(front);
        self.offer(front.line);
    }

    /// Notes that the next item is handed out.
    #[inline]
    fn serve_front(&mut self, front: Front) {
        self.serve(front.level, 1);
        let key = self.key(front.line);
        self.keys.hand_out(key, front.id());
        self.front = None;
    }

    /// Notes that so many items of a level, one or more, are handed out one after the other.
    #[inline]
    fn serve(&mut self, level: u16, count: u64) {
        self.served += count;
        self.levels[usize::from(level)].serve(count, self.served);
        if self.top != Some(level) {
            // It was overdue, and is no more.
            self.note_patience();
        }
        // They were of those that may be, and no others may be because of them.
        self.ready -= count;
    }

    /// Notes before how many hand-outs no level is overdue.
    pub(super) fn note_patience(&mut self) {
        let until = self.levels.iter().filter_map(Level::patient_until).min();
        self.patient_until = until.unwrap_or(u64::MAX);
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
        let key = self.keys.place(rank.key);
        let level = self.level(rank.priority);
        let line = self.free_lines.pop().unwrap_or_else(|| {
            self.key_of.push(0);
            self.lines.push(RankLine::default());
            self.items.push(LineItems::default());
            LineId::try_from(self.lines.len() - 1).unwrap_or(LineId::MAX)
        });
        self.key_of[line as usize] = key;
        self.lines[line as usize] = RankLine {
            next_of_key: self.keys.add_line(key, line),
            level,
            is_parked: false,
        };
        self.line_of.insert(of_line, line);
        line
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

    /// Drops the keys that no item has any more, with their lines.
    fn drop_spent(&mut self) {
        while let Some((number, mut line)) = self.keys.pop_spent() {
            while line != 0 {
                let RankLine {
                    level, next_of_key, ..
                } = core::mem::take(&mut self.lines[line as usize]);
                self.items[line as usize] = LineItems::default();
                let priority = self.levels[usize::from(level)].priority;
                self.line_of.remove(&(priority, Some(number)));
                self.free_lines.push(line);
                line = next_of_key;
            }
        }
    }

    /// Returns `true` if an item of this line may be handed out.
    #[inline]
    pub(super) fn has_room(&self, line: LineId) -> bool {
        let key = self.key(line);
        self.keys.has_room(key, line)
    }

    /// Notes that one item more of a line waits.
    fn wait(&mut self, line: LineId) {
        let key = self.key(line);
        let level = self.lines[line as usize].level;
        self.ready += u64::from(self.keys.wait(key));
        self.forget_front();
        let level = &mut self.levels[usize::from(level)];
        if level.enter(self.served) {
            let until = level.patient_until().unwrap_or(u64::MAX);
            self.patient_until = self.patient_until.min(until);
        }
    }

    /// Notes that an item of a line waits no more, and belongs to it no more.
    fn wait_no_more(&mut self, id: ItemId, line: LineId) {
        let key = self.change_key(line, |keys, key| keys.wait_no_more(key, id));
        self.keys.note_spent(key);
        let level = self.lines[line as usize].level;
        self.levels[usize::from(level)].leave(self.served);
        self.unpark(key);
    }

    /// Changes the key of a line, which it returns.
    #[inline]
    fn change_key(&mut self, line: LineId, change: impl FnOnce(&mut RankKeys, KeyId)) -> KeyId {
        let key = self.key(line);
        let before = self.keys.ready(key);
        change(&mut self.keys, key);
        self.ready = self.ready + u64::from(self.keys.ready(key)) - u64::from(before);
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
        let key = self.change_key(line, |keys, key| keys.end_rest(key, id, waits));
        self.unpark(key);
    }

    /// Notes that an item whose attempt failed keeps its key's turn, if only one of them may run.
    pub(super) fn keep_turn(&mut self, id: ItemId, line: LineId, is_resting: bool) {
        if self.is_one_by_one && self.key(line) != 0 {
            self.change_key(line, |keys, key| keys.keep_turn(key, id, line, is_resting));
        }
    }
}
