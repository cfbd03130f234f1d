//! PURE: programs one of whose arguments is a program itself, which must not have an item's text in
//! it. Those that are often called from scripts; there are many more.

use super::readers::{is_abbreviated, may_be_stdin};
use super::refusal::{Evaluated, Refusal};
use super::words::{Word, is_option};

/// Whose program it would become a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Awk,
    Sed,
    Perl,
    Python,
    Ruby,
    Node,
    Php,
    Lua,
}

impl Language {
    pub(super) fn named(program: &[u8]) -> Option<Self> {
        // python3.11, lua5.4, perl5.36.0
        let end = program
            .iter()
            .rposition(|byte| !byte.is_ascii_digit() && *byte != b'.');
        Some(match &program[..end.map_or(0, |last| last + 1)] {
            b"awk" | b"gawk" | b"mawk" | b"nawk" | b"goawk" => Language::Awk,
            b"sed" | b"gsed" => Language::Sed,
            b"perl" => Language::Perl,
            b"python" | b"pypy" => Language::Python,
            b"ruby" => Language::Ruby,
            b"node" | b"nodejs" => Language::Node,
            b"php" => Language::Php,
            b"lua" | b"luajit" => Language::Lua,
            _ => return None,
        })
    }

    pub(super) fn advice(self) -> String {
        let (name, instead) = match self {
            Language::Awk => ("awk", "X={} awk '... ENVIRON[\"X\"] ...'"),
            Language::Sed => ("sed", "X={} awk '... ENVIRON[\"X\"] ...'"),
            Language::Perl => ("perl", "perl -e '... $ARGV[0] ...' -- {}"),
            Language::Python => ("python", "python3 -c '... sys.argv[1] ...' {}"),
            Language::Ruby => ("ruby", "ruby -e '... ARGV[0] ...' -- {}"),
            Language::Node => ("node", "node -e '... process.argv[1] ...' -- {}"),
            Language::Php => ("php", "php -r '... $argv[1] ...' -- {}"),
            Language::Lua => (
                "lua",
                "lua -e '... os.getenv(\"X\") ...' with X={} before it",
            ),
        };
        format!("would become a part of the {name} program: write {instead}")
    }

