//! Several copies of an item: the first that is done, agreement, copies that come later.

use std::iter;
use std::time::Duration;

use dishrack_core::ledger::{
    Ballot, Blame, Cancelled, Cause, Copies, CopyEnd, Credit, Exit, Handed, Hedge, HolderId,
    ItemId, Ledger, Notice, Options, Recovered, Report, Scene, Stale, Started, Weight,
};

use crate::steps::Steps as _;

crate::trials! {
    copies_are_for_different_workers_at_once,
    the_first_that_is_done_counts_and_the_others_are_stopped,
    a_late_word_of_a_copy_changes_nothing,
    a_copy_that_fails_does_not_fail_the_item,
    an_attempt_is_over_when_all_copies_have_failed,
    as_many_copies_as_there_are_workers,
    an_item_with_copies_waits_for_an_idle_worker,
    a_result_counts_when_enough_agree,
    who_disagrees_is_told,
    what_copies_said_is_told_when_the_end_of_their_item_is_durable,
    no_agreement_is_a_failed_attempt_that_says_what_differed,
    what_cannot_agree_any_more_is_not_waited_for,
    a_third_opinion_waits_for_a_worker_that_has_not_spoken,
    what_too_few_workers_cannot_agree_on_is_not_begun,
    a_vote_that_a_worker_is_lacking_for_waits_and_charges_nobody,
    as_many_copies_as_there_are_workers_may_not_agree,
    a_lack_of_workers_is_told_once_and_is_all_that_is_left,
    copies_agree_on_a_failure,
    a_result_may_say_that_the_attempt_has_failed,
    failures_from_outside_are_no_votes,
    a_copy_that_fails_before_the_second_begins_does_not_fail_the_item,
    a_second_copy_is_made_when_the_first_takes_long,
    a_second_copy_is_made_when_the_first_takes_longer_than_most,
    no_backup_is_made_while_others_wait_unless_it_is_pressing,
    a_third_opinion_is_asked_for_however_many_wait,
    no_third_opinion_is_asked_for_before_the_second_is_heard,
    a_backup_that_comes_too_late_is_not_made,
    copies_of_a_stopped_worker_are_given_to_another_one,
    a_copy_that_never_began_voids_no_other,
    the_death_of_a_worker_is_the_failure_of_its_copy,
    a_store_acknowledges_a_copy,
    a_cancelled_item_has_all_its_copies_stopped,
    a_lost_item_has_all_its_copies_stopped,
    an_item_chooses_for_itself,
    no_turn_goes_on_after_a_copy,
    a_get_takes_a_copy_too,
    threads_of_one_process_may_take_several_copies,
    copies_are_one_item_in_all_counts,
    a_stop_of_the_run_charges_no_copy,
}

const SERVICE: Duration = Duration::from_millis(10);

/// An item that may choose its own copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Dish(Option<Copies>);

impl Weight for Dish {
    fn weight(&self) -> usize {
        8
    }

    fn copies(&self) -> Option<Copies> {
        self.0
    }
}

type Votes = Ledger<Dish, u64>;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Makes a ledger with so many workers and items.
fn ledger(copies: Copies, workers: usize, items: usize) -> (Votes, Vec<HolderId>) {
    let mut ledger = Votes::new(Options::default().copies(copies).max_attempts(2));
    let credit = Credit::adaptive();
    let workers = iter::repeat_with(|| ledger.join_worker(credit)).take(workers);
    let workers = workers.collect();
    for _ in 0..items {
        ledger.put(Dish::default(), false).expect("there is room");
    }
    (ledger, workers)
}

fn deliver(ledger: &mut Votes) -> Vec<Handed> {
    let handed = iter::from_fn(|| ledger.poll_delivery()).collect();
    assert_eq!(ledger.check(), Ok(()));
    handed
}

fn stopped(ledger: &mut Votes) -> Vec<Handed> {
    iter::from_fn(|| ledger.poll_stopped()).collect()
}

fn reports(ledger: &mut Votes) -> Vec<Report<Dish, u64>> {
    iter::from_fn(|| ledger.poll_report()).collect()
}

/// Returns the ends of copies, by their numbers.
fn ends(ledger: &mut Votes) -> Vec<(u32, CopyEnd)> {
    let reports = reports(ledger).into_iter();
    let ends = reports.filter_map(|report| match report {
        Report::Copy(copy) => Some((copy.handed.copy, copy.end)),
        _ => None,
    });
    ends.collect()
}

fn done(ledger: &mut Votes, copy: Handed, result: u64) {
    let answer = ledger.done(copy.token, SERVICE, Some(result));
    assert_eq!(answer, Ok(()));
    assert_eq!(ledger.check(), Ok(()));
}

fn fail(ledger: &mut Votes, copy: Handed, now: Duration) {
    let answer = ledger.handle_nack(copy.token, nack(), None, now);
    assert_eq!(answer, Ok(()));
    assert_eq!(ledger.check(), Ok(()));
}

fn nack() -> Blame {
    Cause::Nack("no".into()).into()
}

