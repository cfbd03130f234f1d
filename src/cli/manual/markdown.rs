//! The reference as Markdown: `docs/options.md`, a chapter of the book.
//!
//! It knows clap's description of the options, and none of their names.

use clap::{Arg, Command};

use super::{ENVIRONMENT, FILES, SIGNALS, exit_status, forms, leaves, usage};
use crate::cli::advice::{Counterpart, OPTIONS};

const HEAD: &str = "\
<!-- Generated. Change the options or src/cli/manual.rs, and write it again:
cargo run -- manual --markdown >docs/options.md -->

# Options and exit codes

`supervisor --help` and `supervisor manual` list them too. A DUR is a time: `2s`, `100ms`, or `0.5` for half a second.

";

/// Returns the whole reference. `command` is built.
pub(super) fn page(command: &Command) -> String {
    let mut page = String::from(HEAD);
    page += &format!("```text\n{}\n```\n", forms(command));
    for heading in headings(command) {
        let is_here = |arg: &&Arg| heading_of(arg) == heading;
        let args: Vec<&Arg> = shown(command).filter(is_here).collect();
        page += &format!("\n## {heading}\n\n{}", options(&args));
    }
    page += "\n## Subcommands\n";
    for subcommand in leaves(command) {
        page += &subcommand_of(command, subcommand);
    }
    let exit_status = exit_status();
    let exit_status = exit_status.iter().map(|(code, text)| (&**code, *text));
    page += &terms("Exit codes", "exit code", exit_status);
    page += &terms("Signals", "signal", SIGNALS.iter().copied());
    page += &terms("Files", "file", FILES.iter().copied());
    page += &terms("Environment", "variable", ENVIRONMENT.iter().copied());
    page += &elsewhere();
    page
}

/// Returns the section about the options of other programs.
fn elsewhere() -> String {
    let mut section = String::from(
        "\n## Options of xargs and GNU parallel\n\nWhoever types one that is not there is told the same.\n\n\
         | option there | here |\n| --- | --- |\n",
    );
    for (names, answer) in OPTIONS {
        let names: Vec<String> = names.iter().map(|name| code(name)).collect();
        let answer = match answer {
            Counterpart::Same => "the same".to_owned(),
            Counterpart::Here(difference) => format!("is there: {}", prose(difference)),
            Counterpart::Instead(tip) => format!("not there: {}", prose(tip)),
        };
        section += &format!("| {} | {} |\n", names.join(", "), cell(&answer));
    }
    section
}

/// Returns the headings of the options, in the order of their declaration.
fn headings(command: &Command) -> Vec<&str> {
    let mut headings = Vec::new();
    for heading in shown(command).map(heading_of) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings
}

fn heading_of(arg: &Arg) -> &str {
    let is_option = arg.get_long().is_some();
    let other = if is_option { "Options" } else { "Arguments" };
    arg.get_help_heading().unwrap_or(other)
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set())
}

/// Returns a subcommand's section: its call, its purpose, its options. Those of a run are only
/// named.
fn subcommand_of(root: &Command, mut subcommand: Command) -> String {
    let usage = usage(&mut subcommand);
    let name = subcommand.get_bin_name().unwrap_or_default().to_owned();
    let mut section = format!("\n### `{name}`\n\n```text\n{usage}\n```\n");
    if let Some(about) = subcommand.get_about() {
        section += &format!("\n{}.\n", prose(&about.to_string()));
    }
    let after = subcommand.get_after_help().map(ToString::to_string);
    let after = after.unwrap_or_default();
    let (remark, _examples) = after.split_once("Examples:").unwrap_or((&after, ""));
    if !remark.trim().is_empty() {
        section += &format!("\n{}\n", prose(remark));
    }
    let args = shown(&subcommand).filter(|arg| arg.get_id() != "help");
    let (shared, own): (Vec<&Arg>, Vec<&Arg>) = args.partition(|arg| is_of(root, arg));
    if !own.is_empty() {
        section += &format!("\n{}", options(&own));
    }
    if !shared.is_empty() {
        let names: Vec<String> = shared.into_iter().map(name_of).collect();
        section += &format!("\nAs above: {}.\n", names.join(", "));
    }
    section
}

/// Returns `true` if a run has the same option with the same description.
fn is_of(root: &Command, arg: &Arg) -> bool {
    let is_same = |other: &Arg| {
        let has_its_name = other.get_long() == arg.get_long();
        has_its_name && term(other) == term(arg) && meaning(other) == meaning(arg)
    };
    shown(root).any(is_same)
}

