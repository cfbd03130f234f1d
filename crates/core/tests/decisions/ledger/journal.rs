//! A ledger with a journal: reports that wait until they are durable, and the rest after a failure;
//! and items that are cancelled, revived, or recovered from an earlier run.

use std::iter;
use std::time::Duration;

use dishrack_core::ledger::{
    Cancelled, Cause, Counts, Credit, DeadLetter, Failure, Handed, ItemId, Ledger, Options, Record,
    Recovered, Refusal, Report, Scene, Stale, Unfinished,
};

use crate::steps::Steps as _;

use super::{Bytes, NO_TIME, SHORT, crash, deliver, ids, nack, put, running, seasoned, unbounded};

crate::trials! {
    a_staged_item_is_not_handed_out_before_it_is_durable,
    puts_of_one_write_become_durable_together,
    there_is_one_write_at_a_time_and_the_next_holds_what_came_meanwhile,
    what_was_changed_becomes_durable_however_much_is_changed_meanwhile,
    a_done_item_is_told_only_after_its_write,
    a_write_that_makes_nothing_happen_sooner_is_not_due,
    a_retry_waits_for_its_record_and_its_item_does_not,
    reports_keep_their_order_over_several_writes,
    a_failed_write_discards_what_was_staged_and_stops_the_queue,
    a_queue_whose_journal_failed_is_never_finished,
    a_queue_goes_on_where_its_journal_stopped,
    a_recovered_item_keeps_its_failed_attempts,
    a_cancelled_item_that_waits_is_a_dead_letter_without_an_attempt,
    the_holder_of_a_cancelled_item_is_busy_until_it_speaks_of_it,
    a_late_word_is_refused_and_counted,
    a_staged_item_cannot_be_cancelled,
    a_revived_item_has_fresh_attempts_and_its_old_history,
    a_revived_item_waits_in_its_old_place,
    a_worker_gets_its_quota_and_is_named_once,
    a_nack_may_name_its_own_rest,
    attempts_are_kept_with_their_end_until_they_are_shown,
    an_attempt_that_was_lost_with_its_supervisor_is_charged_and_the_item_moves_on_or_is_given_up,
}

fn journaled() -> Bytes {
    Ledger::resume(Options::default(), Recovered::default())
}

/// Writes everything, and returns the number of records.
fn write(ledger: &mut Bytes) -> usize {
    let write = ledger.poll_write().expect("there is something to write");
    ledger.handle_written(write.number);
    write.records.len()
}

fn reports(ledger: &mut Bytes) -> Vec<u64> {
    let all = iter::from_fn(|| ledger.poll_report());
    all.map(|report| report.id().0).collect()
}

fn letter(ledger: &mut Bytes) -> DeadLetter<Vec<u8>> {
    let mut all = iter::from_fn(|| ledger.poll_report());
    let found = all.find_map(|report| match report {
        Report::Dead(letter) => Some(letter),
        _ => None,
    });
    found.expect("somebody died")
}

fn one(ledger: &mut Bytes) -> Handed {
    ledger.poll_delivery().expect("a worker is idle")
}

fn cancel(ledger: &mut Bytes, id: u64) -> Cancelled {
    ledger.handle_cancel(ItemId(id), Scene::default())
}

fn a_staged_item_is_not_handed_out_before_it_is_durable() {
    let mut ledger = journaled();
    ledger.join_worker(Credit::single());
    let getter = ledger.join_getter();
    put(&mut ledger, 1);
    assert_eq!((ledger.len(), ledger.ready()), (1, 0));
    assert!(!ledger.is_durable(ItemId(1)));
    assert_eq!(ledger.poll_delivery(), None);
    assert_eq!(ledger.handle_get(getter), None);
    let write = ledger.poll_write().expect("it is to be written");
    assert_eq!(ledger.poll_delivery(), None, "it is being written");
    ledger.handle_written(write.number);
    assert!(ledger.is_durable(ItemId(1)));
    assert_eq!(one(&mut ledger).id, ItemId(1));
}

fn puts_of_one_write_become_durable_together() {
    let mut ledger = journaled();
    put(&mut ledger, 3);
    let first = ledger.poll_write().expect("three items");
    put(&mut ledger, 2);
    ledger.handle_written(first.number);
    let durable = |ledger: &Bytes| (1..=5).filter(|id| ledger.is_durable(ItemId(*id))).count();
    assert_eq!((first.records.len(), durable(&ledger)), (3, 3));
    assert_eq!((write(&mut ledger), durable(&ledger)), (2, 5));
}

