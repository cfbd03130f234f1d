//! The command line on a stream in Redis: each subcommand, and a whole run with `--redis`.

pub(crate) mod dead;
pub(crate) mod giving_up;
pub(crate) mod items;
pub(crate) mod orders;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
pub(crate) mod putting;
pub(crate) mod refusals;
pub(crate) mod shown;
pub(crate) mod standing;
pub(crate) mod stopping;
pub(crate) mod top;
pub(crate) mod web;
pub(crate) mod working;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::deadline::{DEADLINE, until};
use crate::dependants;
use crate::redis_server::{Options, Server};
pub(crate) use crate::said::Said;

/// The stream of these tests.
pub(crate) const STREAM: &str = "jobs";

/// A Redis for one test, and a folder.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Stage {
        Stage {
            server: options.start(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Returns `supervisor SUBCOMMAND --redis URL --stream jobs ...`, or a run without a
    /// subcommand.
    pub(crate) fn supervisor(&self, subcommand: &str, arguments: &[&str]) -> Command {
        let mut command = supervisor();
        command.args(subcommand.split_whitespace());
        command.args(["--redis", &self.server.url(), "--stream", STREAM]);
        command.args(arguments).current_dir(&self.folder);
        command
    }

    /// Runs that to its end.
    pub(crate) fn say(&self, subcommand: &str, arguments: &[&str]) -> Said {
        said(self.supervisor(subcommand, arguments))
    }

    /// Starts that.
    pub(crate) fn start(&self, subcommand: &str, arguments: &[&str]) -> Run {
        Run::of(self.supervisor(subcommand, arguments))
    }

    /// Puts these items, and returns when they are on the stream.
    pub(crate) fn put(&self, items: &[&str]) {
        self.say("put", &[&[":::"], items].concat()).ends(0);
    }

    /// Returns the stream's counts, by `supervisor status`.
    pub(crate) fn status(&self) -> Value {
        let said = self.say("status", &["--format", "json", "--interval", "0"]);
        said.ends(0);
        serde_json::from_str(&said.out).unwrap()
    }

    /// Waits until the stream has this count. It may not exist yet.
    pub(crate) fn await_status(&self, name: &str, count: u64) {
        let is_made = || self.redis_cli(&["exists", &format!("{{{STREAM}}}:meta")]) == "1";
        until(&format!("{name} is {count}"), || {
            is_made() && self.status()[name] == count
        });
    }

    pub(crate) fn redis_cli(&self, arguments: &[&str]) -> String {
        self.server.cli(arguments)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the lines of a file of the folder; none if it is not there.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Returns a closed gate for commands that wait: `flock -s gate ...`.
    pub(crate) fn gate(&self) -> Gate {
        let file = File::create(self.path(GATE)).unwrap();
        file.lock().unwrap();
        Gate(file)
    }
}

/// The file of the gate.
pub(crate) const GATE: &str = "gate";

/// A gate that is closed until it is opened or dropped.
pub(crate) struct Gate(File);

impl Gate {
    pub(crate) fn open(self) {
        self.0.unlock().unwrap();
    }
}

/// Returns the command, without the variable of a Redis.
pub(crate) fn supervisor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.env_remove("REDIS_URL").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn said(command: Command) -> Said {
    let mut run = Run::of(command);
    let out: Vec<String> = std::iter::from_fn(|| run.line()).collect();
    let out = out.into_iter().map(|line| line + "\n").collect();
    let (code, err) = run.end();
    Said {
        code,
        stdout: String::clone(&out).into_bytes(),
        out,
        err,
    }
}

/// A command that runs, whose stdout is read line by line.
pub(crate) struct Run {
    child: Child,
    lines: Receiver<String>,
    err: Arc<Mutex<String>>,
    hearing: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Run {
    fn drop(&mut self) {
        // This fails if the test has waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run {
    pub(crate) fn of(mut command: Command) -> Run {
        // These tests may have been started in the background, with SIGINT ignored, which is
        // inherited.
        // SAFETY: between fork and exec only a system call is made.
        unsafe {
            command.pre_exec(|| {
                signal(Signal::SIGINT, SigHandler::SigDfl)?;
                Ok(())
            });
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = dependants::spawn(command).unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let err = Arc::new(Mutex::new(String::new()));
        let (heard, mut from) = (Arc::clone(&err), child.stderr.take().unwrap());
        let hearing = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                lock(&heard).push_str(&text);
            }
        });
        Run {
            child,
            lines,
            err,
            hearing: Some(hearing),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line of stdout, or `None` at the end.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no line within {DEADLINE:?}; stderr: {}", self.err())
            }
        }
    }

    /// Returns the rest of the lines, sorted.
    pub(crate) fn rest(&self) -> Vec<String> {
        let mut lines: Vec<String> = std::iter::from_fn(|| self.line()).collect();
        lines.sort_unstable();
        lines
    }

    /// Returns the next event of this name, and passes over others.
    pub(crate) fn await_event(&self, name: &str) -> Value {
        while let Some(line) = self.line() {
            let event: Value = serde_json::from_str(&line).expect(&line);
            if event["event"] == name {
                return event;
            }
        }
        panic!("it ended without {name}; stderr: {}", self.err());
    }

    /// Returns the stderr so far.
    pub(crate) fn err(&self) -> String {
        lock(&self.err).clone()
    }

    pub(crate) fn await_err(&self, words: &str) {
        until(words, || self.err().contains(words));
    }

    /// Writes to its stdin.
    pub(crate) fn tell(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn end_input(&mut self) {
        self.child.stdin.take();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end. Returns the exit code, if it was no signal, and all of stderr.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let mut status = None;
        until("the supervisor ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if let Some(hearing) = self.hearing.take() {
            until("all that it said was heard", || hearing.is_finished());
        }
        (status.unwrap().code(), self.err())
    }

    /// Kills it by SIGKILL, and returns when it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
