//! PURE: finds arguments that a command evaluates again: `eval`, `sh -c`, and bash's uses of variable
//! names. It does not know what a command reads.

use std::ops::Range;

use super::interpreters;
use super::languages::Language;
use super::launchers;
use super::refusal::{Evaluated, Misplaced, ShellRefusal, StartedProgram};
use super::runners::{is_order_of_find, is_runner, known};
use super::variables::is_special;
use super::words::{Bit, Word, is_name, is_option};

/// The findings about a command.
#[derive(Debug, Default)]
pub(super) struct CommandFindings {
    pub(super) refused: Vec<(Range<usize>, ShellRefusal)>,
    /// True if it reads a script or program from stdin.
    pub(super) reads_script: bool,
    /// The reason why nothing that follows can be read with certainty.
    pub(super) trouble: Option<&'static str>,
}

/// Returns `true` if a command would evaluate words appended to it, as `xargs` does.
pub(super) fn is_pasted_evaluated(command: &[Word]) -> bool {
    let mut words = command.to_vec();
    // No place of the script has such a number.
    words.extend(std::iter::repeat_n(
        Word {
            bits: vec![Bit::Placeholder],
            places: usize::MAX - 1..usize::MAX,
            ..Word::default()
        },
        2,
    ));
    let mut verdict = CommandFindings::default();
    verdict.judge(&words);
    let mut refused = verdict.refused.iter();
    refused.any(|(places, _)| places.start == usize::MAX - 1)
}

/// Returns the place of `-c` among the words after a shell's name.
fn script_option(words: &[Word]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let text = word.literal_prefix().0;
        let may_be_any = known(word).is_none();
        if !(is_option(&text) || text.starts_with(b"+") || may_be_any) {
            return None;
        }
        if is_option(&text) && text[1] != b'-' && text.contains(&b'c') {
            return Some(at);
        }
        // -o pipefail
        at += 1 + usize::from(matches!(text.last(), Some(b'o' | b'O')));
    }
    None
}

/// Returns `true` for words before a builtin's name after which it is still one.
pub(super) fn is_prefix(word: &Word) -> bool {
    let prefixes: [&[u8]; 4] = [b"command", b"builtin", b"time", b"jobs"];
    word.literal()
        .is_some_and(|text| prefixes.contains(&&text[..]))
}

impl CommandFindings {
    fn refuse(&mut self, word: &Word, refusal: ShellRefusal) {
        if word.has_place() {
            self.refused.push((word.places.clone(), refusal));
        }
    }

    fn refuse_all(&mut self, words: &[Word], refusal: ShellRefusal) {
        for word in words {
            self.refuse(word, refusal);
        }
    }

    /// Examines the value of a `NAME=value`.
    pub(super) fn judge_value(&mut self, word: &Word) {
        if word.assigned().is_some_and(|name| is_special(&name)) {
            self.refuse(word, ShellRefusal::Evaluated(Evaluated::SpecialVariable));
        }
    }

    pub(super) fn judge(&mut self, words: &[Word]) {
        let mut words = words;
        self.judge_name(words);
        while let Some((_, rest)) = words.split_first().filter(|(first, _)| is_prefix(first)) {
            // bash has `time NAME=value COMMAND`.
            let options = rest.iter().take_while(|word| {
                is_option(&word.literal_prefix().0) || word.assigned().is_some()
            });
            words = &rest[options.count()..];
            self.judge_name(words);
        }
        let Some((name, arguments)) = words.split_first() else {
            return;
        };
        if let Some(name) = name.literal() {
            self.judge_builtin(&name, arguments);
        }
        // `sudo sh -c`, `find -exec sh -c`, `ssh HOST sh -c`: wherever the name of one stands.
        let is_run = name.program().is_some_and(|program| is_runner(&program));
        let variables = words.iter().filter(|word| {
            let name = word.variable();
            is_run && name.is_some_and(|name| is_special(&name))
        });
        for word in variables {
            self.refuse(word, ShellRefusal::Evaluated(Evaluated::SpecialVariable));
        }
        let mut is_first = true;
        for (at, word) in words.iter().enumerate() {
            let Some(program) = word.program() else {
                continue;
            };
            // Another interpreter's name is an argument of the first: `sh -c SCRIPT sh {}`.
            let is_certain = (at == 0 || is_run) && is_first;
            is_first &= !interpreters::is_any(&program);
            self.judge_program(&program, &words[at + 1..], is_certain);
        }
    }

    /// Refuses arguments of a name that is not known and could be `eval` or a shell.
    pub(super) fn judge_unknown(&mut self, words: &[Word]) {
        let mut words = words;
        while let Some((_, rest)) = words.split_first().filter(|(first, _)| is_prefix(first)) {
            let options = rest
                .iter()
                .take_while(|word| is_option(&word.literal_prefix().0));
            words = &rest[options.count()..];
        }
        let Some((name, arguments)) = words.split_first() else {
            return;
        };
        let unknown = ShellRefusal::Started(StartedProgram::UnknownName);
        let is_whole = name.bits.len() == 1 && !name.is_split;
        if known(name).is_none() && !is_whole && !name.bits.contains(&Bit::Placeholder) {
            self.refuse_all(arguments, unknown);
        }
        // `"$x" -c {}`, also after sudo and the like.
        let runner = name.program().filter(|program| is_runner(program));
        let may_be_name = |at: usize| match runner.as_deref() {
            _ if at == 0 => true,
            Some(b"find") => is_order_of_find(&words[at - 1]),
            other => other.is_some(),
        };
        for at in 0..words.len() {
            if may_be_name(at) && known(&words[at]).is_none() {
                let script = script_option(&words[at + 1..]).map(|script| at + 1 + script);
                self.refuse_all(&words[script.unwrap_or(words.len())..], unknown);
            }
        }
    }

