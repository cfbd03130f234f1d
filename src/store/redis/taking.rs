//! Takes from Redis: new items, those that others left behind, replies to maps of this process; and
//! gives back.

use std::time::{Duration, Instant};

use redis::{RedisResult, Value, cmd};

use super::connection::OpenConnection;
use super::keys::GROUP;
use super::scripts::{Name, receive};
use super::trouble::{RedisTrouble, lacks_memory};
use super::{RedisStore, read};
use crate::payload::Payload;
use crate::store::stream::{
    Admission, Answered, Arrival, CancelAnswer, Ends, FoundOnStream, Listener, Maintained, MapEnd,
    Moment, OrderAnswer, OrderStage, Ordered, Status, Steering, Stream, StreamItem, StreamOrder,
    StreamPut, StreamState,
};
use crate::store::{StoreError, StoredLetter};
use dishrack_core::ledger::{Failure, ItemId};
use dishrack_core::stream::account::Sorted;
use dishrack_core::stream::entry::{Entry, EntryId, history_in};

/// The longest wait of a connection that cannot be woken.
const UNWAKEABLE: Duration = Duration::from_secs(1);

/// The commands that a consumer group needs, in a form without any effect on the stream.
const NEEDED: [&[&str]; 9] = [
    &[
        "XREADGROUP",
        "GROUP",
        GROUP,
        "{consumer}",
        "COUNT",
        "1",
        "STREAMS",
        "{stream}",
        "0",
    ],
    &["XACK", "{stream}", GROUP, "0-1"],
    &["XDEL", "{stream}", "0-1"],
    &[
        "XCLAIM",
        "{stream}",
        GROUP,
        "{consumer}",
        "0",
        "0-1",
        "JUSTID",
    ],
    // No entry was idle for so long.
    &[
        "XAUTOCLAIM",
        "{stream}",
        GROUP,
        "{consumer}",
        "9000000000000000",
        "0-0",
        "COUNT",
        "1",
        "JUSTID",
    ],
    &["XRANGE", "{stream}", "0-1", "0-1"],
    // Commands of scripts are tried here as well, because scripts do not say which command is
    // forbidden.
    &["XPENDING", "{stream}", GROUP],
    &["XINFO", "CONSUMERS", "{stream}", GROUP],
    &["XLEN", "{stream}"],
];

impl RedisStore {
    fn check_needs(&self) -> Result<Steering, RedisTrouble> {
        // A connection that is lost just now says nothing about the permissions.
        self.server.call(&self.taker, Duration::ZERO, |open| {
            for words in NEEDED {
                let mut command = cmd(words[0]);
                for word in &words[1..] {
                    command.arg(match *word {
                        "{stream}" => &self.keys.stream,
                        "{consumer}" => &self.consumer,
                        word => word,
                    });
                }
                command.exec(&mut open.connection)?;
            }
            // It adds nothing, because there is no such stream.
            let mut add = cmd("XADD");
            let nowhere = format!("{}:none", self.keys.meta);
            add.arg(nowhere)
                .arg("NOMKSTREAM")
                .arg("*")
                .arg("a")
                .arg("b");
            match add.exec(&mut open.connection) {
                // The items that are there can be worked off without memory for more.
                Err(error) if lacks_memory(&error) => Ok(()),
                tried => tried,
            }
        })?;
        Ok(self.maintained(0)?.steering)
    }

    fn taken(&self, count: usize, wait: Duration) -> Result<Vec<Arrival>, RedisTrouble> {
        // A repeated call does not wait anew, because the lease is to be renewed in between.
        let until = Instant::now() + wait;
        let (entries, stream_state) = self.server.call(&self.taker, wait, |open| {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.take_on(open, count, left);
            *self.waiting.lock() = 0;
            answer
        })?;
        if let Some(stream_state) = stream_state {
            self.note(stream_state);
        }
        let sorted = self.account().sort_taken(entries);
        self.admit(sorted)
    }

    /// Reads from the group, and wakes those that wait for room in the same call.
    fn take_on(
        &self,
        open: &mut OpenConnection,
        count: usize,
        wait: Duration,
    ) -> RedisResult<(Vec<Entry>, Option<read::StateVersion>)> {
        let wait = longest(wait, open.number);
        let mut read_group = cmd("XREADGROUP");
        read_group.arg("GROUP").arg(GROUP).arg(&self.consumer);
        read_group.arg("COUNT").arg(count);
        if !wait.is_zero() {
            let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            read_group.arg("BLOCK").arg(milliseconds.max(1));
            *self.waiting.lock() = open.number;
        }
        read_group.arg("STREAMS").arg(&self.keys.stream).arg(">");
        let mut bytes = read_group.get_packed_command();
        bytes.extend(self.script(open, Name::Tick).get_packed_command());
        open.connection.send_packed_command(&bytes)?;
        let entries = receive(&mut open.connection);
        let stream_state = receive(&mut open.connection);
        let streams = read::read_entries(entries?)?;
        let entries: Vec<Entry> = streams.into_iter().flat_map(|(_, all)| all).collect();
        let stream_state = match stream_state.and_then(read::stream_state) {
            Ok(stream_state) => Some(stream_state),
            // The entries are taken already, whether or not the script ran: the next call meets its
            // error.
            Err(_) if !entries.is_empty() => None,
            Err(error) => return Err(error),
        };
        Ok((entries, stream_state))
    }

