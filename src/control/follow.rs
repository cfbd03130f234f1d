//! Tells the output of an item, piece by piece: what there is, or all of it until the item's end. It
//! sleeps until the kernel says that something was written, or an attempt has ended.

use std::fs::File;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::failure::RequestFailure;
use super::output::{
    AttemptEnding, EndBell, FoundEnd, ItemOutputs, OutputContent, OutputPlace, RunOfItem, STREAMS,
    exit_of, piece,
};
use super::target::ControlTarget;
use crate::{ItemInfo, ItemState};
use dishrack_core::ledger::ItemId;

/// The bytes of a stream that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The number of pieces that wait for a client.
const PIECES_MAX: usize = 4;

/// The shortest time between two looks, so that a command that writes byte by byte wakes nobody for
/// each of them.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest time between an item's end and the moment from which its output is kept.
const LAG: Duration = Duration::from_secs(2);

/// The place up to which output was told.
#[derive(Debug)]
struct FollowedPlace {
    attempt: u32,
    pid: u32,
    /// When it began, if it was seen running: an attempt that did not count has the number of the
    /// next one.
    since: Option<SystemTime>,
    sent: [u64; 2],
    files: [Option<File>; 2],
    /// True if its end was told.
    is_over: bool,
}

impl FollowedPlace {
    fn of(attempt: RunOfItem, since: Option<SystemTime>) -> Self {
        FollowedPlace {
            attempt: attempt.attempt,
            pid: attempt.pid,
            since,
            sent: [0; 2],
            files: [None, None],
            is_over: false,
        }
    }

    fn is_of(&self, ending: &AttemptEnding) -> bool {
        (self.attempt, self.pid) == (ending.attempt, ending.pid)
    }

    /// Adds the files that are there by now.
    fn open(&mut self, open: impl FnOnce() -> [Option<File>; 2]) {
        if self.files.iter().any(Option::is_none) {
            for (file, opened) in self.files.iter_mut().zip(open()) {
                if file.is_none() {
                    *file = opened;
                }
            }
        }
    }
}

/// Something that is told of an item's output, one line after the other.
#[derive(Debug)]
pub(super) struct Follower {
    target: Arc<dyn ControlTarget>,
    outputs: Arc<dyn ItemOutputs>,
    id: ItemId,
    is_following: bool,
    position: Option<FollowedPlace>,
    bell: Arc<EndBell>,
    buffer: Vec<u8>,
}

/// The step after the lines of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextLook {
    /// There is more at once.
    More,
    /// There is more when something happens.
    Wait,
    /// The item has ended, and its end is not known here yet.
    Lag,
    Over,
}

/// The lines of one look, each a JSON object.
pub(super) type Lines = Vec<Value>;

impl Follower {
    pub(super) fn new(
        target: &Arc<dyn ControlTarget>,
        id: ItemId,
        is_following: bool,
    ) -> Result<Self, RequestFailure> {
        let Some(outputs) = target.outputs() else {
            let message = "this run keeps no output: its items are not those of a COMMAND";
            return Err(RequestFailure::conflict("no_output", message));
        };
        let bell = Arc::new(EndBell::default());
        outputs.on_end(id, &bell);
        Ok(Follower {
            target: Arc::clone(target),
            outputs,
            id,
            is_following,
            position: None,
            bell,
            buffer: vec![0; PIECE_BYTES],
        })
    }

    /// Looks for what is new. It may block.
    ///
    /// # Errors
    /// There is no such item, or its output is gone.
    pub(super) fn look(&mut self) -> Result<(Lines, NextLook), RequestFailure> {
        let info = match self.target.item(self.id)? {
            Some(info) => info,
            // An item of a stream, which was here: it has ended, or is another supervisor's by now.
            None if self.position.is_some() => return Ok((Lines::new(), NextLook::Lag)),
            None => return Err(RequestFailure::unknown_item(self.id.0)),
        };
        let found = match (self.outputs.ended(self.id), self.bell.last()) {
            // It was still there when it ended, and its files may be open here.
            (FoundEnd::Gone, Some(ending)) => FoundEnd::Kept(ending),
            (found, _) => found,
        };
        match info.state {
            ItemState::Done | ItemState::Dead => self.look_at_end(&info, found),
            ItemState::Running | ItemState::Waiting | ItemState::Resting => match running(&info) {
                Some((run, since)) => match self.rest_of_earlier(run, &found)? {
                    Some(rest) => Ok(rest),
                    None => self.look_at_running(&info, run, since),
                },
                None => self.look_between(&info, found),
            },
        }
    }

