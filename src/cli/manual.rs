//! `supervisor manual` and `completions`: the options for `man`, for the book and for shells.
//!
//! All are made from the options themselves, so that they cannot be of another version.

mod markdown;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::exit_codes::{RunError, code, written};
use super::screen::StandardStream;

#[derive(Debug, Args)]
pub(super) struct Manual {
    /// Print the options and exit codes as Markdown instead
    #[arg(long)]
    markdown: bool,

    /// Write the page into DIR instead, and a page for each subcommand beside it, as packages have them
    #[arg(long, value_name = "DIR", conflicts_with = "markdown")]
    into: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell that is to know them
    #[arg(value_enum)]
    shell: Shell,
}

/// A section whose entries have a term and a text.
type Terms = [(&'static str, &'static str)];

/// Returns the exit codes, and the ends of a run that have them.
fn exit_status() -> Vec<(String, &'static str)> {
    let codes = [
        (code::DONE, "Everything is done."),
        (
            code::DEAD_LETTERS,
            "Some items were given up on: they are dead letters.",
        ),
        (
            code::USAGE,
            "Wrong usage; or the system does not allow it (open files, shared memory); or a command, the journal, Redis, stdout or another file cannot be used or \
             written.",
        ),
        (code::NO_WORKERS_LEFT, "No workers are left."),
        (code::INTERNAL, "An internal error. Please report it."),
        (code::CLOSED_STDOUT, "Nobody reads stdout any more."),
    ];
    let signal = "Signal n stopped the run: 130 for SIGINT, 143 for SIGTERM. A \
                  served queue that is stopped in order ends with 0.";
    let codes = codes.map(|(code, text)| (code.to_string(), text));
    let signal = ("128+n".to_owned(), signal);
    codes.into_iter().chain([signal]).collect()
}

const SIGNALS: &Terms = &[
    (
        "SIGINT, SIGTERM, SIGHUP",
        "The first one lets what has begun be finished, within --shutdown, and stops. A second one \
         stops at once. One that was ignored when the program began stays ignored, as nohup(1) \
         wants it. So it is with every signal that has a name and would end a program, but for \
         SIGQUIT.",
    ),
    (
        "SIGHUP, of a service",
        "All workers are replaced, each new one ready before an old one goes: where a service manager has \
         started the run, and it has no terminal.",
    ),
    (
        "SIGUSR1",
        "Prints on stderr how the run stands, as `supervisor status` does.",
    ),
    (
        "SIGTTIN, SIGTTOU",
        "One worker more, one fewer. From a terminal, which sends them to a run in the background, \
         they are like SIGTSTP.",
    ),
    (
        "SIGTSTP",
        "Workers and commands stand still with the run, and go on with it; that time counts for no \
         limit.",
    ),
    (
        "SIGKILL",
        "Workers end with the supervisor, whatever kills it. With --journal the same command goes \
         on where it stopped.",
    ),
];

const FILES: &Terms = &[
    (
        "FILE of --journal",
        "An SQLite database. While it is used, FILE-wal and FILE-shm lie beside it and belong to \
         it: copy or move the three together.",
    ),
    (
        "FILE-output",
        "The folder beside a journal with the output of commands that was not shown, or that a served queue keeps.",
    ),
    (
        "FILE of --dead-letters",
        "A JSON object a line, only ever added to.",
    ),
    (
        "DIR of --results",
        "DIR/NUMBER/stdout, stderr and result.json of each item. Those of an earlier run are \
         removed when one begins that does not go on with a journal or a stream.",
    ),
    (
        "FILE of --joblog",
        "A line for each attempt: Seq, Host, Starttime, JobRuntime, Send, Receive, Exitval, Signal, \
         Command, as of parallel(1). Written anew by each run, or added to with --journal. Whoever empties it in mid-run finds \
         it go on at its beginning.",
    ),
];

const ENVIRONMENT: &Terms = &[
    (
        "XDG_STATE_HOME",
        "Where a served queue keeps its journal, in a folder dishrack. Without it, ~/.local/state.",
    ),
    (
        "TMPDIR",
        "Where the output of commands waits to be shown: a writable folder. Without it, /tmp.",
    ),
    (
        "SUPERVISOR_ITEM, SUPERVISOR_ATTEMPT, SUPERVISOR_COPY, SUPERVISOR_SLOT",
        "What a COMMAND is told: the number of its item, which attempt this is, which copy of it \
         (1 without --copies), and its worker's slot.",
    ),
    (
        "SUPERVISOR_SLOT_NAME, CUDA_VISIBLE_DEVICES",
        "What a COMMAND has for itself of --slot NAME=...; the second one for the name gpu.",
    ),
    ("TERM", "No bars are drawn where it is not set, or dumb."),
];

/// Prints the manual. `command` is built.
pub(super) fn run(manual: &Manual, command: Command) -> Result<u8, RunError> {
    if let Some(folder) = &manual.into {
        return write_pages(command, folder);
    }
    let page = match manual.markdown {
        true => markdown::page(&command),
        false => page(command).map_err(|error| RunError::of_stdout(&error))?,
    };
    print(page.as_bytes())
}

/// Writes each page to a file of its own, which is called as `man` looks for it.
fn write_pages(command: Command, folder: &Path) -> Result<u8, RunError> {
    let write = |name: &str, page: io::Result<String>| {
        let path = folder.join(format!("{name}.1"));
        page.and_then(|page| std::fs::write(&path, page))
            .map_err(|error| RunError::Usage(format!("cannot write {}: {error}", path.display())))
    };
    for subcommand in leaves(&command) {
        let name = subcommand.get_display_name().unwrap_or_default().to_owned();
        write(&name, subcommand_page(subcommand, &name))?;
    }
    let name = command.get_name().to_owned();
    write(&name, page(command))?;
    Ok(code::DONE)
}