    /// Returns the items that are held from now on, and first asks Redis for what is missing.
    fn admit(&self, sorted: Sorted) -> Result<Vec<Arrival>, RedisTrouble> {
        let layout = &*self.layout;
        let arrival = |(id, entry): (ItemId, Entry)| {
            entry.arrival(id, layout.body(&entry.fields), Payload::copy_of)
        };
        let mut arrivals: Vec<Arrival> = sorted.held.into_iter().map(arrival).collect();
        for ids in sorted.asked.chunks(500) {
            let entries = self.server.call(&self.taker, Duration::ZERO, |open| {
                let mut script = self.script(open, Name::Adopt);
                script.arg(&self.consumer);
                for (id, unwanted) in ids {
                    script.arg(id.to_string());
                    match unwanted {
                        Some(number) => script.arg(number),
                        None => script.arg(""),
                    };
                }
                read::known_entries(script.query(&mut open.connection)?)
            })?;
            let sorted = self.account().sort_known(entries);
            arrivals.extend(self.admit(sorted)?);
        }
        Ok(arrivals)
    }

    fn maintained(&self, count: usize) -> Result<Maintained, RedisTrouble> {
        let (ours, taken, stream_state, others, unwanted, steering) =
            self.server.call(&self.taker, Duration::ZERO, |open| {
                let mut script = self.script(open, Name::Maintain);
                script.arg(&self.consumer).arg(self.lease_ms()).arg(count);
                let [ours, taken, stream_state, others, unwanted, pause] =
                    read::row(script.query(&mut open.connection)?)?;
                let taken = read::known_entries(taken)?;
                let stream_state = read::stream_state(stream_state)?;
                let others = read::number(others)?;
                let pause = read::steering(&read::text(pause)?, true);
                Ok((
                    read::ids(ours)?,
                    taken,
                    stream_state,
                    others,
                    read::ids(unwanted)?,
                    pause,
                ))
            })?;
        let (lost, unknown) = self.account().compare(&ours);
        let mut sorted = self.account().sort_known(taken);
        sorted
            .asked
            .extend(unknown.into_iter().map(|id| (id, None)));
        let arrivals = self.admit(sorted)?;
        self.note(stream_state);
        Ok(Maintained {
            lost,
            arrivals,
            others,
            cancelled: self.account().items_of(&unwanted),
            steering,
        })
    }

    fn given_back(&self, ids: &[ItemId]) -> Result<(), RedisTrouble> {
        let entries = self.account().entries(ids);
        // Entries that cannot be given back are forgotten here, and so are found again.
        self.account().forget(ids);
        for entries in entries.chunks(500) {
            self.server.call(&self.teller, Duration::ZERO, |open| {
                let mut script = self.script(open, Name::Release);
                script.arg(&self.consumer);
                for entry in entries {
                    script.arg(entry.to_string());
                }
                script.exec(&mut open.connection)
            })?;
        }
        Ok(())
    }

    fn heard(&self, since: &StreamState, wait: Duration) -> Result<Vec<MapEnd>, RedisTrouble> {
        let replies = self.heard.lock().clone();
        // If the state of the doorbell is unknown, any ring counts.
        let rung = if since.ring.is_empty() {
            "0-0"
        } else {
            &since.ring
        };
        let streams = self.server.call(&self.listener, wait, |open| {
            let wait = longest(wait, open.number);
            let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let mut read_both = cmd("XREAD");
            read_both.arg("COUNT").arg(1000);
            read_both
                .arg("BLOCK")
                .arg(milliseconds.max(1))
                .arg("STREAMS");
            read_both.arg(&self.keys.doorbell).arg(&self.keys.replies);
            read_both.arg(rung).arg(&replies);
            *self.listening.lock() = open.number;
            let answer = read_both.query::<Value>(&mut open.connection);
            *self.listening.lock() = 0;
            read::read_entries(answer?)
        })?;
        let mut outcomes = Vec::new();
        for (name, entries) in streams {
            if name != self.keys.replies {
                continue;
            }
            if let Some(last) = entries.last() {
                self.forget_replies(last.id);
            }
            outcomes.extend(entries.iter().filter_map(outcome));
        }
        Ok(outcomes)
    }

    /// Removes replies that were read.
    fn forget_replies(&self, last: EntryId) {
        *self.heard.lock() = last.to_string();
        // They expire with their stream in any case.
        let _ = self.server.try_once(&self.listener, |open| {
            let mut trim = cmd("XTRIM");
            trim.arg(&self.keys.replies)
                .arg("MINID")
                .arg("~")
                .arg(last.to_string());
            trim.exec(&mut open.connection)
        });
    }
}

/// Returns the longest time that a connection with this number may wait.
pub(super) fn longest(wait: Duration, number: i64) -> Duration {
    match number {
        0 => wait.min(UNWAKEABLE),
        _ => wait,
    }
}

