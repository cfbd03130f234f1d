//! Items that would run something if a shell read them, in all places where `--shell` lets them stand,
//! run by the shells that may be `/bin/sh`. All that any of them can do is to make a file in the
//! folder of its test.

mod contexts;
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
use crate::cli::printer;
use crate::jobs::shell::Script;
use crate::jobs::template::{Template, Values};

/// A program that may be `/bin/sh`.
#[derive(Debug, Clone, Copy)]
enum Shell {
    Dash,
    /// As it is where it is called `sh`.
    Bash,
    Busybox,
}

impl Shell {
    /// Whether it is here.
    fn is_there(self) -> bool {
        let is_there = self.command().args(["-c", ":"]).output().is_ok();
        if !is_there {
            printer::complain(&format_args!("{self:?} is not here: its tests are skipped"));
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

    /// Runs what follows `/bin/sh`.
    fn run(self, words: &[OsString], folder: &Path) -> Output {
        let mut command = self.command();
        command.args(words).current_dir(folder).env_remove("x");
        command.stdin(Stdio::null()).output().unwrap()
    }
}

/// What any of the items makes if it is evaluated.
const MADE: &str = "PWNED";

fn values(item: &[u8]) -> Values<'_> {
    Values {
        item,
        number: 7,
        slot: 2,
    }
}

fn read(script: &str) -> Result<Script, String> {
    Script::read(&Template::parse(&[script.into()], false))
}

/// Takes all files away that a script has made. Whether an item was evaluated.
fn clear(folder: &Path) -> bool {
    let is_made = folder.join(MADE).exists();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    is_made
}

/// What is wrong after an item was run in a context.
fn trouble(shell: Shell, context: &Context, item: &[u8], folder: &Path) -> Vec<String> {
    let script = read(context.script).unwrap();
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
        let case = format!("{shell:?}, {:?}, {name:?}, {form}", context.script);
        if clear(folder) {
            found.push(format!("{case}: EVALUATED"));
        }
        let expected = context.expected(item);
        if expected.is_some_and(|expected| expected != output.stdout) {
            let printed = output.stdout.escape_ascii();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            found.push(format!("{case}: printed \"{printed}\" {said}"));
        }
    }
    found
}

/// Each shell has every second case, and all where EVERY_CASE is set, which takes half a minute.
fn try_all(shell: Shell) {
    if !shell.is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    let is_thorough = std::env::var_os("EVERY_CASE").is_some();
    for (context, at) in ACCEPTED.iter().zip(shell as usize..) {
        for (item, at) in HOSTILE.iter().zip(at..) {
            if is_thorough || at % 2 == 0 {
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
    let cases = ACCEPTED.len() * HOSTILE.len() / 2;
    assert!(cases >= 1000, "{cases} for each shell");
}

/// Pieces of scripts, put together in any way.
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

/// Whether a script may evaluate a value by way of a variable, which nothing can be said of.
fn is_roundabout(script: &str) -> bool {
    let evaluates = ["eval", "sh -c", "trap"]
        .iter()
        .any(|word| script.contains(word));
    evaluates && script.contains("x=")
}

/// What cannot be read with certainty is refused; and whatever is not, evaluates nothing.
#[test]
fn no_item_is_evaluated_in_scripts_made_at_random() {
    let count = std::env::var("SCRIPTS")
        .ok()
        .and_then(|count| count.parse().ok());
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut state: u64 = seed.unwrap_or(5);
    let mut next = |below: usize| {
        // Of Knuth's MMIX.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let shells = [Shell::Dash, Shell::Bash, Shell::Busybox];
    let shells: Vec<Shell> = shells
        .into_iter()
        .filter(|shell| shell.is_there())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let (mut tried, mut found) = (0, Vec::new());
    while tried < count.unwrap_or(60) {
        let pieces = (0..2 + next(14)).map(|_| PIECES[next(PIECES.len())]);
        let script: String = pieces.collect();
        let Ok(readable) = read(&script) else {
            continue;
        };
        if !script.contains("{}") || is_roundabout(&script) {
            continue;
        }
        tried += 1;
        for shell in &shells {
            let item = UNSPLIT[next(UNSPLIT.len())];
            let words = readable.words(values(item)).unwrap();
            shell.run(&words[1..], folder.path());
            if clear(folder.path()) {
                found.push(format!(
                    "{shell:?}, {script:?}, {:?}",
                    item.escape_ascii().to_string()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
