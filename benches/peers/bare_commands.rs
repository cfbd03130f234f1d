//! A program that is run many times by nobody but the standard library: what running a command for each
//! item cannot be cheaper than. There are no items, no supervision and no output.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::order::{Measured, Order};

/// `true`, as often as there are items, by as many threads as there are workers.
pub(crate) fn measure(order: &Order) -> Measured {
    if order.contender != "posix-spawn" {
        order.unknown();
    }
    let began = Instant::now();
    start_all("true", &[], order.items, order.workers);
    Measured::new("s", began.elapsed().as_secs_f64())
}

/// Runs a program so many times, in several threads of which each waits for the end of what it has
/// started. Without anything to be done between clone and exec std starts a process by `posix_spawn`.
pub(crate) fn start_all(program: &str, arguments: &[&str], count: usize, starters: usize) {
    let start = |count: usize| {
        for _ in 0..count {
            let mut command = Command::new(program);
            let command = command.args(arguments);
            let command = command.stdin(Stdio::null()).stdout(Stdio::null());
            assert!(command.status().expect("it is there").success());
        }
    };
    thread::scope(|scope| {
        for starter in 0..starters {
            scope.spawn(move || start((count + starter) / starters));
        }
    });
}