fn copies_are_for_different_workers_at_once() {
    let (mut ledger, workers) = ledger(Copies::first(2), 4, 3);
    let handed = deliver(&mut ledger);
    let holders: Vec<HolderId> = handed.iter().map(|one| one.holder).collect();
    assert_eq!(holders, workers);
    let whose: Vec<(u64, u32, u32)> = handed
        .iter()
        .map(|one| (one.id.0, one.copy, one.attempt))
        .collect();
    assert_eq!(whose, [(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 2, 1)]);
    let counts = ledger.counts();
    assert_eq!((counts.leased, counts.waiting), (2, 1));
}

fn the_first_that_is_done_counts_and_the_others_are_stopped() {
    let (mut ledger, _) = ledger(Copies::first(3), 3, 1);
    let copies = deliver(&mut ledger);
    done(&mut ledger, copies[1], 7);
    assert_eq!(stopped(&mut ledger), [copies[0], copies[2]]);
    let told = reports(&mut ledger);
    let results = told.iter().filter_map(|report| match report {
        Report::Done { handed, result, .. } => Some((*handed, *result)),
        _ => None,
    });
    assert_eq!(results.collect::<Vec<_>>(), [(copies[1], 7)]);
    assert_eq!(
        told.len(),
        4,
        "three ends of copies come before it: {told:?}"
    );
    assert!(matches!(told[3], Report::Done { .. }));
    let counts = ledger.counts();
    assert_eq!((counts.done, counts.leased, counts.retries), (1, 0, 0));
    // Its holders count as busy until they have let go.
    assert_eq!(ledger.busy(), 2);
    assert!(ledger.is_finished());
}

fn a_late_word_of_a_copy_changes_nothing() {
    let (mut ledger, workers) = ledger(Copies::first(2), 2, 2);
    let copies = deliver(&mut ledger);
    done(&mut ledger, copies[0], 7);
    let late = ledger.done(copies[1].token, SERVICE, Some(8));
    assert_eq!(late, Err(Stale));
    let counts = ledger.counts();
    assert_eq!((counts.done, counts.refused), (1, 1));
    // Both are free for the next item.
    let next = deliver(&mut ledger);
    assert_eq!(next.len(), workers.len());
    assert!(next.iter().all(|copy| copy.id == ItemId(2)));
    // One that was given back instead is no late word.
    done(&mut ledger, next[0], 7);
    assert_eq!(ledger.handle_return(next[1].token), Err(Stale));
    assert_eq!(ledger.counts().refused, 1);
    assert_eq!((ledger.counts().done, ledger.busy()), (2, 0));
}

/// The part of an attempt that was run is not run again because of a copy that was not.
fn a_copy_that_never_began_voids_no_other() {
    let (mut ledger, _) = ledger(Copies::agree(2, 3), 4, 1);
    let copies = deliver(&mut ledger);
    assert_eq!(copies.len(), 3);
    done(&mut ledger, copies[0], 7);
    fail(&mut ledger, copies[1], ms(1));
    assert_eq!(ledger.handle_return(copies[2].token), Ok(()));
    let more = deliver(&mut ledger);
    assert_eq!(more.len(), 1, "one is made in its place");
    assert_eq!((more[0].attempt, more[0].copy), (1, 3));
    done(&mut ledger, more[0], 7);
    let counts = ledger.counts();
    assert_eq!((counts.done, counts.retries), (1, 0));
    // The same where one is enough.
    let (mut ledger, workers) = self::ledger(Copies::first(2), 2, 1);
    ledger.handle_workers(2, Duration::ZERO);
    let copies = deliver(&mut ledger);
    fail(&mut ledger, copies[0], ms(1));
    assert_eq!(ledger.handle_return(copies[1].token), Ok(()));
    let more = deliver(&mut ledger);
    assert_eq!((more[0].attempt, more[0].copy), (1, 2));
    assert_eq!((more.len(), more[0].holder), (1, workers[1]));
    fail(&mut ledger, more[0], ms(2));
    assert_eq!(ledger.counts().retries, 1);
    assert!(deliver(&mut ledger).iter().all(|copy| copy.attempt == 2));
}

