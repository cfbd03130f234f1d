//! `supervisor status`: shows the state of a run, or of a stream in Redis, as a page or a JSON object.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::address::Address;
use super::args::{Choice, Format, TargetArgs, duration};
use super::asking::{self, connect, number, print, text, time};
use super::exit_codes::{RunError, code, written};
use super::layout::Anything;
use super::screen::StandardStream;
use crate::Capacity;
use crate::observe::text::printable;
use crate::store::stream::{Opening, Status};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor status
      how the only run stands: counts, pace and workers
  supervisor status --at nightly --format json
      the same of the run of this name, for a program
  supervisor status --redis redis://db1
      how much is unfinished, done and dead, how fast it goes, and who works
  supervisor status --redis redis://db1 --interval 0 --format json
      the same for a program, from one look
  supervisor status --redis redis://db1 --at web7-4711-6fb6ce62
      how one of these stands, with its workers; `ps --redis URL` lists them")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The form of the output: lines, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    /// Look twice at a stream, with this time between, to tell how fast it goes; 0 to look once
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = duration, allow_hyphen_values = true)]
    interval: Duration,
}

/// Shows the state and returns the exit code.
pub(super) fn run(command: &StatusArgs) -> Result<u8, RunError> {
    let target = &command.target;
    let answer = match target.target_or_one("status").map_err(RunError::Usage)? {
        (Choice::Run(at), _) => connect(&at)?.ask(Method::GET, "/v1/status", None, "")?,
        (Choice::Stream(place), Some(one)) => {
            asking::stream(&place)?.about_one(&one)?.status_of_one()?
        }
        (Choice::Stream(place), None) => {
            return of_stream(command, &place.opening(Opening::ReadOnly));
        }
    };
    print(command.format, &answer, page_of_run)?;
    Ok(code::DONE)
}

/// Returns the state of a run for people.
pub(super) fn page_of_run(status: &Value) -> String {
    let (name, state) = (printable(text(&status["name"])), text(&status["state"]));
    let (pid, mode) = (number(&status["pid"]), status["mode"].as_str());
    let mode = mode.unwrap_or("without workers of its own");
    let up = time(&status["uptime_us"]);
    // Writing to a string cannot fail.
    let mut page = format!("run {name} (process {pid}, {mode}): {state}, for {up}\n");
    let counts = &status["counts"];
    let unfinished = ["waiting", "leased", "delayed"].map(|name| number(&counts[name]));
    let pace = match (status["rate_per_s"].as_f64(), status["eta_s"].as_f64()) {
        (Some(rate), Some(left)) if left > 0.0 => format!("  {rate:.1}/s, {left:.0} s left"),
        (Some(rate), _) => format!("  {rate:.1}/s"),
        (None, _) => String::new(),
    };
    let rows = [
        ("accepted", number(&counts["accepted"]), ""),
        ("unfinished", unfinished.iter().sum(), ""),
        ("waiting", unfinished[0], ""),
        ("leased", unfinished[1], ""),
        ("delayed", unfinished[2], ""),
        ("done", number(&counts["done"]), &*pace),
        ("dead", number(&counts["dead"]), ""),
        ("retries", number(&counts["retries"]), ""),
        ("restarts", number(&counts["restarts"]), ""),
    ];
    for (name, count, note) in rows {
        let _ = writeln!(page, "  {name:<12}  {count:>10}{note}");
    }
    let workers = status["workers"].as_array();
    let _ = writeln!(page, "workers: {}", workers.map_or(0, Vec::len));
    for one in workers.into_iter().flatten() {
        let (worker, state) = (printable(text(&one["worker"])), text(&one["state"]));
        let _ = write!(page, "  {worker}  {state}");
        if let Some(pid) = one["pid"].as_u64() {
            let _ = write!(page, "  pid {pid}");
        }
        if let Some(bytes) = one["rss_bytes"].as_u64() {
            let _ = write!(page, "  {:.1} MiB", bytes as f64 / f64::from(1 << 20));
        }
        if let Some(item) = one["item"].as_str() {
            let _ = write!(page, "  {}", printable(item));
        }
        if one["for_us"].is_u64() {
            let _ = write!(page, "  for {}", time(&one["for_us"]));
        }
        page.push('\n');
    }
    page
}

