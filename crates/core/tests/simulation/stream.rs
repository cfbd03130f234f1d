//! A model of the stream that supervisors share: the scripts in `src/store/redis/scripts`, each in
//! one step, on plain maps. `tests/redis/model.rs` compares it with the real ones.
//!
//! It does not know lost or repeated calls, which its callers make. It counts milliseconds by a
//! clock that they set, and logs the events of entries for the check of promises.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

use dishrack_core::stream::entry::{Entry, EntryId, Fields};

/// The stream's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Told {
    pub(crate) unfinished: u64,
    pub(crate) pending: u64,
    pub(crate) done: u64,
    pub(crate) dead: u64,
    pub(crate) retries: u64,
    pub(crate) refused: u64,
    pub(crate) changes: u64,
    pub(crate) ring: EntryId,
}

/// The holder of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) owner: String,
    /// The time of its last renewal.
    pub(crate) at: u64,
    pub(crate) deliveries: u64,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) number: u64,
    pub(crate) cause: String,
    pub(crate) attempts: u64,
    pub(crate) history: String,
    /// The former entry.
    pub(crate) entry: EntryId,
    pub(crate) fields: Fields,
}

/// A client's last call, and its answer.
#[derive(Debug, Clone, Default)]
struct Memo {
    put: Option<(u64, u64, u64)>,
    settled: Option<(u64, Vec<EntryId>)>,
}

/// The words about entries in one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    pub(crate) first: EntryId,
    pub(crate) last: EntryId,
    pub(crate) retries: u64,
    pub(crate) done: Vec<EntryId>,
    pub(crate) failed: Vec<(EntryId, String)>,
    /// Each with its number and its cause.
    pub(crate) dead: Vec<(EntryId, u64, String)>,
    /// Each with its number, its destination, and its result.
    pub(crate) results: Vec<(EntryId, u64, Option<Place>, String)>,
}

/// The stream that an entry's result goes to, and its place there.
pub(crate) type Place = (String, u64);

/// An event of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was put, while so many were untaken and so many were allowed.
    Put(EntryId, Fields, u64, Option<u64>),
    /// It was given back, and has another name.
    Moved(EntryId, EntryId),
    /// A supervisor took it over from another one that was silent for so long.
    Claimed(EntryId, u64),
    Failed(EntryId, String),
    Done(EntryId),
    Dead(EntryId, Letter),
    /// A letter is an entry again.
    Revived(Letter, EntryId),
    /// Nobody is to work on it any more; its holder is told.
    Marked(EntryId),
    /// The same, and it has its end: it was with nobody, or with one that was silent for so long.
    Cancelled(EntryId, Option<u64>),
}

/// A possible mistake in the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Every word that an entry has ended is believed.
    AnyoneSettles,
    PutsWithoutMemo,
    SettlesWithoutMemo,
    /// A put that is repeated is answered with other numbers.
    NumbersAnew,
    /// A repeated call is only recognized if no other came after it.
    LateCallsAnew,
    /// Entries are taken over from living holders.
    TakesFromTheLiving,
    /// A letter is written after its entry was deleted, in the next call.
    LetterLater,
    NoRing,
    /// Failed attempts are not found when an entry is taken over.
    NoPast,
    /// The bound is ignored.
    Unbounded,
    /// A cancelled entry has its end at once, also where a living holder is at it.
    CancelsTheHeld,
    /// An entry that is cancelled goes to whoever takes it over.
    CancelledTakenOver,
    /// It is given back to all.
    CancelledGivenBack,
    /// Whoever renews a lease is not told of a pause.
    PauseUntold,
    /// The orders of a stream that has come back are numbered as if others had not been given.
    OrdersNumberedAnew,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    /// Milliseconds by the server's clock.
    pub(crate) clock: u64,
    last: EntryId,
    pub(crate) entries: BTreeMap<EntryId, Fields>,
    /// The last entry that the group has read.
    delivered: EntryId,
    pub(crate) pending: BTreeMap<EntryId, Claim>,
    /// The time when each supervisor was last heard of.
    consumers: BTreeMap<String, u64>,
    past: BTreeMap<EntryId, String>,
    numbers: BTreeMap<EntryId, u64>,
    pub(crate) letters: BTreeMap<EntryId, Letter>,
    replies: BTreeMap<String, BTreeMap<EntryId, Fields>>,
    memos: BTreeMap<String, Memo>,
    born: Option<(String, String, u64)>,
    told: Told,
    /// Entries on which nobody is to work any more, and the line of their histories.
    pub(crate) marked: BTreeMap<EntryId, String>,
    /// The number of the last order to pause, or to go on, and true if it was a pause.
    steered: (u64, bool),
    /// True if somebody was ever told of an order.
    has_orders: bool,
    numbers_last: u64,
    crowded: Option<u64>,
    pub(crate) log: Vec<Event>,
    flaw: Option<Flaw>,
    /// Letters to be written in the next call, if it comes.
    unwritten: Vec<(EntryId, Letter)>,
}

