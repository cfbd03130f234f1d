//! Copies output piece by piece: as it is, with a mark before each line, or as JSON events.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::ItemId;
use crate::cli::args::Format;
use crate::cli::screen;
use crate::cli::view::Out;
use crate::jobs::spool::OutputStream;
use crate::observe::micros;

/// The largest output that is read into memory as a whole.
const SMALL_BYTES: u64 = 64 * 1024;

/// The mark before each line.
#[derive(Debug, Clone)]
pub(super) enum LineMark {
    None,
    /// Names the line's item.
    Tag(Vec<u8>),
    /// Names the item of an attempt that did not count. The line goes to stderr.
    Failed(Vec<u8>),
}

/// The attempt that an output belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptLabel<'a> {
    pub(super) id: ItemId,
    pub(super) item: &'a str,
    pub(super) attempt: u32,
    pub(super) at: Duration,
}

/// A piece of a file.
#[derive(Debug)]
pub(super) struct FilePiece {
    file: File,
    from: u64,
    length: u64,
}

impl FilePiece {
    /// Makes a piece from here to the end of a file of this length.
    pub(super) fn rest((file, end): (File, u64), from: u64) -> Self {
        let length = end.saturating_sub(from);
        FilePiece { file, from, length }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn of(file: File, from: u64, length: u64) -> Self {
        FilePiece { file, from, length }
    }

    fn read(mut self) -> io::Result<io::Take<File>> {
        if self.from > 0 {
            self.file.seek(SeekFrom::Start(self.from))?;
        }
        Ok(self.file.take(self.length))
    }
}

/// The destinations.
pub(super) struct OutputWriter {
    out: Out,
    format: Format,
}

impl OutputWriter {
    pub(super) fn new(out: Out, format: Format) -> Self {
        OutputWriter { out, format }
    }

    /// Copies the piece. Returns `false` if stderr had no room. Reports a file that cannot be read.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub(super) fn print(
        &mut self,
        label: &AttemptLabel<'_>,
        stream: OutputStream,
        mark: &LineMark,
        piece: FilePiece,
    ) -> io::Result<bool> {
        let length = piece.length;
        let mut from = match piece.read() {
            Ok(from) => from,
            Err(error) => {
                complain(label.item, stream, &error);
                return Ok(true);
            }
        };
        let is_plain = self.format != Format::Json && stream == OutputStream::Stdout;
        let is_whole = is_plain && matches!(mark, LineMark::None);
        if length > SMALL_BYTES && is_whole && !screen::is_stdout_terminal() {
            return self.out.send_file(&mut from).map(|()| true);
        }
        self.print_from(label, stream, mark, (from, length))
    }

