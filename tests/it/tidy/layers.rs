//! One direction: the layers of `src`'s modules, none of which imports from above or from its side.
//! Tests may import anything, and so may `src/lib.rs`, which re-exports them all.

use super::source::{self, Source};
use super::{Findings, end_of_body, expect_none, finding};

crate::trials! {
    modules_import_from_below_alone => expect_none(&wrong_ways(&source::all())),
    every_module_has_its_layer => expect_none(&misplaced(&source::all())),
    a_wrong_import_is_caught,
    a_module_without_a_layer_is_caught,
    every_spelling_of_an_import_is_read,
}

/// The modules of `src`, lowest layer first. Those of one layer do not know each other. The first
/// is `crates/core`, which cannot import the others; above all is `bin`, which sees the public
/// names.
const LAYERS: [&[&str]; 14] = [
    &["dishrack_core"],
    &["error", "fail"],
    &["sys"],
    &["payload"],
    &["protocol"],
    &["handler"],
    &["blob", "link", "observe", "store", "worker"],
    &["broker"],
    &["queue"],
    &["supervision"],
    &["jobs", "kitchen"],
    &["control"],
    &["web"],
    &["cli"],
];

/// Finds modules of `src` in no layer, and names in layers that are no modules.
fn misplaced(sources: &[Source]) -> Findings {
    let top = |one: &Source| Some(place_of(one).filter(|place| place.len() == 1)?[0].to_owned());
    let modules: Vec<String> = sources.iter().filter_map(top).collect();
    let listed = || LAYERS[1..].iter().copied().flatten();
    let is_homeless = |module: &&String| !listed().any(|one| one == *module);
    let homeless = modules.iter().filter(is_homeless);
    let mut findings: Findings = homeless
        .map(|module| format!("src/{module}.rs:1: it is in no layer: see LAYERS"))
        .collect();
    for module in listed().filter(|one| !modules.iter().any(|module| module == *one)) {
        findings.push(format!("LAYERS: there is no `{module}` in src"));
    }
    findings
}

/// A line in which a module of `src` names another one.
struct Import<'a> {
    source: &'a Source,
    line: usize,
    from: &'a str,
    to: String,
}

fn wrong_ways(sources: &[Source]) -> Findings {
    let mut findings = Findings::new();
    for import in imports(sources) {
        let (source, line, from, to) = (import.source, import.line, import.from, &import.to);
        let (Some(above), Some(below)) = (layer_of(from), layer_of(to)) else {
            let what = format!("`{from}` or `{to}` is in no layer: see LAYERS");
            findings.push(finding(source, line, &what));
            continue;
        };
        if below < above {
            continue;
        }
        let why = "not below it: move what both need below both";
        let what = format!("`{from}` imports `{to}`, {why}");
        findings.push(finding(source, line, &what));
    }
    // `{self, Thing}` names one module twice.
    findings.dedup();
    findings
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Returns every place in which one module of `src` names another one.
fn imports(sources: &[Source]) -> Vec<Import<'_>> {
    let shown = names_that_the_root_shows(sources);
    let mut imports = Vec::new();
    for source in sources {
        let Some(place) = place_of(source) else {
            continue;
        };
        let from = place[0];
        for (line, name) in named_at_root(&without_tests(source.code()), place.len()) {
            let shown_by = shown.iter().find(|(shown, _)| *shown == name);
            let to = shown_by.map_or(name, |(_, module)| module.clone());
            if to != from {
                let (to, line) = (to, line);
                imports.push(Import {
                    source,
                    line,
                    from,
                    to,
                });
            }
        }
    }
    imports
}

/// Returns the place of a file's module in the tree: `["queue", "delivery"]`, or `None` outside of
/// `src`, for its root and for tests.
fn place_of(source: &Source) -> Option<Vec<&str>> {
    let path = source.path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let place: Vec<&str> = path.split('/').collect();
    let is_test = place.last() == Some(&"tests");
    (!is_test && place != ["lib"]).then_some(place)
}