/// Makes fields of text.
pub(crate) fn fields(pairs: &[(&str, &str)]) -> Fields {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let pairs = pairs
        .iter()
        .map(|(name, value)| (bytes(name), bytes(value)));
    Fields(pairs.collect())
}

impl Stream {
    pub(crate) fn with(flaw: Option<Flaw>) -> Self {
        Stream {
            flaw,
            ..Stream::default()
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Returns a new name for an entry of any stream.
    fn next_id(&mut self) -> EntryId {
        let EntryId(time, place) = self.last;
        self.last = match self.clock > time {
            true => EntryId(self.clock, 0),
            false => EntryId(time, place + 1),
        };
        self.last
    }

    fn untaken(&self) -> u64 {
        let pending = self.pending.len() as u64;
        (self.entries.len() as u64).saturating_sub(pending)
    }

    fn stream_state(&self) -> Told {
        Told {
            unfinished: self.entries.len() as u64,
            pending: self.pending.len() as u64,
            ..self.told.clone()
        }
    }

    fn ring(&mut self) {
        if !self.has(Flaw::NoRing) {
            self.told.ring = self.next_id();
        }
    }

    /// Returns the place up to which the doorbell was rung.
    pub(crate) fn rung(&self) -> EntryId {
        self.told.ring
    }

    /// Returns `true` if a put waits for room.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.is_some()
    }

    fn holds(&self, consumer: &str, id: EntryId) -> bool {
        let claim = self.pending.get(&id);
        claim.is_some_and(|claim| claim.owner == consumer) && self.entries.contains_key(&id)
    }

    /// `open.lua`: mark, type, lease, changes.
    pub(crate) fn open(
        &mut self,
        mark: &str,
        kind: &str,
        lease: u64,
    ) -> (String, String, u64, Option<u64>) {
        let made = || (mark.to_owned(), kind.to_owned(), lease);
        let (mark, kind, lease) = self.born.get_or_insert_with(made).clone();
        let changes = (self.told.changes > 0).then_some(self.told.changes);
        (mark, kind, lease, changes)
    }

    /// Returns a number for an item.
    fn next_number(&mut self) -> u64 {
        self.numbers_last += 1;
        self.numbers_last
    }

    /// `refresh.lua`
    pub(crate) fn refresh(&self, consumer: &str, lease: u64) -> (Told, u64) {
        (self.stream_state(), self.others(consumer, lease))
    }

    fn others(&self, consumer: &str, lease: u64) -> u64 {
        let is_other = |(name, seen): &(&String, &u64)| {
            *name != consumer && self.clock.saturating_sub(**seen) <= lease
        };
        self.consumers.iter().filter(is_other).count() as u64
    }

    /// `put.lua`: returns how many of the puts that need room were added, and the number of the
    /// first one. Each put says whether it may go beyond the bound.
    pub(crate) fn put(
        &mut self,
        client: &str,
        call: u64,
        bound: Option<u64>,
        puts: &[(bool, Fields)],
    ) -> ((u64, u64), Told) {
        self.write_letters();
        let memo = self.memos.entry(client.to_owned()).or_default().put;
        if let Some((number, admitted, first)) = memo
            && is_old(number, call, self.flaw)
            && !self.has(Flaw::PutsWithoutMemo)
        {
            let first = match self.has(Flaw::NumbersAnew) {
                true => self.numbers_last + 1,
                false => first,
            };
            return ((admitted, first), self.stream_state());
        }
        let (mut admitted, first) = (0, self.numbers_last + 1);
        for (may_exceed, fields) in puts {
            let untaken = self.untaken();
            let is_full = bound.is_some_and(|bound| untaken >= bound);
            if is_full && !may_exceed && !self.has(Flaw::Unbounded) {
                self.crowded = bound;
                continue;
            }
            let id = self.next_id();
            let mut fields = fields.clone();
            let number = self.next_number();
            fields.0.push((b"n".to_vec(), number.to_string().into()));
            self.entries.insert(id, fields.clone());
            let bound = bound.filter(|_| !may_exceed);
            self.log.push(Event::Put(id, fields, untaken, bound));
            admitted += u64::from(!may_exceed);
        }
        self.told.changes += 1;
        let memo = self.memos.entry(client.to_owned()).or_default();
        memo.put = Some((call, admitted, first));
        ((admitted, first), self.stream_state())
    }

    /// `XADD`, by a program that is no supervisor.
    pub(crate) fn add(&mut self, fields: Fields) {
        let id = self.next_id();
        self.entries.insert(id, fields.clone());
        self.log.push(Event::Put(id, fields, self.untaken(), None));
    }

    /// Hands an entry out so many more times, to lost supervisors.
    pub(crate) fn lose(&mut self, id: EntryId, times: u64) {
        if let Some(claim) = self.pending.get_mut(&id) {
            claim.deliveries += times;
        }
    }

    /// `settle.lua`: returns the entries that are not the consumer's.
    pub(crate) fn settle(
        &mut self,
        client: &str,
        call: u64,
        consumer: &str,
        said: &Said,
    ) -> (Vec<EntryId>, Told) {
        self.write_letters();
        let memo = &self.memos.entry(client.to_owned()).or_default().settled;
        if let Some((number, lost)) = memo
            && is_old(*number, call, self.flaw)
            && self.flaw != Some(Flaw::SettlesWithoutMemo)
        {
            return (lost.clone(), self.stream_state());
        }
        let in_range = self.pending.range(said.first..=said.last);
        let its = in_range.filter(|(_, claim)| claim.owner == consumer);
        let held: Vec<EntryId> = its.map(|(id, _)| *id).collect();
        let is_its = |stream: &Stream, id: &EntryId| match stream.has(Flaw::AnyoneSettles) {
            true => stream.entries.contains_key(id),
            false => held.contains(id),
        };
        let (mut lost, mut ended): (Vec<EntryId>, Vec<EntryId>) = Default::default();
        let mut lose = |id: EntryId| {
            if !lost.contains(&id) {
                lost.push(id);
            }
        };
        for id in &said.done {
            match is_its(self, id) {
                true => {
                    self.told.done += 1;
                    ended.push(*id);
                }
                false => lose(*id),
            }
        }
        for (id, failure) in &said.failed {
            match is_its(self, id) {
                true => self.note_failure(*id, failure),
                false => lose(*id),
            }
        }
        // A failed attempt may have been reported together with the successful one.
        self.log.extend(ended.iter().map(|id| Event::Done(*id)));
        for (id, number, cause) in &said.dead {
            match is_its(self, id) && self.entries.contains_key(id) {
                true => {
                    self.conclude(*id, *number, cause);
                    ended.push(*id);
                }
                false => lose(*id),
            }
        }
        for (id, number, place, result) in &said.results {
            if let (true, Some((place, index))) = (is_its(self, id), place) {
                self.reply(place, *number, *index, "1", result);
            }
        }
        self.end(&ended);
        self.told.retries += said.retries;
        self.told.refused += lost.len() as u64;
        self.told.changes += 1;
        let memo = self.memos.entry(client.to_owned()).or_default();
        memo.settled = Some((call, lost.clone()));
        if !ended.is_empty() && self.entries.is_empty() {
            self.ring();
        }
        (lost, self.stream_state())
    }

    fn note_failure(&mut self, id: EntryId, failure: &str) {
        let past = self.past.entry(id).or_default();
        // It would hide most of what these flaws do.
        let is_blind = matches!(
            self.flaw,
            Some(Flaw::SettlesWithoutMemo | Flaw::AnyoneSettles)
        );
        if !is_blind && is_told(past, failure) {
            return;
        }
        if !past.is_empty() {
            past.push('\n');
        }
        past.push_str(failure);
        self.log.push(Event::Failed(id, failure.to_owned()));
    }

    fn conclude(&mut self, id: EntryId, number: u64, cause: &str) {
        let fields = self.entries.get(&id).cloned().unwrap_or_default();
        let history = self.past.get(&id).cloned().unwrap_or_default();
        if let (Some(place), Some(index)) = (fields.text("reply"), fields.number("index")) {
            let place = place.to_owned();
            self.reply(&place, number, index, "0", &history);
        }
        let letter = Letter {
            number,
            cause: cause.to_owned(),
            attempts: history.lines().count() as u64,
            history,
            entry: id,
            fields,
        };
        self.told.dead += 1;
        if self.has(Flaw::LetterLater) {
            return self.unwritten.push((id, letter));
        }
        self.write_letter(id, letter);
    }

    fn write_letter(&mut self, entry: EntryId, letter: Letter) {
        let id = self.next_id();
        self.letters.insert(id, letter.clone());
        self.log.push(Event::Dead(entry, letter));
    }

    fn write_letters(&mut self) {
        for (id, letter) in std::mem::take(&mut self.unwritten) {
            self.write_letter(id, letter);
        }
    }

    fn reply(&mut self, place: &str, number: u64, index: u64, ok: &str, result: &str) {
        let id = self.next_id();
        let (number, index) = (number.to_string(), index.to_string());
        let all = [
            ("n", &*number),
            ("index", &*index),
            ("ok", ok),
            ("result", result),
        ];
        let place = self.replies.entry(place.to_owned()).or_default();
        place.insert(id, fields(&all));
    }

    fn end(&mut self, ended: &[EntryId]) {
        for id in ended {
            self.pending.remove(id);
            self.entries.remove(id);
            self.past.remove(id);
            self.numbers.remove(id);
        }
        let is_marked = |id: &EntryId| self.marked.contains_key(id);
        if ended.iter().any(is_marked) {
            self.marked.retain(|id, _| !ended.contains(id));
            self.ring();
        }
    }

    /// Returns the number of an entry as it is known; 0 if it has none yet.
    pub(crate) fn number_of(&self, id: EntryId) -> u64 {
        let own = || self.entries.get(&id)?.number("n");
        self.numbers.get(&id).copied().or_else(own).unwrap_or(0)
    }

    /// `condemn`, in `prelude.lua`: ends an entry on which nobody is to work any more.
    fn condemn(&mut self, id: EntryId, failure: &str) {
        let past = self.past.entry(id).or_default();
        if !past.is_empty() {
            past.push('\n');
        }
        past.push_str(failure);
        self.log.push(Event::Failed(id, failure.to_owned()));
        self.conclude(id, self.number_of(id), "cancelled");
        self.end(&[id]);
        self.told.changes += 1;
        if self.entries.is_empty() {
            self.ring();
        }
    }

    /// `cancel.lua`: ends an entry that nobody has, and marks any other.
    pub(crate) fn cancel(&mut self, id: EntryId, lease: u64, failure: &str) {
        let idle = self.pending.get(&id).map(|claim| {
            let seen = self.consumers.get(&claim.owner).copied().unwrap_or(0);
            self.clock.saturating_sub(seen.max(claim.at))
        });
        if idle.is_none_or(|idle| idle > lease) || self.has(Flaw::CancelsTheHeld) {
            self.log.push(Event::Cancelled(id, idle));
            return self.condemn(id, failure);
        }
        if let MapEntry::Vacant(place) = self.marked.entry(id) {
            place.insert(failure.to_owned());
            self.has_orders = true;
            self.told.changes += 1;
            self.log.push(Event::Marked(id));
        }
    }

    /// Returns the entries of a consumer on which nobody is to work any more, which `maintain.lua` tells.
    pub(crate) fn unwanted(&self, consumer: &str) -> Vec<EntryId> {
        let is_its = |id: &&EntryId| self.holds(consumer, **id);
        self.marked.keys().filter(is_its).copied().collect()
    }

    /// `order.lua`: orders all to pause, or to go on.
    pub(crate) fn steer(&mut self, is_paused: bool) -> (u64, bool) {
        let next = self.steered.0 + 1;
        let number = match self.has(Flaw::OrdersNumberedAnew) {
            true => next,
            // Greater than any that was given before this state came back.
            false => next.max(self.clock),
        };
        self.steered = (number, is_paused);
        self.has_orders |= !self.consumers.is_empty();
        self.told.changes += 1;
        self.steered
    }

    /// Returns the last order to pause, or to go on.
    pub(crate) fn steered(&self) -> (u64, bool) {
        self.steered
    }

    /// Returns the same, as `maintain.lua` tells it.
    pub(crate) fn steered_told(&self) -> (u64, bool) {
        match self.has(Flaw::PauseUntold) {
            true => (0, false),
            false => self.steered,
        }
    }

    /// Returns this client's results after that place.
    pub(crate) fn replies(&self, place: &str, after: EntryId) -> Vec<(EntryId, Fields)> {
        let place = self.replies.get(place);
        let all = place.into_iter().flatten();
        let new = all.filter(|(id, _)| **id > after);
        new.map(|(id, fields)| (*id, fields.clone())).collect()
    }

    /// `XREADGROUP ... >`: takes so many new entries at most.
    pub(crate) fn read(&mut self, consumer: &str, count: usize) -> Vec<Entry> {
        let new = self.entries.range(self.delivered..);
        let new = new.filter(|(id, _)| **id > self.delivered).take(count);
        let taken: Vec<(EntryId, Fields)> = new.map(|(id, one)| (*id, one.clone())).collect();
        // Redis 7.0 does not count a consumer that gets nothing as heard of.
        if !taken.is_empty() {
            self.consumers.insert(consumer.to_owned(), self.clock);
        }
        for (id, _) in &taken {
            let claim = Claim {
                owner: consumer.to_owned(),
                at: self.clock,
                deliveries: 1,
            };
            self.pending.insert(*id, claim);
            self.delivered = *id;
        }
        let entry = |(id, fields)| Entry {
            id,
            fields,
            deliveries: 1,
            ..Entry::default()
        };
        taken.into_iter().map(entry).collect()
    }

    /// `tick.lua`
    pub(crate) fn tick(&mut self) -> Told {
        if let Some(bound) = self.crowded
            && self.untaken() < bound
        {
            self.crowded = None;
            self.ring();
        }
        self.stream_state()
    }

    /// Returns all that is known of an entry.
    fn known(&self, id: EntryId) -> Entry {
        let claim = self.pending.get(&id);
        let past = self.past.get(&id).filter(|_| !self.has(Flaw::NoPast));
        Entry {
            id,
            fields: self.entries.get(&id).cloned().unwrap_or_default(),
            deliveries: claim.map_or(1, |claim| claim.deliveries),
            number: self.numbers.get(&id).copied(),
            history: past.cloned().unwrap_or_default(),
        }
    }

    /// `maintain.lua`: returns the consumer's entries, those taken over, and the number of others.
    pub(crate) fn maintain(
        &mut self,
        consumer: &str,
        lease: u64,
        wanted: usize,
    ) -> (Vec<EntryId>, Vec<Entry>, Told, u64) {
        let clock = self.clock;
        let its = |claim: &Claim| claim.owner == consumer;
        let mine = self.pending.iter().filter(|(_, claim)| its(claim));
        let mine: Vec<EntryId> = mine.map(|(id, _)| *id).collect();
        for id in &mine {
            if let Some(claim) = self.pending.get_mut(id) {
                claim.at = clock;
            }
        }
        let is_greedy = self.has(Flaw::TakesFromTheLiving);
        let is_left = |claim: &Claim| clock.saturating_sub(claim.at) >= lease;
        let left = self
            .pending
            .iter()
            .filter(|(_, claim)| is_left(claim) || (is_greedy && !its(claim)));
        let left: Vec<EntryId> = left.map(|(id, _)| *id).collect();
        let mut taken = Vec::new();
        for id in left {
            if taken.len() == wanted {
                break;
            }
            if let Some(failure) = self.marked.get(&id).cloned()
                && !self.has(Flaw::CancelledTakenOver)
            {
                self.condemn(id, &failure);
                continue;
            }
            let claim = self.pending.get_mut(&id).expect("it was found there");
            self.log.push(Event::Claimed(id, clock - claim.at));
            claim.owner = consumer.to_owned();
            claim.at = clock;
            claim.deliveries += 1;
            taken.push(self.known(id));
        }
        self.consumers.insert(consumer.to_owned(), clock);
        let others = self.others(consumer, lease);
        let holders: Vec<String> = self.pending.values().map(|one| one.owner.clone()).collect();
        self.consumers.retain(|name, seen| {
            let is_gone = clock.saturating_sub(*seen) > 3 * lease && !holders.contains(name);
            name == consumer || !is_gone
        });
        (mine, taken, self.stream_state(), others)
    }

    /// `adopt.lua`: returns all that is known of entries that the consumer holds. Each comes with
    /// the number that it must not have, or 0 if any will do.
    pub(crate) fn adopt(&mut self, consumer: &str, ids: &[(EntryId, Option<u64>)]) -> Vec<Entry> {
        let mut known = Vec::new();
        for (id, unwanted) in ids {
            if !self.holds(consumer, *id) {
                continue;
            }
            if let Some(unwanted) = unwanted
                && self.numbers.get(id).is_none_or(|number| number == unwanted)
            {
                let number = self.next_number();
                self.numbers.insert(*id, number);
            }
            known.push(self.known(*id));
        }
        known
    }

    /// `release.lua`: returns the number of entries given back.
    pub(crate) fn release(&mut self, consumer: &str, ids: &[EntryId]) -> (u64, Told) {
        let mut released = 0;
        for id in ids {
            if !self.holds(consumer, *id) {
                continue;
            }
            if let Some(failure) = self.marked.get(id).cloned()
                && !self.has(Flaw::CancelledGivenBack)
            {
                self.condemn(*id, &failure);
                continue;
            }
            let mut fields = self.entries.get(id).cloned().unwrap_or_default();
            if fields.get("again").is_none() {
                fields.0.push((b"again".to_vec(), b"1".to_vec()));
            }
            let new = self.next_id();
            self.entries.insert(new, fields);
            if let Some(past) = self.past.remove(id) {
                self.past.insert(new, past);
            }
            let own = self.entries.get(id).and_then(|fields| fields.number("n"));
            if let Some(number) = self.numbers.remove(id).or(own) {
                self.numbers.insert(new, number);
            }
            self.log.push(Event::Moved(*id, new));
            self.end(&[*id]);
            released += 1;
        }
        self.told.changes += 1;
        (released, self.stream_state())
    }

    /// `revive.lua`: returns `true` if there was such a letter.
    pub(crate) fn revive(&mut self, letter: EntryId) -> bool {
        let Some(letter) = self.letters.remove(&letter) else {
            return false;
        };
        let attempts = letter.attempts.to_string();
        let mut again = fields(&[("again", "1"), ("forgiven", &attempts)]);
        let is_mark = |name: &[u8]| name == b"again" || name == b"forgiven";
        let rest = letter.fields.0.iter().filter(|(name, _)| !is_mark(name));
        again.0.extend(rest.cloned());
        let new = self.next_id();
        self.entries.insert(new, again);
        self.past.insert(new, letter.history.clone());
        self.numbers.insert(new, letter.number);
        self.told.dead = self.told.dead.saturating_sub(1);
        self.told.changes += 1;
        self.log.push(Event::Revived(letter, new));
        true
    }

    /// `leave.lua`
    pub(crate) fn leave(&mut self, consumer: &str) {
        if self.pending.values().all(|claim| claim.owner != consumer) {
            self.consumers.remove(consumer);
            // Somebody may wait for that.
            if self.has_orders {
                self.ring();
            }
        }
    }
}

/// Returns `true` if a call was made before. A client's calls count up, and it waits for each
/// answer, so a later one with an older number is a stray request.
fn is_old(before: u64, call: u64, flaw: Option<Flaw>) -> bool {
    match flaw == Some(Flaw::LateCallsAnew) {
        true => before == call,
        false => before >= call,
    }
}

/// Returns `true` if the history has an attempt of this number: another supervisor held the entry
/// in between. A condemned item's failure has no number of its own.
fn is_told(history: &str, failure: &str) -> bool {
    let attempts = history.lines().filter(|line| !line.is_empty()).count();
    let attempt = failure
        .strip_prefix("{\"attempt\":")
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse::<usize>().ok());
    attempt.is_some_and(|attempt| (1..=attempts).contains(&attempt))
        && !failure.contains("\"LostTooOften\"")
}
