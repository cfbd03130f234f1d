//! PURE: the reading of here-documents.

use super::lexer::{Heredoc, Lexer, Parsed, Quoting, Unit, unreadable};
use super::quotes::Around;
use super::refusal::{Misplaced, ShellRefusal};

impl Lexer<'_> {
    /// Reads the word after `<<`.
    pub(super) fn heredoc_delimiter(&mut self, strips_tabs: bool, command: usize) -> Parsed<()> {
        if self.is_in_heredoc {
            return unreadable("a here-document begins within another one");
        }
        let begin = self.at;
        let word = self.word()?;
        let text = &self.units[begin..self.at];
        if word.has_place() {
            self.refuse_from(
                word.places.start,
                ShellRefusal::Misplaced(Misplaced::HeredocDelimiter),
            );
            return Err(ShellRefusal::Misplaced(Misplaced::HeredocDelimiter));
        }
        // Shells differ in removing quotes from it, or in expanding nothing in it.
        let is_odd = |unit: &Unit| matches!(unit, Unit::Byte(b'$' | b'`' | b'\n'));
        let escapes = text.contains(&Unit::Byte(b'\\'));
        let quotes = text
            .iter()
            .any(|unit| matches!(unit, Unit::Byte(b'"' | b'\'')));
        match word.literal() {
            Some(delimiter)
                if !(delimiter.is_empty() || text.iter().any(is_odd) || escapes && quotes) =>
            {
                self.pending.push(Heredoc {
                    delimiter,
                    is_quoted: escapes || quotes,
                    strips_tabs,
                    command,
                    pipelines: self.feeds.around(),
                    scopes: vec![self.feeds.here(false)],
                });
                Ok(())
            }
            _ => unreadable("a here-document's delimiter is no plain word: write EOF or 'EOF'"),
        }
    }

    /// Reads the bodies that begin here.
    pub(super) fn heredoc_bodies(&mut self) -> Parsed<()> {
        for heredoc in std::mem::take(&mut self.pending) {
            let (end, next) = self.find_delimiter(&heredoc)?;
            let from = self.found.len();
            let outer = std::mem::replace(&mut self.end, end);
            self.opaque += 1;
            self.is_in_heredoc = true;
            let in_double = std::mem::replace(&mut self.is_in_double, true);
            let read = match heredoc.is_quoted {
                true => self.quoted_body(),
                false => self.body(),
            };
            self.is_in_heredoc = false;
            self.is_in_double = in_double;
            self.opaque -= 1;
            self.end = outer;
            read?;
            self.at = next;
            self.feeds.feed(from..self.found.len(), heredoc.scopes);
        }
        Ok(())
    }

    /// Returns the end of a body, and the place where the script goes on.
    fn find_delimiter(&self, heredoc: &Heredoc) -> Parsed<(usize, usize)> {
        let mut begin = self.at;
        let mut is_continued = false;
        while begin < self.end {
            let rest = &self.units[begin..self.end];
            let length = rest.iter().position(|unit| *unit == Unit::Byte(b'\n'));
            let line = &rest[..length.unwrap_or(rest.len())];
            let tabs = line.iter().take_while(|unit| **unit == Unit::Byte(b'\t'));
            let bare = match heredoc.strips_tabs {
                true => &line[tabs.count()..],
                false => line,
            };
            let delimiter = heredoc.delimiter.iter().map(|byte| Unit::Byte(*byte));
            if bare.iter().copied().eq(delimiter.clone()) {
                if is_continued {
                    return unreadable("a here-document's last line goes on in its delimiter");
                }
                return match length {
                    Some(length) => Ok((begin, begin + length + 1)),
                    None if !self.is_nested() => Ok((begin, self.end)),
                    None => unreadable("a here-document's delimiter has no line of its own"),
                };
            }
            let is_alike = bare.len() > heredoc.delimiter.len()
                && delimiter.eq(bare[..heredoc.delimiter.len()].iter().copied());
            if is_alike && self.is_nested() {
                return unreadable("a here-document has a line that begins as its delimiter");
            }
            let escapes = line
                .iter()
                .rev()
                .take_while(|unit| **unit == Unit::Byte(b'\\'));
            is_continued = !heredoc.is_quoted && escapes.count() % 2 == 1;
            begin += length.map_or(rest.len(), |length| length + 1);
        }
        unreadable("a here-document has no end")
    }

    fn quoted_body(&mut self) -> Parsed<()> {
        while let Some(unit) = self.unit(0) {
            match unit {
                Unit::Byte(_) => self.at += 1,
                Unit::Placeholder { .. } => {
                    self.refuse_place(ShellRefusal::Misplaced(Misplaced::QuotedHeredoc))
                }
            }
        }
        Ok(())
    }

    /// Reads a body in which parameters and commands are expanded.
    fn body(&mut self) -> Parsed<()> {
        while let Some(unit) = self.unit(0) {
            match unit {
                Unit::Byte(b'\\') => {
                    self.at += 1;
                    match self.unit(0) {
                        Some(Unit::Placeholder { .. }) => {
                            self.refuse_place(ShellRefusal::Misplaced(Misplaced::AfterBackslash))
                        }
                        _ => self.at += 1,
                    }
                }
                Unit::Byte(b'$') => self.dollar(Around::Heredoc, &mut Vec::new())?,
                Unit::Byte(b'`') => self.backquotes()?,
                Unit::Byte(_) => self.at += 1,
                Unit::Placeholder { .. } => self.take_place(Quoting::Kept),
            }
        }
        Ok(())
    }
}
