//! PURE: finds commands that may run what they read from stdin, as shells and interpreters do. One
//! with an unknown name may. It does not know what they are fed.

use super::evaluation::is_pasted_evaluated;
use super::interpreters::{self, ScriptSource, is_shell};
use super::languages::Language;
use super::lexer;
use super::runners::{is_order_of_find, is_plain_runner, is_runner, known};
use super::words::{Bit, Word, is_abbreviated, is_option, may_be_stdin};

/// Returns `true` if a command may run what it reads.
pub(super) fn may_run_stdin(words: &[Word]) -> bool {
    let mut words = words;
    while let Some((name, arguments)) = words.split_first() {
        let Some(program) = known(name) else {
            return true;
        };
        match &program[..] {
            b"command" | b"builtin" | b"time" | b"jobs" => {
                let options = arguments.iter().take_while(|word| {
                    is_option(&word.literal_prefix().0) || word.assigned().is_some()
                });
                let count = options.count();
                // These options only print what it is.
                let tells = |word: &Word| {
                    let text = word.literal().unwrap_or_default();
                    text.iter().any(|byte| matches!(byte, b'v' | b'V'))
                };
                if program == b"command" && arguments[..count].iter().any(tells) {
                    return false;
                }
                words = &arguments[count..];
            }
            b"xargs" => return xargs(arguments),
            b"find" => return finds(arguments),
            runner if is_runner(runner) => return runs(runner, arguments),
            _ => return judge(&program, arguments),
        }
    }
    false
}

/// Returns `true` if a program that is no runner may run what it reads.
fn judge(program: &[u8], arguments: &[Word]) -> bool {
    let first = arguments.first();
    if is_shell(program) {
        return match interpreters::judge_shell(arguments, &mut Vec::new()) {
            ScriptSource::Stdin => true,
            ScriptSource::File => false,
            ScriptSource::Text(at) => arguments.get(at).is_none_or(is_text_reading),
        };
    }
    if let Some(language) = Language::named(program) {
        return language.judge(arguments, &mut Vec::new());
    }
    match program {
        b"eval" => true,
        b"." | b"source" => first.is_none_or(may_be_stdin),
        b"trap" => first.is_some_and(is_text_reading),
        b"ssh" => {
            let at = interpreters::judge_ssh(arguments, &mut Vec::new());
            let rest = arguments.get(at..).unwrap_or_default();
            let texts: Option<Vec<_>> = rest.iter().map(Word::literal).collect();
            let text = texts.map(|texts| texts.join(&b' '));
            rest.is_empty() || text.is_none_or(|text| lexer::may_run_stdin(&text))
        }
        b"make" | b"gmake" | b"bmake" => {
            let is_file = |word: &Word| {
                let (text, _) = word.literal_prefix();
                text.starts_with(b"-f") || text.starts_with(b"--f") || text.starts_with(b"--m")
            };
            arguments.iter().any(is_file) && arguments.iter().any(may_name_stdin)
        }
        b"socat" => arguments.iter().any(is_started_by_socat),
        other => is_reader(other),
    }
}

/// Returns `true` for an address such as `EXEC:sh`.
fn is_started_by_socat(word: &Word) -> bool {
    let (text, is_whole) = word.literal_prefix();
    let kind = text.split(|byte| *byte == b':').next().unwrap_or_default();
    let kinds: [&[u8]; 3] = [b"exec", b"shell", b"system"];
    let is_known = is_whole || text.contains(&b':');
    !is_known || kinds.iter().any(|name| kind.eq_ignore_ascii_case(name))
}

/// Returns `true` if a command outputs the contents of files, and never their names.
pub(super) fn writes_contents_only(words: &[Word]) -> bool {
    let programs: [&[u8]; 12] = [
        b"bunzip2", b"bzcat", b"cat", b"gunzip", b"gzcat", b"lz4cat", b"unxz", b"unzstd", b"xzcat",
        b"zcat", b"zstdcat", b"lzcat",
    ];
    let Some((name, arguments)) = words.split_first() else {
        return false;
    };
    // -l lists names.
    let is_plain = |word: &Word| {
        let (text, is_whole) = word.literal_prefix();
        let is_file = word.has_slash() || word.bits.first() == Some(&Bit::Placeholder);
        match text.first() {
            Some(b'-') => is_whole && !text.contains(&b'l'),
            Some(_) => true,
            None => is_file,
        }
    };
    let is_such = name
        .literal()
        .is_some_and(|name| programs.contains(&&name[..]));
    // The first of two could be /proc/self/cmdline, which contains the second.
    let places: usize = words.iter().map(|word| word.places.len()).sum();
    is_such && places == 1 && arguments.iter().all(is_plain)
}

/// Returns `true` if a script in an argument may run what it reads.
fn is_text_reading(word: &Word) -> bool {
    word.literal()
        .is_none_or(|text| lexer::may_run_stdin(&text))
}