/// Blanks the code that is compiled for tests alone, line for line.
pub(super) fn without_tests(code: &str) -> String {
    let mut left = code.to_owned();
    while let Some(start) = left.find("#[cfg(test)]\nmod tests {") {
        let end = end_of_body(&left[start..]).map_or(left.len(), |end| start + end + 1);
        let lines = "\n".repeat(left[start..end].matches('\n').count());
        left.replace_range(start..end, &lines);
    }
    left
}

/// Returns the re-exports of `src/lib.rs` and their modules, because a path may use them.
pub(super) fn names_that_the_root_shows(sources: &[Source]) -> Vec<(String, String)> {
    let root = sources.iter().find(|one| one.path == "src/lib.rs");
    let mut shown = Vec::new();
    for (at, _) in root
        .map_or("", |root| root.code())
        .match_indices("pub use ")
    {
        let tree = &root.expect("it was found").code()[at + "pub use ".len()..];
        let tree = tree.split(';').next().unwrap_or_default();
        for path in paths(tree) {
            let module = path.split("::").next().unwrap_or_default().to_owned();
            let name = path.rsplit("::").next().unwrap_or_default().to_owned();
            shown.push((name, module));
        }
    }
    shown
}

/// Returns the first names of paths from the root, by line, in the code of a module so deep below
/// it.
fn named_at_root(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for at in starts_of_paths(code) {
        let line = code[..at].matches('\n').count() + 1;
        let depth = depth + inline_modules_around(code, at);
        for path in paths(tree_at(&code[at..])) {
            named.extend(root_name(&path, depth).map(|name| (line, name.to_owned())));
        }
    }
    named
}

/// Returns the places in the code of a file where a path from `crate`, `super` or `self` begins.
pub(super) fn starts_of_paths(code: &str) -> impl Iterator<Item = usize> {
    let roots = ["crate::", "super::", "self::"].into_iter();
    let found = roots.flat_map(|root| code.match_indices(root));
    let is_first = |at: &usize| {
        let before = code[..*at].chars().next_back();
        // Otherwise this is a later part of a path, or of a word.
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    };
    found.map(|(at, _)| at).filter(is_first)
}

/// Returns the number of inline modules around a place in this file.
pub(super) fn inline_modules_around(code: &str, place: usize) -> usize {
    let before = code[..place].match_indices("mod ");
    let around = before.filter(|(start, _)| {
        let is_word = !code[..*start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        is_word && end_of_body(&code[*start..]).is_some_and(|end| start + end > place)
    });
    around.count()
}

/// Returns the first part below the root of a path in a module so deep below it, if it goes there.
fn root_name(path: &str, depth: usize) -> Option<&str> {
    let mut left = depth;
    for part in path.split("::").map(str::trim) {
        match part {
            "crate" => left = 0,
            "super" => left = left.saturating_sub(1),
            "self" if left > 0 => {}
            name => return (left == 0).then_some(name),
        }
    }
    None
}

/// Returns the path or tree of paths at the beginning of the code.
pub(super) fn tree_at(code: &str) -> &str {
    let mut depth = 0_u32;
    let is_end = |c: char| match c {
        '{' => {
            depth += 1;
            false
        }
        '}' => {
            depth = depth.saturating_sub(1);
            // The brace itself belongs to it.
            false
        }
        _ if depth > 0 => false,
        c => !(c.is_alphanumeric() || c == '_' || c == ':'),
    };
    let end = code.find(is_end).unwrap_or(code.len());
    &code[..end]
}

/// Returns a tree of paths such as `a::{b, c::d}` as paths: `a::b`, `a::c::d`, without `as`.
pub(super) fn paths(tree: &str) -> Vec<String> {
    let Some((stem, branches)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.trim().trim_end_matches("::").to_owned()];
    };
    let branches = branches.trim_end().trim_end_matches(';');
    let branches = branches
        .rsplit_once('}')
        .map_or(branches, |(branches, _)| branches);
    let mut all = Vec::new();
    for branch in branches_of(branches) {
        all.extend(
            paths(branch)
                .iter()
                .map(|path| format!("{}{path}", stem.trim())),
        );
    }
    all
}

