//! A stream in Redis: one queue that supervisors on many machines share.
//!
//! Redis is the engine: a stream keeps the items, a consumer group says which supervisor holds
//! which, and scripts make every change atomic. An entry is deleted when it has ended, so the
//! stream's own length is the number of unfinished items, whichever client has added them. There
//! are two levels of lease with one owner each: Redis knows which supervisor holds an entry, and
//! takes it away from one that is not heard of in time; the ledger knows which worker has it.
//!
//! `docs/redis.md` lists what is kept where, for people who look at it with `redis-cli`.

mod connection;
mod diagnosis;
mod items;
mod keys;
mod letters;
mod options;
mod orders;
mod read;
mod scripts;
mod status;
mod taking;
mod telling;
mod trouble;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use redis::IntoConnectionInfo;
use redis::io::tcp::{TcpSettings, socket2};

use self::connection::{Server, SharedConnection};
use self::keys::Keys;
pub use self::options::RedisOptions;
use self::scripts::Name;
use self::trouble::RedisTrouble;
use super::stream::sealed::{OpenPlace, OpenedStream};
use super::stream::{Opening, SharedPlace, StreamKind};
use super::{Backend, StoreError, StoredLetter};
use crate::error::{Error, Kind};
use dishrack_core::ledger::{Capacity, ItemId};
use dishrack_core::stream::account::Account;
use dishrack_core::stream::entry::Layout;

/// Redis and its like, for those who name a stream by an option.
pub(crate) const KIND: StreamKind = StreamKind {
    server: "Redis",
    option: "redis",
    variable: "REDIS_URL",
    addresses: "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, or redis+unix:///PATH",
    at: |place| {
        let mut options = RedisOptions::new(place.url, place.stream)
            .replicas(place.replicas)
            .opening(place.opening);
        options.lease = place.lease;
        Box::new(options)
    },
};

impl SharedPlace for RedisOptions {}

impl OpenPlace for RedisOptions {
    fn open(&self, layout: Box<dyn Layout>, capacity: Capacity) -> Result<OpenedStream, Error> {
        let store = RedisStore::open(self, layout, capacity).map_err(Error)?;
        Ok(OpenedStream(Arc::new(store)))
    }
}

/// The greatest size of an item: a little less than Redis' own limit (`proto-max-bulk-len`).
const ITEM_BYTES_MAX: usize = 500_000_000;

/// The time after which the kernel probes a silent connection, so that nothing in between takes it
/// for a dead one.
const KEPT_ALIVE: Duration = Duration::from_secs(30);

fn kept_alive() -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEPT_ALIVE)
        .with_interval(KEPT_ALIVE);
    TcpSettings::default().set_keepalive(keepalive)
}

pub(crate) struct RedisStore {
    server: Server,
    keys: Keys,
    layout: Box<dyn Layout>,
    /// The name of this supervisor in the consumer group.
    consumer: String,
    lease: Duration,
    /// The number of results kept, if any are.
    results: Option<u64>,
    replicas: u32,
    bound: Option<u64>,
    account: Mutex<Account>,
    /// The next numbers of calls that may be made again.
    calls: AtomicU64,
    /// One connection for each thread that may wait on it, and one for all other calls.
    teller: SharedConnection,
    taker: SharedConnection,
    listener: SharedConnection,
    ordered: SharedConnection,
    dispatcher: SharedConnection,
    /// The number of the connection that waits in `take`.
    waiting: Mutex<i64>,
    /// The number of the connection that waits in `listen`.
    listening: Mutex<i64>,
    /// The number of the connection that waits in `orders`.
    obeying: Mutex<i64>,
    /// The last reply to the maps of this process that was read.
    heard: Mutex<String>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("server", &self.server.name)
            .field("stream", &self.keys.stream)
            .finish_non_exhaustive()
    }
}

fn bound_of(capacity: Capacity) -> Result<Option<u64>, Kind> {
    if capacity == Capacity::Rendezvous {
        return Err(Kind::invalid(
            "capacity",
            "a queue on Redis cannot be a rendezvous: nobody knows who is idle elsewhere",
        ));
    }
    Ok(capacity.bound().map(|bound| bound as u64))
}

