//! The order of the items that wait, where they have ranks: at most so many of one key are with holders
//! at a time, and others pass by.
//!
//! Items of one rank (a priority and a key) wait in one line, the lowest number first; a line's next
//! item is *offered* while its key has room. Of what is offered the highest priority goes first, and
//! in it the lowest number. So that nothing waits for ever, a priority that was passed over
//! 32 times in a row, while an item of it waited, is served once. Lower ones are looked at only then.
//!
//! Where one item of a key runs at a time, a key's items keep their order: an item that failed and is
//! tried again keeps its key's turn until then, also while it rests.
//!
//! Items that were never handed out lie in a row, as they do without keys. Each names its line and the
//! next item of that, so that it costs 8 bytes more. It knows no holder and no clock, and of an item
//! nothing but its rank.

mod lines;
mod rank;
mod times;

use alloc::collections::{BTreeMap, VecDeque};
use core::ops::RangeInclusive;
use core::time::Duration;

use super::unfinished::UnfinishedItem;
use super::{ItemId, Weight};
pub(super) use lines::LineId;
use lines::{RankLines, leave};
pub use rank::{OrderRules, Rank, WaitsFor};
pub(super) use times::ItemTimes;

/// The number of gaps that the row may have besides one for each item in it.
const GAPS: usize = 64;

/// An item that was never handed out, or the gap that it has left.
#[derive(Debug)]
struct RowPlace<P> {
    payload: Option<P>,
    line: LineId,
    /// The distance to the next item of its line; 0 if there is none.
    next: u32,
}

#[derive(Debug)]
pub(super) struct RankOrder<P> {
    rules: OrderRules<P>,
    rows: VecDeque<RowPlace<P>>,
    /// The number of the item in the first row.
    first: u64,
    gaps: usize,
    lines: RankLines,
    pub(super) times: ItemTimes,
}

impl<P> RankOrder<P> {
    pub(super) fn new(rules: OrderRules<P>) -> Self {
        let times = ItemTimes::new(rules.has_deadlines);
        RankOrder {
            lines: RankLines::new(rules.per_key),
            rules,
            rows: VecDeque::new(),
            first: 1,
            gaps: 0,
            times,
        }
    }

    /// Makes room for so many items.
    pub(super) fn reserve(&mut self, items: usize) {
        self.rows.reserve(items);
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
        self.lines.ready()
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
        let line = line.or_else(|| self.line_in_row(id));
        line.is_some_and(|line| self.lines.is_kept_back(id, line))
    }

    /// Returns the next item.
    pub(super) fn peek(&self) -> Option<ItemId> {
        self.lines.find().map(|front| ItemId(front.id))
    }

    /// Returns the next item, and keeps it in mind.
    pub(super) fn peek_mut(&mut self) -> Option<ItemId> {
        self.lines.settle().map(|front| ItemId(front.id))
    }

    /// Notes that holders have one item of this line less.
    pub(super) fn release(&mut self, line: LineId) {
        self.lines.release(line);
    }

    /// Notes that an item of this line does not rest any more. `keeps_turn`: it waits again, with its
    /// key's turn if it had that.
    pub(super) fn end_rest(&mut self, id: ItemId, line: LineId, keeps_turn: bool) {
        self.lines.end_rest(id, line, keeps_turn);
    }

    /// Notes that an item of this line, which came back, is taken out.
    pub(super) fn remove_returned(&mut self, id: ItemId, line: LineId) {
        self.lines.remove_returned(id, line);
    }
}

/// Items.
impl<P: Weight + Clone> RankOrder<P> {
    /// Adds the next item, which has this number. One that is staged waits for
    /// [`unstage`](Self::unstage).
    pub(super) fn accept(&mut self, id: u64, payload: P, is_staged: bool) {
        let rank = (self.rules.rank)(&payload);
        let line = self.lines.line(rank);
        if let Some(until) = self.times.note(ItemId(id), rank) {
            self.times.early.push_back((ItemId(id), until));
        }
        if self.rows.is_empty() {
            self.first = id;
        }
        self.rows.push_back(RowPlace {
            payload: Some(payload),
            line,
            next: 0,
        });
        match is_staged {
            true => self.lines.change(line, |line, _| line.aside += 1),
            false => self.link(id, line),
        }
    }

