//! PURE: why a place cannot be filled in where it stands in a shell's script, and what to write there
//! instead. Knows nothing of how scripts are read.

use super::interpreters::Language;

/// Why a value may not stand where its place does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Arithmetic,
    Eval,
    Trap,
    Sourced,
    Completion,
    /// The script of `sh -c`.
    Script,
    /// The program of awk, perl and the like.
    Program(Language),
    Remote,
    Watched,
    SplitByEnv,
    EnvOption,
    /// What `sh` and the like read from stdin.
    Stdin,
    /// A shell's first argument, which may be an option.
    ShellOption,
    /// The same of an interpreter.
    ProgramOption,
    PrintfOption,
    TestOperator,
    VariableName,
    AssignmentLeft,
    SpecialVariable,
    ProgramName,
    HeredocDelimiter,
    QuotedHeredoc,
    HeredocPattern,
    AfterBackslash,
    AfterDollar,
    /// A command's name of several words.
    SplitName,
    /// `${x:-several words}`.
    SplitDefault,
    EscapesInBackquotes,
    BraceOperator,
    /// The target of `>&`.
    Duplication,
    /// The script cannot be read with certainty.
    Unreadable(&'static str),
}

impl Refusal {
    /// Whether digits alone do no harm there, which is all that some places can give.
    pub(super) fn is_of_content(self) -> bool {
        match self {
            Refusal::Arithmetic
            | Refusal::Eval
            | Refusal::Trap
            | Refusal::Script
            | Refusal::Program(_)
            | Refusal::Remote
            | Refusal::Watched
            | Refusal::SplitByEnv
            | Refusal::EnvOption
            | Refusal::Stdin
            | Refusal::ShellOption
            | Refusal::ProgramOption
            | Refusal::PrintfOption
            | Refusal::TestOperator
            | Refusal::SpecialVariable
            | Refusal::ProgramName
            | Refusal::BraceOperator
            | Refusal::Duplication => true,
            Refusal::Sourced
            | Refusal::Completion
            | Refusal::VariableName
            | Refusal::AssignmentLeft
            | Refusal::HeredocDelimiter
            | Refusal::QuotedHeredoc
            | Refusal::HeredocPattern
            | Refusal::AfterBackslash
            | Refusal::AfterDollar
            | Refusal::SplitName
            | Refusal::SplitDefault
            | Refusal::EscapesInBackquotes
            | Refusal::Unreadable(_) => false,
        }
    }

    /// What follows the place's sign in a complaint.
    pub(super) fn words(self) -> String {
        let words = match self {
            Refusal::Arithmetic => {
                "stands in arithmetic, which evaluates it: write $(expr {} + 1), or compute in awk"
            }
            Refusal::Eval => {
                "would be evaluated by eval: write x={}, and then eval '... \"$x\" ...'"
            }
            Refusal::Trap => {
                "would be evaluated by trap: write x={}, and then trap '... \"$x\" ...' EXIT"
            }
            Refusal::Sourced => {
                "names a file that would become a part of the script: write sh -- {}"
            }
            Refusal::Completion => {
                "stands where bash evaluates it: this is for interactive shells only"
            }
            Refusal::Script => {
                "would become a part of another shell's script: give it to that as an argument, \
                 sh -c '... \"$1\" ...' sh {}"
            }
            Refusal::Program(language) => return language.advice(),
            Refusal::Remote => {
                "would be evaluated by the other host's shell: send it on stdin, \
                 printf '%s\\n' {} | ssh HOST 'IFS= read -r x; ... \"$x\" ...'"
            }
            Refusal::Watched => {
                "would be evaluated by the shell that watch starts: write watch -x -- COMMAND {}"
            }
            Refusal::SplitByEnv => "would be split into words by env -S: leave -S away",
            Refusal::EnvOption => "could be the option -S of env: write env -- {}",
            Refusal::Stdin => {
                "would become a part of the script that is read from stdin: give it as an \
                 argument, sh -s -- {} <<'EOF', and write \"$1\" in the script"
            }
            Refusal::ShellOption => {
                "could be an option of the shell that is started: write sh -- {}"
            }
            Refusal::ProgramOption => {
                "would be a program if the word before it turned out to be an option: write -- \
                 before that"
            }
            Refusal::PrintfOption => {
                "would be the format of printf, or an option: write printf '%s\\n' {}"
            }
            Refusal::TestOperator => {
                "stands where test may take it for a variable's name, or the word before it for an \
                 operator: write test -n {}, or test {} = ..."
            }
            Refusal::VariableName => {
                "stands where a variable's name does, which bash evaluates: write a name there"
            }
            Refusal::AssignmentLeft => "stands on the left side of an assignment: write NAME={}",
            Refusal::SpecialVariable => {
                "would be the value of a variable that shells evaluate: write another name"
            }
            Refusal::ProgramName => {
                "is the command's name, or may be, which could be eval, and others are its arguments: write a \
                 path, such as ./{}, or env -- {}"
            }
            Refusal::HeredocDelimiter => {
                "stands in a here-document's delimiter: write a word such as EOF"
            }
            Refusal::QuotedHeredoc => {
                "stands in a here-document with a quoted delimiter, in which nothing is filled in: \
                 write <<EOF without quotes, and \\$ for each $ that is to stay"
            }
            Refusal::HeredocPattern => {
                "stands in a pattern in a here-document: write x={}, and $x there"
            }
            Refusal::AfterBackslash => {
                "stands behind a backslash: put the backslash between quotes, '\\'{}"
            }
            Refusal::AfterDollar => {
                "stands behind a $: write \\$ for a $ that is to stay, and $NAME for a variable"
            }
            Refusal::SplitName => {
                "would be split into a command and its arguments: put quotes around the expansion"
            }
            Refusal::SplitDefault => {
                "stands in ${...} with a blank in it, which is split into words: put quotes around \
                 all of it, \"${...}\""
            }
            Refusal::EscapesInBackquotes => {
                "stands in backquotes with a backslash in them: write $(...)"
            }
            Refusal::BraceOperator => {
                "stands in ${...} behind an operator that evaluates it, or that not every sh has: \
                 one of - = ? + # % can stand there"
            }
            Refusal::Duplication => {
                "stands behind >& or <&, where bash evaluates it: write >{} 2>&1"
            }
            Refusal::Unreadable(why) => {
                return format!("cannot be filled in safely: {why}");
            }
        };
        words.to_owned()
    }
}
