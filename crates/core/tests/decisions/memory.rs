//! The watch over one worker's memory: samples in, orders out. Time is a number.

use std::time::Duration;

use dishrack_core::pool::memory::{MemoryEffect, MemoryLimiter, MemorySample};
use proptest::prelude::*;

crate::trials! {
    an_item_over_its_limit_is_ended_once,
    what_is_no_items_is_nobodys,
    a_worker_that_has_nothing_is_left_alone_until_it_is_given_something,
    it_is_looked_at_sooner_the_less_is_left,
    looks_that_cost_more_are_fewer,
    whoever_stays_over_the_limit_is_ended_by_the_next_look,
    nobody_looks_where_the_kernel_holds_the_limit,
}

const LIMIT: u64 = 1 << 30;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at_work(current: u64, bytes: u64) -> MemorySample {
    MemorySample {
        current,
        is_busy: true,
        bytes,
        cost: Duration::ZERO,
    }
}

fn watch() -> MemoryLimiter {
    MemoryLimiter::new(LIMIT, ms(0))
}

fn an_item_over_its_limit_is_ended_once() {
    let mut watch = watch();
    assert_eq!(watch.poll_timeout(), Some(ms(0)));
    assert_eq!(watch.observe(at_work(7, LIMIT), ms(0)), None);
    let sample = at_work(7, LIMIT + 1);
    assert_eq!(watch.observe(sample, ms(5)), Some(MemoryEffect::Kill));
    assert_eq!((watch.over(), watch.poll_timeout()), (Some(7), None));
    assert_eq!(watch.observe(sample, ms(6)), None);
    watch.handle_given(ms(7));
    assert_eq!(watch.poll_timeout(), None, "it is ending");
}

/// A worker that has grown between two items is looked at again when it is at one.
fn what_is_no_items_is_nobodys() {
    let mut watch = watch();
    assert_eq!(watch.observe(at_work(0, 2 * LIMIT), ms(0)), None);
    assert_eq!(watch.poll_timeout(), Some(ms(5)));
    let order = watch.observe(at_work(8, 2 * LIMIT), ms(5));
    assert_eq!((order, watch.over()), (Some(MemoryEffect::Kill), Some(8)));
}

fn a_worker_that_has_nothing_is_left_alone_until_it_is_given_something() {
    let mut watch = watch();
    let idle = MemorySample {
        bytes: 2 * LIMIT,
        ..MemorySample::default()
    };
    assert_eq!(watch.observe(idle, ms(0)), None);
    assert_eq!(watch.poll_timeout(), None);
    watch.handle_given(ms(9000));
    assert_eq!(watch.poll_timeout(), Some(ms(9000)));
    watch.handle_given(ms(9100));
    assert_eq!(watch.poll_timeout(), Some(ms(9000)));
}

fn it_is_looked_at_sooner_the_less_is_left() {
    let mut watch = watch();
    let mut wait = |bytes| {
        assert_eq!(watch.observe(at_work(1, bytes), ms(100)), None);
        watch.poll_timeout().unwrap() - ms(100)
    };
    assert_eq!(wait(0), ms(250));
    assert_eq!(wait(LIMIT / 2), ms(125));
    assert_eq!(wait(LIMIT - LIMIT / 16), Duration::from_micros(15_625));
    assert_eq!(wait(LIMIT), ms(5));
}

fn looks_that_cost_more_are_fewer() {
    let mut watch = watch();
    let cost = ms(10);
    let sample = MemorySample {
        cost,
        ..at_work(1, LIMIT)
    };
    assert_eq!(watch.observe(sample, ms(0)), None);
    assert_eq!(watch.poll_timeout(), Some(ms(500)));
}

fn whoever_stays_over_the_limit_is_ended_by_the_next_look() {
    proptest!(|(limit: u64, steps in prop::collection::vec((any::<u64>(), 0_u64..4, any::<bool>()), 1..40))| {
        let mut watch = MemoryLimiter::new(limit, ms(0));
        let mut now = ms(0);
        for (bytes, current, is_busy) in steps {
            let sample = MemorySample { current, is_busy, bytes, cost: Duration::ZERO };
            let was_over = watch.over();
            let order = watch.observe(sample, now);
            let is_over = is_busy && current > 0 && bytes > limit;
            prop_assert_eq!(order.is_some(), is_over && was_over.is_none());
            prop_assert_eq!(watch.over(), was_over.or(is_over.then_some(current)));
            match watch.poll_timeout() {
                None => prop_assert!(watch.over().is_some() || !is_busy),
                Some(at) => {
                    prop_assert!(is_busy && at >= now + ms(5) && at <= now + ms(250));
                    now = at;
                }
            }
            watch.handle_given(now);
        }
    });
}

fn nobody_looks_where_the_kernel_holds_the_limit() {
    let mut watch = MemoryLimiter::held(LIMIT);
    watch.handle_given(ms(10));
    assert_eq!((watch.poll_timeout(), watch.limit()), (None, LIMIT));
    // It was at nothing, which is nobody's fault.
    watch.handle_killed(0);
    assert_eq!(watch.over(), None);
    watch.handle_killed(7);
    assert_eq!(watch.over(), Some(7));
    watch.handle_killed(8);
    assert_eq!(watch.over(), Some(7));
}
