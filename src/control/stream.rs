//! Answers for a stream that several supervisors share as a run answers of its items: from the stream's
//! own records, in the same form. It does not know the server, and is no supervisor.

pub(crate) mod list;
pub(crate) mod metrics;
mod orders;
mod timeline;
pub(crate) mod watch;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};

use self::orders::WAIT_MIN;
pub(crate) use self::orders::{Obeyed, OrderTimes};
use super::client::NoAnswer;
use super::failure::RequestFailure;
use super::item;
use super::output::AttemptEnding;
use crate::error::{Error, Kind};
use crate::fail;
use crate::observe::item::{ItemBody, ItemHolder, ItemInfo, ItemState};
use crate::store::StoredLetter;
use crate::store::stream::{
    CancelAnswer, FoundOnStream, Member, Moment, Status, Stream, StreamItem, StreamNotice,
    machine_name,
};
use crate::sys::threads::spawn;
use dishrack_core::ledger::{Cause, Failure, ItemId, WaitsFor};

/// Names an item by its number and its bytes.
type NameOnStream = Box<dyn Fn(ItemId, &[u8]) -> String + Send>;

/// A client of a stream.
pub(crate) struct StreamClient {
    stream: Arc<dyn Stream>,
    lease: Duration,
    name_item: NameOnStream,
    /// The words of supervisors on the items that they have, once they were asked.
    held: OnceCell<HeldItems>,
    /// The name of the only supervisor that is meant.
    one: Option<String>,
    /// Set if the stream is waited for until a certain time only.
    gives_up: OnceCell<()>,
}

/// The words of supervisors on items that they have, by number.
type HeldItems = BTreeMap<u64, HeldItem>;

/// A supervisor's word on an item that it has.
#[derive(Debug, Clone, Deserialize)]
struct HeldItem {
    number: u64,
    state: ItemState,
    attempts: u32,
    holders: Vec<HeldBy>,
    due_us: Option<u64>,
    /// Older supervisors do not say it.
    #[serde(default)]
    waits_for: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct HeldBy {
    worker: String,
    pid: u32,
    since_us: Option<u64>,
}

/// The time for an answer of a stream that is there.
const ANSWER: Duration = Duration::from_secs(1);

/// Supervisors are asked of what they know in this time; what is shown without it is less exact.
const ASKED: OrderTimes = OrderTimes {
    hearing: Duration::from_secs(2),
    doing: Some(Duration::from_secs(2)),
    ends: false,
};

impl fmt::Debug for StreamClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamClient")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

fn failed(why: impl ToString) -> NoAnswer {
    NoAnswer::Refused {
        code: "stream".to_owned(),
        message: why.to_string(),
    }
}

impl StreamClient {
    /// Asks this stream. `name_item` names an item by its bytes.
    pub(crate) fn new(
        stream: Arc<dyn Stream>,
        name_item: impl Fn(ItemId, &[u8]) -> String + Send + 'static,
    ) -> Result<Self, NoAnswer> {
        let lease = stream.status().map_err(failed)?.lease;
        Ok(StreamClient {
            stream,
            lease,
            name_item: Box::new(name_item),
            held: OnceCell::new(),
            one: None,
            gives_up: OnceCell::new(),
        })
    }

    /// Tells from now on when the stream cannot be reached, and when it can again.
    pub(crate) fn tell_of_absence(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        self.stream
            .set_listener(Box::new(move |notice| match &notice {
                StreamNotice::Away(_) | StreamNotice::Back(_) => tell(&notice.words()),
                // They are about what is put and worked on.
                StreamNotice::Lagging(_)
                | StreamNotice::CaughtUp(_)
                | StreamNotice::Warning(_)
                | StreamNotice::Older(_) => {}
            }));
    }

    /// Waits for the stream no longer than until then, if it cannot be reached.
    fn give_up_at(&self, end: Instant) -> Result<(), NoAnswer> {
        if self.gives_up.set(()).is_err() {
            return Ok(());
        }
        let stream = Arc::clone(&self.stream);
        let wait = end.saturating_duration_since(Instant::now()) + ANSWER;
        let begun = spawn("time limit", move || {
            thread::sleep(wait);
            stream.abandon();
        });
        begun.map_err(failed)
    }

