//! A supervisor in a process of its own, which obeys lines, and prints what it sees. So it can be
//! killed, suspended, or be on another host.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dishrack::observe::{Event, EventKind, Observer};
use dishrack::{Backoff, Options, Supervisor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use serde::{Deserialize, Serialize};

use super::stage::{Queue, place};
use crate::deadline::until;
use crate::dependants;
use crate::hosts::Host;

pub(crate) const PLAY: &str = "a supervisor";

/// The variable with a puppet's part, as JSON.
const PART: &str = "DISHRACK_TEST_PART";

/// The settings of a puppet.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    name: String,
    url: String,
    workers: usize,
    lease: Duration,
    rest: Duration,
    is_quiet: bool,
    has_processes: bool,
    #[serde(skip)]
    variables: Vec<(String, String)>,
}

impl Part {
    /// Makes a part with one worker, and no rest after a failed attempt.
    pub(crate) fn new(name: &str, url: impl Into<String>, lease: Duration) -> Part {
        Part {
            name: name.to_owned(),
            url: url.into(),
            workers: 1,
            lease,
            rest: Duration::ZERO,
            is_quiet: false,
            has_processes: false,
            variables: Vec::new(),
        }
    }

    pub(crate) fn workers(mut self, workers: usize) -> Part {
        self.workers = workers;
        self
    }

    /// Makes a failed item rest so long, or half of it.
    pub(crate) fn rest(mut self, rest: Duration) -> Part {
        self.rest = rest;
        self
    }

    /// Makes it print nothing about items, of which there are many.
    pub(crate) fn quiet(mut self) -> Part {
        self.is_quiet = true;
        self
    }

    /// Makes its workers processes, which print nothing.
    pub(crate) fn processes(mut self) -> Part {
        self.has_processes = true;
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Part {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn start(self) -> Puppet {
        self.start_by(|_| ())
    }

    pub(crate) fn start_on(self, host: &Host) -> Puppet {
        self.start_by(|command| host.enter(command))
    }

    fn start_by(self, prepare: impl FnOnce(&mut Command)) -> Puppet {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .env(crate::PLAY, PLAY)
            .env(PART, serde_json::to_string(&self).unwrap())
            .envs(self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = dependants::spawn(command).unwrap();
        let lines: Arc<Mutex<Lines>> = Arc::default();
        let (stdout, heard) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                heard.lock().unwrap().said.push(line);
            }
        });
        Puppet {
            name: self.name,
            stdin: Mutex::new(child.stdin.take().unwrap()),
            child,
            lines,
        }
    }
}

#[derive(Default)]
struct Lines {
    said: Vec<String>,
    /// The lines that were awaited and came.
    used: Vec<usize>,
}

/// A running puppet. It is killed when this is dropped.
pub(crate) struct Puppet {
    name: String,
    child: Child,
    stdin: Mutex<ChildStdin>,
    lines: Arc<Mutex<Lines>>,
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Puppet {
    /// Gives it an order: a word with its arguments. See `obey`.
    pub(crate) fn tell(&self, line: &str) {
        let line = format!("{line}\n");
        // An ended one is found out when it does not answer.
        let _ = self.stdin.lock().unwrap().write_all(line.as_bytes());
    }

    /// Returns the rest of the next line that begins so, among those that were not awaited before.
    pub(crate) fn await_line(&self, beginning: &str) -> String {
        let mut found = None;
        let what = format!("{} says {beginning:?}", self.name);
        until(&what, || {
            let mut lines = self.lines.lock().unwrap();
            let is_it =
                |at: &usize| !lines.used.contains(at) && lines.said[*at].starts_with(beginning);
            let at = (0..lines.said.len()).find(is_it);
            lines.used.extend(at);
            found = at.map(|at| lines.said[at][beginning.len()..].trim().to_owned());
            found.is_some()
        });
        found.unwrap()
    }

    /// Returns `true` if it has printed that.
    pub(crate) fn has_said(&self, words: &str) -> bool {
        let lines = self.lines.lock().unwrap();
        lines.said.iter().any(|line| line.contains(words))
    }

    /// Returns all its lines.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lines.lock().unwrap().said.clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Kills it, and returns when it has ended.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn await_end(&mut self) {
        let what = format!("{} ends", self.name);
        until(&what, || self.child.try_wait().unwrap().is_some());
    }
}

