//! The acknowledged queue alone: scenarios of the ledger with a fake clock. Those with a journal,
//! cancelling and quotas are in `journal`; random runs against a model are in `properties`.

pub(crate) mod admission;
pub(crate) mod alone;
pub(crate) mod batches;
pub(crate) mod charges;
pub(crate) mod copies;
pub(crate) mod dependencies;
pub(crate) mod ended;
pub(crate) mod journal;
mod model;
pub(crate) mod order;
pub(crate) mod pausing;
mod properties;
pub(crate) mod rate;
pub(crate) mod tokens;
pub(crate) mod unique;

use std::time::Duration;

use dishrack_core::ledger::{
    Backoff, Blame, Capacity, Cause, Credit, Exit, Failure, Handed, HolderId, ItemId, LastWords,
    Ledger, Options, Refusal, Report, Scene, Stale, Started, Weight,
};

use crate::steps::Steps as _;
use properties::{
    bounded_queues_keep_every_item, rendezvous_queues_keep_every_item,
    unbounded_queues_keep_every_item,
};

crate::trials! {
    items_come_in_the_order_they_were_put,
    prefetched_items_go_back_in_their_place_uncounted,
    the_started_item_is_charged_and_others_are_not,
    a_getter_is_charged_for_all_that_it_has_taken,
    last_words_that_can_be_true_are_believed,
    nonsense_is_charged_to_the_first_delivery_that_is_not_settled,
    a_worker_that_also_gets_is_not_charged_for_what_it_only_prefetched,
    the_last_attempt_makes_a_dead_letter_with_its_whole_history,
    a_retry_is_reported_once_with_its_cause,
    a_ledger_that_is_held_hands_out_nothing_more,
    a_delayed_item_waits_for_its_time_and_comes_back_in_its_place,
    a_nacked_item_without_backoff_comes_before_fresh_ones,
    no_attempts_at_all_are_taken_as_one,
    idle_workers_get_items_before_busy_ones_are_refilled,
    a_busy_worker_is_refilled_only_after_it_acknowledges,
    idle_workers_share_fairly,
    a_new_worker_gets_one_item_however_many_wait,
    bytes_bound_what_is_prefetched,
    a_rendezvous_accepts_only_when_an_idle_worker_is_there,
    a_rendezvous_accepts_only_while_a_getter_waits,
    a_bound_counts_prefetched_items,
    a_bound_counts_resting_items,
    an_item_may_be_put_beyond_the_bound,
    close_refuses_puts_and_hands_out_what_is_there,
    a_stopped_worker_gets_nothing_more,
    a_stopped_worker_may_still_acknowledge,
    a_late_task_done_after_leave_is_stale,
    leaving_without_a_cause_charges_nothing,
    leaving_twice_charges_nothing,
    a_reused_slot_does_not_revive_an_old_token,
    a_hundred_thousand_waiting_items_drain_in_order,
    unbounded_queues_keep_every_item,
    bounded_queues_keep_every_item,
    rendezvous_queues_keep_every_item,
}

fn a_worker_that_also_gets_is_not_charged_for_what_it_only_prefetched() {
    let mut ledger = unbounded();
    let worker = ledger.join_worker(Credit::adaptive());
    put(&mut ledger, 4);
    let first = ledger.poll_delivery().expect("it is idle");
    ledger.done(first.token, SHORT, Some(())).expect("held");
    let prefetched = [ledger.poll_delivery(), ledger.poll_delivery()].map(Option::unwrap);
    let got = ledger.handle_get(worker).expect("one is left");
    assert!(got.ordinal > prefetched[1].ordinal);
    // It takes them in their order, so it has not come to that one.
    let started = Started {
        current: prefetched[0].ordinal,
        begun: prefetched[1].ordinal,
    };
    let charged = ledger.handle_leave(worker, started, Some(&crash()), NO_TIME);
    assert_eq!(charged, 2, "the one it ran and the one that it took");
    assert_eq!(ledger.counts().retries, 2);
}

/// A time so short that it doubles a worker's credit.
const SHORT: Duration = Duration::from_nanos(1);
const NO_TIME: Duration = Duration::ZERO;

type Bytes = Ledger<Vec<u8>>;

