//! PURE: programs that take an argument for a program, which must not contain an item's text. These
//! are the ones often called from scripts; there are many more.

use super::languages::Language;
use super::refusal::{ShellRefusal, StartedProgram};
use super::words::{Word, is_abbreviated, is_option, may_be_stdin};

/// Words by their numbers, with the reason for each refusal.
pub(super) type Refused = Vec<(usize, ShellRefusal)>;

/// The meaning of an interpreter's options.
#[derive(Debug, Default)]
struct InterpreterOptions {
    /// The number of the word after them.
    at: usize,
    /// True if one of them contains the program, or names its file.
    has_program: bool,
    /// True if `--` follows them.
    has_ended: bool,
    /// True if all that follows is the program's own.
    are_over: bool,
    reads_stdin: bool,
    /// True if perl reads the files that its operands name, and runs a name that ends in `|`.
    opens_operands: bool,
    /// True if it changes them instead, without that.
    is_in_place: bool,
}

impl Language {
    /// Examines the words after its name. Returns `true` if it reads its program from stdin.
    pub(super) fn judge(self, words: &[Word], refused: &mut Refused) -> bool {
        let mut options = InterpreterOptions::default();
        while let Some(word) = words.get(options.at) {
            let (option, is_whole) = word.literal_prefix();
            let is_begun = option.first() == Some(&b'-') && (!is_whole || is_option(&option));
            if options.are_over || !is_begun {
                break;
            }
            options.at += 1;
            if option == b"--" && is_whole {
                options.has_ended = true;
                break;
            }
            if option.starts_with(b"--") {
                self.judge_long(&option, is_whole, words, &mut options, refused);
            } else {
                self.judge_short(&option, is_whole, words, &mut options, refused);
            }
        }
        self.judge_operands(&options, words, refused);
        let has_file = self.has_program_as_operand() || options.has_program;
        let reads_operand = words.get(options.at).is_none_or(may_be_stdin);
        options.reads_stdin || reads_operand && !has_file
    }

    /// Examines an option such as `--eval`; the next word follows it.
    fn judge_long(
        self,
        option: &[u8],
        is_whole: bool,
        words: &[Word],
        options: &mut InterpreterOptions,
        refused: &mut Refused,
    ) {
        let own = options.at - 1;
        if option == b"--" {
            // `--{}` may be any.
            refused.extend((own..words.len()).map(|at| (at, ShellRefusal::Program(self))));
            return;
        }
        let has_own_argument = option.contains(&b'=') || !is_whole;
        let is_any = |names: &[&[u8]]| names.iter().any(|name| is_abbreviated(option, name));
        if is_any(self.long_code_options()) {
            options.has_program = true;
            options.at += usize::from(!has_own_argument);
            refused.push((options.at - 1, ShellRefusal::Program(self)));
        } else if is_any(self.long_module_options()) {
            options.at += usize::from(!has_own_argument);
            refused.push((options.at - 1, ShellRefusal::Program(self)));
        } else if self.has_program_as_operand() && is_any(&[b"--file"]) {
            options.has_program = true;
            options.reads_stdin |= option.ends_with(b"=-") || option.ends_with(b"/stdin");
            if !has_own_argument {
                options.reads_stdin |= words.get(options.at).is_none_or(may_be_stdin);
                options.at += 1;
            }
        }
        let may_be_interactive = matches!(self, Language::Node | Language::Php);
        options.reads_stdin |= may_be_interactive && is_any(&[b"--interactive"]);
    }

