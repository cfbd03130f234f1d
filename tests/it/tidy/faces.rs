//! The command line uses what a user of the crate can use: from the parts below `jobs` it takes the
//! names that `src/lib.rs` shows, and their public methods. The lists here are all that it has
//! beyond that, with the reasons.

use std::collections::{BTreeMap, BTreeSet};

use super::circles::{Place, named};
use super::layers::{names_that_the_root_shows, paths, tree_at, without_tests};
use super::source::{self, Source};
use super::{Findings, end_of_body, expect_none, has_word};

crate::trials! {
    the_command_line_uses_what_others_can_use,
    a_private_part_in_the_command_line_is_caught,
    a_name_of_the_core_in_the_command_line_is_caught,
    a_private_method_in_the_command_line_is_caught,
}

/// The parts that only their public names show. Beside them are `jobs` and `kitchen`, which are
/// there for the command line; `observe`, which is public; and `sys`, `error` and `fail`, which are
/// below them all and know no queue.
const PARTS: [&str; 10] = [
    "blob",
    "broker",
    "handler",
    "link",
    "payload",
    "protocol",
    "queue",
    "store",
    "supervision",
    "worker",
];

/// The private names that the command line uses, as paths from `src`.
const NAMES: [&str; 10] = [
    // Lines are put in batches, while the next one is there, with keys and without waiting.
    "queue::batch",
    // `dead` finds the type of a journal's items in the file, and reads while another process
    // writes; a queue of the crate is of one type and has its journal to itself.
    "queue::backed::open_journal",
    "store::Backend",
    "store::StoredLetter",
    "store::journal::Journal",
    "store::journal::read_letters",
    // No option may name one of the files that SQLite makes beside the journal.
    "store::journal::own_files",
    "store::journal::own_path",
    // The subcommands that ask a stream do it without becoming one of its supervisors, and items
    // stand there as text.
    "store::redis::KIND",
    "store::stream",
];

/// The names of `dishrack_core` that the command line uses and the root does not show, as paths from
/// there.
const CORE: [&str; 5] = [
    // Output that an earlier run has not shown.
    "book::Unshown",
    "ledger::Attempt",
    // The ends of items whose output is kept for `logs`, and how many of them are.
    "kept",
    // The command of an attempt is shown with its worker's slot, of which events and journals keep the name.
    "pool::spec::slot_of",
    // Items stand on a stream as text.
    "stream::entry",
];

/// The private methods of public types that the command line uses.
const METHODS: [&str; 25] = [
    // What a failed command has printed is compared, too; a handler of the crate returns an error.
    "compare_ends",
    // Lines in batches, as above.
    "add_to_batch",
    "put_batch",
    "put_with_key",
    "was_put_before",
    // The events of a run that are not those of its queue, at the queue's time.
    "emit",
    "emit_summary",
    "elapsed",
    // The counts of one run among those on a stream, and what is known of that.
    "counts_here",
    "counts_known",
    "kind_of_server",
    "stream_news",
    // How a run ends in time, and what it says of a store that has failed.
    "give_up",
    "leave",
    "quit",
    "failure",
    "sync_all",
    // Output that an earlier run has not shown, and the command that it ran.
    "exchange_command",
    "journal_identity",
    "keep_attempts",
    "shown",
    "waiting_ids",
    // The ids of the spans of puts follow from it.
    "stream_mark",
    // What a run that was killed had begun, and what becomes of it.
    "lose_attempt",
    "was_left",
];

/// The private function of a public type that makes a queue of a stream, as above.
const OPENING: [&str; 1] = ["over_stream"];

fn the_command_line_uses_what_others_can_use() {
    let sources = source::all();
    let (findings, used) = private_uses(&sources);
    expect_none(&findings);
    let all = NAMES.iter().chain(&CORE).chain(&METHODS).chain(&OPENING);
    let unused = all.filter(|name| !used.contains(**name));
    let unused = unused.map(|name| format!("`{name}` is not used any more: take it off its list"));
    expect_none(&unused.collect());
}

fn is_in_cli(source: &Source) -> bool {
    source.is_in(&["src/cli.rs", "src/cli/"]) && !source.path.contains("/tests")
}

