//! PURE: programs that are no interpreters, but start a shell or another program named in an
//! argument or an option. These are the ones often called from scripts; there are many more.

use super::interpreters::{Refused, may_be_option};
use super::refusal::{ShellRefusal, StartedProgram};
use super::words::{Word, is_abbreviated, is_option};

/// Examines the words after such a program's name.
pub(super) fn judge(program: &[u8], words: &[Word], refused: &mut Refused) {
    match program {
        b"su" | b"runuser" | b"script" | b"flock" | b"sg" => {
            let script = StartedProgram::Script;
            let own = if program == b"flock" {
                own_words_of_flock(words)
            } else {
                words.len()
            };
            let words = &words[..own];
            let long: &[&[u8]] = &[b"--command", b"--session-command"];
            judge_options(words, b"c", long, script, refused);
        }
        b"watch" => {
            let is_exec = |word: &Word| {
                let text = word.literal_prefix().0;
                is_abbreviated(&text, b"--exec") || is_short(&text, b"x")
            };
            if !words.iter().any(is_exec) {
                refuse_all(words, StartedProgram::Watched, refused);
            }
        }
        b"env" => judge_env(words, refused),
        b"ed" | b"red" => {
            // It runs a name that begins with !.
            let names = words.iter().enumerate();
            let free = names.filter(|(_, word)| may_be_option(word));
            refused.extend(
                free.map(|(at, _)| (at, ShellRefusal::Started(StartedProgram::CommandOption))),
            );
        }
        b"deno" if words.first().and_then(Word::literal).as_deref() == Some(b"eval") => {
            refuse_all(words, StartedProgram::CommandOption, refused);
        }
        b"hyperfine" | b"entr" => refuse_all(words, StartedProgram::CommandOption, refused),
        b"tmux" => judge_tmux(words, refused),
        b"parallel" | b"sem" => refuse_all(words, StartedProgram::Parallel, refused),
        _ => {
            if let Some((short, long)) = command_options(program) {
                judge_options(words, short, long, StartedProgram::CommandOption, refused);
            }
        }
    }
}

/// Returns the number of words before the command that `flock` starts: its options and its file.
fn own_words_of_flock(words: &[Word]) -> usize {
    let (mut at, mut has_file) = (0, false);
    while let Some(word) = words.get(at) {
        let (text, is_whole) = word.literal_prefix();
        if !is_option(&text) && std::mem::replace(&mut has_file, true) {
            return at;
        }
        if has_file && is_option(&text) {
            // After -c, all is its script.
            return words.len();
        }
        let takes = |name: &&[u8]| is_abbreviated(&text, name) && !text.contains(&b'=');
        let names: [&[u8]; 3] = [b"--timeout", b"--wait", b"--conflict-exit-code"];
        let is_last = is_whole && matches!(text.last(), Some(b'w' | b'E'));
        let is_argument = is_short(&text, b"wE") && is_last || names.iter().any(takes);
        at += 1 + usize::from(is_argument);
    }
    words.len()
}

fn refuse_all(words: &[Word], started: StartedProgram, refused: &mut Refused) {
    refused.extend((0..words.len()).map(|at| (at, ShellRefusal::Started(started))));
}

fn is_short(text: &[u8], letters: &[u8]) -> bool {
    is_option(text) && text[1] != b'-' && text[1..].iter().any(|byte| letters.contains(byte))
}