fn subcommand_page(command: Command, name: &str) -> io::Result<String> {
    let version = command.get_version().unwrap_or(env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    Roff::new().to_writer(&mut page)?;
    writeln!(
        page,
        ".TH {} 1 \"\" \"supervisor {version}\" \"User Commands\"",
        name.to_uppercase()
    )?;
    let man = Man::new(command);
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut rest = Roff::new();
    rest.control("SH", ["SEE ALSO"]);
    rest.text([
        bold("supervisor"),
        roman("(1), which has the exit codes, signals and files."),
    ]);
    rest.to_writer(&mut page)?;
    Ok(without_repetition(&String::from_utf8_lossy(&page)))
}

/// Prints the completions.
pub(super) fn complete(wanted: &Completions, mut command: Command) -> Result<u8, RunError> {
    let mut text = Vec::new();
    clap_complete::generate(wanted.shell, &mut command, "supervisor", &mut text);
    print(&text)
}

fn print(text: &[u8]) -> Result<u8, RunError> {
    written(StandardStream::Out.write_all(text))?;
    Ok(code::DONE)
}

/// Returns the whole manual in one page. `command` is built.
fn page(command: Command) -> io::Result<String> {
    let forms = forms(&command);
    let examples = examples(&command);
    let subcommands = leaves(&command);
    let version = command.get_version().unwrap_or_default().to_owned();
    let man = Man::new(command.override_usage(forms));
    let mut page = Vec::new();
    Roff::new().to_writer(&mut page)?;
    // The date is left out; an empty argument needs its quotes.
    writeln!(
        page,
        ".TH SUPERVISOR 1 \"\" \"supervisor {version}\" \"User Commands\""
    )?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    Roff::new()
        .control("SH", ["SUBCOMMANDS"])
        .to_writer(&mut page)?;
    for subcommand in subcommands {
        describe(subcommand, &mut page)?;
    }
    let mut rest = Roff::new();
    let exit_status = exit_status();
    let exit_status: Vec<_> = exit_status
        .iter()
        .map(|(code, text)| (&**code, *text))
        .collect();
    section(&mut rest, "EXIT STATUS", &exit_status);
    section(&mut rest, "SIGNALS", SIGNALS);
    section(&mut rest, "FILES", FILES);
    section(&mut rest, "ENVIRONMENT", ENVIRONMENT);
    rest.control("SH", ["EXAMPLES"]);
    for (call, text) in &examples {
        entry(&mut rest, vec![bold(call)], text);
    }
    rest.to_writer(&mut page)?;
    Ok(without_repetition(&String::from_utf8_lossy(&page)))
}

/// Returns the subcommands that do something, in the order of their declaration.
fn leaves(command: &Command) -> Vec<Command> {
    let visible = command.get_subcommands().filter(|one| !one.is_hide_set());
    let leaves = visible.flat_map(|one| match one.has_subcommands() {
        true => leaves(one),
        false => vec![one.clone()],
    });
    leaves.collect()
}

/// Returns the forms of its call, one a line.
fn forms(command: &Command) -> String {
    let all = std::iter::once(command.clone()).chain(leaves(command));
    let forms = all.map(|mut one| usage(&mut one));
    forms.collect::<Vec<String>>().join("\n")
}

fn usage(command: &mut Command) -> String {
    let usage = command.render_usage().to_string();
    let first = usage.lines().next().unwrap_or_default();
    first.trim_start_matches("Usage: ").to_owned()
}

/// Writes a subcommand: the forms of its call, its purpose, and its options.
fn describe(mut command: Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut head = Roff::new();
    head.control("SS", [usage(&mut command).as_str()]);
    if let Some(about) = command.get_about() {
        head.text([roman(format!("{about}."))]);
    }
    head.to_writer(page)?;
    // Each subcommand has it, and the general part describes it.
    let command = command.mut_args(|arg| match arg.get_id() == "help" {
        true => arg.hide(true),
        false => arg,
    });
    let mut options = Vec::new();
    Man::new(command).render_options_section(&mut options)?;
    // They belong to the subcommand's section.
    let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "");
    page.extend(options.bytes());
    Ok(())
}

fn section(page: &mut Roff, name: &str, entries: &[(&str, &str)]) {
    page.control("SH", [name]);
    for (term, text) in entries {
        entry(page, vec![italic(*term)], text);
    }
}

fn entry(page: &mut Roff, term: Vec<Inline>, text: &str) {
    page.control("TP", []);
    page.text(term);
    page.text([roman(text)]);
}

/// Returns the examples of the help: calls, each followed by an indented description.
fn examples(command: &Command) -> Vec<(String, String)> {
    let help = command.get_after_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let mut examples: Vec<(String, String)> = Vec::new();
    for line in lines.take_while(|line| line.starts_with("  ")) {
        match (line.strip_prefix("      "), examples.last_mut()) {
            (Some(more), Some((_, text))) => {
                let gap = if text.is_empty() { "" } else { " " };
                *text += &format!("{gap}{}", more.trim());
            }
            _ => examples.push((line.trim().to_owned(), String::new())),
        }
    }
    examples
}

/// Removes the definitions that each part of the page repeats.
fn without_repetition(page: &str) -> String {
    let is_definition = |line: &str| line.starts_with(".ie ") || line.starts_with(".el ");
    let lines = page.lines().enumerate();
    let kept = lines.filter(|(at, line)| *at < 2 || !is_definition(line));
    kept.map(|(_, line)| format!("{line}\n")).collect()
}
