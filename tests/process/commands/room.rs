//! Room in memory: commands with a limit of it, and those that wait for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::place::Place;
use crate::said::{sh, words};
use crate::support::{PLAY, Run, is_alive, named, until};

crate::trials!(
    what_a_command_has_started_counts_for_its_item,
    a_limit_of_memory_that_makes_no_sense_is_refused,
    without_room_one_runs_at_a_time,
    with_room_they_run_as_usual,
    rules_of_admission_that_make_no_sense_are_refused,
    commands_have_the_priorities_that_were_asked_for,
    in_half_a_gibibyte_those_that_want_most_of_it_wait_for_it,
    in_half_a_gibibyte_those_that_want_most_of_it_run_alone_once_killed,
);

fn what_a_command_has_started_counts_for_its_item() {
    let place = Place::new();
    place.gate("never");
    // A shell that another one has started keeps this much in a variable.
    let script = "test $0 = a || exit 0
        sh -c 'echo $$ > child; a=$(head -c 150000000 /dev/zero | tr \"\\0\" a); read x < never' &
        wait";
    let options = "-w 2 --memory 64M --max-attempts 1 --joblog log";
    let events = place.watch(&sh(options, script, "{} ::: a b c d")).ends(1);
    let child: u32 = place.text("child").trim().parse().unwrap();
    until("what it has started has ended", || !is_alive(child));
    let over = named(&events, "memory_limit");
    assert!(over.iter().all(|one| one["item"] == "a"), "{over:?}");
    assert!(over[0]["bytes"].as_u64() > Some(64 << 20), "{over:?}");
    let dead = named(&events, "dead");
    assert_eq!((dead.len(), &dead[0]["item"]), (1, &"a".into()));
    let cause = "killed for memory, also when it ran alone: it used more than its limit of 64 MiB";
    assert_eq!(dead[0]["cause"], cause);
    let retries = named(&events, "retry");
    assert_eq!((retries.len(), &retries[0]["item"]), (1, &"a".into()));
    let cause = "used more memory than its limit of 64 MiB";
    assert_eq!(retries[0]["cause"], cause);
    assert_eq!(named(&events, "summary")[0]["done"], 3);
    let log = place.joblog("log");
    assert!(log.iter().any(|row| row[7] == "9"), "{log:?}");
}

fn a_limit_of_memory_that_makes_no_sense_is_refused() {
    let place = Place::new();
    let refused = |options| place.run(&sh(options, "true", "{} ::: a"), b"");
    refused("--memory 0").is_refused("--memory 0: no memory is too little for any item");
    refused("--memory lots").is_refused("expected a size such as 400M");
    let threads = ["--mode", "threads", "--memory", "1G"];
    let words = "--memory: what --mode threads works on cannot be ended; use processes";
    place.run(&threads, b"").is_refused(words);
}

fn without_room_one_runs_at_a_time() {
    let place = Place::new();
    for rule in ["--memory-free 4000T", "--load 0", "--pressure 0%"] {
        let options = format!("-q -w 3 {rule}");
        let script = "mkdir lock && echo $0 && rmdir lock";
        let said = place.run(&sh(&options, script, "{} ::: a b c d e"), b"");
        said.ends(0);
        assert_eq!(said.out.lines().count(), 5, "{rule}");
    }
}

fn with_room_they_run_as_usual() {
    let place = Place::new();
    place.gate("both");
    // Each waits for the other one.
    let script = "if test $0 = a; then echo > both; else read x < both; fi";
    let options = "-w 2 --memory-free 1M --load 1000000 --pressure 100%";
    place.run(&sh(options, script, "{} ::: a b"), b"").ends(0);
}

fn rules_of_admission_that_make_no_sense_are_refused() {
    let place = Place::new();
    let refused = |options, words| {
        let said = place.run(&sh(options, "true", "{} ::: a"), b"");
        said.is_refused(words);
    };
    refused(
        "--load many",
        "expected a number of threads, or a percentage",
    );
    refused("--pressure 101%", "expected a percentage up to 100%");
    refused("--nice 20", "expected a number from -20");
    refused("--ionice fast", "expected realtime, best-effort or idle");
    let words = "in --mode sequential one item runs at a time anyway";
    let inline = ["--mode", "sequential", "--load", "1"];
    place.run(&inline, b"").is_refused(words);
}

