//! The subcommands that look at single items of a run or a stream: `list`, `show`, `wait`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use hyper::Method;
use serde_json::Value;

use super::args::{Choice, Format, TargetArgs, duration};
use super::asking::{Asked, WantedItems, connect, left_of, number, print, text, values};
use super::exit_codes::{RunError, code};
use super::letter::UtcTime;
use crate::ItemState;
use crate::observe::text::{attempts_in_words, harmless, printable, waited_for};
use crate::observe::words::DROPPED;
use crate::store::stream::Opening;

impl ValueEnum for ItemState {
    fn value_variants<'a>() -> &'a [Self] {
        use ItemState::{Dead, Done, Resting, Running, Waiting};
        &[Waiting, Running, Resting, Dead, Done]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.word()))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Those of a stream come in its order, which is that in which they are handed out, and then its dead
letters. Those that are done it does not keep.

Examples:
  supervisor list --state running
      what is being worked on: number, state, item, attempts, worker or last cause
  supervisor list --limit 10 --after 500
      ten items, from the 501st on")]
pub(super) struct ListItems {
    /// Only items in this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<ItemState>,

    /// No more than so many [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Only items with greater numbers than this
    #[arg(long, value_name = "ITEM", default_value_t = 0)]
    after: u64,

    #[command(flatten)]
    target: TargetArgs,

    /// The form of the output: lines, or one JSON object a line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor show 7
      the state of item 7, who has it, and each failed attempt")]
pub(super) struct ShowItems {
    /// The items' numbers
    #[arg(value_name = "ITEM", required = true)]
    numbers: Vec<u64>,

    #[command(flatten)]
    target: TargetArgs,

    /// The form of the output: text, or one JSON object a line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit code: 0 all of them are done, 1 some are dead letters, 2 the time is over, or there is no such
item. Of items that are commands of their own (`supervisor add`), it is that of the first command
that has failed: its exit code, or 128 and the signal's number.

Examples:
  supervisor wait 7 8
      waits until both have ended
  supervisor wait --all --timeout 1h
      waits until everything has ended, an hour at most; so does `join` without a bound")]
pub(super) struct WaitItems {
    /// The items' numbers
    #[arg(
        value_name = "ITEM",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    numbers: Vec<u64>,

    /// Wait for all items
    #[arg(long)]
    all: bool,

    /// The longest time to wait [default: none]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    timeout: Option<Duration>,

    #[command(flatten)]
    target: TargetArgs,

