//! Files that were cut, changed or torn: they give an error, or exactly the former content.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Command;

use dishrack::{Durability, JoinableQueue, Options};

use super::{Content, Place, Queue, copy_as_after_a_kill, drain, kill_next, open};

crate::trials!(
    a_file_cut_within_its_last_page_is_refused,
    a_file_cut_anywhere_is_refused,
    an_emptied_file_with_a_log_is_refused,
    a_flipped_bit_is_noticed_or_harmless,
    a_file_cut_next_to_its_log_is_refused_or_right,
    a_log_cut_anywhere_leaves_an_earlier_moment,
    a_damaged_file_says_what_can_be_saved,
    a_file_without_its_log_is_refused_until_it_is_back,
    a_refused_journal_keeps_its_log,
    a_closed_journal_needs_no_log,
);

const PAGE: usize = 4096;

/// Done, unfinished, failed, dead and revived items, some of them larger than a page.
fn fill(queue: &Queue) {
    for n in 0..40 {
        let item = format!("{n} {}", "x".repeat(n * 100));
        queue.put_resumable(&item, item.as_bytes()).unwrap();
    }
    let first = kill_next(queue);
    kill_next(queue);
    queue.get().unwrap().task_done().unwrap();
    queue.get().unwrap().nack("no").unwrap();
    let (a, b) = (queue.get().unwrap(), queue.get().unwrap());
    b.task_done().unwrap();
    drop(a);
    queue.sync().unwrap();
    while queue.dead_letters().unwrap().len() < 2 {
        std::thread::yield_now();
    }
    assert!(queue.retry_dead_letter(first).unwrap());
}

fn filled() -> (Place, Vec<u8>, Content) {
    let place = Place::new_in_memory();
    let queue = place.open();
    fill(&queue);
    drop(queue);
    let bytes = fs::read(&place.path).unwrap();
    let content = drain(&place.open());
    assert!(content.unfinished.len() > 30 && content.letters.len() == 1);
    (place, bytes, content)
}

/// Returns the error, or `None` if the content is right.
fn refusal(path: &Path, expected: &Content) -> Option<String> {
    match open(path) {
        Ok(queue) => {
            let found = drain(&queue);
            queue.sync().expect("a file that opens can be written");
            assert!(found == *expected, "opened with another content");
            None
        }
        Err(error) => {
            assert!(error.is_journal(), "{error}");
            let (error, path) = (error.to_string(), path.display().to_string());
            assert!(error.contains(&path), "{error}");
            Some(error)
        }
    }
}

fn a_file_cut_within_its_last_page_is_refused() {
    let (place, bytes, expected) = filled();
    let cut = place.folder.path().join("cut");
    for length in bytes.len() - PAGE..bytes.len() {
        fs::write(&cut, &bytes[..length]).unwrap();
        let error = refusal(&cut, &expected).expect("it is too short");
        assert!(error.contains("it has"), "{error}");
        assert_eq!(fs::metadata(&cut).unwrap().len(), length as u64);
    }
}

fn a_file_cut_anywhere_is_refused() {
    let (place, bytes, expected) = filled();
    let cut = place.folder.path().join("cut");
    for length in (1..bytes.len()).step_by(509) {
        fs::write(&cut, &bytes[..length]).unwrap();
        refusal(&cut, &expected).expect("it is too short");
    }
}

fn an_emptied_file_with_a_log_is_refused() {
    let place = Place::new_in_memory();
    let queue = place.open();
    fill(&queue);
    let cut = place.folder.path().join("cut");
    copy_as_after_a_kill(&place.path, &cut);
    fs::write(&cut, b"").unwrap();
    let error = open(&cut).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
}

/// Twenty bits in every page, the same in each run.
fn a_flipped_bit_is_noticed_or_harmless() {
    let (place, bytes, expected) = filled();
    let flipped = place.folder.path().join("flipped");
    let mut noticed = 0;
    for bit in bits(bytes.len()) {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&flipped, &bytes).unwrap();
        let refused = catch_unwind(|| refusal(&flipped, &expected));
        let refused = refused.unwrap_or_else(|_| panic!("bit {} of byte {}", bit % 8, bit / 8));
        noticed += usize::from(refused.is_some());
        // Any files next to it belong to the former content.
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", flipped.display()));
        }
    }
    assert!(noticed > 100, "{noticed} were noticed");
}

/// Returns numbers of bits, spread by Knuth's multiplicative hashing, and all of the header's.
fn bits(bytes: usize) -> impl Iterator<Item = usize> {
    let spread = |page: usize| {
        (1..=20).map(move |n| page * PAGE * 8 + (n + page * 20) * 2_654_435_761 % (PAGE * 8))
    };
    (0..800).chain((0..bytes / PAGE).flat_map(spread))
}

