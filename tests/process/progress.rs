//! The progress of a run: bars on a terminal, JSON for scripts, and a clean end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::said::words;
use crate::support::{DEADLINE, children_of, send, state, until};
use crate::terminal::{Picture, Terminal};

crate::trials!(
    bars_in_the_first_row_leave_nothing_in_the_history_of_tmux,
    bars_on_a_terminal_say_who_holds_what,
    lines_do_not_tear_the_bars,
    lines_on_the_terminal_are_display_enough,
    nothing_is_shown_where_stderr_is_no_terminal,
    only_as_many_workers_are_shown_as_fit,
    names_cannot_write_on_the_terminal,
    a_killed_worker_is_told_above_the_bars,
    an_interrupted_run_leaves_a_clean_terminal_and_says_how_to_go_on,
    a_second_signal_leaves_a_clean_terminal_too,
    a_run_without_workers_leaves_a_clean_terminal,
    a_run_that_was_stopped_and_goes_on_shows_its_bars_again,
    a_narrower_terminal_gets_narrower_bars,
    progress_as_json_is_an_object_a_line,
    the_end_of_a_pipe_tells_the_total,
    a_run_that_goes_on_counts_all_that_there_is,
    how_to_go_on_is_said_without_a_terminal_as_well,
);

/// No item ends, so that the display stays.
const FOR_EVER: [&str; 5] = ["--quiet", "--wash", "0", "--dry", "1000s"];

fn on_terminal(arguments: &[&str]) -> Terminal {
    Terminal::supervisor(&[&FOR_EVER, arguments].concat())
}

/// Checks that no bars are left, the cursor is visible, and the next line begins at its start.
fn expect_clean(bytes: &[u8]) -> Picture {
    let picture = Picture::of(bytes);
    let lines = picture.lines();
    let is_bar = |line: &&String| line.contains(" done, ") && !line.contains(" dishes done, ");
    assert_eq!(lines.iter().find(is_bar), None, "{lines:#?}");
    let is_hand = |line: &&String| line.starts_with("  ");
    assert_eq!(lines.iter().find(is_hand), None, "{lines:#?}");
    assert!(picture.is_ended(), "{picture:?}");
    let text = String::from_utf8_lossy(bytes);
    let shown = text.rfind("\x1b[?25h");
    assert!(text.rfind("\x1b[?25l") <= shown, "the cursor is hidden");
    picture
}

fn bars_on_a_terminal_say_who_holds_what() {
    let run = on_terminal(&["-w", "2"]);
    let picture = run.await_picture("who holds what", |picture| {
        picture.has("0 of 4 done, 0 dead [")
            && picture
                .lines()
                .iter()
                .filter(|line| line.contains("dish-"))
                .count()
                == 2
    });
    for worker in ["  dryer-1 ", "  dryer-2 "] {
        assert!(picture.has(worker), "{picture:?}");
    }
}

fn lines_do_not_tear_the_bars() {
    let mut run = Terminal::supervisor(&words(
        "--progress bar -w 2 --wash 10ms --dry 15ms --dishes 60",
    ));
    let (bytes, status) = run.finish();
    assert_eq!(status.code(), Some(0));
    assert!(String::from_utf8_lossy(&bytes).contains(" of 60 done, 0 dead ["));
    let lines = expect_clean(&bytes).lines();
    assert_eq!(lines.len(), 121, "{lines:#?}");
    for n in 1..=60 {
        for what in ["Washing", "Drying "] {
            let beginning = format!("{what} dish-{n} , time: 0:00:0");
            let found = lines.iter().filter(|line| line.starts_with(&beginning));
            assert_eq!(found.count(), 1, "{beginning}: {lines:#?}");
        }
    }
    assert!(lines[120].starts_with("60 of 60 dishes done"), "{lines:#?}");
}

