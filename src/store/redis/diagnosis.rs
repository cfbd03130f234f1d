//! Finds out what is at an address where no Redis answers as it should, on a connection of its own
//! and with the plainest requests. It is for people, after a failure, and decides nothing.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use redis::ConnectionAddr;

use super::trouble::{TOO_MANY, too_many_words};

/// The longest time to connect, and to get an answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The time for servers that speak first: a Redis that refuses more clients, servers of other
/// kinds.
const FIRST_WORD: Duration = Duration::from_millis(300);

/// The greatest number of bytes read of a server's account of itself.
const INFO_MAX: u64 = 1 << 16;

/// The greatest number of bytes examined of what a server says.
const LINE_MAX: usize = 100;

/// Returns what it seems to be and what to do, if that can be told; `None` if it may well be a
/// Redis.
pub(super) fn of(name: &str, address: &ConnectionAddr) -> Option<String> {
    words(name, &heard(connect(address)?)?)
}

/// Returns `true` if it is a Sentinel, which speaks as Redis does and has no data.
pub(super) fn is_sentinel(address: &ConnectionAddr) -> bool {
    let asked = connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        stream.write_all(b"INFO server\r\n").ok()?;
        let mut said = Vec::new();
        // It does not hang up after that, so reading mostly ends by the timeout.
        let _ = stream.take(INFO_MAX).read_to_end(&mut said);
        Some(said)
    });
    let said = asked.unwrap_or_default();
    String::from_utf8_lossy(&said).contains("redis_mode:sentinel")
}

/// Connects, if plain text may be sent: not where TLS is spoken.
fn connect(address: &ConnectionAddr) -> Option<TcpStream> {
    let ConnectionAddr::Tcp(host, port) = address else {
        return None;
    };
    let address = (&**host, *port).to_socket_addrs().ok()?.next()?;
    TcpStream::connect_timeout(&address, TIMEOUT).ok()
}

/// Returns the first line that is said, unasked or to a ping; empty if it is silent, `None` if it
/// hangs up.
fn heard(mut stream: TcpStream) -> Option<String> {
    let mut bytes = [0; LINE_MAX];
    stream.set_read_timeout(Some(FIRST_WORD)).ok()?;
    let mut said = stream.read(&mut bytes);
    if is_silent(&said) {
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        // With two line ends an HTTP server answers as well.
        stream.write_all(b"PING\r\n\r\n").ok()?;
        said = stream.read(&mut bytes);
    }
    let count = match said {
        Ok(0) => return None,
        Ok(count) => count,
        said if is_silent(&said) => 0,
        Err(_) => return None,
    };
    let said = String::from_utf8_lossy(&bytes[..count]);
    let line = said.lines().next().unwrap_or_default();
    Some(line.chars().filter(|c| !c.is_control()).collect())
}

/// Returns `true` if nothing was said in the time for it.
fn is_silent(said: &io::Result<usize>) -> bool {
    let is_late = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        )
    };
    said.as_ref().is_err_and(is_late)
}

/// Returns the meaning of that line.
fn words(name: &str, line: &str) -> Option<String> {
    let speaks_redis = ["+", "-", "$", ":", "*"]
        .iter()
        .any(|sign| line.starts_with(sign));
    Some(if line.contains(TOO_MANY) {
        too_many_words(name)
    } else if line.is_empty() {
        format!(
            "{name} lets us in and does not answer: it is stopped or very busy, it is no Redis, or it \
             wants TLS (rediss://)"
        )
    } else if line.starts_with("HTTP/") || line.starts_with('<') {
        format!(
            "{name} is an HTTP server, and no Redis: name the port of Redis, which is 6379 mostly"
        )
    } else if speaks_redis {
        return None;
    } else {
        format!("{name} is no Redis: it says {line:?}; name the address of one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_is_known_by_the_first_line() {
        let seems = |line: &str| words("it", line).unwrap_or_default();
        assert!(seems("-ERR max number of clients reached").contains("maxclients"));
        assert!(seems("HTTP/1.1 400 Bad Request").contains("HTTP server"));
        // Without a request that names a version, some servers answer as in the first version of
        // HTTP.
        assert!(seems("<!DOCTYPE HTML>").contains("HTTP server"));
        assert!(seems("SSH-2.0-OpenSSH_9.2").contains("it says \"SSH-2.0-OpenSSH_9.2\""));
        assert!(seems("").contains("does not answer"));
        assert_eq!(words("it", "+PONG"), None);
        assert_eq!(words("it", "-NOAUTH Authentication required."), None);
    }
}
