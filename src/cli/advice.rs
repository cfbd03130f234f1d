//! Advice for users who type what other programs know: xargs, GNU parallel, other commands. It
//! knows words, and nothing of what is run.

mod elsewhere;
mod habits;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

pub(super) use self::elsewhere::{Counterpart, OPTIONS};
use crate::jobs::arguments::quoted;

/// Words that a shell carries out itself, so that there may be no program of that name.
const OF_SHELLS: &[&str] = &[
    ".", ":", "[[", "alias", "case", "cd", "command", "eval", "exec", "export", "for", "if", "let",
    "local", "read", "readonly", "return", "set", "shift", "source", "time", "times", "trap",
    "type", "typeset", "ulimit", "umask", "unset", "until", "wait", "while", "{", "(", "!",
];

/// Replaces the parser's advice, which knows the words but not their purpose. `words` are the
/// arguments after the program's name, `put` makes that subcommand.
pub(super) fn correct(
    error: &mut clap::Error,
    words: &[String],
    put: impl FnOnce() -> clap::Command,
) {
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg).cloned() else {
        return;
    };
    let first = words.first().map_or("", String::as_str);
    // A run has no subcommand in front.
    let subcommand = match first.starts_with('-') {
        true => "",
        false => first,
    };
    let tip = match word.starts_with('-') {
        false => of_word(&word, words),
        true => {
            let habit = habits::advice(subcommand, &word);
            let of_put = || (subcommand == "add" && is_of(&put(), &word)).then_some(OF_PUT);
            let elsewhere = || of_option(&word).filter(|_| subcommand != "add");
            habit.or_else(of_put).or_else(elsewhere).map(str::to_owned)
        }
    };
    // The parser suggests passing the word on to the COMMAND, but there is none.
    error.remove(ContextKind::Suggested);
    if let Some(tip) = tip {
        error.remove(ContextKind::SuggestedArg);
        // The parser builds the usage from that argument.
        error.remove(ContextKind::Usage);
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    }
}

/// The advice for an option of `put` that is given to `add`.
const OF_PUT: &str = "a command is added to a queue that `supervisor serve` serves, named by --at; \
                      `supervisor put` puts items on a stream in Redis, or on the queue of a run";

/// Returns `true` if this subcommand has an option of this name, which may be followed by its value.
fn is_of(subcommand: &clap::Command, word: &str) -> bool {
    let word = word.split('=').next().unwrap_or_default();
    let mut its = subcommand.get_arguments();
    its.any(|one| {
        let is_long = one
            .get_long()
            .is_some_and(|long| word.strip_prefix("--") == Some(long));
        let is_short = |short| word.strip_prefix('-') == Some(&*String::from(short));
        is_long || one.get_short().is_some_and(is_short)
    })
}

/// Returns the reason for which a word before ::: is no option of `put`, and what to do.
pub(super) fn of_put(word: &str, add: &clap::Command) -> String {
    let name = word.split('=').next().unwrap_or_default();
    match name.starts_with('-') {
        true if is_of(add, name) => format!(
            "{name}: put has no such option, as its items are given to the COMMAND of whoever takes \
             them. A command that is added has it: supervisor add {name} ... -- COMMAND, to a queue \
             that `supervisor serve` serves"
        ),
        true => format!("{name}: put has no such option; items follow :::, as in: ::: {word}"),
        false => format!("{word}: items follow :::, as in: ::: {word}"),
    }
}

fn of_option(word: &str) -> Option<&'static str> {
    let mut found = OPTIONS.iter().filter(|(names, ..)| names.contains(&word));
    found.find_map(|(_, answer)| match answer {
        Counterpart::Instead(tip) => Some(*tip),
        Counterpart::Same | Counterpart::Here(_) => None,
    })
}

/// Returns the advice for a word that is no option.
fn of_word(word: &str, words: &[String]) -> Option<String> {
    let first = words.first().map_or("", String::as_str);
    if let Some(own) = own_word_for(word).filter(|_| word == first) {
        return Some(format!(
            "what other queues call {word} is here: {own}; a COMMAND of that name follows --"
        ));
    }
    Some(match first {
        _ if word == "help" => "supervisor --help, or supervisor SUBCOMMAND --help".to_owned(),
        "dead" => {
            let verb = words.get(1).map_or("list", String::as_str);
            format!(
                "the journal is named by an option, as in: supervisor dead {verb} --journal {word}"
            )
        }
        "work" if word == ":::" => "items are put by: supervisor put ::: ITEM".to_owned(),
        "work" => format!(
            "a COMMAND follows --, as in: supervisor work -- {}; items are put by \
             `supervisor put`",
            as_command(word)
        ),
        "add" => {
            let command = as_command(word);
            format!("a COMMAND follows --, as in: supervisor add -- {command}")
        }
        "join" | "status" => {
            format!("the stream is named by an option, as in: supervisor {first} --stream {word}")
        }
        "salvage" => format!(
            "both files are named by options, as in: supervisor salvage --journal {word} --into NEW"
        ),
        "compare" | "manual" | "completions" | "put" => return None,
        _ if word == ":::" => {
            "items after ::: follow a COMMAND, as in: supervisor -- gzip ::: a b".to_owned()
        }
        _ => {
            let command = as_command(word);
            format!("a COMMAND, and items after :::, follow --, as in: supervisor -- {command}")
        }
    })
}