    /// Returns the stream, for whoever gives up waiting for it.
    pub(crate) fn stream(&self) -> Arc<dyn Stream> {
        Arc::clone(&self.stream)
    }

    /// Returns the name of the only supervisor that is meant; `None` if all are.
    pub(crate) fn one(&self) -> Option<&str> {
        self.one.as_deref()
    }

    /// Makes it a client that is about the supervisor of this name alone, which may be gone.
    pub(crate) fn about(mut self, name: String) -> Self {
        self.one = Some(name);
        self
    }

    /// Makes it a client that is about one supervisor: that of this name, of the run of this name, or of this
    /// process.
    ///
    /// # Errors
    /// None is, or several may be, or it is lost; the message lists those that there are.
    pub(crate) fn about_one(mut self, word: &str) -> Result<Self, NoAnswer> {
        let rows = self.supervisors()?;
        let is_meant = |row: &Value, field: &str| match &row[field] {
            Value::String(text) => text == word,
            Value::Number(number) => number.to_string() == word,
            _ => false,
        };
        let by = |field: &str| -> Vec<&Value> {
            rows.iter().filter(|row| is_meant(row, field)).collect()
        };
        let found = ["name", "run", "pid"].map(by);
        let found = found.into_iter().find(|found| !found.is_empty());
        match found.as_deref() {
            Some([one]) if one["state"] == "lost" => Err(failed(format!(
                "--at {word}: it was not heard of for longer than the lease, so it takes no orders"
            ))),
            Some([one]) => {
                self.one = one["name"].as_str().map(str::to_owned);
                Ok(self)
            }
            Some(several) => {
                let several = several.iter().map(|row| described(row));
                let list = several.collect::<Vec<_>>().join(", ");
                Err(failed(format!("--at {word} may be several: {list}")))
            }
            None if rows.is_empty() => Err(failed(format!(
                "--at {word}: there is no such supervisor on the stream, nor any other"
            ))),
            None => {
                let list = rows.iter().map(described).collect::<Vec<_>>().join(", ");
                Err(failed(format!(
                    "--at {word}: there is no such supervisor on the stream; there are: {list}"
                )))
            }
        }
    }

    /// Returns how the one supervisor that is meant stands, as its run tells it.
    pub(crate) fn status_of_one(&self) -> Result<Value, NoAnswer> {
        let said = self.order("status", "", self.one(), ASKED)?;
        let refused = said
            .refused
            .into_iter()
            .map(|(name, why)| format!("{name}: {why}"));
        let silent = said.silent.into_iter();
        let silent = silent.map(|name| format!("{name}: it lives, and does not answer"));
        let why = refused.chain(silent).next();
        match said.done.into_iter().next() {
            Some((_, status)) => Ok(status),
            None => Err(failed(
                why.unwrap_or_else(|| "the supervisor is gone".into()),
            )),
        }
    }

    /// Orders something of all supervisors that live, or of this one of them, and waits until each has
    /// done it, or is gone, or lost, or its time is over.
    pub(crate) fn order(
        &self,
        verb: &str,
        body: &str,
        only: Option<&str>,
        times: OrderTimes,
    ) -> Result<Obeyed, NoAnswer> {
        let given = self.stream.order(verb, body, only).map_err(failed)?;
        fail::point("orders: given");
        orders::await_answers(&*self.stream, given, self.lease, times).map_err(failed)
    }

