//! The order of the items that wait, where they have keys: at most so many of one key are with holders
//! at a time, and others pass by.
//!
//! Items of one rank (a priority and a key) wait in one line, the lowest number first; a line's next
//! item is *offered* while its key has room. Of what is offered the highest priority goes first, and
//! in it the lowest number. So that nothing waits for ever, a priority that was passed over
//! [`PATIENCE`] times in a row is served once.
//!
//! Where one item of a key runs at a time, a key's items keep their order: an item that failed and is
//! tried again keeps its key's turn until then, also while it rests.
//!
//! Items that were never handed out lie in a row, as they do without keys. Each names its line and the
//! next item of that, so that it costs 8 bytes more. It knows neither holders nor times, and of an
//! item nothing but its rank.

use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use core::ops::RangeInclusive;

use hashbrown::HashMap;

use super::waiting::UnfinishedItem;
use super::{ItemId, Weight};

/// The number of times in a row for which a priority is passed over by higher ones.
const PATIENCE: u32 = 32;

/// The number of gaps that the row may have besides one for each item in it.
const GAPS: usize = 64;

/// The properties of an item from which its place in the order follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Rank {
    /// Its key, as a number; `None`: it has none, and is not bounded.
    pub key: Option<u64>,
    /// Its priority: greater ones go first.
    pub priority: i8,
}

impl Rank {
    /// Makes the rank of an item with this key, if it has one.
    #[must_use]
    pub fn of_key(key: Option<u64>) -> Self {
        Rank { key, priority: 0 }
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = priority;
        self
    }
}

/// The rules of the order: the rank of each item, and how many of one key may be with holders.
pub struct OrderRules<P> {
    rank: Arc<dyn Fn(&P) -> Rank + Send + Sync>,
    per_key: u32,
}

impl<P> OrderRules<P> {
    /// Makes rules by which this function says an item's rank, always the same of the same item. Keys
    /// bound nothing.
    pub fn new(rank: impl Fn(&P) -> Rank + Send + Sync + 'static) -> Self {
        OrderRules {
            rank: Arc::new(rank),
            per_key: u32::MAX,
        }
    }

    /// Has at most so many items of one key be with holders; 0 is taken as 1.
    #[must_use]
    pub fn per_key(mut self, most: u32) -> Self {
        self.per_key = most.max(1);
        self
    }
}

impl<P> fmt::Debug for OrderRules<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderRules")
            .field("per_key", &self.per_key)
            .finish_non_exhaustive()
    }
}

/// The number of a line, from 1; 0 for an item that is in none.
pub(super) type LineId = u32;

/// An item that was never handed out, or the gap that it has left.
#[derive(Debug)]
struct Row<P> {
    payload: Option<P>,
    line: LineId,
    /// The distance to the next item of its line; 0 if there is none.
    next: u32,
}

/// The items of one rank.
#[derive(Debug, Default)]
struct Line {
    level: usize,
    key: usize,
    rank: Rank,
    /// The first and the last of its items in the row; 0 if there is none.
    head: u64,
    tail: u64,
    /// Those that wait elsewhere: they have come back.
    returned: BTreeSet<ItemId>,
    /// The number of its items that wait, that rest or are not durable yet, and that holders have.
    waiting: usize,
    aside: usize,
    running: usize,
    /// The item that is offered; 0 if none is.
    offered: u64,
    /// True if it is among those that had nothing left when it was last looked.
    is_noted: bool,
}

impl Line {
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
struct Turn {
    id: ItemId,
    line: LineId,
    is_resting: bool,
}

/// The state of a key.
#[derive(Debug, Default)]
struct KeyState {
    lines: Vec<LineId>,
    waiting: usize,
    running: usize,
    turn: Option<Turn>,
}

/// One priority: the first items of its lines, as far as their keys have room. Some are out of date.
#[derive(Debug)]
struct Level {
    priority: i8,
    offers: BinaryHeap<Reverse<(u64, LineId)>>,
    /// True if one was ready when the next item was found last.
    is_ready: bool,
    passed_over: u32,
}

/// The next item, and where it is.
#[derive(Debug, Clone, Copy)]
struct Front {
    id: u64,
    line: LineId,
    level: usize,
}

/// The cause for which an item is not handed out, though it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Others of its key run, or are before it.
    Key,
    /// All slots are taken.
    Slot,
    /// It is too soon after others.
    Rate,
}

impl WaitsFor {
    /// Returns it in one word, for people and programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            WaitsFor::Key => "key",
            WaitsFor::Slot => "slot",
            WaitsFor::Rate => "rate",
        }
    }
}

