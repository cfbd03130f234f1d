//! The house rules, checked over the files of the repository. Each rule is a function from files
//! to findings, so that it can be tried on a made-up file that breaks it.

pub(crate) mod circles;
pub(crate) mod examples;
pub(crate) mod faces;
pub(crate) mod layers;
pub(crate) mod names;
mod source;

use source::Source;

crate::trials! {
    every_file_says_what_it_is => expect_none(&files_without_header(&source::all())),
    documentation_does_not_begin_with_a_question => expect_none(&questions(&source::all())),
    no_file_is_too_long => expect_none(&long_files(&source::all())),
    no_function_is_too_long => expect_none(&long_functions(&source::all())),
    file_names_are_nouns_of_the_domain => expect_none(&nameless_files(&source::all())),
    nothing_is_left_unfinished => expect_none(&unfinished(&source::all())),
    the_ledger_names_no_clock_or_io => expect_none(&impure_names(&source::all())),
    only_the_broker_tells_the_ledger => expect_none(&orders_outside_the_broker(&source::all())),
    locks_do_not_poison => expect_none(&poisoning_locks(&source::all())),
    only_the_reaper_waits_for_children => expect_none(&waits_outside_the_reaper(&source::all())),
    only_the_command_line_prints_or_exits => expect_none(&prints_and_exits(&source::all())),
    dishes_stay_in_the_kitchen => expect_none(&strayed_dishes(&source::all())),
    features_are_asked_for_at_the_doors => expect_none(&features_inside(&source::all())),
    every_unsafe_block_is_argued => expect_none(&unargued(&source::all())),
    every_file_is_reachable => expect_none(&unreachable_files(&source::all())),
    the_binary_is_thin,
    the_binary_is_stripped,
    comments_are_neither_rare_nor_everywhere,
    views_blank_comments_and_strings,
    a_question_later_in_documentation_is_passed_over,
    a_long_function_is_caught,
    a_dish_in_the_command_line_is_caught,
    a_broken_rule_is_caught,
}

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const BINARY_LINES_MAX: usize = 60;

/// Modules that decide and do nothing. For the core, which has no std, the compiler checks it too.
const PURE: [&str; 14] = [
    "crates/core/src/",
    "src/jobs/template.rs",
    "src/jobs/shell.rs",
    "src/jobs/shell/",
    "src/observe/progress.rs",
    "src/cli/progress/layout.rs",
    "src/observe/spans.rs",
    "src/observe/spans/",
    "src/observe/timeline.rs",
    "src/observe/timeline/",
    "src/observe/trace.rs",
    "src/observe/words.rs",
    "src/cli/jobs/output/turns.rs",
    "src/cli/jobs/ended.rs",
];

/// The shipped files: the core, the library and the binary.
const PRODUCT: [&str; 3] = ["crates/core/src/", "src/", "bin/"];

/// The places `file:line` that break a rule, and the reasons.
type Findings = Vec<String>;

fn expect_none(findings: &Findings) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

fn finding(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// Returns `true` if `needle` stands in `line` with no letter, digit or `_` next to its ends.
fn has_word(line: &str, needle: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + needle.len()..].chars().next();
        let begins = needle.starts_with(|c| !is_part(c)) || !before.is_some_and(is_part);
        let ends = needle.ends_with(|c| !is_part(c)) || !after.is_some_and(is_part);
        begins && ends
    })
}

/// Returns the lines of the views that name one of `words`.
fn lines_with(source: &Source, view: &str, words: &[&str], why: &str) -> Findings {
    let mut findings = Findings::new();
    for (line, number) in view.lines().zip(1..) {
        for word in words.iter().filter(|word| has_word(line, word)) {
            findings.push(finding(source, number, &format!("`{word}`: {why}")));
        }
    }
    findings
}

fn files_without_header(sources: &[Source]) -> Findings {
    let silent = sources.iter().filter(|one| !one.raw.starts_with("//!"));
    silent
        .map(|one| {
            finding(
                one,
                1,
                "open with `//!`: its purpose, and what it does not know",
            )
        })
        .collect()
}

