//! A supervisor that is PID 1 of a container, or a subreaper, gets the children of ended processes:
//! it waits for these when they end, and for no other program's.

#![allow(clippy::print_stderr, reason = "a test that cannot be done says so")]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use dishrack::{JoinableQueue, StartMethod, Supervisor};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::said::{sh, words};
use crate::support::{PLAY, Run, until, zombies_of};

crate::trials!(
    what_ends_is_waited_for_by_pid_1,
    what_ends_is_waited_for_by_a_subreaper,
    what_has_left_its_session_is_waited_for,
    a_program_keeps_the_ends_of_its_own_children,
);

const METHODS: [&str; 2] = ["spawn", "fork"];

/// Each of many items leaves a process that ends. The last item looks until there is none any more,
/// for so many tenths of a second.
const SCRIPT: &str = "test $1 = last || { sleep 0.01 & exit 0; }
    for n in $(seq 600); do
        zombies=0
        for status in /proc/[0-9]*/status; do
            while read -r name value more; do
                test \"$name $value\" != 'State: Z' || zombies=$((zombies + 1))
            done 2>/dev/null < $status
        done
        test $zombies != 0 || exit 0
        sleep 0.1
    done
    exit 1";

/// Returns a namespace in which the command is PID 1, if it is permitted.
fn contained(arguments: &[&str]) -> Option<Command> {
    let unshare = words("--user --map-root-user --pid --fork --mount-proc");
    let mut trial = Command::new("unshare");
    trial.args(&unshare).arg("true").stderr(Stdio::null());
    if !trial.status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(unshare).arg("--kill-child");
    command
        .arg(env!("CARGO_BIN_EXE_supervisor"))
        .args(arguments);
    Some(command)
}

fn what_ends_is_waited_for_by_pid_1() {
    for method in METHODS {
        let arguments = ["--format", "json", "-w", "1", "--start-method", method];
        let job = sh("--max-attempts 1", SCRIPT, "_ {} :::");
        let items: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let items = items.iter().map(String::as_str).chain(["last"]);
        let words: Vec<&str> = arguments.into_iter().chain(job).chain(items).collect();
        let Some(command) = contained(&words) else {
            eprintln!("skipped: no user, PID and mount namespaces can be made here");
            return;
        };
        assert_eq!(Run::of(command).finish().1.code(), Some(0), "{method}");
    }
}

/// Starts the `supervisor` command in a process to which the kernel gives orphans.
fn subreaper(arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(["--format", "json"]).args(arguments);
    command.stdin(Stdio::piped());
    // SAFETY: between fork and exec only a system call is made, whose effect outlives exec.
    unsafe {
        command.pre_exec(|| Ok(set_child_subreaper(true)?));
    }
    Run::of(command)
}

fn what_ends_is_waited_for_by_a_subreaper() {
    for method in METHODS {
        look_on_while_idle(method, "sleep 0.01 &");
    }
}

fn what_has_left_its_session_is_waited_for() {
    for method in METHODS {
        look_on_while_idle(method, "setsid sleep 0.01 &");
    }
}

/// Keeps the run going, because more items may come, while its orphans end.
fn look_on_while_idle(method: &str, script: &str) {
    use std::io::Write;

    let words = ["-w", "2", "--start-method", method, "--input", "-", "--"];
    let mut run = subreaper(&[&words[..], &["sh", "-c", script, "_"]].concat());
    let mut stdin = run.child.stdin.take().unwrap();
    stdin.write_all(b"1\n2\n3\n4\n5\n6\n7\n8\n").unwrap();
    // A worker that is still booting is killed when the run is stopped.
    let (mut done, mut started) = (0, 0);
    while (done, started) != (8, 2) {
        let event = run.event().unwrap();
        done += usize::from(event["event"] == "done");
        started += usize::from(event["event"] == "worker_started");
    }
    until("nobody is left unwaited for", || zombies_of(run.pid()) == 0);
    // Its workers' ends are reported all the same.
    run.signal(Signal::SIGTERM);
    let (events, _) = run.finish();
    let exits = events
        .iter()
        .filter(|event| event["event"] == "worker_exited");
    let codes: Vec<_> = exits.map(|event| event["code"].as_i64()).collect();
    assert_eq!(codes, [Some(0), Some(0)], "{method}: {events:?}");
}

/// A program in which handlers leave processes behind, and which has a child of its own.
pub(crate) fn adopt(method: StartMethod) {
    set_child_subreaper(true).unwrap();
    let mut own = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    let me = std::process::id();
    until("its own child has ended", || zombies_of(me) == 1);
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(2).start_method(method);
    let pool = pool.handler(&queue, roles::work).unwrap();
    for _ in 0..40 {
        queue.put(&Work::LeaveOrphan).unwrap();
    }
    queue.join().unwrap();
    // Without waiting their number only rises.
    until("most were waited for", || {
        queue.put(&Work::LeaveOrphan).unwrap();
        queue.join().unwrap();
        zombies_of(me) < 20
    });
    pool.stop();
    until("all of them were waited for", || zombies_of(me) == 1);
    let status = own.wait().unwrap();
    roles::say(&format!("its own child {status}"));
}

fn a_program_keeps_the_ends_of_its_own_children() {
    for method in ["spawned", "forked"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(PLAY, format!("adopts orphans, {method}"));
        let mut run = Run::of(command);
        assert_eq!(run.line().as_deref(), Some("its own child exit status: 7"));
        assert!(run.exit().success());
    }
}
