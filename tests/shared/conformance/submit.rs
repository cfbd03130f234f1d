//! Single items and the end of each: the same on every link, and for every place of a queue.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dishrack::{ItemEnded, ItemError, JoinableQueue, Options, Submitter};

use super::{DEADLINE, Link, double, join, refuse_threes, start_workers};
use crate::place;

suite!(
    each_end_comes_with_its_tag,
    ends_are_told_many_at_once,
    an_item_that_fails_has_its_history,
    no_end_comes_before_its_time_is_over,
    a_wait_for_ends_is_interrupted,
    a_closed_submitter_takes_nothing_and_tells_the_rest,
    several_submitters_see_their_own_items,
    many_threads_submit_and_take,
    what_cannot_be_put_is_given_back,
    what_a_submitter_leaves_is_still_worked_on,
);

type Ends = BTreeMap<u64, Result<u64, String>>;

fn noted(ends: Vec<ItemEnded<u64, u64>>) -> Ends {
    let note = |end: ItemEnded<u64, u64>| (end.tag, end.result.map_err(|why| why.to_string()));
    ends.into_iter().map(note).collect()
}

/// Closes it, and takes all ends.
fn rest(submitter: &Submitter<u64, u64, u64>) -> Ends {
    submitter.close();
    let mut all = Ends::new();
    loop {
        match submitter.ends(Some(DEADLINE)) {
            Ok(ends) => {
                assert!(!ends.is_empty(), "{submitter:?} waits in vain");
                let before = all.len() + ends.len();
                all.extend(noted(ends));
                assert_eq!(all.len(), before, "each once");
            }
            Err(error) => {
                assert!(error.is_closed(), "{error}");
                return all;
            }
        }
    }
}

fn doubles(range: impl Iterator<Item = u64>) -> Ends {
    range.map(|n| (n, Ok(2 * n))).collect()
}

fn each_end_comes_with_its_tag(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitter = pool.submitter();
    for n in 0..200 {
        submitter.submit(&n, n).unwrap();
    }
    assert_eq!(rest(&submitter), doubles(0..200));
    assert_eq!((submitter.pending(), join(&queue)), (0, (200, 0)));
}

fn ends_are_told_many_at_once(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitter = pool.submitter();
    let put = submitter.submit_many((0..2000).map(|n| (n, n)));
    assert_eq!(put.into_result().unwrap(), 2000);
    join(&queue);
    let ends = submitter.ends(Some(DEADLINE)).unwrap();
    assert!(ends.len() > 1, "{} at once", ends.len());
    let mut all = noted(ends);
    all.extend(rest(&submitter));
    assert_eq!(all, doubles(0..2000));
}

fn an_item_that_fails_has_its_history(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, refuse_threes);
    let submitter = pool.submitter();
    let number = submitter.submit(&3, "three").unwrap();
    let ends = submitter.ends(Some(DEADLINE)).unwrap();
    assert_eq!((ends.len(), ends[0].tag), (1, "three"));
    match &ends[0].result {
        Err(ItemError::Dead { id, history }) => {
            assert_eq!((*id, history.len()), (number, 3));
            assert_eq!(history[2].cause.to_string(), "3 is a three");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(join(&queue), (0, 1));
}

fn no_end_comes_before_its_time_is_over(link: Link) {
    let queue = place::queue::<u64>(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitter = pool.submitter::<u64>();
    let began = Instant::now();
    let ends = submitter.ends(Some(Duration::from_millis(20))).unwrap();
    assert!(ends.is_empty() && began.elapsed() >= Duration::from_millis(20));
    assert!(submitter.ends(Some(Duration::ZERO)).unwrap().is_empty());
}

fn a_wait_for_ends_is_interrupted(link: Link) {
    let queue = place::queue::<u64>(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitter = pool.submitter::<u64>();
    // Before the wait begins, and perhaps in it.
    submitter.interrupt();
    assert!(submitter.ends(None).unwrap().is_empty());
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| submitter.ends(None));
        submitter.interrupt();
        assert!(taker.join().unwrap().unwrap().is_empty());
    });
    submitter.submit(&4, 4).unwrap();
    assert_eq!(rest(&submitter), doubles(4..5));
}