/// The other worker is busy with something else when the first copy fails.
fn a_copy_that_fails_before_the_second_begins_does_not_fail_the_item() {
    let (mut ledger, workers) = ledger(Copies::first(2), 1, 1);
    ledger.handle_workers(2, Duration::ZERO);
    let first = deliver(&mut ledger);
    assert_eq!(first.len(), 1);
    fail(&mut ledger, first[0], ms(1));
    assert_eq!((ledger.counts().retries, ledger.counts().leased), (0, 1));
    assert!(deliver(&mut ledger).is_empty(), "it is for another worker");
    let other = ledger.join_worker(Credit::adaptive());
    let second = deliver(&mut ledger);
    let whose = (second[0].holder, second[0].copy, second[0].attempt);
    assert_eq!(whose, (other, 2, 1));
    done(&mut ledger, second[0], 7);
    assert_eq!((ledger.counts().done, ledger.counts().retries), (1, 0));
    // Where no other worker is, or will be, there are as many copies as workers.
    ledger.put(Dish::default(), false).expect("there is room");
    ledger.handle_workers(2, Duration::ZERO);
    ledger.handle_stop(workers[0]);
    ledger.handle_leave(workers[0], Started::default(), None, ms(2));
    let first = deliver(&mut ledger);
    fail(&mut ledger, first[0], ms(3));
    assert_eq!(ledger.counts().retries, 0, "the other one may come again");
    ledger.handle_workers(1, ms(4));
    assert_eq!(ledger.counts().retries, 1);
    // The end of a stop is no end of an attempt.
    let second = deliver(&mut ledger);
    ledger.handle_workers(2, ms(5));
    ledger.handle_stopping();
    fail(&mut ledger, second[0], ms(6));
    ledger.handle_workers(1, ms(7));
    let counts = ledger.counts();
    assert_eq!((counts.waiting, counts.retries, counts.dead), (1, 1, 0));
}

fn a_copy_that_fails_does_not_fail_the_item() {
    let (mut ledger, _) = ledger(Copies::first(2), 2, 1);
    let copies = deliver(&mut ledger);
    fail(&mut ledger, copies[0], ms(1));
    assert_eq!(ledger.counts().retries, 0);
    assert!(deliver(&mut ledger).is_empty(), "it is not replaced");
    done(&mut ledger, copies[1], 7);
    let told = ends(&mut ledger);
    assert_eq!(told, [(1, CopyEnd::Failed), (2, CopyEnd::Counted)]);
    assert_eq!((ledger.counts().done, ledger.counts().retries), (1, 0));
}

fn an_attempt_is_over_when_all_copies_have_failed() {
    let (mut ledger, _) = ledger(Copies::first(2), 2, 1);
    for attempt in 1..=2 {
        let copies = deliver(&mut ledger);
        assert_eq!(copies.len(), 2);
        assert!(copies.iter().all(|copy| copy.attempt == attempt));
        fail(&mut ledger, copies[1], ms(1));
        fail(&mut ledger, copies[0], ms(2));
    }
    let counts = ledger.counts();
    assert_eq!((counts.retries, counts.dead, counts.leased), (1, 1, 0));
    let told = reports(&mut ledger);
    let Some(Report::Dead(letter)) = told.last() else {
        panic!("{told:?}");
    };
    assert_eq!(letter.history.len(), 2, "one for each attempt");
    let cause = &letter.history[0].cause;
    assert_eq!(
        cause.to_string(),
        "all 2 copies failed: copy 2 failed, no; copy 1 failed, no"
    );
    assert!(!cause.is_loss() && !cause.is_final() && cause.exit().is_none());
}

fn as_many_copies_as_there_are_workers() {
    let (mut ledger, _) = ledger(Copies::first(5), 1, 1);
    let copies = deliver(&mut ledger);
    assert_eq!(copies.len(), 1);
    // Another one that comes meanwhile gets one as well.
    ledger.join_worker(Credit::adaptive());
    assert_eq!(deliver(&mut ledger)[0].copy, 2);
    fail(&mut ledger, copies[0], ms(1));
    assert_eq!(ledger.counts().retries, 0);
}

fn an_item_with_copies_waits_for_an_idle_worker() {
    let (mut ledger, _) = ledger(Copies::first(2), 1, 3);
    let first = deliver(&mut ledger);
    assert_eq!(first.len(), 1, "nothing is handed out in advance");
    done(&mut ledger, first[0], 1);
    assert_eq!(deliver(&mut ledger).len(), 1);
}

fn a_result_counts_when_enough_agree() {
    let (mut ledger, _) = ledger(Copies::agree(2, 3), 3, 1);
    let copies = deliver(&mut ledger);
    done(&mut ledger, copies[0], 7);
    assert_eq!((ledger.counts().done, ledger.counts().leased), (0, 1));
    done(&mut ledger, copies[2], 7);
    assert_eq!(ledger.counts().done, 1);
    assert_eq!(stopped(&mut ledger), [copies[1]]);
    let told = ends(&mut ledger);
    let expected = [
        (2, CopyEnd::Cancelled),
        (1, CopyEnd::Agreed),
        (3, CopyEnd::Counted),
    ];
    assert_eq!(told, expected);
}

fn what_copies_said_is_told_when_the_end_of_their_item_is_durable() {
    for answers in [[7, 7], [7, 8]] {
        let options = Options::default()
            .copies(Copies::agree(2, 2))
            .max_attempts(1);
        let mut ledger = Votes::resume(options, Recovered::default());
        for _ in 0..2 {
            ledger.join_worker(Credit::adaptive());
        }
        let write = |ledger: &mut Votes| {
            let write = ledger.poll_write().expect("there is something to write");
            ledger.handle_written(write.number);
        };
        ledger.put(Dish::default(), false).expect("there is room");
        write(&mut ledger);
        for (copy, answer) in deliver(&mut ledger).into_iter().zip(answers) {
            done(&mut ledger, copy, answer);
        }
        assert_eq!(reports(&mut ledger), [], "a kill now would run them again");
        write(&mut ledger);
        let told = reports(&mut ledger);
        let are_copies = told.iter().map(|one| matches!(one, Report::Copy(_)));
        assert_eq!(
            are_copies.collect::<Vec<_>>(),
            [true, true, false],
            "{told:?}"
        );
    }
}

