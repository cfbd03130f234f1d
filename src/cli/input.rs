//! The items to be put: made up, given as arguments, or one a line from a file or a pipe. How
//! several lines become one item is for `gathering`.
//!
//! A file is checked as a whole before anything is started; a pipe is checked as it comes. Lines
//! are bytes here; the code that makes items of them checks the rest.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, bounded, select};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;

use super::combinations::Lists;
use super::screen::say;
use super::stop::Stop;
use crate::sys::blocking::Blocking;
use crate::sys::threads::spawn;

/// The source of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ItemSource {
    MadeUp(Series),
    File(PathBuf),
    Stdin,
    /// Given after `:::`.
    Given(Vec<Vec<u8>>),
    /// Several lists, each item with each of the others.
    Combined(Lists),
    /// None: others put the items.
    Others,
}

/// Items that are made here: NAME-1 to NAME-COUNT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    /// The option that asks for them.
    pub(super) option: &'static str,
    pub(super) name: &'static str,
    pub(super) count: u64,
}

impl ItemSource {
    /// Returns the source that an option names.
    pub(super) fn named(path: &Path) -> Self {
        match path.as_os_str() == "-" {
            true => ItemSource::Stdin,
            false => ItemSource::File(path.to_owned()),
        }
    }

    /// Returns the number of items, if it is known before any is read.
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            ItemSource::MadeUp(series) => Some(series.count),
            ItemSource::Given(items) => Some(items.len() as u64),
            ItemSource::Combined(lists) => Some(lists.count()),
            ItemSource::File(_) | ItemSource::Stdin | ItemSource::Others => None,
        }
    }

    /// Returns the source's name for error messages.
    pub(super) fn name(&self) -> String {
        match self {
            ItemSource::MadeUp(series) => series.option.into(),
            ItemSource::File(path) => format!("--input {}", path.display()),
            ItemSource::Stdin => "stdin".into(),
            ItemSource::Given(_) | ItemSource::Combined(_) => ":::".into(),
            ItemSource::Others => "the stream".into(),
        }
    }

    /// Returns a line's place for error messages.
    pub(super) fn place(&self, number: u64) -> String {
        match self {
            ItemSource::Given(_) | ItemSource::Combined(_) => {
                format!("item {number} (after :::)")
            }
            _ => format!("{}: line {number}", self.name()),
        }
    }
}

/// A line without its separator, and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputLine {
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
}

/// A line, or the reason why there is none.
pub(super) type LineRead = Result<InputLine, String>;

/// The number of lines in a batch.
const BATCH_LINES: usize = 256;

/// The number of bytes in a batch, without its last line.
const BATCH_BYTES: usize = 64 * 1024;

/// The feed from which the producer takes lines.
pub(super) enum LineSource {
    /// Lines that can be read at once.
    Here(LineIter),
    /// Lines from a source that may be silent for long.
    Awaited {
        batches: Receiver<Vec<LineRead>>,
        batch: std::vec::IntoIter<LineRead>,
    },
}

impl LineSource {
    pub(super) fn open(source: &ItemSource, separator: u8) -> io::Result<Self> {
        let is_there = match source {
            ItemSource::MadeUp(_)
            | ItemSource::Given(_)
            | ItemSource::Combined(_)
            | ItemSource::Others => true,
            ItemSource::File(path) => path.is_file(),
            ItemSource::Stdin => false,
        };
        if is_there {
            return Ok(LineSource::Here(all(source, separator)));
        }
        Ok(LineSource::Awaited {
            batches: read_ahead(source.clone(), separator)?,
            batch: Vec::new().into_iter(),
        })
    }

    /// Returns true if the next line, or the end, is there and need not be waited for.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            LineSource::Here(_) => true,
            LineSource::Awaited { batches, batch } => batch.len() > 0 || !batches.is_empty(),
        }
    }

    /// Returns the next line, or `None` when the run is stopped, even during the wait for a line.
    pub(super) fn next(&mut self, stop: &Stop) -> Option<LineRead> {
        match self {
            LineSource::Here(lines) => lines.next(),
            LineSource::Awaited { batches, batch } => loop {
                if let Some(line) = batch.next() {
                    return Some(line);
                }
                *batch = select! {
                    recv(batches) -> batch => batch.ok()?.into_iter(),
                    recv(stop.stopped()) -> _ => return None,
                };
            },
        }
    }
}

