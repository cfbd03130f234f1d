//! The order of the items that wait, where they have ranks: at most so many of one key are with holders
//! at a time, and others pass by.
//!
//! Of the items whose keys have room the highest priority goes first, and in it the lowest number. So that
//! nothing waits for ever, a priority that was passed over 32 times in a row, while an item of it waited, is
//! served once. Lower ones are looked at only then.
//!
//! Where one item of a key runs at a time, a key's items keep their order: an item that failed and is
//! tried again keeps its key's turn until then, also while it rests.
//!
//! Items that were never handed out lie in a row, as they do without keys, at 8 bytes more each. Which of them
//! is next, the lines know. It knows no holder and no clock, and of an item nothing but its rank.

mod front;
mod key;
mod level;
mod lines;
mod rank;
mod row;
mod search;
mod times;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::unfinished::UnfinishedItem;
use super::{ItemId, Weight};
pub(super) use front::Front;
use lines::RankLines;
pub(super) use rank::LineId;
pub use rank::{OrderRules, Rank, WaitsFor};
use row::ItemRow;
pub(super) use times::ItemTimes;

#[derive(Debug)]
pub(super) struct RankOrder<P> {
    rules: OrderRules<P>,
    row: ItemRow<P>,
    lines: RankLines,
    /// The numbers of those that are handed out and not taken yet.
    picked: Vec<u64>,
    pub(super) times: ItemTimes,
}

impl<P> RankOrder<P> {
    pub(super) fn new(rules: OrderRules<P>) -> Self {
        let times = ItemTimes::new(rules.has_deadlines);
        RankOrder {
            lines: RankLines::new(rules.per_key),
            rules,
            row: ItemRow::new(),
            picked: Vec::new(),
            times,
        }
    }

    /// Makes room for so many items.
    pub(super) fn reserve(&mut self, items: usize) {
        self.row.reserve(items);
    }

    /// Returns the number of places in the row, with gaps.
    pub(super) fn rows(&self) -> usize {
        self.row.len()
    }

    /// Returns the number of items in the row.
    pub(super) fn fresh(&self) -> usize {
        self.row.items()
    }

    pub(super) fn ready(&self) -> usize {
        self.lines.ready()
    }

    /// Returns an item in the row, among its first `rows`.
    pub(super) fn get(&self, id: ItemId, rows: usize) -> Option<&P> {
        self.row.place(id.0).filter(|place| *place < rows)?;
        self.row.payload(id.0)
    }

