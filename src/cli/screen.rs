//! The terminal, with the bars of a run below all other lines.
//!
//! All output of this process goes through here, from every thread, so that a line never tears the
//! bars. A process has one stdout and one stderr, so there is one screen. It does not know the
//! text.
//!
//! The cursor is never hidden and rests at the start of the last line of the bars. So a kill leaves
//! a visible cursor, and echoed characters (`^C`) stay on a line that is erased anyway.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::panic;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crossbeam_channel::bounded;
use nix::libc::SIGCONT;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use rustix::time::Timespec;
use unicode_width::UnicodeWidthStr;

use super::detached_log;
use crate::observe::text::harmless;
use crate::sys::blocking::Blocking;
use crate::sys::stat::fields_behind_name;
use crate::sys::threads::spawn;

/// The time for the last words, if they may not be read.
const TIME_TO_SAY: Duration = Duration::from_millis(200);

/// The time for them if there is room: they only wait for a processor, perhaps for long.
const TIME_TO_SAY_ALL: Duration = Duration::from_secs(30);

/// The number of lines after which the bars are not drawn again until their next change, so that
/// their cost is bounded however much is printed.
const REPAINTS_MAX: u32 = 5;

/// The longest beginning of a line that is kept until its end comes; a longer one is cut in two.
const UNENDED_MAX: usize = 64 * 1024;

/// The largest copy that sendfile(2) accepts in one call.
const SEND_BYTES: usize = 0x7fff_f000;

/// The destination of a line. Writing to it is the way to print while bars may be shown. Output
/// without a newline at its end is held back during that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StandardStream {
    Out,
    Err,
}

/// The columns and rows of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

#[derive(Debug)]
struct Screen {
    /// The lines that stay below the others.
    frame: Vec<String>,
    /// The width of each of its lines that is on the terminal now.
    drawn: Vec<usize>,
    /// The number of times that the same frame was drawn again.
    repaints: u32,
    /// The printed part of a line that has not ended.
    unended_out: Vec<u8>,
    unended_err: Vec<u8>,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen {
    frame: Vec::new(),
    drawn: Vec::new(),
    repaints: 0,
    unended_out: Vec::new(),
    unended_err: Vec::new(),
});

/// True if bars may be shown; otherwise printing needs no lock.
static HAS_BARS: AtomicBool = AtomicBool::new(false);

/// True if stdout is a terminal, and so the one with the bars.
static IS_SHARED: AtomicBool = AtomicBool::new(false);

/// True after a stop and continuation, because other programs have written meanwhile.
static WAS_CONTINUED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Returns `true` if bars can be shown on this stderr.
pub(super) fn is_able() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    io::stderr().is_terminal() && !is_dumb
}

/// Returns `true` if the lines on stdout go to a terminal.
pub(super) fn is_stdout_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns `true` if the pipeline behind this process's stdout ends on the terminal of its stderr,
/// as in `supervisor ... | grep x`. Bars would erase the lines of the other program.
pub(super) fn has_neighbours() -> bool {
    let stream = |pid: &str, number: u8| fs::read_link(format!("/proc/{pid}/fd/{number}")).ok();
    let is_pipe = |path: Option<PathBuf>| {
        path.is_some_and(|path| path.as_os_str().as_encoded_bytes().starts_with(b"pipe:"))
    };
    let terminal = stream("self", 2);
    if terminal.is_none() || !is_pipe(stream("self", 1)) {
        return false;
    }
    // A shell gives all of a pipeline one process group.
    let group = getpgrp().as_raw_pid().to_string();
    let is_of_group = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let theirs = fields_behind_name(&stat).nth(2)?;
        Some(theirs == group)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().into_string().ok());
    pids.any(|pid| {
        is_of_group(&pid) == Some(true) && stream(&pid, 1) == terminal && is_pipe(stream(&pid, 0))
    })
}

/// Permits bars, until [`close`].
pub(super) fn open() {
    IS_SHARED.store(is_stdout_terminal(), Ordering::Relaxed);
    // Without it a frame may be drawn over text that a shell wrote meanwhile.
    let _ = signal_hook::flag::register(SIGCONT, Arc::clone(&WAS_CONTINUED));
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // The lock may be held by this very thread, which panics.
        if let Some(mut screen) = SCREEN.try_lock() {
            screen.erase();
        }
        tell(panic);
    }));
    HAS_BARS.store(true, Ordering::Release);
}

/// Shows these lines below all others, in place of the former ones. They must fit the terminal.
pub(super) fn show(frame: Vec<String>) {
    let mut screen = SCREEN.lock();
    if HAS_BARS.load(Ordering::Acquire) {
        screen.frame = frame;
        screen.repaints = 0;
        screen.paint();
    }
}