    /// The letters of options whose argument is a program.
    fn code_options(self) -> &'static [u8] {
        match self {
            Language::Awk => b"e",
            Language::Sed => b"e",
            Language::Perl => b"eEMm",
            Language::Python => b"c",
            Language::Ruby => b"e",
            Language::Node => b"ep",
            Language::Php => b"rRBE",
            Language::Lua => b"e",
        }
    }

    /// Long forms of them.
    fn long_code_options(self) -> &'static [&'static [u8]] {
        match self {
            Language::Awk => &[b"--source", b"--exec"],
            Language::Sed => &[b"--expression"],
            Language::Node => &[b"--eval", b"--print"],
            Language::Php => &[
                b"--run",
                b"--process-code",
                b"--process-begin",
                b"--process-end",
            ],
            Language::Perl | Language::Python | Language::Ruby | Language::Lua => &[],
        }
    }

    /// The letters of other options that take an argument.
    fn options_with_argument(self) -> &'static [u8] {
        match self {
            Language::Awk => b"Fvf",
            Language::Sed => b"fl",
            Language::Perl => b"Ix",
            Language::Python => b"WXm",
            Language::Ruby => b"rIC",
            Language::Node => b"r",
            Language::Php => b"dcfSt",
            Language::Lua => b"l",
        }
    }

    /// Whether the first operand is the program, if no option has given one.
    fn has_program_as_operand(self) -> bool {
        matches!(self, Language::Awk | Language::Sed)
    }

    /// Looks through what follows the interpreter's name, and whether it reads its program from
    /// stdin.
    pub(super) fn judge(self, words: &[Word], refused: &mut Vec<(usize, Refusal)>) -> bool {
        let (mut has_program, mut has_ended, mut at) = (false, false, 0);
        let (mut is_last_option, mut reads_stdin) = (false, false);
        while let Some(word) = words.get(at) {
            let (option, is_whole) = word.literal_prefix();
            if !is_whole && matches!(&option[..], b"-" | b"--") {
                // It may be any option.
                refused.extend((at..words.len()).map(|at| (at, Refusal::Program(self))));
            }
            if word.begins_with_hole() || !is_option(&option) || option == b"-" {
                break;
            }
            at += 1;
            if option == b"--" && is_whole {
                has_ended = true;
                break;
            }
            let mut long = self.long_code_options().iter();
            if long.any(|name| is_abbreviated(&option, name) || option.starts_with(name)) {
                has_program = true;
                // Its argument is in the same word, or the next one.
                let own = if option.contains(&b'=') || !is_whole {
                    at - 1
                } else {
                    at
                };
                refused.push((own, Refusal::Program(self)));
                at += usize::from(own == at);
                continue;
            }
            if option.starts_with(b"--") {
                if self.has_program_as_operand() && is_abbreviated(&option, b"--file") {
                    has_program = true;
                    reads_stdin |= option.ends_with(b"=-") || option.ends_with(b"/stdin");
                    if is_whole && !option.contains(&b'=') {
                        reads_stdin |= words.get(at).is_none_or(may_be_stdin);
                        at += 1;
                    }
                }
                continue;
            }
            reads_stdin |= self.is_interactive(&option);
            let (code, other) = (self.code_options(), self.options_with_argument());
            let takes_any = |byte: &u8| code.contains(byte) || other.contains(byte);
            let first = option[1..].iter().position(takes_any);
            let takes = |letters: &[u8]| {
                // What stands behind such a letter is its argument.
                let found = first.filter(|found| letters.contains(&option[1 + found]));
                found.map(|found| found + 2 == option.len() && is_whole)
            };
            // A cluster such as -ne or -pi.bak: the first letter that takes an argument decides.
            let code = takes(self.code_options());
            if code.is_some() {
                has_program = true;
                refused.push((at - 1, Refusal::Program(self)));
                if code == Some(true) {
                    refused.push((at, Refusal::Program(self)));
                    at += 1;
                }
                if self == Language::Python {
                    // What follows is the program's own.
                    is_last_option = true;
                    break;
                }
            } else if let Some(is_last) = takes(self.options_with_argument()) {
                if self.has_program_as_operand() && option[1..].contains(&b'f') {
                    has_program = true;
                    let is_file = is_last && words.get(at).is_some_and(|file| !may_be_stdin(file));
                    let is_attached = !is_last && is_whole && !option.contains(&b'-');
                    reads_stdin |= !is_file && !is_attached
                        || option[1..].contains(&b'-')
                        || option
                            .windows(4)
                            .any(|part| part == b"/dev" || part == b"/pro");
                }
                at += usize::from(is_last);
                if self == Language::Python && option[1..].contains(&b'm') {
                    // A module is the program, and what follows is its own.
                    return false;
                }
            }
        }
        let operand = words.get(at);
        if !has_program && self.has_program_as_operand() {
            refused.push((at, Refusal::Program(self)));
        }
        // A value could be an option that has a program, and the next one that program.
        let option = Refusal::Evaluated(Evaluated::ProgramOption);
        let is_program = self.has_program_as_operand() && !has_program;
        if self == Language::Sed && !has_ended {
            // GNU sed takes options behind operands, too.
            let operands = words.iter().enumerate().skip(at + usize::from(is_program));
            let free = operands.take_while(|(_, word)| word.literal().as_deref() != Some(b"--"));
            let options = free.filter(|(_, word)| may_be_option(word));
            refused.extend(options.map(|(at, _)| (at, option)));
        } else if operand.is_some_and(may_be_option) && !has_ended && !is_last_option && !is_program
        {
            refused.extend((at..words.len()).map(|at| (at, option)));
        }
        reads_stdin
            || operand.is_none_or(may_be_stdin) && !has_program && !self.has_program_as_operand()
    }

    /// Whether an option makes it read on from stdin.
    fn is_interactive(self, option: &[u8]) -> bool {
        let is_short = option.len() > 1 && option[1] != b'-';
        let letters: &[u8] = match self {
            Language::Python | Language::Node | Language::Lua => b"i",
            Language::Php => b"a",
            Language::Awk | Language::Sed | Language::Perl | Language::Ruby => b"",
        };
        is_short && option[1..].iter().any(|byte| letters.contains(byte))
    }
}

/// Whether what is filled in could make it an option. One with a slash before that is a path.
pub(super) fn may_be_option(word: &Word) -> bool {
    word.begins_with_hole() && !word.has_slash() || word.may_begin_with_place()
}

/// Where a shell finds its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdin,
    File,
    /// In one of the words.
    Text(usize),
}