/// Prints a whole line on stdout.
fn say(line: &str) {
    let line = format!("{line}\n");
    let mut stdout = std::io::stdout().lock();
    // The test may be over.
    let _ = stdout.write_all(line.as_bytes());
    let _ = stdout.flush();
}

#[derive(Debug)]
struct Speaker;

impl Observer for Speaker {
    fn wants_items(&self) -> bool {
        false
    }

    fn observe(&self, event: Event) {
        match event.kind {
            EventKind::Notice { why, .. } => say(&format!("notice {why}")),
            EventKind::JournalFailed { why, .. } => say(&format!("failed {why}")),
            EventKind::Inconsistent { why, .. } => say(&format!("BUG {why}")),
            _ => {}
        }
    }
}

/// Runs such a supervisor until stdin ends.
pub(crate) fn play() {
    // Its worker processes are this program as well, and go no further.
    dishrack::serve(|roles| roles.handler(serve_item));
    let part: Part = serde_json::from_str(&std::env::var(PART).unwrap()).unwrap();
    let options = Options::default().backoff(Backoff::exponential(part.rest, part.rest));
    let place = place(part.url).lease(part.lease);
    let queue = match Queue::shared(&place, options) {
        Ok(queue) => queue,
        Err(error) => return say(&format!("unusable {error}")),
    };
    let name = part.name.clone();
    let start = || {
        let builder = Supervisor::builder().name(&part.name);
        let builder = builder.observer(Arc::new(Speaker));
        if part.has_processes {
            return builder.processes(part.workers).handler(&queue, serve_item);
        }
        builder
            .threads(part.workers)
            .handler(&queue, move |item: String| match part.is_quiet {
                true => do_item(&name, &item).map(|()| item),
                false => work(&name, item),
            })
    };
    // Without workers it only puts and joins.
    let _pool = (part.workers > 0).then(|| start().unwrap());
    say("ready");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let queue = queue.clone();
        // A join may take long, and must not delay the next order.
        std::thread::spawn(move || obey(&queue, &line));
    }
}

/// Obeys a line, and prints the result.
fn obey(queue: &Queue, line: &str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let answer = match word {
        "put" => queue.put(&rest.to_owned()).map(|id| format!("put {id}")),
        "join" => queue
            .join()
            .map(|joined| format!("joined {} {}", joined.done, joined.dead)),
        "refused" => queue
            .counts()
            .map(|counts| format!("refused {}", counts.refused)),
        _ => panic!("nobody knows what {line:?} is"),
    };
    say(&answer.unwrap_or_else(|error| format!("error {word}: {error}")));
}

/// Does an item in a process of its own.
fn serve_item(item: String) -> Result<String, String> {
    do_item("a process", &item).map(|()| item)
}

/// Does an item, and prints it.
fn work(name: &str, item: String) -> Result<String, String> {
    say(&format!("began {item}"));
    do_item(name, &item)?;
    say(&format!("did {item}"));
    Ok(item)
}

/// Does what an item says.
fn do_item(name: &str, item: &str) -> Result<(), String> {
    match item.split_once(' ') {
        Some(("hold", path)) => until("it may go on", || Path::new(path).exists()),
        Some(("fail", why)) => return Err(format!("{why}, said {name}")),
        Some(("kill", _)) => kill(getpid(), Signal::SIGKILL).map_err(|error| error.to_string())?,
        Some(("take", milliseconds)) => {
            let milliseconds = milliseconds.parse().map_err(|_| "no time")?;
            std::thread::sleep(Duration::from_millis(milliseconds));
        }
        _ => {}
    }
    Ok(())
}
