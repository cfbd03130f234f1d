//! Processes that end with this one, however it ends.

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
/// program does. So all are forked by one thread, which stays.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    bind_to(&mut command, getpid());
    let (sender, child) = channel();
    parent().send((command, sender)).expect("the thread stays");
    child.recv().expect("the thread answers")
}

/// The thread that forks, started by whoever is first.
fn parent() -> Sender<Order> {
    static PARENT: OnceLock<Sender<Order>> = OnceLock::new();
    let start = || {
        let (sender, orders) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, child) in orders {
                // Whoever ordered it waits for the answer, unless a panic is under way.
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
        // A parent that is gone already sends nothing any more.
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
