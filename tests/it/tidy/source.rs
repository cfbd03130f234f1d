//! The repository's Rust files, and views of them: without comments, or without comments and the
//! contents of strings. Views keep every line in its place, so that a finding names its line.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

/// The folders that hold Rust files.
const FOLDERS: [&str; 7] = [
    "bin", "benches", "crates", "examples", "python", "src", "tests",
];

pub(super) struct Source {
    /// Relative to the repository, with `/` between its parts.
    pub(super) path: String,
    pub(super) raw: String,
    code: OnceCell<String>,
    text: OnceCell<String>,
}

impl Source {
    pub(super) fn new(path: &str, raw: &str) -> Self {
        Source {
            path: path.to_owned(),
            raw: raw.to_owned(),
            code: OnceCell::new(),
            text: OnceCell::new(),
        }
    }

    /// Returns the file with blanks for comments and for the contents of strings.
    pub(super) fn code(&self) -> &str {
        self.code.get_or_init(|| blank(&self.raw, false))
    }

    /// Returns the file with blanks for comments.
    pub(super) fn text(&self) -> &str {
        self.text.get_or_init(|| blank(&self.raw, true))
    }

    /// Returns `true` if it is in one of these places: a file, or a folder that ends with `/`.
    pub(super) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| match place.ends_with('/') {
            true => self.path.starts_with(place),
            false => self.path == *place,
        })
    }
}

/// Returns every Rust file of the repository, in the order of their paths.
pub(super) fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in FOLDERS {
        if root.join(folder).is_dir() {
            collect(root, &root.join(folder), &mut sources);
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 20, "the repository was not found");
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let raw = fs::read_to_string(&path).expect("the file is readable");
            let name = path.strip_prefix(root).expect("below the root");
            sources.push(Source::new(&name.to_string_lossy(), &raw));
        }
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Text,
}

fn blank(raw: &str, keep_text: bool) -> String {
    let chars: Vec<char> = raw.chars().collect();
    let mut rest = &chars[..];
    let mut view = String::with_capacity(raw.len());
    while !rest.is_empty() {
        let (length, kind) = token(rest);
        let (token, after) = rest.split_at(length.min(rest.len()));
        let is_kept = kind == Kind::Code || (kind == Kind::Text && keep_text);
        view.extend(token.iter().map(|c| match is_kept || *c == '\n' {
            true => *c,
            false => ' ',
        }));
        rest = after;
    }
    view
}

/// Returns the length of the first token, roughly: identifiers, strings, characters and comments
/// are whole, all else goes one by one.
fn token(rest: &[char]) -> (usize, Kind) {
    match rest {
        ['/', '/', ..] => (length_until(rest, |c| c == '\n'), Kind::Comment),
        ['/', '*', ..] => (block_comment(rest), Kind::Comment),
        ['"', ..] => (string(rest), Kind::Text),
        ['\'', '\\', _, after @ ..] => {
            let length = length_until(after, |c| c == '\'');
            (length + 4, Kind::Text)
        }
        ['\'', _, '\'', ..] => (3, Kind::Text),
        ['r', after @ ..] | ['b' | 'c', 'r', after @ ..] => match raw_string(after) {
            Some(length) => (rest.len() - after.len() + length, Kind::Text),
            None => (word(rest), Kind::Code),
        },
        _ => (word(rest), Kind::Code),
    }
}

fn length_until(rest: &[char], is_end: impl Fn(char) -> bool) -> usize {
    let end = rest.iter().position(|c| is_end(*c));
    end.unwrap_or(rest.len())
}

fn word(rest: &[char]) -> usize {
    length_until(rest, |c| !c.is_alphanumeric() && c != '_').max(1)
}

/// Block comments nest.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            [] => return at,
            _ => at += 1,
        }
    }
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    loop {
        match rest.get(at) {
            Some('\\') => at += 2,
            Some('"') | None => return at + 1,
            Some(_) => at += 1,
        }
    }
}

/// Returns the length of a raw string after its `r`, or `None` if none begins.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = length_until(rest, |c| c != '#');
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let is_end = |at: &usize| rest[*at] == '"' && rest[at + 1..].starts_with(&rest[..hashes]);
    let end = (hashes + 1..rest.len()).find(is_end)?;
    Some(end + 1 + hashes)
}
