//! A run under a service manager, which is a socket of the test's own: what it is told, and when.

#![allow(clippy::print_stderr, reason = "a test that cannot be done says so")]

use std::fs;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dishrack::observe::{Event, Observer};
use dishrack::{JoinableQueue, Supervisor};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::setsid;

use crate::support::{DEADLINE, Run, pid_of};

crate::trials! {
    a_manager_is_told_how_a_run_stands,
    an_idle_run_tells_nothing,
    sighup_reloads_a_service,
    a_run_without_work_is_ready_before_it_ends,
    signs_of_life_come_as_asked_for,
    nobody_else_is_told_by_the_environment,
    a_halt_that_waits_for_what_is_begun_asks_for_time,
    a_socket_without_a_path_is_told_too,
    a_manager_that_is_gone_is_told_of_once,
    a_queue_that_is_held_does_not_answer,
    the_units_of_the_page_are_valid,
}

/// A service manager.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Manager { folder, socket }
    }

    /// Starts a run as a service, without a terminal.
    fn start(&self, arguments: &[&str]) -> Run {
        self.start_with(arguments, |_| {})
    }

    fn start_with(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command
            .args(["--format", "json", "--no-control"])
            .args(arguments);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.stdin(Stdio::piped());
        // SAFETY: between fork and exec only a system call is made.
        unsafe {
            command.pre_exec(|| Ok(setsid().map(drop)?));
        }
        change(&mut command);
        Run::of(command)
    }

    /// Returns the next message; `None` if there is none within this time.
    fn hear_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 4096];
        let count = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..count].to_vec()).unwrap())
    }

    /// Returns the next message with this line, and those before it.
    fn await_line(&self, line: &str) -> (String, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let Some(message) = self.hear_within(DEADLINE) else {
                panic!("no {line}, but {before:?}");
            };
            if message.lines().any(|one| one.starts_with(line)) {
                return (message, before);
            }
            before.push(message);
        }
    }

    /// Returns all that has come and is not heard.
    fn rest(&self) -> Vec<String> {
        let time = Duration::from_millis(1);
        std::iter::from_fn(|| self.hear_within(time)).collect()
    }
}

fn a_manager_is_told_how_a_run_stands() {
    let manager = Manager::new();
    let mut run = manager.start(&["-w", "2", "--input", "-", "--", "true"]);
    let (ready, before) = manager.await_line("READY=1");
    assert_eq!(
        ready,
        "READY=1\nSTATUS=0 of 0 jobs done, 0 dead, 0 waiting; 2 workers"
    );
    assert!(
        before.iter().all(|one| one.starts_with("STATUS=")),
        "{before:?}"
    );
    let mut stdin = run.child.stdin.take().unwrap();
    stdin.write_all(b"a\nb\nc\n").unwrap();
    manager.await_line("STATUS=3 of 3 jobs done, 0 dead, 0 waiting; 2 workers");
    run.signal(Signal::SIGTTIN);
    manager.await_line("STATUS=3 of 3 jobs done, 0 dead, 0 waiting; 3 workers");
    run.signal(Signal::SIGTERM);
    let (stopping, before) = manager.await_line("STOPPING=1");
    assert_eq!(stopping, "STOPPING=1");
    assert!(
        before.iter().all(|one| one.starts_with("STATUS=")),
        "{before:?}"
    );
    run.ends(143);
    let rest = manager.rest();
    assert!(!rest.iter().any(|one| one.contains("READY=1")), "{rest:?}");
}

/// The test is about the time itself.
fn an_idle_run_tells_nothing() {
    let manager = Manager::new();
    let run = manager.start(&["-w", "2", "--input", "-", "--", "true"]);
    manager.await_line("READY=1");
    // The last word of the second worker may take a second.
    while manager.hear_within(Duration::from_secs(4)).is_some() {}
    drop(run);
}

fn sighup_reloads_a_service() {
    let manager = Manager::new();
    let mut run = manager.start(&["-w", "1", "--input", "-", "--", "true"]);
    let first = pid_of(&run.await_event("worker_started"));
    manager.await_line("READY=1");
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_micros();
    let before = now();
    run.signal(Signal::SIGHUP);
    let (reloading, _) = manager.await_line("RELOADING=1");
    let (_, micros) = reloading.split_once("\nMONOTONIC_USEC=").unwrap();
    let told = micros.lines().next().unwrap().parse::<u128>().unwrap();
    assert!((before..=now()).contains(&told), "{before} {told}");
    assert_ne!(pid_of(&run.await_event("worker_started")), first);
    manager.await_line("READY=1");
    drop(run.child.stdin.take());
    run.ends(0);
}

fn a_run_without_work_is_ready_before_it_ends() {
    for _ in 0..5 {
        let manager = Manager::new();
        let mut run = manager.start(&["-w", "1", "--input", "/dev/null", "--", "true"]);
        run.ends(0);
        let (_, before) = manager.await_line("STOPPING=1");
        assert!(
            before.iter().any(|one| one.starts_with("READY=1")),
            "{before:?}"
        );
    }
}