    /// The form of the output: lines, or one JSON object a line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Returns the last cause of an item that was given up, if that is known.
fn cause_of(cause: &Value) -> &str {
    cause.as_str().unwrap_or(DROPPED)
}

/// Lists items and returns the exit code.
pub(super) fn list(command: &ListItems) -> Result<u8, RunError> {
    let mut asked = Asked::of(&command.target, "list")?;
    let wanted = WantedItems {
        state: command.state,
        after: command.after,
        limit: command.limit.unwrap_or(u64::MAX),
    };
    asked.each_item(wanted, |item| print(command.format, item, line))?;
    Ok(code::DONE)
}

/// Returns the number, state, name, attempts, and worker or last cause, with tabs between them.
fn line(item: &Value) -> String {
    let workers = values(&item["workers"]).iter();
    let workers: Vec<&str> = workers.map(text).collect();
    let more = match (workers.is_empty(), item["waits_for"].as_str()) {
        (true, Some(_)) => format!("waits for {}", awaited(item)),
        (true, None) if item["state"] == "dead" => cause_of(&item["cause"]).to_owned(),
        (true, None) => text(&item["cause"]).to_owned(),
        (false, _) => workers.join(", "),
    };
    let fields = [
        number_of(item),
        text(&item["state"]).to_owned(),
        printable(item["item"].as_str().unwrap_or("-")).into_owned(),
        match (text(&item["state"]), number(&item["attempts"])) {
            // Nothing is kept of it but its number.
            ("done" | "dead", 0) if item["item"].is_null() => "-".to_owned(),
            (_, attempts) => attempts_in_words(attempts),
        },
        printable(&more).into_owned(),
    ];
    fields.join("\t").trim_end().to_owned() + "\n"
}

/// Returns what an item waits for, in words.
fn awaited(item: &Value) -> String {
    let after: Vec<String> = values(&item["after"])
        .iter()
        .map(Value::to_string)
        .collect();
    match after.as_slice() {
        [] => waited_for(text(&item["waits_for"])).to_owned(),
        [one] => format!("item {one}"),
        all => format!("items {}", all.join(", ")),
    }
}

/// Returns the number of an item; one on a stream may have none yet.
fn number_of(item: &Value) -> String {
    let number = item["number"].as_u64();
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// Shows items and returns the exit code.
pub(super) fn show(command: &ShowItems) -> Result<u8, RunError> {
    let mut asked = Asked::of(&command.target, "show")?;
    for number in &command.numbers {
        let answer = asked.item(*number)?;
        print(command.format, &answer, page)?;
    }
    Ok(code::DONE)
}

/// Returns all that is known of an item, for people.
pub(super) fn page(item: &Value) -> String {
    let when = |value: &Value| {
        let since = value.as_u64().map(Duration::from_micros);
        since.map_or("-".to_owned(), |since| UtcTime(since).to_string())
    };
    let name = item["item"].as_str().map(printable).unwrap_or_default();
    // Writing to a string cannot fail.
    let title = format!("{} {name}", number_of(item));
    let mut page = format!("{}\n", title.trim_end());
    let state = text(&item["state"]);
    let is_dropped = state == "dead" && values(&item["history"]).is_empty();
    let _ = match is_dropped {
        true => writeln!(page, "  state:    {state}: {DROPPED}"),
        false => writeln!(page, "  state:    {state}"),
    };
    let ended = &item["ended"];
    // Of an item that has ended nothing else may be known any more.
    let is_bare = ended.is_null() && (is_dropped || state == "done");
    if !is_bare {
        let _ = writeln!(page, "  attempts: {}", number(&item["attempts"]));
    }
    if !item["waits_for"].is_null() {
        let _ = writeln!(page, "  waits for: {}", awaited(item));
    }
    if !item["due_us"].is_null() {
        let _ = writeln!(page, "  due:      {}", when(&item["due_us"]));
    }
    if let Some(supervisor) = item["supervisor"].as_str() {
        let _ = writeln!(page, "  supervisor: {}", printable(supervisor));
    }
    for one in values(&item["holders"]) {
        let worker = printable(text(&one["worker"]));
        let since = when(&one["since_us"]);
        let _ = writeln!(
            page,
            "  worker:   {worker}, pid {}, since {since}",
            one["pid"]
        );
    }
    if item["state"] == "done" && !ended.is_null() {
        let worker = printable(text(&ended["worker"]));
        let _ = writeln!(page, "  worker:   {worker}, pid {}", ended["pid"]);
        let _ = writeln!(page, "  started:  {}", when(&ended["started_us"]));
        let _ = writeln!(page, "  ended:    {}", when(&ended["ended_us"]));
    }
    let mut has_begun = false;
    for one in values(&item["history"]) {
        let cause = printable(text(&one["cause"]));
        let _ = match number(&one["attempt"]) {
            0 if has_begun => writeln!(page, "  not begun again: {cause}"),
            0 => writeln!(page, "  not begun: {cause}"),
            attempt => writeln!(page, "  attempt {attempt}: {cause}"),
        };
        has_begun |= number(&one["attempt"]) > 0;
        if let Some(worker) = one["worker"].as_str() {
            let _ = writeln!(
                page,
                "    worker:  {}, pid {}",
                printable(worker),
                one["pid"]
            );
            let _ = writeln!(page, "    started: {}", when(&one["started_us"]));
        }
        let _ = writeln!(page, "    ended:   {}", when(&one["ended_us"]));
        for line in text(&one["stderr"]).lines() {
            let _ = writeln!(page, "    stderr:  {}", harmless(line));
        }
    }
    page
}

/// Waits for the end of items. The exit code says whether they are done.
pub(super) fn wait(command: &WaitItems) -> Result<u8, RunError> {
    let end = command.timeout.map(|time| Instant::now() + time);
    if command.all {
        return wait_for_all(command, end);
    }
    let mut asked = Asked::of(&command.target, "wait")?;
    let mut failed = None;
    for number in &command.numbers {
        let answer = asked.wait_item(*number, end)?;
        let is_dead = answer["state"] == "dead";
        print(command.format, &answer, |answer| match is_dead {
            false => format!("{number} done\n"),
            true => {
                let history = answer["history"].as_array();
                let last = history.and_then(|history| history.last());
                let cause = cause_of(last.map_or(&Value::Null, |last| &last["cause"]));
                format!("{number} dead: {}\n", printable(cause))
            }
        })?;
        failed = failed.or(code_of(&answer).filter(|code| *code != code::DONE));
    }
    Ok(failed.unwrap_or(code::DONE))
}

/// Returns the exit code for the end of an item: of one that is a command of its own, the command's.
fn code_of(item: &Value) -> Option<u8> {
    let own = |name: &str| u8::try_from(item["exit"][name].as_i64()?).ok();
    let by_signal = own("signal").map(|signal| code::of_signal(signal.into()));
    let by_state = match item["state"] == "dead" {
        true => code::DEAD_LETTERS,
        false => code::DONE,
    };
    own("code").or(by_signal).or(Some(by_state))
}

fn wait_for_all(command: &WaitItems, end: Option<Instant>) -> Result<u8, RunError> {
    match command.target.target("wait").map_err(RunError::Usage)? {
        Choice::Run(at) => {
            let left = left_of(end).map_or(String::new(), |left| format!("?timeout_ms={left}"));
            let answer = connect(&at)?.ask(Method::GET, &format!("/v1/join{left}"), None, "")?;
            super::join::tell_of_run(command.format, &answer)
        }
        Choice::Stream(place) => {
            super::join::join_stream(place.opening(Opening::Existing), command.format, end)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_failed_before_its_deadline_was_not_begun_again() {
        let failed = |attempt: u32, worker: Option<&str>| json!({"attempt": attempt, "cause": "why", "worker": worker, "pid": 2, "ended_us": 3});
        let page_of =
            |history: &[Value]| page(&json!({"number": 1, "state": "dead", "history": history}));
        let begun = page_of(&[failed(1, Some("worker-1")), failed(0, None)]);
        assert!(begun.contains("  attempt 1: why\n"), "{begun}");
        assert!(begun.contains("  not begun again: why\n"), "{begun}");
        let never = page_of(&[failed(0, None)]);
        assert!(never.contains("  not begun: why\n"), "{never}");
        let dropped = format!("1\n  state:    dead: {DROPPED}\n");
        assert_eq!(page_of(&[]), dropped);
    }
}
