//! Many items at once: one word that acknowledges a run of deliveries, one turn that hands out
//! many, and the wake-ups for few.

use std::collections::VecDeque;
use std::time::Duration;

use dishrack_core::ledger::{
    Cancelled, Capacity, Credit, DoneRun, Handed, HolderId, ItemId, Ledger, Options, OrderRules,
    Rank, Recovered, Scene, Stale, Started, Token,
};

use crate::steps::Steps as _;
use proptest::prelude::*;

use super::{Bytes, NO_TIME, SHORT, crash, nack, put, unbounded};

crate::trials! {
    a_handler_that_waits_with_a_kept_item_is_handed_the_next_one,
    being_through_settles_all_up_to_there,
    what_was_settled_otherwise_stays_so,
    a_cancelled_delivery_in_a_run_is_a_late_word,
    being_through_with_what_was_never_handed_out_changes_nothing,
    what_one_is_through_with_is_not_charged_to_its_death,
    a_delivery_that_is_held_for_long_is_found_again,
    few_items_are_left_to_a_fast_worker,
    many_items_wake_another_one,
    few_items_go_to_the_idle_worker_that_is_still_awake,
    a_worker_that_is_slow_is_fast_no_more,
    a_worker_that_cannot_be_seen_is_not_relied_on,
    a_turn_hands_out_what_polling_would,
    a_batch_is_accepted_like_single_items,
    there_is_room_for_as_many_as_would_be_accepted_one_by_one,
    what_is_done_now_needs_no_report,
    a_run_is_settled_like_single_deliveries,
    a_run_with_a_stale_delivery_settles_the_others,
    what_follows_each_other_is_joined_into_runs,
    the_backlog_of_an_overloaded_worker_is_taken_back_for_an_idle_one,
    nothing_is_taken_back_for_nobody,
    what_would_wake_nobody_is_not_taken_back,
}

fn deliveries(ledger: &mut Bytes) -> Vec<Handed> {
    std::iter::from_fn(|| ledger.poll_delivery()).collect()
}

/// Joins an idle worker whose items were tiny until now. `seen` is true if it can be watched.
fn warm(ledger: &mut Bytes, credit: Credit) -> HolderId {
    let worker = ledger.join_worker(credit);
    for _ in 0..12 {
        put(ledger, 1);
        let handed = ledger.poll_delivery().expect("it is idle");
        assert_eq!(handed.holder, worker);
        ledger.done(handed.token, SHORT, None).expect("held");
    }
    worker
}

fn being_through_settles_all_up_to_there() {
    let mut ledger = unbounded();
    let worker = warm(&mut ledger, Credit::adaptive());
    put(&mut ledger, 10);
    let handed = deliveries(&mut ledger);
    assert_eq!(handed.len(), 10);
    ledger.handle_done_through(worker, handed[6].ordinal, SHORT);
    assert_eq!((ledger.counts().done, ledger.counts().leased), (19, 3));
    ledger.handle_done_through(worker, handed[6].ordinal, SHORT);
    ledger.handle_done_through(worker, handed[3].ordinal, SHORT);
    assert_eq!(ledger.counts().done, 19, "what was said once is no news");
    ledger.handle_done_through(worker, handed[9].ordinal, SHORT);
    assert!(ledger.is_finished());
    assert_eq!(ledger.check(), Ok(()));
}

fn what_was_settled_otherwise_stays_so() {
    let mut ledger = unbounded();
    let worker = warm(&mut ledger, Credit::adaptive());
    put(&mut ledger, 3);
    let handed = deliveries(&mut ledger);
    ledger
        .handle_nack(handed[1].token, nack("no"), Some(Duration::MAX), NO_TIME)
        .expect("held");
    ledger.handle_done_through(worker, handed[2].ordinal, SHORT);
    let counts = ledger.counts();
    assert_eq!((counts.done, counts.delayed, counts.refused), (14, 1, 0));
}

