//! Other programs that open, hold, cut or overwrite the files of a journal while it is used, or
//! after its supervisor was killed.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;

use super::{Place, Queue, copy_as_after_a_kill, open};

crate::trials!(
    a_journal_that_another_program_held_goes_on,
    a_journal_that_another_program_closed_after_a_kill_goes_on,
    a_file_says_that_it_needs_its_log_after_the_log_was_brought_in,
    a_file_says_that_it_needs_its_log_after_another_program_brought_it_in,
    a_file_that_is_overwritten_while_it_is_used_ends_the_queue,
    a_file_that_is_cut_while_it_is_used_ends_the_queue,
    a_log_that_is_cut_while_it_is_used_ends_the_queue,
    a_log_that_is_overwritten_while_it_is_used_ends_the_queue,
    a_log_that_is_removed_while_it_is_used_ends_the_queue_and_loses_nothing,
    an_index_that_is_cut_while_it_is_used_ends_the_queue_and_loses_nothing,
    an_index_that_was_cut_is_not_read_for_dead_letters,
    a_file_that_is_only_touched_is_used_on,
);

fn beside(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

/// Opens it like SQLite's own shell.
fn look_with_sqlite(path: &Path) -> Connection {
    let other = Connection::open(path).unwrap();
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let tables = other.query_row("SELECT count(*) FROM sqlite_schema", [], count);
    assert!(tables.unwrap() > 0);
    other
}

/// The last one to close an SQLite file writes its log into it, and removes the log.
fn a_journal_that_another_program_held_goes_on() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    let other = look_with_sqlite(&place.path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = queue.put("b").unwrap_err().to_string();
    assert!(error.contains("another program keeps it locked"), "{error}");
    assert!(
        error.contains("go on with the same journal afterwards"),
        "{error}"
    );
    drop(queue);
    other.execute_batch("ROLLBACK").unwrap();
    other.close().unwrap();
    assert!(!beside(&place.path, "-wal").exists());
    let queue = place.open();
    assert_eq!(queue.len(), 1);
    assert_eq!(*queue.get().unwrap(), "a");
}

fn a_journal_that_another_program_closed_after_a_kill_goes_on() {
    let place = Place::new();
    let queue = place.open();
    for n in 0..100 {
        queue.put(&n.to_string()).unwrap();
    }
    let copy = place.folder.path().join("copy");
    copy_as_after_a_kill(&place.path, &copy);
    look_with_sqlite(&copy).close().unwrap();
    assert!(!beside(&copy, "-wal").exists());
    assert_eq!(open(&copy).unwrap().len(), 100);
}

/// Returns the message about a file after a kill, without its log.
fn refusal_without_log(place: &Place) -> String {
    let copy = place.folder.path().join("copy");
    fs::copy(&place.path, &copy).unwrap();
    open(&copy).unwrap_err().to_string()
}

/// A log is written into its file when it has 4000 pages of 4096 bytes.
fn a_file_says_that_it_needs_its_log_after_the_log_was_brought_in() {
    let place = Place::new();
    let queue = place.open();
    let before = fs::metadata(&place.path).unwrap().len();
    for _ in 0..20 {
        queue.put(&"x".repeat(1 << 20)).unwrap();
    }
    let file = fs::metadata(&place.path).unwrap().len();
    assert!(file > before + 4000 * 4096 / 2, "{file} bytes");
    let log = fs::metadata(beside(&place.path, "-wal")).unwrap().len();
    assert!(log < 2 * 4000 * 4096, "the log has {log} bytes");
    let error = refusal_without_log(&place);
    assert!(error.contains("its log"), "{error}");
    drop(queue);
    assert_eq!(place.open().len(), 20);
}

fn a_file_says_that_it_needs_its_log_after_another_program_brought_it_in() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    let other = look_with_sqlite(&place.path);
    let is_busy = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let busy = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], is_busy);
    assert_eq!(busy.unwrap(), 0);
    // This is noticed, and read again.
    queue.put("b").unwrap();
    let error = refusal_without_log(&place);
    assert!(error.contains("its log"), "{error}");
    drop((queue, other));
    assert_eq!(place.open().len(), 2);
}

/// Makes a journal in use whose file has pages that its log does not have.
fn in_use() -> (Place, Queue) {
    let place = Place::new();
    let queue = place.open();
    for n in 0..200 {
        queue.put(&format!("{n} {}", "x".repeat(2000))).unwrap();
    }
    drop(queue);
    let queue = place.open();
    queue.put("last").unwrap();
    (place, queue)
}

fn refused(queue: &Queue) -> String {
    let error = queue.put("more").unwrap_err();
    assert!(error.is_journal(), "{error}");
    assert!(queue.join().is_err());
    error.to_string()
}

fn is_told_as_damage(error: &str) {
    for part in [
        "was cut or overwritten while it was used",
        "supervisor salvage",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

fn overwrite(path: &Path, at: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[b'#'; 5000], at).unwrap();
}

fn cut(path: &Path, length: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

fn a_file_that_is_overwritten_while_it_is_used_ends_the_queue() {
    let (place, queue) = in_use();
    overwrite(&place.path, 100_000);
    is_told_as_damage(&refused(&queue));
}

fn a_file_that_is_cut_while_it_is_used_ends_the_queue() {
    for length in [0, 50, 4096, 100_000] {
        let (place, queue) = in_use();
        cut(&place.path, length);
        is_told_as_damage(&refused(&queue));
    }
}

fn a_log_that_is_cut_while_it_is_used_ends_the_queue() {
    for length in [0, 32, 5000] {
        let (place, queue) = in_use();
        cut(&beside(&place.path, "-wal"), length);
        is_told_as_damage(&refused(&queue));
    }
}

fn a_log_that_is_overwritten_while_it_is_used_ends_the_queue() {
    let (place, queue) = in_use();
    let log = beside(&place.path, "-wal");
    overwrite(&log, fs::metadata(&log).unwrap().len() - 9000);
    is_told_as_damage(&refused(&queue));
}

fn a_log_that_is_removed_while_it_is_used_ends_the_queue_and_loses_nothing() {
    let (place, queue) = in_use();
    fs::remove_file(beside(&place.path, "-wal")).unwrap();
    let error = refused(&queue);
    assert!(
        error.contains("-wal, which belongs to it, was removed"),
        "{error}"
    );
    drop(queue);
    assert_eq!(place.open().len(), 201);
}

/// The index is mapped, so reading a page that is not there ends the process by SIGBUS.
fn an_index_that_is_cut_while_it_is_used_ends_the_queue_and_loses_nothing() {
    let (place, queue) = in_use();
    cut(&beside(&place.path, "-shm"), 0);
    let error = refused(&queue);
    assert!(
        error.contains("-shm, which belongs to it, was cut"),
        "{error}"
    );
    drop(queue);
    assert_eq!(place.open().len(), 201);
}

fn an_index_that_was_cut_is_not_read_for_dead_letters() {
    let (place, queue) = in_use();
    cut(&beside(&place.path, "-shm"), 0);
    assert!(queue.dead_letters().is_err());
    drop(queue);
    assert_eq!(place.open().len(), 201);
}

fn a_file_that_is_only_touched_is_used_on() {
    let (place, queue) = in_use();
    for suffix in ["", "-wal", "-shm"] {
        let file = File::options()
            .write(true)
            .open(beside(&place.path, suffix));
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        file.unwrap().set_times(times).unwrap();
        queue.put("more").unwrap();
    }
    drop(queue);
    assert_eq!(place.open().len(), 204);
}
