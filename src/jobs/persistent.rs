//! A process of a command that stays and serves many items: one JSON request a line on its stdin,
//! one answer a line on its stdout.
//!
//! The form is that of Bazel's persistent workers with JSON
//! (<https://bazel.build/remote/creating>), see `form`. A process that breaks the rules is replaced, and
//! says so in the failed attempt's cause; so is one that ended, or said something unasked, between two
//! items, and then no item is charged. Whatever is waited for, the process's own end is waited for, too:
//! its pipes may be held open by what it has started. What it said before its end still counts.

mod form;

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionread;
use rustix::time::Timespec;

use super::child::Child;
use super::command::{Surroundings, Words};
use super::{ending, stderr};
use crate::ledger::Exit;
pub(crate) use form::request_line;
use form::{Answer, Line};

/// A longer answer is a mistake.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// So much is read at once: what a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

/// How long a process may take to end that has closed its pipes.
const TIME_TO_END: Duration = Duration::from_secs(1);

/// A pipe that is ready takes this many bytes without waiting (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Said of processes that never answered: perhaps none ever will.
pub(crate) const NEVER_ANSWERED: &str = "its process ended before it ever answered";

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
    /// Becomes readable when it ends.
    pidfd: OwnedFd,
    requests: PipeWriter,
    answers: PipeReader,
    /// What it has said and nobody has looked at.
    said: Said,
    /// The numbers of its requests.
    asked: RangeInclusive<u64>,
    has_answered: bool,
    /// It was told that it says what it should not.
    was_advised: bool,
}

/// Bytes that become lines.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    /// There is no end of a line before this place.
    searched: usize,
}

