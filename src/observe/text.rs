//! Events as lines of text: the steps of an item on stdout, faults on stderr.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::words::escaped;
pub(crate) use super::words::{attempts_in_words, counted, printable, waited_for};
use super::{Event, EventKind, last_cause};
use dishrack_core::ledger::{CopyEnd, Counts, Exit, Failure};

/// A line, and the stream it goes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Out(String),
    Err(String),
}

/// The words for the items of a run.
#[derive(Debug)]
pub(crate) struct Wording {
    pub(crate) items: &'static str,
    /// The word for a worker's activity on one item.
    pub(crate) doing: &'static str,
    /// The words for an item that a worker holds: "being dried".
    pub(crate) done: &'static str,
    /// The words for an item after a failed attempt: "dried again".
    pub(crate) again: &'static str,
    /// The words for each step of an item, where that is a line.
    pub(crate) steps: Option<Steps>,
}

/// The words for the steps of an item: in lines, and as names of events in JSON.
#[derive(Debug)]
pub(crate) struct Steps {
    /// The beginning of the line that says that an item is being made.
    pub(crate) making_line: &'static str,
    /// The beginning of the line that says that a worker works on an item.
    pub(crate) working_line: &'static str,
    pub(crate) making: &'static str,
    pub(crate) made: &'static str,
    pub(crate) not_made: &'static str,
    pub(crate) working: &'static str,
}

impl Steps {
    /// Returns the name of the event in these words, if it has one.
    pub(crate) fn name_of(&self, kind: &EventKind) -> Option<&'static str> {
        match kind {
            EventKind::Producing { .. } => Some(self.making),
            EventKind::Produced { .. } => Some(self.made),
            EventKind::NotProduced { .. } => Some(self.not_made),
            EventKind::ItemStarted { .. } => Some(self.working),
            _ => None,
        }
    }
}

/// The common style of the lines of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) words: &'static Wording,
    /// True if several workers share a process, so that their names follow its pid.
    pub(crate) names_workers: bool,
}

impl Style {
    /// Returns the event's line, if it has one.
    pub(crate) fn line(self, event: &Event) -> Option<Line> {
        let at = TimeDelta(event.at);
        let Wording {
            items,
            doing,
            again,
            steps,
            ..
        } = self.words;
        let step = |line: fn(&Steps) -> &'static str, item: &str, pid: &u32, who: &str| {
            let (line, item, who) = (line(steps.as_ref()?), printable(item), self.who(who));
            Some(Line::Out(format!(
                "{line} {item} , time: {at} , pid {pid}{who}"
            )))
        };
        Some(match &event.kind {
            EventKind::Producing { item, pid } => {
                return step(|steps| steps.making_line, item, pid, "main");
            }
            EventKind::ItemStarted {
                item, worker, pid, ..
            } => return step(|steps| steps.working_line, item, pid, worker),
            EventKind::Retry { item, failure, .. } => Line::Err(retried(item, failure, again)),
            EventKind::Dead { item, history, .. } => Line::Err(given_up(item, history)),
            EventKind::WorkerExited {
                worker,
                pid,
                exit,
                holding,
                is_asked,
            } if *exit != Exit::Exited(0) && (holding.is_some() || !is_asked) => {
                let (ended, held) = (ended(*exit, *is_asked), held_by_dead(holding, doing));
                Line::Err(format!("{worker} (pid {pid}) {ended}{held}"))
            }
            EventKind::WorkerFailedToStart {
                worker,
                pid: Some(pid),
                why,
            } => Line::Err(format!("{worker} (pid {pid}) {why}")),
            EventKind::WorkerFailedToStart { worker, why, .. }
            | EventKind::WorkerFailed { worker, why } => Line::Err(format!("{worker}: {why}")),
            // Earlier lines said that it died again, and how.
            EventKind::WorkerGivenUp { worker, .. } => Line::Err(format!("{worker}: is given up")),
            EventKind::Notice { why } => Line::Err(format!("supervisor: {why}")),
            EventKind::Paused => Line::Err("supervisor: paused; what is begun goes on".into()),
            EventKind::Scaled { workers } => Line::Err(scaled(*workers)),
            EventKind::Resumed => Line::Err("supervisor: resumed".into()),
            EventKind::Summary {
                counts,
                restarts,
                elapsed,
            } => Line::Err(summary(items, counts, *restarts, *elapsed)),
            EventKind::CopyEnded { .. } => return disagreed(&event.kind),
            // The lines of items say it, or the error with which the run ends.
            EventKind::Started { .. }
            | EventKind::WorkerStarted { .. }
            | EventKind::Produced { .. }
            | EventKind::NotProduced { .. }
            | EventKind::Put { .. }
            | EventKind::ItemDone { .. }
            | EventKind::WorkerExited { .. }
            | EventKind::WorkerReplaced { .. }
            | EventKind::TimeLimit { .. }
            | EventKind::MemoryLimit { .. }
            | EventKind::NoWorkersLeft { .. }
            | EventKind::JournalFailed { .. }
            | EventKind::Inconsistent { .. } => return None,
        })
    }

    fn who(self, name: &str) -> String {
        match self.names_workers {
            true => format!(" {name}"),
            false => String::new(),
        }
    }
}

