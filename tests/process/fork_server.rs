//! The fork server: workers forked from it are the supervisor's own children, even after its end.

use std::collections::{HashMap, HashSet};
use std::fs;

use dishrack::{JoinableQueue, StartMethod, Supervisor};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, is_alive, send, until};

crate::trials!(
    forked_workers_are_children_of_the_supervisor,
    a_killed_fork_server_is_started_again_and_its_workers_live_on,
    a_fork_server_that_is_killed_again_and_again_loses_nothing,
    a_fork_server_preloads_once_and_a_spawned_worker_by_itself,
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