/// Finds private names and methods in the command line that are on no list. Returns also those
/// that are on one.
fn private_uses(sources: &[Source]) -> (Findings, BTreeSet<String>) {
    let (mut findings, mut used) = (Findings::new(), BTreeSet::new());
    let (methods, own) = (private_methods(sources), own_functions(sources));
    let shown = names_that_the_root_shows(sources);
    for source in sources.iter().filter(|one| is_in_cli(one)) {
        let code = without_tests(source.code());
        let path = source.path.trim_end_matches(".rs");
        let place: Place = path.split('/').map(str::to_owned).collect();
        for path in named(&code, &place) {
            let path = &path[1..];
            if !path.first().is_some_and(|first| PARTS.contains(&&**first)) {
                continue;
            }
            let path = path.join("::");
            let listed: Vec<&&str> = NAMES.iter().filter(|name| is_below(&path, name)).collect();
            if listed.is_empty() {
                findings.push(format!(
                    "{}: `{path}` is private: use what src/lib.rs shows, make it public with its \
                     documentation, or give the reason in NAMES",
                    source.path
                ));
            }
            used.extend(listed.into_iter().map(|name| (*name).to_owned()));
        }
        findings.extend(core_uses(source, &code, &shown, &mut used));
        for (method, of) in &methods {
            let calls = [format!(".{method}("), format!("::{method}(")];
            if !calls.iter().any(|call| has_word(&code, call)) {
                continue;
            }
            let is_listed = METHODS.iter().chain(&OPENING).any(|one| one == method);
            if !is_listed && !own.contains(method) {
                findings.push(format!(
                    "{}: `{method}` of {of} is private: use its public methods, or give the reason \
                     in METHODS",
                    source.path
                ));
            }
            used.extend(is_listed.then(|| method.clone()));
        }
    }
    (findings, used)
}

/// Finds names of `dishrack_core` in this code that are on no list, or that the root shows.
fn core_uses(
    source: &Source,
    code: &str,
    shown: &[(String, String)],
    used: &mut BTreeSet<String>,
) -> Findings {
    const CRATE: &str = "dishrack_core::";
    let mut findings = Findings::new();
    for (at, _) in code.match_indices(CRATE) {
        for path in paths(tree_at(&code[at + CRATE.len()..])) {
            let name = path.rsplit("::").next().unwrap_or_default();
            let is_shown = |(one, from): &(String, String)| one == name && from == "dishrack_core";
            let listed = CORE.iter().find(|listed| is_below(&path, listed));
            used.extend(listed.map(|listed| (*listed).to_owned()));
            let why = match (shown.iter().any(is_shown), listed) {
                (true, _) => "is public: take it from `crate`",
                (false, None) => "is private: show it in src/lib.rs, or give the reason in CORE",
                (false, Some(_)) => continue,
            };
            findings.push(format!("{}: `{CRATE}{path}` {why}", source.path));
        }
    }
    findings
}

