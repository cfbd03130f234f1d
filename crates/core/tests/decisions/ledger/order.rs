//! Keys, priorities and slots: which item is next, and which must wait. The random runs compare each
//! choice with that of a model that looks at all items each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dishrack_core::ledger::{
    Backoff, Blame, Cancelled, Cause, Credit, Failure, Handed, HolderId, ItemId, Ledger, Options,
    OrderRules, Rank, Recovered, Report, Scene, Started, Unfinished, WaitsFor,
};
use proptest::prelude::*;

use super::{Bytes, NO_TIME, SHORT, crash, deliver, ids};
use crate::steps::Steps as _;

crate::trials! {
    others_pass_by_an_item_whose_key_is_full,
    so_many_of_a_key_run_as_may,
    an_item_that_rests_keeps_its_keys_turn,
    a_higher_priority_goes_first_and_none_is_passed_over_for_ever,
    of_many_priorities_none_starves,
    what_waits_already_gets_its_place,
    an_item_that_waits_says_for_what,
    a_worker_gets_no_two_of_a_key_in_advance,
    keys_that_nobody_has_are_forgotten,
    each_item_that_runs_has_a_slot_of_its_own,
    a_slot_comes_back_whatever_becomes_of_its_item,
    an_item_with_copies_runs_once_where_there_are_slots,
    every_choice_is_that_of_a_model,
    items_that_are_not_durable_are_not_chosen,
    a_row_that_is_thinned_out_keeps_what_is_not_durable,
    an_item_rests_until_its_time,
    an_item_is_given_up_at_its_deadline_unless_it_has_begun,
    times_are_kept_by_a_ledger_that_goes_on,
    an_item_that_is_durable_after_its_deadline_is_given_up,
    an_item_that_comes_after_its_deadline_never_begins,
    a_dead_letter_that_is_tried_again_rests_until_its_time,
    a_dead_letter_that_is_tried_again_has_its_deadline_behind_it,
    deadlines_of_what_is_over_are_forgotten,
}

/// An item of this priority, with a key if it is not 0.
fn item(key: u8, priority: i8) -> Vec<u8> {
    vec![key, priority.cast_unsigned()]
}

/// The same with times in milliseconds, before which and until which it may begin.
fn timed(key: u8, priority: i8, not_before: Option<u64>, deadline: Option<u64>) -> Vec<u8> {
    let mut item = item(key, priority);
    for time in [not_before, deadline] {
        item.extend(time.unwrap_or(u64::MAX).to_le_bytes());
    }
    item
}

fn rank(item: &[u8]) -> Rank {
    let [key, priority, times @ ..] = item else {
        return Rank::default();
    };
    let key = Some(u64::from(*key)).filter(|key| *key > 0);
    let rank = Rank::of_key(key).priority(priority.cast_signed());
    let mut times = times.chunks_exact(8).map(|time| {
        let time = u64::from_le_bytes(time.try_into().expect("eight bytes"));
        (time < u64::MAX).then(|| Duration::from_millis(time))
    });
    let not_before = times.next().flatten();
    rank.not_before(not_before).deadline(times.next().flatten())
}

fn ordered(per_key: u32) -> (Bytes, HolderId) {
    let backoff = Backoff::exponential(Duration::from_millis(64), Duration::from_millis(64));
    let options = Options::default().max_attempts(5).backoff(backoff);
    let mut ledger = Ledger::new(options);
    ledger.handle_order(OrderRules::new(|item: &Vec<u8>| rank(item)).per_key(per_key));
    let threads = ledger.handle_join(None, u64::MAX);
    (ledger, threads)
}

fn put_keys(ledger: &mut Bytes, keys: &[u8]) {
    for key in keys {
        ledger.put(item(*key, 0), false).expect("there is room");
    }
}

fn get(ledger: &mut Bytes, threads: HolderId) -> Option<Handed> {
    let handed = ledger.handle_get(threads);
    assert_eq!(ledger.check(), Ok(()));
    handed
}

fn get_all(ledger: &mut Bytes, threads: HolderId) -> Vec<Handed> {
    std::iter::from_fn(|| get(ledger, threads)).collect()
}

fn end(ledger: &mut Bytes, handed: Handed) {
    ledger.done(handed.token, SHORT, Some(())).expect("held");
}

