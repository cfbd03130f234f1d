//! Runs that are asked and steered from other processes, by the subcommands and by others.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::http::ask;
use crate::place::Place;
use crate::roles;
use crate::said::words;
use crate::support::{PLAY, Run, is_alive, send, until};

crate::trials! {
    a_run_is_seen_and_steered_from_another_process,
    a_stop_is_over_when_the_process_is,
    a_stop_at_once_ends_what_has_begun,
    what_would_shift_the_lines_of_a_job_log_is_refused,
    several_runs_are_told_apart,
    a_killed_run_is_not_shown_and_its_name_is_free,
    the_name_of_a_living_run_is_taken,
    a_run_that_cannot_be_asked_goes_on,
    a_socket_that_was_asked_for_and_cannot_be_is_an_error,
    nothing_is_left_by_runs_that_end,
    what_another_user_puts_in_our_place_is_not_used,
    another_user_is_told_so,
    what_another_user_leaves_in_a_shared_folder_leads_nowhere,
    an_idle_run_with_a_socket_sleeps,
    items_that_are_put_while_a_run_ends_are_done_or_refused,
    items_of_every_kind_reach_the_command,
}

/// The test that is skipped where too few files may be open.
pub(crate) fn crowded() -> Vec<Trial> {
    let name = "process::control::ten_thousand_connections_harm_nobody";
    let test = Trial::ignorable_test(name, ten_thousand_connections_harm_nobody);
    vec![test]
}

/// A run that is killed when the test is over.
pub(crate) struct Started(pub(crate) Child);

