//! Items that run alone, because they were killed for memory.

use std::time::Duration;

use dishrack_core::ledger::{
    Blame, Cancelled, Cause, Credit, Failure, Handed, HolderId, ItemId, Ledger, Options,
    OrderRules, Rank, Recovered, Report, Scene, Started, Unfinished, WaitsFor,
};
use proptest::prelude::*;

use super::{Bytes, NO_TIME, crash, deliver, ids, nack, put, running, seasoned};
use crate::steps::Steps as _;

crate::trials! {
    one_that_was_killed_for_memory_is_tried_again_alone,
    one_that_is_killed_alone_too_is_given_up_on,
    a_death_for_memory_is_followed_by_an_attempt_alone,
    several_run_alone_one_after_the_other,
    what_workers_have_in_advance_is_asked_back_once,
    what_fails_otherwise_when_alone_is_counted_as_usual,
    a_loop_that_waits_does_not_hold_it_up,
    threads_are_not_kept_apart,
    one_attempt_in_all_is_one,
    a_journal_knows_who_is_to_run_alone,
    a_cancelled_one_keeps_others_apart_until_it_is_over,
    a_rendezvous_takes_nothing_meanwhile,
    nothing_is_beside_it_and_everything_ends,
}

fn of_commands() -> Bytes {
    Ledger::new(
        Options::default()
            .max_attempts(1)
            .max_lost_attempts(Some(9)),
    )
}

fn workers<const N: usize>(ledger: &mut Bytes) -> [HolderId; N] {
    std::array::from_fn(|_| ledger.join_worker(Credit::single()))
}

fn fail(ledger: &mut Bytes, handed: Handed, blame: impl Into<Blame>) {
    let answer = ledger.handle_nack(handed.token, blame.into(), None, NO_TIME);
    assert_eq!((answer, ledger.check()), (Ok(()), Ok(())));
}

fn last_causes(ledger: &mut Bytes) -> Vec<Cause> {
    let reports = std::iter::from_fn(|| ledger.poll_report());
    let dead = reports.filter_map(|report| match report {
        Report::Dead(letter) => letter.history.last().map(|last| last.cause.clone()),
        _ => None,
    });
    dead.collect()
}

fn one_that_was_killed_for_memory_is_tried_again_alone() {
    let mut ledger = of_commands();
    workers::<3>(&mut ledger);
    put(&mut ledger, 5);
    let held = deliver(&mut ledger);
    assert_eq!(ids(&held), [1, 2, 3]);
    fail(&mut ledger, held[0], Cause::OutOfMemory);
    for other in &held[1..] {
        assert_eq!((deliver(&mut ledger), ledger.appetite()), (vec![], 0));
        ledger.done(other.token, NO_TIME, None).expect("held");
    }
    let alone = deliver(&mut ledger);
    assert_eq!((ids(&alone), alone[0].attempt), (vec![1], 2));
    assert_eq!(ledger.appetite(), 0);
    assert_eq!(ledger.waits_for(ItemId(4)), Some(WaitsFor::Alone));
    ledger.done(alone[0].token, NO_TIME, None).expect("held");
    assert_eq!(ids(&deliver(&mut ledger)), [4, 5]);
}

fn one_that_is_killed_alone_too_is_given_up_on() {
    for (cause, last) in [
        (Cause::OutOfMemory, Cause::OutOfMemoryAlone(None)),
        (Cause::MemoryLimit(7), Cause::OutOfMemoryAlone(Some(7))),
    ] {
        let mut ledger = of_commands();
        workers::<2>(&mut ledger);
        put(&mut ledger, 3);
        let held = deliver(&mut ledger);
        fail(&mut ledger, held[1], cause.clone());
        ledger.done(held[0].token, NO_TIME, None).expect("held");
        let alone = deliver(&mut ledger);
        assert_eq!(ids(&alone), [2]);
        fail(&mut ledger, alone[0], cause);
        assert_eq!((ledger.counts().dead, ledger.counts().retries), (1, 1));
        assert_eq!(last_causes(&mut ledger), [last]);
        assert_eq!(ids(&deliver(&mut ledger)), [3]);
    }
}

