//! Journals: the content of a queue that is reopened from its file, and the refused files.

mod damage;
mod full;
mod letters;
mod places;
mod salvage;
mod strangers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{
    Capacity, DeadLetter, Durability, Error, ItemId, ItemState, JoinableQueue, Options, Supervisor,
};
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::deadline::until;

mod own {
    use super::*;

    crate::trials!(
        an_accepted_item_is_there_again,
        a_done_item_is_not_done_again,
        a_dead_letter_keeps_its_history,
        failed_attempts_are_counted_on,
        a_revived_letter_is_unfinished_in_the_next_run,
        a_dropped_letter_stays_counted,
        what_was_dropped_is_known_as_given_up,
        unsynced_puts_are_accepted_after_sync,
        keys_are_passed_over_as_often_as_they_were_put,
        a_key_without_a_journal_is_put,
        items_of_any_size_come_back,
        a_closed_journal_is_one_file,
        a_store_that_was_closed_is_one_file_and_takes_no_more,
        many_runs_leave_a_small_file,
        a_cancelled_item_is_dead_in_the_next_run,
        a_journal_that_was_being_made_is_made_anew,
        inline_work_makes_room_for_more_than_fits,
        a_loop_inline_waits_for_what_is_being_written,
        a_panic_while_an_end_is_told_ends_the_queue,
        what_put_many_has_accepted_is_in_the_journal,
        what_put_many_has_accepted_is_worked_on_inline,
        put_many_says_how_many_were_accepted_before_the_journal_failed,
        a_queue_that_was_dropped_gives_its_file_free,
        a_pool_that_was_stopped_gives_the_file_free,
    );
}

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        own::trials(),
        damage::trials(),
        full::trials(),
        letters::trials(),
        places::trials(),
        salvage::trials(),
        strangers::trials(),
    ];
    trials.into_iter().flatten().collect()
}

type Queue = JoinableQueue<String>;

/// A folder for a journal.
struct Place {
    folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("journal");
        Place { folder, path }
    }

    /// Makes it in memory if there is such a folder, for thousands of files.
    fn new_in_memory() -> Self {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        let folder = folder.unwrap();
        let path = folder.path().join("journal");
        Place { folder, path }
    }

    fn open(&self) -> Queue {
        open(&self.path).unwrap()
    }
}

fn open(path: &Path) -> Result<Queue, Error> {
    Queue::journaled(path, Durability::Normal, Options::default())
}

/// The content of a journal.
#[derive(Debug, PartialEq)]
struct Content {
    done: u64,
    /// Items with the number of their next attempt.
    unfinished: BTreeMap<u64, (String, u32)>,
    letters: Vec<DeadLetter<String>>,
    dead: u64,
}

/// Works all items off, so that none is unfinished afterwards.
fn drain(queue: &Queue) -> Content {
    let counts = queue.counts().unwrap();
    assert!(counts.is_balanced(), "{counts:?}");
    let mut unfinished = BTreeMap::new();
    while let Ok(delivery) = queue.try_get() {
        let item = ((*delivery).clone(), delivery.attempt());
        unfinished.insert(delivery.id().0, item);
        delivery.task_done().unwrap();
    }
    Content {
        done: counts.done,
        unfinished,
        letters: queue.dead_letters().unwrap(),
        dead: counts.dead,
    }
}

/// Ends the next item as a dead letter.
fn kill_next(queue: &Queue) -> ItemId {
    for attempt in 1..=3 {
        let delivery = queue.get().unwrap();
        let id = delivery.id();
        delivery.nack(format!("no {attempt}")).unwrap();
        if attempt == 3 {
            return id;
        }
    }
    unreachable!("three attempts are all there are")
}

fn an_accepted_item_is_there_again() {
    let place = Place::new();
    let queue = place.open();
    let ids = ["a", "b"].map(|item| queue.put(item).unwrap());
    assert_eq!(ids, [ItemId(1), ItemId(2)]);
    drop(queue);
    let queue = place.open();
    assert_eq!(queue.len(), 2);
    assert_eq!(*queue.get().unwrap(), "a");
    assert_eq!(queue.put("c").unwrap(), ItemId(3));
}

