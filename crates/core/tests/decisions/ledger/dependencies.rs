//! Dependencies: what begins after what, and what is given up with what. The random runs look at all items
//! after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dishrack_core::ledger::{
    Blame, Cancelled, Cause, Credit, DeadLetter, Handed, HolderId, ItemId, Ledger, Options,
    OrderRules, Rank, Record, Recovered, Refusal, Report, Scene, Unfinished, WaitsFor,
};
use proptest::prelude::*;

use super::{Bytes, NO_TIME, SHORT, ids};
use crate::steps::Steps as _;

crate::trials! {
    an_item_begins_when_all_that_it_is_to_begin_after_are_done,
    what_depends_on_a_dead_letter_is_given_up_with_it,
    a_long_chain_is_given_up_at_once,
    ends_in_bulk_count,
    an_item_rests_until_its_own_time_afterwards,
    what_can_never_begin_is_refused,
    a_dead_letter_that_is_tried_again_waits_for_what_has_no_end,
    a_journal_has_both_ends_in_one_write,
    an_item_that_is_not_durable_waits_too,
    a_ledger_that_goes_on_knows_what_waits_for_what,
    every_run_keeps_to_the_dependencies,
}

/// An item that is to begin after these.
fn after(others: &[u8]) -> Vec<u8> {
    others.to_vec()
}

fn rules() -> OrderRules<Vec<u8>> {
    // An item that ends with 255 is not to begin before 10 ms.
    let early = |item: &Vec<u8>| item.ends_with(&[255]).then_some(Duration::from_millis(10));
    OrderRules::new(move |item| Rank::default().not_before(early(item))).after(|item| {
        let others = item.iter().filter(|one| **one < 255);
        others.map(|one| ItemId(u64::from(*one))).collect()
    })
}

fn depending() -> (Bytes, HolderId) {
    let mut ledger = Ledger::new(Options::default().max_attempts(2));
    ledger.handle_order(rules());
    let threads = ledger.join_getter();
    (ledger, threads)
}

fn put(ledger: &mut Bytes, others: &[u8]) -> u64 {
    let id = ledger.put(after(others), false).expect("there is room").0;
    assert_eq!(ledger.check(), Ok(()));
    id
}

fn get_all(ledger: &mut Bytes, threads: HolderId) -> Vec<Handed> {
    let all = std::iter::from_fn(|| ledger.handle_get(threads)).collect();
    assert_eq!(ledger.check(), Ok(()));
    all
}

fn end(ledger: &mut Bytes, handed: Handed) {
    ledger.done(handed.token, SHORT, Some(())).expect("held");
    assert_eq!(ledger.check(), Ok(()));
}

fn fail(ledger: &mut Bytes, handed: Handed) {
    let blame = Blame {
        cause: Cause::Dropped,
        scene: Scene::ended_at(Duration::from_secs(7)),
    };
    let nacked = ledger.handle_nack(handed.token, blame, Some(NO_TIME), NO_TIME);
    nacked.expect("held");
    assert_eq!(ledger.check(), Ok(()));
}

/// Takes the dead letters that are told.
fn letters(ledger: &mut Bytes) -> BTreeMap<u64, DeadLetter<Vec<u8>>> {
    let reports = std::iter::from_fn(|| ledger.poll_report());
    let letters = reports.filter_map(|report| match report {
        Report::Dead(letter) => Some((letter.id.0, letter)),
        _ => None,
    });
    letters.collect()
}

fn failed(on: u64) -> Cause {
    Cause::DependencyFailed(ItemId(on))
}

fn an_item_begins_when_all_that_it_is_to_begin_after_are_done() {
    let (mut ledger, threads) = depending();
    for others in [&[][..], &[], &[1, 2], &[3], &[]] {
        put(&mut ledger, others);
    }
    assert_eq!((ledger.ready(), ledger.counts().delayed), (3, 2));
    assert_eq!(ledger.poll_timeout(), None, "no time ends their rest");
    assert_eq!(ledger.waits_for(ItemId(3)), Some(WaitsFor::Items));
    let first = get_all(&mut ledger, threads);
    assert_eq!(ids(&first), [1, 2, 5]);
    end(&mut ledger, first[1]);
    assert_eq!(ledger.dependencies_of(ItemId(3)), [ItemId(1)]);
    assert_eq!(get_all(&mut ledger, threads), []);
    // A failed attempt is not the end.
    fail(&mut ledger, first[0]);
    let again = get_all(&mut ledger, threads);
    assert_eq!(ids(&again), [1]);
    end(&mut ledger, again[0]);
    let third = get_all(&mut ledger, threads);
    assert_eq!(
        (ids(&third), ledger.waits_for(ItemId(4))),
        (vec![3], Some(WaitsFor::Items))
    );
    end(&mut ledger, third[0]);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [4]);
    // What is done already is not waited for.
    put(&mut ledger, &[1, 3]);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [6]);
}

