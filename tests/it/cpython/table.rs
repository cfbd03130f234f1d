//! `docs/cpython.md` against the tests: the table has each of them with its file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

crate::trials!(the_table_names_every_test_and_its_file);

const FOLDERS: [&str; 2] = ["tests/it/cpython", "tests/process/cpython"];

/// A test and its file.
type Place = (String, String);

fn the_table_names_every_test_and_its_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/cpython.md")).unwrap();
    let told: BTreeSet<Place> = table.lines().filter_map(row).collect();
    let found: BTreeSet<Place> = FOLDERS.iter().flat_map(|one| tests_in(root, one)).collect();
    assert!(found.len() > 50, "the tests were not found");
    let differences: Vec<_> = told.symmetric_difference(&found).collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Returns the test and the file in a row of the table, if it has a file.
fn row(line: &str) -> Option<Place> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let test = cells.next()?.trim_matches('`');
    let file = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
    Some((test.to_owned(), file.to_owned()))
}

fn tests_in(root: &Path, folder: &str) -> Vec<Place> {
    let mut tests = Vec::new();
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.strip_prefix(root).unwrap().display().to_string();
        let code = fs::read_to_string(&path).unwrap();
        for line in code.lines() {
            // In the list of the file's tests.
            if let Some(rest) = line.strip_prefix("    test_") {
                let name = rest.split([',', ' ']).next().unwrap();
                tests.push((format!("test_{name}"), file.clone()));
            }
        }
    }
    tests
}
