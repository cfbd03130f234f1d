//! Connections that come back: what cannot be reached is tried again, with pauses, until somebody's
//! patience is over. It knows Redis' ways of failing, and nothing of queues.
//!
//! A call may be made again after its answer was lost, so whoever calls sees to it that the second
//! time does no harm.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind, cmd};

use super::keys::Keys;
use super::scripts::Scripts;
use crate::ledger::mix;
use crate::store::stream::{Listener, Notice};

/// How long Redis may take to answer, besides the time that it was asked to wait.
const ANSWER: Duration = Duration::from_secs(10);

/// For so long a memo is there at least; see the scripts.
const MEMO_KEPT: Duration = Duration::from_secs(23 * 60 * 60);

/// Pauses between tries: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// One connection, open or not.
#[derive(Default)]
pub(super) struct Line(Mutex<Option<Open>>);

/// An open connection.
pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) scripts: Scripts,
    /// The number under which others can end its waiting; 0 if that is not allowed.
    pub(super) number: i64,
}

/// Where Redis is, and what is known of how it goes.
pub(super) struct Server {
    client: Client,
    /// For people: without a password.
    pub(super) name: String,
    patience: Duration,
    keys: Keys,
    /// What the stream was born with, once that is known.
    pub(super) born: OnceLock<String>,
    /// The most changes of the stream that were seen.
    changes: AtomicU64,
    answered: Mutex<Answered>,
    /// Since when it cannot be reached.
    away: Mutex<Option<Instant>>,
    /// Too few replicas have what was told.
    lacks_replicas: AtomicBool,
    listener: OnceLock<Listener>,
    is_abandoned: AtomicBool,
    pause: (Mutex<()>, Condvar),
}

/// What is told by calls that have numbers, of which Redis keeps the last one in our memo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Put,
    Settle,
}

/// The numbers of the last calls that were answered.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    calls: [u64; 2],
    at: Option<Instant>,
}

/// Why something cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no room for more.
    NoMemory(String),
    /// Anything else, for people.
    Other(String),
}

impl Trouble {
    pub(super) fn words(self) -> String {
        let (Trouble::NoMemory(why) | Trouble::Other(why)) = self;
        why
    }
}

impl Server {
    pub(super) fn new(client: Client, keys: Keys, patience: Duration) -> Self {
        let name = format!("redis at {}", client.get_connection_info().addr());
        Server {
            client,
            name,
            patience,
            keys,
            born: OnceLock::new(),
            changes: AtomicU64::new(0),
            answered: Mutex::default(),
            away: Mutex::new(None),
            lacks_replicas: AtomicBool::new(false),
            listener: OnceLock::new(),
            is_abandoned: AtomicBool::new(false),
            pause: (Mutex::default(), Condvar::new()),
        }
    }

    /// Who is told when it is away and back. The first one stays.
    pub(super) fn set_listener(&self, listener: Listener) {
        // There is one queue for each server.
        let _ = self.listener.set(listener);
    }

    /// So many changes of the stream were seen.
    pub(super) fn saw_changes(&self, changes: u64) {
        self.changes.fetch_max(changes, Ordering::Relaxed);
    }

    /// The call with this number was answered.
    pub(super) fn was_answered(&self, spoken: Spoken, call: u64) {
        let mut answered = lock(&self.answered);
        answered.calls[spoken as usize] = call;
        answered.at = Some(Instant::now());
    }