fn what_depends_on_a_dead_letter_is_given_up_with_it() {
    let (mut ledger, threads) = depending();
    for others in [&[][..], &[1], &[2], &[1, 3], &[], &[5]] {
        put(&mut ledger, others);
    }
    let first = get_all(&mut ledger, threads);
    assert_eq!(ids(&first), [1, 5]);
    fail(&mut ledger, first[0]);
    let again = get_all(&mut ledger, threads);
    fail(&mut ledger, again[0]);
    let told = letters(&mut ledger);
    let cause = |id| {
        told[&id]
            .history
            .last()
            .map(|last| (last.attempt, last.cause.clone()))
    };
    assert_eq!(cause(2), Some((0, failed(1))));
    assert_eq!(cause(3), Some((0, failed(2))));
    assert_eq!(cause(4), Some((0, failed(1))));
    let ended = told[&3].history[0].scene.ended;
    assert_eq!(
        ended,
        Duration::from_secs(7),
        "when the first one has failed"
    );
    // So it is with one that is cancelled, and what depends on nothing else goes on.
    let cancelled = ledger.handle_cancel(ItemId(5), Scene::default());
    assert!(matches!(cancelled, Cancelled::Leased(_)));
    assert_eq!(letters(&mut ledger)[&6].history[0].cause, failed(5));
    assert_eq!(ledger.counts().unfinished(), 0);
}

fn a_long_chain_is_given_up_at_once() {
    let mut ledger = Bytes::new(Options::default());
    let before = |item: &Vec<u8>| {
        let before = item[..].try_into().map(u64::from_le_bytes);
        before
            .into_iter()
            .filter(|id| *id > 0)
            .map(ItemId)
            .collect()
    };
    ledger.handle_order(OrderRules::new(|_| Rank::default()).after(before));
    for before in 0..100_000_u64 {
        ledger
            .put(before.to_le_bytes().to_vec(), false)
            .expect("room");
    }
    ledger.handle_cancel(ItemId(1), Scene::default());
    assert_eq!((ledger.counts().dead, ledger.check()), (100_000, Ok(())));
}

fn ends_in_bulk_count() {
    let (mut ledger, _) = depending();
    let worker = ledger.join_worker(Credit::single());
    for others in [&[][..], &[1], &[2]] {
        put(&mut ledger, others);
    }
    for id in 1..=3 {
        let handed = ledger.poll_delivery().expect("idle");
        assert_eq!((handed.id, ledger.poll_delivery()), (ItemId(id), None));
        match id {
            1 => ledger.handle_done_through(worker, handed.ordinal, SHORT),
            2 => drop(ledger.handle_done_run(worker, handed.ordinal..=handed.ordinal, SHORT)),
            _ => drop(ledger.handle_done_now(handed.token, SHORT, |_| ())),
        }
        assert_eq!(ledger.check(), Ok(()));
    }
    assert_eq!(ledger.counts().done, 3);
}

fn an_item_rests_until_its_own_time_afterwards() {
    let (mut ledger, threads) = depending();
    put(&mut ledger, &[]);
    put(&mut ledger, &[1, 255]);
    let first = get_all(&mut ledger, threads);
    ledger.handle_timeout(Duration::from_millis(5));
    end(&mut ledger, first[0]);
    assert_eq!(get_all(&mut ledger, threads), []);
    assert_eq!(ledger.waits_for(ItemId(2)), Some(WaitsFor::Time));
    assert_eq!(ledger.poll_timeout(), Some(Duration::from_millis(10)));
    ledger.handle_timeout(Duration::from_millis(10));
    assert_eq!(ids(&get_all(&mut ledger, threads)), [2]);
}

