//! Tells Redis the ends of items and new puts, and asks for the state of the stream.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Cmd, RedisResult, cmd};

use super::connection::{OpenConnection, Spoken};
use super::scripts::Name;
use super::trouble::RedisTrouble;
use super::{RedisStore, read};
use crate::payload::Payload;
use crate::store::stream::{Admission, Answered, Ends, StreamPut, StreamState};
use dishrack_core::ledger::ItemId;
use dishrack_core::stream::account::{OutgoingResult, Statement};

/// The bytes of puts in one call: the script that takes them keeps others waiting meanwhile.
const PUT_BYTES_MAX: usize = 8 << 20;

/// The mean length from which on runs of entries are looked up one by one: that is a call for each,
/// in place of a look at each of their entries.
const RUN_LENGTH: usize = 8;

/// The time of one wait for replicas.
const REPLICAS_WAIT: Duration = Duration::from_secs(1);

/// The name of a field, and its value.
type Field<'a> = (&'static str, Cow<'a, [u8]>);

impl RedisStore {
    /// Notes the number of the stream's changes, and drops it.
    pub(super) fn note(&self, (stream_state, changes): (StreamState, u64)) -> StreamState {
        self.server.saw_changes(changes);
        self.server.saw_gone(stream_state.gone);
        stream_state
    }

    /// Returns the state of the stream, and the number of other supervisors.
    pub(super) fn state(&self) -> Result<(StreamState, u64), RedisTrouble> {
        self.server.call(&self.teller, Duration::ZERO, |open| {
            let mut call = self.script(open, Name::Refresh);
            call.arg(&self.consumer).arg(self.lease_ms());
            let [stream_state, others] = read::row(call.query(&mut open.connection)?)?;
            Ok((
                self.note(read::stream_state(stream_state)?),
                read::number(others)?,
            ))
        })
    }

    pub(super) fn tell(&self, ends: &Ends) -> Result<Answered, RedisTrouble> {
        let statement = self.account().statement(&ends.records);
        let mut answered = Answered {
            untold: statement.unknown.len() as u64,
            lost: statement.unknown.clone(),
            ..Answered::default()
        };
        if !statement.is_empty() {
            self.tell_statement(&statement, ends, &mut answered)?;
        }
        Ok(answered)
    }

