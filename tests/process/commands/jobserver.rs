//! Under GNU make's job server: no more commands run in all than there are jobs, which they count
//! themselves, and every token comes back, whatever is killed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use rustix::fs::{OFlags, fcntl_setfl};

use super::{Place, feed, has_program};
use crate::deadline::until;
use crate::said::Said;

crate::trials!(
    three_supervisors_share_the_jobs_of_a_make,
    no_token_is_lost_by_kills_of_workers,
    no_token_is_lost_by_kills_of_supervisors,
    tokens_of_a_named_pipe_go_back_as_they_were,
    a_killed_supervisor_gives_its_tokens_back,
    a_keeper_that_is_killed_too_is_replaced_before,
    a_run_that_is_stopped_gives_its_tokens_back,
    a_closed_job_server_means_one_at_a_time,
    a_make_in_a_command_is_a_client_too,
    a_make_that_changes_nothing_has_no_command_run,
    others_get_tokens_while_items_wait,
);

/// Takes one of so many locks, and of some more, for as long as it runs, or notes that there was none. Those
/// that come before so many are taken for the first time wait for that.
const COUNT: &str = r#"#!/bin/sh
most=$1 time=$2 more=${3:-0}
slot=1
while [ "$slot" -le "$((most + more))" ]; do
    exec 9>>"slot$slot"
    if flock -n 9; then
        echo "$slot" >>used
        if [ "$slot" -eq "$most" ]; then : >reached; fi
        looks=0
        while [ ! -e reached ] && [ "$looks" -lt 6000 ]; do
            sleep 0.01
            looks=$((looks + 1))
        done
        sleep "$time"
        exit
    fi
    slot=$((slot + 1))
done
echo "over $$" >>over
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("count", COUNT.as_bytes());
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path("count"), mode).unwrap();
    place
}

fn can_count() -> bool {
    let can = has_program("make") && has_program("flock");
    if !can {
        #[expect(clippy::print_stderr, reason = "nobody should take it for tried")]
        {
            eprintln!("skipped: there is no make, or no flock");
        }
    }
    can
}

impl Place {
    fn is_counted(&self, most: u32) {
        assert_eq!(self.text("over"), "", "more ran than {most}");
        let used = self.text("used");
        let is_reached = used.lines().any(|slot| slot == most.to_string());
        assert!(is_reached, "never {most} at once: {used}");
    }

    fn begun(&self) -> usize {
        self.text("used").lines().count()
    }
}

/// Makes a makefile of so many targets that are supervisors of 4 workers, with so many items each.
fn makefile(targets: u32, items: u32, options: &str, count: &str) -> String {
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let targets: Vec<String> = (1..=targets).map(|number| format!("run{number}")).collect();
    let targets = targets.join(" ");
    let items: Vec<String> = (1..=items).map(|item| item.to_string()).collect();
    let items = items.join(" ");
    format!(
        "all: {targets}\n{targets}:\n\t+@{supervisor} -q --no-summary -w 4 {options} -- ./count {count} ::: {items}\n"
    )
}

fn make(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new("make");
    command.args(arguments).current_dir(place.folder.path());
    command.env("TMPDIR", place.folder.path());
    for inherited in ["MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS", "MAKELEVEL"] {
        command.env_remove(inherited);
    }
    command
}

fn three_supervisors_share_the_jobs_of_a_make() {
    if !can_count() {
        return;
    }
    let place = place();
    place.write("makefile", makefile(3, 30, "", "4 0.02").as_bytes());
    let said = feed(&mut make(&place, &["-s", "-j4", "-f", "makefile"]), b"");
    // At its end make counts the tokens.
    said.ends(0).hides("token").hides("job server");
    place.is_counted(4);
    assert_eq!(place.begun(), 90);
}

/// Returns the children of a process, and their commands.
fn children(pid: u32) -> Vec<(u32, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let children = tasks.flat_map(|task| {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let pids = text.split_whitespace().map(|pid| pid.parse().unwrap());
        pids.collect::<Vec<u32>>()
    });
    let named = children.map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        (pid, name.trim().to_owned())
    });
    named.collect()
}

fn kill_hard(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    // It may have ended by itself.
    let _ = kill(pid, Signal::SIGKILL);
}

fn no_token_is_lost_by_kills_of_workers() {
    no_token_is_lost_by_kills("4 0.02", 0, |supervisor, round| {
        let workers = children(supervisor);
        let workers: Vec<_> = workers
            .iter()
            .filter(|(_, name)| name != "keeper")
            .collect();
        if let Some((worker, _)) = workers.get(round % workers.len().max(1)) {
            kill_hard(*worker);
        }
    });
}

/// The job that make itself gives each recipe is free as soon as the supervisor is gone, when the kernel may be
/// about to end its last command. So one more may be seen for a moment.
fn no_token_is_lost_by_kills_of_supervisors() {
    // Those that were killed have failed.
    no_token_is_lost_by_kills("4 0.02 1", 2, |supervisor, round| {
        if round % 4 == 0 {
            kill_hard(supervisor);
        }
    });
}

