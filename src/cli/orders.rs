//! The subcommands that change a run, or the supervisors of a stream: `cancel`, `retry`, `pause`, `resume`,
//! `scale`, `reload`, `stop`. Each returns when the thing has happened.

use std::os::fd::OwnedFd;

use clap::Args;
use hyper::Method;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;

use super::args::{Format, TargetArgs};
use super::asking::{Asked, print};
use super::exit_codes::{RunError, code};
use super::steering::{SteeringOrder, WantedWorkers, stop_supervisors};
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
    target: TargetArgs,

    /// The form of the output: a line, or a JSON object, for each item
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A run, which all of the order is about; or all supervisors of a stream, or one of them.
#[derive(Debug, Args)]
#[command(after_help = "\
With --redis it is about all supervisors that work on the stream, and returns when each of them
has done it. One that is not heard of any more is waited for until the lease is over. A pause of a
stream is kept there: supervisors that come later pause as well. With --at it is about one of them,
which `supervisor ps --redis URL` lists, and a pause of it ends with it.")]
pub(super) struct RunOrder {
    #[command(flatten)]
    target: TargetArgs,

    /// The form of the output: a line, or a JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Workers that have begun something finish it before they leave. With --redis each supervisor of the
stream gets so many, or that which --at names.

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
      the run of this name ends at once
  supervisor stop --redis redis://db1
      all supervisors of the stream do, and what is left waits for others")]
pub(super) struct StopRun {
    /// End at once what has begun
    #[arg(long)]
    now: bool,

    #[command(flatten)]
    order: RunOrder,
}

pub(super) fn cancel(command: &Cancel) -> Result<u8, RunError> {
    let numbers = &command.order.numbers;
    each(&command.order, numbers, "cancel", SteeringOrder::Cancel)
}

pub(super) fn retry(command: &Retry) -> Result<u8, RunError> {
    // One that is to begin after others waits for them if they are tried again before it.
    let mut numbers = command.order.numbers.clone();
    numbers.sort_unstable();
    each(&command.order, &numbers, "retry", SteeringOrder::Retry)
}

/// Gives an order for each of these items. The first that cannot be carried out ends it.
fn each(
    order: &ItemOrder,
    numbers: &[u64],
    verb: &str,
    of_item: impl Fn(u64) -> SteeringOrder,
) -> Result<u8, RunError> {
    let mut asked = Asked::of(&order.target, verb)?;
    for number in numbers {
        asked.carry_out(of_item(*number))?.tell(order.format)?;
    }
    Ok(code::DONE)
}

pub(super) fn pause(order: &RunOrder) -> Result<u8, RunError> {
    give(order, "pause", SteeringOrder::Pause)
}

pub(super) fn resume(order: &RunOrder) -> Result<u8, RunError> {
    give(order, "resume", SteeringOrder::Resume)
}

pub(super) fn reload(order: &RunOrder) -> Result<u8, RunError> {
    give(order, "reload", SteeringOrder::Reload)
}

pub(super) fn scale(command: &ScaleRun) -> Result<u8, RunError> {
    give(
        &command.order,
        "scale",
        SteeringOrder::Scale(command.workers),
    )
}

fn give(order: &RunOrder, verb: &str, wanted: SteeringOrder) -> Result<u8, RunError> {
    let mut asked = Asked::of_one(&order.target, verb)?;
    asked.carry_out(wanted)?.tell(order.format)
}

/// Stops a run, and waits until its process has ended, if that is what a stop of it does.
pub(super) fn stop(command: &StopRun) -> Result<u8, RunError> {
    let order = &command.order;
    let mut client = match Asked::of_one(&order.target, "stop")? {
        Asked::Run(client) => client,
        Asked::Stream(client) => return stop_supervisors(&client, command.now)?.tell(order.format),
    };
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