fn a_done_item_is_not_done_again() {
    let place = Place::new();
    let queue = place.open();
    for item in ["a", "b", "c"] {
        queue.put(item).unwrap();
    }
    queue.get().unwrap().task_done().unwrap();
    let held = queue.get().unwrap();
    queue.get().unwrap().task_done().unwrap();
    drop(held);
    drop(queue);
    let content = drain(&place.open());
    assert_eq!(content.done, 2);
    assert_eq!(content.unfinished.keys().collect::<Vec<_>>(), [&2]);
}

fn a_dead_letter_keeps_its_history() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    kill_next(&queue);
    assert_eq!(queue.join().unwrap().dead, 1);
    let before = queue.dead_letters().unwrap();
    drop(queue);
    let queue = place.open();
    let letters = queue.dead_letters().unwrap();
    assert_eq!(letters, before);
    let causes: Vec<String> = letters[0]
        .history
        .iter()
        .map(|failure| failure.cause.to_string())
        .collect();
    assert_eq!(causes, ["no 1", "no 2", "no 3"]);
    assert_eq!(queue.join().unwrap().dead, 1);
}

fn failed_attempts_are_counted_on() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    queue.get().unwrap().nack("no").unwrap();
    drop(queue);
    let queue = place.open();
    let delivery = queue.get().unwrap();
    assert_eq!(delivery.attempt(), 2);
    delivery.nack("no").unwrap();
    queue.get().unwrap().nack("no").unwrap();
    assert_eq!(queue.join().unwrap().dead, 1);
    assert_eq!(queue.dead_letters().unwrap()[0].history.len(), 3);
}

fn a_revived_letter_is_unfinished_in_the_next_run() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    let id = kill_next(&queue);
    queue.join().unwrap();
    assert!(queue.retry_dead_letter(id).unwrap());
    assert!(!queue.retry_dead_letter(id).unwrap());
    drop(queue);
    let queue = place.open();
    let counts = queue.counts().unwrap();
    assert_eq!((counts.dead, counts.unfinished()), (0, 1));
    // Its old failures are kept, and do not count.
    assert_eq!(kill_next(&queue), id);
    queue.join().unwrap();
    assert_eq!(queue.dead_letters().unwrap()[0].history.len(), 6);
    assert!(queue.retry_dead_letter(id).unwrap());
    queue.get().unwrap().task_done().unwrap();
    drop(queue);
    let counts = place.open().counts().unwrap();
    assert_eq!((counts.done, counts.dead), (1, 0));
}

fn a_dropped_letter_stays_counted() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    kill_next(&queue);
    queue.join().unwrap();
    assert_eq!(queue.take_dead_letters().unwrap().len(), 1);
    drop(queue);
    let queue = place.open();
    assert_eq!(queue.dead_letters().unwrap(), []);
    assert_eq!(queue.join().unwrap().dead, 1);
}

/// Looks at three items, of which the second was taken and the third was dropped as a dead letter.
fn check_given_up(queue: &Queue) {
    let states = |state, after| {
        let items = queue.items(state, ItemId(after), 9).unwrap().into_iter();
        items
            .map(|item| (item.number.0, item.state))
            .collect::<Vec<_>>()
    };
    let (done, dead) = (ItemState::Done, ItemState::Dead);
    assert_eq!(states(None, 0), [(1, done), (2, dead), (3, dead)]);
    assert_eq!(states(None, 2), [(3, dead)]);
    assert_eq!(states(Some(done), 0), [(1, done)]);
    // There is nothing to try again.
    assert_eq!(states(Some(dead), 0), []);
    assert!(!queue.retry_dead_letter(ItemId(2)).unwrap());
    for number in [2, 3] {
        let item = queue.item(ItemId(number)).unwrap().unwrap();
        assert_eq!((item.state, item.history.len()), (dead, 0));
        let item = queue.wait_item(ItemId(number), None).unwrap().unwrap();
        assert_eq!(item.state, dead);
    }
    // What is to begin after it never would.
    let after = |text: &String| text.parse().map(ItemId).into_iter().collect();
    let pool = Supervisor::builder().threads(1).after(after);
    let _pool = pool
        .handler(queue, |_: String| Ok::<_, String>(()))
        .unwrap();
    for number in ["2", "3"] {
        let refused = queue.put(number).unwrap_err();
        assert!(refused.is_dependency(), "{refused}");
    }
    assert_eq!(queue.len(), 0);
}