/// Reads in a thread of its own, so that a run with a silent pipe can be stopped. It reads little
/// ahead, and passes on all it has before it waits for more.
fn read_ahead(source: ItemSource, separator: u8) -> io::Result<Receiver<Vec<LineRead>>> {
    let (sender, receiver) = bounded(1);
    let read = move || {
        let file: Box<dyn io::Read + Send> = match &source {
            // Opening a named pipe waits for a writer.
            ItemSource::File(path) => match open(path) {
                Ok(file) => Box::new(file),
                Err(why) => return drop(sender.send(vec![Err(why)])),
            },
            _ => Box::new(Blocking(io::stdin())),
        };
        let mut reader = BufReader::with_capacity(BATCH_BYTES, file);
        let mut lines = Numbered::new(separator, source.name());
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(line) = lines.next_of(&mut reader) {
            bytes += line.as_ref().map_or(0, |line| line.bytes.len());
            batch.push(line);
            let has_more = reader.buffer().contains(&separator);
            if !has_more || batch.len() >= BATCH_LINES || bytes >= BATCH_BYTES {
                bytes = 0;
                if sender.send(std::mem::take(&mut batch)).is_err() {
                    return;
                }
            }
        }
    };
    spawn("input", read)?;
    Ok(receiver)
}

/// Lines of any source.
pub(super) type LineIter = Box<dyn Iterator<Item = LineRead> + Send>;

/// Returns the lines, read no faster than they are asked for.
pub(super) fn all(source: &ItemSource, separator: u8) -> LineIter {
    match source {
        ItemSource::MadeUp(Series { name, count, .. }) => {
            let name = *name;
            Box::new((1..=*count).map(move |number| {
                let bytes = format!("{name}-{number}").into_bytes();
                Ok(InputLine { number, bytes })
            }))
        }
        ItemSource::Others => Box::new(std::iter::empty()),
        ItemSource::Given(items) => {
            let numbered = (1..).zip(items.clone());
            Box::new(numbered.map(|(number, bytes)| Ok(InputLine { number, bytes })))
        }
        ItemSource::Combined(lists) => {
            let numbered = (1..).zip(lists.clone().texts());
            Box::new(numbered.map(|(number, bytes)| Ok(InputLine { number, bytes })))
        }
        ItemSource::File(path) => match open(path) {
            Ok(file) => Box::new(lines(file, separator, source.name())),
            Err(why) => Box::new(std::iter::once(Err(why))),
        },
        ItemSource::Stdin => {
            let stdin = BufReader::new(Blocking(io::stdin()));
            Box::new(lines(stdin, separator, source.name()))
        }
    }
}

/// Checks that the file can be read to its end and that every line is valid, and returns their
/// number. A source that can be read only once, such as a named pipe, is not read for that.
///
/// # Errors
/// The first fault.
pub(super) fn check(
    source: &ItemSource,
    separator: u8,
    mut is_fine: impl FnMut(&InputLine) -> Result<(), String>,
) -> Result<Option<u64>, String> {
    if let ItemSource::MadeUp(series) = source {
        return Ok(Some(series.count));
    }
    if !is_there(source)? {
        return Ok(None);
    }
    let mut lines = all(source, separator);
    let count = lines.try_fold(0, |count, line| is_fine(&line?).map(|()| count + 1));
    count.map(Some)
}

/// Returns `true` if the lines can be read more than once.
///
/// # Errors
/// They cannot be read.
pub(super) fn is_there(source: &ItemSource) -> Result<bool, String> {
    match source {
        ItemSource::MadeUp(_)
        | ItemSource::Given(_)
        | ItemSource::Combined(_)
        | ItemSource::Others => Ok(true),
        ItemSource::Stdin => Ok(false),
        ItemSource::File(path) => {
            let meta = path.metadata();
            let meta = meta.map_err(|error| complaint(&source.name(), &error))?;
            match meta.is_dir() {
                true => Err(format!("{}: it is a folder", source.name())),
                false if meta.is_file() => open(path).map(|_| true),
                false => Ok(false),
            }
        }
    }
}

/// Returns the number of lines by reading each, if they can be read more than once.
pub(super) fn count(source: &ItemSource, separator: u8) -> Option<u64> {
    check(source, separator, |_| Ok(())).ok().flatten()
}

fn open(path: &Path) -> Result<BufReader<File>, String> {
    match File::open(path) {
        Ok(file) => Ok(BufReader::with_capacity(BATCH_BYTES, file)),
        Err(error) => Err(complaint(&ItemSource::File(path.to_owned()).name(), &error)),
    }
}

