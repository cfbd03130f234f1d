//! The watchdog over one worker: samples in, orders out. Time is a number.

use std::time::Duration;

use dishrack_core::pool::watchdog::{Fault, Sample, Watchdog, WatchdogEffect};
use proptest::prelude::*;

crate::trials! {
    an_item_within_its_limit_is_left_alone,
    an_item_over_its_limit_is_terminated_and_then_killed,
    a_worker_that_goes_on_to_the_next_item_is_forgiven,
    a_worker_that_begins_nothing_for_the_limit_is_killed,
    a_worker_that_begins_something_is_not_stalled,
    an_idle_worker_is_left_alone,
    without_a_limit_there_is_nothing_to_look_for,
    a_cancelled_item_is_terminated_only_while_it_is_worked_on,
    a_worker_that_was_asked_to_end_is_ending_until_the_grace_is_over,
    a_spare_copy_that_is_nearly_done_is_left_alone,
    one_that_is_to_end_is_killed_after_the_grace_whatever_it_is_at,
    nothing_is_ordered_before_an_item_could_be_over_its_limit,
}

const LIMIT: Duration = Duration::from_millis(1000);
const GRACE: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn watchdog() -> Watchdog {
    Watchdog::new(Some(LIMIT), GRACE, ms(0))
}

fn at_work(current: u64, since: u64) -> Sample {
    Sample {
        current,
        since: ms(since),
        begun: current,
        held: 2,
    }
}

/// Makes a sample of a worker that has items, and works on none.
fn quiet(begun: u64) -> Sample {
    Sample {
        current: 0,
        since: ms(0),
        begun,
        held: 1,
    }
}

fn an_item_within_its_limit_is_left_alone() {
    let mut watchdog = watchdog();
    assert_eq!(watchdog.poll_timeout(), Some(ms(1000)));
    assert_eq!(watchdog.observe(at_work(7, 600), ms(1000)), None);
    assert_eq!(watchdog.poll_timeout(), Some(ms(1600)));
    assert_eq!(watchdog.observe(at_work(8, 1590), ms(1600)), None);
    assert_eq!(watchdog.poll_timeout(), Some(ms(2590)));
    assert_eq!(watchdog.fault(), None);
}

fn an_item_over_its_limit_is_terminated_and_then_killed() {
    let mut watchdog = watchdog();
    assert_eq!(
        watchdog.observe(at_work(7, 0), ms(1000)),
        Some(WatchdogEffect::Terminate)
    );
    assert_eq!(watchdog.fault(), Some(Fault::Overran(7)));
    assert_eq!(watchdog.poll_timeout(), Some(ms(1100)));
    assert_eq!(watchdog.observe(at_work(7, 0), ms(1099)), None);
    assert_eq!(
        watchdog.observe(at_work(7, 0), ms(1100)),
        Some(WatchdogEffect::Kill)
    );
    assert_eq!(watchdog.fault(), Some(Fault::Overran(7)));
    assert_eq!(watchdog.poll_timeout(), None);
    assert_eq!(watchdog.observe(at_work(7, 0), ms(9000)), None);
}

fn one_that_is_to_end_is_killed_after_the_grace_whatever_it_is_at() {
    for limit in [None, Some(LIMIT)] {
        let mut watchdog = Watchdog::new(limit, GRACE, ms(0));
        assert_eq!(watchdog.end(ms(50)), Some(WatchdogEffect::Terminate));
        assert_eq!(watchdog.poll_timeout(), Some(ms(150)));
        assert_eq!(watchdog.observe(at_work(7, 0), ms(149)), None);
        // It has gone on to another item.
        assert_eq!(
            watchdog.observe(at_work(8, 149), ms(150)),
            Some(WatchdogEffect::Kill)
        );
        assert_eq!(watchdog.fault(), Some(Fault::Ordered));
        assert_eq!(watchdog.end(ms(160)), None, "it is killed already");
    }
}

fn a_worker_that_goes_on_to_the_next_item_is_forgiven() {
    let mut watchdog = watchdog();
    assert_eq!(
        watchdog.observe(at_work(7, 0), ms(1000)),
        Some(WatchdogEffect::Terminate)
    );
    assert_eq!(watchdog.observe(at_work(8, 1050), ms(1100)), None);
    assert_eq!(watchdog.fault(), None);
    assert_eq!(watchdog.poll_timeout(), Some(ms(2050)));
}

fn a_worker_that_begins_nothing_for_the_limit_is_killed() {
    let mut watchdog = watchdog();
    assert_eq!(watchdog.observe(quiet(3), ms(1000)), None);
    assert_eq!(watchdog.poll_timeout(), Some(ms(2000)));
    assert_eq!(
        watchdog.observe(quiet(3), ms(2000)),
        Some(WatchdogEffect::Kill)
    );
    assert_eq!(watchdog.fault(), Some(Fault::Stalled));
}

fn a_worker_that_begins_something_is_not_stalled() {
    let mut watchdog = watchdog();
    assert_eq!(watchdog.observe(quiet(3), ms(1000)), None);
    assert_eq!(watchdog.observe(quiet(4), ms(2000)), None);
    assert_eq!(watchdog.observe(quiet(4), ms(2500)), None);
    assert_eq!(watchdog.poll_timeout(), Some(ms(3000)));
}

