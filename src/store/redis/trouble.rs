//! The meaning of a server's error, for people: one line that says what it seems to be and what to
//! do; and whether the error passes. It knows the ways in which Redis fails, and servers that are
//! taken for a Redis, and nothing of queues.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The reason why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RedisTrouble {
    /// There is no room for more.
    #[error("{0}")]
    NoMemory(String),
    #[error("{name}: there is no stream {stream}")]
    NoStream { name: String, stream: String },
    #[error("{name}: the key {stream} holds something that is no stream: name another one")]
    NotAStream { name: String, stream: String },
    #[error("{name}: the stream {stream} is there, and no supervisor has begun with it")]
    NotBegun { name: String, stream: String },
    #[error(
        "{name}: stream {stream} keeps items of type {theirs}, and this queue's are of type {ours}: \
         name another stream"
    )]
    OtherItems {
        name: String,
        stream: String,
        theirs: String,
        ours: String,
    },
    #[error(
        "{name}: stream {stream} is used with another lease by {others} supervisors that are at work: \
         leave the lease away, or stop them first"
    )]
    OtherLease {
        name: String,
        stream: String,
        others: u64,
    },
    /// Anything else, for people.
    #[error("{0}")]
    Other(String),
}

/// Returns the meaning of an error, and what to do about it. `name` is the server's.
pub(super) fn trouble(name: &str, stream: &str, error: &RedisError) -> RedisTrouble {
    if lacks_memory(error) {
        return RedisTrouble::NoMemory(format!(
            "{name} is out of memory (maxmemory): items must be worked on, or its limit raised"
        ));
    }
    let words = of_stream(name, stream, error)
        .or_else(|| of_cluster(name, stream, error))
        .or_else(|| of_login(error).map(|words| format!("{name} {words}")))
        .or_else(|| of_another_server(name, error));
    RedisTrouble::Other(words.unwrap_or_else(|| match error.is_io_error() {
        true => format!("{name} cannot be reached: {}", why(error)),
        false => format!("{name}: {error}"),
    }))
}

/// Returns `true` if the error has this code, or contains this word.
fn says(error: &RedisError, word: &str) -> bool {
    error.code() == Some(word) || error.detail().is_some_and(|detail| detail.contains(word))
}

/// Returns what is wrong with the stream, or with the user's rights to it.
fn of_stream(name: &str, stream: &str, error: &RedisError) -> Option<String> {
    let detail = error.detail().unwrap_or_default();
    let is_one_of = |words: &[&str]| words.iter().any(|word| says(error, word));
    let is_gone = ["FORGOTTEN", "NOGROUP", "UNBLOCKED", "no such key"];
    let is_forbidden = ["NOPERM", "The user executing the script", "ACL failure"];
    Some(if is_one_of(&is_gone) {
        format!(
            "{name} has forgotten stream {stream}: it was restarted without its data, or the stream \
             was deleted; what was not done is lost, unless it is put again"
        )
    } else if says(error, "WRONGTYPE") {
        format!(
            "{name}: the key {stream}, or one of those beside it (docs/redis.md), holds something that \
             is no stream of ours: name another one"
        )
    } else if is_one_of(&is_forbidden) {
        format!(
            "{name} does not let this user do what is needed: {detail}; docs/redis.md lists the commands"
        )
    } else if error.code() == Some("FEWREPLICAS") {
        format!("{name} {detail}")
    } else {
        return None;
    })
}

fn of_cluster(name: &str, stream: &str, error: &RedisError) -> Option<String> {
    let ErrorKind::Server(kind) = error.kind() else {
        return None;
    };
    let node = error.redirect_node().map(|(node, _)| node);
    let node = node.unwrap_or("another node");
    match kind {
        ServerErrorKind::Moved => Some(format!(
            "{name} is a node of a cluster, and stream {stream} is on node {node}: name that one, as \
             redirections are not followed"
        )),
        ServerErrorKind::Ask => Some(format!(
            "{name} is a node of a cluster that is moving stream {stream} to node {node}: name that one \
             when that is over, as redirections are not followed"
        )),
        ServerErrorKind::TryAgain => Some(format!(
            "{name} is a node of a cluster that is moving stream {stream} to another node: try again \
             when that is over, at that node"
        )),
        ServerErrorKind::ClusterDown => Some(format!(
            "{name} is a node of a cluster that is down or has nobody for stream {stream}: redis-cli \
             --cluster check says why"
        )),
        ServerErrorKind::CrossSlot => Some(format!(
            "{name} is a node of a cluster, which has the keys of stream {stream} in several slots: give \
             it a name with a part in braces, as in {{{stream}}}"
        )),
        _ => None,
    }
}

