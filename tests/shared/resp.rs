//! RESP, the protocol of Redis, as far as tests need it: frames out of bytes, and a client.
#![allow(dead_code, reason = "each suite uses what it needs")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::deadline::DEADLINE;

/// One frame: a server's answer, or a command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Text(String),
    Error(String),
    Number(i64),
    Nil,
    List(Vec<Frame>),
    /// Sent by a server without a request, in RESP3.
    Push(Vec<Frame>),
}

impl Frame {
    /// Returns the first frame of these bytes and its length, or `None` if it is not whole yet.
    ///
    /// # Errors
    /// These are not RESP.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Frame, usize)>, String> {
        let mut reader = Reader { bytes, at: 0 };
        let frame = reader.frame()?;
        Ok(frame.map(|frame| (frame, reader.at)))
    }

    /// Returns `true` if it contains this text, in any case of its letters.
    pub(crate) fn names(&self, text: &str) -> bool {
        match self {
            Frame::Text(own) | Frame::Error(own) => own.eq_ignore_ascii_case(text),
            Frame::List(frames) | Frame::Push(frames) => frames.iter().any(|one| one.names(text)),
            Frame::Number(_) | Frame::Nil => false,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn frame(&mut self) -> Result<Option<Frame>, String> {
        let Some(line) = self.line() else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(line.get(1..).unwrap_or_default()).into_owned();
        let number = || {
            let number = text.parse::<i64>();
            number.map_err(|error| format!("{text:?}: {error}"))
        };
        match line.first() {
            Some(b'+' | b'#' | b',' | b'(') => Ok(Some(Frame::Text(text))),
            Some(b'-') => Ok(Some(Frame::Error(text))),
            Some(b':') => Ok(Some(Frame::Number(number()?))),
            Some(b'_') => Ok(Some(Frame::Nil)),
            Some(b'$' | b'=' | b'!') => Ok(self.bulk(number()?)),
            Some(b'*' | b'~') => self.list(number()?, Frame::List),
            Some(b'>') => self.list(number()?, Frame::Push),
            Some(b'%') => self.list(number()?.saturating_mul(2), Frame::List),
            _ => Err(format!("no frame begins so: {line:?}")),
        }
    }

    fn bulk(&mut self, length: i64) -> Option<Frame> {
        let Ok(length) = usize::try_from(length) else {
            return Some(Frame::Nil);
        };
        let rest = &self.bytes[self.at..];
        let bytes = rest.get(..length.checked_add(2)?)?;
        self.at += bytes.len();
        Some(Frame::Text(
            String::from_utf8_lossy(&bytes[..length]).into_owned(),
        ))
    }

    fn list(
        &mut self,
        length: i64,
        kind: fn(Vec<Frame>) -> Frame,
    ) -> Result<Option<Frame>, String> {
        let Ok(length) = usize::try_from(length) else {
            return Ok(Some(Frame::Nil));
        };
        let mut frames = Vec::new();
        for _ in 0..length {
            match self.frame()? {
                Some(frame) => frames.push(frame),
                None => return Ok(None),
            }
        }
        Ok(Some(kind(frames)))
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let length = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += length + 2;
        Some(&rest[..length])
    }
}

/// A connection to a server, or to a proxy before one.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Client {
            stream,
            unread: Vec::new(),
        })
    }

    /// Sends a command and waits for the answer.
    ///
    /// # Errors
    /// The connection ended.
    pub(crate) fn call(&mut self, command: &[&str]) -> io::Result<Frame> {
        self.send(command)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, command: &[&str]) -> io::Result<()> {
        let mut bytes = format!("*{}\r\n", command.len());
        for word in command {
            bytes += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.write_all(bytes.as_bytes())
    }

    pub(crate) fn receive(&mut self) -> io::Result<Frame> {
        loop {
            let whole = Frame::parse(&self.unread).map_err(io::Error::other)?;
            if let Some((frame, length)) = whole {
                self.unread.drain(..length);
                return Ok(frame);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.unread.extend_from_slice(&chunk[..length]),
            }
        }
    }

    /// Returns `true` if something arrives within this time. It is for checks that nothing arrives.
    pub(crate) fn hears_within(&self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        heard
    }
}
