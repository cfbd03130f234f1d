//! Admission by room: readings in, items out. Time is a number.

use std::time::Duration;

use dishrack_core::ledger::{
    AdmissionRules, Credit, Handed, ItemId, Ledger, Options, Readings, WaitsFor,
};
use proptest::prelude::*;

use super::{Bytes, NO_TIME, deliver, ids, put};
use crate::steps::Steps as _;

crate::trials! {
    nothing_begins_without_a_reading,
    as_many_begin_together_as_there_is_room_for,
    what_has_begun_just_now_is_taken_to_need_its_room,
    one_begins_whatever_is_read,
    the_load_admits_up_to_its_number,
    pressure_admits_all_or_nothing,
    every_rule_must_admit_it,
    a_reading_is_due_when_something_waits_and_not_otherwise,
    an_end_makes_a_reading_due_at_once,
    threads_are_admitted_by_themselves,
    whatever_is_read_all_is_done_and_no_more_than_fits_begins,
}

const MIB: u64 = 1 << 20;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ledger(rules: AdmissionRules, workers: usize) -> Bytes {
    let mut ledger = Ledger::new(Options::default());
    ledger.handle_admission(rules);
    for _ in 0..workers {
        ledger.join_worker(Credit::single());
    }
    ledger
}

fn free(mib: u64) -> Readings {
    Readings {
        memory_free: mib * MIB,
        ..Readings::default()
    }
}

/// Hands out what these readings admit.
fn read(ledger: &mut Bytes, readings: Readings, now: Duration) -> Vec<Handed> {
    ledger.handle_readings(readings, now);
    let handed = deliver(ledger);
    ledger.handle_admitted();
    handed
}

fn end(ledger: &mut Bytes, handed: Handed) {
    ledger.done(handed.token, NO_TIME, None).expect("held");
}

fn nothing_begins_without_a_reading() {
    let mut ledger = ledger(AdmissionRules::default().memory_free(MIB), 2);
    put(&mut ledger, 3);
    assert_eq!(deliver(&mut ledger), []);
    assert_eq!(ledger.appetite(), 0, "for no more than wait");
    let begun = read(&mut ledger, free(100), ms(1));
    assert_eq!(ids(&begun), [1, 2]);
    end(&mut ledger, begun[0]);
    assert_eq!(deliver(&mut ledger), []);
}

fn as_many_begin_together_as_there_is_room_for() {
    let mut ledger = ledger(AdmissionRules::default().memory_free(100 * MIB), 9);
    put(&mut ledger, 9);
    assert_eq!(read(&mut ledger, free(399), ms(1)).len(), 3);
}

fn what_has_begun_just_now_is_taken_to_need_its_room() {
    let mut ledger = ledger(AdmissionRules::default().memory_free(100 * MIB), 9);
    put(&mut ledger, 9);
    let begun = read(&mut ledger, free(250), ms(0));
    assert_eq!(begun.len(), 2);
    assert_eq!(read(&mut ledger, free(299), ms(1600)), []);
    assert_eq!(read(&mut ledger, free(300), ms(1600)).len(), 1);
    // One that is over needs nothing any more.
    end(&mut ledger, begun[0]);
    assert_eq!(read(&mut ledger, free(299), ms(1800)), []);
    assert_eq!(read(&mut ledger, free(300), ms(1800)).len(), 1);
    // Later what it uses is seen.
    assert_eq!(read(&mut ledger, free(100), ms(4000)).len(), 1);
    assert_eq!(read(&mut ledger, free(99), ms(6500)), []);
}

fn one_begins_whatever_is_read() {
    let rules = AdmissionRules::default()
        .memory_free(MIB)
        .load(0)
        .pressure(0);
    let mut ledger = ledger(rules, 3);
    put(&mut ledger, 2);
    let begun = read(&mut ledger, Readings::default(), ms(1));
    assert_eq!(ids(&begun), [1]);
    assert_eq!(read(&mut ledger, Readings::default(), ms(999)), []);
    assert_eq!(ledger.waits_for(ItemId(2)), Some(WaitsFor::Room));
    end(&mut ledger, begun[0]);
    assert_eq!(ids(&read(&mut ledger, Readings::default(), ms(1000))), [2]);
}

fn the_load_admits_up_to_its_number() {
    let mut ledger = ledger(AdmissionRules::default().load(4), 9);
    put(&mut ledger, 9);
    let running = |load| Readings {
        load,
        ..Readings::default()
    };
    assert_eq!(read(&mut ledger, running(2), ms(0)).len(), 2);
    assert_eq!(
        read(&mut ledger, running(2), ms(10)),
        [],
        "they do not show"
    );
    assert_eq!(read(&mut ledger, running(3), ms(30)).len(), 1);
    assert_eq!(read(&mut ledger, running(4), ms(900)), []);
}

