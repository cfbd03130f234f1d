//! Looks at a stream and at all of its supervisors again and again, in the form in which a run tells how
//! it stands. It does not know who shows that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Obeyed, OrderTimes, StreamClient, failed, host_and_pid};
use crate::control::answers::{number, values};
use crate::control::client::NoAnswer;
use crate::control::item::{self, SoughtText};
use crate::observe::item::{ItemInfo, ItemState};
use crate::observe::micros;
use crate::observe::progress::Progress;
use crate::store::stream::{EntryId, Member, Status, StreamItem};
use dishrack_core::ledger::{Counts, ItemId};

/// The greatest number of failures of which a look tells.
const FAILURES: usize = 50;

/// Supervisors are asked in this time. One that stands still is not to keep the display waiting.
const ASKED: OrderTimes = OrderTimes {
    hearing: Duration::from_secs(1),
    doing: Some(Duration::from_secs(1)),
    ends: false,
};

/// A client that looks on.
#[derive(Debug)]
pub(crate) struct StreamWatch {
    client: StreamClient,
    /// The moment of the first look, and the pace since.
    pace: Option<(Duration, Progress)>,
    /// The latest dead letters, and the counts that they belong to.
    dead: Option<((u64, u64), Vec<Value>)>,
}

/// The state of a stream at one moment.
#[derive(Debug)]
pub(crate) struct StreamLook {
    /// The same fields as the status of a run, with the supervisors, and the supervisor of each worker.
    pub(crate) status: Value,
    /// Items that rest at a supervisor, a line each.
    pub(crate) resting: Vec<Value>,
    /// The latest failures, newest first.
    pub(crate) failures: Vec<Value>,
    /// The moment, by the clock of the stream, since 1970.
    at: Duration,
    /// The numbers of the items that workers have, or that rest.
    not_waiting: BTreeSet<u64>,
}

/// A part of the items that wait.
#[derive(Debug)]
pub(crate) struct WaitingPage {
    /// A line for each that was sought.
    pub(crate) items: Vec<Value>,
    /// The place and number of the last item that was looked at; `None` at the end.
    pub(crate) last: Option<(EntryId, u64)>,
}

impl StreamLook {
    /// Returns `true` if neither a worker has an unfinished item nor it rests.
    fn is_waiting(&self, one: &StreamItem) -> bool {
        let number = one.number.unwrap_or(ItemId(0)).0;
        one.holder.is_none() || !self.not_waiting.contains(&number)
    }
}

impl StreamWatch {
    pub(crate) fn new(client: StreamClient) -> Self {
        StreamWatch {
            client,
            pace: None,
            dead: None,
        }
    }

    /// Returns who asks the stream.
    pub(crate) fn client(&self) -> &StreamClient {
        &self.client
    }

    /// Looks at the stream, and asks its supervisors.
    pub(crate) fn look(&mut self) -> Result<StreamLook, NoAnswer> {
        let stood = self.client.stream.status().map_err(failed)?;
        let said = self.client.order("look", "", None, ASKED)?;
        let mut view = SupervisorsView::default();
        for member in &stood.supervisors {
            view.add(member, &stood, &said);
        }
        let (uptime, rate, left) = self.count(&stood);
        let failures = self.failures(&stood, view.failures)?;
        // What a supervisor does not tell of may be anywhere with it.
        let (leased, delayed) = (view.leased, view.delayed);
        let status = json!({
            "state": stood.state(),
            "uptime_us": micros(uptime),
            "counts": {
                "accepted": stood.put(),
                "waiting": stood.unfinished.saturating_sub(leased + delayed),
                "leased": leased,
                "delayed": delayed,
                "done": stood.done,
                "dead": stood.dead,
                "retries": stood.retries,
                "restarts": view.restarts,
            },
            "rate_per_s": rate,
            "eta_s": left.map(|left| left.as_secs_f64()),
            "workers_wanted": view.wanted,
            "worker_states": view.worker_states,
            "workers": view.workers,
            "supervisors": view.supervisors,
        });
        Ok(StreamLook {
            status,
            resting: view.resting,
            failures,
            at: stood.at,
            not_waiting: view.not_waiting,
        })
    }

    /// Returns for how long the first of the items that wait has done so, if it is among the first of all.
    pub(crate) fn oldest(&self, look: &StreamLook) -> Result<Option<Duration>, NoAnswer> {
        let page = self.client.stream.page(None).map_err(failed)?;
        let first = page.iter().find(|one| look.is_waiting(one));
        let put = first.map(|one| Duration::from_millis(one.entry.0));
        Ok(put.map(|put| look.at.saturating_sub(put)))
    }