fn nack(ledger: &mut Bytes, handed: Handed, rest: u64, now: u64) {
    let blame = Blame {
        cause: Cause::Dropped,
        scene: Scene::default(),
    };
    let rest = Some(Duration::from_millis(rest));
    let nacked = ledger.handle_nack(handed.token, blame, rest, Duration::from_millis(now));
    nacked.expect("held");
}

fn others_pass_by_an_item_whose_key_is_full() {
    let (mut ledger, threads) = ordered(1);
    put_keys(&mut ledger, &[1, 1, 2, 0, 1, 0]);
    assert_eq!(ledger.ready(), 4);
    let first = get_all(&mut ledger, threads);
    assert_eq!(ids(&first), [1, 3, 4, 6]);
    assert_eq!((ledger.ready(), ledger.counts().waiting), (0, 2));
    end(&mut ledger, first[1]);
    assert_eq!(get(&mut ledger, threads), None, "of another key");
    end(&mut ledger, first[0]);
    let second = get_all(&mut ledger, threads);
    assert_eq!(ids(&second), [2]);
    ledger.handle_return(second[0].token).expect("held");
    assert_eq!(ids(&get_all(&mut ledger, threads)), [2]);
}

fn so_many_of_a_key_run_as_may() {
    let (mut ledger, threads) = ordered(2);
    put_keys(&mut ledger, &[1, 1, 1, 1, 2]);
    let handed = get_all(&mut ledger, threads);
    assert_eq!(ids(&handed), [1, 2, 5]);
    // One that rests does not keep others from running where two may.
    nack(&mut ledger, handed[0], 10, 0);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [3]);
    ledger.handle_timeout(Duration::from_millis(10));
    end(&mut ledger, handed[1]);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [1]);
}

fn an_item_that_rests_keeps_its_keys_turn() {
    let (mut ledger, threads) = ordered(1);
    put_keys(&mut ledger, &[1, 1, 0]);
    ledger.put(item(1, 5), false).expect("there is room");
    let first = get(&mut ledger, threads).expect("ready");
    assert_eq!(first.id, ItemId(4), "the highest priority");
    assert_eq!(ids(&get_all(&mut ledger, threads)), [3]);
    nack(&mut ledger, first, 10, 0);
    assert_eq!(get_all(&mut ledger, threads), []);
    assert_eq!(ledger.waits_for(ItemId(1)), Some(WaitsFor::Key));
    ledger.handle_timeout(Duration::from_millis(10));
    let again = get_all(&mut ledger, threads);
    assert_eq!(ids(&again), [4]);
    nack(&mut ledger, again[0], 10, 10);
    // It goes, and so does its turn.
    let cancelled = ledger.handle_cancel(ItemId(4), Scene::default());
    assert_eq!(cancelled, Cancelled::Waiting);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [1]);
}

fn a_higher_priority_goes_first_and_none_is_passed_over_for_ever() {
    let (mut ledger, threads) = ordered(1);
    for (count, priority) in [(1, -3), (2, 0), (200, 7)] {
        for _ in 0..count {
            ledger.put(item(0, priority), false).expect("there is room");
        }
    }
    let handed = get_all(&mut ledger, threads);
    let place = |id| {
        let place = handed.iter().position(|one| one.id == ItemId(id));
        place.expect("all were handed out")
    };
    assert_eq!(ids(&handed[..3]), [4, 5, 6]);
    // Each of the two lower ones is passed over 32 times in a row at most, but for the other's turn.
    assert_eq!((place(2), place(1), place(3)), (32, 33, 65));
}

fn of_many_priorities_none_starves() {
    let (mut ledger, threads) = ordered(1);
    // Items of all priorities wait at any time, and each but one is due again and again.
    for priority in i8::MIN..=i8::MAX {
        ledger.put(item(0, priority), false).expect("there is room");
    }
    let mut last = [0; 256];
    for turn in 1..=2000 {
        let handed = ledger.handle_get(threads).expect("ready");
        let item = ledger.payload(handed.token).expect("held").clone();
        last[usize::from(item[1])] = turn;
        end(&mut ledger, handed);
        ledger.put(item, false).expect("there is room");
    }
    assert!(last.iter().all(|turn| *turn > 2000 - 300), "{last:?}");
}

