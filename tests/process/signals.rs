//! Signals to the supervisor and to workers.

#![allow(clippy::print_stderr, reason = "a test that cannot be done says so")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use dishrack::{JoinableQueue, Supervisor};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, setuid};

use crate::roles::{self, Work};
use crate::said::words;
use crate::support::{DEADLINE, Run, is_alive, named, pid_of, send, state, until};

crate::trials! {
    sigterm_finishes_what_is_being_dried => stop_in_order(Signal::SIGTERM, 143),
    sigint_finishes_what_is_being_dried => stop_in_order(Signal::SIGINT, 130),
    sigterm_stops_every_mode,
    a_stderr_that_nobody_reads_does_not_keep_it,
    a_second_signal_stops_at_once,
    term_beyond_the_grace_kills_the_worker,
    term_beyond_the_grace_ends_one_person_too,
    a_stopped_worker_stops_nobody_else,
    a_worker_killed_by_sigterm_is_told_so,
    a_closed_stdout_ends_quietly,
    stop_leaves_the_rest_in_the_queue,
    a_stdout_that_nobody_reads_does_not_keep_it,
    a_silent_stdin_does_not_keep_it,
    a_signal_that_was_ignored_stays_ignored,
    a_full_disk_under_stdout_is_told,
    signals_that_end_a_program_end_it_in_order,
    sigusr1_says_how_a_run_stands,
    sigttin_and_sigttou_scale_by_one,
    a_limit_on_the_size_of_files_is_told,
    where_no_thread_can_be_made_that_is_told,
}

fn stop_in_order(signal: Signal, code: i32) {
    let mut run = Run::supervisor(&["-w", "2", "--dishes", "50", "--wash", "0", "--dry", "300ms"]);
    // The second worker may begin when the first dish is dry.
    let mut wet = 0;
    while wet < 2 {
        match run.event().expect("two are dried at once")["event"].as_str() {
            Some("drying") => wet += 1,
            Some("done") => wet -= 1,
            _ => {}
        }
    }
    run.signal(signal);
    let events = run.ends(code);
    let summary = named(&events, "summary")[0];
    let done = summary["done"].as_u64().unwrap();
    assert!((2..50).contains(&done), "{summary}");
    assert_eq!(summary["retries"], 0);
    assert_eq!(
        named(&events, "drying").len() + 2,
        named(&events, "done").len()
    );
    let exits = named(&events, "worker_exited");
    assert!(exits.iter().all(|event| event["code"] == 0), "{exits:?}");
}

fn sigterm_stops_every_mode() {
    for mode in ["processes", "threads", "tasks", "sequential"] {
        let mut run = Run::supervisor(&["--mode", mode, "--wash", "10ms", "--dry", "200ms"]);
        run.await_event("drying");
        run.signal(Signal::SIGTERM);
        let (events, status) = run.finish();
        assert_eq!(status.code(), Some(143), "{mode}");
        assert!(!named(&events, "done").is_empty(), "{mode}: {events:?}");
    }
}

fn a_second_signal_stops_at_once() {
    for mode in ["processes", "threads", "tasks", "sequential"] {
        let mut command = Command::new("sh");
        let supervisor = env!("CARGO_BIN_EXE_supervisor");
        let script = format!("exec {supervisor} --mode {mode} --wash 0 --dry 1000s 2>&1");
        command.args(["-c", &script]);
        let mut run = Run::of(command);
        await_line(&run, "Drying");
        run.signal(Signal::SIGTERM);
        await_line(&run, "supervisor: SIGTERM: finishing what is being dried");
        run.signal(Signal::SIGINT);
        assert_eq!(run.exit().code(), Some(130), "{mode}");
    }
}

fn await_line(run: &Run, beginning: &str) {
    while !run.line().unwrap().starts_with(beginning) {}
}

fn term_beyond_the_grace_kills_the_worker() {
    let mut run = Run::supervisor(&words("--wash 0 --dry 1000s --shutdown 50ms -w 1"));
    run.await_event("drying");
    run.signal(Signal::SIGTERM);
    let events = run.ends(143);
    assert_eq!(named(&events, "worker_exited")[0]["signal"], "SIGKILL");
    assert_eq!(named(&events, "summary")[0]["retries"], 0);
}

fn a_stopped_worker_stops_nobody_else() {
    let mut run = Run::supervisor(&["-w", "2", "--dishes", "60", "--wash", "0", "--dry", "5ms"]);
    let first = run.await_event("drying");
    let stopped = pid_of(&first);
    send(stopped, Signal::SIGSTOP);
    until("it is stopped", || state(stopped) == Some('T'));
    // The other one does everything else. Of such slow dishes each has one in hand.
    for _ in 0..58 {
        run.await_event("done");
    }
    send(stopped, Signal::SIGCONT);
    let events = run.ends(0);
    let summary = named(&events, "summary")[0];
    assert_eq!(
        (&summary["done"], &summary["retries"]),
        (&60.into(), &0.into())
    );
}