fn what_was_dropped_is_known_as_given_up() {
    let place = Place::new();
    for queue in [place.open(), JoinableQueue::with(Options::default())] {
        for text in ["a", "b", "c"] {
            queue.put(text).unwrap();
        }
        queue.get().unwrap().task_done().unwrap();
        let end_next = || {
            let id = kill_next(&queue);
            queue.wait_item(id, None).unwrap();
            id
        };
        end_next();
        assert_eq!(queue.take_dead_letters().unwrap().len(), 1);
        assert!(queue.drop_dead_letter(end_next()).unwrap());
        check_given_up(&queue);
    }
    check_given_up(&place.open());
}

fn unsynced_puts_are_accepted_after_sync() {
    let place = Place::new();
    let queue = place.open();
    for n in 0..1000 {
        queue.put_unsynced(&n.to_string()).unwrap();
    }
    queue.sync().unwrap();
    // As after a kill: nothing is closed.
    let copy = place.folder.path().join("copy");
    copy_as_after_a_kill(&place.path, &copy);
    assert_eq!(open(&copy).unwrap().len(), 1000);

    let in_memory = Queue::unbounded();
    in_memory.put_unsynced("a").unwrap();
    in_memory.sync().unwrap();
    assert_eq!(in_memory.len(), 1);
}

/// Copies the file and its log, as they are.
fn copy_as_after_a_kill(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(name(from), name(to)).unwrap();
    }
}

fn keys_are_passed_over_as_often_as_they_were_put() {
    let place = Place::new();
    let put = |queue: &Queue, keys: &str| -> String {
        let is_put = |key: &char| {
            let key = key.to_string();
            queue.put_resumable(&key, key.as_bytes()).unwrap().is_some()
        };
        keys.chars().filter(is_put).collect()
    };
    assert_eq!(put(&place.open(), "aab"), "aab");
    assert_eq!(put(&place.open(), "aab"), "");
    // Removed, reordered, added.
    assert_eq!(put(&place.open(), "bcaaa"), "ca");
    let queue = place.open();
    assert_eq!(put(&queue, "aaaa"), "a");
    // Only earlier runs count.
    assert_eq!(put(&queue, "aa"), "aa");
    assert_eq!(queue.len(), 8);
}

fn a_key_without_a_journal_is_put() {
    let queue = Queue::unbounded();
    for id in 1..=2 {
        let put = queue.put_resumable("a", b"a").unwrap();
        assert_eq!(put, Some(ItemId(id)));
    }
}

fn items_of_any_size_come_back() {
    let place = Place::new();
    let queue = place.open();
    let sizes = [0, 1, 127, 128, 4096, 100_000, 3_000_000];
    for size in sizes {
        queue.put(&"x".repeat(size)).unwrap();
    }
    drop(queue);
    let queue = place.open();
    for size in sizes {
        let delivery = queue.get().unwrap();
        assert_eq!(delivery.len(), size);
        delivery.task_done().unwrap();
    }
}

fn a_closed_journal_is_one_file() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    drop(queue);
    let files = std::fs::read_dir(place.folder.path()).unwrap();
    assert_eq!(files.count(), 1);
}

fn a_store_that_was_closed_is_one_file_and_takes_no_more() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    queue.close_store().unwrap();
    let files = std::fs::read_dir(place.folder.path()).unwrap();
    assert_eq!(files.count(), 1);
    let error = queue.put("b").unwrap_err();
    assert!(error.is_journal(), "{error}");
    drop(queue);
    assert_eq!(place.open().counts().unwrap().accepted, 1);
}

