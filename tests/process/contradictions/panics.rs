//! Threads of a run that panic, each in turn: the run says which one and why, once, and ends with 70. A connection
//! whose thread panics is lost alone.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use dishrack::{Control, Controlled, JoinableQueue};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{JOURNALED, ends_with_70, items, next_run_does_the_rest, supervisor};
use crate::deadline::DEADLINE;
use crate::place::Place;
use crate::support::{PLAY, Run, send, until};

crate::trials! {
    a_thread_that_panics_ends_the_run_with_70,
    the_threads_of_a_stop_and_of_a_reload_end_it_as_well,
    the_next_run_goes_on_with_a_journal_whose_thread_has_panicked,
    the_items_of_a_client_whose_thread_panics_go_to_others,
}

const DISHES: &[&str] = &["-w", "2", "--wash", "0", "--dry", "1000s"];
const COMMANDS: &[&str] = &["-w", "2", "--input", "items"];
const SLEEP: &[&str] = &["--", "sleep", "1000"];

/// The threads, and what else a run needs to have them.
const THREADS: [(&str, &[&str], &[&str]); 22] = [
    ("main", COMMANDS, SLEEP),
    ("main", DISHES, &[]),
    ("dishrack-watch", COMMANDS, SLEEP),
    ("dishrack-stderr", DISHES, &[]),
    ("dishrack-forks", DISHES, &["--start-method", "fork"]),
    (
        "dishrack-room",
        COMMANDS,
        &["--memory-free", "1M", "--", "sleep", "1000"],
    ),
    (
        "dishrack-timer",
        COMMANDS,
        &["--max-attempts", "3", "--backoff", "1ms", "--", "false"],
    ),
    ("dishrack-tokens", COMMANDS, SLEEP),
    (
        "dishrack-journal",
        COMMANDS,
        &["--journal", "journal", "--", "sleep", "1000"],
    ),
    ("dryer-2", DISHES, &["--mode", "threads"]),
    ("dishrack-tasks", DISHES, &["--mode", "tasks"]),
    ("print", COMMANDS, SLEEP),
    ("title", COMMANDS, SLEEP),
    ("signals", COMMANDS, SLEEP),
    ("orders", COMMANDS, SLEEP),
    ("halt", COMMANDS, SLEEP),
    ("count", COMMANDS, SLEEP),
    ("control", COMMANDS, SLEEP),
    ("control", &["serve", "-w", "1"], &[]),
    (
        "web",
        COMMANDS,
        &["--web", "127.0.0.1:0", "--", "sleep", "1000"],
    ),
    (
        "dead-letters",
        COMMANDS,
        &["--dead-letters", "letters", "--", "sleep", "1000"],
    ),
    ("service", COMMANDS, SLEEP),
];

/// Returns a run in a place where there are a job server and a service manager.
fn with_all_around(place: &Place, arguments: &[&str]) -> (Command, UnixDatagram) {
    fs::write(place.path("items"), "1\n2\n3\n4\n").unwrap();
    mkfifo(&place.path("tokens"), Mode::S_IRWXU).unwrap();
    let tokens = place.path("tokens").display().to_string();
    let manager = UnixDatagram::bind(place.path("manager")).unwrap();
    let mut command = supervisor(place, arguments, "none");
    command
        .env("MAKEFLAGS", format!("-j2 --jobserver-auth=fifo:{tokens}"))
        .env("NOTIFY_SOCKET", place.path("manager"))
        .env("RUST_BACKTRACE", "0");
    (command, manager)
}

/// Checks that it ends because of this thread.
#[track_caller]
fn ends_by(place: &Place, run: Run, thread: &str) {
    ends_with_70(place, run, thread);
    let said = fs::read_to_string(place.path("stderr")).unwrap();
    let why = format!("internal error: the thread {thread} panicked: planted; ");
    assert_eq!(said.matches(&why).count(), 1, "{said}");
}

fn a_thread_that_panics_ends_the_run_with_70() {
    for (thread, begin, end) in THREADS {
        let place = Place::new();
        let (mut command, _manager) = with_all_around(&place, &[begin, end].concat());
        command.env("DISHRACK_PANIC_THREAD", thread);
        ends_by(&place, Run::of(command), thread);
    }
}

