//! `_TestProcess` and `_TestSubclassingProcess` of `_test_multiprocessing.py`. There is no process
//! object here: a supervisor lists its workers, and its observer reports their ends.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;

use dishrack::{Builder, Cause, Exit, JoinableQueue, Options, Restart, Supervisor};
use nix::sys::signal::{SigHandler, Signal, signal};

use super::{Gate, METHODS, Witness, ready_pids, roles};
use crate::fork_server::{self, fork_server_of, parent_of};
use crate::roles::{Work, wait_in_get, work};
use crate::setup;
use crate::support::{DEADLINE, PLAY, Run, is_alive, open_files, send, until};

crate::timely_trials! {
    test_process,
    test_parent_process_attributes,
    test_parent_process,
    test_terminate => end_by(Signal::SIGTERM),
    test_kill,
    test_interrupt,
    test_active_children,
    test_recursion,
    test_sentinel,
    test_close,
    test_many_processes,
    test_child_fd_inflation,
    test_error_on_stdio_flush_1,
    test_error_on_stdio_flush_2,
    test_forkserver_sigint,
    test_forkserver_sigkill => hit_the_fork_server("killed", Signal::SIGKILL),
    test_sys_exit,
    test_noforkbomb,
}

fn one() -> Builder {
    Supervisor::builder().processes(1)
}

fn once<T: serde::Serialize + serde::de::DeserializeOwned>() -> JoinableQueue<T> {
    JoinableQueue::with(Options::default().max_attempts(1))
}

/// The life of a worker: its name, its pid, and its end with code 0.
fn test_process() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let (observer, witness) = Witness::new();
        let builder = one().start_method(method).name("some-process");
        let builder = builder.observer(observer);
        let pool = builder.handler(&queue, work).unwrap();
        let pid = ready_pids(&pool, 1)[0];
        assert_eq!(pool.workers()[0].name, "some-process-1");
        assert_ne!(pid, std::process::id());
        assert!(is_alive(pid));
        let said: Vec<u64> = pool.map([Work::Pid]).map(Result::unwrap).collect();
        assert_eq!(said, [u64::from(pid)]);
        assert_eq!(witness.exits(), []);
        pool.stop();
        assert_eq!(witness.await_exit(), (pid, Exit::Exited(0)));
        assert!(!is_alive(pid));
        assert_eq!(pool.workers(), []);
    }
}

fn test_parent_process_attributes() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = one().start_method(method);
        let pool = builder.handler(&queue, work).unwrap();
        let pid = ready_pids(&pool, 1)[0];
        assert_eq!(parent_of(pid), std::process::id());
    }
}

/// A worker's worker notices that its parent is gone.
fn test_parent_process() {
    for method in METHODS {
        let gate = Gate::new();
        let queue = once();
        let builder = one().start_method(method).restart(Restart::Temporary);
        let pool = builder.handler(&queue, roles::start_grandchild).unwrap();
        queue.put(&gate.path()).unwrap();
        gate.await_visitor();
        let child = ready_pids(&pool, 1)[0];
        let told = format!("{}.grandchild", gate.path());
        let mut grandchild = None;
        until("the grandchild's pid is told", || {
            grandchild = std::fs::read_to_string(&told).ok();
            grandchild.is_some()
        });
        let grandchild: u32 = grandchild.unwrap().parse().unwrap();
        assert_eq!(parent_of(grandchild), child);
        assert!(is_alive(grandchild));
        send(child, Signal::SIGTERM);
        until("the grandchild is gone", || !is_alive(grandchild));
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().dead, 1);
    }
}

/// Ends a worker at work by a signal; the item's history tells the same.
fn end_by(signal: Signal) {
    for method in METHODS {
        let gate = Gate::new();
        let queue = once();
        let (observer, witness) = Witness::new();
        let builder = one().start_method(method).observer(observer);
        let pool = builder.handler(&queue, work).unwrap();
        queue.put(&gate.item()).unwrap();
        gate.await_visitor();
        let pid = ready_pids(&pool, 1)[0];
        let joined = queue.join_timeout(std::time::Duration::ZERO);
        assert!(joined.unwrap_err().is_timeout());
        assert!(is_alive(pid));
        assert_eq!(witness.exits(), []);
        send(pid, signal);
        let exit = Exit::Signaled(signal as i32);
        assert_eq!(witness.await_exit(), (pid, exit));
        assert!(!is_alive(pid));
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().dead, 1);
        let letters = queue.take_dead_letters().unwrap();
        assert_eq!(letters[0].history[0].cause, Cause::WorkerDied(exit));
    }
}

