//! The names of the dishes: made up, or one a line from a file or a pipe.
//!
//! A file is checked as a whole before anything is started; a pipe is checked as it comes.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, bounded};

use super::config::Source;

/// A dish's name, or why there is none.
pub(super) type Name = Result<String, String>;

/// Names that are read ahead of the washer.
const AHEAD: usize = 64;

/// Where the washer takes the names from.
pub(super) enum Feed {
    /// They are there.
    Here(Names),
    /// They come from somebody who may be silent for long.
    Awaited(Receiver<Name>),
}

pub(super) fn feed(source: &Source) -> io::Result<Feed> {
    let is_there = match source {
        Source::MadeUp(_) => true,
        Source::File(path) => path.is_file(),
        Source::Stdin => false,
    };
    match is_there {
        true => Ok(Feed::Here(names(source))),
        false => read_ahead(names(source)).map(Feed::Awaited),
    }
}

/// Reads the names in a thread of its own, so that a pipe on which nothing comes does not keep the
/// run from being stopped. Few are read ahead.
fn read_ahead(names: Names) -> io::Result<Receiver<Name>> {
    let (sender, receiver) = bounded(AHEAD);
    let read = move || {
        names
            .take_while(|name| sender.send(name.clone()).is_ok())
            .for_each(drop)
    };
    std::thread::Builder::new()
        .name("input".into())
        .spawn(read)?;
    Ok(receiver)
}

/// Whatever the names come from.
type Names = Box<dyn Iterator<Item = Name> + Send>;

/// The names, read no faster than they are asked for.
fn names(source: &Source) -> Names {
    match source {
        Source::MadeUp(count) => Box::new((1..=*count).map(|n| Ok(format!("dish-{n}")))),
        Source::File(path) => Box::new(lines_of(path.clone())),
        Source::Stdin => Box::new(lines(BufReader::new(io::stdin()), "stdin".into())),
    }
}

/// A file's lines. It is opened when the first one is asked for: to open a named pipe is to wait
/// for somebody who writes to it.
fn lines_of(path: PathBuf) -> impl Iterator<Item = Name> + Send {
    let name = path.display().to_string();
    let mut opened = None;
    std::iter::from_fn(move || {
        if opened.is_none() {
            match open(&path) {
                Ok(file) => opened = Some(lines(file, name.clone())),
                Err(why) => return Some(Err(why)),
            }
        }
        opened.as_mut()?.next()
    })
}

/// Whether the file can be read to its end and every line is text, and how many there are. What can
/// be read only once, such as a named pipe, is not read for that.
pub(super) fn check(path: &Path) -> Result<Option<u64>, String> {
    let meta = path.metadata();
    let meta = meta.map_err(|error| complaint(&path.display().to_string(), &error))?;
    if meta.is_dir() {
        return Err(format!("--input {}: it is a folder", path.display()));
    }
    if !meta.is_file() {
        return Ok(None);
    }
    let mut lines = lines(open(path)?, path.display().to_string());
    lines
        .try_fold(0, |count, line| line.map(|_| count + 1))
        .map(Some)
}

fn open(path: &Path) -> Result<BufReader<File>, String> {
    match File::open(path) {
        Ok(file) => Ok(BufReader::new(file)),
        Err(error) => Err(complaint(&path.display().to_string(), &error)),
    }
}

fn complaint(name: &str, error: &io::Error) -> String {
    format!("--input {name}: cannot be read: {error}")
}

fn lines(
    mut from: impl BufRead + Send + 'static,
    name: String,
) -> impl Iterator<Item = Name> + Send {
    let mut number = 0_u64;
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        number += 1;
        match from.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Err(error) => Some(Err(complaint(&name, &error))),
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                let text = String::from_utf8(line);
                Some(text.map_err(|_| format!("--input {name}: line {number} is not UTF-8")))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8]) -> Vec<Result<String, String>> {
        lines(bytes, "x".into()).collect()
    }

    #[test]
    fn a_line_is_a_name_with_or_without_a_final_newline() {
        assert_eq!(
            read(b"a\n\n b \nc"),
            ["a", "", " b ", "c"].map(|s| Ok(s.to_owned()))
        );
        assert_eq!(read(b""), []);
    }

    #[test]
    fn a_line_that_is_not_text_is_named() {
        let lines = read(b"a\n\xff\nc\n");
        assert_eq!(lines[1], Err("--input x: line 2 is not UTF-8".into()));
    }
}
