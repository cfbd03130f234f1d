//! The output of items: what a run that keeps it can be asked for, and the form in which it is told.
//! It does not know where output is kept, nor how a client follows it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::observe::micros;
use crate::{ItemInfo, ItemState};
use dishrack_core::ledger::{Exit, ItemId};

/// A run's output of items, as far as it keeps it.
pub(crate) trait ItemOutputs: Send + Sync + fmt::Debug {
    /// Returns the end of the last attempt of an item that has ended.
    fn ended(&self, id: ItemId) -> FoundEnd;

    /// Opens what an attempt that is under way writes to stdout and stderr, as far as that is there
    /// and it is known that it will count.
    fn open_running(&self, attempt: RunOfItem) -> [Option<File>; 2];

    /// Opens the files of an attempt that has ended ([`OutputPlace::Files`]).
    fn open_ended(&self, attempt: RunOfItem) -> [Option<File>; 2];

    /// Returns the folder in which that is: what is written there, or made, wakes those who follow.
    fn folder(&self) -> &Path;

    /// Returns `true` if a file of this name may be of this item.
    fn may_be_of(&self, file: &[u8], id: ItemId) -> bool;

    /// Rings this bell at each end of an attempt of the item, until it is dropped.
    fn on_end(&self, id: ItemId, bell: &Arc<EndBell>);

    /// Returns how much is kept, in words.
    fn bounds(&self) -> String;
}

/// The bell of somebody who waits for ends of an item's attempts.
#[derive(Debug, Default)]
pub(crate) struct EndBell {
    rung: Notify,
    /// The last of them.
    last: Mutex<Option<AttemptEnding>>,
}

impl EndBell {
    pub(crate) fn ring(&self, ending: AttemptEnding) {
        *self.last.lock() = Some(ending);
        self.rung.notify_one();
    }

    /// Waits until it rings, or has rung since the last wait.
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Returns `true` if it has rung.
    #[cfg(test)]
    pub(crate) fn has_rung(&self) -> bool {
        self.last.lock().is_some()
    }

    pub(super) fn last(&self) -> Option<AttemptEnding> {
        self.last.lock().clone()
    }
}

/// One attempt at an item, by a worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunOfItem {
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    /// The worker's process.
    pub(crate) pid: u32,
}

/// The end of an item's last attempt, which is looked for.
#[derive(Debug)]
pub(crate) enum FoundEnd {
    Kept(AttemptEnding),
    /// It is not kept any more.
    Gone,
    /// None has come, or it is not known yet.
    Unseen,
}

/// The end of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct AttemptEnding {
    /// The item's name.
    pub(crate) item: Arc<str>,
    pub(crate) attempt: u32,
    /// Empty if it was given up before any attempt.
    pub(crate) worker: Arc<str>,
    /// The worker's process; 0 if there was none.
    pub(crate) pid: u32,
    /// The time since 1970.
    pub(crate) started: Duration,
    pub(crate) ended: Duration,
    pub(crate) exit: Option<Exit>,
    /// The cause of its failure, if it failed.
    pub(crate) cause: Option<String>,
    /// True if the item has ended with it.
    pub(crate) is_last: bool,
    pub(crate) output: OutputPlace,
    /// The bytes of it.
    pub(crate) bytes: u64,
}

/// The place of what an attempt has written.
#[derive(Debug, Clone)]
pub(crate) enum OutputPlace {
    /// In memory: stdout and stderr.
    Memory(Arc<[Vec<u8>; 2]>),
    /// In files of its own.
    Files,
}

impl AttemptEnding {
    /// Returns the end of a dead letter, as its history has it, without output; `None` if that is empty.
    pub(super) fn of_dead(item: &ItemInfo) -> Option<Self> {
        let failure = item.history.last()?;
        let scene = &failure.scene;
        Some(AttemptEnding {
            item: item.name.as_deref().unwrap_or_default().into(),
            attempt: failure.attempt,
            worker: scene.worker.as_str().into(),
            pid: scene.pid,
            started: scene.started,
            ended: scene.ended,
            exit: failure.cause.exit(),
            cause: Some(failure.cause.to_string()),
            is_last: true,
            output: OutputPlace::Memory(Arc::default()),
            bytes: 0,
        })
    }

