//! Pauses, and what is found of single items.

use std::time::Duration;

use dishrack_core::ledger::{
    Backoff, Capacity, Cause, Credit, ItemId, Ledger, Notice, Options, Place, PlaceKind, Scene,
};

use super::{SHORT, deliver, done, ids, nack, put, seasoned, unbounded, with_capacity};
use crate::steps::Steps as _;

crate::trials! {
    a_pause_hands_out_nothing_and_asks_for_what_is_not_begun,
    a_pause_has_begun_when_all_is_begun_or_given_back,
    a_get_that_was_answered_is_begun_when_it_is_taken,
    a_rendezvous_takes_nothing_in_a_pause,
    pausing_twice_says_so_once,
    items_are_found_wherever_they_are,
    a_page_has_the_lowest_numbers,
    a_page_of_a_million_looks_at_few,
    what_has_its_end_is_known_by_its_absence,
}

const AT: Duration = Duration::from_secs(10);

fn a_pause_hands_out_nothing_and_asks_for_what_is_not_begun() {
    let mut ledger = unbounded();
    let worker = seasoned(&mut ledger, 1, 3)[0];
    let getter = ledger.join_getter();
    put(&mut ledger, 20);
    let held = deliver(&mut ledger);
    assert_eq!(held.len(), 8);
    ledger.handle_pause();
    assert_eq!(
        (ledger.poll_recalled(), ledger.poll_recalled()),
        (Some(worker), None)
    );
    for one in &held[1..] {
        ledger.handle_return(one.token).expect("held");
    }
    assert_eq!(deliver(&mut ledger), []);
    assert_eq!((ledger.handle_get(getter), ledger.appetite()), (None, 0));
    done(&mut ledger, &held[..1]);
    assert_eq!(
        deliver(&mut ledger),
        [],
        "an idle worker gets nothing either"
    );
    ledger.handle_unpause();
    let again = deliver(&mut ledger);
    assert_eq!(ids(&again)[0], held[1].id.0, "in their old places");
    assert_eq!(again[0].attempt, 1, "uncounted");
}

fn a_pause_has_begun_when_all_is_begun_or_given_back() {
    let mut ledger = unbounded();
    let worker = seasoned(&mut ledger, 1, 2)[0];
    put(&mut ledger, 3);
    let held = deliver(&mut ledger);
    ledger.handle_pause();
    let first = held[0].ordinal;
    assert!(ledger.has_unbegun(worker, first - 1));
    assert!(ledger.has_unbegun(worker, first));
    ledger.handle_return(held[1].token).expect("held");
    assert!(ledger.has_unbegun(worker, first));
    ledger.handle_return(held[2].token).expect("held");
    assert!(!ledger.has_unbegun(worker, first));
}

fn a_get_that_was_answered_is_begun_when_it_is_taken() {
    let mut ledger = unbounded();
    let getter = ledger.join_getter();
    put(&mut ledger, 1);
    let got = ledger.handle_get(getter).expect("it waits");
    ledger.handle_pause();
    assert_eq!(ledger.poll_recalled(), None, "it has asked for it");
    assert!(ledger.has_unbegun(getter, 0));
    assert!(!ledger.has_unbegun(getter, got.ordinal));
}

fn a_rendezvous_takes_nothing_in_a_pause() {
    let mut ledger = with_capacity(Capacity::Rendezvous);
    ledger.join_worker(Credit::adaptive());
    assert!(ledger.has_room());
    ledger.handle_pause();
    assert!(!ledger.has_room());
    ledger.handle_unpause();
    assert!(ledger.has_room());
}

fn pausing_twice_says_so_once() {
    let mut ledger = unbounded();
    ledger.handle_unpause();
    ledger.handle_pause();
    ledger.handle_pause();
    ledger.handle_unpause();
    let notices: Vec<_> = std::iter::from_fn(|| ledger.poll_notice()).collect();
    assert_eq!(notices, [Notice::Paused, Notice::Resumed]);
}