fn who_disagrees_is_told() {
    let (mut ledger, _) = ledger(Copies::agree(2, 3), 3, 1);
    let copies = deliver(&mut ledger);
    for (copy, result) in copies.iter().zip([7, 8, 7]) {
        done(&mut ledger, *copy, result);
    }
    let told = ends(&mut ledger);
    let wrong = CopyEnd::Disagreed {
        said: "8".into(),
        counted: "7".into(),
    };
    assert_eq!(told[1], (2, wrong));
    assert_eq!(ledger.counts().done, 1);
}

fn no_agreement_is_a_failed_attempt_that_says_what_differed() {
    let (mut ledger, _) = ledger(Copies::agree(2, 3), 3, 1);
    let copies = deliver(&mut ledger);
    done(&mut ledger, copies[0], 7);
    done(&mut ledger, copies[1], 8);
    fail(&mut ledger, copies[2], ms(1));
    assert_eq!((ledger.counts().done, ledger.counts().retries), (0, 1));
    let told = reports(&mut ledger);
    let Some(Report::Retry { failure, .. }) = told.last() else {
        panic!("{told:?}");
    };
    let words = "no 2 of 3 copies agree: copy 1 says 7; copy 2 says 8; copy 3 failed, no";
    assert_eq!((failure.attempt, &*failure.cause.to_string()), (1, words));
    assert!(!failure.cause.is_loss());
    assert_eq!(deliver(&mut ledger).len(), 3, "the next attempt");
}

fn what_cannot_agree_any_more_is_not_waited_for() {
    let (mut ledger, _) = ledger(Copies::agree(3, 3), 3, 1);
    let copies = deliver(&mut ledger);
    done(&mut ledger, copies[0], 7);
    done(&mut ledger, copies[1], 8);
    assert_eq!(ledger.counts().retries, 1);
    assert_eq!(stopped(&mut ledger), [copies[2]]);
}

fn a_third_opinion_waits_for_a_worker_that_has_not_spoken() {
    let (mut ledger, workers) = ledger(Copies::agree(2, 3), 2, 2);
    let copies = deliver(&mut ledger);
    done(&mut ledger, copies[0], 7);
    done(&mut ledger, copies[1], 8);
    // Those that have spoken go on with the next item.
    assert_eq!(ledger.counts().retries, 0);
    let next = deliver(&mut ledger);
    assert!(next.iter().all(|copy| copy.id == ItemId(2)), "{next:?}");
    assert_eq!(next.len(), workers.len());
    let third = ledger.join_worker(Credit::adaptive());
    let more = deliver(&mut ledger);
    assert_eq!((more[0].id, more[0].holder), (ItemId(1), third));
    done(&mut ledger, more[0], 8);
    assert_eq!(ledger.counts().done, 1);
}

fn what_too_few_workers_cannot_agree_on_is_not_begun() {
    let (mut ledger, _) = ledger(Copies::agree(2, 2), 1, 1);
    ledger.handle_workers(1, Duration::ZERO);
    assert!(deliver(&mut ledger).is_empty());
    assert_eq!(ledger.lack_of_workers(), Some((2, 1)));
    // Another supervisor begins.
    ledger.handle_workers(2, ms(1));
    assert_eq!(ledger.lack_of_workers(), None);
    ledger.join_worker(Credit::adaptive());
    assert_eq!(deliver(&mut ledger).len(), 2);
}

fn a_vote_that_a_worker_is_lacking_for_waits_and_charges_nobody() {
    let (mut ledger, _) = ledger(Copies::agree(2, 2), 1, 1);
    ledger.handle_workers(2, Duration::ZERO);
    let copies = deliver(&mut ledger);
    done(&mut ledger, copies[0], 7);
    assert_eq!(ledger.lack_of_workers(), None, "a worker is about to come");
    ledger.handle_workers(1, ms(5));
    assert_eq!(ledger.check(), Ok(()));
    let counts = ledger.counts();
    assert_eq!((counts.retries, counts.dead, counts.leased), (0, 0, 1));
    assert_eq!(ledger.lack_of_workers(), Some((2, 1)));
    // What was said before counts when there are more workers again.
    ledger.handle_workers(2, ms(6));
    ledger.join_worker(Credit::adaptive());
    let second = deliver(&mut ledger);
    assert_eq!((second.len(), second[0].copy), (1, 2));
    done(&mut ledger, second[0], 7);
    assert_eq!((ledger.counts().done, ledger.counts().retries), (1, 0));
}

