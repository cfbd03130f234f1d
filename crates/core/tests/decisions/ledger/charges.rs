//! The charges: failed and lost attempts apart, and none for a shortage of the machine or a stop.

use std::time::Duration;

use dishrack_core::ledger::{
    Blame, Cancelled, Cause, Credit, Exit, Handed, HolderId, ItemId, Ledger, Notice, Options,
    Recovered, Report, Scene, Started, Unfinished,
};

use crate::steps::Steps as _;

use super::{Bytes, NO_TIME, crash, deliver, ids, nack, put, running, unbounded};

crate::trials! {
    lost_attempts_are_counted_apart_where_that_is_asked_for,
    lost_attempts_count_as_failed_ones_where_it_is_not,
    both_counts_come_out_of_a_journal,
    what_cannot_change_is_tried_once,
    what_the_machine_lacks_is_charged_to_nobody,
    a_shortage_is_told_once_and_when_it_is_over,
    a_shortage_is_tried_after_pauses_that_double,
    each_end_makes_room_for_two,
    a_lasting_shortage_of_some_is_one_shortage,
    a_shortage_ends_with_the_last_item,
    no_room_for_output_is_a_loss_and_a_shortage,
    nobody_is_woken_for_a_shortage_that_nobody_waits_for,
    a_turn_ends_with_the_room,
    what_a_stop_ends_is_charged_to_nobody,
    a_stop_that_is_heard_later_was_a_stop_too,
    without_a_stop_the_attempt_is_lost_after_all,
    an_exit_code_that_says_so_is_of_a_stop_too,
    a_crash_while_it_is_stopped_is_charged,
    what_may_be_of_a_stop_can_be_cancelled,
    what_a_worker_has_is_not_withdrawn,
    a_stop_is_over_when_all_have_stopped,
    nobody_is_left_to_be_stopped_when_the_last_worker_is_gone,
}

const MOMENT: Duration = Duration::from_millis(1);
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

fn killed(signal: i32) -> Blame {
    let what = Exit::Signaled(signal).to_string();
    Cause::Killed { signal, what }.into()
}

fn commands(max_attempts: u32) -> Bytes {
    Ledger::new(
        Options::default()
            .max_attempts(max_attempts)
            .max_lost_attempts(Some(3)),
    )
}

/// Joins a worker that is handed one item at a time.
fn worker(ledger: &mut Bytes) -> HolderId {
    ledger.join_worker(Credit::single())
}

fn one(ledger: &mut Bytes) -> Handed {
    ledger
        .poll_delivery()
        .expect("it waits, and somebody is idle")
}

/// Ends the next item's attempt so, and another one follows. `counts` has the rest.
fn fail(ledger: &mut Bytes, blame: Blame) {
    let handed = one(ledger);
    let answer = ledger.handle_nack(handed.token, blame, None, NO_TIME);
    assert_eq!(answer, Ok(()));
    assert_eq!(ledger.check(), Ok(()));
}

fn lost_attempts_are_counted_apart_where_that_is_asked_for() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    fail(&mut ledger, killed(SIGKILL));
    fail(&mut ledger, Cause::OutOfMemory.into());
    assert_eq!((ledger.counts().dead, ledger.counts().retries), (0, 2));
    fail(&mut ledger, nack("exited with code 1"));
    assert_eq!(ledger.counts().dead, 1, "what it says itself is final");

    put(&mut ledger, 1);
    for dead in [1, 1, 2] {
        fail(&mut ledger, crash());
        assert_eq!(ledger.counts().dead, dead);
    }

    let mut ledger = commands(2);
    worker(&mut ledger);
    put(&mut ledger, 1);
    for blame in [killed(SIGKILL), nack("no"), killed(SIGKILL)] {
        fail(&mut ledger, blame);
        assert_eq!(ledger.counts().dead, 0);
    }
    fail(&mut ledger, nack("no"));
    assert_eq!(ledger.counts().dead, 1);
}

fn lost_attempts_count_as_failed_ones_where_it_is_not() {
    let mut ledger = unbounded();
    worker(&mut ledger);
    put(&mut ledger, 1);
    for (blame, dead) in [(crash(), 0), (nack("no"), 0), (killed(SIGKILL), 1)] {
        fail(&mut ledger, blame);
        assert_eq!(ledger.counts().dead, dead);
    }
}