/// They begin when the run is asked for that.
fn the_threads_of_a_stop_and_of_a_reload_end_it_as_well() {
    for (thread, signal) in [("stop", Signal::SIGTERM), ("reload", Signal::SIGHUP)] {
        let place = Place::new();
        let (mut command, _manager) = with_all_around(&place, &[COMMANDS, SLEEP].concat());
        command.env("DISHRACK_PANIC_THREAD", thread);
        // At a terminal SIGHUP would be no order.
        command.env("SYSTEMD_EXEC_PID", "0");
        let run = Run::of(command);
        until("it can be asked", || {
            let name = format!("run-{}", run.pid());
            place.try_ask(&["status", "--at", &name]).status.success()
        });
        send(run.pid(), signal);
        ends_by(&place, run, thread);
    }
}

/// In the middle of its work, with commits that nobody was told of.
fn the_next_run_goes_on_with_a_journal_whose_thread_has_panicked() {
    for point in ["commit: begin", "commit: durable, not told", "commit: told"] {
        let place = Place::new();
        let (mut command, _manager) = with_all_around(&place, &JOURNALED);
        fs::write(place.path("items"), items()).unwrap();
        let fault = place.path("fault").display().to_string();
        command.env(
            "DISHRACK_PANIC_POINT",
            format!("supervisor|{point}|5|{fault}"),
        );
        let lines = ends_with_70(&place, Run::of(command), point);
        next_run_does_the_rest(&place, lines, point);
    }
}

/// The play of a program that serves a queue until it is empty.
pub(crate) const OWNER: &str = "owner of a queue with a fault";

/// The variable with the path of its socket.
const SOCKET: &str = "DISHRACK_TEST_SOCKET";

/// Starts a program with a fault that serves a queue with one item.
pub(super) fn owner(place: &Place, (fault, value): (&str, &str)) -> Run {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(PLAY, OWNER)
        .env(SOCKET, place.path("s"))
        .stdin(Stdio::piped());
    let run = Run::of({
        command.env(fault, value);
        command
    });
    assert_eq!(run.line().as_deref(), Some("it serves"));
    run
}

pub(crate) fn play_owner() {
    let queue = JoinableQueue::<u32>::unbounded();
    queue.put(&7).unwrap();
    let path = std::env::var_os(SOCKET).unwrap();
    let _control = Control::serve_at(path, Controlled::of_queue(&queue)).unwrap();
    let mut out = std::io::stdout();
    let mut say = |words: &str| writeln!(out, "{words}").unwrap();
    say("it serves");
    say(&match queue.join() {
        Ok(joined) => format!("{} done, {} dead", joined.done, joined.dead),
        Err(error) => error.to_string(),
    });
    // It answers until the test has heard enough.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// It takes the connection for lost, as it would be by a client that says what makes no sense.
fn the_items_of_a_client_whose_thread_panics_go_to_others() {
    let place = Place::new();
    let fault = place.path("fault").display().to_string();
    // Its second word is that the item is done.
    let point = format!("supervisor|client: heard|2|{fault}");
    let mut owner = owner(&place, ("DISHRACK_PANIC_POINT", &point));
    let take = || {
        let queue = JoinableQueue::<u32>::attach(place.path("s")).unwrap();
        let delivery = queue.get_timeout(DEADLINE).unwrap();
        let attempt = delivery.attempt();
        // Whether it was told in time that this is not heard is a matter of the moment.
        let _ = delivery.task_done();
        (queue, attempt)
    };
    let (lost, attempt) = take();
    assert_eq!(attempt, 1);
    let error = lost.get_timeout(DEADLINE).unwrap_err();
    assert!(error.is_supervisor_gone(), "{error}");
    let (_queue, attempt) = take();
    assert_eq!(attempt, 2);
    assert_eq!(owner.line().as_deref(), Some("1 done, 0 dead"));
    drop(owner.child.stdin.take());
    assert!(owner.exit().success());
}
