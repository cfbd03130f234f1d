//! The subcommands that change a run, or all supervisors of a stream: `cancel`, `retry`, `pause`, `resume`,
//! `scale`, `reload`, `stop`.
//! Each returns when the thing has happened.

use std::os::fd::OwnedFd;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use super::args::{Format, TargetArgs};
use super::asking::{Asked, number, print};
use super::exit_codes::{RunError, code};
use super::screen::complain;
use crate::control::client::NoAnswer;
use crate::control::stream::{Obeyed, OrderTimes, StreamClient};
use crate::observe::text::{counted, printable};

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

/// A run, which all of the order is about; or all supervisors of a stream.
#[derive(Debug, Args)]
#[command(after_help = "\
With --redis it is about all supervisors that work on the stream, and returns when each of them
has done it. One that is not heard of any more is waited for until the lease is over. A pause of a
stream is kept there: supervisors that come later pause as well.")]
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
stream gets so many.

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
    let mut asked = Asked::of(&command.order.target, "cancel")?;
    each(&command.order, "cancelled", |number| asked.cancel(number))
}

pub(super) fn retry(command: &Retry) -> Result<u8, RunError> {
    let mut asked = Asked::of(&command.order.target, "retry")?;
    each(&command.order, "waits again", |number| asked.retry(number))
}

/// Gives an order for each item. The first that cannot be carried out ends it.
fn each(
    order: &ItemOrder,
    words: &str,
    mut give: impl FnMut(u64) -> Result<Value, RunError>,
) -> Result<u8, RunError> {
    for number in &order.numbers {
        let answer = give(*number)?;
        print(order.format, &answer, |_| format!("{number} {words}\n"))?;
    }
    Ok(code::DONE)
}

pub(super) fn pause(order: &RunOrder) -> Result<u8, RunError> {
    let told = OrderWords {
        verb: "pause",
        answer: json!({"paused": true}),
        words: "paused: nothing more is begun\n".into(),
    };
    whole(order, &told)
}

pub(super) fn resume(order: &RunOrder) -> Result<u8, RunError> {
    let told = OrderWords {
        verb: "resume",
        answer: json!({"resumed": true}),
        words: "resumed\n".into(),
    };
    whole(order, &told)
}

pub(super) fn reload(order: &RunOrder) -> Result<u8, RunError> {
    let told = OrderWords {
        verb: "reload",
        answer: json!({"reloaded": true}),
        words: "reloaded: all workers are new\n".into(),
    };
    whole(order, &told)
}

/// Changes the number of workers. What it is changed by is added to those that there should be.
pub(super) fn scale(command: &ScaleRun) -> Result<u8, RunError> {
    let order = &command.order;
    let mut client = match Asked::of(&order.target, "scale")? {
        Asked::Run(client) => client,
        Asked::Stream(client) => return scale_all(&client, command),
    };
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
    print(order.format, &answer, |_| {
        format!("{}\n", counted(count, "worker", "workers"))
    })?;
    Ok(code::DONE)
}

fn scale_all(client: &StreamClient, command: &ScaleRun) -> Result<u8, RunError> {
    let body = match command.workers {
        WantedWorkers::To(count) => json!({"count": count}),
        WantedWorkers::More(more) => json!({"change": more}),
        WantedWorkers::Fewer(fewer) => json!({"change": -i128::from(fewer)}),
    };
    let obeyed = client.order("scale", &body.to_string(), None, AS_LONG_AS_IT_LIVES)?;
    let counts = obeyed
        .done
        .iter()
        .map(|(_, answer)| number(&answer["workers"]));
    // All that there are from now on.
    let count: u64 = counts.sum();
    let told = OrderWords {
        verb: "scale",
        answer: json!({"workers": count}),
        words: format!("{}\n", counted(count, "worker", "workers")),
    };
    tell_obeyed(command.order.format, &told, obeyed)
}

/// An order about all of a run, and what is said when it is done.
struct OrderWords {
    verb: &'static str,
    answer: Value,
    words: String,
}

fn whole(order: &RunOrder, told: &OrderWords) -> Result<u8, RunError> {
    let verb = told.verb;
    match Asked::of(&order.target, verb)? {
        Asked::Run(mut client) => {
            let answer = client.ask(Method::POST, &format!("/v1/{verb}"), None, "")?;
            print(order.format, &answer, |_| told.words.clone())?;
            Ok(code::DONE)
        }
        Asked::Stream(client) => {
            let obeyed = client.order(verb, "", None, AS_LONG_AS_IT_LIVES)?;
            tell_obeyed(order.format, told, obeyed)
        }
    }
}

/// A supervisor that lives must hear of an order in this time.
const HEARING: Duration = Duration::from_secs(10);

/// Waits for a supervisor as long as it lives, once it has heard of the order.
const AS_LONG_AS_IT_LIVES: OrderTimes = OrderTimes {
    hearing: HEARING,
    doing: None,
    ends: false,
};

/// Says what has come of an order to the supervisors of a stream. Those that have not done it, and live,
/// are told of as an error.
fn tell_obeyed(format: Format, told: &OrderWords, obeyed: Obeyed) -> Result<u8, RunError> {
    // A pause is kept for those who come.
    let is_kept = matches!(told.verb, "pause" | "resume");
    let Obeyed {
        done,
        refused,
        silent,
        lost,
    } = obeyed;
    if done.is_empty() && refused.is_empty() && silent.is_empty() && !is_kept {
        let verb = told.verb;
        return Err(RunError::Usage(format!(
            "nobody works on the stream, so there is nobody to {verb}"
        )));
    }
    for name in &lost {
        complain(&format_args!(
            "{}: it is not heard of any more, and not waited for",
            printable(name)
        ));
    }
    let names: Vec<&String> = done.iter().map(|(name, _)| name).collect();
    let mut answer = told.answer.clone();
    answer["supervisors"] = json!(names);
    if !done.is_empty() || (refused.is_empty() && silent.is_empty()) {
        print(format, &answer, |_| told.words.clone())?;
    }
    let refused = refused.iter().map(|(name, why)| format!("{name}: {why}"));
    let silent = silent.iter().map(|name| {
        let time = HEARING.as_secs();
        format!(
            "{name}: it lives, and has not answered for {time} s; it may be of an older version"
        )
    });
    let not_done: Vec<String> = refused.chain(silent).collect();
    match not_done.is_empty() {
        true => Ok(code::DONE),
        false => Err(RunError::Usage(not_done.join("\n"))),
    }
}

/// Stops a run, and waits until its process has ended, if that is what a stop of it does.
pub(super) fn stop(command: &StopRun) -> Result<u8, RunError> {
    let order = &command.order;
    let mut client = match Asked::of(&order.target, "stop")? {
        Asked::Run(client) => client,
        Asked::Stream(client) => return stop_all(&client, command),
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

/// Stops all supervisors of a stream, and waits until each has left it.
fn stop_all(client: &StreamClient, command: &StopRun) -> Result<u8, RunError> {
    let body = json!({"now": command.now}).to_string();
    let times = OrderTimes {
        ends: true,
        ..AS_LONG_AS_IT_LIVES
    };
    let obeyed = client.order("stop", &body, None, times)?;
    let told = OrderWords {
        verb: "stop",
        answer: json!({"stopped": true}),
        words: "stopped\n".into(),
    };
    tell_obeyed(command.order.format, &told, obeyed)
}

/// Waits until a process has ended.
pub(super) fn await_end(process: &OwnedFd) {
    // It is readable then.
    let mut file = [PollFd::new(process, PollFlags::IN)];
    while poll(&mut file, None) == Err(rustix::io::Errno::INTR) {}
}
