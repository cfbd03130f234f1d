//! The soak of commands: runs with a journal, a job log, results and a slow reader, whose processes
//! are killed, one by one and in pairs, until all items are done.
//!
//! The commands themselves keep the account, in files to which they append. At the end of each job
//! every output must have been shown at least once and whole, each row of the job log must be there
//! once, every result must be its command's, and nothing may be left running. It knows the command
//! line only. Run it by `tests/soak --commands`.

#[path = "shared/dice.rs"]
mod dice;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use self::dice::{Dice, option};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The time after which a run is stuck.
const DEADLINE: Duration = Duration::from_secs(120);

/// The number of items in a job.
const ITEMS: usize = 1000;

/// The command. It writes its account first and last, and reports if the process which had its item
/// before still lives. Every twentieth fails at first.
const SCRIPT: &str = r#"
    if read -r before < "at/$1" && read -r _ _ state _ < "/proc/$before/stat"; then
        case $state in
        Z | X) ;;
        *) grep -Eq "$KILLED" "/proc/$before/status" || echo "$1 $before $$" >> overlaps ;;
        esac
    fi 2>/dev/null
    echo $$ > "at/$1"
    printf 'out %s %0300d\n' "$1" "$1"
    sh -c ': a grandchild; sleep 0.00$(( $1 % 4 ))' _ "$1"
    echo "$1" >> account
    rm -f "at/$1"
    test $(( $1 % 20 )) -ne 0 || test "$SUPERVISOR_ATTEMPT" -ne 1 || exit 3
"#;

/// A process with SIGKILL pending does nothing more, and is as good as gone.
const KILLED: &str = r"^S(ig|hd)Pnd:\s+[0-9a-f]*[13579bdf][0-9a-f]{2}$";

/// Returns the stdout of an item's command.
fn output_of(item: usize) -> String {
    format!("out {item} {item:0300}\n")
}

#[derive(Debug, Default)]
struct Tally {
    jobs: usize,
    items: usize,
    runs: usize,
    kills: BTreeMap<&'static str, usize>,
    shown: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn expect(&mut self, is_so: bool, what: impl FnOnce() -> String) {
        if !is_so {
            self.wrong.push(what());
        }
    }

    fn print(&self, seed: u64) {
        let kills: usize = self.kills.values().sum();
        println!("seed {seed}; {} jobs, {} runs", self.jobs, self.runs);
        println!("items {}, shown {} times", self.items, self.shown);
        println!("kills {kills} {:?}", self.kills);
        println!("wrong {}", self.wrong.len());
        for wrong in self.wrong.iter().take(20) {
            println!("wrong: {wrong}");
        }
    }
}

/// One list of items, in a folder of its own.
struct Job {
    folder: tempfile::TempDir,
    options: Vec<String>,
    began: SystemTime,
    shown: String,
}

