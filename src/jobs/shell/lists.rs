//! PURE: reads a list of commands: operators, redirections, and compounds such as `case`.

use super::commands::SimpleCommand;
use super::evaluation::CommandFindings;
use super::lexer::{Closer, Lexer, NESTING_MAX, Parsed, Quoting, Unit, unreadable};
use super::readers;
use super::refusal::{Evaluated, ShellRefusal};
use super::variables::is_special;
use super::words::{Bit, Word, is_name};

/// The parts that may come next in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A command's name, or a reserved word.
    Name,
    Argument,
    /// The parts that may follow `fi`, `done` and other ends.
    AfterCompound,
    ForName,
    ForIn,
    ForWord,
    CaseSubject,
    CaseIn,
    Pattern {
        is_first: bool,
    },
    PatternEnd,
}

/// A list of commands that is being read.
struct List {
    closer: Closer,
    expect: Expect,
    /// The number of open `case`.
    cases: usize,
    /// The number of here-documents that are pending outside of it.
    outer: usize,
    command: SimpleCommand,
    number: usize,
    /// The number of open compound commands, except `( )`.
    compounds: usize,
}

impl Lexer<'_> {
    /// Reads commands up to their end, and takes that as well.
    pub(super) fn list(&mut self, closer: Closer) -> Parsed<()> {
        self.nested(|lexer| {
            let mut list = List {
                closer,
                expect: Expect::Name,
                cases: 0,
                outer: lexer.pending.len(),
                command: SimpleCommand::default(),
                number: lexer.next_number(),
                compounds: 0,
            };
            lexer.feeds.begin(lexer.found.len());
            loop {
                lexer.skip_blanks()?;
                if lexer.unit(0).is_none() {
                    lexer.end_of_script(&mut list)?;
                    break;
                }
                if lexer.step(&mut list)? {
                    break;
                }
            }
            lexer.feeds.end(list.compounds + 1);
            Ok(())
        })
    }

    fn next_number(&mut self) -> usize {
        self.commands += 1;
        self.commands
    }

    fn next_pipeline(&mut self) {
        self.feeds.next(self.found.len());
    }

    fn end_of_script(&mut self, list: &mut List) -> Parsed<()> {
        if !self.is_nested() {
            let (first, rest) = list.command.words.split_at(1.min(list.command.words.len()));
            let last = rest.last().map(|word| &word.bits[..]);
            self.ends_with_argument = !first.is_empty() && last == Some(&[Bit::Placeholder]);
        }
        self.end_command(list)?;
        if list.closer == Closer::Paren {
            return unreadable("a ( is not closed");
        }
        self.end_of_list(list)
    }

    fn end_of_list(&mut self, list: &List) -> Parsed<()> {
        if self.pending.len() > list.outer {
            return unreadable("a here-document has no body");
        }
        let is_complete = matches!(
            list.expect,
            Expect::Name | Expect::Argument | Expect::AfterCompound | Expect::ForWord
        );
        if !(is_complete && list.cases == 0) {
            return unreadable("a case or for is not complete");
        }
        match list.compounds {
            0 => Ok(()),
            _ => unreadable("a {, if or loop is not closed"),
        }
    }

    /// Reads the next operator or word. Returns `true` if that ended the list.
    fn step(&mut self, list: &mut List) -> Parsed<bool> {
        match self.byte(0) {
            Some(b'\n') => self.newline(list)?,
            Some(b'#') => self.comment(),
            Some(b';') => self.semicolon(list)?,
            Some(b'&') => self.ampersand(list)?,
            Some(b'|') => self.bar(list)?,
            Some(b'(') => self.open(list)?,
            Some(b')') => return self.close(list),
            Some(b'<' | b'>') => self.redirection(list)?,
            _ => self.next_word(list)?,
        }
        Ok(false)
    }

    fn comment(&mut self) {
        self.opaque += 1;
        while let Some(unit) = self.unit(0) {
            match unit {
                Unit::Byte(b'\n') => break,
                Unit::Byte(_) => self.at += 1,
                Unit::Placeholder { .. } => self.take_place(Quoting::Kept),
            }
        }
        self.opaque -= 1;
    }

    fn newline(&mut self, list: &mut List) -> Parsed<()> {
        self.end_command(list)?;
        self.at += 1;
        let mut is_end = false;
        list.expect = match list.expect {
            Expect::Argument | Expect::AfterCompound | Expect::ForWord => {
                is_end = true;
                Expect::Name
            }
            Expect::ForName | Expect::CaseSubject | Expect::PatternEnd => {
                return unreadable("a line ends within a case or for");
            }
            same => same,
        };
        if list.outer > 0 {
            return unreadable("a here-document begins on a line that ends within ( )");
        }
        self.heredoc_bodies()?;
        if is_end {
            self.next_pipeline();
        }
        Ok(())
    }

    fn separate(&mut self, list: &mut List) -> Parsed<()> {
        self.end_element(list)?;
        self.next_pipeline();
        Ok(())
    }

    fn end_element(&mut self, list: &mut List) -> Parsed<()> {
        self.end_command(list)?;
        match list.expect {
            Expect::Name | Expect::Argument | Expect::AfterCompound => {}
            Expect::ForIn | Expect::ForWord => {}
            _ => return unreadable("an operator stands within a case or for"),
        }
        list.expect = Expect::Name;
        Ok(())
    }

    fn semicolon(&mut self, list: &mut List) -> Parsed<()> {
        match self.byte(1) {
            Some(b'&') => unreadable("not every sh has ;&"),
            Some(b';') => {
                self.take_operator(2)?;
                if self.byte(0) == Some(b'&') {
                    return unreadable("not every sh has ;;&");
                }
                self.separate(list)?;
                if list.cases == 0 {
                    return unreadable(";; stands outside of case");
                }
                list.expect = Expect::Pattern { is_first: true };
                Ok(())
            }
            _ => {
                self.take_operator(1)?;
                self.separate(list)
            }
        }
    }

    fn ampersand(&mut self, list: &mut List) -> Parsed<()> {
        if self.byte(1) == Some(b'>') {
            return unreadable("not every sh has &>: write >FILE 2>&1");
        }
        self.take_operator(if self.byte(1) == Some(b'&') { 2 } else { 1 })?;
        self.separate(list)
    }

    fn bar(&mut self, list: &mut List) -> Parsed<()> {
        if list.expect == Expect::PatternEnd {
            list.expect = Expect::Pattern { is_first: false };
            return self.take_operator(1);
        }
        if self.byte(1) == Some(b'&') {
            return unreadable("not every sh has |&: write 2>&1 |");
        }
        if self.byte(1) == Some(b'|') {
            self.take_operator(2)?;
            return self.separate(list);
        }
        self.take_operator(1)?;
        self.end_element(list)?;
        if let Some((pipeline, scope)) = self.feeds.pipe(self.found.len()) {
            let waiting = self.pending.iter_mut();
            let before = waiting.filter(|heredoc| heredoc.pipelines.contains(&pipeline));
            before.for_each(|heredoc| heredoc.scopes.push(scope));
        }
        Ok(())
    }

    fn open(&mut self, list: &mut List) -> Parsed<()> {
        match list.expect {
            Expect::Pattern { is_first: true } => {
                list.expect = Expect::Pattern { is_first: false };
                self.take_operator(1)
            }
            Expect::Name if list.command.is_empty() => {
                if self.byte(1) == Some(b'(') {
                    return unreadable("(( is arithmetic for some: write ( (");
                }
                self.take_operator(1)?;
                self.list(Closer::Paren)?;
                list.expect = Expect::AfterCompound;
                Ok(())
            }
            Expect::Argument if list.command.may_be_function() => {
                self.take_operator(1)?;
                self.skip_blanks()?;
                if self.byte(0) != Some(b')') {
                    return unreadable("a ( stands behind a word");
                }
                self.take_operator(1)?;
                self.feeds.has_function = true;
                list.command = SimpleCommand::default();
                list.expect = Expect::Name;
                Ok(())
            }
            _ => unreadable("a ( stands where no command can begin"),
        }
    }

    fn close(&mut self, list: &mut List) -> Parsed<bool> {
        if list.expect == Expect::PatternEnd {
            self.take_operator(1)?;
            list.expect = Expect::Name;
            return Ok(false);
        }
        if list.closer != Closer::Paren {
            return unreadable("a ) closes nothing");
        }
        self.end_command(list)?;
        self.end_of_list(list)?;
        self.at += 1;
        Ok(true)
    }

    fn end_command(&mut self, list: &mut List) -> Parsed<()> {
        let command = std::mem::take(&mut list.command);
        if readers::writes_contents_only(&command.words) {
            let words = command
                .words
                .iter()
                .filter(|word| word.has_own_places_only());
            words.for_each(|word| self.feeds.name(word.places.clone()));
        }
        let CommandFindings {
            refused,
            reads_script,
            trouble,
        } = command.judge();
        for (places, refusal) in refused {
            self.refuse(places, refusal);
        }
        // From then on it is the stdin of all commands.
        let scope = self.feeds.here(command.is_exec());
        for heredoc in &mut self.pending {
            if heredoc.command == list.number && command.is_exec() {
                heredoc.scopes.push(scope);
            }
        }
        for places in command.fed {
            self.feeds.feed(places, vec![scope]);
        }
        if reads_script {
            // A body may be expanded with any stdin.
            self.feeds.reader(self.is_in_heredoc);
        }
        list.number = self.next_number();
        trouble.map_or(Ok(()), unreadable)
    }

    fn redirection(&mut self, list: &mut List) -> Parsed<()> {
        match list.expect {
            Expect::Name => list.command.is_redirected = true,
            Expect::Argument | Expect::AfterCompound => {}
            _ => return unreadable("a redirection stands within a case or for"),
        }
        let length = match (self.byte(0), self.byte(1), self.byte(2)) {
            (_, Some(b'('), _) => return unreadable("not every sh has <( ) and >( )"),
            (Some(b'<'), Some(b'<'), Some(b'<' | b'-')) => 3,
            (Some(b'<'), Some(b'<' | b'&' | b'>'), _) => 2,
            (Some(b'>'), Some(b'>' | b'&' | b'|'), _) => 2,
            _ => 1,
        };
        let (second, third) = (self.byte(1), self.byte(2));
        let (is_duplication, is_input) = (second == Some(b'&'), self.byte(0) == Some(b'<'));
        let is_heredoc = self.byte(0) == Some(b'<') && second == Some(b'<') && length > 1;
        self.take_operator(length)?;
        self.skip_blanks()?;
        if is_heredoc && third != Some(b'<') {
            return self.heredoc_delimiter(length == 3, list.number);
        }
        if self.is_at_word_end() || self.byte(0) == Some(b'#') {
            return unreadable("a redirection has no file");
        }
        let word = self.word()?;
        if is_duplication {
            // bash expands it, finds that it is no number, and expands it again as a file's name.
            let evaluated = ShellRefusal::Evaluated(Evaluated::Duplication);
            self.refuse(word.places.clone(), evaluated);
            if word.has_expansion() {
                return unreadable("bash expands what stands behind >& twice: write >FILE 2>&1");
            }
        }
        if is_heredoc {
            list.command.fed.push(word.places);
        } else if length == 1 && is_input && word.has_own_places_only() {
            self.feeds.name(word.places);
        }
        Ok(())
    }

    /// Reads a redirection that begins with a word such as `2`. Returns `false` if it is none.
    fn redirection_of(&mut self, list: &mut List, word: &Word) -> Parsed<bool> {
        let text = word.plain().unwrap_or_default();
        if text.is_empty() || !matches!(self.byte(0), Some(b'<' | b'>')) {
            return Ok(false);
        }
        if text.starts_with(b"{") {
            return unreadable("not every sh has {NAME}< and {NAME}>");
        }
        if !text.iter().all(u8::is_ascii_digit) {
            return Ok(false);
        }
        let begin = self.at;
        self.redirection(list)?;
        // Complaints may be written to the same pipe.
        let nowhere = b">/dev/null".iter().map(|byte| Unit::Byte(*byte));
        self.feeds.has_complaints |= !self.units[begin..self.at].iter().copied().eq(nowhere);
        Ok(true)
    }

    fn next_word(&mut self, list: &mut List) -> Parsed<()> {
        let word = self.word()?;
        if word.bits.is_empty() && !word.is_quoted {
            // It was only a line's end that was removed.
            return Ok(());
        }
        if self.redirection_of(list, &word)? {
            return Ok(());
        }
        match list.expect {
            Expect::Name => self.name(list, word),
            Expect::Argument => {
                let is_reserved = word.plain().is_some_and(|text| is_reserved(&text));
                if is_reserved && list.command.is_timed() {
                    return unreadable("time is a word of the language for some shells only");
                }
                list.command.push(word);
                Ok(())
            }
            Expect::ForWord => Ok(()),
            Expect::AfterCompound => match word.plain() {
                Some(text) if is_between_commands(&text) => self.reserved(list, &text),
                _ => unreadable("a word stands behind the end of a compound command"),
            },
            Expect::ForName => match word.plain() {
                Some(name) if is_name(&name) && !is_special(&name) => {
                    list.expect = Expect::ForIn;
                    Ok(())
                }
                _ => unreadable("for has no plain name behind it"),
            },
            Expect::ForIn => match word.plain().as_deref() {
                Some(b"in") => {
                    list.expect = Expect::ForWord;
                    Ok(())
                }
                Some(b"do") => {
                    list.expect = Expect::Name;
                    Ok(())
                }
                _ => unreadable("for has no in behind its name"),
            },
            Expect::CaseSubject => {
                list.expect = Expect::CaseIn;
                Ok(())
            }
            Expect::CaseIn if word.plain().as_deref() == Some(b"in") => {
                list.cases += 1;
                list.expect = Expect::Pattern { is_first: true };
                Ok(())
            }
            Expect::CaseIn => unreadable("case has no in behind its word"),
            Expect::Pattern { is_first: true } if word.plain().as_deref() == Some(b"esac") => {
                self.reserved(list, b"esac")
            }
            Expect::Pattern { .. } => {
                list.expect = Expect::PatternEnd;
                Ok(())
            }
            Expect::PatternEnd => unreadable("a pattern of case has no ) behind it"),
        }
    }

    /// Reads a word where a command begins.
    fn name(&mut self, list: &mut List, word: Word) -> Parsed<()> {
        if list.command.is_empty()
            && let Some(text) = word.plain()
            && is_reserved(&text)
        {
            return self.reserved(list, &text);
        }
        list.command.push(word);
        if !list.command.words.is_empty() {
            list.expect = Expect::Argument;
        }
        Ok(())
    }

    /// Begins or ends a compound command, if a word does so.
    fn compound(&mut self, list: &mut List, word: &[u8]) -> Parsed<()> {
        match word {
            b"{" | b"if" | b"while" | b"until" | b"for" | b"select" | b"case" => {
                if list.compounds >= NESTING_MAX {
                    return unreadable("it is nested too deeply");
                }
                list.compounds += 1;
                self.feeds.begin(self.found.len());
            }
            b"}" | b"fi" | b"done" | b"esac" if list.compounds > 0 => {
                list.compounds -= 1;
                self.feeds.end(1);
            }
            _ => {}
        }
        Ok(())
    }

    fn reserved(&mut self, list: &mut List, word: &[u8]) -> Parsed<()> {
        self.compound(list, word)?;
        list.expect = match word {
            b"for" | b"select" => Expect::ForName,
            b"case" => Expect::CaseSubject,
            b"fi" | b"done" | b"}" => Expect::AfterCompound,
            b"esac" => {
                if list.cases == 0 {
                    return unreadable("esac stands outside of case");
                }
                list.cases -= 1;
                Expect::AfterCompound
            }
            b"[[" => return unreadable("not every sh has [[ ]]: write [ ]"),
            b"function" => return unreadable("not every sh has function: write NAME()"),
            b"coproc" => return unreadable("not every sh has coproc"),
            _ => Expect::Name,
        };
        Ok(())
    }
}

/// Returns `true` for a reserved word. `time` is none: for some shells it is a command's name.
fn is_reserved(word: &[u8]) -> bool {
    let beginnings: [&[u8]; 11] = [
        b"!",
        b"{",
        b"if",
        b"while",
        b"until",
        b"for",
        b"select",
        b"case",
        b"[[",
        b"function",
        b"coproc",
    ];
    is_between_commands(word) || beginnings.contains(&word)
}

/// Returns `true` for a word that may follow the end of a compound command.
fn is_between_commands(word: &[u8]) -> bool {
    let words: [&[u8]; 8] = [
        b"then", b"elif", b"else", b"fi", b"do", b"done", b"esac", b"}",
    ];
    words.contains(&word)
}