fn test_kill() {
    end_by(Signal::SIGKILL);
    // Then the supervisor ends all of them at once.
    let gate = Gate::new();
    let queue = JoinableQueue::unbounded();
    let (observer, witness) = Witness::new();
    let pool = one().observer(observer).handler(&queue, work).unwrap();
    queue.put(&gate.item()).unwrap();
    gate.await_visitor();
    let pid = ready_pids(&pool, 1)[0];
    pool.kill();
    let exit = Exit::Signaled(Signal::SIGKILL as i32);
    assert_eq!(witness.await_exit(), (pid, exit));
    assert!(!is_alive(pid));
}

/// Resets SIGINT, which workers inherit as ignored if the tests run in the background.
fn heed_sigint() {
    // SAFETY: the default action is no function that could be called at a wrong time.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.unwrap();
}

fn test_interrupt() {
    heed_sigint();
    end_by(Signal::SIGINT);
}

fn test_active_children() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let (observer, witness) = Witness::new();
        let builder = one().start_method(method).restart(Restart::Temporary);
        let pool = builder.observer(observer).worker(&queue, wait_in_get);
        let pool = pool.unwrap();
        let pid = ready_pids(&pool, 1)[0];
        assert!(is_alive(pid));
        queue.close();
        assert_eq!(witness.await_exit(), (pid, Exit::Exited(0)));
        until("it is no worker any more", || pool.workers().is_empty());
        assert!(!is_alive(pid));
    }
}

/// Workers start workers: each has a process of its own, whose parent is the starter.
fn test_recursion() {
    let queue = JoinableQueue::unbounded();
    let pool = one().handler(&queue, roles::count_down).unwrap();
    let child = ready_pids(&pool, 1)[0];
    let nodes: Vec<_> = pool.map([vec![]]).flat_map(Result::unwrap).collect();
    let ids: Vec<&[u8]> = nodes.iter().map(|node| node.id.as_slice()).collect();
    let expected: [&[u8]; 7] = [&[], &[0], &[0, 0], &[0, 1], &[1], &[1, 0], &[1, 1]];
    assert_eq!(ids, expected);
    assert_eq!((nodes[0].pid, nodes[0].parent), (child, std::process::id()));
    for node in &nodes[1..] {
        let (_, above) = node.id.split_last().unwrap();
        let parent = nodes.iter().find(|other| other.id == above).unwrap();
        assert_eq!(node.parent, parent.pid, "{node:?}");
        assert_ne!(node.pid, parent.pid, "{node:?}");
    }
}

/// The observer is the sentinel.
fn test_sentinel() {
    let gate = Gate::new();
    let queue = JoinableQueue::unbounded();
    let (observer, witness) = Witness::new();
    let builder = one().restart(Restart::Temporary).observer(observer);
    let pool = builder.worker(&queue, crate::roles::chapters_loop).unwrap();
    queue.put(&gate.item()).unwrap();
    queue.put(&Work::Leave).unwrap();
    gate.await_visitor();
    let pid = ready_pids(&pool, 1)[0];
    assert_eq!(witness.exits(), []);
    gate.open();
    assert_eq!(witness.await_exit(), (pid, Exit::Exited(0)));
}

/// In CPython, closing a running process is an error; here, it waits for the end of its item.
fn test_close() {
    let gate = Gate::new();
    let queue = JoinableQueue::unbounded();
    let pool = Arc::new(one().handler(&queue, work).unwrap());
    queue.put(&gate.item()).unwrap();
    gate.await_visitor();
    let pid = ready_pids(&pool, 1)[0];
    let stopping = std::thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.stop()
    });
    assert!(is_alive(pid));
    gate.open();
    stopping.join().unwrap();
    assert!(!is_alive(pid));
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
    pool.stop();
    pool.kill();
    assert_eq!(pool.workers(), []);
}

/// CPython has as many: 5 if each is executed, 100 if they are forked.
fn test_many_processes() {
    for (method, workers) in METHODS.into_iter().zip([5, 100]) {
        let builder = Supervisor::builder().processes(workers);
        let builder = builder.start_method(method).restart(Restart::Temporary);
        let (observer, witness) = Witness::new();
        let queue = JoinableQueue::unbounded();
        let ending = builder.clone().observer(observer);
        let _pool = ending.worker(&queue, roles::end_at_once).unwrap();
        expect_exits(&witness, workers, Exit::Exited(0));

        let (observer, witness) = Witness::new();
        let queue = JoinableQueue::unbounded();
        let waiting = builder.observer(observer);
        let pool = waiting.worker(&queue, wait_in_get).unwrap();
        let pids = ready_pids(&pool, workers);
        pids.iter().for_each(|pid| send(*pid, Signal::SIGTERM));
        let exit = Exit::Signaled(Signal::SIGTERM as i32);
        let ended = expect_exits(&witness, workers, exit);
        assert_eq!(ended, HashSet::from_iter(pids));
    }
}