fn there_is_one_write_at_a_time_and_the_next_holds_what_came_meanwhile() {
    let mut ledger = journaled();
    assert_eq!(ledger.poll_write(), None);
    put(&mut ledger, 1);
    let first = ledger.poll_write().expect("one item");
    put(&mut ledger, 1);
    assert!(!ledger.has_write(), "the first one is under way");
    assert_eq!(ledger.poll_write(), None);
    ledger.handle_written(first.number);
    let second = ledger.poll_write().expect("one more item");
    ledger.handle_written(first.number);
    assert!(!ledger.is_durable(ItemId(2)), "that was the first write");
    let (id, payload) = (ItemId(2), Vec::new());
    assert_eq!(second.records, [Record::Accepted { id, payload }]);
    assert_eq!(second.number, first.number + 1);
}

fn what_was_changed_becomes_durable_however_much_is_changed_meanwhile() {
    let mut ledger = journaled();
    let nothing = ledger.last_write();
    assert!(ledger.is_written_up_to(nothing));
    put(&mut ledger, 1);
    let first = ledger.poll_write().unwrap();
    let under_way = ledger.last_write();
    put(&mut ledger, 1);
    let both = ledger.last_write();
    assert!(!ledger.is_written_up_to(under_way) && !ledger.is_written_up_to(both));
    ledger.handle_written(first.number);
    assert!(ledger.is_written_up_to(under_way) && !ledger.is_written_up_to(both));
    let second = ledger.poll_write().unwrap();
    put(&mut ledger, 1);
    assert!(!ledger.is_written_up_to(both));
    ledger.handle_written(second.number);
    assert!(ledger.is_written_up_to(both) && !ledger.is_written());
    let third = ledger.poll_write().unwrap();
    ledger.handle_write_failed();
    assert!(ledger.is_written_up_to(both) && !ledger.is_written_up_to(third.number));
}

fn a_done_item_is_told_only_after_its_write() {
    let mut ledger = journaled();
    ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    write(&mut ledger);
    let handed = one(&mut ledger);
    ledger.done(handed.token, SHORT, Some(())).expect("held");
    assert_eq!(ledger.poll_report(), None);
    assert!(!ledger.is_finished(), "nobody was told");
    write(&mut ledger);
    assert!(!ledger.is_finished(), "it may be told, and was not");
    assert_eq!(reports(&mut ledger), [1]);
    assert!(ledger.is_finished());
}

fn a_write_that_makes_nothing_happen_sooner_is_not_due() {
    let mut ledger = journaled();
    ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    assert!(ledger.is_write_due(), "the worker has nothing else");
    put(&mut ledger, 4);
    write(&mut ledger);
    let first = one(&mut ledger);
    ledger.done(first.token, SHORT, None).expect("held");
    assert!(
        ledger.has_write() && !ledger.is_write_due(),
        "four are left"
    );
    put(&mut ledger, 3);
    assert!(!ledger.is_write_due(), "they are fewer than are left");
    put(&mut ledger, 1);
    assert!(ledger.is_write_due(), "they are as many");
    write(&mut ledger);
    let second = one(&mut ledger);
    ledger.done(second.token, SHORT, Some(())).expect("held");
    assert!(ledger.is_write_due(), "a report waits");
    write(&mut ledger);
    assert!(!ledger.is_write_due(), "there is nothing to write");
}

fn a_retry_waits_for_its_record_and_its_item_does_not() {
    let mut ledger = journaled();
    ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    write(&mut ledger);
    let handed = one(&mut ledger);
    let nacked = ledger.handle_nack(handed.token, nack("again"), None, NO_TIME);
    assert_eq!((nacked, ledger.poll_report()), (Ok(()), None));
    assert_eq!(one(&mut ledger).attempt, 2);
    write(&mut ledger);
    assert_eq!(reports(&mut ledger), [1]);
}

fn reports_keep_their_order_over_several_writes() {
    let mut ledger = journaled();
    let getter = ledger.join_getter();
    put(&mut ledger, 4);
    write(&mut ledger);
    let got: Vec<_> = iter::from_fn(|| ledger.handle_get(getter)).collect();
    let done = |ledger: &mut Bytes, index: usize| {
        let token = got[index].token;
        ledger.done(token, SHORT, Some(())).expect("held");
    };
    done(&mut ledger, 3);
    done(&mut ledger, 1);
    let first = ledger.poll_write().expect("two are done");
    done(&mut ledger, 0);
    assert!(reports(&mut ledger).is_empty());
    ledger.handle_written(first.number);
    assert_eq!(reports(&mut ledger), [4, 2]);
    done(&mut ledger, 2);
    assert_eq!(write(&mut ledger), 2);
    assert_eq!(reports(&mut ledger), [1, 3]);
}