    /// Tells what is left of an attempt that was followed, before the next one.
    fn rest_of_earlier(
        &mut self,
        run: RunOfItem,
        found: &FoundEnd,
    ) -> Result<Option<(Lines, NextLook)>, RequestFailure> {
        let Some(position) = &self.position else {
            return Ok(None);
        };
        if position.is_over || position.attempt >= run.attempt {
            return Ok(None);
        }
        match found {
            FoundEnd::Kept(ending) if position.is_of(ending) => {
                let (lines, _) = self.tell_ended(ending)?;
                Ok(Some((lines, NextLook::More)))
            }
            FoundEnd::Kept(ending) if ending.attempt > position.attempt => Ok(None),
            FoundEnd::Gone => Ok(None),
            FoundEnd::Kept(_) | FoundEnd::Unseen => Ok(Some((Lines::new(), NextLook::Wait))),
        }
    }

    fn look_at_end(
        &mut self,
        info: &ItemInfo,
        found: FoundEnd,
    ) -> Result<(Lines, NextLook), RequestFailure> {
        match found {
            FoundEnd::Kept(ending) if ending.is_end_of(info) => {
                let (mut lines, is_all) = self.tell_ended(&ending)?;
                if !is_all {
                    return Ok((lines, NextLook::More));
                }
                lines.push(self.last_line(info, Some(&ending)));
                Ok((lines, NextLook::Over))
            }
            FoundEnd::Gone => Err(self.gone()),
            FoundEnd::Kept(_) | FoundEnd::Unseen => Ok((Lines::new(), NextLook::Lag)),
        }
    }

    fn gone(&self) -> RequestFailure {
        let message = format!(
            "the output of item {} is not kept any more: this run keeps {}",
            self.id,
            self.outputs.bounds()
        );
        RequestFailure::new(StatusCode::GONE, "output_gone", message)
    }

    /// Looks at an item that no worker has begun: it may have failed before.
    fn look_between(
        &mut self,
        info: &ItemInfo,
        found: FoundEnd,
    ) -> Result<(Lines, NextLook), RequestFailure> {
        let mut lines = Lines::new();
        // An attempt that was followed has ended just now, and the end that is known may be older.
        let followed = self.position.as_ref().map_or(0, |at| at.attempt);
        if let FoundEnd::Kept(ending) = &found
            && ending.attempt >= followed
        {
            let (more, is_all) = self.tell_ended(ending)?;
            lines = more;
            if !is_all {
                return Ok((lines, NextLook::More));
            }
        }
        Ok(self.rest_of(info, lines))
    }

    fn look_at_running(
        &mut self,
        info: &ItemInfo,
        run: RunOfItem,
        since: SystemTime,
    ) -> Result<(Lines, NextLook), RequestFailure> {
        let mut lines = Lines::new();
        let is_same = |at: &FollowedPlace| {
            (at.attempt, at.pid, at.since) == (run.attempt, run.pid, Some(since))
        };
        let new = match &self.position {
            Some(at) if is_same(at) => None,
            _ => Some(FollowedPlace::of(run, Some(since))),
        };
        let is_new = new.is_some();
        let mut before = None;
        if let Some(new) = new {
            lines.push(first_line(run));
            before = self.position.replace(new);
        }
        let Some(position) = &mut self.position else {
            return Ok((Lines::new(), NextLook::Wait));
        };
        position.open(|| self.outputs.open_running(run));
        let content = OutputContent::Files(&position.files);
        let (pieces, sent, is_all) = read(&content, position.sent, true, &mut self.buffer)?;
        // Files are used again for the next item of a worker: what was read is of this one only if
        // that is still what the worker is at.
        let now = self.target.item(self.id)?;
        if now.as_ref().and_then(running) != Some((run, since)) {
            // Nothing of it was told.
            if is_new {
                self.position = before;
            }
            return Ok((Lines::new(), NextLook::More));
        }
        position.sent = sent;
        lines.extend(pieces);
        match is_all {
            true => Ok(self.rest_of(info, lines)),
            false => Ok((lines, NextLook::More)),
        }
    }

