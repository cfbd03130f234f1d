//! Notes of attempts that have ended, for the bars of a time chart.

use std::iter;
use std::time::Duration;

use dishrack_core::ledger::{
    Backoff, BegunNaming, Cause, EndNote, EndedAttempts, Handed, HolderId, ItemId, Ledger, Options,
    Scene,
};

use super::{Bytes, NO_TIME, SHORT, crash, deliver, done, nack, put, running, seasoned, unbounded};

crate::trials! {
    nothing_is_noted_before_somebody_wants_it,
    a_run_that_is_done_is_one_note,
    each_failed_attempt_has_a_note_with_its_cause,
    what_goes_back_uncounted_has_none,
    an_item_is_begun_once,
    items_of_a_stream_are_named_singly,
    an_item_waits_again_before_its_next_attempt_ends,
    a_retry_is_noted_with_the_rest_before_it,
}

fn notes(ledger: &mut Bytes) -> Vec<EndedAttempts> {
    let ended = |note| match note {
        EndNote::Ended(ended) => Some(ended),
        EndNote::Again { .. } => None,
    };
    let notes = iter::from_fn(|| ledger.poll_end_note());
    notes.filter_map(ended).collect()
}

/// Makes a ledger that notes ends, and a worker with so many rounds behind it that was handed what it may have of so many items.
fn handed_out(rounds: u32, items: usize) -> (Bytes, HolderId, Vec<Handed>) {
    let mut ledger = unbounded();
    let worker = seasoned(&mut ledger, 1, rounds)[0];
    ledger.handle_note_ends(Some(BegunNaming::Together));
    put(&mut ledger, items);
    let held = deliver(&mut ledger);
    (ledger, worker, held)
}

fn nothing_is_noted_before_somebody_wants_it() {
    let mut ledger = unbounded();
    seasoned(&mut ledger, 1, 1);
    assert_eq!(notes(&mut ledger), []);
    ledger.handle_note_ends(Some(BegunNaming::Together));
    put(&mut ledger, 1);
    let held = deliver(&mut ledger);
    done(&mut ledger, &held);
    let noted = notes(&mut ledger);
    assert_eq!((noted.len(), noted[0].first), (1, held[0].id));
    assert_eq!((noted[0].count, noted[0].service), (1, SHORT));
    ledger.handle_note_ends(None);
    put(&mut ledger, 1);
    let held = deliver(&mut ledger);
    done(&mut ledger, &held);
    assert_eq!(notes(&mut ledger), []);
}

fn a_run_that_is_done_is_one_note() {
    let (mut ledger, worker, held) = handed_out(3, 6);
    let first = held[0];
    // One has failed meanwhile, and is none of them.
    ledger
        .handle_nack(held[1].token, nack("no"), None, NO_TIME)
        .unwrap();
    ledger.handle_done_through(worker, held[3].ordinal, 3 * SHORT);
    let noted = notes(&mut ledger);
    assert_eq!(noted.len(), 2);
    let run = &noted[1];
    // They took that long together, and the one that has failed is none of them.
    assert_eq!(run.service, SHORT);
    assert_eq!((run.first, run.last, run.count), (first.id, held[3].id, 3));
    assert_eq!((run.holder, run.ordinal), (worker, held[3].ordinal));
    assert!(run.failure.is_none());
    // What is told twice is not noted again.
    ledger.handle_done_through(worker, held[3].ordinal, SHORT);
    let late = ledger.handle_done_run(worker, held[4].ordinal..=held[5].ordinal, SHORT);
    assert_eq!(late, [0_u64; 0]);
    ledger.handle_done_run(worker, held[4].ordinal..=held[5].ordinal, SHORT);
    let noted = notes(&mut ledger);
    assert_eq!((noted.len(), noted[0].count), (1, 2));
}

fn each_failed_attempt_has_a_note_with_its_cause() {
    let (mut ledger, worker, held) = handed_out(2, 3);
    ledger
        .handle_nack(held[0].token, nack("no"), None, NO_TIME)
        .unwrap();
    let scene = Scene::ended_at(Duration::from_secs(9));
    ledger.handle_cancel(held[1].id, scene);
    ledger.handle_leave(worker, running(held[2]), Some(&crash()), NO_TIME);
    let noted = notes(&mut ledger);
    let failed: Vec<(ItemId, Cause)> = noted
        .iter()
        .map(|one| (one.first, one.failure.as_ref().unwrap().cause.clone()))
        .collect();
    let expected = [
        (held[0].id, nack("no").cause),
        (held[1].id, Cause::Cancelled),
        (held[2].id, crash().cause),
    ];
    assert_eq!(failed, expected);
    assert!(noted.iter().all(|one| one.count == 1 && one.attempt == 1));
}

