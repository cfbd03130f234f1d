//! One direction within a module, too: its parts, each with all that is below it, form no circles.
//! A module and its own part may name each other, because that makes it a part.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::{inline_modules_around, paths, starts_of_paths, tree_at, without_tests};
use super::source::{self, Source};
use super::{Findings, expect_none};

crate::trials! {
    parts_of_a_module_go_round_in_no_circle,
    a_circle_is_caught,
    what_a_module_shows_of_its_parts_is_theirs,
}

/// A path from the root of its crate, whose folder comes first.
pub(super) type Place = Vec<String>;

fn parts_of_a_module_go_round_in_no_circle() {
    expect_none(&rounds(&source::all()));
}

/// Finds parts in a circle.
fn rounds(sources: &[Source]) -> Findings {
    let uses = uses(sources);
    let mut findings = Findings::new();
    for (module, parts) in &parts_by_module(&uses) {
        let reach = reach(parts);
        let is_round = |part: &&String| reach[*part].contains(*part);
        for part in reach.keys().filter(is_round) {
            let is_with = |other: &&String| {
                let named = reach.get(*other);
                named.is_some_and(|named| named.contains(part))
            };
            let with = reach[part].iter().filter(is_with).cloned();
            let with = with.collect::<Vec<_>>().join(", ");
            findings.push(format!(
                "{module}: `{part}` goes round in a circle ({with}): move what both need below both"
            ));
        }
    }
    findings
}

/// The parts of each module with the parts of it that they name, including all below them.
type Parts = BTreeMap<String, BTreeSet<String>>;

fn parts_by_module(uses: &BTreeMap<Place, BTreeSet<Place>>) -> BTreeMap<String, Parts> {
    let mut modules: BTreeMap<String, Parts> = BTreeMap::new();
    for (from, targets) in uses {
        for to in targets {
            let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            if common > 0 && common < from.len() && common < to.len() {
                let parts = modules.entry(from[..common].join("/")).or_default();
                let part = parts.entry(from[common].clone()).or_default();
                part.insert(to[common].clone());
            }
        }
    }
    modules
}

/// Returns the parts that each part names, directly or by others.
fn reach(parts: &Parts) -> Parts {
    let mut reach = parts.clone();
    loop {
        let before = reach.clone();
        for named in reach.values_mut() {
            let further = named.iter().filter_map(|part| before.get(part)).flatten();
            let further: Vec<String> = further.cloned().collect();
            named.extend(further);
        }
        if reach == before {
            return reach;
        }
    }
}

/// Returns the files that each file names.
fn uses(sources: &[Source]) -> BTreeMap<Place, BTreeSet<Place>> {
    let files: BTreeMap<Place, String> = sources.iter().filter_map(file).collect();
    let mut shown = BTreeMap::new();
    for (place, code) in &files {
        for (at, _) in code.match_indices("use ") {
            let is_shown = code[..at].trim_end().ends_with(['b', ')']);
            for path in paths(
                code[at + "use ".len()..]
                    .split(';')
                    .next()
                    .unwrap_or_default(),
            ) {
                let name = path.rsplit("::").next().unwrap_or_default().to_owned();
                if is_shown && let Some(target) = from_root(&path, place, place) {
                    shown.insert([place.as_slice(), &[name]].concat(), target);
                }
            }
        }
    }
    let named = |(place, code): (&Place, &String)| {
        let named = named(code, place);
        let named = named.into_iter().map(|path| file_of(path, &files, &shown));
        (place.clone(), named.filter(|to| to != place).collect())
    };
    files.iter().map(named).collect()
}

/// Returns the place of a file of the two crates, and its code without tests.
fn file(source: &Source) -> Option<(Place, String)> {
    let folder = ["src", "crates/core/src"];
    let folder = folder.into_iter().find(|one| {
        let rest = source.path.strip_prefix(one);
        rest.is_some_and(|rest| rest.starts_with('/'))
    })?;
    let inner = source.path[folder.len() + 1..].strip_suffix(".rs")?;
    let inner = inner.split('/').map(str::to_owned);
    let place: Place = std::iter::once(folder.to_owned()).chain(inner).collect();
    let is_test = |part: &String| part == "tests" || part == "hostile";
    let is_root = place[1] == "lib";
    (!is_root && !place.iter().any(is_test)).then(|| (place, without_tests(source.code())))
}