    fn info(&self, item: &StreamItem) -> ItemInfo {
        let number = item.number.unwrap_or(ItemId(0));
        let state = match item.holder {
            Some(_) => ItemState::Running,
            None => ItemState::Waiting,
        };
        let mut info = ItemInfo::new(number, state);
        info.name = Some((self.name_item)(number, &item.payload));
        info.attempts = u32::try_from(item.history.len()).unwrap_or(u32::MAX);
        info.history.clone_from(&item.history);
        let held = self.held.get().and_then(|held| held.get(&number.0));
        if let (Some(held), Some(_)) = (held, &item.holder) {
            info.state = held.state;
            info.attempts = held.attempts;
            info.due = held.due_us.and_then(moment);
            info.waits_for = held.waits_for.as_deref().and_then(WaitsFor::of_word);
            info.holders = held.holders.iter().map(HeldBy::holder).collect();
        }
        info
    }

    /// Asks all supervisors, or this one, once, what they know of the items that they have.
    fn ask_holders(&self, only: Option<&str>) -> Result<(), NoAnswer> {
        if self.held.get().is_none() {
            let obeyed = self.order("held", "", only, ASKED)?;
            let items = obeyed.done.into_iter().flat_map(|(_, said)| {
                serde_json::from_value::<Vec<HeldItem>>(said).unwrap_or_default()
            });
            // It was not there a moment ago.
            let _ = self.held.set(items.map(|one| (one.number, one)).collect());
        }
        Ok(())
    }

    fn dead_info(&self, letter: StoredLetter) -> ItemInfo {
        let begun = letter.history.iter().map(|failure| failure.attempt).max();
        ItemInfo {
            name: Some((self.name_item)(letter.id, &letter.payload)),
            attempts: begun.unwrap_or(0),
            history: letter.history,
            body: ItemBody::Stored(letter.payload),
            ..ItemInfo::new(letter.id, ItemState::Dead)
        }
    }

    /// Returns all that is known of an item.
    pub(crate) fn item(&self, id: ItemId) -> Result<Value, NoAnswer> {
        let (found, _) = self.stream.find(id, false).map_err(failed)?;
        self.page_of(id, found)
    }

    /// Returns how each supervisor stands, in a line of a list: what it says itself, or how it is known
    /// here.
    pub(crate) fn supervisors(&self) -> Result<Vec<Value>, NoAnswer> {
        let status = self.stream.status().map_err(failed)?;
        let said = self.order("status", "", None, ASKED)?;
        let rows = status.supervisors.iter();
        let rows = rows.map(|member| row(member, &status, &said, |told| told));
        Ok(rows.collect())
    }

    fn page_of(&self, id: ItemId, found: FoundOnStream) -> Result<Value, NoAnswer> {
        let bare = |state| item::page(&ItemInfo::new(id, state), None, false);
        Ok(match found {
            FoundOnStream::Unfinished(one) => {
                if let Some(holder) = &one.holder {
                    self.ask_holders(Some(&holder.name))?;
                }
                page(&self.info(&one), &one)
            }
            FoundOnStream::Dead(letter) => {
                let info = self.dead_info(letter);
                let ending = AttemptEnding::of_dead(&info);
                item::page(&info, ending.as_ref(), false)
            }
            FoundOnStream::Dropped => bare(ItemState::Dead),
            FoundOnStream::Done => bare(ItemState::Done),
            FoundOnStream::Unknown => return Err(RequestFailure::unknown_item(id.0).into()),
            FoundOnStream::Lost(gone) => {
                return Err(failed(format!(
                    "item {id} has ended, or is one of those that are gone from the stream without \
                     an end: {gone}"
                )));
            }
        })
    }

    /// Waits for the end of an item, until then at most, and returns what is known of it.
    pub(crate) fn wait_item(&self, id: ItemId, end: Option<Instant>) -> Result<Value, NoAnswer> {
        if let Some(end) = end {
            self.give_up_at(end)?;
        }
        loop {
            let (found, moment) = self.stream.find(id, true).map_err(failed)?;
            if !matches!(found, FoundOnStream::Unfinished(_)) {
                return self.page_of(id, found);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(RequestFailure::from(Error(Kind::ItemTimedOut { id })).into());
            }
            self.await_ring(&moment, left.unwrap_or(self.lease))?;
        }
    }

