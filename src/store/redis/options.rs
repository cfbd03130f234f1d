//! The options of a queue on Redis.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Once;
use std::time::{Duration, SystemTime};

use super::keys;
use crate::store::stream::{Opening, machine_name, shown_url};

/// The time without news after which a supervisor's items are given to others.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// The shortest lease: a shorter one is lost to a busy machine.
const LEASE_MIN: Duration = Duration::from_millis(100);

/// The time for which a Redis that is away is waited for.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The place of a queue on Redis, and its guarantees: for
/// [`JoinableQueue::shared`](crate::JoinableQueue::shared).
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// let options = dishrack::RedisOptions::new("redis://:secret@db1.example/0", "thumbnails")
///     .lease(Duration::from_secs(60))
///     .replicas(1);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    pub(super) url: String,
    pub(super) stream: String,
    pub(super) lease: Option<Duration>,
    pub(super) timeout: Duration,
    pub(super) replicas: u32,
    pub(super) results: Option<u64>,
    pub(super) opening: Opening,
}

/// Shows it without the password.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("url", &self.shown_url())
            .field("stream", &self.stream)
            .field("lease", &self.lease)
            .field("timeout", &self.timeout)
            .field("replicas", &self.replicas)
            .field("results", &self.results)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// Makes options for the queue of this name at this address:
    /// `redis://[[user]:password@]host[:port][/db]`, `rediss://` for TLS, or `redis+unix:///path`.
    #[must_use]
    pub fn new(url: impl Into<String>, stream: impl Into<String>) -> Self {
        RedisOptions {
            url: url.into(),
            stream: stream.into(),
            lease: None,
            timeout: TIMEOUT,
            replicas: 0,
            results: None,
            opening: Opening::Create,
        }
    }

    /// Sets the condition on which the stream is opened. By default it need not exist.
    #[must_use]
    pub(super) fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    /// Sets the time without news after which a supervisor's items are given to others: 30 s by
    /// default, 100 ms at least. It is the same for all supervisors of a stream; the first one
    /// decides, and another one may change it only while it is alone.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Sets the time for which the queue waits for a Redis that is away, with everything kept,
    /// before it fails: five minutes by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the number of replicas that must have a put or an end before it counts (`WAIT`). By
    /// default it is none: then what Redis had not yet copied when it failed is lost.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Keeps about this many of the last results in a stream of their own, `{NAME}:results`.
    #[must_use]
    pub fn results(mut self, at_most: u64) -> Self {
        self.results = Some(at_most);
        self
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !keys::is_usable(&self.stream) {
            return Err(format!(
                "{:?} cannot be the name of a stream: it is empty, or has a brace that opens no \
                 hash tag",
                self.stream
            ));
        }
        if self.lease.is_some_and(|lease| lease < LEASE_MIN) {
            return Err(format!("a lease of less than {LEASE_MIN:?} cannot be kept"));
        }
        match self.url.split_once("://") {
            Some(("rediss" | "valkeys", _)) => check_clock(SystemTime::now()),
            _ => Ok(()),
        }
    }

    /// Returns the message that the address is not valid.
    pub(super) fn misread(&self) -> String {
        format!(
            "{}: is no address of Redis; that is redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss:// \
             for TLS, or redis+unix:///PATH, with %XX for what is special in a password",
            self.shown_url()
        )
    }

    /// Returns the address without the part that may be a password.
    fn shown_url(&self) -> String {
        shown_url(&self.url)
    }
}

/// Makes a unique name of the machine, the process, and chance.
pub(super) fn new_name() -> String {
    let host = machine_name();
    let chance = RandomState::new().hash_one(host.len()) >> 32;
    format!("{host}-{}-{chance:08x}", std::process::id())
}

/// Checks that certificates can be checked with this clock; the check would panic otherwise.
fn check_clock(now: SystemTime) -> Result<(), String> {
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(_) => Ok(()),
        Err(_) => Err(
            "the clock of this machine is before 1970, when no certificate for TLS was valid: set it"
                .into(),
        ),
    }
}

/// Chooses the cryptography of TLS, once.
pub(super) fn choose_cryptography() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Other code in this program may have chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let shown = |url: &str| RedisOptions::new(url, "s").shown_url();
        assert_eq!(shown("redis://:p@ss@host:1/0"), "redis://host:1/0");
        assert_eq!(shown("redis://host"), "redis://host");
        assert_eq!(shown("nonsense"), "nonsense");
        assert_eq!(shown("user:p@host"), "host");
        assert_eq!(
            shown("redis+unix:///run/redis.sock?pass=p"),
            "redis+unix:///run/redis.sock"
        );
        let told = format!("{:?}", RedisOptions::new("redis://:secret@host", "s"));
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn a_clock_before_1970_is_told_where_there_is_tls() {
        let before = SystemTime::UNIX_EPOCH - std::time::Duration::from_nanos(1);
        assert!(check_clock(before).unwrap_err().contains("before 1970"));
        check_clock(SystemTime::UNIX_EPOCH).unwrap();
    }

    #[test]
    fn names_differ() {
        assert_ne!(new_name(), new_name());
    }
}
