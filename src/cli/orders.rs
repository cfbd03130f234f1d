//! The subcommands that change a run: `cancel`, `retry`, `pause`, `resume`, `scale`, `reload`, `stop`.
//! Each returns when the thing has happened.

use std::os::fd::OwnedFd;

use clap::Args;
use hyper::Method;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;

use super::args::{AtArgs, Format};
use super::asking::{connect, number, print};
use super::exit_codes::{RunError, code};
use crate::control::client::NoAnswer;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor cancel 7
      item 7 of the only run is not worked on any more, and is a dead letter
  supervisor cancel 7 8 --at nightly
      two items of the run of this name")]
pub(super) struct Cancel {
    #[command(flatten)]
    order: ItemOrder,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor retry 7
      dead letter 7 of the only run waits again, with as many attempts as a new item
The dead letters of a journal that no run uses, or of a stream, are tried again by `dead retry`.")]
pub(super) struct Retry {
    #[command(flatten)]
    order: ItemOrder,
}

/// Items, and the run that has them.
#[derive(Debug, Args)]
struct ItemOrder {
    /// The items' numbers
    #[arg(value_name = "ITEM", required = true)]
    numbers: Vec<u64>,

    #[command(flatten)]
    run: AtArgs,

    /// The form of the output: a line, or a JSON object, for each item
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A run, which all of the order is about.
#[derive(Debug, Args)]
pub(super) struct RunOrder {
    #[command(flatten)]
    run: AtArgs,

    /// The form of the output: a line, or a JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Workers that have begun something finish it before they leave.

Examples:
  supervisor scale 8
      the only run has eight workers from now on
  supervisor scale +2 --at nightly
      the run of this name has two more; -2 would be two fewer")]
pub(super) struct ScaleRun {
    /// The number of workers, or by how many to change it
    #[arg(value_name = "N|+N|-N", allow_hyphen_values = true, value_parser = change)]
    workers: WantedWorkers,

    #[command(flatten)]
    order: RunOrder,
}

/// A wanted number of workers.
#[derive(Debug, Clone, Copy)]
enum WantedWorkers {
    To(u64),
    More(u64),
    Fewer(u64),
}

fn change(word: &str) -> Result<WantedWorkers, String> {
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits
            .parse()
            .map_err(|_| format!("{word}: it is no number of workers")),
        false => Err(format!("{word}: it is no number of workers")),
    };
    match word.split_at_checked(1) {
        Some(("+", digits)) => Ok(WantedWorkers::More(number(digits)?)),
        Some(("-", digits)) => Ok(WantedWorkers::Fewer(number(digits)?)),
        _ => Ok(WantedWorkers::To(number(word)?)),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervisor stop
      the only run finishes what has begun and ends, as by SIGTERM
  supervisor stop --now --at nightly
      the run of this name ends at once")]
pub(super) struct StopRun {
    /// End at once what has begun
    #[arg(long)]
    now: bool,

    #[command(flatten)]
    order: RunOrder,
}

pub(super) fn cancel(command: &Cancel) -> Result<u8, RunError> {
    each(&command.order, "cancel", "cancelled")
}

pub(super) fn retry(command: &Retry) -> Result<u8, RunError> {
    each(&command.order, "retry", "waits again")
}

/// Gives an order for each item. The first that cannot be carried out ends it.
fn each(order: &ItemOrder, verb: &str, words: &str) -> Result<u8, RunError> {
    let mut client = connect(&order.run)?;
    for number in &order.numbers {
        let target = format!("/v1/items/{number}/{verb}");
        let answer = client.ask(Method::POST, &target, None, "")?;
        print(order.format, &answer, |_| format!("{number} {words}\n"))?;
    }
    Ok(code::DONE)
}

pub(super) fn pause(order: &RunOrder) -> Result<u8, RunError> {
    whole(order, "pause", "paused: nothing more is begun\n")
}

pub(super) fn resume(order: &RunOrder) -> Result<u8, RunError> {
    whole(order, "resume", "resumed\n")
}

/// Changes the number of workers. What it is changed by is added to those that there should be.
pub(super) fn scale(command: &ScaleRun) -> Result<u8, RunError> {
    let mut client = connect(&command.order.run)?;
    let count = match command.workers {
        WantedWorkers::To(count) => count,
        WantedWorkers::More(_) | WantedWorkers::Fewer(_) => {
            let status = client.ask(Method::GET, "/v1/status", None, "")?;
            let now = number(&status["workers_wanted"]);
            match command.workers {
                WantedWorkers::More(more) => now.saturating_add(more),
                WantedWorkers::Fewer(fewer) => now.saturating_sub(fewer),
                WantedWorkers::To(count) => count,
            }
        }
    };
    let body = json!({"count": count}).to_string();
    let answer = client.ask(Method::PUT, "/v1/workers", None, body)?;
    print(command.order.format, &answer, |_| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} worker{s}\n")
    })?;
    Ok(code::DONE)
}

pub(super) fn reload(order: &RunOrder) -> Result<u8, RunError> {
    whole(order, "reload", "reloaded: all workers are new\n")
}

fn whole(order: &RunOrder, verb: &str, words: &str) -> Result<u8, RunError> {
    let mut client = connect(&order.run)?;
    let answer = client.ask(Method::POST, &format!("/v1/{verb}"), None, "")?;
    print(order.format, &answer, |_| words.to_owned())?;
    Ok(code::DONE)
}

/// Stops a run, and waits until its process has ended, if that is what a stop of it does.
pub(super) fn stop(command: &StopRun) -> Result<u8, RunError> {
    let order = &command.order;
    let mut client = connect(&order.run)?;
    let process = client.pid.and_then(Pid::from_raw);
    let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let body = match command.now {
        true => "{\"now\":true}",
        false => "",
    };
    let answer = match client.ask(Method::POST, "/v1/stop", None, body) {
        Ok(answer) => answer,
        // It may end before its answer is through.
        Err(NoAnswer::Lost { .. }) if process.is_some() => {
            json!({"stopped": true, "process_ends": true})
        }
        Err(why) => return Err(why.into()),
    };
    if let Some(process) = process.filter(|_| answer["process_ends"] == true) {
        await_end(&process);
    }
    print(order.format, &answer, |_| "stopped\n".to_owned())?;
    Ok(code::DONE)
}

/// Waits until a process has ended.
pub(super) fn await_end(process: &OwnedFd) {
    // It is readable then.
    let mut file = [PollFd::new(process, PollFlags::IN)];
    while poll(&mut file, None) == Err(rustix::io::Errno::INTR) {}
}
