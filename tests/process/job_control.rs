//! Commands have no terminal, so their supervisor passes Ctrl-Z and `fg` on to them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dishrack::JoinableQueue;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid, getsid, mkfifo};

use crate::roles::{self, Work};
use crate::said::{sh, words};
use crate::support::{DEADLINE, Run, is_alive, named, pid_of, state, until};
use crate::terminal::Terminal;

crate::trials!(
    a_command_that_asks_for_the_terminal_is_told_there_is_none,
    ctrl_z_stops_commands_and_fg_continues_them,
    the_time_in_which_a_run_stood_still_counts_for_no_limit,
    a_supervisor_that_no_shell_looks_after_goes_on,
    workers_lead_sessions_and_groups_of_their_own,
    a_program_has_its_workers_stand_still_and_go_on,
    a_terminal_stops_a_run_that_writes_to_it_from_the_background,
    a_terminal_stops_a_run_that_reads_from_it_in_the_background,
);

const METHODS: [&str; 2] = ["spawn", "fork"];

fn a_command_that_asks_for_the_terminal_is_told_there_is_none() {
    for method in METHODS {
        let script = "read x < /dev/tty || echo asked for nothing";
        let mut terminal = Terminal::supervisor(&[
            "-w",
            "1",
            "--start-method",
            method,
            "--",
            "sh",
            "-c",
            script,
            "{}",
            ":::",
            "a",
        ]);
        let (bytes, status) = terminal.finish();
        let shown = String::from_utf8_lossy(&bytes);
        assert!(shown.contains("asked for nothing"), "{shown}");
        assert_eq!(status.code(), Some(0));
    }
}

fn read_pid(path: &Path) -> u32 {
    let mut pid = None;
    until("a pid is written", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}

/// A shell with job control, in which a run is stopped by its terminal and goes on.
struct Shell {
    terminal: Terminal,
    folder: tempfile::TempDir,
    command: u32,
}

impl Shell {
    /// Starts a run, and waits for the command.
    fn start(options: &str) -> Shell {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (pid, go, fg) = (path("pid"), path("go"), path("fg"));
        mkfifo(&folder.path().join("go"), Mode::S_IRWXU).unwrap();
        // It starts no process: a shell whose child is stopped before it has become a program waits
        // for that, and is not seen to be stopped itself.
        let job = format!("echo $$ > {pid}.new; read x < {go}");
        let program = env!("CARGO_BIN_EXE_supervisor");
        let script = format!(
            "set -m
            {program} -w 1 --max-attempts 1 {options} -- sh -c '{job}' {{}} ::: a
            echo stopped: $?
            until test -e {fg}; do sleep 0.01; done
            fg > /dev/null
            echo ended: $?"
        );
        let terminal = Terminal::script(&script);
        let command = read_pid(&folder.path().join("pid.new"));
        Shell {
            terminal,
            folder,
            command,
        }
    }

    /// Stops the run like a person, who then sees that nothing runs any more.
    fn stop(&self) {
        self.terminal.type_in(b"\x1a");
        until("the command stands still", || {
            state(self.command) == Some('T')
        });
        self.terminal.await_picture("the shell is back", |picture| {
            // It is behind the terminal's picture of the key, over the rest of the bars.
            let lines = picture.lines();
            lines.iter().any(|line| line.contains("stopped: 148"))
        });
    }

    fn resume(&self) {
        fs::write(self.folder.path().join("fg"), "").unwrap();
        until("the command goes on", || {
            state(self.command).is_some_and(|state| state != 'T')
        });
    }

    /// Lets the command end, and expects success.
    fn end(mut self) {
        fs::write(self.folder.path().join("go"), "go\n").unwrap();
        let (bytes, status) = self.terminal.finish();
        let shown = String::from_utf8_lossy(&bytes);
        assert!(shown.contains("ended: 0"), "{shown}");
        assert!(shown.contains("1 of 1 jobs done, 0 dead"), "{shown}");
        assert_eq!(status.code(), Some(0));
    }
}

fn ctrl_z_stops_commands_and_fg_continues_them() {
    for method in METHODS {
        let shell = Shell::start(&format!("--start-method {method}"));
        shell.stop();
        shell.resume();
        shell.end();
    }
}

/// This test is about the time itself.
fn the_time_in_which_a_run_stood_still_counts_for_no_limit() {
    let limit = Duration::from_secs(6);
    let shell = Shell::start("--timeout 6s");
    let began = Instant::now();
    shell.stop();
    until("the limit is over by the clock", || began.elapsed() > limit);
    shell.resume();
    shell.end();
}

/// The kernel stops no process that could not be continued, and the suspension ends at once.
fn a_supervisor_that_no_shell_looks_after_goes_on() {
    let mut terminal = Terminal::supervisor(&sh(
        "-w 1",
        "until test -e $1; do sleep 0.01; done",
        "_ {} ::: /nowhere",
    ));
    terminal.await_picture("it runs", |picture| picture.has("0 of 1 done"));
    let supervisor = terminal.child.id();
    let job = || {
        let workers = crate::support::children_of(supervisor);
        workers
            .into_iter()
            .flat_map(crate::support::children_of)
            .next()
    };
    until("the command is there", || job().is_some());
    let command = job().unwrap();
    for _ in 0..20 {
        terminal.type_in(b"\x1a");
        terminal.signal(Signal::SIGTSTP);
    }
    until("the command goes on", || {
        state(command).is_some_and(|state| state != 'T') && state(supervisor) != Some('T')
    });
    terminal.signal(Signal::SIGTERM);
    terminal.await_picture("it is asked to end", |picture| {
        picture.has("supervisor: SIGTERM: finishing")
    });
    terminal.signal(Signal::SIGTERM);
    assert_eq!(terminal.finish().1.code(), Some(143));
    until("the command is gone", || !is_alive(command));
}

fn workers_lead_sessions_and_groups_of_their_own() {
    for method in METHODS {
        let mut run = Run::supervisor(&words(&format!(
            "--start-method {method} -w 2 --wash 0 --dry 300ms --dishes 4"
        )));
        for _ in 0..2 {
            let pid = pid_of(&run.await_event("worker_started"));
            let pid = Pid::from_raw(i32::try_from(pid).unwrap());
            assert_eq!((getsid(Some(pid)), getpgid(Some(pid))), (Ok(pid), Ok(pid)));
        }
        let events = run.ends(0);
        assert_eq!(named(&events, "summary")[0]["done"], 4);
    }
}

fn a_program_has_its_workers_stand_still_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go").display().to_string();
    let queue = JoinableQueue::unbounded();
    let pool = roles::start(&queue, 2).unwrap();
    queue.put(&Work::AwaitFile(go.clone())).unwrap();
    until("both are ready and one works", || {
        pool.workers().len() == 2 && Path::new(&format!("{go}.started")).exists()
    });
    pool.suspend();
    let workers: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
    until("they stand still", || {
        workers.iter().all(|pid| state(*pid) == Some('T'))
    });
    fs::write(&go, "").unwrap();
    assert_eq!(queue.counts().unwrap().done, 0);
    pool.resume();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
}

