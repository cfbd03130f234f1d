//! More that tests of one run do with a terminal, and a picture of the screen of a run.

use std::os::fd::AsRawFd;
use std::process::Command;
use std::str::Chars;

use nix::libc;

pub(crate) use crate::pty::Terminal;
use crate::pty::{COLUMNS, window};

impl Terminal {
    /// Runs the `supervisor` command with all three streams on a terminal.
    pub(crate) fn supervisor(arguments: &[&str]) -> Terminal {
        Terminal::of(arguments, |_| {})
    }

    /// Runs a shell's script, in which `supervisor` is the command.
    pub(crate) fn script(script: &str) -> Terminal {
        let program = env!("CARGO_BIN_EXE_supervisor");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("supervisor() {{ {program} \"$@\"; }}; {script}"),
        ]);
        Terminal::start(command, |_| {})
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = window(columns, rows);
        // SAFETY: the descriptor is open, and the argument lives until the call returns.
        let done = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(done, 0);
    }

    /// Waits until this is so, and returns the picture.
    pub(crate) fn await_picture(&self, what: &str, is_so: impl Fn(&Picture) -> bool) -> Picture {
        Picture::of(&self.await_output(what, |bytes| is_so(&Picture::of(bytes))))
    }
}

/// The text on a terminal: rows from the first one on, however many there are. It knows the
/// command's escape sequences, and panics at any other.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Picture {
    pub(crate) fn of(bytes: &[u8]) -> Picture {
        let mut picture = Picture::default();
        // The end may be half of a character.
        let text = String::from_utf8_lossy(bytes);
        let mut rest = text.trim_end_matches('\u{fffd}').chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => picture.column = 0,
                '\n' => picture.row += 1,
                '\x1b' => picture.obey(&mut rest),
                c => picture.put(c),
            }
        }
        picture
    }

    /// Obeys an escape sequence of the form `ESC [ number letter`.
    fn obey(&mut self, rest: &mut Chars<'_>) {
        let mut number = 0;
        for c in rest {
            match c {
                '[' => {}
                '0'..='9' => number = number * 10 + c as usize - '0' as usize,
                'A' => {
                    // The cursor does not leave the terminal.
                    self.row = self.row.saturating_sub(number);
                    return;
                }
                'J' => {
                    self.rows.truncate(self.row + 1);
                    if let Some(row) = self.rows.get_mut(self.row) {
                        row.truncate(self.column);
                    }
                    return;
                }
                other => panic!("an unknown order: {other:?}"),
            }
        }
    }

    fn put(&mut self, c: char) {
        if self.column == usize::from(COLUMNS) {
            (self.row, self.column) = (self.row + 1, 0);
        }
        let rows = self.rows.len().max(self.row + 1);
        self.rows.resize_with(rows, Vec::new);
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + 1), ' ');
        row[self.column] = c;
        self.column += 1;
    }

    /// Returns the lines, without the empty ones at the end.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.rows.iter().map(|row| row.iter().collect::<String>());
        let mut lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// Returns `true` if a line begins so.
    pub(crate) fn has(&self, beginning: &str) -> bool {
        self.lines().iter().any(|line| line.starts_with(beginning))
    }

    /// Returns `true` if the cursor stands below all text, at the start of a line.
    pub(crate) fn is_ended(&self) -> bool {
        self.column == 0 && self.row == self.lines().len()
    }
}