fn signs_of_life_come_as_asked_for() {
    let manager = Manager::new();
    let words = ["-w", "1", "--input", "-", "--", "true"];
    let run = manager.start_with(&words, |command| {
        command.env("WATCHDOG_USEC", "200000");
    });
    for _ in 0..5 {
        manager.await_line("WATCHDOG=1");
    }
    drop(run);
    manager.rest();
    // It is asked for of another process.
    let run = manager.start_with(&words, |command| {
        command
            .env("WATCHDOG_USEC", "1000")
            .env("WATCHDOG_PID", "1");
    });
    let (_, before) = manager.await_line("READY=1");
    let more = manager.hear_within(Duration::from_millis(300));
    let is_sign = |one: &String| one.contains("WATCHDOG");
    assert!(
        !before.iter().chain(&more).any(is_sign),
        "{before:?} {more:?}"
    );
    drop(run);
}

fn nobody_else_is_told_by_the_environment() {
    let script = "env > \"$1\"";
    for options in [
        &["--start-method", "spawn"][..],
        &["--start-method", "fork"],
    ] {
        let manager = Manager::new();
        let seen = manager.folder.path().join("seen");
        let item = seen.to_str().unwrap();
        let job = ["--", "sh", "-c", script, "_", "{}", ":::", item];
        let mut run = manager.start_with(&[options, &job].concat(), |command| {
            command.env("WATCHDOG_USEC", "1000000000").env("KEPT", "1");
        });
        run.ends(0);
        let seen = fs::read_to_string(seen).unwrap();
        assert!(seen.contains("KEPT=1"), "{options:?}: {seen}");
        assert!(
            !seen.contains("NOTIFY") && !seen.contains("WATCHDOG"),
            "{options:?}: {seen}"
        );
        manager.await_line("READY=1");
    }
}

fn a_halt_that_waits_for_what_is_begun_asks_for_time() {
    let manager = Manager::new();
    let go = manager.folder.path().join("go");
    let script = "until test -e \"$1\"; do test $2 != bad || exit 1; sleep 0.01; done";
    let go_text = go.to_str().unwrap();
    let words = [
        "-w",
        "2",
        "--halt",
        "soon,fail=1",
        "--",
        "sh",
        "-c",
        script,
        "_",
        go_text,
        "{}",
        ":::",
        "good",
        "bad",
    ];
    let mut run = manager.start(&words);
    let (stopping, _) = manager.await_line("STOPPING=1");
    assert_eq!(stopping, "STOPPING=1");
    manager.await_line("EXTEND_TIMEOUT_USEC=30000000");
    fs::write(go, "").unwrap();
    run.ends(1);
}

fn a_socket_without_a_path_is_told_too() {
    let manager = Manager::new();
    let name = format!("dishrack-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let manager = Manager { socket, ..manager };
    let words = ["-w", "1", "--", "true", ":::", "a"];
    let mut run = manager.start_with(&words, |command| {
        command.env("NOTIFY_SOCKET", format!("@{name}"));
    });
    manager.await_line("READY=1");
    run.ends(0);
}

fn a_manager_that_is_gone_is_told_of_once() {
    let manager = Manager::new();
    for socket in ["nobody", "vsock:2:1"] {
        let said = manager.folder.path().join("said");
        let words = ["-w", "1", "--", "true", ":::", "a", "b"];
        let mut run = manager.start_with(&words, |command| {
            let path = manager.folder.path().join(socket);
            let socket = match socket {
                "nobody" => path.as_os_str(),
                other => other.as_ref(),
            };
            command.env("NOTIFY_SOCKET", socket);
            command.stderr(fs::File::create(&said).unwrap());
        });
        run.ends(0);
        let said = fs::read_to_string(&said).unwrap();
        let told = said.matches("the service manager cannot be told").count();
        assert_eq!(told, 1, "{said}");
    }
}

/// Holds the queue's lock from its first event on until it is let go.
#[derive(Debug)]
struct Holder {
    held: mpsc::SyncSender<()>,
    let_go: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Observer for Holder {
    fn observe(&self, _: Event) {
        // The test may be over.
        let _ = self.held.send(());
        let _ = self.let_go.lock().unwrap().recv();
    }
}

fn a_queue_that_is_held_does_not_answer() {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(1);
    let pool = pool.handler(&queue, crate::roles::work).unwrap();
    assert!(pool.is_responsive(DEADLINE));
    let (held, is_held) = mpsc::sync_channel(0);
    let (let_go, released) = mpsc::channel();
    let let_go_of = std::sync::Mutex::new(released);
    let holder = Holder {
        held,
        let_go: let_go_of,
    };
    queue.set_observer(std::sync::Arc::new(holder)).unwrap();
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| queue.put(&crate::roles::Work::Nothing));
        is_held.recv_timeout(DEADLINE).unwrap();
        assert!(!pool.is_responsive(Duration::from_millis(50)));
        drop((let_go, is_held));
        putting.join().unwrap().unwrap();
    });
    assert!(pool.is_responsive(DEADLINE));
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
}

/// They are what the page shows, but for the program's place.
fn the_units_of_the_page_are_valid() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/service.md");
    let page = fs::read_to_string(page).unwrap();
    let units: Vec<&str> = page
        .split("```ini\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect();
    assert_eq!(units.len(), 2);
    for (unit, scope) in units.iter().zip(["--system", "--user"]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.service");
        let program = env!("CARGO_BIN_EXE_supervisor");
        let own = unit.replace("/usr/local/bin/supervisor", program);
        assert!(own.contains(program), "{unit}");
        fs::write(&path, own).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.env("XDG_RUNTIME_DIR", folder.path());
        let output = command.args(["verify", scope, "--man=no"]).arg(&path);
        let output = output.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // Other units of this machine may be wrong.
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("jobs.service"))
            .collect();
        assert!(ours.is_empty(), "{scope}: {said}");
    }
}