/// Returns what is wrong with the user or the password.
fn of_login(error: &RedisError) -> Option<&'static str> {
    if says(error, "NOAUTH") {
        Some("wants a password, and there is none in the URL")
    } else if says(error, "WRONGPASS") || error.kind() == ErrorKind::AuthenticationFailed {
        Some("refuses the user or the password in the URL")
    } else {
        None
    }
}

/// Returns why this server cannot serve as a Redis.
fn of_another_server(name: &str, error: &RedisError) -> Option<String> {
    let detail = error.detail().unwrap_or_default();
    if is_replica(error) {
        return Some(format!(
            "{name} is a replica, which takes no writes, and all but `supervisor status` needs some: \
             name its master, which `redis-cli ROLE` tells"
        ));
    }
    if says(error, TOO_MANY) {
        return Some(too_many_words(name));
    }
    is_unknown(error).then(|| {
        format!(
            "{name} does not know what is needed ({detail}): Redis 6.2 or later, or Valkey, does"
        )
    })
}

pub(super) fn is_unknown(error: &RedisError) -> bool {
    let unknown = [
        "unknown command",
        "unknown subcommand",
        "Unknown Redis command",
    ];
    unknown.iter().any(|words| says(error, words))
}

pub(super) fn is_replica(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) || is_or_quotes(error, "READONLY")
}

/// Returns the message that this many items are gone.
pub(super) fn gone_words(name: &str, stream: &str, gone: u64) -> String {
    let (s, are) = if gone == 1 { ("", "is") } else { ("s", "are") };
    format!(
        "{name}: {gone} item{s} of stream {stream} {are} gone without an end: somebody has trimmed the \
         stream or deleted entries"
    )
}

/// Returns `true` if it does not know a script that it was given.
pub(super) fn has_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Returns `true` if the connection has ended: the last request on it may have arrived or not.
pub(super) fn is_cut(error: &RedisError) -> bool {
    error.is_connection_dropped() && !error.is_connection_refusal()
}

/// Returns the reason why it cannot be reached, for people.
pub(super) fn why(error: &RedisError) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    if let Some(words) = of_login(error) {
        return format!("it {words}");
    }
    let words = error.to_string();
    match words.contains("certificate") {
        true => format!("{words}; SSL_CERT_FILE may name the certificates to be trusted"),
        false => words,
    }
}

/// Returns `true` if it was refused because Redis has no memory for more.
pub(super) fn lacks_memory(error: &RedisError) -> bool {
    says(error, "OOM")
}

/// Returns `true` if a signal interrupted the wait: one with a handler, or one that stops or
/// continues this process.
pub(super) fn is_interruption(error: &RedisError) -> bool {
    // The client does not give the cause.
    let code = nix::errno::Errno::EINTR as i32;
    error.is_io_error() && error.to_string().contains(&format!("(os error {code})"))
}

/// Returns `true` if a later try may succeed.
pub(super) fn is_passing(error: &RedisError) -> bool {
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

/// Errors that pass, also where a script has met them: Redis cannot write its data to its disk just
/// now, is busy with a script of another client, became a replica.
const PASSING: [&str; 5] = ["MISCONF", "BUSY", "NOREPLICAS", "READONLY", "MASTERDOWN"];

/// Errors that pass and have no code of their own: Redis became a replica during the wait; too many
/// clients have come back at once.
const TRANSIENT: [&str; 2] = ["force unblock", TOO_MANY];

/// The message to one client too many.
pub(super) const TOO_MANY: &str = "max number of clients";

/// Returns the same for people.
pub(super) fn too_many_words(name: &str) -> String {
    format!(
        "{name} lets nobody else in: it has as many clients as its maxclients allows; raise that, or \
         end some"
    )
}

/// Returns `true` if an error has this code, or is a script's that quotes one with it. Before Redis
/// 7.0 all errors of scripts do that.
fn is_or_quotes(error: &RedisError, code: &str) -> bool {
    let detail = error.detail().unwrap_or_default();
    error.code() == Some(code) || detail.contains(&format!("-{code} "))
}