fn what_goes_back_uncounted_has_none() {
    let (mut ledger, worker, held) = handed_out(2, 4);
    ledger.handle_return(held[2].token).unwrap();
    ledger.handle_leave(worker, running(held[0]), None, NO_TIME);
    // One that nobody had in hand is cancelled without one, too.
    ledger.handle_cancel(held[0].id, Scene::default());
    assert_eq!(notes(&mut ledger), []);
}

fn an_item_is_begun_once() {
    let (mut ledger, worker, held) = handed_out(3, 3);
    ledger
        .handle_nack(held[0].token, nack("no"), None, NO_TIME)
        .unwrap();
    let again = deliver(&mut ledger);
    assert_eq!((again[0].id, again[0].attempt), (held[0].id, 2));
    ledger.handle_done_through(worker, again[0].ordinal, SHORT);
    let noted = notes(&mut ledger);
    let begun: Vec<(u64, u64)> = noted
        .iter()
        .map(|one| (one.count, one.begun.count))
        .collect();
    assert_eq!(begun, [(1, 1), (3, 2)]);
    // The item that was begun before is none of those.
    let run = noted[1].begun;
    assert_eq!((run.first, run.last), (held[1].id, held[2].id));
    // It is named, because it waits since a time of its own.
    let singly: Vec<&[ItemId]> = noted.iter().map(|one| &*one.begun_singly).collect();
    assert_eq!(singly, [&[][..], &[held[0].id]]);
}

fn items_of_a_stream_are_named_singly() {
    let mut ledger = unbounded();
    let worker = seasoned(&mut ledger, 1, 3)[0];
    ledger.handle_note_ends(Some(BegunNaming::Singly));
    put(&mut ledger, 3);
    let held = deliver(&mut ledger);
    ledger
        .handle_nack(held[0].token, nack("no"), None, NO_TIME)
        .unwrap();
    ledger.handle_done_through(worker, held[2].ordinal, SHORT);
    let noted = notes(&mut ledger);
    assert!(noted.iter().all(|one| one.begun.count == 0));
    let singly: Vec<&[ItemId]> = noted.iter().map(|one| &*one.begun_singly).collect();
    assert_eq!(singly, [&[held[0].id][..], &[held[1].id, held[2].id]]);
}

fn an_item_waits_again_before_its_next_attempt_ends() {
    let (mut ledger, worker, held) = handed_out(1, 1);
    let id = held[0].id;
    let rest = Some(Duration::ZERO);
    ledger
        .handle_nack(held[0].token, nack("no"), rest, NO_TIME)
        .unwrap();
    let again = deliver(&mut ledger);
    // Nobody has asked, nor heard of the retry, until that has ended, too.
    ledger.handle_done_through(worker, again[0].ordinal, SHORT);
    let notes: Vec<(ItemId, Option<u32>)> = iter::from_fn(|| ledger.poll_end_note())
        .map(|note| match note {
            EndNote::Ended(ended) => (ended.first, Some(ended.attempt)),
            EndNote::Again { id, .. } => (id, None),
        })
        .collect();
    assert_eq!(notes, [(id, Some(1)), (id, None), (id, Some(2))]);
}

fn a_retry_is_noted_with_the_rest_before_it() {
    let backoff = Backoff::exponential(Duration::from_secs(2), Duration::from_secs(60));
    let mut ledger: Bytes = Ledger::new(Options::default().max_attempts(9).backoff(backoff));
    let getter = ledger.handle_join(None, u64::MAX);
    ledger.handle_note_ends(Some(BegunNaming::Together));
    put(&mut ledger, 2);
    // As it is asked for, and else as the options say.
    for rest in [Some(Duration::from_secs(7)), None] {
        let handed = ledger.handle_get(getter).expect("it waits");
        ledger
            .handle_nack(handed.token, nack("no"), rest, NO_TIME)
            .expect("held");
        let ended = ledger.poll_end_note();
        assert!(matches!(ended, Some(EndNote::Ended(_))), "{ended:?}");
        let again = EndNote::Again {
            id: handed.id,
            ended: Duration::ZERO,
            rest: rest.unwrap_or_else(|| backoff.delay(1, handed.id.0)),
        };
        assert_eq!(ledger.poll_end_note(), Some(again));
    }
    assert_eq!(ledger.poll_end_note(), None);
}