fn a_worker_killed_by_sigterm_is_told_so() {
    let mut run = Run::supervisor(&["-w", "1", "--dishes", "1", "--wash", "0", "--dry", "300ms"]);
    send(pid_of(&run.await_event("drying")), Signal::SIGTERM);
    let events = run.ends(0);
    assert_eq!(named(&events, "retry")[0]["cause"], "killed by SIGTERM");
    assert_eq!(named(&events, "worker_exited")[0]["signal"], "SIGTERM");
}

fn a_closed_stdout_ends_quietly() {
    for mode in ["processes", "threads", "tasks", "sequential"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_supervisor"))
            .args([
                "--mode", mode, "--wash", "0", "--dry", "0", "--dishes", "1000000",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // As `head -1` does: read a little and close.
        let mut first = [0; 1];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.signal().is_none());
        assert_eq!(output.status.code(), Some(141), "{mode}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{mode}");
    }
}

fn stop_leaves_the_rest_in_the_queue() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder()
        .processes(1)
        .handler(&queue, roles::work)
        .unwrap();
    let pid = match pool.map([Work::Pid]).next() {
        Some(Ok(pid)) => u32::try_from(pid).unwrap(),
        other => panic!("{other:?}"),
    };
    pool.stop();
    assert!(!is_alive(pid));
    queue.put(&Work::Nothing).unwrap();
    let error = queue.join_timeout(DEADLINE).unwrap_err();
    assert!(error.is_no_workers_left(), "{error}");
    assert_eq!(queue.len(), 1);
    let _pool = roles::start(&queue, 1).unwrap();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 2);
}

/// A full pipe is not read: the run ends all the same, at the latest after its grace.
fn a_stdout_that_nobody_reads_does_not_keep_it() {
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let mut child = Command::new(supervisor)
        .args(["--wash", "0", "--dry", "0", "--dishes", "1000000000"])
        .args(["--shutdown", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    // It sleeps in a write when the pipe is full.
    until("the pipe is full", || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        threads.flatten().any(|thread| {
            let path = thread.path();
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            let place = std::fs::read_to_string(path.join("wchan")).unwrap_or_default();
            name == "print\n" && place.contains("pipe_write")
        })
    });
    send(pid, Signal::SIGTERM);
    let mut status = None;
    until("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(143));
}

fn a_stderr_that_nobody_reads_does_not_keep_it() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
    fcntl(&writer, flags).unwrap();
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command
        .args([
            "-w", "1", "--wash", "0", "--dry", "1000s", "--dishes", "1000",
        ])
        .args(["--shutdown", "100ms", "--format", "json"])
        .stderr(writer);
    let mut run = Run::of(command);
    run.await_event("drying");
    run.signal(Signal::SIGTERM);
    assert_eq!(run.exit().code(), Some(143));
}

fn a_silent_stdin_does_not_keep_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(["--input", "-", "--format", "json", "-w", "1"]);
    command.stdin(Stdio::piped());
    let mut run = Run::of(command);
    run.await_event("worker_started");
    run.signal(Signal::SIGTERM);
    assert_eq!(run.finish().1.code(), Some(143));
}

/// `nohup` does it so.
fn a_signal_that_was_ignored_stays_ignored() {
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let script = format!(
        "trap '' HUP; exec {supervisor} --format json -w 1 --wash 0 --dry 20ms --dishes 20"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let mut run = Run::of(command);
    run.await_event("drying");
    run.signal(Signal::SIGHUP);
    let events = run.ends(0);
    assert_eq!(named(&events, "summary")[0]["done"], 20);
}

fn a_full_disk_under_stdout_is_told() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_supervisor"))
        .args(["--wash", "0", "--dry", "0"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("cannot write to stdout: No space left"),
        "{error}"
    );
}

fn term_beyond_the_grace_ends_one_person_too() {
    let arguments = words("--mode sequential --dry 1000s --shutdown 50ms --wash 0");
    let mut run = Run::supervisor(&arguments);
    run.await_event("drying");
    run.signal(Signal::SIGTERM);
    let events = run.ends(143);
    assert_eq!(named(&events, "summary").len(), 1);
}

/// These are rare signals that a shell's `kill` knows.
fn signals_that_end_a_program_end_it_in_order() {
    for (signal, code) in [
        (Signal::SIGUSR2, 140),
        (Signal::SIGALRM, 142),
        (Signal::SIGVTALRM, 154),
        (Signal::SIGPROF, 155),
        (Signal::SIGXCPU, 152),
        (Signal::SIGIO, 157),
        (Signal::SIGPWR, 158),
        (Signal::SIGSTKFLT, 144),
    ] {
        stop_in_order(signal, code);
    }
}

fn sigusr1_says_how_a_run_stands() {
    for mode in ["processes", "threads", "tasks", "sequential"] {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("said");
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.env("XDG_RUNTIME_DIR", folder.path());
        command.args(["--format", "json", "--name", "one"]);
        command.args(["--mode", mode, "--wash", "0", "--dry", "300ms", "-w", "2"]);
        command.stderr(std::fs::File::create(&said).unwrap());
        let mut run = Run::of(command);
        run.await_event("drying");
        let said = || std::fs::read_to_string(&said).unwrap();
        let first = format!("run one (process {}, {mode}): running, for ", run.pid());
        for count in 1..=2 {
            run.signal(Signal::SIGUSR1);
            until("it says how it stands", || {
                said().matches(&first).count() == count && said().contains("\nworkers: ")
            });
        }
        assert!(said().contains("  accepted  "), "{}", said());
        let events = run.ends(0);
        assert_eq!(named(&events, "summary")[0]["done"], 4, "{mode}");
    }
}

fn sigttin_and_sigttou_scale_by_one() {
    for mode in ["processes", "threads", "tasks"] {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("said");
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(["--format", "json", "--no-control", "--mode", mode]);
        command.args(["-w", "1", "--input", "-", "--wash", "0", "--dry", "0"]);
        command.stdin(Stdio::piped());
        command.stderr(std::fs::File::create(&said).unwrap());
        let mut run = Run::of(command);
        run.await_event("worker_started");
        for (signal, workers) in [
            (Signal::SIGTTIN, 2),
            (Signal::SIGTTIN, 3),
            (Signal::SIGTTOU, 2),
            (Signal::SIGTTOU, 1),
        ] {
            run.signal(signal);
            assert_eq!(run.await_event("scaled")["workers"], workers, "{mode}");
        }
        run.signal(Signal::SIGTTOU);
        let said = || std::fs::read_to_string(&said).unwrap();
        until("it is told why not", || {
            said().contains("SIGTTOU: fewer workers")
        });
        drop(run.child.stdin.take());
        let events = run.ends(0);
        assert!(named(&events, "scaled").is_empty(), "{events:?}");
    }
}

/// The limit is in blocks of 512 bytes, set by a shell that has no others.
fn limited(blocks: u32, arguments: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -f {blocks}; exec {supervisor} {arguments}"),
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), None, "{told}");
    (told, output.status.code())
}

