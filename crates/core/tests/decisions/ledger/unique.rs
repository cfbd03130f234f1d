//! Unique keys: which item is accepted, and when its key is free again. The random runs compare with a
//! plain list of all items.

use std::time::Duration;

use dishrack_core::ledger::{
    Cancelled, Cause, Copies, Credit, DeadLetter, Handed, HolderId, ItemId, Ledger, Options,
    OrderRules, Rank, Recovered, Refusal, Report, Scene, Unfinished, UniqueKey,
};
use proptest::prelude::*;

use super::{Bytes, NO_TIME, SHORT};
use crate::steps::Steps as _;

crate::trials! {
    a_second_item_of_a_key_is_refused_until_the_first_one_ends,
    a_key_with_a_time_is_free_when_that_is_over,
    ends_in_bulk_free_keys_and_ends_of_copies_do_not,
    a_dead_letter_has_no_key,
    a_dead_letter_that_is_tried_again_takes_its_key_if_it_is_free,
    copies_of_an_item_are_one_item,
    a_ledger_that_goes_on_knows_the_keys_of_items_without_an_end,
    items_that_were_there_before_have_their_keys,
    what_is_not_durable_yet_has_its_key,
    an_item_given_up_with_what_it_depends_on_frees_its_key,
    what_is_known_does_not_grow,
    no_run_has_two_items_of_a_key,
}

const HOUR: Duration = Duration::from_secs(3600);

/// The key is the first byte, if it is not 0; the second one says for how many milliseconds it is the
/// item's, or 0 for until the end.
fn key_of(item: &[u8]) -> Option<UniqueKey> {
    let key = u128::from(*item.first().filter(|key| **key > 0)?);
    Some(match item.get(1) {
        None | Some(0) => UniqueKey::until_end(key),
        Some(ms) => UniqueKey::within(key, Duration::from_millis(u64::from(*ms))),
    })
}

fn unique() -> (Bytes, HolderId) {
    let mut ledger = Ledger::new(Options::default().max_attempts(1));
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), NO_TIME);
    let threads = ledger.join_getter();
    (ledger, threads)
}

/// Puts an item as production does: its number, or that of the one that stands for it.
fn put(ledger: &mut Bytes, item: &[u8]) -> Result<u64, u64> {
    let item = item.to_vec();
    match ledger.check_relations(&item) {
        Ok(()) => Ok(ledger.put(item, false).expect("there is room").0),
        Err(Refusal::Duplicate { of }) => Err(of.0),
        Err(other) => panic!("{other:?}"),
    }
}

fn get(ledger: &mut Bytes, threads: HolderId) -> Handed {
    ledger.handle_get(threads).expect("one waits")
}

fn end(ledger: &mut Bytes, handed: Handed) {
    ledger.done(handed.token, SHORT, Some(())).expect("held");
}

fn fail(ledger: &mut Bytes, handed: Handed) {
    let failed = ledger.handle_nack(handed.token, Cause::Dropped.into(), None, NO_TIME);
    failed.expect("held");
}

