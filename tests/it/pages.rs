//! The documents: the reference is the program's output, links lead somewhere, no chapter is left
//! out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

crate::trials! {
    the_reference_is_what_the_program_prints,
    every_kind_of_event_is_told_of,
    every_command_has_options_that_there_are,
    an_option_that_is_not_there_is_caught,
    every_link_leads_to_a_file_and_a_heading,
    every_chapter_is_in_the_book,
    a_link_that_leads_nowhere_is_caught,
    what_is_no_link_is_passed_over,
    headings_are_named_as_github_does,
}

/// Pages outside `docs`.
const PAGES: [&str; 5] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the pages in `docs` and its folders, by their paths from there.
fn chapters() -> BTreeSet<String> {
    let mut chapters = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join("docs").join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(format!("{name}/"));
            } else if name.ends_with(".md") {
                chapters.insert(name);
            }
        }
    }
    chapters
}

fn the_reference_is_what_the_program_prints() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    let output = program.args(["manual", "--markdown"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let kept = fs::read_to_string(root().join("docs/options.md")).unwrap_or_default();
    let pairs = printed.lines().zip(kept.lines()).zip(1..);
    let first = pairs.clone().find(|((printed, kept), _)| printed != kept);
    assert!(
        printed == kept,
        "docs/options.md is not what the program says of its options, from line {} on.\n\
         Write it again: cargo run -- manual --markdown >docs/options.md",
        first.map_or(pairs.count() + 1, |(_, line)| line)
    );
}

/// Returns the long options in the calls of `supervisor` that a page shows in its blocks and in its text.
fn options_called(page: &str) -> BTreeSet<String> {
    let in_text = page.split('`').skip(1).step_by(2);
    let in_blocks = page.split("```").skip(1).step_by(2).flat_map(str::lines);
    let calls = in_text.chain(in_blocks).filter_map(|code| {
        let words: Vec<&str> = code.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "supervisor")?;
        // What follows `--` is a COMMAND's, and what follows a pipe another program's.
        let is_ours = |word: &&str| !["--", "|", ">", "2>", "<-", "&&", "&", ";"].contains(word);
        Some(
            words[at + 1..]
                .iter()
                .copied()
                .take_while(is_ours)
                .collect::<Vec<_>>(),
        )
    });
    let long = |word: &&str| word.starts_with("--");
    let name = |word: &str| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        word.chars().take_while(|c| is_name(*c)).collect()
    };
    calls.flatten().filter(long).map(name).collect()
}

fn every_command_has_options_that_there_are() {
    let reference = fs::read_to_string(root().join("docs/options.md")).unwrap();
    let there: BTreeSet<String> = reference
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("--"))
        .map(String::from)
        .collect();
    let chapters = chapters().into_iter().map(|name| format!("docs/{name}"));
    let mut called = 0;
    for page in chapters.chain(["README.md".to_owned()]) {
        let options = options_called(&fs::read_to_string(root().join(&page)).unwrap());
        called += options.len();
        let unknown: Vec<&String> = options.difference(&there).collect();
        assert!(
            unknown.is_empty(),
            "{page} calls supervisor with {unknown:?}"
        );
    }
    assert!(called > 50, "{called}");
}

fn an_option_that_is_not_there_is_caught() {
    let page = "`supervisor --one=2 -- x --two`\n```text\n$ ls --all | supervisor put --three | wc --four\n```\n";
    let options: Vec<String> = options_called(page).into_iter().collect();
    assert_eq!(options, ["--one", "--three"]);
}