/// Returns the option without its value, as its shortest name.
fn name_of(arg: &Arg) -> String {
    match arg.get_long() {
        Some(long) => format!("`--{long}`"),
        None => term(arg),
    }
}

fn options(args: &[&Arg]) -> String {
    let rows = args.iter().map(|arg| (cell(&term(arg)), meaning(arg)));
    let rows: Vec<(String, (String, String))> = rows.collect();
    let has_defaults = rows.iter().any(|(_, (_, default))| !default.is_empty());
    let mut table = String::from(match has_defaults {
        true => "| option | meaning | default |\n| --- | --- | --- |\n",
        false => "| option | meaning |\n| --- | --- |\n",
    });
    for (term, (text, default)) in rows {
        table += &match has_defaults {
            true => format!("| {term} | {text} | {default} |\n"),
            false => format!("| {term} | {text} |\n"),
        };
    }
    table
}

/// Returns an argument as it is typed.
fn term(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let takes_value = arg.get_action().takes_values();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let value = if takes_value {
        names.join(" ")
    } else {
        String::new()
    };
    let Some(long) = arg.get_long() else {
        let more = arg
            .get_num_args()
            .is_some_and(|range| range.max_values() > 1);
        return format!("`{value}{}`", if more { "..." } else { "" });
    };
    let short = arg.get_short_and_visible_aliases().unwrap_or_default();
    let short: String = short.iter().map(|short| format!("`-{short}`, ")).collect();
    let others = arg.get_visible_aliases().unwrap_or_default();
    let others: String = others
        .iter()
        .map(|other| format!(", `--{other}`"))
        .collect();
    let gap = if value.is_empty() { "" } else { " " };
    format!("{short}`--{long}{gap}{value}`{others}")
}

/// Returns the description of an argument, and its default, both as cells of a table.
fn meaning(arg: &Arg) -> (String, String) {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let (text, told) = without_default(&help);
    let mut text = prose(&text);
    if !arg.get_action().takes_values() {
        return (cell(&text), String::new());
    }
    let values = arg.get_possible_values();
    let values = values.iter().filter(|value| !value.is_hide_set());
    let values: Vec<String> = values.map(|value| code(value.get_name())).collect();
    if !values.is_empty() {
        text += &format!(": {}", values.join(", "));
    }
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<String> = defaults
        .map(|value| code(&value.to_string_lossy()))
        .collect();
    let default = match (told, defaults.is_empty()) {
        (Some(told), true) if is_value(told) => code(told),
        (Some(told), true) => prose(told),
        _ => defaults.join(" "),
    };
    (cell(&text), cell(&default))
}

/// Splits off the default that a help text tells because clap does not know it.
fn without_default(help: &str) -> (String, Option<&str>) {
    let told = help.split_once("[default: ");
    let told = told.and_then(|(before, rest)| Some((before, rest.split_once(']')?)));
    match told {
        Some((before, (default, after))) => {
            (format!("{}{after}", before.trim_end()), Some(default))
        }
        None => (help.to_owned(), None),
    }
}

/// Returns `true` if a default could be typed, and `false` if it is a description.
fn is_value(default: &str) -> bool {
    default != "none" && !default.contains(char::is_whitespace)
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn terms<'a>(
    heading: &str,
    what: &str,
    entries: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut section = format!("\n## {heading}\n\n| {what} | meaning |\n| --- | --- |\n");
    for (term, text) in entries {
        section += &format!("| {} | {} |\n", cell(&prose(term)), cell(&prose(text)));
    }
    section
}

/// Escapes bars, which would end the cell, in code too.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Returns plain text as Markdown. Typed words are marked as code, so that they stay as they are.
fn prose(text: &str) -> String {
    let mut is_in_code = false;
    let mut words = Vec::new();
    for one in text.split_whitespace() {
        let ticks = one.matches('`').count();
        let is_marked = is_in_code || ticks > 0;
        words.push(if is_marked { one.to_owned() } else { word(one) });
        is_in_code ^= ticks % 2 == 1;
    }
    words.join(" ")
}

fn word(word: &str) -> String {
    let start = word.trim_start_matches('(');
    let core = start.trim_end_matches([',', '.', ';', ')']);
    let core = match core.strip_suffix(':') {
        // `:::` is a word of its own.
        Some(before) if !before.ends_with(':') => before,
        _ => core,
    };
    let is_typed = core.starts_with('-') || core.contains(['{', ':', '/', '_', '<', '*', '|']);
    if !is_typed {
        return word.to_owned();
    }
    let (open, close) = (word.len() - start.len(), start.len() - core.len());
    let (open, close) = (&word[..open], &start[start.len() - close..]);
    format!("{open}{}{close}", code(core))
}
