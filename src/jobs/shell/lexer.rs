//! PURE: a script that is being read as a shell does it, and what was found out of its places: between
//! which quotes they stand. How commands, words and here-documents are read stands in files of their own.
//!
//! Where dash, bash and busybox do not read a script alike, or one of them may read on in another way
//! than this does, it is not read at all: no place is then filled in. Nothing is run or expanded here.

use super::feeds::Feeds;
use super::heredoc::Heredoc;
use super::refusal::{Evaluated, Refusal};

/// A byte of the script, or a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Byte(u8),
    Place { is_number: bool },
}

/// Between which quotes a place stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// None: what is filled in needs some.
    Bare,
    Double,
    Single,
    /// Where nothing is split, and quotes would be kept: a here-document, a comment.
    Kept,
}

/// What was found out of a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) stand: Stand,
    /// Whether the value itself can stand there, in quotes, where the line is shown.
    pub(super) is_fillable: bool,
    pub(super) refusal: Option<Refusal>,
    is_number: bool,
}

/// Why it cannot be read.
pub(super) type Read<T> = Result<T, Refusal>;

/// Deeper than anybody nests.
pub(super) const NESTING_MAX: usize = 50;

pub(super) struct Lexer<'a> {
    pub(super) units: &'a [Unit],
    pub(super) at: usize,
    /// What is read ends here: in backquotes before the rest of the script.
    pub(super) end: usize,
    /// What was found of the places so far, in their order.
    pub(super) found: Vec<Found>,
    /// Here-documents whose bodies begin at the next newline.
    pub(super) pending: Vec<Heredoc>,
    /// How many constructs are open in which a value cannot be shown.
    pub(super) opaque: usize,
    pub(super) is_in_heredoc: bool,
    /// Whether double quotes are open around, those around `$(...)` apart.
    pub(super) is_in_double: bool,
    nesting: usize,
    pub(super) commands: usize,
    /// What commands may read, and which may run that.
    pub(super) feeds: Feeds,
    /// Whether the script's last word is an argument, and a place alone.
    pub(super) ends_with_argument: bool,
}

/// What was found out of a whole script.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) found: Vec<Found>,
    /// Whether its last word is an argument, and a place alone.
    pub(super) ends_with_argument: bool,
}

/// Reads a whole script.
pub(super) fn read(units: &[Unit]) -> Read<Whole> {
    let mut lexer = Lexer::new(units);
    lexer.list(Closer::End)?;
    for place in lexer.feeds.run() {
        lexer.refuse(place..place + 1, Refusal::Evaluated(Evaluated::Stdin));
    }
    Ok(Whole {
        found: lexer.found,
        ends_with_argument: lexer.ends_with_argument,
    })
}

/// Whether a script without places may run what it reads from stdin.
pub(super) fn may_run_stdin(text: &[u8]) -> bool {
    let units: Vec<Unit> = text.iter().map(|byte| Unit::Byte(*byte)).collect();
    let mut lexer = Lexer::new(&units);
    lexer.list(Closer::End).is_err() || lexer.feeds.has_reader()
}

pub(super) fn unreadable<T>(why: &'static str) -> Read<T> {
    Err(Refusal::Unreadable(why))
}

/// What ends a list of commands.
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

    /// The next byte but so many, if it is none of a place.
    pub(super) fn byte(&self, ahead: usize) -> Option<u8> {
        match self.unit(ahead)? {
            Unit::Byte(byte) => Some(byte),
            Unit::Place { .. } => None,
        }
    }

    /// Takes a place.
    pub(super) fn take_place(&mut self, stand: Stand) {
        if let Some(Unit::Place { is_number }) = self.unit(0) {
            self.at += 1;
            self.found.push(Found {
                stand,
                is_fillable: self.opaque == 0 && stand != Stand::Kept,
                refusal: None,
                is_number,
            });
        }
    }

    /// Takes a place that cannot be filled in.
    pub(super) fn refuse_place(&mut self, refusal: Refusal) {
        let from = self.found.len();
        self.take_place(Stand::Kept);
        self.refuse_from(from, refusal);
    }

    /// Refuses all places since there were so many.
    pub(super) fn refuse_from(&mut self, from: usize, refusal: Refusal) {
        self.refuse(from..self.found.len(), refusal);
    }

    pub(super) fn refuse(&mut self, places: std::ops::Range<usize>, refusal: Refusal) {
        for found in self.found.get_mut(places).unwrap_or_default() {
            if !(found.is_number && refusal.is_of_content()) {
                found.refusal.get_or_insert(refusal);
            }
        }
    }

    /// A newline where none ends a line: shells do not agree where the bodies of here-documents that
    /// wait for one begin.
    pub(super) fn newline_inside(&self) -> Read<()> {
        match self.pending.is_empty() {
            true => Ok(()),
            false => unreadable("a here-document begins on a line that ends between quotes"),
        }
    }

    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
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

    pub(super) fn skip_blanks(&mut self) -> Read<()> {
        loop {
            match (self.byte(0), self.byte(1)) {
                (Some(b' ' | b'\t'), _) => self.at += 1,
                (Some(b'\\'), Some(b'\n')) => self.at += 2,
                _ => return Ok(()),
            }
        }
    }

    /// Takes an operator. One that goes on behind a line's end is not read.
    pub(super) fn take_operator(&mut self, length: usize) -> Read<()> {
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
            Some(Unit::Place { .. }) => false,
        }
    }
}