fn letters(ledger: &mut Bytes) -> Vec<DeadLetter<Vec<u8>>> {
    let reports = std::iter::from_fn(|| ledger.poll_report());
    let letters = reports.filter_map(|report| match report {
        Report::Dead(letter) => Some(letter),
        _ => None,
    });
    letters.collect()
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn a_second_item_of_a_key_is_refused_until_the_first_one_ends() {
    let (mut ledger, threads) = unique();
    assert_eq!(put(&mut ledger, &[7]), Ok(1));
    assert_eq!(put(&mut ledger, &[7]), Err(1));
    // Others, and items without a key, are accepted.
    assert_eq!(put(&mut ledger, &[8]), Ok(2));
    assert_eq!(
        (put(&mut ledger, &[0]), put(&mut ledger, &[0])),
        (Ok(3), Ok(4))
    );
    let handed = get(&mut ledger, threads);
    assert_eq!(put(&mut ledger, &[7]), Err(1), "it runs");
    ledger.handle_timeout(1000 * HOUR);
    assert_eq!(put(&mut ledger, &[7]), Err(1), "no time ends it");
    // One that comes back has it still.
    ledger.handle_return(handed.token).expect("held");
    assert_eq!(put(&mut ledger, &[7]), Err(1));
    let handed = get(&mut ledger, threads);
    end(&mut ledger, handed);
    assert_eq!(put(&mut ledger, &[7]), Ok(5));
    assert_eq!(put(&mut ledger, &[7]), Err(5));
}

fn a_key_with_a_time_is_free_when_that_is_over() {
    let (mut ledger, threads) = unique();
    ledger.handle_timeout(at(100));
    assert_eq!(put(&mut ledger, &[7, 10]), Ok(1));
    let handed = get(&mut ledger, threads);
    end(&mut ledger, handed);
    assert_eq!(put(&mut ledger, &[7, 10]), Err(1), "done is not over");
    ledger.handle_timeout(at(109));
    assert_eq!(put(&mut ledger, &[7, 10]), Err(1));
    ledger.handle_timeout(at(110));
    assert_eq!(put(&mut ledger, &[7, 10]), Ok(2));
    // It is free then though the item has no end, and the end of that frees nobody else's.
    ledger.handle_timeout(at(120));
    assert_eq!(put(&mut ledger, &[7]), Ok(3));
    let handed = get(&mut ledger, threads);
    assert_eq!(handed.id, ItemId(2));
    end(&mut ledger, handed);
    assert_eq!(put(&mut ledger, &[7]), Err(3));
    // A time that never ends is none that overflows.
    ledger.handle_timeout(Duration::MAX);
    assert_eq!(put(&mut ledger, &[9, 255]), Ok(4));
}

fn ends_in_bulk_free_keys_and_ends_of_copies_do_not() {
    let (mut ledger, _) = unique();
    let worker = ledger.join_worker(Credit::single());
    for id in 1..=3 {
        assert_eq!(put(&mut ledger, &[7]), Ok(id));
        let handed = ledger.poll_delivery().expect("it is idle");
        match id {
            1 => ledger.handle_done_through(worker, handed.ordinal, SHORT),
            2 => drop(ledger.handle_done_run(worker, handed.ordinal..=handed.ordinal, SHORT)),
            _ => drop(ledger.handle_done_now(handed.token, SHORT, |_| ())),
        }
    }
    assert_eq!(put(&mut ledger, &[7]), Ok(4));
    // One of two copies that must agree is not the end.
    let options = Options::default().copies(Copies::agree(2, 2));
    let mut ledger = Bytes::new(options);
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), NO_TIME);
    for _ in 0..2 {
        ledger.join_worker(Credit::single());
    }
    ledger.handle_workers(2, NO_TIME);
    assert_eq!(put(&mut ledger, &[7]), Ok(1));
    for answer in [Err(1), Ok(2)] {
        let handed = ledger.poll_delivery().expect("it is idle");
        ledger.handle_done_through(handed.holder, handed.ordinal, SHORT);
        assert_eq!(put(&mut ledger, &[7]), answer);
    }
}

fn a_dead_letter_has_no_key() {
    let (mut ledger, threads) = unique();
    for (id, item) in [(1, [7, 0]), (2, [7, 200])] {
        assert_eq!(put(&mut ledger, &item), Ok(id));
        let handed = get(&mut ledger, threads);
        fail(&mut ledger, handed);
    }
    assert_eq!(put(&mut ledger, &[7, 200]), Ok(3));
    ledger.handle_cancel(ItemId(3), Scene::default());
    assert_eq!(put(&mut ledger, &[7]), Ok(4));
    let handed = get(&mut ledger, threads);
    let cancelled = ledger.handle_cancel(ItemId(4), Scene::default());
    assert_eq!(cancelled, Cancelled::Leased(handed));
    assert_eq!(put(&mut ledger, &[7]), Ok(5));
    // The holder of a cancelled one ends later, which frees nothing.
    assert!(ledger.done(handed.token, SHORT, Some(())).is_err());
    assert_eq!(put(&mut ledger, &[7]), Err(5));
}

fn a_dead_letter_that_is_tried_again_takes_its_key_if_it_is_free() {
    let (mut ledger, _) = unique();
    assert_eq!(put(&mut ledger, &[7]), Ok(1));
    assert_eq!(put(&mut ledger, &[8]), Ok(2));
    for id in [1, 2] {
        ledger.handle_cancel(ItemId(id), Scene::default());
    }
    assert_eq!(put(&mut ledger, &[7]), Ok(3));
    for letter in letters(&mut ledger) {
        ledger.handle_revive(letter);
    }
    assert_eq!(put(&mut ledger, &[8]), Err(2));
    assert_eq!(put(&mut ledger, &[7]), Err(3));
    // The one that came late does not free the other one's.
    ledger.handle_cancel(ItemId(1), Scene::default());
    assert_eq!(put(&mut ledger, &[7]), Err(3));
}

