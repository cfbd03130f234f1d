//! Admission by tokens: tokens in, items out, tokens back.

use std::time::Duration;

use dishrack_core::ledger::{
    AdmissionRules, Credit, Handed, HolderId, ItemId, Ledger, Options, Readings, Started, WaitsFor,
};
use proptest::prelude::*;

use super::{Bytes, NO_TIME, deliver, ids, put};
use crate::steps::Steps as _;

crate::trials! {
    one_item_runs_without_a_token,
    each_other_item_needs_a_token_of_its_own,
    a_token_goes_back_when_an_item_is_over_though_others_wait,
    a_token_that_nothing_waits_for_goes_back,
    a_token_of_a_dead_worker_goes_back,
    nothing_is_read_of_the_machine_before_there_is_a_token,
    whatever_happens_no_more_run_than_there_are_tokens_and_all_go_back,
}

fn ledger(workers: usize) -> (Bytes, Vec<HolderId>) {
    let mut ledger = Ledger::new(Options::default());
    ledger.handle_tokens(true);
    let joined = (0..workers).map(|_| ledger.join_worker(Credit::single()));
    let joined = joined.collect();
    (ledger, joined)
}

fn end(ledger: &mut Bytes, handed: Handed) {
    ledger.done(handed.token, NO_TIME, None).expect("held");
}

/// A worker is gone; what it held goes back.
fn leave(ledger: &mut Bytes, worker: HolderId) {
    ledger.handle_leave(worker, Started::default(), None, NO_TIME);
}

fn one_item_runs_without_a_token() {
    let (mut ledger, _) = ledger(4);
    assert!(!ledger.wants_token(), "nothing waits");
    put(&mut ledger, 2);
    assert!(!ledger.wants_token(), "the first one needs none");
    let first = deliver(&mut ledger);
    assert_eq!(ids(&first), [1]);
    assert!(ledger.wants_token());
    assert_eq!(ledger.waits_for(ItemId(2)), Some(WaitsFor::Token));
    end(&mut ledger, first[0]);
    assert!(!ledger.has_token_back());
    assert_eq!(ids(&deliver(&mut ledger)), [2]);
    assert!(!ledger.wants_token(), "nothing waits");
}

fn each_other_item_needs_a_token_of_its_own() {
    let (mut ledger, _) = ledger(3);
    put(&mut ledger, 5);
    assert_eq!(deliver(&mut ledger).len(), 1);
    for id in [2, 3] {
        assert!(ledger.wants_token());
        ledger.handle_token();
        assert!(!ledger.wants_token() && !ledger.poll_token_back());
        assert_eq!(ids(&deliver(&mut ledger)), [id]);
    }
    assert!(!ledger.wants_token(), "no worker is idle");
}

fn a_token_goes_back_when_an_item_is_over_though_others_wait() {
    let (mut ledger, _) = ledger(2);
    put(&mut ledger, 5);
    let first = deliver(&mut ledger);
    ledger.handle_token();
    deliver(&mut ledger);
    end(&mut ledger, first[0]);
    assert_eq!(deliver(&mut ledger), [], "it may be another one's turn");
    assert!(ledger.poll_token_back() && !ledger.poll_token_back());
    assert!(ledger.wants_token());
    assert_eq!(ledger.tokens(), 0);
}

fn a_token_that_nothing_waits_for_goes_back() {
    let (mut ledger, _) = ledger(2);
    put(&mut ledger, 2);
    let first = deliver(&mut ledger);
    ledger.handle_pause();
    ledger.handle_token();
    assert!(ledger.poll_token_back(), "all stand still");
    ledger.handle_unpause();
    ledger.handle_token();
    end(&mut ledger, first[0]);
    assert_eq!(ids(&deliver(&mut ledger)), [2]);
    assert!(ledger.poll_token_back(), "the last one needs none");
    assert!(!ledger.has_token_back());
}

fn a_token_of_a_dead_worker_goes_back() {
    let (mut ledger, workers) = ledger(2);
    put(&mut ledger, 3);
    deliver(&mut ledger);
    ledger.handle_token();
    deliver(&mut ledger);
    leave(&mut ledger, workers[0]);
    assert!(ledger.poll_token_back() && !ledger.poll_token_back());
    leave(&mut ledger, workers[1]);
    assert!(!ledger.has_token_back(), "the first one was without");
}

fn nothing_is_read_of_the_machine_before_there_is_a_token() {
    let (mut ledger, _) = ledger(2);
    ledger.handle_admission(AdmissionRules::default().memory_free(1));
    put(&mut ledger, 2);
    let readings = Readings {
        memory_free: 9,
        ..Readings::default()
    };
    ledger.handle_readings(readings, Duration::ZERO);
    assert_eq!(deliver(&mut ledger).len(), 1);
    ledger.handle_admitted();
    assert_eq!(ledger.poll_reading(), None);
    ledger.handle_token();
    assert!(ledger.poll_reading().is_some());
    assert_eq!(deliver(&mut ledger), []);
    ledger.handle_readings(readings, Duration::from_secs(9));
    assert_eq!(deliver(&mut ledger).len(), 1);
}

/// A step, with the worker or item that it is about.
#[derive(Debug, Clone, Copy)]
enum Step {
    Put,
    Token,
    Done(usize),
    Crash(usize),
    Pause,
    Unpause,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Put),
        4 => Just(Step::Token),
        4 => (0..8_usize).prop_map(Step::Done),
        1 => (0..8_usize).prop_map(Step::Crash),
        1 => Just(Step::Pause),
        2 => Just(Step::Unpause),
    ];
    proptest::collection::vec(step, 0..200)
}

fn whatever_happens_no_more_run_than_there_are_tokens_and_all_go_back() {
    proptest!(|(steps in steps())| {
        let (mut ledger, mut workers) = ledger(4);
        let mut running: Vec<Handed> = Vec::new();
        // As if there were three in all.
        let mut left = 3;
        for step in steps {
            match step {
                Step::Put => put(&mut ledger, 1),
                Step::Token if left > 0 && ledger.wants_token() => {
                    ledger.handle_token();
                    left -= 1;
                }
                Step::Token => {}
                Step::Done(at) if !running.is_empty() => {
                    let handed = running.remove(at % running.len());
                    end(&mut ledger, handed);
                }
                Step::Done(_) => {}
                Step::Crash(at) => {
                    let at = at % workers.len();
                    running.retain(|handed| handed.holder != workers[at]);
                    leave(&mut ledger, workers[at]);
                    workers[at] = ledger.join_worker(Credit::single());
                }
                Step::Pause => ledger.handle_pause(),
                Step::Unpause => ledger.handle_unpause(),
            }
            running.extend(deliver(&mut ledger));
            prop_assert!(running.len() <= 1 + ledger.tokens(), "{step:?}");
            while ledger.poll_token_back() {
                left += 1;
            }
            prop_assert_eq!(left + ledger.tokens(), 3);
            prop_assert!(running.len() <= 1 + ledger.tokens(), "{step:?}");
        }
        ledger.handle_unpause();
        running.extend(deliver(&mut ledger));
        while !running.is_empty() {
            end(&mut ledger, running.remove(0));
            running.extend(deliver(&mut ledger));
            while ledger.poll_token_back() {
                left += 1;
            }
        }
        prop_assert_eq!((left, ledger.counts().waiting), (3, 0));
    });
}