impl RedisStore {
    /// Opens the queue, or begins it if it does not exist. `capacity` is the number of untaken
    /// items that make it full.
    pub(crate) fn open(
        options: &RedisOptions,
        layout: Box<dyn Layout>,
        capacity: Capacity,
    ) -> Result<Self, Kind> {
        let unusable = |trouble: RedisTrouble| Kind::SharedUnusable(trouble.to_string());
        let bound = bound_of(capacity)?;
        options.check().map_err(Kind::SharedUnusable)?;
        options::choose_cryptography();
        let info = options.url.as_str().into_connection_info();
        let info = info.map(|info| {
            // Redis need not know the client's name, and without it a silent server is noticed
            // sooner.
            let settings = info.redis_settings().clone().set_skip_set_lib_name();
            info.set_redis_settings(settings)
                .set_tcp_settings(kept_alive())
        });
        let client = info.and_then(redis::Client::open);
        // The client's message may contain the password.
        let client = client.map_err(|_| Kind::SharedUnusable(options.misread()))?;
        let consumer = options::new_name();
        let keys = Keys::of(&options.stream, &consumer);
        let store = RedisStore {
            server: Server::new(client, keys.clone(), options.timeout),
            keys,
            layout,
            consumer,
            lease: options.lease.unwrap_or(options::LEASE),
            results: options.results,
            replicas: options.replicas,
            bound,
            account: Mutex::default(),
            calls: AtomicU64::new(1),
            teller: SharedConnection::default(),
            taker: SharedConnection::default(),
            listener: SharedConnection::default(),
            ordered: SharedConnection::default(),
            dispatcher: SharedConnection::default(),
            waiting: Mutex::new(0),
            listening: Mutex::new(0),
            obeying: Mutex::new(0),
            heard: Mutex::new("0-0".into()),
        };
        if options.opening != Opening::Create {
            let may_be_unbegun = options.opening == Opening::ExistingOrUnbegun;
            store.look_for_stream(may_be_unbegun).map_err(unusable)?;
        }
        let met = match options.opening {
            Opening::ReadOnly => store.meet_to_read(),
            Opening::Create | Opening::Existing | Opening::ExistingOrUnbegun => {
                store.meet(options.lease)
            }
        };
        met.map_err(unusable)
    }

    /// Opens the stream to read, and writes nothing: a replica may be asked.
    fn meet_to_read(mut self) -> Result<Self, RedisTrouble> {
        let met = self.server.try_once(&self.dispatcher, |open| {
            let mut look = redis::cmd("HMGET");
            look.arg(&self.keys.meta).arg(&["born", "lease"]);
            look.query(&mut open.connection)
        });
        let (born, lease): (String, Option<u64>) = met?;
        let _ = self.server.born.set(born);
        if let Some(lease) = lease {
            self.lease = Duration::from_millis(lease.max(1));
        }
        Ok(self)
    }

    /// Checks that there is a stream that supervisors share, or may share.
    fn look_for_stream(&self, may_be_unbegun: bool) -> Result<(), RedisTrouble> {
        let found = self.server.try_once(&self.dispatcher, |open| {
            let kind = redis::cmd("TYPE")
                .arg(&self.keys.stream)
                .query(&mut open.connection)?;
            let mut born = redis::cmd("HGET");
            born.arg(&self.keys.meta).arg("born");
            Ok((kind, born.query(&mut open.connection)?))
        });
        let (kind, born): (String, Option<String>) = found?;
        let (name, stream) = self.names();
        match (&*kind, born) {
            ("stream", Some(_)) => Ok(()),
            ("stream", None) if may_be_unbegun => Ok(()),
            ("stream", None) => Err(RedisTrouble::NotBegun { name, stream }),
            ("none", _) => Err(RedisTrouble::NoStream { name, stream }),
            _ => Err(RedisTrouble::NotAStream { name, stream }),
        }
    }

