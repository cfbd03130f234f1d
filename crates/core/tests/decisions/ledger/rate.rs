//! A rate of deliveries: what may begin when, and when to look again. Time is a number.

use std::time::Duration;

use dishrack_core::ledger::{Copies, Credit, Handed, Ledger, Options, Rate, WaitsFor};
use proptest::prelude::*;

use super::{Bytes, NO_TIME, SHORT, deliver, ids, put};
use crate::steps::Steps as _;

crate::trials! {
    items_begin_evenly,
    a_burst_begins_at_once_and_fills_up_again,
    a_second_attempt_and_a_copy_are_counted,
    threads_are_not_held_back,
    a_time_is_due_when_something_waits_for_it_and_not_otherwise,
    no_window_has_more_than_its_burst_and_its_rate,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn rated(rate: Rate, workers: usize, options: Options) -> Bytes {
    let mut ledger = Ledger::new(options);
    ledger.handle_rate(rate, NO_TIME);
    for _ in 0..workers {
        ledger.join_worker(Credit::single());
    }
    ledger
}

fn per_second(count: u32) -> Rate {
    Rate::new(count, Duration::from_secs(1))
}

fn at(ledger: &mut Bytes, now: Duration) -> Vec<Handed> {
    ledger.handle_timeout(now);
    deliver(ledger)
}

fn items_begin_evenly() {
    let mut ledger = rated(per_second(10), 9, Options::default());
    put(&mut ledger, 9);
    assert_eq!(ids(&at(&mut ledger, ms(0))), [1]);
    assert_eq!(at(&mut ledger, ms(99)), []);
    assert_eq!(
        ledger.waits_for(dishrack_core::ledger::ItemId(2)),
        Some(WaitsFor::Rate)
    );
    assert_eq!(ids(&at(&mut ledger, ms(100))), [2]);
    // A time in which nothing waits for the rate is not made up for.
    assert_eq!(ids(&at(&mut ledger, ms(1000))), [3]);
    assert_eq!(at(&mut ledger, ms(1001)), []);
}

fn a_burst_begins_at_once_and_fills_up_again() {
    let mut ledger = rated(per_second(10).burst(3), 20, Options::default());
    put(&mut ledger, 20);
    assert_eq!(ids(&at(&mut ledger, ms(0))), [1, 2, 3]);
    assert_eq!(at(&mut ledger, ms(99)), []);
    assert_eq!(ids(&at(&mut ledger, ms(100))), [4]);
    assert_eq!(ids(&at(&mut ledger, ms(300))), [5, 6]);
    assert_eq!(ids(&at(&mut ledger, ms(9000))), [7, 8, 9]);
}

fn a_second_attempt_and_a_copy_are_counted() {
    let mut ledger = rated(per_second(10), 2, Options::default());
    put(&mut ledger, 1);
    let first = at(&mut ledger, ms(0));
    let blame = super::crash();
    ledger
        .handle_nack(first[0].token, blame, None, ms(1))
        .expect("held");
    assert_eq!(at(&mut ledger, ms(50)), []);
    assert_eq!(at(&mut ledger, ms(100))[0].attempt, 2);
    let options = Options::default().copies(Copies::first(2));
    let mut ledger = rated(per_second(10), 2, options);
    put(&mut ledger, 1);
    assert_eq!(at(&mut ledger, ms(0)).len(), 1);
    assert_eq!(ledger.poll_timeout(), Some(ms(100)));
    assert_eq!(at(&mut ledger, ms(100))[0].copy, 2);
}

fn threads_are_not_held_back() {
    let mut ledger = rated(per_second(10), 1, Options::default());
    let threads = ledger.handle_join(None, u64::MAX);
    put(&mut ledger, 3);
    assert_eq!(ids(&at(&mut ledger, ms(0))), [1]);
    assert!(ledger.handle_get(threads).is_some());
    assert!(ledger.handle_get(threads).is_some());
    assert_eq!(ledger.poll_timeout(), None);
}

fn a_time_is_due_when_something_waits_for_it_and_not_otherwise() {
    let mut ledger = rated(per_second(10), 1, Options::default());
    assert_eq!(ledger.poll_timeout(), None);
    put(&mut ledger, 3);
    let first = at(&mut ledger, ms(7));
    assert_eq!(ledger.poll_timeout(), None, "nobody is idle");
    ledger.done(first[0].token, SHORT, Some(())).expect("held");
    assert_eq!(ledger.poll_timeout(), Some(ms(107)));
    assert_eq!(ledger.appetite(), 0);
    assert_eq!(ids(&at(&mut ledger, ms(107))), [2]);
}

fn no_window_has_more_than_its_burst_and_its_rate() {
    proptest!(|(pauses in prop::collection::vec(0..400_u64, 1..60), count in 1..50_u32, burst in 1..6_u32)| {
        let mut ledger = rated(per_second(count).burst(burst), 3, Options::default());
        put(&mut ledger, 200);
        let (mut now, mut begun) = (0, Vec::new());
        for pause in pauses {
            now += pause;
            for one in at(&mut ledger, ms(now)) {
                begun.push(now);
                ledger.done(one.token, SHORT, Some(())).expect("held");
            }
        }
        let interval = 1000.0 / f64::from(count);
        for (i, from) in begun.iter().enumerate() {
            for (j, to) in begun.iter().enumerate().skip(i) {
                let within = (j - i + 1) as f64;
                let most = f64::from(burst) + (*to - *from) as f64 / interval;
                prop_assert!(within <= most + 0.001, "{within} from {from} to {to}");
            }
        }
    });
}
