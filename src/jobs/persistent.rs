//! A process of a command that stays and serves many items: one JSON request a line on its stdin,
//! one answer a line on its stdout.
//!
//! The form is that of Bazel's persistent workers with JSON
//! (<https://bazel.build/remote/creating>). A process that breaks the rules is replaced, and says
//! so in the failed attempt's cause; so is one that ended, or said something unasked, between two
//! items, and then no item is charged.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::child::Child;
use super::command::{Surroundings, Words};
use super::setback::{self, MemoryWatch};
use super::stderr;
use crate::ledger::Exit;
use crate::worker::attempt::Setback;

/// A longer answer is a mistake.
const ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// So much of a wrong answer is told.
const QUOTE_CHARS: usize = 100;

/// How long a process may take to end that has closed its pipes.
const TIME_TO_END: Duration = Duration::from_secs(1);

/// A pipe that is ready takes this many bytes without waiting (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Said of processes that never answered: perhaps none ever will.
pub(crate) const NEVER_ANSWERED: &str = "its process ended before it ever answered";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    request_id: u64,
    arguments: &'a [String],
    inputs: [(); 0],
}

/// Members that have their default value may be left out, and others are passed over.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    request_id: u64,
    exit_code: i32,
    output: String,
}

/// One line to send for one request.
///
/// # Errors
/// An argument is no text, which JSON needs.
pub(crate) fn request_line(number: u64, arguments: &[OsString]) -> Result<String, String> {
    let text = |argument: &OsString| match argument.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(format!(
            "{} is not UTF-8, as JSON must be",
            argument.display()
        )),
    };
    let arguments: Vec<String> = arguments.iter().map(text).collect::<Result<_, _>>()?;
    let request = Request {
        request_id: number,
        arguments: &arguments,
        inputs: [],
    };
    let mut line = serde_json::to_string(&request).map_err(|error| error.to_string())?;
    line.push('\n');
    Ok(line)
}

/// Reads an answer to this request.
fn answer_of(line: &[u8], number: u64) -> Result<Answer, String> {
    let quote = || {
        let text = String::from_utf8_lossy(line);
        let text: String = text.trim_end().chars().take(QUOTE_CHARS).collect();
        format!("{text:?}")
    };
    // A struct would be read from a list as well.
    let object: Result<Map<String, Value>, _> = serde_json::from_slice(line);
    let answer = object.and_then(|object| serde_json::from_value(Value::Object(object)));
    let answer: Answer =
        answer.map_err(|error| format!("its process answered {}: {error}", quote()))?;
    if answer.request_id != number {
        return Err(format!(
            "its process answered request {} instead of {number}",
            answer.request_id
        ));
    }
    Ok(answer)
}

/// What an item got.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) exit: Exit,
    pub(super) output: String,
}

/// A process that serves.
#[derive(Debug)]
struct Server {
    child: Child,
    requests: PipeWriter,
    answers: BufReader<PipeReader>,
    has_answered: bool,
}

/// The place of this worker's process. There is one at a time, started when it is needed.
#[derive(Debug, Default)]
pub(super) struct Post {
    server: Option<Server>,
    requests: u64,
}

impl Post {
    /// Has an item served.
    ///
    /// # Errors
    /// Nothing came that is an answer; the process is gone.
    pub(super) fn serve(
        &mut self,
        words: &Words<'_>,
        surroundings: &Surroundings<'_>,
        arguments: &[OsString],
    ) -> Result<Served, Setback> {
        self.requests += 1;
        let line = request_line(self.requests, arguments).map_err(setback::final_)?;
        let memory = MemoryWatch::begin();
        let mut server = match self.server.take().and_then(Server::if_fit) {
            Some(server) => server,
            None => Server::start(words, surroundings)
                .map_err(|error| setback::of_start(words, surroundings, &error))?,
        };
        let answered = server
            .ask(&line, &memory)
            .and_then(|answer| answer_of(&answer, self.requests).map_err(setback::failed));
        match answered {
            Ok(answer) => {
                server.has_answered = true;
                self.server = Some(server);
                Ok(Served {
                    exit: Exit::Exited(answer.exit_code),
                    output: answer.output,
                })
            }
            Err(why) => {
                server.end();
                Err(why)
            }
        }
    }

    /// There is nothing more to serve: the process sees the end of its stdin, and has this long to
    /// end.
    pub(super) fn close(&mut self, grace: Duration) {
        if let Some(mut server) = self.server.take() {
            drop(server.requests);
            // What it still says is for nobody, but it must be able to say it.
            let mut answers = server.answers.into_inner();
            if let Ok(pidfd) = server.child.pidfd() {
                drain_until_end(&pidfd, &mut answers, grace);
            }
            server.child.kill();
            server.child.await_exit();
        }
    }
}

/// Reads what a process says until it has ended, or the time is over.
fn drain_until_end(pidfd: &OwnedFd, answers: &mut PipeReader, grace: Duration) {
    let until = Instant::now() + grace;
    let mut is_open = true;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let ended = PollFd::new(pidfd, PollFlags::IN);
        let said = PollFd::new(answers, PollFlags::IN);
        let mut fds = [ended, said];
        let watched = if is_open { &mut fds[..] } else { &mut fds[..1] };
        let is_over = left.is_zero() || await_any(watched, left) == 0;
        if is_over || !fds[0].revents().is_empty() {
            return;
        }
        is_open = answers.read(&mut [0; 4096]).is_ok_and(|count| count > 0);
    }
}