fn unbounded() -> Bytes {
    Ledger::new(Options::default())
}

fn with_capacity(capacity: Capacity) -> Bytes {
    Ledger::new(Options::default().capacity(capacity))
}

fn put<P: Weight + Clone + Default>(ledger: &mut Ledger<P>, count: usize) {
    for _ in 0..count {
        ledger.put(P::default(), false).expect("there is room");
    }
}

/// Hands out all that may be handed out now.
fn deliver(ledger: &mut Bytes) -> Vec<Handed> {
    std::iter::from_fn(|| ledger.poll_delivery()).collect()
}

fn ids(handed: &[Handed]) -> Vec<u64> {
    handed.iter().map(|handed| handed.id.0).collect()
}

/// Acknowledges these, and reads the reports, without which the queue is not finished.
fn done(ledger: &mut Bytes, handed: &[Handed]) {
    for one in handed {
        ledger.done(one.token, SHORT, Some(())).expect("held");
        assert!(ledger.counts().is_balanced());
        assert!(matches!(ledger.poll_report(), Some(Report::Done { .. })));
    }
}

/// Joins workers that have served so many short items each that they may hold `2^rounds` items.
fn seasoned(ledger: &mut Bytes, workers: usize, rounds: u32) -> Vec<HolderId> {
    let pool: Vec<_> = std::iter::repeat_with(|| ledger.join_worker(Credit::adaptive()))
        .take(workers)
        .collect();
    for _ in 0..rounds {
        put(ledger, workers);
        let handed = deliver(ledger);
        assert_eq!(handed.len(), workers);
        done(ledger, &handed);
    }
    pool
}

/// Says that the worker was running the item of `handed`.
fn running(handed: Handed) -> Started {
    Started::at(handed.ordinal)
}

fn crash() -> Blame {
    Cause::WorkerDied(Exit::Signaled(11)).into()
}

fn nack(reason: &str) -> Blame {
    Cause::Nack(reason.into()).into()
}

fn items_come_in_the_order_they_were_put() {
    let mut ledger = unbounded();
    put(&mut ledger, 3);
    let getter = ledger.join_getter();
    let got: Vec<_> = std::iter::from_fn(|| ledger.handle_get(getter)).collect();
    assert_eq!(ids(&got), [1, 2, 3]);
    assert_eq!(got.iter().map(|one| one.ordinal).max(), Some(3));
}

fn prefetched_items_go_back_in_their_place_uncounted() {
    let mut ledger = unbounded();
    let worker = seasoned(&mut ledger, 1, 3)[0];
    put(&mut ledger, 4);
    let held = deliver(&mut ledger);
    assert_eq!(ids(&held), [4, 5, 6, 7]);
    put(&mut ledger, 1);
    let charged = ledger.handle_leave(worker, Started::default(), Some(&crash()), NO_TIME);
    assert_eq!(charged, 0, "it had started none of them");
    let getter = ledger.join_getter();
    for id in 4..=8 {
        let handed = ledger.handle_get(getter).expect("it waits");
        assert_eq!((handed.id, handed.attempt), (ItemId(id), 1));
    }
}

fn the_started_item_is_charged_and_others_are_not() {
    let mut ledger = unbounded();
    let worker = seasoned(&mut ledger, 1, 2)[0];
    put(&mut ledger, 3);
    let held = deliver(&mut ledger);
    let started = running(held[1]);
    let charged = ledger.handle_leave(worker, started, Some(&crash()), NO_TIME);
    assert_eq!(charged, 1);
    let getter = ledger.join_getter();
    let again: Vec<_> = std::iter::from_fn(|| ledger.handle_get(getter)).collect();
    let attempts: Vec<_> = again.iter().map(|one| (one.id.0, one.attempt)).collect();
    assert_eq!(attempts, [(3, 1), (4, 2), (5, 1)]);
}

fn a_getter_is_charged_for_all_that_it_has_taken() {
    let mut ledger = unbounded();
    put(&mut ledger, 3);
    let getter = ledger.join_getter();
    let held: Vec<_> = std::iter::from_fn(|| ledger.handle_get(getter)).collect();
    let started = Started::up_to(held[1].ordinal);
    let charged = ledger.handle_leave(getter, started, Some(&crash()), NO_TIME);
    assert_eq!((charged, ledger.counts().retries), (2, 2));
}

