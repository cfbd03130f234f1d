//! Files that cannot be a journal, or not this one, or not now.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use dishrack::{Durability, ItemState, JoinableQueue, Options};

use super::{Place, kill_next, open};

crate::trials!(
    a_folder_is_refused,
    a_missing_folder_is_named,
    a_file_that_is_no_journal_stays_as_it_is,
    a_special_file_is_refused,
    an_sqlite_file_of_another_program_stays_as_it_is,
    a_newer_format_is_refused,
    a_journal_of_an_older_format_is_taken_on,
    another_item_type_is_refused_and_both_are_named,
    a_second_queue_of_this_process_is_refused,
    a_second_process_is_told_who_uses_the_file,
    a_link_is_the_same_file,
    an_empty_file_becomes_a_journal,
    a_read_only_place_is_refused,
    a_path_with_odd_characters_is_a_path,
    a_file_that_is_removed_while_it_is_used_ends_the_queue,
    a_file_that_is_replaced_while_it_is_used_stays_as_it_is,
    a_file_that_was_moved_away_is_whole,
    a_file_with_two_names_is_refused,
    the_lock_of_a_killed_process_is_waited_for,
    what_is_next_to_a_new_journal_stays_and_is_named,
    what_is_next_to_a_journal_and_is_not_sqlites_stays,
    whoever_reads_a_journal_that_nobody_uses_makes_no_files,
    what_sqlite_has_left_next_to_a_journal_is_no_strangers,
);

fn refusal(place: &Place) -> String {
    let error = open(&place.path).unwrap_err();
    assert!(error.is_journal() && error.is_setup());
    let error = error.to_string();
    assert!(error.contains(&place.path.display().to_string()), "{error}");
    error
}

fn a_folder_is_refused() {
    let place = Place::new();
    fs::create_dir(&place.path).unwrap();
    assert!(refusal(&place).contains("it is a folder"));
}

fn a_missing_folder_is_named() {
    let mut place = Place::new();
    place.path = place.folder.path().join("none/journal");
    assert!(refusal(&place).contains("none does not exist"));
}

fn a_file_that_is_no_journal_stays_as_it_is() {
    let place = Place::new();
    for text in ["cup-1\n".to_owned(), "cup-1\n".repeat(1000)] {
        fs::write(&place.path, &text).unwrap();
        assert!(refusal(&place).contains("not even an SQLite file"));
        assert_eq!(fs::read_to_string(&place.path).unwrap(), text);
    }
}

fn a_special_file_is_refused() {
    let mut place = Place::new();
    place.path = "/dev/null".into();
    assert!(refusal(&place).contains("not a regular file"));
}

/// Makes a journal, and writes four bytes into its header.
fn with_header(at: usize, number: u32) -> (Place, Vec<u8>) {
    let place = Place::new();
    place.open().put("a").unwrap();
    let mut bytes = fs::read(&place.path).unwrap();
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    fs::write(&place.path, &bytes).unwrap();
    (place, bytes)
}

/// SQLite keeps the program's number at byte 68.
fn an_sqlite_file_of_another_program_stays_as_it_is() {
    let (place, bytes) = with_header(68, 0);
    assert!(refusal(&place).contains("of another program"));
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
}

/// SQLite keeps the format's version at byte 60.
fn a_newer_format_is_refused() {
    let (place, bytes) = with_header(60, 4);
    assert!(refusal(&place).contains("written by a newer version"));
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
}

/// The first format had no table of attempts that are not shown, and no number of them; the second had none
/// of the numbers of dead letters that were dropped.
fn a_journal_of_an_older_format_is_taken_on() {
    for (version, numbers, missing) in [(1, 2, &["unshown", "dropped"][..]), (2, 1, &["dropped"])] {
        let place = Place::new();
        place.open().put("a").unwrap();
        make_older(&place.path, version, numbers, missing);
        for _ in 0..2 {
            let queue = place.open();
            assert_eq!(queue.counts().unwrap().waiting, 1);
        }
        let queue = place.open();
        let last = kill_next(&queue);
        queue.join().unwrap();
        assert!(queue.drop_dead_letter(last).unwrap());
        drop(queue);
        let item = place.open().item(last).unwrap().unwrap();
        assert_eq!(item.state, ItemState::Dead, "format {version}");
    }
}