/// Finds doc comments that begin with an indirect question rather than with a verb or a noun.
fn questions(sources: &[Source]) -> Findings {
    let words = ["What", "Whether", "How", "Who", "Whose", "Why"];
    let mut findings = Findings::new();
    let checked = sources.iter().filter(|one| one.is_in(&["src/", "crates/"]));
    for source in checked {
        let mut is_inside = false;
        for (line, number) in source.raw.lines().map(str::trim).zip(1..) {
            let is_documentation = line.starts_with("///") || line.starts_with("//!");
            let first = line.get(3..).unwrap_or_default().split_whitespace().next();
            let is_question = first.is_some_and(|first| words.contains(&first));
            if is_documentation && !is_inside && is_question {
                let what = "begin with a verb or a noun: \"Returns ...\", \"The ...\"";
                findings.push(finding(source, number, what));
            }
            is_inside = is_documentation;
        }
    }
    findings
}

fn long_files(sources: &[Source]) -> Findings {
    let mut findings = Findings::new();
    for source in sources.iter().filter(|one| one.is_in(&PRODUCT)) {
        let lines = lines_without_tests(source.code());
        if lines > FILE_LINES_MAX {
            let what = format!("{lines} lines without tests, at most {FILE_LINES_MAX}: split it");
            findings.push(finding(source, lines, &what));
        }
    }
    findings
}

/// Counts the lines of a file without an inline `#[cfg(test)] mod tests { ... }`.
fn lines_without_tests(code: &str) -> usize {
    let all = code.lines().count();
    let Some((start, _)) = code.match_indices("#[cfg(test)]\nmod tests {").next() else {
        return all;
    };
    let tests = end_of_body(&code[start..]).map_or("", |end| &code[start..=start + end]);
    all - tests.lines().count()
}

fn long_functions(sources: &[Source]) -> Findings {
    let mut findings = Findings::new();
    for source in sources {
        for (line, length) in functions(source.code()) {
            if length > FUNCTION_LINES_MAX {
                let what = format!("{length} lines, at most {FUNCTION_LINES_MAX}: take it apart");
                findings.push(finding(source, line, &what));
            }
        }
    }
    findings
}

/// Returns the first line and the length of each function with a body.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut functions = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if !has_word(&code[at.saturating_sub(1)..at + 2], "fn") {
            continue;
        }
        if let Some(end) = end_of_body(&code[at..]) {
            let first = code[..at].lines().count();
            functions.push((first, code[at..=at + end].lines().count()));
        }
    }
    functions
}