fn a_failed_write_discards_what_was_staged_and_stops_the_queue() {
    let mut ledger = journaled();
    put(&mut ledger, 2);
    write(&mut ledger);
    put(&mut ledger, 3);
    let second = ledger.poll_write().expect("three items");
    put(&mut ledger, 1);
    assert_eq!(second.records.len(), 3);
    ledger.handle_write_failed();
    assert!(ledger.is_broken() && ledger.check().is_ok());
    assert_eq!(ledger.counts().accepted, 2, "the others never were");
    assert!(ledger.is_durable(ItemId(2)) && !ledger.is_durable(ItemId(3)));
    assert_eq!(ledger.put(Vec::new(), false), Err(Refusal::JournalFailed));
    ledger.join_worker(Credit::single());
    let getter = ledger.join_getter();
    assert_eq!(deliver(&mut ledger), [], "nothing is begun any more");
    assert_eq!(ledger.handle_get(getter), None);
    assert_eq!(ledger.poll_write(), None);
}

fn a_queue_whose_journal_failed_is_never_finished() {
    let mut ledger = journaled();
    ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    write(&mut ledger);
    let handed = one(&mut ledger);
    put(&mut ledger, 1);
    ledger.poll_write().expect("the second item");
    ledger.handle_write_failed();
    let done = ledger.done(handed.token, SHORT, Some(()));
    assert_eq!((done, ledger.counts().unfinished()), (Ok(()), 0));
    assert_eq!(ledger.poll_report(), None, "it is not durable");
    assert!(!ledger.is_finished());
}

/// Recovers five items, of which the second and the fourth are left, and one of the others is dead.
fn recovered() -> Recovered<Vec<u8>> {
    let left = |id, failures: u32| Unfinished {
        id: ItemId(id),
        payload: vec![0; 3],
        history: (1..=failures).map(failure).collect(),
        forgiven: 0,
    };
    Recovered {
        accepted: 5,
        dead: 1,
        unfinished: vec![left(4, 2), left(2, 0)],
    }
}

fn failure(attempt: u32) -> Failure {
    Failure::new(attempt, Cause::Dropped, Scene::default())
}

fn a_queue_goes_on_where_its_journal_stopped() {
    let mut ledger: Bytes = Ledger::resume(Options::default(), recovered());
    let mut expected = Counts::default();
    (expected.accepted, expected.waiting) = (5, 2);
    (expected.done, expected.dead) = (2, 1);
    assert_eq!(ledger.counts(), expected);
    assert_eq!(ledger.put(Vec::new(), false), Ok(ItemId(6)));
    write(&mut ledger);
    let getter = ledger.join_getter();
    let got: Vec<_> = iter::from_fn(|| ledger.handle_get(getter)).collect();
    assert_eq!(ids(&got), [2, 4, 6]);
}

fn a_recovered_item_keeps_its_failed_attempts() {
    let mut ledger: Bytes = Ledger::resume(Options::default(), recovered());
    let getter = ledger.join_getter();
    let got: Vec<_> = iter::from_fn(|| ledger.handle_get(getter)).collect();
    assert_eq!((got[0].attempt, got[1].attempt), (1, 3));
    let nacked = ledger.handle_nack(got[1].token, nack("cracked"), None, NO_TIME);
    assert_eq!((nacked, write(&mut ledger)), (Ok(()), 2));
    assert_eq!(letter(&mut ledger).history.len(), 3);
}

fn a_cancelled_item_that_waits_is_a_dead_letter_without_an_attempt() {
    let mut ledger = unbounded();
    put(&mut ledger, 3);
    assert_eq!(cancel(&mut ledger, 2), Cancelled::Waiting);
    assert_eq!(cancel(&mut ledger, 2), Cancelled::Not);
    assert_eq!(cancel(&mut ledger, 9), Cancelled::Not);
    let letter = letter(&mut ledger);
    let last = &letter.history[0];
    assert_eq!((last.attempt, &last.cause), (0, &Cause::Cancelled));
    let getter = ledger.join_getter();
    let got: Vec<_> = iter::from_fn(|| ledger.handle_get(getter)).collect();
    assert_eq!((ids(&got), ledger.counts().dead), (vec![1, 3], 1));
}

