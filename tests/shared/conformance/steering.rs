//! Pauses: the same on every link, and for every place of a queue.

use std::time::Duration;

use dishrack::{JoinableQueue, Options};
use libtest_mimic::Trial;

use super::{Link, double, hire_loops, join, start_workers};
use crate::place;

/// Each test, by its name, for each link.
macro_rules! suite {
    ($($test:ident),+ $(,)?) => {
        pub(super) fn trials() -> Vec<Trial> {
            let mut trials = Vec::new();
            for link in [Link::Process, Link::Forked, Link::Thread, Link::Task, Link::Inline] {
                $(
                    let name = format!("conformance::{link:?}::{}", stringify!($test));
                    trials.push(Trial::test(name, move || { $test(link); Ok(()) }));
                )+
            }
            trials
        }
    };
}

suite!(
    a_pause_holds_back_all_that_is_not_begun,
    a_pause_holds_back_loops,
    a_pause_under_load_loses_nothing,
);

fn expect_nothing_done(queue: &JoinableQueue<u64>) {
    let error = queue.join_timeout(Duration::ZERO).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(queue.try_get().unwrap_err().is_empty());
    assert!(queue.is_paused().unwrap());
}

fn a_pause_holds_back_all_that_is_not_begun(link: Link) {
    let queue = place::queue(Options::default());
    let _pool = start_workers(link, &queue, double);
    queue.put(&1).unwrap();
    join(&queue);
    queue.pause().unwrap();
    for n in 0..50 {
        queue.put(&n).unwrap();
    }
    expect_nothing_done(&queue);
    queue.pause().unwrap();
    queue.unpause().unwrap();
    assert!(!queue.is_paused().unwrap());
    assert_eq!(join(&queue), (51, 0));
}

fn a_pause_holds_back_loops(link: Link) {
    let queue = place::queue(Options::default());
    queue.pause().unwrap();
    let pool = hire_loops(link, &queue);
    for n in 10..20 {
        queue.put(&n).unwrap();
    }
    expect_nothing_done(&queue);
    queue.unpause().unwrap();
    assert_eq!(join(&queue), (10, 0));
    // A stop in a pause is a stop.
    queue.pause().unwrap();
    pool.stop();
}

fn a_pause_under_load_loses_nothing(link: Link) {
    let queue = place::queue(Options::default());
    let _pool = start_workers(link, &queue, double);
    for round in 0..20 {
        for n in 0..100 {
            queue.put(&(100 * round + n)).unwrap();
        }
        queue.pause().unwrap();
        queue.unpause().unwrap();
    }
    assert_eq!(join(&queue), (2000, 0));
    let counts = queue.counts().unwrap();
    assert_eq!((counts.retries, counts.refused), (0, 0), "{counts:?}");
}