/// Returns the place where the first `{` is closed, or `None` if a `;` ends the item before it.
fn end_of_body(code: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0_u32, 0_u32);
    for (at, c) in code.char_indices() {
        match c {
            '{' => braces += 1,
            '}' if braces <= 1 => return Some(at),
            '}' => braces -= 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

fn nameless_files(sources: &[Source]) -> Findings {
    let banned = [
        "util", "utils", "manager", "helper", "helpers", "common", "misc",
    ];
    let mut findings = Findings::new();
    for source in sources {
        let parts = source.path.trim_end_matches(".rs").split(['/', '_', '-']);
        for part in parts.filter(|part| banned.contains(part)) {
            let what = format!("`{part}` says nothing: name the file after what it is about");
            findings.push(finding(source, 1, &what));
        }
    }
    findings
}

fn unfinished(sources: &[Source]) -> Findings {
    // They are in two parts each, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("db", "g!"),
    ];
    let check = |one| lines_with(one, &one.raw, &words, "finish it before it gets here");
    sources.iter().flat_map(check).collect()
}

fn impure_names(sources: &[Source]) -> Findings {
    // Grouped imports would hide their names from this check.
    let words = [
        "Instant",
        "SystemTime",
        "std::thread",
        "std::process",
        "std::fs",
        "std::io",
        "std::net",
        "std::{",
        "thread::",
        "process::",
        "Mutex",
        "Condvar",
        "rand",
        "Command",
        "nix",
    ];
    let mut findings = Findings::new();
    for source in sources.iter().filter(|one| one.is_in(&PURE)) {
        findings.extend(lines_with(
            source,
            source.code(),
            &words,
            "the pure core knows nothing of it",
        ));
    }
    findings
}

/// Finds orders to the ledger and to links that are not the broker's.
fn orders_outside_the_broker(sources: &[Source]) -> Findings {
    let why = "only the broker tells the ledger and carries out what it decides";
    let calls = [
        "ledger.handle_",
        "ledger.poll_",
        "link.deliver(",
        "link.answer(",
    ];
    let mut findings = Findings::new();
    for source in product(sources, &["src/broker.rs", "src/broker/", "crates/core/"]) {
        for (line, text) in source.code().lines().enumerate() {
            if calls.iter().any(|call| text.contains(call)) {
                findings.push(finding(source, line + 1, why));
            }
        }
    }
    findings
}

/// Finds locks of std, whose callers would have to handle poisoning.
fn poisoning_locks(sources: &[Source]) -> Findings {
    let words = ["PoisonError", "Mutex", "MutexGuard", "RwLock", "Condvar"];
    let mut findings = Findings::new();
    for source in product(sources, &[]) {
        for (line, text) in source.code().lines().enumerate() {
            let is_of_std = text.contains("std::sync::") || text.contains(words[0]);
            if is_of_std && words.iter().any(|word| has_word(text, word)) {
                findings.push(finding(source, line + 1, "the locks are parking_lot's"));
            }
        }
    }
    findings
}

fn waits_outside_the_reaper(sources: &[Source]) -> Findings {
    let why = "only src/supervision/reap.rs waits for workers, and src/jobs for their commands";
    // A worker's command is the worker's own child, and so is the fork in the test of copies.
    let reapers = [
        "src/supervision/reap.rs",
        "src/supervision/reap/",
        "src/jobs/child.rs",
        "src/handler/copies.rs",
        "src/sys/program.rs",
    ];
    let mut findings = Findings::new();
    for source in product(sources, &reapers) {
        // `self.wait()` is a method of this crate; a child is always held by a name.
        let view = source.code().replace("self.wait()", "");
        findings.extend(lines_with(
            source,
            &view,
            &["waitid", "waitpid", ".wait()"],
            why,
        ));
    }
    findings
}

/// Returns the files of the library and the binary, without some places.
fn product<'a>(sources: &'a [Source], but_for: &'a [&str]) -> impl Iterator<Item = &'a Source> {
    let product = sources.iter().filter(|one| one.is_in(&PRODUCT));
    product.filter(|one| !one.is_in(but_for))
}

fn prints_and_exits(sources: &[Source]) -> Findings {
    let command_line = ["src/cli.rs", "src/cli/", "bin/"];
    let prints = [
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "std::io::stdout",
        "std::io::stderr",
        "io::stdout",
        "io::stderr",
        "stdout()",
        "stderr()",
    ];
    let mut findings = Findings::new();
    // These pass on the workers' stderr.
    let relay = ["src/sys/stderr.rs", "src/jobs/stderr.rs"];
    for source in product(sources, &command_line) {
        if source.is_in(&relay) {
            continue;
        }
        findings.extend(lines_with(
            source,
            source.code(),
            &prints,
            "only the command line prints",
        ));
        if source.path != "src/sys/exit.rs" {
            let why = "only the command line and src/sys/exit.rs end the process";
            findings.extend(lines_with(source, source.code(), &["process::exit"], why));
        }
    }
    findings
}

/// Finds the kitchen's words elsewhere. The command line's comments are its help, so that they
/// count there; below it, examples in the documentation may be about dishes.
fn strayed_dishes(sources: &[Source]) -> Findings {
    let kitchen = ["src/kitchen.rs", "src/cli/kitchen.rs", "src/cli/kitchen/"];
    let words = [
        "dish", "dishes", "dried", "dries", "dryer", "dryers", "drying", "wash", "washed",
        "washer", "washers", "washes", "washing",
    ];
    let mut findings = Findings::new();
    for source in product(sources, &kitchen) {
        let is_cli = source.is_in(&["src/cli.rs", "src/cli/"]);
        let view = if is_cli { &source.raw } else { source.text() };
        // An identifier's parts are words as well.
        let view = view.to_lowercase().replace('_', " ");
        let why = "say item, queue or worker here, or move it to src/cli/kitchen";
        findings.extend(lines_with(source, &view, &words, why));
    }
    findings
}

/// Returns the places where a feature decides about less than a module or an import of one.
fn features_inside(sources: &[Source]) -> Findings {
    let why = "a feature decides about whole modules: move what depends on it to one";
    let mut findings = Findings::new();
    for source in product(sources, &["src/lib.rs"]) {
        let lines: Vec<&str> = source.raw.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            if line.starts_with("//") || !line.contains("feature = \"") {
                continue;
            }
            let guarded = lines[index + 1..]
                .iter()
                .find(|line| !line.starts_with("#["));
            let is_door = guarded.is_some_and(|line| {
                let word = line
                    .split_whitespace()
                    .find(|word| !word.starts_with("pub"));
                matches!(word, Some("mod" | "use"))
            });
            if !is_door {
                findings.push(finding(source, index + 1, why));
            }
        }
    }
    findings
}

