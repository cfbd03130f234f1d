//! One meaning for one word: no two types of the product have the same name.

use std::collections::BTreeMap;

use super::layers::without_tests;
use super::source::{self, Source};
use super::{Findings, expect_none};

crate::trials! {
    each_type_has_a_name_of_its_own,
    a_name_that_stands_twice_is_caught,
}

/// The names that may stand more often, with the reasons.
const SHARED: [&str; 0] = [];

fn each_type_has_a_name_of_its_own() {
    expect_none(&twice(&source::all(), &SHARED));
}

/// Finds types with the name of another one, and names in `shared` that stand once.
fn twice(sources: &[Source], shared: &[&str]) -> Findings {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let is_test = |path: &str| path.contains("/tests") || path.contains("/hostile");
    let product = sources
        .iter()
        .filter(|one| one.is_in(&super::PRODUCT) && !is_test(&one.path));
    for source in product {
        for (line, number) in without_tests(&source.code).lines().zip(1..) {
            if let Some(name) = defined(line) {
                let place = format!("{}:{number}", source.path);
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    let is_shared = |name: &String| shared.contains(&&**name);
    let found = places
        .iter()
        .filter(|(name, places)| places.len() > 1 && !is_shared(name));
    let found = found.map(|(name, places)| {
        let places = places.join(", ");
        format!("{places}: two types are named `{name}`: name one by what tells it from the other")
    });
    let is_needed = |name: &&str| places.get(*name).is_some_and(|places| places.len() > 1);
    let unneeded = shared.iter().copied().filter(|name| !is_needed(name));
    let unneeded = unneeded.map(|name| format!("SHARED: `{name}` stands once: take it off"));
    found.chain(unneeded).collect()
}

/// Returns the name of the type that begins on this line, if one does. What stands within another
/// item is known only there, as is an associated type; and an alias of a type of its own name, with
/// some of its parameters set, is that type.
fn defined(line: &str) -> Option<&str> {
    let mut rest = line;
    if let Some(public) = rest.strip_prefix("pub") {
        rest = match public.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => public,
        };
    }
    let (keyword, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    if line.starts_with(' ') || !["struct", "enum", "trait", "type", "union"].contains(&keyword) {
        return None;
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    let name = &rest[..end.unwrap_or(rest.len())];
    let alias = rest.split_once(" = ").map(|(_, of)| of);
    let of = alias.and_then(|of| of.split(['<', ';']).next());
    let is_same = of.is_some_and(|of| of.rsplit("::").next() == Some(name));
    (!is_same).then_some(name)
}

fn a_name_that_stands_twice_is_caught() {
    let sources = |first: &str, second: &str| {
        vec![
            Source::new("src/a.rs", first),
            Source::new("crates/core/src/b.rs", second),
        ]
    };
    for (first, second) in [
        ("struct Run;", "pub enum Run {}"),
        (
            "pub(in crate::cli) struct Run<'a>(&'a u8);",
            "trait Run: Send {}",
        ),
        ("pub(super) type Run = u8;", "struct Run {\n}"),
    ] {
        let findings = twice(&sources(first, second), &[]);
        assert_eq!(findings.len(), 1, "{first}: {findings:?}");
        assert_eq!(twice(&sources(first, second), &["Run"]), Findings::new());
    }
    for (first, second) in [
        ("struct Run;", "struct Runs;"),
        ("impl A for B {\n    type Run = u8;\n}", "struct Run;"),
        (
            "pub(crate) type Run = inflight::Run<Payload>;",
            "pub struct Run<P>(P);",
        ),
        (
            "#[cfg(test)]\nmod tests {\n    struct Run;\n}",
            "struct Run;",
        ),
        (
            "// struct Run;\nconst A: &str = \"struct Run;\";",
            "struct Run;",
        ),
    ] {
        assert_eq!(
            twice(&sources(first, second), &[]),
            Findings::new(),
            "{first}"
        );
    }
    let findings = twice(&sources("struct Run;", ""), &["Run"]);
    assert_eq!(findings.len(), 1, "{findings:?}");
}