fn many_runs_leave_a_small_file() {
    let place = Place::new();
    for _ in 0..3 {
        let queue = place.open();
        for n in 0..300 {
            queue.put(&format!("item {n}")).unwrap();
            queue.get().unwrap().task_done().unwrap();
        }
        queue.join().unwrap();
    }
    let bytes = std::fs::metadata(&place.path).unwrap().len();
    assert!(bytes <= 100_000, "{bytes} bytes for nothing unfinished");
}

fn a_cancelled_item_is_dead_in_the_next_run() {
    let place = Place::new();
    let queue = place.open();
    let id = queue.put_unsynced("no").unwrap().unwrap();
    assert!(queue.cancel(id).unwrap());
    let copy = place.folder.path().join("copy");
    copy_as_after_a_kill(&place.path, &copy);
    let counts = open(&copy).unwrap().counts().unwrap();
    assert_eq!((counts.dead, counts.waiting), (1, 0));
}

/// A supervisor that is killed at the first statement leaves an empty file, and the log of a
/// transaction without any change.
fn a_journal_that_was_being_made_is_made_anew() {
    let place = Place::new();
    std::fs::write(&place.path, "").unwrap();
    let log = format!("{}-journal", place.path.display());
    std::fs::write(log, [0; 512]).unwrap();
    let queue = place.open();
    queue.put("first").unwrap();
    assert_eq!(*queue.get().unwrap(), "first");
}

fn bounded(place: &Place, bound: usize) -> Queue {
    let capacity = match bound {
        0 => Capacity::Rendezvous,
        bound => Capacity::Bounded(bound),
    };
    let options = Options::default().capacity(capacity);
    JoinableQueue::journaled(&place.path, Durability::Normal, options).unwrap()
}

fn inline_work_makes_room_for_more_than_fits() {
    for bound in [0, 1] {
        let place = Place::new();
        let queue = place.open();
        for n in 0..3 {
            queue.put(&format!("old {n}")).unwrap();
        }
        drop(queue);
        let queue = bounded(&place, bound);
        let inline = Supervisor::builder().inline();
        let _pool = inline
            .handler(&queue, |_: String| Ok::<(), String>(()))
            .unwrap();
        for n in 0..3 {
            queue.put(&format!("new {n}")).unwrap();
        }
        assert_eq!(queue.join().unwrap().done, 6);
    }
}

fn a_loop_inline_waits_for_what_is_being_written() {
    let place = Place::new();
    let queue = place.open();
    let inline = Supervisor::builder().inline();
    let work = |queue: Queue| {
        while let Ok(item) = queue.try_get() {
            item.task_done().unwrap();
        }
    };
    let _pool = inline.worker(&queue, work).unwrap();
    for n in 0..20 {
        queue.put_unsynced(&n.to_string()).unwrap();
    }
    assert_eq!(queue.join().unwrap().done, 20);
}

#[derive(Debug)]
struct Panics;

impl Observer for Panics {
    fn observe(&self, event: Event) {
        assert!(
            !matches!(event.kind, EventKind::ItemDone { .. }),
            "a bad observer"
        );
    }
}

/// It ends at once: a join never takes the earlier reports for all.
fn a_panic_while_an_end_is_told_ends_the_queue() {
    for _ in 0..20 {
        let place = Place::new();
        let queue = place.open();
        let threads = Supervisor::builder().threads(1).observer(Arc::new(Panics));
        let _pool = threads
            .handler(&queue, |_: String| Ok::<(), String>(()))
            .unwrap();
        queue.put("one").unwrap();
        let error = queue.join_timeout(Duration::from_secs(60)).unwrap_err();
        assert!(error.is_inconsistent(), "{error}");
        let why = "the thread dishrack-journal panicked: a bad observer";
        assert!(error.to_string().contains(why), "{error}");
        assert!(queue.put("two").unwrap_err().is_inconsistent());
    }
}