    /// Ends a look at an item that has not ended.
    fn rest_of(&self, info: &ItemInfo, mut lines: Lines) -> (Lines, NextLook) {
        if self.is_following {
            return (lines, NextLook::Wait);
        }
        lines.push(self.last_line(info, None));
        (lines, NextLook::Over)
    }

    fn last_line(&self, info: &ItemInfo, ending: Option<&AttemptEnding>) -> Value {
        json!({"end": {
            "state": info.state,
            "attempts": ending.map_or(info.attempts, |ending| ending.attempt),
            "exit": ending.and_then(|ending| exit_of(ending.exit?)),
            "cause": ending.and_then(|ending| ending.cause.as_deref()),
        }})
    }

    /// Tells what is left of an attempt that has ended. Returns also `true` if that is all.
    fn tell_ended(&mut self, ending: &AttemptEnding) -> Result<(Lines, bool), RequestFailure> {
        let mut lines = Lines::new();
        // It was given up before any attempt.
        if ending.attempt == 0 {
            return Ok((lines, true));
        }
        let run = RunOfItem {
            id: self.id,
            attempt: ending.attempt,
            pid: ending.pid,
        };
        let position = self.position.take().filter(|at| at.is_of(ending));
        let is_new = position.is_none();
        let position = self
            .position
            .insert(position.unwrap_or(FollowedPlace::of(run, None)));
        if is_new {
            lines.push(first_line(run));
        }
        let content = match &ending.output {
            OutputPlace::Memory(bytes) => OutputContent::Bytes(bytes),
            OutputPlace::Files => {
                position.open(|| self.outputs.open_ended(run));
                if ending.bytes > 0 && position.files.iter().all(Option::is_none) {
                    return Err(self.gone());
                }
                OutputContent::Files(&position.files)
            }
        };
        let (pieces, sent, is_all) = read(&content, position.sent, false, &mut self.buffer)?;
        position.sent = sent;
        position.is_over = is_all;
        lines.extend(pieces);
        Ok((lines, is_all))
    }
}

fn first_line(run: RunOfItem) -> Value {
    json!({"attempt": run.attempt, "pid": run.pid})
}

/// Reads a piece of each stream. Returns also the places after them, and `true` if nothing is left.
fn read(
    content: &OutputContent<'_>,
    mut sent: [u64; 2],
    is_growing: bool,
    buffer: &mut [u8],
) -> Result<(Lines, [u64; 2], bool), RequestFailure> {
    let (mut lines, mut is_all) = (Lines::new(), true);
    for (stream, sent) in sent.iter_mut().enumerate() {
        let count = content.read_at(stream, buffer, *sent).map_err(|error| {
            let message = format!("its {} cannot be read: {error}", STREAMS[stream]);
            RequestFailure::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", message)
        })?;
        let is_full = count == buffer.len();
        if let Some((told, line)) = piece(stream, &buffer[..count], is_growing || is_full) {
            *sent += told as u64;
            lines.push(line);
        }
        is_all &= !is_full;
    }
    Ok((lines, sent, is_all))
}

/// Returns the attempt that a worker is at, and since when. Of several copies it is not known whose
/// output counts.
fn running(info: &ItemInfo) -> Option<(RunOfItem, SystemTime)> {
    let [holder] = &info.holders[..] else {
        return None;
    };
    let attempt = RunOfItem {
        id: info.number,
        attempt: info.attempts,
        pid: holder.pid,
    };
    Some((attempt, holder.since?))
}

/// Makes the answer of which these lines are the beginning.
pub(super) fn begin(
    follower: Follower,
    (lines, next): (Lines, NextLook),
    ending: watch::Receiver<bool>,
) -> Result<LineBody, RequestFailure> {
    let watch = match follower.is_following && next != NextLook::Over {
        true => Some(FolderWatch::begin(&follower)?),
        false => None,
    };
    // Something may have been written before the watch began.
    let next = match next {
        NextLook::Wait | NextLook::Lag => NextLook::More,
        next => next,
    };
    let (sender, body) = channel(PIECES_MAX);
    tokio::spawn(tell(follower, (lines, next), watch, sender, ending));
    Ok(LineBody(body))
}