/// Returns what does here what this subcommand does in pueue, task spooler and others.
fn own_word_for(word: &str) -> Option<&'static str> {
    Some(match word {
        "log" => "supervisor logs ITEM",
        "follow" => "supervisor logs -f ITEM",
        "kill" | "remove" | "delete" | "rm" | "abort" => "supervisor cancel ITEM",
        "restart" | "rerun" => "supervisor retry ITEM",
        "parallel" => "supervisor scale N",
        "shutdown" | "quit" => "supervisor stop",
        "stat" | "stats" | "info" => "supervisor status",
        "ls" | "queue" => "supervisor list",
        "clean" | "clear" => "supervisor dead drop",
        "start" => "supervisor resume, or supervisor serve to begin",
        "enqueue" | "submit" => "supervisor add -- COMMAND",
        _ => return None,
    })
}

/// Returns `true` if only a shell could make something of this word.
fn needs_shell(word: &str) -> bool {
    word.contains(['|', '&', ';', '<', '>', '$', '*', '`'])
}

/// Returns `true` if this is a whole script in one word.
pub(super) fn is_script(word: &str) -> bool {
    word.contains(char::is_whitespace) || needs_shell(word)
}

/// Returns a word as the COMMAND that it was meant for: a script in one word is for a shell.
fn as_command(word: &str) -> String {
    match is_script(word) {
        true => format!(
            "sh -c {}",
            String::from_utf8_lossy(&quoted(word.as_bytes()))
        ),
        false => word.to_owned(),
    }
}

/// Returns the advice for a COMMAND that is no program.
pub(super) fn of_program(name: &str) -> &'static str {
    if OF_SHELLS.contains(&name) {
        return "; it is a part of shells: with --shell one runs COMMAND as a script";
    }
    if name.contains(char::is_whitespace) {
        return "; it is one word, with a space in it: leave out the quotes around program and \
                arguments, or have a shell run them with --shell";
    }
    match needs_shell(name) {
        true => "; what a shell would make of it, it makes with --shell",
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::command_line::CommandLine;

    /// Returns the options of a run, as they are typed.
    fn own() -> BTreeSet<String> {
        let command = CommandLine::whole();
        let names = command.get_arguments().flat_map(|arg| {
            let long = arg.get_long_and_visible_aliases().unwrap_or_default();
            let short = arg.get_short_and_visible_aliases().unwrap_or_default();
            let long = long.into_iter().map(|name| format!("--{name}"));
            let short = short.into_iter().map(|name| format!("-{name}"));
            long.chain(short).collect::<Vec<_>>()
        });
        let of_clap = ["-h", "--help", "-V", "--version"].map(str::to_owned);
        names.chain(of_clap).collect()
    }

    #[test]
    fn an_option_of_others_is_one_here_or_has_an_answer() {
        let own = own();
        let mut seen = BTreeSet::new();
        for (names, answer) in OPTIONS {
            for name in *names {
                assert!(seen.insert(name), "{name} is there twice");
                let is_refused = matches!(answer, Counterpart::Instead(_));
                assert_eq!(own.contains(*name), !is_refused, "{name}");
            }
        }
    }

    fn tip(words: &[&str], word: &str) -> Option<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        of_word(word, &words)
    }

    #[test]
    fn a_word_gets_the_advice_of_its_subcommand() {
        let dead = tip(&["dead", "list", "jj"], "jj").unwrap();
        assert!(dead.contains("supervisor dead list --journal jj"), "{dead}");
        assert!(tip(&["help"], "help").unwrap().contains("--help"));
        let command = tip(&["-w", "2", "gzip"], "gzip").unwrap();
        assert!(command.contains("supervisor -- gzip"), "{command}");
        let script = tip(&["add", "sort a | uniq"], "sort a | uniq").unwrap();
        assert!(script.ends_with("add -- sh -c 'sort a | uniq'"), "{script}");
        assert_eq!(tip(&["manual", "x"], "x"), None);
    }

    #[test]
    fn a_command_that_only_shells_know_is_told_from_one_that_is_not_there() {
        assert!(of_program("cd").contains("--shell"));
        assert!(of_program("gzip -9").contains("quotes"));
        assert!(of_program("a|b").contains("--shell"));
        assert_eq!(of_program("gzpi"), "");
    }
}
