//! A collector of OpenTelemetry's spans, as far as tests need one: it reads what is sent by OTLP over HTTP.
#![allow(dead_code, reason = "each suite uses what it needs")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads a message as its fields, by their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            width @ (1 | 5) => {
                let (value, rest) = bytes.split_at(if width == 1 { 8 } else { 4 });
                bytes = rest;
                let mut whole = [0; 8];
                whole[..value.len()].copy_from_slice(value);
                Field::Number(u64::from_le_bytes(whole))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value)
            }
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, field));
    }
    all
}

/// The messages in a field of a message.
fn messages(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let all = fields(bytes).into_iter();
    let wanted = all.filter(|(field, _)| *field == number);
    wanted
        .filter_map(|(_, field)| match field {
            Field::Bytes(bytes) => Some(bytes),
            Field::Number(_) => None,
        })
        .collect()
}

fn text(bytes: &[u8], number: u64) -> String {
    let first = messages(bytes, number).first().copied();
    String::from_utf8(first.unwrap_or_default().to_vec()).unwrap()
}

fn number(bytes: &[u8], number: u64) -> u64 {
    let mut all = fields(bytes).into_iter();
    let found = all.find_map(|(field, value)| match value {
        Field::Number(value) if field == number => Some(value),
        _ => None,
    });
    found.unwrap_or(0)
}

/// The ids of a trace and of a span, in hexadecimal.
pub(crate) type Ids = (String, String);

/// A span of OTLP (opentelemetry/proto/trace/v1/trace.proto).
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) id: Ids,
    pub(crate) name: String,
    pub(crate) kind: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) links: Vec<Ids>,
    pub(crate) status: (u64, String),
}

impl Span {
    fn read(bytes: &[u8]) -> Self {
        let id = |bytes: &[u8]| {
            let part = |number| {
                let bytes = messages(bytes, number)[0].iter();
                bytes.map(|byte| format!("{byte:02x}")).collect()
            };
            (part(1), part(2))
        };
        let attribute = |one: &[u8]| {
            let value = messages(one, 2)[0];
            let value = match text(value, 1) {
                text if text.is_empty() => number(value, 3).to_string(),
                text => text,
            };
            (text(one, 1), value)
        };
        let status = messages(bytes, 15).first().copied().unwrap_or_default();
        Span {
            id: id(bytes),
            name: text(bytes, 5),
            kind: number(bytes, 6),
            from: number(bytes, 7),
            to: number(bytes, 8),
            attributes: messages(bytes, 9).into_iter().map(attribute).collect(),
            links: messages(bytes, 13).into_iter().map(id).collect(),
            status: (number(status, 3), text(status, 2)),
        }
    }

    pub(crate) fn has(&self, name: &str) -> &str {
        let value = self.attributes.get(name);
        value.unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

/// Returns the spans of a request, and the name of the service that sent them.
fn spans(body: &[u8]) -> (Vec<Span>, Vec<String>) {
    let of_resources = messages(body, 1);
    let services = of_resources.iter().flat_map(|one| {
        let resource = messages(one, 1)[0];
        let attributes = messages(resource, 1).into_iter();
        let named = attributes.filter(|one| text(one, 1) == "service.name");
        named.map(|one| text(messages(one, 2)[0], 1))
    });
    let services = services.collect();
    let of_scopes = of_resources.iter().flat_map(|one| messages(one, 2));
    let spans = of_scopes.flat_map(|one| messages(one, 2));
    (spans.map(Span::read).collect(), services)
}

/// Reads the request of a client; `None` if the client is gone in the middle of it.
fn read_request(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Answers each client, if `answers`; else all wait. What was read is told before it is answered.
fn collect(listener: &TcpListener, answers: bool, tell: &Sender<(String, Vec<u8>)>) {
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        // Clients may be killed.
        let Some(request) = read_request(&stream) else {
            continue;
        };
        if tell.send(request).is_err() {
            return;
        }
        if answers {
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                          Content-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        } else {
            kept.push(stream);
        }
    }
}

/// A collector on a port of its own, and what it has got.
pub(crate) struct Collector {
    pub(crate) url: String,
    told: Receiver<(String, Vec<u8>)>,
    spans: Vec<Span>,
}

impl Collector {
    /// Starts one that answers.
    pub(crate) fn start() -> Self {
        Self::listen(true)
    }

    /// Starts one that takes all and answers nothing.
    pub(crate) fn silent() -> Self {
        Self::listen(false)
    }

    fn listen(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = channel();
        std::thread::spawn(move || collect(&listener, answers, &tell));
        Collector {
            url,
            told,
            spans: Vec::new(),
        }
    }

    /// Returns all spans so far. Those that a client has sent before its end are among them when it has ended.
    pub(crate) fn spans(&mut self) -> &[Span] {
        for (head, body) in self.told.try_iter() {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
            let (spans, services) = spans(&body);
            assert!(services.iter().all(|name| name == "dishrack"));
            self.spans.extend(spans);
        }
        &self.spans
    }

    /// Returns those of this name, oldest first.
    pub(crate) fn named(&mut self, name: &str) -> Vec<Span> {
        let mut named = self.spans().to_vec();
        named.retain(|span| span.name == name);
        named.sort_by_key(|span| (span.from, span.kind));
        named
    }
}

/// Returns an address at which nobody listens.
pub(crate) fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
