//! Commands, their workers and what they started are killed: the item is run again, nothing else is
//! touched, and the job log tells.

use nix::sys::signal::Signal;

use super::{Place, read_pid};
use crate::support::{Run, is_alive, named, pid_of, send, until};

crate::trials!(
    a_killed_command_is_run_again,
    a_killed_worker_takes_its_command_along_and_the_item_is_run_again,
    a_killed_grandchild_is_its_commands_own_affair,
    a_time_limit_ends_grandchildren_too,
    a_command_may_clean_up_when_its_time_is_over,
    a_killed_supervisor_takes_all_along,
);

/// Its first attempt tells its pid and waits; another item is run beside it all the time.
const SCRIPT: &str = "if test $1 = b; then echo $$ > b; read x < gate; exit; fi
    echo $$ > a$SUPERVISOR_ATTEMPT
    test $SUPERVISOR_ATTEMPT != 1 || read x < never";

fn begin(place: &Place) -> Run {
    place.gate("gate");
    place.gate("never");
    place.watch(&[
        "-w", "2", "--joblog", "log", "--", "sh", "-c", SCRIPT, "_", "{}", ":::", "a", "b",
    ])
}

/// The other item goes on, and both end.
fn end(place: &Place, mut run: Run, cause: &str) {
    let retry = run.await_event("retry");
    assert_eq!(
        (&retry["item"], &retry["cause"]),
        (&"a".into(), &cause.into())
    );
    read_pid(&place.path("a2"));
    assert!(is_alive(read_pid(&place.path("b"))));
    place.open_gate("gate");
    let (events, status) = run.finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(named(&events, "summary")[0]["done"], 2);
    assert_eq!(named(&events, "summary")[0]["retries"], 1);
    let rows = place.joblog("log");
    let tells = |row: &Vec<String>| (row[0].clone(), row[6].clone(), row[7].clone());
    let first = rows.iter().map(tells).next().unwrap();
    assert_eq!(first, ("1".into(), "0".into(), "9".into()), "{rows:?}");
    assert_eq!(rows.len(), 3);
}

fn a_killed_command_is_run_again() {
    let place = Place::new();
    let run = begin(&place);
    send(read_pid(&place.path("a1")), Signal::SIGKILL);
    end(&place, run, "killed by SIGKILL");
}

fn a_killed_worker_takes_its_command_along_and_the_item_is_run_again() {
    let place = Place::new();
    let run = begin(&place);
    let begun = run.await_event("drying");
    let command = read_pid(&place.path("a1"));
    read_pid(&place.path("b"));
    let begun = match begun["item"] == "a" {
        true => begun,
        false => run.await_event("drying"),
    };
    send(pid_of(&begun), Signal::SIGKILL);
    end(&place, run, "killed by SIGKILL");
    until("the command has ended", || !is_alive(command));
}

fn a_killed_grandchild_is_its_commands_own_affair() {
    let place = Place::new();
    place.gate("never");
    let script =
        "if test $SUPERVISOR_ATTEMPT = 1; then sh -c 'echo $$ > child; read x < never'; fi";
    let mut run = place.watch(&[
        "-w", "1", "--joblog", "log", "--", "sh", "-c", script, "{}", ":::", "a",
    ]);
    send(read_pid(&place.path("child")), Signal::SIGKILL);
    let (events, status) = run.finish();
    assert_eq!(status.code(), Some(0));
    // As a shell tells of a command that SIGKILL ended.
    assert_eq!(named(&events, "retry")[0]["cause"], "exited with code 137");
    assert_eq!(named(&events, "worker_exited").len(), 1, "at the end");
    assert_eq!(place.joblog("log")[0][6], "137");
}

fn a_time_limit_ends_grandchildren_too() {
    let place = Place::new();
    place.gate("never");
    let script = "sh -c 'trap \"\" TERM; echo $$ > child; read x < never' & wait";
    let arguments = [
        "-w",
        "1",
        "--timeout",
        "2s",
        "--max-attempts",
        "1",
        "--joblog",
        "log",
        "--",
        "sh",
        "-c",
        script,
        "{}",
        ":::",
        "a",
    ];
    let mut run = place.watch(&arguments);
    let child = read_pid(&place.path("child"));
    let (events, status) = run.finish();
    assert_eq!(status.code(), Some(1));
    let cause = "took longer than its time limit of 2s";
    assert_eq!(named(&events, "dead")[0]["cause"], cause);
    until("the grandchild has ended", || !is_alive(child));
    assert_eq!(place.joblog("log")[0][7], "15");
}

fn a_command_may_clean_up_when_its_time_is_over() {
    let place = Place::new();
    place.gate("never");
    let script = "trap 'echo cleaned > clean; exit 0' TERM; read x < never & wait";
    let arguments = [
        "-w",
        "1",
        "--timeout",
        "2s",
        "--max-attempts",
        "1",
        "--",
        "sh",
        "-c",
        script,
        "{}",
        ":::",
        "a",
    ];
    let (events, status) = place.watch(&arguments).finish();
    // Ending well when it is told to end is not the same as being done.
    assert_eq!(status.code(), Some(1));
    let cause = "took longer than its time limit of 2s";
    assert_eq!(named(&events, "dead")[0]["cause"], cause);
    assert_eq!(place.text("clean"), "cleaned\n");
}

fn a_killed_supervisor_takes_all_along() {
    let place = Place::new();
    place.gate("never");
    let script = "sh -c 'echo $$ > child; read x < never' & echo $$ > command; wait";
    let mut run = place.watch(&["-w", "1", "--", "sh", "-c", script, "{}", ":::", "a"]);
    let (command, child) = (
        read_pid(&place.path("command")),
        read_pid(&place.path("child")),
    );
    run.child.kill().unwrap();
    run.exit();
    until("all have ended", || !is_alive(command) && !is_alive(child));
}