fn words(current: u64, begun: u64) -> LastWords {
    LastWords {
        started: Started { current, begun },
        is_garbled: false,
    }
}

/// Joins a worker that has settled its first delivery, and has the second and the third.
fn with_two_left(ledger: &mut Bytes) -> HolderId {
    let worker = seasoned(ledger, 1, 1)[0];
    put(ledger, 2);
    assert_eq!(deliver(ledger).len(), 2);
    worker
}

fn last_words_that_can_be_true_are_believed() {
    let mut ledger = unbounded();
    let worker = with_two_left(&mut ledger);
    let found = |said| {
        let found = ledger.weigh(worker, said);
        assert!(found.is_sound, "{said:?}");
        found.started.current
    };
    assert_eq!(found(words(2, 2)), 2);
    // A 0 was written over the second from outside.
    assert_eq!(found(words(2, 0)), 2);
    // The worker is between two deliveries, or has written only the first word.
    assert_eq!(found(words(0, 1)), 0);
    assert_eq!(
        found(words(1, 1)),
        1,
        "which is settled, and charged to nobody"
    );
    // The worker was killed between the two words, or a 0 was written over the first.
    assert_eq!((found(words(1, 2)), found(words(0, 2))), (2, 2));
}

fn nonsense_is_charged_to_the_first_delivery_that_is_not_settled() {
    let mut ledger = unbounded();
    let worker = with_two_left(&mut ledger);
    let garbled = LastWords {
        is_garbled: true,
        ..words(0, 1)
    };
    let far = LastWords {
        started: Started {
            current: 2,
            begun: 1000,
        },
        ..words(2, 2)
    };
    for said in [words(3, 3), words(1000, 2), words(2, 1000), far, garbled] {
        let found = ledger.weigh(worker, said);
        let first = Started::at(2);
        assert_eq!((found.started, found.is_sound), (first, false), "{said:?}");
    }
    let mut ledger = unbounded();
    put(&mut ledger, 2);
    let getter = ledger.join_getter();
    while ledger.handle_get(getter).is_some() {}
    let taken = ledger.weigh(getter, garbled).started;
    assert_eq!(taken, Started::at(1));
}

fn the_last_attempt_makes_a_dead_letter_with_its_whole_history() {
    let mut ledger = unbounded();
    ledger.put(b"cup".to_vec(), false).expect("no bound");
    for second in 1..=3 {
        let worker = ledger.join_worker(Credit::single());
        let handed = ledger.poll_delivery().expect("it waits");
        let now = Duration::from_secs(second);
        let code = i32::try_from(second).expect("small");
        let blame = Blame {
            cause: Cause::WorkerDied(Exit::Exited(code)),
            scene: Scene::ended_at(now),
        };
        assert_eq!(u64::from(handed.attempt), second);
        ledger.handle_leave(worker, running(handed), Some(&blame), now);
    }
    let dead = std::iter::from_fn(|| ledger.poll_report()).find_map(|report| match report {
        Report::Dead(letter) => Some(letter),
        _ => None,
    });
    let letter = dead.expect("its three attempts are used up");
    assert_eq!((letter.id, letter.payload), (ItemId(1), b"cup".to_vec()));
    for (failure, number) in letter.history.iter().zip(1..) {
        let cause = Cause::WorkerDied(Exit::Exited(number));
        assert_eq!(
            (failure.attempt.cast_signed(), &failure.cause),
            (number, &cause)
        );
        assert_eq!(failure.scene.ended.as_secs(), u64::from(failure.attempt));
    }
    assert_eq!(letter.history.len(), 3);
    assert!(ledger.is_finished());
}

fn a_retry_is_reported_once_with_its_cause() {
    let mut ledger = unbounded();
    ledger.put(b"cup".to_vec(), false).expect("no bound");
    let getter = ledger.join_getter();
    let handed = ledger.handle_get(getter).expect("it waits");
    let nacked = ledger.handle_nack(handed.token, nack("cracked"), None, NO_TIME);
    assert_eq!(nacked, Ok(()));
    let expected = Report::Retry {
        id: ItemId(1),
        failure: Failure::new(1, nack("cracked").cause, Scene::default()),
        payload: b"cup".to_vec(),
    };
    assert_eq!(ledger.poll_report(), Some(expected));
    assert_eq!(ledger.poll_report(), None);
    assert_eq!(ledger.counts().retries, 1);
}

