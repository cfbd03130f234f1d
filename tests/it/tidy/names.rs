//! One meaning for one word: no two types of the product have the same name, and none has a private
//! one where the field has a term.

use std::collections::BTreeMap;

use super::layers::without_tests;
use super::source::{self, Source};
use super::{Findings, expect_none};

crate::trials! {
    each_type_has_a_name_of_its_own,
    a_name_that_stands_twice_is_caught,
    types_and_files_have_the_names_of_the_field,
    a_private_name_is_caught,
}

/// Words that only this project's authors would understand, and the terms for what they were used for.
const PRIVATE: [(&str, &str); 16] = [
    ("berth", "slot"),
    ("birth", "start"),
    ("burial", "exit"),
    ("canary", "scoreboard"),
    ("clerk", "committer, publisher or fetcher"),
    ("crew", "pool"),
    ("deed", "effect"),
    ("desk", "dispatcher"),
    ("errand", "order"),
    ("goal", "workload"),
    ("happening", "event"),
    ("intake", "reader"),
    ("obituary", "exit"),
    ("parcel", "envelope"),
    ("scribe", "committer"),
    ("seat", "slot"),
];

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
        for (line, number) in without_tests(source.code()).lines().zip(1..) {
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

fn types_and_files_have_the_names_of_the_field() {
    expect_none(&private(&source::all()));
}

/// Finds files and types of the product that are named by one of these words.
fn private(sources: &[Source]) -> Findings {
    let mut findings = Findings::new();
    for source in sources.iter().filter(|one| one.is_in(&super::PRODUCT)) {
        let in_path = source.path.trim_end_matches(".rs").split(['/', '_', '-']);
        let in_path = in_path.map(|word| (word.to_owned(), 1));
        let code = without_tests(source.code());
        let types = code.lines().zip(1..);
        let types = types.filter_map(|(line, number)| Some((words(defined(line)?), number)));
        let in_types =
            types.flat_map(|(words, number)| words.into_iter().map(move |one| (one, number)));
        for (word, number) in in_path.chain(in_types) {
            let known = PRIVATE.iter().find(|(one, _)| is_form_of(&word, one));
            if let Some((_, term)) = known {
                let place = format!("{}:{number}", source.path);
                findings.push(format!(
                    "{place}: `{word}` is a word of ours: the field says {term}"
                ));
            }
        }
    }
    findings
}

/// Returns the words of a type's name, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        match words.last_mut().filter(|_| !letter.is_uppercase()) {
            Some(word) => word.push(letter),
            None => words.push(letter.to_lowercase().collect()),
        }
    }
    words
}

/// Returns `true` if a word is another one, or its plural.
fn is_form_of(word: &str, of: &str) -> bool {
    let stem = of.strip_suffix('y');
    let plural = stem.and_then(|stem| word.strip_prefix(stem));
    word == of || word.strip_prefix(of) == Some("s") || plural == Some("ies")
}

fn a_private_name_is_caught() {
    for (path, code) in [
        ("src/supervision/crew.rs", ""),
        ("src/a.rs", "pub(crate) struct NewSeats {}"),
        ("crates/core/src/b.rs", "enum Obituaries {}"),
        ("src/c.rs", "struct ClerkState;"),
    ] {
        assert_eq!(
            private(&[Source::new(path, code)]).len(),
            1,
            "{path} {code}"
        );
    }
    let fine = "struct Indeed;\npub struct Desktop;\nfn desk() {}";
    assert_eq!(
        private(&[Source::new("src/screw.rs", fine)]),
        Findings::new()
    );
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