    /// Takes an item out of the row that is to rest, among its first `rows`. Those that are staged
    /// stay.
    pub(super) fn pop_early(&mut self, rows: usize) -> Option<(UnfinishedItem<P>, Duration)> {
        let (id, until) = *self.times.early.front()?;
        if self.place(id).is_some_and(|place| place >= rows) {
            return None;
        }
        self.times.early.pop_front();
        let until = match self.times.blocked.get_mut(&id) {
            None => until,
            Some(later) => {
                *later = until;
                Duration::MAX
            }
        };
        let Some(mut entry) = self.remove(id, rows) else {
            return self.pop_early(rows);
        };
        self.rest(&mut entry, false);
        Some((entry, until))
    }

    /// Notes the times of an item that came back before there was an order. Returns the time until
    /// which it is to rest.
    pub(super) fn times_of(&mut self, entry: &UnfinishedItem<P>) -> Option<Duration> {
        let rank = (self.rules.rank)(&entry.payload);
        self.times.note(entry.id, rank)
    }

    /// Returns the time before which an item is not handed out.
    pub(super) fn not_before(&self, entry: &UnfinishedItem<P>) -> Option<Duration> {
        (self.rules.rank)(&entry.payload).not_before
    }

    /// Adds an item of the row to its line.
    fn link(&mut self, id: u64, line: LineId) {
        let (head, tail) = self.lines.ends(line);
        if head > 0
            && let Some(place) = self.place(ItemId(tail))
        {
            self.rows[place].next = u32::try_from(id - tail).unwrap_or(0);
        }
        self.lines.change(line, |line, key| {
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
            let id = self.first + place as u64;
            self.lines.change(line, |line, _| line.aside -= 1);
            self.link(id, line);
            if self.times.comes_back_late(ItemId(id)) {
                // It rests until it is given up.
                self.times.early.push_front((ItemId(id), Duration::MAX));
            }
        }
    }

    /// Drops the staged items.
    pub(super) fn discard(&mut self, staged: usize) {
        for _ in 0..staged {
            if let Some(row) = self.rows.pop_back() {
                self.lines.change(row.line, |line, _| line.aside -= 1);
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
        self.lines.change(line, |line, key| leave(id, line, key));
        Some(UnfinishedItem::in_line(id, payload, line))
    }

    /// Begins a line with its next item, if it begins with the gap that this item has left.
    fn pass_gaps(&mut self, id: u64, line: LineId) {
        if self.lines.ends(line).0 != id {
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
        self.lines.begin_with(line, head);
    }

    /// Takes the next item: its number and, if it was never handed out, itself. Otherwise it is among
    /// those that came back.
    pub(super) fn pop(&mut self) -> Option<(ItemId, Option<UnfinishedItem<P>>)> {
        let front = self.lines.settle()?;
        let (id, line) = (ItemId(front.id), front.line);
        let entry = match self.lines.take(front) {
            true => None,
            false => {
                let place = self.place(id)?;
                let payload = self.rows[place].payload.take()?;
                self.gaps += 1;
                self.pass_gaps(id.0, line);
                Some(UnfinishedItem::in_line(id, payload, line))
            }
        };
        self.lines.change(line, |line, key| {
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
            let is_long = self.rows.len() > 4 * self.fresh() + GAPS;
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
            self.lines.lay_aside(row.line, id, head);
            self.pass_gaps(head, row.line);
            let entry = UnfinishedItem::in_line(id, payload, row.line);
            returned.insert(id, entry);
        }
    }

    /// Notes that an item waits again, among those that came back.
    pub(super) fn put_back(&mut self, entry: &mut UnfinishedItem<P>) {
        let line = self.line_of(entry);
        let id = entry.id;
        self.lines.change(line, |line, key| {
            line.returned.insert(id);
            line.waiting += 1;
            key.waiting += 1;
        });
    }

    /// Notes that an item rests. `is_failed`: because its attempt has failed, so it keeps its key's
    /// turn.
    pub(super) fn rest(&mut self, entry: &mut UnfinishedItem<P>, is_failed: bool) {
        let line = self.line_of(entry);
        self.lines.change(line, |line, _| line.aside += 1);
        if is_failed {
            self.lines.keep_turn(entry.id, line, true);
        }
    }

    /// Notes that an item whose attempt failed is to be the next one of its key.
    pub(super) fn retry_next(&mut self, entry: &mut UnfinishedItem<P>) {
        let line = self.line_of(entry);
        self.lines.keep_turn(entry.id, line, false);
    }

    fn line_of(&mut self, entry: &mut UnfinishedItem<P>) -> LineId {
        if entry.line == 0 {
            entry.line = self.lines.line((self.rules.rank)(&entry.payload));
        }
        entry.line
    }
}
