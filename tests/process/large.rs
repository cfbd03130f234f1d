//! Large items: they lie in shared memory, which is reused and leaves nothing behind.

use std::collections::HashMap;
use std::process::Command;

use dishrack::{Blob, JoinableQueue, Options, Parts, StartMethod, Supervisor};
use nix::sys::signal::Signal;

use crate::roles::{self, Work};
use crate::said::words;
use crate::support::{DEADLINE, PLAY, Run, open_files, pid_of, send, until};

crate::trials!(
    a_blob_is_read_where_it_lies,
    a_blob_that_is_kept_stays_what_it_is,
    buffers_are_read_where_they_lie,
    what_is_written_to_a_buffer_is_seen_by_nobody_else,
    buffers_that_a_loop_keeps_stay_what_they_are,
    a_loop_keeps_what_it_got,
    a_kept_blob_dies_with_its_worker,
    shared_memory_is_used_again,
    kills_amid_large_items_lose_and_leave_nothing,
    large_results_and_puts_come_back_whole,
    no_shared_memory_is_told,
);

const MIB: usize = 1 << 20;

fn a_blob_is_read_where_it_lies() {
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(1).start_method(method);
        let pool = builder.handler(&queue, roles::work).unwrap();
        for bytes in [0, 100, 16_000, MIB, 9 * MIB] {
            let work = Work::Look(vec![3; bytes].into());
            let result = pool.map([work]).next().unwrap().unwrap();
            let is_shared = u64::from(bytes > 16_000);
            assert_eq!(result, 2 * 3 * bytes as u64 + is_shared, "{bytes} bytes");
        }
    }
}

fn buffers_are_read_where_they_lie() {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(1);
    let pool = builder.handler(&queue, roles::sum_parts).unwrap();
    for sizes in [
        vec![MIB],
        vec![1, 20_000, 7 * MIB, 0, 3],
        vec![30 * MIB, 30 * MIB],
    ] {
        let total: usize = sizes.iter().sum();
        let buffers = sizes.into_iter().map(|size| Blob::of(vec![2; size]));
        let parts = Parts::new(vec![1; 100], buffers.collect());
        let sum = pool.map([parts]).next().unwrap().unwrap();
        assert_eq!(sum, 100 + 2 * total as u64);
    }
}

fn what_is_written_to_a_buffer_is_seen_by_nobody_else() {
    let queue = JoinableQueue::with(Options::default().max_attempts(2));
    let builder = Supervisor::builder().processes(2);
    let pool = builder.worker(&queue, roles::overwrite_parts).unwrap();
    for n in 0..10_u8 {
        let buffers = [5 * MIB, MIB, 70_000, 20_000].map(|size| Blob::from(vec![n; size]));
        queue.put(&Parts::new(vec![n], buffers.into())).unwrap();
    }
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (10, 0));
    assert_eq!(queue.counts().unwrap().retries, 10);
    drop(pool);
    // So it is with results.
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(1);
    let pool = builder.handler(&queue, roles::mirror).unwrap();
    for bytes in [5 * MIB, MIB] {
        let result = pool.map([Blob::from(vec![1; bytes])]).next().unwrap();
        let result = result.unwrap();
        assert!(result.is_shared());
        let mut own = result.clone().into_mut();
        own.fill(2);
        assert!(result.iter().all(|byte| *byte == 1));
        drop(result);
        assert!(own.iter().all(|byte| *byte == 2));
    }
}

fn buffers_that_a_loop_keeps_stay_what_they_are() {
    let queue = JoinableQueue::bounded(4);
    let builder = Supervisor::builder().processes(1);
    let _pool = builder.worker(&queue, roles::keep_parts).unwrap();
    for n in 0..100_u8 {
        let buffers = [MIB, 20_000].map(|size| Blob::from(vec![n; size]));
        queue.put(&Parts::new(vec![n], buffers.into())).unwrap();
    }
    let joined = queue.join_timeout(DEADLINE).unwrap();
    assert_eq!((joined.done, joined.dead), (100, 0));
    assert_eq!(queue.counts().unwrap().retries, 0);
}

/// Each item returns the one before it, which the worker has kept.
fn a_blob_that_is_kept_stays_what_it_is() {
    let queue = JoinableQueue::bounded(4);
    let pool = roles::start(&queue, 1).unwrap();
    let works = (0..200_u8).map(|n| Work::Keep(vec![n; MIB].into()));
    let before = pool.map(works).map(Result::unwrap);
    let expected = std::iter::once(0).chain((0..199).map(|n| n * MIB as u64));
    assert!(before.eq(expected));
}

