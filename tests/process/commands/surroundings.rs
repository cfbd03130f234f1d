//! Outside changes to the open files, logs and terminals of a run: streams that do not block, logs
//! that are emptied, results of an earlier run, and items with control characters.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeWriter, Read, Write, pipe};
use std::process::Stdio;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;

use super::{Place, Said, sh};
use crate::support::until;

crate::trials!(
    all_output_goes_into_streams_that_do_not_block,
    all_lines_come_from_a_stdin_that_does_not_block,
    a_log_that_is_emptied_begins_at_its_beginning,
    a_trace_that_is_emptied_begins_at_its_beginning,
    a_shorter_run_leaves_no_results_of_an_earlier_one,
    a_run_that_goes_on_leaves_the_results_of_an_earlier_one,
    a_long_line_has_one_tag,
    nothing_of_an_item_does_anything_to_a_terminal,
);

/// More bytes than any pipe holds.
const BYTES: usize = 400_000;

/// Makes a pipe with a non-blocking write end, which is read when it is full, so that a write
/// waits.
fn slow_pipe() -> (PipeWriter, JoinHandle<String>) {
    let (mut reader, writer) = pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    let full = writer.try_clone().unwrap();
    let reading = thread::spawn(move || {
        until("the pipe is full", || {
            let mut room = [PollFd::new(&full, PollFlags::OUT)];
            poll(&mut room, Some(&Timespec::default())).unwrap() == 0
        });
        drop(full);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    (writer, reading)
}

fn all_output_goes_into_streams_that_do_not_block() {
    for more in [
        &[][..],
        &["--tag"],
        &["--line-buffer"],
        &["--format", "json"],
    ] {
        let place = Place::new();
        let script = format!(
            "head -c {BYTES} /dev/zero | tr '\\0' $1; head -c {BYTES} /dev/zero | tr '\\0' e >&2"
        );
        let arguments = ["-w", "1", "--", "sh", "-c", &script, "_", ":::", "a", "b"];
        let mut command = place.supervisor(&[more, &arguments].concat());
        let (out_writer, out) = slow_pipe();
        let is_json = more.contains(&"json");
        // All output is on stdout then, and little on stderr.
        let (error_writer, error) = match is_json {
            true => (None, None),
            false => Some(slow_pipe()).unzip(),
        };
        let error_writer = error_writer.map_or_else(Stdio::null, Stdio::from);
        command.stdin(Stdio::null());
        command.stdout(out_writer).stderr(error_writer);
        let mut run = command.spawn().unwrap();
        drop(command);
        let out = out.join().unwrap();
        let error = error.map_or_else(String::new, |error| error.join().unwrap());
        assert_eq!(run.wait().unwrap().code(), Some(0), "{more:?}");
        let both = [out.as_str(), error.as_str()].concat();
        let count = |text: &str, run: &str| text.matches(run).count();
        for (letter, times) in [("a", 1), ("b", 1), ("e", 2)] {
            // Long rows, so that no word is counted.
            let row = letter.repeat(100);
            let found = count(&both, &row);
            let expected = times * BYTES / 100;
            assert!(
                found.abs_diff(expected) <= 20,
                "{more:?}: {found} of {expected} {letter}"
            );
        }
        assert!(is_json || error.contains("2 of 2 jobs done"), "{more:?}");
    }
}

fn all_lines_come_from_a_stdin_that_does_not_block() {
    let place = Place::new();
    let (reader, mut writer) = pipe().unwrap();
    ioctl_fionbio(&reader, true).unwrap();
    let mut command = place.supervisor(&["-w", "1", "--", "sh", "-c", "echo > done-$1", "_"]);
    command
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let run = command.spawn().unwrap();
    drop(command);
    for item in ["a", "b", "c"] {
        writeln!(writer, "{item}").unwrap();
        let path = place.path(&format!("done-{item}"));
        until("the item is done", || path.exists());
    }
    drop(writer);
    Said::from(run.wait_with_output().unwrap()).ends(0);
}

/// Returns a log that was emptied while the second of two items was under way.
fn emptied(option: &str, is_begun: impl Fn(&str) -> bool) -> String {
    let place = Place::new();
    place.gate("gate");
    let script = "test $1 = a || cat gate > read";
    let arguments = ["-w", "1", option, "log", "--", "sh", "-c", script, "_"];
    let mut command = place.supervisor(&arguments);
    command.args([":::", "a", "b"]).stdin(Stdio::null());
    let mut run = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the first is written down", || is_begun(&place.text("log")));
    let log = File::options().write(true).open(place.path("log")).unwrap();
    log.set_len(0).unwrap();
    place.open_gate("gate");
    assert_eq!(run.wait().unwrap().code(), Some(0));
    let text = place.text("log");
    assert!(!text.contains('\0'), "{text:?}");
    text
}

fn a_log_that_is_emptied_begins_at_its_beginning() {
    let text = emptied("--joblog", |log| log.lines().count() == 2);
    assert!(text.starts_with("2\t:\t"), "{text:?}");
    assert_eq!(text.lines().count(), 1);
}

fn a_trace_that_is_emptied_begins_at_its_beginning() {
    let text = emptied("--trace", |log| log.contains(r#""outcome":"done""#));
    assert!(text.starts_with(",\n{"), "{text:?}");
    assert!(text.ends_with("\n]\n"), "{text:?}");
}

fn names_in(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

fn a_shorter_run_leaves_no_results_of_an_earlier_one() {
    let place = Place::new();
    let run = |input: &[u8]| {
        place.run(&["--results", "r", "--", "echo"], input).ends(0);
    };
    run(b"a\nb\nc\n");
    place.write("r/3/notes", b"mine");
    run(b"x\n");
    assert_eq!(names_in(&place, "r"), ["1", "3"]);
    assert_eq!(place.text("r/1/stdout"), "x\n");
    assert_eq!(names_in(&place, "r/3"), ["notes"]);
}

fn a_run_that_goes_on_leaves_the_results_of_an_earlier_one() {
    let place = Place::new();
    for input in [&b"a\nb\n"[..], b"a\nb\nc\n"] {
        let arguments = ["--journal", "j", "--results", "r", "--", "echo"];
        place.run(&arguments, input).ends(0);
    }
    assert_eq!(names_in(&place, "r"), ["1", "2", "3"]);
    assert_eq!(place.text("r/1/stdout"), "a\n");
}

/// All output is searched at least once between the two lines of b.
fn a_long_line_has_one_tag() {
    let place = Place::new();
    for gate in ["a", "b", "end"] {
        place.gate(gate);
    }
    let long = format!("head -c {} /dev/zero | tr '\\0' x; echo > long", 2 * BYTES);
    let script = format!(
        "case $1 in a) {long}; cat a > a-read; echo;; \
         b) echo 1; cat b > b-read; echo 2; cat end > end-read;; esac"
    );
    let arguments = sh("-w 2 --line-buffer --tag", &script, "_");
    let mut command = place.supervisor(&arguments);
    command.args([":::", "a", "b"]).stdin(Stdio::null());
    let mut run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), "b\t1");
    until("the line is long", || place.path("long").exists());
    place.open_gate("b");
    assert_eq!(next().split_at(3).0, "b\t2");
    place.open_gate("a");
    let line = next();
    assert!(line.starts_with("a\tx"));
    assert_eq!((line.len(), line.matches('\t').count()), (2 * BYTES + 2, 1));
    place.open_gate("end");
    assert!(lines.next().is_none());
    assert_eq!(run.wait().unwrap().code(), Some(0));
}

fn nothing_of_an_item_does_anything_to_a_terminal() {
    let place = Place::new();
    let script = r"printf 'o\033[31mno\n' >&2; exit 3";
    let own = ["-w", "1", "--max-attempts", "1", "--journal", "j"];
    let item = b"x\x1b[31m\n";
    place.run(&[&own[..], &["--", "sh", "-c", script]].concat(), item);
    let runs: [&[&str]; 6] = [
        &["dead", "show", "1", "--journal", "j"],
        &["dead", "list", "--journal", "j"],
        &["--dry-run", "--", "echo", "a\u{1b}[31m"],
        &[
            "--dry-run",
            "--shell",
            "--",
            "echo {}",
            ":::",
            "a\u{1b}[31m",
        ],
        &["--input", "no\u{1b}[31mne", "--", "echo"],
        &["--no\u{1b}[31mne"],
    ];
    for arguments in runs {
        let output = place.run(arguments, item);
        let text = [output.out, output.err].concat();
        // The parser of the arguments leaves it out.
        let is_shown = text.contains("[31m") || arguments.len() == 1;
        assert!(is_shown, "{arguments:?}: {text:?}");
        assert!(!text.contains('\u{1b}'), "{arguments:?}: {text:?}");
    }
    // Output that may be given to a shell stays unchanged.
    let output = place.run(&["--dry-run", "--", "echo"], "a\tb ü\n".as_bytes());
    output.prints("echo 'a\tb ü'\n");
    assert_eq!(output.err, "");
}