fn a_ledger_that_is_held_hands_out_nothing_more() {
    let mut ledger = unbounded();
    for dish in [b"cup", b"mug"] {
        ledger.put(dish.to_vec(), false).expect("no bound");
    }
    let getter = ledger.join_getter();
    let handed = ledger.handle_get(getter).expect("it waits");
    ledger.handle_hold();
    assert_eq!(ledger.handle_get(getter), None);
    let worker = ledger.join_worker(Credit::adaptive());
    assert_eq!((worker != getter, ledger.poll_delivery()), (true, None));
    assert_eq!(ledger.done(handed.token, SHORT, None), Ok(()));
    assert_eq!(ledger.counts().done, 1);
    assert_eq!(ledger.counts().waiting, 1);
}

/// Makes a ledger where failed items rest between half a second and a second.
fn resting() -> Bytes {
    let second = Duration::from_secs(1);
    Ledger::new(
        Options::default()
            .capacity(Capacity::Bounded(4))
            .backoff(Backoff::exponential(second, second)),
    )
}

fn a_delayed_item_waits_for_its_time_and_comes_back_in_its_place() {
    let mut ledger = resting();
    put(&mut ledger, 3);
    let getter = ledger.join_getter();
    let first = ledger.handle_get(getter).expect("it waits");
    let nacked = ledger.handle_nack(first.token, nack("later"), None, NO_TIME);
    assert_eq!((nacked, ledger.counts().delayed), (Ok(()), 1));
    let second = ledger.handle_get(getter).expect("the next one waits");
    assert_eq!(second.id, ItemId(2));

    let wake = ledger.poll_timeout().expect("an item rests");
    assert!(wake >= Duration::from_millis(500) && wake <= Duration::from_secs(1));
    ledger.handle_timeout(wake - SHORT);
    assert_eq!(ledger.counts().delayed, 1, "not yet");
    ledger.handle_timeout(wake);
    assert_eq!(ledger.poll_timeout(), None);
    let again = ledger.handle_get(getter).expect("it waits again");
    assert_eq!((again.id, again.attempt), (ItemId(1), 2));
}

fn a_nacked_item_without_backoff_comes_before_fresh_ones() {
    let mut ledger = unbounded();
    put(&mut ledger, 2);
    let getter = ledger.join_getter();
    let first = ledger.handle_get(getter).expect("it waits");
    let nacked = ledger.handle_nack(first.token, nack("again"), None, NO_TIME);
    assert_eq!(nacked, Ok(()));
    let again: Vec<_> = std::iter::from_fn(|| ledger.handle_get(getter)).collect();
    assert_eq!(ids(&again), [1, 2]);
}

fn no_attempts_at_all_are_taken_as_one() {
    let mut ledger: Bytes = Ledger::new(Options::default().max_attempts(0));
    put(&mut ledger, 1);
    let getter = ledger.join_getter();
    let handed = ledger.handle_get(getter).expect("it waits");
    let nacked = ledger.handle_nack(handed.token, nack("no"), None, NO_TIME);
    assert_eq!((nacked, ledger.counts().dead), (Ok(()), 1));
}

fn idle_workers_get_items_before_busy_ones_are_refilled() {
    let mut ledger = unbounded();
    let pool = seasoned(&mut ledger, 2, 3);
    put(&mut ledger, 4);
    let held = deliver(&mut ledger);
    let busy = held[0].holder;
    let mine: Vec<_> = held.iter().filter(|one| one.holder == busy).collect();
    let idle = *pool.iter().find(|worker| **worker != busy).expect("two");
    // One item back makes the busy worker ready for a refill; the other worker becomes idle.
    done(&mut ledger, &[*mine[0]]);
    let theirs: Vec<_> = held
        .iter()
        .filter(|one| one.holder == idle)
        .copied()
        .collect();
    done(&mut ledger, &theirs);
    put(&mut ledger, 1);
    assert_eq!(deliver(&mut ledger)[0].holder, idle);
}