/// No third worker is there, or will be, for a third opinion.
fn as_many_copies_as_there_are_workers_may_not_agree() {
    let vote = Copies::agree(2, 3);
    for policy in [vote, vote.hedge_after(Hedge::After(ms(100)))] {
        let (mut ledger, _) = ledger(policy, 2, 1);
        ledger.handle_workers(2, Duration::ZERO);
        let copies = deliver(&mut ledger);
        done(&mut ledger, copies[0], 7);
        done(&mut ledger, copies[1], 8);
        assert_eq!(
            (ledger.counts().retries, ledger.lack_of_workers()),
            (1, None)
        );
        // A third one dies, and one of the others is given up on: now it is a lack of workers.
        ledger.handle_workers(3, ms(1));
        let copies = deliver(&mut ledger);
        done(&mut ledger, copies[0], 7);
        done(&mut ledger, copies[1], 8);
        ledger.handle_workers(1, ms(2));
        assert_eq!(
            (ledger.counts().dead, ledger.lack_of_workers()),
            (0, Some((2, 1)))
        );
        let worker = ledger.join_worker(Credit::adaptive());
        ledger.handle_workers(3, ms(3));
        let third = deliver(&mut ledger);
        assert_eq!(
            (third.len(), third[0].holder, third[0].attempt),
            (1, worker, 2)
        );
        done(&mut ledger, third[0], 8);
        assert_eq!(ledger.counts().done, 1);
    }
}

fn a_lack_of_workers_is_told_once_and_is_all_that_is_left() {
    let mut ledger = Votes::new(Options::default());
    let worker = ledger.join_worker(Credit::adaptive());
    let vote = Dish(Some(Copies::agree(3, 3)));
    for dish in [Dish::default(), vote, vote, Dish::default()] {
        ledger.put(dish, false).expect("there is room");
    }
    ledger.handle_workers(1, Duration::ZERO);
    let plain = deliver(&mut ledger);
    assert_eq!((plain.len(), plain[0].id), (1, ItemId(1)));
    assert_eq!(ledger.lack_of_workers(), None, "the worker has something");
    done(&mut ledger, plain[0], 7);
    assert!(deliver(&mut ledger).is_empty());
    assert_eq!(ledger.lack_of_workers(), Some((3, 1)));
    let told = iter::from_fn(|| ledger.poll_notice()).collect::<Vec<_>>();
    let (needed, workers) = (3, 1);
    assert_eq!(told, [Notice::TooFewWorkers { needed, workers }]);
    // An operator may help, and a stop is no lack.
    for id in [2, 3] {
        ledger.handle_cancel(ItemId(id), Scene::default());
    }
    let plain = deliver(&mut ledger);
    assert_eq!((plain[0].id, plain[0].holder), (ItemId(4), worker));
    assert_eq!(ledger.lack_of_workers(), None);
}

fn copies_agree_on_a_failure() {
    let (mut ledger, _) = ledger(Copies::agree(2, 3), 3, 1);
    let copies = deliver(&mut ledger);
    fail(&mut ledger, copies[0], ms(1));
    assert_eq!((ledger.counts().retries, ledger.counts().leased), (0, 1));
    fail(&mut ledger, copies[2], ms(2));
    assert_eq!(ledger.counts().retries, 1);
    assert_eq!(stopped(&mut ledger), [copies[1]]);
    let told = reports(&mut ledger);
    let Some(Report::Retry { failure, .. }) = told.last() else {
        panic!("{told:?}");
    };
    assert_eq!(failure.cause, nack().cause, "one failed attempt");
    assert_eq!(ledger.handle_return(copies[1].token), Err(Stale));
    // Another failure is another word.
    let copies = deliver(&mut ledger);
    fail(&mut ledger, copies[0], ms(3));
    let other = Blame::from(Cause::Nack("yes".into()));
    let answer = ledger.handle_nack(copies[1].token, other, None, ms(3));
    assert_eq!((answer, ledger.counts().dead), (Ok(()), 0));
    done(&mut ledger, copies[2], 7);
    assert_eq!(ledger.counts().dead, 1);
    let told = ends(&mut ledger);
    let expected = [
        (1, CopyEnd::Failed),
        (2, CopyEnd::Failed),
        (3, CopyEnd::Void),
    ];
    assert_eq!(told, expected);
}

/// The result of a command with an exit code other than 0: what it has printed can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Printed(u64, i32);

impl Ballot for Printed {
    fn agrees(&self, other: &Self) -> bool {
        self == other
    }

    fn describe(&self) -> String {
        format!("{} with {}", self.0, self.1)
    }

    fn failure(&self) -> Option<Cause> {
        (self.1 != 0).then(|| Cause::Nack(format!("code {}", self.1)))
    }
}

