//! A model of the ledger in the plainest way: a map from item to place, and a list of records.
//! Every call goes to both, and their answers are compared. It does not know turns, only the
//! permitted holders and the next item.

mod comparison;
mod trouble;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use dishrack_core::ledger::{
    Blame, Cause, Credit, DeadLetter, Failure, Handed, HolderId, ItemId, Ledger, Options, Record,
    Recovered, Refusal, Report, Scene, Token, Weight,
};

use crate::steps::Steps as _;

/// An item that knows its own number, so that a mix-up shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) number: u64,
    pub(super) weight: usize,
    /// Both, as a journal keeps them.
    body: [u8; 16],
}

impl Load {
    pub(super) fn new(number: u64, weight: usize) -> Self {
        let weight_bytes = (weight as u64).to_le_bytes();
        let mut body = [0; 16];
        body[..8].copy_from_slice(&number.to_le_bytes());
        body[8..].copy_from_slice(&weight_bytes);
        Load {
            number,
            weight,
            body,
        }
    }

    fn of_body(body: &[u8]) -> Self {
        let (number, weight) = body.split_at(8);
        let read = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let weight = usize::try_from(read(weight)).expect("it was one");
        Load::new(read(number), weight)
    }
}

impl Weight for Load {
    fn weight(&self) -> usize {
        self.weight
    }

    /// Returns its bytes; every third item is kept whole.
    fn small_body(&self) -> Option<&[u8]> {
        (!self.number.is_multiple_of(3)).then_some(&self.body)
    }
}

