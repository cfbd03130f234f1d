//! PURE: reads a word: quotes, parameters, and substitutions in it.

use super::lexer::{Closer, Lexer, Parsed, Quoting, Unit, unreadable};
use super::refusal::{Evaluated, Misplaced, ShellRefusal};
use super::variables::is_special;
use super::words::{Bit, Word};

/// The quotes around an expansion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// No quotes.
    Bare,
    Double,
    Heredoc,
    Arithmetic,
}

/// The use that an operator in `${NAME...}` makes of the word after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    /// `-`, `=`, `?`, `+`: a value.
    Value,
    /// `#`, `%`: a pattern.
    Pattern,
    /// A use that not every sh has.
    Other,
}

impl Lexer<'_> {
    pub(super) fn word(&mut self) -> Parsed<Word> {
        let from = self.found.len();
        let mut word = Word::default();
        while !self.is_at_word_end() {
            match self.byte(0) {
                None => {
                    self.take_place(Quoting::Bare);
                    word.bits.push(Bit::Placeholder);
                }
                Some(b'\\') => self.escape(&mut word)?,
                Some(b'\'') => {
                    word.is_quoted = true;
                    self.single(&mut word.bits)?;
                }
                Some(b'"') => {
                    word.is_quoted = true;
                    self.double(&mut word.bits)?;
                }
                Some(b'$') => {
                    self.dollar(Around::Bare, &mut word.bits)?;
                    word.is_split = true;
                }
                Some(b'`') => {
                    self.backquotes()?;
                    word.is_split = true;
                    word.bits.push(Bit::Unknown);
                }
                Some(byte) => {
                    self.at += 1;
                    word.bits.push(Bit::Plain(byte));
                }
            }
        }
        word.places = from..self.found.len();
        Ok(word)
    }

    /// Reads a backslash outside of quotes.
    fn escape(&mut self, word: &mut Word) -> Parsed<()> {
        self.at += 1;
        match self.unit(0) {
            Some(Unit::Byte(b'\n')) => self.at += 1,
            Some(Unit::Byte(byte)) => {
                self.at += 1;
                word.bits.push(Bit::Quoted(byte));
            }
            Some(Unit::Placeholder { .. }) => {
                self.refuse_place(ShellRefusal::Misplaced(Misplaced::AfterBackslash));
                word.bits.push(Bit::Placeholder);
            }
            None => return unreadable("it ends with a backslash"),
        }
        Ok(())
    }

    fn single(&mut self, bits: &mut Vec<Bit>) -> Parsed<()> {
        self.at += 1;
        loop {
            match self.unit(0) {
                Some(Unit::Byte(b'\'')) => {
                    self.at += 1;
                    return Ok(());
                }
                Some(Unit::Byte(byte)) => {
                    if byte == b'\n' {
                        self.newline_inside()?;
                    }
                    self.at += 1;
                    bits.push(Bit::Quoted(byte));
                }
                Some(Unit::Placeholder { .. }) => {
                    self.take_place(Quoting::Single);
                    bits.push(Bit::Placeholder);
                }
                None => return unreadable("a ' is not closed"),
            }
        }
    }

    fn double(&mut self, bits: &mut Vec<Bit>) -> Parsed<()> {
        let outer = std::mem::replace(&mut self.is_in_double, true);
        let read = self.rest_of_double(bits);
        self.is_in_double = outer;
        read
    }

    fn rest_of_double(&mut self, bits: &mut Vec<Bit>) -> Parsed<()> {
        self.at += 1;
        loop {
            match self.unit(0) {
                Some(Unit::Byte(b'"')) => {
                    self.at += 1;
                    return Ok(());
                }
                Some(Unit::Byte(b'\\')) => self.double_escape(bits)?,
                Some(Unit::Byte(b'$')) => self.dollar(Around::Double, bits)?,
                Some(Unit::Byte(b'`')) => {
                    self.backquotes()?;
                    bits.push(Bit::Unknown);
                }
                Some(Unit::Byte(byte)) => {
                    if byte == b'\n' {
                        self.newline_inside()?;
                    }
                    self.at += 1;
                    bits.push(Bit::Quoted(byte));
                }
                Some(Unit::Placeholder { .. }) => {
                    self.take_place(Quoting::Double);
                    bits.push(Bit::Placeholder);
                }
                None => return unreadable("a \" is not closed"),
            }
        }
    }

    fn double_escape(&mut self, bits: &mut Vec<Bit>) -> Parsed<()> {
        self.at += 1;
        match self.unit(0) {
            Some(Unit::Byte(b'\n')) => {
                self.newline_inside()?;
                self.at += 1;
            }
            Some(Unit::Byte(byte)) => {
                if !b"$`\"\\".contains(&byte) {
                    bits.push(Bit::Quoted(b'\\'));
                }
                self.at += 1;
                bits.push(Bit::Quoted(byte));
            }
            Some(Unit::Placeholder { .. }) => {
                self.refuse_place(ShellRefusal::Misplaced(Misplaced::AfterBackslash));
                bits.push(Bit::Placeholder);
            }
            None => return unreadable("a \" is not closed"),
        }
        Ok(())
    }

    /// Reads an expansion that begins with `$`.
    pub(super) fn dollar(&mut self, around: Around, bits: &mut Vec<Bit>) -> Parsed<()> {
        self.at += 1;
        let Some(next) = self.unit(0) else {
            bits.push(Bit::Quoted(b'$'));
            return Ok(());
        };
        let Unit::Byte(next) = next else {
            self.refuse_place(ShellRefusal::Misplaced(Misplaced::AfterDollar));
            bits.push(Bit::Placeholder);
            return Ok(());
        };
        let is_all = next == b'@' || next == b'{' && self.byte(1) == Some(b'@');
        bits.push(if is_all { Bit::Arguments } else { Bit::Unknown });
        match next {
            b'(' if self.byte(1) == Some(b'(') => self.arithmetic(),
            b'(' => {
                self.take_operator(1)?;
                let outer = std::mem::replace(&mut self.is_in_double, false);
                let read = self.list(Closer::Paren);
                self.is_in_double = outer;
                read
            }
            b'{' => self.braces(around),
            b'[' => unreadable("$[ is arithmetic for some: write \\$[, or $(( ))"),
            b'\\' if self.byte(1) == Some(b'\n') => {
                unreadable("a $ stands at the end of a line that goes on")
            }
            b'\'' | b'"' if around == Around::Bare => {
                unreadable("not every sh has $'...' and $\"...\": write them without the $")
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                self.skip_name();
                Ok(())
            }
            byte if byte.is_ascii_digit() || b"@*#?-$!".contains(&byte) => {
                self.at += 1;
                Ok(())
            }
            _ => {
                bits.pop();
                bits.push(Bit::Quoted(b'$'));
                Ok(())
            }
        }
    }

    fn skip_name(&mut self) {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        while self.byte(0).is_some_and(is_part) {
            self.at += 1;
        }
    }

    /// Reads `$((...))`. Nothing is filled in there, as even substitutions are evaluated.
    fn arithmetic(&mut self) -> Parsed<()> {
        let from = self.found.len();
        self.at += 2;
        self.opaque += 1;
        let read = self.nested(Self::arithmetic_body);
        self.opaque -= 1;
        self.refuse_from(from, ShellRefusal::Evaluated(Evaluated::Arithmetic));
        read
    }

    fn arithmetic_body(&mut self) -> Parsed<()> {
        let mut depth = 0_usize;
        loop {
            match self.unit(0) {
                Some(Unit::Byte(b'(')) => depth += 1,
                Some(Unit::Byte(b')')) if depth > 0 => depth -= 1,
                Some(Unit::Byte(b')')) if self.byte(1) == Some(b')') => {
                    self.at += 2;
                    return Ok(());
                }
                Some(Unit::Byte(b')')) => {
                    return unreadable("$(( is closed by no )): write $( ( for a subshell");
                }
                Some(Unit::Byte(b'$')) => {
                    self.dollar(Around::Arithmetic, &mut Vec::new())?;
                    continue;
                }
                Some(Unit::Byte(b'`')) => {
                    self.backquotes()?;
                    continue;
                }
                Some(Unit::Byte(b'\'' | b'"' | b'\\' | b'#')) => {
                    return unreadable("quotes, # and backslashes in $(( )) are not read alike");
                }
                Some(Unit::Byte(b'\n')) => self.newline_inside()?,
                Some(Unit::Byte(_)) => {}
                Some(Unit::Placeholder { .. }) => {
                    self.take_place(Quoting::Kept);
                    continue;
                }
                None => return unreadable("a $(( is not closed"),
            }
            self.at += 1;
        }
    }

    /// Reads `` `...` ``: its content is read on its own, without one layer of backslashes.
    pub(super) fn backquotes(&mut self) -> Parsed<()> {
        self.at += 1;
        let (begin, mut close, mut has_escape) = (self.at, self.at, false);
        loop {
            match self.units.get(close).filter(|_| close < self.end) {
                Some(Unit::Byte(b'`')) => break,
                Some(Unit::Byte(b'\\')) => {
                    has_escape = true;
                    if self.units.get(close + 1) == Some(&Unit::Byte(b'\n')) {
                        self.newline_inside()?;
                    }
                    close += 2;
                }
                Some(Unit::Byte(b'\n')) => {
                    self.newline_inside()?;
                    close += 1;
                }
                Some(_) => close += 1,
                None => return unreadable("a ` is not closed"),
            }
        }
        let inner = &self.units[begin..close];
        let has_place = inner.iter().any(|unit| !matches!(unit, Unit::Byte(_)));
        let has_double = inner.contains(&Unit::Byte(b'"'));
        if has_escape || !has_place && has_double && self.is_in_double {
            // It is not known what it runs.
            self.feeds.reader(self.is_in_heredoc);
            while self.at < close {
                match self.unit(0) {
                    Some(Unit::Placeholder { .. }) => {
                        self.refuse_place(ShellRefusal::Misplaced(Misplaced::EscapesInBackquotes))
                    }
                    _ => self.at += 1,
                }
            }
        } else {
            // Within double quotes, shells differ on quotes in backquotes.
            if has_double && self.is_in_double {
                return unreadable("a \" stands in backquotes between double quotes: write $(...)");
            }
            let outer = std::mem::replace(&mut self.end, close);
            self.opaque += 1;
            let read = self.list(Closer::End);
            self.opaque -= 1;
            self.end = outer;
            read?;
        }
        self.at = close + 1;
        Ok(())
    }

    /// Reads `${...}`.
    fn braces(&mut self, around: Around) -> Parsed<()> {
        self.at += 1;
        let name = self.at;
        match self.unit(0) {
            Some(Unit::Byte(b'#')) if self.byte(1) != Some(b'}') => {
                // It is the length of a variable.
                self.at += 1;
                self.skip_parameter();
                let is_length = self.at > name + 1 && self.byte(0) == Some(b'}');
                self.at += 1;
                return match is_length {
                    true => Ok(()),
                    false => unreadable("not every sh reads ${#...} alike but for ${#NAME}"),
                };
            }
            Some(Unit::Byte(_)) => self.skip_parameter(),
            Some(Unit::Placeholder { .. }) => {
                return unreadable("it would be a variable's name in ${...}: write a name there");
            }
            None => {}
        }
        if self.at == name {
            return unreadable("${ has no name behind it");
        }
        if self.byte(0) == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let is_special = is_special(&self.bytes(name));
        let is_assigned = matches!(
            (self.byte(0), self.byte(1)),
            (Some(b'='), _) | (Some(b':'), Some(b'='))
        );
        let operator = self.operator();
        let from = self.found.len();
        self.opaque += 1;
        let read = self.nested(|lexer| lexer.brace_word(around, operator));
        self.opaque -= 1;
        if operator == Operator::Other {
            self.refuse_from(from, ShellRefusal::Evaluated(Evaluated::BraceOperator));
        }
        if is_special && is_assigned {
            self.refuse_from(from, ShellRefusal::Evaluated(Evaluated::SpecialVariable));
        }
        read
    }

    /// Returns the bytes taken since this place.
    fn bytes(&self, from: usize) -> Vec<u8> {
        let units = self.units[from..self.at].iter();
        let bytes = units.filter_map(|unit| match unit {
            Unit::Byte(byte) => Some(*byte),
            Unit::Placeholder { .. } => None,
        });
        bytes.collect()
    }

    /// Skips the name of a parameter in braces.
    fn skip_parameter(&mut self) {
        match self.byte(0) {
            Some(byte) if b"@*#?-$!".contains(&byte) => self.at += 1,
            Some(byte) if byte.is_ascii_digit() => {
                while self.byte(0).is_some_and(|byte| byte.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            _ => self.skip_name(),
        }
    }

    fn operator(&mut self) -> Operator {
        let (length, operator) = match (self.byte(0), self.byte(1)) {
            (Some(b':'), Some(b'-' | b'=' | b'?' | b'+')) => (2, Operator::Value),
            (Some(b'-' | b'=' | b'?' | b'+'), _) => (1, Operator::Value),
            (Some(b'#'), Some(b'#')) | (Some(b'%'), Some(b'%')) => (2, Operator::Pattern),
            (Some(b'#' | b'%'), _) => (1, Operator::Pattern),
            _ => (0, Operator::Other),
        };
        self.at += length;
        operator
    }

    /// Reads the word after an operator, up to the closing brace.
    fn brace_word(&mut self, around: Around, operator: Operator) -> Parsed<()> {
        let is_bare = around == Around::Bare;
        let stand = match (around, operator) {
            (Around::Bare, _) | (_, Operator::Pattern) => Quoting::Bare,
            _ => Quoting::Kept,
        };
        let (from, mut has_blank) = (self.found.len(), false);
        let mut bits = Vec::new();
        loop {
            match self.unit(0) {
                Some(Unit::Byte(b'}')) => {
                    self.at += 1;
                    if is_bare && has_blank {
                        self.refuse_from(from, ShellRefusal::Evaluated(Evaluated::SplitDefault));
                    }
                    return Ok(());
                }
                Some(Unit::Byte(b'\'')) if is_bare => self.single(&mut bits)?,
                Some(Unit::Byte(b'"')) if is_bare => self.double(&mut bits)?,
                Some(Unit::Byte(b'"'))
                    if around == Around::Double && operator == Operator::Pattern =>
                {
                    self.double(&mut bits)?;
                }
                Some(Unit::Byte(b'\'' | b'"')) => {
                    return unreadable("quotes in \"${...}\" are not read alike by all shells");
                }
                Some(Unit::Byte(b'<' | b'>')) if self.byte(1) == Some(b'(') => {
                    return unreadable("not every sh has <( ) and >( )");
                }
                Some(Unit::Byte(b'\\')) => self.brace_escape(is_bare)?,
                Some(Unit::Byte(b'$')) => self.dollar(around, &mut bits)?,
                Some(Unit::Byte(b'`')) => self.backquotes()?,
                Some(Unit::Byte(byte)) => {
                    if byte == b'\n' {
                        self.newline_inside()?;
                    }
                    has_blank |= byte.is_ascii_whitespace();
                    self.at += 1;
                }
                Some(Unit::Placeholder { .. }) => {
                    let from = self.found.len();
                    self.take_place(stand);
                    if around == Around::Heredoc && operator == Operator::Pattern {
                        self.refuse_from(from, ShellRefusal::Misplaced(Misplaced::HeredocPattern));
                    }
                }
                None => return unreadable("a ${ is not closed"),
            }
        }
    }

    fn brace_escape(&mut self, is_bare: bool) -> Parsed<()> {
        self.at += 1;
        match self.unit(0) {
            Some(Unit::Byte(b'\n')) => self.newline_inside()?,
            Some(Unit::Byte(b'\'')) if !is_bare => {
                return unreadable("quotes in \"${...}\" are not read alike by all shells");
            }
            Some(Unit::Byte(_)) => {}
            Some(Unit::Placeholder { .. }) => {
                self.refuse_place(ShellRefusal::Misplaced(Misplaced::AfterBackslash));
                return Ok(());
            }
            None => return unreadable("a ${ is not closed"),
        }
        self.at += 1;
        Ok(())
    }
}
