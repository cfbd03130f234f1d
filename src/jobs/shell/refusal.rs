//! PURE: the reasons for which a place in a shell's script cannot be filled in, and what to write
//! there instead. It knows nothing of how scripts are read.

use super::languages::Language;

/// The reason for which a value may not stand in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShellRefusal {
    Evaluated(Evaluated),
    Started(StartedProgram),
    /// It would become a part of the program of awk, perl and the like.
    Program(Language),
    Misplaced(Misplaced),
    /// The script cannot be read with certainty.
    Unreadable(&'static str),
}

/// A place where a value would be evaluated, or become more than one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evaluated {
    Arithmetic,
    Eval,
    Trap,
    Sourced,
    Completion,
    /// The stdin of `sh` and the like.
    Stdin,
    PrintfOption,
    TestOperator,
    /// The target of `>&`.
    Duplication,
    SpecialVariable,
    /// `${x:-several words}`.
    SplitDefault,
    BraceOperator,
}

/// A place where a started program would evaluate a value, or might.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartedProgram {
    /// The script of `sh -c`.
    Script,
    Remote,
    Watched,
    SplitByEnv,
    EnvOption,
    /// The host of ssh.
    SshOption,
    Parallel,
    /// The argument of an option that is a command.
    CommandOption,
    /// An argument of a command whose name is not known.
    UnknownName,
    /// A shell's first argument, which may be an option.
    ShellOption,
    /// An interpreter's first argument, which may be an option.
    ProgramOption,
    /// The name of a file that perl takes for a command if it ends in `|`.
    OpenedByPerl,
    ProgramName,
    /// A command's name that becomes several words.
    SplitName,
}

/// A place where no value can stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misplaced {
    VariableName,
    AssignmentLeft,
    HeredocDelimiter,
    QuotedHeredoc,
    HeredocPattern,
    AfterBackslash,
    AfterDollar,
    EscapesInBackquotes,
}

impl ShellRefusal {
    /// Returns `true` if digits alone do no harm there; some places can give only digits.
    pub(super) fn is_of_content(self) -> bool {
        !matches!(
            self,
            ShellRefusal::Misplaced(_) | ShellRefusal::Unreadable(_)
        )
    }

    /// Returns the text after the place in a complaint.
    pub(super) fn words(self) -> String {
        match self {
            ShellRefusal::Evaluated(evaluated) => evaluated.words().to_owned(),
            ShellRefusal::Started(started) => started.words().to_owned(),
            ShellRefusal::Program(language) => language.advice(),
            ShellRefusal::Misplaced(misplaced) => misplaced.words().to_owned(),
            ShellRefusal::Unreadable(why) => format!("cannot be filled in safely: {why}"),
        }
    }
}

impl Evaluated {
    fn words(self) -> &'static str {
        match self {
            Evaluated::Arithmetic => {
                "stands in arithmetic, which evaluates it: write $(expr {} + 1), or compute in awk"
            }
            Evaluated::Eval => {
                "would be evaluated by eval: write x={}, and then eval '... \"$x\" ...'"
            }
            Evaluated::Trap => {
                "would be evaluated by trap: write x={}, and then trap '... \"$x\" ...' EXIT"
            }
            Evaluated::Sourced => {
                "names a file that would become a part of the script: write sh -- {}"
            }
            Evaluated::Completion => {
                "stands where bash evaluates it: this is for interactive shells only"
            }
            Evaluated::Stdin => {
                "could become a part of a script that is read from stdin, by a shell, an interpreter, \
                 eval, or a command of which that is not known: give it as an argument, \
                 sh -s -- {} <<'EOF', and write \"$1\" in the script"
            }
            Evaluated::PrintfOption => {
                "would be the format of printf, or an option: write printf '%s\\n' {}"
            }
            Evaluated::TestOperator => {
                "stands where test may take it for a variable's name, or the word before it for an \
                 operator: write test -n {}, or test {} = ..."
            }
            Evaluated::SpecialVariable => {
                "would be the value of a variable that shells, or programs such as git, evaluate: write \
                 another name"
            }
            Evaluated::SplitDefault => {
                "stands in ${...} with a blank in it, which is split into words: put quotes around \
                 all of it, \"${...}\""
            }
            Evaluated::BraceOperator => {
                "stands in ${...} behind an operator that evaluates it, or that not every sh has: \
                 one of - = ? + # % can stand there"
            }
            Evaluated::Duplication => {
                "stands behind >& or <&, where bash evaluates it: write >{} 2>&1"
            }
        }
    }
}