fn a_cancelled_delivery_in_a_run_is_a_late_word() {
    let mut ledger = unbounded();
    let worker = warm(&mut ledger, Credit::adaptive());
    put(&mut ledger, 3);
    let handed = deliveries(&mut ledger);
    let cancelled = ledger.handle_cancel(handed[1].id, Scene::default());
    assert_eq!(cancelled, Cancelled::Leased(handed[1]));
    ledger.handle_done_through(worker, handed[2].ordinal, SHORT);
    let counts = ledger.counts();
    assert_eq!((counts.done, counts.dead, counts.refused), (14, 1, 1));
    assert_eq!(ledger.held_by(worker), 0, "it is free again");
    assert_eq!(ledger.check(), Ok(()));
}

fn being_through_with_what_was_never_handed_out_changes_nothing() {
    let mut ledger = unbounded();
    let worker = ledger.join_worker(Credit::adaptive());
    put(&mut ledger, 2);
    let handed = ledger.poll_delivery().expect("it is idle");
    for (holder, through) in [(worker, 2), (worker, u64::MAX), (HolderId::default(), 1)] {
        ledger.handle_done_through(holder, through, SHORT);
        assert_eq!(ledger.counts().leased, 1);
    }
    ledger.handle_done_through(worker, handed.ordinal, SHORT);
    assert_eq!(ledger.counts().done, 1);
}

fn what_one_is_through_with_is_not_charged_to_its_death() {
    let mut ledger = unbounded();
    let worker = warm(&mut ledger, Credit::adaptive());
    put(&mut ledger, 3);
    let handed = deliveries(&mut ledger);
    ledger.handle_done_through(worker, handed[0].ordinal, SHORT);
    let started = Started::at(handed[0].ordinal);
    let charged = ledger.handle_leave(worker, started, Some(&crash()), NO_TIME);
    assert_eq!((charged, ledger.counts().waiting), (0, 2));
}

/// One thread holds an item for ever while others get and settle thousands.
fn a_delivery_that_is_held_for_long_is_found_again() {
    let mut ledger = unbounded();
    let getter = ledger.join_getter();
    put(&mut ledger, 5000);
    let held = ledger.handle_get(getter).expect("there is one");
    for _ in 1..5000 {
        let other = ledger.handle_get(getter).expect("there is one");
        ledger.done(other.token, SHORT, None).expect("held");
    }
    assert_eq!(ledger.handed(held.token), Some(held));
    assert_eq!(ledger.handed(Token::of(getter, 2)), None);
    ledger.done(held.token, SHORT, None).expect("held");
    assert!(ledger.is_finished());
}

/// Joins a fast worker that has two items, and an idle one.
fn fast_and_idle(credit: Credit) -> (Bytes, HolderId, HolderId) {
    let mut ledger = unbounded();
    let fast = warm(&mut ledger, credit);
    put(&mut ledger, 2);
    assert!(deliveries(&mut ledger).iter().all(|one| one.holder == fast));
    let idle = ledger.join_worker(Credit::adaptive());
    (ledger, fast, idle)
}

fn few_items_are_left_to_a_fast_worker() {
    let (mut ledger, fast, idle) = fast_and_idle(Credit::adaptive().seen());
    assert!(ledger.is_relied_on(fast));
    put(&mut ledger, 100);
    assert_eq!(ledger.poll_delivery(), None, "it will come back soon");
    ledger.handle_done_through(fast, 13, SHORT);
    let handed = deliveries(&mut ledger);
    let of_idle = handed.iter().filter(|one| one.holder == idle).count();
    assert_eq!((of_idle, handed.len()), (0, 50), "its fair share");
}

fn many_items_wake_another_one() {
    let (mut ledger, _, idle) = fast_and_idle(Credit::adaptive().seen());
    put(&mut ledger, 1000);
    let handed = deliveries(&mut ledger);
    assert_eq!(handed[0].holder, idle);
}

