//! From a control socket to frames: asks the process that serves it, by an HTTP request, to go on in
//! frames. It makes sure first that the process is of this user, or of root.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use serde_json::Value;

use super::connection::QueueConnection;
use crate::error::Kind;
use crate::protocol::frame::PROTOCOL;
use crate::protocol::stream::Hello;

/// The longest time for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Connects to a queue by the socket of this path.
pub(super) fn open(path: &Path, hello: &Hello<'_>) -> Result<Arc<QueueConnection>, Kind> {
    let refuse = |why: String| Kind::NotAttached {
        path: path.display().to_string(),
        is_busy: false,
        why,
    };
    let not_there = |why: std::io::Error| refuse(format!("nobody serves it: {why}"));
    let mut stream = UnixStream::connect(path).map_err(not_there)?;
    let peer = socket_peercred(&stream).map_err(|why| not_there(why.into()))?;
    if peer.uid != geteuid() && !peer.uid.is_root() {
        let uid = peer.uid.as_raw();
        return Err(refuse(format!("it is served by user {uid}, and not asked")));
    }
    let times = stream.set_read_timeout(Some(ANSWER_TIME));
    times.map_err(not_there)?;
    let request = format!(
        "GET /v1/attach HTTP/1.1\r\nHost: run\r\nConnection: Upgrade\r\n\
         Upgrade: dishrack-frames/{PROTOCOL}\r\n\r\n"
    );
    let asked = stream.write_all(request.as_bytes());
    // One that refuses everybody may have answered and ended by now.
    let answer = read_answer(&mut stream);
    asked.map_err(not_there)?;
    match answer.map_err(refuse)? {
        UpgradeAnswer::Frames(received) => {
            QueueConnection::open(OwnedFd::from(stream), received, hello)
        }
        UpgradeAnswer::Refused { code, why } => Err(Kind::NotAttached {
            path: path.display().to_string(),
            is_busy: code == "busy",
            why,
        }),
    }
}

enum UpgradeAnswer {
    /// The other side goes on in frames, and has sent this much of them.
    Frames(Vec<u8>),
    Refused {
        code: String,
        why: String,
    },
}

fn read_answer(stream: &mut UnixStream) -> Result<UpgradeAnswer, String> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at;
        }
        receive(stream, &mut bytes)?;
    };
    let mut rest = bytes.split_off(head + 4);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").unwrap_or_default();
    if status.starts_with("101 ") {
        return Ok(UpgradeAnswer::Frames(rest));
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(|| format!("it is no control socket: it says {status:?}"))?;
    while rest.len() < length {
        receive(stream, &mut rest)?;
    }
    let said: Value = serde_json::from_slice(&rest).unwrap_or_default();
    let field = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    let (code, why) = (field("code"), field("message"));
    match code.as_str() {
        // An older one has no such path.
        "" | "unknown_path" => Err(format!("nobody can attach to it: it says {status:?}")),
        _ => Ok(UpgradeAnswer::Refused { code, why }),
    }
}

fn receive(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> Result<(), String> {
    let mut chunk = [0; 4096];
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err("its answer is too long".into());
    }
    match stream.read(&mut chunk) {
        Ok(0) => Err("it has ended the connection".into()),
        Ok(count) => {
            bytes.extend(&chunk[..count]);
            Ok(())
        }
        Err(why) => Err(format!("it does not answer: {why}")),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