fn both_counts_come_out_of_a_journal() {
    let mut before = commands(2);
    worker(&mut before);
    put(&mut before, 1);
    let history: Vec<_> = [killed(SIGKILL), nack("no"), killed(SIGKILL)]
        .into_iter()
        .map(|blame| {
            fail(&mut before, blame);
            match before.poll_report() {
                Some(Report::Retry { failure, .. }) => failure,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    for (forgiven, last, dead) in [
        (0, killed(SIGKILL), 1),
        (0, nack("no"), 1),
        // The first loss does not count any more, nor does the failure.
        (1, killed(SIGKILL), 0),
        (2, nack("no"), 0),
    ] {
        let options = Options::default()
            .max_attempts(2)
            .max_lost_attempts(Some(3));
        let item = Unfinished {
            id: ItemId(1),
            payload: Vec::new(),
            history: history.clone(),
            forgiven,
        };
        let recovered = Recovered {
            accepted: 1,
            dead: 0,
            unfinished: vec![item],
        };
        let mut ledger: Bytes = Ledger::resume(options, recovered);
        worker(&mut ledger);
        fail(&mut ledger, last);
        assert_eq!(ledger.counts().dead, dead, "{forgiven} forgiven");
    }
}

fn what_cannot_change_is_tried_once() {
    let mut ledger = unbounded();
    worker(&mut ledger);
    put(&mut ledger, 1);
    fail(&mut ledger, Cause::Unrunnable("too long".into()).into());
    assert_eq!((ledger.counts().dead, ledger.counts().retries), (1, 0));
}

/// Reports that the item could not be begun.
fn lacks(ledger: &mut Bytes, handed: Handed, now: Duration) {
    let answer = ledger.handle_shortage(handed.token, "no process".into(), now);
    assert_eq!(answer, Ok(()));
    assert_eq!(ledger.check(), Ok(()));
}

fn done(ledger: &mut Bytes, handed: Handed) {
    let answer = ledger.done(handed.token, MOMENT, None);
    assert_eq!(answer, Ok(()));
}

/// Passes the time for which the ledger waits, and returns it.
fn pass(ledger: &mut Bytes) -> Duration {
    let at = ledger.poll_timeout().expect("it waits for something");
    ledger.handle_timeout(at);
    at
}

fn what_the_machine_lacks_is_charged_to_nobody() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 2);
    let mut now = NO_TIME;
    for _ in 0..1000 {
        let handed = one(&mut ledger);
        assert_eq!((handed.id, handed.attempt), (ItemId(1), 1));
        lacks(&mut ledger, handed, now);
        assert_eq!(ledger.poll_delivery(), None, "there is no room");
        assert_eq!(ledger.appetite(), 0);
        now = pass(&mut ledger);
    }
    let counts = ledger.counts();
    assert_eq!((counts.waiting, counts.dead, counts.retries), (2, 0, 0));
}

fn a_shortage_is_told_once_and_when_it_is_over() {
    let mut ledger = commands(1);
    for _ in 0..2 {
        worker(&mut ledger);
    }
    put(&mut ledger, 9);
    let begun = deliver(&mut ledger);
    for handed in begun {
        lacks(&mut ledger, handed, NO_TIME);
    }
    let told = Notice::Shortage("no process".into());
    assert_eq!(ledger.poll_notice(), Some(told));
    assert_eq!(ledger.poll_notice(), None);
    let mut last = pass(&mut ledger);
    let handed = one(&mut ledger);
    lacks(&mut ledger, handed, last);
    // From now on there is room, and no item ends.
    let mut begun = 0;
    while ledger.poll_notice().is_none() {
        begun += deliver(&mut ledger).len();
        last = pass(&mut ledger);
    }
    assert_eq!(begun, 2, "as many as there are workers");
    assert!(last < Duration::from_secs(5), "{last:?}");
    assert_eq!(ledger.poll_timeout(), None, "nothing is left of it");
}

fn a_shortage_is_tried_after_pauses_that_double() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    let mut now = NO_TIME;
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let handed = one(&mut ledger);
        lacks(&mut ledger, handed, now);
        let next = pass(&mut ledger);
        pauses.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
}

fn each_end_makes_room_for_two() {
    let mut ledger = commands(1);
    for _ in 0..8 {
        worker(&mut ledger);
    }
    put(&mut ledger, 20);
    let begun = deliver(&mut ledger);
    assert_eq!(begun.len(), 8);
    for handed in &begun[3..] {
        lacks(&mut ledger, *handed, NO_TIME);
    }
    assert_eq!(ledger.poll_delivery(), None);
    done(&mut ledger, begun[0]);
    let next = deliver(&mut ledger);
    assert_eq!(ids(&next), [4, 5]);
    done(&mut ledger, begun[1]);
    done(&mut ledger, next[0]);
    assert_eq!(deliver(&mut ledger).len(), 4);
}