/// Returns all paths from `crate`, `super` or `self` in the code of a file.
pub(super) fn named(code: &str, place: &Place) -> Vec<Place> {
    let mut named = Vec::new();
    for at in starts_of_paths(code) {
        // Their names do not matter, because none is a file's.
        let inner = vec!["{}".to_owned(); inline_modules_around(code, at)];
        let from = [place.clone(), inner].concat();
        let paths = paths(tree_at(&code[at..]));
        let paths = paths.iter();
        named.extend(paths.filter_map(|path| from_root(path, &from, place)));
    }
    named
}

/// Returns a path from the root; one that begins with a name of its own is taken from `home`.
fn from_root(path: &str, from: &Place, home: &Place) -> Option<Place> {
    let mut place = from.clone();
    let mut parts = path.split("::").map(str::trim).peekable();
    match parts.peek() {
        Some(&"crate") => place.truncate(1),
        Some(&"self" | &"super") => {}
        _ => place.clone_from(home),
    }
    for part in parts {
        match part {
            "crate" | "self" => {}
            "super" => drop(place.pop()?),
            name => place.push(name.to_owned()),
        }
    }
    Some(place)
}

/// Returns the file that a path leads to, also by a re-export.
fn file_of(path: Place, files: &BTreeMap<Place, String>, shown: &BTreeMap<Place, Place>) -> Place {
    let mut path = path;
    // No name is re-exported more often.
    for _ in 0..8 {
        let ends = (1..=path.len()).rev();
        let end = ends.clone().find(|end| shown.contains_key(&path[..*end]));
        let length = ends.clone().find(|end| files.contains_key(&path[..*end]));
        match (end, length) {
            (Some(end), _) if length.is_none_or(|length| end > length) => {
                path = [shown[&path[..end]].as_slice(), &path[end..]].concat();
            }
            (_, length) => return path[..length.unwrap_or(1)].to_vec(),
        }
    }
    path
}

fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let sources = files.iter().map(|(path, raw)| Source::new(path, raw));
    sources.collect()
}

fn a_circle_is_caught() {
    let wrong: [&[(&str, &str)]; 4] = [
        &[
            ("src/a/b.rs", "use super::c::C;"),
            ("src/a/c.rs", "use super::b;"),
        ],
        &[
            ("src/a/b/inner.rs", "use crate::a::{self, c::C};"),
            ("src/a/b.rs", ""),
            ("src/a/c.rs", "use super::d;"),
            ("src/a/d.rs", "fn f() { crate::a::b::inner::g() }"),
        ],
        &[
            ("crates/core/src/b.rs", "use super::c;"),
            ("crates/core/src/c.rs", "use crate::b::B;"),
        ],
        &[
            ("src/a/b.rs", "mod inner { use super::super::c::C; }"),
            ("src/a/c.rs", "use self::super::b::B;"),
        ],
    ];
    for files in wrong {
        let findings = rounds(&sources(files));
        assert!(findings.len() >= 2, "{files:?}: {findings:?}");
    }
    let right: [&[(&str, &str)]; 3] = [
        // A part, and its module.
        &[
            ("src/a.rs", "use self::b::B;"),
            ("src/a/b.rs", "use super::A;"),
        ],
        &[
            ("src/a/b.rs", "use super::c;"),
            (
                "src/a/c.rs",
                "#[cfg(test)]\nmod tests {\n    use super::super::b;\n}",
            ),
        ],
        // Two crates cannot name each other by such paths.
        &[
            ("src/b.rs", "use crate::c;"),
            ("crates/core/src/c.rs", "use crate::b;"),
        ],
    ];
    for files in right {
        assert_eq!(rounds(&sources(files)), Findings::new(), "{files:?}");
    }
}

fn what_a_module_shows_of_its_parts_is_theirs() {
    let files = [
        (
            "src/a.rs",
            "mod b;\npub(super) use self::b::B;\npub(super) use c::C;",
        ),
        ("src/a/b.rs", "use super::C;"),
        ("src/a/c.rs", "use crate::a::B;"),
    ];
    let findings = rounds(&sources(&files));
    assert_eq!(findings.len(), 2, "{findings:?}");
}
