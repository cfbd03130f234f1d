//! How a stream stands, for people: asked in one go, so that the numbers belong together.

use std::time::Duration;

use redis::{RedisResult, Value};

use super::RedisStore;
use super::connection::Trouble;
use super::read;
use super::scripts::Name;

/// How a stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// When, by the clock of Redis, since 1970.
    pub(crate) at: Duration,
    /// Items without an end.
    pub(crate) unfinished: u64,
    /// Of these, what supervisors have taken.
    pub(crate) pending: u64,
    pub(crate) supervisors: Vec<Member>,
    /// Dead letters that are there.
    pub(crate) letters: u64,
    pub(crate) done: u64,
    pub(crate) dead: u64,
    pub(crate) retries: u64,
    pub(crate) refused: u64,
    pub(crate) item_type: String,
    pub(crate) lease: Duration,
}

/// A supervisor, as Redis knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// How many items it holds.
    pub(crate) pending: u64,
    /// Since when nothing was heard of it.
    pub(crate) idle: Duration,
}

impl Status {
    /// Of the unfinished items, what nobody has taken.
    pub(crate) fn untaken(&self) -> u64 {
        self.unfinished.saturating_sub(self.pending)
    }

    /// All items that were ever put, but for letters that were tried again.
    pub(crate) fn put(&self) -> u64 {
        self.unfinished + self.done + self.dead
    }
}

/// What is kept beside the stream: counts, then the type and the lease.
const KEPT: [&str; 6] = ["done", "dead", "retries", "refused", "type", "lease"];

impl RedisStore {
    /// How the stream stands.
    pub(crate) fn status(&self) -> Result<Status, String> {
        let asked = self.server.try_once(&self.desk, |open| {
            let mut ask = self.script(open, Name::Status);
            ask.arg(&KEPT);
            status(ask.query(&mut open.connection)?)
        });
        asked.map_err(Trouble::words)
    }
}

fn status(answers: Value) -> RedisResult<Status> {
    let [time, length, pending, consumers, letters, kept] = read::row(answers)?;
    let [seconds, micros] = read::row(time)?;
    let at = Duration::from_secs(parsed(seconds)?) + Duration::from_micros(parsed(micros)?);
    let [pending, ..] = read::row::<4>(pending)?;
    let [done, dead, retries, refused, item_type, lease] = read::row(kept)?;
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
        item_type: read::text(item_type)?,
        lease: Duration::from_millis(parsed(lease)?),
    })
}

/// A number that stands as text, or is not there yet.
fn parsed(value: Value) -> RedisResult<u64> {
    match value {
        Value::Nil => Ok(0),
        value => read::text(value)?
            .parse()
            .map_err(|_| read::strange("a number was expected")),
    }
}

/// What XINFO CONSUMERS says of one: names and values, of which there are more in newer versions.
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