/// Three of eight items find room.
fn a_lasting_shortage_of_some_is_one_shortage() {
    let mut ledger = commands(1);
    for _ in 0..8 {
        worker(&mut ledger);
    }
    put(&mut ledger, 1000);
    let (mut now, mut running, mut tries) = (NO_TIME, Vec::new(), 0);
    while ledger.counts().done < 1000 {
        while let Some(handed) = ledger.poll_delivery() {
            tries += 1;
            match running.len() < 3 {
                true => running.push(handed),
                false => lacks(&mut ledger, handed, now),
            }
        }
        assert!(
            running.len() == 3 || ledger.counts().waiting < 3 || ledger.poll_timeout().is_some()
        );
        now += Duration::from_millis(10);
        ledger.handle_timeout(now);
        if !running.is_empty() {
            done(&mut ledger, running.remove(0));
        }
    }
    let told: Vec<_> = std::iter::from_fn(|| ledger.poll_notice()).collect();
    let expected = [Notice::Shortage("no process".into()), Notice::ShortageOver];
    assert_eq!(told, expected);
    assert!(tries < 3000, "{tries}");
}

fn a_shortage_ends_with_the_last_item() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    let handed = one(&mut ledger);
    lacks(&mut ledger, handed, NO_TIME);
    pass(&mut ledger);
    let handed = one(&mut ledger);
    assert!(matches!(ledger.poll_notice(), Some(Notice::Shortage(_))));
    done(&mut ledger, handed);
    assert_eq!(ledger.poll_notice(), Some(Notice::ShortageOver));
    assert_eq!(ledger.poll_timeout(), None);
}

fn no_room_for_output_is_a_loss_and_a_shortage() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    for retries in [1, 2] {
        fail(&mut ledger, Cause::NoRoom("full".into()).into());
        assert_eq!(ledger.counts().retries, retries);
        assert_eq!(ledger.poll_delivery(), None);
        pass(&mut ledger);
    }
    assert_eq!(ledger.poll_notice(), Some(Notice::Shortage("full".into())));
    fail(&mut ledger, Cause::NoRoom("full".into()).into());
    assert_eq!(ledger.counts().dead, 1);
}

fn nobody_is_woken_for_a_shortage_that_nobody_waits_for() {
    let mut ledger = commands(1);
    let worker = worker(&mut ledger);
    put(&mut ledger, 1);
    let handed = one(&mut ledger);
    lacks(&mut ledger, handed, NO_TIME);
    ledger.handle_leave(worker, Started::default(), None, NO_TIME);
    pass(&mut ledger);
    assert_eq!(ledger.poll_timeout(), None, "nobody is there to try it");
}

fn a_turn_ends_with_the_room() {
    let mut ledger = commands(1);
    let worker = super::seasoned(&mut ledger, 1, 4)[0];
    put(&mut ledger, 8);
    let held = deliver(&mut ledger);
    assert_eq!(held.len(), 8);
    for handed in held {
        lacks(&mut ledger, handed, NO_TIME);
    }
    pass(&mut ledger);
    let handed = one(&mut ledger);
    assert_eq!(handed.holder, worker);
    let mut more = 0;
    ledger.poll_turn(|_, _| more += 1);
    assert_eq!(more, 0);
}

fn what_a_stop_ends_is_charged_to_nobody() {
    for signal in [SIGTERM, SIGKILL, 1, 2] {
        let mut ledger = commands(1);
        let pool = [worker(&mut ledger), worker(&mut ledger)];
        put(&mut ledger, 2);
        let held = deliver(&mut ledger);
        ledger.handle_stopping();
        let answer = ledger.handle_nack(held[0].token, killed(signal), None, NO_TIME);
        assert_eq!(answer, Ok(()));
        let blame = Cause::WorkerDied(Exit::Signaled(signal)).into();
        let started = running(held[1]);
        ledger.handle_leave(pool[1], started, Some(&blame), NO_TIME);
        let counts = ledger.counts();
        assert_eq!((counts.waiting, counts.dead, counts.retries), (2, 0, 0));
    }
}