fn what_waits_already_gets_its_place() {
    let mut ledger = Ledger::new(Options::default());
    let threads = ledger.handle_join(None, u64::MAX);
    put_keys(&mut ledger, &[1, 1, 2, 2, 1, 0]);
    let before = get(&mut ledger, threads).expect("ready");
    ledger.handle_withdraw(ItemId(3), Scene::default());
    let returned = get(&mut ledger, threads).expect("ready");
    ledger.handle_return(returned.token).expect("held");
    ledger.handle_order(OrderRules::new(|item: &Vec<u8>| rank(item)).per_key(1));
    assert_eq!(ledger.check(), Ok(()));
    // One that a holder had before is not counted.
    assert_eq!(ids(&get_all(&mut ledger, threads)), [2, 4, 6]);
    end(&mut ledger, before);
    assert_eq!(get(&mut ledger, threads), None);
}

fn an_item_that_waits_says_for_what() {
    let (mut ledger, threads) = ordered(1);
    put_keys(&mut ledger, &[1, 1, 0]);
    // One that only waits behind others of its key waits its turn.
    assert_eq!(ledger.waits_for(ItemId(1)), None);
    assert_eq!(ledger.waits_for(ItemId(2)), None);
    let first = get(&mut ledger, threads).expect("ready");
    assert_eq!(ledger.waits_for(ItemId(2)), Some(WaitsFor::Key));
    assert_eq!(ledger.waits_for(ItemId(3)), None);
    end(&mut ledger, first);
    assert_eq!(ledger.waits_for(ItemId(2)), None);
    ledger.handle_slots(1);
    let worker = ledger.join_worker(Credit::single());
    let handed = deliver(&mut ledger);
    assert_eq!((ids(&handed), handed[0].holder), (vec![2], worker));
    assert_eq!(ledger.waits_for(ItemId(3)), Some(WaitsFor::Slot));
}

fn a_worker_gets_no_two_of_a_key_in_advance() {
    let (mut ledger, threads) = ordered(1);
    let worker = ledger.join_worker(Credit::adaptive());
    for _ in 0..6 {
        put_keys(&mut ledger, &[0]);
        deliver(&mut ledger)
            .into_iter()
            .for_each(|one| end(&mut ledger, one));
    }
    put_keys(&mut ledger, &[1, 1, 2, 2, 3]);
    let first = ledger.poll_delivery().expect("idle");
    let mut turn = vec![first.id.0];
    ledger.poll_turn(|handed, _| turn.push(handed.id.0));
    turn.extend(ids(&deliver(&mut ledger)));
    assert_eq!(turn, [7, 9, 11]);
    // What it has done in bulk makes room for others.
    ledger.handle_done_through(worker, first.ordinal + 2, SHORT);
    assert_eq!(ledger.check(), Ok(()));
    assert_eq!(ids(&get_all(&mut ledger, threads)), [8, 10]);
}

fn keys_that_nobody_has_are_forgotten() {
    let numbers = |item: &Vec<u8>| {
        let number = item[..].try_into().map(u64::from_le_bytes);
        Rank::of_key(number.ok())
    };
    let mut ledger = Ledger::new(Options::default());
    ledger.handle_order(OrderRules::new(numbers).per_key(1));
    let threads = ledger.handle_join(None, u64::MAX);
    for number in 0..100_000_u64 {
        ledger
            .put(number.to_le_bytes().to_vec(), false)
            .expect("room");
        let handed = get(&mut ledger, threads).expect("ready");
        end(&mut ledger, handed);
        assert!(ledger.poll_report().is_some());
    }
    let size = format!("{ledger:?}").len();
    assert!(size < 20_000, "{size} letters are kept of keys");
}

fn slotted(count: u32, workers: usize) -> Bytes {
    let mut ledger = Ledger::new(Options::default().max_attempts(2));
    ledger.handle_slots(count);
    for _ in 0..workers {
        ledger.join_worker(Credit::single());
    }
    ledger
}

fn slots(handed: &[Handed]) -> Vec<u32> {
    handed.iter().map(|one| one.slot).collect()
}

fn each_item_that_runs_has_a_slot_of_its_own() {
    let mut ledger = slotted(2, 3);
    super::put(&mut ledger, 4);
    let first = deliver(&mut ledger);
    assert_eq!(slots(&first), [1, 2]);
    end(&mut ledger, first[0]);
    let third = deliver(&mut ledger);
    assert_eq!((ids(&third), slots(&third)), (vec![3], vec![1]));
    // A thread that takes items itself has none, and needs none.
    let threads = ledger.handle_join(None, u64::MAX);
    let taken = ledger.handle_get(threads).expect("ready");
    assert_eq!((taken.id, taken.slot), (ItemId(4), 0));
    assert_eq!(ledger.check(), Ok(()));
}

