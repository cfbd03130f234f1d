//! A program that is run many times by nobody but the standard library: what running a command for
//! each item cannot be cheaper than. There are no items, no supervision and no output.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::order::{Measured, Order};

/// `true`, as often as there are items, by as many threads as there are workers. It has a number as
/// its argument, as an item would be: without one it looks at nothing and takes three quarters of
/// the time.
pub(crate) fn measure(order: &Order) -> Measured {
    if order.contender != "posix-spawn" {
        order.unknown();
    }
    let began = Instant::now();
    start_all(order.items, order.workers, |number| {
        let mut command = Command::new("true");
        command.arg(number.to_string()).stdin(Stdio::null());
        command
    });
    Measured::new("s", began.elapsed().as_secs_f64())
}

/// Runs so many commands, in several threads of which each waits for the end of what it has
/// started. Without anything to be done between clone and exec std starts a process by
/// `posix_spawn`.
pub(crate) fn start_all(count: usize, starters: usize, command: impl Fn(usize) -> Command + Sync) {
    let start = |starter: usize| {
        for number in (starter..count).step_by(starters) {
            let mut command = command(number);
            let status = command.stdout(Stdio::null()).status();
            assert!(status.expect("it is there").success());
        }
    };
    thread::scope(|scope| {
        for starter in 0..starters {
            scope.spawn(move || start(starter));
        }
    });
}