fn commands_have_the_priorities_that_were_asked_for() {
    let place = Place::new();
    for method in ["spawn", "fork"] {
        let options = format!("-q -w 1 --start-method {method} --nice 7 --ionice best-effort:6");
        // What it has asked for of disks is told where util-linux is there.
        let script = "nice; command -v ionice >/dev/null && ionice || echo best-effort: prio 6";
        let said = place.run(&sh(&options, script, "::: a"), b"");
        said.ends(0).prints("7\nbest-effort: prio 6\n");
    }
}

/// The play of a command that wants most of half a gibibyte.
pub(crate) const GROWS: &str = "grows";

pub(crate) fn grow() {
    let much = vec![1_u8; 400 << 20];
    std::thread::sleep(Duration::from_millis(300));
    drop(much);
}

/// A control group whose memory is half a gibibyte.
struct SmallGroup(PathBuf);

impl SmallGroup {
    /// Makes one below this process's own; `None` where this user may not. Version 2 lets a group
    /// with processes have none, so it is the root's there.
    fn make(name: &str) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let older = own
            .lines()
            .find_map(|line| line.split_once(":memory:/"))
            .map(|(_, group)| Path::new("/sys/fs/cgroup/memory").join(group));
        let (parent, limit) = match older {
            Some(parent) => (parent, "memory.limit_in_bytes"),
            None => ("/sys/fs/cgroup".into(), "memory.max"),
        };
        let folder = parent.join(format!("dishrack-{name}-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = SmallGroup(folder);
        fs::write(group.0.join(limit), (512 << 20).to_string()).ok()?;
        // Without swap, which may not be bounded here.
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        Some(group)
    }

    /// Runs 100 commands in it, of which 5 want most of it.
    fn run(&self, place: &Place, options: &str) -> Vec<Value> {
        let program = std::env::current_exe().unwrap();
        let script = format!(
            "case $0 in big*) {PLAY}={GROWS} exec {};; esac",
            program.display()
        );
        let big = (1..=5).map(|number| format!("big-{number}"));
        let small = (6..=100).map(|number| number.to_string());
        let items: Vec<String> = big.chain(small).collect();
        fs::write(place.path("items"), items.join("\n")).unwrap();
        let mut command = Command::new("sh");
        let enter = "echo $$ > \"$0\"/cgroup.procs && exec \"$@\"";
        command.args(["-c", enter]).arg(&self.0);
        command.args([env!("CARGO_BIN_EXE_supervisor"), "--format", "json"]);
        command.args(words(options));
        command.args(["--input", "items", "--", "sh", "-c", &script, "{}"]);
        command
            .current_dir(place.folder.path())
            .stdin(Stdio::null());
        Run::of(command).ends(0)
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        until("the group is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

fn in_half_a_gibibyte_those_that_want_most_of_it_wait_for_it() {
    let Some(group) = SmallGroup::make("waits") else {
        return;
    };
    let place = Place::new();
    let events = group.run(&place, "-w 4 --memory-free 420M");
    // One that gets its memory only after two seconds, on a busy machine, is not foreseen.
    for retry in named(&events, "retry") {
        let item = retry["item"].as_str().unwrap();
        assert!(item.starts_with("big-"), "{retry}: nobody else is charged");
    }
    assert_eq!(named(&events, "summary")[0]["done"], 100);
}

fn in_half_a_gibibyte_those_that_want_most_of_it_run_alone_once_killed() {
    let Some(group) = SmallGroup::make("kills") else {
        return;
    };
    let place = Place::new();
    let events = group.run(&place, "-w 4");
    let retries = named(&events, "retry");
    assert!(!retries.is_empty(), "two of them had room");
    for retry in retries {
        let item = retry["item"].as_str().unwrap();
        assert!(item.starts_with("big-"), "{retry}: nobody else is charged");
        let cause = "killed by the kernel, which was out of memory";
        assert_eq!(
            (&retry["cause"], &retry["attempt"]),
            (&cause.into(), &1.into())
        );
    }
    assert_eq!(named(&events, "summary")[0]["done"], 100);
}