fn a_death_for_memory_is_followed_by_an_attempt_alone() {
    let mut ledger = of_commands();
    workers::<2>(&mut ledger);
    put(&mut ledger, 2);
    let mut held = deliver(&mut ledger);
    for attempt in [1, 2] {
        assert_eq!(held[0].attempt, attempt);
        let blame = Cause::MemoryLimit(7).into();
        let started = running(held[0]);
        let charged = ledger.handle_leave(held[0].holder, started, Some(&blame), NO_TIME);
        assert_eq!(charged, 1);
        workers::<1>(&mut ledger);
        if let Some(other) = held.get(1) {
            assert_eq!(deliver(&mut ledger), []);
            ledger.done(other.token, NO_TIME, None).expect("held");
        }
        held = deliver(&mut ledger);
    }
    assert_eq!((ledger.counts().dead, ledger.counts().done), (1, 1));
    let alone = Cause::OutOfMemoryAlone(Some(7));
    assert_eq!(last_causes(&mut ledger), [alone]);
}

fn several_run_alone_one_after_the_other() {
    let mut ledger = of_commands();
    workers::<3>(&mut ledger);
    put(&mut ledger, 4);
    for handed in deliver(&mut ledger) {
        fail(&mut ledger, handed, Cause::OutOfMemory);
    }
    for id in [1, 2, 3] {
        let alone = deliver(&mut ledger);
        assert_eq!(ids(&alone), [id]);
        ledger.done(alone[0].token, NO_TIME, None).expect("held");
    }
    assert_eq!(ids(&deliver(&mut ledger)), [4]);
}

fn what_workers_have_in_advance_is_asked_back_once() {
    let mut ledger = Ledger::new(Options::default());
    let other = seasoned(&mut ledger, 1, 3)[0];
    put(&mut ledger, 9);
    let held = deliver(&mut ledger);
    assert_eq!(held.len(), 8);
    let [worker] = workers(&mut ledger);
    let last = deliver(&mut ledger);
    fail(&mut ledger, last[0], Cause::OutOfMemory);
    // Those that come back are before it.
    assert_eq!(ledger.poll_delivery(), None);
    let recalled = std::iter::from_fn(|| ledger.poll_recalled());
    assert!(recalled.eq([other]));
    assert_eq!(
        (ledger.poll_delivery(), ledger.poll_recalled()),
        (None, None)
    );
    for one in &held[1..] {
        ledger.handle_return(one.token).expect("held");
    }
    let mut next = ledger.poll_delivery();
    assert_eq!(
        next.map(|one| (one.holder, one.id)),
        Some((worker, held[1].id))
    );
    ledger.done(held[0].token, NO_TIME, None).expect("held");
    while let Some(handed) = next {
        let is_last = handed.id == last[0].id;
        assert!(!is_last || ledger.counts().leased == 1, "it is alone");
        ledger.done(handed.token, NO_TIME, None).expect("held");
        next = ledger.poll_delivery();
    }
    assert_eq!(ledger.counts().unfinished(), 0);
}

fn what_fails_otherwise_when_alone_is_counted_as_usual() {
    let mut ledger = Ledger::new(Options::default().max_attempts(9));
    workers::<2>(&mut ledger);
    put(&mut ledger, 2);
    let held = deliver(&mut ledger);
    fail(&mut ledger, held[0], Cause::OutOfMemory);
    fail(&mut ledger, held[1], nack("no"));
    let alone = deliver(&mut ledger);
    assert_eq!(ids(&alone), [1]);
    fail(&mut ledger, alone[0], crash());
    let both = deliver(&mut ledger);
    assert_eq!(ids(&both), [1, 2], "it may have others beside it");
    fail(&mut ledger, both[0], Cause::OutOfMemory);
    assert_eq!(ledger.counts().dead, 0, "it was not alone");
}