    /// Examines a cluster such as `-ne` or `-pi.bak`. Its first letter with an argument decides.
    fn judge_short(
        self,
        option: &[u8],
        is_whole: bool,
        words: &[Word],
        options: &mut InterpreterOptions,
        refused: &mut Refused,
    ) {
        let (code, other) = (self.code_options(), self.options_with_argument());
        let (attached, own) = (self.attached_options(), options.at - 1);
        let takes = |byte: &u8| [code, other, attached].iter().any(|all| all.contains(byte));
        let Some(first) = option.iter().skip(1).position(takes) else {
            options.reads_stdin |= self.is_interactive(option);
            options.opens_operands |= self.opens_operands(option, b"");
            // `-{}` and `-n{}` may be any, and what follows its argument.
            if !is_whole {
                refused.extend((own..words.len()).map(|at| (at, ShellRefusal::Program(self))));
            }
            return;
        };
        // The rest after such a letter is its argument, or else the next word.
        let (before, letter) = (&option[..=first], option[first + 1]);
        options.reads_stdin |= self.is_interactive(before);
        options.is_in_place |= letter == b'i';
        if attached.contains(&letter) {
            options.opens_operands |= self.opens_operands(&option[..first + 2], b"");
            // perl continues options after a blank, and evaluates modules and patterns.
            if self == Language::Perl {
                refused.push((own, ShellRefusal::Program(self)));
            }
            return;
        }
        let is_joined = self == Language::Node && option == b"-pe";
        let is_last = (first + 2 == option.len() || is_joined) && is_whole;
        options.at += usize::from(is_last);
        if code.contains(&letter) {
            // Settings of php may name a file that is run before the program.
            options.has_program |= !(self == Language::Php && letter == b'd');
            let code = match is_last {
                true => words.get(own + 1).map(|word| word.literal_prefix().0),
                false => Some(option[first + 2..].to_vec()),
            };
            options.opens_operands |= self.opens_operands(before, &code.unwrap_or_default());
            refused.extend((own..options.at).map(|at| (at, ShellRefusal::Program(self))));
        } else if letter == b'f' && self.has_program_as_operand() {
            options.has_program = true;
            let has_file = match is_last {
                true => words.get(own + 1).is_some_and(|file| !may_be_stdin(file)),
                false => is_whole && !names_stdin(&option[first + 2..]),
            };
            options.reads_stdin |= !has_file;
        }
        if self == Language::Python && matches!(letter, b'c' | b'm') {
            // All that follows is the program's own.
            options.has_program = true;
            options.are_over = true;
        }
    }

    /// Examines the words after the options: a value could be an option, and the next its program.
    fn judge_operands(self, options: &InterpreterOptions, words: &[Word], refused: &mut Refused) {
        let at = options.at;
        let is_program = self.has_program_as_operand() && !options.has_program;
        if is_program {
            refused.push((at, ShellRefusal::Program(self)));
        }
        if options.opens_operands && !options.is_in_place {
            let opened = ShellRefusal::Started(StartedProgram::OpenedByPerl);
            refused.extend((at..words.len()).map(|at| (at, opened)));
        }
        let option = ShellRefusal::Started(StartedProgram::ProgramOption);
        if options.has_ended || options.are_over {
            return;
        }
        if self == Language::Sed {
            // GNU sed takes options after operands, too.
            let operands = words.iter().enumerate().skip(at + usize::from(is_program));
            let free = operands.take_while(|(_, word)| word.literal().as_deref() != Some(b"--"));
            let options = free.filter(|(_, word)| may_be_option(word));
            refused.extend(options.map(|(at, _)| (at, option)));
        } else if words.get(at).is_some_and(may_be_option) && !is_program {
            refused.extend((at..words.len()).map(|at| (at, option)));
        }
    }

    /// Returns `true` if options or code make perl open the files that its operands name.
    fn opens_operands(self, letters: &[u8], code: &[u8]) -> bool {
        let has = |name: &[u8]| code.windows(name.len()).any(|part| part == name);
        // <<>> takes names as they are.
        let has_loop = has(b"<ARGV>") || has(b"<>") && !has(b"<<>>");
        let has_letter = letters.iter().any(|byte| b"npaF".contains(byte));
        self == Language::Perl && (has_loop || has_letter)
    }