fn an_idle_worker_is_left_alone() {
    let mut watchdog = watchdog();
    let idle = Sample {
        held: 0,
        ..quiet(3)
    };
    for now in (1..100).map(|n| ms(n * 1000)) {
        assert_eq!(watchdog.observe(idle, now), None);
        assert_eq!(watchdog.poll_timeout(), Some(now + LIMIT));
    }
}

fn without_a_limit_there_is_nothing_to_look_for() {
    let mut watchdog = Watchdog::new(None, GRACE, ms(0));
    assert_eq!(watchdog.poll_timeout(), None);
    assert_eq!(watchdog.observe(at_work(1, 0), ms(1_000_000)), None);
    assert_eq!(watchdog.poll_timeout(), None);
}

fn a_cancelled_item_is_terminated_only_while_it_is_worked_on() {
    let mut watchdog = Watchdog::new(None, GRACE, ms(0));
    assert_eq!(watchdog.revoke(7, at_work(6, 0), ms(10)), None);
    assert_eq!(watchdog.fault(), None);
    let order = watchdog.revoke(7, at_work(7, 5), ms(10));
    assert_eq!(order, Some(WatchdogEffect::Terminate));
    assert_eq!(watchdog.fault(), Some(Fault::Revoked(7)));
    assert_eq!(
        watchdog.observe(at_work(7, 5), ms(110)),
        Some(WatchdogEffect::Kill)
    );
}

/// SIGTERM may be on its way when the worker has gone on, and ends it at its next item.
fn a_worker_that_was_asked_to_end_is_ending_until_the_grace_is_over() {
    let mut watchdog = Watchdog::new(None, GRACE, ms(0));
    let order = watchdog.revoke(7, at_work(7, 5), ms(10));
    assert_eq!(order, Some(WatchdogEffect::Terminate));
    assert_eq!(watchdog.revoke(9, at_work(8, 11), ms(12)), None);
    assert_eq!(watchdog.observe(at_work(8, 11), ms(50)), None);
    assert_eq!(watchdog.fault(), Some(Fault::Revoked(7)));
    // It has not minded the signal, and has come to the other one.
    let order = watchdog.observe(at_work(9, 60), ms(110));
    assert_eq!(order, Some(WatchdogEffect::Terminate));
    assert_eq!(watchdog.fault(), Some(Fault::Revoked(9)));
}

fn a_spare_copy_that_is_nearly_done_is_left_alone() {
    let mut watchdog = Watchdog::new(None, GRACE, ms(0));
    assert_eq!(watchdog.revoke_spare(7, at_work(7, 5), ms(10)), None);
    // The worker says that it has begun it.
    assert_eq!(watchdog.revoke(7, at_work(7, 5), ms(11)), None);
    let next = watchdog.poll_timeout().unwrap();
    assert!(next <= ms(30), "{next:?}");
    assert_eq!(watchdog.observe(at_work(8, 15), ms(20)), None);
    assert_eq!(watchdog.observe(at_work(8, 15), ms(1000)), None);
    // Another one is not.
    assert_eq!(watchdog.revoke_spare(8, at_work(8, 15), ms(1000)), None);
    let order = watchdog.observe(at_work(8, 15), ms(1020));
    assert_eq!(order, Some(WatchdogEffect::Terminate));
}

/// Every order has its reason, in each sample and at each time.
fn nothing_is_ordered_before_an_item_could_be_over_its_limit() {
    let samples = prop::collection::vec((0..4_u64, 0..3_usize, 0..800_u64), 1..40);
    proptest!(|(steps in samples)| {
        let mut watchdog = watchdog();
        let (mut now, mut begun) = (0, 0);
        let mut since = 0;
        let mut quiet_since = None;
        for (kind, held, pause) in steps {
            now += pause;
            let current = match kind {
                // It goes on to the next item, stays at one, or rests.
                0 => { begun += 1; since = now; begun }
                1 if begun > 0 => begun,
                _ => 0,
            };
            let is_quiet = current == 0 && held > 0;
            quiet_since = match quiet_since {
                Some((seen, at)) if is_quiet && seen == begun => Some((seen, at)),
                _ => is_quiet.then_some((begun, now)),
            };
            let sample = Sample { current, since: ms(since), begun, held };
            let before = watchdog.fault();
            match watchdog.observe(sample, ms(now)) {
                None => {}
                Some(WatchdogEffect::Terminate) => {
                    prop_assert!(current != 0 && ms(now) >= ms(since) + LIMIT);
                }
                Some(WatchdogEffect::Kill) if watchdog.fault() == Some(Fault::Stalled) => {
                    let (_, at) = quiet_since.expect("it was quiet");
                    prop_assert!(ms(now) >= ms(at) + LIMIT);
                    break;
                }
                Some(WatchdogEffect::Kill) => {
                    prop_assert_eq!(before, Some(Fault::Overran(current)));
                    break;
                }
            }
            if let Some(at) = watchdog.poll_timeout() {
                prop_assert!(at > ms(now) || watchdog.fault().is_some());
            }
        }
    });
}
