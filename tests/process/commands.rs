//! Runs of a command for each item: the filled-in places, the output, the kept results.

mod charges;
mod copies;
mod deaths;
mod endings;
mod inherited;
mod intruders;
mod jobserver;
mod kept;
mod limits;
mod lots;
mod older_journals;
mod output;
mod parallel;
mod persistent;
pub(crate) mod room;
mod shell;
mod small;
mod surroundings;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::place::Place;
use crate::said::{Said, sh, words};
use crate::support::Run;

pub(crate) fn trials() -> Vec<Trial> {
    let all = [
        own::trials(),
        charges::trials(),
        copies::trials(),
        deaths::trials(),
        endings::trials(),
        intruders::trials(),
        inherited::trials(),
        jobserver::trials(),
        kept::trials(),
        limits::trials(),
        lots::trials(),
        older_journals::trials(),
        output::trials(),
        parallel::trials(),
        persistent::trials(),
        room::trials(),
        shell::trials(),
        small::trials(),
        surroundings::trials(),
    ];
    all.into_iter().flatten().collect()
}

impl Place {
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Makes a named pipe, whose opening waits for the other end.
    fn gate(&self, name: &str) {
        mkfifo(&self.path(name), Mode::S_IRWXU).unwrap();
    }

    /// Lets one reader through a gate.
    fn open_gate(&self, name: &str) {
        fs::write(self.path(name), b"go\n").unwrap();
    }

    fn supervisor(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(arguments).current_dir(self.folder.path());
        command.env("TMPDIR", self.folder.path());
        command
    }

    /// Runs to the end, with this on stdin.
    fn run(&self, arguments: &[&str], input: &[u8]) -> Said {
        feed(&mut self.supervisor(arguments), input)
    }

    /// Runs with JSON events, to be watched.
    fn watch(&self, arguments: &[&str]) -> Run {
        let mut command = self.supervisor(&["--format", "json"]);
        command.args(arguments).stdin(Stdio::null());
        Run::of(command)
    }

    /// Returns the columns of a job log, without its header.
    fn joblog(&self, name: &str) -> Vec<Vec<String>> {
        let text = self.text(name);
        let rows = text.lines().skip(1);
        rows.map(|row| row.split('\t').map(String::from).collect())
            .collect()
    }
}

/// Runs a command to its end, with this on stdin.
fn feed(command: &mut Command, input: &[u8]) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The command may end without having read all of it.
    let feeding = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output.into()
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

mod own {
    use super::*;

    crate::trials!(
        hard_lines_give_the_same_bytes_as_gnu_parallel,
        lines_and_items_between_zeros_are_bytes,
        an_item_is_worked_on_before_the_next_line_comes,
        lines_before_one_that_is_wrong_are_worked_on,
        a_command_gets_its_item_on_stdin,
        members_of_json_lines_are_filled_in,
        a_shell_is_used_only_when_asked_for,
        environment_and_folder_are_as_asked_for,
        a_script_without_an_interpreter_is_run_by_the_shell,
        what_goes_on_in_the_background_is_not_waited_for,
        a_run_goes_on_with_its_journal,
        what_was_done_and_not_shown_is_shown_by_the_next_run,
        a_run_that_was_killed_leaves_nothing_for_the_next_one,
        long_inputs_and_outputs_do_not_lie_in_memory,
    );

    /// Returns lines that break inexact programs.
    fn hard_lines() -> Vec<u8> {
        let letters = " \t'\"\\$`;&|<>(){}[]*?!#~=%^+-_,.:/@abcXYZ019äßé漢🙂";
        let letters: Vec<char> = letters.chars().collect();
        // Lehmer's generator gives all runs the same lines.
        let mut state: u64 = 5;
        let mut next = |below: usize| {
            state = state * 48_271 % 2_147_483_647;
            usize::try_from(state).unwrap() % below
        };
        let mut lines = String::new();
        for _ in 0..1000 {
            match next(20) {
                0 => {}
                kind => {
                    lines.extend((kind < 3).then_some('-'));
                    let length = 1 + next(30);
                    lines.extend((0..length).map(|_| letters[next(letters.len())]));
                }
            }
            lines.push('\n');
        }
        lines.into_bytes()
    }