/// The names that events have in JSON, as their declaration says them.
fn events_declared() -> Vec<String> {
    let source = fs::read_to_string(root().join("src/observe.rs")).unwrap();
    let (_, kinds) = source.split_once("pub enum EventKind {").unwrap();
    let (kinds, _) = kinds.split_once("\n}\n").unwrap();
    let mut names = Vec::new();
    let mut renamed = None;
    for line in kinds.lines().filter_map(|line| line.strip_prefix("    ")) {
        if let Some(rest) = line.strip_prefix("#[serde(rename = \"") {
            renamed = rest.split('"').next().map(String::from);
        } else if let Some(kind) = line.strip_suffix(" {")
            && !kind.starts_with(' ')
        {
            names.push(renamed.take().unwrap_or_else(|| snake_case(kind)));
        }
    }
    names
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

fn every_kind_of_event_is_told_of() {
    let page = fs::read_to_string(root().join("docs/events.md")).unwrap();
    let names = events_declared();
    assert!(names.len() >= 20, "only {names:?} were found");
    for name in ["producing", "running", "worker_failed_to_start", "summary"] {
        assert!(names.iter().any(|found| found == name), "no {name}");
    }
    let is_told = |name: &&String| {
        let cell = format!("`{name}`");
        let mut rows = page.lines().filter(|line| line.starts_with('|'));
        rows.any(|row| {
            row.split('|')
                .nth(1)
                .is_some_and(|first| first.contains(&cell))
        })
    };
    let untold: Vec<_> = names.iter().filter(|name| !is_told(name)).collect();
    assert!(
        untold.is_empty(),
        "docs/events.md has no row for {untold:?}"
    );
}

fn every_link_leads_to_a_file_and_a_heading() {
    let of_docs = chapters().into_iter().map(|name| format!("docs/{name}"));
    let pages = PAGES.map(String::from).into_iter().chain(of_docs);
    let mut library = Library::default();
    let (mut findings, mut links) = (Vec::new(), 0);
    for page in pages {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        links += targets(&text).len();
        findings.extend(broken(&page, &text, &mut library));
    }
    assert!(links > 80, "only {links} links were found");
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

fn every_chapter_is_in_the_book() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let told: Vec<String> = targets(&summary).into_iter().map(|(_, one)| one).collect();
    let distinct: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!(told.len(), distinct.len(), "a chapter is there twice");
    let mut chapters = chapters();
    chapters.remove("SUMMARY.md");
    let differences: Vec<_> = distinct.symmetric_difference(&chapters).collect();
    assert!(differences.is_empty(), "docs/SUMMARY.md: {differences:?}");
}

/// The headings of the pages that links lead to.
#[derive(Default)]
struct Library {
    headings: BTreeMap<PathBuf, BTreeSet<String>>,
}

impl Library {
    fn headings(&mut self, path: &Path) -> &BTreeSet<String> {
        let read = || anchors(&fs::read_to_string(path).unwrap());
        self.headings.entry(path.to_owned()).or_insert_with(read)
    }
}

/// Returns the links of a page that lead nowhere.
fn broken(page: &str, text: &str, library: &mut Library) -> Vec<String> {
    let mut findings = Vec::new();
    for (line, target) in targets(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = match target.split_once('#') {
            Some((file, anchor)) => (file, Some(anchor)),
            None => (&*target, None),
        };
        let path = root().join(page).with_file_name(file);
        if !file.is_empty() && !path.exists() {
            findings.push(format!("{page}:{line}: there is no {file}"));
            continue;
        }
        let Some(anchor) = anchor else { continue };
        let is_page = path.extension().is_some_and(|extension| extension == "md");
        let is_there = match file.is_empty() {
            true => anchors(text).contains(anchor),
            false => is_page && library.headings(&path).contains(anchor),
        };
        if !is_there {
            findings.push(format!("{page}:{line}: {target} leads to no heading"));
        }
    }
    findings
}

/// Returns the targets of links and images, with their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (line, number) in without_code(&without_blocks(text)).lines().zip(1..) {
        let is_definition = line.starts_with('[') && !line.starts_with("[^");
        if let Some((_, target)) = line.split_once("]: ").filter(|_| is_definition) {
            targets.push((number, target.trim().to_owned()));
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            targets.push((number, target.to_owned()));
        }
    }
    targets
}