fn lines_on_the_terminal_are_display_enough() {
    let quick = ["--wash", "0", "--dry", "150ms", "-w", "1"];
    for arguments in [
        &["--progress", "auto"][..],
        &["--quiet", "--progress", "none"],
    ] {
        let mut run = Terminal::supervisor(&[&quick, arguments].concat());
        let (bytes, status) = run.finish();
        assert_eq!(status.code(), Some(0));
        assert!(
            !bytes.contains(&b'\x1b'),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    // The program behind the pipe does not know of the bars.
    let mut run = Terminal::script("supervisor --wash 0 --dry 150ms -w 1 | cat | cat");
    let (bytes, _) = run.finish();
    assert!(
        !bytes.contains(&b'\x1b'),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    // Output that goes elsewhere leaves the terminal to the bars.
    for elsewhere in ["> /dev/null", "| cat > /dev/null"] {
        let script = format!("supervisor --wash 0 --dry 150ms -w 1 {elsewhere}");
        let (bytes, _) = Terminal::script(&script).finish();
        assert!(String::from_utf8_lossy(&bytes).contains(" of 4 done, 0 dead ["));
        expect_clean(&bytes);
    }
}

fn piped(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(["--wash", "0", "--dry", "150ms"])
        .args(arguments)
        .env("TERM", "xterm")
        .output()
        .unwrap()
}

fn nothing_is_shown_where_stderr_is_no_terminal() {
    for way in ["auto", "bar", "none"] {
        let output = piped(&["--quiet", "--progress", way]);
        assert_eq!(output.status.code(), Some(0));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("4 of 4 dishes done"), "{way}: {error}");
        assert_eq!(error.lines().count(), 1, "{way}: {error}");
        assert!(output.stdout.is_empty(), "{way}");
    }
}

fn only_as_many_workers_are_shown_as_fit() {
    let run = on_terminal(&["-w", "30", "--dishes", "30"]);
    run.await_picture("as many as fit", |picture| {
        let lines = picture.lines();
        lines.len() == 23 && lines[22] == "  … and 9 more"
    });
}

fn names_cannot_write_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names");
    let long = "x".repeat(1000);
    std::fs::write(&path, format!("a\x1b[2J\x07b\n{long}\n")).unwrap();
    let run = on_terminal(&["-w", "2", "--input", path.to_str().unwrap()]);
    let picture = run.await_picture("both names", |picture| {
        let lines = picture.lines();
        lines
            .iter()
            .any(|line| line.ends_with("  a\\u{1b}[2J\\u{7}b"))
            && lines.iter().any(|line| line.ends_with("xxx…"))
    });
    assert_eq!(picture.lines().len(), 3, "{picture:?}");
}

fn a_killed_worker_is_told_above_the_bars() {
    let run = on_terminal(&["-w", "1", "--dishes", "1"]);
    run.await_picture("it is at work", |picture| picture.has("  dryer-1 "));
    let worker = children_of(run.child.id())[0];
    send(worker, Signal::SIGKILL);
    let picture = run.await_picture("it is at work again", |picture| {
        let lines = picture.lines();
        lines.len() == 4 && lines[3].ends_with("  dish-1")
    });
    let expected = format!("dryer-1 (pid {worker}) killed by SIGKILL while drying dish-1");
    assert_eq!(picture.lines()[0], expected);
    assert!(picture.lines()[1].starts_with("dish-1: attempt 1 failed"));
}

fn an_interrupted_run_leaves_a_clean_terminal_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j").to_str().unwrap().to_owned();
    let cases = [
        (
            vec![],
            "supervisor: stopped before the end, and nothing was kept",
        ),
        (
            vec!["--journal", &journal],
            "supervisor: stopped before the end; the same command goes on",
        ),
    ];
    for (arguments, expected) in cases {
        let always = [
            "--quiet", "--wash", "0", "--dry", "300ms", "--dishes", "100", "-w", "1",
        ];
        let mut run = Terminal::supervisor(&[&always[..], &arguments].concat());
        run.await_picture("bars", |picture| picture.has("  dryer-1 "));
        run.type_in(b"\x03");
        let (bytes, status) = run.finish();
        assert_eq!(status.code(), Some(130));
        let picture = expect_clean(&bytes);
        assert!(picture.has(expected), "{picture:?}");
        assert!(picture.has("supervisor: SIGINT: finishing"), "{picture:?}");
    }
}

fn a_second_signal_leaves_a_clean_terminal_too() {
    for mode in ["processes", "threads", "sequential"] {
        let mut run = on_terminal(&["-w", "1", "--mode", mode]);
        run.await_picture("bars", |picture| picture.has("  "));
        run.signal(Signal::SIGTERM);
        run.await_picture("it is told", |picture| picture.has("supervisor: SIGTERM"));
        run.signal(Signal::SIGINT);
        let (bytes, status) = run.finish();
        assert_eq!(status.code(), Some(130), "{mode}");
        let picture = expect_clean(&bytes);
        assert!(
            picture.has("supervisor: stopped before the end"),
            "{picture:?}"
        );
    }
}

fn a_run_without_workers_leaves_a_clean_terminal() {
    let slow = words("--quiet --wash 1000s -w 1 --max-restarts 0");
    let mut run = Terminal::supervisor(&slow);
    run.await_picture("it is idle", |picture| picture.has("  dryer-1 "));
    send(children_of(run.child.id())[0], Signal::SIGKILL);
    let (bytes, status) = run.finish();
    assert_eq!(status.code(), Some(3));
    let picture = expect_clean(&bytes);
    assert!(picture.has("supervisor: no workers left"), "{picture:?}");
}

fn a_run_that_was_stopped_and_goes_on_shows_its_bars_again() {
    let mut run = on_terminal(&["-w", "1"]);
    let first = run.await_picture("bars", |picture| picture.has("  dryer-1 "));
    run.signal(Signal::SIGSTOP);
    until("it is stopped", || state(run.child.id()) == Some('T'));
    run.signal(Signal::SIGCONT);
    run.await_picture("bars again", |picture| {
        picture.lines().len() > first.lines().len()
    });
    run.signal(Signal::SIGTERM);
    run.signal(Signal::SIGTERM);
    assert_eq!(run.finish().1.code(), Some(143));
}