    /// Nobody waits for it any more.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
        let _guard = lock(&self.pause.0);
        self.pause.1.notify_all();
    }

    /// Whether what has lasted since then has lasted too long.
    pub(super) fn is_out_of_patience(&self, since: Instant) -> bool {
        since.elapsed() > self.patience
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// Makes a call, and makes it again until it was answered. `wait`: how long Redis is asked to
    /// wait in it.
    pub(super) fn call<R>(
        &self,
        line: &Line,
        wait: Duration,
        act: impl Fn(&mut Open) -> RedisResult<R>,
    ) -> Result<R, Trouble> {
        let mut line = lock(&line.0);
        let (mut since, mut tries) = (None, 0_u32);
        loop {
            let result = self.try_call(&mut line, wait, &act);
            let error = match result {
                Ok(answer) => {
                    self.is_back();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            // Whatever was under way on it, nobody knows.
            *line = None;
            if is_interruption(&error) {
                continue;
            }
            if !is_passing(&error) {
                return Err(self.trouble(&error));
            }
            let since = *since.get_or_insert_with(Instant::now);
            if self.is_abandoned() {
                let name = &self.name;
                let why = why(&error);
                return Err(Trouble::Other(format!("{name} is away: {why}")));
            }
            if self.is_out_of_patience(since) {
                return Err(Trouble::Other(format!(
                    "{} cannot be reached since {:?}: {}",
                    self.name,
                    self.patience,
                    why(&error)
                )));
            }
            self.is_away(&error);
            self.pause(tries);
            tries += 1;
        }
    }

    /// One try, for those who would rather know at once.
    pub(super) fn try_once<R>(
        &self,
        line: &Line,
        act: impl Fn(&mut Open) -> RedisResult<R>,
    ) -> Result<R, Trouble> {
        let mut line = lock(&line.0);
        loop {
            let error = match self.try_call(&mut line, Duration::ZERO, &act) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            *line = None;
            if !is_interruption(&error) {
                return Err(self.trouble(&error));
            }
        }
    }

    fn try_call<R>(
        &self,
        line: &mut Option<Open>,
        wait: Duration,
        act: &impl Fn(&mut Open) -> RedisResult<R>,
    ) -> RedisResult<R> {
        let open = match line {
            Some(open) => open,
            None => line.insert(self.open()?),
        };
        open.connection
            .set_read_timeout(Some(wait.saturating_add(ANSWER)))?;
        act(open)
    }

    /// A new connection, on which it was looked whether Redis is what it was.
    fn open(&self) -> RedisResult<Open> {
        let seen = self.changes.load(Ordering::Relaxed);
        let answered = *lock(&self.answered);
        let mut connection = self.client.get_connection_with_timeout(ANSWER)?;
        connection.set_read_timeout(Some(ANSWER))?;
        connection.set_write_timeout(Some(ANSWER))?;
        // Whoever leaves must be able to end his own waits, whatever is there by now.
        if let Some(born) = self.born.get()
            && !self.is_abandoned()
        {
            let is_older = self.compare(&mut connection, born, seen)?;
            self.compare_memo(&mut connection, answered, is_older)?;
        }
        let scripts = Scripts::load(&mut connection)?;
        let number = cmd("CLIENT").arg("ID").query(&mut connection);
        Ok(Open {
            scripts,
            number: number.unwrap_or(0),
            connection,
        })
    }

    /// Whether it is an older one than was seen. The first of our connections that meets it tells.
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
            self.tell(Notice::Older(format!(
                "{} has come back with an older state of {}: its last {lost} changes are lost; \
                 what was put in them is gone, and what was done in them is done again",
                self.name, self.keys.stream
            )));
        }
        Ok(is_older)
    }

    /// Others may have changed so much meanwhile that nothing seems to be missing: so it is looked for
    /// our own last words as well. `is_told`: it is known to be older.
    fn compare_memo(
        &self,
        connection: &mut Connection,
        answered: Answered,
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
        let mut known = lock(&self.answered);
        if (is_behind(0) || is_behind(1)) && known.at == Some(at) {
            known.calls = kept;
            drop(known);
            if is_told {
                return Ok(());
            }
            let (name, stream) = (&self.name, &self.keys.stream);
            self.tell(Notice::Older(format!(
                "{name} has come back with an older state of {stream}: what it was told last is not \
                 there; what was put in that is gone, and what was done in it is done again"
            )));
        }
        Ok(())
    }

    fn tell(&self, notice: Notice) {
        if let Some(listener) = self.listener.get() {
            listener(notice);
        }
    }

    fn is_away(&self, error: &RedisError) {
        let mut away = lock(&self.away);
        if away.is_none() {
            *away = Some(Instant::now());
            drop(away);
            let name = &self.name;
            let why = why(error);
            self.tell(Notice::Away(format!("{name} is away ({why})")));
        }
    }

    /// Too few replicas have what was told; it is waited for them.
    pub(super) fn lacks_replicas(&self, words: &str) {
        if !self.lacks_replicas.swap(true, Ordering::Relaxed) {
            let name = &self.name;
            self.tell(Notice::Lagging(format!("{name} {words}")));
        }
    }

    /// Enough of them have it.
    pub(super) fn has_replicas(&self) {
        if self.lacks_replicas.swap(false, Ordering::Relaxed) {
            let name = &self.name;
            self.tell(Notice::CaughtUp(format!(
                "{name} has enough replicas that keep up again"
            )));
        }
    }

    fn is_back(&self) {
        let since = lock(&self.away).take();
        if let Some(since) = since {
            self.tell(Notice::Back(since.elapsed()));
        }
    }

    /// Sleeps a while, twice as long each time, and not as long as all others do.
    fn pause(&self, tries: u32) {
        let whole = PAUSE_MIN.saturating_mul(1 << tries.min(10)).min(PAUSE_MAX);
        let chance = mix(u64::from(std::process::id()) << 32 | u64::from(tries)) % 512;
        let time = whole.mul_f64(0.5 + chance as f64 / 1024.0);
        let guard = lock(&self.pause.0);
        if !self.is_abandoned() {
            // Woken early only to give up.
            let _guard = self.pause.1.wait_timeout(guard, time);
        }
    }

    /// What an error means, and what to do about it.
    fn trouble(&self, error: &RedisError) -> Trouble {
        let (name, stream) = (&self.name, &self.keys.stream);
        let code = error.code().unwrap_or_default();
        let detail = error.detail().unwrap_or_default();
        let is = |word: &str| code == word || detail.contains(word);
        if lacks_memory(error) {
            return Trouble::NoMemory(format!(
                "{name} is out of memory (maxmemory): items must be worked on, or its limit raised"
            ));
        }
        let is_gone = ["FORGOTTEN", "NOGROUP", "UNBLOCKED", "no such key"]
            .into_iter()
            .any(is);
        Trouble::Other(if is_gone {
            format!(
                "{name} has forgotten stream {stream}: it was restarted without its data, or the \
                 stream was deleted; what was not done is lost, unless it is put again"
            )
        } else if is("WRONGTYPE") {
            format!(
                "{name}: the key {stream}, or one of those beside it (docs/redis.md), holds something \
                 that is no stream of ours: name another one"
            )
        } else if ["NOPERM", "The user executing the script", "ACL failure"]
            .into_iter()
            .any(is)
        {
            format!(
                "{name} does not let this user do what is needed: {detail}; docs/redis.md lists the \
                 commands"
            )
        } else if code == "FEWREPLICAS" {
            format!("{name} {detail}")
        } else if is("NOAUTH") {
            format!("{name} wants a password, and there is none in the URL")
        } else if is("WRONGPASS") || error.kind() == ErrorKind::AuthenticationFailed {
            format!("{name} refuses the user or the password in the URL")
        } else if error.is_io_error() {
            format!("{name} cannot be reached: {}", why(error))
        } else {
            format!("{name}: {error}")
        })
    }
}

