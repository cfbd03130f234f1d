//! Finds the next item, by what lines offer.
//!
//! A new item is in the list of its priority, and costs nothing until it comes to the front of that.
//! Then it is handed out if its key has room, and else it waits in its line. A line's first item is offered
//! when its key has room again. So an item is looked at once, and once more if its key was full.
//!
//! Most often a key has room only until its item of the highest priority is handed out, so only that one is
//! offered at once. It does not know what becomes of the items that it finds.

use super::front::{Front, FrontPlace};
use super::key::KeyId;
use super::level::Offer;
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
        let key = self.key(line);
        let one = &mut self.lines[line as usize];
        let level = &mut self.levels[usize::from(one.level)];
        if has_room {
            self.items[line as usize].offered = first;
            level.offers.push((first, line));
        } else if !core::mem::replace(&mut one.is_parked, true) {
            self.keys.park(key, level.priority, line);
        }
    }

    /// Notes that a key has room, perhaps: the one of its lines that has the highest priority of those that
    /// waited for it is offered now, and the others when somebody looks for them.
    pub(super) fn unpark(&mut self, key: KeyId) {
        let parked = self.keys.parked(key).iter().enumerate().rev();
        let mut open = parked.filter(|(_, (_, line))| self.keys.has_room(key, *line));
        let Some((place, (highest, _))) = open.next() else {
            return;
        };
        let mut left = open.next().map(|(_, (priority, _))| *priority);
        match Some(*highest) > self.unoffered {
            true => self.unpark_line(key, place),
            false => left = Some(*highest),
        }
        if left.is_some() {
            self.unoffered = self.unoffered.max(left);
            if !self.keys.list(key, true) {
                self.open_keys.push(key);
            }
        }
    }

    fn unpark_line(&mut self, key: KeyId, place: usize) {
        let line = self.keys.unpark(key, place);
        self.lines[line as usize].is_parked = false;
        self.offer(line);
    }

    /// Offers all lines that have waited for room, of keys that have some.
    fn unpark_all(&mut self) {
        self.unoffered = None;
        // In the order in which they got room, in which most of their first items follow each other.
        let mut open_keys = core::mem::take(&mut self.open_keys);
        for key in open_keys.drain(..) {
            self.keys.list(key, false);
            if self.keys.is_open(key) {
                // Where it is another line's turn, some of them are parked again.
                for place in (0..self.keys.parked(key).len()).rev() {
                    self.unpark_line(key, place);
                }
            }
        }
        self.open_keys = open_keys;
    }

    /// Offers of a level's lines that have waited for room the one that has the first item, or all of all
    /// levels if they are many.
    fn unpark_first(&mut self, level: u16) {
        if self.unoffered < Some(self.levels[usize::from(level)].priority) {
            return;
        }
        let (keys, mut lines) = (&mut self.keys, 0);
        self.open_keys.retain(|key| {
            let is_listed = keys.has_parked(*key) && keys.is_open(*key);
            keys.list(*key, is_listed);
            if is_listed {
                lines += keys.parked(*key).len();
            }
            is_listed
        });
        if lines > FEW_LINES {
            return self.unpark_all();
        }
        if let Some((_, line)) = self.first_parked(level) {
            let key = self.key(line);
            let parked = self.keys.parked(key);
            if let Some(place) = parked.iter().position(|one| one.1 == line) {
                self.unpark_line(key, place);
            }
        }
    }

    /// Returns the first item of a level's lines that are not offered though their keys have room.
    fn first_parked(&self, level: u16) -> Option<Offer> {
        let lines = self.open_keys.iter().flat_map(|key| {
            let parked = self.keys.parked(*key).iter().map(|one| one.1);
            parked.filter(|line| self.keys.has_room(*key, *line))
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
        self.note_patience();
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
