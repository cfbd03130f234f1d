//! Processes that end with this one, even at its kill.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a process that the kernel kills when this one has ended, also by SIGKILL.
///
/// The signal comes with the end of the *thread* that forked, and tests end long before the
/// program. So one thread, which stays, forks all.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    bind_to(&mut command, getpid());
    let (sender, child) = channel();
    parent().send((command, sender)).expect("the thread stays");
    child.recv().expect("the thread answers")
}

/// Returns the order channel of the forking thread, and starts that at the first call.
fn parent() -> Sender<Order> {
    static PARENT: OnceLock<Sender<Order>> = OnceLock::new();
    let start = || {
        let (sender, orders) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, child) in orders {
                // The caller waits for the answer, unless a panic is under way.
                let _ = child.send(command.spawn());
            }
        });
        sender
    };
    PARENT.get_or_init(start).clone()
}

fn bind_to(command: &mut Command, parent: Pid) {
    let bind = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // A parent that is gone already sends no signal any more.
        match getppid() == parent {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    };
    // SAFETY: between fork and exec only system calls are made, and no memory is asked for.
    unsafe {
        command.pre_exec(bind);
    }
}
