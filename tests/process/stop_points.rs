//! A suspension at every step of a worker's start, and then a kill of its supervisor: nothing
//! stays.
//!
//! The points need the feature `failpoints`; without it there is nothing to run.

use std::fs;
use std::process::Command;
use std::time::Duration;

use dishrack::{JoinableQueue, StartMethod, Supervisor};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;

use crate::support::{DEADLINE, PLAY, Run, is_alive, send, state, until_within};

crate::trials!(workers_that_are_stopped_in_boot_end_with_the_supervisor);

/// The time for which a process may outlive its supervisor.
const GRACE: Duration = Duration::from_secs(1);

/// Stands between the test and the supervisor, and gets its orphans. It is in their session, so
/// that the kernel does not wake and end them as an orphaned group.
pub(crate) fn keep() {
    set_child_subreaper(true).unwrap();
    let play = std::env::var("DISHRACK_TEST_SUPERVISOR").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut supervisor = command.env(PLAY, play).spawn().unwrap();
    crate::roles::say(&supervisor.id().to_string());
    supervisor.wait().unwrap();
    // The orphans stay until the test has seen them.
    loop {
        std::thread::park();
    }
}

pub(crate) fn start_workers(method: StartMethod) {
    let queue = JoinableQueue::unbounded();
    let pool = Supervisor::builder().processes(2).start_method(method);
    let _pool = pool.handler(&queue, crate::roles::work).unwrap();
    loop {
        std::thread::park();
    }
}

/// They are suspended at each step of their way to work.
fn workers_that_are_stopped_in_boot_end_with_the_supervisor() {
    let all = ["worker: appointed", "worker: ready"];
    let spawned = ["worker: ordered", "worker: guarded"]
        .into_iter()
        .chain(all);
    let forked = ["worker: forked", "worker: forked, guarded"]
        .into_iter()
        .chain(all);
    let points = spawned.map(|point| ("starts workers, spawned", point));
    for (play, point) in points.chain(forked.map(|point| ("starts workers, forked", point))) {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("stopped");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .env(PLAY, "keeps orphans")
            .env("DISHRACK_TEST_SUPERVISOR", play)
            .env(
                "DISHRACK_STOP_POINT",
                format!("worker|{point}|1|{}", mark.display()),
            );
        let keeper = Run::of(command);
        let supervisor = keeper.line().unwrap().parse().unwrap();
        let mut worker = 0;
        until_within(DEADLINE, point, || {
            let pid = fs::read_to_string(&mark).unwrap_or_default();
            worker = pid.parse().unwrap_or(0);
            worker != 0 && state(worker) == Some('T')
        });
        send(supervisor, Signal::SIGKILL);
        let gone = || !is_alive(worker);
        until_within(GRACE, &format!("{play}, {point}: it is gone"), gone);
    }
}