fn a_limit_on_the_size_of_files_is_told() {
    for blocks in [0, 2, 100] {
        let (told, code) = limited(blocks, "-- true ::: a");
        assert_eq!(code, Some(2), "{told}");
        assert!(
            told.contains("ulimit -f:") || told.contains("File too large"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    // No command is started if the journal cannot be made.
    let (told, code) = limited(2, "--journal j -- true ::: a");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("a limit on the size of files"), "{told}");
    // It is enough for a worker, and not for its output, which only fails the command.
    let script = "--max-attempts 1 -- sh -c 'head -c 1000000 /dev/zero' {} ::: a";
    let (told, code) = limited(1000, script);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("SIGXFSZ") || told.contains("code 153"),
        "{told}"
    );
}

/// Runs as a user with a limit of processes and threads. Returns `None` if that is not possible.
fn with_few_threads(count: u64, told: &std::path::Path) -> Option<Run> {
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let mut command = Command::new(supervisor);
    command.args(["-w", "2", "--max-restarts", "0"]);
    command.args(["--", "true", ":::", "a", "b"]);
    command.current_dir("/").stdin(Stdio::null());
    command.stderr(std::fs::File::create(told).unwrap());
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can be a user who has no process yet");
        return None;
    }
    let executable = std::path::Path::new(supervisor);
    let is_closed = |path: &std::path::Path| {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        mode & 0o001 == 0
    };
    if executable.ancestors().any(is_closed) {
        eprintln!("skipped: other users may not execute the command where it is built");
        return None;
    }
    // An unused number, another each time, because init may not have reaped the last one's
    // processes.
    let user = 1_000_000 + std::process::id() * 32 + u32::try_from(count).unwrap();
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            setrlimit(Resource::RLIMIT_NPROC, count, count)?;
            setuid(Uid::from_raw(user))?;
            Ok(())
        });
    }
    Some(Run::of(command))
}

/// There is room for no thread at first, then for some of the supervisor's, for its workers', and
/// at last for the commands'. Each run gives the reason and ends, but for commands it waits.
fn where_no_thread_can_be_made_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for count in 1..=24 {
        let path = folder.path().join("told");
        let Some(mut run) = with_few_threads(count, &path) else {
            return;
        };
        let told = || std::fs::read_to_string(&path).unwrap();
        let waits = || told().contains("and waiting costs nothing");
        until("it ends or waits", || run.has_ended() || waits());
        let is_waiting = waits();
        if is_waiting && !run.has_ended() {
            run.signal(Signal::SIGTERM);
        }
        let code = run.exit().code();
        let told = told();
        assert!(
            matches!(code, Some(0 | 2 | 3)) || is_waiting && code == Some(128 + 15),
            "{count}: {code:?} {told}"
        );
        let is_told = told.contains("Resource temporarily unavailable");
        // Of the supervisor or of a worker.
        if code == Some(2) || told.contains("exited with code 70") {
            assert!(is_told, "{count}: {told}");
        }
        assert!(code == Some(0) || !told.is_empty(), "{count}");
        if count == 1 {
            let expected = "supervisor: cannot start a thread: Resource temporarily unavailable";
            assert!(code == Some(2) && told.starts_with(expected), "{told}");
        }
    }
}
