//! `test_deadlock.py` of `concurrent.futures`: an error, an exit and a crash, at each step of an
//! item's way. In CPython the executor breaks, and the test is whether it says so. Here the item is
//! given up after its attempts, the cause is reported, and others come to no harm.
//!
//! Three cells of the matrix are not in CPython; their names continue its own.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use dishrack::{Builder, Cause, Exit, ItemError, JoinableQueue, Options, StartMethod, Supervisor};
use nix::sys::signal::Signal;

use super::roles::PIPE_MAX_SIZE;
use super::traps::{self, CRASH, ChildEffect, EXIT_CODE, Item, Place};
use super::{Gate, METHODS, Witness, ready_pids};
use crate::roles::{Work, work};
use crate::support::{DEADLINE, Run, is_alive, send, state, until};

crate::timely_trials! {
    test_error_at_task_pickle,
    // CPython has no such tests of an exit and a crash, because its executor's own process serializes.
    test_exit_at_task_pickle => expect(Place::PutByWorker, ChildEffect::Exit, is_exit),
    test_crash_at_task_pickle => expect(Place::PutByWorker, ChildEffect::Crash, is_crash),
    test_error_at_task_unpickle =>
        expect_both(Place::ItemDeserialize, ChildEffect::Error,
            |cause| matches!(cause, Cause::Undecodable(_))),
    test_exit_at_task_unpickle => expect_both(Place::ItemDeserialize, ChildEffect::Exit, is_exit),
    test_crash_at_task_unpickle =>
        expect_both(Place::ItemDeserialize, ChildEffect::Crash, is_crash),
    test_error_during_func_exec_on_worker =>
        expect_both(Place::Run, ChildEffect::Error,
            |cause| *cause == Cause::Nack("it is a trap".into())),
    test_exit_during_func_exec_on_worker => expect_both(Place::Run, ChildEffect::Exit, is_exit),
    test_crash_during_func_exec_on_worker => expect_both(Place::Run, ChildEffect::Crash, is_crash),
    test_error_during_result_pickle_on_worker =>
        expect(Place::ResultSerialize, ChildEffect::Error,
            |cause| matches!(cause, Cause::Unserializable(_))),
    test_exit_during_result_pickle_on_worker =>
        expect(Place::ResultSerialize, ChildEffect::Exit, is_exit),
    test_crash_during_result_pickle_on_worker =>
        expect(Place::ResultSerialize, ChildEffect::Crash, is_crash),
    test_error_during_result_unpickle_in_result_handler,
    test_exit_during_result_unpickle_in_result_handler,
    test_crash_during_result_unpickle_in_result_handler,
    test_shutdown_deadlock,
    test_shutdown_deadlock_pickle,
    test_crash_big_data,
    test_gh105829_should_not_deadlock_if_wakeup_pipe_full,
    a_worker_killed_with_a_full_pipe_loses_nothing,
}

const EXITED: Cause = Cause::WorkerDied(Exit::Exited(EXIT_CODE));
const CRASHED: Cause = Cause::WorkerDied(Exit::Signaled(CRASH as i32));

/// Makes two workers, which may die of an item alone.
fn two(method: StartMethod) -> Builder {
    let builder = Supervisor::builder().processes(2).start_method(method);
    builder.intensity(0, DEADLINE)
}

/// Puts a trap between two harmless items, with a handler: the trap is given up for this cause.
fn expect(place: Place, effect: ChildEffect, is_it: impl Fn(&Cause) -> bool) {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let pool = two(method).handler(&queue, traps::walk).unwrap();
        let items = [
            Item::harmless(),
            Item::trap(place, effect),
            Item::harmless(),
        ];
        let results: Vec<_> = pool.map(items).collect();
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        let Err(ItemError::Dead { history, .. }) = &results[1] else {
            panic!("{method:?}: {results:?}");
        };
        assert_eq!(history.len(), 3);
        assert!(history.iter().all(|one| is_it(&one.cause)), "{history:?}");
        expect_joined(&queue, 2, 1);
        // The pool is as large as before, and works.
        assert!(pool.map([Item::harmless()]).all(|result| result.is_ok()));
        assert_eq!(ready_pids(&pool, 2).len(), 2);
    }
}