    /// Copies so many bytes, as [`print`](Self::print) does.
    pub(super) fn print_from(
        &mut self,
        label: &AttemptLabel<'_>,
        stream: OutputStream,
        mark: &LineMark,
        (from, length): (impl Read, u64),
    ) -> io::Result<bool> {
        if self.format == Format::Json {
            return self.print_events(label, stream, from).map(|()| true);
        }
        let is_for_stderr = stream == OutputStream::Stderr || matches!(mark, LineMark::Failed(_));
        if is_for_stderr {
            // Both may go to the same place, so this keeps them in order.
            self.out.flush()?;
            let copied = copy(from, length, mark, &mut screen::StandardStream::Err);
            // If the reader of stderr is gone, the failure cannot be reported.
            return Ok(match copied {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::BrokenPipe,
            });
        }
        copy(from, length, mark, &mut self.out).map(|()| true)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn print_events(
        &mut self,
        label: &AttemptLabel<'_>,
        stream: OutputStream,
        mut from: impl Read,
    ) -> io::Result<()> {
        let mut rest = Vec::new();
        loop {
            let wanted = SMALL_BYTES - rest.len() as u64;
            let count = match from.by_ref().take(wanted).read_to_end(&mut rest) {
                Ok(count) => count,
                Err(error) => {
                    complain(label.item, stream, &error);
                    return Ok(());
                }
            };
            if rest.is_empty() {
                return Ok(());
            }
            // A character that is cut in two waits for its other half.
            let whole = match str::from_utf8(&rest) {
                Err(error) if error.error_len().is_none() && count > 0 => error.valid_up_to(),
                _ => rest.len(),
            };
            let next = rest.split_off(whole);
            self.print_event(label, stream, &rest)?;
            rest = next;
        }
    }

    fn print_event(
        &mut self,
        label: &AttemptLabel<'_>,
        stream: OutputStream,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut event = event(label, stream, bytes).to_string();
        event.push('\n');
        self.out.write_all(event.as_bytes())
    }
}

/// Makes the event. Bytes that are no UTF-8 go as base64.
fn event(label: &AttemptLabel<'_>, stream: OutputStream, bytes: &[u8]) -> Value {
    let mut event = json!({
        "event": "output", "item": label.item, "number": label.id.0, "attempt": label.attempt,
        "stream": stream.name(),
    });
    match str::from_utf8(bytes) {
        Ok(text) => event["text"] = text.into(),
        Err(_) => event["base64"] = STANDARD.encode(bytes).into(),
    }
    event["t_us"] = micros(label.at).into();
    event
}

pub(super) fn complain(item: &str, stream: OutputStream, error: &io::Error) {
    let stream = stream.name();
    screen::complain(&format_args!(
        "the {stream} of {item} cannot be read: {error}"
    ));
}

fn copy(mut from: impl Read, length: u64, mark: &LineMark, to: &mut dyn Write) -> io::Result<()> {
    match mark {
        LineMark::Tag(mark) => copy_lines(from, mark, false, to),
        LineMark::Failed(mark) => copy_lines(from, mark, true, to),
        LineMark::None if length <= SMALL_BYTES => {
            let mut whole = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            from.read_to_end(&mut whole)?;
            to.write_all(&whole)
        }
        LineMark::None => {
            let mut from = BufReader::with_capacity(64 * 1024, from);
            while !from.fill_buf()?.is_empty() {
                let chunk = from.buffer();
                to.write_all(chunk)?;
                let length = chunk.len();
                from.consume(length);
            }
            Ok(())
        }
    }
}

/// Copies in pieces, because a line may be longer than the memory.
fn copy_lines(from: impl Read, mark: &[u8], ends_last: bool, to: &mut dyn Write) -> io::Result<()> {
    let mut from = BufReader::with_capacity(64 * 1024, from);
    let (mut is_at_begin, mut lines) = (true, Vec::new());
    loop {
        let chunk = from.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            if is_at_begin {
                lines.extend_from_slice(mark);
            }
            lines.extend_from_slice(line);
            is_at_begin = line.last() == Some(&b'\n');
        }
        let length = chunk.len();
        from.consume(length);
        to.write_all(&lines)?;
        lines.clear();
    }
    match ends_last && !is_at_begin {
        true => to.write_all(b"\n"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &[u8], mark: &LineMark) -> Vec<u8> {
        let mut to = Vec::new();
        copy(text, text.len() as u64, mark, &mut to).unwrap();
        to
    }

    #[test]
    fn each_line_is_marked_and_nothing_else_changes() {
        let tag = LineMark::Tag(b"x\t".to_vec());
        assert_eq!(marked(b"a\n\nb", &tag), b"x\ta\nx\t\nx\tb");
        assert_eq!(marked(b"", &tag), b"");
        let failed = LineMark::Failed(b"[x] ".to_vec());
        assert_eq!(marked(b"a\nb", &failed), b"[x] a\n[x] b\n");
        assert_eq!(marked(b"a\nb", &LineMark::None), b"a\nb");
    }

    #[test]
    fn a_line_longer_than_a_piece_is_marked_once() {
        let line = [b'a'; 200_000];
        let tag = LineMark::Tag(b"x\t".to_vec());
        let marked = marked(&line, &tag);
        assert_eq!(marked.len(), line.len() + 2);
        assert!(marked.starts_with(b"x\ta"));
    }
}
