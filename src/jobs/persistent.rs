//! A process that serves many items: one JSON request a line on its stdin, one answer on stdout.
//!
//! The form is that of Bazel's persistent workers with JSON
//! (<https://bazel.build/remote/creating>), see `form`. A process that breaks the rules is
//! replaced, and the failed attempt's cause says so. One that ended between two items is replaced
//! too, and no item is charged. Every wait also waits for the process's end, because processes that
//! it started may hold its pipes open. Its output before its end still counts.
//!
//! Answers have no numbers, so a second answer to one request could be taken for the answer to the
//! next. Therefore a request's first byte is sent ahead. What the process has written by the time
//! that it takes this byte from its pipe is no answer to this request, because a process that
//! serves one request after the other wrote it before.

mod form;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::time::Timespec;

use super::child::CommandProcess;
use super::command::{CommandWords, Surroundings};
use super::setback::{self, MemoryWatch};
use super::stderr;
use crate::handler::attempt::Setback;
use dishrack_core::ledger::{Cause, Exit};
pub(crate) use form::request_line;
use form::{NoResponse, OutputLine, ResponseLine};

/// The length in bytes above which an answer is a mistake.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The number of bytes read at once, which is what a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

/// The time that a process may take to end once it has closed its pipes.
const TIME_TO_END: Duration = Duration::from_secs(1);

/// The number of bytes that a ready pipe takes without waiting (pipe(7)).
const PIPE_BUF: usize = 4096;

/// The answer to an item.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) exit: Exit,
    pub(super) output: String,
}

#[derive(Debug)]
struct CommandServer {
    child: CommandProcess,
    /// Becomes readable when it ends.
    pidfd: OwnedFd,
    requests: PipeWriter,
    answers: PipeReader,
    /// Output of the process that was not examined yet.
    said: Said,
    /// True if it has begun to take a request and has not answered it.
    is_asked: bool,
    has_answered: bool,
    /// True if its pipe has room for requests only when all of the last one was taken.
    shows_what_is_taken: bool,
    /// True if it was advised once about wrong output.
    was_advised: bool,
}

/// Bytes that become lines.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    /// The place before which there is no end of a line.
    searched: usize,
}

impl Said {
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

/// The reason why a process cannot go on with a request. The item is charged with it.
#[derive(Debug, thiserror::Error)]
enum ServerFault {
    #[error(transparent)]
    NoResponse(#[from] NoResponse),
    #[error("its process answered with more than {ANSWER_BYTES} bytes")]
    TooLong,
    #[error("its process answered before it was asked")]
    Early,
    #[error("its process is lost: {0}")]
    Lost(io::Error),
    #[error("its process's stdout cannot be read: {0}")]
    Unreadable(io::Error),
}

/// The place of this worker's process. There is one at a time, started when it is needed.
#[derive(Debug, Default)]
pub(super) struct ServerSlot {
    server: Option<CommandServer>,
}

impl ServerSlot {
    /// Lets the process serve an item.
    ///
    /// # Errors
    /// No valid answer came, and the process is gone; or it answered that it has not done the work.
    pub(super) fn serve(
        &mut self,
        words: &CommandWords<'_>,
        surroundings: &Surroundings<'_>,
        arguments: &[OsString],
    ) -> Result<Served, Setback> {
        let line = request_line(arguments).map_err(setback::final_)?;
        let memory = MemoryWatch::begin();
        let server = self.server.take();
        let mut server = match server.and_then(|one| one.if_fit(surroundings)) {
            Some(server) => server,
            None => CommandServer::start(words, surroundings)
                .map_err(|error| setback::of_start(words, surroundings, &error))?,
        };
        match server.ask(&line, &memory) {
            Ok(answer) => {
                self.server = Some(server);
                match answer.was_cancelled {
                    true => Err(setback::failed(
                        "its process answered that the request was cancelled",
                    )),
                    false => Ok(Served {
                        exit: Exit::Exited(answer.exit_code),
                        output: answer.output,
                    }),
                }
            }
            Err(why) => {
                surroundings.end_leftovers_of(server.end());
                Err(why)
            }
        }
    }