/// Does the same with the chapter's loop, which has no results.
fn expect_in_a_loop(place: Place, effect: ChildEffect, is_it: impl Fn(&Cause) -> bool) {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        for item in [
            Item::harmless(),
            Item::trap(place, effect),
            Item::harmless(),
        ] {
            queue.put(&item).unwrap();
        }
        let _pool = two(method).worker(&queue, traps::walk_in_a_loop).unwrap();
        expect_joined(&queue, 2, 1);
        // They are raw, because some of these items end the process that deserializes them.
        let letters = queue.take_raw_dead_letters().unwrap();
        let history = &letters[0].history;
        assert_eq!(history.len(), 3);
        assert!(history.iter().all(|one| is_it(&one.cause)), "{history:?}");
    }
}

fn expect_both(place: Place, effect: ChildEffect, is_it: impl Fn(&Cause) -> bool) {
    expect(place, effect, &is_it);
    expect_in_a_loop(place, effect, is_it);
}

fn is_exit(cause: &Cause) -> bool {
    *cause == EXITED
}

fn is_crash(cause: &Cause) -> bool {
    *cause == CRASHED
}

fn expect_joined(queue: &JoinableQueue<Item>, done: u64, dead: u64) {
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (done, dead));
}

/// The error is in the caller of `put`, and in a worker that puts.
fn test_error_at_task_pickle() {
    let bad = || Item::trap(Place::ItemSerialize, ChildEffect::Error);
    let queue = JoinableQueue::unbounded();
    assert!(queue.put(&bad()).unwrap_err().is_not_serializable());
    let pool = two(StartMethod::Spawn)
        .handler(&queue, traps::walk)
        .unwrap();
    let results: Vec<_> = pool.map([bad(), Item::harmless()]).collect();
    assert!(matches!(results[0], Err(ItemError::NotAccepted { .. })));
    assert!(results[1].is_ok());
    expect_joined(&queue, 1, 0);
    let is_refused = |cause: &Cause| cause.to_string().contains("does not serialize");
    expect(Place::PutByWorker, ChildEffect::Error, is_refused);
}

/// The item is done, and the waiting caller is told that its result cannot be had.
fn test_error_during_result_unpickle_in_result_handler() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let pool = two(method).handler(&queue, traps::walk).unwrap();
        let bad = Item::trap(Place::ResultDeserialize, ChildEffect::Error);
        let items = [Item::harmless(), bad, Item::harmless()];
        let results: Vec<_> = pool.map(items).collect();
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        assert!(matches!(results[1], Err(ItemError::NotDecodable(_))));
        expect_joined(&queue, 3, 0);
        assert_eq!(pool.restarts(), 0);
    }
}

/// A result is deserialized by its waiting caller, whose process may end so, with its workers.
fn end_by_a_result(play: &str) -> std::process::ExitStatus {
    let mut run = Run::play(play);
    let workers = [(); 2].map(|()| run.line().unwrap().parse::<u32>().unwrap());
    assert_eq!(run.line(), None);
    let status = run.exit();
    for worker in workers {
        until("its worker is gone", || !is_alive(worker));
    }
    status
}

/// In CPython `SystemExit` is an exception, and the executor's thread catches it.
fn test_exit_during_result_unpickle_in_result_handler() {
    let status = end_by_a_result("a result exits here");
    assert_eq!(status.code(), Some(EXIT_CODE));
}

/// CPython has no such test.
fn test_crash_during_result_unpickle_in_result_handler() {
    let status = end_by_a_result("a result crashes here");
    assert_eq!(status.signal(), Some(CRASH as i32));
}