fn a_slot_comes_back_whatever_becomes_of_its_item() {
    let mut ledger = slotted(1, 3);
    super::put(&mut ledger, 9);
    let next = |ledger: &mut Bytes| {
        assert_eq!(ledger.check(), Ok(()));
        let handed = deliver(ledger);
        assert_eq!(slots(&handed), [1], "one has it");
        handed[0]
    };
    let handed = next(&mut ledger);
    nack(&mut ledger, handed, 0, 0);
    let handed = next(&mut ledger);
    ledger.handle_return(handed.token).expect("held");
    let handed = next(&mut ledger);
    ledger.handle_leave(handed.holder, Started::at(1), Some(&crash()), NO_TIME);
    let handed = next(&mut ledger);
    // Whoever runs a cancelled item has its slot until that is over.
    let cancelled = ledger.handle_cancel(handed.id, Scene::default());
    let token = match cancelled {
        Cancelled::Leased(handed) => Some(handed.token),
        Cancelled::Waiting | Cancelled::Not => None,
    };
    assert_eq!(token, Some(handed.token));
    assert_eq!(deliver(&mut ledger), []);
    ledger.handle_late_return(handed.token);
    let handed = next(&mut ledger);
    ledger.handle_cancel(handed.id, Scene::default());
    ledger.handle_leave(handed.holder, Started::at(1), Some(&crash()), NO_TIME);
    let handed = next(&mut ledger);
    ledger.handle_done_through(handed.holder, handed.ordinal, SHORT);
    next(&mut ledger);
}

fn an_item_with_copies_runs_once_where_there_are_slots() {
    let copies = dishrack_core::ledger::Copies::first(2);
    let mut ledger = Bytes::new(Options::default().copies(copies));
    ledger.handle_slots(2);
    for _ in 0..2 {
        ledger.join_worker(Credit::single());
    }
    super::put(&mut ledger, 1);
    let handed = deliver(&mut ledger);
    assert_eq!((handed.len(), handed[0].of), (1, 1));
}

fn items_that_are_not_durable_are_not_chosen() {
    let mut ledger = Bytes::resume(Options::default(), Default::default());
    ledger.handle_order(OrderRules::new(|item: &Vec<u8>| rank(item)).per_key(1));
    let threads = ledger.handle_join(None, u64::MAX);
    put_keys(&mut ledger, &[1, 1]);
    let write = ledger.poll_write().expect("two were put");
    put_keys(&mut ledger, &[2, 2]);
    assert_eq!(get(&mut ledger, threads), None);
    ledger.handle_written(write.number);
    let first = get_all(&mut ledger, threads);
    assert_eq!(ids(&first), [1]);
    ledger.poll_write().expect("two more were put");
    ledger.handle_write_failed();
    assert_eq!((ledger.counts().accepted, ledger.check()), (2, Ok(())));
}

/// Tells the time, and gives up what is overdue.
fn pass(ledger: &mut Bytes, now: u64) -> Vec<u64> {
    let now = Duration::from_millis(now);
    ledger.handle_timeout(now);
    let mut overdue = Vec::new();
    while let Some(id) = ledger.poll_overdue(now) {
        let given_up = ledger.handle_condemned(id, Cause::DeadlinePassed, Scene::default());
        assert_eq!(given_up, Cancelled::Waiting);
        overdue.push(id.0);
    }
    assert_eq!(ledger.check(), Ok(()));
    overdue
}

fn an_item_rests_until_its_time() {
    let (mut ledger, threads) = ordered(1);
    ledger
        .put(timed(1, 0, Some(30), None), false)
        .expect("room");
    ledger.put(timed(1, 0, None, None), false).expect("room");
    assert_eq!((ledger.counts().delayed, ledger.counts().waiting), (1, 1));
    assert_eq!(ledger.poll_timeout(), Some(Duration::from_millis(30)));
    // It does not hold up its key before its time.
    let second = get_all(&mut ledger, threads);
    assert_eq!(ids(&second), [2]);
    assert_eq!(pass(&mut ledger, 30), [0; 0]);
    assert_eq!(get_all(&mut ledger, threads), []);
    end(&mut ledger, second[0]);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [1]);
}

