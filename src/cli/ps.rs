//! `supervisor ps`: which runs there are, or which supervisors a stream has, and how each stands in one
//! line.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::args::{Format, StreamArgs};
use super::asking::{self, number, text, time};
use super::exit_codes::{RunError, code, written};
use super::screen::StandardStream;
use crate::control::client::{Client, NoAnswer};
use crate::control::runs::{self, FoundRun};

/// The longest time in which a run must answer.
const TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "\
It shows the runs of this user whose sockets are in the user's folder: all but those with --control
PATH or --no-control. A socket that a killed run has left is removed. With --redis or --stream it
shows the supervisors that work on the stream, wherever they are.

Examples:
  supervisor ps
      name, process, state, what is done, workers, and for how long it runs
  supervisor ps --format json
      the same for a program, one object a line
  supervisor ps --redis redis://db1
      who works on the stream: those that do not answer in 2 s are silent, and those that were not
      heard of for longer than the lease are lost")]
pub(super) struct Ps {
    #[command(flatten)]
    stream: StreamArgs,

    /// The form of the output: lines, or one JSON object a line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Lists the runs and returns the exit code.
pub(super) fn run(command: &Ps) -> Result<u8, RunError> {
    let rows: Vec<Value> = match command.stream.is_typed() {
        true => {
            let place = command.stream.place("ps").map_err(RunError::Usage)?;
            asking::stream(&place)?.supervisors()?
        }
        false => {
            let found = runs::all().map_err(|why| RunError::Usage(why.to_string()))?;
            found.iter().filter_map(look).collect()
        }
    };
    let lines: Vec<String> = match command.format {
        Format::Json => rows.iter().map(Value::to_string).collect(),
        Format::Text => table(&rows),
    };
    let mut page = lines.join("\n");
    if !page.is_empty() {
        page.push('\n');
    }
    written(StandardStream::Out.write_all(page.as_bytes()))?;
    Ok(code::DONE)
}

/// Asks one. `None` if it has ended meanwhile.
fn look(run: &FoundRun) -> Option<Value> {
    let asked = Client::connect(&run.path).and_then(|mut client| {
        client.answer_within(TIME);
        client.ask(Method::GET, "/v1/status", None, "")
    });
    let (state, status) = match asked {
        Ok(status) => (text(&status["state"]).to_owned(), Some(status)),
        Err(NoAnswer::NotThere { .. }) => return None,
        Err(NoAnswer::Late { .. }) => ("silent".to_owned(), None),
        Err(_) => ("unknown".to_owned(), None),
    };
    let of = |field: &str| status.as_ref().map(|status| status[field].clone());
    Some(json!({
        "name": run.name,
        "pid": run.pid,
        "path": run.path.to_string_lossy(),
        "state": state,
        "mode": of("mode"),
        "uptime_us": of("uptime_us"),
        "counts": of("counts"),
        "workers": status.as_ref().and_then(|status| Some(status["workers"].as_array()?.len())),
    }))
}

/// Returns the rows with columns below each other.
fn table(rows: &[Value]) -> Vec<String> {
    let head = ["NAME", "PID", "STATE", "DONE", "WORKERS", "UP"].map(str::to_owned);
    let row = |row: &Value| {
        let counts = &row["counts"];
        let done = format!(
            "{} of {}",
            number(&counts["done"]) + number(&counts["dead"]),
            number(&counts["accepted"])
        );
        let is_known = !counts.is_null();
        let known = |text: String| if is_known { text } else { "-".to_owned() };
        [
            text(&row["name"]).to_owned(),
            row["pid"]
                .as_u64()
                .map_or("-".into(), |pid| pid.to_string()),
            text(&row["state"]).to_owned(),
            known(done),
            known(number(&row["workers"]).to_string()),
            known(time(&row["uptime_us"])),
        ]
    };
    let rows = rows.iter().map(row);
    let cells: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    let width = |at: usize| {
        cells
            .iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let padded = row.iter().zip(&widths);
        let padded = padded.map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}