/// A worker crashes while its supervisor waits for it to stop. The end of the other, idle worker
/// shows that the stop has begun.
fn test_shutdown_deadlock() {
    for method in METHODS {
        let gate = Gate::new();
        let queue = JoinableQueue::with(Options::default().max_attempts(1));
        let (observer, witness) = Witness::new();
        let builder = two(method).shutdown(2 * DEADLINE).observer(observer);
        let pool = Arc::new(builder.handler(&queue, work).unwrap());
        let mut pids = ready_pids(&pool, 2);
        queue.put(&gate.item()).unwrap();
        gate.await_visitor();
        let stopping = std::thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.stop()
        });
        let (idle, exit) = witness.await_exit();
        assert_eq!(exit, Exit::Exited(0));
        pids.retain(|pid| *pid != idle);
        assert!(!stopping.is_finished() && is_alive(pids[0]));
        send(pids[0], Signal::SIGABRT);
        stopping.join().unwrap();
        let crash = Exit::Signaled(Signal::SIGABRT as i32);
        assert_eq!(witness.await_exit(), (pids[0], crash));
        let joined = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((joined.done, joined.dead), (0, 1));
    }
}

/// A `put` fails, and everything ends at once.
fn test_shutdown_deadlock_pickle() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let pool = two(method).handler(&queue, traps::walk).unwrap();
        assert!(pool.map([Item::harmless()]).all(|result| result.is_ok()));
        let pids = ready_pids(&pool, 2);
        let bad = Item::trap(Place::ItemSerialize, ChildEffect::Error);
        let error = queue.put(&bad).unwrap_err();
        queue.close();
        drop(pool);
        assert!(error.is_not_serializable());
        assert!(pids.iter().all(|pid| !is_alive(*pid)));
        expect_joined(&queue, 1, 0);
    }
}

/// No pipe takes the ten items at once, and each crashes its worker.
fn test_crash_big_data() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let pool = two(method).handler(&queue, traps::walk).unwrap();
        let heavy = |effect| Item::trap(Place::Run, effect).weighing(PIPE_MAX_SIZE);
        let results = pool.map((0..10).map(|_| heavy(ChildEffect::Crash)));
        for result in results {
            let Err(ItemError::Dead { history, .. }) = result else {
                panic!("{method:?}: {result:?}");
            };
            assert!(history.iter().all(|one| one.cause == CRASHED));
        }
        expect_joined(&queue, 0, 10);
        let light = Item::harmless().weighing(PIPE_MAX_SIZE);
        assert!(pool.map([light]).all(|result| result.is_ok()));
    }
}

/// A put never waits for a worker that does not read.
fn test_gh105829_should_not_deadlock_if_wakeup_pipe_full() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let pool = two(method).handler(&queue, work).unwrap();
        let pids = stop_all(&pool);
        for _ in 0..100 {
            queue.put(&Work::Nothing).unwrap();
        }
        assert_eq!(queue.counts().unwrap().unfinished(), 100);
        for pid in pids {
            send(pid, Signal::SIGCONT);
        }
        assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 100);
    }
}

/// Stops the workers' processes, so that they read nothing.
fn stop_all<T, R>(pool: &Supervisor<T, R>) -> Vec<u32> {
    let pids = ready_pids(pool, 2);
    for pid in &pids {
        send(*pid, Signal::SIGSTOP);
        until("it is stopped", || state(*pid) == Some('T'));
    }
    pids
}

/// The worker gets more than its pipe holds, and is killed without having read any of it.
fn a_worker_killed_with_a_full_pipe_loses_nothing() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = two(method).intensity(10, DEADLINE);
        let pool = builder.handler(&queue, work).unwrap();
        // Workers that have shown their speed get much at once.
        assert_eq!(pool.map((0..5000).map(|_| Work::Nothing)).count(), 5000);
        let pids = stop_all(&pool);
        for _ in 0..200 {
            queue.put(&Work::Carry(vec![7; 16 * 1024])).unwrap();
        }
        for pid in pids {
            send(pid, Signal::SIGKILL);
        }
        let joined = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((joined.done, joined.dead), (5200, 0));
        assert_eq!(queue.counts().unwrap().retries, 0);
    }
}