    fn tell_statement(
        &self,
        statement: &Statement,
        ends: &Ends,
        answered: &mut Answered,
    ) -> Result<(), RedisTrouble> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let sent = ends.sent.iter().map(|(id, result)| (*id, result));
        let results = self.account().outgoing(sent);
        let told = self.write(|open| {
            let mut script = self.script(open, Name::Settle);
            script.arg(call).arg(&self.consumer);
            let is_plain = statement.is_plain() && results.is_empty();
            add_statement(&mut script, statement, ends.retries, is_plain);
            self.add_results(&mut script, &results);
            let [lost, stream_state] = read::row(script.query(&mut open.connection)?)?;
            Ok((read::ids(lost)?, read::stream_state(stream_state)?))
        });
        let (lost, stream_state) = told?;
        self.server.was_answered(Spoken::Settle, call);
        answered.stream_state = self.note(stream_state);
        answered.lost.extend(statement.items_of(&lost));
        self.account().forget_ended(statement, &lost);
        Ok(())
    }

    fn add_results(&self, script: &mut Cmd, results: &[OutgoingResult<&Payload>]) {
        script.arg(results.len());
        for one in results {
            script.arg(one.entry.to_string()).arg(one.id.0);
            match &one.reply {
                Some(reply) => script.arg(&reply.stream).arg(reply.index),
                None => script.arg("").arg(""),
            };
            script.arg(&**one.result);
        }
        match self.results {
            Some(at_most) => script.arg(at_most),
            None => script.arg(-1),
        };
    }

    /// Adds as many of these as fit one call and find room.
    pub(super) fn add(&self, puts: &[StreamPut]) -> Result<Admission, RedisTrouble> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let puts = &puts[..count_of_one_call(puts)];
        let told = self.write(|open| {
            let mut script = self.script(open, Name::Put);
            script.arg(call);
            match self.bound {
                Some(bound) => script.arg(bound),
                None => script.arg(-1),
            };
            script.arg(puts.len());
            self.add_puts(&mut script, puts);
            let [admitted, first, stream_state] = read::row(script.query(&mut open.connection)?)?;
            let numbers = (read::number(admitted)?, read::number(first)?);
            Ok((numbers, read::stream_state(stream_state)?))
        });
        let ((admitted, first), stream_state) = match told {
            Err(RedisTrouble::NoMemory(why)) => {
                return Ok(Admission::refused(puts.len(), why));
            }
            told => told?,
        };
        self.server.was_answered(Spoken::Put, call);
        Ok(Admission {
            looked_at: puts.len(),
            admitted: usize::try_from(admitted).unwrap_or(usize::MAX),
            first: ItemId(first),
            refusal: None,
            stream_state: self.note(stream_state),
        })
    }

    /// Adds puts to the call. Most have the same fields, whose names are said once then.
    fn add_puts(&self, script: &mut Cmd, puts: &[StreamPut]) {
        let all: Vec<Vec<Field<'_>>> = puts.iter().map(|put| self.fields_of(put)).collect();
        let first = puts.first().zip(all.first());
        let common = first.filter(|(first, fields)| {
            let names = || fields.iter().map(|(name, _)| name);
            let mut others = puts.iter().zip(&all);
            others.all(|(put, fields)| {
                put.is_beyond_bound == first.is_beyond_bound
                    && fields.iter().map(|(name, _)| name).eq(names())
            })
        });
        let Some((first, fields)) = common else {
            script.arg(0);
            for (put, fields) in puts.iter().zip(&all) {
                script.arg(u8::from(put.is_beyond_bound));
                script.arg(2 * fields.len());
                for (name, value) in fields {
                    script.arg(name).arg(&**value);
                }
            }
            return;
        };
        script.arg(fields.len());
        for (name, _) in fields {
            script.arg(name);
        }
        script.arg(u8::from(first.is_beyond_bound));
        for (_, value) in all.iter().flatten() {
            script.arg(&**value);
        }
    }

    /// Returns the fields of a put, without its number, which the script gives it.
    fn fields_of(&self, put: &StreamPut) -> Vec<Field<'_>> {
        let fields = self.layout.fields(&put.payload.body).into_iter();
        let mut fields: Vec<Field<'_>> = fields
            .map(|(name, value)| (name, Cow::Owned(value)))
            .collect();
        if put.payload.reply().is_some() {
            let replies = Cow::Borrowed(self.keys.replies.as_bytes());
            fields.push(("reply", replies));
            fields.push(("index", Cow::Owned(put.ticket.to_string().into_bytes())));
        }
        fields
    }

    /// Calls a script that writes, and waits until enough replicas have its changes. A repetition
    /// begins with the script, because it may run on another Redis, which lacks them.
    fn write<R>(
        &self,
        script: impl Fn(&mut OpenConnection) -> RedisResult<R>,
    ) -> Result<R, RedisTrouble> {
        let since = Instant::now();
        self.server.call(&self.teller, Duration::ZERO, |open| {
            let answer = script(open)?;
            if self.replicas > 0 {
                self.await_replicas(open, since)?;
            }
            Ok(answer)
        })
    }

    fn await_replicas(&self, open: &mut OpenConnection, since: Instant) -> RedisResult<()> {
        let wait = u64::try_from(REPLICAS_WAIT.as_millis()).unwrap_or(u64::MAX);
        loop {
            let mut command = cmd("WAIT");
            command.arg(self.replicas).arg(wait);
            let reached: u32 = command.query(&mut open.connection)?;
            if reached >= self.replicas {
                self.server.has_replicas();
                return Ok(());
            }
            let wanted = self.replicas;
            let words = format!(
                "has {reached} replicas that keep up, and {wanted} are to have what is told"
            );
            if self.server.is_abandoned() || self.server.is_out_of_deadline(since) {
                let words = format!("{words}, for {:.1?}", since.elapsed());
                return Err(redis::make_extension_error(
                    "FEWREPLICAS".into(),
                    Some(words),
                ));
            }
            self.server.lacks_replicas(&words);
        }
    }

    /// Ends the wait of a thread, if it waits.
    pub(super) fn unblock(&self, waiting: &Mutex<i64>) {
        let number = *waiting.lock();
        if number == 0 {
            return;
        }
        // If that fails, the wait ends by itself.
        let _ = self.server.try_once(&self.teller, |open| {
            let mut unblock = cmd("CLIENT");
            unblock.arg("UNBLOCK").arg(number);
            unblock.query::<i64>(&mut open.connection)
        });
    }
}

/// `is_plain`: nothing is told but that some entries are done.
fn add_statement(script: &mut Cmd, what: &Statement, retries: u64, is_plain: bool) {
    let (first, last) = what.range();
    script.arg(first.to_string()).arg(last.to_string());
    let runs = what.runs();
    let is_by_run = is_plain && RUN_LENGTH * runs.len() <= what.done.len();
    script.arg(retries).arg(u8::from(is_by_run));
    script.arg(runs.len());
    for run in runs {
        script.arg(run.time).arg(run.first).arg(run.last);
    }
    script.arg(what.failed.len());
    for (entry, failure) in &what.failed {
        script.arg(entry.to_string()).arg(failure);
    }
    script.arg(what.dead.len());
    for death in &what.dead {
        script.arg(death.entry.to_string());
        script.arg(death.id.0).arg(&death.cause);
    }
}

fn count_of_one_call(puts: &[StreamPut]) -> usize {
    let mut bytes = 0;
    let fits = puts.iter().take_while(|put| {
        bytes += put.payload.body.len();
        bytes <= PUT_BYTES_MAX
    });
    fits.count().max(1)
}
