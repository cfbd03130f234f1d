//! Orders to a run, or to the supervisors of a stream, and what has come of them: for the subcommands that
//! give one, and for the keys of `top`. It does not know how they are typed.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::args::Format;
use super::asking::{Asked, number, print};
use super::exit_codes::{RunError, code};
use super::screen::complain;
use crate::ItemId;
use crate::control::client::Client;
use crate::control::stream::{OrderTimes, StreamClient};
use crate::observe::text::{counted, printable};

/// An order that is carried out when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SteeringOrder {
    Pause,
    Resume,
    Reload,
    Scale(WantedWorkers),
    Cancel(u64),
    Retry(u64),
}

/// A wanted number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedWorkers {
    To(u64),
    More(u64),
    Fewer(u64),
}

/// The result of an order.
#[derive(Debug)]
pub(super) struct CarriedOut {
    /// The answer, and the same in words; `None` if nobody has done it.
    done: Option<(Value, String)>,
    /// Those that are not waited for, because they are not heard of any more.
    lost: Vec<String>,
    /// The words of those that have not done it.
    not_done: Vec<String>,
}

impl CarriedOut {
    fn by_run(answer: Value, words: impl Into<String>) -> Self {
        CarriedOut {
            done: Some((answer, words.into())),
            lost: Vec::new(),
            not_done: Vec::new(),
        }
    }

    /// Gives an order to all supervisors of a stream, or to the one that is meant. `tell` says what has come
    /// of it by those that have done it. Those that have not, and live, are told of as an error.
    fn by_supervisors(
        client: &StreamClient,
        (verb, body): (&str, &str),
        times: OrderTimes,
        tell: impl FnOnce(&[(String, Value)]) -> (Value, String),
    ) -> Result<Self, RunError> {
        let one = client.one();
        let obeyed = client.order(verb, body, one, times)?;
        // A pause of all is kept for those who come.
        let is_kept = one.is_none() && matches!(verb, "pause" | "resume");
        let is_done =
            !obeyed.done.is_empty() || (obeyed.refused.is_empty() && obeyed.silent.is_empty());
        if obeyed.done.is_empty() && is_done && !is_kept {
            return Err(RunError::Usage(match one {
                Some(name) => format!("{}: it is gone, or not heard of any more", printable(name)),
                None => format!("nobody works on the stream, so there is nobody to {verb}"),
            }));
        }
        let (mut answer, words) = tell(&obeyed.done);
        let names: Vec<&String> = obeyed.done.iter().map(|(name, _)| name).collect();
        answer["supervisors"] = json!(names);
        let refused = obeyed.refused.iter();
        let refused = refused.map(|(name, why)| format!("{name}: {why}"));
        let silent = obeyed.silent.iter().map(|name| {
            let time = HEARING.as_secs();
            format!(
                "{name}: it lives, and has not answered for {time} s; it may be of an older version"
            )
        });
        Ok(CarriedOut {
            done: is_done.then_some((answer, words)),
            not_done: refused.chain(silent).collect(),
            lost: obeyed.lost,
        })
    }

    /// Prints the answer, and returns the exit code.
    pub(super) fn tell(self, format: Format) -> Result<u8, RunError> {
        for name in &self.lost {
            complain(&format_args!("{}", of_lost(name)));
        }
        if let Some((answer, words)) = self.done {
            print(format, &answer, |_| format!("{words}\n"))?;
        }
        match self.not_done.is_empty() {
            true => Ok(code::DONE),
            false => Err(RunError::Usage(self.not_done.join("\n"))),
        }
    }

    /// Returns all of it in a line; that it was not done by all is an error.
    pub(super) fn in_a_line(self) -> Result<String, String> {
        let lost = self.lost.iter().map(|name| of_lost(name));
        let parts = self.done.map(|(_, words)| words).into_iter().chain(lost);
        match self.not_done.is_empty() {
            true => Ok(parts.collect::<Vec<_>>().join("; ")),
            false => Err(self.not_done.join("; ")),
        }
    }
}

fn of_lost(name: &str) -> String {
    let name = printable(name);
    format!("{name}: it is not heard of any more, and not waited for")
}

/// A supervisor that lives must hear of an order in this time.
const HEARING: Duration = Duration::from_secs(10);

/// Waits for a supervisor as long as it lives, once it has heard of the order.
const AS_LONG_AS_IT_LIVES: OrderTimes = OrderTimes {
    hearing: HEARING,
    doing: None,
    ends: false,
};