fn a_loop_keeps_what_it_got() {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(1);
    let _pool = builder.worker(&queue, roles::chapters_loop).unwrap();
    for n in 0..50_u8 {
        queue.put(&Work::Keep(vec![n; MIB].into())).unwrap();
    }
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 50);
}

fn a_kept_blob_dies_with_its_worker() {
    let queue = JoinableQueue::unbounded();
    let pool = roles::start(&queue, 1).unwrap();
    for n in 0..8_u8 {
        let kept = pool.map([Work::Keep(vec![n; MIB].into())]).next();
        assert_eq!(kept.unwrap().unwrap(), 0, "the new worker keeps nothing");
        // It may have served an item before the supervising thread has heard that it is ready.
        until("it is known", || !pool.workers().is_empty());
        let pid = pool.workers()[0].pid;
        send(pid, Signal::SIGKILL);
        until("another worker is ready", || {
            pool.workers()
                .first()
                .is_some_and(|worker| worker.pid != pid)
        });
    }
}

/// It runs in a process of its own, so that its files are its own.
fn shared_memory_is_used_again() {
    let arguments = ["--workers", "2", "--payload", "1048576", "--wash", "0"];
    let mut run = Run::supervisor(
        &[
            &arguments[..],
            &["--dry", "0", "--dishes", "3000", "--capacity", "8"],
        ]
        .concat(),
    );
    let mut files = HashMap::new();
    let mut done = 0;
    while let Some(event) = run.event() {
        if event["event"] == "done" {
            done += 1;
        }
        if event["event"] == "done" && done % 500 == 0 {
            files.insert(done, open_files(run.pid()));
        }
    }
    assert_eq!(run.exit().code(), Some(0));
    assert_eq!(done, 3000);
    let (first, last) = (files[&500], *files.values().max().unwrap());
    assert!(last <= first + 8, "{files:?}");
}

fn kills_amid_large_items_lose_and_leave_nothing() {
    for method in ["spawn", "fork"] {
        let mut run = Run::supervisor(&words(&format!(
            "--workers 2 --payload 1048576 --wash 0 --dry 1ms --dishes 2000 --capacity 8 \
             --max-attempts 1000000 --max-restarts 1000000 --start-method {method}"
        )));
        let (mut files, mut done) = (0, 0);
        while let Some(event) = run.event() {
            done += u64::from(event["event"] == "done");
            if event["event"] == "drying" && done % 20 == 10 {
                send(pid_of(&event), Signal::SIGKILL);
            }
            if event["event"] == "done" && done == 200 {
                files = open_files(run.pid());
            }
            if event["event"] == "done" && done == 1900 {
                let now = open_files(run.pid());
                assert!(
                    now <= files + 20,
                    "{method}: {now} files, and {files} before"
                );
            }
            if event["event"] == "summary" {
                assert_eq!((&event["done"], &event["dead"]), (&2000.into(), &0.into()));
                assert!(event["retries"].as_u64() > Some(10), "{event}");
            }
        }
        assert_eq!(run.exit().code(), Some(0));
        assert_eq!(done, 2000);
    }
}

fn large_results_and_puts_come_back_whole() {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(2);
    let pool = builder.handler(&queue, roles::mirror).unwrap();
    for round in 0..30_u8 {
        let blobs = (0..8).map(|n| Blob::from(vec![round ^ n; 100_000 * usize::from(n)]));
        let expected: Vec<Blob> = blobs.clone().collect();
        let back: Vec<Blob> = pool.map(blobs).map(Result::unwrap).collect();
        assert!(back == expected);
    }
    // Each handler puts half of its item, down to one byte.
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(2);
    let _pool = builder.handler(&queue, roles::halve).unwrap();
    queue.put(&Blob::from(vec![7; MIB])).unwrap();
    assert_eq!(queue.join_timeout(DEADLINE).unwrap().done, 21);
}

/// If no memory can be shared, `put` says so, and an item put before is a dead letter.
fn no_shared_memory_is_told() {
    let executable = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -f 1024; exec \"$0\"",
            executable.to_str().unwrap(),
        ])
        .env(PLAY, "carries much");
    let mut run = Run::of(command);
    let line = run.line().unwrap();
    assert!(
        line.starts_with("an item was not put: no shared memory for ")
            && line.ends_with("raise the limit on the size of files (ulimit -f)"),
        "{line}"
    );
    assert_eq!(run.line().as_deref(), Some("1 done, 1 dead"));
    assert_eq!(run.exit().code(), Some(0));
}