impl Job {
    fn new(dice: &mut Dice) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let items: String = (1..=ITEMS).map(|item| format!("{item}\n")).collect();
        fs::write(folder.path().join("items"), items).expect("room for a file");
        fs::create_dir(folder.path().join("at")).expect("room for a folder");
        let mut options = vec!["--journal", "j", "--input", "items"];
        options.extend([
            "--joblog",
            "log",
            "--results",
            "r",
            "--max-attempts",
            "1000",
        ]);
        options.extend(["--max-restarts", "100000", "--shutdown", "5s"]);
        if dice.below(2) == 0 {
            options.push("-k");
        }
        options.extend(
            *dice
                .pick(&[["-w", "2"], ["-w", "3"]])
                .expect("there are two"),
        );
        Job {
            folder,
            options: options.into_iter().map(String::from).collect(),
            began: SystemTime::now(),
            shown: String::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn start(&self, method: &str, seed: u64) -> (Child, JoinHandle<String>) {
        let said = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("stderr"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_supervisor"))
            .args(&self.options)
            .args(["--start-method", method, "--", "sh", "-c", SCRIPT, MARK])
            .current_dir(self.folder.path())
            .env("TMPDIR", self.folder.path())
            .env("KILLED", KILLED)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(said.expect("room for a file"))
            .spawn()
            .expect("the supervisor can be started");
        let out = child.stdout.take().expect("it is piped");
        let reader = std::thread::spawn(move || read_slowly(out, Dice(seed)));
        (child, reader)
    }

    /// Runs until all is done, over all kills. Returns `false` if it makes no sense to go on.
    fn work(&mut self, dice: &mut Dice, tally: &mut Tally, until: Instant) -> bool {
        loop {
            tally.runs += 1;
            let method = dice
                .pick(&["spawn", "spawn", "fork"])
                .expect("there are some");
            let (mut child, reader) = self.start(method, dice.below(u64::MAX));
            let began = Instant::now();
            let pause = option("--pause", 120);
            let status = loop {
                if let Some(status) = child.try_wait().expect("it is ours") {
                    break Some(status);
                }
                if began.elapsed() > DEADLINE {
                    break None;
                }
                std::thread::sleep(Duration::from_millis(10 + dice.below(pause)));
                if Instant::now() < until {
                    kill_something(child.id(), dice, tally);
                }
            };
            if status.is_none() {
                tally
                    .wrong
                    .push(format!("stuck: {}", last_words(&self.text("stderr"))));
                let _ = child.kill();
                let _ = child.wait();
            }
            self.shown += &reader.join().expect("it only reads");
            // A line that was cut off in the middle is no output.
            self.shown.push('\n');
            match status.map(|status| (status.code(), status.signal())) {
                Some((Some(0), _)) => return true,
                // It hears signals when it has begun.
                Some((None, Some(9 | 15)) | (Some(143), _)) => {}
                other => {
                    let said = last_words(&self.text("stderr"));
                    tally.wrong.push(format!("ended with {other:?}: {said}"));
                    return false;
                }
            }
        }
    }

    /// Compares the results with the expected ones.
    fn check(&self, tally: &mut Tally) {
        let shown: Vec<&str> = self.shown.split_inclusive('\n').collect();
        tally.shown += shown.iter().filter(|line| line.starts_with("out ")).count();
        let shown: BTreeSet<&str> = shown.into_iter().collect();
        let account = self.text("account");
        let did: BTreeSet<&str> = account.lines().collect();
        for item in 1..=ITEMS {
            let is_shown = shown.contains(output_of(item).as_str());
            tally.expect(is_shown, || format!("the output of {item} was never shown"));
            let is_done = did.contains(item.to_string().as_str());
            tally.expect(is_done, || format!("{item} was never done"));
            self.check_result(item, tally);
        }
        self.check_joblog(tally);
        let overlaps = self.text("overlaps");
        tally.expect(overlaps.is_empty(), || {
            format!("begun beside the process that had it: {overlaps}")
        });
        self.clean_up(tally);
        let left = leftovers(self.folder.path());
        tally.expect(left.is_empty(), || format!("left behind: {left:?}"));
        let began = Instant::now();
        while !running().is_empty() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let running = running();
        tally.expect(running.is_empty(), || format!("still running: {running:?}"));
    }

    /// Runs once more, without a lock on the files of killed runs.
    fn clean_up(&self, tally: &mut Tally) {
        let status = Command::new(env!("CARGO_BIN_EXE_supervisor"))
            .args(["-q", "--", "true", ":::", "x"])
            .current_dir(self.folder.path())
            .env("TMPDIR", self.folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let is_done = status.is_ok_and(|status| status.success());
        tally.expect(is_done, || "the run that cleans up has failed".into());
    }

    fn check_result(&self, item: usize, tally: &mut Tally) {
        let file = |name: &str| self.text(&format!("r/{item}/{name}"));
        let output = file("stdout");
        tally.expect(output == output_of(item), || {
            format!("result {item} has the output {output:?}")
        });
        let text = file("result.json");
        let result: Value = serde_json::from_str(&text).unwrap_or_default();
        let worker = result["worker"].as_str().unwrap_or_default();
        let is_true = result["item"] == item.to_string()
            && result["number"] == item
            && result["exit_code"] == 0
            && result["cause"].is_null()
            && worker.starts_with("worker-")
            && result["started"].as_str().is_some_and(|at| at > "2020");
        tally.expect(is_true, || format!("result {item} is {text}"));
    }

    fn check_joblog(&self, tally: &mut Tally) {
        let log = self.text("log");
        let mut rows: HashMap<(&str, &str), usize> = HashMap::new();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        for row in log.lines().skip(1) {
            let columns: Vec<&str> = row.split('\t').collect();
            // The command has several lines, which are printed as one.
            tally.expect(columns.len() == 9, || {
                format!("a row of the job log: {row}")
            });
            let [number, _, start, _, _, _, code, signal, _] = columns[..] else {
                continue;
            };
            *rows.entry((number, start)).or_default() += 1;
            if (code, signal) == ("0", "0") && !done.insert(number) {
                tally
                    .wrong
                    .push(format!("the job log has {number} done twice"));
            }
            let began = self.began.duration_since(SystemTime::UNIX_EPOCH);
            let began = began.map_or(0.0, |time| time.as_secs_f64());
            let is_known = start.parse::<f64>().is_ok_and(|start| start + 1.0 > began);
            tally.expect(is_known, || format!("a row of the job log: {row}"));
        }
        tally.expect(done.len() == ITEMS, || {
            format!("the job log has {} of {ITEMS} items done", done.len())
        });
        for (row, count) in rows.into_iter().filter(|(_, count)| *count > 1) {
            tally
                .wrong
                .push(format!("the job log has {row:?} {count} times"));
        }
    }
}

/// The mark in the command lines of all commands' processes.
const MARK: &str = "dishrack-soak-of-commands";

/// Reads with pauses, so that output waits in the pipe and behind it.
fn read_slowly(mut from: ChildStdout, mut dice: Dice) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut piece) {
        all.extend_from_slice(&piece[..count]);
        if dice.below(8) == 0 {
            std::thread::sleep(Duration::from_millis(dice.below(60)));
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn last_words(said: &str) -> String {
    let last: Vec<&str> = said.lines().rev().take(4).collect();
    last.join(" | ")
}

/// Returns processes by their parents.
fn families() -> HashMap<u32, Vec<u32>> {
    let mut families: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may hold anything, so what follows it is counted from its end.
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        if let Some(parent) = after
            .split(' ')
            .nth(1)
            .and_then(|parent| parent.parse().ok())
        {
            families.entry(parent).or_default().push(pid);
        }
    }
    families
}

/// Returns all descendants of a process, except those that have left it.
fn descendants(pid: u32) -> Vec<u32> {
    let families = families();
    let mut all = families.get(&pid).cloned().unwrap_or_default();
    let mut at = 0;
    while let Some(one) = all.get(at) {
        all.extend(families.get(one).into_iter().flatten());
        at += 1;
    }
    all
}

fn kill_something(supervisor: u32, dice: &mut Dice, tally: &mut Tally) {
    let below = descendants(supervisor);
    let victim = dice.pick(&below).copied();
    let (name, victims, signal) = match (dice.below(10), victim) {
        (0, _) => ("supervisor", vec![supervisor], Signal::SIGKILL),
        (1, _) => ("supervisor asked", vec![supervisor], Signal::SIGTERM),
        (2, _) => (
            "supervisor asked twice",
            vec![supervisor, supervisor],
            Signal::SIGTERM,
        ),
        (3 | 4, Some(one)) => ("one and supervisor", vec![one, supervisor], Signal::SIGKILL),
        (5, Some(one)) => ("supervisor and one", vec![supervisor, one], Signal::SIGKILL),
        (6, Some(one)) => {
            let other = dice.pick(&below).copied().unwrap_or(one);
            ("two", vec![one, other], Signal::SIGKILL)
        }
        (_, Some(one)) => ("one", vec![one], Signal::SIGKILL),
        (_, None) => return,
    };
    for victim in victims {
        if let Ok(pid) = i32::try_from(victim) {
            // It may be gone.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
    *tally.kills.entry(name).or_default() += 1;
}

/// Returns the living commands of this soak.
fn running() -> Vec<String> {
    let mut running = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let is_command = words.contains(MARK) && words.starts_with("sh -c");
        if is_command || words.starts_with("sh -c : a grandchild") {
            running.push(format!("{}: {words}", entry.file_name().display()));
        }
    }
    running
}

/// Returns files that the program should have removed.
fn leftovers(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let ours = names.filter(|name| name.starts_with(".dishrack") || name.starts_with("j-"));
    // A file that was made just before a kill has no mark yet, and is empty.
    let is_empty = |name: &String| {
        fs::read_dir(folder.join(name)).is_ok_and(|mut entries| entries.next().is_none())
    };
    ours.filter(|name| !is_empty(name)).collect()
}

fn main() -> ExitCode {
    let seconds = option("--seconds", 60);
    let seed = option("--seed", u64::from(std::process::id()));
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut dice, mut tally) = (Dice(seed), Tally::default());
    while Instant::now() < until && tally.wrong.is_empty() {
        let mut job = Job::new(&mut dice);
        if job.work(&mut dice, &mut tally, until) {
            job.check(&mut tally);
        }
        tally.jobs += 1;
        tally.items += ITEMS;
    }
    tally.print(seed);
    match tally.wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