fn a_result_may_say_that_the_attempt_has_failed() {
    let results = |copies: Copies, printed: &[Printed]| {
        let options = Options::default().copies(copies).max_attempts(1);
        let mut ledger = Ledger::<Dish, Printed>::new(options);
        for _ in printed {
            ledger.join_worker(Credit::adaptive());
        }
        ledger.put(Dish::default(), false).expect("there is room");
        let copies: Vec<Handed> = iter::from_fn(|| ledger.poll_delivery()).collect();
        for (copy, printed) in copies.iter().zip(printed) {
            let answer = ledger.done(copy.token, SERVICE, Some(*printed));
            assert_eq!(answer, Ok(()));
            assert_eq!(ledger.check(), Ok(()));
        }
        let (mut ends, mut cause) = (Vec::new(), None);
        while let Some(report) = ledger.poll_report() {
            match report {
                Report::Copy(copy) => ends.push((copy.end, copy.cause.is_some())),
                Report::Dead(letter) => cause = Some(letter.history[0].cause.to_string()),
                _ => {}
            }
        }
        (ends, cause)
    };
    let vote = Copies::agree(2, 3);
    let (ends, cause) = results(vote, &[Printed(7, 3), Printed(7, 0), Printed(7, 3)]);
    assert_eq!(cause.as_deref(), Some("code 3"));
    let differs = CopyEnd::Disagreed {
        said: "7 with 0".into(),
        counted: "7 with 3".into(),
    };
    let expected = [
        (CopyEnd::Agreed, true),
        (differs, false),
        (CopyEnd::Counted, true),
    ];
    assert_eq!(ends, expected);
    // The same code with another output is another result.
    let (_, cause) = results(Copies::agree(2, 2), &[Printed(7, 3), Printed(8, 3)]);
    let words = "no 2 of 2 copies agree: copy 1 says 7 with 3; copy 2 says 8 with 3";
    assert_eq!(cause.as_deref(), Some(words));
    // Where nothing is compared it is a failure like any other.
    let (ends, cause) = results(Copies::first(2), &[Printed(7, 3), Printed(7, 0)]);
    assert_eq!(ends, [(CopyEnd::Failed, true), (CopyEnd::Counted, false)]);
    assert_eq!(cause, None);
}

fn failures_from_outside_are_no_votes() {
    let (mut ledger, workers) = ledger(Copies::agree(2, 2), 2, 1);
    let copies = deliver(&mut ledger);
    let crash = Blame::from(Cause::WorkerDied(Exit::Signaled(11)));
    for (worker, copy) in workers.iter().zip(&copies) {
        let started = Started::at(copy.ordinal);
        ledger.handle_leave(*worker, started, Some(&crash), ms(1));
    }
    let told = reports(&mut ledger);
    let Some(Report::Retry { failure, .. }) = told.last() else {
        panic!("{told:?}");
    };
    let words = "no 2 copies can agree any more: copy 1 failed, killed by SIGSEGV";
    assert_eq!(
        failure.cause.to_string(),
        words,
        "the second one does not matter"
    );
    assert!(failure.cause.is_loss());
}

fn a_second_copy_is_made_when_the_first_takes_long() {
    let policy = Copies::first(2).hedge_after(Hedge::After(ms(100)));
    let (mut ledger, _) = ledger(policy, 2, 1);
    ledger.handle_timeout(ms(1000));
    assert!(ledger.needs_time());
    let first = deliver(&mut ledger);
    assert_eq!(first.len(), 1);
    assert_eq!(ledger.poll_timeout(), Some(ms(1100)));
    ledger.handle_timeout(ms(1099));
    assert!(deliver(&mut ledger).is_empty());
    ledger.handle_timeout(ms(1100));
    let second = deliver(&mut ledger);
    assert_eq!((second.len(), second[0].copy), (1, 2));
    assert_eq!(ledger.poll_timeout(), None);
    done(&mut ledger, second[0], 7);
    assert_eq!(stopped(&mut ledger), first);
}

fn a_second_copy_is_made_when_the_first_takes_longer_than_most() {
    let policy = Copies::first(2).hedge_after(Hedge::quantile(0.95));
    let (mut ledger, _) = ledger(policy, 2, 21);
    for _ in 0..20 {
        assert_eq!(ledger.poll_timeout(), None, "it is not known what is usual");
        let handed = deliver(&mut ledger);
        done(&mut ledger, handed[0], 7);
        if let Some(other) = handed.get(1) {
            assert_eq!(ledger.handle_return(other.token), Ok(()));
        }
    }
    ledger.handle_timeout(ms(500));
    assert_eq!(deliver(&mut ledger).len(), 1);
    let due = ledger.poll_timeout().expect("it is known now") - ms(500);
    assert!((SERVICE..SERVICE * 17 / 16).contains(&due), "{due:?}");
    ledger.handle_timeout(ms(500) + due);
    assert_eq!(deliver(&mut ledger).len(), 1);
}

fn no_backup_is_made_while_others_wait_unless_it_is_pressing() {
    let hedged = Copies::first(2).hedge_after(Hedge::After(ms(100)));
    for policy in [hedged, hedged.pressing()] {
        let (mut ledger, _) = ledger(policy, 2, 4);
        let first = deliver(&mut ledger);
        ledger.handle_timeout(ms(100));
        assert!(deliver(&mut ledger).is_empty(), "nobody is idle");
        done(&mut ledger, first[1], 7);
        let next = deliver(&mut ledger);
        let is_backup = next[0].id == first[0].id;
        assert_eq!((next.len(), is_backup), (1, policy.is_pressing()));
    }
}

