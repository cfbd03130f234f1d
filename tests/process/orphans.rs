//! A supervisor that is SIGKILLed takes its workers along, and their children.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Run, children_of, is_alive, send, state, until, until_within};

crate::trials!(
    workers_and_their_children_end_with_the_supervisor,
    forked_workers_and_their_children_end_with_the_supervisor,
    stopped_workers_and_their_children_end_with_the_supervisor,
    workers_that_hang_in_boot_end_with_the_supervisor,
    dryers_end_with_their_supervisor,
    the_children_of_a_killed_worker_end_with_it,
);

/// The time for which a process may outlive its supervisor.
const GRACE: Duration = Duration::from_secs(1);

/// Returns the pids of both workers and of each one's child.
fn family(run: &Run) -> Vec<u32> {
    let mut pids = Vec::new();
    for _ in 0..2 {
        let line = run.line().unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "child", "{line}");
        pids.extend(words[1..].iter().map(|pid| pid.parse::<u32>().unwrap()));
    }
    // Also other children, such as a fork server.
    pids.extend(children_of(run.pid()));
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    pids
}

/// They have not set up anything yet, so only the kernel can tell them.
fn workers_that_hang_in_boot_end_with_the_supervisor() {
    let mut run = Run::play("hangs in boot for long");
    for _ in 0..2 {
        assert!(run.line().unwrap().starts_with("booting "));
    }
    let children = children_of(run.pid());
    assert_eq!(children.len(), 2);
    kill_and_see_all_gone(&mut run, &children);
}

fn kill_and_see_all_gone(run: &mut Run, family: &[u32]) {
    run.signal(Signal::SIGKILL);
    let all_gone = || family.iter().all(|pid| !is_alive(*pid));
    until_within(GRACE, "workers and children are gone", all_gone);
}

fn workers_and_their_children_end_with_the_supervisor() {
    let mut run = Run::play("starts children");
    let family = family(&run);
    kill_and_see_all_gone(&mut run, &family);
}

fn forked_workers_and_their_children_end_with_the_supervisor() {
    let mut run = Run::play("starts children, forked");
    let family = family(&run);
    kill_and_see_all_gone(&mut run, &family);
}

fn stopped_workers_and_their_children_end_with_the_supervisor() {
    let mut run = Run::play("starts children");
    let family = family(&run);
    for pid in &family {
        send(*pid, Signal::SIGSTOP);
        until("it is stopped", || state(*pid) == Some('T'));
    }
    kill_and_see_all_gone(&mut run, &family);
}

fn dryers_end_with_their_supervisor() {
    let mut run = Run::supervisor(&["-w", "3", "--wash", "0", "--dry", "1000s"]);
    let dryers: Vec<u32> = (0..3)
        .map(|_| crate::support::pid_of(&run.await_event("drying")))
        .collect();
    kill_and_see_all_gone(&mut run, &dryers);
}

fn the_children_of_a_killed_worker_end_with_it() {
    let run = Run::play("starts children");
    let family = family(&run);
    let (child, worker) = (family[0], family[1]);
    send(worker, Signal::SIGKILL);
    until("its child is gone", || !is_alive(child));
}
