//! Commands, their workers and their children are killed: the item is run again, nothing else is
//! touched, and the job log tells it.

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getsid};

use super::{Place, read_pid, sh};
use crate::support::{Run, children_of, is_alive, named, pid_of, send, state, until};

crate::trials!(
    a_killed_command_is_run_again,
    a_killed_worker_takes_its_command_along_and_the_item_is_run_again,
    a_killed_grandchild_is_its_commands_own_affair,
    a_time_limit_ends_grandchildren_too,
    a_command_may_clean_up_when_its_time_is_over,
    a_killed_supervisor_takes_all_along,
    nothing_stays_of_what_is_killed_with_the_supervisor,
    a_killed_keeper_is_replaced_and_none_stays,
    what_nobody_could_end_is_ended_before_its_item_is_begun_again,
    what_nobody_could_end_is_ended_whatever_comes_between,
    a_copy_of_a_journal_ends_nothing_of_the_first_one,
);

/// The first attempt tells its pid and waits; another item is run beside it all the time.
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

/// Checks that the other item goes on, and both end.
fn end(place: &Place, mut run: Run, cause: &str) {
    let retry = run.await_event("retry");
    assert_eq!(
        (&retry["item"], &retry["cause"]),
        (&"a".into(), &cause.into())
    );
    read_pid(&place.path("a2"));
    assert!(is_alive(read_pid(&place.path("b"))));
    place.open_gate("gate");
    let events = run.ends(0);
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
    let begun = run.await_event("running");
    let command = read_pid(&place.path("a1"));
    read_pid(&place.path("b"));
    let begun = match begun["item"] == "a" {
        true => begun,
        false => run.await_event("running"),
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
    let mut run = place.watch(&sh(
        "-w 1 --max-attempts 2 --joblog log",
        script,
        "{} ::: a",
    ));
    send(read_pid(&place.path("child")), Signal::SIGKILL);
    let events = run.ends(0);
    // A shell reports a command that SIGKILL ended like this.
    assert_eq!(named(&events, "retry")[0]["cause"], "exited with code 137");
    assert_eq!(named(&events, "worker_exited").len(), 1, "at the end");
    assert_eq!(place.joblog("log")[0][6], "137");
}

fn a_time_limit_ends_grandchildren_too() {
    let place = Place::new();
    place.gate("never");
    let script = "sh -c 'trap \"\" TERM; echo $$ > child; read x < never' & wait";
    let arguments = sh(
        "-w 1 --timeout 2s --max-attempts 1 --joblog log",
        script,
        "{} ::: a",
    );
    let mut run = place.watch(&arguments);
    let child = read_pid(&place.path("child"));
    let events = run.ends(1);
    let cause = "took longer than its time limit of 2s";
    assert_eq!(named(&events, "dead")[0]["cause"], cause);
    until("the grandchild has ended", || !is_alive(child));
    assert_eq!(place.joblog("log")[0][7], "15");
}

fn a_command_may_clean_up_when_its_time_is_over() {
    let place = Place::new();
    place.gate("never");
    let script = "trap 'echo cleaned > clean; exit 0' TERM; read x < never & wait";
    let arguments = sh("-w 1 --timeout 2s --max-attempts 1", script, "{} ::: a");
    let (events, status) = place.watch(&arguments).finish();
    // A good end after a request to end does not make the item done.
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
    run.kill();
    until("all have ended", || !is_alive(command) && !is_alive(child));
}

/// Runs a command with a child. Returns the pids of the worker, the command and the child.
fn begin_family(place: &Place, options: &[&str]) -> (Run, [u32; 3]) {
    for name in ["command", "kid"] {
        let _ = std::fs::remove_file(place.path(name));
    }
    let script = "sleep 1000 & echo $! > kid; echo $$ > command; wait";
    let command = ["--", "sh", "-c", script, "_", "{}", ":::", "a"];
    let run = place.watch(&[&["-w", "1"], options, &command].concat());
    let worker = pid_of(&run.await_event("running"));
    let [command, kid] = ["command", "kid"].map(|name| read_pid(&place.path(name)));
    (run, [worker, command, kid])
}

fn keeper_of(run: &Run) -> Option<u32> {
    let is_keeper = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(b"keeper of supervisor ")
    };
    children_of(run.pid()).into_iter().find(is_keeper)
}

fn nothing_stays_of_what_is_killed_with_the_supervisor() {
    for round in 0..12 {
        let place = Place::new();
        let method = ["spawn", "fork"][round % 2];
        let (mut run, [worker, command, kid]) = begin_family(&place, &["--start-method", method]);
        let supervisor = run.pid();
        let keeper = keeper_of(&run).expect("there is one");
        let is_to_be_stopped = round % 3 == 2;
        if is_to_be_stopped {
            for pid in [worker, keeper] {
                send(pid, Signal::SIGSTOP);
                until("it is stopped", || state(pid) == Some('T'));
            }
        }
        let victims = [
            [worker, supervisor],
            [supervisor, worker],
            [command, supervisor],
            [supervisor, keeper],
        ];
        for victim in victims[round % 4] {
            send(victim, Signal::SIGKILL);
        }
        run.exit();
        let family = [worker, command, kid, keeper];
        until("all are gone", || family.iter().all(|pid| !is_alive(*pid)));
    }
}