fn no_token_is_lost_by_kills(count: &str, code: i32, kill_one: impl Fn(u32, usize)) {
    if !can_count() {
        return;
    }
    let place = place();
    let options = "--max-attempts 100 --max-restarts 1000";
    let makefile = makefile(9, 40, options, count);
    place.write("makefile", makefile.as_bytes());
    let mut command = make(&place, &["-s", "-k", "-j4", "-f", "makefile"]);
    let mut make = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for round in 1..=20_usize {
        let is_enough = |place: &Place| place.begun() >= round * 6;
        until("nothing more begins", || {
            is_enough(&place) || has_ended(&mut make)
        });
        let supervisors = children(make.id());
        if let Some((supervisor, _)) = supervisors.get(round % supervisors.len().max(1)) {
            kill_one(*supervisor, round);
        }
    }
    let said = Said::from(make.wait_with_output().unwrap());
    said.hides("token").ends(code);
    place.is_counted(4);
}

fn has_ended(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_some()
}

/// A job server of the test: a named pipe with these tokens.
struct Server {
    pipe: File,
    flags: String,
}

impl Server {
    fn new(place: &Place, tokens: &[u8]) -> Self {
        let path = place.path("server");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let mut pipe = File::options().read(true).write(true).open(&path).unwrap();
        pipe.write_all(tokens).unwrap();
        fcntl_setfl(&pipe, OFlags::NONBLOCK).unwrap();
        let jobs = tokens.len() + 1;
        let flags = format!(" -j{jobs} --jobserver-auth=fifo:{}", path.display());
        Server { pipe, flags }
    }

    /// Waits until these are there, and no others.
    fn has_again(&self, tokens: &[u8]) {
        let mut back = Vec::new();
        until("not all tokens came back", || {
            let mut some = [0; 64];
            let count = (&self.pipe).read(&mut some).unwrap_or(0);
            back.extend_from_slice(&some[..count]);
            back.len() >= tokens.len()
        });
        back.sort_unstable();
        assert_eq!(back, tokens);
    }

    fn is_empty(&self) -> bool {
        let mut some = [0; 1];
        let count = (&self.pipe).read(&mut some).unwrap_or(0);
        (&self.pipe).write_all(&some[..count]).unwrap();
        count == 0
    }
}

fn tokens_of_a_named_pipe_go_back_as_they_were() {
    let place = place();
    if !can_count() {
        return;
    }
    let server = Server::new(&place, b"abc");
    let items: Vec<String> = (0..40).map(|item| item.to_string()).collect();
    let mut command = place.supervisor(&["-q", "-w", "8", "--", "./count", "4", "0.02", ":::"]);
    command.args(&items).env("MAKEFLAGS", &server.flags);
    feed(&mut command, b"").ends(0);
    place.is_counted(4);
    server.has_again(b"abc");
}

/// Starts a run of commands that last, and waits until all tokens are taken.
fn begin(place: &Place, server: &Server) -> Child {
    let arguments = ["-q", "-w", "8", "--", "./count", "3", "1000", ":::"];
    let mut command = place.supervisor(&arguments);
    command
        .args(["1", "2", "3", "4", "5"])
        .env("MAKEFLAGS", &server.flags);
    let said = File::create(place.path("said")).unwrap();
    let child = command.stdin(Stdio::null()).stderr(said).spawn().unwrap();
    until("not all begin", || place.begun() == 3);
    assert!(server.is_empty());
    child
}

fn a_killed_supervisor_gives_its_tokens_back() {
    if !can_count() {
        return;
    }
    let place = place();
    let server = Server::new(&place, b"xy");
    let mut child = begin(&place, &server);
    child.kill().unwrap();
    child.wait().unwrap();
    server.has_again(b"xy");
    // What ran had ended before.
    for slot in 1..=3 {
        let lock = format!("flock -n slot{slot} true");
        let free = Command::new("sh")
            .args(["-c", &lock])
            .current_dir(place.folder.path())
            .status();
        assert!(free.unwrap().success(), "{slot}");
    }
}