/// Says how a process ended. One that was asked to was killed by nobody else.
fn ended(exit: Exit, is_asked: bool) -> String {
    let asked = if is_asked { ", as asked" } else { "" };
    format!("{exit}{asked}")
}

fn held_by_dead(item: &Option<String>, doing: &str) -> String {
    item.as_ref().map_or_else(String::new, |item| {
        format!(" while {doing} {}", printable(item))
    })
}

fn scaled(workers: usize) -> String {
    let workers = counted(workers as u64, "worker", "workers");
    format!("supervisor: {workers} now")
}

fn retried(item: &str, failure: &Failure, again: &str) -> String {
    let (item, cause) = (printable(item), failure.cause.to_string());
    let (attempt, cause) = (failure.attempt, printable(&cause));
    format!("{item}: attempt {attempt} failed ({cause}); it will be {again}")
}

/// Returns the line for a wrong answer; of other copies the end of their item tells.
fn disagreed(ended: &EventKind) -> Option<Line> {
    let EventKind::CopyEnded {
        item,
        worker,
        pid,
        end,
        ..
    } = ended
    else {
        return None;
    };
    let CopyEnd::Disagreed { said, counted } = &**end else {
        return None;
    };
    let [item, said, counted] = [item, said, counted].map(|text| printable(text));
    let line = format!("{item}: {worker} (pid {pid}) says {said}, and others agree on {counted}");
    Some(Line::Err(line))
}

fn given_up(item: &str, history: &[Failure]) -> String {
    let cause = last_cause(history);
    let (item, cause) = (printable(item), printable(&cause));
    match Failure::begun(history) {
        0 => format!("{item}: given up on, not begun ({cause})"),
        begun => {
            let attempts = attempts_in_words(begun);
            format!("{item}: given up on after {attempts} ({cause})")
        }
    }
}

/// Escapes characters that would control a terminal; line ends and tabs stay.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() && c != '\n' && c != '\t')
}

/// Returns the line with the final counts of all items, under this name for them.
pub(crate) fn summary(items: &str, counts: &Counts, restarts: u64, elapsed: Duration) -> String {
    let Counts {
        accepted,
        done,
        dead,
        retries,
        ..
    } = counts;
    let mut line = format!("{done} of {accepted} {items} done, {dead} dead");
    if counts.unfinished() > 0 {
        line += &format!(", {} left undone", counts.unfinished());
    }
    line + &format!(
        "; {retries} retries, {restarts} restarts; {:.3} s",
        elapsed.as_secs_f64()
    )
}

/// A duration as Python prints a `timedelta`: `0:00:01.010387`, or `1 day, 0:00:00`.
struct TimeDelta(Duration);

impl fmt::Display for TimeDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds / 86_400 {
            0 => {}
            1 => f.write_str("1 day, ")?,
            days => write!(f, "{days} days, ")?,
        }
        let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
        write!(f, "{hours}:{minutes:02}:{:02}", seconds % 60)?;
        match self.0.subsec_micros() {
            0 => Ok(()),
            micros => write!(f, ".{micros:06}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dishrack_core::ledger::ItemId;

    #[test]
    fn times_are_written_as_python_writes_them() {
        let cases = [
            (0, "0:00:00"),
            (37_144, "0:00:00.037144"),
            (1_010_387, "0:00:01.010387"),
            (3_723_000_001, "1:02:03.000001"),
            (86_400_000_000, "1 day, 0:00:00"),
            (180_000_000_000, "2 days, 2:00:00"),
        ];
        for (micros, expected) in cases {
            assert_eq!(
                TimeDelta(Duration::from_micros(micros)).to_string(),
                expected
            );
        }
    }

    #[test]
    fn a_step_is_announced_in_the_words_of_the_run() {
        let at = Duration::from_micros(37_144);
        let kind = EventKind::ItemStarted {
            id: ItemId(1),
            item: "item-1".into(),
            worker: "worker-1".into(),
            pid: 7280,
            attempt: 1,
            copy: None,
        };
        let event = Event { at, kind };
        static WORDS: Wording = Wording {
            items: "items",
            doing: "doing",
            done: "being done",
            again: "done again",
            steps: Some(Steps {
                making_line: "Making",
                working_line: "Doing ",
                making: "making",
                made: "made",
                not_made: "not_made",
                working: "doing",
            }),
        };
        let words = &WORDS;
        let style = |names_workers| Style {
            words,
            names_workers,
        };
        let line = |names_workers| style(names_workers).line(&event);
        let plain = "Doing  item-1 , time: 0:00:00.037144 , pid 7280";
        assert_eq!(line(false), Some(Line::Out(plain.into())));
        assert_eq!(line(true), Some(Line::Out(format!("{plain} worker-1"))));
    }
}