    /// Returns `true` if an option makes it read on from stdin.
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

/// Returns `true` if the name of a file in the same word as `-f` is one of stdin, or may be.
fn names_stdin(file: &[u8]) -> bool {
    let has = |name: &[u8]| file.windows(name.len()).any(|part| part == name);
    let is_pattern = file.iter().any(|byte| b"*?[".contains(byte));
    file == b"-" || file.contains(&b'/') && (has(b"dev") || has(b"proc") || is_pattern)
}

/// Returns `true` if a value could make it an option. A place after a slash makes a path.
pub(super) fn may_be_option(word: &Word) -> bool {
    word.begins_with_hole() && !word.has_slash() || word.may_begin_with_place()
}

/// The source of a shell's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptSource {
    Stdin,
    File,
    /// In one of the words.
    Text(usize),
}

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

/// Returns `true` for a program that may read a script from stdin.
pub(super) fn is_any(program: &[u8]) -> bool {
    is_shell(program)
        || Language::named(program).is_some()
        || matches!(program, b"ssh" | b"at" | b"batch")
}

/// Returns `true` for the rest of a name such as rbash.
fn is_restricted(rest: &[u8]) -> bool {
    matches!(rest, b"bash" | b"ksh" | b"ksh93" | b"zsh")
}

/// Examines the words after a shell's name, and returns the source of its script.
pub(super) fn judge_shell(words: &[Word], refused: &mut Refused) -> ScriptSource {
    let (mut has_script, mut reads_stdin, mut at) = (false, false, 0);
    let mut has_ended = false;
    while let Some(word) = words.get(at) {
        let (option, is_whole) = word.literal_prefix();
        let is_option = matches!(option.first(), Some(b'-' | b'+'));
        if word.begins_with_hole() || !is_option {
            break;
        }
        // `-$x` and `-{}` may be anything.
        refused.push((at, ShellRefusal::Started(StartedProgram::Script)));
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
            refused.push((at, ShellRefusal::Started(StartedProgram::Script)));
            at += 1;
        }
    }
    let operand = words.get(at);
    if has_script {
        refused.push((at, ShellRefusal::Started(StartedProgram::Script)));
    }
    if operand.is_some_and(|word| word.is_split) {
        // It may become several words, options among them.
        refused.push((at, ShellRefusal::Started(StartedProgram::ShellOption)));
    }
    if !has_ended && operand.is_some_and(may_be_option) && !has_script {
        // It could be -c, and then a script follows.
        let later = at..words.len();
        refused
            .extend(later.map(|later| (later, ShellRefusal::Started(StartedProgram::ShellOption))));
    }
    match operand {
        _ if reads_stdin => ScriptSource::Stdin,
        Some(_) if has_script => ScriptSource::Text(at),
        Some(operand) if !may_be_stdin(operand) => ScriptSource::File,
        _ => ScriptSource::Stdin,
    }
}

/// Examines the words after `ssh`. Returns the number of the first of the script after the host.
pub(super) fn judge_ssh(words: &[Word], refused: &mut Refused) -> usize {
    let mut at = 0;
    let with_argument = b"BbcDEeFIiJLlmOoPpQRSWw";
    let mut has_host = false;
    // Options may follow the host, too.
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
                refused.push((at, ShellRefusal::Started(StartedProgram::SshOption)));
            }
            at += 1;
            continue;
        }
        // -o ProxyCommand=... is a script as well.
        refused.push((at, ShellRefusal::Started(StartedProgram::Remote)));
        at += 1;
        let last = option
            .last()
            .is_some_and(|last| with_argument.contains(last));
        if last && is_whole {
            if option.last() == Some(&b'o') {
                refused.push((at, ShellRefusal::Started(StartedProgram::Remote)));
            }
            at += 1;
        }
    }
    let at = at.min(words.len());
    for later in at..words.len() {
        refused.push((later, ShellRefusal::Started(StartedProgram::Remote)));
    }
    at
}