/// Its next item may be one that is held back.
fn a_loop_that_waits_does_not_hold_it_up() {
    let mut ledger = of_commands();
    let looping = ledger.join_worker(Credit::single().for_loop());
    let [handler] = workers(&mut ledger);
    put(&mut ledger, 3);
    ledger.handle_asking(looping, true);
    let held = deliver(&mut ledger);
    let of_handler = held.iter().find(|one| one.holder == handler).unwrap();
    fail(&mut ledger, *of_handler, Cause::OutOfMemory);
    assert_eq!(deliver(&mut ledger), []);
    ledger.handle_waiting_elsewhere(looping);
    let alone = deliver(&mut ledger);
    assert_eq!(ids(&alone), [of_handler.id.0]);
    // A loop that is alone may want another one before it is through with this one.
    ledger.done(alone[0].token, NO_TIME, None).expect("held");
    assert_eq!(ids(&deliver(&mut ledger)), [3]);
}

fn threads_are_not_kept_apart() {
    let mut ledger = of_commands();
    let threads = ledger.handle_join_threads();
    workers::<2>(&mut ledger);
    put(&mut ledger, 3);
    let held = deliver(&mut ledger);
    let got = ledger.handle_get(threads).expect("one waits");
    fail(&mut ledger, held[0], Cause::OutOfMemory);
    ledger.done(held[1].token, NO_TIME, None).expect("held");
    let alone = deliver(&mut ledger);
    assert_eq!(ids(&alone), [1], "what a thread has does not count");
    put(&mut ledger, 1);
    assert_eq!(deliver(&mut ledger), []);
    let other = ledger.handle_get(threads).expect("one waits");
    assert_eq!((got.id, other.id), (ItemId(3), ItemId(4)));
}

fn one_attempt_in_all_is_one() {
    let mut ledger = Ledger::new(Options::default().max_attempts(1));
    workers::<1>(&mut ledger);
    put(&mut ledger, 1);
    let held = deliver(&mut ledger);
    fail(&mut ledger, held[0], Cause::OutOfMemory);
    assert_eq!(ledger.counts().dead, 1);
    assert_eq!(last_causes(&mut ledger), [Cause::OutOfMemory]);
}

fn a_journal_knows_who_is_to_run_alone() {
    let item = |id, history: &[Cause]| Unfinished {
        id: ItemId(id),
        payload: Vec::new(),
        history: (1..)
            .zip(history)
            .map(|(attempt, cause)| Failure::new(attempt, cause.clone(), Scene::default()))
            .collect(),
        forgiven: 0,
    };
    let killed = Cause::Killed {
        signal: 9,
        what: "lost".into(),
    };
    let recovered = Recovered {
        accepted: 4,
        dead: 0,
        unfinished: vec![
            item(1, &[]),
            item(2, &[Cause::OutOfMemory]),
            item(3, &[Cause::OutOfMemory, Cause::Dropped]),
            // The run that tried it alone was killed.
            item(4, &[Cause::OutOfMemory, killed]),
        ],
    };
    let mut ledger: Bytes = Ledger::resume(Options::default(), recovered);
    workers::<3>(&mut ledger);
    for id in [1, 2, 3, 4] {
        let handed = deliver(&mut ledger);
        assert_eq!(ids(&handed), [id]);
        ledger.done(handed[0].token, NO_TIME, None).expect("held");
    }
}

fn a_cancelled_one_keeps_others_apart_until_it_is_over() {
    let mut ledger = of_commands();
    let [first, _] = workers(&mut ledger);
    put(&mut ledger, 2);
    let held = deliver(&mut ledger);
    fail(&mut ledger, held[0], Cause::OutOfMemory);
    ledger.done(held[1].token, NO_TIME, None).expect("held");
    let alone = deliver(&mut ledger);
    put(&mut ledger, 1);
    let answer = ledger.handle_cancel(alone[0].id, Scene::default());
    assert_eq!(answer, Cancelled::Leased(alone[0]));
    assert_eq!(deliver(&mut ledger), [], "its worker has not ended");
    assert_eq!(alone[0].holder, first);
    ledger.handle_leave(first, Started::default(), None, NO_TIME);
    assert_eq!(ids(&deliver(&mut ledger)), [3]);
}