fn is_below(path: &str, name: &str) -> bool {
    let rest = path.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns the methods of types that the root shows which it does not show, with their types.
fn private_methods(sources: &[Source]) -> BTreeMap<String, String> {
    let shown = names_that_the_root_shows(sources);
    let mut methods = BTreeMap::new();
    for source in sources {
        let parts = PARTS.map(|part| [format!("src/{part}.rs"), format!("src/{part}/")]);
        let mut parts = parts.iter().flatten();
        if !parts.any(|part| source.is_in(&[part])) {
            continue;
        }
        let code = without_tests(source.code());
        for (at, _) in code.match_indices("\nimpl") {
            let (Some(open), Some(end)) = (code[at..].find('{'), end_of_body(&code[at..])) else {
                continue;
            };
            let of = type_of(&code[at + "\nimpl".len()..at + open]);
            if !shown.iter().any(|(name, _)| *name == of) {
                continue;
            }
            let body = &code[at + open..at + end];
            for (start, _) in body.match_indices("pub(crate) fn ") {
                let name = &body[start + "pub(crate) fn ".len()..];
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let name = name.split(|c| !is_part(c)).next().unwrap_or_default();
                methods.insert(name.to_owned(), of.clone());
            }
        }
    }
    methods
}

/// Returns the functions of the command line and of what it may use. A private method of the same
/// name is not told from them.
fn own_functions(sources: &[Source]) -> BTreeSet<String> {
    let places = [
        "crates/core/src/",
        "src/cli/",
        "src/jobs/",
        "src/observe/",
        "src/sys/",
    ];
    let mut own = BTreeSet::new();
    for source in sources.iter().filter(|one| one.is_in(&places)) {
        for (at, _) in source.code().match_indices("fn ") {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let name = source.code()[at + "fn ".len()..]
                .split(|c| !is_part(c))
                .next();
            own.extend(name.map(str::to_owned));
        }
    }
    own
}

/// Returns the name of the type in the head of an `impl` block, without its parameters.
fn type_of(head: &str) -> String {
    let mut depth = 0_u32;
    let outside = head.chars().filter(|c| {
        match c {
            '<' => depth += 1,
            '>' => {
                depth = depth.saturating_sub(1);
                return false;
            }
            _ => {}
        }
        depth == 0
    });
    let head: String = outside.collect();
    let words = head.split_whitespace().take_while(|word| *word != "where");
    // `Trait for Type`, or the type alone.
    words.last().unwrap_or_default().to_owned()
}

fn made_up(path: &str, raw: &str) -> Vec<Source> {
    let queue = "struct JoinableQueue<T>(T);\nimpl<T: Into<u8>> JoinableQueue<T>\nwhere\n    T: Copy,\n{\n    \
                 pub fn put(&self) {}\n    pub(crate) fn secret(&self) {}\n}\n";
    vec![
        Source::new("src/lib.rs", "mod queue;\npub use queue::JoinableQueue;"),
        Source::new("src/queue.rs", queue),
        Source::new(path, raw),
    ]
}

fn a_private_part_in_the_command_line_is_caught() {
    for raw in [
        "use crate::broker::Broker;",
        "use crate::store::{journal::{Journal, Claim}};",
        "fn f() { super::super::worker::serve() }",
        "use crate::handler::attempt::decode;",
    ] {
        let (findings, _) = private_uses(&made_up("src/cli/a.rs", raw));
        assert_eq!(findings.len(), 1, "{raw}: {findings:?}");
    }
    for (path, raw) in [
        (
            "src/cli/a.rs",
            "use crate::{JoinableQueue, jobs::Job, sys::title};",
        ),
        (
            "src/cli/a.rs",
            "use crate::store::journal::Journal;\nuse super::super::observe;",
        ),
        ("src/jobs/a.rs", "use crate::worker::Roles;"),
        (
            "src/cli/a.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::broker::Broker;\n}",
        ),
    ] {
        let (findings, _) = private_uses(&made_up(path, raw));
        assert_eq!(findings, Findings::new(), "{path}: {raw}");
    }
}

fn a_name_of_the_core_in_the_command_line_is_caught() {
    let uses = |raw| {
        let mut sources = made_up("src/cli/a.rs", raw);
        let root = "pub use dishrack_core::ledger::{Counts, Options};";
        sources[0] = Source::new("src/lib.rs", root);
        private_uses(&sources).0.len()
    };
    assert_eq!(uses("use dishrack_core::ledger::{Counts, Ledger};"), 2);
    assert_eq!(
        uses("fn f() { dishrack_core::ledger::Options::default() }"),
        1
    );
    let right = "use crate::Counts;\nuse dishrack_core::stream::entry::{Fields, Layout};";
    assert_eq!(uses(right), 0);
}

fn a_private_method_in_the_command_line_is_caught() {
    let (findings, _) = private_uses(&made_up("src/cli/a.rs", "fn f() { queue.secret() }"));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].contains("`secret` of JoinableQueue"),
        "{findings:?}"
    );
    let right = "fn f() { queue.put(); secret(); is_secret(); queue.secrets() }";
    let (findings, _) = private_uses(&made_up("src/cli/a.rs", right));
    assert_eq!(findings, Findings::new());
}