fn a_narrower_terminal_gets_narrower_bars() {
    let run = on_terminal(&["-w", "1"]);
    run.await_picture("bars", |picture| picture.has("0 of 4 done, 0 dead ["));
    run.resize(24, 10);
    run.await_picture("no room for a bar", |picture| {
        let lines = picture.lines();
        lines.len() == 2 && lines[1] == "dryer-1 dish-1" && !lines[0].contains('[')
    });
}

/// Returns the lines of progress on stderr, as they come.
fn reports(from: impl std::io::Read) -> impl Iterator<Item = Value> {
    let lines = BufReader::new(from).lines().map_while(Result::ok);
    let objects = lines.filter(|line| line.starts_with('{'));
    objects.map(|line| serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")))
}

fn progress_as_json_is_an_object_a_line() {
    // It takes more than a second, so that there is one line in between.
    let output = piped(&["--quiet", "--progress", "json", "--dishes", "12", "-w", "1"]);
    assert_eq!(output.status.code(), Some(0));
    let reports: Vec<Value> = reports(&output.stderr[..]).collect();
    assert!(reports.len() >= 2, "{reports:?}");
    for report in &reports {
        let fields: Vec<&str> = report
            .as_object()
            .unwrap()
            .keys()
            .map(|key| &**key)
            .collect();
        let expected = [
            "event",
            "t_us",
            "done",
            "dead",
            "waiting",
            "total",
            "rate_per_s",
            "eta_s",
            "workers",
        ];
        assert_eq!(fields, expected);
        assert_eq!(report["event"], "progress");
        assert_eq!(report["total"], 12);
    }
    let worker = &reports[0]["workers"][0];
    assert_eq!(worker["worker"], "dryer-1");
    assert!(
        worker["pid"].is_u64() && worker["for_us"].is_u64(),
        "{worker}"
    );
    let last = &reports[reports.len() - 1];
    assert_eq!((&last["done"], &last["waiting"]), (&12.into(), &0.into()));
    assert_eq!(last["eta_s"], 0);
}

fn the_end_of_a_pipe_tells_the_total() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(words("--input - --wash 0 --dry 0 --progress json -w 1"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"cup\nplate\n").unwrap();
    let mut reports = reports(child.stderr.take().unwrap());
    let open = reports.find(|report| report["done"] == 2).unwrap();
    assert_eq!(
        (&open["total"], &open["eta_s"]),
        (&Value::Null, &Value::Null)
    );
    drop(stdin);
    assert_eq!(reports.last().unwrap()["total"], 2);
    assert!(child.wait().unwrap().success());
}

fn a_run_that_goes_on_counts_all_that_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j");
    let journal = [
        "--journal",
        journal.to_str().unwrap(),
        "--progress",
        "json",
        "--dry",
        "0",
    ];
    for (dishes, total) in [("3", 3), ("5", 5), ("2", 5)] {
        let output = Command::new(env!("CARGO_BIN_EXE_supervisor"))
            .args(["--wash", "0", "--quiet", "--dishes", dishes])
            .args(journal)
            .output()
            .unwrap();
        let last = reports(&output.stderr[..]).last().unwrap();
        assert_eq!(
            (&last["done"], &last["total"]),
            (&total.into(), &total.into()),
            "{dishes}"
        );
    }
}

fn how_to_go_on_is_said_without_a_terminal_as_well() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(words("--wash 0 --dry 1000s --shutdown 0 -w 1"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().starts_with("Drying")),
        "within {DEADLINE:?}"
    );
    send(child.id(), Signal::SIGTERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.lines().last().unwrap();
    assert!(
        last.starts_with("supervisor: stopped before the end, and nothing was kept"),
        "{error}"
    );
}

/// tmux saves what it takes for a cleared screen, and it has no more than one here.
fn bars_in_the_first_row_leave_nothing_in_the_history_of_tmux() {
    let folder = tempfile::tempdir().unwrap();
    let size = folder.path().join("size");
    let script = format!(
        "seq 60 | {} -w 2 -q -- sh -c 'sleep 0.05'; \
         tmux display-message -p '#{{history_size}}' >{size}.new; mv {size}.new {size}",
        env!("CARGO_BIN_EXE_supervisor"),
        size = size.display(),
    );
    let socket = folder.path().join("tmux");
    let tmux = |arguments: &[&str]| {
        let mut command = std::process::Command::new("tmux");
        command.arg("-S").arg(&socket).args(["-f", "/dev/null"]);
        command.args(arguments).status()
    };
    let begin = ["new-session", "-d", "-x", "80", "-y", "24", &script];
    if !tmux(&begin).is_ok_and(|status| status.success()) {
        #[expect(clippy::print_stderr, reason = "nobody should take it for tried")]
        {
            eprintln!("skipped: there is no tmux");
        }
        return;
    }
    until("the run is over", || size.exists());
    let _ = tmux(&["kill-server"]);
    assert_eq!(std::fs::read_to_string(size).unwrap(), "0\n");
}
