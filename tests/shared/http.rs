//! A client of the control API that says exactly what it is told, also what no library would say.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Returns the code of a failure, after a look at its form.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        let fields: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "message"], "{json}");
        assert!(!json["message"].as_str().unwrap().is_empty());
        json["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// Returns the head of a request with a body of this many bytes.
pub(crate) fn head(method: &str, path: &str, headers: &str, bytes: u64) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: run\r\nConnection: close\r\n{headers}Content-Length: \
         {bytes}\r\n\r\n"
    )
}

/// Reads the answer to a request after which the connection is closed.
pub(crate) fn read_answer(stream: UnixStream) -> Answer {
    let mut bytes = Vec::new();
    // What is closed with something unread in it is reset, after the answer.
    let _ = { stream }.read_to_end(&mut bytes);
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

/// Asks, and waits for the answer.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> Answer {
    ask_with(socket, method, path, "", body)
}

pub(crate) fn ask_with(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let mut stream = connect(socket);
    let head = head(method, path, headers, body.len() as u64);
    stream.write_all(head.as_bytes()).unwrap();
    // It may be refused before it is read.
    let _ = stream.write_all(body);
    read_answer(stream)
}
