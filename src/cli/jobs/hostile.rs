//! Tests with items that would run something if a shell read them, in all places that `--shell`
//! accepts, run by the shells that may be `/bin/sh`. The worst that any of them can do is to make a
//! file in the folder of its test.

mod contexts;
mod everyday;
mod fed;
mod items;
mod refused;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use self::contexts::{ACCEPTED, Context};
use self::items::{HOSTILE, UNSPLIT};
use crate::cli::screen;
use crate::jobs::shell::Script;
use crate::jobs::template::{Template, Values};

/// A program that may be `/bin/sh`.
#[derive(Debug, Clone, Copy)]
enum Shell {
    Dash,
    /// As it behaves under the name `sh`.
    Bash,
    Busybox,
}

impl Shell {
    /// Returns `true` if the shell is installed.
    fn is_there(self) -> bool {
        let is_there = self.command().args(["-c", ":"]).output().is_ok();
        if !is_there {
            screen::complain(&format_args!("{self:?} is not here: its tests are skipped"));
        }
        is_there
    }

    fn command(self) -> Command {
        let mut command = match self {
            Shell::Dash => Command::new("dash"),
            Shell::Bash => Command::new("bash"),
            Shell::Busybox => Command::new("busybox"),
        };
        match self {
            Shell::Bash => command.arg0("sh"),
            Shell::Busybox => command.arg("sh"),
            Shell::Dash => &mut command,
        };
        command
    }

    /// Runs the words that follow `/bin/sh`.
    fn run(self, words: &[OsString], folder: &Path) -> Output {
        let mut command = self.command();
        command.args(words).current_dir(folder).env_remove("x");
        command.stdin(Stdio::null()).output().unwrap()
    }
}

/// The file that any of the items makes if it is evaluated.
const MADE: &str = "PWNED";

fn values(item: &[u8]) -> Values<'_> {
    Values {
        item,
        number: 7,
        place: 2,
        slots: (&[], 0),
    }
}

fn read(script: &str) -> Result<Script, String> {
    Script::read(&Template::parse(&[script.into()], false))
}

/// Removes all files that a script has made. Returns `true` if an item was evaluated.
fn clear(folder: &Path) -> bool {
    let is_made = folder.join(MADE).exists();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    is_made
}

/// Returns the faults after an item was run in a context.
fn trouble(shell: Shell, context: &Context, item: &[u8], folder: &Path) -> Vec<String> {
    let (source, prints) = context;
    let script = read(source).unwrap();
    let mut found = Vec::new();
    let words = script.words(values(item)).unwrap();
    let mut forms = vec![("as it is run", words[1..].to_vec())];
    if let Some(line) = script.filled(values(item)).unwrap() {
        let line = OsString::from_vec(line);
        forms.push(("as it is shown", vec!["-c".into(), line, "/bin/sh".into()]));
    }
    for (form, words) in forms {
        let output = shell.run(&words, folder);
        let name = String::from_utf8_lossy(item).into_owned();
        let case = format!("{shell:?}, {source:?}, {name:?}, {form}");
        if clear(folder) {
            found.push(format!("{case}: EVALUATED"));
        }
        let expected = prints.expected(item);
        if expected.is_some_and(|expected| expected != output.stdout) {
            let printed = output.stdout.escape_ascii();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            found.push(format!("{case}: printed \"{printed}\" {said}"));
        }
    }
    found
}