fn pressure_admits_all_or_nothing() {
    let mut ledger = ledger(AdmissionRules::default().pressure(10), 9);
    put(&mut ledger, 9);
    let waits = |pressure| Readings {
        pressure,
        ..Readings::default()
    };
    assert_eq!(
        read(&mut ledger, waits(90), ms(0)).len(),
        1,
        "the first one"
    );
    assert_eq!(read(&mut ledger, waits(10), ms(0)), []);
    assert_eq!(read(&mut ledger, waits(9), ms(0)).len(), 8);
}

fn every_rule_must_admit_it() {
    let rules = AdmissionRules::default().memory_free(MIB).load(4);
    let mut ledger = ledger(rules, 9);
    put(&mut ledger, 9);
    let readings = Readings {
        memory_free: 3 * MIB,
        load: 2,
        pressure: 99,
    };
    assert_eq!(read(&mut ledger, readings, ms(0)).len(), 2);
}

fn a_reading_is_due_when_something_waits_and_not_otherwise() {
    let mut plain: Bytes = Ledger::new(Options::default());
    plain.join_worker(Credit::single());
    put(&mut plain, 1);
    assert_eq!(plain.poll_reading(), None);
    let mut ledger = ledger(AdmissionRules::default().memory_free(MIB), 1);
    assert_eq!(ledger.poll_reading(), None);
    put(&mut ledger, 2);
    assert_eq!(ledger.poll_reading(), Some(ms(0)));
    ledger.handle_pause();
    assert_eq!(ledger.poll_reading(), None);
    ledger.handle_unpause();
    assert_eq!(read(&mut ledger, free(9), ms(5)).len(), 1);
    assert_eq!(ledger.poll_reading(), None, "nobody is idle");
    ledger.join_worker(Credit::single());
    assert_eq!(ledger.poll_reading(), Some(ms(105)));
}

fn an_end_makes_a_reading_due_at_once() {
    let mut ledger = ledger(AdmissionRules::default().memory_free(MIB), 3);
    put(&mut ledger, 3);
    let begun = read(&mut ledger, free(2), ms(5));
    assert_eq!(ledger.poll_reading(), Some(ms(105)));
    end(&mut ledger, begun[0]);
    assert_eq!(ledger.poll_reading(), Some(ms(0)));
    assert_eq!(read(&mut ledger, free(0), ms(6)), []);
    assert_eq!(ledger.poll_reading(), Some(ms(106)));
}

fn threads_are_admitted_by_themselves() {
    let mut ledger = ledger(AdmissionRules::default().memory_free(MIB), 1);
    let threads = ledger.handle_join_threads();
    put(&mut ledger, 2);
    assert!(ledger.handle_get(threads).is_some());
    let begun = read(&mut ledger, free(0), ms(5));
    assert_eq!(begun.len(), 1, "no worker is at anything");
}

fn whatever_is_read_all_is_done_and_no_more_than_fits_begins() {
    proptest!(|(
        workers in 1_usize..6,
        steps in prop::collection::vec((0_u64..8, any::<usize>(), 0_u64..700), 1..60),
    )| {
        let mut ledger = ledger(AdmissionRules::default().memory_free(MIB), workers);
        put(&mut ledger, 20);
        let mut held: Vec<(Handed, Duration)> = Vec::new();
        let mut now = ms(0);
        let rest = std::iter::repeat_n((0, 0, 100), 60);
        for (mib, which, pause) in steps.into_iter().chain(rest) {
            now += ms(pause);
            let before = held.len();
            let young = held.iter().filter(|(_, at)| *at + ms(2000) > now).count() as u64;
            let begun = read(&mut ledger, free(mib), now);
            let fitting = mib.saturating_sub(young).max(u64::from(before == 0));
            prop_assert!(begun.len() as u64 <= fitting);
            held.extend(begun.into_iter().map(|handed| (handed, now)));
            prop_assert!(!held.is_empty() || ledger.counts().waiting == 0, "it hangs");
            if !held.is_empty() {
                let (handed, _) = held.swap_remove(which % held.len());
                end(&mut ledger, handed);
            }
            prop_assert_eq!(ledger.check(), Ok(()));
        }
        prop_assert_eq!(ledger.counts().unfinished(), 0);
    });
}