/// Tells line after line, until the item has ended, or the client or the run.
async fn tell(
    mut follower: Follower,
    (mut lines, mut next): (Lines, NextLook),
    watch: Option<FolderWatch>,
    sender: Sender<Bytes>,
    mut ending: watch::Receiver<bool>,
) {
    let mut is_last_look = false;
    loop {
        for line in lines {
            let sent = sender.send(Bytes::from(format!("{line}\n"))).await;
            if sent.is_err() {
                return;
            }
        }
        match next {
            NextLook::Over => return,
            NextLook::Wait | NextLook::Lag if is_last_look => return,
            NextLook::Wait | NextLook::Lag => {
                let changed = async {
                    match &watch {
                        Some(watch) => watch.changed(&follower).await,
                        None => pending().await,
                    }
                };
                let has_ended = async {
                    // What it returns is a lock, which is not held here.
                    drop(ending.wait_for(|ended| *ended).await);
                };
                tokio::select! {
                    () = follower.bell.rung() => {}
                    () = changed => sleep(PAUSE).await,
                    () = has_ended => is_last_look = true,
                    () = sleep(LAG), if follower.may_be_elsewhere(next) => is_last_look = true,
                    () = sender.closed() => return,
                }
            }
            NextLook::More => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let looked = follower.look();
            (follower, looked)
        });
        // A failure from here on cannot be told but by an answer without its last line.
        let Ok((same, Ok(looked))) = looked.await else {
            return;
        };
        follower = same;
        (lines, next) = looked;
    }
}

impl Follower {
    /// Returns `true` if what is missing may never come, because another supervisor has it.
    fn may_be_elsewhere(&self, next: NextLook) -> bool {
        next == NextLook::Lag && self.target.is_on_a_stream()
    }

    /// Waits until the end of the item is known here, as it must be at any moment.
    ///
    /// # Errors
    /// It is not, because it is not shown yet.
    pub(super) async fn after_lag(&self, since: Instant) -> Result<(), RequestFailure> {
        let waited = timeout_at(since + LAG, self.bell.rung()).await;
        waited.map_err(|_| {
            let message = match self.target.is_on_a_stream() {
                false => {
                    "the item has ended, and the run has not shown its output yet; follow it to wait \
                     for that"
                }
                true => {
                    "the item has ended, and its output is not here: another supervisor of the \
                     stream has worked on it, or this one has not shown it yet"
                }
            };
            RequestFailure::conflict("not_shown", message)
        })
    }
}

/// A watch on the folder in which output is.
#[derive(Debug)]
struct FolderWatch(AsyncFd<OwnedFd>);

impl FolderWatch {
    fn begin(follower: &Follower) -> Result<Self, RequestFailure> {
        let busy =
            |why: io::Error| RequestFailure::busy(&format!("its output cannot be watched: {why}"));
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let watch = watch.map_err(|errno| busy(errno.into()))?;
        // SAFETY: it owns the descriptor, which stays open and the same until it is dropped.
        let watch = unsafe { AsyncFd::register(watch) };
        let watch = watch.map_err(|error| busy(error.into()))?;
        let watch = FolderWatch(watch);
        watch.look_at(follower);
        Ok(watch)
    }

    /// Watches the folder, which may have been made again.
    fn look_at(&self, follower: &Follower) {
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        // Without it the end of the attempt brings all.
        let _ = inotify::add_watch(&self.0, follower.outputs.folder(), flags);
    }

    /// Waits until something of the item may have been written.
    async fn changed(&self, follower: &Follower) {
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                return pending().await;
            };
            let mut space = [std::mem::MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(&self.0, &mut space);
            let mut is_any = false;
            loop {
                match events.next() {
                    Ok(event) => {
                        let name = event.file_name().map(std::ffi::CStr::to_bytes);
                        let outputs = &follower.outputs;
                        // Without a name, events were lost, or the folder is another one.
                        is_any |= name.is_none_or(|name| outputs.may_be_of(name, follower.id));
                    }
                    Err(Errno::AGAIN) => break,
                    Err(_) => return pending().await,
                }
            }
            ready.clear_ready();
            if is_any {
                return self.look_at(follower);
            }
        }
    }
}

/// The body of an answer that comes line by line.
#[derive(Debug)]
pub(super) struct LineBody(Receiver<Bytes>);

impl Body for LineBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = std::task::ready!(self.0.poll_recv(context));
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }
}
