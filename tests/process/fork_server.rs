//! The fork server: workers forked from it are the supervisor's own children, even after its end.

use std::collections::{HashMap, HashSet};
use std::fs;

use dishrack::{Builder, Exit, ForkServer, JoinableQueue, Restart, StartMethod, Supervisor};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, is_alive, send, state, until};

crate::trials!(
    forked_workers_are_children_of_the_supervisor,
    a_killed_fork_server_is_started_again_and_its_workers_live_on,
    a_fork_server_that_is_killed_again_and_again_loses_nothing,
    a_fork_server_preloads_once_and_a_spawned_worker_by_itself,
    supervisors_can_have_one_together,
    one_that_died_idle_is_replaced_by_the_next_start,
    an_order_that_was_lost_with_it_is_given_again,
    a_pool_that_is_killed_ends_one_that_hangs_and_others_get_another,
    a_pool_can_be_killed_while_it_preloads,
    one_that_never_works_is_given_up,
    one_that_is_no_program_is_told,
);

pub(crate) fn pool(
    name: &str,
    queue: &JoinableQueue<Work>,
    workers: usize,
) -> Supervisor<Work, u64> {
    let builder = Supervisor::builder()
        .processes(workers)
        .start_method(StartMethod::Fork);
    let pool = builder.name(name).handler(queue, roles::work).unwrap();
    until("all are ready", || pool.workers().len() == workers);
    pool
}

pub(crate) fn parent_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// Returns the pid of the fork server of the pool with this name.
pub(crate) fn fork_server_of(name: &str) -> u32 {
    let mut server = None;
    until("the fork server is there", || {
        server = find_fork_server(name);
        server.is_some()
    });
    server.unwrap()
}

fn find_fork_server(name: &str) -> Option<u32> {
    let is_it = |pid: &u32| {
        let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.trim_end_matches(['\0', ' ']) == format!("fork-server of {name}")
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_it)
}

fn forked_workers_are_children_of_the_supervisor() {
    let queue = JoinableQueue::unbounded();
    let pool = pool("child", &queue, 3);
    for worker in pool.workers() {
        assert_eq!(parent_of(worker.pid), std::process::id());
    }
}

fn a_killed_fork_server_is_started_again_and_its_workers_live_on() {
    let queue = JoinableQueue::unbounded();
    let pool = pool("survivor", &queue, 2);
    let workers = pool.workers();
    let server = fork_server_of("survivor");
    send(server, Signal::SIGINT);
    send(server, Signal::SIGKILL);
    until("the fork server is gone", || !is_alive(server));
    assert!(workers.iter().all(|worker| is_alive(worker.pid)));
    // A worker that dies now is forked from the new one.
    send(workers[0].pid, Signal::SIGKILL);
    until("another worker is there", || {
        let pids: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
        pids.len() == 2 && !pids.contains(&workers[0].pid)
    });
    assert!(is_alive(workers[1].pid));
    for _ in 0..100 {
        queue.put(&Work::Nothing).unwrap();
    }
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 100);
}

fn a_fork_server_preloads_once_and_a_spawned_worker_by_itself() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let pool = builder.handler(&queue, roles::work).unwrap();
        until("both are ready", || pool.workers().len() == 2);
        let mut loaders = HashMap::new();
        while loaders.len() < 2 {
            let works = [Work::Pid, Work::Loader];
            let told: Vec<u64> = pool.map(works).map(Result::unwrap).collect();
            // One of them may have done both.
            let own: Vec<u64> = pool.workers().iter().map(|one| one.pid.into()).collect();
            let is_spawned = method == StartMethod::Spawn;
            assert_eq!(own.contains(&told[1]), is_spawned, "{told:?}");
            loaders.insert(told[0], told[1]);
        }
        if method == StartMethod::Fork {
            let different: HashSet<_> = loaders.values().collect();
            assert_eq!(different.len(), 1, "{loaders:?}");
        }
    }
}

fn a_fork_server_that_is_killed_again_and_again_loses_nothing() {
    let queue = JoinableQueue::unbounded();
    let pool = pool("sufferer", &queue, 2);
    for _ in 0..5 {
        queue.put(&Work::Exit(1)).unwrap();
        send(fork_server_of("sufferer"), Signal::SIGKILL);
        queue.put(&Work::Nothing).unwrap();
        until("both are ready again", || pool.workers().len() == 2);
    }
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (5, 5));
}

fn sharing(server: &ForkServer, workers: usize) -> Builder {
    Supervisor::builder().processes(workers).fork_server(server)
}

/// Starts workers of this description, and returns them when all are ready.
fn ready(builder: Builder, workers: usize) -> Supervisor<Work, u64> {
    let queue = JoinableQueue::unbounded();
    let pool = builder.handler(&queue, roles::work).unwrap();
    until("all are ready", || pool.workers().len() == workers);
    pool
}

/// Returns the pid of the fork server that a worker of this pool was forked from.
fn server_of(pool: &Supervisor<Work, u64>) -> u32 {
    let answer = pool.map([Work::Loader]).next().unwrap();
    u32::try_from(answer.unwrap()).unwrap()
}