fn what_can_never_begin_is_refused() {
    let (mut ledger, threads) = depending();
    put(&mut ledger, &[]);
    let check = |ledger: &Bytes, others: &[u8]| ledger.check_relations(&after(others));
    assert_eq!(check(&ledger, &[1]), Ok(()));
    for unknown in [0, 2, 9] {
        let refusal = Refusal::UnknownItem(ItemId(u64::from(unknown)));
        assert_eq!(check(&ledger, &[1, unknown]), Err(refusal));
    }
    ledger.handle_withdraw(ItemId(1), Scene::default());
    assert_eq!(check(&ledger, &[1]), Err(Refusal::DeadItem(ItemId(1))));
    // It may be one since it was checked.
    put(&mut ledger, &[1]);
    assert_eq!(
        (get_all(&mut ledger, threads), ledger.counts().dead),
        (vec![], 2)
    );
    // From before this ledger there are some, too.
    ledger.handle_known_dead([ItemId(2)], Duration::from_secs(9));
    assert_eq!(check(&ledger, &[2]), Err(Refusal::DeadItem(ItemId(2))));
}

fn a_dead_letter_that_is_tried_again_waits_for_what_has_no_end() {
    let (mut ledger, threads) = depending();
    for others in [&[][..], &[1], &[2]] {
        put(&mut ledger, others);
    }
    ledger.handle_withdraw(ItemId(1), Scene::default());
    let mut told = letters(&mut ledger);
    let mut revive = |ledger: &mut Bytes, id| {
        ledger.handle_revive(told.remove(&id).expect("it is dead"));
        assert_eq!(ledger.check(), Ok(()));
    };
    // Whoever tries it again alone wants it to begin.
    revive(&mut ledger, 2);
    let second = get_all(&mut ledger, threads);
    assert_eq!(ids(&second), [2]);
    revive(&mut ledger, 3);
    assert_eq!(get_all(&mut ledger, threads), []);
    end(&mut ledger, second[0]);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [3]);
    revive(&mut ledger, 1);
    assert_eq!(ledger.check_relations(&after(&[1])), Ok(()));
}

fn a_journal_has_both_ends_in_one_write() {
    let mut ledger = Bytes::resume(Options::default(), Recovered::default());
    ledger.handle_order(rules());
    for others in [&[][..], &[1], &[2]] {
        put(&mut ledger, others);
    }
    let write = ledger.poll_write().expect("three were put");
    ledger.handle_written(write.number);
    assert_eq!((ledger.ready(), ledger.counts().delayed), (1, 2));
    ledger.handle_withdraw(ItemId(1), Scene::default());
    let write = ledger.poll_write().expect("three are dead");
    let dead = write.records.iter().filter_map(|record| match record {
        Record::Dead { id, .. } => Some(id.0),
        _ => None,
    });
    assert!(dead.eq([1, 2, 3]));
}

fn an_item_that_is_not_durable_waits_too() {
    let mut ledger = Bytes::resume(Options::default(), Recovered::default());
    ledger.handle_order(rules());
    let threads = ledger.join_getter();
    for _ in 0..3 {
        put(&mut ledger, &[]);
    }
    let write = ledger.poll_write().expect("they were put");
    ledger.handle_written(write.number);
    let first = get_all(&mut ledger, threads);
    for others in [1, 2, 3] {
        put(&mut ledger, &[others]);
    }
    // What is not durable is not cancelled, and waits all the same.
    let cancelled = ledger.handle_cancel(ItemId(6), Scene::default());
    assert_eq!(cancelled, Cancelled::Not);
    // One of those ends and another one fails before what depends on it is durable.
    end(&mut ledger, first[0]);
    ledger.handle_cancel(ItemId(2), Scene::default());
    let write = ledger.poll_write().expect("there is more");
    ledger.handle_written(write.number);
    assert_eq!(ledger.check(), Ok(()));
    assert_eq!(ledger.poll_timeout(), Some(NO_TIME));
    ledger.handle_timeout(NO_TIME);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [4]);
    let write = ledger.poll_write().expect("one is dead");
    ledger.handle_written(write.number);
    assert_eq!(letters(&mut ledger)[&5].history[0].cause, failed(2));
    assert_eq!(ledger.waits_for(ItemId(6)), Some(WaitsFor::Items));
    assert_eq!(get_all(&mut ledger, threads), []);
}