    /// The output is compared with GNU parallel's if it is installed, and with the lines always.
    fn hard_lines_give_the_same_bytes_as_gnu_parallel() {
        let (place, lines) = (Place::new(), hard_lines());
        let script = r#"printf '<%s>\n' "$1""#;
        let ours = place.run(&["-w", "2", "-k", "--", "sh", "-c", script, "_"], &lines);
        ours.ends(0);
        let text = String::from_utf8(lines.clone()).unwrap();
        let expected: String = text.lines().map(|line| format!("<{line}>\n")).collect();
        assert!(ours.out == expected);
        if has_program("parallel") {
            let mut parallel = Command::new("parallel");
            parallel
                .args(["--will-cite", "-k", "-j2", r"printf '<%s>\n' {}"])
                .env("HOME", place.folder.path());
            let theirs = feed(&mut parallel, &lines);
            assert!(theirs.stdout == ours.stdout, "{}", theirs.err);
        }
    }

    fn lines_and_items_between_zeros_are_bytes() {
        let place = Place::new();
        let script = r#"printf '<%s>' "$1""#;
        let command = ["-k", "--", "sh", "-c", script, "_"];
        let output = place.run(&command, b"\xff\xfe\na\xe9\n\n");
        assert_eq!(output.stdout, b"<\xff\xfe><a\xe9><>");
        let command = ["-0", "-k", "--", "sh", "-c", script, "_"];
        let output = place.run(&command, b"\xff\nx\0\0y");
        assert_eq!(output.stdout, b"<\xff\nx><><y>");
        let mut command = place.supervisor(&["-k", "--", "printf", "<%s>", ":::"]);
        let items = [&b"\xff"[..], b"b c", b"-n"].map(OsStr::from_bytes);
        let output = feed(command.args(items), b"");
        assert_eq!(output.stdout, b"<\xff><b c><-n>");
    }