fn the_holder_of_a_cancelled_item_is_busy_until_it_speaks_of_it() {
    for is_leaving in [false, true] {
        let mut ledger = unbounded();
        let worker = ledger.join_worker(Credit::single());
        put(&mut ledger, 2);
        let handed = one(&mut ledger);
        assert_eq!(cancel(&mut ledger, 1), Cancelled::Leased(handed));
        assert_eq!(ledger.handed(handed.token), None);
        assert_eq!((ledger.held_by(worker), ledger.poll_delivery()), (1, None));
        if is_leaving {
            let charged = ledger.handle_leave(worker, running(handed), Some(&crash()), NO_TIME);
            assert_eq!(charged, 0, "nobody waits for it any more");
            ledger.join_worker(Credit::single());
        } else {
            assert_eq!(ledger.handle_return(handed.token), Err(Stale));
        }
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(one(&mut ledger).id, ItemId(2));
    }
}

fn a_late_word_is_refused_and_counted() {
    let mut ledger = unbounded();
    let worker = ledger.join_worker(Credit::single());
    put(&mut ledger, 1);
    let lost = one(&mut ledger);
    ledger.handle_leave(worker, running(lost), Some(&crash()), NO_TIME);
    let second = ledger.join_worker(Credit::single());
    let handed = one(&mut ledger);
    assert_eq!(ledger.done(lost.token, SHORT, Some(())), Err(Stale));
    let nacked = ledger.handle_nack(lost.token, nack("late"), None, NO_TIME);
    assert_eq!((nacked, ledger.counts().refused), (Err(Stale), 2));
    assert_eq!(ledger.held_by(second), 1, "it is still at it");
    ledger.done(handed.token, SHORT, Some(())).expect("held");
    assert_eq!((ledger.counts().done, ledger.counts().dead), (1, 0));
}

fn a_staged_item_cannot_be_cancelled() {
    let mut ledger = journaled();
    put(&mut ledger, 1);
    assert_eq!(cancel(&mut ledger, 1), Cancelled::Not, "nobody has it yet");
    write(&mut ledger);
    assert_eq!(cancel(&mut ledger, 1), Cancelled::Waiting);
    assert_eq!(write(&mut ledger), 2, "its cause and its end");
}

fn a_revived_item_has_fresh_attempts_and_its_old_history() {
    let mut ledger = unbounded();
    let getter = ledger.join_getter();
    put(&mut ledger, 1);
    for failures in [3, 6] {
        for attempt in failures - 2..=failures {
            let handed = ledger.handle_get(getter).expect("it waits");
            assert_eq!(handed.attempt, attempt);
            let nacked = ledger.handle_nack(handed.token, nack("no"), None, NO_TIME);
            assert_eq!(nacked, Ok(()));
        }
        assert_eq!(ledger.counts().dead, 1);
        let letter = letter(&mut ledger);
        assert_eq!(letter.history.len(), failures as usize);
        ledger.handle_revive(letter);
        assert_eq!((ledger.counts().dead, ledger.counts().waiting), (0, 1));
    }
}

fn a_revived_item_waits_in_its_old_place() {
    let mut ledger = unbounded();
    put(&mut ledger, 4);
    cancel(&mut ledger, 3);
    let letter = letter(&mut ledger);
    ledger.handle_revive(letter);
    let getter = ledger.join_getter();
    let got: Vec<_> = iter::from_fn(|| ledger.handle_get(getter)).collect();
    assert_eq!(ids(&got), [1, 2, 3, 4]);
}

fn a_worker_gets_its_quota_and_is_named_once() {
    let mut ledger = unbounded();
    seasoned(&mut ledger, 1, 3);
    let worker = ledger.handle_join(Some(Credit::adaptive()), 2);
    put(&mut ledger, 20);
    let mut served = 0;
    for _ in 0..20 {
        let mut held = deliver(&mut ledger);
        held.retain(|one| one.holder == worker);
        for one in held {
            assert_eq!(ledger.poll_worn(), None, "it has not settled all");
            ledger.done(one.token, SHORT, Some(())).expect("held");
            served += 1;
        }
    }
    assert_eq!((served, ledger.is_open(worker)), (2, false));
    assert_eq!(ledger.poll_worn(), Some(worker));
    assert_eq!(ledger.poll_worn(), None);
}

