//! Unique keys: what is not put while another item has its key.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use dishrack::{Durability, ItemError, JoinableQueue, Options, PutOptions, Supervisor};

crate::trials! {
    many_items_are_put_but_for_duplicates,
    a_map_gives_a_duplicate_back,
    of_many_that_put_the_same_one_is_accepted,
    a_time_is_over,
    a_journal_goes_on_with_the_keys_of_what_has_no_end,
    a_journal_keeps_no_choices_of_single_items,
    rules_and_choices_are_kept_together,
}

const HOUR: Duration = Duration::from_secs(3600);

/// The key is the number without its last digit; none below 10.
fn key(n: &u64) -> Option<u64> {
    (*n >= 10).then_some(n / 10)
}

/// Starts a pool that does nothing before the queue is joined.
fn pool(queue: &JoinableQueue<u64>, time: Option<Duration>) -> Supervisor<u64, u64> {
    let builder = Supervisor::builder().inline().unique(time, key);
    let pool = builder.handler(queue, Ok::<u64, String>).unwrap();
    queue.pause().unwrap();
    pool
}

fn many_items_are_put_but_for_duplicates() {
    let queue = JoinableQueue::unbounded();
    let _pool = pool(&queue, None);
    let put = queue.put_many([1, 1, 10, 11, 20, 12, 30, 21]);
    assert_eq!((put.accepted, put.is_cut_short), (5, false));
    let refused = put.refused.iter();
    let refused: Vec<_> = refused
        .map(|one| (one.item, one.error.duplicate_of().map(|of| of.0)))
        .collect();
    assert_eq!(refused, [(11, Some(3)), (12, Some(3)), (21, Some(4))]);
    queue.unpause().unwrap();
    assert_eq!(queue.join().unwrap().done, 5);
    // What is done has no key any more.
    assert_eq!(queue.put_many([11, 21]).into_result().unwrap(), 2);
}

fn a_map_gives_a_duplicate_back() {
    let queue = JoinableQueue::unbounded();
    let pool = pool(&queue, Some(HOUR));
    queue.unpause().unwrap();
    let results: Vec<_> = pool.map([10, 11, 20]).collect();
    assert!(matches!(results[0], Ok(10)) && matches!(results[2], Ok(20)));
    let Err(ItemError::NotAccepted { item: 11, error }) = &results[1] else {
        panic!("{:?}", results[1]);
    };
    assert_eq!(error.duplicate_of().map(|of| of.0), Some(1));
}

fn of_many_that_put_the_same_one_is_accepted() {
    let queue = JoinableQueue::unbounded();
    let _pool = pool(&queue, None);
    let barrier = Barrier::new(4);
    let put = || {
        barrier.wait();
        let puts = (0..500).map(|n| queue.put(&(10 * n + 10)));
        puts.filter(Result::is_ok).count()
    };
    let accepted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(put)).collect();
        threads.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!((accepted, queue.counts().unwrap().accepted), (500, 500));
}

fn a_time_is_over() {
    let queue = JoinableQueue::unbounded();
    let _pool = pool(&queue, Some(Duration::from_millis(50)));
    let first = queue.put(&10).unwrap();
    // A slow machine may have let it pass.
    if let Err(error) = queue.put(&11) {
        assert_eq!(error.duplicate_of(), Some(first));
    }
    crate::deadline::until("its time is over", || queue.put(&12).is_ok());
}

fn journal(folder: &tempfile::TempDir) -> JoinableQueue<u64> {
    let path = folder.path().join("j");
    JoinableQueue::journaled(&path, Durability::Normal, Options::default()).unwrap()
}

fn a_journal_goes_on_with_the_keys_of_what_has_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let queue = journal(&folder);
    let first_pool = pool(&queue, None);
    let [first, done] = [10, 20].map(|n| queue.put(&n).unwrap());
    let again = queue.put(&11).unwrap_err();
    assert_eq!(again.duplicate_of(), Some(first));
    assert!(queue.cancel(done).unwrap());
    first_pool.stop();
    queue.close_store().unwrap();
    drop((first_pool, queue));

    let queue = journal(&folder);
    let _pool = pool(&queue, None);
    let again = queue.put(&12).unwrap_err();
    assert_eq!(again.duplicate_of(), Some(first));
    queue.put(&21).unwrap();
    queue.unpause().unwrap();
    queue.join().unwrap();
    queue.put(&13).unwrap();
}

fn a_journal_keeps_no_choices_of_single_items() {
    let folder = tempfile::tempdir().unwrap();
    let queue = journal(&folder);
    let refused = queue.put_with(&1, PutOptions::default().priority(3));
    let why = refused.unwrap_err().to_string();
    assert!(
        why.starts_with("priority: ") && why.contains("journal"),
        "{why}"
    );
    let refused = queue.put_with(&1, PutOptions::default().unique(3));
    let why = refused.unwrap_err().to_string();
    assert!(why.starts_with("unique: "), "{why}");
    assert_eq!(queue.counts().unwrap().accepted, 0);
}

fn rules_and_choices_are_kept_together() {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().inline().unique(None, key);
    let builder = builder.priority(|n: &u64| i8::try_from(n % 10).unwrap());
    let (sender, seen) = crossbeam_channel::unbounded();
    let see = move |n: u64| sender.send(n).map_err(|error| error.to_string());
    let _pool = builder.handler(&queue, see).unwrap();
    queue.pause().unwrap();
    let chosen = PutOptions::default();
    let own = queue.put_with(&11, chosen.clone().unique("mine")).unwrap();
    let by_rule = queue.put(&12).unwrap();
    let refused = queue.put_with(&90, chosen.clone().unique("mine"));
    assert_eq!(refused.unwrap_err().duplicate_of(), Some(own));
    let refused = queue.put_with(&13, chosen.clone().priority(100));
    assert_eq!(refused.unwrap_err().duplicate_of(), Some(by_rule));
    // The first by its own priority, the last by the rule's.
    queue.put_with(&30, chosen.priority(100)).unwrap();
    queue.unpause().unwrap();
    assert_eq!(queue.join().unwrap().done, 3);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [30, 12, 11]);
}