fn unargued(sources: &[Source]) -> Findings {
    let mut findings = Findings::new();
    for source in sources {
        let raw: Vec<&str> = source.raw.lines().collect();
        for (line, index) in source.code().lines().zip(0..) {
            let is_unsafe = has_word(line, "unsafe {") || has_word(line, "unsafe impl");
            if is_unsafe && !has_argument(&raw[..index]) {
                let what = "argue in a `// SAFETY:` comment above why this is sound";
                findings.push(finding(source, index + 1, what));
            }
        }
    }
    findings
}

/// Returns `true` if the comment above the statement that goes on after `before` argues. Lines of
/// the same statement and attributes may stand between.
fn has_argument(before: &[&str]) -> bool {
    let lines = before.iter().rev().map(|line| line.trim());
    let is_same_statement = |line: &&str| {
        line.starts_with("//") || line.starts_with("#[") || !line.ends_with([';', '{', '}', ','])
    };
    lines
        .take_while(|line| !line.is_empty())
        .take_while(is_same_statement)
        .any(|line| line.starts_with("// SAFETY:"))
}

fn unreachable_files(sources: &[Source]) -> Findings {
    let mut findings = Findings::new();
    for source in sources.iter().filter(|one| one.is_in(&PRODUCT)) {
        let (folder, name) = source.path.rsplit_once('/').expect("it is in a folder");
        if name == "lib.rs" || folder == "bin" {
            continue;
        }
        let parent = match folder {
            "src" | "crates/core/src" => format!("{folder}/lib.rs"),
            _ => format!("{folder}.rs"),
        };
        let declaration = format!("mod {};", name.trim_end_matches(".rs"));
        let is_named = |one: &Source| one.path == parent && has_word(one.code(), &declaration);
        if !sources.iter().any(is_named) {
            let what = format!("nobody compiles it: {parent} has no `{declaration}`");
            findings.push(finding(source, 1, &what));
        }
    }
    findings
}

fn the_binary_is_thin() {
    let sources = source::all();
    let binary = sources.iter().find(|one| one.path == "bin/supervisor.rs");
    let lines = binary
        .expect("bin/supervisor.rs is there")
        .raw
        .lines()
        .count();
    assert!(
        lines <= BINARY_LINES_MAX,
        "bin/supervisor.rs:{lines}: it only parses and runs"
    );
}

/// Cargo takes no `strip` from the profile for a package that has settings of its own.
fn the_binary_is_stripped() {
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    for profile in ["[profile.release]", "[profile.release.package.dishrack]"] {
        let part = manifest.split("\n\n").find(|part| part.contains(profile));
        assert!(
            part.is_some_and(|part| part.contains("\nstrip = true")),
            "Cargo.toml: {profile} has no `strip = true`"
        );
    }
}

fn comments_are_neither_rare_nor_everywhere() {
    let sources = source::all();
    let src = sources.iter().filter(|one| one.is_in(&PRODUCT));
    let lines = src.flat_map(|one| one.raw.lines()).map(str::trim);
    let (mut comments, mut all) = (0, 0);
    for line in lines.filter(|line| !line.is_empty()) {
        all += 1;
        comments += usize::from(line.starts_with("//"));
    }
    let percent = comments * 100 / all;
    assert!(
        (10..=40).contains(&percent),
        "src: {percent} % of all lines are comments"
    );
}

fn views_blank_comments_and_strings() {
    let raw = "let a = \"x // {\"; // y {\nlet b = r#\"}\"#; /* { /* */ { */ 'c: '{' '\\'' z";
    let source = Source::new("src/made_up.rs", raw);
    let squeezed = |view: &str| view.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(source.code()), "let a = ; let b = ; 'c: z");
    assert_eq!(
        squeezed(source.text()),
        "let a = \"x // {\"; let b = r#\"}\"#; 'c: '{' '\\'' z"
    );
    assert_eq!(source.code().lines().count(), 2);
}

fn a_question_later_in_documentation_is_passed_over() {
    let raw = "/// Returns the reason.\n/// What it is, is unknown.\nfn a() {}\n// What else?\n";
    assert_eq!(questions(&[Source::new("src/a.rs", raw)]), Findings::new());
}