impl Said {
    /// The next line, with its end.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let mut rest = self.bytes[self.searched..].iter();
        let Some(place) = rest.position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let rest = self.bytes.split_off(self.searched + place + 1);
        self.searched = 0;
        Some(std::mem::replace(&mut self.bytes, rest))
    }
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
    /// Nothing came that is an answer, and the process is gone; or it says that it has not done it.
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
            None => Server::start(words, surroundings, self.requests)
                .map_err(|error| ending::not_run(words.name(), &error))?,
        };
        match server.ask(self.requests, &line) {
            Ok(answer) => {
                self.server = Some(server);
                match answer.was_cancelled {
                    true => Err("its process answered that the request was cancelled".into()),
                    false => Ok(Served {
                        exit: Exit::Exited(answer.exit_code),
                        output: answer.output,
                    }),
                }
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
            drain_until_end(&server.pidfd, &mut server.answers, grace);
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
        let mut fds = [ended(pidfd), said(answers)];
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
    /// Starts one, which will be asked this request first.
    fn start(words: &Words<'_>, surroundings: &Surroundings<'_>, first: u64) -> io::Result<Self> {
        let (theirs, requests) = pipe()?;
        let (answers, ours) = pipe()?;
        let stderr = stderr::handle();
        let streams = [theirs.as_fd(), ours.as_fd(), stderr.as_fd()];
        let mut child = words.start(surroundings, streams)?;
        let pidfd = child.pidfd().inspect_err(|_| {
            child.kill();
            child.await_exit();
        })?;
        Ok(Server {
            child,
            pidfd,
            requests,
            answers,
            said: Said::default(),
            asked: first..=first,
            has_answered: false,
            was_advised: false,
        })
    }

    /// This process, unless it has ended or said something unasked since its last answer.
    fn if_fit(mut self) -> Option<Self> {
        // Looked at first: what it said before its end is there then.
        let has_ended = await_any(&mut [ended(&self.pidfd)], Duration::ZERO) > 0;
        let is_open = self.take_what_is_there();
        let is_silent = self.has_said_nothing_new();
        if is_silent && is_open && !has_ended {
            return Some(self);
        }
        let why = match is_silent {
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

    /// Takes what is in the pipe now, without waiting for more. False where nothing more can come.
    fn take_what_is_there(&mut self) -> bool {
        let readable = await_any(&mut [said(&self.answers)], Duration::ZERO) > 0;
        let bytes = ioctl_fionread(&self.answers).unwrap_or(0);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let start = self.said.bytes.len();
        let most = bytes.min(ANSWER_BYTES);
        self.said.bytes.resize(start + most, 0);
        // Nobody else reads, so that much is there.
        let read = self.answers.read_exact(&mut self.said.bytes[start..]);
        if read.is_err() {
            self.said.bytes.truncate(start);
        }
        read.is_ok() && (most > 0 || !readable)
    }

    /// Whether nothing was said since the last answer but what was answered before.
    fn has_said_nothing_new(&mut self) -> bool {
        while let Some(line) = self.said.take_line() {
            match form::read(&line, &self.asked) {
                Ok(Line::Again(number)) => self.tell_again(number),
                // The last request was answered as well.
                Ok(Line::Answer(answer)) if answer.is_numbered() => {
                    self.tell_again(*self.asked.end());
                }
                Ok(_) | Err(_) => return false,
            }
        }
        self.said.bytes.is_empty()
    }

    fn ask(&mut self, number: u64, line: &str) -> Result<Answer, String> {
        self.asked = *self.asked.start()..=number;
        let mut is_over = !self.send(line.as_bytes())?;
        loop {
            while let Some(line) = self.said.take_line() {
                if let Some(answer) = self.hear(&line)? {
                    return Ok(answer);
                }
            }
            if is_over {
                let exit = self.ended();
                return Err(match self.has_answered {
                    true => format!("its process ended without an answer: {exit}"),
                    false => format!("{NEVER_ANSWERED}: {exit}"),
                });
            }
            is_over = !self.listen()?;
        }
    }

    /// What a line of its stdout means while it is asked.
    fn hear(&mut self, line: &[u8]) -> Result<Option<Answer>, String> {
        match form::read(line, &self.asked)? {
            Line::Answer(answer) => {
                self.has_answered = true;
                return Ok(Some(answer));
            }
            Line::Again(number) => self.tell_again(number),
            Line::Words(why) if self.has_answered => return Err(why),
            Line::Words(_) => {
                if !std::mem::replace(&mut self.was_advised, true) {
                    stderr::say(form::advice(line));
                }
                stderr::write(line);
            }
        }
        Ok(None)
    }

    /// No item is charged with it.
    fn tell_again(&mut self, number: u64) {
        if !std::mem::replace(&mut self.was_advised, true) {
            stderr::say(format_args!(
                "a process that serves items answered request {number} twice: one answer a request"
            ));
        }
    }

    /// Sends a request. False if it will not be taken.
    fn send(&mut self, mut request: &[u8]) -> Result<bool, String> {
        while !request.is_empty() {
            let room = PollFd::new(&self.requests, PollFlags::OUT);
            let mut fds = [room, said(&self.answers), ended(&self.pidfd)];
            await_one(&mut fds).map_err(|error| format!("its process is lost: {error}"))?;
            let [room, said, ended] = fds.map(|fd| fd.revents());
            if room.contains(PollFlags::OUT) {
                // With room for some of it, a pipe takes that without waiting.
                let part = &request[..request.len().min(PIPE_BUF)];
                match self.requests.write(part) {
                    Ok(count) => request = &request[count..],
                    Err(_) => return Ok(false),
                }
            } else if !said.is_empty() {
                // Whoever waits for that to be read would wait for us, and we for them.
                if !self.listen()? {
                    return Ok(false);
                }
                while let Some(line) = self.said.take_line() {
                    if self.hear(&line)?.is_some() {
                        return Err("its process answered before it was asked".into());
                    }
                }
            } else if !(room | ended).is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until it says more. False if it will not: it has ended, or closed its stdout.
    fn listen(&mut self) -> Result<bool, String> {
        if self.said.bytes.len() >= ANSWER_BYTES {
            return Err(format!(
                "its process answered with more than {ANSWER_BYTES} bytes"
            ));
        }
        let mut fds = [said(&self.answers), ended(&self.pidfd)];
        let awaited = await_one(&mut fds);
        awaited.map_err(|error| format!("its process is lost: {error}"))?;
        if !fds[1].revents().is_empty() {
            // All that it said is there. What others say who have its stdout is for nobody.
            self.take_what_is_there();
            return Ok(false);
        }
        let start = self.said.bytes.len();
        self.said.bytes.resize(start + PIPE_BYTES, 0);
        let read = self.answers.read(&mut self.said.bytes[start..]);
        let count = read.as_ref().map_or(0, |count| *count);
        self.said.bytes.truncate(start + count);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(format!("its process's stdout cannot be read: {error}")),
            Ok(count) => Ok(count > 0),
        }
    }

    /// Waits a moment for a process that is ending by itself, most likely, as it has closed its
    /// pipes; and how it ended.
    fn ended(&mut self) -> Exit {
        await_any(&mut [ended(&self.pidfd)], TIME_TO_END);
        self.end()
    }

    /// Ends the process, if it has not ended by itself, and tells how it ended.
    fn end(&mut self) -> Exit {
        self.child.kill();
        self.child.await_exit()
    }
}

fn said(answers: &PipeReader) -> PollFd<'_> {
    PollFd::new(answers, PollFlags::IN)
}

fn ended(pidfd: &OwnedFd) -> PollFd<'_> {
    PollFd::new(pidfd, PollFlags::IN)
}

/// Waits until one of these is ready.
fn await_one(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    loop {
        match poll(fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}