    /// Waits for the doorbell. It may have been lost with the connection, so not for ever.
    fn await_ring(&self, since: &Moment, wait: Duration) -> Result<(), NoAnswer> {
        let wait = wait.min(self.lease);
        self.stream.await_ring(since, wait).map_err(failed)
    }

    /// Makes an item a dead letter on which nobody works, and returns when it is one.
    pub(crate) fn cancel(&self, id: ItemId) -> Result<Value, NoAnswer> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let failure = Failure::cancelled_at(now.unwrap_or_default());
        let cancelled = json!({"number": id.0, "cancelled": true});
        let mut is_ordered = false;
        loop {
            let (answer, moment) = self.stream.cancel(id, &failure).map_err(failed)?;
            match answer {
                CancelAnswer::Ended => return Ok(cancelled),
                CancelAnswer::Ordered(holder) => {
                    fail::point("orders: cancel given");
                    is_ordered = true;
                    // It is the holder's no longer when it was not heard of for the time of a lease.
                    let left = self.lease.saturating_sub(holder.idle).max(WAIT_MIN);
                    self.await_ring(&moment, left)?;
                }
                CancelAnswer::NotThere => {
                    let (found, _) = self.stream.find(id, false).map_err(failed)?;
                    return match found {
                        FoundOnStream::Dead(letter) if is_ordered && was_cancelled(&letter) => {
                            Ok(cancelled)
                        }
                        _ => Err(RequestFailure::nothing_to_cancel(id.0).into()),
                    };
                }
            }
        }
    }

    /// Makes a dead letter an item that waits again.
    pub(crate) fn retry(&self, id: ItemId) -> Result<Value, NoAnswer> {
        match self.stream.revive(id).map_err(failed)? {
            Some(_) => Ok(json!({"number": id.0, "retried": true})),
            None => Err(RequestFailure::no_dead_letter(id.0).into()),
        }
    }

    /// Forgets a dead letter.
    pub(crate) fn drop_dead(&self, id: ItemId) -> Result<Value, NoAnswer> {
        match self.stream.drop_dead(id).map_err(failed)? {
            true => Ok(json!({"number": id.0, "dropped": true})),
            false => Err(RequestFailure::no_dead_letter(id.0).into()),
        }
    }

    /// Returns the time charts of all supervisors as one, whose rows are named after them, too. `query` is what
    /// each is asked for; so many rows after the first ones are returned.
    pub(crate) fn timeline(
        &self,
        query: &Value,
        after: usize,
        limit: usize,
    ) -> Result<Value, NoAnswer> {
        let said = self.order("timeline", &query.to_string(), None, ASKED)?;
        let charts = said.done.into_iter().map(|(name, chart)| {
            let (host, pid) = host_and_pid(&name);
            (format!("{host}-{pid}"), chart)
        });
        Ok(timeline::together(
            &charts.collect::<Vec<_>>(),
            after,
            limit,
        ))
    }

    /// Returns the runs of this machine that may have the output of an item: their names and processes.
    pub(crate) fn runs_near(&self, id: ItemId) -> Result<Vec<(String, u32)>, NoAnswer> {
        let (found, _) = self.stream.find(id, false).map_err(failed)?;
        let holder = match found {
            FoundOnStream::Unfinished(one) => one.holder.map(|holder| holder.name),
            _ => None,
        };
        let here = machine_name();
        let rows = self.supervisors()?.into_iter();
        let near = rows.filter(|row| {
            let name = row["name"].as_str().unwrap_or_default();
            host_and_pid(name).0 == here && holder.as_ref().is_none_or(|holder| holder == name)
        });
        let run = |row: Value| {
            let pid = u32::try_from(row["pid"].as_u64()?).ok()?;
            Some((row["run"].as_str()?.to_owned(), pid))
        };
        Ok(near.filter_map(run).collect())
    }