fn supervisors_can_have_one_together() {
    let server = ForkServer::new();
    let one = ready(sharing(&server, 2), 2);
    let other = ready(sharing(&server, 2), 2);
    let pid = server_of(&one);
    assert_eq!(server_of(&other), pid);
    for worker in one.workers().iter().chain(&other.workers()) {
        assert_eq!(parent_of(worker.pid), std::process::id());
    }
    // It lives as long as anybody has it.
    one.stop();
    drop((one, server));
    let gone = other.workers()[0].pid;
    send(gone, Signal::SIGKILL);
    until("another worker is there", || {
        let pids: Vec<u32> = other.workers().iter().map(|worker| worker.pid).collect();
        pids.len() == 2 && !pids.contains(&gone)
    });
    assert_eq!(server_of(&other), pid);
    drop(other);
    assert!(!is_alive(pid), "nobody has it any more");
}

fn one_that_died_idle_is_replaced_by_the_next_start() {
    let server = ForkServer::new();
    let pool = ready(sharing(&server, 1), 1);
    let worker = pool.workers()[0].pid;
    let mut pid = server_of(&pool);
    for _ in 0..20 {
        // The next order may be sent while it is dying.
        send(pid, Signal::SIGKILL);
        let next = ready(sharing(&server, 1).restart(Restart::Temporary), 1);
        let before = std::mem::replace(&mut pid, server_of(&next));
        assert_ne!(pid, before);
        assert_eq!((next.restarts(), pool.workers()[0].pid), (0, worker));
        // Its death is seen, whoever has forked it.
        send(next.workers()[0].pid, Signal::SIGKILL);
        assert!(next.wait_timeout(DEADLINE));
        assert_eq!(next.status().ended[0].exit, Exit::Signaled(9));
    }
    send(worker, Signal::SIGKILL);
    until("another worker is there", || {
        pool.workers().first().is_some_and(|one| one.pid != worker)
    });
    assert_eq!(server_of(&pool), pid);
}

/// Stops a fork server, and returns when it is stopped.
fn freeze(server: u32) {
    send(server, Signal::SIGSTOP);
    until("it is stopped", || state(server) == Some('T'));
}

fn an_order_that_was_lost_with_it_is_given_again() {
    let server = ForkServer::new();
    let first = ready(sharing(&server, 1), 1);
    let pid = server_of(&first);
    freeze(pid);
    let queue = JoinableQueue::unbounded();
    // More than are sent at a time.
    let builder = sharing(&server, 12).restart(Restart::Temporary);
    let pool = builder.handler(&queue, roles::work).unwrap();
    send(pid, Signal::SIGKILL);
    until("all are ready", || pool.workers().len() == 12);
    assert_eq!(pool.restarts(), 0);
    assert!(pool.status().ended.is_empty());
    assert_ne!(server_of(&pool), pid);
}

fn a_pool_that_is_killed_ends_one_that_hangs_and_others_get_another() {
    let server = ForkServer::new();
    let first = ready(sharing(&server, 1), 1);
    let pid = server_of(&first);
    freeze(pid);
    let (queue, other_queue) = (JoinableQueue::unbounded(), JoinableQueue::unbounded());
    let killed = sharing(&server, 1).handler(&queue, roles::work).unwrap();
    let other = sharing(&server, 1).restart(Restart::Temporary);
    let other = other.handler(&other_queue, roles::work).unwrap();
    killed.kill();
    until("the other one is ready", || other.workers().len() == 1);
    assert_ne!(server_of(&other), pid);
    assert!(!is_alive(pid));
}

fn a_pool_can_be_killed_while_it_preloads() {
    let server = ForkServer::of_program("/bin/sh", ["-c", "exec sleep 1000"]);
    let queue = JoinableQueue::unbounded();
    let pool = sharing(&server, 2).handler(&queue, roles::work).unwrap();
    // Nothing that it has was sent to the process, so that nothing is to be waited for.
    pool.kill();
    assert!(pool.status().workers.is_empty());
}

fn one_that_never_works_is_given_up() {
    let server = ForkServer::of_program("/bin/sh", ["-c", "exit 3"]);
    let queue = JoinableQueue::unbounded();
    let builder = sharing(&server, 1).restart(Restart::Temporary);
    let pool = builder.handler(&queue, roles::work).unwrap();
    assert!(pool.wait_timeout(DEADLINE));
    let end = &pool.status().ended[0];
    let why = end.complaint.as_deref().unwrap();
    assert!(
        why.contains("died too often, at last: exited with code 3"),
        "{why}"
    );
}

fn one_that_is_no_program_is_told() {
    let server = ForkServer::of_program("/there/is/none", [""; 0]);
    let queue = JoinableQueue::unbounded();
    let builder = sharing(&server, 1).restart(Restart::Temporary);
    let pool = builder.handler(&queue, roles::work).unwrap();
    assert!(pool.wait_timeout(DEADLINE));
    let end = &pool.status().ended[0];
    let why = end.complaint.as_deref().unwrap();
    assert!(why.contains("no fork server: No such file"), "{why}");
}
