//! A process of a command that stays and serves many items: one JSON request a line on its stdin,
//! one answer a line on its stdout.
//!
//! The form is that of Bazel's persistent workers with JSON
//! (<https://bazel.build/remote/creating>). A process that breaks the rules is replaced, and says
//! so in the failed attempt's cause; so is one that ended, or said something unasked, between two
//! items, and then no item is charged.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use super::command::{Surroundings, Words, exit_of};
use super::{ending, stderr};
use crate::ledger::Exit;

/// A longer answer is a mistake.
const ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// So much of a wrong answer is told.
const QUOTE_CHARS: usize = 100;

/// How long a process may take to end that has closed its pipes.
const TIME_TO_END: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

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
    let answer: Answer = serde_json::from_slice(line)
        .map_err(|error| format!("its process answered {}: {error}", quote()))?;
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
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
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
    ) -> Result<Served, String> {
        self.requests += 1;
        let line = request_line(self.requests, arguments)?;
        let mut server = match self.server.take().and_then(Server::if_fit) {
            Some(server) => server,
            None => Server::start(words, surroundings)
                .map_err(|error| ending::not_run(words.name(), &error))?,
        };
        let answered = server
            .ask(&line)
            .and_then(|answer| answer_of(&answer, self.requests));
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

    /// There is nothing more to serve: the process sees the end of its stdin, and is waited for.
    pub(super) fn close(&mut self) {
        if let Some(Server {
            mut child,
            requests,
            answers,
            ..
        }) = self.server.take()
        {
            drop(requests);
            // What it still says is for nobody, but it must be able to say it.
            let _ = io::copy(&mut answers.into_inner(), &mut io::sink());
            let _ = child.wait();
        }
    }
}

impl Server {
    fn start(words: &Words<'_>, surroundings: &Surroundings<'_>) -> io::Result<Self> {
        let streams = || Ok([Stdio::piped(), Stdio::piped(), Stdio::inherit()]);
        let mut child = words.start(surroundings, &streams)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(answers)) => Ok(Server {
                child,
                requests,
                answers: BufReader::new(answers),
                has_answered: false,
            }),
            _ => Err(io::Error::other("its pipes are missing")),
        }
    }

    /// This process, unless it has ended or said something unasked since its last answer.
    fn if_fit(mut self) -> Option<Self> {
        let is_silent = self.answers.buffer().is_empty() && !is_readable(self.answers.get_ref());
        if is_silent {
            return Some(self);
        }
        let mut said = Vec::new();
        let is_over = self.read_line(&mut said).is_ok_and(|count| count == 0);
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

    fn ask(&mut self, line: &str) -> Result<Vec<u8>, String> {
        let mut answer = Vec::new();
        let asked = self
            .requests
            .write_all(line.as_bytes())
            .and_then(|()| self.requests.flush());
        let read = asked.and_then(|()| self.read_line(&mut answer));
        if answer.last() == Some(&b'\n') {
            return Ok(answer);
        }
        if read.is_ok_and(|count| count as u64 >= ANSWER_BYTES) {
            return Err(format!(
                "its process answered with more than {ANSWER_BYTES} bytes"
            ));
        }
        let exit = self.ended();
        Err(match self.has_answered {
            true => format!("its process ended without an answer: {exit}"),
            false => format!("{NEVER_ANSWERED}: {exit}"),
        })
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
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(pidfd) = pidfd {
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&TIME_TO_END));
        }
        self.end()
    }

    /// Ends the process, if it has not ended by itself, and tells how it ended.
    fn end(&mut self) -> Exit {
        let _ = self.child.kill();
        self.child.wait().map_or(Exit::Unknown, exit_of)
    }
}

fn is_readable(answers: &ChildStdout) -> bool {
    let mut fds = [PollFd::new(answers, PollFlags::IN)];
    let at_once = Timespec::default();
    poll(&mut fds, Some(&at_once)).is_ok_and(|count| count > 0)
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
        assert!(why(b"[]").starts_with("its process answered"));
        assert!(why(b"\xff\n").contains('\u{fffd}'));
    }
}
