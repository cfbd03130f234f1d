//! The work of these tests' worker processes, and small programs that this executable can be.

#![allow(
    clippy::exit,
    clippy::print_stdout,
    reason = "exit codes and broken standard streams are what some are for"
)]

use std::time::Duration;

use dishrack::{JoinableQueue, Options, Roles, Supervisor};
use serde::{Deserialize, Serialize};

use super::traps::{self, ChildEffect, Item, Place};
use super::{ready_pids, take};
use crate::roles::{Work, work};

/// More bytes than a pipe or a socket takes at once.
pub(super) const PIPE_MAX_SIZE: usize = 4 * 1024 * 1024 + 1;

pub(crate) fn serve(roles: &mut Roles) {
    roles.handler(traps::walk);
    roles.worker(traps::walk_in_a_loop);
    roles.handler(square);
    roles.handler(fail_at_length);
    roles.handler(count_down);
    roles.handler(start_grandchild);
    roles.handler(lose_stdio);
    roles.worker(take_six);
    roles.worker(put_two_to_five);
    roles.worker(put_ten_to_nineteen);
    roles.worker(put_bad_ones_and_good_ones);
    roles.worker(put_whether_it_is_empty);
    roles.worker(take_two);
    roles.worker(end_at_once);
    roles.worker(ten_messages);
}

pub(super) fn square(n: u64) -> Result<u64, String> {
    Ok(n * n)
}

/// Returns an error that is too long for a pipe.
pub(super) fn fail_at_length(_: u64) -> Result<u64, String> {
    Err("x".repeat(PIPE_MAX_SIZE))
}

pub(super) fn take_six(queue: JoinableQueue<u64>) {
    for _ in 0..6 {
        take(&queue);
    }
}

pub(super) fn put_two_to_five(queue: JoinableQueue<u64>) {
    for n in 2..=5 {
        queue.put(&n).unwrap();
    }
}

pub(super) fn put_ten_to_nineteen(queue: JoinableQueue<u64>) {
    for n in 10..20 {
        queue.put(&n).unwrap();
    }
}

/// Panics at a fault, which ends this process, so that no good item comes.
pub(super) fn put_bad_ones_and_good_ones(queue: JoinableQueue<Work>) {
    for _ in 0..3 {
        let error = queue.put(&Work::Unserializable(1)).unwrap_err();
        assert!(error.is_not_serializable(), "{error}");
        queue.put(&Work::Nothing).unwrap();
    }
}

pub(super) fn put_whether_it_is_empty(queue: JoinableQueue<bool>) {
    queue.put(&queue.is_empty()).unwrap();
    queue.put(&queue.is_empty()).unwrap();
}

/// The size of this queue is two, and it is full.
pub(super) fn take_two(queue: JoinableQueue<u64>) {
    assert!(queue.is_full() && queue.qsize() == 2);
    assert_eq!((take(&queue), take(&queue)), (5, 6));
    assert!(queue.is_empty());
}

pub(super) fn end_at_once(_: JoinableQueue<u64>) {}

/// The number of a message, and its sender's pid.
pub(super) type Message = (u32, u32);

pub(super) fn ten_messages(queue: JoinableQueue<Message>) {
    for n in 0..10 {
        queue.put(&(n, std::process::id())).unwrap();
    }
}

/// One process in a tree of them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) id: Vec<u8>,
    pub(super) pid: u32,
    pub(super) parent: u32,
}

/// Starts two children one after the other, which do the same, down to the second generation.
/// Returns all of them, in the order of their start.
pub(super) fn count_down(id: Vec<u8>) -> Result<Vec<Node>, String> {
    let mut nodes = vec![Node {
        id: id.clone(),
        pid: std::process::id(),
        parent: std::os::unix::process::parent_id(),
    }];
    if id.len() < 2 {
        for child in 0..2 {
            let queue = JoinableQueue::unbounded();
            let builder = Supervisor::builder().processes(1);
            let pool = builder.handler(&queue, count_down);
            let pool = pool.map_err(|error| error.to_string())?;
            let id = [id.as_slice(), &[child]].concat();
            for below in pool.map([id]) {
                nodes.extend(below.map_err(|error| error.to_string())?);
            }
        }
    }
    Ok(nodes)
}

/// Starts a worker of its own that waits for this file, writes its pid to another one, and waits.
pub(super) fn start_grandchild(path: String) -> Result<(), String> {
    let queue = JoinableQueue::with(Options::default().max_attempts(1));
    let pool = Supervisor::builder().processes(1).handler(&queue, work);
    let pool = pool.map_err(|error| error.to_string())?;
    queue.put(&Work::AwaitFile(path.clone())).unwrap();
    let pid = ready_pids(&pool, 1)[0];
    // It is written in one step, so that no reader sees half of it.
    std::fs::write(format!("{path}.tmp"), pid.to_string()).unwrap();
    std::fs::rename(format!("{path}.tmp"), format!("{path}.grandchild")).unwrap();
    queue.join().unwrap();
    Err("nobody opens that file".into())
}

/// Leaves something to be flushed, and closes its destination.
pub(super) fn lose_stdio(fd: i32) -> Result<(), String> {
    print!("never seen");
    nix::unistd::close(fd).map_err(|errno| errno.to_string())
}

/// The small programs.
pub(crate) fn play(name: &str) {
    match name {
        "large pool" => {
            let queue = JoinableQueue::unbounded();
            let builder = Supervisor::builder().processes(200);
            let pool = builder.handler(&queue, square).unwrap();
            let sum: u64 = pool.map(0..1000).map(Result::unwrap).sum();
            println!("{sum}");
        }
        "without stdio" => {
            let queue = JoinableQueue::unbounded();
            let pool = Supervisor::builder().processes(2).handler(&queue, square);
            for n in 0..10 {
                queue.put(&n).unwrap();
            }
            let joined = queue.join_timeout(Duration::from_secs(100)).unwrap();
            pool.unwrap().stop();
            std::process::exit(i32::try_from(joined.done).unwrap());
        }
        "a result exits here" => receive(ChildEffect::Exit),
        "a result crashes here" => receive(ChildEffect::Crash),
        other => panic!("no such play: {other}"),
    }
}

/// Prints the workers of this program, and receives a result that ends it.
fn receive(effect: ChildEffect) {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder().processes(2);
    let pool = builder.handler(&queue, traps::walk).unwrap();
    for pid in ready_pids(&pool, 2) {
        println!("{pid}");
    }
    let results = pool.map([Item::trap(Place::ResultDeserialize, effect)]);
    println!("still here: {:?}", results.collect::<Vec<_>>());
}