/// Runs this in the background of a terminal, waits until the terminal has stopped it and its
/// commands, and brings it to the foreground. Returns what was shown in the end.
fn bring_to_the_foreground(before: &str, run: &str, keys: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (pid, command, fg) = (path("pid"), path("command"), path("fg"));
    let program = env!("CARGO_BIN_EXE_supervisor");
    let go = path("go");
    mkfifo(&folder.path().join("go"), Mode::S_IRWXU).unwrap();
    let run = run
        .replace("COMMAND_PID", &command)
        .replace("FOREGROUND", &go);
    let script = format!(
        "set -m
        {before}
        {program} --no-control -w 2 {run} &
        echo $! > {pid}
        until test -e {fg}; do sleep 0.01; done
        fg > /dev/null
        echo ended: $?"
    );
    let mut terminal = Terminal::script(&script);
    let supervisor = read_pid(Path::new(&pid));
    until("the run is stopped", || state(supervisor) == Some('T'));
    if run.contains(&command) {
        let command = read_pid(Path::new(&command));
        until("the command is stopped", || state(command) == Some('T'));
    }
    fs::write(&fg, "").unwrap();
    until("the run goes on", || state(supervisor) != Some('T'));
    if run.contains(&go) {
        fs::write(&go, "go\n").unwrap();
    }
    terminal.type_in(keys);
    let (bytes, _) = terminal.finish();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One command ends, so that there is something to write, while the other one goes on. They start no
/// process, for the same reason as above.
fn a_terminal_stops_a_run_that_writes_to_it_from_the_background() {
    let job = "case $1 in b) echo $$ > COMMAND_PID; read x < FOREGROUND;; \
               a) until test -e COMMAND_PID; do :; done;; esac; echo shown $1";
    let run = format!("--progress none -- sh -c '{job}' _ {{}} ::: a b");
    let shown = bring_to_the_foreground("stty tostop", &run, b"");
    assert!(
        shown.contains("shown a") && shown.contains("shown b"),
        "{shown}"
    );
    assert!(shown.contains("2 of 2 jobs done, 0 dead"), "{shown}");
    assert!(shown.contains("ended: 0"), "{shown}");
    assert!(
        !shown.contains("SIGTTOU") && !shown.contains("now"),
        "{shown}"
    );
}

fn a_terminal_stops_a_run_that_reads_from_it_in_the_background() {
    let run = "--progress none -- echo got {}";
    let shown = bring_to_the_foreground("", run, b"typed\n\x04");
    assert!(shown.contains("got typed"), "{shown}");
    assert!(shown.contains("1 of 1 jobs done, 0 dead"), "{shown}");
    assert!(shown.contains("ended: 0"), "{shown}");
    assert!(
        !shown.contains("SIGTTIN") && !shown.contains("now"),
        "{shown}"
    );
}