fn a_long_function_is_caught() {
    let body = "    work(\"{\"); // }\n".repeat(FUNCTION_LINES_MAX - 2);
    let fits = format!("trait T {{\n    fn declared(a: [u8; 2]);\n}}\nfn fits() {{\n{body}}}\n");
    let long = format!("{fits}\npub async fn long(a: [u8; 2]) {{\n    more();\n{body}}}\n");
    assert_eq!(
        long_functions(&[Source::new("src/a.rs", &fits)]),
        Findings::new()
    );
    let findings = long_functions(&[Source::new("src/a.rs", &long)]);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].starts_with("src/a.rs:75: 71 lines"),
        "{findings:?}"
    );

    let tests = format!(
        "#[cfg(test)]\nmod tests {{\n{}}}\n",
        "\n".repeat(FILE_LINES_MAX)
    );
    assert_eq!(
        long_files(&[Source::new("src/a.rs", &tests)]),
        Findings::new()
    );
    let lines = "\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(
        long_files(&[Source::new("src/a.rs", &(lines + &tests))]).len(),
        1
    );
}

fn a_dish_in_the_command_line_is_caught() {
    let found = |path, raw| strayed_dishes(&[Source::new(path, raw)]).len();
    assert_eq!(found("src/cli/put.rs", "/// Put dish-1\nput: u64"), 1);
    assert_eq!(found("src/cli/config.rs", "is_drying: bool"), 1);
    assert_eq!(found("src/cli/kitchen/text.rs", "is_drying: bool"), 0);
    assert_eq!(found("src/queue.rs", "/// queue.put(\"dish-1\")"), 0);
}

/// A rule, a file that breaks it, and the finding.
type Case = (fn(&[Source]) -> Findings, &'static str, &'static str);

/// A feature that decides about a function.
const FEATURE_INSIDE: &str = "#[cfg(feature = \"cli\")]\n#[inline]\nfn a() {}";

fn a_broken_rule_is_caught() {
    let cases: &[Case] = &[
        (files_without_header, "tests/a.rs", "fn main() {}"),
        (questions, "src/a.rs", "//! What a worker shares."),
        (
            questions,
            "crates/core/src/a.rs",
            "/// Whether it is.\nfn a()",
        ),
        (
            questions,
            "src/a.rs",
            "a();\n    /// Why it ended.\n    b()",
        ),
        (nameless_files, "src/link/byte_utils.rs", ""),
        (unfinished, "benches/a.rs", concat!("// FIX", "ME: later")),
        (unfinished, "src/a.rs", concat!("to", "do!()")),
        (
            impure_names,
            "src/jobs/shell/a.rs",
            "use std::time::Instant;",
        ),
        (
            impure_names,
            "crates/core/src/pool/child.rs",
            "use std::{io, time};",
        ),
        (
            impure_names,
            "crates/core/src/ledger/cause.rs",
            "nix::unistd::fork();",
        ),
        (
            orders_outside_the_broker,
            "src/cli/run.rs",
            "core.ledger.handle_close();",
        ),
        (waits_outside_the_reaper, "src/a.rs", "child.wait()?;"),
        (poisoning_locks, "src/a.rs", "use std::sync::{Arc, Mutex};"),
        (prints_and_exits, "src/a.rs", "eprintln!(\"no\");"),
        (prints_and_exits, "src/sys/exit.rs", "io::stderr().lock();"),
        (
            prints_and_exits,
            "src/worker/boot.rs",
            "std::process::exit(1)",
        ),
        (strayed_dishes, "src/queue.rs", "let first_dish = 1;"),
        (features_inside, "src/a.rs", FEATURE_INSIDE),
        (
            strayed_dishes,
            "src/queue.rs",
            "Error(\"the Dryer is gone\")",
        ),
        (
            unargued,
            "src/a.rs",
            "// It is fine.\nlet a = unsafe { b() };",
        ),
        (unargued, "src/a.rs", "// SAFETY: yes\na();\nunsafe { b() }"),
        (unreachable_files, "src/a/b.rs", ""),
    ];
    for (rule, path, raw) in cases {
        let findings = rule(&[Source::new(path, raw)]);
        let is_named = findings
            .iter()
            .any(|found| found.starts_with(&format!("{path}:")));
        assert!(is_named, "not caught in {path}: {raw}");
    }
}
