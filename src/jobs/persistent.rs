//! A process of a command that stays and serves many items: one JSON request a line on its stdin,
//! one answer a line on its stdout.
//!
//! The form is that of Bazel's persistent workers with JSON
//! (<https://bazel.build/remote/creating>), see `form`. A process that breaks the rules is replaced, and
//! says so in the failed attempt's cause; so is one that ended between two items, and then no item is
//! charged. Whatever is waited for, the process's own end is waited for, too: its pipes may be held open
//! by what it has started. What it said before its end still counts.
//!
//! Answers have no numbers, so a second answer to one request could be taken for the answer to the next
//! one. Therefore a request's first byte goes ahead of it, and when the process has taken that from its
//! pipe, all that it has said until then is no answer to this request: who serves one after the other
//! said it before.

mod form;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionread;
use rustix::time::Timespec;

use super::child::Child;
use super::command::{Surroundings, Words};
use super::setback::{self, MemoryWatch};
use super::stderr;
use crate::handler::attempt::Setback;
use dishrack_core::ledger::{Cause, Exit};
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
    /// It has begun to take a request that it has not answered.
    is_asked: bool,
    has_answered: bool,
    /// Its pipe has room for requests only when all of the last one was taken.
    shows_what_is_taken: bool,
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
    ) -> Result<Served, Setback> {
        let line = request_line(arguments).map_err(setback::final_)?;
        let memory = MemoryWatch::begin();
        let mut server = match self.server.take().and_then(Server::if_fit) {
            Some(server) => server,
            None => Server::start(words, surroundings)
                .map_err(|error| setback::of_start(words, surroundings, &error))?,
        };
        match server.ask(&line, &memory) {
            Ok(answer) => {
                self.server = Some(server);
                match answer.was_cancelled {
                    true => Err(setback::failed(
                        "its process answered that the request was cancelled".into(),
                    )),
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
    fn start(words: &Words<'_>, surroundings: &Surroundings<'_>) -> io::Result<Self> {
        let (theirs, requests) = pipe()?;
        // The least, a page: there is room for more when that is empty, and not before.
        let size = fcntl(&requests, FcntlArg::F_SETPIPE_SZ(1));
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
            is_asked: false,
            has_answered: false,
            shows_what_is_taken: size.is_ok(),
            was_advised: false,
        })
    }

    /// This process, unless it has ended since its last answer.
    fn if_fit(mut self) -> Option<Self> {
        // Looked at first: what it said before its end is there then.
        let has_ended = await_any(&mut [ended(&self.pidfd)], Duration::ZERO) > 0;
        let is_open = self.take_what_is_there();
        self.pass_over();
        if is_open && !has_ended {
            return Some(self);
        }
        let exit = self.ended();
        // No item is charged with it.
        stderr::say(format_args!(
            "a process that serves items {exit} while it had nothing to do; it is replaced"
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

    fn ask(&mut self, request: &str, memory: &MemoryWatch) -> Result<Answer, Setback> {
        let sent = self.send(request.as_bytes());
        let mut is_over = !sent.map_err(setback::failed)?;
        loop {
            if let Some(answer) = self.hear().map_err(setback::failed)? {
                (self.is_asked, self.has_answered) = (false, true);
                return Ok(answer);
            }
            if is_over {
                let has_answered = self.has_answered;
                let exit = self.ended();
                let own = Cause::Unanswered { exit, has_answered };
                // Where none has ever answered, none may ever do: whatever ended it, it is charged.
                return Err(match has_answered {
                    true => setback::of_end(exit, own, memory),
                    false => Setback::Failed(own),
                });
            }
            is_over = !self.listen().map_err(setback::failed)?;
        }
    }

    /// What it has said, up to its answer.
    fn hear(&mut self) -> Result<Option<Answer>, String> {
        while let Some(line) = self.said.take_line() {
            match form::read(&line)? {
                Line::Answer(answer) => return Ok(Some(answer)),
                Line::Words(why) if self.has_answered => return Err(why),
                Line::Words(_) => self.pass_on(&line),
            }
        }
        Ok(None)
    }

    /// What it has said while there was nothing to answer. No item is charged with it.
    fn pass_over(&mut self) {
        while let Some(line) = self.said.take_line() {
            match form::read(&line) {
                Ok(Line::Answer(_)) => self.advise(
                    "a process that serves items answered while nothing was asked: one answer a request",
                ),
                Ok(Line::Words(_)) | Err(_) => self.pass_on(&line),
            }
        }
    }

    fn pass_on(&mut self, line: &[u8]) {
        self.advise(form::advice(line));
        stderr::write(line);
    }

    /// Tells whoever wrote the program, once.
    fn advise(&mut self, advice: impl Display) {
        if !std::mem::replace(&mut self.was_advised, true) {
            stderr::say(advice);
        }
    }

    /// Sends a request. False if it will not be taken.
    fn send(&mut self, request: &[u8]) -> Result<bool, String> {
        let (first, rest) = request.split_at(1);
        if !self.write(first)? || self.shows_what_is_taken && !self.await_room()? {
            return Ok(false);
        }
        let is_open = self.take_what_is_there();
        self.pass_over();
        self.is_asked = true;
        Ok(is_open && self.write(rest)?)
    }

    /// False if it will not be taken.
    fn write(&mut self, mut bytes: &[u8]) -> Result<bool, String> {
        while !bytes.is_empty() {
            if !self.await_room()? {
                return Ok(false);
            }
            // With room for some of it, a pipe takes that without waiting.
            let part = &bytes[..bytes.len().min(PIPE_BUF)];
            match self.requests.write(part) {
                Ok(count) => bytes = &bytes[count..],
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits until there is room for more of a request. False if there will be none.
    fn await_room(&mut self) -> Result<bool, String> {
        loop {
            let room = PollFd::new(&self.requests, PollFlags::OUT);
            let mut fds = [room, said(&self.answers), ended(&self.pidfd)];
            await_one(&mut fds).map_err(|error| format!("its process is lost: {error}"))?;
            let [room, said, _] = fds.map(|fd| fd.revents());
            if room.contains(PollFlags::OUT) {
                return Ok(true);
            }
            if said.is_empty() {
                // It has closed its stdin, or ended.
                return Ok(false);
            }
            // Whoever waits for that to be read would wait for us, and we for them.
            if !self.listen()? {
                return Ok(false);
            }
            if !self.is_asked {
                self.pass_over();
            } else if self.hear()?.is_some() {
                return Err("its process answered before it was asked".into());
            }
        }
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