    fn judge_name(&mut self, words: &[Word]) {
        let Some((name, arguments)) = words.split_first() else {
            return;
        };
        let plain = name.plain_prefix();
        let bracket = plain.iter().position(|byte| *byte == b'[');
        if bracket.is_some_and(|at| is_name(&plain[..at])) {
            self.trouble = Some("not every sh has arrays, and bash evaluates what stands in [ ]");
        }
        let first = |wanted| name.bits.iter().position(|bit| *bit == wanted);
        if let (Some(place), Some(sign)) = (first(Bit::Placeholder), first(Bit::Plain(b'=')))
            && place < sign
        {
            self.refuse(name, ShellRefusal::Misplaced(Misplaced::AssignmentLeft));
        }
        // It is split into words, of which the first is the name.
        if name.has_place() && name.is_split {
            self.refuse(name, ShellRefusal::Started(StartedProgram::SplitName));
        }
        // A builtin's name has no slash.
        if name.bits.contains(&Bit::Placeholder) && !name.has_slash() {
            self.refuse_all(
                arguments,
                ShellRefusal::Started(StartedProgram::ProgramName),
            );
        }
    }

    fn judge_builtin(&mut self, name: &[u8], arguments: &[Word]) {
        match name {
            b"eval" | b"." | b"source" => {
                let refusal = match name {
                    b"eval" => ShellRefusal::Evaluated(Evaluated::Eval),
                    _ => ShellRefusal::Evaluated(Evaluated::Sourced),
                };
                self.refuse_all(arguments, refusal);
            }
            b"trap" => self.refuse_all(arguments, ShellRefusal::Evaluated(Evaluated::Trap)),
            b"let" => self.refuse_all(arguments, ShellRefusal::Evaluated(Evaluated::Arithmetic)),
            b"unset" | b"read" | b"getopts" | b"mapfile" | b"readarray" | b"wait" => {
                self.refuse_all(arguments, ShellRefusal::Misplaced(Misplaced::VariableName));
            }
            b"compgen" | b"complete" | b"compopt" | b"bind" | b"enable" | b"fc" | b"history" => {
                self.refuse_all(arguments, ShellRefusal::Evaluated(Evaluated::Completion));
            }
            b"export" | b"readonly" | b"local" => self.judge_declaration(name, arguments),
            b"alias" => self.trouble = Some("an alias changes how what follows is read"),
            b"declare" | b"typeset" | b"integer" | b"nameref" => {
                self.trouble = Some("what declare makes of variables can evaluate their values");
            }
            b"printf" => {
                let begins_unknown = |word: &&Word| {
                    word.bits.first() == Some(&Bit::Placeholder) || word.begins_with(b"-v")
                };
                if let Some(first) = arguments.first().filter(begins_unknown) {
                    self.refuse(first, ShellRefusal::Evaluated(Evaluated::PrintfOption));
                    if first.literal().as_deref() == Some(b"-v") {
                        self.refuse_all(
                            &arguments[1..2.min(arguments.len())],
                            ShellRefusal::Misplaced(Misplaced::VariableName),
                        );
                    }
                }
            }
            b"test" | b"[" => self.judge_test(arguments),
            _ => {}
        }
    }

    /// Examines `export NAME=value`, which is an assignment; other arguments are names.
    fn judge_declaration(&mut self, name: &[u8], arguments: &[Word]) {
        for word in arguments {
            if name == b"local" && is_option(&word.literal_prefix().0) {
                self.trouble =
                    Some("what local -i and -n make of variables evaluates their values");
            }
            match word.assigned() {
                Some(_) => self.judge_value(word),
                None => self.refuse(word, ShellRefusal::Misplaced(Misplaced::VariableName)),
            }
        }
    }

    /// Examines a test: bash has `-v NAME`, and evaluates the brackets after the name.
    fn judge_test(&mut self, arguments: &[Word]) {
        for pair in arguments.windows(2) {
            let takes_name = matches!(pair[0].literal().as_deref(), Some(b"-v" | b"-R"));
            let (begin, _) = pair[0].literal_prefix();
            let may_be_operator = pair[0].bits.contains(&Bit::Placeholder)
                && [b"-v", b"-R"]
                    .iter()
                    .any(|operator| operator.starts_with(&begin));
            if takes_name || may_be_operator && pair[1].has_place() {
                self.refuse(&pair[1], ShellRefusal::Evaluated(Evaluated::TestOperator));
            }
        }
    }

    /// Examines a program that takes one of its arguments for a program. If it is not certain that
    /// it is run, only strong signs count.
    fn judge_program(&mut self, program: &[u8], arguments: &[Word], is_certain: bool) {
        let mut refused = Vec::new();
        if interpreters::is_shell(program) {
            interpreters::judge_shell(arguments, &mut refused);
        } else if let Some(language) = Language::named(program) {
            language.judge(arguments, &mut refused);
        } else if program == b"ssh" {
            interpreters::judge_ssh(arguments, &mut refused);
        } else {
            launchers::judge(program, arguments, &mut refused);
        }
        for (at, refusal) in refused {
            let is_guess = matches!(refusal, ShellRefusal::Started(started) if started.is_guess());
            let is_operand = matches!(
                refusal,
                ShellRefusal::Program(Language::Awk | Language::Sed)
            );
            if let Some(word) = arguments.get(at)
                && (is_certain || !(is_guess || is_operand))
            {
                self.refuse(word, refusal);
            }
        }
    }
}