fn a_third_opinion_is_asked_for_however_many_wait() {
    let policy = Copies::agree(2, 3).hedge_after(Hedge::After(Duration::from_secs(9)));
    let (mut ledger, _) = ledger(policy, 3, 9);
    let first = deliver(&mut ledger);
    let ids: Vec<ItemId> = first.iter().map(|copy| copy.id).collect();
    assert_eq!(ids, [1, 1, 2].map(ItemId));
    for (copy, result) in first.iter().zip([7, 8, 7]) {
        done(&mut ledger, *copy, result);
    }
    let next = deliver(&mut ledger);
    let third = next.iter().find(|copy| copy.id == ItemId(1));
    let third = third.expect("its copies disagree, and a worker that has not spoken is idle");
    assert_eq!(third.holder, first[2].holder);
    done(&mut ledger, *third, 8);
    assert_eq!(ledger.counts().done, 1);
}

/// The second worker is there only when the first copy has ended.
fn no_third_opinion_is_asked_for_before_the_second_is_heard() {
    let policy = Copies::agree(2, 3).hedge_after(Hedge::After(Duration::from_secs(9)));
    let (mut ledger, _) = ledger(policy, 1, 1);
    ledger.handle_workers(3, Duration::ZERO);
    let first = deliver(&mut ledger);
    done(&mut ledger, first[0], 7);
    for _ in 0..2 {
        ledger.join_worker(Credit::adaptive());
    }
    let second = deliver(&mut ledger);
    assert_eq!((second.len(), second[0].copy), (1, 2));
    done(&mut ledger, second[0], 8);
    assert_eq!(deliver(&mut ledger)[0].copy, 3);
}

fn a_backup_that_comes_too_late_is_not_made() {
    let policy = Copies::first(2).hedge_after(Hedge::After(ms(100)));
    let (mut ledger, _) = ledger(policy, 2, 1);
    let first = deliver(&mut ledger);
    fail(&mut ledger, first[0], ms(50));
    assert_eq!(ledger.counts().retries, 1, "its attempt is over");
    let again = deliver(&mut ledger);
    assert_eq!((again.len(), again[0].attempt), (1, 2));
    assert_eq!(ledger.poll_timeout(), Some(ms(150)));
}

fn copies_of_a_stopped_worker_are_given_to_another_one() {
    let (mut ledger, workers) = ledger(Copies::first(2), 2, 1);
    let copies = deliver(&mut ledger);
    ledger.handle_leave(workers[0], Started::default(), None, ms(1));
    let third = ledger.join_worker(Credit::adaptive());
    let more = deliver(&mut ledger);
    assert_eq!((more[0].holder, more[0].copy), (third, 1));
    // When none runs any more, the item waits again, uncounted.
    ledger.handle_leave(third, Started::default(), None, ms(1));
    assert_eq!(ledger.handle_return(copies[1].token), Ok(()));
    let counts = ledger.counts();
    assert_eq!((counts.waiting, counts.leased, counts.retries), (1, 0, 0));
}

fn the_death_of_a_worker_is_the_failure_of_its_copy() {
    let (mut ledger, workers) = ledger(Copies::first(2), 2, 1);
    let copies = deliver(&mut ledger);
    let started = Started::at(copies[0].ordinal);
    let crash = Blame::from(Cause::WorkerDied(Exit::Signaled(11)));
    let charged = ledger.handle_leave(workers[0], started, Some(&crash), ms(1));
    assert_eq!((charged, ledger.counts().retries), (1, 0));
    done(&mut ledger, copies[1], 7);
    assert_eq!(ledger.counts().done, 1);
}

fn a_store_acknowledges_a_copy() {
    let (mut ledger, workers) = ledger(Copies::first(2), 2, 1);
    let copies = deliver(&mut ledger);
    ledger.handle_done_through(workers[1], copies[1].ordinal, SERVICE);
    assert_eq!((ledger.counts().done, ledger.counts().leased), (1, 0));
    assert_eq!(stopped(&mut ledger), [copies[0]]);
    ledger.handle_done_through(workers[0], copies[0].ordinal, SERVICE);
    assert_eq!((ledger.counts().done, ledger.counts().refused), (1, 1));
    assert_eq!(ledger.check(), Ok(()));
    assert_eq!(ledger.busy(), 0);
}

fn a_cancelled_item_has_all_its_copies_stopped() {
    let (mut ledger, _) = ledger(Copies::first(3), 3, 1);
    let copies = deliver(&mut ledger);
    let answer = ledger.handle_cancel(ItemId(1), Scene::default());
    assert_eq!(answer, Cancelled::Leased(copies[0]));
    assert_eq!(stopped(&mut ledger), copies[1..]);
    let counts = ledger.counts();
    assert_eq!((counts.dead, counts.leased), (1, 0));
    assert_eq!(ledger.check(), Ok(()));
    let dead = reports(&mut ledger).into_iter().filter(is_dead).count();
    assert_eq!(dead, 1);
}