fn a_killed_keeper_is_replaced_and_none_stays() {
    let place = Place::new();
    let (mut run, [worker, _, kid]) = begin_family(&place, &[]);
    let first = keeper_of(&run).expect("there is one");
    send(first, Signal::SIGTERM);
    send(first, Signal::SIGKILL);
    let mut second = None;
    until("there is another one", || {
        second = keeper_of(&run).filter(|pid| *pid != first);
        second.is_some()
    });
    send(worker, Signal::SIGKILL);
    run.signal(Signal::SIGKILL);
    run.exit();
    until("what the command has started is gone", || !is_alive(kid));

    let mut run = place.watch(&["--", "true", ":::", "a"]);
    run.await_event("worker_started");
    let keeper = keeper_of(&run);
    assert!(run.exit().success());
    assert!(keeper.is_none_or(|pid| !is_alive(pid)));
    assert!(!is_alive(second.unwrap()));
}

/// The first item dies; the second one's process leaves its group, and waits.
const LEAVES: &str = "if test $1 = a; then exit 3; fi
    if test -e kid; then
        read -r _ _ state _ 2>/dev/null < /proc/$(cat kid)/stat
        test ${state:-Z} = Z || echo $1 >> overlaps
    else setsid sleep 1000 & echo $! > kid.new; mv kid.new kid; wait; fi";

fn run_that_leaves(place: &Place, journal: &str) -> Run {
    let command = ["--", "sh", "-c", LEAVES, "_", "{}", ":::", "a", "b"];
    let options = ["--max-attempts", "1", "-w", "1", "--journal", journal];
    place.watch(&[&options[..], &command].concat())
}

/// Returns the pid of the second item's process, which no other process is left to end.
fn leave_kid(place: &Place) -> u32 {
    let mut first = run_that_leaves(place, "j");
    let mut begun = first.await_event("running");
    while begun["item"] != "b" {
        begun = first.await_event("running");
    }
    let worker = pid_of(&begun);
    let kid = read_pid(&place.path("kid"));
    let pid = Pid::from_raw(i32::try_from(kid).unwrap());
    until("it has left its group", || getsid(Some(pid)) == Ok(pid));
    let keeper = keeper_of(&first).expect("there is one");
    // It sees no death, and counts no attempt.
    first.signal(Signal::SIGSTOP);
    for pid in [keeper, worker, first.pid()] {
        send(pid, Signal::SIGKILL);
    }
    first.exit();
    until("the others are gone", || {
        ![keeper, worker].into_iter().any(is_alive)
    });
    kid
}

/// The keeper is killed as well, so only the next run can end it.
fn what_nobody_could_end_is_ended_before_its_item_is_begun_again() {
    let place = Place::new();
    let kid = leave_kid(&place);
    assert!(is_alive(kid), "nobody was left to end it");
    let mut second = run_that_leaves(&place, "j");
    assert_eq!(second.exit().code(), Some(1), "one is dead");
    assert!(!is_alive(kid));
    assert_eq!(place.text("overlaps"), "");
}

/// The next owner of the journal ends it, or leaves it to the one after that.
fn what_nobody_could_end_is_ended_whatever_comes_between() {
    let between: [(&[&str], &str); 3] = [
        (&["dead", "retry", "--all", "--journal", "j"], "j"),
        (&["dead", "drop", "--all", "--journal", "j"], "j"),
        (&["salvage", "--journal", "j", "--into", "new"], "new"),
    ];
    for (command, journal) in between {
        let place = Place::new();
        let kid = leave_kid(&place);
        assert!(is_alive(kid), "nobody was left to end it");
        place.run(command, b"").ends(0);
        assert!(!is_alive(kid), "{command:?}");
        run_that_leaves(&place, journal).exit();
        assert_eq!(place.text("overlaps"), "");
    }
}

/// Both are in use by their headers, and the first one really is.
fn a_copy_of_a_journal_ends_nothing_of_the_first_one() {
    let place = Place::new();
    let (mut run, [worker, command, kid]) = begin_family(&place, &["--journal", "j"]);
    for name in ["", "-wal", "-shm"] {
        let (from, to) = (format!("j{name}"), format!("copy{name}"));
        std::fs::copy(place.path(&from), place.path(&to)).unwrap();
    }
    place
        .run(&["--journal", "copy", "--", "true", ":::", "a"], b"")
        .ends(0);
    assert!([worker, command, kid].into_iter().all(is_alive));
    run.signal(Signal::SIGKILL);
    run.exit();
}