fn few_items_go_to_the_idle_worker_that_is_still_awake() {
    let mut ledger = unbounded();
    let awake = warm(&mut ledger, Credit::adaptive().seen());
    let asleep = ledger.join_worker(Credit::adaptive().seen());
    for _ in 0..3 {
        put(&mut ledger, 2);
        let handed = deliveries(&mut ledger);
        assert!(handed.iter().all(|one| one.holder == awake));
        let last = handed.last().expect("it is idle").ordinal;
        ledger.handle_done_through(awake, last, SHORT);
        let rest = deliveries(&mut ledger);
        assert!(rest.iter().all(|one| one.holder == awake));
        rest.iter()
            .for_each(|one| ledger.done(one.token, SHORT, None).expect("held"));
    }
    assert!(ledger.is_finished());
    put(&mut ledger, 1000);
    let handed = deliveries(&mut ledger);
    assert!(
        handed.iter().any(|one| one.holder == asleep),
        "many wake it"
    );
}

fn a_worker_that_is_slow_is_fast_no_more() {
    let (mut ledger, fast, idle) = fast_and_idle(Credit::adaptive().seen());
    put(&mut ledger, 1);
    assert_eq!(ledger.poll_delivery(), None);
    assert!(ledger.is_relying());
    assert!(
        ledger.handle_slow(fast, Duration::from_millis(1)),
        "it has another one"
    );
    assert!(
        !ledger.handle_slow(fast, Duration::from_millis(1)),
        "it is asked once"
    );
    assert!(!ledger.is_relied_on(fast));
    assert_eq!(ledger.poll_delivery().map(|one| one.holder), Some(idle));
}

fn a_worker_that_cannot_be_seen_is_not_relied_on() {
    let (mut ledger, _, idle) = fast_and_idle(Credit::adaptive());
    put(&mut ledger, 1);
    assert_eq!(ledger.poll_delivery().map(|one| one.holder), Some(idle));
}

/// Returns one of five keys, or none, and one of three priorities.
fn rank(item: &[u8]) -> Rank {
    let key = item.first().map(|first| u64::from(first % 6));
    let priority = [0, 1, 2][item.len() % 3];
    Rank::of_key(key.filter(|key| *key > 0)).priority(priority)
}

/// Two ledgers have the same history, and one of them hands out in turns.
fn a_turn_hands_out_what_polling_would() {
    let steps = prop::collection::vec((0..7_u8, 0..40_u8, 0..70_000_usize), 1..60);
    proptest!(|(steps in steps, workers in 1..4_usize, quota in 1..200_u64, per_key in 0..20_u32, has_order_first: bool)| {
        let rules = |per_key| OrderRules::new(|item: &Vec<u8>| rank(item)).per_key(per_key);
        let start = || {
            let mut ledger: Bytes = Ledger::new(Options::default());
            if per_key > 0 && has_order_first {
                ledger.handle_order(rules(per_key));
            }
            for _ in 0..workers {
                ledger.handle_join(Some(Credit::adaptive().seen()), quota);
            }
            ledger
        };
        let (mut single, mut turns) = (start(), start());
        let mut held: Vec<Handed> = Vec::new();
        for (what, count, weight) in steps {
            match what {
                0 => for number in 0..count {
                    single.put(vec![number; weight / 100], false).expect("open");
                    turns.put(vec![number; weight / 100], false).expect("open");
                },
                1 if count == 0 => for ledger in [&mut single, &mut turns] {
                    ledger.put(vec![0; weight], false).expect("open");
                },
                // Holders may have some by then.
                6 if per_key > 0 => for ledger in [&mut single, &mut turns] {
                    ledger.handle_order(rules(per_key));
                },
                // Items that come back stand before those that were never handed out.
                2 => for one in held.drain(..held.len().min(usize::from(count))) {
                    single.handle_return(one.token).expect("held");
                    turns.handle_return(one.token).expect("held");
                },
                3 => for ledger in [&mut single, &mut turns] {
                    let id = ItemId(u64::from(count) + weight as u64 % 100);
                    if !held.iter().any(|one| one.id == id) {
                        ledger.handle_cancel(id, Scene::default());
                    }
                },
                4 => {
                    let holder = held.first().map_or_else(HolderId::default, |one| one.holder);
                    let mut through = held.iter().filter(|one| one.holder == holder).peekable();
                    let first = through.peek().map_or(0, |one| one.ordinal);
                    let through = through.map(|one| one.ordinal).take(usize::from(count));
                    let through = through.take_while(|one| *one < first + 40).max().unwrap_or(0);
                    held.retain(|one| one.holder != holder || one.ordinal > through);
                    for ledger in [&mut single, &mut turns] {
                        ledger.handle_done_through(holder, through, SHORT);
                    }
                },
                _ => for one in held.drain(..held.len().min(usize::from(count))) {
                    single.done(one.token, SHORT, None).expect("held");
                    turns.done(one.token, SHORT, None).expect("held");
                },
            }
            let expected = deliveries(&mut single);
            let mut handed = Vec::new();
            while let Some(first) = turns.poll_delivery() {
                handed.push(first);
                turns.poll_turn(|one, _| handed.push(*one));
            }
            prop_assert_eq!(&handed, &expected);
            prop_assert_eq!(turns.counts(), single.counts());
            prop_assert_eq!(turns.check(), Ok(()));
            held.extend(handed);
        }
    });
}