fn an_item_is_given_up_at_its_deadline_unless_it_has_begun() {
    let (mut ledger, threads) = ordered(1);
    for key in [1, 1, 0, 0] {
        ledger
            .put(timed(key, 0, None, Some(10)), false)
            .expect("room");
    }
    ledger
        .put(timed(0, 0, Some(5), Some(10)), false)
        .expect("room");
    assert!(ledger.is_timed());
    let begun = get_all(&mut ledger, threads);
    assert_eq!(ids(&begun), [1, 3, 4]);
    assert_eq!(pass(&mut ledger, 9), [0; 0]);
    assert_eq!(ledger.poll_timeout(), Some(Duration::from_millis(10)));
    assert_eq!(pass(&mut ledger, 10), [2, 5]);
    end(&mut ledger, begun[0]);
    // What comes back does not begin again.
    nack(&mut ledger, begun[1], 0, 11);
    ledger.handle_return(begun[2].token).expect("held");
    assert_eq!(get_all(&mut ledger, threads), []);
    assert_eq!(pass(&mut ledger, 11), [3, 4]);
    let counts = ledger.counts();
    assert_eq!((counts.done, counts.dead, counts.unfinished()), (1, 4, 0));
    let letters = std::iter::from_fn(|| ledger.poll_report()).filter_map(|report| match report {
        Report::Dead(letter) => Some((letter.id.0, letter.history)),
        _ => None,
    });
    let letters: BTreeMap<u64, Vec<Failure>> = letters.collect();
    let causes = |id| -> Vec<(u32, Cause)> {
        let history = letters[&id].iter();
        history
            .map(|one| (one.attempt, one.cause.clone()))
            .collect()
    };
    assert_eq!(causes(2), [(0, Cause::DeadlinePassed)]);
    assert_eq!(causes(3), [(1, Cause::Dropped), (0, Cause::DeadlinePassed)]);
}

fn times_are_kept_by_a_ledger_that_goes_on() {
    let unfinished = |id, payload| Unfinished {
        id: ItemId(id),
        payload,
        history: Vec::new(),
        forgiven: 0,
    };
    let recovered = Recovered {
        accepted: 3,
        dead: 0,
        unfinished: vec![
            unfinished(1, timed(0, 0, Some(20), None)),
            unfinished(2, timed(0, 0, None, Some(10))),
            unfinished(3, timed(0, 0, None, None)),
        ],
    };
    let mut ledger = Bytes::resume(Options::default(), recovered);
    ledger.handle_order(OrderRules::new(|item: &Vec<u8>| rank(item)));
    let threads = ledger.handle_join(None, u64::MAX);
    assert_eq!(pass(&mut ledger, 10), [2]);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [3]);
    assert_eq!(pass(&mut ledger, 20), [0; 0]);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [1]);
}

fn an_item_that_is_durable_after_its_deadline_is_given_up() {
    let mut ledger = Bytes::resume(Options::default(), Default::default());
    ledger.handle_order(OrderRules::new(|item: &Vec<u8>| rank(item)));
    let threads = ledger.handle_join(None, u64::MAX);
    ledger
        .put(timed(0, 0, None, Some(10)), false)
        .expect("room");
    let write = ledger.poll_write().expect("it was put");
    assert_eq!(pass(&mut ledger, 11), [0; 0], "it is not accepted yet");
    ledger.handle_written(write.number);
    assert_eq!(get(&mut ledger, threads), None, "nobody has looked yet");
    assert_eq!(pass(&mut ledger, 12), [1]);
    assert_eq!(get(&mut ledger, threads), None);
}

fn an_item_that_comes_after_its_deadline_never_begins() {
    let mut ledger = Bytes::new(Options::default());
    let rules = OrderRules::new(|item: &Vec<u8>| rank(item));
    ledger.handle_order(rules.with_deadlines());
    let threads = ledger.handle_join(None, u64::MAX);
    assert!(ledger.is_timed(), "before there is one");
    assert_eq!(pass(&mut ledger, 11), [0; 0]);
    let put = |ledger: &mut Bytes, early, late| {
        let item = timed(0, 0, early, late);
        ledger.put(item, false).expect("there is room");
    };
    put(&mut ledger, None, Some(11));
    put(&mut ledger, Some(20), Some(5));
    put(&mut ledger, None, Some(12));
    assert_eq!(ids(&get_all(&mut ledger, threads)), [3]);
    assert_eq!(ledger.poll_timeout(), Some(Duration::from_millis(5)));
    assert_eq!(pass(&mut ledger, 11), [2, 1]);
}