fn a_nack_may_name_its_own_rest() {
    let mut ledger = unbounded();
    put(&mut ledger, 2);
    let getter = ledger.join_getter();
    let rest = Duration::from_millis(1500);
    for rest in [rest, NO_TIME] {
        let handed = ledger.handle_get(getter).expect("it waits");
        let now = Duration::from_secs(1);
        let nacked = ledger.handle_nack(handed.token, nack("later"), Some(rest), now);
        assert_eq!(nacked, Ok(()));
    }
    assert_eq!(ledger.counts().delayed, 1);
    assert_eq!(ledger.poll_timeout(), Some(Duration::from_millis(2500)));
}

/// Each attempt is in the same write as its report, so that neither is known without the other.
fn attempts_are_kept_with_their_end_until_they_are_shown() {
    let mut ledger = journaled();
    ledger.handle_keep_attempts();
    for _ in 0..2 {
        ledger.join_worker(Credit::adaptive());
    }
    put(&mut ledger, 2);
    write(&mut ledger);
    let handed = deliver(&mut ledger);
    let (first, second) = (&handed[0], &handed[1]);
    let scene = Scene::of_worker("worker-1".into(), 0, NO_TIME, NO_TIME);
    let done = ledger.handle_done(first.token, SHORT, Some(()), scene.clone());
    done.expect("held");
    let nacked = ledger.handle_nack(second.token, nack("no"), None, NO_TIME);
    nacked.expect("held");
    let written = ledger.poll_write().expect("both have ended");
    let kept: Vec<_> = written
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Over { id, attempt, .. } => Some((id.0, attempt)),
            _ => None,
        })
        .collect();
    let (of_first, of_second) = (kept[0], kept[1]);
    assert_eq!((of_first.0, of_second.0, kept.len()), (1, 2, 2));
    assert_eq!((&of_first.1.cause, of_first.1.is_last), (&None, true));
    assert_eq!(of_first.1.scene, scene);
    assert!(of_second.1.cause.is_some() && !of_second.1.is_last);
    assert_eq!(of_second.1.number, 1);
    ledger.handle_written(written.number);
    ledger.handle_shown(ItemId(1), 1);
    let shown = ledger.poll_write().expect("one was shown");
    let (id, attempt) = (ItemId(1), 1);
    assert_eq!(shown.records, [Record::Shown { id, attempt }]);
}

fn an_attempt_that_was_lost_with_its_supervisor_is_charged_and_the_item_moves_on_or_is_given_up() {
    let unfinished = |id| Unfinished {
        id: ItemId(id),
        payload: vec![0],
        history: Vec::new(),
        forgiven: 0,
    };
    let recovered = Recovered {
        accepted: 3,
        dead: 0,
        unfinished: vec![unfinished(1), unfinished(3)],
    };
    let options = Options::default()
        .max_attempts(1)
        .max_lost_attempts(Some(2));
    let mut ledger: Bytes = Ledger::resume(options, recovered);
    ledger.handle_keep_attempts();
    let lost = |ledger: &mut Bytes, id| ledger.handle_lost_attempt(ItemId(id), crash(), NO_TIME);
    // It is done, or was never put.
    assert!(!lost(&mut ledger, 2) && !lost(&mut ledger, 4));
    assert!(lost(&mut ledger, 3));
    assert!(ledger.counts().is_balanced());
    let written = ledger.poll_write().expect("its failure is to be kept");
    let is_over = |record: &Record<_>| matches!(record, Record::Over { id: ItemId(3), attempt, .. } if !attempt.is_last);
    assert!(written.records.iter().any(is_over), "{:?}", written.records);
    ledger.handle_written(written.number);
    assert!(matches!(
        ledger.poll_report(),
        Some(Report::Retry { id: ItemId(3), .. })
    ));
    // It waits in its place, and the second loss is its last.
    ledger.handle_timeout(NO_TIME);
    assert_eq!(ledger.counts().waiting, 2);
    assert!(lost(&mut ledger, 3));
    write(&mut ledger);
    let letter = letter(&mut ledger);
    let attempts: Vec<u32> = letter.history.iter().map(|one| one.attempt).collect();
    assert_eq!((letter.id, attempts), (ItemId(3), vec![1, 2]));
    // What a worker has is not charged like this.
    let mut held = unbounded();
    held.handle_join(Some(Credit::adaptive()), u64::MAX);
    put(&mut held, 1);
    assert_eq!(deliver(&mut held).len(), 1);
    assert!(!lost(&mut held, 1));
}
