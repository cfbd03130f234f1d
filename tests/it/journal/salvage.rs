//! `supervisor salvage`: a new journal of what can be read of a damaged one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Content, Place, Queue, drain, kill_next, open};
use crate::said::Said;

crate::trials!(
    a_sound_journal_is_saved_as_a_whole,
    a_damaged_row_costs_its_items_and_no_others,
    a_cut_file_is_saved_as_far_as_it_goes,
    saved_keys_are_passed_over_and_lost_ones_are_put_again,
    a_file_that_is_there_is_not_written_over,
    what_cannot_be_read_at_all_is_said,
    a_table_that_cannot_be_read_is_told,
    a_file_without_its_log_is_not_saved_as_a_whole,
    what_is_next_to_the_new_journal_stays_and_no_half_of_it,
    a_part_of_the_damaged_journal_is_not_written_over,
);

fn salvage(from: &Path, into: &Path) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(["salvage", "--journal"]).arg(from);
    command.arg("--into").arg(into).output().unwrap().into()
}

fn item(n: usize) -> String {
    format!("{n} {}", "x".repeat(5000))
}

fn put(queue: &Queue, n: usize) -> bool {
    let item = item(n);
    queue
        .put_resumable(&item, item.as_bytes())
        .unwrap()
        .is_some()
}

/// Makes ten items: the first is dead, the second done, the third failed once; and its bytes.
fn filled() -> (Place, Vec<u8>, Content) {
    let place = Place::new();
    let queue = place.open();
    assert!((1..=10).all(|n| put(&queue, n)));
    kill_next(&queue);
    queue.get().unwrap().task_done().unwrap();
    queue.get().unwrap().nack("no").unwrap();
    drop(queue);
    let bytes = fs::read(&place.path).unwrap();
    let content = drain(&place.open());
    fs::write(&place.path, &bytes).unwrap();
    (place, bytes, content)
}

/// Changes a byte in the middle of this item.
fn damage(bytes: &mut [u8], n: usize) {
    let needle = format!("{n} xxxxxx").into_bytes();
    let windows = bytes.windows(needle.len());
    let found: Vec<usize> = windows
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect();
    for at in found {
        bytes[at + 3] = b'y';
    }
}

fn a_sound_journal_is_saved_as_a_whole() {
    let (place, bytes, expected) = filled();
    let new = place.folder.path().join("new");
    let output = salvage(&place.path, &new);
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert_eq!(drain(&open(&new).unwrap()), expected);
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
}

fn a_damaged_row_costs_its_items_and_no_others() {
    let (place, mut bytes, mut expected) = filled();
    damage(&mut bytes, 5);
    fs::write(&place.path, &bytes).unwrap();
    assert!(open(&place.path).is_err());
    let new = place.folder.path().join("new");
    let output = salvage(&place.path, &new);
    let said = &output.err;
    assert_eq!(output.code, Some(1), "{said}");
    output.tells("saved 7 unfinished items and 1 dead letters; 1 are done");
    output.tells("of 1 items nothing is known");
    expected.unfinished.remove(&5);
    // It counts as dead, because it is not known to be done.
    expected.dead += 1;
    assert_eq!(drain(&open(&new).unwrap()), expected);
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
}

fn a_cut_file_is_saved_as_far_as_it_goes() {
    let (place, bytes, expected) = filled();
    for pages in [1, 2, 5, 8] {
        let length = bytes.len() - pages * 4096;
        fs::write(&place.path, &bytes[..length]).unwrap();
        let new = place.folder.path().join(format!("new-{pages}"));
        let output = salvage(&place.path, &new);
        if !new.exists() {
            // The journal's identity was on those pages.
            assert_eq!(output.code, Some(2), "{}", output.err);
            continue;
        }
        output.ends(1);
        for (id, item) in drain(&open(&new).unwrap()).unfinished {
            // Done or dead items may be done again; none is made up.
            let known = expected.unfinished.get(&id).map(|(item, _)| item);
            assert!(known.is_none_or(|known| *known == item.0), "{id}");
        }
    }
}

fn saved_keys_are_passed_over_and_lost_ones_are_put_again() {
    let (place, mut bytes, _) = filled();
    damage(&mut bytes, 5);
    fs::write(&place.path, &bytes).unwrap();
    let new = place.folder.path().join("new");
    salvage(&place.path, &new);
    let queue = open(&new).unwrap();
    let again: Vec<usize> = (1..=10).filter(|n| put(&queue, *n)).collect();
    assert_eq!(again, [5]);
}

