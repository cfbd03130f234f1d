//! The command's description of itself: the manual and the completions name every option.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::said::Said;

crate::trials!(
    every_option_is_in_the_manual,
    the_manual_has_the_sections_that_one_looks_for,
    the_manual_is_without_faults_for_a_formatter,
    each_subcommand_has_a_page,
    completions_are_there_for_every_shell,
    bash_understands_its_completions,
    nobody_needs_to_read_to_the_end,
);

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "elvish", "powershell"];

fn supervisor(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    let said = Said::from(command.args(arguments).output().unwrap());
    said.ends(0);
    assert_eq!(said.err, "", "{arguments:?}");
    said.out
}

/// Returns the manual's source, where every `-` stands as it is typed.
fn manual() -> String {
    supervisor(&["manual"]).replace("\\-", "-")
}

/// Returns `--words` and `-w` of a help text.
fn options(help: &str) -> BTreeSet<String> {
    let begins = |line: &&str| line.trim_start().starts_with('-');
    let words = help.lines().filter(begins).flat_map(|line| {
        let words = line.trim_start().split([' ', ',']);
        words.take_while(|word| word.is_empty() || word.starts_with('-'))
    });
    let words = words.filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn every_option_is_in_the_manual() {
    let manual = manual();
    let helps = [
        vec!["--help"],
        vec!["dead", "list", "--help"],
        vec!["dead", "show", "--help"],
        vec!["salvage", "--help"],
    ];
    for help in helps {
        let options = options(&supervisor(&help));
        assert!(options.contains("--help"), "{help:?}: {options:?}");
        for option in options {
            let is_there = manual.contains(&format!("\\fB{option}\\fR"));
            assert!(is_there, "{option} of {help:?}");
        }
    }
}

fn the_manual_has_the_sections_that_one_looks_for() {
    let manual = manual();
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "SUBCOMMANDS",
        "EXIT STATUS",
        "SIGNALS",
        "FILES",
        "ENVIRONMENT",
        "EXAMPLES",
    ] {
        let heading = |line: &str| line.strip_prefix(".SH ") == Some(section);
        let quoted = format!(".SH \"{section}\"");
        let is_there = manual.lines().any(|line| heading(line) || line == quoted);
        assert!(is_there, "{section}");
    }
    for call in ["supervisor --workers 2", "supervisor dead list --journal"] {
        assert!(manual.contains(&format!("\\fB{call}")), "{call}");
    }
    assert!(manual.starts_with(".ie "), "{}", &manual[..80]);
    assert!(manual.contains("\n.TH SUPERVISOR 1 "));
}

/// The formatter takes lines that begin with a dot for requests, and has to know them.
fn each_subcommand_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    assert_eq!(supervisor(&["manual", "--into", into]), "");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("supervisor.1"), supervisor(&["manual"]));
    for name in [
        "supervisor-serve",
        "supervisor-dead-list",
        "supervisor-salvage",
    ] {
        let page = read(&format!("{name}.1")).replace("\\-", "-");
        let title = format!("\n.TH {} 1 ", name.to_uppercase());
        assert!(page.contains(&title), "{page}");
        assert!(page.contains(&format!("\n{name} - ")), "{page}");
        assert!(page.contains("\\fB--help\\fR"), "{page}");
    }
    let nowhere = format!("{into}/nowhere");
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    let said = Said::from(
        command
            .args(["manual", "--into", &nowhere])
            .output()
            .unwrap(),
    );
    said.ends(2);
    assert!(said.err.contains(&nowhere), "{}", said.err);
}

fn the_manual_is_without_faults_for_a_formatter() {
    let known = [
        "ie", "el", "TH", "SH", "SS", "TP", "PP", "br", "RS", "RE", "IP",
    ];
    for line in supervisor(&["manual"]).lines() {
        if let Some(order) = line.strip_prefix('.') {
            let name = order.split(' ').next().unwrap();
            assert!(known.contains(&name), "{line}");
        }
        assert!(!line.starts_with('\''), "{line}");
    }
}

fn completions_are_there_for_every_shell() {
    for shell in SHELLS {
        let text = supervisor(&["completions", shell]);
        for word in ["start-method", "salvage", "completions"] {
            assert!(text.contains(word), "{shell} does not know {word}");
        }
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(["completions", "cmd"])
        .output()
        .unwrap();
    Said::from(refused).ends(2);
}

fn bash_understands_its_completions() {
    let bash = Command::new("bash")
        .args(["--noprofile", "--norc", "-n"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    // Bash may not be installed.
    let Ok(mut bash) = bash else {
        return;
    };
    let text = supervisor(&["completions", "bash"]);
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = bash.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn nobody_needs_to_read_to_the_end() {
    for arguments in [vec!["manual"], vec!["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_supervisor"))
            .args(&arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let said = Said::from(output);
        said.ends(0);
        assert_eq!(said.err, "", "{arguments:?}");
    }
}
