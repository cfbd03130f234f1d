//! PURE: an item that is a command of its own: its words, its folder and its environment, as a line
//! of JSON. It does not know how it is run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use base64::prelude::BASE64_STANDARD;
use base64::{DecodeError, Engine};
use serde::{Deserialize, Serialize};

use crate::observe::micros;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnCommand {
    /// Its words, the program's name first.
    pub(crate) words: Vec<OsString>,
    /// The folder in which it is run, from the root.
    pub(crate) workdir: Option<OsString>,
    /// The variables that are set for it.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Its name for people, if it was given one.
    pub(crate) name: Option<String>,
    pub(crate) terms: OwnTerms,
}

/// The place of a command among others, and its times, since 1970; and the key that it alone has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OwnTerms {
    /// Greater ones go first.
    pub(crate) priority: i8,
    pub(crate) not_before: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    /// The items that are to be done before.
    pub(crate) after: Vec<u64>,
    pub(crate) unique: Option<String>,
    /// The time for which it has that; `None`: until its end.
    pub(crate) unique_for: Option<Duration>,
}

/// A command as it is written. The name comes first, so that the beginning of a long item has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnCommandLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    command: Vec<CommandWord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workdir: Option<CommandWord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    env: Vec<CommandWord>,
    #[serde(default, skip_serializing_if = "is_usual")]
    priority: i8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    after: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique_for_us: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_usual(priority: &i8) -> bool {
    *priority == 0
}

/// The reason why a line is no command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCommand {
    #[error(
        "a command is {{\"command\": [WORD...], \"workdir\": DIR, \"env\": [\"NAME=VALUE\"...], \
         \"name\": NAME, \"priority\": N, \"not_before_us\": TIME, \"deadline_us\": TIME, \
         \"after\": [ITEM...], \"unique\": KEY, \"unique_for_us\": TIME}}: {0}"
    )]
    Form(FormFault),
    #[error("base64: {0}")]
    Base64(DecodeError),
    #[error("a word cannot have a zero byte in it")]
    ZeroByte,
    #[error("workdir: {} does not begin at the root", .0.display())]
    Workdir(OsString),
    #[error("unique: its key is empty")]
    EmptyUnique,
    #[error("unique_for_us: it is a time of a unique key, and there is none")]
    TimeOfNoUnique,
    #[error("env {}: expected NAME=VALUE", .0.display())]
    Variable(OsString),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FormFault {
    #[error(transparent)]
    Json(serde_json::Error),
    #[error("it has no program")]
    NoProgram,
}

/// A word: a text, or bytes that are none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum CommandWord {
    Text(String),
    Bytes { base64: String },
}

impl CommandWord {
    fn of(word: &OsStr) -> Self {
        match word.to_str() {
            Some(text) => CommandWord::Text(text.to_owned()),
            None => CommandWord::Bytes {
                base64: BASE64_STANDARD.encode(word.as_bytes()),
            },
        }
    }

    fn read(self) -> Result<OsString, NoCommand> {
        let bytes = match self {
            CommandWord::Text(text) => text.into_bytes(),
            CommandWord::Bytes { base64 } => {
                BASE64_STANDARD.decode(base64).map_err(NoCommand::Base64)?
            }
        };
        match bytes.contains(&0) {
            false => Ok(OsString::from_vec(bytes)),
            true => Err(NoCommand::ZeroByte),
        }
    }
}

impl OwnCommand {
    /// Reads a line of JSON.
    ///
    /// # Errors
    /// It is no command.
    pub(crate) fn read(line: &[u8]) -> Result<Self, NoCommand> {
        let misformed = |why| NoCommand::Form(FormFault::Json(why));
        let line: OwnCommandLine = serde_json::from_slice(line).map_err(misformed)?;
        let words = line.command.into_iter().map(CommandWord::read);
        let words = words.collect::<Result<Vec<_>, _>>()?;
        if words.first().is_none_or(|first| first.is_empty()) {
            return Err(NoCommand::Form(FormFault::NoProgram));
        }
        let workdir = line.workdir.map(CommandWord::read).transpose()?;
        let is_elsewhere = |folder: &&OsString| !folder.as_bytes().starts_with(b"/");
        if let Some(folder) = workdir.as_ref().filter(is_elsewhere) {
            return Err(NoCommand::Workdir(folder.clone()));
        }
        if line.unique.as_deref() == Some("") {
            return Err(NoCommand::EmptyUnique);
        }
        let environment = line.env.into_iter().map(|word| variable(&word.read()?));
        Ok(OwnCommand {
            words,
            workdir,
            environment: environment.collect::<Result<_, _>>()?,
            name: line.name.filter(|name| !name.is_empty()),
            terms: OwnTerms {
                priority: line.priority,
                not_before: line.not_before_us.map(Duration::from_micros),
                deadline: line.deadline_us.map(Duration::from_micros),
                after: line.after,
                unique: line.unique,
                unique_for: line.unique_for_us.map(Duration::from_micros),
            },
        })
    }

