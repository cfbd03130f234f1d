//! Runs recipes: each in a fresh folder, by a shell of its own, with this build's `supervisor`
//! first in `PATH`. It does not know what they do.

use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::book::{Recipe, Step};

/// A time limit that is far longer than any recipe takes.
pub(super) const TIME: Duration = Duration::from_secs(200);

/// The beginning of each script: it names a failed command, and `$shown` has the last output.
const BEGIN: &str = "trap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n";

/// Returns those of these tools that are not installed.
pub(super) fn missing_tools(tools: &[String]) -> Vec<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let is_missing = |tool: &&String| !folders.iter().any(|folder| folder.join(tool).is_file());
    tools.iter().filter(is_missing).cloned().collect()
}

/// Tries a recipe.
///
/// # Errors
/// Its results differ from the book's; in words.
pub(super) fn cook(recipe: &Recipe, time: Duration) -> Result<(), String> {
    // The space in its name finds missing quotes.
    let place = tempfile::Builder::new()
        .prefix("a recipe ")
        .tempdir()
        .unwrap();
    let place = place.path();
    let folder = place.join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(place.join("script"), script(recipe, place)).unwrap();
    let status = run(place, &folder, time)?;
    let said = read(&place.join("said"));
    if !status.success() {
        return Err(format!(
            "{status}\n{said}\nprinted:\n{}",
            last_shown(recipe, place)
        ));
    }
    if !place.join("reached").exists() {
        return Err("its last step was never reached".into());
    }
    for (step, number) in recipe.steps.iter().zip(0..) {
        if let Step::Shown { lines, in_order } = step {
            compare(lines, &read(&shown(place, recipe, number)), *in_order)?;
        }
    }
    Ok(())
}

/// Returns all steps as one script, in which a server of the setup lives until a trap ends it.
fn script(recipe: &Recipe, place: &Path) -> String {
    let mut script = BEGIN.to_owned();
    for (step, number) in recipe.steps.iter().zip(0..) {
        match step {
            Step::Setup(text) | Step::Check(text) => script += &format!("{text}\n"),
            Step::Commands(text) => {
                let shown = shown(place, recipe, number + 1);
                script += &format!("shown='{}'\n", shown.display());
                script += &format!("{{\n{text}}} >\"$shown\" 2>&1\n");
            }
            Step::Shown { .. } => {}
        }
    }
    script + &format!("touch '{}'\n", place.join("reached").display())
}

/// Returns the file with the output of the last commands before this step.
fn shown(place: &Path, recipe: &Recipe, step: usize) -> PathBuf {
    let before = recipe.steps[..step].iter();
    let commands = before
        .filter(|step| matches!(step, Step::Commands(_)))
        .count();
    place.join(format!("shown.{commands}"))
}

fn last_shown(recipe: &Recipe, place: &Path) -> String {
    let mut kept = (0..=recipe.steps.len())
        .rev()
        .map(|step| shown(place, recipe, step));
    kept.find(|path| path.exists())
        .map_or(String::new(), |path| read(&path))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn run(place: &Path, folder: &Path, time: Duration) -> Result<ExitStatus, String> {
    let ours = Path::new(env!("CARGO_BIN_EXE_supervisor"))
        .parent()
        .unwrap();
    let others = env::var_os("PATH").unwrap_or_default();
    let path = [ours.to_owned()]
        .into_iter()
        .chain(env::split_paths(&others));
    let said = File::create(place.join("said")).unwrap();
    let mut shell = Command::new("bash")
        // -E: the trap holds in functions and subshells as well.
        .args(["-Eeu"])
        .arg(place.join("script"))
        .current_dir(folder)
        .env("PATH", env::join_paths(path).unwrap())
        .env("root", env!("CARGO_MANIFEST_DIR"))
        .env("LC_ALL", "C.UTF-8")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(said.try_clone().unwrap())
        .stderr(said)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("bash cannot be run: {error}"))?;
    let group = Pid::from_raw(i32::try_from(shell.id()).unwrap());
    let (sender, ended) = channel();
    let waiter = std::thread::spawn(move || sender.send(shell.wait()));
    let status = ended.recv_timeout(time);
    if status.is_err() {
        // It has not been waited for, so its number is still its own.
        killpg(group, Signal::SIGKILL).unwrap();
    }
    waiter.join().unwrap().ok();
    status
        .map(Result::unwrap)
        .map_err(|_| format!("no end within {time:?}\n{}", read(&place.join("said"))))
}

/// Checks that the output is the one of the book, except for pids and times.
fn compare(expected: &str, seen: &str, in_order: bool) -> Result<(), String> {
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(timeless).collect();
        if !in_order {
            lines.sort();
        }
        lines
    };
    let (expected, seen) = (lines(expected), lines(seen));
    if expected == seen {
        return Ok(());
    }
    let mark = |sign: char, lines: &[String]| -> String {
        lines.iter().map(|line| format!("{sign}{line}\n")).collect()
    };
    let (gone, come) = (mark('-', &expected), mark('+', &seen));
    Err(format!("the book shows - and + is printed:\n{gone}{come}"))
}

/// Returns a line without its pids and times: `pid 42` and `0.123 s`.
fn timeless(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 1..words.len() {
        let is_time = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
        if words[at - 1].ends_with("pid") {
            words[at] = "…";
        } else if words[at].trim_end_matches(')') == "s" && is_time(words[at - 1]) {
            words[at - 1] = "…";
        }
    }
    words.join(" ")
}