fn a_ledger_that_goes_on_knows_what_waits_for_what() {
    let unfinished = |id: u64, others: &[u8]| Unfinished {
        id: ItemId(id),
        payload: after(others),
        history: Vec::new(),
        forgiven: 0,
    };
    // 1 is done and 2 is dead; what depends on it was not written down.
    let recovered = Recovered {
        accepted: 7,
        dead: 1,
        unfinished: vec![
            unfinished(3, &[1]),
            unfinished(4, &[3]),
            unfinished(5, &[2]),
            unfinished(6, &[5]),
            unfinished(7, &[4, 255]),
        ],
    };
    let mut ledger = Bytes::resume(Options::default(), recovered);
    ledger.handle_known_dead([ItemId(2)], Duration::from_secs(9));
    ledger.handle_order(rules());
    assert_eq!(ledger.check(), Ok(()));
    let threads = ledger.join_getter();
    let first = get_all(&mut ledger, threads);
    assert_eq!(ids(&first), [3]);
    assert_eq!((ledger.counts().dead, ledger.counts().delayed), (3, 2));
    let write = ledger.poll_write().expect("two are dead");
    ledger.handle_written(write.number);
    let ended = letters(&mut ledger)[&6].history[0].scene.ended;
    assert_eq!(ended, Duration::from_secs(9));
    end(&mut ledger, first[0]);
    let second = get_all(&mut ledger, threads);
    end(&mut ledger, second[0]);
    assert_eq!(ledger.waits_for(ItemId(7)), Some(WaitsFor::Time));
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>),
    Get,
    Done(usize),
    Fail(usize),
    Withdraw(usize),
    Revive(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => prop::collection::vec(1..30_u8, 0..3).prop_map(Step::Put),
        5 => Just(Step::Get),
        3 => any::<usize>().prop_map(Step::Done),
        2 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::Withdraw),
        1 => any::<usize>().prop_map(Step::Revive),
    ];
    prop::collection::vec(step, 1..200)
}

/// The items of a random run.
#[derive(Debug, Default)]
struct Seen {
    held: Vec<Handed>,
    done: BTreeSet<u64>,
    dead: BTreeMap<u64, DeadLetter<Vec<u8>>>,
    /// Those that were tried again although what they depend on is dead.
    forced: BTreeSet<u64>,
    items: BTreeMap<u64, Vec<u8>>,
}

impl Seen {
    fn take(&mut self, at: usize) -> Option<Handed> {
        let count = self.held.len();
        (count > 0).then(|| self.held.swap_remove(at % count))
    }

    fn step(&mut self, ledger: &mut Bytes, threads: HolderId, step: Step) {
        match step {
            Step::Put(others) => {
                let item = after(&others);
                if ledger.check_relations(&item).is_ok() {
                    self.items.insert(put(ledger, &others), item);
                }
            }
            Step::Get => {
                if let Some(handed) = ledger.handle_get(threads) {
                    let others = &self.items[&handed.id.0];
                    let are_done = others
                        .iter()
                        .all(|one| self.done.contains(&u64::from(*one)));
                    assert!(are_done || self.forced.contains(&handed.id.0), "{handed:?}");
                    self.held.push(handed);
                }
            }
            Step::Done(at) => {
                if let Some(handed) = self.take(at) {
                    end(ledger, handed);
                    self.done.insert(handed.id.0);
                }
            }
            Step::Fail(at) => {
                if let Some(handed) = self.take(at) {
                    fail(ledger, handed);
                }
            }
            Step::Withdraw(at) => {
                let id = at as u64 % (self.items.len() as u64 + 1);
                ledger.handle_withdraw(ItemId(id), Scene::default());
            }
            Step::Revive(at) => {
                let id = self.dead.keys().nth(at % self.dead.len().max(1)).copied();
                if let Some(letter) = id.and_then(|id| self.dead.remove(&id)) {
                    self.forced.insert(letter.id.0);
                    ledger.handle_revive(letter);
                }
            }
        }
        self.dead.extend(letters(ledger));
    }

    /// Checks what is where.
    fn check(&self, ledger: &Bytes) {
        assert_eq!(ledger.check(), Ok(()));
        for (id, others) in &self.items {
            let left = ledger.dependencies_of(ItemId(*id));
            assert!(
                left.iter().all(|one| ledger.find(*one).is_some()),
                "{id}: {left:?}"
            );
            let is_dead = |one: &u8| self.dead.contains_key(&u64::from(*one));
            let is_open = !self.done.contains(id) && !self.dead.contains_key(id);
            if is_open && !self.forced.contains(id) {
                assert!(!others.iter().any(is_dead), "{id} goes on");
            }
        }
    }
}

fn every_run_keeps_to_the_dependencies() {
    proptest!(|(all in steps())| {
        let (mut ledger, threads) = depending();
        let mut seen = Seen::default();
        for one in all {
            seen.step(&mut ledger, threads, one);
            seen.check(&ledger);
        }
        // Nothing is left that nobody can end.
        while let Some(handed) = ledger.handle_get(threads).or_else(|| seen.held.pop()) {
            end(&mut ledger, handed);
        }
        prop_assert_eq!(ledger.counts().unfinished(), 0);
    });
}
