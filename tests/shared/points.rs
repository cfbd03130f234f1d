//! The names of the points at which tests kill a process, as they stand in the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The beginning of the names of points where supervisors speak with a stream.
pub(crate) const OF_STREAMS: &str = "exchange: ";

/// The beginning of the names of points where supervisors of a stream are given orders.
pub(crate) const OF_ORDERS: &str = "orders: ";

/// Returns the names of all points in the source. Each stands there once.
pub(crate) fn in_source() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    read(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut names,
    );
    names
}

fn read(path: &Path, names: &mut BTreeSet<String>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        entries.for_each(|entry| read(&entry.unwrap().path(), names));
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    for call in text.split("fail::point(").skip(1) {
        let quoted = call.trim_start().strip_prefix('"');
        let name = quoted.and_then(|rest| rest.split_once('"'));
        let (name, _) = name.unwrap_or_else(|| panic!("{}: write the name there", path.display()));
        let is_new = names.insert(name.to_owned());
        assert!(is_new, "{}: {name:?} is also elsewhere", path.display());
    }
}