    /// Lines that are there go to the queue together, and none of them waits for one that is not.
    fn an_item_is_worked_on_before_the_next_line_comes() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(["-q", "-w", "1", "--", "echo"]);
        command.stdin(Stdio::piped());
        let mut run = Run::of(command);
        let mut stdin = run.child.stdin.take().unwrap();
        let mut next = 0;
        for count in [1, 1, 70, 2, 300, 1] {
            let lines: String = (next..next + count).map(|n| format!("{n}\n")).collect();
            stdin.write_all(lines.as_bytes()).unwrap();
            let mut seen: Vec<u32> = (0..count)
                .map(|_| run.line().unwrap().parse().unwrap())
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (next..next + count).collect::<Vec<u32>>());
            next += count;
        }
        drop(stdin);
        assert_eq!((run.line(), run.exit().code()), (None, Some(0)));
    }

    fn lines_before_one_that_is_wrong_are_worked_on() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(["-q", "-w", "1", "--json", "--", "echo", "{n}"]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut run = Run::of(command);
        let mut stdin = run.child.stdin.take().unwrap();
        // In one go, so that they come together.
        let mut lines: String = (0..20).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        lines.push_str("nothing\n");
        stdin.write_all(lines.as_bytes()).unwrap();
        drop(stdin);
        let mut seen: Vec<u32> = std::iter::from_fn(|| run.line())
            .map(|line| line.parse().unwrap())
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<u32>>());
        assert_eq!(run.exit().code(), Some(2));
    }

    fn a_command_gets_its_item_on_stdin() {
        let place = Place::new();
        let output = place.run(&["-k", "--stdin", "--", "cat"], b"a {}\n\n\xffb");
        assert_eq!(output.stdout, b"a {}\n\n\xffb\n");
        let output = place.run(&["-0", "-k", "--stdin", "--", "cat"], b"a\0b\n\0");
        assert_eq!(output.stdout, b"ab\n");
        // It is longer than any argument may be.
        let long = vec![b'x'; 3_000_000];
        let output = place.run(&["--stdin", "--", "wc", "-c"], &long);
        assert_eq!(output.out.trim(), "3000001");
        let output = place.run(&["--max-attempts", "1", "--", "wc", "-c"], &long);
        output
            .ends(1)
            .tells("too long for an argument: --stdin has no limit");
    }

    fn members_of_json_lines_are_filled_in() {
        let place = Place::new();
        let lines = b"{\"name\":\"a b\",\"n\":[1,2]}\n{\"n\":null,\"name\":\"\xc3\xa4\"}\n";
        let command = [
            "-k",
            "--json",
            "--",
            "printf",
            "<%s %s %s>",
            "{name}",
            "{n}",
            "{#}",
        ];
        place.run(&command, lines).prints("<a b [1,2] 1><ä  2>");
        // A fault in a pipe is known only when it comes.
        let output = place.run(
            &["--json", "--", "echo", "{name}"],
            b"{\"name\":1}\n{\"x\":1}\n",
        );
        output.ends(2);
        let why = "line 2: it has no member \"name\" for {name}";
        output.tells(why);
    }

    fn a_shell_is_used_only_when_asked_for() {
        let place = Place::new();
        place
            .run(&["--", "echo", "$HOME", "|", "{}"], b"$(id)\n")
            .prints("$HOME | $(id)\n");
        place
            .run(&["--shell", "--", "echo {} | tr a-z A-Z"], b"$(id); x\n")
            .prints("$(ID); X\n");
    }

    fn environment_and_folder_are_as_asked_for() {
        let place = Place::new();
        fs::create_dir(place.path("sub")).unwrap();
        let script = "echo \"$PWD $X $SUPERVISOR_ITEM $SUPERVISOR_ATTEMPT $SUPERVISOR_SLOT\"; env";
        let arguments = sh("-w 1 --env X=a=b --workdir sub", script, "");
        let output = place.run(&arguments, b"i\n");
        let text = &output.out;
        let first = text.lines().next().unwrap();
        assert!(first.ends_with("/sub a=b 1 1 1"), "{first}");
        assert!(!text.contains("DISHRACK"), "{text}");
    }

    fn a_script_without_an_interpreter_is_run_by_the_shell() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::new();
        place.write("script", b"echo \"got $1\"\n");
        fs::set_permissions(place.path("script"), fs::Permissions::from_mode(0o755)).unwrap();
        place.run(&["--", "./script"], b"a\n").prints("got a\n");
    }

    fn what_goes_on_in_the_background_is_not_waited_for() {
        let place = Place::new();
        let output = place.run(
            &["-w", "1", "--", "sh", "-c", "sleep 1000 & echo $1", "_"],
            b"a\nb\n",
        );
        output.prints("a\nb\n");
    }

    /// The second run repeats nothing of the first one, and may have another command.
    fn a_run_goes_on_with_its_journal() {
        let place = Place::new();
        place.gate("gate");
        let script = "echo $1 >> did; test $1 != c || read x < gate";
        let kept = ["-w", "1", "--journal", "j", "--joblog", "log"];
        let first = [&kept[..], &["--", "sh", "-c", script, "_"]].concat();
        let items = [":::", "a", "b", "c", "d", "b"];
        let mut run = place.watch(&[&first[..], &items[..]].concat());
        let (mut is_done, mut is_begun) = (false, false);
        while !(is_done && is_begun) {
            let event = run.event().unwrap();
            is_done |= event["event"] == "done" && event["item"] == "b";
            is_begun |= event["event"] == "running" && event["item"] == "c";
        }
        let began = || place.text("did").lines().count() == 3;
        crate::support::until("the third command has begun", began);
        run.kill();
        let second = [&kept[..], &["--", "sh", "-c", "echo $1 >> did", "_"]].concat();
        let output = place.run(&[&second[..], &items[..]].concat(), b"");
        output.ends(0);
        let message = "resuming j: 2 of 5 jobs done, 0 dead";
        output.tells(message);
        let did = place.text("did");
        let did: Vec<&str> = did.lines().collect();
        assert_eq!(did[..2], ["a", "b"]);
        // Both runs have begun it.
        let again = did.iter().filter(|item| **item == "c").count();
        assert_eq!((did.len(), again), (6, 2), "{did:?}");
        let numbers: Vec<String> = place
            .joblog("log")
            .iter()
            .map(|row| row[0].clone())
            .collect();
        assert_eq!(numbers, ["1", "2", "3", "4", "5"]);
    }

    /// In order, the first item holds the others' output back; then the supervisor is killed.
    fn what_was_done_and_not_shown_is_shown_by_the_next_run() {
        let place = Place::new();
        place.gate("gate");
        let script = "test $1 != a || { echo $$ > a; read x < gate; }; echo out $1";
        let command = ["--journal", "j", "--results", "r", "--", "sh", "-c", script];
        let items = ["_", "{}", ":::", "a", "b", "c"];
        let mut run = place.watch(&[&["-w", "2", "-k"], &command[..], &items].concat());
        run.await_event("done");
        run.await_event("done");
        let waiting = read_pid(&place.path("a"));
        run.kill();
        // This way only the next run comes through the gate.
        crate::support::until("its command has ended", || {
            !crate::support::is_alive(waiting)
        });
        let gate = place.path("gate");
        let opening = std::thread::spawn(move || fs::write(gate, "go\n").unwrap());
        let output = place.run(&[&["-w", "2", "-k"], &command[..], &items].concat(), b"");
        opening.join().unwrap();
        output.prints("out a\nout b\nout c\n");
        assert_eq!(place.text("r/2/stdout"), "out b\n");
        assert!(!place.path("j-output").exists());
    }

    fn a_run_that_was_killed_leaves_nothing_for_the_next_one() {
        let place = Place::new();
        place.gate("gate");
        let mut run = place.watch(&["--", "sh", "-c", "echo x; read x < gate", ":::", "a"]);
        run.await_event("running");
        assert_eq!(scratches(&place), 1);
        run.kill();
        assert_eq!(scratches(&place), 1, "nobody was left to remove it");
        place.run(&["--", "true"], b"a\n").ends(0);
        assert_eq!(scratches(&place), 0);
    }

    fn peak_memory_kib(pid: u32) -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse().unwrap()
    }

    /// 600 MB of input lines, and 600 MB of output of one command.
    fn long_inputs_and_outputs_do_not_lie_in_memory() {
        let place = Place::new();
        place.gate("gate");
        let line = [&[b'x'; 1_000_000][..], b"\n"].concat();
        let mut lines = fs::File::create(place.path("lines")).unwrap();
        for _ in 0..600 {
            lines.write_all(&line).unwrap();
        }
        // The last item waits until its supervisor was measured.
        lines.write_all(b"last\n").unwrap();
        let script = "case $(head -c 5) in
            last*) echo done > end; read x < gate;;
            *) test $SUPERVISOR_ITEM != 1 || head -c 600000000 /dev/zero;;
            esac";
        let arguments = [
            "-w", "2", "--stdin", "--input", "lines", "--", "sh", "-c", script,
        ];
        let mut command = place.supervisor(&arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        crate::support::until("the last item has begun", || !place.text("end").is_empty());
        let peak = peak_memory_kib(child.id());
        place.open_gate("gate");
        assert!(child.wait().unwrap().success());
        assert!(peak < 200_000, "{peak} KiB");
    }
}

/// Returns the number of the runs' folders.
fn scratches(place: &Place) -> usize {
    let entries = fs::read_dir(place.folder.path()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".dishrack-")).count()
}

fn read_pid(path: &Path) -> u32 {
    let mut pid = None;
    crate::support::until("a pid is written", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}
