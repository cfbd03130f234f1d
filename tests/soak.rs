//! The soak: jobs with a journal under random faults, for a bounded time.
//!
//! Workers and the supervisor itself are killed (SIGKILL), asked to end (SIGTERM), suspended and
//! continued (SIGSTOP, SIGCONT) at random moments. A supervisor that is gone is started again with
//! the same command line, and when a job is done the next one begins. Its events are checked
//! against the promises: nothing lost, nothing done twice, nothing stuck.
//!
//! It knows the command line and its events only. Run it by `tests/soak`.

#[path = "shared/dice.rs"]
mod dice;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use self::dice::{Dice, option};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The silence after which a run is stuck.
const DEADLINE: Duration = Duration::from_secs(30);

/// The number of items in a job.
const ITEMS: usize = 3000;

/// One run of the supervisor.
struct Run {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Run {
    fn drop(&mut self) {
        // This fails most often, because it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run {
    fn start(folder: &Path, method: &str) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        let path = |name: &str| folder.join(name);
        command
            .args(["-w", "3", "--wash", "0", "--dry", "1ms", "--format", "json"])
            .args([
                "--timeout",
                "2s",
                "--max-attempts",
                "1000",
                "--max-restarts",
                "100000",
            ])
            .args(["--shutdown", "5s", "--start-method", method])
            .arg("--input")
            .arg(path("names"))
            .arg("--journal")
            .arg(path("journal"))
            .stdout(Stdio::piped())
            .stderr(
                fs::File::options()
                    .create(true)
                    .append(true)
                    .open(path("stderr"))
                    .unwrap(),
            );
        let mut child = command.spawn().expect("the supervisor can be started");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Run { child, lines }
    }

    fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    fn exit(&mut self) -> Option<ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < DEADLINE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may be gone.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// The counts of all jobs.
#[derive(Debug, Default)]
struct Tally {
    jobs: usize,
    items: usize,
    runs: usize,
    faults: BTreeMap<&'static str, usize>,
    retries: usize,
    lost: usize,
    done_twice: usize,
    stuck: usize,
    complaints: Vec<String>,
}

impl Tally {
    fn is_fine(&self) -> bool {
        self.lost + self.done_twice + self.stuck == 0 && self.complaints.is_empty()
    }

    fn print(&self, seed: u64) {
        let faults: usize = self.faults.values().sum();
        println!(
            "seed {seed}; {} jobs, {} runs of the supervisor",
            self.jobs, self.runs
        );
        println!("items {}", self.items);
        println!("faults {faults} {:?}", self.faults);
        println!("retries {}", self.retries);
        println!("lost {}", self.lost);
        println!("done twice {}", self.done_twice);
        println!("stuck {}", self.stuck);
        for complaint in &self.complaints {
            println!("wrong: {complaint}");
        }
    }
}

/// One job, with its reports so far.
struct Job<'a> {
    folder: &'a Path,
    tally: &'a mut Tally,
    dice: &'a mut Dice,
    done: BTreeSet<String>,
    workers: BTreeSet<u32>,
    stopped: BTreeSet<u32>,
    /// A line that is no event.
    torn: Option<String>,
}

/// The end of one run.
enum End {
    Finished,
    Again,
    Failed,
}

impl Job<'_> {
    /// Runs the job to its end, over all interruptions. Returns `false` if going on makes no sense.
    fn work(&mut self, until: Instant) -> bool {
        loop {
            match self.run_once(until) {
                End::Finished => return true,
                End::Again => {}
                End::Failed => return false,
            }
        }
    }

    fn run_once(&mut self, until: Instant) -> End {
        self.tally.runs += 1;
        self.workers.clear();
        self.stopped.clear();
        self.torn = None;
        let method = ["spawn", "fork"][usize::from(self.dice.below(4) == 0)];
        let mut run = Run::start(self.folder, method);
        let mut next_fault = 5 + self.dice.below(40);
        loop {
            match run.lines.recv_timeout(DEADLINE) {
                Ok(line) => self.hear(&line),
                Err(RecvTimeoutError::Disconnected) => return self.after(&mut run),
                Err(RecvTimeoutError::Timeout) => {
                    self.tally.stuck += 1;
                    return End::Failed;
                }
            }
            next_fault -= 1;
            if next_fault == 0 {
                // After the time the job may come to its end.
                if Instant::now() < until {
                    self.make_fault(&run);
                }
                next_fault = 5 + self.dice.below(40);
            }
        }
    }

