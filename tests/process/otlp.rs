//! `--otlp`: what a collector gets of a run, and what becomes of a run whose collector gets nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::said::{Said, sh};

crate::trials! {
    a_collector_gets_a_span_of_each_put_and_attempt,
    a_run_without_a_collector_does_its_work_and_says_what_was_lost,
    a_collector_that_does_not_answer_holds_up_nothing,
}

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

/// A span of OTLP (opentelemetry/proto/trace/v1/trace.proto).
#[derive(Debug)]
struct Span {
    id: (Vec<u8>, Vec<u8>),
    name: String,
    kind: u64,
    from: u64,
    to: u64,
    attributes: BTreeMap<String, String>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    status: (u64, String),
}

impl Span {
    fn read(bytes: &[u8]) -> Self {
        let id = |bytes: &[u8]| {
            let part = |number| messages(bytes, number)[0].to_vec();
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

    fn has(&self, name: &str) -> &str {
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

/// Reads the request of a client.
fn read_request(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
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
    reader.read_exact(&mut body).unwrap();
    (head, body)
}

/// Listens as a collector does. Its clients are answered if `answers`, and else wait.
fn collector(answers: bool) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read_request(&stream);
            if answers {
                let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                              Content-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
            } else {
                kept.push(stream);
            }
            if tell.send(request).is_err() {
                return;
            }
        }
    });
    (url, told)
}

fn run(url: &str, options: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    let options = format!("--otlp {url} -w 1 {options}");
    let output: Output = command
        .args(sh(&options, "test $0 != bad", "{} ::: good bad"))
        .env_remove("OTEL_SERVICE_NAME")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    output.into()
}

fn a_collector_gets_a_span_of_each_put_and_attempt() {
    let (url, told) = collector(true);
    run(&url, "--max-attempts 2 --backoff 0s").ends(1);
    let mut all = Vec::new();
    for (head, body) in told.try_iter() {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
        let (spans, services) = spans(&body);
        assert!(services.iter().all(|name| name == "dishrack"));
        all.extend(spans);
    }
    all.sort_by_key(|span| (span.from, span.kind));
    let puts: Vec<&Span> = all.iter().filter(|span| span.name == "put jobs").collect();
    let processes = all.iter().filter(|span| span.name == "process jobs");
    let processes: Vec<&Span> = processes.collect();
    assert_eq!(
        (puts.len(), processes.len(), all.len()),
        (2, 3, 5),
        "{all:?}"
    );
    // SPAN_KIND_PRODUCER and SPAN_KIND_CONSUMER.
    assert!(puts.iter().all(|span| span.kind == 4));
    assert!(processes.iter().all(|span| span.kind == 5));
    let told: Vec<_> = processes
        .iter()
        .map(|span| {
            let attempt = span.has("dishrack.attempt");
            (span.has("dishrack.item"), attempt, span.status.0)
        })
        .collect();
    // STATUS_CODE_ERROR is 2.
    assert_eq!(told, [("good", "1", 0), ("bad", "1", 2), ("bad", "2", 2)]);
    assert_eq!(processes[1].status.1, "exited with code 1");
    for span in &processes {
        let put = puts
            .iter()
            .find(|put| put.has("messaging.message.id") == span.has("messaging.message.id"));
        let put = put.unwrap();
        assert_eq!(span.links, std::slice::from_ref(&put.id));
        assert!(put.to <= span.from && span.from <= span.to, "{all:?}");
        for (name, value) in [
            ("messaging.system", "dishrack"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "jobs"),
        ] {
            assert_eq!(span.has(name), value);
        }
    }
}

fn a_run_without_a_collector_does_its_work_and_says_what_was_lost() {
    // Nobody listens there once it is closed.
    let url = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let said = run(&url, "--max-attempts 1");
    said.ends(1)
        .tells("cannot send spans to http://127.0.0.1:")
        .tells("4 of 4 spans did not reach http://127.0.0.1:");
    said.tells("1 of 2 jobs done");
}

fn a_collector_that_does_not_answer_holds_up_nothing() {
    let (url, told) = collector(false);
    run(&url, "--max-attempts 1")
        .ends(1)
        .tells("4 of 4 spans did not reach http://127.0.0.1:");
    assert!(told.try_iter().count() >= 1);
}