fn a_closed_submitter_takes_nothing_and_tells_the_rest(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitter = pool.submitter();
    submitter.submit(&4, 4).unwrap();
    submitter.close();
    assert!(submitter.submit(&5, 5).unwrap_err().is_closed());
    let put = submitter.submit_many([(6, 6), (7, 7)]);
    assert_eq!((put.accepted, put.is_cut_short), (0, true));
    assert_eq!((put.refused.len(), put.refused[0].item), (1, (6, 6)));
    assert_eq!(rest(&submitter), doubles(4..5));
    // One that waits is told so.
    let waiting = pool.submitter::<u64>();
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| waiting.ends(None));
        waiting.close();
        assert!(taker.join().unwrap().unwrap_err().is_closed());
    });
    queue.put(&8).unwrap();
    assert_eq!(join(&queue), (2, 0));
}

fn several_submitters_see_their_own_items(link: Link) {
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitters = [(); 3].map(|()| pool.submitter());
    for n in 0..300_u64 {
        let own = n.to_le_bytes()[0] % 3;
        submitters[usize::from(own)].submit(&n, n).unwrap();
    }
    for (k, submitter) in (0..).zip(&submitters) {
        assert_eq!(
            rest(submitter),
            doubles((0..300).filter(|n| n % 256 % 3 == k))
        );
    }
}

fn many_threads_submit_and_take(link: Link) {
    const HALF: u64 = 250;
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitter = pool.submitter();
    let putting = AtomicUsize::new(3);
    let ends = std::thread::scope(|scope| {
        let taker = || {
            let mut taken = Vec::new();
            while let Ok(ends) = submitter.ends(None) {
                taken.extend(ends);
            }
            taken
        };
        let takers = [(); 3].map(|()| scope.spawn(taker));
        for k in 0..3 {
            let (submitter, putting) = (&submitter, &putting);
            scope.spawn(move || {
                let first = 2 * k * HALF;
                for n in first..first + HALF {
                    submitter.submit(&n, n).unwrap();
                }
                let rest = (first + HALF..first + 2 * HALF).map(|n| (n, n));
                submitter.submit_many(rest).into_result().unwrap();
                if putting.fetch_sub(1, Ordering::SeqCst) == 1 {
                    submitter.close();
                }
            });
        }
        takers.map(|taker| taker.join().unwrap())
    });
    let ends: Vec<_> = ends.into_iter().flatten().collect();
    let count = ends.len() as u64;
    assert_eq!((count, noted(ends)), (6 * HALF, doubles(0..6 * HALF)));
}

fn what_cannot_be_put_is_given_back(link: Link) {
    let queue = place::queue::<u64>(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitter = pool.submitter();
    queue.close();
    assert!(submitter.submit(&1, 1).unwrap_err().is_closed());
    let put = submitter.submit_many((2..5).map(|n| (n, n)));
    assert_eq!((put.accepted, put.is_cut_short), (0, true));
    let given_back: Vec<(u64, u64)> = put.refused.iter().map(|refused| refused.item).collect();
    assert_eq!(given_back[0], (2, 2));
    assert_eq!((submitter.pending(), rest(&submitter)), (0, Ends::new()));
}

fn what_a_submitter_leaves_is_still_worked_on(link: Link) {
    let queue: JoinableQueue<u64> = place::queue(Options::default());
    let pool = start_workers(link, &queue, double);
    let submitter = pool.submitter();
    for n in 0..100 {
        submitter.submit(&n, n).unwrap();
    }
    drop(submitter);
    assert_eq!(join(&queue), (100, 0));
}