/// Two ledgers have the same history, and one of them accepts many at once.
fn a_batch_is_accepted_like_single_items() {
    let journaled = || Ledger::resume(Options::default(), Recovered::default());
    for is_journaled in [false, true] {
        let start = || match is_journaled {
            false => unbounded(),
            true => journaled(),
        };
        let (mut single, mut many): (Bytes, Bytes) = (start(), start());
        let payloads = |from: u8, to: u8| (from..to).map(|n| vec![n]);
        let mut batch: VecDeque<Vec<u8>> = payloads(0, 10).collect();
        assert_eq!(many.accept_many(&mut batch, 4), ItemId(4));
        assert_eq!(batch, payloads(4, 10).collect::<VecDeque<_>>());
        assert_eq!(many.accept_many(&mut batch, 1000), ItemId(10));
        assert!(batch.is_empty());
        batch.extend(payloads(10, 12));
        assert_eq!(many.accept_many(&mut batch, 2), ItemId(12));
        for payload in payloads(0, 12) {
            single.accept(payload);
        }
        assert_eq!(many.counts(), single.counts());
        assert_eq!(many.poll_write(), single.poll_write());
        for ledger in [&mut single, &mut many] {
            ledger.handle_written(1);
            let getter = ledger.join_getter();
            for n in 0..12 {
                let handed = ledger.handle_get(getter).expect("one waits");
                assert_eq!(handed.id, ItemId(u64::from(n) + 1));
                assert_eq!(ledger.payload(handed.token), Some(&vec![n]));
            }
            assert_eq!(ledger.handle_get(getter), None);
        }
    }
}

fn there_is_room_for_as_many_as_would_be_accepted_one_by_one() {
    for capacity in [
        Capacity::Bounded(0),
        Capacity::Bounded(5),
        Capacity::Rendezvous,
    ] {
        let mut ledger: Bytes = Ledger::new(Options::default().capacity(capacity));
        ledger.join_worker(Credit::adaptive());
        ledger.handle_getter_waiting(true);
        let room = ledger.room();
        let accepted = (0..10).filter(|_| ledger.put(Vec::new(), false).is_ok());
        assert_eq!(accepted.count(), room, "{capacity:?}");
        assert_eq!(ledger.room(), 0);
        assert!(!ledger.has_room());
    }
    assert_eq!(unbounded().room(), usize::MAX);
}