    /// Reads a line of JSON that somebody puts, which says nothing that is in vain.
    ///
    /// # Errors
    /// It is no command, or no such one.
    pub(crate) fn read_new(line: &[u8]) -> Result<Self, NoCommand> {
        let own = Self::read(line)?;
        match own.terms.unique.is_none() && own.terms.unique_for.is_some() {
            true => Err(NoCommand::TimeOfNoUnique),
            false => Ok(own),
        }
    }

    /// Returns its line of JSON.
    pub(crate) fn line(&self) -> String {
        let variable = |(name, value): &(OsString, OsString)| {
            let entry = [name.as_bytes(), b"=", value.as_bytes()].concat();
            CommandWord::of(OsStr::from_bytes(&entry))
        };
        let line = OwnCommandLine {
            name: self.name.clone(),
            command: self
                .words
                .iter()
                .map(|word| CommandWord::of(word))
                .collect(),
            workdir: self.workdir.as_deref().map(CommandWord::of),
            env: self.environment.iter().map(variable).collect(),
            priority: self.terms.priority,
            not_before_us: self.terms.not_before.map(micros),
            deadline_us: self.terms.deadline.map(micros),
            after: self.terms.after.clone(),
            unique: self.terms.unique.clone(),
            unique_for_us: self.terms.unique_for.map(micros),
        };
        // Texts and lists can always be written as JSON.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// Reads `NAME=VALUE`.
fn variable(entry: &OsStr) -> Result<(OsString, OsString), NoCommand> {
    let bytes = entry.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if at > 0 => Ok((
            OsString::from_vec(bytes[..at].to_vec()),
            OsString::from_vec(bytes[at + 1..].to_vec()),
        )),
        _ => Err(NoCommand::Variable(entry.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> OwnCommand {
        OwnCommand {
            words: vec!["ffmpeg".into(), OsString::from_vec(b"a\xff b.mov".to_vec())],
            workdir: Some("/home/anna".into()),
            environment: vec![("A".into(), "b=c".into())],
            name: None,
            terms: OwnTerms::default(),
        }
    }

    #[test]
    fn a_command_is_read_as_it_was_written() {
        let named = OwnCommand {
            name: Some("a film".into()),
            ..command()
        };
        let plain = OwnCommand {
            workdir: None,
            environment: Vec::new(),
            ..command()
        };
        let timed = OwnCommand {
            terms: OwnTerms {
                priority: -7,
                not_before: Some(Duration::from_micros(1)),
                deadline: Some(Duration::from_secs(1 << 32)),
                after: vec![1, 7],
                unique: Some("nightly".into()),
                unique_for: Some(Duration::from_secs(3600)),
            },
            ..command()
        };
        for command in [command(), named, plain, timed] {
            assert_eq!(
                OwnCommand::read(command.line().as_bytes()).unwrap(),
                command
            );
        }
        let expected = "{\"command\":[\"ffmpeg\",{\"base64\":\"Yf8gYi5tb3Y=\"}],\
                        \"workdir\":\"/home/anna\",\"env\":[\"A=b=c\"]}";
        assert_eq!(command().line(), expected);
    }

    #[test]
    fn what_is_no_command_is_told() {
        for (line, expected) in [
            ("7", "a command is"),
            ("{\"command\": []}", "no program"),
            ("{\"command\": [\"\"]}", "no program"),
            ("{\"command\": [\"a\\u0000\"]}", "zero byte"),
            ("{\"command\": [{\"base64\": \"?\"}]}", "base64"),
            ("{\"command\": [\"a\"], \"workdir\": \"b\"}", "root"),
            ("{\"command\": [\"a\"], \"env\": [\"B\"]}", "NAME=VALUE"),
            ("{\"command\": [\"a\"], \"shell\": true}", "unknown field"),
            ("{\"command\": [\"a\"], \"priority\": 128}", "i8"),
            ("{\"command\": [\"a\"], \"unique\": \"\"}", "empty"),
            (
                "{\"command\": [\"a\"], \"unique_for_us\": 1}",
                "there is none",
            ),
        ] {
            let why = OwnCommand::read_new(line.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(why.contains(expected), "{line}: {why}");
        }
    }
}