fn a_keeper_that_is_killed_too_is_replaced_before() {
    if !can_count() {
        return;
    }
    let place = place();
    let server = Server::new(&place, b"xy");
    let mut child = begin(&place, &server);
    let keeper = || {
        children(child.id())
            .into_iter()
            .find(|(_, name)| name == "keeper")
    };
    let (first, _) = keeper().unwrap();
    kill_hard(first);
    until("there is no new keeper", || {
        keeper().is_some_and(|(pid, _)| pid != first)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    server.has_again(b"xy");
}

fn a_run_that_is_stopped_gives_its_tokens_back() {
    if !can_count() {
        return;
    }
    for signals in [1, 2] {
        let place = place();
        let server = Server::new(&place, b"xy");
        let mut child = begin(&place, &server);
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        until("it is not heard", || place.text("said").contains("SIGTERM"));
        match signals {
            1 => kill_commands(child.id()),
            _ => kill(pid, Signal::SIGTERM).unwrap(),
        }
        child.wait().unwrap();
        server.has_again(b"xy");
    }
}

/// Ends the commands of a run, which else would last.
fn kill_commands(supervisor: u32) {
    for (worker, _) in children(supervisor) {
        for (command, _) in children(worker) {
            kill_hard(command);
        }
    }
}

/// Returns `true` if make's job server is a named pipe here.
fn has_named_pipe() -> bool {
    let place = Place::new();
    place.write("makefile", b"all:\n\t+@echo $(MAKEFLAGS) >flags\n");
    let said = feed(&mut make(&place, &["-j4", "-f", "makefile"]), b"");
    said.ends(0);
    place.text("flags").contains("auth=fifo:")
}

fn a_closed_job_server_means_one_at_a_time() {
    if !can_count() {
        return;
    }
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    // From 4.4 on it is a named pipe, which is open to each line.
    let most_without = if has_named_pipe() { "MOST=4" } else { "MOST=1" };
    for (plus, most) in [("", most_without), ("+", "MOST=4")] {
        let place = place();
        let makefile = format!(
            "all:\n\t{plus}@{supervisor} -q --no-summary -w 4 -- ./count $(MOST) 0.01 ::: 1 2 3 4 5 6 7 8\n"
        );
        place.write("makefile", makefile.as_bytes());
        let arguments = ["-s", "-j4", "-f", "makefile", most];
        let said = feed(&mut make(&place, &arguments), b"");
        said.ends(0);
        let used = place.text("used");
        match most {
            "MOST=1" => {
                said.tells("begin its line with +");
                place.is_counted(1);
                assert_eq!(used, "1\n".repeat(8));
            }
            _ => {
                said.hides("job server");
                place.is_counted(4);
            }
        }
    }
}

fn a_make_in_a_command_is_a_client_too() {
    if !can_count() {
        return;
    }
    let place = place();
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let outer = format!(
        "all:\n\t+@{supervisor} -q --no-summary -w 4 -- make -s -f inner ROUND={{}} ::: 1 2 3 4\n"
    );
    place.write("outer", outer.as_bytes());
    let targets = "a b c d e f";
    let inner = format!("all: {targets}\n{targets}:\n\t@./count 3 0.02\n");
    place.write("inner", inner.as_bytes());
    let said = feed(&mut make(&place, &["-s", "-j3", "-f", "outer"]), b"");
    said.ends(0).hides("jobserver").hides("token");
    place.is_counted(3);
    assert_eq!(place.begun(), 24);
}

fn a_make_that_changes_nothing_has_no_command_run() {
    let place = place();
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let makefile = format!("all:\n\t+@{supervisor} -q -- touch ::: a 'b c'\n");
    place.write("makefile", makefile.as_bytes());
    let run = |flags: &[&str]| {
        feed(
            make(&place, &[&["-j2", "-f", "makefile"], flags].concat()).env("LC_ALL", "C"),
            b"",
        )
    };
    let lines = "touch a\ntouch 'b c'\n";
    // Make prints what it runs as well.
    assert!(run(&["-n"]).ends(0).out.ends_with(lines));
    run(&["-q"]).ends(1).prints("");
    run(&["-t"]).ends(0).tells("no command is run");
    assert!(!place.path("a").exists());
    run(&["-k", "--no-print-directory"]).ends(0);
    assert!(place.path("a").exists() && place.path("b c").exists());
    // No Redis is asked.
    let work = "work --redis redis://127.0.0.1:1 --lease 1m -- touch {}";
    let makefile = format!("all:\n\t+@{supervisor} {work}\n");
    place.write("makefile", makefile.as_bytes());
    run(&["-n"]).ends(0).tells("make -n: no command is run");
    run(&["-q"]).ends(1).prints("");
    run(&["-t"]).ends(0).tells("make -t: no command is run");
}

/// A token goes back when an item is over, though others wait for it.
fn others_get_tokens_while_items_wait() {
    if !can_count() {
        return;
    }
    let place = place();
    let server = Server::new(&place, b"t");
    let items: Vec<String> = (0..300).map(|item| item.to_string()).collect();
    let mut command = place.supervisor(&["-q", "-w", "4", "--", "./count", "2", "0.01", ":::"]);
    command.args(&items).env("MAKEFLAGS", &server.flags);
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("it gets no token", || place.text("used").contains('2'));
    // As a make reads: it waits.
    let mut other = File::options()
        .read(true)
        .open(place.path("server"))
        .unwrap();
    let mut token = [0];
    other.read_exact(&mut token).unwrap();
    let begun = place.begun();
    assert!(begun < 290, "{begun} had begun before");
    (&server.pipe).write_all(&token).unwrap();
    assert!(child.wait().unwrap().success());
    place.is_counted(2);
    server.has_again(b"t");
}
