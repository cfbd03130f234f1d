//! The screen of `supervisor top`: what stands where, and how it is left behind.

use crate::deadline::until;
use crate::pty::Terminal;

/// The cells of a terminal on which everything is drawn at its place.
pub(crate) struct Cells {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// True if it is the screen that is only there for a while.
    pub(crate) is_alternate: bool,
    pub(crate) is_cursor_shown: bool,
}

impl Cells {
    pub(crate) fn of(bytes: &[u8]) -> Cells {
        let mut cells = Cells {
            rows: vec![vec![' '; 200]; 60],
            row: 0,
            column: 0,
            is_alternate: false,
            is_cursor_shown: true,
        };
        let text = String::from_utf8_lossy(bytes);
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\x1b' => cells.obey(&mut rest),
                '\r' => cells.column = 0,
                '\n' => cells.row += 1,
                c => {
                    cells.rows[cells.row][cells.column] = c;
                    cells.column += 1;
                }
            }
        }
        cells
    }

    /// Obeys a sequence of the form `ESC [ parameters letter`; those of colours change nothing here.
    fn obey(&mut self, rest: &mut std::str::Chars<'_>) {
        let mut words = String::new();
        let end = rest.find(|c| {
            words.push(*c);
            c.is_ascii_alphabetic()
        });
        let number = |at: usize| {
            let word = words.trim_start_matches('[').trim_end_matches('H');
            let number = word.split(';').nth(at).and_then(|word| word.parse().ok());
            number.unwrap_or(1_usize) - 1
        };
        match (end, &*words) {
            (Some('H'), _) => (self.row, self.column) = (number(0), number(1)),
            (_, "[?1049h" | "[?1049l") => {
                self.is_alternate = words.ends_with('h');
                self.rows = vec![vec![' '; 200]; 60];
            }
            (_, "[?25h" | "[?25l") => self.is_cursor_shown = words.ends_with('h'),
            (_, "[2J") => self.rows = vec![vec![' '; 200]; 60],
            (Some('m') | None, _) => {}
            _ => panic!("an unknown order: {words:?}"),
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.rows.iter().map(|row| row.iter().collect::<String>());
        lines.map(|line| line.trim_end().to_owned()).collect()
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.is_alternate && self.lines().iter().any(|line| line.contains(text))
    }
}

/// Waits until this text is seen.
pub(crate) fn sees(top: &Terminal, text: &str) {
    top.await_output(text, |bytes| Cells::of(bytes).has(text));
}

/// Expects that it has ended with this code, and has given the terminal back.
pub(crate) fn is_over(mut top: Terminal, code: i32) {
    until("it has ended", || top.child.try_wait().unwrap().is_some());
    assert!(top.is_cooked());
    let (bytes, status) = top.finish();
    let cells = Cells::of(&bytes);
    assert!(!cells.is_alternate && cells.is_cursor_shown);
    assert_eq!(cells.lines().concat(), "");
    assert_eq!(status.code(), Some(code));
}