/// A program that is a shell.
pub(super) fn is_shell(program: &[u8]) -> bool {
    let shells: [&[u8]; 16] = [
        b"sh", b"bash", b"dash", b"ash", b"hush", b"ksh", b"ksh93", b"mksh", b"lksh", b"pdksh",
        b"oksh", b"zsh", b"yash", b"fish", b"csh", b"tcsh",
    ];
    let program = program
        .strip_prefix(b"r")
        .filter(|rest| is_restricted(rest))
        .unwrap_or(program);
    shells.contains(&program)
}

/// A program that may read a script from stdin.
pub(super) fn is_any(program: &[u8]) -> bool {
    is_shell(program)
        || Language::named(program).is_some()
        || matches!(program, b"ssh" | b"at" | b"batch")
}

/// rbash and the like.
fn is_restricted(rest: &[u8]) -> bool {
    matches!(rest, b"bash" | b"ksh" | b"ksh93" | b"zsh")
}

/// Looks through what follows a shell's name, and whether it reads its script from stdin.
pub(super) fn judge_shell(words: &[Word], refused: &mut Vec<(usize, Refusal)>) -> Source {
    let (mut has_script, mut reads_stdin, mut at) = (false, false, 0);
    let mut has_ended = false;
    while let Some(word) = words.get(at) {
        let (option, is_whole) = word.literal_prefix();
        let is_option = matches!(option.first(), Some(b'-' | b'+'));
        if word.begins_with_hole() || !is_option {
            break;
        }
        // `-$x` and `-{}` may be anything.
        refused.push((at, Refusal::Evaluated(Evaluated::Script)));
        at += 1;
        if is_whole && matches!(&option[..], b"-" | b"--") {
            has_ended = true;
            break;
        }
        if option.starts_with(b"--") {
            let has_file = matches!(&option[..], b"--rcfile" | b"--init-file");
            has_script |= matches!(&option[..], b"--command" | b"--init-command");
            at += usize::from(has_file);
            continue;
        }
        has_script |= option[0] == b'-' && option.contains(&b'c') || !is_whole;
        reads_stdin |= option[0] == b'-' && option.contains(&b's');
        // Each of them takes a word with the name of an option.
        let named = option.iter().filter(|byte| matches!(byte, b'o' | b'O'));
        for _ in named {
            refused.push((at, Refusal::Evaluated(Evaluated::Script)));
            at += 1;
        }
    }
    let operand = words.get(at);
    if has_script {
        refused.push((at, Refusal::Evaluated(Evaluated::Script)));
    }
    if operand.is_some_and(|word| word.is_split) {
        // It may become several, options among them.
        refused.push((at, Refusal::Evaluated(Evaluated::ShellOption)));
    }
    if !has_ended && operand.is_some_and(may_be_option) && !has_script {
        // It could be -c, and then what follows is a script.
        let later = at..words.len();
        refused.extend(later.map(|later| (later, Refusal::Evaluated(Evaluated::ShellOption))));
    }
    match operand {
        _ if reads_stdin => Source::Stdin,
        Some(_) if has_script => Source::Text(at),
        Some(operand) if !may_be_stdin(operand) => Source::File,
        _ => Source::Stdin,
    }
}

/// Looks through what follows `ssh`: all words behind the host are one script there. Whether that is
/// given, by its first word's number.
pub(super) fn judge_ssh(words: &[Word], refused: &mut Vec<(usize, Refusal)>) -> usize {
    let mut at = 0;
    let with_argument = b"BbcDEeFIiJLlmOoPpQRSWw";
    let mut has_host = false;
    // Options may stand behind the host, too.
    while let Some(word) = words.get(at) {
        let (option, is_whole) = word.literal_prefix();
        if option == b"--" && is_whole {
            at += 1;
            if !has_host {
                at += 1;
            }
            break;
        }
        if word.begins_with_hole() || !is_option(&option) {
            if std::mem::replace(&mut has_host, true) {
                break;
            }
            if may_be_option(word) {
                // -oProxyCommand=...
                refused.push((at, Refusal::Evaluated(Evaluated::SshOption)));
            }
            at += 1;
            continue;
        }
        // -o ProxyCommand=... is a script as well.
        refused.push((at, Refusal::Evaluated(Evaluated::Remote)));
        at += 1;
        let last = option
            .last()
            .is_some_and(|last| with_argument.contains(last));
        if last && is_whole {
            if option.last() == Some(&b'o') {
                refused.push((at, Refusal::Evaluated(Evaluated::Remote)));
            }
            at += 1;
        }
    }
    let at = at.min(words.len());
    for later in at..words.len() {
        refused.push((later, Refusal::Evaluated(Evaluated::Remote)));
    }
    at
}