fn is_dead(report: &Report<Dish, u64>) -> bool {
    matches!(report, Report::Dead(_))
}

fn a_lost_item_has_all_its_copies_stopped() {
    let options = Options::default().copies(Copies::first(2));
    let mut ledger = Votes::share(options);
    for _ in 0..2 {
        ledger.join_worker(Credit::adaptive());
    }
    ledger.handle_arrival(dishrack_core::ledger::Unfinished {
        id: ItemId(9),
        payload: Dish::default(),
        history: Vec::new(),
        forgiven: 0,
    });
    let copies = deliver(&mut ledger);
    ledger.handle_lost(ItemId(9), dishrack_core::ledger::Fate::Open);
    assert_eq!(stopped(&mut ledger), copies);
    assert_eq!(ledger.counts().accepted, 0);
    assert_eq!(ledger.check(), Ok(()));
}

fn an_item_chooses_for_itself() {
    let mut ledger = Votes::new(Options::default());
    for _ in 0..2 {
        ledger.join_worker(Credit::adaptive());
    }
    assert!(!ledger.needs_time());
    for choice in [None, Some(Copies::first(2)), Some(Copies::first(1))] {
        ledger.put(Dish(choice), false).expect("there is room");
    }
    assert!(ledger.needs_time());
    let first = deliver(&mut ledger);
    let ids = |handed: &[Handed]| -> Vec<u64> { handed.iter().map(|one| one.id.0).collect() };
    assert_eq!(ids(&first), [1, 2]);
    done(&mut ledger, first[0], 1);
    let second = deliver(&mut ledger);
    assert_eq!((ids(&second), second[0].copy), (vec![2], 2));
    done(&mut ledger, second[0], 2);
    assert_eq!(ids(&deliver(&mut ledger)), [3], "there is one of it");
}

fn no_turn_goes_on_after_a_copy() {
    let mut ledger = Votes::new(Options::default());
    for _ in 0..2 {
        ledger.join_worker(Credit::adaptive());
    }
    for choice in [None, Some(Copies::first(2)), None, None] {
        ledger.put(Dish(choice), false).expect("there is room");
    }
    for expected in [1, 2] {
        let handed = ledger.poll_delivery().expect("a worker is idle");
        assert_eq!(handed.id, ItemId(expected));
        ledger.poll_turn(|more, _| panic!("{more:?} follows {handed:?}"));
    }
}

fn a_get_takes_a_copy_too() {
    let (mut ledger, _) = ledger(Copies::agree(2, 2), 0, 1);
    let getters = [ledger.join_getter(), ledger.join_getter()];
    let first = ledger.handle_get(getters[0]).expect("it waits");
    assert_eq!(ledger.handle_get(getters[0]), None, "it has one");
    let second = ledger.handle_get(getters[1]).expect("one is left");
    assert_eq!((first.copy, second.copy), (1, 2));
    done(&mut ledger, first, 7);
    done(&mut ledger, second, 7);
    assert_eq!(ledger.counts().done, 1);
}

fn threads_of_one_process_may_take_several_copies() {
    let (mut ledger, _) = ledger(Copies::agree(2, 2), 0, 1);
    ledger.handle_workers(0, Duration::ZERO);
    let threads = ledger.handle_join_threads();
    let first = ledger.handle_get(threads).expect("it waits");
    done(&mut ledger, first, 7);
    let second = ledger.handle_get(threads).expect("another copy");
    done(&mut ledger, second, 7);
    assert_eq!(ledger.counts().done, 1);
}

fn copies_are_one_item_in_all_counts() {
    let (mut ledger, _) = ledger(Copies::agree(2, 3), 3, 2);
    let copies = deliver(&mut ledger);
    assert_eq!(ledger.unfinished_ids(), [ItemId(2), ItemId(1)]);
    done(&mut ledger, copies[0], 7);
    assert_eq!((ledger.counts().leased, ledger.counts().waiting), (1, 1));
    assert_eq!(ledger.counts().unfinished(), 2);
    assert!(!ledger.is_finished());
}

fn a_stop_of_the_run_charges_no_copy() {
    let (mut ledger, workers) = ledger(Copies::first(2), 2, 1);
    let copies = deliver(&mut ledger);
    ledger.handle_stopping();
    let killed = Blame::from(Cause::WorkerDied(Exit::Signaled(15)));
    for (worker, copy) in workers.iter().zip(copies) {
        let started = Started::at(copy.ordinal);
        ledger.handle_leave(*worker, started, Some(&killed), ms(1));
    }
    let counts = ledger.counts();
    assert_eq!((counts.waiting, counts.retries, counts.dead), (1, 0, 0));
    assert_eq!(ledger.check(), Ok(()));
}
