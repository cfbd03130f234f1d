//! The state of a stream, for people: asked in one go, so that the numbers belong together.

use std::time::Duration;

use redis::{RedisResult, Value, cmd};

use super::RedisStore;
use super::connection::OpenConnection;
use super::keys::GROUP;
use super::read;
use super::scripts::Name;
use super::trouble::{RedisTrouble, is_replica};
use crate::store::stream::{Member, Status};

/// The fields kept beside the stream: counts, the type, the lease, and the last pause or end of one.
const KEPT: [&str; 8] = [
    "done", "dead", "retries", "refused", "gone", "type", "lease", "paused",
];

impl RedisStore {
    pub(super) fn asked_status(&self) -> Result<Status, RedisTrouble> {
        self.server.try_once(&self.dispatcher, |open| {
            let mut ask = self.script(open, Name::Status);
            ask.arg(&KEPT);
            match ask.query(&mut open.connection) {
                Err(error) if is_replica(&error) => status(self.ask_replica(open)?),
                answers => status(answers?),
            }
        })
    }

    /// Asks with commands that a replica may run: one after the other, so the stream may change in
    /// between.
    fn ask_replica(&self, open: &mut OpenConnection) -> RedisResult<Value> {
        let (stream, dead) = (&self.keys.stream, &self.keys.dead);
        let questions: [&[&str]; 5] = [
            &["TIME"],
            &["XLEN", stream],
            &["XPENDING", stream, GROUP],
            &["XINFO", "CONSUMERS", stream, GROUP],
            &["XLEN", dead],
        ];
        let mut answers = Vec::new();
        for words in questions {
            let mut question = cmd(words[0]);
            question.arg(&words[1..]);
            answers.push(question.query(&mut open.connection)?);
        }
        let mut kept = cmd("HMGET");
        kept.arg(&self.keys.meta).arg(&KEPT);
        answers.push(kept.query(&mut open.connection)?);
        Ok(Value::Array(answers))
    }
}

fn status(answers: Value) -> RedisResult<Status> {
    let [time, length, pending, consumers, letters, kept] = read::row(answers)?;
    let [seconds, micros] = read::row(time)?;
    let at = Duration::from_secs(parsed(seconds)?) + Duration::from_micros(parsed(micros)?);
    let [pending, ..] = read::row::<4>(pending)?;
    let [done, dead, retries, refused, gone, item_type, lease, paused] = read::row(kept)?;
    Ok(Status {
        at,
        unfinished: read::number(length)?,
        pending: read::number(pending)?,
        supervisors: read::array(consumers)?
            .into_iter()
            .map(member)
            .collect::<RedisResult<_>>()?,
        letters: read::number(letters)?,
        done: parsed(done)?,
        dead: parsed(dead)?,
        retries: parsed(retries)?,
        refused: parsed(refused)?,
        gone: parsed(gone)?,
        is_paused: match paused {
            Value::Nil => false,
            paused => read::steering(&read::text(paused)?, true).is_paused,
        },
        item_type: read::text(item_type)?,
        lease: Duration::from_millis(parsed(lease)?),
    })
}

/// Returns a number that is stored as text, or 0 if there is none yet.
fn parsed(value: Value) -> RedisResult<u64> {
    match value {
        Value::Nil => Ok(0),
        value => read::text(value)?
            .parse()
            .map_err(|_| read::strange("a number was expected")),
    }
}

/// Decodes one supervisor of XINFO CONSUMERS: names and values, of which newer versions have more.
fn member(value: Value) -> RedisResult<Member> {
    let mut member = Member {
        name: String::new(),
        pending: 0,
        idle: Duration::ZERO,
    };
    let mut values = read::array(value)?.into_iter();
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        match &*read::text(name)? {
            "name" => member.name = read::text(value)?,
            "pending" => member.pending = read::number(value)?,
            "idle" => member.idle = Duration::from_millis(read::number(value)?),
            _ => {}
        }
    }
    Ok(member)
}
