//! Finds the next item, by what lines offer.
//!
//! A new item is in the list of its priority, and costs nothing until it comes to the front of that.
//! Then it is handed out if its key has room, and else it waits in its line. A line's first item is offered
//! when its key has room again. So an item is looked at once, and once more if its key was full.
//!
//! Most often a key has room only until its item of the highest priority is handed out, so only that one is
//! offered at once. It does not know what becomes of the items that it finds.

use super::front::{Front, FrontPlace};
use super::level::{Level, Offer};
use super::lines::RankLines;
use super::rank::LineId;
use super::row::ItemRow;

/// The number of lines that are not offered up to which they are looked through.
const FEW_LINES: usize = 256;

impl RankLines {
    /// Offers the first item of a line, if it is not offered yet: now, or when its key has room.
    #[inline]
    pub(super) fn offer(&mut self, line: LineId) {
        let items = &self.items[line as usize];
        let first = items.first();
        if first == 0 || first == items.offered {
            return;
        }
        let has_room = self.has_room(line);
        let one = &mut self.lines[line as usize];
        if has_room {
            self.items[line as usize].offered = first;
            let level = &mut self.levels[usize::from(one.level)];
            level.offers.push((first, line));
        } else if !core::mem::replace(&mut one.is_parked, true) {
            self.keys[one.key as usize].parked.push(line);
        }
    }

    /// Notes that a key has room, perhaps: the one of its lines that has the highest priority of those that
    /// waited for it is offered now, and the others when somebody looks for them.
    pub(super) fn unpark(&mut self, key: u32) {
        let state = &self.keys[key as usize];
        let (mut first, mut second) = (None, None);
        for (place, line) in (0..).zip(&state.parked) {
            let one = Some((self.priority(*line), place));
            if !state.has_room(*line) {
                continue;
            }
            if one > first {
                (first, second) = (one, first);
            } else {
                second = second.max(one);
            }
        }
        let Some((priority, place)) = first else {
            return;
        };
        match Some(priority) > self.unoffered {
            true => self.unpark_line(key, place),
            false => second = first,
        }
        if let Some((priority, _)) = second {
            self.unoffered = self.unoffered.max(Some(priority));
            if !core::mem::replace(&mut self.keys[key as usize].is_listed, true) {
                self.open_keys.push(key);
            }
        }
    }

    fn priority(&self, line: LineId) -> i8 {
        let level = self.lines[line as usize].level;
        self.levels[usize::from(level)].priority
    }

    fn unpark_line(&mut self, key: u32, place: usize) {
        let line = self.keys[key as usize].parked.swap_remove(place);
        self.lines[line as usize].is_parked = false;
        self.offer(line);
    }

    /// Offers all lines that have waited for room, of keys that have some.
    fn unpark_all(&mut self) {
        self.unoffered = None;
        while let Some(key) = self.open_keys.pop() {
            let state = &mut self.keys[key as usize];
            state.is_listed = false;
            if state.is_open() {
                // Where it is another line's turn, some of them are parked again.
                for place in (0..state.parked.len()).rev() {
                    self.unpark_line(key, place);
                }
            }
        }
    }

    /// Offers of a level's lines that have waited for room the one that has the first item, or all of all
    /// levels if they are many.
    fn unpark_first(&mut self, level: u16) {
        if self.unoffered < Some(self.levels[usize::from(level)].priority) {
            return;
        }
        let (keys, mut lines) = (&mut self.keys, 0);
        self.open_keys.retain(|key| {
            let state = &mut keys[*key as usize];
            lines += state.parked.len();
            state.is_listed = state.is_open() && !state.parked.is_empty();
            state.is_listed
        });
        if lines > FEW_LINES {
            return self.unpark_all();
        }
        if let Some((_, line)) = self.first_parked(level) {
            let key = self.lines[line as usize].key;
            let parked = &self.keys[key as usize].parked;
            if let Some(place) = parked.iter().position(|one| *one == line) {
                self.unpark_line(key, place);
            }
        }
    }

    /// Returns the first item of a level's lines that are not offered though their keys have room.
    fn first_parked(&self, level: u16) -> Option<Offer> {
        let keys = self.open_keys.iter().map(|key| &self.keys[*key as usize]);
        let lines = keys.flat_map(|key| {
            let parked = key.parked.iter().copied();
            parked.filter(|line| key.has_room(*line))
        });
        let lines = lines.filter(|line| self.lines[*line as usize].level == level);
        let offers = lines.map(|line| (self.items[line as usize].first(), line));
        offers.filter(|(first, _)| *first > 0).min()
    }

    /// Returns `true` if this is still the first item of this line, and may be handed out.
    fn is_good(&self, (id, line): Offer) -> bool {
        self.items[line as usize].first() == id && self.has_room(line)
    }

    /// Drops the first offer of a level, which is out of date.
    fn drop_offer(&mut self, level: u16, (id, line): Offer) {
        self.levels[usize::from(level)].offers.pop();
        if self.items[line as usize].offered == id {
            self.items[line as usize].offered = 0;
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
        let is_passed_by = self.items[line as usize].passed_by.head == id;
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
                    row.append(&mut self.items[line as usize].passed_by, new);
                    self.offer(line);
                }
            }
        }
    }

    /// Finds the next item.
    #[inline]
    pub(super) fn settle<P>(&mut self, row: &mut ItemRow<P>) -> Option<Front> {
        if self.front.is_none() && self.ready > 0 {
            if let Some(top) = self.top
                && self.served < self.patient_until
            {
                self.front = self.first_of_level(row, top);
            }
            if self.front.is_none() {
                self.front = self.find_mut(row);
            }
        }
        self.front
    }

    fn find_mut<P>(&mut self, row: &mut ItemRow<P>) -> Option<Front> {
        let mut front: Option<Front> = None;
        for place in 0..self.by_priority.len() {
            let level = self.by_priority[place];
            match front {
                _ if self.levels[usize::from(level)].is_empty() => {}
                None => {
                    if self.unoffered >= Some(self.levels[usize::from(level)].priority) {
                        self.unpark_all();
                    }
                    front = self.first_of_level(row, level);
                    self.top = front.map(|_| level);
                }
                Some(_) if self.served < self.patient_until => return front,
                Some(ready) if self.is_overdue(level, ready) => {
                    self.unpark_first(level);
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
        let offers = offers.filter(|offer| self.is_good(*offer));
        let offered = offers.chain(self.first_parked(level)).min();
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
}
