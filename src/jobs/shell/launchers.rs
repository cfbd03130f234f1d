//! PURE: programs that are no interpreters, but start a shell or another program that an argument or an
//! option has in it. Those that are often called from scripts; there are many more.

use super::commands::is_special;
use super::interpreters::may_be_option;
use super::readers::is_abbreviated;
use super::refusal::{Evaluated, Refusal};
use super::words::{Word, is_option};

/// Words by their numbers, and what is wrong with them.
type Refused = Vec<(usize, Refusal)>;

/// Looks through what follows such a program's name.
pub(super) fn judge(program: &[u8], words: &[Word], refused: &mut Refused) {
    match program {
        b"su" | b"runuser" | b"script" | b"flock" | b"sg" => {
            let script = Evaluated::Script;
            let long: &[&[u8]] = &[b"--command", b"--session-command"];
            judge_options(words, b"c", long, script, refused);
        }
        b"watch" => {
            let is_exec = |word: &Word| {
                let text = word.literal_prefix().0;
                is_abbreviated(&text, b"--exec") || is_short(&text, b"x")
            };
            if !words.iter().any(is_exec) {
                refuse_all(words, Evaluated::Watched, refused);
            }
        }
        b"env" => judge_env(words, refused),
        b"parallel" | b"sem" => refuse_all(words, Evaluated::Parallel, refused),
        _ => {
            if let Some((short, long)) = command_options(program) {
                judge_options(words, short, long, Evaluated::CommandOption, refused);
            }
        }
    }
}

fn refuse_all(words: &[Word], evaluated: Evaluated, refused: &mut Refused) {
    refused.extend((0..words.len()).map(|at| (at, Refusal::Evaluated(evaluated))));
}

fn is_short(text: &[u8], letters: &[u8]) -> bool {
    is_option(text) && text[1] != b'-' && text[1..].iter().any(|byte| letters.contains(byte))
}

/// The options of a program whose argument is a command.
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
        _ => return None,
    };
    Some(options)
}

/// Refuses options of such letters and names, and what follows them.
fn judge_options(
    words: &[Word],
    short: &[u8],
    long: &[&[u8]],
    evaluated: Evaluated,
    refused: &mut Refused,
) {
    for (at, word) in words.iter().enumerate() {
        let (text, is_whole) = word.literal_prefix();
        if is_whole && text == b"--" {
            break;
        }
        // `-{}` and `--{}` may be any.
        let is_any = !is_whole && matches!(&text[..], b"-" | b"--");
        let is_long = long.iter().any(|name| is_abbreviated(&text, name));
        if is_any || is_long || is_short(&text, short) {
            refused.extend([
                (at, Refusal::Evaluated(evaluated)),
                (at + 1, Refusal::Evaluated(evaluated)),
            ]);
        }
    }
}

fn judge_env(words: &[Word], refused: &mut Refused) {
    let option = Refusal::Evaluated(Evaluated::EnvOption);
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
            refuse_all(words, Evaluated::SplitByEnv, refused);
        }
        let takes = |name: &&[u8]| is_abbreviated(&text, name) && !text.contains(&b'=');
        let names: [&[u8]; 2] = [b"--unset", b"--chdir"];
        let is_last = is_whole && matches!(text.last(), Some(b'u' | b'C' | b'a'));
        is_argument = is_short(&text, b"uCa") && is_last || names.iter().any(takes);
        if !is_option(&text) && text != b"-" && word.assigned().is_none() {
            break;
        }
    }
    for (at, word) in words.iter().enumerate() {
        if word.assigned().is_some_and(|name| is_special(&name)) {
            refused.push((at, Refusal::Evaluated(Evaluated::SpecialVariable)));
        }
    }
}