fn a_busy_worker_is_refilled_only_after_it_acknowledges() {
    let mut ledger = unbounded();
    let worker = seasoned(&mut ledger, 1, 4)[0];
    put(&mut ledger, 2);
    let held = deliver(&mut ledger);
    assert_eq!(held.len(), 2);
    put(&mut ledger, 3);
    assert_eq!(deliver(&mut ledger), [], "its credit is not used up, yet");
    done(&mut ledger, &held[..1]);
    assert_eq!(deliver(&mut ledger).len(), 3);
    assert_eq!(ledger.held_by(worker), 4);
}

fn idle_workers_share_fairly() {
    let mut ledger = unbounded();
    let pool = seasoned(&mut ledger, 4, 10);
    put(&mut ledger, 100);
    deliver(&mut ledger);
    for worker in &pool {
        let held = ledger.held_by(*worker);
        assert!((1..=25).contains(&held), "{held} of 100 items");
    }
}

fn a_new_worker_gets_one_item_however_many_wait() {
    for credit in [Credit::adaptive(), Credit::single()] {
        let mut ledger = unbounded();
        put(&mut ledger, 50);
        ledger.join_worker(credit);
        assert_eq!(ids(&deliver(&mut ledger)), [1]);
    }
}

fn bytes_bound_what_is_prefetched() {
    let mut ledger = unbounded();
    seasoned(&mut ledger, 1, 5);
    for _ in 0..5 {
        ledger.put(vec![0; 50_000], false).expect("no bound");
    }
    assert_eq!(deliver(&mut ledger).len(), 2, "of 112 KiB at most");
}

fn a_rendezvous_accepts_only_when_an_idle_worker_is_there() {
    let mut ledger = with_capacity(Capacity::Rendezvous);
    assert_eq!(ledger.put(Vec::new(), false), Err(Refusal::Full));
    ledger.join_worker(Credit::adaptive());
    assert_eq!(ledger.put(Vec::new(), false), Ok(ItemId(1)));
    assert_eq!(ledger.put(Vec::new(), false), Err(Refusal::Full));
    let held = deliver(&mut ledger);
    assert_eq!(ledger.put(Vec::new(), false), Err(Refusal::Full));
    done(&mut ledger, &held);
    assert!(ledger.put(Vec::new(), false).is_ok());
    assert_eq!(ledger.counts().accepted, 2, "refused puts count nowhere");
}

fn a_rendezvous_accepts_only_while_a_getter_waits() {
    let mut ledger = with_capacity(Capacity::Rendezvous);
    let getter = ledger.join_getter();
    assert!(
        !ledger.has_room(),
        "a getter that does not wait takes nothing"
    );
    ledger.handle_getter_waiting(true);
    assert!(ledger.has_room());
    ledger.handle_getter_waiting(false);
    assert!(!ledger.has_room());
    ledger.handle_getter_waiting(true);
    put(&mut ledger, 1);
    assert!(!ledger.has_room(), "one getter takes one item");
    assert!(ledger.handle_get(getter).is_some());
}

fn a_bound_counts_prefetched_items() {
    let mut ledger = with_capacity(Capacity::Bounded(2));
    seasoned(&mut ledger, 1, 4);
    put(&mut ledger, 2);
    let held = deliver(&mut ledger);
    assert_eq!((held.len(), ledger.len()), (2, 1), "one of two is started");
    put(&mut ledger, 1);
    assert_eq!(ledger.put(Vec::new(), false), Err(Refusal::Full));
    done(&mut ledger, &held[..1]);
    assert!(ledger.has_room());
}

fn a_bound_counts_resting_items() {
    let mut ledger = resting();
    put(&mut ledger, 4);
    let getter = ledger.join_getter();
    let handed = ledger.handle_get(getter).expect("it waits");
    assert!(ledger.has_room());
    let nacked = ledger.handle_nack(handed.token, nack("later"), None, NO_TIME);
    assert_eq!((nacked, ledger.has_room()), (Ok(()), false));
}