    /// Returns the gaps in the row with these numbers.
    pub(super) fn gaps_in(
        &self,
        numbers: RangeInclusive<ItemId>,
    ) -> impl Iterator<Item = ItemId> + '_ {
        self.row.gaps_in(numbers)
    }

    /// Returns `true` if an item that waits is kept back because of its key. `line` is that of an item
    /// that came back.
    pub(super) fn is_kept_back(&self, id: ItemId, line: Option<LineId>) -> bool {
        let line = line.unwrap_or_else(|| self.row.line(id.0));
        self.lines.is_kept_back(line)
    }

    /// Returns the next item.
    pub(super) fn peek(&self) -> Option<Front> {
        self.lines.find(&self.row)
    }

    /// Finds the next item, and keeps it in mind.
    #[inline]
    pub(super) fn peek_mut(&mut self) -> Option<Front> {
        self.lines.settle(&mut self.row)
    }

    /// Returns an item that is next, from the row or from among those that came back.
    #[inline]
    pub(super) fn front<'a>(
        &'a self,
        front: Front,
        returned: &'a BTreeMap<ItemId, UnfinishedItem<P>>,
    ) -> Option<&'a P> {
        match front.is_returned() {
            true => returned.get(&ItemId(front.id)).map(|entry| &entry.payload),
            false => self.row.payload(front.id),
        }
    }

    /// Notes that holders have one item of this line less.
    #[inline]
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
        self.row.push(id, payload, line);
        match is_staged {
            true => self.lines.enter(line),
            false => self.lines.add(&mut self.row, id, line),
        }
    }

    /// Takes an item out of the row that is to rest, among its first `rows`. Those that are staged
    /// stay.
    pub(super) fn pop_early(&mut self, rows: usize) -> Option<(UnfinishedItem<P>, Duration)> {
        let (id, until) = *self.times.early.front()?;
        if self.row.place(id.0).is_some_and(|place| place >= rows) {
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

    /// Forgets the deadline of an item, also if that has come.
    pub(super) fn forget_deadline(&mut self, entry: &UnfinishedItem<P>) {
        if self.times.deadlines() > 0 {
            let rank = (self.rules.rank)(&entry.payload);
            self.times.forget(entry.id, rank);
        }
    }

    /// Lets the oldest `count` of `staged` items wait.
    pub(super) fn unstage(&mut self, count: usize, staged: usize) {
        let begin = self.row.len() - staged;
        for place in begin..begin + count {
            let id = self.row.number(place);
            let line = self.row.line(id);
            self.lines.leave(line);
            self.lines.add(&mut self.row, id, line);
            if self.times.comes_back_late(ItemId(id)) {
                // It rests until it is given up.
                self.times.early.push_front((ItemId(id), Duration::MAX));
            }
        }
    }

    /// Drops the staged items.
    pub(super) fn discard(&mut self, staged: usize) {
        for _ in 0..staged {
            if let Some(line) = self.row.pop_last() {
                self.lines.leave(line);
            }
        }
    }

    /// Takes an item out of the row, among its first `rows`.
    pub(super) fn remove(&mut self, id: ItemId, rows: usize) -> Option<UnfinishedItem<P>> {
        self.get(id, rows)?;
        let (payload, line) = self.lines.remove(&mut self.row, id)?;
        Some(UnfinishedItem::in_line(id, payload, line))
    }

    /// Takes the next item.
    pub(super) fn pop_first(
        &mut self,
        returned: &mut BTreeMap<ItemId, UnfinishedItem<P>>,
    ) -> Option<UnfinishedItem<P>> {
        let front = self.peek_mut()?;
        self.lines.pick(&self.row, front);
        if front.is_returned() {
            return returned.remove(&front.id());
        }
        let (payload, line) = self.row.take(front.id)?;
        Some(UnfinishedItem::in_line(front.id(), payload, line))
    }

    /// Takes the next items from the row, up to the first that came back or whose weight is not accepted.
    ///
    /// They are picked first, so that how many they are is known, and each is moved just once, to where it
    /// is to lie: a copy elsewhere costs more than to find out which item is next. What is picked must be
    /// taken, too: the iterator is to be used up.
    pub(super) fn pop_fresh(
        &mut self,
        mut will_do: impl FnMut(usize) -> bool,
    ) -> impl Iterator<Item = UnfinishedItem<P>> {
        let mut will_do = |payload: &P| will_do(payload.weight());
        loop {
            let (lines, row) = (&mut self.lines, &self.row);
            lines.pick_new(row, &mut self.picked, &mut will_do);
            let front = self.peek_mut();
            // One that came back is not in the row.
            let Some(front) =
                front.filter(|front| self.row.payload(front.id).is_some_and(&mut will_do))
            else {
                break;
            };
            self.lines.pick(&self.row, front);
            self.picked.push(front.id);
        }
        let mut row = self.row.taking();
        self.picked.drain(..).map(move |id| {
            let (payload, line) = row.take(id).expect("it was picked from the row");
            UnfinishedItem::in_line(ItemId(id), payload, line)
        })
    }

    /// Lays the first item of the row aside, where that would have to grow although there is little in it. The
    /// last `staged` stay.
    pub(super) fn thin_out(
        &mut self,
        staged: usize,
        returned: &mut BTreeMap<ItemId, UnfinishedItem<P>>,
    ) {
        if self.row.is_long()
            && self.row.len() > staged
            && let Some((id, payload, line)) = self.lines.lay_aside(&mut self.row)
        {
            returned.insert(id, UnfinishedItem::in_line(id, payload, line));
        }
    }

    /// Notes that an item waits again, among those that came back.
    pub(super) fn put_back(&mut self, entry: &mut UnfinishedItem<P>) {
        let line = self.line_of(entry);
        self.lines.add_returned(entry.id, line);
    }

    /// Notes that an item rests. `is_failed`: because its attempt has failed, so it keeps its key's
    /// turn.
    pub(super) fn rest(&mut self, entry: &mut UnfinishedItem<P>, is_failed: bool) {
        let line = self.line_of(entry);
        self.lines.enter(line);
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