#[derive(Debug)]
pub(super) struct Order<P> {
    rules: OrderRules<P>,
    rows: VecDeque<Row<P>>,
    /// The number of the item in the first row.
    first: u64,
    gaps: usize,
    /// The lines; the first one is no line.
    lines: Vec<Line>,
    line_of: HashMap<Rank, LineId>,
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

impl<P> Order<P> {
    pub(super) fn new(rules: OrderRules<P>) -> Self {
        Order {
            rules,
            rows: VecDeque::new(),
            first: 1,
            gaps: 0,
            lines: alloc::vec![Line::default()],
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

    /// Returns the number of rows, with gaps.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Returns the number of items in the row.
    pub(super) fn fresh(&self) -> usize {
        self.rows.len() - self.gaps
    }

    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    fn place(&self, id: ItemId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    /// Returns an item in the row, among its first `rows`.
    pub(super) fn get(&self, id: ItemId, rows: usize) -> Option<&P> {
        let place = self.place(id).filter(|place| *place < rows)?;
        self.rows.get(place)?.payload.as_ref()
    }

    /// Returns `true` if this item is a gap in the row.
    fn is_gap(&self, id: ItemId) -> bool {
        let row = self.place(id).and_then(|place| self.rows.get(place));
        row.is_some_and(|row| row.payload.is_none())
    }

    /// Returns the gaps in the row with these numbers.
    pub(super) fn gaps_in(
        &self,
        numbers: RangeInclusive<ItemId>,
    ) -> impl Iterator<Item = ItemId> + '_ {
        let last = (self.first + self.rows.len() as u64).saturating_sub(1);
        let numbers = numbers.start().0.max(self.first)..=numbers.end().0.min(last);
        numbers.map(ItemId).filter(|id| self.is_gap(*id))
    }

    /// Returns the line of an item in the row.
    fn line_in_row(&self, id: ItemId) -> Option<LineId> {
        Some(self.rows.get(self.place(id)?)?.line)
    }

    /// Returns `true` if an item that waits is kept back because of its key. `line` is that of an item
    /// that came back.
    pub(super) fn is_kept_back(&self, id: ItemId, line: Option<LineId>) -> bool {
        let Some(line) = line.or_else(|| self.line_in_row(id)) else {
            return false;
        };
        let key = self.lines[line as usize].key;
        let is_first = || {
            let lines = self.keys[key].lines.iter();
            let first = lines.map(|line| self.lines[*line as usize].first());
            first.filter(|first| *first > 0).min() == Some(id.0)
        };
        // One that is behind others of its key waits for them, too.
        key != 0 && (!self.has_room(line) || (self.rules.per_key == 1 && !is_first()))
    }
}

/// Lines and keys.
impl<P> Order<P> {
    /// Returns the line of this rank, which may be new.
    fn line(&mut self, rank: Rank) -> LineId {
        if let Some(line) = self.line_of.get(&rank) {
            return *line;
        }
        self.drop_spent();
        let key = self.key(rank.key);
        let level = self.level(rank.priority);
        let fresh = Line {
            level,
            key,
            rank,
            ..Line::default()
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
        self.line_of.insert(rank, line);
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
                is_ready: false,
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
            self.lines[at] = Line::default();
            self.free_lines.push(line);
            let state = &mut self.keys[key];
            state.lines.retain(|one| *one != line);
            if let Some(print) = rank.key.filter(|_| state.lines.is_empty()) {
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
        let room = (self.rules.per_key as usize).saturating_sub(state.running);
        let waiting = match state.turn {
            None => state.waiting,
            Some(turn) if turn.is_resting => 0,
            Some(turn) => self.lines[turn.line as usize].waiting,
        };
        room.min(waiting)
    }

    /// Returns `true` if the first item of this line may be handed out, if there is one.
    fn has_room(&self, line: LineId) -> bool {
        let key = self.lines[line as usize].key;
        let state = &self.keys[key];
        let is_its_turn = |turn: Turn| turn.line == line && !turn.is_resting;
        key == 0
            || (state.running < self.rules.per_key as usize && state.turn.is_none_or(is_its_turn))
    }

    /// Changes a line and its key, and offers what may be handed out then.
    fn change(&mut self, line: LineId, change: impl FnOnce(&mut Line, &mut KeyState)) {
        let at = line as usize;
        let key = self.lines[at].key;
        let before = self.ready_of(key);
        change(&mut self.lines[at], &mut self.keys[key]);
        let after = self.ready_of(key);
        self.ready = self.ready + after - before;
        self.front = None;
        if self.lines[at].is_spent() && !core::mem::replace(&mut self.lines[at].is_noted, true) {
            self.spent.push(line);
        }
        if key == 0 || self.keys[key].lines.len() == 1 {
            return self.offer(line);
        }
        for place in 0..self.keys[key].lines.len() {
            self.offer(self.keys[key].lines[place]);
        }
    }

    /// Offers the first item of a line, if its key has room and it is not offered yet.
    fn offer(&mut self, line: LineId) {
        let first = self.lines[line as usize].first();
        if first == 0 || first == self.lines[line as usize].offered || !self.has_room(line) {
            return;
        }
        let one = &mut self.lines[line as usize];
        one.offered = first;
        let level = &mut self.levels[one.level];
        level.offers.push(Reverse((first, line)));
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
            let line = &mut self.lines[line as usize];
            if line.offered == id {
                line.offered = 0;
            }
        }
        None
    }

    /// Chooses between the first offers of two levels, the higher priority first: that, unless the
    /// other was passed over for too long.
    fn choose(&self, chosen: Option<Front>, offer: Front) -> Front {
        let passed_over = |offer: Front| self.levels[offer.level].passed_over;
        let is_patient =
            |chosen: &Front| passed_over(offer) < PATIENCE.max(passed_over(*chosen) + 1);
        chosen.filter(is_patient).unwrap_or(offer)
    }

    /// Finds the next item.
    fn settle(&mut self) -> Option<Front> {
        if self.front.is_none() && self.ready > 0 {
            for place in 0..self.by_priority.len() {
                let level = self.by_priority[place];
                let top = self.top(level);
                self.levels[level].is_ready = top.is_some();
                if let Some((id, line)) = top {
                    let offer = Front { id, line, level };
                    self.front = Some(self.choose(self.front, offer));
                }
            }
        }
        self.front
    }

    /// Finds the next item without a change, which may take longer.
    fn find(&self) -> Option<Front> {
        if self.front.is_some() || self.ready == 0 {
            return self.front;
        }
        let first = |level: &usize| {
            let offers = self.levels[*level].offers.iter();
            let offers = offers.map(|Reverse(offer)| *offer);
            let (id, line) = offers.filter(|offer| self.is_good(*offer)).min()?;
            let level = *level;
            Some(Front { id, line, level })
        };
        let firsts = self.by_priority.iter().filter_map(first);
        firsts.fold(None, |chosen, offer| Some(self.choose(chosen, offer)))
    }

    /// Returns the next item, if it is found.
    pub(super) fn peek(&self) -> Option<ItemId> {
        self.find().map(|front| ItemId(front.id))
    }

    pub(super) fn peek_mut(&mut self) -> Option<ItemId> {
        self.settle().map(|front| ItemId(front.id))
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
                key.turn = keeps_turn.then_some(Turn { is_resting, ..turn });
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
    fn keep_turn(&mut self, id: ItemId, line: LineId, is_resting: bool) {
        if self.rules.per_key == 1 && self.lines[line as usize].key != 0 {
            let turn = Turn {
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
fn leave(id: ItemId, line: &mut Line, key: &mut KeyState) {
    line.waiting -= 1;
    key.waiting -= 1;
    if key.turn.is_some_and(|turn| turn.id == id) {
        key.turn = None;
    }
}

/// Items.
impl<P: Weight + Clone> Order<P> {
    /// Adds the next item, which has this number. One that is staged waits for
    /// [`unstage`](Self::unstage).
    pub(super) fn accept(&mut self, id: u64, payload: P, is_staged: bool) {
        let line = self.line((self.rules.rank)(&payload));
        if self.rows.is_empty() {
            self.first = id;
        }
        self.rows.push_back(Row {
            payload: Some(payload),
            line,
            next: 0,
        });
        match is_staged {
            true => self.change(line, |line, _| line.aside += 1),
            false => self.link(id, line),
        }
    }

    /// Adds an item of the row to its line.
    fn link(&mut self, id: u64, line: LineId) {
        let (head, tail) = {
            let line = &self.lines[line as usize];
            (line.head, line.tail)
        };
        if head > 0
            && let Some(place) = self.place(ItemId(tail))
        {
            self.rows[place].next = u32::try_from(id - tail).unwrap_or(0);
        }
        self.change(line, |line, key| {
            if line.head == 0 {
                line.head = id;
            }
            line.tail = id;
            line.waiting += 1;
            key.waiting += 1;
        });
    }

    /// Lets the oldest `count` of `staged` items wait.
    pub(super) fn unstage(&mut self, count: usize, staged: usize) {
        let begin = self.rows.len() - staged;
        for place in begin..begin + count {
            let line = self.rows[place].line;
            self.change(line, |line, _| line.aside -= 1);
            self.link(self.first + place as u64, line);
        }
    }

    /// Drops the staged items.
    pub(super) fn discard(&mut self, staged: usize) {
        for _ in 0..staged {
            if let Some(row) = self.rows.pop_back() {
                self.change(row.line, |line, _| line.aside -= 1);
            }
        }
    }

    /// Takes an item out of the row, among its first `rows`.
    pub(super) fn remove(&mut self, id: ItemId, rows: usize) -> Option<UnfinishedItem<P>> {
        let place = self.place(id).filter(|place| *place < rows)?;
        let payload = self.rows.get_mut(place)?.payload.take()?;
        let line = self.rows[place].line;
        self.gaps += 1;
        self.pass_gaps(id.0, line);
        self.change(line, |line, key| leave(id, line, key));
        Some(UnfinishedItem::in_line(id, payload, line))
    }

    /// Begins a line with its next item, if it begins with the gap that this item has left.
    fn pass_gaps(&mut self, id: u64, line: LineId) {
        if self.lines[line as usize].head != id {
            return;
        }
        let mut head = id;
        while let Some(row) = self.place(ItemId(head)).and_then(|at| self.rows.get(at))
            && row.payload.is_none()
        {
            head = match row.next {
                0 => 0,
                next => head + u64::from(next),
            };
        }
        self.lines[line as usize].head = head;
    }

    /// Takes the next item: its number and, if it was never handed out, itself. Otherwise it is among
    /// those that came back.
    pub(super) fn pop(&mut self) -> Option<(ItemId, Option<UnfinishedItem<P>>)> {
        let Front { id, line, level } = self.settle()?;
        self.levels[level].offers.pop();
        self.levels[level].passed_over = 0;
        let priority = self.levels[level].priority;
        for other in &mut self.levels {
            if other.priority < priority && other.is_ready {
                other.passed_over += 1;
            }
        }
        self.lines[line as usize].offered = 0;
        let id = ItemId(id);
        let entry = match self.lines[line as usize].returned.remove(&id) {
            true => None,
            false => {
                let place = self.place(id)?;
                let payload = self.rows[place].payload.take()?;
                self.gaps += 1;
                self.pass_gaps(id.0, line);
                Some(UnfinishedItem::in_line(id, payload, line))
            }
        };
        self.change(line, |line, key| {
            leave(id, line, key);
            line.running += 1;
            key.running += 1;
        });
        Some((id, entry))
    }

    /// Drops gaps from the front of the row, and lays its first items aside where it has become much
    /// longer than what is in it. The last `staged` stay.
    pub(super) fn shorten(
        &mut self,
        staged: usize,
        returned: &mut BTreeMap<ItemId, UnfinishedItem<P>>,
    ) {
        while self.rows.len() > staged {
            let is_long = self.rows.len() > 2 * self.fresh() + GAPS;
            let front = self.rows.front();
            let is_gap = front.is_some_and(|row| row.payload.is_none());
            if !is_gap && !is_long {
                return;
            }
            let id = ItemId(self.first);
            let Some(row) = self.rows.pop_front() else {
                return;
            };
            self.first += 1;
            let Some(payload) = row.payload else {
                self.gaps -= 1;
                continue;
            };
            // It is the first of its line in the row, because it is the first of all.
            let head = match row.next {
                0 => 0,
                next => id.0 + u64::from(next),
            };
            let line = &mut self.lines[row.line as usize];
            line.head = head;
            line.returned.insert(id);
            self.pass_gaps(head, row.line);
            let entry = UnfinishedItem::in_line(id, payload, row.line);
            returned.insert(id, entry);
        }
    }

    /// Notes that an item waits again, among those that came back.
    pub(super) fn put_back(&mut self, entry: &mut UnfinishedItem<P>) {
        let line = self.line_of(entry);
        let id = entry.id;
        self.change(line, |line, key| {
            line.returned.insert(id);
            line.waiting += 1;
            key.waiting += 1;
        });
    }

    /// Notes that an item rests. `is_failed`: because its attempt has failed, so it keeps its key's
    /// turn.
    pub(super) fn rest(&mut self, entry: &mut UnfinishedItem<P>, is_failed: bool) {
        let line = self.line_of(entry);
        self.change(line, |line, _| line.aside += 1);
        if is_failed {
            self.keep_turn(entry.id, line, true);
        }
    }

    /// Notes that an item whose attempt failed is to be the next one of its key.
    pub(super) fn retry_next(&mut self, entry: &mut UnfinishedItem<P>) {
        let line = self.line_of(entry);
        self.keep_turn(entry.id, line, false);
    }

    fn line_of(&mut self, entry: &mut UnfinishedItem<P>) -> LineId {
        if entry.line == 0 {
            entry.line = self.line((self.rules.rank)(&entry.payload));
        }
        entry.line
    }
}
