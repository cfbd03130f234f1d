//! The forms of a dead letter: a line, a page, or a JSON object.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::control::item::failed_attempt;
use crate::observe::last_cause;
use crate::observe::text::{attempts_in_words, harmless, printable};
use crate::{Failure, ItemId};

/// A dead letter, with the name of its item.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) id: ItemId,
    pub(super) name: String,
    pub(super) history: Vec<Failure>,
}

impl Letter {
    /// Returns the number, name, attempts, last cause and time, with tabs between them.
    pub(super) fn line(&self) -> String {
        let (id, name) = (self.id, printable(&self.name));
        let attempts = match Failure::begun(&self.history) {
            0 => "not begun".to_owned(),
            begun => attempts_in_words(begun),
        };
        let cause = last_cause(&self.history);
        let cause = printable(&cause);
        let when = self.died().map_or("-".into(), |at| at.to_string());
        format!("{id}\t{name}\t{attempts}\t{cause}\t{when}")
    }

    fn died(&self) -> Option<UtcTime> {
        let last = self.history.last()?;
        Some(UtcTime(last.scene.ended))
    }

    pub(super) fn object(&self) -> Value {
        let mut object = json!({"id": self.id.0});
        add_history(&mut object, &self.name, &self.history);
        object
    }
}

/// Writes the whole history.
impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names, causes and stderr may contain control characters, which must not reach a terminal.
        writeln!(f, "{} {}", self.id, printable(&self.name))?;
        for failure in &self.history {
            let Failure {
                attempt,
                cause,
                scene,
                ..
            } = failure;
            let cause = cause.to_string();
            match attempt {
                0 => writeln!(f, "  not begun: {}", printable(&cause))?,
                attempt => writeln!(f, "  attempt {attempt}: {}", printable(&cause))?,
            }
            if !scene.worker.is_empty() {
                let worker = printable(&scene.worker);
                writeln!(f, "    worker:  {worker}, pid {}", scene.pid)?;
                writeln!(f, "    started: {}", UtcTime(scene.started))?;
            }
            writeln!(f, "    ended:   {}", UtcTime(scene.ended))?;
            for line in scene.stderr.lines() {
                writeln!(f, "    stderr:  {}", harmless(line))?;
            }
        }
        Ok(())
    }
}

/// Makes the object of a dead letter: its name, and every failed attempt.
pub(super) fn dead_letter_line(name: &str, history: &[Failure]) -> Value {
    let mut object = json!({});
    add_history(&mut object, name, history);
    object
}

fn add_history(object: &mut Value, name: &str, history: &[Failure]) {
    object["item"] = name.into();
    object["attempts"] = Failure::begun(history).into();
    object["cause"] = last_cause(history).into();
    object["history"] = history.iter().map(entry).collect();
}

fn entry(failure: &Failure) -> Value {
    let time = |at| UtcTime(at).to_string().into();
    failed_attempt(failure, ["started", "ended"], time)
}

/// A time since 1970 in the form of RFC 3339, in UTC and to the millisecond.
pub(super) struct UtcTime(pub(super) Duration);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = SignedDuration::try_from(self.0).ok();
        match since.and_then(|since| Timestamp::from_duration(since).ok()) {
            Some(time) => write!(f, "{time:.3}"),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, Scene};

    fn letter() -> Letter {
        let started = Duration::from_millis(1_700_000_000_000);
        let ended = Duration::from_millis(1_700_000_002_500);
        let scene = Scene::of_worker("worker-1".into(), 7, started, ended);
        let scene = scene.with_stderr("no\ntowel\n".into());
        let failure = Failure::new(1, Cause::Nack("it has a\ncrack".into()), scene);
        Letter {
            id: ItemId(3),
            name: "cup\t1".into(),
            history: vec![failure],
        }
    }

    #[test]
    fn a_letter_is_one_line_whatever_is_in_it() {
        let line = "3\tcup\\t1\t1 attempt\tit has a\\ncrack\t2023-11-14T22:13:22.500Z";
        assert_eq!(letter().line(), line);
    }

    #[test]
    fn a_letter_tells_each_attempt() {
        let page = letter().to_string();
        for part in [
            "attempt 1: it has a",
            "worker:  worker-1, pid 7",
            "started: 2023-11-14T22:13:20.000Z",
            "ended:   2023-11-14T22:13:22.500Z",
            "stderr:  towel",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        let object = letter().object();
        assert_eq!(object["history"][0]["stderr"], "no\ntowel\n");
        assert_eq!(object["history"][0]["ended"], "2023-11-14T22:13:22.500Z");
    }
}