/// Batches go to the disk while the next ones are made, and the last is waited for.
fn what_put_many_has_accepted_is_in_the_journal() {
    let place = Place::new();
    let queue = place.open();
    let items = (0..2000).map(|n| n.to_string());
    assert_eq!(queue.put_many(items).into_result().unwrap(), 2000);
    drop(queue);
    let queue = place.open();
    assert_eq!(queue.counts().unwrap().waiting, 2000);
    for n in 0..2000 {
        let delivery = queue.get().unwrap();
        assert_eq!(*delivery, n.to_string());
        delivery.task_done().unwrap();
    }
}

/// As with `put`, nothing is left for a join.
fn what_put_many_has_accepted_is_worked_on_inline() {
    let place = Place::new();
    let queue = place.open();
    let inline = Supervisor::builder().inline();
    let _pool = inline
        .handler(&queue, |_: String| Ok::<(), String>(()))
        .unwrap();
    let items = (0..300).map(|n| n.to_string());
    assert_eq!(queue.put_many(items).into_result().unwrap(), 300);
    let counts = queue.counts().unwrap();
    assert_eq!((counts.done, counts.waiting, counts.leased), (300, 0, 0));
}

/// Fails the journal, and no other thread to which the reports come then.
#[derive(Debug)]
struct FailsTheJournal;

impl Observer for FailsTheJournal {
    fn observe(&self, event: Event) {
        let is_done = matches!(event.kind, EventKind::ItemDone { .. });
        let is_journal = std::thread::current().name() == Some("dishrack-journal");
        assert!(!is_done || !is_journal, "a bad observer");
    }
}

/// The accepted items are in the file; the others are refused or told as lost.
fn put_many_says_how_many_were_accepted_before_the_journal_failed() {
    let place = Place::new();
    let queue = place.open();
    let threads = Supervisor::builder().threads(1);
    let threads = threads.observer(Arc::new(FailsTheJournal));
    let pool = threads
        .handler(&queue, |_: String| Ok::<(), String>(()))
        .unwrap();
    let is_over = || queue.sync().is_err_and(|error| error.is_inconsistent());
    let mut read = 0;
    let put = queue.put_many((0..10_000).map(|n| {
        read += 1;
        if n == 5000 {
            until("the journal has failed", is_over);
        }
        n.to_string()
    }));
    assert!(put.is_cut_short && read < 10_000, "{put:?}");
    let refused = put.refused.len() as u64;
    assert!(
        put.refused.iter().all(|one| one.error.is_inconsistent()),
        "{put:?}"
    );
    let lost = read - put.accepted - refused;
    assert!(lost == 0 || put.lost.is_some(), "{put:?}");
    let accepted = put.accepted;
    assert!(put.into_result().unwrap_err().is_inconsistent());
    drop((pool, queue));
    let in_file = place.open().counts().unwrap().accepted;
    assert!(
        (accepted..read).contains(&in_file),
        "{accepted} of {in_file}"
    );
}

/// It does so even while an item rests, for which a thread waits.
fn a_queue_that_was_dropped_gives_its_file_free() {
    let place = Place::new();
    for _ in 0..20 {
        let queue = place.open();
        queue.put("later").unwrap();
        let delivery = queue.get().unwrap();
        delivery
            .nack_after("rest", Duration::from_micros(50))
            .unwrap();
        drop(queue);
    }
}

fn a_pool_that_was_stopped_gives_the_file_free() {
    type Pool = Supervisor<String, ()>;
    let threads = |queue: &Queue| -> Pool {
        let handler = |_: String| Ok::<(), String>(());
        let builder = Supervisor::builder().threads(2);
        builder.handler(queue, handler).unwrap()
    };
    let tasks = |queue: &Queue| -> Pool {
        let handler = |_: String| async { Ok::<(), String>(()) };
        let builder = Supervisor::builder().tasks(2);
        builder.handler_async(queue, handler).unwrap()
    };
    let place = Place::new();
    for start in [&threads as &dyn Fn(&Queue) -> Pool, &tasks] {
        for _ in 0..30 {
            let queue = place.open();
            let pool = start(&queue);
            queue.put("one").unwrap();
            queue.join().unwrap();
            pool.stop();
            drop((pool, queue));
        }
    }
}
