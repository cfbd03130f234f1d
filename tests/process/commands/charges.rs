//! The charges: an item is charged with the failures that its command reports, and with as many
//! losses; no item is charged for a shortage of the machine, a removed folder, or a stop.

#![allow(clippy::print_stderr, reason = "a test that cannot be done says so")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::{Place, Said, read_pid, scratches};
use crate::support::{children_of, is_alive, named, send, until};

crate::trials!(
    a_reported_failure_is_final_by_default,
    what_was_lost_is_run_again_three_times,
    what_cannot_change_is_told_once,
    a_lack_of_files_is_waited_out,
    a_limit_of_processes_is_waited_out,
    a_full_disk_is_waited_out,
    a_removed_folder_is_made_again_and_loses_nothing_that_runs,
    a_folder_that_is_removed_again_and_again_charges_nobody,
    a_removed_working_directory_is_named_and_waited_for,
    a_stop_that_reaches_everybody_charges_nobody,
    what_the_kernel_kills_for_memory_says_so,
);

const WAITS: &str = "and waiting costs nothing";
const GOES_ON: &str = "there is room again";

/// A run whose output goes into files, so that no reader is needed.
struct Filed {
    child: Child,
    place: Place,
}

impl Drop for Filed {
    fn drop(&mut self) {
        // This fails if the test has waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Filed {
    fn begin(place: Place, arguments: &[&str], is_for_group: Option<&Path>) -> Self {
        let mut command = place.supervisor(arguments);
        if let Some(group) = is_for_group {
            let program = command.get_program().to_owned();
            let folder = place.folder.path();
            command = std::process::Command::new("sh");
            command.args(["-c", "echo $$ > \"$0\"/cgroup.procs; exec \"$@\""]);
            command.arg(group).arg(program).args(arguments);
            command.current_dir(folder).env("TMPDIR", folder);
        }
        let file = |name| File::create(place.path(name)).unwrap();
        let child = command
            .stdin(std::process::Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        Filed { child, place }
    }

    fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        until("the run ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn out(&self) -> String {
        self.place.text("out")
    }

    fn err(&self) -> String {
        self.place.text("err")
    }
}

fn a_reported_failure_is_final_by_default() {
    let place = Place::new();
    let script = "echo $1 >> cnt; exit 3";
    let output = place.run(&["--", "sh", "-c", script, "_"], b"a\nb\n");
    output.ends(1);
    assert_eq!(place.text("cnt").lines().count(), 2);
    output.tells("given up on after 1 attempt (exited with code 3");
    // A dish is washed again, and so is an item if that is asked for.
    let output = place.run(
        &["--max-attempts", "2", "--", "sh", "-c", script, "_"],
        b"c\n",
    );
    output.ends(1);
    assert_eq!(place.text("cnt").lines().count(), 4);
}

fn what_was_lost_is_run_again_three_times() {
    let place = Place::new();
    let script = "echo $1 >> cnt; kill -KILL $$";
    let output = place.run(&["--", "sh", "-c", script, "_"], b"a\n");
    output.ends(1);
    assert_eq!(place.text("cnt").lines().count(), 3);
    output.tells("killed by SIGKILL");
    // A command's own crash is a failure that it reports.
    let script = "echo $1 >> crashes; kill -SEGV $$";
    place.run(&["--", "sh", "-c", script, "_"], b"a\n").ends(1);
    assert_eq!(place.text("crashes").lines().count(), 1);
}

fn what_cannot_change_is_told_once() {
    let place = Place::new();
    let long = vec![b'x'; 3_000_000];
    let echo = ["--max-attempts", "5", "--", "/bin/echo"];
    let serve = ["--max-attempts", "5", "--worker", "cat"];
    for (arguments, line, why) in [
        (&echo[..], &b"a\0b"[..], "nul byte"),
        (&echo, &long, "too long for an argument"),
        (&serve, b"\xff", "UTF-8"),
    ] {
        let output = place.run(arguments, line);
        output.ends(1);
        let text = &output.err;
        let (short, _) = text.split_at(text.floor_char_boundary(20_000));
        assert_eq!(text.matches(why).count(), 1, "{why}: {short}");
        assert!(text.contains("after 1 attempt ("), "{why}: {short}");
        assert!(!text.contains("1 retr"), "{why}: {short}");
    }
}

/// The worker's own limit of open files prevents every start for a while.
fn a_lack_of_files_is_waited_out() {
    let place = Place::new();
    let script = "echo $1; echo $$ > p$1; echo x >> cnt
        test $1 != a || until test -e go; do :; done";
    let arguments = [
        "-w", "1", "-k", "--", "sh", "-c", script, "_", "{}", ":::", "a", "b", "c",
    ];
    let mut run = Filed::begin(place, &arguments, None);
    let command = read_pid(&run.place.path("pa"));
    let worker = parent_of(command);
    let none = Rlimit {
        current: Some(3),
        // These tests inherit it.
        ..getrlimit(Resource::Nofile)
    };
    let before = prlimit(Some(worker), Resource::Nofile, none).unwrap();
    File::create(run.place.path("go")).unwrap();
    until("it is told", || run.err().contains(WAITS));
    assert!(!run.err().contains(GOES_ON), "{}", run.err());
    prlimit(Some(worker), Resource::Nofile, before).unwrap();
    let status = run.exit();
    let text = run.err();
    assert_eq!(status.code(), Some(0), "{text}");
    assert_eq!(run.out(), "a\nb\nc\n");
    assert_eq!(run.place.text("cnt").lines().count(), 3);
    assert_told_once(&text);
}

fn assert_told_once(text: &str) {
    let told = [WAITS, GOES_ON].map(|words| text.matches(words).count());
    assert_eq!(told, [1, 1], "{text}");
    assert!(!text.contains("attempt"), "{text}");
}

/// Says that this machine cannot run the test.
fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

fn parent_of(pid: u32) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let parent = fields.split(' ').nth(1).unwrap().parse().unwrap();
    Pid::from_raw(parent).unwrap()
}

/// A control group for this test, if the system allows one; removed with its content.
struct Group(PathBuf);

impl Group {
    fn new(controller: &str, limit: &str) -> Option<Self> {
        let name = format!("dishrack-test-{}-{controller}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let roots = [root.join(controller), root.to_owned()];
        let group = roots.into_iter().find_map(|root| {
            // Without such groups this would be a folder like any other.
            root.join("cgroup.procs")
                .try_exists()
                .ok()
                .filter(|is| *is)?;
            let group = root.join(&name);
            fs::create_dir(&group).ok()?;
            Some(Group(group))
        });
        let group = group.filter(|group| group.0.join(limit).exists());
        if group.is_none() {
            skip(&format!("no control group with {limit} can be made here"));
        }
        group
    }

    fn set(&self, name: &str, value: u64) {
        fs::write(self.0.join(name), value.to_string()).unwrap();
    }

    fn get(&self, name: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(name)).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last processes may still be ending.
        let began = std::time::Instant::now();
        while fs::remove_dir(&self.0).is_err() && began.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
    }
}

/// As in a container with a limit of pids, four workers have room for one command.
fn a_limit_of_processes_is_waited_out() {
    let Some(group) = Group::new("pids", "pids.max") else {
        return;
    };
    let place = Place::new();
    let script = "echo x >> cnt; echo out $1; echo > begun$1
        test $1 -gt 4 || until test -e go; do :; done";
    let items: Vec<String> = (1..=200).map(|n| n.to_string()).collect();
    let mut arguments = vec!["-w", "4", "-k", "--", "sh", "-c", script, "_", "{}", ":::"];
    arguments.extend(items.iter().map(String::as_str));
    let mut run = Filed::begin(place, &arguments, Some(&group.0));
    until("all workers are busy", || {
        (1..=4).all(|n| run.place.path(&format!("begun{n}")).exists())
    });
    group.set("pids.max", group.get("pids.current") - 3);
    File::create(run.place.path("go")).unwrap();
    let status = run.exit();
    let text = run.err();
    assert_eq!(status.code(), Some(0), "{text}");
    assert_eq!(run.out().lines().count(), 200);
    assert_eq!(run.place.text("cnt").lines().count(), 200);
    assert_told_once(&text);
}

/// There are two outputs, and room for one of them, in a file system of its own if the system
/// allows one. Output that was cut off was lost, and is written again when there is room.
fn a_full_disk_is_waited_out() {
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    place.write(
        "both.sh",
        b"echo x >> cnt; head -c 150000 /dev/zero; echo > $1
        until test -e a && test -e b; do :; done; head -c 100000 /dev/zero",
    );
    let script = format!(
        "mount -t tmpfs -o size=300k tmpfs {disk} || exit 99
        TMPDIR={disk} {supervisor} -w 2 --max-attempts 5 -- sh both.sh ::: a b",
        disk = disk.display(),
        supervisor = env!("CARGO_BIN_EXE_supervisor"),
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    let Ok(output) = command.current_dir(place.folder.path()).output() else {
        return;
    };
    let output = Said::from(output);
    let text = &output.err;
    if !text.contains("jobs done") {
        skip("the system allows no such mount");
        return;
    }
    output.ends(0);
    assert_eq!(output.stdout.len(), 500_000, "{text}");
    assert!(place.text("cnt").lines().count() > 2, "nothing was cut off");
    assert!(!text.contains("(exited with"), "it was charged: {text}");
    let told = [WAITS, GOES_ON].map(|words| text.matches(words).count());
    assert_eq!(told, [1, 1], "{text}");
}

fn a_removed_folder_is_made_again_and_loses_nothing_that_runs() {
    let place = Place::new();
    let script = "echo out $1; echo $$ > p$1; test $1 != a || until test -e go; do :; done
        echo end $1; echo x >> cnt";
    let arguments = [
        "-w", "1", "-k", "--", "sh", "-c", script, "_", "{}", ":::", "a", "b", "c",
    ];
    let mut run = Filed::begin(place, &arguments, None);
    read_pid(&run.place.path("pa"));
    assert_eq!(remove_output(&run.place), 1);
    File::create(run.place.path("go")).unwrap();
    let status = run.exit();
    let text = run.err();
    assert_eq!(status.code(), Some(0), "{text}");
    assert_eq!(run.out(), "out a\nend a\nout b\nend b\nout c\nend c\n");
    assert_eq!(run.place.text("cnt").lines().count(), 3);
    assert_eq!(text.matches("it is made again").count(), 1, "{text}");
    assert_eq!(scratches(&run.place), 0);
}

/// Removes a run's output, like a cleaner of temporary folders.
fn remove_output(place: &Place) -> usize {
    let entries = fs::read_dir(place.folder.path()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let folders = names.filter(|name| name.starts_with(".dishrack-output-"));
    let removed = folders.map(|name| fs::remove_dir_all(place.path(&name)));
    removed.filter(Result::is_ok).count()
}

/// Output that is removed between its end and its turn is reported, and no item is run again.
fn a_folder_that_is_removed_again_and_again_charges_nobody() {
    let place = Place::new();
    let script = "echo x >> cnt; echo out $1";
    let items: Vec<String> = (1..=300).map(|n| n.to_string()).collect();
    let mut arguments = vec!["-w", "2", "--", "sh", "-c", script, "_", "{}", ":::"];
    arguments.extend(items.iter().map(String::as_str));
    let mut run = Filed::begin(place, &arguments, None);
    // A run whose folder goes before it begins ends with 2.
    until("a command has begun", || !run.place.text("cnt").is_empty());
    let mut removed = 0;
    let mut status = None;
    until("the run ends", || {
        removed += remove_output(&run.place);
        status = run.child.try_wait().unwrap();
        status.is_some()
    });
    let (status, text) = (status.unwrap(), run.err());
    assert!(removed > 0);
    let shown = run.out().lines().count();
    let expected = if shown == 300 { 0 } else { 2 };
    assert_eq!(status.code(), Some(expected), "{shown} shown: {text}");
    let missed = text.matches("cannot be read").count();
    assert_eq!(shown + missed, 300, "{text}");
    assert!(!text.contains("attempt"), "{text}");
    assert_eq!(run.place.text("cnt").lines().count(), 300);
    assert!(text.contains("300 of 300 jobs done"), "{text}");
}

/// Returns the processes below one, and itself last.
fn family_of(pid: u32) -> Vec<u32> {
    let mut family: Vec<u32> = children_of(pid).into_iter().flat_map(family_of).collect();
    family.push(pid);
    family
}

/// A service manager stops all processes of a service, and any of them may hear it first.
fn a_stop_that_reaches_everybody_charges_nobody() {
    let dies = "echo $$ > $1.pid; mv $1.pid p$1; exec sleep 1000";
    let says_so = "trap 'exit 143' TERM; echo $$ > $1.pid; mv $1.pid p$1; sleep 1000 & wait";
    for (script, is_from_top, signal, code) in [
        (dies, false, Signal::SIGTERM, 143),
        (dies, true, Signal::SIGTERM, 143),
        (says_so, false, Signal::SIGTERM, 143),
        (says_so, true, Signal::SIGTERM, 143),
        (dies, false, Signal::SIGHUP, 129),
        (dies, false, Signal::SIGINT, 130),
    ] {
        let place = Place::new();
        let kept = ["-w", "2", "--max-attempts", "1", "--journal", "j", "--"];
        let command = ["sh", "-c", script, "_", "{}", ":::", "a", "b"];
        let mut run = place.watch(&[&kept[..], &command].concat());
        let begun = ["pa", "pb"].map(|name| read_pid(&place.path(name)));
        let mut family = family_of(run.pid());
        assert!(begun.iter().all(|pid| family.contains(pid)), "{family:?}");
        if is_from_top {
            family.reverse();
        }
        for pid in &family {
            send(*pid, signal);
        }
        let events = run.ends(code);
        let charged = ["dead", "retry"].map(|name| named(&events, name).len());
        assert_eq!(charged, [0, 0], "{events:?}");
        until("all are gone", || family.iter().all(|pid| !is_alive(*pid)));
        let output = place.run(&[&kept[..], &["true", ":::", "a", "b"]].concat(), b"");
        output.ends(0).tells("2 of 2 jobs done");
    }
}

/// The control group has less memory than the command takes.
fn what_the_kernel_kills_for_memory_says_so() {
    let (Some(group), true) = (
        Group::new("memory", "memory.limit_in_bytes"),
        super::has_program("tail"),
    ) else {
        return;
    };
    let place = Place::new();
    // The command keeps the only line there is.
    let script = "echo $$ > \"$0\"/cgroup.procs; exec tail -n 1 /dev/zero";
    group.set("memory.limit_in_bytes", 128 << 20);
    let name = group.0.to_str().unwrap().to_owned();
    let arguments = [
        "-w", "1", "--joblog", "log", "--format", "json", "--", "sh", "-c", script, &name, ":::",
        "a",
    ];
    let mut run = Filed::begin(place, &arguments, Some(&group.0));
    let status = run.exit();
    assert_eq!(status.code(), Some(1), "{}", run.err());
    // It is tried again alone, and given up on then.
    for cause in ["which was out of memory", "also when it ran alone"] {
        assert_eq!(run.out().matches(cause).count(), 1, "{}", run.out());
    }
    let signals: Vec<String> = run
        .place
        .joblog("log")
        .iter()
        .map(|row| row[7].clone())
        .collect();
    assert_eq!(signals, ["9", "9"]);
}

fn a_removed_working_directory_is_named_and_waited_for() {
    for command in [
        &["--", "rm", "-r", "../in"][..],
        &["--worker", "sh -c 'rm -r ../in; exit 3'"],
    ] {
        let place = Place::new();
        fs::create_dir(place.path("in")).unwrap();
        place.write("items", b"a\nb\n");
        let options = ["-w", "1", "--workdir", "in", "--input", "items"];
        let mut run = Filed::begin(place, &[&options, command].concat(), None);
        until("it waits", || run.err().contains(WAITS));
        let told = run.err();
        assert!(told.contains("no working directory "), "{told}");
        assert!(told.contains("/in: No such file or directory"), "{told}");
        assert!(!told.contains("command not found"), "{told}");
        fs::create_dir(run.place.path("in")).unwrap();
        // There is no item of that name to be removed, and none was served.
        assert_eq!(run.exit().code(), Some(1), "{}", run.err());
        let told = run.err();
        assert!(told.contains(GOES_ON), "{told}");
        assert!(told.contains("0 of 2 jobs done, 2 dead"), "{told}");
    }
}