/// Returns the text with empty lines in place of fenced blocks and comments.
fn without_blocks(text: &str) -> String {
    let mut kept = String::new();
    let mut end = None;
    for line in text.lines() {
        let start = line.trim_start();
        match end {
            Some("-->") if line.contains("-->") => end = None,
            Some("```") if start.starts_with("```") => end = None,
            Some(_) => {}
            None if start.starts_with("```") => end = Some("```"),
            None if start.starts_with("<!--") => {
                end = (!line.contains("-->")).then_some("-->");
            }
            None => kept += line,
        }
        kept.push('\n');
    }
    kept
}

/// Returns the text with blanks in place of code between backticks, which may break over two lines.
fn without_code(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        kept += &rest[..at];
        let ticks = rest[at..].len() - rest[at..].trim_start_matches('`').len();
        let after = &rest[at + ticks..];
        let paragraph = after.find("\n\n").map_or(after, |end| &after[..end]);
        rest = match paragraph.find(&"`".repeat(ticks)) {
            Some(end) => {
                let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
                kept.extend(after[..end].chars().map(blank));
                &after[end + ticks..]
            }
            None => after,
        };
    }
    kept + rest
}

/// Returns the names of a page's headings in links.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in without_blocks(text).lines() {
        let title = line.trim_start_matches('#');
        let depth = line.len() - title.len();
        let Some(title) = title.strip_prefix(' ').filter(|_| (1..=6).contains(&depth)) else {
            continue;
        };
        let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let kept: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(is_kept)
            .collect();
        let anchor = kept.replace(' ', "-");
        let again = (1..).map(|count| format!("{anchor}-{count}"));
        let mut names = std::iter::once(anchor.clone()).chain(again);
        let is_free = |name: &String| !anchors.contains(name);
        let name = names.find(is_free).expect("numbers do not run out");
        anchors.insert(name);
    }
    anchors
}

/// Returns the findings in a page of the root.
fn findings_of(text: &str) -> Vec<String> {
    broken("README.md", text, &mut Library::default())
}

fn a_link_that_leads_nowhere_is_caught() {
    for (text, finding) in [
        ("see [it](docs/none.md)", "there is no docs/none.md"),
        ("![it](docs/none.svg)", "there is no docs/none.svg"),
        ("[it]: docs/none.md", "there is no docs/none.md"),
        (
            "[it](docs/redis.md#none)",
            "docs/redis.md#none leads to no heading",
        ),
        ("[it](docs/timeline.svg#none)", "leads to no heading"),
        (
            "# One\n\n[it](#two)",
            "README.md:3: #two leads to no heading",
        ),
        ("[`it`](none) and [it](docs)", "there is no none"),
        ("[over two\nlines](none)", "README.md:2: there is no none"),
        ("```\nls\n```\n[it](none)", "README.md:4: there is no none"),
    ] {
        let findings = findings_of(text);
        assert!(
            findings.len() == 1 && findings[0].contains(finding),
            "{text:?}: {findings:?}"
        );
    }
}

fn what_is_no_link_is_passed_over() {
    for text in [
        "# One two\n\n[it](#one-two), [it](docs), [it](docs/redis.md#servers)",
        "[it](https://example.org/#none)",
        "```sh\n[it](none)\n```",
        "<!--\n[it](none)\n-->",
        "`[it](none)` and `over two\nlines [it](none)`",
    ] {
        assert_eq!(findings_of(text), [""; 0], "{text:?}");
    }
}

fn headings_are_named_as_github_does() {
    let page = "# Who's `a_b`?\n## Who's a_b\n```sh\n# no heading\n```\n### A - b\n#none\n";
    let expected = ["a---b", "whos-a_b", "whos-a_b-1"].map(String::from);
    assert_eq!(anchors(page), BTreeSet::from(expected));
}