fn a_file_that_is_there_is_not_written_over() {
    let (place, bytes, _) = filled();
    salvage(&place.path, &place.path)
        .ends(2)
        .tells("the damaged journal itself");
    let new = place.folder.path().join("new");
    fs::write(&new, "mine").unwrap();
    salvage(&place.path, &new)
        .ends(2)
        .tells("it is there already");
    assert_eq!(fs::read(&new).unwrap(), b"mine");
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
    // Nor is a file with the name under which the new one is made.
    let part = place.folder.path().join("newer.part");
    fs::write(&part, "").unwrap();
    salvage(&place.path, &place.folder.path().join("newer"))
        .ends(2)
        .tells("newer.part is there");
    assert!(part.exists());
}

fn what_cannot_be_read_at_all_is_said() {
    let (place, bytes, _) = filled();
    let new = place.folder.path().join("new");
    fs::write(&place.path, &bytes[..200]).unwrap();
    let error = open(&place.path).unwrap_err().to_string();
    assert!(error.contains("nothing in it can be read"), "{error}");
    let output = salvage(&place.path, &new);
    output.ends(2);
    assert!(!new.exists(), "{}", output.err);
}

/// The first page of each table, in turn, cannot be read, or has no rows, which SQLite takes for
/// sound.
fn a_table_that_cannot_be_read_is_told() {
    let (place, bytes, _) = filled();
    let roots = roots(&place.path);
    assert_eq!(roots.len(), 9, "{roots:?}");
    for (table, page) in &roots {
        for is_empty in [false, true] {
            let mut damaged = bytes.clone();
            let page = &mut damaged[(page - 1) * 4096..page * 4096];
            page.fill(0);
            if is_empty {
                // The kind of a leaf, and the place of its content (SQLite's file format, 1.6).
                let has_two_keys = ["failure", "unshown"].contains(&table.as_str());
                page[0] = if has_two_keys { 10 } else { 13 };
                page[5] = 0x10;
            }
            fs::write(&place.path, &damaged).unwrap();
            // No dead letter was retried or dropped, and nothing was to be shown.
            let is_sound = is_empty && ["loose", "dropped", "unshown"].contains(&table.as_str());
            let error = open(&place.path).map(drop);
            fs::write(&place.path, &damaged).unwrap();
            let new = place.folder.path().join(format!("{table}-{is_empty}"));
            let output = salvage(&place.path, &new);
            let said = &output.err;
            let of = format!("{table}, {is_empty}: {said}");
            assert_eq!(output.code, Some(i32::from(!is_sound)), "{of}");
            drain(&open(&new).unwrap());
            if is_sound {
                error.unwrap();
                continue;
            }
            let error = error.unwrap_err().to_string();
            // Missing items are counted in the message.
            let what = match is_empty && table == "batch" {
                true => "nothing is known",
                false => "not all is there of: ",
            };
            assert!(said.contains(what), "{of}");
            assert!(error.contains(what), "{of}; {error}");
        }
    }
}

/// Returns the first page of each table of the book.
fn roots(path: &Path) -> Vec<(String, usize)> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT name, rootpage FROM sqlite_schema WHERE name <> 'meta'";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, u16>(1)?.into())));
    rows.unwrap().map(Result::unwrap).collect()
}

fn a_file_without_its_log_is_not_saved_as_a_whole() {
    let place = Place::new();
    let queue = place.open();
    queue.put("a").unwrap();
    let copy = place.folder.path().join("copy");
    fs::copy(&place.path, &copy).unwrap();
    let bytes = fs::read(&copy).unwrap();
    let new = place.folder.path().join("new");
    salvage(&copy, &new).ends(1).tells("log, which is missing");
    assert_eq!(fs::read(&copy).unwrap(), bytes);
    assert!(!place.folder.path().join("copy-wal").exists());
    drop(open(&new).unwrap());
    assert!(open(&copy).is_err());
}

fn what_is_next_to_the_new_journal_stays_and_no_half_of_it() {
    let (place, _, expected) = filled();
    let new = place.folder.path().join("new");
    for name in [
        "new.part-journal",
        "new.part-wal",
        "new.part-shm",
        "new-journal",
        "new-wal",
    ] {
        let other = place.folder.path().join(name);
        fs::write(&other, "precious").unwrap();
        let output = salvage(&place.path, &new);
        assert_eq!(output.code, Some(2), "{name}: {}", output.err);
        output.tells(name);
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        assert!(!new.exists() && !place.folder.path().join("new.part").exists());
        fs::remove_file(&other).unwrap();
    }
    // The refused file does not get in the way.
    salvage(&place.path, &new).ends(0);
    assert_eq!(drain(&open(&new).unwrap()), expected);
}

fn a_part_of_the_damaged_journal_is_not_written_over() {
    let (place, bytes, _) = filled();
    let log = place.folder.path().join("journal-wal");
    let output = salvage(&place.path, &log);
    assert_eq!(output.code, Some(2), "{}", output.err);
    assert!(!log.exists());
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
}