fn an_item_may_be_put_beyond_the_bound() {
    let mut ledger = with_capacity(Capacity::Bounded(1));
    put(&mut ledger, 1);
    assert_eq!(ledger.put(Vec::new(), false), Err(Refusal::Full));
    assert_eq!(ledger.put(Vec::new(), true), Ok(ItemId(2)));
    ledger.handle_close();
    let refused = ledger.put(Vec::new(), true);
    assert_eq!((refused, ledger.len()), (Err(Refusal::Closed), 2));
}

fn close_refuses_puts_and_hands_out_what_is_there() {
    let mut ledger = unbounded();
    put(&mut ledger, 1);
    ledger.handle_close();
    assert_eq!(ledger.put(Vec::new(), false), Err(Refusal::Closed));
    ledger.join_worker(Credit::single());
    let held = deliver(&mut ledger);
    done(&mut ledger, &held);
    assert!(ledger.is_finished());
}

fn a_stopped_worker_gets_nothing_more() {
    let mut ledger = unbounded();
    let worker = seasoned(&mut ledger, 1, 4)[0];
    let getter = ledger.join_getter();
    put(&mut ledger, 2);
    let held = deliver(&mut ledger);
    ledger.handle_stop(worker);
    ledger.handle_stop(getter);
    put(&mut ledger, 1);
    done(&mut ledger, &held);
    assert_eq!(deliver(&mut ledger), []);
    assert_eq!(ledger.handle_get(getter), None);
    assert_eq!(ledger.counts().waiting, 1);
}

fn a_stopped_worker_may_still_acknowledge() {
    let mut ledger = unbounded();
    let worker = ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    let held = deliver(&mut ledger);
    ledger.handle_stop(worker);
    assert!(!ledger.is_open(worker));
    done(&mut ledger, &held);
    assert_eq!(ledger.counts().done, 1);
}

fn a_late_task_done_after_leave_is_stale() {
    let mut ledger = unbounded();
    let worker = ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    let handed = ledger.poll_delivery().expect("the worker is idle");
    ledger.handle_leave(worker, running(handed), Some(&crash()), NO_TIME);
    assert_eq!(ledger.done(handed.token, SHORT, Some(())), Err(Stale));
    assert_eq!((ledger.counts().done, ledger.counts().waiting), (0, 1));
}

fn leaving_without_a_cause_charges_nothing() {
    let mut ledger = unbounded();
    let worker = ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    let handed = ledger.poll_delivery().expect("the worker is idle");
    let charged = ledger.handle_leave(worker, running(handed), None, NO_TIME);
    assert_eq!((charged, ledger.poll_report()), (0, None));
    ledger.join_worker(Credit::single());
    assert_eq!(ledger.poll_delivery().map(|again| again.attempt), Some(1));
}

fn leaving_twice_charges_nothing() {
    let mut ledger = unbounded();
    let worker = ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    let handed = ledger.poll_delivery().expect("the worker is idle");
    for charged in [1, 0] {
        let left = ledger.handle_leave(worker, running(handed), Some(&crash()), NO_TIME);
        assert_eq!(left, charged);
    }
    assert_eq!(ledger.held_by(worker), 0);
}

fn a_reused_slot_does_not_revive_an_old_token() {
    let mut ledger = unbounded();
    let getter = ledger.join_getter();
    put(&mut ledger, 100);
    let first = ledger.handle_get(getter).expect("it waits");
    done(&mut ledger, &[first]);
    while let Some(handed) = ledger.handle_get(getter) {
        assert_ne!(handed.token, first.token);
        assert_eq!(ledger.done(first.token, SHORT, Some(())), Err(Stale));
        assert_eq!(ledger.handle_return(first.token), Err(Stale));
        assert_eq!(ledger.handed(first.token), None);
        done(&mut ledger, &[handed]);
    }
    assert_eq!(ledger.counts().done, 100);
}

fn a_hundred_thousand_waiting_items_drain_in_order() {
    let mut ledger = unbounded();
    put(&mut ledger, 100_000);
    ledger.join_worker(Credit::adaptive());
    let mut next = 1;
    while !ledger.is_finished() {
        let held = deliver(&mut ledger);
        for one in &held {
            assert_eq!(one.id.0, next);
            next += 1;
        }
        done(&mut ledger, &held);
    }
    assert_eq!(ledger.counts().done, 100_000);
}