    fn hear(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            // The last line of a killed run may be torn.
            self.torn.get_or_insert_with(|| line.to_owned());
            return;
        };
        if let Some(torn) = self.torn.take() {
            self.complain(format!("not JSON: {torn}"));
        }
        let item = event["item"].as_str().unwrap_or_default().to_owned();
        let pid = event["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok());
        match event["event"].as_str() {
            Some("worker_started") => self.workers.extend(pid),
            Some("worker_exited") => {
                self.workers.retain(|worker| Some(*worker) != pid);
                self.stopped.retain(|worker| Some(*worker) != pid);
            }
            Some("drying") if self.done.contains(&item) => self.tally.done_twice += 1,
            Some("done") => {
                if !self.done.insert(item) {
                    self.tally.done_twice += 1;
                }
            }
            Some("retry") => self.tally.retries += 1,
            Some("dead") => self.complain(format!("given up on: {line}")),
            Some("summary") => self.check_summary(&event),
            _ => {}
        }
    }

    fn check_summary(&mut self, event: &Value) {
        let count = |name: &str| event[name].as_u64().unwrap_or(0);
        if count("accepted") < count("done") + count("dead") {
            self.complain(format!("more ends than items: {event}"));
        }
    }

    fn complain(&mut self, what: String) {
        self.tally.complaints.push(what);
    }

    /// Judges the end of the run: by its work, by a fault, or because something is wrong.
    fn after(&mut self, run: &mut Run) -> End {
        let Some(status) = run.exit() else {
            self.tally.stuck += 1;
            return End::Failed;
        };
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(0), _) => End::Finished,
            // Killed, or asked to end.
            (None, Some(9)) | (Some(143), _) => End::Again,
            _ => {
                let said = fs::read_to_string(self.folder.join("stderr")).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                self.complain(format!("the supervisor ended with {status}: {last:?}"));
                End::Failed
            }
        }
    }

    fn make_fault(&mut self, run: &Run) {
        let (kind, of_supervisor) = (self.dice.below(8), self.dice.below(6) == 0);
        if of_supervisor {
            let (signal, name) = match kind {
                0 | 1 => (Signal::SIGTERM, "supervisor SIGTERM"),
                2 => return self.pause_supervisor(run),
                _ => (Signal::SIGKILL, "supervisor SIGKILL"),
            };
            run.signal(signal);
            *self.tally.faults.entry(name).or_default() += 1;
            return;
        }
        let workers: Vec<u32> = self.workers.iter().copied().collect();
        let Some(&worker) = self.dice.pick(&workers) else {
            return;
        };
        let (signal, name) = match kind {
            0 => (Signal::SIGTERM, "worker SIGTERM"),
            1 => (Signal::SIGSTOP, "worker SIGSTOP"),
            2 => (Signal::SIGCONT, "worker SIGCONT"),
            _ => (Signal::SIGKILL, "worker SIGKILL"),
        };
        if signal == Signal::SIGCONT {
            for stopped in std::mem::take(&mut self.stopped) {
                send(stopped, signal);
            }
        } else if signal == Signal::SIGSTOP {
            self.stopped.insert(worker);
        }
        send(worker, signal);
        *self.tally.faults.entry(name).or_default() += 1;
    }

    fn pause_supervisor(&mut self, run: &Run) {
        run.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(self.dice.below(50)));
        run.signal(Signal::SIGCONT);
        *self
            .tally
            .faults
            .entry("supervisor SIGSTOP and SIGCONT")
            .or_default() += 1;
    }
}

/// Counts the rest of a job: done in the journal, by a run that has nothing more to do.
fn count_lost(folder: &Path, tally: &mut Tally) {
    let mut run = Run::start(folder, "spawn");
    let events: Vec<Value> = run
        .lines
        .iter()
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect();
    let status = run.exit();
    let summary = events.iter().find(|event| event["event"] == "summary");
    let done = summary
        .and_then(|event| event["done"].as_u64())
        .unwrap_or(0);
    let done = usize::try_from(done).unwrap_or(0);
    tally.lost += ITEMS.saturating_sub(done);
    tally.done_twice += done.saturating_sub(ITEMS);
    tally.done_twice += events
        .iter()
        .filter(|event| event["event"] == "drying")
        .count();
    if !status.is_some_and(|status| status.success()) {
        tally
            .complaints
            .push(format!("the last run ended with {status:?}"));
    }
}

fn main() -> ExitCode {
    let seconds = option("--seconds", 60);
    let seed = option("--seed", u64::from(std::process::id()));
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut dice, mut tally) = (Dice(seed), Tally::default());
    while Instant::now() < until && tally.is_fine() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names: String = (0..ITEMS).map(|n| format!("plate-{n}\n")).collect();
        fs::write(folder.path().join("names"), names).expect("room for a file");
        let mut job = Job {
            folder: folder.path(),
            tally: &mut tally,
            dice: &mut dice,
            done: BTreeSet::new(),
            workers: BTreeSet::new(),
            stopped: BTreeSet::new(),
            torn: None,
        };
        if job.work(until) {
            count_lost(folder.path(), &mut tally);
        }
        tally.jobs += 1;
        tally.items += ITEMS;
    }
    tally.print(seed);
    match tally.is_fine() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
