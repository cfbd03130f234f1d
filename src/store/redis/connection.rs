//! Connections that come back: a server that cannot be reached is tried again, with pauses, until
//! the time is over. It knows Redis' ways of failing, and nothing of queues.
//!
//! A call may be made again after its answer was lost, so the caller must see to it that the second
//! time does no harm.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redis::{Client, Connection, ErrorKind, RedisError, RedisResult, cmd};

use super::keys::Keys;
use super::scripts::Scripts;
use super::trouble::{
    RedisTrouble, gone_words, has_no_script, is_cut, is_interruption, is_passing, is_unknown, why,
};
use super::{diagnosis, trouble};
use crate::store::stream::{Listener, StreamNotice};
use dishrack_core::ledger::mix;

/// The longest time for Redis to answer, besides the time that it was asked to wait.
const ANSWER: Duration = Duration::from_secs(10);

/// The longest time for a server to answer that has never been heard of.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// The shortest time for which a memo is kept; see the scripts.
const MEMO_KEPT: Duration = Duration::from_secs(23 * 60 * 60);

/// Pauses between tries: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The number of connections that may end shortly one after the other and still count as ended
/// because they were idle.
const CUTS_MAX: u32 = 3;
const CUT_PAUSE: Duration = Duration::from_secs(1);

/// One connection, open or not.
#[derive(Default)]
pub(super) struct SharedConnection(Mutex<Option<OpenConnection>>);

/// An open connection.
pub(super) struct OpenConnection {
    pub(super) connection: Connection,
    pub(super) scripts: Scripts,
    /// The number by which others can end its waiting; 0 if that is not allowed.
    pub(super) number: i64,
}

/// The address of Redis, and its known state.
pub(super) struct Server {
    client: Client,
    /// The name for people, without a password.
    pub(super) name: String,
    timeout: Duration,
    keys: Keys,
    /// The mark that the stream was made with, once it is known.
    pub(super) born: OnceLock<String>,
    /// The greatest number of changes of the stream that was seen.
    changes: AtomicU64,
    answered: Mutex<LastAnswer>,
    /// The time since which it cannot be reached.
    away: Mutex<Option<Instant>>,
    /// True if too few replicas have what was told.
    lacks_replicas: AtomicBool,
    listener: OnceLock<Listener>,
    /// Notices from before there was a listener.
    untold: Mutex<Vec<StreamNotice>>,
    gone: AtomicU64,
    is_abandoned: AtomicBool,
    pause: (Mutex<()>, Condvar),
}

/// The calls that have numbers; Redis keeps the last number of each in this client's memo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Put,
    Settle,
}

#[derive(Debug, Clone, Copy, Default)]
struct LastAnswer {
    calls: [u64; 2],
    at: Option<Instant>,
}

/// The connections that have ended during one call. The network may end an idle connection, and
/// that is not reported as long as another one can be had.
#[derive(Debug, Default)]
struct Cuts {
    last: Option<Instant>,
    /// The number of ends that followed each other at once.
    in_a_row: u32,
}

impl Cuts {
    /// Returns `true` if this is such an end; many that follow each other at once are not.
    /// `was_open`: the connection had been accepted.
    fn is_idle(&mut self, was_open: bool, error: &RedisError) -> bool {
        if !was_open || !is_cut(error) {
            return false;
        }
        let last = self.last.replace(Instant::now());
        self.in_a_row = match last.is_some_and(|last| last.elapsed() < CUT_PAUSE) {
            true => self.in_a_row + 1,
            false => 1,
        };
        self.in_a_row <= CUTS_MAX
    }
}

impl Server {
    pub(super) fn new(client: Client, keys: Keys, timeout: Duration) -> Self {
        let name = format!("redis at {}", client.get_connection_info().addr());
        Server {
            client,
            name,
            timeout,
            keys,
            born: OnceLock::new(),
            changes: AtomicU64::new(0),
            answered: Mutex::default(),
            away: Mutex::new(None),
            lacks_replicas: AtomicBool::new(false),
            listener: OnceLock::new(),
            untold: Mutex::default(),
            gone: AtomicU64::new(0),
            is_abandoned: AtomicBool::new(false),
            pause: (Mutex::default(), Condvar::new()),
        }
    }

    /// Sets the receiver of notices. The first one stays.
    pub(super) fn set_listener(&self, listener: Listener) {
        // There is one queue for each server.
        let _ = self.listener.set(listener);
        for notice in std::mem::take(&mut *self.untold.lock()) {
            self.tell(notice);
        }
    }

    pub(super) fn saw_changes(&self, changes: u64) {
        self.changes.fetch_max(changes, Ordering::Relaxed);
    }

    /// Notes the number of items that are gone without an end. It is reported once, and again when
    /// it grows.
    pub(super) fn saw_gone(&self, gone: u64) {
        if self.gone.swap(gone, Ordering::Relaxed) < gone {
            let (name, stream) = (&self.name, &self.keys.stream);
            self.tell(StreamNotice::Warning(gone_words(name, stream, gone)));
        }
    }