fn what_is_done_now_needs_no_report() {
    let mut ledger = unbounded();
    let worker = warm(&mut ledger, Credit::adaptive());
    ledger.accept(vec![7]);
    let handed = ledger.poll_delivery().expect("it is idle");
    let seen = ledger.handle_done_now(handed.token, SHORT, |item| item[0]);
    assert_eq!(seen, Ok(7));
    let again = ledger.handle_done_now(handed.token, SHORT, |item| item[0]);
    assert_eq!(again, Err(Stale));
    let counts = ledger.counts();
    assert_eq!((counts.done, counts.leased, counts.refused), (13, 0, 1));
    assert!(ledger.is_finished());
    assert_eq!((ledger.poll_report(), ledger.held_by(worker)), (None, 0));
    assert_eq!(ledger.check(), Ok(()));
}

/// A caller of `get` settles many at once, with a journal and without.
fn a_run_is_settled_like_single_deliveries() {
    let journaled = || Ledger::resume(Options::default(), Recovered::default());
    for mut ledgers in [[unbounded(), unbounded()], [journaled(), journaled()]] {
        let [together, singly] = &mut ledgers;
        for ledger in [&mut *together, &mut *singly] {
            put(ledger, 10);
            write_all(ledger);
        }
        let (one, two) = (together.join_getter(), singly.join_getter());
        let runs: Vec<Handed> = (0..8).filter_map(|_| together.handle_get(one)).collect();
        let single: Vec<Handed> = (0..8).filter_map(|_| singly.handle_get(two)).collect();
        assert_eq!((runs.len(), single.len()), (8, 8));
        let late = together.handle_done_run(one, runs[1].ordinal..=runs[6].ordinal, SHORT);
        assert!(late.is_empty(), "{late:?}");
        for handed in &single[1..=6] {
            singly.done(handed.token, SHORT, None).expect("held");
        }
        for ledger in [&*together, &*singly] {
            let counts = ledger.counts();
            assert_eq!((counts.done, counts.leased, counts.waiting), (6, 2, 2));
            assert_eq!(ledger.check(), Ok(()));
        }
        assert_eq!(
            together.poll_write().is_some(),
            singly.poll_write().is_some()
        );
        assert_eq!(together.held_by(one), singly.held_by(two));
    }
}

fn write_all(ledger: &mut Bytes) {
    while let Some(write) = ledger.poll_write() {
        ledger.handle_written(write.number);
    }
}

fn what_follows_each_other_is_joined_into_runs() {
    let joined = |ordinals: &[u64], at_most| {
        let done = ordinals
            .iter()
            .map(|one| (*one, Duration::from_micros(2 * one)));
        let runs = DoneRun::join(done, at_most).into_iter();
        let run = |run: DoneRun| (run.first, run.last, run.service.as_micros());
        runs.map(run).collect::<Vec<_>>()
    };
    assert_eq!(joined(&[], 10), []);
    assert_eq!(joined(&[7], 10), [(7, 7, 14)]);
    let all = [1, 2, 3, 5, 6, 4];
    assert_eq!(joined(&all, 10), [(1, 3, 4), (5, 6, 11), (4, 4, 8)]);
    assert_eq!(
        joined(&[1, 2, 3, 4, 5], 2),
        [(1, 2, 3), (3, 4, 7), (5, 5, 10)]
    );
    let ends = [(u64::MAX, SHORT), (0, SHORT)];
    assert_eq!(DoneRun::join(ends, 9).len(), 2);
}

fn a_run_with_a_stale_delivery_settles_the_others() {
    let mut ledger = unbounded();
    let holder = ledger.join_getter();
    put(&mut ledger, 5);
    let handed: Vec<Handed> = (0..5).filter_map(|_| ledger.handle_get(holder)).collect();
    ledger.done(handed[1].token, SHORT, None).expect("held");
    let cancelled = ledger.handle_cancel(handed[3].id, Scene::default());
    assert_eq!(cancelled, Cancelled::Leased(handed[3]));
    let run = handed[0].ordinal..=handed[4].ordinal;
    let late = ledger.handle_done_run(holder, run.clone(), SHORT);
    assert_eq!(late, [handed[1].ordinal, handed[3].ordinal]);
    let counts = ledger.counts();
    assert_eq!((counts.done, counts.dead, counts.leased), (4, 1, 0));
    assert_eq!((counts.refused, ledger.held_by(holder)), (2, 0));
    assert_eq!(ledger.handle_done_run(holder, run, SHORT).len(), 5);
    assert_eq!(ledger.counts().done, 4);
    assert_eq!(ledger.check(), Ok(()));
}