/// Waits for the end of so many workers, all of this kind. Returns their pids.
fn expect_exits(witness: &Witness, workers: usize, expected: Exit) -> HashSet<u32> {
    let exits = (0..workers).map(|_| {
        let (pid, exit) = witness.await_exit();
        assert_eq!(exit, expected);
        pid
    });
    exits.collect()
}

/// The files are counted from outside, so that counting opens none.
fn test_child_fd_inflation() {
    for method in METHODS {
        let queue = JoinableQueue::<Work>::unbounded();
        let builder = Supervisor::builder().processes(5).start_method(method);
        let pool = builder.handler(&queue, work).unwrap();
        let pids = ready_pids(&pool, 5);
        let counts = || pids.iter().map(|pid| open_files(*pid));
        // Files that a worker opens while it boots may not be closed yet.
        until("all have as many files", || {
            counts().collect::<HashSet<usize>>().len() == 1
        });
    }
}

/// The standard streams are closed before the program begins.
fn test_error_on_stdio_flush_1() {
    for closed in [">&-", "2>&-", ">&- 2>&-"] {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new("sh");
        command.env(PLAY, "without stdio");
        command
            .args(["-c", &format!("exec \"$0\" {closed}")])
            .arg(program);
        assert_eq!(Run::of(command).exit().code(), Some(10), "{closed}");
    }
}

/// A worker closes its standard streams.
fn test_error_on_stdio_flush_2() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let (observer, witness) = Witness::new();
        let builder = one().start_method(method).observer(observer);
        let pool = builder.handler(&queue, roles::lose_stdio).unwrap();
        for fd in [1, 2] {
            queue.put(&fd).unwrap();
        }
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 2);
        pool.stop();
        assert_eq!(witness.await_exit().1, Exit::Exited(0));
        assert_eq!(pool.restarts(), 0);
    }
}

/// Old workers must live on, and new ones can be made.
fn hit_the_fork_server(name: &str, signal: Signal) {
    let gate = Gate::new();
    let queue = JoinableQueue::unbounded();
    let pool = fork_server::pool(name, &queue, 2);
    queue.put(&gate.item()).unwrap();
    gate.await_visitor();
    let server = fork_server_of(name);
    send(server, signal);
    until("the fork server is gone", || !is_alive(server));
    let before = ready_pids(&pool, 2);
    // The free worker ends by it, and so do the two that are forked after it.
    queue.put(&Work::Exit(1)).unwrap();
    until("it is given up", || queue.counts().unwrap().dead == 1);
    gate.open();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 1);
    let after = ready_pids(&pool, 2);
    let survivors = after.iter().filter(|pid| before.contains(pid)).count();
    assert_eq!(survivors, 1, "the one at the gate, and no other");
    assert_ne!(fork_server_of(name), server);
}

fn test_forkserver_sigint() {
    heed_sigint();
    hit_the_fork_server("interrupted", Signal::SIGINT);
}

/// As everywhere, only the low eight bits of an exit code are kept. There is no `SystemExit` here
/// that would take a text or a truth value.
fn test_sys_exit() {
    for method in METHODS {
        let queue = once();
        let (observer, witness) = Witness::new();
        let builder = one().start_method(method).observer(observer);
        let _pool = builder.handler(&queue, work).unwrap();
        for (code, expected) in [(1, 1), (0, 0), (8, 8), (300, 44), (-1, 255)] {
            queue.put(&Work::Exit(code)).unwrap();
            queue.join_timeout(DEADLINE).unwrap();
            let exit = Exit::Exited(expected);
            assert_eq!(witness.await_exit().1, exit);
            let letters = queue.take_dead_letters().unwrap();
            assert_eq!(letters.len(), 1);
            assert_eq!(letters[0].history[0].cause, Cause::WorkerDied(exit));
        }
    }
}

/// The program does not call `serve`, or calls it too late.
fn test_noforkbomb() {
    setup::says("serves nothing", "dishrack::serve was not called");
    setup::says("never serves", "exited with code 0");
}