    /// Returns the time since the first look, the rate and the time left.
    fn count(&mut self, stood: &Status) -> (Duration, f64, Option<Duration>) {
        let mut counts = Counts::default();
        (counts.accepted, counts.done, counts.dead) = (stood.put(), stood.done, stood.dead);
        let begin = || (stood.at, Progress::new(Duration::ZERO, counts));
        let (first, pace) = self.pace.get_or_insert_with(begin);
        let uptime = stood.at.saturating_sub(*first);
        pace.count(uptime, &counts);
        pace.expect(Some(counts.accepted));
        (uptime, pace.rate(uptime), pace.time_left(uptime))
    }

    /// Returns the latest failures: of items that rest, and dead letters. These are read again when their
    /// number is another one.
    fn failures(&mut self, stood: &Status, mut some: Vec<Value>) -> Result<Vec<Value>, NoAnswer> {
        let counts = (stood.letters, stood.dead);
        if self.dead.as_ref().is_none_or(|(of, _)| *of != counts) {
            let letters = self.client.stream.latest_letters(FAILURES);
            let letters = letters.map_err(failed)?.into_iter();
            let lines = letters.map(|letter| dead_line(&self.client.dead_info(letter)));
            self.dead = Some((counts, lines.collect()));
        }
        let dead = self
            .dead
            .iter()
            .flat_map(|(_, lines)| lines.iter().cloned());
        some.extend(dead);
        some.sort_by_key(|line| std::cmp::Reverse(line["ended_us"].as_u64()));
        some.truncate(FAILURES);
        Ok(some)
    }

    /// Returns the items with this text that wait, of those after this place, which are a part of all.
    pub(crate) fn waiting(
        &self,
        look: &StreamLook,
        after: Option<EntryId>,
        text: &str,
    ) -> Result<WaitingPage, NoAnswer> {
        let page = self.client.stream.page(after).map_err(failed)?;
        let sought = SoughtText::new(text);
        let last = page.last().map(|one| (one.entry, one.number));
        let infos = page.iter().map(|one| {
            let mut info = self.client.info(one);
            info.state = ItemState::Waiting;
            (info, one)
        });
        let waiting = infos.filter(|(_, one)| look.is_waiting(one));
        let found = waiting.filter(|(info, _)| text.is_empty() || sought.is_in(info, || None));
        Ok(WaitingPage {
            items: found
                .map(|(info, one)| {
                    let mut line = item::line(&info, None);
                    if one.number.is_none() {
                        line["number"] = Value::Null;
                    }
                    line
                })
                .collect(),
            last: last.map(|(entry, number)| (entry, number.unwrap_or(ItemId(0)).0)),
        })
    }
}

/// The words of all supervisors, put together.
#[derive(Debug, Default)]
struct SupervisorsView {
    supervisors: Vec<Value>,
    workers: Vec<Value>,
    /// The number of workers in each state.
    worker_states: BTreeMap<String, u64>,
    resting: Vec<Value>,
    failures: Vec<Value>,
    not_waiting: BTreeSet<u64>,
    wanted: u64,
    leased: u64,
    delayed: u64,
    restarts: u64,
}

impl SupervisorsView {
    fn add(&mut self, member: &Member, stood: &Status, said: &Obeyed) {
        let row = super::row(member, stood, said, |told| &told["status"]);
        let (host, pid) = host_and_pid(&member.name);
        let short = format!("{host}-{pid}");
        let told = said.done.iter().find(|(by, _)| *by == member.name);
        match told {
            Some((_, told)) => self.add_told(&member.name, &short, told),
            None => {
                self.leased += member.pending;
                let taken = format!("has taken {}", member.pending);
                self.workers.push(json!({
                    "worker": null, "supervisor": short, "state": row["state"], "item": taken,
                }));
            }
        }
        self.supervisors.push(row);
    }

    fn add_told(&mut self, name: &str, short: &str, told: &Value) {
        let status = &told["status"];
        self.restarts += number(&status["counts"]["restarts"]);
        self.wanted += number(&status["workers_wanted"]);
        for worker in values(&status["workers"]) {
            let mut worker = worker.clone();
            worker["supervisor"] = short.into();
            worker["supervisor_name"] = name.into();
            worker["mode"] = status["mode"].clone();
            if let Some(state) = worker["state"].as_str() {
                *self.worker_states.entry(state.to_owned()).or_default() += 1;
            }
            self.workers.push(worker);
        }
        // The counts that it tells are those of the whole stream.
        for (name, count) in [("running", &mut self.leased), ("rest", &mut self.delayed)] {
            let numbers = values(&told[name]);
            *count += numbers.len() as u64;
            let numbers = numbers.iter().filter_map(Value::as_u64);
            self.not_waiting.extend(numbers);
        }
        self.resting.extend_from_slice(values(&told["resting"]));
        self.failures.extend_from_slice(values(&told["failures"]));
    }
}

/// Returns the last failure of a dead letter.
fn dead_line(dead: &ItemInfo) -> Value {
    let mut line = item::failure_line(dead);
    line["dead"] = true.into();
    line
}