/// Joins a worker with six items of a millisecond, and perhaps an idle one.
fn overloaded(has_idle: bool) -> (Bytes, HolderId, Vec<Handed>) {
    let mut ledger = unbounded();
    let worker = ledger.join_worker(Credit::adaptive());
    for _ in 0..12 {
        put(&mut ledger, 1);
        let handed = ledger.poll_delivery().expect("it is idle");
        let millisecond = Duration::from_millis(1);
        ledger.done(handed.token, millisecond, None).expect("held");
    }
    put(&mut ledger, 6);
    let handed = deliveries(&mut ledger);
    assert_eq!(handed.len(), 6);
    if has_idle {
        ledger.join_worker(Credit::adaptive());
    }
    (ledger, worker, handed)
}

fn the_backlog_of_an_overloaded_worker_is_taken_back_for_an_idle_one() {
    let (mut ledger, worker, handed) = overloaded(true);
    assert_eq!(ledger.poll_overloaded(), Some(worker));
    assert_eq!(ledger.poll_overloaded(), None, "it is asked once");
    for one in &handed[1..] {
        ledger.handle_return(one.token).expect("held");
    }
    let again = deliveries(&mut ledger);
    assert_eq!(again[0].id, handed[1].id);
    assert!(again[0].holder != worker, "the idle one comes first");
    assert_eq!(again[0].attempt, 1, "uncounted");
}

fn nothing_is_taken_back_for_nobody() {
    assert_eq!(overloaded(false).0.poll_overloaded(), None);
    let (mut ledger, ..) = overloaded(true);
    put(&mut ledger, 1);
    assert_eq!(ledger.poll_overloaded(), None, "there is something for it");
}

/// Items of almost 8 microseconds: their worker counts as fast, and 254 of them keep it busy for 2
/// ms.
fn what_would_wake_nobody_is_not_taken_back() {
    for (items, is_worth_it) in [(255, false), (400, true)] {
        let mut ledger = unbounded();
        let worker = ledger.join_worker(Credit::adaptive().seen());
        let service = Duration::from_nanos(7_950);
        for _ in 0..12 {
            put(&mut ledger, 1);
            let handed = ledger.poll_delivery().expect("it is idle");
            ledger.done(handed.token, service, None).expect("held");
        }
        put(&mut ledger, items);
        assert_eq!(deliveries(&mut ledger).len(), items);
        ledger.join_worker(Credit::adaptive().seen());
        assert_eq!(ledger.poll_overloaded(), is_worth_it.then_some(worker));
    }
}

/// It may settle what it keeps at its next item only, so it would wait for ever.
fn a_handler_that_waits_with_a_kept_item_is_handed_the_next_one() {
    const LONG: Duration = Duration::from_secs(1);
    for credit in [Credit::adaptive(), Credit::single()] {
        let mut ledger = unbounded();
        let worker = ledger.join_worker(credit);
        put(&mut ledger, 2);
        let first = ledger.poll_delivery().expect("it is idle");
        let kept = ledger.handle_get(worker).expect("one is left");
        ledger.done(first.token, LONG, Some(())).expect("held");
        put(&mut ledger, 2);
        assert!(
            ledger.poll_delivery().is_none(),
            "it may be at the kept one"
        );
        ledger.handle_idle(worker, first.ordinal);
        assert!(ledger.poll_delivery().is_none(), "one was on its way");
        ledger.handle_idle(worker, kept.ordinal);
        let next = ledger.poll_delivery().expect("it waits");
        assert!(ledger.poll_delivery().is_none(), "it waits no more");
        for one in [kept, next] {
            ledger.done(one.token, LONG, Some(())).expect("held");
        }
        assert!(ledger.poll_delivery().is_some(), "it holds nothing");
    }
}
