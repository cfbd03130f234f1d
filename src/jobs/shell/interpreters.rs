//! PURE: programs one of whose arguments is a program itself, which must not have an item's text in
//! it. Those that are often called from scripts; there are many more.

use super::commands::is_special;
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
            let long = self.long_code_options().iter();
            let mut long = long.filter(|name| option.starts_with(name));
            if let Some(name) = long.next() {
                has_program = true;
                // Its argument is in the same word, or the next one.
                let own = if option.len() > name.len() {
                    at - 1
                } else {
                    at
                };
                refused.push((own, Refusal::Program(self)));
                at += usize::from(own == at);
                continue;
            }
            if option.starts_with(b"--") {
                continue;
            }
            let takes = |letters: &[u8]| {
                let found = option[1..].iter().position(|byte| letters.contains(byte));
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
            } else if let Some(is_last) = takes(self.options_with_argument()) {
                has_program |= option[1..].contains(&b'f');
                at += usize::from(is_last);
            }
        }
        let operand = words.get(at);
        if !has_program && self.has_program_as_operand() {
            refused.push((at, Refusal::Program(self)));
        }
        // A value could be an option that has a program, and the next one that program.
        if operand.is_some_and(may_be_option) && !has_ended && !has_program {
            let later = at + 1..words.len();
            refused
                .extend(later.map(|later| (later, Refusal::Evaluated(Evaluated::ProgramOption))));
        }
        operand.is_none_or(is_stdin) && !has_program && !self.has_program_as_operand()
    }
}

/// Whether what is filled in could make it an option. One with a slash is a path.
fn may_be_option(word: &Word) -> bool {
    word.begins_with_hole() && !word.has_slash()
}

/// Whether a file's name stands for stdin.
fn is_stdin(word: &Word) -> bool {
    let names: [&[u8]; 4] = [b"-", b"/dev/stdin", b"/dev/fd/0", b"/proc/self/fd/0"];
    word.literal()
        .is_some_and(|name| names.contains(&&name[..]))
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

/// Looks through what follows the names of some other programs that start a shell.
pub(super) fn judge_other(
    program: &[u8],
    words: &[Word],
    refused: &mut Vec<(usize, Refusal)>,
) -> bool {
    match program {
        // `-c` and `--command`, which have the script behind them.
        b"su" | b"runuser" | b"script" | b"flock" | b"sg" => {
            for (at, word) in words.iter().enumerate() {
                let text = word.literal_prefix().0;
                let is_short = is_option(&text) && text[1] != b'-' && text.contains(&b'c');
                if is_short || text.starts_with(b"--command") || text.starts_with(b"--session-c") {
                    refused.extend([
                        (at, Refusal::Evaluated(Evaluated::Script)),
                        (at + 1, Refusal::Evaluated(Evaluated::Script)),
                    ]);
                }
            }
        }
        b"watch" => {
            let is_exec = |word: &Word| {
                let text = word.literal_prefix().0;
                text == b"--exec" || is_option(&text) && text[1] != b'-' && text.contains(&b'x')
            };
            if !words.iter().any(is_exec) {
                refused.extend(
                    (0..words.len()).map(|at| (at, Refusal::Evaluated(Evaluated::Watched))),
                );
            }
        }
        b"env" => {
            let split = |word: &Word| word.begins_with(b"-S") || word.begins_with(b"--split");
            let first = words.iter().position(|word| word.assigned().is_none());
            let may_split = first.filter(|first| may_be_option(&words[*first]));
            refused
                .extend(may_split.map(|first| (first, Refusal::Evaluated(Evaluated::EnvOption))));
            if words.iter().any(split) {
                refused.extend(
                    (0..words.len()).map(|at| (at, Refusal::Evaluated(Evaluated::SplitByEnv))),
                );
            }
            for (at, word) in words.iter().enumerate() {
                if word.assigned().is_some_and(|name| is_special(&name)) {
                    refused.push((at, Refusal::Evaluated(Evaluated::SpecialVariable)));
                }
            }
        }
        b"at" | b"batch" => return true,
        _ => {}
    }
    false
}

/// Looks through what follows a shell's name, and whether it reads its script from stdin.
pub(super) fn judge_shell(words: &[Word], refused: &mut Vec<(usize, Refusal)>) -> bool {
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
        let later = at + 1..words.len();
        refused.extend(later.map(|later| (later, Refusal::Evaluated(Evaluated::ShellOption))));
    }
    // `xargs sh -c` finds the script in what it reads.
    match operand {
        None => true,
        Some(operand) => !has_script && (reads_stdin || is_stdin(operand)),
    }
}

/// Looks through what follows `ssh`: all words behind the host are one script there. Whether that is
/// read from stdin.
pub(super) fn judge_ssh(words: &[Word], refused: &mut Vec<(usize, Refusal)>) -> bool {
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
    let is_stdin = at >= words.len();
    for later in at..words.len() {
        refused.push((later, Refusal::Evaluated(Evaluated::Remote)));
    }
    is_stdin
}