fn a_dead_letter_that_is_tried_again_rests_until_its_time() {
    let (mut ledger, threads) = ordered(1);
    for early in [Some(30), None] {
        let item = timed(0, 0, early, None);
        ledger.put(item, false).expect("there is room");
    }
    for id in [1, 2] {
        assert!(ledger.handle_withdraw(ItemId(id), Scene::default()));
    }
    while let Some(report) = ledger.poll_report() {
        if let Report::Dead(letter) = report {
            ledger.handle_revive(letter);
        }
    }
    assert_eq!(ids(&get_all(&mut ledger, threads)), [2]);
    assert_eq!(pass(&mut ledger, 29), [0; 0]);
    assert_eq!(get(&mut ledger, threads), None);
    assert_eq!(pass(&mut ledger, 30), [0; 0]);
    assert_eq!(ids(&get_all(&mut ledger, threads)), [1]);
}

/// Its deadline came while a holder had it, or comes after its end, and is the queue's for it or was its own.
fn a_dead_letter_that_is_tried_again_has_its_deadline_behind_it() {
    for (end, is_its_own) in [(5, false), (15, false), (5, true), (15, true)] {
        let mut ledger = Bytes::new(Options::default().max_attempts(1));
        ledger.handle_order(OrderRules::new(|item: &Vec<u8>| rank(item)));
        let threads = ledger.handle_join(None, u64::MAX);
        ledger
            .put(timed(0, 0, None, Some(10)), false)
            .expect("there is room");
        let handed = get(&mut ledger, threads).expect("it is in time");
        assert_eq!(pass(&mut ledger, end), [0; 0]);
        nack(&mut ledger, handed, 0, end);
        let Some(Report::Dead(letter)) = ledger.poll_report() else {
            panic!("it is a dead letter");
        };
        ledger.handle_revive(match is_its_own {
            true => letter.with_payload(item(0, 0)),
            false => letter,
        });
        assert_eq!(pass(&mut ledger, 20), [0; 0], "ended at {end}");
        assert_eq!(ids(&get_all(&mut ledger, threads)), [1], "ended at {end}");
    }
}

fn deadlines_of_what_is_over_are_forgotten() {
    let (mut ledger, threads) = ordered(1);
    for _ in 0..20_000 {
        ledger
            .put(timed(0, 0, None, Some(1 << 40)), false)
            .expect("room");
        let handed = get(&mut ledger, threads).expect("ready");
        end(&mut ledger, handed);
        assert!(ledger.poll_report().is_some());
        assert_eq!(ledger.poll_overdue(NO_TIME), None);
    }
    let size = format!("{ledger:?}").len();
    assert!(size < 200_000, "{size} letters are kept of deadlines");
}

/// An item in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Waits,
    Rests(u64),
    Held(Handed),
    Over,
}

/// Items that pass by leave gaps between the first ones and those that are not durable yet.
fn a_row_that_is_thinned_out_keeps_what_is_not_durable() {
    for passing in 0..400 {
        let mut ledger: Bytes = Ledger::resume(Options::default(), Recovered::default());
        ledger.handle_order(OrderRules::new(|item: &Vec<u8>| rank(item)).per_key(1));
        let threads = ledger.handle_join(None, u64::MAX);
        let write = |ledger: &mut Bytes| {
            let write = ledger.poll_write().expect("there is something to write");
            ledger.handle_written(write.number);
        };
        put_keys(&mut ledger, &[1, 1]);
        put_keys(&mut ledger, &vec![0; passing]);
        write(&mut ledger);
        let first = ledger.handle_get(threads).expect("it is durable");
        for _ in 0..passing {
            let passed = ledger.handle_get(threads).expect("it passes by");
            assert!(passed.id > ItemId(2));
        }
        put_keys(&mut ledger, &[0; 200]);
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(ledger.handle_get(threads), None, "{passing}");
        end(&mut ledger, first);
        let second = ledger.handle_get(threads).expect("its key has room");
        assert_eq!(second.id, ItemId(2));
        assert_eq!(ledger.handle_get(threads), None, "{passing}");
        write(&mut ledger);
        let rest = get_all(&mut ledger, threads);
        assert_eq!(rest.len(), 200, "{passing}");
        assert!(rest.is_sorted_by_key(|handed| handed.id));
    }
}

/// The order, as its rules are written down: nothing is kept in order, and all items are looked at.
#[derive(Debug)]
struct Model {
    per_key: usize,
    items: Vec<(Rank, Where)>,
    turns: BTreeMap<u64, u64>,
    passed_over: BTreeMap<i8, u32>,
    /// Items that were held at their deadlines, and those that have come back since.
    overdue: BTreeSet<u64>,
    late: BTreeSet<u64>,
    now: u64,
}