/// How many of these are ready, after this time at most. None if that cannot be known.
fn await_any(fds: &mut [PollFd<'_>], time: Duration) -> usize {
    let time = Timespec::try_from(time).ok();
    loop {
        match poll(fds, time.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.unwrap_or(0),
        }
    }
}

impl Server {
    fn start(words: &Words<'_>, surroundings: &Surroundings<'_>) -> io::Result<Self> {
        let (theirs, requests) = pipe()?;
        let (answers, ours) = pipe()?;
        let stderr = stderr::handle();
        let streams = [theirs.as_fd(), ours.as_fd(), stderr.as_fd()];
        Ok(Server {
            child: words.start(surroundings, streams)?,
            requests,
            answers: BufReader::new(answers),
            has_answered: false,
        })
    }

    /// This process, unless it has ended or said something unasked since its last answer.
    fn if_fit(mut self) -> Option<Self> {
        let is_silent = self.answers.buffer().is_empty() && !is_readable(self.answers.get_ref());
        if is_silent {
            return Some(self);
        }
        // It is readable, so this does not wait for the rest of a line.
        let is_over = self.answers.fill_buf().is_ok_and(<[u8]>::is_empty);
        let why = match is_over {
            true => format!("{} while it had nothing to do", self.ended()),
            false => "said something unasked".to_owned(),
        };
        self.end();
        // No item is charged with it.
        stderr::say(format_args!(
            "a process that serves items {why}; it is replaced"
        ));
        None
    }

    fn ask(&mut self, line: &str, memory: &MemoryWatch) -> Result<Vec<u8>, Setback> {
        let mut answer = Vec::new();
        let asked = match self.send(line.as_bytes()) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let why = "its process answered before it was asked";
                return Err(setback::failed(why.into()));
            }
            Err(error) => Err(error),
        };
        let read = asked.and_then(|()| self.read_line(&mut answer));
        if answer.last() == Some(&b'\n') {
            return Ok(answer);
        }
        if read.is_ok_and(|count| count as u64 >= ANSWER_BYTES) {
            return Err(setback::failed(format!(
                "its process answered with more than {ANSWER_BYTES} bytes"
            )));
        }
        let exit = self.ended();
        Err(match self.has_answered {
            true => {
                let what = format!("its process ended without an answer: {exit}");
                setback::of_end(exit, what, memory)
            }
            false => setback::failed(format!("{NEVER_ANSWERED}: {exit}")),
        })
    }

    /// Sends a request. False if something was said before all of it was taken: whoever waits for
    /// that to be read would wait for us, and we for them.
    fn send(&mut self, mut request: &[u8]) -> io::Result<bool> {
        while !request.is_empty() {
            let room = PollFd::new(&self.requests, PollFlags::OUT);
            let said = PollFd::new(self.answers.get_ref(), PollFlags::IN);
            let mut fds = [room, said];
            poll(&mut fds, None).or_else(|errno| match errno {
                rustix::io::Errno::INTR => Ok(0),
                other => Err(other),
            })?;
            let [room, said] = &fds;
            if said.revents().contains(PollFlags::IN) {
                return Ok(false);
            }
            if said.revents().contains(PollFlags::HUP) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if !room.revents().is_empty() {
                // With room for some of it, a pipe takes that without waiting.
                let part = &request[..request.len().min(PIPE_BUF)];
                let count = self.requests.write(part)?;
                request = &request[count..];
            }
        }
        Ok(true)
    }

    fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<usize> {
        self.answers
            .by_ref()
            .take(ANSWER_BYTES)
            .read_until(b'\n', line)
    }

    /// Waits a moment for a process that is ending by itself, most likely, as it has closed its
    /// pipes; and how it ended.
    fn ended(&mut self) -> Exit {
        if let Ok(pidfd) = self.child.pidfd() {
            await_any(&mut [PollFd::new(&pidfd, PollFlags::IN)], TIME_TO_END);
        }
        self.end()
    }

    /// Ends the process, if it has not ended by itself, and tells how it ended.
    fn end(&mut self) -> Exit {
        self.child.kill();
        self.child.await_exit()
    }
}

fn is_readable(answers: &PipeReader) -> bool {
    await_any(&mut [PollFd::new(answers, PollFlags::IN)], Duration::ZERO) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_of_bazels_form() {
        let line = request_line(7, &["a b".into(), "\n".into()]).unwrap();
        let expected = "{\"requestId\":7,\"arguments\":[\"a b\",\"\\n\"],\"inputs\":[]}\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn what_is_left_out_of_an_answer_has_its_default() {
        let answer = answer_of(b"{\"requestId\":7}\n", 7).unwrap();
        assert_eq!((answer.exit_code, answer.output.as_str()), (0, ""));
        let full = br#"{"requestId":7,"exitCode":3,"output":"x","wasCancelled":false}"#;
        let answer = answer_of(full, 7).unwrap();
        assert_eq!((answer.exit_code, answer.output.as_str()), (3, "x"));
    }

    #[test]
    fn wrong_answers_are_told() {
        let why = |line: &[u8]| answer_of(line, 7).unwrap_err();
        assert_eq!(
            why(b"{\"requestId\":8}"),
            "its process answered request 8 instead of 7"
        );
        assert!(why(b"hello\n").starts_with("its process answered \"hello\""));
        assert!(why(b"[7]").starts_with("its process answered \"[7]\""));
        assert!(why(b"\xff\n").contains('\u{fffd}'));
    }
}