/// Splits at the commas outside of braces.
fn branches_of(branches: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let split = branches.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    split.map(str::trim).filter(|one| !one.is_empty()).collect()
}

fn a_wrong_import_is_caught() {
    let wrong = [
        ("src/link/process.rs", "use crate::broker::Broker;"),
        ("src/link.rs", "use super::store::{self, Store};"),
        (
            "src/sys/clock.rs",
            "fn a() {\n    crate::payload::check(&1);\n}",
        ),
        (
            "src/queue/side.rs",
            "use super::super::{broker, supervision};",
        ),
        (
            "src/store.rs",
            "use crate::{\n    error,\n    queue::{self, Delivery},\n};",
        ),
        ("src/handler/held.rs", "use crate::JoinableQueue;"),
        ("src/broker.rs", "use crate::nowhere::Thing;"),
        ("src/nowhere.rs", "use crate::error::Error;"),
    ];
    let root = Source::new(
        "src/lib.rs",
        "mod queue;\npub use queue::{Delivery, JoinableQueue};",
    );
    for (path, raw) in wrong {
        let sources = [Source::new(&root.path, &root.raw), Source::new(path, raw)];
        let findings = wrong_ways(&sources);
        let is_named = findings
            .iter()
            .any(|found| found.starts_with(&format!("{path}:")));
        assert!(
            is_named && findings.len() == 1,
            "{path}: {raw}: {findings:?}"
        );
    }
    let right = [
        (
            "src/broker/core.rs",
            "use super::committer;\nuse crate::{link::Link, store};",
        ),
        (
            "src/queue/side.rs",
            "use super::super::broker::Broker; // not supervision",
        ),
        (
            "src/link.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::cli::run;\n}",
        ),
        ("src/observe/timeline/tests.rs", "use crate::cli::run;"),
        (
            "src/link.rs",
            "//! See `crate::broker`.\nconst A: &str = \"crate::broker::Broker\";",
        ),
        ("src/supervision.rs", "use crate::JoinableQueue;"),
    ];
    for (path, raw) in right {
        let sources = [Source::new(&root.path, &root.raw), Source::new(path, raw)];
        assert_eq!(wrong_ways(&sources), Findings::new(), "{path}: {raw}");
    }
}

fn every_spelling_of_an_import_is_read() {
    let names = |code: &str| {
        let named = named_at_root(code, 2);
        named.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(names("use crate::broker::{self, Broker};"), ["broker"; 2]);
    assert_eq!(
        names("use crate::{a as b, c::{d, e}, f};"),
        ["a", "c", "c", "f"]
    );
    assert_eq!(names("use super::{held, super::broker};"), ["broker"]);
    assert_eq!(names("let a: crate::a::B<crate::c::D> = x;"), ["a", "c"]);
    assert_eq!(names("super::super::a::b(super::c)"), ["a"]);
    assert_eq!(names("$crate::a!(); my_crate::b(); super::c()"), ["a"]);
    assert_eq!(names("self::super::super::a::b(self::super::c)"), ["a"]);
    let inner = "mod inner {\n    use super::super::a;\n    use super::super::super::b;\n}\nsuper::super::c();";
    assert_eq!(names(inner), ["b", "c"]);
}

fn a_module_without_a_layer_is_caught() {
    let all = LAYERS[1..].iter().copied().flatten();
    let mut sources: Vec<Source> = all
        .map(|module| Source::new(&format!("src/{module}.rs"), ""))
        .collect();
    assert_eq!(misplaced(&sources), Findings::new());
    sources.push(Source::new("src/new.rs", ""));
    sources.retain(|one| one.path != "src/sys.rs");
    assert_eq!(
        misplaced(&sources),
        [
            "src/new.rs:1: it is in no layer: see LAYERS",
            "LAYERS: there is no `sys` in src",
        ]
    );
}