fn copies_of_an_item_are_one_item() {
    let options = Options::default().copies(Copies::first(2)).max_attempts(1);
    let mut ledger = Bytes::new(options);
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), NO_TIME);
    let workers = [ledger.join_getter(), ledger.join_getter()];
    assert_eq!(put(&mut ledger, &[7]), Ok(1));
    let [first, second] = workers.map(|worker| get(&mut ledger, worker));
    // A rule that comes while they run finds them too.
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), NO_TIME);
    assert_eq!(put(&mut ledger, &[7]), Err(1));
    fail(&mut ledger, first);
    assert_eq!(put(&mut ledger, &[7]), Err(1));
    end(&mut ledger, second);
    assert_eq!(put(&mut ledger, &[7]), Ok(2));
    ledger.handle_cancel(ItemId(2), Scene::default());
    assert_eq!((put(&mut ledger, &[7]), ledger.check()), (Ok(3), Ok(())));
}

fn a_ledger_that_goes_on_knows_the_keys_of_items_without_an_end() {
    let unfinished = |id: u64, item: &[u8]| Unfinished {
        id: ItemId(id),
        payload: item.to_vec(),
        history: Vec::new(),
        forgiven: 0,
    };
    let recovered = Recovered {
        accepted: 9,
        dead: 1,
        unfinished: vec![
            unfinished(3, &[7]),
            unfinished(4, &[8, 10]),
            unfinished(5, &[7]),
        ],
    };
    let mut ledger = Bytes::resume(Options::default(), recovered);
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), at(1000));
    assert_eq!(put(&mut ledger, &[7]), Err(3), "the first one");
    assert_eq!(put(&mut ledger, &[8]), Err(4));
    ledger.handle_timeout(at(1010));
    assert_eq!(put(&mut ledger, &[8]), Ok(10));
}

fn items_that_were_there_before_have_their_keys() {
    let mut ledger = Bytes::new(Options::default());
    let threads = ledger.join_getter();
    for key in 1..=4 {
        ledger.put(vec![key], false).expect("there is room");
    }
    let held = get(&mut ledger, threads);
    let failed = get(&mut ledger, threads);
    let nack = ledger.handle_nack(failed.token, Cause::Dropped.into(), Some(HOUR), NO_TIME);
    nack.expect("held");
    let returned = get(&mut ledger, threads);
    ledger.handle_return(returned.token).expect("held");
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), NO_TIME);
    for key in 1..=4 {
        assert_eq!(put(&mut ledger, &[key]), Err(u64::from(key)));
    }
    end(&mut ledger, held);
    assert_eq!(put(&mut ledger, &[1]), Ok(5));
    // Another rule in the place of that one has them, and what was done and has its time.
    let done = loop {
        let handed = get(&mut ledger, threads);
        if handed.id == ItemId(5) {
            break handed;
        }
    };
    assert_eq!(put(&mut ledger, &[9, 10]), Ok(6));
    end(&mut ledger, done);
    let last = get(&mut ledger, threads);
    end(&mut ledger, last);
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), NO_TIME);
    assert_eq!(put(&mut ledger, &[9]), Err(6));
    assert_eq!(put(&mut ledger, &[2]), Err(2));
}

fn what_is_not_durable_yet_has_its_key() {
    let mut ledger = Bytes::resume(Options::default(), Recovered::default());
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), NO_TIME);
    assert_eq!(put(&mut ledger, &[7]), Ok(1));
    assert_eq!(put(&mut ledger, &[7]), Err(1));
    ledger.handle_unique(|item: &Vec<u8>| key_of(item), NO_TIME);
    assert_eq!(put(&mut ledger, &[7]), Err(1));
}

fn an_item_given_up_with_what_it_depends_on_frees_its_key() {
    let (mut ledger, _) = unique();
    let after = |item: &Vec<u8>| match item.get(2) {
        Some(id) => vec![ItemId(u64::from(*id))],
        None => Vec::new(),
    };
    ledger.handle_order(OrderRules::new(|_| Rank::default()).after(after));
    assert_eq!(put(&mut ledger, &[7]), Ok(1));
    assert_eq!(put(&mut ledger, &[8, 0, 1]), Ok(2));
    assert_eq!(put(&mut ledger, &[8]), Err(2));
    ledger.handle_cancel(ItemId(1), Scene::default());
    assert_eq!(ledger.counts().dead, 2);
    assert_eq!(put(&mut ledger, &[8]), Ok(3));
}