fn complaint(name: &str, error: &io::Error) -> String {
    format!("{name}: cannot be read: {error}")
}

/// Reads line after line, and numbers them.
struct Numbered {
    number: u64,
    separator: u8,
    name: String,
}

impl Numbered {
    fn new(separator: u8, name: String) -> Self {
        Numbered {
            number: 0,
            separator,
            name,
        }
    }

    fn next_of(&mut self, from: &mut impl BufRead) -> Option<LineRead> {
        let mut bytes = Vec::new();
        self.number += 1;
        match from.read_until(self.separator, &mut bytes) {
            Ok(0) => None,
            Err(error) => Some(Err(complaint(&self.name, &error))),
            Ok(_) => {
                if bytes.last() == Some(&self.separator) {
                    bytes.pop();
                }
                let number = self.number;
                Some(Ok(InputLine { number, bytes }))
            }
        }
    }
}

fn lines(
    mut from: impl BufRead + Send + 'static,
    separator: u8,
    name: String,
) -> impl Iterator<Item = LineRead> + Send {
    let mut numbered = Numbered::new(separator, name);
    std::iter::from_fn(move || numbered.next_of(&mut from))
}

/// Makes this complaint, at any time, when something comes on stdin, which is not read.
pub(super) fn tell_if_unread(complaint: &'static str) {
    let stdin = io::stdin();
    let kind = rustix::fs::fstat(&stdin).map(|stat| FileType::from_raw_mode(stat.st_mode));
    let is_from_others = match kind {
        Ok(FileType::Fifo) => true,
        // An empty file, like /dev/null, cannot be meant as input.
        Ok(FileType::RegularFile) => rustix::fs::fstat(&stdin).is_ok_and(|stat| stat.st_size > 0),
        _ => false,
    };
    if !is_from_others {
        return;
    }
    let wait = |time: Option<&Timespec>| {
        let mut stdin = [PollFd::new(&stdin, PollFlags::IN)];
        let has_news = matches!(poll(&mut stdin, time), Ok(1..));
        has_news.then(|| stdin[0].revents().contains(PollFlags::IN))
    };
    match wait(Some(&Timespec::default())) {
        Some(true) => say(complaint),
        // The writer has closed it.
        Some(false) => {}
        None => {
            // Without the thread, it is not reported.
            let _ = spawn("stdin", || {
                let stdin = io::stdin();
                let mut news = [PollFd::new(&stdin, PollFlags::IN)];
                if poll(&mut news, None).is_ok() && news[0].revents().contains(PollFlags::IN) {
                    say(complaint);
                }
            });
        }
    }
}

/// Returns the line as text.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn text(line: InputLine, source: &ItemSource) -> Result<String, String> {
    let number = line.number;
    String::from_utf8(line.bytes).map_err(|_| format!("{} is not UTF-8", source.place(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8], separator: u8) -> Vec<Vec<u8>> {
        let lines = lines(bytes, separator, "x".into());
        lines.map(|line| line.unwrap().bytes).collect()
    }

    #[test]
    fn a_line_ends_with_or_without_a_final_separator() {
        let expected = [&b"a"[..], b"", b" b ", b"\xff"];
        assert_eq!(read(b"a\n\n b \n\xff", b'\n'), expected);
        assert_eq!(read(b"a\0\0 b \0\xff\0", 0), expected);
        assert_eq!(read(b"a\nb\0", 0), [b"a\nb"]);
        assert!(read(b"", b'\n').is_empty());
    }

    #[test]
    fn a_feed_is_ready_only_while_lines_are_there() {
        let line = |number| {
            Ok(InputLine {
                number,
                bytes: Vec::new(),
            })
        };
        let (sender, batches) = bounded(1);
        let batch = Vec::new().into_iter();
        let (mut feed, stop) = (LineSource::Awaited { batches, batch }, Stop::new());
        assert!(!feed.is_ready());
        sender.send(vec![line(1), line(2)]).unwrap();
        for _ in 0..2 {
            assert!(feed.is_ready());
            feed.next(&stop).unwrap().unwrap();
        }
        assert!(!feed.is_ready());
    }

    #[test]
    fn a_line_that_is_not_text_is_named() {
        let bytes = b"\xff".to_vec();
        let line = InputLine { number: 2, bytes };
        let why = text(line, &ItemSource::File("x".into())).unwrap_err();
        assert_eq!(why, "--input x: line 2 is not UTF-8");
    }
}