fn a_stop_that_is_heard_later_was_a_stop_too() {
    let mut ledger = commands(1);
    let pool = [worker(&mut ledger), worker(&mut ledger)];
    put(&mut ledger, 2);
    let held = deliver(&mut ledger);
    let blame = Cause::WorkerDied(Exit::Signaled(SIGTERM)).into();
    let charged = ledger.handle_leave(pool[0], running(held[0]), Some(&blame), NO_TIME);
    assert_eq!(charged, 1, "its death is not its own fault");
    let answer = ledger.handle_nack(held[1].token, killed(SIGTERM), None, MOMENT);
    assert_eq!(answer, Ok(()));
    assert_eq!((ledger.counts().delayed, ledger.poll_report()), (2, None));
    assert_eq!(ledger.poll_delivery(), None);
    assert!(!ledger.is_finished() && ledger.check().is_ok());
    ledger.handle_timeout(100 * MOMENT);
    ledger.handle_stopping();
    let counts = ledger.counts();
    assert_eq!((counts.waiting, counts.delayed, counts.retries), (2, 0, 0));
    let next = deliver(&mut ledger);
    assert_eq!((next[0].id, next[0].attempt), (ItemId(1), 1));
}

fn without_a_stop_the_attempt_is_lost_after_all() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    fail(&mut ledger, killed(SIGTERM));
    let at = pass(&mut ledger);
    assert!(at <= Duration::from_secs(1), "{at:?}");
    assert_eq!((ledger.counts().retries, ledger.counts().waiting), (1, 1));
    assert_eq!(one(&mut ledger).attempt, 2);
    assert_eq!(ledger.poll_timeout(), None);
}

/// The command itself says that it failed, so that is final unless a stop comes.
fn an_exit_code_that_says_so_is_of_a_stop_too() {
    let asked = || {
        let (signal, what) = (SIGTERM, Exit::Exited(143).to_string());
        Blame::from(Cause::AskedToEnd { signal, what })
    };
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    fail(&mut ledger, asked());
    ledger.handle_stopping();
    fail(&mut ledger, asked());
    assert_eq!((ledger.counts().waiting, ledger.counts().retries), (1, 0));
    ledger.handle_stopped();
    fail(&mut ledger, asked());
    pass(&mut ledger);
    assert_eq!(ledger.counts().dead, 1);
}

fn a_crash_while_it_is_stopped_is_charged() {
    let mut ledger = commands(1);
    let worker = worker(&mut ledger);
    put(&mut ledger, 1);
    let handed = one(&mut ledger);
    ledger.handle_stopping();
    let charged = ledger.handle_leave(worker, running(handed), Some(&crash()), NO_TIME);
    assert_eq!((charged, ledger.counts().retries), (1, 1));
}

fn what_may_be_of_a_stop_can_be_cancelled() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    fail(&mut ledger, killed(SIGTERM));
    assert_eq!(ledger.waiting_ids(), [ItemId(1)].into());
    let cancelled = ledger.handle_cancel(ItemId(1), Scene::default());
    assert_eq!((cancelled, ledger.counts().dead), (Cancelled::Waiting, 1));
    assert!(matches!(ledger.poll_report(), Some(Report::Retry { .. })));
    let Some(Report::Dead(letter)) = ledger.poll_report() else {
        panic!("it was not told dead");
    };
    let attempts: Vec<u32> = letter.history.iter().map(|one| one.attempt).collect();
    assert_eq!(attempts, [1, 0], "its attempt is not forgotten");
    assert_eq!(ledger.poll_timeout(), None);
    assert_eq!(ledger.check(), Ok(()));
}

fn what_a_worker_has_is_not_withdrawn() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 2);
    one(&mut ledger);
    let withdrawn = [1, 2, 2, 3].map(|id| ledger.handle_withdraw(ItemId(id), Scene::default()));
    assert_eq!(withdrawn, [false, true, false, false]);
    assert_eq!((ledger.counts().leased, ledger.counts().dead), (1, 1));
    assert_eq!(ledger.check(), Ok(()));
}

fn a_stop_is_over_when_all_have_stopped() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    ledger.handle_stopping();
    ledger.handle_stopping();
    ledger.handle_stopped();
    fail(&mut ledger, killed(SIGKILL));
    assert_eq!(ledger.counts().retries, 0);
    ledger.handle_stopped();
    fail(&mut ledger, killed(SIGKILL));
    assert_eq!(ledger.counts().retries, 1);
}

fn nobody_is_left_to_be_stopped_when_the_last_worker_is_gone() {
    let mut ledger = commands(1);
    worker(&mut ledger);
    put(&mut ledger, 1);
    fail(&mut ledger, killed(SIGTERM));
    ledger.handle_unstoppable(MOMENT);
    assert_eq!((ledger.counts().retries, ledger.counts().waiting), (1, 1));
    assert_eq!(ledger.check(), Ok(()));
}