impl StartedProgram {
    /// Returns `true` if it holds only when it is certain that the program is run.
    pub(super) fn is_guess(self) -> bool {
        !matches!(self, StartedProgram::Script | StartedProgram::SplitByEnv)
    }

    fn words(self) -> &'static str {
        match self {
            StartedProgram::Script => {
                "would become a part of another shell's script: give it to that as an argument, \
                 sh -c '... \"$1\" ...' sh {}"
            }
            StartedProgram::Remote => {
                "would be evaluated by the other host's shell: send it on stdin, \
                 printf '%s\\n' {} | ssh HOST 'IFS= read -r x; ... \"$x\" ...'"
            }
            StartedProgram::Watched => {
                "would be evaluated by the shell that watch starts: write watch -x -- COMMAND {}"
            }
            StartedProgram::SplitByEnv => "would be split into words by env -S: leave -S away",
            StartedProgram::SshOption => {
                "could be an option of ssh that has a command, such as -oProxyCommand: write ssh -- {}"
            }
            StartedProgram::Parallel => {
                "would be evaluated by the shell that parallel starts: leave parallel away, or write \
                 printf '%s\\0' {} | xargs -0 COMMAND --"
            }
            StartedProgram::CommandOption => {
                "would be a command, or an option that has one: write the command itself there, and \
                 -- before values"
            }
            StartedProgram::UnknownName => {
                "is given to a command whose name is not known before it runs, which could be eval or \
                 sh -c: write its name, or \"$NAME\" {} in quotes and without -c"
            }
            StartedProgram::EnvOption => "could be the option -S of env: write env -- {}",
            StartedProgram::ShellOption => {
                "could be an option of the shell that is started: write sh -- {}, or ./{}"
            }
            StartedProgram::ProgramOption => {
                "could be an option that has a program, or that program: write -- before it, or ./{}"
            }
            StartedProgram::OpenedByPerl => {
                "is opened by perl, which runs a name that ends in |: write <{} behind it, or <<>> \
                 for <>"
            }
            StartedProgram::ProgramName => {
                "is the command's name, or may be, which could be eval, and others are its arguments: write a \
                 path, such as ./{}, or env -- {}"
            }
            StartedProgram::SplitName => {
                "would be split into a command and its arguments: put quotes around the expansion"
            }
        }
    }
}

impl Misplaced {
    fn words(self) -> &'static str {
        match self {
            Misplaced::VariableName => {
                "stands where a variable's name does, which bash evaluates: write a name there"
            }
            Misplaced::AssignmentLeft => "stands on the left side of an assignment: write NAME={}",
            Misplaced::HeredocDelimiter => {
                "stands in a here-document's delimiter: write a word such as EOF"
            }
            Misplaced::QuotedHeredoc => {
                "stands in a here-document with a quoted delimiter, in which nothing is filled in: \
                 write <<EOF without quotes, and \\$ for each $ that is to stay"
            }
            Misplaced::HeredocPattern => {
                "stands in a pattern in a here-document: write x={}, and $x there"
            }
            Misplaced::AfterBackslash => {
                "stands behind a backslash: put the backslash between quotes, '\\'{}"
            }
            Misplaced::AfterDollar => {
                "stands behind a $: write \\$ for a $ that is to stay, and $NAME for a variable"
            }
            Misplaced::EscapesInBackquotes => {
                "stands in backquotes with a backslash in them: write $(...)"
            }
        }
    }
}