    /// Ends the process: it sees the end of its stdin, and has this long to end.
    pub(super) fn close(&mut self, grace: Duration) {
        if let Some(mut server) = self.server.take() {
            drop(server.requests);
            // Its output is discarded, but it must be able to write it.
            drain_until_end(&server.pidfd, &mut server.answers, grace);
            server.child.kill();
            server.child.await_exit();
        }
    }
}

/// Reads the output of a process until it has ended, or the time is over.
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

/// Waits at most this long, and returns the number of ready files; 0 if that cannot be known.
fn await_any(fds: &mut [PollFd<'_>], time: Duration) -> usize {
    let time = Timespec::try_from(time).ok();
    retry_on_intr(|| poll(fds, time.as_ref())).unwrap_or(0)
}

impl CommandServer {
    fn start(words: &CommandWords<'_>, surroundings: &Surroundings<'_>) -> io::Result<Self> {
        let (theirs, requests) = pipe()?;
        // The smallest size, a page: there is room again only when the page is empty.
        let size = fcntl(&requests, FcntlArg::F_SETPIPE_SZ(1));
        let (answers, ours) = pipe()?;
        let stderr = stderr::handle();
        let streams = [theirs.as_fd(), ours.as_fd(), stderr.as_fd()];
        let mut child = words.start(surroundings, streams)?;
        let pidfd = child.pidfd().inspect_err(|_| {
            child.kill();
            child.await_exit();
        })?;
        Ok(CommandServer {
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

    /// Returns this process, unless it has ended since its last answer.
    fn if_fit(mut self, surroundings: &Surroundings<'_>) -> Option<Self> {
        // Checked first, so that all it wrote before its end is there afterwards.
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
        surroundings.end_leftovers_of(exit);
        None
    }

    /// Takes what is in the pipe now, without waiting. Returns `false` if nothing more can come.
    fn take_what_is_there(&mut self) -> bool {
        let readable = await_any(&mut [said(&self.answers)], Duration::ZERO) > 0;
        let bytes = ioctl_fionread(&self.answers).unwrap_or(0);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let start = self.said.bytes.len();
        let most = bytes.min(ANSWER_BYTES);
        self.said.bytes.resize(start + most, 0);
        // There is no other reader, so that much is there.
        let read = self.answers.read_exact(&mut self.said.bytes[start..]);
        if read.is_err() {
            self.said.bytes.truncate(start);
        }
        read.is_ok() && (most > 0 || !readable)
    }

    fn ask(&mut self, request: &str, memory: &MemoryWatch) -> Result<ResponseLine, Setback> {
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
                // If no process has ever answered, none may ever do so, and the item is charged for
                // any end.
                return Err(match has_answered {
                    true => setback::of_end(exit, own, memory),
                    false => Setback::Failed(own),
                });
            }
            is_over = !self.listen().map_err(setback::failed)?;
        }
    }

    /// Reads its lines up to its answer.
    fn hear(&mut self) -> Result<Option<ResponseLine>, ServerFault> {
        while let Some(line) = self.said.take_line() {
            match form::read(&line)? {
                OutputLine::Answer(answer) => return Ok(Some(answer)),
                OutputLine::Words(why) if self.has_answered => return Err(why.into()),
                OutputLine::Words(_) => self.pass_on(&line),
            }
        }
        Ok(None)
    }

    /// Reads lines that it wrote while there was nothing to answer. No item is charged with them.
    fn pass_over(&mut self) {
        while let Some(line) = self.said.take_line() {
            match form::read(&line) {
                Ok(OutputLine::Answer(_)) => self.advise(
                    "a process that serves items answered while nothing was asked: one answer a request",
                ),
                Ok(OutputLine::Words(_)) | Err(_) => self.pass_on(&line),
            }
        }
    }

    fn pass_on(&mut self, line: &[u8]) {
        self.advise(form::advice(line));
        stderr::write(line);
    }

    /// Advises the author of the program, once.
    fn advise(&mut self, advice: impl Display) {
        if !std::mem::replace(&mut self.was_advised, true) {
            stderr::say(advice);
        }
    }

    /// Sends a request. Returns `false` if the process will not take it.
    fn send(&mut self, request: &[u8]) -> Result<bool, ServerFault> {
        let (first, rest) = request.split_at(1);
        if !self.write(first)? || self.shows_what_is_taken && !self.await_room()? {
            return Ok(false);
        }
        let is_open = self.take_what_is_there();
        self.pass_over();
        self.is_asked = true;
        Ok(is_open && self.write(rest)?)
    }

    /// Writes bytes. Returns `false` if the process will not take them.
    fn write(&mut self, mut bytes: &[u8]) -> Result<bool, ServerFault> {
        while !bytes.is_empty() {
            if !self.await_room()? {
                return Ok(false);
            }
            // A pipe with room for some of it takes that much without waiting.
            let part = &bytes[..bytes.len().min(PIPE_BUF)];
            match self.requests.write(part) {
                Ok(count) => bytes = &bytes[count..],
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits until there is room for more of a request. Returns `false` if there will be none.
    fn await_room(&mut self) -> Result<bool, ServerFault> {
        loop {
            let room = PollFd::new(&self.requests, PollFlags::OUT);
            let mut fds = [room, said(&self.answers), ended(&self.pidfd)];
            await_one(&mut fds).map_err(ServerFault::Lost)?;
            let [room, said, _] = fds.map(|fd| fd.revents());
            if room.contains(PollFlags::OUT) {
                return Ok(true);
            }
            if said.is_empty() {
                // It has closed its stdin, or ended.
                return Ok(false);
            }
            // A process that waits for its output to be read would wait for us, and we for it.
            if !self.listen()? {
                return Ok(false);
            }
            if !self.is_asked {
                self.pass_over();
            } else if self.hear()?.is_some() {
                return Err(ServerFault::Early);
            }
        }
    }

    /// Waits until it writes more. Returns `false` if it has ended or closed its stdout.
    fn listen(&mut self) -> Result<bool, ServerFault> {
        if self.said.bytes.len() >= ANSWER_BYTES {
            return Err(ServerFault::TooLong);
        }
        let mut fds = [said(&self.answers), ended(&self.pidfd)];
        let awaited = await_one(&mut fds);
        awaited.map_err(ServerFault::Lost)?;
        if !fds[1].revents().is_empty() {
            // All of its output is there. The output of others that have its stdout is discarded.
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
            Err(error) => Err(ServerFault::Unreadable(error)),
            Ok(count) => Ok(count > 0),
        }
    }

    /// Waits a moment for a process that has closed its pipes, and returns its exit.
    fn ended(&mut self) -> Exit {
        await_any(&mut [ended(&self.pidfd)], TIME_TO_END);
        self.end()
    }

    /// Ends the process, if it has not ended by itself, and returns its exit.
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
    Ok(retry_on_intr(|| poll(fds, None)).map(drop)?)
}