fn a_file_cut_next_to_its_log_is_refused_or_right() {
    let place = Place::new_in_memory();
    let queue = place.open();
    fill(&queue);
    drop(queue);
    // A second run gives the file pages of its own that the log does not have.
    let queue = place.open();
    queue.get().unwrap().task_done().unwrap();
    queue.put("last").unwrap();
    let copy = place.folder.path().join("copy");
    copy_as_after_a_kill(&place.path, &copy);
    let (bytes, log) = (fs::read(&copy).unwrap(), fs::read(wal(&copy)).unwrap());
    let expected = drain(&open(&copy).unwrap());
    for length in (0..bytes.len()).step_by(1021) {
        fs::write(&copy, &bytes[..length]).unwrap();
        fs::write(wal(&copy), &log).unwrap();
        let _ = fs::remove_file(format!("{}-shm", copy.display()));
        refusal(&copy, &expected);
    }
}

fn wal(path: &Path) -> String {
    format!("{}-wal", path.display())
}

/// Whole transactions are there or not, from the first on.
fn a_log_cut_anywhere_leaves_an_earlier_moment() {
    let place = Place::new_in_memory();
    let queue = place.open();
    for n in 0..20 {
        queue.put(&n.to_string()).unwrap();
    }
    let copy = place.folder.path().join("copy");
    copy_as_after_a_kill(&place.path, &copy);
    let (bytes, log) = (fs::read(&copy).unwrap(), fs::read(wal(&copy)).unwrap());
    let mut before = 0;
    for length in (0..=log.len()).step_by(521).chain([log.len()]) {
        fs::write(&copy, &bytes).unwrap();
        fs::write(wal(&copy), &log[..length]).unwrap();
        let _ = fs::remove_file(format!("{}-shm", copy.display()));
        let items = open(&copy).unwrap().len();
        assert!(items >= before, "{items} with {length} bytes");
        before = items;
    }
    assert_eq!(before, 20);
}

fn a_damaged_file_says_what_can_be_saved() {
    let (place, mut bytes, expected) = filled();
    // The body of an item that fills a page of its own.
    let needle = b"x".repeat(1000);
    let at = bytes.windows(1000).position(|window| window == needle);
    bytes[at.unwrap()] = b'y';
    fs::write(&place.path, &bytes).unwrap();
    let error = refusal(&place.path, &expected).unwrap();
    for part in [
        "row",
        "can be saved",
        "1 dead letters",
        "supervisor salvage",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// The state is that after a kill, and the file was moved without its log.
fn a_file_without_its_log_is_refused_until_it_is_back() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    drop(queue);
    let queue = place.open();
    queue.put("b").unwrap();
    let copy = place.folder.path().join("a copy #1%41?");
    copy_as_after_a_kill(&place.path, &copy);
    drop(queue);
    let (bytes, log) = (fs::read(&copy).unwrap(), fs::read(wal(&copy)).unwrap());
    fs::remove_file(wal(&copy)).unwrap();
    // Reading it must not make it look whole.
    for _ in 0..2 {
        let error = open(&copy).unwrap_err().to_string();
        let missing = format!("its log {} is missing", wal(&copy));
        for part in [&missing, "1 unfinished items", "supervisor salvage"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let list = Command::new(env!("CARGO_BIN_EXE_supervisor"))
            .args(["dead", "list", "--journal"])
            .arg(&copy)
            .output()
            .unwrap();
        let said = String::from_utf8(list.stderr).unwrap();
        assert_eq!(list.status.code(), Some(2), "{said}");
        assert!(said.contains(&missing), "{said}");
        assert!(!Path::new(&wal(&copy)).exists());
        assert_eq!(fs::read(&copy).unwrap(), bytes);
    }
    fs::write(wal(&copy), &log).unwrap();
    assert_eq!(open(&copy).unwrap().len(), 2);
}

/// A refused opener must not bring a killed supervisor's log into the file, where it would be gone.
fn a_refused_journal_keeps_its_log() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    let copy = place.folder.path().join("copy");
    copy_as_after_a_kill(&place.path, &copy);
    let other = JoinableQueue::<u32>::journaled(&copy, Durability::Full, Options::default());
    let error = other.unwrap_err().to_string();
    assert!(error.contains("items of type"), "{error}");
    assert_eq!(open(&copy).unwrap().len(), 1);
}

fn a_closed_journal_needs_no_log() {
    let place = Place::new();
    place.open().put("a").unwrap();
    let moved = place.folder.path().join("moved");
    fs::rename(&place.path, &moved).unwrap();
    assert_eq!(open(&moved).unwrap().len(), 1);
    let files = fs::read_dir(place.folder.path()).unwrap();
    assert_eq!(files.count(), 1);
}