/// Returns the records of single items that say the same as this one.
fn singly(record: &Record<Load>) -> Vec<Record<Load>> {
    match record {
        Record::AcceptedRun { run, .. } => {
            let accepted = |(id, body)| Record::Accepted {
                id,
                payload: Load::of_body(body),
            };
            record.ids().zip(run.items()).map(accepted).collect()
        }
        Record::Done { .. } => record.ids().map(Record::done).collect(),
        Record::Accepted { .. }
        | Record::Failed { .. }
        | Record::Dead { .. }
        | Record::Over { .. }
        | Record::Shown { .. } => vec![record.clone()],
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Accepted, and not durable.
    Staged,
    Waiting,
    Resting(Duration),
    Leased,
    Done,
    Dead,
}

#[derive(Debug)]
struct Item {
    place: Place,
    load: Load,
    history: Vec<Failure>,
    forgiven: u32,
}

#[derive(Debug)]
struct Holder {
    is_worker: bool,
    is_single: bool,
    is_open: bool,
    taken: u64,
    quota: u64,
    is_told_worn: bool,
}

/// The records, and their progress.
#[derive(Debug, Default)]
struct Journal {
    records: Vec<Record<Load>>,
    /// The number of records taken in writes, and the number that are durable.
    taken: usize,
    durable: usize,
    /// The number of the write under way.
    under_way: Option<u64>,
    writes: u64,
    is_broken: bool,
    /// Each with the number of records made before it.
    reports: VecDeque<(usize, Report<Load, u64>)>,
}

pub(super) struct Model {
    pub(super) ledger: Ledger<Load, u64>,
    options: Options,
    is_journaled: bool,
    now: Duration,
    items: BTreeMap<ItemId, Item>,
    holders: BTreeMap<HolderId, Holder>,
    /// Deliveries that are not settled, oldest first.
    pub(super) leases: Vec<Handed>,
    /// Deliveries of cancelled items, whose holders have not spoken yet.
    revoked: Vec<Handed>,
    tokens: HashSet<Token>,
    /// Tokens of settled and lost deliveries.
    pub(super) stale: Vec<Token>,
    /// Holders that left are still named now and then.
    pub(super) known: Vec<HolderId>,
    /// Dead letters that were reported and not revived.
    pub(super) letters: Vec<DeadLetter<Load>>,
    journal: Journal,
    getters: usize,
    retries: u64,
    refused: u64,
    is_closed: bool,
}

impl Model {
    /// Makes a model. With `recovered`, which may be empty, it has a journal.
    pub(super) fn new(options: Options, recovered: Option<Recovered<Load>>) -> Self {
        let items = recovered.as_ref().map(recovered_items);
        Model {
            is_journaled: recovered.is_some(),
            ledger: match recovered {
                Some(recovered) => Ledger::resume(options, recovered),
                None => Ledger::new(options),
            },
            options,
            now: Duration::ZERO,
            items: items.unwrap_or_default(),
            holders: BTreeMap::new(),
            leases: Vec::new(),
            revoked: Vec::new(),
            tokens: HashSet::new(),
            stale: Vec::new(),
            known: Vec::new(),
            letters: Vec::new(),
            journal: Journal::default(),
            getters: 0,
            retries: 0,
            refused: 0,
            is_closed: false,
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.journal.is_broken
    }

    fn record(&mut self, record: Record<Load>) {
        if self.is_journaled && !self.journal.is_broken {
            self.journal.records.push(record);
        }
    }

    /// Expects this report. After a failure of the journal nothing new is ever reported.
    fn expect_report(&mut self, report: Report<Load, u64>) {
        let after = match self.journal.is_broken {
            true => usize::MAX,
            false => self.journal.records.len(),
        };
        self.journal.reports.push_back((after, report));
    }

    pub(super) fn put(&mut self, weight: usize, beyond_bound: bool) {
        let number = self.items.len() as u64 + 1;
        let load = Load::new(number, weight);
        let has_room = beyond_bound || self.has_room();
        let expected = match (self.is_closed, self.journal.is_broken, has_room) {
            (true, _, _) => Err(Refusal::Closed),
            (false, true, _) => Err(Refusal::JournalFailed),
            (false, false, false) => Err(Refusal::Full),
            (false, false, true) => Ok(ItemId(number)),
        };
        let answer = match beyond_bound {
            true => self.ledger.put(load, true),
            false => self.ledger.put(load, false),
        };
        assert_eq!(answer, expected);
        if let Ok(id) = answer {
            let place = match self.is_journaled {
                true => Place::Staged,
                false => Place::Waiting,
            };
            self.record(Record::Accepted { id, payload: load });
            self.items.insert(id, Item::new(place, load));
        }
    }

    pub(super) fn join(&mut self, credit: Option<Credit>, is_single: bool, quota: Option<u64>) {
        let is_worker = credit.is_some();
        let id = match (credit, quota) {
            (credit, Some(quota)) => self.ledger.handle_join(credit, quota),
            (Some(credit), None) => self.ledger.join_worker(credit),
            (None, None) => self.ledger.join_getter(),
        };
        let holder = Holder {
            is_worker,
            is_single,
            is_open: true,
            taken: 0,
            // A quota of no deliveries counts as one.
            quota: quota.map_or(u64::MAX, |quota| quota.max(1)),
            is_told_worn: false,
        };
        assert!(self.holders.insert(id, holder).is_none(), "a name reused");
        self.known.push(id);
    }

    pub(super) fn get(&mut self, holder: HolderId) {
        let next = self.next_item();
        let is_open = self.holders.get(&holder).is_some_and(|one| one.is_open);
        let handed = self.ledger.handle_get(holder);
        assert_eq!(handed.is_some(), is_open && next.is_some());
        if let Some(handed) = handed {
            assert_eq!(handed.holder, holder);
            self.hand_over(handed);
        }
    }

    /// Hands out. Returns `true` if there was something.
    pub(super) fn poll(&mut self) -> bool {
        let Some(handed) = self.ledger.poll_delivery() else {
            let starves = self.next_item().is_some() && self.idle_workers() > 0;
            assert!(!starves, "an item waits and a worker is idle");
            return false;
        };
        let holder = &self.holders[&handed.holder];
        assert!(holder.is_worker && holder.is_open, "{holder:?}");
        assert!(!holder.is_single || self.held_by(handed.holder) == 0);
        self.hand_over(handed);
        true
    }

    /// Returns the first item that waits and is durable, while anything is handed out.
    fn next_item(&self) -> Option<ItemId> {
        if self.journal.is_broken {
            return None;
        }
        let mut waiting = self.items.iter();
        let first = waiting.find(|(_, item)| item.place == Place::Waiting)?;
        Some(*first.0)
    }

    /// Checks that a delivery is the first item that waits, as its next attempt, under a new token.
    fn hand_over(&mut self, handed: Handed) {
        assert_eq!(Some(handed.id), self.next_item());
        let item = self.items.get_mut(&handed.id).expect("it waits");
        item.place = Place::Leased;
        assert_eq!(handed.attempt, item.attempt());
        assert!(item.attempt() - item.forgiven <= self.options.max_attempts);
        let holder = self.holders.get_mut(&handed.holder).expect("it is there");
        holder.taken += 1;
        holder.is_open &= holder.taken < holder.quota;
        assert_eq!(handed.ordinal, holder.taken);
        assert!(self.tokens.insert(handed.token), "a token used before");
        assert_eq!(self.ledger.handed(handed.token), Some(handed));
        let by_ordinal = self.ledger.handed_as(handed.holder, handed.ordinal);
        assert_eq!(by_ordinal, Some(handed));
        let payload = self.ledger.payload(handed.token).expect("not settled");
        assert_eq!(payload.number, handed.id.0);
        self.leases.push(handed);
    }

    fn end_lease(&mut self, index: usize, place: Place) -> Handed {
        let lease = self.leases.remove(index);
        self.stale.push(lease.token);
        let item = self.items.get_mut(&lease.id).expect("it is leased");
        assert_eq!(item.place, Place::Leased);
        item.place = place;
        lease
    }

    pub(super) fn done(&mut self, index: usize, service: Duration) {
        let handed = self.end_lease(index, Place::Done);
        // The results of every third item are not wanted.
        let result = (!handed.id.0.is_multiple_of(3)).then_some(handed.id.0 * 7);
        let answer = self.ledger.done(handed.token, service, result);
        assert_eq!(answer, Ok(()));
        self.record(Record::done(handed.id));
        if let Some(result) = result {
            self.expect_report(Report::Done {
                handed,
                payload: self.items[&handed.id].load,
                service,
                result,
            });
        }
    }

    pub(super) fn give_back(&mut self, index: usize) {
        let lease = self.end_lease(index, Place::Waiting);
        assert_eq!(self.ledger.handle_return(lease.token), Ok(()));
    }

    pub(super) fn nack(&mut self, index: usize, rest: Option<Duration>) {
        let lease = self.end_lease(index, Place::Waiting);
        let blame = Blame {
            cause: Cause::Nack(format!("at {:?}", self.now)),
            scene: self.scene(),
        };
        let ledger = &mut self.ledger;
        let answer = ledger.handle_nack(lease.token, blame.clone(), rest, self.now);
        assert_eq!(answer, Ok(()));
        self.fail(lease.id, blame, rest);
    }

    fn scene(&self) -> Scene {
        Scene::ended_at(self.now)
    }

    fn fail(&mut self, id: ItemId, blame: Blame, rest: Option<Duration>) {
        let item = self.items.get_mut(&id).expect("it was leased");
        let (attempt, load) = (item.attempt(), item.load);
        let is_last = attempt - item.forgiven >= self.options.max_attempts;
        let failure = self.note_failure(id, attempt, blame);
        if is_last {
            self.give_up(id);
            return;
        }
        let rest = rest.unwrap_or_else(|| self.options.backoff.delay(attempt, id.0));
        let item = self.items.get_mut(&id).expect("it was leased");
        item.place = match rest.is_zero() {
            true => Place::Waiting,
            false => Place::Resting(self.now + rest),
        };
        self.retries += 1;
        self.expect_report(Report::Retry {
            id,
            failure,
            payload: load,
        });
    }

    fn note_failure(&mut self, id: ItemId, attempt: u32, blame: Blame) -> Failure {
        let Blame { cause, scene } = blame;
        let failure = Failure::new(attempt, cause, scene);
        let item = self.items.get_mut(&id).expect("it is there");
        item.history.push(failure.clone());
        self.record(Record::Failed {
            id,
            failure: failure.clone(),
        });
        failure
    }

    fn give_up(&mut self, id: ItemId) {
        let item = self.items.get_mut(&id).expect("it is there");
        item.place = Place::Dead;
        let (payload, history) = (item.load, item.history.clone());
        self.record(Record::Dead { id, payload });
        self.expect_report(Report::Dead(DeadLetter::new(id, payload, history)));
    }

    pub(super) fn stop(&mut self, holder: HolderId) {
        self.ledger.handle_stop(holder);
        if let Some(holder) = self.holders.get_mut(&holder) {
            holder.is_open = false;
        }
    }

    pub(super) fn close(&mut self) {
        self.ledger.handle_close();
        self.is_closed = true;
    }

    pub(super) fn set_getter_waiting(&mut self, is_waiting: bool) {
        self.ledger.handle_getter_waiting(is_waiting);
        self.getters = match is_waiting {
            true => self.getters + 1,
            false => self.getters.saturating_sub(1),
        };
    }

    pub(super) fn pass(&mut self, pause: Duration) {
        self.now += pause;
        self.ledger.handle_timeout(self.now);
        for item in self.items.values_mut() {
            if matches!(item.place, Place::Resting(until) if until <= self.now) {
                item.place = Place::Waiting;
            }
        }
    }

    /// Passes the time until the next item has rested, if one rests.
    pub(super) fn pass_to_timeout(&mut self) {
        if let Some(wake) = self.ledger.poll_timeout() {
            self.pass(wake.saturating_sub(self.now));
        }
    }
}

impl Item {
    fn new(place: Place, load: Load) -> Self {
        Item {
            place,
            load,
            history: Vec::new(),
            forgiven: 0,
        }
    }

    /// Returns the number of the attempt under way, or of the next one.
    fn attempt(&self) -> u32 {
        u32::try_from(self.history.len()).expect("few") + 1
    }
}

/// Makes all items that were ever accepted; the first of the finished ones are dead.
fn recovered_items(recovered: &Recovered<Load>) -> BTreeMap<ItemId, Item> {
    let mut dead = recovered.dead;
    let mut items = BTreeMap::new();
    for number in 1..=recovered.accepted {
        let id = ItemId(number);
        let unfinished = recovered.unfinished.iter().find(|one| one.id == id);
        let item = match unfinished {
            Some(one) => Item {
                place: Place::Waiting,
                load: one.payload,
                history: one.history.clone(),
                forgiven: one.forgiven,
            },
            None => {
                let place = match dead {
                    0 => Place::Done,
                    _ => Place::Dead,
                };
                dead = dead.saturating_sub(1);
                Item::new(place, Load::new(number, 0))
            }
        };
        items.insert(id, item);
    }
    items
}