impl Model {
    fn rank(&self, id: u64) -> Rank {
        self.items[usize::try_from(id).unwrap() - 1].0
    }

    fn place(&mut self, id: u64) -> &mut Where {
        &mut self.items[usize::try_from(id).unwrap() - 1].1
    }

    fn all(&self) -> impl Iterator<Item = (u64, Rank, Where)> + '_ {
        (1..)
            .zip(&self.items)
            .map(|(id, (rank, place))| (id, *rank, *place))
    }

    fn may_run(&self, rank: Rank) -> bool {
        let Some(key) = rank.key else {
            return true;
        };
        let held = |place| matches!(place, Where::Held(_));
        let same = self.all().filter(|(_, other, _)| other.key == Some(key));
        let running = same.filter(|(_, _, place)| held(*place)).count();
        let is_its_turn = self.turns.get(&key).is_none_or(|turn| {
            let waits = self.items[usize::try_from(*turn).unwrap() - 1].1 == Where::Waits;
            let turn = self.rank(*turn);
            waits && (turn.priority, turn.key) == (rank.priority, rank.key)
        });
        running < self.per_key && is_its_turn
    }

    fn waiting(&self) -> impl Iterator<Item = (u64, Rank)> + '_ {
        let waiting = self.all().filter(|(_, _, place)| *place == Where::Waits);
        waiting.map(|(id, rank, _)| (id, rank))
    }

    /// Takes the next item.
    fn pop(&mut self) -> Option<u64> {
        let mut firsts: BTreeMap<i8, u64> = BTreeMap::new();
        for (id, rank) in self.waiting().filter(|(_, rank)| self.may_run(*rank)) {
            firsts.entry(rank.priority).or_insert(id);
        }
        let passed = |priority: &i8| self.passed_over.get(priority).copied().unwrap_or(0);
        let highest = *firsts.keys().next_back()?;
        let mut chosen = highest;
        for priority in firsts.keys().rev() {
            if passed(priority) >= 32 && passed(priority) > passed(&chosen) {
                chosen = *priority;
            }
        }
        let waiting: BTreeSet<i8> = self.waiting().map(|(_, rank)| rank.priority).collect();
        for priority in waiting {
            *self.passed_over.entry(priority).or_default() += 1;
        }
        self.passed_over.insert(chosen, 0);
        let id = firsts[&chosen];
        self.leave(id);
        Some(id)
    }

    fn leave(&mut self, id: u64) {
        self.turns.retain(|_, turn| *turn != id);
    }

    fn put(&mut self, rank: Rank) {
        let until = rank.not_before.map(|time| time.as_millis());
        let until = until.map(|time| u64::try_from(time).expect("they are small"));
        let is_late = rank
            .deadline
            .is_some_and(|time| time <= Duration::from_millis(self.now));
        let place = match is_late {
            true => Where::Rests(u64::MAX),
            false => until.map_or(Where::Waits, Where::Rests),
        };
        self.items.push((rank, place));
    }

    fn come_back(&mut self, id: u64, rest: u64) {
        let is_late = self.overdue.remove(&id);
        if is_late {
            self.late.insert(id);
        }
        *self.place(id) = match rest {
            _ if is_late => Where::Rests(u64::MAX),
            0 => Where::Waits,
            rest => Where::Rests(self.now + rest),
        };
    }

    fn fail(&mut self, id: u64, rest: u64) {
        self.come_back(id, rest);
        if let (1, Some(key)) = (self.per_key, self.rank(id).key) {
            let turn = self.turns.entry(key).or_insert(id);
            *turn = (*turn).min(id);
        }
    }

    fn pass(&mut self, now: u64) {
        self.now = now;
        for (_, place) in &mut self.items {
            if matches!(place, Where::Rests(until) if *until <= now) {
                *place = Where::Waits;
            }
        }
    }

    /// Gives up what is overdue.
    fn give_up(&mut self) -> BTreeSet<u64> {
        let now = Duration::from_millis(self.now);
        let mut overdue = std::mem::take(&mut self.late);
        for (id, rank, place) in self.all().collect::<Vec<_>>() {
            match place {
                _ if rank.deadline.is_none_or(|time| time > now) => {}
                Where::Waits | Where::Rests(_) => drop(overdue.insert(id)),
                Where::Held(_) => drop(self.overdue.insert(id)),
                Where::Over => {}
            }
        }
        overdue.retain(|id| *self.place(*id) != Where::Over);
        for id in &overdue {
            self.leave(*id);
            *self.place(*id) = Where::Over;
        }
        overdue
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Put(u8, i8, u64, u64),
    Get,
    Done(usize),
    Nack(usize, u64),
    Return(usize),
    Withdraw(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8, -1..3_i8, 0..60_u64, 0..60_u64)
            .prop_map(|(key, priority, early, late)| Step::Put(key, priority, early, late)),
        6 => Just(Step::Get),
        3 => any::<usize>().prop_map(Step::Done),
        2 => (any::<usize>(), 0..20_u64).prop_map(|(at, rest)| Step::Nack(at, rest / 2)),
        1 => any::<usize>().prop_map(Step::Return),
        1 => any::<usize>().prop_map(Step::Withdraw),
        1 => (1..15_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..400)
}

