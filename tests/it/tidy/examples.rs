//! Each type, trait, function and macro that the crate shows has an example in its documentation.
//! Constants need none. It is for rustdoc to find out whether the examples are right.

use super::layers::paths;
use super::source::{self, Source};
use super::{Findings, expect_none, finding};

crate::trials! {
    every_public_item_has_an_example => expect_none(&without_example(&source::all())),
    an_item_without_an_example_is_caught,
    an_item_of_a_public_module_without_an_example_is_caught,
    whatever_has_an_example_or_needs_none_is_passed_over,
    an_item_that_is_not_found_is_told,
}

/// The beginnings of a line that defines an item, up to its name.
const DEFINITIONS: [&str; 11] = [
    "pub struct ",
    "pub enum ",
    "pub union ",
    "pub type ",
    "pub trait ",
    "pub unsafe trait ",
    "pub fn ",
    "pub const fn ",
    "pub async fn ",
    "pub unsafe fn ",
    "macro_rules! ",
];

/// The same of what needs no example.
const CONSTANTS: [&str; 2] = ["pub const ", "pub static "];

/// An item that the crate shows.
struct PublicItem {
    name: String,
    /// The path of the module that has it somewhere, without the ending.
    module: String,
}

fn without_example(sources: &[Source]) -> Findings {
    let mut findings = Findings::new();
    for PublicItem { name, module } in public_items(sources, "src/lib") {
        let places = [format!("{module}.rs"), format!("{module}/")];
        let is_there = |one: &&Source| one.is_in(&[&*places[0], &*places[1]]);
        let mut is_found = false;
        for source in sources.iter().filter(is_there) {
            for (line, number) in source.code().lines().zip(1..) {
                let is_needed = begins(line, &DEFINITIONS, &name);
                is_found |= is_needed || begins(line, &CONSTANTS, &name);
                if is_needed && !has_example(&source.raw, number) {
                    let what =
                        format!("`{name}` is public: show in an example what it is good for");
                    findings.push(finding(source, number, &what));
                }
            }
        }
        if !is_found {
            findings.push(format!(
                "{module}: `{name}` is public and not defined there"
            ));
        }
    }
    findings
}

/// Returns what the module with this path shows: all of it, and that of its public modules. The
/// root shows the exported macros as well.
fn public_items(sources: &[Source], module: &str) -> Vec<PublicItem> {
    let is_root = module == "src/lib";
    let folder = if is_root { "src" } else { module };
    let path = format!("{module}.rs");
    let mut items = Vec::new();
    for source in sources.iter().filter(|one| one.path == path) {
        for tree in source.code().split("pub use ").skip(1) {
            let tree = tree.split(';').next().unwrap_or_default();
            items.extend(paths(tree).iter().map(|path| shown_by(path, folder)));
        }
        let lines: Vec<&str> = source.code().lines().collect();
        for (line, index) in lines.iter().zip(0..) {
            let public = line.strip_prefix("pub mod ");
            if let Some(name) = public.and_then(|rest| rest.strip_suffix(';')) {
                let attributes = lines[..index].iter().rev();
                let mut attributes = attributes.take_while(|line| line.starts_with("#["));
                if !attributes.any(|one| *one == "#[doc(hidden)]") {
                    items.extend(public_items(sources, &format!("{folder}/{name}")));
                }
            }
            let own = DEFINITIONS.iter().find_map(|one| line.strip_prefix(one));
            items.extend(own.map(|rest| PublicItem {
                name: name_at(rest).to_owned(),
                module: module.to_owned(),
            }));
        }
    }
    if is_root {
        items.extend(sources.iter().flat_map(exported_macros));
    }
    items
}

/// Returns the item that a module in this folder shows by this path.
fn shown_by(path: &str, folder: &str) -> PublicItem {
    let path = path.strip_prefix("self::").unwrap_or(path);
    let (modules, name) = path.rsplit_once("::").unwrap_or(("", path));
    let modules = modules.replace("::", "/");
    PublicItem {
        name: name.to_owned(),
        // What the core shows by one of its modules may lie in another one below it.
        module: match modules.strip_prefix("dishrack_core/") {
            Some(modules) => format!("crates/core/src/{modules}"),
            None => format!("{folder}/{modules}"),
        },
    }
}

fn exported_macros(source: &Source) -> impl Iterator<Item = PublicItem> {
    let exported = source.code().split("#[macro_export]\n").skip(1);
    let exported = exported.filter_map(|rest| rest.split_once("macro_rules! "));
    exported
        .filter(|_| source.is_in(&["src/"]))
        .map(|(_, rest)| PublicItem {
            name: name_at(rest).to_owned(),
            module: source.path.trim_end_matches(".rs").to_owned(),
        })
}

/// Returns the name at the beginning of this code.
fn name_at(code: &str) -> &str {
    let end = code.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &code[..end.unwrap_or(code.len())]
}

/// Returns `true` if a line begins in one of these ways, and the name follows.
fn begins(line: &str, beginnings: &[&str], name: &str) -> bool {
    let mut rests = beginnings.iter().filter_map(|one| line.strip_prefix(one));
    rests.any(|rest| name_at(rest) == name)
}

