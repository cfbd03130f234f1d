//! A program that runs: its lines and events as they come, its signals and its end.
#![allow(dead_code, reason = "each suite uses what it needs")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use serde_json::Value;

use crate::deadline::{DEADLINE, until};

/// The variable with the play that this executable gives instead of its tests.
pub(crate) const PLAY: &str = "DISHRACK_TEST_PLAY";

/// A program whose stdout is read line by line. It is killed when the test is over.
pub(crate) struct Run {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Drop for Run {
    fn drop(&mut self) {
        // This fails if the test has waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run {
    /// Runs the `supervisor` command, with JSON events.
    pub(crate) fn supervisor(arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(["--format", "json"]).args(arguments);
        Run::of(command)
    }

    /// Runs this executable with a play, which is a part of its own.
    pub(crate) fn play(name: &str) -> Run {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(PLAY, name);
        Run::of(command)
    }

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
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        Run { child, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line, or `None` at the end.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {DEADLINE:?}"),
        }
    }

    /// Returns the next event, or `None` at the end.
    pub(crate) fn event(&self) -> Option<Value> {
        let line = self.line()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")))
    }

    /// Returns all events to the end of a run that was killed: its last line may be torn.
    pub(crate) fn last_events(&self) -> Vec<Value> {
        let lines: Vec<String> = std::iter::from_fn(|| self.line()).collect();
        let whole = |(at, line): (usize, &String)| match serde_json::from_str(line) {
            Ok(event) => Some(event),
            Err(error) => {
                assert_eq!(at + 1, lines.len(), "{error}: {line}");
                None
            }
        };
        lines.iter().enumerate().filter_map(whole).collect()
    }

    /// Returns the next event of this name, and passes over others.
    pub(crate) fn await_event(&self, name: &str) -> Value {
        let began = Instant::now();
        while let Some(event) = self.event() {
            if event["event"] == name {
                return event;
            }
            assert!(began.elapsed() < DEADLINE, "no {name} within {DEADLINE:?}");
        }
        panic!("the run ended without {name}");
    }

    /// Returns all events to the end, and the exit status.
    pub(crate) fn finish(&mut self) -> (Vec<Value>, ExitStatus) {
        let events = std::iter::from_fn(|| self.event()).collect();
        (events, self.exit())
    }

    /// Returns the remaining events of a run that ends with this exit code.
    #[track_caller]
    pub(crate) fn ends(&mut self, code: i32) -> Vec<Value> {
        let (events, status) = self.finish();
        assert_eq!(status.code(), Some(code), "{events:?}");
        events
    }

    /// Kills it by SIGKILL, and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.exit();
    }

    pub(crate) fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }
}

fn read_lines(from: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

pub(crate) fn send(pid: u32, signal: Signal) {
    // It may have ended by itself.
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

/// Returns the pid in an event.
pub(crate) fn pid_of(event: &Value) -> u32 {
    u32::try_from(event["pid"].as_u64().unwrap()).unwrap()
}