    /// Says where the output of an item is, which is not on the stream.
    pub(crate) fn place_of_output(&self, id: ItemId) -> Result<String, NoAnswer> {
        let (found, _) = self.stream.find(id, false).map_err(failed)?;
        Ok(match found {
            FoundOnStream::Unknown => return Err(RequestFailure::unknown_item(id.0).into()),
            FoundOnStream::Unfinished(StreamItem {
                holder: Some(holder),
                ..
            }) => {
                let (host, pid) = host_and_pid(&holder.name);
                format!(
                    "the output of item {id} is on the machine that works on it: say `supervisor logs \
                     {id} --at {pid}` on {host}"
                )
            }
            FoundOnStream::Unfinished(_) => {
                format!("nobody works on item {id} just now, and its output is not on the stream")
            }
            FoundOnStream::Dead(_)
            | FoundOnStream::Dropped
            | FoundOnStream::Done
            | FoundOnStream::Lost(_) => format!(
                "item {id} has ended, and its output is not on the stream: say `supervisor logs {id}` on \
                 the machine that has worked on it, as long as that run goes on"
            ),
        })
    }
}

/// Returns the names of a supervisor, for people.
fn described(row: &Value) -> String {
    let name = row["name"].as_str().unwrap_or_default();
    match row["run"].as_str() {
        Some(run) => format!("{name} (run {run})"),
        None => format!("{name} ({})", row["state"].as_str().unwrap_or_default()),
    }
}

/// Returns how a supervisor stands, in a line of a list: what it says itself, which is in this part of its
/// answer, or how it is known here.
fn row(member: &Member, stood: &Status, said: &Obeyed, part: impl Fn(&Value) -> &Value) -> Value {
    let name = &member.name;
    let (_, pid) = host_and_pid(name);
    let told = said.done.iter().find(|(by, _)| by == name);
    let told = told.map_or(&Value::Null, |(_, told)| part(told));
    let state = match told["state"].as_str() {
        Some(state) => state,
        None if stood.is_lost(member) => "lost",
        None if said.refused.iter().any(|(by, _)| by == name) => "unknown",
        None => "silent",
    };
    json!({
        "name": name,
        "run": told["name"],
        "pid": pid.parse::<u32>().ok(),
        "path": null,
        "state": state,
        "mode": told["mode"],
        "uptime_us": told["uptime_us"],
        "counts": told["counts"],
        "workers": told["workers"].as_array().map(Vec::len),
    })
}

impl HeldBy {
    fn holder(&self) -> ItemHolder {
        ItemHolder {
            worker: self.worker.as_str().into(),
            pid: self.pid,
            since: self.since_us.and_then(moment),
        }
    }
}

/// Converts microseconds since 1970.
fn moment(since_1970: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_micros(since_1970))
}

fn was_cancelled(letter: &StoredLetter) -> bool {
    let last = letter.history.last();
    last.is_some_and(|last| last.cause == Cause::Cancelled)
}

/// Returns the parts of a supervisor's name: `HOST-PID-MARK`.
pub(super) fn host_and_pid(name: &str) -> (&str, &str) {
    let without_mark = name.rsplit_once('-').map_or(name, |(before, _)| before);
    without_mark
        .rsplit_once('-')
        .unwrap_or((without_mark, "PID"))
}

/// Adds what a stream knows of an item beside all that a run knows: its supervisor.
fn line(info: &ItemInfo, item: &StreamItem) -> Value {
    let mut line = item::line(info, None);
    if item.number.is_none() {
        line["number"] = Value::Null;
    }
    if let (Some(holder), true) = (&item.holder, info.state == ItemState::Running) {
        // Its supervisor has not said which of its workers has it.
        if info.holders.is_empty() {
            line["workers"] = json!([holder.name]);
        }
    }
    line
}

fn page(info: &ItemInfo, item: &StreamItem) -> Value {
    let mut page = item::page(info, None, false);
    if let Some(holder) = &item.holder {
        page["supervisor"] = holder.name.as_str().into();
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_named_by_its_host_and_its_process() {
        assert_eq!(host_and_pid("web-7-4711-6fb6ce62"), ("web-7", "4711"));
        assert_eq!(host_and_pid("odd"), ("odd", "PID"));
    }
}