/// Tries every third case with each shell, and all if EVERY_CASE is set, which takes half a minute.
fn try_all(shell: Shell) {
    if !shell.is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    let is_thorough = std::env::var_os("EVERY_CASE").is_some();
    for (context, at) in ACCEPTED.iter().zip(shell as usize..) {
        for (item, at) in HOSTILE.iter().zip(at..) {
            if is_thorough || at % 3 == 0 {
                found.extend(trouble(shell, context, item, folder.path()));
            }
        }
    }
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_item_is_evaluated_by_dash_and_each_arrives_as_it_is() {
    try_all(Shell::Dash);
}

#[test]
fn no_item_is_evaluated_by_bash_and_each_arrives_as_it_is() {
    try_all(Shell::Bash);
}

#[test]
fn no_item_is_evaluated_by_busybox_and_each_arrives_as_it_is() {
    try_all(Shell::Busybox);
}

#[test]
fn there_are_a_thousand_cases_at_least() {
    let cases = ACCEPTED.len() * HOSTILE.len() / 3;
    assert!(cases >= 1000, "{cases} for each shell");
}

/// Pieces of scripts, to be put together at random.
const PIECES: [&str; 70] = [
    "{}",
    "{}",
    "{}",
    "{}",
    "{}",
    "{#}",
    "\"",
    "'",
    "\"",
    "'",
    "`",
    "`",
    "$(",
    ")",
    "(",
    "${x:-",
    "${x#",
    "${x%%",
    "}",
    "$((",
    "))",
    "\\",
    "\\\n",
    "\n",
    "\n",
    " ",
    " ",
    " ",
    ";",
    ";;",
    "&&",
    "|",
    "#",
    "$",
    "<<EOF\n",
    "\nEOF\n",
    "<<'EOF'\n",
    "<<-EOF\n",
    "case x in ",
    "x) ",
    " esac",
    "echo ",
    "printf %s ",
    "x=",
    "{ ",
    "<",
    "eval ",
    "sh -c ",
    "trap ",
    "command ",
    "time ",
    "[ ",
    " ]",
    "[[ ",
    "test -v ",
    "a[",
    "]=",
    "{eval,",
    "<<<",
    ">&",
    "eval",
    "export ",
    "unset ",
    "printf ",
    "if ",
    "; then ",
    "; fi",
    "! ",
    "$'",
    "2>&1",
];

/// Returns `true` if a script may evaluate a value by way of a variable, which cannot be judged.
fn is_roundabout(script: &str) -> bool {
    let evaluates = [
        "eval", "sh", "trap", "watch", "su ", "flock", "find", "xargs",
    ];
    let holds = ["x=", "${x", "for x", "$1", "read", "find"];
    let has = |words: &[&str]| words.iter().any(|word| script.contains(word));
    has(&evaluates) && has(&holds)
}

/// Returns `true` if a script may never end: it has loops, or functions, which may call themselves.
fn may_go_on(script: &str) -> bool {
    let dense: String = script.split_ascii_whitespace().collect();
    let words = ["()", "(\\", "while", "until"];
    words.iter().any(|word| dense.contains(word))
}

/// Numbers that are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        // The multiplier of Knuth's MMIX.
        let factor = 6_364_136_223_846_793_005;
        self.0 = self
            .0
            .wrapping_mul(factor)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn pieces(&mut self, most: usize) -> String {
        (0..self.below(most)).map(|_| self.of(&PIECES)).collect()
    }

    /// Makes a script of pieces, or changes a known one at random.
    fn script(&mut self) -> String {
        if self.below(2) == 0 {
            return self.pieces(16);
        }
        let known = ACCEPTED[self.below(ACCEPTED.len())].0;
        let mut script = known.to_owned();
        for _ in 0..=self.below(2) {
            let begin = self.below(script.len() + 1);
            let end = (begin + self.below(4)).min(script.len());
            let more = self.pieces(3);
            if script.is_char_boundary(begin) && script.is_char_boundary(end) {
                script.replace_range(begin..end, &more);
            }
        }
        script
    }
}

/// A script that cannot be read with certainty is refused, and every other one evaluates nothing.
/// SCRIPTS=20000 tries more, and another SEED others.
#[test]
fn no_item_is_evaluated_in_scripts_made_at_random() {
    let given = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let mut chance = Chance(given("SEED").unwrap_or(5));
    let shells = [Shell::Dash, Shell::Bash, Shell::Busybox];
    let shells: Vec<Shell> = shells
        .into_iter()
        .filter(|shell| shell.is_there())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let (mut tried, mut found) = (0, Vec::new());
    while tried < given("SCRIPTS").unwrap_or(100) {
        let script = chance.script();
        let Ok(readable) = read(&script) else {
            continue;
        };
        if !script.contains("{}") || is_roundabout(&script) || may_go_on(&script) {
            continue;
        }
        tried += 1;
        for shell in &shells {
            let item = chance.of(UNSPLIT);
            let words = readable.words(values(item)).unwrap();
            shell.run(&words[1..], folder.path());
            if clear(folder.path()) {
                let item = item.escape_ascii();
                found.push(format!("{shell:?}, {script:?}, \"{item}\""));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