fn step(ledger: &mut Bytes, threads: HolderId, model: &mut Model, step: Step) {
    let held = |model: &Model, at: usize| {
        let all = model.all();
        let held = all.filter_map(|(id, _, place)| match place {
            Where::Held(handed) => Some((id, handed)),
            _ => None,
        });
        let held: Vec<_> = held.collect();
        (!held.is_empty()).then(|| held[at % held.len()])
    };
    match step {
        Step::Put(key, priority, early, late) => {
            // Most have no times, and some are there too early or too late already.
            let time = |from: u64| (from < 20).then(|| (model.now + from).saturating_sub(3));
            let item = timed(key, priority, time(early), time(late));
            model.put(rank(&item));
            ledger.put(item, false).expect("there is room");
        }
        Step::Get => {
            let handed = ledger.handle_get(threads);
            let id = model.pop();
            assert_eq!(handed.map(|one| one.id.0), id);
            if let (Some(id), Some(handed)) = (id, handed) {
                *model.place(id) = Where::Held(handed);
            }
        }
        Step::Done(at) => {
            if let Some((id, handed)) = held(model, at) {
                end(ledger, handed);
                *model.place(id) = Where::Over;
            }
        }
        Step::Nack(at, rest) => {
            if let Some((id, handed)) = held(model, at) {
                nack(ledger, handed, rest, model.now);
                let is_dead = handed.attempt == 5;
                model.fail(id, rest);
                if is_dead {
                    model.leave(id);
                    *model.place(id) = Where::Over;
                }
            }
        }
        Step::Return(at) => {
            if let Some((id, handed)) = held(model, at) {
                ledger.handle_return(handed.token).expect("held");
                model.come_back(id, 0);
            }
        }
        Step::Withdraw(at) => {
            let id = at as u64 % (model.items.len() as u64 + 1);
            let is_there = id > 0 && matches!(model.place(id), Where::Waits | Where::Rests(_));
            let is_gone = ledger.handle_withdraw(ItemId(id), Scene::default());
            assert_eq!(is_gone, is_there);
            if is_there {
                model.leave(id);
                *model.place(id) = Where::Over;
            }
        }
        Step::Pass(time) => {
            model.pass(model.now + time);
            let overdue = pass(ledger, model.now);
            assert_eq!(BTreeSet::from_iter(overdue), model.give_up());
        }
    }
}

fn every_choice_is_that_of_a_model() {
    proptest!(|(all in steps(), per_key in 1..4_u32)| {
        let (mut ledger, threads) = ordered(per_key);
        let mut model = Model {
            per_key: per_key as usize,
            items: Vec::new(),
            turns: BTreeMap::new(),
            passed_over: BTreeMap::new(),
            overdue: BTreeSet::new(),
            late: BTreeSet::new(),
            now: 0,
        };
        for one in all {
            step(&mut ledger, threads, &mut model, one);
            prop_assert_eq!(ledger.check(), Ok(()));
            let waiting: Vec<u64> = model.waiting().map(|(id, _)| id).collect();
            prop_assert_eq!(ledger.counts().waiting, waiting.len() as u64);
            let found = ledger.find_all(
                ItemId(1)..=ItemId(u64::MAX),
                Some(dishrack_core::ledger::PlaceKind::Waiting),
                usize::MAX,
            );
            let found: Vec<u64> = found.iter().map(|one| one.id.0).collect();
            prop_assert_eq!(found, waiting);
        }
    });
}