fn outcome(entry: &Entry) -> Option<MapEnd> {
    let fields = &entry.fields;
    let index = fields.number("index")?;
    let result = fields.get("result")?;
    Some(match fields.get("ok")? {
        b"1" => (index, Ok(Payload::copy_of(result))),
        _ => {
            let history = history_in(&String::from_utf8_lossy(result));
            (index, Err((ItemId(fields.number("n")?), history)))
        }
    })
}

impl Stream for RedisStore {
    fn kind(&self) -> &'static str {
        super::KIND.server
    }

    fn mark(&self) -> Option<String> {
        self.server.born.get().cloned()
    }

    fn begin(&self) -> Result<Steering, StoreError> {
        self.check_needs().map_err(StoreError::of)
    }

    fn put(&self, puts: &[StreamPut]) -> Result<Admission, StoreError> {
        self.add(puts).map_err(StoreError::of)
    }

    fn settle(&self, ends: &Ends) -> Result<Answered, StoreError> {
        self.tell(ends).map_err(StoreError::of)
    }

    fn refresh(&self) -> Result<(StreamState, u64), StoreError> {
        self.state().map_err(StoreError::of)
    }

    fn take(&self, count: usize, wait: Duration) -> Result<Vec<Arrival>, StoreError> {
        self.taken(count, wait).map_err(StoreError::of)
    }

    fn interrupt(&self) {
        self.unblock(&self.waiting);
    }

    fn hush(&self) {
        self.unblock(&self.listening);
    }

    fn maintain(&self, count: usize) -> Result<Maintained, StoreError> {
        self.maintained(count).map_err(StoreError::of)
    }

    fn maintain_every(&self) -> Duration {
        self.lease / 3
    }

    fn release(&self, ids: &[ItemId]) -> Result<(), StoreError> {
        self.given_back(ids).map_err(StoreError::of)
    }

    fn listen(&self, since: &StreamState, wait: Duration) -> Result<Vec<MapEnd>, StoreError> {
        self.heard(since, wait).map_err(StoreError::of)
    }

    fn wants_results(&self) -> bool {
        self.results.is_some()
    }

    fn set_listener(&self, listener: Listener) {
        self.server.set_listener(listener);
    }

    fn abandon(&self) {
        self.server.abandon();
    }

    fn status(&self) -> Result<Status, StoreError> {
        self.asked_status().map_err(StoreError::of)
    }

    fn page(&self, after: Option<EntryId>) -> Result<Vec<StreamItem>, StoreError> {
        self.unfinished_page(after).map_err(StoreError::of)
    }

    fn letter_page(
        &self,
        after: Option<EntryId>,
    ) -> Result<Vec<(EntryId, StoredLetter)>, StoreError> {
        self.letters_after(after).map_err(StoreError::of)
    }

    fn latest_letters(&self, count: usize) -> Result<Vec<StoredLetter>, StoreError> {
        self.letters_from_last(count).map_err(StoreError::of)
    }

    fn find(&self, id: ItemId, is_awaited: bool) -> Result<(FoundOnStream, Moment), StoreError> {
        self.found(id, is_awaited).map_err(StoreError::of)
    }

    fn cancel(&self, id: ItemId, failure: &Failure) -> Result<(CancelAnswer, Moment), StoreError> {
        self.cancel_item(id, failure).map_err(StoreError::of)
    }

    fn moment(&self) -> Result<Moment, StoreError> {
        let (stream_state, _) = self.refresh()?;
        Ok(Moment(stream_state.ring))
    }

    fn await_ring(&self, since: &Moment, wait: Duration) -> Result<(), StoreError> {
        let since = StreamState {
            ring: since.0.clone(),
            ..StreamState::default()
        };
        let heard = self.heard(&since, wait).map_err(StoreError::of);
        heard.map(drop)
    }

    fn order(&self, verb: &str, body: &str, only: Option<&str>) -> Result<Ordered, StoreError> {
        let ordered = self.give_order(verb, body, only);
        ordered.map_err(StoreError::of)
    }

    fn answers(
        &self,
        after: EntryId,
        since: &Moment,
        wait: Duration,
    ) -> Result<(Vec<OrderAnswer>, EntryId), StoreError> {
        let answers = self.answers_after(after, since, wait);
        answers.map_err(StoreError::of)
    }

    fn orders(
        &self,
        after: EntryId,
        wait: Duration,
    ) -> Result<(Vec<StreamOrder>, EntryId), StoreError> {
        self.orders_after(after, wait).map_err(StoreError::of)
    }

    fn answer(&self, order: &StreamOrder, stage: &OrderStage) -> Result<(), StoreError> {
        self.answer_order(order, stage).map_err(StoreError::of)
    }

    fn unlisten(&self) {
        self.unblock(&self.obeying);
    }

    fn revive_all(&self, is_wanted: &dyn Fn(&StoredLetter) -> bool) -> Result<usize, StoreError> {
        self.revive_letters(is_wanted).map_err(StoreError::of)
    }
}