    /// Makes the stream if it does not exist, and checks that it is a queue of this kind.
    fn meet(mut self, lease: Option<Duration>) -> Result<Self, RedisTrouble> {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mark = options::new_name();
        let wanted = milliseconds(self.lease);
        let met = self.server.try_once(&self.teller, |open| {
            let mut call = open.scripts.call(Name::Open, &self.keys);
            call.arg(&mark).arg(self.layout.item_type()).arg(wanted);
            call.query(&mut open.connection)
        });
        let (born, item_type, kept, changes): (String, String, u64, Option<u64>) = met?;
        let is_for_all = self.layout.item_type().is_empty();
        if !is_for_all && item_type != self.layout.item_type() {
            let (name, stream) = self.names();
            return Err(RedisTrouble::OtherItems {
                name,
                stream,
                theirs: item_type,
                ours: self.layout.item_type().to_owned(),
            });
        }
        let _ = self.server.born.set(born);
        self.server.saw_changes(changes.unwrap_or(0));
        if kept != wanted && lease.is_some() {
            self.change_lease(wanted)?;
        } else {
            self.lease = Duration::from_millis(kept.max(1));
        }
        self.look_for_eviction();
        Ok(self)
    }

    /// Warns of a policy that deletes keys where memory is limited, because it would delete items
    /// or the counts beside them. Many servers do not let every client ask.
    fn look_for_eviction(&self) {
        let info = self.server.try_once(&self.dispatcher, |open| {
            let mut info = redis::cmd("INFO");
            info.arg("memory").query::<String>(&mut open.connection)
        });
        let Ok(info) = info else { return };
        let value = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines.find_map(|(key, value)| (key == name).then_some(value.trim()))
        };
        let is_limited = value("maxmemory").is_some_and(|limit| limit != "0");
        if let Some(policy) = value("maxmemory_policy")
            && is_limited
            && policy != "noeviction"
        {
            self.server.warn(format!(
                "{}: maxmemory-policy is {policy}, which deletes items when memory is short; set it to \
                 noeviction",
                self.server.name
            ));
        }
    }

    /// Changes the lease, which belongs to the stream: a supervisor that renews seldom would lose
    /// to one that takes over early.
    fn change_lease(&self, wanted: u64) -> Result<(), RedisTrouble> {
        let changed = self.server.try_once(&self.teller, |open| {
            let mut script = self.script(open, Name::Lease);
            script.arg(&self.consumer).arg(wanted);
            script.query(&mut open.connection)
        });
        let (name, stream) = self.names();
        match changed? {
            0_u64 => Ok(()),
            others => Err(RedisTrouble::OtherLease {
                name,
                stream,
                others,
            }),
        }
    }

    /// Makes the call of a script with the argument that every script but the first takes.
    fn script(&self, open: &connection::OpenConnection, name: Name) -> redis::Cmd {
        let mut call = open.scripts.call(name, &self.keys);
        call.arg(self.server.born.get());
        call
    }

    /// Returns the server and the stream, as people know them.
    fn names(&self) -> (String, String) {
        (self.server.name.clone(), self.keys.stream.clone())
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock()
    }
}

impl Backend for RedisStore {
    fn item_bytes_max(&self) -> usize {
        ITEM_BYTES_MAX
    }

    fn dead_letters(&self) -> Result<Vec<StoredLetter>, StoreError> {
        let letters = self.letters().map_err(StoreError::of)?;
        Ok(letters.into_iter().map(|(_, letter)| letter).collect())
    }

    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, StoreError> {
        self.take_letters(is_wanted).map_err(StoreError::of)
    }

    fn drop_dead(&self, id: ItemId) -> Result<bool, StoreError> {
        self.drop_letter(id).map_err(StoreError::of)
    }

    fn revive(&self, id: ItemId) -> Result<Option<StoredLetter>, StoreError> {
        self.revive_letter(id).map_err(StoreError::of)
    }

    fn close(&self) -> Result<(), StoreError> {
        // A supervisor that cannot take leave is forgotten after some time without news.
        let _ = self.server.try_once(&self.dispatcher, |open| {
            let mut script = self.script(open, Name::Leave);
            script.arg(&self.consumer);
            script.exec(&mut open.connection)
        });
        Ok(())
    }
}