fn a_rendezvous_takes_nothing_meanwhile() {
    let options = Options::default().max_lost_attempts(Some(9));
    let mut ledger: Bytes =
        Ledger::new(options.capacity(dishrack_core::ledger::Capacity::Rendezvous));
    workers::<2>(&mut ledger);
    put(&mut ledger, 1);
    let held = deliver(&mut ledger);
    assert!(ledger.has_room());
    fail(&mut ledger, held[0], Cause::OutOfMemory);
    let alone = deliver(&mut ledger);
    assert!(!ledger.has_room());
    ledger.done(alone[0].token, NO_TIME, None).expect("held");
    assert!(ledger.has_room());
}

/// Makes a ledger, with an order or without.
fn of_four_attempts(is_in_order: bool) -> Bytes {
    let options = Options::default().max_attempts(4);
    let mut ledger = Ledger::new(options.max_lost_attempts(Some(4)));
    if is_in_order {
        ledger.handle_order(OrderRules::new(|item: &Vec<u8>| rank(item)).per_key(2));
    }
    ledger
}

/// Returns one of three keys and one of two priorities.
fn rank(item: &[u8]) -> Rank {
    let number = item.first().copied().unwrap_or(0);
    Rank::of_key(Some(u64::from(number % 3))).priority(i8::from(number % 2 == 0))
}

/// Random lives: whatever is handed out while an item is killed for memory is checked against what
/// workers have, as the test itself counts it.
fn nothing_is_beside_it_and_everything_ends() {
    proptest!(ProptestConfig::with_cases(512), |(
        credits in prop::collection::vec(any::<bool>(), 1..4),
        steps in prop::collection::vec((any::<u8>(), any::<usize>()), 0..120),
        is_in_order in any::<bool>(),
    )| {
        let mut ledger = of_four_attempts(is_in_order);
        for is_adaptive in &credits {
            ledger.join_worker(if *is_adaptive { Credit::adaptive() } else { Credit::single() });
        }
        let mut held: Vec<Handed> = Vec::new();
        let mut killed = std::collections::BTreeSet::new();
        let mut alone: Option<Handed> = None;
        let rest = std::iter::repeat_n((0, 0), 400);
        for (what, which) in steps.into_iter().chain(rest) {
            while let Some(recalled) = ledger.poll_recalled() {
                // All but the first are given back.
                let mut its: Vec<Handed> = held.iter().copied().filter(|one| one.holder == recalled).collect();
                its.sort_by_key(|one| one.ordinal);
                for one in its.into_iter().skip(1) {
                    ledger.handle_return(one.token).expect("held");
                    held.retain(|other| other.token != one.token);
                }
            }
            while let Some(first) = ledger.poll_delivery() {
                let mut turn = vec![first];
                ledger.poll_turn(|handed, _| turn.push(*handed));
                for handed in turn {
                    prop_assert!(alone.is_none(), "{handed:?} beside {alone:?}");
                    if killed.contains(&handed.id) {
                        prop_assert!(held.is_empty(), "{handed:?} beside {held:?}");
                        alone = Some(handed);
                    }
                    held.push(handed);
                }
            }
            if what % 8 == 7 {
                for number in 0..=what / 64 {
                    ledger.put(vec![number], false).expect("there is room");
                }
            }
            if held.is_empty() {
                continue;
            }
            let one = held.swap_remove(which % held.len());
            let is_alone = alone.take_if(|other| other.token == one.token).is_some();
            match what % 8 {
                1..=2 => {
                    let before = ledger.counts().dead;
                    fail(&mut ledger, one, Cause::OutOfMemory);
                    killed.insert(one.id);
                    prop_assert!(!is_alone || ledger.counts().dead == before + 1);
                }
                3 => {
                    fail(&mut ledger, one, crash());
                    killed.remove(&one.id);
                }
                4 => {
                    ledger.handle_return(one.token).expect("held");
                }
                _ => ledger.done(one.token, Duration::from_nanos(1), None).expect("held"),
            }
            prop_assert_eq!(ledger.check(), Ok(()));
        }
        prop_assert_eq!(ledger.counts().unfinished(), 0, "it starves");
    });
}