impl Asked {
    /// Gives an order, and returns when it is carried out.
    pub(super) fn carry_out(&mut self, order: SteeringOrder) -> Result<CarriedOut, RunError> {
        match order {
            SteeringOrder::Pause => self.whole("pause", "paused", "paused: nothing more is begun"),
            SteeringOrder::Resume => self.whole("resume", "resumed", "resumed"),
            SteeringOrder::Reload => {
                self.whole("reload", "reloaded", "reloaded: all workers are new")
            }
            SteeringOrder::Scale(workers) => match self {
                Asked::Run(client) => scale(client, workers),
                Asked::Stream(client) => scale_all(client, workers),
            },
            SteeringOrder::Cancel(number) => {
                let answer = match self {
                    Asked::Run(client) => of_item(client, number, "cancel")?,
                    Asked::Stream(client) => client.cancel(ItemId(number))?,
                };
                Ok(CarriedOut::by_run(answer, format!("{number} cancelled")))
            }
            SteeringOrder::Retry(number) => {
                let answer = match self {
                    Asked::Run(client) => of_item(client, number, "retry")?,
                    Asked::Stream(client) => client.retry(ItemId(number))?,
                };
                Ok(CarriedOut::by_run(answer, format!("{number} waits again")))
            }
        }
    }

    /// Gives an order about everything. `is_so` is the name of what is true after it.
    fn whole(&mut self, verb: &str, is_so: &str, words: &str) -> Result<CarriedOut, RunError> {
        match self {
            Asked::Run(client) => {
                let answer = client.ask(Method::POST, &format!("/v1/{verb}"), None, "")?;
                Ok(CarriedOut::by_run(answer, words))
            }
            Asked::Stream(client) => {
                CarriedOut::by_supervisors(client, (verb, ""), AS_LONG_AS_IT_LIVES, |_| {
                    (json!({is_so: true}), words.to_owned())
                })
            }
        }
    }
}

/// Stops all supervisors of a stream, or the one that is meant, and waits until each has left it.
pub(super) fn stop_supervisors(client: &StreamClient, now: bool) -> Result<CarriedOut, RunError> {
    let body = json!({"now": now}).to_string();
    let times = OrderTimes {
        ends: true,
        ..AS_LONG_AS_IT_LIVES
    };
    CarriedOut::by_supervisors(client, ("stop", &body), times, |_| {
        (json!({"stopped": true}), "stopped".into())
    })
}

/// The orders about one worker of a supervisor of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerOrder {
    End,
    Replace,
}

/// Orders something about a worker of the supervisor that is meant, and waits until it has happened.
pub(super) fn order_worker(
    client: &StreamClient,
    order: WorkerOrder,
    worker: &str,
) -> Result<CarriedOut, RunError> {
    let (verb, is_so, words) = match order {
        WorkerOrder::End => ("end-worker", "ended", "has ended, and is started again"),
        WorkerOrder::Replace => ("replace-worker", "replaced", "is replaced"),
    };
    let body = json!({"worker": worker}).to_string();
    CarriedOut::by_supervisors(client, (verb, &body), AS_LONG_AS_IT_LIVES, |done| {
        let by = done.first().map_or("", |(name, _)| name);
        let said = format!("{} of {} {words}", printable(worker), printable(by));
        (json!({"worker": worker, is_so: true}), said)
    })
}

fn of_item(client: &mut Client, number: u64, verb: &str) -> Result<Value, RunError> {
    let target = format!("/v1/items/{number}/{verb}");
    Ok(client.ask(Method::POST, &target, None, "")?)
}

/// Changes the number of workers. What it is changed by is added to those that there should be.
fn scale(client: &mut Client, workers: WantedWorkers) -> Result<CarriedOut, RunError> {
    let mut wanted = || -> Result<u64, RunError> {
        let status = client.ask(Method::GET, "/v1/status", None, "")?;
        Ok(number(&status["workers_wanted"]))
    };
    let count = match workers {
        WantedWorkers::To(count) => count,
        WantedWorkers::More(more) => wanted()?.saturating_add(more),
        WantedWorkers::Fewer(fewer) => wanted()?.saturating_sub(fewer),
    };
    let body = json!({"count": count}).to_string();
    let answer = client.ask(Method::PUT, "/v1/workers", None, body)?;
    Ok(CarriedOut::by_run(
        answer,
        counted(count, "worker", "workers"),
    ))
}

fn scale_all(client: &StreamClient, workers: WantedWorkers) -> Result<CarriedOut, RunError> {
    let body = match workers {
        WantedWorkers::To(count) => json!({"count": count}),
        WantedWorkers::More(more) => json!({"change": more}),
        WantedWorkers::Fewer(fewer) => json!({"change": -i128::from(fewer)}),
    };
    let order = ("scale", &*body.to_string());
    CarriedOut::by_supervisors(client, order, AS_LONG_AS_IT_LIVES, |done| {
        // All that there are from now on.
        let count: u64 = done
            .iter()
            .map(|(_, answer)| number(&answer["workers"]))
            .sum();
        (
            json!({"workers": count}),
            counted(count, "worker", "workers"),
        )
    })
}
