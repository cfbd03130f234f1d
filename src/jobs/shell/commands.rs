//! PURE: a command of a script, with its words. It does not see what a variable or a function of the
//! script makes of a value.

use std::ops::Range;

use super::evaluation::{CommandFindings, is_prefix};
use super::readers;
use super::words::{Word, is_name};

/// A command with its words, as far as they have been read.
#[derive(Debug, Clone, Default)]
pub(super) struct SimpleCommand {
    /// Each `NAME=value` before the name.
    pub(super) assignments: Vec<Word>,
    /// The name and the arguments.
    pub(super) words: Vec<Word>,
    /// Places in here-strings.
    pub(super) fed: Vec<Range<usize>>,
    /// True if there were redirections before the name.
    pub(super) is_redirected: bool,
}

impl SimpleCommand {
    pub(super) fn is_empty(&self) -> bool {
        self.assignments.is_empty() && self.words.is_empty() && !self.is_redirected
    }

    pub(super) fn is_timed(&self) -> bool {
        let name = self.words.first().and_then(Word::plain);
        name.as_deref() == Some(b"time")
    }

    /// Returns `true` if `()` after it would make it a function's name.
    pub(super) fn may_be_function(&self) -> bool {
        let name = self.words.first().and_then(Word::plain);
        self.words.len() == 1
            && self.assignments.is_empty()
            && !self.is_redirected
            && name.is_some_and(|name| is_name(&name))
    }

    pub(super) fn push(&mut self, word: Word) {
        let is_assignment = self.words.is_empty() && word.assigned().is_some();
        match is_assignment {
            true => self.assignments.push(word),
            false => self.words.push(word),
        }
    }

    pub(super) fn judge(&self) -> CommandFindings {
        let mut verdict = CommandFindings::default();
        for word in &self.assignments {
            verdict.judge_value(word);
        }
        if self.words.iter().any(Word::has_alternatives) {
            verdict.trouble = Some("not every sh has {a,b}: write the words out, or quote them");
        }
        verdict.judge(&self.words);
        // Expansions may give nothing, so `$x eval` and `${x}eval` may be `eval`.
        if self.words.iter().any(Word::has_expansion) {
            let staying = self.words.iter().filter(|word| !word.may_vanish());
            let rest: Vec<Word> = staying.map(Word::without_expansions).collect();
            verdict.judge(&rest);
        }
        verdict.judge_unknown(&self.words);
        verdict.reads_script = readers::may_run_stdin(&self.words);
        verdict
    }

    /// Returns `true` if its redirections hold for all that follows.
    pub(super) fn is_exec(&self) -> bool {
        let mut words = self.words.iter().skip_while(|word| is_prefix(word));
        words.next().and_then(Word::literal).as_deref() == Some(b"exec")
    }
}