fn of_stream(command: &StatusArgs, place: &Address) -> Result<u8, RunError> {
    let stream = place.open(Box::new(Anything), Capacity::Unbounded)?;
    let look = || stream.status().map_err(RunError::usage);
    let mut status = look()?;
    let mut rates = None;
    if !command.interval.is_zero() {
        std::thread::sleep(command.interval);
        let first = std::mem::replace(&mut status, look()?);
        rates = Rates::between(&first, &status);
    }
    let text = match command.format {
        Format::Text => page(place, &status, rates.as_ref()),
        Format::Json => format!("{}\n", object(place, &status, rates.as_ref())),
    };
    written(StandardStream::Out.write_all(text.as_bytes()))?;
    Ok(code::DONE)
}

/// The rates, per second.
#[derive(Debug)]
struct Rates {
    put: f64,
    done: f64,
    dead: f64,
}

impl Rates {
    fn between(first: &Status, second: &Status) -> Option<Self> {
        let seconds = second.at.saturating_sub(first.at).as_secs_f64();
        // To the thousandth.
        let rate = |before: u64, now: u64| {
            let count = now.saturating_sub(before);
            (count as f64 / seconds * 1_000.0).round() / 1_000.0
        };
        (seconds > 0.0).then(|| Rates {
            put: rate(first.put(), second.put()),
            done: rate(first.done, second.done),
            dead: rate(first.dead, second.dead),
        })
    }
}

fn page(place: &Address, status: &Status, rates: Option<&Rates>) -> String {
    let (url, stream) = (place.shown_url(), &place.stream);
    let mut page = format!(
        "stream {} at {url}: items of type {}, lease {:?}{}\n",
        printable(stream),
        printable(&status.item_type),
        status.lease,
        if status.is_paused { ", paused" } else { "" }
    );
    let rate = |of: fn(&Rates) -> f64| rates.map(|rates| format!("  {:.1}/s", of(rates)));
    let rows = [
        ("unfinished", status.unfinished, rate(|rates| rates.put)),
        ("untaken", status.untaken(), None),
        ("pending", status.pending, None),
        ("done", status.done, rate(|rates| rates.done)),
        ("dead", status.dead, rate(|rates| rates.dead)),
        ("dead letters", status.letters, None),
        ("retries", status.retries, None),
        ("refused", status.refused, None),
        ("gone", status.gone, None),
    ];
    for (name, count, rate) in rows {
        let note = match (name, rate) {
            ("unfinished", Some(rate)) => format!("{rate} put"),
            (_, rate) => rate.unwrap_or_default(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "  {name:<12}  {count:>10}{note}");
    }
    let _ = writeln!(page, "supervisors: {}", status.supervisors.len());
    for one in &status.supervisors {
        let idle = one.idle.as_secs_f64();
        let note = match status.is_lost(one) {
            true => ": lost, longer than the lease",
            false => "",
        };
        let _ = writeln!(
            page,
            "  {}  {} pending, heard of {idle:.1} s ago{note}",
            printable(&one.name),
            one.pending
        );
    }
    page
}

fn object(place: &Address, status: &Status, rates: Option<&Rates>) -> Value {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let supervisors = status.supervisors.iter().map(|one| {
        json!({
            "name": one.name,
            "pending": one.pending,
            "idle_ms": millis(one.idle),
            "lost": status.is_lost(one),
        })
    });
    let rate = rates.map(|rates| rates.done + rates.dead);
    json!({
        "event": "status",
        "stream": place.stream,
        place.kind().option: place.shown_url(),
        "item_type": status.item_type,
        "lease_ms": millis(status.lease),
        "state": status.state(),
        "paused": status.is_paused,
        "counts": {
            "accepted": status.put(),
            "done": status.done,
            "dead": status.dead,
            "retries": status.retries,
        },
        "rate_per_s": rate,
        "eta_s": rate.filter(|rate| *rate > 0.0).map(|rate| status.unfinished as f64 / rate),
        "unfinished": status.unfinished,
        "untaken": status.untaken(),
        "pending": status.pending,
        "done": status.done,
        "dead": status.dead,
        "dead_letters": status.letters,
        "retries": status.retries,
        "refused": status.refused,
        "gone": status.gone,
        "supervisors": supervisors.collect::<Value>(),
        "put_per_s": rates.map(|rates| rates.put),
        "done_per_s": rates.map(|rates| rates.done),
        "dead_per_s": rates.map(|rates| rates.dead),
    })
}