fn items_are_found_wherever_they_are() {
    let backoff = Backoff::exponential(AT, AT);
    let mut ledger: Ledger<Vec<u8>> = Ledger::new(Options::default().backoff(backoff));
    let getter = ledger.join_getter();
    put(&mut ledger, 4);
    let got = [1, 2, 3].map(|_| ledger.handle_get(getter).expect("it waits"));
    ledger
        .handle_nack(got[0].token, nack("no"), None, AT)
        .expect("held");
    ledger.handle_return(got[1].token).expect("held");
    let place = |id| ledger.find(ItemId(id)).map(|found| found.place);
    assert!(matches!(place(1), Some(Place::Resting(until)) if until > AT));
    assert_eq!(
        (place(2), place(4)),
        (Some(Place::Waiting), Some(Place::Waiting))
    );
    let Some(Place::Held(held)) = place(3) else {
        panic!("it is held");
    };
    assert_eq!(held, [got[2].token]);
    assert_eq!((place(0), place(5)), (None, None));
    let first = ledger.find(ItemId(1)).expect("it rests");
    assert_eq!(first.history[0].cause, Cause::Nack("no".into()));
    let mut token = None;
    assert!(ledger.is_unfinished(ItemId(3), &mut token));
    assert_eq!(token, Some(got[2].token));
    ledger.done(got[2].token, SHORT, None).expect("held");
    assert!(!ledger.is_unfinished(ItemId(3), &mut token));
    assert_eq!((token, ledger.find(ItemId(3))), (None, None));
}

fn a_page_has_the_lowest_numbers() {
    let mut ledger = unbounded();
    let workers = seasoned(&mut ledger, 2, 2);
    let getter = ledger.join_getter();
    put(&mut ledger, 30);
    let held = deliver(&mut ledger);
    let got = ledger.handle_get(getter).expect("it waits");
    ledger.handle_cancel(ItemId(25), Scene::default());
    let page = |kind, after: u64, limit| -> Vec<u64> {
        let numbers = ItemId(after + 1)..=ItemId(u64::MAX);
        let found = ledger.find_all(numbers, kind, limit);
        found.iter().map(|one| one.id.0).collect()
    };
    let mut all: Vec<u64> = held.iter().map(|one| one.id.0).collect();
    all.push(got.id.0);
    all.sort_unstable();
    assert_eq!(page(Some(PlaceKind::Held), 0, 100), all, "of {workers:?}");
    assert_eq!(page(Some(PlaceKind::Held), all[1], 3), all[2..5]);
    assert_eq!(page(Some(PlaceKind::Waiting), 22, 4), [23, 24, 26, 27]);
    assert!(page(Some(PlaceKind::Resting), 0, 4).is_empty());
    assert_eq!(
        page(None, all[6], 5),
        (all[7]..all[7] + 5).collect::<Vec<_>>()
    );
    assert!(page(None, 100, 5).is_empty());
}

fn a_page_of_a_million_looks_at_few() {
    let mut ledger = unbounded();
    seasoned(&mut ledger, 4, 8);
    put(&mut ledger, 1_000_000);
    let held = deliver(&mut ledger).len() as u64;
    let mut after = ItemId(4 * 8 + held);
    let mut pages = 0;
    // Each page were a walk over all of them, this would take minutes.
    while pages < 5_000 {
        let numbers = ItemId(after.0 + 1)..=ItemId(u64::MAX);
        let page = ledger.find_all(numbers, Some(PlaceKind::Waiting), 100);
        assert_eq!((page.len(), page[0].id.0), (100, after.0 + 1));
        after = page[99].id;
        pages += 1;
    }
}

fn what_has_its_end_is_known_by_its_absence() {
    let mut ledger = unbounded();
    let getter = ledger.join_getter();
    put(&mut ledger, 10);
    let got = [1, 2, 3, 4].map(|_| ledger.handle_get(getter).expect("it waits"));
    ledger.done(got[0].token, SHORT, None).expect("held");
    ledger.done(got[2].token, SHORT, None).expect("held");
    ledger.handle_return(got[3].token).expect("held");
    ledger.handle_cancel(ItemId(8), Scene::default());
    let ended = |after, span| {
        let (ended, last) = ledger.ended_after(ItemId(after), span);
        (ended.iter().map(|id| id.0).collect::<Vec<_>>(), last.0)
    };
    assert_eq!(ended(0, 100), (vec![1, 3], 4));
    assert_eq!(ended(0, 1), (vec![1], 1));
    assert_eq!(ended(1, 100), (vec![3], 4));
    assert_eq!(
        ended(4, 100),
        (vec![8], 10),
        "it was cancelled before its turn"
    );
    assert_eq!(ended(10, 100), (vec![], 10));
}