    /// Returns `true` if it is the end that the item has now, rather than one before a retry: an end
    /// is kept a moment after the item has it.
    pub(super) fn is_end_of(&self, item: &ItemInfo) -> bool {
        let last = item.history.last().map(|failure| failure.attempt);
        let is_same = match item.state {
            ItemState::Done => self.cause.is_none(),
            // One that was dropped has no history.
            ItemState::Dead => self.cause.is_some() && last.is_none_or(|last| last == self.attempt),
            ItemState::Waiting | ItemState::Running | ItemState::Resting => false,
        };
        self.is_last && is_same
    }

    /// Returns it as JSON has it.
    pub(super) fn object(&self) -> Value {
        let has_begun = self.pid != 0;
        json!({
            "attempt": self.attempt,
            "worker": has_begun.then_some(&*self.worker),
            "pid": has_begun.then_some(self.pid),
            "started_us": has_begun.then(|| micros(self.started)),
            "ended_us": micros(self.ended),
            "exit": self.exit.and_then(exit_of),
            "cause": self.cause,
        })
    }
}

/// Returns the end of a process: its exit code, or the signal that killed it.
pub(super) fn exit_of(exit: Exit) -> Option<Value> {
    match exit {
        Exit::Exited(code) => Some(json!({"code": code, "signal": null})),
        Exit::Signaled(signal) => Some(json!({"code": null, "signal": signal})),
        Exit::Unknown => None,
    }
}

/// The output of a command to stdout and stderr, to be read.
#[derive(Debug)]
pub(super) enum OutputContent<'a> {
    Bytes(&'a [Vec<u8>; 2]),
    Files(&'a [Option<File>; 2]),
}

impl OutputContent<'_> {
    /// Reads from this place on. It returns 0 at the end.
    pub(super) fn read_at(&self, stream: usize, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            OutputContent::Bytes(bytes) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let rest = bytes[stream].get(from..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
            OutputContent::Files(files) => match &files[stream] {
                Some(file) => file.read_at(buffer, at),
                None => Ok(0),
            },
        }
    }
}

/// The names of the two streams.
pub(super) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Makes a piece of output of these bytes: a text, or bytes in base64 where they are none. Returns
/// how many of them are in it: a letter that is not complete waits for its rest, if there may be one.
pub(super) fn piece(stream: usize, bytes: &[u8], may_have_rest: bool) -> Option<(usize, Value)> {
    let stream = STREAMS[stream];
    let text = |text: &str| Some((text.len(), json!({"stream": stream, "text": text})));
    match std::str::from_utf8(bytes) {
        Ok("") => None,
        Ok(whole) => text(whole),
        Err(error) if error.error_len().is_none() && may_have_rest => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(whole)
                .ok()
                .filter(|whole| !whole.is_empty())
                .and_then(text)
        }
        Err(_) => {
            let base64 = BASE64_STANDARD.encode(bytes);
            Some((bytes.len(), json!({"stream": stream, "base64": base64})))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_as_text_and_other_bytes_in_base64() {
        let told = |bytes: &[u8], may_have_rest| piece(0, bytes, may_have_rest);
        let text = |text: &str| json!({"stream": "stdout", "text": text});
        let base64 = |text: &str| json!({"stream": "stdout", "base64": text});
        assert_eq!(told(b"", false), None);
        assert_eq!(told(b"a\n", true), Some((2, text("a\n"))));
        // Half a letter waits for the other half, and is no text if that never comes.
        assert_eq!(told(b"a\xc3", true), Some((1, text("a"))));
        assert_eq!(told(b"\xc3", true), None);
        assert_eq!(told(b"\xc3", false), Some((1, base64("ww=="))));
        assert_eq!(told(b"a\xffb", true), Some((3, base64("Yf9i"))));
    }

    #[test]
    fn content_is_read_from_any_place() {
        let bytes = [b"abc".to_vec(), Vec::new()];
        let content = OutputContent::Bytes(&bytes);
        let mut buffer = [0; 2];
        let mut read = |stream, at| {
            let count = content.read_at(stream, &mut buffer, at).unwrap();
            buffer[..count].to_vec()
        };
        assert_eq!((read(0, 0), read(0, 2)), (b"ab".to_vec(), b"c".to_vec()));
        assert!(read(0, 3).is_empty() && read(0, u64::MAX).is_empty() && read(1, 0).is_empty());
    }
}