/// Takes so many numbers from the tally, which are 0, and these tables.
fn make_older(path: &Path, version: u32, numbers: usize, missing: &[&str]) {
    let file = rusqlite::Connection::open(path).unwrap();
    let read = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
    let mut tally = file.query_row("SELECT row FROM tally", [], read).unwrap();
    tally.truncate(tally.len() - 4);
    let taken = tally.split_off(tally.len() - numbers);
    assert_eq!(taken, vec![0; numbers]);
    let mut sum = crc32fast::Hasher::new();
    sum.update(b"tally");
    sum.update(&[0; 16]);
    sum.update(&tally);
    tally.extend(sum.finalize().to_le_bytes());
    file.execute("UPDATE tally SET row = ?1", [tally]).unwrap();
    for table in missing {
        file.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    let header = format!("PRAGMA user_version = {version}; PRAGMA journal_mode = DELETE;");
    file.execute_batch(&header).unwrap();
}

fn another_item_type_is_refused_and_both_are_named() {
    let place = Place::new();
    drop(place.open());
    let other = JoinableQueue::<u32>::journaled(&place.path, Durability::Full, Options::default());
    let error = other.unwrap_err().to_string();
    let names_both = error.contains("type alloc::string::String") && error.contains("type u32");
    assert!(names_both, "{error}");
    drop(place.open());
}

fn a_second_queue_of_this_process_is_refused() {
    let place = Place::new();
    let queue = place.open();
    assert!(refusal(&place).contains("this process has it open already"));
    // The first one goes on.
    queue.put("a").unwrap();
    drop(queue);
    assert_eq!(place.open().len(), 1);
}

fn a_second_process_is_told_who_uses_the_file() {
    let place = Place::new();
    let queue = place.open();
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    let output = command.arg("--journal").arg(&place.path).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    let own = format!("process {} is using it", std::process::id());
    assert!(error.contains(&own), "{error}");
    queue.put("a").unwrap();
}

fn a_link_is_the_same_file() {
    let place = Place::new();
    let link = place.folder.path().join("link");
    symlink(&place.path, &link).unwrap();
    let queue = open(&link).unwrap();
    queue.put("a").unwrap();
    assert!(refusal(&place).contains("has it open already"));
    drop(queue);
    assert_eq!(place.open().len(), 1);
}

fn an_empty_file_becomes_a_journal() {
    let place = Place::new();
    fs::write(&place.path, b"").unwrap();
    place.open().put("a").unwrap();
    assert_eq!(place.open().len(), 1);
}

/// Root may write everywhere except in a read-only mount.
fn a_read_only_place_is_refused() {
    let place = Place::new();
    drop(place.open());
    let folder = place.folder.path().display();
    let script = format!(
        "mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} || exit 99; \
         {} --dishes 1 --journal {} || exit",
        env!("CARGO_BIN_EXE_supervisor"),
        place.path.display()
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .output();
    let Ok(output) = output else { return };
    let error = String::from_utf8(output.stderr).unwrap();
    // If the system allows no such mount, there is nothing to test.
    if output.status.code() == Some(2) {
        assert!(
            error.contains("read-only") || error.contains("Read-only"),
            "{error}"
        );
        assert!(error.contains("choose a place that is writable"), "{error}");
    } else {
        assert!(!error.contains("dishes done"), "{error}");
    }
}

fn a_path_with_odd_characters_is_a_path() {
    let mut place = Place::new();
    place.path = place.folder.path().join("a?b#c%41 ü:memory:");
    place.open().put("a").unwrap();
    assert_eq!(place.open().len(), 1);
    assert!(place.path.is_file());
}

fn a_file_that_is_removed_while_it_is_used_ends_the_queue() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    fs::remove_file(&place.path).unwrap();
    let error = queue.put("b").unwrap_err().to_string();
    let said = format!("journal {} was removed", place.path.display());
    assert!(error.contains(&said), "{error}");
    assert!(queue.sync().is_err() && queue.join().is_err());
}

fn a_file_that_is_replaced_while_it_is_used_stays_as_it_is() {
    let place = Place::new();
    let other = place.folder.path().join("other");
    open(&other).unwrap().put("other").unwrap();
    let queue = place.open();
    queue.put("a").unwrap();
    fs::rename(&other, &place.path).unwrap();
    let bytes = fs::read(&place.path).unwrap();
    // Nothing is put any more, so the end of the queue notices it.
    drop(queue);
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
    // Nor is the log of the one brought into the other.
    assert_eq!(*place.open().get().unwrap(), "other");
}

fn a_file_that_was_moved_away_is_whole() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    let away = place.folder.path().join("away");
    fs::rename(&place.path, &away).unwrap();
    assert!(queue.put("b").is_err());
    drop(queue);
    assert_eq!(open(&away).unwrap().len(), 1);
    fs::rename(&away, &place.path).unwrap();
    assert_eq!(place.open().len(), 1);
}