fn what_is_known_does_not_grow() {
    let (mut ledger, threads) = unique();
    for n in 1..10_000_u64 {
        let key = u8::try_from(n % 250 + 1).expect("small");
        let time = u8::try_from(n % 3 * 10).expect("small");
        ledger.handle_timeout(at(n));
        put(&mut ledger, &[key, time]).expect("the others of this key are over");
        let handed = get(&mut ledger, threads);
        end(&mut ledger, handed);
        assert!(ledger.known_keys() <= 15, "{}", ledger.known_keys());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Get,
    Done(usize),
    Fail(usize),
    Cancel(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = prop_oneof![Just(0_u8), 1..20_u8];
    let step = prop_oneof![
        6 => (0..5_u8, time).prop_map(|(key, time)| Step::Put(key, time)),
        4 => Just(Step::Get),
        2 => any::<usize>().prop_map(Step::Done),
        1 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => (0..8_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

/// The plain list of all that was accepted: each with its key, and when that is free again.
#[derive(Debug, Default)]
struct Plain {
    now: u64,
    held: Vec<Handed>,
    items: Vec<PlainItem>,
}

#[derive(Debug)]
struct PlainItem {
    key: u8,
    until: Option<u64>,
    is_done: bool,
    is_dead: bool,
}

impl PlainItem {
    fn has_key(&self, now: u64) -> bool {
        !self.is_dead && self.until.map_or(!self.is_done, |until| now < until)
    }
}

impl Plain {
    fn owner(&self, key: u8) -> Option<u64> {
        let has_it = |item: &PlainItem| key > 0 && item.key == key && item.has_key(self.now);
        let place = self.items.iter().position(has_it)?;
        Some(place as u64 + 1)
    }

    fn item(&mut self, id: ItemId) -> &mut PlainItem {
        &mut self.items[usize::try_from(id.0).expect("small") - 1]
    }

    fn take(&mut self, at: usize) -> Option<Handed> {
        let count = self.held.len();
        (count > 0).then(|| self.held.swap_remove(at % count))
    }

    fn step(&mut self, ledger: &mut Bytes, threads: HolderId, step: &Step) {
        match *step {
            Step::Put(key, time) => {
                let expected = match self.owner(key) {
                    Some(of) => Err(of),
                    None => Ok(self.items.len() as u64 + 1),
                };
                assert_eq!(put(ledger, &[key, time]), expected);
                if expected.is_ok() {
                    self.items.push(PlainItem {
                        key,
                        until: (time > 0).then_some(self.now + u64::from(time)),
                        is_done: false,
                        is_dead: false,
                    });
                }
            }
            Step::Get => self.held.extend(ledger.handle_get(threads)),
            Step::Done(at) => {
                if let Some(handed) = self.take(at) {
                    let is_dead = self.item(handed.id).is_dead;
                    let done = ledger.done(handed.token, SHORT, Some(()));
                    assert_eq!(done.is_err(), is_dead);
                    self.item(handed.id).is_done = !is_dead;
                }
            }
            Step::Fail(at) => {
                if let Some(handed) = self.take(at) {
                    let is_dead = self.item(handed.id).is_dead;
                    let cause = Cause::Dropped.into();
                    let nack = ledger.handle_nack(handed.token, cause, None, NO_TIME);
                    assert_eq!(nack.is_err(), is_dead);
                    self.item(handed.id).is_dead = true;
                }
            }
            Step::Cancel(at) => {
                let id = ItemId(at as u64 % (self.items.len() as u64 + 1));
                if ledger.handle_cancel(id, Scene::default()) != Cancelled::Not {
                    self.item(id).is_dead = true;
                }
            }
            Step::Pass(ms) => {
                self.now += ms;
                ledger.handle_timeout(at(self.now));
            }
        }
        assert_eq!(ledger.check(), Ok(()));
        let items = self.items.iter();
        let known = items.filter(|one| one.key > 0 && one.has_key(self.now));
        assert_eq!(ledger.known_keys(), known.count());
    }
}

fn no_run_has_two_items_of_a_key() {
    proptest!(|(all in steps())| {
        let (mut ledger, threads) = unique();
        let mut plain = Plain::default();
        for step in &all {
            plain.step(&mut ledger, threads, step);
        }
    });
}