/// Returns `true` for programs that run what they read, or start a shell that does.
fn is_reader(program: &[u8]) -> bool {
    let readers: [&[u8]; 56] = [
        b"at",
        b"batch",
        b"chroot",
        b"crontab",
        b"dbclient",
        b"dc",
        b"deno",
        b"bun",
        b"ed",
        b"elvish",
        b"emacs",
        b"ex",
        b"expect",
        b"fakeroot",
        b"gdb",
        b"ghci",
        b"gnuplot",
        b"guile",
        b"ipython",
        b"irb",
        b"julia",
        b"lftp",
        b"lldb",
        b"login",
        b"m4",
        b"mosh",
        b"mysql",
        b"newgrp",
        b"nsenter",
        b"nu",
        b"nvim",
        b"octave",
        b"parallel",
        b"pkexec",
        b"psql",
        b"pwsh",
        b"red",
        b"rsh",
        b"rvim",
        b"runuser",
        b"script",
        b"sem",
        b"sftp",
        b"sg",
        b"sqlite3",
        b"su",
        b"swipl",
        b"tclsh",
        b"tsx",
        b"unshare",
        b"vi",
        b"vim",
        b"wish",
        b"xonsh",
        b"R",
        b"Rscript",
    ];
    readers.contains(&program)
        || program.starts_with(b"ld-linux")
        || program.starts_with(b"ld-musl")
        || program.starts_with(b"ld.so")
        || program.starts_with(b"ld64.so")
}

/// Examines `find`, which may run several commands, each up to its `;` or `+`.
fn finds(words: &[Word]) -> bool {
    let is_end = |word: &Word| matches!(word.literal().as_deref(), Some(b";" | b"+"));
    words.split(is_end).any(|words| {
        let order = words.iter().position(is_order_of_find);
        order.is_some_and(|at| may_run_stdin(&words[at + 1..]))
    })
}

/// Examines the words after a runner's name. The first interpreter decides, and a word before the
/// other program's name that may be anything counts as one.
fn runs(runner: &[u8], words: &[Word]) -> bool {
    if is_reader(runner) {
        return true;
    }
    let (mut is_plain, mut is_named, mut is_behind_option) =
        (is_plain_runner(runner), false, false);
    for (at, word) in words.iter().enumerate() {
        let (text, is_whole) = word.literal_prefix();
        let was_option = std::mem::take(&mut is_behind_option);
        if is_option(&text) {
            let is_short = text[1] != b'-';
            // It may be a shell, or words that are split, which are not examined.
            let is_shell = match runner {
                b"sudo" | b"doas" => b"si",
                _ => b"SS",
            };
            let has_long = [&b"--shell"[..], b"--login", b"--split-string"];
            let is_long = |name: &&[u8]| is_abbreviated(&text, name);
            if is_short && !is_named && text.iter().any(|byte| is_shell.contains(byte))
                || has_long.iter().any(is_long)
                || runner == b"flock" && is_short && text.contains(&b'c')
            {
                return true;
            }
            is_behind_option = is_whole;
            continue;
        }
        if word.assigned().is_some() || text.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        match known(word) {
            None if !(is_plain && is_named) => return true,
            None => {}
            Some(program) if program == b"xargs" => return xargs(&words[at + 1..]),
            Some(program) if program == b"find" => return finds(&words[at + 1..]),
            Some(program) if is_runner(&program) && !is_reader(&program) => {
                is_plain &= is_plain_runner(&program);
                is_named = false;
            }
            Some(program) if interpreters::is_any(&program) => {
                return judge(&program, &words[at + 1..]);
            }
            Some(program) if judge(&program, &words[at + 1..]) => return true,
            Some(_) => is_named |= !was_option,
        }
    }
    false
}

/// Examines `xargs`, which puts what it reads after the words of a command, or between them.
fn xargs(words: &[Word]) -> bool {
    let (at, is_pasted) = xargs_command(words);
    let command = words.get(at..).unwrap_or_default();
    let Some(name) = command.first() else {
        return false;
    };
    let is_runner = known(name).is_none_or(|program| is_runner_or_reader(&program));
    let names_interpreter = |word: &Word| {
        let program = word.program().unwrap_or_default();
        interpreters::is_any(&program) || is_runner_or_reader(&program)
    };
    is_runner
        || is_pasted && command.iter().any(names_interpreter)
        || may_run_stdin(command)
        || is_pasted_evaluated(command)
}

fn is_runner_or_reader(program: &[u8]) -> bool {
    is_runner(program) || is_reader(program)
}

/// Returns where the command of `xargs` begins, and if what is read may be put between its words.
fn xargs_command(words: &[Word]) -> (usize, bool) {
    let (mut at, mut is_pasted) = (0, false);
    while let Some(word) = words.get(at) {
        let (text, is_whole) = word.literal_prefix();
        if !is_option(&text) {
            break;
        }
        at += 1;
        if text == b"--" && is_whole {
            break;
        }
        if text.starts_with(b"--") {
            is_pasted |= !is_whole || is_abbreviated(&text, b"--replace");
            let with_argument: [&[u8]; 7] = [
                b"--arg-file",
                b"--delimiter",
                b"--max-args",
                b"--max-procs",
                b"--max-chars",
                b"--process-slot-var",
                b"--eof",
            ];
            let takes = |name: &&[u8]| is_abbreviated(&text, name);
            at += usize::from(!text.contains(&b'=') && with_argument.iter().any(takes));
            continue;
        }
        is_pasted |= !is_whole;
        for (letter, byte) in text.iter().enumerate().skip(1) {
            is_pasted |= matches!(byte, b'I' | b'J' | b'i');
            if matches!(byte, b'i' | b'l' | b'e') {
                break;
            }
            if b"IJRSnLPsdEa".contains(byte) {
                at += usize::from(letter + 1 == text.len() && is_whole);
                break;
            }
        }
    }
    (at, is_pasted)
}

/// Returns `true` for a word that names stdin, or may, with or without an option's letters.
fn may_name_stdin(word: &Word) -> bool {
    let (text, is_whole) = word.literal_prefix();
    !is_whole || text.ends_with(b"-") || text.ends_with(b"stdin") || may_be_stdin(word)
}