impl Drop for Started {
    fn drop(&mut self) {
        // This fails if the test has waited for it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.path(&format!("dishrack/{name}.sock"))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(arguments);
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a subcommand, which must succeed.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let output = self.try_ask(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn ask_json(&self, arguments: &[&str]) -> Value {
        let (verb, rest) = arguments.split_first().unwrap();
        let arguments = [&[verb, "--format", "json"], rest].concat();
        let text = self.ask(&arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn try_ask(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Starts a run whose items wait, each until there is a file of its name, and waits until it
    /// can be asked.
    pub(crate) fn start(&self, name: &str, items: &[&str]) -> Started {
        self.start_with(name, &[], items)
    }

    /// The same, with these options.
    fn start_with(&self, name: &str, options: &[&str], items: &[&str]) -> Started {
        let script = "while [ ! -e \"go-$1\" ]; do sleep 0.01; done; [ \"$1\" != bad ]";
        let command = ["--", "sh", "-c", script, "_", "{}", ":::"];
        let words = [&["--name", name, "-w", "1"], options, &command, items].concat();
        let mut command = self.command(&words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let run = Started(command.spawn().unwrap());
        let socket = self.socket(name);
        until("the run can be asked", || {
            UnixStream::connect(&socket).is_ok()
        });
        run
    }

    pub(crate) fn let_go(&self, item: &str) {
        fs::write(self.path(&format!("go-{item}")), "").unwrap();
    }
}

/// Waits for the end of a run, and returns its exit code and what it said on stderr.
pub(crate) fn finish(mut run: Started) -> (Option<i32>, String) {
    let mut said = String::new();
    let mut stderr = run.0.stderr.take().unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    (run.0.wait().unwrap().code(), said)
}

fn a_run_is_seen_and_steered_from_another_process() {
    let place = Place::new();
    let run = place.start("nightly", &["a", "b"]);
    until("the first one is begun", || {
        place.ask_json(&["status"])["workers"][0]["item"] == "a"
    });
    let status = place.ask_json(&["status", "--at", "nightly"]);
    assert_eq!(
        (&status["name"], &status["state"]),
        (&json!("nightly"), &json!("running"))
    );
    assert_eq!(status["pid"], run.0.id());
    assert!(status["workers"][0]["rss_bytes"].as_u64().unwrap() > 0);
    let put = place.ask_json(&["put", ":::", "bad", "c"]);
    assert_eq!(
        put,
        json!({"accepted": 2, "items": [{"first": 3, "last": 4}], "duplicates": []})
    );
    assert!(place.ask(&["status"]).contains("accepted               4"));
    let listed = place.ask(&["list"]);
    let expected = "1\trunning\ta\t1 attempt\tworker-1\n2\twaiting\tb\t0 attempts\n\
                    3\twaiting\tbad\t0 attempts\n4\twaiting\tc\t0 attempts\n";
    assert_eq!(listed, expected);
    assert_eq!(place.ask(&["cancel", "2"]), "2 cancelled\n");
    assert!(
        place
            .ask(&["list", "--state", "dead"])
            .starts_with("2\tdead\tb\t")
    );
    assert!(place.ask(&["show", "2"]).contains("attempt"));
    assert_eq!(place.ask(&["retry", "2"]), "2 waits again\n");
    assert_eq!(place.ask(&["pause"]), "paused: nothing more is begun\n");
    place.let_go("a");
    assert_eq!(place.ask(&["wait", "1"]), "1 done\n");
    assert_eq!(place.ask_json(&["status"])["state"], "paused");
    assert_eq!(place.ask(&["scale", "+1"]), "2 workers\n");
    assert_eq!(place.ask(&["reload"]), "reloaded: all workers are new\n");
    assert_eq!(place.ask(&["scale", "-1"]), "1 worker\n");
    assert_eq!(
        place.ask_json(&["status"])["workers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(place.ask(&["resume"]), "resumed\n");
    let late = place.try_ask(&["wait", "2", "--timeout", "1ms"]);
    assert_eq!(late.status.code(), Some(2));
    see_it_to_the_end(&place, run);
}

/// Waits until a subcommand has asked, and waits for the answer.
fn await_answer(asking: &Child) {
    let place = format!("/proc/{}", asking.id());
    let is_connected = || {
        let files = fs::read_dir(format!("{place}/fd")).unwrap();
        let mut targets = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        targets.any(|target| target.to_string_lossy().starts_with("socket:"))
    };
    until("it is connected", is_connected);
    until("it sleeps", || {
        let stat = fs::read_to_string(format!("{place}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('S')
    });
}

/// Lets go of what is left, and looks at how that and the run end.
fn see_it_to_the_end(place: &Place, run: Started) {
    for item in ["b", "bad"] {
        place.let_go(item);
    }
    let dead = place.try_ask(&["wait", "3"]);
    assert_eq!(dead.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&dead.stdout).starts_with("3 dead: "));
    let unknown = place.try_ask(&["show", "77"]);
    assert_eq!(unknown.status.code(), Some(2));
    let joining = place
        .command(&["join"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    await_answer(&joining);
    place.let_go("c");
    let joined = joining.wait_with_output().unwrap();
    // It is the run's last moment, and the answer is given before it ends.
    assert_eq!(joined.status.code(), Some(1), "{joined:?}");
    let text = String::from_utf8(joined.stdout).unwrap();
    assert_eq!(text, "3 done, 1 dead; 0 retries, 1 dead letters\n");
    let (code, said) = finish(run);
    assert_eq!(code, Some(1));
    assert!(said.contains("3 of 4 jobs done, 1 dead"), "{said}");
    assert_eq!(fs::read_dir(place.path("dishrack")).unwrap().count(), 0);
}

fn what_would_shift_the_lines_of_a_job_log_is_refused() {
    let place = Place::new();
    let run = place.start_with("counted", &["--joblog", "log"], &["a", "b"]);
    let put = ["put", "--at", "counted", ":::", "c"];
    let refused = place.try_ask(&put);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("the numbers in this run's --joblog"),
        "{said}"
    );
    place.let_go("a");
    place.let_go("b");
    assert_eq!(finish(run).0, Some(0));
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert_eq!(log.lines().count(), 3, "{log}");

    // A journal goes by what they say.
    let options = ["--joblog", "other-log", "--journal", "journal"];
    let run = place.start_with("told", &options, &["a", "b"]);
    place.let_go("c");
    place.ask(&["put", "--at", "told", ":::", "c"]);
    assert_eq!(finish(run).0, Some(0));
    let log = fs::read_to_string(place.path("other-log")).unwrap();
    assert_eq!(log.lines().count(), 4, "{log}");
}

fn a_stop_is_over_when_the_process_is() {
    let place = Place::new();
    let run = place.start("one", &["a", "b"]);
    until("the first one is begun", || {
        place.ask_json(&["status"])["workers"][0]["item"] == "a"
    });
    let stopping = place
        .command(&["stop"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("it is stopping", || {
        let answer = ask(&place.socket("one"), "GET", "/v1/status", b"");
        answer.json()["state"] == "stopping"
    });
    place.let_go("a");
    let stopped = stopping.wait_with_output().unwrap();
    assert!(!is_alive(run.0.id()));
    assert_eq!(stopped.stdout, b"stopped\n");
    let (code, said) = finish(run);
    assert_eq!(code, Some(128 + Signal::SIGTERM as i32));
    assert!(said.contains("1 of 2 jobs done"), "{said}");
    let order = "supervisor: asked to stop, by `supervisor stop`, the page or the API: finishing what is \
                 being run; once more to stop at once\n";
    assert!(said.contains(order) && !said.contains("SIGTERM"), "{said}");
}

fn a_stop_at_once_ends_what_has_begun() {
    let place = Place::new();
    let run = place.start("one", &["a", "b"]);
    until("the first one is begun", || {
        place.ask_json(&["status"])["workers"][0]["item"] == "a"
    });
    assert_eq!(place.ask(&["stop", "--now"]), "stopped\n");
    assert!(!is_alive(run.0.id()));
    let (code, said) = finish(run);
    assert_eq!(code, Some(128 + Signal::SIGTERM as i32));
    assert_eq!(fs::read_dir(place.path("dishrack")).unwrap().count(), 0);
    let order = "supervisor: asked to stop at once, by `supervisor stop`, the page or the API\n";
    assert!(said.contains(order), "{said}");
    assert!(
        !said.contains("finishing") && !said.contains("SIGTERM"),
        "{said}"
    );
}

fn several_runs_are_told_apart() {
    let place = Place::new();
    assert_eq!(place.ask(&["ps"]), "NAME  PID  STATE  DONE  WORKERS  UP\n");
    let none = place.try_ask(&["status"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("no run is there"));
    let (one, two) = (place.start("one", &["a"]), place.start("two", &["a"]));
    let which = place.try_ask(&["status"]);
    assert_eq!(which.status.code(), Some(2));
    let said = String::from_utf8(which.stderr).unwrap();
    let list = format!("one (process {}), two (process {})", one.0.id(), two.0.id());
    assert!(said.contains(&list), "{said}");
    let by_pid = place.ask_json(&["status", "--at", &two.0.id().to_string()]);
    assert_eq!(by_pid["name"], "two");
    let path = place.socket("one");
    assert_eq!(
        place.ask_json(&["status", "--at", path.to_str().unwrap()])["name"],
        "one"
    );
    let other = place.try_ask(&["status", "--at", "three"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains(&list));
    let lines = place.ask(&["ps", "--format", "json"]);
    let names: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].take())
        .collect();
    assert_eq!(names, ["one", "two"]);
}

fn a_killed_run_is_not_shown_and_its_name_is_free() {
    let place = Place::new();
    for _ in 0..3 {
        let run = place.start("one", &["a"]);
        send(run.0.id(), Signal::SIGKILL);
        finish(run);
        assert!(place.socket("one").exists());
    }
    assert_eq!(place.ask(&["ps", "--format", "json"]), "");
    assert_eq!(fs::read_dir(place.path("dishrack")).unwrap().count(), 0);
}

fn the_name_of_a_living_run_is_taken() {
    let place = Place::new();
    let run = place.start("one", &["a"]);
    let second = place.try_ask(&["--name", "one", "--", "true", ":::", "a"]);
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("process {}", run.0.id())), "{said}");
    let bad = place.try_ask(&["--name", "a/b", "--", "true", ":::", "a"]);
    assert_eq!(bad.status.code(), Some(2));
    assert_eq!(place.ask_json(&["status"])["name"], "one");
}

fn a_run_that_cannot_be_asked_goes_on() {
    let place = Place::new();
    fs::write(place.path("dishrack"), "a file").unwrap();
    let output = place.try_ask(&["--", "true", ":::", "a", "b"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("cannot be asked from outside"), "{said}");
    let quiet = place.try_ask(&["--no-control", "--", "true", ":::", "a"]);
    assert_eq!(String::from_utf8(quiet.stderr).unwrap().lines().count(), 1);
}

fn a_socket_that_was_asked_for_and_cannot_be_is_an_error() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let long = "x".repeat(120);
    for (path, expected) in [
        (&*long, "can have 107"),
        ("no/run", "No such file"),
        ("file", "no socket"),
    ] {
        let output = place.try_ask(&["--control", path, "--", "touch", "{}", ":::", "begun"]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("--control") && said.contains(expected),
            "{said}"
        );
        assert!(!place.path("begun").exists());
    }
    let output = place.try_ask(&["--control", "here", "--", "test", "-S", "{}", ":::", "here"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!place.path("here").exists() && !place.path("here.lock").exists());
}

fn nothing_is_left_by_runs_that_end() {
    let place = Place::new();
    for mode in ["processes", "threads", "tasks", "sequential"] {
        let words = ["--mode", mode, "--wash", "0", "--dry", "0", "-w", "1", "-q"];
        for _ in 0..5 {
            let output = place.try_ask(&words);
            assert_eq!(output.status.code(), Some(0), "{mode}: {output:?}");
        }
        assert_eq!(
            fs::read_dir(place.path("dishrack")).unwrap().count(),
            0,
            "{mode}"
        );
    }
}

/// A user that is neither this one nor root.
const NOBODY: u32 = 65534;

#[allow(
    clippy::print_stderr,
    reason = "whoever reads the tests is told that one is skipped"
)]
fn is_root(test: &str) -> bool {
    if !geteuid().is_root() {
        eprintln!("skipped: {test}, as only root can be somebody else");
    }
    geteuid().is_root()
}

fn what_another_user_puts_in_our_place_is_not_used() {
    if !is_root("what_another_user_puts_in_our_place_is_not_used") {
        return;
    }
    let place = Place::new();
    let ours = place.path("tmp/dishrack-0");
    let theirs = place.path("theirs");
    let run = || {
        let mut command = place.command(&["--", "true", ":::", "a"]);
        command
            .env_remove("XDG_RUNTIME_DIR")
            .env("TMPDIR", place.path("tmp"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    fs::create_dir(place.path("tmp")).unwrap();
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(NOBODY), None).unwrap();
    symlink(&theirs, &ours).unwrap();
    assert!(run().contains("it is no folder"));
    fs::remove_file(&ours).unwrap();
    fs::rename(&theirs, &ours).unwrap();
    assert!(run().contains("belongs to user 65534"));
    std::os::unix::fs::chown(&ours, Some(0), None).unwrap();
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(run().contains("only its owner may use it"));
    assert_eq!(fs::read_dir(&ours).unwrap().count(), 0);
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(run().lines().count(), 1);
}

fn another_user_is_told_so() {
    if !is_root("another_user_is_told_so") {
        return;
    }
    let place = Place::new();
    let _run = place.start("one", &["a"]);
    let socket = place.socket("one");
    let as_nobody = || {
        let mut client = place.command(&["status", "--at", socket.to_str().unwrap()]);
        let output = client.uid(NOBODY).gid(NOBODY).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(place.folder.path(), 0o755);
    assert!(as_nobody().contains("ermission denied"));
    // Only if somebody opens the folder and the socket does the kernel let it through.
    open(&place.path("dishrack"), 0o755);
    assert!(as_nobody().contains("ermission denied"));
    open(&socket, 0o777);
    let said = as_nobody();
    assert!(said.contains("you are user 65534"), "{said}");
    open(&place.path("dishrack"), 0o700);
    assert_eq!(place.ask_json(&["status"])["name"], "one");
}

/// The other user has been there first, with everything that a user can make.
fn what_another_user_leaves_in_a_shared_folder_leads_nowhere() {
    if !is_root("what_another_user_leaves_in_a_shared_folder_leads_nowhere") {
        return;
    }
    let place = Place::new();
    let (shared, ours) = (place.path("shared"), place.path("ours"));
    fs::create_dir(&shared).unwrap();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(place.folder.path(), 0o755);
    open(&shared, 0o1777);
    fs::create_dir(&ours).unwrap();
    fs::write(ours.join("file"), "ours").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.args(["--", "true", ":::", "a"]);
        command.env_remove("XDG_RUNTIME_DIR").env("TMPDIR", &shared);
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let control = shared.join("run").display().to_string();
    for made in [
        "ln -s OURS",
        "ln -s OURS/file",
        "ln -s OURS/new",
        "mkfifo",
        "mkdir",
        "touch",
    ] {
        for (name, words, code) in [
            ("dishrack-0", &[][..], 0),
            ("run", &["--control", &control], 2),
            ("run.lock", &["--control", &control], 2),
        ] {
            let theirs = shared.join(name);
            let script = format!("{made} {}", theirs.display());
            let script = script.replace("OURS", ours.to_str().unwrap());
            let mut shell = Command::new("sh");
            let made = shell.args(["-c", &script]).uid(NOBODY).gid(NOBODY).status();
            assert!(made.unwrap().success(), "{script}");
            let before = fs::symlink_metadata(&theirs).unwrap().modified().unwrap();
            let (ended, said) = run(words);
            assert_eq!(ended, Some(code), "{script}: {said}");
            assert!(said.contains(theirs.to_str().unwrap()), "{script}: {said}");
            let after = fs::symlink_metadata(&theirs).unwrap().modified().unwrap();
            assert_eq!(before, after, "{script}");
            assert_eq!(fs::read(ours.join("file")).unwrap(), b"ours", "{script}");
            assert_eq!(fs::read_dir(&ours).unwrap().count(), 1, "{script}");
            match fs::remove_dir(&theirs) {
                Ok(()) => {}
                Err(_) => fs::remove_file(&theirs).unwrap(),
            }
            assert_eq!(fs::read_dir(&shared).unwrap().count(), 0, "{script}");
        }
    }
}

/// Returns how often the threads of a process were given a processor.
pub(crate) fn turns_of(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let turns = threads.map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
        let counts = switches.map(|line| line.split_whitespace().last().unwrap().parse::<u64>());
        counts.map(Result::unwrap).sum::<u64>()
    });
    turns.sum()
}

fn an_idle_run_with_a_socket_sleeps() {
    let place = Place::new();
    let typed = "--name idle -w 2 --memory 1G --memory-free 1M --worker cat";
    let mut command = place.command(&words(typed));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let run = Started(command.spawn().unwrap());
    until("it can be asked", || {
        UnixStream::connect(place.socket("idle")).is_ok()
    });
    until("it is idle", || {
        let status = ask(&place.socket("idle"), "GET", "/v1/status", b"").json();
        let workers = status["workers"].as_array().unwrap();
        workers.len() == 2 && workers.iter().all(|worker| worker["state"] == "idle")
    });
    // A thread that waited for a request ends a second later.
    let mut before = turns_of(run.0.id());
    until("it sleeps for five seconds", || {
        std::thread::sleep(std::time::Duration::from_secs(5));
        let now = turns_of(run.0.id());
        std::mem::replace(&mut before, now) == now
    });
}

fn items_that_are_put_while_a_run_ends_are_done_or_refused() {
    let place = Place::new();
    for _ in 0..10 {
        let mut command = place.command(&[
            "--name", "end", "--format", "json", "--wash", "0", "--dry", "0", "--mode", "threads",
        ]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let run = command.spawn().unwrap();
        let socket = place.socket("end");
        let mut accepted = 4;
        let mut has_begun = false;
        loop {
            let Ok(mut client) = UnixStream::connect(&socket) else {
                if has_begun || !is_alive(run.id()) {
                    break;
                }
                continue;
            };
            has_begun = true;
            let request = "POST /v1/items HTTP/1.1\r\nHost: run\r\nConnection: close\r\n\
                           Content-Length: 7\r\n\r\n\"extra\"";
            let mut answer = String::new();
            if client.write_all(request.as_bytes()).is_ok()
                && std::io::Read::read_to_string(&mut client, &mut answer).is_ok()
                && answer.starts_with("HTTP/1.1 200")
            {
                accepted += 1;
            }
        }
        let output = run.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(summary["event"], "summary");
        assert_eq!(
            (&summary["done"], &summary["accepted"]),
            (&json!(accepted), &json!(accepted))
        );
    }
}

fn items_of_every_kind_reach_the_command() {
    let place = Place::new();
    fs::write(place.path("go-first"), "").unwrap();
    let mut command = place.command(&["--name", "kinds", "-w", "1", "-k", "--", "printf", "<%s>"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let socket = place.socket("kinds");
    until("it can be asked", || UnixStream::connect(&socket).is_ok());
    place.ask(&["put", "-0", ":::", "two words", "ä"]);
    let body = b"\"text\"\n{\"base64\": \"/w==\"}\n{\"a\": 1}\n[2]\n";
    let put = ask(&socket, "POST", "/v1/items", body);
    assert_eq!(put.json()["accepted"], 4, "{}", put.head);
    let bad = ask(&socket, "POST", "/v1/items", b"{\"base64\": \"?\"}");
    assert_eq!((bad.status, &*bad.code()), (400, "bad_item"));
    drop(run.stdin.take());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let expected = [
        b"<two words><\xc3\xa4><text><".as_slice(),
        b"\xff",
        b"><{\"a\": 1}><[2]>",
    ]
    .concat();
    assert_eq!(output.stdout, expected);
}

/// The number of connections that one program holds at the same time.
const CONNECTIONS: usize = 10_000;

/// The play that holds them, and the variables with their socket, and with what is said by them.
pub(crate) const CONNECTING: &str = "holds ten thousand connections";
const CONNECTED_TO: &str = "DISHRACK_TEST_SOCKET";
const SAYING: &str = "DISHRACK_TEST_SAYING";

/// What the play says when it holds all of them, and when it may not.
const HOLDS_ALL: &str = "all are connected";
const TOO_FEW_FILES: &str = "too few files may be open";

/// Connects so often and says this each time, and holds all connections until it is killed.
pub(crate) fn play_connecting() {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = (CONNECTIONS + 100) as u64;
    if limit.0 < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, limit.1.max(wanted)).is_err()
    {
        roles::say(TOO_FEW_FILES);
        return;
    }
    let socket = std::env::var_os(CONNECTED_TO).unwrap();
    let said = std::env::var(SAYING).unwrap();
    let connect = |_| {
        // It waits where the other side has not come to accept it yet.
        let mut stream = UnixStream::connect(&socket).unwrap();
        // It may be refused already.
        let _ = stream.write_all(said.as_bytes());
        stream
    };
    let held: Vec<UnixStream> = (0..CONNECTIONS).map(connect).collect();
    assert_eq!(held.len(), CONNECTIONS);
    roles::say(HOLDS_ALL);
    std::thread::sleep(Duration::from_secs(1000));
}

/// Returns the memory that a process has in use, in bytes.
fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    1024 * kibibytes.unwrap().parse::<u64>().unwrap()
}

/// What each of ten thousand clients asks.
const ASKING: &str = "GET /v1/status HTTP/1.1\r\nHost: run\r\n\r\n";

/// Holds ten thousand connections to a run with one item, by which this is said; `None` where that is
/// not possible.
fn crowd(place: &Place, said: &str) -> Option<(Started, Run)> {
    let run = place.start("one", &["a"]);
    let pid = run.0.id();
    let before = memory_of(pid);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(PLAY, CONNECTING)
        .env(CONNECTED_TO, place.socket("one"))
        .env(SAYING, said);
    let others = Run::of(command);
    match others.line().as_deref() {
        Some(HOLDS_ALL) => {}
        Some(TOO_FEW_FILES) => return None,
        said => panic!("{said:?}"),
    }
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(files < 400, "{files} files are open");
    let grown = memory_of(pid).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more are in use");
    Some((run, others))
}

/// Each of them asks, and most are told that there are too many.
fn ten_thousand_connections_harm_nobody() -> Result<Completion, Failed> {
    let place = Place::new();
    let Some((run, _others)) = crowd(&place, ASKING) else {
        let why = format!("no process may open {CONNECTIONS} files here");
        return Ok(Completion::ignored_with(why));
    };
    // The run does all its work beside them.
    place.let_go("a");
    assert_eq!(finish(run).0, Some(0));
    let place = Place::new();
    let (run, mut others) = crowd(&place, ASKING).expect("it was possible a moment ago");
    others.kill();
    until("it can be asked again", || {
        place.try_ask(&["status"]).status.success()
    });
    place.let_go("a");
    assert_eq!(finish(run).0, Some(0));
    // Those who say nothing keep nobody out.
    let place = Place::new();
    let (run, _others) = crowd(&place, "").expect("it was possible a moment ago");
    for _ in 0..10 {
        assert!(place.try_ask(&["status"]).status.success());
    }
    place.let_go("a");
    assert_eq!(finish(run).0, Some(0));
    Ok(Completion::Completed)
}