    /// Reports a warning, also to a later listener.
    pub(super) fn warn(&self, words: String) {
        self.untold.lock().push(StreamNotice::Warning(words));
    }

    pub(super) fn was_answered(&self, spoken: Spoken, call: u64) {
        let mut answered = self.answered.lock();
        answered.calls[spoken as usize] = call;
        answered.at = Some(Instant::now());
    }

    /// Ends all waits for the server.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
        let _guard = self.pause.0.lock();
        self.pause.1.notify_all();
    }

    /// Returns `true` if more time has passed since then than the timeout.
    pub(super) fn is_out_of_deadline(&self, since: Instant) -> bool {
        since.elapsed() > self.timeout
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// Makes a call, and makes it again until it is answered. `wait`: the time that Redis is asked
    /// to wait in it.
    pub(super) fn call<R>(
        &self,
        line: &SharedConnection,
        wait: Duration,
        act: impl Fn(&mut OpenConnection) -> RedisResult<R>,
    ) -> Result<R, RedisTrouble> {
        let mut line = line.0.lock();
        let (mut since, mut tries) = (None, 0_u32);
        let mut cuts = Cuts::default();
        loop {
            let result = self.try_call(&mut line, wait, &act);
            let error = match result {
                Ok(answer) => {
                    self.is_back();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let is_nothing = is_interruption(&error) || cuts.is_idle(line.is_some(), &error);
            // The fate of a call that was under way on it is unknown.
            *line = None;
            if is_nothing {
                continue;
            }
            if !is_passing(&error) {
                return Err(self.trouble(&error));
            }
            let since = *since.get_or_insert_with(Instant::now);
            if self.is_abandoned() {
                let name = &self.name;
                let why = why(&error);
                return Err(RedisTrouble::Other(format!("{name} is away: {why}")));
            }
            if self.is_out_of_deadline(since) {
                return Err(RedisTrouble::Other(format!(
                    "{} cannot be reached since {:?}: {}",
                    self.name,
                    self.timeout,
                    why(&error)
                )));
            }
            // A new connection may be ended by what has ended the one before.
            if tries > 0 || !is_cut(&error) {
                self.is_away(&error);
            }
            self.pause(tries);
            tries += 1;
        }
    }

    /// Tries a call once, for callers that need an answer at once.
    pub(super) fn try_once<R>(
        &self,
        line: &SharedConnection,
        act: impl Fn(&mut OpenConnection) -> RedisResult<R>,
    ) -> Result<R, RedisTrouble> {
        let mut line = line.0.lock();
        let mut cuts = Cuts::default();
        loop {
            let error = match self.try_call(&mut line, Duration::ZERO, &act) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_nothing = is_interruption(&error) || cuts.is_idle(line.is_some(), &error);
            *line = None;
            if !is_nothing {
                return Err(self.trouble(&error));
            }
        }
    }

    fn try_call<R>(
        &self,
        line: &mut Option<OpenConnection>,
        wait: Duration,
        act: &impl Fn(&mut OpenConnection) -> RedisResult<R>,
    ) -> RedisResult<R> {
        let open = match line {
            Some(open) => open,
            None => line.insert(self.open()?),
        };
        open.connection
            .set_read_timeout(Some(wait.saturating_add(ANSWER)))?;
        match act(open) {
            // Another client has made it forget all scripts. It was never away.
            Err(error) if has_no_script(&error) => {
                open.scripts = Scripts::load(&mut open.connection)?;
                act(open)
            }
            done => done,
        }
    }

    /// Opens a connection, and checks that Redis has not lost anything since.
    fn open(&self) -> RedisResult<OpenConnection> {
        let seen = self.changes.load(Ordering::Relaxed);
        let answered = *self.answered.lock();
        let time = match self.born.get() {
            Some(_) => ANSWER,
            None => FIRST_ANSWER,
        };
        let mut connection = self.client.get_connection_with_timeout(time)?;
        connection.set_read_timeout(Some(time))?;
        connection.set_write_timeout(Some(ANSWER))?;
        // A supervisor that leaves must be able to end its own waits, whatever state Redis has by
        // now.
        if let Some(born) = self.born.get()
            && !self.is_abandoned()
        {
            let is_older = self.compare(&mut connection, born, seen)?;
            self.compare_memo(&mut connection, answered, is_older)?;
        }
        let scripts = Scripts::load(&mut connection)?;
        let number = cmd("CLIENT").arg("ID").query(&mut connection);
        Ok(OpenConnection {
            scripts,
            number: number.unwrap_or(0),
            connection,
        })
    }

    /// Returns `true` if Redis has an older state than was seen. The first connection that finds it
    /// reports it.
    fn compare(&self, connection: &mut Connection, born: &str, seen: u64) -> RedisResult<bool> {
        let fields = ["born", "changes"];
        let mut look = cmd("HMGET");
        let (now, changes): (Option<String>, Option<u64>) =
            look.arg(&self.keys.meta).arg(&fields).query(connection)?;
        if now.as_deref() != Some(born) {
            let code = "FORGOTTEN".to_owned();
            return Err(redis::make_extension_error(code, None));
        }
        let changes = changes.unwrap_or(0);
        let is_older = changes < seen;
        let known = &self.changes;
        let step_back = |now: u64| (is_older && now > changes).then_some(changes);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        if known.fetch_update(set, get, step_back).is_ok() {
            let lost = seen - changes;
            self.tell(StreamNotice::Older(format!(
                "{} has come back with an older state of {}: its last {lost} changes are lost; \
                 what was put in them is gone, and what was done in them is done again",
                self.name, self.keys.stream
            )));
        }
        Ok(is_older)
    }

    /// Checks the last calls of this client too, because others may have changed so much meanwhile
    /// that the number of changes does not show the loss. `is_told`: the loss was reported already.
    fn compare_memo(
        &self,
        connection: &mut Connection,
        answered: LastAnswer,
        is_told: bool,
    ) -> RedisResult<()> {
        let Some(at) = answered.at.filter(|at| at.elapsed() < MEMO_KEPT) else {
            return Ok(());
        };
        let fields = ["put", "settle"];
        let kept: [Option<String>; 2] = cmd("HMGET")
            .arg(&self.keys.memo)
            .arg(&fields)
            .query(connection)?;
        let kept = kept.map(|memo| number_of(memo.as_deref().unwrap_or_default()));
        let is_behind = |place: usize| kept[place] < answered.calls[place];
        let mut known = self.answered.lock();
        if (is_behind(0) || is_behind(1)) && known.at == Some(at) {
            known.calls = kept;
            drop(known);
            if is_told {
                return Ok(());
            }
            let (name, stream) = (&self.name, &self.keys.stream);
            self.tell(StreamNotice::Older(format!(
                "{name} has come back with an older state of {stream}: what it was told last is not \
                 there; what was put in that is gone, and what was done in it is done again"
            )));
        }
        Ok(())
    }

    fn tell(&self, notice: StreamNotice) {
        if let Some(listener) = self.listener.get() {
            listener(notice);
        }
    }

    fn is_away(&self, error: &RedisError) {
        let mut away = self.away.lock();
        if away.is_none() {
            *away = Some(Instant::now());
            drop(away);
            let name = &self.name;
            let seen = is_cut(error).then(|| self.diagnosis(error)).flatten();
            let words = seen.unwrap_or_else(|| format!("{name} is away ({})", why(error)));
            self.tell(StreamNotice::Away(words));
        }
    }

    /// Reports that too few replicas have what was told; the call waits for them.
    pub(super) fn lacks_replicas(&self, words: &str) {
        if !self.lacks_replicas.swap(true, Ordering::Relaxed) {
            let name = &self.name;
            self.tell(StreamNotice::Lagging(format!("{name} {words}")));
        }
    }

    /// Reports that enough of them have it.
    pub(super) fn has_replicas(&self) {
        if self.lacks_replicas.swap(false, Ordering::Relaxed) {
            let name = &self.name;
            self.tell(StreamNotice::CaughtUp(format!(
                "{name} has enough replicas that keep up again"
            )));
        }
    }

    fn is_back(&self) {
        let since = self.away.lock().take();
        if let Some(since) = since {
            let after = since.elapsed();
            self.tell(StreamNotice::Back(format!(
                "redis is back, after {after:.1?}"
            )));
        }
    }

    /// Sleeps a while, twice as long each time, with jitter so that clients do not come back
    /// together.
    fn pause(&self, tries: u32) {
        let whole = PAUSE_MIN.saturating_mul(1 << tries.min(10)).min(PAUSE_MAX);
        let chance = mix(u64::from(std::process::id()) << 32 | u64::from(tries)) % 512;
        let time = whole.mul_f64(0.5 + chance as f64 / 1024.0);
        let mut guard = self.pause.0.lock();
        if !self.is_abandoned() {
            // It is woken early only to give up.
            self.pause.1.wait_for(&mut guard, time);
        }
    }

    fn trouble(&self, error: &RedisError) -> RedisTrouble {
        match self.diagnosis(error) {
            Some(words) => RedisTrouble::Other(words),
            None => trouble::trouble(&self.name, &self.keys.stream, error),
        }
    }

    /// Returns what seems to be there in place of a Redis that answers.
    fn diagnosis(&self, error: &RedisError) -> Option<String> {
        let address = self.client.get_connection_info().addr();
        if is_unknown(error) && diagnosis::is_sentinel(address) {
            let name = &self.name;
            return Some(format!(
                "{name} is a Sentinel, which keeps no data: name the Redis that it watches, which \
                 `redis-cli -p PORT SENTINEL MASTERS` tells"
            ));
        }
        let is_strange = is_cut(error) || error.is_timeout() || error.kind() == ErrorKind::Parse;
        is_strange
            .then(|| diagnosis::of(&self.name, address))
            .flatten()
    }
}

/// Returns the number that a memo begins with; 0 if there is none.
fn number_of(memo: &str) -> u64 {
    let number = memo.split(':').next().unwrap_or_default();
    number.parse().unwrap_or(0)
}
