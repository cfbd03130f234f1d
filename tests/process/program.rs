//! Workers that are another program than the supervisor, and how the ends of workers are told that
//! nobody starts again.

use std::fs;

use dishrack::{Exit, JoinableQueue, Restart, StartMethod, Supervisor};
use nix::libc;
use nix::sys::signal::Signal;

use crate::deadline::DEADLINE;
use crate::roles::{self, Work};
use crate::support::{args_of, send};

crate::trials! {
    workers_are_the_program_that_was_chosen => chosen(StartMethod::Spawn),
    a_fork_server_is_it_too => chosen(StartMethod::Fork),
    a_program_that_is_not_there_is_told,
}

/// The copy is another file, with the same functions in it.
fn chosen(method: StartMethod) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("another");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder()
        .processes(1)
        .start_method(method)
        .restart(Restart::Temporary)
        .exact_name("washer")
        .program(&copy, ["--quiet"]);
    let pool = builder.handler(&queue, roles::work).unwrap();
    assert!(pool.wait_started_timeout(DEADLINE));
    let pid = pool.status().workers[0].pid;
    let answer = pool.map([Work::Pid]).next().unwrap();
    assert_eq!(answer.unwrap(), u64::from(pid));
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(program, copy);
    let words = args_of(pid);
    assert_eq!(words.split(' ').next(), Some("washer"), "{words}");
    assert!(!pool.wait_timeout(std::time::Duration::ZERO));
    send(pid, Signal::SIGTERM);
    assert!(pool.wait_timeout(DEADLINE));
    let status = pool.status();
    assert!(status.workers.is_empty());
    let end = &status.ended[0];
    assert_eq!((end.name.as_str(), end.pid), ("washer", pid));
    assert_eq!(end.exit, Exit::Signaled(libc::SIGTERM));
}

fn a_program_that_is_not_there_is_told() {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder()
        .processes(1)
        .restart(Restart::Temporary)
        .program("/there/is/none", [""; 0]);
    let pool = builder.handler(&queue, roles::work).unwrap();
    assert!(pool.wait_started_timeout(DEADLINE));
    assert!(pool.wait_timeout(DEADLINE));
    let end = &pool.status().ended[0];
    assert_eq!((end.pid, end.exit), (0, Exit::Unknown));
    let why = end.complaint.as_deref().unwrap();
    assert!(why.contains("No such file"), "{why}");
}