/// Ends the bars: erases them, and prints the lines that were held back.
pub(super) fn close() {
    if !HAS_BARS.load(Ordering::Acquire) {
        return;
    }
    let mut screen = SCREEN.lock();
    if HAS_BARS.swap(false, Ordering::AcqRel) {
        screen.erase();
        screen.frame.clear();
        // Later output must begin on a new line.
        for stream in [StandardStream::Out, StandardStream::Err] {
            let mut line = std::mem::take(screen.unended(stream));
            if !line.is_empty() {
                line.push(b'\n');
                let _ = stream.write_through(&line);
            }
        }
    }
}

/// Does the same before the end of the process, in a bounded time even if the terminal hangs.
pub(super) fn close_in_time() {
    if HAS_BARS.load(Ordering::Acquire) {
        in_time(close);
    }
}

/// Prints a line on stderr, without characters that act on a terminal. A failure is ignored because
/// there is no other place to report it.
pub(super) fn say(line: &str) {
    let line = harmless(line);
    let _ = StandardStream::Err.put(format!("{line}\n").as_bytes());
}

/// Copies the rest of a file to stdout, by the kernel if it can, without a copy in this process. It
/// is for outputs that no bars are in the way of.
pub(super) fn send_file(from: &mut io::Take<File>) -> io::Result<()> {
    let mut out = Blocking(io::stdout().lock());
    out.flush()?;
    while from.limit() > 0 {
        let count = usize::try_from(from.limit()).unwrap_or(usize::MAX);
        let file = from.get_ref();
        let sent = out.until_done(PollFlags::OUT, |out| {
            // It continues where the file was read to, also after a partial copy.
            rustix::fs::sendfile(out, file, None, count.min(SEND_BYTES)).map_err(io::Error::from)
        });
        match sent {
            Ok(0) => return Ok(()),
            Ok(sent) => from.set_limit(from.limit().saturating_sub(sent as u64)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The kernel cannot copy into such a file, for example one that is open for appending.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                io::copy(from, &mut out)?;
                return out.flush();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Prints an error of the command itself.
pub(super) fn complain(failure: &dyn fmt::Display) {
    say_in_time(format!("supervisor: {failure}"));
}

/// Prints a line on stderr in a bounded time, because it may not be read.
pub(super) fn say_in_time(line: String) {
    in_time(move || say(&line));
}

/// Prints the bytes that a worker process wrote to its stderr, unchanged.
pub(super) fn pass_on(bytes: &[u8]) {
    let _ = StandardStream::Err.put(bytes);
}

fn in_time(print: impl FnOnce() + Clone + Send + 'static) {
    let (printing, printed) = bounded::<()>(0);
    let print_here = print.clone();
    let print = move || {
        print();
        drop(printing);
    };
    let time = time_to_say(rustix::stdio::stderr());
    if spawn("complain", print).is_ok() {
        // Disconnected when it is done.
        let _ = printed.recv_timeout(time);
    } else if has_room(rustix::stdio::stderr(), TIME_TO_SAY) {
        // The thread cannot be started, which may be the very message.
        print_here();
    }
}

/// Returns `true` if the stream takes output within that time.
fn has_room(stream: BorrowedFd<'_>, time: Duration) -> bool {
    let mut room = [PollFd::new(&stream, PollFlags::OUT)];
    let time = Timespec::try_from(time).unwrap_or_default();
    matches!(poll(&mut room, Some(&time)), Ok(1..))
}

/// Returns the time that printing on the stream may take.
fn time_to_say(stream: BorrowedFd<'_>) -> Duration {
    match has_room(stream, Duration::ZERO) {
        true => TIME_TO_SAY_ALL,
        false => TIME_TO_SAY,
    }
}

/// Returns the terminal's present size, or a guess if it is unknown.
pub(super) fn size() -> Size {
    let (columns, rows) = match tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) => (usize::from(size.ws_col), usize::from(size.ws_row)),
        Err(_) => (0, 0),
    };
    Size {
        columns: if columns == 0 { 80 } else { columns },
        rows: if rows == 0 { 24 } else { rows },
    }
}

/// Returns `true` if this job is in the foreground, because otherwise the terminal is the shell's.
fn is_in_foreground() -> bool {
    // If it is not the controlling terminal, no other job has a claim to it.
    tcgetpgrp(rustix::stdio::stderr()).map_or(true, |group| group == getpgrp())
}

impl StandardStream {
    /// Prints, with the bars out of the way.
    fn put(self, bytes: &[u8]) -> io::Result<()> {
        let is_below_bars = self == StandardStream::Err || IS_SHARED.load(Ordering::Relaxed);
        if !is_below_bars || !HAS_BARS.load(Ordering::Acquire) {
            return self.write_through(bytes);
        }
        let mut screen = SCREEN.lock();
        match HAS_BARS.load(Ordering::Acquire) {
            true => screen.print(self, bytes),
            false => self.write_through(bytes),
        }
    }

    fn write_through(self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self {
            StandardStream::Out => {
                let mut out = Blocking(io::stdout().lock());
                out.write_all(bytes)?;
                out.flush()
            }
            StandardStream::Err => {
                Blocking(io::stderr()).write_all(bytes)?;
                detached_log::turn_over();
                Ok(())
            }
        }
    }
}

impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn unended(&mut self, stream: StandardStream) -> &mut Vec<u8> {
        match stream {
            StandardStream::Out => &mut self.unended_out,
            StandardStream::Err => &mut self.unended_err,
        }
    }

    /// Prints the lines that end in these bytes.
    fn print(&mut self, stream: StandardStream, bytes: &[u8]) -> io::Result<()> {
        let Some(lines) = ended_lines(self.unended(stream), bytes) else {
            return Ok(());
        };
        self.erase();
        stream.write_through(&lines)?;
        if self.repaints < REPAINTS_MAX {
            self.repaints += 1;
            self.paint();
        }
        Ok(())
    }

    /// Draws the frame at the cursor, or in place of the drawn one.
    fn paint(&mut self) {
        if self.frame.is_empty() || !is_in_foreground() {
            return;
        }
        let mut text = self.take_back();
        for (at, line) in self.frame.iter().enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            text.push_str(line);
            self.drawn.push(line.width());
        }
        text.push('\r');
        // The bars are not essential, so a failure is ignored.
        let _ = StandardStream::Err.write_through(text.as_bytes());
    }

    fn erase(&mut self) {
        let text = self.take_back();
        let _ = StandardStream::Err.write_through(text.as_bytes());
    }

    /// Returns the text that erases the frame from the terminal.
    fn take_back(&mut self) -> String {
        let drawn = std::mem::take(&mut self.drawn);
        if WAS_CONTINUED.swap(false, Ordering::Relaxed) || drawn.is_empty() {
            return String::new();
        }
        erasing(rows_above(&drawn, size().columns))
    }
}