/// Returns `true` if there is a block of Rust in the documentation of what is defined in this line.
fn has_example(raw: &str, line: usize) -> bool {
    let lines: Vec<&str> = raw.lines().collect();
    let above = lines[..line - 1].iter().rev();
    let is_of_it = |line: &&&str| line.starts_with("///") || !line.ends_with([';', '}']);
    let above = above
        .take_while(|line| !line.is_empty())
        .take_while(is_of_it);
    let documentation = above.filter_map(|line| line.strip_prefix("///"));
    let mut fences: Vec<&str> = documentation
        .filter_map(|line| line.trim().strip_prefix("```"))
        .collect();
    fences.reverse();
    // Every second one ends a block.
    let mut beginnings = fences.iter().step_by(2);
    beginnings.any(|info| ["", "no_run"].contains(info))
}

/// Returns the findings in a crate with this root and these files.
fn findings(root: &str, others: &[(&str, &str)]) -> Findings {
    let mut sources = vec![Source::new("src/lib.rs", root)];
    let others = others.iter().map(|(path, raw)| Source::new(path, raw));
    sources.extend(others);
    without_example(&sources)
}

fn an_item_without_an_example_is_caught() {
    for definition in [
        "/// A queue.\npub struct Queue<T>(T);",
        "/// A queue.\n#[derive(\n    Debug,\n    Clone,\n)]\npub enum Queue {\n}",
        "/// A queue.\n///\n/// ```text\n/// in\n/// ```\npub trait Queue: Send {}",
        "/// A queue.\n///\n/// ```ignore\n/// f();\n/// ```\npub const fn Queue() {}",
        // The example is another item's.
        "/// ```\n/// ```\npub struct One;\n/// A queue.\npub struct Queue;",
        "/// ```\n/// ```\npub fn one() {\n}\n/// A queue.\npub struct Queue;",
        "pub struct Queue;\n\nimpl Queue {\n    /// ```\n    /// ```\n    pub fn put() {}\n}",
        "/// A queue.\nmacro_rules! Queue {}",
    ] {
        let path = |path| findings("pub use a::{b::Queue};", &[(path, definition)]);
        for place in ["src/a/b.rs", "src/a/b/c.rs"] {
            let found = path(place);
            let is_named = found.len() == 1 && found[0].starts_with(&format!("{place}:"));
            assert!(is_named, "{definition}: {found:?}");
        }
        let root = "#[cfg(feature = \"x\")]\npub use {\n    dishrack_core::ledger::Queue,\n};";
        let found = findings(root, &[("crates/core/src/ledger/b.rs", definition)]);
        assert_eq!(found.len(), 1, "{definition}: {found:?}");
    }
    let exported = (
        "src/a.rs",
        "/// A queue.\n#[macro_export]\nmacro_rules! queue {}",
    );
    assert_eq!(findings("mod a;", &[exported]).len(), 1);
    assert_eq!(findings("pub struct Queue;", &[]).len(), 1);
}

fn an_item_of_a_public_module_without_an_example_is_caught() {
    let module = "pub use self::mode::{Mode};\nmod mode;\npub mod deep;\npub(crate) struct Own;\n\n\
                  pub struct Event;\n";
    let others = [
        ("src/observe.rs", module),
        ("src/observe/mode.rs", "pub enum Mode {}"),
        ("src/observe/deep.rs", "pub trait Observer {}"),
    ];
    assert_eq!(findings("pub mod observe;", &others).len(), 3);
    let hidden = "#[doc(hidden)]\n#[cfg(feature = \"x\")]\npub mod observe;";
    for root in [hidden, "mod observe;", "pub(crate) mod observe;"] {
        assert_eq!(findings(root, &others), Findings::new(), "{root}");
    }
}

fn whatever_has_an_example_or_needs_none_is_passed_over() {
    for definition in [
        "/// A queue.\n///\n/// ```\n/// f();\n/// ```\n#[derive(Debug)]\npub struct Queue;",
        "/// ```text\n/// ```\n///\n/// ```no_run\n/// f();\n/// ```\npub async fn Queue() {}",
        "/// ```\n/// f();\n/// ```\n///\n/// It waits;\npub struct Queue;",
        "/// The length.\npub const Queue: usize = 1;",
    ] {
        let found = findings("pub use a::Queue;", &[("src/a.rs", definition)]);
        assert_eq!(found, Findings::new(), "{definition}");
    }
    let private = ("src/a.rs", "pub struct Queue;\nmacro_rules! queue {}");
    assert_eq!(
        findings("mod a;\nuse a::Queue;", &[private]),
        Findings::new()
    );
}

fn an_item_that_is_not_found_is_told() {
    let elsewhere = ("src/ab.rs", "/// ```\n/// ```\npub struct Queue;");
    let found = findings("pub use a::Queue;", &[elsewhere]);
    assert_eq!(found, ["src/a: `Queue` is public and not defined there"]);
}