/// Why it cannot be reached, for people.
fn why(error: &RedisError) -> String {
    if error.is_timeout() {
        return format!("no answer within {ANSWER:?}");
    }
    let words = error.to_string();
    match words.contains("certificate") {
        true => format!("{words}; SSL_CERT_FILE may name the certificates to be trusted"),
        false => words,
    }
}

/// The number that a memo begins with; 0 if there is none.
fn number_of(memo: &str) -> u64 {
    let number = memo.split(':').next().unwrap_or_default();
    number.parse().unwrap_or(0)
}

/// Whether it was refused because Redis has no memory for more.
pub(super) fn lacks_memory(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    error.code() == Some("OOM") || detail.contains("OOM")
}

/// Whether only our waiting was interrupted by a signal: one that has a handler, or that stops this
/// process or lets it go on.
fn is_interruption(error: &RedisError) -> bool {
    // The client keeps what has caused it to itself.
    let code = nix::errno::Errno::EINTR as i32;
    error.is_io_error() && error.to_string().contains(&format!("(os error {code})"))
}

/// Whether it may be over when it is tried again.
fn is_passing(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, NoScript, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse => true,
        ErrorKind::Server(
            BusyLoading | ClusterDown | MasterDown | NoScript | ReadOnly | TryAgain,
        ) => true,
        _ => {
            let detail = error.detail().unwrap_or_default();
            PASSING.iter().any(|code| is_or_quotes(error, code))
                || TRANSIENT.iter().any(|words| detail.contains(words))
        }
    }
}

/// What passes, also where a script has met it: Redis cannot write its data to its disk just now, is
/// busy with somebody's script, became a replica.
const PASSING: [&str; 5] = ["MISCONF", "BUSY", "NOREPLICAS", "READONLY", "MASTERDOWN"];

/// What has no code of its own: it has become a replica while we waited in it; all who were away have
/// come back at once.
const TRANSIENT: [&str; 2] = ["force unblock", "max number of clients"];

/// Whether an error has this code, or is a script's that quotes one with it. Before Redis 7.0 they
/// all do.
fn is_or_quotes(error: &RedisError, code: &str) -> bool {
    let detail = error.detail().unwrap_or_default();
    error.code() == Some(code) || detail.contains(&format!("-{code} "))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