/// Returns the text that erases everything from so many rows above the cursor on.
///
/// It erases from the second column on, behind a space. tmux takes an erasure from the first column
/// of the first row for one of the whole screen, and saves the old screen in its history each time.
fn erasing(rows_above: usize) -> String {
    match rows_above {
        0 => "\r \x1b[J\r".into(),
        rows => format!("\r\x1b[{rows}A \x1b[J\r"),
    }
}

/// Returns the lines that end in these bytes, if one does, and keeps the beginning of the next one.
fn ended_lines(unended: &mut Vec<u8>, bytes: &[u8]) -> Option<Vec<u8>> {
    unended.extend_from_slice(bytes);
    match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => {
            let begun = bytes.len() - at - 1;
            let rest = unended.split_off(unended.len() - begun);
            Some(std::mem::replace(unended, rest))
        }
        None if unended.len() < UNENDED_MAX => None,
        None => {
            unended.push(b'\n');
            Some(std::mem::take(unended))
        }
    }
}

/// Returns the number of rows between the first row of these lines and the first row of the last
/// one. A terminal that became narrower has wrapped them.
fn rows_above(widths: &[usize], columns: usize) -> usize {
    let (_, above) = widths.split_last().unwrap_or((&0, &[]));
    let rows = above.iter().map(|width| width.div_ceil(columns).max(1));
    rows.sum()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn lines_are_printed_when_they_have_ended() {
        let mut unended = Vec::new();
        let mut print = |text: &str| {
            let lines = ended_lines(&mut unended, text.as_bytes());
            lines.map(|lines| String::from_utf8(lines).unwrap())
        };
        assert_eq!(print("a"), None);
        assert_eq!(print(""), None);
        assert_eq!(print("b\nc\nd").as_deref(), Some("ab\nc\n"));
        assert_eq!(print("\n").as_deref(), Some("d\n"));
        assert_eq!(print("e\n").as_deref(), Some("e\n"));
        // A line without an end is ended.
        let long = "x".repeat(UNENDED_MAX);
        assert_eq!(print(&long), Some(long + "\n"));
        assert_eq!(print("f\n").as_deref(), Some("f\n"));
    }

    #[test]
    fn nothing_is_erased_from_the_first_column_on() {
        for rows in [0, 1, 12] {
            let text = erasing(rows);
            let (before, after) = text.split_once("\x1b[J").unwrap();
            assert!(before.ends_with(' ') && after == "\r", "{text:?}");
        }
    }

    #[test]
    fn what_has_room_has_more_time() {
        let (_reader, mut writer) = io::pipe().unwrap();
        assert_eq!(time_to_say(writer.as_fd()), TIME_TO_SAY_ALL);
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[0; 4096]).is_ok() {}
        assert_eq!(time_to_say(writer.as_fd()), TIME_TO_SAY);
    }

    #[test]
    fn lines_that_a_narrower_terminal_broke_are_counted_as_they_stand() {
        assert_eq!(rows_above(&[], 80), 0);
        assert_eq!(rows_above(&[80], 20), 0);
        assert_eq!(rows_above(&[79, 0, 10], 80), 2);
        assert_eq!(rows_above(&[80, 81, 10], 40), 2 + 3);
    }
}