/// The log has the one name, and the next run would look for it under the other.
fn a_file_with_two_names_is_refused() {
    let place = Place::new();
    drop(place.open());
    let other = place.folder.path().join("other");
    fs::hard_link(&place.path, &other).unwrap();
    assert!(refusal(&place).contains("it has another name"));
    fs::remove_file(&other).unwrap();
    drop(place.open());
}

/// The process may be about to end, or be a zombie.
fn the_lock_of_a_killed_process_is_waited_for() {
    let place = Place::new();
    drop(place.open());
    for _ in 0..20 {
        let held = File::open(&place.path).unwrap();
        held.try_lock().unwrap();
        let mut command = Command::new("sleep");
        let mut child = command
            .arg("1000")
            .stdin(Stdio::from(held))
            .spawn()
            .unwrap();
        // From now on only the child has it.
        drop(command);
        assert!(open(&place.path).is_err());
        child.kill().unwrap();
        drop(place.open());
        child.wait().unwrap();
    }
}

fn beside(place: &Place, suffix: &str) -> std::path::PathBuf {
    format!("{}{suffix}", place.path.display()).into()
}

/// Checks that a foreign file is refused by its name, and stays as it was.
fn is_named_and_stays(place: &Place, suffix: &str, text: &str) {
    let other = beside(place, suffix);
    fs::write(&other, text).unwrap();
    let said = refusal(place);
    assert!(said.contains(&other.display().to_string()), "{said}");
    assert_eq!(fs::read_to_string(&other).unwrap(), text);
    fs::remove_file(&other).unwrap();
}

fn what_is_next_to_a_new_journal_stays_and_is_named() {
    let place = Place::new();
    for suffix in ["-wal", "-shm", "-journal"] {
        for text in ["precious\n", ""] {
            is_named_and_stays(&place, suffix, text);
            assert!(!place.path.exists(), "what is refused leaves nothing");
        }
        symlink("elsewhere", beside(&place, suffix)).unwrap();
        refusal(&place);
        assert!(!place.path.exists());
        fs::remove_file(beside(&place, suffix)).unwrap();
    }
    drop(place.open());
}

fn what_is_next_to_a_journal_and_is_not_sqlites_stays() {
    let place = Place::new();
    place.open().put("a").unwrap();
    for suffix in ["-wal", "-shm", "-journal"] {
        is_named_and_stays(&place, suffix, "precious\n");
        is_named_and_stays(&place, suffix, &"precious\n".repeat(4096));
        // A reader does not overwrite it either.
        fs::write(beside(&place, suffix), "precious\n").unwrap();
        let mut list = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        list.args(["dead", "list", "--journal"]).arg(&place.path);
        assert_eq!(list.output().unwrap().status.code(), Some(2));
        let text = fs::read_to_string(beside(&place, suffix)).unwrap();
        assert_eq!(text, "precious\n");
        fs::remove_file(beside(&place, suffix)).unwrap();
    }
    assert_eq!(place.open().len(), 1);
}

/// Files next to the journal would belong to the reader, who may be another user.
fn whoever_reads_a_journal_that_nobody_uses_makes_no_files() {
    let place = Place::new();
    let mut run = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    run.arg("--journal").arg(&place.path);
    run.args(["--max-attempts", "1", "--", "false", ":::", "a"]);
    assert_eq!(run.output().unwrap().status.code(), Some(1));
    let folder = place.path.parent().unwrap();
    let before = fs::metadata(folder).unwrap().modified().unwrap();
    for verb in ["list", "show"] {
        let mut read = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        let numbers: &[&str] = if verb == "show" { &["--all"] } else { &[] };
        read.args(["dead", verb]).args(numbers);
        let output = read.arg("--journal").arg(&place.path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
    // Not even for a moment.
    let after = fs::metadata(folder).unwrap().modified().unwrap();
    assert_eq!(before, after);
}

/// Killed runs and readers leave such files.
fn what_sqlite_has_left_next_to_a_journal_is_no_strangers() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    let copy = Place::new();
    for suffix in ["", "-wal", "-shm"] {
        fs::copy(beside(&place, suffix), beside(&copy, suffix)).unwrap();
    }
    drop(queue);
    assert_eq!(copy.open().len(), 1);
    // A log whose content is all in the file.
    fs::write(beside(&copy, "-wal"), "").unwrap();
    assert_eq!(copy.open().len(), 1);
    assert!(!beside(&copy, "-wal").exists());
}