/// Returns the options of a program whose argument is a command.
fn command_options(program: &[u8]) -> Option<(&'static [u8], &'static [&'static [u8]])> {
    let options: (&[u8], &[&[u8]]) = match program {
        b"tar" | b"gtar" | b"bsdtar" => (
            b"IF",
            &[
                b"--checkpoint-action",
                b"--info-script",
                b"--new-volume-script",
                b"--rmt-command",
                b"--rsh-command",
                b"--to-command",
                b"--use-compress-program",
            ],
        ),
        b"split" => (b"", &[b"--filter"]),
        b"sort" => (b"", &[b"--compress-program"]),
        b"rsync" => (b"e", &[b"--rsh", b"--rsync-path"]),
        b"scp" | b"sftp" => (b"oS", &[]),
        b"git" => (
            b"cu",
            &[b"--config", b"--exec", b"--upload-pack", b"--receive-pack"],
        ),
        b"make" | b"gmake" => (b"E", &[b"--eval"]),
        b"rg" => (b"", &[b"--pre"]),
        b"fd" | b"fdfind" => (b"xX", &[b"--exec", b"--exec-batch"]),
        b"zip" => (b"T", &[b"--unzip-command"]),
        b"tcpdump" => (b"z", &[]),
        b"man" => (b"P", &[b"--pager"]),
        b"vi" | b"vim" | b"ex" | b"nvim" => (b"cS", &[b"--cmd"]),
        b"gdb" => (b"e", &[b"--eval-command", b"--ex"]),
        b"R" | b"Rscript" | b"julia" | b"guile" | b"elixir" | b"racket" | b"octave" => {
            (b"ceE", &[b"--eval", b"--print", b"--expr"])
        }
        b"bun" | b"deno" => (b"ep", &[b"--eval", b"--print"]),
        b"emacs" => (b"", &[b"--eval", b"--execute"]),
        b"dc" => (b"e", &[b"--expression"]),
        b"expect" => (b"c", &[]),
        b"xterm" | b"osascript" => (b"e", &[]),
        _ => return None,
    };
    Some(options)
}

/// Refuses options of these letters and names, and what follows them.
fn judge_options(
    words: &[Word],
    short: &[u8],
    long: &[&[u8]],
    started: StartedProgram,
    refused: &mut Refused,
) {
    for (at, word) in words.iter().enumerate() {
        let (text, is_whole) = word.literal_prefix();
        if is_whole && text == b"--" {
            break;
        }
        // `-{}` and `--{}` may be any.
        let is_any = !is_whole && matches!(&text[..], b"-" | b"--");
        // `vim +{}` is an order of its own.
        let is_order = !is_whole && text.starts_with(b"+") && short.contains(&b'S');
        let is_long = long.iter().any(|name| is_abbreviated(&text, name));
        if is_any || is_order || is_long || is_short(&text, short) {
            refused.extend([
                (at, ShellRefusal::Started(started)),
                (at + 1, ShellRefusal::Started(started)),
            ]);
        }
    }
}

/// Examines orders of `tmux` that contain a script for a shell, or keys for one.
fn judge_tmux(words: &[Word], refused: &mut Refused) {
    let orders: [&[u8]; 8] = [
        b"new",
        b"split",
        b"resp",
        b"run",
        b"if",
        b"send",
        b"pipe",
        b"display-popup",
    ];
    let is_order = |word: &Word| {
        let (text, is_whole) = word.literal_prefix();
        is_whole && orders.iter().any(|order| text.starts_with(order))
    };
    if words.iter().any(is_order) {
        refuse_all(words, StartedProgram::CommandOption, refused);
    }
}

fn judge_env(words: &[Word], refused: &mut Refused) {
    let option = ShellRefusal::Started(StartedProgram::EnvOption);
    let mut is_argument = false;
    for (at, word) in words.iter().enumerate() {
        let (text, is_whole) = word.literal_prefix();
        if std::mem::take(&mut is_argument) {
            continue;
        }
        if is_whole && text == b"--" {
            break;
        }
        if may_be_option(word) || !is_whole && matches!(&text[..], b"-" | b"--") {
            refused.push((at, option));
            continue;
        }
        if is_short(&text, b"S") || is_abbreviated(&text, b"--split-string") {
            refuse_all(words, StartedProgram::SplitByEnv, refused);
        }
        let takes = |name: &&[u8]| is_abbreviated(&text, name) && !text.contains(&b'=');
        let names: [&[u8]; 2] = [b"--unset", b"--chdir"];
        let is_last = is_whole && matches!(text.last(), Some(b'u' | b'C' | b'a'));
        is_argument = is_short(&text, b"uCa") && is_last || names.iter().any(takes);
        if !is_option(&text) && text != b"-" && word.variable().is_none() {
            break;
        }
    }
}
