//! PURE: reads a script as a shell does, and finds the quotes around its places. The files beside
//! this one read commands, words and here-documents.
//!
//! A script that dash, bash and busybox read differently, or one of them may read in another way,
//! is not read at all; then no place is filled in. Nothing is run or expanded here.

use super::feeds::{FeedScope, Feeds};
use super::refusal::{Evaluated, ShellRefusal};

/// A byte of the script, or a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Byte(u8),
    Placeholder { is_number: bool },
}

/// The quotes around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// None: the value needs some.
    Bare,
    Double,
    Single,
    /// A here-document or a comment, where nothing is split, and quotes would be kept.
    Kept,
}

/// The facts about a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundPlaceholder {
    pub(super) stand: Quoting,
    /// True if the value itself can stand there, in quotes, where the line is shown.
    pub(super) is_fillable: bool,
    pub(super) refusal: Option<ShellRefusal>,
    is_number: bool,
}

/// A here-document whose body has not been read yet.
#[derive(Debug)]
pub(super) struct Heredoc {
    pub(super) delimiter: Vec<u8>,
    /// True if nothing is expanded in it.
    pub(super) is_quoted: bool,
    /// True for `<<-`, which removes tabs at the beginnings of lines.
    pub(super) strips_tabs: bool,
    /// The number of the command that it belongs to.
    pub(super) command: usize,
    /// The pipelines around it.
    pub(super) pipelines: Vec<usize>,
    /// The scopes in which it may be read.
    pub(super) scopes: Vec<FeedScope>,
}

/// The result of reading; the error is the reason why the script cannot be read.
pub(super) type Parsed<T> = Result<T, ShellRefusal>;

/// The deepest nesting that is read; no real script goes deeper.
pub(super) const NESTING_MAX: usize = 50;

pub(super) struct Lexer<'a> {
    pub(super) units: &'a [Unit],
    pub(super) at: usize,
    /// The end of the text to be read; in backquotes it is before the end of the script.
    pub(super) end: usize,
    /// The facts about the places so far, in their order.
    pub(super) found: Vec<FoundPlaceholder>,
    /// Here-documents whose bodies begin at the next newline.
    pub(super) pending: Vec<Heredoc>,
    /// The number of open constructs in which a value cannot be shown.
    pub(super) opaque: usize,
    pub(super) is_in_heredoc: bool,
    /// True within double quotes, except those around a `$(...)`.
    pub(super) is_in_double: bool,
    nesting: usize,
    pub(super) commands: usize,
    /// The text that commands may read, and the commands that may run it.
    pub(super) feeds: Feeds,
    /// True if the script's last word is an argument that consists of a place.
    pub(super) ends_with_argument: bool,
}

/// The facts about a whole script.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) found: Vec<FoundPlaceholder>,
    /// True if its last word is an argument that consists of a place.
    pub(super) ends_with_argument: bool,
}

pub(super) fn read(units: &[Unit]) -> Parsed<Whole> {
    let mut lexer = Lexer::new(units);
    lexer.list(Closer::End)?;
    for place in lexer.feeds.run() {
        lexer.refuse(place..place + 1, ShellRefusal::Evaluated(Evaluated::Stdin));
    }
    Ok(Whole {
        found: lexer.found,
        ends_with_argument: lexer.ends_with_argument,
    })
}

/// Returns `true` if a script without places may run what it reads from stdin.
pub(super) fn may_run_stdin(text: &[u8]) -> bool {
    let units: Vec<Unit> = text.iter().map(|byte| Unit::Byte(*byte)).collect();
    let mut lexer = Lexer::new(&units);
    lexer.list(Closer::End).is_err() || lexer.feeds.has_reader()
}

pub(super) fn unreadable<T>(why: &'static str) -> Parsed<T> {
    Err(ShellRefusal::Unreadable(why))
}

/// The end of a list of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closer {
    End,
    Paren,
}

impl<'a> Lexer<'a> {
    fn new(units: &'a [Unit]) -> Self {
        Lexer {
            units,
            at: 0,
            end: units.len(),
            found: Vec::new(),
            pending: Vec::new(),
            opaque: 0,
            is_in_heredoc: false,
            is_in_double: false,
            nesting: 0,
            commands: 0,
            feeds: Feeds::default(),
            ends_with_argument: false,
        }
    }

    pub(super) fn unit(&self, ahead: usize) -> Option<Unit> {
        let at = self.at + ahead;
        (at < self.end).then(|| self.units[at])
    }

    /// Returns the byte at this distance, unless it is a place.
    pub(super) fn byte(&self, ahead: usize) -> Option<u8> {
        match self.unit(ahead)? {
            Unit::Byte(byte) => Some(byte),
            Unit::Placeholder { .. } => None,
        }
    }

    /// Takes a place, and notes the quotes around it.
    pub(super) fn take_place(&mut self, stand: Quoting) {
        if let Some(Unit::Placeholder { is_number }) = self.unit(0) {
            self.at += 1;
            self.found.push(FoundPlaceholder {
                stand,
                is_fillable: self.opaque == 0 && stand != Quoting::Kept,
                refusal: None,
                is_number,
            });
        }
    }

    pub(super) fn refuse_place(&mut self, refusal: ShellRefusal) {
        let from = self.found.len();
        self.take_place(Quoting::Kept);
        self.refuse_from(from, refusal);
    }

    /// Refuses all places from this number on.
    pub(super) fn refuse_from(&mut self, from: usize, refusal: ShellRefusal) {
        self.refuse(from..self.found.len(), refusal);
    }

    pub(super) fn refuse(&mut self, places: std::ops::Range<usize>, refusal: ShellRefusal) {
        for found in self.found.get_mut(places).unwrap_or_default() {
            if !(found.is_number && refusal.is_of_content()) {
                found.refusal.get_or_insert(refusal);
            }
        }
    }

    /// Checks a newline within a word: shells differ in where bodies of here-documents begin then.
    pub(super) fn newline_inside(&self) -> Parsed<()> {
        match self.pending.is_empty() {
            true => Ok(()),
            false => unreadable("a here-document begins on a line that ends between quotes"),
        }
    }

    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= NESTING_MAX {
            return unreadable("it is nested too deeply");
        }
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        result
    }

    pub(super) fn is_nested(&self) -> bool {
        self.nesting > 1
    }

    pub(super) fn skip_blanks(&mut self) -> Parsed<()> {
        loop {
            match (self.byte(0), self.byte(1)) {
                (Some(b' ' | b'\t'), _) => self.at += 1,
                (Some(b'\\'), Some(b'\n')) => self.at += 2,
                _ => return Ok(()),
            }
        }
    }

    /// Takes an operator. One that is continued after a line's end cannot be read.
    pub(super) fn take_operator(&mut self, length: usize) -> Parsed<()> {
        self.at += length;
        let mut ahead = 0;
        while self.byte(ahead) == Some(b'\\') && self.byte(ahead + 1) == Some(b'\n') {
            ahead += 2;
        }
        let next = self.byte(ahead);
        match ahead > 0 && next.is_some_and(|byte| b"&|;<>()-".contains(&byte)) {
            true => unreadable("an operator is cut in two by a line's end"),
            false => Ok(()),
        }
    }

    pub(super) fn is_at_word_end(&self) -> bool {
        match self.unit(0) {
            None => true,
            Some(Unit::Byte(byte)) => b" \t\n;&|<>()".contains(&byte),
            Some(Unit::Placeholder { .. }) => false,
        }
    }
}
